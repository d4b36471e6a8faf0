/* tests/unit/test_shard_redrive.c: redrives that run inside the broker, in simulated time: at their rate, over restarts, to their end. */
#include "shard_world.h"

#include "../../broker/redrive.h"

enum { HOUR_MS = 3600000 };

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	assert_non_null(w);
	world_init(w);
	w->config.heartbeat_ms = HOUR_MS;
	w->config.tasks.defaults.max_attempts = 1;
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

static struct msg_reply *ask(struct client *c, enum verb verb, struct redrive_info info)
{
	struct buf spec = { NULL, 0, 0 };
	redrive_info_encode(&spec, &info);
	struct msg_reply *r = client_ask(c, (struct msg_request){ .verb = (uint16_t)verb, .spec = buf_span(&spec) });
	buf_free(&spec);
	return r;
}

static uint64_t start(struct client *c, struct redrive_info info)
{
	info.queue = span_str("q");
	struct msg_reply *r = ask(c, VERB_REDRIVE_START, info);
	assert_int_equal(r->code, ERR_OK);
	return r->count;
}

static struct redrive_info look(struct client *c, uint64_t number)
{
	struct redrive_info info = { .number = 0 };
	char text[128];
	struct msg_reply *r = ask(c, VERB_REDRIVE_LIST, (struct redrive_info){ .number = 0 });
	assert_int_equal(r->code, ERR_OK);
	for (uint32_t i = 0; i < r->spec_count && info.number != number; i++)
		assert_int_equal(redrive_info_decode(msg_reply_spec(r, i), &info, text), ERR_OK);
	assert_int_equal(info.number, number);
	return info;
}

static struct queue_info queue(struct client *c)
{
	struct queue_info q;
	struct msg_reply *r = client_ask(c, (struct msg_request){ .verb = VERB_QUEUE_SHOW, .name = span_str("q") });
	assert_int_equal(r->code, ERR_OK);
	msg_reply_queue(r, 0, &q);
	return q;
}

/* Tasks of this type in queue q die by this class. */
static void die(struct world *w, struct client *c, const char *type, uint64_t seq, uint32_t count, enum err code)
{
	struct buf head = { NULL, 0, 0 };
	struct client worker;
	static uint8_t id = 100;
	uint32_t sizes[1024] = { 0 };
	struct task_head h = { .type = span_str(type), .queue = span_str("q"), .priority = 4 };
	task_head_encode(&head, &h);
	struct msg m = { .kind = FRAME_SUBMIT };
	m.submit = (struct msg_submit){ .producer = 9, .first_seq = seq, .resolved_below = seq, .head = buf_span(&head),
					.sizes = { sizes, count } };
	client_send(c, &m, 0, span_of(NULL, 0));
	assert_int_equal(client_expect(c, FRAME_CONFIRMS)->confirms.runs[0].code, ERR_OK);
	client_open(&worker, w, id++);
	struct msg *serve = calloc(1, sizeof *serve);
	assert_non_null(serve);
	serve->kind = FRAME_SERVE;
	serve->serve.count = 1;
	serve->serve.entries[0] = (struct wire_entry){ .id = 5, .service = span_str("q"), .by_queue = true, .credit = count };
	client_send(&worker, serve, 0, span_of(NULL, 0));
	free(serve);
	for (uint32_t done = 0; done < count;) {
		client_next(&worker);
		for (uint32_t i = 0; worker.msg.kind == FRAME_DELIVER && i < worker.msg.deliver.count; i++, done++) {
			struct report_item item = { .verb = REPORT_FAIL, .class_code = (uint16_t)code,
						    .ref = { worker.msg.deliver.items[i].task, worker.msg.deliver.items[i].attempt,
							     worker.msg.deliver.epoch } };
			struct msg report = { .kind = FRAME_REPORT };
			report.report = (struct msg_report){ .items = &item, .count = 1 };
			client_send(&worker, &report, 0, span_of(NULL, 0));
		}
	}
	world_run(w, 5 * SIM_S);
	client_free(&worker);
	world_run(w, 40 * SIM_S); /* its session is over */
	buf_free(&head);
}

static void restart(struct world *w, struct client *c)
{
	static uint8_t id = 10;
	sim_crash(w->sim, 0, SIM_CRASH_DROP_ALL);
	sim_bury(w->sim, 0);
	shard_close(w->shard);
	w->io->v->free(w->io);
	client_free(c);
	w->io = sim_restart(w->sim, 0);
	world_open(w);
	client_open(c, w, id++);
}

static void dead_letters_come_back_at_the_rate_that_was_asked_for(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	die(w, &c, "t", 1, 200, ERR_PERMANENT);
	assert_int_equal(queue(&c).dead, 200);
	uint64_t began = io_wall_ms(w->io), number = start(&c, (struct redrive_info){ .rate = 2 });
	world_run(w, 20 * SIM_S);
	struct redrive_info info = look(&c, number);
	uint64_t passed = io_wall_ms(w->io) - began;
	assert_int_equal(info.state, REDRIVE_RUNNING);
	assert_in_range(info.done, passed * 2 / 1000 - 6, passed * 2 / 1000 + 1);
	world_run(w, 120 * SIM_S);
	info = look(&c, number);
	assert_int_equal(info.state, REDRIVE_DONE);
	assert_int_equal(info.done, 200);
	assert_int_equal(queue(&c).dead, 0);
	assert_int_equal(queue(&c).ready, 200);
	client_free(&c);
}

static void a_redrive_goes_on_without_its_client_and_over_restarts(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	die(w, &c, "t", 1, 60, ERR_PERMANENT);
	uint64_t number = start(&c, (struct redrive_info){ .rate = 1 });
	for (int i = 0; i < 3; i++) {
		world_run(w, 10 * SIM_S);
		uint64_t done = look(&c, number).done;
		assert_in_range(done, 1, 59);
		if (i == 1)
			assert_int_equal(client_ask(&c, (struct msg_request){ .verb = VERB_CHECKPOINT })->code, ERR_OK);
		restart(w, &c);
		assert_true(look(&c, number).done >= done);
	}
	world_run(w, 100 * SIM_S);
	assert_int_equal(look(&c, number).state, REDRIVE_DONE);
	assert_int_equal(look(&c, number).done, 60);
	assert_int_equal(queue(&c).ready, 60);
	client_free(&c);
}

static void only_the_class_and_type_that_were_named_come_back_up_to_a_limit(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	die(w, &c, "a", 1, 5, ERR_PERMANENT);
	die(w, &c, "b", 6, 5, ERR_PERMANENT);
	die(w, &c, "b", 11, 5, ERR_SECURITY);
	uint64_t by_type = start(&c, (struct redrive_info){ .rate = 1000, .type = span_str("a") });
	world_run(w, 5 * SIM_S);
	assert_int_equal(look(&c, by_type).done, 5);
	assert_int_equal(look(&c, by_type).state, REDRIVE_DONE);
	uint64_t by_code = start(&c, (struct redrive_info){ .rate = 1000, .type = span_str("b"), .code = ERR_SECURITY, .limit = 3 });
	world_run(w, 5 * SIM_S);
	assert_int_equal(look(&c, by_code).done, 3);
	assert_int_equal(look(&c, by_code).state, REDRIVE_DONE);
	assert_int_equal(queue(&c).dead, 7);
	uint64_t none = start(&c, (struct redrive_info){ .rate = 1000, .type = span_str("c") });
	world_run(w, 5 * SIM_S);
	assert_int_equal(look(&c, none).done, 0);
	assert_int_equal(look(&c, none).state, REDRIVE_DONE);
	client_free(&c);
}

static void a_letter_that_dies_again_is_not_taken_again(void **state)
{
	struct world *w = *state;
	struct client c, worker;
	client_open(&c, w, 1);
	die(w, &c, "t", 1, 4, ERR_PERMANENT);
	client_open(&worker, w, 2);
	struct msg *serve = calloc(1, sizeof *serve);
	assert_non_null(serve);
	serve->kind = FRAME_SERVE;
	serve->serve.count = 1;
	serve->serve.entries[0] = (struct wire_entry){ .id = 5, .service = span_str("q"), .by_queue = true, .credit = 100 };
	client_send(&worker, serve, 0, span_of(NULL, 0));
	free(serve);
	uint64_t number = start(&c, (struct redrive_info){ .rate = 1 });
	for (uint32_t done = 0; done < 4;) {
		client_next(&worker);
		for (uint32_t i = 0; worker.msg.kind == FRAME_DELIVER && i < worker.msg.deliver.count; i++, done++) {
			struct report_item item = { .verb = REPORT_FAIL, .class_code = ERR_PERMANENT,
						    .ref = { worker.msg.deliver.items[i].task, worker.msg.deliver.items[i].attempt,
							     worker.msg.deliver.epoch } };
			struct msg report = { .kind = FRAME_REPORT };
			report.report = (struct msg_report){ .items = &item, .count = 1 };
			client_send(&worker, &report, 0, span_of(NULL, 0));
		}
	}
	world_run(w, 20 * SIM_S);
	assert_int_equal(look(&c, number).state, REDRIVE_DONE);
	assert_int_equal(look(&c, number).done, 4);
	assert_int_equal(queue(&c).dead, 4);
	client_free(&c);
	client_free(&worker);
}

static void one_can_be_stopped_and_what_it_put_back_stays(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	die(w, &c, "t", 1, 60, ERR_PERMANENT);
	uint64_t number = start(&c, (struct redrive_info){ .rate = 1 });
	world_run(w, 10 * SIM_S);
	assert_int_equal(ask(&c, VERB_REDRIVE_STOP, (struct redrive_info){ .number = number })->code, ERR_OK);
	struct redrive_info info = look(&c, number);
	assert_int_equal(info.state, REDRIVE_STOPPED);
	assert_in_range(info.done, 1, 59);
	assert_int_equal(ask(&c, VERB_REDRIVE_STOP, (struct redrive_info){ .number = number })->code, ERR_WRONG_STATE);
	assert_int_equal(ask(&c, VERB_REDRIVE_STOP, (struct redrive_info){ .number = 99 })->code, ERR_NOT_FOUND);
	restart(w, &c);
	world_run(w, 60 * SIM_S);
	assert_int_equal(look(&c, number).done, info.done);
	assert_int_equal(queue(&c).dead, 60 - info.done);
	client_free(&c);
}

static void so_many_run_and_the_next_is_refused(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	die(w, &c, "t", 1, 600, ERR_PERMANENT);
	for (uint32_t i = 0; i < REDRIVES_MAX; i++) {
		uint64_t number = start(&c, (struct redrive_info){ .rate = 1, .code = ERR_SECURITY }); /* over at once: there is none */
		world_run(w, 2 * SIM_S);
		assert_int_equal(look(&c, number).state, REDRIVE_DONE);
	}
	uint64_t first = start(&c, (struct redrive_info){ .rate = 1 });
	for (uint32_t i = 1; i < REDRIVES_RUNNING_MAX; i++)
		(void)start(&c, (struct redrive_info){ .rate = 1 });
	struct msg_reply *r = ask(&c, VERB_REDRIVE_START, (struct redrive_info){ .queue = span_str("q"), .rate = 1 });
	assert_int_equal(r->code, ERR_RESOURCE_EXHAUSTED);
	assert_int_equal(ask(&c, VERB_REDRIVE_LIST, (struct redrive_info){ .number = 0 })->spec_count, REDRIVES_MAX);
	assert_int_equal(ask(&c, VERB_REDRIVE_STOP, (struct redrive_info){ .number = first })->code, ERR_OK);
	(void)start(&c, (struct redrive_info){ .rate = 1 });
	assert_int_equal(ask(&c, VERB_REDRIVE_START, (struct redrive_info){ .queue = span_str("none"), .rate = 1 })->code, ERR_NOT_FOUND);
	assert_int_equal(ask(&c, VERB_REDRIVE_START, (struct redrive_info){ .queue = span_str("q") })->code, ERR_INVALID_INPUT);
	client_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(dead_letters_come_back_at_the_rate_that_was_asked_for, setup, teardown),
		cmocka_unit_test_setup_teardown(a_redrive_goes_on_without_its_client_and_over_restarts, setup, teardown),
		cmocka_unit_test_setup_teardown(only_the_class_and_type_that_were_named_come_back_up_to_a_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(a_letter_that_dies_again_is_not_taken_again, setup, teardown),
		cmocka_unit_test_setup_teardown(one_can_be_stopped_and_what_it_put_back_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(so_many_run_and_the_next_is_refused, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
