/* tools/hist.h: a histogram of times with a bounded relative error, whatever their range.
 *
 * Log-linear: 128 buckets per power of two, so that a reported quantile is within 0.4 % of a recorded value (values
 * below 128 are exact). Fixed size, no allocation, recording costs a few instructions; histograms of several threads
 * are merged afterwards. */
#pragma once

#include "../wire/base.h"

enum { HIST_BITS = 7, HIST_BUCKETS = (64 - HIST_BITS + 1) << HIST_BITS };

struct hist {
	uint64_t count, max;
	uint64_t buckets[HIST_BUCKETS];
};

/* Zero-initialise before use. */
void hist_record(struct hist *hist, uint64_t value);
void hist_merge(struct hist *into, const struct hist *from);
/* The smallest value that at least the share q (0..1) of the recorded values do not exceed; 0 where there are none. */
uint64_t hist_quantile(const struct hist *hist, double q);
