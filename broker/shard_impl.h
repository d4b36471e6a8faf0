/* broker/shard_impl.h: what the files of the shard share. Private to them.
 *
 * Who owns what: shard.c the turn and the stop, wheel.c coarse timers, conn.c bytes of a connection, session.c who is behind
 * it, route.c frames -> proposals, confirm.c proposals -> answers, deliver.c tasks -> workers, results.c results -> those who wait,
 * directory.c entries, call.c live requests, admin_block.c who is kept out of work,
 * hold.c when the log is flushed, admin.c questions.
 *
 * 1. A connection is freed when io said `closed` and no proposal names it any more (refs).
 * 2. A session is named across turns by slot and generation; a stale name finds nothing.
 * 3. Proposals are answered in the order in which their records were appended: the log applies in that order. */
#pragma once

#include "../wire/map64.h"
#include "bucket.h"
#include "hash.h"
#include "shard.h"
#include "redrive.h"
#include "schedule.h"
#include "types.h"
#include "access.h"

/* ---- coarse timers ---- */

enum { WHEEL_SLOTS = 512, WHEEL_TICK_MS = 50 };

struct timer {
	struct timer *next, **link; /* link NULL = not armed */
	uint64_t tick;
	void (*fire)(struct shard *s, struct timer *t);
};
struct wheel {
	struct timer *slots[WHEEL_SLOTS];
	uint64_t used[WHEEL_SLOTS / 64];
	uint64_t tick; /* all before it have fired */
	uint32_t count;
};
/* Arms, or arms again. Fires in the first turn after `at_ms` (monotonic), at most a tick late, or earlier where it lies further
 * away than the wheel is round: fire() looks at the clock itself. */
void timer_set(struct shard *s, struct timer *t, uint64_t at_ms);
void timer_sooner(struct shard *s, struct timer *t, uint64_t at_ms); /* never later than it is armed for */
void timer_clear(struct shard *s, struct timer *t);
void wheel_run(struct shard *s);
uint64_t wheel_next_ms(const struct shard *s); /* UINT64_MAX = none */

/* ---- connections ---- */

struct head_cache {
	struct task_head head; /* borrows bytes, and names of types */
	struct buf bytes;
	const struct type *type;   /* NULL = a plain name */
	uint64_t types_generation; /* what is here is as of */
};

struct conn {
	struct shard *s;
	struct io_conn io;
	struct session *session; /* NULL before WELCOME and once it is detached */
	struct conn *next, *prev; /* all connections */
	struct conn *dirty_next, *paused_next;
	struct timer timer;
	struct buf in;           /* the part of a frame that is there; several frames only while paused */
	size_t in_need;
	struct buf out, sending;
	struct buf confirms;     /* struct confirm_run, of confirm_producer */
	struct buf reported;     /* struct reported_item */
	struct buf signals;      /* struct signal_item */
	struct conn_calls {      /* NULL: nothing to say about calls */
		struct buf answers, bytes; /* struct answer_item */
		struct buf cancels;        /* numbers of calls */
	} *calls;
	uint64_t confirm_producer;
	bool confirms_refused;   /* some of them */
	struct head_cache *cache;
	size_t accounted;        /* bytes counted in shard.buffer_bytes */
	uint64_t in_ms, out_ms;  /* last traffic, monotonic */
	uint64_t frame_ms;       /* when the partial frame was begun; 0 = none */
	uint64_t deadline_ms;    /* of the handshake, or of the close */
	uint32_t refs;           /* proposals that name it */
	uint32_t handshake_bytes;
	struct conn *door_next, *door_prev; /* door.c: those without a session */
	uint32_t source;         /* door.c: where it comes from */
	uint16_t retries;        /* of the frame that is held */
	bool at_door, slowed;    /* slowed: not read until slow_until_ms, for its principal is over its rate */
	uint64_t slow_until_ms;
	uint64_t held_ms;        /* since when its frame of new work waits for memory; 0 = it does not */
	bool dirty, closing, close_started, gone, send_busy, paused, retry_wait, starved, local;
	uint8_t tls_principal_kind; /* enum tls_name_kind */
	struct conn_tls *tls;    /* conn_tls.h; NULL = the bytes are plain */
	struct conn_file *file;  /* conn_file.h; NULL = all that goes out is in memory */
	char *tls_principal;     /* whom the certificate of the client names; NULL = nobody */
	char peer[];             /* its address, for people */
};

void conn_init(struct shard *s);
/* Something was put into c->out or an answer queue: it is sent at the end of the turn. */
void conn_touch(struct conn *c);
void conn_flush_dirty(struct shard *s);
size_t conn_waiting(const struct conn *c); /* bytes that are not handed to the io yet */
size_t conn_queued(const struct conn *c);  /* those and what is being sent */
bool conn_full(const struct conn *c);      /* it is not to get tasks: what waits is more than out_buffer_soft */
/* Says ERROR; with fatal the connection is closed behind it. */
void conn_refuse(struct conn *c, const struct msg_error *error, uint32_t correlation);
void conn_error(struct conn *c, enum err code, const char *text, uint16_t kind, uint32_t correlation, bool fatal);
/* Bytes of frames have come. */
void conn_plain(struct conn *c, struct span bytes);
/* The same without a copy: where the rest of the frame goes that is coming, NULL where there is none; then how much was put there. */
uint8_t *conn_room(struct conn *c, size_t *room);
void conn_room_used(struct conn *c, size_t bytes);
/* Its principal may have another rate now: if it was slowed it is read again, and judged anew by what comes. */
void conn_lift(struct conn *c);
/* Orderly: what is queued is still sent. */
void conn_close(struct conn *c);
/* At once; nothing more is sent. */
void conn_abort(struct conn *c, const char *why);
void conn_unref(struct conn *c);
/* Gives paused connections another try. */
void conn_retry_paused(struct shard *s);
void conn_shed(struct shard *s); /* memory_max */
void conns_free(struct shard *s);

/* ---- sessions ---- */

struct session_ref { uint32_t slot, generation; };

struct consumer {
	struct session *session;
	struct consumer *session_next;
	struct consumer *next, **link; /* a credit bucket of its group, or the unbound ones; NULL = in none */
	uint32_t entry, queue, credit;
	struct group *group; /* those like it in its outlet; NULL while unbound */
	uint64_t stamp;      /* when it got into its bucket */
	uint64_t identity;   /* the same as long as the session lives */
	struct span params;  /* packed; owned */
	uint64_t *hot;       /* hashes of names, sorted */
	uint32_t hot_count, cost;
	uint8_t bucket;
	uint8_t name_len;
	bool able;           /* it is for tasks, and not on its way out: had credit since it was declared, or work from before */
	char name[];
};

struct session {
	uint8_t id[16];
	struct session_ref ref;
	struct session *hash_next;
	struct conn *conn; /* NULL = in grace */
	struct holder *holder;
	struct consumer *consumers;
	uint32_t consumer_count;
	struct timer grace;
	uint64_t grace_at_ms, connected_wall_ms;
	uint64_t *results; /* settled tasks it waits for, not yet pushed: a ring */
	uint32_t results_head, results_count, results_cap;
	struct session *results_next;
	struct event_peer *events; /* event.h; NULL until it publishes or subscribes */
	char *client;
	const char *vnet;
	struct upload *uploads;    /* blob_desk.h */
	struct blob_read *reads;
	uint32_t last_read;
	uint16_t upload_count, read_count;
	struct last_read *last_reads; /* that were over last; NULL until there is one */
	/* directory.c, call.c */
	struct shard *shard;
	uint64_t number;     /* its address */
	struct dir_entry *entries;
	uint32_t entry_count, call_count;
	struct dir_watch *watches;
	struct binding *bindings;
	struct live_call *calls;  /* it waits for, newest first */
	uint64_t call_last;  /* the highest number it has used */
	bool draining;       /* no new work for it */
	bool results_listed, streams_listed;
	struct stream *streams;       /* all of them; those with something to push are on the list, too */
	struct stream *streams_due, **streams_tail;
	struct session *streams_next;
	char *identity;      /* NULL: any number of its kind may live */
	char *release;       /* of its library, as it says */
	struct session_counts { uint64_t delivered, completed, failed, returned, calls; } counts;
	struct who who;
	struct usage *usage; /* usage.h; never NULL once it has been welcomed */
	uint32_t always;     /* bits of verbs that need no look at the rules: permit.h */
	uint64_t scope;      /* of its producers and keys; 0: anybody's, in the vnet default */
};

struct session *session_get(struct shard *s, struct session_ref ref);
enum err session_hello(struct conn *c, const struct msg_hello *m, uint32_t correlation, char text[128]);
/* The connection is gone; the session waits for its client. */
void session_detach(struct conn *c);
void session_end(struct shard *s, struct session *session);
struct holder *session_holder(struct shard *s, struct session *session);
void sessions_init(struct shard *s);
void sessions_free(struct shard *s);

/* ---- delivery ---- */

struct outlet; /* outlet.h */
struct group;
bool deliver_room(const struct shard *s, uint32_t entries); /* for so many entries, should all be of new kinds */
void deliver_serve(struct session *session, const struct msg_serve *m);
void deliver_credit(struct session *session, const struct msg_credit *m);
void deliver_drain(struct shard *s, struct session *session); /* no new tasks for it */
void deliver_withdraw(struct shard *s, struct session *session); /* all its entries */
void deliver_withdraw_one(struct shard *s, struct session *session, uint32_t entry);
void deliver_ready(struct shard *s, uint32_t queue, uint32_t slot);
void deliver_slot(struct shard *s, uint32_t queue, uint32_t slot);
void deliver_settled(struct shard *s, uint64_t task);
void deliver_fetched(struct shard *s, uint64_t addr);
uint32_t deliver_workers(const struct shard *s, uint32_t queue); /* entries that serve it */
/* Is there a live entry of the queue (0: of the one of this name, which is not there yet) that could take a task with these packed
 * requirements, now or when it has done what it has? */
bool deliver_could(struct shard *s, uint32_t queue, struct span name, struct span requires);
void deliver_rebind(struct shard *s);           /* queues came or went */
void deliver_unblock(struct conn *c);           /* its output has room again */
bool deliver_run(struct shard *s);              /* true = there is more */
void deliver_retry(struct shard *s);            /* tries held queues again now and then: a failed read may have been a passing fault */
/* Tasks that are handed out once (once.c): their leases are in the log before they leave. */
void once_hold(struct shard *s, const struct consumer *x, const struct deliver_item *items, uint32_t count);
void once_committed(struct shard *s, uint32_t count);
bool once_run(struct shard *s); /* true = there is more */
void deliver_free(struct shard *s);

/* ---- results ---- */

struct watch { uint64_t task; struct session_ref session; };
bool results_watch(struct shard *s, uint64_t first_task, uint32_t count, struct session_ref session);
void results_forget(struct shard *s, uint64_t task, struct session_ref session);
void results_settled(struct shard *s, uint64_t task);
enum err results_await(struct conn *c, const struct msg_tasks *m, uint32_t correlation);
void results_end(struct session *session, struct shard *s); /* the session is over */
void results_list(struct shard *s, struct session *session); /* it has something to push and a connection */
void results_fetched(struct shard *s);
bool results_run(struct shard *s);

/* ---- streams: what becomes known of tasks while they run ---- */

struct stream; /* streams.c */
/* Updates of these tasks go to the session, yields from number `from` on. False: streams_max is reached. */
bool streams_open(struct shard *s, uint64_t first_task, uint32_t count, struct session *session, uint32_t from);
void streams_close(struct shard *s, uint64_t task, struct session *session);
/* The task is final. True: a stream holds the result back; results_ready is called when the last yield is on its way. */
bool streams_final(struct shard *s, uint64_t task, struct session *session);
void streams_update(struct shard *s, const struct update_item *item, struct span data, uint32_t after);
void streams_yielded(struct shard *s, uint64_t task);
void streams_list(struct shard *s, struct session *session); /* it may have something to push and has a connection */
void streams_fetched(struct shard *s);
bool streams_run(struct shard *s); /* true = there is more */
void streams_end(struct shard *s, struct session *session); /* the session is over */
void streams_free(struct shard *s);
void results_ready(struct shard *s, struct session *session, uint64_t task);

/* ---- routing, answers, administration ---- */

/* ERR_AGAIN: not now; keep the frame and try again. Else the frame is done with: ERR_OK, or a refusal (text). */
bool route_knows(uint16_t kind); /* may a client send it? */
enum err route_frame(struct conn *c, const struct frame *frame, char text[128]);

enum pending_kind { PENDING_SUBMIT, PENDING_REPORT, PENDING_ADMIN, PENDING_PUBLISH, PENDING_NOBODY, PENDING_PURGE };
struct pending {
	uint8_t kind, confirm;
	bool want_result, want_updates;
	uint16_t code;         /* ADMIN: of the first refusal */
	uint32_t records;      /* still to be applied */
	uint32_t correlation;
	struct conn *conn;
	struct event_peer *peer; /* PUBLISH */
	struct purging *purging; /* PURGE */
	struct session_ref session;
	uint64_t producer;
	uint64_t affected;
	uint32_t sessionless;
	struct buf spec;       /* ADMIN: answered when all is well; owned, wiped */
};
void confirms_free(struct shard *s);
void confirm_push(struct shard *s, const struct pending *p);
void confirm_runs(struct conn *c, uint64_t producer, const struct confirm_run *runs, uint32_t count, const char *text);
void confirm_reported(struct conn *c, const struct reported_item *items, uint32_t count);
void confirm_applied(struct shard *s, const struct log_record *record, const struct applied *applied);
void confirm_encode(struct conn *c); /* answer queues -> frames */
enum err admin_request(struct conn *c, const struct msg_request *m, uint32_t correlation);
enum err admin_why(struct conn *c, const struct msg_request *m, uint32_t correlation);  /* VERB_TASK_WHY */
enum err admin_schedule(struct conn *c, const struct msg_request *m, uint32_t correlation); /* VERB_SCHEDULE_... */
struct purging; /* admin_purge.c */
enum err admin_purge(struct conn *c, const struct msg_request *m, uint32_t correlation); /* VERB_QUEUE_PURGE, VERB_DLQ_PURGE */
void purge_applied(struct purging *x, const struct applied *applied);
bool purge_run(struct shard *s); /* true = there is more */
void purges_free(struct shard *s);
enum err admin_redrive(struct conn *c, const struct msg_request *m, uint32_t correlation); /* VERB_REDRIVE_... */
uint64_t redrive_due_ms(const struct shard *s); /* monotonic */
void redrive_run(struct shard *s);
uint64_t schedule_due_ms(const struct shard *s); /* monotonic */
void schedule_fire(struct shard *s);
enum err admin_type(struct conn *c, const struct msg_request *m, uint32_t correlation); /* VERB_TYPE_... */
enum err admin_worker(struct conn *c, const struct msg_request *m, uint32_t correlation); /* drain, stop, kick, show */
enum err admin_access(struct conn *c, const struct msg_request *m, uint32_t correlation); /* principals, tokens, rules */
void admin_reply(struct conn *c, uint32_t correlation, enum err code, const char *text, uint64_t count);

/* ---- when to flush ---- */

struct hold {
	uint64_t confirmed_ns; /* the last confirm that no submit has followed yet; 0 = none */
	int64_t gap_ns;        /* what usually lies between the two */
	uint64_t until_ns;     /* a batch is held until then; 0 = none is */
	bool urgent;           /* the pending batch holds more than reports */
};
void hold_confirmed(struct shard *s); /* a durable confirm is on its way */
void hold_submitted(struct shard *s); /* a submit was proposed */
void hold_urgent(struct shard *s);    /* something else that must not be held was */
void hold_or_flush(struct shard *s);  /* log_flush, unless what is pending had better wait for company */

/* ---- the shard ---- */

enum memory_level { MEMORY_FINE, MEMORY_SHORT, MEMORY_TIGHT, MEMORY_FULL };
struct memory { /* memory.h */
	uint64_t used, peak, retry_ms;
	enum memory_level level;
	bool small; /* the cache of the log is */
};

enum stop_stage { STOP_NOT, STOP_DRAIN, STOP_CHECKPOINT, STOP_CLOSE, STOP_DONE };
enum { DELIVER_TASKS_MAX = 1024, DELIVER_BYTES_MAX = 256 << 10 };

struct shard {
	struct shard_config config;
	struct io *io;
	struct log *log;
	struct tasks *tasks;
	struct types *types;
	struct schedules *schedules;
	struct blocks *blocks;
	bool blocks_changed;      /* sessions are looked at in this turn */
	struct access *access;
	struct audit *audit;
	bool permits_due;         /* principals, tokens or rules have changed */
	uint64_t permits_at_ms;   /* wall clock: the next access token or token that ends; UINT64_MAX = none */
	uint64_t schedules_retry_ms;
	struct redrives *redrives;
	struct purging *purges;   /* under way, oldest first */
	uint32_t purge_count;
	uint32_t epoch;
	uint64_t now_ns, now_ms, wall_ms; /* monotonic and since 1970, as of this turn; none goes back */
	bool time_stale, live;    /* live: recovery is over */
	bool stop_cut;            /* the time for the stop is over: connections were cut */
	enum stop_stage stop;
	uint64_t stop_at_ms;

	struct door *door;        /* door.h */
	struct usage **usages, *usage_free; /* usage.h */
	struct tls_ctx *tls;      /* what new TLS connections get; NULL = there is no such listener */
	uint8_t *tls_room;        /* one record, unwrapped */
	uint32_t tls_reloads;     /* how often certificates were read again */
	struct conn *tls_recheck; /* from here on they are to be judged by them; NULL = all were */
	struct buf spare_in;      /* memory of the last frame that came in pieces (conn.c) */
	struct wheel wheel;
	struct conn *conns, *dirty, *paused;
	struct conn **paused_tail;
	uint64_t buffer_bytes;
	struct memory memory;
	uint32_t limits_told;     /* audit.h */

	struct session **slots;
	uint32_t slot_count, slot_cap, slot_free_count;
	uint32_t *slot_generations, *slot_free;
	struct session **hash;
	uint32_t hash_size;
	uint64_t hash_seed;

	struct pending *pending;  /* a ring, a power of two */
	uint32_t pending_head, pending_count, pending_cap;

	struct outlet **outlets;  /* by queue id */
	uint32_t outlet_cap, outlets_broken;
	uint64_t broken_retry_ms;    /* when the held queues are tried again */
	struct outlet *runnable, **runnable_tail;
	struct outlet *parked;       /* wait for a read */
	struct outlet *asking;       /* have pairs of group and slot that were not asked for yet */
	uint32_t group_count, asks_left;
	struct consumer *unbound;
	bool queues_changed, queues_removed;

	struct watch *watches;
	uint32_t watch_cap, watch_count;
	uint32_t results_waiting;    /* in the rings of all sessions: bounded together with the watches */
	struct session *results, **results_tail;
	bool results_blocked, streams_blocked, fetched;
	struct map64 streams;        /* task -> its first struct stream */
	uint32_t stream_count;
	uint64_t stream_memory, piece_bytes; /* piece_bytes: of updates that wait to be read */
	struct session *streaming, **streaming_tail;
	struct committed *committed; /* leases on their way to the log, in order: a ring */
	uint32_t committed_head, committed_count, committed_ready, committed_cap;
	struct push *push_room;      /* streams.c: one frame in the making */

	struct directory *directory;
	struct calls *calls;
	struct hold hold;
	struct timer compact;
	uint64_t compact_batches;
	bool log_full;            /* deliver: no room for a lease in this batch */
	bool compact_again, more; /* more: the next turn has work without waiting */

	struct events *events;    /* event.h */
	struct blob_desk *desk;   /* blob_desk.h; NULL = there are no blobs */

	struct shard_counters counters;
	struct applied applied;
	struct submit_answer answer;
	uint64_t refused_bits[LIMIT_FRAME_ITEMS / 64]; /* of one SUBMIT's items */
	struct msg msg;
	struct deliver_item items[DELIVER_TASKS_MAX];
	uint32_t yields[DELIVER_TASKS_MAX];
	struct reported_item refused[LIMIT_FRAME_ITEMS];
	struct result_item result_items[DELIVER_TASKS_MAX];
	uint8_t result_kinds[DELIVER_TASKS_MAX]; /* enum payload_kind */
	struct span result_pieces[DELIVER_TASKS_MAX];
};

/* Brings now_ns, now_ms and wall_ms up to date, once after each wait. */
void shard_time(struct shard *s);
/* One event for the operator; silent where the owner does not want any. */
void shard_note(struct shard *s, enum shard_level level, const char *module, const char *event, const char *format, ...)
	PRINTF_LIKE(5, 6);
/* Zeroed memory; running out of it ends the process. What peers can make grow is bounded before. */
void *zalloc(size_t size);
