/* tests/unit/test_tasks_edges.c: the task machine with values and orders of events that nobody chooses who means well. */
#include "tasks_world.h"

static struct order order_of(const char *queue, uint64_t seq, uint64_t execution_ms, uint64_t retention_ms)
{
	return (struct order){ .queue = queue, .seq = seq, .count = 1,
			       .head = { .execution_ms = execution_ms, .retention_ms = retention_ms } };
}

static uint64_t lease_for(struct world *w, struct holder *h, uint64_t execution_ms)
{
	struct ready_run run;
	assert_true(tasks_peek(w->t, world_queue(w, "q"), NULL, 0, &run));
	tasks_lease(w->t, world_queue(w, "q"), 1, h, execution_ms, w->now_ms);
	return run.first_task;
}

static void test_an_execution_limit_beyond_all_time_is_none(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct order o = order_of("q", 1, UINT64_MAX, 0);
	(void)world_submit(w, &o);
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t task = lease_for(w, h, UINT64_MAX);
	assert_int_equal(world_say(w, h, world_item(w, task, REPORT_START), NULL), ERR_OK);
	world_tick(w, w->now_ms + 1000);
	assert_int_equal(world_state(w, task), TASK_STARTED);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_a_retention_beyond_all_time_keeps_the_result_over_a_restart(void **state)
{
	(void)state;
	struct world *w = world_new();
	const uint64_t retentions[] = { UINT64_MAX, UINT64_MAX - w->now_ms, UINT64_MAX - w->now_ms - 1, UINT64_MAX / 2 };
	struct holder *h = tasks_holder_new(w->t, w);
	for (uint64_t i = 0; i < COUNT_OF(retentions); i++) {
		struct order o = order_of("q", i + 1, 0, retentions[i]);
		uint64_t task = world_submit(w, &o);
		assert_int_equal(lease_for(w, h, 0), task);
		assert_int_equal(world_say(w, h, world_item(w, task, REPORT_COMPLETE), "result"), ERR_OK);
		world_flush(w);
	}
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	w->now_ms += 10000;
	struct order last = order_of("other", 9, 0, 0);
	(void)world_submit(w, &last); /* moves the time of the log on */
	world_checkpoint(w);
	world_restart(w);
	for (uint64_t task = 1; task <= COUNT_OF(retentions); task++) {
		struct task_view v;
		assert_true(tasks_show(w->t, task, &v));
		assert_int_equal(v.state, TASK_DONE);
		assert_int_equal(v.result_size, 6);
	}
	world_free(w);
}

/* The record of a submission names its queue by number; by the time it is applied the number may be promised to another name. */
static void test_a_submission_to_a_removed_queue_does_not_end_up_in_the_next_one(void **state)
{
	(void)state;
	struct world *w = calloc(1, sizeof *w);
	struct tasks_config config = world_config(w);
	free(w);
	config.queues_max = 1;
	w = world_new_with(&config);
	char text[256];
	uint32_t records;
	const struct queue_settings unset = QUEUE_SETTINGS_UNSET;
	assert_int_equal(tasks_propose_queue(w->t, LOG(w), span_str("a"), &unset, true, &records, text), ERR_OK);
	world_flush(w);
	assert_int_equal(tasks_propose_remove(w->t, LOG(w), span_str("a"), &records, text), ERR_OK);
	struct order late = order_of("a", 1, 0, 0);
	assert_int_equal(world_propose(w, &late).records, 1);
	/* The first of the two batches comes back, and room for a queue with it. */
	w->records[w->applied].entry = (struct log_entry){ w->applied + 1, 1, w->now_ms };
	world_apply_one(w, w->t, &w->records[w->applied++], true);
	struct order next = order_of("b", 2, 0, 0);
	assert_int_equal(world_propose(w, &next).records, 1);
	world_flush(w);
	assert_int_equal(w->runs[0].code, ERR_NOT_FOUND);
	assert_int_equal(w->runs[1].code, ERR_OK);
	assert_int_equal(world_info(w, "b").ready, 1);
	world_restart(w);
	assert_int_equal(world_info(w, "b").ready, 1);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_execution_limit_beyond_all_time_is_none),
		cmocka_unit_test(test_a_retention_beyond_all_time_keeps_the_result_over_a_restart),
		cmocka_unit_test(test_a_submission_to_a_removed_queue_does_not_end_up_in_the_next_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
