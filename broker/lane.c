/* broker/lane.c: which waiting task is next, and the places of tasks with an object.
 *
 *   apply, begin -> lane_slot.c push -> LANE peek -> lease -> deliver
 *
 * A queue has a lane for each priority and lane class (what its tasks
 * require, and in a fair queue who submitted them). Fresh tasks wait as ranges of numbers; tasks that come back (released,
 * retried, delayed) are objects in a list that is served first. Higher priorities come first; lanes of one priority take turns.
 * All of it is volatile: tasks_begin builds it from what is durable.
 *
 * Invariants
 *  1. Every open task of a begun machine is counted in exactly one of ready, scheduled, leased of its queue.
 *  2. A fresh range may name tasks that are gone or have another place; peek skips them. A returned list never does.
 *  3. Fresh tasks of a lane start in the order of their numbers; of an ordering key only one task is in a lane (order.c).
 *  4. Only tasks without a settling record under way have a timer, and at most one: the next thing that can happen. */
#include "after.h"
#include "life.h"

void view_ready_hook(struct tasks *t, uint32_t queue, uint32_t slot)
{
	const struct queue *q = queue_at(t, queue);
	if (t->begun && q && !q->paused && t->config.hooks.ready)
		t->config.hooks.ready(t->config.hooks.ctx, queue, slot);
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
		due = h->blocked ? after_due(t, h) : h->ready_ms;
	if (!held && h->expires_ms)
		due = MIN_OF(due, h->expires_ms);
	if (!held && h->life && h->life->close_ms)
		due = MIN_OF(due, h->life->close_ms);
	if (held)
		due = held_due(h);
	else if (h->cancelling)
		due = 0;
	heap_set(t, &t->timers, h, h->settling || h->place == PLACE_ORPHAN ? NEVER : due);
}

void view_take(struct tasks *t, struct hot *h)
{
	struct queue *q = queue_at(t, class_queue(h->class));
	switch ((enum place)h->place) {
	case PLACE_RETURNED:
		hot_unlink(&q->slots[hot_slot(t, h)].lanes[class_priority(h->class)]->returned, h);
		break;
	case PLACE_REJOINED: order_unlink(t, h); break;
	case PLACE_ORPHAN: hot_unlink(&t->orphans, h); break;
	case PLACE_DEAD: hot_unlink(&q->dead_letters, h); break;
	case PLACE_HELD:
		ENSURE(h->holder && h->holder->leases > 0);
		hot_unlink(&h->holder->held, h);
		h->holder->leases--;
		h->holder = NULL;
		break;
	case PLACE_LIMBO:
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
	h->warned = false;
	if (h->life)
		life_attempt_over(h->life);
	if (h->final == TASK_DEAD) {
		h->state = TASK_DEAD;
		h->place = PLACE_DEAD;
		hot_push_back(&q->dead_letters, h);
		q->dead++;
		return;
	}
	ENSURE(h->final == TASK_UNKNOWN);
	h->state = h->blocked || h->ready_ms > now_ms ? TASK_SCHEDULED : TASK_READY;
	++*view_counter(q, h);
	if ((!class_extra(h->class) || order_claim(t, h)) && h->state == TASK_READY && !h->cancelling)
		lane_return(t, q, h, front);
	view_timer(t, h);
}

void view_ripe(struct tasks *t, struct hot *h, uint64_t now_ms)
{
	if (h->place != PLACE_REJOINED) {
		view_leave(t, h);
		view_enter(t, h, now_ms, false);
		return;
	}
	struct queue *q = queue_at(t, class_queue(h->class));
	ENSURE(h->state == TASK_SCHEDULED && q->scheduled > 0);
	q->scheduled--;
	q->ready++;
	h->state = TASK_READY;
	view_timer(t, h);
}

void view_unblock(struct tasks *t, struct hot *h)
{
	if (h->settling)
		return;
	if (h->ready_ms > t->time_ms)
		view_timer(t, h);
	else
		view_ripe(t, h, t->time_ms);
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

uint32_t fresh_skip(const struct tasks *t, uint64_t first, uint32_t count)
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
		t->peeked.returned = out->returned = true;
		return true;
	}
	uint64_t first;
	uint32_t count;
	while (fifo_front(t, &lane->fresh, &first, &count)) {
		uint32_t skip = fresh_skip(t, first, count);
		if (skip > 0) {
			fifo_consume(&lane->fresh, skip);
			continue;
		}
		out->first_task = first;
		out->count = fresh_run(t, first, count, out);
		out->attempt = 1;
		t->peeked.returned = out->returned = false;
		return true;
	}
	return false;
}

/* The first slot at or behind `from` whose bit is in both; then those before it. False: none. */
static bool row_next(const uint64_t *row, const uint64_t *mask, uint32_t words, uint32_t from, uint32_t *slot)
{
	uint32_t w = from / 64 < words ? from / 64 : 0;
	uint64_t not_before = from / 64 < words ? ~0ull << (from % 64) : ~0ull;
	for (uint32_t i = 0; i <= words; i++, not_before = ~0ull) {
		uint64_t bits = row[w] & (mask ? mask[w] : ~0ull) & not_before;
		if (bits) {
			*slot = w * 64 + (uint32_t)__builtin_ctzll(bits);
			return true;
		}
		w = w + 1 < words ? w + 1 : 0;
	}
	return false;
}

static bool row_empty(const struct queue *q, const uint64_t *row)
{
	for (uint32_t i = 0; i < q->slot_words; i++)
		if (row[i])
			return false;
	return true;
}

static bool peek_priority(struct tasks *t, struct queue *q, uint32_t priority, const uint64_t *slots, uint32_t words,
			  struct ready_run *out)
{
	uint64_t *row = lane_row(q, priority);
	uint32_t slot, run = UINT32_MAX;
	bool fair = q->fair && q->settings.fair == FAIR_PRINCIPAL;
	words = slots ? MIN_OF(words, q->slot_words) : q->slot_words;
	while (words > 0 && (fair ? fair_next(q, priority, row, slots, words, &slot, &run)
				  : row_next(row, slots, words, q->turn[priority], &slot))) {
		if (peek_lane(t, q->slots[slot].lanes[priority], out)) {
			out->count = MIN_OF(out->count, run);
			out->slot = slot;
			return true;
		}
		row[slot / 64] &= ~(1ull << (slot % 64));
	}
	if (row_empty(q, row))
		q->lane_mask &= ~(1u << priority);
	return false;
}

bool tasks_peek(struct tasks *t, uint32_t queue, const uint64_t *slots, uint32_t words, struct ready_run *out)
{
	struct queue *q = queue_at(t, queue);
	ENSURE(t->begun);
	t->peeked.count = 0;
	if (!q || q->paused)
		return false;
	for (uint32_t mask = q->lane_mask; mask != 0;) {
		uint32_t priority = 31 - (uint32_t)__builtin_clz(mask);
		if (peek_priority(t, q, priority, slots, words, out)) {
			t->peeked.queue = queue;
			t->peeked.count = out->count;
			t->peeked.slot = out->slot;
			t->peeked.priority = priority;
			t->peeked.first = out->first_task;
			return true;
		}
		mask &= ~(1u << priority);
	}
	ENSURE(slots || q->ready == 0 || t->timers.count > 0 || t->hots.count > 0);
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
	h->epoch = t->config.epoch;
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
	struct lane *lane = q->slots[t->peeked.slot].lanes[t->peeked.priority];
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
		fifo_consume(&lane->fresh, count);
	q->turn[t->peeked.priority] = t->peeked.slot + 1;
	if (q->fair && q->settings.fair == FAIR_PRINCIPAL)
		fair_charge(t, q, t->peeked.priority, t->peeked.slot, count);
	q->ready -= count;
	q->leased += count;
	t->peeked.count = 0;
}
