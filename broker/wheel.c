/* broker/wheel.c: coarse timers of a shard: handshakes, heartbeats, grace periods.
 *
 * In the flow: the turn asks wheel_next_ms how long it may wait, and wheel_run fires what is due.
 *
 * 1. Arming and clearing is O(1). An idle connection costs one firing per heartbeat.
 * 2. A timer further away than the wheel is round is put into its last slot and fires early: fire() looks at the clock and
 *    arms itself again. */
#include "shard_impl.h"

void *zalloc(size_t size)
{
	void *p = calloc(1, size);
	ENSURE(p != NULL);
	return p;
}

void timer_clear(struct shard *s, struct timer *t)
{
	if (!t->link)
		return;
	*t->link = t->next;
	if (t->next)
		t->next->link = t->link;
	t->link = NULL;
	uint64_t slot = t->tick % WHEEL_SLOTS;
	if (!s->wheel.slots[slot])
		s->wheel.used[slot / 64] &= ~(1ull << slot % 64);
	ENSURE(s->wheel.count > 0);
	s->wheel.count--;
}

void timer_set(struct shard *s, struct timer *t, uint64_t at_ms)
{
	timer_clear(s, t);
	struct wheel *w = &s->wheel;
	uint64_t now = s->now_ms / WHEEL_TICK_MS;
	if (w->count == 0 && w->tick <= now)
		w->tick = now;
	uint64_t tick = at_ms / WHEEL_TICK_MS + 1;
	tick = MAX_OF(tick, MAX_OF(w->tick, now + 1));
	t->tick = MIN_OF(tick, w->tick + WHEEL_SLOTS - 2);
	struct timer **slot = &w->slots[t->tick % WHEEL_SLOTS];
	t->next = *slot;
	t->link = slot;
	if (t->next)
		t->next->link = &t->next;
	*slot = t;
	w->used[t->tick % WHEEL_SLOTS / 64] |= 1ull << t->tick % 64;
	w->count++;
}

void timer_sooner(struct shard *s, struct timer *t, uint64_t at_ms)
{
	if (!t->link || t->tick > at_ms / WHEEL_TICK_MS + 1)
		timer_set(s, t, at_ms);
}

uint64_t wheel_next_ms(const struct shard *s)
{
	const struct wheel *w = &s->wheel;
	if (w->count == 0)
		return UINT64_MAX;
	for (uint64_t i = 0; i < WHEEL_SLOTS; i++) {
		uint64_t slot = (w->tick + i) % WHEEL_SLOTS;
		if (w->used[slot / 64] & 1ull << slot % 64)
			return (w->tick + i) * WHEEL_TICK_MS;
	}
	ENSURE(false);
	return UINT64_MAX;
}

void wheel_run(struct shard *s)
{
	struct wheel *w = &s->wheel;
	uint64_t now = s->now_ms / WHEEL_TICK_MS;
	if (w->count == 0 || w->tick > now)
		return;
	/* All slots are passed at most once, also after a long sleep. */
	uint64_t last = MIN_OF(now, w->tick + WHEEL_SLOTS - 1);
	for (uint64_t tick = w->tick; tick <= last; tick++) {
		struct timer *t;
		/* Moved past first, so that what fires cannot arm itself into the slot that is being emptied. */
		w->tick = tick + 1;
		while ((t = w->slots[tick % WHEEL_SLOTS]) && t->tick <= now) {
			timer_clear(s, t);
			t->fire(s, t);
		}
	}
	w->tick = MAX_OF(w->tick, now + 1);
}
