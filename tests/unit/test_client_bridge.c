/* A bridge between two brokers in memory: entries, calls either way, what must not go round, and what is left after it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../clientlib/hillock.h"

struct world {
	struct hlk *from, *to;
	struct hlk_bridge *bridge;
	struct hlk_call *call;  /* that the holder has and has not answered */
	char text[8192];
};

static void note(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct world *w, const char *format, ...)
{
	size_t at = strlen(w->text);
	va_list args;
	va_start(args, format);
	(void)vsnprintf(w->text + at, sizeof w->text - at, format, args);
	va_end(args);
}

static void assert_said(struct world *w, const char *expected)
{
	assert_string_equal(w->text, expected);
	w->text[0] = '\0';
}

static void on_note(struct hlk_bridge *b, const struct hlk_bridge_note *n, void *ctx)
{
	static const char *const kinds[] = { "up", "down", "joined", "left", "skipped", "refused" };
	(void)b;
	note(ctx, "<%s %s%s%s> ", kinds[n->kind], n->kind <= HLK_BRIDGE_DOWN ? n->address : n->service, n->code ? " " : "",
	     n->code ? hlk_error_name(n->code) : "");
}

static void settle(struct world *w)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(hlk_bridge_process(w->bridge), HLK_OK);
}

static struct hlk *connect_mock(void)
{
	struct hlk *c = NULL;
	assert_int_equal(hlk_connect("mock://", 1000, &c, NULL), HLK_OK);
	return c;
}

static void build(struct world *w, struct hlk *from, struct hlk *to)
{
	static const char *const events[] = { "room.*" };
	const struct hlk_bridge_options o = { .from = from, .to = to, .events = events, .event_count = 1, .note = on_note, .ctx = w };
	struct hlk_error error;
	assert_int_equal(hlk_bridge_open(&o, &w->bridge, &error), HLK_OK);
	settle(w);
	assert_said(w, "<up from> <up to> ");
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	assert_non_null(w);
	w->from = connect_mock();
	w->to = connect_mock();
	build(w, w->from, w->to);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	hlk_bridge_close(w->bridge);
	hlk_close(w->to, 0);
	hlk_close(w->from, 0);
	free(w);
	return 0;
}

static void on_call(struct hlk *c, struct hlk_call *call, void *ctx)
{
	struct world *w = ctx;
	const struct hlk_call_info *i = hlk_call_info(call);
	(void)c;
	note(w, "(%s %.*s%s) ", i->type, (int)i->size, (const char *)i->payload, i->stream ? " in parts" : "");
	w->call = call;
}

static void on_cancel(struct hlk *c, struct hlk_call *call, void *ctx)
{
	struct world *w = ctx;
	(void)c;
	note(w, "(cancelled) ");
	(void)hlk_answer_error(call, HLK_CANCELLED, 0, "");
	w->call = NULL;
}

static uint32_t serve(struct world *w, struct hlk *c, const char *params)
{
	const struct hlk_serve_options o = { .type = "math.v1.AddOne", .params = params, .call = on_call, .call_cancelled = on_cancel, .ctx = w };
	uint32_t entry = 0;
	assert_int_equal(hlk_serve(c, &o, &entry), HLK_OK);
	settle(w);
	return entry;
}

static void on_answer(struct hlk *c, const struct hlk_answer *a, void *ctx)
{
	(void)c;
	note(ctx, "%s:%u:%.*s%s ", hlk_error_name(a->code), a->app_code, a->code == HLK_NOT_DELIVERED ? 0 : (int)a->size,
	     (const char *)a->data, a->more ? "..." : "");
}

static uint64_t ask(struct world *w, const char *payload, bool stream)
{
	const struct hlk_call_options o = { .service = "math.v1.AddOne", .stream = stream };
	uint64_t number = 0;
	assert_int_equal(hlk_call(w->to, &o, payload, strlen(payload), on_answer, w, &number), HLK_OK);
	settle(w);
	return number;
}

static void an_entry_is_there_and_goes_with_the_one_it_stands_for(void **state)
{
	struct world *w = *state;
	uint32_t entry = serve(w, w->from, "gpu=A100");
	assert_said(w, "<joined math.v1.AddOne> ");
	(void)ask(w, "41", false);
	assert_said(w, "(math.v1.AddOne 41) ");
	assert_int_equal(hlk_answer(w->call, "42", 2), HLK_OK);
	settle(w);
	assert_said(w, "OK:0:42 ");
	(void)ask(w, "1", false);
	assert_int_equal(hlk_unserve(w->from, entry), HLK_OK); /* with a call in work */
	settle(w);
	assert_said(w, "(math.v1.AddOne 1) <left math.v1.AddOne> NOT_DELIVERED:0: ");
	(void)ask(w, "2", false);
	assert_said(w, "NOT_DELIVERED:0: ");
}

static void parts_errors_and_cancels_cross_as_they_are(void **state)
{
	struct world *w = *state;
	(void)serve(w, w->from, NULL);
	(void)ask(w, "3", true);
	assert_int_equal(hlk_answer_part(w->call, "a", 1), HLK_OK);
	assert_int_equal(hlk_answer_part(w->call, "", 0), HLK_OK);
	settle(w);
	assert_int_equal(hlk_answer(w->call, "b", 1), HLK_OK);
	settle(w);
	assert_said(w, "<joined math.v1.AddOne> (math.v1.AddOne 3 in parts) OK:0:a... OK:0:... OK:0:b ");
	(void)ask(w, "x", false);
	assert_int_equal(hlk_answer_error(w->call, HLK_PERMANENT, 77, "no"), HLK_OK);
	settle(w);
	assert_said(w, "(math.v1.AddOne x) PERMANENT:77:no ");
	uint64_t number = ask(w, "y", false);
	assert_int_equal(hlk_call_cancel(w->to, number), HLK_OK);
	settle(w);
	assert_said(w, "(math.v1.AddOne y) CANCELLED:0:cancelled by the caller (cancelled) ");
	struct hlk_bridge_counts counts;
	hlk_bridge_count(w->bridge, &counts);
	assert_int_equal(counts.entries, 1);
	assert_int_equal(counts.calls, 0);
	assert_int_equal(counts.calls_total, 3);
}

static void a_cut_on_either_side_ends_what_is_in_work_and_heals(void **state)
{
	struct world *w = *state;
	(void)serve(w, w->from, NULL);
	(void)ask(w, "1", false);
	assert_said(w, "<joined math.v1.AddOne> (math.v1.AddOne 1) ");
	assert_int_equal(hlk_mock_cut(w->from), HLK_OK);
	settle(w);
	assert_non_null(strstr(w->text, "NOT_DELIVERED:0: "));
	(void)hlk_answer(w->call, "late", 4); /* goes nowhere */
	for (int i = 0; i < 1000 && !strstr(w->text, "<joined"); i++)
		assert_int_equal(hlk_bridge_run(w->bridge, 100), HLK_OK);
	w->text[0] = '\0';
	(void)ask(w, "2", false);
	assert_said(w, "(math.v1.AddOne 2) ");
	assert_int_equal(hlk_mock_cut(w->to), HLK_OK); /* the caller's own, too: it is the same client here */
	assert_int_equal(hlk_bridge_process(w->bridge), HLK_OK);
	for (int i = 0; i < 1000 && !strstr(w->text, "(cancelled)"); i++)
		assert_int_equal(hlk_bridge_run(w->bridge, 100), HLK_OK);
	for (int i = 0; i < 1000 && !hlk_connected(w->to); i++)
		assert_int_equal(hlk_bridge_run(w->bridge, 100), HLK_OK);
	settle(w);
	w->text[0] = '\0';
	(void)ask(w, "3", false);
	assert_said(w, "(math.v1.AddOne 3) ");
	assert_int_equal(hlk_answer(w->call, "4", 1), HLK_OK);
	settle(w);
	assert_said(w, "OK:0:4 ");
}

static void what_comes_back_goes_no_further(void **state)
{
	struct world *w = *state;
	struct world back = { .from = w->to, .to = w->from };
	struct hlk_bridge_counts counts;
	struct hlk_error error;
	const struct hlk_bridge_options o = { .from = w->to, .to = w->from };
	(void)serve(w, w->from, NULL);
	assert_int_equal(hlk_bridge_open(&o, &back.bridge, &error), HLK_OK);
	for (int i = 0; i < 20; i++) {
		settle(w);
		settle(&back);
	}
	hlk_bridge_count(back.bridge, &counts);
	assert_int_equal(counts.entries, 0);
	assert_int_equal(counts.looped_total, 1);
	hlk_bridge_count(w->bridge, &counts);
	assert_int_equal(counts.entries, 1);
	hlk_bridge_close(back.bridge);
	assert_said(w, "<joined math.v1.AddOne> ");
}

static void entries_that_come_and_go_for_long_leave_nothing(void **state)
{
	struct world *w = *state;
	struct hlk_bridge_counts counts;
	for (int i = 0; i < 600; i++) { /* more than a session can have at a time */
		uint32_t entry = serve(w, w->from, NULL);
		assert_int_equal(hlk_unserve(w->from, entry), HLK_OK);
		settle(w);
		assert_said(w, "<joined math.v1.AddOne> <left math.v1.AddOne> ");
	}
	hlk_bridge_count(w->bridge, &counts);
	assert_int_equal(counts.entries, 0);
}

static void on_event(struct hlk *c, const struct hlk_event *e, void *ctx)
{
	(void)c;
	note(ctx, "%s:%s:%.*s ", e->type, e->key, (int)e->size, (const char *)e->payload);
}

static void events_cross_once(void **state)
{
	struct world *w = *state;
	struct hlk_topic *t = hlk_topic_new(w->from, &(struct hlk_topic_options){ .type = "room.v1.Temperature", .key = "kitchen" }, NULL);
	assert_int_equal(hlk_subscribe(w->to, &(struct hlk_subscribe_options){ .pattern = "*", .event = on_event, .ctx = w }, NULL), HLK_OK);
	settle(w);
	for (int i = 0; i < 600; i++) { /* more than are under way at a time */
		assert_int_equal(hlk_publish(w->from, t, "21", 2, NULL, NULL), HLK_OK);
		settle(w);
		assert_said(w, "room.v1.Temperature:kitchen:21 ");
	}
	hlk_topic_free(t);
	struct hlk_bridge_counts counts;
	hlk_bridge_count(w->bridge, &counts);
	assert_int_equal(counts.events_total, 600);
	assert_int_equal(counts.events_dropped_total, 0);
}

static void a_bridge_needs_two_ends(void **state)
{
	struct world *w = *state;
	struct hlk_bridge *b = NULL;
	struct hlk_error error;
	const char *const events[] = { "hillock.sys.*" };
	struct hlk_bridge_options o = { .from = w->from, .to = w->from };
	assert_int_equal(hlk_bridge_open(&o, &b, &error), HLK_INVALID_INPUT);
	o.to = w->to;
	o.events = events;
	o.event_count = 1;
	assert_int_equal(hlk_bridge_open(&o, &b, &error), HLK_INVALID_INPUT);
	assert_null(b);
	o.event_count = 0;
	o.service_count = 33;
	assert_int_equal(hlk_bridge_open(&o, &b, NULL), HLK_TOO_BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_entry_is_there_and_goes_with_the_one_it_stands_for, setup, teardown),
		cmocka_unit_test_setup_teardown(parts_errors_and_cancels_cross_as_they_are, setup, teardown),
		cmocka_unit_test_setup_teardown(a_cut_on_either_side_ends_what_is_in_work_and_heals, setup, teardown),
		cmocka_unit_test_setup_teardown(what_comes_back_goes_no_further, setup, teardown),
		cmocka_unit_test_setup_teardown(entries_that_come_and_go_for_long_leave_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(events_cross_once, setup, teardown),
		cmocka_unit_test_setup_teardown(a_bridge_needs_two_ends, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
