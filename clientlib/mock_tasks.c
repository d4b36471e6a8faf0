/* clientlib/mock_tasks.c: the task machine of the broker in memory: the states, counters and retry rules of the real one,
 * without its disk and without its jitter. See mock_impl.h. */
#include "mock_impl.h"

/* ---- queues ---- */

struct mock_queue *mock_queue_find(struct mock *m, struct span name)
{
	struct mock_queue *q = m->queues;
	while (q && !span_eq(span_str(q->name), name))
		q = q->next;
	return q;
}

struct mock_queue *mock_queue_new(struct mock *m, struct span name)
{
	struct mock_queue *q = calloc(1, sizeof *q), **at = &m->queues;
	ENSURE(q != NULL);
	q->name = strndup((const char *)name.data, name.len);
	ENSURE(q->name != NULL);
	q->settings = (struct queue_settings){ .length_max = 0, .max_attempts = 5, .lease_ms = 30000,
					       .backoff_min_ms = 1000, .backoff_max_ms = 300000, .expires_ms = 0,
					       .retention_ms = 3600000 };
	while (*at)
		at = &(*at)->next;
	*at = q;
	return q;
}

/* By age within a priority: what comes back keeps its place. */
static void ready_insert(struct mock_task *t)
{
	struct mock_list *list = &t->queue->ready[t->priority];
	struct mock_task *before = list->last;
	while (before && before->id > t->id)
		before = before->prev;
	t->prev = before;
	t->next = before ? before->next : list->first;
	*(before ? &before->next : &list->first) = t;
	*(t->next ? &t->next->prev : &list->last) = t;
}

static void ready_remove(struct mock_task *t)
{
	struct mock_list *list = &t->queue->ready[t->priority];
	*(t->prev ? &t->prev->next : &list->first) = t->next;
	*(t->next ? &t->next->prev : &list->last) = t->prev;
}

void mock_task_state(struct mock *m, struct mock_task *t, enum task_state state)
{
	(void)m;
	if (t->state == TASK_READY)
		ready_remove(t);
	t->queue->count[t->state]--;
	t->state = (uint8_t)state;
	t->queue->count[t->state]++;
	if (t->state == TASK_READY)
		ready_insert(t);
}

/* ---- tasks ---- */

struct mock_task *mock_task_find(struct mock *m, uint64_t id)
{
	return id >= 1 && id <= m->task_count ? m->tasks[id - 1] : NULL;
}

static struct mock_task *find_key(struct mock *m, struct span key)
{
	for (uint64_t i = 0; key.len > 0 && i < m->task_count; i++)
		if (span_eq(span_str(m->tasks[i]->key), key))
			return m->tasks[i];
	return NULL;
}

static void task_fill(struct mock *m, struct mock_task *t, const struct task_head *h)
{
	const struct queue_settings *s = &t->queue->settings;
	uint64_t expires = h->expires_ms ? h->expires_ms : (uint64_t)MAX_OF(s->expires_ms, 0);
	t->id = m->task_count;
	t->type = mock_text(h->type);
	t->key = mock_text(h->key);
	t->order_key = mock_text(h->order_key);
	t->submitted_ms = m->now_ms;
	t->ready_ms = m->now_ms + h->delay_ms;
	t->expires_ms = expires ? m->now_ms + expires : 0;
	t->execution_ms = h->execution_ms;
	t->priority = h->priority;
	t->payload_kind = h->payload;
	t->want_result = h->want_result;
	t->watched = h->want_updates;
	t->never = h->redelivery == REDELIVERY_NEVER || (h->redelivery == REDELIVERY_DEFAULT && s->redelivery == QUEUE_NEVER_AGAIN);
	t->parent = h->parent;
	t->heartbeat_ms = h->heartbeat_ms ? h->heartbeat_ms : (uint64_t)MAX_OF(s->heartbeat_ms, 0);
	t->close_at_ms = h->close_ms ? m->now_ms + h->close_ms : 0;
	t->max_attempts = h->max_attempts ? h->max_attempts : (uint32_t)MAX_OF(s->max_attempts, 0); /* 0: no limit */
	t->queue->submitted_total++;
	t->queue->count[TASK_UNKNOWN]++;
	mock_task_state(m, t, h->delay_ms ? TASK_SCHEDULED : TASK_READY);
}

/* Is there an entry for tasks of the queue that fits, with credit or with work that it has? */
static bool could_take(const struct mock *m, const struct mock_queue *q, struct span requirements)
{
	bool works = q->count[TASK_LEASED] + q->count[TASK_STARTED] > 0;
	for (uint32_t i = 0; i < m->entry_count; i++)
		if (strcmp(m->entries[i].name, q->name) == 0 && (m->entries[i].credit > 0 || works) &&
		    mock_entry_fits(&m->entries[i], requirements))
			return true;
	return false;
}

struct mock_task *mock_task_submit(struct mock *m, struct span head, struct span payload, enum err *code, bool *duplicate)
{
	struct task_head h;
	char text[128];
	*duplicate = false;
	*code = task_head_decode(head, &h, text);
	if (*code != ERR_OK)
		return NULL;
	struct span name = h.queue.len ? h.queue : h.type;
	struct mock_queue *q = mock_queue_find(m, name);
	char why[256];
	*code = q || queue_name_ok(name, why) ? ERR_OK : ERR_INVALID_INPUT;
	if (*code != ERR_OK)
		return NULL;
	q = q ? q : mock_queue_new(m, name);
	struct mock_task *t = find_key(m, h.key);
	if (t) {
		*duplicate = true;
		return t;
	}
	uint64_t waiting = q->count[TASK_READY] + q->count[TASK_SCHEDULED] + q->count[TASK_LEASED] + q->count[TASK_STARTED];
	if (q->settings.length_max > 0 && waiting >= (uint64_t)q->settings.length_max) {
		*code = ERR_QUEUE_FULL;
		return NULL;
	}
	struct buf requirements = { NULL, 0, 0 };
	uint64_t root = 0;
	*code = h.parent ? mock_parent(m, h.parent, &root) : ERR_OK;
	if (!mock_payload_there(m, h.payload, payload))
		*code = ERR_NOT_FOUND;
	if (h.after.len + h.after_back.len + h.group.len + h.after_group.len > 0)
		*code = ERR_UNSUPPORTED;
	if (*code == ERR_OK)
		*code = predicate_parse(h.requirements, &requirements, text);
	if (*code == ERR_OK && h.fail_fast && !could_take(m, q, buf_span(&requirements)))
		*code = ERR_NOT_DELIVERED;
	if (*code != ERR_OK) {
		buf_free(&requirements);
		return NULL;
	}
	struct mock_task **tasks = realloc(m->tasks, (m->task_count + 1) * sizeof(struct mock_task *));
	t = calloc(1, sizeof *t);
	ENSURE(tasks && t);
	m->tasks = tasks;
	m->tasks[m->task_count++] = t;
	t->queue = q;
	t->root = root;
	t->requirements = requirements;
	buf_append(&t->head, head.data, head.len);
	buf_append(&t->payload, payload.data, payload.len);
	task_fill(m, t, &h);
	return t;
}

/* Why a task ended up where it is, for people. */
static void set_reason(struct mock_task *t, struct span text)
{
	free(t->reason);
	t->reason = mock_text(text);
}

void mock_task_done(struct mock *m, struct mock_task *t, uint8_t kind, struct span result)
{
	t->result_kind = kind;
	mock_task_settle(m, t, TASK_DONE, ERR_OK, result);
}

void mock_task_settle(struct mock *m, struct mock_task *t, enum task_state state, enum err code, struct span result)
{
	t->settled_ms = m->now_ms;
	t->code = (uint16_t)code;
	t->result_kind = state == TASK_DONE ? t->result_kind : PAYLOAD_INLINE;
	t->result.len = 0;
	buf_append(&t->result, result.data, result.len);
	if (state != TASK_DONE)
		set_reason(t, result.len ? result : span_str(err_name(code)));
	t->queue->expired_total += state == TASK_EXPIRED;
	t->queue->dead_total += state == TASK_DEAD;
	mock_task_state(m, t, state);
	if (t->want_result || t->awaited)
		mock_send_result(m, t);
	t->awaited = false;
}

/* What belonged to the attempt ends with it. */
static void back_to_waiting(struct mock *m, struct mock_task *t, uint64_t delay_ms)
{
	t->phase = PHASE_NONE;
	t->progress = 0;
	t->overrun_ms = t->silent_at_ms = t->cancel_ms = 0;
	t->ready_ms = m->now_ms + delay_ms;
	mock_task_state(m, t, delay_ms ? TASK_SCHEDULED : TASK_READY);
}

static uint64_t backoff(const struct mock_task *t)
{
	const struct queue_settings *s = &t->queue->settings;
	uint64_t ms = (uint64_t)MAX_OF(s->backoff_min_ms, 0), max = (uint64_t)MAX_OF(s->backoff_max_ms, 0);
	for (uint32_t i = 1; i < t->failed && ms < max; i++)
		ms *= 2;
	return MIN_OF(ms, max);
}

static bool class_retries(enum err code)
{
	return code == ERR_TRANSIENT || code == ERR_TIMEOUT || code == ERR_RESOURCE_EXHAUSTED || code == ERR_INTERNAL;
}

void mock_task_failed(struct mock *m, struct mock_task *t, enum err code, int64_t delay_ms, struct span text)
{
	t->failed++;
	t->code = (uint16_t)code;
	if (code == ERR_INVALID_INPUT || code == ERR_INTEGRITY_MISMATCH) {
		mock_task_settle(m, t, TASK_FAILED, code, text);
	} else if (!class_retries(code) || t->never || (t->max_attempts > 0 && t->failed >= t->max_attempts)) {
		mock_task_settle(m, t, TASK_DEAD, code, text);
	} else if (t->cancel_ms) {
		mock_task_settle(m, t, TASK_CANCELLED, ERR_CANCELLED, text);
	} else {
		mock_phase(m, t, PHASE_RETRY, code);
		set_reason(t, text.len ? text : span_str(err_name(code)));
		back_to_waiting(m, t, delay_ms >= 0 ? (uint64_t)delay_ms : backoff(t));
	}
}

static void started(struct mock *m, struct mock_task *t)
{
	if (t->state != TASK_LEASED)
		return;
	t->overrun_ms = t->execution_ms ? m->now_ms + t->execution_ms : 0;
	mock_task_state(m, t, TASK_STARTED);
	mock_phase(m, t, PHASE_STARTED, ERR_OK);
}

enum err mock_task_report(struct mock *m, const struct report_item *item, struct span data)
{
	struct mock_task *t = mock_task_find(m, item->ref.task);
	int64_t delay = item->flags & REPORT_FLAG_DELAY ? (int64_t)item->delay_ms : -1;
	enum err code = ERR_OK;
	if (!t)
		return ERR_NOT_FOUND;
	if (mock_final(t->state))
		return ERR_LATE_RESULT;
	if (!mock_leased(t->state) || t->attempt != item->ref.attempt || m->epoch != item->ref.epoch)
		return ERR_STALE_LEASE;
	uint8_t kind = report_payload_kind(item->flags);
	if (!mock_payload_there(m, kind, data))
		return ERR_NOT_FOUND;
	switch ((enum report_verb)item->verb) {
	case REPORT_START: started(m, t); break;
	case REPORT_PROGRESS:
	case REPORT_LOG: mock_progress(m, t, item, data); break;
	case REPORT_PAUSED: mock_phase(m, t, PHASE_PAUSED, ERR_OK); break;
	case REPORT_RESUMED: mock_phase(m, t, PHASE_NONE, ERR_OK); break;
	case REPORT_YIELD: code = mock_yield(m, t, item->app_code, kind, data); break;
	case REPORT_COMPLETE: t->app_code = item->app_code; mock_task_done(m, t, kind, data); break;
	case REPORT_FAIL: t->app_code = item->app_code; mock_task_failed(m, t, (enum err)item->class_code, delay, data); break;
	case REPORT_RELEASE: back_to_waiting(m, t, (uint64_t)MAX_OF(delay, 0)); break;
	case REPORT_REJECT: t->app_code = item->app_code; mock_task_settle(m, t, TASK_DEAD, ERR_PERMANENT, data); break;
	case REPORT_CANCELLED: mock_task_settle(m, t, TASK_CANCELLED, ERR_CANCELLED, data); break;
	case REPORT_EXTEND: /* leases of a live session do not end here */
	case REPORT_NONE: break;
	}
	if (t->state == TASK_STARTED && t->heartbeat_ms)
		t->silent_at_ms = m->now_ms + t->heartbeat_ms;
	return code;
}

enum err mock_task_cancel(struct mock *m, struct mock_task *t, struct span reason)
{
	if (mock_final(t->state))
		return ERR_WRONG_STATE;
	if (!mock_leased(t->state)) {
		mock_task_settle(m, t, TASK_CANCELLED, ERR_CANCELLED, reason);
		return ERR_OK;
	}
	if (t->cancel_ms)
		return ERR_OK;
	t->cancel_ms = m->now_ms + MOCK_CANCEL_MS;
	mock_signal(m, t, SIGNAL_CANCEL, ERR_CANCELLED);
	mock_phase(m, t, PHASE_CANCELLING, ERR_OK);
	return ERR_OK;
}

void mock_task_again(struct mock *m, struct mock_task *t)
{
	t->failed = 0;
	t->code = 0;
	t->settled_ms = t->expires_ms = t->cancel_ms = 0;
	back_to_waiting(m, t, 0);
}

void mock_leases_lost(struct mock *m)
{
	for (uint64_t i = 0; i < m->task_count; i++) {
		struct mock_task *t = m->tasks[i];
		t->awaited = t->watched = false;
		if (mock_leased(t->state) && t->never)
			mock_task_settle(m, t, TASK_LOST, ERR_LOST, span_str("the connection of its worker was lost"));
		else if (t->state == TASK_LEASED)
			back_to_waiting(m, t, 0);
		else if (t->state == TASK_STARTED)
			mock_task_failed(m, t, ERR_INTERNAL, -1, span_str("the connection was lost"));
	}
}

/* ---- time and delivery ---- */

/* The lease ends because of the time. */
static void overrun(struct mock *m, struct mock_task *t, const char *why)
{
	mock_signal(m, t, SIGNAL_LEASE_LOST, ERR_TIMEOUT);
	mock_task_failed(m, t, ERR_TIMEOUT, -1, span_str(why));
}

static void task_tick(struct mock *m, struct mock_task *t)
{
	uint64_t now = m->now_ms;
	if (!mock_final(t->state) && t->close_at_ms && t->close_at_ms <= now) {
		if (mock_leased(t->state))
			mock_signal(m, t, SIGNAL_LEASE_LOST, ERR_EXPIRED);
		mock_task_settle(m, t, TASK_EXPIRED, ERR_EXPIRED, (struct span){ NULL, 0 });
	} else if (mock_leased(t->state) && t->cancel_ms && t->cancel_ms <= now) {
		mock_signal(m, t, SIGNAL_LEASE_LOST, ERR_CANCELLED);
		mock_task_settle(m, t, TASK_CANCELLED, ERR_CANCELLED, (struct span){ NULL, 0 });
	} else if (t->state == TASK_STARTED && t->overrun_ms && t->overrun_ms <= now) {
		overrun(m, t, "over its execution limit");
	} else if (t->state == TASK_STARTED && t->silent_at_ms && t->silent_at_ms <= now) {
		overrun(m, t, "no sign of life within its heartbeat");
	} else if ((t->state == TASK_READY || t->state == TASK_SCHEDULED) && t->expires_ms && t->expires_ms <= now) {
		mock_task_settle(m, t, TASK_EXPIRED, ERR_EXPIRED, (struct span){ NULL, 0 });
	} else if (t->state == TASK_SCHEDULED && t->ready_ms <= now) {
		mock_task_state(m, t, TASK_READY);
	}
}

/* The oldest one of an ordering key goes first, also while it waits for its next attempt. */
static bool in_line(const struct mock *m, const struct mock_task *t)
{
	for (uint64_t i = 0; *t->order_key && i + 1 < t->id; i++)
		if (m->tasks[i]->queue == t->queue && !mock_final(m->tasks[i]->state) &&
		    strcmp(m->tasks[i]->order_key, t->order_key) == 0)
			return true;
	return false;
}

static struct mock_task *next_ready(const struct mock *m, const struct mock_queue *q, const struct mock_entry *e)
{
	for (int priority = LIMIT_PRIORITY; q && !q->paused && priority >= 0; priority--)
		for (struct mock_task *t = q->ready[priority].first; t; t = t->next)
			if (mock_entry_fits(e, buf_span(&t->requirements)) && !in_line(m, t))
				return t;
	return NULL;
}

static void deliver(struct mock *m, struct mock_entry *e, struct mock_task *t)
{
	e->credit--;
	t->attempt++;
	t->entry = e->id;
	mock_task_state(m, t, TASK_LEASED);
	const struct deliver_item item = { t->id, t->attempt, (uint32_t)t->payload.len };
	const struct msg_deliver d = { .entry = e->id, .epoch = m->epoch, .lease_ms = 30000,
				       .head = buf_span(&t->head), .queue = span_str(t->queue->name),
				       .items = &item, .count = 1, .yields = &t->yield_count, .yield_count = t->yield_count > 0 };
	const struct span payload = buf_span(&t->payload);
	msg_encode_deliver(&m->output, &d, &payload, 1);
}

void mock_tick(struct mock *m)
{
	for (uint64_t i = 0; i < m->task_count; i++)
		task_tick(m, m->tasks[i]);
	for (uint32_t i = 0; m->welcomed && i < m->entry_count; i++) {
		struct mock_entry *e = &m->entries[i];
		struct mock_queue *q = mock_queue_find(m, span_str(e->name));
		for (struct mock_task *t; e->credit > 0 && (t = next_ready(m, q, e));)
			deliver(m, e, t);
	}
	mock_calls_tick(m);
}

void mock_tasks_free(struct mock *m)
{
	for (uint64_t i = 0; i < m->task_count; i++) {
		struct mock_task *t = m->tasks[i];
		buf_free(&t->head);
		buf_free(&t->payload);
		buf_free(&t->result);
		buf_free(&t->requirements);
		for (uint32_t y = 0; y < t->yield_count; y++)
			buf_free(&t->yields[y]);
		free(t->yields);
		free(t->yield_kinds);
		free(t->order_key);
		free(t->progress_text);
		free(t->type);
		free(t->key);
		free(t->reason);
		free(t);
	}
	free(m->tasks);
	for (struct mock_queue *q = m->queues, *next; q; q = next) {
		next = q->next;
		free(q->name);
		free(q);
	}
}
