/* storage/io_sync.c: blocking helpers for start and stop, on top of any struct io; what a name is.
 *
 * They turn the ring by themselves, so callbacks of other operations and connections may run inside them.
 * Invariant: on return no operation of theirs is in flight. */
#include "io.h"

#include <errno.h>

bool io_name_ok(const char *name)
{
	size_t parts = 0;
	if (strlen(name) > IO_NAME_MAX)
		return false;
	for (const char *at = name;; at++) {
		size_t len = strcspn(at, "/");
		bool dots = (len == 1 || len == 2) && strncmp(at, "..", len) == 0;
		if (len == 0 || dots || ++parts > IO_NAME_PARTS)
			return false;
		at += len;
		if (*at == '\0')
			return true;
	}
}

struct wait {
	bool done;
	int64_t res;
};

static void wait_done(struct io_op *op, int64_t res)
{
	struct wait *wait = op->ctx;
	ENSURE(!wait->done);
	*wait = (struct wait){ .done = true, .res = res };
}

int64_t io_do(struct io *io, enum io_op_kind kind, int file, void *data, size_t len, uint64_t offset)
{
	size_t moved = 0;
	do {
		struct wait wait = { .done = false };
		struct io_op op = { .kind = kind, .file = file, .data = data ? (char *)data + moved : NULL,
				    .len = len - moved, .offset = offset + moved, .done = wait_done,
				    .ctx = &wait };
		io_submit(io, &op);
		while (!wait.done)
			(void)io_reap(io, io_now_ns(io) + 1000000000u);
		if (wait.res < 0)
			return wait.res;
		if (kind != IO_READ && kind != IO_WRITE)
			return 0;
		if (wait.res == 0)
			return kind == IO_READ ? (int64_t)moved : -EIO; /* a write that moves nothing never will */
		ENSURE((uint64_t)wait.res <= len - moved);
		moved += (size_t)wait.res;
	} while (moved < len);
	return (int64_t)moved;
}

int io_read_file(struct io *io, const char *name, size_t max, struct buf *out)
{
	int file = io->v->open(io, name, IO_READONLY);
	if (file < 0)
		return file;
	int64_t size = io->v->size(io, file);
	if (size >= 0 && (uint64_t)size > max)
		size = -EFBIG;
	size_t before = out->len;
	if (size > 0) {
		uint8_t *at = buf_extend(out, (size_t)size);
		int64_t n = io_do(io, IO_READ, file, at, (size_t)size, 0);
		if (n >= 0 && n < size)
			n = -EIO; /* it shrank under our hands: nobody else may touch this directory */
		if (n < 0)
			out->len = before;
		size = n;
	}
	io->v->close(io, file);
	return size < 0 ? (int)size : 0;
}

static int write_new(struct io *io, const char *name, struct span bytes)
{
	/* A left-over of an earlier crash: nothing refers to it. */
	int err = io->v->unlink(io, name);
	if (err != 0 && err != -ENOENT)
		return err;
	int file = io->v->open(io, name, IO_CREATE);
	if (file < 0)
		return file;
	int64_t n = 0;
	if (bytes.len > 0)
		n = io_do(io, IO_WRITE, file, (void *)(uintptr_t)bytes.data, bytes.len, 0);
	if (n >= 0)
		n = io_do(io, IO_SYNC, file, NULL, 0, 0);
	io->v->close(io, file);
	return n < 0 ? (int)n : 0;
}

int io_replace_file(struct io *io, const char *name, struct span bytes)
{
	char tmp[256];
	int len = snprintf(tmp, sizeof tmp, "%s.tmp", name);
	ENSURE(len > 0 && (size_t)len < sizeof tmp);
	int err = write_new(io, tmp, bytes);
	if (err == 0)
		err = io->v->rename(io, tmp, name);
	if (err == 0)
		err = io->v->sync_dir(io);
	return err;
}
