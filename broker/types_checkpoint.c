/* broker/types_checkpoint.c: the registry as a section of the checkpoint, and back. In the flow: log -> CHECKPOINT -> file.
 *
 * 1. A section that was changed on its way is refused or gives a registry that keeps the invariants of types_impl.h. */
#include "types_impl.h"

enum { SECTION_VERSION = 1 };

/* ---- checkpoint: the types by name, parents as indexes ---- */

struct section_head { uint32_t version, count; uint64_t generation; };
struct section_type {
	uint32_t parent;      /* index + 1, 0 = none */
	uint32_t schema_size;
	uint64_t registered_ms, changed_ms;
	uint16_t fingerprint_count;
	uint8_t name_size, root_size, policy, alias_count, answers, pad;
};
_Static_assert(sizeof(struct section_head) == 16 && sizeof(struct section_type) == 32, "on disk");

static void put_text(struct buf *out, const char *text)
{
	uint8_t size = (uint8_t)strlen(text);
	buf_append(out, &size, 1);
	buf_append(out, text, size);
}

void types_checkpoint(const struct types *t, struct buf *out)
{
	const struct section_head head = { SECTION_VERSION, t->type_count, t->generation };
	buf_append(out, &head, sizeof head);
	for (uint32_t i = 0; i < t->type_count; i++) {
		const struct type *type = t->all[i];
		struct span schema = type->schema ? schema_bytes(type->schema) : span_of(NULL, 0);
		struct section_type s = { .schema_size = (uint32_t)schema.len, .registered_ms = type->registered_ms,
					  .changed_ms = type->changed_ms, .fingerprint_count = (uint16_t)type->fingerprint_count,
					  .name_size = (uint8_t)strlen(type->name), .policy = type->policy,
					  .root_size = (uint8_t)(type->root ? strlen(type->root) : 0),
					  .alias_count = (uint8_t)type->alias_count, .answers = type->answers };
		for (uint32_t k = 0; type->parent && k < t->type_count; k++)
			if (t->all[k] == type->parent)
				s.parent = k + 1;
		buf_append(out, &s, sizeof s);
		buf_append(out, type->name, s.name_size);
		buf_append(out, type->root, s.root_size);
		buf_append(out, schema.data, schema.len);
		buf_append(out, type->fingerprints, type->fingerprint_count * sizeof type->fingerprints[0]);
		for (uint32_t k = 0; k < type->alias_count; k++)
			put_text(out, type->aliases[k]);
	}
}

static bool get_aliases(struct types *t, struct type *type, struct reader *r, uint32_t count)
{
	char text[256];
	for (uint32_t i = 0; i < count; i++) {
		struct span alias = read_bytes(r, read_u8(r));
		if (r->failed || !types_name_ok("alias", alias, text) || types_get(t, alias) || t->count == TYPES_MAX)
			return false;
		types_add_alias(t, type, alias);
	}
	return true;
}

static bool get_type(struct types *t, struct reader *r, uint32_t *parent)
{
	struct section_type s;
	struct schema *schema = NULL;
	char text[256];
	read_into(r, &s, sizeof s);
	struct span name = read_bytes(r, s.name_size), root = read_bytes(r, s.root_size), bytes = read_bytes(r, s.schema_size);
	if (r->failed || !types_name_ok("name", name, text) || types_get(t, name) || t->count == TYPES_MAX || s.policy >= TYPE_POLICIES ||
	    s.answers >= TYPE_ANSWERS || s.alias_count > TYPE_ALIASES || s.fingerprint_count > TYPE_FINGERPRINTS)
		return false;
	if (t->type_count > 0 && types_compare(t->all[t->type_count - 1]->name, name) >= 0)
		return false;
	if (bytes.len > 0 && schema_compile(bytes, root, &schema, text) != ERR_OK)
		return false;
	struct type *type = types_add(t, name);
	if (schema)
		types_set_schema(t, type, schema, root);
	type->policy = schema ? s.policy : TYPE_OPEN;
	type->answers = s.answers;
	type->registered_ms = s.registered_ms;
	type->changed_ms = s.changed_ms;
	type->fingerprint_count = s.fingerprint_count;
	read_into(r, type->fingerprints, s.fingerprint_count * sizeof type->fingerprints[0]);
	*parent = s.parent;
	return !r->failed && (schema != NULL) == (s.fingerprint_count > 0) && get_aliases(t, type, r, s.alias_count);
}

static bool set_parents(struct types *t, const uint32_t *parents)
{
	char text[256];
	for (uint32_t i = 0; i < t->type_count; i++) {
		if (parents[i] == 0)
			continue;
		if (parents[i] > t->type_count)
			return false;
		struct type *parent = t->all[parents[i] - 1];
		if (types_judge_parent(t, t->all[i], span_str(parent->name), text) != ERR_OK)
			return false;
		types_set_parent(t->all[i], parent);
	}
	return true;
}

enum err types_restore(struct types *t, struct span section, char text[256])
{
	struct reader r = { .rest = section };
	struct section_head head;
	read_into(&r, &head, sizeof head);
	bool good = !r.failed && head.version == SECTION_VERSION && head.count <= TYPES_MAX;
	uint32_t *parents = calloc(TYPES_MAX, sizeof *parents);
	ENSURE(parents != NULL && t->count == 0);
	for (uint32_t i = 0; good && i < head.count; i++)
		good = get_type(t, &r, &parents[i]);
	good = good && r.rest.len == 0 && set_parents(t, parents);
	t->generation = head.generation;
	free(parents);
	if (good)
		return ERR_OK;
	return types_refuse(text, ERR_DAMAGED, "the checkpoint of types does not fit at byte %zu", section.len - r.rest.len);
}
