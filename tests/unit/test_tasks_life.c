/* tests/unit/test_tasks_life.c: yields, and what else belongs to the life of a task while it runs. */
#include "tasks_world.h"

static struct order order_of(const char *queue)
{
	return (struct order){ .queue = queue, .producer = 1, .seq = 1, .resolved_below = 1, .count = 1 };
}

/* One worker, one started task of queue "q". */
static struct holder *begin(struct world *w, uint64_t *task)
{
	struct order o = order_of("q");
	struct holder *h = tasks_holder_new(w->t, w);
	*task = world_submit(w, &o);
	uint64_t got[1] = { 0 };
	assert_int_equal(world_lease(w, "q", h, 1, got), 1);
	world_report(w, h, *task, REPORT_START, 0);
	return h;
}

static enum err yield(struct world *w, struct holder *h, uint64_t task, uint32_t number)
{
	struct report_item item = world_item(w, task, REPORT_YIELD);
	item.app_code = number;
	item.size = 4;
	enum err code = world_say(w, h, item, "item");
	world_flush(w);
	return code;
}

static void test_yields_are_taken_in_order_and_each_once(void **state)
{
	(void)state;
	struct world *w = world_new();
	uint64_t task;
	struct holder *h = begin(w, &task);
	assert_int_equal(yield(w, h, task, 1), ERR_AGAIN); /* a gap */
	assert_int_equal(tasks_yields(w->t, task), 0);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(yield(w, h, task, i), ERR_OK);
	assert_int_equal(yield(w, h, task, 2), ERR_OK); /* it is there */
	assert_int_equal(tasks_yields(w->t, task), 5);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_a_yield_under_way_is_acknowledged_only_when_it_is_durable(void **state)
{
	(void)state;
	struct world *w = world_new();
	uint64_t task;
	struct holder *h = begin(w, &task);
	struct report_item item = world_item(w, task, REPORT_YIELD);
	assert_int_equal(world_say(w, h, item, NULL), ERR_OK);
	assert_int_equal(world_say(w, h, item, NULL), ERR_AGAIN);
	assert_int_equal(tasks_yields(w->t, task), 0);
	assert_int_equal(tasks_yields_next(w->t, task), 1);
	world_flush(w);
	assert_int_equal(w->reported_count, 1);
	assert_int_equal(w->reported[0].verb, REPORT_YIELD);
	assert_int_equal(w->reported[0].code, ERR_OK);
	assert_int_equal(world_say(w, h, item, NULL), ERR_OK);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_without_room_in_the_log_neither_yield_nor_result_is_taken(void **state)
{
	(void)state;
	struct world *w = world_new();
	uint64_t task;
	struct holder *h = begin(w, &task);
	w->full = true;
	struct report_item item = world_item(w, task, REPORT_YIELD);
	assert_int_equal(world_say(w, h, item, NULL), ERR_RESOURCE_EXHAUSTED);
	assert_int_equal(tasks_yields_next(w->t, task), 0);
	w->full = false;
	struct report_item done = world_item(w, task, REPORT_COMPLETE);
	done.flags = REPORT_FLAG_DELAY;
	done.delay_ms = 1;
	assert_int_equal(world_say(w, h, done, NULL), ERR_AGAIN); /* its yield is not there */
	assert_int_equal(yield(w, h, task, 0), ERR_OK);
	assert_int_equal(world_say(w, h, done, NULL), ERR_OK);
	world_flush(w);
	assert_int_equal(world_state(w, task), TASK_DONE);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_yields_survive_restarts_and_hold_their_segment_until_the_task_is_forgotten(void **state)
{
	(void)state;
	struct world *w = world_new();
	uint64_t task, addr = 0;
	struct holder *h = begin(w, &task);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(yield(w, h, task, i), ERR_OK);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_flush(w);
	world_restart(w);
	assert_int_equal(tasks_yields(w->t, task), 3);
	world_checkpoint(w);
	world_restart(w);
	assert_int_equal(tasks_yields(w->t, task), 3);
	assert_true(tasks_yield_at(w->t, task, 2, &addr));
	assert_false(tasks_yield_at(w->t, task, 3, &addr));
	world_tick(w, w->now_ms + 100000); /* the attempt that was lost waits for its next try */
	h = tasks_holder_new(w->t, w);
	uint64_t got[1] = { 0 };
	assert_int_equal(world_lease(w, "q", h, 1, got), 1);
	world_report(w, h, task, REPORT_COMPLETE, 0);
	uint32_t segment = log_addr_segment(addr);
	assert_int_equal(tasks_yields(w->t, task), 3); /* kept although nobody asked for a retention */
	assert_true(tasks_segment_live(w->t, segment));
	w->now_ms += 700000;
	struct order o = order_of("other");
	o.seq = 2;
	(void)world_submit(w, &o); /* time goes on with entries */
	assert_int_equal(tasks_yields(w->t, task), 0);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_a_yield_of_a_lost_lease_is_refused(void **state)
{
	(void)state;
	struct world *w = world_new();
	uint64_t task;
	struct holder *h = begin(w, &task), *other = tasks_holder_new(w->t, w);
	assert_int_equal(yield(w, other, task, 0), ERR_STALE_LEASE);
	assert_int_equal(tasks_yields(w->t, task), 0);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	tasks_holder_lost(w->t, LOG(w), other, w->now_ms);
	world_free(w);
}

/* Leases the one task of queue "q" as deliver does it for tasks that are handed out once. */
static struct holder *lease_once(struct world *w, uint64_t task, uint64_t key)
{
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[1] = { 0 };
	tasks_holder_known(h, key, span_str("worker"));
	assert_int_equal(world_lease(w, "q", h, 1, got), 1);
	assert_int_equal(got[0], task);
	tasks_commit_leases(w->t, LOG(w), task, 1);
	return h;
}

static uint64_t nothing_more(struct world *w)
{
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[1] = { 0 };
	uint32_t count = world_lease(w, "q", h, 1, got);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	return count;
}

static void test_a_task_that_is_handed_out_once_is_lost_with_its_holder_and_never_runs_again(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct order o = order_of("q");
	uint64_t task = world_submit(w, &o);
	struct holder *h = lease_once(w, task, 1);
	world_flush(w);
	assert_true(tasks_commit_leave(w->t, task, 1, h));
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_flush(w);
	assert_int_equal(world_state(w, task), TASK_LOST);
	assert_int_equal(nothing_more(w), 0);
	world_free(w);
}

static void test_one_that_never_left_is_given_back(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct order o = order_of("q");
	uint64_t task = world_submit(w, &o);
	struct holder *h = lease_once(w, task, 1);
	world_flush(w);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_flush(w);
	assert_int_equal(world_state(w, task), TASK_READY);
	world_restart(w);
	assert_int_equal(world_state(w, task), TASK_READY);
	world_free(w);
}

static void test_over_a_restart_only_the_same_session_goes_on_with_it(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct order o = order_of("q");
	uint64_t task = world_submit(w, &o);
	struct holder *h = lease_once(w, task, 1);
	world_flush(w);
	assert_true(tasks_commit_leave(w->t, task, 1, h));
	const struct task_ref ref = { task, 1, w->config.epoch };
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	/* the crash comes before that is durable: world_restart drops what was not flushed */
	w->config.limbo_ms = 1000;
	for (uint32_t round = 0; round < 2; round++) {
		world_restart(w);
		assert_int_equal(nothing_more(w), 0);
		world_checkpoint(w);
	}
	struct holder *thief = tasks_holder_new(w->t, w), *same = tasks_holder_new(w->t, w);
	tasks_holder_known(thief, 2, span_str("thief"));
	tasks_holder_known(same, 1, span_str("worker"));
	tasks_holder_adopt(w->t, thief, &ref, 1);
	assert_int_equal(tasks_holder_leases(thief), 0);
	tasks_holder_adopt(w->t, same, &ref, 1);
	assert_int_equal(tasks_holder_leases(same), 1);
	struct report_item done = { .ref = ref, .verb = REPORT_COMPLETE };
	assert_int_equal(world_say(w, thief, done, NULL), ERR_STALE_LEASE);
	assert_int_equal(world_say(w, same, done, NULL), ERR_OK);
	world_flush(w);
	assert_int_equal(world_state(w, task), TASK_DONE);
	tasks_holder_lost(w->t, LOG(w), thief, w->now_ms);
	tasks_holder_lost(w->t, LOG(w), same, w->now_ms);
	world_free(w);
}

static void test_a_holder_that_does_not_come_back_leaves_it_lost(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct order o = order_of("q");
	uint64_t task = world_submit(w, &o);
	struct holder *h = lease_once(w, task, 1);
	world_flush(w);
	assert_true(tasks_commit_leave(w->t, task, 1, h));
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	w->config.limbo_ms = 1000;
	world_restart(w);
	world_tick(w, w->now_ms + 999);
	assert_int_equal(world_state(w, task), TASK_STARTED); /* in limbo */
	world_tick(w, w->now_ms + 1);
	assert_int_equal(world_state(w, task), TASK_LOST);
	assert_int_equal(nothing_more(w), 0);
	world_free(w);
}

static struct world *restarted_in_limbo(struct order o, uint64_t *task)
{
	struct world *w = world_new();
	*task = world_submit(w, &o);
	struct holder *h = lease_once(w, *task, 1);
	world_flush(w);
	assert_true(tasks_commit_leave(w->t, *task, 1, h));
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms); /* not flushed: the crash comes before */
	w->config.limbo_ms = 1000;
	world_restart(w);
	assert_int_equal(world_state(w, *task), TASK_STARTED);
	return w;
}

static void test_a_purge_leaves_alone_what_waits_for_its_holder_after_a_restart(void **state)
{
	(void)state;
	uint64_t task;
	struct world *w = restarted_in_limbo(order_of("q"), &task);
	assert_int_equal(world_purge(w, "q", false), 0);
	assert_int_equal(world_state(w, task), TASK_STARTED);
	world_free(w);
}

static void test_the_next_of_an_ordering_key_waits_for_one_whose_holder_may_come_back(void **state)
{
	(void)state;
	uint64_t task;
	struct order o = order_of("q");
	o.count = 2;
	o.head.order_key = span_str("k");
	struct world *w = restarted_in_limbo(o, &task);
	assert_int_equal(nothing_more(w), 0);
	world_tick(w, w->now_ms + 1000);
	assert_int_equal(world_state(w, task), TASK_LOST);
	assert_int_equal(nothing_more(w), 1);
	world_free(w);
}

static void test_a_retry_of_one_that_was_handed_out_once_survives_a_restart(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct order o = order_of("q");
	uint64_t task = world_submit(w, &o);
	uint32_t records;
	char text[256];
	struct holder *h = lease_once(w, task, 1);
	world_flush(w);
	assert_true(tasks_commit_leave(w->t, task, 1, h));
	world_report(w, h, task, REPORT_FAIL, ERR_TRANSIENT);
	assert_int_equal(world_state(w, task), TASK_DEAD);
	assert_int_equal(tasks_propose_retry(w->t, LOG(w), task, &records, text), ERR_OK);
	world_flush(w);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_restart(w);
	assert_int_equal(world_state(w, task), TASK_READY);
	assert_int_equal(nothing_more(w), 1);
	world_free(w);
}

static void test_the_end_of_its_time_to_wait_is_no_warning_for_a_task_that_has_started(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct order o = order_of("q");
	o.head.expires_ms = 5000;
	o.head.close_ms = 60000;
	uint64_t task = world_submit(w, &o), got[1], begun = w->now_ms;
	struct holder *h = tasks_holder_new(w->t, w);
	assert_int_equal(world_lease(w, "q", h, 1, got), 1);
	world_report(w, h, task, REPORT_START, 0);
	world_tick(w, begun + 50000);
	assert_int_equal(w->signal_count, 0);
	world_tick(w, begun + 59500);
	assert_int_equal(w->signal_count, 1);
	assert_int_equal(w->signals[0].signal, SIGNAL_DEADLINE_SOON);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_yields_are_taken_in_order_and_each_once),
		cmocka_unit_test(test_a_yield_under_way_is_acknowledged_only_when_it_is_durable),
		cmocka_unit_test(test_without_room_in_the_log_neither_yield_nor_result_is_taken),
		cmocka_unit_test(test_yields_survive_restarts_and_hold_their_segment_until_the_task_is_forgotten),
		cmocka_unit_test(test_a_yield_of_a_lost_lease_is_refused),
		cmocka_unit_test(test_a_task_that_is_handed_out_once_is_lost_with_its_holder_and_never_runs_again),
		cmocka_unit_test(test_one_that_never_left_is_given_back),
		cmocka_unit_test(test_over_a_restart_only_the_same_session_goes_on_with_it),
		cmocka_unit_test(test_a_holder_that_does_not_come_back_leaves_it_lost),
		cmocka_unit_test(test_a_purge_leaves_alone_what_waits_for_its_holder_after_a_restart),
		cmocka_unit_test(test_the_next_of_an_ordering_key_waits_for_one_whose_holder_may_come_back),
		cmocka_unit_test(test_a_retry_of_one_that_was_handed_out_once_survives_a_restart),
		cmocka_unit_test(test_the_end_of_its_time_to_wait_is_no_warning_for_a_task_that_has_started),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
