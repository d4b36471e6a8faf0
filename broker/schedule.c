/* broker/schedule.c: the schedules, when they are due, and their firing. In the flow: timer -> SCHEDULE -> propose -> log ... -> apply.
 *
 * Invariants
 *  1. next_ms is a function of the durable state: apply computes it from the record's times, never from a clock.
 *  2. A FIRE record follows its SUBMIT in the same batch with nothing in between; room for both is asked for first.
 *  3. Between propose and apply of a FIRE the schedule is `proposed` (v): it is not fired again.
 *  4. Names are in order in the array. */
#include "schedule.h"

#include "types.h"

#include <stdarg.h>

enum { REC_SCHEDULE_VERSION = 1, SECTION_VERSION = 1 };
#define NEVER UINT64_MAX

struct schedule {
	struct buf spec;          /* as it was registered; info borrows it */
	struct schedule_info info; /* name in `name` */
	char *name;
	struct cron cron;
	bool proposed;            /* (v) */
};

struct schedules {
	struct schedule **all;
	uint32_t count, cap;
	uint64_t sequence;        /* of the last task */
	uint64_t proposed_sequence; /* (v) */
	uint64_t next_ms;         /* the earliest; derived */
	size_t bytes;
};

enum { FIRE_TASK = 1, FIRE_KEEPS_TIME = 2 };
/* This, the spec (ADD), the name. */
struct rec_schedule {
	uint8_t version, op, flags, name_size;
	uint32_t spec_size;
	uint64_t after_ms;        /* FIRE: the next time is the first after this */
	uint64_t at_ms;           /* FIRE: the time that was fired; ADD: now */
	uint64_t sequence;        /* FIRE with a task: of the producer */
	uint32_t skipped;         /* FIRE: times that passed without a task */
	uint16_t code, pad;       /* FIRE: why there is no task */
};
_Static_assert(sizeof(struct rec_schedule) == 40, "on disk");

PRINTF_LIKE(3, 4)
static enum err refuse(char text[256], enum err code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, 256, format, args);
	va_end(args);
	return code;
}
#define SHOWN(s) (int)MIN_OF((s).len, 150u), (s).len ? (const char *)(s).data : ""

/* ---- the set ---- */

struct schedules *schedules_new(void)
{
	struct schedules *s = calloc(1, sizeof *s);
	ENSURE(s != NULL);
	s->next_ms = NEVER;
	return s;
}

static void schedule_free(struct schedule *x)
{
	buf_free(&x->spec);
	free(x->name);
	free(x);
}

void schedules_free(struct schedules *s)
{
	for (uint32_t i = 0; i < s->count; i++)
		schedule_free(s->all[i]);
	free(s->all);
	free(s);
}

static int compare(const struct schedule *x, struct span name)
{
	size_t len = strlen(x->name);
	int order = memcmp(x->name, name.data, MIN_OF(len, name.len));
	return order ? order : (len > name.len) - (len < name.len);
}

static uint32_t place(const struct schedules *s, struct span name)
{
	uint32_t low = 0, high = s->count;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (compare(s->all[middle], name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct schedule *find(const struct schedules *s, struct span name)
{
	uint32_t at = name.len ? place(s, name) : s->count;
	return at < s->count && compare(s->all[at], name) == 0 ? s->all[at] : NULL;
}

static void insert(struct schedules *s, struct schedule *x)
{
	uint32_t at = place(s, span_str(x->name));
	if (s->count == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 16;
		s->all = realloc(s->all, s->cap * sizeof(struct schedule *));
		ENSURE(s->all != NULL);
	}
	memmove(&s->all[at + 1], &s->all[at], (s->count - at) * sizeof s->all[0]);
	s->all[at] = x;
	s->count++;
	s->bytes += x->spec.len;
}

static void find_next(struct schedules *s)
{
	s->next_ms = NEVER;
	for (uint32_t i = 0; i < s->count; i++)
		if (!s->all[i]->info.paused && !s->all[i]->proposed)
			s->next_ms = MIN_OF(s->next_ms, s->all[i]->info.next_ms);
}

/* ---- times ---- */

/* The first time of it after `after_ms`. */
static uint64_t time_after(const struct schedule *x, uint64_t after_ms)
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
	for (uint64_t at = time_after(x, x->info.next_ms); at <= now_ms && count < most; at = time_after(x, at))
		count++;
	return count;
}

/* ---- propose ---- */

static bool rec_append(struct log *log, struct rec_schedule rec, struct span name, struct span spec)
{
	uint64_t addr;
	rec.version = REC_SCHEDULE_VERSION;
	rec.name_size = (uint8_t)name.len;
	rec.spec_size = (uint32_t)spec.len;
	uint8_t *body = log_append(log, REC_SCHEDULE, sizeof rec + spec.len + name.len, &addr);
	if (!body)
		return false;
	memcpy(body, &rec, sizeof rec);
	if (spec.len > 0)
		memcpy(body + sizeof rec, spec.data, spec.len);
	memcpy(body + sizeof rec + spec.len, name.data, name.len);
	return true;
}

static enum err no_room(char text[256])
{
	return refuse(text, ERR_RESOURCE_EXHAUSTED, "no room in this batch of the log");
}

static bool head_ok(struct span bytes)
{
	struct task_head head;
	char why[128];
	return task_head_decode(bytes, &head, why) == ERR_OK && head.key.len == 0;
}

static bool has_parent(struct span bytes)
{
	struct task_head head;
	char why[128];
	return task_head_decode(bytes, &head, why) == ERR_OK && head.parent != 0;
}

/* Fills *out where the spec makes a schedule; it is the caller's. */
static enum err make(struct span name, struct span spec, uint64_t now_ms, struct schedule **out, char text[256])
{
	struct schedule *x = calloc(1, sizeof *x);
	char why[128];
	ENSURE(x != NULL);
	buf_append(&x->spec, spec.data, spec.len);
	x->name = calloc(1, name.len + 1);
	ENSURE(x->name != NULL);
	if (name.len > 0)
		memcpy(x->name, name.data, name.len);
	enum err e = schedule_info_decode(buf_span(&x->spec), &x->info, why);
	const struct schedule_info *i = &x->info;
	if (e != ERR_OK)
		e = refuse(text, e, "%s", why);
	else if ((i->cron.len > 0) + (i->every_ms > 0) + (i->at_ms > 0) != 1)
		e = refuse(text, ERR_INVALID_INPUT, "a schedule has exactly one of cron, every and at");
	else if (i->head.len == 0 || !head_ok(i->head))
		e = refuse(text, ERR_INVALID_INPUT, "ScheduleInfo.head: missing, or with a key: all its tasks would be one");
	else if (i->every_ms > (uint64_t)366 * 86400000 || i->at_ms > (uint64_t)1 << 48 || (i->every_ms && i->every_ms < 1000))
		e = refuse(text, ERR_INVALID_INPUT, "every is from 1 s to 366 d, at before the year 10000");
	else if (i->cron.len > 0)
		e = cron_parse(i->cron, &x->cron, why);
	if (e == ERR_OK) {
		x->info.name = span_str(x->name);
		x->info.created_ms = now_ms;
		x->info.next_ms = time_after(x, now_ms);
		x->info.last_ms = x->info.last_task = x->info.fired_total = x->info.skipped_total = 0;
		x->info.last_code = 0;
		if (x->info.next_ms == NEVER)
			e = refuse(text, ERR_INVALID_INPUT, "this schedule is never due");
	}
	if (e != ERR_OK) {
		schedule_free(x);
		return e;
	}
	*out = x;
	return ERR_OK;
}

static enum err judge_add(const struct schedules *s, struct span name, struct span spec, uint64_t now_ms, struct schedule **out,
			  char text[256])
{
	for (size_t i = 0; i < name.len; i++)
		if (name.data[i] <= ' ' || name.data[i] >= 127)
			return refuse(text, ERR_INVALID_INPUT, "the name of a schedule has printable characters only, and no spaces");
	if (name.len == 0 || name.len > LIMIT_NAME_BYTES)
		return refuse(text, ERR_INVALID_INPUT, "the name of a schedule has 1 to %d bytes", LIMIT_NAME_BYTES);
	if (find(s, name))
		return refuse(text, ERR_EXISTS, "there is a schedule %.*s", SHOWN(name));
	if (s->count == SCHEDULES_MAX || s->bytes + spec.len > SCHEDULES_BYTES_MAX)
		return refuse(text, ERR_RESOURCE_EXHAUSTED, "there are %u schedules of %zu bytes already", s->count, s->bytes);
	return make(name, spec, now_ms, out, text);
}

enum err schedules_propose_add(struct schedules *s, struct log *log, struct span name, struct span spec, uint64_t now_ms,
			       uint32_t *records, char text[256])
{
	struct schedule *x;
	*records = 0;
	enum err e = judge_add(s, name, spec, now_ms, &x, text);
	if (e != ERR_OK)
		return e;
	bool family = has_parent(x->info.head);
	schedule_free(x);
	if (family)
		return refuse(text, ERR_INVALID_INPUT, "ScheduleInfo.head: its tasks have no parent: nobody holds one when they are made");
	if (!rec_append(log, (struct rec_schedule){ .op = SCHEDULE_ADD, .at_ms = now_ms }, name, spec))
		return no_room(text);
	*records = 1;
	return ERR_OK;
}

enum err schedules_propose(struct schedules *s, struct log *log, struct span name, enum schedule_op op, uint32_t *records,
			   char text[256])
{
	*records = 0;
	if (!find(s, name))
		return refuse(text, ERR_NOT_FOUND, "there is no schedule %.*s", SHOWN(name));
	if (!rec_append(log, (struct rec_schedule){ .op = (uint8_t)op }, name, span_of(NULL, 0)))
		return no_room(text);
	*records = 1;
	return ERR_OK;
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
	const struct msg_submit m = { .producer = SCHEDULE_PRODUCER, .first_seq = sequence, .resolved_below = sequence,
				      .head = i->head, .sizes = { &size, 1 } };
	e = types_check(types, head.type, head.fingerprint, i->payload, text);
	if (e != ERR_OK)
		return e;
	if (head.queue.len == 0 && types_find(types, head.type))
		head.queue = types_resolve(types, head.type); /* the tasks of an alias are in the queue of its type */
	tasks_propose_submit(t, log, &m, &head, i->payload, now_ms, &answer);
	if (answer.records > 0)
		return ERR_OK;
	return answer.run_count > 0 ? (enum err)answer.runs[0].code : ERR_INTERNAL;
}

/* The task, then the record. False: no room now, and nothing was appended. */
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
			s->proposed_sequence = rec.sequence = sequence;
			rec.flags |= FIRE_TASK;
		}
	}
	bool appended = rec_append(log, rec, span_str(x->name), span_of(NULL, 0));
	ENSURE(appended);
	x->proposed = true;
	find_next(s);
	return true;
}

enum err schedules_run(struct schedules *s, const struct schedule_world *world, struct span name, uint64_t now_ms,
		       uint32_t *task_records, uint32_t *records, char text[256])
{
	struct schedule *x = find(s, name);
	*task_records = *records = 0;
	if (!x)
		return refuse(text, ERR_NOT_FOUND, "there is no schedule %.*s", SHOWN(name));
	const struct rec_schedule rec = { .flags = FIRE_KEEPS_TIME, .at_ms = now_ms };
	if (x->proposed || !fire(s, x, world, now_ms, rec, true, task_records))
		return no_room(text);
	*records = 1;
	return ERR_OK;
}

uint64_t schedules_next_ms(const struct schedules *s)
{
	return s->next_ms;
}

bool schedules_tick(struct schedules *s, const struct schedule_world *world, uint64_t now_ms, uint32_t *task_records)
{
	struct schedule *x = NULL;
	*task_records = 0;
	if (s->next_ms > now_ms)
		return false;
	for (uint32_t i = 0; i < s->count; i++) {
		struct schedule *y = s->all[i];
		if (!y->info.paused && !y->proposed && (!x || y->info.next_ms < x->info.next_ms))
			x = y;
	}
	ENSURE(x != NULL && x->info.next_ms <= now_ms);
	struct rec_schedule rec = { .at_ms = x->info.next_ms, .after_ms = x->info.next_ms };
	bool task = x->info.overlap == OVERLAP_ALLOW || !still_open(world->tasks, x->info.last_task);
	if (!task)
		rec.code = ERR_WRONG_STATE;
	if (now_ms - x->info.next_ms > SCHEDULE_LATE_MS && x->info.misfire != MISFIRE_RUN_ALL) {
		rec.after_ms = now_ms;
		rec.skipped = times_since(x, now_ms, 1000);
		task = task && x->info.misfire == MISFIRE_RUN_ONCE;
	}
	rec.skipped += !task;
	return fire(s, x, world, now_ms, rec, task, task_records) && s->next_ms <= now_ms;
}

/* ---- apply ---- */

static void apply_fire(struct schedule *x, const struct rec_schedule *rec, uint64_t newest)
{
	struct schedule_info *i = &x->info;
	x->proposed = false;
	if (rec->flags & FIRE_TASK) {
		i->last_task = newest;
		i->fired_total++;
	}
	i->last_ms = rec->at_ms;
	i->last_code = rec->code;
	i->skipped_total += rec->skipped;
	if (!(rec->flags & FIRE_KEEPS_TIME))
		i->next_ms = time_after(x, rec->after_ms);
}

static void apply_remove(struct schedules *s, struct schedule *x)
{
	uint32_t at = place(s, span_str(x->name));
	s->bytes -= x->spec.len;
	memmove(&s->all[at], &s->all[at + 1], (--s->count - at) * sizeof s->all[0]);
	schedule_free(x);
}

static enum err apply_op(struct schedules *s, const struct rec_schedule *rec, struct span name, struct span spec, uint64_t newest,
			 uint64_t time_ms)
{
	char text[256];
	struct schedule *x = find(s, name);
	if (rec->op == SCHEDULE_ADD) {
		enum err e = judge_add(s, name, spec, rec->at_ms, &x, text);
		if (e == ERR_OK)
			insert(s, x);
		return e;
	}
	if (rec->op == SCHEDULE_FIRE && rec->flags & FIRE_TASK)
		s->sequence = rec->sequence;
	if (!x)
		return ERR_NOT_FOUND;
	switch ((enum schedule_op)rec->op) {
	case SCHEDULE_REMOVE: apply_remove(s, x); break;
	case SCHEDULE_FIRE: apply_fire(x, rec, newest); break;
	case SCHEDULE_PAUSE: x->info.paused = true; break;
	case SCHEDULE_RESUME:
		x->info.next_ms = x->info.paused ? time_after(x, time_ms) : x->info.next_ms;
		x->info.paused = false;
		break;
	case SCHEDULE_ADD: break;
	}
	return ERR_OK;
}

void schedules_apply(struct schedules *s, const struct tasks *t, const struct log_entry *entry, const struct log_record *record,
		     struct applied *out)
{
	struct reader r = { .rest = record->body };
	struct rec_schedule rec;
	read_into(&r, &rec, sizeof rec);
	struct span spec = read_bytes(&r, rec.spec_size), name = read_bytes(&r, rec.name_size);
	ENSURE(!r.failed && rec.version == REC_SCHEDULE_VERSION && rec.op >= SCHEDULE_ADD && rec.op <= SCHEDULE_FIRE);
	enum err e = apply_op(s, &rec, name, spec, tasks_newest(t), entry->time_ms);
	bool run = rec.op == SCHEDULE_FIRE && rec.flags & FIRE_KEEPS_TIME; /* somebody asked for it */
	out->origin = rec.op == SCHEDULE_FIRE && !run ? APPLIED_INTERNAL : APPLIED_ADMIN;
	out->code = e == ERR_OK && run ? rec.code : (uint16_t)e;
	out->affected = out->code == ERR_OK;
	find_next(s);
}

/* ---- looking ---- */

uint32_t schedules_count(const struct schedules *s)
{
	return s->count;
}

void schedules_info(const struct schedules *s, uint32_t index, struct schedule_info *out)
{
	ENSURE(index < s->count);
	*out = s->all[index]->info;
	out->payload = span_of(NULL, 0);
	out->zone_count = 0;
}

bool schedules_show(const struct schedules *s, struct span name, struct schedule_info *out)
{
	const struct schedule *x = find(s, name);
	if (x)
		*out = x->info;
	return x != NULL;
}

/* ---- checkpoint ---- */

struct section_head { uint32_t version, count; uint64_t sequence; };
struct section_item {
	uint64_t created_ms, next_ms, last_ms, last_task, fired_total, skipped_total;
	uint32_t spec_size;
	uint16_t last_code;
	uint8_t name_size, paused;
};
_Static_assert(sizeof(struct section_head) == 16 && sizeof(struct section_item) == 56, "on disk");

void schedules_checkpoint(const struct schedules *s, struct buf *out)
{
	const struct section_head head = { SECTION_VERSION, s->count, s->sequence };
	buf_append(out, &head, sizeof head);
	for (uint32_t i = 0; i < s->count; i++) {
		const struct schedule *x = s->all[i];
		const struct section_item item = { x->info.created_ms, x->info.next_ms, x->info.last_ms, x->info.last_task,
						   x->info.fired_total, x->info.skipped_total, (uint32_t)x->spec.len,
						   x->info.last_code, (uint8_t)strlen(x->name), x->info.paused };
		buf_append(out, &item, sizeof item);
		buf_append(out, x->spec.data, x->spec.len);
		buf_append(out, x->name, item.name_size);
	}
}

static bool get_item(struct schedules *s, struct reader *r)
{
	struct section_item item;
	struct schedule *x;
	char text[256];
	read_into(r, &item, sizeof item);
	struct span spec = read_bytes(r, item.spec_size), name = read_bytes(r, item.name_size);
	/* One that fires once and has fired was due after it was created, and is never due again. */
	if (r->failed || item.paused > 1 || judge_add(s, name, spec, item.created_ms, &x, text) != ERR_OK)
		return false;
	x->info.next_ms = item.next_ms;
	x->info.last_ms = item.last_ms;
	x->info.last_task = item.last_task;
	x->info.fired_total = item.fired_total;
	x->info.skipped_total = item.skipped_total;
	x->info.last_code = item.last_code;
	x->info.paused = item.paused;
	insert(s, x);
	return true;
}

enum err schedules_restore(struct schedules *s, struct span section, char text[256])
{
	struct reader r = { .rest = section };
	struct section_head head;
	read_into(&r, &head, sizeof head);
	bool good = !r.failed && head.version == SECTION_VERSION && head.count <= SCHEDULES_MAX;
	ENSURE(s->count == 0);
	for (uint32_t i = 0; good && i < head.count; i++)
		good = get_item(s, &r);
	s->sequence = head.sequence;
	find_next(s);
	if (good && r.rest.len == 0)
		return ERR_OK;
	return refuse(text, ERR_DAMAGED, "the checkpoint of schedules does not fit at byte %zu", section.len - r.rest.len);
}
