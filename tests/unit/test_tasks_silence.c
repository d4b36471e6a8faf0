/* tests/unit/test_tasks_silence.c: leases that only a word about their task renews. */
#include "tasks_world.h"

enum { LEASE_MS = 10000 };

/* One worker who holds `count` tasks of queue "q", each under such a lease. */
static struct holder *hold(struct world *w, uint32_t count, bool once)
{
	struct order o = { .queue = "q", .producer = 1, .seq = 1, .resolved_below = 1, .count = count };
	struct holder *h = tasks_holder_new(w->t, w);
	struct ready_run run;
	(void)world_submit(w, &o);
	assert_true(tasks_peek(w->t, world_queue(w, "q"), NULL, 0, &run));
	assert_int_equal(run.count, count);
	tasks_lease(w->t, world_queue(w, "q"), count, h, 0, w->now_ms);
	tasks_renewed_by_task(w->t, run.first_task, count, LEASE_MS, w->now_ms);
	if (once)
		tasks_commit_leases(w->t, LOG(w), run.first_task, count);
	world_flush(w);
	return h;
}

static uint32_t signals_of(const struct world *w, uint64_t task, enum signal_kind kind)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < w->signal_count; i++)
		count += w->signals[i].ref.task == task && w->signals[i].signal == kind;
	return count;
}

static void test_a_task_that_was_not_begun_goes_back_and_nothing_is_counted(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = hold(w, 2, false);
	struct task_view v;
	uint32_t records = w->count;
	world_tick(w, 1000 + LEASE_MS - 1);
	assert_int_equal(world_state(w, 1), TASK_LEASED);
	assert_int_equal(signals_of(w, 1, SIGNAL_DEADLINE_SOON), 1);
	world_tick(w, 1000 + LEASE_MS);
	for (uint64_t task = 1; task <= 2; task++) {
		assert_true(tasks_show(w->t, task, &v));
		assert_int_equal(v.state, TASK_READY);
		assert_int_equal(v.failed, 0);
		assert_int_equal(signals_of(w, task, SIGNAL_LEASE_LOST), 1);
	}
	assert_int_equal(w->count, records); /* the log hears nothing of it */
	assert_int_equal(tasks_holder_leases(h), 0);
	struct report_item late = { .ref = { 1, 1, w->config.epoch }, .verb = REPORT_COMPLETE };
	assert_int_equal(world_say(w, h, late, NULL), ERR_STALE_LEASE);
	struct holder *other = tasks_holder_new(w->t, w);
	uint64_t out[2];
	assert_int_equal(world_lease(w, "q", other, 2, out), 2);
	world_tick(w, 1000 + 100 * LEASE_MS); /* this lease is not of that kind */
	assert_int_equal(world_state(w, 1), TASK_LEASED);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	tasks_holder_lost(w->t, LOG(w), other, w->now_ms);
	world_free(w);
}

static void test_a_task_that_was_begun_has_failed(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = hold(w, 1, false);
	struct task_view v;
	world_report(w, h, 1, REPORT_START, 0);
	world_tick(w, 1000 + LEASE_MS);
	assert_true(tasks_show(w->t, 1, &v));
	assert_int_equal(v.state, TASK_SCHEDULED);
	assert_int_equal(v.failed, 1);
	assert_int_equal(signals_of(w, 1, SIGNAL_LEASE_LOST), 1);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_every_word_about_the_task_renews_its_lease_and_that_of_no_other(void **state)
{
	(void)state;
	static const uint8_t verbs[] = { REPORT_START, REPORT_PROGRESS, REPORT_LOG, REPORT_YIELD, REPORT_PAUSED, REPORT_RESUMED };
	struct world *w = world_new();
	struct holder *h = hold(w, 2, false);
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		world_tick(w, w->now_ms + LEASE_MS - 1);
		assert_int_equal(world_say(w, h, world_item(w, 1, verbs[i]), NULL), ERR_OK);
		world_flush(w);
	}
	assert_int_equal(world_state(w, 1), TASK_STARTED);
	assert_int_equal(world_state(w, 2), TASK_READY);
	world_tick(w, w->now_ms + LEASE_MS);
	assert_int_equal(world_state(w, 1), TASK_SCHEDULED);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_an_extension_says_how_long_and_a_word_does_not_shorten_it(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = hold(w, 1, false);
	world_report(w, h, 1, REPORT_START, 0);
	struct report_item item = world_item(w, 1, REPORT_EXTEND);
	item.flags = REPORT_FLAG_DELAY;
	item.delay_ms = 5 * LEASE_MS;
	assert_int_equal(world_say(w, h, item, NULL), ERR_OK);
	assert_int_equal(world_say(w, h, world_item(w, 1, REPORT_PROGRESS), NULL), ERR_OK);
	world_tick(w, 1000 + 5 * LEASE_MS - 1);
	assert_int_equal(world_state(w, 1), TASK_STARTED);
	world_tick(w, 1000 + 5 * LEASE_MS);
	assert_int_equal(world_state(w, 1), TASK_SCHEDULED);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_a_task_that_is_handed_out_once_is_lost_unless_it_never_left(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = hold(w, 2, true);
	assert_true(tasks_commit_leave(w->t, 1, 1, h));
	world_tick(w, 1000 + LEASE_MS);
	assert_int_equal(world_state(w, 1), TASK_LOST);
	assert_int_equal(world_state(w, 2), TASK_READY);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_flush(w);
	world_restart(w);
	world_free(w);
}

static void test_cancelling_expiry_and_silence_do_not_get_in_each_others_way(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = hold(w, 1, false);
	char text[256];
	uint32_t records;
	assert_int_equal(tasks_propose_cancel(w->t, LOG(w), 1, w->now_ms, &records, text), ERR_OK);
	world_flush(w);
	world_tick(w, 1000 + LEASE_MS);
	assert_int_equal(world_state(w, 1), TASK_CANCELLED);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_task_that_was_not_begun_goes_back_and_nothing_is_counted),
		cmocka_unit_test(test_a_task_that_was_begun_has_failed),
		cmocka_unit_test(test_every_word_about_the_task_renews_its_lease_and_that_of_no_other),
		cmocka_unit_test(test_an_extension_says_how_long_and_a_word_does_not_shorten_it),
		cmocka_unit_test(test_a_task_that_is_handed_out_once_is_lost_unless_it_never_left),
		cmocka_unit_test(test_cancelling_expiry_and_silence_do_not_get_in_each_others_way),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
