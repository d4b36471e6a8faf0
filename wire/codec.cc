// wire/codec.cc: the only C++ of the broker, and only a translator: generated FlatBuffers code on one side, the
// plain structs of msg.h on the other. In the flow: socket -> frame -> VERIFY -> session.
//
// 1. Nothing is read before the official Verifier has accepted the whole meta part, with our limits.
// 2. What a C caller borrows in place has the alignment of its C type: the Verifier checks offsets of vectors to
//    4 only, so vectors of 64-bit members are checked here.
// 3. No C++ run time is needed. The library names operator new and delete in paths that cannot run (our allocator
//    is always passed); they are bound to names of our own below, so that we neither need them from libstdc++ nor
//    define them for a C++ program that links us. The namespaces are renamed for the same reason.
// 4. Sizes and counts of outgoing messages are the caller's business and ENSUREd, never clipped.
typedef decltype(sizeof 0) codec_size;
void *operator new(codec_size) __asm__("hillock_codec_new");
void *operator new[](codec_size) __asm__("hillock_codec_new_array");
void operator delete(void *) noexcept __asm__("hillock_codec_delete");
void operator delete[](void *) noexcept __asm__("hillock_codec_delete_array");

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define _Static_assert static_assert
extern "C" {
#include "codec.h"
}
#define FLATBUFFERS_ASSERT(cond) ENSURE(cond)
// The inline functions get names of our own too: in a C++ program that links us and uses FlatBuffers itself, the linker
// keeps one copy of each, and its own must not be the one that stops at our operator new.
#define flatbuffers hillock_private_flatbuffers
#define hillock hillock_private
#include "hillock_generated.h"

// Unreachable: every builder gets its own allocator, and strings are not pooled.
#define UNREACHABLE extern "C" __attribute__((visibility("hidden"), noreturn))
UNREACHABLE void hillock_codec_new()
{
	abort();
}
UNREACHABLE void hillock_codec_new_array()
{
	abort();
}
UNREACHABLE void hillock_codec_delete()
{
	abort();
}
UNREACHABLE void hillock_codec_delete_array()
{
	abort();
}
#undef UNREACHABLE

namespace fb = flatbuffers;
namespace hw = hillock::wire;

// ---------------------------------------------------------------- layout

#define SAME(c_type, fb_type) static_assert(sizeof(struct c_type) == sizeof(hw::fb_type), "wire layout")
SAME(task_ref, TaskRef);
SAME(confirm_run, ConfirmRun);
SAME(result_item, ResultItem);
SAME(credit_item, CreditItem);
SAME(deliver_item, DeliverItem);
SAME(report_item, ReportItem);
SAME(reported_item, ReportedItem);
SAME(signal_item, SignalItem);
#undef SAME
#define AT(c_type, member, offset) static_assert(offsetof(struct c_type, member) == (offset), "wire layout")
AT(task_ref, attempt, 8);
AT(task_ref, epoch, 12);
AT(confirm_run, first_task, 8);
AT(confirm_run, count, 16);
AT(confirm_run, code, 20);
AT(confirm_run, level, 22);
AT(confirm_run, duplicate, 23);
AT(result_item, size, 8);
AT(result_item, app_code, 12);
AT(result_item, code, 16);
AT(result_item, state, 18);
AT(result_item, failed, 19);
AT(deliver_item, attempt, 8);
AT(deliver_item, size, 12);
AT(report_item, size, 16);
AT(report_item, app_code, 20);
AT(report_item, delay_ms, 24);
AT(report_item, verb, 28);
AT(report_item, flags, 29);
AT(report_item, class_code, 30);
AT(reported_item, code, 16);
AT(reported_item, verb, 18);
AT(reported_item, state, 19);
AT(signal_item, signal, 16);
AT(signal_item, code, 18);
#undef AT
#define LAST(fb_value, c_value) static_assert(int(hw::fb_value) == int(c_value), "the same values")
LAST(TaskState_MAX, TASK_DEAD);
LAST(Confirm_MAX, CONFIRM_NONE);
LAST(ReportVerb_MAX, REPORT_CANCELLED);
LAST(Signal_MAX, SIGNAL_DRAIN);
LAST(Verb_MAX, VERB_CHECKPOINT);
#undef LAST

// ---------------------------------------------------------------- reading

static struct span none()
{
	return span_of(nullptr, 0);
}

static struct span text_of(const fb::String *s)
{
	return s ? span_of(s->Data(), s->size()) : none();
}

static struct span bytes_of(const fb::Vector<uint8_t> *v)
{
	return v ? span_of(v->Data(), v->size()) : none();
}

// Depth and number of tables are bounded: offsets may be shared, so a small buffer can name many tables.
template <class T> static const T *verified(struct span bytes, const char *name, char text[128])
{
	fb::Verifier::Options options;
	options.max_depth = LIMIT_FB_DEPTH;
	options.max_tables = LIMIT_FB_TABLES;
	options.check_nested_flatbuffers = false; // it would not inherit the limits: heads are verified by us
	if (bytes.len < LIMIT_META_BYTES + 1) {
		fb::Verifier verifier(bytes.data, bytes.len, options);
		if (verifier.VerifyBuffer<T>(nullptr))
			return fb::GetRoot<T>(bytes.data);
	}
	(void)msg_refuse(text, ERR_MALFORMED, "%s: the meta part is not a valid FlatBuffer of its table", name);
	return nullptr;
}

// Borrows a vector in place; false where the C type could not be read there.
template <class C, class V> static bool borrow(const V *vector, const C **at, uint32_t *count)
{
	*at = nullptr;
	*count = vector ? vector->size() : 0;
	if (*count == 0)
		return true;
	*at = reinterpret_cast<const C *>(vector->Data());
	return reinterpret_cast<uintptr_t>(vector->Data()) % alignof(C) == 0;
}

static enum err misaligned(const char *what, char text[128])
{
	return msg_refuse(text, ERR_MALFORMED, "%s: the vector is not aligned to its items", what);
}

static enum err read(const hw::Hello *m, struct msg_hello *out, char text[128])
{
	if (m->session()->size() != sizeof out->session)
		return msg_refuse(text, ERR_INVALID_INPUT, "HELLO.session: %u bytes instead of 16",
				  m->session()->size());
	memcpy(out->session, m->session()->Data(), sizeof out->session);
	out->version_count = MIN_OF(m->versions()->size(), (uint32_t)COUNT_OF(out->versions));
	for (uint32_t i = 0; i < out->version_count; i++)
		out->versions[i] = m->versions()->Get(i);
	out->features = m->features();
	out->client = text_of(m->client());
	out->token = text_of(m->token());
	out->resume = m->resume();
	return ERR_OK;
}

static enum err read(const hw::Welcome *m, struct msg_welcome *out, char *)
{
	out->version = m->version();
	out->features = m->features();
	out->node = text_of(m->node());
	out->epoch = m->epoch();
	out->resumed = m->resumed();
	out->heartbeat_ms = m->heartbeat_ms();
	out->grace_ms = m->grace_ms();
	out->payload_max = m->payload_max();
	out->frame_payload_max = m->frame_payload_max();
	out->window_max = m->window_max();
	out->broker = text_of(m->broker());
	return ERR_OK;
}

static enum err read(const hw::Error *m, struct msg_error *out, char *)
{
	out->code = m->code();
	out->text = text_of(m->text());
	out->kind = m->kind();
	out->fatal = m->fatal();
	return ERR_OK;
}

static enum err read(const hw::Ping *m, struct msg_ping *out, char *)
{
	out->echo = m->echo();
	return ERR_OK;
}

static enum err read(const hw::Goodbye *m, struct msg_goodbye *out, char *)
{
	out->code = m->code();
	out->text = text_of(m->text());
	out->retry_after_ms = m->retry_after_ms();
	return ERR_OK;
}

static enum err read(const hw::Submit *m, struct msg_submit *out, char *)
{
	out->producer = m->producer();
	out->first_seq = m->first_seq();
	out->resolved_below = m->resolved_below();
	out->confirm = static_cast<uint8_t>(m->confirm());
	out->head = bytes_of(m->head());
	(void)borrow(m->sizes(), &out->sizes.at, &out->sizes.count); // 4-aligned by the Verifier
	out->crc = m->crc();
	return ERR_OK;
}

static enum err read(const hw::Confirms *m, struct msg_confirms *out, char text[128])
{
	out->producer = m->producer();
	out->text = text_of(m->text());
	return borrow(m->runs(), &out->runs, &out->run_count) ? ERR_OK : misaligned("CONFIRMS.runs", text);
}

static enum err read(const hw::Await *m, struct msg_tasks *out, char text[128])
{
	return borrow(m->tasks(), &out->tasks.at, &out->tasks.count) ? ERR_OK : misaligned("AWAIT.tasks", text);
}

static enum err read(const hw::Forget *m, struct msg_tasks *out, char text[128])
{
	return borrow(m->tasks(), &out->tasks.at, &out->tasks.count) ? ERR_OK : misaligned("FORGET.tasks", text);
}

static enum err read(const hw::Results *m, struct msg_results *out, char text[128])
{
	out->crc = m->crc();
	return borrow(m->items(), &out->items, &out->count) ? ERR_OK : misaligned("RESULTS.items", text);
}

static enum err read(const hw::Serve *m, struct msg_serve *out, char text[128])
{
	out->count = m->entries()->size();
	if (out->count > COUNT_OF(out->entries))
		return msg_refuse(text, ERR_TOO_BIG, "SERVE.entries: %u are over the limit of %u", out->count,
				  (unsigned)LIMIT_SESSION_ENTRIES);
	for (uint32_t i = 0; i < out->count; i++) {
		const hw::Entry *from = m->entries()->Get(i);
		struct wire_entry *to = &out->entries[i];
		to->id = from->id();
		to->service = text_of(from->service());
		to->by_queue = from->by_queue();
		to->credit = from->credit();
	}
	out->has_held = m->held() != nullptr;
	return borrow(m->held(), &out->held, &out->held_count) ? ERR_OK : misaligned("SERVE.held", text);
}

static enum err read(const hw::Credit *m, struct msg_credit *out, char *)
{
	(void)borrow(m->items(), &out->items, &out->count); // 4-aligned by the Verifier
	return ERR_OK;
}

static enum err read(const hw::Deliver *m, struct msg_deliver *out, char text[128])
{
	out->entry = m->entry();
	out->epoch = m->epoch();
	out->lease_ms = m->lease_ms();
	out->head = bytes_of(m->head());
	out->queue = text_of(m->queue());
	out->crc = m->crc();
	return borrow(m->items(), &out->items, &out->count) ? ERR_OK : misaligned("DELIVER.items", text);
}

static enum err read(const hw::Report *m, struct msg_report *out, char text[128])
{
	out->crc = m->crc();
	return borrow(m->items(), &out->items, &out->count) ? ERR_OK : misaligned("REPORT.items", text);
}

static enum err read(const hw::Reported *m, struct msg_reported *out, char text[128])
{
	out->text = text_of(m->text());
	return borrow(m->items(), &out->items, &out->count) ? ERR_OK : misaligned("REPORTED.items", text);
}

static enum err read(const hw::Signals *m, struct msg_signals *out, char text[128])
{
	out->text = text_of(m->text());
	return borrow(m->items(), &out->items, &out->count) ? ERR_OK : misaligned("SIGNALS.items", text);
}

static struct queue_settings settings_of(const hw::QueueSettings *s)
{
	struct queue_settings out = { -1, -1, -1, -1, -1, -1, -1 };
	if (s) {
		out.length_max = s->length_max();
		out.max_attempts = s->max_attempts();
		out.lease_ms = s->lease_ms();
		out.backoff_min_ms = s->backoff_min_ms();
		out.backoff_max_ms = s->backoff_max_ms();
		out.expires_ms = s->expires_ms();
		out.retention_ms = s->retention_ms();
	}
	return out;
}

static enum err read(const hw::Request *m, struct msg_request *out, char text[128])
{
	out->verb = static_cast<uint16_t>(m->verb());
	out->name = text_of(m->name());
	out->state = static_cast<uint8_t>(m->state());
	out->cursor = m->cursor();
	out->limit = m->limit();
	out->rate = m->rate();
	out->settings = settings_of(m->settings());
	out->text = text_of(m->text());
	return borrow(m->tasks(), &out->tasks.at, &out->tasks.count) ? ERR_OK : misaligned("REQUEST.tasks", text);
}

static enum err read(const hw::Reply *m, struct msg_reply *out, char *)
{
	out->code = m->code();
	out->text = text_of(m->text());
	out->count = m->count();
	out->next = m->next();
	out->tasks = nullptr;
	out->task_count = m->tasks() ? m->tasks()->size() : 0;
	out->queues = nullptr;
	out->queue_count = m->queues() ? m->queues()->size() : 0;
	out->workers = nullptr;
	out->worker_count = m->workers() ? m->workers()->size() : 0;
	out->stats = nullptr;
	out->stat_count = m->stats() ? m->stats()->size() : 0;
	return ERR_OK;
}

template <class T, class C>
static enum err verify_and_read(struct span meta, const char *name, C *out, char text[128])
{
	const T *m = verified<T>(meta, name, text);
	return m ? read(m, out, text) : ERR_MALFORMED;
}

extern "C" enum err codec_read(uint16_t kind, struct span meta, struct msg *out, char text[128])
{
	const char *name = frame_kind_name(kind);
	switch (kind) {
	case FRAME_HELLO: return verify_and_read<hw::Hello>(meta, name, &out->hello, text);
	case FRAME_WELCOME: return verify_and_read<hw::Welcome>(meta, name, &out->welcome, text);
	case FRAME_ERROR: return verify_and_read<hw::Error>(meta, name, &out->error, text);
	case FRAME_PING: // the two are one table
	case FRAME_PONG: return verify_and_read<hw::Ping>(meta, name, &out->ping, text);
	case FRAME_GOODBYE: return verify_and_read<hw::Goodbye>(meta, name, &out->goodbye, text);
	case FRAME_SUBMIT: return verify_and_read<hw::Submit>(meta, name, &out->submit, text);
	case FRAME_CONFIRMS: return verify_and_read<hw::Confirms>(meta, name, &out->confirms, text);
	case FRAME_AWAIT: return verify_and_read<hw::Await>(meta, name, &out->tasks, text);
	case FRAME_FORGET: return verify_and_read<hw::Forget>(meta, name, &out->tasks, text);
	case FRAME_RESULTS: return verify_and_read<hw::Results>(meta, name, &out->results, text);
	case FRAME_SERVE: return verify_and_read<hw::Serve>(meta, name, &out->serve, text);
	case FRAME_CREDIT: return verify_and_read<hw::Credit>(meta, name, &out->credit, text);
	case FRAME_DELIVER: return verify_and_read<hw::Deliver>(meta, name, &out->deliver, text);
	case FRAME_REPORT: return verify_and_read<hw::Report>(meta, name, &out->report, text);
	case FRAME_REPORTED: return verify_and_read<hw::Reported>(meta, name, &out->reported, text);
	case FRAME_SIGNALS: return verify_and_read<hw::Signals>(meta, name, &out->signals, text);
	case FRAME_REQUEST: return verify_and_read<hw::Request>(meta, name, &out->request, text);
	case FRAME_REPLY:
		out->reply.meta = meta;
		return verify_and_read<hw::Reply>(meta, name, &out->reply, text);
	default: return msg_refuse(text, ERR_UNKNOWN_KIND, "frame.kind: %u is not known here", (unsigned)kind);
	}
}

extern "C" enum err codec_head_read(struct span head, struct task_head *out, char text[128])
{
	const hw::TaskHead *m = verified<hw::TaskHead>(head, "TaskHead", text);
	if (!m)
		return ERR_MALFORMED;
	out->type = text_of(m->type());
	out->queue = text_of(m->queue());
	out->key = text_of(m->key());
	out->trace = text_of(m->trace());
	out->correlation = text_of(m->correlation());
	out->fingerprint = m->fingerprint();
	out->delay_ms = m->delay_ms();
	out->expires_ms = m->expires_ms();
	out->execution_ms = m->execution_ms();
	out->retention_ms = m->retention_ms();
	out->max_attempts = m->max_attempts();
	out->priority = m->priority();
	out->want_result = m->want_result();
	out->header_count = m->headers() ? m->headers()->size() : 0;
	if (out->header_count > LIMIT_HEADERS)
		return msg_refuse(text, ERR_TOO_BIG, "TaskHead.headers: %u are over the limit of %u",
				  out->header_count, (unsigned)LIMIT_HEADERS);
	for (uint32_t i = 0; i < out->header_count; i++) {
		out->headers[i].name = text_of(m->headers()->Get(i)->name());
		out->headers[i].value = text_of(m->headers()->Get(i)->value());
	}
	return ERR_OK;
}

// ---------------------------------------------------------------- the items of a Reply

static const hw::Reply *reply_of(const struct msg_reply *reply)
{
	ENSURE(reply->meta.data != nullptr);
	return fb::GetRoot<hw::Reply>(reply->meta.data);
}

extern "C" void msg_reply_task(const struct msg_reply *reply, uint32_t index, struct task_info *out)
{
	ENSURE(index < reply->task_count);
	const hw::TaskInfo *t = reply_of(reply)->tasks()->Get(index);
	out->task = t->task();
	out->state = static_cast<uint8_t>(t->state());
	out->priority = t->priority();
	out->type = text_of(t->type());
	out->queue = text_of(t->queue());
	out->reason = text_of(t->reason());
	out->worker = text_of(t->worker());
	out->result = bytes_of(t->result());
	out->payload = bytes_of(t->payload());
	out->key = text_of(t->key());
	out->submitted_ms = t->submitted_ms();
	out->ready_ms = t->ready_ms();
	out->expires_ms = t->expires_ms();
	out->settled_ms = t->settled_ms();
	out->acquired = t->acquired();
	out->failed = t->failed();
	out->max_attempts = t->max_attempts();
	out->size = t->size();
	out->app_code = t->app_code();
	out->code = t->code();
}

extern "C" void msg_reply_queue(const struct msg_reply *reply, uint32_t index, struct queue_info *out)
{
	ENSURE(index < reply->queue_count);
	const hw::QueueInfo *q = reply_of(reply)->queues()->Get(index);
	out->name = text_of(q->name());
	out->paused = q->paused();
	out->settings = settings_of(q->settings());
	out->ready = q->ready();
	out->leased = q->leased();
	out->scheduled = q->scheduled();
	out->dead = q->dead();
	out->submitted_total = q->submitted_total();
	out->done_total = q->done_total();
	out->failed_total = q->failed_total();
	out->expired_total = q->expired_total();
	out->cancelled_total = q->cancelled_total();
	out->dead_total = q->dead_total();
	out->workers = q->workers();
}

extern "C" void msg_reply_worker(const struct msg_reply *reply, uint32_t index, struct worker_info *out)
{
	ENSURE(index < reply->worker_count);
	const hw::WorkerInfo *w = reply_of(reply)->workers()->Get(index);
	out->name = text_of(w->name());
	out->address = text_of(w->address());
	uint32_t count = w->entries() ? w->entries()->size() : 0;
	out->entry_count = MIN_OF(count, (uint32_t)COUNT_OF(out->entries));
	for (uint32_t i = 0; i < out->entry_count; i++)
		out->entries[i] = text_of(w->entries()->Get(i));
	out->credit = w->credit();
	out->leased = w->leased();
	out->connected_ms = w->connected_ms();
}

extern "C" void msg_reply_stat(const struct msg_reply *reply, uint32_t index, struct stat_item *out)
{
	ENSURE(index < reply->stat_count);
	const hw::Stat *s = reply_of(reply)->stats()->Get(index);
	out->name = text_of(s->name());
	out->value = s->value();
}

// ---------------------------------------------------------------- writing

namespace {

// Memory of one builder. Exhaustion aborts, as everywhere: what is written is bounded by the limits.
class heap : public fb::Allocator
{
      public:
	uint8_t *allocate(size_t size) override
	{
		void *at = malloc(size);
		ENSURE(at != nullptr);
		return static_cast<uint8_t *>(at);
	}
	void deallocate(uint8_t *at, size_t) override { free(at); }
};

typedef fb::FlatBufferBuilder builder;
typedef fb::Offset<fb::String> text_at;

} // namespace

// Absent and empty are the same to us; absent is shorter.
static text_at put_text(builder &b, struct span s)
{
	return s.len ? b.CreateString(reinterpret_cast<const char *>(s.data), s.len) : text_at();
}

// A required string, where empty is a value.
static text_at put_name(builder &b, struct span s)
{
	return b.CreateString(s.len ? reinterpret_cast<const char *>(s.data) : "", s.len);
}

static fb::Offset<fb::Vector<uint8_t>> put_bytes(builder &b, struct span s)
{
	return s.len ? b.CreateVector(s.data, s.len) : fb::Offset<fb::Vector<uint8_t>>();
}

static fb::Offset<fb::Vector<uint64_t>> put_u64s(builder &b, struct u64s v)
{
	ENSURE(v.count <= LIMIT_FRAME_ITEMS);
	return b.CreateVector(v.at, v.count);
}

// Collects offsets of strings or tables; the builder forbids making them inside the vector.
template <class O> struct offsets {
	O *at;
	explicit offsets(uint32_t count) : at(static_cast<O *>(calloc(count ? count : 1, sizeof(O))))
	{
		ENSURE(at != nullptr);
	}
	~offsets() { free(at); }
	offsets(const offsets &) = delete;
	offsets &operator=(const offsets &) = delete;
};

static void write(builder &b, const struct msg_hello *m)
{
	ENSURE(m->version_count >= 1 && m->version_count <= COUNT_OF(m->versions));
	auto versions = b.CreateVector(m->versions, m->version_count);
	auto session = b.CreateVector(m->session, sizeof m->session);
	auto client = put_text(b, m->client);
	auto token = put_text(b, m->token);
	b.Finish(hw::CreateHello(b, versions, m->features, session, client, token, m->resume));
}

static void write(builder &b, const struct msg_welcome *m)
{
	auto node = put_text(b, m->node);
	auto broker = put_text(b, m->broker);
	b.Finish(hw::CreateWelcome(b, m->version, m->features, node, m->epoch, m->resumed, m->heartbeat_ms,
				   m->grace_ms, m->payload_max, m->frame_payload_max, m->window_max, broker));
}

static void write(builder &b, const struct msg_error *m)
{
	auto text = put_text(b, m->text);
	b.Finish(hw::CreateError(b, m->code, text, m->kind, m->fatal));
}

static void write(builder &b, const struct msg_ping *m)
{
	b.Finish(hw::CreatePing(b, m->echo));
}

static void write(builder &b, const struct msg_goodbye *m)
{
	auto text = put_text(b, m->text);
	b.Finish(hw::CreateGoodbye(b, m->code, text, m->retry_after_ms));
}

static void write(builder &b, const struct msg_serve *m)
{
	ENSURE(m->count <= COUNT_OF(m->entries));
	fb::Offset<hw::Entry> entries[LIMIT_SESSION_ENTRIES];
	for (uint32_t i = 0; i < m->count; i++) {
		const struct wire_entry *e = &m->entries[i];
		auto service = put_name(b, e->service);
		entries[i] = hw::CreateEntry(b, e->id, service, e->by_queue, e->credit);
	}
	auto vector = b.CreateVector(entries, m->count);
	ENSURE(m->held_count <= LIMIT_SERVE_HELD);
	fb::Offset<fb::Vector<const hw::TaskRef *>> held;
	if (m->has_held)
		held = b.CreateVectorOfStructs(reinterpret_cast<const hw::TaskRef *>(m->held), m->held_count);
	b.Finish(hw::CreateServe(b, vector, held));
}

static void write(builder &b, const struct msg_signals *m)
{
	ENSURE(m->count <= LIMIT_FRAME_ITEMS);
	auto text = put_text(b, m->text);
	auto items = b.CreateVectorOfStructs(reinterpret_cast<const hw::SignalItem *>(m->items), m->count);
	b.Finish(hw::CreateSignals(b, items, text));
}

static fb::Offset<hw::QueueSettings> put_settings(builder &b, const struct queue_settings *s)
{
	ENSURE(s->max_attempts >= INT32_MIN && s->max_attempts <= INT32_MAX);
	return hw::CreateQueueSettings(b, s->length_max, static_cast<int32_t>(s->max_attempts), s->lease_ms,
				       s->backoff_min_ms, s->backoff_max_ms, s->expires_ms, s->retention_ms);
}

static void write(builder &b, const struct msg_request *m)
{
	auto name = put_text(b, m->name);
	fb::Offset<fb::Vector<uint64_t>> tasks;
	if (m->tasks.count > 0)
		tasks = put_u64s(b, m->tasks);
	auto settings = put_settings(b, &m->settings);
	auto text = put_text(b, m->text);
	b.Finish(hw::CreateRequest(b, static_cast<hw::Verb>(m->verb), name, tasks,
				   static_cast<hw::TaskState>(m->state), m->cursor, m->limit, m->rate, settings,
				   text));
}

static fb::Offset<hw::TaskInfo> put(builder &b, const struct task_info *t)
{
	auto type = put_text(b, t->type);
	auto queue = put_text(b, t->queue);
	auto reason = put_text(b, t->reason);
	auto worker = put_text(b, t->worker);
	auto result = put_bytes(b, t->result);
	auto payload = put_bytes(b, t->payload);
	auto key = put_text(b, t->key);
	return hw::CreateTaskInfo(b, t->task, static_cast<hw::TaskState>(t->state), type, queue, t->priority,
				  t->submitted_ms, t->ready_ms, t->expires_ms, t->settled_ms, t->acquired, t->failed,
				  t->max_attempts, t->size, t->code, t->app_code, reason, worker, result, payload,
				  key);
}

static fb::Offset<hw::QueueInfo> put(builder &b, const struct queue_info *q)
{
	auto name = put_text(b, q->name);
	auto settings = put_settings(b, &q->settings);
	return hw::CreateQueueInfo(b, name, q->paused, settings, q->ready, q->leased, q->scheduled, q->dead,
				   q->submitted_total, q->done_total, q->failed_total, q->expired_total,
				   q->cancelled_total, q->dead_total, q->workers);
}

static fb::Offset<hw::WorkerInfo> put(builder &b, const struct worker_info *w)
{
	ENSURE(w->entry_count <= COUNT_OF(w->entries));
	text_at services[COUNT_OF(w->entries)];
	for (uint32_t i = 0; i < w->entry_count; i++)
		services[i] = put_name(b, w->entries[i]);
	auto name = put_text(b, w->name);
	auto address = put_text(b, w->address);
	auto entries = b.CreateVector(services, w->entry_count);
	return hw::CreateWorkerInfo(b, name, address, entries, w->credit, w->leased, w->connected_ms);
}

static fb::Offset<hw::Stat> put(builder &b, const struct stat_item *s)
{
	auto name = put_name(b, s->name);
	return hw::CreateStat(b, name, s->value);
}

// A vector of tables, absent where there are none.
template <class T, class C>
static fb::Offset<fb::Vector<fb::Offset<T>>> put_all(builder &b, const C *items, uint32_t count)
{
	if (count == 0)
		return fb::Offset<fb::Vector<fb::Offset<T>>>();
	offsets<fb::Offset<T>> made(count);
	for (uint32_t i = 0; i < count; i++)
		made.at[i] = put(b, &items[i]);
	return b.CreateVector(made.at, count);
}

static void write(builder &b, const struct msg_reply *m)
{
	// A queue is two tables. More than this and the receiver's Verifier would refuse the Reply.
	ENSURE(1 + (uint64_t)m->task_count + 2 * (uint64_t)m->queue_count + m->worker_count + m->stat_count <=
	       LIMIT_FB_TABLES);
	auto text = put_text(b, m->text);
	auto tasks = put_all<hw::TaskInfo>(b, m->tasks, m->task_count);
	auto queues = put_all<hw::QueueInfo>(b, m->queues, m->queue_count);
	auto workers = put_all<hw::WorkerInfo>(b, m->workers, m->worker_count);
	auto stats = put_all<hw::Stat>(b, m->stats, m->stat_count);
	b.Finish(hw::CreateReply(b, m->code, text, m->count, m->next, tasks, queues, workers, stats));
}

static void write(builder &b, const struct task_head *h)
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
	auto queue = put_text(b, h->queue);
	auto key = put_text(b, h->key);
	auto trace = put_text(b, h->trace);
	auto correlation = put_text(b, h->correlation);
	b.Finish(hw::CreateTaskHead(b, type, h->fingerprint, queue, h->priority, h->delay_ms, h->expires_ms,
				    h->execution_ms, h->max_attempts, key, h->retention_ms, h->want_result, trace,
				    correlation, headers));
}

extern "C" void codec_write(struct buf *out, const struct msg *m)
{
	heap memory;
	builder b(512, &memory);
	switch (m->kind) {
	case FRAME_HELLO: write(b, &m->hello); break;
	case FRAME_WELCOME: write(b, &m->welcome); break;
	case FRAME_ERROR: write(b, &m->error); break;
	case FRAME_PING:
	case FRAME_PONG: write(b, &m->ping); break;
	case FRAME_GOODBYE: write(b, &m->goodbye); break;
	case FRAME_AWAIT: b.Finish(hw::CreateAwait(b, put_u64s(b, m->tasks.tasks))); break;
	case FRAME_FORGET: b.Finish(hw::CreateForget(b, put_u64s(b, m->tasks.tasks))); break;
	case FRAME_SERVE: write(b, &m->serve); break;
	case FRAME_SIGNALS: write(b, &m->signals); break;
	case FRAME_REQUEST: write(b, &m->request); break;
	case FRAME_REPLY: write(b, &m->reply); break;
	default: ENSURE(false); break; // the other kinds are built in codec_hot.c
	}
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}

extern "C" void codec_head_write(struct buf *out, const struct task_head *head)
{
	heap memory;
	builder b(512, &memory);
	write(b, head);
	buf_append(out, b.GetBufferPointer(), b.GetSize());
	size_t more = -b.GetSize() & 7u;
	if (more > 0)
		memset(buf_extend(out, more), 0, more);
}
