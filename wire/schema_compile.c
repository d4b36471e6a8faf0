/* wire/schema_compile.c: from a .bfbs to the plan that payloads are walked by, and to the items that schemas are compared by.
 * In the flow: type registration -> COMPILE -> struct schema.
 *
 * Starts at the root table and takes in what it reaches, in order of discovery: tables from a list that grows, structs and enums
 * where they are first named.
 *
 * 1. A reference is followed only after its index was checked; a table's position is settled before its fields are read.
 * 2. What is refused here: names that are no identifiers, ids that are not 0..n-1, slots that do not follow from the id, types that
 *    do not fit their field, structs that overlap, contain themselves or lie about their size, unions without a type field.
 * 3. Items are at most SCHEMA_ITEMS_MAX, whatever the bytes say; names point into our own copy of them. */
#include "schema_impl.h"

#include <stdarg.h>

enum {
	NONE = UINT16_MAX,
	TYPES_MAX = 2048,        /* objects in a file, and enums: searches by name go through all of them */
	NESTED_MAX = 256,        /* fields with nested buffers */
	NAME_DOTS_MAX = 16,
	STRUCT_DEPTH_MAX = 16, STRUCT_BYTES_MAX = 65535, STRUCT_FIELDS_MAX = 256,
};

struct object { /* what is known of one of the file's objects */
	struct bfbs_object in;
	uint16_t table; /* its index in the plan, NONE = not reached */
	bool struct_done;
};

struct compile {
	struct schema *s;
	struct span bytes;
	uint32_t object_count, enum_count;
	struct object *objects;
	uint16_t *unions; /* by enum: index in the plan, NONE = not reached */
	bool *enums_done;
	uint32_t *order;  /* objects that are tables of the plan */
	uint32_t table_count, union_count, nested_count;
	char *text;
};

PRINTF_LIKE(3, 4)
static bool refuse(struct compile *c, const char *owner, const char *format, ...)
{
	char what[160];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(what, sizeof what, format, args);
	va_end(args);
	(void)snprintf(c->text, 256, "%.80s: %s", owner, what);
	return false;
}

/* Letters, digits, _ and dots between them: what may be shown to people and compared with other names. */
static bool name_good(const char *name)
{
	size_t len = strlen(name), dots = 0;
	if (len == 0 || len > 200)
		return false;
	for (size_t i = 0; i < len; i++) {
		char ch = name[i];
		bool word = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_';
		if (!word && ch != '.')
			return false;
		dots += ch == '.';
	}
	return dots <= NAME_DOTS_MAX;
}

static bool add_item(struct compile *c, const struct schema_item *item)
{
	uint32_t count;
	(void)schema_items(c->s, &count);
	if (count >= SCHEMA_ITEMS_MAX)
		return refuse(c, item->owner, "the schema has more than %d fields and values", (int)SCHEMA_ITEMS_MAX);
	buf_append(&c->s->items, item, sizeof *item);
	return true;
}

static uint32_t scalar_size(uint8_t base)
{
	static const uint8_t sizes[] = { 0, 1, 1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8 };
	return base < COUNT_OF(sizes) ? sizes[base] : 0;
}

/* ---- enums ---- */

static bool enum_of(struct compile *c, const char *owner, const char *name, int32_t index, struct bfbs_enum *out)
{
	if (index < 0 || (uint32_t)index >= c->enum_count)
		return refuse(c, owner, "%.60s refers to an enum that is not there", name);
	bfbs_read_enum(c->bytes, (uint32_t)index, out);
	return name_good(out->name) || refuse(c, owner, "%.60s refers to an enum without a proper name", name);
}

static bool value_item(struct compile *c, const struct bfbs_enum *e, const struct bfbs_value *v)
{
	struct schema_item item = { .kind = ITEM_VALUE, .owner = e->name, .name = v->name, .number = v->value, .ref = "",
				    .nested = "" };
	if (!name_good(v->name))
		return refuse(c, e->name, "a value without a proper name");
	if (e->is_union && v->has_type) {
		item.base = v->type.base;
		if (v->type.base == BFBS_OBJECT) {
			if (v->type.index < 0 || (uint32_t)v->type.index >= c->object_count)
				return refuse(c, e->name, "%.60s refers to a type that is not there", v->name);
			item.ref = c->objects[v->type.index].in.name;
		}
	}
	return add_item(c, &item);
}

/* Its items, once. */
static bool enum_items(struct compile *c, uint32_t index, const struct bfbs_enum *e)
{
	if (c->enums_done[index])
		return true;
	c->enums_done[index] = true;
	struct schema_item item = { .kind = ITEM_ENUM, .base = e->underlying.base, .is_union = e->is_union, .owner = e->name,
				    .name = "", .ref = "", .nested = "" };
	if (!add_item(c, &item))
		return false;
	for (uint32_t i = 0; i < e->values; i++) {
		struct bfbs_value v;
		bfbs_read_value(c->bytes, e, i, &v);
		if (!value_item(c, e, &v))
			return false;
	}
	return true;
}

/* ---- structs ---- */

static bool struct_layout(struct compile *c, uint32_t index, uint32_t depth);

/* Bytes and alignment of a scalar, a struct or an array of those. */
static bool inline_size(struct compile *c, const char *owner, const struct bfbs_field *f, uint8_t base, uint32_t depth,
			uint32_t *size, uint32_t *align)
{
	if (base == BFBS_OBJECT) {
		int32_t index = f->type.index;
		if (index < 0 || (uint32_t)index >= c->object_count || !c->objects[index].in.is_struct)
			return refuse(c, owner, "%.60s: not a struct", f->name);
		if (!struct_layout(c, (uint32_t)index, depth + 1))
			return false;
		*size = (uint32_t)c->objects[index].in.size;
		*align = (uint32_t)c->objects[index].in.align;
		return true;
	}
	*size = *align = scalar_size(base);
	return *size != 0 || refuse(c, owner, "%.60s: its type has no layout", f->name);
}

static bool ref_of(struct compile *c, const char *owner, const struct bfbs_field *f, uint8_t base, struct schema_item *item)
{
	struct bfbs_enum e;
	if (base == BFBS_OBJECT) {
		item->ref = c->objects[f->type.index].in.name;
		return true;
	}
	if (f->type.index < 0)
		return true;
	if (!enum_of(c, owner, f->name, f->type.index, &e))
		return false;
	if (base != BFBS_UTYPE && (e.is_union || e.underlying.base != base))
		return refuse(c, owner, "%.60s: its type is not that of its enum", f->name);
	item->ref = e.name;
	return enum_items(c, (uint32_t)f->type.index, &e);
}

static bool struct_member(struct compile *c, const struct bfbs_object *o, const struct bfbs_field *f, uint32_t depth,
			  uint32_t *size, uint32_t *align)
{
	uint8_t base = f->type.base == BFBS_ARRAY ? f->type.element : f->type.base;
	if (!name_good(f->name))
		return refuse(c, o->name, "a field without a proper name");
	if (!inline_size(c, o->name, f, base, depth, size, align))
		return false;
	if (f->type.base == BFBS_ARRAY) {
		if (f->type.fixed_length == 0)
			return refuse(c, o->name, "%.60s: an array of nothing", f->name);
		*size *= f->type.fixed_length;
	}
	if (f->offset % *align != 0 || f->offset > o->size || *size > (uint32_t)o->size - f->offset)
		return refuse(c, o->name, "%.60s does not lie in its struct", f->name);
	if (*align > (uint32_t)o->align)
		return refuse(c, o->name, "%.60s needs a larger alignment than its struct has", f->name);
	return true;
}

static bool struct_head(struct compile *c, const struct bfbs_object *o, uint32_t depth)
{
	if (depth > STRUCT_DEPTH_MAX)
		return refuse(c, o->name, "structs within structs without end");
	if (o->align < 1 || o->align > 16 || (o->align & (o->align - 1)) != 0)
		return refuse(c, o->name, "a struct cannot be aligned to %d", o->align);
	if (o->size < 1 || o->size > STRUCT_BYTES_MAX || o->size % o->align != 0 || o->fields == 0)
		return refuse(c, o->name, "a struct cannot have %d bytes aligned to %d", o->size, o->align);
	if (o->fields > STRUCT_FIELDS_MAX)
		return refuse(c, o->name, "a struct has at most %d fields", (int)STRUCT_FIELDS_MAX);
	return true;
}

struct place { uint16_t offset, field; };

static int by_offset(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	return x->offset != y->offset ? x->offset - y->offset : x->field - y->field;
}

/* The members by offset, judged one against the next. Each is read twice, however many there are. */
static bool struct_layout(struct compile *c, uint32_t index, uint32_t depth)
{
	struct object *object = &c->objects[index];
	const struct bfbs_object *o = &object->in;
	if (object->struct_done)
		return true;
	if (!struct_head(c, o, depth))
		return false;
	struct schema_item head = { .kind = ITEM_STRUCT, .owner = o->name, .name = "", .number = o->size,
				    .default_integer = o->align, .ref = "", .nested = "" };
	bool good = add_item(c, &head);
	struct place places[STRUCT_FIELDS_MAX];
	struct bfbs_field next;
	uint32_t end = 0;
	for (uint32_t i = 0; i < o->fields; i++) {
		bfbs_read_field(c->bytes, o, i, &next);
		places[i] = (struct place){ next.offset, (uint16_t)i };
	}
	qsort(places, o->fields, sizeof places[0], by_offset);
	for (uint32_t done = 0; good && done < o->fields; done++) {
		uint32_t size, align;
		bfbs_read_field(c->bytes, o, places[done].field, &next);
		if (next.offset < end)
			return refuse(c, o->name, "fields of the struct lie on top of each other");
		struct schema_item item = { .kind = ITEM_MEMBER, .base = next.type.base, .element = next.type.element,
					    .fixed_length = next.type.fixed_length, .owner = o->name, .name = next.name,
					    .number = next.offset, .ref = "", .nested = "" };
		uint8_t base = next.type.base == BFBS_ARRAY ? next.type.element : next.type.base;
		good = struct_member(c, o, &next, depth, &size, &align) && ref_of(c, o->name, &next, base, &item) &&
		       add_item(c, &item);
		end = next.offset + (good ? size : 0);
	}
	object->struct_done = good;
	return good;
}

/* ---- tables and unions ---- */

/* The plan's number of a table, which is given out when it is first named. */
static bool reach_table(struct compile *c, const char *owner, const char *name, int32_t index, uint16_t *out)
{
	if (index < 0 || (uint32_t)index >= c->object_count || c->objects[index].in.is_struct)
		return refuse(c, owner, "%.60s refers to a table that is not there", name);
	struct object *o = &c->objects[index];
	if (o->table == NONE) {
		o->table = (uint16_t)c->table_count;
		c->order[c->table_count++] = (uint32_t)index;
	}
	*out = o->table;
	return true;
}

static bool union_member(struct compile *c, const struct bfbs_enum *e, const struct bfbs_value *v, struct schema_member *out)
{
	if (!v->has_type || v->type.base == BFBS_NONE)
		return true;
	if (v->type.base == BFBS_STRING) {
		out->kind = SCHEMA_STRING;
		return true;
	}
	if (v->type.base != BFBS_OBJECT || v->type.index < 0 || (uint32_t)v->type.index >= c->object_count)
		return refuse(c, e->name, "%.60s is of a type that no union can have", v->name);
	const struct bfbs_object *o = &c->objects[v->type.index].in;
	if (!o->is_struct) {
		out->kind = SCHEMA_TABLE;
		return reach_table(c, e->name, v->name, v->type.index, &out->target);
	}
	if (!struct_layout(c, (uint32_t)v->type.index, 0))
		return false;
	out->kind = SCHEMA_INLINE;
	out->size = (uint32_t)o->size;
	out->align = (uint16_t)o->align;
	return true;
}

static bool reach_union(struct compile *c, const char *owner, const struct bfbs_field *f, uint16_t *out)
{
	struct bfbs_enum e;
	struct schema_member members[256] = { { 0 } };
	uint32_t count = 0;
	if (!enum_of(c, owner, f->name, f->type.index, &e))
		return false;
	if (!e.is_union)
		return refuse(c, owner, "%.60s: %.60s is not a union", f->name, e.name);
	*out = c->unions[f->type.index];
	if (*out != NONE)
		return true;
	if (!enum_items(c, (uint32_t)f->type.index, &e))
		return false;
	for (uint32_t i = 0; i < e.values; i++) {
		struct bfbs_value v;
		bfbs_read_value(c->bytes, &e, i, &v);
		if (v.value < 0 || v.value > 255)
			return refuse(c, e.name, "%.60s: a union has values up to 255", v.name);
		if (members[v.value].kind != SCHEMA_NONE)
			return refuse(c, e.name, "two of its values are %d", (int)v.value);
		if (!union_member(c, &e, &v, &members[v.value]))
			return false;
		count = MAX_OF(count, (uint32_t)v.value + 1);
	}
	struct schema_range range = { (uint32_t)(c->s->members.len / sizeof *members), count };
	buf_append(&c->s->members, members, count * sizeof *members);
	buf_append(&c->s->unions, &range, sizeof range);
	*out = c->unions[f->type.index] = (uint16_t)c->union_count++;
	return true;
}

/* The table that the attribute nested_flatbuffer means: as it is, or in a namespace around its user. */
static bool reach_nested(struct compile *c, const char *owner, const struct bfbs_field *f, struct schema_field *out,
			 struct schema_item *item)
{
	const char *wanted = bfbs_nested(c->bytes, f);
	char scope[256], name[512];
	if (!wanted)
		return true;
	if (c->nested_count++ == NESTED_MAX)
		return refuse(c, owner, "%.60s: more than %d fields with buffers nested in them", f->name, (int)NESTED_MAX);
	(void)snprintf(scope, sizeof scope, "%.200s", owner);
	for (;;) {
		char *dot = strrchr(scope, '.');
		(void)snprintf(name, sizeof name, "%s%s%.200s", dot ? (*dot = '\0', scope) : "", dot ? "." : "", wanted);
		for (uint32_t i = 0; i < c->object_count; i++) {
			if (strcmp(c->objects[i].in.name, name) != 0 || c->objects[i].in.is_struct)
				continue;
			item->nested = c->objects[i].in.name;
			out->kind = SCHEMA_NESTED;
			return reach_table(c, owner, f->name, (int32_t)i, &out->target);
		}
		if (!dot)
			return refuse(c, owner, "%.60s: there is no table %.60s to be nested in it", f->name, wanted);
	}
}

static bool vector_field(struct compile *c, const char *owner, const struct bfbs_field *f, struct schema_field *out,
			 struct schema_item *item)
{
	uint32_t align;
	out->kind = SCHEMA_VECTOR;
	out->size = 4;
	if (f->type.element == BFBS_STRING) {
		out->kind = SCHEMA_STRINGS;
		return true;
	}
	if (f->type.element == BFBS_UNION) {
		struct bfbs_enum e;
		out->kind = SCHEMA_UNIONS;
		if (!reach_union(c, owner, f, &out->target) || !enum_of(c, owner, f->name, f->type.index, &e))
			return false;
		item->ref = e.name;
		return true;
	}
	if (f->type.element == BFBS_OBJECT) {
		if (f->type.index < 0 || (uint32_t)f->type.index >= c->object_count)
			return refuse(c, owner, "%.60s refers to a type that is not there", f->name);
		if (!c->objects[f->type.index].in.is_struct) {
			out->kind = SCHEMA_TABLES;
			item->ref = c->objects[f->type.index].in.name;
			return reach_table(c, owner, f->name, f->type.index, &out->target);
		}
	}
	if (!inline_size(c, owner, f, f->type.element, 0, &out->size, &align) || !ref_of(c, owner, f, f->type.element, item))
		return false;
	return f->type.element != BFBS_UBYTE || reach_nested(c, owner, f, out, item);
}

static bool field_type(struct compile *c, const char *owner, const struct bfbs_field *f, struct schema_field *out,
		       struct schema_item *item)
{
	struct bfbs_enum e;
	uint32_t align;
	switch ((enum bfbs_base)f->type.base) {
	case BFBS_STRING:
		out->kind = SCHEMA_STRING;
		return true;
	case BFBS_VECTOR:
		return vector_field(c, owner, f, out, item);
	case BFBS_UNION:
		out->kind = SCHEMA_UNION;
		if (!reach_union(c, owner, f, &out->target) || !enum_of(c, owner, f->name, f->type.index, &e))
			return false;
		item->ref = e.name;
		return true;
	case BFBS_OBJECT:
		if (f->type.index >= 0 && (uint32_t)f->type.index < c->object_count && !c->objects[f->type.index].in.is_struct) {
			out->kind = SCHEMA_TABLE;
			item->ref = c->objects[f->type.index].in.name;
			return reach_table(c, owner, f->name, f->type.index, &out->target);
		}
		break;
	case BFBS_UTYPE: case BFBS_BOOL: case BFBS_BYTE: case BFBS_UBYTE: case BFBS_SHORT: case BFBS_USHORT: case BFBS_INT:
	case BFBS_UINT: case BFBS_LONG: case BFBS_ULONG: case BFBS_FLOAT: case BFBS_DOUBLE:
		break;
	case BFBS_NONE: case BFBS_ARRAY: case BFBS_BASES:
		return refuse(c, owner, "%.60s: a table cannot have a field of this type", f->name);
	default:
		return refuse(c, owner, "%.60s: its type %u is not known", f->name, (unsigned)f->type.base);
	}
	out->kind = SCHEMA_INLINE;
	if (!inline_size(c, owner, f, f->type.base, 0, &out->size, &align))
		return false;
	out->align = (uint16_t)align;
	return ref_of(c, owner, f, f->type.base, item);
}

/* A union has the field of its type right before it, of the same enum. */
static bool union_paired(const struct bfbs_field *f, const struct bfbs_field *before)
{
	if (f->type.base == BFBS_UNION)
		return before->type.base == BFBS_UTYPE && before->type.index == f->type.index;
	return before->type.base == BFBS_VECTOR && before->type.element == BFBS_UTYPE && before->type.index == f->type.index;
}

static bool table_field(struct compile *c, const struct bfbs_object *o, const struct bfbs_field *f,
			const struct bfbs_field *before)
{
	struct schema_field out = { .slot = (uint16_t)(4 + 2 * f->id), .required = f->required };
	struct schema_item item = { .kind = ITEM_FIELD, .base = f->type.base, .element = f->type.element,
				    .required = f->required, .deprecated = f->deprecated, .optional = f->optional,
				    .owner = o->name, .name = f->name, .ref = "", .nested = "", .number = f->id,
				    .default_integer = f->default_integer, .default_real = f->default_real };
	bool is_union = f->type.base == BFBS_UNION || (f->type.base == BFBS_VECTOR && f->type.element == BFBS_UNION);
	if (!name_good(f->name))
		return refuse(c, o->name, "a field without a proper name");
	if (f->offset != out.slot)
		return refuse(c, o->name, "%.60s: slot %u does not follow from id %u", f->name, f->offset, f->id);
	if (is_union && (!before || !union_paired(f, before)))
		return refuse(c, o->name, "%.60s: the field with the type of this union is not before it", f->name);
	if (!field_type(c, o->name, f, &out, &item))
		return false;
	bool scalar = out.kind == SCHEMA_INLINE && f->type.base != BFBS_OBJECT;
	if (f->required && scalar)
		return refuse(c, o->name, "%.60s: a scalar cannot be required", f->name);
	if (f->deprecated) {
		out.kind = SCHEMA_NONE;
		out.required = 0;
	}
	buf_append(&c->s->fields, &out, sizeof out);
	buf_append(&c->s->names, &f->name, sizeof f->name);
	return add_item(c, &item);
}

static bool table_fields(struct compile *c, uint32_t index)
{
	const struct bfbs_object *o = &c->objects[index].in;
	struct schema_range range = { (uint32_t)(c->s->fields.len / sizeof(struct schema_field)), o->fields };
	struct schema_item head = { .kind = ITEM_TABLE, .owner = o->name, .name = "", .ref = "", .nested = "" };
	if (o->fields > SCHEMA_ITEMS_MAX)
		return refuse(c, o->name, "%u fields", o->fields);
	buf_append(&c->s->tables, &range, sizeof range);
	if (!add_item(c, &head))
		return false;
	if (o->fields == 0)
		return true;
	struct bfbs_field *fields = calloc(o->fields, sizeof *fields);
	ENSURE(fields != NULL);
	bool good = true;
	for (uint32_t i = 0; good && i < o->fields; i++) {
		struct bfbs_field f;
		bfbs_read_field(c->bytes, o, i, &f);
		good = f.id < o->fields && !fields[f.id].name;
		if (good)
			fields[f.id] = f;
		else
			(void)refuse(c, o->name, "%.60s: the ids are not 0 to %u", f.name, o->fields - 1);
	}
	for (uint32_t i = 0; good && i < o->fields; i++)
		good = table_field(c, o, &fields[i], i > 0 ? &fields[i - 1] : NULL);
	free(fields);
	return good;
}

/* ---- the whole ---- */

static bool name_is(const char *full, const char *wanted, bool last_part)
{
	const char *dot = last_part ? strrchr(full, '.') : NULL;
	return strcmp(dot ? dot + 1 : full, wanted) == 0;
}

static bool find_root(struct compile *c, struct span wanted, uint16_t *out)
{
	char name[256];
	const char *declared = bfbs_root(c->bytes);
	if (wanted.len == 0 && !declared)
		return refuse(c, "root", "the schema has no root_type and none was named");
	(void)snprintf(name, sizeof name, "%.*s", wanted.len ? (int)MIN_OF(wanted.len, 255u) : 255,
		       wanted.len ? (const char *)wanted.data : declared);
	for (int last_part = 0; last_part <= 1; last_part++) {
		uint32_t found = 0, index = 0;
		for (uint32_t i = 0; i < c->object_count; i++) {
			if (c->objects[i].in.is_struct || !name_is(c->objects[i].in.name, name, last_part))
				continue;
			found++;
			index = i;
		}
		if (found == 1)
			return reach_table(c, name, "root", (int32_t)index, out);
		if (found > 1)
			return refuse(c, "root", "%u tables are called %.80s: give the full name", found, name);
	}
	return refuse(c, "root", "the schema has no table %.80s", name);
}

static void set_identifier(struct compile *c)
{
	const char *identifier = bfbs_identifier(c->bytes), *declared = bfbs_root(c->bytes);
	struct schema_plan *plan = &c->s->plan;
	if (strlen(identifier) != 4 || !declared || strcmp(declared, c->s->root) != 0)
		return;
	memcpy(plan->identifier, identifier, 4);
	plan->has_identifier = true;
}

static bool compile_all(struct compile *c, struct span wanted)
{
	uint16_t first;
	for (uint32_t i = 0; i < c->object_count; i++) {
		bfbs_read_object(c->bytes, i, &c->objects[i].in);
		c->objects[i].table = NONE;
		if (!name_good(c->objects[i].in.name))
			return refuse(c, "bfbs", "object %u has no proper name", i);
	}
	memset(c->unions, 0xff, c->enum_count * sizeof *c->unions);
	if (!find_root(c, wanted, &first))
		return false;
	c->s->root = c->objects[c->order[0]].in.name;
	for (uint32_t i = 0; i < c->table_count; i++)
		if (!table_fields(c, c->order[i]))
			return false;
	return true;
}

static void finish(struct schema *s)
{
	const char *dot = strrchr(s->root, '.');
	s->plan.root_name = dot ? dot + 1 : s->root;
	s->plan.tables = (const struct schema_range *)(const void *)s->tables.data;
	s->plan.fields = (const struct schema_field *)(const void *)s->fields.data;
	s->plan.names = (const char *const *)(const void *)s->names.data;
	s->plan.unions = (const struct schema_range *)(const void *)s->unions.data;
	s->plan.members = (const struct schema_member *)(const void *)s->members.data;
}

static void *zeroed(size_t count, size_t size)
{
	void *p = calloc(count + 1, size);
	ENSURE(p != NULL);
	return p;
}

enum err schema_compile(struct span bfbs, struct span root, struct schema **out, char text[256])
{
	if (bfbs.len > SCHEMA_BYTES_MAX) {
		(void)snprintf(text, 256, "the schema has %zu bytes, %d are allowed", bfbs.len, (int)SCHEMA_BYTES_MAX);
		return ERR_TOO_BIG;
	}
	enum err e = bfbs_verify(bfbs, text);
	if (e != ERR_OK)
		return e == ERR_TOO_BIG ? e : ERR_INVALID_INPUT;
	struct schema *s = zeroed(1, sizeof *s);
	buf_append(&s->bytes, bfbs.data, bfbs.len);
	text[0] = '\0';
	struct compile c = { .s = s, .bytes = buf_span(&s->bytes), .text = text };
	c.object_count = bfbs_objects(c.bytes);
	c.enum_count = bfbs_enums(c.bytes);
	bool good = c.object_count <= TYPES_MAX && c.enum_count <= TYPES_MAX;
	if (!good)
		(void)refuse(&c, "bfbs", "more than %d types", (int)TYPES_MAX);
	c.objects = zeroed(c.object_count, sizeof *c.objects);
	c.unions = zeroed(c.enum_count, sizeof *c.unions);
	c.enums_done = zeroed(c.enum_count, sizeof *c.enums_done);
	c.order = zeroed(c.object_count, sizeof *c.order);
	good = good && compile_all(&c, root);
	if (good) {
		finish(s);
		set_identifier(&c);
	}
	free(c.objects);
	free(c.unions);
	free(c.enums_done);
	free(c.order);
	if (!good) {
		schema_free(s);
		return ERR_INVALID_INPUT;
	}
	*out = s;
	return ERR_OK;
}

void schema_free(struct schema *s)
{
	if (!s)
		return;
	buf_free(&s->bytes);
	buf_free(&s->tables);
	buf_free(&s->fields);
	buf_free(&s->names);
	buf_free(&s->unions);
	buf_free(&s->members);
	buf_free(&s->items);
	free(s);
}

struct span schema_root(const struct schema *s)
{
	return span_str(s->root);
}

struct span schema_bytes(const struct schema *s)
{
	return buf_span(&s->bytes);
}
