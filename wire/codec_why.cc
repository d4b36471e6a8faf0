// wire/codec_why.cc: reasons of VERB_TASK_WHY in REPLY.specs: a FlatBuffer of its own inside of each.
// In the flow: administration -> REPLY, and back in the library. Invariants stand in codec.cc.
#include "codec_impl.hh"

static enum err read(const hw::WhyReason *m, struct why_reason *out, char *)
{
	out->kind = m->kind();
	out->entry = m->entry();
	out->worker = text_of(m->worker());
	out->predicate = text_of(m->predicate());
	out->value = text_of(m->value());
	out->text = text_of(m->text());
	out->task = m->task();
	out->at_ms = m->at_ms();
	return ERR_OK;
}

extern "C" enum err why_reason_decode(struct span bytes, struct why_reason *out, char text[128])
{
	return verify_and_read<hw::WhyReason>(bytes, "WhyReason", out, text, read);
}

extern "C" void why_reason_encode(struct buf *out, const struct why_reason *r)
{
	heap memory;
	builder b(256, &memory);
	auto worker = put_text(b, r->worker);
	auto predicate = put_text(b, r->predicate);
	auto value = put_text(b, r->value);
	auto text = put_text(b, r->text);
	b.Finish(hw::CreateWhyReason(b, r->kind, worker, r->entry, predicate, value, r->task, r->at_ms, text));
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}

extern "C" const char *why_kind_name(uint32_t kind)
{
	static const char *const names[] = { "unknown", "settled", "leased", "paused", "delayed", "order", "unreadable",
					     "no_entry", "requirement", "no_credit", "away", "in_line", "expires",
					     "after", "group", "share" };
	static_assert(sizeof names / sizeof *names == WHY_KINDS, "every kind has a name");
	return names[kind < WHY_KINDS ? kind : 0];
}
