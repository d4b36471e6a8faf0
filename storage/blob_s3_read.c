/* storage/blob_s3_read.c: blobs out of S3. In the flow: open, check -> HEAD; read -> READ -> one GET that goes on from read to read.
 *
 *   S3 -> libcurl -> sink -> the job's memory; the little that does not fit into it -> rest; no job: paused
 *
 * 1. A stream is one GET from where the first read began to the end of the blob. A read where the last one ended goes on with it, any
 *    other one begins another. Nothing is read ahead but what is on its way in sockets, and `rest`.
 * 2. A stream names the ETag of the open: bytes of two objects never mix, also over a cut and a GET that goes on from there.
 * 3. Bytes that were read in order from 0 to the end are hashed; the read that gets the last of them fails where the digest is another. */
#include "blob_s3_impl.h"

struct blob_reader {
	struct s3 *s3;
	struct blob_reader *next;
	struct blob_key key;
	uint64_t size;
	char etag[S3_ETAG];
	struct s3_task *task;   /* the job under way: open, check or read */
	struct s3_req req;      /* HEAD, then the stream */
	uint64_t at;            /* of the next byte from the stream */
	struct buf rest;        /* from rest_from on: came, and was not asked for yet */
	size_t rest_from;
	struct sha256 sha;
	uint64_t hashed;        /* bytes from 0 on that are in sha; UINT64_MAX: they were not read in order */
};

struct s3 *s3_of_reader(struct blob_reader *r) { return r->s3; }

static void reader_free(struct blob_reader *r)
{
	struct blob_reader **at = &r->s3->readers;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	s3_req_cancel(&r->req);
	s3_req_free(&r->req);
	buf_free(&r->rest);
	free(r);
}

static void answer(struct blob_reader *r, enum err code, const char *text)
{
	struct s3_task *t = r->task;
	r->task = NULL;
	s3_task_done(r->s3, t, code, text);
}

/* ---- open and check ---- */

static enum err judge_head(struct blob_reader *r)
{
	struct s3_req *q = &r->req;
	char hex[S3_HEX + 1];
	static const uint8_t none[BLOB_DIGEST];
	hex_print(r->key.digest, BLOB_DIGEST, hex);
	if (q->length < 0 || (uint64_t)q->length != r->size) {
		s3_req_text(q, "it has %lld bytes instead of %llu", (long long)q->length, (unsigned long long)r->size);
		return ERR_DAMAGED;
	}
	if (q->meta_got[0] && memcmp(r->key.digest, none, BLOB_DIGEST) != 0 && strcmp(q->meta_got, hex) != 0) {
		s3_req_text(q, "it says of itself that its digest is %.16s...", q->meta_got);
		return ERR_DAMAGED;
	}
	return ERR_OK;
}

static void on_head(struct s3_req *q, enum err code)
{
	struct blob_reader *r = q->owner;
	struct s3_task *t = r->task;
	if (code == ERR_OK)
		code = judge_head(r);
	if (t->verb == S3_OPEN && code == ERR_OK) {
		t->reader = r; /* the owner's from now on */
		memcpy(r->etag, q->etag, sizeof r->etag);
		answer(r, ERR_OK, "");
		return;
	}
	answer(r, code, q->text);
	reader_free(r);
}

void s3_on_open(struct s3 *s3, struct s3_task *t)
{
	struct blob_reader *r = calloc(1, sizeof *r);
	ENSURE(r != NULL);
	r->s3 = s3;
	r->next = s3->readers;
	s3->readers = r;
	r->key = t->key;
	r->size = t->size;
	r->task = t;
	r->req = (struct s3_req){ .s3 = s3, .method = "HEAD", .number = t->key.number, .owner = r, .done = on_head };
	s3_req_start(&r->req);
}

void s3_on_close(struct s3 *s3, struct s3_task *t)
{
	(void)s3;
	ENSURE(t->reader->task == NULL);
	reader_free(t->reader);
	free(t);
}

/* ---- the stream ---- */

static void hash(struct blob_reader *r, uint64_t at, struct span bytes)
{
	if (at == 0) {
		sha256_begin(&r->sha);
		r->hashed = 0;
	}
	if (r->hashed != at)
		return;
	sha256_add(&r->sha, bytes);
	r->hashed += bytes.len;
}

/* The job has all that it gets. */
static void job_full(struct blob_reader *r)
{
	struct s3_task *t = r->task;
	uint8_t digest[BLOB_DIGEST];
	if (t->offset + t->got < r->size || r->hashed != r->size) {
		answer(r, ERR_OK, "");
		return;
	}
	struct sha256 sha = r->sha; /* the end may be read twice */
	sha256_end(&sha, digest);
	if (memcmp(digest, r->key.digest, BLOB_DIGEST) == 0) {
		answer(r, ERR_OK, "");
		return;
	}
	s3_req_text(&r->req, "the bytes are not those of the digest");
	answer(r, ERR_DAMAGED, r->req.text);
}

/* Gives the job what it still takes of the bytes at its place; how many. */
static size_t feed(struct blob_reader *r, struct span bytes)
{
	struct s3_task *t = r->task;
	size_t n = t ? MIN_OF((size_t)(t->len - t->got), bytes.len) : 0;
	if (n == 0)
		return 0;
	memcpy(t->to + t->got, bytes.data, n);
	hash(r, t->offset + t->got, span_sub(bytes, 0, n));
	t->got += n;
	if (t->got == t->len)
		job_full(r);
	return n;
}

static bool stream_good(struct blob_reader *r)
{
	struct s3_req *q = &r->req;
	bool whole = q->status == 200 && q->from == 0;
	if (q->status != 206 && !whole)
		s3_req_text(q, "HTTP %ld instead of a range", q->status);
	else if (q->status == 206 && q->range_total >= 0 && (uint64_t)q->range_total != r->size)
		s3_req_text(q, "it has %lld bytes instead of %llu", (long long)q->range_total, (unsigned long long)r->size);
	else if (q->length >= 0 && (uint64_t)q->length != r->size - q->from)
		s3_req_text(q, "%lld bytes came for a range of %llu", (long long)q->length, (unsigned long long)(r->size - q->from));
	else
		return true;
	q->bad = ERR_DAMAGED;
	return false;
}

static size_t on_bytes(struct s3_req *q, const uint8_t *data, size_t n)
{
	struct blob_reader *r = q->owner;
	struct span bytes = span_of(data, n);
	if (r->at == q->from && !stream_good(r))
		return 0;
	if (n > r->size - r->at) {
		s3_req_text(q, "more bytes came than the blob has");
		q->bad = ERR_DAMAGED;
		return 0;
	}
	if (!r->task) /* so `rest` may be taken, and nothing is in between */
		return CURL_WRITEFUNC_PAUSE;
	ENSURE(r->rest_from == r->rest.len);
	size_t taken = feed(r, bytes);
	r->rest_from = r->rest.len = 0;
	buf_append(&r->rest, data + taken, n - taken);
	r->at += n;
	return n;
}

/* A cut stream goes on where it ended, if anybody still waits for it. */
static bool on_again(struct s3_req *q)
{
	struct blob_reader *r = q->owner;
	q->from = r->at;
	return r->task != NULL;
}

static void on_end(struct s3_req *q, enum err code)
{
	struct blob_reader *r = q->owner;
	if (!r->task)
		return;
	if (code == ERR_OK) {
		s3_req_text(q, "the answer ended after %llu of %llu bytes", (unsigned long long)r->at, (unsigned long long)r->size);
		code = ERR_DAMAGED;
	}
	answer(r, code, q->text);
}

static void begin_stream(struct blob_reader *r, uint64_t at)
{
	struct s3_req *q = &r->req;
	s3_req_cancel(q);
	buf_free(&q->reply);
	*q = (struct s3_req){ .s3 = r->s3, .method = "GET", .number = r->key.number, .stream = true, .ranged = true, .from = at,
			      .to = r->size - 1, .if_match = r->etag[0] ? r->etag : NULL, .owner = r, .done = on_end,
			      .sink = on_bytes, .again = on_again };
	r->at = at;
	r->rest_from = r->rest.len = 0;
	s3_req_start(q);
}

void s3_on_read(struct s3 *s3, struct s3_task *t)
{
	struct blob_reader *r = t->reader;
	(void)s3;
	ENSURE(!r->task);
	r->task = t;
	t->len = t->offset >= r->size ? 0 : (size_t)MIN_OF((uint64_t)t->len, r->size - t->offset);
	if (t->len == 0) {
		answer(r, ERR_OK, "");
		return;
	}
	size_t rest = r->rest.len - r->rest_from;
	bool goes_on = t->offset == r->at - rest && (r->req.state != S3_IDLE || rest > 0);
	if (!goes_on) {
		begin_stream(r, t->offset);
		return;
	}
	r->rest_from += feed(r, span_sub(buf_span(&r->rest), r->rest_from, rest));
	if (!r->task)
		return;
	if (r->req.state == S3_IDLE)
		begin_stream(r, r->at);
	else
		s3_req_resume(&r->req);
}

void s3_readers_free(struct s3 *s3)
{
	while (s3->readers) {
		free(s3->readers->task);
		reader_free(s3->readers);
	}
}
