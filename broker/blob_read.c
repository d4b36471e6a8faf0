/* broker/blob_read.c: blobs on their way out. See blob_desk.h.
 *
 *   BLOB_GET -> index -> backend open -> (memory, helper thread: hash) or file to socket -> BLOB_DATA ... ; BLOB_MORE -> credit
 *
 * 1. A read belongs to a connection's session and ends with the connection: the client asks again, from where it is.
 * 2. A blob that is being read is not collected (blob.users).
 * 3. What goes through memory from its first byte to its last is compared with its digest before the end is said. What goes from file to
 *    socket is compared by the client, who says so (BLOB_MORE.damaged), and then the broker reads it itself. */
#include "blob_desk.h"
#include "conn_file.h"

#include <stdarg.h>

enum { READ_PRESIGN_S = 900 };

struct blob_read {
	struct blob_read *next, *prev;
	struct blob_read *session_next;
	struct session *session;    /* NULL: over */
	struct blob_desk *desk;
	uint32_t id;
	struct blob_key key;
	uint64_t size, offset, end, credit;
	struct blob_reader *reader;
	struct blob_job job;
	struct io_work work;
	struct sha256 hash;
	uint8_t *room;              /* a chunk; NULL between two */
	uint32_t filled;
	bool busy, hashed, whole, first, over, splicing;
	char media[BLOB_MEDIA_BYTES + 1];
};

/* ---- answers ---- */

static struct conn *conn_of(const struct blob_read *r)
{
	return r->session ? r->session->conn : NULL;
}

static void say(struct conn *c, const struct msg_blob_data *m)
{
	if (!c || c->closing || c->gone)
		return;
	msg_encode_blob_data(&c->out, m, NULL, 0);
	conn_touch(c);
}

PRINTF_LIKE(4, 5)
static void refuse(struct conn *c, uint32_t id, enum err code, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	say(c, &(struct msg_blob_data){ .read = id, .code = (uint16_t)code, .text = span_str(text) });
}

static struct span media_of(struct blob_read *r)
{
	struct span media = r->first ? span_str(r->media) : span_of(NULL, 0);
	r->first = false;
	return media;
}

/* ---- coming and going ---- */

static void room_free(struct blob_read *r)
{
	if (r->room)
		r->desk->memory -= LIMIT_BLOB_CHUNK;
	free(r->room);
	r->room = NULL;
}

static void session_leave(struct blob_read *r)
{
	if (!r->session)
		return;
	struct blob_read **at = &r->session->reads;
	while (*at != r)
		at = &(*at)->session_next;
	*at = r->session_next;
	struct session *session = r->session;
	session->read_count--;
	if (!session->last_reads)
		session->last_reads = zalloc(BLOB_LAST_READS * sizeof *session->last_reads);
	session->last_reads[session->last_read++ % BLOB_LAST_READS] = (struct last_read){ r->id, r->key.number };
	r->session = NULL;
}

static void end(struct blob_read *r)
{
	r->over = true;
	session_leave(r);
	r->desk->due = true;
}

static void read_free(struct blob_read *r)
{
	struct blob_desk *d = r->desk;
	struct blob *b = blobs_by_number(tasks_blobs(d->s->tasks), r->key.number);
	if (b) {
		b->users -= b->users > 0;
		b->touched_ms = d->s->wall_ms; /* its reader may be about to refer to it */
	}
	room_free(r);
	if (r->reader)
		d->backend->v->close(r->reader);
	if (r->prev)
		r->prev->next = r->next;
	else
		d->reads = r->next;
	if (r->next)
		r->next->prev = r->prev;
	d->read_count--;
	free(r);
}

static void failed(struct blob_read *r, enum err code, const char *text)
{
	if (r->over)
		return;
	if (code == ERR_DAMAGED || code == ERR_NOT_FOUND)
		blob_is_damaged(r->desk, r->key.number, text);
	struct conn *c = conn_of(r);
	if (c)
		refuse(c, r->id, code == ERR_NOT_FOUND ? ERR_DAMAGED : code, "blob at %llu: %s", (unsigned long long)r->offset, text);
	end(r);
}

/* ---- through memory ---- */

static void opened(struct blob_job *job, enum err code)
{
	struct blob_read *r = job->ctx;
	r->busy = false;
	r->desk->due = true;
	if (code != ERR_OK)
		failed(r, code, job->text);
}

static void work_run(void *ctx)
{
	struct blob_read *r = ctx;
	sha256_add(&r->hash, span_of(r->room, r->filled));
}

static void work_done(void *ctx)
{
	struct blob_read *r = ctx;
	r->desk->works--;
	r->busy = false;
	r->hashed = true;
	r->desk->due = true;
}

static void was_read(struct blob_job *job, enum err code)
{
	struct blob_read *r = job->ctx;
	struct blob_desk *d = r->desk;
	uint64_t want = MIN_OF(MIN_OF((uint64_t)LIMIT_BLOB_CHUNK, r->credit - r->offset), r->end - r->offset);
	r->busy = false;
	d->due = true;
	if (code == ERR_OK && job->got == 0 && want > 0)
		code = ERR_DAMAGED;
	if (code != ERR_OK || r->over) {
		failed(r, code, job->text[0] ? job->text : "it is shorter than it should be");
		return;
	}
	r->filled = (uint32_t)job->got;
	if (!r->whole) {
		r->hashed = true;
		return;
	}
	r->busy = true;
	r->work = (struct io_work){ .run = work_run, .done = work_done, .ctx = r };
	d->works++;
	io_work(d->s->io, &r->work);
}

/* The chunk that is there goes out; behind the last one the digest is known. */
static void emit(struct blob_read *r)
{
	struct conn *c = conn_of(r);
	bool last = r->offset + r->filled == r->end;
	char is[BLOB_NAME_BYTES], should[BLOB_NAME_BYTES], text[256];
	uint8_t digest[SHA256_BYTES];
	if (last && r->whole) {
		sha256_end(&r->hash, digest);
		if (memcmp(digest, r->key.digest, sizeof digest) != 0) {
			(void)snprintf(text, sizeof text, "what is stored is %s, not %s", blob_name(digest, is), blob_name(r->key.digest, should));
			failed(r, ERR_DAMAGED, text);
			return;
		}
	}
	const struct msg_blob_data m = { .read = r->id, .size = r->filled, .end = last, .offset = r->offset, .total = r->size,
					 .media_type = media_of(r) };
	const struct span bytes = span_of(r->room, r->filled);
	msg_encode_blob_data(&c->out, &m, &bytes, r->filled > 0);
	conn_touch(c);
	r->desk->turn_bytes += r->filled;
	r->desk->totals.read_bytes += r->filled;
	r->offset += r->filled;
	r->hashed = false;
	room_free(r);
	if (last)
		end(r);
}

/* ---- from file to socket ---- */

/* The head of its frame is out already: the bytes have to follow, from memory then. */
static void read_instead(struct blob_job *job, enum err code)
{
	struct blob_read *r = job->ctx;
	struct conn *c = conn_of(r);
	r->busy = false;
	r->desk->due = true;
	if (r->splicing && c && code == ERR_OK && job->got == LIMIT_BLOB_CHUNK) {
		r->splicing = false;
		conn_file_instead(c, span_of(r->room, LIMIT_BLOB_CHUNK));
	} else if (r->splicing && c) {
		conn_abort(c, "a blob cannot be read whose frame was begun");
	}
	room_free(r);
	if (r->offset == r->end)
		end(r);
}

static void spliced(void *ctx, enum conn_file_how how)
{
	struct blob_read *r = ctx;
	struct blob_desk *d = r->desk;
	d->due = true;
	if (how == CONN_FILE_STUCK) {
		r->room = zalloc(LIMIT_BLOB_CHUNK);
		d->memory += LIMIT_BLOB_CHUNK;
		r->busy = true;
		r->job = (struct blob_job){ .done = read_instead, .ctx = r };
		d->backend->v->read(r->reader, &r->job, r->offset - LIMIT_BLOB_CHUNK, r->room, LIMIT_BLOB_CHUNK);
		return;
	}
	r->splicing = false;
	if (how == CONN_FILE_SENT && r->offset == r->end)
		end(r);
}

/* A whole chunk: it is a multiple of 8, so that nothing follows it. */
static void splice(struct blob_read *r, struct conn *c, int file)
{
	struct blob_desk *d = r->desk;
	const struct msg_blob_data m = { .read = r->id, .size = LIMIT_BLOB_CHUNK, .end = r->offset + LIMIT_BLOB_CHUNK == r->end,
					 .offset = r->offset, .total = r->size, .media_type = media_of(r) };
	msg_begin_blob_data(&c->out, &m);
	r->whole = false; /* whoever gets it compares */
	r->splicing = true;
	conn_file_put(c, file, r->offset, LIMIT_BLOB_CHUNK, spliced, r);
	d->turn_bytes += LIMIT_BLOB_CHUNK;
	d->totals.read_bytes += LIMIT_BLOB_CHUNK;
	r->offset += LIMIT_BLOB_CHUNK;
}

/* ---- the turn ---- */

static void step(struct blob_read *r)
{
	struct blob_desk *d = r->desk;
	struct conn *c = conn_of(r);
	if (r->over) {
		if (!r->busy && !r->splicing)
			read_free(r);
		return;
	}
	if (r->busy || r->splicing || !r->reader || !c || c->closing || conn_queued(c) > BLOB_QUEUED_BYTES)
		return; /* looked at again when that changes */
	if (d->turn_bytes >= BLOB_TURN_BYTES) {
		d->due = true;
		return;
	}
	if (r->hashed || r->offset == r->end) { /* the latter: an empty one */
		r->filled = r->hashed ? r->filled : 0;
		emit(r);
		return;
	}
	uint64_t n = r->credit > r->offset ? MIN_OF(MIN_OF(r->credit, r->end) - r->offset, (uint64_t)LIMIT_BLOB_CHUNK) : 0;
	int file = n == LIMIT_BLOB_CHUNK && conn_file_free(c) ? d->backend->v->file(r->reader) : -1;
	if (file >= 0) {
		splice(r, c, file);
		return;
	}
	if (n == 0 || !desk_memory(d, LIMIT_BLOB_CHUNK))
		return;
	r->room = malloc(LIMIT_BLOB_CHUNK);
	ENSURE(r->room != NULL);
	d->memory += LIMIT_BLOB_CHUNK;
	r->busy = true;
	r->job = (struct blob_job){ .done = was_read, .ctx = r };
	d->backend->v->read(r->reader, &r->job, r->offset, r->room, (size_t)n);
}

void reads_run(struct blob_desk *d)
{
	for (struct blob_read *r = d->reads, *next; r; r = next) {
		next = r->next;
		step(r);
	}
}

void blob_conn_room(struct session *session)
{
	struct blob_desk *d = session->shard->desk;
	if (d && session->reads)
		d->due = true;
}

/* ---- frames ---- */

static struct blob_read *find(const struct session *session, uint32_t id)
{
	struct blob_read *r = session->reads;
	while (r && r->id != id)
		r = r->session_next;
	return r;
}

/* An URL instead of bytes. */
static void get_direct(struct conn *c, uint32_t id, const struct blob *b)
{
	struct blob_desk *d = c->s->desk;
	char url[LIMIT_URL_BYTES];
	struct blob_key key = { .number = b->number };
	memcpy(key.digest, b->digest, sizeof key.digest);
	enum err e = d->backend->v->presign(d->backend, &key, false, READ_PRESIGN_S, url, sizeof url);
	if (e != ERR_OK)
		refuse(c, id, e, "BLOB_GET.direct: this broker's store gives no URLs");
	else
		say(c, &(struct msg_blob_data){ .read = id, .total = b->size, .end = true, .media_type = blob_media(b), .url = span_str(url) });
}

static void begin(struct conn *c, const struct msg_blob_get *m, struct blob *b)
{
	struct blob_desk *d = c->s->desk;
	struct blob_read *r = zalloc(sizeof *r);
	*r = (struct blob_read){ .session = c->session, .desk = d, .id = m->read, .size = b->size, .offset = m->offset, .credit = m->credit,
				 .first = true };
	r->busy = true;
	r->end = m->length && m->length < b->size - m->offset ? m->offset + m->length : b->size;
	r->whole = r->offset == 0 && r->end == r->size;
	r->key.number = b->number;
	memcpy(r->key.digest, b->digest, sizeof r->key.digest);
	(void)snprintf(r->media, sizeof r->media, "%.*s", (int)b->media_size, (const char *)blob_media(b).data);
	b->users++;
	b->touched_ms = c->s->wall_ms;
	sha256_begin(&r->hash);
	r->next = d->reads;
	if (r->next)
		r->next->prev = r;
	d->reads = r;
	d->read_count++;
	d->totals.reads++;
	r->session_next = c->session->reads;
	c->session->reads = r;
	c->session->read_count++;
	r->job = (struct blob_job){ .done = opened, .ctx = r };
	d->backend->v->open(d->backend, &r->job, &r->key, r->size, &r->reader);
}

enum err blob_get(struct conn *c, const struct msg_blob_get *get)
{
	struct shard *s = c->s;
	struct blob_desk *d = s->desk;
	const struct msg_blob_get m = *get; /* the answer is encoded over the message */
	char name[BLOB_NAME_BYTES];
	uint8_t digest[BLOB_DIGEST];
	memcpy(digest, m.digest.data, sizeof digest);
	struct blob *b = d ? blobs_find(tasks_blobs(s->tasks), span_str(c->session->vnet), digest) : NULL;
	struct blob_read *old = find(c->session, m.read);
	if (old)
		end(old);
	if (!b || b->ending)
		refuse(c, m.read, d ? ERR_NOT_FOUND : ERR_UNSUPPORTED, "there is no blob %s here", blob_name(digest, name));
	else if (old)
		refuse(c, m.read, ERR_INVALID_INPUT, "BLOB_GET.read: %u is in use", m.read);
	else if (m.offset > b->size)
		refuse(c, m.read, ERR_INVALID_INPUT, "BLOB_GET.offset: %llu, and the blob has %llu bytes", (unsigned long long)m.offset,
		       (unsigned long long)b->size);
	else if (c->session->read_count >= BLOB_SESSION_READS || d->read_count >= BLOB_READS_MAX)
		refuse(c, m.read, ERR_RESOURCE_EXHAUSTED, "this session has %u reads, all have %u", c->session->read_count, d->read_count);
	else if (m.direct)
		get_direct(c, m.read, b);
	else
		begin(c, &m, b);
	return ERR_OK;
}

static uint64_t number_of_read(const struct session *session, uint32_t id)
{
	const struct blob_read *r = find(session, id);
	if (r)
		return r->key.number;
	for (uint32_t i = 0; session->last_reads && i < BLOB_LAST_READS; i++)
		if (session->last_reads[i].id == id)
			return session->last_reads[i].number;
	return 0;
}

enum err blob_more(struct conn *c, const struct msg_blob_more *m)
{
	struct blob_desk *d = c->s->desk;
	if (!d)
		return ERR_OK;
	uint64_t number = m->damaged ? number_of_read(c->session, m->read) : 0;
	if (number)
		scrub_add(d, number);
	struct blob_read *r = find(c->session, m->read);
	d->due = true;
	if (!r)
		return ERR_OK;
	r->credit = MAX_OF(r->credit, m->credit);
	if (m->cancel || m->damaged)
		end(r);
	return ERR_OK;
}

/* ---- sessions ---- */

void blob_reads_end(struct session *session)
{
	while (session->reads)
		end(session->reads);
}

void reads_forget(struct blob_desk *d)
{
	while (d->reads) {
		struct blob_read *r = d->reads;
		r->reader = NULL; /* gone with its backend */
		session_leave(r);
		read_free(r);
	}
}
