/* The client library against the broker of client_world.h: connections, submissions, work and results as they should go. */
#include "client_world.h"

static void test_equal_submissions_travel_together_and_one_run_confirms_them(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .confirms = 0 };
	(void)state;
	welcome(b, c, false, 60000);
	submit_some(c, 500, &log);
	hear(b, c, FRAME_SUBMIT);
	assert_int_equal(b->msg.submit.sizes.count, 500);
	assert_int_equal(b->msg.submit.first_seq, 1);
	uint64_t producer = b->msg.submit.producer;
	confirm(b, producer, (struct confirm_run){ 1, 1000, 400, ERR_OK, 0, 0 }, NULL);
	UNTIL(c, log.confirms == 400);
	assert_int_equal(log.last, 1399);
	confirm(b, producer, (struct confirm_run){ 401, 0, 100, ERR_QUEUE_FULL, 0, 0 }, "queue t.X is full");
	UNTIL(c, log.refusals == 100);
	assert_int_equal(log.code, HLK_QUEUE_FULL);
	assert_memory_equal(log.text, "queue t.X is full", 17);
	confirm(b, producer, (struct confirm_run){ 1, 1000, 500, ERR_OK, 0, 0 }, NULL); /* late: everything has its answer */
	assert_int_equal(hlk_run(c, 20), HLK_OK);
	assert_int_equal(log.confirms, 400);
	submit_some(c, 1, &log);
	hear(b, c, FRAME_SUBMIT);
	assert_int_equal(b->msg.submit.first_seq, 501);
	assert_int_equal(b->msg.submit.resolved_below, 501);
	hlk_close(c, 0);
	assert_int_equal(log.code, HLK_CLOSED);
	broker_free(b);
}

static void test_unconfirmed_submissions_are_sent_again_as_the_same_bytes(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .confirms = 0 };
	struct buf first = { 0 };
	(void)state;
	welcome(b, c, false, 60000);
	submit_some(c, 10, &log);
	hear(b, c, FRAME_SUBMIT);
	buf_append(&first, b->in.data, b->used);
	confirm(b, b->msg.submit.producer, (struct confirm_run){ 1, 70, 4, ERR_OK, 0, 0 }, NULL);
	UNTIL(c, log.confirms == 4);
	broker_cut(b);
	for (int resumed = 1; resumed >= 0; resumed--) {
		welcome(b, c, resumed, 60000);
		hear(b, c, FRAME_SUBMIT);
		assert_int_equal(b->used, first.len);
		assert_memory_equal(b->in.data, first.data, first.len);
		if (resumed)
			broker_cut(b);
	}
	confirm(b, b->msg.submit.producer, (struct confirm_run){ 1, 70, 10, ERR_OK, 0, 1 }, NULL);
	UNTIL(c, log.confirms == 10);
	assert_int_equal(hlk_unconfirmed(c), 0);
	hlk_close(c, 0);
	buf_free(&first);
	broker_free(b);
}

static void test_a_resumed_session_keeps_its_tasks_and_repeats_its_reports(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .confirms = 0 };
	(void)state;
	serve(c, 4, false, &log);
	welcome(b, c, false, 60000);
	hear(b, c, FRAME_SERVE);
	assert_int_equal(b->msg.serve.entries[0].credit, 4);
	deliver(b, 1, 11, "a");
	deliver(b, 1, 12, "b");
	UNTIL(c, log.tasks == 2);
	assert_int_equal(hlk_run(c, 0), HLK_OK); /* the starts are on their way */
	assert_int_equal(hlk_complete(log.kept[0], "A", 1), HLK_OK);
	assert_int_equal(hlk_flush(c), HLK_OK);
	broker_cut(b);
	welcome(b, c, true, 60000);
	hear(b, c, FRAME_SERVE); /* names the leases that it knows of before a report ends one */
	assert_int_equal(b->msg.serve.entries[0].credit, 3);
	assert_true(b->msg.serve.has_held);
	assert_int_equal(b->msg.serve.held_count, 2);
	assert_int_equal(b->msg.serve.held[0].task + b->msg.serve.held[1].task, 11 + 12);
	hear(b, c, FRAME_REPORT); /* the result of 11, as it was */
	assert_int_equal(b->msg.report.count, 1);
	assert_int_equal(b->msg.report.items[0].verb, REPORT_COMPLETE);
	assert_int_equal(b->msg.report.items[0].ref.task, 11);
	hear(b, c, FRAME_REPORT); /* the start of 12, which is still in work */
	assert_int_equal(b->msg.report.items[0].verb, REPORT_START);
	assert_int_equal(b->msg.report.items[0].ref.task, 12);
	deliver(b, 1, 12, "b"); /* what the cut may have swallowed, again */
	deliver(b, 1, 11, "a");
	deliver(b, 1, 13, "c");
	UNTIL(c, log.tasks == 3);
	assert_int_equal(hlk_task_info(log.kept[2])->id, 13);
	assert_string_equal(log.text, "");
	reported(b, 11, REPORT_COMPLETE, ERR_OK);
	UNTIL(c, log.confirms == 1);
	assert_int_equal(log.last, 11);
	assert_int_equal(log.code, HLK_OK);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_a_session_that_is_new_has_lost_its_tasks_but_not_its_reports(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .confirms = 0 };
	(void)state;
	serve(c, 4, true, &log);
	welcome(b, c, false, 60000);
	hear(b, c, FRAME_SERVE);
	deliver(b, 1, 21, "a");
	deliver(b, 1, 22, "b");
	UNTIL(c, log.tasks == 2);
	assert_int_equal(hlk_complete(log.kept[0], "A", 1), HLK_OK);
	hear(b, c, FRAME_REPORT);
	assert_int_equal(b->msg.report.count, 1); /* manual_start: no start was reported */
	broker_cut(b);
	welcome(b, c, false, 60000);
	hear(b, c, FRAME_REPORT);
	assert_int_equal(b->msg.report.items[0].ref.task, 21);
	assert_string_equal(log.text, "lease-lost ");
	reported(b, 21, REPORT_COMPLETE, ERR_STALE_LEASE);
	UNTIL(c, log.confirms == 1);
	assert_int_equal(log.code, HLK_STALE_LEASE);
	assert_int_equal(hlk_complete(log.kept[1], "B", 1), HLK_OK); /* lost: settles nothing */
	UNTIL(c, log.confirms == 2);
	assert_int_equal(log.last, 22);
	assert_int_equal(log.code, HLK_STALE_LEASE);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_a_report_that_met_a_full_broker_is_made_again(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .confirms = 0 };
	(void)state;
	serve(c, 1, true, &log);
	welcome(b, c, false, 60000);
	hear(b, c, FRAME_SERVE);
	deliver(b, 1, 31, "a");
	UNTIL(c, log.tasks == 1);
	assert_int_equal(hlk_complete(log.kept[0], "A", 1), HLK_OK);
	hear(b, c, FRAME_REPORT);
	hear(b, c, FRAME_CREDIT);
	assert_int_equal(b->msg.credit.items[0].credit, 1);
	reported(b, 31, REPORT_COMPLETE, ERR_RESOURCE_EXHAUSTED);
	hear(b, c, FRAME_REPORT);
	assert_int_equal(log.confirms, 0);
	reported(b, 31, REPORT_COMPLETE, ERR_OK);
	UNTIL(c, log.confirms == 1);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_a_silent_broker_is_left_and_dialled_again(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	(void)state;
	welcome(b, c, false, 20);
	hear(b, c, FRAME_PING);
	int silent = b->conn;
	b->conn = -1; /* never answers, never closes */
	b->in.len = b->used = 0;
	welcome(b, c, true, 60000);
	assert_true(b->msg.hello.resume);
	(void)close(silent);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_garbage_and_wrong_frames_cost_the_connection_only(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .confirms = 0 };
	(void)state;
	serve(c, 1, false, &log);
	for (int kind = 0; kind < 6; kind++) {
		uint8_t garbage[64];
		const struct msg wrong = { .kind = FRAME_PING, .ping = { .echo = 1 } };
		const struct msg foreign = { .kind = FRAME_HELLO, .hello = { .versions = { 1 }, .version_count = 1 } };
		memset(garbage, kind == 0 ? 0xff : 0x08, sizeof garbage);
		if (kind == 2) {
			hear(b, c, FRAME_HELLO);
			say(b, &wrong, 0, NULL); /* instead of a welcome */
		} else {
			welcome(b, c, false, 60000);
			if (kind == 3)
				say(b, &foreign, 0, NULL);
			else if (kind == 4)
				deliver(b, 99, 1, "x"); /* to an entry that is not there */
			else if (kind == 5)
				deliver(b, 1, 0, "x"); /* no task has this number */
			else
				send_bytes(b, span_of(garbage, sizeof garbage));
			UNTIL(c, !hlk_connected(c));
		}
		if (kind == 2) {
			const int old = b->conn;
			b->conn = -1;
			b->in.len = b->used = 0;
			welcome(b, c, false, 60000);
			(void)close(old);
		}
		broker_cut(b);
		UNTIL(c, !hlk_connected(c));
	}
	welcome(b, c, false, 60000);
	assert_int_equal(log.tasks, 0);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_frames_that_arrive_byte_by_byte_are_understood(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .confirms = 0 };
	struct buf out = { 0 };
	(void)state;
	welcome(b, c, false, 60000);
	submit_some(c, 3, &log);
	hear(b, c, FRAME_SUBMIT);
	const struct confirm_run run = { 1, 5, 3, ERR_OK, 0, 0 };
	const struct msg_confirms m = { .producer = b->msg.submit.producer, .runs = &run, .run_count = 1 };
	msg_encode_confirms(&out, &m);
	for (size_t i = 0; i < out.len; i++) {
		assert_int_equal(log.confirms, 0);
		send_bytes(b, span_of(out.data + i, 1));
		assert_int_equal(hlk_run(c, 1000), HLK_OK);
	}
	UNTIL(c, log.confirms == 3);
	buf_free(&out);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_awaits_are_repeated_after_a_cut_and_end_at_their_deadline(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .confirms = 0 }, late = { .confirms = 0 };
	(void)state;
	assert_int_equal(hlk_await(c, 41, HLK_FOREVER, on_result, &log), HLK_OK);
	welcome(b, c, false, 60000);
	hear(b, c, FRAME_AWAIT);
	assert_int_equal(b->msg.tasks.tasks.at[0], 41);
	broker_cut(b);
	welcome(b, c, true, 60000);
	hear(b, c, FRAME_AWAIT);
	assert_int_equal(b->msg.tasks.tasks.at[0], 41);
	const struct result_item item = { .task = 41, .size = 2, .code = ERR_OK, .state = TASK_DONE };
	const struct msg msg = { .kind = FRAME_RESULTS, .results = { .items = &item, .count = 1 } };
	say(b, &msg, 0, "ok");
	say(b, &msg, 0, "ok"); /* a repeat is dropped */
	UNTIL(c, log.results == 1);
	assert_string_equal(log.text, "done ");
	assert_int_equal(hlk_await(c, 42, 30, on_result, &late), HLK_OK);
	UNTIL(c, late.results == 1);
	assert_int_equal(late.code, HLK_TIMEOUT);
	hear(b, c, FRAME_FORGET);
	assert_int_equal(b->msg.tasks.tasks.at[0], 42);
	assert_int_equal(log.results, 1);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_a_node_that_refuses_is_followed_by_the_next(void **state)
{
	struct broker *dead = broker_tcp(), *b = broker_unix();
	char urls[300];
	(void)state;
	(void)snprintf(urls, sizeof urls, "%s,%s", dead->url, b->url);
	broker_free(dead); /* nobody listens there any more */
	struct hlk *c = open_client(urls);
	welcome(b, c, false, 60000);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_connecting_says_what_failed_and_how_often(void **state)
{
	struct broker *dead = broker_tcp();
	struct hlk *c = (struct hlk *)(void *)dead;
	struct hlk_error error;
	char url[128];
	(void)state;
	memcpy(url, dead->url, sizeof url);
	broker_free(dead);
	assert_int_equal(hlk_connect(url, 100, &c, &error), HLK_NETWORK);
	assert_null(c);
	assert_int_equal(error.kind, HLK_KIND_NETWORK);
	assert_non_null(strstr(error.text, url));
	assert_non_null(strstr(error.text, "Connection refused ("));
	assert_int_equal(hlk_connect("tcp://", 100, &c, &error), HLK_INVALID_INPUT);
	assert_int_equal(hlk_connect("unix://relative", 100, &c, &error), HLK_INVALID_INPUT);
	assert_int_equal(hlk_connect("tcp://h:99999", 100, &c, &error), HLK_INVALID_INPUT);
}

static void test_a_refused_session_ends_the_wait_at_once(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	(void)state;
	hear(b, c, FRAME_HELLO);
	const struct msg msg = { .kind = FRAME_ERROR, .error = { .code = ERR_PERMISSION, .text = span_str("bad token"),
								 .fatal = true } };
	say(b, &msg, 0, NULL);
	assert_int_equal(hlk_ready_wait(c, HLK_FOREVER), HLK_PERMISSION);
	assert_int_equal(hlk_last_error(c)->kind, HLK_KIND_AUTH);
	assert_non_null(strstr(hlk_last_error(c)->text, "bad token"));
	hlk_close(c, 0);
	broker_free(b);
}

/* What a poll loop sees without being told: is the descriptor readable once everything is quiet? */
static bool readable(struct hlk *c)
{
	struct pollfd fd = { .fd = hlk_fd(c), .events = POLLIN };
	return poll(&fd, 1, 0) == 1;
}

static void test_an_await_outside_of_a_callback_is_seen_by_a_poll_loop(void **state)
{
	(void)state;
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .code = -1 };
	welcome(b, c, false, 60000);
	for (int64_t end = now_ms() + PATIENCE_MS; readable(c);) {
		assert_true(now_ms() < end);
		assert_int_equal(hlk_process(c), HLK_OK);
	}
	assert_int_equal(hlk_await(c, 7, 60000, on_result, &log), HLK_OK);
	assert_true(readable(c));
	assert_int_equal(hlk_process(c), HLK_OK);
	hear(b, c, FRAME_AWAIT);
	hlk_close(c, 0);
	broker_free(b);
}

struct stubborn { struct hlk_head *head; uint32_t refused, closed; };

static void submit_again(struct hlk *c, const struct hlk_confirmed *answer, void *ctx)
{
	struct stubborn *s = ctx;
	s->refused += answer->code == HLK_CLOSED;
	if (hlk_submit(c, s->head, "x", 1, submit_again, s) == HLK_CLOSED)
		s->closed++;
	assert_true(s->refused <= 4096); /* else it would go on for ever */
}

static void test_a_callback_that_submits_again_does_not_keep_a_client_open(void **state)
{
	(void)state;
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	const struct hlk_submit_options o = { .type = "t.X" };
	struct stubborn s = { .head = hlk_head_new(&o, NULL) };
	assert_non_null(s.head);
	welcome(b, c, false, 60000);
	for (uint32_t i = 0; i < 4096; i++)
		assert_int_equal(hlk_submit(c, s.head, "x", 1, submit_again, &s), HLK_OK);
	hlk_close(c, 0);
	assert_int_equal(s.refused, 4096);
	assert_int_equal(s.closed, 4096);
	hlk_head_free(s.head);
	broker_free(b);
}

static void test_a_submission_without_confirm_is_resolved_when_written(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .confirms = 0 };
	const struct hlk_submit_options o = { .type = "t.X", .confirm = HLK_CONFIRM_NONE };
	struct hlk_head *head = hlk_head_new(&o, NULL);
	(void)state;
	assert_int_equal(hlk_submit(c, head, "x", 1, on_confirm, &log), HLK_OK);
	hlk_head_free(head);
	assert_int_equal(log.confirms, 0);
	welcome(b, c, false, 60000);
	hear(b, c, FRAME_SUBMIT);
	UNTIL(c, log.confirms == 1);
	assert_int_equal(log.last, 0);
	hlk_close(c, 0);
	broker_free(b);
}

/* Reads until the submission `last` has come, each behind the one before. True: SERVE came before it. */
static bool hear_submissions(struct broker *b, struct hlk *c, uint64_t last)
{
	bool served = false;
	uint64_t next = 1;
	for (int64_t end = now_ms() + PATIENCE_MS; next <= last;) {
		while (next <= last && next_frame(b)) {
			served = served || b->msg.kind == FRAME_SERVE;
			if (b->msg.kind != FRAME_SUBMIT)
				continue;
			assert_int_equal(b->msg.submit.first_seq, next);
			next += b->msg.submit.sizes.count;
		}
		assert_true(now_ms() < end);
		assert_int_equal(hlk_run(c, 2), HLK_OK);
	}
	return served;
}

static void test_submissions_that_the_socket_does_not_take_are_overtaken_and_none_is_lost(void **state)
{
	enum { COUNT = 4096, SIZE = 1000 };
	struct broker *b = broker_unix(); /* its socket takes less than they are */
	struct hlk *c = open_client(b->url);
	struct log log = { .confirms = 0 };
	const struct hlk_submit_options o = { .type = "t.X", .confirm = HLK_CONFIRM_NONE };
	struct hlk_head *head = hlk_head_new(&o, NULL);
	static const char payload[SIZE];
	(void)state;
	welcome(b, c, false, 60000);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(hlk_submit(c, head, payload, SIZE, on_confirm, &log), HLK_OK);
	hlk_head_free(head);
	serve(c, 1, false, &log);
	assert_int_equal(hlk_flush(c), HLK_OK);
	assert_int_equal(log.confirms, 0);
	assert_true(hear_submissions(b, c, COUNT));
	UNTIL(c, log.confirms == COUNT); /* none before it was written, all of them then */
	hlk_close(c, 0);
	broker_free(b);
}

static void test_a_report_does_not_overtake_submissions_that_are_part_of_its_task(void **state)
{
	enum { COUNT = 4096, SIZE = 1000 };
	struct broker *b = broker_unix(); /* its socket takes less than they are */
	struct hlk *c = open_client(b->url);
	struct log log = { .confirms = 0 };
	const struct hlk_submit_options o = { .type = "t.X", .confirm = HLK_CONFIRM_NONE, .parent = 7 };
	struct hlk_head *head = hlk_head_new(&o, NULL);
	static const char payload[SIZE];
	uint64_t next = 1;
	(void)state;
	welcome(b, c, false, 60000);
	serve(c, 1, true, &log);
	hear(b, c, FRAME_SERVE);
	deliver(b, 1, 7, "a");
	UNTIL(c, log.tasks == 1);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(hlk_submit(c, head, payload, SIZE, on_confirm, &log), HLK_OK);
	hlk_head_free(head);
	assert_int_equal(hlk_complete(log.kept[0], "r", 1), HLK_OK);
	for (bool completed = false; !completed;) {
		assert_int_equal(hlk_run(c, 2), HLK_OK);
		while (!completed && next_frame(b)) {
			if (b->msg.kind == FRAME_SUBMIT)
				next += b->msg.submit.sizes.count;
			completed = b->msg.kind == FRAME_REPORT && b->msg.report.items[b->msg.report.count - 1].verb == REPORT_COMPLETE;
		}
	}
	assert_int_equal(next, COUNT + 1);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_a_refused_frame_answers_all_its_submissions(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .confirms = 0 };
	(void)state;
	welcome(b, c, false, 60000);
	submit_some(c, 5, &log);
	hear(b, c, FRAME_SUBMIT);
	const struct msg msg = { .kind = FRAME_ERROR, .error = { .code = ERR_PERMISSION, .text = span_str("no"),
								 .kind = FRAME_SUBMIT } };
	say(b, &msg, b->frame.correlation, NULL);
	UNTIL(c, log.refusals == 5);
	assert_int_equal(log.code, HLK_PERMISSION);
	assert_true(hlk_connected(c));
	const struct hlk_submit_options big = { .type = "t.X" };
	static const char payload[1001];
	assert_int_equal(hlk_submit_wait(c, &big, payload, sizeof payload, 1000, NULL, NULL), HLK_TOO_BIG);
	hlk_close(c, 0);
	broker_free(b);
}

static void count_event(struct hlk *c, const struct hlk_event *event, void *ctx)
{
	(void)c;
	assert_string_equal(event->type, "a.T");
	++*(uint32_t *)ctx;
}

static void test_a_subscription_that_ends_during_a_cut_is_ended_at_the_broker(void **state)
{
	(void)state;
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	uint32_t received = 0, id = 0;
	const struct hlk_subscribe_options o = { .pattern = "a.*", .event = count_event, .ctx = &received };
	assert_non_null(c);
	welcome(b, c, false, 60000);
	assert_int_equal(hlk_subscribe(c, &o, &id), HLK_OK);
	hear(b, c, FRAME_SUBSCRIBE);
	broker_cut(b);
	UNTIL(c, !hlk_connected(c));
	assert_int_equal(hlk_unsubscribe(c, id), HLK_OK);
	welcome(b, c, true, 60000); /* the session that comes back still has it */
	hear(b, c, FRAME_UNSUBSCRIBE);
	assert_int_equal(b->msg.unsubscribe.subscription, id);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_each_of_many_subscriptions_gets_its_credit_back(void **state)
{
	enum { MANY = 600 };
	(void)state;
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	uint32_t received = 0, given = 0;
	const struct hlk_subscribe_options o = { .pattern = "a.*", .credit = 1, .event = count_event, .ctx = &received };
	const struct event_head head = { .type = span_str("a.T") };
	const uint32_t size = 1;
	const struct span payload = span_str("x");
	struct buf bytes = { 0 }, out = { 0 };
	assert_non_null(c);
	welcome(b, c, false, 60000);
	event_head_encode(&bytes, &head);
	const struct msg_events events = { .id = { 1, 1 }, .head = buf_span(&bytes), .sizes = { &size, 1 } };
	for (uint32_t i = 0; i < MANY; i++) {
		uint32_t id;
		assert_int_equal(hlk_subscribe(c, &o, &id), HLK_OK);
		size_t at = out.len;
		msg_encode_events(&out, &events, &payload, 1);
		frame_set_correlation(&out, at, id);
	}
	for (uint32_t i = 0; i < MANY; i++)
		hear(b, c, FRAME_SUBSCRIBE);
	send_bytes(b, buf_span(&out));
	while (given < MANY) {
		hear(b, c, FRAME_EVENT_CREDIT);
		given += b->msg.event_credit.count;
	}
	assert_int_equal(received, MANY);
	buf_free(&bytes);
	buf_free(&out);
	hlk_close(c, 0);
	broker_free(b);
}

struct topic_of { struct hlk_topic *topic; };
static void free_topic(struct hlk *c, const struct hlk_event *event, void *ctx)
{
	struct topic_of *own = ctx;
	(void)c;
	(void)event;
	hlk_topic_free(own->topic);
	own->topic = NULL;
}

/* Nobody else wants it, so nothing but the call itself holds on to the topic. */
static void test_a_handler_may_free_the_topic_it_is_told_of(void **state)
{
	(void)state;
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct topic_of own;
	uint32_t received = 0;
	const struct hlk_subscribe_options first = { .pattern = "a.*", .event = free_topic, .ctx = &own };
	const struct hlk_subscribe_options second = { .pattern = "a.T", .event = count_event, .ctx = &received };
	assert_non_null(c);
	welcome(b, c, false, 60000);
	own.topic = hlk_topic_new(c, &(struct hlk_topic_options){ .type = "a.T" }, NULL);
	assert_non_null(own.topic);
	assert_int_equal(hlk_subscribe(c, &first, NULL), HLK_OK);
	assert_int_equal(hlk_subscribe(c, &second, NULL), HLK_OK);
	assert_int_equal(hlk_topic_ask(own.topic), HLK_OK);
	hear(b, c, FRAME_INTEREST);
	const struct msg nobody = { .kind = FRAME_INTEREST, .interest = { .type = span_str("a.T"), .ttl_ms = 60000,
									  .number = b->msg.interest.number } };
	say(b, &nobody, 0, NULL);
	UNTIL(c, hlk_topic_wanted(own.topic) == 0);
	assert_int_equal(hlk_publish(c, own.topic, "x", 1, NULL, NULL), HLK_OK);
	assert_int_equal(received, 1);
	assert_null(own.topic);
	hlk_close(c, 0);
	broker_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal_submissions_travel_together_and_one_run_confirms_them),
		cmocka_unit_test(test_unconfirmed_submissions_are_sent_again_as_the_same_bytes),
		cmocka_unit_test(test_a_resumed_session_keeps_its_tasks_and_repeats_its_reports),
		cmocka_unit_test(test_a_session_that_is_new_has_lost_its_tasks_but_not_its_reports),
		cmocka_unit_test(test_a_report_that_met_a_full_broker_is_made_again),
		cmocka_unit_test(test_a_silent_broker_is_left_and_dialled_again),
		cmocka_unit_test(test_garbage_and_wrong_frames_cost_the_connection_only),
		cmocka_unit_test(test_frames_that_arrive_byte_by_byte_are_understood),
		cmocka_unit_test(test_awaits_are_repeated_after_a_cut_and_end_at_their_deadline),
		cmocka_unit_test(test_a_node_that_refuses_is_followed_by_the_next),
		cmocka_unit_test(test_connecting_says_what_failed_and_how_often),
		cmocka_unit_test(test_a_refused_session_ends_the_wait_at_once),
		cmocka_unit_test(test_an_await_outside_of_a_callback_is_seen_by_a_poll_loop),
		cmocka_unit_test(test_a_callback_that_submits_again_does_not_keep_a_client_open),
		cmocka_unit_test(test_a_submission_without_confirm_is_resolved_when_written),
		cmocka_unit_test(test_submissions_that_the_socket_does_not_take_are_overtaken_and_none_is_lost),
		cmocka_unit_test(test_a_report_does_not_overtake_submissions_that_are_part_of_its_task),
		cmocka_unit_test(test_a_refused_frame_answers_all_its_submissions),
		cmocka_unit_test(test_a_subscription_that_ends_during_a_cut_is_ended_at_the_broker),
		cmocka_unit_test(test_each_of_many_subscriptions_gets_its_credit_back),
		cmocka_unit_test(test_a_handler_may_free_the_topic_it_is_told_of),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
