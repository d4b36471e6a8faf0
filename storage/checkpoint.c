/* storage/checkpoint.c: the bytes of checkpoints and segment indexes, and when they are made.
 *
 * Data flow: log_drive -> checkpoint_drive: a segment whose batches are all applied is sealed (config.seal -> seg-N.idx); with a
 * seal, when the log has grown enough, config.checkpoint -> "checkpoint". Both are written by replace.c in the
 * background, in this order. When the checkpoint is durable, libraft is told and dead segments go.
 *
 * 1. A checkpoint covers exactly the entries of the segments before next_segment.
 * 2. Indexes of all segments it names are durable before it is (one queue).
 * 3. A segment is deleted only after a durable checkpoint that does not name it. */
#include <errno.h>

#include "../wire/crc32c.h"
#include "log_internal.h"

enum { CHECKPOINT_MAGIC = 0x434b4c48, INDEX_MAGIC = 0x494b4c48 }; /* "HLKC", "HLKI" */

struct disk_checkpoint {
	uint32_t magic, format, crc, head_bytes; /* crc: of everything after these 16 bytes */
	uint64_t store, index, term, hash, time_ms, members_index;
	uint32_t next_segment, segment_count, members_bytes, spare;
	uint64_t state_bytes;
};
_Static_assert(sizeof(struct disk_checkpoint) == 88, "disk layout");
_Static_assert(sizeof(struct checkpoint_segment) == 16, "disk layout");

struct disk_index {
	uint32_t magic, format, crc, segment;
	uint64_t store, segment_bytes, state_bytes;
};
_Static_assert(sizeof(struct disk_index) == 40, "disk layout");

/* The head, the segments and the members follow the state, so that the state needs no move. */
void checkpoint_begin(struct buf *out)
{
	memset(buf_extend(out, sizeof(struct disk_checkpoint)), 0, sizeof(struct disk_checkpoint));
}

void checkpoint_end(struct buf *out, uint64_t store, const struct checkpoint *c)
{
	struct disk_checkpoint head = {
		.magic = CHECKPOINT_MAGIC, .format = BATCH_FORMAT, .head_bytes = sizeof head, .store = store,
		.index = c->index, .term = c->term, .hash = c->hash, .time_ms = c->time_ms,
		.members_index = c->members_index, .next_segment = c->next_segment,
		.segment_count = c->segment_count, .members_bytes = (uint32_t)c->members.len,
		.state_bytes = out->len - sizeof head,
	};

	buf_append(out, c->segments, c->segment_count * sizeof *c->segments);
	buf_append(out, c->members.data, c->members.len);
	memcpy(out->data, &head, sizeof head);
	head.crc = crc32c(0, span_sub(buf_span(out), 16, out->len - 16));
	memcpy(out->data, &head, sizeof head);
}

static enum err bad(char text[256], enum err e, const char *what, const char *why)
{
	(void)snprintf(text, 256, "%s %s", what, why);
	return e;
}

enum err checkpoint_decode(struct span bytes, uint64_t store, struct checkpoint *out, char text[256])
{
	const char *what = "the file \"checkpoint\"";
	struct disk_checkpoint head;

	if (bytes.len < sizeof head)
		return bad(text, ERR_DAMAGED, what, "is damaged: too short");
	memcpy(&head, bytes.data, sizeof head);
	if (head.magic != CHECKPOINT_MAGIC || crc32c(0, span_sub(bytes, 16, bytes.len - 16)) != head.crc)
		return bad(text, ERR_DAMAGED, what, "is damaged: its checksum does not match");
	if (head.format != BATCH_FORMAT || head.head_bytes != sizeof head)
		return bad(text, ERR_FOREIGN, what, "has a format that this version does not read");
	if (head.store != store)
		return bad(text, ERR_FOREIGN, what, "belongs to another store");
	size_t left = bytes.len - sizeof head;
	uint64_t segments_bytes = (uint64_t)head.segment_count * sizeof *out->segments;
	if (head.state_bytes > left || segments_bytes > left - head.state_bytes ||
	    head.members_bytes != left - head.state_bytes - segments_bytes || head.next_segment == 0)
		return bad(text, ERR_DAMAGED, what, "is damaged: its sizes do not add up");

	struct checkpoint_segment *segments =
		(struct checkpoint_segment *)calloc(head.segment_count + 1, sizeof *segments);
	ENSURE(segments != NULL);
	if (segments_bytes > 0)
		memcpy(segments, bytes.data + sizeof head + head.state_bytes, (size_t)segments_bytes);
	*out = (struct checkpoint){
		.index = head.index, .term = head.term, .hash = head.hash, .time_ms = head.time_ms,
		.members_index = head.members_index, .next_segment = head.next_segment,
		.segment_count = head.segment_count, .segments = segments,
		.state = { bytes.data + sizeof head, (size_t)head.state_bytes },
		.members = { bytes.data + bytes.len - head.members_bytes, head.members_bytes },
	};
	uint32_t last = 0;
	for (uint32_t i = 0; i < out->segment_count; i++) {
		if (segments[i].number <= last || segments[i].number >= head.next_segment ||
		    segments[i].bytes % DISK_BLOCK != 0) {
			checkpoint_free(out);
			return bad(text, ERR_DAMAGED, what, "is damaged: its list of segments makes no sense");
		}
		last = segments[i].number;
	}
	return ERR_OK;
}

void checkpoint_free(struct checkpoint *c)
{
	free((void *)(uintptr_t)c->segments);
	*c = (struct checkpoint){ 0 };
}

void index_begin(struct buf *out)
{
	memset(buf_extend(out, sizeof(struct disk_index)), 0, sizeof(struct disk_index));
}

void index_end(struct buf *out, uint64_t store, uint32_t segment, uint64_t segment_bytes)
{
	struct disk_index head = {
		.magic = INDEX_MAGIC, .format = BATCH_FORMAT, .segment = segment, .store = store,
		.segment_bytes = segment_bytes, .state_bytes = out->len - sizeof head,
	};

	memcpy(out->data, &head, sizeof head);
	head.crc = crc32c(0, span_sub(buf_span(out), 12, out->len - 12));
	memcpy(out->data, &head, sizeof head);
}

uint64_t index_segment_bytes(struct span bytes)
{
	struct disk_index head;

	ENSURE(bytes.len >= sizeof head);
	memcpy(&head, bytes.data, sizeof head);
	return head.segment_bytes;
}

enum err index_decode(struct span bytes, uint64_t store, uint32_t segment, struct span *state, char text[256])
{
	struct disk_index head;
	char what[64];

	(void)snprintf(what, sizeof what, "the file \"seg-%08x.idx\"", segment);
	if (bytes.len < sizeof head)
		return bad(text, ERR_DAMAGED, what, "is damaged: too short");
	memcpy(&head, bytes.data, sizeof head);
	if (head.magic != INDEX_MAGIC || crc32c(0, span_sub(bytes, 12, bytes.len - 12)) != head.crc)
		return bad(text, ERR_DAMAGED, what, "is damaged: its checksum does not match");
	if (head.format != BATCH_FORMAT || head.store != store || head.segment != segment)
		return bad(text, ERR_FOREIGN, what, "belongs to another store, segment or version");
	if (head.state_bytes != bytes.len - sizeof head)
		return bad(text, ERR_DAMAGED, what, "is damaged: its sizes do not add up");
	*state = span_sub(bytes, sizeof head, (size_t)head.state_bytes);
	return ERR_OK;
}

/* ---- when ---- */

enum { JOB_INDEX = 1, JOB_CHECKPOINT = 2 };

static void seal(struct log *log, uint32_t number)
{
	struct segment *segment = segments_find(&log->segments, number);
	struct buf out = { NULL, 0, 0 };
	char name[SEGMENT_NAME_MAX];

	ENSURE(segment != NULL);
	int res = segments_seal(&log->segments, number);
	if (res < 0)
		log_fail(log, "truncate a sealed segment", res);
	index_begin(&out);
	log->config.seal(log->config.ctx, number, &out);
	index_end(&out, log->store, number, segment->bytes);
	segment_name(name, number, "idx");
	replace_add(&log->replace, name, &out)->kind = JOB_INDEX;
	log->applied_segment = number + 1;
}

static void take(struct log *log)
{
	struct segments *s = &log->segments;
	struct checkpoint_segment *live =
		(struct checkpoint_segment *)calloc(s->count + 1, sizeof *live);
	struct buf out = { NULL, 0, 0 };
	uint32_t count = 0;

	ENSURE(live != NULL);
	checkpoint_begin(&out);
	log->config.checkpoint(log->config.ctx, &out);
	for (uint32_t i = 0; i < s->count; i++) {
		struct segment *segment = &s->at[i];
		if (segment->number >= log->applied_segment || segment->doomed)
			continue;
		segment->dead = !log->config.segment_live(log->config.ctx, segment->number);
		if (!segment->dead)
			live[count++] = (struct checkpoint_segment){ .number = segment->number, .bytes = segment->bytes };
	}
	struct checkpoint head = {
		.index = log->applied_index, .term = log->applied_term, .hash = log->applied_hash,
		.time_ms = log->time_ms, .members_index = log->members_index, .members = buf_span(&log->members),
		.next_segment = log->applied_segment, .segments = live, .segment_count = count,
	};
	checkpoint_end(&out, log->store, &head);
	free(live);
	log->checkpoint_bytes = out.len;
	log->since_checkpoint = 0;
	log->checkpoint_busy = true;
	log->checkpoint_busy_forced = log->checkpoint_forced;
	log->checkpoint_forced = false;
	struct replace_job *job = replace_add(&log->replace, "checkpoint", &out);
	job->kind = JOB_CHECKPOINT;
	job->droppable = true;
	job->number = log->applied_index;
}

static void delete_dead(struct log *log)
{
	struct segments *s = &log->segments;
	uint32_t deleted = 0;

	for (uint32_t i = 0; i < s->count;) {
		uint32_t number = s->at[i].number;
		if (!s->at[i].dead || s->at[i].doomed) {
			i++;
			continue;
		}
		int res = segments_delete(s, number);
		if (res < 0)
			log_fail(log, "delete a segment", res);
		deleted++;
		if (i < s->count && s->at[i].number == number)
			i++; /* a read is still under way */
	}
	if (deleted == 0)
		return;
	int res = log->config.io->v->sync_dir(log->config.io);
	if (res < 0)
		log_fail(log, "sync the directory", res);
	segments_sample(s, s->sampled_ms, true);
}

void checkpoint_finished(void *ctx, struct replace_job *job, bool done)
{
	struct log *log = (struct log *)ctx;

	if (job->kind != JOB_CHECKPOINT)
		return;
	log->checkpoint_busy = false;
	log->checkpoint_busy_forced = false;
	if (!done) {
		for (uint32_t i = 0; i < log->segments.count; i++)
			log->segments.at[i].dead = false;
		log_note(log, "no checkpoint: the disk is full");
		return;
	}
	log->stats.checkpoints++;
	log->stats.checkpoint_bytes = job->bytes.len;
	int res = raft_node_snapshot(log->raft, log_now_ms(log), job->number, log->members_index,
				     buf_span(&log->members), LOG_TRAILING);
	ENSURE(res == 0);
	delete_dead(log);
	log_note(log, "checkpoint at entry %llu: %zu bytes, %u segments", (unsigned long long)job->number,
		 job->bytes.len, log->segments.count);
}

/* Seals without an occasion: asked for, or the disk is filling up and something could be deleted. */
static void consider_forced(struct log *log)
{
	struct segments *s = &log->segments;

	if (log->pending.data || log->checkpoint_busy)
		return;
	if (s->end > 0) {
		int res = segments_rotate(s);
		if (res < 0 && res != -ENOSPC)
			log_fail(log, "start a segment", res);
		if (res < 0)
			log_note(log, "no checkpoint: no space for a new segment");
		log->checkpoint_forced = res == 0;
	} else {
		log->checkpoint_forced = true;
	}
	log->checkpoint_wanted = false;
}

void checkpoint_drive(struct log *log)
{
	if (log->checkpoint_wanted)
		consider_forced(log);
	while (log->applied_segment < log->segments.active) {
		if (log->apply_next < log->cache.next &&
		    cache_at(log, log->apply_next)->head.segment == log->applied_segment)
			return;
		if (segments_zeroing(&log->segments, log->applied_segment))
			return; /* their completion comes back here */
		seal(log, log->applied_segment);
		bool grown = log->since_checkpoint >= 2 * log->checkpoint_bytes;
		if (!log->checkpoint_busy && (log->checkpoint_forced || grown))
			take(log);
	}
	if (log->checkpoint_forced && !log->checkpoint_busy && log->segments.end == 0)
		take(log);
}
