/* wire/schema_diff.c: what a schema says, in words: its canonical form, the fingerprint of that, and what changed between two.
 * In the flow: registration -> DIFF against what is registered -> record.
 *
 * 1. The canonical form has everything that the layout and its reading depend on, and nothing else.
 * 2. Types are compared by their names, fields and values by name within the type; so a rename is a removal and an addition, and
 *    is refused: a program that reads the old name would find nothing. */
#include "schema_impl.h"

#include <stdarg.h>

PRINTF_LIKE(2, 3)
static void put(struct buf *out, const char *format, ...)
{
	char line[1024];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (n > 0)
		buf_append(out, line, MIN_OF((size_t)n, sizeof line - 1));
}

/* ---- the canonical form ---- */

static const char *base_name(uint8_t base)
{
	static const char *const names[BFBS_BASES] = { "none", "utype", "bool", "byte", "ubyte", "short", "ushort", "int", "uint",
						       "long", "ulong", "float", "double", "string", "vector", "object",
						       "union", "array" };
	return base < BFBS_BASES ? names[base] : "unknown";
}

struct type_text { char at[320]; };

static const char *type_text(const struct schema_item *item, struct type_text *out)
{
	bool wrapped = item->base == BFBS_VECTOR || item->base == BFBS_ARRAY;
	uint8_t base = wrapped ? item->element : item->base;
	char name[256], length[16] = "";
	if (item->ref[0] != '\0' && base != BFBS_OBJECT)
		(void)snprintf(name, sizeof name, "%s %s", base_name(base), item->ref);
	else
		(void)snprintf(name, sizeof name, "%s", item->ref[0] != '\0' ? item->ref : base_name(base));
	if (item->base == BFBS_ARRAY)
		(void)snprintf(length, sizeof length, ":%u", item->fixed_length);
	(void)snprintf(out->at, sizeof out->at, "%s%s%s%s", wrapped ? "[" : "", name, length, wrapped ? "]" : "");
	return out->at;
}

static bool is_scalar(const struct schema_item *item)
{
	return item->base >= BFBS_UTYPE && item->base <= BFBS_DOUBLE;
}

struct default_text { char at[48]; };

static const char *default_text(const struct schema_item *item, struct default_text *out)
{
	out->at[0] = '\0';
	if (!is_scalar(item))
		return out->at;
	if (item->optional)
		(void)snprintf(out->at, sizeof out->at, " = null");
	else if (item->base == BFBS_FLOAT || item->base == BFBS_DOUBLE)
		(void)snprintf(out->at, sizeof out->at, " = %.17g", item->default_real);
	else
		(void)snprintf(out->at, sizeof out->at, " = %lld", (long long)item->default_integer);
	return out->at;
}

static void put_item(struct buf *out, const struct schema_item *item)
{
	struct type_text type;
	struct default_text value;
	long long number = (long long)item->number;
	switch ((enum schema_item_kind)item->kind) {
	case ITEM_TABLE:
		put(out, "table %s\n", item->owner);
		return;
	case ITEM_FIELD:
		put(out, "field %s.%s #%lld: %s%s%s%s", item->owner, item->name, number, type_text(item, &type),
		    default_text(item, &value), item->required ? " required" : "", item->deprecated ? " deprecated" : "");
		put(out, "%s%s\n", item->nested[0] ? " nested " : "", item->nested);
		return;
	case ITEM_STRUCT:
		put(out, "struct %s: %lld bytes, aligned to %lld\n", item->owner, number, (long long)item->default_integer);
		return;
	case ITEM_MEMBER:
		put(out, "member %s.%s at %lld: %s\n", item->owner, item->name, number, type_text(item, &type));
		return;
	case ITEM_ENUM:
		put(out, "%s %s: %s\n", item->is_union ? "union" : "enum", item->owner, base_name(item->base));
		return;
	case ITEM_VALUE:
		put(out, "value %s.%s = %lld", item->owner, item->name, number);
		if (item->base != BFBS_NONE)
			put(out, ": %s", type_text(item, &type));
		put(out, "\n");
		return;
	}
}

void schema_describe(const struct schema *s, struct buf *out)
{
	uint32_t count;
	const struct schema_item *items = schema_items(s, &count);
	put(out, "root %s\n", s->root);
	if (s->plan.has_identifier)
		put(out, "identifier %02x%02x%02x%02x\n", (unsigned char)s->plan.identifier[0],
		    (unsigned char)s->plan.identifier[1], (unsigned char)s->plan.identifier[2],
		    (unsigned char)s->plan.identifier[3]);
	for (uint32_t i = 0; i < count; i++)
		put_item(out, &items[i]);
}

/* FNV-1a, 64 bits, and a finish that lets every byte reach every bit. */
static uint64_t hash_bytes(uint64_t h, struct span bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		h = (h ^ bytes.data[i]) * 0x100000001b3;
	return h;
}

uint64_t schema_fingerprint(const struct schema *s, struct span type_name)
{
	struct buf text = { NULL, 0, 0 };
	schema_describe(s, &text);
	uint64_t h = hash_bytes(0xcbf29ce484222325, type_name);
	h = hash_bytes(h, span_of("\n", 1));
	h = hash_bytes(h, buf_span(&text));
	buf_free(&text);
	h ^= h >> 32;
	h *= 0xd6e8feb86659fd93;
	h ^= h >> 32;
	return h ? h : 1;
}

/* ---- differences ---- */

struct diff {
	struct buf *lines;
	char *text;
	bool refused;
};

static void report(struct diff *d, char sign, const struct schema_item *item, const char *what)
{
	char line[700];
	(void)snprintf(line, sizeof line, "%.200s%s%.200s: %s", item->owner, item->name[0] ? "." : "", item->name, what);
	if (d->lines)
		put(d->lines, "%c %s\n", sign, line);
	if (sign != '!' || d->refused)
		return;
	(void)snprintf(d->text, 256, "%.255s", line);
	d->refused = true;
}

PRINTF_LIKE(3, 4)
static void refuse(struct diff *d, const struct schema_item *item, const char *format, ...)
{
	char what[400];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(what, sizeof what, format, args);
	va_end(args);
	report(d, '!', item, what);
}

static int by_name(const void *a, const void *b)
{
	const struct schema_item *x = *(const struct schema_item *const *)a, *y = *(const struct schema_item *const *)b;
	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	int order = strcmp(x->owner, y->owner);
	return order ? order : strcmp(x->name, y->name);
}

struct index { const struct schema_item **at; uint32_t count; };

static struct index index_of(const struct schema *s)
{
	struct index x;
	const struct schema_item *items = schema_items(s, &x.count);
	x.at = calloc((size_t)x.count + 1, sizeof *x.at);
	ENSURE(x.at != NULL);
	for (uint32_t i = 0; i < x.count; i++)
		x.at[i] = &items[i];
	qsort(x.at, x.count, sizeof *x.at, by_name);
	return x;
}

static const struct schema_item *find(const struct index *x, const struct schema_item *like)
{
	const struct schema_item **found = bsearch(&like, x->at, x->count, sizeof *x->at, by_name);
	return found ? *found : NULL;
}

static bool same_default(const struct schema_item *a, const struct schema_item *b)
{
	struct default_text x, y;
	return strcmp(default_text(a, &x), default_text(b, &y)) == 0;
}

static void compare_field(struct diff *d, const struct schema_item *a, const struct schema_item *b)
{
	struct type_text x, y;
	struct default_text u, v;
	if (a->number != b->number)
		refuse(d, a, "moved from id %lld to id %lld", (long long)a->number, (long long)b->number);
	if (strcmp(type_text(a, &x), type_text(b, &y)) != 0)
		refuse(d, a, "its type changes from %.150s to %.150s", x.at, y.at);
	else if (!same_default(a, b))
		refuse(d, a, "its default changes:%s becomes%s", default_text(a, &u), default_text(b, &v));
	if (a->required != b->required)
		refuse(d, a, b->required ? "becomes required: payloads without it exist"
					 : "is no longer required: its readers rely on it");
	if (strcmp(a->nested, b->nested) != 0)
		refuse(d, a, "what is nested in it changes from %.150s to %.150s", a->nested[0] ? a->nested : "nothing",
		       b->nested[0] ? b->nested : "nothing");
	if (a->deprecated && !b->deprecated)
		refuse(d, a, "is deprecated and comes back");
	else if (b->deprecated && !a->deprecated && a->required)
		refuse(d, a, "is required and becomes deprecated");
	else if (b->deprecated && !a->deprecated)
		report(d, '+', a, "becomes deprecated");
}

/* What was there, and what it is now. */
static void compare(struct diff *d, const struct schema_item *a, const struct schema_item *b)
{
	struct type_text x, y;
	switch ((enum schema_item_kind)a->kind) {
	case ITEM_TABLE:
		return;
	case ITEM_FIELD:
		compare_field(d, a, b);
		return;
	case ITEM_STRUCT:
		if (a->number != b->number || a->default_integer != b->default_integer)
			refuse(d, a, "the struct changes from %lld bytes to %lld", (long long)a->number, (long long)b->number);
		return;
	case ITEM_MEMBER:
		if (a->number != b->number || strcmp(type_text(a, &x), type_text(b, &y)) != 0)
			refuse(d, a, "changes within its struct");
		return;
	case ITEM_ENUM:
		if (a->base != b->base || a->is_union != b->is_union)
			refuse(d, a, "its type changes from %s to %s", base_name(a->base), base_name(b->base));
		return;
	case ITEM_VALUE:
		if (a->number != b->number)
			refuse(d, a, "its value changes from %lld to %lld", (long long)a->number, (long long)b->number);
		else if (strcmp(type_text(a, &x), type_text(b, &y)) != 0)
			refuse(d, a, "its type changes from %.150s to %.150s", x.at, y.at);
		return;
	}
}

/* The type that an item is part of. */
static bool owner_known(const struct index *x, const struct schema_item *item)
{
	struct schema_item owner = { .owner = item->owner, .name = "" };
	owner.kind = item->kind == ITEM_FIELD ? ITEM_TABLE : item->kind == ITEM_MEMBER ? ITEM_STRUCT : ITEM_ENUM;
	return find(x, &owner) != NULL;
}

static void compare_added(struct diff *d, const struct index *before, const struct schema_item *b)
{
	if (b->name[0] == '\0' || !owner_known(before, b))
		return; /* a whole type that is new: the field that leads to it is reported */
	if (b->kind == ITEM_MEMBER)
		refuse(d, b, "is new in its struct");
	else if (b->kind == ITEM_FIELD && b->required)
		refuse(d, b, "is new and required: payloads without it exist");
	else
		report(d, '+', b, "is new");
}

enum err schema_diff(const struct schema *before, const struct schema *after, struct buf *lines, char text[256])
{
	struct diff d = { lines, text, false };
	struct index old = index_of(before), new = index_of(after);
	uint32_t count;
	const struct schema_item *items = schema_items(before, &count);
	const struct schema_item root = { .owner = before->root, .name = "" };
	if (strcmp(before->root, after->root) != 0)
		refuse(&d, &root, "the root is another table, %.200s", after->root);
	if (before->plan.has_identifier != after->plan.has_identifier ||
	    memcmp(before->plan.identifier, after->plan.identifier, 4) != 0)
		refuse(&d, &root, "the file identifier changes");
	for (uint32_t i = 0; i < count; i++) {
		const struct schema_item *now = find(&new, &items[i]);
		if (now)
			compare(&d, &items[i], now);
		else if (items[i].name[0] != '\0')
			refuse(&d, &items[i], "is gone");
	}
	items = schema_items(after, &count);
	for (uint32_t i = 0; i < count; i++)
		if (!find(&old, &items[i]))
			compare_added(&d, &old, &items[i]);
	free(old.at);
	free(new.at);
	return d.refused ? ERR_INCOMPATIBLE : ERR_OK;
}
