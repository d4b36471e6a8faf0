/* tests/unit/log_model.h: the smallest state machine that uses all of a log: numbered items, which are put and settled.
 * Item n is a record of kind 1: its number, then bytes made from it. A record of kind 2 settles one. */
#pragma once

#include "../../storage/log.h"

#include <setjmp.h>
#include <stdio.h>

struct model_item {
	uint64_t addr;
	uint32_t size;
	bool known, settled;
};

struct model {
	struct log_config config;
	struct log *log;
	struct model_item *items; /* by number, from 0 */
	uint64_t count, cap;      /* applied so far; the next item is `count` */
	uint64_t proposed;        /* items appended */
	uint64_t restored;        /* count when the checkpoint was restored */
	uint64_t last_index, last_time;
	uint64_t fetched;         /* calls */
	uint64_t replayed;        /* items applied by recovery */
	struct buf reindexed;
	char text[256];
	char notes[4096];
	bool verbose, failed;
	const char *fatal_what;
	int fatal_errno;
	jmp_buf on_fatal;
	bool jump;                /* on_fatal is set */
};

enum { MODEL_PUT = 1, MODEL_SETTLE = 2 };

/* Invariants of the model are checked with this, also where there is no cmocka test around (fuzzing). */
#define MODEL_CHECK(cond) ENSURE(cond)

__attribute__((unused)) static uint8_t model_byte(uint64_t number, size_t at)
{
	return (uint8_t)(number * 131 + at * 7 + 3);
}

static void model_room(struct model *m, uint64_t count)
{
	if (count <= m->cap)
		return;
	uint64_t cap = m->cap ? m->cap : 64;
	while (cap < count)
		cap *= 2;
	m->items = realloc(m->items, cap * sizeof *m->items);
	ENSURE(m->items != NULL);
	memset(m->items + m->cap, 0, (cap - m->cap) * sizeof *m->items);
	m->cap = cap;
}

static void model_apply(void *ctx, const struct log_entry *entry, const struct log_record *record, bool live)
{
	struct model *m = ctx;
	uint64_t number;

	MODEL_CHECK(entry->index >= m->last_index);
	MODEL_CHECK(entry->time_ms >= m->last_time);
	MODEL_CHECK(((uintptr_t)record->body.data & 7) == 0);
	m->last_index = entry->index;
	m->last_time = entry->time_ms;
	if (record->body.len < sizeof number) {
		m->failed = true; /* only a forged log has those */
		return;
	}
	memcpy(&number, record->body.data, sizeof number);
	if (record->kind == MODEL_PUT) {
		if (number != m->count) {
			m->failed = true;
			return;
		}
		model_room(m, m->count + 1);
		m->items[m->count++] = (struct model_item){
			.addr = record->addr, .size = (uint32_t)record->body.len, .known = true,
		};
		m->replayed += !live;
	} else if (record->kind == MODEL_SETTLE) {
		if (number >= m->count || m->items[number].settled) {
			m->failed = true;
			return;
		}
		m->items[number].settled = true;
	}
}

static void model_seal(void *ctx, uint32_t segment, struct buf *out)
{
	struct model *m = ctx;

	for (uint64_t i = 0; i < m->count; i++) {
		if (!m->items[i].known || log_addr_segment(m->items[i].addr) != segment)
			continue;
		uint64_t line[3] = { i, m->items[i].addr, m->items[i].size };
		buf_append(out, line, sizeof line);
	}
}

static enum err model_load_segment(void *ctx, uint32_t segment, struct span index, char text[256])
{
	struct model *m = ctx;
	struct reader r = { .rest = index };

	while (r.rest.len > 0) {
		uint64_t number = read_u64(&r), addr = read_u64(&r), size = read_u64(&r);
		if (r.failed || number >= m->count || log_addr_segment(addr) != segment) {
			(void)snprintf(text, 256, "index of the model makes no sense");
			return ERR_DAMAGED;
		}
		m->items[number].addr = addr;
		m->items[number].size = (uint32_t)size;
		m->items[number].known = true;
	}
	return ERR_OK;
}

/* The lines of model_seal are made record by record. */
static void model_reindex(void *ctx, uint32_t segment, const struct log_record *record, struct buf *out)
{
	struct model *m = ctx;

	MODEL_CHECK(!record || log_addr_segment(record->addr) == segment);
	if (record && record->kind == MODEL_PUT && record->body.len >= 8) {
		uint64_t line[3] = { 0, record->addr, record->body.len };
		memcpy(line, record->body.data, sizeof line[0]);
		buf_append(&m->reindexed, line, sizeof line);
	} else if (!record) {
		buf_append(out, m->reindexed.data, m->reindexed.len);
		m->reindexed.len = 0;
	}
}

static void model_checkpoint(void *ctx, struct buf *out)
{
	struct model *m = ctx;
	uint64_t head[3] = { m->count, m->last_index, m->last_time };

	buf_append(out, head, sizeof head);
	for (uint64_t i = 0; i < m->count; i++)
		*buf_extend(out, 1) = m->items[i].settled;
}

static enum err model_restore(void *ctx, struct span checkpoint, char text[256])
{
	struct model *m = ctx;
	struct reader r = { .rest = checkpoint };
	uint64_t count = read_u64(&r);

	m->last_index = read_u64(&r);
	m->last_time = read_u64(&r);
	if (r.failed || r.rest.len != count) {
		(void)snprintf(text, 256, "checkpoint of the model makes no sense");
		return ERR_DAMAGED;
	}
	model_room(m, count);
	m->count = m->restored = count;
	for (uint64_t i = 0; i < count; i++)
		m->items[i] = (struct model_item){ .settled = r.rest.data[i] != 0 };
	return ERR_OK;
}

static bool model_segment_live(void *ctx, uint32_t segment)
{
	struct model *m = ctx;

	for (uint64_t i = 0; i < m->count; i++)
		if (m->items[i].known && !m->items[i].settled && log_addr_segment(m->items[i].addr) == segment)
			return true;
	return false;
}

static void model_fetched(void *ctx, uint64_t addr)
{
	struct model *m = ctx;

	(void)addr;
	m->fetched++;
}

static void model_fatal(void *ctx, const char *what, int errno_value)
{
	struct model *m = ctx;

	m->fatal_what = what;
	m->fatal_errno = errno_value;
	if (m->jump)
		longjmp(m->on_fatal, 1);
	(void)fprintf(stderr, "fatal: %s: %s\n", what, strerror(errno_value));
	abort();
}

static void model_note(void *ctx, const char *line)
{
	struct model *m = ctx;
	size_t len = strlen(m->notes);

	if (m->verbose)
		(void)printf("    note: %s\n", line);
	(void)snprintf(m->notes + len, sizeof m->notes - len, "%s\n", line);
}

/* Small segments, so that a test meets everything soon. */
__attribute__((unused)) static void model_init(struct model *m, struct io *io)
{
	memset(m, 0, sizeof *m);
	m->config = (struct log_config){
		.io = io, .segment_bytes = 256 << 10, .batch_bytes = 64 << 10, .cache_bytes = 256 << 10,
		.reserve_segments = 1, .node_name = "test", .create = true, .ctx = m,
		.restore = model_restore, .load_segment = model_load_segment, .reindex = model_reindex,
		.apply = model_apply,
		.seal = model_seal, .checkpoint = model_checkpoint, .segment_live = model_segment_live,
		.fetched = model_fetched, .fatal = model_fatal, .note = model_note,
	};
}

__attribute__((unused)) static enum err model_open(struct model *m)
{
	m->count = m->restored = m->last_index = m->last_time = m->replayed = 0;
	m->notes[0] = 0;
	if (m->items)
		memset(m->items, 0, m->cap * sizeof *m->items);
	enum err e = log_open(&m->config, &m->log, m->text);
	if (e != ERR_OK)
		m->log = NULL;
	m->proposed = m->count;
	return e;
}

__attribute__((unused)) static void model_close(struct model *m)
{
	if (m->log)
		log_close(m->log);
	m->log = NULL;
}

__attribute__((unused)) static void model_free(struct model *m)
{
	free(m->items);
	m->items = NULL;
	buf_free(&m->reindexed);
}

/* Appends the next item; false where there is no room. */
__attribute__((unused)) static bool model_put(struct model *m, uint32_t size)
{
	uint64_t addr, number = m->proposed;

	ENSURE(size >= 8);
	uint8_t *body = log_append(m->log, MODEL_PUT, size, &addr);
	if (!body)
		return false;
	memcpy(body, &number, 8);
	for (size_t i = 8; i < size; i++)
		body[i] = model_byte(number, i);
	m->proposed++;
	return true;
}

__attribute__((unused)) static bool model_settle(struct model *m, uint64_t number)
{
	uint64_t addr;
	uint8_t *body = log_append(m->log, MODEL_SETTLE, 8, &addr);

	if (!body)
		return false;
	memcpy(body, &number, 8);
	return true;
}

/* One turn of a broker. */
__attribute__((unused)) static void model_turn(struct model *m, uint64_t wait_ns)
{
	struct io *io = m->config.io;

	log_flush(m->log, io_wall_ms(io));
	(void)io_reap(io, wait_ns ? io_now_ns(io) + wait_ns : 0);
	log_drive(m->log);
}

/* Turns until everything proposed is applied. */
__attribute__((unused)) static void model_settle_down(struct model *m)
{
	for (int i = 0; log_busy(m->log); i++) {
		ENSURE(i < 100000);
		model_turn(m, 1000000);
	}
}

/* The item as log_fetch gives it, waited for. */
__attribute__((unused)) static enum err model_fetch(struct model *m, uint64_t number, struct log_record *out)
{
	enum err e;

	for (int i = 0; (e = log_fetch(m->log, m->items[number].addr, out)) == ERR_AGAIN || e == ERR_RESOURCE_EXHAUSTED; i++) {
		ENSURE(i < 100000);
		model_turn(m, 1000000);
	}
	return e;
}

__attribute__((unused)) static bool model_item_right(struct model *m, uint64_t number)
{
	struct log_record record;
	uint64_t found;

	if (model_fetch(m, number, &record) != ERR_OK || record.kind != MODEL_PUT || record.body.len != m->items[number].size)
		return false;
	memcpy(&found, record.body.data, 8);
	for (size_t i = 8; i < record.body.len; i++)
		if (record.body.data[i] != model_byte(number, i))
			return false;
	return found == number;
}
