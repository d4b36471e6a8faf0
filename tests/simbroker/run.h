/* tests/simbroker/run.h: one seed: a broker on a simulated machine, producers and workers, chaos, then healing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "scene.h"

struct sim_options {
	uint64_t seed;
	uint32_t chaos_ms; /* simulated time before the healing begins */
	bool trace;
};

struct sim_result {
	uint64_t trace_hash, confirmed, settled, crashes, stops, cuts, simulated_ms;
	uint64_t seen;        /* things that clients in vnets of their own got, each their own */
	uint64_t marks[MARK_COUNT];
	char options[640];    /* what the seed meant */
	char violation[512];  /* "" = every promise held */
};

void sim_run_seed(const struct sim_options *options, struct sim_result *result);
