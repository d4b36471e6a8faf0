/* clientlib/types.c: the registry of types. In the flow: call -> REQUEST with a TypeInfo inside -> broker -> REPLY -> rows to the caller.
 *
 * 1. Rows borrow the frame, so they are handed out while it is read. */
#include "client_impl.h"

#include "../wire/schema.h"

static const char *text_of(struct span s)
{
	return s.data ? (const char *)s.data : "";
}

struct type_rows { hlk_type_fn *each; void *ctx; uint64_t next; int bad; };

static void type_rows(struct hlk *c, const struct msg_reply *m, void *arg)
{
	struct type_rows *rows = arg;
	(void)c;
	rows->next = m->next;
	for (uint32_t i = 0; i < m->spec_count; i++) {
		struct type_info t;
		char text[128];
		if (type_info_decode(msg_reply_spec(m, i), &t, text) != ERR_OK) {
			rows->bad = HLK_MALFORMED;
			continue;
		}
		const char *aliases[TYPE_ALIASES];
		for (uint32_t k = 0; k < t.alias_count; k++)
			aliases[k] = text_of(t.aliases[k]);
		const struct hlk_type_row row = {
			.name = text_of(t.name), .root = text_of(t.root), .parent = text_of(t.parent),
			.policy = type_policy_name(t.policy), .aliases = aliases, .alias_count = t.alias_count,
			.fingerprints = t.fingerprints, .fingerprint_count = t.fingerprint_count, .schema = t.schema.data,
			.schema_size = t.schema.len, .registered_ms = t.registered_ms, .changed_ms = t.changed_ms, .answers = type_answers_name(t.answers),
		};
		rows->each(&row, rows->ctx);
	}
}

static int ask(struct hlk *c, enum verb verb, const char *name, const struct type_info *spec, bool question, const char *what)
{
	struct buf bytes = { NULL, 0, 0 };
	if (spec)
		type_info_encode(&bytes, spec);
	int code = bytes.len > LIMIT_META_BYTES / 2
			   ? error_set(c, HLK_TOO_BIG, "%s: %zu bytes", what, bytes.len)
			   : admin_ask(c, &(struct msg_request){ .verb = (uint16_t)verb, .name = span_str(name), .spec = buf_span(&bytes) },
				       question, what, NULL, NULL);
	buf_free(&bytes);
	return code;
}

int hlk_type_register(struct hlk *c, const char *name, const struct hlk_type_spec *o)
{
	struct type_info spec = { .policy = TYPE_POLICY_UNSET, .root = span_str(o->root), .parent = span_str(o->parent),
				  .schema = span_of(o->schema, o->schema_size), .alias_count = o->alias && o->alias[0] };
	spec.aliases[0] = span_str(o->alias);
	for (uint8_t i = 0; o->policy && i < TYPE_POLICIES; i++)
		if (strcmp(o->policy, type_policy_name(i)) == 0)
			spec.policy = i;
	if (o->policy && o->policy[0] && spec.policy == TYPE_POLICY_UNSET)
		return error_set(c, HLK_INVALID_INPUT, "type register: policy %.40s: open, fingerprint or verify", o->policy);
	for (uint8_t i = TYPE_ANSWERS_ONE; o->answers && i < TYPE_ANSWERS; i++)
		if (strcmp(o->answers, type_answers_name(i)) == 0)
			spec.answers = i;
	if (o->answers && o->answers[0] && !spec.answers)
		return error_set(c, HLK_INVALID_INPUT, "type register: answers %.40s: one or stream", o->answers);
	return ask(c, VERB_TYPE_REGISTER, name, &spec, false, "type register");
}

int hlk_type_list(struct hlk *c, hlk_type_fn *each, void *ctx)
{
	struct type_rows rows = { each, ctx, 0, HLK_OK };
	do {
		struct msg_request r = { .verb = VERB_TYPE_LIST, .cursor = rows.next };
		rows.next = 0;
		int code = admin_ask(c, &r, true, "type ls", type_rows, &rows);
		if (code != HLK_OK)
			return code;
	} while (rows.next != 0);
	return rows.bad ? error_set(c, rows.bad, "type ls: a row of the reply is malformed") : HLK_OK;
}

int hlk_type_show(struct hlk *c, const char *name, hlk_type_fn *each, void *ctx)
{
	struct type_rows rows = { each, ctx, 0, HLK_OK };
	struct msg_request r = { .verb = VERB_TYPE_SHOW, .name = span_str(name) };
	int code = admin_ask(c, &r, true, "type show", type_rows, &rows);
	return code == HLK_OK && rows.bad ? error_set(c, rows.bad, "type show: the reply is malformed") : code;
}

int hlk_type_check(struct hlk *c, const char *name, const void *payload, size_t size)
{
	const struct type_info spec = { .policy = TYPE_POLICY_UNSET, .payload = span_of(payload, size) };
	return ask(c, VERB_TYPE_CHECK, name, &spec, true, "type check");
}

int hlk_type_diff(struct hlk *c, const char *name, const void *schema, size_t size, const char *root)
{
	const struct type_info spec = { .policy = TYPE_POLICY_UNSET, .schema = span_of(schema, size), .root = span_str(root) };
	return ask(c, VERB_TYPE_DIFF, name, &spec, true, "type diff");
}

int hlk_type_remove(struct hlk *c, const char *name)
{
	return ask(c, VERB_TYPE_REMOVE, name, NULL, false, "type rm");
}

int hlk_fingerprint(const char *name, const void *schema, size_t size, const char *root, uint64_t *out, struct hlk_error *error)
{
	struct schema *compiled;
	char text[256] = "";
	enum err e = schema_compile(span_of(schema, size), span_str(root), &compiled, text);
	if (e != ERR_OK) {
		if (error)
			error_fill(error, (int)e, "schema: %s", text);
		return (int)e;
	}
	*out = schema_fingerprint(compiled, span_str(name));
	schema_free(compiled);
	return HLK_OK;
}
