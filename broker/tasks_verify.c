/* broker/tasks_verify.c: do the parts of a checkpoint fit each other?
 *
 *   start: restore -> load_segment ... -> TASKS_VERIFY -> apply the rest -> begin
 *
 * Restore judges each part as it is read; what a part says of another is judged here, when all indexes are there: from here on the
 * machine relies on its counters. A checksum vouches for the bytes, not for whoever wrote them. */
#include "blob_index.h"
#include "life.h"

#include <stdarg.h>

struct verify {
	struct tasks *t;
	uint64_t *alive; /* by queue id */
	char *text;
};

PRINTF_LIKE(2, 3)
static enum err damaged(struct verify *v, const char *format, ...)
{
	char what[200];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(what, sizeof what, format, args);
	va_end(args);
	(void)snprintf(v->text, 256, "the checkpoint of tasks does not fit itself: %s", what);
	return ERR_DAMAGED;
}

/* Of live tasks in a run: their lanes are of their queue. */
static enum err verify_extras(struct verify *v, struct segment *s, uint32_t first, uint32_t end, uint32_t queue)
{
	for (uint32_t i = first; i < end;) {
		const struct segment_extra *e = segment_extra(s, i);
		uint32_t stop = MIN_OF(end, e->first + e->count), lane = e->lane ? lane_class_by_hash(v->t, e->lane) : 0;
		if (lane != 0 && segment_count_live(s, i, stop - i) > 0 &&
		    (lane == LANE_CLASS_NONE || v->t->lane_classes[lane].queue != queue))
			return damaged(v, "segment %u: task %llu waits in a lane that its queue does not have", s->id,
				       (unsigned long long)(s->base + i));
		i = stop;
	}
	return ERR_OK;
}

static enum err verify_run(struct verify *v, struct segment *s, uint32_t first, uint32_t end, uint32_t class)
{
	struct tasks *t = v->t;
	uint32_t live = segment_count_live(s, first, end - first), queue = class_queue(class), options = class_options(class);
	if (queue == 0 || queue > t->queue_count || (options != OPTIONS_MAX && options >= t->options_count))
		return damaged(v, "segment %u: task %llu has queue %u and options %u, and there are %u and %u", s->id,
			       (unsigned long long)(s->base + first), queue, options, t->queue_count, t->options_count);
	if (live == 0)
		return ERR_OK;
	if (!queue_at(t, queue))
		return damaged(v, "segment %u: task %llu waits in queue %u, which was removed", s->id,
			       (unsigned long long)(s->base + first), queue);
	v->alive[queue] += live;
	for (uint32_t i = first; options == OPTIONS_MAX && i < end; i++)
		if (segment_is_live(s, i) && !hot_find(t, s->base + i))
			return damaged(v, "segment %u: task %llu has no object, which would have its options", s->id,
				       (unsigned long long)(s->base + i));
	return class_extra(class) ? verify_extras(v, s, first, end, queue) : ERR_OK;
}

static enum err verify_segment(struct verify *v, struct segment *s)
{
	enum err e = ERR_OK;
	if (s->count > 0 && s->run_count == 0)
		return damaged(v, "segment %u: its index was not loaded", s->id);
	if (!s->offsets && s->live_count > s->moved)
		return damaged(v, "segment %u: %u tasks live, %u are elsewhere, and the places of the others are missing", s->id,
			       s->live_count, s->moved);
	for (uint32_t r = 0; r < s->run_count && e == ERR_OK; r++)
		e = verify_run(v, s, s->runs[r].first, r + 1 < s->run_count ? s->runs[r + 1].first : s->count, s->runs[r].class);
	return e;
}

/* An object agrees with its segment; one that is final and still has its payload is not alive. */
static enum err verify_hot(struct verify *v, const struct hot *h)
{
	uint32_t index, queue = class_queue(h->class);
	const struct segment *s = segment_of(v->t, h->task, &index);
	if (h->blocked && !map64_find(&v->t->waits, h->task))
		return damaged(v, "task %llu: it waits for others, and none are named", (unsigned long long)h->task);
	if (!s || !segment_is_live(s, index))
		return ERR_OK;
	if (segment_class(s, index) != h->class)
		return damaged(v, "task %llu: its object is of class %08x, its segment says %08x", (unsigned long long)h->task, h->class,
			       segment_class(s, index));
	if (h->final == TASK_UNKNOWN || h->final == TASK_DEAD)
		return ERR_OK;
	if (v->alive[queue] == 0)
		return damaged(v, "task %llu: queue %u has no task left that it could be", (unsigned long long)h->task, queue);
	v->alive[queue]--;
	return ERR_OK;
}

/* What holds a blob is what it says: a payload that is needed, the result of a final task, yields. */
static bool verify_owner(void *ctx, enum blob_owner owner, uint64_t task)
{
	struct verify *v = ctx;
	uint32_t index;
	const struct segment *s = segment_of(v->t, task, &index);
	const struct hot *h = hot_find(v->t, task);
	static const char *const names[] = { "payload", "result", "yields" };
	bool good = owner == BLOB_OF_PAYLOAD	? s && segment_is_live(s, index)
		    : owner == BLOB_OF_RESULT	? h && h->final == TASK_DONE && h->result_addr != 0
						: h && h->life && h->life->yields > 0;
	if (!good)
		(void)damaged(v, "a blob is held by the %s of task %llu, which has none", names[owner], (unsigned long long)task);
	return good;
}

static bool any(const struct hot *h)
{
	(void)h;
	return true;
}

static enum err verify_all(struct verify *v)
{
	struct tasks *t = v->t;
	enum err e = ERR_OK;
	for (uint32_t i = 0; i < t->segment_count && e == ERR_OK; i++)
		e = verify_segment(v, t->segments[i]);
	uint32_t count;
	struct hot **hots = hots_sorted(t, any, &count);
	for (uint32_t i = 0; i < count && e == ERR_OK; i++)
		e = verify_hot(v, hots[i]);
	free(hots);
	if (e == ERR_OK && !blobs_each_task(t->blobs, verify_owner, v))
		e = ERR_DAMAGED;
	if (e == ERR_OK)
		e = blobs_verify(t->blobs, v->text);
	for (uint32_t id = 1; id <= t->queue_count && e == ERR_OK; id++) {
		const struct queue *q = t->queues[id - 1];
		if (q->alive != v->alive[id])
			e = damaged(v, "queue %.*s: its counter says %llu open tasks and dead letters, and there are %llu", q->name_size,
				    (const char *)q->name, (unsigned long long)q->alive, (unsigned long long)v->alive[id]);
	}
	return e;
}

enum err tasks_verify(struct tasks *t, uint32_t segment, char text[256])
{
	struct verify v = { .t = t, .alive = calloc((size_t)t->queue_count + 1, sizeof *v.alive), .text = text };
	uint32_t last = t->segment_count ? t->segments[t->segment_count - 1]->id : 0;
	ENSURE(v.alive != NULL && !t->begun);
	enum err e = verify_all(&v);
	if (e == ERR_OK && last > segment)
		e = damaged(&v, "it has tasks in segment %u, and the log goes on in segment %u", last, segment);
	free(v.alive);
	return e;
}
