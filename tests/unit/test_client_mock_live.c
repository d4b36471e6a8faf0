/* The rest of the broker in memory: updates, requirements, ordering keys, families, the directory, calls, reservations, events. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../../clientlib/hillock.h"

struct log { char text[4096]; struct hlk_task *task; struct hlk_call *call; };

static void note(struct log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct log *log, const char *format, ...)
{
	size_t at = strlen(log->text);
	va_list args;
	va_start(args, format);
	(void)vsnprintf(log->text + at, sizeof log->text - at, format, args);
	va_end(args);
}

static struct hlk *connect_mock(void)
{
	struct hlk *c = NULL;
	struct hlk_error error;
	assert_int_equal(hlk_connect("mock://", 1000, &c, &error), HLK_OK);
	return c;
}

static void settle_all(struct hlk *c)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(hlk_process(c), HLK_OK);
}

static void keep(struct hlk *c, struct hlk_task *task, void *ctx)
{
	struct log *log = ctx;
	(void)c;
	log->task = task;
	note(log, "%.*s ", (int)hlk_task_info(task)->size, (const char *)hlk_task_info(task)->payload);
}

static void on_signal(struct hlk *c, struct hlk_task *task, const char *signal, void *ctx)
{
	(void)c;
	(void)task;
	note(ctx, "%s ", signal);
}

static void on_update(struct hlk *c, const struct hlk_update *u, void *ctx)
{
	(void)c;
	if (u->kind == HLK_YIELD)
		note(ctx, "yield%u:%.*s ", u->number, (int)u->size, (const char *)u->data);
	else if (u->kind == HLK_PROGRESS)
		note(ctx, "%.2f:%.*s ", u->progress, (int)u->size, (const char *)u->data);
	else if (u->kind == HLK_LOG)
		note(ctx, "log%d:%.*s ", u->level, (int)u->size, (const char *)u->data);
	else
		note(ctx, "<%s> ", u->state);
}

static void on_result(struct hlk *c, const struct hlk_result *r, void *ctx)
{
	(void)c;
	note(ctx, "[%s %.*s] ", r->state, (int)r->size, (const char *)r->data);
}

static uint64_t submit(struct hlk *c, const struct hlk_submit_options *o, const char *payload)
{
	uint64_t task = 0;
	assert_int_equal(hlk_submit_wait(c, o, payload, strlen(payload), 1000, &task, NULL), HLK_OK);
	return task;
}

static void serve(struct hlk *c, const char *type, const char *params, struct log *log)
{
	const struct hlk_serve_options o = { .type = type, .credit = 1, .task = keep, .signal = on_signal, .params = params,
					     .ctx = log };
	assert_int_equal(hlk_serve(c, &o, NULL), HLK_OK);
	settle_all(c);
}

static void test_updates_and_yields_come_in_order_and_before_the_result(void **state)
{
	struct log worker = { .text = "" }, caller = { .text = "" };
	struct hlk *c = connect_mock();
	(void)state;
	hlk_on_update(c, on_update, &caller);
	hlk_on_result(c, on_result, &caller);
	serve(c, "a.Gen", NULL, &worker);
	const struct hlk_submit_options o = { .type = "a.Gen", .want_updates = true };
	uint64_t task = submit(c, &o, "x");
	settle_all(c);
	assert_int_equal(hlk_progress(worker.task, 0.5, "half"), HLK_OK);
	assert_int_equal(hlk_log(worker.task, 2, "a line"), HLK_OK);
	assert_int_equal(hlk_yield(worker.task, "a", 1), HLK_OK);
	assert_int_equal(hlk_yield(worker.task, "b", 1), HLK_OK);
	settle_all(c);
	assert_int_equal(hlk_task_pause(c, task), HLK_OK);
	assert_string_equal(worker.text, "x pause ");
	assert_int_equal(hlk_paused(worker.task), HLK_OK);
	assert_int_equal(hlk_complete(worker.task, "end", 3), HLK_OK);
	settle_all(c);
	assert_string_equal(caller.text, "<started> 0.50:half log2:a line yield0:a yield1:b <pausing> <paused> [done end] ");
	caller.text[0] = '\0';
	struct hlk_result result;
	assert_int_equal(hlk_await_updates_wait(c, task, 1, 1000, &result), HLK_OK); /* from any process, later */
	assert_string_equal(caller.text, "yield1:b ");
	hlk_close(c, 0);
}

static void test_yields_of_a_first_attempt_are_not_told_again_by_the_second(void **state)
{
	struct log worker = { .text = "" }, caller = { .text = "" };
	struct hlk *c = connect_mock();
	(void)state;
	hlk_on_update(c, on_update, &caller);
	serve(c, "a.Gen", NULL, &worker);
	const struct hlk_submit_options o = { .type = "a.Gen", .want_updates = true };
	(void)submit(c, &o, "x");
	settle_all(c);
	assert_int_equal(hlk_yield(worker.task, "a", 1), HLK_OK);
	settle_all(c);
	assert_int_equal(hlk_fail(worker.task, HLK_TRANSIENT, 0, "again", 0), HLK_OK);
	settle_all(c);
	assert_int_equal(hlk_task_info(worker.task)->yielded, 1);
	assert_int_equal(hlk_yield(worker.task, "a", 1), HLK_OK);
	assert_int_equal(hlk_yield(worker.task, "b", 1), HLK_OK);
	assert_int_equal(hlk_complete(worker.task, NULL, 0), HLK_OK);
	settle_all(c);
	assert_string_equal(caller.text, "<started> yield0:a <retry> <started> yield1:b ");
	hlk_close(c, 0);
}

static void test_a_task_that_must_not_run_again_is_lost_with_its_worker(void **state)
{
	struct log log = { .text = "" };
	struct hlk *c = connect_mock();
	struct hlk_result result;
	(void)state;
	serve(c, "a.Once", NULL, &log);
	const struct hlk_submit_options o = { .type = "a.Once", .never_again = true };
	uint64_t task = submit(c, &o, "x");
	settle_all(c);
	assert_int_equal(hlk_mock_cut(c), HLK_OK);
	settle_all(c);
	assert_int_equal(hlk_ready_wait(c, 5000), HLK_OK);
	assert_int_equal(hlk_await_wait(c, task, 1000, &result), HLK_OK);
	assert_string_equal(result.state, "lost");
	assert_string_equal(log.text, "x lease-lost ");
	hlk_close(c, 0);
}

static void test_requirements_choose_the_worker_and_nobody_stands_in_the_way(void **state)
{
	struct log small = { .text = "" }, large = { .text = "" };
	struct hlk *c = connect_mock();
	(void)state;
	const struct hlk_submit_options needs = { .type = "a.Train", .requirements = "vram_gb >= 40" }, any = { .type = "a.Train" };
	(void)submit(c, &needs, "big");
	(void)submit(c, &any, "little");
	serve(c, "a.Train", "vram_gb=8", &small);
	assert_string_equal(small.text, "little ");
	serve(c, "a.Train", "vram_gb=80", &large);
	assert_string_equal(large.text, "big ");
	uint64_t task;
	const struct hlk_submit_options bad = { .type = "a.Train", .requirements = "vram_gb >=" };
	assert_int_not_equal(hlk_submit_wait(c, &bad, "", 0, 1000, &task, NULL), HLK_OK);
	hlk_close(c, 0);
}

static void test_tasks_of_one_ordering_key_are_worked_on_one_after_the_other(void **state)
{
	struct log one = { .text = "" }, two = { .text = "" };
	struct hlk *c = connect_mock();
	(void)state;
	serve(c, "a.Ordered", NULL, &one);
	serve(c, "a.Ordered", NULL, &two);
	const struct hlk_submit_options k = { .type = "a.Ordered", .order_key = "k" };
	(void)submit(c, &k, "1");
	(void)submit(c, &k, "2");
	settle_all(c);
	assert_string_equal(one.text, "1 ");
	assert_string_equal(two.text, "");
	assert_int_equal(hlk_fail(one.task, HLK_TRANSIENT, 0, "not yet", 100), HLK_OK);
	settle_all(c);
	assert_string_equal(one.text, "1 "); /* the second waits for the first one's next attempt */
	assert_int_equal(hlk_mock_advance(c, 100), HLK_OK);
	settle_all(c);
	assert_string_equal(one.text, "1 1 ");
	assert_int_equal(hlk_complete(one.task, NULL, 0), HLK_OK);
	settle_all(c);
	assert_string_equal(one.text, "1 1 2 ");
	hlk_close(c, 0);
}

static void test_a_worker_that_is_silent_beyond_the_heartbeat_loses_the_task(void **state)
{
	struct log log = { .text = "" };
	struct hlk *c = connect_mock();
	(void)state;
	serve(c, "a.Beat", NULL, &log);
	const struct hlk_submit_options o = { .type = "a.Beat", .heartbeat_ms = 100 };
	(void)submit(c, &o, "x");
	settle_all(c);
	assert_int_equal(hlk_mock_advance(c, 99), HLK_OK);
	assert_int_equal(hlk_progress(log.task, 0.1, NULL), HLK_OK);
	settle_all(c);
	assert_int_equal(hlk_mock_advance(c, 99), HLK_OK);
	settle_all(c);
	assert_string_equal(log.text, "x ");
	assert_int_equal(hlk_mock_advance(c, 1), HLK_OK);
	settle_all(c);
	assert_string_equal(log.text, "x lease-lost ");
	hlk_close(c, 0);
}

static void test_a_tree_is_interrupted_as_a_whole_and_a_parent_must_be_held(void **state)
{
	struct log root = { .text = "" }, part = { .text = "" };
	struct hlk *c = connect_mock();
	(void)state;
	serve(c, "a.Root", NULL, &root);
	serve(c, "a.Part", NULL, &part);
	const struct hlk_submit_options o = { .type = "a.Root" };
	uint64_t task = submit(c, &o, "r"), none;
	settle_all(c);
	const struct hlk_submit_options child = { .type = "a.Part", .parent = task }, orphan = { .type = "a.Part", .parent = 999 };
	(void)submit(c, &child, "p");
	settle_all(c);
	assert_int_not_equal(hlk_submit_wait(c, &orphan, "o", 1, 1000, &none, NULL), HLK_OK);
	assert_int_equal(hlk_task_interrupt(c, task, "enough"), HLK_OK);
	settle_all(c);
	assert_string_equal(root.text, "r interrupt ");
	assert_string_equal(part.text, "p interrupt ");
	hlk_close(c, 0);
}

/* ---- directory, calls, reservations ---- */

static void add_one(struct hlk *c, struct hlk_call *call, void *ctx)
{
	const struct hlk_call_info *info = hlk_call_info(call);
	char text[32];
	(void)c;
	note(ctx, "%s ", info->type);
	(void)snprintf(text, sizeof text, "%d", atoi((const char *)info->payload) + 1);
	if (info->stream)
		assert_int_equal(hlk_answer_part(call, "part", 4), HLK_OK);
	assert_int_equal(hlk_answer(call, text, strlen(text)), HLK_OK);
}

static void hold(struct hlk *c, struct hlk_call *call, void *ctx)
{
	struct log *log = ctx;
	(void)c;
	log->call = call;
	note(log, "held ");
}

static void call_cancelled(struct hlk *c, struct hlk_call *call, void *ctx)
{
	(void)c;
	(void)call;
	note(ctx, "unwanted ");
}

static void on_answer(struct hlk *c, const struct hlk_answer *a, void *ctx)
{
	(void)c;
	note(ctx, "%s:%.*s%s ", hlk_error_name(a->code), (int)a->size, (const char *)a->data, a->more ? "+" : "");
}

static uint32_t holder(struct hlk *c, const char *service, const char *params, uint32_t capacity, hlk_call_fn *fn, struct log *log)
{
	static const char *const types[] = { "a.AddOne" };
	uint32_t entry;
	const struct hlk_serve_options o = { .type = service, .call = fn, .call_cancelled = call_cancelled, .params = params,
					     .capacity = capacity, .call_types = types, .call_type_count = 1, .ctx = log };
	assert_int_equal(hlk_serve(c, &o, &entry), HLK_OK);
	settle_all(c);
	return entry;
}

static void on_entry(const struct hlk_entry_row *row, void *ctx)
{
	note(ctx, "%s(%s) ", row->service, row->params);
}

static void test_an_entry_is_found_in_the_directory_and_called(void **state)
{
	struct log log = { .text = "" }, seen = { .text = "" };
	struct hlk *c = connect_mock();
	struct hlk_answer answer;
	char address[HLK_ADDRESS_BYTES];
	(void)state;
	uint32_t entry = holder(c, "a.AddOne", "ccy=\"USD\"", 0, add_one, &log);
	(void)holder(c, "a.AddOne", "ccy=\"EUR\"", 0, add_one, &log);
	assert_int_equal(hlk_directory_list(c, "a.AddOne", "ccy == \"USD\"", on_entry, &seen), HLK_OK);
	assert_string_equal(seen.text, "a.AddOne(ccy=\"USD\") ");
	const struct hlk_call_options to = { .service = "a.AddOne", .where = "ccy == \"USD\"" };
	assert_int_equal(hlk_call_wait(c, &to, "41", 3, &answer), HLK_OK);
	assert_memory_equal(answer.data, "42", 2);
	assert_int_equal(hlk_address(c, entry, address), HLK_OK);
	const struct hlk_call_options at = { .address = address, .type = "a.AddOne" };
	assert_int_equal(hlk_call_wait(c, &at, "1", 2, &answer), HLK_OK);
	const struct hlk_call_options unknown = { .address = address, .type = "a.Other" };
	assert_int_equal(hlk_call_wait(c, &unknown, "1", 2, &answer), HLK_DOES_NOT_UNDERSTAND);
	const struct hlk_call_options ping = { .address = address, .type = "hillock.Ping" };
	assert_int_equal(hlk_call_wait(c, &ping, "echo", 4, &answer), HLK_OK);
	const struct hlk_call_options nobody = { .service = "a.Nobody" };
	assert_int_equal(hlk_call_wait(c, &nobody, "", 0, &answer), HLK_NOT_DELIVERED);
	assert_int_equal(hlk_mock_cut(c), HLK_OK);
	assert_int_equal(hlk_ready_wait(c, 5000), HLK_OK);
	settle_all(c);
	assert_int_equal(hlk_call_wait(c, &at, "1", 2, &answer), HLK_NOT_DELIVERED); /* an old address finds nobody */
	assert_int_equal(hlk_call_wait(c, &to, "1", 2, &answer), HLK_OK);            /* the service is declared again */
	hlk_close(c, 0);
}

static void test_calls_stream_go_to_all_wait_for_room_and_end_at_their_deadline(void **state)
{
	struct log log = { .text = "" }, answers = { .text = "" };
	struct hlk *c = connect_mock();
	(void)state;
	(void)holder(c, "a.Two", NULL, 0, add_one, &log);
	(void)holder(c, "a.Two", NULL, 0, add_one, &log);
	const struct hlk_call_options all = { .service = "a.Two", .all = true, .type = "a.AddOne" };
	assert_int_equal(hlk_call(c, &all, "1", 2, on_answer, &answers, NULL), HLK_OK);
	settle_all(c);
	assert_string_equal(answers.text, "OK:2+ OK:2 ");
	answers.text[0] = '\0';
	const struct hlk_call_options parts = { .service = "a.Two", .stream = true, .type = "a.AddOne" };
	assert_int_equal(hlk_call(c, &parts, "2", 2, on_answer, &answers, NULL), HLK_OK);
	settle_all(c);
	assert_string_equal(answers.text, "OK:part+ OK:3 ");
	struct log busy = { .text = "" };
	uint32_t entry = holder(c, "a.Busy", NULL, 1, hold, &busy);
	answers.text[0] = '\0';
	const struct hlk_call_options one = { .service = "a.Busy", .deadline_ms = 60000, .type = "a.AddOne" };
	for (int i = 0; i < 3; i++)
		assert_int_equal(hlk_call(c, &one, "1", 2, on_answer, &answers, NULL), HLK_OK);
	settle_all(c);
	assert_string_equal(busy.text, "held "); /* the others wait: there is room for one */
	assert_int_equal(hlk_answer(busy.call, "a", 1), HLK_OK);
	settle_all(c);
	assert_string_equal(busy.text, "held held ");
	assert_int_equal(hlk_mock_advance(c, 60000), HLK_OK);
	settle_all(c);
	assert_string_equal(busy.text, "held held unwanted ");
	assert_string_equal(answers.text, "OK:a TIMEOUT:no answer within the deadline TIMEOUT:no holder was free within the deadline ");
	answers.text[0] = '\0';
	assert_int_equal(hlk_answer(busy.call, "late", 4), HLK_OK);
	assert_int_equal(hlk_call(c, &one, "1", 2, on_answer, &answers, NULL), HLK_OK);
	settle_all(c);
	assert_int_equal(hlk_unserve(c, entry), HLK_OK);
	settle_all(c);
	assert_string_equal(answers.text, "NOT_DELIVERED:the holder has withdrawn the entry ");
	hlk_close(c, 0);
}

static void on_change(struct hlk *c, uint32_t watch, enum hlk_change kind, const struct hlk_entry_row *row, void *ctx)
{
	static const char *const names[] = { "reset", "joined", "changed", "left", "synced", "refused" };
	(void)c;
	(void)watch;
	note(ctx, row ? "%s(%s) " : "%s ", names[kind], row ? row->params : "");
}

static void test_a_watch_sees_a_snapshot_and_then_every_change(void **state)
{
	struct log log = { .text = "" }, seen = { .text = "" };
	struct hlk *c = connect_mock();
	uint32_t watch;
	(void)state;
	(void)holder(c, "a.W", "n=1", 0, hold, &log);
	assert_int_equal(hlk_directory_watch(c, "a.W", "n < 3", on_change, &seen, &watch), HLK_OK);
	settle_all(c);
	uint32_t second = holder(c, "a.W", "n=2", 0, hold, &log);
	(void)holder(c, "a.W", "n=3", 0, hold, &log);
	assert_int_equal(hlk_unserve(c, second), HLK_OK);
	settle_all(c);
	assert_non_null(strstr(seen.text, "reset joined(n=1) synced joined(n=2) synced"));
	assert_non_null(strstr(seen.text, "left()"));
	assert_null(strstr(seen.text, "n=3"));
	struct log refused = { .text = "" };
	assert_int_equal(hlk_directory_watch(c, "a.W", "n <", on_change, &refused, &watch), HLK_OK);
	settle_all(c);
	assert_string_equal(refused.text, "refused ");
	hlk_close(c, 0);
}

static void on_binding(struct hlk *c, uint32_t binding, enum hlk_binding_state state, uint32_t legs, void *ctx)
{
	static const char *const names[] = { "none", "waiting", "active", "degraded", "ended" };
	(void)c;
	(void)binding;
	note(ctx, "%s%u ", names[state], legs);
}

static void test_a_reservation_heals_and_its_calls_wait_in_a_line_of_their_own(void **state)
{
	struct log log = { .text = "" }, owner = { .text = "" }, answers = { .text = "" };
	struct hlk *c = connect_mock();
	uint32_t binding;
	(void)state;
	const struct hlk_bind_options o = { .service = "a.AddOne", .min = 1, .desired = 2, .waiting = 1, .state = on_binding, .ctx = &owner };
	assert_int_equal(hlk_bind(c, &o, &binding), HLK_OK);
	settle_all(c);
	const struct hlk_call_options to = { .binding = binding, .type = "a.AddOne", .deadline_ms = 60000 };
	assert_int_equal(hlk_call(c, &to, "1", 2, on_answer, &answers, NULL), HLK_OK);
	assert_int_equal(hlk_call(c, &to, "1", 2, on_answer, &answers, NULL), HLK_OK);
	settle_all(c);
	assert_string_equal(answers.text, "RESOURCE_EXHAUSTED:all holders are busy and the line is full ");
	uint32_t first = holder(c, "a.AddOne", NULL, 0, add_one, &log);
	assert_string_equal(answers.text, "RESOURCE_EXHAUSTED:all holders are busy and the line is full OK:2 ");
	(void)holder(c, "a.AddOne", NULL, 0, add_one, &log);
	assert_int_equal(hlk_unserve(c, first), HLK_OK);
	settle_all(c);
	assert_string_equal(owner.text, "waiting0 degraded1 active2 degraded1 ");
	hlk_close(c, 0);
}

/* ---- events ---- */

static void on_event(struct hlk *c, const struct hlk_event *event, void *ctx)
{
	(void)c;
	note(ctx, "%s/%s=%.*s%s ", event->type, event->key, (int)event->size, (const char *)event->payload,
	     event->retained ? "(kept)" : "");
}

static void test_events_reach_subscriptions_and_the_last_value_is_kept(void **state)
{
	struct log now = { .text = "" }, later = { .text = "" };
	struct hlk *c = connect_mock();
	struct hlk_published published;
	uint32_t id;
	(void)state;
	const struct hlk_topic_options o = { .type = "lab.v1.Temperature", .key = "room1", .retain = true };
	struct hlk_topic *topic = hlk_topic_new(c, &o, NULL);
	const struct hlk_subscribe_options all = { .pattern = "lab.*", .event = on_event, .ctx = &now };
	assert_int_equal(hlk_subscribe_wait(c, &all, 1000, &id), HLK_OK);
	assert_int_equal(hlk_publish_wait(c, topic, "21", 2, 1000, &published), HLK_OK);
	assert_string_equal(published.status, "accepted");
	assert_int_equal(hlk_publish_wait(c, topic, "22", 2, 1000, NULL), HLK_OK);
	assert_string_equal(now.text, "lab.v1.Temperature/room1=21 lab.v1.Temperature/room1=22 ");
	const struct hlk_subscribe_options kept = { .pattern = "lab.v1.Temperature", .retained = true, .event = on_event, .ctx = &later };
	assert_int_equal(hlk_subscribe_wait(c, &kept, 1000, NULL), HLK_OK);
	settle_all(c);
	assert_string_equal(later.text, "lab.v1.Temperature/room1=22(kept) ");
	assert_int_equal(hlk_unsubscribe(c, id), HLK_OK);
	assert_int_equal(hlk_publish_wait(c, topic, "", 0, 1000, NULL), HLK_OK); /* ends the value */
	assert_string_equal(now.text, "lab.v1.Temperature/room1=21 lab.v1.Temperature/room1=22 ");
	struct log none = { .text = "" };
	const struct hlk_subscribe_options last = { .pattern = "*", .retained = true, .event = on_event, .ctx = &none };
	assert_int_equal(hlk_subscribe_wait(c, &last, 1000, NULL), HLK_OK);
	settle_all(c);
	assert_string_equal(none.text, "");
	hlk_topic_free(topic);
	hlk_close(c, 0);
}

static void test_a_bad_parameter_refuses_the_set_and_the_old_one_stays(void **state)
{
	struct log log = { .text = "" }, seen = { .text = "" };
	struct hlk *c = connect_mock();
	(void)state;
	(void)holder(c, "a.Old", "n=1", 0, hold, &log);
	const struct hlk_serve_options bad = { .type = "a.Bad", .call = hold, .params = "n=", .ctx = &log };
	assert_int_equal(hlk_serve(c, &bad, NULL), HLK_OK);
	assert_int_equal(hlk_serve_wait(c, 1000), HLK_INVALID_INPUT);
	assert_non_null(strstr(hlk_last_error(c)->text, "params"));
	assert_int_equal(hlk_directory_list(c, NULL, NULL, on_entry, &seen), HLK_OK);
	assert_string_equal(seen.text, "a.Old(n=1) ");
	hlk_close(c, 0);
}

static void test_an_entry_is_described_anew_and_keeps_its_calls(void **state)
{
	struct log log = { .text = "" }, seen = { .text = "" }, answers = { .text = "" };
	struct hlk *c = connect_mock();
	(void)state;
	uint32_t entry = holder(c, "a.X", "model=small", 0, hold, &log);
	const struct hlk_call_options ask = { .service = "a.X", .type = "a.AddOne" };
	assert_int_equal(hlk_call(c, &ask, "1", 2, on_answer, &answers, NULL), HLK_OK);
	settle_all(c);
	const char *hot[] = { "large" };
	const struct hlk_serve_options larger = { .params = "model=large", .hot = hot, .hot_count = 1, .cost = 5 };
	assert_int_equal(hlk_serve_describe(c, entry, &larger), HLK_OK);
	assert_int_equal(hlk_serve_describe(c, entry + 1, &larger), HLK_NOT_FOUND);
	const struct hlk_serve_options huge = { .capacity = UINT32_MAX };
	assert_int_equal(hlk_serve_describe(c, entry, &huge), HLK_TOO_BIG);
	assert_int_equal(hlk_serve_wait(c, 5000), HLK_OK);
	assert_int_equal(hlk_directory_list(c, "a.X", "model == large", on_entry, &seen), HLK_OK);
	assert_string_equal(seen.text, "a.X(model=\"large\") ");
	assert_int_equal(hlk_answer(log.call, "2", 1), HLK_OK);
	settle_all(c);
	assert_string_equal(answers.text, "OK:2 ");
	hlk_close(c, 0);
}

static void test_entries_are_taken_back_by_service_and_stay_away_over_a_cut(void **state)
{
	struct log log = { .text = "" }, seen = { .text = "" };
	struct hlk *c = connect_mock();
	uint64_t count = 9;
	(void)state;
	(void)holder(c, "a.X", "n=1", 0, hold, &log);
	(void)holder(c, "a.X", "n=2", 0, hold, &log);
	(void)holder(c, "a.Y", "n=3", 0, hold, &log);
	assert_int_equal(hlk_unserve_service(c, "a.X", "n ==", NULL), HLK_INVALID_INPUT);
	assert_int_equal(hlk_unserve_service(c, "a.X", "n == 1", &count), HLK_OK);
	assert_int_equal(count, 1);
	assert_int_equal(hlk_unserve_service(c, "a.Y", NULL, &count), HLK_OK);
	assert_int_equal(count, 1);
	assert_int_equal(hlk_unserve_service(c, "a.Y", NULL, &count), HLK_OK);
	assert_int_equal(count, 0);
	assert_int_equal(hlk_mock_cut(c), HLK_OK);
	assert_int_equal(hlk_ready_wait(c, 5000), HLK_OK);
	settle_all(c);
	assert_int_equal(hlk_directory_list(c, NULL, NULL, on_entry, &seen), HLK_OK);
	assert_string_equal(seen.text, "a.X(n=2) ");
	hlk_close(c, 0);
}

static void on_confirm(struct hlk *c, const struct hlk_confirmed *confirmed, void *ctx)
{
	(void)c;
	note(ctx, "%s ", hlk_error_name(confirmed->code));
}

static void submit_asking(struct hlk *c, const struct hlk_submit_options *o, const char *payload, struct log *log)
{
	struct hlk_error error;
	struct hlk_head *head = hlk_head_new(o, &error);
	assert_non_null(head);
	assert_int_equal(hlk_submit(c, head, payload, strlen(payload), on_confirm, log), HLK_OK);
	hlk_head_free(head);
	settle_all(c);
}

static void test_a_task_is_for_one_worker_or_for_nobody_and_a_call_waits(void **state)
{
	struct log worker = { .text = "" }, answers = { .text = "" }, confirms = { .text = "" };
	const struct hlk_options options = { .url = "mock://", .identity = "press \"4\"" };
	struct hlk *c = NULL;
	(void)state;
	assert_int_equal(hlk_open(&options, &c, NULL), HLK_OK);
	assert_int_equal(hlk_ready_wait(c, 1000), HLK_OK);
	submit_asking(c, &(struct hlk_submit_options){ .type = "a.Page", .fail_fast = true }, "0", &confirms);
	serve(c, "a.Page", "n=1", &worker);
	submit_asking(c, &(struct hlk_submit_options){ .type = "a.Page", .worker = "press 3" }, "other", &confirms);
	submit_asking(c, &(struct hlk_submit_options){ .type = "a.Page", .worker = "press 3", .fail_fast = true }, "other", &confirms);
	submit_asking(c, &(struct hlk_submit_options){ .type = "a.Page", .worker = "press \"4\"", .requirements = "n == 2 || n == 1" }, "mine",
		      &confirms);
	assert_string_equal(worker.text, "mine ");
	submit_asking(c, &(struct hlk_submit_options){ .type = "a.Page", .fail_fast = true }, "next", &confirms); /* busy is no nobody */
	assert_string_equal(confirms.text, "NOT_DELIVERED OK NOT_DELIVERED OK OK ");
	const struct hlk_submit_options bad = { .type = "a.Page", .worker = "press 4", .requirements = "n == 1) || (n == 2" };
	assert_null(hlk_head_new(&bad, NULL)); /* nobody gets out of the parentheses */

	const struct hlk_call_options waits = { .service = "a.Late", .wait = true, .deadline_ms = 60000, .type = "a.AddOne" };
	assert_int_equal(hlk_call(c, &waits, "41", 3, on_answer, &answers, NULL), HLK_OK);
	settle_all(c);
	assert_string_equal(answers.text, "");
	(void)holder(c, "a.Late", NULL, 0, add_one, &worker);
	settle_all(c);
	assert_string_equal(answers.text, "OK:42 ");
	const struct hlk_call_options all = { .service = "a.Late", .wait = true, .all = true };
	assert_int_equal(hlk_call(c, &all, "1", 2, on_answer, &answers, NULL), HLK_INVALID_INPUT);
	hlk_close(c, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_updates_and_yields_come_in_order_and_before_the_result),
		cmocka_unit_test(test_yields_of_a_first_attempt_are_not_told_again_by_the_second),
		cmocka_unit_test(test_a_task_that_must_not_run_again_is_lost_with_its_worker),
		cmocka_unit_test(test_requirements_choose_the_worker_and_nobody_stands_in_the_way),
		cmocka_unit_test(test_tasks_of_one_ordering_key_are_worked_on_one_after_the_other),
		cmocka_unit_test(test_a_worker_that_is_silent_beyond_the_heartbeat_loses_the_task),
		cmocka_unit_test(test_a_tree_is_interrupted_as_a_whole_and_a_parent_must_be_held),
		cmocka_unit_test(test_an_entry_is_found_in_the_directory_and_called),
		cmocka_unit_test(test_calls_stream_go_to_all_wait_for_room_and_end_at_their_deadline),
		cmocka_unit_test(test_a_watch_sees_a_snapshot_and_then_every_change),
		cmocka_unit_test(test_a_reservation_heals_and_its_calls_wait_in_a_line_of_their_own),
		cmocka_unit_test(test_events_reach_subscriptions_and_the_last_value_is_kept),
		cmocka_unit_test(test_a_bad_parameter_refuses_the_set_and_the_old_one_stays),
		cmocka_unit_test(test_an_entry_is_described_anew_and_keeps_its_calls),
		cmocka_unit_test(test_entries_are_taken_back_by_service_and_stay_away_over_a_cut),
		cmocka_unit_test(test_a_task_is_for_one_worker_or_for_nobody_and_a_call_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
