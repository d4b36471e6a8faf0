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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_principal_has_so_many_sessions_and_one_that_is_resumed_is_no_new_one),
		cmocka_unit_test(test_entries_and_subscriptions_are_counted_over_all_sessions_of_a_principal),
		cmocka_unit_test(test_who_sends_too_much_is_read_more_slowly_and_loses_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
