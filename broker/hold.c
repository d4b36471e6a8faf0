/* broker/hold.c: when the log is flushed, and when a batch waits a moment for company.
 *
 * In the flow: propose -> HOLD -> log append + sync.
 *
 * The log has one write in flight. After a confirm, a producer that waits for each of its confirms sends the next submit, and
 * the worker the settle of the task before. If the settle is written alone, the submit behind it waits for that write and then
 * for its own: two syncs where one would do. So a batch of nothing but reports is held back while a submit is expected sooner
 * than its write would end, and both travel together.
 *
 * 1. Only reports and what the broker proposes by itself are held, and only on an idle log; a submit or a request takes all
 *    that is pending with it at once.
 * 2. A hold ends HOLD_FACTOR usual gaps after the confirm it began with, at most HOLD_MAX_NS, whether or not company came.
 * 3. What is usual is learned from every gap, held or not: producers that do not answer a confirm at once end it by themselves.
 * 4. Nothing is answered earlier for it: a hold only moves the start of a write. */
#include "shard_impl.h"

enum {
	HOLD_FACTOR = 2,
	HOLD_MAX_NS = 1000 * 1000,
	HOLD_PAUSE_NS = 4 * HOLD_MAX_NS, /* a longer gap says no more than this one */
	HOLD_WEIGHT = 8, /* a new gap counts one part in so many */
};

void hold_confirmed(struct shard *s)
{
	s->hold.confirmed_ns = s->now_ns;
}

void hold_urgent(struct shard *s)
{
	s->hold.urgent = true;
}

void hold_submitted(struct shard *s)
{
	struct hold *hold = &s->hold;
	hold->urgent = true;
	if (hold->confirmed_ns == 0)
		return;
	int64_t gap = (int64_t)MIN_OF(s->now_ns - hold->confirmed_ns, (uint64_t)HOLD_PAUSE_NS);
	hold->gap_ns += (gap - hold->gap_ns) / HOLD_WEIGHT;
	hold->confirmed_ns = 0;
}

/* When the hold of what is pending ends; 0 = it is not to be held. */
static uint64_t hold_until_ns(const struct shard *s)
{
	const struct hold *hold = &s->hold;
	if (hold->urgent || hold->confirmed_ns == 0 || !log_waiting(s->log))
		return 0;
	uint64_t gap = (uint64_t)hold->gap_ns;
	if (gap >= MIN_OF(log_write_ns(s->log), (uint64_t)HOLD_MAX_NS))
		return 0; /* the write would be over before company came */
	uint64_t until = hold->confirmed_ns + MIN_OF(HOLD_FACTOR * gap, (uint64_t)HOLD_MAX_NS);
	return until > s->now_ns ? until : 0;
}

void hold_or_flush(struct shard *s)
{
	s->hold.until_ns = hold_until_ns(s);
	if (s->hold.until_ns != 0)
		return;
	if (log_waiting(s->log))
		s->hold.urgent = false;
	log_flush(s->log, s->wall_ms);
}
