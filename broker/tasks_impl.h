/* broker/tasks_impl.h: the inside of the task machine, shared by its files and by nobody else.
 *
 * Which state is where:
 *   tasks_segment.c  a task exists: its number, record, queue, priority (waiting tasks have nothing else)
 *   hot.c            what only some tasks have: leases, failures, delays, deadlines, dead letters, results
 *   lane.c, queue.c  which waiting task is next, per queue, priority and lane class (volatile)
 *   lane_class.c     what tasks of a lane have in common: queue, requirements, principal
 *   fair.c, shares.c whose turn it is among principals (volatile), and by which weights
 *   order.c          whose turn it is among tasks of one ordering key (volatile)
 *   producer.c, keys.c  what was submitted before
 *   owner.c          how many tasks and bytes those have whom a limit counts
 *   secret.c         the key of the hashes that are on disk
 * Fields marked (v) are volatile: derived by tasks_begin, never in a checkpoint, never read by the durable half of apply.
 *
 * The words used here: a task is *open* until it has a terminal state; its *place* is the volatile list it is in. */
#pragma once

#include "../wire/name.h"
#include "../wire/map64.h"
#include "fair.h"
#include "hash.h"
#include "owner.h"
#include "tasks.h"
#include "tasks_record.h"

enum {
	OPTIONS_BITS = 10,
	OPTIONS_MAX = (1 << OPTIONS_BITS) - 1, /* this id says: look in the hot object */
	CLASS_EXTRA = 1 << OPTIONS_BITS,       /* of a class: the segment knows more, see struct segment_extra */
	PRIORITY_SHIFT = OPTIONS_BITS + 1,
	LANE_CLASSES_MAX = 16384,
	QUEUES_EVER_MAX = 65535,               /* a queue id has 16 bits in a class */
	PRODUCER_RUNS_MAX = 1024,
	TICK_ITEMS_MAX = 1024,
	EDGES_MAX = 4 << 20, WAITS_MAX = 4 << 20, /* tasks that come after others: what is waited for, and who waits */
	DEPENDENTS_MAX = 16384,                /* that come after one task: all of them hear of its end at once */
	GROUPS_MAX = 65536, MEMBER_RANGES_MAX = 8 << 20,
	GROUP_IDLE_MS = 24 * 3600 * 1000,      /* a group without callback is forgotten so long after its last member ended */
};
#define RETENTION_DEFAULT_MS 600000u /* of results somebody wants, and of what can be retried */
#define NEVER UINT64_MAX

/* Clients choose durations up to 64 bits: one that nobody lives to see ends far off, never in the past and never at NEVER. */
static inline uint64_t ms_after(uint64_t now_ms, uint64_t more)
{
	return more > NEVER / 4 ? NEVER / 2 : now_ms + more;
}

/* ---- segments ---- */

/* What equal tasks share, in one word: queue << 16 | priority << 11 | extra << 10 | options. */
static inline uint32_t class_make(uint32_t queue, uint32_t priority, uint32_t options, bool extra)
{
	return queue << 16 | priority << PRIORITY_SHIFT | (extra ? CLASS_EXTRA : 0) | options;
}
static inline uint32_t class_queue(uint32_t c) { return c >> 16; }
static inline uint8_t class_priority(uint32_t c) { return c >> PRIORITY_SHIFT & LIMIT_PRIORITY; }
static inline bool class_extra(uint32_t c) { return c & CLASS_EXTRA; }
static inline uint32_t class_options(uint32_t c) { return c & OPTIONS_MAX; }

struct options {
	uint64_t retention_ms;
	uint32_t max_attempts;
};

struct segment_run {
	uint32_t first, class; /* from index `first` on until the next run */
};

/* What tasks with a requirement, an ordering key or a principal have besides: at 24 bytes for each stretch of equal ones. */
struct segment_extra {
	uint64_t order;       /* hash of the ordering key, 0 = none */
	uint64_t lane;        /* hash of the lane class, 0 = the plain one */
	uint32_t first, count;
};

struct segment {
	uint64_t base;        /* number of the first task */
	uint32_t id, count, cap;
	uint32_t *offsets;    /* of the records, in units of 8 bytes; NULL once everything that lives has moved away */
	uint64_t *live;       /* bit: the payload is needed */
	uint64_t *special;    /* bit: has a hot object */
	struct segment_run *runs;
	uint32_t run_count, run_cap;
	struct segment_extra *extras; /* ascending, disjoint */
	uint32_t extra_count, extra_cap, extra_hint;
	struct owner_run *owners;     /* ascending, disjoint; most tasks are in none */
	uint32_t owner_count, owner_cap;
	uint32_t live_count;
	uint32_t moved;       /* how many of the live ones are elsewhere */
	bool indexed;         /* an index file has offsets and runs */
	bool inline_content;  /* restored from the checkpoint with offsets and runs: the index adds nothing */
	bool closed;          /* a later segment exists: no more tasks come */
	uint32_t dense_live;  /* (v) so many lived when it was last found not to be worth moving; 0 = not looked at */
};

/* ---- hot objects ---- */

/* FRESH: a range names it, of its lane or of those that wait for their ordering key. REJOINED: in the list of its ordering key.
 * LIMBO: leased before the restart, never to be handed out again; its holder may come back. */
enum place { PLACE_NONE, PLACE_FRESH, PLACE_RETURNED, PLACE_HELD, PLACE_ORPHAN, PLACE_DEAD, PLACE_REJOINED, PLACE_LIMBO };

/* What a task needs that is handed out, worked on and done comes first: one cache line of it, and no other is read. */
struct hot {
	_Alignas(64) uint64_t task;
	struct holder *holder;          /* (v) */
	struct hot *prev, *next;        /* (v) */
	struct life *life;              /* what few tasks have: see life.h. NULL = none of it */
	uint32_t class;
	uint32_t acquired;              /* (v) times handed out; the current attempt where leased */
	uint32_t epoch;                 /* (v) of its lease: with the attempt the fencing token */
	uint32_t heap_index;            /* (v) 1 + place in `timers` or `retained`, 0 = in none */
	uint8_t state;                  /* (v) SCHEDULED, READY, LEASED, STARTED; as counted in its queue */
	uint8_t place;                  /* (v) */
	uint8_t final;                  /* TASK_UNKNOWN while open, else the terminal state */
	bool settling;                  /* (v) a record that settles it is under way */
	bool cancelling;                /* (v) to be cancelled, from the proposal of that on */
	bool cancel_noted;              /* the same, whoever leads */
	bool warned;                    /* (v) the holder knows that a deadline is near */
	bool fixed;                     /* options are only here (the table was full) */
	/* durable */
	uint64_t ready_ms, expires_ms;  /* 0 = at once, never */
	uint64_t retention_ms, settled_ms;
	uint64_t result_addr;
	uint32_t result_size, app_code;
	uint32_t failed, attempts;      /* attempts: highest attempt number in an applied record */
	uint32_t max_attempts;          /* 0 = the queue's */
	uint16_t code;
	bool blocked;                   /* it waits for other tasks: see after.h */
	bool counted;                   /* its group has counted an end of it */
	uint64_t owner;                 /* once final: who is charged for its result; 0 = nobody */
	/* (v) */
	uint64_t execution_ms, overrun_ms, cancel_ms;
	uint32_t place_in_slab;         /* as long as there is room for it */
};
_Static_assert(offsetof(struct hot, ready_ms) == 64, "the first cache line is what it says");

struct hot_list {
	struct hot *first, *last;
};

/* Objects by number. Neighbours share a page, which is a cache line: they come and go together. */
struct hot_page;
struct hots {
	struct map64 pages;    /* number / HOT_PAGE + 1 -> struct hot_page */
	struct hot_page_slab *slabs, *room; /* all; those with free pages */
	uint32_t empty;        /* slabs without a page in use */
	uint32_t count;        /* of objects */
};

struct heap {
	struct heap_item { uint64_t due; struct hot *hot; } *items;
	uint32_t count, cap;
};

struct hot_slab; /* hot.c */

/* ---- queues and lanes ---- */

struct fifo_chunk;
struct fifo { /* ranges of numbers */
	struct fifo_chunk *first, *last;
};

struct lane {
	struct fifo fresh;
	struct hot_list returned;        /* served before fresh ones */
};

/* The lanes of one lane class in its queue. Slot 0 is that of plain tasks. */
struct lane_slot {
	uint32_t class, next_free;
	struct lane *lanes[LIMIT_PRIORITY + 1];
};

struct lane_class {
	uint8_t *bytes;                 /* requirements as text, then the principal */
	uint8_t *packed;                /* (v) the requirements, compiled */
	uint64_t hash;                  /* its name in segments */
	uint64_t refs;                  /* tasks in memory; (v) after a restart counted again from the live bits */
	uint32_t queue;                 /* 0 = free */
	uint16_t text_size, packed_size;
	uint8_t principal_size;
	uint32_t slot;                  /* (v) in its queue */
	uint32_t idle_prev, idle_next;  /* (v) of those that no task names now */
};

/* Tasks of one ordering key of a queue that are not settled; gone with the last of them. */
struct order {
	uint64_t current;               /* the only one that is in a lane, or held, or scheduled */
	struct fifo waiting;
	struct hot_list rejoined;       /* waiting, too, by number: delayed ones, and the dead that were called back */
};

struct queue {
	uint8_t name[LIMIT_NAME_BYTES];
	uint8_t name_size;              /* 0 = removed, or proposed and not yet there */
	bool paused;
	bool proposed_create;           /* (v) */
	struct queue_settings settings;
	struct shares shares;           /* weights of principals, where it is fair */
	uint64_t alive;                 /* open tasks and dead letters */
	uint64_t submitted, done, failed, expired, cancelled, dead_total;
	uint64_t blocked;               /* how many wait for other tasks */
	/* (v) */
	uint64_t ready, leased, scheduled, dead, proposed;
	struct lane_slot *slots;
	uint32_t *slots_account;        /* of each slot: whose it is (fair.h) */
	struct fair *fair;              /* NULL: no task has a principal */
	uint32_t slot_count, slot_cap, slot_words, slot_free; /* slot_free: the first that is used again, 0 = none */
	uint32_t lane_mask;             /* bit: lanes of that priority may hold something */
	uint64_t *filled;               /* bit [priority][slot]: that lane may */
	uint32_t turn[LIMIT_PRIORITY + 1]; /* the slot whose turn it is among lanes of a priority */
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
	uint64_t key;                   /* says which session it is, after a restart, too */
	char name[64];
	struct hot_list held;
};

struct topics;
struct event_view;
struct blobs;
struct blob;
struct tasks {
	struct tasks_config config;
	struct topics *topics;    /* topics.h */
	struct blobs *blobs;      /* blob_index.h */
	struct secret { struct hash_key key; bool set; } secret; /* durable, once set the same for ever */
	struct secret secret_next; /* (v) the same from its proposal on: what hashes are made with */
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
	struct lane_class *lane_classes; /* by id; 0 is the plain one of every queue */
	uint32_t lane_class_count, lane_class_cap, lane_class_free; /* (v) free: none below this is free */
	uint32_t lane_class_live;  /* so many are named by tasks; their texts: */
	uint64_t lane_class_bytes;
	uint32_t lane_idle_first, lane_idle_last, lane_idle_count; /* (v) kept for the next tasks of their kind, oldest first */
	struct map64 lane_class_names; /* (v) hash -> id */
	struct map64 orders;       /* (v) hash -> struct order */
	struct map64 moved;        /* task -> address of its REC_MOVE record */
	struct map64 pins;         /* segment + 1 -> results and moved payloads in it */
	struct map64 moves_bytes, moves_count; /* (v) segment + 1 -> of the REC_MOVEs in it, as far as this process knows */
	struct map64 indexed;      /* (v) segment + 1: has an index file, but its tasks are still to be replayed */
	struct hots hots;
	struct hot_slab *slabs;
	struct hot_slab *slab_room; /* with free objects */
	uint32_t slabs_empty;
	uint64_t yields_kept;      /* of all tasks */
	struct map64 children;     /* parent -> the newest struct life of its children */
	struct heap retained;      /* final and not dead, by the time they are forgotten */
	struct queue **queues;     /* id - 1 */
	uint32_t queue_count, queue_cap; /* count: slots used, also by proposed ones */
	struct map64 queue_names;  /* (v) hash of name -> id, proposed ones included */
	struct map64 producers;
	struct producer *producer_oldest, *producer_newest;
	struct keys keys;
	struct recent *recent;
	uint32_t recent_mask;
	/* after.h */
	struct map64 waits, before; /* task -> struct wait; task -> the edges to it */
	struct edge *edges;        /* number 0 is none */
	uint32_t edge_cap, edge_count, edge_free;
	struct map64 groups, group_names, callbacks; /* number -> struct group; hash of name, callback -> number */
	uint64_t group_numbers, next_group_ms;
	struct member_range *ranges;
	uint32_t range_count, range_cap, range_gone; /* gone: of forgotten groups */
	/* (v) */
	uint32_t groups_cancelling, purges_in_flight;
	struct buf found;          /* of one arrival */
	struct heap timers;
	struct hot_list orphans;   /* started, holder lost, record still to be proposed */
	uint64_t retry_ms;         /* the log had no room: not before this */
	uint64_t root;             /* of the submission that is being proposed, where it has a parent */
	struct span principal;     /* and who submits it */
	struct owners owners;
	uint32_t holder_numbers, holders;
	uint64_t stale_total;
	struct { uint32_t queue, count, slot, priority; bool returned; uint64_t first; } peeked;
	struct reported_item *reported;
	uint32_t reported_cap;
	char group_room[LIMIT_NAME_BYTES + 1], after_group_room[LIMIT_NAME_BYTES + 1]; /* of one proposal */
	struct buf scratch_items, scratch_sources, scratch_yields, scratch_texts; /* of one proposal */
	uint32_t compact_cursor, moves_in_flight;
	struct segment *reindexed; /* being made from its records */
};

/* hot.c */
void *mem_resize(struct tasks *t, void *old, size_t old_size, size_t new_size);
struct hot *hot_find(const struct tasks *t, uint64_t task);
struct hot *hot_new(struct tasks *t, uint64_t task, uint32_t class); /* not there yet */
struct hot *hot_make(struct tasks *t, uint64_t task, uint32_t class); /* the caller sets the special bit */
void hot_free(struct tasks *t, struct hot *h); /* in no list, heap or place; task_drop_payload follows */
/* All objects and their numbers, in no order: from *at = 0 on, NULL = there are no more. None may come or go meanwhile. */
struct hot *hots_next(const struct tasks *t, uint64_t *at, uint64_t *task);
uint32_t hot_slot(struct tasks *t, const struct hot *h);  /* of its lane in its queue */
uint64_t hot_order(struct tasks *t, const struct hot *h); /* hash of its ordering key, 0 = none */
bool hot_is_plain(const struct hot *h);                              /* nothing durable: a bare number says the same */
void hot_push_back(struct hot_list *list, struct hot *h);
void hot_push_front(struct hot_list *list, struct hot *h);
void hot_insert_after(struct hot_list *list, struct hot *before, struct hot *h); /* NULL = in front */
void hot_unlink(struct hot_list *list, struct hot *h);
void hots_free(struct tasks *t);
void heap_set(struct tasks *t, struct heap *heap, struct hot *h, uint64_t due); /* NEVER removes */
/* All hot objects that `keep` accepts, ascending by task; the caller frees. */
struct hot **hots_sorted(const struct tasks *t, bool (*keep)(const struct hot *h), uint32_t *count);

/* tasks_segment.c */
struct segment *segment_for_append(struct tasks *t, uint32_t id, uint64_t base);
void segment_append(struct tasks *t, struct segment *s, uint32_t count, uint64_t addr, uint32_t class);
uint32_t submit_class(struct tasks *t, const struct submit_view *v); /* of the tasks in a record (tasks_submit.c) */
uint64_t submit_bytes(const struct submit_view *v); /* what its owner is charged for it */
void segment_append_extra(struct tasks *t, struct segment *s, uint32_t count, uint64_t lane, uint64_t order); /* the last ones */
const struct segment_extra *segment_extra(struct segment *s, uint32_t index); /* of a task with class_extra */
struct segment *segment_of(struct tasks *t, uint64_t task, uint32_t *index); /* NULL = freed or never there */
uint32_t segment_position(const struct tasks *t, uint64_t task); /* index in t->segments of the first that ends behind task */
bool segment_is_live(const struct segment *s, uint32_t index);
uint32_t segment_count_live(const struct segment *s, uint32_t first, uint32_t count);
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
void moves_note(struct tasks *t, uint64_t addr, size_t bytes); /* a REC_MOVE of so many bytes is there */
uint32_t options_intern(struct tasks *t, uint64_t retention_ms, uint32_t max_attempts);
void task_segments_free(struct tasks *t);
void segment_restore(struct tasks *t, struct segment *s); /* appends one that segment_get read */
void segment_put(struct buf *out, const struct segment *s, bool with_live);
struct segment *segment_get(struct tasks *t, struct reader *r);
bool segment_count_lanes(struct tasks *t, const struct segment *s); /* of one just restored */
void segment_set_moved(struct tasks *t, uint64_t task, uint64_t addr);

/* queue.c */
struct queue *queue_at(const struct tasks *t, uint32_t id); /* NULL = none */
uint32_t queue_lookup(const struct tasks *t, struct span name); /* proposed ones too */
uint32_t queue_slot_new(struct tasks *t, uint32_t id, struct span name); /* id 0 = choose; 0 = none left */
void queue_names_set(struct tasks *t, uint32_t id, struct span name);
bool queue_settings_ok(const struct queue_settings *s, char text[256]);
/* What comes before the slash in its name; empty: the vnet default. */
static inline struct span queue_vnet(const struct queue *q)
{
	const uint8_t *slash = (const uint8_t *)memchr(q->name, '/', q->name_size);
	return span_of(q->name, slash ? (size_t)(slash - q->name) : 0);
}
void apply_queue(struct tasks *t, const struct log_record *record, bool live, struct applied *out);
bool queue_propose(struct tasks *t, struct log *log, struct span name, uint32_t id, enum rec_queue_op op,
		   const struct queue_settings *settings, enum applied_origin origin);
void queues_free(struct tasks *t);

/* fifo.c: ranges of numbers, first in, first out */
void fifo_push(struct tasks *t, struct fifo *f, uint64_t first, uint32_t count);
bool fifo_front(struct tasks *t, struct fifo *f, uint64_t *first, uint32_t *count);
void fifo_consume(struct fifo *f, uint64_t count); /* off the front of the first range, which has so many */
void fifo_free(struct tasks *t, struct fifo *f);

/* lane_class.c */
/* Class and hash are 0 where both parts are empty. LANE_CLASS_NONE: not there. */
enum { LANE_CLASS_NONE = UINT32_MAX };
uint64_t lane_class_hash(const struct tasks *t, uint32_t queue, struct span text, struct span principal);
uint32_t lane_class_by_hash(const struct tasks *t, uint64_t hash);
uint32_t lane_class_find(const struct tasks *t, uint32_t queue, struct span text, struct span principal);
/* Why a class cannot be made; ERR_OK. */
enum err lane_class_check(const struct tasks *t, struct span text, struct span principal, char out[256]);
/* Found or made; the caller adds references at once. LANE_CLASS_NONE: it cannot be. */
uint32_t lane_class_intern(struct tasks *t, uint32_t queue, struct span text, struct span principal);
struct span lane_class_principal(const struct tasks *t, uint32_t class); /* empty = nobody's */
void lane_class_ref(struct tasks *t, uint32_t class, uint64_t count);
void lane_class_unref(struct tasks *t, uint32_t class, uint64_t count);
static inline uint32_t lane_class_slot(const struct tasks *t, uint32_t class)
{
	return class ? t->lane_classes[class].slot : 0;
}
void lane_classes_put(const struct tasks *t, struct buf *out);
bool lane_classes_get(struct tasks *t, struct reader *r);
void lane_classes_free(struct tasks *t);

/* order.c: views (v) of tasks with an ordering key */
/* Fresh tasks, in order of their numbers: one may take its place in its lane at once. */
void order_arrive(struct tasks *t, uint64_t order, uint32_t class, uint32_t slot, uint64_t first, uint32_t count);
/* Is it this object's turn (always, without a key)? Otherwise it waits in the list of its key (place REJOINED). */
bool order_claim(struct tasks *t, struct hot *h);
void order_hold(struct tasks *t, struct hot *h); /* at the start, before all others: it may be in somebody's hands */
void order_unlink(struct tasks *t, struct hot *h); /* out of that list */
void order_done(struct tasks *t, uint64_t order, uint64_t task); /* settled: the next one's turn */
uint64_t order_current(const struct tasks *t, uint64_t order);
void orders_free(struct tasks *t);

/* lane_slot.c, lane.c: views (v) */
uint32_t lane_slot_new(struct tasks *t, uint32_t queue, uint32_t class);
void lane_slot_free(struct tasks *t, struct queue *q, uint32_t slot);
void lane_slot_rest(struct tasks *t, struct queue *q, uint32_t slot); /* its last task is gone */
uint64_t *lane_row(const struct queue *q, uint32_t priority);
/* How many of `count` numbers from `first` on are not to be handed out; whole dead words at a time. */
uint32_t fresh_skip(const struct tasks *t, uint64_t first, uint32_t count);
void lane_push(struct tasks *t, struct queue *q, uint32_t slot, uint8_t priority, uint64_t first, uint32_t count);
void lane_return(struct tasks *t, struct queue *q, struct hot *h, bool front); /* into its lane's list of returned ones */
void lanes_forget(struct tasks *t, struct queue *q); /* all fresh ranges */
void lanes_free(struct tasks *t, struct queue *q);
void view_enter(struct tasks *t, struct hot *h, uint64_t now_ms, bool front); /* an open or dead task takes its place */
void view_leave(struct tasks *t, struct hot *h); /* and leaves it, counters included */
void view_take(struct tasks *t, struct hot *h);  /* out of its list only; still counted */
void view_unblock(struct tasks *t, struct hot *h); /* it waits for no other task any more */
void view_ripe(struct tasks *t, struct hot *h, uint64_t now_ms); /* its delay is over; in the list of its key it stays where it is */
void view_timer(struct tasks *t, struct hot *h);
void view_ready_hook(struct tasks *t, uint32_t queue, uint32_t slot); /* TASKS_ANY_SLOT: whatever there is */

/* secret.c: names that are on disk, made with what no client knows. */
uint64_t secret_hash(const struct tasks *t, struct span bytes, uint64_t domain, uint32_t queue);
void apply_secret(struct tasks *t, const struct log_record *record);

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
void apply_group(struct tasks *t, const struct log_record *record, struct applied *out); /* group.c */
/* topics.c, topics_events.c */
void apply_topic(struct tasks *t, const struct log_record *record, struct applied *out);
void apply_retain(struct tasks *t, const struct log_record *record, struct applied *out);
void apply_event(struct tasks *t, const struct log_entry *entry, const struct log_record *record, bool live,
		 struct applied *out);
void topics_event_append(struct tasks *t, struct segment *s, const struct event_view *v, uint64_t addr);
void tasks_arrive(struct tasks *t, const struct log_entry *entry, uint32_t class, uint64_t expires_ms, uint64_t first,
		  uint32_t count); /* tasks_submit.c */
/* Terminal state for an open task (h may be NULL). Keeps it where it is to be retained. */
struct settlement {
	uint64_t time_ms, result_addr; /* address of the record */
	struct rec_settle_item item;
	struct span text, worker;      /* borrowed: what was said of it, and by whom */
	bool keep_payload;             /* of FAILED and CANCELLED, for a retry by hand */
	bool live;
	uint8_t kind;                  /* what the text is */
	enum applied_origin origin;
};
void task_finish(struct tasks *t, uint64_t task, struct hot *h, uint32_t class, const struct settlement *s);
void task_signal_left(const struct tasks *t, const struct hot *h, enum signal_kind kind, uint16_t code, uint64_t left_ms);
void task_signal(const struct tasks *t, const struct hot *h, enum signal_kind kind, uint16_t code);
void reported_reserve(struct tasks *t, uint32_t count);
/* The blob that a payload or result of such tasks names; NULL = it is not there. */
struct blob *task_blob(const struct tasks *t, uint32_t class, struct span payload);
void task_forget(struct tasks *t, struct hot *h); /* a final one: result and payload are let go */
bool task_open(struct tasks *t, uint64_t task, uint32_t *class, struct hot **h);
/* What a failed attempt leads to: fills state, ready_ms, code of the item. */
void outcome_of_failure(struct tasks *t, const struct hot *h, uint16_t class_code, uint64_t delay_ms, uint64_t now_ms,
			struct rec_settle_item *item);
/* Appends a REC_SETTLE of these items without results. False: the log has no room. */
bool settle_propose(struct log *log, enum applied_origin origin, const struct rec_settle_item *items, uint32_t count,
		    const char *worker); /* worker: whose failures these are, "" = nobody's in particular */
static inline struct rec_settle_item item_of(const struct tasks *t, const struct hot *h, uint8_t state, uint16_t code)
{
	(void)t;
	bool held = h->state == TASK_LEASED || h->state == TASK_STARTED;
	return (struct rec_settle_item){
		.task = h->task, .state = state, .code = code, .attempt = held ? h->acquired : 0, .epoch = held ? h->epoch : 0,
		.holder = held && h->holder ? h->holder->number : 0,
	};
}
bool settle_propose_texts(struct log *log, enum applied_origin origin, const struct rec_settle_item *items, uint32_t count,
			  struct span texts, const char *worker); /* the same, with what is said of each (item.size) */
/* tasks_propose_cancel, with who waits for the answer. */
enum err task_cancel(struct tasks *t, struct log *log, uint64_t task, uint64_t now_ms, enum applied_origin origin,
		     uint32_t *records, char text[256]) MUST_CHECK;
void orphans_propose(struct tasks *t, struct log *log, const char *worker, uint64_t now_ms);
