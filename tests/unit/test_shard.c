/* tests/unit/test_shard.c: what a whole shard promises to those who speak to it: handshake, hostile bytes, the life of a
 * task, sessions, credit, slow readers, and the stop. On the simulated world; time is virtual. */
#include "shard_world.h"

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	assert_non_null(w);
	world_init(w);
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

static void send_bytes(struct client *c, const void *bytes, size_t len)
{
	sim_peer_send(c->peer, span_of(bytes, len));
}

/* ---- handshake and hostile bytes ---- */

static void a_welcome_names_the_epoch_and_the_limits(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	assert_int_equal(c.msg.welcome.version, 1);
	assert_true(c.msg.welcome.epoch > 0);
	assert_false(c.msg.welcome.resumed);
	assert_int_equal(c.msg.welcome.payload_max, LIMIT_PAYLOAD_BYTES);
	assert_int_equal(c.frame.correlation, 1);
	client_free(&c);
}

static void a_connection_that_says_nothing_is_closed(void **state)
{
	struct client c;
	struct world *w = *state;
	client_dial(&c, w);
	uint64_t start = io_now_ns(w->io);
	client_expect_refused(&c, ERR_TIMEOUT);
	assert_in_range(io_now_ns(w->io) - start, LIMIT_HANDSHAKE_MS * SIM_MS, LIMIT_HANDSHAKE_MS * SIM_MS + SIM_S);
	client_free(&c);
}

static void a_handshake_of_single_bytes_does_not_get_more_time(void **state)
{
	struct client c;
	struct world *w = *state;
	client_dial(&c, w);
	static const uint8_t header[16] = { 64, 0, 0, 0, FRAME_HELLO, 0, 0, 0, 64 };
	for (size_t i = 0; i < sizeof header && !sim_peer_closed(c.peer); i++) {
		send_bytes(&c, header + i, 1);
		world_run(w, SIM_S);
	}
	client_expect_refused(&c, ERR_TIMEOUT);
	client_free(&c);
}

static void more_than_a_handshake_may_have_is_refused(void **state)
{
	struct client c;
	client_dial(&c, *state);
	uint8_t *bytes = calloc(1, LIMIT_HANDSHAKE_BYTES + 1);
	assert_non_null(bytes);
	send_bytes(&c, bytes, LIMIT_HANDSHAKE_BYTES + 1);
	free(bytes);
	client_next(&c);
	assert_int_equal(c.msg.kind, FRAME_ERROR);
	assert_true(c.msg.error.fatal);
	client_expect_closed(&c);
	client_free(&c);
}

static void a_frame_of_four_gigabytes_is_refused_by_its_header(void **state)
{
	struct client c;
	struct world *w = *state;
	struct shard_counters counters;
	client_open(&c, w, 1);
	static const uint8_t header[16] = { 0xf8, 0xff, 0xff, 0xff, FRAME_SUBMIT };
	send_bytes(&c, header, sizeof header);
	client_expect_refused(&c, ERR_TOO_BIG);
	shard_counters_get(w->shard, &counters);
	assert_int_equal(counters.conns_garbage_total, 1);
	assert_in_range(counters.buffer_bytes, 0, 4096);
	client_free(&c);
}

static void garbage_is_refused_with_what_and_where(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	send_bytes(&c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
	client_expect_refused(&c, ERR_TOO_BIG);
	client_free(&c);
}

static void a_meta_part_of_garbage_ends_the_connection(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	uint8_t frame[48] = { 32, 0, 0, 0, FRAME_SUBMIT, 0, 0, 0, 32 };
	memset(frame + 16, 0xee, 32);
	send_bytes(&c, frame, sizeof frame);
	client_expect_refused(&c, ERR_MALFORMED);
	client_free(&c);
}

static void the_first_frame_must_be_hello(void **state)
{
	struct client c;
	client_dial(&c, *state);
	struct msg m = { .kind = FRAME_PING };
	client_send(&c, &m, 0, (struct span){ NULL, 0 });
	client_expect_refused(&c, ERR_NOT_READY);
	client_free(&c);
}

static void an_unknown_version_is_refused(void **state)
{
	struct client c;
	client_dial(&c, *state);
	struct msg m = { .kind = FRAME_HELLO };
	m.hello.versions[0] = 99;
	m.hello.version_count = 1;
	client_send(&c, &m, 0, (struct span){ NULL, 0 });
	client_expect_refused(&c, ERR_VERSION);
	client_free(&c);
}

static void a_refused_frame_leaves_the_session_up(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	static const uint8_t unknown[16] = { 0, 0, 0, 0, 250, 0, 0, 0, 0, 0, 0, 0, 9 };
	send_bytes(&c, unknown, sizeof unknown);
	struct msg *m = client_expect(&c, FRAME_ERROR);
	assert_int_equal(m->error.code, ERR_UNKNOWN_KIND);
	assert_false(m->error.fatal);
	assert_int_equal(c.frame.correlation, 9);
	struct msg ping = { .kind = FRAME_PING, .ping = { .echo = 42 } };
	client_send(&c, &ping, 0, (struct span){ NULL, 0 });
	assert_int_equal(client_expect(&c, FRAME_PONG)->ping.echo, 42);
	client_free(&c);
}

static void a_frame_that_never_ends_is_not_waited_for(void **state)
{
	struct client c;
	struct world *w = *state;
	client_open(&c, w, 1);
	static const uint8_t header[16] = { 64, 0, 0, 0, FRAME_SUBMIT, 0, 0, 0, 64 };
	send_bytes(&c, header, sizeof header);
	/* A byte a second keeps the heartbeat content, but not the frame. */
	for (int i = 0; i < 40 && !sim_peer_closed(c.peer); i++) {
		world_run(w, SIM_S);
		send_bytes(&c, "x", 1);
	}
	do
		client_next(&c);
	while (c.msg.kind != FRAME_ERROR);
	assert_int_equal(c.msg.error.code, ERR_TIMEOUT);
	client_expect_closed(&c);
	client_free(&c);
}

static void frames_may_come_in_any_pieces(void **state)
{
	struct client c;
	struct world *w = *state;
	sim_link_default(w->sim, (struct sim_link){ .delay_min_ns = 1000, .delay_max_ns = 9000, .chunk_max = 7, .window = 65536 });
	client_open(&c, w, 1);
	for (uint64_t seq = 1; seq <= 50; seq++)
		client_submit(&c, (struct submit_args){ .type = "a.b", .producer = 3, .first_seq = seq, .count = 1, .size = 61 });
	uint64_t confirmed = 0;
	while (confirmed < 50) {
		struct msg *m = client_expect(&c, FRAME_CONFIRMS);
		for (uint32_t i = 0; i < m->confirms.run_count; i++) {
			assert_int_equal(m->confirms.runs[i].code, ERR_OK);
			assert_int_equal(m->confirms.runs[i].first_seq, confirmed + 1);
			confirmed += m->confirms.runs[i].count;
		}
	}
	client_free(&c);
}

/* ---- the life of a task ---- */

static struct task_ref expect_one(struct client *worker)
{
	struct msg *m = client_expect(worker, FRAME_DELIVER);
	assert_int_equal(m->deliver.count, 1);
	assert_int_equal(m->deliver.entry, 5);
	return (struct task_ref){ m->deliver.items[0].task, m->deliver.items[0].attempt, m->deliver.epoch };
}

static void a_task_goes_from_submit_to_its_result(void **state)
{
	struct client producer, worker;
	client_open(&producer, *state, 1);
	client_open(&worker, *state, 2);
	client_serve(&worker, "media.v1.Transcode", 10);
	client_submit(&producer, (struct submit_args){ .type = "media.v1.Transcode", .producer = 9, .first_seq = 1, .count = 1,
						       .size = 100, .want_result = true });
	struct msg *m = client_expect(&producer, FRAME_CONFIRMS);
	assert_int_equal(m->confirms.producer, 9);
	assert_int_equal(m->confirms.run_count, 1);
	assert_int_equal(m->confirms.runs[0].code, ERR_OK);
	assert_int_equal(m->confirms.runs[0].level, CONFIRM_DURABLE);
	uint64_t task = m->confirms.runs[0].first_task;
	struct task_ref ref = expect_one(&worker);
	assert_int_equal(ref.task, task);
	assert_int_equal(worker.frame.payload.len, 104);
	assert_int_equal(worker.frame.payload.data[99], 1);
	client_report(&worker, ref, REPORT_START, "");
	client_report(&worker, ref, REPORT_COMPLETE, "the result");
	m = client_expect(&worker, FRAME_REPORTED);
	assert_int_equal(m->reported.items[0].code, ERR_OK);
	assert_int_equal(m->reported.items[0].state, TASK_DONE);
	m = client_expect(&producer, FRAME_RESULTS);
	assert_int_equal(m->results.count, 1);
	assert_int_equal(m->results.items[0].task, task);
	assert_int_equal(m->results.items[0].state, TASK_DONE);
	assert_int_equal(m->results.items[0].size, 10);
	assert_memory_equal(producer.frame.payload.data, "the result", 10);
	/* Told twice: late, and nothing changes. */
	client_report(&worker, ref, REPORT_COMPLETE, "another");
	(void)client_expect(&worker, FRAME_REPORTED);
	/* From another session: await(task). */
	struct msg await = { .kind = FRAME_AWAIT, .tasks = { .tasks = { (uint64_t[]){ task, 123456 }, 2 } } };
	client_send(&worker, &await, 0, (struct span){ NULL, 0 });
	m = client_expect(&worker, FRAME_RESULTS);
	assert_int_equal(m->results.count, 2);
	assert_memory_equal(worker.frame.payload.data, "the result", 10);
	assert_int_equal(m->results.items[1].code, ERR_NOT_FOUND);
	client_free(&producer);
	client_free(&worker);
}

static void an_await_that_is_too_much_is_refused_by_its_correlation(void **state)
{
	struct client producer, other;
	struct world *w = *state;
	world_close(w);
	world_init(w);
	w->config.watches_max = 1;
	world_open(w);
	client_open(&producer, w, 1);
	client_open(&other, w, 2);
	client_submit(&producer, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1, .count = 2, .size = 8 });
	uint64_t task = client_expect(&producer, FRAME_CONFIRMS)->confirms.runs[0].first_task;
	struct msg await = { .kind = FRAME_AWAIT, .tasks = { .tasks = { (uint64_t[]){ task, task + 1 }, 2 } } };
	client_send(&other, &await, 31, (struct span){ NULL, 0 });
	struct msg *m = client_expect(&other, FRAME_ERROR);
	assert_int_equal(m->error.code, ERR_RESOURCE_EXHAUSTED);
	assert_int_equal(m->error.kind, FRAME_AWAIT);
	assert_false(m->error.fatal);
	assert_int_equal(other.frame.correlation, 31);
	client_free(&producer);
	client_free(&other);
}

static void a_worker_gets_no_more_than_its_credit(void **state)
{
	struct client producer, worker;
	struct world *w = *state;
	client_open(&producer, w, 1);
	client_open(&worker, w, 2);
	client_submit(&producer, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1, .count = 100, .size = 8 });
	(void)client_expect(&producer, FRAME_CONFIRMS);
	client_serve(&worker, "t", 7);
	assert_int_equal(client_expect(&worker, FRAME_DELIVER)->deliver.count, 7);
	uint64_t first = worker.msg.deliver.items[0].task;
	world_run(w, SIM_S);
	assert_false(client_poll(&worker));
	client_credit(&worker, 93);
	struct msg *m = client_expect(&worker, FRAME_DELIVER);
	assert_int_equal(m->deliver.count, 93);
	for (uint32_t i = 0; i < 93; i++)
		assert_int_equal(m->deliver.items[i].task, first + 7 + i);
	client_free(&producer);
	client_free(&worker);
}

static void tasks_are_shared_among_workers_by_free_credit(void **state)
{
	enum { WORKERS = 4 };
	struct client producer, workers[WORKERS];
	struct world *w = *state;
	uint32_t got[WORKERS] = { 0 };
	client_open(&producer, w, 1);
	for (uint8_t i = 0; i < WORKERS; i++) {
		client_open(&workers[i], w, (uint8_t)(10 + i));
		client_serve(&workers[i], "t", 5);
	}
	world_run(w, SIM_S);
	for (uint64_t seq = 1; seq <= WORKERS * 5; seq++) {
		client_submit(&producer, (struct submit_args){ .type = "t", .producer = 9, .first_seq = seq, .count = 1 });
		(void)client_expect(&producer, FRAME_CONFIRMS);
	}
	world_run(w, SIM_S);
	for (int i = 0; i < WORKERS; i++) {
		while (client_poll(&workers[i]))
			got[i] += workers[i].msg.kind == FRAME_DELIVER ? workers[i].msg.deliver.count : 0;
		assert_int_equal(got[i], 5);
		client_free(&workers[i]);
	}
	client_free(&producer);
}

static void accepted_is_said_before_the_sync_and_honestly(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	client_submit(&c, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1, .count = 3,
						.confirm = CONFIRM_ACCEPTED });
	struct msg *m = client_expect(&c, FRAME_CONFIRMS);
	assert_int_equal(m->confirms.run_count, 1);
	assert_int_equal(m->confirms.runs[0].level, CONFIRM_ACCEPTED);
	assert_int_equal(m->confirms.runs[0].count, 3);
	assert_int_equal(m->confirms.runs[0].first_task, 0);
	world_run(*state, SIM_S);
	assert_false(client_poll(&c));
	client_free(&c);
}

static void the_same_sequence_twice_is_one_task(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	client_submit(&c, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1, .count = 1 });
	uint64_t task = client_expect(&c, FRAME_CONFIRMS)->confirms.runs[0].first_task;
	client_submit(&c, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1, .count = 1 });
	struct msg *m = client_expect(&c, FRAME_CONFIRMS);
	assert_true(m->confirms.runs[0].duplicate);
	assert_int_equal(m->confirms.runs[0].first_task, task);
	client_free(&c);
}

/* ---- sessions ---- */

static void a_session_resumes_its_leases_on_a_new_connection(void **state)
{
	struct client producer, worker, again;
	struct world *w = *state;
	client_open(&producer, w, 1);
	client_open(&worker, w, 2);
	client_serve(&worker, "t", 1);
	client_submit(&producer, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1, .count = 1 });
	struct task_ref ref = expect_one(&worker);
	sim_peer_cut(worker.peer);
	world_run(w, SIM_S);
	client_open(&again, w, 2);
	assert_true(again.msg.welcome.resumed);
	client_report(&again, ref, REPORT_COMPLETE, "kept");
	assert_int_equal(client_expect(&again, FRAME_REPORTED)->reported.items[0].code, ERR_OK);
	client_free(&producer);
	client_free(&worker);
	client_free(&again);
}

static void after_the_grace_another_worker_gets_the_task(void **state)
{
	struct client producer, worker, other;
	struct world *w = *state;
	client_open(&producer, w, 1);
	client_open(&worker, w, 2);
	client_serve(&worker, "t", 1);
	client_submit(&producer, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1, .count = 1 });
	struct task_ref ref = expect_one(&worker);
	sim_peer_cut(worker.peer);
	client_open(&other, w, 3);
	client_serve(&other, "t", 1);
	struct task_ref second = expect_one(&other);
	assert_int_equal(second.task, ref.task);
	assert_true(second.attempt > ref.attempt);
	client_free(&worker);
	client_open(&worker, w, 2);
	assert_false(worker.msg.welcome.resumed);
	client_report(&worker, ref, REPORT_COMPLETE, "too late");
	assert_int_equal(client_expect(&worker, FRAME_REPORTED)->reported.items[0].code, ERR_STALE_LEASE);
	client_free(&producer);
	client_free(&worker);
	client_free(&other);
}

static void a_second_live_connection_of_a_session_is_refused(void **state)
{
	struct client first, second;
	client_open(&first, *state, 1);
	client_dial(&second, *state);
	client_hello(&second, 1);
	client_expect_refused(&second, ERR_DUPLICATE_SESSION);
	client_free(&first);
	client_free(&second);
}

static void a_silent_connection_gives_way_to_a_new_one(void **state)
{
	struct client first, second;
	struct world *w = *state;
	client_open(&first, w, 1);
	sim_peer_blackhole(first.peer, SIM_BOTH_WAYS);
	world_run(w, 7 * SIM_S);
	client_open(&second, w, 1);
	assert_true(second.msg.welcome.resumed);
	client_free(&first);
	client_free(&second);
}

static void a_silent_peer_is_disconnected(void **state)
{
	struct client c;
	struct world *w = *state;
	client_open(&c, w, 1);
	sim_peer_blackhole(c.peer, SIM_TO_NODE);
	world_run(w, 30 * SIM_S);
	struct shard_counters counters;
	shard_counters_get(w->shard, &counters);
	assert_int_equal(counters.conns_silent_total, 1);
	assert_int_equal(counters.conns, 0);
	client_free(&c);
}

static void goodbye_gives_the_tasks_back_at_once(void **state)
{
	struct client producer, worker, other;
	struct world *w = *state;
	client_open(&producer, w, 1);
	client_open(&worker, w, 2);
	client_serve(&worker, "t", 1);
	client_submit(&producer, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1, .count = 1 });
	struct task_ref ref = expect_one(&worker);
	client_open(&other, w, 3);
	client_serve(&other, "t", 1);
	struct msg m = { .kind = FRAME_GOODBYE };
	client_send(&worker, &m, 0, (struct span){ NULL, 0 });
	world_run(w, 20 * SIM_MS);
	assert_true(client_poll(&other));
	assert_int_equal(other.msg.kind, FRAME_DELIVER);
	assert_int_equal(other.msg.deliver.items[0].task, ref.task);
	client_expect_closed(&worker);
	client_free(&producer);
	client_free(&worker);
	client_free(&other);
}

/* ---- slow readers ---- */

static void a_slow_reader_is_not_fed_without_bound(void **state)
{
	struct client producer, worker;
	struct world *w = *state;
	struct shard_counters counters;
	client_open(&producer, w, 1);
	client_open(&worker, w, 2);
	sim_peer_pause(worker.peer, true);
	client_serve(&worker, "t", 1000);
	for (uint64_t seq = 1; seq <= 200; seq += 10) {
		client_submit(&producer, (struct submit_args){ .type = "t", .producer = 9, .first_seq = seq, .count = 10,
							       .size = 100000 });
		(void)client_expect(&producer, FRAME_CONFIRMS);
	}
	world_run(w, 2 * SIM_S);
	shard_counters_get(w->shard, &counters);
	assert_in_range(counters.buffer_bytes, 1, 8 << 20);
	assert_true(counters.delivered_total < 200);
	sim_peer_pause(worker.peer, false);
	uint32_t got = 0;
	while (got < 200)
		got += client_expect(&worker, FRAME_DELIVER)->deliver.count;
	assert_int_equal(got, 200);
	client_free(&producer);
	client_free(&worker);
}

/* ---- restart and stop ---- */

static void what_was_confirmed_is_there_after_a_crash(void **state)
{
	struct client c;
	struct world *w = *state;
	client_open(&c, w, 1);
	client_submit(&c, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1, .count = 10, .size = 50 });
	uint64_t task = client_expect(&c, FRAME_CONFIRMS)->confirms.runs[0].first_task;
	uint32_t epoch = shard_stats(w->shard, (struct shard_stat[1]){ { 0 } }, 1);
	assert_int_equal(epoch, 1);
	sim_crash(w->sim, 0, SIM_CRASH_DROP_ALL);
	sim_bury(w->sim, 0);
	shard_close(w->shard);
	w->io->v->free(w->io);
	client_free(&c);
	w->io = sim_restart(w->sim, 0);
	world_open(w);
	client_open(&c, w, 2);
	assert_true(c.msg.welcome.epoch > 1);
	client_serve(&c, "t", 100);
	struct msg *m = client_expect(&c, FRAME_DELIVER);
	assert_int_equal(m->deliver.count, 10);
	assert_int_equal(m->deliver.items[0].task, task);
	client_free(&c);
}

static void a_stop_says_goodbye_and_ends(void **state)
{
	struct client c;
	struct world *w = *state;
	client_open(&c, w, 1);
	client_submit(&c, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1, .count = 10, .size = 50 });
	(void)client_expect(&c, FRAME_CONFIRMS);
	shard_stop(w->shard);
	uint64_t end = io_now_ns(w->io) + 10 * SIM_S;
	while (!shard_stopped(w->shard) && io_now_ns(w->io) < end)
		shard_turn(w->shard);
	assert_true(shard_stopped(w->shard));
	assert_true(client_poll(&c));
	assert_int_equal(c.msg.kind, FRAME_GOODBYE);
	assert_int_equal(c.msg.goodbye.retry_after_ms, 1000);
	client_free(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_welcome_names_the_epoch_and_the_limits),
		TEST(a_connection_that_says_nothing_is_closed),
		TEST(a_handshake_of_single_bytes_does_not_get_more_time),
		TEST(more_than_a_handshake_may_have_is_refused),
		TEST(a_frame_of_four_gigabytes_is_refused_by_its_header),
		TEST(garbage_is_refused_with_what_and_where),
		TEST(a_meta_part_of_garbage_ends_the_connection),
		TEST(the_first_frame_must_be_hello),
		TEST(an_unknown_version_is_refused),
		TEST(a_refused_frame_leaves_the_session_up),
		TEST(a_frame_that_never_ends_is_not_waited_for),
		TEST(frames_may_come_in_any_pieces),
		TEST(a_task_goes_from_submit_to_its_result),
		TEST(a_worker_gets_no_more_than_its_credit),
		TEST(an_await_that_is_too_much_is_refused_by_its_correlation),
		TEST(tasks_are_shared_among_workers_by_free_credit),
		TEST(accepted_is_said_before_the_sync_and_honestly),
		TEST(the_same_sequence_twice_is_one_task),
		TEST(a_session_resumes_its_leases_on_a_new_connection),
		TEST(after_the_grace_another_worker_gets_the_task),
		TEST(a_second_live_connection_of_a_session_is_refused),
		TEST(a_silent_connection_gives_way_to_a_new_one),
		TEST(a_silent_peer_is_disconnected),
		TEST(goodbye_gives_the_tasks_back_at_once),
		TEST(a_slow_reader_is_not_fed_without_bound),
		TEST(what_was_confirmed_is_there_after_a_crash),
		TEST(a_stop_says_goodbye_and_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
