/* broker/admin_type.c: the verbs of the registry of types. In the flow: frame -> ROUTE -> admin -> (propose ->) REPLY.
 *
 * 1. A question is answered at once; a change when its record was applied. */
#include "permit.h"
#include "shard_impl.h"

enum { TYPES_PER_REPLY = 256, DIFF_TEXT_MAX = LIMIT_TEXT_BYTES };

struct ask_type {
	struct conn *c;
	struct shard *s;
	const struct msg_request *m;
	uint32_t correlation;
	struct type_info spec;
	char text[256];
};

static void reply(struct ask_type *a, struct msg_reply *r)
{
	a->s->msg.kind = FRAME_REPLY;
	a->s->msg.reply = *r;
	msg_encode(&a->c->out, &a->s->msg, a->correlation, NULL, 0);
	conn_touch(a->c);
}

static enum err answer(struct ask_type *a, enum err code)
{
	admin_reply(a->c, a->correlation, code, a->text, 0);
	return ERR_OK;
}

static enum err change(struct ask_type *a, enum err e, uint32_t records)
{
	if (e != ERR_OK)
		return answer(a, e);
	confirm_push(a->s, &(struct pending){ .kind = PENDING_ADMIN, .records = records, .conn = a->c,
					      .correlation = a->correlation });
	return ERR_OK;
}

static enum err list(struct ask_type *a)
{
	struct span specs[TYPES_PER_REPLY];
	size_t ends[TYPES_PER_REPLY];
	struct buf bytes = { NULL, 0, 0 };
	struct type_info info;
	uint32_t total = types_count(a->s->types), at = (uint32_t)MIN_OF(a->m->cursor, (uint64_t)total), count = 0;
	uint32_t limit = a->m->limit ? MIN_OF(a->m->limit, (uint32_t)TYPES_PER_REPLY) : TYPES_PER_REPLY;
	for (; at < total && count < limit; at++) {
		types_info(a->s->types, at, &info);
		if (!permit_sees(a->c->session, info.name))
			continue;
		type_info_encode(&bytes, &info);
		ends[count++] = bytes.len;
	}
	for (uint32_t i = 0; i < count; i++)
		specs[i] = span_sub(buf_span(&bytes), i ? ends[i - 1] : 0, ends[i] - (i ? ends[i - 1] : 0));
	reply(a, &(struct msg_reply){ .count = count, .next = at < total ? at : 0, .specs = specs, .spec_count = count });
	buf_free(&bytes);
	return ERR_OK;
}

static enum err show(struct ask_type *a)
{
	struct buf bytes = { NULL, 0, 0 };
	struct type_info info;
	if (!types_show(a->s->types, a->m->name, &info)) {
		(void)snprintf(a->text, sizeof a->text, "REQUEST.name: no such type");
		return answer(a, ERR_NOT_FOUND);
	}
	type_info_encode(&bytes, &info);
	struct span spec = buf_span(&bytes);
	reply(a, &(struct msg_reply){ .count = 1, .specs = &spec, .spec_count = 1 });
	buf_free(&bytes);
	return ERR_OK;
}

static enum err check(struct ask_type *a)
{
	const struct type *type = types_find(a->s->types, a->m->name);
	struct type_info info;
	if (!type || !types_show(a->s->types, a->m->name, &info) || info.schema.len == 0) {
		(void)snprintf(a->text, sizeof a->text, "REQUEST.name: no such type, or it has no schema");
		return answer(a, ERR_NOT_FOUND);
	}
	return answer(a, type_verify(type, a->spec.payload, a->text));
}

static enum err diff(struct ask_type *a)
{
	struct buf lines = { NULL, 0, 0 };
	enum err e = types_diff(a->s->types, a->m->name, &a->spec, &lines, a->text);
	struct span text = e == ERR_OK || e == ERR_INCOMPATIBLE ? buf_span(&lines) : span_str(a->text);
	reply(a, &(struct msg_reply){ .code = (uint16_t)e, .text = span_sub(text, 0, MIN_OF(text.len, (size_t)DIFF_TEXT_MAX)) });
	buf_free(&lines);
	return ERR_OK;
}

enum err admin_type(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	struct ask_type a = { .c = c, .s = c->s, .m = m, .correlation = correlation };
	uint32_t records = 0;
	enum err e = ERR_OK;
	a.spec.policy = TYPE_POLICY_UNSET;
	if (m->spec.len > 0)
		e = type_info_decode(m->spec, &a.spec, a.text);
	if (e != ERR_OK)
		return answer(&a, e);
	switch (m->verb) {
	case VERB_TYPE_LIST: return list(&a);
	case VERB_TYPE_SHOW: return show(&a);
	case VERB_TYPE_CHECK: return check(&a);
	case VERB_TYPE_DIFF: return diff(&a);
	case VERB_TYPE_REGISTER:
		e = types_propose_register(a.s->types, a.s->log, m->name, &a.spec, &records, a.text);
		return change(&a, e, records);
	default:
		e = types_propose_remove(a.s->types, a.s->log, m->name, &records, a.text);
		return change(&a, e, records);
	}
}
