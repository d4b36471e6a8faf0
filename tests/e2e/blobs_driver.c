/* tests/e2e/blobs_driver.c: what the scenarios of blobs look at from inside a process.
 *
 *   blobs_driver URL submit TYPE COUNT SIZE     submits contents, and compares each result (a digest as text) with what it sent
 *   blobs_driver URL shelf TYPE                 holds structures of one type id in memory, and hands out handles to them
 *   blobs_driver URL call ADDRESS SCHEME KEY TYPE SIZE    one call with a reference; prints the outcome */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../clientlib/hillock.h"
#include "../../wire/base.h"

enum { WAIT_MS = 30000, SHELF_MAX = 16 };

static struct hlk *open_client(const char *url, const char *name)
{
	struct hlk *c = NULL;
	const struct hlk_options o = { .url = url, .name = name };
	ENSURE(hlk_open(&o, &c, NULL) == HLK_OK);
	ENSURE(hlk_ready_wait(c, WAIT_MS) == HLK_OK);
	return c;
}

/* ---- submit ---- */

struct sent { struct hlk_blob *blobs; uint64_t *tasks; uint32_t count, confirmed, results, wrong; };
struct one { struct sent *sent; uint32_t at; };

static void confirmed(struct hlk *c, const struct hlk_confirmed *k, void *ctx)
{
	struct one *one = ctx;
	(void)c;
	one->sent->confirmed++;
	one->sent->tasks[one->at] = k->task;
	if (k->code != HLK_OK) {
		(void)fprintf(stderr, "submission %u: %s\n", one->at, k->text);
		one->sent->wrong++;
		one->sent->results++;
	}
}

static void result(struct hlk *c, const struct hlk_result *r, void *ctx)
{
	struct sent *s = ctx;
	char text[HLK_DIGEST_TEXT];
	uint32_t at = 0;
	(void)c;
	s->results++;
	while (at < s->count && s->tasks[at] != r->task)
		at++;
	ENSURE(at < s->count);
	hlk_digest_print(s->blobs[at].digest, text);
	if (r->code == HLK_OK && r->size >= 64 && memcmp(r->data, text, 64) == 0)
		return;
	s->wrong++;
	(void)fprintf(stderr, "task %llu: %s %.*s\n", (unsigned long long)r->task, hlk_error_name(r->code), (int)r->size, (const char *)r->data);
}

static int submit(struct hlk *c, const char *type, uint32_t count, size_t size)
{
	const struct hlk_submit_options o = { .type = type, .want_result = true };
	struct hlk_head *head = hlk_head_new(&o, NULL);
	struct sent s = { .count = count, .blobs = calloc(count, sizeof *s.blobs), .tasks = calloc(count, sizeof *s.tasks) };
	struct one *ones = calloc(count, sizeof *ones);
	uint8_t *bytes = malloc(size);
	ENSURE(head && s.blobs && s.tasks && ones && bytes);
	hlk_on_result(c, result, &s);
	for (uint32_t i = 0; i < count; i++) {
		int code;
		for (size_t at = 0; at < size; at++)
			bytes[at] = (uint8_t)(at * (i + 3) + (at >> 8) * i + i);
		memcpy(bytes, &i, sizeof i);
		ENSURE(hlk_blob_name(&(struct hlk_blob_source){ .data = bytes, .size = size }, &s.blobs[i], NULL) == HLK_OK);
		ones[i] = (struct one){ &s, i };
		while ((code = hlk_submit(c, head, bytes, size, confirmed, &ones[i])) == HLK_AGAIN)
			(void)hlk_run(c, 100);
		ENSURE(code == HLK_OK);
	}
	while (s.results < count)
		(void)hlk_run(c, 1000);
	for (uint32_t i = 1; i < count; i++) /* the order of submissions is that of their ids */
		s.wrong += s.tasks[i] <= s.tasks[i - 1];
	hlk_head_free(head);
	hlk_close(c, WAIT_MS);
	free(s.blobs);
	free(s.tasks);
	free(ones);
	free(bytes);
	return s.wrong ? 1 : 0;
}

/* ---- shelf ---- */

struct shelf { char *items[SHELF_MAX]; uint32_t count, entry; uint64_t secret; char address[HLK_ADDRESS_BYTES]; };

/* The place of a handle of this very process, or NULL. */
static char **find(struct shelf *s, const char *key)
{
	unsigned long long secret = 0;
	unsigned at = 0;
	bool good = sscanf(key, "%llx.%u", &secret, &at) == 2 && secret == s->secret && at < s->count && s->items[at];
	return good ? &s->items[at] : NULL;
}

static void answer(struct hlk_call *call, const char *text)
{
	(void)hlk_answer(call, text, strlen(text));
}

static void on_call(struct hlk *c, struct hlk_call *call, void *ctx)
{
	const struct hlk_call_info *info = hlk_call_info(call);
	struct shelf *s = ctx;
	struct hlk_payload p;
	char text[512];
	ENSURE(hlk_payload_of(c, info->kind, info->payload, info->size, &p) == HLK_OK && p.kind == HLK_REFERENCE);
	const struct hlk_reference r = p.reference;
	if (strcmp(r.scheme, "put") == 0 && s->count < SHELF_MAX) {
		ENSURE(hlk_address(c, s->entry, s->address) == HLK_OK);
		s->items[s->count++] = strdup(r.key);
		(void)snprintf(text, sizeof text, "shelf:%s %llx.%u", s->address, (unsigned long long)s->secret, s->count - 1);
		answer(call, text);
	} else if (strcmp(r.scheme, "shelf") == 0 || strcmp(r.scheme, "collect") == 0) {
		char **item = find(s, r.key);
		if (!item) {
			(void)hlk_answer_error(call, HLK_NOT_FOUND, 0, "no such handle: its owner was restarted, or it was collected");
		} else if (r.scheme[0] == 's') {
			answer(call, *item);
		} else {
			free(*item);
			*item = NULL;
			answer(call, "collected");
		}
	} else {
		(void)snprintf(text, sizeof text, "opened %s:%s of %llu bytes, in a call of fewer than %d", r.scheme, r.key,
			       (unsigned long long)p.size, info->size < 1000 ? 1000 : -1);
		answer(call, text);
	}
}

static int shelf(struct hlk *c, const char *type)
{
	struct shelf s = { .count = 0 };
	const struct hlk_serve_options o = { .type = type, .call = on_call, .ctx = &s, .reference_type = type };
	FILE *random = fopen("/dev/urandom", "re");
	ENSURE(random && fread(&s.secret, sizeof s.secret, 1, random) == 1);
	(void)fclose(random);
	ENSURE(hlk_serve(c, &o, &s.entry) == HLK_OK && hlk_serve_wait(c, WAIT_MS) == HLK_OK);
	ENSURE(hlk_address(c, s.entry, s.address) == HLK_OK);
	(void)fprintf(stderr, "shelf at %s\n", s.address);
	for (;;)
		(void)hlk_run(c, 60000);
}

struct asked { bool done; };

static void told(struct hlk *c, const struct hlk_answer *a, void *ctx)
{
	struct asked *asked = ctx;
	(void)c;
	asked->done = !a->more;
	(void)printf("%s %.*s\n", hlk_error_name(a->code), (int)a->size, (const char *)a->data);
}

static int call(struct hlk *c, char **argv)
{
	struct asked asked = { false };
	const struct hlk_call_options o = { .address = argv[0], .type = argv[3] };
	const struct hlk_payload p = { .kind = HLK_REFERENCE, .reference = { .scheme = argv[1], .key = argv[2], .type = argv[3],
									     .size = strtoull(argv[4], NULL, 10) } };
	int code = hlk_call_payload(c, &o, &p, told, &asked, NULL);
	if (code != HLK_OK)
		(void)printf("%s %s\n", hlk_error_name(code), hlk_last_error(c)->text);
	while (code == HLK_OK && !asked.done)
		(void)hlk_run(c, 1000);
	hlk_close(c, WAIT_MS);
	return 0;
}

int main(int argc, char **argv)
{
	ENSURE(argc >= 4);
	struct hlk *c = open_client(argv[1], argv[2]);
	if (strcmp(argv[2], "submit") == 0 && argc == 6)
		return submit(c, argv[3], (uint32_t)strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10));
	if (strcmp(argv[2], "shelf") == 0)
		return shelf(c, argv[3]);
	ENSURE(strcmp(argv[2], "call") == 0 && argc == 8);
	return call(c, argv + 3);
}
