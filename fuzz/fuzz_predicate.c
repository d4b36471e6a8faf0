/* fuzz/fuzz_predicate.c: any bytes as a predicate and parameters, one line each.
 *
 * Properties: what is accepted prints to a text that packs into the same bytes, and the answer is the same; a refusal says why and
 * leaves the output alone; the failing part is named exactly where the whole does not hold. */
#include "../wire/predicate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef enum err parser(struct span, struct buf *, char *);

static bool pack(parser *parse, void (*print)(struct span, struct buf *), struct span source, struct buf *out)
{
	char text[128] = "";
	if (parse(source, out, text) != ERR_OK) {
		ENSURE(out->len == 0 && text[0] != '\0');
		return false;
	}
	struct buf printed = { 0 }, again = { 0 };
	print(buf_span(out), &printed);
	enum err e = parse(buf_span(&printed), &again, text);
	/* Quotes make the text longer, and !a < 1 is printed as !(a < 1), which is nested deeper. */
	bool over = e == ERR_TOO_BIG || strstr(text, "nested") != NULL;
	ENSURE(over || (e == ERR_OK && span_eq(buf_span(out), buf_span(&again))));
	buf_free(&printed);
	buf_free(&again);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *line = size > 0 ? memchr(data, '\r', size) : NULL;
	size_t first = line ? (size_t)(line - data) : size;
	struct span whole = span_of(data, size);
	struct buf predicate = { 0 }, params = { 0 };
	bool ok = pack(predicate_parse, predicate_print, span_sub(whole, 0, first), &predicate);
	struct span rest = line ? span_sub(whole, first + 1, size - first - 1) : span_of(NULL, 0);
	if (pack(params_parse, params_print, rest, &params) && ok) {
		bool holds = predicate_holds(buf_span(&predicate), buf_span(&params));
		struct span part = predicate_failing(buf_span(&predicate), buf_span(&params));
		ENSURE((part.len == 0) == holds);
		ENSURE(part.len == 0 || !predicate_holds(part, buf_span(&params)));
	}
	buf_free(&predicate);
	buf_free(&params);
	return 0;
}
