// wire/codec_call.cc: the messages of calls and bindings.
// In the flow: frame -> VERIFY -> session, and back out. Invariants stand in codec.cc.
#include "codec_impl.hh"

#define SAME(c_type, fb_type) static_assert(sizeof(struct c_type) == sizeof(hw::fb_type), "wire layout")
SAME(invoke_item, InvokeItem);
SAME(answer_item, AnswerItem);
SAME(leg, Leg);
#undef SAME
#define AT(c_type, member, offset) static_assert(offsetof(struct c_type, member) == (offset), "wire layout")
AT(invoke_item, size, 8);
AT(invoke_item, deadline_ms, 12);
AT(answer_item, session, 8);
AT(answer_item, entry, 16);
AT(answer_item, size, 20);
AT(answer_item, app_code, 24);
AT(answer_item, code, 28);
AT(answer_item, more, 30);
AT(answer_item, payload, 31);
AT(leg, entry, 8);
#undef AT
static_assert(int(hw::BindingState_MAX) == int(BINDING_STATES) - 1, "the same values");

// ---------------------------------------------------------------- reading

static enum err read(const hw::Call *m, struct msg_call *out, char *)
{
	out->first = m->first();
	out->session = m->session();
	out->entry = m->entry();
	out->binding = m->binding();
	out->deadline_ms = m->deadline_ms();
	out->all = m->all();
	out->stream = m->stream();
	out->wait = m->wait();
	out->service = text_of(m->service());
	out->where = text_of(m->where());
	out->head = bytes_of(m->head());
	(void)borrow(m->sizes(), &out->sizes.at, &out->sizes.count); // 4-aligned by the Verifier
	out->crc = m->crc();
	return ERR_OK;
}

static enum err read(const hw::Invoke *m, struct msg_invoke *out, char text[128])
{
	out->entry = m->entry();
	out->stream = m->stream();
	out->caller = m->caller();
	out->client = text_of(m->client());
	out->head = bytes_of(m->head());
	out->crc = m->crc();
	return borrow(m->items(), &out->items, &out->count) ? ERR_OK : misaligned("INVOKE.items", text);
}

static enum err read(const hw::Answer *m, struct msg_answer *out, char text[128])
{
	out->crc = m->crc();
	return borrow(m->items(), &out->items, &out->count) ? ERR_OK : misaligned("ANSWER.items", text);
}

static enum err read(const hw::CallCancel *m, struct msg_call_cancel *out, char text[128])
{
	return borrow(m->calls(), &out->calls.at, &out->calls.count) ? ERR_OK : misaligned("CALL_CANCEL.calls", text);
}

static enum err read(const hw::Bind *m, struct msg_bind *out, char *)
{
	out->binding = m->binding();
	out->min = m->min();
	out->desired = m->desired();
	out->waiting = m->waiting();
	out->service = text_of(m->service());
	out->where = text_of(m->where());
	return ERR_OK;
}

static enum err read(const hw::Binding *m, struct msg_binding *out, char text[128])
{
	out->binding = m->binding();
	out->state = static_cast<uint8_t>(m->state());
	out->code = m->code();
	out->text = text_of(m->text());
	return borrow(m->legs(), &out->legs, &out->leg_count) ? ERR_OK : misaligned("BINDING.legs", text);
}

static enum err read(const hw::Unbind *m, struct msg_unbind *out, char *)
{
	out->binding = m->binding();
	return ERR_OK;
}

static enum err read_kind(uint16_t kind, struct span meta, struct msg *out, char text[128])
{
	const char *name = frame_kind_name(kind);
	switch (kind) {
	case FRAME_CALL: return verify_and_read<hw::Call>(meta, name, &out->call, text, read);
	case FRAME_ANSWER: return verify_and_read<hw::Answer>(meta, name, &out->answer, text, read);
	case FRAME_INVOKE: return verify_and_read<hw::Invoke>(meta, name, &out->invoke, text, read);
	case FRAME_CALL_CANCEL: return verify_and_read<hw::CallCancel>(meta, name, &out->call_cancel, text, read);
	case FRAME_BIND: return verify_and_read<hw::Bind>(meta, name, &out->bind, text, read);
	case FRAME_BINDING: return verify_and_read<hw::Binding>(meta, name, &out->binding, text, read);
	case FRAME_UNBIND: return verify_and_read<hw::Unbind>(meta, name, &out->unbind, text, read);
	default: return unknown_kind(kind, text);
	}
}

// ---------------------------------------------------------------- writing

static void write(builder &b, const struct msg_call *m, uint32_t crc)
{
	ENSURE(m->sizes.count >= 1 && m->sizes.count <= LIMIT_FRAME_ITEMS && m->head.len > 0);
	auto service = put_text(b, m->service);
	auto where = put_text(b, m->where);
	auto head = put_head(b, m->head);
	auto sizes = b.CreateVector(m->sizes.at, m->sizes.count);
	b.Finish(hw::CreateCall(b, m->first, service, where, m->all, m->session, m->entry, m->binding, m->deadline_ms,
				m->stream, head, sizes, crc, m->wait));
}

static void write(builder &b, const struct msg_invoke *m, uint32_t crc)
{
	ENSURE(m->count >= 1 && m->count <= LIMIT_FRAME_ITEMS && m->head.len > 0);
	auto client = put_text(b, m->client);
	auto head = put_head(b, m->head);
	auto items = b.CreateVectorOfStructs(reinterpret_cast<const hw::InvokeItem *>(m->items), m->count);
	b.Finish(hw::CreateInvoke(b, m->entry, m->stream, m->caller, client, head, items, crc));
}

static void write(builder &b, const struct msg_answer *m, uint32_t crc)
{
	ENSURE(m->count <= LIMIT_FRAME_ITEMS);
	auto items = b.CreateVectorOfStructs(reinterpret_cast<const hw::AnswerItem *>(m->items), m->count);
	b.Finish(hw::CreateAnswer(b, items, crc));
}

static void write(builder &b, const struct msg_bind *m)
{
	auto service = put_name(b, m->service);
	auto where = put_text(b, m->where);
	b.Finish(hw::CreateBind(b, m->binding, service, where, m->min, m->desired, m->waiting));
}

static void write(builder &b, const struct msg_binding *m)
{
	ENSURE(m->leg_count <= LIMIT_BINDING_LEGS);
	auto text = put_text(b, m->text);
	auto legs = b.CreateVectorOfStructs(reinterpret_cast<const hw::Leg *>(m->legs), m->leg_count);
	b.Finish(hw::CreateBinding(b, m->binding, static_cast<hw::BindingState>(m->state), legs, m->code, text));
}

static void write_kind(builder &b, const struct msg *m)
{
	switch (m->kind) {
	case FRAME_CALL_CANCEL: b.Finish(hw::CreateCallCancel(b, put_u64s(b, m->call_cancel.calls))); break;
	case FRAME_BIND: write(b, &m->bind); break;
	case FRAME_BINDING: write(b, &m->binding); break;
	case FRAME_UNBIND: b.Finish(hw::CreateUnbind(b, m->unbind.binding)); break;
	default: ENSURE(false); break; // those with a payload part have doors of their own
	}
}

const struct codec_area codec_call = { read_kind, write_kind };

template <class M> static void write_checked(struct buf *out, const M *m, uint32_t crc)
{
	heap memory;
	builder b(512, &memory);
	write(b, m, crc);
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}

extern "C" void codec_call_write(struct buf *out, const struct msg_call *m, uint32_t crc)
{
	write_checked(out, m, crc);
}

extern "C" void codec_invoke_write(struct buf *out, const struct msg_invoke *m, uint32_t crc)
{
	write_checked(out, m, crc);
}

extern "C" void codec_answer_write(struct buf *out, const struct msg_answer *m, uint32_t crc)
{
	write_checked(out, m, crc);
}
