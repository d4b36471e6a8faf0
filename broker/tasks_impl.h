/* broker/tasks_impl.h: the inside of the task machine, shared by its files and by nobody else.
 *
 * Which state is where:
 *   tasks_segment.c  a task exists: its number, record, queue, priority (waiting tasks have nothing else)
 *   hot.c            what only some tasks have: leases, failures, delays, deadlines, dead letters, results
 *   lane.c, queue.c  which waiting task is next, per queue and priority (volatile)
 *   producer.c, keys.c  what was submitted before
 * Fields marked (v) are volatile: derived by tasks_begin, never in a checkpoint, never read by the durable half of apply.
 *
 * The words used here: a task is *open* until it has a terminal state; its *place* is the volatile list it is in. */
#pragma once

#include "../wire/name.h"
#include "../wire/map64.h"
#include "tasks.h"
#include "tasks_record.h"

enum {
	OPTIONS_BITS = 11,
	OPTIONS_MAX = (1 << OPTIONS_BITS) - 1, /* this id says: look in the hot object */
	QUEUES_EVER_MAX = 65535,               /* a queue id has 16 bits in a class */
	PRODUCER_RUNS_MAX = 1024,
	TICK_ITEMS_MAX = 1024,
};
#define RETENTION_DEFAULT_MS 600000u /* of results somebody wants, and of what can be retried */
#define NEVER UINT64_MAX

/* Clients choose durations up to 64 bits: one that nobody lives to see ends far off, never in the past and never at NEVER. */
static inline uint64_t ms_after(uint64_t now_ms, uint64_t more)
{
	return more > NEVER / 4 ? NEVER / 2 : now_ms + more;
}

/* ---- segments ---- */

/* What equal tasks share, in one word: queue << 16 | priority << 11 | options. */
static inline uint32_t class_make(uint32_t queue, uint32_t priority, uint32_t options)
{
	return queue << 16 | priority << OPTIONS_BITS | options;
}
static inline uint32_t class_queue(uint32_t c) { return c >> 16; }
static inline uint8_t class_priority(uint32_t c) { return c >> OPTIONS_BITS & LIMIT_PRIORITY; }
static inline uint32_t class_options(uint32_t c) { return c & OPTIONS_MAX; }

struct options {
	uint64_t retention_ms;
	uint32_t max_attempts;
};

struct segment_run {
	uint32_t first, class; /* from index `first` on until the next run */
};

struct segment {
	uint64_t base;        /* number of the first task */
	uint32_t id, count, cap;
	uint32_t *offsets;    /* of the records, in units of 8 bytes; NULL once everything that lives has moved away */
	uint64_t *live;       /* bit: the payload is needed */
	uint64_t *special;    /* bit: has a hot object */
	struct segment_run *runs;
	uint32_t run_count, run_cap;
	uint32_t live_count;
	uint32_t moved;       /* how many of the live ones are elsewhere */
	bool indexed;         /* an index file has offsets and runs */
	bool inline_content;  /* restored from the checkpoint with offsets and runs: the index adds nothing */
	bool closed;          /* a later segment exists: no more tasks come */
};

/* ---- hot objects ---- */

enum place { PLACE_NONE, PLACE_FRESH, PLACE_RETURNED, PLACE_HELD, PLACE_ORPHAN, PLACE_DEAD };

struct hot {
	uint64_t task;
	/* durable */
	uint64_t ready_ms, expires_ms;  /* 0 = at once, never */
	uint64_t retention_ms, settled_ms;
	uint64_t result_addr;
	uint32_t result_size, app_code;
	uint32_t failed, attempts;      /* attempts: highest attempt number in an applied record */
	uint32_t max_attempts;          /* 0 = the queue's */
	uint32_t class;
	uint16_t code;
	uint8_t final;                  /* TASK_UNKNOWN while open, else the terminal state */
	bool cancel_noted;              /* to be cancelled, whoever leads */
	bool fixed;                     /* options are only here (the table was full) */
	/* (v) */
	bool cancelling;                /* the same, from its proposal on */
	bool settling;                  /* a record that settles it is under way */
	uint8_t state;                  /* SCHEDULED, READY, LEASED, STARTED; as counted in its queue */
	uint8_t place;
	uint32_t acquired;              /* times handed out; the current attempt where leased */
	uint32_t heap_index;            /* 1 + place in `timers` or `retained`, 0 = in none */
	uint64_t execution_ms, overrun_ms, cancel_ms;
	struct holder *holder;
	struct hot *prev, *next;
};

struct hot_list {
	struct hot *first, *last;
};

struct heap {
	struct heap_item { uint64_t due; struct hot *hot; } *items;
	uint32_t count, cap;
};

struct hot_slab; /* hot.c */

/* ---- queues and lanes ---- */

struct lane_chunk;
struct lane {
	struct lane_chunk *first, *last; /* ranges of fresh tasks */
	struct hot_list returned;        /* served before fresh ones */
};

struct queue {
	uint8_t name[LIMIT_NAME_BYTES];
	uint8_t name_size;              /* 0 = removed, or proposed and not yet there */
	bool paused;
	bool proposed_create;           /* (v) */
	struct queue_settings settings;
	uint64_t alive;                 /* open tasks and dead letters */
	uint64_t submitted, done, failed, expired, cancelled, dead_total;
	/* (v) */
	uint64_t ready, leased, scheduled, dead, proposed;
	uint32_t lane_mask;             /* bit: that lane may hold something */
	struct lane *lanes[LIMIT_PRIORITY + 1];
	struct hot_list dead_letters;   /* oldest first */
};

/* ---- producers, keys, the recent ---- */

struct producer_run { uint64_t first_seq, first_task; uint32_t count, pad; };
struct producer {
	uint64_t id, resolved_below, last_ms;
	struct producer_run *runs;      /* ascending, disjoint, none below resolved_below */
	uint32_t run_count, run_cap;
	struct producer *older, *newer; /* by last use */
};

struct key_entry {
	uint64_t hash, time_ms, task, next; /* next: number of the next older entry with this hash, 0 = none */
	uint8_t *bytes;
	uint32_t size;
};
struct keys {
	struct key_entry *ring;  /* entry number n is at n & (cap - 1) */
	uint32_t cap;
	uint64_t first, end;     /* numbers first .. end - 1 are there; numbers start at 1 */
	struct map64 by_hash;    /* hash -> newest entry number */
};

/* The last settlement of a task, by number modulo the table: dense numbers make it a window over the newest. */
struct recent {
	uint64_t task, settled_ms;
	uint32_t attempt, epoch, holder, app_code;
	uint16_t code, queue;
	uint8_t state, verb, failed, priority;
};
_Static_assert(sizeof(struct recent) == 40, "in the checkpoint as it is");

struct holder {
	struct tasks *tasks;
	void *ctx;
	uint32_t number;
	uint32_t leases;
	struct hot_list held;
};

struct tasks {
	struct tasks_config config;
	bool begun;               /* (v) views are kept up */
	uint64_t memory;          /* (v) */
	uint64_t random;          /* (v) */
	/* durable */
	uint64_t next_task, time_ms;
	uint64_t submitted_total, done_total, failed_total, duplicates_total, expired_total;
	struct segment **segments; /* ascending */
	uint32_t segment_count, segment_cap;
	uint32_t segment_hint;     /* (v) where the last search ended */
	struct options *options;   /* id 0 is {0, 0} */
	uint32_t options_count, options_last;
	struct map64 moved;        /* task -> address of its REC_MOVE record */
	struct map64 pins;         /* segment + 1 -> results and moved payloads in it */
	struct map64 indexed;      /* (v) segment + 1: has an index file, but its tasks are still to be replayed */
	struct map64 hots;         /* task -> struct hot */
	struct hot_slab *slabs;
	struct hot *hot_free;
	struct heap retained;      /* final and not dead, by the time they are forgotten */
	struct queue **queues;     /* id - 1 */
	uint32_t queue_count, queue_cap; /* count: slots used, also by proposed ones */
	struct map64 queue_names;  /* (v) hash of name -> id, proposed ones included */
	struct map64 producers;
	struct producer *producer_oldest, *producer_newest;
	struct keys keys;
	struct recent *recent;
	uint32_t recent_mask;
	/* (v) */
	struct heap timers;
	struct hot_list orphans;   /* started, holder lost, record still to be proposed */
	uint64_t retry_ms;         /* the log had no room: not before this */
	uint32_t holder_numbers, holders;
	uint64_t stale_total;
	struct { uint32_t queue, count, lane; bool returned; uint64_t first; } peeked;
	struct reported_item *reported;
	uint32_t reported_cap;
	struct buf scratch_items, scratch_sources; /* of one proposal */
	uint32_t compact_cursor, moves_in_flight;
	struct segment *reindexed; /* being made from its records */
};

/* hot.c */
void *mem_resize(struct tasks *t, void *old, size_t old_size, size_t new_size);
struct hot *hot_find(const struct tasks *t, uint64_t task);
struct hot *hot_new(struct tasks *t, uint64_t task, uint32_t class); /* not there yet */
struct hot *hot_make(struct tasks *t, uint64_t task, uint32_t class); /* the caller sets the special bit */
void hot_free(struct tasks *t, struct hot *h); /* in no list, heap or place; task_drop_payload follows */
bool hot_is_plain(const struct hot *h);                              /* nothing durable: a bare number says the same */
void hot_push_back(struct hot_list *list, struct hot *h);
void hot_push_front(struct hot_list *list, struct hot *h);
void hot_unlink(struct hot_list *list, struct hot *h);
void hots_free(struct tasks *t);
void heap_set(struct tasks *t, struct heap *heap, struct hot *h, uint64_t due); /* NEVER removes */
/* All hot objects that `keep` accepts, ascending by task; the caller frees. */
struct hot **hots_sorted(const struct tasks *t, bool (*keep)(const struct hot *h), uint32_t *count);

/* tasks_segment.c */
struct segment *segment_for_append(struct tasks *t, uint32_t id, uint64_t base);
void segment_append(struct tasks *t, struct segment *s, uint32_t count, uint64_t addr, uint32_t class);
uint32_t submit_class(struct tasks *t, const struct submit_view *v); /* of the tasks in a record (tasks_submit.c) */
struct segment *segment_of(struct tasks *t, uint64_t task, uint32_t *index); /* NULL = freed or never there */
uint32_t segment_position(const struct tasks *t, uint64_t task); /* index in t->segments of the first that ends behind task */
bool segment_is_live(const struct segment *s, uint32_t index);
uint32_t segment_class(const struct segment *s, uint32_t index);
void segment_set_special(struct tasks *t, uint64_t task);
void task_drop_payload(struct tasks *t, uint64_t task); /* clears live and special bit; may free the segment */
/* Between hold and release a segment is not freed, whatever is dropped. */
bool segment_hold(struct segment *s);
void segment_release(struct tasks *t, struct segment *s, bool held);
void segment_drop_range(struct tasks *t, uint64_t first, uint32_t count);
/* Where the payload is. False: nowhere. */
bool task_locate(struct tasks *t, uint64_t task, uint64_t *addr, uint32_t *item);
/* Where it was submitted, settled or not, while its segment is remembered. The log may have let the record go. */
bool task_origin(struct tasks *t, uint64_t task, uint64_t *addr, uint32_t *item);
void pin_add(struct tasks *t, uint64_t addr);
void pin_drop(struct tasks *t, uint64_t addr);
uint32_t options_intern(struct tasks *t, uint64_t retention_ms, uint32_t max_attempts);
void task_segments_free(struct tasks *t);
void segment_restore(struct tasks *t, struct segment *s); /* appends one that segment_get read */
void segment_put(struct buf *out, const struct segment *s, bool with_live);
struct segment *segment_get(struct tasks *t, struct reader *r);
void segment_set_moved(struct tasks *t, uint64_t task, uint64_t addr);

/* queue.c */
struct queue *queue_at(const struct tasks *t, uint32_t id); /* NULL = none */
uint32_t queue_lookup(const struct tasks *t, struct span name); /* proposed ones too */
uint32_t queue_slot_new(struct tasks *t, uint32_t id, struct span name); /* id 0 = choose; 0 = none left */
void queue_names_set(struct tasks *t, uint32_t id, struct span name);
bool queue_settings_ok(const struct queue_settings *s, char text[256]);
void apply_queue(struct tasks *t, const struct log_record *record, bool live, struct applied *out);
bool queue_propose(struct tasks *t, struct log *log, struct span name, uint32_t id, enum rec_queue_op op,
		   const struct queue_settings *settings, enum applied_origin origin);
void queues_free(struct tasks *t);

/* lane.c: views (v) */
void lane_push(struct tasks *t, struct queue *q, uint8_t priority, uint64_t first, uint32_t count);
void lane_forget(struct tasks *t, struct queue *q); /* all fresh ranges */
void view_enter(struct tasks *t, struct hot *h, uint64_t now_ms, bool front); /* an open or dead task takes its place */
void view_leave(struct tasks *t, struct hot *h); /* and leaves it, counters included */
void view_take(struct tasks *t, struct hot *h);  /* out of its list only; still counted */
void view_timer(struct tasks *t, struct hot *h);
void view_ready_hook(struct tasks *t, uint32_t queue);

/* producer.c */
struct producer *producer_find(const struct tasks *t, uint64_t id);
struct producer *producer_use(struct tasks *t, uint64_t id, uint64_t now_ms); /* found or new, newest */
void producer_resolve(struct tasks *t, struct producer *p, uint64_t below);
/* How the sequence numbers from `seq` on look: returns how many (<= count) are alike; *known, and then the task of the first. */
uint32_t producer_stretch(const struct producer *p, uint64_t seq, uint32_t count, bool *known, uint64_t *task);
bool producer_add(struct tasks *t, struct producer *p, uint64_t seq, uint32_t count, uint64_t task);
void producers_expire(struct tasks *t);
void producers_free(struct tasks *t);
void producers_put(const struct tasks *t, struct buf *out);
bool producers_get(struct tasks *t, struct reader *r);

/* keys.c */
uint64_t bytes_hash(struct span bytes, uint64_t seed);
uint64_t key_find(const struct tasks *t, struct span key, uint64_t now_ms); /* the task, or 0 */
bool keys_full(const struct tasks *t, uint64_t now_ms);
void key_add(struct tasks *t, struct span key, uint64_t task, uint64_t time_ms);
void keys_expire(struct tasks *t);
void keys_free(struct tasks *t);
void keys_put(const struct tasks *t, struct buf *out);
bool keys_get(struct tasks *t, struct reader *r);

/* tasks_submit.c, tasks_settle.c, tasks_admin.c, tasks_compact.c: one apply each */
void apply_submit(struct tasks *t, const struct log_entry *entry, const struct log_record *record, bool live,
		  struct applied *out);
void apply_settle(struct tasks *t, const struct log_entry *entry, const struct log_record *record, bool live,
		  struct applied *out);
void apply_redrive(struct tasks *t, const struct log_entry *entry, const struct log_record *record, struct applied *out);
void apply_purge(struct tasks *t, const struct log_entry *entry, const struct log_record *record, bool live,
		 struct applied *out);
void apply_move(struct tasks *t, const struct log_record *record, bool live);
/* Terminal state for an open task (h may be NULL). Keeps it where it is to be retained. */
struct settlement {
	uint64_t time_ms, result_addr; /* address of the record */
	struct rec_settle_item item;
	bool keep_payload;             /* of FAILED and CANCELLED, for a retry by hand */
	bool live;
	enum applied_origin origin;
};
void task_finish(struct tasks *t, uint64_t task, struct hot *h, uint32_t class, const struct settlement *s);
void task_signal(const struct tasks *t, const struct hot *h, enum signal_kind kind, uint16_t code);
void task_forget(struct tasks *t, struct hot *h); /* a final one: result and payload are let go */
bool task_open(struct tasks *t, uint64_t task, uint32_t *class, struct hot **h);
/* What a failed attempt leads to: fills state, ready_ms, code of the item. */
void outcome_of_failure(struct tasks *t, const struct hot *h, uint16_t class_code, uint64_t delay_ms, uint64_t now_ms,
			struct rec_settle_item *item);
/* Appends a REC_SETTLE of these items without results. False: the log has no room. */
bool settle_propose(struct log *log, enum applied_origin origin, const struct rec_settle_item *items, uint32_t count);
struct rec_settle_item item_of(const struct tasks *t, const struct hot *h, uint8_t state, uint16_t code);
void orphans_propose(struct tasks *t, struct log *log, uint64_t now_ms);
