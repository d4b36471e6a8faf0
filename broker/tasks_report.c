/* broker/tasks_report.c: holders, and what a worker says about the tasks it holds.
 *
 *   session -> TASKS_REPORT -> (start, extend, release: at once) or REC_SETTLE -> log
 *
 * Invariants
 *  1. Only the holder of the current (task, attempt, epoch) changes anything; everybody else gets a reason.
 *  2. From the append of its REC_SETTLE to the apply a task is `settling`: nobody else can settle or hand it out.
 *  3. If the log has no room, no item of the report that needs the log has changed anything. */
#include "life.h"

#include "blob_index.h"

struct holder *tasks_holder_new(struct tasks *t, void *ctx)
{
	struct holder *holder = mem_resize(t, NULL, 0, sizeof *holder);
	*holder = (struct holder){ .tasks = t, .ctx = ctx, .number = ++t->holder_numbers };
	t->holders++;
	return holder;
}

void tasks_holder_known(struct holder *holder, uint64_t key, struct span name)
{
	holder->key = key;
	(void)snprintf(holder->name, sizeof holder->name, "%.*s", (int)MIN_OF(name.len, sizeof holder->name - 1),
		       name.data ? (const char *)name.data : "");
}

uint32_t tasks_holder_list(const struct holder *holder, uint64_t *tasks, uint32_t max)
{
	uint32_t count = 0;
	for (const struct hot *h = holder->held.first; h && count < max; h = h->next)
		tasks[count++] = h->task;
	return count;
}

void *tasks_holder_ctx(const struct holder *holder)
{
	return holder->ctx;
}

uint32_t tasks_holder_leases(const struct holder *holder)
{
	return holder->leases;
}

static uint64_t random_next(struct tasks *t)
{
	uint64_t x = t->random += 0x9e3779b97f4a7c15u;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

/* backoff_min doubled for every failure so far, up to backoff_max, the upper half of it random. */
static uint64_t backoff(struct tasks *t, const struct queue *q, uint32_t failed)
{
	uint64_t wait = (uint64_t)q->settings.backoff_min_ms, max = (uint64_t)q->settings.backoff_max_ms;
	for (uint32_t i = 1; i < failed && wait < max; i++)
		wait *= 2;
	wait = MIN_OF(wait, max);
	return wait - random_next(t) % (wait / 2 + 1);
}

void outcome_of_failure(struct tasks *t, const struct hot *h, uint16_t class_code, uint64_t delay_ms, uint64_t now_ms,
			struct rec_settle_item *item)
{
	const struct queue *q = queue_at(t, class_queue(h->class));
	item->verb = REPORT_FAIL;
	item->code = class_code;
	if (class_code == ERR_INVALID_INPUT || class_code == ERR_INTEGRITY_MISMATCH) {
		item->state = TASK_FAILED;
		return;
	}
	bool never = h->life && h->life->never; /* a failed attempt is an attempt */
	bool retry = class_code == ERR_TRANSIENT || class_code == ERR_TIMEOUT || class_code == ERR_RESOURCE_EXHAUSTED ||
		     class_code == ERR_INTERNAL;
	uint64_t max = h->max_attempts ? h->max_attempts : (uint64_t)q->settings.max_attempts;
	if (!retry || never || (max > 0 && h->failed + 1 >= max)) {
		item->state = TASK_DEAD;
		return;
	}
	if (h->cancelling) {
		item->state = TASK_CANCELLED;
		return;
	}
	uint64_t wait = delay_ms != NEVER ? delay_ms : backoff(t, q, h->failed + 1);
	item->state = wait ? TASK_SCHEDULED : TASK_READY;
	item->ready_ms = wait ? now_ms + wait : 0;
}

bool settle_propose(struct log *log, enum applied_origin origin, const struct rec_settle_item *items, uint32_t count,
		    const char *worker)
{
	return settle_propose_texts(log, origin, items, count, (struct span){ NULL, 0 }, worker);
}

bool settle_propose_texts(struct log *log, enum applied_origin origin, const struct rec_settle_item *items, uint32_t count,
			  struct span texts, const char *worker)
{
	uint16_t worker_size = (uint16_t)strlen(worker);
	struct rec_settle head = { .version = worker_size ? REC_SETTLE_WORKER : REC_VERSION, .origin = (uint8_t)origin,
				   .worker_size = worker_size, .count = count };
	uint64_t addr;
	uint8_t *body = log_append(log, REC_SETTLE, sizeof head + count * sizeof *items + texts.len + worker_size, &addr);
	if (!body)
		return false;
	memcpy(body, &head, sizeof head);
	memcpy(body + sizeof head, items, count * sizeof *items);
	uint8_t *rest = body + sizeof head + count * sizeof *items;
	if (texts.len > 0)
		memcpy(rest, texts.data, texts.len);
	if (worker_size > 0)
		memcpy(rest + texts.len, worker, worker_size);
	return true;
}

/* ---- one item ---- */

static bool is_outcome_class(uint16_t code)
{
	switch (code) {
	case ERR_TRANSIENT: case ERR_PERMANENT: case ERR_INVALID_INPUT: case ERR_INTEGRITY_MISMATCH: case ERR_TIMEOUT:
	case ERR_RESOURCE_EXHAUSTED: case ERR_DEPENDENCY: case ERR_SECURITY: case ERR_INTERNAL: return true;
	default: return false;
	}
}

/* Why this holder may not speak for this lease; ERR_OK and a state where it has said so before. */
static enum err foreign_reason(struct tasks *t, const struct holder *holder, const struct report_item *i,
			       const struct hot *h, uint8_t *state)
{
	const struct recent *r = &t->recent[i->ref.task & t->recent_mask];
	bool same = r->task == i->ref.task && r->attempt == i->ref.attempt && r->epoch == i->ref.epoch && r->verb == i->verb;
	/* Numbers of holders mean nothing across a restart; the token alone has to do. */
	if (same && i->ref.attempt > 0 && (r->epoch != t->config.epoch || r->holder == holder->number)) {
		*state = r->state;
		return ERR_OK;
	}
	*state = TASK_UNKNOWN;
	if (i->ref.task == 0 || i->ref.task >= t->next_task)
		return ERR_NOT_FOUND;
	uint32_t class;
	struct hot *open;
	if (!task_open(t, i->ref.task, &class, &open))
		return ERR_LATE_RESULT;
	*state = h ? h->state : TASK_READY;
	bool same_lease = h && h->holder == holder && h->acquired == i->ref.attempt && i->ref.epoch == h->epoch;
	return same_lease ? ERR_LATE_RESULT : ERR_STALE_LEASE; /* its own lease, then: settling */
}

enum decision { REFUSED, AT_ONCE, ANSWERED, SETTLES, YIELDS };

static void report_start(struct tasks *t, struct hot *h, uint64_t now_ms)
{
	if (h->state == TASK_STARTED)
		return;
	h->state = TASK_STARTED;
	phase_set(t, h, PHASE_STARTED, ERR_OK);
	beat(t, h, now_ms);
	if (h->execution_ms)
		h->overrun_ms = ms_after(now_ms, h->execution_ms);
	if (h->execution_ms || h->heap_index) /* it waits no more: what ended its waiting is no deadline now */
		view_timer(t, h);
}

/* What a report of the rightful holder leads to. */
static enum decision decide(struct tasks *t, struct hot *h, const struct report_item *i, uint64_t now_ms,
			    struct span data, struct rec_settle_item *item, enum err *code)
{
	if (i->verb == REPORT_START) {
		report_start(t, h, now_ms);
		return AT_ONCE;
	}
	uint64_t delay = i->flags & REPORT_FLAG_DELAY ? i->delay_ms : NEVER;
	*item = item_of(t, h, TASK_UNKNOWN, ERR_OK);
	item->verb = i->verb;
	item->app_code = i->app_code;
	item->size = i->size;
	switch ((enum report_verb)i->verb) {
	case REPORT_EXTEND:
		if (delay == NEVER)
			return AT_ONCE;
		if (h->overrun_ms)
			h->overrun_ms = ms_after(now_ms, delay);
		if (h->life && h->life->silence_ms)
			h->life->silent_ms = ms_after(now_ms, delay);
		if (h->overrun_ms || (h->life && h->life->silence_ms)) {
			h->warned = false;
			view_timer(t, h);
		}
		return AT_ONCE;
	case REPORT_COMPLETE:
		if (delay != NEVER && i->delay_ms != (h->life ? h->life->yields_next : 0)) {
			*code = ERR_AGAIN; /* yields that come before it are still on their way */
			return REFUSED;
		}
		item->state = TASK_DONE;
		return SETTLES;
	case REPORT_FAIL:
		if (!is_outcome_class(i->class_code)) {
			*code = ERR_INVALID_INPUT;
			return REFUSED;
		}
		outcome_of_failure(t, h, i->class_code, delay, now_ms, item);
		return SETTLES;
	case REPORT_REJECT:
		item->state = TASK_DEAD;
		item->code = is_outcome_class(i->class_code) ? i->class_code : ERR_PERMANENT;
		return SETTLES;
	case REPORT_RELEASE:
		if (h->life && h->life->never && !h->cancelling && delay == NEVER) { /* the log knows of the lease */
			item->state = TASK_READY;
			return SETTLES;
		}
		if (h->cancelling || delay != NEVER) {
			item->state = h->cancelling ? TASK_CANCELLED : TASK_SCHEDULED;
			item->code = h->cancelling ? ERR_CANCELLED : ERR_OK;
			item->ready_ms = h->cancelling ? 0 : now_ms + delay;
			return SETTLES;
		}
		view_leave(t, h);
		view_enter(t, h, now_ms, true);
		return ANSWERED;
	case REPORT_CANCELLED:
		if (!h->cancelling) {
			*code = ERR_WRONG_STATE;
			return REFUSED;
		}
		item->state = TASK_CANCELLED;
		item->code = ERR_CANCELLED;
		return SETTLES;
	case REPORT_PROGRESS:
	case REPORT_LOG: progress_take(t, h, i, data); return AT_ONCE;
	case REPORT_PAUSED: phase_set(t, h, PHASE_PAUSED, ERR_OK); return AT_ONCE;
	case REPORT_RESUMED: phase_set(t, h, PHASE_NONE, ERR_OK); return AT_ONCE;
	case REPORT_YIELD: return YIELDS;
	case REPORT_START:
	case REPORT_NONE: break;
	}
	*code = ERR_INVALID_INPUT;
	return REFUSED;
}

/* ---- the report ---- */

struct report_source { uint64_t offset; struct hot *hot; const struct report_item *item; };

static void refuse_item(struct reported_item *out, uint32_t *count, const struct report_item *i, enum err code, uint8_t state)
{
	uint32_t number = i->verb == REPORT_YIELD ? i->app_code : 0;
	out[(*count)++] = (struct reported_item){ i->ref, (uint16_t)code, i->verb, state, number };
}

/* Does what its result or yield names exist? */
static bool report_blob(const struct tasks *t, const struct hot *h, struct span data)
{
	struct blob *b;
	char text[256];
	return blobs_named(t->blobs, queue_vnet(queue_at(t, class_queue(h->class))), data, &b, text) == ERR_OK;
}

/* First pass: what can be said without the log. Items for the log go to the scratch buffers. */
static uint64_t report_sort(struct tasks *t, struct holder *holder, const struct msg_report *m, struct span payload,
			    uint64_t now_ms, struct reported_item *refused, uint32_t *refused_count)
{
	uint64_t offset = 0, bytes = 0;
	struct rec_settle_item *item = (void *)buf_extend(&t->scratch_items, m->count * sizeof *item);
	struct report_source *source = (void *)buf_extend(&t->scratch_sources, m->count * sizeof *source);
	for (uint32_t k = 0; k < m->count; offset += m->items[k].size, k++) {
		const struct report_item *i = &m->items[k];
		struct hot *h = hot_find(t, i->ref.task);
		enum err code = ERR_OK;
		uint8_t state = TASK_UNKNOWN;
		if (!h || h->holder != holder || h->settling || h->final != TASK_UNKNOWN ||
		    h->acquired != i->ref.attempt || i->ref.epoch != h->epoch) {
			code = foreign_reason(t, holder, i, h, &state);
			t->stale_total += code != ERR_OK;
			refuse_item(refused, refused_count, i, code, state);
			continue;
		}
		beat(t, h, now_ms);
		struct span data = i->size ? span_sub(payload, offset, i->size) : (struct span){ NULL, 0 };
		bool missing = i->flags & REPORT_FLAG_BLOB && !report_blob(t, h, data);
		if (missing)
			code = ERR_NOT_FOUND;
		enum decision d = missing ? REFUSED : decide(t, h, i, now_ms, data, item, &code);
		bool wait = false;
		if (d == YIELDS)
			code = yield_take(t, h, i, offset, &wait);
		if (d == YIELDS && !wait)
			d = ANSWERED;
		if (d == REFUSED || d == ANSWERED)
			refuse_item(refused, refused_count, i, code, h->state);
		if (d != SETTLES)
			continue;
		h->settling = true;
		*source++ = (struct report_source){ offset, h, i };
		item++;
		bytes += i->size;
	}
	t->scratch_items.len = (size_t)((uint8_t *)item - t->scratch_items.data);
	t->scratch_sources.len = (size_t)((uint8_t *)source - t->scratch_sources.data);
	return bytes;
}

/* The items in the scratch buffers go into one REC_SETTLE. False: no room in the log (or `full`: in front of it), nothing is settled. */
static bool report_append(struct tasks *t, struct log *log, const char *worker, struct span payload, uint64_t bytes, bool full,
			  struct reported_item *refused, uint32_t *refused_count)
{
	uint32_t count = (uint32_t)(t->scratch_items.len / sizeof(struct rec_settle_item));
	const struct report_source *sources = (const void *)t->scratch_sources.data;
	bool failed = false, kinds = false;
	for (uint32_t k = 0; k < count; k++) {
		failed = failed || sources[k].item->verb == REPORT_FAIL || sources[k].item->verb == REPORT_REJECT;
		kinds = kinds || report_payload_kind(sources[k].item->flags) != PAYLOAD_INLINE;
	}
	size_t kinds_size = kinds ? align_up(count, 8) : 0;
	uint16_t worker_size = failed ? (uint16_t)strlen(worker) : 0; /* only the history asks for it */
	struct rec_settle head = { .version = kinds ? REC_SETTLE_KINDS : failed ? REC_SETTLE_WORKER : REC_VERSION,
				   .origin = APPLIED_REPORT, .worker_size = worker_size, .count = count };
	uint64_t addr;
	size_t size = sizeof head + t->scratch_items.len + kinds_size + bytes + worker_size;
	uint8_t *body = full ? NULL : log_append(log, REC_SETTLE, size, &addr);
	if (!body) {
		for (uint32_t k = 0; k < count; k++) {
			sources[k].hot->settling = false;
			refuse_item(refused, refused_count, sources[k].item, ERR_RESOURCE_EXHAUSTED, sources[k].hot->state);
		}
		return false;
	}
	memcpy(body, &head, sizeof head);
	memcpy(body + sizeof head, t->scratch_items.data, t->scratch_items.len);
	uint8_t *kind = body + sizeof head + t->scratch_items.len, *result = kind + kinds_size;
	memset(kind, 0, kinds_size);
	for (uint32_t k = 0; k < count; k++) {
		if (kinds)
			kind[k] = report_payload_kind(sources[k].item->flags);
		struct span s = span_sub(payload, sources[k].offset, sources[k].item->size);
		if (s.len > 0)
			memcpy(result, s.data, s.len);
		result += s.len;
		if (sources[k].hot->heap_index)
			view_timer(t, sources[k].hot);
	}
	if (worker_size > 0)
		memcpy(result, worker, worker_size);
	return true;
}

uint32_t tasks_propose_report(struct tasks *t, struct log *log, struct holder *holder, const struct msg_report *m,
			      struct span payload, uint64_t now_ms, struct reported_item *refused, uint32_t *refused_count)
{
	ENSURE(t->begun && holder->tasks == t);
	*refused_count = 0;
	t->peeked.count = 0;
	t->scratch_items.len = t->scratch_sources.len = t->scratch_yields.len = 0;
	uint64_t bytes = report_sort(t, holder, m, payload, now_ms, refused, refused_count);
	uint32_t records = 0;
	bool full = false;
	if (t->scratch_yields.len > 0) { /* in front of the settlements: a result comes after the last yield */
		full = !yields_append(t, log, payload);
		records += !full;
		if (full)
			yields_refuse(t, refused, refused_count);
	}
	if (t->scratch_items.len > 0)
		records += report_append(t, log, holder->name, payload, bytes, full, refused, refused_count);
	return records;
}

/* ---- a holder that is gone ---- */

void orphans_propose(struct tasks *t, struct log *log, const char *worker, uint64_t now_ms)
{
	t->scratch_items.len = 0;
	uint32_t count = 0;
	for (const struct hot *h = t->orphans.first; h && count < TICK_ITEMS_MAX; h = h->next, count++) {
		struct rec_settle_item item = item_of(t, h, TASK_CANCELLED, ERR_CANCELLED);
		const struct life *l = h->life;
		if (!h->cancelling && l && l->never) {
			item.state = l->left ? TASK_LOST : TASK_READY; /* it never left: nobody can have begun */
			item.code = l->left ? ERR_LOST : ERR_OK;
		} else if (!h->cancelling)
			outcome_of_failure(t, h, ERR_INTERNAL, NEVER, now_ms, &item);
		buf_append(&t->scratch_items, &item, sizeof item);
	}
	if (count == 0)
		return;
	if (!settle_propose(log, APPLIED_INTERNAL, (const void *)t->scratch_items.data, count, worker)) {
		t->retry_ms = now_ms + 10;
		return;
	}
	for (; count > 0; count--) {
		struct hot *h = t->orphans.first;
		view_take(t, h);
		h->settling = true;
	}
}

/* Takes a lease from its holder without being asked. */
static void holder_drop(struct tasks *t, struct hot *h, uint64_t now_ms)
{
	if (h->settling) {
		view_take(t, h);
	} else if (h->state == TASK_STARTED || h->cancelling || (h->life && h->life->never)) {
		view_take(t, h);
		h->place = PLACE_ORPHAN;
		hot_push_front(&t->orphans, h);
		view_timer(t, h);
	} else {
		view_leave(t, h);
		view_enter(t, h, now_ms, true);
	}
}

void tasks_holder_lost(struct tasks *t, struct log *log, struct holder *holder, uint64_t now_ms)
{
	ENSURE(holder->tasks == t);
	t->peeked.count = 0;
	char name[sizeof holder->name];
	memcpy(name, t->orphans.first ? "" : holder->name, t->orphans.first ? 1 : sizeof name); /* older ones are not its own */
	while (holder->held.last) /* from the back, so that the front of the lane is in the old order */
		holder_drop(t, holder->held.last, now_ms);
	ENSURE(holder->leases == 0);
	(void)mem_resize(t, holder, sizeof *holder, 0);
	t->holders--;
	orphans_propose(t, log, name, now_ms);
}

void tasks_holder_keep(struct tasks *t, struct log *log, struct holder *holder, const struct task_ref *held, uint32_t count,
		       uint64_t now_ms)
{
	ENSURE(holder->tasks == t);
	struct map64 attempts = { NULL, 0, 0 };
	t->peeked.count = 0;
	for (uint32_t i = 0; i < count; i++)
		if (held[i].task != 0 && !map64_find(&attempts, held[i].task))
			map64_add(&attempts, held[i].task, (uint64_t)held[i].epoch << 32 | held[i].attempt, &t->memory);
	for (struct hot *h = holder->held.last, *before; h; h = before) {
		before = h->prev;
		const struct map64_slot *slot = map64_find(&attempts, h->task);
		if (!h->settling && (!slot || slot->value != ((uint64_t)h->epoch << 32 | h->acquired)))
			holder_drop(t, h, now_ms);
		else if (!h->settling)
			beat(t, h, now_ms);
	}
	map64_free(&attempts, &t->memory);
	orphans_propose(t, log, holder->name, now_ms);
}
