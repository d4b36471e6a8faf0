/* storage/replace.c: see replace.h. Used for segment indexes and checkpoints.
 *
 * 1. The old file stays under its name until the new bytes are durable.
 * 2. A write or sync that fails is final: the caller stops the node. Only a full disk, seen before the first byte is
 *    written (the file is allocated first), may be tried again. */
#include "replace.h"

#include <errno.h>

#include "segment.h"

enum { REPLACE_WRITE_BYTES = 1 << 20, REPLACE_RETRY_MS = 1000 };

void replace_init(struct replace *r, struct io *io, void *ctx,
		  void (*finished)(void *ctx, struct replace_job *job, bool done))
{
	*r = (struct replace){ .io = io, .ctx = ctx, .finished = finished, .file = -1 };
	r->last = &r->first;
}

struct replace_job *replace_add(struct replace *r, const char *name, struct buf *bytes)
{
	struct replace_job *job = (struct replace_job *)calloc(1, sizeof *job);

	ENSURE(job != NULL);
	ENSURE(strlen(name) + sizeof ".tmp" <= sizeof job->name);
	(void)snprintf(job->name, sizeof job->name, "%s", name);
	job->bytes = *bytes;
	*bytes = (struct buf){ NULL, 0, 0 };
	*r->last = job;
	r->last = &job->next;
	return job;
}

static void finish(struct replace *r, bool done)
{
	struct replace_job *job = r->first;

	r->step = REPLACE_IDLE;
	/* It stays in the list: an owner that stops the node in there does not come back, and replace_free finds it. */
	r->finished(r->ctx, job, done);
	r->first = job->next;
	if (!r->first)
		r->last = &r->first;
	buf_free(&job->bytes);
	free(job);
}

static void completed(struct io_op *op, int64_t res)
{
	struct replace *r = (struct replace *)op->ctx;

	r->result = res;
	r->busy = false;
	r->completed = true;
}

static void submit(struct replace *r, enum io_op_kind kind)
{
	struct replace_job *job = r->first;
	size_t left = job->bytes.len - r->written;

	r->op = (struct io_op){ .kind = kind, .file = r->file, .done = completed, .ctx = r };
	if (kind == IO_WRITE) {
		r->op.data = job->bytes.data + r->written;
		r->op.len = MIN_OF(left, (size_t)REPLACE_WRITE_BYTES);
		r->op.offset = r->written;
	}
	r->step = kind == IO_WRITE ? REPLACE_WRITING : REPLACE_SYNCING;
	r->busy = true;
	r->completed = false;
	io_submit(r->io, &r->op);
}

static void temporary(const struct replace_job *job, char out[40])
{
	(void)snprintf(out, 40, "%s.tmp", job->name);
}

static int start(struct replace *r)
{
	struct replace_job *job = r->first;
	char name[40];

	if (r->retry_ns != 0 && io_now_ns(r->io) < r->retry_ns)
		return 0;
	r->retry_ns = 0;
	temporary(job, name);
	int res = r->io->v->unlink(r->io, name);
	if (res < 0 && res != -ENOENT)
		return res;
	r->written = 0;
	r->file = res = r->io->v->open(r->io, name, IO_CREATE);
	if (res >= 0)
		res = r->io->v->allocate(r->io, r->file, job->bytes.len);
	if (res == 0) {
		submit(r, IO_WRITE);
		return 0;
	}
	if (r->file >= 0)
		r->io->v->close(r->io, r->file);
	r->file = -1;
	if (!errno_is_full(res))
		return res;
	(void)r->io->v->unlink(r->io, name);
	if (job->droppable)
		finish(r, false);
	else
		r->retry_ns = io_now_ns(r->io) + REPLACE_RETRY_MS * 1000000ull;
	return 0;
}

static int publish(struct replace *r)
{
	char name[40];

	temporary(r->first, name);
	r->io->v->close(r->io, r->file);
	r->file = -1;
	int res = r->io->v->rename(r->io, name, r->first->name);
	if (res == 0)
		res = r->io->v->sync_dir(r->io);
	if (res == 0)
		finish(r, true);
	return res;
}

int replace_drive(struct replace *r)
{
	if (!r->completed)
		return r->first && r->step == REPLACE_IDLE ? start(r) : 0;
	r->completed = false;
	/* Not so a sync: whatever it failed with, the next one may report success for data that is gone. */
	if (r->op.kind == IO_WRITE && (r->result == -EINTR || r->result == -EAGAIN)) {
		submit(r, IO_WRITE);
		return 0;
	}
	if (r->result < 0)
		return (int)r->result;
	if (r->op.kind == IO_SYNC)
		return publish(r);
	if (r->result == 0)
		return -EIO;
	r->written += (size_t)r->result;
	ENSURE(r->written <= r->first->bytes.len);
	submit(r, r->written < r->first->bytes.len ? IO_WRITE : IO_SYNC);
	return 0;
}

void replace_free(struct replace *r)
{
	ENSURE(!r->busy);
	if (r->file >= 0)
		r->io->v->close(r->io, r->file);
	while (r->first) {
		struct replace_job *job = r->first;
		r->first = job->next;
		buf_free(&job->bytes);
		free(job);
	}
	*r = (struct replace){ .file = -1 };
}
