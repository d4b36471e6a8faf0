/* broker/event_seen.c: see event_seen.h. In the flow: publish -> SEEN -> match.
 *
 * 1. Runs of one hi lie in one chain of the hash table; none overlap, and neighbours that touch are joined.
 * 2. Memory is fixed from the start: a new run takes the place of the one touched longest ago. */
#include "event_seen.h"

struct run {
	uint64_t hi, from, to;      /* from <= id < to */
	uint32_t next;              /* in the bucket: 1 + index, 0 = end */
	uint32_t older, newer;      /* by touch: 1 + index */
};
struct seen {
	uint64_t seed;
	uint32_t used, oldest, newest;
	uint32_t free, free_count;  /* by next */
	uint32_t buckets[SEEN_RUNS];
	struct run runs[SEEN_RUNS];
};

struct seen *seen_new(uint64_t seed)
{
	struct seen *w = calloc(1, sizeof *w);
	ENSURE(w != NULL);
	w->seed = seed;
	return w;
}

void seen_free(struct seen *w)
{
	free(w);
}

uint32_t seen_count(const struct seen *w)
{
	return w->used - w->free_count;
}

static uint32_t *bucket_of(struct seen *w, uint64_t hi)
{
	uint64_t h = (hi ^ w->seed) * 0x9e3779b97f4a7c15u;
	return &w->buckets[(h >> 40) & (SEEN_RUNS - 1)];
}

static void age_unlink(struct seen *w, uint32_t id)
{
	struct run *r = &w->runs[id - 1];
	*(r->older ? &w->runs[r->older - 1].newer : &w->oldest) = r->newer;
	*(r->newer ? &w->runs[r->newer - 1].older : &w->newest) = r->older;
}

static void age_push(struct seen *w, uint32_t id)
{
	struct run *r = &w->runs[id - 1];
	r->older = w->newest;
	r->newer = 0;
	*(w->newest ? &w->runs[w->newest - 1].newer : &w->oldest) = id;
	w->newest = id;
}

static void run_drop(struct seen *w, uint32_t id)
{
	struct run *r = &w->runs[id - 1];
	uint32_t *at = bucket_of(w, r->hi);
	while (*at != id)
		at = &w->runs[*at - 1].next;
	*at = r->next;
	age_unlink(w, id);
}

uint32_t seen_look(struct seen *w, uint64_t hi, uint64_t lo, uint32_t count, bool *seen)
{
	uint64_t end = lo + count;
	*seen = false;
	for (uint32_t id = *bucket_of(w, hi); id; id = w->runs[id - 1].next) {
		const struct run *r = &w->runs[id - 1];
		if (r->hi != hi)
			continue;
		if (lo >= r->from && lo < r->to) {
			*seen = true;
			return (uint32_t)(MIN_OF(end, r->to) - lo);
		}
		if (r->from > lo && r->from < end)
			end = r->from;
	}
	return (uint32_t)(end - lo);
}

static uint32_t run_take(struct seen *w)
{
	uint32_t id = w->free;
	if (id) {
		w->free = w->runs[id - 1].next;
		w->free_count--;
		return id;
	}
	if (w->used < SEEN_RUNS)
		return ++w->used;
	id = w->oldest;
	run_drop(w, id);
	return id;
}

void seen_add(struct seen *w, uint64_t hi, uint64_t lo, uint32_t count)
{
	uint32_t before = 0, behind = 0, of = 0, last = 0;
	for (uint32_t id = *bucket_of(w, hi); id; id = w->runs[id - 1].next) {
		const struct run *r = &w->runs[id - 1];
		if (r->hi != hi)
			continue;
		of++;
		last = id; /* the chain is newest first: this one was made earliest */
		if (r->to == lo)
			before = id;
		else if (r->from == lo + count)
			behind = id;
	}
	if (before) {
		struct run *r = &w->runs[before - 1];
		r->to = lo + count;
		if (behind) { /* the gap between the two is filled */
			r->to = w->runs[behind - 1].to;
			run_drop(w, behind);
			w->runs[behind - 1].next = w->free;
			w->free = behind;
			w->free_count++;
		}
		age_unlink(w, before);
		age_push(w, before);
		return;
	}
	if (of >= SEEN_RUNS_OF)
		run_drop(w, last);
	uint32_t id = of >= SEEN_RUNS_OF ? last : run_take(w), *bucket = bucket_of(w, hi);
	w->runs[id - 1] = (struct run){ .hi = hi, .from = lo, .to = lo + count, .next = *bucket };
	*bucket = id;
	age_push(w, id);
}
