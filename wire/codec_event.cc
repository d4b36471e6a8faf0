// wire/codec_event.cc: the messages of events and the EventHead.
// In the flow: frame -> VERIFY -> session, and back out. Invariants stand in codec.cc.
#include "codec_impl.hh"

static_assert(sizeof(struct published_item) == sizeof(hw::PublishedItem), "wire layout");
static_assert(offsetof(struct published_item, receivers) == 8, "wire layout");
static_assert(offsetof(struct published_item, rejected) == 12, "wire layout");
static_assert(offsetof(struct published_item, code) == 16, "wire layout");
static_assert(offsetof(struct published_item, status) == 18, "wire layout");
static_assert(int(hw::Overflow_MAX) == int(OVERFLOW_REJECT), "the same values");
static_assert(int(hw::PublishStatus_MAX) == int(PUBLISH_REFUSED), "the same values");

// ---------------------------------------------------------------- reading

static enum err read(const hw::Subscribe *m, struct msg_subscribe *out, char *)
{
	out->subscription = m->subscription();
	out->pattern = text_of(m->pattern());
	out->descendants = m->descendants();
	out->overflow = static_cast<uint8_t>(m->overflow());
	out->credit = m->credit();
	out->unlimited = m->unlimited();
	out->queue_max = m->queue_max();
	out->queue_bytes = m->queue_bytes();
	out->retained = m->retained();
	out->fingerprint = m->fingerprint();
	return ERR_OK;
}

static enum err read(const hw::Subscribed *m, struct msg_subscribed *out, char *)
{
	out->subscription = m->subscription();
	out->code = m->code();
	out->text = text_of(m->text());
	out->resumed = m->resumed();
	out->ended = m->ended();
	out->matched = m->matched();
	out->delivered = m->delivered();
	out->dropped = m->dropped();
	return ERR_OK;
}

static enum err read(const hw::Unsubscribe *m, struct msg_unsubscribe *out, char *)
{
	out->subscription = m->subscription();
	return ERR_OK;
}

static enum err read(const hw::Publish *m, struct msg_publish *out, char *)
{
	out->number = m->number();
	out->id = { m->id_hi(), m->id_lo() };
	out->origin = m->origin();
	out->retain = m->retain();
	out->confirm = m->confirm();
	out->elsewhere = m->elsewhere();
	out->interest = m->interest();
	out->head = bytes_of(m->head());
	(void)borrow(m->sizes(), &out->sizes.at, &out->sizes.count); // 4-aligned by the Verifier
	out->crc = m->crc();
	return ERR_OK;
}

static enum err read(const hw::Published *m, struct msg_published *out, char text[128])
{
	out->text = text_of(m->text());
	out->retry_after_ms = m->retry_after_ms();
	return borrow(m->items(), &out->items, &out->count) ? ERR_OK : misaligned("PUBLISHED.items", text);
}

static enum err read(const hw::Events *m, struct msg_events *out, char *)
{
	out->head = bytes_of(m->head());
	out->id = { m->id_hi(), m->id_lo() };
	out->origin = m->origin();
	out->retained = m->retained();
	(void)borrow(m->sizes(), &out->sizes.at, &out->sizes.count); // 4-aligned by the Verifier
	out->crc = m->crc();
	out->matched = m->matched();
	out->delivered = m->delivered();
	out->dropped = m->dropped();
	return ERR_OK;
}

static enum err read(const hw::EventCredit *m, struct msg_credit *out, char *)
{
	(void)borrow(m->items(), &out->items, &out->count); // 4-aligned by the Verifier
	return ERR_OK;
}

static enum err read(const hw::Interest *m, struct msg_interest *out, char *)
{
	out->type = text_of(m->type());
	out->wanted = m->wanted();
	out->query = m->query();
	out->ttl_ms = m->ttl_ms();
	out->number = m->number();
	return ERR_OK;
}

static enum err read_kind(uint16_t kind, struct span meta, struct msg *out, char text[128])
{
	const char *name = frame_kind_name(kind);
	switch (kind) {
	case FRAME_SUBSCRIBE: return verify_and_read<hw::Subscribe>(meta, name, &out->subscribe, text, read);
	case FRAME_SUBSCRIBED: return verify_and_read<hw::Subscribed>(meta, name, &out->subscribed, text, read);
	case FRAME_UNSUBSCRIBE: return verify_and_read<hw::Unsubscribe>(meta, name, &out->unsubscribe, text, read);
	case FRAME_PUBLISH: return verify_and_read<hw::Publish>(meta, name, &out->publish, text, read);
	case FRAME_PUBLISHED: return verify_and_read<hw::Published>(meta, name, &out->published, text, read);
	case FRAME_EVENTS: return verify_and_read<hw::Events>(meta, name, &out->events, text, read);
	case FRAME_EVENT_CREDIT: return verify_and_read<hw::EventCredit>(meta, name, &out->event_credit, text, read);
	case FRAME_INTEREST: return verify_and_read<hw::Interest>(meta, name, &out->interest, text, read);
	default: return unknown_kind(kind, text);
	}
}

extern "C" enum err codec_event_head_read(struct span head, struct event_head *out, char text[128])
{
	const hw::EventHead *m = verified<hw::EventHead>(head, "EventHead", text);
	if (!m)
		return ERR_MALFORMED;
	out->type = text_of(m->type());
	out->key = text_of(m->key());
	out->trace = text_of(m->trace());
	out->correlation = text_of(m->correlation());
	out->fingerprint = m->fingerprint();
	out->payload = static_cast<uint8_t>(m->payload());
	out->header_count = m->headers() ? m->headers()->size() : 0;
	if (out->header_count > LIMIT_HEADERS)
		return msg_refuse(text, ERR_TOO_BIG, "EventHead.headers: %u are over the limit of %u",
				  out->header_count, (unsigned)LIMIT_HEADERS);
	for (uint32_t i = 0; i < out->header_count; i++) {
		out->headers[i].name = text_of(m->headers()->Get(i)->name());
		out->headers[i].value = text_of(m->headers()->Get(i)->value());
	}
	return ERR_OK;
}

// ---------------------------------------------------------------- writing

static void write(builder &b, const struct msg_subscribe *m)
{
	auto pattern = put_name(b, m->pattern);
	b.Finish(hw::CreateSubscribe(b, m->subscription, pattern, m->descendants, static_cast<hw::Overflow>(m->overflow),
				     m->credit, m->unlimited, m->queue_max, m->queue_bytes, m->retained,
				     m->fingerprint));
}

static void write(builder &b, const struct msg_subscribed *m)
{
	auto text = put_text(b, m->text);
	b.Finish(hw::CreateSubscribed(b, m->subscription, m->code, text, m->resumed, m->ended, m->matched,
				      m->delivered, m->dropped));
}

static void write(builder &b, const struct msg_publish *m, uint32_t crc)
{
	ENSURE(m->sizes.count >= 1 && m->sizes.count <= LIMIT_FRAME_ITEMS && m->head.len > 0);
	auto head = put_head(b, m->head);
	auto sizes = b.CreateVector(m->sizes.at, m->sizes.count);
	b.Finish(hw::CreatePublish(b, m->number, m->id.hi, m->id.lo, m->origin, m->retain, m->confirm, m->elsewhere,
				   m->interest, head, sizes, crc));
}

static void write(builder &b, const struct msg_published *m)
{
	ENSURE(m->count <= LIMIT_FRAME_ITEMS);
	auto text = put_text(b, m->text);
	auto items = b.CreateVectorOfStructs(reinterpret_cast<const hw::PublishedItem *>(m->items), m->count);
	b.Finish(hw::CreatePublished(b, items, text, m->retry_after_ms));
}

static void write(builder &b, const struct msg_events *m, uint32_t crc)
{
	ENSURE(m->sizes.count <= LIMIT_FRAME_ITEMS && (m->sizes.count == 0 || m->head.len > 0));
	auto head = put_head(b, m->head);
	fb::Offset<fb::Vector<uint32_t>> sizes;
	if (m->sizes.count > 0)
		sizes = b.CreateVector(m->sizes.at, m->sizes.count);
	b.Finish(hw::CreateEvents(b, head, m->id.hi, m->id.lo, m->origin, m->retained, sizes, crc, m->matched,
				  m->delivered, m->dropped));
}

static void write(builder &b, const struct msg_credit *m)
{
	ENSURE(m->count <= LIMIT_FRAME_ITEMS);
	auto items = b.CreateVectorOfStructs(reinterpret_cast<const hw::CreditItem *>(m->items), m->count);
	b.Finish(hw::CreateEventCredit(b, items));
}

static void write(builder &b, const struct msg_interest *m)
{
	auto type = put_name(b, m->type);
	b.Finish(hw::CreateInterest(b, type, m->wanted, m->query, m->ttl_ms, m->number));
}

static void write_kind(builder &b, const struct msg *m)
{
	switch (m->kind) {
	case FRAME_SUBSCRIBE: write(b, &m->subscribe); break;
	case FRAME_SUBSCRIBED: write(b, &m->subscribed); break;
	case FRAME_UNSUBSCRIBE: b.Finish(hw::CreateUnsubscribe(b, m->unsubscribe.subscription)); break;
	case FRAME_PUBLISHED: write(b, &m->published); break;
	case FRAME_EVENT_CREDIT: write(b, &m->event_credit); break;
	case FRAME_INTEREST: write(b, &m->interest); break;
	default: ENSURE(false); break; // the two with a payload part have doors of their own
	}
}

const struct codec_area codec_event = { read_kind, write_kind };

static void write(builder &b, const struct event_head *h)
{
	ENSURE(h->header_count <= LIMIT_HEADERS);
	fb::Offset<hw::Header> made[LIMIT_HEADERS];
	for (uint32_t i = 0; i < h->header_count; i++) {
		auto name = put_name(b, h->headers[i].name);
		auto value = put_name(b, h->headers[i].value);
		made[i] = hw::CreateHeader(b, name, value);
	}
	fb::Offset<fb::Vector<fb::Offset<hw::Header>>> headers;
	if (h->header_count > 0)
		headers = b.CreateVector(made, h->header_count);
	auto type = put_name(b, h->type);
	auto key = put_text(b, h->key);
	auto trace = put_text(b, h->trace);
	auto correlation = put_text(b, h->correlation);
	b.Finish(hw::CreateEventHead(b, type, key, h->fingerprint, trace, correlation, headers,
				     static_cast<hw::PayloadKind>(h->payload)));
}

extern "C" void codec_event_head_write(struct buf *out, const struct event_head *head)
{
	heap memory;
	builder b(512, &memory);
	write(b, head);
	buf_append(out, b.GetBufferPointer(), b.GetSize());
	size_t more = -b.GetSize() & 7u;
	if (more > 0)
		memset(buf_extend(out, more), 0, more);
}

extern "C" void codec_publish_write(struct buf *out, const struct msg_publish *m, uint32_t crc)
{
	heap memory;
	builder b(512, &memory);
	write(b, m, crc);
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}

extern "C" void codec_events_write(struct buf *out, const struct msg_events *m, uint32_t crc)
{
	heap memory;
	builder b(512, &memory);
	write(b, m, crc);
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}
