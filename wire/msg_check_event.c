/* wire/msg_check_event.c: judges the values of the messages of events. In the flow: frame -> VERIFY -> session.
 * The rules of msg_check.c hold. */
#include "check.h"
#include "pattern.h"

#define UNINITIALIZED __attribute__((uninitialized))
#define CHECK(call)                     \
	do {                            \
		enum err e_ = (call);   \
		if (e_ != ERR_OK)       \
			return e_;      \
	} while (0)

static enum err event_head_check(const struct event_head *h, char text[128])
{
	CHECK(check_name("EventHead.type", h->type, text));
	if (memchr(h->type.data, '*', h->type.len))
		return msg_refuse(text, ERR_INVALID_INPUT, "EventHead.type: a type has no star in it");
	CHECK(check_length("EventHead.key", h->key, LIMIT_KEY_BYTES, text));
	CHECK(check_length("EventHead.trace", h->trace, LIMIT_NAME_BYTES, text));
	CHECK(check_length("EventHead.correlation", h->correlation, LIMIT_NAME_BYTES, text));
	if (h->payload >= PAYLOAD_KINDS)
		return msg_refuse(text, ERR_INVALID_INPUT, "EventHead.payload: %u is not one of its values", (unsigned)h->payload);
	for (uint32_t i = 0; i < h->header_count; i++)
		CHECK(check_name("EventHead.headers.name", h->headers[i].name, text));
	return ERR_OK;
}

enum err event_head_decode(struct span head, struct event_head *out, char text[128])
{
	if (head.len > LIMIT_HEAD_BYTES)
		return msg_refuse(text, ERR_TOO_BIG, "EventHead: %zu bytes are over the limit of %u", head.len,
				  (unsigned)LIMIT_HEAD_BYTES);
	CHECK(codec_event_head_read(head, out, text));
	return event_head_check(out, text);
}

void event_head_encode(struct buf *out, const struct event_head *head)
{
	codec_event_head_write(out, head);
}

static enum err events_part_check(const char *name, struct span head_bytes, const struct u32s *sizes, uint32_t crc,
				  struct span payload, char text[128])
{
	struct event_head head UNINITIALIZED;
	CHECK(check_count(name, sizes->count, text));
	CHECK(event_head_decode(head_bytes, &head, text));
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < sizes->count; i++) {
		if (sizes->at[i] > LIMIT_PAYLOAD_BYTES)
			return msg_refuse(text, ERR_TOO_BIG, "%s.sizes[%u]: %u bytes is over the limit of %u", name, i,
					  sizes->at[i], (unsigned)LIMIT_PAYLOAD_BYTES);
		bytes += sizes->at[i];
	}
	CHECK(check_payload(name, payload, bytes, crc, text));
	return check_pieces(name, head.payload, *sizes, payload, text);
}

static enum err publish_check(const struct msg_publish *m, struct span payload, char text[128])
{
	if (m->sizes.count == 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "PUBLISH.sizes: empty");
	if (m->id.lo > UINT64_MAX - m->sizes.count)
		return msg_refuse(text, ERR_INVALID_INPUT, "PUBLISH.id_lo: %llu leaves no room for %u events",
				  (unsigned long long)m->id.lo, m->sizes.count);
	return events_part_check("PUBLISH", m->head, &m->sizes, m->crc, payload, text);
}

static enum err events_check(const struct msg_events *m, struct span payload, char text[128])
{
	if (m->sizes.count > 0)
		return events_part_check("EVENTS", m->head, &m->sizes, m->crc, payload, text);
	if (payload.len > 0)
		return msg_refuse(text, ERR_MALFORMED, "EVENTS: %zu bytes of payload without sizes", payload.len);
	return ERR_OK;
}

static enum err subscribe_check(const struct msg_subscribe *m, char text[128])
{
	CHECK(check_name("SUBSCRIBE.pattern", m->pattern, text));
	if (m->subscription == 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "SUBSCRIBE.subscription: 0 is not allowed");
	if (m->overflow >= OVERFLOWS)
		return check_range(text, "SUBSCRIBE.overflow", 0, m->overflow);
	struct pattern p = pattern_parse(m->pattern);
	if (p.kind == PATTERN_BAD)
		return msg_refuse(text, ERR_INVALID_INPUT, "SUBSCRIBE.pattern: neither a type nor NAMESPACE.* nor *");
	if (m->descendants && p.kind != PATTERN_EXACT)
		return msg_refuse(text, ERR_INVALID_INPUT, "SUBSCRIBE.descendants: only a type has them");
	return ERR_OK;
}

static enum err published_check(const struct msg_published *m, char text[128])
{
	CHECK(check_count("PUBLISHED.items", m->count, text));
	for (uint32_t i = 0; i < m->count; i++)
		if (m->items[i].status >= PUBLISH_STATUSES)
			return check_range(text, "PUBLISHED.items.status", i, m->items[i].status);
	return check_length("PUBLISHED.text", m->text, LIMIT_TEXT_BYTES, text);
}

enum err msg_check_event(const struct msg *msg, struct span payload, char text[128])
{
	if (msg->kind == FRAME_PUBLISH)
		return publish_check(&msg->publish, payload, text);
	if (msg->kind == FRAME_EVENTS)
		return events_check(&msg->events, payload, text);
	if (payload.len > 0)
		return msg_refuse(text, ERR_MALFORMED, "%s: %zu bytes of payload in a message without a payload part",
				  frame_kind_name((uint16_t)msg->kind), payload.len);
	if (msg->kind == FRAME_SUBSCRIBE)
		return subscribe_check(&msg->subscribe, text);
	if (msg->kind == FRAME_SUBSCRIBED)
		return check_length("SUBSCRIBED.text", msg->subscribed.text, LIMIT_TEXT_BYTES, text);
	if (msg->kind == FRAME_PUBLISHED)
		return published_check(&msg->published, text);
	if (msg->kind == FRAME_EVENT_CREDIT)
		return check_count("EVENT_CREDIT.items", msg->event_credit.count, text);
	if (msg->kind == FRAME_INTEREST)
		return check_name("INTEREST.type", msg->interest.type, text);
	return ERR_OK;
}
