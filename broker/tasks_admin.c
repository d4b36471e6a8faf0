/* broker/tasks_admin.c: what an operator changes: queues, redrive, retry, cancel.
 *
 *   admin verbs -> TASKS_ADMIN propose -> one record -> log ... commit -> apply -> answer
 *
 * A proposal appends one record or none; its apply works on durable state alone and says how many tasks it changed. */
#include "after.h"
#include "blob_index.h"
#include "life.h"

static enum err no_room(char text[256])
{
	(void)snprintf(text, 256, "no room in this batch of the log");
	return ERR_RESOURCE_EXHAUSTED;
}

static enum err no_queue(struct span name, char text[256])
{
	(void)snprintf(text, 256, "there is no queue %.*s", (int)MIN_OF(name.len, 200), name.len ? (const char *)name.data : "");
	return ERR_NOT_FOUND;
}

enum err tasks_propose_queue(struct tasks *t, struct log *log, struct span name, const struct queue_settings *settings,
			     bool create, uint32_t *records, char text[256])
{
	*records = 0;
	if (!queue_full_name_ok(name, text))
		return ERR_INVALID_INPUT;
	uint32_t id = queue_lookup(t, name);
	if (!id && !create)
		return no_queue(name, text);
	struct queue_settings base = id ? t->queues[id - 1]->settings : t->config.defaults;
	struct queue_settings s = queue_settings_over(base, *settings);
	if (!queue_settings_ok(&s, text))
		return ERR_INVALID_INPUT;
	if (id && create) {
		if (memcmp(&s, &base, sizeof s) == 0)
			return ERR_OK;
		(void)snprintf(text, 256, "queue %.*s exists with other settings", (int)name.len, name.data);
		return ERR_EXISTS;
	}
	if (!id) {
		id = queue_slot_new(t, 0, name);
		if (!id) {
			(void)snprintf(text, 256, "there are %u queues already", t->config.queues_max);
			return ERR_RESOURCE_EXHAUSTED;
		}
		t->queues[id - 1]->proposed_create = true;
		t->queues[id - 1]->settings = s;
	}
	enum rec_queue_op op = create ? QUEUE_OP_CREATE : QUEUE_OP_SET;
	if (!queue_propose(t, log, name, id, op, &s, APPLIED_ADMIN)) {
		if (create) {
			t->queues[id - 1]->proposed_create = false;
			queue_names_set(t, id, (struct span){ NULL, 0 });
		}
		return no_room(text);
	}
	*records = 1;
	return ERR_OK;
}

enum err tasks_propose_weight(struct tasks *t, struct log *log, struct span name, struct span pattern, uint32_t weight,
			      uint32_t *records, char text[256])
{
	uint32_t id = queue_lookup(t, name);
	*records = 0;
	if (!id)
		return no_queue(name, text);
	if (!shares_ok(&t->queues[id - 1]->shares, pattern, weight, text))
		return ERR_INVALID_INPUT;
	struct rec_queue rec = { .version = REC_QUEUE_VERSION, .origin = APPLIED_ADMIN, .op = QUEUE_OP_WEIGH,
				 .name_size = (uint8_t)name.len, .queue = id, .weight = weight };
	uint64_t addr;
	uint8_t *body = log_append(log, REC_QUEUE, sizeof rec + name.len + pattern.len, &addr);
	if (!body)
		return no_room(text);
	memcpy(body, &rec, sizeof rec);
	memcpy(body + sizeof rec, name.data, name.len);
	memcpy(body + sizeof rec + name.len, pattern.data, pattern.len);
	*records = 1;
	return ERR_OK;
}

static enum err propose_op(struct tasks *t, struct log *log, struct span name, enum rec_queue_op op, uint32_t *records,
			   char text[256])
{
	uint32_t id = queue_lookup(t, name);
	*records = 0;
	if (!id)
		return no_queue(name, text);
	if (!queue_propose(t, log, name, id, op, NULL, APPLIED_ADMIN))
		return no_room(text);
	*records = 1;
	return ERR_OK;
}

enum err tasks_propose_pause(struct tasks *t, struct log *log, struct span name, bool paused, uint32_t *records,
			     char text[256])
{
	return propose_op(t, log, name, paused ? QUEUE_OP_PAUSE : QUEUE_OP_RESUME, records, text);
}

enum err tasks_propose_remove(struct tasks *t, struct log *log, struct span name, uint32_t *records, char text[256])
{
	const struct queue *q = queue_at(t, queue_lookup(t, name));
	*records = 0;
	if (q && (q->alive > 0 || q->proposed > 0)) {
		(void)snprintf(text, 256, "queue %.*s is not empty: %llu waiting or leased, %llu dead", (int)name.len, name.data,
			       (unsigned long long)(q->alive - q->dead + q->proposed), (unsigned long long)q->dead);
		return ERR_WRONG_STATE;
	}
	return propose_op(t, log, name, QUEUE_OP_REMOVE, records, text);
}

/* ---- redrive, retry, cancel ---- */

static bool redrive_append(struct log *log, const uint64_t *tasks, uint32_t count)
{
	struct rec_redrive rec = { .version = REC_VERSION, .count = count };
	uint64_t addr;
	uint8_t *body = log_append(log, REC_REDRIVE, sizeof rec + count * sizeof *tasks, &addr);
	if (!body)
		return false;
	memcpy(body, &rec, sizeof rec);
	memcpy(body + sizeof rec, tasks, count * sizeof *tasks);
	return true;
}

static enum err settled_reason(struct tasks *t, uint64_t task, char text[256])
{
	if (task == 0 || task >= t->next_task) {
		(void)snprintf(text, 256, "there is no task %llu", (unsigned long long)task);
		return ERR_NOT_FOUND;
	}
	(void)snprintf(text, 256, "task %llu is settled", (unsigned long long)task);
	return ERR_WRONG_STATE;
}

enum err tasks_propose_retry(struct tasks *t, struct log *log, uint64_t task, uint32_t *records, char text[256])
{
	const struct hot *h = hot_find(t, task);
	uint32_t class;
	struct hot *open;
	*records = 0;
	bool kept = h && (h->final == TASK_DEAD || h->final == TASK_FAILED || h->final == TASK_CANCELLED);
	bool delayed = h && h->final == TASK_UNKNOWN && h->state == TASK_SCHEDULED && !h->settling && !h->blocked;
	if (!kept && !delayed) {
		if (!task_open(t, task, &class, &open))
			return settled_reason(t, task, text);
		(void)snprintf(text, 256, h && h->blocked ? "task %llu waits for other tasks (%s)" : "task %llu is %s already",
			       (unsigned long long)task, task_state_name(h ? h->state : TASK_READY));
		return ERR_WRONG_STATE;
	}
	uint64_t addr;
	uint32_t item;
	if (!task_locate(t, task, &addr, &item) || !queue_at(t, class_queue(h->class))) {
		(void)snprintf(text, 256, "the payload or the queue of task %llu is gone", (unsigned long long)task);
		return ERR_WRONG_STATE;
	}
	if (!redrive_append(log, &task, 1))
		return no_room(text);
	*records = 1;
	return ERR_OK;
}

static bool redrive_task(struct tasks *t, uint64_t task, uint64_t now_ms)
{
	struct hot *h = hot_find(t, task);
	uint64_t addr;
	uint32_t item;
	if (!h || !task_locate(t, task, &addr, &item) || !queue_at(t, class_queue(h->class)))
		return false;
	if (h->final == TASK_UNKNOWN) { /* a delayed one */
		if (h->ready_ms <= now_ms || h->blocked)
			return false;
		h->ready_ms = 0;
		if (t->begun && h->state == TASK_SCHEDULED && !h->settling) {
			view_leave(t, h);
			view_enter(t, h, now_ms, false);
		}
		return true;
	}
	ENSURE(h->final == TASK_DEAD || h->final == TASK_FAILED || h->final == TASK_CANCELLED);
	if (h->final == TASK_DEAD && t->begun)
		view_leave(t, h);
	if (h->final != TASK_DEAD) {
		heap_set(t, &t->retained, h, NEVER);
		queue_at(t, class_queue(h->class))->alive++;
	}
	owner_let_go(t, h);
	owner_opened(t, owner_of(t, task), class_queue(h->class), 1);
	if (h->result_addr)
		pin_drop(t, h->result_addr);
	blobs_drop_task(t->blobs, BLOB_OF_RESULT, task, t->time_ms);
	h->result_addr = 0;
	h->result_size = 0;
	h->settled_ms = 0; /* what a checkpoint leaves out of an object that is plain again must be as it was at first */
	h->code = 0;
	h->app_code = 0;
	if (!h->fixed)
		h->retention_ms = t->options[class_options(h->class)].retention_ms;
	h->final = TASK_UNKNOWN;
	h->counted = h->counted || group_of(t, task);
	h->failed = 0;
	if (h->life) { /* what belonged to its first life: nobody holds it, and its time begins anew */
		h->life->lease_attempt = 0;
		h->life->close_ms = 0;
	}
	h->acquired = MAX_OF(h->acquired, h->attempts);
	if (t->begun)
		view_enter(t, h, now_ms, false);
	return true;
}

void apply_redrive(struct tasks *t, const struct log_entry *entry, const struct log_record *record, struct applied *out)
{
	struct reader r = { .rest = record->body };
	struct rec_redrive rec;
	read_into(&r, &rec, sizeof rec);
	ENSURE(!r.failed && rec.version == REC_VERSION);
	out->origin = APPLIED_ADMIN;
	for (uint32_t i = 0; i < rec.count; i++) {
		uint64_t task = read_u64(&r);
		ENSURE(!r.failed);
		out->affected += redrive_task(t, task, entry->time_ms);
	}
}

uint64_t tasks_dead_next(const struct tasks *t, uint32_t queue, uint64_t task)
{
	const struct queue *q = queue_at(t, queue);
	const struct hot *h = task ? hot_find(t, task) : NULL;
	if (!q)
		return 0;
	bool there = h && h->place == PLACE_DEAD && class_queue(h->class) == queue;
	h = there ? h->next : q->dead_letters.first;
	return h ? h->task : 0;
}

bool tasks_redrive_dead(struct tasks *t, uint64_t task, uint32_t queue, uint64_t before_ms, uint64_t now_ms)
{
	const struct hot *h = task ? hot_find(t, task) : NULL;
	if (!h || h->final != TASK_DEAD || class_queue(h->class) != queue || h->settled_ms > before_ms)
		return false;
	return redrive_task(t, task, now_ms);
}

enum err tasks_propose_cancel(struct tasks *t, struct log *log, uint64_t task, uint64_t now_ms, uint32_t *records,
			      char text[256])
{
	return task_cancel(t, log, task, now_ms, APPLIED_ADMIN, records, text);
}

enum err task_cancel(struct tasks *t, struct log *log, uint64_t task, uint64_t now_ms, enum applied_origin origin,
		     uint32_t *records, char text[256])
{
	uint32_t class;
	struct hot *h;
	*records = 0;
	if (!task_open(t, task, &class, &h))
		return settled_reason(t, task, text);
	if (h && h->settling) {
		(void)snprintf(text, 256, "task %llu is being settled", (unsigned long long)task);
		return ERR_WRONG_STATE;
	}
	if (h && h->cancelling)
		return ERR_OK;
	bool held = h && (h->place == PLACE_HELD || h->place == PLACE_ORPHAN || h->place == PLACE_LIMBO);
	struct rec_settle_item item = { .task = task, .state = TASK_CANCELLED, .code = ERR_CANCELLED };
	if (held) {
		item.state = TASK_LEASED;
		item.ready_ms = now_ms + t->config.cancel_grace_ms;
	}
	if (!settle_propose(log, origin, &item, 1, ""))
		return no_room(text);
	*records = 1;
	t->peeked.count = 0;
	if (held) {
		h->cancelling = true;
		h->cancel_ms = now_ms + t->config.cancel_grace_ms;
		view_timer(t, h);
		task_signal_left(t, h, SIGNAL_CANCEL, ERR_CANCELLED, t->config.cancel_grace_ms);
		phase_set(t, h, PHASE_CANCELLING, ERR_OK);
		return ERR_OK;
	}
	if (!h)
		h = hot_new(t, task, class);
	view_take(t, h);
	h->settling = true;
	view_timer(t, h);
	return ERR_OK;
}

enum err tasks_propose_interrupt(struct tasks *t, struct log *log, uint64_t task, uint64_t now_ms, uint32_t *records,
				 char text[256])
{
	enum err e = tasks_propose_cancel(t, log, task, now_ms, records, text);
	struct hot *h = hot_find(t, task);
	if (e != ERR_OK || !h || !h->cancelling || !h->holder)
		return e;
	task_signal_left(t, h, SIGNAL_INTERRUPT, ERR_CANCELLED, h->cancel_ms - MIN_OF(h->cancel_ms, now_ms));
	phase_set(t, h, PHASE_INTERRUPTING, ERR_OK);
	return ERR_OK;
}

enum err tasks_control(struct tasks *t, uint64_t task, enum signal_kind signal, char text[256])
{
	struct hot *h = task ? hot_find(t, task) : NULL;
	uint32_t class;
	struct hot *open;
	if (!h || !h->holder || h->settling) {
		if (!task_open(t, task, &class, &open))
			return settled_reason(t, task, text);
		(void)snprintf(text, 256, "task %llu is in no worker's hands", (unsigned long long)task);
		return ERR_WRONG_STATE;
	}
	if (h->cancelling) {
		(void)snprintf(text, 256, "task %llu is being cancelled", (unsigned long long)task);
		return ERR_WRONG_STATE;
	}
	task_signal(t, h, signal, ERR_OK);
	phase_set(t, h, signal == SIGNAL_PAUSE ? PHASE_PAUSING : signal == SIGNAL_STEP ? PHASE_STEPPING : PHASE_RESUMING, ERR_OK);
	return ERR_OK;
}

enum err tasks_propose_redrive(struct tasks *t, struct log *log, struct span name, uint16_t code, uint32_t limit,
			       uint32_t *records, char text[256])
{
	const struct queue *q = queue_at(t, queue_lookup(t, name));
	*records = 0;
	if (!q)
		return no_queue(name, text);
	t->scratch_items.len = 0;
	uint32_t count = 0;
	for (const struct hot *h = q->dead_letters.first; h && count < MIN_OF(limit, LIMIT_FRAME_ITEMS); h = h->next) {
		if (code != 0 && h->code != code)
			continue;
		buf_append(&t->scratch_items, &h->task, sizeof h->task);
		count++;
	}
	if (count == 0)
		return ERR_OK;
	if (!redrive_append(log, (const void *)t->scratch_items.data, count))
		return no_room(text);
	*records = 1;
	return ERR_OK;
}
