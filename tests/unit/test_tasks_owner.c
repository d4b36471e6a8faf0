/* tests/unit/test_tasks_owner.c: tasks and bytes of those whom a limit counts: limits hold, nothing is counted twice, nothing leaks, and a
 * restart counts the same. The last test holds random histories against a naive count of every task there ever was. */
#include "tasks_world.h"

#define order order_of_a_key /* tasks_world.h has an order, too */
#include "../../broker/tasks_impl.h"
#undef order

enum { OWNERS = 3, QUEUES = 2, HEAD = 16 }; /* owner 0 is nobody */
static const char *const owner_names[OWNERS] = { "", "ann", "bob" }, *const queue_names[QUEUES] = { "a", "b" };

struct seen { uint64_t task; uint32_t owner, queue; uint64_t bytes; };
struct model {
	struct world *w;
	struct seen seen[20000];
	uint32_t seen_count;
	struct owner_limits limits;
	struct holder *holder;
	uint64_t seq;
};

static uint32_t seed;
static uint32_t dice(uint32_t sides)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % sides;
}

static uint64_t naive_tasks(struct model *m, uint32_t owner, uint32_t queue)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < m->seen_count; i++) {
		const struct seen *s = &m->seen[i];
		enum task_state state = s->owner == owner && s->queue == queue ? world_state(m->w, s->task) : TASK_UNKNOWN;
		sum += state >= TASK_SCHEDULED && state <= TASK_STARTED;
	}
	return sum;
}

static uint64_t naive_bytes(struct model *m, uint32_t owner)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < m->seen_count; i++) {
		const struct seen *s = &m->seen[i];
		uint64_t addr;
		uint32_t item;
		if (s->owner != owner)
			continue;
		if (task_locate(m->w->t, s->task, &addr, &item))
			sum += s->bytes;
		const struct hot *h = hot_find(m->w->t, s->task);
		if (h && h->final != TASK_UNKNOWN && h->result_addr)
			sum += h->result_size;
	}
	return sum;
}

static void check(struct model *m)
{
	for (uint32_t o = 1; o < OWNERS; o++) {
		assert_int_equal(tasks_owner_bytes(m->w->t, span_str(owner_names[o])), naive_bytes(m, o));
		for (uint32_t q = 0; q < QUEUES; q++)
			assert_int_equal(tasks_owner_tasks(m->w->t, span_str(owner_names[o]), world_queue(m->w, queue_names[q])),
					 naive_tasks(m, o, q));
	}
}

/* Frames of 1, 2, 4, 8 or 16 tasks, so that averages are whole. Returns how many were accepted; `refused`: what the rest were told. */
static uint32_t submit(struct model *m, uint32_t owner, uint32_t queue, uint32_t count, uint32_t size, uint64_t retention_ms, uint64_t seq)
{
	static uint8_t payload[16 * 4096];
	static const uint8_t head_bytes[HEAD] = "head of a task";
	uint32_t sizes[16], accepted = 0;
	struct submit_answer answer;
	const struct task_head head = { .queue = span_str(queue_names[queue]), .retention_ms = retention_ms };
	for (uint32_t i = 0; i < count; i++)
		sizes[i] = count > 1 ? size + (i % 2 ? 8 : -8u) : size;
	struct msg_submit s = { .producer = 1, .first_seq = seq ? seq : m->seq, .resolved_below = seq ? 1 : m->seq,
				.head = span_of(head_bytes, HEAD), .sizes = { sizes, count } };
	m->seq += seq ? 0 : count;
	tasks_set_owner(m->w->t, span_str(owner_names[owner]), owner ? &m->limits : NULL);
	tasks_propose_submit(m->w->t, LOG(m->w), &s, &head, span_of(payload, (size_t)count * size), m->w->now_ms, &answer);
	tasks_set_owner(m->w->t, (struct span){ NULL, 0 }, NULL);
	for (uint32_t i = 0; i < answer.run_count; i++)
		assert_true(answer.runs[i].code == ERR_OK || (seq && answer.runs[i].code == ERR_STALE_SUBMIT) ||
			    (answer.runs[i].code == ERR_RESOURCE_EXHAUSTED && answer.limit != OWNER_LIMIT_NONE && answer.text[0]));
	world_flush(m->w);
	for (uint32_t r = 0; r < m->w->run_count; r++)
		for (uint32_t i = 0; i < m->w->runs[r].count; i++)
			if (m->w->runs[r].code == ERR_OK && !m->w->runs[r].duplicate)
				accepted++;
	for (uint32_t i = 0; i < accepted; i++) { /* a prefix: one run */
		/* Where only some were taken the head is shared by fewer, and their sizes need not pair. */
		uint64_t bytes = HEAD;
		for (uint32_t k = 0; k < accepted; k++)
			bytes += sizes[k];
		m->seen[m->seen_count++] = (struct seen){ m->w->runs[0].first_task + i, owner, queue, bytes / accepted };
	}
	return accepted;
}

static void model_open(struct model *m, struct owner_limits limits)
{
	struct tasks_config config = world_config(NULL);
	config.producers_max = 1 << 10;
	*m = (struct model){ .w = world_new_with(&config), .limits = limits, .seq = 1 };
	m->holder = tasks_holder_new(m->w->t, NULL);
	for (uint32_t q = 0; q < QUEUES; q++) {
		struct queue_settings s = QUEUE_SETTINGS_UNSET;
		char text[256];
		uint32_t records;
		s.length_max = 1000;
		s.max_attempts = 1;
		assert_int_equal(tasks_propose_queue(m->w->t, LOG(m->w), span_str(queue_names[q]), &s, true, &records, text), ERR_OK);
		world_flush(m->w);
	}
}

static void model_restart(struct model *m)
{
	tasks_holder_lost(m->w->t, LOG(m->w), m->holder, m->w->now_ms);
	world_flush(m->w);
	world_restart(m->w);
	m->holder = tasks_holder_new(m->w->t, NULL);
}

static void model_close(struct model *m)
{
	tasks_holder_lost(m->w->t, LOG(m->w), m->holder, m->w->now_ms);
	world_flush(m->w);
	world_free(m->w);
}

static void a_prefix_that_fits_is_taken_and_the_rest_is_told_which_limit(void **state)
{
	struct model m;
	(void)state;
	model_open(&m, (struct owner_limits){ .queue_tasks = 5 });
	assert_int_equal(submit(&m, 1, 0, 4, 8, 0, 0), 4);
	assert_int_equal(submit(&m, 1, 0, 1, 8, 0, 0), 1);
	assert_int_equal(submit(&m, 1, 0, 2, 8, 0, 0), 0);
	assert_int_equal(submit(&m, 1, 1, 2, 8, 0, 0), 2); /* another queue */
	assert_int_equal(submit(&m, 2, 0, 2, 8, 0, 0), 2); /* another owner */
	assert_int_equal(submit(&m, 0, 0, 16, 8, 0, 0), 16);
	check(&m);
	m.limits = (struct owner_limits){ .queue_permille = 10 };
	assert_int_equal(submit(&m, 2, 0, 16, 8, 0, 0), 8); /* ten of a thousand, two are there */
	m.limits = (struct owner_limits){ .stored_bytes = tasks_owner_bytes(m.w->t, span_str("bob")) + HEAD + 100 };
	assert_int_equal(submit(&m, 2, 1, 1, 101, 0, 0), 0);
	assert_int_equal(submit(&m, 2, 1, 1, 100, 0, 0), 1);
	assert_int_equal(submit(&m, 2, 1, 1, 0, 0, 0), 0); /* its head would be too much */
	model_restart(&m);
	assert_int_equal(submit(&m, 2, 1, 1, 0, 0, 0), 0);
	check(&m);
	model_close(&m);
}

static void what_is_proposed_counts_before_it_is_applied(void **state)
{
	struct model m;
	static const uint8_t head_bytes[HEAD] = "head of a task";
	uint32_t sizes[4] = { 0 };
	struct submit_answer answer;
	(void)state;
	model_open(&m, (struct owner_limits){ .queue_tasks = 5 });
	for (uint32_t i = 0; i < 2; i++) {
		struct task_head head = { .queue = span_str("a") };
		struct msg_submit s = { .producer = 1, .first_seq = 1 + 4 * i, .resolved_below = 1, .head = span_of(head_bytes, HEAD),
					.sizes = { sizes, 4 } };
		tasks_set_owner(m.w->t, span_str("ann"), &m.limits);
		tasks_propose_submit(m.w->t, LOG(m.w), &s, &head, span_of(NULL, 0), m.w->now_ms, &answer);
		tasks_set_owner(m.w->t, (struct span){ NULL, 0 }, NULL);
		assert_int_equal(answer.records, 1);
	}
	assert_int_equal(answer.run_count, 1);
	assert_int_equal(answer.runs[0].count, 3); /* one of the second four fitted */
	world_flush(m.w);
	assert_int_equal(tasks_owner_tasks(m.w->t, span_str("ann"), world_queue(m.w, "a")), 5);
	model_close(&m);
}

static uint64_t random_task(struct model *m)
{
	return m->seen_count ? m->seen[m->seen_count - 1 - dice(MIN_OF(m->seen_count, 200))].task : 1;
}

static void work(struct model *m)
{
	static const uint16_t classes[] = { ERR_INVALID_INPUT, ERR_PERMANENT, ERR_TRANSIENT };
	uint64_t task;
	if (world_lease(m->w, queue_names[dice(QUEUES)], m->holder, 1, &task) == 0)
		return;
	struct report_item item = world_item(m->w, task, dice(3) ? REPORT_COMPLETE : REPORT_FAIL);
	item.class_code = item.verb == REPORT_FAIL ? classes[dice(3)] : 0;
	(void)world_say(m->w, m->holder, item, dice(2) ? "what came of it" : NULL);
	world_flush(m->w);
}

static void administer(struct model *m)
{
	uint32_t records;
	char text[256];
	const char *queue = queue_names[dice(QUEUES)];
	switch (dice(5)) {
	case 0: (void)!tasks_propose_cancel(m->w->t, LOG(m->w), random_task(m), m->w->now_ms, &records, text); break;
	case 1: (void)!tasks_propose_retry(m->w->t, LOG(m->w), random_task(m), &records, text); break;
	case 2: (void)!tasks_propose_redrive(m->w->t, LOG(m->w), span_str(queue), 0, 3, &records, text); break;
	case 3:
		if (dice(20) == 0)
			(void)world_purge(m->w, queue, dice(2));
		return;
	default: (void)tasks_compact(m->w->t, LOG(m->w)); break;
	}
	world_flush(m->w);
}

static void step(struct model *m)
{
	static const uint32_t counts[] = { 1, 1, 2, 4, 8, 16 };
	uint32_t owner = dice(OWNERS), queue = dice(QUEUES), count = counts[dice(COUNT_OF(counts))];
	switch (dice(12)) {
	case 0:
	case 1:
	case 2: {
		uint64_t before = naive_tasks(m, owner, queue), room = before < m->limits.queue_tasks ? m->limits.queue_tasks - before : 0;
		if (room > 0 && room < count)
			count = 1; /* averages stay whole */
		uint32_t got = submit(m, owner, queue, count, 16 + 8 * dice(6), dice(2) ? 200 : 0, 0);
		assert_int_equal(got, owner && room < count ? room : count);
		break;
	}
	case 3: /* again: a duplicate, or stale */
		if (m->seq > 1)
			(void)submit(m, owner, queue, 1, 8, 0, 1 + dice((uint32_t)m->seq - 1));
		break;
	case 4:
	case 5:
	case 6:
	case 7: work(m); break;
	case 8:
	case 9: administer(m); break;
	case 10: world_tick(m->w, m->w->now_ms + dice(100)); break;
	default:
		if (dice(8) == 0)
			model_restart(m);
		else if (dice(4) == 0)
			world_checkpoint(m->w);
	}
}

static void random_histories_count_as_a_naive_model_does_and_leave_nothing_behind(void **state)
{
	(void)state;
	for (uint32_t run = 1; run <= 6; run++) {
		struct model *m = calloc(1, sizeof *m);
		assert_non_null(m);
		seed = run;
		model_open(m, (struct owner_limits){ .queue_tasks = 40 });
		for (uint32_t i = 0; i < 700; i++) {
			step(m);
			check(m);
		}
		world_checkpoint(m->w);
		model_restart(m);
		check(m);
		for (uint32_t q = 0; q < QUEUES; q++) {
			(void)world_purge(m->w, queue_names[q], false);
			(void)world_purge(m->w, queue_names[q], true);
		}
		world_tick(m->w, m->w->now_ms + 10000000);
		(void)submit(m, 0, 0, 1, 8, 0, 0); /* what is retained goes with the next entry */
		check(m);
		const struct owners *o = &m->w->t->owners;
		assert_int_equal(o->bytes.count + o->tasks.count + o->bytes_proposed.count + o->tasks_proposed.count, 0);
		model_close(m);
		free(m);
	}
}

static void who_is_not_counted_costs_no_byte(void **state)
{
	struct model m;
	(void)state;
	model_open(&m, (struct owner_limits){ 0 });
	assert_int_equal(submit(&m, 1, 0, 16, 8, 0, 0), 16); /* ann has no limit */
	assert_int_equal(tasks_owner_bytes(m.w->t, span_str("ann")), 0);
	for (uint32_t i = 0; i < m.w->t->segment_count; i++)
		assert_null(m.w->t->segments[i]->owners);
	m.limits.queue_tasks = 3; /* from now on */
	assert_int_equal(submit(&m, 1, 0, 2, 8, 0, 0), 2);
	assert_int_equal(tasks_owner_tasks(m.w->t, span_str("ann"), world_queue(m.w, "a")), 2);
	model_close(&m);
}

static void what_others_keep_for_somebody_counts_as_its_bytes(void **state)
{
	struct model m;
	(void)state;
	model_open(&m, (struct owner_limits){ .stored_bytes = 1000 });
	tasks_owner_charge(m.w->t, span_str("ann"), 900);
	assert_int_equal(tasks_owner_bytes(m.w->t, span_str("ann")), 900);
	assert_int_equal(submit(&m, 1, 0, 1, 100, 0, 0), 0);
	assert_int_equal(submit(&m, 2, 0, 1, 100, 0, 0), 1);
	tasks_owner_charge(m.w->t, span_str("ann"), -900);
	assert_int_equal(tasks_owner_bytes(m.w->t, span_str("ann")), 0);
	assert_int_equal(submit(&m, 1, 0, 1, 100, 0, 0), 1);
	model_close(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_prefix_that_fits_is_taken_and_the_rest_is_told_which_limit),
		cmocka_unit_test(what_is_proposed_counts_before_it_is_applied),
		cmocka_unit_test(what_others_keep_for_somebody_counts_as_its_bytes),
		cmocka_unit_test(who_is_not_counted_costs_no_byte),
		cmocka_unit_test(random_histories_count_as_a_naive_model_does_and_leave_nothing_behind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
