/* broker/tasks.c: the task machine as a whole: its making, the dispatch of committed records, the start of its views, and
 * what can be asked of it.
 *
 *   log commit -> TASKS apply -> submit | settle | queue | redrive | purge | move
 *
 * Invariants
 *  1. Entry times do not go back; what time takes away (producers, keys, results) goes in apply, by entry time.
 *  2. Before tasks_begin no view is kept; after it every open task is counted in its queue. */
#include "after.h"
#include "blob_index.h"
#include "life.h"
#include "topics.h"

struct tasks *tasks_new(const struct tasks_config *config)
{
	struct tasks *t = calloc(1, sizeof *t);
	ENSURE(t != NULL);
	t->memory = sizeof *t;
	t->config = *config;
	t->config.defaults = queue_settings_over(QUEUE_SETTINGS_BASE, config->defaults);
	if (t->config.retained_max == 0)
		t->config.retained_max = 1000000;
	t->next_task = 1;
	t->next_group_ms = NEVER;
	t->random = config->seed;
	t->topics = topics_new(config->seed);
	t->blobs = blobs_new(config->seed);
	t->options = mem_resize(t, NULL, 0, OPTIONS_MAX * sizeof *t->options);
	t->options[0] = (struct options){ 0, 0 };
	t->options_count = 1;
	uint32_t recent = 64;
	while (recent < config->recent_max && recent < 1u << 24)
		recent *= 2;
	t->recent_mask = recent - 1;
	t->recent = mem_resize(t, NULL, 0, recent * sizeof *t->recent);
	memset(t->recent, 0, recent * sizeof *t->recent);
	return t;
}

void tasks_free(struct tasks *t)
{
	ENSURE(t->holders == 0);
	hots_free(t);
	orders_free(t);
	task_segments_free(t);
	lane_classes_free(t);
	queues_free(t);
	producers_free(t);
	keys_free(t);
	topics_free(t->topics);
	blobs_free(t->blobs);
	after_free(t);
	groups_free(t);
	owners_free(t);
	(void)mem_resize(t, t->recent, (t->recent_mask + 1) * sizeof *t->recent, 0);
	(void)mem_resize(t, t->reported, t->reported_cap * sizeof *t->reported, 0);
	buf_free(&t->scratch_yields);
	buf_free(&t->scratch_texts);
	buf_free(&t->scratch_items);
	buf_free(&t->scratch_sources);
	ENSURE(t->memory == sizeof *t);
	free(t);
}

struct blobs *tasks_blobs(const struct tasks *t)
{
	return t->blobs;
}

/* What time has taken away by the time of this entry. */
static void apply_time(struct tasks *t, uint64_t time_ms)
{
	if (time_ms <= t->time_ms)
		return;
	t->time_ms = time_ms;
	while (t->retained.count > 0 && t->retained.items[0].due <= time_ms)
		task_forget(t, t->retained.items[0].hot);
	producers_expire(t);
	keys_expire(t);
	groups_expire(t);
}

void tasks_apply(struct tasks *t, const struct log_entry *entry, const struct log_record *record, bool live,
		 struct applied *out)
{
	out->origin = APPLIED_INTERNAL;
	out->run_count = out->reported_count = 0;
	out->reported = NULL;
	out->affected = 0;
	out->code = 0;
	t->peeked.count = 0;
	apply_time(t, entry->time_ms);
	switch ((enum record_kind)record->kind) {
	case REC_QUEUE: apply_queue(t, record, live, out); return;
	case REC_SUBMIT: apply_submit(t, entry, record, live, out); return;
	case REC_SETTLE: apply_settle(t, entry, record, live, out); return;
	case REC_REDRIVE: apply_redrive(t, entry, record, out); return;
	case REC_PURGE: apply_purge(t, entry, record, live, out); return;
	case REC_MOVE: apply_move(t, record, live); return;
	case REC_TOPIC: apply_topic(t, record, out); return;
	case REC_EVENT: apply_event(t, entry, record, live, out); return;
	case REC_RETAIN: apply_retain(t, record, out); return;
	case REC_LEASE: apply_lease(t, record, live); return;
	case REC_YIELD: apply_yield(t, record, live, out); return;
	case REC_SECRET: apply_secret(t, record); return;
	case REC_GROUP: apply_group(t, record, out); return;
	case REC_BLOB: blobs_apply(t->blobs, entry, record, out); return;
	case REC_TYPE:
	case REC_SCHEDULE:
	case REC_BLOCK:
	case REC_REDRIVES:
	case REC_ACCESS: break;
	}
	ensure_failed("a record of tasks has a known kind", __FILE__, __LINE__);
}

/* ---- begin ---- */

/* An object finds its place. True: it counts as fresh, so its number belongs into a range. */
static bool begin_hot(struct tasks *t, struct hot *h, uint64_t now_ms)
{
	if (h->final != TASK_UNKNOWN)
		return false;
	if (h->life && h->life->lease_attempt) {
		limbo_enter(t, h, now_ms);
		return false;
	}
	bool fresh = h->ready_ms <= now_ms && h->failed == 0 && h->attempts == 0 && !h->cancelling && !h->blocked &&
		     (!h->life || h->life->yields == 0);
	if (!fresh) {
		view_enter(t, h, now_ms, false);
		return false;
	}
	h->place = PLACE_FRESH;
	h->state = TASK_READY;
	view_timer(t, h);
	return true;
}

/* The same for tasks of which the segment knows more: each finds its lane, or waits for its turn. */
static void begin_extra(struct tasks *t, struct segment *s, uint32_t first, uint32_t end, uint32_t class, uint64_t now_ms)
{
	struct queue *q = queue_at(t, class_queue(class));
	for (uint32_t i = first; i < end; i++) {
		bool fresh = segment_is_live(s, i);
		const struct segment_extra *extra = segment_extra(s, i);
		struct hot *h = fresh && s->special[i / 64] >> (i % 64) & 1 ? hot_find(t, s->base + i) : NULL;
		if (h)
			fresh = begin_hot(t, h, now_ms);
		if (!fresh)
			continue;
		uint32_t slot = lane_class_slot(t, lane_class_by_hash(t, extra->lane));
		q->ready++;
		if (extra->order)
			order_arrive(t, extra->order, class, slot, s->base + i, 1);
		else
			lane_push(t, q, slot, class_priority(class), s->base + i, 1);
	}
}

static void begin_run(struct tasks *t, const struct segment *s, uint32_t first, uint32_t end, uint32_t class, uint64_t now_ms)
{
	struct queue *q = queue_at(t, class_queue(class));
	uint32_t start = first, i = first;
	for (; i <= end; i++) {
		bool fresh = i < end && segment_is_live(s, i);
		if (fresh && s->special[i / 64] >> (i % 64) & 1)
			fresh = begin_hot(t, hot_find(t, s->base + i), now_ms);
		if (fresh)
			continue;
		if (i > start) {
			ENSURE(q != NULL);
			lane_push(t, q, 0, class_priority(class), s->base + start, i - start);
			q->ready += i - start;
		}
		start = i + 1;
	}
}

static int by_death(const void *a, const void *b)
{
	const struct hot *x = *(struct hot *const *)a, *y = *(struct hot *const *)b;
	if (x->settled_ms != y->settled_ms)
		return x->settled_ms < y->settled_ms ? -1 : 1;
	return x->task < y->task ? -1 : x->task > y->task;
}

static bool is_dead(const struct hot *h)
{
	return h->final == TASK_DEAD;
}

static bool is_in_limbo(const struct hot *h)
{
	return h->final == TASK_UNKNOWN && h->life && h->life->lease_attempt;
}

void tasks_set_epoch(struct tasks *t, uint32_t epoch)
{
	ENSURE(!t->begun);
	t->config.epoch = epoch;
}

void tasks_begin(struct tasks *t, uint64_t now_ms)
{
	ENSURE(!t->begun);
	t->begun = true;
	uint32_t count;
	struct hot **limbo = hots_sorted(t, is_in_limbo, &count);
	for (uint32_t i = 0; i < count; i++)
		order_hold(t, limbo[i]);
	free(limbo);
	for (uint32_t i = 0; i < t->segment_count; i++) {
		struct segment *s = t->segments[i];
		ENSURE(s->run_count > 0 || s->count == 0); /* its index file was loaded */
		for (uint32_t r = 0; r < s->run_count; r++) {
			uint32_t end = r + 1 < s->run_count ? s->runs[r + 1].first : s->count, class = s->runs[r].class;
			if (class_extra(class))
				begin_extra(t, s, s->runs[r].first, end, class, now_ms);
			else
				begin_run(t, s, s->runs[r].first, end, class, now_ms);
		}
	}
	struct hot **dead = hots_sorted(t, is_dead, &count);
	qsort(dead, count, sizeof(struct hot *), by_death);
	for (uint32_t i = 0; i < count; i++)
		view_enter(t, dead[i], now_ms, false);
	free(dead);
	groups_begin(t);
	owners_begin(t);
	for (uint32_t i = 0; i < t->queue_count; i++) {
		const struct queue *q = t->queues[i];
		ENSURE(q->ready + q->scheduled + q->leased + q->dead == q->alive);
		if (q->ready > 0)
			view_ready_hook(t, i + 1, TASKS_ANY_SLOT);
	}
}

/* ---- looking ---- */

static void show_hot(const struct tasks *t, const struct hot *h, struct task_view *out)
{
	out->state = h->final != TASK_UNKNOWN ? h->final : h->state;
	out->ready_ms = h->ready_ms;
	out->expires_ms = h->expires_ms;
	out->settled_ms = h->settled_ms;
	out->acquired = MAX_OF(h->acquired, h->attempts);
	out->failed = h->failed;
	out->app_code = h->app_code;
	out->code = h->code;
	out->result_addr = h->result_addr;
	out->result_size = h->result_size;
	out->holder = h->holder;
	out->cancelling = h->cancelling;
	const struct life *l = h->life;
	if (l) {
		out->phase = l->phase;
		out->progress = l->progress;
		out->progress_text = span_of(l->progress_text, l->progress_size);
		out->yields = l->yields;
		out->parent = l->parent;
		out->root = l->root;
	}
	if (h->cancelling && h->final == TASK_UNKNOWN && out->phase != PHASE_INTERRUPTING)
		out->phase = PHASE_CANCELLING;
	const struct queue *q = queue_at(t, out->queue);
	out->max_attempts = h->max_attempts ? h->max_attempts : q ? (uint32_t)q->settings.max_attempts : 0;
}

static bool show_recent(const struct tasks *t, uint64_t task, struct task_view *out)
{
	const struct recent *r = &t->recent[task & t->recent_mask];
	if (task == 0 || r->task != task)
		return false;
	out->state = r->state;
	out->queue = r->queue;
	out->priority = r->priority;
	out->settled_ms = r->settled_ms;
	out->acquired = r->attempt;
	out->failed = r->failed;
	out->app_code = r->app_code;
	out->code = r->code;
	return true;
}

bool tasks_show(struct tasks *t, uint64_t task, struct task_view *out)
{
	*out = (struct task_view){ 0 };
	const struct hot *h = hot_find(t, task);
	uint32_t index;
	const struct segment *s = segment_of(t, task, &index);
	bool live = s && segment_is_live(s, index);
	if (!h && !live && !show_recent(t, task, out))
		return false;
	if (!live) /* its payload is not needed any more, but may still be there to be shown */
		(void)task_origin(t, task, &out->addr, &out->item);
	if (!h && !live)
		return true;
	uint32_t class = h ? h->class : segment_class(s, index);
	out->queue = class_queue(class);
	out->priority = class_priority(class);
	out->state = TASK_READY;
	if (live)
		(void)task_locate(t, task, &out->addr, &out->item);
	if (h) {
		show_hot(t, h, out);
		return true;
	}
	const struct queue *q = queue_at(t, out->queue);
	uint32_t own = class_options(class) < OPTIONS_MAX ? t->options[class_options(class)].max_attempts : 0;
	out->max_attempts = own ? own : q ? (uint32_t)q->settings.max_attempts : 0;
	return true;
}

/* Keeps the `limit` smallest numbers, ascending. */
static void list_insert(uint64_t *out, uint32_t *count, uint32_t limit, uint64_t task)
{
	if (*count == limit && out[limit - 1] <= task)
		return;
	uint32_t i = *count < limit ? (*count)++ : limit - 1;
	for (; i > 0 && out[i - 1] > task; i--)
		out[i] = out[i - 1];
	out[i] = task;
}

static bool is_of(uint32_t own, uint32_t queue)
{
	return queue == 0 || own == queue;
}

/* Would list_insert take it? Asked before anything else is looked at: nearly always the answer is no, and a million objects lie
 * all over the memory. */
static bool list_wants(const uint64_t *out, uint32_t count, uint32_t limit, uint64_t cursor, uint64_t task)
{
	return task >= cursor && (count < limit || task < out[limit - 1]);
}

/* Everything that is not simply waiting has an object, or is only remembered. Adds to what is in `out`. */
static uint32_t list_special(const struct tasks *t, uint32_t queue, enum task_state state, uint64_t cursor, uint32_t limit,
			     uint64_t *out, uint32_t count)
{
	uint64_t at = 0, task;
	for (const struct hot *h; (h = hots_next(t, &at, &task)) != NULL;) {
		if (!list_wants(out, count, limit, cursor, task))
			continue;
		if (!is_of(class_queue(h->class), queue))
			continue;
		if (state == TASK_UNKNOWN || (h->final != TASK_UNKNOWN ? h->final : h->state) == state)
			list_insert(out, &count, limit, task);
	}
	bool terminal = state >= TASK_DONE && state < TASK_DEAD;
	for (uint32_t i = 0; terminal && i <= t->recent_mask; i++) {
		const struct recent *r = &t->recent[i];
		if (r->task != 0 && is_of(r->queue, queue) && r->state == state && list_wants(out, count, limit, cursor, r->task) &&
		    !hot_find(t, r->task))
			list_insert(out, &count, limit, r->task);
	}
	return count;
}

enum { LIST_WORK_MAX = 1 << 16 };

/* Ready ones; with `plain` only those without an object. */
static uint32_t list_ready(const struct tasks *t, uint32_t queue, bool plain, uint64_t cursor, uint32_t limit, uint64_t *out,
			   uint64_t *next)
{
	uint32_t count = 0, work = 0;
	for (uint32_t i = segment_position(t, cursor); i < t->segment_count; i++) {
		const struct segment *s = t->segments[i];
		for (uint32_t k = cursor > s->base ? (uint32_t)(cursor - s->base) : 0; k < s->count; k++) {
			if (count == limit || ++work > LIST_WORK_MAX) {
				*next = s->base + k;
				return count;
			}
			if (!segment_is_live(s, k) || !is_of(class_queue(segment_class(s, k)), queue))
				continue;
			const struct hot *h = s->special[k / 64] >> (k % 64) & 1 ? hot_find(t, s->base + k) : NULL;
			if (!h || (!plain && h->final == TASK_UNKNOWN && h->state == TASK_READY))
				out[count++] = s->base + k;
		}
	}
	return count;
}

/* Both kinds merged by number. What lies beyond the place where the bounded search for plain ones stopped is left for the
 * next page. */
static uint32_t list_any(const struct tasks *t, uint32_t queue, uint64_t cursor, uint32_t limit, uint64_t *out, uint64_t *next)
{
	uint32_t count = list_ready(t, queue, true, cursor, limit, out, next);
	count = list_special(t, queue, TASK_UNKNOWN, cursor, limit, out, count);
	while (*next != 0 && count > 0 && out[count - 1] >= *next)
		count--;
	if (count == limit)
		*next = out[count - 1] + 1;
	return count;
}

uint32_t tasks_list(struct tasks *t, uint32_t queue, enum task_state state, uint64_t cursor, uint32_t limit, uint64_t *out,
		    uint64_t *next)
{
	*next = 0;
	if (limit == 0)
		return 0;
	if (state == TASK_UNKNOWN)
		return list_any(t, queue, cursor, limit, out, next);
	if (state == TASK_READY)
		return list_ready(t, queue, false, cursor, limit, out, next);
	uint32_t count = list_special(t, queue, state, cursor, limit, out, 0);
	if (count == limit)
		*next = out[count - 1] + 1;
	return count;
}

uint64_t tasks_forget_ms(const struct tasks *t)
{
	return t->retained.count > 0 ? t->retained.items[0].due : NEVER;
}

uint64_t tasks_newest(const struct tasks *t)
{
	return t->next_task - 1;
}

void tasks_get_stats(const struct tasks *t, struct tasks_stats *out)
{
	*out = (struct tasks_stats){ .retained = t->retained.count, .producers = t->producers.count,
				     .keys = t->keys.end - t->keys.first, .segments = t->segment_count };
	for (uint32_t i = 0; i < t->queue_count; i++) {
		out->waiting += t->queues[i]->ready;
		out->leased += t->queues[i]->leased;
		out->scheduled += t->queues[i]->scheduled;
		out->dead += t->queues[i]->dead;
	}
	out->blocked = t->waits.count;
	out->groups = t->groups.count;
	out->submitted_total = t->submitted_total;
	out->done_total = t->done_total;
	out->failed_total = t->failed_total;
	out->duplicates_total = t->duplicates_total;
	out->stale_total = t->stale_total;
	out->expired_total = t->expired_total;
	out->memory_bytes = t->memory + t->scratch_items.cap + t->scratch_sources.cap + t->scratch_yields.cap +
			    t->scratch_texts.cap + t->found.cap;
}

uint64_t tasks_memory(const struct tasks *t)
{
	enum { CHECKPOINT_BYTES = 96 }; /* of an object; all else is small beside them */
	return t->memory + t->scratch_items.cap + t->scratch_sources.cap + t->scratch_yields.cap + t->scratch_texts.cap + t->found.cap +
	       (uint64_t)t->hots.count * CHECKPOINT_BYTES;
}
