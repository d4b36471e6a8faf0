/* broker/blob_upload.c: blobs on their way in. See blob_desk.h.
 *
 *   BLOB_PUT -> credit -> BLOB_CHUNK ... -> helper thread (hash) and backend (write) -> BLOB_END -> finish -> REC_BLOB -> BLOB_STATE
 *
 * 1. Everything before `offset` has been taken, everything before `done` is hashed and written. What lies between credit and done has its
 *    place in memory: promised until it comes, in chunks from then on.
 * 2. An upload lives on without a connection as long as its session does, and may be taken over by another session of the same principal
 *    that names its number. It ends with its session, or with its first error.
 * 3. It is freed when the backend and the helper thread are done with it. */
#include "blob_upload.h"

#include <stdarg.h>

enum { CHUNK_MIN = 64 << 10, UPLOAD_PRESIGN_S = 3600 };

/* ---- answers ---- */

static void say(struct conn *c, const struct msg_blob_state *m)
{
	if (!c || c->closing || c->gone)
		return;
	c->s->msg.kind = FRAME_BLOB_STATE;
	c->s->msg.blob_state = *m;
	msg_encode(&c->out, &c->s->msg, 0, NULL, 0);
	conn_touch(c);
}

static struct conn *conn_of(const struct upload *u)
{
	return u->session ? u->session->conn : NULL;
}

PRINTF_LIKE(5, 6)
static void refuse(struct conn *c, uint32_t id, enum err code, uint32_t retry_ms, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	c->s->desk->totals.upload_failures++;
	say(c, &(struct msg_blob_state){ .upload = id, .code = (uint16_t)code, .text = span_str(text), .retry_after_ms = retry_ms });
}

static void say_stored(struct conn *c, uint32_t id, const struct blob *b)
{
	say(c, &(struct msg_blob_state){ .upload = id, .number = b->number, .offset = b->size, .credit = b->size, .stored = true,
					 .digest = span_of(b->digest, BLOB_DIGEST), .size = b->size });
}

static void say_state(struct upload *u)
{
	say(conn_of(u), &(struct msg_blob_state){ .upload = u->id, .number = u->number, .offset = u->offset, .credit = u->credit,
						  .url = span_str(u->url) });
}

/* ---- coming and going ---- */

static void session_leave(struct upload *u)
{
	if (!u->session)
		return;
	struct upload **at = &u->session->uploads;
	while (*at != u)
		at = &(*at)->session_next;
	*at = u->session_next;
	u->session->upload_count--;
	u->session = NULL;
}

static void session_join(struct upload *u, struct session *session)
{
	u->session = session;
	u->session_next = session->uploads;
	session->uploads = u;
	session->upload_count++;
}

static void chunk_free(struct upload *u)
{
	struct upload_chunk *c = u->first;
	u->first = c->next;
	if (!u->first)
		u->last = &u->first;
	u->desk->memory -= c->room;
	free(c);
}

static void upload_free(struct upload *u)
{
	struct blob_desk *d = u->desk;
	ENSURE(u->over && !u->job_busy && !u->hashing);
	while (u->first)
		chunk_free(u);
	if (u->prev)
		u->prev->next = u->next;
	else
		d->uploads = u->next;
	if (u->next)
		u->next->prev = u->prev;
	if (d->next_grant == u)
		d->next_grant = u->next;
	d->upload_count--;
	free(u);
}

static void promise(struct upload *u, uint64_t credit)
{
	u->desk->promised += credit - u->credit; /* also downwards */
	u->credit = credit;
}

/* No more of it. What is under way is waited for. */
static void end(struct upload *u)
{
	if (u->over)
		return;
	u->over = true;
	promise(u, u->offset);
	session_leave(u);
	if (u->writer)
		u->desk->backend->v->abandon(u->writer);
	u->writer = NULL;
	u->desk->due = true;
}

PRINTF_LIKE(3, 4)
static void fail(struct upload *u, enum err code, const char *format, ...)
{
	char text[512];
	va_list args;
	if (u->over)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	bool later = code == ERR_UNAVAILABLE || code == ERR_DISK_FULL || code == ERR_TIMEOUT;
	u->desk->totals.upload_failures++;
	say(conn_of(u), &(struct msg_blob_state){ .upload = u->id, .code = (uint16_t)code, .text = span_str(text), .number = u->number,
						  .retry_after_ms = later ? BLOB_RETRY_MS : 0 });
	end(u);
}

/* What the backend calls a lack of room is a full disk. */
static void backend_failed(struct upload *u, enum err code)
{
	fail(u, code == ERR_RESOURCE_EXHAUSTED ? ERR_DISK_FULL : code, "upload %llu: %s", (unsigned long long)u->number, u->job.text);
}

/* ---- the bytes ---- */

static void work_run(void *ctx)
{
	struct upload *u = ctx;
	sha256_add(&u->hash, span_of(u->to_hash->data, u->to_hash->size));
}

static void work_done(void *ctx)
{
	struct upload *u = ctx;
	u->desk->works--;
	u->hashing = false;
	u->to_hash->hashed = true;
	u->to_hash = u->to_hash->next;
	u->desk->due = true;
}

/* A job of the writer is over. False: it failed, which is told. */
static bool job_done(struct upload *u, enum err code)
{
	u->job_busy = false;
	u->desk->due = true;
	if (code != ERR_OK && !u->over)
		backend_failed(u, code);
	return code == ERR_OK;
}

static void written(struct blob_job *job, enum err code)
{
	struct upload *u = job->ctx;
	if (!job_done(u, code))
		return;
	u->to_write->written = true;
	u->to_write = u->to_write->next;
}

/* The backend has it, durably, and nobody can find it yet. */
static void finished(struct blob_job *job, enum err code)
{
	struct upload *u = job->ctx;
	if (!job_done(u, code))
		return;
	u->writer = NULL;
	u->stage = UPLOAD_THERE;
	if (u->over) /* its session has ended meanwhile */
		remove_later(u->desk, &u->key);
}

static struct blob_job *job_of(struct upload *u, void (*done)(struct blob_job *job, enum err code))
{
	ENSURE(!u->job_busy);
	u->job = (struct blob_job){ .done = done, .ctx = u };
	u->job_busy = true;
	return &u->job;
}

/* All is in: is it what was said? */
static void compare(struct upload *u)
{
	struct blob_desk *d = u->desk;
	uint8_t digest[SHA256_BYTES];
	char is[BLOB_NAME_BYTES], said[BLOB_NAME_BYTES];
	if (u->said_size != u->offset) {
		fail(u, ERR_INTEGRITY_MISMATCH, "BLOB_END.size: %llu bytes have come, and it says %llu", (unsigned long long)u->offset,
		     (unsigned long long)u->said_size);
		return;
	}
	if (u->stage == UPLOAD_DIRECT) { /* only the store has seen the bytes */
		u->stage = UPLOAD_FINISHING;
		d->backend->v->check(d->backend, job_of(u, finished), &u->key, u->size);
		return;
	}
	sha256_end(&u->hash, digest);
	if (memcmp(digest, u->said, sizeof digest) != 0) {
		fail(u, ERR_INTEGRITY_MISMATCH, "BLOB_END.digest: what came is %s, and it says %s", blob_name(digest, is),
		     blob_name(u->said, said));
		return;
	}
	memcpy(u->key.digest, digest, sizeof digest);
	u->stage = UPLOAD_FINISHING;
	d->backend->v->finish(u->writer, job_of(u, finished), digest);
}

/* In the index, unless the same content has come to be there meanwhile. */
static void propose(struct upload *u)
{
	struct shard *s = u->desk->s;
	const struct blob *b = blobs_find(tasks_blobs(s->tasks), span_str(u->vnet), u->key.digest);
	if (log_append_room(s->log) < 4096) {
		u->desk->due = true;
		return;
	}
	const struct blob_add add = { .number = u->number, .size = u->offset, .digest = u->key.digest, .vnet = span_str(u->vnet),
				      .media = span_str(u->media), .principal = span_str(u->principal),
				      .instead = b && b->damaged ? b->number : 0 };
	if (!blobs_propose_add(s->log, &add)) {
		u->desk->due = true;
		return;
	}
	hold_urgent(s);
	u->stage = UPLOAD_ADDING;
}

static void step(struct upload *u)
{
	struct blob_desk *d = u->desk;
	if (!u->over && u->to_hash && !u->hashing) {
		u->hashing = true;
		u->work = (struct io_work){ .run = work_run, .done = work_done, .ctx = u };
		d->works++;
		io_work(d->s->io, &u->work);
	}
	if (!u->over && u->to_write && !u->job_busy)
		d->backend->v->write(u->writer, job_of(u, written), span_of(u->to_write->data, u->to_write->size));
	while (u->first && u->first->hashed && u->first->written) {
		u->done += u->first->size;
		chunk_free(u);
	}
	if (u->over) {
		if (!u->job_busy && !u->hashing && u->stage != UPLOAD_ADDING)
			upload_free(u);
		return;
	}
	if (u->ended && !u->first && !u->job_busy && u->stage < UPLOAD_FINISHING)
		compare(u);
	if (u->stage == UPLOAD_THERE && !u->over)
		propose(u);
}

/* ---- credit ---- */

static uint64_t window_of(const struct upload *u)
{
	const struct blob_desk *d = u->desk;
	uint64_t share = d->s->config.blob_memory / 2 / MAX_OF(d->upload_count, 1u);
	return MAX_OF(MIN_OF(MIN_OF(u->window, share), (uint64_t)BLOB_WINDOW_MAX), (uint64_t)LIMIT_BLOB_CHUNK);
}

/* As much as its window, the memory and the turn allow. False: it would have got more with more memory. */
static bool grant(struct upload *u)
{
	struct blob_desk *d = u->desk;
	if (u->over || u->stage != UPLOAD_OPEN || !conn_of(u) || u->ended)
		return true;
	uint64_t want = u->done + window_of(u), size = u->size == BLOB_SIZE_UNKNOWN ? d->s->config.blob_max + 1 : u->size;
	want = MIN_OF(want, size);
	/* In steps that are worth a frame. */
	if (want <= u->credit || (want - u->credit < LIMIT_BLOB_CHUNK && want < size && u->credit > u->offset))
		return true;
	uint64_t more = want - u->credit;
	if (!desk_memory(d, more))
		more = MIN_OF(more, (uint64_t)LIMIT_BLOB_CHUNK);
	if (!desk_memory(d, more))
		return false;
	if (d->turn_bytes + more > BLOB_TURN_BYTES && d->turn_bytes > 0) {
		d->due = true;
		return true;
	}
	d->turn_bytes += more;
	promise(u, u->credit + more);
	u->active_ms = d->s->now_ms;
	say_state(u);
	return true;
}

void uploads_run(struct blob_desk *d)
{
	for (struct upload *u = d->uploads, *next; u; u = next) {
		next = u->next;
		step(u);
	}
	struct upload *first = d->next_grant ? d->next_grant : d->uploads, *u = first;
	while (u) {
		bool enough = grant(u);
		d->next_grant = u; /* who found no memory is first when there is some */
		if (!enough)
			return;
		u = u->next ? u->next : d->uploads;
		d->next_grant = u;
		if (u == first)
			return;
	}
}

void uploads_tick(struct blob_desk *d)
{
	uint64_t now = d->s->now_ms;
	bool short_of = !desk_memory(d, LIMIT_BLOB_CHUNK);
	for (struct upload *u = d->uploads; u; u = u->next) {
		if (u->over || u->first || u->job_busy || u->hashing || u->stage > UPLOAD_DIRECT)
			continue;
		uint64_t idle = now - MIN_OF(now, u->active_ms);
		bool holds = u->credit > u->offset && short_of; /* memory that others wait for */
		if (idle >= (holds ? BLOB_SLOW_MS : u->stage == UPLOAD_DIRECT ? UPLOAD_PRESIGN_S * 1000 : BLOB_IDLE_MS))
			fail(u, ERR_TIMEOUT, "upload %llu: nothing has come for %llu s", (unsigned long long)u->number,
			     (unsigned long long)(idle / 1000));
	}
}

/* ---- BLOB_PUT ---- */

uint64_t upload_bytes_coming(const struct blob_desk *d)
{
	uint64_t sum = 0;
	for (const struct upload *u = d->uploads; u; u = u->next)
		sum += u->over ? 0 : u->size == BLOB_SIZE_UNKNOWN ? u->offset : u->size;
	return sum;
}

uint64_t upload_bytes_of(const struct blob_desk *d, const struct session *session)
{
	uint64_t sum = 0;
	for (const struct upload *u = d->uploads; u; u = u->next)
		if (!u->over && strcmp(u->principal, session->who.name) == 0)
			sum += u->size == BLOB_SIZE_UNKNOWN ? u->offset : u->size;
	return sum;
}

bool upload_may(const struct blob_desk *d, const struct session *session, uint64_t size, char text[256])
{
	const struct shard *s = d->s;
	uint64_t max = s->config.blob_principal_max;
	uint64_t has = blobs_bytes_of(tasks_blobs(s->tasks), span_str(session->who.name)) + upload_bytes_of(d, session);
	if (max == 0 || session->who.kind != WHO_PRINCIPAL || has + size <= max)
		return true;
	(void)snprintf(text, 256, "principal %s has %llu bytes in blobs, and may have %llu (blob_principal_max)", session->who.name,
		       (unsigned long long)has, (unsigned long long)max);
	return false;
}

/* What keeps the broker from taking a new one. */
static bool put_refused(struct conn *c, const struct msg_blob_put *m)
{
	struct shard *s = c->s;
	struct blob_desk *d = s->desk;
	const struct shard_config *k = &s->config;
	struct blobs_stats stats;
	uint64_t size = m->size == BLOB_SIZE_UNKNOWN ? 0 : m->size;
	char text[256];
	blobs_get_stats(tasks_blobs(s->tasks), &stats);
	uint64_t coming = upload_bytes_coming(d), room = d->backend->v->room(d->backend);
	if (s->stop != STOP_NOT)
		refuse(c, m->upload, ERR_UNAVAILABLE, k->stop_retry_ms, "the broker is stopping");
	else if (size > k->blob_max)
		refuse(c, m->upload, ERR_TOO_BIG, 0, "BLOB_PUT.size: %llu bytes, and a blob has at most %llu (blob_max)",
		       (unsigned long long)size, (unsigned long long)k->blob_max);
	else if (c->session->upload_count >= k->blob_session_uploads)
		refuse(c, m->upload, ERR_RESOURCE_EXHAUSTED, BLOB_RETRY_MS, "this session has %u uploads already", c->session->upload_count);
	else if (d->upload_count >= k->blob_uploads)
		refuse(c, m->upload, ERR_RESOURCE_EXHAUSTED, BLOB_RETRY_MS, "there are %u uploads already (blob_uploads)", d->upload_count);
	else if (log_room(s->log) != LOG_ROOM_OK || room < coming || room - coming < size)
		refuse(c, m->upload, ERR_DISK_FULL, BLOB_RETRY_MS, "the disk is too full for %llu bytes more", (unsigned long long)size);
	else if (k->blob_store_max > 0 && stats.bytes + coming + size > k->blob_store_max)
		refuse(c, m->upload, ERR_RESOURCE_EXHAUSTED, BLOB_RETRY_MS, "all blobs together have at most %llu bytes (blob_store_max)",
		       (unsigned long long)k->blob_store_max);
	else if (!upload_may(d, c->session, size, text))
		refuse(c, m->upload, ERR_RESOURCE_EXHAUSTED, BLOB_RETRY_MS, "%s", text);
	else
		return false;
	return true;
}

static struct upload *find(const struct session *session, uint32_t id)
{
	struct upload *u = session->uploads;
	while (u && u->id != id)
		u = u->session_next;
	return u;
}

static bool same_owner(const struct upload *u, const struct session *session)
{
	return u->who_kind == session->who.kind && strcmp(u->principal, session->who.name) == 0 && strcmp(u->vnet, session->vnet) == 0;
}

/* One that goes on: of this session, or of another of the same principal that is not there. */
static struct upload *resumed(struct conn *c, const struct msg_blob_put *m)
{
	struct upload *u = c->s->desk->uploads;
	while (u && (u->number != m->number || u->over))
		u = u->next;
	if (!u || m->number == 0 || !same_owner(u, c->session) || (u->session != c->session && u->session && u->session->conn))
		return NULL;
	if (m->size != BLOB_SIZE_UNKNOWN && u->size != BLOB_SIZE_UNKNOWN && m->size != u->size)
		return NULL;
	session_leave(u);
	session_join(u, c->session);
	u->id = m->upload;
	u->active_ms = c->s->now_ms;
	return u;
}

static struct upload *begin(struct conn *c, const struct msg_blob_put *m)
{
	struct shard *s = c->s;
	struct blob_desk *d = s->desk;
	struct upload *u = zalloc(sizeof *u);
	u->desk = d;
	u->id = m->upload;
	u->number = u->key.number = desk_number(d);
	u->size = m->size;
	u->window = LIMIT_BLOB_CHUNK;
	u->last = &u->first;
	u->active_ms = s->now_ms;
	u->who_kind = (uint8_t)c->session->who.kind;
	(void)snprintf(u->principal, sizeof u->principal, "%s", c->session->who.name);
	(void)snprintf(u->vnet, sizeof u->vnet, "%s", c->session->vnet);
	(void)snprintf(u->media, sizeof u->media, "%.*s", (int)m->media_type.len, m->media_type.len ? (const char *)m->media_type.data : "");
	if (m->digest.len > 0)
		memcpy(u->key.digest, m->digest.data, BLOB_DIGEST);
	u->next = d->uploads;
	if (u->next)
		u->next->prev = u;
	d->uploads = u;
	d->upload_count++;
	d->totals.uploads++;
	session_join(u, c->session);
	if (m->direct) {
		enum err e = d->backend->v->presign(d->backend, &u->key, true, UPLOAD_PRESIGN_S, u->url, sizeof u->url);
		u->stage = UPLOAD_DIRECT;
		if (e != ERR_OK)
			fail(u, e, "BLOB_PUT.direct: this broker's store gives no URLs");
		return u;
	}
	sha256_begin(&u->hash);
	u->writer = d->backend->v->create(d->backend, u->number, u->size, m->digest.len ? u->key.digest : NULL);
	return u;
}

enum err blob_put(struct conn *c, const struct msg_blob_put *put)
{
	struct shard *s = c->s;
	struct blob_desk *d = s->desk;
	struct msg_blob_put copy = *put;
	const struct msg_blob_put *m = &copy;
	uint8_t digest[BLOB_DIGEST]; /* the answers are encoded over the message */
	char media[LIMIT_NAME_BYTES + 1];
	if (!d) {
		say(c, &(struct msg_blob_state){ .upload = m->upload, .code = ERR_UNSUPPORTED, .text = span_str("this broker keeps no blobs") });
		return ERR_OK;
	}
	if (m->digest.len > 0)
		copy.digest = span_of(memcpy(digest, m->digest.data, sizeof digest), sizeof digest);
	if (m->media_type.len > 0)
		copy.media_type = span_of(memcpy(media, m->media_type.data, m->media_type.len), m->media_type.len);
	struct blob *b = m->digest.len ? blobs_find(tasks_blobs(s->tasks), span_str(c->session->vnet), digest) : NULL;
	if (b && !b->ending && !b->damaged) {
		if (m->size != BLOB_SIZE_UNKNOWN && m->size != b->size) {
			refuse(c, m->upload, ERR_INTEGRITY_MISMATCH, 0, "BLOB_PUT.size: what has this digest has %llu bytes, not %llu",
			       (unsigned long long)b->size, (unsigned long long)m->size);
			return ERR_OK;
		}
		b->touched_ms = s->wall_ms;
		struct upload *old = find(c->session, m->upload), *begun = resumed(c, m);
		if (old)
			end(old);
		if (begun)
			end(begun); /* what has come of it is not needed */
		say_stored(c, m->upload, b);
		return ERR_OK;
	}
	struct upload *u = resumed(c, m), *old = find(c->session, m->upload);
	if (!u && old && !old->over) {
		fail(old, ERR_INVALID_INPUT, "BLOB_PUT.upload: %u is in use", m->upload);
		return ERR_OK;
	}
	if (!u && put_refused(c, m))
		return ERR_OK;
	if (!u)
		u = begin(c, m);
	d->due = true;
	if (u->over)
		return ERR_OK;
	say_state(u); /* how far it is; credit follows when there is memory */
	return ERR_OK;
}

/* ---- BLOB_CHUNK, BLOB_END ---- */

/* Small ones share a buffer while nobody has begun to look at it. */
static void keep(struct upload *u, struct span bytes)
{
	struct blob_desk *d = u->desk;
	struct upload_chunk *tail = u->tail;
	bool fits = u->first && !(u->hashing && u->to_hash == tail) && !(u->job_busy && u->to_write == tail) && !tail->hashed &&
		    !tail->written && tail->room - tail->size >= bytes.len;
	if (!fits) {
		uint32_t room = MAX_OF((uint32_t)bytes.len, (uint32_t)CHUNK_MIN);
		tail = malloc(sizeof *tail + room);
		ENSURE(tail != NULL);
		*tail = (struct upload_chunk){ .room = room };
		*u->last = tail;
		u->last = &tail->next;
		u->tail = tail;
		u->to_hash = u->to_hash ? u->to_hash : tail;
		u->to_write = u->to_write ? u->to_write : tail;
		d->memory += room;
	}
	memcpy(tail->data + tail->size, bytes.data, bytes.len);
	tail->size += (uint32_t)bytes.len;
}

enum err blob_chunk(struct conn *c, const struct msg_blob_chunk *m, struct span payload)
{
	struct upload *u = c->s->desk ? find(c->session, m->upload) : NULL;
	if (!u || u->over || m->size == 0)
		return ERR_OK; /* it has ended while this was on its way */
	struct blob_desk *d = u->desk;
	uint64_t end_at = m->offset + m->size;
	uint64_t skip = m->offset < u->offset ? u->offset - m->offset : 0; /* that is there */
	if (skip >= m->size)
		return ERR_OK;
	if (m->offset > u->offset)
		fail(u, ERR_WRONG_STATE, "BLOB_CHUNK.offset: %llu, and %llu is next", (unsigned long long)m->offset,
		     (unsigned long long)u->offset);
	else if (u->ended || u->stage != UPLOAD_OPEN)
		fail(u, ERR_WRONG_STATE, "BLOB_CHUNK: upload %llu takes no bytes (any more)", (unsigned long long)u->number);
	else if (end_at > u->size)
		fail(u, ERR_INTEGRITY_MISMATCH, "BLOB_CHUNK: %llu bytes were announced, and %llu come", (unsigned long long)u->size,
		     (unsigned long long)end_at);
	else if (end_at > d->s->config.blob_max)
		fail(u, ERR_TOO_BIG, "BLOB_CHUNK: a blob has at most %llu bytes (blob_max)", (unsigned long long)d->s->config.blob_max);
	else if (end_at > u->credit)
		fail(u, ERR_RESOURCE_EXHAUSTED, "BLOB_CHUNK: it ends at %llu, and there is credit up to %llu", (unsigned long long)end_at,
		     (unsigned long long)u->credit);
	if (u->over)
		return ERR_OK;
	keep(u, span_sub(payload, skip, m->size - skip));
	u->offset = end_at;
	d->promised -= m->size - skip;
	d->totals.uploaded_bytes += m->size - skip;
	u->window = MIN_OF(u->window * 2, (uint64_t)BLOB_WINDOW_MAX);
	u->active_ms = d->s->now_ms;
	d->due = true;
	return ERR_OK;
}

enum err blob_end(struct conn *c, const struct msg_blob_end *m)
{
	struct upload *u = c->s->desk ? find(c->session, m->upload) : NULL;
	uint32_t id = m->upload;
	if (!u || u->over) {
		if (!m->abandon)
			say(c, &(struct msg_blob_state){ .upload = id, .code = ERR_NOT_FOUND, .text = span_str("BLOB_END.upload: there is none") });
		return ERR_OK;
	}
	u->desk->due = true;
	if (m->abandon) {
		end(u);
		return ERR_OK;
	}
	if (u->ended)
		return ERR_OK; /* said twice; it is answered when it is done */
	u->ended = true;
	u->said_size = m->size;
	if (u->stage == UPLOAD_DIRECT)
		u->offset = u->size;
	promise(u, u->offset);
	memcpy(u->said, m->digest.data, sizeof u->said);
	return ERR_OK;
}

/* ---- what was applied ---- */

void upload_applied(struct blob_desk *d, const struct blob_view *v, const struct applied *applied)
{
	struct upload *u = d->uploads;
	while (u && (u->number != v->fixed.number || u->stage != UPLOAD_ADDING))
		u = u->next;
	struct blob_key key = { .number = v->fixed.number };
	memcpy(key.digest, v->fixed.digest, sizeof key.digest);
	if (applied->affected == 0)
		remove_later(d, &key); /* the same content was there before */
	else if (v->fixed.unreferenced_ms != 0) { /* it takes the place of damaged bytes */
		key.number = v->fixed.unreferenced_ms;
		if (!blobs_by_number(tasks_blobs(d->s->tasks), key.number))
			remove_later(d, &key);
	}
	d->due = true;
	if (!u)
		return;
	u->stage = UPLOAD_STORED;
	const struct blob *b = blobs_find(tasks_blobs(d->s->tasks), v->vnet, v->fixed.digest);
	if (!u->over && b && conn_of(u))
		say_stored(conn_of(u), u->id, b);
	else if (!u->over && !b)
		fail(u, ERR_RESOURCE_EXHAUSTED, "there are %d blobs already", (int)BLOBS_MAX);
	end(u);
}

/* ---- sessions ---- */

void uploads_detached(struct session *session)
{
	for (struct upload *u = session->uploads, *next; u; u = next) {
		next = u->session_next;
		promise(u, u->offset);
		if (u->offset == 0 && u->stage == UPLOAD_OPEN)
			end(u); /* its client may not even know its number, and loses nothing */
	}
}

void uploads_ended(struct session *session)
{
	while (session->uploads)
		end(session->uploads);
}

void uploads_forget(struct blob_desk *d)
{
	while (d->uploads) {
		struct upload *u = d->uploads;
		u->over = true;
		u->hashing = u->job_busy = false;
		session_leave(u);
		upload_free(u);
	}
}
