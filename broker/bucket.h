/* broker/bucket.h: token buckets: so many at once, so many a second after that. Header only; whole numbers, no clock of its own.
 *
 * A bucket of zero rate never fills up again; one of zero burst lets nothing through. Time must not go back. */
#pragma once

#include "../wire/base.h"

struct bucket {
	uint64_t level;   /* thousandths of a token */
	uint64_t at_ms;   /* as of then */
};

static inline void bucket_fill(struct bucket *b, uint64_t burst, uint64_t now_ms)
{
	*b = (struct bucket){ burst * 1000, now_ms };
}

/* Adds what has come since. `rate` is tokens per second, so thousandths per millisecond. */
static inline void bucket_refill(struct bucket *b, uint64_t rate, uint64_t burst, uint64_t now_ms)
{
	uint64_t elapsed = now_ms - b->at_ms, room = burst * 1000 - MIN_OF(b->level, burst * 1000);
	b->at_ms = now_ms;
	b->level = rate > 0 && elapsed > room / rate ? burst * 1000 : MIN_OF(b->level + elapsed * rate, burst * 1000);
}

/* Takes that many, or none and false. */
static inline bool bucket_take(struct bucket *b, uint64_t count)
{
	if (b->level < count * 1000)
		return false;
	b->level -= count * 1000;
	return true;
}

/* How long until so many are there; 0 = now, UINT64_MAX = never. */
static inline uint64_t bucket_wait_ms(const struct bucket *b, uint64_t count, uint64_t rate)
{
	if (b->level >= count * 1000)
		return 0;
	return rate > 0 ? (count * 1000 - b->level + rate - 1) / rate : UINT64_MAX;
}
