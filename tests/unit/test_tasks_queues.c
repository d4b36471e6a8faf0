/* Queues, retention, purge and redrive, compaction, restore: what the task machine does beside the life of one task. */
#include "tasks_world.h"

#include <stdio.h>

#include "../../broker/topics.h"

static void test_results_are_kept_for_the_retention_and_pin_their_segment(void **state)
{
	(void)state;
	struct world *w = world_new();
	uint64_t got[1] = { 0 };
	struct task_view v;
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1, .head.retention_ms = 5000 });
	struct holder *h = tasks_holder_new(w->t, w);
	world_lease(w, "q", h, 1, got);
	assert_int_equal(world_say(w, h, world_item(w, 1, REPORT_COMPLETE), "42"), ERR_OK);
	world_flush(w);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_seal(w);
	assert_true(tasks_show(w->t, 1, &v));
	assert_int_equal(v.state, TASK_DONE);
	assert_int_equal(v.addr, 0);
	assert_int_equal(v.result_size, 2);
	assert_true(tasks_segment_live(w->t, 1));
	world_checkpoint(w);
	world_restart(w);
	assert_true(tasks_show(w->t, 1, &v));
	assert_int_equal(v.result_size, 2);
	w->now_ms += 5000;
	world_submit(w, &(struct order){ .queue = "q", .seq = 2, .count = 1 });
	assert_true(tasks_show(w->t, 1, &v)); /* only remembered */
	assert_int_equal(v.result_size, 0);
	assert_false(tasks_segment_live(w->t, 1));
	world_free(w);
}

static void test_a_paused_queue_takes_tasks_and_hands_none_out_also_after_a_restart(void **state)
{
	(void)state;
	struct world *w = world_new();
	char text[256];
	uint32_t records;
	struct ready_run run;
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1 });
	assert_int_equal(tasks_propose_pause(w->t, LOG(w), span_str("q"), true, &records, text), ERR_OK);
	world_flush(w);
	uint32_t calls = w->ready_calls;
	world_submit(w, &(struct order){ .queue = "q", .seq = 2, .count = 1 });
	assert_int_equal(w->ready_calls, calls);
	assert_false(tasks_peek(w->t, 1, NULL, 0, &run));
	world_restart(w);
	assert_int_equal(w->ready_calls, calls);
	assert_false(tasks_peek(w->t, 1, NULL, 0, &run));
	assert_int_equal(tasks_propose_pause(w->t, LOG(w), span_str("q"), false, &records, text), ERR_OK);
	world_flush(w);
	assert_true(w->ready_calls > calls);
	assert_true(tasks_peek(w->t, 1, NULL, 0, &run));
	world_free(w);
}

static void test_purge_takes_what_waits_and_leaves_what_is_leased(void **state)
{
	(void)state;
	struct world *w = world_new();
	uint64_t got[2] = { 0 };
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 100 });
	world_submit(w, &(struct order){ .queue = "other", .seq = 101, .count = 5 });
	world_submit(w, &(struct order){ .queue = "q", .seq = 106, .count = 10, .head.delay_ms = 1000 });
	struct holder *h = tasks_holder_new(w->t, w);
	world_lease(w, "q", h, 2, got);
	assert_int_equal(world_purge(w, "q", false), 108);
	assert_int_equal(world_info(w, "q").ready, 0);
	assert_int_equal(world_info(w, "q").scheduled, 0);
	assert_int_equal(world_info(w, "q").leased, 2);
	assert_int_equal(world_info(w, "q").cancelled_total, 108);
	assert_int_equal(world_info(w, "other").ready, 5);
	world_report(w, h, 1, REPORT_COMPLETE, 0);
	assert_int_equal(world_state(w, 1), TASK_DONE);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_dead_letters_are_redriven_oldest_first(void **state)
{
	(void)state;
	struct world *w = world_new();
	char text[256];
	uint32_t records;
	uint64_t got[3], list[4], next;
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 3 });
	struct holder *h = tasks_holder_new(w->t, w);
	world_lease(w, "q", h, 3, got);
	static const uint64_t order[] = { 2, 3, 1 };
	for (uint32_t i = 0; i < 3; i++, w->now_ms++)
		world_report(w, h, order[i], REPORT_REJECT, 0);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_restart(w);
	assert_int_equal(tasks_list(w->t, 1, TASK_DEAD, 0, 4, list, &next), 3);
	assert_int_equal(list[0], 1);
	assert_int_equal(next, 0);
	assert_int_equal(tasks_propose_redrive(w->t, LOG(w), span_str("q"), 0, 2, &records, text), ERR_OK);
	world_flush(w);
	assert_int_equal(w->affected, 2);
	assert_int_equal(world_state(w, 1), TASK_DEAD);
	h = tasks_holder_new(w->t, w);
	assert_int_equal(world_lease(w, "q", h, 3, got), 2);
	assert_int_equal(got[0], 2);
	assert_int_equal(got[1], 3);
	world_report(w, h, 2, REPORT_COMPLETE, 0);
	assert_int_equal(world_info(w, "q").done_total, 1);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_a_queue_is_removed_only_when_empty_and_late_submissions_to_it_are_refused(void **state)
{
	(void)state;
	struct world *w = world_new();
	char text[256];
	uint32_t records;
	uint64_t got[1] = { 0 };
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1 });
	assert_int_equal(tasks_propose_remove(w->t, LOG(w), span_str("q"), &records, text), ERR_WRONG_STATE);
	struct holder *h = tasks_holder_new(w->t, w);
	world_lease(w, "q", h, 1, got);
	world_report(w, h, 1, REPORT_COMPLETE, 0);
	assert_int_equal(tasks_propose_remove(w->t, LOG(w), span_str("q"), &records, text), ERR_OK);
	world_propose(w, &(struct order){ .queue = "q", .seq = 2, .count = 1 });
	world_flush(w);
	assert_int_equal(w->runs[0].code, ERR_NOT_FOUND);
	assert_int_equal(world_queue(w, "q"), 0);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_restart(w);
	assert_int_equal(world_submit(w, &(struct order){ .queue = "q", .seq = 3, .count = 1 }), 3);
	world_free(w);
}

static void test_queue_settings_change_and_conflicts_are_told(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct queue_settings s = QUEUE_SETTINGS_UNSET;
	char text[256];
	uint32_t records;
	assert_int_equal(tasks_propose_queue(w->t, LOG(w), span_str("q"), &s, false, &records, text), ERR_NOT_FOUND);
	assert_int_equal(tasks_propose_queue(w->t, LOG(w), span_str("q"), &s, true, &records, text), ERR_OK);
	world_flush(w);
	assert_int_equal(tasks_propose_queue(w->t, LOG(w), span_str("q"), &s, true, &records, text), ERR_OK);
	assert_int_equal(records, 0);
	s.max_attempts = 9;
	assert_int_equal(tasks_propose_queue(w->t, LOG(w), span_str("q"), &s, true, &records, text), ERR_EXISTS);
	assert_int_equal(tasks_propose_queue(w->t, LOG(w), span_str("q"), &s, false, &records, text), ERR_OK);
	world_flush(w);
	world_restart(w);
	assert_int_equal(world_info(w, "q").settings.max_attempts, 9);
	assert_int_equal(world_info(w, "q").settings.lease_ms, 30000);
	s.backoff_min_ms = 100;
	s.backoff_max_ms = 50;
	assert_int_equal(tasks_propose_queue(w->t, LOG(w), span_str("q"), &s, false, &records, text), ERR_INVALID_INPUT);
	world_free(w);
}

static void test_idle_producers_are_forgotten_by_record_time(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct tasks_stats stats;
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1, .producer = 1 });
	w->now_ms += 99999;
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1, .producer = 2 });
	tasks_get_stats(w->t, &stats);
	assert_int_equal(stats.producers, 2);
	w->now_ms += 1;
	world_submit(w, &(struct order){ .queue = "q", .seq = 2, .count = 1, .producer = 2 });
	tasks_get_stats(w->t, &stats);
	assert_int_equal(stats.producers, 1);
	for (uint64_t p = 3; p < 20; p++)
		world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 1, .producer = p });
	tasks_get_stats(w->t, &stats);
	assert_int_equal(stats.producers, 8);
	world_free(w);
}

static void test_sparse_segments_are_emptied_and_their_tasks_stay_in_order(void **state)
{
	(void)state;
	struct world *w = world_new();
	uint64_t got[100] = { 0 };
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 50 });
	world_submit(w, &(struct order){ .queue = "q", .seq = 51, .count = 50 });
	struct holder *h = tasks_holder_new(w->t, w);
	world_lease(w, "q", h, 98, got);
	for (uint64_t task = 1; task <= 98; task++)
		if (task != 40)
			world_report(w, h, task, REPORT_COMPLETE, 0);
	struct report_item fail = world_item(w, 40, REPORT_FAIL);
	fail.class_code = ERR_PERMANENT;
	uint32_t old = 1;
	assert_int_equal(world_say(w, h, fail, "text"), ERR_OK);
	world_flush(w);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_seal(w);
	world_submit(w, &(struct order){ .queue = "q", .seq = 101, .count = 1 });
	world_seal(w);
	world_submit(w, &(struct order){ .queue = "q", .seq = 102, .count = 1 });
	assert_true(tasks_segment_live(w->t, old));
	for (uint32_t i = 0; i < 100 && tasks_compact(w->t, LOG(w)); i++)
		world_flush(w);
	assert_false(tasks_segment_live(w->t, old));
	world_checkpoint(w);
	w->index_there[old] = false; /* the log has deleted it */
	world_restart(w);
	struct task_view v;
	struct log_record record;
	struct submit_record open;
	assert_true(tasks_show(w->t, 40, &v));
	assert_int_equal(v.state, TASK_DEAD);
	assert_int_equal(log_fetch(LOG(w), v.result_addr, &record), ERR_OK);
	assert_int_equal(settle_record_result(&record, 40, NULL).len, 4);
	assert_int_equal(log_fetch(LOG(w), v.addr, &record), ERR_OK);
	assert_int_equal(submit_record_open(&record, &open), ERR_OK);
	assert_int_equal(open.payload.data[submit_record_offset(&open, v.item)], 40);
	h = tasks_holder_new(w->t, w);
	assert_int_equal(world_lease(w, "q", h, 10, got), 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(got[i], 99 + i);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void compact_all(struct world *w)
{
	for (uint32_t i = 0; i < 200 && tasks_compact(w->t, LOG(w)); i++)
		world_flush(w);
}

static void test_a_segment_that_is_full_of_moved_payloads_is_not_moved_again(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t got[400], last;
	for (uint64_t i = 0; i < 4; i++)
		(void)world_submit(w, &(struct order){ .queue = "q", .seq = 1 + i * 100, .count = 100 });
	assert_int_equal(world_lease(w, "q", h, 400, got), 400);
	for (uint64_t task = 1; task <= 400; task++)
		if (task % 10 != 0)
			world_report(w, h, task, REPORT_COMPLETE, 0);
	world_seal(w);
	(void)world_submit(w, &(struct order){ .queue = "other", .seq = 401, .count = 1 });
	compact_all(w); /* behind the one of the other queue, which is done: only what was moved is needed there */
	assert_false(tasks_segment_live(w->t, 1));
	assert_int_equal(world_lease(w, "other", h, 1, &last), 1);
	world_report(w, h, last, REPORT_COMPLETE, 0);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_seal(w);
	(void)world_submit(w, &(struct order){ .queue = "other", .seq = 402, .count = 1 });
	uint32_t records = w->count;
	compact_all(w);
	assert_int_equal(w->count, records);
	world_free(w);
}

static void test_an_event_that_one_of_many_queues_needs_is_not_moved(void **state)
{
	enum { QUEUES = 10, EVENTS = 50 };
	(void)state;
	struct world *w = world_new();
	uint16_t queues[QUEUES];
	uint32_t records, sizes[EVENTS];
	uint64_t got[EVENTS];
	uint8_t payload[EVENTS * 8] = { 0 };
	char text[256], name[QUEUES][8];
	for (uint32_t i = 0; i < EVENTS; i++)
		sizes[i] = 8;
	for (uint32_t i = 0; i < QUEUES; i++) {
		const struct queue_settings unset = QUEUE_SETTINGS_UNSET;
		(void)snprintf(name[i], sizeof name[i], "q%u", i);
		assert_int_equal(tasks_propose_queue(w->t, LOG(w), span_str(name[i]), &unset, true, &records, text), ERR_OK);
		world_flush(w);
		queues[i] = (uint16_t)world_queue(w, name[i]);
	}
	const struct topics_publish events = { .queues = queues, .queue_count = QUEUES, .head = span_of(payload, 16), .sizes = sizes,
					       .count = EVENTS, .payload = span_of(payload, sizeof payload) };
	assert_true(topics_propose_events(w->t, LOG(w), &events, w->now_ms));
	world_flush(w);
	uint32_t segment = log_addr_segment(w->records[w->count - 1].addr);
	for (uint32_t i = 0; i + 1 < QUEUES; i++)
		assert_int_equal(world_purge(w, name[i], false), EVENTS);
	world_seal(w);
	(void)world_submit(w, &(struct order){ .queue = "other", .seq = 1, .count = 1 });
	uint32_t count = w->count;
	compact_all(w);
	assert_int_equal(w->count, count);
	assert_true(tasks_segment_live(w->t, segment));
	struct holder *h = tasks_holder_new(w->t, w);
	assert_int_equal(world_lease(w, name[QUEUES - 1], h, EVENTS - 2, got), EVENTS - 2);
	for (uint32_t i = 0; i < EVENTS - 2; i++)
		world_report(w, h, got[i], REPORT_COMPLETE, 0);
	compact_all(w); /* now two of fifty payloads are needed */
	assert_false(tasks_segment_live(w->t, segment));
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_restore_refuses_every_truncation_and_survives_every_flipped_byte(void **state)
{
	(void)state;
	struct world *w = world_new();
	uint64_t got[3] = { 0 };
	char text[256];
	world_submit(w, &(struct order){ .queue = "q", .seq = 1, .count = 5, .head.retention_ms = 100 });
	world_submit(w, &(struct order){ .queue = "q", .seq = 6, .count = 1, .head.key = span_str("key") });
	struct holder *h = tasks_holder_new(w->t, w);
	world_lease(w, "q", h, 3, got);
	world_report(w, h, 1, REPORT_COMPLETE, 0);
	world_report(w, h, 2, REPORT_REJECT, 0);
	world_report(w, h, 3, REPORT_FAIL, ERR_TRANSIENT);
	world_checkpoint(w);
	for (size_t cut = 0; cut < w->checkpoint.len; cut++) {
		struct tasks *t = tasks_new(&w->config);
		assert_int_equal(tasks_restore(t, span_of(w->checkpoint.data, cut), text), ERR_DAMAGED);
		assert_true(strlen(text) > 0);
		tasks_free(t);
	}
	uint32_t refused = 0;
	for (size_t at = 0; at < w->checkpoint.len; at++) {
		w->checkpoint.data[at] ^= 0x81;
		struct tasks *t = tasks_new(&w->config);
		refused += tasks_restore(t, buf_span(&w->checkpoint), text) != ERR_OK;
		tasks_free(t);
		w->checkpoint.data[at] ^= 0x81;
	}
	assert_true(refused > 0);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_a_purge_goes_in_pieces_and_other_work_between_them(void **state)
{
	enum { FRAME = 4096, FRAMES = 10 };
	(void)state;
	struct world *w = world_new();
	struct holder *h = tasks_holder_new(w->t, w);
	struct purge_work work;
	uint64_t affected = 0, other[64];
	uint32_t records, pieces = 0;
	char text[256];
	for (uint64_t i = 0; i < FRAMES; i++) {
		(void)world_submit(w, &(struct order){ .queue = "q", .seq = 1 + i * (FRAME + 1), .count = FRAME,
						  .resolved_below = 1 + i * (FRAME + 1) });
		(void)world_submit(w, &(struct order){ .queue = "other", .seq = (i + 1) * (FRAME + 1), .count = 1,
						  .resolved_below = (i + 1) * (FRAME + 1) });
	}
	assert_int_equal(tasks_purge_begin(w->t, span_str("q"), false, &work, text), ERR_OK);
	uint64_t late = world_submit(w, &(struct order){ .queue = "q", .seq = 100000, .count = 1, .resolved_below = 100000 });
	while (!work.over) {
		assert_int_equal(tasks_propose_purge(w->t, LOG(w), &work, &records, text), ERR_OK);
		world_flush(w);
		assert_in_range(w->affected, 1, 16384);
		affected += w->affected;
		assert_int_equal(world_lease(w, "other", h, 1, other), 1);
		pieces++;
		if (pieces != 1)
			continue;
		tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
		world_flush(w);
		world_checkpoint(w);
		world_restart(w); /* what is left, stays; whoever asked has no answer, and asks again */
		assert_int_equal(world_info(w, "q").ready + affected, FRAMES * FRAME + 1);
		h = tasks_holder_new(w->t, w);
	}
	assert_in_range(pieces, 3, 10);
	assert_int_equal(affected, FRAMES * FRAME);
	assert_int_equal(world_state(w, late), TASK_READY); /* it came after the purge had begun */
	assert_int_equal(world_info(w, "q").ready, 1);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_segment_that_is_full_of_moved_payloads_is_not_moved_again),
		cmocka_unit_test(test_an_event_that_one_of_many_queues_needs_is_not_moved),
		cmocka_unit_test(test_a_purge_goes_in_pieces_and_other_work_between_them),
		cmocka_unit_test(test_results_are_kept_for_the_retention_and_pin_their_segment),
		cmocka_unit_test(test_a_paused_queue_takes_tasks_and_hands_none_out_also_after_a_restart),
		cmocka_unit_test(test_purge_takes_what_waits_and_leaves_what_is_leased),
		cmocka_unit_test(test_dead_letters_are_redriven_oldest_first),
		cmocka_unit_test(test_a_queue_is_removed_only_when_empty_and_late_submissions_to_it_are_refused),
		cmocka_unit_test(test_queue_settings_change_and_conflicts_are_told),
		cmocka_unit_test(test_idle_producers_are_forgotten_by_record_time),
		cmocka_unit_test(test_sparse_segments_are_emptied_and_their_tasks_stay_in_order),
		cmocka_unit_test(test_restore_refuses_every_truncation_and_survives_every_flipped_byte),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
