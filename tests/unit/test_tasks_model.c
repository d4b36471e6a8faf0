/* tests/unit/test_tasks_model.c: the task machine against a naive one: an array of tasks, scanned for everything.
 *
 * Tasks that come after others and groups are in it, too: there, everybody is asked at every end.
 * Thousands of random steps per seed; after every step the states, after every few the counters, the order of handing out, and the
 * bytes of a machine recovered from checkpoint, index files and replay. TASKS_SEED=N repeats one seed. */
#include "tasks_world.h"

enum { QUEUES = 3, HOLDERS = 4, TASKS_MAX = 20000, STEPS = 3000, BEFORE_MAX = 3, GROUPS = 512 };
static const char *const QUEUE_NAMES[QUEUES] = { "alpha", "beta", "gamma" };

struct model_task {
	enum task_state state;
	uint32_t queue, priority, attempt, failed, max_attempts;
	int holder;
	bool fresh; /* never handed out, delayed, retried, or waiting for others */
	uint64_t seq;
	/* What it comes after: tasks that have not told it of an end, or a group. */
	uint64_t before[BEFORE_MAX];
	uint32_t group, callback_of; /* 1 + index, 0 = none */
	bool blocked, bad, run_anyway, counted;
};

struct model_group { uint64_t members, open, size, callback; bool bad, ended; };

struct model {
	struct world *w;
	struct model_task tasks[TASKS_MAX];
	uint64_t end;               /* one past the highest number */
	uint64_t next_seq, base_seq;
	struct holder *holders[HOLDERS];
	uint64_t random, seed;
	uint64_t handed_out, released, doomed;
	struct model_group groups[GROUPS];
	uint32_t group;             /* the one that members join */
};

static uint64_t roll(struct model *m, uint64_t below)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random % below;
}

/* ---- those that come after others, naively: everybody is asked at every end ---- */

static bool is_doomed(const struct model_task *task)
{
	return task->state == TASK_SCHEDULED && task->blocked && task->bad && !task->run_anyway;
}

static void look(struct model *m, struct model_task *task)
{
	bool waits = false;
	for (uint32_t i = 0; i < BEFORE_MAX; i++)
		waits = waits || task->before[i];
	if (task->callback_of) {
		const struct model_group *g = &m->groups[task->callback_of - 1];
		waits = waits || g->members < g->size || g->open > 0;
		task->bad = task->bad || g->bad;
	}
	if (waits || is_doomed(task) || !task->blocked || task->state != TASK_SCHEDULED)
		return;
	task->blocked = false;
	task->state = TASK_READY;
	m->released++;
}

static void ended(struct model *m, uint64_t number)
{
	struct model_task *task = &m->tasks[number];
	bool bad = task->state != TASK_DONE;
	task->blocked = false;
	if (task->callback_of)
		m->groups[task->callback_of - 1].ended = true;
	if (task->group && !task->counted) {
		struct model_group *g = &m->groups[task->group - 1];
		task->counted = true;
		g->open--;
		g->bad = g->bad || bad;
	}
	for (uint64_t i = 1; i < m->end; i++) {
		struct model_task *other = &m->tasks[i];
		if (!other->blocked || other->state != TASK_SCHEDULED)
			continue;
		for (uint32_t k = 0; k < BEFORE_MAX; k++)
			if (other->before[k] == number) {
				other->before[k] = 0;
				other->bad = other->bad || bad;
			}
		look(m, other);
	}
}

/* What a tick does with those that are not to run. */
static void end_doomed(struct model *m)
{
	for (bool again = true; again;) {
		again = false;
		for (uint64_t i = 1; i < m->end; i++)
			if (is_doomed(&m->tasks[i])) {
				m->tasks[i].state = TASK_CANCELLED;
				m->doomed++;
				ended(m, i);
				again = true;
			}
	}
}

static void expect_state(struct model *m, uint64_t task, enum task_state expected)
{
	enum task_state is = world_state(m->w, task);
	if (is != expected)
		fail_msg("seed %llu: task %llu is %u, expected %u", (unsigned long long)m->seed, (unsigned long long)task, is,
			 expected);
}

static void step_submit(struct model *m)
{
	uint32_t count = 1 + (uint32_t)roll(m, roll(m, 4) == 0 ? 60 : 4), queue = (uint32_t)roll(m, QUEUES);
	if (m->end + count >= TASKS_MAX)
		return;
	struct order o = { .queue = QUEUE_NAMES[queue], .seq = m->next_seq, .count = count, .resolved_below = m->base_seq };
	o.head.priority = (uint8_t)roll(m, 3);
	o.head.max_attempts = (uint16_t)(1 + roll(m, 3));
	bool delayed = roll(m, 8) == 0;
	o.head.delay_ms = delayed ? 1 + roll(m, 300) : 0;
	/* Now and then the start repeats what the broker has. */
	uint64_t known = roll(m, 5) == 0 ? roll(m, MIN_OF(m->next_seq - m->base_seq, 10) + 1) : 0;
	o.seq -= known;
	o.count += (uint32_t)known;
	struct submit_answer a = world_propose(m->w, &o);
	assert_int_equal(a.records, 1);
	world_flush(m->w);
	assert_int_equal(m->w->run_count, 1);
	assert_int_equal(m->w->runs[0].first_seq, m->next_seq);
	assert_int_equal(m->w->runs[0].first_task, m->end);
	uint64_t duplicates = 0;
	for (uint32_t i = 0; i < a.run_count; i++) {
		assert_int_equal(a.runs[i].duplicate, 1);
		for (uint32_t k = 0; k < a.runs[i].count; k++, duplicates++)
			assert_int_equal(m->tasks[a.runs[i].first_task + k].seq, a.runs[i].first_seq + k);
	}
	assert_int_equal(duplicates, known);
	for (uint32_t i = 0; i < count; i++)
		m->tasks[m->end++] = (struct model_task){
			.state = delayed ? TASK_SCHEDULED : TASK_READY, .queue = queue, .priority = o.head.priority,
			.max_attempts = o.head.max_attempts, .holder = -1, .fresh = !delayed, .seq = m->next_seq + i };
	m->next_seq += count;
	if (roll(m, 3) == 0)
		m->base_seq += roll(m, m->next_seq - m->base_seq + 1);
}

/* The model's side of a task that has been taken; `order` says by which numbers it comes after others. */
static void add_after(struct model *m, uint32_t queue, const struct task_head *head, const uint64_t *before, uint32_t count,
		      uint32_t group, uint32_t callback_of)
{
	struct model_task *task = &m->tasks[m->end++];
	*task = (struct model_task){ .state = TASK_SCHEDULED, .queue = queue, .max_attempts = head->max_attempts, .holder = -1,
				     .seq = m->next_seq++, .group = group, .callback_of = callback_of, .blocked = true,
				     .run_anyway = head->on_failure == ON_FAILURE_RUN };
	for (uint32_t i = 0; i < count; i++) {
		enum task_state state = m->tasks[before[i]].state;
		bool open = state < TASK_DONE;
		task->before[i] = open ? before[i] : 0;
		task->bad = task->bad || (!open && state != TASK_DONE);
	}
	uint64_t released = m->released;
	look(m, task);
	task->fresh = m->released > released; /* it never waited */
	m->released = released;
}

static void submit_after(struct model *m, uint32_t queue, struct task_head *head, uint32_t count)
{
	struct order o = { .queue = QUEUE_NAMES[queue], .seq = m->next_seq, .count = count, .resolved_below = m->base_seq };
	head->max_attempts = (uint16_t)(1 + roll(m, 3));
	o.head = *head;
	struct submit_answer a = world_propose(m->w, &o);
	assert_int_equal(a.run_count, 0);
	world_flush(m->w);
	for (uint32_t i = 0; i < m->w->run_count; i++)
		if (m->w->runs[i].code != ERR_OK)
			fail_msg("seed %llu: refused with %u", (unsigned long long)m->seed, m->w->runs[i].code);
	assert_int_equal(m->w->runs[0].first_task, m->end);
}

/* By numbers, or each after the one before it. */
static void step_after(struct model *m)
{
	uint64_t before[BEFORE_MAX];
	uint32_t queue = (uint32_t)roll(m, QUEUES), count = 1 + (uint32_t)roll(m, BEFORE_MAX), back = 1 + (uint32_t)roll(m, 3);
	struct task_head head = { .on_failure = roll(m, 2) ? ON_FAILURE_RUN : ON_FAILURE_CANCEL };
	if (m->end < 10 || m->end + 8 >= TASKS_MAX)
		return;
	if (roll(m, 2)) {
		for (uint32_t i = 0; i < count; i++)
			before[i] = m->end - 1 - roll(m, MIN_OF(m->end - 1, 40));
		head.after = span_of(before, count * sizeof before[0]);
		submit_after(m, queue, &head, 1);
		add_after(m, queue, &head, before, count, 0, 0);
	} else if (m->next_seq - m->base_seq >= back) {
		head.after_back = span_of(&back, sizeof back);
		submit_after(m, queue, &head, count);
		for (uint32_t i = 0; i < count; i++) {
			before[0] = m->end - back; /* numbers and sequences go together here */
			add_after(m, queue, &head, before, 1, 0, 0);
		}
	}
}

static void step_group(struct model *m)
{
	while (m->group < GROUPS && (m->groups[m->group].ended || (m->groups[m->group].callback &&
								   m->groups[m->group].members >= m->groups[m->group].size)))
		m->group++;
	if (m->group == GROUPS || m->end + 8 >= TASKS_MAX)
		return;
	struct model_group *g = &m->groups[m->group];
	char name[16];
	uint32_t queue = (uint32_t)roll(m, QUEUES), count = 1 + (uint32_t)roll(m, 4);
	(void)snprintf(name, sizeof name, "g%u", m->group);
	struct task_head head = { .on_failure = roll(m, 2) ? ON_FAILURE_RUN : ON_FAILURE_CANCEL };
	if (g->callback || roll(m, 3) > 0) {
		count = g->callback ? (uint32_t)MIN_OF(count, g->size - g->members) : count;
		head.group = span_str(name);
		submit_after(m, queue, &head, count);
		g->members += count;
		g->open += count;
		for (uint32_t i = 0; i < count; i++)
			add_after(m, queue, &head, NULL, 0, m->group + 1, 0);
	} else {
		uint64_t late = roll(m, 3);
		if (g->members + late == 0)
			return;
		head.after_group = span_str(name);
		head.group_size = late ? g->members + late : 0;
		submit_after(m, queue, &head, 1);
		g->size = g->members + late;
		g->callback = m->end;
		add_after(m, queue, &head, NULL, 0, 0, m->group + 1);
	}
}

/* No ready task of the queue has a higher priority, and no fresh one of this priority is older. */
static void expect_first(struct model *m, uint64_t task, uint32_t queue)
{
	const struct model_task *chosen = &m->tasks[task];
	for (uint64_t i = 1; i < m->end; i++) {
		const struct model_task *other = &m->tasks[i];
		if (other->queue != queue || other->state != TASK_READY || i == task)
			continue;
		if (other->priority > chosen->priority)
			fail_msg("seed %llu: %llu before %llu of higher priority", (unsigned long long)m->seed,
				 (unsigned long long)task, (unsigned long long)i);
		if (other->priority == chosen->priority && chosen->fresh && (i < task || !other->fresh))
			fail_msg("seed %llu: fresh %llu before %llu", (unsigned long long)m->seed, (unsigned long long)task,
				 (unsigned long long)i);
	}
}

static void step_lease(struct model *m)
{
	uint32_t queue = (uint32_t)roll(m, QUEUES), id = world_queue(m->w, QUEUE_NAMES[queue]);
	int holder = (int)roll(m, HOLDERS);
	struct ready_run run;
	if (!tasks_peek(m->w->t, id, NULL, 0, &run)) {
		for (uint64_t i = 1; i < m->end; i++)
			if (m->tasks[i].state == TASK_READY && m->tasks[i].queue == queue)
				fail_msg("seed %llu: ready task %llu is not shown", (unsigned long long)m->seed, (unsigned long long)i);
		return;
	}
	uint32_t count = 1 + (uint32_t)roll(m, run.count);
	struct log_record record;
	struct submit_record open;
	assert_int_equal(log_fetch(LOG(m->w), run.addr, &record), ERR_OK);
	assert_int_equal(submit_record_open(&record, &open), ERR_OK);
	assert_true(run.item + run.count <= open.count);
	tasks_lease(m->w->t, id, count, m->holders[holder], 0, m->w->now_ms);
	for (uint32_t i = 0; i < count; i++) {
		struct model_task *task = &m->tasks[run.first_task + i];
		uint64_t mark;
		memcpy(&mark, open.payload.data + submit_record_offset(&open, run.item + i), 8);
		assert_int_equal(mark, task->seq); /* the payload is its own */
		assert_int_equal(task->state, TASK_READY);
		expect_first(m, run.first_task + i, queue);
		task->state = TASK_LEASED;
		task->holder = holder;
		task->fresh = false;
		assert_int_equal(run.attempt, task->attempt + 1);
		task->attempt++;
		m->handed_out++;
	}
}

static uint64_t pick(struct model *m, enum task_state a, enum task_state b)
{
	uint64_t start = m->end > 1 ? 1 + roll(m, m->end - 1) : 0;
	for (uint64_t n = 0; n + 1 < m->end; n++) {
		uint64_t i = 1 + (start + n) % (m->end - 1);
		if (m->tasks[i].state == a || m->tasks[i].state == b)
			return i;
	}
	return 0;
}

static void fail_task(struct model *m, uint64_t number, bool retry)
{
	struct model_task *task = &m->tasks[number];
	task->failed++;
	task->holder = -1;
	task->state = !retry || task->failed >= task->max_attempts ? TASK_DEAD : TASK_SCHEDULED;
	if (task->state == TASK_DEAD)
		ended(m, number);
}

static void step_report(struct model *m)
{
	uint64_t number = pick(m, TASK_LEASED, TASK_STARTED);
	if (!number)
		return;
	struct model_task *task = &m->tasks[number];
	struct holder *holder = m->holders[task->holder];
	struct report_item item = { .ref = { number, task->attempt, m->w->config.epoch } };
	if (roll(m, 10) == 0) { /* a foreign one first */
		item.verb = REPORT_COMPLETE;
		struct holder *foreign = m->holders[(task->holder + 1) % HOLDERS];
		assert_int_equal(world_say(m->w, foreign, item, NULL), ERR_STALE_LEASE);
	}
	switch (roll(m, 7)) {
	case 0:
	case 1: item.verb = REPORT_COMPLETE; task->state = TASK_DONE; break;
	case 2: item.verb = REPORT_START; task->state = TASK_STARTED; break;
	case 3: item.verb = REPORT_FAIL; item.class_code = ERR_TRANSIENT; fail_task(m, number, true); break;
	case 4: item.verb = REPORT_FAIL; item.class_code = ERR_PERMANENT; fail_task(m, number, false); break;
	case 5: item.verb = REPORT_RELEASE; task->state = TASK_READY; break;
	default: item.verb = REPORT_REJECT; task->state = TASK_DEAD; break;
	}
	if (item.verb != REPORT_START)
		task->holder = -1;
	if (task->state == TASK_DONE || item.verb == REPORT_REJECT)
		ended(m, number);
	assert_int_equal(world_say(m->w, holder, item, roll(m, 2) ? "some result" : NULL), ERR_OK);
	world_flush(m->w);
	expect_state(m, number, task->state);
	if (task->state == TASK_DONE) {
		assert_int_equal(world_say(m->w, holder, item, NULL), ERR_OK); /* sent again */
		item.verb = REPORT_REJECT;
		assert_int_equal(world_say(m->w, holder, item, NULL), ERR_LATE_RESULT);
	}
}

static void step_time(struct model *m)
{
	uint64_t to = m->w->now_ms + roll(m, 400);
	world_tick(m->w, to);
	end_doomed(m);
	for (uint64_t i = 1; i < m->end; i++) {
		struct task_view v;
		if (m->tasks[i].state != TASK_SCHEDULED || m->tasks[i].blocked)
			continue;
		assert_true(tasks_show(m->w->t, i, &v));
		assert_int_equal(v.state, v.ready_ms > to ? TASK_SCHEDULED : TASK_READY);
		m->tasks[i].state = v.state;
	}
}

static void model_lose(struct model *m, int holder, bool restart)
{
	for (uint64_t i = 1; i < m->end; i++) {
		struct model_task *task = &m->tasks[i];
		if (task->holder != holder || (task->state != TASK_LEASED && task->state != TASK_STARTED))
			continue;
		task->holder = -1;
		if (task->state == TASK_STARTED && !restart)
			fail_task(m, i, true);
		else
			task->state = TASK_READY;
	}
}

static void step_lose(struct model *m)
{
	int holder = (int)roll(m, HOLDERS);
	model_lose(m, holder, false);
	tasks_holder_lost(m->w->t, LOG(m->w), m->holders[holder], m->w->now_ms);
	world_flush(m->w);
	m->holders[holder] = tasks_holder_new(m->w->t, m);
}

static void step_admin(struct model *m)
{
	char text[256];
	uint32_t records;
	uint64_t number;
	switch (roll(m, 3)) {
	case 0:
		number = pick(m, TASK_READY, TASK_SCHEDULED);
		if (!number)
			return;
		assert_int_equal(tasks_propose_cancel(m->w->t, LOG(m->w), number, m->w->now_ms, &records, text), ERR_OK);
		m->tasks[number].state = TASK_CANCELLED;
		ended(m, number);
		break;
	case 1:
		number = pick(m, TASK_DEAD, TASK_SCHEDULED);
		if (!number)
			return;
		if (m->tasks[number].blocked) {
			assert_int_equal(tasks_propose_retry(m->w->t, LOG(m->w), number, &records, text), ERR_WRONG_STATE);
			return;
		}
		assert_int_equal(tasks_propose_retry(m->w->t, LOG(m->w), number, &records, text), ERR_OK);
		if (m->tasks[number].state == TASK_DEAD)
			m->tasks[number].failed = 0;
		m->tasks[number].state = TASK_READY;
		m->tasks[number].fresh = false;
		break;
	default:
		if (roll(m, 10) > 0)
			return;
		uint32_t queue = (uint32_t)roll(m, QUEUES);
		(void)world_purge(m->w, QUEUE_NAMES[queue], false);
		for (uint64_t i = 1; i < m->end; i++)
			if (m->tasks[i].queue == queue && (m->tasks[i].state == TASK_READY || m->tasks[i].state == TASK_SCHEDULED)) {
				m->tasks[i].state = TASK_CANCELLED;
				ended(m, i);
			}
		break;
	}
	world_flush(m->w);
}

/* A crash: leases are gone, nothing else is. The bytes of both machines are compared inside. */
static void step_restart(struct model *m)
{
	for (int i = 0; i < HOLDERS; i++) {
		model_lose(m, i, true);
		tasks_holder_lost(m->w->t, LOG(m->w), m->holders[i], m->w->now_ms); /* proposals are thrown away */
	}
	world_restart(m->w);
	for (int i = 0; i < HOLDERS; i++)
		m->holders[i] = tasks_holder_new(m->w->t, m);
	for (uint64_t i = 1; i < m->end; i++) {
		struct task_view v;
		struct model_task *task = &m->tasks[i];
		if (task->state != TASK_READY && task->state != TASK_SCHEDULED)
			continue;
		assert_true(tasks_show(m->w->t, i, &v));
		task->attempt = v.acquired;
		task->fresh = v.acquired == 0 && v.failed == 0 && v.ready_ms <= m->w->now_ms && !task->blocked;
	}
}

static void expect_all(struct model *m)
{
	for (uint32_t q = 0; q < QUEUES; q++) {
		uint64_t ready = 0, leased = 0, scheduled = 0, dead = 0, blocked = 0;
		if (!world_queue(m->w, QUEUE_NAMES[q]))
			continue;
		for (uint64_t i = 1; i < m->end; i++) {
			if (m->tasks[i].queue != q)
				continue;
			ready += m->tasks[i].state == TASK_READY;
			scheduled += m->tasks[i].state == TASK_SCHEDULED;
			blocked += m->tasks[i].state == TASK_SCHEDULED && m->tasks[i].blocked;
			leased += m->tasks[i].state == TASK_LEASED || m->tasks[i].state == TASK_STARTED;
			dead += m->tasks[i].state == TASK_DEAD;
		}
		struct queue_info info = world_info(m->w, QUEUE_NAMES[q]);
		assert_int_equal(info.ready, ready);
		assert_int_equal(info.leased, leased);
		assert_int_equal(info.scheduled, scheduled);
		assert_int_equal(info.dead, dead);
		assert_int_equal(info.blocked, blocked);
	}
	for (uint64_t i = 1; i < m->end; i++)
		expect_state(m, i, m->tasks[i].state);
}

static void run_seed(uint64_t seed)
{
	struct model *m = calloc(1, sizeof *m);
	struct tasks_config config = world_config(NULL);
	config.recent_max = config.retained_max = TASKS_MAX; /* so that nothing settled is forgotten */
	config.producer_idle_ms = config.key_window_ms = 1u << 30;
	m->w = world_new_with(&config);
	m->seed = seed;
	m->random = seed * 0x9e3779b97f4a7c15u + 1;
	m->end = m->next_seq = m->base_seq = 1;
	for (int i = 0; i < HOLDERS; i++)
		m->holders[i] = tasks_holder_new(m->w->t, m);
	if (seed % 2 == 0)
		assert_true(tasks_propose_secret(m->w->t, LOG(m->w), (const uint8_t *)"sixteen  random"));
	for (uint32_t q = 0; q < QUEUES; q++) {
		struct queue_settings s = QUEUE_SETTINGS_UNSET;
		char text[256];
		uint32_t records;
		s.backoff_min_ms = 50;
		s.backoff_max_ms = 200;
		assert_int_equal(tasks_propose_queue(m->w->t, LOG(m->w), span_str(QUEUE_NAMES[q]), &s, true, &records, text), ERR_OK);
	}
	world_flush(m->w);
	for (uint32_t step = 0; step < STEPS; step++) {
		uint64_t r = roll(m, 100);
		if (r < 14)
			step_submit(m);
		else if (r < 18)
			step_after(m);
		else if (r < 22)
			step_group(m);
		else if (r < 50)
			step_lease(m);
		else if (r < 85)
			step_report(m);
		else if (r < 90)
			step_time(m);
		else if (r < 92)
			step_lose(m);
		else if (r < 97)
			step_admin(m);
		else if (r < 98)
			world_checkpoint(m->w);
		else if (r < 99)
			step_restart(m);
		else if (tasks_compact(m->w->t, LOG(m->w)))
			world_flush(m->w);
		if (step % 16 == 0)
			expect_all(m);
	}
	expect_all(m);
	assert_true(m->handed_out > 0 && m->released > 0 && m->doomed > 0);
	for (int i = 0; i < HOLDERS; i++)
		tasks_holder_lost(m->w->t, LOG(m->w), m->holders[i], m->w->now_ms);
	world_free(m->w);
	free(m);
}

static void test_random_histories_agree_with_the_naive_machine(void **state)
{
	(void)state;
	const char *one = getenv("TASKS_SEED");
	uint64_t first = one ? strtoull(one, NULL, 10) : 1, last = one ? first : 20;
	for (uint64_t seed = first; seed <= last; seed++) {
		print_message("TASKS_SEED=%llu\n", (unsigned long long)seed);
		run_seed(seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_histories_agree_with_the_naive_machine) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
