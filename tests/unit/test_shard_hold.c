/* tests/unit/test_shard_hold.c: a batch of settles waits for the submit that is about to come, and for nothing else. A producer with
 * one task under way and a worker that answer as soon as they hear something, on the simulated world; time is virtual. */
#include "shard_world.h"

#include "../../broker/shard_impl.h"

#define WRITE_NS (1 * SIM_MS)      /* slow beside the network */
#define ANSWER_NS (120 * SIM_US)   /* there and back: twice 20 to 60 us */

struct lone {
	struct world world;
	struct client producer, worker;
	uint64_t seq, confirmed, reported;
	uint64_t pause_ns;                 /* from a confirm to the next submit */
	uint64_t confirmed_ns, reported_ns; /* when the last one was heard */
	bool stop;
};

static void submit(void *ctx)
{
	struct lone *l = ctx;
	if (l->stop)
		return;
	client_submit(&l->producer, (struct submit_args){ .type = "t", .producer = 9, .first_seq = ++l->seq, .count = 1, .size = 8 });
}

static void producer_heard(void *ctx, struct sim_peer *peer, struct span bytes)
{
	struct lone *l = ctx;
	buf_append(sim_peer_inbox(peer), bytes.data, bytes.len);
	while (client_poll(&l->producer)) {
		if (l->producer.msg.kind != FRAME_CONFIRMS)
			continue;
		assert_int_equal(l->producer.msg.confirms.runs[0].code, ERR_OK);
		l->confirmed++;
		l->confirmed_ns = io_now_ns(l->world.io);
		if (l->pause_ns > 0)
			sim_after(l->world.sim, l->pause_ns, submit, l);
		else
			submit(l);
	}
}

static void worker_heard(void *ctx, struct sim_peer *peer, struct span bytes)
{
	struct lone *l = ctx;
	struct msg *m = &l->worker.msg;
	buf_append(sim_peer_inbox(peer), bytes.data, bytes.len);
	while (client_poll(&l->worker)) {
		if (m->kind == FRAME_REPORTED) {
			l->reported += m->reported.count;
			l->reported_ns = io_now_ns(l->world.io);
		}
		if (m->kind != FRAME_DELIVER)
			continue;
		assert_int_equal(m->deliver.count, 1);
		struct task_ref ref = { m->deliver.items[0].task, m->deliver.items[0].attempt, m->deliver.epoch };
		client_report(&l->worker, ref, REPORT_COMPLETE, "");
		client_credit(&l->worker, 1);
	}
}

static void open_client(struct lone *l, struct client *c, const struct sim_peer_events *events, uint8_t id)
{
	memset(c, 0, sizeof *c);
	c->w = &l->world;
	c->peer = sim_dial(l->world.sim, 0, events, l);
	client_hello(c, id);
	world_run(&l->world, SIM_MS);
}

static int setup(void **state)
{
	static const struct sim_peer_events produces = { .received = producer_heard }, works = { .received = worker_heard };
	struct lone *l = calloc(1, sizeof *l);
	assert_non_null(l);
	world_init(&l->world);
	struct sim_latency slow = { WRITE_NS, WRITE_NS };
	sim_disk_speed(l->world.sim, 0, (struct sim_disk_speed){ slow, slow, slow });
	world_open(&l->world);
	open_client(l, &l->producer, &produces, 1);
	open_client(l, &l->worker, &works, 2);
	client_serve(&l->worker, "t", 1);
	*state = l;
	return 0;
}

static int teardown(void **state)
{
	struct lone *l = *state;
	client_free(&l->producer);
	client_free(&l->worker);
	world_close(&l->world);
	free(l);
	return 0;
}

/* Batches that the log writes until so many more submits are confirmed. */
static uint64_t batches_of(struct lone *l, uint64_t submits)
{
	struct log_stats before, after;
	uint64_t until = l->confirmed + submits, end = io_now_ns(l->world.io) + 100 * SIM_S;
	log_get_stats(shard_log(l->world.shard), &before);
	while (l->confirmed < until) {
		assert_true(io_now_ns(l->world.io) < end);
		shard_turn_until(l->world.shard, end);
	}
	log_get_stats(shard_log(l->world.shard), &after);
	return after.batches - before.batches;
}

static void one_task_at_a_time_costs_one_write_each(void **state)
{
	struct lone *l = *state;
	submit(l);
	(void)batches_of(l, 50); /* it learns how soon a submit follows */
	uint64_t begun = io_now_ns(l->world.io);
	assert_in_range(batches_of(l, 100), 99, 102);
	assert_true(io_now_ns(l->world.io) - begun < 102 * (WRITE_NS + ANSWER_NS));
	world_run(&l->world, 2 * WRITE_NS);
	assert_true(l->reported >= l->confirmed - 2);
}

static void the_settle_of_the_last_task_is_not_held_for_long(void **state)
{
	struct lone *l = *state;
	submit(l);
	(void)batches_of(l, 50);
	l->stop = true;
	world_run(&l->world, 10 * WRITE_NS);
	assert_int_equal(l->confirmed, l->seq);
	assert_int_equal(l->reported, l->seq);
	/* The settle of the last but one is held, its write takes its time, and then the last one is written. */
	assert_in_range(l->reported_ns - l->confirmed_ns, WRITE_NS, 2 * WRITE_NS + 3 * ANSWER_NS);
	assert_int_equal(l->world.shard->hold.until_ns, 0);
}

static void a_producer_that_pauses_is_not_waited_for(void **state)
{
	struct lone *l = *state;
	submit(l);
	(void)batches_of(l, 50);
	l->pause_ns = 5 * WRITE_NS;
	(void)batches_of(l, 20); /* it learns that submits do not follow at once any more */
	uint64_t until = l->confirmed + 100;
	while (l->confirmed < until) {
		shard_turn_until(l->world.shard, UINT64_MAX);
		assert_int_equal(l->world.shard->hold.until_ns, 0);
	}
	assert_in_range(batches_of(l, 50), 98, 102);
}

static void a_worker_without_producers_is_never_held_up(void **state)
{
	struct lone *l = *state;
	l->stop = true;
	client_submit(&l->producer, (struct submit_args){ .type = "t", .producer = 8, .first_seq = 1, .count = 100, .size = 8 });
	while (l->reported < 100) {
		shard_turn_until(l->world.shard, UINT64_MAX);
		assert_int_equal(l->world.shard->hold.until_ns, 0);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_task_at_a_time_costs_one_write_each),
		TEST(the_settle_of_the_last_task_is_not_held_for_long),
		TEST(a_producer_that_pauses_is_not_waited_for),
		TEST(a_worker_without_producers_is_never_held_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
