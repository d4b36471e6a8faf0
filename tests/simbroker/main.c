/* tests/simbroker/main.c: runs seeds, each in a process of its own (a crashed broker's memory is thrown away with it), and prints how
 * to repeat what failed.
 *
 *	sim_broker [--seeds FIRST..LAST] [--seed N] [--trace] [--twice N] [--ms N] [--jobs N] [--stop]
 *
 * --stop ends at the first seed that fails.
 * --twice N runs the first N seeds two times and compares their trace hashes: the simulation must be deterministic. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run.h"

enum { JOBS_MAX = 64, MARKED_SEEDS = 100 /* from so many on each situation must have been met */ };

struct outcome {
	struct sim_result result;
	int status; /* of the process; 0 = it ended by itself */
};

struct child {
	uint64_t seed;
	pid_t pid;
	int out;
};

/* The child writes its result into a pipe, so that a crash of the broker is an outcome like any other. */
static struct child start(const struct sim_options *options, uint64_t seed)
{
	int ends[2];
	ENSURE(pipe(ends) == 0);
	(void)fflush(NULL);
	pid_t pid = fork();
	ENSURE(pid >= 0);
	if (pid == 0) {
		(void)close(ends[0]);
		struct sim_options mine = *options;
		struct sim_result result;
		mine.seed = seed;
		memset(&result, 0, sizeof result);
		sim_run_seed(&mine, &result);
		ENSURE(write(ends[1], &result, sizeof result) == (ssize_t)sizeof result);
		_exit(0);
	}
	(void)close(ends[1]);
	return (struct child){ seed, pid, ends[0] };
}

static struct outcome finish(const struct child *child)
{
	struct outcome out = { .status = 0 };
	size_t got = 0;
	while (got < sizeof out.result) {
		ssize_t n = read(child->out, (char *)&out.result + got, sizeof out.result - got);
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	(void)close(child->out);
	ENSURE(waitpid(child->pid, &out.status, 0) == child->pid);
	if (got < sizeof out.result && out.status == 0)
		out.status = -1;
	return out;
}

static bool report(uint64_t seed, const struct outcome *o)
{
	if (o->status == 0 && o->result.violation[0] == 0)
		return true;
	if (o->status != 0)
		(void)printf("seed %llu: the broker's process died (status %d)\n", (unsigned long long)seed, o->status);
	else
		(void)printf("seed %llu: %s\n", (unsigned long long)seed, o->result.violation);
	(void)printf("  repeat: sim_broker --seed %llu --trace   (%s)\n", (unsigned long long)seed, o->result.options);
	return false;
}

struct options {
	unsigned long long first, last, twice, jobs;
	bool stop;
	struct sim_options sim;
};

static bool parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--trace") == 0) {
			o->sim.trace = true;
			continue;
		}
		if (strcmp(argv[i], "--stop") == 0) {
			o->stop = true;
			continue;
		}
		if (i + 1 == argc)
			return false;
		const char *value = argv[i + 1];
		if (strcmp(argv[i], "--seed") == 0)
			o->first = o->last = strtoull(value, NULL, 10);
		else if (strcmp(argv[i], "--seeds") == 0 && sscanf(value, "%llu..%llu", &o->first, &o->last) != 2)
			return false;
		else if (strcmp(argv[i], "--twice") == 0)
			o->twice = strtoull(value, NULL, 10);
		else if (strcmp(argv[i], "--ms") == 0)
			o->sim.chaos_ms = (uint32_t)strtoul(value, NULL, 10);
		else if (strcmp(argv[i], "--jobs") == 0)
			o->jobs = strtoull(value, NULL, 10);
		else if (strcmp(argv[i], "--seeds") != 0)
			return false;
		i++;
	}
	return o->jobs >= 1 && o->jobs <= JOBS_MAX && o->first <= o->last;
}

/* One outcome is judged; `twice` asks for a second run that must leave the same trace. */
static bool judge(const struct options *o, const struct child *child, struct sim_result *total)
{
	struct outcome out = finish(child);
	bool good = report(child->seed, &out);
	if (good && child->seed < o->first + o->twice) {
		struct child second = start(&o->sim, child->seed);
		struct outcome again = finish(&second);
		if (again.status != 0 || again.result.trace_hash != out.result.trace_hash) {
			(void)printf("seed %llu: two runs differ (%016llx, %016llx)\n", (unsigned long long)child->seed,
				     (unsigned long long)out.result.trace_hash,
				     (unsigned long long)again.result.trace_hash);
			good = false;
		}
	}
	total->confirmed += out.result.confirmed;
	total->settled += out.result.settled;
	total->crashes += out.result.crashes;
	total->cuts += out.result.cuts;
	total->stops += out.result.stops;
	for (int i = 0; i < MARK_COUNT; i++)
		total->marks[i] += out.result.marks[i];
	total->seen += out.result.seen;
	total->simulated_ms += out.result.simulated_ms;
	return good;
}

int main(int argc, char **argv)
{
	struct options o = { .first = 1, .last = 100, .jobs = 1, .sim = { .chaos_ms = 1000 } };
	if (!parse(argc, argv, &o)) {
		(void)fprintf(stderr, "usage: sim_broker [--seeds A..B | --seed N] [--trace] [--twice N] [--ms N] [--jobs N] [--stop]\n");
		return 1;
	}
	struct child children[JOBS_MAX];
	struct sim_result total = { 0 };
	unsigned long long next = o.first, seeds = o.last - o.first + 1, failed = 0;
	for (unsigned long long seed = o.first; seed <= o.last && !(o.stop && failed); seed++) {
		for (; next <= o.last && next < seed + o.jobs; next++)
			children[next % o.jobs] = start(&o.sim, next);
		failed += !judge(&o, &children[seed % o.jobs], &total);
	}
	(void)printf("%llu seeds, %llu simulated s, %llu tasks confirmed, %llu settled, %llu crashes, %llu storage stops, "
		     "%llu connections cut\n", seeds, (unsigned long long)total.simulated_ms / 1000,
		     (unsigned long long)total.confirmed, (unsigned long long)total.settled,
		     (unsigned long long)total.crashes, (unsigned long long)total.stops, (unsigned long long)total.cuts);
	/* A run without load proves nothing. Most of the simulated time is the quiet at the end, in which nobody submits. */
	if (seeds >= 100 && total.confirmed < 500 * seeds) {
		(void)printf("too little load: fewer than 500 confirmed tasks per seed\n");
		failed++;
	}
	for (int i = 0; i < MARK_COUNT; i++) {
		if (total.marks[i] > 0 || seeds < MARKED_SEEDS) {
			(void)printf("  %8llu %s\n", (unsigned long long)total.marks[i], mark_text((enum mark)i));
			continue;
		}
		(void)printf("never met: %s\n", mark_text((enum mark)i));
		failed++;
	}
	if (seeds >= 10 && total.seen < 10 * seeds) {
		(void)printf("the clients in vnets of their own saw %llu things: too few to prove anything\n", (unsigned long long)total.seen);
		failed++;
	}
	(void)printf("%llu passed, %llu failed\n", seeds - MIN_OF(failed, seeds), failed);
	return failed ? 1 : 0;
}
