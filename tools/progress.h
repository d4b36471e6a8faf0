/* tools/progress.h: a progress bar on stderr, only on a terminal and only once the work has taken two seconds. */
#pragma once

#include "../wire/base.h"

struct progress {
	const char *label;
	uint64_t total;      /* 0: unknown, shows a count instead of a bar */
	uint64_t start_ns, drawn_ns;
	bool terminal, drawn;
};

void progress_begin(struct progress *p, const char *label, uint64_t total);
void progress_step(struct progress *p, uint64_t done); /* cheap: draws at most ten times a second */
void progress_end(struct progress *p);                 /* removes the bar */

/* CLOCK_MONOTONIC in nanoseconds; the clock of everything the tools measure. */
uint64_t clock_ns(void);
