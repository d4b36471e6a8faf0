/* clientlib/blob_get.c: downloads. In the flow: BLOB_GET -> broker; BLOB_DATA -> GET -> file, stream or memory.
 *
 * 1. Bytes come in order, and never beyond the credit that was given.
 * 2. Of a whole blob the digest is checked before it is called good: a file has its name only then. The broker is told of a mismatch.
 * 3. What an earlier program left of a file is hashed first. Where that does not end well it is fetched anew, once. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blob_impl.h"

/* ---- sinks ---- */

static bool file_write(const struct transfer *t, uint64_t offset, struct span bytes)
{
	while (bytes.len > 0) {
		ssize_t put = pwrite(t->fd, bytes.data, bytes.len, (off_t)(offset - t->base));
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		offset += (uint64_t)put;
		bytes = span_sub(bytes, (size_t)put, bytes.len - (size_t)put);
	}
	return true;
}

static void take(struct hlk *c, struct transfer *t, struct span bytes)
{
	if (t->write) {
		int code = t->write(c, t->offset, bytes.data, bytes.len, t->write_ctx);
		if (code != HLK_OK)
			blob_over(c, t, code, "the receiver of the bytes refused them at byte %llu", (unsigned long long)t->offset);
	} else if (t->path) {
		if (!file_write(t, t->offset, bytes))
			blob_over(c, t, errno == ENOSPC ? HLK_DISK_FULL : HLK_INVALID_INPUT, "%s: %s", t->part, strerror(errno));
	} else if (t->memory.len + bytes.len > t->max) {
		blob_over(c, t, HLK_TOO_BIG, "the blob has %llu bytes, more than the %zu that there is room for", (unsigned long long)t->total,
			  t->max);
	} else {
		buf_append(&t->memory, bytes.data, bytes.len);
	}
	if (t->over)
		return;
	if (t->whole)
		sha256_add(&t->sha, bytes);
	t->offset += bytes.len;
}

void get_closed(struct transfer *t)
{
	if (!t->path || t->fd < 0)
		return;
	if (t->code == HLK_OK && rename(t->part, t->path) != 0) {
		t->code = HLK_INVALID_INPUT;
		(void)snprintf(t->text, sizeof t->text, "%.400s: %s", t->path, strerror(errno));
	}
	/* What a later run can go on with stays. */
	bool keep = t->code == HLK_OK || (t->check_part && t->code != HLK_INTEGRITY_MISMATCH && t->code != HLK_NOT_FOUND);
	if (!keep)
		(void)unlink(t->part);
	(void)close(t->fd);
	t->fd = -1;
}

/* ---- asking ---- */

void get_hash(struct hlk *c, struct transfer *t)
{
	struct buf *room = &c->blobs.room;
	buf_reserve(room, LIMIT_BLOB_CHUNK);
	for (uint64_t until = t->offset + BLOB_HASH_STEP; t->offset < until;) {
		ssize_t got = pread(t->fd, room->data, LIMIT_BLOB_CHUNK, (off_t)t->offset);
		if (got <= 0) {
			t->state = TRANSFER_WAITING;
			t->restarted = t->offset == 0;
			return;
		}
		sha256_add(&t->sha, span_of(room->data, (size_t)got));
		t->offset += (uint64_t)got;
	}
}

static uint64_t window_end(const struct transfer *t)
{
	return t->offset > UINT64_MAX - t->window ? UINT64_MAX : t->offset + t->window;
}

void get_ask(struct hlk *c, struct transfer *t)
{
	if (!t->manual)
		t->credit = window_end(t);
	const struct msg msg = { .kind = FRAME_BLOB_GET, .blob_get = {
		.read = t->wire, .digest = span_of(t->blob.digest, sizeof t->blob.digest), .offset = t->offset,
		.length = t->end ? t->end - t->offset : 0, .credit = t->credit, .direct = t->direct } };
	blob_send(c, t, &msg);
}

static void more(struct hlk *c, struct transfer *t)
{
	const struct msg msg = { .kind = FRAME_BLOB_MORE, .blob_more = { .read = t->wire, .credit = t->credit } };
	session_send(c, &msg, t->correlation);
}

/* ---- what comes ---- */

static void begin_again(struct hlk *c, struct transfer *t)
{
	t->restarted = true;
	t->offset = 0;
	t->wire = 0;
	t->state = TRANSFER_WAITING;
	sha256_begin(&t->sha);
	if (ftruncate(t->fd, 0) != 0)
		blob_over(c, t, HLK_INVALID_INPUT, "%s: %s", t->part, strerror(errno));
	c->due = true;
}

static void mismatch(struct hlk *c, struct transfer *t)
{
	char want[HLK_DIGEST_TEXT];
	if (t->path && t->check_part && !t->restarted) {
		begin_again(c, t); /* it may be what was there before that is not right */
		return;
	}
	hlk_digest_print(t->blob.digest, want);
	t->state = TRANSFER_MOVING; /* so that the broker is told */
	blob_over(c, t, HLK_INTEGRITY_MISMATCH, "what came, %llu bytes, does not have the digest %s", (unsigned long long)t->offset, want);
}

static void get_end(struct hlk *c, struct transfer *t)
{
	uint8_t digest[SHA256_BYTES];
	t->state = TRANSFER_ENDING;
	if (!t->whole) {
		blob_over(c, t, HLK_OK, "%s", "");
		return;
	}
	sha256_end(&t->sha, digest);
	t->blob.size = t->offset;
	if (t->offset != t->total || memcmp(digest, t->blob.digest, sizeof digest) != 0)
		mismatch(c, t);
	else
		blob_over(c, t, HLK_OK, "%s", "");
}

static bool first_data(struct hlk *c, struct transfer *t, const struct msg_blob_data *m)
{
	t->state = TRANSFER_MOVING;
	t->total = m->total;
	t->blob.size = m->total;
	(void)snprintf(t->media_type, sizeof t->media_type, "%.*s", (int)m->media_type.len,
		       m->media_type.len ? (const char *)m->media_type.data : "");
	if (!t->path && !t->write && t->whole && m->total > t->max)
		blob_over(c, t, HLK_TOO_BIG, "the blob has %llu bytes, more than the %zu that there is room for", (unsigned long long)m->total,
			  t->max);
	else if (t->path && t->offset > m->total)
		begin_again(c, t);
	return !t->over && t->state == TRANSFER_MOVING;
}

void get_data(struct hlk *c, struct transfer *t, const struct msg_blob_data *m, struct span payload)
{
	struct span text = m->text.len ? m->text : span_str(err_text(m->code));
	if (m->code != ERR_OK) {
		t->wire = 0;
		blob_over(c, t, m->code, "%.*s", (int)MIN_OF(text.len, 400u), (const char *)text.data);
		return;
	}
	if (t->direct) {
		(void)snprintf(t->url, sizeof t->url, "%.*s", (int)m->url.len, m->url.len ? (const char *)m->url.data : "");
		t->wire = 0;
		blob_over(c, t, t->url[0] ? HLK_OK : HLK_UNSUPPORTED, "%s", t->url[0] ? "" : "this broker gives no urls");
		return;
	}
	if (t->state == TRANSFER_ASKED && !first_data(c, t, m))
		return;
	uint64_t limit = t->end ? MIN_OF(t->end, t->total) : t->total;
	if (m->size > 0 && (m->offset != t->offset || m->size > limit - MIN_OF(limit, t->offset) || t->offset + m->size > t->credit)) {
		net_fail(c, HLK_MALFORMED, "the broker sent bytes %llu to %llu of a blob, where it had credit for %llu to %llu",
			 (unsigned long long)m->offset, (unsigned long long)m->offset + m->size, (unsigned long long)t->offset,
			 (unsigned long long)MIN_OF(t->credit, limit));
		return;
	}
	if (m->size > 0)
		take(c, t, span_sub(payload, 0, m->size));
	if (t->over)
		return;
	if (m->end)
		get_end(c, t);
	else if (!t->manual && t->credit - t->offset < t->window / 2) {
		t->credit = window_end(t);
		more(c, t);
	}
}

/* ---- the calls ---- */

static char *copy(const char *a, const char *b)
{
	char *out = NULL;
	ENSURE(asprintf(&out, "%s%s", a, b) >= 0);
	return out;
}

static int sink_open(struct hlk *c, struct transfer *t, const struct hlk_blob_sink *s)
{
	t->path = copy(s->path, "");
	t->part = copy(s->path, ".part");
	t->check_part = s->resume && t->whole;
	t->fd = open(t->part, O_RDWR | O_CREAT | O_CLOEXEC | (t->check_part ? 0 : O_TRUNC), 0666);
	if (t->fd < 0)
		return error_set(c, HLK_INVALID_INPUT, "blob: %s: %s", t->part, strerror(errno));
	t->own_fd = true;
	if (t->check_part)
		t->state = TRANSFER_HASHING;
	return HLK_OK;
}

int hlk_blob_get(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES], const struct hlk_blob_sink *s, hlk_blob_fn *fn, void *ctx,
		 uint32_t *transfer_out)
{
	if (s->path && s->write)
		return error_set(c, HLK_INVALID_INPUT, "blob: a sink is one of path, write and memory");
	if (c->closing)
		return error_set(c, HLK_CLOSED, "blob: the client is being closed");
	if (s->length > 0 && s->offset > UINT64_MAX - s->length)
		return error_set(c, HLK_INVALID_INPUT, "blob: a part beyond the end of numbers");
	struct transfer *t = blob_new(c, false, fn, ctx);
	memcpy(t->blob.digest, digest, sizeof t->blob.digest);
	t->state = TRANSFER_WAITING;
	t->whole = s->offset == 0 && s->length == 0;
	t->offset = t->base = s->offset;
	t->end = s->length ? s->offset + s->length : 0;
	t->window = s->window ? s->window : BLOB_WINDOW;
	t->manual = s->manual_credit;
	t->credit = t->offset + t->window;
	t->max = s->max ? s->max : BLOB_MEMORY;
	t->write = s->write;
	t->write_ctx = s->write_ctx;
	t->progress = s->progress;
	t->progress_ctx = s->progress_ctx;
	int code = s->path ? sink_open(c, t, s) : HLK_OK;
	if (code != HLK_OK) {
		blob_forget(c, t->id);
		return code;
	}
	if (transfer_out)
		*transfer_out = t->id;
	return HLK_OK;
}

int hlk_blob_get_wait(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES], const struct hlk_blob_sink *sink, int timeout_ms,
		      struct hlk_blob_done *out)
{
	struct blob_waited w = { .done = false };
	uint32_t transfer = 0;
	int64_t deadline = client_deadline(c, timeout_ms);
	int code = client_may_block(c);
	if (code == HLK_OK)
		code = hlk_blob_get(c, digest, sink, blob_wait_done, &w, &transfer);
	if (code == HLK_OK)
		code = blob_wait(c, transfer, &w, deadline, "blob get");
	if (code == HLK_OK && out) {
		*out = w.result;
		out->text = "";
	}
	return code;
}

int hlk_blob_more(struct hlk *c, uint32_t transfer, uint32_t bytes)
{
	struct transfer *t = blob_find(c, transfer);
	if (!t || t->up || !t->manual)
		return error_set(c, HLK_NOT_FOUND, "blob: there is no download %u with manual credit", transfer);
	t->credit = t->credit > UINT64_MAX - bytes ? UINT64_MAX : t->credit + bytes;
	if (t->wire && net_ready(c))
		more(c, t);
	client_touch(c);
	return HLK_OK;
}

int hlk_blob_url(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES], int timeout_ms, char *out, size_t room)
{
	struct blob_waited w = { .done = false };
	int64_t deadline = client_deadline(c, timeout_ms);
	int code = client_may_block(c);
	*out = 0;
	if (code != HLK_OK)
		return code;
	struct transfer *t = blob_new(c, false, blob_wait_done, &w);
	memcpy(t->blob.digest, digest, sizeof t->blob.digest);
	t->direct = true;
	t->state = TRANSFER_WAITING;
	code = blob_wait(c, t->id, &w, deadline, "blob url");
	if (code == HLK_OK && strlen(w.url) >= room)
		code = error_set(c, HLK_TOO_BIG, "blob url: of %zu bytes, for which there is no room", strlen(w.url));
	if (code == HLK_OK)
		(void)snprintf(out, room, "%s", w.url);
	return code;
}
