/* tests/unit/test_shard_admin.c: every verb of administration through a session, and what it says when it refuses. */
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

static uint64_t submit(struct client *c, const char *type, uint64_t seq, uint32_t count)
{
	client_submit(c, (struct submit_args){ .type = type, .producer = 9, .first_seq = seq, .count = count, .size = 16 });
	struct msg *m = client_expect(c, FRAME_CONFIRMS);
	assert_int_equal(m->confirms.runs[0].code, ERR_OK);
	return m->confirms.runs[0].first_task;
}

static struct queue_info queue(struct client *c, const char *name)
{
	struct queue_info info;
	struct msg_reply *r = client_ask(c, (struct msg_request){ .verb = VERB_QUEUE_SHOW, .name = span_str(name) });
	assert_int_equal(r->code, ERR_OK);
	assert_int_equal(r->queue_count, 1);
	msg_reply_queue(r, 0, &info);
	return info;
}

static void a_queue_is_created_once_and_listed(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	struct queue_settings settings = QUEUE_SETTINGS_UNSET;
	settings.length_max = 5;
	struct msg_request create = { .verb = VERB_QUEUE_CREATE, .name = span_str("jobs"), .settings = settings };
	assert_int_equal(client_ask(&c, create)->code, ERR_OK);
	create.settings.length_max = 6;
	assert_int_equal(client_ask(&c, create)->code, ERR_EXISTS);
	assert_int_equal(queue(&c, "jobs").settings.length_max, 5);
	settings.length_max = 7;
	(void)client_ask(&c, (struct msg_request){ .verb = VERB_QUEUE_SET, .name = span_str("jobs"), .settings = settings });
	assert_int_equal(queue(&c, "jobs").settings.length_max, 7);
	struct msg_reply *r = client_ask(&c, (struct msg_request){ .verb = VERB_QUEUE_LIST });
	assert_int_equal(r->queue_count, 1);
	client_free(&c);
}

static void a_queue_that_does_not_exist_is_named_in_the_refusal(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	static const uint16_t verbs[] = { VERB_QUEUE_SHOW, VERB_QUEUE_PURGE, VERB_QUEUE_PAUSE, VERB_QUEUE_RESUME,
					  VERB_QUEUE_REMOVE, VERB_QUEUE_PEEK, VERB_DLQ_LIST, VERB_DLQ_REDRIVE,
					  VERB_DLQ_PURGE, VERB_TASK_LIST, VERB_QUEUE_SET };
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		struct msg_reply *r = client_ask(&c, (struct msg_request){ .verb = verbs[i], .name = span_str("nowhere"), .limit = 10 });
		assert_int_equal(r->code, ERR_NOT_FOUND);
		assert_true(r->text.len > 0);
	}
	client_free(&c);
}

static void a_task_is_shown_peeked_listed_and_cancelled(void **state)
{
	struct client c;
	struct task_info info;
	client_open(&c, *state, 1);
	uint64_t task = submit(&c, "t", 1, 3);
	struct u64s one = { &task, 1 };
	struct msg_reply *r = client_ask(&c, (struct msg_request){ .verb = VERB_TASK_SHOW, .tasks = one });
	assert_int_equal(r->task_count, 1);
	msg_reply_task(r, 0, &info);
	assert_int_equal(info.state, TASK_READY);
	assert_int_equal(info.size, 16);
	assert_memory_equal(info.type.data, "t", 1);
	r = client_ask(&c, (struct msg_request){ .verb = VERB_TASK_PEEK, .tasks = one });
	msg_reply_task(r, 0, &info);
	assert_int_equal(info.payload.len, 16);
	assert_int_equal(info.payload.data[0], 1);
	r = client_ask(&c, (struct msg_request){ .verb = VERB_TASK_LIST, .name = span_str("t"), .state = TASK_READY, .limit = 2 });
	assert_int_equal(r->task_count, 2);
	assert_true(r->next > 0);
	r = client_ask(&c, (struct msg_request){ .verb = VERB_QUEUE_PEEK, .name = span_str("t"), .limit = 10 });
	assert_int_equal(r->task_count, 3);
	r = client_ask(&c, (struct msg_request){ .verb = VERB_TASK_CANCEL, .tasks = one });
	assert_int_equal(r->code, ERR_OK);
	assert_int_equal(r->count, 1);
	r = client_ask(&c, (struct msg_request){ .verb = VERB_TASK_SHOW, .tasks = one });
	msg_reply_task(r, 0, &info);
	assert_int_equal(info.state, TASK_CANCELLED);
	assert_int_equal(info.size, 16);
	assert_int_equal(queue(&c, "t").ready, 2);
	task = 999;
	r = client_ask(&c, (struct msg_request){ .verb = VERB_TASK_SHOW, .tasks = one });
	assert_int_equal(r->code, ERR_NOT_FOUND);
	r = client_ask(&c, (struct msg_request){ .verb = VERB_TASK_CANCEL, .tasks = one });
	assert_int_equal(r->code, ERR_NOT_FOUND);
	r = client_ask(&c, (struct msg_request){ .verb = VERB_TASK_SHOW });
	assert_int_equal(r->code, ERR_INVALID_INPUT);
	client_free(&c);
}

static void a_paused_queue_delivers_nothing_until_it_is_resumed(void **state)
{
	struct client c, worker;
	struct world *w = *state;
	client_open(&c, w, 1);
	client_open(&worker, w, 2);
	(void)submit(&c, "t", 1, 3);
	assert_int_equal(client_ask(&c, (struct msg_request){ .verb = VERB_QUEUE_PAUSE, .name = span_str("t") })->code, ERR_OK);
	client_serve(&worker, "t", 10);
	world_run(w, SIM_S);
	assert_false(client_poll(&worker));
	assert_true(queue(&c, "t").paused);
	assert_int_equal(queue(&c, "t").workers, 1);
	assert_int_equal(client_ask(&c, (struct msg_request){ .verb = VERB_QUEUE_RESUME, .name = span_str("t") })->code, ERR_OK);
	assert_int_equal(client_expect(&worker, FRAME_DELIVER)->deliver.count, 3);
	client_free(&c);
	client_free(&worker);
}

static void a_queue_is_purged_and_then_removed(void **state)
{
	struct client c, worker;
	struct world *w = *state;
	client_open(&c, w, 1);
	(void)submit(&c, "t", 1, 30);
	struct msg_request remove = { .verb = VERB_QUEUE_REMOVE, .name = span_str("t") };
	assert_int_not_equal(client_ask(&c, remove)->code, ERR_OK);
	struct msg_reply *r = client_ask(&c, (struct msg_request){ .verb = VERB_QUEUE_PURGE, .name = span_str("t") });
	assert_int_equal(r->code, ERR_OK);
	assert_int_equal(r->count, 30);
	client_open(&worker, w, 2);
	client_serve(&worker, "t", 10);
	world_run(w, SIM_S);
	assert_int_equal(client_ask(&c, remove)->code, ERR_OK);
	assert_int_equal(client_ask(&c, remove)->code, ERR_NOT_FOUND);
	/* The entry is remembered by name and finds the queue when it comes again. */
	(void)submit(&c, "t", 31, 2);
	assert_int_equal(client_expect(&worker, FRAME_DELIVER)->deliver.count, 2);
	client_free(&c);
	client_free(&worker);
}

static void a_dead_letter_is_listed_and_redriven(void **state)
{
	struct client c, worker;
	struct world *w = *state;
	client_open(&c, w, 1);
	client_open(&worker, w, 2);
	client_serve(&worker, "t", 10);
	uint64_t task = submit(&c, "t", 1, 1);
	struct msg *m = client_expect(&worker, FRAME_DELIVER);
	struct task_ref ref = { m->deliver.items[0].task, m->deliver.items[0].attempt, m->deliver.epoch };
	client_report(&worker, ref, REPORT_REJECT, "never again");
	assert_int_equal(client_expect(&worker, FRAME_REPORTED)->reported.items[0].state, TASK_DEAD);
	struct msg_reply *r = client_ask(&c, (struct msg_request){ .verb = VERB_DLQ_LIST, .name = span_str("t"), .limit = 10 });
	assert_int_equal(r->task_count, 1);
	struct task_info info;
	msg_reply_task(r, 0, &info);
	assert_int_equal(info.task, task);
	assert_int_equal(info.reason.len, 11);
	r = client_ask(&c, (struct msg_request){ .verb = VERB_DLQ_REDRIVE, .name = span_str("t"), .limit = 10 });
	assert_int_equal(r->code, ERR_OK);
	assert_int_equal(r->count, 1);
	assert_int_equal(client_expect(&worker, FRAME_DELIVER)->deliver.items[0].task, task);
	client_free(&c);
	client_free(&worker);
}

static void stats_and_workers_are_listed(void **state)
{
	struct client c, worker;
	struct world *w = *state;
	client_open(&c, w, 1);
	client_open(&worker, w, 2);
	client_serve(&worker, "t", 10);
	(void)submit(&c, "t", 1, 1);
	(void)client_expect(&worker, FRAME_DELIVER);
	struct msg_reply *r = client_ask(&c, (struct msg_request){ .verb = VERB_WORKER_LIST });
	assert_int_equal(r->worker_count, 1);
	struct worker_info info;
	msg_reply_worker(r, 0, &info);
	assert_int_equal(info.leased, 1);
	assert_int_equal(info.credit, 9);
	assert_memory_equal(info.name.data, "test", 4);
	r = client_ask(&c, (struct msg_request){ .verb = VERB_STATS });
	assert_int_equal(r->code, ERR_OK);
	bool found = false;
	for (uint32_t i = 0; i < r->stat_count; i++) {
		struct stat_item stat;
		msg_reply_stat(r, i, &stat);
		if (span_eq(stat.name, span_str("delivered_total"))) {
			found = true;
			assert_true(stat.value > 0.5 && stat.value < 1.5);
		}
	}
	assert_true(found);
	assert_int_equal(client_ask(&c, (struct msg_request){ .verb = VERB_CHECKPOINT })->code, ERR_OK);
	client_free(&c);
	client_free(&worker);
}

static void what_a_settled_task_was_is_shown_with_its_result(void **state)
{
	struct client c, worker;
	struct world *w = *state;
	struct task_info open, done;
	client_open(&c, w, 1);
	client_open(&worker, w, 2);
	uint64_t task = submit(&c, "t", 1, 2) + 1;
	struct msg_request show = { .verb = VERB_TASK_SHOW, .tasks = { &task, 1 } };
	msg_reply_task(client_ask(&c, show), 0, &open);
	client_serve(&worker, "t", 10);
	struct msg *m = client_expect(&worker, FRAME_DELIVER);
	assert_int_equal(m->deliver.items[1].task, task);
	struct task_ref ref = { task, m->deliver.items[1].attempt, m->deliver.epoch };
	client_report(&worker, ref, REPORT_COMPLETE, "a result");
	assert_int_equal(client_expect(&worker, FRAME_REPORTED)->reported.items[0].state, TASK_DONE);
	struct msg_reply *r = client_ask(&c, show);
	msg_reply_task(r, 0, &done);
	assert_int_equal(done.state, TASK_DONE);
	assert_true(span_eq(done.type, span_str("t")));
	assert_true(span_eq(done.queue, span_str("t")));
	assert_int_equal(done.size, 16);
	assert_true(done.submitted_ms > 0);
	assert_int_equal(done.submitted_ms, open.submitted_ms);
	show.verb = VERB_TASK_PEEK;
	msg_reply_task(client_ask(&c, show), 0, &done);
	assert_true(span_eq(done.result, span_str("a result")));
	assert_int_equal(done.payload.len, 16);
	assert_int_equal(done.payload.data[15], 2);
	client_free(&c);
	client_free(&worker);
}

static void the_entries_that_serve_a_queue_are_counted(void **state)
{
	struct client c, workers[2];
	struct world *w = *state;
	client_open(&c, w, 1);
	client_open(&workers[0], w, 2);
	client_open(&workers[1], w, 3);
	client_serve(&workers[0], "t", 10);
	client_serve(&workers[1], "t", 0); /* one without credit serves, too */
	world_run(w, SIM_S);
	(void)submit(&c, "t", 1, 1); /* makes the queue that they wait for */
	assert_int_equal(queue(&c, "t").workers, 2);
	client_serve(&workers[0], "t", 5); /* declared again: the same one */
	world_run(w, SIM_S);
	assert_int_equal(queue(&c, "t").workers, 2);
	client_serve(&workers[0], "other", 5);
	world_run(w, SIM_S);
	assert_int_equal(queue(&c, "t").workers, 1);
	client_free(&workers[1]); /* cut */
	world_run(w, SIM_S);
	assert_int_equal(queue(&c, "t").workers, 0);
	(void)client_ask(&c, (struct msg_request){ .verb = VERB_QUEUE_CREATE, .name = span_str("other") });
	assert_int_equal(queue(&c, "other").workers, 1);
	assert_int_equal(client_ask(&c, (struct msg_request){ .verb = VERB_QUEUE_REMOVE, .name = span_str("other") })->code, ERR_OK);
	(void)client_ask(&c, (struct msg_request){ .verb = VERB_QUEUE_CREATE, .name = span_str("other") });
	assert_int_equal(queue(&c, "other").workers, 1);
	client_free(&c);
	client_free(&workers[0]);
}

static void a_worker_is_told_when_its_task_is_cancelled(void **state)
{
	struct client c, worker;
	struct world *w = *state;
	client_open(&c, w, 1);
	client_open(&worker, w, 2);
	client_serve(&worker, "t", 10);
	uint64_t task = submit(&c, "t", 1, 1);
	(void)client_expect(&worker, FRAME_DELIVER);
	(void)client_ask(&c, (struct msg_request){ .verb = VERB_TASK_CANCEL, .tasks = { &task, 1 } });
	struct msg *m = client_expect(&worker, FRAME_SIGNALS);
	assert_int_equal(m->signals.items[0].signal, SIGNAL_CANCEL);
	assert_int_equal(m->signals.items[0].ref.task, task);
	client_report(&worker, m->signals.items[0].ref, REPORT_CANCELLED, "");
	m = client_expect(&worker, FRAME_REPORTED);
	assert_int_equal(m->reported.items[0].state, TASK_CANCELLED);
	client_free(&c);
	client_free(&worker);
}

static void an_unknown_verb_is_refused_alone(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	struct msg m = { .kind = FRAME_REQUEST, .request = { .verb = 999, .settings = QUEUE_SETTINGS_UNSET } };
	client_send(&c, &m, 4, (struct span){ NULL, 0 });
	struct msg *e = client_expect(&c, FRAME_ERROR);
	assert_int_equal(e->error.code, ERR_UNSUPPORTED);
	assert_false(e->error.fatal);
	assert_int_equal(c.frame.correlation, 4);
	client_free(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void a_large_purge_is_answered_when_the_last_piece_is_gone(void **state)
{
	enum { FRAME = 4096, FRAMES = 10 };
	struct client c, other;
	client_open(&c, *state, 1);
	client_open(&other, *state, 2);
	for (uint64_t i = 0; i < FRAMES; i++) {
		client_submit(&c, (struct submit_args){ .type = "t", .producer = 9, .first_seq = 1 + i * FRAME, .count = FRAME });
		assert_int_equal(client_expect(&c, FRAME_CONFIRMS)->confirms.runs[0].code, ERR_OK);
	}
	struct msg m = { .kind = FRAME_REQUEST };
	m.request = (struct msg_request){ .verb = VERB_QUEUE_PURGE, .name = span_str("t"), .settings = QUEUE_SETTINGS_UNSET };
	client_send(&other, &m, 5, span_of(NULL, 0));
	assert_int_equal(client_expect(&other, FRAME_REPLY)->reply.count, FRAMES * FRAME);
	assert_int_equal(other.frame.correlation, 5);
	assert_int_equal(queue(&c, "t").ready, 0);
	assert_int_equal(queue(&c, "t").cancelled_total, FRAMES * FRAME);
	client_send(&other, &m, 6, span_of(NULL, 0)); /* of nothing */
	assert_int_equal(client_expect(&other, FRAME_REPLY)->reply.count, 0);
	client_free(&other);
	client_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_large_purge_is_answered_when_the_last_piece_is_gone, setup, teardown),
		TEST(a_queue_is_created_once_and_listed),
		TEST(a_queue_that_does_not_exist_is_named_in_the_refusal),
		TEST(a_task_is_shown_peeked_listed_and_cancelled),
		TEST(a_paused_queue_delivers_nothing_until_it_is_resumed),
		TEST(a_queue_is_purged_and_then_removed),
		TEST(a_dead_letter_is_listed_and_redriven),
		TEST(stats_and_workers_are_listed),
		TEST(what_a_settled_task_was_is_shown_with_its_result),
		TEST(the_entries_that_serve_a_queue_are_counted),
		TEST(a_worker_is_told_when_its_task_is_cancelled),
		TEST(an_unknown_verb_is_refused_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
