/* broker/fifo.c: ranges of task numbers, first in, first out, at eight bytes each: what waits in a lane or behind an ordering key.
 * In the flow: apply, begin -> lane, order -> FIFO -> peek. Owns the chunks.
 *
 * Invariants
 *  1. Ranges come out as they went in; a range that continues the last one becomes part of it.
 *  2. A range begins and ends within INT32_MAX of its chunk's base, to either side: numbers need not ascend. */
#include "tasks_impl.h"

struct fifo_range {
	int32_t delta;
	uint32_t count; /* numbers base + delta ... */
};
struct fifo_chunk {
	struct fifo_chunk *next;
	uint64_t base;
	uint32_t head, tail, cap;
	struct fifo_range ranges[];
};
enum { CHUNK_FIRST = 6, CHUNK_MAX = 510 };

static size_t chunk_size(uint32_t cap)
{
	return sizeof(struct fifo_chunk) + cap * sizeof(struct fifo_range);
}

static struct fifo_chunk *chunk_add(struct tasks *t, struct fifo *f, uint64_t base)
{
	uint32_t cap = f->last ? MIN_OF(f->last->cap * 2, CHUNK_MAX) : CHUNK_FIRST;
	struct fifo_chunk *chunk = mem_resize(t, NULL, 0, chunk_size(cap));
	*chunk = (struct fifo_chunk){ .base = base, .cap = cap };
	if (f->last)
		f->last->next = chunk;
	else
		f->first = chunk;
	return f->last = chunk;
}

static uint64_t range_first(const struct fifo_chunk *chunk, const struct fifo_range *range)
{
	return chunk->base + (uint64_t)(int64_t)range->delta;
}

static bool in_reach(uint64_t base, uint64_t number)
{
	return number >= base ? number - base <= INT32_MAX : base - number <= INT32_MAX;
}

void fifo_push(struct tasks *t, struct fifo *f, uint64_t first, uint32_t count)
{
	struct fifo_chunk *chunk = f->last;
	ENSURE(count > 0 && count <= INT32_MAX);
	bool reach = chunk && in_reach(chunk->base, first) && in_reach(chunk->base, first + count);
	if (reach && chunk->tail > chunk->head) {
		struct fifo_range *last = &chunk->ranges[chunk->tail - 1];
		if (first == range_first(chunk, last) + last->count) {
			last->count += count;
			return;
		}
	}
	if (!reach || chunk->tail == chunk->cap)
		chunk = chunk_add(t, f, first);
	chunk->ranges[chunk->tail++] = (struct fifo_range){ (int32_t)(int64_t)(first - chunk->base), count };
}

bool fifo_front(struct tasks *t, struct fifo *f, uint64_t *first, uint32_t *count)
{
	while (f->first && f->first->head == f->first->tail) {
		struct fifo_chunk *empty = f->first;
		f->first = empty->next;
		if (!f->first)
			f->last = NULL;
		(void)mem_resize(t, empty, chunk_size(empty->cap), 0);
	}
	if (!f->first)
		return false;
	const struct fifo_range *range = &f->first->ranges[f->first->head];
	*first = range_first(f->first, range);
	*count = range->count;
	return true;
}

void fifo_consume(struct fifo *f, uint64_t count)
{
	struct fifo_chunk *chunk = f->first;
	struct fifo_range *range = &chunk->ranges[chunk->head];
	ENSURE(count <= range->count);
	range->count -= (uint32_t)count;
	range->delta += (int32_t)count;
	if (range->count == 0)
		chunk->head++;
}

void fifo_free(struct tasks *t, struct fifo *f)
{
	while (f->first) {
		struct fifo_chunk *next = f->first->next;
		(void)mem_resize(t, f->first, chunk_size(f->first->cap), 0);
		f->first = next;
	}
	f->last = NULL;
}
