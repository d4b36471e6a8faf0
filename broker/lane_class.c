/* broker/lane_class.c: what the tasks of a lane have in common: their queue, what they require, and, in a fair queue, their
 * principal. Interned: equal tasks name one number. In the flow: apply(REC_SUBMIT) -> LANE_CLASS -> lane;  deliver asks what it
 * requires.
 *
 * Invariants
 *  1. A class is there while a task in memory names it; that, and no number, is durable. Then it rests for a while, because
 *     its next tasks may be about to come and asking all entries again costs.
 *  2. Class 0 is that of tasks without requirements and principal, in every queue; it is never in the table.
 *  3. Every class in the table has a slot of lanes in its queue.
 *  4. Whether a class may be named depends on those that tasks name, never on those that rest: replay knows no others. */
#include "tasks_impl.h"

#include "../wire/predicate.h"

enum {
	LANE_BYTES_MAX = 64 << 20, /* texts and what they are compiled to, of classes that tasks name */
	LANE_IDLE_MAX = 1024,
};

uint64_t lane_class_hash(const struct tasks *t, uint32_t queue, struct span text, struct span principal)
{
	if (text.len == 0 && principal.len == 0)
		return 0;
	uint64_t hash = secret_hash(t, text, SECRET_LANE, queue);
	return (principal.len ? secret_hash(t, principal, hash, queue) : hash) | 1;
}

uint32_t lane_class_by_hash(const struct tasks *t, uint64_t hash)
{
	const struct map64_slot *slot = hash ? map64_find(&t->lane_class_names, hash) : NULL;
	return slot ? (uint32_t)slot->value : hash ? LANE_CLASS_NONE : 0;
}

static struct span class_text(const struct lane_class *c)
{
	return span_of(c->bytes, c->text_size);
}

static struct span class_principal(const struct lane_class *c)
{
	return span_sub(span_of(c->bytes, (size_t)c->text_size + c->principal_size), c->text_size, c->principal_size);
}

struct span lane_class_principal(const struct tasks *t, uint32_t class)
{
	return class_principal(&t->lane_classes[class]);
}

/* The same hash and not the same class: nobody should be able to make that, and where it happens the later one is refused. */
static bool class_is(const struct tasks *t, uint32_t id, uint32_t queue, struct span text, struct span principal)
{
	if (id == 0)
		return true;
	const struct lane_class *c = &t->lane_classes[id];
	return c->queue == queue && span_eq(class_text(c), text) && span_eq(class_principal(c), principal);
}

uint32_t lane_class_find(const struct tasks *t, uint32_t queue, struct span text, struct span principal)
{
	uint32_t id = lane_class_by_hash(t, lane_class_hash(t, queue, text, principal));
	return id != LANE_CLASS_NONE && class_is(t, id, queue, text, principal) ? id : LANE_CLASS_NONE;
}

static uint32_t class_bytes(size_t text, size_t packed, size_t principal)
{
	return (uint32_t)(text + packed + principal);
}

/* For one more that tasks name. What rests does not count: no restart remembers it, and apply decides the same behind one. */
static bool class_room(const struct tasks *t, size_t bytes)
{
	return t->lane_class_bytes + bytes <= LANE_BYTES_MAX && t->lane_class_live < LANE_CLASSES_MAX;
}

enum err lane_class_check(const struct tasks *t, struct span text, struct span principal, char out[256])
{
	struct buf packed = { NULL, 0, 0 };
	char why[128] = "";
	enum err e = predicate_parse(text, &packed, why);
	size_t more = class_bytes(text.len, packed.len, principal.len);
	buf_free(&packed);
	if (e != ERR_OK) {
		(void)snprintf(out, 256, "requirements: %s", why);
		return e;
	}
	if (text.len > UINT16_MAX || principal.len > LIMIT_NAME_BYTES)
		return ERR_TOO_BIG;
	if (class_room(t, more))
		return ERR_OK;
	(void)snprintf(out, 256, "the waiting tasks differ in their requirements too much: there are %u kinds already",
		       t->lane_class_live);
	return ERR_RESOURCE_EXHAUSTED;
}

static void classes_grow(struct tasks *t, uint32_t count)
{
	if (count > t->lane_class_cap) {
		uint32_t cap = MAX_OF(t->lane_class_cap * 2, MAX_OF(count, 16u));
		size_t size = sizeof *t->lane_classes;
		t->lane_classes = mem_resize(t, t->lane_classes, t->lane_class_cap * size, cap * size);
		t->lane_class_cap = cap;
	}
	for (; t->lane_class_count < count; t->lane_class_count++)
		t->lane_classes[t->lane_class_count] = (struct lane_class){ .queue = 0 };
}

static uint32_t class_id_new(struct tasks *t)
{
	if (t->lane_class_free == 0)
		t->lane_class_free = 1;
	while (t->lane_class_free < t->lane_class_count && t->lane_classes[t->lane_class_free].queue != 0)
		t->lane_class_free++;
	uint32_t id = t->lane_class_free++;
	classes_grow(t, id + 1);
	return id;
}

/* ---- those that rest ---- */

static void idle_add(struct tasks *t, uint32_t id)
{
	struct lane_class *c = &t->lane_classes[id];
	c->idle_prev = t->lane_idle_last;
	c->idle_next = 0;
	*(c->idle_prev ? &t->lane_classes[c->idle_prev].idle_next : &t->lane_idle_first) = id;
	t->lane_idle_last = id;
	t->lane_idle_count++;
}

static void idle_remove(struct tasks *t, uint32_t id)
{
	const struct lane_class *c = &t->lane_classes[id];
	*(c->idle_prev ? &t->lane_classes[c->idle_prev].idle_next : &t->lane_idle_first) = c->idle_next;
	*(c->idle_next ? &t->lane_classes[c->idle_next].idle_prev : &t->lane_idle_last) = c->idle_prev;
	t->lane_idle_count--;
}

/* Fills a free number. The caller has checked the parts. */
static void class_fill(struct tasks *t, uint32_t id, uint32_t queue, struct span text, struct span principal,
		       const struct buf *packed)
{
	struct lane_class *c = &t->lane_classes[id];
	*c = (struct lane_class){ .queue = queue, .text_size = (uint16_t)text.len, .packed_size = (uint16_t)packed->len,
				  .principal_size = (uint8_t)principal.len };
	c->bytes = mem_resize(t, NULL, 0, text.len + principal.len);
	if (text.len > 0)
		memcpy(c->bytes, text.data, text.len);
	if (principal.len > 0)
		memcpy(c->bytes + text.len, principal.data, principal.len);
	if (packed->len > 0) {
		c->packed = mem_resize(t, NULL, 0, packed->len);
		memcpy(c->packed, packed->data, packed->len);
	}
	c->hash = lane_class_hash(t, queue, text, principal);
	map64_add(&t->lane_class_names, c->hash, id, &t->memory);
	c->slot = lane_slot_new(t, queue, id);
	idle_add(t, id);
}

static void class_free(struct tasks *t, uint32_t id)
{
	struct lane_class *c = &t->lane_classes[id];
	map64_remove(&t->lane_class_names, map64_find(&t->lane_class_names, c->hash));
	lane_slot_free(t, t->queues[c->queue - 1], c->slot);
	idle_remove(t, id);
	(void)mem_resize(t, c->bytes, (size_t)c->text_size + c->principal_size, 0);
	if (c->packed)
		(void)mem_resize(t, c->packed, c->packed_size, 0);
	*c = (struct lane_class){ .queue = 0 };
	t->lane_class_free = MIN_OF(t->lane_class_free, id);
}

uint32_t lane_class_intern(struct tasks *t, uint32_t queue, struct span text, struct span principal)
{
	char why[256];
	uint32_t id = lane_class_by_hash(t, lane_class_hash(t, queue, text, principal));
	if (id == 0)
		return id;
	bool known = id != LANE_CLASS_NONE, same = known && class_is(t, id, queue, text, principal);
	const struct lane_class *c = known ? &t->lane_classes[id] : NULL;
	if (same && c->refs > 0)
		return id;
	if (same)
		return class_room(t, class_bytes(c->text_size, c->packed_size, c->principal_size)) ? id : LANE_CLASS_NONE;
	if ((known && c->refs > 0) || lane_class_check(t, text, principal, why) != ERR_OK)
		return LANE_CLASS_NONE;
	if (known)
		class_free(t, id);
	struct buf packed = { NULL, 0, 0 };
	char text_why[128];
	enum err e = predicate_parse(text, &packed, text_why);
	ENSURE(e == ERR_OK);
	id = class_id_new(t);
	class_fill(t, id, queue, text, principal, &packed);
	buf_free(&packed);
	return id;
}

void lane_class_ref(struct tasks *t, uint32_t class, uint64_t count)
{
	if (class == 0 || count == 0)
		return;
	struct lane_class *c = &t->lane_classes[class];
	if (c->refs == 0) {
		idle_remove(t, class);
		fair_live(t->queues[c->queue - 1], t->queues[c->queue - 1]->slots_account[c->slot], true);
		t->lane_class_live++;
		t->lane_class_bytes += class_bytes(c->text_size, c->packed_size, c->principal_size);
	}
	c->refs += count;
}

void lane_class_unref(struct tasks *t, uint32_t class, uint64_t count)
{
	if (class == 0 || class == LANE_CLASS_NONE || count == 0)
		return;
	struct lane_class *c = &t->lane_classes[class];
	ENSURE(class < t->lane_class_count && c->refs >= count);
	c->refs -= count;
	if (c->refs > 0)
		return;
	fair_live(t->queues[c->queue - 1], t->queues[c->queue - 1]->slots_account[c->slot], false);
	t->lane_class_live--;
	t->lane_class_bytes -= class_bytes(c->text_size, c->packed_size, c->principal_size);
	lane_slot_rest(t, t->queues[c->queue - 1], c->slot);
	idle_add(t, class);
	if (t->lane_idle_count > LANE_IDLE_MAX)
		class_free(t, t->lane_idle_first);
}

/* ---- bytes: u32 count, u32 0, then {u32 queue, u16 text, u8 principal, u8 0, text | principal, padded to 8} by hash ---- */

struct lane_class_head {
	uint32_t queue;
	uint16_t text_size;
	uint8_t principal_size, zero;
};
_Static_assert(sizeof(struct lane_class_head) == 8, "on disk");

static int by_hash(const void *a, const void *b)
{
	const struct lane_class *x = *(const struct lane_class *const *)a, *y = *(const struct lane_class *const *)b;
	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

void lane_classes_put(const struct tasks *t, struct buf *out)
{
	const struct lane_class **sorted = calloc((size_t)t->lane_class_live + 1, sizeof *sorted);
	uint32_t head[2] = { 0, 0 };
	uint64_t zero = 0;
	ENSURE(sorted != NULL);
	for (uint32_t i = 1; i < t->lane_class_count; i++)
		if (t->lane_classes[i].refs > 0)
			sorted[head[0]++] = &t->lane_classes[i];
	ENSURE(head[0] == t->lane_class_live);
	qsort(sorted, head[0], sizeof *sorted, by_hash);
	buf_append(out, head, sizeof head);
	for (uint32_t i = 0; i < head[0]; i++) {
		const struct lane_class *c = sorted[i];
		struct lane_class_head h = { c->queue, c->text_size, c->principal_size, 0 };
		size_t size = (size_t)c->text_size + c->principal_size;
		buf_append(out, &h, sizeof h);
		buf_append(out, c->bytes, size);
		buf_append(out, &zero, align_up(size, 8) - size);
	}
	free(sorted);
}

static bool class_get(struct tasks *t, struct reader *r)
{
	struct lane_class_head h;
	read_into(r, &h, sizeof h);
	size_t size = (size_t)h.text_size + h.principal_size;
	struct span bytes = read_bytes(r, size);
	(void)read_bytes(r, align_up(size, 8) - size);
	if (r->failed || h.queue == 0 || h.queue > t->queue_count)
		return false;
	struct span text = span_sub(bytes, 0, h.text_size), principal = span_sub(bytes, h.text_size, h.principal_size);
	char why[256], text_why[128];
	struct buf packed = { NULL, 0, 0 };
	bool ok = lane_class_by_hash(t, lane_class_hash(t, h.queue, text, principal)) == LANE_CLASS_NONE &&
		  lane_class_check(t, text, principal, why) == ERR_OK && predicate_parse(text, &packed, text_why) == ERR_OK;
	if (ok)
		class_fill(t, class_id_new(t), h.queue, text, principal, &packed);
	buf_free(&packed);
	return ok;
}

bool lane_classes_get(struct tasks *t, struct reader *r)
{
	uint32_t count = read_u32(r);
	(void)read_u32(r);
	if (r->failed || count > LANE_CLASSES_MAX)
		return false;
	for (uint32_t i = 0; i < count; i++)
		if (!class_get(t, r))
			return false;
	return true;
}

void lane_classes_free(struct tasks *t)
{
	for (uint32_t i = 1; i < t->lane_class_count; i++) {
		struct lane_class *c = &t->lane_classes[i];
		if (c->queue == 0)
			continue;
		(void)mem_resize(t, c->bytes, (size_t)c->text_size + c->principal_size, 0);
		if (c->packed)
			(void)mem_resize(t, c->packed, c->packed_size, 0);
	}
	(void)mem_resize(t, t->lane_classes, t->lane_class_cap * sizeof *t->lane_classes, 0);
	map64_free(&t->lane_class_names, &t->memory);
}
