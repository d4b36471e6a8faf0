/* storage/blob_local_write.c: a blob that is being written as a file. The contract stands in blob.h.
 *
 * The life of a writer: written and written back beside that -> (finish) bytes synced -> its directory durable -> renamed -> its name
 * durable -> gone. A failure anywhere leaves a writer that fails until it is abandoned: nobody knows which bytes a failed sync has lost.
 *
 * Invariants:
 *  1. A job is the only one of its writer, and ends before what it began has another end: `waits` says when that is the writeback's.
 *  2. An abandoned writer goes when neither a job nor an operation of it is under way, and takes the file along. */
#include "blob_local_impl.h"

#include <errno.h>

enum { BEHIND_MAX = 4 }; /* windows that are written and not on the disk, before the writer has to wait */

enum waits { WAITS_NOT, WAITS_TO_WRITE, WAITS_TO_FINISH };

struct blob_writer {
	struct item i;
	struct act back;
	enum waits waits;         /* what the job waits for the writeback with */
	bool abandoned, made;     /* made: there is a file */
	struct span left;
	uint64_t written, back_from, back_end;
	struct blob_key key;
};

struct blob_writer *local_create(struct blob_backend *b, uint64_t number, uint64_t size, const uint8_t *digest)
{
	struct local *l = local_of(b);
	struct blob_writer *w = local_item_new(l, sizeof *w);
	(void)size;
	(void)digest;
	w->back.l = l;
	w->key.number = number;
	local_name_up(&w->i, number);
	int file = b->io->v->open(b->io, w->i.name, IO_CREATE);
	w->made = file >= 0;
	w->i.file = file < 0 ? -1 : file;
	w->i.err = file < 0 ? file : 0;
	return w;
}

static void gone(struct act *a, int64_t res)
{
	(void)res; /* what is left over, the sweep finds */
	local_item_free(item_of(a));
}

/* The end of an abandoned writer, once nothing of it is under way. */
static void writer_dispose(struct blob_writer *w)
{
	if (!w->abandoned || w->i.job || w->i.act.busy || w->back.busy)
		return;
	local_item_close(&w->i);
	if (w->made)
		local_act_name(&w->i, IO_UNLINK, w->i.name, gone);
	else
		local_item_free(&w->i);
}

static void writer_failed(struct blob_writer *w, int64_t res)
{
	bool abandoned = w->abandoned; /* else the callback may do that, and w be gone behind it */
	w->waits = WAITS_NOT;
	if (w->i.err == 0)
		w->i.err = (int)res;
	local_job_fail(&w->i, w->i.err, false);
	if (abandoned)
		writer_dispose(w);
}

static void writer_failed_before(struct act *a, int64_t res)
{
	struct blob_writer *w = (struct blob_writer *)(void *)item_of(a);
	writer_failed(w, res < 0 ? res : w->i.err);
}

static void writer_wrote(struct blob_writer *w)
{
	bool abandoned = w->abandoned;
	w->waits = WAITS_NOT;
	local_job_done(&w->i, ERR_OK);
	if (abandoned)
		writer_dispose(w);
}

static void finish_sync(struct blob_writer *w);
static void back_done(struct act *a, int64_t res);

static void back_go(struct blob_writer *w)
{
	if (w->back.busy || w->i.err || w->abandoned || w->written - w->back_from < w->i.l->window)
		return;
	w->back_end = w->written;
	local_act(&w->back, (struct io_op){ .kind = IO_WRITEBACK, .file = w->i.file, .len = w->back_end - w->back_from, .offset = w->back_from },
	       back_done);
}

static void back_done(struct act *a, int64_t res)
{
	struct blob_writer *w = (struct blob_writer *)(void *)((char *)a - offsetof(struct blob_writer, back));
	if (res < 0 && w->i.err == 0)
		w->i.err = (int)res;
	w->back_from = w->back_end;
	if (w->waits != WAITS_TO_FINISH)
		back_go(w);
	if (w->waits == WAITS_NOT)
		writer_dispose(w);
	else if (w->i.err)
		writer_failed(w, w->i.err);
	else if (w->waits == WAITS_TO_FINISH)
		finish_sync(w);
	else
		writer_wrote(w);
}

static void write_part(struct blob_writer *w);

static void write_done(struct act *a, int64_t res)
{
	struct blob_writer *w = (struct blob_writer *)(void *)item_of(a);
	if (res <= 0) {
		writer_failed(w, res < 0 ? res : -EIO); /* one that moves nothing never will */
		return;
	}
	ENSURE((uint64_t)res <= w->left.len);
	w->left = span_sub(w->left, (size_t)res, w->left.len - (size_t)res);
	w->written += (uint64_t)res;
	if (w->left.len > 0 && !w->i.err) {
		write_part(w);
		return;
	}
	back_go(w);
	if (w->i.err)
		writer_failed(w, w->i.err);
	else if (w->back.busy && w->written - w->back_from > BEHIND_MAX * w->i.l->window)
		w->waits = WAITS_TO_WRITE;
	else
		writer_wrote(w);
}

static void write_nothing(struct act *a, int64_t res)
{
	struct blob_writer *w = (struct blob_writer *)(void *)item_of(a);
	if (res < 0)
		writer_failed(w, res);
	else
		writer_wrote(w);
}

static void write_part(struct blob_writer *w)
{
	local_act_file(&w->i, IO_WRITE, w->left.data, w->left.len, w->written, write_done);
}

void local_write(struct blob_writer *w, struct blob_job *job, struct span bytes)
{
	local_job_begin(&w->i, job, "cannot write");
	w->left = bytes;
	if (w->i.err || bytes.len == 0)
		local_act_name(&w->i, IO_NOP, NULL, w->i.err ? writer_failed_before : write_nothing);
	else
		write_part(w);
}

static void finish_named(struct act *a, int64_t res)
{
	struct blob_writer *w = (struct blob_writer *)(void *)item_of(a);
	if (res == 0 && w->abandoned)
		res = -ECANCELED;
	if (res < 0)
		writer_failed(w, res);
	else
		local_item_over(&w->i, ERR_OK);
}

static void finish_rename(struct blob_writer *w)
{
	struct io *io = w->i.l->b.io;
	char up[sizeof w->i.name];
	memcpy(up, w->i.name, sizeof up);
	local_name_of(&w->i, &w->key);
	int err = io->v->rename(io, up, w->i.name);
	if (err) {
		memcpy(w->i.name, up, sizeof up);
		writer_failed(w, err);
		return;
	}
	local_act_name(&w->i, IO_SYNC_DIR, w->i.dir, finish_named);
}

static void finish_dir_durable(struct act *a, int64_t res)
{
	struct blob_writer *w = (struct blob_writer *)(void *)item_of(a);
	if (res == 0 && w->abandoned)
		res = -ECANCELED;
	if (res < 0) {
		writer_failed(w, res);
		return;
	}
	w->i.l->durable[w->key.digest[0]] = true;
	finish_rename(w);
}

static void finish_synced(struct act *a, int64_t res)
{
	struct blob_writer *w = (struct blob_writer *)(void *)item_of(a);
	struct local *l = w->i.l;
	if (res == 0 && w->abandoned)
		res = -ECANCELED;
	if (res < 0) {
		writer_failed(w, res);
		return;
	}
	local_item_close(&w->i);
	if (l->durable[w->key.digest[0]]) {
		finish_rename(w);
		return;
	}
	char dir[16];
	(void)snprintf(dir, sizeof dir, "blobs/%02x", w->key.digest[0]);
	int err = l->b.io->v->mkdir(l->b.io, dir);
	if (err)
		writer_failed(w, err);
	else
		local_act_name(&w->i, IO_SYNC_DIR, "blobs", finish_dir_durable);
}

static void finish_sync(struct blob_writer *w)
{
	w->waits = WAITS_NOT;
	local_act_file(&w->i, IO_SYNC, NULL, 0, 0, finish_synced);
}

void local_finish(struct blob_writer *w, struct blob_job *job, const uint8_t digest[BLOB_DIGEST])
{
	local_job_begin(&w->i, job, "cannot store");
	memcpy(w->key.digest, digest, BLOB_DIGEST);
	if (w->i.err)
		local_act_name(&w->i, IO_NOP, NULL, writer_failed_before);
	else if (w->back.busy)
		w->waits = WAITS_TO_FINISH;
	else
		finish_sync(w);
}

void local_abandon(struct blob_writer *w)
{
	ENSURE(!w->abandoned);
	w->abandoned = true;
	writer_dispose(w);
}
