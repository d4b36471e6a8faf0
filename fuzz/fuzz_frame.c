/* fuzz/fuzz_frame.c: any bytes as a stream of frames.
 *
 * Properties: a prefix gives ERR_AGAIN or the answer of the whole; what is consumed is a whole aligned frame; a
 * frame that is built again from its parts is the same bytes. */
#include "../wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct answer {
	enum err code;
	struct frame frame;
	size_t used, need;
};

static struct answer decode(struct span in, size_t frame_max)
{
	struct answer a = { 0 };
	char text[128] = "";
	a.code = frame_decode(in, frame_max, &a.frame, &a.used, &a.need, text);
	ENSURE(a.code == ERR_OK || a.code == ERR_AGAIN || text[0] != 0);
	if (a.code == ERR_AGAIN)
		ENSURE(a.need > in.len && a.need <= frame_max);
	return a;
}

static void check_prefixes(struct span in, size_t frame_max, const struct answer *whole)
{
	size_t most = MIN_OF(in.len, (size_t)64);
	for (size_t cut = 0; cut < most; cut++) {
		struct answer part = decode(span_sub(in, 0, cut), frame_max);
		if (part.code == ERR_OK)
			ENSURE(whole->code == ERR_OK && part.used == whole->used);
		else
			ENSURE(part.code == ERR_AGAIN || part.code == whole->code);
	}
}

static void check_built_again(struct span in, const struct answer *whole)
{
	struct buf b = { 0 };
	size_t begin = frame_begin(&b, (enum frame_kind)whole->frame.kind, whole->frame.correlation);
	buf_append(&b, whole->frame.meta.data, whole->frame.meta.len);
	frame_meta_done(&b, begin);
	buf_append(&b, whole->frame.payload.data, whole->frame.payload.len);
	frame_end(&b, begin);
	ENSURE(b.len == whole->used);
	memcpy(b.data + 6, &whole->frame.flags, 2); /* they are not sent yet, only carried */
	ENSURE(memcmp(b.data, in.data, b.len) == 0);
	buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	size_t frame_max = size % 2 ? LIMIT_FRAME_BYTES : LIMIT_HANDSHAKE_BYTES;
	for (;;) {
		struct answer whole = decode(in, frame_max);
		check_prefixes(in, frame_max, &whole);
		if (whole.code != ERR_OK)
			return 0;
		ENSURE(whole.used >= LIMIT_FRAME_HEADER && whole.used <= in.len && whole.used % 8 == 0);
		ENSURE(whole.frame.meta.len % 8 == 0 && whole.frame.payload.len % 8 == 0);
		check_built_again(in, &whole);
		in = span_sub(in, whole.used, in.len - whole.used);
	}
}
