/* tests/unit/tasks_world.h: a task machine with a log in memory, for unit tests of broker/tasks.
 *
 * The test program itself is the log: world_flush commits what was appended, seals segments, takes checkpoints; world_restart
 * throws the machine away and builds it again from checkpoint, index files and replay, as log_open would. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../broker/blob_index.h"
#include "../../broker/topics.h"

enum { WORLD_SEGMENT_BYTES = 4096, WORLD_RECORDS_MAX = 1 << 17 };

struct world_record {
	struct log_entry entry;
	uint64_t addr;
	uint16_t kind;
	uint8_t *body;
	size_t size;
};

struct world {
	struct tasks *t;
	struct tasks_config config;
	struct world_record *records;
	uint32_t count, applied;
	uint32_t segment;
	uint64_t offset, segment_bytes;
	uint64_t now_ms;
	bool full;                  /* log_append has no room */
	enum log_room room;
	/* the files */
	struct buf checkpoint, blobs, topics; /* sections */
	uint32_t checkpoint_at;     /* records it covers */
	struct buf indexes[4096];
	bool index_there[4096];
	/* what the hooks and applies said last */
	struct applied last;
	struct confirm_run runs[256];
	uint32_t run_count;
	struct reported_item reported[4096];
	uint32_t reported_count;
	uint64_t affected;
	uint32_t ready_calls;
	struct signal_item signals[256];
	uint32_t signal_count;
	uint64_t settled[4096];
	uint32_t settled_count;
};

/* The one log of this program: struct log is only a name to the task machine. */
static struct world *world_of(struct log *log)
{
	return (struct world *)(void *)log;
}
#define LOG(w) ((struct log *)(void *)(w))

void *log_append(struct log *log, uint16_t kind, size_t size, uint64_t *addr_out)
{
	struct world *w = world_of(log);
	if (w->full)
		return NULL;
	assert_true(w->count < WORLD_RECORDS_MAX);
	struct world_record *r = &w->records[w->count++];
	*r = (struct world_record){ .kind = kind, .size = size, .addr = log_addr(w->segment, w->offset) };
	r->body = malloc(size ? size : 1);
	memset(r->body, 0xee, size); /* a byte the builder forgets is noticed by the comparison of checkpoints */
	w->offset += align_up(LOG_RECORD_HEADER + size, 8);
	*addr_out = r->addr;
	return r->body;
}

void *log_append_summed(struct log *log, uint16_t kind, size_t size, uint32_t tail, uint32_t tail_crc, uint64_t *addr_out)
{
	(void)tail;
	(void)tail_crc;
	return log_append(log, kind, size, addr_out);
}

size_t log_append_room(const struct log *log)
{
	return ((const struct world *)(const void *)log)->full ? 0 : 1 << 20;
}

enum log_room log_room(const struct log *log)
{
	return ((const struct world *)(const void *)log)->room;
}

enum err log_fetch(struct log *log, uint64_t addr, struct log_record *out)
{
	struct world *w = world_of(log);
	for (uint32_t i = 0; i < w->applied; i++)
		if (w->records[i].addr == addr) {
			*out = (struct log_record){ .addr = addr, .kind = w->records[i].kind,
						     .body = span_of(w->records[i].body, w->records[i].size) };
			return ERR_OK;
		}
	return ERR_NOT_FOUND;
}

void log_get_stats(const struct log *log, struct log_stats *out)
{
	const struct world *w = (const struct world *)(const void *)log;
	*out = (struct log_stats){ .segments = w->segment, .segment_bytes_on_disk = w->segment * w->segment_bytes };
}

static void world_ready(void *ctx, uint32_t queue, uint32_t slot)
{
	(void)queue;
	(void)slot;
	((struct world *)ctx)->ready_calls++;
}

static void world_signal(void *ctx, struct holder *holder, const struct signal_item *item)
{
	struct world *w = ctx;
	assert_non_null(holder);
	if (w->signal_count < COUNT_OF(w->signals))
		w->signals[w->signal_count++] = *item;
}

static void world_settled(void *ctx, uint64_t task)
{
	struct world *w = ctx;
	if (w->settled_count < COUNT_OF(w->settled))
		w->settled[w->settled_count++] = task;
}

static struct tasks_config world_config(struct world *w)
{
	return (struct tasks_config){
		.queues_max = 16, .producers_max = 8, .keys_max = 64, .recent_max = 1024, .retained_max = 1000,
		.producer_idle_ms = 100000, .key_window_ms = 50000, .cancel_grace_ms = 500, .auto_create = true,
		.defaults = QUEUE_SETTINGS_UNSET, .epoch = 7, .seed = 99,
		.hooks = { .ctx = w, .ready = world_ready, .signal = world_signal, .settled = world_settled },
	};
}

static struct world *world_new_with(const struct tasks_config *config)
{
	struct world *w = calloc(1, sizeof *w);
	w->records = calloc(WORLD_RECORDS_MAX, sizeof *w->records);
	w->segment = 1;
	w->offset = 64;
	w->segment_bytes = WORLD_SEGMENT_BYTES;
	w->now_ms = 1000;
	w->config = config ? *config : world_config(w);
	w->config.hooks.ctx = w;
	w->t = tasks_new(&w->config);
	tasks_begin(w->t, w->now_ms);
	return w;
}

static inline struct world *world_new(void)
{
	struct world *w = world_new_with(NULL);
	return w;
}

static void world_free(struct world *w)
{
	if (w->t)
		tasks_free(w->t);
	for (uint32_t i = 0; i < w->count; i++)
		free(w->records[i].body);
	for (uint32_t i = 0; i < COUNT_OF(w->indexes); i++)
		buf_free(&w->indexes[i]);
	buf_free(&w->checkpoint);
	buf_free(&w->blobs);
	buf_free(&w->topics);
	free(w->records);
	free(w);
}

static void world_apply_one(struct world *w, struct tasks *t, struct world_record *r, bool live)
{
	struct log_record record = { .addr = r->addr, .kind = r->kind, .body = span_of(r->body, r->size) };
	tasks_apply(t, &r->entry, &record, live, &w->last);
	if (!live)
		return;
	for (uint32_t i = 0; i < w->last.run_count; i++)
		w->runs[w->run_count++] = w->last.runs[i];
	for (uint32_t i = 0; i < w->last.reported_count; i++)
		w->reported[w->reported_count++] = w->last.reported[i];
	w->affected += w->last.affected;
}

static inline void world_seal(struct world *w)
{
	struct buf *index = &w->indexes[w->segment];
	index->len = 0;
	tasks_seal(w->t, w->segment, index);
	w->index_there[w->segment] = true;
	w->segment++;
	assert_true(w->segment < COUNT_OF(w->indexes));
	w->offset = 64;
}

static inline void world_checkpoint(struct world *w)
{
	w->checkpoint.len = w->blobs.len = w->topics.len = 0;
	tasks_checkpoint(w->t, &w->checkpoint);
	blobs_checkpoint(tasks_blobs(w->t), &w->blobs);
	topics_put(tasks_topics(w->t), &w->topics);
	w->checkpoint_at = w->applied;
}

/* Commits and applies everything appended. Answers are those of this flush. */
static inline void world_flush(struct world *w)
{
	w->run_count = w->reported_count = 0;
	w->affected = 0;
	for (; w->applied < w->count; w->applied++) {
		w->records[w->applied].entry = (struct log_entry){ w->applied + 1, 1, w->now_ms };
		world_apply_one(w, w->t, &w->records[w->applied], true);
	}
	if (w->offset > w->segment_bytes)
		world_seal(w);
}

/* The index made from the records, where the checkpoint covers them all. It is the one that was sealed, unless everything in
 * the segment had moved, or is settled, by then. */
static inline bool world_reindex(struct world *w, struct tasks *t, uint32_t segment, struct buf *out)
{
	enum { EMPTY = 32 };
	for (uint32_t i = w->checkpoint_at; i < w->applied; i++)
		if (log_addr_segment(w->records[i].addr) == segment)
			return false;
	for (uint32_t i = 0; i < w->checkpoint_at; i++) {
		const struct world_record *r = &w->records[i];
		const struct log_record record = { .addr = r->addr, .kind = r->kind, .body = span_of(r->body, r->size) };
		if (log_addr_segment(r->addr) == segment)
			tasks_reindex(t, segment, &record, NULL);
	}
	tasks_reindex(t, segment, NULL, out);
	if (out->len == w->indexes[segment].len)
		assert_memory_equal(out->data, w->indexes[segment].data, out->len);
	else
		assert_true(out->len == EMPTY || out->len > w->indexes[segment].len);
	return true;
}

/* A machine built from the files, not begun. Every second index is lost and made again. */
static inline struct tasks *world_recover(struct world *w, uint32_t epoch)
{
	char text[256] = "";
	struct tasks_config config = w->config;
	config.epoch = epoch;
	struct tasks *t = tasks_new(&config);
	if (w->checkpoint.len > 0) {
		assert_int_equal(blobs_restore(tasks_blobs(t), buf_span(&w->blobs), text), ERR_OK);
		assert_int_equal(tasks_restore(t, buf_span(&w->checkpoint), text), ERR_OK);
		assert_int_equal(topics_get(t, buf_span(&w->topics), text), ERR_OK);
	}
	for (uint32_t i = 0; i < w->segment; i++) {
		struct buf made = { 0 };
		bool lost = i % 2 == 1 && w->checkpoint.len > 0 && world_reindex(w, t, i, &made);
		if (w->index_there[i])
			assert_int_equal(tasks_load_segment(t, i, buf_span(lost ? &made : &w->indexes[i]), text), ERR_OK);
		buf_free(&made);
	}
	if (tasks_verify(t, w->segment, text) != ERR_OK)
		fail_msg("%s", text);
	for (uint32_t i = w->checkpoint_at; i < w->applied; i++)
		world_apply_one(w, t, &w->records[i], false);
	return t;
}

/* Crash and start again: what was not flushed is lost, holders are gone. */
static inline void world_restart(struct world *w)
{
	while (w->count > w->applied)
		free(w->records[--w->count].body);
	w->config.epoch++;
	struct tasks *t = world_recover(w, w->config.epoch);
	struct buf before = { 0 }, after = { 0 };
	tasks_checkpoint(w->t, &before);
	blobs_checkpoint(tasks_blobs(w->t), &before);
	topics_put(tasks_topics(w->t), &before);
	tasks_checkpoint(t, &after);
	blobs_checkpoint(tasks_blobs(t), &after);
	topics_put(tasks_topics(t), &after);
	assert_int_equal(before.len, after.len);
	assert_memory_equal(before.data, after.data, before.len);
	buf_free(&before);
	buf_free(&after);
	tasks_free(w->t);
	w->t = t;
	tasks_begin(t, w->now_ms);
}

/* ---- short spellings ---- */

struct order {
	const char *queue;
	uint64_t producer, seq, resolved_below;
	uint32_t count;
	struct task_head head;
	const char *principal;
};

/* Proposes `count` tasks of 8 payload bytes each. */
static inline struct submit_answer world_propose(struct world *w, const struct order *o)
{
	struct submit_answer answer;
	uint32_t sizes[4096];
	static uint8_t payload[4096 * 8];
	static const uint8_t head_bytes[16] = "head of a task";
	for (uint32_t i = 0; i < o->count; i++) {
		uint64_t mark = o->seq + i;
		sizes[i] = 8;
		memcpy(payload + i * 8, &mark, 8);
	}
	struct task_head head = o->head;
	head.queue = span_str(o->queue);
	struct msg_submit m = { .producer = o->producer ? o->producer : 1, .first_seq = o->seq,
				.resolved_below = o->resolved_below, .head = span_of(head_bytes, sizeof head_bytes),
				.sizes = { sizes, o->count } };
	tasks_set_principal(w->t, span_str(o->principal));
	tasks_propose_submit(w->t, LOG(w), &m, &head, span_of(payload, o->count * 8), w->now_ms, &answer);
	tasks_set_principal(w->t, (struct span){ NULL, 0 });
	return answer;
}

/* Proposes, flushes and answers the number of the first task. */
static inline uint64_t world_submit(struct world *w, const struct order *o)
{
	struct submit_answer answer = world_propose(w, o);
	assert_true(answer.records > 0);
	world_flush(w);
	assert_int_equal(w->runs[0].code, ERR_OK);
	return w->runs[0].first_task;
}

static inline uint32_t world_queue(struct world *w, const char *name)
{
	return tasks_queue_find(w->t, span_str(name));
}

/* Leases up to `count`, one run at a time; the numbers go to out. */
static inline uint32_t world_lease(struct world *w, const char *queue, struct holder *holder, uint32_t count, uint64_t *out)
{
	uint32_t got = 0, id = world_queue(w, queue);
	struct ready_run run;
	while (got < count && tasks_peek(w->t, id, NULL, 0, &run)) {
		uint32_t n = MIN_OF(run.count, count - got);
		tasks_lease(w->t, id, n, holder, 0, w->now_ms);
		for (uint32_t i = 0; i < n; i++)
			out[got++] = run.first_task + i;
	}
	return got;
}

static inline struct report_item world_item(struct world *w, uint64_t task, uint8_t verb)
{
	struct task_view v;
	struct report_item item = { .ref = { task, 1, w->config.epoch }, .verb = verb };
	if (tasks_show(w->t, task, &v) && v.acquired > 0)
		item.ref.attempt = v.acquired;
	return item;
}

/* One item without flush. Answers the code of the refusal (ERR_OK = accepted so far). */
static inline enum err world_say(struct world *w, struct holder *holder, struct report_item item, const char *bytes)
{
	struct reported_item refused[1];
	uint32_t refused_count = 0;
	item.size = bytes ? (uint32_t)strlen(bytes) : 0;
	struct msg_report m = { .items = &item, .count = 1 };
	uint32_t n = tasks_propose_report(w->t, LOG(w), holder, &m, span_str(bytes), w->now_ms, refused, &refused_count);
	assert_true(n + refused_count <= 1);
	return refused_count ? (enum err)refused[0].code : ERR_OK;
}

static inline void world_report(struct world *w, struct holder *holder, uint64_t task, uint8_t verb, uint16_t class_code)
{
	struct report_item item = world_item(w, task, verb);
	item.class_code = class_code;
	assert_int_equal(world_say(w, holder, item, NULL), ERR_OK);
	world_flush(w);
}

static inline enum task_state world_state(struct world *w, uint64_t task)
{
	struct task_view v;
	return tasks_show(w->t, task, &v) ? v.state : TASK_UNKNOWN;
}

static inline void world_tick(struct world *w, uint64_t to_ms)
{
	w->now_ms = to_ms;
	while (tasks_next_ms(w->t) <= w->now_ms) {
		tasks_tick(w->t, LOG(w), w->now_ms);
		world_flush(w);
	}
}

/* All pieces of a purge; how many tasks went. */
static inline uint64_t world_purge(struct world *w, const char *queue, bool dead)
{
	struct purge_work work;
	char text[256];
	uint32_t records;
	uint64_t affected = 0;
	if (tasks_purge_begin(w->t, span_str(queue), dead, &work, text) != ERR_OK)
		return 0;
	while (!work.over) {
		assert_int_equal(tasks_propose_purge(w->t, LOG(w), &work, &records, text), ERR_OK);
		world_flush(w);
		affected += w->affected;
	}
	return affected;
}

static inline struct queue_info world_info(struct world *w, const char *queue)
{
	struct queue_info info;
	tasks_queue_info(w->t, world_queue(w, queue), &info);
	return info;
}
