/* wire/params.c: parameters of entries: text -> packed bytes -> values, and back to text.
 *
 * In the flow: SERVE -> directory; predicates are held against the packed bytes.
 *
 * 1. Packed: for each parameter u8 length of the name, the name, a value. A value: u8 kind, then a string (u16 length, bytes), i64,
 *    f64, u8, or a list (u16 bytes, then that many bytes of strings). Names are unique and sorted.
 * 2. No control characters and no numbers that are not finite: what is stored can be printed and compared.
 * 3. A text is at most LIMIT_PARAMS_BYTES long and packs into a small multiple of that, so lengths fit into 16 bits. */
#include "params.h"

#include <errno.h>
#include <stdarg.h>

/* ---- the scanner ---- */

static unsigned char_class(char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_')
		return SCAN_LETTER | SCAN_NAME | SCAN_WORD;
	if (c >= '0' && c <= '9')
		return SCAN_DIGIT | SCAN_NAME | SCAN_WORD;
	if (c == '.' || c == '-')
		return SCAN_NAME | SCAN_WORD;
	return c == ':' || c == '/' ? SCAN_WORD : 0;
}

static char byte_at(const struct scan *s, size_t at)
{
	return at < s->source.len ? (char)s->source.data[at] : '\0';
}

enum err scan_refuse(struct scan *s, size_t at, const char *format, ...)
{
	char why[96];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(why, sizeof why, format, args);
	va_end(args);
	(void)snprintf(s->text, 128, "%s: position %zu: %s", s->what, at + 1, why);
	return ERR_INVALID_INPUT;
}

char scan_peek(struct scan *s)
{
	while (s->at < s->source.len && (byte_at(s, s->at) == ' ' || byte_at(s, s->at) == '\t' || byte_at(s, s->at) == '\n'))
		s->at++;
	return byte_at(s, s->at);
}

bool scan_take(struct scan *s, const char *token)
{
	(void)scan_peek(s);
	size_t len = strlen(token);
	if (s->source.len - s->at < len || memcmp(s->source.data + s->at, token, len) != 0)
		return false;
	if ((char_class(token[0]) & SCAN_LETTER) && (char_class(byte_at(s, s->at + len)) & SCAN_WORD))
		return false;
	s->at += len;
	return true;
}

enum err scan_name(struct scan *s, struct span *out)
{
	char first = scan_peek(s);
	size_t from = s->at;
	if (!(char_class(first) & SCAN_LETTER))
		return scan_refuse(s, from, "a name was expected");
	while (char_class(byte_at(s, s->at)) & SCAN_NAME)
		s->at++;
	if (s->at - from > LIMIT_PARAM_NAME_BYTES)
		return scan_refuse(s, from, "a name of %zu bytes is over the limit of %d", s->at - from, LIMIT_PARAM_NAME_BYTES);
	*out = span_sub(s->source, from, s->at - from);
	return ERR_OK;
}

static void put_u16(struct buf *out, size_t at, size_t value)
{
	ENSURE(value <= UINT16_MAX);
	const uint16_t v = (uint16_t)value;
	memcpy(out->data + at, &v, 2);
}

/* Length and bytes of a string in quotes, or of a word. */
static enum err scan_string(struct scan *s, struct buf *out)
{
	char c = scan_peek(s);
	size_t from = s->at, begin = out->len;
	(void)buf_extend(out, 2);
	if (c == '"') {
		for (s->at++; (c = byte_at(s, s->at)) != '"'; s->at++) {
			if (s->at >= s->source.len)
				return scan_refuse(s, from, "the string does not end");
			if ((unsigned char)c < 0x20 || c == 0x7f)
				return scan_refuse(s, s->at, "a control character in a string");
			if (c == '\\' && (c = byte_at(s, ++s->at)) != '"' && c != '\\')
				return scan_refuse(s, s->at, "only \\\" and \\\\ are known behind a \\");
			buf_append(out, &c, 1);
		}
		s->at++;
	} else {
		if (!(char_class(c) & SCAN_LETTER))
			return scan_refuse(s, from, "a value was expected");
		while (char_class(byte_at(s, s->at)) & SCAN_WORD)
			s->at++;
		buf_append(out, s->source.data + from, s->at - from);
	}
	put_u16(out, begin, out->len - begin - 2);
	return ERR_OK;
}

static enum err scan_number(struct scan *s, struct buf *out)
{
	char copy[64];
	size_t from = s->at, len = 0;
	bool real = false;
	for (char c = byte_at(s, s->at); (char_class(c) & SCAN_WORD) || c == '+'; c = byte_at(s, s->at)) {
		if (len == sizeof copy - 1)
			return scan_refuse(s, from, "the number is too long");
		bool sign = (c == '-' || c == '+') && (len == 0 || copy[len - 1] == 'e' || copy[len - 1] == 'E');
		real = real || c == '.' || c == 'e' || c == 'E';
		if (!(char_class(c) & SCAN_DIGIT) && !sign && c != '.' && c != 'e' && c != 'E')
			return scan_refuse(s, s->at, "not part of a number");
		copy[len++] = c;
		s->at++;
	}
	copy[len] = '\0';
	char *end;
	errno = 0;
	const uint8_t kind = real ? PARAM_DOUBLE : PARAM_INT;
	const double d = real ? strtod(copy, &end) : 0;
	const int64_t i = real ? 0 : (int64_t)strtoll(copy, &end, 10);
	if (end == copy || *end != '\0')
		return scan_refuse(s, from, "not a number");
	if (real ? __builtin_isinf(d) : errno == ERANGE)
		return scan_refuse(s, from, "the number is out of range");
	const double zero_is_one = d == 0 ? 0 : d; /* -0.0 and 0.0 are equal and pack alike */
	buf_append(out, &kind, 1);
	buf_append(out, real ? (const void *)&zero_is_one : (const void *)&i, 8);
	return ERR_OK;
}

static enum err scan_list(struct scan *s, struct buf *out)
{
	const uint8_t kind = PARAM_STRINGS;
	s->at++;
	buf_append(out, &kind, 1);
	size_t begin = out->len;
	(void)buf_extend(out, 2);
	while (scan_peek(s) != ']') {
		enum err e = scan_string(s, out);
		if (e != ERR_OK)
			return e;
		if (!scan_take(s, ",") && scan_peek(s) != ']')
			return scan_refuse(s, s->at, "a , or ] was expected in the list");
	}
	s->at++;
	put_u16(out, begin, out->len - begin - 2);
	return ERR_OK;
}

enum err scan_value(struct scan *s, struct buf *out)
{
	char c = scan_peek(s);
	if (c == '[')
		return scan_list(s, out);
	if ((char_class(c) & SCAN_DIGIT) || c == '-' || c == '+' || c == '.')
		return scan_number(s, out);
	const bool truth = scan_take(s, "true");
	if (truth || scan_take(s, "false")) {
		buf_append(out, (const uint8_t[]){ PARAM_BOOL, truth }, 2);
		return ERR_OK;
	}
	buf_append(out, (const uint8_t[]){ PARAM_STRING }, 1);
	return scan_string(s, out);
}

/* ---- packed bytes ---- */

struct param_value value_read(struct reader *r)
{
	struct param_value v = { .kind = read_u8(r) };
	switch (v.kind) {
	case PARAM_INT: read_into(r, &v.integer, 8); break;
	case PARAM_DOUBLE: read_into(r, &v.real, 8); break;
	case PARAM_BOOL: v.truth = read_u8(r) != 0; break;
	default: v.string = read_bytes(r, read_u16(r)); break;
	}
	ENSURE(!r->failed);
	return v;
}

bool params_string(const struct param_value *list, size_t *at, struct span *out)
{
	if (*at >= list->string.len)
		return false;
	struct reader r = { .rest = span_sub(list->string, *at, list->string.len - *at) };
	*out = read_bytes(&r, read_u16(&r));
	ENSURE(!r.failed);
	*at = list->string.len - r.rest.len;
	return true;
}

bool params_next(struct span packed, size_t *at, struct span *name, struct param_value *out)
{
	if (*at >= packed.len)
		return false;
	struct reader r = { .rest = span_sub(packed, *at, packed.len - *at) };
	*name = read_bytes(&r, read_u8(&r));
	*out = value_read(&r);
	*at = packed.len - r.rest.len;
	return true;
}

bool params_find(struct span packed, struct span name, struct param_value *out)
{
	struct span found;
	for (size_t at = 0; params_next(packed, &at, &found, out);)
		if (span_eq(found, name))
			return true;
	return false;
}

static int name_order(struct span a, struct span b)
{
	int order = memcmp(a.data, b.data, MIN_OF(a.len, b.len));
	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static void insert_sorted(struct span *items, uint32_t *count, struct span item)
{
	uint32_t i = (*count)++;
	for (; i > 0 && name_order(span_of(items[i - 1].data + 1, items[i - 1].data[0]), span_of(item.data + 1, item.data[0])) > 0; i--)
		items[i] = items[i - 1];
	items[i] = item;
}

static enum err parse_all(struct scan *s, struct buf *raw, uint32_t *count)
{
	while (scan_peek(s) != '\0' || s->at < s->source.len) {
		struct span name, other;
		struct param_value value;
		enum err e = scan_name(s, &name);
		if (e != ERR_OK)
			return e;
		if (++*count > LIMIT_PARAMS) {
			(void)scan_refuse(s, s->at - name.len, "more than %d parameters", LIMIT_PARAMS);
			return ERR_TOO_BIG;
		}
		for (size_t at = 0; params_next(buf_span(raw), &at, &other, &value);)
			if (span_eq(other, name))
				return scan_refuse(s, s->at - name.len, "%.*s is there twice", (int)name.len, name.data);
		if (!scan_take(s, "="))
			return scan_refuse(s, s->at, "a = was expected behind %.*s", (int)name.len, name.data);
		const uint8_t len = (uint8_t)name.len;
		size_t begin = raw->len;
		buf_append(raw, &len, 1);
		buf_append(raw, name.data, name.len);
		e = scan_value(s, raw);
		if (e != ERR_OK) {
			raw->len = begin;
			return e;
		}
		(void)scan_take(s, ",");
	}
	return ERR_OK;
}

/* What is told of it later is its full form: with quotes around each word. */
static enum err printed_check(struct buf *out, size_t begin, struct buf *scratch, char text[128])
{
	scratch->len = 0;
	params_print(span_sub(buf_span(out), begin, out->len - begin), scratch);
	if (scratch->len <= LIMIT_PARAMS_BYTES)
		return ERR_OK;
	out->len = begin;
	(void)snprintf(text, 128, "params: %zu bytes with all quotes and commas are over the limit of %d", scratch->len,
		       LIMIT_PARAMS_BYTES);
	return ERR_TOO_BIG;
}

enum err params_parse(struct span source, struct buf *out, char text[128])
{
	struct scan s = { .source = source, .what = "params", .text = text };
	if (source.len > LIMIT_PARAMS_BYTES) {
		(void)snprintf(text, 128, "params: %zu bytes are over the limit of %d", source.len, LIMIT_PARAMS_BYTES);
		return ERR_TOO_BIG;
	}
	struct buf raw = { NULL, 0, 0 };
	struct span items[LIMIT_PARAMS], name;
	uint32_t count = 0, sorted = 0;
	size_t begin = out->len;
	enum err e = parse_all(&s, &raw, &count);
	if (e == ERR_OK) {
		struct param_value value;
		for (size_t at = 0, from = 0; params_next(buf_span(&raw), &at, &name, &value); from = at)
			insert_sorted(items, &sorted, span_of(raw.data + from, at - from));
		for (uint32_t i = 0; i < sorted; i++)
			buf_append(out, items[i].data, items[i].len);
		e = printed_check(out, begin, &raw, text);
	}
	buf_free(&raw);
	return e;
}

bool params_are_brokers(struct span packed)
{
	const struct span mark = span_str(PARAMS_BROKER);
	struct span name;
	struct param_value value;
	for (size_t at = 0; params_next(packed, &at, &name, &value);)
		if (name.len >= mark.len && memcmp(name.data, mark.data, mark.len) == 0)
			return true;
	return false;
}

void params_insert(struct buf *out, size_t begin, struct span name, struct span string)
{
	const struct span packed = span_sub(buf_span(out), begin, out->len - begin);
	size_t here = 0, at = 0, size = 1 + name.len + 1 + 2 + string.len;
	struct span other;
	struct param_value value;
	while (params_next(packed, &at, &other, &value) && name_order(other, name) < 0)
		here = at;
	(void)buf_extend(out, size);
	uint8_t *to = out->data + begin + here;
	memmove(to + size, to, out->len - size - begin - here);
	*to++ = (uint8_t)name.len;
	memcpy(to, name.data, name.len);
	to += name.len;
	*to++ = PARAM_STRING;
	const uint16_t len = (uint16_t)string.len;
	memcpy(to, &len, 2);
	if (string.len > 0)
		memcpy(to + 2, string.data, string.len);
}

/* ---- text ---- */

static void print_string(struct span string, struct buf *out)
{
	buf_append(out, "\"", 1);
	for (size_t i = 0; i < string.len; i++) {
		if (string.data[i] == '"' || string.data[i] == '\\')
			buf_append(out, "\\", 1);
		buf_append(out, string.data + i, 1);
	}
	buf_append(out, "\"", 1);
}

/* The shortest that reads back as the same, and always a double: with a point or an exponent. */
static void print_real(double value, struct buf *out)
{
	char digits[40];
	for (int precision = 1; precision <= 17; precision++) {
		(void)snprintf(digits, sizeof digits - 2, "%.*g", precision, value);
		if (strtod(digits, NULL) == value)
			break;
	}
	size_t len = strlen(digits);
	buf_append(out, digits, len);
	if (!memchr(digits, '.', len) && !memchr(digits, 'e', len))
		buf_append(out, ".0", 2);
}

void value_print(const struct param_value *value, struct buf *out)
{
	char digits[32];
	struct span string;
	switch (value->kind) {
	case PARAM_STRING: print_string(value->string, out); break;
	case PARAM_INT:
		(void)snprintf(digits, sizeof digits, "%lld", (long long)value->integer);
		buf_append(out, digits, strlen(digits));
		break;
	case PARAM_DOUBLE: print_real(value->real, out); break;
	case PARAM_BOOL: buf_append(out, value->truth ? "true" : "false", value->truth ? 4 : 5); break;
	default:
		buf_append(out, "[", 1);
		for (size_t at = 0; params_string(value, &at, &string);) {
			print_string(string, out);
			if (at < value->string.len)
				buf_append(out, ", ", 2);
		}
		buf_append(out, "]", 1);
		break;
	}
}

void params_print(struct span packed, struct buf *out)
{
	struct span name;
	struct param_value value;
	for (size_t at = 0; params_next(packed, &at, &name, &value);) {
		buf_append(out, name.data, name.len);
		buf_append(out, "=", 1);
		value_print(&value, out);
		if (at < packed.len)
			buf_append(out, ", ", 2);
	}
}
