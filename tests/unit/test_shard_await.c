/* tests/unit/test_shard_await.c: who waits for a task and watches it: refusals that find their question, and yields that cannot be read. */
#include "shard_world.h"

#define SEGMENT "seg-%08u.log"

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	assert_non_null(w);
	world_init(w);
	w->config.watches_max = 2;
	w->config.memory_max = 1 << 20;
	w->config.cache_bytes = 64 << 10;
	w->config.batch_bytes = 512 << 10;
	world_open(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	world_close(*state);
	free(*state);
	return 0;
}

static uint64_t submit(struct client *c, const char *type, uint64_t seq, uint32_t count, uint32_t size)
{
	client_submit(c, (struct submit_args){ .type = type, .producer = 9, .first_seq = seq, .count = count, .size = size });
	struct msg *m = client_expect(c, FRAME_CONFIRMS);
	assert_int_equal(m->confirms.runs[0].code, ERR_OK);
	return m->confirms.runs[0].first_task;
}

static void await_updates(struct client *c, const uint64_t *tasks, uint32_t count, uint32_t correlation)
{
	const uint32_t from[8] = { 0 };
	const struct msg m = { .kind = FRAME_AWAIT, .tasks = { .tasks = { tasks, count }, .want_updates = true,
							      .from_yield = { from, count } } };
	client_send(c, &m, correlation, span_of(NULL, 0));
}

static void a_refusal_to_watch_one_more_task_names_the_frame_that_asked(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	const uint64_t unknown[] = { 101, 102, 103 };
	await_updates(&c, unknown, 3, 4711);
	do {
		client_next(&c);
	} while (c.msg.kind != FRAME_ERROR);
	assert_int_equal(c.msg.error.code, ERR_RESOURCE_EXHAUSTED);
	assert_int_equal(c.msg.error.kind, FRAME_AWAIT);
	assert_int_equal(c.frame.correlation, 4711);
	client_free(&c);
}

static void say(struct client *worker, struct task_ref ref, enum report_verb verb, const char *bytes)
{
	client_report(worker, ref, verb, bytes);
	do {
		client_next(worker);
	} while (worker->msg.kind != FRAME_REPORTED);
	assert_int_equal(worker->msg.reported.items[0].code, ERR_OK);
}

static void a_yield_that_cannot_be_read_is_told_and_the_result_still_comes(void **state)
{
	struct world *w = *state;
	struct client c, worker;
	char name[32];
	client_open(&c, w, 1);
	client_open(&worker, w, 2);
	uint64_t task = submit(&c, "t", 1, 1, 8), addr;
	client_serve(&worker, "t", 1);
	(void)client_expect(&worker, FRAME_DELIVER);
	struct task_ref ref = { task, worker.msg.deliver.items[0].attempt, worker.msg.deliver.epoch };
	client_report(&worker, ref, REPORT_START, "");
	say(&worker, ref, REPORT_YIELD, "the first item");
	assert_true(tasks_yield_at(shard_tasks(w->shard), task, 0, &addr));
	say(&worker, ref, REPORT_COMPLETE, "the result");
	for (uint64_t i = 0; i < 16; i++)
		(void)submit(&c, "other", 2 + i * 64, 64, 4096); /* the yield leaves the cache */
	(void)snprintf(name, sizeof name, SEGMENT, log_addr_segment(addr));
	assert_int_equal(sim_flip(w->sim, 0, name, log_addr_offset(addr) + 60, 1), 0);
	await_updates(&c, &task, 1, 5);
	const struct msg *m = client_expect(&c, FRAME_UPDATES);
	assert_int_equal(m->updates.count, 1);
	assert_int_equal(m->updates.items[0].kind, UPDATE_YIELD);
	assert_int_equal(m->updates.items[0].number, 0);
	assert_int_equal(m->updates.items[0].size, 0);
	assert_int_equal(m->updates.items[0].code, ERR_DAMAGED);
	m = client_expect(&c, FRAME_RESULTS);
	assert_int_equal(m->results.items[0].task, task);
	assert_int_equal(m->results.items[0].state, TASK_DONE);
	client_free(&c);
	client_free(&worker);
}

static void updates_that_nobody_reads_take_a_bounded_part_of_the_memory(void **state)
{
	enum { LINES = 60, LINE_BYTES = 4000 };
	struct world *w = *state;
	struct client c, away, worker;
	struct shard_counters counters;
	static char line[LINE_BYTES + 1];
	memset(line, 'x', LINE_BYTES);
	client_open(&c, w, 1);
	client_open(&away, w, 3);
	client_open(&worker, w, 2);
	uint64_t task = submit(&c, "t", 1, 1, 8);
	await_updates(&away, &task, 1, 5);
	world_run(w, 1 * SIM_S);
	client_free(&away); /* its session waits for it to come back */
	client_serve(&worker, "t", 1);
	(void)client_expect(&worker, FRAME_DELIVER);
	struct task_ref ref = { task, worker.msg.deliver.items[0].attempt, worker.msg.deliver.epoch };
	client_report(&worker, ref, REPORT_START, "");
	for (uint32_t i = 0; i < LINES; i++)
		client_report(&worker, ref, REPORT_LOG, line);
	say(&worker, ref, REPORT_COMPLETE, "the result");
	shard_counters_get(w->shard, &counters);
	assert_in_range(counters.updates_dropped_total, LINES / 2 - 8, LINES / 2 + 8); /* an eighth of 1 MiB is half of them */
	client_open(&away, w, 3);
	uint32_t lines = 0;
	do {
		client_next(&away);
		for (uint32_t i = 0; away.msg.kind == FRAME_UPDATES && i < away.msg.updates.count; i++)
			lines += away.msg.updates.items[i].kind == UPDATE_LOG;
	} while (away.msg.kind != FRAME_RESULTS);
	assert_int_equal(lines + counters.updates_dropped_total, LINES);
	client_free(&away);
	client_free(&c);
	client_free(&worker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_refusal_to_watch_one_more_task_names_the_frame_that_asked, setup, teardown),
		cmocka_unit_test_setup_teardown(a_yield_that_cannot_be_read_is_told_and_the_result_still_comes, setup, teardown),
		cmocka_unit_test_setup_teardown(updates_that_nobody_reads_take_a_bounded_part_of_the_memory, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
