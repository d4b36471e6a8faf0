/* broker/tasks_settle.c: the apply of REC_SETTLE: how a task leaves, waits for another try, or dies; and what is
 * remembered of it.
 *
 *   report, tick, admin -> log ... commit -> TASKS_SETTLE apply -> reported, settled hook, lanes
 *
 * Invariants
 *  1. A task gets one terminal state; an item for a task that is not open changes nothing and answers LATE_RESULT.
 *  2. The durable half of each function reads durable fields only; the view half is under `begun`.
 *  3. A result is pinned exactly while its task is final and in memory. */
#include "after.h"
#include "blob_index.h"
#include "life.h"

bool task_open(struct tasks *t, uint64_t task, uint32_t *class, struct hot **h)
{
	uint32_t index;
	const struct segment *s = segment_of(t, task, &index);
	*h = hot_find(t, task);
	if (!s || !segment_is_live(s, index) || (*h && (*h)->final != TASK_UNKNOWN))
		return false;
	*class = segment_class(s, index);
	return true;
}

void task_signal(const struct tasks *t, const struct hot *h, enum signal_kind kind, uint16_t code)
{
	task_signal_left(t, h, kind, code, 0);
}

void task_signal_left(const struct tasks *t, const struct hot *h, enum signal_kind kind, uint16_t code, uint64_t left_ms)
{
	if (!h->holder || !t->config.hooks.signal)
		return;
	struct signal_item item = { .ref = { h->task, h->acquired, h->epoch }, .signal = (uint8_t)kind, .code = code,
				    .left_ms = (uint32_t)MIN_OF(left_ms, UINT32_MAX) };
	t->config.hooks.signal(t->config.hooks.ctx, h->holder, &item);
}

static void recent_note(struct tasks *t, uint32_t class, uint32_t failed, uint64_t time_ms, const struct rec_settle_item *i)
{
	t->recent[i->task & t->recent_mask] = (struct recent){
		.task = i->task, .settled_ms = time_ms, .attempt = i->attempt, .epoch = i->epoch, .holder = i->holder,
		.app_code = i->app_code, .code = i->code, .queue = (uint16_t)class_queue(class), .state = i->state,
		.verb = i->verb, .failed = (uint8_t)MIN_OF(failed, 255), .priority = class_priority(class),
	};
}

static void count_outcome(struct tasks *t, struct queue *q, uint8_t state)
{
	switch ((enum task_state)state) {
	case TASK_DONE: q->done++; t->done_total++; return;
	case TASK_LOST:
	case TASK_FAILED: q->failed++; t->failed_total++; return;
	case TASK_DEAD: q->dead_total++; t->failed_total++; return;
	case TASK_EXPIRED: q->expired++; t->expired_total++; return;
	case TASK_CANCELLED: q->cancelled++; return;
	case TASK_UNKNOWN:
	case TASK_SCHEDULED:
	case TASK_READY:
	case TASK_LEASED:
	case TASK_STARTED:
	case TASK_STATES: break;
	}
	ensure_failed("a settled task has a terminal state", __FILE__, __LINE__);
}

/* An open task leaves its place in the view. A bare number was ready: its range skips it from now on. */
static void leave(struct tasks *t, struct hot *h, uint32_t class)
{
	if (!t->begun)
		return;
	if (h) {
		view_leave(t, h);
		return;
	}
	struct queue *q = queue_at(t, class_queue(class));
	ENSURE(q->ready > 0);
	q->ready--;
}

struct blob *task_blob(const struct tasks *t, uint32_t class, struct span payload)
{
	const struct queue *q = queue_at(t, class_queue(class));
	struct blob_ref ref;
	if (!q || payload.len != BLOB_REF_BYTES)
		return NULL;
	blob_ref_read(payload, &ref);
	struct blob *b = blobs_find(t->blobs, queue_vnet(q), ref.digest);
	return b && b->size == ref.size ? b : NULL;
}

void task_forget(struct tasks *t, struct hot *h)
{
	ENSURE(h->final != TASK_UNKNOWN);
	owner_let_go(t, h);
	if (h->result_addr)
		pin_drop(t, h->result_addr);
	blobs_drop_task(t->blobs, BLOB_OF_RESULT, h->task, t->time_ms);
	if (h->final == TASK_DEAD) {
		struct queue *q = queue_at(t, class_queue(h->class));
		ENSURE(q->alive > 0);
		q->alive--;
		if (t->begun)
			view_leave(t, h);
	} else {
		heap_set(t, &t->retained, h, NEVER);
	}
	uint64_t task = h->task;
	hot_free(t, h);
	task_drop_payload(t, task);
}

/* The object of a final task that is kept: for its result, for a retry by hand, or as a dead letter. */
static void retain(struct tasks *t, struct hot *h, const struct settlement *s, uint64_t retention_ms, uint64_t owner)
{
	if (s->item.verb == REPORT_FAIL || s->item.verb == REPORT_REJECT || s->item.state == TASK_LOST)
		history_add(t, h, s);
	h->final = s->item.state;
	h->settled_ms = s->time_ms;
	h->code = s->item.code;
	h->app_code = s->item.app_code;
	h->attempts = MAX_OF(h->attempts, s->item.attempt);
	h->result_size = s->item.size;
	h->result_addr = s->item.size ? s->result_addr : 0;
	h->ready_ms = h->expires_ms = 0;
	h->cancelling = h->cancel_noted = false;
	if (h->result_addr)
		pin_add(t, h->result_addr);
	h->owner = owner;
	owner_kept(t, h);
	if (s->kind == PAYLOAD_BLOB)
		blobs_hold_task(t->blobs, BLOB_OF_RESULT, h->task, task_blob(t, h->class, s->text));
	if (h->final == TASK_DEAD) {
		if (t->begun)
			view_enter(t, h, s->time_ms, false);
		return;
	}
	h->settling = false;
	h->state = h->final;
	h->retention_ms = retention_ms;
	heap_set(t, &t->retained, h, ms_after(s->time_ms, retention_ms));
	if (!s->keep_payload)
		task_drop_payload(t, h->task);
	if (t->retained.count > t->config.retained_max)
		task_forget(t, t->retained.items[0].hot);
}

/* The hash of its ordering key; 0 = none. Asked while its payload is still there. */
static uint64_t task_order(struct tasks *t, uint64_t task, uint32_t class)
{
	uint32_t index;
	struct segment *s = class_extra(class) ? segment_of(t, task, &index) : NULL;
	return s ? segment_extra(s, index)->order : 0;
}

void task_finish(struct tasks *t, uint64_t task, struct hot *h, uint32_t class, const struct settlement *s)
{
	struct queue *q = queue_at(t, class_queue(class));
	ENSURE(q && q->alive > 0);
	ENSURE(!h || h->final == TASK_UNKNOWN);
	uint8_t state = s->item.state;
	uint64_t order = task_order(t, task, class), owner = owner_of(t, task);
	bool counted = t->groups.count > 0 && h && h->counted; /* a plain task is not looked at further than need be */
	leave(t, h, class);
	if (t->waits.count > 0 && h && h->blocked)
		after_leave(t, h);
	count_outcome(t, q, state);
	owner_closed(t, owner, class_queue(class));
	if (state != TASK_DEAD)
		q->alive--;
	recent_note(t, class, h ? h->failed : 0, s->time_ms, &s->item);
	uint64_t retention_ms = h ? h->retention_ms : t->options[class_options(class)].retention_ms;
	if (s->keep_payload || (h && h->life && h->life->yields > 0))
		retention_ms = MAX_OF(retention_ms, RETENTION_DEFAULT_MS);
	if (state == TASK_DEAD || retention_ms > 0) {
		retain(t, h ? h : hot_new(t, task, class), s, retention_ms, owner);
	} else {
		if (h)
			hot_free(t, h);
		task_drop_payload(t, task);
	}
	if (order && t->begun)
		order_done(t, order, task);
	if (t->before.count > 0)
		after_settled(t, task, state);
	if (t->groups.count > 0)
		group_settled(t, task, state, counted);
	if (s->live && t->config.hooks.settled)
		t->config.hooks.settled(t->config.hooks.ctx, task);
}

/* Another try, at once or later. */
static void again(struct tasks *t, struct hot *h, uint32_t class, const struct settlement *s)
{
	leave(t, h, class);
	if (!h)
		h = hot_new(t, s->item.task, class);
	if (h->life)
		h->life->lease_attempt = 0;
	h->ready_ms = s->item.ready_ms;
	h->attempts = MAX_OF(h->attempts, s->item.attempt);
	h->acquired = MAX_OF(h->acquired, h->attempts);
	h->failed += s->item.verb == REPORT_FAIL;
	if (s->item.verb == REPORT_FAIL)
		history_add(t, h, s);
	h->code = s->item.code;
	h->app_code = s->item.app_code;
	h->result_size = s->item.size;
	h->result_addr = s->item.size ? s->result_addr : 0; /* not pinned: only the last words of the dead are kept for sure */
	recent_note(t, class, h->failed, s->time_ms, &s->item);
	if (t->begun)
		view_enter(t, h, s->time_ms, false);
	if (s->live && s->item.verb == REPORT_FAIL)
		phase_set(t, h, PHASE_RETRY, s->item.code);
}

static enum err apply_item(struct tasks *t, const struct settlement *s)
{
	uint32_t class;
	struct hot *h;
	if (!task_open(t, s->item.task, &class, &h))
		return ERR_LATE_RESULT;
	if (s->kind == PAYLOAD_BLOB && !task_blob(t, class, s->text)) { /* gone between the proposal and this: the lease stays */
		if (h)
			h->settling = false;
		return ERR_NOT_FOUND;
	}
	if (s->item.state == TASK_LEASED) { /* remember that it is to be cancelled */
		h = h ? h : hot_new(t, s->item.task, class);
		h->cancel_noted = h->cancelling = true;
		if (h->life && h->life->lease_attempt)
			h->life->cancel_ms = s->item.ready_ms;
		if (t->begun)
			view_timer(t, h);
		return ERR_OK;
	}
	if (t->begun && h && s->origin != APPLIED_REPORT)
		task_signal(t, h, SIGNAL_LEASE_LOST, s->item.code);
	if (s->item.state == TASK_READY || s->item.state == TASK_SCHEDULED) {
		again(t, h, class, s);
		return ERR_OK;
	}
	if (h && s->item.verb == REPORT_FAIL)
		h->failed++;
	else if (s->item.verb == REPORT_FAIL)
		(h = hot_new(t, s->item.task, class))->failed = 1;
	task_finish(t, s->item.task, h, class, s);
	return ERR_OK;
}

void reported_reserve(struct tasks *t, uint32_t count)
{
	if (count <= t->reported_cap)
		return;
	size_t size = sizeof *t->reported;
	t->reported = mem_resize(t, t->reported, t->reported_cap * size, count * size);
	t->reported_cap = count;
}

void apply_settle(struct tasks *t, const struct log_entry *entry, const struct log_record *record, bool live,
		  struct applied *out)
{
	struct settle_view v;
	enum err e = rec_settle_read(record->body, &v);
	ENSURE(e == ERR_OK);
	struct settlement s = { .time_ms = entry->time_ms, .result_addr = record->addr, .live = live,
				.origin = v.fixed.origin };
	out->origin = s.origin;
	if (s.origin == APPLIED_REPORT)
		reported_reserve(t, v.fixed.count);
	size_t at = 0;
	s.worker = v.worker;
	for (uint32_t i = 0; i < v.fixed.count; i++) {
		s.item = v.items[i];
		s.kind = v.kinds ? v.kinds[i] : PAYLOAD_INLINE;
		s.text = s.item.size ? span_sub(v.results, at, s.item.size) : (struct span){ NULL, 0 };
		at += s.item.size;
		s.keep_payload = s.item.state == TASK_FAILED || s.item.state == TASK_CANCELLED;
		enum err code = apply_item(t, &s);
		out->affected += code == ERR_OK;
		if (s.origin == APPLIED_REPORT)
			t->reported[i] = (struct reported_item){
				{ s.item.task, s.item.attempt, s.item.epoch }, (uint16_t)code, s.item.verb, s.item.state, 0 };
	}
	if (s.origin == APPLIED_REPORT) {
		out->reported = t->reported;
		out->reported_count = v.fixed.count;
	}
}
