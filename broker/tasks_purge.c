/* broker/tasks_purge.c: a queue is emptied piece by piece, however much is in it: of what waits, or of its dead letters.
 *
 *   admin verb -> TASKS_PURGE begin, then propose -> one record -> log ... commit -> apply -> the next piece ... -> answer
 *
 * Invariants
 *  1. A record changes at most PURGE_TASKS_MAX tasks, and its apply looks at no more than PURGE_LOOKS_MAX numbers: other work goes on
 *     between two pieces.
 *  2. A purge takes what was there when it began, and names the tasks that were leased when the piece was proposed: those stay. Leases
 *     are volatile, so apply cannot ask.
 *  3. Each piece is durable by itself. Over a restart what is left stays, and nobody was told that it was gone. */
#include "life.h"

enum { PURGE_TASKS_MAX = 16384, PURGE_LOOKS_MAX = 1 << 20, PURGE_LETTERS_MAX = 4096, REC_PURGE_PART = 2 };

enum err tasks_purge_begin(const struct tasks *t, struct span name, bool dead, struct purge_work *out, char text[256])
{
	*out = (struct purge_work){ .queue = queue_lookup(t, name), .dead = dead, .from = 1, .below = t->next_task, .before_ms = t->time_ms };
	if (queue_at(t, out->queue))
		return ERR_OK;
	(void)snprintf(text, 256, "there is no queue %.*s", (int)MIN_OF(name.len, 200u), name.len ? (const char *)name.data : "");
	return ERR_NOT_FOUND;
}

/* ---- propose ---- */

static bool is_busy(const struct hot *h)
{
	return h->final == TASK_UNKNOWN && (h->place == PLACE_HELD || h->place == PLACE_LIMBO ||
					    h->place == PLACE_ORPHAN || h->settling);
}

/* Adds the busy ones of these numbers to the scratch. */
static void note_busy(struct tasks *t, const struct segment *s, uint32_t first, uint32_t end)
{
	for (uint32_t i = first; i < end; i++) {
		bool special = s->live[i / 64] & s->special[i / 64] & 1ull << (i % 64);
		const struct hot *h = special ? hot_find(t, s->base + i) : NULL;
		if (h && is_busy(h))
			buf_append(&t->scratch_items, &h->task, sizeof h->task);
	}
}

/* The end of the next piece, behind the last number that was looked at; *live: how many tasks of the queue live in it. */
static uint64_t piece_end(struct tasks *t, const struct purge_work *work, uint32_t *live)
{
	uint64_t at = work->from;
	uint32_t looks = 0;
	*live = 0;
	for (uint32_t i = segment_position(t, at); i < t->segment_count && at < work->below; i++) {
		const struct segment *s = t->segments[i];
		at = MAX_OF(at, s->base);
		for (uint32_t r = 0; r < s->run_count; r++) {
			uint32_t end = r + 1 < s->run_count ? s->runs[r + 1].first : s->count, from = s->runs[r].first;
			if (s->base + end <= at || s->base + from >= work->below)
				continue;
			if (++looks > PURGE_LOOKS_MAX)
				return at;
			from = (uint32_t)(at - s->base);
			end = (uint32_t)MIN_OF(end, work->below - s->base);
			bool ours = class_queue(s->runs[r].class) == work->queue;
			for (uint32_t part; ours && from < end; from += part) {
				part = MIN_OF(end - from, 64 - from % 64);
				if (*live + part > PURGE_TASKS_MAX || looks + part > PURGE_LOOKS_MAX)
					return s->base + from;
				note_busy(t, s, from, from + part);
				*live += segment_count_live(s, from, part);
				looks += part;
			}
			at = s->base + end;
		}
	}
	return work->below;
}

static bool append(struct log *log, const struct rec_purge *rec, uint64_t first, const struct buf *tasks)
{
	uint64_t addr;
	uint8_t *body = log_append(log, REC_PURGE, sizeof *rec + sizeof first + tasks->len, &addr);
	if (!body)
		return false;
	memcpy(body, rec, sizeof *rec);
	memcpy(body + sizeof *rec, &first, sizeof first);
	if (tasks->len > 0)
		memcpy(body + sizeof *rec + sizeof first, tasks->data, tasks->len);
	return true;
}

static void letters(struct tasks *t, struct purge_work *work)
{
	const struct queue *q = queue_at(t, work->queue);
	const struct hot *h = q ? q->dead_letters.first : NULL;
	for (uint32_t i = 0; h && h->settled_ms <= work->before_ms && i < PURGE_LETTERS_MAX; i++, h = h->next)
		buf_append(&t->scratch_items, &h->task, sizeof h->task);
}

enum err tasks_propose_purge(struct tasks *t, struct log *log, struct purge_work *work, uint32_t *records, char text[256])
{
	struct rec_purge rec = { .version = REC_PURGE_PART, .dead = work->dead, .queue = (uint16_t)work->queue };
	uint64_t end = work->below;
	uint32_t live = 0;
	*records = 0;
	t->scratch_items.len = 0;
	if (work->dead)
		letters(t, work);
	else
		end = piece_end(t, work, &live);
	rec.below = end;
	rec.count = (uint32_t)(t->scratch_items.len / sizeof(uint64_t));
	work->over = work->dead ? rec.count == 0 : end >= work->below;
	if (work->dead ? rec.count == 0 : live == rec.count) {
		work->from = end; /* nothing to purge there */
		return ERR_OK;
	}
	if (!append(log, &rec, work->from, &t->scratch_items)) {
		work->over = false;
		(void)snprintf(text, 256, "no room in this batch of the log");
		return ERR_RESOURCE_EXHAUSTED;
	}
	t->purges_in_flight++;
	work->from = end;
	*records = 1;
	return ERR_OK;
}

/* ---- apply ---- */

struct purge {
	struct rec_purge rec;
	uint64_t first;
	const uint64_t *named; /* those that stay; of dead letters, those that go */
	uint32_t next_named;
	struct settlement settlement;
	uint64_t affected;
};

static void purge_task(struct tasks *t, struct purge *p, uint64_t task, uint32_t class)
{
	while (p->next_named < p->rec.count && p->named[p->next_named] < task)
		p->next_named++;
	if (p->next_named < p->rec.count && p->named[p->next_named] == task)
		return;
	struct hot *h = hot_find(t, task);
	if (h && h->final != TASK_UNKNOWN)
		return;
	if (h && t->begun)
		task_signal(t, h, SIGNAL_LEASE_LOST, ERR_CANCELLED);
	p->settlement.item = (struct rec_settle_item){ .task = task, .state = TASK_CANCELLED, .code = ERR_CANCELLED };
	task_finish(t, task, h, class, &p->settlement);
	p->affected++;
}

static void purge_segment(struct tasks *t, struct purge *p, struct segment *s)
{
	bool held = segment_hold(s);
	for (uint32_t r = 0; r < s->run_count; r++) {
		uint32_t end = r + 1 < s->run_count ? s->runs[r + 1].first : s->count, from = s->runs[r].first;
		if (class_queue(s->runs[r].class) != p->rec.queue || s->base + end <= p->first)
			continue;
		if (p->first > s->base + from)
			from = (uint32_t)(p->first - s->base);
		for (uint32_t i = from; i < end && s->base + i < p->rec.below; i++)
			if (segment_is_live(s, i))
				purge_task(t, p, s->base + i, s->runs[r].class);
	}
	segment_release(t, s, held);
}

static bool is_dead(const struct hot *h)
{
	return h->final == TASK_DEAD;
}

/* Version 1 meant all dead letters of the queue. */
static void purge_all_dead(struct tasks *t, struct purge *p)
{
	uint32_t count;
	struct hot **dead = hots_sorted(t, is_dead, &count);
	for (uint32_t i = 0; i < count; i++)
		if (class_queue(dead[i]->class) == p->rec.queue) {
			task_forget(t, dead[i]);
			p->affected++;
		}
	free(dead);
}

static void purge_letters(struct tasks *t, struct purge *p)
{
	for (uint32_t i = 0; i < p->rec.count; i++) {
		struct hot *h = hot_find(t, p->named[i]);
		if (!h || h->final != TASK_DEAD || class_queue(h->class) != p->rec.queue)
			continue;
		task_forget(t, h);
		p->affected++;
	}
}

void apply_purge(struct tasks *t, const struct log_entry *entry, const struct log_record *record, bool live,
		 struct applied *out)
{
	struct reader r = { .rest = record->body };
	struct purge p = { 0 };
	read_into(&r, &p.rec, sizeof p.rec);
	p.first = p.rec.version == REC_PURGE_PART ? read_u64(&r) : 0;
	p.named = (const uint64_t *)(const void *)read_bytes(&r, p.rec.count * sizeof(uint64_t)).data;
	ENSURE(!r.failed && (p.rec.version == REC_VERSION || p.rec.version == REC_PURGE_PART));
	p.settlement = (struct settlement){ .time_ms = entry->time_ms, .live = live, .origin = APPLIED_ADMIN };
	out->origin = APPLIED_ADMIN;
	if (live && t->purges_in_flight > 0)
		t->purges_in_flight--;
	if (!queue_at(t, p.rec.queue))
		return;
	if (p.rec.dead && p.rec.version == REC_VERSION)
		purge_all_dead(t, &p);
	else if (p.rec.dead)
		purge_letters(t, &p);
	for (uint32_t i = segment_position(t, p.first); !p.rec.dead && i < t->segment_count && t->segments[i]->base < p.rec.below;) {
		struct segment *s = t->segments[i];
		purge_segment(t, &p, s);
		if (i < t->segment_count && t->segments[i] == s)
			i++;
	}
	out->affected = p.affected;
}
