/* What one principal takes of the broker over all its sessions, and that others do not notice. */
#include "access_world.h"

struct realm { struct world w; struct client ops; char ann[TOKEN_TEXT], bob[TOKEN_TEXT]; };

static void realm_open(struct realm *r)
{
	struct client first;
	char secret[TOKEN_TEXT];
	world_open(&r->w);
	client_open(&first, &r->w, 1);
	make(&first, "ops", "*", true, secret);
	client_expect_closed(&first);
	client_free(&first);
	hello_with(&r->ops, &r->w, 2, secret, "");
	(void)client_expect(&r->ops, FRAME_WELCOME);
	make(&r->ops, "ann", "a", false, r->ann);
	make(&r->ops, "bob", "b", false, r->bob);
}

static void realm_close(struct realm *r)
{
	client_free(&r->ops);
	world_close(&r->w);
}

static void enter(struct client *c, struct realm *r, uint8_t id, const char *token)
{
	hello_with(c, &r->w, id, token, "");
	(void)client_expect(c, FRAME_WELCOME);
}

static void test_a_principal_has_so_many_sessions_and_one_that_is_resumed_is_no_new_one(void **state)
{
	struct realm r;
	struct client c[4];
	(void)state;
	world_init(&r.w);
	r.w.config.principal_sessions_max = 2;
	r.w.config.grace_ms = 60000;
	realm_open(&r);
	enter(&c[0], &r, 10, r.ann);
	enter(&c[1], &r, 11, r.ann);
	hello_with(&c[2], &r.w, 12, r.ann, "");
	struct msg *m = client_expect(&c[2], FRAME_ERROR);
	assert_int_equal(m->error.code, ERR_RESOURCE_EXHAUSTED);
	enter(&c[3], &r, 13, r.bob);
	sim_peer_close(c[0].peer, true);
	world_run(&r.w, SIM_S);
	client_free(&c[0]);
	enter(&c[0], &r, 10, r.ann); /* the same session */
	for (int i = 0; i < 4; i++)
		client_free(&c[i]);
	realm_close(&r);
}

static void subscribe(struct client *c, uint32_t id)
{
	struct msg m = { .kind = FRAME_SUBSCRIBE };
	m.subscribe = (struct msg_subscribe){ .subscription = id, .credit = 10, .pattern = span_str("lab.*") };
	client_send(c, &m, 40, (struct span){ NULL, 0 });
}

static void test_entries_and_subscriptions_are_counted_over_all_sessions_of_a_principal(void **state)
{
	struct realm r;
	struct client a, b;
	(void)state;
	world_init(&r.w);
	r.w.config.principal_entries_max = 1;
	r.w.config.principal_subscriptions_max = 1;
	r.w.config.grace_ms = 500;
	realm_open(&r);
	enter(&a, &r, 10, r.ann);
	enter(&b, &r, 11, r.ann);
	client_serve(&a, "q", 1);
	client_serve(&a, "q", 2); /* instead of the one it had */
	client_serve(&b, "q", 1);
	struct msg *m = client_expect(&b, FRAME_ERROR);
	assert_int_equal(m->error.code, ERR_RESOURCE_EXHAUSTED);
	assert_false(m->error.fatal);
	subscribe(&a, 1);
	assert_int_equal(client_expect(&a, FRAME_SUBSCRIBED)->subscribed.code, ERR_OK);
	subscribe(&b, 1);
	assert_int_equal(client_expect(&b, FRAME_ERROR)->error.code, ERR_RESOURCE_EXHAUSTED);
	sim_peer_close(a.peer, true); /* what it had is free again when its session ends */
	world_run(&r.w, 5 * SIM_S);
	subscribe(&b, 1);
	assert_int_equal(client_expect(&b, FRAME_SUBSCRIBED)->subscribed.code, ERR_OK);
	client_serve(&b, "q", 1);
	world_run(&r.w, SIM_S);
	assert_false(client_poll(&b) && b.msg.kind == FRAME_ERROR);
	client_free(&a);
	client_free(&b);
	realm_close(&r);
}

/* How long (virtual ms) until its submissions are answered. */
static uint64_t submit_ms(struct client *c, uint64_t first_seq, uint32_t count)
{
	uint64_t begun = io_now_ns(c->w->io);
	for (uint32_t i = 0; i < count; i++)
		client_submit(c, (struct submit_args){ .type = "q", .producer = 9, .first_seq = first_seq + i, .count = 1, .size = 1000 });
	for (uint32_t done = 0; done < count;)
		done += (uint32_t)client_expect(c, FRAME_CONFIRMS)->confirms.runs[0].count;
	return (io_now_ns(c->w->io) - begun) / SIM_MS;
}

static void test_who_sends_too_much_is_read_more_slowly_and_loses_nothing(void **state)
{
	struct realm r;
	struct client a, b;
	(void)state;
	world_init(&r.w);
	r.w.config.principal_bytes_rate = 20000;
	realm_open(&r);
	enter(&a, &r, 10, r.ann);
	enter(&b, &r, 11, r.bob);
	(void)submit_ms(&b, 1, 1); /* makes the queue */
	(void)submit_ms(&a, 1, 100); /* 110 kB at 20 kB/s, a second of it in advance */
	uint64_t slow = submit_ms(&a, 101, 100);
	assert_true(slow > 3000);
	assert_true(submit_ms(&b, 2, 5) < 1000); /* another principal is not slower for it */
	client_free(&a);
	client_free(&b);
	realm_close(&r);
}

static void set_limit(struct realm *r, const char *name, enum access_limit limit, uint64_t value)
{
	struct access_info info = { .limit_mask = 1u << limit };
	info.limits[limit] = value;
	assert_int_equal(access_ask(&r->ops, VERB_PRINCIPAL_SET, name, info)->code, ERR_OK);
}

static struct access_info shown(struct realm *r, const char *name)
{
	struct access_info info;
	char text[128];
	struct msg_reply *m = client_ask(&r->ops, (struct msg_request){ .verb = VERB_PRINCIPAL_LIST, .name = span_str(name) });
	assert_int_equal(m->spec_count, 1);
	assert_int_equal(access_info_decode(msg_reply_spec(m, 0), &info, text), ERR_OK);
	return info; /* its numbers; what it borrows is over with the next frame */
}

static void serve_two(struct client *c)
{
	struct msg *m = calloc(1, sizeof *m);
	assert_non_null(m);
	m->kind = FRAME_SERVE;
	for (uint32_t i = 0; i < 2; i++)
		m->serve.entries[i] = (struct wire_entry){ .id = i + 1, .service = span_str("q") };
	m->serve.count = 2;
	client_send(c, m, 0, (struct span){ NULL, 0 });
	free(m);
}

static void test_a_limit_of_one_principal_counts_at_once_and_for_nobody_else(void **state)
{
	struct realm r;
	struct client a[2], b[2];
	(void)state;
	world_init(&r.w);
	r.w.config.principal_sessions_max = 2;
	realm_open(&r);
	enter(&a[0], &r, 10, r.ann);
	enter(&b[0], &r, 20, r.bob);
	set_limit(&r, "ann", ACCESS_LIMIT_SESSIONS, 1);
	set_limit(&r, "ann", ACCESS_LIMIT_ENTRIES, 1);
	hello_with(&a[1], &r.w, 11, r.ann, "");
	struct msg *m = client_expect(&a[1], FRAME_ERROR);
	assert_int_equal(m->error.code, ERR_RESOURCE_EXHAUSTED);
	assert_true(m->error.retry_after_ms > 0);
	client_serve(&a[0], "q", 1);
	serve_two(&a[0]);
	m = client_expect(&a[0], FRAME_ERROR);
	assert_int_equal(m->error.code, ERR_RESOURCE_EXHAUSTED);
	assert_true(m->error.retry_after_ms > 0);
	enter(&b[1], &r, 21, r.bob); /* as the configuration says */
	struct access_info info = shown(&r, "ann");
	assert_true(info.limits[ACCESS_LIMIT_SESSIONS] == 1 && info.used[ACCESS_LIMIT_SESSIONS] == 1 && info.used[ACCESS_LIMIT_ENTRIES] == 1);
	set_limit(&r, "ann", ACCESS_LIMIT_SESSIONS, ACCESS_LIMIT_INHERIT);
	client_free(&a[1]);
	enter(&a[1], &r, 11, r.ann);
	for (int i = 0; i < 2; i++) {
		client_free(&a[i]);
		client_free(&b[i]);
	}
	realm_close(&r);
}

static void test_whoever_is_slowed_goes_on_when_its_limit_is_lifted(void **state)
{
	struct realm r;
	struct client a;
	(void)state;
	world_init(&r.w);
	realm_open(&r);
	enter(&a, &r, 10, r.ann);
	(void)submit_ms(&a, 1, 1);
	set_limit(&r, "ann", ACCESS_LIMIT_BYTES_RATE, 10);
	for (uint32_t i = 0; i < 20; i++)
		client_submit(&a, (struct submit_args){ .type = "q", .producer = 9, .first_seq = 2 + i, .count = 1, .size = 1000 });
	world_run(&r.w, 5 * SIM_S);
	for (uint32_t i = 0; i < 20; i++) /* a debt of half an hour and more */
		client_submit(&a, (struct submit_args){ .type = "q", .producer = 9, .first_seq = 22 + i, .count = 1, .size = 1000 });
	uint64_t begun = io_now_ns(r.w.io);
	set_limit(&r, "ann", ACCESS_LIMIT_BYTES_RATE, 0);
	for (uint32_t done = 0; done < 40;)
		done += (uint32_t)client_expect(&a, FRAME_CONFIRMS)->confirms.runs[0].count;
	assert_true(io_now_ns(r.w.io) - begun < 5 * SIM_S);
	client_free(&a);
	realm_close(&r);
}

static struct confirm_run submit_one(struct client *c, const char *queue, uint64_t seq, uint32_t count, uint32_t size, uint32_t *retry_ms)
{
	client_submit(c, (struct submit_args){ .type = queue, .producer = 77, .first_seq = seq, .count = count, .size = size });
	struct msg *m = client_expect(c, FRAME_CONFIRMS);
	*retry_ms = m->confirms.retry_after_ms;
	return m->confirms.runs[0];
}

static void crash_and_start(struct realm *r)
{
	sim_crash(r->w.sim, 0, SIM_CRASH_DROP_ALL);
	sim_bury(r->w.sim, 0);
	shard_close(r->w.shard);
	r->w.io->v->free(r->w.io);
	r->w.io = sim_restart(r->w.sim, 0);
	world_open(&r->w);
}

static void test_a_share_of_a_queue_and_stored_bytes_are_one_principals_own_and_survive(void **state)
{
	struct realm r;
	struct client a, b;
	uint32_t retry_ms;
	(void)state;
	world_init(&r.w);
	realm_open(&r);
	set_limit(&r, "ann", ACCESS_LIMIT_QUEUE_TASKS, 3);
	set_limit(&r, "bob", ACCESS_LIMIT_STORED_BYTES, 5000);
	client_free(&r.ops);
	for (int round = 0; round < 2; round++) {
		uint64_t seq = 1 + 10 * (uint64_t)round;
		enter(&a, &r, 10, r.ann);
		enter(&b, &r, 11, r.bob);
		if (round == 0) {
			assert_int_equal(submit_one(&a, "q", seq, 2, 10, &retry_ms).code, ERR_OK);
			assert_int_equal(submit_one(&b, "q", seq, 2, 2000, &retry_ms).code, ERR_OK);
			assert_int_equal(submit_one(&a, "q", seq + 2, 1, 10, &retry_ms).code, ERR_OK);
		}
		assert_int_equal(submit_one(&a, "q", seq + 3, 1, 10, &retry_ms).code, ERR_RESOURCE_EXHAUSTED);
		assert_true(retry_ms > 0);
		assert_int_equal(submit_one(&b, "q", seq + 3, 1, 1000, &retry_ms).code, ERR_RESOURCE_EXHAUSTED);
		assert_true(retry_ms > 0);
		assert_int_equal(submit_one(&b, "q", seq + 4, 1, 100, &retry_ms).code, ERR_OK);
		client_free(&a);
		client_free(&b);
		if (round == 0)
			crash_and_start(&r);
	}
	enter(&a, &r, 10, r.ann); /* what is settled is free again */
	client_serve(&a, "q", 1);
	const struct msg_deliver *d = &client_expect(&a, FRAME_DELIVER)->deliver;
	struct task_ref ref = { d->items[0].task, d->items[0].attempt, d->epoch };
	client_report(&a, ref, REPORT_COMPLETE, "");
	(void)client_expect(&a, FRAME_REPORTED);
	assert_int_equal(submit_one(&a, "q", 20, 1, 10, &retry_ms).code, ERR_OK);
	client_free(&a);
	world_close(&r.w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_principal_has_so_many_sessions_and_one_that_is_resumed_is_no_new_one),
		cmocka_unit_test(test_entries_and_subscriptions_are_counted_over_all_sessions_of_a_principal),
		cmocka_unit_test(test_a_limit_of_one_principal_counts_at_once_and_for_nobody_else),
		cmocka_unit_test(test_whoever_is_slowed_goes_on_when_its_limit_is_lifted),
		cmocka_unit_test(test_a_share_of_a_queue_and_stored_bytes_are_one_principals_own_and_survive),
		cmocka_unit_test(test_who_sends_too_much_is_read_more_slowly_and_loses_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
