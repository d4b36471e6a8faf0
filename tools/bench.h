/* tools/bench.h: the load engine behind `hillock bench task|submit|drain`.
 *
 * Actors produce, work, or both; each has one client. They are spread over threads; a thread polls its actors' clients and never
 * spins. What a task carries (which run, which number, when it was due) lets every task be checked and timed without a
 * table shared between threads.
 *
 * Times are measured from the moment a task was *due*: with a rate that is its place in the schedule, however late the
 * producer got round to it, so that a stall of the broker is charged to every task it delayed. */
#pragma once

#include "../clientlib/hillock.h"
#include "hist.h"

enum { BENCH_HEADER = 24, BENCH_THREADS = 256 };

struct bench_plan {
	const char *queue;
	struct hlk_options connect; /* as cli.connect */
	uint32_t producers, workers, threads; /* threads 0: one per actor */
	bool shared;                          /* producer i and worker i use one client */
	uint32_t size, window, prefetch;
	uint64_t count;                       /* tasks to submit; without producers: tasks to settle */
	uint64_t rate;                        /* per second over all producers; 0: as fast as the window allows */
	enum hlk_confirm confirm;
	int timeout_ms, stall_ms;
	uint32_t lanes, first_lane, stretch;  /* kinds of tasks (0 = one), the number of the first; tasks of a kind in a row */
	uint32_t entries;                     /* of each worker, spread over the lanes by a parameter; 0 = one, without */
	bool alike;                           /* the same kinds, but they require nothing */
	bool foreign;                         /* tasks of other runs and programs are settled and counted too */
};

struct bench_result {
	uint64_t confirmed, refused, settled, duplicates, redelivered, corrupt, foreign, disorder, missing;
	double seconds, client_cpu_s;
	enum hlk_confirm level;               /* the weakest confirm that came */
	struct hist confirm, e2e, settle;     /* nanoseconds: due to confirm, due to settled, received to settled */
	bool interrupted, stalled;
	char error[256];                      /* of the last refusal */
};

/* Runs the plan to its end, to a signal, or until nothing has moved for stall_ms. HLK_OK, or why it could not start,
 * with a text in result->error. */
int bench_run(const struct bench_plan *plan, struct bench_result *result) MUST_CHECK;

/* What one synced append of 4 KiB costs, in nanoseconds; see bench_disk.c. Both give 0 or an errno. */
int disk_append_direct(const char *dir, uint32_t rounds, struct hist *out) MUST_CHECK;
int disk_append_buffered(const char *dir, uint32_t rounds, bool preallocated, struct hist *out) MUST_CHECK;
