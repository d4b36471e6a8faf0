/* tests/unit/test_tasks_memory.c: what a waiting task costs in memory, by count of bytes, never by time. */
#include "tasks_world.h"

#include "../../broker/tasks_record.h"

/* Applies `records` records of `count` tasks each to a bare machine, with a segment change every `per_segment` records. */
static double bytes_per_task(uint32_t records, uint32_t count, uint32_t queues, uint32_t priorities)
{
	struct world *w = world_new();
	for (uint32_t i = 0; i < queues; i++) {
		char name[16];
		(void)snprintf(name, sizeof name, "q%u", i);
		struct queue_settings s = QUEUE_SETTINGS_UNSET;
		char text[256];
		uint32_t appended;
		assert_int_equal(tasks_propose_queue(w->t, LOG(w), span_str(name), &s, true, &appended, text), ERR_OK);
	}
	world_flush(w);
	struct tasks_stats before, after;
	tasks_get_stats(w->t, &before);
	static uint32_t sizes[1024];
	static uint8_t head[16], body[8192];
	uint32_t segment = 2, per_segment = 65536;
	struct buf index = { 0 };
	for (uint32_t i = 0; i < records; i++) {
		struct submit_view v = { .sizes = sizes, .head = span_of(head, sizeof head) };
		v.fixed = (struct rec_submit){ .version = REC_VERSION, .priority = (uint8_t)(i / queues % priorities),
					       .queue = (uint16_t)(1 + i % queues), .head_size = sizeof head, .count = count,
					       .producer = 1, .first_seq = 1 + (uint64_t)i * count };
		assert_true(rec_submit_size(&v) <= sizeof body);
		rec_submit_write(&v, body);
		struct log_entry entry = { i + 10, 1, 2000 };
		struct log_record record = { .addr = log_addr(segment, 64 + (uint64_t)(i % per_segment) * 256), .kind = REC_SUBMIT,
					     .body = span_of(body, rec_submit_size(&v)) };
		tasks_apply(w->t, &entry, &record, true, &w->last);
		assert_int_equal(w->last.run_count, 1);
		if (i % per_segment == per_segment - 1)
			tasks_seal(w->t, segment++, &index);
		index.len = 0;
	}
	buf_free(&index);
	tasks_get_stats(w->t, &after);
	assert_int_equal(after.waiting, (uint64_t)records * count);
	double per_task = (double)(after.memory_bytes - before.memory_bytes) / ((double)records * count);
	print_message("%u records of %u tasks, %u queues, %u priorities: %.2f bytes per task\n", records, count, queues, priorities,
		      per_task);
	world_free(w);
	return per_task;
}

static void test_a_task_in_a_batch_costs_less_than_five_bytes(void **state)
{
	(void)state;
	assert_true(bytes_per_task(1000, 1000, 1, 1) < 5.0);
}

static void test_single_tasks_of_one_queue_cost_less_than_six_bytes(void **state)
{
	(void)state;
	assert_true(bytes_per_task(1000000, 1, 1, 1) < 6.0);
}

static void test_single_tasks_that_alternate_between_queues_and_priorities_cost_at_most_24_bytes(void **state)
{
	(void)state;
	assert_true(bytes_per_task(1000000, 1, 4, 4) <= 24.0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_task_in_a_batch_costs_less_than_five_bytes),
		cmocka_unit_test(test_single_tasks_of_one_queue_cost_less_than_six_bytes),
		cmocka_unit_test(test_single_tasks_that_alternate_between_queues_and_priorities_cost_at_most_24_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
