/* tests/unit/test_shard_blocks.c: clients that are kept out of work, entries that are taken out one by one, workers that are shown and
 * asked to stop. */
#include "shard_world.h"

#include "../../broker/shard_impl.h"

enum { HOUR_MS = 3600000 };

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	assert_non_null(w);
	world_init(w);
	w->config.heartbeat_ms = 2 * HOUR_MS; /* clients here are silent for long */
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

static void restart(struct world *w)
{
	sim_crash(w->sim, 0, SIM_CRASH_DROP_ALL);
	sim_bury(w->sim, 0);
	shard_close(w->shard);
	w->io->v->free(w->io);
	w->io = sim_restart(w->sim, 0);
	world_open(w);
}

static enum err block(struct client *c, struct block_info info)
{
	struct buf spec = { NULL, 0, 0 };
	block_info_encode(&spec, &info);
	enum err e = client_ask(c, (struct msg_request){ .verb = VERB_WORKER_BLOCK, .spec = buf_span(&spec) })->code;
	buf_free(&spec);
	return e;
}

static enum err unblock(struct client *c, const char *pattern)
{
	return client_ask(c, (struct msg_request){ .verb = VERB_WORKER_UNBLOCK, .name = span_str(pattern) })->code;
}

static uint32_t blocked(struct client *c)
{
	return client_ask(c, (struct msg_request){ .verb = VERB_WORKER_BLOCKED })->spec_count;
}

static struct task_ref take_one(struct client *worker)
{
	struct msg *m = client_expect(worker, FRAME_DELIVER);
	assert_int_equal(m->deliver.count, 1);
	return (struct task_ref){ m->deliver.items[0].task, m->deliver.items[0].attempt, m->deliver.epoch };
}

static void expect_blocked(struct client *c)
{
	struct msg *m = client_expect(c, FRAME_ERROR);
	assert_int_equal(m->error.code, ERR_BLOCKED);
	assert_int_equal(m->error.kind, FRAME_SERVE);
	assert_false(m->error.fatal);
}

static const struct block_info plain = { .pattern = { (const uint8_t *)"te?t", 4 }, .reason = { (const uint8_t *)"driver", 6 } };

static void a_blocked_client_gets_nothing_and_finishes_what_it_holds(void **state)
{
	struct client operator, worker;
	client_open(&operator, *state, 1);
	client_open(&worker, *state, 2);
	client_serve(&worker, "t", 5);
	client_submit(&operator, (struct submit_args){ .type = "t", .producer = 1, .first_seq = 1, .count = 1 });
	(void)client_expect(&operator, FRAME_CONFIRMS);
	struct task_ref ref = take_one(&worker);
	assert_int_equal(block(&operator, plain), ERR_OK);
	expect_blocked(&worker);
	assert_int_equal(((struct world *)*state)->shard->counters.consumers, 0);
	client_submit(&operator, (struct submit_args){ .type = "t", .producer = 1, .first_seq = 2, .count = 1 });
	(void)client_expect(&operator, FRAME_CONFIRMS);
	client_credit(&worker, 5);
	client_report(&worker, ref, REPORT_COMPLETE, "done");
	struct msg *m = client_expect(&worker, FRAME_REPORTED); /* and no DELIVER before it */
	assert_int_equal(m->reported.items[0].code, ERR_OK);
	client_serve(&worker, "t", 5);
	expect_blocked(&worker);
	assert_int_equal(unblock(&operator, "te?t"), ERR_OK);
	client_serve(&worker, "t", 5);
	(void)take_one(&worker);
	client_free(&operator);
	client_free(&worker);
}

static void a_block_is_there_after_a_restart_from_the_log_and_from_a_checkpoint(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	assert_int_equal(block(&c, plain), ERR_OK);
	client_free(&c);
	for (uint8_t i = 0; i < 2; i++) {
		restart(w);
		client_open(&c, w, (uint8_t)(2 + i));
		assert_int_equal(blocked(&c), 1);
		client_serve(&c, "t", 1);
		expect_blocked(&c);
		assert_int_equal(client_ask(&c, (struct msg_request){ .verb = VERB_CHECKPOINT })->code, ERR_OK);
		world_run(w, SIM_S);
		client_free(&c);
	}
	restart(w);
	client_open(&c, w, 4);
	struct msg_reply *r = client_ask(&c, (struct msg_request){ .verb = VERB_WORKER_BLOCKED });
	struct block_info info;
	char text[128];
	assert_int_equal(block_info_decode(msg_reply_spec(r, 0), &info, text), ERR_OK);
	assert_true(span_eq(info.pattern, plain.pattern) && span_eq(info.reason, plain.reason));
	assert_int_equal(unblock(&c, "te?t"), ERR_OK);
	assert_int_equal(unblock(&c, "te?t"), ERR_NOT_FOUND);
	client_free(&c);
	restart(w);
	client_open(&c, w, 5);
	assert_int_equal(blocked(&c), 0);
	client_free(&c);
}

static void a_block_runs_out_by_itself_and_a_newer_one_of_the_same_pattern_stays(void **state)
{
	struct world *w = *state;
	struct client c, worker;
	struct block_info info = plain;
	info.for_ms = HOUR_MS;
	client_open(&c, w, 1);
	client_open(&worker, w, 2);
	assert_int_equal(block(&c, info), ERR_OK);
	client_serve(&worker, "t", 1);
	expect_blocked(&worker);
	world_run(w, (uint64_t)HOUR_MS * 1000000 / 2);
	assert_int_equal(blocked(&c), 1);
	info.for_ms = 2 * HOUR_MS;
	assert_int_equal(block(&c, info), ERR_OK);
	world_run(w, (uint64_t)HOUR_MS * 1000000);
	assert_int_equal(blocked(&c), 1);
	world_run(w, (uint64_t)HOUR_MS * 1000000 * 3 / 2);
	assert_int_equal(blocked(&c), 0);
	client_serve(&worker, "t", 1);
	client_submit(&c, (struct submit_args){ .type = "t", .producer = 1, .first_seq = 1, .count = 1 });
	(void)take_one(&worker);
	client_free(&c);
	client_free(&worker);
}

static void a_block_that_holds_at_once_gives_the_task_to_somebody_else(void **state)
{
	struct client operator, worker;
	struct block_info info = plain;
	client_open(&operator, *state, 1);
	client_open(&worker, *state, 2);
	client_serve(&worker, "t", 1);
	client_submit(&operator, (struct submit_args){ .type = "t", .producer = 1, .first_seq = 1, .count = 1 });
	(void)client_expect(&operator, FRAME_CONFIRMS);
	struct task_ref ref = take_one(&worker);
	info.now = true;
	info.pattern = span_str("other");
	assert_int_equal(block(&operator, info), ERR_OK); /* somebody else's */
	info.pattern = span_str("te*");
	assert_int_equal(block(&operator, info), ERR_OK);
	struct msg *m = client_expect(&worker, FRAME_GOODBYE);
	assert_int_equal(m->goodbye.code, ERR_BLOCKED);
	assert_int_equal(unblock(&operator, "te*"), ERR_OK);
	client_serve(&operator, "t", 1);
	assert_int_equal(take_one(&operator).task, ref.task);
	client_free(&operator);
	client_free(&worker);
}

static void blocks_are_bounded_and_judged(void **state)
{
	struct client c;
	char name[32], long_reason[LIMIT_REASON_BYTES + 2];
	client_open(&c, *state, 1);
	memset(long_reason, 'x', sizeof long_reason - 1);
	long_reason[sizeof long_reason - 1] = 0;
	assert_int_equal(block(&c, (struct block_info){ .pattern = span_str("") }), ERR_INVALID_INPUT);
	assert_int_equal(block(&c, (struct block_info){ .pattern = span_str("p"), .reason = span_str(long_reason) }), ERR_TOO_BIG);
	assert_int_equal(block(&c, (struct block_info){ .pattern = span_str("p"), .for_ms = UINT64_MAX }), ERR_INVALID_INPUT);
	for (int i = 0; i < 1024; i++) {
		(void)snprintf(name, sizeof name, "w%d", i);
		assert_int_equal(block(&c, (struct block_info){ .pattern = span_str(name) }), ERR_OK);
	}
	assert_int_equal(block(&c, (struct block_info){ .pattern = span_str("one more") }), ERR_RESOURCE_EXHAUSTED);
	assert_int_equal(block(&c, (struct block_info){ .pattern = span_str("w7") }), ERR_OK);
	struct msg_reply *r = client_ask(&c, (struct msg_request){ .verb = VERB_WORKER_BLOCKED });
	assert_int_equal(r->spec_count, 512);
	r = client_ask(&c, (struct msg_request){ .verb = VERB_WORKER_BLOCKED, .cursor = r->next });
	assert_int_equal(r->spec_count, 512);
	assert_int_equal(r->next, 0);
	client_free(&c);
}

static void serve_two(struct client *c)
{
	struct msg *m = calloc(1, sizeof *m);
	assert_non_null(m);
	m->kind = FRAME_SERVE;
	m->serve.entries[0] = (struct wire_entry){ .id = 1, .service = span_str("a"), .params = span_str("x=1"), .credit = 3 };
	m->serve.entries[1] = (struct wire_entry){ .id = 2, .service = span_str("a"), .params = span_str("x=2") };
	m->serve.entries[2] = (struct wire_entry){ .id = 3, .service = span_str("b") };
	m->serve.count = 3;
	client_send(c, m, 0, (struct span){ NULL, 0 });
	free(m);
}

static struct msg_reply *remove_entries(struct client *c, const char *service, const char *where, uint64_t session)
{
	return client_ask(c, (struct msg_request){ .verb = VERB_ENTRY_REMOVE, .name = span_str(service), .text = span_str(where),
						   .session = session });
}

static void entries_are_removed_by_service_or_by_their_parameters_and_only_by_their_own_session(void **state)
{
	struct world *w = *state;
	struct client mine, theirs;
	client_open(&mine, w, 1);
	client_open(&theirs, w, 2);
	serve_two(&mine);
	assert_int_equal(remove_entries(&mine, "a", "x == 2", 0)->count, 1);
	uint64_t session = w->shard->slots[0]->number;
	assert_int_equal(remove_entries(&theirs, "a", "", session)->code, ERR_PERMISSION);
	assert_int_equal(remove_entries(&theirs, "a", "", 0x7777)->code, ERR_PERMISSION); /* whether there is one or not */
	assert_int_equal(remove_entries(&theirs, "a", "", 0)->count, 0);
	assert_int_equal(remove_entries(&mine, "a", "x ==", 0)->code, ERR_INVALID_INPUT);
	assert_int_equal(remove_entries(&mine, "", "", 0)->code, ERR_INVALID_INPUT);
	assert_int_equal(w->shard->slots[0]->entry_count, 2);
	assert_int_equal(remove_entries(&mine, "a", "", session)->count, 1);
	assert_int_equal(remove_entries(&mine, "a", "", 0)->count, 0);
	assert_int_equal(w->shard->slots[0]->consumer_count, 1);
	client_submit(&theirs, (struct submit_args){ .type = "a", .producer = 1, .first_seq = 1, .count = 1 });
	(void)client_expect(&theirs, FRAME_CONFIRMS);
	assert_int_equal(client_ask(&mine, (struct msg_request){ .verb = VERB_STATS })->code, ERR_OK); /* nothing was delivered */
	client_free(&mine);
	client_free(&theirs);
}

static void a_worker_is_shown_with_what_it_serves_holds_and_has_done(void **state)
{
	struct client operator, worker;
	struct worker_show show;
	struct worker_entry_info entry;
	struct worker_lease_info lease;
	struct span texts[LIMIT_SERVE_TEXTS];
	char text[128], number[24];
	client_open(&operator, *state, 1);
	client_open(&worker, *state, 2);
	serve_two(&worker);
	client_submit(&operator, (struct submit_args){ .type = "a", .producer = 1, .first_seq = 1, .count = 2 });
	(void)client_expect(&operator, FRAME_CONFIRMS);
	struct msg *m = client_expect(&worker, FRAME_DELIVER);
	struct task_ref ref = { m->deliver.items[0].task, m->deliver.items[0].attempt, m->deliver.epoch };
	client_report(&worker, ref, REPORT_COMPLETE, "");
	(void)client_expect(&worker, FRAME_REPORTED);
	(void)snprintf(number, sizeof number, "%llx", (unsigned long long)((struct world *)*state)->shard->slots[1]->number);
	struct msg_reply *r = client_ask(&operator, (struct msg_request){ .verb = VERB_WORKER_SHOW, .name = span_str(number) });
	assert_int_equal(r->code, ERR_OK);
	assert_int_equal(worker_show_decode(msg_reply_spec(r, 0), &show, text), ERR_OK);
	assert_int_equal(show.entry_count, 3);
	assert_int_equal(show.delivered_total, 2);
	assert_int_equal(show.completed_total, 1);
	assert_int_equal(show.leased, 1);
	assert_int_equal(show.lease_count, 1);
	worker_show_entry(&show, 0, &entry, texts);
	assert_true(span_eq(entry.entry.params, span_str("x=1")));
	assert_int_equal(entry.entry.credit, 1);
	assert_int_equal(entry.tasks, 1);
	worker_show_lease(&show, 0, &lease);
	assert_int_equal(lease.task, ref.task + 1);
	assert_true(span_eq(lease.queue, span_str("a")));
	r = client_ask(&operator, (struct msg_request){ .verb = VERB_WORKER_SHOW, .name = span_str("test") });
	assert_int_equal(r->next, 1); /* the operator calls itself so, too */
	r = client_ask(&operator, (struct msg_request){ .verb = VERB_WORKER_SHOW, .name = span_str("nobody") });
	assert_int_equal(r->code, ERR_NOT_FOUND);
	client_free(&operator);
	client_free(&worker);
}

static void a_worker_is_asked_to_stop_and_gets_no_more_work(void **state)
{
	struct client operator, worker;
	client_open(&operator, *state, 1);
	client_open(&worker, *state, 2);
	client_serve(&worker, "t", 5);
	struct msg_reply *r = client_ask(&operator, (struct msg_request){ .verb = VERB_WORKER_STOP, .name = span_str("test") });
	assert_int_equal(r->code, ERR_OK);
	assert_int_equal(r->count, 1);
	struct msg *m = client_expect(&worker, FRAME_SIGNALS);
	assert_int_equal(m->signals.items[0].signal, SIGNAL_STOP);
	client_submit(&operator, (struct submit_args){ .type = "t", .producer = 1, .first_seq = 1, .count = 1 });
	(void)client_expect(&operator, FRAME_CONFIRMS);
	assert_int_equal(client_ask(&worker, (struct msg_request){ .verb = VERB_STATS })->code, ERR_OK);
	client_free(&operator);
	client_free(&worker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_blocked_client_gets_nothing_and_finishes_what_it_holds, setup, teardown),
		cmocka_unit_test_setup_teardown(a_block_is_there_after_a_restart_from_the_log_and_from_a_checkpoint, setup, teardown),
		cmocka_unit_test_setup_teardown(a_block_runs_out_by_itself_and_a_newer_one_of_the_same_pattern_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(a_block_that_holds_at_once_gives_the_task_to_somebody_else, setup, teardown),
		cmocka_unit_test_setup_teardown(blocks_are_bounded_and_judged, setup, teardown),
		cmocka_unit_test_setup_teardown(
			entries_are_removed_by_service_or_by_their_parameters_and_only_by_their_own_session, setup, teardown),
		cmocka_unit_test_setup_teardown(a_worker_is_shown_with_what_it_serves_holds_and_has_done, setup, teardown),
		cmocka_unit_test_setup_teardown(a_worker_is_asked_to_stop_and_gets_no_more_work, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
