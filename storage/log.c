/* storage/log.c: append, flush, drive. storage/log.h is the contract; log_recover.c opens.
 *
 *   log_append -> pending batch -> log_flush: Raft entry, checksums, one write -> log_drive: durable -> Raft: committed -> apply
 *
 * 1. One write is in flight at most; meanwhile the next batch fills. So a batch on disk proves that all before it
 *    were durable (synced_end).
 * 2. A record is applied only when its batch is durable here and Raft calls it committed.
 * 3. A failed write or sync is final (log_fail). A short write is continued.
 * 4. Completion callbacks only note the result; log_drive acts on it.
 * 5. Batches are applied in order; where the segment changes, checkpoint_drive runs between the two batches. */
#include <errno.h>
#include <stdarg.h>

#include "log_internal.h"

void log_note(struct log *log, const char *format, ...)
{
	char line[320];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(line, sizeof line, format, args);
	va_end(args);
	log->config.note(log->config.ctx, line);
}

void log_fail(struct log *log, const char *what, int64_t res)
{
	int errno_value = res < 0 ? (int)-res : EIO;

	if (log->opening) {
		if (log->failed == 0) {
			log->failed = -errno_value;
			log->failed_what = what;
		}
		return;
	}
	log->config.fatal(log->config.ctx, what, errno_value);
	abort(); /* fatal must not return: after this nothing may be confirmed */
}

/* ---- append ---- */

static uint64_t space_left(const struct log *log)
{
	uint64_t size = log->config.segment_bytes;

	return log->segments.end < size ? size - log->segments.end : 0;
}

/* Where the next batch goes, and how much may be in it. False where the disk has no room for `size`. */
static bool begin_pending(struct log *log, size_t size)
{
	struct segments *s = &log->segments;
	size_t least = batch_disk_bytes(record_bytes(size));
	uint64_t left = space_left(log);
	/* Rather start the next segment than make batches small at the end of this one. */
	uint64_t comfortable = MIN_OF((uint64_t)log->batch_max, log->config.segment_bytes / 8);

	if (left < MAX_OF((uint64_t)least, comfortable)) {
		int res = segments_rotate(s);
		if (res == -ENOSPC && left < least)
			return false;
		if (res < 0 && res != -ENOSPC)
			log_fail(log, "start a segment", res);
		left = space_left(log);
	}
	uint64_t room = MIN_OF(left, (uint64_t)log->batch_max) - BATCH_HEADER;
	log->pending = (struct pending){
		.data = cache_reserve(log), .offset = s->end, .segment = s->active,
		.body_max = (uint32_t)MIN_OF(room, (uint64_t)log->body_max),
	};
	return true;
}

void *log_append(struct log *log, uint16_t kind, size_t size, uint64_t *addr_out)
{
	return log_append_summed(log, kind, size, 0, 0, addr_out);
}

void *log_append_summed(struct log *log, uint16_t kind, size_t size, uint32_t tail, uint32_t tail_crc, uint64_t *addr_out)
{
	struct pending *pending = &log->pending;

	if (size > log->config.batch_bytes)
		return NULL;
	size_t bytes = record_bytes(size);
	if (!pending->data && !begin_pending(log, size))
		return NULL;
	if (bytes > pending->body_max - pending->body_len)
		return NULL;
	uint64_t pos = BATCH_HEADER + pending->body_len;
	pending->body_len += (uint32_t)bytes;
	pending->records++;
	*addr_out = log_addr(pending->segment, pending->offset + pos);
	uint8_t *body = record_begin(pending->data + pos, kind, (uint32_t)size);
	if (tail > 0)
		record_set_tail(pending->data + pos, tail, tail_crc);
	return body;
}

size_t log_append_room(const struct log *log)
{
	const struct pending *pending = &log->pending;
	const struct segments *s = &log->segments;
	uint64_t room = log->body_max;

	if (pending->data)
		room = pending->body_max - pending->body_len;
	else if (s->next == NEXT_NONE && s->full) {
		uint64_t left = space_left(log);
		room = left < DISK_BLOCK ? 0 : MIN_OF(room, left - BATCH_HEADER);
	}
	return room < LOG_RECORD_HEADER ? 0 : (size_t)MIN_OF((room - LOG_RECORD_HEADER) / 8 * 8,
							      (uint64_t)log->config.batch_bytes);
}

/* ---- write ---- */

static void write_completed(struct io_op *op, int64_t res)
{
	struct log *log = (struct log *)op->ctx;

	log->result = res;
	log->landed = true;
}

static void submit_write(struct log *log)
{
	struct cached *cached = cache_at(log, log->cache.next - 1);
	struct segment *segment = segments_find(&log->segments, cached->head.segment);

	ENSURE(segment != NULL && segment->writer >= 0);
	log->op = (struct io_op){
		.kind = IO_WRITE, .file = segment->writer, .data = cached->data + log->flown,
		.len = log->flying_bytes - log->flown, .offset = cached->head.offset + log->flown,
		.done = write_completed, .ctx = log,
	};
	log->landed = false;
	io_submit(log->config.io, &log->op);
}

/* The pending batch becomes this entry and is written. */
static void fly(struct log *log, enum batch_type type, uint64_t index, uint64_t term)
{
	struct pending *pending = &log->pending;
	struct batch_head head = {
		.type = (uint16_t)type, .segment = pending->segment, .offset = pending->offset, .store = log->store,
		.index = index, .term = term, .time_ms = log->time_ms, .prev = log->hash,
		.synced_end = log_addr(pending->segment, pending->offset),
		.body_len = pending->body_len, .records = pending->records,
	};

	ENSURE(!log->flying);
	ENSURE(pending->data != NULL);
	batch_encode(pending->data, &head);
	(void)cache_push(log, &head, pending->data);
	log->flying_bytes = batch_disk_bytes(head.body_len);
	log->flown = 0;
	log->flying = true;
	log->flying_ns = io_now_ns(log->config.io);
	segments_wrote(&log->segments, log->flying_bytes);
	log->index = index;
	log->term = term;
	log->hash = head.hash;
	log->unmarked = type != BATCH_MARK;
	*pending = (struct pending){ .data = NULL };

	log->stats.batches++;
	log->stats.records += head.records;
	log->stats.bytes_appended += head.body_len;
	log->stats.bytes_written += log->flying_bytes;
	log->since_checkpoint += log->flying_bytes;
	submit_write(log);
}

/* Says on an idle log that the last batch was synced, so that damage to it cannot pass for a torn write. */
static void write_mark(struct log *log)
{
	if (space_left(log) < DISK_BLOCK || !segments_may_write(&log->segments, log->segments.end, DISK_BLOCK))
		return;
	log->pending = (struct pending){
		.data = cache_reserve(log), .offset = log->segments.end, .segment = log->segments.active,
	};
	fly(log, BATCH_MARK, log->index, log->term);
}

void log_flush(struct log *log, uint64_t now_ms)
{
	struct pending *pending = &log->pending;

	if (now_ms - log->segments.sampled_ms >= 1000) { /* also when the clock went back */
		segments_sample(&log->segments, now_ms, true);
		log->segments_due = true;
	}
	if (log->flying)
		return;
	if (pending->records == 0) {
		if (log->unmarked && now_ms - log->flushed_ms >= LOG_MARK_MS)
			write_mark(log);
		return;
	}
	if (!segments_may_write(&log->segments, pending->offset, batch_disk_bytes(pending->body_len))) {
		segments_batch_waits(&log->segments);
		return;
	}
	log->flushed_ms = now_ms;
	log->time_ms = MAX_OF(now_ms, log->time_ms);
	struct span body = { pending->data + BATCH_HEADER, pending->body_len };
	int res = raft_node_submit(log->raft, log_now_ms(log), RAFT_COMMAND, body);
	ENSURE(res == 0);
	ENSURE(log->flying);
}

/* ---- Raft's wishes ---- */

static void raft_entries(void *ctx, uint64_t index, const struct raft_entry *entries, unsigned count)
{
	struct log *log = (struct log *)ctx;
	const struct raft_entry *entry = &entries[0];

	ENSURE(count == 1 && index == log->index + 1); /* a group of one truncates nothing */
	if (entry->type != RAFT_COMMAND) {
		/* A barrier has no body here; a configuration travels as one record. */
		size_t size = entry->type == RAFT_CHANGE ? entry->buf.len : 0;
		uint64_t addr;
		ENSURE(!log->pending.data);
		if (!begin_pending(log, size)) {
			log_fail(log, "start a segment", -ENOSPC);
			return;
		}
		if (entry->type == RAFT_CHANGE)
			memcpy(log_append(log, 0, size, &addr), entry->buf.base, size);
	}
	fly(log, (enum batch_type)entry->type, index, entry->term);
}

static void raft_commit(void *ctx, uint64_t index)
{
	struct log *log = (struct log *)ctx;

	if (index > log->commit)
		log->commit = index;
}

static void raft_hard_state(void *ctx, uint64_t term, uint64_t voted_for)
{
	struct log *log = (struct log *)ctx;
	struct vote vote = {
		.term = term, .voted_for = voted_for, .index = log->index,
		.addr = log_addr(log->segments.active, log->segments.end),
	};

	int res = vote_write(log->config.io, log->store, &vote);
	if (res < 0)
		log_fail(log, "write the file \"vote\"", res);
}

static void raft_message(void *ctx, const struct raft_message *message)
{
	(void)ctx;
	(void)message;
	ENSURE(false && "a group of one sends nothing");
}

static void raft_install(void *ctx, const struct raft_snapshot_metadata *metadata, struct span chunk)
{
	(void)ctx;
	(void)metadata;
	(void)chunk;
	ENSURE(false && "a group of one installs nothing");
}

static const struct raft_node_hooks raft_hooks = {
	.hard_state = raft_hard_state, .entries = raft_entries, .install = raft_install, .message = raft_message,
	.commit = raft_commit,
};

const struct raft_node_hooks *log_raft_hooks(void)
{
	return &raft_hooks;
}

/* ---- drive ---- */

/* The write is back. True when the batch is durable. */
static bool land(struct log *log)
{
	log->landed = false;
	if (log->result == -EINTR || log->result == -EAGAIN) {
		submit_write(log);
		return false;
	}
	/* Direct writes go on at a block boundary; what lies behind it is written again. */
	size_t blocks = log->result > 0 ? (size_t)log->result / DISK_BLOCK * DISK_BLOCK : 0;
	if (log->result <= 0 || blocks > log->flying_bytes - log->flown) {
		log_fail(log, "write to the log", log->result);
		return false;
	}
	if (blocks == 0 && ++log->stuck > 16) {
		log_fail(log, "write to the log: it stays short", -EIO);
		return false;
	}
	log->flown += blocks;
	if (log->flown < log->flying_bytes) {
		submit_write(log);
		return false;
	}
	log->stuck = 0;
	return true;
}

static void landed(struct log *log)
{
	uint64_t now_ns = io_now_ns(log->config.io);
	uint64_t took = now_ns - log->flying_ns;
	const struct batch_head *head = &cache_at(log, log->cache.next - 1)->head;

	log->flying = false;
	log->write_ns = log->write_ns - log->write_ns / 8 + took / 8;
	log->stats.syncs++;
	log->stats.sync_ns_total += took;
	log->stats.sync_ns_max = MAX_OF(log->stats.sync_ns_max, took);
	segments_find(&log->segments, head->segment)->bytes = head->offset + log->flying_bytes;
	if (head->type == BATCH_MARK)
		return;
	int res = raft_node_persisted(log->raft, now_ns / 1000000, head->index);
	ENSURE(res == 0);
}

static void apply_change(struct log *log, const struct batch_head *head, struct span body)
{
	struct log_record record;
	size_t pos = 0;

	if (!batch_next_record(head, body, &pos, &record))
		return;
	log->members.len = 0;
	buf_append(&log->members, record.body.data, record.body.len);
	log->members_index = head->index;
}

void log_apply_batch(struct log *log, const struct batch_head *head, struct span body, bool live)
{
	struct log_entry entry = { .index = head->index, .term = head->term, .time_ms = head->time_ms };
	struct log_record record;
	size_t pos = 0;

	if (head->type == BATCH_CHANGE)
		apply_change(log, head, body);
	else if (head->type == BATCH_COMMAND)
		while (batch_next_record(head, body, &pos, &record))
			log->config.apply(log->config.ctx, &entry, &record, live);
	log->applied_index = head->index;
	log->applied_term = head->term;
	log->applied_hash = head->hash;
}

static void apply_committed(struct log *log)
{
	while (log->apply_next < log->cache.next) {
		struct cached *cached = cache_at(log, log->apply_next);
		struct batch_head head = cached->head; /* apply may append and so move the table */
		struct span body = { cached->data + BATCH_HEADER, head.body_len };

		if (head.index > log->commit || (log->flying && log->apply_next + 1 == log->cache.next))
			return;
		if (head.segment != log->applied_segment)
			checkpoint_drive(log);
		if (head.segment != log->applied_segment)
			return; /* zeros are on their way to the one before */
		log_apply_batch(log, &head, body, true);
		log->apply_next++;
		if (head.type == BATCH_CHANGE) {
			int res = raft_node_configured(log->raft, log_now_ms(log), head.index, buf_span(&log->members));
			ENSURE(res == 0);
		}
	}
}

/* Files: prepare the next segment, zero it, write indexes and checkpoints. */
static void drive_files(struct log *log)
{
	struct segments *s = &log->segments;

	log->segments_due = false;
	if (s->next == NEXT_NONE && !s->full) {
		int res = segments_prepare(s);
		if (res < 0 && res != -ENOSPC)
			log_fail(log, "allocate a segment", res);
		segments_sample(s, s->sampled_ms, true);
		s->full = res == -ENOSPC;
	}
	int res = segments_drive(s);
	if (res < 0)
		log_fail(log, "fill a segment with zeros", res);
	res = replace_drive(&log->replace);
	if (res < 0)
		log_fail(log, "write an index or a checkpoint", res);
	if (log_room(log) == LOG_ROOM_OK || log->checkpoint_busy || s->next == NEXT_NONE)
		return;
	for (uint32_t i = 0; i < s->count && s->at[i].number < log->applied_segment; i++)
		if (!s->at[i].doomed && !log->config.segment_live(log->config.ctx, s->at[i].number))
			log->checkpoint_wanted = true;
}

static bool files_due(const struct log *log)
{
	const struct segments *s = &log->segments;

	return log->segments_due || segments_due(s) || replace_due(&log->replace) || (s->next == NEXT_NONE && !s->full);
}

void log_drive(struct log *log)
{
	log->turn++;
	if (log->landed && land(log))
		landed(log);
	if (log->apply_next < log->cache.next)
		apply_committed(log);
	if (log->cache.completed > 0)
		cache_drive(log);
	if (log->applied_segment < log->segments.active || log->checkpoint_wanted || log->checkpoint_forced)
		checkpoint_drive(log);
	if (files_due(log))
		drive_files(log);
	if (log->cache.bytes > log->config.cache_bytes || log->cache.chunk_count > 0)
		cache_trim(log);
}

bool log_waiting(const struct log *log)
{
	return log->pending.records > 0 && !log->flying;
}

uint64_t log_write_ns(const struct log *log)
{
	return log->write_ns;
}

bool log_busy(const struct log *log)
{
	return log->pending.records > 0 || log->flying || log->apply_next < log->cache.next ||
	       log->checkpoint_wanted || log->checkpoint_forced || log->checkpoint_busy_forced;
}

enum log_room log_room(const struct log *log)
{
	const struct segments *s = &log->segments;
	uint64_t reserve = log->config.reserve_segments * log->config.segment_bytes;

	/* The next segment is spoken for; the reserve comes on top. Just after a rotation there is none yet, which says nothing: only
	 * that the disk had no room for one does. */
	if (s->next == NEXT_NONE)
		return !s->full && s->free_bytes >= reserve + log->config.segment_bytes ? LOG_ROOM_OK : LOG_ROOM_SETTLE;
	return s->free_bytes >= reserve ? LOG_ROOM_OK : LOG_ROOM_SETTLE;
}

uint64_t log_store(const struct log *log)
{
	return log->store;
}

void log_get_stats(const struct log *log, struct log_stats *out)
{
	*out = log->stats;
	out->index = log->index;
	out->term = log->term;
	out->time_ms = log->time_ms;
	out->segments = log->segments.count;
	out->disk_free_bytes = log->segments.free_bytes;
	out->segment_bytes_on_disk = log->segments.next != NEXT_NONE ? log->config.segment_bytes : 0;
	for (uint32_t i = 0; i < log->segments.count; i++)
		out->segment_bytes_on_disk += log->segments.at[i].file_bytes;
	out->cache_bytes = log->cache.bytes + log->cache.chunk_total;
}

uint64_t log_memory(const struct log *log)
{
	const struct cache *c = &log->cache;
	return c->bytes + c->chunk_total + (c->spare ? c->slab_bytes : 0) + (c->chunk_spare ? c->chunk_most : 0);
}

void log_set_cache(struct log *log, uint64_t bytes)
{
	log->config.cache_bytes = bytes;
	cache_spare_free(log);
}

void log_checkpoint_now(struct log *log)
{
	log->checkpoint_wanted = true;
}

void log_close(struct log *log)
{
	struct io *io = log->config.io;

	/* Zeros, reads and background files may still be on their way, and own memory of ours. */
	for (int idle = 0; idle < 64 && (log->flying || log->cache.reading > log->cache.completed || log->replace.busy ||
					 log->segments.zero_busy);
	     idle++) {
		(void)io_reap(io, io_now_ns(io) + 1000000000ull);
		if (log->landed)
			log->flying = false;
	}
	log->replace.busy = false;
	cache_free(log);
	replace_free(&log->replace);
	segments_free(&log->segments);
	raft_node_free(log->raft);
	buf_free(&log->members);
	free(log);
}
