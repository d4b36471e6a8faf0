/* The client library against the broker of client_world.h: what a broker refuses, takes back or puts off. */
#include "client_world.h"

/* An ERROR that answers the frame that was heard last. */
static void refuse(struct broker *b, uint32_t correlation, enum err code, const char *text)
{
	const struct msg msg = { .kind = FRAME_ERROR, .error = { .code = (uint16_t)code, .text = span_str(text) } };
	say(b, &msg, correlation, NULL);
}

static void test_a_refused_await_is_answered_and_the_others_wait_on(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log first = { .results = 0 }, second = { .results = 0 };
	(void)state;
	welcome(b, c, false, 60000);
	assert_int_equal(hlk_await(c, 41, HLK_FOREVER, on_result, &first), HLK_OK);
	assert_int_equal(hlk_await(c, 41, HLK_FOREVER, on_result, &first), HLK_OK);
	hear(b, c, FRAME_AWAIT);
	uint32_t correlation = b->frame.correlation;
	assert_int_equal(hlk_await(c, 42, HLK_FOREVER, on_result, &second), HLK_OK);
	hear(b, c, FRAME_AWAIT);
	assert_int_not_equal(b->frame.correlation, correlation);
	refuse(b, correlation, ERR_RESOURCE_EXHAUSTED, "too many are awaited");
	UNTIL(c, first.results == 2);
	assert_int_equal(first.code, HLK_RESOURCE_EXHAUSTED);
	assert_string_equal(first.text, "unknown unknown ");
	assert_int_equal(second.results, 0);
	hear(b, c, FRAME_FORGET);
	assert_int_equal(b->msg.tasks.tasks.at[0], 41);
	assert_true(hlk_connected(c));
	hlk_close(c, 0);
	assert_int_equal(second.code, HLK_CLOSED);
	broker_free(b);
}

static void test_a_call_that_waits_for_a_result_gets_the_refusal(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .results = 0 };
	struct hlk_result result;
	(void)state;
	welcome(b, c, false, 60000);
	assert_int_equal(hlk_await(c, 41, HLK_FOREVER, on_result, &log), HLK_OK);
	hear(b, c, FRAME_AWAIT);
	refuse(b, b->frame.correlation + 1, ERR_RESOURCE_EXHAUSTED, "too many are awaited"); /* the next frame's answer */
	assert_int_equal(hlk_await_wait(c, 42, HLK_FOREVER, &result), HLK_RESOURCE_EXHAUSTED);
	assert_true(hlk_last_error(c)->retryable);
	assert_non_null(strstr(hlk_last_error(c)->text, "too many are awaited"));
	assert_int_equal(log.results, 0);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_a_result_that_was_to_be_pushed_is_refused_to_its_callback(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .results = 0 };
	const struct hlk_submit_options o = { .type = "t.X", .want_result = true };
	struct hlk_head *head = hlk_head_new(&o, NULL);
	(void)state;
	hlk_on_result(c, on_result, &log);
	welcome(b, c, false, 60000);
	assert_int_equal(hlk_submit(c, head, "x", 1, on_confirm, &log), HLK_OK);
	hlk_head_free(head);
	hear(b, c, FRAME_SUBMIT);
	confirm(b, b->msg.submit.producer, (struct confirm_run){ 1, 51, 1, ERR_OK, 0, 0 }, NULL);
	UNTIL(c, log.confirms == 1);
	broker_cut(b);
	welcome(b, c, false, 60000);
	hear(b, c, FRAME_AWAIT); /* a new session does not know who wants it */
	refuse(b, b->frame.correlation, ERR_RESOURCE_EXHAUSTED, "too many are awaited");
	UNTIL(c, log.results == 1);
	assert_int_equal(log.last, 51);
	assert_int_equal(log.code, HLK_RESOURCE_EXHAUSTED);
	hlk_close(c, 0);
	broker_free(b);
}

static void ask_again(struct hlk *c, const struct hlk_result *result, void *ctx)
{
	struct log *log = ctx;
	if (log->results++ == 0)
		assert_int_equal(hlk_await(c, result->task, HLK_FOREVER, ask_again, log), HLK_OK);
	log->code = result->code;
}

static void test_what_is_asked_for_again_by_its_own_callback_is_not_forgotten(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .results = 0 };
	(void)state;
	welcome(b, c, false, 60000);
	assert_int_equal(hlk_await(c, 41, 5, ask_again, &log), HLK_OK);
	hear(b, c, FRAME_AWAIT);
	UNTIL(c, log.results == 1);
	assert_int_equal(log.code, HLK_TIMEOUT);
	hear(b, c, FRAME_FORGET);
	hear(b, c, FRAME_AWAIT);
	const struct result_item item = { .task = 41, .code = ERR_OK, .state = TASK_DONE };
	const struct msg msg = { .kind = FRAME_RESULTS, .results = { .items = &item, .count = 1 } };
	say(b, &msg, 0, NULL);
	UNTIL(c, log.results == 2);
	assert_int_equal(log.code, HLK_OK);
	hlk_close(c, 0);
	broker_free(b);
}

static void on_state(struct hlk *c, bool connected, const char *detail, void *ctx)
{
	(void)c;
	if (connected)
		note(ctx, detail);
}

static void test_a_refused_serve_ends_the_worker_with_the_reason(void **state)
{
	struct broker *b = broker_tcp();
	struct log log = { .tasks = 0 };
	const struct hlk_options o = { .url = b->url, .state = on_state, .ctx = &log };
	const struct hlk_serve_options s = { .type = "t.X", .task = on_task, .ctx = &log };
	struct hlk *c;
	(void)state;
	assert_int_equal(hlk_open(&o, &c, NULL), HLK_OK);
	welcome(b, c, false, 60000);
	assert_int_equal(hlk_serve(c, &s, NULL), HLK_OK);
	hear(b, c, FRAME_SERVE);
	refuse(b, b->frame.correlation, ERR_PERMISSION, "t.X is not yours to serve");
	UNTIL(c, strstr(log.text, "not yours") != NULL);
	assert_string_equal(hlk_last_error(c)->text, "serve: t.X is not yours to serve");
	assert_true(hlk_connected(c));
	refuse(b, b->frame.correlation + 1, ERR_PERMISSION, "nor is this one");
	assert_int_equal(hlk_worker_run(c, &s, 0), HLK_PERMISSION);
	assert_non_null(strstr(hlk_last_error(c)->text, "nor is this one"));
	hlk_close(c, 0);
	broker_free(b);
}

static void test_after_a_goodbye_the_client_stays_away_as_long_as_it_was_asked_to(void **state)
{
	enum { AWAY_MS = 100 };
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url); /* by itself it would be back within 20 ms */
	const struct msg bye = { .kind = FRAME_GOODBYE, .goodbye = { .code = ERR_UNAVAILABLE, .text = span_str("I restart"),
								    .retry_after_ms = AWAY_MS } };
	(void)state;
	for (int i = 0; i < 3; i++) { /* the time is random within bounds */
		welcome(b, c, false, 60000);
		int64_t said_ms = now_ms();
		say(b, &bye, 0, NULL);
		UNTIL(c, !hlk_connected(c));
		broker_cut(b);
		hear(b, c, FRAME_HELLO);
		assert_true(now_ms() - said_ms >= AWAY_MS);
		broker_cut(b);
	}
	hlk_close(c, 0);
	broker_free(b);
}

static void test_credit_that_falls_is_taken_back_and_grows_only_from_below(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .tasks = 0 };
	(void)state;
	serve(c, 4, true, &log);
	welcome(b, c, false, 60000);
	hear(b, c, FRAME_SERVE);
	assert_int_equal(b->msg.serve.entries[0].credit, 4);
	deliver(b, 1, 61, "a");
	deliver(b, 1, 62, "b");
	deliver(b, 1, 63, "c");
	UNTIL(c, log.tasks == 3);
	assert_int_equal(hlk_serve_credit(c, 1, 2), HLK_OK);
	hear(b, c, FRAME_SERVE); /* only this takes credit back: 3 are held, so nothing is left */
	assert_int_equal(b->msg.serve.entries[0].credit, 0);
	deliver(b, 1, 64, "d"); /* was on its way */
	UNTIL(c, log.tasks == 4);
	for (int i = 0; i < 2; i++) { /* two are still held: no credit for these */
		assert_int_equal(hlk_complete(log.kept[i], NULL, 0), HLK_OK);
		hear(b, c, FRAME_REPORT);
	}
	assert_int_equal(hlk_complete(log.kept[2], NULL, 0), HLK_OK);
	do
		assert_true(next_frame(b) || hlk_run(c, 2) == HLK_OK);
	while (b->msg.kind == FRAME_REPORT && b->msg.report.items[0].ref.task != 63);
	hear(b, c, FRAME_CREDIT);
	assert_int_equal(b->msg.credit.count, 1);
	assert_int_equal(b->msg.credit.items[0].credit, 1);
	assert_int_equal(hlk_serve_credit(c, 1, 4), HLK_OK); /* growing needs no SERVE */
	hear(b, c, FRAME_CREDIT);
	assert_int_equal(b->msg.credit.items[0].credit, 2);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_a_client_that_closes_takes_no_more_tasks_and_gives_back_what_comes(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .tasks = 0 };
	(void)state;
	serve(c, 4, true, &log);
	welcome(b, c, false, 60000);
	hear(b, c, FRAME_SERVE);
	deliver(b, 1, 71, "a");
	UNTIL(c, log.tasks == 1);
	assert_int_equal(hlk_complete(log.kept[0], NULL, 0), HLK_OK);
	hear(b, c, FRAME_REPORT);
	deliver(b, 1, 72, "b"); /* on its way when the client is closed */
	hlk_close(c, 300); /* nothing is answered: all of it passes */
	assert_int_equal(log.tasks, 1);
	bool served = false, released = false, bye = false;
	while (next_frame(b)) {
		if (b->msg.kind == FRAME_SERVE)
			served = b->msg.serve.count == 0;
		if (b->msg.kind == FRAME_REPORT && b->msg.report.items[0].verb == REPORT_RELEASE)
			released = b->msg.report.items[0].ref.task == 72;
		bye = bye || b->msg.kind == FRAME_GOODBYE;
	}
	assert_true(served && released && bye);
	broker_free(b);
}

static void test_a_yield_that_no_broker_takes_is_refused_at_once(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	struct log log = { .tasks = 0 };
	(void)state;
	welcome(b, c, false, 60000);
	const struct hlk_serve_options options = { .type = "t.X", .task = on_task, .ctx = &log };
	assert_int_equal(hlk_serve(c, &options, NULL), HLK_OK);
	hear(b, c, FRAME_SERVE);
	deliver_again(b, 1, 11, "a", LIMIT_YIELDS - 1);
	UNTIL(c, log.tasks == 1);
	assert_int_equal(hlk_yield_on(log.kept[0]), HLK_OK);
	assert_int_equal(hlk_yield(log.kept[0], "last", 4), HLK_OK);
	assert_int_equal(hlk_yield(log.kept[0], "more", 4), HLK_TOO_BIG);
	hlk_close(c, 0);
	broker_free(b);
}

static void test_more_cancels_than_a_frame_holds_travel_in_two(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	const struct hlk_call_options options = { .service = "s" };
	uint64_t number;
	(void)state;
	welcome(b, c, false, 60000);
	for (uint32_t i = 0; i < LIMIT_FRAME_ITEMS + 1; i++) {
		assert_int_equal(hlk_call(c, &options, "x", 1, NULL, NULL, &number), HLK_OK);
		assert_int_equal(hlk_call_cancel(c, number), HLK_OK);
	}
	hear(b, c, FRAME_CALL_CANCEL);
	assert_int_equal(b->msg.call_cancel.calls.count, LIMIT_FRAME_ITEMS);
	hear(b, c, FRAME_CALL_CANCEL);
	assert_int_equal(b->msg.call_cancel.calls.count, 1);
	assert_int_equal(b->msg.call_cancel.calls.at[0], number);
	hlk_close(c, 0);
	broker_free(b);
}

static void on_timeout(struct hlk *c, const struct hlk_answer *answer, void *ctx)
{
	(void)c;
	*(int *)ctx = answer->code;
}

static void test_a_call_that_timed_out_before_it_was_sent_is_never_sent(void **state)
{
	struct broker *b = broker_tcp();
	struct hlk *c = open_client(b->url);
	const struct hlk_call_options brief = { .service = "s", .deadline_ms = 20 }, later = { .service = "s", .deadline_ms = 60000 };
	int first = 0, second = 0, third = 0;
	uint64_t number, cancelled;
	(void)state;
	assert_int_equal(hlk_call(c, &brief, "1", 1, on_timeout, &first, NULL), HLK_OK);
	assert_int_equal(hlk_call(c, &later, "2", 1, on_timeout, &second, &cancelled), HLK_OK);
	UNTIL(c, first == HLK_TIMEOUT); /* nobody has welcomed this client yet */
	assert_int_equal(hlk_call_cancel(c, cancelled), HLK_OK);
	assert_int_equal(second, HLK_CANCELLED);
	assert_int_equal(hlk_call(c, &later, "3", 1, on_timeout, &third, &number), HLK_OK);
	welcome(b, c, false, 60000);
	hear(b, c, FRAME_CALL);
	assert_int_equal(b->msg.call.first, number);
	hlk_close(c, 0);
	broker_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_refused_await_is_answered_and_the_others_wait_on),
		cmocka_unit_test(test_a_call_that_waits_for_a_result_gets_the_refusal),
		cmocka_unit_test(test_a_result_that_was_to_be_pushed_is_refused_to_its_callback),
		cmocka_unit_test(test_what_is_asked_for_again_by_its_own_callback_is_not_forgotten),
		cmocka_unit_test(test_a_refused_serve_ends_the_worker_with_the_reason),
		cmocka_unit_test(test_after_a_goodbye_the_client_stays_away_as_long_as_it_was_asked_to),
		cmocka_unit_test(test_credit_that_falls_is_taken_back_and_grows_only_from_below),
		cmocka_unit_test(test_a_client_that_closes_takes_no_more_tasks_and_gives_back_what_comes),
		cmocka_unit_test(test_a_yield_that_no_broker_takes_is_refused_at_once),
		cmocka_unit_test(test_a_call_that_timed_out_before_it_was_sent_is_never_sent),
		cmocka_unit_test(test_more_cancels_than_a_frame_holds_travel_in_two),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
