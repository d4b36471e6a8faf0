/* tests/unit/test_tasks.c: the rules of the task machine, one by one. */
#include "tasks_world.h"

static void test_a_task_goes_from_submit_to_done(void **state)
{
	(void)state;
	struct world *w = world_new();
	uint64_t first = world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 3 });
	assert_int_equal(first, 1);
	assert_int_equal(w->run_count, 1);
	assert_int_equal(w->runs[0].count, 3);
	assert_int_equal(world_info(w, "q").ready, 3);
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[3] = { 0 };
	assert_int_equal(world_lease(w, "q", h, 2, got), 2);
	assert_int_equal(got[0], 1);
	assert_int_equal(got[1], 2);
	assert_int_equal(tasks_holder_leases(h), 2);
	world_report(w, h, 1, REPORT_COMPLETE, 0);
	assert_int_equal(w->reported_count, 1);
	assert_int_equal(w->reported[0].code, ERR_OK);
	assert_int_equal(w->settled_count, 1);
	assert_int_equal(world_state(w, 1), TASK_DONE);
	assert_int_equal(world_state(w, 2), TASK_LEASED);
	assert_int_equal(world_state(w, 3), TASK_READY);
	assert_int_equal(world_info(w, "q").done_total, 1);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_peek_shows_neighbours_of_one_record_and_its_place(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 4 });
	world_submit(w, &(struct order){ .queue = "q", .seq = 5, .count = 2 });
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[2] = { 0 };
	struct ready_run run;
	struct log_record record;
	struct submit_record open;
	assert_int_equal(world_lease(w, "q", h, 1, got), 1);
	assert_true(tasks_peek(w->t, world_queue(w, "q"), NULL, 0, &run));
	assert_int_equal(run.first_task, 2);
	assert_int_equal(run.count, 3);
	assert_int_equal(run.item, 1);
	assert_int_equal(run.attempt, 1);
	assert_int_equal(log_fetch(LOG(w), run.addr, &record), ERR_OK);
	assert_int_equal(submit_record_open(&record, &open), ERR_OK);
	assert_int_equal(open.count, 4);
	assert_int_equal(open.submitted_ms, 1000);
	assert_int_equal(open.payload.data[submit_record_offset(&open, run.item)], 2);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_higher_priorities_and_returned_tasks_come_first(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 3, .head.priority = 4 });
	world_submit(w, &(struct order){ .queue = "q", .seq = 4, .count = 1, .head.priority = 9 });
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[4] = { 0 };
	assert_int_equal(world_lease(w, "q", h, 3, got), 3);
	assert_int_equal(got[0], 4);
	assert_int_equal(got[1], 1);
	assert_int_equal(got[2], 2);
	world_report(w, h, 2, REPORT_RELEASE, 0);
	struct holder *h2 = tasks_holder_new(w->t, w);
	assert_int_equal(world_lease(w, "q", h2, 2, got), 2);
	assert_int_equal(got[0], 2);
	assert_int_equal(got[1], 3);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	tasks_holder_lost(w->t, LOG(w), h2, w->now_ms);
	assert_int_equal(world_lease(w, "q", h = tasks_holder_new(w->t, w), 4, got), 4);
	assert_int_equal(got[0], 4);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_submissions_known_to_the_producer_window_are_answered_with_their_numbers(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 4 });
	struct submit_answer a = world_propose(w, &(struct order){ .queue = "q", .seq = 3, .count = 4 });
	assert_int_equal(a.run_count, 1);
	assert_int_equal(a.runs[0].duplicate, 1);
	assert_int_equal(a.runs[0].first_task, 3);
	assert_int_equal(a.runs[0].count, 2);
	assert_int_equal(a.records, 1);
	world_flush(w);
	assert_int_equal(w->runs[0].first_seq, 5);
	assert_int_equal(w->runs[0].count, 2);
	assert_int_equal(w->runs[0].duplicate, 0);
	world_free(w);
}

static void test_duplicates_found_by_apply_get_the_original_number_and_die(void **state)
{
	(void)state;
	struct world *w = world_new();
	/* The same submission twice in one batch: the second is not known when it is proposed. */
	world_propose(w, &(struct order){ .queue = "q", .seq = 1, .count = 2 });
	world_propose(w, &(struct order){ .queue = "q", .seq = 1, .count = 3 });
	world_flush(w);
	assert_int_equal(w->run_count, 3);
	assert_int_equal(w->runs[1].duplicate, 1);
	assert_int_equal(w->runs[1].first_task, 1);
	assert_int_equal(w->runs[1].count, 2);
	assert_int_equal(w->runs[2].first_task, 5);
	assert_int_equal(world_info(w, "q").ready, 3);
	assert_int_equal(world_state(w, 3), TASK_UNKNOWN);
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[4] = { 0 };
	assert_int_equal(world_lease(w, "q", h, 4, got), 3);
	assert_int_equal(got[2], 5);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_sequences_below_what_is_resolved_are_stale_and_gaps_may_come_again(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 10, .count = 2, .resolved_below = 5 });
	struct submit_answer a = world_propose(w, &(struct order){ .queue = "q", .seq = 4, .count = 2, .resolved_below = 5 });
	assert_int_equal(a.runs[0].code, ERR_STALE_SUBMIT);
	assert_int_equal(a.runs[0].count, 1);
	assert_int_equal(a.records, 1);
	world_flush(w);
	assert_int_equal(w->runs[0].first_seq, 5);
	assert_int_equal(w->runs[0].code, ERR_OK);
	a = world_propose(w, &(struct order){ .queue = "q", .seq = 5 + LIMIT_PRODUCER_WINDOW, .count = 1, .resolved_below = 5 });
	assert_int_equal(a.runs[0].code, ERR_RESOURCE_EXHAUSTED);
	world_free(w);
}

static void test_one_key_is_one_task_within_the_window(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct order o = { .queue = "q", .seq = 1, .count = 1, .head.key = span_str("order-17") };
	assert_int_equal(world_submit(w, &o), 1);
	o.producer = 2;
	struct submit_answer a = world_propose(w, &o);
	assert_int_equal(a.records, 0);
	assert_int_equal(a.runs[0].first_task, 1);
	assert_int_equal(a.runs[0].duplicate, 1);
	world_restart(w);
	a = world_propose(w, &o);
	assert_int_equal(a.runs[0].first_task, 1);
	w->now_ms += 50000;
	assert_int_equal(world_submit(w, &o), 2);
	world_free(w);
}

static void test_a_key_submitted_twice_in_one_batch_is_one_task(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct order o = { .queue = "q", .seq = 1, .count = 1, .head.key = span_str("k") };
	world_propose(w, &o);
	o.producer = 2;
	world_propose(w, &o);
	world_flush(w);
	assert_int_equal(w->run_count, 2);
	assert_int_equal(w->runs[1].first_task, 1);
	assert_int_equal(w->runs[1].duplicate, 1);
	assert_int_equal(world_info(w, "q").ready, 1);
	world_free(w);
}

static void test_a_full_queue_takes_a_prefix_and_names_itself(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct queue_settings s = QUEUE_SETTINGS_UNSET;
	char text[256];
	uint32_t records;
	s.length_max = 5;
	assert_int_equal(tasks_propose_queue(w->t, LOG(w), span_str("small"), &s, true, &records, text), ERR_OK);
	/* Also counts what is proposed and not applied. */
	world_propose(w, &(struct order){ .queue = "small", .seq = 1, .count = 3 });
	struct submit_answer a = world_propose(w, &(struct order){ .queue = "small", .seq = 4, .count = 4 });
	assert_int_equal(a.records, 1);
	assert_int_equal(a.runs[0].code, ERR_QUEUE_FULL);
	assert_int_equal(a.runs[0].first_seq, 6);
	assert_int_equal(a.runs[0].count, 2);
	assert_non_null(strstr(a.text, "small"));
	world_flush(w);
	assert_int_equal(world_info(w, "small").ready, 5);
	world_free(w);
}

static void test_queue_names_are_checked_and_the_character_is_named(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct submit_answer a = world_propose(w, &(struct order){ .queue = "a b", .seq = 1, .count = 1 });
	assert_int_equal(a.runs[0].code, ERR_INVALID_INPUT);
	assert_non_null(strstr(a.text, "0x20"));
	a = world_propose(w, &(struct order){ .queue = ".a", .seq = 1, .count = 1 });
	assert_int_equal(a.runs[0].code, ERR_INVALID_INPUT);
	a = world_propose(w, &(struct order){ .queue = "a/b", .seq = 1, .count = 1 });
	assert_non_null(strstr(a.text, "'/'"));
	assert_int_equal(w->count, 0);
	world_free(w);
}

static void test_a_full_disk_refuses_tasks_but_settles(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1 });
	w->room = LOG_ROOM_SETTLE;
	struct submit_answer a = world_propose(w, &(struct order){ .queue = "q", .seq = 2, .count = 1 });
	assert_int_equal(a.runs[0].code, ERR_DISK_FULL);
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[1] = { 0 };
	world_lease(w, "q", h, 1, got);
	world_report(w, h, 1, REPORT_COMPLETE, 0);
	assert_int_equal(world_state(w, 1), TASK_DONE);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_reports_of_others_of_old_attempts_and_of_unknown_tasks_are_refused(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 2 });
	struct holder *a = tasks_holder_new(w->t, w), *b = tasks_holder_new(w->t, w);
	uint64_t got[2] = { 0 };
	world_lease(w, "q", a, 1, got);
	struct report_item item = world_item(w, 1, REPORT_COMPLETE);
	assert_int_equal(world_say(w, b, item, NULL), ERR_STALE_LEASE);
	item.ref.epoch--;
	assert_int_equal(world_say(w, a, item, NULL), ERR_STALE_LEASE);
	item = world_item(w, 1, REPORT_COMPLETE);
	item.ref.attempt++;
	assert_int_equal(world_say(w, a, item, NULL), ERR_STALE_LEASE);
	assert_int_equal(world_say(w, a, world_item(w, 2, REPORT_COMPLETE), NULL), ERR_STALE_LEASE);
	assert_int_equal(world_say(w, a, world_item(w, 99, REPORT_COMPLETE), NULL), ERR_NOT_FOUND);
	assert_int_equal(w->count, w->applied);
	tasks_holder_lost(w->t, LOG(w), a, w->now_ms);
	/* Not started, so it went back; the old token names an attempt that is over. */
	assert_int_equal(world_lease(w, "q", b, 1, got), 1);
	item = world_item(w, 1, REPORT_COMPLETE);
	assert_int_equal(item.ref.attempt, 2);
	item.ref.attempt = 1;
	assert_int_equal(world_say(w, b, item, NULL), ERR_STALE_LEASE);
	tasks_holder_lost(w->t, LOG(w), b, w->now_ms);
	world_free(w);
}

static void test_a_second_report_while_settling_is_late_and_a_resend_after_it_is_ok(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1 });
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[1] = { 0 };
	world_lease(w, "q", h, 1, got);
	struct report_item item = world_item(w, 1, REPORT_COMPLETE);
	assert_int_equal(world_say(w, h, item, "one"), ERR_OK);
	assert_int_equal(world_say(w, h, item, "two"), ERR_LATE_RESULT);
	world_flush(w);
	assert_int_equal(world_say(w, h, item, "three"), ERR_OK);
	struct holder *other = tasks_holder_new(w->t, w);
	assert_int_equal(world_say(w, other, item, "four"), ERR_LATE_RESULT);
	item.verb = REPORT_FAIL;
	item.class_code = ERR_TRANSIENT;
	assert_int_equal(world_say(w, h, item, NULL), ERR_LATE_RESULT);
	assert_int_equal(w->count, w->applied);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	tasks_holder_lost(w->t, LOG(w), other, w->now_ms);
	world_free(w);
}

static void test_a_report_without_room_in_the_log_changes_nothing(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1 });
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[1] = { 0 };
	world_lease(w, "q", h, 1, got);
	w->full = true;
	assert_int_equal(world_say(w, h, world_item(w, 1, REPORT_COMPLETE), NULL), ERR_RESOURCE_EXHAUSTED);
	w->full = false;
	assert_int_equal(world_state(w, 1), TASK_LEASED);
	world_report(w, h, 1, REPORT_COMPLETE, 0);
	assert_int_equal(world_state(w, 1), TASK_DONE);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_failures_back_off_and_then_kill(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1, .head.max_attempts = 3 });
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[1], last = 0;
	for (uint32_t attempt = 1; attempt <= 3; attempt++) {
		assert_int_equal(world_lease(w, "q", h, 1, got), 1);
		world_report(w, h, 1, REPORT_FAIL, ERR_TRANSIENT);
		struct task_view v;
		assert_true(tasks_show(w->t, 1, &v));
		assert_int_equal(v.failed, attempt);
		assert_int_equal(v.acquired, attempt);
		if (attempt == 3)
			break;
		assert_int_equal(v.state, TASK_SCHEDULED);
		uint64_t wait = v.ready_ms - w->now_ms, full = 1000u << (attempt - 1);
		assert_in_range(wait, full / 2, full);
		assert_true(wait > last / 2);
		last = wait;
		assert_int_equal(world_lease(w, "q", h, 1, got), 0);
		world_tick(w, v.ready_ms);
	}
	assert_int_equal(world_state(w, 1), TASK_DEAD);
	assert_int_equal(world_info(w, "q").dead, 1);
	assert_int_equal(world_info(w, "q").dead_total, 1);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_the_class_of_a_failure_decides_what_becomes_of_the_task(void **state)
{
	(void)state;
	static const struct { uint16_t code; enum task_state state; } cases[] = {
		{ ERR_TRANSIENT, TASK_SCHEDULED }, { ERR_TIMEOUT, TASK_SCHEDULED }, { ERR_RESOURCE_EXHAUSTED, TASK_SCHEDULED },
		{ ERR_INTERNAL, TASK_SCHEDULED }, { ERR_INVALID_INPUT, TASK_FAILED }, { ERR_INTEGRITY_MISMATCH, TASK_FAILED },
		{ ERR_PERMANENT, TASK_DEAD }, { ERR_SECURITY, TASK_DEAD }, { ERR_DEPENDENCY, TASK_DEAD },
	};
	struct world *w = world_new();
	struct holder *h = tasks_holder_new(w->t, w);
	for (uint32_t i = 0; i < COUNT_OF(cases); i++) {
		uint64_t task = world_submit(w, &(struct order){ .queue = "q", .seq = i + 1, .count = 1 }), got[1] = { 0 };
		assert_int_equal(world_lease(w, "q", h, 1, got), 1);
		assert_int_equal(got[0], task);
		world_report(w, h, task, REPORT_FAIL, cases[i].code);
		assert_int_equal(world_state(w, task), cases[i].state);
	}
	uint64_t task = world_submit(w, &(struct order){ .queue = "q", .seq = 50, .count = 1 }), got[1] = { 0 };
	world_lease(w, "q", h, 1, got);
	struct report_item item = world_item(w, task, REPORT_FAIL);
	item.class_code = ERR_QUEUE_FULL;
	assert_int_equal(world_say(w, h, item, NULL), ERR_INVALID_INPUT);
	world_report(w, h, task, REPORT_REJECT, 0);
	assert_int_equal(world_state(w, task), TASK_DEAD);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_the_workers_delay_wins_over_the_backoff(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1 });
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[1] = { 0 };
	struct task_view v;
	world_lease(w, "q", h, 1, got);
	struct report_item item = world_item(w, 1, REPORT_FAIL);
	item.class_code = ERR_TRANSIENT;
	item.delay_ms = 77777;
	item.flags = REPORT_FLAG_DELAY;
	assert_int_equal(world_say(w, h, item, NULL), ERR_OK);
	world_flush(w);
	assert_true(tasks_show(w->t, 1, &v));
	assert_int_equal(v.ready_ms, w->now_ms + 77777);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_the_last_words_of_the_dead_are_kept_and_pin_their_segment(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1 });
	world_seal(w);
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[1] = { 0 };
	struct task_view v;
	struct log_record record;
	world_lease(w, "q", h, 1, got);
	struct report_item item = world_item(w, 1, REPORT_FAIL);
	item.class_code = ERR_PERMANENT;
	assert_int_equal(world_say(w, h, item, "no such codec"), ERR_OK);
	world_flush(w);
	assert_true(tasks_show(w->t, 1, &v));
	assert_int_equal(log_fetch(LOG(w), v.result_addr, &record), ERR_OK);
	struct span text = settle_record_result(&record, 1, NULL);
	assert_int_equal(text.len, 13);
	assert_memory_equal(text.data, "no such codec", 13);
	assert_true(tasks_segment_live(w->t, 1));
	assert_true(tasks_segment_live(w->t, log_addr_segment(v.result_addr)));
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_seal(w);
	world_checkpoint(w);
	world_restart(w);
	assert_true(tasks_segment_live(w->t, 1));
	assert_true(tasks_segment_live(w->t, 2));
	assert_int_equal(world_purge(w, "q", true), 1);
	assert_false(tasks_segment_live(w->t, 1));
	assert_false(tasks_segment_live(w->t, 2));
	assert_int_equal(world_state(w, 1), TASK_DEAD); /* remembered, nothing more */
	assert_int_equal(world_info(w, "q").dead, 0);
	world_free(w);
}

static void test_a_lost_holder_gives_back_what_it_had_not_started(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 4 });
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[4] = { 0 };
	struct task_view v;
	world_lease(w, "q", h, 3, got);
	assert_int_equal(world_say(w, h, world_item(w, 2, REPORT_START), NULL), ERR_OK);
	assert_int_equal(world_state(w, 2), TASK_STARTED);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_flush(w);
	assert_true(tasks_show(w->t, 1, &v));
	assert_int_equal(v.state, TASK_READY);
	assert_int_equal(v.failed, 0);
	assert_true(tasks_show(w->t, 2, &v));
	assert_int_equal(v.state, TASK_SCHEDULED);
	assert_int_equal(v.failed, 1);
	assert_int_equal(v.code, ERR_INTERNAL);
	h = tasks_holder_new(w->t, w);
	assert_int_equal(world_lease(w, "q", h, 4, got), 3);
	assert_int_equal(got[0], 1);
	assert_int_equal(got[1], 3);
	assert_int_equal(got[2], 4);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_a_holder_that_is_back_keeps_what_it_names_and_the_rest_is_ready_again(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 4 });
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[4] = { 0 };
	struct task_view v;
	assert_int_equal(world_lease(w, "q", h, 4, got), 4);
	/* One is named rightly; one by an old epoch, one by another attempt, one not at all: those were lost on the way. */
	uint32_t epoch = w->config.epoch;
	const struct task_ref held[] = { { 2, 1, epoch }, { 3, 1, epoch - 1 }, { 4, 7, epoch } };
	tasks_holder_keep(w->t, LOG(w), h, held, 3, w->now_ms);
	world_flush(w);
	assert_int_equal(tasks_holder_leases(h), 1);
	assert_int_equal(world_state(w, 2), TASK_LEASED);
	for (uint64_t task = 1; task <= 4; task++) {
		assert_true(tasks_show(w->t, task, &v));
		assert_int_equal(v.failed, 0);
		assert_int_equal(v.state, task == 2 ? TASK_LEASED : TASK_READY);
	}
	assert_int_equal(world_say(w, h, world_item(w, 2, REPORT_COMPLETE), NULL), ERR_OK);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_a_lost_holder_without_room_in_the_log_is_finished_by_ticks(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1 });
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[1] = { 0 };
	world_lease(w, "q", h, 1, got);
	assert_int_equal(world_say(w, h, world_item(w, 1, REPORT_START), NULL), ERR_OK);
	w->full = true;
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	assert_int_equal(w->count, w->applied);
	w->full = false;
	assert_true(tasks_next_ms(w->t) <= w->now_ms + 10);
	world_tick(w, w->now_ms + 10);
	assert_int_equal(world_state(w, 1), TASK_SCHEDULED);
	world_free(w);
}

static void test_delayed_tasks_wait_and_expiring_ones_expire(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1, .head.delay_ms = 500 });
	world_submit(w, &(struct order){ .queue = "q", .seq = 2, .count = 1, .head.expires_ms = 300 });
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[2] = { 0 };
	assert_int_equal(world_info(w, "q").scheduled, 1);
	assert_int_equal(tasks_next_ms(w->t), 1300);
	world_tick(w, 1300);
	assert_int_equal(world_state(w, 2), TASK_EXPIRED);
	assert_int_equal(world_info(w, "q").expired_total, 1);
	assert_int_equal(world_lease(w, "q", h, 1, got), 0);
	world_tick(w, 1499);
	assert_int_equal(world_state(w, 1), TASK_SCHEDULED);
	world_tick(w, 1500);
	assert_int_equal(world_lease(w, "q", h, 1, got), 1);
	assert_int_equal(got[0], 1);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_an_attempt_that_overruns_is_a_failed_one_and_its_holder_hears_of_it(void **state)
{
	(void)state;
	struct world *w = world_new();
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1 });
	struct holder *h = tasks_holder_new(w->t, w);
	struct ready_run run;
	struct task_view v;
	assert_true(tasks_peek(w->t, 1, NULL, 0, &run));
	tasks_lease(w->t, 1, 1, h, 200, w->now_ms);
	assert_int_equal(tasks_next_ms(w->t), UINT64_MAX);
	assert_int_equal(world_say(w, h, world_item(w, 1, REPORT_START), NULL), ERR_OK);
	assert_int_equal(tasks_next_ms(w->t), 1150); /* the warning, a quarter before */
	struct report_item extend = world_item(w, 1, REPORT_EXTEND);
	extend.flags = REPORT_FLAG_DELAY;
	extend.delay_ms = 400;
	assert_int_equal(world_say(w, h, extend, NULL), ERR_OK);
	assert_int_equal(tasks_next_ms(w->t), 1350);
	struct report_item late = world_item(w, 1, REPORT_COMPLETE);
	world_tick(w, 1400);
	assert_int_equal(w->signal_count, 1);
	assert_int_equal(w->signals[0].signal, SIGNAL_LEASE_LOST);
	assert_int_equal(w->signals[0].code, ERR_TIMEOUT);
	assert_true(tasks_show(w->t, 1, &v));
	assert_int_equal(v.failed, 1);
	assert_int_equal(v.code, ERR_TIMEOUT);
	assert_int_equal(tasks_holder_leases(h), 0);
	assert_int_equal(world_say(w, h, late, NULL), ERR_STALE_LEASE);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_a_waiting_task_is_cancelled_at_once(void **state)
{
	(void)state;
	struct world *w = world_new();
	char text[256];
	uint32_t records;
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 3 });
	assert_int_equal(tasks_propose_cancel(w->t, LOG(w), 2, w->now_ms, &records, text), ERR_OK);
	assert_int_equal(records, 1);
	struct ready_run run;
	assert_true(tasks_peek(w->t, 1, NULL, 0, &run)); /* not handed out while the record is under way */
	assert_int_equal(run.count, 1);
	world_flush(w);
	assert_int_equal(w->last.origin, APPLIED_ADMIN);
	assert_int_equal(w->affected, 1);
	assert_int_equal(world_state(w, 2), TASK_CANCELLED);
	assert_int_equal(tasks_propose_cancel(w->t, LOG(w), 2, w->now_ms, &records, text), ERR_WRONG_STATE);
	assert_int_equal(tasks_propose_cancel(w->t, LOG(w), 99, w->now_ms, &records, text), ERR_NOT_FOUND);
	/* It can be brought back while it is retained. */
	assert_int_equal(tasks_propose_retry(w->t, LOG(w), 2, &records, text), ERR_OK);
	world_flush(w);
	assert_int_equal(world_state(w, 2), TASK_READY);
	assert_int_equal(world_info(w, "q").ready, 3);
	world_free(w);
}

static void test_a_leased_task_is_cancelled_by_its_worker_or_overruled(void **state)
{
	(void)state;
	struct world *w = world_new();
	char text[256];
	uint32_t records;
	uint64_t got[2] = { 0 };
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 2 });
	struct holder *h = tasks_holder_new(w->t, w);
	world_lease(w, "q", h, 2, got);
	struct report_item item = world_item(w, 1, REPORT_CANCELLED);
	assert_int_equal(world_say(w, h, item, NULL), ERR_WRONG_STATE);
	for (uint64_t task = 1; task <= 2; task++) {
		assert_int_equal(tasks_propose_cancel(w->t, LOG(w), task, w->now_ms, &records, text), ERR_OK);
		assert_int_equal(w->signals[task - 1].signal, SIGNAL_CANCEL);
		assert_int_equal(w->signals[task - 1].ref.task, task);
	}
	world_flush(w);
	assert_int_equal(world_state(w, 1), TASK_LEASED);
	world_report(w, h, 1, REPORT_CANCELLED, 0);
	assert_int_equal(world_state(w, 1), TASK_CANCELLED);
	world_tick(w, w->now_ms + 499);
	assert_int_equal(world_state(w, 2), TASK_LEASED);
	world_tick(w, w->now_ms + 1);
	assert_int_equal(world_state(w, 2), TASK_CANCELLED);
	assert_int_equal(w->signals[w->signal_count - 1].signal, SIGNAL_LEASE_LOST);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_a_cancel_outlives_a_restart(void **state)
{
	(void)state;
	struct world *w = world_new();
	char text[256];
	uint32_t records;
	uint64_t got[1] = { 0 };
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1 });
	struct holder *h = tasks_holder_new(w->t, w);
	world_lease(w, "q", h, 1, got);
	assert_int_equal(tasks_propose_cancel(w->t, LOG(w), 1, w->now_ms, &records, text), ERR_OK);
	world_flush(w);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms); /* its proposal is lost in the crash */
	world_restart(w);
	struct ready_run run;
	assert_false(tasks_peek(w->t, 1, NULL, 0, &run));
	world_tick(w, w->now_ms);
	assert_int_equal(world_state(w, 1), TASK_CANCELLED);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_task_goes_from_submit_to_done),
		cmocka_unit_test(test_peek_shows_neighbours_of_one_record_and_its_place),
		cmocka_unit_test(test_higher_priorities_and_returned_tasks_come_first),
		cmocka_unit_test(test_submissions_known_to_the_producer_window_are_answered_with_their_numbers),
		cmocka_unit_test(test_duplicates_found_by_apply_get_the_original_number_and_die),
		cmocka_unit_test(test_sequences_below_what_is_resolved_are_stale_and_gaps_may_come_again),
		cmocka_unit_test(test_one_key_is_one_task_within_the_window),
		cmocka_unit_test(test_a_key_submitted_twice_in_one_batch_is_one_task),
		cmocka_unit_test(test_a_full_queue_takes_a_prefix_and_names_itself),
		cmocka_unit_test(test_queue_names_are_checked_and_the_character_is_named),
		cmocka_unit_test(test_a_full_disk_refuses_tasks_but_settles),
		cmocka_unit_test(test_reports_of_others_of_old_attempts_and_of_unknown_tasks_are_refused),
		cmocka_unit_test(test_a_second_report_while_settling_is_late_and_a_resend_after_it_is_ok),
		cmocka_unit_test(test_a_report_without_room_in_the_log_changes_nothing),
		cmocka_unit_test(test_failures_back_off_and_then_kill),
		cmocka_unit_test(test_the_class_of_a_failure_decides_what_becomes_of_the_task),
		cmocka_unit_test(test_the_workers_delay_wins_over_the_backoff),
		cmocka_unit_test(test_the_last_words_of_the_dead_are_kept_and_pin_their_segment),
		cmocka_unit_test(test_a_lost_holder_gives_back_what_it_had_not_started),
		cmocka_unit_test(test_a_holder_that_is_back_keeps_what_it_names_and_the_rest_is_ready_again),
		cmocka_unit_test(test_a_lost_holder_without_room_in_the_log_is_finished_by_ticks),
		cmocka_unit_test(test_delayed_tasks_wait_and_expiring_ones_expire),
		cmocka_unit_test(test_an_attempt_that_overruns_is_a_failed_one_and_its_holder_hears_of_it),
		cmocka_unit_test(test_a_waiting_task_is_cancelled_at_once),
		cmocka_unit_test(test_a_leased_task_is_cancelled_by_its_worker_or_overruled),
		cmocka_unit_test(test_a_cancel_outlives_a_restart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
