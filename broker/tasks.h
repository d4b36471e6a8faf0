/* broker/tasks.h: the task machine: what a task, a queue, a producer and a lease are, and every change they can go through.
 *
 *   session -> route -> PROPOSE -> log append + sync -> commit -> APPLY -> deliver
 *
 * Two halves that never mix:
 *  - durable state, changed only by tasks_apply (pure: no I/O, no clock, no randomness; time is in the entry). Replay,
 *    recovery and later replication run it over the same records;
 *  - this leader's volatile view: ready lanes, leases, timers. It is derived from the durable state by tasks_begin
 *    after recovery and kept up by apply. Leases are volatile on purpose: a restart gives every unsettled task out again
 *    under a new epoch, and tokens of the old epoch are refused.
 *
 * Memory. A task that merely waits costs an offset (4 bytes), a live bit and a share of a range in its lane; only leased, delayed,
 * expiring, retried, dead or retained tasks have an object. Tasks are numbered densely in commit order, so a number finds
 * its segment by binary search and its record by one array access.
 *
 * Not thread-safe; one shard owns it. */
#pragma once

#include "../storage/log.h"
#include "../wire/msg.h"

struct tasks;
struct holder; /* who may hold leases: one per session */

enum record_kind { REC_QUEUE = 1, REC_SUBMIT = 2, REC_SETTLE = 3, REC_REDRIVE = 4, REC_PURGE = 5, REC_MOVE = 6, REC_TYPE = 7,
		   REC_TOPIC = 8, REC_EVENT = 9, REC_LEASE = 10, REC_YIELD = 11, REC_SCHEDULE = 12, REC_RETAIN = 17,
		   REC_GROUP = 20, REC_SECRET = 24, REC_ACCESS = 25, REC_REDRIVES = 30, REC_BLOCK = 40, REC_BLOB = 50 };

/* What the owner is told while state changes. Called from apply, tick and holder_lost; may not change tasks. */
struct tasks_hooks {
	void *ctx;
	/* That lane slot of the queue (or TASKS_ANY_SLOT) has tasks to hand out. Not called for paused queues. */
	void (*ready)(void *ctx, uint32_t queue, uint32_t slot);
	/* A lane slot has come to be, or means other requirements now. May be NULL. */
	void (*slot)(void *ctx, uint32_t queue, uint32_t slot);
	/* A lease ended without its holder asking: tell it. */
	void (*signal)(void *ctx, struct holder *holder, const struct signal_item *item);
	/* A task reached a terminal state (live applies only); look at it with tasks_show. */
	void (*settled)(void *ctx, uint64_t task);
	/* A worker said something of a task that it holds, which nobody keeps: progress, a log line, a state. `after` yields of
	 * it had come before. */
	void (*update)(void *ctx, const struct update_item *item, struct span data, uint32_t after);
	/* Yields of the task were accepted (live applies only): see tasks_yields. */
	void (*yielded)(void *ctx, uint64_t task);
	/* The next `count` leases of tasks_commit_leases, in the order of the calls, are durable. */
	void (*committed)(void *ctx, uint32_t count);
};

/* Settings: length_max 0 and max_attempts 0 = no limit; expires_ms 0 = never; retention_ms 0 = only for those who want a result. */
struct tasks_config {
	uint32_t queues_max, producers_max, keys_max, recent_max; /* recent_max: settled tasks remembered for `task show` */
	uint32_t retained_max;     /* settled tasks kept with their result; beyond, those that end first go early. 0 = 1 million */
	uint64_t producer_idle_ms; /* a producer's numbers are forgotten after this long unused (dedup window) */
	uint64_t key_window_ms;    /* idempotency keys */
	uint64_t cancel_grace_ms;  /* a silent worker is overruled after this */
	uint64_t limbo_ms;         /* after a restart: how long the holder of a task that is never handed out again is waited for */
	bool auto_create;          /* a submit to an unknown queue makes it */
	struct queue_settings defaults;
	uint32_t epoch;            /* of the leases this process gives; where the log has yet to say it: tasks_set_epoch */
	uint64_t seed;             /* of the backoff jitter */
	struct tasks_hooks hooks;
};

struct tasks *tasks_new(const struct tasks_config *config);
void tasks_free(struct tasks *t);

/* ---- durable half ---- */

enum { APPLIED_RUNS_MAX = 64 };
/* Who is waiting for the answer of a record. Only SUBMIT, REPORT and ADMIN records have someone. */
enum applied_origin {
	APPLIED_INTERNAL, /* tick, holder_lost, compact, and the REC_QUEUE that a submit made: nobody waits */
	APPLIED_SUBMIT,   /* counted in submit_answer.records */
	APPLIED_REPORT,   /* tasks_propose_report returned > 0 for it */
	APPLIED_ADMIN,    /* one of the calls with *records */
	APPLIED_PUBLISH,  /* topics_propose_events, topics_propose_retain */
};
struct applied {
	enum applied_origin origin;
	/* REC_SUBMIT: the answer to its producer, in order of sequence. */
	struct confirm_run runs[APPLIED_RUNS_MAX];
	uint32_t run_count;
	/* REC_SETTLE of a worker's report: one per item of the record. Borrowed until the next apply. */
	const struct reported_item *reported;
	uint32_t reported_count;
	uint16_t code;     /* ADMIN: why it changed nothing, where propose could not know */
	uint64_t affected; /* REC_REDRIVE, REC_PURGE, admin settles: how many tasks changed; REC_QUEUE: 1 if it took effect */
};
/* Applies one committed record. `live` as in log_config. Damaged records do not come here: a body that does not parse aborts. */
void tasks_apply(struct tasks *t, const struct log_entry *entry, const struct log_record *record, bool live,
		 struct applied *out);
void tasks_checkpoint(struct tasks *t, struct buf *out);
enum err tasks_restore(struct tasks *t, struct span checkpoint, char text[256]) MUST_CHECK;
void tasks_seal(struct tasks *t, uint32_t segment, struct buf *out);
enum err tasks_load_segment(struct tasks *t, uint32_t segment, struct span index, char text[256]) MUST_CHECK;
/* When all indexes are loaded, before the rest of the log is applied: do the parts of the checkpoint fit each other? `segment` is where the
 * log goes on. ERR_DAMAGED: what does not fit, and where. */
enum err tasks_verify(struct tasks *t, uint32_t segment, char text[256]) MUST_CHECK;
/* What tasks_seal gave, made again from the records of the segment; see log_config.reindex. */
void tasks_reindex(struct tasks *t, uint32_t segment, const struct log_record *record, struct buf *out);
bool tasks_segment_live(const struct tasks *t, uint32_t segment);
/* The epoch is the term of the log, which is known only when the log is open. Call it before tasks_begin. */
void tasks_set_epoch(struct tasks *t, uint32_t epoch);
/* Right behind tasks_begin, before anything else is proposed: gives a store its secret, from these random bytes, where it has none and no
 * task that waits was named without one. False: the log has no room; then hashes are what they were. */
bool tasks_propose_secret(struct tasks *t, struct log *log, const uint8_t random[16]);
/* After recovery: builds lanes, timers and counters; from here on hooks are called. */
void tasks_begin(struct tasks *t, uint64_t now_ms);

/* ---- proposals: check against the state, then append records to the log. Nothing changes until apply. ---- */

/* Which limit of an owner refused something. */
enum owner_limit { OWNER_LIMIT_NONE, OWNER_LIMIT_QUEUE, OWNER_LIMIT_STORED };
struct submit_answer {
	uint8_t limit;    /* enum owner_limit, where that is why the first refused run was refused */
	/* Runs that need no record: refused, or accepted before (duplicates whose original is applied). */
	struct confirm_run runs[APPLIED_RUNS_MAX];
	uint32_t run_count;
	uint32_t records; /* REC_SUBMIT records appended; apply answers for them, in order */
	char text[256];   /* about the first refused run */
};
/* A frame of equal tasks. Order of checks: queue (name rules, existence or creation), paused is fine, idempotency key, sequence
 * against the producer's window, queue length (a prefix may be accepted), log room and batch room (RESOURCE_EXHAUSTED). `payload` is the
 * frame's payload part. `head` is m->head decoded. */
void tasks_propose_submit(struct tasks *t, struct log *log, const struct msg_submit *m, const struct task_head *head,
			  struct span payload, uint64_t now_ms, struct submit_answer *out);
/* The same, but items with a set bit in `refused` are answered with `code` and `text`, unless they had been accepted before. */
struct submit_check { const uint64_t *refused; enum err code; const char *text; };
void tasks_propose_checked(struct tasks *t, struct log *log, const struct msg_submit *m, const struct task_head *head,
			   struct span payload, uint64_t now_ms, const struct submit_check *check, struct submit_answer *out);

/* The queue that a task with this head goes to, by its number; 0 = it is not there yet, and *name is how it would be kept (in `room`, or
 * borrowed from the head). */
uint32_t tasks_submit_queue(const struct tasks *t, const struct task_head *head, struct span *name, char room[LIMIT_NAME_BYTES + 2]);
/* A task that comes after others says so in its head. Has one of those a settling record under way, or is a purge? Then the submission
 * waits until that is applied, so that apply need not ask what was remembered of it. */
bool tasks_submit_early(const struct tasks *t, const struct msg_submit *m, const struct task_head *head);
/* Who submits what is proposed next, until it is told otherwise; empty = nobody. Borrowed. In a fair queue its tasks have its share. */
void tasks_set_principal(struct tasks *t, struct span principal);

/* Limits of who submits what is proposed next, until it is told otherwise; 0 in a field = none. NULL, or no limit at all: nobody
 * counts it. queue_tasks: its unsettled tasks in one queue; queue_permille: the same, as a part of the queue's length_max (without one: no
 * limit); stored_bytes: of its tasks and results in all queues. Beyond: RESOURCE_EXHAUSTED; a prefix may be accepted. */
struct owner_limits { uint64_t queue_tasks, queue_permille, stored_bytes; };
void tasks_set_owner(struct tasks *t, struct span principal, const struct owner_limits *limits);
/* What is counted of it now; of tasks only those in this queue. owner.h says what that is. */
uint64_t tasks_owner_bytes(const struct tasks *t, struct span principal);
uint64_t tasks_owner_tasks(const struct tasks *t, struct span principal, uint32_t queue);
/* What the machine takes of memory, and what a checkpoint of it would take besides. */
uint64_t tasks_memory(const struct tasks *t);
/* Bytes that something else keeps for it (blobs), more or less of them. Volatile: who keeps them says so again behind tasks_begin. */
void tasks_owner_charge(struct tasks *t, struct span principal, int64_t bytes);

/* A worker's report. START, EXTEND, PROGRESS, LOG and RELEASE without delay change the volatile half at once. Settling verbs become one
 * REC_SETTLE, yields one REC_YIELD in front of it. Items that are refused (stale, late, foreign, unknown) are answered in `refused`, room
 * for m->count. Returns how many records were appended, and *refused_count. If the log has no room nothing is changed and all items that
 * need it are refused with RESOURCE_EXHAUSTED (the worker keeps its results and sends again). `refused` also has items that are
 * answered OK without a record: a RELEASE without delay, a yield that is there, and what this holder (or, after a restart of the broker,
 * the same token) has reported before. A report for a task whose settlement is under way is LATE_RESULT. */
uint32_t tasks_propose_report(struct tasks *t, struct log *log, struct holder *holder, const struct msg_report *m,
			      struct span payload, uint64_t now_ms, struct reported_item *refused, uint32_t *refused_count);

/* Yields. How many are accepted; 0 for tasks that are not known (any more). */
uint32_t tasks_yields(const struct tasks *t, uint64_t task);
/* How many there will be when all records under way are applied: what the next attempt is told. */
uint32_t tasks_yields_next(const struct tasks *t, uint64_t task);
/* The address of the REC_YIELD with this one. False: not there. */
bool tasks_yield_at(const struct tasks *t, uint64_t task, uint32_t number, uint64_t *addr);
/* The next yield of the task in a REC_YIELD whose number is `number`: *index is where to look from (0 at first) and where it goes on,
 * *offset is the same for its bytes, *kind what they are. False: no more in this record. */
bool yield_record_next(const struct log_record *record, uint64_t task, uint32_t number, uint32_t *index, uint64_t *offset,
		       struct span *out, uint8_t *kind);

/* Families. May this holder make tasks that are part of `parent`? *root: of the tree. PERMISSION, WRONG_STATE. */
enum err tasks_parent(struct tasks *t, uint64_t parent, const struct holder *holder, uint64_t *root, char text[256]) MUST_CHECK;
/* tasks_propose_submit of a head with a parent needs the root: tell it first. */
void tasks_set_root(struct tasks *t, uint64_t root);
/* The task and all below it that are known, parents first, at most `limit`. Returns how many. */
uint32_t tasks_family(const struct tasks *t, uint64_t task, uint32_t limit, uint64_t *out);

/* The last attempts of the task that failed, oldest first; borrowed until the next call. Returns how many. */
uint32_t tasks_history(const struct tasks *t, uint64_t task, struct attempt_info out[LIMIT_HISTORY]);

/* Administration. Each appends at most one record, whose apply says how many were affected; *records tells whether it did. */
enum err tasks_propose_queue(struct tasks *t, struct log *log, struct span name, const struct queue_settings *settings,
			     bool create, uint32_t *records, char text[256]) MUST_CHECK;
enum err tasks_propose_pause(struct tasks *t, struct log *log, struct span name, bool paused, uint32_t *records,
			     char text[256]) MUST_CHECK;
/* The weight of principals (a name, or what it begins with and a star) in a fair queue; 0 = without one, which counts as 1. */
enum err tasks_propose_weight(struct tasks *t, struct log *log, struct span name, struct span pattern, uint32_t weight,
			      uint32_t *records, char text[256]) MUST_CHECK;
/* Only an empty queue can be removed. */
enum err tasks_propose_remove(struct tasks *t, struct log *log, struct span name, uint32_t *records,
			      char text[256]) MUST_CHECK;
/* A purge, of what waits or of the dead letters, goes piece by piece: begin, then propose until `over` and the last record is applied.
 * One record is under way at a time. NOT_FOUND. */
struct purge_work { uint64_t from, below, before_ms; uint32_t queue; bool dead, over; };
enum err tasks_purge_begin(const struct tasks *t, struct span name, bool dead, struct purge_work *out, char text[256]) MUST_CHECK;
/* *records 0 and not over: there was nothing in this stretch; go on. RESOURCE_EXHAUSTED: no room now. */
enum err tasks_propose_purge(struct tasks *t, struct log *log, struct purge_work *work, uint32_t *records,
			     char text[256]) MUST_CHECK;
/* One task back to ready with no failures counted (`acquired` goes on: it is in the fencing token): a dead letter, a failed or
 * cancelled one that is still retained (at least 10 minutes), a delayed one now. */
enum err tasks_propose_retry(struct tasks *t, struct log *log, uint64_t task, uint32_t *records, char text[256]) MUST_CHECK;
/* The oldest `limit` dead letters of a queue back to ready; with `code` only those that ended by this class. */
enum err tasks_propose_redrive(struct tasks *t, struct log *log, struct span name, uint16_t code, uint32_t limit,
			       uint32_t *records, char text[256]) MUST_CHECK;
/* The dead letter of the queue behind this one in the order of their deaths; the first, where that is none of it (any more). 0: none. */
uint64_t tasks_dead_next(const struct tasks *t, uint32_t queue, uint64_t task);
/* In apply: back to ready, if it is a dead letter of this queue that died by `before_ms`. */
bool tasks_redrive_dead(struct tasks *t, uint64_t task, uint32_t queue, uint64_t before_ms, uint64_t now_ms);
/* Waiting: settles as CANCELLED. Leased: the holder gets SIGNAL_CANCEL at once and has cancel_grace_ms to confirm; the record keeps the
 * wish over a restart (*records = 1 in both cases). Cancelled twice is fine (*records = 0). */
enum err tasks_propose_cancel(struct tasks *t, struct log *log, uint64_t task, uint64_t now_ms, uint32_t *records,
			      char text[256]) MUST_CHECK;

/* As cancel; a holder is told to stop at once. */
enum err tasks_propose_interrupt(struct tasks *t, struct log *log, uint64_t task, uint64_t now_ms, uint32_t *records,
				 char text[256]) MUST_CHECK;
/* Groups: the callback and all members are cancelled, and no more come. The apply says how many members were not final. */
enum err tasks_propose_group_cancel(struct tasks *t, struct log *log, struct span name, uint32_t *records, char text[256]) MUST_CHECK;
bool tasks_group(const struct tasks *t, struct span name, struct group_info *out);
/* By their numbers, from `cursor` (0 = start) on; *next 0 = no more. Names are borrowed until the next change. */
uint32_t tasks_groups(const struct tasks *t, uint64_t cursor, uint32_t limit, struct group_info *out, uint64_t *next);
/* Tasks of a group, by number; bounded work. */
uint32_t tasks_group_members(const struct tasks *t, struct span name, uint64_t cursor, uint32_t limit, uint64_t *out, uint64_t *next);
/* The group a task is a member of; empty = none. */
struct span tasks_group_of(const struct tasks *t, uint64_t task);
/* What a task waits for that comes after others. False: for nothing of that kind. */
struct blocked_info {
	uint32_t open;           /* single tasks; the first: */
	uint64_t first;
	struct span group;       /* or the end of this group */
	uint64_t members, size, members_open;
};
bool tasks_blocked(const struct tasks *t, uint64_t task, struct blocked_info *out);

/* Asks the holder for SIGNAL_PAUSE, RESUME or STEP; its answer is a report. WRONG_STATE where nobody holds it. */
enum err tasks_control(struct tasks *t, uint64_t task, enum signal_kind signal, char text[256]) MUST_CHECK;

/* ---- volatile half ---- */

struct holder *tasks_holder_new(struct tasks *t, void *ctx);
void *tasks_holder_ctx(const struct holder *holder);
uint32_t tasks_holder_leases(const struct holder *holder);
/* The tasks it holds, the oldest lease first; returns how many, at most `max`. */
uint32_t tasks_holder_list(const struct holder *holder, uint64_t *tasks, uint32_t max);
/* Who it is: a number that only the same session has, also after a restart; and a name for people. */
void tasks_holder_known(struct holder *holder, uint64_t key, struct span name);
/* After a restart: takes over the leases of tasks that are never handed out again and that this very session held. */
void tasks_holder_adopt(struct tasks *t, struct holder *holder, const struct task_ref *held, uint32_t count);
/* The session is gone for good: tasks not started go back to ready (same priority, in front, nothing counted); started ones
 * are proposed as failed attempts (class INTERNAL). Frees the holder. If the log has no room, the rest is done by later ticks. */
void tasks_holder_lost(struct tasks *t, struct log *log, struct holder *holder, uint64_t now_ms);

/* The session is back and says what it holds: leases it does not name were lost on their way to it and are treated as
 * tasks_holder_lost treats them; the holder lives on. Names that are no lease (any more) are ignored: their report tells. */
void tasks_holder_keep(struct tasks *t, struct log *log, struct holder *holder, const struct task_ref *held, uint32_t count,
		       uint64_t now_ms);

/* The next tasks of a queue: neighbours in one record (same head), in order of priority, then age. */
struct ready_run {
	uint64_t first_task;
	uint32_t count;      /* as many as are next to each other */
	uint32_t item;       /* index of the first in its record */
	uint64_t addr;       /* of the REC_SUBMIT or REC_MOVE record: submit_record_open reads it */
	uint32_t attempt;    /* the attempt these will be (same for all) */
	uint32_t slot;       /* of the lane they are in */
	bool returned;       /* they have been handed out before: there may be yields */
};
/* Tasks that differ in their requirements (or, in a fair queue, their principal) wait in different lanes; a slot is the number
 * of such a lane within its queue, small and dense. Slot 0 has the plain tasks. Only slots whose bit is set in `slots` (`words`
 * words) are looked at; NULL = all. */
enum { TASKS_ANY_SLOT = UINT32_MAX };
bool tasks_peek(struct tasks *t, uint32_t queue, const uint64_t *slots, uint32_t words, struct ready_run *out);
uint32_t tasks_slot_count(const struct tasks *t, uint32_t queue);
const struct queue_settings *tasks_queue_settings(const struct tasks *t, uint32_t queue); /* an id up to the count */
enum queue_selection tasks_queue_selection(const struct tasks *t, uint32_t queue);
/* The packed requirements of the tasks in a slot (wire/predicate.h); empty = none, or the slot is not in use. */
struct span tasks_slot_requires(const struct tasks *t, uint32_t queue, uint32_t slot);
/* Leases the first `count` of what tasks_peek just showed. */
void tasks_lease(struct tasks *t, uint32_t queue, uint32_t count, struct holder *holder, uint64_t execution_ms, uint64_t now_ms);

/* Right behind tasks_lease, for tasks that are never handed out again: their leases go to the log, and the tasks may leave when `committed`
 * has been called for them. False: no room in the log; ask tasks_commit_room before. */
bool tasks_commit_room(const struct log *log, uint32_t count);
void tasks_commit_leases(struct tasks *t, struct log *log, uint64_t first_task, uint32_t count);
/* The task leaves now: it is lost if this holder is. False: the lease is over. */
bool tasks_commit_leave(struct tasks *t, uint64_t task, uint32_t attempt, const struct holder *holder);
/* Right behind tasks_lease: once started, the holder must be heard of each of these tasks within so many ms. */
void tasks_heartbeat(struct tasks *t, uint64_t first_task, uint32_t count, uint64_t heartbeat_ms);

/* Right behind tasks_lease: the holder must be heard of each of these tasks within so many ms, started or not, each time. A task that was
 * not begun goes back at once; a begun one has failed (TIMEOUT), or is LOST where it is handed out once. */
void tasks_renewed_by_task(struct tasks *t, uint64_t first_task, uint32_t count, uint64_t lease_ms, uint64_t now_ms);

/* A view of the payloads in a REC_SUBMIT, REC_MOVE or REC_EVENT record. */
struct submit_record { struct span head; const uint32_t *sizes; uint32_t count; struct span payload; uint64_t submitted_ms;
			uint32_t queues; };
enum err submit_record_open(const struct log_record *record, struct submit_record *out) MUST_CHECK;
/* The item that a task's place among those of its record stands for: several queues may share the items of a record. */
static inline uint32_t submit_record_item(const struct submit_record *r, uint32_t place)
{
	return r->queues > 1 ? place % r->count : place;
}
/* Payload bytes before item `index` (sums sizes; cheap for in-order walks: keep the running offset yourself). */
uint64_t submit_record_offset(const struct submit_record *r, uint32_t index);
/* The result bytes of a settled task inside its REC_SETTLE record; *kind (may be NULL): what they are. */
struct span settle_record_result(const struct log_record *record, uint64_t task, uint8_t *kind);

/* The earliest moment tasks_tick has something to do (wall ms), or UINT64_MAX. */
uint64_t tasks_next_ms(const struct tasks *t);
/* Makes delayed tasks ready, expires, overruns, overrules silent cancels (may append records), forgets. Bounded work per
 * call; says by tasks_next_ms if there is more. */
void tasks_tick(struct tasks *t, struct log *log, uint64_t now_ms);
/* Looks for a sparse sealed segment and moves some of what lives in it (appends REC_MOVE; uses log_fetch). Bounded. True when
 * it wants to be called again soon. */
bool tasks_compact(struct tasks *t, struct log *log);

/* ---- looking ---- */

struct task_view {
	enum task_state state;
	uint32_t queue;
	uint8_t priority;
	uint64_t submitted_ms; /* 0 = see submit_record.submitted_ms of the payload record */
	uint64_t ready_ms, expires_ms, settled_ms;
	uint32_t acquired, failed, max_attempts, app_code;
	uint16_t code;
	uint64_t addr;        /* payload record, of settled tasks too as long as it is known; 0 when gone */
	uint32_t item;
	uint64_t result_addr; /* REC_SETTLE with the result or error text, 0 = none */
	uint32_t result_size;
	struct holder *holder;
	bool cancelling;
	uint8_t phase;        /* enum phase */
	uint32_t progress;    /* millionths, of the current attempt */
	uint32_t yields;
	struct span progress_text; /* borrowed until the next call */
	uint64_t parent, root;
};
/* False: never existed or forgotten. */
bool tasks_show(struct tasks *t, uint64_t task, struct task_view *out);

/* What a task requires of an entry, packed (wire/predicate.h); empty = nothing. */
struct span tasks_requires(struct tasks *t, uint64_t task);
/* Does a ready task wait because it is another principal's turn? *principal: whose it is itself; borrowed. */
bool tasks_waits_for_share(struct tasks *t, uint64_t task, struct span *principal, uint32_t *weight);
/* The task that goes before this one, because of their ordering key; 0 = none. */
uint64_t tasks_waits_for(struct tasks *t, uint64_t task);

/* When the next final task is forgotten (wall ms), with the next record from then on; UINT64_MAX = none is kept. */
uint64_t tasks_forget_ms(const struct tasks *t);
/* The highest number so far. */
uint64_t tasks_newest(const struct tasks *t);
uint32_t tasks_queue_count(const struct tasks *t);           /* ids are 1..count; removed ones have an empty name */
uint32_t tasks_queue_find(const struct tasks *t, struct span name); /* 0 = none */
bool tasks_queue_room(const struct tasks *t, uint32_t queue, uint32_t count); /* below its length_max, if it has one */
/* PATTERN=WEIGHT lines. */
void tasks_queue_weights(const struct tasks *t, uint32_t queue, struct buf *out);
void tasks_queue_info(const struct tasks *t, uint32_t queue, struct queue_info *out);
/* Tasks of a queue (0 = of all) in one state (TASK_UNKNOWN = any, those settled and kept included), from `cursor` (0 = start)
 * on, by number. Returns how many; *next 0 = no more. Bounded work. */
uint32_t tasks_list(struct tasks *t, uint32_t queue, enum task_state state, uint64_t cursor, uint32_t limit, uint64_t *out,
		    uint64_t *next);

struct tasks_stats {
	uint64_t waiting, leased, scheduled, dead, retained, producers, keys, segments, blocked, groups;
	uint64_t submitted_total, done_total, failed_total, duplicates_total, stale_total, expired_total;
	uint64_t memory_bytes; /* what this module has allocated */
};
void tasks_get_stats(const struct tasks *t, struct tasks_stats *out);
