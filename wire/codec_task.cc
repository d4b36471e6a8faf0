// wire/codec_task.cc: the messages of tasks, for producers and workers, and the TaskHead.
// In the flow: frame -> VERIFY -> session, and back out. Invariants stand in codec.cc.
#include "codec_impl.hh"

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
SAME(update_item, UpdateItem);
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
AT(signal_item, left_ms, 20);
AT(result_item, yields, 20);
AT(reported_item, number, 20);
AT(update_item, number, 8);
AT(update_item, size, 12);
AT(update_item, kind, 16);
AT(update_item, level, 17);
AT(update_item, code, 18);
AT(update_item, payload, 20);
#undef AT
#define LAST(fb_value, c_value) static_assert(int(hw::fb_value) == int(c_value), "the same values")
LAST(TaskState_MAX, TASK_DEAD);
LAST(Confirm_MAX, CONFIRM_NONE);
LAST(ReportVerb_MAX, REPORT_LAST);
LAST(Signal_MAX, SIGNAL_LAST);
LAST(UpdateKind_MAX, UPDATE_LAST);
LAST(Phase_MAX, PHASE_RETRY);
LAST(Redelivery_MAX, REDELIVERY_SAFE);
LAST(OnFailure_MAX, ON_FAILURE_RUN);
LAST(PayloadKind_MAX, PAYLOAD_REFERENCE);
#undef LAST

// ---------------------------------------------------------------- reading

static enum err read(const hw::Submit *m, struct msg_submit *out, char *)
{
	out->producer = m->producer();
	out->first_seq = m->first_seq();
	out->resolved_below = m->resolved_below();
	out->confirm = static_cast<uint8_t>(m->confirm());
	out->head = bytes_of(m->head());
	(void)borrow(m->sizes(), &out->sizes.at, &out->sizes.count); // 4-aligned by the Verifier
	out->crc = m->crc();
	out->crc_known = true; // once submit_check has looked
	return ERR_OK;
}

static enum err read(const hw::Confirms *m, struct msg_confirms *out, char text[128])
{
	out->producer = m->producer();
	out->text = text_of(m->text());
	out->retry_after_ms = m->retry_after_ms();
	return borrow(m->runs(), &out->runs, &out->run_count) ? ERR_OK : misaligned("CONFIRMS.runs", text);
}

static enum err read(const hw::Await *m, struct msg_tasks *out, char text[128])
{
	out->want_updates = m->want_updates();
	(void)borrow(m->from_yield(), &out->from_yield.at, &out->from_yield.count); // 4-aligned by the Verifier
	return borrow(m->tasks(), &out->tasks.at, &out->tasks.count) ? ERR_OK : misaligned("AWAIT.tasks", text);
}

static enum err read(const hw::Forget *m, struct msg_tasks *out, char text[128])
{
	out->want_updates = false;
	out->from_yield = { nullptr, 0 };
	return borrow(m->tasks(), &out->tasks.at, &out->tasks.count) ? ERR_OK : misaligned("FORGET.tasks", text);
}

static enum err read(const hw::Results *m, struct msg_results *out, char text[128])
{
	out->crc = m->crc();
	(void)borrow(m->kinds(), &out->kinds, &out->kind_count);
	return borrow(m->items(), &out->items, &out->count) ? ERR_OK : misaligned("RESULTS.items", text);
}

static enum err read(const hw::Updates *m, struct msg_updates *out, char text[128])
{
	out->crc = m->crc();
	return borrow(m->items(), &out->items, &out->count) ? ERR_OK : misaligned("UPDATES.items", text);
}

static enum err read(const hw::Serve *m, struct msg_serve *out, char text[128])
{
	out->count = m->entries()->size();
	if (out->count > COUNT_OF(out->entries))
		return msg_refuse(text, ERR_TOO_BIG, "SERVE.entries: %u are over the limit of %u", out->count,
				  (unsigned)LIMIT_SESSION_ENTRIES);
	uint32_t used = 0;
	for (uint32_t i = 0; i < out->count; i++) {
		const hw::Entry *from = m->entries()->Get(i);
		struct wire_entry *to = &out->entries[i];
		if (!codec_entry_read(from, to, out->texts, &used))
			return msg_refuse(text, ERR_TOO_BIG, "SERVE.entries[%u]: more than %u vnets and hot names in all", i,
					  (unsigned)LIMIT_SERVE_TEXTS);
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
	out->crc_known = false; // to encode it again is to sum it up again
	out->once = m->once();
	(void)borrow(m->yields(), &out->yields, &out->yield_count); // 4-aligned by the Verifier
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
	out->retry_after_ms = m->retry_after_ms();
	return borrow(m->items(), &out->items, &out->count) ? ERR_OK : misaligned("REPORTED.items", text);
}

static enum err read(const hw::Signals *m, struct msg_signals *out, char text[128])
{
	out->text = text_of(m->text());
	return borrow(m->items(), &out->items, &out->count) ? ERR_OK : misaligned("SIGNALS.items", text);
}

static enum err read_kind(uint16_t kind, struct span meta, struct msg *out, char text[128])
{
	const char *name = frame_kind_name(kind);
	switch (kind) {
	case FRAME_SUBMIT: return verify_and_read<hw::Submit>(meta, name, &out->submit, text, read);
	case FRAME_CONFIRMS: return verify_and_read<hw::Confirms>(meta, name, &out->confirms, text, read);
	case FRAME_AWAIT: return verify_and_read<hw::Await>(meta, name, &out->tasks, text, read);
	case FRAME_FORGET: return verify_and_read<hw::Forget>(meta, name, &out->tasks, text, read);
	case FRAME_RESULTS: return verify_and_read<hw::Results>(meta, name, &out->results, text, read);
	case FRAME_UPDATES: return verify_and_read<hw::Updates>(meta, name, &out->updates, text, read);
	case FRAME_SERVE: return verify_and_read<hw::Serve>(meta, name, &out->serve, text, read);
	case FRAME_CREDIT: return verify_and_read<hw::Credit>(meta, name, &out->credit, text, read);
	case FRAME_DELIVER: return verify_and_read<hw::Deliver>(meta, name, &out->deliver, text, read);
	case FRAME_REPORT: return verify_and_read<hw::Report>(meta, name, &out->report, text, read);
	case FRAME_REPORTED: return verify_and_read<hw::Reported>(meta, name, &out->reported, text, read);
	case FRAME_SIGNALS: return verify_and_read<hw::Signals>(meta, name, &out->signals, text, read);
	default: return unknown_kind(kind, text);
	}
}

// The bytes of a vector of integers: a head lies in its frame at any alignment.
template <typename T> static struct span words_of(const fb::Vector<T> *v)
{
	return v ? span_of(reinterpret_cast<const void *>(v->Data()), v->size() * sizeof(T)) : span_of(nullptr, 0);
}

template <typename T> static fb::Offset<fb::Vector<T>> put_words(builder &b, struct span s)
{
	if (s.len == 0)
		return 0;
	uint8_t *to;
	auto made = b.CreateUninitializedVector(s.len / sizeof(T), sizeof(T), &to);
	memcpy(to, s.data, s.len);
	return made;
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
	out->redelivery = static_cast<uint8_t>(m->redelivery());
	out->want_updates = m->want_updates();
	out->parent = m->parent();
	out->heartbeat_ms = m->heartbeat_ms();
	out->close_ms = m->close_ms();
	out->requirements = text_of(m->requirements());
	out->order_key = text_of(m->order_key());
	out->hot = text_of(m->hot());
	out->sticky = text_of(m->sticky());
	out->after = words_of(m->after());
	out->after_back = words_of(m->after_back());
	out->on_failure = static_cast<uint8_t>(m->on_failure());
	out->group = text_of(m->group());
	out->after_group = text_of(m->after_group());
	out->group_size = m->group_size();
	out->payload = static_cast<uint8_t>(m->payload());
	out->fail_fast = m->fail_fast();
	out->vnet = none();
	out->scope = 0;
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

// ---------------------------------------------------------------- writing

static void write(builder &b, const struct msg_tasks *m)
{
	auto tasks = put_u64s(b, m->tasks);
	fb::Offset<fb::Vector<uint32_t>> from;
	if (m->from_yield.count > 0)
		from = b.CreateVector(m->from_yield.at, m->from_yield.count);
	b.Finish(hw::CreateAwait(b, tasks, m->want_updates, from));
}

static void write(builder &b, const struct msg_serve *m)
{
	ENSURE(m->count <= COUNT_OF(m->entries));
	fb::Offset<hw::Entry> entries[LIMIT_SESSION_ENTRIES];
	for (uint32_t i = 0; i < m->count; i++) {
		entries[i] = codec_entry_put(b, &m->entries[i]);
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

static void write_kind(builder &b, const struct msg *m)
{
	switch (m->kind) {
	case FRAME_AWAIT: write(b, &m->tasks); break;
	case FRAME_FORGET: b.Finish(hw::CreateForget(b, put_u64s(b, m->tasks.tasks))); break;
	case FRAME_SERVE: write(b, &m->serve); break;
	case FRAME_SIGNALS: write(b, &m->signals); break;
	default: ENSURE(false); break; // the other kinds are built in codec_hot.c
	}
}

const struct codec_area codec_task = { read_kind, write_kind };

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
	auto requirements = put_text(b, h->requirements);
	auto order_key = put_text(b, h->order_key);
	auto hot = put_text(b, h->hot);
	auto sticky = put_text(b, h->sticky);
	auto after = put_words<uint64_t>(b, h->after);
	auto after_back = put_words<uint32_t>(b, h->after_back);
	auto group = put_text(b, h->group);
	auto after_group = put_text(b, h->after_group);
	b.Finish(hw::CreateTaskHead(b, type, h->fingerprint, queue, h->priority, h->delay_ms, h->expires_ms,
				    h->execution_ms, h->max_attempts, key, h->retention_ms, h->want_result, trace,
				    correlation, headers, static_cast<hw::Redelivery>(h->redelivery), h->want_updates,
				    h->parent, h->heartbeat_ms, h->close_ms, requirements, order_key, hot, sticky, after,
				    after_back, static_cast<hw::OnFailure>(h->on_failure), group, after_group, h->group_size,
				    static_cast<hw::PayloadKind>(h->payload),
				    h->fail_fast));
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
