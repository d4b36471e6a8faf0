// fuzz/fuzz_codec_diff.cc: the hot encoders of wire/codec_hot.c against the official library.
//
// The input is read as the values of one hot message. Both build it. Properties: the official Verifier accepts
// both; msg_decode gives both the same answer; what it decodes says the same as what went in.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define _Static_assert static_assert
extern "C" {
#include "../wire/crc32c.h"
#include "msg_equal.h"
#include "official.h"
}
#include "hillock_generated.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

namespace fb = flatbuffers;
namespace hw = hillock::wire;

// ---------------------------------------------------------------- the official library

template <class T, class C>
static fb::Offset<fb::Vector<const T *>> put_structs(fb::FlatBufferBuilder &b, const C *items, uint32_t count)
{
	return b.CreateVectorOfStructs(reinterpret_cast<const T *>(items), count);
}

static fb::Offset<fb::String> put_text(fb::FlatBufferBuilder &b, struct span s)
{
	return s.len ? b.CreateString(reinterpret_cast<const char *>(s.data), s.len) : fb::Offset<fb::String>();
}

extern "C" void official_encode(struct buf *out, const struct msg *msg, uint32_t correlation,
				const struct span *payload, uint32_t payload_count)
{
	fb::FlatBufferBuilder b;
	uint32_t crc = 0;
	for (uint32_t i = 0; i < payload_count; i++)
		crc = crc32c(crc, payload[i]);
	if (msg->kind == FRAME_SUBMIT) {
		const struct msg_submit *m = &msg->submit;
		auto head = b.CreateVector(m->head.data, m->head.len);
		auto sizes = b.CreateVector(m->sizes.at, m->sizes.count);
		b.Finish(hw::CreateSubmit(b, m->producer, m->first_seq, m->resolved_below,
					  static_cast<hw::Confirm>(m->confirm), head, sizes, crc));
	} else if (msg->kind == FRAME_CONFIRMS) {
		auto runs = put_structs<hw::ConfirmRun>(b, msg->confirms.runs, msg->confirms.run_count);
		auto text = put_text(b, msg->confirms.text);
		b.Finish(hw::CreateConfirms(b, msg->confirms.producer, runs, text, msg->confirms.retry_after_ms));
	} else if (msg->kind == FRAME_RESULTS) {
		auto items = put_structs<hw::ResultItem>(b, msg->results.items, msg->results.count);
		b.Finish(hw::CreateResults(b, items, crc));
	} else if (msg->kind == FRAME_UPDATES) {
		auto items = put_structs<hw::UpdateItem>(b, msg->updates.items, msg->updates.count);
		b.Finish(hw::CreateUpdates(b, items, crc));
	} else if (msg->kind == FRAME_CREDIT) {
		b.Finish(hw::CreateCredit(b, put_structs<hw::CreditItem>(b, msg->credit.items, msg->credit.count)));
	} else if (msg->kind == FRAME_DELIVER) {
		const struct msg_deliver *m = &msg->deliver;
		auto head = b.CreateVector(m->head.data, m->head.len);
		auto queue = put_text(b, m->queue);
		auto items = put_structs<hw::DeliverItem>(b, m->items, m->count);
		fb::Offset<fb::Vector<uint32_t>> yields;
		if (m->yield_count > 0)
			yields = b.CreateVector(m->yields, m->yield_count);
		b.Finish(hw::CreateDeliver(b, m->entry, m->epoch, m->lease_ms, head, queue, items, crc, yields, m->once));
	} else if (msg->kind == FRAME_REPORT) {
		auto items = put_structs<hw::ReportItem>(b, msg->report.items, msg->report.count);
		b.Finish(hw::CreateReport(b, items, crc));
	} else {
		ENSURE(msg->kind == FRAME_REPORTED);
		auto items = put_structs<hw::ReportedItem>(b, msg->reported.items, msg->reported.count);
		auto text = put_text(b, msg->reported.text);
		b.Finish(hw::CreateReported(b, items, text, msg->reported.retry_after_ms));
	}
	size_t begin = frame_begin(out, msg->kind, correlation);
	buf_append(out, b.GetBufferPointer(), b.GetSize());
	frame_meta_done(out, begin);
	for (uint32_t i = 0; i < payload_count; i++)
		buf_append(out, payload[i].data, payload[i].len);
	frame_end(out, begin);
}

extern "C" bool official_verify(uint16_t kind, struct span meta)
{
	fb::Verifier verifier(meta.data, meta.len);
	switch (kind) {
	case FRAME_SUBMIT: return verifier.VerifyBuffer<hw::Submit>(nullptr);
	case FRAME_CONFIRMS: return verifier.VerifyBuffer<hw::Confirms>(nullptr);
	case FRAME_RESULTS: return verifier.VerifyBuffer<hw::Results>(nullptr);
	case FRAME_UPDATES: return verifier.VerifyBuffer<hw::Updates>(nullptr);
	case FRAME_CREDIT: return verifier.VerifyBuffer<hw::Credit>(nullptr);
	case FRAME_DELIVER: return verifier.VerifyBuffer<hw::Deliver>(nullptr);
	case FRAME_REPORT: return verifier.VerifyBuffer<hw::Report>(nullptr);
	case FRAME_REPORTED: return verifier.VerifyBuffer<hw::Reported>(nullptr);
	default: return false;
	}
}

// ---------------------------------------------------------------- messages out of the input

enum { ITEMS_MAX = 64, PIECE_MAX = 512 };

namespace {

struct values {
	struct msg msg;
	struct buf head;
	uint32_t sizes[ITEMS_MAX];
	union {
		struct confirm_run runs[ITEMS_MAX];
		struct result_item results[ITEMS_MAX];
		struct update_item updates[ITEMS_MAX];
		struct credit_item credit[ITEMS_MAX];
		struct deliver_item deliver[ITEMS_MAX];
		struct report_item report[ITEMS_MAX];
		struct reported_item reported[ITEMS_MAX];
	};
	struct span pieces[ITEMS_MAX];
	uint32_t piece_count;
};

} // namespace

static struct span read_text(struct reader *r, size_t max)
{
	size_t len = read_u8(r);
	return read_bytes(r, MIN_OF(len, max));
}

static void make_head(struct values *v, struct reader *r)
{
	static struct task_head head;
	memset(&head, 0, sizeof head);
	head.type = read_text(r, 255);
	head.queue = read_text(r, 255);
	head.key = read_text(r, 1);
	head.priority = read_u8(r) % 40;
	head.fingerprint = read_u64(r);
	head.delay_ms = read_u64(r);
	head.header_count = read_u8(r) % 4;
	for (uint32_t i = 0; i < head.header_count; i++) {
		head.headers[i].name = read_text(r, 255);
		head.headers[i].value = read_text(r, 255);
	}
	task_head_encode(&v->head, &head);
}

// Reads `count` items as they are in memory, then makes each size one that the payload part can have.
template <class C> static const C *read_items(struct reader *r, C *items, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		read_into(r, &items[i], sizeof items[i]);
	return items;
}

static uint32_t take_piece(struct values *v, struct reader *r, uint32_t wanted)
{
	struct span piece = read_bytes(r, MIN_OF(wanted % PIECE_MAX, r->rest.len));
	v->pieces[v->piece_count++] = piece;
	return static_cast<uint32_t>(piece.len);
}

template <class C> static const C *read_sized(struct values *v, struct reader *r, C *items, uint32_t count)
{
	read_items(r, items, count);
	for (uint32_t i = 0; i < count; i++)
		items[i].size = take_piece(v, r, items[i].size);
	return items;
}

static void make_submit(struct values *v, struct reader *r, uint32_t count)
{
	struct msg_submit *m = &v->msg.submit;
	make_head(v, r);
	m->producer = read_u64(r);
	m->first_seq = read_u64(r);
	m->resolved_below = read_u64(r);
	m->confirm = read_u8(r) % 5;
	m->head = buf_span(&v->head);
	count = MAX_OF(count, 1u);
	for (uint32_t i = 0; i < count; i++)
		v->sizes[i] = take_piece(v, r, read_u16(r));
	m->sizes.at = v->sizes;
	m->sizes.count = count;
}

static void make_deliver(struct values *v, struct reader *r, uint32_t count)
{
	struct msg_deliver *m = &v->msg.deliver;
	make_head(v, r);
	m->entry = read_u32(r);
	m->epoch = read_u32(r);
	m->lease_ms = read_u32(r);
	m->head = buf_span(&v->head);
	m->queue = read_text(r, 255);
	m->count = MAX_OF(count, 1u);
	m->items = read_sized(v, r, v->deliver, m->count);
	if (m->items[0].attempt % 2) {
		m->yields = read_items(r, v->sizes, m->count);
		m->yield_count = m->count;
	}
	m->once = m->items[0].attempt % 3 == 0;
}

static void make(struct values *v, struct reader *r)
{
	static const enum frame_kind kinds[] = { FRAME_SUBMIT, FRAME_CONFIRMS, FRAME_RESULTS, FRAME_CREDIT,
						 FRAME_DELIVER, FRAME_REPORT, FRAME_REPORTED, FRAME_UPDATES };
	v->msg.kind = kinds[read_u8(r) % COUNT_OF(kinds)];
	uint32_t count = read_u8(r) % ITEMS_MAX;
	if (v->msg.kind == FRAME_SUBMIT) {
		make_submit(v, r, count);
	} else if (v->msg.kind == FRAME_DELIVER) {
		make_deliver(v, r, count);
	} else if (v->msg.kind == FRAME_CONFIRMS) {
		v->msg.confirms.producer = read_u64(r);
		v->msg.confirms.text = read_text(r, 255);
		v->msg.confirms.retry_after_ms = count % 3 == 0 ? 1000 : 0;
		v->msg.confirms.runs = read_items(r, v->runs, count);
		v->msg.confirms.run_count = count;
	} else if (v->msg.kind == FRAME_RESULTS) {
		v->msg.results.items = read_sized(v, r, v->results, count);
		v->msg.results.count = count;
	} else if (v->msg.kind == FRAME_UPDATES) {
		v->msg.updates.items = read_sized(v, r, v->updates, count);
		v->msg.updates.count = count;
	} else if (v->msg.kind == FRAME_REPORT) {
		v->msg.report.items = read_sized(v, r, v->report, count);
		v->msg.report.count = count;
	} else if (v->msg.kind == FRAME_CREDIT) {
		v->msg.credit.items = read_items(r, v->credit, count);
		v->msg.credit.count = count;
	} else {
		v->msg.reported.text = read_text(r, 255);
		v->msg.reported.retry_after_ms = count % 3 == 0 ? 1000 : 0;
		v->msg.reported.items = read_items(r, v->reported, count);
		v->msg.reported.count = count;
	}
}

// ---------------------------------------------------------------- the comparison

static enum err decode(const struct buf *bytes, struct msg *out, char text[128])
{
	struct frame frame;
	size_t used = 0, need = 0;
	ENSURE(frame_decode(buf_span(bytes), LIMIT_FRAME_BYTES, &frame, &used, &need, text) == ERR_OK);
	ENSURE(used == bytes->len && frame.correlation == 3);
	ENSURE(official_verify(frame.kind, frame.meta));
	return msg_decode(&frame, out, text);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct values v;
	static struct msg from_hot, from_official;
	struct reader r = { span_of(data, size), false };
	struct buf hot = { nullptr, 0, 0 }, official = { nullptr, 0, 0 };
	char hot_text[128] = "", official_text[128] = "";
	memset(&v, 0, sizeof v);
	make(&v, &r);
	msg_encode(&hot, &v.msg, 3, v.pieces, v.piece_count);
	official_encode(&official, &v.msg, 3, v.pieces, v.piece_count);
	enum err code = decode(&hot, &from_hot, hot_text);
	ENSURE(decode(&official, &from_official, official_text) == code);
	ENSURE(strcmp(hot_text, official_text) == 0);
	if (code == ERR_OK) {
		ENSURE(msg_equal(&v.msg, &from_hot));
		ENSURE(msg_equal(&from_hot, &from_official));
	}
	buf_free(&hot);
	buf_free(&official);
	buf_free(&v.head);
	return 0;
}
