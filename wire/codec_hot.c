/* wire/codec_hot.c: builds the frames that flow by the million straight from fixed templates. In the flow:
 * session, deliver -> ENCODE -> socket.
 *
 * A FlatBuffer made by hand: root offset, vtable, table with every field present in one fixed place, then the
 * vectors. Only lengths, offsets and values change, so building is a few stores and copies. The payload pieces
 * are copied and checksummed in the same pass, then the crc is put into the meta part in front of them.
 *
 * 1. What is built here is valid for the official Verifier and reads the same as if the official library had
 *    built it; fuzz/fuzz_codec_diff.cc compares the two.
 * 2. Vectors start 8-aligned in the frame, so that the receiver can borrow structs and nested heads in place.
 * 3. A template's vtable speaks for the template's own layout: each position is asserted below. */
#include "crc32c.h"
#include "msg.h"

/* The start of a meta part whose table is behind a vtable of `fields` fields. `pad` keeps 64-bit fields aligned. */
#define TEMPLATE_HEAD(fields, padding) \
	uint32_t root;                 \
	uint16_t vtable[2 + (fields)]; \
	uint8_t pad[padding];          \
	int32_t table

struct submit_meta {
	TEMPLATE_HEAD(7, 6);
	uint64_t producer, first_seq, resolved_below;
	uint32_t head, sizes, crc;
	uint8_t confirm, end[3];
};
struct confirms_meta {
	TEMPLATE_HEAD(3, 6);
	uint64_t producer;
	uint32_t runs, text;
};
struct confirms_wait_meta { /* the same, of a refusal that says how long to wait */
	TEMPLATE_HEAD(4, 4);
	uint64_t producer;
	uint32_t runs, text, retry_after_ms, end;
};
struct credit_meta {
	TEMPLATE_HEAD(1, 2);
	uint32_t items;
};
struct deliver_meta {
	TEMPLATE_HEAD(9, 2);
	uint32_t entry, epoch, lease_ms, head, queue, items, crc, yields, once;
};
struct checked_meta { /* UPDATES, REPORT */
	TEMPLATE_HEAD(2, 0);
	uint32_t items, crc;
};
struct results_meta {
	TEMPLATE_HEAD(3, 2);
	uint32_t items, crc, kinds;
};
struct reported_meta {
	TEMPLATE_HEAD(2, 0);
	uint32_t items, text;
};
struct reported_wait_meta {
	TEMPLATE_HEAD(3, 2);
	uint32_t items, text, retry_after_ms;
};

#define TABLE(type) offsetof(struct type, table)
#define FIELD(type, name) ((uint16_t)(offsetof(struct type, name) - TABLE(type)))
/* The constant part: where the table is, how long vtable and table are, and how far back the vtable is. */
#define CONSTANTS(type, field_count, ...)                                                        \
	.root = TABLE(type),                                                                     \
	.vtable = { 4 + 2 * (field_count), sizeof(struct type) - TABLE(type), __VA_ARGS__ },     \
	.table = (int32_t)(TABLE(type) - offsetof(struct type, vtable))
#define NO_HOLES(type, size) \
	_Static_assert(sizeof(struct type) == (size) && offsetof(struct type, vtable) == 4, "template layout")
NO_HOLES(submit_meta, 72);
NO_HOLES(confirms_meta, 40);
NO_HOLES(confirms_wait_meta, 48);
NO_HOLES(reported_wait_meta, 32);
NO_HOLES(credit_meta, 20);
NO_HOLES(deliver_meta, 68);
NO_HOLES(checked_meta, 24);
NO_HOLES(results_meta, 32);
NO_HOLES(reported_meta, 24);
_Static_assert(offsetof(struct submit_meta, producer) == 32 && TABLE(submit_meta) == 28, "8-aligned fields");
_Static_assert(offsetof(struct confirms_wait_meta, producer) == 24 && TABLE(confirms_wait_meta) == 20, "8-aligned fields");
_Static_assert(offsetof(struct confirms_meta, producer) == 24 && TABLE(confirms_meta) == 20, "8-aligned fields");

/* A frame under construction. */
struct hot {
	struct buf *out;
	size_t begin, meta; /* offsets in out: they survive its growth */
};

static struct hot hot_begin(struct buf *out, enum frame_kind kind, const void *template, size_t template_size,
			    size_t more)
{
	buf_reserve(out, size_add(size_add(LIMIT_FRAME_HEADER + 64, template_size), more));
	struct hot h = { .out = out, .begin = frame_begin(out, kind, 0) };
	h.meta = out->len;
	buf_append(out, template, template_size);
	return h;
}

static void put_u32(const struct hot *h, size_t at, uint32_t value)
{
	memcpy(h->out->data + h->meta + at, &value, sizeof value);
}

/* Appends a vector whose first byte is 8-aligned, and points the field at `field` (of the template) to it.
 * `tail` zero bytes follow: a string's terminator. */
static void put_vector(const struct hot *h, size_t field, const void *items, size_t count, size_t item_size,
		       size_t tail)
{
	size_t bytes = size_mul(count, item_size);
	size_t length_at = align_up(h->out->len - h->meta + 4, 8) - 4;
	size_t gap = length_at - (h->out->len - h->meta);
	uint8_t *at = buf_extend(h->out, size_add(gap + 4 + tail, bytes));
	memset(at, 0, gap);
	uint32_t length = (uint32_t)count;
	memcpy(at + gap, &length, sizeof length);
	if (bytes > 0)
		memcpy(at + gap + 4, items, bytes);
	memset(at + gap + 4 + bytes, 0, tail);
	put_u32(h, field, (uint32_t)(length_at - field));
}

static void put_string(const struct hot *h, size_t field, struct span text)
{
	put_vector(h, field, text.data, text.len, 1, 1);
}

static size_t bytes_in(const struct span *pieces, uint32_t count)
{
	size_t bytes = 0;
	for (uint32_t i = 0; i < count; i++)
		bytes = size_add(bytes, pieces[i].len);
	ENSURE(bytes <= LIMIT_FRAME_PAYLOAD);
	return bytes;
}

/* Appends the payload part. Returns its place. */
static struct span append_payload(const struct hot *h, const struct span *pieces, uint32_t count, size_t expected)
{
	frame_meta_done(h->out, h->begin);
	size_t from = h->out->len;
	for (uint32_t i = 0; i < count; i++)
		buf_append(h->out, pieces[i].data, pieces[i].len);
	ENSURE(h->out->len - from == expected);
	return span_of(h->out->data + from, expected);
}

/* The same, with its checksum at `crc_field` of the meta part. */
static void put_payload(const struct hot *h, size_t crc_field, const struct span *pieces, uint32_t count,
			size_t expected)
{
	put_u32(h, crc_field, crc32c(0, append_payload(h, pieces, count, expected)));
	frame_end(h->out, h->begin);
}

static void finish_without_payload(const struct hot *h)
{
	frame_meta_done(h->out, h->begin);
	frame_end(h->out, h->begin);
}

void msg_encode_submit(struct buf *out, const struct msg_submit *m, const struct span *payload,
		       uint32_t payload_count)
{
	ENSURE(m->sizes.count >= 1 && m->sizes.count <= LIMIT_FRAME_ITEMS);
	ENSURE(m->head.len <= LIMIT_HEAD_BYTES);
	size_t expected = 0;
	for (uint32_t i = 0; i < m->sizes.count; i++)
		expected += m->sizes.at[i];
	size_t bytes = bytes_in(payload, payload_count);
	const struct submit_meta t = {
		CONSTANTS(submit_meta, 7, FIELD(submit_meta, producer), FIELD(submit_meta, first_seq),
			  FIELD(submit_meta, resolved_below), FIELD(submit_meta, confirm),
			  FIELD(submit_meta, head), FIELD(submit_meta, sizes), FIELD(submit_meta, crc)),
		.producer = m->producer,
		.first_seq = m->first_seq,
		.resolved_below = m->resolved_below,
		.confirm = m->confirm,
	};
	struct hot h = hot_begin(out, FRAME_SUBMIT, &t, sizeof t, m->head.len + 4u * m->sizes.count + bytes);
	put_vector(&h, offsetof(struct submit_meta, head), m->head.data, m->head.len, 1, 0);
	put_vector(&h, offsetof(struct submit_meta, sizes), m->sizes.at, m->sizes.count, 4, 0);
	put_payload(&h, offsetof(struct submit_meta, crc), payload, payload_count, expected);
}

static void encode_confirms_wait(struct buf *out, const struct msg_confirms *m)
{
	struct confirms_wait_meta t = {
		CONSTANTS(confirms_wait_meta, 4, FIELD(confirms_wait_meta, producer), FIELD(confirms_wait_meta, runs),
			  FIELD(confirms_wait_meta, text), FIELD(confirms_wait_meta, retry_after_ms)),
		.producer = m->producer, .retry_after_ms = m->retry_after_ms,
	};
	if (m->text.len == 0)
		t.vtable[4] = 0; /* absent */
	struct hot h = hot_begin(out, FRAME_CONFIRMS, &t, sizeof t,
				 sizeof(struct confirm_run) * m->run_count + m->text.len);
	put_vector(&h, offsetof(struct confirms_wait_meta, runs), m->runs, m->run_count, sizeof(struct confirm_run), 0);
	if (m->text.len > 0)
		put_string(&h, offsetof(struct confirms_wait_meta, text), m->text);
	finish_without_payload(&h);
}

void msg_encode_confirms(struct buf *out, const struct msg_confirms *m)
{
	ENSURE(m->run_count <= LIMIT_FRAME_ITEMS);
	if (m->retry_after_ms > 0) {
		encode_confirms_wait(out, m);
		return;
	}
	struct confirms_meta t = {
		CONSTANTS(confirms_meta, 3, FIELD(confirms_meta, producer), FIELD(confirms_meta, runs),
			  FIELD(confirms_meta, text)),
		.producer = m->producer,
	};
	if (m->text.len == 0)
		t.vtable[4] = 0; /* absent */
	struct hot h = hot_begin(out, FRAME_CONFIRMS, &t, sizeof t,
				 sizeof(struct confirm_run) * m->run_count + m->text.len);
	put_vector(&h, offsetof(struct confirms_meta, runs), m->runs, m->run_count, sizeof(struct confirm_run), 0);
	if (m->text.len > 0)
		put_string(&h, offsetof(struct confirms_meta, text), m->text);
	finish_without_payload(&h);
}

void msg_encode_credit(struct buf *out, const struct msg_credit *m)
{
	ENSURE(m->count <= LIMIT_FRAME_ITEMS);
	const struct credit_meta t = { CONSTANTS(credit_meta, 1, FIELD(credit_meta, items)) };
	struct hot h = hot_begin(out, FRAME_CREDIT, &t, sizeof t, sizeof(struct credit_item) * m->count);
	put_vector(&h, offsetof(struct credit_meta, items), m->items, m->count, sizeof(struct credit_item), 0);
	finish_without_payload(&h);
}

void msg_encode_deliver(struct buf *out, const struct msg_deliver *m, const struct span *payload,
			uint32_t payload_count)
{
	ENSURE(m->count >= 1 && m->count <= LIMIT_FRAME_ITEMS);
	ENSURE(m->head.len <= LIMIT_HEAD_BYTES);
	size_t expected = 0;
	for (uint32_t i = 0; i < m->count; i++)
		expected += m->items[i].size;
	size_t bytes = bytes_in(payload, payload_count);
	struct deliver_meta t = {
		CONSTANTS(deliver_meta, 9, FIELD(deliver_meta, entry), FIELD(deliver_meta, epoch),
			  FIELD(deliver_meta, lease_ms), FIELD(deliver_meta, head), FIELD(deliver_meta, queue),
			  FIELD(deliver_meta, items), FIELD(deliver_meta, crc),
			  FIELD(deliver_meta, yields), FIELD(deliver_meta, once)),
		.entry = m->entry,
		.epoch = m->epoch,
		.lease_ms = m->lease_ms,
		.once = m->once, /* its first byte is the field */
	};
	if (m->queue.len == 0)
		t.vtable[6] = 0; /* absent */
	if (m->yield_count == 0)
		t.vtable[9] = 0; /* absent */
	if (!m->once)
		t.vtable[10] = 0; /* absent */
	struct hot h = hot_begin(out, FRAME_DELIVER, &t, sizeof t,
				 m->head.len + m->queue.len + sizeof(struct deliver_item) * m->count + bytes);
	put_vector(&h, offsetof(struct deliver_meta, head), m->head.data, m->head.len, 1, 0);
	put_vector(&h, offsetof(struct deliver_meta, items), m->items, m->count, sizeof(struct deliver_item), 0);
	if (m->queue.len > 0)
		put_string(&h, offsetof(struct deliver_meta, queue), m->queue);
	if (m->yield_count > 0)
		put_vector(&h, offsetof(struct deliver_meta, yields), m->yields, m->yield_count, sizeof *m->yields, 0);
	if (!m->crc_known) {
		put_payload(&h, offsetof(struct deliver_meta, crc), payload, payload_count, expected);
		return;
	}
	put_u32(&h, offsetof(struct deliver_meta, crc), m->crc);
	(void)append_payload(&h, payload, payload_count, expected);
	frame_end(out, h.begin);
}

void msg_encode_report(struct buf *out, const struct msg_report *m, const struct span *payload,
		       uint32_t payload_count)
{
	ENSURE(m->count <= LIMIT_FRAME_ITEMS);
	size_t expected = 0;
	for (uint32_t i = 0; i < m->count; i++)
		expected += m->items[i].size;
	size_t bytes = bytes_in(payload, payload_count);
	const struct checked_meta t = {
		CONSTANTS(checked_meta, 2, FIELD(checked_meta, items), FIELD(checked_meta, crc)),
	};
	struct hot h = hot_begin(out, FRAME_REPORT, &t, sizeof t, sizeof(struct report_item) * m->count + bytes);
	put_vector(&h, offsetof(struct checked_meta, items), m->items, m->count, sizeof(struct report_item), 0);
	put_payload(&h, offsetof(struct checked_meta, crc), payload, payload_count, expected);
}

void msg_encode_results(struct buf *out, const struct msg_results *m, const struct span *payload,
			uint32_t payload_count)
{
	ENSURE(m->count <= LIMIT_FRAME_ITEMS && (m->kind_count == 0 || m->kind_count == m->count));
	size_t expected = 0;
	for (uint32_t i = 0; i < m->count; i++)
		expected += m->items[i].size;
	size_t bytes = bytes_in(payload, payload_count);
	struct results_meta t = {
		CONSTANTS(results_meta, 3, FIELD(results_meta, items), FIELD(results_meta, crc), FIELD(results_meta, kinds)),
	};
	if (m->kind_count == 0)
		t.vtable[4] = 0; /* absent */
	struct hot h = hot_begin(out, FRAME_RESULTS, &t, sizeof t,
				 sizeof(struct result_item) * m->count + m->kind_count + bytes);
	put_vector(&h, offsetof(struct results_meta, items), m->items, m->count, sizeof(struct result_item), 0);
	if (m->kind_count > 0)
		put_vector(&h, offsetof(struct results_meta, kinds), m->kinds, m->kind_count, 1, 0);
	put_payload(&h, offsetof(struct results_meta, crc), payload, payload_count, expected);
}

void msg_encode_updates(struct buf *out, const struct msg_updates *m, const struct span *payload,
			uint32_t payload_count)
{
	const struct checked_meta t = {
		CONSTANTS(checked_meta, 2, FIELD(checked_meta, items), FIELD(checked_meta, crc)),
	};
	ENSURE(m->count <= LIMIT_FRAME_ITEMS);
	size_t expected = 0;
	for (uint32_t i = 0; i < m->count; i++)
		expected += m->items[i].size;
	size_t bytes = bytes_in(payload, payload_count);
	struct hot h = hot_begin(out, FRAME_UPDATES, &t, sizeof t, sizeof(struct update_item) * m->count + bytes);
	put_vector(&h, offsetof(struct checked_meta, items), m->items, m->count, sizeof(struct update_item), 0);
	put_payload(&h, offsetof(struct checked_meta, crc), payload, payload_count, expected);
}

static void encode_reported_wait(struct buf *out, const struct msg_reported *m)
{
	struct reported_wait_meta t = {
		CONSTANTS(reported_wait_meta, 3, FIELD(reported_wait_meta, items), FIELD(reported_wait_meta, text),
			  FIELD(reported_wait_meta, retry_after_ms)),
		.retry_after_ms = m->retry_after_ms,
	};
	if (m->text.len == 0)
		t.vtable[3] = 0; /* absent */
	struct hot h = hot_begin(out, FRAME_REPORTED, &t, sizeof t,
				 sizeof(struct reported_item) * m->count + m->text.len);
	put_vector(&h, offsetof(struct reported_wait_meta, items), m->items, m->count, sizeof(struct reported_item), 0);
	if (m->text.len > 0)
		put_string(&h, offsetof(struct reported_wait_meta, text), m->text);
	finish_without_payload(&h);
}

void msg_encode_reported(struct buf *out, const struct msg_reported *m)
{
	ENSURE(m->count <= LIMIT_FRAME_ITEMS);
	if (m->retry_after_ms > 0) {
		encode_reported_wait(out, m);
		return;
	}
	struct reported_meta t = {
		CONSTANTS(reported_meta, 2, FIELD(reported_meta, items), FIELD(reported_meta, text)),
	};
	if (m->text.len == 0)
		t.vtable[3] = 0; /* absent */
	struct hot h = hot_begin(out, FRAME_REPORTED, &t, sizeof t,
				 sizeof(struct reported_item) * m->count + m->text.len);
	put_vector(&h, offsetof(struct reported_meta, items), m->items, m->count, sizeof(struct reported_item), 0);
	if (m->text.len > 0)
		put_string(&h, offsetof(struct reported_meta, text), m->text);
	finish_without_payload(&h);
}
