/* broker/after.c: tasks that come after other tasks: who waits for whom, and what happens when those are final.
 *
 *   apply_submit -> AFTER attach ... task_finish -> AFTER settled -> lane, or doomed -> tick -> REC_SETTLE
 *
 * Durable, all of it: changed by apply alone. Edges live in one array; a ring through all edges to a task is found by its number.
 *
 * Invariants
 *  1. An edge leads to a task with a smaller number: no cycle of edges. A callback waits for members with smaller numbers, and for later
 *     ones that wait for nothing (group_admits): so nothing that waits is ever waited for by what it waits for.
 *  2. A task has an edge only to tasks that are not final. Without edges, group and doom it is not blocked: there is no wait.
 *  3. hot.blocked says that there is a wait; queue.blocked counts them.
 *  4. A task is told of an end once: a dead letter that is called back has no edges to it any more. */
#include "after.h"

struct wait *wait_find(const struct tasks *t, uint64_t task)
{
	const struct map64_slot *slot = map64_find(&t->waits, task);
	return slot ? (struct wait *)(uintptr_t)slot->value : NULL;
}

enum task_state after_outcome(const struct tasks *t, uint64_t task)
{
	const struct hot *h = hot_find(t, task);
	const struct recent *r = &t->recent[task & t->recent_mask];
	uint32_t position = segment_position(t, task);
	const struct segment *s = position < t->segment_count ? t->segments[position] : NULL;
	if (h && h->final != TASK_UNKNOWN)
		return h->final;
	if (s && task >= s->base && segment_is_live(s, (uint32_t)(task - s->base)))
		return TASK_READY;
	return task != 0 && r->task == task && r->state >= TASK_DONE ? r->state : TASK_UNKNOWN;
}

/* ---- edges ---- */

/* In t->before: how many edges lead to a task, and the last of them. */
static uint64_t ring(uint32_t count, uint32_t last)
{
	return (uint64_t)count << 32 | last;
}

static uint32_t edge_new(struct tasks *t)
{
	if (t->edge_free == 0) {
		uint32_t cap = t->edge_cap ? t->edge_cap + t->edge_cap / 2 : 64;
		t->edges = mem_resize(t, t->edges, t->edge_cap * sizeof *t->edges, cap * sizeof *t->edges);
		for (uint32_t i = cap; i-- > MAX_OF(t->edge_cap, 1u);) { /* number 0 is none */
			t->edges[i].next = t->edge_free;
			t->edge_free = i;
		}
		t->edge_cap = cap;
	}
	uint32_t e = t->edge_free;
	t->edge_free = t->edges[e].next;
	t->edge_count++;
	return e;
}

static void edge_add(struct tasks *t, struct wait *w, uint64_t before)
{
	uint32_t e = edge_new(t);
	struct edge *x = &t->edges[e];
	*x = (struct edge){ w->task, before, e, e, e, e };
	struct map64_slot *slot = map64_find(&t->before, before);
	if (slot) {
		uint32_t last = (uint32_t)slot->value;
		x->prev = last;
		x->next = t->edges[last].next;
		t->edges[x->next].prev = e;
		t->edges[last].next = e;
		slot->value = ring((uint32_t)(slot->value >> 32) + 1, e);
	} else {
		map64_add(&t->before, before, ring(1, e), &t->memory);
	}
	if (w->first) {
		x->own_next = w->first;
		x->own_prev = t->edges[w->first].own_prev;
		t->edges[x->own_prev].own_next = e;
		t->edges[w->first].own_prev = e;
	} else {
		w->first = e;
	}
	w->open++;
}

/* Out of the ring of its task, and gone. */
static void edge_drop(struct tasks *t, struct wait *w, uint32_t e)
{
	struct edge *x = &t->edges[e];
	t->edges[x->own_prev].own_next = x->own_next;
	t->edges[x->own_next].own_prev = x->own_prev;
	if (w->first == e)
		w->first = x->own_next == e ? 0 : x->own_next;
	ENSURE(w->open > 0 && t->edge_count > 0);
	w->open--;
	t->edge_count--;
	x->next = t->edge_free;
	t->edge_free = e;
}

static void edge_unlink(struct tasks *t, uint32_t e)
{
	const struct edge *x = &t->edges[e];
	struct map64_slot *slot = map64_find(&t->before, x->before);
	ENSURE(slot != NULL);
	uint32_t count = (uint32_t)(slot->value >> 32), last = (uint32_t)slot->value;
	if (count == 1) {
		map64_remove(&t->before, slot);
		return;
	}
	t->edges[x->prev].next = x->next;
	t->edges[x->next].prev = x->prev;
	slot->value = ring(count - 1, last == e ? x->prev : last);
}

bool after_room(const struct tasks *t, const uint64_t *before, uint32_t count)
{
	if (t->edge_count + (uint64_t)count > EDGES_MAX || t->waits.count >= WAITS_MAX)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		const struct map64_slot *slot = map64_find(&t->before, before[i]);
		if (slot && slot->value >> 32 >= DEPENDENTS_MAX)
			return false;
	}
	return true;
}

/* ---- waits ---- */

bool after_blocks(const struct dependency *d)
{
	return d->found->len > 0 || d->callback_of || (d->bad && d->policy == ON_FAILURE_CANCEL);
}

static struct wait *wait_new(struct tasks *t, struct hot *h)
{
	struct wait *w = mem_resize(t, NULL, 0, sizeof *w);
	*w = (struct wait){ .task = h->task, .queue = class_queue(h->class) };
	map64_add(&t->waits, h->task, (uint64_t)(uintptr_t)w, &t->memory);
	t->queues[w->queue - 1]->blocked++;
	h->blocked = true;
	return w;
}

/* All that is left of its edges goes with it. */
static void wait_end(struct tasks *t, struct wait *w, struct hot *h)
{
	while (w->first) {
		uint32_t e = w->first;
		edge_unlink(t, e);
		edge_drop(t, w, e);
	}
	ENSURE(t->queues[w->queue - 1]->blocked > 0);
	t->queues[w->queue - 1]->blocked--;
	h->blocked = false;
	map64_remove(&t->waits, map64_find(&t->waits, w->task));
	(void)mem_resize(t, w, sizeof *w, 0);
}

void after_attach(struct tasks *t, struct hot *h, const struct dependency *d)
{
	const uint64_t *found = (const uint64_t *)(const void *)d->found->data;
	struct wait *w = wait_new(t, h);
	w->policy = d->policy;
	w->bad = d->bad;
	w->bad_state = d->bad_state;
	w->group = d->callback_of ? d->callback_of->number : 0;
	for (uint32_t i = 0; i < d->found->len / sizeof *found; i++) {
		ENSURE(found[i] < h->task);
		edge_add(t, w, found[i]);
	}
	if (w->bad && w->policy == ON_FAILURE_CANCEL)
		w->doom = ERR_DEPENDENCY;
}

void after_leave(struct tasks *t, struct hot *h)
{
	wait_end(t, wait_find(t, h->task), h);
}

void wait_look(struct tasks *t, struct wait *w)
{
	struct hot *h = hot_find(t, w->task);
	ENSURE(h && h->blocked);
	if (w->doom)
		return;
	if (w->bad && w->policy == ON_FAILURE_CANCEL) {
		w->doom = ERR_DEPENDENCY;
		if (t->begun)
			view_timer(t, h);
		return;
	}
	if (w->open > 0 || w->group)
		return;
	wait_end(t, w, h);
	if (t->begun)
		view_unblock(t, h);
}

void after_settled(struct tasks *t, uint64_t task, uint8_t state)
{
	struct map64_slot *slot = map64_find(&t->before, task);
	if (!slot)
		return;
	uint32_t count = (uint32_t)(slot->value >> 32), e = t->edges[(uint32_t)slot->value].next;
	map64_remove(&t->before, slot);
	for (; count > 0; count--) {
		uint32_t next = t->edges[e].next;
		struct wait *w = wait_find(t, t->edges[e].task);
		ENSURE(w && t->edges[e].before == task);
		edge_drop(t, w, e);
		if (is_bad(state) && !w->bad) {
			w->bad = task;
			w->bad_state = state;
		}
		wait_look(t, w);
		e = next;
	}
}

uint64_t after_due(const struct tasks *t, const struct hot *h)
{
	return wait_find(t, h->task)->doom ? 0 : NEVER;
}

uint32_t after_text(const struct tasks *t, uint64_t task, char out[AFTER_TEXT_MAX])
{
	const struct wait *w = wait_find(t, task);
	const char *state = w->bad_state ? task_state_name(w->bad_state) : "not known any more";
	return (uint32_t)snprintf(out, AFTER_TEXT_MAX, "it comes after task %llu, which is %s", (unsigned long long)w->bad, state);
}

bool tasks_blocked(const struct tasks *t, uint64_t task, struct blocked_info *out)
{
	const struct wait *w = wait_find(t, task);
	*out = (struct blocked_info){ 0 };
	if (!w)
		return false;
	out->open = w->open;
	out->first = w->first ? t->edges[w->first].before : w->bad;
	const struct group *g = w->group ? group_by_number(t, w->group) : NULL;
	if (!g)
		return true;
	out->group = span_of(g->name, g->name_size);
	out->members = g->members;
	out->size = g->size;
	out->members_open = g->open;
	return true;
}

/* ---- checkpoint: u64 count; by task: struct checkpoint_wait, the tasks of its edges u64[] ---- */

struct checkpoint_wait {
	uint64_t task, bad, group;
	uint32_t edges;
	uint16_t doom;
	uint8_t policy, bad_state;
};
_Static_assert(sizeof(struct checkpoint_wait) == 32, "on disk");

static int by_key(const void *a, const void *b)
{
	const struct map64_slot *x = a, *y = b;
	return x->key < y->key ? -1 : x->key > y->key;
}

void after_put(const struct tasks *t, struct buf *out)
{
	struct buf sorted = { NULL, 0, 0 };
	uint64_t count = t->waits.count;
	buf_append(out, &count, sizeof count);
	for (uint32_t i = 0; i < t->waits.cap; i++)
		if (t->waits.slots[i].key)
			buf_append(&sorted, &t->waits.slots[i], sizeof t->waits.slots[i]);
	if (count > 0)
		qsort(sorted.data, count, sizeof(struct map64_slot), by_key);
	for (uint64_t i = 0; i < count; i++) {
		const struct map64_slot *slot = (const struct map64_slot *)(const void *)sorted.data + i;
		const struct wait *w = (const struct wait *)(uintptr_t)slot->value;
		const struct checkpoint_wait c = { w->task, w->bad, w->group, w->open, w->doom, w->policy, w->bad_state };
		buf_append(out, &c, sizeof c);
		for (uint32_t k = 0, e = w->first; k < w->open; k++, e = t->edges[e].own_next)
			buf_append(out, &t->edges[e].before, sizeof t->edges[e].before);
	}
	buf_free(&sorted);
}

static bool get_wait(struct tasks *t, struct reader *r, uint64_t *above)
{
	struct checkpoint_wait c;
	read_into(r, &c, sizeof c);
	struct hot *h = r->failed || c.task <= *above ? NULL : hot_find(t, c.task);
	if (!h || !h->blocked || c.policy > ON_FAILURE_RUN || c.bad_state >= TASK_STATES || (c.edges == 0 && !c.group && !c.doom))
		return false;
	if (c.group && !group_by_number(t, c.group))
		return false;
	*above = c.task;
	struct wait *w = wait_new(t, h);
	w->bad = c.bad;
	w->bad_state = c.bad_state;
	w->group = c.group;
	w->doom = c.doom;
	w->policy = c.policy;
	for (uint32_t i = 0; i < c.edges; i++) {
		uint64_t before = read_u64(r);
		if (r->failed || before == 0 || before >= c.task || after_outcome(t, before) != TASK_READY)
			return false;
		edge_add(t, w, before);
	}
	return true;
}

static bool is_blocked(const struct hot *h)
{
	return h->blocked;
}

bool after_get(struct tasks *t, struct reader *r)
{
	uint64_t count = read_u64(r), above = 0;
	uint32_t blocked;
	free(hots_sorted(t, is_blocked, &blocked));
	if (r->failed || count != blocked)
		return false;
	for (uint64_t i = 0; i < count; i++)
		if (!get_wait(t, r, &above))
			return false;
	return true;
}

void after_free(struct tasks *t)
{
	for (uint32_t i = 0; i < t->waits.cap; i++)
		if (t->waits.slots[i].key)
			(void)mem_resize(t, (void *)(uintptr_t)t->waits.slots[i].value, sizeof(struct wait), 0);
	map64_free(&t->waits, &t->memory);
	map64_free(&t->before, &t->memory);
	(void)mem_resize(t, t->edges, t->edge_cap * sizeof *t->edges, 0);
	buf_free(&t->found);
}
