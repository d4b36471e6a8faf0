/* wire/check.h: the small judgements that every area of the protocol makes of its values. Private to wire/.
 * In the flow: frame -> VERIFY -> session. Each gives ERR_OK, or writes the text and gives the code; `what` is the message and the
 * field ("SERVE.entries"). */
#pragma once

#include "codec.h"

static inline enum err check_over(char text[128], const char *what, size_t value, size_t limit)
{
	return msg_refuse(text, ERR_TOO_BIG, "%s: %zu bytes are over the limit of %zu", what, value, limit);
}

static inline enum err check_length(const char *what, struct span s, size_t limit, char text[128])
{
	return s.len <= limit ? ERR_OK : check_over(text, what, s.len, limit);
}

/* A name that must be there. */
static inline enum err check_name(const char *what, struct span s, char text[128])
{
	if (s.len == 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "%s: empty", what);
	return check_length(what, s, LIMIT_NAME_BYTES, text);
}

static inline enum err check_count(const char *what, uint32_t count, char text[128])
{
	if (count <= LIMIT_FRAME_ITEMS)
		return ERR_OK;
	return msg_refuse(text, ERR_TOO_BIG, "%s: %u items are over the limit of %u", what, count,
			  (unsigned)LIMIT_FRAME_ITEMS);
}

static inline enum err check_range(char text[128], const char *what, uint32_t index, uint32_t value)
{
	return msg_refuse(text, ERR_INVALID_INPUT, "%s (item %u): %u is not one of its values", what, index, value);
}

/* The payload part is the pieces (`bytes` in all), then fewer than eight zeros; it has been carried intact. */
enum err check_payload(const char *name, struct span payload, uint64_t bytes, uint32_t crc, char text[128]) MUST_CHECK;

/* Pieces that are one behind the other: each is what `kind` says. */
static inline enum err check_pieces(const char *what, uint8_t kind, struct u32s sizes, struct span payload, char text[128])
{
	size_t at = 0;
	enum err e = ERR_OK;
	for (uint32_t i = 0; kind != PAYLOAD_INLINE && i < sizes.count && e == ERR_OK; i++) {
		e = payload_check(what, kind, span_sub(payload, at, sizes.at[i]), text);
		at += sizes.at[i];
	}
	return e;
}

static inline enum err check_no_payload(const struct msg *msg, struct span payload, char text[128])
{
	if (payload.len == 0)
		return ERR_OK;
	return msg_refuse(text, ERR_MALFORMED, "%s: %zu bytes of payload in a message without a payload part",
			  frame_kind_name((uint16_t)msg->kind), payload.len);
}
