/* broker/keys.c: idempotency keys: the same key within the window is the same task.
 *
 *   propose(submit), apply(REC_SUBMIT) -> KEYS -> new or duplicate
 *
 * A ring in order of acceptance; keys leave it at the old end when key_window_ms of record time has passed. Keys are kept
 * whole: a hash that collides would swallow a task.
 *
 * Invariants
 *  1. Entries first .. end - 1 are in the ring, times do not descend.
 *  2. by_hash names the newest entry of a hash; `next` leads to older ones. */
#include "tasks_impl.h"

static struct key_entry *entry_at(const struct keys *k, uint64_t number)
{
	return &k->ring[number & (k->cap - 1)];
}

static uint64_t key_hash(const struct tasks *t, struct span key)
{
	uint64_t hash = bytes_hash(key, t->config.seed);
	return hash ? hash : 1;
}

static bool key_over(const struct tasks *t, const struct key_entry *e, uint64_t now_ms)
{
	return now_ms >= e->time_ms && now_ms - e->time_ms >= t->config.key_window_ms;
}

uint64_t key_find(const struct tasks *t, struct span key, uint64_t now_ms)
{
	struct map64_slot *slot = map64_find(&t->keys.by_hash, key_hash(t, key));
	for (uint64_t n = slot ? slot->value : 0; n >= t->keys.first && n != 0; n = entry_at(&t->keys, n)->next) {
		const struct key_entry *e = entry_at(&t->keys, n);
		if (span_eq(span_of(e->bytes, e->size), key))
			return key_over(t, e, now_ms) ? 0 : e->task;
	}
	return 0;
}

bool keys_full(const struct tasks *t, uint64_t now_ms)
{
	const struct keys *k = &t->keys;
	return k->end - k->first >= t->config.keys_max &&
	       (k->end == k->first || !key_over(t, entry_at(k, k->first), now_ms));
}

static void ring_grow(struct tasks *t)
{
	struct keys *k = &t->keys;
	uint32_t cap = k->cap ? k->cap * 2 : 64;
	struct key_entry *ring = mem_resize(t, NULL, 0, cap * sizeof *ring);
	for (uint64_t n = k->first; n < k->end; n++)
		ring[n & (cap - 1)] = *entry_at(k, n);
	(void)mem_resize(t, k->ring, k->cap * sizeof *ring, 0);
	k->ring = ring;
	k->cap = cap;
}

void key_add(struct tasks *t, struct span key, uint64_t task, uint64_t time_ms)
{
	struct keys *k = &t->keys;
	ENSURE(key.len > 0 && key.len <= LIMIT_STORED_KEY_BYTES);
	if (k->end == 0)
		k->first = k->end = 1;
	if (k->end - k->first == k->cap)
		ring_grow(t);
	struct key_entry *e = entry_at(k, k->end);
	*e = (struct key_entry){ key_hash(t, key), time_ms, task, 0, NULL, (uint32_t)key.len };
	e->bytes = mem_resize(t, NULL, 0, key.len);
	memcpy(e->bytes, key.data, key.len);
	struct map64_slot *slot = map64_find(&k->by_hash, e->hash);
	if (slot) {
		e->next = slot->value;
		slot->value = k->end;
	} else {
		map64_add(&k->by_hash, e->hash, k->end, &t->memory);
	}
	k->end++;
}

static void key_drop_oldest(struct tasks *t)
{
	struct keys *k = &t->keys;
	struct key_entry *e = entry_at(k, k->first);
	struct map64_slot *slot = map64_find(&k->by_hash, e->hash);
	ENSURE(slot != NULL);
	if (slot->value == k->first)
		map64_remove(&k->by_hash, slot); /* the newest of its hash is also the oldest: it was alone */
	(void)mem_resize(t, e->bytes, e->size, 0);
	k->first++; /* older `next` links end at `first` by comparison */
}

void keys_expire(struct tasks *t)
{
	while (t->keys.first < t->keys.end && key_over(t, entry_at(&t->keys, t->keys.first), t->time_ms))
		key_drop_oldest(t);
}

void keys_free(struct tasks *t)
{
	while (t->keys.first < t->keys.end)
		key_drop_oldest(t);
	(void)mem_resize(t, t->keys.ring, t->keys.cap * sizeof *t->keys.ring, 0);
	map64_free(&t->keys.by_hash, &t->memory);
	t->keys = (struct keys){ 0 };
}

/* ---- checkpoint: u64 count, then oldest first {u64 task, u64 time, u64 size, bytes padded to 8} ---- */

void keys_put(const struct tasks *t, struct buf *out)
{
	uint64_t count = t->keys.end - t->keys.first;
	buf_append(out, &count, sizeof count);
	for (uint64_t n = t->keys.first; n < t->keys.end; n++) {
		const struct key_entry *e = entry_at(&t->keys, n);
		uint64_t head[3] = { e->task, e->time_ms, e->size }, zero = 0;
		buf_append(out, head, sizeof head);
		buf_append(out, e->bytes, e->size);
		buf_append(out, &zero, align_up(e->size, 8) - e->size);
	}
}

bool keys_get(struct tasks *t, struct reader *r)
{
	uint64_t count = read_u64(r), last_ms = 0;
	for (uint64_t i = 0; i < count && !r->failed; i++) {
		uint64_t head[3];
		read_into(r, head, sizeof head);
		if (head[2] == 0 || head[2] > LIMIT_STORED_KEY_BYTES || head[1] < last_ms)
			return false;
		struct span key = read_bytes(r, align_up(head[2], 8));
		if (r->failed)
			return false;
		key_add(t, span_of(key.data, head[2]), head[0], head[1]);
		last_ms = head[1];
	}
	return !r->failed;
}
