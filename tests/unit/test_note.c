/* broker/note.c: lines that nobody can forge, and not too many of them. */
#include "../../broker/note.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

struct world {
	struct note note;
	uint64_t now_ms;
	uint32_t lines;
	char last[NOTE_LINE_BYTES + 1];
};

static uint64_t world_now(void *ctx)
{
	return ((struct world *)ctx)->now_ms;
}

static void world_write(void *ctx, const char *line, size_t len)
{
	struct world *w = ctx;
	assert_true(len > 0 && len <= NOTE_LINE_BYTES);
	assert_int_equal(line[len - 1], '\n');
	for (size_t i = 0; i + 1 < len; i++)
		assert_true((uint8_t)line[i] >= 0x20);
	memcpy(w->last, line, len - 1);
	w->last[len - 1] = '\0';
	w->lines++;
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	assert_non_null(w);
	w->now_ms = 1795243200123;
	struct note_config config = { NOTE_INFO, w, world_now, world_write };
	note_init(&w->note, &config);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	free(*state);
	return 0;
}

static void a_line_has_time_level_module_event_and_fields(void **state)
{
	struct world *w = *state;
	NOTE(&w->note, NOTE_WARN, "session", "opened", NOTE_STR("peer", "127.0.0.1:4711"), NOTE_U64("conns", 3));
	assert_string_equal(w->last, "2026-11-21T06:40:00.123Z warn session opened peer=127.0.0.1:4711 conns=3");
}

static void text_from_a_peer_cannot_forge_a_line(void **state)
{
	struct world *w = *state;
	NOTE(&w->note, NOTE_INFO, "m", "e", NOTE_SPAN("name", span_of("a\nb \"c\"\x1b=\xff", 10)));
	assert_string_equal(w->last, "2026-11-21T06:40:00.123Z info m e name=\"a\\x0ab \\\"c\\\"\\x1b=\\xff\"");
	NOTE(&w->note, NOTE_INFO, "m", "e", NOTE_STR("empty", ""));
	assert_string_equal(w->last, "2026-11-21T06:40:00.123Z info m e empty=\"\"");
}

static void long_text_is_cut_and_the_line_stays_bounded(void **state)
{
	struct world *w = *state;
	char big[5000];
	memset(big, '\n', sizeof big);
	struct span s = span_of(big, sizeof big);
	NOTE(&w->note, NOTE_INFO, "m", "e", NOTE_SPAN("a", s), NOTE_SPAN("b", s), NOTE_SPAN("c", s), NOTE_SPAN("d", s));
	assert_int_equal(w->lines, 1);
	assert_int_equal(strlen(w->last), NOTE_LINE_BYTES - 1);
	char out[600];
	size_t len = note_escape(span_of("\n\n\n\n\n\n", 6), out, 16);
	assert_true(len < 16);
	assert_string_equal(out, "\"\\x0a\\x0a...\"");
	memset(big, 'x', sizeof big);
	len = note_escape(s, out, sizeof out);
	assert_int_equal(len, NOTE_TEXT_BYTES + 5);
	assert_string_equal(out + len - 5, "x...\"");
}

static void a_ready_made_text_cannot_break_the_line_either(void **state)
{
	struct world *w = *state;
	note_line(&w->note, NOTE_INFO, "log", "cut", "segment=3\nforged line");
	assert_string_equal(w->last, "2026-11-21T06:40:00.123Z info log cut segment=3?forged line");
	note_line(&w->note, NOTE_ERROR, "log", "stop", NULL);
	assert_string_equal(w->last, "2026-11-21T06:40:00.123Z error log stop");
}

static void lines_above_the_level_are_dropped(void **state)
{
	struct world *w = *state;
	NOTE(&w->note, NOTE_DEBUG, "m", "e", NOTE_U64("n", 1));
	assert_int_equal(w->lines, 0);
	NOTE((struct note *)NULL, NOTE_ERROR, "m", "e", NOTE_U64("n", 1));
	assert_int_equal(w->lines, 0);
}

static void a_flood_is_held_back_and_counted_per_event(void **state)
{
	struct world *w = *state;
	for (uint64_t n = 0; n < 1000; n++)
		NOTE(&w->note, NOTE_INFO, "m", "flood", NOTE_U64("n", n));
	assert_int_equal(w->lines, NOTE_BURST);
	NOTE(&w->note, NOTE_INFO, "m", "other", NOTE_U64("n", 1));
	assert_int_equal(w->lines, NOTE_BURST + 1);
	w->now_ms += NOTE_INTERVAL_MS;
	NOTE(&w->note, NOTE_INFO, "m", "flood", NOTE_U64("n", 7));
	assert_string_equal(w->last, "2026-11-21T06:40:10.123Z info m flood n=7 held_back=980");
	NOTE(&w->note, NOTE_INFO, "m", "flood", NOTE_U64("n", 8));
	assert_string_equal(w->last, "2026-11-21T06:40:10.123Z info m flood n=8");
}

static void more_events_than_the_table_holds_are_still_written(void **state)
{
	struct world *w = *state;
	static char names[2 * NOTE_SITES][16];
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		(void)snprintf(names[i], sizeof names[i], "event%zu", i);
		NOTE(&w->note, NOTE_INFO, "m", names[i], NOTE_U64("n", i));
	}
	assert_int_equal(w->lines, 2 * NOTE_SITES);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(a_line_has_time_level_module_event_and_fields),
		T(text_from_a_peer_cannot_forge_a_line),
		T(long_text_is_cut_and_the_line_stays_bounded),
		T(a_ready_made_text_cannot_break_the_line_either),
		T(lines_above_the_level_are_dropped),
		T(a_flood_is_held_back_and_counted_per_event),
		T(more_events_than_the_table_holds_are_still_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
