/* storage/blob_s3_write.c: blobs on their way to S3. In the flow: create, write, finish, abandon -> WRITE -> requests.
 *
 *   bytes -> part (room is reserved for all of it) -> full, and more to come: sealed -> PUT of the part -> ETag
 *   finish: one PUT where no part was sealed, else the last part, then the list of all
 *
 * 1. A part is begun only where memory_bytes has room for all of it, first come first served, so every part that was begun can be filled
 *    and sent: writers do not wait for each other in a circle.
 * 2. A write is done when its last byte is in a part. So a writer has at most one part that is not sealed.
 * 3. The first failure stays: it is the answer to every later job, until the writer is abandoned.
 * 4. A writer is freed here, but never before its owner has said, by S3_FORGET or S3_ABANDON, that it will not name it again.
 * 5. An abandoned writer is gone for its owner and stays here until what it began is taken back, as far as that can be done. */
#include "blob_s3_impl.h"

#include "xml.h"

enum { COMPLETES_MAX = 3 };

struct part {
	struct part *next;
	struct blob_writer *w;
	uint8_t *data;
	size_t cap, len;
	uint32_t number; /* from 1 */
	struct sha256 sha;
	uint8_t hash[SHA256_BYTES];
	struct s3_req req;
};

struct etag { char text[S3_ETAG]; };

struct blob_writer {
	struct s3 *s3;
	struct s3_task *owners;        /* the job under way, as its owner sees it; the helper does not look */
	struct blob_writer *next;      /* in s3->writers */
	struct blob_writer *room_next; /* in the line for memory */
	bool in_line, finishing, abandoned, beginning, put_sent, completing;
	bool landing;                  /* the request that makes the blob is under way */
	bool begun_twice;              /* there may be an upload that we do not know the name of */
	uint32_t completes;
	uint64_t number, size, written; /* size UINT64_MAX: not known */
	size_t part_bytes;
	bool has_digest;
	uint8_t digest[BLOB_DIGEST];
	struct s3_task *task;          /* the job under way */
	struct part *part;             /* that is being filled */
	struct part *sealed;           /* those that are not in S3 yet */
	uint32_t parts;
	struct etag *etags;            /* by part */
	uint32_t etags_cap;
	char upload[S3_UPLOAD_ID];     /* "" = none */
	struct s3_req req;             /* begin, put, complete, abort, remove */
	struct buf list;               /* body of the complete */
	enum err failed;
	char text[BLOB_JOB_TEXT];
};

static void go(struct blob_writer *w);

struct blob_writer *s3_writer_new(struct s3 *s3)
{
	struct blob_writer *w = calloc(1, sizeof *w);
	ENSURE(w != NULL);
	w->s3 = s3;
	return w;
}

struct s3 *s3_of_writer(struct blob_writer *w) { return w->s3; }
struct s3_task **s3_task_of_writer(struct blob_writer *w) { return &w->owners; }

/* ---- memory ---- */

static void serve_line(struct s3 *s3);

static size_t part_cap(const struct blob_writer *w)
{
	uint64_t left = w->size == UINT64_MAX ? UINT64_MAX : w->size - w->written;
	return (size_t)MIN_OF((uint64_t)w->part_bytes, left);
}

static bool part_new(struct blob_writer *w)
{
	struct s3 *s3 = w->s3;
	size_t cap = part_cap(w);
	if (atomic_load_explicit(&s3->memory, memory_order_relaxed) + cap > s3->c.memory_bytes)
		return false;
	struct part *p = calloc(1, sizeof *p);
	ENSURE(p != NULL);
	p->data = malloc(cap);
	ENSURE(p->data != NULL);
	p->cap = cap;
	p->w = w;
	sha256_begin(&p->sha);
	atomic_fetch_add_explicit(&s3->memory, cap, memory_order_relaxed);
	w->part = p;
	return true;
}

static void part_free(struct part *p)
{
	struct s3 *s3 = p->w->s3;
	s3_req_cancel(&p->req);
	s3_req_free(&p->req);
	atomic_fetch_sub_explicit(&s3->memory, p->cap, memory_order_relaxed);
	free(p->data);
	free(p);
}

static bool want_part(struct blob_writer *w)
{
	struct s3 *s3 = w->s3;
	if (w->in_line)
		return false;
	if (!s3->room_first && part_new(w))
		return true;
	w->in_line = true;
	w->room_next = NULL;
	if (s3->room_last)
		s3->room_last->room_next = w;
	else
		s3->room_first = w;
	s3->room_last = w;
	return false;
}

static void leave_line(struct blob_writer *w)
{
	struct s3 *s3 = w->s3;
	struct blob_writer **at = &s3->room_first, *before = NULL;
	if (!w->in_line)
		return;
	for (; *at != w; at = &(*at)->room_next)
		before = *at;
	*at = w->room_next;
	if (s3->room_last == w)
		s3->room_last = before;
	w->in_line = false;
}

static void serve_line(struct s3 *s3)
{
	struct blob_writer *w;
	while ((w = s3->room_first) != NULL && part_new(w)) {
		leave_line(w);
		go(w);
	}
}

/* ---- ends ---- */

static void answer(struct blob_writer *w, enum err code, const char *text)
{
	struct s3_task *t = w->task;
	w->task = NULL;
	if (t)
		s3_task_done(w->s3, t, code, text);
}

static void drop_parts(struct blob_writer *w)
{
	while (w->sealed) {
		struct part *p = w->sealed;
		w->sealed = p->next;
		part_free(p);
	}
	if (w->part)
		part_free(w->part);
	w->part = NULL;
	leave_line(w);
}

static void writer_free(struct blob_writer *w)
{
	struct blob_writer **at = &w->s3->writers;
	while (*at && *at != w)
		at = &(*at)->next;
	if (*at)
		*at = w->next;
	s3_req_cancel(&w->req);
	s3_req_free(&w->req);
	drop_parts(w);
	buf_free(&w->list);
	free(w->etags);
	free(w);
}

static void fail(struct blob_writer *w, enum err code, const char *text)
{
	if (w->failed == ERR_OK) {
		w->failed = code;
		(void)snprintf(w->text, sizeof w->text, "%s", text);
	}
	drop_parts(w);
	answer(w, w->failed, w->text);
	serve_line(w->s3);
}

static void request(struct blob_writer *w, struct s3_req *r, const char *method, void (*done)(struct s3_req *, enum err))
{
	ENSURE(r->state == S3_IDLE);
	buf_free(&r->reply);
	*r = (struct s3_req){ .s3 = w->s3, .method = method, .number = w->number, .owner = w, .done = done };
}

/* ---- taking back ---- */

static void taken_back(struct blob_writer *w)
{
	if (w->begun_twice)
		s3_tidy(w->s3, w->number);
	writer_free(w);
}

static void on_removed(struct s3_req *r, enum err code)
{
	(void)code; /* what could not be removed is found by a sweep */
	taken_back(r->owner);
}

static void on_aborted(struct s3_req *r, enum err code)
{
	struct blob_writer *w = r->owner;
	(void)code;
	w->upload[0] = '\0';
	if (!w->put_sent && !w->completing) {
		taken_back(w);
		return;
	}
	request(w, &w->req, "DELETE", on_removed);
	s3_req_start(&w->req);
}

static void take_back(struct blob_writer *w)
{
	if (w->beginning) /* what it begins, it will have to end */
		return;
	s3_req_cancel(&w->req);
	request(w, &w->req, "DELETE", on_aborted);
	if (!w->upload[0]) {
		on_aborted(&w->req, ERR_OK);
		return;
	}
	s3_query(&w->req, "uploadId", w->upload);
	s3_req_start(&w->req);
}

static void give_up(struct blob_writer *w)
{
	fail(w, ERR_CANCELLED, "the upload was abandoned");
	take_back(w);
}

/* No further try of what makes the blob, where nobody wants it any more. */
static bool still_wanted(struct s3_req *r)
{
	return !((struct blob_writer *)r->owner)->abandoned;
}

void s3_on_abandon(struct s3 *s3, struct s3_task *t)
{
	struct blob_writer *w = t->writer;
	(void)s3;
	free(t);
	w->abandoned = true;
	if (w->landing && w->req.state == S3_ACTIVE) /* what it makes is removed when it is there, for a removal might be faster */
		answer(w, ERR_CANCELLED, "the upload was abandoned");
	else
		give_up(w);
}

/* ---- multipart ---- */

static void try_complete(struct blob_writer *w);

static void on_part(struct s3_req *r, enum err code)
{
	struct part *p = r->owner, **at;
	struct blob_writer *w = p->w;
	if (code == ERR_OK && !r->etag[0]) {
		s3_req_text(r, "the answer has no ETag");
		code = ERR_INTERNAL;
	}
	if (code != ERR_OK) {
		char text[BLOB_JOB_TEXT];
		(void)snprintf(text, sizeof text, "%s", r->text);
		fail(w, code, text); /* frees the part */
		return;
	}
	memcpy(w->etags[p->number - 1].text, r->etag, sizeof r->etag);
	for (at = &w->sealed; *at != p; at = &(*at)->next)
		;
	*at = p->next;
	part_free(p);
	try_complete(w);
	serve_line(w->s3);
}

static void send_part(struct part *p)
{
	struct blob_writer *w = p->w;
	char number[12];
	request(w, &p->req, "PUT", on_part);
	p->req.owner = p;
	p->req.body = span_of(p->data, p->len);
	p->req.body_hash = p->hash;
	(void)snprintf(number, sizeof number, "%u", p->number);
	s3_query(&p->req, "partNumber", number);
	s3_query(&p->req, "uploadId", w->upload);
	s3_req_start(&p->req);
}

static bool upload_id_of(struct s3_req *r, char out[S3_UPLOAD_ID])
{
	struct xml x = xml_begin(buf_span(&r->reply));
	enum xml_event e;
	out[0] = '\0';
	while ((e = xml_next(&x)) == XML_OPEN || e == XML_CLOSE)
		if (e == XML_CLOSE && xml_is(x.name, "UploadId") && !xml_text(x.text, out, S3_UPLOAD_ID))
			return false;
	return e == XML_END && out[0];
}

static void on_begun(struct s3_req *r, enum err code)
{
	struct blob_writer *w = r->owner;
	w->beginning = false;
	w->begun_twice = r->uncertain;
	if (code == ERR_OK && !upload_id_of(r, w->upload)) {
		w->upload[0] = '\0';
		s3_req_text(r, "the answer has no UploadId");
		code = ERR_INTERNAL;
		w->begun_twice = true;
	}
	if (w->abandoned) {
		take_back(w);
		return;
	}
	if (code != ERR_OK) {
		fail(w, code, r->text);
		return;
	}
	for (struct part *p = w->sealed; p && w->failed == ERR_OK; p = p->next)
		send_part(p);
}

static void begin_upload(struct blob_writer *w)
{
	w->beginning = true;
	request(w, &w->req, "POST", on_begun);
	if (w->has_digest)
		hex_print(w->digest, sizeof w->digest, w->req.meta);
	s3_query(&w->req, "uploads", "");
	w->req.alone = true;
	s3_req_start(&w->req);
}

static void seal(struct blob_writer *w)
{
	struct part *p = w->part, **at = &w->sealed;
	w->part = NULL;
	p->number = ++w->parts;
	sha256_end(&p->sha, p->hash);
	if (w->parts > w->etags_cap) {
		w->etags_cap = MAX_OF(16u, w->etags_cap * 2);
		w->etags = realloc(w->etags, size_mul(w->etags_cap, sizeof *w->etags));
		ENSURE(w->etags != NULL);
	}
	while (*at)
		at = &(*at)->next;
	*at = p;
	if (w->parts == 1)
		begin_upload(w);
	else if (w->upload[0])
		send_part(p);
}

static void finished(struct blob_writer *w)
{
	struct s3 *s3 = w->s3;
	w->upload[0] = '\0';
	drop_parts(w);
	if (w->begun_twice)
		s3_tidy(s3, w->number);
	answer(w, ERR_OK, ""); /* the owner says then that the writer may go, or that all was in vain */
	serve_line(s3);
}

void s3_on_forget(struct s3 *s3, struct s3_task *t)
{
	(void)s3;
	writer_free(t->writer);
	free(t);
}

static void on_looked(struct s3_req *r, enum err code)
{
	struct blob_writer *w = r->owner;
	if (code == ERR_OK && r->length == (int64_t)w->written) {
		finished(w);
		return;
	}
	if (code == ERR_OK || code == ERR_NOT_FOUND)
		s3_req_text(r, "the upload of %u parts was lost", w->parts);
	fail(w, code == ERR_OK || code == ERR_NOT_FOUND ? ERR_UNAVAILABLE : code, r->text);
}

static void on_complete(struct s3_req *r, enum err code)
{
	struct blob_writer *w = r->owner;
	struct xml x = xml_begin(buf_span(&r->reply));
	/* It may say 200 long before it knows. */
	bool joined = code == ERR_OK && xml_next(&x) == XML_OPEN && xml_is(x.name, "CompleteMultipartUploadResult");
	w->landing = false;
	if (joined)
		w->upload[0] = '\0'; /* it is a blob now */
	if (w->abandoned) {
		give_up(w);
		return;
	}
	if (joined) {
		finished(w);
		return;
	}
	if (code == ERR_OK && ++w->completes < COMPLETES_MAX) {
		w->landing = true;
		s3_req_start(r);
		return;
	}
	if (code == ERR_OK) {
		s3_req_text(r, "200, but the parts were not joined");
		code = ERR_UNAVAILABLE;
	}
	if (!r->uncertain && code != ERR_NOT_FOUND && code != ERR_UNAVAILABLE && code != ERR_TIMEOUT) {
		fail(w, code, r->text);
		return;
	}
	/* It may have been joined all the same, by a try whose answer was lost. */
	request(w, &w->req, "HEAD", on_looked);
	s3_req_start(&w->req);
}

static void try_complete(struct blob_writer *w)
{
	char line[S3_ETAG * 6 + 96];
	if (!w->finishing || w->sealed || w->completing || w->failed != ERR_OK)
		return;
	w->completing = true;
	s3_append(&w->list, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
	for (uint32_t i = 0; i < w->parts; i++) {
		(void)snprintf(line, sizeof line, "<Part><PartNumber>%u</PartNumber><ETag>", i + 1);
		s3_append(&w->list, line);
		for (const char *c = w->etags[i].text; *c; c++) {
			(void)snprintf(line, sizeof line, strchr("<>&\"", *c) ? "&#%d;" : "%c", *c);
			s3_append(&w->list, line);
		}
		s3_append(&w->list, "</ETag></Part>");
	}
	s3_append(&w->list, "</CompleteMultipartUpload>");
	request(w, &w->req, "POST", on_complete);
	w->req.body = buf_span(&w->list);
	w->req.again = still_wanted;
	s3_query(&w->req, "uploadId", w->upload);
	w->landing = true;
	s3_req_start(&w->req);
}

/* ---- the whole in one ---- */

static void on_put(struct s3_req *r, enum err code)
{
	struct blob_writer *w = r->owner;
	w->landing = false;
	if (w->abandoned)
		give_up(w);
	else if (code == ERR_OK)
		finished(w);
	else
		fail(w, code, r->text);
}

static void put_whole(struct blob_writer *w)
{
	struct sha256 nothing;
	struct part *p = w->part;
	uint8_t hash[SHA256_BYTES];
	sha256_begin(&nothing);
	sha256_end(p ? &p->sha : &nothing, p ? p->hash : hash);
	if (memcmp(p ? p->hash : hash, w->digest, BLOB_DIGEST) != 0) {
		fail(w, ERR_INTEGRITY_MISMATCH, "the bytes that were written are not those of the digest");
		return;
	}
	w->put_sent = w->landing = true;
	request(w, &w->req, "PUT", on_put);
	w->req.again = still_wanted;
	if (p)
		w->req.body = span_of(p->data, p->len);
	w->req.body_hash = w->digest;
	hex_print(w->digest, BLOB_DIGEST, w->req.meta);
	s3_req_start(&w->req);
}

/* ---- jobs ---- */

/* Takes bytes of the job as far as there is room for them. */
static void go(struct blob_writer *w)
{
	struct s3_task *t = w->task;
	while (t && t->verb == S3_WRITE && t->bytes.len > 0) {
		if (w->part && w->part->len == w->part->cap) {
			if (w->parts + 1 >= S3_PARTS_MAX) {
				fail(w, ERR_RESOURCE_EXHAUSTED, "a blob of unknown size has more parts than S3 takes");
				return;
			}
			seal(w);
		}
		if (!w->part && !want_part(w))
			return;
		struct part *p = w->part;
		size_t n = MIN_OF(t->bytes.len, p->cap - p->len);
		memcpy(p->data + p->len, t->bytes.data, n);
		sha256_add(&p->sha, span_of(p->data + p->len, n));
		p->len += n;
		w->written += n;
		t->bytes = span_sub(t->bytes, n, t->bytes.len - n);
	}
	if (t && t->verb == S3_WRITE)
		answer(w, ERR_OK, "");
}

void s3_on_create(struct s3 *s3, struct s3_task *t)
{
	struct blob_writer *w = t->writer;
	uint64_t least = t->size == UINT64_MAX ? 0 : t->size / (S3_PARTS_MAX - 1) + 1;
	w->next = s3->writers;
	s3->writers = w;
	w->number = t->key.number;
	w->size = t->size;
	w->has_digest = t->has_digest;
	memcpy(w->digest, t->key.digest, BLOB_DIGEST);
	w->part_bytes = (size_t)MAX_OF((uint64_t)s3->c.part_bytes, align_up((size_t)least, 4096));
	if (w->part_bytes > s3->c.memory_bytes)
		fail(w, ERR_RESOURCE_EXHAUSTED, "10000 parts that fit into memory are less than this blob");
	free(t);
}

void s3_on_write(struct s3 *s3, struct s3_task *t)
{
	struct blob_writer *w = t->writer;
	(void)s3;
	ENSURE(!w->task && !w->finishing && !w->abandoned);
	w->task = t;
	if (w->failed == ERR_OK && w->size != UINT64_MAX && t->bytes.len > w->size - w->written)
		fail(w, ERR_INVALID_INPUT, "more bytes are written than were announced");
	else if (w->failed != ERR_OK)
		answer(w, w->failed, w->text);
	else
		go(w);
}

void s3_on_finish(struct s3 *s3, struct s3_task *t)
{
	struct blob_writer *w = t->writer;
	(void)s3;
	ENSURE(!w->task && !w->abandoned);
	w->task = t;
	if (w->failed == ERR_OK && w->size != UINT64_MAX && w->written != w->size)
		fail(w, ERR_INVALID_INPUT, "fewer bytes were written than were announced");
	else if (w->failed == ERR_OK && w->has_digest && memcmp(w->digest, t->key.digest, BLOB_DIGEST) != 0)
		fail(w, ERR_INTEGRITY_MISMATCH, "the digest is another one than was announced");
	else if (w->failed != ERR_OK)
		answer(w, w->failed, w->text);
	if (w->failed != ERR_OK)
		return;
	memcpy(w->digest, t->key.digest, BLOB_DIGEST);
	w->finishing = true;
	if (w->parts == 0) {
		put_whole(w);
		return;
	}
	if (w->part)
		seal(w);
	try_complete(w);
}

void s3_writers_free(struct s3 *s3)
{
	while (s3->writers) {
		free(s3->writers->task);
		writer_free(s3->writers);
	}
}
