/* storage/fsck.c: offline looking: log_check_dir and log_walk_dir. Reads everything, changes nothing (but takes the lock).
 *
 * Data flow: identity, vote, checkpoint, then sealed segments one by one, then the same replay as log_open
 * (log_replay.c, read-only, going on behind damage), with a state machine that only counts or passes records on.
 *
 * 1. What log_open would refuse is ERR_DAMAGED here; what it would cut is counted as torn. */
#include <errno.h>

#include "recover.h"

struct checker {
	struct recovery r;
	struct log *log;      /* never opened: carries the state of the replay */
	struct log_check *out;
	void (*line)(void *ctx, const char *text);
	void *ctx;
	struct log_look look; /* all NULL: nobody looks */
	char text[256];
};

static void say_line(struct checker *c, const char *text)
{
	if (c->line)
		c->line(c->ctx, text);
}

static void on_note(void *ctx, const char *text)
{
	say_line((struct checker *)ctx, text);
}

static void on_apply(void *ctx, const struct log_entry *entry, const struct log_record *record, bool live)
{
	struct checker *c = (struct checker *)ctx;

	(void)live;
	if (c->look.each)
		c->look.each(c->look.ctx, entry, record);
}

static void checker_begin(struct checker *c, struct io *io)
{
	c->log = (struct log *)calloc(1, sizeof *c->log);
	ENSURE(c->log != NULL);
	c->log->config = (struct log_config){
		.io = io, .accept_loss = true, .ctx = c, .apply = on_apply, .note = on_note,
		.segment_bytes = LIMIT_SEGMENT_BYTES_MIN,
	};
	segments_init(&c->log->segments, &c->log->config);
	c->r = (struct recovery){ .log = c->log, .io = io, .text = c->text, .readonly = true };
	recovery_begin(&c->r);
}

static void checker_end(struct checker *c)
{
	recovery_end(&c->r);
	segments_free(&c->log->segments);
	buf_free(&c->log->members);
	free(c->log);
}

/* Lock, names, identity, vote. */
static enum err look_around(struct checker *c)
{
	struct io *io = c->r.io;
	struct identity identity;

	int res = io->v->lock(io, "lock");
	if (res == -EWOULDBLOCK) {
		say_line(c, "another process uses this data directory");
		return ERR_LOCKED;
	}
	enum err e = recovery_list(&c->r);
	if (e == ERR_OK)
		e = identity_read(io, &identity, c->text);
	if (e == ERR_NOT_FOUND && (c->r.found_count > 0 || c->r.other_files)) {
		c->out->missing_files++;
		c->out->would_lose_confirmed = true;
		e = ERR_DAMAGED;
	}
	if (e == ERR_OK && !identity.ready) {
		say_line(c, "the store was never completely created; it holds nothing, and starting makes it anew");
		return ERR_AGAIN;
	}
	if (e != ERR_OK) {
		say_line(c, c->text);
		return e;
	}
	c->log->store = identity.store;
	e = tail_restore(&c->r); /* read only: it says what the next start will do */
	if (e != ERR_OK) {
		say_line(c, c->text);
		return e;
	}
	e = vote_read(io, identity.store, &c->r.vote, c->text);
	if (e == ERR_NOT_FOUND)
		c->out->missing_files++;
	if (e == ERR_NOT_FOUND || e == ERR_DAMAGED) {
		say_line(c, c->text);
		c->out->would_lose_confirmed = true;
		return ERR_OK;
	}
	if (e != ERR_OK)
		say_line(c, c->text);
	return e;
}

static void lost(struct checker *c, bool missing)
{
	c->out->would_lose_confirmed = true;
	c->out->missing_files += missing;
	c->out->damaged_batches += !missing;
	say_line(c, c->text);
}

static void can_be_made(struct checker *c)
{
	size_t len = strlen(c->text);

	(void)snprintf(c->text + len, sizeof c->text - len, "; the next start makes it anew from its segment");
	say_line(c, c->text);
}

/* A segment that the checkpoint names: all of its bytes are confirmed. */
static enum err check_sealed(struct checker *c, const struct checkpoint_segment *named)
{
	struct recovery *r = &c->r;
	struct batch_head head = { 0 };
	struct span body;
	uint64_t offset = 0;

	int res = window_open(&r->window, r->io, named->number);
	if (res < 0) {
		(void)snprintf(c->text, sizeof c->text, "the file \"seg-%08x.log\" cannot be opened: %s", named->number,
			       strerror(-res));
		lost(c, res == -ENOENT);
		return ERR_OK;
	}
	while (offset < named->bytes) {
		if (sealed_batch(r, named->number, offset, &head, &body) != 1) {
			(void)snprintf(c->text, sizeof c->text, "segment %08x is damaged at offset %llu: %llu confirmed bytes "
				       "from there on are in doubt", named->number, (unsigned long long)offset,
				       (unsigned long long)(named->bytes - offset));
			lost(c, false);
			return ERR_OK;
		}
		if (c->look.each)
			log_apply_batch(c->log, &head, body, false);
		c->out->batches++;
		c->out->records += head.records;
		c->out->bytes += batch_disk_bytes(head.body_len);
		offset += batch_disk_bytes(head.body_len);
	}
	c->out->segments++;
	return ERR_OK;
}

/* An index can be made again: whether anything is lost is for the segment to say. */
static void check_index(struct checker *c, uint32_t number)
{
	struct buf bytes = { NULL, 0, 0 };
	struct span state;
	char name[SEGMENT_NAME_MAX];

	segment_name(name, number, "idx");
	int res = io_read_file(c->r.io, name, RECOVER_FILE_MAX, &bytes);
	if (res == -ENOENT) {
		(void)snprintf(c->text, sizeof c->text, "the file \"%s\" is missing", name);
		can_be_made(c);
		c->out->missing_files++;
	} else if (res < 0) {
		(void)snprintf(c->text, sizeof c->text, "the file \"%s\" cannot be read: %s", name, strerror(-res));
		lost(c, false);
	} else {
		enum err e = index_decode(buf_span(&bytes), c->log->store, number, &state, c->text);
		if (e == ERR_DAMAGED)
			can_be_made(c);
		else if (e != ERR_OK)
			lost(c, false);
	}
	buf_free(&bytes);
}

/* The checkpoint and everything before it. */
static enum err check_before(struct checker *c)
{
	struct log *log = c->log;
	struct buf bytes = { NULL, 0, 0 };
	struct checkpoint checkpoint;
	struct found *first = recovery_find(&c->r, 1);
	bool whole = first && first->log;

	log->applied_segment = 1;
	int res = io_read_file(c->r.io, "checkpoint", RECOVER_FILE_MAX, &bytes);
	if (res == -ENOENT && whole)
		return ERR_OK;
	if (res < 0) {
		(void)snprintf(c->text, sizeof c->text, "the file \"checkpoint\" cannot be read: %s", strerror(-res));
		lost(c, res == -ENOENT);
		buf_free(&bytes);
		return ERR_DAMAGED;
	}
	enum err e = checkpoint_decode(buf_span(&bytes), log->store, &checkpoint, c->text);
	if (e == ERR_OK) {
		if (c->look.state)
			c->look.state(c->look.ctx, checkpoint.state, checkpoint.index);
		for (uint32_t i = 0; i < checkpoint.segment_count; i++) {
			check_index(c, checkpoint.segments[i].number);
			(void)check_sealed(c, &checkpoint.segments[i]);
		}
		log->index = checkpoint.index;
		log->term = checkpoint.term;
		log->hash = checkpoint.hash;
		log->applied_segment = checkpoint.next_segment;
		c->r.start_index = checkpoint.index;
		checkpoint_free(&checkpoint);
	} else if (e == ERR_DAMAGED && whole) {
		say_line(c, c->text);
		say_line(c, "the log is whole from its first segment on, and is enough without the checkpoint");
		e = ERR_OK;
	} else {
		lost(c, false);
	}
	buf_free(&bytes);
	return e;
}

static enum err check(struct checker *c)
{
	struct recovery *r = &c->r;

	enum err e = look_around(c);
	if (e == ERR_OK)
		e = check_before(c);
	if (e != ERR_OK)
		return e == ERR_AGAIN ? ERR_OK : e;
	e = recovery_replay(r);
	c->out->segments += c->log->segments.count;
	c->out->batches += r->batches;
	c->out->records += r->records;
	c->out->bytes += r->bytes;
	c->out->damaged_batches += r->damages;
	c->out->missing_files += r->missing;
	if (r->lost)
		c->out->would_lose_confirmed = true;
	if (e == ERR_OK) {
		c->out->torn_bytes = r->torn_later;
		if (r->tail_end > c->log->segments.end)
			c->out->torn_bytes += r->tail_end - c->log->segments.end;
	} else if (e == ERR_DAMAGED) {
		lost(c, true);
	} else {
		say_line(c, c->text);
		return e;
	}
	if (c->out->torn_bytes > 0) {
		(void)snprintf(c->text, sizeof c->text, "%llu bytes of a torn write, never confirmed, at the end of the log",
			       (unsigned long long)c->out->torn_bytes);
		say_line(c, c->text);
	}
	return c->out->would_lose_confirmed ? ERR_DAMAGED : ERR_OK;
}

enum err log_check_with(struct io *io, struct log_check *out, void (*line)(void *ctx, const char *text), void *ctx,
			const struct log_look *look)
{
	struct checker c = { .out = out, .line = line, .ctx = ctx, .look = *look };

	memset(out, 0, sizeof *out);
	checker_begin(&c, io);
	enum err e = check(&c);
	checker_end(&c);
	return e;
}

enum err log_check_dir(struct io *io, struct log_check *out, void (*line)(void *ctx, const char *text), void *ctx)
{
	return log_check_with(io, out, line, ctx, &(struct log_look){ .ctx = NULL });
}

enum err log_walk_dir(struct io *io, void (*each)(void *ctx, const struct log_entry *entry, const struct log_record *record),
		      void *ctx)
{
	struct log_check out = { 0 };
	struct checker c = { .out = &out, .look = { .each = each, .ctx = ctx } };

	checker_begin(&c, io);
	enum err e = check(&c);
	checker_end(&c);
	return e;
}
