/* tests/unit/test_frame.c: frames are found in a stream, padded, and lying headers are refused at once; the table
 * of errors answers for every code. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "../../wire/frame.h"

struct header {
	uint32_t size;
	uint16_t kind, flags;
	uint32_t meta_size, correlation;
};

static struct span span_of_header(const struct header *h)
{
	return span_of(h, sizeof *h);
}

static void put_frame(struct buf *out, size_t meta, size_t payload)
{
	size_t begin = frame_begin(out, FRAME_SUBMIT, 77);
	memset(buf_extend(out, meta), 'm', meta);
	frame_meta_done(out, begin);
	memset(buf_extend(out, payload), 'p', payload);
	frame_end(out, begin);
}

static enum err decode(struct span in, struct frame *frame, size_t *used, size_t *need, char text[128])
{
	text[0] = 0;
	return frame_decode(in, LIMIT_FRAME_BYTES, frame, used, need, text);
}

static void test_a_frame_comes_back_with_its_parts(void **state)
{
	(void)state;
	struct buf b = { 0 };
	struct frame frame;
	size_t used = 0, need = 0;
	char text[128];
	put_frame(&b, 24, 16);
	assert_int_equal(b.len, 16 + 24 + 16);
	assert_int_equal(decode(buf_span(&b), &frame, &used, &need, text), ERR_OK);
	assert_int_equal(used, b.len);
	assert_int_equal(frame.kind, FRAME_SUBMIT);
	assert_int_equal(frame.correlation, 77);
	assert_int_equal(frame.flags, 0);
	assert_int_equal(frame.meta.len, 24);
	assert_int_equal(frame.payload.len, 16);
	assert_int_equal(frame.meta.data[23], 'm');
	assert_int_equal(frame.payload.data[0], 'p');
	buf_free(&b);
}

static void test_both_parts_are_padded_with_zeros_to_eight(void **state)
{
	(void)state;
	for (size_t meta = 0; meta < 17; meta++) {
		for (size_t payload = 0; payload < 17; payload++) {
			struct buf b = { 0 };
			struct frame frame;
			size_t used = 0, need = 0;
			char text[128];
			put_frame(&b, meta, payload);
			assert_int_equal(b.len % 8, 0);
			assert_int_equal(decode(buf_span(&b), &frame, &used, &need, text), ERR_OK);
			assert_int_equal(frame.meta.len, align_up(meta, 8));
			assert_int_equal(frame.payload.len, align_up(payload, 8));
			for (size_t i = meta; i < frame.meta.len; i++)
				assert_int_equal(frame.meta.data[i], 0);
			for (size_t i = payload; i < frame.payload.len; i++)
				assert_int_equal(frame.payload.data[i], 0);
			buf_free(&b);
		}
	}
}

static void test_frames_back_to_back_stay_aligned(void **state)
{
	(void)state;
	struct buf b = { 0 };
	for (size_t i = 0; i < 40; i++)
		put_frame(&b, i, 3 * i);
	struct span rest = buf_span(&b);
	for (size_t i = 0; i < 40; i++) {
		struct frame frame;
		size_t used = 0, need = 0;
		char text[128];
		assert_int_equal(decode(rest, &frame, &used, &need, text), ERR_OK);
		assert_int_equal((uintptr_t)frame.meta.data % 8, 0);
		assert_int_equal(frame.payload.len, align_up(3 * i, 8));
		rest = span_sub(rest, used, rest.len - used);
	}
	assert_int_equal(rest.len, 0);
	buf_free(&b);
}

static void test_every_prefix_asks_for_more(void **state)
{
	(void)state;
	struct buf b = { 0 };
	put_frame(&b, 40, 100);
	for (size_t cut = 0; cut < b.len; cut++) {
		struct frame frame;
		size_t used = 0, need = 0;
		char text[128];
		uint8_t *exact = malloc(cut + 1);
		assert_non_null(exact);
		memcpy(exact, b.data, cut);
		assert_int_equal(decode(span_of(exact, cut), &frame, &used, &need, text), ERR_AGAIN);
		assert_int_equal(need, cut < LIMIT_FRAME_HEADER ? LIMIT_FRAME_HEADER : b.len);
		free(exact);
	}
	buf_free(&b);
}

static void refused(struct header h, size_t frame_max, enum err code, const char *start)
{
	struct frame frame;
	size_t used = 0, need = 0;
	char text[128] = "";
	assert_int_equal(frame_decode(span_of_header(&h), frame_max, &frame, &used, &need, text), code);
	if (strncmp(text, start, strlen(start)) != 0)
		fail_msg("got \"%s\" instead of \"%s\"", text, start);
}

static void test_a_lying_header_is_refused_before_the_body(void **state)
{
	(void)state;
	const size_t max = LIMIT_FRAME_BYTES, body = LIMIT_FRAME_BYTES - LIMIT_FRAME_HEADER;
	refused((struct header){ .size = (uint32_t)body + 8 }, max, ERR_TOO_BIG, "frame.size: 5242888 bytes");
	refused((struct header){ .size = UINT32_MAX }, max, ERR_TOO_BIG, "frame.size");
	refused((struct header){ .size = LIMIT_HANDSHAKE_BYTES }, LIMIT_HANDSHAKE_BYTES, ERR_TOO_BIG, "frame.size");
	refused((struct header){ .size = 12 }, max, ERR_MALFORMED, "frame.size: 12 is not a multiple of 8");
	refused((struct header){ .size = 16, .meta_size = 4 }, max, ERR_MALFORMED, "frame.meta_size: 4 is not");
	refused((struct header){ .size = 16, .meta_size = 24 }, max, ERR_MALFORMED, "frame.meta_size: 24 is over");
	refused((struct header){ .size = (uint32_t)body, .meta_size = LIMIT_META_BYTES + 8 }, max, ERR_TOO_BIG,
		"frame.meta_size: 1048584 bytes are over the limit of 1048576");
	refused((struct header){ .size = (uint32_t)body, .meta_size = LIMIT_META_BYTES - 8 }, max, ERR_TOO_BIG,
		"frame.payload: 4194312 bytes are over the limit of 4194304");
}

static void test_the_largest_frame_is_taken(void **state)
{
	(void)state;
	struct header h = { .size = LIMIT_FRAME_BYTES - LIMIT_FRAME_HEADER, .meta_size = LIMIT_META_BYTES };
	struct frame frame;
	size_t used = 0, need = 0;
	char text[128];
	assert_int_equal(decode(span_of_header(&h), &frame, &used, &need, text), ERR_AGAIN);
	assert_int_equal(need, LIMIT_FRAME_BYTES);
}

static void test_the_correlation_can_be_set_afterwards(void **state)
{
	(void)state;
	struct buf b = { 0 };
	struct frame frame;
	size_t used = 0, need = 0;
	char text[128];
	put_frame(&b, 8, 8);
	size_t second = b.len;
	put_frame(&b, 8, 8);
	frame_set_correlation(&b, second, 99);
	assert_int_equal(decode(buf_span(&b), &frame, &used, &need, text), ERR_OK);
	assert_int_equal(frame.correlation, 77);
	assert_int_equal(decode(span_sub(buf_span(&b), second, b.len - second), &frame, &used, &need, text), ERR_OK);
	assert_int_equal(frame.correlation, 99);
	buf_free(&b);
}

static void test_kinds_have_names(void **state)
{
	(void)state;
	assert_string_equal(frame_kind_name(FRAME_HELLO), "HELLO");
	assert_string_equal(frame_kind_name(FRAME_SUBMIT), "SUBMIT");
	assert_string_equal(frame_kind_name(FRAME_REPLY), "REPLY");
	assert_string_equal(frame_kind_name(0), "UNKNOWN");
	assert_string_equal(frame_kind_name(7), "UNKNOWN");
	assert_string_equal(frame_kind_name(FRAME_REPLY + 1), "UNKNOWN");
	assert_string_equal(frame_kind_name(UINT16_MAX), "UNKNOWN");
}

static void test_every_error_has_its_own_code_name_and_text(void **state)
{
	(void)state;
	static const struct { uint32_t code; const char *name, *text; int retryable; } rows[] = {
#define X(name, code, retryable, text) { code, #name, text, retryable },
		ERR_LIST(X)
#undef X
	};
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_string_equal(err_name(rows[i].code), rows[i].name);
		assert_string_equal(err_text(rows[i].code), rows[i].text);
		assert_int_equal(err_retryable(rows[i].code), rows[i].retryable);
		assert_true(rows[i].code <= UINT16_MAX); /* it travels as a ushort */
	}
	assert_string_equal(err_name(9999), "UNKNOWN");
	assert_non_null(err_text(9999));
	assert_false(err_retryable(9999));
}

/* docs/protocol.md. The caller frees it. */
static char *protocol_page(void)
{
	struct buf b = { 0 };
	FILE *file = fopen(SOURCE_DIR "/docs/protocol.md", "r");
	assert_non_null(file);
	for (int c = fgetc(file); c != EOF; c = fgetc(file))
		*buf_extend(&b, 1) = (uint8_t)c;
	(void)fclose(file);
	*buf_extend(&b, 1) = 0;
	return (char *)b.data;
}

static void test_the_protocol_page_lists_every_error_and_kind(void **state)
{
	(void)state;
	char *page = protocol_page();
	char row[256];
#define X(name, code, retryable, text)                                                                    \
	(void)snprintf(row, sizeof row, "\n| %d | %s | %s | %s |\n", code, #name, (retryable) ? "yes" : "no", text); \
	if (!strstr(page, row))                                                                           \
		fail_msg("docs/protocol.md lacks %s", row);
	ERR_LIST(X)
#undef X
	for (uint16_t kind = 0; kind < 64; kind++) {
		if (strcmp(frame_kind_name(kind), "UNKNOWN") == 0)
			continue;
		(void)snprintf(row, sizeof row, "\n| %s | %u |", frame_kind_name(kind), (unsigned)kind);
		if (!strstr(page, row))
			fail_msg("docs/protocol.md lacks %s", row);
	}
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_frame_comes_back_with_its_parts),
		cmocka_unit_test(test_both_parts_are_padded_with_zeros_to_eight),
		cmocka_unit_test(test_frames_back_to_back_stay_aligned),
		cmocka_unit_test(test_every_prefix_asks_for_more),
		cmocka_unit_test(test_a_lying_header_is_refused_before_the_body),
		cmocka_unit_test(test_the_largest_frame_is_taken),
		cmocka_unit_test(test_the_correlation_can_be_set_afterwards),
		cmocka_unit_test(test_kinds_have_names),
		cmocka_unit_test(test_every_error_has_its_own_code_name_and_text),
		cmocka_unit_test(test_the_protocol_page_lists_every_error_and_kind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
