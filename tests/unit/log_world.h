/* tests/unit/log_world.h: one log on one simulated node, for tests without a broker. What it stores is log_model.h. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "log_model.h"

#include "../sim/io_sim.h"

struct world {
	struct sim *sim;
	struct model m;
	char lines[4096]; /* what fsck said */
	uint64_t walked;  /* records it showed */
};

static inline int world_set_up(void **state, uint64_t seed)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	w->sim = sim_new(seed);
	model_init(&w->m, sim_node_io(w->sim, 0));
	*state = w;
	return 0;
}

static inline int tear_down(void **state)
{
	struct world *w = *state;

	model_close(&w->m);
	w->m.config.io->v->free(w->m.config.io);
	model_free(&w->m);
	sim_free(w->sim);
	free(w);
	return 0;
}

static inline void open_log(struct world *w)
{
	enum err e = model_open(&w->m);

	if (e != ERR_OK)
		print_error("%s: %s\n", err_name(e), w->m.text);
	assert_int_equal(e, ERR_OK);
}

/* A clean stop; a new process stands ready. */
static inline void stop(struct world *w)
{
	model_close(&w->m);
	w->m.config.io->v->free(w->m.config.io);
	w->m.config.io = sim_restart(w->sim, 0);
}
