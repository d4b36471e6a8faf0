/* clientlib/blob_put.c: uploads. In the flow: source -> BLOB_PUT, BLOB_CHUNK, BLOB_END -> broker; BLOB_STATE -> PUT -> the end.
 *
 * 1. Nothing is sent beyond the broker's credit, and every chunk begins where the one before ended.
 * 2. Of memory and files the digest is declared; of a stream it is made while it is read: `sha` has seen the first `hashed` bytes,
 *    however often a part of them is read again. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blob_impl.h"

/* ---- sources ---- */

/* Bytes from `offset` on; 0 at the end, less than 0: errno, or the stream's refusal. */
static int64_t source_read(const struct transfer *t, uint64_t offset, void *out, size_t room)
{
	if (t->data || t->total == 0) {
		size_t size = (size_t)MIN_OF(t->total - MIN_OF(t->total, offset), (uint64_t)room);
		if (size > 0)
			memcpy(out, t->data + offset, size);
		return (int64_t)size;
	}
	if (t->read)
		return t->read(t->read_ctx, offset, out, room);
	ssize_t got;
	do
		got = pread(t->fd, out, room, (off_t)offset);
	while (got < 0 && errno == EINTR);
	return got;
}

static void unreadable(struct hlk *c, struct transfer *t, uint64_t offset, int64_t got)
{
	if (got == 0)
		blob_over(c, t, HLK_INVALID_INPUT, "the source ended at byte %llu, of %llu", (unsigned long long)offset,
			  (unsigned long long)t->total);
	else if (t->read && offset < t->hashed)
		blob_over(c, t, HLK_TRANSIENT, "the connection was cut, and the stream cannot go back to byte %llu", (unsigned long long)offset);
	else if (t->read)
		blob_over(c, t, HLK_INVALID_INPUT, "the stream could not be read at byte %llu", (unsigned long long)offset);
	else
		blob_over(c, t, HLK_INVALID_INPUT, "the file cannot be read at byte %llu: %s", (unsigned long long)offset, strerror(errno));
}

static void digest_done(struct transfer *t)
{
	sha256_end(&t->sha, t->blob.digest);
	t->digest_known = true;
	t->blob.size = t->total;
}

void put_hash(struct hlk *c, struct transfer *t)
{
	uint64_t until = MIN_OF(t->total, t->hashed + BLOB_HASH_STEP);
	struct buf *room = &c->blobs.room;
	buf_reserve(room, LIMIT_BLOB_CHUNK);
	if (t->data) {
		sha256_add(&t->sha, span_of(t->data + t->hashed, (size_t)(until - t->hashed)));
		t->hashed = until;
	}
	while (t->hashed < until) {
		int64_t got = source_read(t, t->hashed, room->data, (size_t)MIN_OF(until - t->hashed, (uint64_t)LIMIT_BLOB_CHUNK));
		if (got <= 0) {
			unreadable(c, t, t->hashed, got);
			return;
		}
		sha256_add(&t->sha, span_of(room->data, (size_t)got));
		t->hashed += (uint64_t)got;
	}
	if (t->hashed < t->total)
		return;
	digest_done(t);
	t->state = TRANSFER_WAITING;
}

/* ---- sending ---- */

void put_ask(struct hlk *c, struct transfer *t)
{
	const struct msg msg = { .kind = FRAME_BLOB_PUT, .blob_put = {
		.upload = t->wire, .size = t->total, .number = t->number, .media_type = span_str(t->media_type), .direct = t->direct,
		.digest = span_of(t->blob.digest, t->digest_known ? sizeof t->blob.digest : 0) } };
	if (t->total != BLOB_SIZE_UNKNOWN && c->session.blob_max && t->total > c->session.blob_max)
		blob_over(c, t, HLK_TOO_BIG, "a blob of %llu bytes is over the limit of %llu", (unsigned long long)t->total,
			  (unsigned long long)c->session.blob_max);
	else
		blob_send(c, t, &msg);
}

static void put_end(struct hlk *c, struct transfer *t)
{
	if (!t->digest_known)
		digest_done(t);
	const struct msg msg = { .kind = FRAME_BLOB_END, .blob_end = {
		.upload = t->wire, .size = t->total, .digest = span_of(t->blob.digest, sizeof t->blob.digest) } };
	t->state = TRANSFER_ENDING;
	blob_send(c, t, &msg);
}

static void chunk_send(struct hlk *c, struct transfer *t, struct span bytes)
{
	struct buf *frame = &c->blobs.frame;
	const struct msg_blob_chunk m = { .upload = t->wire, .offset = t->offset, .size = (uint32_t)bytes.len };
	frame->len = 0;
	msg_encode_blob_chunk(frame, &m, &bytes, 1);
	frame_set_correlation(frame, 0, t->correlation);
	net_queue(c, buf_span(frame));
	if (!t->digest_known && t->offset + bytes.len > t->hashed) {
		size_t seen = (size_t)(t->hashed - MIN_OF(t->hashed, t->offset));
		sha256_add(&t->sha, span_sub(bytes, seen, bytes.len - seen));
		t->hashed = t->offset + bytes.len;
	}
	t->offset += bytes.len;
	t->sent_any = true;
}

bool put_move(struct hlk *c, struct transfer *t)
{
	uint32_t chunk = c->session.blob_chunk ? MIN_OF(c->session.blob_chunk, (uint32_t)LIMIT_BLOB_CHUNK) : LIMIT_BLOB_CHUNK;
	if (t->offset == t->total) {
		put_end(c, t);
		return true;
	}
	size_t room = (size_t)MIN_OF((uint64_t)chunk, t->credit - MIN_OF(t->credit, t->offset));
	if (t->total != BLOB_SIZE_UNKNOWN)
		room = (size_t)MIN_OF((uint64_t)room, t->total - t->offset);
	if (room == 0)
		return false;
	if (t->data) {
		chunk_send(c, t, span_of(t->data + t->offset, room));
		return true;
	}
	struct buf *to = &c->blobs.room;
	buf_reserve(to, LIMIT_BLOB_CHUNK);
	int64_t got = source_read(t, t->offset, to->data, room);
	if (got > 0) {
		chunk_send(c, t, span_of(to->data, MIN_OF((size_t)got, room)));
	} else if (got == 0 && t->total == BLOB_SIZE_UNKNOWN && t->offset >= t->hashed) {
		t->total = t->offset;
		put_end(c, t);
	} else {
		unreadable(c, t, t->offset, got);
	}
	return !t->over;
}

/* ---- what the broker says ---- */

static void put_failed(struct hlk *c, struct transfer *t, const struct msg_blob_state *m)
{
	struct span text = m->text.len ? m->text : span_str(err_text(m->code));
	t->wire = 0; /* it is over there */
	if (t->state == TRANSFER_ASKED && t->number && (m->code == ERR_NOT_FOUND || m->code == ERR_WRONG_STATE)) {
		t->number = 0; /* the broker has let go of it: from the beginning */
		t->state = TRANSFER_WAITING;
		c->due = true;
		return;
	}
	if (t->patient && err_retryable(m->code)) {
		uint32_t wait = MAX_OF(m->retry_after_ms, (uint32_t)BLOB_AGAIN_MS);
		t->number = 0;
		t->state = TRANSFER_WAITING;
		t->again_ms = c->now_ms + wait + (int64_t)(client_random(c) % wait);
		c->blobs.due_ms = MIN_OF(c->blobs.due_ms, t->again_ms);
		return;
	}
	t->retry_after_ms = m->retry_after_ms;
	blob_over(c, t, m->code, "%.*s", (int)MIN_OF(text.len, 400u), (const char *)text.data);
}

static void put_stored(struct hlk *c, struct transfer *t, const struct msg_blob_state *m)
{
	t->wire = 0;
	if (!t->digest_known || m->digest.len != sizeof t->blob.digest || memcmp(m->digest.data, t->blob.digest, m->digest.len) != 0 ||
	    m->size != t->blob.size)
		blob_over(c, t, HLK_INTEGRITY_MISMATCH, "the broker says that it has stored something else");
	else
		blob_over(c, t, HLK_OK, "%s", "");
}

void put_state(struct hlk *c, struct transfer *t, const struct msg_blob_state *m)
{
	if (m->code != ERR_OK) {
		put_failed(c, t, m);
		return;
	}
	if (m->stored) {
		put_stored(c, t, m);
		return;
	}
	uint64_t known = t->total == BLOB_SIZE_UNKNOWN ? t->hashed : t->total;
	if (m->offset > known) {
		net_fail(c, HLK_MALFORMED, "the broker has %llu bytes of an upload of %llu", (unsigned long long)m->offset,
			 (unsigned long long)known);
		return;
	}
	t->number = m->number ? m->number : t->number;
	if (m->url.len > 0 && t->direct) {
		(void)snprintf(t->url, sizeof t->url, "%.*s", (int)m->url.len, (const char *)m->url.data);
		return;
	}
	if (t->state == TRANSFER_ASKED) {
		t->offset = m->offset;
		t->credit = m->credit;
		t->state = TRANSFER_MOVING;
	}
	t->credit = MAX_OF(t->credit, m->credit);
	c->due = true;
}

/* ---- the calls ---- */

uint32_t put_memory(struct hlk *c, struct span data, bool patient, hlk_blob_fn *fn, void *ctx)
{
	struct transfer *t = blob_new(c, true, fn, ctx);
	t->data = data.data;
	t->total = data.len;
	t->patient = patient;
	return t->id;
}

static int source_open(const struct hlk_blob_source *s, int *fd, uint64_t *size, struct hlk_error *error)
{
	struct stat st;
	*fd = s->path ? open(s->path, O_RDONLY | O_CLOEXEC) : s->fd;
	if (*fd < 0 || fstat(*fd, &st) != 0) {
		error_fill(error, HLK_INVALID_INPUT, "blob: %s: %s", s->path ? s->path : "the descriptor", strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		error_fill(error, HLK_INVALID_INPUT, "blob: %s is no file: it can only be read as a stream", s->path ? s->path : "the descriptor");
	} else {
		*size = (uint64_t)st.st_size;
		return HLK_OK;
	}
	if (s->path && *fd >= 0)
		(void)close(*fd);
	return HLK_INVALID_INPUT;
}

static int source_check(const struct hlk_blob_source *s, struct hlk_error *error)
{
	if ((s->data || s->size > 0) + (s->path != NULL) + s->use_fd + (s->read != NULL) > 1 || (s->size > 0 && !s->data)) {
		error_fill(error, HLK_INVALID_INPUT, "blob: a source is one of data, path, fd and read");
		return HLK_INVALID_INPUT;
	}
	if (s->media_type && strlen(s->media_type) > LIMIT_NAME_BYTES) {
		error_fill(error, HLK_TOO_BIG, "blob: the media type is over %d bytes", LIMIT_NAME_BYTES);
		return HLK_TOO_BIG;
	}
	return HLK_OK;
}

int hlk_blob_put(struct hlk *c, const struct hlk_blob_source *s, hlk_blob_fn *fn, void *ctx, uint32_t *transfer_out)
{
	int fd = -1, code = source_check(s, &c->error);
	uint64_t size = s->size;
	if (code == HLK_OK && c->closing)
		code = error_set(c, HLK_CLOSED, "blob: the client is being closed");
	if (code == HLK_OK && (s->path || s->use_fd))
		code = source_open(s, &fd, &size, &c->error);
	if (code != HLK_OK)
		return code;
	struct transfer *t = blob_new(c, true, fn, ctx);
	t->data = s->data;
	t->fd = fd;
	t->own_fd = s->path != NULL;
	t->read = s->read;
	t->read_ctx = s->read_ctx;
	t->progress = s->progress;
	t->progress_ctx = s->progress_ctx;
	t->total = s->read ? BLOB_SIZE_UNKNOWN : size;
	t->state = s->read ? TRANSFER_WAITING : TRANSFER_HASHING;
	(void)snprintf(t->media_type, sizeof t->media_type, "%s", s->media_type ? s->media_type : "");
	if (transfer_out)
		*transfer_out = t->id;
	return HLK_OK;
}

int hlk_blob_put_wait(struct hlk *c, const struct hlk_blob_source *source, int timeout_ms, struct hlk_blob *out, bool *known_out)
{
	struct blob_waited w = { .done = false };
	uint32_t transfer = 0;
	int64_t deadline = client_deadline(c, timeout_ms);
	int code = client_may_block(c);
	if (code == HLK_OK)
		code = hlk_blob_put(c, source, blob_wait_done, &w, &transfer);
	if (code == HLK_OK)
		code = blob_wait(c, transfer, &w, deadline, "blob put");
	if (code != HLK_OK)
		return code;
	*out = w.result.blob;
	if (known_out)
		*known_out = w.result.known;
	return HLK_OK;
}

int hlk_blob_put_url(struct hlk *c, const struct hlk_blob *blob, const char *media_type, int timeout_ms, char *out, size_t room,
		     uint32_t *transfer_out)
{
	int64_t deadline = client_deadline(c, timeout_ms);
	int code = client_may_block(c);
	*out = 0;
	if (code != HLK_OK)
		return code;
	if (!c->blobs.direct)
		ENSURE((c->blobs.direct = malloc(sizeof *c->blobs.direct)) != NULL);
	struct blob_waited *w = c->blobs.direct;
	*w = (struct blob_waited){ .done = false };
	struct transfer *t = blob_new(c, true, blob_wait_done, w);
	const uint32_t id = *transfer_out = t->id;
	t->blob = *blob;
	t->total = blob->size;
	t->digest_known = t->direct = true;
	t->state = TRANSFER_WAITING;
	(void)snprintf(t->media_type, sizeof t->media_type, "%s", media_type ? media_type : "");
	while (!w->done && code == HLK_OK && (t = blob_find(c, id)) && !t->url[0])
		code = client_wait(c, deadline);
	if (w->done)
		return w->result.code == HLK_OK ? HLK_OK : error_set(c, w->result.code, "blob url: %.450s", w->text);
	if (code == HLK_OK && strlen(t->url) >= room)
		code = error_set(c, HLK_TOO_BIG, "blob url: of %zu bytes, for which there is no room", strlen(t->url));
	if (code == HLK_OK)
		(void)snprintf(out, room, "%s", t->url);
	else
		blob_forget(c, id);
	return code;
}

int hlk_blob_put_end(struct hlk *c, uint32_t transfer, int timeout_ms)
{
	struct blob_waited *w = c->blobs.direct;
	struct transfer *t = blob_find(c, transfer);
	int64_t deadline = client_deadline(c, timeout_ms);
	int code = client_may_block(c);
	if (code != HLK_OK)
		return code;
	if (t && t->direct && t->up) {
		t->offset = t->total;
		t->sent_any = true;
		put_end(c, t);
	} else if (!w || !w->done || w->result.transfer != transfer) {
		return error_set(c, HLK_NOT_FOUND, "blob: there is no transfer %u by url", transfer);
	}
	return blob_wait(c, transfer, w, deadline, "blob put");
}

int hlk_blob_name(const struct hlk_blob_source *s, struct hlk_blob *out, struct hlk_error *error)
{
	int fd = -1, code = source_check(s, error);
	struct transfer *t = code == HLK_OK ? calloc(1, sizeof *t) : NULL;
	uint8_t *room = t ? malloc(LIMIT_BLOB_CHUNK) : NULL;
	uint64_t size = s->size;
	if (code == HLK_OK && (s->path || s->use_fd))
		code = source_open(s, &fd, &size, error);
	if (code == HLK_OK) {
		int64_t got;
		ENSURE(t && room);
		*t = (struct transfer){ .data = s->data, .fd = fd, .read = s->read, .read_ctx = s->read_ctx,
					.total = s->read || fd >= 0 ? BLOB_SIZE_UNKNOWN : size };
		sha256_begin(&t->sha);
		while ((got = source_read(t, t->hashed, room, LIMIT_BLOB_CHUNK)) > 0) {
			sha256_add(&t->sha, span_of(room, (size_t)got));
			t->hashed += (uint64_t)got;
		}
		sha256_end(&t->sha, out->digest);
		out->size = t->hashed;
		if (got < 0) {
			code = HLK_INVALID_INPUT;
			error_fill(error, code, "blob: reading failed at byte %llu", (unsigned long long)t->hashed);
		}
		if (s->path)
			(void)close(fd);
	}
	free(room);
	free(t);
	return code;
}
