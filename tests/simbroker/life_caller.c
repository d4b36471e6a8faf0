/* tests/simbroker/life_caller.c: submits one task at a time, keeps it until it has a confirm, awaits it from the yield it has come to,
 * over cuts and restarts, and judges what comes. */
#include "life.h"

struct life_caller {
	struct link link;
	struct life *life;
	uint64_t producer;
	bool resumed;           /* the session is an old one: what it awaited goes on */
};

static struct life_task *task_by_id(struct life_caller *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->life->count; i++)
		if (c->life->tasks[i].id == id)
			return &c->life->tasks[i];
	return NULL;
}

/* Yields are judged connection by connection. */
static void this_connection(struct life_caller *c, struct life_task *t)
{
	if (t->generation == c->link.generation)
		return;
	t->generation = c->link.generation;
	t->awaits = 0;
	t->any = false;
}

static void remember_from(struct life_caller *c, struct life_task *t, uint32_t from)
{
	this_connection(c, t);
	ENSURE(t->awaits < LIFE_AWAITS_MAX);
	t->from[t->awaits++] = from;
}

static void await(struct life_caller *c, struct life_task *t)
{
	this_connection(c, t);
	if (t->awaits == LIFE_AWAITS_MAX)
		return;
	remember_from(c, t, t->next);
	struct msg m = { .kind = FRAME_AWAIT };
	m.tasks = (struct msg_tasks){ .tasks = { &t->id, 1 }, .want_updates = true, .from_yield = { &t->next, 1 } };
	link_send(&c->link, &m, NULL, 0);
}

static void transmit(struct life_caller *c, struct life_task *t)
{
	static const char *const types[LIFE_KINDS] = { "sim.life.Stream", "sim.life.Once", "sim.life.Nobody", "sim.life.Nobody",
						       "sim.life.Hang", "sim.life.Hang" };
	uint32_t index = (uint32_t)(t - c->life->tasks), size = sizeof index, lowest = 0;
	while (lowest < index && (c->life->tasks[lowest].id || c->life->tasks[lowest].refused))
		lowest++;
	bool timed = t->kind != LIFE_STREAM && t->kind != LIFE_ONCE;
	struct task_head head = { .type = span_str(types[t->kind]), .priority = 4, .retention_ms = 600000,
		.max_attempts = timed ? 1 : 200, .want_result = index % 2 == 0, .want_updates = index % 2 == 0,
		.redelivery = t->kind == LIFE_ONCE ? REDELIVERY_NEVER : REDELIVERY_SAFE,
		.expires_ms = t->kind == LIFE_EXPIRES ? t->limit_ms : 0, .close_ms = t->kind == LIFE_CLOSE ? t->limit_ms : 0,
		.execution_ms = t->kind == LIFE_EXECUTION ? t->limit_ms : 0,
		.heartbeat_ms = t->kind == LIFE_HEARTBEAT ? t->limit_ms : 0 };
	struct buf bytes = { 0 };
	task_head_encode(&bytes, &head);
	struct msg m = { .kind = FRAME_SUBMIT };
	m.submit = (struct msg_submit){ .producer = c->producer, .first_seq = index + 1, .resolved_below = lowest + 1,
					.head = buf_span(&bytes), .sizes = { &size, 1 } };
	struct span payload = span_of(&index, sizeof index);
	if (head.want_updates && c->link.peer)
		remember_from(c, t, 0);
	link_send(&c->link, &m, &payload, 1);
	buf_free(&bytes);
}

static void submit(void *ctx)
{
	struct life_caller *c = ctx;
	struct scene *sc = c->life->scene;
	if (sc->stop_submitting || c->life->count == LIFE_TASKS_MAX)
		return;
	struct life_task *t = &c->life->tasks[c->life->count++];
	uint64_t dice = sim_rand_below(sc->world, 10);
	*t = (struct life_task){ .kind = (uint8_t)(dice < 4 ? LIFE_STREAM : dice < 6 ? LIFE_ONCE : LIFE_EXPIRES + dice - 6),
		.submitted_ns = scene_now(sc), .jumped_ms = sc->jumped_ms, .restarts = sc->restarts };
	t->yields = t->kind == LIFE_STREAM ? (uint32_t)sim_rand_below(sc->world, 40) : 0;
	bool waits = t->kind == LIFE_EXPIRES || t->kind == LIFE_CLOSE; /* the others need a worker for so long */
	uint64_t range_ms = waits && scene_one_in(sc, 3) ? 3000 : 300;
	t->limit_ms = 20 + sim_rand_below(sc->world, range_ms);
	transmit(c, t);
	sim_after(sc->world, SIM_MS * (1 + sim_rand_below(sc->world, 30)), submit, c);
}

/* Promise 5: nothing is open for longer than it may take. */
static void watch(void *ctx)
{
	struct life_caller *c = ctx;
	struct scene *sc = c->life->scene;
	for (uint32_t i = 0; i < c->life->count && sc->healed_ns; i++) {
		const struct life_task *t = &c->life->tasks[i];
		uint64_t from = MAX_OF(t->submitted_ns, sc->healed_ns);
		uint64_t bound = t->limit_ms + LIFE_BOUND_MS + sc->jumped_ms;
		if (!t->refused && !t->answered && scene_now(sc) > from + bound * SIM_MS)
			scene_violate(sc, "L5: task %llu (%s) is open %llu ms after its deadline, while nothing fails",
				      (unsigned long long)t->id, life_kind_name(t),
				      (unsigned long long)((scene_now(sc) - from) / SIM_MS - t->limit_ms));
	}
	sim_after(sc->world, SIM_MS * 100, watch, c);
}

static void up(void *owner, bool resumed)
{
	struct life_caller *c = owner;
	c->resumed = resumed;
	for (uint32_t i = 0; i < c->life->count; i++) {
		struct life_task *t = &c->life->tasks[i];
		if (t->refused || t->answered)
			continue;
		if (t->id == 0) {
			transmit(c, t);
			continue;
		}
		if (t->next > 0)
			scene_mark(c->life->scene, MARK_STREAM_RESUMED);
		await(c, t);
	}
}

static void confirmed(struct life_caller *c, const struct confirm_run *run)
{
	for (uint32_t i = 0; i < run->count; i++) {
		uint64_t index = run->first_seq + i - 1;
		ENSURE(index < c->life->count);
		struct life_task *t = &c->life->tasks[index];
		if (run->code != ERR_OK) {
			t->refused = t->refused || t->id == 0;
			continue;
		}
		uint64_t id = run->first_task + i;
		if (t->id && t->id != id)
			scene_violate(c->life->scene, "L4: number %llu is task %llu and task %llu", (unsigned long long)index,
				      (unsigned long long)t->id, (unsigned long long)id);
		if (t->id == 0 && !t->refused) {
			t->id = id;
			t->confirmed_ns = scene_now(c->life->scene);
			await(c, t);
		}
	}
}

static bool asked_from(struct life_task *t, uint32_t number)
{
	for (uint32_t i = 0; i < t->awaits; i++)
		if (t->from[i] == number) {
			t->awaits -= i + 1;
			memmove(t->from, t->from + i + 1, t->awaits * sizeof t->from[0]);
			return true;
		}
	return false;
}

static void yielded(struct life_caller *c, struct life_task *t, uint32_t number, struct span bytes)
{
	struct scene *sc = c->life->scene;
	uint8_t want[LIFE_YIELD_BYTES];
	this_connection(c, t);
	life_yield_fill(c->life, t, number, want);
	if (number >= t->yields || bytes.len != sizeof want || memcmp(bytes.data, want, sizeof want) != 0)
		scene_violate(sc, "L7: yield %u of task %llu is not what its worker made", number, (unsigned long long)t->id);
	/* What a session awaited before a cut goes on by itself, until it is asked for again. */
	bool follows = t->any ? number == t->last + 1 : c->resumed;
	if (!follows && !asked_from(t, number))
		scene_violate(sc, "L7: yield %u of task %llu comes after %d", number, (unsigned long long)t->id,
			      t->any ? (int)t->last : -1);
	t->any = true;
	t->last = number;
	if (number == t->next)
		t->next++;
	else if (number > t->next) {
		scene_mark(sc, MARK_STREAM_REPLAYED);
		await(c, t);
	}
}

static void judge_timed(struct life_caller *c, const struct life_task *t, const struct result_item *r)
{
	static const enum mark marks[LIFE_KINDS] = { [LIFE_EXPIRES] = MARK_TIMEOUT_EXPIRES, [LIFE_CLOSE] = MARK_TIMEOUT_CLOSE,
		[LIFE_EXECUTION] = MARK_TIMEOUT_EXECUTION, [LIFE_HEARTBEAT] = MARK_TIMEOUT_HEARTBEAT };
	struct scene *sc = c->life->scene;
	bool waits = t->kind == LIFE_EXPIRES || t->kind == LIFE_CLOSE;
	if (r->state != (waits ? TASK_EXPIRED : TASK_DEAD))
		scene_violate(sc, "L5: task %llu (%s) ended as %s", (unsigned long long)t->id, life_kind_name(t),
			      task_state_name(r->state));
	uint64_t early_ms = t->limit_ms - MIN_OF(t->limit_ms, sc->jumped_ms - t->jumped_ms + 1);
	if (waits && scene_now(sc) < t->submitted_ns + early_ms * SIM_MS)
		scene_violate(sc, "L5: task %llu (%s, %llu ms) ended too early", (unsigned long long)t->id, life_kind_name(t),
			      (unsigned long long)t->limit_ms);
	if (waits || r->code == ERR_TIMEOUT)
		scene_mark(sc, marks[t->kind]);
	if (sc->restarts > t->restarts && t->confirmed_ns)
		scene_mark(sc, MARK_TIMEOUT_OVER_RESTART);
}

static void judge_once(struct life_caller *c, const struct life_task *t, const struct result_item *r)
{
	struct scene *sc = c->life->scene;
	bool fits = r->state == TASK_DONE ? t->complete_sent : r->state == TASK_DEAD ? t->fail_sent
		: r->state == TASK_LOST && !t->complete_acked;
	if (!fits)
		scene_violate(sc, "L3: task %llu is to be handed out once; delivered %u times, complete %d, fail %d, and is %s",
			      (unsigned long long)t->id, t->delivered, t->complete_sent, t->fail_sent, task_state_name(r->state));
	scene_mark(sc, r->state == TASK_LOST ? MARK_ONCE_LOST : MARK_ONCE_DONE);
}

static void result(struct life_caller *c, const struct result_item *r)
{
	struct life_task *t = task_by_id(c, r->task);
	if (!t || t->answered)
		return; /* asked for twice, or confirmed to a connection that is gone */
	this_connection(c, t);
	if (t->kind == LIFE_STREAM) {
		if (r->state != TASK_DONE || r->yields != t->yields)
			scene_violate(c->life->scene, "L7: task %llu ended as %s with %u yields of %u", (unsigned long long)t->id,
				      task_state_name(r->state), r->yields, t->yields);
		if (t->next < t->yields) {
			/* Right behind the last yield that the broker knew to be wanted: it came (behind a gap, which is being asked for), or
			 * it was sent on the connection before. What was asked for is on its way, and the result once more behind it. */
			bool behind = t->any ? t->last + 1 == t->yields : c->resumed;
			if (!behind)
				scene_violate(c->life->scene, "L7: the result of task %llu comes after %u of %u yields",
					      (unsigned long long)t->id, t->next, t->yields);
			return;
		}
		scene_mark(c->life->scene, MARK_STREAM_DONE);
	} else if (t->kind == LIFE_ONCE) {
		judge_once(c, t, r);
	} else {
		judge_timed(c, t, r);
	}
	t->answered = true;
}

static void frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct life_caller *c = owner;
	size_t at = 0;
	if (m->kind == FRAME_CONFIRMS)
		for (uint32_t i = 0; i < m->confirms.run_count; i++)
			confirmed(c, &m->confirms.runs[i]);
	if (m->kind == FRAME_RESULTS)
		for (uint32_t i = 0; i < m->results.count; i++)
			result(c, &m->results.items[i]);
	for (uint32_t i = 0; m->kind == FRAME_UPDATES && i < m->updates.count; i++) {
		const struct update_item *u = &m->updates.items[i];
		struct life_task *t = task_by_id(c, u->task);
		if (t && !t->answered && u->kind == UPDATE_YIELD)
			yielded(c, t, u->number, span_sub(f->payload, at, u->size));
		at += u->size;
	}
}

static void down(void *owner)
{
	(void)owner;
}

struct life_caller *life_caller_new(struct life *life)
{
	struct life_caller *c = calloc(1, sizeof *c);
	ENSURE(c);
	c->life = life;
	c->producer = sim_rand(life->scene->world) | 1;
	c->link.up = up;
	c->link.down = down;
	c->link.frame = frame;
	link_open(&c->link, life->scene, "life-caller", c);
	submit(c);
	watch(c);
	return c;
}

bool life_caller_idle(const struct life_caller *c)
{
	for (uint32_t i = 0; i < c->life->count; i++)
		if (!c->life->tasks[i].refused && !c->life->tasks[i].answered)
			return false;
	return true;
}
