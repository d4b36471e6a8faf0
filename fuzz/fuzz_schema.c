/* fuzz/fuzz_schema.c: the compiler of schemas, fed with anything.
 *
 * The input is a .bfbs. Properties: no step outside, whatever it says; a refusal has a text; what compiles describes itself in
 * bounded text, has a fingerprint that depends on the type's name, is the same as itself, can be held against another schema, and
 * can be walked with: the input is a payload of it as well. */
#include "../wire/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(struct schema *s, struct span bytes)
{
	struct schema *again;
	char text[256];
	struct buf lines = { NULL, 0, 0 }, described = { NULL, 0, 0 };
	schema_describe(s, &described);
	ENSURE(described.len > 0 && described.len < (size_t)SCHEMA_ITEMS_MAX * 2048);
	ENSURE(schema_fingerprint(s, span_str("a")) != schema_fingerprint(s, span_str("b")));
	enum err e = schema_compile(bytes, schema_root(s), &again, text);
	if (e == ERR_OK) { /* two objects may have one name */
		ENSURE(schema_fingerprint(s, span_str("a")) == schema_fingerprint(again, span_str("a")));
		schema_free(again);
	}
	e = schema_diff(s, s, &lines, text);
	ENSURE(e == ERR_OK || e == ERR_INCOMPATIBLE); /* hostile ones may have two fields of one name */
	e = schema_verify(s, bytes, text);
	ENSURE(e == ERR_OK || e == ERR_SCHEMA_MISMATCH || e == ERR_TOO_BIG);
	buf_free(&lines);
	buf_free(&described);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct schema *s = NULL;
	char text[256] = "";
	uint8_t *copy = malloc(size ? size : 1); /* of its own size, for the sanitizer */
	ENSURE(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	struct span bytes = span_of(copy, size);
	enum err e = schema_compile(bytes, span_of(NULL, 0), &s, text);
	ENSURE((e == ERR_OK) == (text[0] == '\0') || e == ERR_OK);
	if (e == ERR_OK)
		use(s, bytes);
	schema_free(s);
	free(copy);
	return 0;
}
