/* broker/redrive.c: redrives that run inside the broker. See redrive.h for what they promise.
 *
 * Invariants
 *  1. `all` ascends by number; at most REDRIVES_RUNNING_MAX of them run. The oldest that is over makes room for a new one.
 *  2. One STEP of a redrive is on its way at a time (v `proposed`): the letters in it are still dead until its apply.
 *  3. Apply takes a letter only if it is dead, in that queue, and died before the redrive began: whatever happened to it meanwhile. */
#include "redrive.h"

#include <stdarg.h>

enum { REC_REDRIVES_VERSION = 1, SECTION_VERSION = 1 };
enum redrive_op { REDRIVE_START = 1, REDRIVE_STEP, REDRIVE_STOP, REDRIVE_OP_DONE };
#define NEVER UINT64_MAX

/* One redrive as it is on disk, in its START and in the checkpoint; behind it type[type_size]. */
struct fixed {
	uint64_t number, limit, done, started_ms, ended_ms, before_ms;
	uint32_t rate, queue;
	uint16_t code;
	uint8_t state, type_size;
	uint32_t pad;
};
_Static_assert(sizeof(struct fixed) == 64, "on disk");

struct redrive {
	struct fixed f;
	char type[LIMIT_NAME_BYTES + 1]; /* empty = any */
	/* (v) */
	bool proposed;
	uint64_t passed;                /* the last letter that was looked at and is not wanted; 0 = begin in front */
	uint64_t tokens, tokens_ms;     /* thousandths of a letter, as of then */
	uint64_t next_ms;
};

struct redrives {
	struct redrive all[REDRIVES_MAX];
	uint32_t count;
	uint64_t number;                /* of the last one */
	uint32_t proposed_starts;       /* (v) */
};

/* START: struct fixed and the type behind. STEP: u64 tasks[count] behind. */
struct rec_redrives {
	uint8_t version, op, pad[2];
	uint32_t count;
	uint64_t number;
};
_Static_assert(sizeof(struct rec_redrives) == 16, "on disk");

PRINTF_LIKE(3, 4)
static enum err refuse(char text[256], enum err code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, 256, format, args);
	va_end(args);
	return code;
}

struct redrives *redrives_new(void)
{
	struct redrives *r = calloc(1, sizeof *r);
	ENSURE(r != NULL);
	return r;
}

void redrives_free(struct redrives *r)
{
	free(r);
}

static struct redrive *find(struct redrives *r, uint64_t number)
{
	for (uint32_t i = 0; i < r->count; i++)
		if (r->all[i].f.number == number)
			return &r->all[i];
	return NULL;
}

static uint32_t running(const struct redrives *r)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < r->count; i++)
		count += r->all[i].f.state == REDRIVE_RUNNING;
	return count;
}

/* ---- propose ---- */

static bool append(struct log *log, struct rec_redrives rec, struct span more, struct span behind)
{
	uint64_t addr;
	rec.version = REC_REDRIVES_VERSION;
	uint8_t *body = log_append(log, REC_REDRIVES, sizeof rec + more.len + behind.len, &addr);
	if (!body)
		return false;
	memcpy(body, &rec, sizeof rec);
	if (more.len > 0)
		memcpy(body + sizeof rec, more.data, more.len);
	if (behind.len > 0)
		memcpy(body + sizeof rec + more.len, behind.data, behind.len);
	return true;
}

static enum err no_room(char text[256])
{
	return refuse(text, ERR_RESOURCE_EXHAUSTED, "no room in this batch of the log");
}

enum err redrives_propose_start(struct redrives *r, struct tasks *t, struct log *log, const struct redrive_info *ask, uint32_t *records,
				char text[256])
{
	uint32_t queue = ask->queue.len ? tasks_queue_find(t, ask->queue) : 0;
	*records = 0;
	if (queue == 0)
		return refuse(text, ERR_NOT_FOUND, "RedriveInfo.queue: there is no queue %.*s", (int)MIN_OF(ask->queue.len, 200u),
			      ask->queue.len ? (const char *)ask->queue.data : "");
	if (ask->rate == 0 || ask->rate > REDRIVE_RATE_MAX)
		return refuse(text, ERR_INVALID_INPUT, "RedriveInfo.rate: 1 to %d in a second", (int)REDRIVE_RATE_MAX);
	if (running(r) + r->proposed_starts >= REDRIVES_RUNNING_MAX)
		return refuse(text, ERR_RESOURCE_EXHAUSTED, "%d redrives are running already", (int)REDRIVES_RUNNING_MAX);
	const struct fixed f = { .limit = ask->limit, .rate = ask->rate, .queue = queue, .code = ask->code, .state = REDRIVE_RUNNING,
				 .type_size = (uint8_t)ask->type.len };
	const struct rec_redrives rec = { .op = REDRIVE_START };
	if (!append(log, rec, span_of(&f, sizeof f), ask->type))
		return no_room(text);
	r->proposed_starts++;
	*records = 1;
	return ERR_OK;
}

enum err redrives_propose_stop(struct redrives *r, struct log *log, uint64_t number, uint32_t *records, char text[256])
{
	const struct redrive *x = find(r, number);
	*records = 0;
	if (!x)
		return refuse(text, ERR_NOT_FOUND, "RedriveInfo.number: there is no redrive %llu", (unsigned long long)number);
	if (x->f.state != REDRIVE_RUNNING)
		return refuse(text, ERR_WRONG_STATE, "redrive %llu is over", (unsigned long long)number);
	const struct rec_redrives rec = { .op = REDRIVE_STOP, .number = number };
	if (!append(log, rec, span_of(NULL, 0), span_of(NULL, 0)))
		return no_room(text);
	*records = 1;
	return ERR_OK;
}

/* ---- steps ---- */

uint64_t redrives_next_ms(const struct redrives *r)
{
	uint64_t next = NEVER;
	for (uint32_t i = 0; i < r->count; i++)
		if (r->all[i].f.state == REDRIVE_RUNNING && !r->all[i].proposed)
			next = MIN_OF(next, r->all[i].next_ms);
	return next;
}

/* So many may go now. A tenth of a second's worth goes at a time; after a pause no more than two. */
static uint32_t allowed(struct redrive *x, uint64_t now_ms)
{
	uint64_t rate = x->f.rate, most = MAX_OF(rate * 200, 1000u);
	uint64_t passed = x->tokens_ms ? MIN_OF(now_ms - x->tokens_ms, 10000u) : 100;
	x->tokens = MIN_OF(x->tokens + passed * rate, most);
	x->tokens_ms = now_ms;
	uint64_t count = MIN_OF(x->tokens / 1000, (uint64_t)REDRIVE_STEP_MAX);
	return (uint32_t)(x->f.limit ? MIN_OF(count, x->f.limit - x->f.done) : count);
}

/* ERR_AGAIN: what it is of is still being read. ERR_NOT_FOUND: this one and all behind it died later. */
static enum err wanted(const struct redrive *x, struct tasks *t, struct log *log, uint64_t task, bool *out)
{
	struct task_view v;
	struct log_record record;
	struct submit_record submit;
	struct task_head head;
	char why[128];
	*out = false;
	if (!tasks_show(t, task, &v) || v.settled_ms > x->f.before_ms)
		return ERR_NOT_FOUND;
	if (x->f.code && x->f.code != v.code)
		return ERR_OK;
	if (x->f.type_size == 0) {
		*out = true;
		return ERR_OK;
	}
	enum err e = log_fetch(log, v.addr, &record);
	if (e == ERR_AGAIN || e == ERR_RESOURCE_EXHAUSTED)
		return ERR_AGAIN;
	if (e == ERR_OK && submit_record_open(&record, &submit) == ERR_OK && task_head_decode(submit.head, &head, why) == ERR_OK)
		*out = span_eq(head.type, span_str(x->type));
	return ERR_OK;
}

/* The next letters of it, as many as are allowed. *over: there are no more. */
static uint32_t collect(struct redrive *x, struct tasks *t, struct log *log, uint32_t most, uint32_t *looks, uint64_t *out, bool *over)
{
	uint32_t count = 0;
	uint64_t at = x->passed;
	*over = false;
	while (count < most && *looks < REDRIVE_LOOKS_MAX) {
		bool take;
		uint64_t task = tasks_dead_next(t, x->f.queue, at);
		if (task == 0) {
			*over = true;
			break;
		}
		++*looks;
		enum err e = wanted(x, t, log, task, &take);
		*over = e == ERR_NOT_FOUND;
		if (e != ERR_OK)
			break;
		if (take)
			out[count++] = task;
		else if (count == 0)
			x->passed = task;
		at = task;
	}
	return count;
}

static void step(struct redrive *x, struct tasks *t, struct log *log, uint64_t now_ms, uint32_t *looks)
{
	uint64_t tasks[REDRIVE_STEP_MAX];
	bool over = x->f.limit > 0 && x->f.done >= x->f.limit;
	uint32_t most = over ? 0 : allowed(x, now_ms), count = 0;
	x->next_ms = now_ms + MAX_OF(100, (1000 - MIN_OF(x->tokens, 999u) + x->f.rate - 1) / x->f.rate);
	if (most > 0)
		count = collect(x, t, log, most, looks, tasks, &over);
	if (count == 0 && !over) {
		x->next_ms = most > 0 ? now_ms + 10 : x->next_ms; /* more to look at, or to read */
		return;
	}
	const struct rec_redrives rec = { .op = count ? REDRIVE_STEP : REDRIVE_OP_DONE, .count = count, .number = x->f.number };
	if (append(log, rec, span_of(tasks, count * sizeof tasks[0]), span_of(NULL, 0))) {
		x->proposed = true;
		x->tokens -= MIN_OF(x->tokens, count * 1000ull);
	}
}

void redrives_run(struct redrives *r, struct tasks *t, struct log *log, uint64_t now_ms)
{
	uint32_t looks = 0;
	for (uint32_t i = 0; i < r->count; i++) {
		struct redrive *x = &r->all[i];
		if (x->f.state == REDRIVE_RUNNING && !x->proposed && x->next_ms <= now_ms && looks < REDRIVE_LOOKS_MAX &&
		    log_append_room(log) > sizeof(struct rec_redrives) + REDRIVE_STEP_MAX * sizeof(uint64_t) + 4096)
			step(x, t, log, now_ms, &looks);
		else if (x->next_ms <= now_ms)
			x->next_ms = now_ms + 10;
	}
}

/* ---- apply ---- */

/* In a full table the oldest that is over goes: there is one, as fewer than all may run. */
static struct redrive *make_room(struct redrives *r)
{
	uint32_t at = 0;
	if (r->count < REDRIVES_MAX)
		return &r->all[r->count++];
	while (r->all[at].f.state == REDRIVE_RUNNING)
		at++;
	ENSURE(at < r->count);
	memmove(&r->all[at], &r->all[at + 1], (r->count - at - 1) * sizeof r->all[0]);
	return &r->all[r->count - 1];
}

static void apply_start(struct redrives *r, const struct log_entry *entry, struct reader *bytes, struct applied *out)
{
	struct fixed f;
	read_into(bytes, &f, sizeof f);
	struct span type = read_bytes(bytes, f.type_size);
	ENSURE(!bytes->failed);
	r->proposed_starts -= r->proposed_starts > 0;
	if (running(r) >= REDRIVES_RUNNING_MAX) {
		out->code = ERR_RESOURCE_EXHAUSTED;
		return;
	}
	struct redrive *x = make_room(r);
	*x = (struct redrive){ .f = f };
	x->f.number = out->affected = ++r->number;
	x->f.started_ms = x->f.before_ms = entry->time_ms;
	if (type.len > 0)
		memcpy(x->type, type.data, type.len);
}

static void end(struct redrive *x, enum redrive_state state, uint64_t time_ms)
{
	if (x->f.state != REDRIVE_RUNNING)
		return;
	x->f.state = (uint8_t)state;
	x->f.ended_ms = time_ms;
}

void redrives_apply(struct redrives *r, struct tasks *t, const struct log_entry *entry, const struct log_record *record,
		    struct applied *out)
{
	struct reader bytes = { .rest = record->body };
	struct rec_redrives rec;
	read_into(&bytes, &rec, sizeof rec);
	ENSURE(!bytes.failed && rec.version == REC_REDRIVES_VERSION && rec.op >= REDRIVE_START && rec.op <= REDRIVE_OP_DONE);
	out->origin = rec.op == REDRIVE_START || rec.op == REDRIVE_STOP ? APPLIED_ADMIN : APPLIED_INTERNAL;
	if (rec.op == REDRIVE_START) {
		apply_start(r, entry, &bytes, out);
		return;
	}
	struct redrive *x = find(r, rec.number);
	if (!x)
		return;
	x->proposed = x->proposed && rec.op == REDRIVE_STOP;
	for (uint32_t i = 0; rec.op == REDRIVE_STEP && i < rec.count; i++) {
		uint64_t task = read_u64(&bytes);
		ENSURE(!bytes.failed);
		if (x->f.state == REDRIVE_RUNNING)
			x->f.done += tasks_redrive_dead(t, task, x->f.queue, x->f.before_ms, entry->time_ms);
	}
	if (rec.op == REDRIVE_STOP)
		end(x, REDRIVE_STOPPED, entry->time_ms);
	if (rec.op == REDRIVE_OP_DONE || (x->f.limit > 0 && x->f.done >= x->f.limit))
		end(x, REDRIVE_DONE, entry->time_ms);
	out->affected = 1;
}

/* ---- looking ---- */

uint32_t redrives_count(const struct redrives *r)
{
	return r->count;
}

void redrives_info(const struct redrives *r, const struct tasks *t, uint32_t index, struct redrive_info *out)
{
	ENSURE(index < r->count);
	const struct redrive *x = &r->all[index];
	struct queue_info queue;
	tasks_queue_info(t, x->f.queue, &queue);
	*out = (struct redrive_info){ .number = x->f.number, .queue = queue.name, .type = span_str(x->type), .code = x->f.code,
				      .rate = x->f.rate, .limit = x->f.limit, .done = x->f.done, .started_ms = x->f.started_ms,
				      .ended_ms = x->f.ended_ms, .state = x->f.state };
}

/* ---- checkpoint ---- */

struct section_head { uint32_t version, count; uint64_t number; };
_Static_assert(sizeof(struct section_head) == 16, "on disk");

void redrives_checkpoint(const struct redrives *r, struct buf *out)
{
	const struct section_head head = { SECTION_VERSION, r->count, r->number };
	buf_append(out, &head, sizeof head);
	for (uint32_t i = 0; i < r->count; i++) {
		buf_append(out, &r->all[i].f, sizeof r->all[i].f);
		buf_append(out, r->all[i].type, r->all[i].f.type_size);
	}
}

static bool get_one(struct redrives *r, struct reader *bytes)
{
	struct redrive *x = &r->all[r->count];
	uint64_t above = r->count ? r->all[r->count - 1].f.number : 0;
	*x = (struct redrive){ .tokens = 0 };
	read_into(bytes, &x->f, sizeof x->f);
	struct span type = read_bytes(bytes, bytes->failed ? 0 : x->f.type_size);
	if (bytes->failed || x->f.number <= above || x->f.number > r->number || x->f.rate == 0 || x->f.rate > REDRIVE_RATE_MAX ||
	    x->f.state == 0 || x->f.state >= REDRIVE_STATES || x->f.queue == 0 || memchr(type.len ? type.data : (const void *)"", 0, type.len))
		return false;
	if (type.len > 0)
		memcpy(x->type, type.data, type.len);
	r->count++;
	return running(r) <= REDRIVES_RUNNING_MAX;
}

enum err redrives_restore(struct redrives *r, struct span section, char text[256])
{
	struct reader bytes = { .rest = section };
	struct section_head head;
	read_into(&bytes, &head, sizeof head);
	bool good = !bytes.failed && head.version == SECTION_VERSION && head.count <= REDRIVES_MAX;
	ENSURE(r->count == 0);
	r->number = head.number;
	for (uint32_t i = 0; good && i < head.count; i++)
		good = get_one(r, &bytes);
	if (good && bytes.rest.len == 0)
		return ERR_OK;
	return refuse(text, ERR_DAMAGED, "the checkpoint of redrives does not fit at byte %zu", section.len - bytes.rest.len);
}
