/* broker/topics_events.c: published events that feed queues: one record, one payload, a task in each queue.
 *
 *   publish -> TOPICS_EVENTS propose -> log ... commit -> apply -> lanes of every queue, PUBLISHED
 *
 * Invariants
 *  1. A record of n events for k queues takes n * k numbers: those of the first queue, then those of the second ...
 *  2. All of its tasks name the same record; which event a task is, is its place modulo n (submit_record_item).
 *  3. The payload stays while one of its tasks is needed: each has a live bit of its own. */
#include "blob_index.h"
#include "tasks_impl.h"
#include "topics.h"
#include "topics_record.h"

enum { EVENT_PRIORITY = 4 };

size_t topics_publish_bytes(size_t head, uint32_t count, size_t payload)
{
	/* the event record, and the retained value: its frame holds one payload and a head */
	return 4 * LOG_RECORD_HEADER + 8192 + TOPIC_FEEDS_MAX * sizeof(uint16_t) + 4 * (size_t)count + 2 * head + 2 * payload;
}

bool topics_propose_events(struct tasks *t, struct log *log, const struct topics_publish *p, uint64_t now_ms)
{
	const struct event_view v = {
		.fixed = { .version = REC_VERSION, .flags = p->blobs ? EVENT_BLOB : 0,
			   .queue_count = (uint16_t)p->queue_count, .head_size = (uint16_t)p->head.len,
			   .count = p->count, .id_hi = p->id.hi, .id_lo = p->id.lo, .submitted_ms = now_ms },
		.queues = p->queues, .sizes = p->sizes, .head = p->head, .payload = p->payload,
	};
	uint64_t addr;
	ENSURE(p->queue_count > 0 && p->queue_count <= TOPIC_FEEDS_MAX && p->count > 0);
	uint8_t *body = log_append(log, REC_EVENT, rec_event_size(&v), &addr);
	if (!body)
		return false;
	rec_event_write(&v, body);
	for (uint32_t i = 0; i < p->queue_count; i++)
		t->queues[p->queues[i] - 1]->proposed += p->count;
	return true;
}

void topics_event_append(struct tasks *t, struct segment *s, const struct event_view *v, uint64_t addr)
{
	for (uint32_t i = 0; i < v->fixed.queue_count; i++)
		segment_append(t, s, v->fixed.count, addr, class_make(v->queues[i], EVENT_PRIORITY, 0, false));
}

/* Each payload's blob is there, as the queue sees it. */
static bool event_blobs(const struct tasks *t, const struct event_view *v, uint32_t class)
{
	for (uint32_t i = 0; i < v->fixed.count; i++)
		if ((i + 1) * (size_t)BLOB_REF_BYTES > v->payload.len ||
		    !task_blob(t, class, span_sub(v->payload, i * (size_t)BLOB_REF_BYTES, BLOB_REF_BYTES)))
			return false;
	return true;
}

void apply_event(struct tasks *t, const struct log_entry *entry, const struct log_record *record, bool live, struct applied *out)
{
	struct event_view v;
	enum err e = rec_event_read(record->body, &v);
	ENSURE(e == ERR_OK);
	out->origin = APPLIED_PUBLISH;
	uint64_t first = t->next_task;
	uint32_t count = v.fixed.count;
	t->next_task += (uint64_t)count * v.fixed.queue_count;
	struct segment *s = segment_for_append(t, log_addr_segment(record->addr), first);
	topics_event_append(t, s, &v, record->addr);
	for (uint32_t i = 0; i < v.fixed.queue_count; i++, first += count) {
		uint32_t queue = v.queues[i];
		if (live && queue > 0 && queue <= t->queue_count)
			t->queues[queue - 1]->proposed -= MIN_OF(t->queues[queue - 1]->proposed, count);
		const struct queue *q = queue_at(t, queue);
		uint32_t class = class_make(queue, EVENT_PRIORITY, 0, false);
		bool blobs = v.fixed.flags & EVENT_BLOB;
		if (!q || q->proposed_create || (blobs && !event_blobs(t, &v, class))) { /* removed in the meantime */
			segment_drop_range(t, first, count);
			continue;
		}
		uint64_t expires = (uint64_t)q->settings.expires_ms;
		for (uint32_t k = 0; blobs && k < count; k++)
			blobs_hold_task(t->blobs, BLOB_OF_PAYLOAD, first + k,
					task_blob(t, class, span_sub(v.payload, k * (size_t)BLOB_REF_BYTES, BLOB_REF_BYTES)));
		tasks_arrive(t, entry, class, expires ? entry->time_ms + expires : 0, first, count);
		out->affected += count;
	}
}
