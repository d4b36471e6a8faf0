/* tests/unit/test_schema.c: schemas compiled at run time: what is accepted, what is refused and with which words. */
#include "schema_files.h"

/* ---- compiling ---- */

static void the_root_is_found_by_its_full_name_its_last_part_or_as_root_type(void **state)
{
	(void)state;
	const char *roots[] = { "kitchen.test.Root", "Root", "" };
	for (size_t i = 0; i < COUNT_OF(roots); i++) {
		struct schema *s = schema_named("kitchen.bfbs", roots[i]);
		assert_true(span_eq(schema_root(s), span_str("kitchen.test.Root")));
		schema_free(s);
	}
}

static void an_unknown_root_is_refused_by_name(void **state)
{
	(void)state;
	struct schema *s = NULL;
	struct buf bytes = schema_file("kitchen.bfbs");
	char text[256] = "";
	assert_int_equal(schema_compile(buf_span(&bytes), span_str("Cellar"), &s, text), ERR_INVALID_INPUT);
	assert_string_equal(text, "root: the schema has no table Cellar");
	assert_null(s);
	buf_free(&bytes);
}

static void bytes_that_are_no_schema_are_refused(void **state)
{
	(void)state;
	struct schema *s = NULL;
	char text[256] = "";
	struct buf bytes = schema_file("kitchen.bin");
	assert_int_equal(schema_compile(buf_span(&bytes), span_str(""), &s, text), ERR_INVALID_INPUT);
	assert_string_equal(text, "bfbs: does not have the file identifier of its schema");
	assert_int_equal(schema_compile(span_of(NULL, 0), span_str(""), &s, text), ERR_INVALID_INPUT);
	buf_free(&bytes);
}

static void every_cut_of_a_schema_is_refused(void **state)
{
	(void)state;
	struct buf bytes = schema_file("job_base.bfbs");
	for (size_t len = 0; len + 4 < bytes.len; len++) { /* the last bytes are padding */
		struct schema *s = NULL;
		char text[256] = "";
		enum err e = schema_compile(span_of(bytes.data, len), span_str("Transcode"), &s, text);
		if (e == ERR_OK)
			fail_msg("the first %zu of %zu bytes were taken for a schema", len, bytes.len);
		assert_true(text[0] != '\0');
	}
	buf_free(&bytes);
}

/* ---- payloads ---- */

static void a_payload_with_everything_in_it_is_accepted(void **state)
{
	(void)state;
	struct schema *s = schema_named("kitchen.bfbs", "");
	struct buf payload = schema_file("kitchen.bin");
	char text[256] = "";
	assert_int_equal(schema_verify(s, buf_span(&payload), text), ERR_OK);
	uint8_t *odd = malloc(payload.len + 1); /* its place in memory does not matter */
	memcpy(odd + 1, payload.data, payload.len);
	assert_int_equal(schema_verify(s, span_of(odd + 1, payload.len), text), ERR_OK);
	free(odd);
	buf_free(&payload);
	schema_free(s);
}

static void every_cut_of_a_payload_is_refused_with_a_path(void **state)
{
	(void)state;
	struct schema *s = schema_named("kitchen.bfbs", "");
	struct buf payload = schema_file("kitchen.bin");
	uint32_t accepted = 0;
	for (size_t len = 0; len + 8 < payload.len; len++) {
		char text[256] = "";
		uint8_t *exact = malloc(len ? len : 1);
		memcpy(exact, payload.data, len);
		enum err e = schema_verify(s, span_of(exact, len), text);
		accepted += e == ERR_OK;
		if (e != ERR_OK)
			assert_memory_equal(text, "Root", 4);
		free(exact);
	}
	assert_int_equal(accepted, 0);
	buf_free(&payload);
	schema_free(s);
}

/* Where `text` is in the payload: the length of the string is in the four bytes before. */
static uint8_t *find(struct buf *payload, const char *text)
{
	uint8_t *at = memmem(payload->data, payload->len, text, strlen(text));
	assert_non_null(at);
	return at;
}

static void a_refusal_names_the_path_of_the_field(void **state)
{
	(void)state;
	struct schema *s = schema_named("job_base.bfbs", "Transcode");
	struct buf payload = schema_file("job_base.bin");
	char text[256] = "";
	assert_int_equal(schema_verify(s, buf_span(&payload), text), ERR_OK);
	find(&payload, "h264-marker")[-1] = 0x10;
	assert_int_equal(schema_verify(s, buf_span(&payload), text), ERR_SCHEMA_MISMATCH);
	assert_string_equal(text, "Transcode.inputs[1].codec: the string runs past the end");
	buf_free(&payload);
	schema_free(s);
}

static void a_string_without_its_zero_is_refused(void **state)
{
	(void)state;
	struct schema *s = schema_named("job_base.bfbs", "Transcode");
	struct buf payload = schema_file("job_base.bin");
	char text[256] = "";
	find(&payload, "out.mp4")[strlen("out.mp4")] = 'x';
	assert_int_equal(schema_verify(s, buf_span(&payload), text), ERR_SCHEMA_MISMATCH);
	assert_string_equal(text, "Transcode.sink.url: the string has no zero behind it");
	buf_free(&payload);
	schema_free(s);
}

static void a_missing_required_field_is_refused_by_name(void **state)
{
	(void)state;
	struct schema *s = schema_named("job_new_required.bfbs", "Transcode");
	struct buf payload = schema_file("job_base.bin");
	char text[256] = "";
	assert_int_equal(schema_verify(s, buf_span(&payload), text), ERR_SCHEMA_MISMATCH);
	assert_string_equal(text, "Transcode.preset: is required and missing");
	buf_free(&payload);
	schema_free(s);
}

/* A vector of `count` offsets to one table of the same kind again, `depth` times: 2^depth tables to visit. */
static void a_payload_that_shares_its_parts_without_end_costs_bounded_work(void **state)
{
	(void)state;
	enum { LEVELS = 40, LEVEL = 24 };
	static uint8_t payload[64 + LEVELS * LEVEL + 64];
	struct schema *s = schema_named("tree.bfbs", "Tree");
	uint32_t *words = (uint32_t *)(void *)payload;
	words[0] = 12;
	words[1] = 0x00080006; /* vtable at 4: 6 bytes, table 8; the field at 4 */
	words[2] = 0x00000004;
	for (uint32_t i = 0; i < LEVELS; i++) {
		uint32_t at = 12 + i * LEVEL;
		bool last = i + 1 == LEVELS;
		words[at / 4] = at - 4;                             /* table: its vtable */
		words[at / 4 + 1] = 4;                              /* its vector is right behind */
		words[at / 4 + 2] = last ? 0 : 2;
		words[at / 4 + 3] = at + LEVEL - (at + 12);         /* both elements: the next table */
		words[at / 4 + 4] = at + LEVEL - (at + 16);
	}
	char text[256] = "";
	assert_int_equal(schema_verify(s, span_of(payload, sizeof payload), text), ERR_TOO_BIG);
	assert_non_null(strstr(text, "shares its parts too often"));
	schema_free(s);
}

static void tables_nested_too_deep_are_refused(void **state)
{
	(void)state;
	enum { LEVELS = SCHEMA_DEPTH_MAX + 1, LEVEL = 16 };
	static uint8_t payload[64 + LEVELS * LEVEL];
	struct schema *s = schema_named("tree.bfbs", "Tree");
	uint32_t *words = (uint32_t *)(void *)payload;
	char text[256] = "";
	for (uint32_t levels = SCHEMA_DEPTH_MAX; levels <= LEVELS; levels++) {
		words[0] = 12;
		words[1] = 0x00080006;
		words[2] = 0x00000004;
		for (uint32_t i = 0; i < levels; i++) {
			uint32_t at = 12 + i * LEVEL;
			words[at / 4] = at - 4;
			words[at / 4 + 1] = 4;
			words[at / 4 + 2] = i + 1 < levels;
			words[at / 4 + 3] = 4;
		}
		enum err e = schema_verify(s, span_of(payload, sizeof payload), text);
		assert_int_equal(e, levels <= SCHEMA_DEPTH_MAX ? ERR_OK : ERR_TOO_BIG);
	}
	schema_free(s);
}

/* ---- fingerprints ---- */

static uint64_t fingerprint(const char *file, const char *type)
{
	struct schema *s = schema_named(file, "Transcode");
	uint64_t value = schema_fingerprint(s, span_str(type));
	schema_free(s);
	return value;
}

static void a_fingerprint_is_of_the_layout_and_the_name_of_the_type(void **state)
{
	(void)state;
	uint64_t base = fingerprint("job_base.bfbs", "video.transcode");
	assert_true(base != 0);
	assert_true(base == fingerprint("job_base.bfbs", "video.transcode"));
	assert_true(base == fingerprint("job_comments.bfbs", "video.transcode"));
	assert_true(base != fingerprint("job_base.bfbs", "video.transcode2"));
	const char *others[] = { "job_appended.bfbs", "job_default.bfbs", "job_enum.bfbs", "job_required.bfbs", "job_struct.bfbs" };
	for (size_t i = 0; i < COUNT_OF(others); i++)
		assert_true(base != fingerprint(others[i], "video.transcode"));
}

/* Clients compute it too: it may never change. */
static void the_fingerprint_of_a_schema_stays_what_it_is(void **state)
{
	(void)state;
	assert_int_equal(fingerprint("job_base.bfbs", "video.transcode"), 0xb9029f7ed76fbf0d);
}

/* ---- differences ---- */

static enum err diff(const char *before, const char *after, struct buf *lines, char text[256])
{
	struct schema *a = schema_named(before, "Transcode"), *b = schema_named(after, "Transcode");
	text[0] = '\0';
	enum err e = schema_diff(a, b, lines, text);
	schema_free(a);
	schema_free(b);
	return e;
}

static void what_breaks_programs_is_refused_with_the_field_and_the_reason(void **state)
{
	(void)state;
	const struct { const char *file, *text; } cases[] = {
		{ "job_retyped.bfbs", "job.Transcode.crf: its type changes from int to long" },
		{ "job_reordered.bfbs", "job.Transcode.speed: moved from id 4 to id 5" },
		{ "job_removed.bfbs", "job.Transcode.crf: is gone" },
		{ "job_default.bfbs", "job.Transcode.crf: its default changes: = 23 becomes = 24" },
		{ "job_enum.bfbs", "job.Kind.Slow: its value changes from 1 to 2" },
		{ "job_required.bfbs", "job.Input.codec: becomes required: payloads without it exist" },
		{ "job_new_required.bfbs", "job.Transcode.preset: is new and required: payloads without it exist" },
		{ "job_struct.bfbs", "job.Size: the struct changes from 8 bytes to 12" },
		{ "job_union.bfbs", "job.Sink.Input: its value changes from 1 to 2" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		char text[256];
		struct buf lines = { NULL, 0, 0 };
		assert_int_equal(diff("job_base.bfbs", cases[i].file, &lines, text), ERR_INCOMPATIBLE);
		assert_string_equal(text, cases[i].text);
		assert_non_null(memmem(lines.data, lines.len, text, strlen(text)));
		buf_free(&lines);
	}
}

static void what_is_appended_or_deprecated_is_compatible(void **state)
{
	(void)state;
	char text[256];
	struct buf lines = { NULL, 0, 0 };
	assert_int_equal(diff("job_base.bfbs", "job_appended.bfbs", &lines, text), ERR_OK);
	const char *expect[] = { "+ job.Transcode.preset: is new\n", "+ job.Input.codec: becomes deprecated\n",
				 "+ job.Kind.Draft: is new\n", "+ job.Sink.Part: is new\n" };
	for (size_t i = 0; i < COUNT_OF(expect); i++)
		assert_non_null(memmem(lines.data, lines.len, expect[i], strlen(expect[i])));
	buf_free(&lines);
	assert_int_equal(diff("job_appended.bfbs", "job_base.bfbs", NULL, text), ERR_INCOMPATIBLE);
	assert_int_equal(diff("job_base.bfbs", "job_comments.bfbs", NULL, text), ERR_OK);
}

static void old_payloads_are_good_under_a_compatible_schema(void **state)
{
	(void)state;
	char text[256] = "";
	struct schema *s = schema_named("job_appended.bfbs", "Transcode");
	struct buf payload = schema_file("job_base.bin");
	assert_int_equal(schema_verify(s, buf_span(&payload), text), ERR_OK);
	buf_free(&payload);
	schema_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_root_is_found_by_its_full_name_its_last_part_or_as_root_type),
		cmocka_unit_test(an_unknown_root_is_refused_by_name),
		cmocka_unit_test(bytes_that_are_no_schema_are_refused),
		cmocka_unit_test(every_cut_of_a_schema_is_refused),
		cmocka_unit_test(a_payload_with_everything_in_it_is_accepted),
		cmocka_unit_test(every_cut_of_a_payload_is_refused_with_a_path),
		cmocka_unit_test(a_refusal_names_the_path_of_the_field),
		cmocka_unit_test(a_string_without_its_zero_is_refused),
		cmocka_unit_test(a_missing_required_field_is_refused_by_name),
		cmocka_unit_test(a_payload_that_shares_its_parts_without_end_costs_bounded_work),
		cmocka_unit_test(tables_nested_too_deep_are_refused),
		cmocka_unit_test(a_fingerprint_is_of_the_layout_and_the_name_of_the_type),
		cmocka_unit_test(the_fingerprint_of_a_schema_stays_what_it_is),
		cmocka_unit_test(what_breaks_programs_is_refused_with_the_field_and_the_reason),
		cmocka_unit_test(what_is_appended_or_deprecated_is_compatible),
		cmocka_unit_test(old_payloads_are_good_under_a_compatible_schema),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
