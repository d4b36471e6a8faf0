/* broker/queue.c: queues: names, settings, pause, counters. In the flow: propose and apply of REC_QUEUE.
 *
 * An id is chosen by the proposer and is in the record, because the submissions right behind a new queue name it by id before
 * it is applied. Slots of removed queues are used again only when all ids up to queues_max are taken.
 *
 * Invariants
 *  1. A slot with a name exists; proposed_create means that its REC_QUEUE is in the log and not yet applied.
 *  2. alive == ready + scheduled + leased + dead once begun.
 *  3. A queue is removed only when alive == 0, decided in apply. */
#include "tasks_impl.h"
#include "topics.h"

#include <inttypes.h>

struct queue *queue_at(const struct tasks *t, uint32_t id)
{
	if (id == 0 || id > t->queue_count || t->queues[id - 1]->name_size == 0)
		return NULL;
	return t->queues[id - 1];
}

static uint64_t name_key(const struct tasks *t, struct span name)
{
	return bytes_hash(name, t->config.seed) | 1;
}

/* Names with equal hashes take the next free odd key; there are few queues and fewer such. */
uint32_t queue_lookup(const struct tasks *t, struct span name)
{
	struct map64_slot *slot = map64_find(&t->queue_names, name_key(t, name));
	if (!slot)
		return 0;
	const struct queue *q = t->queues[slot->value - 1];
	if (span_eq(span_of(q->name, q->name_size), name))
		return (uint32_t)slot->value;
	for (uint32_t i = 0; i < t->queue_count; i++)
		if (span_eq(span_of(t->queues[i]->name, t->queues[i]->name_size), name))
			return i + 1;
	return 0;
}

void queue_names_set(struct tasks *t, uint32_t id, struct span name)
{
	struct queue *q = t->queues[id - 1];
	struct map64_slot *slot = q->name_size ? map64_find(&t->queue_names, name_key(t, span_of(q->name, q->name_size))) : NULL;
	if (slot && slot->value == id)
		map64_remove(&t->queue_names, slot);
	ENSURE(name.len <= LIMIT_NAME_BYTES);
	q->name_size = (uint8_t)name.len;
	if (name.len == 0)
		return;
	memcpy(q->name, name.data, name.len);
	if (!map64_find(&t->queue_names, name_key(t, name)))
		map64_add(&t->queue_names, name_key(t, name), id, &t->memory);
}

bool queue_settings_ok(const struct queue_settings *s, char text[256])
{
	if (s->max_attempts > UINT16_MAX)
		(void)snprintf(text, 256, "max_attempts %" PRId64 " is above %d", s->max_attempts, UINT16_MAX);
	else if (s->selection >= SELECTIONS)
		(void)snprintf(text, 256, "selection %" PRId64 " is not one of its values (0 to %d)", s->selection, SELECTIONS - 1);
	else if (s->fair >= FAIR_KINDS)
		(void)snprintf(text, 256, "fair %" PRId64 " is not one of its values (0 to %d)", s->fair, FAIR_KINDS - 1);
	else if (s->redelivery >= QUEUE_REDELIVERIES)
		(void)snprintf(text, 256, "redelivery %" PRId64 " is not one of its values (0 to %d)", s->redelivery,
			       QUEUE_REDELIVERIES - 1);
	else if (s->renew >= RENEW_KINDS)
		(void)snprintf(text, 256, "renew %" PRId64 " is not one of its values (0 to %d)", s->renew, RENEW_KINDS - 1);
	else if (s->backoff_min_ms > s->backoff_max_ms)
		(void)snprintf(text, 256, "backoff_min_ms %" PRId64 " is above backoff_max_ms %" PRId64, s->backoff_min_ms,
			       s->backoff_max_ms);
	else
		return true;
	return false;
}

static bool slot_grow(struct tasks *t)
{
	if (t->queue_count == QUEUES_EVER_MAX)
		return false;
	if (t->queue_count == t->queue_cap) {
		uint32_t cap = t->queue_cap ? t->queue_cap * 2 : 16;
		t->queues = mem_resize(t, t->queues, t->queue_cap * sizeof *t->queues, cap * sizeof *t->queues);
		t->queue_cap = cap;
	}
	struct queue *q = mem_resize(t, NULL, 0, sizeof *q);
	*q = (struct queue){ 0 };
	t->queues[t->queue_count++] = q;
	return true;
}

/* A slot for a new queue: `id` from a record, or 0 to choose. Answers the id, 0 = no slot left. */
uint32_t queue_slot_new(struct tasks *t, uint32_t id, struct span name)
{
	uint32_t max = MIN_OF(t->config.queues_max, QUEUES_EVER_MAX);
	if (id == 0 && t->queue_count < max)
		id = t->queue_count + 1;
	for (uint32_t i = 0; id == 0 && i < t->queue_count; i++)
		if (t->queues[i]->name_size == 0)
			id = i + 1;
	if (id == 0)
		return 0;
	while (t->queue_count < id)
		if (!slot_grow(t))
			return 0;
	queue_names_set(t, id, name);
	return id;
}

bool queue_propose(struct tasks *t, struct log *log, struct span name, uint32_t id, enum rec_queue_op op,
		   const struct queue_settings *settings, enum applied_origin origin)
{
	(void)t;
	struct rec_queue rec = { .version = REC_QUEUE_VERSION, .origin = (uint8_t)origin, .op = (uint8_t)op,
				 .name_size = (uint8_t)name.len, .queue = id,
				 .setting_count = settings ? QUEUE_SETTINGS_COUNT : 0 };
	size_t settings_size = settings ? sizeof *settings : 0;
	uint64_t addr;
	uint8_t *body = log_append(log, REC_QUEUE, sizeof rec + settings_size + name.len, &addr);
	if (!body)
		return false;
	memcpy(body, &rec, sizeof rec);
	if (settings)
		memcpy(body + sizeof rec, settings, sizeof *settings);
	memcpy(body + sizeof rec + settings_size, name.data, name.len);
	return true;
}

/* CREATE of a name that exists by now (two proposals crossed) changes nothing. */
static bool apply_create(struct tasks *t, const struct queue_view *v)
{
	const struct rec_queue *rec = &v->fixed;
	bool here = rec->queue <= t->queue_count && t->queues[rec->queue - 1]->name_size > 0;
	if (here && !t->queues[rec->queue - 1]->proposed_create)
		return false;
	if (!here) {
		uint32_t id = queue_slot_new(t, rec->queue, v->name);
		ENSURE(id == rec->queue);
	}
	struct queue *q = t->queues[rec->queue - 1];
	ENSURE(span_eq(span_of(q->name, q->name_size), v->name));
	q->proposed_create = false;
	q->paused = false;
	q->submitted = q->done = q->failed = q->expired = q->cancelled = q->dead_total = 0;
	q->settings = queue_settings_over(QUEUE_SETTINGS_BASE, v->settings);
	return true;
}

void apply_queue(struct tasks *t, const struct log_record *record, bool live, struct applied *out)
{
	(void)live;
	struct queue_view v;
	enum err e = rec_queue_read(record->body, &v);
	ENSURE(e == ERR_OK);
	struct rec_queue rec = v.fixed;
	out->origin = rec.origin;
	struct queue *q = queue_at(t, rec.queue);
	switch ((enum rec_queue_op)rec.op) {
	case QUEUE_OP_CREATE: out->affected = apply_create(t, &v); return;
	case QUEUE_OP_SET:
		if (q)
			q->settings = queue_settings_over(q->settings, v.settings);
		out->affected = q != NULL;
		return;
	case QUEUE_OP_PAUSE:
	case QUEUE_OP_RESUME:
		if (q)
			q->paused = rec.op == QUEUE_OP_PAUSE;
		out->affected = q != NULL;
		if (q && q->ready > 0)
			view_ready_hook(t, rec.queue, TASKS_ANY_SLOT);
		return;
	case QUEUE_OP_WEIGH:
		out->affected = q && shares_set(t, q, v.pattern, rec.weight);
		out->code = q && !out->affected ? ERR_RESOURCE_EXHAUSTED : ERR_OK;
		return;
	case QUEUE_OP_REMOVE:
		out->affected = q && q->alive == 0;
		if (out->affected) {
			shares_free(t, q);
			fair_weigh(q);
			ENSURE(q->ready + q->leased + q->scheduled + q->dead == 0);
			lanes_forget(t, q);
			queue_names_set(t, rec.queue, (struct span){ NULL, 0 });
			topics_queue_removed(t->topics, rec.queue);
		}
		return;
	}
	ensure_failed("a queue record has a known operation", __FILE__, __LINE__);
}

void queues_free(struct tasks *t)
{
	for (uint32_t i = 0; i < t->queue_count; i++) {
		struct queue *q = t->queues[i];
		lanes_free(t, q);
		shares_free(t, q);
		(void)mem_resize(t, q, sizeof *q, 0);
	}
	(void)mem_resize(t, t->queues, t->queue_cap * sizeof *t->queues, 0);
	map64_free(&t->queue_names, &t->memory);
}

const struct queue_settings *tasks_queue_settings(const struct tasks *t, uint32_t queue)
{
	ENSURE(queue > 0 && queue <= t->queue_count);
	return &t->queues[queue - 1]->settings;
}

void tasks_queue_weights(const struct tasks *t, uint32_t queue, struct buf *out)
{
	ENSURE(queue > 0 && queue <= t->queue_count);
	shares_print(&t->queues[queue - 1]->shares, out);
}

enum queue_selection tasks_queue_selection(const struct tasks *t, uint32_t queue)
{
	const struct queue *q = queue_at(t, queue);
	return q && q->settings.selection < SELECTIONS ? (enum queue_selection)q->settings.selection : SELECT_CREDIT;
}

uint32_t tasks_queue_count(const struct tasks *t)
{
	return t->queue_count;
}

bool tasks_queue_room(const struct tasks *t, uint32_t queue, uint32_t count)
{
	const struct queue *q = queue_at(t, queue);
	return q && (q->settings.length_max == 0 ||
		     q->ready + q->scheduled + q->leased + q->proposed + count <= (uint64_t)q->settings.length_max);
}

uint32_t tasks_queue_find(const struct tasks *t, struct span name)
{
	uint32_t id = queue_lookup(t, name);
	return id && !t->queues[id - 1]->proposed_create ? id : 0;
}

void tasks_queue_info(const struct tasks *t, uint32_t queue, struct queue_info *out)
{
	ENSURE(queue > 0 && queue <= t->queue_count);
	const struct queue *q = t->queues[queue - 1];
	*out = (struct queue_info){ .name = span_of(q->name, q->proposed_create ? 0 : q->name_size), .paused = q->paused };
	out->settings = q->settings;
	out->ready = q->ready;
	out->leased = q->leased;
	out->scheduled = q->scheduled;
	out->dead = q->dead;
	out->blocked = q->blocked;
	out->submitted_total = q->submitted;
	out->done_total = q->done;
	out->failed_total = q->failed;
	out->expired_total = q->expired;
	out->cancelled_total = q->cancelled;
	out->dead_total = q->dead_total;
}
