/* wire/msg_check_call.c: judges the values of the messages of calls and bindings. In the flow: frame -> VERIFY -> session.
 * The rules of msg_check.c hold. */
#include "check.h"

#define UNINITIALIZED __attribute__((uninitialized))
#define CHECK(call)                     \
	do {                            \
		enum err e_ = (call);   \
		if (e_ != ERR_OK)       \
			return e_;      \
	} while (0)

static enum err size_check(const char *name, uint32_t index, uint32_t size, uint64_t *bytes, char text[128])
{
	*bytes += size;
	if (size <= LIMIT_PAYLOAD_BYTES)
		return ERR_OK;
	return msg_refuse(text, ERR_TOO_BIG, "%s[%u]: %u bytes is over the limit of %u", name, index, size,
			  (unsigned)LIMIT_PAYLOAD_BYTES);
}

static enum err call_check(const struct msg_call *m, struct span payload, char text[128])
{
	struct event_head head UNINITIALIZED;
	uint64_t bytes = 0;
	CHECK(check_count("CALL.sizes", m->sizes.count, text));
	if (m->sizes.count == 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "CALL.sizes: empty");
	if (m->first == 0 || m->first > UINT64_MAX - m->sizes.count)
		return msg_refuse(text, ERR_INVALID_INPUT, "CALL.first: 0, or too near to the end of numbers");
	if ((m->session != 0) + (m->service.len > 0) + (m->binding != 0) != 1)
		return msg_refuse(text, ERR_INVALID_INPUT, "CALL: needs one of service, session (an address) and binding");
	if (m->all && m->service.len == 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "CALL.all: only with a service");
	if (m->wait && (m->service.len == 0 || m->all))
		return msg_refuse(text, ERR_INVALID_INPUT, "CALL.wait: only with a service, and not to all of its holders");
	if (m->deadline_ms == 0 || m->deadline_ms > LIMIT_CALL_MS)
		return msg_refuse(text, ERR_INVALID_INPUT, "CALL.deadline_ms: %u is not within 1 and %u", m->deadline_ms,
				  (unsigned)LIMIT_CALL_MS);
	CHECK(check_length("CALL.service", m->service, LIMIT_NAME_BYTES, text));
	CHECK(check_length("CALL.where", m->where, LIMIT_PREDICATE_BYTES, text));
	CHECK(event_head_decode(m->head, &head, text));
	for (uint32_t i = 0; i < m->sizes.count; i++)
		CHECK(size_check("CALL.sizes", i, m->sizes.at[i], &bytes, text));
	CHECK(check_payload("CALL", payload, bytes, m->crc, text));
	return check_pieces("CALL", head.payload, m->sizes, payload, text);
}

static enum err invoke_check(const struct msg_invoke *m, struct span payload, char text[128])
{
	struct event_head head UNINITIALIZED;
	uint64_t bytes = 0;
	CHECK(check_count("INVOKE.items", m->count, text));
	if (m->count == 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "INVOKE.items: empty");
	CHECK(check_length("INVOKE.client", m->client, LIMIT_NAME_BYTES, text));
	CHECK(event_head_decode(m->head, &head, text));
	for (uint32_t i = 0; i < m->count; i++)
		CHECK(size_check("INVOKE.items", i, m->items[i].size, &bytes, text));
	CHECK(check_payload("INVOKE", payload, bytes, m->crc, text));
	for (uint32_t i = 0, at = 0; i < m->count; at += m->items[i++].size)
		CHECK(payload_check("INVOKE", head.payload, span_sub(payload, at, m->items[i].size), text));
	return ERR_OK;
}

static enum err answer_check(const struct msg_answer *m, struct span payload, char text[128])
{
	uint64_t bytes = 0;
	CHECK(check_count("ANSWER.items", m->count, text));
	for (uint32_t i = 0; i < m->count; i++)
		CHECK(size_check("ANSWER.items", i, m->items[i].size, &bytes, text));
	CHECK(check_payload("ANSWER", payload, bytes, m->crc, text));
	for (uint32_t i = 0, at = 0; i < m->count; at += m->items[i++].size)
		CHECK(payload_check("ANSWER.items", m->items[i].payload, span_sub(payload, at, m->items[i].size), text));
	return ERR_OK;
}

static enum err bind_check(const struct msg_bind *m, char text[128])
{
	if (m->binding == 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "BIND.binding: 0 is not allowed");
	if (m->desired == 0 || m->desired > LIMIT_BINDING_LEGS || m->min > m->desired)
		return msg_refuse(text, ERR_INVALID_INPUT, "BIND: desired must be within 1 and %u, and min not above it",
				  (unsigned)LIMIT_BINDING_LEGS);
	CHECK(check_name("BIND.service", m->service, text));
	return check_length("BIND.where", m->where, LIMIT_PREDICATE_BYTES, text);
}

static enum err binding_check(const struct msg_binding *m, char text[128])
{
	if (m->state == BINDING_NONE || m->state >= BINDING_STATES)
		return check_range(text, "BINDING.state", 0, m->state);
	if (m->leg_count > LIMIT_BINDING_LEGS)
		return msg_refuse(text, ERR_TOO_BIG, "BINDING.legs: %u are over the limit of %u", m->leg_count,
				  (unsigned)LIMIT_BINDING_LEGS);
	return check_length("BINDING.text", m->text, LIMIT_TEXT_BYTES, text);
}

enum err msg_check_call(const struct msg *msg, struct span payload, char text[128])
{
	if (msg->kind == FRAME_CALL)
		return call_check(&msg->call, payload, text);
	if (msg->kind == FRAME_INVOKE)
		return invoke_check(&msg->invoke, payload, text);
	if (msg->kind == FRAME_ANSWER)
		return answer_check(&msg->answer, payload, text);
	CHECK(check_no_payload(msg, payload, text));
	if (msg->kind == FRAME_CALL_CANCEL)
		return check_count("CALL_CANCEL.calls", msg->call_cancel.calls.count, text);
	if (msg->kind == FRAME_BIND)
		return bind_check(&msg->bind, text);
	return msg->kind == FRAME_BINDING ? binding_check(&msg->binding, text) : ERR_OK;
}
