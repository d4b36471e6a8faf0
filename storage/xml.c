/* storage/xml.c: a pull scanner for the answers of S3 servers. In the flow: blob_s3_http.c -> XML -> blob_s3_list.c, blob_s3_write.c.
 *
 * 1. Names and texts are parts of the input; nothing is allocated, and every call reads each byte at most once.
 * 2. What is not understood is XML_BAD, not skipped: an answer is taken whole or not at all. */
#include "xml.h"

struct xml xml_begin(struct span bytes)
{
	return (struct xml){ .rest = bytes };
}

static enum xml_event bad(struct xml *x)
{
	x->rest = span_of(NULL, 0);
	x->depth = 1; /* never the end */
	x->closes = false;
	return XML_BAD;
}

static void skip(struct xml *x, size_t n)
{
	x->rest = span_sub(x->rest, n, x->rest.len - n);
}

/* Where `mark` begins, or rest.len. */
static size_t find(struct span in, const char *mark)
{
	const void *at = in.len > 0 ? memmem(in.data, in.len, mark, strlen(mark)) : NULL;
	return at ? (size_t)((const uint8_t *)at - in.data) : in.len;
}

static bool starts(struct span in, const char *mark)
{
	return in.len >= strlen(mark) && memcmp(in.data, mark, strlen(mark)) == 0;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_name(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' || c == ':';
}

static enum xml_event closed(struct xml *x)
{
	x->depth--;
	x->name = x->open[x->depth];
	return XML_CLOSE;
}

/* x->rest begins behind '<'; `len` bytes of it are the tag. */
static enum xml_event tag(struct xml *x, size_t len)
{
	struct span in = span_sub(x->rest, 0, len);
	bool ends = starts(in, "/"), empty = !ends && len > 0 && in.data[len - 1] == '/';
	in = span_sub(in, ends, in.len - ends - empty);
	size_t n = 0;
	while (n < in.len && is_name(in.data[n]))
		n++;
	if (n == 0 || (n < in.len && !is_blank(in.data[n])))
		return bad(x);
	struct span name = span_sub(in, 0, n);
	if (ends) {
		for (size_t i = n; i < in.len; i++)
			if (!is_blank(in.data[i]))
				return bad(x);
		if (x->depth == 0 || !span_eq(x->open[x->depth - 1], name))
			return bad(x);
		skip(x, len + 1);
		return closed(x);
	}
	if (x->depth == XML_DEPTH || (x->depth == 0 && x->roots++ > 0))
		return bad(x);
	x->open[x->depth++] = name;
	x->name = name;
	x->closes = empty;
	x->text = span_of(NULL, 0);
	skip(x, len + 1);
	return XML_OPEN;
}

/* The length of a tag up to its '>', which may stand in an attribute, too. */
static size_t tag_len(struct span in)
{
	uint8_t quote = 0;
	for (size_t i = 0; i < in.len; i++) {
		uint8_t c = in.data[i];
		if (quote)
			quote = c == quote ? 0 : quote;
		else if (c == '"' || c == '\'')
			quote = c;
		else if (c == '>')
			return i;
	}
	return in.len;
}

enum xml_event xml_next(struct xml *x)
{
	if (x->closes) {
		x->closes = false;
		return closed(x);
	}
	for (;;) {
		size_t n = find(x->rest, "<");
		struct span text = span_sub(x->rest, 0, n);
		skip(x, n);
		if (x->depth == 0) {
			for (size_t i = 0; i < text.len; i++)
				if (!is_blank(text.data[i]))
					return bad(x);
			if (x->rest.len == 0)
				return x->roots == 1 ? XML_END : bad(x);
		}
		/* Inside of an element they would cut its text in two. */
		const char *until = x->depth > 0 ? NULL : starts(x->rest, "<?") ? "?>" : starts(x->rest, "<!--") ? "-->" : NULL;
		if (!until) {
			x->text = text;
			break;
		}
		size_t end = find(x->rest, until);
		if (end == x->rest.len)
			return bad(x);
		skip(x, end + strlen(until));
	}
	if (x->rest.len == 0)
		return bad(x);
	skip(x, 1);
	size_t len = tag_len(x->rest);
	return len < x->rest.len ? tag(x, len) : bad(x);
}

/* The character that "&...;" stands for, -1 where there is none; only what fits a byte is needed. */
static int entity(struct span in)
{
	static const struct { const char *name; char value; } known[] = {
		{ "amp", '&' }, { "lt", '<' }, { "gt", '>' }, { "quot", '"' }, { "apos", '\'' },
	};
	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (span_eq(in, span_str(known[i].name)))
			return known[i].value;
	if (in.len < 2 || in.len > 6 || in.data[0] != '#')
		return -1;
	bool hex = in.data[1] == 'x';
	uint32_t value = 0;
	for (size_t i = hex ? 2 : 1; i < in.len; i++) {
		static const char digits[] = "0123456789abcdef";
		const char *at = strchr(digits, in.data[i] | 32); /* none of the digits changes by it; 0 does not become one */
		if (!at || at - digits >= (hex ? 16 : 10))
			return -1;
		uint32_t digit = (uint32_t)(at - digits);
		value = value * (hex ? 16 : 10) + digit;
	}
	return value > 0 && value < 128 ? (int)value : -1;
}

bool xml_text(struct span text, char *out, size_t room)
{
	size_t n = 0;
	for (size_t i = 0; i < text.len; i++) {
		int c = text.data[i];
		if (c == '&') {
			struct span rest = span_sub(text, i + 1, text.len - i - 1);
			size_t len = find(rest, ";");
			c = len < rest.len ? entity(span_sub(rest, 0, len)) : -1;
			i += len + 1;
		}
		if (c <= 0 || n + 1 >= room)
			return false;
		out[n++] = (char)c;
	}
	if (room == 0)
		return false;
	out[n] = '\0';
	return true;
}

bool xml_is(struct span name, const char *want)
{
	size_t colon = find(name, ":");
	if (colon < name.len)
		name = span_sub(name, colon + 1, name.len - colon - 1);
	return span_eq(name, span_str(want));
}
