/* storage/blob_s3_http.c: requests: begun, watched, tried again, classified. In the flow: writers, readers, lists -> HTTP -> S3.
 *
 * 1. done() is called once for each s3_req_start, from s3_http_turn, and never for what was cancelled.
 * 2. A try that moves nothing for stall_ms is over. One that is paused by us is not looked at. */
#include "blob_s3_impl.h"

#include <stdarg.h>
#include <time.h>

#include "xml.h"

enum { BACKOFF_MAX_MS = 20000, POLL_MAX_MS = 10000 };
#define MS 1000000ull

uint64_t s3_now_ns(void)
{
	struct timespec t;
	ENSURE(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void s3_req_text(struct s3_req *r, const char *format, ...)
{
	char what[BLOB_JOB_TEXT];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(what, sizeof what, format, args);
	va_end(args);
	if (r->of_bucket)
		(void)snprintf(r->text, sizeof r->text, "%s s3:%.40s: %.100s", r->method, r->s3->c.bucket, what);
	else
		(void)snprintf(r->text, sizeof r->text, "%s s3:%.40s %016llx: %.80s", r->method, r->s3->c.bucket, (unsigned long long)r->number, what);
}

/* ---- waiting and starting ---- */

static void wait_until(struct s3_req *r, uint64_t due_ns)
{
	struct s3 *s3 = r->s3;
	r->state = S3_WAITING;
	r->due_ns = due_ns;
	r->next = NULL;
	*s3->waiting_end = r;
	s3->waiting_end = &r->next;
}

static void wait_no_more(struct s3_req *r)
{
	struct s3 *s3 = r->s3;
	struct s3_req **at = &s3->waiting;
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	if (s3->waiting_end == &r->next)
		s3->waiting_end = at;
	r->state = S3_IDLE;
}

void s3_req_start(struct s3_req *r)
{
	ENSURE(r->state == S3_IDLE && r->method && r->done);
	r->tries = 0;
	r->keys_renewed = r->uncertain = false;
	r->text[0] = '\0';
	atomic_fetch_add_explicit(&r->s3->requests, 1, memory_order_relaxed);
	wait_until(r, 0);
}

void s3_req_cancel(struct s3_req *r)
{
	if (r->state == S3_WAITING)
		wait_no_more(r);
	else if (r->state == S3_ACTIVE)
		s3_try_end(r);
}

void s3_req_free(struct s3_req *r)
{
	ENSURE(r->state == S3_IDLE);
	buf_free(&r->reply);
}

void s3_req_resume(struct s3_req *r)
{
	ENSURE(r->state == S3_ACTIVE);
	if (!r->paused)
		return;
	r->paused = false;
	r->moved_ns = s3_now_ns();
	(void)curl_easy_pause(r->easy, CURLPAUSE_CONT);
}

/* ---- what came of it ---- */

static void read_code(struct s3_req *r)
{
	struct xml x = xml_begin(buf_span(&r->reply));
	enum xml_event e;
	char code[S3_CODE];
	while ((e = xml_next(&x)) == XML_OPEN || e == XML_CLOSE) {
		if (e != XML_CLOSE || !xml_is(x.name, "Code") || !xml_text(x.text, code, sizeof code))
			continue;
		size_t n = strspn(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
		if (code[n] == '\0')
			(void)snprintf(r->code, sizeof r->code, "%s", code);
		return;
	}
}

struct verdict { enum err code; bool again; };

static bool code_is(const struct s3_req *r, const char *code)
{
	return strcmp(r->code, code) == 0;
}

static struct verdict judge_status(struct s3_req *r)
{
	read_code(r);
	s3_req_text(r, "HTTP %ld%s%s%s", r->status, r->code[0] ? " " : "", r->code,
		    r->tries > 0 ? ", each time" : "");
	if (r->status == 507 || code_is(r, "QuotaExceeded") || code_is(r, "EntityTooLarge") || code_is(r, "InsufficientCapacity"))
		return (struct verdict){ ERR_RESOURCE_EXHAUSTED, false };
	if (r->status >= 500 || r->status == 429 || r->status == 408 || code_is(r, "RequestTimeout") || code_is(r, "SlowDown") ||
	    code_is(r, "OperationAborted"))
		return (struct verdict){ ERR_UNAVAILABLE, true };
	/* The bytes went wrong on their way there. */
	if (code_is(r, "BadDigest") || code_is(r, "XAmzContentSHA256Mismatch") || code_is(r, "IncompleteBody"))
		return (struct verdict){ ERR_UNAVAILABLE, true };
	/* Temporary credentials that have run out are a 400, and the answer to a HEAD does not say of which kind. */
	if (r->status == 400 && (code_is(r, "ExpiredToken") || code_is(r, "InvalidToken") || strcmp(r->method, "HEAD") == 0))
		return (struct verdict){ ERR_SECURITY, false };
	switch (r->status) {
	case 401:
	case 403:
		return (struct verdict){ ERR_SECURITY, false };
	case 404:
		return (struct verdict){ ERR_NOT_FOUND, false };
	case 412: /* another object than the one that was opened */
	case 416: /* shorter */
		return (struct verdict){ ERR_DAMAGED, false };
	default:
		return (struct verdict){ ERR_INTERNAL, false };
	}
}

static struct verdict judge(struct s3_req *r, CURLcode res, bool stalled)
{
	if (r->bad != ERR_OK)
		return (struct verdict){ r->bad, false };
	if (stalled) {
		s3_req_text(r, "nothing moved for %u ms", r->s3->c.stall_ms);
		return (struct verdict){ ERR_TIMEOUT, true };
	}
	if (res == CURLE_OK)
		return r->status / 100 == 2 ? (struct verdict){ ERR_OK, false } : judge_status(r);
	s3_req_text(r, "%s", r->error[0] ? r->error : curl_easy_strerror(res));
	/* Whoever answers is not who should. */
	bool stranger = res == CURLE_PEER_FAILED_VERIFICATION || res == CURLE_SSL_CACERT_BADFILE;
	return (struct verdict){ stranger ? ERR_SECURITY : res == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT : ERR_UNAVAILABLE, !stranger };
}

/* Doubles with every failure, and no two wait equally long. */
static uint64_t backoff_ns(struct s3_req *r)
{
	struct s3 *s3 = r->s3;
	uint64_t ms = MIN_OF((uint64_t)s3->c.retry_ms << MIN_OF(r->tries, 16u), (uint64_t)BACKOFF_MAX_MS);
	s3->jitter = s3->jitter * 6364136223846793005u + 1442695040888963407u;
	ms = ms / 2 + (s3->jitter >> 33) % (ms / 2 + 1);
	return MAX_OF(ms, r->retry_after_ms) * MS;
}

static bool renew_keys(struct s3_req *r)
{
	char text[256];
	if (r->keys_renewed)
		return false;
	r->keys_renewed = true;
	return s3_keys_load(r->s3, text) == 0;
}

static void over(struct s3_req *r, CURLcode res, bool stalled)
{
	(void)curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &r->status);
	struct verdict v = judge(r, res, stalled);
	s3_try_end(r);
	r->uncertain |= v.code != ERR_OK && (r->status < 300 || r->status >= 500);
	if (v.code == ERR_SECURITY && r->status >= 400 && renew_keys(r)) {
		wait_until(r, 0);
		return;
	}
	if (v.again && r->tries + 1 < r->s3->c.tries && (!r->again || r->again(r))) {
		uint64_t pause = backoff_ns(r);
		r->tries++;
		atomic_fetch_add_explicit(&r->s3->retries, 1, memory_order_relaxed);
		wait_until(r, s3_now_ns() + pause);
		return;
	}
	if (v.code != ERR_OK && v.code != ERR_NOT_FOUND)
		atomic_fetch_add_explicit(&r->s3->failed, 1, memory_order_relaxed);
	r->done(r, v.code);
}

static void start_due(struct s3 *s3, uint64_t now)
{
	struct s3_req *r = s3->waiting, *next;
	for (; r; r = next) {
		next = r->next;
		if (r->due_ns > now || (!r->stream && s3->active_count >= S3_ACTIVE_MAX))
			continue;
		wait_no_more(r);
		s3_try_begin(r);
	}
}

static void end_stalled(struct s3 *s3, uint64_t now)
{
	for (struct s3_req *r = s3->active; r; r = r->next) {
		if (r->paused || now < r->moved_ns + s3->c.stall_ms * MS)
			continue;
		over(r, CURLE_OK, true);
		return; /* the list is another one now: the rest in the next turn */
	}
}

static int idle_ms(const struct s3 *s3, uint64_t now)
{
	uint64_t next = now + POLL_MAX_MS * MS;
	for (const struct s3_req *r = s3->waiting; r; r = r->next)
		if (r->stream || s3->active_count < S3_ACTIVE_MAX)
			next = MIN_OF(next, r->due_ns);
	for (const struct s3_req *r = s3->active; r; r = r->next)
		if (!r->paused)
			next = MIN_OF(next, r->moved_ns + s3->c.stall_ms * MS);
	return next > now ? (int)((next - now + MS - 1) / MS) : 0;
}

int s3_http_turn(struct s3 *s3)
{
	int left;
	CURLMsg *m;
	start_due(s3, s3_now_ns());
	ENSURE(curl_multi_perform(s3->multi, &left) == CURLM_OK);
	while ((m = curl_multi_info_read(s3->multi, &left)) != NULL) {
		struct s3_req *r = NULL;
		CURLcode res = m->data.result;
		ENSURE(m->msg == CURLMSG_DONE && curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &r) == CURLE_OK);
		over(r, res, false);
	}
	end_stalled(s3, s3_now_ns());
	return idle_ms(s3, s3_now_ns());
}
