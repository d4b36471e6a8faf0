/* clientlib/mock_impl.h: the broker in memory behind mock://. Private to mock.c (frames), mock_tasks.c (the task machine),
 * mock_life.c (what becomes known of a task in work), mock_directory.c (entries, watches, reservations), mock_call.c (calls),
 * mock_event.c (events), mock_blob.c (blobs) and mock_admin.c (requests).
 *
 * 1. It speaks the wire protocol to the client above it, so the client's own code paths are what a test runs.
 * 2. Its clock moves by hlk_mock_advance alone, and nothing in it is random: a test repeats exactly.
 * 3. Tasks are never forgotten: a test may look at all of them afterwards.
 * 4. There is one session, so all holders of a service are entries of the client itself, and nothing is a matter of permission. */
#pragma once

#include "../wire/name.h"
#include "../wire/params.h"
#include "../wire/predicate.h"
#include "client_impl.h"

enum {
	MOCK_CANCEL_MS = 10000,          /* a silent worker is overruled then */
	MOCK_BLOB_ABOVE = 256 << 10,
};

struct mock_list { struct mock_task *first, *last; };
struct mock_queue {
	struct mock_queue *next;
	char *name;
	bool paused;
	struct queue_settings settings;
	struct mock_list ready[LIMIT_PRIORITY + 1];
	uint64_t count[TASK_STATES];     /* tasks by state */
	uint64_t submitted_total, expired_total, dead_total;
};

struct mock_task {
	struct mock_task *prev, *next;   /* in a list of its queue while ready */
	struct mock_queue *queue;
	uint64_t id, submitted_ms, ready_ms, expires_ms, settled_ms, execution_ms, overrun_ms, cancel_ms;
	uint8_t state, priority;
	bool want_result, awaited, watched, never; /* watched: updates are wanted in this connection */
	uint8_t phase, payload_kind, result_kind;
	uint32_t attempt, failed, max_attempts, app_code, entry;
	uint16_t code;
	struct buf head, payload, result, requirements; /* requirements: packed */
	char *type, *key, *reason, *order_key, *progress_text;
	uint32_t progress;               /* millionths */
	uint64_t parent, root, close_at_ms, heartbeat_ms, silent_at_ms;
	struct buf *yields;
	uint8_t *yield_kinds;
	uint32_t yield_count;
};

struct mock_entry {
	uint32_t id, credit, in_flight, capacity, cost; /* in_flight: calls */
	bool by_queue;
	char *name;
	struct buf params;               /* packed */
	char **texts;                    /* its vnets, and then what it has hot */
	uint32_t vnet_count, hot_count;
};
struct mock_watch { struct mock_watch *next; uint32_t id; char *service; struct buf where; };
struct mock_binding {
	struct mock_binding *next;
	uint32_t id, min, desired, waiting, leg_count;
	uint8_t state;
	char *service;
	struct buf where;
	uint32_t legs[LIMIT_BINDING_LEGS]; /* entries */
};
/* One call to one entry; a call to all is several of one number. In the order in which they were made. */
struct mock_call {
	struct mock_call *next;
	uint64_t id, number, deadline_ms;
	uint32_t entry, binding;         /* entry 0: it waits for one */
	bool stream, all, wait;
	char *service;                   /* NULL: to an address or a binding */
	uint32_t to;                     /* the entry of an address */
	struct buf where, head, payload;
};
struct mock_subscription {
	struct mock_subscription *next;
	uint32_t id;
	bool descendants;
	uint64_t fingerprint, matched, delivered, dropped;
	char *pattern;
};
struct mock_retained {
	struct mock_retained *next;
	uint8_t kind;
	char *type, *key;
	struct event_id id;
	uint64_t origin;
	struct buf head, payload;
};
struct mock {
	uint64_t now_ms;
	uint32_t epoch;
	bool welcomed, known;
	struct buf output;
	struct mock_queue *queues;
	struct mock_task **tasks;        /* id - 1 */
	uint64_t task_count;
	uint64_t producer;
	struct map64 sequences;          /* sequence -> task */
	uint64_t session;                /* in addresses; another one in every connection */
	char *identity;                  /* of the session; "" = none */
	uint64_t store;                  /* no other mock of this process has it */
	struct mock_entry entries[LIMIT_SESSION_ENTRIES];
	uint32_t entry_count;
	uint64_t revision;               /* of the directory */
	struct mock_watch *watches;
	struct mock_binding *bindings;
	struct mock_call *calls;
	uint64_t last_call;
	struct mock_subscription *subscriptions;
	struct mock_retained *retained;
	struct mock_blob *blobs;         /* the newest first */
	struct mock_upload *uploads;
	struct mock_read *reads;
	uint64_t last_blob;
	struct msg *msg;                 /* the one being read */
};

/* ---- mock.c ---- */
char *mock_text(struct span s);          /* a copy that ends in a zero byte */
void mock_error(struct mock *m, uint32_t correlation, enum frame_kind kind, enum err code, const char *text);
void mock_send(struct mock *m, const struct msg *msg, uint32_t correlation);
void mock_send_result(struct mock *m, const struct mock_task *t);
void mock_signal(struct mock *m, const struct mock_task *t, enum signal_kind signal, enum err code);

/* ---- mock_tasks.c ---- */
struct mock_queue *mock_queue_find(struct mock *m, struct span name);
struct mock_queue *mock_queue_new(struct mock *m, struct span name);
struct mock_task *mock_task_find(struct mock *m, uint64_t id);
/* The task, new or (same key) old; or NULL and why. */
struct mock_task *mock_task_submit(struct mock *m, struct span head, struct span payload, enum err *code, bool *duplicate);
void mock_task_state(struct mock *m, struct mock_task *t, enum task_state state);
void mock_task_settle(struct mock *m, struct mock_task *t, enum task_state state, enum err code, struct span result);
void mock_task_done(struct mock *m, struct mock_task *t, uint8_t kind, struct span result);
void mock_task_failed(struct mock *m, struct mock_task *t, enum err class_code, int64_t delay_ms, struct span text);
enum err mock_task_report(struct mock *m, const struct report_item *item, struct span data);
enum err mock_task_cancel(struct mock *m, struct mock_task *t, struct span reason);
void mock_task_again(struct mock *m, struct mock_task *t); /* to ready, with fresh counters */
void mock_leases_lost(struct mock *m);
void mock_tick(struct mock *m);
void mock_tasks_free(struct mock *m);
static inline bool mock_final(uint32_t state) { return state >= TASK_DONE; }
static inline bool mock_leased(uint32_t state) { return state == TASK_LEASED || state == TASK_STARTED; }

/* ---- mock_life.c ---- */
void mock_phase(struct mock *m, struct mock_task *t, enum phase phase, enum err code);
void mock_progress(struct mock *m, struct mock_task *t, const struct report_item *item, struct span text);
enum err mock_yield(struct mock *m, struct mock_task *t, uint32_t number, uint8_t kind, struct span bytes);
void mock_yields_send(struct mock *m, const struct mock_task *t, uint32_t from);
/* The task and all below it, parents first, at most `limit`; the caller frees *out. */
uint32_t mock_family(const struct mock *m, uint64_t task, uint32_t limit, struct mock_task ***out);
enum err mock_parent(const struct mock *m, uint64_t parent, uint64_t *root);
enum err mock_interrupt(struct mock *m, struct mock_task *t, struct span reason);
enum err mock_control(struct mock *m, struct mock_task *t, enum signal_kind signal);

/* ---- mock_directory.c ---- */
struct mock_entry *mock_entry_find(struct mock *m, uint32_t id);
bool mock_entry_fits(const struct mock_entry *e, struct span where); /* where: packed */
uint32_t mock_entries_of(const struct mock *m, struct span service, struct span where);
void mock_serve(struct mock *m, const struct msg_serve *s, uint32_t correlation);
void mock_watch(struct mock *m, const struct msg_watch *w, uint32_t correlation);
void mock_unwatch(struct mock *m, uint32_t id);
void mock_bind(struct mock *m, const struct msg_bind *b, uint32_t correlation);
void mock_unbind(struct mock *m, uint32_t id);
struct mock_binding *mock_binding_find(struct mock *m, uint32_t id);
void mock_directory_forget(struct mock *m); /* the connection is gone */

/* ---- mock_call.c ---- */
void mock_call(struct mock *m, const struct msg_call *c, struct span payload, uint32_t correlation);
void mock_answers(struct mock *m, const struct msg_answer *a, struct span payload);
void mock_call_cancel(struct mock *m, const struct msg_call_cancel *c);
void mock_calls_lost(struct mock *m, uint32_t entry, const char *why);
void mock_calls_tick(struct mock *m);
void mock_calls_forget(struct mock *m);

/* ---- mock_event.c ---- */
void mock_subscribe(struct mock *m, const struct msg_subscribe *s, uint32_t correlation);
void mock_unsubscribe(struct mock *m, uint32_t id, uint32_t correlation);
void mock_publish(struct mock *m, const struct msg_publish *p, struct span payload);
void mock_events_forget(struct mock *m);
void mock_events_free(struct mock *m);

/* ---- mock_blob.c ---- */
void mock_blob_put(struct mock *m, const struct msg_blob_put *p);
void mock_blob_chunk(struct mock *m, const struct msg_blob_chunk *chunk, struct span payload);
void mock_blob_end(struct mock *m, const struct msg_blob_end *end);
void mock_blob_get(struct mock *m, const struct msg_blob_get *g);
void mock_blob_more(struct mock *m, const struct msg_blob_more *more);
void mock_blob_request(struct mock *m, const struct msg_request *r, uint32_t correlation);
bool mock_payload_there(const struct mock *m, uint8_t kind, struct span bytes); /* false: a blob that is not there */
void mock_blobs_forget(struct mock *m);
void mock_blobs_free(struct mock *m);

/* ---- mock_admin.c ---- */
void mock_request(struct mock *m, const struct msg_request *r, uint32_t correlation);
