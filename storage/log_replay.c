/* storage/log_replay.c: reads the log behind the checkpoint, applies it, and judges where and why it ends.
 *
 * Data flow: window (blocks of one segment file) -> batch_classify -> log_apply_batch. Where the chain ends: `judge`.
 *
 * 1. What is applied continues the hash chain, the index and the place without a gap; only accept_loss may skip.
 * 2. An unreadable block is an error, not an end of the log. */
#include <errno.h>

#include "recover.h"

/* ---- window ---- */

int window_open(struct window *w, struct io *io, uint32_t number)
{
	char name[SEGMENT_NAME_MAX];

	window_close(w);
	w->io = io;
	segment_name(name, number, "log");
	int file = io->v->open(io, name, IO_DIRECT | IO_READONLY);
	if (file < 0)
		return file;
	int64_t bytes = io->v->size(io, file);
	if (bytes < 0) {
		io->v->close(io, file);
		return (int)bytes;
	}
	w->file = file;
	w->file_bytes = (uint64_t)bytes / DISK_BLOCK * DISK_BLOCK;
	w->offset = 0;
	w->len = 0;
	return 0;
}

void window_close(struct window *w)
{
	if (w->file >= 0)
		w->io->v->close(w->io, w->file);
	w->file = -1;
	w->len = 0;
}

void window_free(struct window *w)
{
	window_close(w);
	free(w->data);
	w->data = NULL;
}

/* Block by block, so that one bad block hides no other. */
static int read_tolerant(struct window *w, uint64_t offset, size_t len)
{
	for (size_t done = 0; done < len; done += DISK_BLOCK) {
		int64_t res = io_do(w->io, IO_READ, w->file, w->data + done, DISK_BLOCK, offset + done);
		if (res == DISK_BLOCK)
			continue;
		if (res < 0 && res != -EIO)
			return (int)res;
		memset(w->data + done, 0xff, DISK_BLOCK);
		w->unreadable++;
	}
	return 0;
}

int window_get(struct window *w, uint64_t offset, size_t len, struct span *out)
{
	ENSURE(w->file >= 0);
	if (offset > w->file_bytes || len > w->file_bytes - offset)
		return -ERANGE;
	if (offset < w->offset || offset + len > w->offset + w->len) {
		size_t want = (size_t)MIN_OF((uint64_t)MAX_OF(len, (size_t)RECOVER_WINDOW), w->file_bytes - offset);
		if (want > w->cap) {
			free(w->data);
			w->cap = align_up(want, RECOVER_WINDOW);
			w->data = (uint8_t *)aligned_alloc(DISK_BLOCK, w->cap);
			ENSURE(w->data != NULL);
		}
		w->len = 0;
		int64_t res = io_do(w->io, IO_READ, w->file, w->data, want, offset);
		if (res == -EIO && w->tolerant)
			res = read_tolerant(w, offset, want) == 0 ? (int64_t)want : -EIO;
		if (res < 0)
			return (int)res;
		if ((size_t)res < len)
			return -EIO; /* the file ends before its size */
		w->offset = offset;
		w->len = (size_t)res;
	}
	*out = (struct span){ w->data + (offset - w->offset), len };
	return 0;
}

/* ---- small things ---- */

void recovery_begin(struct recovery *r)
{
	r->window = (struct window){ .file = -1, .io = r->io, .tolerant = r->log && r->log->config.accept_loss };
}

void recovery_end(struct recovery *r)
{
	window_free(&r->window);
	for (uint32_t i = 0; i < r->entry_count; i++)
		free(r->entries[i].buf.base);
	free(r->entries);
	free(r->found);
	buf_free(&r->start_members);
}

int64_t recovery_file_bytes(struct recovery *r, struct found *f)
{
	if (!f->sized) {
		int res = window_open(&r->window, r->io, f->number);
		if (res < 0)
			return res;
		f->file_bytes = r->window.file_bytes;
		f->sized = true;
		window_close(&r->window);
	}
	return (int64_t)f->file_bytes;
}

static enum err cannot_read(struct recovery *r, uint32_t segment, uint64_t offset, int res)
{
	(void)snprintf(r->text, 256, "cannot read segment %08x at offset %llu: %s", segment, (unsigned long long)offset,
		       strerror(-res));
	return ERR_IO;
}

/* libraft wants to know the terms of all entries behind the snapshot, and the configurations among them. */
static void remember_entry(struct recovery *r, uint64_t term, enum raft_entry_type type)
{
	if (r->entry_count == r->entry_cap) {
		r->entry_cap = r->entry_cap ? r->entry_cap * 2 : 1024;
		r->entries = (struct raft_entry *)realloc(r->entries, size_mul(r->entry_cap, sizeof *r->entries));
		ENSURE(r->entries != NULL);
	}
	struct raft_entry entry = { .term = term, .type = type };
	if (type == RAFT_CHANGE) {
		const struct buf *members = &r->log->members;
		entry.buf.base = malloc(members->len + 1);
		ENSURE(entry.buf.base != NULL);
		memcpy(entry.buf.base, members->data, members->len);
		entry.buf.len = members->len;
	}
	r->entries[r->entry_count++] = entry;
}

static void apply(struct recovery *r, const struct batch_head *head, struct span body)
{
	struct log *log = r->log;

	log_apply_batch(log, head, body, false);
	while (r->start_index + r->entry_count + 1 < head->index) /* lost ones: accept_loss */
		remember_entry(r, head->term, RAFT_BARRIER);
	if (head->type != BATCH_MARK)
		remember_entry(r, head->term, (enum raft_entry_type)head->type);
	log->index = log->commit = head->index;
	log->term = head->term;
	log->hash = head->hash;
	log->time_ms = MAX_OF(log->time_ms, head->time_ms);
	log->since_checkpoint += batch_disk_bytes(head->body_len);
	r->batches++;
	r->records += head->records;
	r->bytes += batch_disk_bytes(head->body_len);
	log->unmarked = head->type != BATCH_MARK;
	r->expect.prev = head->hash;
	r->expect.index = head->index;
	r->expect.term = head->term;
	r->expect.offset = head->offset + batch_disk_bytes(head->body_len);
	r->last = (struct batch_place){ r->expect.segment, head->offset, batch_disk_bytes(head->body_len) };
}

/* A RAFT_CHANGE must decode before libraft sees it. */
static bool change_is_sane(const struct batch_head *head, struct span body)
{
	struct raft_configuration members;
	struct log_record record;
	size_t pos = 0;

	if (head->type != BATCH_CHANGE)
		return true;
	if (head->records != 1 || !batch_next_record(head, body, &pos, &record))
		return false;
	if (raft_node_decode_members(record.body, &members) != 0)
		return false;
	raft_configuration_close(&members);
	return true;
}

/* ---- one segment ---- */

/* The intact batch at expect.offset that continues the log. 1, 0 where there is none, or -errno. */
static int next_batch(struct recovery *r, struct batch_head *head, struct span *body)
{
	struct window *w = &r->window;
	struct span bytes;

	int res = window_get(w, r->expect.offset, DISK_BLOCK, &bytes);
	if (res < 0)
		return res == -ERANGE ? 0 : res;
	if (batch_classify(bytes, &r->expect, head) != BATCH_GOOD)
		return 0;
	res = window_get(w, r->expect.offset, batch_disk_bytes(head->body_len), &bytes);
	if (res < 0)
		return res == -ERANGE ? 0 : res;
	*body = span_sub(bytes, BATCH_HEADER, head->body_len);
	return batch_body_intact(head, *body) && change_is_sane(head, *body);
}

static enum err replay_segment(struct recovery *r)
{
	struct batch_head head;
	struct span body;
	int res;

	while ((res = next_batch(r, &head, &body)) == 1)
		apply(r, &head, body);
	segments_active(&r->log->segments)->bytes = r->expect.offset;
	return res < 0 ? cannot_read(r, r->expect.segment, r->expect.offset, res) : ERR_OK;
}

/* Makes this segment, with a file, the one that is replayed. */
static enum err enter_segment(struct recovery *r, struct found *f)
{
	struct segments *s = &r->log->segments;

	int res = window_open(&r->window, r->io, f->number);
	if (res < 0)
		return cannot_read(r, f->number, 0, res);
	f->file_bytes = r->window.file_bytes;
	f->sized = true;
	s->active = f->number;
	(void)segments_add(s, f->number, 0, f->file_bytes);
	r->expect.segment = f->number;
	r->expect.offset = 0;
	return ERR_OK;
}

/* All of the segment is applied and a later one follows: its index, as at run time. */
static enum err seal_replayed(struct recovery *r, struct found *f)
{
	struct log *log = r->log;
	struct buf now = { NULL, 0, 0 }, before = { NULL, 0, 0 };
	char name[SEGMENT_NAME_MAX];

	log->applied_segment = f->number + 1;
	if (r->readonly)
		return ERR_OK;
	segment_name(name, f->number, "idx");
	index_begin(&now);
	log->config.seal(log->config.ctx, f->number, &now);
	index_end(&now, log->store, f->number, segments_find(&log->segments, f->number)->bytes);
	int res = io_read_file(r->io, name, RECOVER_FILE_MAX, &before);
	if (res < 0 || !span_eq(buf_span(&now), buf_span(&before)))
		res = io_replace_file(r->io, name, buf_span(&now));
	f->idx = true;
	buf_free(&now);
	buf_free(&before);
	if (res == 0)
		return ERR_OK;
	(void)snprintf(r->text, 256, "cannot write \"%s\": %s", name, strerror(-res));
	return errno_is_full(res) ? ERR_DISK_FULL : ERR_IO;
}

/* ---- where the log ends ---- */

/* The size the index of a segment was made for, 0 where there is no intact one. */
static uint64_t sealed_bytes(struct recovery *r, uint32_t number, bool *intact)
{
	struct buf bytes = { NULL, 0, 0 };
	char name[SEGMENT_NAME_MAX], ignored[256];
	struct span state;
	uint64_t segment_bytes = 0;

	segment_name(name, number, "idx");
	*intact = io_read_file(r->io, name, RECOVER_FILE_MAX, &bytes) == 0 &&
		  index_decode(buf_span(&bytes), r->log->store, number, &state, ignored) == ERR_OK;
	if (*intact)
		segment_bytes = index_segment_bytes(buf_span(&bytes));
	buf_free(&bytes);
	return segment_bytes;
}

/* Does the log go on in the segment after this one? */
static enum err goes_on(struct recovery *r, struct found *f, struct found *next, bool *out)
{
	struct batch_head head;
	struct span bytes;
	bool intact;

	*out = false;
	if (!next || !next->log)
		return ERR_OK;
	if (f->idx && sealed_bytes(r, f->number, &intact) == r->expect.offset && intact) {
		*out = true; /* sealed right here */
		return ERR_OK;
	}
	struct batch_expect expect = r->expect;
	expect.segment = next->number;
	expect.offset = 0;
	int res = window_open(&r->window, r->io, next->number);
	if (res == 0 && r->window.file_bytes >= DISK_BLOCK) {
		res = window_get(&r->window, 0, DISK_BLOCK, &bytes);
		if (res == 0)
			*out = batch_classify(bytes, &expect, &head) == BATCH_GOOD;
	}
	return res < 0 ? cannot_read(r, next->number, 0, res) : ERR_OK;
}

/* What lies from offset to the end of a segment. */
struct rest {
	uint64_t blank_from; /* everything from here on is zeros */
	bool proof;          /* an intact header proves that more than the end of the log was synced */
	uint64_t index;      /* of that header */
	struct batch_head resync;
	bool can_resync;     /* resync is the first intact batch at its place */
};

static enum err look_at_rest(struct recovery *r, uint32_t number, uint64_t offset, uint64_t end_addr, struct rest *out)
{
	struct batch_head head;
	struct span bytes;

	for (; offset < r->window.file_bytes; offset += DISK_BLOCK) {
		int res = window_get(&r->window, offset, DISK_BLOCK, &bytes);
		if (res < 0)
			return cannot_read(r, number, offset, res);
		if (bytes_blank(bytes))
			continue;
		out->blank_from = offset + DISK_BLOCK;
		if (!batch_head_decode(bytes, &head) || head.store != r->log->store || head.segment != number ||
		    head.offset != offset || head.index < r->expect.index)
			continue;
		if (head.synced_end > end_addr && !out->proof) {
			out->proof = true;
			out->index = head.index;
		}
		if (out->can_resync || head.synced_end <= end_addr)
			continue;
		res = window_get(&r->window, offset, batch_disk_bytes(head.body_len), &bytes);
		if (res < 0 && res != -ERANGE)
			return cannot_read(r, number, offset, res);
		if (res == 0 && batch_body_intact(&head, span_sub(bytes, BATCH_HEADER, head.body_len)) &&
		    change_is_sane(&head, span_sub(bytes, BATCH_HEADER, head.body_len))) {
			out->resync = head;
			out->can_resync = true;
		}
	}
	return ERR_OK;
}

/* Skips to the first intact batch behind the damage. */
static enum err skip_damage(struct recovery *r, const struct rest *rest)
{
	struct log *log = r->log;
	const struct batch_head *to = &rest->resync;

	r->lost = true;
	while (log->segments.active < to->segment) {
		struct found *f = recovery_find(r, log->segments.active);
		enum err e = seal_replayed(r, f);
		if (e != ERR_OK)
			return e;
		uint32_t number = log->segments.active; /* some in between may be missing, too; the one of `to` is there */
		struct found *next;
		do
			next = recovery_find(r, ++number);
		while (number < to->segment && (next == NULL || !next->log));
		ENSURE(next != NULL && next->log);
		e = enter_segment(r, next);
		if (e != ERR_OK)
			return e;
		log->applied_segment = next->number;
	}
	int res = window_open(&r->window, r->io, to->segment);
	if (res < 0)
		return cannot_read(r, to->segment, 0, res);
	r->expect.offset = to->offset;
	r->expect.prev = to->prev;
	r->expect.index = to->type == BATCH_MARK ? to->index : to->index - 1;
	return ERR_OK;
}

static enum err damaged(struct recovery *r, const struct rest *rest, const char *proof)
{
	(void)snprintf(r->text, 256,
		       "segment %08x is damaged at offset %llu: %s, but what follows entry %llu cannot be read; "
		       "restore it from a backup, or start with accept_loss to drop it",
		       r->expect.segment, (unsigned long long)r->expect.offset, proof, (unsigned long long)r->expect.index);
	if (!r->log->config.accept_loss)
		return ERR_DAMAGED;
	log_note(r->log, "%s%s", r->readonly ? "" : "loss accepted: ", r->text);
	r->lost = true;
	r->damages++;
	return rest->can_resync ? ERR_AGAIN : ERR_OK;
}

/* The chain has ended in the active segment. ERR_OK: a clean or torn end; ERR_AGAIN: go on behind accepted damage. */
static enum err judge(struct recovery *r)
{
	struct log *log = r->log;
	uint64_t end_addr = log_addr(r->expect.segment, r->expect.offset);
	struct rest here = { 0 }, later = { 0 };
	bool intact, sealed = false;

	int res = window_open(&r->window, r->io, r->expect.segment);
	if (res < 0)
		return cannot_read(r, r->expect.segment, 0, res);
	enum err e = look_at_rest(r, r->expect.segment, r->expect.offset, end_addr, &here);
	later = here;
	for (uint32_t i = 0; i < r->found_count && e == ERR_OK; i++) {
		struct found *f = &r->found[i];
		if (f->number < r->expect.segment)
			continue;
		if (f->idx && (f->number > r->expect.segment || sealed_bytes(r, f->number, &intact) > r->expect.offset))
			sealed = true;
		if (f->number == r->expect.segment && f->idx && sealed_bytes(r, f->number, &intact) == r->expect.offset &&
		    intact) {
			(void)snprintf(r->text, 256, "segment %08x is sealed, but the file \"seg-%08x.log\" behind it is missing: "
				       "restore it from a backup", f->number, f->number + 1);
			if (!log->config.accept_loss)
				return ERR_DAMAGED;
			log_note(log, "%s%s", r->readonly ? "" : "loss accepted: ", r->text);
			r->lost = true;
			r->missing++;
		}
		if (f->number == r->expect.segment || !f->log)
			continue;
		res = window_open(&r->window, r->io, f->number);
		if (res < 0)
			return cannot_read(r, f->number, 0, res);
		later.blank_from = 0;
		e = look_at_rest(r, f->number, 0, end_addr, &later);
		r->torn_later += later.blank_from;
	}
	if (e != ERR_OK)
		return e;
	if (later.proof || sealed || log->index < r->vote.index) {
		char proof[96];
		(void)snprintf(proof, sizeof proof, "entries up to %llu at least were confirmed",
			       (unsigned long long)(later.proof ? later.index - 1 : r->vote.index));
		e = damaged(r, &later, sealed && !later.proof ? "it was sealed with more in it" : proof);
		if (e == ERR_AGAIN) {
			enum err skipped = skip_damage(r, &later);
			return skipped == ERR_OK ? ERR_AGAIN : skipped;
		}
		if (e != ERR_OK)
			return e;
	}
	log->segments.end = r->expect.offset;
	r->tail_end = here.blank_from;
	return ERR_OK;
}

/* ---- all of it ---- */

/* Segments that the checkpoint wants replayed and the log has moved past must all be there. */
static enum err missing(struct recovery *r, uint32_t number)
{
	(void)snprintf(r->text, 256, "the file \"seg-%08x.log\" is missing: restore it from a backup", number);
	return ERR_DAMAGED;
}

enum err recovery_replay(struct recovery *r)
{
	struct log *log = r->log;
	struct found *f = recovery_find(r, log->applied_segment);

	r->first_replayed = log->applied_segment;
	r->expect = (struct batch_expect){
		.store = log->store, .prev = log->hash, .index = log->index, .term = log->term,
	};
	if (!f || !f->log)
		return missing(r, log->applied_segment);
	enum err e = enter_segment(r, f);
	while (e == ERR_OK) {
		e = replay_segment(r);
		if (e != ERR_OK)
			return e;
		bool more;
		f = recovery_find(r, r->expect.segment);
		struct found *next = recovery_find(r, r->expect.segment + 1);
		e = goes_on(r, f, next, &more);
		if (e != ERR_OK)
			return e;
		if (more) {
			e = seal_replayed(r, f);
			if (e == ERR_OK)
				e = enter_segment(r, next);
			continue;
		}
		e = judge(r);
		if (e == ERR_OK)
			break;
		if (e == ERR_AGAIN)
			e = ERR_OK;
	}
	if (e == ERR_OK && log->index == 0) {
		(void)snprintf(r->text, 256, "the log has no first entry: restore it from a backup");
		return ERR_DAMAGED;
	}
	return e;
}
