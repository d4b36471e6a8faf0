/* broker/fair.h: whose turn it is among those who submitted to one queue. Private to the task machine.
 *
 *   lane_class.c a class comes, goes -> FAIR account;   lane.c peek -> fair_next;   lease -> fair_charge
 *
 * Start-time fair queueing. Each principal of a queue has an account, and in each priority a tag: the virtual time at which its next task
 * may start. A task costs its principal COST / weight; the one with the lowest tag is next; virtual time is the tag of the task
 * that started last, and who was away starts there. So over any time two principals with waiting tasks (and workers that fit) get tasks by
 * their weights, but for at most FAIR_RUN of each; who has a million of them waiting delays nobody. */
#pragma once

#include "../wire/limits.h"
#include "../wire/map64.h"
#include "../wire/queue_settings.h"
#include "../wire/span.h"

struct tasks;
struct queue;

enum {
	FAIR_PRINCIPALS_MAX = 1024, /* with tasks in one queue; further ones share the account of the nameless */
	FAIR_RUN = 8,               /* so many tasks may go in one frame before the next principal's turn */
	FAIR_WEIGHT_MAX = 1000,
	SHARES_MAX = 64,            /* patterns with a weight, of one queue */
};

/* Durable: what the operator said. A pattern is a name, or ends in a star for any rest; the longest that matches counts, a name most. */
struct share {
	uint8_t *pattern;
	uint8_t size;
	uint16_t weight;
};
struct shares {
	struct share *list; /* ascending by pattern */
	uint32_t count;
};

/* Volatile: made from classes of tasks and what is proposed. Account 0 is that of tasks without a principal. */
struct account {
	uint64_t hash;      /* its key in `names`; 0 = free, or account 0 */
	uint32_t classes;   /* lane classes that name it, also those that rest */
	uint32_t live;      /* of them those that tasks name */
	uint32_t proposed;  /* records under way */
	uint32_t cost;
	uint8_t size;
	uint8_t *name;
};
struct fair {
	struct account *accounts;
	uint32_t count, cap;
	uint32_t used;      /* accounts with tasks, or tasks under way */
	struct map64 names; /* hash -> index */
	uint64_t *tags[LIMIT_PRIORITY + 1]; /* of each account; NULL = nothing started in this priority */
	uint64_t now[LIMIT_PRIORITY + 1];
};

/* The account of a principal, found or made. */
uint32_t fair_join(struct tasks *t, struct queue *q, struct span principal);
void fair_leave(struct tasks *t, struct queue *q, uint32_t account);
void fair_live(struct queue *q, uint32_t account, bool live); /* a class of its is named by tasks, or no longer */
/* Whose account a new task of this principal goes to: its own, or nobody's (empty) where there are too many. */
struct span fair_principal(const struct tasks *t, const struct queue *q, struct span principal);
void fair_proposed(struct tasks *t, struct queue *q, struct span principal);
void fair_arrived(struct tasks *t, struct queue *q, struct span principal); /* the record of that is applied */
/* The slot of `row` and `mask` (NULL = all) whose turn it is, and how many of its tasks may go now. False: there is none. */
bool fair_next(const struct queue *q, uint32_t priority, const uint64_t *row, const uint64_t *mask, uint32_t words, uint32_t *slot,
	       uint32_t *run);
void fair_charge(struct tasks *t, struct queue *q, uint32_t priority, uint32_t slot, uint32_t count);
/* Is another principal with tasks of this priority before that of the slot? */
bool fair_waits(const struct queue *q, uint32_t priority, uint32_t slot);
void fair_weigh(struct queue *q); /* the weights have changed */
struct span fair_name(const struct queue *q, uint32_t slot);
void fair_free(struct tasks *t, struct queue *q);

/* Weight 0 takes the pattern out. False: there are SHARES_MAX. */
bool shares_set(struct tasks *t, struct queue *q, struct span pattern, uint32_t weight);
bool shares_ok(const struct shares *s, struct span pattern, uint32_t weight, char text[256]);
uint32_t shares_weight(const struct shares *s, struct span principal); /* 1 without a match */
void shares_print(const struct shares *s, struct buf *out); /* PATTERN=WEIGHT lines */
void shares_put(const struct shares *s, struct buf *out);
bool shares_get(struct tasks *t, struct queue *q, struct reader *r);
void shares_free(struct tasks *t, struct queue *q);
