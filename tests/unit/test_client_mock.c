/* The client library against its own broker in memory: what a user's unit test of a worker relies on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../clientlib/hillock.h"

struct log { char text[4096]; uint64_t first, last; uint32_t tasks, settled; int last_code; struct hlk_task *kept; };

static void note(struct log *log, const char *word)
{
	size_t at = strlen(log->text);
	(void)snprintf(log->text + at, sizeof log->text - at, "%s ", word);
}

static struct hlk *connect_mock(void)
{
	struct hlk *c = NULL;
	struct hlk_error error;
	assert_int_equal(hlk_connect("mock://", 1000, &c, &error), HLK_OK);
	assert_true(hlk_connected(c));
	return c;
}

static void settle_all(struct hlk *c)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(hlk_process(c), HLK_OK);
}

static void upper(struct hlk *c, struct hlk_task *task, void *ctx)
{
	struct log *log = ctx;
	const struct hlk_task_info *info = hlk_task_info(task);
	char result[64] = { 0 };
	(void)c;
	log->tasks++;
	for (size_t i = 0; i < info->size && i < sizeof result; i++)
		result[i] = (char)(((const char *)info->payload)[i] - 32);
	note(log, info->type);
	assert_int_equal(hlk_complete(task, result, info->size), HLK_OK);
}

static void keep(struct hlk *c, struct hlk_task *task, void *ctx)
{
	struct log *log = ctx;
	(void)c;
	log->tasks++;
	log->kept = task;
}

static void transient(struct hlk *c, struct hlk_task *task, void *ctx)
{
	struct log *log = ctx;
	(void)c;
	log->tasks++;
	assert_int_equal(hlk_fail(task, HLK_TRANSIENT, 7, "flaky", -1), HLK_OK);
}

static void by_payload(struct hlk *c, struct hlk_task *task, void *ctx)
{
	char word[16] = { 0 };
	(void)c;
	memcpy(word, hlk_task_info(task)->payload, hlk_task_info(task)->size);
	note(ctx, word);
	assert_int_equal(hlk_complete(task, NULL, 0), HLK_OK);
}

static void on_signal(struct hlk *c, struct hlk_task *task, const char *signal, void *ctx)
{
	(void)c;
	note(ctx, signal);
	if (strcmp(signal, "cancel") == 0)
		assert_int_equal(hlk_confirm_cancel(task), HLK_OK);
}

static void on_settled(struct hlk *c, uint64_t task, uint32_t attempt, int code, void *ctx)
{
	struct log *log = ctx;
	(void)c;
	(void)task;
	(void)attempt;
	log->settled++;
	log->last_code = code;
}

static uint64_t submit(struct hlk *c, const struct hlk_submit_options *o, const char *payload)
{
	uint64_t task = 0;
	assert_int_equal(hlk_submit_wait(c, o, payload, strlen(payload), 1000, &task, NULL), HLK_OK);
	assert_true(task > 0);
	return task;
}

static void row_state(const struct hlk_task_row *row, void *ctx)
{
	(void)snprintf(ctx, 32, "%s", row->state);
}

static const char *state_of(struct hlk *c, uint64_t task, char out[32])
{
	assert_int_equal(hlk_task_show(c, task, row_state, out), HLK_OK);
	return out;
}

static void serve(struct hlk *c, const char *type, uint32_t credit, hlk_task_fn *fn, struct log *log)
{
	const struct hlk_serve_options o = { .type = type, .credit = credit, .task = fn, .signal = on_signal, .ctx = log };
	assert_int_equal(hlk_serve(c, &o, NULL), HLK_OK);
	settle_all(c);
}

static void test_a_task_goes_from_submit_to_its_result(void **state)
{
	struct log log = { .tasks = 0 };
	struct hlk *c = connect_mock();
	(void)state;
	serve(c, "a.Up", 4, upper, &log);
	const struct hlk_submit_options o = { .type = "a.Up" };
	uint64_t task = submit(c, &o, "abc");
	struct hlk_result result;
	assert_int_equal(hlk_await_wait(c, task, 1000, &result), HLK_OK);
	assert_int_equal(result.code, HLK_OK);
	assert_string_equal(result.state, "done");
	assert_int_equal(result.size, 3);
	assert_memory_equal(result.data, "ABC", 3);
	assert_int_equal(log.tasks, 1);
	hlk_close(c, 0);
}

static void test_a_failing_task_is_retried_with_backoff_and_then_dead(void **state)
{
	struct log log = { .tasks = 0 };
	struct hlk *c = connect_mock();
	char text[32];
	(void)state;
	serve(c, "a.Bad", 1, transient, &log);
	const struct hlk_submit_options o = { .type = "a.Bad", .max_attempts = 3 };
	uint64_t task = submit(c, &o, "x");
	settle_all(c);
	assert_int_equal(log.tasks, 1);
	assert_string_equal(state_of(c, task, text), "scheduled");
	assert_int_equal(hlk_mock_advance(c, 999), HLK_OK);
	settle_all(c);
	assert_int_equal(log.tasks, 1);
	assert_int_equal(hlk_mock_advance(c, 1), HLK_OK);
	settle_all(c);
	assert_int_equal(log.tasks, 2);
	assert_int_equal(hlk_mock_advance(c, 2000), HLK_OK);
	settle_all(c);
	assert_int_equal(log.tasks, 3);
	assert_string_equal(state_of(c, task, text), "dead");
	uint64_t count = 0;
	assert_int_equal(hlk_dlq_redrive(c, "a.Bad", 10, &count), HLK_OK);
	assert_int_equal(count, 1);
	settle_all(c);
	assert_int_equal(log.tasks, 4);
	hlk_close(c, 0);
}

static void test_higher_priority_is_served_first_and_age_decides_within(void **state)
{
	struct log log = { .tasks = 0 };
	struct hlk *c = connect_mock();
	(void)state;
	const struct hlk_submit_options low = { .type = "a.P", .priority = 1 }, high = { .type = "a.P", .priority = 32 };
	submit(c, &low, "low1");
	submit(c, &high, "high1");
	submit(c, &low, "low2");
	submit(c, &high, "high2");
	serve(c, "a.P", 1, by_payload, &log);
	assert_string_equal(log.text, "high1 high2 low1 low2 ");
	hlk_close(c, 0);
}

static void test_a_delayed_task_waits_for_its_time_and_expires_at_its_own(void **state)
{
	struct log log = { .tasks = 0 };
	struct hlk *c = connect_mock();
	char text[32];
	(void)state;
	const struct hlk_submit_options delayed = { .type = "a.D", .delay_ms = 500 };
	const struct hlk_submit_options expiring = { .type = "a.E", .expires_ms = 400 };
	uint64_t expired = submit(c, &expiring, "e");
	submit(c, &delayed, "d");
	serve(c, "a.D", 1, by_payload, &log);
	assert_string_equal(log.text, "");
	assert_int_equal(hlk_mock_advance(c, 500), HLK_OK);
	settle_all(c);
	assert_string_equal(log.text, "d ");
	assert_string_equal(state_of(c, expired, text), "expired");
	hlk_close(c, 0);
}

static void test_the_same_key_gives_the_same_task(void **state)
{
	struct hlk *c = connect_mock();
	uint64_t first, second;
	bool duplicate = false;
	(void)state;
	const struct hlk_submit_options o = { .type = "a.K", .key = "order-1" };
	first = submit(c, &o, "x");
	assert_int_equal(hlk_submit_wait(c, &o, "x", 1, 1000, &second, &duplicate), HLK_OK);
	assert_true(duplicate);
	assert_int_equal(first, second);
	const struct hlk_submit_options elsewhere = { .type = "a.K", .queue = "other", .key = "order-1" };
	assert_int_equal(hlk_submit_wait(c, &elsewhere, "x", 1, 1000, &second, &duplicate), HLK_OK);
	assert_true(duplicate); /* as with a broker a key is one for all queues */
	assert_int_equal(first, second);
	hlk_close(c, 0);
}

static void test_a_name_that_a_broker_would_refuse_is_refused(void **state)
{
	(void)state;
	struct hlk *c = connect_mock();
	const struct hlk_queue_settings settings = HLK_QUEUE_UNCHANGED;
	const char *const bad[] = { "a b", "a/b", ".a", "a*", "" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		const struct hlk_submit_options o = { .type = bad[i] };
		assert_int_equal(hlk_submit_wait(c, &o, "x", 1, 1000, NULL, NULL), HLK_INVALID_INPUT);
		assert_int_equal(hlk_queue_create(c, bad[i], &settings), HLK_INVALID_INPUT);
	}
	assert_int_equal(hlk_queue_create(c, "a.b-c_D9", &settings), HLK_OK);
	hlk_close(c, 0);
}

static void test_a_queue_without_a_limit_of_attempts_tries_for_ever(void **state)
{
	struct log log = { .tasks = 0 };
	struct hlk *c = connect_mock();
	struct hlk_queue_settings settings = HLK_QUEUE_UNCHANGED;
	char text[32];
	(void)state;
	settings.max_attempts = 0;
	settings.backoff_min_ms = settings.backoff_max_ms = 1;
	assert_int_equal(hlk_queue_create(c, "a.Bad", &settings), HLK_OK);
	serve(c, "a.Bad", 1, transient, &log);
	const struct hlk_submit_options o = { .type = "a.Bad" };
	uint64_t task = submit(c, &o, "x");
	for (int i = 0; i < 20; i++) {
		settle_all(c);
		assert_int_equal(hlk_mock_advance(c, 1), HLK_OK);
	}
	assert_true(log.tasks >= 20);
	assert_string_not_equal(state_of(c, task, text), "dead");
	hlk_close(c, 0);
}

static void test_a_cut_loses_leases_and_the_task_comes_again(void **state)
{
	struct log log = { .tasks = 0 };
	struct hlk *c = connect_mock();
	(void)state;
	hlk_on_settled(c, on_settled, &log);
	serve(c, "a.C", 1, keep, &log);
	const struct hlk_submit_options o = { .type = "a.C" };
	submit(c, &o, "x");
	settle_all(c);
	struct hlk_task *held = log.kept;
	assert_non_null(held);
	assert_int_equal(hlk_mock_cut(c), HLK_OK);
	assert_false(hlk_connected(c));
	assert_int_equal(hlk_ready_wait(c, 2000), HLK_OK);
	settle_all(c);
	assert_string_equal(log.text, "lease-lost ");
	assert_int_equal(hlk_complete(held, "late", 4), HLK_OK);
	settle_all(c);
	assert_int_equal(log.settled, 1);
	assert_int_equal(log.last_code, HLK_STALE_LEASE);
	assert_int_equal(hlk_mock_advance(c, 1000), HLK_OK); /* the attempt had been started: backoff */
	settle_all(c);
	assert_int_equal(log.tasks, 2);
	assert_int_equal(hlk_task_info(log.kept)->attempt, 2);
	assert_int_equal(hlk_complete(log.kept, NULL, 0), HLK_OK);
	settle_all(c);
	assert_int_equal(log.settled, 2);
	assert_int_equal(log.last_code, HLK_OK);
	hlk_close(c, 0);
}

static void test_cancel_reaches_the_worker_that_holds_the_task(void **state)
{
	struct log log = { .tasks = 0 };
	struct hlk *c = connect_mock();
	char text[32];
	(void)state;
	serve(c, "a.X", 1, keep, &log);
	const struct hlk_submit_options o = { .type = "a.X" };
	uint64_t held = submit(c, &o, "1"), waiting = submit(c, &o, "2");
	settle_all(c);
	assert_int_equal(hlk_task_cancel(c, waiting, "not needed"), HLK_OK);
	assert_string_equal(state_of(c, waiting, text), "cancelled");
	assert_int_equal(hlk_task_cancel(c, held, "not needed"), HLK_OK);
	settle_all(c);
	assert_string_equal(log.text, "cancel ");
	assert_string_equal(state_of(c, held, text), "cancelled");
	assert_int_equal(hlk_task_cancel(c, held, ""), HLK_WRONG_STATE);
	assert_int_equal(hlk_last_error(c)->code, HLK_WRONG_STATE);
	hlk_close(c, 0);
}

static void confirmed(struct hlk *c, const struct hlk_confirmed *answer, void *ctx)
{
	struct log *log = ctx;
	(void)c;
	log->settled++;
	log->last_code = answer->code;
	if (!log->first)
		log->first = answer->task;
	assert_true(answer->code != HLK_OK || answer->task == log->first + log->settled - 1);
}

static void test_many_submissions_are_confirmed_in_order_and_all_worked_on(void **state)
{
	struct log sent = { .tasks = 0 }, worked = { .tasks = 0 };
	struct hlk *c = connect_mock();
	(void)state;
	const struct hlk_submit_options o = { .type = "a.M" };
	struct hlk_head *head = hlk_head_new(&o, NULL);
	assert_non_null(head);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(hlk_submit(c, head, "m", 1, confirmed, &sent), HLK_OK);
	hlk_head_free(head);
	assert_int_equal(hlk_unconfirmed(c), 5000);
	serve(c, "a.M", 64, by_payload, &worked);
	for (int i = 0; i < 400 && (sent.settled < 5000); i++)
		assert_int_equal(hlk_process(c), HLK_OK);
	assert_int_equal(sent.settled, 5000);
	assert_int_equal(hlk_unconfirmed(c), 0);
	hlk_close(c, 1000);
}

static void test_a_full_queue_is_reported_to_the_callback(void **state)
{
	struct log log = { .first = 0 };
	struct hlk *c = connect_mock();
	(void)state;
	struct hlk_queue_settings settings = HLK_QUEUE_UNCHANGED;
	settings.length_max = 1;
	assert_int_equal(hlk_queue_create(c, "small", &settings), HLK_OK);
	settings.length_max = 2;
	assert_int_equal(hlk_queue_create(c, "small", &settings), HLK_EXISTS);
	const struct hlk_submit_options o = { .type = "a.F", .queue = "small" };
	submit(c, &o, "1");
	assert_int_equal(hlk_submit_wait(c, &o, "2", 1, 1000, NULL, NULL), HLK_QUEUE_FULL);
	assert_true(hlk_last_error(c)->retryable);
	hlk_close(c, 0);
	(void)log;
}

static void count_queue(const struct hlk_queue_row *row, void *ctx)
{
	*(struct hlk_queue_row *)ctx = *row;
}

static void test_worker_run_works_off_a_number_of_tasks_and_leaves_the_rest(void **state)
{
	struct log log = { .tasks = 0 };
	struct hlk *c = connect_mock();
	(void)state;
	const struct hlk_submit_options o = { .type = "a.W" };
	for (int i = 0; i < 10; i++)
		submit(c, &o, "w");
	const struct hlk_serve_options s = { .type = "a.W", .credit = 8, .task = upper, .ctx = &log };
	assert_int_equal(hlk_worker_run(c, &s, 7), HLK_OK);
	assert_int_equal(log.tasks, 7);
	struct hlk_queue_row row;
	assert_int_equal(hlk_queue_show(c, "a.W", count_queue, &row), HLK_OK);
	assert_int_equal(row.ready, 3);
	assert_int_equal(row.done_total, 7);
	assert_int_equal(row.leased, 0);
	hlk_close(c, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_task_goes_from_submit_to_its_result),
		cmocka_unit_test(test_a_failing_task_is_retried_with_backoff_and_then_dead),
		cmocka_unit_test(test_higher_priority_is_served_first_and_age_decides_within),
		cmocka_unit_test(test_a_delayed_task_waits_for_its_time_and_expires_at_its_own),
		cmocka_unit_test(test_the_same_key_gives_the_same_task),
		cmocka_unit_test(test_a_name_that_a_broker_would_refuse_is_refused),
		cmocka_unit_test(test_a_queue_without_a_limit_of_attempts_tries_for_ever),
		cmocka_unit_test(test_a_cut_loses_leases_and_the_task_comes_again),
		cmocka_unit_test(test_cancel_reaches_the_worker_that_holds_the_task),
		cmocka_unit_test(test_many_submissions_are_confirmed_in_order_and_all_worked_on),
		cmocka_unit_test(test_a_full_queue_is_reported_to_the_callback),
		cmocka_unit_test(test_worker_run_works_off_a_number_of_tasks_and_leaves_the_rest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
