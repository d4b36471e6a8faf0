/* tools/hist.c: the log-linear histogram.
 *
 * Invariants:
 * 1. Bucket index grows with the value: bucket_of(a) <= bucket_of(b) for a <= b.
 * 2. A bucket above 128 is 1/128 of its power of two wide, so its middle is off by less than 0.4 %.
 * 3. `count` is the sum of all buckets; `max` is exact. */
#include "hist.h"

#include <math.h>

static uint32_t bucket_of(uint64_t value)
{
	if (value < 1 << HIST_BITS)
		return (uint32_t)value;
	uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - HIST_BITS;
	uint32_t index = ((shift + 1) << HIST_BITS) + ((uint32_t)(value >> shift) & ((1 << HIST_BITS) - 1));
	ENSURE(index < HIST_BUCKETS);
	return index;
}

static uint64_t bucket_middle(uint32_t index)
{
	if (index < 1 << HIST_BITS)
		return index;
	uint32_t shift = (index >> HIST_BITS) - 1;
	uint64_t low = ((uint64_t)(index & ((1 << HIST_BITS) - 1)) | 1 << HIST_BITS) << shift;
	return low + (((uint64_t)1 << shift) >> 1);
}

void hist_record(struct hist *hist, uint64_t value)
{
	hist->buckets[bucket_of(value)]++;
	hist->count++;
	hist->max = MAX_OF(hist->max, value);
}

void hist_merge(struct hist *into, const struct hist *from)
{
	for (uint32_t i = 0; i < HIST_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
	into->count += from->count;
	into->max = MAX_OF(into->max, from->max);
}

uint64_t hist_quantile(const struct hist *hist, double q)
{
	ENSURE(q >= 0 && q <= 1);
	if (hist->count == 0)
		return 0;
	uint64_t rank = (uint64_t)ceil(q * (double)hist->count), seen = 0;
	rank = MIN_OF(MAX_OF(rank, 1), hist->count);
	for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
		seen += hist->buckets[i];
		if (seen >= rank)
			return MIN_OF(bucket_middle(i), hist->max);
	}
	ENSURE(seen >= rank); /* invariant 3: the rank is within the count */
	return hist->max;
}
