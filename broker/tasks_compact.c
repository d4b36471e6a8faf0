/* broker/tasks_compact.c: moving what still lives out of nearly empty segments, so that one old task never pins the log.
 *
 *   loop, when idle -> TASKS_COMPACT -> log_fetch, REC_MOVE -> log ... commit -> apply_move
 *
 * A segment is sparse when less than an eighth of its payloads are still needed there (that of an event counts once, however many queues
 * have it), or when only moved payloads and last words of dead letters pin it, and those are less than an eighth of a segment's bytes:
 * moving a segment that is full of them would move it again and again. Retained results are not moved: they end by themselves.
 *
 * Invariants
 *  1. A move changes where a payload (and a dead letter's text) is, nothing else; a task settled meanwhile ignores it.
 *  2. Moves of one round are applied before the next round looks. */
#include "tasks_impl.h"

enum { COMPACT_TASKS_MAX = 64, SPARSE_DIVISOR = 8, PINS_SPARSE_MAX = 1024 };

static struct segment *segment_by_id(const struct tasks *t, uint32_t id)
{
	for (uint32_t i = 0; i < t->segment_count; i++)
		if (t->segments[i]->id == id)
			return t->segments[i];
	return NULL;
}

static uint32_t here(const struct segment *s)
{
	return s ? s->live_count - s->moved : 0;
}

/* Numbers [first, end) are of one record; `copies` runs of the segment have part of it: an event has a number for each of its queues. Adds
 * its payloads, and those of them that are needed. */
static void count_payloads(const struct segment *s, uint32_t first, uint32_t end, uint32_t copies, uint32_t *total, uint32_t *needed)
{
	uint32_t items = (end - first) / copies;
	if (copies == 1 || items * copies != end - first) { /* an event has as many for each queue */
		*total += end - first;
		*needed += segment_count_live(s, first, end - first);
		return;
	}
	*total += items;
	for (uint32_t i = 0; i < items; i++) {
		bool live = false;
		for (uint32_t k = 0; k < copies && !live; k++)
			live = segment_is_live(s, first + k * items + i);
		*needed += live;
	}
}

/* Looks at the payloads where the numbers alone say that it is sparse. What was found dense is not looked at again until an eighth of what
 * lived then is gone. */
static bool payloads_sparse(struct segment *s)
{
	uint32_t total = 0, needed = 0, run = 0;
	if (s->dense_live > 0 && s->live_count > s->dense_live - s->dense_live / SPARSE_DIVISOR)
		return false;
	for (uint32_t first = 0, end; s->offsets && first < s->count; first = end) {
		for (end = first + 1; end < s->count && s->offsets[end] == s->offsets[first];)
			end++;
		while (run + 1 < s->run_count && s->runs[run + 1].first <= first)
			run++;
		uint32_t last = run;
		while (last + 1 < s->run_count && s->runs[last + 1].first < end)
			last++;
		count_payloads(s, first, end, last - run + 1, &total, &needed);
	}
	bool sparse = (uint64_t)needed * SPARSE_DIVISOR < total;
	s->dense_live = sparse ? 0 : s->live_count;
	return sparse;
}

/* Would moving what pins it free most of it? What this process does not know of, because it was moved before a checkpoint, counts as
 * nothing: it is moved once more. */
static bool pins_sparse(const struct tasks *t, uint64_t pins, uint32_t id, uint64_t segment_bytes)
{
	const struct map64_slot *bytes = map64_find(&t->moves_bytes, (uint64_t)id + 1), *count = map64_find(&t->moves_count, (uint64_t)id + 1);
	if (pins > PINS_SPARSE_MAX)
		return false;
	return !bytes || pins * (bytes->value / count->value) * SPARSE_DIVISOR < segment_bytes;
}

static bool is_sparse(const struct tasks *t, uint32_t id, uint64_t segment_bytes)
{
	struct segment *s = segment_by_id(t, id);
	struct map64_slot *pins = map64_find(&t->pins, (uint64_t)id + 1);
	if (s && !s->closed)
		return false;
	if (here(s) > 0)
		return (uint64_t)here(s) * SPARSE_DIVISOR < s->count && payloads_sparse(s);
	return pins && pins_sparse(t, pins->value, id, segment_bytes);
}

/* The next sparse segment behind the cursor, by id; 0 = none (ids start at 1, or 0 is never found sparse). */
static bool compact_candidate(struct tasks *t, uint64_t segment_bytes, uint32_t *id)
{
	uint32_t newest = t->segment_count ? t->segments[t->segment_count - 1]->id : 0;
	uint64_t best = NEVER;
	for (uint32_t i = 0; i < t->segment_count; i++)
		if (t->segments[i]->id > t->compact_cursor && is_sparse(t, t->segments[i]->id, segment_bytes))
			best = MIN_OF(best, t->segments[i]->id);
	for (uint32_t i = 0; i < t->pins.cap; i++) {
		uint64_t key = t->pins.slots[i].key;
		if (key == 0 || key - 1 <= t->compact_cursor || key - 1 >= newest || key - 1 >= best)
			continue;
		if (is_sparse(t, (uint32_t)(key - 1), segment_bytes))
			best = key - 1;
	}
	*id = (uint32_t)best;
	return best != NEVER;
}

/* Tasks with something in that segment, at most `max`. */
static uint32_t compact_collect(struct tasks *t, uint32_t id, uint64_t *out, uint32_t max)
{
	uint32_t count = 0;
	const struct segment *s = segment_by_id(t, id);
	for (uint32_t i = 0; s && here(s) > 0 && i < s->count && count < max; i++)
		if (segment_is_live(s, i) && !(s->moved && map64_find(&t->moved, s->base + i)))
			out[count++] = s->base + i;
	for (uint32_t i = 0; i < t->moved.cap && count < max; i++)
		if (t->moved.slots[i].key && log_addr_segment(t->moved.slots[i].value) == id)
			out[count++] = t->moved.slots[i].key;
	uint64_t at = 0, task;
	for (const struct hot *h; count < max && (h = hots_next(t, &at, &task)) != NULL;) {
		uint64_t addr;
		uint32_t item;
		if (h->final != TASK_DEAD || log_addr_segment(h->result_addr) != id || !h->result_addr)
			continue;
		/* Not if its payload is in the same segment: then it is listed above. */
		if (task_locate(t, h->task, &addr, &item) && log_addr_segment(addr) != id)
			out[count++] = h->task;
	}
	return count;
}

static enum err compact_move(struct tasks *t, struct log *log, uint64_t task)
{
	uint64_t addr, moved_addr;
	uint32_t item;
	const struct hot *h = hot_find(t, task);
	struct log_record from, text_from;
	struct submit_record r;
	struct span text = { NULL, 0 };
	if (!task_locate(t, task, &addr, &item))
		return ERR_OK;
	enum err e = log_fetch(log, addr, &from);
	if (e == ERR_OK && h && h->final == TASK_DEAD && h->result_addr) {
		e = log_fetch(log, h->result_addr, &text_from);
		text = e == ERR_OK ? settle_record_result(&text_from, task, NULL) : text;
	}
	if (e != ERR_OK)
		return e;
	if (submit_record_open(&from, &r) != ERR_OK)
		return ERR_DAMAGED;
	item = submit_record_item(&r, item);
	if (item >= r.count)
		return ERR_DAMAGED;
	struct span payload = span_sub(r.payload, submit_record_offset(&r, item), r.sizes[item]);
	struct rec_move fixed = { .version = REC_VERSION, .head_size = (uint16_t)r.head.len, .count = 1,
				  .submitted_ms = r.submitted_ms };
	uint32_t sizes[4] = { (uint32_t)payload.len, 0, (uint32_t)text.len, 0 }; /* each padded to 8 */
	size_t head_size = align_up(r.head.len, 8);
	size_t size = sizeof fixed + sizeof task + sizeof sizes + head_size + payload.len + text.len;
	uint8_t *body = log_append(log, REC_MOVE, size, &moved_addr);
	if (!body)
		return ERR_RESOURCE_EXHAUSTED;
	memcpy(body, &fixed, sizeof fixed);
	memcpy(body += sizeof fixed, &task, sizeof task);
	memcpy(body += sizeof task, sizes, sizeof sizes);
	memset(body += sizeof sizes, 0, head_size);
	if (r.head.len > 0)
		memcpy(body, r.head.data, r.head.len);
	if (payload.len > 0)
		memcpy(body + head_size, payload.data, payload.len);
	if (text.len > 0)
		memcpy(body + head_size + payload.len, text.data, text.len);
	t->moves_in_flight++;
	return ERR_OK;
}

bool tasks_compact(struct tasks *t, struct log *log)
{
	uint32_t id;
	uint64_t tasks[COMPACT_TASKS_MAX];
	if (t->moves_in_flight > 0)
		return false;
	struct log_stats stats;
	log_get_stats(log, &stats);
	if (!compact_candidate(t, stats.segments ? stats.segment_bytes_on_disk / stats.segments : 0, &id)) {
		t->compact_cursor = 0;
		return false;
	}
	uint32_t count = compact_collect(t, id, tasks, COMPACT_TASKS_MAX);
	if (count == 0)
		t->compact_cursor = id; /* only results hold it */
	for (uint32_t i = 0; i < count; i++) {
		enum err e = compact_move(t, log, tasks[i]);
		if (e == ERR_DAMAGED || e == ERR_NOT_FOUND)
			t->compact_cursor = id; /* not ours to repair: go on with the next segment */
		else if (e != ERR_OK)
			return false; /* being read, or no room: later */
	}
	return true;
}

void apply_move(struct tasks *t, const struct log_record *record, bool live)
{
	struct move_view v;
	enum err e = rec_move_read(record->body, &v);
	ENSURE(e == ERR_OK);
	uint64_t task = v.tasks[0], addr;
	uint32_t item;
	if (live && t->moves_in_flight > 0)
		t->moves_in_flight--;
	if (!task_locate(t, task, &addr, &item))
		return;
	segment_set_moved(t, task, record->addr);
	moves_note(t, record->addr, record->body.len);
	struct hot *h = hot_find(t, task);
	if (v.text_sizes[0] > 0 && h && h->final == TASK_DEAD && h->result_addr) {
		pin_drop(t, h->result_addr);
		h->result_addr = record->addr;
		pin_add(t, h->result_addr);
	}
}
