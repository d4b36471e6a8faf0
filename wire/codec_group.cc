// wire/codec_group.cc: groups in REPLY.specs: a FlatBuffer of its own inside of each.
// In the flow: administration -> REPLY, and back in the library. Invariants stand in codec.cc.
#include "codec_impl.hh"

static enum err read(const hw::GroupInfo *m, struct group_info *out, char *)
{
	out->name = text_of(m->name());
	out->members = m->members();
	out->size = m->size();
	out->open = m->open();
	out->done = m->done();
	out->failed = m->failed();
	out->cancelled = m->cancelled();
	out->expired = m->expired();
	out->lost = m->lost();
	out->dead = m->dead();
	out->callback = m->callback();
	out->bad = m->bad();
	out->ended_ms = m->ended_ms();
	out->cancelled_whole = m->cancelled_whole();
	return ERR_OK;
}

extern "C" enum err group_info_decode(struct span bytes, struct group_info *out, char text[128])
{
	return verify_and_read<hw::GroupInfo>(bytes, "GroupInfo", out, text, read);
}

extern "C" void group_info_encode(struct buf *out, const struct group_info *g)
{
	heap memory;
	builder b(256, &memory);
	auto name = put_text(b, g->name);
	b.Finish(hw::CreateGroupInfo(b, name, g->members, g->size, g->open, g->done, g->failed, g->cancelled, g->expired,
				     g->lost, g->dead, g->callback, g->bad, g->ended_ms, g->cancelled_whole));
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}
