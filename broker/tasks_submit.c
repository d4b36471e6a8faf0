/* broker/tasks_submit.c: from a frame of equal tasks to REC_SUBMIT records, and from a committed record to numbered tasks.
 *
 *   route -> TASKS_SUBMIT propose -> log ... commit -> TASKS_SUBMIT apply -> confirm, lanes
 *
 * Propose only spares records that apply would refuse; apply decides alone, since what was proposed in between is not known
 * to propose.
 *
 * Invariants
 *  1. A record of n items takes n numbers, whatever becomes of the items.
 *  2. The runs of an answer cover its sequences without gap, in order.
 *  3. An item is accepted at most once per (producer, sequence) within the window, and at most once per key. */
#include "after.h"
#include "blob_index.h"
#include "life.h"
#include "topics.h"

/* Adds to the runs, joining what continues the last one. False: no room. */
static bool run_add(struct confirm_run *runs, uint32_t *run_count, struct confirm_run run)
{
	if (*run_count > 0) {
		struct confirm_run *last = &runs[*run_count - 1];
		bool same = last->code == run.code && last->duplicate == run.duplicate && last->level == run.level &&
			    last->first_seq + last->count == run.first_seq;
		if (same && (run.code != ERR_OK || last->first_task + last->count == run.first_task)) {
			last->count += run.count;
			return true;
		}
	}
	if (*run_count == APPLIED_RUNS_MAX)
		return false;
	runs[(*run_count)++] = run;
	return true;
}

/* ---- propose ---- */

struct submission {
	const struct msg_submit *m;
	struct submit_view record;  /* of one stretch at a time */
	struct submit_view base;    /* the same as it came, where tasks come after others */
	const struct producer *producer;
	enum err after_code;        /* why new ones are refused */
	char after_text[256];
	struct span payload;
	uint64_t now_ms, resolved_below;
	uint32_t queue;
	uint64_t payload_offset;    /* of item `done` */
	uint8_t kind;               /* what the payloads are */
	uint32_t done;              /* items answered or in records */
	struct span key;            /* whose it is, and the key */
	uint8_t key_bytes[LIMIT_STORED_KEY_BYTES];
};

static void answer(struct submit_answer *out, struct submission *s, uint32_t count, enum err code, uint64_t original)
{
	struct confirm_run run = { s->m->first_seq + s->done, original, count, (uint16_t)code, CONFIRM_DURABLE,
				   code == ERR_OK };
	/* A frame that falls into more pieces than an answer holds: the last piece speaks for all the rest. */
	if (out->run_count + out->records >= APPLIED_RUNS_MAX - 1) {
		run.count = s->m->sizes.count - s->done;
		run.code = ERR_RESOURCE_EXHAUSTED;
		run.first_task = 0;
		run.duplicate = 0;
	}
	bool added = run_add(out->runs, &out->run_count, run);
	ENSURE(added);
	for (uint32_t i = 0; i < run.count; i++)
		s->payload_offset += s->m->sizes.at[s->done + i];
	s->done += run.count;
}

PRINTF_LIKE(5, 6)
static void refuse(struct submit_answer *out, struct submission *s, uint32_t count, enum err code, const char *format, ...)
{
	if (out->text[0] == 0) {
		__builtin_va_list args;
		__builtin_va_start(args, format);
		(void)vsnprintf(out->text, sizeof out->text, format, args);
		__builtin_va_end(args);
	}
	answer(out, s, count, code, 0);
}

/* A queue of a vnet is kept under VNET/NAME. A name that was cut is too long, and refused as such. */
static struct span in_vnet(struct span vnet, struct span name, char full[LIMIT_NAME_BYTES + 2])
{
	int len = snprintf(full, LIMIT_NAME_BYTES + 2, "%.*s/%.*s", (int)vnet.len, (const char *)vnet.data, (int)name.len,
			   (const char *)name.data);
	return span_of(full, MIN_OF((size_t)len, (size_t)LIMIT_NAME_BYTES + 1));
}

uint32_t tasks_submit_queue(const struct tasks *t, const struct task_head *head, struct span *name, char room[LIMIT_NAME_BYTES + 2])
{
	uint32_t id = head->queue.len ? 0 : topics_queue(t->topics, head->vnet, head->type);
	*name = head->queue.len ? head->queue : head->type;
	if (head->vnet.len > 0)
		*name = in_vnet(head->vnet, *name, room);
	return id ? id : tasks_queue_find(t, *name);
}

/* The queue named by the head, made if policy allows. 0 = refused. */
static uint32_t submit_queue(struct tasks *t, struct log *log, const struct task_head *head, enum err *code, char text[256])
{
	struct span name = head->queue.len ? head->queue : head->type;
	char full[LIMIT_NAME_BYTES + 2];
	uint32_t id = head->queue.len ? 0 : topics_queue(t->topics, head->vnet, head->type); /* bound to its type */
	if (id)
		return id;
	*code = ERR_INVALID_INPUT;
	if (head->vnet.len > 0 || memchr(name.data, '/', name.len)) { /* a name that reaches into another vnet is none */
		if (!queue_name_ok(name, text))
			return 0;
		name = in_vnet(head->vnet, name, full);
	}
	id = queue_lookup(t, name);
	if (id)
		return id;
	if (!queue_full_name_ok(name, text))
		return 0;
	if (!t->config.auto_create) {
		*code = ERR_NOT_FOUND;
		(void)snprintf(text, 256, "there is no queue %.*s, and queues are not made on first use", (int)name.len, name.data);
		return 0;
	}
	*code = ERR_RESOURCE_EXHAUSTED;
	size_t size = sizeof(struct rec_queue) + sizeof(struct queue_settings) + name.len + LOG_RECORD_HEADER;
	if (log_room(log) != LOG_ROOM_OK || log_append_room(log) < size) {
		(void)snprintf(text, 256, "no room in the log for a new queue %.*s", (int)name.len, name.data);
		return 0;
	}
	id = queue_slot_new(t, 0, name);
	if (id == 0) {
		(void)snprintf(text, 256, "there are %u queues already", t->config.queues_max);
		return 0;
	}
	struct queue *q = t->queues[id - 1];
	q->proposed_create = true;
	q->settings = t->config.defaults;
	if (!queue_propose(t, log, name, id, QUEUE_OP_CREATE, &q->settings, APPLIED_INTERNAL)) {
		queue_names_set(t, id, (struct span){ NULL, 0 });
		q->proposed_create = false;
		(void)snprintf(text, 256, "no room in the log for a new queue %.*s", (int)name.len, name.data);
		return 0;
	}
	return id;
}

static bool submit_head_ok(const struct msg_submit *m, const struct task_head *head, char text[256])
{
	if (m->producer == 0 || m->first_seq == 0 || m->first_seq > UINT64_MAX - LIMIT_FRAME_ITEMS)
		(void)snprintf(text, 256, "producer and first_seq start at 1");
	else if (head->priority > LIMIT_PRIORITY)
		(void)snprintf(text, 256, "priority %u is above %d", head->priority, LIMIT_PRIORITY);
	else if (head->key.len > 0 && m->sizes.count != 1)
		(void)snprintf(text, 256, "an idempotency key is for one task, not %u", m->sizes.count);
	else if (head->key.len > LIMIT_KEY_BYTES)
		(void)snprintf(text, 256, "an idempotency key has at most %d bytes", LIMIT_KEY_BYTES);
	else if (head->key.len > 0 && head->key.data[0] == 0)
		(void)snprintf(text, 256, "an idempotency key does not begin with a zero byte");
	else
		return true;
	return false;
}

/* Never 0. The same key in another queue is another key. */
static uint64_t order_hash(const struct tasks *t, uint32_t queue, struct span key)
{
	return secret_hash(t, key, SECRET_ORDER, queue) | 1;
}

/* What makes a task wait elsewhere than in the plain lane. */
static void record_lane(const struct tasks *t, struct submit_view *v, const struct task_head *head)
{
	const struct queue *q = t->queues[v->fixed.queue - 1];
	if (q->settings.fair == FAIR_PRINCIPAL && t->principal.len > 0)
		v->principal = fair_principal(t, q, t->principal);
	if (head->requirements.len == 0 && head->order_key.len == 0 && v->principal.len == 0)
		return;
	v->fixed.flags |= SUBMIT_LANE;
	v->lane.principal_size = (uint16_t)v->principal.len;
	v->requires = head->requirements;
	v->lane.requires_size = (uint16_t)head->requirements.len;
	v->lane.order = head->order_key.len ? order_hash(t, v->fixed.queue, head->order_key) : 0;
}

/* A key is a principal's own, within a vnet: what is kept says whose, so that no two can be the same. */
static void submission_key(struct submission *s, const struct task_head *head)
{
	s->key = head->key;
	if (head->key.len == 0 || head->scope == 0)
		return;
	s->key_bytes[0] = 0;
	memcpy(s->key_bytes + 1, &head->scope, sizeof head->scope);
	memcpy(s->key_bytes + 9, head->key.data, head->key.len);
	s->key = span_of(s->key_bytes, 9 + head->key.len);
}

static struct submit_view record_template(const struct tasks *t, const struct submission *s, const struct task_head *head)
{
	const struct queue *q = t->queues[s->queue - 1];
	struct submit_view v = { .head = s->m->head, .key = s->key };
	uint64_t expires = head->expires_ms ? head->expires_ms : (uint64_t)q->settings.expires_ms;
	uint64_t retention = head->retention_ms ? head->retention_ms : (uint64_t)q->settings.retention_ms;
	if (retention == 0 && (head->want_result || head->want_updates))
		retention = RETENTION_DEFAULT_MS;
	v.fixed = (struct rec_submit){ .version = REC_VERSION, .priority = head->priority, .queue = (uint16_t)s->queue,
				       .head_size = (uint16_t)s->m->head.len, .producer = s->m->producer,
				       .submitted_ms = s->now_ms };
	v.options.ready_ms = head->delay_ms ? ms_after(s->now_ms, head->delay_ms) : 0;
	v.options.expires_ms = expires ? ms_after(s->now_ms, expires) : 0;
	v.options.retention_ms = retention;
	v.options.max_attempts = head->max_attempts;
	v.options.key_size = (uint16_t)s->key.len;
	if (head->parent || head->close_ms) {
		v.fixed.flags = SUBMIT_LIFE;
		v.life = (struct rec_life){ head->parent, head->parent ? t->root : 0,
					    head->close_ms ? ms_after(s->now_ms, head->close_ms) : 0 };
	}
	if (v.options.ready_ms || v.options.expires_ms || retention || head->max_attempts || s->key.len)
		v.fixed.flags |= SUBMIT_OPTIONS;
	if (head->payload == PAYLOAD_BLOB)
		v.fixed.flags |= SUBMIT_BLOB;
	record_lane(t, &v, head);
	v.owner = t->owners.owner;
	if (v.owner)
		v.fixed.flags |= SUBMIT_OWNER;
	return v;
}

/* One record for the next `count` items. False: no room in this batch. */
static bool submit_append(struct tasks *t, struct log *log, struct submission *s, uint32_t count)
{
	struct submit_view *v = &s->record;
	v->fixed.count = count;
	v->fixed.first_seq = s->m->first_seq + s->done;
	v->fixed.resolved_back = (uint32_t)(v->fixed.first_seq - s->resolved_below);
	v->sizes = s->m->sizes.at + s->done;
	uint64_t bytes = 0;
	for (uint32_t i = 0; i < count; i++)
		bytes += v->sizes[i];
	v->payload = span_sub(s->payload, s->payload_offset, bytes);
	uint64_t addr;
	/* A frame that becomes one record: the sum over its payload part was checked when it came. */
	bool whole = s->m->crc_known && count == s->m->sizes.count && bytes >= LOG_SUMMED_MIN;
	uint8_t *body = log_append_summed(log, REC_SUBMIT, rec_submit_size(v), whole ? (uint32_t)bytes : 0, s->m->crc, &addr);
	if (!body)
		return false;
	rec_submit_write(v, body);
	t->queues[s->queue - 1]->proposed += count;
	if (v->principal.len > 0)
		fair_proposed(t, t->queues[s->queue - 1], v->principal);
	if (v->owner)
		owner_proposed(t, v->owner, s->queue, count, bytes + v->head.len);
	s->payload_offset += bytes;
	s->done += count;
	return true;
}

/* May the queue have this payload? The blob that it names is there, and it is not larger than what the queue wants inline. */
static enum err payload_refusal(const struct tasks *t, const struct submission *s, struct span payload, char text[256])
{
	const struct queue *q = t->queues[s->queue - 1];
	struct blob *b;
	if (s->kind == PAYLOAD_BLOB)
		return blobs_named(t->blobs, queue_vnet(q), payload, &b, text);
	uint64_t max = (uint64_t)q->settings.inline_max;
	if (s->kind != PAYLOAD_INLINE || max == 0 || payload.len <= max)
		return ERR_OK;
	(void)snprintf(text, 256, "a payload of %zu bytes: queue %.*s takes more than %llu only as a blob (inline_max)", payload.len,
		       (int)q->name_size, (const char *)q->name, (unsigned long long)max);
	return ERR_SPILL;
}

/* How many of the next items are judged alike; *code: why they are refused. */
static uint32_t submit_payloads(const struct tasks *t, const struct submission *s, uint32_t count, enum err *code, char text[256])
{
	uint64_t at = s->payload_offset;
	*code = ERR_OK;
	for (uint32_t i = 0; i < count; i++) {
		char why[256];
		uint32_t size = s->m->sizes.at[s->done + i];
		enum err e = payload_refusal(t, s, span_sub(s->payload, at, size), i == 0 ? text : why);
		at += size;
		if (i == 0)
			*code = e;
		else if (e != ERR_OK || *code != ERR_OK)
			return i;
	}
	return count;
}

/* A stretch of sequences nobody knows. */
static void submit_new(struct tasks *t, struct log *log, struct submission *s, uint32_t count, struct submit_answer *out)
{
	const struct queue *q = t->queues[s->queue - 1];
	struct span name = span_of(q->name, q->name_size);
	if (s->kind == PAYLOAD_BLOB || q->settings.inline_max > 0) {
		enum err code;
		char text[256];
		count = submit_payloads(t, s, count, &code, text);
		if (code != ERR_OK) {
			refuse(out, s, count, code, "%s", text);
			return;
		}
	}
	uint64_t seq = s->m->first_seq + s->done;
	uint64_t window_end = s->resolved_below + LIMIT_PRODUCER_WINDOW;
	uint32_t fits = seq >= window_end ? 0 : (uint32_t)MIN_OF(count, window_end - seq);
	if (fits == 0) {
		refuse(out, s, count, ERR_RESOURCE_EXHAUSTED, "more than %d submissions of this producer are unresolved",
		       LIMIT_PRODUCER_WINDOW);
		return;
	}
	char text[256];
	if (s->record.owner) {
		uint8_t limit;
		fits = owner_fits(t, s->queue, s->m->sizes.at + s->done, fits, s->m->head.len, &limit, text);
		if (fits == 0) {
			out->limit = limit;
			refuse(out, s, count, ERR_RESOURCE_EXHAUSTED, "%s", text);
			return;
		}
	}
	uint64_t length = q->ready + q->scheduled + q->leased + q->proposed, max = (uint64_t)q->settings.length_max;
	if (max > 0)
		fits = length >= max ? 0 : (uint32_t)MIN_OF(fits, max - length);
	if (fits == 0)
		refuse(out, s, count, ERR_QUEUE_FULL, "queue %.*s is at its limit of %llu tasks", (int)name.len, name.data,
		       (unsigned long long)max);
	else if (log_room(log) != LOG_ROOM_OK)
		refuse(out, s, count, ERR_DISK_FULL, "the disk is too full to take new tasks");
	else if (out->run_count + out->records >= APPLIED_RUNS_MAX - 2 || !submit_append(t, log, s, fits))
		refuse(out, s, count, ERR_RESOURCE_EXHAUSTED, "no room in this batch of the log");
	else
		out->records++;
}

void tasks_propose_submit(struct tasks *t, struct log *log, const struct msg_submit *m, const struct task_head *head,
			  struct span payload, uint64_t now_ms, struct submit_answer *out)
{
	tasks_propose_checked(t, log, m, head, payload, now_ms, NULL, out);
}

void tasks_set_principal(struct tasks *t, struct span principal)
{
	ENSURE(principal.len <= LIMIT_NAME_BYTES);
	t->principal = principal;
}

/* New items of tasks that come after others, or are members of a group: each in a record that says what has become of those. */
static void submit_dependent(struct tasks *t, struct log *log, struct submission *s, uint32_t count, struct submit_answer *out)
{
	char text[256] = "";
	enum err code;
	uint32_t n = after_shape(t, s->producer, s->m->first_seq + s->done, count, &s->base, &s->record, &code, text);
	const struct submit_view *v = &s->record;
	bool tied = v->after.count + v->after.back_count > 0 || v->after_group.len > 0 || v->lane.order;
	if (code == ERR_OK)
		code = group_admits(t, v, tied, &n, text);
	const uint64_t *before = (const uint64_t *)(const void *)v->after_tasks.data;
	if (code == ERR_OK && !after_room(t, before, v->after.count)) {
		code = ERR_RESOURCE_EXHAUSTED;
		(void)snprintf(text, sizeof text, "TaskHead.after: %u tasks wait for one of those already, or too many for others",
			       DEPENDENTS_MAX);
	}
	if (code != ERR_OK)
		refuse(out, s, n, code, "%s", text);
	else
		submit_new(t, log, s, n, out);
}

static void submit_items(struct tasks *t, struct log *log, struct submission *s, uint32_t count, struct submit_answer *out)
{
	uint32_t end = s->done + count;
	if (s->after_code != ERR_OK)
		refuse(out, s, count, s->after_code, "%s", s->after_text);
	else if (!(s->record.fixed.flags & SUBMIT_AFTER))
		submit_new(t, log, s, count, out);
	else
		while (s->done < end)
			submit_dependent(t, log, s, end - s->done, out);
}

/* New items, split where the check refuses some. */
static void submit_some(struct tasks *t, struct log *log, struct submission *s, uint32_t count, const struct submit_check *check,
			struct submit_answer *out)
{
	if (!check) {
		submit_items(t, log, s, count, out);
		return;
	}
	for (uint32_t end = s->done + count; s->done < end;) {
		uint32_t first = s->done, next = first;
		bool refused = check->refused[first / 64] >> (first % 64) & 1;
		while (next < end && (check->refused[next / 64] >> (next % 64) & 1) == refused)
			next++;
		if (refused)
			refuse(out, s, next - first, check->code, "%s", check->text);
		else
			submit_items(t, log, s, next - first, out);
	}
}

void tasks_propose_checked(struct tasks *t, struct log *log, const struct msg_submit *m, const struct task_head *head,
			   struct span payload, uint64_t now_ms, const struct submit_check *check, struct submit_answer *out)
{
	out->run_count = out->records = 0;
	out->limit = OWNER_LIMIT_NONE;
	out->text[0] = 0;
	struct submission s = { .m = m, .payload = payload, .now_ms = now_ms, .kind = head->payload };
	char text[256] = "";
	enum err code = ERR_INVALID_INPUT;
	uint32_t count = m->sizes.count;
	if (count == 0)
		return;
	if (!submit_head_ok(m, head, text) || (s.queue = submit_queue(t, log, head, &code, text)) == 0) {
		refuse(out, &s, count, code, "%s", text);
		return;
	}
	const struct producer *p = producer_find(t, m->producer);
	s.resolved_below = MAX_OF(MAX_OF(m->resolved_below, 1), p ? p->resolved_below : 1);
	submission_key(&s, head);
	uint64_t original = s.key.len ? key_find(t, s.key, now_ms) : 0;
	if (original) {
		answer(out, &s, count, ERR_OK, original);
		return;
	}
	if (head->key.len && keys_full(t, now_ms)) {
		refuse(out, &s, count, ERR_RESOURCE_EXHAUSTED, "%u idempotency keys are remembered already", t->config.keys_max);
		return;
	}
	s.record = record_template(t, &s, head);
	s.producer = p;
	s.after_code = after_prepare(t, head, &s.record, s.after_text);
	s.base = s.record;
	if (lane_class_find(t, s.queue, s.record.requires, s.record.principal) == LANE_CLASS_NONE &&
	    (code = lane_class_check(t, s.record.requires, s.record.principal, text)) != ERR_OK) {
		refuse(out, &s, count, code, "%s", text);
		return;
	}
	while (s.done < count) {
		uint64_t seq = m->first_seq + s.done;
		bool known;
		if (seq < s.resolved_below) {
			uint32_t stale = (uint32_t)MIN_OF(count - s.done, s.resolved_below - seq);
			refuse(out, &s, stale, ERR_STALE_SUBMIT, "sequence %llu is below what the producer has resolved (%llu)",
			       (unsigned long long)seq, (unsigned long long)s.resolved_below);
			continue;
		}
		uint32_t stretch = producer_stretch(p, seq, count - s.done, &known, &original);
		if (known)
			answer(out, &s, stretch, ERR_OK, original);
		else
			submit_some(t, log, &s, stretch, check, out);
	}
}

/* ---- apply ---- */

struct arrival {
	const struct log_entry *entry;
	struct submit_view v;
	uint64_t first_task;
	uint32_t class, lane, done;
	const struct dependency *dependency; /* what the next one waits for; NULL = nothing */
};

/* The blob that item `index` of the record names; NULL = it is not there. */
static struct blob *arrival_blob(const struct tasks *t, const struct arrival *a, uint32_t index)
{
	size_t at = (size_t)index * BLOB_REF_BYTES;
	return at + BLOB_REF_BYTES > a->v.payload.len ? NULL : task_blob(t, a->class, span_sub(a->v.payload, at, BLOB_REF_BYTES));
}

/* How many of the next items have their blobs, or have not. */
static uint32_t arrival_blobs(const struct tasks *t, const struct arrival *a, uint32_t count, bool *there)
{
	uint32_t i = 1;
	*there = arrival_blob(t, a, a->done) != NULL;
	while (i < count && (arrival_blob(t, a, a->done + i) != NULL) == *there)
		i++;
	return i;
}

/* Accepted: counts them and, when begun, puts them where they wait. */
static void arrive(struct tasks *t, const struct arrival *a, uint32_t count)
{
	struct queue *q = queue_at(t, class_queue(a->class));
	const struct rec_options *o = &a->v.options;
	uint64_t first = a->first_task + a->done;
	bool later = o->ready_ms > a->entry->time_ms;
	bool fixed = class_options(a->class) == OPTIONS_MAX;
	q->alive += count;
	q->submitted += count;
	owner_opened(t, a->v.owner, class_queue(a->class), count);
	t->submitted_total += count;
	for (uint32_t i = 0; a->v.fixed.flags & SUBMIT_BLOB && i < count; i++)
		blobs_hold_task(t->blobs, BLOB_OF_PAYLOAD, first + i, arrival_blob(t, a, a->done + i));
	bool life = a->v.life.parent || a->v.life.close_ms;
	for (uint32_t i = 0; (later || o->expires_ms || fixed || life || a->dependency) && i < count; i++) {
		struct hot *h = hot_new(t, first + i, a->class);
		h->ready_ms = later ? o->ready_ms : 0;
		h->expires_ms = o->expires_ms;
		h->fixed = fixed;
		h->retention_ms = o->retention_ms;
		h->max_attempts = o->max_attempts;
		if (life) {
			struct life *l = life_of(t, h);
			l->close_ms = a->v.life.close_ms;
			life_family(t, l, a->v.life.parent, a->v.life.root);
		}
		if (a->dependency)
			after_attach(t, h, a->dependency);
		if (t->begun && (later || a->dependency)) {
			view_enter(t, h, a->entry->time_ms, false);
		} else if (t->begun) {
			h->place = PLACE_FRESH;
			view_timer(t, h);
		}
	}
	if (!t->begun || later || a->dependency)
		return;
	uint32_t slot = lane_class_slot(t, a->lane);
	q->ready += count;
	if (a->v.lane.order)
		order_arrive(t, a->v.lane.order, a->class, slot, first, count);
	else
		lane_push(t, q, slot, a->v.fixed.priority, first, count);
	view_ready_hook(t, class_queue(a->class), slot);
}

/* Plain ones of a queue that exists. */
void tasks_arrive(struct tasks *t, const struct log_entry *entry, uint32_t class, uint64_t expires_ms, uint64_t first, uint32_t count)
{
	struct arrival a = { .entry = entry, .first_task = first, .class = class };
	a.v.fixed.priority = class_priority(class);
	a.v.options.expires_ms = expires_ms;
	arrive(t, &a, count);
}

static void arrival_refuse(struct tasks *t, struct arrival *a, uint32_t count, enum err code, uint64_t original,
			   struct applied *out)
{
	struct confirm_run run = { a->v.fixed.first_seq + a->done, original, count, (uint16_t)code, CONFIRM_DURABLE,
				   code == ERR_OK };
	bool added = run_add(out->runs, &out->run_count, run);
	ENSURE(added);
	segment_drop_range(t, a->first_task + a->done, count);
	if (code == ERR_OK)
		t->duplicates_total += count;
	a->done += count;
}

static void arrival_accept(struct tasks *t, struct arrival *a, uint32_t count, struct applied *out)
{
	struct confirm_run run = { a->v.fixed.first_seq + a->done, a->first_task + a->done, count, ERR_OK, CONFIRM_DURABLE, 0 };
	bool added = run_add(out->runs, &out->run_count, run);
	ENSURE(added);
	arrive(t, a, count);
	a->done += count;
}

/* The next items, of a record whose tasks come after others or are members of a group: as many as may be taken at once. */
static void arrival_dependent(struct tasks *t, struct arrival *a, struct producer *p, uint32_t stretch, struct applied *out)
{
	const struct submit_view *v = &a->v;
	uint64_t task = a->first_task + a->done, seq = v->fixed.first_seq + a->done;
	struct dependency d;
	enum err e = after_resolve(t, v, p, seq, task, &stretch, &d);
	if (e == ERR_OK && !producer_add(t, p, seq, stretch, task))
		e = ERR_RESOURCE_EXHAUSTED;
	if (e != ERR_OK) {
		arrival_refuse(t, a, stretch, e, 0, out);
		return;
	}
	struct group *g = v->after_group.len ? group_close(t, v, task, v->options.retention_ms) : NULL;
	if (g && g->bad && !d.bad) {
		d.bad = g->bad;
		d.bad_state = g->bad_state;
	}
	d.callback_of = g && !group_over(g) ? g : NULL;
	if (v->group.len)
		group_join(t, v->group, task, stretch);
	a->dependency = after_blocks(&d) ? &d : NULL;
	arrival_accept(t, a, stretch, out);
	a->dependency = NULL;
}

/* What becomes of the next items, by what is known of their sequences. */
static void arrival_step(struct tasks *t, struct arrival *a, struct producer *p, struct applied *out)
{
	uint64_t seq = a->v.fixed.first_seq + a->done, original;
	uint32_t left = a->v.fixed.count - a->done;
	bool known;
	if (out->run_count >= APPLIED_RUNS_MAX - 1) {
		arrival_refuse(t, a, left, ERR_RESOURCE_EXHAUSTED, 0, out);
		return;
	}
	if (seq < p->resolved_below) {
		arrival_refuse(t, a, (uint32_t)MIN_OF(left, p->resolved_below - seq), ERR_STALE_SUBMIT, 0, out);
		return;
	}
	uint32_t stretch = producer_stretch(p, seq, left, &known, &original);
	bool blobs = true;
	if (!known && a->v.fixed.flags & SUBMIT_BLOB)
		stretch = arrival_blobs(t, a, stretch, &blobs);
	if (known)
		arrival_refuse(t, a, stretch, ERR_OK, original, out);
	else if (!blobs)
		arrival_refuse(t, a, stretch, ERR_NOT_FOUND, 0, out);
	else if (a->v.fixed.flags & SUBMIT_AFTER)
		arrival_dependent(t, a, p, stretch, out);
	else if (!producer_add(t, p, seq, stretch, a->first_task + a->done))
		arrival_refuse(t, a, stretch, ERR_RESOURCE_EXHAUSTED, 0, out);
	else
		arrival_accept(t, a, stretch, out);
}

uint64_t submit_bytes(const struct submit_view *v)
{
	return v->payload.len + v->head.len;
}

uint32_t submit_class(struct tasks *t, const struct submit_view *v)
{
	uint32_t options = options_intern(t, v->options.retention_ms, v->options.max_attempts);
	return class_make(v->fixed.queue, v->fixed.priority, options, v->fixed.flags & SUBMIT_LANE);
}

void apply_submit(struct tasks *t, const struct log_entry *entry, const struct log_record *record, bool live,
		  struct applied *out)
{
	struct arrival a = { .entry = entry };
	enum err e = rec_submit_read(record->body, &a.v);
	ENSURE(e == ERR_OK);
	const struct rec_submit *fixed = &a.v.fixed;
	out->origin = APPLIED_SUBMIT;
	a.first_task = t->next_task;
	t->next_task += fixed->count;
	a.class = submit_class(t, &a.v);
	struct segment *s = segment_for_append(t, log_addr_segment(record->addr), a.first_task);
	segment_append(t, s, fixed->count, record->addr, a.class);
	if (a.v.owner)
		owner_append(t, s, fixed->count, a.v.owner, submit_bytes(&a.v));

	struct queue *q = queue_at(t, fixed->queue);
	if (q && q->proposed_create) /* a new one, which has been promised the number of one that is removed */
		q = NULL;
	if (fixed->flags & SUBMIT_LANE) {
		a.lane = q ? lane_class_intern(t, fixed->queue, a.v.requires, a.v.principal) : LANE_CLASS_NONE;
		bool made = a.lane != LANE_CLASS_NONE;
		lane_class_ref(t, made ? a.lane : 0, fixed->count);
		segment_append_extra(t, s, fixed->count, made ? lane_class_hash(t, fixed->queue, a.v.requires, a.v.principal) : 0, a.v.lane.order);
	}
	if (live && fixed->queue <= t->queue_count) {
		struct queue *slot = t->queues[fixed->queue - 1];
		slot->proposed -= MIN_OF(slot->proposed, fixed->count);
		if (a.v.principal.len > 0)
			fair_arrived(t, slot, a.v.principal);
		if (a.v.owner)
			owner_arrived(t, a.v.owner, fixed->queue, fixed->count, submit_bytes(&a.v));
	}
	struct producer *p = producer_use(t, fixed->producer, entry->time_ms);
	producer_resolve(t, p, fixed->first_seq - fixed->resolved_back);
	uint64_t original = a.v.key.len ? key_find(t, a.v.key, t->time_ms) : 0;
	if (!q)
		arrival_refuse(t, &a, fixed->count, ERR_NOT_FOUND, 0, out); /* removed in the meantime */
	else if (original)
		arrival_refuse(t, &a, fixed->count, ERR_OK, original, out);
	else if (a.v.key.len && keys_full(t, t->time_ms))
		arrival_refuse(t, &a, fixed->count, ERR_RESOURCE_EXHAUSTED, 0, out);
	else if (a.lane == LANE_CLASS_NONE)
		arrival_refuse(t, &a, fixed->count, ERR_RESOURCE_EXHAUSTED, 0, out);
	while (a.done < fixed->count) {
		uint64_t accepted = t->submitted_total;
		arrival_step(t, &a, p, out);
		if (a.v.key.len && t->submitted_total > accepted)
			key_add(t, a.v.key, a.first_task, t->time_ms);
	}
	ENSURE(out->run_count > 0);
}
