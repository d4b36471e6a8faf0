/* broker/tasks_segment.c: which tasks exist, and where their records are, at 4 bytes and two bits each.
 *
 *   apply(REC_SUBMIT) -> SEGMENT append;  peek, show -> task_locate;  log seal -> index file;  checkpoint -> live bits
 *
 * A log segment that holds submissions has one struct segment: consecutive numbers from `base` on, one offset each,
 * and runs of equal class (queue, priority, options). Neighbours with the same offset are items of one record. Tasks whose class
 * says so have a stretch of `extras` besides: their lane class and ordering key.
 *
 * Invariants
 *  1. Segments ascend by id and by base, and do not overlap; only the last one grows.
 *  2. offsets do not descend within a segment; the item index of a task is its distance to the first equal offset.
 *  3. live_count counts the set live bits; moved counts those of them whose payload is in a REC_MOVE elsewhere.
 *  4. A closed segment without live bits is freed at once; so is memory for offsets when all that lives has moved.
 *  5. pins count, per log segment, the results, error texts and moved payloads in it that are still needed. */
#include "blob_index.h"
#include "tasks_impl.h"
#include "topics_record.h"

static uint32_t words(uint32_t bits) { return (bits + 63) / 64; }
static bool bit_get(const uint64_t *bits, uint32_t i) { return bits[i / 64] >> (i % 64) & 1; }

/* Sets or clears bits [first, first + count). */
static void bits_fill(uint64_t *bits, uint32_t first, uint32_t count, bool value)
{
	while (count > 0) {
		uint32_t shift = first % 64, n = MIN_OF(count, 64 - shift);
		uint64_t mask = (n == 64 ? ~0ull : (1ull << n) - 1) << shift;
		bits[first / 64] = value ? bits[first / 64] | mask : bits[first / 64] & ~mask;
		first += n;
		count -= n;
	}
}

static uint32_t bits_count(const uint64_t *bits, uint32_t first, uint32_t count)
{
	uint32_t sum = 0;
	while (count > 0) {
		uint32_t shift = first % 64, n = MIN_OF(count, 64 - shift);
		uint64_t mask = (n == 64 ? ~0ull : (1ull << n) - 1) << shift;
		sum += (uint32_t)__builtin_popcountll(bits[first / 64] & mask);
		first += n;
		count -= n;
	}
	return sum;
}

/* ---- memory ---- */

static void segment_resize(struct tasks *t, struct segment *s, uint32_t cap)
{
	ENSURE(cap >= s->count);
	uint32_t old_words = words(s->cap), new_words = words(cap);
	if (s->offsets)
		s->offsets = mem_resize(t, s->offsets, s->cap * sizeof *s->offsets, cap * sizeof *s->offsets);
	else if (s->cap == 0)
		s->offsets = mem_resize(t, NULL, 0, cap * sizeof *s->offsets);
	s->live = mem_resize(t, s->live, old_words * sizeof *s->live, new_words * sizeof *s->live);
	s->special = mem_resize(t, s->special, old_words * sizeof *s->special, new_words * sizeof *s->special);
	for (uint32_t i = old_words; i < new_words; i++)
		s->live[i] = s->special[i] = 0;
	s->cap = cap;
}

static void offsets_free(struct tasks *t, struct segment *s)
{
	if (s->offsets)
		(void)mem_resize(t, s->offsets, s->cap * sizeof *s->offsets, 0);
	s->offsets = NULL;
}

static void runs_resize(struct tasks *t, struct segment *s, uint32_t cap)
{
	s->runs = mem_resize(t, s->runs, s->run_cap * sizeof *s->runs, cap * sizeof *s->runs);
	s->run_cap = cap;
}

static void extras_resize(struct tasks *t, struct segment *s, uint32_t cap)
{
	s->extras = mem_resize(t, s->extras, s->extra_cap * sizeof *s->extras, cap * sizeof *s->extras);
	s->extra_cap = cap;
}

static void segment_free(struct tasks *t, struct segment *s)
{
	if (s->extra_cap)
		extras_resize(t, s, 0);
	owner_runs_free(t, s);
	offsets_free(t, s);
	(void)mem_resize(t, s->live, words(s->cap) * sizeof *s->live, 0);
	(void)mem_resize(t, s->special, words(s->cap) * sizeof *s->special, 0);
	runs_resize(t, s, 0);
	(void)mem_resize(t, s, sizeof *s, 0);
}

void task_segments_free(struct tasks *t)
{
	for (uint32_t i = 0; i < t->segment_count; i++)
		segment_free(t, t->segments[i]);
	(void)mem_resize(t, t->segments, t->segment_cap * sizeof *t->segments, 0);
	t->segments = NULL;
	t->segment_count = t->segment_cap = 0;
	map64_free(&t->moved, &t->memory);
	map64_free(&t->pins, &t->memory);
	map64_free(&t->moves_bytes, &t->memory);
	map64_free(&t->moves_count, &t->memory);
	map64_free(&t->indexed, &t->memory);
	(void)mem_resize(t, t->options, OPTIONS_MAX * sizeof *t->options, 0);
}

/* Exact size, once no more tasks come. */
static void segment_shrink(struct tasks *t, struct segment *s)
{
	if (s->cap > s->count && s->count > 0)
		segment_resize(t, s, s->count);
	if (s->run_cap > s->run_count && s->run_count > 0)
		runs_resize(t, s, s->run_count);
	if (s->extra_cap > s->extra_count)
		extras_resize(t, s, s->extra_count);
	owner_runs_shrink(t, s);
}

/* Frees what invariant 4 says. */
static void segment_tidy(struct tasks *t, struct segment *s)
{
	if (!s->closed)
		return;
	if (s->live_count > 0) {
		if (s->moved == s->live_count)
			offsets_free(t, s);
		return;
	}
	uint32_t i = segment_position(t, s->base);
	while (i < t->segment_count && t->segments[i] != s)
		i++;
	ENSURE(i < t->segment_count);
	memmove(&t->segments[i], &t->segments[i + 1], (t->segment_count - i - 1) * sizeof *t->segments);
	t->segment_count--;
	segment_free(t, s);
}

bool segment_hold(struct segment *s)
{
	bool closed = s->closed;
	s->closed = false;
	return closed;
}

void segment_release(struct tasks *t, struct segment *s, bool held)
{
	s->closed = held;
	segment_tidy(t, s);
}

/* ---- finding ---- */

uint32_t segment_position(const struct tasks *t, uint64_t task)
{
	uint32_t low = 0, high = t->segment_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		const struct segment *s = t->segments[middle];
		if (s->base + s->count > task)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct segment *segment_of(struct tasks *t, uint64_t task, uint32_t *index)
{
	uint32_t i = t->segment_hint;
	if (i < t->segment_count && task - t->segments[i]->base < t->segments[i]->count) {
		*index = (uint32_t)(task - t->segments[i]->base);
		return t->segments[i];
	}
	t->segment_hint = i = segment_position(t, task);
	if (i == t->segment_count || task < t->segments[i]->base)
		return NULL;
	*index = (uint32_t)(task - t->segments[i]->base);
	return t->segments[i];
}

bool segment_is_live(const struct segment *s, uint32_t index)
{
	ENSURE(index < s->count);
	return bit_get(s->live, index);
}

uint32_t segment_class(const struct segment *s, uint32_t index)
{
	ENSURE(index < s->count);
	uint32_t low = 0, high = s->run_count;
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (s->runs[middle].first <= index)
			low = middle;
		else
			high = middle;
	}
	ENSURE(s->runs[low].first <= index);
	return s->runs[low].class;
}

const struct segment_extra *segment_extra(struct segment *s, uint32_t index)
{
	const struct segment_extra *e = &s->extras[s->extra_hint];
	if (s->extra_hint < s->extra_count && index - e->first < e->count)
		return e;
	uint32_t low = 0, high = s->extra_count;
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (s->extras[middle].first <= index)
			low = middle;
		else
			high = middle;
	}
	ENSURE(low < s->extra_count && index - s->extras[low].first < s->extras[low].count);
	s->extra_hint = low;
	return &s->extras[low];
}

/* The lane class of a task; 0 for nearly all. */
static uint32_t lane_of(const struct tasks *t, struct segment *s, uint32_t index)
{
	bool extra = s->extra_count > 0 && class_extra(segment_class(s, index));
	return extra ? lane_class_by_hash(t, segment_extra(s, index)->lane) : 0;
}

void segment_set_special(struct tasks *t, uint64_t task)
{
	uint32_t index;
	struct segment *s = segment_of(t, task, &index);
	if (s)
		s->special[index / 64] |= 1ull << (index % 64);
}

/* How far back the first equal offset is: doubling steps, then halving. */
static uint32_t item_index(const struct segment *s, uint32_t index)
{
	uint32_t offset = s->offsets[index], step = 1, back = 0;
	while (back + step <= index && s->offsets[index - back - step] == offset) {
		back += step;
		step *= 2;
	}
	for (; step > 0; step /= 2)
		if (back + step <= index && s->offsets[index - back - step] == offset)
			back += step;
	return back;
}

bool task_origin(struct tasks *t, uint64_t task, uint64_t *addr, uint32_t *item)
{
	uint32_t index;
	const struct segment *s = segment_of(t, task, &index);
	if (!s || !s->offsets)
		return false;
	*addr = (uint64_t)s->id << 32 | s->offsets[index];
	*item = item_index(s, index);
	return true;
}

bool task_locate(struct tasks *t, uint64_t task, uint64_t *addr, uint32_t *item)
{
	uint32_t index;
	const struct segment *s = segment_of(t, task, &index);
	if (!s || !bit_get(s->live, index))
		return false;
	struct map64_slot *slot = s->moved ? map64_find(&t->moved, task) : NULL;
	if (slot) {
		*addr = slot->value;
		*item = 0; /* a REC_MOVE has one task */
		return true;
	}
	bool found = task_origin(t, task, addr, item);
	ENSURE(found);
	return true;
}

/* ---- changing ---- */

static void segments_push(struct tasks *t, struct segment *s)
{
	if (t->segment_count == t->segment_cap) {
		uint32_t cap = t->segment_cap ? t->segment_cap * 2 : 16;
		t->segments = mem_resize(t, t->segments, t->segment_cap * sizeof *t->segments, cap * sizeof *t->segments);
		t->segment_cap = cap;
	}
	t->segments[t->segment_count++] = s;
}

void segment_restore(struct tasks *t, struct segment *s)
{
	if (t->segment_count > 0)
		t->segments[t->segment_count - 1]->closed = true;
	s->closed = s->offsets == NULL && s->count > 0; /* sealed, or all moved: it does not grow any more */
	segments_push(t, s);
}

struct segment *segment_for_append(struct tasks *t, uint32_t id, uint64_t base)
{
	struct segment *last = t->segment_count ? t->segments[t->segment_count - 1] : NULL;
	if (last && last->id == id)
		return last;
	ENSURE(!last || (last->id < id && last->base + last->count <= base));
	if (last) {
		last->closed = true;
		segment_shrink(t, last);
		segment_tidy(t, last);
	}
	struct segment *s = mem_resize(t, NULL, 0, sizeof *s);
	*s = (struct segment){ .base = base, .id = id };
	struct map64_slot *indexed = map64_find(&t->indexed, (uint64_t)id + 1);
	if (indexed) {
		s->indexed = true;
		map64_remove(&t->indexed, indexed);
	}
	segments_push(t, s);
	return s;
}

void segment_append(struct tasks *t, struct segment *s, uint32_t count, uint64_t addr, uint32_t class)
{
	uint32_t offset = (uint32_t)addr;
	ENSURE(log_addr_segment(addr) == s->id && !s->closed);
	ENSURE(s->count == 0 || s->offsets[s->count - 1] <= offset);
	if (s->cap - s->count < count) {
		uint64_t cap = MAX_OF((uint64_t)s->count + count, (uint64_t)s->cap + s->cap / 4);
		cap = align_up(MAX_OF(cap, 64), 64);
		ENSURE(cap < UINT32_MAX);
		segment_resize(t, s, (uint32_t)cap);
	}
	for (uint32_t i = 0; i < count; i++)
		s->offsets[s->count + i] = offset;
	bits_fill(s->live, s->count, count, true);
	if (s->run_count == 0 || s->runs[s->run_count - 1].class != class) {
		if (s->run_count == s->run_cap)
			runs_resize(t, s, MAX_OF(4, s->run_cap + s->run_cap / 4));
		s->runs[s->run_count++] = (struct segment_run){ s->count, class };
	}
	s->count += count;
	s->live_count += count;
}

void segment_append_extra(struct tasks *t, struct segment *s, uint32_t count, uint64_t lane, uint64_t order)
{
	struct segment_extra *last = s->extra_count ? &s->extras[s->extra_count - 1] : NULL;
	uint32_t first = s->count - count;
	if (last && last->lane == lane && last->order == order && last->first + last->count == first) {
		last->count += count;
		return;
	}
	if (s->extra_count == s->extra_cap)
		extras_resize(t, s, MAX_OF(8, s->extra_cap + s->extra_cap / 4));
	s->extras[s->extra_count++] = (struct segment_extra){ order, lane, first, count };
}

static void moved_drop(struct tasks *t, struct segment *s, uint64_t task)
{
	struct map64_slot *slot = map64_find(&t->moved, task);
	if (!slot)
		return;
	pin_drop(t, slot->value);
	map64_remove(&t->moved, slot);
	ENSURE(s->moved > 0);
	s->moved--;
}

void task_drop_payload(struct tasks *t, uint64_t task)
{
	uint32_t index;
	struct segment *s = segment_of(t, task, &index);
	if (!s || !bit_get(s->live, index))
		return;
	if (s->moved)
		moved_drop(t, s, task);
	ENSURE(s->live_count > 0);
	uint32_t lane = lane_of(t, s, index);
	if (s->owner_count > 0)
		owner_dropped(t, s, index, 1);
	s->live[index / 64] &= ~(1ull << (index % 64));
	s->special[index / 64] &= ~(1ull << (index % 64));
	s->live_count--;
	blobs_drop_task(t->blobs, BLOB_OF_PAYLOAD, task, t->time_ms);
	lane_class_unref(t, lane, 1);
	segment_tidy(t, s);
}

void segment_drop_range(struct tasks *t, uint64_t first, uint32_t count)
{
	uint32_t index;
	struct segment *s = segment_of(t, first, &index);
	ENSURE(s && count <= s->count - index && s->moved == 0);
	uint32_t dropped = bits_count(s->live, index, count), lane = lane_of(t, s, index); /* of one record: all in one lane */
	s->live_count -= dropped;
	if (s->owner_count > 0)
		owner_dropped(t, s, index, dropped);
	lane_class_unref(t, lane, dropped);
	bits_fill(s->live, index, count, false);
	segment_tidy(t, s);
}

void segment_set_moved(struct tasks *t, uint64_t task, uint64_t addr)
{
	uint32_t index;
	struct segment *s = segment_of(t, task, &index);
	ENSURE(s && bit_get(s->live, index));
	moved_drop(t, s, task);
	map64_add(&t->moved, task, addr, &t->memory);
	pin_add(t, addr);
	s->moved++;
	segment_tidy(t, s);
}

void pin_add(struct tasks *t, uint64_t addr)
{
	uint64_t key = (uint64_t)log_addr_segment(addr) + 1;
	struct map64_slot *slot = map64_find(&t->pins, key);
	if (slot)
		slot->value++;
	else
		map64_add(&t->pins, key, 1, &t->memory);
}

void pin_drop(struct tasks *t, uint64_t addr)
{
	struct map64_slot *slot = map64_find(&t->pins, (uint64_t)log_addr_segment(addr) + 1);
	ENSURE(slot && slot->value > 0);
	if (--slot->value > 0)
		return;
	struct map64_slot *bytes = map64_find(&t->moves_bytes, slot->key), *count = map64_find(&t->moves_count, slot->key);
	if (bytes)
		map64_remove(&t->moves_bytes, bytes);
	if (count)
		map64_remove(&t->moves_count, count);
	map64_remove(&t->pins, slot);
}

void moves_note(struct tasks *t, uint64_t addr, size_t bytes)
{
	const struct { struct map64 *map; uint64_t more; } sums[] = { { &t->moves_bytes, bytes }, { &t->moves_count, 1 } };
	for (size_t i = 0; i < COUNT_OF(sums); i++) {
		struct map64_slot *slot = map64_find(sums[i].map, (uint64_t)log_addr_segment(addr) + 1);
		if (slot)
			slot->value += sums[i].more;
		else
			map64_add(sums[i].map, (uint64_t)log_addr_segment(addr) + 1, sums[i].more, &t->memory);
	}
}

/* Never forgotten: there are few, and a class in a sealed segment names them by number. */
uint32_t options_intern(struct tasks *t, uint64_t retention_ms, uint32_t max_attempts)
{
	const struct options *last = &t->options[t->options_last];
	if (last->retention_ms == retention_ms && last->max_attempts == max_attempts)
		return t->options_last;
	for (uint32_t i = 0; i < t->options_count; i++)
		if (t->options[i].retention_ms == retention_ms && t->options[i].max_attempts == max_attempts)
			return t->options_last = i;
	if (t->options_count == OPTIONS_MAX)
		return OPTIONS_MAX;
	t->options[t->options_count] = (struct options){ retention_ms, max_attempts };
	return t->options_last = t->options_count++;
}

bool tasks_segment_live(const struct tasks *t, uint32_t segment)
{
	if (map64_find(&t->pins, (uint64_t)segment + 1))
		return true;
	for (uint32_t i = t->segment_count; i-- > 0 && t->segments[i]->id >= segment;)
		if (t->segments[i]->id == segment)
			return t->segments[i]->live_count > t->segments[i]->moved || !t->segments[i]->closed;
	return false;
}

/* ---- bytes: an index file and the inline form in a checkpoint are the same, the latter with live bits ----
 *
 *   u32 magic "HKTI", u16 version, u16 flags, u32 id, u32 count, u64 base, u32 run_count, u32 extra_count,
 *   in version 2, where somebody is counted: u64 owner_count, {u64 owner, u64 bytes, u32 first, u32 count} (owner.h)
 *   flags: 1 offsets, 2 live bits, 4 runs, extras and offsets are in the index file
 *   runs {u32 first, u32 class}, extras (struct segment_extra), offsets u32[count] padded to 8, live u64[] */
enum { INDEX_MAGIC = 0x49544b48, INDEX_VERSION = 1, INDEX_OWNERS = 2 /* a version, too */ };
enum { INDEX_OFFSETS = 1, INDEX_LIVE = 2, INDEX_ELSEWHERE = 4 };
struct index_head {
	uint32_t magic;
	uint16_t version, flags;
	uint32_t id, count;
	uint64_t base;
	uint32_t run_count, extra_count;
};
_Static_assert(sizeof(struct segment_extra) == 24, "on disk");
_Static_assert(sizeof(struct index_head) == 32, "on disk");

void segment_put(struct buf *out, const struct segment *s, bool with_live)
{
	struct index_head head = { INDEX_MAGIC, INDEX_VERSION, 0, s->id, s->count, s->base, s->run_count,
				   s->extra_count };
	bool elsewhere = with_live && s->indexed && s->offsets;
	bool offsets = s->offsets && !elsewhere;
	head.flags = (uint16_t)((offsets ? INDEX_OFFSETS : 0) | (with_live ? INDEX_LIVE : 0) |
				(elsewhere ? INDEX_ELSEWHERE : 0));
	if (elsewhere)
		head.run_count = head.extra_count = 0;
	bool owners = s->owner_count > 0 && !elsewhere;
	head.version = owners ? INDEX_OWNERS : INDEX_VERSION;
	buf_append(out, &head, sizeof head);
	if (owners)
		owner_runs_put(s, out);
	buf_append(out, s->runs, head.run_count * sizeof *s->runs);
	buf_append(out, s->extras, head.extra_count * sizeof *s->extras);
	if (offsets) {
		uint32_t zero = 0;
		buf_append(out, s->offsets, s->count * sizeof *s->offsets);
		buf_append(out, &zero, s->count % 2 * sizeof zero);
	}
	if (with_live)
		buf_append(out, s->live, words(s->count) * sizeof *s->live);
}

/* Extras ascend, do not overlap, and are there for every task of a run that says so. */
static bool extras_ok(const struct segment *s)
{
	uint32_t e = 0;
	for (uint32_t i = 0; i < s->extra_count; i++) {
		uint32_t above = i == 0 ? 0 : s->extras[i - 1].first + s->extras[i - 1].count;
		if (s->extras[i].first < above || s->extras[i].count == 0 || s->extras[i].first >= s->count ||
		    s->extras[i].count > s->count - s->extras[i].first)
			return false;
	}
	for (uint32_t r = 0; r < s->run_count; r++) {
		uint32_t at = s->runs[r].first, end = r + 1 < s->run_count ? s->runs[r + 1].first : s->count;
		while (class_extra(s->runs[r].class) && at < end) {
			while (e < s->extra_count && s->extras[e].first + s->extras[e].count <= at)
				e++;
			if (e == s->extra_count || s->extras[e].first > at)
				return false;
			at = s->extras[e].first + s->extras[e].count;
		}
	}
	return true;
}

/* Runs start at 0, ascend and stay inside; offsets do not descend. */
static bool segment_content_ok(const struct segment *s)
{
	if (!extras_ok(s))
		return false;
	for (uint32_t i = 0; i < s->run_count; i++) {
		uint32_t above = i == 0 ? 0 : s->runs[i - 1].first + 1;
		if (i == 0 ? s->runs[i].first != 0 : s->runs[i].first < above)
			return false;
		if (s->runs[i].first >= s->count)
			return false;
	}
	for (uint32_t i = 1; s->offsets && i < s->count; i++)
		if (s->offsets[i] < s->offsets[i - 1])
			return false;
	return s->count == 0 || (s->run_count > 0) == s->inline_content;
}

struct segment *segment_get(struct tasks *t, struct reader *r)
{
	struct index_head head;
	read_into(r, &head, sizeof head);
	if (r->failed || head.magic != INDEX_MAGIC || head.version == 0 || head.version > INDEX_OWNERS || head.run_count > head.count ||
	    head.extra_count > head.count ||
	    head.count > r->rest.len * 8 || head.base + head.count < head.base)
		return NULL;
	struct segment owned = { .base = 0 };
	if (head.version == INDEX_OWNERS && !owner_runs_get(t, &owned, r, head.count)) {
		owner_runs_free(t, &owned);
		return NULL;
	}
	struct span runs = read_bytes(r, head.run_count * sizeof(struct segment_run));
	struct span extras = read_bytes(r, head.extra_count * sizeof(struct segment_extra));
	struct span offsets = { NULL, 0 }, live = { NULL, 0 };
	if (head.flags & INDEX_OFFSETS) {
		offsets = read_bytes(r, head.count * sizeof(uint32_t));
		(void)read_bytes(r, head.count % 2 * sizeof(uint32_t));
	}
	if (head.flags & INDEX_LIVE)
		live = read_bytes(r, words(head.count) * sizeof(uint64_t));
	if (r->failed) {
		owner_runs_free(t, &owned);
		return NULL;
	}
	struct segment *s = mem_resize(t, NULL, 0, sizeof *s);
	*s = (struct segment){ .base = head.base, .id = head.id, .owners = owned.owners, .owner_count = owned.owner_count,
			       .owner_cap = owned.owner_cap };
	s->inline_content = !(head.flags & INDEX_ELSEWHERE);
	if (head.count > 0) {
		segment_resize(t, s, head.count);
		runs_resize(t, s, head.run_count);
	}
	s->count = head.count;
	s->run_count = head.run_count;
	if (runs.len)
		memcpy(s->runs, runs.data, runs.len);
	if (extras.len) {
		extras_resize(t, s, head.extra_count);
		memcpy(s->extras, extras.data, extras.len);
		s->extra_count = head.extra_count;
	}
	if (offsets.len)
		memcpy(s->offsets, offsets.data, offsets.len);
	else
		offsets_free(t, s);
	if (live.len)
		memcpy(s->live, live.data, live.len);
	s->live_count = bits_count(s->live, 0, s->count);
	if (!segment_content_ok(s) || ((head.count % 64) && live.len && s->live[s->count / 64] >> (s->count % 64))) {
		segment_free(t, s);
		return NULL;
	}
	return s;
}

uint32_t segment_count_live(const struct segment *s, uint32_t first, uint32_t count)
{
	return bits_count(s->live, first, count);
}

static struct segment *segment_by_number(const struct tasks *t, uint32_t id)
{
	for (uint32_t i = t->segment_count; i-- > 0 && t->segments[i]->id >= id;)
		if (t->segments[i]->id == id)
			return t->segments[i];
	return NULL;
}

void tasks_seal(struct tasks *t, uint32_t segment, struct buf *out)
{
	struct segment *s = segment_by_number(t, segment);
	const struct segment none = { .id = segment };
	segment_put(out, s ? s : &none, false);
	if (!s)
		return;
	s->indexed = true;
	s->closed = true;
	segment_shrink(t, s);
	segment_tidy(t, s);
}

/* Where the checkpoint knows no task of the segment, none lives: its index says so, as tasks_seal would. */
void tasks_reindex(struct tasks *t, uint32_t segment, const struct log_record *record, struct buf *out)
{
	const struct segment *known = segment_by_number(t, segment);
	struct segment none = { .id = segment };
	struct submit_view v;
	struct event_view event;
	bool is_event = record && record->kind == REC_EVENT && rec_event_read(record->body, &event) == ERR_OK;
	if (record && (!known || (!is_event && (record->kind != REC_SUBMIT || rec_submit_read(record->body, &v) != ERR_OK))))
		return;
	if (record && !t->reindexed) {
		t->reindexed = mem_resize(t, NULL, 0, sizeof *t->reindexed);
		*t->reindexed = (struct segment){ .id = segment, .base = known->base };
	}
	if (is_event) {
		topics_event_append(t, t->reindexed, &event, record->addr);
		return;
	}
	if (record) {
		segment_append(t, t->reindexed, v.fixed.count, record->addr, submit_class(t, &v));
		if (v.fixed.flags & SUBMIT_LANE)
			segment_append_extra(t, t->reindexed, v.fixed.count,
					     lane_class_hash(t, v.fixed.queue, v.requires, v.principal), v.lane.order);
		if (v.owner)
			owner_append(t, t->reindexed, v.fixed.count, v.owner, submit_bytes(&v));
		return;
	}
	segment_put(out, t->reindexed ? t->reindexed : &none, false);
	if (t->reindexed)
		segment_free(t, t->reindexed);
	t->reindexed = NULL;
}

/* Counts what lives in each lane class. False where a live task names one that is not there. */
bool segment_count_lanes(struct tasks *t, const struct segment *s)
{
	for (uint32_t i = 0; i < s->extra_count; i++) {
		const struct segment_extra *e = &s->extras[i];
		uint32_t count = bits_count(s->live, e->first, e->count);
		if (count == 0 || e->lane == 0)
			continue;
		uint32_t lane = lane_class_by_hash(t, e->lane);
		if (lane == LANE_CLASS_NONE)
			return false;
		lane_class_ref(t, lane, count);
	}
	return true;
}

/* The checkpoint has the live bits of segments it relies on an index file for; the file has the rest. */
static bool segment_adopt(struct tasks *t, struct segment *known, struct segment *loaded)
{
	if (known->id != loaded->id || known->base != loaded->base || known->count != loaded->count || !loaded->offsets)
		return false;
	known->offsets = mem_resize(t, known->offsets, 0, known->cap * sizeof *known->offsets);
	memcpy(known->offsets, loaded->offsets, known->count * sizeof *known->offsets);
	runs_resize(t, known, loaded->run_count);
	memcpy(known->runs, loaded->runs, loaded->run_count * sizeof *known->runs);
	known->run_count = loaded->run_count;
	if (loaded->extra_count > 0) {
		extras_resize(t, known, loaded->extra_count);
		memcpy(known->extras, loaded->extras, loaded->extra_count * sizeof *known->extras);
		known->extra_count = loaded->extra_count;
	}
	owner_runs_take(t, known, loaded);
	known->indexed = true;
	return segment_count_lanes(t, known);
}

enum err tasks_load_segment(struct tasks *t, uint32_t segment, struct span index, char text[256])
{
	struct reader r = { .rest = index };
	struct segment *loaded = segment_get(t, &r);
	bool ok = loaded && r.rest.len == 0 && loaded->id == segment;
	struct segment *known = segment_by_number(t, segment);
	if (ok && known && !known->inline_content)
		ok = known->run_count == 0 && segment_adopt(t, known, loaded);
	else if (ok && known)
		known->indexed = known->offsets != NULL;
	else if (ok && !map64_find(&t->indexed, (uint64_t)segment + 1))
		map64_add(&t->indexed, (uint64_t)segment + 1, 1, &t->memory);
	if (loaded)
		segment_free(t, loaded);
	if (ok)
		return ERR_OK;
	(void)snprintf(text, 256, "the index of segment %u does not fit the checkpoint or is not one", segment);
	return ERR_DAMAGED;
}
