/* tests/simbroker/timed.h: what the broker does by itself, at its times: schedules that fire, and dead letters that are put back at a
 * rate. An operator makes schedules, submits tasks that will die and starts redrives; a worker does what comes, and lets tasks die. What
 * is checked, each where it is seen:
 *
 *  T1  a schedule fires no more often than its times have passed and it was run by hand
 *  T2  its firings and its tasks are the same: of a schedule at rest the worker got as many different tasks as the broker counts
 *      firings (with "replace": at most as many), over crashes; a schedule that was confirmed is there
 *  T3  with "skip" a task comes only when the one before it can have ended
 *  T4  in peace every schedule fires on (promise 5)
 *  T5  a dead letter comes back only by a redrive that began after its death: one that was not answered yet when its worker let it die,
 *      or was asked for since
 *  T6  in peace redrives come to their end, no letter is left, each of those tasks is done (promise 5), and all redrives together have put
 *      back as many letters as there were deaths */
#pragma once

#include "link.h"

enum { SCHEDULES = 5, TICKS_MAX = 32768, BADS_MAX = 60, TIMED_BAD = 1u << 31 };
#define TIMED_TICK "sim.timed.Tick"
#define TIMED_BAD_TYPE "sim.timed.Bad"

struct timed_schedule {
	uint32_t every_ms;
	uint8_t overlap, misfire;
	bool added;                 /* confirmed */
	uint64_t asked_ns;          /* when it was asked for first; 0 = not yet */
	uint64_t jumped_ms;         /* the wall clock's, then */
	uint64_t runs;              /* asked for, besides its times */
	uint64_t tasks;             /* different ones that came */
	uint64_t open;              /* the last of these, while no end of it was said */
	uint64_t in_peace;          /* how many of them had come when peace began */
	bool peace, paused, counted;
	uint64_t fired;             /* as the broker counts, once it is at rest */
};

struct timed_bad {                  /* a task that dies */
	uint64_t id;                /* 0 = not confirmed yet */
	uint32_t deaths, died;      /* said, and those of them that the broker has taken */
	uint64_t before;            /* redrives that were answered when the last of these was said */
	bool complete_sent;
};

struct timed {
	struct scene *scene;
	struct timed_schedule schedules[SCHEDULES];
	struct timed_bad bads[BADS_MAX];
	uint32_t bad_count;
	uint64_t ticks[TICKS_MAX];  /* ids that came */
	uint32_t tick_count;
	uint64_t redrives, answered; /* asked for; and those whose answer came */
	bool letters_gone;          /* in peace: the queue of those that die is empty, and no redrive runs */
	uint64_t put_back;          /* by all redrives, then */
	struct timed_operator *operator;
	struct timed_worker *worker;
};

struct timed_operator *timed_operator_new(struct timed *t);
struct timed_worker *timed_worker_new(struct timed *t);
const char *timed_operator_waits(const struct timed_operator *o); /* NULL: for nothing */
