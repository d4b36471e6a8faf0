/* tests/unit/test_tasks_fair.c: who submitted to a fair queue takes turns, by weight; and the rest of promise 7 holds among the tasks of
 * one of them. The last test holds random histories against a naive machine and the bound of unfairness. */
#include "tasks_world.h"

enum { PRINCIPALS_MAX = 1024, RUN = 8 }; /* broker/fair.h */

static uint64_t seqs = 1;

static void make_queue(struct world *w, bool fair)
{
	struct queue_settings s = QUEUE_SETTINGS_UNSET;
	char text[256];
	uint32_t records;
	s.fair = fair ? FAIR_PRINCIPAL : FAIR_OFF;
	assert_int_equal(tasks_propose_queue(w->t, LOG(w), span_str("q"), &s, true, &records, text), ERR_OK);
	world_flush(w);
}

static struct world *fair_world(void)
{
	struct tasks_config config = world_config(NULL);
	config.producers_max = 1 << 16;
	struct world *w = world_new_with(&config);
	w->segment_bytes = 1 << 20;
	make_queue(w, true);
	return w;
}

static enum err weigh(struct world *w, const char *pattern, uint32_t weight)
{
	char text[256];
	uint32_t records;
	enum err e = tasks_propose_weight(w->t, LOG(w), span_str("q"), span_str(pattern), weight, &records, text);
	world_flush(w);
	return e;
}

static uint64_t submit_to(struct world *w, const char *principal, uint32_t count, uint8_t priority, const char *requirements)
{
	struct order o = { .queue = "q", .producer = 1 + seqs, .seq = 1, .count = count, .principal = principal,
			   .head = { .priority = priority, .requirements = span_str(requirements) } };
	seqs++;
	return world_submit(w, &o);
}

static uint64_t submit(struct world *w, const char *principal, uint32_t count)
{
	return submit_to(w, principal, count, 4, NULL);
}

/* Hands out one task; 0 = none. */
static uint64_t take(struct world *w, struct holder *h)
{
	struct ready_run run;
	if (!tasks_peek(w->t, world_queue(w, "q"), NULL, 0, &run))
		return 0;
	tasks_lease(w->t, world_queue(w, "q"), 1, h, 0, w->now_ms);
	return run.first_task;
}

static void end(struct world *w, struct holder *h)
{
	if (h)
		tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
	world_free(w);
}

static void test_who_has_few_tasks_is_not_behind_those_of_who_has_many(void **state)
{
	(void)state;
	for (int fair = 0; fair < 2; fair++) {
		struct world *w = world_new();
		struct holder *h = tasks_holder_new(w->t, NULL);
		w->segment_bytes = 1 << 20;
		make_queue(w, fair);
		for (int i = 0; i < 5; i++)
			(void)submit(w, "many", 4000);
		for (int i = 0; i < 100; i++)
			assert_true(take(w, h) < 20001);
		uint64_t first = submit(w, "few", 10);
		uint32_t until = 0, got = 0;
		for (; got < 10 && until < 25; until++) {
			uint64_t task = take(w, h);
			assert_true(task < first || task == first + got); /* in its own order */
			got += task >= first;
		}
		assert_int_equal(got, fair ? 10 : 0);
		assert_true(!fair || until <= 20);
		end(w, h);
	}
}

static void test_weights_decide_how_many_turns_each_gets(void **state)
{
	(void)state;
	struct world *w = fair_world();
	struct holder *h = tasks_holder_new(w->t, NULL);
	uint32_t got[3] = { 0, 0, 0 };
	assert_int_equal(weigh(w, "alice", 3), ERR_OK);
	assert_int_equal(weigh(w, "team.*", 2), ERR_OK);
	uint64_t alice = submit(w, "alice", 600), team = submit(w, "team.x", 600), bob = submit(w, "bob", 600);
	for (int i = 0; i < 600; i++) {
		uint64_t task = take(w, h);
		got[task >= bob ? 2 : task >= team ? 1 : 0]++;
		if ((i + 1) % 6 == 0) { /* every round of six is three, two, one, but for one of each at its end */
			uint32_t round = (uint32_t)(i + 1) / 6;
			assert_in_range(got[0] + 1, 3 * round, 3 * round + 2);
			assert_in_range(got[1] + 1, 2 * round, 2 * round + 2);
			assert_in_range(got[2] + 1, round, round + 2);
		}
	}
	(void)alice;
	/* And they change it at once. */
	assert_int_equal(weigh(w, "alice", 0), ERR_OK);
	assert_int_equal(weigh(w, "bob", 1000), ERR_OK);
	got[2] = 0;
	for (int i = 0; i < 100; i++)
		got[2] += take(w, h) >= bob;
	assert_true(got[2] >= 97);
	end(w, h);
}

static void test_priorities_come_first_and_the_share_counts_within_one(void **state)
{
	(void)state;
	struct world *w = fair_world();
	struct holder *h = tasks_holder_new(w->t, NULL);
	uint64_t low = submit_to(w, "a", 4, 1, NULL), high = submit_to(w, "b", 4, 9, NULL), more = submit_to(w, "a", 2, 9, NULL);
	uint64_t order[6], from_a = 0;
	for (int i = 0; i < 6; i++)
		order[i] = take(w, h);
	for (int i = 0; i < 4; i++)
		from_a += order[i] >= more;
	assert_int_equal(from_a, 2); /* they alternate while both have some */
	for (int i = 0; i < 6; i++)
		assert_true(order[i] >= high);
	assert_int_equal(take(w, h), low);
	end(w, h);
}

static void test_who_was_away_has_saved_nothing_and_owes_nothing(void **state)
{
	(void)state;
	struct world *w = fair_world();
	struct holder *h = tasks_holder_new(w->t, NULL);
	(void)submit(w, "a", 2000);
	uint64_t b = submit(w, "b", 1);
	bool seen = false;
	for (int i = 0; i < 500; i++)
		seen = take(w, h) == b || seen;
	assert_true(seen);
	b = submit(w, "b", 500); /* from now on one each: no 249 in a row */
	uint32_t got = 0;
	for (int i = 0; i < 100; i++)
		got += take(w, h) >= b;
	assert_in_range(got, 49, 51);
	end(w, h);
}

static void test_tasks_that_nobody_can_do_take_no_turn(void **state)
{
	(void)state;
	struct world *w = fair_world();
	struct holder *h = tasks_holder_new(w->t, NULL);
	(void)submit_to(w, "a", 100, 4, "gpu == 1");
	uint64_t b = submit(w, "b", 2), a = submit(w, "a", 2), order[4];
	uint64_t slots = ~2ull; /* slot 1 is what a requires */
	for (int i = 0; i < 4; i++) {
		struct ready_run run;
		assert_true(tasks_peek(w->t, world_queue(w, "q"), &slots, 1, &run));
		tasks_lease(w->t, world_queue(w, "q"), 1, h, 0, w->now_ms);
		order[i] = run.first_task;
	}
	assert_true((order[0] >= a) != (order[1] >= a) && (order[2] >= a) != (order[3] >= a));
	assert_true(order[0] == a || order[0] == b);
	end(w, h);
}

static void test_a_frame_is_at_most_a_few_tasks_long_while_others_wait(void **state)
{
	(void)state;
	struct world *w = fair_world();
	struct holder *h = tasks_holder_new(w->t, NULL);
	struct ready_run run;
	(void)submit(w, "a", 500);
	assert_true(tasks_peek(w->t, world_queue(w, "q"), NULL, 0, &run));
	assert_int_equal(run.count, 500); /* alone */
	(void)submit(w, "b", 500);
	uint64_t got[2] = { 0, 0 };
	for (int i = 0; i < 50; i++) {
		assert_true(tasks_peek(w->t, world_queue(w, "q"), NULL, 0, &run));
		assert_true(run.count <= 2 * RUN);
		tasks_lease(w->t, world_queue(w, "q"), run.count, h, 0, w->now_ms);
		got[run.first_task > 500] += run.count;
		assert_true(got[0] <= got[1] + 2 * RUN && got[1] <= got[0] + 2 * RUN);
	}
	end(w, h);
}

static void test_principals_and_weights_survive_a_restart(void **state)
{
	(void)state;
	struct world *w = fair_world();
	assert_int_equal(weigh(w, "a", 3), ERR_OK);
	uint64_t first = submit(w, "a", 200), other = submit(w, "b", 200);
	for (int round = 0; round < 3; round++) {
		struct buf weights = { NULL, 0, 0 };
		world_restart(w);
		tasks_queue_weights(w->t, world_queue(w, "q"), &weights);
		assert_true(span_eq(buf_span(&weights), span_str("a=3\n")));
		buf_free(&weights);
		struct holder *h = tasks_holder_new(w->t, NULL);
		uint32_t got = 0;
		for (int i = 0; i < 40; i++)
			got += take(w, h) < other;
		assert_in_range(got, 29, 31);
		tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
		world_flush(w);
		if (round == 0)
			world_seal(w);
		world_checkpoint(w);
	}
	(void)first;
	world_free(w);
}

static void test_more_principals_than_there_are_accounts_share_one(void **state)
{
	(void)state;
	struct world *w = fair_world();
	struct holder *h = tasks_holder_new(w->t, NULL);
	char name[32];
	for (uint32_t i = 0; i < PRINCIPALS_MAX; i++) {
		(void)snprintf(name, sizeof name, "p%u", i);
		(void)submit(w, name, 2);
	}
	uint64_t extra = submit(w, "late", 50);
	(void)submit(w, "later", 50);
	struct span principal;
	uint32_t weight;
	bool waits = tasks_waits_for_share(w->t, extra, &principal, &weight);
	assert_true(!waits || principal.len == 0); /* nobody's account */
	uint32_t from_extra = 0;
	for (uint32_t i = 0; i < PRINCIPALS_MAX + 1; i++)
		from_extra += take(w, h) >= extra;
	assert_int_equal(from_extra, 1); /* one turn of all of them together */
	uint64_t own = submit(w, "p7", 1); /* who has an account keeps it */
	waits = tasks_waits_for_share(w->t, own, &principal, &weight);
	assert_true(!waits || span_eq(principal, span_str("p7")));
	end(w, h);
}

static void test_accounts_that_are_not_used_any_more_make_room_also_before_their_record_is_applied(void **state)
{
	(void)state;
	struct world *w = fair_world();
	struct tasks_stats before, after;
	struct holder *h = tasks_holder_new(w->t, NULL);
	struct span principal;
	uint32_t weight;
	for (uint32_t i = 0; i < 3 * PRINCIPALS_MAX; i++) {
		char name[32];
		(void)snprintf(name, sizeof name, "p%u", i);
		if (i == 2 * PRINCIPALS_MAX)
			tasks_get_stats(w->t, &before);
		uint64_t task = submit(w, name, 1);
		assert_int_equal(take(w, h), task);
		world_report(w, h, task, REPORT_COMPLETE, 0);
	}
	tasks_get_stats(w->t, &after);
	assert_true(after.memory_bytes < before.memory_bytes + (1 << 18));
	/* All in one batch: those beyond the limit are nobody's though none of the others is there yet. */
	for (uint32_t i = 0; i < PRINCIPALS_MAX; i++) {
		char name[32];
		(void)snprintf(name, sizeof name, "q%u", i);
		struct order o = { .queue = "q", .producer = 1 + seqs++, .seq = 1, .count = 1, .principal = name };
		assert_int_equal(world_propose(w, &o).records, 1);
	}
	struct order o = { .queue = "q", .producer = 1 + seqs++, .seq = 1, .count = 1, .principal = "late" };
	w->run_count = 0;
	assert_int_equal(world_propose(w, &o).records, 1);
	tasks_get_stats(w->t, &before);
	for (; w->applied < w->count; w->applied++) {
		w->run_count = 0;
		w->records[w->applied].entry = (struct log_entry){ w->applied + 1, 1, w->now_ms };
		world_apply_one(w, w->t, &w->records[w->applied], true);
	}
	uint64_t late = w->runs[0].first_task;
	assert_int_equal(w->runs[0].code, ERR_OK);
	assert_true(!tasks_waits_for_share(w->t, late, &principal, &weight) || principal.len == 0);
	end(w, h);
}

static void test_weights_have_limits_and_say_which(void **state)
{
	(void)state;
	struct world *w = fair_world();
	char text[256] = "", name[300];
	uint32_t records;
	memset(name, 'x', sizeof name);
	const struct { struct span pattern; uint32_t weight; } bad[] = {
		{ span_str(""), 1 }, { span_str("a*b"), 1 }, { span_of(name, 256), 1 }, { span_str("a\nb"), 1 }, { span_str("a"), 1001 },
	};
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		text[0] = '\0';
		assert_int_equal(tasks_propose_weight(w->t, LOG(w), span_str("q"), bad[i].pattern, bad[i].weight, &records, text),
				 ERR_INVALID_INPUT);
		assert_true(text[0] != '\0' && records == 0);
	}
	assert_int_equal(tasks_propose_weight(w->t, LOG(w), span_str("nope"), span_str("a"), 2, &records, text), ERR_NOT_FOUND);
	for (uint32_t i = 0; i < 64; i++) {
		(void)snprintf(text, sizeof text, "p%u", i);
		assert_int_equal(weigh(w, text, 2), ERR_OK);
	}
	assert_int_equal(weigh(w, "one more", 2), ERR_INVALID_INPUT);
	assert_int_equal(weigh(w, "p3", 7), ERR_OK);
	assert_int_equal(weigh(w, "p4", 0), ERR_OK);
	assert_int_equal(weigh(w, "one more", 2), ERR_OK);
	/* Two proposals that cross: apply decides, and says so. */
	assert_int_equal(weigh(w, "p5", 0), ERR_OK);
	assert_int_equal(tasks_propose_weight(w->t, LOG(w), span_str("q"), span_str("x"), 2, &records, text), ERR_OK);
	assert_int_equal(tasks_propose_weight(w->t, LOG(w), span_str("q"), span_str("y"), 2, &records, text), ERR_OK);
	world_flush(w);
	assert_int_equal(w->last.code, ERR_RESOURCE_EXHAUSTED);
	assert_int_equal(w->affected, 1);
	world_checkpoint(w);
	world_restart(w);
	world_free(w);
}

static void test_a_queue_that_is_not_fair_any_more_hands_out_what_waited(void **state)
{
	(void)state;
	struct world *w = fair_world();
	struct holder *h = tasks_holder_new(w->t, NULL);
	struct queue_settings s = QUEUE_SETTINGS_UNSET;
	char text[256];
	uint32_t records, count = 0;
	(void)submit(w, "a", 10);
	(void)submit(w, "b", 10);
	s.fair = FAIR_OFF;
	assert_int_equal(tasks_propose_queue(w->t, LOG(w), span_str("q"), &s, false, &records, text), ERR_OK);
	world_flush(w);
	(void)submit(w, "c", 10);
	while (take(w, h))
		count++;
	assert_int_equal(count, 30);
	end(w, h);
}

/* ---- against a naive machine ---- */

enum { WHO = 5, LEVELS = 2, STEPS = 4000 };
static const char *const NAMES[WHO] = { "ann", "ben", "cyd.x", "cyd.y", "" };
static const uint32_t WEIGHTS[WHO] = { 3, 1, 2, 2, 1 };

struct naive {
	uint64_t waiting[LEVELS][WHO];
	uint64_t tag[LEVELS][WHO], now[LEVELS];
	/* what each pair got while both waited all the time, from when `since` was set */
	int64_t got[LEVELS][WHO], largest[LEVELS][WHO];
};

static uint64_t roll(uint64_t *random, uint64_t below)
{
	*random = *random * 6364136223846793005u + 1442695040888963407u;
	return (*random >> 33) % below;
}

static uint64_t naive_tag(const struct naive *n, int level, int who)
{
	return MAX_OF(n->tag[level][who], n->now[level]);
}

/* The unfairness between any two that wait all the time is bounded by what each gets at once. */
static void expect_bound(const struct naive *n, int level, uint64_t seed)
{
	for (int a = 0; a < WHO; a++)
		for (int b = 0; b < WHO; b++) {
			if (n->waiting[level][a] == 0 || n->waiting[level][b] == 0)
				continue;
			int64_t wa = WEIGHTS[a], wb = WEIGHTS[b];
			int64_t apart = n->got[level][a] * wb - n->got[level][b] * wa;
			if (apart > (n->largest[level][a] + 1) * wb + (n->largest[level][b] + 1) * wa)
				fail_msg("seed %llu: %s has %lld and %s %lld", (unsigned long long)seed, NAMES[a],
					 (long long)n->got[level][a], NAMES[b], (long long)n->got[level][b]);
		}
}

static void step_take(struct world *w, struct naive *n, struct holder *h, const int *owner, uint64_t *random, uint64_t seed)
{
	struct ready_run run;
	bool any = tasks_peek(w->t, world_queue(w, "q"), NULL, 0, &run);
	int level = LEVELS - 1, best = -1;
	for (; level >= 0 && best < 0; level--)
		for (int i = 0; i < WHO; i++)
			if (n->waiting[level][i] > 0 && (best < 0 || naive_tag(n, level, i) < naive_tag(n, level, best)))
				best = i;
	level++;
	assert_int_equal(any, best >= 0);
	if (!any)
		return;
	int who = owner[run.first_task];
	if (naive_tag(n, level, who) != naive_tag(n, level, best) || n->waiting[level][who] == 0)
		fail_msg("seed %llu: task %llu of %s goes before those of %s", (unsigned long long)seed,
			 (unsigned long long)run.first_task, NAMES[who], NAMES[best]);
	uint32_t count = 1 + (uint32_t)roll(random, run.count);
	tasks_lease(w->t, world_queue(w, "q"), count, h, 0, w->now_ms);
	n->now[level] = naive_tag(n, level, who);
	n->tag[level][who] = n->now[level] + (uint64_t)count * ((1 << 20) / WEIGHTS[who]);
	n->waiting[level][who] -= count;
	n->got[level][who] += count;
	n->largest[level][who] = MAX_OF(n->largest[level][who], (int64_t)count);
	bool starved = false;
	for (int i = 0; i < WHO; i++)
		starved = starved || n->waiting[level][i] == 0;
	if (starved) { /* the bound is about those who wait all the time: from here on anew, with what each is ahead */
		memset(n->got[level], 0, sizeof n->got[level]);
		memset(n->largest[level], 0, sizeof n->largest[level]);
		for (int i = 0; i < WHO; i++) /* tags carry over: within one largest run of fairness */
			n->largest[level][i] = 2 * RUN;
	}
	expect_bound(n, level, seed);
}

static void test_random_histories_agree_with_the_naive_machine_and_stay_within_the_bound(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 12; seed++) {
		struct world *w = fair_world();
		struct holder *h = tasks_holder_new(w->t, NULL);
		struct naive *n = calloc(1, sizeof *n);
		int *owner = calloc(1 << 18, sizeof *owner);
		uint64_t random = seed * 77, served = 0;
		assert_int_equal(weigh(w, "ann", 3), ERR_OK);
		assert_int_equal(weigh(w, "cyd.*", 2), ERR_OK);
		for (int step = 0; step < STEPS; step++) {
			int who = step == 0 ? 0 : (int)roll(&random, WHO), level = (int)roll(&random, LEVELS);
			if (step == 0 || roll(&random, 4) == 0) {
				uint32_t count = 1 + (uint32_t)roll(&random, roll(&random, 10) == 0 ? 300 : 12);
				uint64_t first = submit_to(w, NAMES[who], count, (uint8_t)level, NULL);
				for (uint32_t i = 0; i < count; i++)
					owner[first + i] = who;
				n->waiting[level][who] += count;
			} else {
				step_take(w, n, h, owner, &random, seed);
				served++;
			}
		}
		assert_true(served > STEPS / 2);
		tasks_holder_lost(w->t, LOG(w), h, w->now_ms);
		world_free(w);
		free(owner);
		free(n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_has_few_tasks_is_not_behind_those_of_who_has_many),
		cmocka_unit_test(test_weights_decide_how_many_turns_each_gets),
		cmocka_unit_test(test_priorities_come_first_and_the_share_counts_within_one),
		cmocka_unit_test(test_who_was_away_has_saved_nothing_and_owes_nothing),
		cmocka_unit_test(test_tasks_that_nobody_can_do_take_no_turn),
		cmocka_unit_test(test_a_frame_is_at_most_a_few_tasks_long_while_others_wait),
		cmocka_unit_test(test_principals_and_weights_survive_a_restart),
		cmocka_unit_test(test_more_principals_than_there_are_accounts_share_one),
		cmocka_unit_test(test_accounts_that_are_not_used_any_more_make_room_also_before_their_record_is_applied),
		cmocka_unit_test(test_weights_have_limits_and_say_which),
		cmocka_unit_test(test_a_queue_that_is_not_fair_any_more_hands_out_what_waited),
		cmocka_unit_test(test_random_histories_agree_with_the_naive_machine_and_stay_within_the_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
