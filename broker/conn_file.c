/* broker/conn_file.c: see conn_file.h. In the flow: blob -> CONN_FILE -> socket. */
#include "conn_file.h"

struct conn_file {
	int file;
	uint32_t len;
	uint64_t offset;
	size_t at;       /* so much of c->out goes before it */
	bool sending, stuck;
	conn_file_done *done;
	void *ctx;
};

void conn_file_put(struct conn *c, int file, uint64_t offset, uint32_t len, conn_file_done *done, void *ctx)
{
	ENSURE(conn_file_free(c) && len > 0);
	c->file = zalloc(sizeof *c->file);
	*c->file = (struct conn_file){ .file = file, .len = len, .offset = offset, .at = c->out.len, .done = done, .ctx = ctx };
	conn_touch(c);
}

static void over(struct conn *c, enum conn_file_how how)
{
	const struct conn_file f = *c->file;
	free(c->file);
	c->file = NULL;
	f.done(f.ctx, how);
}

bool conn_file_next(struct conn *c)
{
	struct conn_file *f = c->file;
	struct shard *s = c->s;
	if (f->stuck || f->sending)
		return false;
	if (f->at > 0) {
		c->sending.len = 0;
		buf_append(&c->sending, c->out.data, f->at);
		buf_consume(&c->out, f->at);
		f->at = 0;
		return true;
	}
	if (s->io->v->send_file(s->io, c->io, f->file, f->offset, f->len) != 0) {
		f->stuck = true;
		f->done(f->ctx, CONN_FILE_STUCK);
		return false;
	}
	f->sending = c->send_busy = true;
	c->out_ms = s->now_ms;
	s->counters.bytes_out_total += f->len;
	return false;
}

void conn_file_sent(struct conn *c, int res)
{
	if (c->file && c->file->sending)
		over(c, res == 0 ? CONN_FILE_SENT : CONN_FILE_LOST);
}

void conn_file_lost(struct conn *c)
{
	if (c->file)
		over(c, CONN_FILE_LOST);
}

void conn_file_instead(struct conn *c, struct span bytes)
{
	struct buf out = { NULL, 0, 0 };
	ENSURE(c->file && c->file->stuck && bytes.len == c->file->len);
	buf_append(&out, bytes.data, bytes.len);
	buf_append(&out, c->out.data, c->out.len);
	buf_free(&c->out);
	c->out = out;
	free(c->file);
	c->file = NULL;
	conn_touch(c);
}
