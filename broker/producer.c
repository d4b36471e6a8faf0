/* broker/producer.c: which submissions of a producer are known: runs of sequence numbers and the tasks they became.
 *
 *   propose(submit), apply(REC_SUBMIT) -> PRODUCER -> new, duplicate or stale
 *
 * Invariants
 *  1. Runs ascend, do not overlap, and none lies below resolved_below; neighbours that continue each other are one run.
 *  2. Sequences that were refused are in no run, so they may come again.
 *  3. The list by last use has every producer once; who goes is decided by record time and that order alone. */
#include "tasks_impl.h"

struct producer *producer_find(const struct tasks *t, uint64_t id)
{
	struct map64_slot *slot = map64_find(&t->producers, id);
	return slot ? (struct producer *)(uintptr_t)slot->value : NULL;
}

static void producer_unlink(struct tasks *t, struct producer *p)
{
	if (p->older)
		p->older->newer = p->newer;
	else
		t->producer_oldest = p->newer;
	if (p->newer)
		p->newer->older = p->older;
	else
		t->producer_newest = p->older;
	p->older = p->newer = NULL;
}

static void producer_link(struct tasks *t, struct producer *p)
{
	p->older = t->producer_newest;
	p->newer = NULL;
	if (t->producer_newest)
		t->producer_newest->newer = p;
	else
		t->producer_oldest = p;
	t->producer_newest = p;
}

static void producer_free(struct tasks *t, struct producer *p)
{
	map64_remove(&t->producers, map64_find(&t->producers, p->id));
	producer_unlink(t, p);
	(void)mem_resize(t, p->runs, p->run_cap * sizeof *p->runs, 0);
	(void)mem_resize(t, p, sizeof *p, 0);
}

static struct producer *producer_new(struct tasks *t, uint64_t id)
{
	struct producer *p = mem_resize(t, NULL, 0, sizeof *p);
	*p = (struct producer){ .id = id, .resolved_below = 1 };
	map64_add(&t->producers, id, (uint64_t)(uintptr_t)p, &t->memory);
	producer_link(t, p);
	return p;
}

struct producer *producer_use(struct tasks *t, uint64_t id, uint64_t now_ms)
{
	struct producer *p = producer_find(t, id);
	if (!p) {
		if (t->producers.count >= MAX_OF(t->config.producers_max, 1))
			producer_free(t, t->producer_oldest);
		p = producer_new(t, id);
	} else if (p != t->producer_newest) {
		producer_unlink(t, p);
		producer_link(t, p);
	}
	p->last_ms = now_ms;
	return p;
}

void producers_expire(struct tasks *t)
{
	while (t->producer_oldest && t->time_ms - t->producer_oldest->last_ms >= t->config.producer_idle_ms)
		producer_free(t, t->producer_oldest);
}

void producers_free(struct tasks *t)
{
	while (t->producer_oldest)
		producer_free(t, t->producer_oldest);
	map64_free(&t->producers, &t->memory);
}

void producer_resolve(struct tasks *t, struct producer *p, uint64_t below)
{
	(void)t;
	if (below <= p->resolved_below)
		return;
	p->resolved_below = below;
	uint32_t gone = 0;
	while (gone < p->run_count && p->runs[gone].first_seq + p->runs[gone].count <= below)
		gone++;
	p->run_count -= gone;
	if (gone > 0)
		memmove(p->runs, p->runs + gone, p->run_count * sizeof *p->runs);
	if (p->run_count > 0 && p->runs[0].first_seq < below) {
		uint64_t cut = below - p->runs[0].first_seq;
		p->runs[0].first_seq += cut;
		p->runs[0].first_task += cut;
		p->runs[0].count -= (uint32_t)cut;
	}
}

/* The first run that ends behind `seq`. */
static uint32_t run_position(const struct producer *p, uint64_t seq)
{
	uint32_t low = 0, high = p->run_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (p->runs[middle].first_seq + p->runs[middle].count > seq)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

uint32_t producer_stretch(const struct producer *p, uint64_t seq, uint32_t count, bool *known, uint64_t *task)
{
	*known = false;
	*task = 0;
	uint32_t i = p ? run_position(p, seq) : 0;
	if (!p || i == p->run_count)
		return count;
	const struct producer_run *run = &p->runs[i];
	if (seq < run->first_seq)
		return (uint32_t)MIN_OF(count, run->first_seq - seq);
	*known = true;
	*task = run->first_task + (seq - run->first_seq);
	return (uint32_t)MIN_OF(count, run->first_seq + run->count - seq);
}

bool producer_add(struct tasks *t, struct producer *p, uint64_t seq, uint32_t count, uint64_t task)
{
	uint32_t i = run_position(p, seq);
	ENSURE(seq >= p->resolved_below && count > 0);
	ENSURE(i == p->run_count || seq + count <= p->runs[i].first_seq);
	struct producer_run *before = i > 0 ? &p->runs[i - 1] : NULL;
	if (before && before->first_seq + before->count == seq && before->first_task + before->count == task) {
		before->count += count;
		return true;
	}
	if (p->run_count >= PRODUCER_RUNS_MAX)
		return false;
	if (p->run_count == p->run_cap) {
		uint32_t cap = p->run_cap ? p->run_cap * 2 : 4;
		p->runs = mem_resize(t, p->runs, p->run_cap * sizeof *p->runs, cap * sizeof *p->runs);
		p->run_cap = cap;
	}
	memmove(&p->runs[i + 1], &p->runs[i], (p->run_count - i) * sizeof *p->runs);
	p->runs[i] = (struct producer_run){ seq, task, count, 0 };
	p->run_count++;
	return true;
}

/* ---- checkpoint: u32 count, then oldest first {id, resolved_below, last_ms, u64 runs, run...} ---- */

void producers_put(const struct tasks *t, struct buf *out)
{
	uint64_t count = t->producers.count;
	buf_append(out, &count, sizeof count);
	for (const struct producer *p = t->producer_oldest; p; p = p->newer) {
		uint64_t head[4] = { p->id, p->resolved_below, p->last_ms, p->run_count };
		buf_append(out, head, sizeof head);
		buf_append(out, p->runs, p->run_count * sizeof *p->runs);
	}
}

bool producers_get(struct tasks *t, struct reader *r)
{
	uint64_t count = read_u64(r);
	for (uint64_t i = 0; i < count && !r->failed; i++) {
		uint64_t head[4];
		read_into(r, head, sizeof head);
		if (r->failed || head[0] == 0 || head[3] > PRODUCER_RUNS_MAX || producer_find(t, head[0]))
			return false;
		struct producer *p = producer_new(t, head[0]);
		p->resolved_below = head[1];
		p->last_ms = head[2];
		for (uint64_t k = 0; k < head[3]; k++) {
			struct producer_run run;
			read_into(r, &run, sizeof run);
			uint64_t above = p->run_count ? p->runs[p->run_count - 1].first_seq + p->runs[p->run_count - 1].count
						      : p->resolved_below;
			if (r->failed || run.first_seq < above || run.count == 0 || run.first_seq + run.count < run.first_seq)
				return false;
			if (!producer_add(t, p, run.first_seq, run.count, run.first_task))
				return false;
		}
	}
	return !r->failed;
}
