/* broker/lane_slot.c: the lanes of a queue: a row of slots, one for each lane class it has tasks of, each with a lane for every
 * priority that came up. In the flow: apply, begin -> LANE_SLOT push -> lane.c peek.
 *
 * Invariants
 *  1. Slot 0 is that of plain tasks. A slot whose class has gone is empty and used again by the next new class.
 *  2. A lane that holds something has its bit in `filled` and its priority in `lane_mask`; a bit may outlive what it stood for. */
#include "tasks_impl.h"

uint64_t *lane_row(const struct queue *q, uint32_t priority)
{
	return q->filled + (size_t)priority * q->slot_words;
}

/* Room for so many more slots; the rows of bits follow. */
static void slots_grow(struct tasks *t, struct queue *q)
{
	enum { ROWS = LIMIT_PRIORITY + 1 };
	uint32_t cap = q->slot_cap ? q->slot_cap * 2 : 1, words = (cap + 63) / 64;
	q->slots = mem_resize(t, q->slots, q->slot_cap * sizeof *q->slots, cap * sizeof *q->slots);
	q->slots_account = mem_resize(t, q->slots_account, q->slot_cap * sizeof *q->slots_account, cap * sizeof *q->slots_account);
	q->slot_cap = cap;
	if (words == q->slot_words)
		return;
	uint64_t *filled = mem_resize(t, NULL, 0, (size_t)ROWS * words * sizeof *filled);
	memset(filled, 0, (size_t)ROWS * words * sizeof *filled);
	for (uint32_t p = 0; p < ROWS && q->filled; p++)
		memcpy(filled + (size_t)p * words, lane_row(q, p), q->slot_words * sizeof *filled);
	if (q->filled)
		(void)mem_resize(t, q->filled, (size_t)ROWS * q->slot_words * sizeof *filled, 0);
	q->filled = filled;
	q->slot_words = words;
}

static void slot_add(struct tasks *t, struct queue *q)
{
	if (q->slot_count == q->slot_cap)
		slots_grow(t, q);
	q->slots_account[q->slot_count] = 0;
	q->slots[q->slot_count++] = (struct lane_slot){ .class = 0 };
}

uint32_t lane_slot_new(struct tasks *t, uint32_t queue, uint32_t class)
{
	struct queue *q = t->queues[queue - 1];
	uint32_t slot = q->slot_free;
	if (slot != 0) {
		q->slot_free = q->slots[slot].next_free;
	} else {
		if (q->slot_count == 0)
			slot_add(t, q);
		slot = q->slot_count;
		slot_add(t, q);
	}
	q->slots[slot].class = class;
	q->slots_account[slot] = fair_join(t, q, lane_class_principal(t, class));
	if (t->begun && t->config.hooks.slot)
		t->config.hooks.slot(t->config.hooks.ctx, queue, slot);
	return slot;
}

static struct lane *lane_at(struct tasks *t, struct queue *q, uint32_t slot, uint8_t priority)
{
	if (q->slot_count == 0)
		slot_add(t, q);
	ENSURE(priority <= LIMIT_PRIORITY && slot < q->slot_count);
	struct lane **lane = &q->slots[slot].lanes[priority];
	if (!*lane) {
		*lane = mem_resize(t, NULL, 0, sizeof **lane);
		**lane = (struct lane){ .returned = { NULL, NULL } };
	}
	q->lane_mask |= 1u << priority;
	lane_row(q, priority)[slot / 64] |= 1ull << (slot % 64);
	return *lane;
}

void lane_push(struct tasks *t, struct queue *q, uint32_t slot, uint8_t priority, uint64_t first, uint32_t count)
{
	fifo_push(t, &lane_at(t, q, slot, priority)->fresh, first, count);
}

void lane_return(struct tasks *t, struct queue *q, struct hot *h, bool front)
{
	uint32_t slot = hot_slot(t, h);
	struct lane *lane = lane_at(t, q, slot, class_priority(h->class));
	h->place = PLACE_RETURNED;
	(front ? hot_push_front : hot_push_back)(&lane->returned, h);
	view_ready_hook(t, class_queue(h->class), slot);
}

/* Forgets the fresh ranges of a slot, which may name tasks that are gone. */
static void slot_clear(struct tasks *t, struct queue *q, uint32_t slot, bool lanes_too)
{
	for (uint32_t p = 0; p <= LIMIT_PRIORITY; p++) {
		struct lane **lane = &q->slots[slot].lanes[p];
		if (!*lane)
			continue;
		fifo_free(t, &(*lane)->fresh);
		if (!lanes_too)
			continue;
		(void)mem_resize(t, *lane, sizeof **lane, 0);
		*lane = NULL;
		lane_row(q, p)[slot / 64] &= ~(1ull << (slot % 64));
	}
}

void lane_slot_free(struct tasks *t, struct queue *q, uint32_t slot)
{
	ENSURE(slot > 0 && slot < q->slot_count);
	for (uint32_t p = 0; p <= LIMIT_PRIORITY; p++)
		ENSURE(!q->slots[slot].lanes[p] || !q->slots[slot].lanes[p]->returned.first);
	slot_clear(t, q, slot, true);
	fair_leave(t, q, q->slots_account[slot]);
	q->slots_account[slot] = 0;
	q->slots[slot] = (struct lane_slot){ .class = 0, .next_free = q->slot_free };
	q->slot_free = slot;
}

void lane_slot_rest(struct tasks *t, struct queue *q, uint32_t slot)
{
	slot_clear(t, q, slot, false);
}

void lanes_forget(struct tasks *t, struct queue *q)
{
	for (uint32_t i = 0; i < q->slot_count; i++)
		slot_clear(t, q, i, false);
}

void lanes_free(struct tasks *t, struct queue *q)
{
	for (uint32_t i = 0; i < q->slot_count; i++)
		slot_clear(t, q, i, true);
	if (q->filled)
		(void)mem_resize(t, q->filled, (LIMIT_PRIORITY + 1) * (size_t)q->slot_words * sizeof *q->filled, 0);
	if (q->slots)
		(void)mem_resize(t, q->slots, q->slot_cap * sizeof *q->slots, 0);
	if (q->slots_account)
		(void)mem_resize(t, q->slots_account, q->slot_cap * sizeof *q->slots_account, 0);
	fair_free(t, q);
}

uint32_t tasks_slot_count(const struct tasks *t, uint32_t queue)
{
	const struct queue *q = queue_at(t, queue);
	return q ? MAX_OF(q->slot_count, 1u) : 1;
}

struct span tasks_requires(struct tasks *t, uint64_t task)
{
	uint32_t index;
	struct segment *s = segment_of(t, task, &index);
	if (!s || !segment_is_live(s, index) || !class_extra(segment_class(s, index)))
		return (struct span){ NULL, 0 };
	uint32_t class = lane_class_by_hash(t, segment_extra(s, index)->lane);
	return class ? span_of(t->lane_classes[class].packed, t->lane_classes[class].packed_size) : (struct span){ NULL, 0 };
}

bool tasks_waits_for_share(struct tasks *t, uint64_t task, struct span *principal, uint32_t *weight)
{
	uint32_t index;
	struct segment *s = segment_of(t, task, &index);
	if (!s || !segment_is_live(s, index))
		return false;
	uint32_t class = segment_class(s, index);
	uint32_t lane = class_extra(class) ? lane_class_by_hash(t, segment_extra(s, index)->lane) : 0;
	const struct queue *q = queue_at(t, class_queue(class));
	uint32_t slot = lane_class_slot(t, lane);
	if (!q || slot >= q->slot_count || !fair_waits(q, class_priority(class), slot))
		return false;
	*principal = fair_name(q, slot);
	*weight = shares_weight(&q->shares, *principal);
	return true;
}

uint64_t tasks_waits_for(struct tasks *t, uint64_t task)
{
	uint32_t index;
	struct segment *s = segment_of(t, task, &index);
	if (!s || !segment_is_live(s, index) || !class_extra(segment_class(s, index)))
		return 0;
	uint64_t current = order_current(t, segment_extra(s, index)->order);
	return current == task ? 0 : current;
}

struct span tasks_slot_requires(const struct tasks *t, uint32_t queue, uint32_t slot)
{
	const struct queue *q = queue_at(t, queue);
	const struct lane_class *c = q && slot < q->slot_count && q->slots[slot].class ? &t->lane_classes[q->slots[slot].class] : NULL;
	return c ? span_of(c->packed, c->packed_size) : (struct span){ NULL, 0 };
}
