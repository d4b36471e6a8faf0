/* broker/types.c: the registry of types: its names, and the questions every message asks it. In the flow: route -> TYPES check ->
 * propose. The invariants stand in types_impl.h. */
#include "types_impl.h"

#include <stdarg.h>

/* ---- memory ---- */

struct types *types_new(void)
{
	struct types *t = calloc(1, sizeof *t);
	ENSURE(t != NULL);
	return t;
}

static char *copy_of(struct span s)
{
	char *copy = malloc(s.len + 1);
	ENSURE(copy != NULL);
	if (s.len > 0)
		memcpy(copy, s.data, s.len);
	copy[s.len] = '\0';
	return copy;
}

static void type_free(struct type *type)
{
	for (uint32_t i = 0; i < type->alias_count; i++)
		free(type->aliases[i]);
	schema_free(type->schema);
	free(type->name);
	free(type->root);
	free(type);
}

void types_free(struct types *t)
{
	for (uint32_t i = 0; i < t->type_count; i++)
		type_free(t->all[i]);
	free(t);
}

/* ---- names ---- */

int types_compare(const char *text, struct span name)
{
	size_t len = strlen(text);
	int order = memcmp(text, name.data, MIN_OF(len, name.len));
	return order ? order : (len > name.len) - (len < name.len);
}

/* Where the name is, or would be. */
static uint32_t place(const struct types *t, struct span name)
{
	uint32_t low = 0, high = t->count;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (types_compare(t->names[middle].text, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct type *types_get(const struct types *t, struct span name)
{
	if (name.len == 0)
		return NULL;
	uint32_t at = place(t, name);
	return at < t->count && types_compare(t->names[at].text, name) == 0 ? t->names[at].type : NULL;
}

static void name_add(struct types *t, const char *text, struct type *type)
{
	uint32_t at = place(t, span_str(text));
	ENSURE(t->count < TYPES_MAX);
	memmove(&t->names[at + 1], &t->names[at], (t->count - at) * sizeof *t->names);
	t->names[at] = (struct name){ text, type };
	t->count++;
}

static void name_drop(struct types *t, const char *text)
{
	uint32_t at = place(t, span_str(text));
	ENSURE(at < t->count && t->names[at].text == text);
	t->count--;
	memmove(&t->names[at], &t->names[at + 1], (t->count - at) * sizeof *t->names);
}

bool types_name_ok(const char *what, struct span name, char text[256])
{
	bool good = name.len > 0 && name.len <= LIMIT_NAME_BYTES && name.data[0] != '.';
	for (size_t i = 0; good && i < name.len; i++) {
		uint8_t c = name.data[i];
		good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
	}
	if (!good)
		(void)snprintf(text, 256, "%s: letters, digits, _ - and dots between them, at most %d", what, LIMIT_NAME_BYTES);
	return good;
}

enum err types_refuse(char text[256], enum err code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, 256, format, args);
	va_end(args);
	return code;
}

/* ---- questions ---- */

const struct type *types_find(const struct types *t, struct span name)
{
	return types_get(t, name);
}

uint64_t types_generation(const struct types *t)
{
	return t->generation;
}

struct span types_resolve(const struct types *t, struct span name)
{
	const struct type *type = t->count ? types_get(t, name) : NULL;
	return type ? span_str(type->name) : name;
}

struct span types_parent(const struct types *t, struct span name)
{
	const struct type *type = types_get(t, name);
	return type && type->parent ? span_str(type->parent->name) : span_of(NULL, 0);
}

bool types_is_a(const struct types *t, struct span child, struct span ancestor)
{
	const struct type *type = types_get(t, child), *wanted = types_get(t, ancestor);
	if (!type || !wanted)
		return span_eq(child, ancestor);
	while (type && type != wanted)
		type = type->parent;
	return type != NULL;
}

struct span type_name(const struct type *type)
{
	return span_str(type->name);
}

enum err type_admits(const struct type *type, uint64_t fingerprint, char text[256])
{
	if (!type || type->policy == TYPE_OPEN || (fingerprint == 0 && type->policy == TYPE_VERIFY))
		return ERR_OK;
	for (uint32_t i = 0; i < type->fingerprint_count; i++)
		if (type->fingerprints[i] == fingerprint)
			return ERR_OK;
	if (fingerprint == 0)
		(void)snprintf(text, 256, "type %.150s: the head states no fingerprint; its schema's is %016llx", type->name,
			       (unsigned long long)type->fingerprints[0]);
	else
		(void)snprintf(text, 256, "type %.150s: fingerprint %016llx is none of the %u known; the newest is %016llx", type->name,
			       (unsigned long long)fingerprint, type->fingerprint_count, (unsigned long long)type->fingerprints[0]);
	return ERR_SCHEMA_MISMATCH;
}

enum err type_answers(const struct type *type, bool stream, char text[256])
{
	if (!type || type->answers == TYPE_ANSWERS_UNSET || stream == (type->answers == TYPE_ANSWERS_STREAM))
		return ERR_OK;
	return types_refuse(text, ERR_SCHEMA_MISMATCH, "type %.150s: its calls are answered %s", type->name,
			    stream ? "once, and this one asks for parts" : "in parts, and this one does not ask for them");
}

bool type_verifies(const struct type *type)
{
	return type && type->policy == TYPE_VERIFY;
}

enum err type_verify(const struct type *type, struct span payload, char text[256])
{
	return schema_verify(type->schema, payload, text);
}

enum err type_takes(const struct type *type, uint8_t kind, char text[256])
{
	if (kind == PAYLOAD_INLINE || !type_verifies(type))
		return ERR_OK;
	(void)snprintf(text, 256, "payloads of type %.*s are verified, and what a %s is of is not looked at: send them inline",
		       (int)MIN_OF(type_name(type).len, 100u), (const char *)type_name(type).data, kind == PAYLOAD_BLOB ? "blob" : "reference");
	return ERR_UNSUPPORTED;
}

enum err types_check(const struct types *t, struct span name, uint64_t fingerprint, uint8_t kind, struct span payload, char text[256])
{
	const struct type *type = t->count ? types_get(t, name) : NULL;
	enum err e = type_admits(type, fingerprint, text);
	if (e == ERR_OK)
		e = type_takes(type, kind, text);
	return e == ERR_OK && type_verifies(type) ? type_verify(type, payload, text) : e;
}

/* ---- the steps of a change ---- */

struct type *types_add(struct types *t, struct span name)
{
	struct type *type = calloc(1, sizeof *type);
	ENSURE(type != NULL);
	type->name = copy_of(name);
	name_add(t, type->name, type);
	uint32_t at = t->type_count++;
	for (; at > 0 && types_compare(t->all[at - 1]->name, name) > 0; at--)
		t->all[at] = t->all[at - 1];
	t->all[at] = type;
	return type;
}

void types_add_alias(struct types *t, struct type *type, struct span alias)
{
	if (types_get(t, alias) == type)
		return;
	char *copy = copy_of(alias);
	type->aliases[type->alias_count++] = copy;
	name_add(t, copy, type);
}

void types_set_schema(struct types *t, struct type *type, struct schema *schema, struct span root)
{
	if (type->schema)
		t->schema_bytes -= schema_bytes(type->schema).len;
	schema_free(type->schema);
	type->schema = schema;
	t->schema_bytes += schema_bytes(schema).len;
	free(type->root);
	type->root = copy_of(root);
}

void types_set_parent(struct type *type, struct type *parent)
{
	if (type->parent)
		type->parent->children--;
	type->parent = parent;
	if (parent)
		parent->children++;
}

void types_drop(struct types *t, struct type *type)
{
	uint32_t at = 0;
	while (t->all[at] != type)
		at++;
	memmove(&t->all[at], &t->all[at + 1], (--t->type_count - at) * sizeof t->all[0]);
	for (uint32_t i = 0; i < type->alias_count; i++)
		name_drop(t, type->aliases[i]);
	name_drop(t, type->name);
	types_set_parent(type, NULL);
	if (type->schema)
		t->schema_bytes -= schema_bytes(type->schema).len;
	type_free(type);
}

void types_drop_alias(struct types *t, struct type *type, struct span alias)
{
	uint32_t at = 0;
	while (types_compare(type->aliases[at], alias) != 0)
		at++;
	name_drop(t, type->aliases[at]);
	free(type->aliases[at]);
	memmove(&type->aliases[at], &type->aliases[at + 1], (--type->alias_count - at) * sizeof type->aliases[0]);
}

/* ---- looking ---- */

uint32_t types_count(const struct types *t)
{
	return t->type_count;
}

static void fill(const struct type *type, struct type_info *out)
{
	*out = (struct type_info){
		.name = span_str(type->name), .root = span_str(type->root), .policy = type->policy,
		.parent = type->parent ? span_str(type->parent->name) : span_of(NULL, 0), .alias_count = type->alias_count,
		.fingerprint_count = type->fingerprint_count, .registered_ms = type->registered_ms, .changed_ms = type->changed_ms,
		.answers = type->answers,
	};
	for (uint32_t i = 0; i < type->alias_count; i++)
		out->aliases[i] = span_str(type->aliases[i]);
	memcpy(out->fingerprints, type->fingerprints, sizeof out->fingerprints);
}

void types_info(const struct types *t, uint32_t index, struct type_info *out)
{
	ENSURE(index < t->type_count);
	fill(t->all[index], out);
}

bool types_show(const struct types *t, struct span name, struct type_info *out)
{
	const struct type *type = types_get(t, name);
	if (!type)
		return false;
	fill(type, out);
	if (type->schema)
		out->schema = schema_bytes(type->schema);
	return true;
}

enum err types_diff(const struct types *t, struct span name, const struct type_info *spec, struct buf *lines, char text[256])
{
	const struct type *type = types_get(t, name);
	struct schema *schema = NULL;
	char why[256];
	if (!type || !type->schema)
		return types_refuse(text, ERR_NOT_FOUND, "%.*s: no such type, or it has no schema", SHOWN(name));
	enum err e = schema_compile(spec->schema, spec->root.len ? spec->root : span_str(type->root), &schema, why);
	if (e != ERR_OK)
		return types_refuse(text, e, "schema: %.240s", why);
	e = schema_diff(type->schema, schema, lines, text);
	schema_free(schema);
	return e;
}
