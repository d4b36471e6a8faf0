/* broker/lane.c: the order in which waiting tasks are handed out, and the places of tasks with an object.
 *
 *   apply, begin -> LANE -> peek -> lease -> deliver
 *
 * A queue has a lane per priority. Fresh tasks wait as ranges of numbers; tasks that come back (released, retried, delayed)
 * are objects in a list that is served first. All of it is volatile: tasks_begin builds it from what is durable.
 *
 * Invariants
 *  1. Every open task of a begun machine is counted in exactly one of ready, scheduled, leased of its queue.
 *  2. A fresh range may name tasks that are gone or have another place; peek skips them. A returned list never does.
 *  3. Ranges of a lane ascend, so fresh tasks of equal priority start in the order of their numbers.
 *  4. Only tasks without a settling record under way have a timer, and at most one: the next thing that can happen. */
#include "tasks_impl.h"

struct lane_range {
	uint32_t delta, count; /* numbers base + delta ... */
};
struct lane_chunk {
	struct lane_chunk *next;
	uint64_t base;
	uint32_t head, tail, cap;
	struct lane_range ranges[];
};
enum { CHUNK_FIRST = 6, CHUNK_MAX = 510 };

static size_t chunk_size(uint32_t cap)
{
	return sizeof(struct lane_chunk) + cap * sizeof(struct lane_range);
}

static struct lane *lane_at(struct tasks *t, struct queue *q, uint8_t priority)
{
	ENSURE(priority <= LIMIT_PRIORITY);
	if (!q->lanes[priority]) {
		q->lanes[priority] = mem_resize(t, NULL, 0, sizeof(struct lane));
		*q->lanes[priority] = (struct lane){ 0 };
	}
	q->lane_mask |= 1u << priority;
	return q->lanes[priority];
}

static struct lane_chunk *chunk_add(struct tasks *t, struct lane *lane, uint64_t base)
{
	uint32_t cap = lane->last ? MIN_OF(lane->last->cap * 2, CHUNK_MAX) : CHUNK_FIRST;
	struct lane_chunk *chunk = mem_resize(t, NULL, 0, chunk_size(cap));
	*chunk = (struct lane_chunk){ .base = base, .cap = cap };
	if (lane->last)
		lane->last->next = chunk;
	else
		lane->first = chunk;
	return lane->last = chunk;
}

void lane_push(struct tasks *t, struct queue *q, uint8_t priority, uint64_t first, uint32_t count)
{
	struct lane *lane = lane_at(t, q, priority);
	struct lane_chunk *chunk = lane->last;
	if (chunk && chunk->tail > chunk->head) {
		struct lane_range *last = &chunk->ranges[chunk->tail - 1];
		ENSURE(first >= chunk->base + last->delta + last->count);
		if (first == chunk->base + last->delta + last->count && last->count <= UINT32_MAX - count) {
			last->count += count;
			return;
		}
	}
	if (!chunk || chunk->tail == chunk->cap || first - chunk->base > UINT32_MAX)
		chunk = chunk_add(t, lane, first);
	chunk->ranges[chunk->tail++] = (struct lane_range){ (uint32_t)(first - chunk->base), count };
}

/* The first fresh range, if there is one. */
static bool lane_front(struct tasks *t, struct lane *lane, uint64_t *first, uint32_t *count)
{
	while (lane->first && lane->first->head == lane->first->tail) {
		struct lane_chunk *empty = lane->first;
		lane->first = empty->next;
		if (!lane->first)
			lane->last = NULL;
		(void)mem_resize(t, empty, chunk_size(empty->cap), 0);
	}
	if (!lane->first)
		return false;
	struct lane_range *range = &lane->first->ranges[lane->first->head];
	*first = lane->first->base + range->delta;
	*count = range->count;
	return true;
}

/* Takes numbers off the front of the first range, which has at least so many. */
static void lane_consume(struct lane *lane, uint64_t count)
{
	struct lane_chunk *chunk = lane->first;
	struct lane_range *range = &chunk->ranges[chunk->head];
	ENSURE(count <= range->count);
	range->count -= (uint32_t)count;
	if (range->count == 0) {
		chunk->head++;
		return;
	}
	uint64_t delta = range->delta + count;
	if (delta > UINT32_MAX) { /* then nothing can follow in this chunk: it would lie further off still */
		ENSURE(chunk->tail == chunk->head + 1);
		chunk->base += delta;
		delta = 0;
	}
	range->delta = (uint32_t)delta;
}

void lane_forget(struct tasks *t, struct queue *q)
{
	for (uint32_t p = 0; p <= LIMIT_PRIORITY; p++) {
		struct lane *lane = q->lanes[p];
		while (lane && lane->first) {
			struct lane_chunk *next = lane->first->next;
			(void)mem_resize(t, lane->first, chunk_size(lane->first->cap), 0);
			lane->first = next;
		}
		if (lane)
			lane->last = NULL;
	}
}

void view_ready_hook(struct tasks *t, uint32_t queue)
{
	const struct queue *q = queue_at(t, queue);
	if (t->begun && q && !q->paused && t->config.hooks.ready)
		t->config.hooks.ready(t->config.hooks.ctx, queue);
}

/* ---- places of objects ---- */

static uint64_t *view_counter(struct queue *q, const struct hot *h)
{
	switch (h->state) {
	case TASK_SCHEDULED: return &q->scheduled;
	case TASK_READY: return &q->ready;
	case TASK_LEASED:
	case TASK_STARTED: return &q->leased;
	case TASK_DEAD: return &q->dead;
	default: ensure_failed("a task in a queue has a countable state", __FILE__, __LINE__);
	}
}

void view_timer(struct tasks *t, struct hot *h)
{
	if (h->final != TASK_UNKNOWN)
		return; /* its heap is `retained` */
	uint64_t due = NEVER;
	bool held = h->state == TASK_LEASED || h->state == TASK_STARTED;
	if (h->state == TASK_SCHEDULED)
		due = h->ready_ms;
	if (!held && h->expires_ms)
		due = MIN_OF(due, h->expires_ms);
	if (h->state == TASK_STARTED && h->overrun_ms)
		due = h->overrun_ms;
	if (h->cancelling)
		due = MIN_OF(due, held ? h->cancel_ms : 0);
	heap_set(t, &t->timers, h, h->settling || h->place == PLACE_ORPHAN ? NEVER : due);
}

void view_take(struct tasks *t, struct hot *h)
{
	struct queue *q = queue_at(t, class_queue(h->class));
	switch ((enum place)h->place) {
	case PLACE_RETURNED: hot_unlink(&q->lanes[class_priority(h->class)]->returned, h); break;
	case PLACE_ORPHAN: hot_unlink(&t->orphans, h); break;
	case PLACE_DEAD: hot_unlink(&q->dead_letters, h); break;
	case PLACE_HELD:
		ENSURE(h->holder && h->holder->leases > 0);
		hot_unlink(&h->holder->held, h);
		h->holder->leases--;
		h->holder = NULL;
		break;
	case PLACE_NONE:
	case PLACE_FRESH: break;
	}
	ENSURE(h->holder == NULL);
	h->place = PLACE_NONE;
}

void view_leave(struct tasks *t, struct hot *h)
{
	uint64_t *counter = view_counter(queue_at(t, class_queue(h->class)), h);
	ENSURE(*counter > 0);
	--*counter;
	view_take(t, h);
	if (h->final == TASK_UNKNOWN)
		heap_set(t, &t->timers, h, NEVER);
}

void view_enter(struct tasks *t, struct hot *h, uint64_t now_ms, bool front)
{
	ENSURE(h->place == PLACE_NONE && h->holder == NULL);
	struct queue *q = queue_at(t, class_queue(h->class));
	ENSURE(q != NULL);
	h->settling = false;
	h->overrun_ms = h->cancel_ms = 0;
	if (h->final == TASK_DEAD) {
		h->state = TASK_DEAD;
		h->place = PLACE_DEAD;
		hot_push_back(&q->dead_letters, h);
		q->dead++;
		return;
	}
	ENSURE(h->final == TASK_UNKNOWN);
	h->state = h->ready_ms > now_ms ? TASK_SCHEDULED : TASK_READY;
	++*view_counter(q, h);
	if (h->state == TASK_READY && !h->cancelling) {
		struct lane *lane = lane_at(t, q, class_priority(h->class));
		h->place = PLACE_RETURNED;
		(front ? hot_push_front : hot_push_back)(&lane->returned, h);
		view_ready_hook(t, class_queue(h->class));
	}
	view_timer(t, h);
}

/* ---- peek and lease ---- */

/* A number in a fresh range that can be handed out: live, and no object has taken it elsewhere. */
static bool fresh_ok(const struct tasks *t, const struct segment *s, uint32_t index)
{
	if (!(s->live[index / 64] >> (index % 64) & 1))
		return false;
	if (!(s->special[index / 64] >> (index % 64) & 1))
		return true;
	const struct hot *h = hot_find(t, s->base + index);
	ENSURE(h != NULL);
	return h->place == PLACE_FRESH;
}

/* How many of `count` numbers from `first` on are not to be handed out; whole dead words at a time. */
static uint32_t fresh_skip(const struct tasks *t, uint64_t first, uint32_t count)
{
	uint32_t index, position = segment_position(t, first);
	if (position == t->segment_count)
		return count;
	const struct segment *s = t->segments[position];
	if (first < s->base)
		return (uint32_t)MIN_OF(s->base - first, count);
	index = (uint32_t)(first - s->base);
	uint32_t end = MIN_OF(count, s->count - index) + index, from = index;
	while (index < end) {
		if (index % 64 == 0 && s->live[index / 64] == 0)
			index = MIN_OF(index + 64, end);
		else if (!fresh_ok(t, s, index))
			index++;
		else
			break;
	}
	return index - from;
}

/* How many of `count` numbers from a good `first` on are good neighbours in its record. */
static uint32_t fresh_run(struct tasks *t, uint64_t first, uint32_t count, struct ready_run *out)
{
	uint32_t index;
	const struct segment *s = segment_of(t, first, &index);
	ENSURE(s != NULL);
	bool found = task_locate(t, first, &out->addr, &out->item);
	ENSURE(found);
	uint32_t end = MIN_OF(count, s->count - index) + index, i = index + 1;
	if (s->moved == 0) {
		while (i < end && s->offsets[i] == s->offsets[index] && fresh_ok(t, s, i))
			i++;
		return i - index;
	}
	for (; i < end && fresh_ok(t, s, i); i++) {
		uint64_t addr;
		uint32_t item;
		if (!task_locate(t, s->base + i, &addr, &item) || addr != out->addr || item != out->item + (i - index))
			break;
	}
	return i - index;
}

/* The same for the head of a returned list. */
static uint32_t returned_run(struct tasks *t, const struct hot *h, struct ready_run *out)
{
	bool found = task_locate(t, h->task, &out->addr, &out->item);
	ENSURE(found);
	uint32_t count = 1;
	for (const struct hot *next = h->next; next; next = next->next, count++) {
		uint64_t addr;
		uint32_t item;
		if (next->task != h->task + count || next->acquired != h->acquired ||
		    !task_locate(t, next->task, &addr, &item) || addr != out->addr || item != out->item + count)
			break;
	}
	return count;
}

static bool peek_lane(struct tasks *t, struct lane *lane, struct ready_run *out)
{
	struct hot *h = lane->returned.first;
	if (h) {
		out->first_task = h->task;
		out->count = returned_run(t, h, out);
		out->attempt = h->acquired + 1;
		t->peeked.returned = true;
		return true;
	}
	uint64_t first;
	uint32_t count;
	while (lane_front(t, lane, &first, &count)) {
		uint32_t skip = fresh_skip(t, first, count);
		if (skip > 0) {
			lane_consume(lane, skip);
			continue;
		}
		out->first_task = first;
		out->count = fresh_run(t, first, count, out);
		out->attempt = 1;
		t->peeked.returned = false;
		return true;
	}
	return false;
}

bool tasks_peek(struct tasks *t, uint32_t queue, struct ready_run *out)
{
	struct queue *q = queue_at(t, queue);
	ENSURE(t->begun);
	t->peeked.count = 0;
	if (!q || q->paused)
		return false;
	while (q->lane_mask) {
		uint32_t priority = 31 - (uint32_t)__builtin_clz(q->lane_mask);
		if (peek_lane(t, q->lanes[priority], out)) {
			t->peeked.queue = queue;
			t->peeked.count = out->count;
			t->peeked.lane = priority;
			t->peeked.first = out->first_task;
			return true;
		}
		q->lane_mask &= ~(1u << priority);
	}
	ENSURE(q->ready == 0 || t->timers.count > 0 || t->hots.count > 0);
	return false;
}

static void lease_one(struct tasks *t, struct hot *h, struct holder *holder, uint64_t execution_ms)
{
	ENSURE(!h->settling && h->final == TASK_UNKNOWN && h->place == PLACE_NONE);
	h->acquired++;
	h->state = TASK_LEASED;
	h->place = PLACE_HELD;
	h->execution_ms = execution_ms;
	h->holder = holder;
	holder->leases++;
	hot_push_back(&holder->held, h);
	if (h->heap_index)
		view_timer(t, h);
}

void tasks_lease(struct tasks *t, uint32_t queue, uint32_t count, struct holder *holder, uint64_t execution_ms,
		 uint64_t now_ms)
{
	(void)now_ms;
	ENSURE(queue == t->peeked.queue && count > 0 && count <= t->peeked.count);
	struct queue *q = queue_at(t, queue);
	struct lane *lane = q->lanes[t->peeked.lane];
	uint64_t first = t->peeked.first;
	ENSURE(q->ready >= count);
	uint32_t index = 0;
	struct segment *s = segment_of(t, first, &index);
	ENSURE(s != NULL);
	for (uint32_t i = 0; i < count; i++) {
		struct hot *h;
		if (t->peeked.returned) {
			h = lane->returned.first;
			view_take(t, h);
		} else {
			bool special = s->special[(index + i) / 64] >> ((index + i) % 64) & 1;
			s->special[(index + i) / 64] |= 1ull << ((index + i) % 64);
			h = special ? hot_find(t, first + i) : hot_make(t, first + i, segment_class(s, index + i));
			h->place = PLACE_NONE;
		}
		ENSURE(h->task == first + i);
		lease_one(t, h, holder, execution_ms);
	}
	if (!t->peeked.returned)
		lane_consume(lane, count);
	q->ready -= count;
	q->leased += count;
	t->peeked.count = 0;
}
