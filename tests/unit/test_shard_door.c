/* Connections before they are sessions: limits by source, stalled handshakes, wrong credentials. */
#include "shard_world.h"

#include "../../broker/door.h"
#include "../../broker/shard_impl.h"

enum { CLIENTS = 64 };
struct crowd { struct client at[CLIENTS]; uint32_t count; };

static struct sim_link link_of(const char *host)
{
	return (struct sim_link){ .delay_min_ns = 20000, .delay_max_ns = 60000, .window = 256 << 10, .host = host };
}

static void dial_from(struct crowd *crowd, struct world *w, const char *host)
{
	assert_true(crowd->count < CLIENTS);
	sim_link_default(w->sim, link_of(host));
	client_dial(&crowd->at[crowd->count++], w);
	world_run(w, SIM_MS);
}

static uint32_t open_of(const struct crowd *crowd)
{
	uint32_t open = 0;
	for (uint32_t i = 0; i < crowd->count; i++)
		open += !sim_peer_closed(crowd->at[i].peer);
	return open;
}

static void crowd_free(struct crowd *crowd)
{
	for (uint32_t i = 0; i < crowd->count; i++)
		client_free(&crowd->at[i]);
}

/* Counters of the shard by their name in the statistics. */
static double stat_of(struct world *w, const char *name)
{
	static struct shard_stat all[512];
	uint32_t count = shard_stats(w->shard, all, COUNT_OF(all));
	for (uint32_t i = 0; i < count; i++)
		if (strcmp(all[i].name, name) == 0)
			return all[i].value;
	fail_msg("no figure is called %s", name);
	return 0;
}

static void test_a_source_has_so_many_connections_and_others_are_not_touched_by_that(void **state)
{
	struct world w;
	struct crowd crowd = { .count = 0 };
	(void)state;
	world_init(&w);
	w.config.address_conns_max = 3;
	world_open(&w);
	for (int i = 0; i < 5; i++)
		dial_from(&crowd, &w, "192.0.2.1");
	assert_int_equal(open_of(&crowd), 3);
	dial_from(&crowd, &w, "192.0.2.2");
	assert_int_equal(open_of(&crowd), 4);
	assert_int_equal(stat_of(&w, "door_crowded_total"), 2);
	assert_non_null(strstr(w.notes, "limit=address_conns_max"));
	sim_peer_close(crowd.at[0].peer, false); /* one goes, one may come */
	world_run(&w, SIM_S);
	dial_from(&crowd, &w, "192.0.2.1");
	assert_int_equal(open_of(&crowd), 4);
	crowd_free(&crowd);
	world_close(&w);
}

static void test_a_network_of_ipv6_addresses_is_one_source(void **state)
{
	struct world w;
	struct crowd crowd = { .count = 0 };
	(void)state;
	world_init(&w);
	w.config.address_conns_max = 1;
	world_open(&w);
	dial_from(&crowd, &w, "[2001:db8:0:1::1]");
	dial_from(&crowd, &w, "[2001:db8:0:1:ffff::2]");
	assert_int_equal(open_of(&crowd), 1);
	dial_from(&crowd, &w, "[2001:db8:0:2::1]");
	assert_int_equal(open_of(&crowd), 2);
	crowd_free(&crowd);
	world_close(&w);
}

static void test_a_source_that_dials_too_fast_waits_and_then_may_dial_again(void **state)
{
	struct world w;
	struct crowd crowd = { .count = 0 };
	(void)state;
	world_init(&w);
	w.config.address_rate = 2;
	w.config.address_burst = 4;
	world_open(&w);
	for (int i = 0; i < 10; i++)
		dial_from(&crowd, &w, "192.0.2.1");
	assert_int_equal(open_of(&crowd), 4);
	assert_int_equal(stat_of(&w, "door_hasty_total"), 6);
	world_run(&w, SIM_S);
	for (int i = 0; i < 10; i++)
		dial_from(&crowd, &w, "192.0.2.1");
	assert_int_equal(open_of(&crowd), 6); /* two a second */
	crowd_free(&crowd);
	world_close(&w);
}

static void test_stalled_handshakes_keep_nobody_out_and_sessions_are_not_touched(void **state)
{
	struct world w;
	struct crowd crowd = { .count = 0 };
	struct client worker, late;
	(void)state;
	world_init(&w);
	w.config.handshakes_max = 8;
	world_open(&w);
	client_open(&worker, &w, 1);
	sim_link_default(w.sim, link_of("198.51.100.7"));
	client_dial(&late, &w); /* the oldest of all, but alone from where it is */
	for (int i = 0; i < 40; i++)
		dial_from(&crowd, &w, "192.0.2.1");
	assert_int_equal(open_of(&crowd), 7);
	assert_false(sim_peer_closed(crowd.at[39].peer)); /* the newest ones stay */
	assert_true(sim_peer_closed(crowd.at[0].peer));
	assert_int_equal(stat_of(&w, "door_evicted_total"), 33);
	client_hello(&late, 2);
	(void)client_expect(&late, FRAME_WELCOME);
	client_hello(&crowd.at[39], 3);
	(void)client_expect(&crowd.at[39], FRAME_WELCOME);
	assert_false(sim_peer_closed(worker.peer));
	assert_int_equal(stat_of(&w, "sessions"), 3);
	crowd_free(&crowd);
	client_free(&worker);
	client_free(&late);
	world_close(&w);
}

static struct conn *newest(struct world *w)
{
	return w->shard->conns;
}

/* What session_hello does where credentials are wrong. */
static void guess(struct crowd *crowd, struct world *w, const char *host)
{
	dial_from(crowd, w, host);
	door_login_failed(newest(w));
}

static void test_who_guesses_waits_longer_and_longer_and_is_told_how_long(void **state)
{
	struct world w;
	struct crowd crowd = { .count = 0 };
	(void)state;
	world_init(&w);
	w.config.login_failures_max = 3;
	w.config.login_penalty_max_ms = 4000;
	world_open(&w);
	for (int i = 0; i < 3; i++)
		guess(&crowd, &w, "192.0.2.1");
	uint32_t retry_ms = 0, waits[5] = { 0 };
	assert_true(door_may_login(newest(&w), &retry_ms));
	for (int i = 0; i < 5; i++) {
		guess(&crowd, &w, "192.0.2.1");
		assert_false(door_may_login(newest(&w), &retry_ms));
		waits[i] = retry_ms;
		world_run(&w, retry_ms * SIM_MS);
		assert_true(door_may_login(newest(&w), &retry_ms));
	}
	assert_int_equal(waits[0], 500);
	assert_int_equal(waits[1], 1000);
	assert_int_equal(waits[2], 2000);
	assert_int_equal(waits[4], 4000); /* and no longer */
	guess(&crowd, &w, "192.0.2.1");
	struct client *c = &crowd.at[crowd.count - 1];
	client_hello(c, 1);
	struct msg *m = client_expect(c, FRAME_ERROR);
	assert_int_equal(m->error.code, ERR_RESOURCE_EXHAUSTED);
	assert_true(m->error.fatal && m->error.retry_after_ms > 3000 && m->error.retry_after_ms <= 4000);
	client_expect_closed(c);
	dial_from(&crowd, &w, "192.0.2.2"); /* another one is not affected */
	client_hello(&crowd.at[crowd.count - 1], 2);
	(void)client_expect(&crowd.at[crowd.count - 1], FRAME_WELCOME);
	world_run(&w, 60 * SIM_S); /* failures fade away */
	guess(&crowd, &w, "192.0.2.1");
	assert_true(door_may_login(newest(&w), &retry_ms));
	crowd_free(&crowd);
	world_close(&w);
}

static void test_more_sources_than_the_table_has_share_one_and_its_connections_are_counted(void **state)
{
	struct world w;
	static char hosts[20000][24];
	(void)state;
	world_init(&w);
	w.config.conns_max = 20000;
	w.config.handshakes_max = 20000;
	world_open(&w);
	struct sim_peer **peers = calloc(20000, sizeof(struct sim_peer *));
	assert_non_null(peers);
	for (uint32_t i = 0; i < 20000; i++) {
		static const struct sim_peer_events events;
		(void)snprintf(hosts[i], sizeof hosts[i], "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		sim_link_default(w.sim, link_of(hosts[i]));
		peers[i] = sim_dial(w.sim, 0, &events, NULL);
	}
	world_run(&w, SIM_S);
	assert_int_equal(stat_of(&w, "conns"), 20000);
	for (uint32_t i = 0; i < 20000; i++)
		sim_peer_free(peers[i]);
	world_run(&w, 10 * SIM_S);
	assert_int_equal(stat_of(&w, "conns"), 0);
	free(peers);
	world_close(&w);
}

static void test_a_bucket_holds_its_burst_and_fills_at_its_rate(void **state)
{
	struct bucket b;
	(void)state;
	bucket_fill(&b, 5, 1000);
	for (int i = 0; i < 5; i++)
		assert_true(bucket_take(&b, 1));
	assert_false(bucket_take(&b, 1));
	assert_int_equal(bucket_wait_ms(&b, 1, 10), 100);
	bucket_refill(&b, 10, 5, 1099);
	assert_false(bucket_take(&b, 1));
	bucket_refill(&b, 10, 5, 1100);
	assert_true(bucket_take(&b, 1));
	bucket_refill(&b, 10, 5, UINT64_MAX / 2); /* a long time does not overflow */
	assert_false(bucket_take(&b, 6));
	assert_true(bucket_take(&b, 5));
	assert_int_equal(bucket_wait_ms(&b, 1, 0), UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_bucket_holds_its_burst_and_fills_at_its_rate),
		cmocka_unit_test(test_a_source_has_so_many_connections_and_others_are_not_touched_by_that),
		cmocka_unit_test(test_a_network_of_ipv6_addresses_is_one_source),
		cmocka_unit_test(test_a_source_that_dials_too_fast_waits_and_then_may_dial_again),
		cmocka_unit_test(test_stalled_handshakes_keep_nobody_out_and_sessions_are_not_touched),
		cmocka_unit_test(test_who_guesses_waits_longer_and_longer_and_is_told_how_long),
		cmocka_unit_test(test_more_sources_than_the_table_has_share_one_and_its_connections_are_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
