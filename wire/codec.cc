// wire/codec.cc, with codec_*.cc: the only C++ of the broker, and only a translator: generated FlatBuffers
// code on one side, the plain structs of msg.h on the other. One file per area of the protocol; this one chooses.
// In the flow: socket -> frame -> VERIFY -> session.
//
// 1. Nothing is read before the official Verifier has accepted the whole meta part, with our limits.
// 2. What a C caller borrows in place has the alignment of its C type: the Verifier checks offsets of vectors to
//    4 only, so vectors of 64-bit members are checked here.
// 3. No C++ run time is needed. The library names operator new and delete in paths that cannot run (our allocator
//    is always passed); they are bound to names of our own below, so that we neither need them from libstdc++ nor
//    define them for a C++ program that links us. The namespaces are renamed for the same reason.
// 4. Sizes and counts of outgoing messages are the caller's business and ENSUREd, never clipped.
#include "codec_impl.hh"

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

static const struct codec_area *area_of(uint16_t kind)
{
	switch (kind / 16) {
	case 0: return &codec_session;
	case 1:
	case 2: return &codec_task;
	case 3: return &codec_admin;
	case 4: return &codec_directory;
	case 5: return &codec_event;
	case 6: return &codec_call;
	case 7: return &codec_blob;
	default: return nullptr;
	}
}

extern "C" enum err codec_read(uint16_t kind, struct span meta, struct msg *out, char text[128])
{
	const struct codec_area *area = area_of(kind);
	return area ? area->read(kind, meta, out, text) : unknown_kind(kind, text);
}

extern "C" void codec_write(struct buf *out, const struct msg *m)
{
	const struct codec_area *area = area_of(static_cast<uint16_t>(m->kind));
	ENSURE(area != nullptr);
	heap memory;
	builder b(512, &memory);
	area->write(b, m);
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}
