/* tests/unit/test_shard_schedule.c: schedules through a session, in simulated time: what fires, what does not, and never twice. */
#include "shard_world.h"

#include "../../broker/schedule.h"
#include "schema_files.h"

enum { HOUR_MS = 3600000 };

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	assert_non_null(w);
	world_init(w);
	w->config.heartbeat_ms = HOUR_MS; /* clients here are silent for long */
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

static struct msg_reply *ask(struct client *c, enum verb verb, const char *name, struct span spec)
{
	return client_ask(c, (struct msg_request){ .verb = (uint16_t)verb, .name = span_str(name), .spec = spec });
}

static enum err add_head(struct client *c, const char *name, struct schedule_info info, struct task_head h)
{
	struct buf head = { NULL, 0, 0 }, spec = { NULL, 0, 0 };
	h.priority = 4;
	task_head_encode(&head, &h);
	info.head = buf_span(&head);
	info.payload = span_str("tick");
	schedule_info_encode(&spec, &info);
	enum err e = ask(c, VERB_SCHEDULE_ADD, name, buf_span(&spec))->code;
	buf_free(&head);
	buf_free(&spec);
	return e;
}

static enum err add(struct client *c, const char *name, struct schedule_info info)
{
	return add_head(c, name, info, (struct task_head){ .type = span_str("t") });
}

static enum err type(struct client *c, struct type_info info)
{
	struct buf spec = { NULL, 0, 0 };
	type_info_encode(&spec, &info);
	enum err e = ask(c, VERB_TYPE_REGISTER, "t", buf_span(&spec))->code;
	buf_free(&spec);
	return e;
}

static struct schedule_info show(struct client *c, const char *name)
{
	static struct schedule_info info;
	char text[128];
	struct msg_reply *r = ask(c, VERB_SCHEDULE_SHOW, name, span_of(NULL, 0));
	assert_int_equal(r->code, ERR_OK);
	assert_int_equal(schedule_info_decode(msg_reply_spec(r, 0), &info, text), ERR_OK);
	return info;
}

static uint64_t submitted(struct client *c)
{
	struct queue_info q;
	struct msg_reply *r = client_ask(c, (struct msg_request){ .verb = VERB_QUEUE_SHOW, .name = span_str("t") });
	if (r->code == ERR_NOT_FOUND)
		return 0;
	msg_reply_queue(r, 0, &q);
	return q.submitted_total;
}

static void restart(struct world *w, struct client *c, uint64_t away_ms)
{
	static uint8_t id = 10;
	sim_crash(w->sim, 0, SIM_CRASH_DROP_ALL);
	sim_bury(w->sim, 0);
	shard_close(w->shard);
	w->io->v->free(w->io);
	client_free(c);
	sim_wall_jump(w->sim, (int64_t)away_ms);
	w->io = sim_restart(w->sim, 0);
	world_open(w);
	client_open(c, w, id++);
}

static void one_fires_every_so_often(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .every_ms = 10000 }), ERR_OK);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .every_ms = 10000 }), ERR_EXISTS);
	world_run(w, 5 * SIM_S);
	assert_int_equal(submitted(&c), 0);
	world_run(w, 98 * SIM_S);
	assert_int_equal(submitted(&c), 10);
	assert_int_equal(show(&c, "s").fired_total, 10);
	assert_int_equal(show(&c, "s").skipped_total, 0);
	client_free(&c);
}

static void one_fires_once_at_its_time(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	uint64_t at = io_wall_ms(w->io) + 30000;
	assert_int_equal(add(&c, "s", (struct schedule_info){ .at_ms = at }), ERR_OK);
	assert_int_equal(show(&c, "s").next_ms, at);
	world_run(w, 100 * SIM_S);
	assert_int_equal(submitted(&c), 1);
	assert_true(show(&c, "s").next_ms == UINT64_MAX);
	restart(w, &c, HOUR_MS);
	world_run(w, 10 * SIM_S);
	assert_int_equal(submitted(&c), 1);
	client_free(&c);
}

static void a_time_is_fired_once_over_restarts(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .cron = span_str("* * * * *"), .misfire = MISFIRE_RUN_ALL }), ERR_OK);
	uint64_t first = show(&c, "s").next_ms;
	for (int i = 0; i < 6; i++) {
		world_run(w, 47 * SIM_S);
		if (i == 2)
			assert_int_equal(ask(&c, VERB_CHECKPOINT, "", span_of(NULL, 0))->code, ERR_OK);
		restart(w, &c, 0);
	}
	world_run(w, 1 * SIM_S);
	uint64_t due = (io_wall_ms(w->io) - first) / 60000 + 1;
	assert_in_range(due, 4, 7);
	assert_int_equal(submitted(&c), due);
	assert_int_equal(show(&c, "s").fired_total, due);
	client_free(&c);
}

static void what_was_missed_is_skipped_run_once_or_run_for_each(void **state)
{
	struct world *w = *state;
	struct client c;
	const struct { uint8_t misfire; uint64_t fired, skipped; } cases[] = {
		{ MISFIRE_SKIP, 0, 6 }, { MISFIRE_RUN_ONCE, 1, 5 }, { MISFIRE_RUN_ALL, 6, 0 },
	};
	const char *names[] = { "skip", "once", "all" };
	client_open(&c, w, 1);
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(add(&c, names[i], (struct schedule_info){ .every_ms = 600000, .misfire = cases[i].misfire }), ERR_OK);
	world_run(w, 1 * SIM_S);
	restart(w, &c, HOUR_MS + 60000);
	world_run(w, 5 * SIM_S);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct schedule_info info = show(&c, names[i]);
		assert_int_equal(info.fired_total, cases[i].fired);
		assert_int_equal(info.skipped_total, cases[i].skipped);
		assert_true(info.next_ms > io_wall_ms(w->io));
	}
	client_free(&c);
}

static void with_overlap_skip_a_time_passes_while_the_task_before_is_open(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .every_ms = 10000, .overlap = OVERLAP_SKIP }), ERR_OK);
	world_run(w, 35 * SIM_S);
	assert_int_equal(show(&c, "s").fired_total, 1);
	assert_int_equal(show(&c, "s").skipped_total, 2);
	uint64_t task = show(&c, "s").last_task;
	assert_int_equal(client_ask(&c, (struct msg_request){ .verb = VERB_TASK_CANCEL, .tasks = { &task, 1 } })->code, ERR_OK);
	world_run(w, 10 * SIM_S);
	assert_int_equal(show(&c, "s").fired_total, 2);
	assert_true(show(&c, "s").last_task > task);
	client_free(&c);
}

static struct queue_info queue(struct client *c)
{
	struct queue_info q;
	struct msg_reply *r = client_ask(c, (struct msg_request){ .verb = VERB_QUEUE_SHOW, .name = span_str("t") });
	assert_int_equal(r->code, ERR_OK);
	msg_reply_queue(r, 0, &q);
	return q;
}

static void with_overlap_replace_the_new_task_takes_the_place_of_the_one_before(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .every_ms = 100000, .overlap = OVERLAP_REPLACE }), ERR_OK);
	world_run(w, 350 * SIM_S);
	assert_int_equal(show(&c, "s").fired_total, 3);
	assert_int_equal(show(&c, "s").skipped_total, 0);
	assert_int_equal(queue(&c).cancelled_total, 2);
	assert_int_equal(queue(&c).ready, 1);
	assert_int_equal(ask(&c, VERB_SCHEDULE_RUN, "s", span_of(NULL, 0))->code, ERR_OK);
	assert_int_equal(queue(&c).cancelled_total, 3);
	assert_int_equal(queue(&c).ready, 1);
	restart(w, &c, 0);
	world_run(w, 200 * SIM_S);
	assert_int_equal(queue(&c).ready, 1);
	assert_int_equal(queue(&c).cancelled_total + 1, queue(&c).submitted_total);
	client_free(&c);
}

/* Frames until one of this kind: deliveries and signals come in between. */
static struct msg *next_of(struct client *c, enum frame_kind kind)
{
	do {
		client_next(c);
	} while (c->msg.kind != kind);
	return &c->msg;
}

static void a_replaced_task_in_a_workers_hands_is_cancelled_in_two_phases(void **state)
{
	struct world *w = *state;
	struct client admin, worker;
	client_open(&admin, w, 1);
	client_open(&worker, w, 2);
	client_serve(&worker, "t", 1);
	assert_int_equal(add(&admin, "s", (struct schedule_info){ .every_ms = 10000, .overlap = OVERLAP_REPLACE }), ERR_OK);
	struct task_ref ref = { .epoch = next_of(&worker, FRAME_DELIVER)->deliver.epoch };
	ref.task = worker.msg.deliver.items[0].task;
	ref.attempt = worker.msg.deliver.items[0].attempt;
	const struct signal_item *signal = next_of(&worker, FRAME_SIGNALS)->signals.items;
	assert_int_equal(signal->signal, SIGNAL_CANCEL);
	assert_int_equal(signal->ref.task, ref.task);
	assert_int_equal(show(&admin, "s").fired_total, 2); /* the new one does not wait for the end of the old one */
	assert_true(show(&admin, "s").last_task > ref.task);
	assert_int_equal(queue(&admin).leased, 1);
	assert_int_equal(queue(&admin).cancelled_total, 0);
	client_report(&worker, ref, REPORT_COMPLETE, "done after all"); /* it has the last word while it is asked */
	assert_int_equal(next_of(&worker, FRAME_REPORTED)->reported.items[0].code, ERR_OK);
	assert_int_equal(queue(&admin).done_total, 1);
	assert_int_equal(queue(&admin).cancelled_total, 0);
	client_free(&admin);
	client_free(&worker);
}

static void a_replaced_task_stays_cancelled_over_a_restart(void **state)
{
	struct world *w = *state;
	struct client admin, worker;
	client_open(&admin, w, 1);
	client_open(&worker, w, 2);
	client_serve(&worker, "t", 1);
	assert_int_equal(add(&admin, "s", (struct schedule_info){ .every_ms = 10000, .overlap = OVERLAP_REPLACE }), ERR_OK);
	uint64_t task = next_of(&worker, FRAME_DELIVER)->deliver.items[0].task;
	(void)next_of(&worker, FRAME_SIGNALS);
	assert_int_equal(show(&admin, "s").fired_total, 2);
	client_free(&worker);
	restart(w, &admin, 0);
	world_run(w, 6 * SIM_S);
	assert_int_equal(queue(&admin).cancelled_total, 1);
	assert_true(show(&admin, "s").last_task > task);
	assert_int_equal(queue(&admin).ready, 1);
	client_free(&admin);
}

static void a_firing_that_is_refused_replaces_nothing(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .every_ms = 10000, .overlap = OVERLAP_REPLACE }), ERR_OK);
	world_run(w, 11 * SIM_S);
	struct queue_settings one = QUEUE_SETTINGS_UNSET;
	one.length_max = 1;
	assert_int_equal(client_ask(&c, (struct msg_request){ .verb = VERB_QUEUE_SET, .name = span_str("t"), .settings = one })->code,
			 ERR_OK);
	world_run(w, 10 * SIM_S);
	assert_int_equal(show(&c, "s").last_code, ERR_QUEUE_FULL);
	assert_int_equal(queue(&c).ready, 1);
	assert_int_equal(queue(&c).cancelled_total, 0);
	client_free(&c);
}

static void each_of_many_fires_at_its_own_times(void **state)
{
	enum { MANY = 120 };
	struct world *w = *state;
	struct client c;
	char name[16];
	client_open(&c, w, 1);
	for (uint32_t i = 0; i < MANY; i++) {
		(void)snprintf(name, sizeof name, "s%u", i * 37 % MANY);
		assert_int_equal(add(&c, name, (struct schedule_info){ .every_ms = 600000 + i * 37 % MANY * 1000 }), ERR_OK);
	}
	for (uint32_t i = 0; i < MANY; i += 3) {
		(void)snprintf(name, sizeof name, "s%u", i);
		assert_int_equal(ask(&c, i % 2 ? VERB_SCHEDULE_PAUSE : VERB_SCHEDULE_REMOVE, name, span_of(NULL, 0))->code, ERR_OK);
	}
	world_run(w, 4000 * SIM_S);
	for (uint32_t i = 0; i < MANY; i++) {
		(void)snprintf(name, sizeof name, "s%u", i);
		if (i % 6 == 0) {
			assert_int_equal(ask(&c, VERB_SCHEDULE_SHOW, name, span_of(NULL, 0))->code, ERR_NOT_FOUND);
			continue;
		}
		struct schedule_info s = show(&c, name);
		uint64_t passed = (io_wall_ms(w->io) - s.created_ms) / s.every_ms;
		assert_int_equal(s.fired_total, i % 3 == 0 ? 0 : passed);
	}
	client_free(&c);
}

static void a_paused_one_does_not_fire_and_goes_on_with_the_next_time(void **state)
{
	struct world *w = *state;
	struct client c;
	struct span none = span_of(NULL, 0);
	client_open(&c, w, 1);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .every_ms = 10000, .misfire = MISFIRE_RUN_ALL }), ERR_OK);
	assert_int_equal(ask(&c, VERB_SCHEDULE_PAUSE, "s", none)->code, ERR_OK);
	world_run(w, 60 * SIM_S);
	assert_int_equal(submitted(&c), 0);
	assert_int_equal(ask(&c, VERB_SCHEDULE_RUN, "s", none)->code, ERR_OK);
	assert_int_equal(ask(&c, VERB_SCHEDULE_RESUME, "s", none)->code, ERR_OK);
	assert_int_equal(submitted(&c), 1);
	world_run(w, 11 * SIM_S);
	assert_int_equal(submitted(&c), 2);
	assert_int_equal(ask(&c, VERB_SCHEDULE_REMOVE, "s", none)->code, ERR_OK);
	world_run(w, 60 * SIM_S);
	assert_int_equal(submitted(&c), 2);
	const uint16_t verbs[] = { VERB_SCHEDULE_SHOW, VERB_SCHEDULE_REMOVE, VERB_SCHEDULE_PAUSE, VERB_SCHEDULE_RESUME, VERB_SCHEDULE_RUN };
	for (size_t i = 0; i < COUNT_OF(verbs); i++)
		assert_int_equal(ask(&c, (enum verb)verbs[i], "s", none)->code, ERR_NOT_FOUND);
	client_free(&c);
}

static void what_is_no_schedule_is_refused(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .misfire = 0 }), ERR_INVALID_INPUT);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .every_ms = 10000, .at_ms = 5 }), ERR_INVALID_INPUT);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .every_ms = 10 }), ERR_INVALID_INPUT);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .at_ms = 5 }), ERR_INVALID_INPUT);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .cron = span_str("61 * * * *") }), ERR_INVALID_INPUT);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .cron = span_str("0 0 31 2 *") }), ERR_INVALID_INPUT);
	assert_int_equal(add(&c, "a b", (struct schedule_info){ .every_ms = 10000 }), ERR_INVALID_INPUT);
	assert_int_equal(add(&c, "", (struct schedule_info){ .every_ms = 10000 }), ERR_INVALID_INPUT);
	assert_int_equal(ask(&c, VERB_SCHEDULE_LIST, "", span_of(NULL, 0))->count, 0);
	client_submit(&c, (struct submit_args){ .type = "t", .producer = SCHEDULE_PRODUCER, .first_seq = 1, .count = 1, .size = 4 });
	assert_int_equal(client_expect(&c, FRAME_CONFIRMS)->confirms.runs[0].code, ERR_INVALID_INPUT);
	client_free(&c);
}

static void one_that_is_run_by_hand_is_answered_when_it_is_durable(void **state)
{
	struct world *w = *state;
	struct client c;
	struct span none = span_of(NULL, 0);
	client_open(&c, w, 1);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .every_ms = HOUR_MS }), ERR_OK);
	assert_int_equal(ask(&c, VERB_SCHEDULE_RUN, "s", none)->code, ERR_OK);
	restart(w, &c, 0);
	assert_int_equal(show(&c, "s").fired_total, 1);
	assert_int_equal(submitted(&c), 1);
	client_free(&c);
}

static void the_tasks_of_an_alias_are_in_the_queue_of_its_type(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	assert_int_equal(type(&c, (struct type_info){ .policy = TYPE_POLICY_UNSET, .aliases = { span_str("old") }, .alias_count = 1 }),
			 ERR_OK);
	assert_int_equal(add_head(&c, "s", (struct schedule_info){ .every_ms = 10000 }, (struct task_head){ .type = span_str("old") }),
			 ERR_OK);
	world_run(w, 11 * SIM_S);
	assert_int_equal(submitted(&c), 1);
	client_free(&c);
}

static void what_its_type_does_not_take_any_more_is_no_task(void **state)
{
	struct world *w = *state;
	struct client c;
	struct buf schema = schema_file("job_base.bfbs");
	client_open(&c, w, 1);
	assert_int_equal(add(&c, "s", (struct schedule_info){ .every_ms = 10000 }), ERR_OK);
	assert_int_equal(type(&c, (struct type_info){ .policy = TYPE_VERIFY, .schema = buf_span(&schema), .root = span_str("Transcode") }),
			 ERR_OK);
	world_run(w, 11 * SIM_S);
	assert_int_equal(submitted(&c), 0);
	assert_int_equal(show(&c, "s").last_code, ERR_SCHEMA_MISMATCH);
	assert_int_equal(ask(&c, VERB_SCHEDULE_RUN, "s", span_of(NULL, 0))->code, ERR_SCHEMA_MISMATCH);
	buf_free(&schema);
	client_free(&c);
}

static void its_tasks_have_no_parent(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	assert_int_equal(add_head(&c, "s", (struct schedule_info){ .every_ms = 10000 },
				  (struct task_head){ .type = span_str("t"), .parent = 1 }),
			 ERR_INVALID_INPUT);
	const uint64_t one = 1;
	assert_int_equal(add_head(&c, "s", (struct schedule_info){ .every_ms = 10000 },
				  (struct task_head){ .type = span_str("t"), .after = span_of(&one, sizeof one) }),
			 ERR_INVALID_INPUT);
	assert_int_equal(add_head(&c, "s", (struct schedule_info){ .every_ms = 10000 },
				  (struct task_head){ .type = span_str("t"), .group = span_str("g") }),
			 ERR_INVALID_INPUT);
	client_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_fires_every_so_often, setup, teardown),
		cmocka_unit_test_setup_teardown(one_fires_once_at_its_time, setup, teardown),
		cmocka_unit_test_setup_teardown(a_time_is_fired_once_over_restarts, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_missed_is_skipped_run_once_or_run_for_each, setup, teardown),
		cmocka_unit_test_setup_teardown(with_overlap_skip_a_time_passes_while_the_task_before_is_open, setup, teardown),
		cmocka_unit_test_setup_teardown(with_overlap_replace_the_new_task_takes_the_place_of_the_one_before, setup, teardown),
		cmocka_unit_test_setup_teardown(a_replaced_task_in_a_workers_hands_is_cancelled_in_two_phases, setup, teardown),
		cmocka_unit_test_setup_teardown(a_replaced_task_stays_cancelled_over_a_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(a_firing_that_is_refused_replaces_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(each_of_many_fires_at_its_own_times, setup, teardown),
		cmocka_unit_test_setup_teardown(a_paused_one_does_not_fire_and_goes_on_with_the_next_time, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_no_schedule_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_is_run_by_hand_is_answered_when_it_is_durable, setup, teardown),
		cmocka_unit_test_setup_teardown(the_tasks_of_an_alias_are_in_the_queue_of_its_type, setup, teardown),
		cmocka_unit_test_setup_teardown(what_its_type_does_not_take_any_more_is_no_task, setup, teardown),
		cmocka_unit_test_setup_teardown(its_tasks_have_no_parent, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
