/* storage/blob_s3_try.c: one try of a request, as a libcurl handle: made, signed, its answer taken in. In the flow: blob_s3_http.c ->
 * TRY -> S3 -> TRY -> reply or sink -> blob_s3_http.c.
 *
 * 1. Every try is a handle of its own; nothing of the one before is in it. Connections are shared by the multi handle.
 * 2. An answer that is not good (2xx) never gets to the sink. */
#include "blob_s3_impl.h"

#include <time.h>

enum { RETRY_AFTER_MAX_MS = 60000 };

/* ---- the answer ---- */

/* Of "name: value\r\n": the value where it is that name, else an empty span. */
static struct span header_value(struct span line, const char *name)
{
	size_t n = strlen(name);
	if (line.len <= n || strncasecmp((const char *)line.data, name, n) != 0)
		return span_of(NULL, 0);
	line = span_sub(line, n, line.len - n);
	while (line.len > 0 && (line.data[0] == ' ' || line.data[0] == '\t'))
		line = span_sub(line, 1, line.len - 1);
	while (line.len > 0 && line.data[line.len - 1] <= ' ')
		line.len--;
	return line;
}

static void header_text(struct span value, char *out, size_t room)
{
	if (value.len == 0)
		return;
	out[0] = '\0'; /* too long: none */
	if (value.len < room)
		(void)snprintf(out, room, "%.*s", (int)value.len, (const char *)value.data);
}

/* Digits alone, or -1. */
static int64_t header_number(struct span value)
{
	int64_t number = 0;
	for (size_t i = 0; i < value.len; i++) {
		if (value.data[i] < '0' || value.data[i] > '9' || number > INT64_MAX / 100)
			return -1;
		number = number * 10 + (value.data[i] - '0');
	}
	return value.len > 0 ? number : -1;
}

static void forget_outcome(struct s3_req *r)
{
	r->status = 0;
	r->reply.len = 0;
	r->etag[0] = r->meta_got[0] = r->code[0] = r->error[0] = '\0';
	r->length = r->range_total = -1;
	r->retry_after_ms = 0;
	r->bad = ERR_OK;
}

static size_t on_header(char *data, size_t size, size_t count, void *ctx)
{
	struct s3_req *r = ctx;
	struct span line = span_of(data, size * count), v;
	if (line.len >= 5 && memcmp(line.data, "HTTP/", 5) == 0)
		forget_outcome(r); /* behind a 100 Continue, say */
	header_text(header_value(line, "etag:"), r->etag, sizeof r->etag);
	header_text(header_value(line, "x-amz-meta-hillock-sha256:"), r->meta_got, sizeof r->meta_got);
	v = header_value(line, "content-length:");
	if (v.len > 0)
		r->length = header_number(v);
	v = header_value(line, "content-range:");
	if (v.len > 0) {
		const uint8_t *slash = memchr(v.data, '/', v.len);
		size_t at = slash ? (size_t)(slash - v.data) + 1 : v.len;
		r->range_total = header_number(span_sub(v, at, v.len - at));
	}
	v = header_value(line, "retry-after:");
	if (v.len > 0 && header_number(v) >= 0)
		r->retry_after_ms = MIN_OF((uint64_t)header_number(v) * 1000, (uint64_t)RETRY_AFTER_MAX_MS);
	return line.len;
}

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
	struct s3_req *r = ctx;
	size_t n = size * count;
	r->moved_ns = s3_now_ns();
	(void)curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &r->status);
	if (r->sink && r->status / 100 == 2) {
		size_t taken = r->sink(r, (const uint8_t *)data, n);
		r->paused = taken == CURL_WRITEFUNC_PAUSE;
		if (taken == n)
			r->tries = 0;
		return taken;
	}
	if (r->reply.len + n > S3_REPLY_MAX) {
		r->bad = ERR_INTERNAL;
		s3_req_text(r, "the answer is longer than %d bytes", (int)S3_REPLY_MAX);
		return 0;
	}
	buf_append(&r->reply, data, n);
	return n;
}

/* ---- the question ---- */

static size_t on_send(char *to, size_t size, size_t count, void *ctx)
{
	struct s3_req *r = ctx;
	size_t n = MIN_OF(size * count, r->body.len - r->body_sent);
	if (n > 0)
		memcpy(to, r->body.data + r->body_sent, n);
	r->body_sent += n;
	return n;
}

static int on_rewind(void *ctx, curl_off_t offset, int origin)
{
	struct s3_req *r = ctx;
	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > r->body.len)
		return CURL_SEEKFUNC_FAIL;
	r->body_sent = (size_t)offset;
	return CURL_SEEKFUNC_OK;
}

static int on_progress(void *ctx, curl_off_t down_all, curl_off_t down, curl_off_t up_all, curl_off_t up)
{
	struct s3_req *r = ctx;
	(void)down_all, (void)up_all;
	if (down + up != r->moved_bytes) {
		atomic_fetch_add_explicit(&r->s3->received, (uint64_t)(down - r->down), memory_order_relaxed);
		atomic_fetch_add_explicit(&r->s3->sent, (uint64_t)(up - r->up), memory_order_relaxed);
		r->down = down;
		r->up = up;
		r->moved_bytes = down + up;
		r->moved_ns = s3_now_ns();
	}
	return 0;
}

static void add_header(struct s3_req *r, const char *name, const char *value)
{
	struct buf line = { NULL, 0, 0 };
	s3_append(&line, name);
	s3_append(&line, value);
	buf_append(&line, "", 1);
	struct curl_slist *more = curl_slist_append(r->headers, (const char *)line.data);
	ENSURE(more != NULL);
	r->headers = more;
	explicit_bzero(line.data, line.len);
	buf_free(&line);
}

static void sign_request(struct s3_req *r, const char *path)
{
	struct s3 *s3 = r->s3;
	struct sha256 sha;
	uint8_t hash[SHA256_BYTES];
	char hex[S3_HEX + 1], date[17], range[64];
	struct buf authorization = { NULL, 0, 0 };
	struct s3_keys keys;
	sha256_begin(&sha);
	if (!r->body_hash) {
		sha256_add(&sha, r->body);
		sha256_end(&sha, hash);
	}
	hex_print(r->body_hash ? r->body_hash : hash, SHA256_BYTES, hex);
	(void)pthread_mutex_lock(&s3->lock);
	keys = s3->keys;
	(void)pthread_mutex_unlock(&s3->lock);
	const struct s3_signed what = { .method = r->method, .host = s3->host, .region = s3->c.region, .path = path, .query = r->query,
					.payload = hex, .meta = r->meta[0] ? r->meta : NULL, .now_s = (uint64_t)time(NULL) };
	s3_sign(&what, &keys, date, &authorization);
	add_header(r, "Host: ", s3->host);
	add_header(r, "x-amz-content-sha256: ", hex);
	add_header(r, "x-amz-date: ", date);
	if (r->meta[0])
		add_header(r, "x-amz-meta-hillock-sha256: ", r->meta);
	if (keys.token[0])
		add_header(r, "x-amz-security-token: ", keys.token);
	add_header(r, "Authorization: ", (const char *)authorization.data);
	if (r->ranged) {
		(void)snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)r->from, (unsigned long long)r->to);
		add_header(r, "Range: ", range);
	}
	if (r->if_match)
		add_header(r, "If-Match: ", r->if_match);
	add_header(r, "Content-Type:", ""); /* none */
	add_header(r, "Expect:", "");       /* a refusal comes soon enough, and some servers never answer it */
	s3_keys_forget(&keys);
	buf_free(&authorization);
}

static void set_method(struct s3_req *r)
{
	CURL *e = r->easy;
	curl_off_t len = (curl_off_t)r->body.len;
	if (strcmp(r->method, "HEAD") == 0) {
		(void)curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
	} else if (strcmp(r->method, "PUT") == 0) {
		(void)curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
		(void)curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, len);
	} else if (strcmp(r->method, "POST") == 0) {
		(void)curl_easy_setopt(e, CURLOPT_POST, 1L);
		(void)curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, len);
	} else if (strcmp(r->method, "GET") != 0) {
		(void)curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, r->method);
	}
	(void)curl_easy_setopt(e, CURLOPT_READFUNCTION, on_send);
	(void)curl_easy_setopt(e, CURLOPT_READDATA, r);
	(void)curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_rewind);
	(void)curl_easy_setopt(e, CURLOPT_SEEKDATA, r);
}

static void set_rules(struct s3_req *r)
{
	CURL *e = r->easy;
	const struct s3 *s3 = r->s3;
	(void)curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
	(void)curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, r->alone ? 1L : 0L);
	(void)curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)s3->c.connect_ms);
	(void)curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 64L << 10);
	(void)curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
	if (s3->c.ca_file) {
		(void)curl_easy_setopt(e, CURLOPT_CAINFO, s3->c.ca_file);
		(void)curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
	}
	(void)curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(e, CURLOPT_HEADERDATA, r);
	(void)curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(e, CURLOPT_WRITEDATA, r);
	(void)curl_easy_setopt(e, CURLOPT_XFERINFOFUNCTION, on_progress);
	(void)curl_easy_setopt(e, CURLOPT_XFERINFODATA, r);
	(void)curl_easy_setopt(e, CURLOPT_NOPROGRESS, 0L);
	(void)curl_easy_setopt(e, CURLOPT_ERRORBUFFER, r->error);
	(void)curl_easy_setopt(e, CURLOPT_PRIVATE, r);
}

void s3_try_begin(struct s3_req *r)
{
	struct s3 *s3 = r->s3;
	struct buf path = { NULL, 0, 0 }, url = { NULL, 0, 0 };
	forget_outcome(r);
	r->easy = curl_easy_init();
	ENSURE(r->easy != NULL);
	r->state = S3_ACTIVE;
	r->paused = false;
	r->body_sent = 0;
	r->moved_bytes = r->down = r->up = 0;
	r->moved_ns = s3_now_ns();
	r->next = s3->active;
	s3->active = r;
	s3->active_count += !r->stream;
	s3_target(s3, r->of_bucket, r->number, &path);
	sign_request(r, (const char *)path.data);
	s3_append(&url, s3->base);
	s3_append(&url, (const char *)path.data);
	s3_append(&url, r->query[0] ? "?" : "");
	buf_append(&url, r->query, strlen(r->query) + 1);
	(void)curl_easy_setopt(r->easy, CURLOPT_URL, (const char *)url.data);
	set_method(r);
	set_rules(r);
	(void)curl_easy_setopt(r->easy, CURLOPT_HTTPHEADER, r->headers);
	buf_free(&path);
	buf_free(&url);
	ENSURE(curl_multi_add_handle(s3->multi, r->easy) == CURLM_OK);
}

void s3_try_end(struct s3_req *r)
{
	struct s3 *s3 = r->s3;
	struct s3_req **at = &s3->active;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	s3->active_count -= !r->stream;
	(void)curl_multi_remove_handle(s3->multi, r->easy);
	curl_easy_cleanup(r->easy);
	r->easy = NULL;
	for (struct curl_slist *h = r->headers; h; h = h->next)
		explicit_bzero(h->data, strlen(h->data));
	curl_slist_free_all(r->headers);
	r->headers = NULL;
	r->state = S3_IDLE;
}
