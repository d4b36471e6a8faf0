/* broker/schedule.c: the schedules: what they may be, the set of them, and what changes it. In the flow: verb -> SCHEDULE -> propose
 * -> log ... -> apply.
 *
 * Names are in order in the array. */
#include "schedule_impl.h"

#include "blob_index.h"

#include <stdarg.h>

enum err schedule_refuse(char text[256], enum err code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, 256, format, args);
	va_end(args);
	return code;
}
/* ---- the set ---- */

struct schedules *schedules_new(struct blobs *blobs)
{
	struct schedules *s = calloc(1, sizeof *s);
	ENSURE(s != NULL);
	s->blobs = blobs;
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
	free(s->due);
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

struct schedule *schedule_find(const struct schedules *s, struct span name)
{
	uint32_t at = name.len ? place(s, name) : s->count;
	return at < s->count && compare(s->all[at], name) == 0 ? s->all[at] : NULL;
}

void schedule_insert(struct schedules *s, struct schedule *x)
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
	if (x->blob)
		blobs_hold(s->blobs, x->blob);
	schedule_settle(s, x);
}

/* ---- propose ---- */

bool schedule_append(struct log *log, struct rec_schedule rec, struct span name, struct span spec)
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
	return schedule_refuse(text, ERR_RESOURCE_EXHAUSTED, "no room in this batch of the log");
}

static bool head_ok(struct span bytes)
{
	struct task_head head;
	char why[128];
	return task_head_decode(bytes, &head, why) == ERR_OK && head.key.len == 0;
}

/* Tied to other tasks: by then those are others, or gone. */
static bool is_tied(struct span bytes)
{
	struct task_head head;
	char why[128];
	return task_head_decode(bytes, &head, why) == ERR_OK &&
	       (head.parent != 0 || head.after.len + head.after_back.len + head.group.len + head.after_group.len > 0);
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
		e = schedule_refuse(text, e, "%s", why);
	else if ((i->cron.len > 0) + (i->every_ms > 0) + (i->at_ms > 0) != 1)
		e = schedule_refuse(text, ERR_INVALID_INPUT, "a schedule has exactly one of cron, every and at");
	else if (i->head.len == 0 || !head_ok(i->head))
		e = schedule_refuse(text, ERR_INVALID_INPUT, "ScheduleInfo.head: missing, or with a key: all its tasks would be one");
	else if (i->every_ms > (uint64_t)366 * 86400000 || i->at_ms > (uint64_t)1 << 48 || (i->every_ms && i->every_ms < 1000))
		e = schedule_refuse(text, ERR_INVALID_INPUT, "every is from 1 s to 366 d, at before the year 10000");
	else if (i->cron.len > 0)
		e = cron_parse(i->cron, &x->cron, why);
	if (e == ERR_OK) {
		x->info.name = span_str(x->name);
		x->info.created_ms = now_ms;
		x->info.next_ms = schedule_after(x, now_ms);
		x->info.last_ms = x->info.last_task = x->info.fired_total = x->info.skipped_total = 0;
		x->info.last_code = 0;
		if (x->info.next_ms == NEVER)
			e = schedule_refuse(text, ERR_INVALID_INPUT, "this schedule is never due");
	}
	if (e != ERR_OK) {
		schedule_free(x);
		return e;
	}
	*out = x;
	return ERR_OK;
}

/* What its payload names, in the vnet of its name. */
static enum err find_blob(const struct schedules *s, struct schedule *x, char text[256])
{
	struct task_head head;
	char why[128];
	const char *slash = strchr(x->name, '/');
	if (task_head_decode(x->info.head, &head, why) != ERR_OK || head.payload != PAYLOAD_BLOB)
		return ERR_OK;
	struct blob_ref ref = { .zero = 0 };
	if (x->info.payload.len == BLOB_REF_BYTES)
		blob_ref_read(x->info.payload, &ref);
	x->blob = blobs_find(s->blobs, span_of(x->name, slash ? (size_t)(slash - x->name) : 0), ref.digest);
	if (x->blob && x->blob->size == ref.size)
		return ERR_OK;
	char name[BLOB_NAME_BYTES];
	return schedule_refuse(text, ERR_NOT_FOUND, "ScheduleInfo.payload: there is no blob %s here", blob_name(ref.digest, name));
}

enum err schedule_judge(const struct schedules *s, struct span name, struct span spec, uint64_t now_ms, struct schedule **out,
			char text[256])
{
	for (size_t i = 0; i < name.len; i++)
		if (name.data[i] <= ' ' || name.data[i] >= 127)
			return schedule_refuse(text, ERR_INVALID_INPUT, "the name of a schedule has printable characters only, and no spaces");
	if (name.len == 0 || name.len > LIMIT_NAME_BYTES)
		return schedule_refuse(text, ERR_INVALID_INPUT, "the name of a schedule has 1 to %d bytes", LIMIT_NAME_BYTES);
	if (schedule_find(s, name))
		return schedule_refuse(text, ERR_EXISTS, "there is a schedule %.*s", SHOWN(name));
	if (s->count == SCHEDULES_MAX || s->bytes + spec.len > SCHEDULES_BYTES_MAX)
		return schedule_refuse(text, ERR_RESOURCE_EXHAUSTED, "there are %u schedules of %zu bytes already", s->count, s->bytes);
	enum err e = make(name, spec, now_ms, out, text);
	if (e == ERR_OK && (e = find_blob(s, *out, text)) != ERR_OK)
		schedule_free(*out);
	return e;
}

enum err schedules_propose_add(struct schedules *s, struct log *log, struct span name, struct span spec, uint64_t now_ms,
			       uint32_t *records, char text[256])
{
	struct schedule *x;
	*records = 0;
	enum err e = schedule_judge(s, name, spec, now_ms, &x, text);
	if (e != ERR_OK)
		return e;
	bool tied = is_tied(x->info.head), ending = x->blob && x->blob->ending;
	schedule_free(x);
	if (ending)
		return schedule_refuse(text, ERR_NOT_FOUND, "ScheduleInfo.payload: that blob is being removed");
	if (tied)
		return schedule_refuse(text, ERR_INVALID_INPUT, "ScheduleInfo.head: its tasks have no parent, no group, and come after no other");
	if (!schedule_append(log, (struct rec_schedule){ .op = SCHEDULE_ADD, .at_ms = now_ms }, name, spec))
		return no_room(text);
	*records = 1;
	return ERR_OK;
}

enum err schedules_propose(struct schedules *s, struct log *log, struct span name, enum schedule_op op, uint32_t *records,
			   char text[256])
{
	*records = 0;
	if (!schedule_find(s, name))
		return schedule_refuse(text, ERR_NOT_FOUND, "there is no schedule %.*s", SHOWN(name));
	if (!schedule_append(log, (struct rec_schedule){ .op = (uint8_t)op }, name, span_of(NULL, 0)))
		return no_room(text);
	*records = 1;
	return ERR_OK;
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
		i->next_ms = schedule_after(x, rec->after_ms);
}

static void apply_remove(struct schedules *s, struct schedule *x, uint64_t time_ms)
{
	uint32_t at = place(s, span_str(x->name));
	schedule_forget(s, x);
	s->bytes -= x->spec.len;
	if (x->blob)
		blobs_drop(s->blobs, x->blob, time_ms);
	memmove(&s->all[at], &s->all[at + 1], (--s->count - at) * sizeof s->all[0]);
	schedule_free(x);
}

static enum err apply_op(struct schedules *s, const struct rec_schedule *rec, struct span name, struct span spec, uint64_t newest,
			 uint64_t time_ms)
{
	char text[256];
	struct schedule *x = schedule_find(s, name);
	if (rec->op == SCHEDULE_ADD) {
		enum err e = schedule_judge(s, name, spec, rec->at_ms, &x, text);
		if (e == ERR_OK)
			schedule_insert(s, x);
		return e;
	}
	if (rec->op == SCHEDULE_FIRE && rec->flags & FIRE_TASK)
		s->sequence = rec->sequence;
	if (!x)
		return ERR_NOT_FOUND;
	switch ((enum schedule_op)rec->op) {
	case SCHEDULE_REMOVE: apply_remove(s, x, time_ms); return ERR_OK;
	case SCHEDULE_FIRE: apply_fire(x, rec, newest); break;
	case SCHEDULE_PAUSE: x->info.paused = true; break;
	case SCHEDULE_RESUME:
		x->info.next_ms = x->info.paused ? schedule_after(x, time_ms) : x->info.next_ms;
		x->info.paused = false;
		break;
	case SCHEDULE_ADD: break;
	}
	schedule_settle(s, x);
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
	const struct schedule *x = schedule_find(s, name);
	if (x)
		*out = x->info;
	return x != NULL;
}

