/* clientlib/client_impl.h: what the files of the client library share. Private.
 *
 *   hlk_submit -> producer -> link.out -> socket          socket -> link.in -> session -> producer | results
 *   hlk_complete -> worker -> link.out                                              | worker | admin -> callbacks
 *
 * net.c moves bytes and knows nodes, sockets and timers; session.c knows frames and the handshake; producer.c, results.c,
 * worker.c with report.c, and admin.c each own one conversation and keep what must be said again after a reconnect.
 *
 * 1. Nothing here blocks but epoll_wait in client.c. The resolver, which does, has a thread of its own (resolve.c).
 * 2. Callbacks run from session_frame and from client_step only. A callback may do anything but close and block, so after
 *    each one every pointer into a growing array must be looked up again.
 * 3. A connection that fails while frames are being read or written is only marked (link_fail); net_step takes it down.
 * 4. What was promised to the caller lives in these structs, never in the connection: losing it loses nothing. */
#pragma once

#include <stdatomic.h>

#include "../wire/map64.h"
#include "../wire/address.h"
#include "../wire/msg.h"
#include "../wire/sha256.h"
#include "../wire/tls.h"
#include "hillock.h"
#include "resolve.h"

enum {
	CONNECT_TIMEOUT_MS = 5000,
	READ_BYTES = 256 << 10,
	READ_ROUNDS = 8,              /* reads of one hlk_process: then the caller gets its turn */
	OUT_EAGER_BYTES = 64 << 10,   /* this much is written at once instead of at the end of the round */
	BATCH_TASKS = 1024,
	BATCH_BYTES = 256 << 10,
	FAST_HANDLER_US = 200,
	SERVE_AGAIN_MS = 2000,        /* a blocked client declares its entries again after this */
	REPORT_AGAIN_MS = 200,        /* a settling report that met a full broker is made again after this */
	YIELDS_UNDONE_MAX = 65536,    /* not acknowledged; then hlk_yield says HLK_AGAIN */
	YIELD_BYTES_MAX = 64 << 20,
	SPILL_BYTES_MAX = 64 << 20,   /* copies of payloads that go up; then hlk_submit says HLK_AGAIN */
	MAP_ERROR_TEXT = 512,
};

/* ---- maps from an id, never 0, to a pointer, never NULL ---- */

static inline void *ids_get(const struct map64 *m, uint64_t id)
{
	const struct map64_slot *slot = map64_find(m, id);
	return slot ? (void *)(uintptr_t)slot->value : NULL;
}

static inline void ids_put(struct map64 *m, uint64_t id, void *value)
{
	struct map64_slot *slot = map64_find(m, id);
	if (slot)
		slot->value = (uintptr_t)value;
	else
		map64_add(m, id, (uintptr_t)value, NULL);
}

/* What was there, or NULL. */
static inline void *ids_take(struct map64 *m, uint64_t id)
{
	struct map64_slot *slot = map64_find(m, id);
	void *value = slot ? (void *)(uintptr_t)slot->value : NULL;
	if (slot)
		map64_remove(m, slot);
	return value;
}

enum client_tls_file { CLIENT_TLS_CA, CLIENT_TLS_CERT, CLIENT_TLS_KEY, CLIENT_TLS_CRL, CLIENT_TLS_FILES };

enum node_kind { NODE_TCP, NODE_TLS, NODE_UNIX, NODE_MOCK };
struct node {
	enum node_kind kind;
	char *url, *host, *port;         /* unix: host is the path */
	struct resolve_job *job;         /* the look-up of the host that is under way; one that hangs is not begun again */
	struct tls_ticket *ticket;       /* net_tls.c: back to its last session; NULL: there is none */
	uint8_t ticket_of[SHA256_BYTES]; /* the settings with which it was got */
};

enum link_state { LINK_WAITING, LINK_CONNECTING, LINK_TLS, LINK_HELLO, LINK_READY, LINK_CLOSED };

struct link {
	enum link_state state;
	int fd;
	bool want_write, failed;
	struct tls *tls;                 /* net_tls.c; NULL: plain bytes */
	size_t tls_sent;                 /* of its records; the rest waits */
	uint8_t *tls_room;               /* what was received and is not unwrapped yet; READ_BYTES */
	int fail_code;
	char fail_text[MAP_ERROR_TEXT];
	struct buf out;
	size_t out_sent;                 /* of out.len; the rest waits */
	uint64_t queued_total, sent_total; /* bytes of this connection */
	struct buf in;                   /* always parsed from an 8-aligned place */
	size_t in_from;
	int64_t due_ms;                  /* WAITING: dial; CONNECTING, HELLO: give up */
	int64_t last_sent_ms, last_heard_ms;
	uint32_t goodbye_ms;             /* the broker asked us to wait this long (plus one) before we come back */
	uint32_t node, attempts, round;  /* attempts since the last success; rounds over all nodes */
	struct addrinfo *addresses, *address;
};

struct session {
	uint8_t id[16];
	bool known;                      /* a broker has welcomed it: ask to resume */
	int refused_code;                /* PERMISSION or VERSION until the next WELCOME */
	int last_code;                   /* why there is no connection */
	char last_text[MAP_ERROR_TEXT];
	uint32_t heartbeat_ms, payload_max, frame_payload_max;
	uint32_t blob_above, blob_chunk; /* above 0: the broker keeps blobs; 0 before the first connection, too */
	uint64_t blob_max;
	char *node, *broker;
	uint64_t address, store;
};

struct hlk_head {
	_Atomic uint32_t refs, above;    /* above: payloads of more bytes are known to be refused inline; 0 = nothing is known */
	struct buf bytes;
	enum hlk_confirm confirm;
	bool alone;                      /* has a key: one task per frame */
	bool child;                      /* has a parent, which this client holds */
	bool want_result, want_updates;
	uint32_t reach;                  /* how far back it refers */
};

/* Submissions that travel together; kept until every one has its answer. */
struct submit_frame {
	struct submit_frame *prev, *next;
	uint64_t first_seq, end;         /* end: link.queued_total when it had been queued */
	uint32_t count, unresolved, correlation;
	enum hlk_confirm confirm;
	bool want_result, want_updates, queued, child;
	struct hlk_head *head;
	struct spilled_task *spilled;    /* its payload goes up first, or went; NULL: it is in the frame */
	bool held;                       /* not ready to be sent, and nor is what is behind it */
	struct buf bytes;
};
struct slot { hlk_submit_fn *fn; void *ctx; };
struct producer {
	uint64_t id, next_seq, resolved_below;
	uint32_t window, window_now, mask, unresolved, none_frames, frame_count, spare_count, held_count;
	uint64_t spilled_bytes;
	struct slot *slots;              /* by sequence & mask */
	uint8_t *resolved;
	struct submit_frame *first, *last, *cursor, *spare;
	struct submit_frame *unsent;     /* it and those behind it wait for room in the connection; NULL = none does, or there is none */
	struct hlk_head *head;           /* of the batch that is being collected; NULL = none */
	uint64_t batch_seq;
	uint64_t told_below;             /* the highest resolved_below in a frame */
	bool children;                   /* there were frames with parents */
	uint32_t reach;                  /* of all heads so far: what they refer to is not given up as resolved */
	uint32_t batch_count;
	uint32_t *sizes;
	struct buf payload;
};

struct await {
	struct await *next;              /* of the same task */
	uint64_t task;
	int64_t deadline_ms;             /* INT64_MAX: never */
	uint32_t correlation;            /* of the AWAIT that asked for it last; 0 = none */
	hlk_result_fn *fn;
	void *ctx;
};
struct u64_list { uint64_t *at; uint32_t count, cap; };
struct results {
	hlk_result_fn *fn;
	void *ctx;
	struct map64 awaits;             /* task -> struct await */
	struct map64 expected;           /* confirmed with want_result, not here yet -> correlation of its AWAIT, or 0 */
	struct map64 watched;            /* updates are wanted -> the yield that comes next */
	struct map64 shaped;             /* its result becomes an object -> struct shape */
	hlk_update_fn *update;
	void *update_ctx;
	bool blind;                      /* want_result without a confirm was asked for: ids are not known */
	struct u64_list ask, forget;     /* not sent yet */
	int64_t next_deadline_ms;
	struct buf kept;                 /* what hlk_await_wait gave out */
};

struct entry {
	uint32_t id, credit, granted, held; /* granted: what the broker may still send */
	uint64_t taken, max;             /* delivered so far, and how many may be */
	char *service;
	bool by_queue, manual_start, gone, fast;
	bool bridged;                    /* it stands for one elsewhere: see bridge.c */
	hlk_task_fn *task;
	hlk_signal_fn *signal;
	hlk_call_fn *call, *call_cancelled;
	void *ctx;
	char *params, **vnets, **hot, **call_types;
	uint32_t vnet_count, hot_count, call_type_count, capacity, cost;
	size_t fetch;                    /* blobs up to this size come before the handler is called */
	char *reference_type;
	uint32_t above;                  /* results of more bytes are known to be refused inline; 0 = nothing is known */
};

/* A DELIVER frame, kept while one of its tasks lives. */
struct delivery {
	uint32_t refs;
	struct span after;               /* u64 each */
	struct hlk_header headers[LIMIT_HEADERS];
	_Alignas(8) uint8_t bytes[];
};
struct hlk_task {
	struct hlk *client;
	struct hlk_task *prev, *next;
	struct delivery *delivery;
	struct entry *entry;
	void *ctx;
	uint32_t epoch;
	bool started, lost;
	uint32_t next_yield;
	uint32_t fetch;                  /* the transfer that brings its payload; until then the handler does not know of it */
	struct buf fetched;
	void *object;                    /* what its shape made of the payload */
	struct hlk_task_info info;
};

struct report_key { struct task_ref ref; uint32_t number; uint8_t verb; bool done, blob; }; /* number: of a yield */
/* A REPORT frame with settling verbs, kept until each is acknowledged. */
struct report_frame {
	struct report_frame *next;
	uint32_t count, undone, correlation;
	bool resent;
	int64_t again_ms;                /* 0, or when to say it again */
	struct buf bytes;
	struct report_key keys[];
};
struct dropped { uint64_t task; uint32_t attempt; };
struct worker {
	struct entry **entries;          /* by id */
	uint32_t entry_count, last_entry;
	bool serve_dirty, credit_dirty, held_due; /* held_due: the next SERVE says what we hold */
	uint32_t serve_correlation;
	int serve_code;
	char serve_text[256];
	int64_t serve_again_ms;          /* 0, or when a blocked client asks again */
	bool stop_asked;                 /* by the operator */
	struct map64 tasks;              /* id -> struct hlk_task */
	struct hlk_task *live, *free;
	void **slabs;
	uint32_t slab_count;
	struct report_item *items;       /* of the batch that is being collected */
	uint32_t item_count, item_kept;
	struct buf payload;
	struct report_frame *first, *last, *cursor;
	struct spilled_report *spills;   /* in the order in which they were made */
	uint32_t spill_count;
	uint64_t spilled_bytes;
	uint32_t cursor_key, undone;     /* undone: yields included */
	uint64_t kept_bytes;             /* of the frames that are kept */
	int64_t again_ms;
	struct dropped *dropped;         /* settled although lost: told at the next step */
	uint32_t dropped_count, dropped_cap;
	hlk_settled_fn *settled;
	void *settled_ctx;
	_Atomic bool stop;
};

struct hlk_topic {
	struct hlk *client;
	struct hlk_topic *next;          /* of the client */
	uint32_t refs;                   /* the caller's, and that of the batch that is being collected */
	int64_t unwanted_until_ms;       /* nobody wants it, as far as that holds */
	bool wanted, retain, always;     /* wanted: the broker said so */
	struct buf bytes;
	struct hlk_event event;          /* what equal events share, for subscriptions of this client; borrows bytes */
	struct hlk_header headers[];
};
struct published_slot { hlk_publish_fn *fn; void *ctx; uint32_t local; };
/* Events that travel together; kept until they are written, or answered where that was asked for. */
struct publish_frame {
	struct publish_frame *next;
	uint64_t number;
	uint32_t count, correlation;
	bool confirm, sent, held;        /* held: its payload goes up first, and what is behind it waits */
	uint32_t transfer;
	struct hlk *client;
	struct hlk_topic *topic;         /* of one that is held */
	uint64_t id;
	size_t counted;                  /* in unanswered_bytes */
	struct buf bytes, data;          /* data: what goes up */
	struct published_slot slots[];
};
struct subscription {
	struct subscription *next;
	uint32_t id, correlation, window, consumed; /* consumed: received and not given back as credit */
	bool dirty, stands, gone;
	bool said, ending;               /* the broker may have it; it is gone, and the broker has not answered to that */
	int code;
	struct hlk_subscribe_options options;
	struct hlk_subscription_counts counts;
	char pattern[LIMIT_NAME_BYTES + 1];
};
struct events {
	struct hlk_topic *topics;
	struct hlk_topic *topic;         /* of the batch that is being collected; NULL = none */
	struct published_slot *slots;
	uint32_t *sizes;
	uint32_t count;
	bool confirm;
	struct buf payload;
	struct publish_frame *first, **last;
	uint32_t unanswered;             /* events that somebody waits for, or that are not sent */
	size_t unanswered_bytes;
	uint64_t next_id, numbers, encoded, held_back;
	struct subscription *subscriptions;
	uint32_t next_subscription, depth; /* depth: of handlers that publish to each other */
	bool subscribe_dirty, credit_dirty;
	const struct hlk_event *relayed; /* whose id and origin the frame in the making has; NULL = our own */
	struct buf object;
	char text[MAP_ERROR_TEXT];
};

typedef void reply_fn(struct hlk *c, const struct msg_reply *reply, void *arg);
struct admin {
	uint32_t correlation;            /* of the request under way; 0 = none */
	bool sent, done;
	int code;
	char text[MAP_ERROR_TEXT];
	reply_fn *fn;
	void *arg;
};

struct pending_call;
struct call_batch { /* calls that travel together */
	char *service, *where, *type, *address, *trace, *correlation;
	struct address to;
	bool all, stream, wait, headers;
	uint32_t binding, deadline_ms, count, number;
	uint64_t fingerprint, first;
	struct buf head, sizes, payload;
	int64_t over_ms;                 /* when its calls time out */
};
struct caller {
	struct call_batch batch;
	struct map64 pending;            /* number -> struct pending_call */
	uint64_t map_memory, next, sent_below, late;
	uint64_t last_spilled;           /* numbers of those that go up first; see caller.c */
	struct pending_call *free;
	struct buf unsent, cancels, kept;
	struct buf waiting;              /* struct call_frame of each CALL in `unsent` */
	bool stale;                      /* calls that were not sent are over: see drop_over */
	uint32_t refused;                /* the CALL that is being refused as a whole */
	int64_t next_deadline_ms;
	struct msg cancel_msg;
};
struct holder {
	struct hlk_call *live, *free;
	struct buf items, payload;       /* answers of this step */
	uint32_t connection;             /* grows with each that is lost */
};
struct watch;
struct directory { struct watch *watches; uint32_t last; };
struct client_binding;
struct bindings { struct client_binding *first; uint32_t last; };

struct transfer;
struct blob_waited;
struct shape;
struct blobs {
	struct transfer *first;          /* in the order in which they were asked for */
	uint32_t last_id, last_wire;
	int64_t due_ms;
	struct buf room, frame;          /* what is read from a source; the chunk made of it */
	struct buf kept, reference;      /* what the waiting calls, and hlk_payload_of, gave out */
	struct transfer *telling;        /* whose end is being told */
	struct blob_waited *direct;      /* of hlk_blob_put_url */
	struct shape *shapes;
};

struct mock;
struct hlk {
	struct hlk_error error;
	char *name, *token, *token_file, *vnet, *identity;
	struct { int64_t due_ms; uint32_t correlation; } renew; /* of an access token; due 0: never */
	bool force;
	char *tls_files[CLIENT_TLS_FILES], *tls_server_name;
	bool tls_ocsp_required;
	struct node *nodes;
	uint32_t node_count, backoff_min_ms, backoff_max_ms;
	void (*state)(struct hlk *c, bool connected, const char *detail, void *ctx);
	void *state_ctx;
	int epoll_fd, timer_fd, wake_fd;
	int64_t now_ms, armed_ms;
	int timeout_ms;
	uint64_t random;
	uint32_t correlation;
	bool in_step, due;               /* due: there is work that no descriptor shows */
	bool closing;                    /* takes nothing new any more */
	struct link link;
	struct session session;
	struct producer producer;
	struct results results;
	struct worker worker;
	struct events events;
	struct caller caller;
	struct holder holder;
	struct directory directory;
	struct bindings bindings;
	struct admin admin;
	struct blobs blobs;
	struct msg msg;                  /* the frame being read: large, so not on the stack */
	struct mock *mock;
	uint32_t retry_after_ms;         /* said in the last refusal that said one */
};

/* ---- error.c ---- */
int error_set(struct hlk *c, int code, const char *format, ...) PRINTF_LIKE(3, 4); /* returns code */
void error_fill(struct hlk_error *error, int code, const char *format, ...) PRINTF_LIKE(3, 4);

/* ---- client.c ---- */
int64_t client_now(struct hlk *c);     /* reads the clock and remembers it */
uint64_t client_random(struct hlk *c);
uint32_t client_correlation(struct hlk *c);
int64_t client_deadline(struct hlk *c, int timeout_ms);
int client_wait(struct hlk *c, int64_t deadline_ms); /* one turn of a blocking call; HLK_TIMEOUT when the deadline has passed */
/* Something was put aside to be sent, outside of a callback: hlk_fd becomes readable, so that a poll loop comes to send it. */
void client_touch(struct hlk *c);
int client_may_block(struct hlk *c);
void client_flush(struct hlk *c);      /* everything collected goes to link.out and on to the socket */

/* ---- net.c ---- */
int net_parse_urls(struct hlk *c, const char *urls, struct hlk_error *error);
void net_free(struct hlk *c);
void net_step(struct hlk *c);          /* connects, takes down what failed, reads */
void net_write(struct hlk *c);
void net_timers(struct hlk *c);
int64_t net_next_due(struct hlk *c);
void net_fail(struct hlk *c, int code, const char *format, ...) PRINTF_LIKE(3, 4); /* marks the connection as failed */
void net_close(struct hlk *c);
static inline bool net_ready(const struct hlk *c) { return c->link.state == LINK_READY && !c->link.failed; }
void net_queue(struct hlk *c, struct span bytes); /* whole frames */
bool net_full(const struct hlk *c);   /* the socket takes nothing more for now */

/* ---- net_tls.c: between net.c and the socket, where the url says tls:// ---- */
int net_tls_options(struct hlk *c, const struct hlk_options *o, struct hlk_error *error);
void net_tls_free(struct hlk *c);
void net_tls_begin(struct hlk *c);     /* the socket is connected */
bool net_tls_handshake(struct hlk *c); /* true: it is done */
ssize_t net_tls_send(struct hlk *c, struct span bytes);         /* like send */
ssize_t net_tls_receive(struct hlk *c, void *room, size_t size); /* like recv; a failure of TLS has been marked */
bool net_tls_unsent(const struct hlk *c);
void net_tls_drop(struct hlk *c, bool tell); /* tell: close_notify is sent, if that can be done at once */

/* ---- session.c ---- */
void session_say_hello(struct hlk *c);
void session_frame(struct hlk *c, const struct frame *frame);
void session_down(struct hlk *c);      /* the connection is gone */
void session_heartbeat(struct hlk *c);
int64_t session_next_due(const struct hlk *c);
void session_send(struct hlk *c, const struct msg *msg, uint32_t correlation);

/* ---- producer.c ---- */
void producer_flush(struct hlk *c);
void producer_up(struct hlk *c);       /* a connection: nothing of it has been sent there; producer_more follows */
void producer_children(struct hlk *c); /* before a report, which may end a parent: queues submissions with parents, room or not */
void producer_down(struct hlk *c);
bool producer_more(struct hlk *c);     /* queues frames until the connection is full; false: there were none */
void producer_confirms(struct hlk *c, const struct msg_confirms *m);
int producer_check(struct hlk *c, const struct hlk_head *head); /* is there room for one more? */
bool producer_spill_again(struct hlk *c, struct submit_frame *f, uint64_t seq, const struct confirm_run *run);
void producer_spill_free(struct hlk *c, struct submit_frame *f);
struct submit_frame *producer_frame(struct hlk *c, struct hlk_head *head, hlk_submit_fn *fn, void *ctx); /* one task, held */
void producer_ready(struct hlk *c, struct submit_frame *f, struct span head, struct span payload); /* and what waits behind it */
void producer_answer(struct hlk *c, struct submit_frame *f, uint64_t seq, const struct hlk_confirmed *answer);
int producer_spill(struct hlk *c, struct hlk_head *head, const void *payload, size_t size, hlk_submit_fn *fn, void *ctx);
bool producer_refused(struct hlk *c, uint32_t correlation, int code, struct span text);
void producer_written(struct hlk *c);  /* after a write: submissions without a confirm are resolved by it */
void producer_close(struct hlk *c, bool tell);

/* ---- results.c ---- */
void results_flush(struct hlk *c);
void results_up(struct hlk *c);
void results_expect(struct hlk *c, uint64_t task, bool ask, bool updates);
void results_updates(struct hlk *c, const struct msg_updates *m, struct span payload);
void results_frame(struct hlk *c, const struct msg_results *m, struct span payload);
bool results_refused(struct hlk *c, uint32_t correlation, int code, struct span text);
void results_give(struct hlk *c, const struct hlk_result *result); /* to those who wait for it */
void results_timers(struct hlk *c);
void results_close(struct hlk *c, bool tell);

/* ---- worker.c ---- */
void worker_flush(struct hlk *c);
void worker_up(struct hlk *c, bool resumed);
void worker_deliver(struct hlk *c, const struct frame *frame);
void worker_signals(struct hlk *c, const struct msg_signals *m);
bool worker_refused(struct hlk *c, uint32_t correlation, int code, struct span text);
void worker_blocked(struct hlk *c, struct span text); /* the operator has: nothing that was declared stands */
void worker_lost(struct hlk *c, const struct task_ref *ref); /* a start or extension was refused */
void worker_retire(struct hlk *c);     /* no more tasks: what is on its way is given back */
void worker_close(struct hlk *c);
void task_free(struct hlk_task *task);
void worker_hand_over(struct hlk *c, struct hlk_task *task); /* a task whose payload has come */

struct entry *worker_entry(struct hlk *c, uint32_t id); /* NULL: there is none */

/* ---- caller.c ---- */
void caller_flush(struct hlk *c);
void caller_down(struct hlk *c);
void caller_timers(struct hlk *c);
void caller_answers(struct hlk *c, const struct msg_answer *m, struct span payload);
bool caller_refused(struct hlk *c, uint32_t correlation, int code, struct span text);
void caller_close(struct hlk *c, bool tell);

/* ---- holder.c ---- */
void holder_flush(struct hlk *c);
void holder_invoke(struct hlk *c, const struct frame *frame);
void holder_cancelled(struct hlk *c, const struct msg_call_cancel *m);
/* hlk_answer and its sisters in one, with the number of the holder's own whatever the code. */
int holder_answer(struct hlk_call *call, const struct hlk_answer *answer);
bool holder_uses(const struct hlk *c, const struct entry *e); /* a call to it is not answered */
void holder_down(struct hlk *c);
void holder_close(struct hlk *c);

/* ---- binding.c ---- */
void binding_flush(struct hlk *c);
void binding_down(struct hlk *c);
void binding_changed(struct hlk *c, const struct msg_binding *m);
bool binding_refused(struct hlk *c, uint32_t correlation, int code, struct span text);
void binding_close(struct hlk *c);

/* ---- directory.c ---- */
void directory_flush(struct hlk *c);
void directory_down(struct hlk *c);
void directory_changes(struct hlk *c, const struct msg_changes *m);
bool directory_refused(struct hlk *c, uint32_t correlation, int code, struct span text);
void directory_close(struct hlk *c);

/* ---- report.c ---- */
/* Adds one report to the batch. Copies `data`. */
void report_add(struct hlk_task *task, const struct report_item *item, struct span data);
void report_flush(struct hlk *c);
void report_up(struct hlk *c);
void report_reported(struct hlk *c, const struct msg_reported *m);
bool report_refused(struct hlk *c, uint32_t correlation, int code);
bool report_pending(const struct worker *w, const struct task_ref *ref); /* is a settling report of it not acknowledged? */
void report_drop(struct hlk *c, uint64_t task, uint32_t attempt);
void report_timers(struct hlk *c);
void report_close(struct hlk *c);

/* The same, for a task that its handler is done with. */
void report_put(struct hlk *c, const struct task_ref *ref, const struct report_item *item, struct span data);

/* ---- report_spill.c ---- */
/* Is something of this task going up? Then what is said of it waits behind. */
bool report_waits(const struct worker *w, const struct task_ref *ref);
/* The bytes go up, and then the report is made. `entry` (may be NULL) counts the task as held until then. */
void report_spill(struct hlk *c, const struct task_ref *ref, struct entry *entry, const struct report_item *item, struct span data);
void report_behind(struct hlk *c, const struct task_ref *ref, struct entry *entry, const struct report_item *item, struct span data);
void report_spill_drain(struct hlk *c); /* makes the reports that nothing is in front of any more */
/* Parts of tasks go up, or wait behind what does: what would end a task waits, too. */
static inline bool report_parts_wait(const struct hlk *c) { return c->producer.held_count > 0 && c->producer.children; }
/* A report was refused because of what its bytes are. True: it is made again in another form. */
bool report_spill_again(struct hlk *c, const struct report_frame *f, const struct report_key *key, int code);
uint32_t report_spill_refs(const struct worker *w, struct task_ref *out); /* of settled tasks; at most spill_count */
void report_spill_close(struct hlk *c);

/* ---- fetch.c: what a payload needs before a handler may see it ---- */
/* False: the handler may be called. Else it is called later, or the task (the call) was refused. */
bool fetch_task(struct hlk *c, struct hlk_task *task);
void fetch_signal(struct hlk *c, struct hlk_task *task, const char *signal); /* of a task that the handler does not know yet */

/* ---- shape.c ---- */
struct shape *shape_find(const struct hlk *c, const char *type, bool results);
size_t shape_max(const struct shape *s);
bool shape_expand_task(struct hlk *c, struct hlk_task *task); /* false: it was failed */
void shape_release_task(struct hlk_task *task);
void shape_expect(struct hlk *c, const struct hlk_head *head, uint64_t task); /* its result becomes an object, if there is a shape */
bool shape_result(struct hlk *c, const struct hlk_result *result);            /* false: it is none of those */
void shape_close(struct hlk *c);

/* ---- publish.c ---- */
/* hlk_relay; `always`: the caller bounds what is under way. */
int publish_relay(struct hlk *c, const struct hlk_event *event, bool always, hlk_publish_fn *fn, void *ctx);
void publish_flush(struct hlk *c);
void publish_up(struct hlk *c);
void publish_down(struct hlk *c);
void publish_published(struct hlk *c, const struct msg_published *m);
void publish_interest(struct hlk *c, const struct msg_interest *m);
bool publish_refused(struct hlk *c, uint32_t correlation, int code, struct span text);
void publish_close(struct hlk *c);

/* ---- subscribe.c ---- */
void subscribe_flush(struct hlk *c);
/* What it will have in the next connection; nothing is sent. */
void subscription_window(struct hlk *c, uint32_t subscription, uint32_t window);
void subscribe_up(struct hlk *c);
void subscribe_subscribed(struct hlk *c, const struct msg_subscribed *m);
void subscribe_events(struct hlk *c, uint32_t id, const struct msg_events *m, struct span payload);
bool subscribe_refused(struct hlk *c, uint32_t correlation, int code, struct span text);
uint32_t subscribe_local_count(const struct hlk *c, const struct hlk_event *event); /* how many of our own want it */
void subscribe_local(struct hlk *c, const struct hlk_event *event);                 /* hands it to them */
void subscribe_close(struct hlk *c);

/* ---- zone.c ---- */
/* Fills the zone of a schedule from the system's time zone database. */
int zone_load(const char *name, struct schedule_info *out, struct hlk_error *error);

/* ---- blob.c ---- */
void blob_flush(struct hlk *c);
void blob_step(struct hlk *c);
void blob_up(struct hlk *c, bool resumed);
void blob_down(struct hlk *c);
void blob_state(struct hlk *c, const struct msg_blob_state *m);
void blob_data(struct hlk *c, const struct msg_blob_data *from, struct span payload);
bool blob_refused(struct hlk *c, uint32_t correlation, int code, struct span text);
void blob_close(struct hlk *c, bool tell);

/* ---- admin.c ---- */
void admin_down(struct hlk *c);
/* One request and its answer, waited for; `fn` gets the reply where it says OK. A question may be asked again after a cut. */
int admin_ask(struct hlk *c, const struct msg_request *request, bool question, const char *what, reply_fn *fn, void *arg);
void admin_take_reply(struct hlk *c, uint32_t correlation, const struct msg_reply *m);
/* ---- renew.c ---- */
void token_set(struct hlk *c, const char *text, size_t len); /* NULL: none */
void token_read(struct hlk *c); /* from token_file, where there is one */
void renew_up(struct hlk *c);   /* WELCOME */
bool renew_reply(struct hlk *c, uint32_t correlation, const struct msg_reply *m); /* true: it was ours */
void renew_due(struct hlk *c);
bool admin_refused(struct hlk *c, uint32_t correlation, int code, struct span text);

/* ---- mock.c: a broker in memory that speaks frames ---- */
struct mock *mock_new(void);
void mock_free(struct mock *m);
void mock_connect(struct mock *m);     /* a new connection: what the last one left half said is gone */
void mock_input(struct mock *m, struct span bytes); /* whole frames */
struct buf *mock_output(struct mock *m);
