/* tests/unit/test_tasks_after.c: tasks that come after others, and groups with a callback. */
#include "tasks_world.h"

struct chain { struct world *w; struct holder *h; uint64_t seq; };

static struct chain chain_new(void)
{
	struct chain c = { .w = world_new(), .seq = 1 };
	c.h = tasks_holder_new(c.w->t, c.w);
	return c;
}

static void chain_free(struct chain *c)
{
	tasks_holder_lost(c->w->t, LOG(c->w), c->h, c->w->now_ms);
	world_free(c->w);
}

/* Proposes without flush; `count` tasks of one head. */
static struct submit_answer propose(struct chain *c, struct task_head head, uint32_t count)
{
	struct order o = { .queue = "q", .seq = c->seq, .resolved_below = 1, .count = count, .head = head };
	c->seq += count;
	return world_propose(c->w, &o);
}

static uint64_t submit(struct chain *c, struct task_head head, uint32_t count)
{
	struct submit_answer a = propose(c, head, count);
	assert_true(a.records > 0);
	world_flush(c->w);
	assert_int_equal(c->w->runs[0].code, ERR_OK);
	return c->w->runs[0].first_task;
}

static enum err refusal(struct chain *c, struct task_head head, uint32_t count)
{
	struct submit_answer a = propose(c, head, count);
	world_flush(c->w);
	return (enum err)(a.run_count ? a.runs[0].code : c->w->runs[0].code);
}

static struct task_head after_all(const uint64_t *tasks, uint32_t count)
{
	return (struct task_head){ .after = span_of(tasks, count * sizeof *tasks) };
}

static uint64_t after_one(struct chain *c, uint64_t task, uint8_t on_failure)
{
	struct task_head head = after_all(&task, 1);
	head.on_failure = on_failure;
	return submit(c, head, 1);
}

static struct task_head after_group(const char *group, uint64_t size)
{
	return (struct task_head){ .after_group = span_str(group), .group_size = size };
}

static struct task_head member(const char *group)
{
	return (struct task_head){ .group = span_str(group) };
}

/* The next task of the queue is this one; it ends so. */
static void work(struct chain *c, uint64_t expected, uint8_t verb)
{
	uint64_t got = 0;
	assert_int_equal(world_lease(c->w, "q", c->h, 1, &got), 1);
	assert_int_equal(got, expected);
	world_report(c->w, c->h, got, verb, ERR_PERMANENT);
}

static void expect_nothing(struct chain *c)
{
	uint64_t got;
	assert_int_equal(world_lease(c->w, "q", c->h, 1, &got), 0);
}

static struct group_info group(struct chain *c, const char *name)
{
	struct group_info info = { .members = 0 };
	assert_true(tasks_group(c->w->t, span_str(name), &info));
	return info;
}

static void restart(struct chain *c, bool checkpoint)
{
	tasks_holder_lost(c->w->t, LOG(c->w), c->h, c->w->now_ms);
	if (checkpoint)
		world_checkpoint(c->w);
	world_restart(c->w);
	c->h = tasks_holder_new(c->w->t, c->w);
}

static void test_a_task_starts_when_the_last_of_those_it_comes_after_is_done(void **state)
{
	(void)state;
	struct chain c = chain_new();
	uint64_t first = submit(&c, (struct task_head){ .priority = 0 }, 3), before[3] = { first, first + 1, first + 2 };
	uint64_t last = submit(&c, after_all(before, 3), 1);
	struct blocked_info b;
	assert_int_equal(world_state(c.w, last), TASK_SCHEDULED);
	assert_true(tasks_blocked(c.w->t, last, &b));
	assert_int_equal(b.open, 3);
	assert_int_equal(b.first, first);
	assert_int_equal(world_info(c.w, "q").blocked, 1);
	assert_int_equal(world_info(c.w, "q").scheduled, 1);
	for (uint32_t i = 0; i < 3; i++)
		work(&c, first + i, REPORT_COMPLETE);
	assert_false(tasks_blocked(c.w->t, last, &b));
	assert_int_equal(world_info(c.w, "q").blocked, 0);
	work(&c, last, REPORT_COMPLETE);
	expect_nothing(&c);
	chain_free(&c);
}

static void test_a_bad_end_cancels_what_comes_after_and_all_behind_it(void **state)
{
	(void)state;
	struct chain c = chain_new();
	uint64_t first = submit(&c, (struct task_head){ .priority = 0 }, 1);
	uint64_t second = after_one(&c, first, ON_FAILURE_CANCEL), third = after_one(&c, second, ON_FAILURE_CANCEL);
	uint64_t anyway = after_one(&c, first, ON_FAILURE_RUN);
	work(&c, first, REPORT_REJECT);
	world_tick(c.w, c.w->now_ms);
	assert_int_equal(world_state(c.w, second), TASK_CANCELLED);
	assert_int_equal(world_state(c.w, third), TASK_CANCELLED);
	struct task_view v;
	struct log_record record;
	assert_true(tasks_show(c.w->t, third, &v));
	assert_int_equal(v.code, ERR_DEPENDENCY);
	assert_int_equal(log_fetch(LOG(c.w), v.result_addr, &record), ERR_OK);
	struct span text = settle_record_result(&record, third, NULL);
	char expected[96];
	(void)snprintf(expected, sizeof expected, "it comes after task %llu, which is cancelled", (unsigned long long)second);
	assert_int_equal(text.len, strlen(expected));
	assert_memory_equal(text.data, expected, text.len);
	work(&c, anyway, REPORT_COMPLETE);
	chain_free(&c);
}

static void test_a_chain_in_one_frame_runs_link_by_link(void **state)
{
	(void)state;
	struct chain c = chain_new();
	const uint32_t back = 1;
	uint64_t first = submit(&c, (struct task_head){ .priority = 0 }, 1);
	uint64_t link = submit(&c, (struct task_head){ .after_back = span_of(&back, sizeof back) }, 5);
	assert_int_equal(link, first + 1);
	for (uint32_t i = 0; i < 6; i++) {
		work(&c, first + i, REPORT_COMPLETE);
		if (i == 2)
			restart(&c, true);
	}
	expect_nothing(&c);
	chain_free(&c);
}

static void test_a_chain_is_sent_before_anything_is_confirmed(void **state)
{
	(void)state;
	struct chain c = chain_new();
	const uint32_t back = 1;
	const struct task_head link = { .after_back = span_of(&back, sizeof back) };
	(void)propose(&c, (struct task_head){ .priority = 0 }, 1);
	(void)propose(&c, link, 1);
	(void)propose(&c, link, 1);
	world_flush(c.w);
	assert_int_equal(c.w->run_count, 3);
	for (uint64_t task = 1; task <= 3; task++)
		work(&c, task, REPORT_COMPLETE);
	expect_nothing(&c);
	chain_free(&c);
}

static void test_a_link_behind_one_that_was_refused_is_refused(void **state)
{
	(void)state;
	struct chain c = chain_new();
	const uint32_t back = 1;
	const struct task_head link = { .after_back = span_of(&back, sizeof back) };
	assert_int_equal(refusal(&c, link, 1), ERR_NOT_FOUND); /* nothing has come before */
	assert_int_equal(refusal(&c, link, 3), ERR_DEPENDENCY);
	chain_free(&c);
}

static void test_unknown_tasks_are_refused_and_settled_ones_count_by_how_they_ended(void **state)
{
	(void)state;
	struct chain c = chain_new();
	uint64_t unknown = 17, done = submit(&c, (struct task_head){ .priority = 0 }, 2), failed = done + 1;
	assert_int_equal(refusal(&c, after_all(&unknown, 1), 1), ERR_NOT_FOUND);
	work(&c, done, REPORT_COMPLETE);
	work(&c, failed, REPORT_REJECT);
	uint64_t next = after_one(&c, done, ON_FAILURE_CANCEL);
	work(&c, next, REPORT_COMPLETE);
	uint64_t doomed = after_one(&c, failed, ON_FAILURE_CANCEL), anyway = after_one(&c, failed, ON_FAILURE_RUN);
	world_tick(c.w, c.w->now_ms);
	assert_int_equal(world_state(c.w, doomed), TASK_CANCELLED);
	work(&c, anyway, REPORT_COMPLETE);
	for (uint32_t i = 0; i < 1100; i++) /* more than are remembered */
		work(&c, submit(&c, (struct task_head){ .priority = 0 }, 1), REPORT_COMPLETE);
	assert_int_equal(refusal(&c, after_all(&done, 1), 1), ERR_NOT_FOUND);
	chain_free(&c);
}

static void test_a_submission_waits_while_one_it_comes_after_is_being_settled(void **state)
{
	(void)state;
	struct chain c = chain_new();
	uint64_t first = submit(&c, (struct task_head){ .priority = 0 }, 1), got;
	const uint32_t back = 1, one = 8;
	struct task_head by_id = after_all(&first, 1), by_back = { .after_back = span_of(&back, sizeof back) };
	struct msg_submit m = { .producer = 1, .first_seq = c.seq, .sizes = { &one, 1 } };
	assert_false(tasks_submit_early(c.w->t, &m, &by_id));
	assert_int_equal(world_lease(c.w, "q", c.h, 1, &got), 1);
	assert_int_equal(world_say(c.w, c.h, world_item(c.w, got, REPORT_COMPLETE), NULL), ERR_OK);
	assert_true(tasks_submit_early(c.w->t, &m, &by_id));
	assert_true(tasks_submit_early(c.w->t, &m, &by_back));
	world_flush(c.w);
	assert_false(tasks_submit_early(c.w->t, &m, &by_id));
	(void)submit(&c, (struct task_head){ .priority = 0 }, 1); /* for the purge to take */
	uint32_t records;
	char text[256];
	struct purge_work work;
	assert_int_equal(tasks_purge_begin(c.w->t, span_str("q"), false, &work, text), ERR_OK);
	assert_int_equal(tasks_propose_purge(c.w->t, LOG(c.w), &work, &records, text), ERR_OK);
	assert_true(tasks_submit_early(c.w->t, &m, &by_id));
	world_flush(c.w);
	assert_false(tasks_submit_early(c.w->t, &m, &by_id));
	chain_free(&c);
}

static void test_a_blocked_task_has_its_deadline_and_can_be_cancelled_but_not_retried(void **state)
{
	(void)state;
	struct chain c = chain_new();
	uint64_t first = submit(&c, (struct task_head){ .priority = 0 }, 1);
	struct task_head head = after_all(&first, 1);
	head.expires_ms = 100;
	uint64_t late = submit(&c, head, 1), other = after_one(&c, first, ON_FAILURE_RUN);
	uint32_t records;
	char text[256];
	assert_int_equal(tasks_propose_retry(c.w->t, LOG(c.w), other, &records, text), ERR_WRONG_STATE);
	world_tick(c.w, c.w->now_ms + 100);
	assert_int_equal(world_state(c.w, late), TASK_EXPIRED);
	assert_int_equal(tasks_propose_cancel(c.w->t, LOG(c.w), other, c.w->now_ms, &records, text), ERR_OK);
	world_flush(c.w);
	assert_int_equal(world_state(c.w, other), TASK_CANCELLED);
	assert_int_equal(world_info(c.w, "q").blocked, 0);
	work(&c, first, REPORT_COMPLETE);
	expect_nothing(&c);
	chain_free(&c);
}

static void test_a_delay_and_what_it_comes_after_both_hold_a_task(void **state)
{
	(void)state;
	struct chain c = chain_new();
	uint64_t first = submit(&c, (struct task_head){ .priority = 0 }, 1);
	struct task_head head = after_all(&first, 1);
	head.delay_ms = 50;
	uint64_t second = submit(&c, head, 1);
	work(&c, first, REPORT_COMPLETE);
	expect_nothing(&c);
	assert_int_equal(world_state(c.w, second), TASK_SCHEDULED);
	world_tick(c.w, c.w->now_ms + 50);
	work(&c, second, REPORT_COMPLETE);
	chain_free(&c);
}

static void test_an_ordering_key_and_what_it_comes_after_both_hold_a_task(void **state)
{
	(void)state;
	struct chain c = chain_new();
	uint64_t free_one = submit(&c, (struct task_head){ .priority = 0 }, 1);
	struct task_head keyed = { .order_key = span_str("k") }, head = after_all(&free_one, 1);
	uint64_t first = submit(&c, keyed, 1);
	head.order_key = span_str("k");
	uint64_t second = submit(&c, head, 1), third = submit(&c, keyed, 1), got[4];
	assert_int_equal(world_lease(c.w, "q", c.h, 4, got), 2); /* the free one and the first of the key */
	world_report(c.w, c.h, first, REPORT_COMPLETE, 0);
	expect_nothing(&c); /* it is the turn of the second, which waits */
	restart(&c, true);
	work(&c, free_one, REPORT_COMPLETE);
	work(&c, second, REPORT_COMPLETE);
	work(&c, third, REPORT_COMPLETE);
	chain_free(&c);
}

static void test_the_callback_runs_once_when_the_last_member_is_done_over_restarts(void **state)
{
	(void)state;
	struct chain c = chain_new();
	for (int checkpoint = 0; checkpoint < 2; checkpoint++) {
		const char *name = checkpoint ? "two" : "one";
		uint64_t first = submit(&c, member(name), 3), callback = submit(&c, after_group(name, 0), 1);
		assert_int_equal(world_state(c.w, callback), TASK_SCHEDULED);
		for (uint32_t i = 0; i < 3; i++) {
			restart(&c, checkpoint);
			work(&c, first + i, i == 1 ? REPORT_REJECT : REPORT_COMPLETE);
			if (i == 1)
				break;
		}
		world_tick(c.w, c.w->now_ms);
		assert_int_equal(world_state(c.w, callback), TASK_CANCELLED); /* a member is dead */
		work(&c, first + 2, REPORT_COMPLETE);
		expect_nothing(&c);
		assert_int_equal(group(&c, name).dead, 1);
		assert_int_equal(group(&c, name).bad, first + 1);
	}
	struct task_head anyway = after_group("three", 0);
	anyway.on_failure = ON_FAILURE_RUN;
	uint64_t first = submit(&c, member("three"), 2), callback = submit(&c, anyway, 1);
	restart(&c, true);
	work(&c, first, REPORT_REJECT);
	assert_int_equal(world_state(c.w, callback), TASK_SCHEDULED);
	work(&c, first + 1, REPORT_COMPLETE);
	restart(&c, false);
	work(&c, callback, REPORT_COMPLETE);
	expect_nothing(&c);
	restart(&c, false);
	expect_nothing(&c);
	struct group_info g = group(&c, "three");
	assert_int_equal(g.done, 1);
	assert_int_equal(g.dead, 1);
	assert_int_equal(g.open, 0);
	assert_true(g.ended_ms > 0);
	chain_free(&c);
}

static void test_a_callback_may_come_before_the_members_it_counts(void **state)
{
	(void)state;
	struct chain c = chain_new();
	uint64_t callback = submit(&c, after_group("g", 3), 1), first = submit(&c, member("g"), 2), again;
	work(&c, first, REPORT_COMPLETE);
	work(&c, first + 1, REPORT_COMPLETE);
	expect_nothing(&c);
	struct task_head tied = after_all(&callback, 1), keyed = member("g");
	tied.group = span_str("g");
	keyed.order_key = span_str("k");
	assert_int_equal(refusal(&c, tied, 1), ERR_INVALID_INPUT); /* it would wait for what waits for it */
	assert_int_equal(refusal(&c, keyed, 1), ERR_INVALID_INPUT);
	again = submit(&c, member("g"), 1);
	assert_int_equal(refusal(&c, member("g"), 1), ERR_WRONG_STATE); /* full */
	work(&c, again, REPORT_COMPLETE);
	work(&c, callback, REPORT_COMPLETE);
	assert_int_equal(refusal(&c, member("g"), 1), ERR_WRONG_STATE); /* over */
	chain_free(&c);
}

static void test_a_group_has_one_callback_and_a_count_that_fits(void **state)
{
	(void)state;
	struct chain c = chain_new();
	assert_int_equal(refusal(&c, after_group("none", 0), 1), ERR_NOT_FOUND);
	(void)submit(&c, member("g"), 3);
	assert_int_equal(refusal(&c, after_group("g", 2), 1), ERR_INVALID_INPUT);
	(void)submit(&c, after_group("g", 3), 1);
	assert_int_equal(refusal(&c, after_group("g", 3), 1), ERR_EXISTS);
	chain_free(&c);
}

static void test_a_member_counts_once_however_often_it_ends_or_is_sent(void **state)
{
	(void)state;
	struct chain c = chain_new();
	struct task_head callback_head = after_group("g", 2);
	callback_head.on_failure = ON_FAILURE_RUN;
	uint64_t first = submit(&c, member("g"), 1);
	c.seq--;
	struct submit_answer a = propose(&c, member("g"), 1); /* the same again */
	assert_int_equal(a.records, 0);
	uint64_t callback = submit(&c, callback_head, 1);
	work(&c, first, REPORT_REJECT);
	uint32_t records;
	char text[256];
	assert_int_equal(tasks_propose_retry(c.w->t, LOG(c.w), first, &records, text), ERR_OK);
	world_flush(c.w);
	restart(&c, true);
	work(&c, first, REPORT_COMPLETE);
	assert_int_equal(group(&c, "g").done, 0);
	assert_int_equal(group(&c, "g").dead, 1);
	expect_nothing(&c);
	work(&c, submit(&c, member("g"), 1), REPORT_COMPLETE);
	work(&c, callback, REPORT_COMPLETE);
	chain_free(&c);
}

static void test_a_cancelled_group_cancels_its_members_and_the_callback_over_a_restart(void **state)
{
	(void)state;
	struct chain c = chain_new();
	struct task_head callback_head = after_group("g", 0);
	callback_head.on_failure = ON_FAILURE_RUN;
	uint64_t first = submit(&c, member("g"), 1500), other = submit(&c, (struct task_head){ .priority = 0 }, 1);
	uint64_t callback = submit(&c, callback_head, 1);
	uint32_t records;
	char text[256];
	assert_int_equal(tasks_propose_group_cancel(c.w->t, LOG(c.w), span_str("no"), &records, text), ERR_NOT_FOUND);
	assert_int_equal(tasks_propose_group_cancel(c.w->t, LOG(c.w), span_str("g"), &records, text), ERR_OK);
	world_flush(c.w);
	assert_int_equal(c.w->affected, 1500);
	tasks_tick(c.w->t, LOG(c.w), c.w->now_ms); /* a part of them */
	world_flush(c.w);
	restart(&c, true);
	c.w->full = true;
	tasks_tick(c.w->t, LOG(c.w), c.w->now_ms);
	c.w->full = false;
	world_tick(c.w, c.w->now_ms + 10);
	for (uint32_t i = 1000; i < 1500; i++) /* those that are remembered */
		assert_int_equal(world_state(c.w, first + i), TASK_CANCELLED);
	assert_int_equal(world_state(c.w, callback), TASK_CANCELLED);
	assert_int_equal(group(&c, "g").cancelled, 1500);
	assert_int_equal(refusal(&c, member("g"), 1), ERR_WRONG_STATE);
	work(&c, other, REPORT_COMPLETE);
	expect_nothing(&c);
	chain_free(&c);
}

static void test_groups_are_forgotten_when_they_are_over_or_nobody_comes(void **state)
{
	(void)state;
	struct chain c = chain_new();
	struct group_info info;
	uint64_t first = submit(&c, member("over"), 1), callback = submit(&c, after_group("over", 0), 1);
	work(&c, first, REPORT_COMPLETE);
	work(&c, callback, REPORT_COMPLETE);
	work(&c, submit(&c, member("idle"), 1), REPORT_COMPLETE);
	c.w->now_ms += 600000;
	work(&c, submit(&c, (struct task_head){ .priority = 0 }, 1), REPORT_COMPLETE);
	assert_false(tasks_group(c.w->t, span_str("over"), &info));
	assert_true(tasks_group(c.w->t, span_str("idle"), &info));
	c.w->now_ms += 24 * 3600 * 1000;
	work(&c, submit(&c, (struct task_head){ .priority = 0 }, 1), REPORT_COMPLETE);
	assert_false(tasks_group(c.w->t, span_str("idle"), &info));
	restart(&c, true);
	chain_free(&c);
}

static void test_many_members_cost_no_list_and_are_listed_all_the_same(void **state)
{
	(void)state;
	struct chain c = chain_new();
	struct tasks_stats before, after;
	uint64_t tasks[1000], next = 0, total = 0;
	uint32_t members = 0;
	c.w->segment_bytes = 1 << 30;
	(void)submit(&c, (struct task_head){ .priority = 0 }, 4000);
	tasks_get_stats(c.w->t, &before);
	for (; members < 100000; members += 4000) {
		struct order o = { .queue = "q", .seq = c.seq, .resolved_below = c.seq, .count = 4000, .head = member("g") };
		c.seq += 4000;
		(void)world_submit(c.w, &o);
	}
	tasks_get_stats(c.w->t, &after);
	assert_true(after.memory_bytes - before.memory_bytes < members * 6ull); /* the offset and the bits of any task, no more */
	do {
		uint32_t count = tasks_group_members(c.w->t, span_str("g"), next, 1000, tasks, &next);
		for (uint32_t i = 0; i < count; i++)
			assert_int_equal(tasks[i], 4001 + total + i);
		total += count;
	} while (next);
	assert_int_equal(total, members);
	chain_free(&c);
}

static void test_one_task_has_a_bounded_number_that_come_after_it(void **state)
{
	(void)state;
	struct chain c = chain_new();
	uint64_t first = submit(&c, (struct task_head){ .priority = 0 }, 1);
	struct task_head head = after_all(&first, 1);
	c.w->segment_bytes = 1 << 30;
	for (uint32_t i = 0; i < 16384 / 4096; i++)
		(void)submit(&c, head, 4096);
	assert_int_equal(refusal(&c, head, 1), ERR_RESOURCE_EXHAUSTED);
	work(&c, first, REPORT_COMPLETE);
	assert_int_equal(world_info(c.w, "q").ready, 16384);
	chain_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_task_starts_when_the_last_of_those_it_comes_after_is_done),
		cmocka_unit_test(test_a_bad_end_cancels_what_comes_after_and_all_behind_it),
		cmocka_unit_test(test_a_chain_in_one_frame_runs_link_by_link),
		cmocka_unit_test(test_a_chain_is_sent_before_anything_is_confirmed),
		cmocka_unit_test(test_a_link_behind_one_that_was_refused_is_refused),
		cmocka_unit_test(test_unknown_tasks_are_refused_and_settled_ones_count_by_how_they_ended),
		cmocka_unit_test(test_a_submission_waits_while_one_it_comes_after_is_being_settled),
		cmocka_unit_test(test_a_blocked_task_has_its_deadline_and_can_be_cancelled_but_not_retried),
		cmocka_unit_test(test_a_delay_and_what_it_comes_after_both_hold_a_task),
		cmocka_unit_test(test_an_ordering_key_and_what_it_comes_after_both_hold_a_task),
		cmocka_unit_test(test_the_callback_runs_once_when_the_last_member_is_done_over_restarts),
		cmocka_unit_test(test_a_callback_may_come_before_the_members_it_counts),
		cmocka_unit_test(test_a_group_has_one_callback_and_a_count_that_fits),
		cmocka_unit_test(test_a_member_counts_once_however_often_it_ends_or_is_sent),
		cmocka_unit_test(test_a_cancelled_group_cancels_its_members_and_the_callback_over_a_restart),
		cmocka_unit_test(test_groups_are_forgotten_when_they_are_over_or_nobody_comes),
		cmocka_unit_test(test_many_members_cost_no_list_and_are_listed_all_the_same),
		cmocka_unit_test(test_one_task_has_a_bounded_number_that_come_after_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
