/* wire/span.h: bytes we borrow, and the only pointer arithmetic on foreign bytes in the project.
 *
 * A reader fails once and stays failed, so that a parser reads everything and checks once at the end.
 * All integers on wire and disk are little-endian; so are the machines we run on (checked below). */
#pragma once

#include "base.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "hillock runs on little-endian machines");

struct span {
	const uint8_t *data;
	size_t len;
};

static inline struct span span_of(const void *data, size_t len)
{
	return (struct span){ (const uint8_t *)data, len };
}

static inline struct span span_str(const char *text)
{
	return span_of(text, text ? strlen(text) : 0);
}

static inline bool span_eq(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The part [from, from + len) of `s`; the caller has checked that it lies inside. */
static inline struct span span_sub(struct span s, size_t from, size_t len)
{
	ENSURE(from <= s.len && len <= s.len - from);
	return (struct span){ from ? s.data + from : s.data, len }; /* no arithmetic on NULL */
}

struct reader {
	struct span rest;
	bool failed;
};

/* The next `len` bytes, or an empty span and `failed` where fewer are left. */
static inline struct span read_bytes(struct reader *r, size_t len)
{
	if (r->failed || r->rest.len < len) {
		r->failed = true;
		return (struct span){ NULL, 0 };
	}
	struct span out = { r->rest.data, len };
	r->rest.data += len;
	r->rest.len -= len;
	return out;
}

/* Fills `out` completely: from the input, or with zeros once the reader has failed. */
static inline void read_into(struct reader *r, void *out, size_t len)
{
	struct span s = read_bytes(r, len);
	if (s.data)
		memcpy(out, s.data, len);
	else
		memset(out, 0, len);
}

#define DEFINE_READ(bits)                                               \
	static inline uint##bits##_t read_u##bits(struct reader *r)     \
	{                                                               \
		uint##bits##_t v;                                       \
		read_into(r, &v, sizeof v);                             \
		return v;                                               \
	}
DEFINE_READ(8)
DEFINE_READ(16)
DEFINE_READ(32)
DEFINE_READ(64)
#undef DEFINE_READ

/* Growing bytes we own. Zero-initialise; free with buf_free. Memory exhaustion aborts: every buffer
 * that a peer can make grow is bounded by a limit before it is grown. */
struct buf {
	uint8_t *data;
	size_t len, cap;
};

static inline void buf_reserve(struct buf *b, size_t more)
{
	size_t need = size_add(b->len, more);
	if (need <= b->cap)
		return;
	size_t cap = b->cap ? b->cap : 256;
	while (cap < need)
		cap = size_mul(cap, 2);
	uint8_t *data = (uint8_t *)realloc(b->data, cap);
	ENSURE(data != NULL);
	b->data = data;
	b->cap = cap;
}

/* Room for `len` bytes at the end, already counted in b->len; valid until the next growth. */
static inline uint8_t *buf_extend(struct buf *b, size_t len)
{
	buf_reserve(b, len);
	uint8_t *at = b->data + b->len;
	b->len += len;
	return at;
}

static inline void buf_append(struct buf *b, const void *data, size_t len)
{
	if (len > 0)
		memcpy(buf_extend(b, len), data, len);
}

static inline void buf_consume(struct buf *b, size_t len)
{
	ENSURE(len <= b->len);
	if (len < b->len)
		memmove(b->data, b->data + len, b->len - len);
	b->len -= len;
}

static inline void buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ NULL, 0, 0 };
}

static inline struct span buf_span(const struct buf *b)
{
	return (struct span){ b->data, b->len };
}

/* Two lower-case hexadecimal digits for each byte, and a zero behind them. */
static inline void hex_print(const uint8_t *bytes, size_t count, char *out)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < count; i++) {
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 15];
	}
	*out = '\0';
}
