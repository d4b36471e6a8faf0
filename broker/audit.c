/* broker/audit.c: see audit.h. In the flow: login, refusal, change of rules -> AUDIT -> a file beside the log.
 *
 * 1. One write is in flight at most, of `writing`; new lines go to `pending`.
 * 2. Everything that came from a peer is escaped as JSON: a line is a line. */
#include "audit.h"

#include <errno.h>
#include <stdarg.h>

#include "shard_impl.h"
#include "sysevent.h"

struct audit {
	struct shard *s;
	struct io *io;
	struct io_op op;
	struct buf pending, writing;
	uint64_t lost, offset;
	int file; /* < 0: not open */
	bool busy, broken;
};

static const char name[] = "audit.log", older[] = "audit.log.1";

struct audit *audit_new(struct shard *s, struct io *io)
{
	struct audit *a = zalloc(sizeof *a);
	a->s = s;
	a->io = io;
	a->file = -1;
	return a;
}

void audit_free(struct audit *a)
{
	audit_run(a->s);
	while (a->busy) /* only at the stop */
		(void)io_reap(a->io, UINT64_MAX);
	if (a->file >= 0)
		a->io->v->close(a->io, a->file);
	buf_free(&a->pending);
	buf_free(&a->writing);
	free(a);
}

static void append(struct audit *a, const char *line, size_t len)
{
	if (a->pending.len + len > AUDIT_PENDING)
		a->lost++;
	else
		buf_append(&a->pending, line, len);
}

void audit(struct shard *s, const char *peer, const char *who, const char *what, const char *outcome, const char *format, ...)
{
	struct audit *a = s->audit;
	struct sys_text from, principal, detail;
	char text[256], line[1400];
	va_list args;
	if (!a || !s->live)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (a->lost > 0 && a->pending.len < AUDIT_PENDING / 2) {
		int len = snprintf(line, sizeof line, "{\"time_ms\":%llu,\"what\":\"audit\",\"lost\":%llu}\n", (unsigned long long)s->wall_ms,
				   (unsigned long long)a->lost);
		a->lost = 0;
		append(a, line, (size_t)len);
	}
	int len = snprintf(line, sizeof line,
			   "{\"time_ms\":%llu,\"who\":\"%s\",\"from\":\"%s\",\"what\":\"%s\",\"outcome\":\"%s\",\"detail\":\"%s\"}\n",
			   (unsigned long long)s->wall_ms, sys_quote(&principal, span_str(who)), sys_quote(&from, span_str(peer)), what,
			   outcome, sys_quote(&detail, span_str(text)));
	ENSURE(len > 0 && (size_t)len < sizeof line);
	append(a, line, (size_t)len);
}

static void give_up(struct audit *a, int64_t res)
{
	if (!a->broken)
		shard_note(a->s, SHARD_ERROR, "audit", "failed", "file=%s error=%s", name, strerror((int)-res));
	a->broken = true;
	a->writing.len = 0;
}

static void write_more(struct audit *a);

static void written(struct io_op *op, int64_t res)
{
	struct audit *a = op->ctx;
	a->busy = false;
	if (res <= 0) {
		give_up(a, res);
		return;
	}
	a->offset += (uint64_t)res;
	size_t left = a->writing.len - (size_t)res;
	memmove(a->writing.data, a->writing.data + res, left);
	a->writing.len = left;
	if (left > 0)
		write_more(a);
}

static void write_more(struct audit *a)
{
	a->op = (struct io_op){ .kind = IO_WRITE, .file = a->file, .data = a->writing.data, .len = a->writing.len, .offset = a->offset,
				.done = written, .ctx = a };
	a->busy = true;
	io_submit(a->io, &a->op);
}

/* Its end is found, or it begins anew. False: it cannot be opened. */
static bool ready(struct audit *a)
{
	if (a->file >= 0 && a->offset >= AUDIT_BYTES) {
		a->io->v->close(a->io, a->file);
		a->file = -1;
		(void)a->io->v->rename(a->io, name, older);
	}
	if (a->file >= 0)
		return true;
	a->file = a->io->v->open(a->io, name, 0);
	if (a->file == -ENOENT)
		a->file = a->io->v->open(a->io, name, IO_CREATE);
	if (a->file < 0) {
		give_up(a, a->file);
		return false;
	}
	int64_t size = a->io->v->size(a->io, a->file);
	a->offset = size > 0 ? (uint64_t)size : 0;
	return true;
}

void audit_run(struct shard *s)
{
	struct audit *a = s->audit;
	if (!a || a->busy || a->pending.len == 0)
		return;
	if (a->broken) {
		a->pending.len = 0;
		return;
	}
	if (!ready(a))
		return;
	struct buf spare = a->writing;
	a->writing = a->pending;
	a->pending = spare;
	a->pending.len = 0;
	write_more(a);
}

void limit_reached(struct shard *s, enum shard_limit limit, const char *what, const char *text)
{
	char type[32];
	(void)snprintf(type, sizeof type, "limit.%s", what);
	sys_event(s, type, "\"text\":\"%s\"", text);
	if (!(s->limits_told & limit))
		audit(s, "", "", "limit", "reached", "%s: %s", what, text);
	s->limits_told |= limit;
}
