/* wire/frame.c: reads and writes the 16-byte frame header. In the flow: socket -> FRAME -> verify -> session.
 *
 * 1. A header is judged as soon as its 16 bytes are there, before any byte of the body is waited for, so a
 *    lying size costs the peer its connection and us nothing.
 * 2. Every part is padded with zeros to a multiple of 8, so in a buffer that is 8-aligned every frame is, and
 *    so is its meta part, whose structs are read in place.
 * 3. Decoding a prefix of the input gives either ERR_AGAIN or the answer of the whole. */
#include "frame.h"

struct header {
	uint32_t size;
	uint16_t kind, flags;
	uint32_t meta_size, correlation;
};
_Static_assert(sizeof(struct header) == LIMIT_FRAME_HEADER, "the header on the wire");
_Static_assert(LIMIT_META_BYTES % 8 == 0 && LIMIT_FRAME_PAYLOAD % 8 == 0, "parts end 8-aligned");

const char *frame_kind_name(uint16_t kind)
{
	static const char *const names[] = {
		[FRAME_HELLO] = "HELLO", [FRAME_WELCOME] = "WELCOME", [FRAME_ERROR] = "ERROR",
		[FRAME_PING] = "PING", [FRAME_PONG] = "PONG", [FRAME_GOODBYE] = "GOODBYE",
		[FRAME_SUBMIT] = "SUBMIT", [FRAME_CONFIRMS] = "CONFIRMS", [FRAME_AWAIT] = "AWAIT",
		[FRAME_FORGET] = "FORGET", [FRAME_RESULTS] = "RESULTS", [FRAME_UPDATES] = "UPDATES", [FRAME_SERVE] = "SERVE",
		[FRAME_CREDIT] = "CREDIT", [FRAME_DELIVER] = "DELIVER", [FRAME_REPORT] = "REPORT",
		[FRAME_REPORTED] = "REPORTED", [FRAME_SIGNALS] = "SIGNALS", [FRAME_REQUEST] = "REQUEST",
		[FRAME_REPLY] = "REPLY",
		[FRAME_SUBSCRIBE] = "SUBSCRIBE", [FRAME_SUBSCRIBED] = "SUBSCRIBED",
		[FRAME_UNSUBSCRIBE] = "UNSUBSCRIBE", [FRAME_PUBLISH] = "PUBLISH",
		[FRAME_PUBLISHED] = "PUBLISHED", [FRAME_EVENTS] = "EVENTS",
		[FRAME_EVENT_CREDIT] = "EVENT_CREDIT", [FRAME_INTEREST] = "INTEREST",
		[FRAME_WATCH] = "WATCH", [FRAME_UNWATCH] = "UNWATCH", [FRAME_CHANGES] = "CHANGES",
		[FRAME_CALL] = "CALL", [FRAME_ANSWER] = "ANSWER", [FRAME_INVOKE] = "INVOKE",
		[FRAME_CALL_CANCEL] = "CALL_CANCEL", [FRAME_BIND] = "BIND", [FRAME_BINDING] = "BINDING",
		[FRAME_UNBIND] = "UNBIND",
		[FRAME_BLOB_PUT] = "BLOB_PUT", [FRAME_BLOB_STATE] = "BLOB_STATE", [FRAME_BLOB_CHUNK] = "BLOB_CHUNK",
		[FRAME_BLOB_END] = "BLOB_END", [FRAME_BLOB_GET] = "BLOB_GET", [FRAME_BLOB_DATA] = "BLOB_DATA",
		[FRAME_BLOB_MORE] = "BLOB_MORE",
	};
	const char *name = kind < COUNT_OF(names) ? names[kind] : NULL;
	return name ? name : "UNKNOWN";
}

static enum err refuse(enum err code, char text[128], const char *field, size_t value, const char *why,
		       size_t limit)
{
	(void)snprintf(text, 128, "frame.%s: %zu %s %zu", field, value, why, limit);
	return code;
}

static enum err header_check(const struct header *h, size_t frame_max, char text[128])
{
	if (h->size > frame_max - LIMIT_FRAME_HEADER)
		return refuse(ERR_TOO_BIG, text, "size", h->size, "bytes are over the limit of",
			      frame_max - LIMIT_FRAME_HEADER);
	if (h->size % 8 != 0)
		return refuse(ERR_MALFORMED, text, "size", h->size, "is not a multiple of", 8);
	if (h->meta_size % 8 != 0)
		return refuse(ERR_MALFORMED, text, "meta_size", h->meta_size, "is not a multiple of", 8);
	if (h->meta_size > h->size)
		return refuse(ERR_MALFORMED, text, "meta_size", h->meta_size, "is over the frame's size of",
			      h->size);
	if (h->meta_size > LIMIT_META_BYTES)
		return refuse(ERR_TOO_BIG, text, "meta_size", h->meta_size, "bytes are over the limit of",
			      LIMIT_META_BYTES);
	if (h->size - h->meta_size > LIMIT_FRAME_PAYLOAD)
		return refuse(ERR_TOO_BIG, text, "payload", h->size - h->meta_size,
			      "bytes are over the limit of", LIMIT_FRAME_PAYLOAD);
	return ERR_OK;
}

enum err frame_decode(struct span in, size_t frame_max, struct frame *out, size_t *used, size_t *need,
		      char text[128])
{
	ENSURE(frame_max >= LIMIT_FRAME_HEADER);
	if (in.len < LIMIT_FRAME_HEADER) {
		*need = LIMIT_FRAME_HEADER;
		return ERR_AGAIN;
	}
	struct header h;
	memcpy(&h, in.data, sizeof h);
	enum err e = header_check(&h, frame_max, text);
	if (e != ERR_OK)
		return e;
	size_t whole = LIMIT_FRAME_HEADER + (size_t)h.size;
	if (in.len < whole) {
		*need = whole;
		return ERR_AGAIN;
	}
	out->kind = h.kind;
	out->flags = h.flags;
	out->correlation = h.correlation;
	out->meta = span_sub(in, LIMIT_FRAME_HEADER, h.meta_size);
	out->payload = span_sub(in, LIMIT_FRAME_HEADER + (size_t)h.meta_size, h.size - h.meta_size);
	*used = whole;
	return ERR_OK;
}

/* Relative to the frame's start: a frame is a multiple of 8 long wherever it begins. */
static void pad_to_8(struct buf *out, size_t begin)
{
	size_t more = (size_t)-(out->len - begin) & 7;
	if (more > 0)
		memset(buf_extend(out, more), 0, more);
}

size_t frame_begin(struct buf *out, enum frame_kind kind, uint32_t correlation)
{
	size_t begin = out->len;
	struct header h = { .kind = (uint16_t)kind, .correlation = correlation };
	buf_append(out, &h, sizeof h);
	return begin;
}

void frame_meta_done(struct buf *out, size_t begin)
{
	ENSURE(out->len >= begin + LIMIT_FRAME_HEADER);
	pad_to_8(out, begin);
	size_t size = out->len - begin - LIMIT_FRAME_HEADER;
	ENSURE(size <= LIMIT_META_BYTES);
	uint32_t meta_size = (uint32_t)size;
	memcpy(out->data + begin + offsetof(struct header, meta_size), &meta_size, sizeof meta_size);
}

void frame_end(struct buf *out, size_t begin)
{
	ENSURE(out->len >= begin + LIMIT_FRAME_HEADER);
	pad_to_8(out, begin);
	ENSURE(out->len - begin <= LIMIT_FRAME_BYTES);
	uint32_t size = (uint32_t)(out->len - begin - LIMIT_FRAME_HEADER);
	memcpy(out->data + begin, &size, sizeof size);
}

void frame_end_before(struct buf *out, size_t begin, uint32_t more)
{
	size_t whole = out->len - begin + align_up(more, 8);
	ENSURE((out->len - begin) % 8 == 0 && whole >= LIMIT_FRAME_HEADER && whole <= LIMIT_FRAME_BYTES);
	uint32_t size = (uint32_t)(whole - LIMIT_FRAME_HEADER);
	memcpy(out->data + begin, &size, sizeof size);
}

void frame_set_correlation(struct buf *out, size_t begin, uint32_t correlation)
{
	ENSURE(out->len >= begin + LIMIT_FRAME_HEADER);
	memcpy(out->data + begin + offsetof(struct header, correlation), &correlation, sizeof correlation);
}
