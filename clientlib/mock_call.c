/* clientlib/mock_call.c: calls to entries of the one session. In the flow: CALL -> here -> INVOKE; ANSWER -> here -> ANSWER. See
 * mock_impl.h.
 *
 * 1. A call is in the list from when it is made to its last answer; those of one number are one call to all holders.
 * 2. The deadline is in the mock's time; the client has its own in real time. */
#include "mock_impl.h"

static void call_free(struct mock *m, struct mock_call *call)
{
	struct mock_call **at = &m->calls;
	struct mock_entry *e = mock_entry_find(m, call->entry);
	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
	if (e && e->in_flight > 0)
		e->in_flight--;
	free(call->service);
	buf_free(&call->where);
	buf_free(&call->head);
	buf_free(&call->payload);
	free(call);
}

static bool has_sisters(const struct mock *m, const struct mock_call *call)
{
	for (const struct mock_call *other = m->calls; other; other = other->next)
		if (other != call && other->number == call->number)
			return true;
	return false;
}

static void send_answer(struct mock *m, struct answer_item item, struct span bytes)
{
	const struct msg_answer a = { .items = &item, .count = 1 };
	item.size = (uint32_t)bytes.len;
	if (m->welcomed)
		msg_encode_answer(&m->output, &a, &bytes, 1);
}

static void give_answer(struct mock *m, struct mock_call *call, struct answer_item item, struct span bytes, bool last)
{
	item.call = call->number;
	item.session = call->entry ? m->session : 0;
	item.entry = call->entry;
	item.more = !last || has_sisters(m, call);
	send_answer(m, item, bytes);
	if (last)
		call_free(m, call);
}

static void end_call(struct mock *m, struct mock_call *call, enum err code, const char *text)
{
	give_answer(m, call, (struct answer_item){ .code = (uint16_t)code }, span_str(text), true);
}

static void tell_cancel(struct mock *m, const struct mock_call *call)
{
	const struct msg msg = { .kind = FRAME_CALL_CANCEL, .call_cancel = { .calls = { &call->id, 1 } } };
	if (call->entry && m->welcomed)
		mock_send(m, &msg, 0);
}

/* ---- holders ---- */

static void invoke(struct mock *m, struct mock_call *call, struct mock_entry *e)
{
	const uint64_t left = call->deadline_ms > m->now_ms ? call->deadline_ms - m->now_ms : 1;
	const struct invoke_item item = { call->id, (uint32_t)call->payload.len, (uint32_t)MIN_OF(left, UINT32_MAX) };
	const struct msg_invoke msg = { .entry = e->id, .stream = call->stream, .caller = m->session, .client = span_str("mock"),
					.head = buf_span(&call->head), .items = &item, .count = 1 };
	const struct span payload = buf_span(&call->payload);
	call->entry = e->id;
	e->in_flight++;
	msg_encode_invoke(&m->output, &msg, &payload, 1);
}

/* May this entry be asked, some day? */
static bool is_holder(struct mock *m, const struct mock_call *call, const struct mock_entry *e)
{
	if (e->by_queue)
		return false;
	if (call->binding) {
		const struct mock_binding *b = mock_binding_find(m, call->binding);
		bool leg = false;
		for (uint32_t i = 0; b && b->state != BINDING_WAITING && i < b->leg_count; i++)
			leg = leg || b->legs[i] == e->id;
		return leg;
	}
	if (!call->service)
		return e->id == call->to;
	return strcmp(e->name, call->service) == 0 && mock_entry_fits(e, buf_span(&call->where));
}

struct choice { struct mock_entry *entry; uint32_t holders; };

/* The one with the fewest calls in work, the first among equals. */
static struct choice choose(struct mock *m, const struct mock_call *call)
{
	struct choice c = { NULL, call->binding && mock_binding_find(m, call->binding) ? 1 : 0 };
	for (uint32_t i = 0; i < m->entry_count; i++) {
		struct mock_entry *e = &m->entries[i];
		if (!is_holder(m, call, e))
			continue;
		c.holders++;
		if (e->in_flight < e->capacity && (!c.entry || e->in_flight < c.entry->in_flight))
			c.entry = e;
	}
	return c;
}

static const char *nobody(const struct mock_call *call)
{
	return call->binding ? "there is no such binding" : call->service ? "no holder of this service fits" : "nobody is at this address";
}

/* ---- frames ---- */

static struct mock_call *call_new(struct mock *m, const struct msg_call *from, uint64_t number, struct span payload)
{
	struct mock_call *call = calloc(1, sizeof *call), **at = &m->calls;
	ENSURE(call != NULL);
	*call = (struct mock_call){ .id = ++m->last_call, .number = number, .deadline_ms = m->now_ms + from->deadline_ms,
				    .binding = from->binding, .stream = from->stream, .all = from->all, .wait = from->wait, .to = from->entry,
				    .service = from->service.len ? mock_text(from->service) : NULL };
	buf_append(&call->head, from->head.data, from->head.len);
	buf_append(&call->payload, payload.data, payload.len);
	while (*at)
		at = &(*at)->next;
	*at = call;
	return call;
}

static void ask_all(struct mock *m, const struct msg_call *from, uint64_t number, struct span payload, struct span where)
{
	uint32_t asked = 0;
	for (uint32_t i = 0; i < m->entry_count; i++) {
		struct mock_entry *e = &m->entries[i];
		if (e->by_queue || !span_eq(span_str(e->name), from->service) || !mock_entry_fits(e, where))
			continue;
		asked++;
		invoke(m, call_new(m, from, number, payload), e);
	}
	if (asked == 0)
		send_answer(m, (struct answer_item){ .call = number, .code = ERR_NOT_DELIVERED },
			    span_str("no holder of this service fits"));
}

/* The line of a binding has a length that its owner has chosen. */
static bool line_is_full(struct mock *m, const struct mock_call *call)
{
	const struct mock_binding *b = call->binding ? mock_binding_find(m, call->binding) : NULL;
	uint32_t waiting = 0;
	for (const struct mock_call *other = m->calls; b && other; other = other->next)
		waiting += other->binding == b->id && !other->entry;
	return b && waiting > b->waiting;
}

static void ask_one(struct mock *m, const struct msg_call *from, uint64_t number, struct span payload, struct span where)
{
	struct mock_call *call = call_new(m, from, number, payload);
	buf_append(&call->where, where.data, where.len);
	struct choice c = { NULL, 0 };
	if (from->session == 0 || from->session == m->session)
		c = choose(m, call);
	if (c.entry)
		invoke(m, call, c.entry);
	else if (c.holders == 0 && !call->wait)
		end_call(m, call, ERR_NOT_DELIVERED, nobody(call));
	else if (line_is_full(m, call))
		end_call(m, call, ERR_RESOURCE_EXHAUSTED, "all holders are busy and the line is full");
}

void mock_call(struct mock *m, const struct msg_call *from, struct span payload, uint32_t correlation)
{
	struct buf where = { NULL, 0, 0 };
	char text[128];
	size_t at = 0;
	enum err e = predicate_parse(from->where, &where, text);
	if (e != ERR_OK) {
		buf_free(&where);
		mock_error(m, correlation, FRAME_CALL, e, text);
		return;
	}
	for (uint32_t i = 0; i < from->sizes.count; i++) {
		struct span piece = span_sub(payload, at, from->sizes.at[i]);
		at += piece.len;
		(from->all ? ask_all : ask_one)(m, from, from->first + i, piece, buf_span(&where));
	}
	buf_free(&where);
}

void mock_answers(struct mock *m, const struct msg_answer *a, struct span payload)
{
	size_t at = 0;
	for (uint32_t i = 0; i < a->count; i++) {
		const struct answer_item *item = &a->items[i];
		struct span bytes = span_sub(payload, at, item->size);
		struct mock_call *call = m->calls;
		at += item->size;
		while (call && (call->id != item->call || !call->entry))
			call = call->next;
		if (call)
			give_answer(m, call, (struct answer_item){ .app_code = item->app_code, .code = item->code, .payload = item->payload }, bytes,
				    !item->more || !call->stream);
	}
}

void mock_call_cancel(struct mock *m, const struct msg_call_cancel *c)
{
	for (struct mock_call *call = m->calls, *next; call; call = next) {
		next = call->next;
		for (uint32_t i = 0; i < c->calls.count; i++) {
			if (c->calls.at[i] != call->number)
				continue;
			tell_cancel(m, call);
			call_free(m, call);
			break;
		}
	}
}

void mock_calls_lost(struct mock *m, uint32_t entry, const char *why)
{
	for (struct mock_call *call = m->calls, *next; call; call = next) {
		next = call->next;
		if (call->entry == entry)
			end_call(m, call, ERR_NOT_DELIVERED, why);
	}
}

void mock_calls_tick(struct mock *m)
{
	for (struct mock_call *call = m->calls, *next; call; call = next) {
		next = call->next;
		if (call->deadline_ms <= m->now_ms) {
			tell_cancel(m, call);
			end_call(m, call, ERR_TIMEOUT, call->entry ? "no answer within the deadline"
								   : "no holder was free within the deadline");
		} else if (!call->entry) {
			struct choice c = choose(m, call);
			if (c.entry)
				invoke(m, call, c.entry);
			else if (c.holders == 0 && !call->wait)
				end_call(m, call, ERR_NOT_DELIVERED, "the holders it waited for have gone");
		}
	}
}

void mock_calls_forget(struct mock *m)
{
	while (m->calls)
		call_free(m, m->calls);
}
