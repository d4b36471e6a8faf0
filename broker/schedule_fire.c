/* broker/schedule_fire.c: when schedules are due, and their firing. In the flow: timer -> SCHEDULE_FIRE -> propose -> log ... -> apply.
 *
 * Invariants
 *  1. The SUBMIT of a firing, the cancel of the task that it replaces, and the FIRE record are in the same batch, in this order, with
 *     no other SUBMIT in between: apply finds the task as the newest one. Room for all of them is asked for first.
 *  2. Between propose and apply of a FIRE the schedule is `proposed`: it is not fired again. */
#include "schedule_impl.h"

#include "types.h"

/* ---- the heap ---- */

static bool before(const struct schedule *x, const struct schedule *y)
{
	if (x->info.next_ms != y->info.next_ms)
		return x->info.next_ms < y->info.next_ms;
	return strcmp(x->name, y->name) < 0;
}

static void put(struct schedules *s, uint32_t place, struct schedule *x)
{
	s->due[place - 1] = x;
	x->due_place = place;
}

static void sift(struct schedules *s, uint32_t place, struct schedule *x)
{
	for (; place > 1 && before(x, s->due[place / 2 - 1]); place /= 2)
		put(s, place, s->due[place / 2 - 1]);
	for (;;) {
		uint32_t child = place * 2;
		if (child > s->due_count)
			break;
		if (child < s->due_count && before(s->due[child], s->due[child - 1]))
			child++;
		if (!before(s->due[child - 1], x))
			break;
		put(s, place, s->due[child - 1]);
		place = child;
	}
	put(s, place, x);
}

void schedule_forget(struct schedules *s, struct schedule *x)
{
	uint32_t place = x->due_place;
	if (place == 0)
		return;
	ENSURE(place <= s->due_count && s->due[place - 1] == x);
	struct schedule *last = s->due[--s->due_count];
	x->due_place = 0;
	if (last != x)
		sift(s, place, last);
}

void schedule_settle(struct schedules *s, struct schedule *x)
{
	if (x->info.paused || x->proposed || x->info.next_ms == NEVER) {
		schedule_forget(s, x);
		return;
	}
	if (x->due_place == 0) {
		if (s->due_count == s->due_cap) {
			s->due_cap = s->due_cap ? s->due_cap * 2 : 16;
			s->due = realloc(s->due, s->due_cap * sizeof(struct schedule *));
			ENSURE(s->due != NULL);
		}
		x->due_place = ++s->due_count;
	}
	sift(s, x->due_place, x);
}

/* ---- times ---- */

uint64_t schedule_after(const struct schedule *x, uint64_t after_ms)
{
	const struct schedule_info *i = &x->info;
	if (i->at_ms)
		return i->at_ms > after_ms ? i->at_ms : NEVER;
	if (i->every_ms) {
		uint64_t passed = after_ms > i->created_ms ? (after_ms - i->created_ms) / i->every_ms : 0;
		return i->created_ms + (passed + 1) * i->every_ms;
	}
	int64_t next = cron_next(&x->cron, i->zone, i->zone_count, (int64_t)(after_ms / 1000));
	return next == CRON_NEVER_S || next < 0 ? NEVER : (uint64_t)next * 1000;
}

/* Of a time that is due at `now_ms`: how many more have passed since, at most `most`. */
static uint32_t times_since(const struct schedule *x, uint64_t now_ms, uint32_t most)
{
	uint32_t count = 0;
	for (uint64_t at = schedule_after(x, x->info.next_ms); at <= now_ms && count < most; at = schedule_after(x, at))
		count++;
	return count;
}

/* ---- firing ---- */

static bool still_open(struct tasks *t, uint64_t task)
{
	struct task_view v;
	return task != 0 && tasks_show(t, task, &v) && v.state < TASK_DONE;
}

/* Its task as a submission of today: types may have changed since it was added. Why there is none, or ERR_OK. */
static enum err fire_task(const struct schedule_info *i, const struct types *types, struct tasks *t, struct log *log,
			  uint64_t sequence, uint64_t now_ms)
{
	struct submit_answer answer = { .run_count = 0 };
	struct task_head head;
	char why[128], text[256];
	uint32_t size = (uint32_t)i->payload.len;
	enum err e = task_head_decode(i->head, &head, why);
	ENSURE(e == ERR_OK); /* judged when it was added */
	head.parent = 0;
	const uint8_t *slash = memchr(i->name.data, '/', i->name.len); /* of a vnet other than default: permit.h */
	head.vnet = span_sub(i->name, 0, slash ? (size_t)(slash - i->name.data) : 0);
	const struct msg_submit m = { .producer = SCHEDULE_PRODUCER, .first_seq = sequence, .resolved_below = sequence,
				      .head = i->head, .sizes = { &size, 1 } };
	e = types_check(types, head.type, head.fingerprint, head.payload, i->payload, text);
	if (e != ERR_OK)
		return e;
	if (head.queue.len == 0 && types_find(types, head.type))
		head.queue = types_resolve(types, head.type); /* the tasks of an alias are in the queue of its type */
	tasks_propose_submit(t, log, &m, &head, i->payload, now_ms, &answer);
	if (answer.records > 0)
		return ERR_OK;
	return answer.run_count > 0 ? (enum err)answer.runs[0].code : ERR_INTERNAL;
}

/* The task of the time before, where it is not final: cancelled in two phases. Returns how many records that took. One that is being
 * settled at this moment is as good as final. */
static uint32_t replace(struct tasks *t, struct log *log, uint64_t task, uint64_t now_ms)
{
	uint32_t records = 0;
	char text[256];
	if (still_open(t, task) && tasks_propose_cancel(t, log, task, now_ms, &records, text) == ERR_RESOURCE_EXHAUSTED)
		ensure_failed("a firing has room for the cancel of the task before", __FILE__, __LINE__);
	return records;
}

/* The task, the end of the one that it replaces, then the record. A task that is refused replaces none. False: no room now, and nothing
 * was appended. */
static bool fire(struct schedules *s, struct schedule *x, const struct schedule_world *world, uint64_t now_ms,
		 struct rec_schedule rec, bool with_task, uint32_t *task_records)
{
	struct log *log = world->log;
	const struct schedule_info *i = &x->info;
	*task_records = 0;
	if (log_append_room(log) < 8192 + i->head.len + i->payload.len || log_room(log) != LOG_ROOM_OK)
		return false;
	rec.op = SCHEDULE_FIRE;
	if (with_task) {
		uint64_t sequence = MAX_OF(s->sequence, s->proposed_sequence) + 1;
		rec.code = (uint16_t)fire_task(i, world->types, world->tasks, log, sequence, now_ms);
		*task_records = rec.code == ERR_OK;
		if (rec.code == ERR_OK) {
			if (i->overlap == OVERLAP_REPLACE)
				*task_records += replace(world->tasks, log, i->last_task, now_ms);
			s->proposed_sequence = rec.sequence = sequence;
			rec.flags |= FIRE_TASK;
		}
	}
	bool appended = schedule_append(log, rec, span_str(x->name), span_of(NULL, 0));
	ENSURE(appended);
	x->proposed = true;
	schedule_settle(s, x);
	return true;
}

enum err schedules_run(struct schedules *s, const struct schedule_world *world, struct span name, uint64_t now_ms,
		       uint32_t *task_records, uint32_t *records, char text[256])
{
	struct schedule *x = schedule_find(s, name);
	*task_records = *records = 0;
	if (!x)
		return schedule_refuse(text, ERR_NOT_FOUND, "there is no schedule %.*s", SHOWN(name));
	const struct rec_schedule rec = { .flags = FIRE_KEEPS_TIME, .at_ms = now_ms };
	if (x->proposed || !fire(s, x, world, now_ms, rec, true, task_records))
		return schedule_refuse(text, ERR_RESOURCE_EXHAUSTED, "no room in this batch of the log");
	*records = 1;
	return ERR_OK;
}

uint64_t schedules_next_ms(const struct schedules *s)
{
	return s->due_count > 0 ? s->due[0]->info.next_ms : NEVER;
}

bool schedules_tick(struct schedules *s, const struct schedule_world *world, uint64_t now_ms, uint32_t *task_records)
{
	*task_records = 0;
	if (schedules_next_ms(s) > now_ms)
		return false;
	struct schedule *x = s->due[0];
	struct rec_schedule rec = { .at_ms = x->info.next_ms, .after_ms = x->info.next_ms };
	bool task = x->info.overlap != OVERLAP_SKIP || !still_open(world->tasks, x->info.last_task);
	if (!task)
		rec.code = ERR_WRONG_STATE;
	if (now_ms - x->info.next_ms > SCHEDULE_LATE_MS && x->info.misfire != MISFIRE_RUN_ALL) {
		rec.after_ms = now_ms;
		rec.skipped = times_since(x, now_ms, 1000);
		task = task && x->info.misfire == MISFIRE_RUN_ONCE;
	}
	rec.skipped += !task;
	return fire(s, x, world, now_ms, rec, task, task_records) && schedules_next_ms(s) <= now_ms;
}

