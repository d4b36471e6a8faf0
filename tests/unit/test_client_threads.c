/* The one rule about threads: clients have nothing in common, and hlk_wake and hlk_stop may be called from anywhere. Run under
 * TSan this is the proof. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../clientlib/hillock.h"

enum { THREADS = 4, TASKS = 2000 };

struct one { pthread_t thread; struct hlk *client; struct hlk_head *head; unsigned confirmed, done; int code; };

static void on_confirm(struct hlk *c, const struct hlk_confirmed *answer, void *ctx)
{
	(void)c;
	((struct one *)ctx)->confirmed += answer->code == HLK_OK;
}

static void on_task(struct hlk *c, struct hlk_task *task, void *ctx)
{
	struct one *one = ctx;
	(void)hlk_complete(task, "x", 1);
	if (++one->done == TASKS)
		hlk_stop(c);
}

static void *run(void *arg)
{
	struct one *one = arg;
	for (int i = 0; i < TASKS; i++) /* heads may be shared by clients of different threads */
		if (hlk_submit(one->client, one->head, "p", 1, on_confirm, one) != HLK_OK)
			one->code = HLK_AGAIN;
	const struct hlk_serve_options o = { .type = "t.T", .credit = 16, .task = on_task, .ctx = one };
	if (one->code == HLK_OK)
		one->code = hlk_worker_run(one->client, &o, 0);
	return NULL;
}

static void test_clients_of_different_threads_share_a_head_and_nothing_else(void **state)
{
	struct one all[THREADS] = { { .done = 0 } };
	const struct hlk_submit_options o = { .type = "t.T" };
	struct hlk_head *head = hlk_head_new(&o, NULL);
	(void)state;
	for (int i = 0; i < THREADS; i++) {
		all[i].head = head;
		assert_int_equal(hlk_connect("mock://", 1000, &all[i].client, NULL), HLK_OK);
		assert_int_equal(pthread_create(&all[i].thread, NULL, run, &all[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		hlk_wake(all[i].client);
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(all[i].thread, NULL), 0);
		assert_int_equal(all[i].code, HLK_OK);
		assert_int_equal(all[i].confirmed, TASKS);
		assert_int_equal(all[i].done, TASKS);
		hlk_close(all[i].client, 0);
	}
	hlk_head_free(head);
}

static void *wait_for_stop(void *arg)
{
	struct one *one = arg;
	const struct hlk_serve_options o = { .type = "t.T", .task = on_task, .ctx = one };
	one->code = hlk_worker_run(one->client, &o, 0); /* nothing ever comes */
	return NULL;
}

static void test_another_thread_stops_a_worker_that_waits(void **state)
{
	struct one one = { .code = -1 };
	(void)state;
	assert_int_equal(hlk_connect("mock://", 1000, &one.client, NULL), HLK_OK);
	assert_int_equal(pthread_create(&one.thread, NULL, wait_for_stop, &one), 0);
	hlk_stop(one.client);
	assert_int_equal(pthread_join(one.thread, NULL), 0);
	assert_int_equal(one.code, HLK_OK);
	hlk_close(one.client, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clients_of_different_threads_share_a_head_and_nothing_else),
		cmocka_unit_test(test_another_thread_stops_a_worker_that_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
