/* tests/unit/test_tasks_secret.c: ordering keys and requirements are named by hashes that no client can make collide.
 *
 * Without a secret anybody can: the first test shows how, and that the attack is real. */
#include "../../broker/hash.h"
#include "tasks_world.h"

static const uint8_t RANDOM[16] = "sixteen  random";

/* Two keys of 16 bytes with the same open hash: whatever the first words are, the second ones can make up for them. */
static void colliding_keys(uint32_t queue, uint64_t a[2], uint64_t b[2])
{
	uint64_t seed = SECRET_ORDER + queue, state[2], size = 16;
	for (int i = 0; i < 2; i++) {
		uint64_t word = 0x1111111111111111u * (uint64_t)(i + 1), hash = seed ^ (size * 0x9e3779b97f4a7c15u);
		hash = (hash ^ word) * 0xff51afd7ed558ccdu;
		hash ^= hash >> 32;
		hash = hash * 0xc4ceb9fe1a85ec53u + seed;
		state[i] = hash ^ hash >> 29;
		(i ? b : a)[0] = word;
	}
	a[1] = 42;
	b[1] = 42 ^ state[0] ^ state[1];
	assert_int_equal(bytes_hash_open(span_of(a, 16), seed), bytes_hash_open(span_of(b, 16), seed));
}

static uint64_t submit_key(struct world *w, uint64_t seq, const void *key, size_t size)
{
	struct order o = { .queue = "q", .seq = seq, .count = 1, .head = { .order_key = span_of(key, size) } };
	return world_submit(w, &o);
}

/* How many of two tasks with keys made to collide can be worked on at once. */
static uint32_t at_once(bool secret)
{
	struct world *w = world_new();
	struct holder *h = tasks_holder_new(w->t, w);
	uint64_t a[2], b[2], out[4];
	if (secret)
		assert_true(tasks_propose_secret(w->t, LOG(w), RANDOM));
	world_flush(w);
	struct order first = { .queue = "q", .seq = 1, .count = 1 };
	(void)world_submit(w, &first);
	assert_int_equal(world_lease(w, "q", h, 4, out), 1);
	colliding_keys(world_queue(w, "q"), a, b);
	(void)submit_key(w, 2, a, sizeof a);
	(void)submit_key(w, 3, b, sizeof b);
	uint32_t count = world_lease(w, "q", h, 4, out);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
	return count;
}

static void test_keys_made_to_collide_block_each_other_only_in_a_store_without_a_secret(void **state)
{
	(void)state;
	assert_int_equal(at_once(false), 1);
	assert_int_equal(at_once(true), 2);
}

static void test_the_secret_is_the_same_after_replay_and_out_of_a_checkpoint(void **state)
{
	(void)state;
	struct world *w = world_new();
	uint64_t out[4];
	assert_true(tasks_propose_secret(w->t, LOG(w), RANDOM));
	world_flush(w);
	uint64_t first = submit_key(w, 1, "key", 3);
	for (int round = 0; round < 2; round++) {
		world_restart(w);
		uint32_t records = w->count;
		assert_true(tasks_propose_secret(w->t, LOG(w), (const uint8_t *)"another sixteen"));
		assert_int_equal(w->count, records); /* it has one */
		struct holder *h = tasks_holder_new(w->t, w);
		uint64_t second = submit_key(w, (uint64_t)round + 2, "key", 3);
		assert_int_equal(world_lease(w, "q", h, 4, out), 1);
		assert_int_equal(out[0], first);
		assert_int_equal(tasks_waits_for(w->t, second), first);
		tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
		world_flush(w);
		world_checkpoint(w);
	}
	world_free(w);
}

static void test_a_store_from_before_gets_its_secret_when_no_named_task_waits(void **state)
{
	(void)state;
	struct world *w = world_new();
	uint64_t out[4];
	(void)submit_key(w, 1, "key", 3);
	world_restart(w);
	uint32_t records = w->count;
	assert_true(tasks_propose_secret(w->t, LOG(w), RANDOM));
	assert_int_equal(w->count, records);
	struct holder *h = tasks_holder_new(w->t, w);
	(void)submit_key(w, 2, "key", 3);
	assert_int_equal(world_lease(w, "q", h, 4, out), 1); /* the second is still of the same key */
	world_report(w, h, out[0], REPORT_COMPLETE, 0);
	assert_int_equal(world_lease(w, "q", h, 4, out), 1);
	world_report(w, h, out[0], REPORT_COMPLETE, 0);
	tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_checkpoint(w);
	world_restart(w);
	assert_true(tasks_propose_secret(w->t, LOG(w), RANDOM));
	assert_int_equal(w->records[w->count - 1].kind, REC_SECRET);
	world_flush(w);
	(void)submit_key(w, 3, "key", 3);
	world_restart(w);
	records = w->count;
	assert_true(tasks_propose_secret(w->t, LOG(w), RANDOM));
	assert_int_equal(w->count, records);
	world_free(w);
}

static void test_a_full_log_leaves_the_store_as_it_is(void **state)
{
	(void)state;
	struct world *w = world_new();
	w->full = true;
	assert_false(tasks_propose_secret(w->t, LOG(w), RANDOM));
	w->full = false;
	(void)submit_key(w, 1, "key", 3);
	world_restart(w);
	uint32_t records = w->count;
	assert_true(tasks_propose_secret(w->t, LOG(w), RANDOM));
	assert_int_equal(w->count, records); /* its key was named without one */
	world_free(w);
}

static void test_every_byte_the_length_the_key_and_the_domain_count(void **state)
{
	(void)state;
	const struct hash_key key = { { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u } }, other = { { 0x0706050403020101u, 0x0f0e0d0c0b0a0908u } };
	uint8_t text[32] = { 0 };
	for (size_t size = 0; size <= sizeof text; size++) { /* every length, key and domain counts */
		uint64_t hash = bytes_hash_keyed(span_of(text, size), &key, 1);
		assert_int_equal(hash, bytes_hash_keyed(span_of(text, size), &key, 1));
		assert_int_not_equal(hash, bytes_hash_keyed(span_of(text, size), &key, 2));
		assert_int_not_equal(hash, bytes_hash_keyed(span_of(text, size), &other, 1));
		if (size > 0)
			assert_int_not_equal(hash, bytes_hash_keyed(span_of(text, size - 1), &key, 1));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_made_to_collide_block_each_other_only_in_a_store_without_a_secret),
		cmocka_unit_test(test_the_secret_is_the_same_after_replay_and_out_of_a_checkpoint),
		cmocka_unit_test(test_a_store_from_before_gets_its_secret_when_no_named_task_waits),
		cmocka_unit_test(test_a_full_log_leaves_the_store_as_it_is),
		cmocka_unit_test(test_every_byte_the_length_the_key_and_the_domain_count),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
