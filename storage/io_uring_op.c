/* storage/io_uring_op.c: submitted operations on files and names of the io_uring world.
 *
 * Invariants:
 *  1. Each submitted op is completed exactly once, from inside reap; ops are counted per file and per ring.
 *  2. EINTR and EAGAIN are no results: such an op is submitted again. */
#include "io_uring_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { TRANSFER_MAX = 1 << 30 }; /* the kernel takes a little less than 2 GiB at a time */

static void prep_on_file(struct io_uring_sqe *sqe, const struct io_op *op, int fd)
{
	unsigned len = (unsigned)MIN_OF(op->len, (size_t)TRANSFER_MAX);
	if (op->kind == IO_READ)
		io_uring_prep_read(sqe, fd, op->data, len, op->offset);
	else if (op->kind == IO_WRITE)
		io_uring_prep_write(sqe, fd, op->data, len, op->offset);
	else if (op->kind == IO_SYNC) /* of the metadata only the size matters, and fdatasync keeps that */
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	else
		io_uring_prep_sync_file_range(sqe, fd, len, op->offset, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
										SYNC_FILE_RANGE_WAIT_AFTER);
}

static void prep_on_name(struct uring *u, struct io_uring_sqe *sqe, struct io_op *op, int dir)
{
	op->impl[0] = (uint64_t)dir; /* or why it could not be opened: a result for later */
	if (op->kind == IO_UNLINK)
		io_uring_prep_unlinkat(sqe, u->dir_fd, op->data, 0);
	else if (op->kind == IO_SYNC_DIR && dir >= 0)
		io_uring_prep_fsync(sqe, dir, 0);
	else
		io_uring_prep_nop(sqe);
}

void uring_submit(struct io *io, struct io_op *op)
{
	struct uring *u = uring_of(io);
	ENSURE(op->done != NULL);
	ENSURE(op->kind != IO_UNLINK || io_name_ok(op->data));
	int dir = op->kind == IO_SYNC_DIR ? uring_open_dir(u, op->data) : 0;
	struct io_uring_sqe *sqe = uring_sqe(u);
	if (io_op_has_file(op->kind)) {
		struct uring_file *f = uring_file_get(u, op->file);
		prep_on_file(sqe, op, f->fd);
		f->in_flight++;
	} else {
		prep_on_name(u, sqe, op, dir);
	}
	io_uring_sqe_set_data64(sqe, uring_data(op, URING_TAG_OP));
	u->ops_in_flight++;
}

void uring_op_done(struct uring *u, struct io_op *op, int32_t res)
{
	ENSURE(u->ops_in_flight > 0);
	u->ops_in_flight--;
	if (io_op_has_file(op->kind)) {
		struct uring_file *f = uring_file_get(u, op->file);
		ENSURE(f->in_flight > 0);
		f->in_flight--;
	} else if (op->kind == IO_SYNC_DIR) {
		int dir = (int)op->impl[0];
		if (dir >= 0)
			(void)close(dir);
		else
			res = dir;
	}
	if (res == -EINTR || res == -EAGAIN) { /* not a result; nothing was transferred */
		uring_submit(&u->io, op);
		return;
	}
	u->callbacks++;
	op->done(op, res);
}
