/* tests/unit/test_shard_edges.c: a shard where somebody or something does not keep to what is usual: a clock that goes back, answers
 * that nobody reads, clients that go on during a stop, frames that are only claimed, a dead letter that lives again. */
#include "shard_world.h"

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	assert_non_null(w);
	world_init(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	world_close(*state);
	free(*state);
	return 0;
}

static uint64_t submit_one(struct client *c, struct submit_args a)
{
	a.count = 1;
	client_submit(c, a);
	struct msg *m = client_expect(c, FRAME_CONFIRMS);
	assert_int_equal(m->confirms.runs[0].code, ERR_OK);
	return m->confirms.runs[0].first_task;
}

static struct task_ref expect_task(struct client *c)
{
	const struct msg_deliver *m = &client_expect(c, FRAME_DELIVER)->deliver;
	assert_int_equal(m->count, 1);
	return (struct task_ref){ m->items[0].task, m->items[0].attempt, m->epoch };
}

static void await(struct client *c, const uint64_t *tasks, uint32_t count)
{
	struct msg m = { .kind = FRAME_AWAIT };
	m.tasks.tasks = (struct u64s){ tasks, count };
	client_send(c, &m, 0, (struct span){ NULL, 0 });
}

/* ---- time ---- */

static void a_clock_that_was_set_back_ends_no_delay_early(void **state)
{
	struct client c;
	struct world *w = *state;
	world_open(w);
	client_open(&c, w, 1);
	sim_wall_jump(w->sim, 3600000);
	(void)submit_one(&c, (struct submit_args){ .type = "other", .producer = 9, .first_seq = 1 });
	sim_wall_jump(w->sim, -3600000);
	uint64_t begun = io_now_ns(w->io);
	(void)submit_one(&c, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 2, .delay_ms = 10000 });
	client_serve(&c, "t", 1);
	(void)expect_task(&c);
	assert_in_range(io_now_ns(w->io) - begun, 9900 * SIM_MS, 12 * SIM_S);
	client_free(&c);
}

static void a_clock_that_was_set_back_before_a_restart_ends_no_delay_early(void **state)
{
	struct client c;
	struct world *w = *state;
	world_open(w);
	client_open(&c, w, 1);
	sim_wall_jump(w->sim, 3600000);
	(void)submit_one(&c, (struct submit_args){ .type = "other", .producer = 9, .first_seq = 1 });
	sim_crash(w->sim, 0, SIM_CRASH_DROP_ALL);
	sim_bury(w->sim, 0);
	shard_close(w->shard);
	w->io->v->free(w->io);
	client_free(&c);
	sim_wall_jump(w->sim, -3600000);
	w->io = sim_restart(w->sim, 0);
	world_open(w);
	client_open(&c, w, 2);
	uint64_t begun = io_now_ns(w->io);
	(void)submit_one(&c, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 2, .delay_ms = 10000 });
	client_serve(&c, "t", 1);
	(void)expect_task(&c);
	assert_in_range(io_now_ns(w->io) - begun, 9900 * SIM_MS, 12 * SIM_S);
	client_free(&c);
}

/* ---- bounds ---- */

static void answers_that_nobody_reads_are_bounded(void **state)
{
	enum { ASKED = 500, MAX = 2000 };
	struct client c;
	struct world *w = *state;
	struct shard_counters counters;
	uint64_t tasks[ASKED];
	uint32_t answered = 0;
	bool refused = false;
	w->config.watches_max = MAX;
	w->config.out_buffer_soft = 4096;
	world_open(w);
	client_open(&c, w, 1);
	sim_peer_pause(c.peer, true);
	for (uint64_t round = 0; round < 100; round++) {
		for (uint64_t i = 0; i < ASKED; i++)
			tasks[i] = 1000000 + round * ASKED + i; /* there are no such tasks: answered, when there is room */
		await(&c, tasks, ASKED);
		world_run(w, SIM_MS);
		shard_counters_get(w->shard, &counters);
		assert_in_range(counters.watches, 0, MAX);
	}
	sim_peer_pause(c.peer, false);
	world_run(w, SIM_S);
	while (client_poll(&c)) {
		if (c.msg.kind == FRAME_RESULTS)
			answered += c.msg.results.count;
		refused = refused || (c.msg.kind == FRAME_ERROR && c.msg.error.code == ERR_RESOURCE_EXHAUSTED);
	}
	assert_true(answered > 0);
	assert_true(refused);
	client_free(&c);
}

/* One part is with the socket, the next is ready behind it, and nothing more. */
static void a_worker_that_does_not_read_is_sent_two_parts_and_no_more(void **state)
{
	enum { TASKS = 500, SIZE = 10000, SOFT = 1 << 20 };
	struct client producer, worker;
	struct world *w = *state;
	struct shard_counters counters;
	w->config.out_buffer_soft = SOFT;
	world_open(w);
	client_open(&producer, w, 1);
	client_open(&worker, w, 2);
	client_serve(&worker, "t", TASKS);
	world_run(w, 10 * SIM_MS);
	sim_peer_pause(worker.peer, true);
	for (uint64_t i = 0; i < TASKS / 10; i++)
		client_submit(&producer, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1 + 10 * i, .count = 10, .size = SIZE });
	world_run(w, SIM_S);
	shard_counters_get(w->shard, &counters);
	assert_in_range(counters.delivered_total * SIZE, 7 * SOFT / 4, 5 * SOFT / 2);
	sim_peer_pause(worker.peer, false);
	uint32_t got = 0;
	while (got < TASKS)
		got += client_expect(&worker, FRAME_DELIVER)->deliver.count;
	client_free(&producer);
	client_free(&worker);
}

static void a_frame_that_is_only_claimed_costs_what_came_of_it(void **state)
{
	struct client c;
	struct world *w = *state;
	struct shard_counters counters;
	static const uint8_t header[16] = { 0, 0, 0x40, 0, FRAME_SUBMIT, 0, 0, 0, 8 }; /* 4 MiB */
	world_open(w);
	client_open(&c, w, 1);
	sim_peer_send(c.peer, span_of(header, sizeof header));
	world_run(w, 100 * SIM_MS);
	shard_counters_get(w->shard, &counters);
	assert_int_equal(counters.conns, 1);
	assert_in_range(counters.buffer_bytes, 1, 8192);
	client_free(&c);
}

static void only_the_greediest_goes_when_memory_is_short(void **state)
{
	struct client greedy, modest;
	struct world *w = *state;
	struct shard_counters counters;
	static const uint8_t header[16] = { 0, 0, 0x40, 0, FRAME_SUBMIT, 0, 0, 0, 8 };
	uint8_t *bytes = calloc(1, 3 << 20);
	assert_non_null(bytes);
	w->config.memory_max = 1 << 20;
	world_open(w);
	client_open(&greedy, w, 1);
	client_open(&modest, w, 2);
	sim_peer_send(modest.peer, span_of(header, sizeof header));
	sim_peer_send(modest.peer, span_of(bytes, 100000));
	sim_peer_send(greedy.peer, span_of(header, sizeof header));
	sim_peer_send(greedy.peer, span_of(bytes, 3 << 20));
	world_run(w, 2 * SIM_S);
	shard_counters_get(w->shard, &counters);
	assert_int_equal(counters.conns_slow_total, 1);
	assert_int_equal(counters.conns, 1);
	assert_false(sim_peer_closed(modest.peer));
	free(bytes);
	client_free(&greedy);
	client_free(&modest);
}

/* ---- the stop ---- */

static void a_stop_does_not_wait_for_a_client_that_goes_on(void **state)
{
	struct client c;
	struct world *w = *state;
	const struct sim_latency slow = { 5 * SIM_MS, 5 * SIM_MS };
	w->config.stop_ms = 1000;
	world_open(w);
	client_open(&c, w, 1);
	(void)submit_one(&c, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1 });
	sim_disk_speed(w->sim, 0, (struct sim_disk_speed){ slow, slow, slow });
	shard_stop(w->shard);
	uint64_t end = io_now_ns(w->io) + 3 * SIM_S;
	struct msg m = { .kind = FRAME_REQUEST };
	m.request = (struct msg_request){ .verb = VERB_QUEUE_PAUSE, .name = span_str("t"), .settings = QUEUE_SETTINGS_UNSET };
	while (!shard_stopped(w->shard) && io_now_ns(w->io) < end) {
		if (!sim_peer_closed(c.peer))
			client_send(&c, &m, 1, (struct span){ NULL, 0 });
		shard_turn_until(w->shard, io_now_ns(w->io) + SIM_MS);
	}
	assert_true(shard_stopped(w->shard));
	client_free(&c);
}

/* ---- results and deliveries ---- */

static void a_dead_letter_that_lives_again_is_not_reported_as_final(void **state)
{
	struct client producer, worker;
	struct world *w = *state;
	world_open(w);
	client_open(&producer, w, 1);
	client_open(&worker, w, 2);
	uint64_t task = submit_one(&producer, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1, .want_result = true });
	sim_peer_cut(producer.peer);
	client_serve(&worker, "t", 1);
	client_report(&worker, expect_task(&worker), REPORT_REJECT, "no");
	assert_int_equal(client_expect(&worker, FRAME_REPORTED)->reported.items[0].state, TASK_DEAD);
	struct msg_request retry = { .verb = VERB_TASK_RETRY, .tasks = { &task, 1 } };
	assert_int_equal(client_ask(&worker, retry)->code, ERR_OK);
	client_free(&producer);
	client_open(&producer, w, 1);
	assert_true(producer.msg.welcome.resumed);
	world_run(w, 100 * SIM_MS);
	assert_false(client_poll(&producer));
	client_credit(&worker, 1);
	client_report(&worker, expect_task(&worker), REPORT_COMPLETE, "yes");
	const struct msg_results *m = &client_expect(&producer, FRAME_RESULTS)->results;
	assert_int_equal(m->count, 1);
	assert_int_equal(m->items[0].state, TASK_DONE);
	client_free(&producer);
	client_free(&worker);
}

static void a_delivery_names_the_lease_time_of_its_queue(void **state)
{
	struct client c;
	struct world *w = *state;
	struct queue_settings settings = QUEUE_SETTINGS_UNSET;
	settings.lease_ms = 7000;
	world_open(w);
	client_open(&c, w, 1);
	struct msg_request create = { .verb = VERB_QUEUE_CREATE, .name = span_str("t"), .settings = settings };
	create.settings.length_max = 1000;
	assert_int_equal(client_ask(&c, create)->code, ERR_OK);
	(void)submit_one(&c, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1 });
	client_serve(&c, "t", 1);
	assert_int_equal(client_expect(&c, FRAME_DELIVER)->deliver.lease_ms, 7000);
	create.verb = VERB_QUEUE_SET;
	create.settings.lease_ms = 9000;
	assert_int_equal(client_ask(&c, create)->code, ERR_OK);
	(void)submit_one(&c, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 2 });
	client_credit(&c, 1);
	assert_int_equal(client_expect(&c, FRAME_DELIVER)->deliver.lease_ms, 9000);
	client_free(&c);
}

static void a_result_over_payload_max_is_refused_and_the_task_stays_with_its_worker(void **state)
{
	struct client c;
	struct world *w = *state;
	w->config.payload_max = 8;
	world_open(w);
	client_open(&c, w, 1);
	(void)submit_one(&c, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1, .size = 8 });
	client_serve(&c, "t", 1);
	struct task_ref ref = expect_task(&c);
	client_report(&c, ref, REPORT_COMPLETE, "123456789");
	const struct msg_error *refused = &client_expect(&c, FRAME_ERROR)->error;
	assert_int_equal(refused->code, ERR_TOO_BIG);
	assert_false(refused->fatal);
	client_report(&c, ref, REPORT_COMPLETE, "12345678");
	assert_int_equal(client_expect(&c, FRAME_REPORTED)->reported.items[0].code, ERR_OK);
	client_free(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_clock_that_was_set_back_ends_no_delay_early),
		TEST(a_clock_that_was_set_back_before_a_restart_ends_no_delay_early),
		TEST(answers_that_nobody_reads_are_bounded),
		TEST(a_worker_that_does_not_read_is_sent_two_parts_and_no_more),
		TEST(a_frame_that_is_only_claimed_costs_what_came_of_it),
		TEST(only_the_greediest_goes_when_memory_is_short),
		TEST(a_stop_does_not_wait_for_a_client_that_goes_on),
		TEST(a_dead_letter_that_lives_again_is_not_reported_as_final),
		TEST(a_delivery_names_the_lease_time_of_its_queue),
		TEST(a_result_over_payload_max_is_refused_and_the_task_stays_with_its_worker),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
