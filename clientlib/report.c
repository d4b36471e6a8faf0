/* clientlib/report.c: what workers say about their tasks. In the flow: hlk_complete -> REPORT -> link.out, and
 * REPORTED -> REPORT -> hlk_on_settled.
 *
 * 1. Reports leave in the order in which they were made, many in one frame. A frame with settling verbs or yields is kept until each of
 *    them is acknowledged or refused, and is sent again, as it is, after every reconnect.
 * 2. The lease of a report that is kept may be gone when it arrives; the broker's answer decides.
 * 3. A full broker (a retryable refusal) refuses nothing for good: the frame is sent again a little later. */
#include "blob_impl.h"

/* These are answered, and kept until they are: settling verbs and yields. */
static bool is_kept(uint8_t verb)
{
	return verb != REPORT_START && verb != REPORT_EXTEND && verb != REPORT_PROGRESS && verb != REPORT_LOG &&
	       verb != REPORT_PAUSED && verb != REPORT_RESUMED;
}

static uint32_t number_of(const struct report_item *item)
{
	return item->verb == REPORT_YIELD ? item->app_code : 0;
}

static bool same_ref(const struct task_ref *a, const struct task_ref *b)
{
	return a->task == b->task && a->attempt == b->attempt && a->epoch == b->epoch;
}

/* ---- making reports ---- */

static struct report_frame *keep_frame(struct worker *w)
{
	struct report_frame *f = calloc(1, sizeof *f + w->item_kept * sizeof f->keys[0]);
	ENSURE(f != NULL);
	for (uint32_t i = 0; i < w->item_count; i++)
		if (is_kept(w->items[i].verb))
			f->keys[f->count++] = (struct report_key){ .ref = w->items[i].ref, .verb = w->items[i].verb,
								     .blob = w->items[i].flags & REPORT_FLAG_BLOB,
								     .number = number_of(&w->items[i]) };
	f->undone = f->count;
	w->undone += f->count;
	*(w->last ? &w->last->next : &w->first) = f;
	w->last = f;
	return f;
}

void report_flush(struct hlk *c)
{
	struct worker *w = &c->worker;
	if (w->item_count == 0)
		return;
	const struct msg_report m = { .items = w->items, .count = w->item_count };
	const struct span payload = buf_span(&w->payload);
	struct buf bytes = { 0 };
	msg_encode_report(&bytes, &m, &payload, 1);
	uint32_t correlation = client_correlation(c);
	frame_set_correlation(&bytes, 0, correlation);
	struct report_frame *f = w->item_kept ? keep_frame(w) : NULL;
	w->item_count = w->item_kept = 0;
	w->payload.len = 0;
	if (net_ready(c)) {
		producer_children(c);
		net_queue(c, buf_span(&bytes));
	}
	if (!f) {
		buf_free(&bytes); /* starts that find no connection are said again by worker_up */
		return;
	}
	f->bytes = bytes;
	f->correlation = correlation;
	w->kept_bytes += bytes.len;
}

/* Inlined, so that an item is built where it stays. */
static inline __attribute__((always_inline)) void put(struct hlk *c, const struct task_ref *ref, const struct report_item *item,
							 struct span data)
{
	struct worker *w = &c->worker;
	if (!w->items) {
		w->items = calloc(BATCH_TASKS, sizeof *w->items);
		ENSURE(w->items != NULL);
	}
	size_t batch_max = MIN_OF((size_t)BATCH_BYTES, (size_t)c->session.frame_payload_max);
	if (w->item_count == BATCH_TASKS || (w->item_count > 0 && w->payload.len + data.len > batch_max))
		report_flush(c);
	if (w->item_count == 0)
		client_touch(c);
	struct report_item *to = &w->items[w->item_count++];
	*to = *item;
	to->ref = *ref;
	to->size = (uint32_t)data.len;
	buf_append(&w->payload, data.data, data.len);
	w->item_kept += is_kept(item->verb);
}

void report_put(struct hlk *c, const struct task_ref *ref, const struct report_item *item, struct span data)
{
	put(c, ref, item, data);
}

static struct task_ref ref_of(const struct hlk_task *task)
{
	return (struct task_ref){ task->info.id, task->info.attempt, task->epoch };
}

static inline __attribute__((always_inline)) void add(struct hlk_task *task, const struct report_item *item, struct span data)
{
	const struct task_ref ref = ref_of(task);
	if (task->client->worker.spills && report_waits(&task->client->worker, &ref))
		report_behind(task->client, &ref, NULL, item, data);
	else
		put(task->client, &ref, item, data);
}

void report_add(struct hlk_task *task, const struct report_item *item, struct span data)
{
	add(task, item, data);
}

void report_up(struct hlk *c)
{
	if (c->worker.first)
		producer_children(c);
	for (struct report_frame *f = c->worker.first; f; f = f->next) {
		f->again_ms = 0;
		f->resent = true;
		net_queue(c, buf_span(&f->bytes));
	}
	c->worker.again_ms = 0;
}

void report_drop(struct hlk *c, uint64_t task, uint32_t attempt)
{
	struct worker *w = &c->worker;
	if (w->dropped_count == w->dropped_cap) {
		w->dropped_cap = w->dropped_cap ? w->dropped_cap * 2 : 16;
		struct dropped *dropped = realloc(w->dropped, w->dropped_cap * sizeof *dropped);
		ENSURE(dropped != NULL);
		w->dropped = dropped;
	}
	w->dropped[w->dropped_count++] = (struct dropped){ task, attempt };
	client_touch(c);
}

/* ---- the verbs ---- */

static void settle_later(struct hlk_task *task, const struct report_item *item, struct span data)
{
	const struct task_ref ref = ref_of(task);
	task->entry->held++;
	report_behind(task->client, &ref, task->entry, item, data);
}

static inline __attribute__((always_inline)) int settle(struct hlk_task *task, const struct report_item *item, struct span data)
{
	struct hlk *c = task->client;
	ENSURE(c != NULL); /* settled twice */
	if (task->lost)
		report_drop(c, task->info.id, task->info.attempt);
	else if (report_parts_wait(c))
		settle_later(task, item, data);
	else
		add(task, item, data);
	task_free(task);
	return HLK_OK;
}

int hlk_start(struct hlk_task *task)
{
	const struct report_item item = { .verb = REPORT_START };
	if (task->started || task->lost)
		return HLK_OK;
	task->started = true;
	add(task, &item, (struct span){ NULL, 0 });
	return HLK_OK;
}

int hlk_extend(struct hlk_task *task, uint32_t lease_ms)
{
	const struct report_item item = { .verb = REPORT_EXTEND, .flags = REPORT_FLAG_DELAY, .delay_ms = lease_ms };
	if (task->lost)
		return error_set(task->client, HLK_STALE_LEASE, "extend: the lease of task %llu is lost",
				 (unsigned long long)task->info.id);
	report_add(task, &item, (struct span){ NULL, 0 });
	return HLK_OK;
}

static int lost(const struct hlk_task *task, const char *what)
{
	return error_set(task->client, HLK_STALE_LEASE, "%s: the lease of task %llu is lost", what,
			 (unsigned long long)task->info.id);
}

static int say_text(struct hlk_task *task, struct report_item item, const char *text, const char *what)
{
	struct span s = span_str(text ? text : "");
	s.len = MIN_OF(s.len, (size_t)LIMIT_TEXT_BYTES);
	if (task->lost)
		return lost(task, what);
	report_add(task, &item, s);
	return HLK_OK;
}

int hlk_progress(struct hlk_task *task, double done, const char *text)
{
	if (!(done >= 0 && done <= 1))
		return error_set(task->client, HLK_INVALID_INPUT, "progress: %g is not in 0..1", done);
	const struct report_item item = { .verb = REPORT_PROGRESS, .app_code = (uint32_t)(done * 1e6 + 0.5) };
	return say_text(task, item, text, "progress");
}

int hlk_log(struct hlk_task *task, int level, const char *text)
{
	if (level < 0 || level >= LOG_LEVELS)
		return error_set(task->client, HLK_INVALID_INPUT, "log: level %d is not in 0..%d", level, LOG_LEVELS - 1);
	return say_text(task, (struct report_item){ .verb = REPORT_LOG, .class_code = (uint16_t)level }, text, "log");
}

int hlk_paused(struct hlk_task *task)
{
	return say_text(task, (struct report_item){ .verb = REPORT_PAUSED }, NULL, "paused");
}

int hlk_resumed(struct hlk_task *task)
{
	return say_text(task, (struct report_item){ .verb = REPORT_RESUMED }, NULL, "resumed");
}

int hlk_yield_on(struct hlk_task *task)
{
	if (task->next_yield != 0)
		return error_set(task->client, HLK_WRONG_STATE, "yield: %u were made already", task->next_yield);
	task->next_yield = task->info.yielded;
	return HLK_OK;
}

static int yield(struct hlk_task *task, uint8_t flags, struct span data)
{
	struct hlk *c = task->client;
	const struct worker *w = &c->worker;
	bool up = !flags && spill_needed(c, data.len, task->entry->above);
	if (task->lost)
		return lost(task, "yield");
	if (!up && data.len > c->session.payload_max)
		return error_set(c, HLK_TOO_BIG, "yield: an item of %zu bytes is over the limit of %u", data.len,
				 c->session.payload_max);
	if (task->next_yield >= LIMIT_YIELDS) /* refused for good there, and the result would wait for it for ever */
		return error_set(c, HLK_TOO_BIG, "yield: task %llu has made %d, the limit", (unsigned long long)task->info.id,
				 LIMIT_YIELDS);
	if (w->undone + w->item_kept >= YIELDS_UNDONE_MAX || w->kept_bytes + w->payload.len + w->spilled_bytes > YIELD_BYTES_MAX)
		return HLK_AGAIN;
	if (task->next_yield < task->info.yielded) {
		task->next_yield++;
		return HLK_OK; /* an earlier attempt has done it */
	}
	const struct report_item item = { .verb = REPORT_YIELD, .flags = flags, .app_code = task->next_yield++ };
	const struct task_ref ref = ref_of(task);
	if (up)
		report_spill(c, &ref, NULL, &item, data);
	else
		report_add(task, &item, data);
	return HLK_OK;
}

int hlk_yield(struct hlk_task *task, const void *data, size_t size)
{
	return yield(task, 0, span_of(data, size));
}

/* Settles by an upload: the task is over for its handler, and counts as held until the report is made. */
static int complete_spilled(struct hlk_task *task, const struct report_item *item, struct span data)
{
	const struct task_ref ref = ref_of(task);
	task->entry->held++;
	report_spill(task->client, &ref, task->entry, item, data);
	task_free(task);
	return HLK_OK;
}

static inline __attribute__((always_inline)) int complete(struct hlk_task *task, uint8_t flags, struct span data)
{
	struct hlk *c = task->client;
	ENSURE(c != NULL); /* settled twice */
	uint32_t yields = MAX_OF(task->next_yield, task->info.yielded);
	const struct report_item item = { .verb = REPORT_COMPLETE, .flags = (uint8_t)(flags | (yields ? REPORT_FLAG_DELAY : 0)),
					  .delay_ms = yields };
	if (!flags && !task->lost && spill_needed(c, data.len, task->entry->above))
		return complete_spilled(task, &item, data);
	if (data.len > c->session.payload_max && !task->lost)
		return error_set(c, HLK_TOO_BIG, "complete: a result of %zu bytes is over the limit of %u", data.len,
				 c->session.payload_max);
	return settle(task, &item, data);
}

int hlk_complete(struct hlk_task *task, const void *result, size_t size)
{
	return complete(task, 0, span_of(result, size));
}

typedef int say_fn(struct hlk_task *task, uint8_t flags, struct span data);

static int with_kind(struct hlk_task *task, const struct hlk_payload *p, say_fn *say, const char *what)
{
	struct buf bytes = { 0 };
	uint8_t flags = p->kind == HLK_BLOB ? REPORT_FLAG_BLOB : p->kind == HLK_REFERENCE ? REPORT_FLAG_REFERENCE : 0;
	struct hlk *c = task->client;
	ENSURE(c != NULL); /* settled twice */
	if (!flags)
		return say(task, 0, span_of(p->data, (size_t)p->size));
	int code = spill_encode(c, p, what, &bytes) ? say(task, flags, buf_span(&bytes)) : c->error.code;
	buf_free(&bytes);
	return code;
}

static int complete_plain(struct hlk_task *task, uint8_t flags, struct span data)
{
	return complete(task, flags, data);
}

int hlk_complete_payload(struct hlk_task *task, const struct hlk_payload *payload)
{
	return with_kind(task, payload, complete_plain, "complete");
}

int hlk_yield_payload(struct hlk_task *task, const struct hlk_payload *payload)
{
	return with_kind(task, payload, yield, "yield");
}

static bool is_class(int code)
{
	return (code >= HLK_TRANSIENT && code <= HLK_INTERNAL) || code == HLK_TIMEOUT || code == HLK_RESOURCE_EXHAUSTED ||
	       code == HLK_INVALID_INPUT || code == HLK_INTEGRITY_MISMATCH;
}

static struct span short_text(const char *text)
{
	struct span s = span_str(text);
	s.len = MIN_OF(s.len, (size_t)LIMIT_TEXT_BYTES);
	return s;
}

static uint32_t bounded_ms(int64_t ms)
{
	return (uint32_t)MIN_OF(MAX_OF(ms, 0), (int64_t)UINT32_MAX);
}

int hlk_fail(struct hlk_task *task, int class_code, uint32_t app_code, const char *text, int64_t retry_after_ms)
{
	const struct report_item item = { .verb = REPORT_FAIL, .class_code = (uint16_t)class_code, .app_code = app_code,
					  .flags = retry_after_ms < 0 ? 0 : REPORT_FLAG_DELAY,
					  .delay_ms = bounded_ms(retry_after_ms) };
	if (!is_class(class_code))
		return error_set(task->client, HLK_INVALID_INPUT, "fail: %d is not a class", class_code);
	return settle(task, &item, short_text(text));
}

int hlk_release(struct hlk_task *task, int64_t delay_ms)
{
	const struct report_item item = { .verb = REPORT_RELEASE, .flags = delay_ms < 0 ? 0 : REPORT_FLAG_DELAY,
					  .delay_ms = bounded_ms(delay_ms) };
	return settle(task, &item, (struct span){ NULL, 0 });
}

int hlk_reject(struct hlk_task *task, const char *text)
{
	const struct report_item item = { .verb = REPORT_REJECT };
	return settle(task, &item, short_text(text));
}

int hlk_confirm_cancel(struct hlk_task *task)
{
	const struct report_item item = { .verb = REPORT_CANCELLED };
	return settle(task, &item, (struct span){ NULL, 0 });
}

void hlk_on_settled(struct hlk *c, hlk_settled_fn *fn, void *ctx)
{
	c->worker.settled = fn;
	c->worker.settled_ctx = ctx;
}

/* ---- answers ---- */

static struct report_key *search(struct worker *w, struct report_frame *from, uint32_t key,
				 const struct reported_item *item)
{
	for (struct report_frame *f = from; f; f = f->next, key = 0)
		for (uint32_t i = key; i < f->count; i++)
			if (!f->keys[i].done && f->keys[i].verb == item->verb && f->keys[i].number == item->number &&
			    same_ref(&f->keys[i].ref, &item->ref)) {
				w->cursor = f;
				w->cursor_key = i + 1;
				return &f->keys[i];
			}
	return NULL;
}

/* Answers come in the order of the reports, nearly always: the search begins behind the last find. */
static struct report_key *find_key(struct worker *w, const struct reported_item *item)
{
	struct report_key *key = search(w, w->cursor, w->cursor_key, item);
	return key ? key : search(w, w->first, 0, item);
}

/* Only reports that were made in an earlier connection can meet their own task again. They are at the front. */
bool report_pending(const struct worker *w, const struct task_ref *ref)
{
	for (const struct report_frame *f = w->first; f && f->resent; f = f->next)
		for (uint32_t i = 0; i < f->count; i++)
			if (!f->keys[i].done && f->keys[i].verb != REPORT_YIELD && same_ref(&f->keys[i].ref, ref))
				return true;
	return w->spills && report_waits(w, ref);
}

static void drop_frame(struct worker *w, struct report_frame *gone)
{
	struct report_frame **at = &w->first, *before = NULL;
	while (*at != gone) {
		before = *at;
		at = &before->next;
	}
	*at = gone->next;
	w->kept_bytes -= gone->bytes.len;
	if (w->last == gone)
		w->last = before;
	w->cursor = gone->next;
	w->cursor_key = 0;
	buf_free(&gone->bytes);
	free(gone);
}

/* `key` belongs to w->cursor: it was just found. */
static void finish(struct hlk *c, struct report_key *key, int code)
{
	struct worker *w = &c->worker;
	const struct task_ref ref = key->ref;
	bool again = code != HLK_OK && report_spill_again(c, w->cursor, key, code);
	bool yield = key->verb == REPORT_YIELD; /* a lost lease is told by a signal */
	key->done = true;
	w->undone--;
	if (--w->cursor->undone == 0)
		drop_frame(w, w->cursor);
	if (w->settled && !yield && !again)
		w->settled(c, ref.task, ref.attempt, code, w->settled_ctx);
}

static void say_again(struct hlk *c, struct report_frame *f)
{
	if (f->again_ms)
		return;
	f->again_ms = c->now_ms + REPORT_AGAIN_MS / 2 + (int64_t)(client_random(c) % REPORT_AGAIN_MS);
	if (!c->worker.again_ms || f->again_ms < c->worker.again_ms)
		c->worker.again_ms = f->again_ms;
}

void report_reported(struct hlk *c, const struct msg_reported *m)
{
	for (uint32_t i = 0; i < m->count; i++) {
		const struct reported_item *item = &m->items[i];
		if (!is_kept(item->verb)) {
			if (item->code != ERR_OK)
				worker_lost(c, &item->ref);
			continue;
		}
		struct report_key *key = find_key(&c->worker, item);
		if (!key)
			continue; /* the answer to a repeat */
		if (item->code != ERR_OK && err_retryable(item->code))
			say_again(c, c->worker.cursor);
		else
			finish(c, key, item->code);
	}
}

bool report_refused(struct hlk *c, uint32_t correlation, int code)
{
	struct worker *w = &c->worker;
	struct report_frame *f = w->first;
	while (f && f->correlation != correlation)
		f = f->next;
	if (!f)
		return false;
	if (err_retryable((uint32_t)code)) {
		say_again(c, f);
		return true;
	}
	for (uint32_t i = 0, left = f->undone; left > 0; i++) {
		if (f->keys[i].done)
			continue;
		left--;
		w->cursor = f;
		finish(c, &f->keys[i], code);
	}
	return true;
}

void report_timers(struct hlk *c)
{
	struct worker *w = &c->worker;
	struct dropped *dropped = w->dropped;
	uint32_t count = w->dropped_count;
	w->dropped = NULL; /* callbacks may drop more */
	w->dropped_count = w->dropped_cap = 0;
	for (uint32_t i = 0; i < count; i++)
		if (w->settled)
			w->settled(c, dropped[i].task, dropped[i].attempt, HLK_STALE_LEASE, w->settled_ctx);
	free(dropped);
	if (!w->again_ms || w->again_ms > c->now_ms)
		return;
	w->again_ms = 0;
	producer_children(c);
	for (struct report_frame *f = w->first; f; f = f->next) {
		if (f->again_ms && f->again_ms <= c->now_ms && net_ready(c)) {
			f->again_ms = 0;
			net_queue(c, buf_span(&f->bytes));
		} else if (f->again_ms && (!w->again_ms || f->again_ms < w->again_ms)) {
			w->again_ms = f->again_ms > c->now_ms ? f->again_ms : 0; /* overdue without a connection: report_up */
		}
	}
}

void report_close(struct hlk *c)
{
	struct worker *w = &c->worker;
	for (struct report_frame *f = w->first, *next; f; f = next) {
		next = f->next;
		buf_free(&f->bytes);
		free(f);
	}
	report_spill_close(c);
	free(w->items);
	free(w->dropped);
	buf_free(&w->payload);
}
