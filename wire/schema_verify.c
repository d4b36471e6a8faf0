/* wire/schema_verify.c: walks a payload by a plan and says where it breaks. In the flow: frame -> VERIFY payload -> propose.
 *
 * Every step asks what the generated verifier of FlatBuffers 2.0 asks, no more and no less (fuzz/fuzz_schema_diff.cc holds the two
 * against each other), but finds the questions in a table. Positions are offsets from the start of the buffer.
 *
 * 1. No byte is read before `inside` was asked for it.
 * 2. Every table, string and element of a vector of offsets costs one of `work`, so that parts which are shared many times cannot
 *    make the work more than linear in the length.
 * 3. The path of a failure is put together only when there is one, from the steps on the stack. */
#include "schema_impl.h"

#include <stdarg.h>

enum { NO_INDEX = UINT32_MAX, MIN_BUFFER = 12 };

struct step { /* from a table to the one below it */
	const struct step *up;
	uint32_t field, index;
};

struct walk {
	const struct schema_plan *plan;
	const uint8_t *data;
	size_t len;
	uint64_t work;
	uint32_t depth;
	enum err code;
	char *text;
};

static inline bool inside(const struct walk *w, size_t at, size_t size)
{
	return size < w->len && at <= w->len - size;
}

static inline uint16_t load16(const struct walk *w, size_t at)
{
	uint16_t v;
	memcpy(&v, w->data + at, sizeof v);
	return v;
}

static inline uint32_t load32(const struct walk *w, size_t at)
{
	uint32_t v;
	memcpy(&v, w->data + at, sizeof v);
	return v;
}

/* ---- where it broke ---- */

static size_t print_step(const struct walk *w, const struct step *s, char *text, size_t cap)
{
	size_t at = s->up ? print_step(w, s->up, text, cap) : (size_t)snprintf(text, cap, "%s", w->plan->root_name);
	if (s->field != NO_INDEX && at < cap)
		at += (size_t)snprintf(text + at, cap - at, ".%s", w->plan->names[s->field]);
	if (s->index != NO_INDEX && at < cap)
		at += (size_t)snprintf(text + at, cap - at, "[%u]", s->index);
	return at;
}

__attribute__((cold, noinline))
static bool fail(struct walk *w, const struct step *up, uint32_t field, uint32_t index, const char *what)
{
	const struct step step = { up, field, index };
	char path[192];
	(void)print_step(w, &step, path, sizeof path);
	(void)snprintf(w->text, 256, "%s: %s", path, what);
	w->code = ERR_SCHEMA_MISMATCH;
	return false;
}

__attribute__((cold, noinline))
static bool too_much(struct walk *w, const struct step *up, uint32_t field, uint32_t index, const char *what)
{
	(void)fail(w, up, field, index, what);
	w->code = ERR_TOO_BIG;
	return false;
}

static inline bool spend(struct walk *w, const struct step *up, uint32_t field, uint64_t work)
{
	if (w->work < work)
		return too_much(w, up, field, NO_INDEX, "the payload shares its parts too often to be looked at");
	w->work -= work;
	return true;
}

/* ---- one question each ---- */

/* The position an offset field points to, 0 = refused. */
static inline size_t follow(struct walk *w, const struct step *up, uint32_t field, size_t at)
{
	if ((at & 3) != 0 || !inside(w, at, 4)) {
		(void)fail(w, up, field, NO_INDEX, "its offset lies outside of the payload");
		return 0;
	}
	uint32_t offset = load32(w, at);
	if (offset == 0 || offset > INT32_MAX || !inside(w, at + offset, 1)) {
		(void)fail(w, up, field, NO_INDEX, "its offset points out of the payload");
		return 0;
	}
	return at + offset;
}

/* Vectors and strings: the count, then so many elements. */
static inline bool vector(struct walk *w, const struct step *up, uint32_t field, size_t at, uint32_t size, uint32_t *count)
{
	if ((at & 3) != 0 || !inside(w, at, 4))
		return fail(w, up, field, NO_INDEX, "the vector lies outside of the payload");
	*count = load32(w, at);
	if (!inside(w, at, 4 + (uint64_t)*count * size))
		return fail(w, up, field, NO_INDEX, "the vector runs past the end");
	return true;
}

static inline bool string(struct walk *w, const struct step *up, uint32_t field, uint32_t index, size_t at)
{
	if ((at & 3) != 0 || !inside(w, at, 4))
		return fail(w, up, field, index, "the string lies outside of the payload");
	size_t end = at + 4 + load32(w, at);
	if (!inside(w, at, end - at) || !inside(w, end, 1))
		return fail(w, up, field, index, "the string runs past the end");
	if (w->data[end] != 0)
		return fail(w, up, field, index, "the string has no zero behind it");
	return true;
}

static bool table(struct walk *w, const struct step *up, uint32_t number, size_t at);

static bool table_below(struct walk *w, const struct step *up, uint32_t field, uint32_t index, uint32_t number, size_t at)
{
	const struct step step = { up, field, index };
	return table(w, &step, number, at);
}

/* The value of a union of this type at `at`; 0 = it is absent. */
static bool member(struct walk *w, const struct step *up, uint32_t field, uint32_t index, uint32_t number, uint8_t type,
		   size_t at)
{
	const struct schema_range *u = &w->plan->unions[number];
	if (type >= u->count)
		return true; /* of a newer schema: readers skip it */
	const struct schema_member *m = &w->plan->members[u->first + type];
	switch ((enum schema_kind)m->kind) {
	case SCHEMA_TABLE:
		return at == 0 || table_below(w, up, field, index, m->target, at);
	case SCHEMA_STRING:
		return at == 0 || string(w, up, field, index, at);
	case SCHEMA_INLINE:
		if (at == 0 || (at & (m->align - 1u)) != 0 || !inside(w, at, m->size))
			return fail(w, up, field, index, "the struct of the union lies outside of the payload");
		return true;
	case SCHEMA_NONE: case SCHEMA_UNION: case SCHEMA_VECTOR: case SCHEMA_STRINGS: case SCHEMA_TABLES: case SCHEMA_UNIONS:
	case SCHEMA_NESTED:
		return true;
	}
	return true;
}

static bool root(struct walk *w, const struct step *up, uint32_t number);

static bool nested(struct walk *w, const struct step *up, uint32_t field, uint32_t number, size_t at, uint32_t count)
{
	struct walk inner = *w;
	const struct step step = { up, field, NO_INDEX };
	inner.data = w->data + at + 4;
	inner.len = count;
	if (!root(&inner, &step, number)) {
		w->code = inner.code;
		return false;
	}
	w->work = inner.work;
	return true;
}

/* ---- tables ---- */

struct cursor { /* in one table */
	const struct step *up;
	size_t at, vtable;
	uint32_t vtable_size;
};

static inline uint32_t slot_of(const struct walk *w, const struct cursor *c, uint32_t slot)
{
	return slot < c->vtable_size ? load16(w, c->vtable + slot) : 0;
}

static bool union_field(struct walk *w, const struct cursor *c, uint32_t field, const struct schema_field *f, uint32_t offset)
{
	uint32_t type_offset = slot_of(w, c, f->slot - 2u);
	if (type_offset != 0 && !inside(w, c->at + type_offset, 1))
		return fail(w, c->up, field, NO_INDEX, "the type of the union lies outside of the payload");
	uint8_t type = type_offset ? w->data[c->at + type_offset] : 0;
	size_t at = 0;
	if (offset != 0) {
		at = follow(w, c->up, field, c->at + offset);
		if (at == 0)
			return false;
	}
	return member(w, c->up, field, NO_INDEX, f->target, type, at);
}

static bool unions_field(struct walk *w, const struct cursor *c, uint32_t field, const struct schema_field *f, uint32_t offset)
{
	uint32_t type_offset = slot_of(w, c, f->slot - 2u), count = 0, types = 0;
	if (offset == 0 && type_offset == 0)
		return true;
	if (offset == 0 || type_offset == 0)
		return fail(w, c->up, field, NO_INDEX, "only one of the unions and their types is there");
	size_t at = follow(w, c->up, field, c->at + offset);
	size_t types_at = at ? follow(w, c->up, field, c->at + type_offset) : 0;
	if (types_at == 0)
		return false;
	if (!vector(w, c->up, field, at, 4, &count) || !vector(w, c->up, field, types_at, 1, &types))
		return false;
	if (count != types)
		return fail(w, c->up, field, NO_INDEX, "there are not as many unions as types");
	if (!spend(w, c->up, field, count))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		size_t element = at + 4 + 4 * (size_t)i;
		if (!member(w, c->up, field, i, f->target, w->data[types_at + 4 + i], element + load32(w, element)))
			return false;
	}
	return true;
}

static bool vector_field(struct walk *w, const struct cursor *c, uint32_t field, const struct schema_field *f, size_t at)
{
	uint32_t count = 0;
	if (!vector(w, c->up, field, at, f->size, &count))
		return false;
	if (f->kind == SCHEMA_VECTOR)
		return true;
	if (f->kind == SCHEMA_NESTED)
		return nested(w, c->up, field, f->target, at, count);
	if (!spend(w, c->up, field, count))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		size_t element = at + 4 + 4 * (size_t)i, to = element + load32(w, element);
		if (f->kind == SCHEMA_STRINGS ? !string(w, c->up, field, i, to)
					      : !table_below(w, c->up, field, i, f->target, to))
			return false;
	}
	return true;
}

static bool field_good(struct walk *w, const struct cursor *c, uint32_t field, const struct schema_field *f)
{
	uint32_t offset = slot_of(w, c, f->slot);
	size_t at = c->at + offset;
	if (offset == 0 && f->required)
		return fail(w, c->up, field, NO_INDEX, "is required and missing");
	if (f->kind == SCHEMA_UNION)
		return union_field(w, c, field, f, offset);
	if (f->kind == SCHEMA_UNIONS)
		return unions_field(w, c, field, f, offset);
	if (offset == 0)
		return true;
	if (f->kind == SCHEMA_INLINE) {
		if ((at & (f->align - 1u)) == 0 && inside(w, at, f->size))
			return true;
		return fail(w, c->up, field, NO_INDEX, "the value is misaligned or lies outside of the payload");
	}
	at = follow(w, c->up, field, at);
	if (at == 0)
		return false;
	if (f->kind == SCHEMA_STRING)
		return string(w, c->up, field, NO_INDEX, at);
	if (f->kind == SCHEMA_TABLE)
		return table_below(w, c->up, field, NO_INDEX, f->target, at);
	return vector_field(w, c, field, f, at);
}

static bool table_start(struct walk *w, struct cursor *c)
{
	if ((c->at & 3) != 0 || !inside(w, c->at, 4))
		return fail(w, c->up, NO_INDEX, NO_INDEX, "the table lies outside of the payload");
	c->vtable = c->at - (size_t)(int64_t)(int32_t)load32(w, c->at);
	if ((c->vtable & 1) != 0 || !inside(w, c->vtable, 2))
		return fail(w, c->up, NO_INDEX, NO_INDEX, "the vtable lies outside of the payload");
	c->vtable_size = load16(w, c->vtable);
	if ((c->vtable_size & 1) != 0 || !inside(w, c->vtable, c->vtable_size))
		return fail(w, c->up, NO_INDEX, NO_INDEX, "the vtable runs past the end");
	return true;
}

static bool table(struct walk *w, const struct step *up, uint32_t number, size_t at)
{
	struct cursor c = { .up = up, .at = at };
	if (!spend(w, up, NO_INDEX, 1))
		return false;
	if (w->depth == SCHEMA_DEPTH_MAX)
		return too_much(w, up, NO_INDEX, NO_INDEX, "tables are nested too deep");
	if (!table_start(w, &c))
		return false;
	w->depth++;
	const struct schema_range *range = &w->plan->tables[number];
	for (uint32_t i = range->first; i < range->first + range->count; i++) {
		const struct schema_field *f = &w->plan->fields[i];
		if (f->kind != SCHEMA_NONE && !field_good(w, &c, i, f))
			return false;
	}
	w->depth--;
	return true;
}

static bool root(struct walk *w, const struct step *up, uint32_t number)
{
	if (w->len < MIN_BUFFER)
		return fail(w, up, NO_INDEX, NO_INDEX, "too short for a buffer");
	size_t at = follow(w, up, NO_INDEX, 0);
	return at != 0 && table(w, up, number, at);
}

enum err schema_plan_verify(const struct schema_plan *plan, struct span payload, char text[256])
{
	struct walk w = { .plan = plan, .data = payload.data, .len = payload.len, .work = 1024 + payload.len / 2, .text = text };
	if (payload.len > INT32_MAX)
		return too_much(&w, NULL, NO_INDEX, NO_INDEX, "larger than a buffer can be") ? ERR_OK : w.code;
	if (plan->has_identifier && (w.len < 8 || memcmp(w.data + 4, plan->identifier, 4) != 0)) {
		(void)fail(&w, NULL, NO_INDEX, NO_INDEX, "does not have the file identifier of its schema");
		return w.code;
	}
	return root(&w, NULL, 0) ? ERR_OK : w.code;
}

enum err schema_verify(const struct schema *schema, struct span payload, char text[256])
{
	return schema_plan_verify(&schema->plan, payload, text);
}
