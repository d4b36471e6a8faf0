/* tests/simbroker/main.c: runs seeds, each in a process of its own (a crashed broker's memory is thrown away with it), and prints how
 * to repeat what failed.
 *
 *	sim_broker [--seeds FIRST..LAST] [--seed N] [--trace] [--twice N] [--ms N]
 *
 * --twice N runs the first N seeds two times and compares their trace hashes: the simulation must be deterministic. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run.h"

struct outcome {
	struct sim_result result;
	int status; /* of the process; 0 = it ended by itself */
};

/* The child writes its result into a pipe, so that a crash of the broker is an outcome like any other. */
static struct outcome run_apart(const struct sim_options *options)
{
	struct outcome out = { .status = 0 };
	int ends[2];
	ENSURE(pipe(ends) == 0);
	(void)fflush(NULL);
	pid_t pid = fork();
	ENSURE(pid >= 0);
	if (pid == 0) {
		(void)close(ends[0]);
		struct sim_result result;
		memset(&result, 0, sizeof result);
		sim_run_seed(options, &result);
		ENSURE(write(ends[1], &result, sizeof result) == (ssize_t)sizeof result);
		_exit(0);
	}
	(void)close(ends[1]);
	size_t got = 0;
	while (got < sizeof out.result) {
		ssize_t n = read(ends[0], (char *)&out.result + got, sizeof out.result - got);
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	(void)close(ends[0]);
	ENSURE(waitpid(pid, &out.status, 0) == pid);
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

int main(int argc, char **argv)
{
	unsigned long long first = 1, last = 100, twice = 0;
	struct sim_options options = { .chaos_ms = 3000 };
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--trace") == 0)
			options.trace = true;
		else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0)
			first = last = strtoull(argv[++i], NULL, 10);
		else if (i + 1 < argc && strcmp(argv[i], "--seeds") == 0) {
			if (sscanf(argv[++i], "%llu..%llu", &first, &last) != 2)
				return 1;
		} else if (i + 1 < argc && strcmp(argv[i], "--twice") == 0)
			twice = strtoull(argv[++i], NULL, 10);
		else if (i + 1 < argc && strcmp(argv[i], "--ms") == 0)
			options.chaos_ms = (uint32_t)strtoul(argv[++i], NULL, 10);
		else {
			(void)fprintf(stderr, "usage: sim_broker [--seeds A..B | --seed N] [--trace] [--twice N] [--ms N]\n");
			return 1;
		}
	}
	unsigned long long failed = 0, ran = 0;
	struct sim_result total = { 0 };
	for (unsigned long long seed = first; seed <= last; seed++, ran++) {
		options.seed = seed;
		struct outcome o = run_apart(&options);
		bool good = report(seed, &o);
		if (good && seed < first + twice) {
			struct outcome again = run_apart(&options);
			if (again.status != 0 || again.result.trace_hash != o.result.trace_hash) {
				(void)printf("seed %llu: two runs differ (%016llx, %016llx)\n", seed,
					     (unsigned long long)o.result.trace_hash,
					     (unsigned long long)again.result.trace_hash);
				good = false;
			}
		}
		failed += !good;
		total.confirmed += o.result.confirmed;
		total.settled += o.result.settled;
		total.crashes += o.result.crashes;
		total.cuts += o.result.cuts;
		total.stops += o.result.stops;
		total.simulated_ms += o.result.simulated_ms;
	}
	(void)printf("%llu seeds, %llu simulated s, %llu tasks confirmed, %llu settled, %llu crashes, %llu storage stops, "
		     "%llu connections cut\n", ran, (unsigned long long)total.simulated_ms / 1000,
		     (unsigned long long)total.confirmed, (unsigned long long)total.settled,
		     (unsigned long long)total.crashes, (unsigned long long)total.stops, (unsigned long long)total.cuts);
	/* A run without load proves nothing. */
	if (last - first >= 99 && total.confirmed < 50 * (total.simulated_ms / 1000)) {
		(void)printf("too little load: fewer than 50 confirmed tasks per simulated second\n");
		failed++;
	}
	(void)printf("%llu passed, %llu failed\n", ran - MIN_OF(failed, ran), failed);
	return failed ? 1 : 0;
}
