/* The whole memory of the broker against its cap: new work waits, then is refused; what settles goes on; and it comes back. */
#include "shard_world.h"

#include "../../broker/memory.h"

enum { CAP = 8 << 20, PER_FRAME = 500 };

static void open_capped(struct world *w)
{
	world_init(w);
	w->config.memory_cap = CAP;
	w->config.cache_bytes = 1 << 20;
	w->config.tasks.defaults.retention_ms = 0;
	w->config.heartbeat_ms = 600000; /* some of these say nothing for long */
	world_open(w);
}

/* Tasks that are delayed have objects: the memory of the machine grows with each. The code of the last one. */
static uint16_t fill(struct client *c, uint64_t *seq, uint32_t frames, uint32_t *retry_ms)
{
	uint16_t code = ERR_OK;
	for (uint32_t i = 0; i < frames && code == ERR_OK; i++, *seq += PER_FRAME) {
		client_submit(c, (struct submit_args){ .type = "q", .producer = 9, .first_seq = *seq, .count = PER_FRAME, .size = 8,
						       .delay_ms = 3600000 });
		const struct msg_confirms *m = &client_expect(c, FRAME_CONFIRMS)->confirms;
		code = m->runs[0].code;
		*retry_ms = m->retry_after_ms;
	}
	return code;
}

static void near_the_cap_new_work_is_slowed_then_refused_while_settling_goes_on(void **state)
{
	struct world w;
	struct client full, worker, operator;
	uint64_t seq = 1;
	uint32_t retry_ms = 0;
	(void)state;
	open_capped(&w);
	client_open(&worker, &w, 1);
	client_submit(&worker, (struct submit_args){ .type = "work", .producer = 5, .first_seq = 1, .count = 10, .size = 100 });
	(void)client_expect(&worker, FRAME_CONFIRMS);
	client_open(&full, &w, 2);
	uint64_t begun = io_now_ns(w.io);
	assert_int_equal(fill(&full, &seq, 400, &retry_ms), ERR_RESOURCE_EXHAUSTED);
	assert_true(retry_ms > 0);
	assert_true(io_now_ns(w.io) - begun >= SIM_S); /* it was made to wait before it was refused */
	assert_true(memory_used(w.shard) <= CAP && memory_used(w.shard) >= CAP / 8 * 7);
	client_serve(&worker, "work", 10);
	for (uint32_t done = 0; done < 10;) { /* settled by a session that is there, */
		const struct msg_deliver *d = &client_expect(&worker, FRAME_DELIVER)->deliver;
		uint32_t count = d->count, epoch = d->epoch;
		struct deliver_item items[10];
		memcpy(items, d->items, count * sizeof items[0]);
		for (uint32_t i = 0; i < count; i++, done++)
			client_report(&worker, (struct task_ref){ items[i].task, items[i].attempt, epoch }, REPORT_COMPLETE, "");
	}
	for (uint32_t done = 0; done < 10;)
		done += client_expect(&worker, FRAME_REPORTED)->reported.count;
	client_open(&operator, &w, 3); /* and by one that comes now */
	(void)client_ask(&operator, (struct msg_request){ .verb = VERB_QUEUE_PURGE, .name = span_str("q") });
	world_run(&w, SIM_S);
	assert_true(memory_used(w.shard) < CAP / 8 * 7);
	assert_int_equal(fill(&full, &seq, 1, &retry_ms), ERR_OK); /* the same client goes on */
	client_free(&full);
	client_free(&worker);
	client_free(&operator);
	world_close(&w);
}

static void a_client_that_settles_behind_its_own_new_work_waits_but_is_not_stuck(void **state)
{
	struct world w;
	struct client full, both;
	uint64_t seq = 1;
	uint32_t retry_ms = 0;
	(void)state;
	open_capped(&w);
	client_open(&both, &w, 1);
	client_submit(&both, (struct submit_args){ .type = "work", .producer = 5, .first_seq = 1, .count = 1, .size = 100 });
	(void)client_expect(&both, FRAME_CONFIRMS);
	client_serve(&both, "work", 1);
	const struct msg_deliver *d = &client_expect(&both, FRAME_DELIVER)->deliver;
	struct task_ref ref = { d->items[0].task, d->items[0].attempt, d->epoch };
	client_open(&full, &w, 2);
	while (w.shard->memory.level < MEMORY_TIGHT)
		assert_int_equal(fill(&full, &seq, 1, &retry_ms), ERR_OK);
	assert_int_equal(w.shard->memory.level, MEMORY_TIGHT);
	client_submit(&both, (struct submit_args){ .type = "other", .producer = 5, .first_seq = 2, .count = 1, .size = 100 });
	client_report(&both, ref, REPORT_COMPLETE, "");
	assert_int_equal(client_expect(&both, FRAME_CONFIRMS)->confirms.runs[0].code, ERR_OK);
	(void)client_expect(&both, FRAME_REPORTED);
	assert_true(w.shard->counters.memory_paused_total > 0);
	client_free(&full);
	client_free(&both);
	world_close(&w);
}

static void the_cache_gives_back_first(void **state)
{
	struct world w;
	struct client c;
	uint64_t seq = 1;
	uint32_t retry_ms = 0;
	(void)state;
	open_capped(&w);
	client_open(&c, &w, 1);
	while (w.shard->memory.level < MEMORY_SHORT)
		assert_int_equal(fill(&c, &seq, 1, &retry_ms), ERR_OK);
	assert_true(w.shard->memory.small);
	assert_int_equal(w.shard->counters.memory_paused_total, 0);
	(void)client_ask(&c, (struct msg_request){ .verb = VERB_QUEUE_PURGE, .name = span_str("q") });
	world_run(&w, SIM_S);
	assert_int_equal(w.shard->memory.level, MEMORY_FINE);
	client_free(&c);
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(near_the_cap_new_work_is_slowed_then_refused_while_settling_goes_on),
		cmocka_unit_test(a_client_that_settles_behind_its_own_new_work_waits_but_is_not_stuck),
		cmocka_unit_test(the_cache_gives_back_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
