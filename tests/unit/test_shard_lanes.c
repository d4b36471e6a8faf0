/* tests/unit/test_shard_lanes.c: who gets which task: requirements against the parameters of entries, and the choice among
 * those that fit, by the setting of the queue. */
#include "../../broker/outlet.h"
#include "shard_world.h"

static uint64_t sequence = 1;

static struct world *world_new(void)
{
	struct world *w = malloc(sizeof *w);
	assert_non_null(w);
	world_init(w);
	world_open(w);
	return w;
}

static void world_free(struct world *w)
{
	world_close(w);
	free(w);
}

static void world_settle(struct world *w)
{
	world_run(w, 10 * SIM_MS);
}

static void submit(struct client *c, struct submit_args a)
{
	a.type = "t";
	a.producer = 1;
	a.first_seq = sequence;
	a.count = a.count ? a.count : 1;
	a.size = 8;
	client_submit(c, a);
	sequence += a.count;
	assert_int_equal(client_expect(c, FRAME_CONFIRMS)->confirms.runs[0].code, ERR_OK);
}

static void worker(struct client *c, struct world *w, uint8_t id, struct serve_args a)
{
	a.service = "t";
	client_open(c, w, id);
	client_serve_as(c, a);
	world_settle(w);
}

/* How many tasks it has been handed since the last time. */
static uint32_t got(struct client *c)
{
	uint32_t count = 0;
	world_settle(c->w);
	while (client_poll(c)) {
		count += c->msg.kind == FRAME_DELIVER ? c->msg.deliver.count : 0;
		if (c->msg.kind != FRAME_PING)
			continue;
		c->msg.kind = FRAME_PONG;
		client_send(c, &c->msg, 0, (struct span){ NULL, 0 });
	}
	return count;
}

static void select_by(struct client *c, enum queue_selection selection)
{
	struct queue_settings settings = QUEUE_SETTINGS_UNSET;
	settings.selection = selection;
	assert_int_equal(client_ask(c, (struct msg_request){ .verb = VERB_QUEUE_CREATE, .name = span_str("t"),
							     .settings = settings })->code, ERR_OK);
}

static void test_a_task_goes_only_where_its_requirements_hold(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct client p, small, large;
	client_open(&p, w, 1);
	worker(&small, w, 2, (struct serve_args){ .credit = 100, .params = "gpu=\"T4\", vram_gb=16" });
	submit(&p, (struct submit_args){ .count = 5, .requirements = "vram_gb >= 40" });
	assert_int_equal(got(&small), 0);
	submit(&p, (struct submit_args){ .count = 3, .requirements = "gpu == \"T4\"" });
	submit(&p, (struct submit_args){ .count = 2 });
	assert_int_equal(got(&small), 5);
	worker(&large, w, 3, (struct serve_args){ .credit = 100, .params = "gpu=\"A100\", vram_gb=80" });
	assert_int_equal(got(&large), 5);
	assert_int_equal(got(&small), 0);
	client_free(&small);
	client_free(&large);
	client_free(&p);
	world_free(w);
}

static void test_what_waits_is_found_when_credit_comes_and_when_parameters_change(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct client p, c;
	client_open(&p, w, 1);
	for (int i = 0; i < 200; i++) {
		char text[32];
		(void)snprintf(text, sizeof text, "slot == %d", i);
		submit(&p, (struct submit_args){ .requirements = text });
	}
	worker(&c, w, 2, (struct serve_args){ .credit = 1, .params = "slot=77" });
	assert_int_equal(got(&c), 1);
	submit(&p, (struct submit_args){ .requirements = "slot in [77, 78]" });
	assert_int_equal(got(&c), 0);
	client_credit(&c, 1);
	assert_int_equal(got(&c), 1);
	client_serve_as(&c, (struct serve_args){ .service = "t", .credit = 5, .params = "slot=78" });
	assert_int_equal(got(&c), 1);
	client_serve_as(&c, (struct serve_args){ .service = "t", .credit = 5, .params = "slot=78" });
	submit(&p, (struct submit_args){ .requirements = "slot == 78" });
	assert_int_equal(got(&c), 1);
	client_free(&c);
	client_free(&p);
	world_free(w);
}

static void test_the_highest_priority_that_fits_is_served_first(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct client p, c;
	client_open(&p, w, 1);
	submit(&p, (struct submit_args){ .requirements = "a == 1" });
	submit(&p, (struct submit_args){ .requirements = "b == 1" });
	worker(&c, w, 2, (struct serve_args){ .credit = 1, .params = "b=1" });
	world_settle(w);
	assert_true(client_poll(&c));
	assert_int_equal(c.msg.deliver.items[0].task, 2);
	client_free(&c);
	client_free(&p);
	world_free(w);
}

static void test_most_free_credit_and_round_robin(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct client p, a, b;
	client_open(&p, w, 1);
	select_by(&p, SELECT_CREDIT);
	worker(&a, w, 2, (struct serve_args){ .credit = 2, .params = "name=\"a\"" });
	worker(&b, w, 3, (struct serve_args){ .credit = 64, .params = "name=\"b\"" });
	for (int i = 0; i < 8; i++)
		submit(&p, (struct submit_args){ .count = 1 });
	assert_int_equal(got(&a), 0);
	assert_int_equal(got(&b), 8);
	struct queue_settings settings = QUEUE_SETTINGS_UNSET;
	settings.selection = SELECT_ROUND_ROBIN;
	assert_int_equal(client_ask(&p, (struct msg_request){ .verb = VERB_QUEUE_SET, .name = span_str("t"),
							      .settings = settings })->code, ERR_OK);
	for (int i = 0; i < 4; i++)
		submit(&p, (struct submit_args){ .count = 1 });
	assert_int_equal(got(&a), 2);
	assert_int_equal(got(&b), 2);
	client_free(&a);
	client_free(&b);
	client_free(&p);
	world_free(w);
}

static void test_the_cheapest_then_the_next(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct client p, a, b;
	client_open(&p, w, 1);
	select_by(&p, SELECT_CHEAPEST);
	worker(&a, w, 2, (struct serve_args){ .credit = 3, .cost = 10 });
	worker(&b, w, 3, (struct serve_args){ .credit = 100, .cost = 500 });
	for (int i = 0; i < 5; i++)
		submit(&p, (struct submit_args){ .count = 1 });
	assert_int_equal(got(&a), 3);
	assert_int_equal(got(&b), 2);
	client_free(&a);
	client_free(&b);
	client_free(&p);
	world_free(w);
}

static void test_who_has_it_warm_goes_first_and_anybody_before_nobody(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct client p, a, b;
	client_open(&p, w, 1);
	select_by(&p, SELECT_HOT);
	worker(&a, w, 2, (struct serve_args){ .credit = 2, .hot = "llama" });
	worker(&b, w, 3, (struct serve_args){ .credit = 100, .hot = "sdxl" });
	submit(&p, (struct submit_args){ .hot = "llama" });
	submit(&p, (struct submit_args){ .hot = "sdxl" });
	assert_int_equal(got(&a), 1);
	assert_int_equal(got(&b), 1);
	submit(&p, (struct submit_args){ .hot = "llama" });
	submit(&p, (struct submit_args){ .hot = "llama" });
	assert_int_equal(got(&a), 1);
	assert_int_equal(got(&b), 1);
	client_free(&a);
	client_free(&b);
	client_free(&p);
	world_free(w);
}

static void test_equal_sticky_keys_stay_together(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct client p, c[4];
	uint32_t with_some = 0;
	client_open(&p, w, 1);
	select_by(&p, SELECT_STICKY);
	for (uint8_t i = 0; i < 4; i++)
		worker(&c[i], w, (uint8_t)(2 + i), (struct serve_args){ .credit = 100 });
	for (int key = 0; key < 12; key++) {
		char text[16];
		uint32_t busy = 0;
		(void)snprintf(text, sizeof text, "chat %d", key);
		for (int i = 0; i < 3; i++)
			submit(&p, (struct submit_args){ .sticky = text });
		for (int i = 0; i < 4; i++) {
			uint32_t n = got(&c[i]);
			assert_true(n == 0 || n == 3);
			busy += n == 3;
			with_some |= n ? 1u << i : 0;
		}
		assert_int_equal(busy, 1);
	}
	assert_true(__builtin_popcount(with_some) > 1);
	for (int i = 0; i < 4; i++)
		client_free(&c[i]);
	client_free(&p);
	world_free(w);
}

enum { KINDS = 256, LANES = 200 };

/* Every lane is asked for every kind of entry: more than a turn does. Which of the two comes last is the question. */
static void many_of_both(struct world *w, bool entries_last)
{
	struct client p, *worker_ = malloc(sizeof *worker_);
	struct msg *m = calloc(1, sizeof *m);
	char params[KINDS][24], text[32];
	assert_true(worker_ && m);
	client_open(&p, w, 1);
	m->kind = FRAME_SERVE;
	m->serve.count = KINDS;
	for (uint32_t i = 0; i < KINDS; i++) {
		(void)snprintf(params[i], sizeof params[i], "n=%u", i);
		m->serve.entries[i] = (struct wire_entry){ .id = i + 1, .service = span_str("t"), .params = span_str(params[i]), .credit = 4 };
	}
	submit(&p, (struct submit_args){ .count = 1, .requirements = "n == -1" }); /* the queue is there */
	if (!entries_last) {
		client_open(worker_, w, 2);
		client_send(worker_, m, 0, (struct span){ NULL, 0 });
	}
	uint32_t took = 0, tasks = 0;
	for (uint32_t i = 0; i < LANES; i++) {
		(void)snprintf(text, sizeof text, "n == %u", KINDS - 1 - i);
		submit(&p, (struct submit_args){ .count = 1, .requirements = text });
		tasks += entries_last ? 0 : got(worker_);
	}
	if (entries_last) {
		client_open(worker_, w, 2);
		client_send(worker_, m, 0, (struct span){ NULL, 0 });
	}
	for (int turn = 0; turn < 1000 && entries_last; turn++) {
		shard_turn_until(w->shard, io_now_ns(w->io) + 10 * SIM_US);
		took += w->shard->asking != NULL;
	}
	assert_true(!entries_last || took >= KINDS * LANES / ASKS_PER_TURN - 1);
	assert_int_equal(tasks + got(worker_), LANES);
	assert_null(w->shard->asking);
	assert_int_equal(w->shard->group_count, KINDS);
	client_free(worker_);
	client_free(&p);
	free(worker_);
	free(m);
}

static void test_kinds_and_lanes_are_asked_for_over_several_turns_and_none_is_forgotten(void **state)
{
	(void)state;
	for (int entries_last = 0; entries_last < 2; entries_last++) {
		struct world *w = world_new();
		many_of_both(w, entries_last);
		world_free(w);
	}
}

static void test_more_kinds_of_entries_than_there_is_room_for_are_refused_by_name(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct client c, p;
	client_open(&c, w, 1);
	client_open(&p, w, 2);
	w->shard->group_count += GROUPS_MAX; /* as if there were so many */
	client_serve(&c, "t", 1);
	struct msg *m = client_expect(&c, FRAME_ERROR);
	assert_int_equal(m->error.code, ERR_RESOURCE_EXHAUSTED);
	assert_false(m->error.fatal);
	w->shard->group_count -= GROUPS_MAX;
	client_serve(&c, "t", 1);
	submit(&p, (struct submit_args){ .count = 1 });
	assert_int_equal(got(&c), 1);
	client_free(&c);
	client_free(&p);
	world_free(w);
}

static void test_ordering_keys_reach_one_worker_at_a_time(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct client p, a, b;
	client_open(&p, w, 1);
	worker(&a, w, 2, (struct serve_args){ .credit = 10 });
	worker(&b, w, 3, (struct serve_args){ .credit = 10 });
	submit(&p, (struct submit_args){ .count = 4, .order_key = "k" });
	for (uint64_t task = 1; task <= 4; task++) {
		world_settle(w);
		struct client *c = client_poll(&a) ? &a : &b;
		if (c == &b)
			assert_true(client_poll(&b));
		while (c->msg.kind != FRAME_DELIVER)
			assert_true(client_poll(c));
		assert_int_equal(c->msg.deliver.count, 1);
		assert_int_equal(c->msg.deliver.items[0].task, task);
		struct task_ref ref = { task, 1, c->msg.deliver.epoch };
		assert_int_equal(got(&a) + got(&b), 0);
		client_report(c, ref, REPORT_COMPLETE, "");
		(void)client_expect(c, FRAME_REPORTED);
	}
	client_free(&a);
	client_free(&b);
	client_free(&p);
	world_free(w);
}

/* The reasons of one task, as their names joined by a space; the first requirement's words go to `words`. */
static void why(struct client *c, uint64_t task, char names[256], char words[256])
{
	names[0] = words[0] = 0;
	const struct msg_reply *m = client_ask(c, (struct msg_request){ .verb = VERB_TASK_WHY, .tasks = { &task, 1 } });
	assert_int_equal(m->code, ERR_OK);
	assert_int_equal(m->count, m->spec_count);
	for (uint32_t i = 0; i < m->spec_count; i++) {
		struct why_reason r;
		char text[128];
		size_t len = strlen(names);
		assert_int_equal(why_reason_decode(msg_reply_spec(m, i), &r, text), ERR_OK);
		(void)snprintf(names + len, 256 - len, "%s%s", len ? " " : "", why_kind_name(r.kind));
		if (r.kind == WHY_REQUIREMENT && !words[0])
			(void)snprintf(words, 256, "%.*s: %.*s", (int)r.predicate.len, (const char *)r.predicate.data,
				       (int)r.value.len, r.value.len ? (const char *)r.value.data : "");
		if (r.kind == WHY_ORDER)
			(void)snprintf(words, 256, "%u", (unsigned)r.task);
	}
}

static void test_why_tells_the_first_thing_in_the_way_of_each_entry(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct client p, a, b;
	char names[256], words[256];
	client_open(&p, w, 1);
	submit(&p, (struct submit_args){ .requirements = "gpu == \"A100\" && vram_gb >= 40" });
	why(&p, 1, names, words);
	assert_string_equal(names, "no_entry");
	worker(&a, w, 2, (struct serve_args){ .credit = 1, .params = "gpu=\"A100\", vram_gb=16" });
	worker(&b, w, 3, (struct serve_args){ .credit = 1 });
	why(&p, 1, names, words);
	assert_string_equal(names, "requirement requirement");
	assert_string_equal(words, "vram_gb >= 40: 16");
	submit(&p, (struct submit_args){ .count = 4, .order_key = "k" });
	why(&p, 2, names, words);
	assert_string_equal(names, "leased");
	why(&p, 3, names, words);
	assert_non_null(strstr(names, "order"));
	assert_string_equal(words, "2");
	submit(&p, (struct submit_args){ .count = 2 });
	why(&p, 7, names, words);
	assert_string_equal(names, "no_credit no_credit");
	submit(&p, (struct submit_args){ .delay_ms = 5000 });
	assert_int_equal(client_ask(&p, (struct msg_request){ .verb = VERB_QUEUE_PAUSE, .name = span_str("t") })->code, ERR_OK);
	why(&p, 8, names, words);
	assert_string_equal(names, "paused delayed no_credit no_credit");
	uint64_t unknown = 99;
	assert_int_equal(client_ask(&p, (struct msg_request){ .verb = VERB_TASK_WHY, .tasks = { &unknown, 1 } })->code,
			 ERR_NOT_FOUND);
	client_free(&a);
	client_free(&b);
	client_free(&p);
	world_free(w);
}

/* As many entries as a session may have, each with as much to say as it may: what the answer has no room for is only counted. */
static void test_why_stays_within_a_frame(void **state)
{
	(void)state;
	struct world *w = world_new();
	struct client p, c;
	char params[3000], requirements[2000];
	struct msg *m = calloc(1, sizeof *m);
	uint64_t task = 1;
	assert_non_null(m);
	memset(params, 'x', sizeof params);
	memcpy(params, "p=\"", 3);
	memcpy(params + sizeof params - 2, "\"", 2);
	memset(requirements, 'y', sizeof requirements);
	memcpy(requirements, "p == \"", 6);
	memcpy(requirements + sizeof requirements - 2, "\"", 2);
	client_open(&p, w, 1);
	submit(&p, (struct submit_args){ .requirements = requirements });
	client_open(&c, w, 2);
	m->kind = FRAME_SERVE;
	for (m->serve.count = 0; m->serve.count < LIMIT_SESSION_ENTRIES; m->serve.count++)
		m->serve.entries[m->serve.count] = (struct wire_entry){ .id = m->serve.count + 1, .service = span_str("t"), .credit = 1,
									.params = span_str(params) };
	client_send(&c, m, 0, (struct span){ NULL, 0 });
	free(m);
	world_settle(w);
	const struct msg_reply *r = client_ask(&p, (struct msg_request){ .verb = VERB_TASK_WHY, .tasks = { &task, 1 } });
	assert_int_equal(r->code, ERR_OK);
	assert_int_equal(r->count, LIMIT_SESSION_ENTRIES);
	assert_true(r->spec_count > 10 && r->spec_count < LIMIT_SESSION_ENTRIES);
	client_free(&c);
	client_free(&p);
	world_free(w);
}

static int setup(void **state)
{
	(void)state;
	sequence = 1;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_task_goes_only_where_its_requirements_hold, setup),
		cmocka_unit_test_setup(test_what_waits_is_found_when_credit_comes_and_when_parameters_change, setup),
		cmocka_unit_test_setup(test_the_highest_priority_that_fits_is_served_first, setup),
		cmocka_unit_test_setup(test_most_free_credit_and_round_robin, setup),
		cmocka_unit_test_setup(test_the_cheapest_then_the_next, setup),
		cmocka_unit_test_setup(test_who_has_it_warm_goes_first_and_anybody_before_nobody, setup),
		cmocka_unit_test_setup(test_equal_sticky_keys_stay_together, setup),
		cmocka_unit_test_setup(test_why_tells_the_first_thing_in_the_way_of_each_entry, setup),
		cmocka_unit_test_setup(test_why_stays_within_a_frame, setup),
		cmocka_unit_test_setup(test_kinds_and_lanes_are_asked_for_over_several_turns_and_none_is_forgotten, setup),
		cmocka_unit_test_setup(test_more_kinds_of_entries_than_there_is_room_for_are_refused_by_name, setup),
		cmocka_unit_test_setup(test_ordering_keys_reach_one_worker_at_a_time, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
