/* tests/unit/test_tasks_verify.c: a checkpoint whose parts do not fit each other is refused with the place, or it works: no value in it,
 * whatever its checksum says, ends the broker later. */
#include "tasks_world.h"

/* A machine with something of everything: lanes, ordering keys, delays, failures, dead letters, results, families, yields, moves. */
static struct world *rich_world(void)
{
	struct world *w = world_new();
	struct holder *h = tasks_holder_new(w->t, NULL);
	uint64_t tasks[64];
	(void)world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 20, .head = { .retention_ms = 100000 } });
	(void)world_submit(w, &(struct order){ .queue = "q", .seq = 21, .count = 5, .head = { .requirements = span_str("gpu == 1") } });
	(void)world_submit(w, &(struct order){ .queue = "p", .seq = 26, .count = 5, .head = { .order_key = span_str("k"),
											    .requirements = span_str("cpu == 2") } });
	(void)world_submit(w, &(struct order){ .queue = "p", .seq = 31, .count = 3, .head = { .delay_ms = 5000, .max_attempts = 2 } });
	(void)world_submit(w, &(struct order){ .queue = "p", .seq = 34, .count = 1, .head = { .key = span_str("once") } });
	(void)world_submit(w, &(struct order){ .queue = "q", .seq = 35, .count = 3, .head = { .priority = 9, .expires_ms = 90000 } });
	uint32_t count = world_lease(w, "q", h, 12, tasks);
	assert_int_equal(count, 12);
	for (uint32_t i = 0; i < 4; i++) {
		struct report_item item = world_item(w, tasks[i], REPORT_COMPLETE);
		assert_int_equal(world_say(w, h, item, "a result"), ERR_OK);
	}
	world_flush(w);
	world_report(w, h, tasks[4], REPORT_FAIL, ERR_PERMANENT);
	world_report(w, h, tasks[5], REPORT_FAIL, ERR_INVALID_INPUT);
	world_report(w, h, tasks[6], REPORT_FAIL, ERR_TRANSIENT);
	assert_int_equal(world_say(w, h, world_item(w, tasks[7], REPORT_START), NULL), ERR_OK);
	assert_int_equal(world_say(w, h, world_item(w, tasks[7], REPORT_YIELD), "an item"), ERR_OK);
	world_flush(w);
	world_seal(w);
	(void)world_submit(w, &(struct order){ .queue = "q", .seq = 38, .count = 4 });
	(void)world_submit(w, &(struct order){ .queue = "p", .seq = 42, .count = 2, .head = { .order_key = span_str("k") } });
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_flush(w);
	world_checkpoint(w);
	return w;
}

/* All that a broker does with its tasks, until nothing is left to do. */
static void exercise(struct world *x, struct tasks *t)
{
	struct holder *h;
	uint64_t task[1], next;
	tasks_free(x->t);
	x->t = t;
	tasks_begin(t, x->now_ms);
	h = tasks_holder_new(t, NULL);
	const char *const names[] = { "q", "p" };
	for (size_t n = 0; n < COUNT_OF(names); n++) {
		if (!world_queue(x, names[n]))
			continue;
		for (uint32_t i = 0; i < 8 && world_lease(x, names[n], h, 1, task) == 1; i++) {
			(void)world_say(x, h, world_item(x, task[0], i % 2 ? REPORT_COMPLETE : REPORT_FAIL), NULL);
			world_flush(x);
		}
		(void)tasks_list(t, world_queue(x, names[n]), TASK_UNKNOWN, 0, 1, task, &next);
	}
	tasks_holder_lost(t, LOG(x), h, x->now_ms);
	world_flush(x);
	for (uint32_t i = 0; i < 4; i++) {
		x->now_ms += 40000;
		tasks_tick(t, LOG(x), x->now_ms);
		world_flush(x);
	}
	for (size_t n = 0; n < COUNT_OF(names); n++) {
		uint32_t records;
		char text[256];
		enum err e = tasks_propose_redrive(t, LOG(x), span_str(names[n]), 0, 100, &records, text);
		assert_true(e == ERR_OK || e == ERR_NOT_FOUND);
		world_flush(x);
		(void)world_purge(x, names[n], false);
		(void)world_purge(x, names[n], true);
	}
}

/* ERR_OK and *out, a machine that is not begun; or the refusal. */
static enum err recover(struct world *w, struct span checkpoint, struct tasks **out, char text[256])
{
	*out = tasks_new(&w->config);
	enum err e = tasks_restore(*out, checkpoint, text);
	for (uint32_t i = 0; e == ERR_OK && i < w->segment; i++)
		if (w->index_there[i])
			e = tasks_load_segment(*out, i, buf_span(&w->indexes[i]), text);
	if (e == ERR_OK)
		e = tasks_verify(*out, w->segment, text);
	if (e != ERR_OK)
		tasks_free(*out);
	return e;
}

static void test_what_was_written_fits(void **state)
{
	(void)state;
	struct world *w = rich_world();
	struct tasks *t;
	char text[256] = "";
	if (recover(w, buf_span(&w->checkpoint), &t, text) != ERR_OK)
		fail_msg("refused: %s", text);
	struct world *x = world_new();
	x->segment = w->segment + 1;
	x->now_ms = w->now_ms;
	exercise(x, t);
	world_free(x);
	world_free(w);
}

static void test_any_other_value_is_refused_with_its_place_or_works(void **state)
{
	(void)state;
	struct world *w = rich_world();
	struct buf bytes = { NULL, 0, 0 };
	uint32_t refused = 0, worked = 0;
	buf_append(&bytes, w->checkpoint.data, w->checkpoint.len);
	for (size_t at = 0; at + 4 <= bytes.len; at += 4) {
		uint32_t old, values[4];
		memcpy(&old, bytes.data + at, 4);
		const uint32_t changed[] = { old + 1, old - 1, old ^ 0x10000, 0 };
		memcpy(values, changed, sizeof values);
		for (size_t i = 0; i < COUNT_OF(values); i++) {
			struct tasks *t;
			char text[256] = "";
			memcpy(bytes.data + at, &values[i], 4);
			if (recover(w, buf_span(&bytes), &t, text) != ERR_OK) {
				assert_true(strlen(text) > 0);
				refused++;
				continue;
			}
			struct world *x = world_new();
			x->segment = w->segment + 1;
			x->now_ms = w->now_ms;
			exercise(x, t);
			world_free(x);
			worked++;
		}
		memcpy(bytes.data + at, &old, 4);
	}
	assert_true(refused > 100);
	assert_true(worked > 100);
	buf_free(&bytes);
	world_free(w);
}

static void test_a_queue_that_counts_wrongly_is_named(void **state)
{
	(void)state;
	struct world *w = rich_world();
	struct tasks *t;
	char text[256] = "";
	uint8_t *at = w->checkpoint.data;
	while (at[0] != 1 || at[8] != 'q' || at[9] != 0) /* the size of its name, and its name; the counter is 56 bytes in front */
		at += 8;
	uint64_t *alive = (uint64_t *)(void *)(at - 56);
	++*alive;
	assert_int_equal(recover(w, buf_span(&w->checkpoint), &t, text), ERR_DAMAGED);
	assert_non_null(strstr(text, "queue q: its counter says"));
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_was_written_fits),
		cmocka_unit_test(test_any_other_value_is_refused_with_its_place_or_works),
		cmocka_unit_test(test_a_queue_that_counts_wrongly_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
