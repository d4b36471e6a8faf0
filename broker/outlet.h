/* broker/outlet.h: a queue as delivery sees it: who can take what. Between deliver.c and outlet.c.
 *
 * Entries of a queue that are alike (same parameters, cost and hot set) form a group: what a task requires holds for all of
 * them or for none, so it is asked once for each (group, lane slot), when either comes to be, or as soon as a turn has time for
 * it: until then they do not fit. Bits tell the rest.
 *
 * Finding a pair is work in proportion to what happened, not to what waits: a group is *hungry* when one of its entries could take
 * something and nothing has been looked for since, a slot is *fresh* when tasks came and nobody has been looked for since. At rest no
 * group with credit fits a lane that holds tasks. Hungry groups are served first: each takes of the highest priority it fits. */
#pragma once

#include "shard_impl.h"

enum {
	CREDIT_BUCKETS = 18,
	GROUPS_MAX = 1 << 15,    /* of all queues: with all the lanes there can be their bits take 150 MB; an entry of one more kind waits */
	ASKS_PER_TURN = 1 << 14, /* does what a lane requires hold for a group: what is not asked in one turn is in the next */
};

struct group {
	struct consumer *buckets[CREDIT_BUCKETS]; /* by the size of their credit, in powers of two; oldest first */
	struct consumer **tails[CREDIT_BUCKETS];
	uint32_t filled;        /* bit per bucket */
	uint32_t index, entries;
	uint32_t able;          /* entries that are */
	uint64_t hash;
	struct span params;     /* packed */
	uint32_t cost, hot_count;
	uint64_t *hot;          /* hashes of names */
	uint64_t *slots;        /* bit per lane slot: its tasks may come here */
	struct group *hungry_next, *asking_next;
	uint32_t asked;         /* slots below have been asked for; further ones only where it is not `asking` */
	bool hungry, asking;
};

struct outlet {
	uint32_t queue, consumers; /* bound ones, with credit or without */
	struct group **groups;  /* by index; NULL = free */
	uint32_t group_count, group_cap, group_words;
	uint32_t slot_count, slot_words;
	uint64_t *levels;       /* bit [bucket][group]: that group has entries in that bucket */
	uint64_t *fits;         /* bit [slot][group] */
	uint64_t *fresh;        /* bit per slot */
	uint64_t *unasked;      /* bit per slot: not all groups have been asked since it means what it means */
	uint32_t unasked_count, ask_slot, ask_group; /* the one that is under way, and how far */
	struct group *asking, **asking_tail;         /* have not been asked for all slots */
	struct outlet *asking_next;                  /* in shard.asking */
	bool asks;
	struct group *hungry, **hungry_tail;
	uint32_t filled;        /* bit per bucket: a group has entries in it */
	uint32_t turn;          /* the group whose turn it is among equals */
	uint64_t clock;         /* of stamps */
	struct map64 group_names;
	uint64_t memory;

	struct outlet *next, *parked_next; /* in the runnable list, and in the parked one: for a moment it may be in both */
	bool listed, parked;
	uint64_t broken_task; /* cannot be read: the queue is held until it can, or it is settled by hand; 0 = none */
	uint64_t parked_addr;
	uint64_t last_addr, last_offset; /* where the walk through a record has come to, and what its head says */
	uint32_t last_item;
	uint64_t execution_ms, heartbeat_ms, hot, sticky; /* hot, sticky: hashes, 0 = none */
	uint8_t redelivery;   /* enum redelivery, of the tasks of this record */
	char *name;
	uint8_t name_len;
};

struct outlet *outlet_new(struct shard *s, uint32_t queue);
void outlet_free(struct shard *s, struct outlet *o);
/* An entry joins the group of its like, or leaves it. */
void outlet_join(struct shard *s, struct outlet *o, struct consumer *x);
void outlet_leave(struct shard *s, struct outlet *o, struct consumer *x);
/* It can take tasks, as many as its credit says; or not now. */
void outlet_link(struct outlet *o, struct consumer *x);
void outlet_unlink(struct outlet *o, struct consumer *x);
/* The entry could take tasks, now or when it has done what it has; or could not any more. */
void outlet_able(struct consumer *x, bool able);
/* Is there an entry that could, and for which this packed predicate holds? */
bool outlet_could(const struct outlet *o, struct span requires);
/* Is there room for the group of an entry, or the group itself? */
bool outlet_takes(const struct shard *s, const struct outlet *o, const struct consumer *x);
/* Asks on, as far as the turn has time. True: there is more. */
bool outlet_ask(struct shard *s, struct outlet *o);
/* A slot means other requirements than before. */
void outlet_slot(struct shard *s, struct outlet *o, uint32_t slot);
void outlet_fresh(struct outlet *o, uint32_t slot); /* TASKS_ANY_SLOT: look at everything again */
/* The next tasks that somebody can take. */
bool outlet_peek(struct shard *s, struct outlet *o, struct ready_run *out);
/* Who of those that can gets them, by the setting of the queue. */
struct consumer *outlet_choose(struct shard *s, struct outlet *o, uint32_t slot);
