/* broker/types_change.c: changes of the registry of types. In the flow: admin -> TYPES propose -> log ... commit -> TYPES apply.
 * The invariants stand in types_impl.h.
 *
 * The body of a record is rec_type, then name, alias, parent, root and schema, one after the other. */
#include "types_impl.h"

enum { TYPE_OP_REGISTER = 1, TYPE_OP_REMOVE = 2, REC_TYPE_VERSION = 1 };

struct rec_type {
	uint8_t version, op, policy;
	uint8_t name_size, alias_size, parent_size, root_size, answers; /* answers: 0 in old records */
	uint32_t schema_size, pad1;
};
_Static_assert(sizeof(struct rec_type) == 16, "on disk");

/* ---- judging a change ---- */

static enum err judge_alias(const struct types *t, const struct type *type, struct span name, struct span alias, char text[256])
{
	const struct type *other = types_get(t, alias);
	if (!types_name_ok("alias", alias, text))
		return ERR_INVALID_INPUT;
	if (other && other == type && types_compare(type->name, alias) != 0)
		return ERR_OK; /* it has it */
	if (other || span_eq(alias, name))
		return types_refuse(text, ERR_EXISTS, "alias %.*s is the name of a type or another type's alias", SHOWN(alias));
	if (type && type->alias_count == TYPE_ALIASES)
		return types_refuse(text, ERR_RESOURCE_EXHAUSTED, "type %.*s has %d aliases already", SHOWN(name), (int)TYPE_ALIASES);
	return ERR_OK;
}

enum err types_judge_parent(const struct types *t, const struct type *type, struct span parent, char text[256])
{
	const struct type *p = types_get(t, parent);
	uint32_t above = 0;
	if (!p)
		return types_refuse(text, ERR_NOT_FOUND, "parent %.*s is not registered", SHOWN(parent));
	for (; p; p = p->parent, above++)
		if (p == type)
			return types_refuse(text, ERR_WRONG_STATE, "parent %.*s has this type among its own ancestors", SHOWN(parent));
	/* Children of this type are as deep as the deepest; one bound for all keeps it simple. */
	uint32_t below = 0;
	for (uint32_t i = 0; type && i < t->type_count; i++) {
		uint32_t steps = 0;
		const struct type *x = t->all[i];
		while (x && x != type) {
			x = x->parent;
			steps++;
		}
		below = x ? MAX_OF(below, steps) : below;
	}
	if (above + below >= TYPE_ANCESTORS)
		return types_refuse(text, ERR_RESOURCE_EXHAUSTED, "a type has at most %d ancestors", (int)TYPE_ANCESTORS);
	return ERR_OK;
}

/* *schema is the caller's to free or to keep. */
static enum err judge_schema(const struct types *t, const struct type *type, const struct type_info *spec, struct schema **schema,
			     char text[256])
{
	char why[256];
	size_t old = type && type->schema ? schema_bytes(type->schema).len : 0;
	struct span root = spec->root.len || !type || !type->root ? spec->root : span_str(type->root);
	enum err e = schema_compile(spec->schema, root, schema, why);
	if (e != ERR_OK)
		return types_refuse(text, e, "schema: %.240s", why);
	if (t->schema_bytes - old + spec->schema.len > TYPE_SCHEMAS_BYTES)
		return types_refuse(text, ERR_RESOURCE_EXHAUSTED, "all schemas together are over %d bytes", (int)TYPE_SCHEMAS_BYTES);
	return type && type->schema ? schema_diff(type->schema, *schema, NULL, text) : ERR_OK;
}

static enum err judge_register(const struct types *t, struct span name, const struct type_info *spec, struct schema **schema,
			       char text[256])
{
	const struct type *type = types_get(t, name);
	enum err e = ERR_OK;
	*schema = NULL;
	if (!types_name_ok("name", name, text))
		return ERR_INVALID_INPUT;
	if (type && types_compare(type->name, name) != 0)
		return types_refuse(text, ERR_EXISTS, "%.*s is an alias of type %.100s", SHOWN(name), type->name);
	if (spec->alias_count > 1)
		return types_refuse(text, ERR_INVALID_INPUT, "one alias at a time");
	if (t->count + (type ? 0 : 1) + spec->alias_count > TYPES_MAX)
		return types_refuse(text, ERR_RESOURCE_EXHAUSTED, "there are %u names of types already", t->count);
	if (spec->alias_count > 0)
		e = judge_alias(t, type, name, spec->aliases[0], text);
	if (e == ERR_OK && spec->parent.len > 0)
		e = types_judge_parent(t, type, spec->parent, text);
	if (e == ERR_OK && spec->schema.len > 0)
		e = judge_schema(t, type, spec, schema, text);
	if (e == ERR_OK && spec->answers && type && type->answers && spec->answers != type->answers)
		e = types_refuse(text, ERR_INCOMPATIBLE, "answers: calls of type %.*s are %s", SHOWN(name),
				 type->answers == TYPE_ANSWERS_ONE ? "answered once" : "answered in parts");
	if (e == ERR_OK && spec->policy != TYPE_OPEN && spec->policy != TYPE_POLICY_UNSET && !*schema && !(type && type->schema))
		e = types_refuse(text, ERR_INVALID_INPUT, "policy %s needs a schema", type_policy_name(spec->policy));
	if (e != ERR_OK) {
		schema_free(*schema);
		*schema = NULL;
	}
	return e;
}

static enum err judge_remove(const struct types *t, struct span name, char text[256])
{
	const struct type *type = types_get(t, name);
	if (!type)
		return types_refuse(text, ERR_NOT_FOUND, "there is no type %.*s", SHOWN(name));
	if (types_compare(type->name, name) == 0 && type->children > 0)
		return types_refuse(text, ERR_WRONG_STATE, "type %.*s is the parent of %u others", SHOWN(name), type->children);
	return ERR_OK;
}

/* ---- propose ---- */

static enum err append(struct log *log, uint8_t op, struct span name, const struct type_info *spec, uint32_t *records, char text[256])
{
	const struct type_info none = { .policy = TYPE_POLICY_UNSET };
	const struct type_info *s = spec ? spec : &none;
	const struct span parts[] = { name, s->alias_count ? s->aliases[0] : span_of(NULL, 0), s->parent, s->root, s->schema };
	const struct rec_type rec = { .version = REC_TYPE_VERSION, .op = op, .policy = s->policy, .name_size = (uint8_t)parts[0].len,
				      .alias_size = (uint8_t)parts[1].len, .parent_size = (uint8_t)parts[2].len,
				      .root_size = (uint8_t)parts[3].len, .answers = s->answers, .schema_size = (uint32_t)parts[4].len };
	size_t size = sizeof rec;
	uint64_t addr;
	for (size_t i = 0; i < COUNT_OF(parts); i++)
		size += parts[i].len;
	uint8_t *body = log_append(log, REC_TYPE, size, &addr);
	if (!body)
		return types_refuse(text, ERR_RESOURCE_EXHAUSTED, "no room in this batch of the log");
	memcpy(body, &rec, sizeof rec);
	body += sizeof rec;
	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		if (parts[i].len > 0)
			memcpy(body, parts[i].data, parts[i].len);
		body += parts[i].len;
	}
	*records = 1;
	return ERR_OK;
}

enum err types_propose_register(struct types *t, struct log *log, struct span name, const struct type_info *spec, uint32_t *records,
				char text[256])
{
	struct schema *schema;
	*records = 0;
	enum err e = judge_register(t, name, spec, &schema, text);
	schema_free(schema);
	return e == ERR_OK ? append(log, TYPE_OP_REGISTER, name, spec, records, text) : e;
}

enum err types_propose_remove(struct types *t, struct log *log, struct span name, uint32_t *records, char text[256])
{
	*records = 0;
	enum err e = judge_remove(t, name, text);
	return e == ERR_OK ? append(log, TYPE_OP_REMOVE, name, NULL, records, text) : e;
}

/* ---- apply ---- */

static void fingerprint_add(struct type *type, struct span name)
{
	uint64_t value = schema_fingerprint(type->schema, name);
	uint32_t at = 0;
	while (at < type->fingerprint_count && type->fingerprints[at] != value)
		at++;
	if (at == type->fingerprint_count)
		type->fingerprint_count = MIN_OF(at + 1, (uint32_t)TYPE_FINGERPRINTS);
	memmove(&type->fingerprints[1], &type->fingerprints[0], MIN_OF(at, (uint32_t)TYPE_FINGERPRINTS - 1) * sizeof value);
	type->fingerprints[0] = value;
}

/* That of the type's own name comes to the front. */
static void fingerprints_renew(struct type *type)
{
	if (!type->schema)
		return;
	for (uint32_t i = 0; i < type->alias_count; i++)
		fingerprint_add(type, span_str(type->aliases[i]));
	fingerprint_add(type, span_str(type->name));
}

static void apply_register(struct types *t, struct span name, const struct type_info *spec, struct schema *schema, uint64_t time_ms)
{
	struct type *type = types_get(t, name);
	if (!type) {
		type = types_add(t, name);
		type->registered_ms = time_ms;
	}
	if (schema)
		types_set_schema(t, type, schema, schema_root(schema));
	if (spec->policy != TYPE_POLICY_UNSET)
		type->policy = spec->policy;
	if (spec->answers)
		type->answers = spec->answers;
	if (spec->alias_count > 0)
		types_add_alias(t, type, spec->aliases[0]);
	if (spec->parent.len > 0)
		types_set_parent(type, types_get(t, spec->parent));
	fingerprints_renew(type);
	type->changed_ms = time_ms;
}

static void apply_remove(struct types *t, struct span name)
{
	struct type *type = types_get(t, name);
	if (types_compare(type->name, name) == 0) {
		types_drop(t, type);
		return;
	}
	types_drop_alias(t, type, name);
}

/* False where the body does not parse. */
static bool rec_read(struct span body, struct rec_type *rec, struct span *name, struct type_info *spec)
{
	struct reader r = { .rest = body };
	*spec = (struct type_info){ 0 };
	read_into(&r, rec, sizeof *rec);
	*name = read_bytes(&r, rec->name_size);
	spec->aliases[0] = read_bytes(&r, rec->alias_size);
	spec->alias_count = rec->alias_size > 0;
	spec->parent = read_bytes(&r, rec->parent_size);
	spec->root = read_bytes(&r, rec->root_size);
	spec->schema = read_bytes(&r, rec->schema_size);
	spec->policy = rec->policy;
	spec->answers = rec->answers;
	return !r.failed && r.rest.len == 0 && rec->version == REC_TYPE_VERSION && rec->answers < TYPE_ANSWERS &&
	       (rec->policy < TYPE_POLICIES || rec->policy == TYPE_POLICY_UNSET);
}

struct span types_record_name(const struct log_record *record)
{
	struct rec_type rec;
	struct type_info spec;
	struct span name;
	return rec_read(record->body, &rec, &name, &spec) ? name : span_of(NULL, 0);
}

void types_apply(struct types *t, const struct log_entry *entry, const struct log_record *record, struct applied *out)
{
	struct rec_type rec;
	struct type_info spec;
	struct span name;
	struct schema *schema;
	char text[256];
	bool good = rec_read(record->body, &rec, &name, &spec);
	ENSURE(good);
	bool add = rec.op == TYPE_OP_REGISTER;
	enum err e = add ? judge_register(t, name, &spec, &schema, text) : judge_remove(t, name, text);
	out->origin = APPLIED_ADMIN;
	out->code = (uint16_t)e;
	out->affected = e == ERR_OK;
	if (e != ERR_OK)
		return;
	if (add)
		apply_register(t, name, &spec, schema, entry->time_ms);
	else
		apply_remove(t, name);
	t->generation++;
}
