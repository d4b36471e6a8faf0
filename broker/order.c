/* broker/order.c: ordering keys: tasks of one key of a queue start in the order of their confirms, one at a time.
 *
 *   arrive, begin, view_enter -> ORDER -> lane;  settled -> ORDER -> the next one into its lane
 *
 * Of the tasks of a key that are not settled one is *current*: it is in its lane, leased, or scheduled for another try. The others
 * wait here, fresh ones as ranges, those with something to remember (delayed, called back from the dead) in a list. A key without
 * tasks has no memory. All of it is volatile: the segments know the key of each task, tasks_begin builds this again.
 *
 * Invariants
 *  1. Only the current task of a key is in a lane, in `timers` for its retry, or held.
 *  2. The next current task is the one with the lowest number; a dead letter that is called back waits its turn by its number.
 *  3. A task that leaves while it waits is passed over when its range comes up: it is not live, or not in place FRESH. */
#include "tasks_impl.h"

static struct order *order_find(const struct tasks *t, uint64_t order)
{
	const struct map64_slot *slot = map64_find(&t->orders, order);
	return slot ? (struct order *)(uintptr_t)slot->value : NULL;
}

static struct order *order_new(struct tasks *t, uint64_t order, uint64_t current)
{
	struct order *o = mem_resize(t, NULL, 0, sizeof *o);
	*o = (struct order){ .current = current };
	map64_add(&t->orders, order, (uint64_t)(uintptr_t)o, &t->memory);
	return o;
}

static void order_free(struct tasks *t, struct order *o)
{
	ENSURE(o->rejoined.first == NULL);
	fifo_free(t, &o->waiting);
	(void)mem_resize(t, o, sizeof *o, 0);
}

void order_arrive(struct tasks *t, uint64_t order, uint32_t class, uint32_t slot, uint64_t first, uint32_t count)
{
	struct order *o = order_find(t, order);
	if (!o) {
		struct queue *q = queue_at(t, class_queue(class));
		(void)order_new(t, order, first);
		lane_push(t, q, slot, class_priority(class), first, 1);
		o = order_find(t, order);
		first++;
		count--;
	}
	if (count > 0)
		fifo_push(t, &o->waiting, first, count);
}

bool order_claim(struct tasks *t, struct hot *h)
{
	uint64_t order = hot_order(t, h);
	struct order *o = order ? order_find(t, order) : NULL;
	if (order == 0)
		return true;
	if (!o)
		o = order_new(t, order, h->task);
	if (o->current == h->task)
		return true;
	struct hot *after = o->rejoined.last;
	while (after && after->task > h->task)
		after = after->prev;
	hot_insert_after(&o->rejoined, after, h);
	h->place = PLACE_REJOINED;
	return false;
}

void order_hold(struct tasks *t, struct hot *h)
{
	uint64_t order = hot_order(t, h);
	if (order && !order_find(t, order))
		(void)order_new(t, order, h->task);
}

void order_unlink(struct tasks *t, struct hot *h)
{
	struct order *o = order_find(t, hot_order(t, h));
	ENSURE(o != NULL);
	hot_unlink(&o->rejoined, h);
}

/* The first fresh one that is still there. */
static bool waiting_front(struct tasks *t, struct order *o, uint64_t *task)
{
	uint32_t count;
	while (fifo_front(t, &o->waiting, task, &count)) {
		uint32_t gone = fresh_skip(t, *task, count);
		if (gone == 0)
			return true;
		fifo_consume(&o->waiting, gone);
	}
	return false;
}

/* A fresh one: a number, or an object that is in place FRESH. */
static void promote_fresh(struct tasks *t, struct order *o, uint64_t task)
{
	uint32_t index;
	struct segment *s = segment_of(t, task, &index);
	ENSURE(s != NULL);
	uint32_t class = segment_class(s, index);
	uint32_t slot = lane_class_slot(t, lane_class_by_hash(t, segment_extra(s, index)->lane));
	fifo_consume(&o->waiting, 1);
	o->current = task;
	lane_push(t, queue_at(t, class_queue(class)), slot, class_priority(class), task, 1);
	view_ready_hook(t, class_queue(class), slot);
}

static void promote_rejoined(struct tasks *t, struct order *o, struct hot *h)
{
	hot_unlink(&o->rejoined, h);
	h->place = PLACE_NONE;
	o->current = h->task;
	if (h->state == TASK_READY && !h->cancelling && !h->settling)
		lane_return(t, queue_at(t, class_queue(h->class)), h, false);
}

void order_done(struct tasks *t, uint64_t order, uint64_t task)
{
	struct order *o = order_find(t, order);
	uint64_t next;
	if (!o || o->current != task)
		return;
	bool fresh = waiting_front(t, o, &next);
	if (o->rejoined.first && (!fresh || o->rejoined.first->task < next)) {
		promote_rejoined(t, o, o->rejoined.first);
	} else if (fresh) {
		promote_fresh(t, o, next);
	} else {
		map64_remove(&t->orders, map64_find(&t->orders, order));
		order_free(t, o);
	}
}

uint64_t order_current(const struct tasks *t, uint64_t order)
{
	const struct order *o = order ? order_find(t, order) : NULL;
	return o ? o->current : 0;
}

void orders_free(struct tasks *t)
{
	for (uint32_t i = 0; i < t->orders.cap; i++) {
		struct order *o = (struct order *)(uintptr_t)t->orders.slots[i].value;
		if (t->orders.slots[i].key == 0)
			continue;
		o->rejoined = (struct hot_list){ NULL, NULL };
		order_free(t, o);
	}
	map64_free(&t->orders, &t->memory);
}
