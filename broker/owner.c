/* broker/owner.c: tasks and bytes of those whom a limit counts. The contract and the invariants stand in owner.h. */
#include "owner.h"

#include "tasks_impl.h"

#define OWNER_DOMAIN 0x6f776e657273ull

static uint64_t owner_hash(struct span principal)
{
	return bytes_hash_open(principal, OWNER_DOMAIN) | 1; /* the operator chooses these names, so nobody finds two that collide */
}

static uint64_t place_key(uint64_t owner, uint32_t queue)
{
	uint64_t key = owner ^ (uint64_t)queue * 0x9e3779b97f4a7c15u;
	return key ? key : 1;
}

/* ---- counts ---- */

static uint64_t count_of(const struct map64 *m, uint64_t key)
{
	const struct map64_slot *slot = map64_find(m, key);
	return slot ? slot->value : 0;
}

static void count_add(struct tasks *t, struct map64 *m, uint64_t key, uint64_t more)
{
	struct map64_slot *slot = more ? map64_find(m, key) : NULL;
	if (slot)
		slot->value += more;
	else if (more)
		map64_add(m, key, more, &t->memory);
}

static void count_take(struct map64 *m, uint64_t key, uint64_t less)
{
	struct map64_slot *slot = less ? map64_find(m, key) : NULL;
	if (less == 0)
		return;
	ENSURE(slot && slot->value >= less);
	slot->value -= less;
	if (slot->value == 0)
		map64_remove(m, slot);
}

/* ---- proposals ---- */

void tasks_set_owner(struct tasks *t, struct span principal, const struct owner_limits *limits)
{
	struct owners *o = &t->owners;
	bool counts = limits && principal.len > 0 && (limits->queue_tasks || limits->queue_permille || limits->stored_bytes);
	o->owner = counts ? owner_hash(principal) : 0;
	if (!counts)
		return;
	o->limits = *limits;
	(void)snprintf(o->name, sizeof o->name, "%.*s", (int)MIN_OF(principal.len, sizeof o->name - 1), (const char *)principal.data);
}

uint64_t tasks_owner_bytes(const struct tasks *t, struct span principal)
{
	uint64_t owner = owner_hash(principal);
	return count_of(&t->owners.bytes, owner) + count_of(&t->owners.bytes_proposed, owner);
}

uint64_t tasks_owner_tasks(const struct tasks *t, struct span principal, uint32_t queue)
{
	return count_of(&t->owners.tasks, place_key(owner_hash(principal), queue));
}

void tasks_owner_charge(struct tasks *t, struct span principal, int64_t bytes)
{
	if (bytes >= 0)
		count_add(t, &t->owners.bytes, owner_hash(principal), (uint64_t)bytes);
	else
		count_take(&t->owners.bytes, owner_hash(principal), (uint64_t)-bytes);
}

/* Of the limits of a queue the lower one. 0 = none. */
static uint64_t queue_max(const struct owner_limits *l, const struct queue *q)
{
	uint64_t length = (uint64_t)q->settings.length_max;
	uint64_t share = l->queue_permille && length ? MAX_OF(length * l->queue_permille / 1000, 1u) : 0;
	return l->queue_tasks && share ? MIN_OF(l->queue_tasks, share) : MAX_OF(l->queue_tasks, share);
}

uint32_t owner_fits(const struct tasks *t, uint32_t queue, const uint32_t *sizes, uint32_t count, size_t head, uint8_t *limit,
		    char text[256])
{
	const struct owners *o = &t->owners;
	const struct queue *q = t->queues[queue - 1];
	uint64_t key = place_key(o->owner, queue), max = queue_max(&o->limits, q);
	uint64_t tasks = count_of(&o->tasks, key) + count_of(&o->tasks_proposed, key);
	uint32_t fits = max == 0 ? count : tasks >= max ? 0 : (uint32_t)MIN_OF(count, max - tasks);
	if (fits == 0) {
		*limit = OWNER_LIMIT_QUEUE;
		(void)snprintf(text, 256, "queue %.*s has %llu tasks of %s, whose limit there is %llu", (int)MIN_OF(q->name_size, 80u), q->name,
			       (unsigned long long)tasks, o->name, (unsigned long long)max);
		return 0;
	}
	uint64_t stored = count_of(&o->bytes, o->owner) + count_of(&o->bytes_proposed, o->owner), bytes = head;
	uint32_t n = 0;
	while (n < fits && (o->limits.stored_bytes == 0 || stored + bytes + sizes[n] <= o->limits.stored_bytes))
		bytes += sizes[n++];
	if (n > 0)
		return n;
	*limit = OWNER_LIMIT_STORED;
	(void)snprintf(text, 256, "%s has %llu bytes in tasks and results, and its limit of stored-bytes is %llu", o->name,
		       (unsigned long long)stored, (unsigned long long)o->limits.stored_bytes);
	return 0;
}

void owner_proposed(struct tasks *t, uint64_t owner, uint32_t queue, uint32_t count, uint64_t bytes)
{
	count_add(t, &t->owners.tasks_proposed, place_key(owner, queue), count);
	count_add(t, &t->owners.bytes_proposed, owner, bytes);
}

void owner_arrived(struct tasks *t, uint64_t owner, uint32_t queue, uint32_t count, uint64_t bytes)
{
	count_take(&t->owners.tasks_proposed, place_key(owner, queue), count);
	count_take(&t->owners.bytes_proposed, owner, bytes);
}

/* ---- runs of a segment ---- */

/* What the live tasks of the run count. */
static uint64_t run_bytes(const struct owner_run *run)
{
	return run->bytes / run->count * run->live + run->bytes % run->count * run->live / run->count;
}

static void runs_resize(struct tasks *t, struct segment *s, uint32_t cap)
{
	s->owners = mem_resize(t, s->owners, s->owner_cap * sizeof *s->owners, cap * sizeof *s->owners);
	s->owner_cap = cap;
}

static struct owner_run *run_at(const struct segment *s, uint32_t index)
{
	uint32_t low = 0, high = s->owner_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (s->owners[middle].first + s->owners[middle].count <= index)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->owner_count && s->owners[low].first <= index ? &s->owners[low] : NULL;
}

void owner_append(struct tasks *t, struct segment *s, uint32_t count, uint64_t owner, uint64_t bytes)
{
	uint32_t first = s->count - count;
	struct owner_run *run = s->owner_count ? &s->owners[s->owner_count - 1] : NULL;
	bool joins = run && run->owner == owner && run->first + run->count == first && run->bytes * count == bytes * run->count &&
		     class_queue(segment_class(s, run->first)) == class_queue(segment_class(s, first));
	uint64_t before = joins ? run_bytes(run) : 0;
	if (!joins) {
		if (s->owner_count == s->owner_cap)
			runs_resize(t, s, MAX_OF(4, s->owner_cap + s->owner_cap / 4));
		run = &s->owners[s->owner_count++];
		*run = (struct owner_run){ .owner = owner, .first = first };
	}
	run->count += count;
	run->bytes += bytes;
	if (!t->begun || s == t->reindexed)
		return;
	run->live += count;
	count_add(t, &t->owners.bytes, owner, run_bytes(run) - before);
}

void owner_dropped(struct tasks *t, struct segment *s, uint32_t index, uint32_t count)
{
	struct owner_run *run = t->begun ? run_at(s, index) : NULL;
	if (!run || count == 0)
		return;
	uint64_t before = run_bytes(run);
	ENSURE(run->live >= count);
	run->live -= count;
	count_take(&t->owners.bytes, run->owner, before - run_bytes(run));
}

uint64_t owner_of(struct tasks *t, uint64_t task)
{
	uint32_t index;
	const struct segment *s = segment_of(t, task, &index);
	const struct owner_run *run = s && s->owner_count > 0 ? run_at(s, index) : NULL;
	return run ? run->owner : 0;
}

void owner_opened(struct tasks *t, uint64_t owner, uint32_t queue, uint32_t count)
{
	if (owner && t->begun)
		count_add(t, &t->owners.tasks, place_key(owner, queue), count);
}

void owner_closed(struct tasks *t, uint64_t owner, uint32_t queue)
{
	if (owner && t->begun)
		count_take(&t->owners.tasks, place_key(owner, queue), 1);
}

/* ---- results ---- */

void owner_kept(struct tasks *t, const struct hot *h)
{
	if (h->owner && t->begun && h->result_addr)
		count_add(t, &t->owners.bytes, h->owner, h->result_size);
}

void owner_let_go(struct tasks *t, struct hot *h)
{
	if (h->owner && t->begun && h->result_addr)
		count_take(&t->owners.bytes, h->owner, h->result_size);
	h->owner = 0;
}

/* ---- start, end ---- */

void owners_begin(struct tasks *t)
{
	uint64_t at = 0, task;
	const struct hot *h;
	uint32_t index;
	for (uint32_t i = 0; i < t->segment_count; i++) {
		const struct segment *s = t->segments[i];
		for (uint32_t r = 0; r < s->owner_count; r++) {
			struct owner_run *run = &s->owners[r];
			run->live = segment_count_live(s, run->first, run->count);
			count_add(t, &t->owners.bytes, run->owner, run_bytes(run));
			count_add(t, &t->owners.tasks, place_key(run->owner, class_queue(segment_class(s, run->first))), run->live);
		}
	}
	while ((h = hots_next(t, &at, &task)) != NULL) {
		if (h->final == TASK_UNKNOWN)
			continue;
		owner_kept(t, h);
		const struct segment *s = segment_of(t, task, &index);
		if (s && segment_is_live(s, index))
			owner_closed(t, owner_of(t, task), class_queue(h->class));
	}
}

void owners_free(struct tasks *t)
{
	map64_free(&t->owners.bytes, &t->memory);
	map64_free(&t->owners.bytes_proposed, &t->memory);
	map64_free(&t->owners.tasks, &t->memory);
	map64_free(&t->owners.tasks_proposed, &t->memory);
}

/* ---- disk ---- */

void owner_runs_put(const struct segment *s, struct buf *out)
{
	uint64_t count = s->owner_count;
	buf_append(out, &count, sizeof count);
	for (uint32_t i = 0; i < s->owner_count; i++)
		buf_append(out, &s->owners[i], OWNER_RUN_DISK);
}

bool owner_runs_get(struct tasks *t, struct segment *s, struct reader *r, uint32_t tasks)
{
	uint64_t count = read_u64(r), end = 0;
	if (r->failed || count > tasks || count > r->rest.len / OWNER_RUN_DISK)
		return false;
	if (count > 0)
		runs_resize(t, s, (uint32_t)count);
	for (; s->owner_count < count; s->owner_count++) {
		struct owner_run run = { .owner = 0 };
		read_into(r, &run, OWNER_RUN_DISK);
		bool fits = run.owner != 0 && run.count > 0 && run.first >= end && run.first < tasks && run.count <= tasks - run.first &&
			    run.bytes <= (uint64_t)1 << 40;
		if (!fits)
			return false;
		end = (uint64_t)run.first + run.count;
		s->owners[s->owner_count] = run;
	}
	return true;
}

void owner_runs_take(struct tasks *t, struct segment *to, const struct segment *from)
{
	if (from->owner_count == 0)
		return;
	runs_resize(t, to, from->owner_count);
	memcpy(to->owners, from->owners, from->owner_count * sizeof *to->owners);
	to->owner_count = from->owner_count;
}

void owner_runs_free(struct tasks *t, struct segment *s)
{
	if (s->owner_cap > 0)
		runs_resize(t, s, 0);
}

void owner_runs_shrink(struct tasks *t, struct segment *s)
{
	if (s->owner_cap > s->owner_count)
		runs_resize(t, s, s->owner_count);
}

void owners_put(struct hot *const *hots, uint32_t count, struct buf *out)
{
	uint64_t owned = 0;
	for (uint32_t i = 0; i < count; i++)
		owned += hots[i]->owner != 0;
	buf_append(out, &owned, sizeof owned);
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t pair[2] = { hots[i]->task, hots[i]->owner };
		if (hots[i]->owner)
			buf_append(out, pair, sizeof pair);
	}
}

bool owners_get(struct tasks *t, struct reader *r)
{
	uint64_t last = 0;
	for (uint64_t left = read_u64(r); left > 0; left--) {
		uint64_t task = read_u64(r), owner = read_u64(r);
		struct hot *h = r->failed || task <= last ? NULL : hot_find(t, task);
		if (!h || owner == 0 || h->final == TASK_UNKNOWN)
			return false;
		h->owner = owner;
		last = task;
	}
	return !r->failed;
}
