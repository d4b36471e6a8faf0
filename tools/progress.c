/* tools/progress.c: the progress bar. Writes to stderr only, so that stdout stays the result. */
#include "progress.h"

#include <time.h>
#include <unistd.h>

enum { PROGRESS_AFTER_MS = 2000, PROGRESS_EVERY_MS = 100, PROGRESS_WIDTH = 30 };

uint64_t clock_ns(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void progress_begin(struct progress *p, const char *label, uint64_t total)
{
	*p = (struct progress){ .label = label, .total = total, .start_ns = clock_ns() };
	p->terminal = isatty(STDERR_FILENO);
}

void progress_step(struct progress *p, uint64_t done)
{
	if (!p->terminal)
		return;
	uint64_t now = clock_ns(), spent = now - p->start_ns;
	if (spent < PROGRESS_AFTER_MS * 1000000ull || now - p->drawn_ns < PROGRESS_EVERY_MS * 1000000ull)
		return;
	p->drawn_ns = now;
	p->drawn = true;
	double rate = (double)done * 1e9 / (double)spent;
	if (p->total == 0) {
		(void)fprintf(stderr, "\r%s  %llu  %.0f/s\033[K", p->label, (unsigned long long)done, rate);
		return;
	}
	char bar[PROGRESS_WIDTH + 1];
	uint64_t filled = MIN_OF(done, p->total) * PROGRESS_WIDTH / p->total;
	for (uint64_t i = 0; i < PROGRESS_WIDTH; i++)
		bar[i] = i < filled ? '#' : '.';
	bar[PROGRESS_WIDTH] = 0;
	double left = rate > 0 ? (double)(p->total - MIN_OF(done, p->total)) / rate : 0;
	(void)fprintf(stderr, "\r%s  [%s] %3llu%%  %.0f/s  %.0f s left\033[K", p->label, bar,
		      (unsigned long long)(MIN_OF(done, p->total) * 100 / p->total), rate, left);
}

void progress_end(struct progress *p)
{
	if (p->drawn)
		(void)fprintf(stderr, "\r\033[K");
	p->drawn = false;
}
