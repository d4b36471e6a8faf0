/* tests/simbroker/life.h: the life of single tasks, from a caller that submits, watches and awaits them to workers that make streams
 * of yields, hang, leave or vanish. What is checked, each where it is seen:
 *
 *  promise 3  a task with redelivery never reaches a worker once; it is DONE only where its worker said so, and LOST where its
 *             worker went without a word
 *  promise 5  each task has its outcome by its own deadline and a bound from then on, or from the healing (LIFE_BOUND_MS); none
 *             ends by a deadline before it
 *  promise 7  yields reach the caller in order, without gap or duplicate, each as it was made; the result comes after the last one;
 *             a yield acknowledged to a worker is never asked of another one */
#pragma once

#include "link.h"

enum life_kind { LIFE_STREAM, LIFE_ONCE, LIFE_EXPIRES, LIFE_CLOSE, LIFE_EXECUTION, LIFE_HEARTBEAT, LIFE_KINDS };
enum { LIFE_TASKS_MAX = 120, LIFE_WORKERS = 2, LIFE_AWAITS_MAX = 16, LIFE_BOUND_MS = 12000, LIFE_YIELD_BYTES = 16 };

struct life_task {
	uint8_t kind;
	uint64_t id;                 /* 0 = not confirmed yet */
	uint32_t yields;             /* how many its worker makes */
	uint64_t limit_ms;           /* of a timeout */
	uint64_t submitted_ns, confirmed_ns, jumped_ms, restarts;
	/* what workers saw and said */
	uint32_t delivered, acked;   /* acked: yields that the broker has said are durable */
	uint64_t begun_restarts;     /* how often the broker had been restarted when it began */
	bool complete_sent, complete_acked, fail_sent;
	/* the caller's */
	bool refused, answered;
	uint32_t next;               /* the yield that comes next */
	uint32_t generation;         /* of the connection that the rest is about */
	bool any;                    /* a yield has come on it */
	uint32_t last;               /* that one */
	uint32_t from[LIFE_AWAITS_MAX], awaits; /* asked for again from here */
};

struct life_caller;
struct life_worker;

struct life {
	struct scene *scene;
	struct life_task tasks[LIFE_TASKS_MAX];
	uint32_t count;
	struct life_caller *caller;
	struct life_worker *workers[LIFE_WORKERS];
};

const char *life_kind_name(const struct life_task *t);
/* The task of a payload, or NULL after a violation. */
struct life_task *life_find(struct life *life, struct span payload);
void life_yield_fill(const struct life *life, const struct life_task *t, uint32_t number, uint8_t out[LIFE_YIELD_BYTES]);

struct life_caller *life_caller_new(struct life *life);
bool life_caller_idle(const struct life_caller *c);
struct life_worker *life_worker_new(struct life *life, uint32_t number);
