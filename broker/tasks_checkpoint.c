/* broker/tasks_checkpoint.c: the durable state as bytes, and back.
 *
 *   log -> TASKS_CHECKPOINT -> file;  start: restore -> tasks_load_segment ... -> apply the rest
 *
 * Layout, version 7, little-endian, all parts 8-aligned: struct checkpoint_head; from version 4 on struct checkpoint_secret; options
 * {u64 retention, u64 attempts}; queues (struct checkpoint_queue, name padded to 256, i64 settings[setting_count]; in version 1 there are
 * seven, before the name; from version 6 on the weights, shares.c); lane classes (lane_class.c; not in version 1); segments (as index
 * files, with live bits; those with an index file without the rest); moved {u64 task, u64 addr} by task; objects (struct
 * checkpoint_hot) by task; producers; keys; the recent; from version 3 on the lives (life.h), from version 5 on groups and waits
 * (after.h), from version 7 on the owners of results (owner.h).
 *
 * Invariants
 *  1. Equal durable states give equal bytes: nothing follows the order of a hash map, nothing volatile is written.
 *  2. Restore trusts no number in the bytes; what does not fit is ERR_DAMAGED with its place. */
#include "after.h"
#include "life.h"

enum { CHECKPOINT_MAGIC = 0x43544b48, CHECKPOINT_VERSION = 7 };
struct checkpoint_head {
	uint32_t magic, version;
	uint64_t next_task, time_ms;
	uint64_t submitted_total, done_total, failed_total, duplicates_total, expired_total;
	uint32_t options, queues, segments, moved, hots, recent;
};
struct checkpoint_secret { struct hash_key key; uint64_t set; };
struct checkpoint_queue {
	uint64_t totals[7]; /* alive, submitted, done, failed, expired, cancelled, dead */
	uint8_t name_size, paused, pad[2];
	uint32_t setting_count;
	uint8_t name[256];
};
struct checkpoint_hot {
	uint64_t task, ready_ms, expires_ms, retention_ms, settled_ms, result_addr, retained_until_ms;
	uint32_t result_size, app_code, failed, attempts, max_attempts, class;
	uint16_t code;
	uint8_t final, cancel_noted, fixed, blocked, counted, pad;
};
_Static_assert(sizeof(struct checkpoint_head) == 88 && sizeof(struct checkpoint_queue) == 320, "on disk");
_Static_assert(sizeof(struct checkpoint_hot) == 88, "on disk");

static bool is_durable(const struct hot *h)
{
	return !hot_is_plain(h);
}

static int by_key(const void *a, const void *b)
{
	const struct map64_slot *x = a, *y = b;
	return x->key < y->key ? -1 : x->key > y->key;
}

static void put_queue(struct buf *out, const struct queue *q)
{
	struct checkpoint_queue c = { .totals = { q->alive, q->submitted, q->done, q->failed, q->expired, q->cancelled,
						  q->dead_total },
				      .setting_count = QUEUE_SETTINGS_COUNT };
	struct queue_settings settings = QUEUE_SETTINGS_UNSET;
	if (q->name_size > 0 && !q->proposed_create) {
		settings = q->settings;
		c.name_size = q->name_size;
		c.paused = q->paused;
		memcpy(c.name, q->name, q->name_size);
	}
	buf_append(out, &c, sizeof c);
	buf_append(out, &settings, sizeof settings);
	shares_put(&q->shares, out);
}

static void put_moved(const struct tasks *t, struct buf *out)
{
	struct buf sorted = { NULL, 0, 0 };
	for (uint32_t i = 0; i < t->moved.cap; i++)
		if (t->moved.slots[i].key)
			buf_append(&sorted, &t->moved.slots[i], sizeof t->moved.slots[i]);
	if (t->moved.count > 0)
		qsort(sorted.data, t->moved.count, sizeof(struct map64_slot), by_key);
	buf_append(out, sorted.data, sorted.len);
	buf_free(&sorted);
}

static void put_hot(struct tasks *t, struct buf *out, const struct hot *h)
{
	struct checkpoint_hot c = {
		.task = h->task, .ready_ms = h->ready_ms, .expires_ms = h->expires_ms, .retention_ms = h->retention_ms,
		.settled_ms = h->settled_ms, .result_addr = h->result_addr, .result_size = h->result_size,
		.app_code = h->app_code, .failed = h->failed, .attempts = h->attempts, .max_attempts = h->max_attempts,
		.class = h->class, .code = h->code, .final = h->final, .cancel_noted = h->cancel_noted, .fixed = h->fixed,
		.blocked = h->blocked, .counted = h->counted,
	};
	if (h->final != TASK_UNKNOWN && h->final != TASK_DEAD)
		c.retained_until_ms = t->retained.items[h->heap_index - 1].due;
	buf_append(out, &c, sizeof c);
}

static uint32_t recent_count(const struct tasks *t)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i <= t->recent_mask; i++)
		count += t->recent[i].task != 0;
	return count;
}

/* Slots of queues that are only proposed, at the end, are not there yet. */
static uint32_t queues_applied(const struct tasks *t)
{
	uint32_t count = t->queue_count;
	while (count > 0 && t->queues[count - 1]->proposed_create)
		count--;
	return count;
}

void tasks_checkpoint(struct tasks *t, struct buf *out)
{
	uint32_t hots;
	struct hot **sorted = hots_sorted(t, is_durable, &hots);
	struct checkpoint_head head = {
		CHECKPOINT_MAGIC, CHECKPOINT_VERSION, t->next_task, t->time_ms, t->submitted_total, t->done_total,
		t->failed_total, t->duplicates_total, t->expired_total, t->options_count, queues_applied(t),
		t->segment_count, t->moved.count, hots, recent_count(t),
	};
	const struct checkpoint_secret secret = { t->secret.key, t->secret.set };
	buf_append(out, &head, sizeof head);
	buf_append(out, &secret, sizeof secret);
	for (uint32_t i = 0; i < t->options_count; i++) {
		uint64_t pair[2] = { t->options[i].retention_ms, t->options[i].max_attempts };
		buf_append(out, pair, sizeof pair);
	}
	for (uint32_t i = 0; i < head.queues; i++)
		put_queue(out, t->queues[i]);
	lane_classes_put(t, out);
	for (uint32_t i = 0; i < t->segment_count; i++)
		segment_put(out, t->segments[i], true);
	put_moved(t, out);
	for (uint32_t i = 0; i < hots; i++)
		put_hot(t, out, sorted[i]);
	producers_put(t, out);
	keys_put(t, out);
	for (uint32_t i = 0; i <= t->recent_mask; i++)
		if (t->recent[i].task != 0)
			buf_append(out, &t->recent[i], sizeof t->recent[i]);
	lives_put(sorted, hots, out);
	groups_put(t, out);
	after_put(t, out);
	owners_put(sorted, hots, out);
	free(sorted);
}

/* ---- back ---- */

static bool get_secret(struct tasks *t, struct reader *r)
{
	struct checkpoint_secret c;
	read_into(r, &c, sizeof c);
	if (r->failed || c.set > 1)
		return false;
	t->secret = t->secret_next = (struct secret){ c.key, c.set };
	return true;
}

static bool get_options(struct tasks *t, struct reader *r, uint32_t count)
{
	if (count == 0 || count > OPTIONS_MAX)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		t->options[i].retention_ms = read_u64(r);
		t->options[i].max_attempts = (uint32_t)read_u64(r);
	}
	t->options_count = count;
	return !r->failed && t->options[0].retention_ms == 0 && t->options[0].max_attempts == 0;
}

static void get_queue(struct reader *r, uint32_t version, struct checkpoint_queue *c, struct queue_settings *settings)
{
	if (version == 1) {
		read_into(r, c->totals, sizeof c->totals);
		*settings = settings_read(r, REC_QUEUE_SETTINGS_V1);
		read_into(r, &c->name_size, sizeof *c - offsetof(struct checkpoint_queue, name_size));
		return;
	}
	read_into(r, c, sizeof *c);
	*settings = settings_read(r, c->setting_count);
}

static bool get_queues(struct tasks *t, struct reader *r, uint32_t version, uint32_t count)
{
	if (count > QUEUES_EVER_MAX)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		struct checkpoint_queue c;
		struct queue_settings settings;
		char text[256];
		get_queue(r, version, &c, &settings);
		struct span name = span_of(c.name, c.name_size);
		if (r->failed || (c.name_size > 0 && (!queue_full_name_ok(name, text) || queue_lookup(t, name) != 0)))
			return false;
		settings = queue_settings_over(QUEUE_SETTINGS_BASE, settings);
		if (c.name_size > 0 && !queue_settings_ok(&settings, text))
			return false;
		uint32_t id = queue_slot_new(t, i + 1, name);
		ENSURE(id == i + 1);
		struct queue *q = t->queues[i];
		q->paused = c.paused;
		q->settings = settings;
		q->alive = c.totals[0];
		q->submitted = c.totals[1];
		q->done = c.totals[2];
		q->failed = c.totals[3];
		q->expired = c.totals[4];
		q->cancelled = c.totals[5];
		q->dead_total = c.totals[6];
		if (version >= 6 && !shares_get(t, q, r))
			return false;
	}
	return true;
}

static bool get_segments(struct tasks *t, struct reader *r, uint32_t count)
{
	uint64_t end = 1;
	for (uint32_t i = 0; i < count; i++) {
		struct segment *s = segment_get(t, r);
		if (!s)
			return false;
		uint32_t last_id = t->segment_count ? t->segments[t->segment_count - 1]->id : 0;
		bool ok = s->base >= end && s->base + s->count <= t->next_task && (i == 0 || s->id > last_id);
		segment_restore(t, s); /* also frees it with the rest where it is not ok */
		if (!ok || !segment_count_lanes(t, s))
			return false;
		end = s->base + s->count;
	}
	return true;
}

static bool task_is_live(struct tasks *t, uint64_t task)
{
	uint32_t index;
	const struct segment *s = segment_of(t, task, &index);
	return s && segment_is_live(s, index);
}

static bool get_moved(struct tasks *t, struct reader *r, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint64_t task = read_u64(r), addr = read_u64(r);
		if (r->failed || !task_is_live(t, task) || map64_find(&t->moved, task))
			return false;
		segment_set_moved(t, task, addr);
	}
	return true;
}

static bool get_hot(struct tasks *t, struct reader *r)
{
	struct checkpoint_hot c;
	read_into(r, &c, sizeof c);
	bool open = c.final == TASK_UNKNOWN, terminal = c.final >= TASK_DONE && c.final <= TASK_DEAD;
	uint32_t options = class_options(c.class), queue = class_queue(c.class);
	if (r->failed || c.task == 0 || c.task >= t->next_task || hot_find(t, c.task) || !(open || terminal) ||
	    (options != OPTIONS_MAX && options >= t->options_count) || queue == 0 || queue > t->queue_count)
		return false;
	if (terminal && c.final != TASK_DEAD && c.retained_until_ms == NEVER)
		return false;
	if ((open || c.final == TASK_DEAD) && (!task_is_live(t, c.task) || !queue_at(t, queue)))
		return false;
	struct hot *h = hot_new(t, c.task, c.class);
	h->ready_ms = c.ready_ms;
	h->expires_ms = c.expires_ms;
	h->retention_ms = c.retention_ms;
	h->settled_ms = c.settled_ms;
	h->result_addr = c.result_addr;
	h->result_size = c.result_size;
	h->app_code = c.app_code;
	h->failed = c.failed;
	h->attempts = h->acquired = c.attempts;
	h->max_attempts = c.max_attempts;
	h->code = c.code;
	h->final = c.final;
	h->cancel_noted = h->cancelling = c.cancel_noted;
	h->fixed = c.fixed;
	h->blocked = c.blocked && open;
	h->counted = c.counted;
	if (terminal && h->result_addr)
		pin_add(t, h->result_addr);
	if (terminal)
		h->state = h->final;
	if (terminal && c.final != TASK_DEAD)
		heap_set(t, &t->retained, h, c.retained_until_ms);
	return true;
}

static bool get_recent(struct tasks *t, struct reader *r, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct recent recent;
		read_into(r, &recent, sizeof recent);
		if (r->failed || recent.task == 0 || recent.task >= t->next_task || recent.state >= TASK_STATES)
			return false;
		t->recent[recent.task & t->recent_mask] = recent;
	}
	return true;
}

/* The part that does not fit, or NULL. */
static const char *restore_parts(struct tasks *t, struct reader *r)
{
	struct checkpoint_head head;
	read_into(r, &head, sizeof head);
	if (r->failed || head.magic != CHECKPOINT_MAGIC)
		return "the head: these are not the bytes of a checkpoint of tasks";
	if (head.version == 0 || head.version > CHECKPOINT_VERSION)
		return "the head: its version is not known here";
	if (head.next_task == 0)
		return "the head: task numbers start at 1";
	t->next_task = head.next_task;
	t->time_ms = head.time_ms;
	t->submitted_total = head.submitted_total;
	t->done_total = head.done_total;
	t->failed_total = head.failed_total;
	t->duplicates_total = head.duplicates_total;
	t->expired_total = head.expired_total;
	if (head.version >= 4 && !get_secret(t, r))
		return "the secret";
	if (!get_options(t, r, head.options))
		return "the options";
	if (!get_queues(t, r, head.version, head.queues))
		return "the queues";
	if (head.version > 1 && !lane_classes_get(t, r))
		return "the lane classes";
	if (!get_segments(t, r, head.segments))
		return "the segments";
	if (!get_moved(t, r, head.moved))
		return "the moved tasks";
	for (uint32_t i = 0; i < head.hots; i++)
		if (!get_hot(t, r))
			return "the objects of tasks";
	if (!producers_get(t, r))
		return "the producers";
	if (!keys_get(t, r))
		return "the idempotency keys";
	if (!get_recent(t, r, head.recent))
		return "the recent tasks";
	if (head.version >= 3 && !lives_get(t, r))
		return "the lives of tasks";
	if (head.version >= 5 && !groups_get(t, r))
		return "the groups";
	if (head.version >= 5 && !after_get(t, r))
		return "the tasks that wait for others";
	if (head.version >= 7 && !owners_get(t, r))
		return "the owners of results";
	return r->rest.len > 0 ? "the end: there are more bytes" : NULL;
}

enum err tasks_restore(struct tasks *t, struct span checkpoint, char text[256])
{
	struct reader r = { .rest = checkpoint };
	ENSURE(!t->begun && t->next_task == 1);
	const char *bad = restore_parts(t, &r);
	if (!bad)
		return ERR_OK;
	(void)snprintf(text, 256, "the checkpoint of tasks does not fit at byte %zu: %s", checkpoint.len - r.rest.len, bad);
	return ERR_DAMAGED;
}
