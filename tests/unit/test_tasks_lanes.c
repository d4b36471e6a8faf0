/* tests/unit/test_tasks_lanes.c: lanes of one queue: who may be handed what, in which order, before and after a restart; and
 * ordering keys: one at a time, in the order of confirms, whatever happens to the one in front. */
#include "tasks_world.h"

enum { GPU = 1, CPU = 2 }; /* slots, in the order in which they come to be */
#define PLAIN_BIT 1ull
#define GPU_BIT (1ull << GPU)
#define CPU_BIT (1ull << CPU)

static uint64_t submit(struct world *w, uint64_t seq, uint32_t count, const char *requirements, const char *order_key)
{
	return world_submit(w, &(struct order){ .queue = "q", .seq = seq, .count = count,
						.head = { .requirements = span_str(requirements),
							  .order_key = span_str(order_key) } });
}

/* Leases what comes next of these slots, at most `max`; the number of the first, 0 = nothing. */
static uint64_t take(struct world *w, struct holder *h, uint64_t slots, uint32_t max)
{
	struct ready_run run;
	uint32_t queue = world_queue(w, "q");
	if (!tasks_peek(w->t, queue, slots ? &slots : NULL, 1, &run))
		return 0;
	tasks_lease(w->t, queue, MIN_OF(run.count, max), h, 0, w->now_ms);
	return run.first_task;
}

static void done(struct world *w, struct holder *h, uint64_t task)
{
	world_report(w, h, task, REPORT_COMPLETE, 0);
	assert_int_equal(world_state(w, task), TASK_DONE);
}

static void test_a_lane_that_nobody_can_do_does_not_stand_in_the_way(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = tasks_holder_new(w->t, NULL);
	submit(w, 1, 100, "gpu == \"A100\"", NULL);
	uint64_t plain = submit(w, 101, 2, NULL, NULL);
	assert_int_equal(tasks_slot_count(w->t, world_queue(w, "q")), 2);
	assert_int_equal(take(w, h, PLAIN_BIT, 1), plain);
	assert_int_equal(take(w, h, PLAIN_BIT, 1), plain + 1);
	assert_int_equal(take(w, h, PLAIN_BIT, 1), 0);
	assert_int_equal(take(w, h, PLAIN_BIT | GPU_BIT, 100), 1);
	assert_int_equal(world_info(w, "q").leased, 102);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_lanes_of_equal_priority_take_turns_and_a_higher_priority_goes_first(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = tasks_holder_new(w->t, NULL);
	submit(w, 1, 3, "gpu == 1", NULL);
	submit(w, 4, 3, "cpu == 1", NULL);
	uint64_t high = world_submit(w, &(struct order){ .queue = "q", .seq = 7, .count = 1,
							 .head = { .priority = 9, .requirements = span_str("cpu == 1") } });
	assert_int_equal(take(w, h, GPU_BIT | CPU_BIT, 1), high);
	uint64_t order[6] = { 0 }, sums[2] = { 0, 0 };
	for (int i = 0; i < 6; i++) {
		order[i] = take(w, h, GPU_BIT | CPU_BIT, 1);
		sums[i % 2] += order[i] <= 3;
	}
	assert_true((sums[0] == 3 && sums[1] == 0) || (sums[0] == 0 && sums[1] == 3));
	assert_int_equal(take(w, h, 0, 1), 0);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_requirements_and_their_lanes_survive_a_restart(void **state)
{
	(void)state;
	struct world *w = world_new();
	submit(w, 1, 2, "gpu == 1", NULL);
	world_seal(w);
	world_checkpoint(w);
	submit(w, 3, 2, "cpu == 1", NULL);
	submit(w, 5, 1, NULL, NULL);
	for (int round = 0; round < 2; round++) {
		world_restart(w);
		uint32_t queue = world_queue(w, "q");
		struct holder *h = tasks_holder_new(w->t, NULL);
		assert_int_equal(tasks_slot_count(w->t, queue), 3);
		assert_true(tasks_slot_requires(w->t, queue, GPU).len > 0);
		assert_false(span_eq(tasks_slot_requires(w->t, queue, GPU), tasks_slot_requires(w->t, queue, CPU)));
		assert_int_equal(take(w, h, GPU_BIT, 8), 1);
		assert_int_equal(take(w, h, CPU_BIT, 8), 3);
		assert_int_equal(take(w, h, PLAIN_BIT, 8), 5);
		tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
		world_seal(w);
		world_checkpoint(w);
	}
	world_free(w);
}

static void test_a_class_rests_after_its_last_task_and_the_oldest_make_room(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct tasks_stats before, after;
	struct holder *other = tasks_holder_new(w->t, NULL);
	submit(w, 1, 1, "a == 1", NULL); /* stays */
	assert_int_equal(take(w, other, 0, 1), 1);
	tasks_get_stats(w->t, &before);
	for (uint64_t i = 0; i < 3000; i++) {
		char text[32];
		struct holder *h = tasks_holder_new(w->t, NULL);
		(void)snprintf(text, sizeof text, "host == \"h%u\"", (unsigned)i);
		uint64_t task = submit(w, 2 + i, 1, text, NULL);
		assert_int_equal(take(w, h, 0, 1), task);
		done(w, h, task);
		tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	}
	tasks_get_stats(w->t, &after);
	assert_true(tasks_slot_count(w->t, world_queue(w, "q")) <= 1024 + 4); /* so many rest for their next tasks */
	assert_true(after.memory_bytes < before.memory_bytes + (1 << 20));
	tasks_holder_lost(w->t, LOG(w), other, w->now_ms);
	world_free(w);
}

enum { CLASSES_MAX = 16384 };

/* What rests is not remembered over a restart, so it must not be let in where the same one, forgotten, would be refused. */
static void test_a_class_that_rests_is_no_way_around_the_limit(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = tasks_holder_new(w->t, NULL);
	w->segment_bytes = 1 << 20;
	uint64_t task = submit(w, 1, 1, "rests == 1", NULL);
	assert_int_equal(take(w, h, 0, 1), task);
	done(w, h, task);
	world_checkpoint(w);
	for (uint32_t i = 0; i < CLASSES_MAX; i++) {
		char text[32];
		(void)snprintf(text, sizeof text, "host == %u", i);
		submit(w, 2 + i, 1, text, NULL);
	}
	struct order again = { .queue = "q", .seq = 2 + CLASSES_MAX, .count = 1, .head = { .requirements = span_str("rests == 1") } };
	struct submit_answer a = world_propose(w, &again);
	world_flush(w);
	assert_int_equal(a.records ? w->runs[0].code : a.runs[0].code, ERR_RESOURCE_EXHAUSTED);
	task = take(w, h, 0, 1);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_restart(w);
	world_checkpoint(w);
	world_restart(w);
	h = tasks_holder_new(w->t, NULL);
	task = take(w, h, 0, 1);
	done(w, h, task);
	again.seq++;
	(void)world_submit(w, &again);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_requirements_that_do_not_parse_are_refused_with_the_place(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct submit_answer a = world_propose(w, &(struct order){ .queue = "q", .seq = 1, .count = 1,
								   .head = { .requirements = span_str("gpu ==") } });
	assert_int_equal(a.records, 0);
	assert_int_equal(a.runs[0].code, ERR_INVALID_INPUT);
	assert_non_null(strstr(a.text, "requirements"));
	world_flush(w);
	world_free(w);
}

/* ---- ordering keys ---- */

static void test_tasks_of_one_key_start_one_after_the_other_in_order(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = tasks_holder_new(w->t, NULL);
	submit(w, 1, 3, NULL, "k");
	submit(w, 4, 1, NULL, "other");
	submit(w, 5, 1, NULL, "k");
	assert_int_equal(take(w, h, 0, 8), 1);
	assert_int_equal(take(w, h, 0, 8), 4);
	assert_int_equal(take(w, h, 0, 8), 0);
	done(w, h, 1);
	assert_int_equal(take(w, h, 0, 8), 2);
	world_report(w, h, 2, REPORT_RELEASE, 0); /* given back: still in front */
	assert_int_equal(take(w, h, 0, 8), 2);
	assert_int_equal(take(w, h, 0, 8), 0);
	world_report(w, h, 2, REPORT_FAIL, ERR_TRANSIENT); /* another try, later: the key waits for it */
	assert_int_equal(world_state(w, 2), TASK_SCHEDULED);
	assert_int_equal(take(w, h, 0, 8), 0);
	world_tick(w, w->now_ms + 5000);
	assert_int_equal(take(w, h, 0, 8), 2);
	done(w, h, 2);
	assert_int_equal(take(w, h, 0, 8), 3);
	done(w, h, 3);
	assert_int_equal(take(w, h, 0, 8), 5);
	done(w, h, 5);
	done(w, h, 4);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_a_lost_worker_and_a_restart_keep_the_order(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = tasks_holder_new(w->t, NULL);
	submit(w, 1, 2, NULL, "k");
	submit(w, 3, 2, "gpu == 1", "k");
	assert_int_equal(take(w, h, 0, 8), 1);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	h = tasks_holder_new(w->t, NULL);
	assert_int_equal(take(w, h, 0, 8), 1);
	done(w, h, 1);
	assert_int_equal(take(w, h, 0, 8), 2);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_seal(w);
	world_checkpoint(w);
	world_restart(w);
	h = tasks_holder_new(w->t, NULL);
	assert_int_equal(take(w, h, GPU_BIT, 8), 0);
	assert_int_equal(take(w, h, 0, 8), 2);
	assert_int_equal(take(w, h, 0, 8), 0);
	done(w, h, 2);
	assert_int_equal(take(w, h, GPU_BIT, 8), 3);
	done(w, h, 3);
	assert_int_equal(take(w, h, GPU_BIT, 8), 4);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_cancelled_expired_and_dead_ones_let_the_next_pass(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = tasks_holder_new(w->t, NULL);
	char text[256];
	uint32_t records;
	submit(w, 1, 6, NULL, "k");
	assert_int_equal(tasks_propose_cancel(w->t, LOG(w), 2, w->now_ms, &records, text), ERR_OK); /* one that waits */
	assert_int_equal(tasks_propose_cancel(w->t, LOG(w), 1, w->now_ms, &records, text), ERR_OK); /* the one in front */
	world_flush(w);
	assert_int_equal(take(w, h, 0, 8), 3);
	world_report(w, h, 3, REPORT_REJECT, 0);
	assert_int_equal(world_state(w, 3), TASK_DEAD);
	assert_int_equal(take(w, h, 0, 8), 4);
	/* Called back from the dead it waits for its turn, which comes before those with higher numbers. */
	assert_int_equal(tasks_propose_retry(w->t, LOG(w), 3, &records, text), ERR_OK);
	world_flush(w);
	assert_int_equal(take(w, h, 0, 8), 0);
	done(w, h, 4);
	assert_int_equal(take(w, h, 0, 8), 3);
	done(w, h, 3);
	assert_int_equal(take(w, h, 0, 8), 5);
	(void)world_purge(w, "q", false);
	assert_int_equal(world_info(w, "q").ready, 0);
	done(w, h, 5);
	assert_int_equal(take(w, h, 0, 8), 0);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_a_delayed_one_waits_for_those_before_it_and_holds_those_behind(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = tasks_holder_new(w->t, NULL);
	uint64_t first = submit(w, 1, 1, NULL, "k");
	uint64_t delayed = world_submit(w, &(struct order){ .queue = "q", .seq = 2, .count = 1,
							    .head = { .order_key = span_str("k"), .delay_ms = 1000 } });
	uint64_t last = submit(w, 3, 1, NULL, "k");
	assert_int_equal(take(w, h, 0, 8), first);
	world_tick(w, w->now_ms + 2000);
	assert_int_equal(world_state(w, delayed), TASK_READY);
	assert_int_equal(take(w, h, 0, 8), 0);
	done(w, h, first);
	assert_int_equal(take(w, h, 0, 8), delayed);
	assert_int_equal(take(w, h, 0, 8), 0);
	done(w, h, delayed);
	assert_int_equal(take(w, h, 0, 8), last);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_idle_keys_cost_no_memory_and_one_key_never_delays_another(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = tasks_holder_new(w->t, NULL);
	struct tasks_stats before, after;
	enum { KEYS = 3000 };
	uint64_t seq = 1;
	char key[32];
	for (int round = 0; round < 3; round++) {
		tasks_get_stats(w->t, &before);
		for (uint32_t i = 0; i < KEYS; i++, seq++) {
			(void)snprintf(key, sizeof key, "key %u", i);
			struct submit_answer a = world_propose(w, &(struct order){ .queue = "q", .seq = seq, .count = 1,
				.resolved_below = seq, .head = { .order_key = span_str(key) } });
			assert_int_equal(a.records, 1);
			world_flush(w);
		}
		for (uint32_t i = 0; i < KEYS; i++)
			assert_int_equal(take(w, h, 0, 1), seq - KEYS + i);
		for (uint32_t i = 0; i < KEYS; i++)
			done(w, h, seq - KEYS + i);
		tasks_get_stats(w->t, &after);
		assert_true(round == 0 || after.memory_bytes < before.memory_bytes + (200 << 10));
	}
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_lane_that_nobody_can_do_does_not_stand_in_the_way),
		cmocka_unit_test(test_lanes_of_equal_priority_take_turns_and_a_higher_priority_goes_first),
		cmocka_unit_test(test_requirements_and_their_lanes_survive_a_restart),
		cmocka_unit_test(test_a_class_rests_after_its_last_task_and_the_oldest_make_room),
		cmocka_unit_test(test_a_class_that_rests_is_no_way_around_the_limit),
		cmocka_unit_test(test_requirements_that_do_not_parse_are_refused_with_the_place),
		cmocka_unit_test(test_tasks_of_one_key_start_one_after_the_other_in_order),
		cmocka_unit_test(test_a_lost_worker_and_a_restart_keep_the_order),
		cmocka_unit_test(test_cancelled_expired_and_dead_ones_let_the_next_pass),
		cmocka_unit_test(test_a_delayed_one_waits_for_those_before_it_and_holds_those_behind),
		cmocka_unit_test(test_idle_keys_cost_no_memory_and_one_key_never_delays_another),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
