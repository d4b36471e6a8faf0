/* broker/after.h: tasks that come after other tasks, and groups of tasks with a callback. Private to the task machine.
 *
 *   apply_submit -> AFTER attach, GROUP join;   task_finish -> AFTER settled, GROUP settled -> lanes, or doomed -> tick
 *
 * A task that waits for others is *blocked*: it has an object (hot.blocked), counts as SCHEDULED and is in no lane. What it waits for
 * is a struct wait: edges to single tasks, or one group. When that is over it goes to its lane as a delayed one does; where something
 * ended badly and it is not to run then, it is *doomed*: the next tick settles it by a record.
 *
 * Members of a group are known as ranges of task numbers, ascending: tasks of one frame are one range, whatever their number, and a
 * task that is in no group costs nothing. */
#pragma once

#include "tasks_impl.h"

enum { AFTER_TEXT_MAX = 96 };

struct wait {
	uint64_t task, bad;      /* bad: the first that ended badly, 0 = none */
	uint64_t group;          /* number of the group whose end it waits for, 0 = none */
	uint32_t first, open;    /* its edges */
	uint32_t queue;
	uint16_t doom;           /* it is to be cancelled with this code; ERR_OK = not so */
	uint8_t policy, bad_state;
};

/* Both lists are rings: of all edges from one task, of all edges to one. */
struct edge {
	uint64_t task, before;   /* `task` comes after `before` */
	uint32_t prev, next;     /* of `before` */
	uint32_t own_prev, own_next; /* of `task` */
};

struct group {
	uint64_t number, members, size, open; /* size: 0 until it has a callback */
	uint64_t done, failed, cancelled, expired, lost, dead;
	uint64_t callback, bad, first_member;
	uint64_t touched_ms, ended_ms, keep_ms;
	struct group *name_next; /* (v) another one whose name has this hash */
	uint32_t ranges;         /* (v) how many name it */
	uint64_t cursor;         /* (v) of the walk that cancels it: the next member; NEVER = no walk */
	uint8_t bad_state;
	bool cancelled_whole, ended;
	uint8_t name_size;
	char name[];
};

struct member_range {
	uint64_t first, group;
	uint32_t count, pad;
};

/* What an arriving task waits for, as found when its record is applied. */
struct dependency {
	struct buf *found;       /* u64: tasks that are not final */
	uint64_t bad;
	struct group *callback_of; /* NULL = of none */
	uint64_t size;           /* and how many members that has */
	uint8_t policy, bad_state;
};

static inline bool is_bad(uint8_t state)
{
	return state != TASK_DONE;
}

/* ---- after.c ---- */
struct wait *wait_find(const struct tasks *t, uint64_t task);
/* TASK_READY: it is not final; its final state; TASK_UNKNOWN: nobody knows (any more). */
enum task_state after_outcome(const struct tasks *t, uint64_t task);
/* Room for edges from one more task to these? */
bool after_room(const struct tasks *t, const uint64_t *before, uint32_t count);
bool after_blocks(const struct dependency *d);
void after_attach(struct tasks *t, struct hot *h, const struct dependency *d);
void after_leave(struct tasks *t, struct hot *h);  /* a blocked one is final */
void after_settled(struct tasks *t, uint64_t task, uint8_t state); /* those that come after it hear of it */
void wait_look(struct tasks *t, struct wait *w);    /* something has changed: run, doomed, or still waiting */
/* What its end says; bytes written. */
uint32_t after_text(const struct tasks *t, uint64_t task, char out[AFTER_TEXT_MAX]);
uint64_t after_due(const struct tasks *t, const struct hot *h);
void after_put(const struct tasks *t, struct buf *out);
bool after_get(struct tasks *t, struct reader *r);
void after_free(struct tasks *t);

/* ---- group.c ---- */
struct group *group_find(const struct tasks *t, struct span name);
struct group *group_of(const struct tasks *t, uint64_t task);  /* that the task is a member of; NULL = none */
struct group *group_by_number(const struct tasks *t, uint64_t number);
/* May such a task join, and such a callback come? *count is cut to how many may. A member that waits for something (`tied`) may not come
 * behind the callback: it could wait for that. */
enum err group_admits(const struct tasks *t, const struct submit_view *v, bool tied, uint32_t *count, char text[256]);
void group_join(struct tasks *t, struct span name, uint64_t first, uint32_t count);
/* The group that this callback closes, made where it is not there yet. */
struct group *group_close(struct tasks *t, const struct submit_view *v, uint64_t callback, uint64_t keep_ms);
bool group_over(const struct group *g);             /* closed, and all members are final */
/* A task is final; `counted`: it has been before. */
void group_settled(struct tasks *t, uint64_t task, uint8_t state, bool counted);
void groups_expire(struct tasks *t);
void groups_begin(struct tasks *t);
void groups_put(const struct tasks *t, struct buf *out);
bool groups_get(struct tasks *t, struct reader *r);
void groups_free(struct tasks *t);
bool groups_busy(const struct tasks *t);             /* groups_tick has something to do */
void groups_tick(struct tasks *t, struct log *log, uint64_t now_ms);

/* ---- tasks_after.c: of a submission ---- */
/* Its part of the record, with what is settled by now left out. Refusals, with a text, are for new items only. */
enum err after_prepare(struct tasks *t, const struct task_head *head, struct submit_view *v, char text[256]);
/* How many of `count` items from sequence `seq` on are alike in what has become of those they come after by sequence; what after_prepare
 * made (`base`) is made to fit them in *v. */
uint32_t after_shape(struct tasks *t, const struct producer *p, uint64_t seq, uint32_t count, const struct submit_view *base,
		     struct submit_view *v, enum err *code, char text[256]);
/* Of the task that gets this number and sequence; *count is cut to how many may be taken at once. Fills t->found. */
enum err after_resolve(struct tasks *t, const struct submit_view *v, const struct producer *p, uint64_t seq, uint64_t task,
		       uint32_t *count, struct dependency *out);
