// wire/codec_redrive.cc: redrives in REQUEST.spec and REPLY.specs: a FlatBuffer of its own inside of them.
// In the flow: frame -> VERIFY -> administration, and back out. Invariants stand in codec.cc.
#include "codec_impl.hh"
extern "C" {
#include "check.h"
}

static enum err read(const hw::RedriveInfo *m, struct redrive_info *out, char *)
{
	out->number = m->number();
	out->queue = text_of(m->queue());
	out->type = text_of(m->type());
	out->code = m->code();
	out->rate = m->rate();
	out->limit = m->limit();
	out->done = m->done();
	out->started_ms = m->started_ms();
	out->ended_ms = m->ended_ms();
	out->state = m->state();
	return ERR_OK;
}

extern "C" enum err redrive_info_decode(struct span bytes, struct redrive_info *out, char text[128])
{
	enum err e = verify_and_read<hw::RedriveInfo>(bytes, "RedriveInfo", out, text, read);
	if (e == ERR_OK)
		e = check_length("RedriveInfo.queue", out->queue, LIMIT_NAME_BYTES, text);
	return e == ERR_OK ? check_length("RedriveInfo.type", out->type, LIMIT_NAME_BYTES, text) : e;
}

extern "C" void redrive_info_encode(struct buf *out, const struct redrive_info *r)
{
	heap memory;
	builder b(512, &memory);
	auto queue = put_text(b, r->queue);
	auto type = put_text(b, r->type);
	b.Finish(hw::CreateRedriveInfo(b, r->number, queue, type, r->code, r->rate, r->limit, r->done, r->started_ms, r->ended_ms,
				       r->state));
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}
