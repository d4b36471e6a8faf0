/* wire/msg_check.c: judges the values of a message whose structure is good. In the flow: frame -> VERIFY -> session.
 *
 * What needs no state is refused here once, so that nothing behind has to ask again: counts, lengths, ranges,
 * sizes that add up to the payload part, its checksum.
 *
 * 1. Every text names the message and the field: it is sent back to a programmer who has to find it.
 * 2. Work is linear in the bytes of the frame (entries of a SERVE excepted: at most 256, compared in pairs). */
#include <stdarg.h>

#include "check.h"
#include "crc32c.h"

/* A head is two kilobytes, and filled by its decoder: clearing it first would cost more than reading it. */
#define UNINITIALIZED __attribute__((uninitialized))

enum err msg_refuse(char text[128], enum err code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, 128, format, args);
	va_end(args);
	return code;
}

static enum err size_refused(char text[128], const char *items, uint32_t index, uint32_t size, uint32_t limit)
{
	return msg_refuse(text, ERR_TOO_BIG, "%s[%u]: %u bytes is over the limit of %u", items, index, size, limit);
}

/* The payload part is the pieces, then fewer than eight zeros; then it must have been carried intact. */
enum err check_payload(const char *name, struct span payload, uint64_t bytes, uint32_t crc, char text[128])
{
	if (bytes > payload.len || payload.len - bytes >= 8)
		return msg_refuse(text, ERR_MALFORMED, "%s: the sizes add up to %llu, the payload part has %zu bytes",
				  name, (unsigned long long)bytes, payload.len);
	for (size_t i = (size_t)bytes; i < payload.len; i++)
		if (payload.data[i] != 0)
			return msg_refuse(text, ERR_MALFORMED, "%s: the padding of the payload part is not zero", name);
	if (crc32c(0, span_of(payload.data, (size_t)bytes)) != crc)
		return msg_refuse(text, ERR_INTEGRITY_MISMATCH, "%s.crc: not that of the payload part", name);
	return ERR_OK;
}

#define CHECK(expression)                \
	do {                             \
		enum err e_ = (expression); \
		if (e_ != ERR_OK)        \
			return e_;       \
	} while (0)

/* What it comes after: little-endian values at any alignment. */
static enum err check_after(const struct task_head *h, char text[128])
{
	CHECK(check_length("TaskHead.after", h->after, LIMIT_AFTER * sizeof(uint64_t), text));
	CHECK(check_length("TaskHead.after_back", h->after_back, LIMIT_AFTER * sizeof(uint32_t), text));
	CHECK(check_length("TaskHead.group", h->group, LIMIT_NAME_BYTES, text));
	CHECK(check_length("TaskHead.after_group", h->after_group, LIMIT_NAME_BYTES, text));
	for (size_t i = 0; i < h->after_back.len; i += sizeof(uint32_t)) {
		uint32_t back;
		memcpy(&back, h->after_back.data + i, sizeof back);
		if (back == 0 || back > LIMIT_AFTER_BACK)
			return msg_refuse(text, ERR_INVALID_INPUT, "TaskHead.after_back: %u is not in 1..%u", back,
					  (unsigned)LIMIT_AFTER_BACK);
	}
	if (h->on_failure > ON_FAILURE_RUN)
		return msg_refuse(text, ERR_INVALID_INPUT, "TaskHead.on_failure: %u is not one of its values", (unsigned)h->on_failure);
	if (h->group_size > 0 && h->after_group.len == 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "TaskHead.group_size: belongs to an after_group");
	if (h->after_group.len > 0 && span_eq(h->group, h->after_group))
		return msg_refuse(text, ERR_INVALID_INPUT, "TaskHead.after_group: a task cannot be a member of the group it waits for");
	if (h->after_group.len > 0 && h->order_key.len > 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "TaskHead.after_group: does not go together with an ordering key");
	return ERR_OK;
}

enum err task_head_check(const struct task_head *h, char text[128])
{
	CHECK(check_name("TaskHead.type", h->type, text));
	CHECK(check_length("TaskHead.queue", h->queue, LIMIT_NAME_BYTES, text));
	CHECK(check_length("TaskHead.key", h->key, LIMIT_KEY_BYTES, text));
	CHECK(check_length("TaskHead.trace", h->trace, LIMIT_NAME_BYTES, text));
	CHECK(check_length("TaskHead.correlation", h->correlation, LIMIT_NAME_BYTES, text));
	if (h->redelivery > REDELIVERY_SAFE)
		return msg_refuse(text, ERR_INVALID_INPUT, "TaskHead.redelivery: %u is not one of its values",
				  (unsigned)h->redelivery);
	if (h->payload >= PAYLOAD_KINDS)
		return msg_refuse(text, ERR_INVALID_INPUT, "TaskHead.payload: %u is not one of its values", (unsigned)h->payload);
	CHECK(check_length("TaskHead.requirements", h->requirements, LIMIT_PREDICATE_BYTES, text));
	CHECK(check_length("TaskHead.order_key", h->order_key, LIMIT_KEY_BYTES, text));
	CHECK(check_length("TaskHead.hot", h->hot, LIMIT_NAME_BYTES, text));
	CHECK(check_length("TaskHead.sticky", h->sticky, LIMIT_KEY_BYTES, text));
	CHECK(check_after(h, text));
	if (h->priority > LIMIT_PRIORITY)
		return msg_refuse(text, ERR_INVALID_INPUT, "TaskHead.priority: %u is over the limit of %u",
				  (unsigned)h->priority, (unsigned)LIMIT_PRIORITY);
	for (uint32_t i = 0; i < h->header_count; i++) {
		CHECK(check_name("TaskHead.headers.name", h->headers[i].name, text));
		CHECK(check_length("TaskHead.headers.value", h->headers[i].value, LIMIT_TEXT_BYTES, text));
	}
	return ERR_OK;
}

static enum err submit_check(const struct msg_submit *m, struct span payload, char text[128])
{
	struct task_head head UNINITIALIZED;
	CHECK(check_count("SUBMIT.sizes", m->sizes.count, text));
	if (m->sizes.count == 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "SUBMIT.sizes: empty");
	if (m->producer == 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "SUBMIT.producer: 0 is not allowed");
	if (m->first_seq == 0 || m->first_seq > UINT64_MAX - m->sizes.count)
		return msg_refuse(text, ERR_INVALID_INPUT, "SUBMIT.first_seq: %llu is out of range",
				  (unsigned long long)m->first_seq);
	if (m->confirm > CONFIRM_NONE)
		return check_range(text, "SUBMIT.confirm", 0, m->confirm);
	CHECK(task_head_decode(m->head, &head, text));
	if (head.key.len > 0 && m->sizes.count > 1)
		return msg_refuse(text, ERR_INVALID_INPUT, "SUBMIT.head: a key is for one task, not for %u",
				  m->sizes.count);
	if (head.after_group.len > 0 && m->sizes.count > 1)
		return msg_refuse(text, ERR_INVALID_INPUT, "SUBMIT.head: a group has one callback, not %u", m->sizes.count);
	uint64_t edges = m->sizes.count * (uint64_t)(head.after.len / 8 + head.after_back.len / 4);
	if (edges > LIMIT_AFTER_EDGES)
		return msg_refuse(text, ERR_TOO_BIG, "SUBMIT.head: all its tasks wait for %llu tasks, the limit is %u",
				  (unsigned long long)edges, (unsigned)LIMIT_AFTER_EDGES);
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < m->sizes.count; i++) {
		if (m->sizes.at[i] > LIMIT_PAYLOAD_BYTES)
			return size_refused(text, "SUBMIT.sizes", i, m->sizes.at[i], LIMIT_PAYLOAD_BYTES);
		bytes += m->sizes.at[i];
	}
	CHECK(check_payload("SUBMIT", payload, bytes, m->crc, text));
	return check_pieces("SUBMIT", head.payload, m->sizes, payload, text);
}

static enum err confirms_check(const struct msg_confirms *m, char text[128])
{
	CHECK(check_count("CONFIRMS.runs", m->run_count, text));
	CHECK(check_length("CONFIRMS.text", m->text, LIMIT_TEXT_BYTES, text));
	for (uint32_t i = 0; i < m->run_count; i++) {
		const struct confirm_run *r = &m->runs[i];
		if (r->level > CONFIRM_NONE)
			return check_range(text, "CONFIRMS.runs.level", i, r->level);
		if (r->duplicate > 1)
			return check_range(text, "CONFIRMS.runs.duplicate", i, r->duplicate);
		if (r->count == 0)
			return check_range(text, "CONFIRMS.runs.count", i, r->count);
		if (r->first_seq == 0 || r->first_seq > UINT64_MAX - r->count ||
		    r->first_task > UINT64_MAX - r->count)
			return msg_refuse(text, ERR_INVALID_INPUT,
					  "CONFIRMS.runs[%u]: first_seq or first_task is out of range", i);
	}
	return ERR_OK;
}

static enum err results_check(const struct msg_results *m, struct span payload, char text[128])
{
	CHECK(check_count("RESULTS.items", m->count, text));
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < m->count; i++) {
		if (m->items[i].state >= TASK_STATES)
			return check_range(text, "RESULTS.items.state", i, m->items[i].state);
		if (m->items[i].size > LIMIT_PAYLOAD_BYTES)
			return size_refused(text, "RESULTS.items", i, m->items[i].size, LIMIT_PAYLOAD_BYTES);
		bytes += m->items[i].size;
	}
	if (m->kind_count != 0 && m->kind_count != m->count)
		return msg_refuse(text, ERR_INVALID_INPUT, "RESULTS.kinds: %u for %u items", m->kind_count, m->count);
	for (uint32_t i = 0; i < m->kind_count; i++)
		if (m->kinds[i] >= PAYLOAD_KINDS)
			return check_range(text, "RESULTS.kinds", i, m->kinds[i]);
	CHECK(check_payload("RESULTS", payload, bytes, m->crc, text));
	for (uint32_t i = 0, at = 0; i < m->kind_count; at += m->items[i++].size)
		CHECK(payload_check("RESULTS.items", m->kinds[i], span_sub(payload, at, m->items[i].size), text));
	return ERR_OK;
}

static enum err updates_check(const struct msg_updates *m, struct span payload, char text[128])
{
	CHECK(check_count("UPDATES.items", m->count, text));
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < m->count; i++) {
		const struct update_item *u = &m->items[i];
		if (u->kind == UPDATE_NONE || u->kind > UPDATE_LAST)
			return check_range(text, "UPDATES.items.kind", i, u->kind);
		if (u->size > LIMIT_PAYLOAD_BYTES)
			return size_refused(text, "UPDATES.items", i, u->size, LIMIT_PAYLOAD_BYTES);
		bytes += u->size;
	}
	CHECK(check_payload("UPDATES", payload, bytes, m->crc, text));
	for (uint32_t i = 0, at = 0; i < m->count; at += m->items[i++].size)
		CHECK(payload_check("UPDATES.items", m->items[i].payload, span_sub(payload, at, m->items[i].size), text));
	return ERR_OK;
}

static enum err await_check(const struct msg_tasks *m, char text[128])
{
	CHECK(check_count("AWAIT.tasks", m->tasks.count, text));
	if (m->from_yield.count > m->tasks.count)
		return msg_refuse(text, ERR_INVALID_INPUT, "AWAIT.from_yield: %u for %u tasks", m->from_yield.count,
				  m->tasks.count);
	return ERR_OK;
}

static enum err serve_check(const struct msg_serve *m, char text[128])
{
	if (m->held_count > LIMIT_SERVE_HELD)
		return msg_refuse(text, ERR_TOO_BIG, "SERVE.held: %u are over the limit of %u", m->held_count,
				  (unsigned)LIMIT_SERVE_HELD);
	for (uint32_t i = 0; i < m->count; i++) {
		const struct wire_entry *e = &m->entries[i];
		CHECK(msg_check_entry("SERVE.entries", i, e, text));
		for (uint32_t j = 0; j < i; j++)
			if (m->entries[j].id == e->id)
				return msg_refuse(text, ERR_INVALID_INPUT,
						  "SERVE.entries[%u].id: %u is used by entry %u as well", i, e->id, j);
	}
	return ERR_OK;
}

static enum err credit_check(const struct msg_credit *m, char text[128])
{
	CHECK(check_count("CREDIT.items", m->count, text));
	for (uint32_t i = 0; i < m->count; i++)
		if (m->items[i].credit > LIMIT_ENTRY_CREDIT)
			return msg_refuse(text, ERR_TOO_BIG, "CREDIT.items[%u].credit: %u is over the limit of %u", i,
					  m->items[i].credit, (unsigned)LIMIT_ENTRY_CREDIT);
	return ERR_OK;
}

static enum err deliver_check(const struct msg_deliver *m, struct span payload, char text[128])
{
	struct task_head head UNINITIALIZED;
	CHECK(check_count("DELIVER.items", m->count, text));
	if (m->count == 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "DELIVER.items: empty");
	CHECK(check_length("DELIVER.queue", m->queue, LIMIT_NAME_BYTES, text));
	if (m->yield_count != 0 && m->yield_count != m->count)
		return msg_refuse(text, ERR_INVALID_INPUT, "DELIVER.yields: %u for %u items", m->yield_count, m->count);
	CHECK(task_head_decode(m->head, &head, text));
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < m->count; i++) {
		if (m->items[i].size > LIMIT_PAYLOAD_BYTES)
			return size_refused(text, "DELIVER.items", i, m->items[i].size, LIMIT_PAYLOAD_BYTES);
		bytes += m->items[i].size;
	}
	return check_payload("DELIVER", payload, bytes, m->crc, text);
}

/* How many bytes a verb may carry: a result, an error text, or nothing. */
static uint32_t report_size_max(uint8_t verb)
{
	if (verb == REPORT_COMPLETE || verb == REPORT_YIELD)
		return LIMIT_PAYLOAD_BYTES;
	bool text = verb == REPORT_FAIL || verb == REPORT_REJECT || verb == REPORT_PROGRESS || verb == REPORT_LOG;
	return text ? LIMIT_TEXT_BYTES : 0;
}

static enum err report_pieces_check(const struct msg_report *m, struct span payload, char text[128])
{
	for (uint32_t i = 0, at = 0; i < m->count; at += m->items[i++].size) {
		uint8_t kinds = m->items[i].flags & (REPORT_FLAG_BLOB | REPORT_FLAG_REFERENCE);
		if (kinds == 0)
			continue;
		if (kinds == (REPORT_FLAG_BLOB | REPORT_FLAG_REFERENCE) ||
		    (m->items[i].verb != REPORT_COMPLETE && m->items[i].verb != REPORT_YIELD))
			return check_range(text, "REPORT.items.flags", i, m->items[i].flags);
		CHECK(payload_check("REPORT.items", report_payload_kind(m->items[i].flags), span_sub(payload, at, m->items[i].size), text));
	}
	return ERR_OK;
}

static enum err report_check(const struct msg_report *m, struct span payload, char text[128])
{
	CHECK(check_count("REPORT.items", m->count, text));
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < m->count; i++) {
		uint8_t verb = m->items[i].verb;
		if (verb == REPORT_NONE || verb > REPORT_LAST)
			return check_range(text, "REPORT.items.verb", i, verb);
		if (m->items[i].size > report_size_max(verb))
			return size_refused(text, "REPORT.items", i, m->items[i].size, report_size_max(verb));
		bytes += m->items[i].size;
	}
	CHECK(check_payload("REPORT", payload, bytes, m->crc, text));
	return report_pieces_check(m, payload, text);
}

static enum err reported_check(const struct msg_reported *m, char text[128])
{
	CHECK(check_count("REPORTED.items", m->count, text));
	CHECK(check_length("REPORTED.text", m->text, LIMIT_TEXT_BYTES, text));
	for (uint32_t i = 0; i < m->count; i++) {
		if (m->items[i].verb == REPORT_NONE || m->items[i].verb > REPORT_LAST)
			return check_range(text, "REPORTED.items.verb", i, m->items[i].verb);
		if (m->items[i].state >= TASK_STATES)
			return check_range(text, "REPORTED.items.state", i, m->items[i].state);
	}
	return ERR_OK;
}

static enum err signals_check(const struct msg_signals *m, char text[128])
{
	CHECK(check_count("SIGNALS.items", m->count, text));
	CHECK(check_length("SIGNALS.text", m->text, LIMIT_TEXT_BYTES, text));
	for (uint32_t i = 0; i < m->count; i++)
		if (m->items[i].signal == SIGNAL_NONE || m->items[i].signal > SIGNAL_LAST)
			return check_range(text, "SIGNALS.items.signal", i, m->items[i].signal);
	return ERR_OK;
}

static enum err request_check(const struct msg_request *m, char text[128])
{
	if (m->verb == VERB_NONE)
		return msg_refuse(text, ERR_INVALID_INPUT, "REQUEST.verb: missing");
	if (m->verb > VERB_LAST)
		return msg_refuse(text, ERR_UNSUPPORTED, "REQUEST.verb: %u is not known here", (unsigned)m->verb);
	if (m->state >= TASK_STATES)
		return msg_refuse(text, ERR_INVALID_INPUT, "REQUEST.state: %u is not one of its values",
				  (unsigned)m->state);
	CHECK(check_length("REQUEST.name", m->name, LIMIT_NAME_BYTES, text));
	CHECK(check_length("REQUEST.text", m->text, LIMIT_TEXT_BYTES, text));
	CHECK(check_length("REQUEST.type", m->type, LIMIT_NAME_BYTES, text));
	CHECK(check_count("REQUEST.tasks", m->tasks.count, text));
#define SETTING_VALUE(name, initial) m->settings.name,
	const int64_t values[] = { QUEUE_SETTINGS(SETTING_VALUE) };
#undef SETTING_VALUE
	for (size_t i = 0; i < COUNT_OF(values); i++)
		if (values[i] < -1)
			return msg_refuse(text, ERR_INVALID_INPUT, "REQUEST.settings: field %zu is below -1", i);
	return ERR_OK;
}

static enum err hello_check(const struct msg_hello *m, char text[128])
{
	if (m->version_count == 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "HELLO.versions: empty");
	CHECK(check_length("HELLO.client", m->client, LIMIT_NAME_BYTES, text));
	CHECK(check_length("HELLO.vnet", m->vnet, LIMIT_NAME_BYTES, text));
	CHECK(check_length("HELLO.identity", m->identity, LIMIT_NAME_BYTES, text));
	CHECK(check_length("HELLO.release", m->release, LIMIT_NAME_BYTES, text));
	return check_length("HELLO.token", m->token, LIMIT_TEXT_BYTES, text);
}

static enum err welcome_check(const struct msg_welcome *m, char text[128])
{
	CHECK(check_length("WELCOME.node", m->node, LIMIT_NAME_BYTES, text));
	return check_length("WELCOME.broker", m->broker, LIMIT_NAME_BYTES, text);
}

/* The kinds without a payload part. */
static enum err plain_check(const struct msg *msg, char text[128])
{
	switch (msg->kind) {
	case FRAME_HELLO: return hello_check(&msg->hello, text);
	case FRAME_WELCOME: return welcome_check(&msg->welcome, text);
	case FRAME_ERROR: return check_length("ERROR.text", msg->error.text, LIMIT_TEXT_BYTES, text);
	case FRAME_GOODBYE: return check_length("GOODBYE.text", msg->goodbye.text, LIMIT_TEXT_BYTES, text);
	case FRAME_CONFIRMS: return confirms_check(&msg->confirms, text);
	case FRAME_AWAIT: return await_check(&msg->tasks, text);
	case FRAME_FORGET: return check_count("FORGET.tasks", msg->tasks.tasks.count, text);
	case FRAME_SERVE: return serve_check(&msg->serve, text);
	case FRAME_CREDIT: return credit_check(&msg->credit, text);
	case FRAME_REPORTED: return reported_check(&msg->reported, text);
	case FRAME_SIGNALS: return signals_check(&msg->signals, text);
	case FRAME_REQUEST: return request_check(&msg->request, text);
	case FRAME_REPLY: return check_length("REPLY.text", msg->reply.text, LIMIT_TEXT_BYTES, text);
	case FRAME_PING:
	case FRAME_PONG: return ERR_OK;
	case FRAME_SUBMIT:
	case FRAME_RESULTS:
	case FRAME_UPDATES:
	case FRAME_DELIVER:
	case FRAME_REPORT:
	case FRAME_SUBSCRIBE:
	case FRAME_SUBSCRIBED:
	case FRAME_UNSUBSCRIBE:
	case FRAME_PUBLISH:
	case FRAME_PUBLISHED:
	case FRAME_EVENTS:
	case FRAME_EVENT_CREDIT:
	case FRAME_INTEREST:
	case FRAME_WATCH:
	case FRAME_UNWATCH:
	case FRAME_CHANGES:
	case FRAME_CALL:
	case FRAME_ANSWER:
	case FRAME_INVOKE:
	case FRAME_CALL_CANCEL:
	case FRAME_BIND:
	case FRAME_BINDING:
	case FRAME_UNBIND:
	case FRAME_BLOB_PUT:
	case FRAME_BLOB_STATE:
	case FRAME_BLOB_CHUNK:
	case FRAME_BLOB_END:
	case FRAME_BLOB_GET:
	case FRAME_BLOB_DATA:
	case FRAME_BLOB_MORE: break;
	}
	ENSURE(false); /* codec_read knows no other kinds */
	return ERR_UNKNOWN_KIND;
}

enum err msg_check(const struct msg *msg, struct span payload, char text[128])
{
	if (msg->kind >= FRAME_SUBSCRIBE && msg->kind <= FRAME_INTEREST)
		return msg_check_event(msg, payload, text);
	if (msg->kind >= FRAME_WATCH && msg->kind <= FRAME_CHANGES)
		return msg_check_directory(msg, payload, text);
	if (msg->kind >= FRAME_CALL && msg->kind <= FRAME_UNBIND)
		return msg_check_call(msg, payload, text);
	if (msg->kind >= FRAME_BLOB_PUT && msg->kind <= FRAME_BLOB_MORE)
		return msg_check_blob(msg, payload, text);
	if (msg->kind == FRAME_SUBMIT)
		return submit_check(&msg->submit, payload, text);
	if (msg->kind == FRAME_DELIVER)
		return deliver_check(&msg->deliver, payload, text);
	if (msg->kind == FRAME_REPORT)
		return report_check(&msg->report, payload, text);
	if (msg->kind == FRAME_UPDATES)
		return updates_check(&msg->updates, payload, text);
	if (msg->kind == FRAME_RESULTS)
		return results_check(&msg->results, payload, text);
	CHECK(check_no_payload(msg, payload, text));
	return plain_check(msg, text);
}
