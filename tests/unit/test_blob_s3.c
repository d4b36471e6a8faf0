/* tests/unit/test_blob_s3.c: blobs in S3, against a strict server of our own (tests/e2e/s3_server.py) and everything it can do wrong.
 * Exit 77 (skipped) where io_uring is not available. */
#include "s3_world.h"

#include "../../broker/backend.h"

#include <fcntl.h>
#include <sys/stat.h>

enum { PART = 512 << 10, PARTS_IN_MEMORY = 3, HANG_MS = 300, PAUSE_MS = 1000 };
#define SECRET "secret+/of_the_test"
#define DIGITS(x) #x
#define TEXT_OF(x) DIGITS(x)

static struct s3_server server;
static char dir[64], keys_path[96], endpoint[64];

static void write_keys(const char *id, const char *secret, const char *token)
{
	FILE *f = fopen(keys_path, "w");
	assert_non_null(f);
	(void)fprintf(f, "[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n", id, secret);
	if (token)
		(void)fprintf(f, "aws_session_token = %s\n", token);
	assert_int_equal(fclose(f), 0);
}

static struct blob_s3_config config_of(void)
{
	return (struct blob_s3_config){ .endpoint = endpoint, .region = "test-region-1", .bucket = "bucket", .prefix = "blobs & more/",
					.credentials = keys_path, .stall_ms = 60000, .tries = 2, .retry_ms = 20, .part_bytes = PART,
					.memory_bytes = PARTS_IN_MEMORY * PART };
}

static uint64_t store; /* whose blobs these are */

static void attach(struct blob_world *world, const struct blob_s3_config *config)
{
	char text[256] = "";
	if (blob_s3_open(world->io, config, &world->b, text) != 0 || blob_s3_start(world->b, store, text) != 0)
		fail_msg("%s", text);
}

static struct blob_world *world_of(const struct blob_s3_config *config)
{
	char text[256] = "";
	struct blob_world *world = calloc(1, sizeof *world);
	struct io_uring_config io = { .dir = dir, .conns_max = 2, .recv_buffers = 16, .recv_buffer_bytes = 1024 };
	assert_non_null(world);
	assert_int_equal(io_uring_open(&io, &world->io, text), 0);
	world->part = PART;
	world->number = 7ull << 32;
	if (config)
		attach(world, config);
	return world;
}

static void forget_world(struct blob_world *world)
{
	if (world->b)
		world->b->v->free(world->b);
	world->io->v->free(world->io);
	free(world);
}

static int setup(void **state)
{
	struct blob_s3_config config = config_of();
	write_keys("AKTEST", SECRET, NULL);
	store = 0xabcd;
	tell(&server, "reset", "");
	tell(&server, "keys", "{\"id\": \"AKTEST\", \"secret\": \"" SECRET "\", \"token\": \"\"}");
	*state = world_of(&config);
	return 0;
}

static int teardown(void **state)
{
	forget_world(*state);
	return 0;
}

/* ---- faults ---- */

enum verb { PUT, PUT_PARTS, OPEN, READ, LIST, REMOVE, CHECK };
struct fault {
	const char *json;
	enum verb verb;
	enum err want;
	const char *text; /* a part of what is said */
};

static const struct fault faults[] = {
	{ "{'mode': '403', 'method': 'PUT'}", PUT, ERR_SECURITY, "HTTP 403 AccessDenied" },
	{ "{'mode': '500', 'method': 'PUT'}", PUT, ERR_UNAVAILABLE, "HTTP 500 InternalError" },
	{ "{'mode': '503', 'method': 'PUT', 'after': 0}", PUT, ERR_UNAVAILABLE, "HTTP 503 SlowDown" },
	{ "{'mode': 'hang', 'method': 'PUT'}", PUT, ERR_TIMEOUT, "nothing moved for 300 ms" },
	{ "{'mode': 'drop', 'method': 'PUT'}", PUT, ERR_UNAVAILABLE, "PUT s3:bucket" },
	{ "{'mode': '403', 'sub': 'begin'}", PUT_PARTS, ERR_SECURITY, "HTTP 403 AccessDenied" },
	{ "{'mode': 'garbage', 'sub': 'begin'}", PUT_PARTS, ERR_INTERNAL, "no UploadId" },
	{ "{'mode': '400', 'code': 'InvalidRequest', 'sub': 'begin'}", PUT_PARTS, ERR_INTERNAL, "HTTP 400 InvalidRequest" },
	{ "{'mode': '400', 'code': 'ExpiredToken', 'sub': 'begin'}", PUT_PARTS, ERR_SECURITY, "HTTP 400 ExpiredToken" },
	{ "{'mode': '400', 'code': 'BadDigest', 'sub': 'part'}", PUT_PARTS, ERR_UNAVAILABLE, "HTTP 400 BadDigest" },
	{ "{'mode': '400', 'code': 'QuotaExceeded', 'sub': 'part'}", PUT_PARTS, ERR_RESOURCE_EXHAUSTED, "HTTP 400 QuotaExceeded" },
	{ "{'mode': '500', 'sub': 'part'}", PUT_PARTS, ERR_UNAVAILABLE, "HTTP 500 InternalError" },
	{ "{'mode': 'hang', 'sub': 'part'}", PUT_PARTS, ERR_TIMEOUT, "nothing moved" },
	{ "{'mode': 'etag', 'sub': 'part'}", PUT_PARTS, ERR_INTERNAL, "no ETag" },
	{ "{'mode': '503', 'sub': 'complete'}", PUT_PARTS, ERR_UNAVAILABLE, "was lost" },
	{ "{'mode': 'plain200', 'sub': 'complete'}", PUT_PARTS, ERR_UNAVAILABLE, "was lost" },
	{ "{'mode': '403', 'method': 'HEAD'}", OPEN, ERR_SECURITY, "HTTP 403" },
	{ "{'mode': '500', 'method': 'HEAD'}", OPEN, ERR_UNAVAILABLE, "HTTP 500" },
	{ "{'mode': 'hang', 'method': 'HEAD'}", OPEN, ERR_TIMEOUT, "nothing moved" },
	{ "{'mode': 'digest', 'method': 'HEAD'}", OPEN, ERR_DAMAGED, "says of itself that its digest is 0000000000000000" },
	{ "{'mode': 'short', 'method': 'HEAD'}", OPEN, ERR_DAMAGED, "bytes instead of" },
	{ "{'mode': 'long', 'method': 'HEAD'}", CHECK, ERR_DAMAGED, "bytes instead of" },
	{ "{'mode': '403', 'method': 'GET'}", READ, ERR_SECURITY, "HTTP 403 AccessDenied" },
	{ "{'mode': '500', 'method': 'GET'}", READ, ERR_UNAVAILABLE, "HTTP 500 InternalError" },
	{ "{'mode': 'hang', 'method': 'GET'}", READ, ERR_TIMEOUT, "nothing moved" },
	{ "{'mode': 'flip', 'method': 'GET'}", READ, ERR_DAMAGED, "not those of the digest" },
	{ "{'mode': 'short', 'method': 'GET'}", READ, ERR_DAMAGED, "bytes instead of" },
	{ "{'mode': 'long', 'method': 'GET'}", READ, ERR_DAMAGED, "bytes instead of" },
	{ "{'mode': 'cut', 'bytes': 0, 'method': 'GET'}", READ, ERR_UNAVAILABLE, "GET s3:bucket" },
	{ "{'mode': '403', 'method': 'GET'}", LIST, ERR_SECURITY, "GET s3:bucket: HTTP 403 AccessDenied" },
	{ "{'mode': '500', 'sub': 'uploads'}", LIST, ERR_UNAVAILABLE, "HTTP 500" },
	{ "{'mode': 'wrongxml', 'sub': 'list'}", LIST, ERR_UNAVAILABLE, "cannot be read" },
	{ "{'mode': '403', 'method': 'DELETE'}", REMOVE, ERR_SECURITY, "HTTP 403" },
	{ "{'mode': '503', 'method': 'DELETE'}", REMOVE, ERR_UNAVAILABLE, "HTTP 503" },
};

static void set_fault(const char *json)
{
	char text[256];
	(void)snprintf(text, sizeof text, "%s", json);
	for (char *c = text; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	tell(&server, "fault", text);
}

static enum err read_all(struct blob_world *world, struct blob_reader *r, uint64_t size, struct waited *j)
{
	static uint8_t bytes[LIMIT_BLOB_CHUNK];
	enum err e = ERR_OK;
	for (uint64_t at = 0; at < size && e == ERR_OK; at += LIMIT_BLOB_CHUNK) {
		world->b->v->read(r, job_of(j), at, bytes, sizeof bytes);
		e = wait_for(world, j);
	}
	return e;
}

/* Does it with the fault set; the blob `key` is there. */
static enum err meet(struct blob_world *world, enum verb verb, const struct blob_key *key, uint64_t size, const char *json,
		     struct waited *j)
{
	const struct blob_backend_v *v = world->b->v;
	struct blob_key next = key_of(++world->number, verb == PUT ? 1000 : 2 * PART + 5);
	struct blob_reader *r = NULL;
	struct listed *l = calloc(1, sizeof *l);
	enum err e = ERR_OK;
	assert_non_null(l);
	if (verb == READ)
		r = open_it(world, key, size);
	set_fault(json);
	switch (verb) {
	case PUT: e = try_put(world, &next, 1000, true, j); break;
	case PUT_PARTS: e = try_put(world, &next, 2 * PART + 5, true, j); break;
	case OPEN: v->open(world->b, job_of(j), key, size, &r); break;
	case READ: e = read_all(world, r, size, j); break;
	case LIST: v->list(world->b, job_of(j), on_each, l); break;
	case REMOVE: v->remove(world->b, job_of(j), key); break;
	case CHECK: v->check(world->b, job_of(j), key, size); break;
	}
	if (verb == OPEN || verb >= LIST)
		e = wait_for(world, j);
	set_fault("{}");
	if (r)
		v->close(r);
	free(l);
	return e;
}

/* The same; what hangs is met by a backend that is not patient. */
static enum err carry_out(struct blob_world *world, enum verb verb, const struct blob_key *key, uint64_t size, const char *json,
		     struct waited *j)
{
	struct blob_s3_config hasty = config_of();
	if (!strstr(json, "hang") && !strstr(json, "stall"))
		return meet(world, verb, key, size, json, j);
	hasty.stall_ms = HANG_MS;
	hasty.tries = strstr(json, "count") ? 10 : 2;
	struct blob_world *other = world_of(&hasty);
	other->number = world->number += 10;
	enum err e = meet(other, verb, key, size, json, j);
	if (e != ERR_OK)
		expect_left(other, 1);
	forget_world(other);
	return e;
}

static void test_every_fault_has_its_code_and_its_text(void **state)
{
	struct blob_world *world = *state;
	uint64_t size = LIMIT_BLOB_CHUNK + 1000;
	struct blob_key key = put(world, size, true);
	for (size_t i = 0; i < COUNT_OF(faults); i++) {
		const struct fault *f = &faults[i];
		struct waited j;
		enum err e = carry_out(world, f->verb, &key, size, f->json, &j);
		if (e != f->want || !strstr(j.job.text, f->text))
			fail_msg("%s: %s (%s)", f->json, err_name(e), j.job.text);
		assert_null(strstr(j.job.text, SECRET));
		/* What failed is over: the same goes well now, and a failed upload leaves nothing. */
		expect_whole(world, &key, size, LIMIT_BLOB_CHUNK);
		expect_left(world, 1);
	}
}

static void test_an_outage_that_ends_is_not_noticed(void **state)
{
	struct blob_world *world = *state;
	uint64_t size = 2 * PART;
	const char *const passing[] = {
		"{'mode': '400', 'code': 'ExpiredToken', 'count': 1}", "{'mode': '503', 'after': 0, 'count': 1}",
		"{'mode': 'drop', 'count': 1}", "{'mode': 'hang', 'count': 1}",
		"{'mode': 'cut', 'count': 1, 'bytes': 300000}", "{'mode': 'stall', 'count': 1, 'method': 'GET'}",
	};
	const enum verb verbs[] = { PUT, PUT_PARTS, OPEN, READ, LIST, CHECK };
	struct blob_key key = put(world, size, true);
	for (size_t i = 0; i < COUNT_OF(passing); i++) {
		for (size_t v = 0; v < COUNT_OF(verbs); v++) {
			struct waited j;
			bool of_bodies = i >= 4;
			if (of_bodies != (verbs[v] == READ) && i > 1)
				continue;
			enum err e = carry_out(world, verbs[v], &key, size, passing[i], &j);
			if (e != ERR_OK)
				fail_msg("%s: %s (%s)", passing[i], err_name(e), j.job.text);
		}
	}
	expect_whole(world, &key, size, LIMIT_BLOB_CHUNK);
}

static void test_answers_that_are_lost_leave_nothing_twice(void **state)
{
	struct blob_world *world = *state;
	uint64_t size = 2 * PART + 1;
	const char *const lost[] = { "{'mode': 'lost', 'count': 1, 'sub': 'object'}", "{'mode': 'lost', 'count': 1, 'sub': 'begin'}",
				     "{'mode': 'lost', 'count': 1, 'sub': 'complete'}" };
	for (size_t i = 0; i < COUNT_OF(lost); i++) {
		set_fault(lost[i]);
		struct blob_key key = put(world, i == 0 ? 1000 : size, true);
		set_fault("{}");
		expect_whole(world, &key, i == 0 ? 1000 : size, LIMIT_BLOB_CHUNK);
		remove_it(world, &key);
		expect_nothing_left(world); /* uploads are listed, too */
	}
}

static void test_figures_tell_an_outage(void **state)
{
	struct blob_world *world = *state;
	struct blob_backend_stats before, after;
	struct waited j;
	struct blob_key key = put(world, 3 * PART, true);
	world->b->v->stats(world->b, &before);
	assert_int_equal(before.requests_total, 5); /* begin, three parts, complete */
	assert_true(before.sent_bytes_total >= 3 * PART && before.failed_total == 0 && before.retries_total == 0);
	assert_int_equal(before.memory_bytes, 0);
	assert_int_equal(carry_out(world, CHECK, &key, 3 * PART, "{'mode': '500', 'method': 'HEAD'}", &j), ERR_UNAVAILABLE);
	expect_whole(world, &key, 3 * PART, LIMIT_BLOB_CHUNK);
	world->b->v->stats(world->b, &after);
	assert_int_equal(after.failed_total, 1);
	assert_int_equal(after.retries_total, 1);
	assert_true(after.received_bytes_total - before.received_bytes_total >= 3 * PART);
}

static void test_retry_after_is_honoured(void **state)
{
	struct blob_world *world = *state;
	struct waited j;
	struct blob_key key = put(world, 10, true);
	uint64_t before = io_now_ns(world->io);
	assert_int_equal(carry_out(world, OPEN, &key, 10, "{'mode': '503', 'after': 1, 'count': 1}", &j), ERR_OK);
	assert_true(io_now_ns(world->io) - before >= 1000000000u); /* the server's word, not a guess about speed */
}

/* ---- the bucket ---- */

static void test_a_sweep_ends_the_uploads_of_a_life_before(void **state)
{
	struct blob_world *world = *state;
	struct waited j;
	struct blob_s3_config config = config_of();
	struct blob_key key = key_of(++world->number, 10 * PART);
	struct blob_writer *w = world->b->v->create(world->b, key.number, 10 * PART, key.digest);
	assert_int_equal(write_some(world, w, key.number, 0, 3 * PART, LIMIT_BLOB_CHUNK, &j), ERR_OK);
	while (state_count(&server, "abcd/") == 0) /* until the upload has begun */
		(void)io_reap(world->io, io_now_ns(world->io) + 10000000);
	world->b->v->free(world->b); /* as a kill -9 would */
	attach(world, &config);
	struct blob_key kept = put(world, 100, true);
	struct listed *l = list_all(world);
	assert_int_equal(l->count, 2);
	for (uint32_t i = 0; i < l->count; i++) {
		struct blob_key found = { .number = l->numbers[i] };
		assert_true(l->numbers[i] == key.number || l->numbers[i] == kept.number);
		assert_int_equal(l->sizes[i], l->numbers[i] == key.number ? 0 : 100);
		if (l->numbers[i] == key.number)
			remove_it(world, &found);
	}
	free(l);
	assert_int_equal(count_all(world), 1);
	expect_whole(world, &kept, 100, 10);
}

/* Done in the bucket, but not told yet: whoever abandons then wants nothing of it. */
static void test_a_finish_that_nobody_waits_for_any_more_is_taken_back(void **state)
{
	struct blob_world *world = *state;
	struct waited j, finish;
	const uint64_t sizes[] = { 1000, 2 * PART + 1 };
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct blob_key key = key_of(++world->number, sizes[i]);
		struct blob_writer *w = world->b->v->create(world->b, key.number, sizes[i], key.digest);
		assert_int_equal(write_some(world, w, key.number, 0, sizes[i], LIMIT_BLOB_CHUNK, &j), ERR_OK);
		world->b->v->finish(w, job_of(&finish), key.digest);
		while (state_count(&server, "\"meta\": {}") > 0) /* without a reap */
			;
		world->b->v->abandon(w);
		assert_err(world, &finish, ERR_CANCELLED);
		expect_nothing_left(world);
	}
}

static void test_a_blob_that_is_on_its_way_is_removed_when_it_is_there_and_not_before(void **state)
{
	struct blob_world *world = *state;
	struct waited j, finish;
	struct blob_key key = key_of(++world->number, 1000);
	struct blob_writer *w = world->b->v->create(world->b, key.number, 1000, key.digest);
	assert_int_equal(write_some(world, w, key.number, 0, 1000, LIMIT_BLOB_CHUNK, &j), ERR_OK);
	set_fault("{'mode': 'held', 'method': 'PUT'}");
	world->b->v->finish(w, job_of(&finish), key.digest);
	while (state_count(&server, "\"PUT object\": 1") == 0)
		(void)io_reap(world->io, io_now_ns(world->io) + 10000000);
	world->b->v->abandon(w);
	assert_err(world, &finish, ERR_CANCELLED);
	assert_int_equal(count_all(world), 0);
	assert_int_equal(state_count(&server, "DELETE"), 0); /* it would have come before the list */
	set_fault("{}");
	while (state_count(&server, "\"DELETE object\": 1") == 0)
		(void)io_reap(world->io, io_now_ns(world->io) + 10000000);
	expect_nothing_left(world);
}

static void test_stores_that_share_a_bucket_do_not_see_each_other(void **state)
{
	struct blob_world *world = *state;
	struct blob_s3_config config = config_of();
	store++;
	struct blob_world *other = world_of(&config);
	struct blob_key mine = put(world, 10, true);
	assert_int_equal(count_all(other), 0);
	struct blob_key theirs = put(other, 20, true);
	assert_int_equal(mine.number, theirs.number);
	expect_whole(world, &mine, 10, 10);
	expect_whole(other, &theirs, 20, 20);
	remove_it(other, &theirs);
	expect_whole(world, &mine, 10, 10);
	forget_world(other);
}

static void test_the_bucket_may_be_in_the_name_of_the_host(void **state)
{
	struct blob_world *world = *state;
	struct blob_s3_config config = config_of();
	char url[64];
	(void)snprintf(url, sizeof url, "http://localhost:%u/", server.port);
	config.endpoint = url;
	config.virtual_host = true;
	struct blob_world *other = world_of(&config);
	other->number = world->number + 100;
	struct blob_key key = put(other, 3 * PART, true);
	expect_whole(world, &key, 3 * PART, LIMIT_BLOB_CHUNK); /* the same bucket */
	assert_int_equal(count_all(other), 1);
	remove_it(other, &key);
	assert_int_equal(count_all(world), 0);
	forget_world(other);
}

static void test_an_object_that_became_another_is_damage(void **state)
{
	struct blob_world *world = *state;
	struct waited j;
	static uint8_t bytes[1000];
	struct blob_key key = put(world, 3 * PART, true);
	struct blob_reader *r = open_it(world, &key, 3 * PART);
	expect_bytes(world, r, &key, 3 * PART, 0, 1000);
	struct blob_key again = key; /* no number is ever used twice; somebody else did this */
	assert_int_equal(try_put(world, &again, 3 * PART, false, &j), ERR_OK);
	expect_bytes(world, r, &key, 3 * PART, 1000, 1000); /* the same content: the same ETag */
	tell(&server, "spoil", "{\"key\": \"0000000700000001\"}");
	expect_bytes(world, r, &key, 3 * PART, 2000, 1000);
	world->b->v->close(r);
	r = open_it(world, &key, 3 * PART);
	assert_int_equal(read_all(world, r, 3 * PART, &j), ERR_DAMAGED);
	assert_non_null(strstr(j.job.text, "0000000700000001: the bytes are not those of the digest"));
	world->b->v->close(r);
	r = open_it(world, &key, 3 * PART);
	key.number++;
	assert_int_equal(try_put(world, &key, 5, true, &j), ERR_INTEGRITY_MISMATCH);
	tell(&server, "truncate", "{\"key\": \"0000000700000001\"}");
	world->b->v->read(r, job_of(&j), 0, bytes, sizeof bytes);
	assert_err(world, &j, ERR_DAMAGED);
	world->b->v->close(r);
}

static void test_announcements_are_held_to(void **state)
{
	struct blob_world *world = *state;
	struct waited j;
	struct blob_key key = key_of(++world->number, 10);
	static uint8_t bytes[11];
	for (int i = 0; i < 2; i++) {
		struct blob_writer *w = world->b->v->create(world->b, key.number, 10, key.digest);
		fill(bytes, 0, sizeof bytes, key.number);
		world->b->v->write(w, job_of(&j), span_of(bytes, i == 0 ? 11 : 9));
		enum err e = wait_for(world, &j);
		if (i == 1) {
			assert_int_equal(e, ERR_OK);
			world->b->v->finish(w, job_of(&j), key.digest);
			e = wait_for(world, &j);
		}
		assert_int_equal(e, ERR_INVALID_INPUT);
		world->b->v->abandon(w);
	}
	expect_nothing_left(world);
}

/* ---- memory, time ---- */

static void test_a_write_waits_until_there_is_memory(void **state)
{
	struct blob_world *world = *state;
	struct waited j, waiting;
	static uint8_t bytes[LIMIT_BLOB_CHUNK];
	uint64_t size = 6 * PART, first = PARTS_IN_MEMORY * PART;
	struct blob_key key = key_of(++world->number, size);
	struct blob_writer *w = world->b->v->create(world->b, key.number, size, key.digest);
	set_fault("{'mode': 'held', 'sub': 'part'}");
	assert_int_equal(write_some(world, w, key.number, 0, first, LIMIT_BLOB_CHUNK, &j), ERR_OK);
	fill(bytes, first, sizeof bytes, key.number);
	world->b->v->write(w, job_of(&waiting), span_of(bytes, sizeof bytes));
	while (state_count(&server, "\"PUT part\": 3") == 0) /* all that there is memory for is on its way */
		(void)io_reap(world->io, io_now_ns(world->io) + 10000000);
	(void)io_reap(world->io, 0);
	assert_false(waiting.done);
	set_fault("{}");
	assert_err(world, &waiting, ERR_OK);
	assert_int_equal(write_some(world, w, key.number, first + LIMIT_BLOB_CHUNK, size - first - LIMIT_BLOB_CHUNK,
				LIMIT_BLOB_CHUNK, &j), ERR_OK);
	world->b->v->finish(w, job_of(&j), key.digest);
	assert_err(world, &j, ERR_OK);
	expect_whole(world, &key, size, LIMIT_BLOB_CHUNK);
}

static void test_a_reader_may_pause_for_longer_than_a_stall(void **state)
{
	struct blob_world *world = *state;
	uint64_t size = 16 * PART; /* more than sockets hold */
	struct blob_s3_config config = config_of();
	config.stall_ms = PAUSE_MS;
	world->b->v->free(world->b);
	attach(world, &config);
	struct blob_key key = put(world, size, true);
	struct blob_reader *r = open_it(world, &key, size);
	expect_bytes(world, r, &key, size, 0, 100000);
	uint64_t until = io_now_ns(world->io) + (PAUSE_MS + 300) * 1000000ull;
	while (io_now_ns(world->io) < until)
		(void)io_reap(world->io, until);
	for (uint64_t at = 100000; at < size; at += LIMIT_BLOB_CHUNK)
		expect_bytes(world, r, &key, size, at, LIMIT_BLOB_CHUNK);
	world->b->v->close(r);
	assert_int_equal(state_count(&server, "\"GET object\": 1,") + state_count(&server, "\"GET object\": 1}"), 1);
}

/* ---- credentials ---- */

static void test_new_credentials_are_taken_from_the_file_after_a_refusal(void **state)
{
	struct blob_world *world = *state;
	struct waited j;
	struct blob_key key = put(world, 100, true);
	tell(&server, "keys", "{\"id\": \"AKNEW\", \"secret\": \"another\", \"token\": \"with/a+token=\"}");
	world->b->v->check(world->b, job_of(&j), &key, 100);
	assert_err(world, &j, ERR_SECURITY);
	write_keys("AKNEW", "another", "with/a+token=");
	expect_whole(world, &key, 100, 100);
	write_keys("AKNEW", "wrong", NULL);
	expect_whole(world, &key, 100, 100); /* those that are good stay in use */
	tell(&server, "keys", "{\"secret\": \"yet another\"}");
	world->b->v->check(world->b, job_of(&j), &key, 100);
	assert_err(world, &j, ERR_SECURITY);
	assert_int_equal(unlink(keys_path), 0);
	world->b->v->check(world->b, job_of(&j), &key, 100);
	assert_err(world, &j, ERR_SECURITY);
}

static char *path_of(const struct blob_world *world, const struct blob_key *key, bool put_it, char url[2048])
{
	assert_int_equal(world->b->v->presign(world->b, key, put_it, 60, url, 2048), ERR_OK);
	assert_int_equal(strncmp(url, endpoint, strlen(endpoint)), 0);
	return url + strlen(endpoint);
}

static void test_an_url_lets_its_holder_get_or_put_that_blob_alone(void **state)
{
	struct blob_world *world = *state;
	struct waited j;
	char url[2048], body[1001] = "";
	struct blob_key key = put(world, 1000, true), next = key_of(++world->number, 5);
	for (int token = 0; token < 2; token++) {
		char *answer = http_ask(&server, "GET", path_of(world, &key, false, url), "");
		fill((uint8_t *)body, 0, 1000, key.number);
		assert_non_null(strstr(answer, " 200 OK"));
		assert_memory_equal(strstr(answer, "\r\n\r\n") + 4, body, 1000);
		free(answer);
		/* Another verb, another blob: no. */
		answer = http_ask(&server, "PUT", path_of(world, &key, false, url), "other");
		assert_non_null(strstr(answer, "SignatureDoesNotMatch"));
		free(answer);
		char *path = path_of(world, &key, false, url), *number = strstr(path, "0000000700000001");
		assert_non_null(number);
		number[15] = '2';
		answer = http_ask(&server, "GET", path, "");
		assert_non_null(strstr(answer, "SignatureDoesNotMatch"));
		free(answer);
		answer = http_ask(&server, "PUT", path_of(world, &next, true, url), "hello");
		assert_non_null(strstr(answer, " 200 OK"));
		free(answer);
		world->b->v->check(world->b, job_of(&j), &next, 5);
		assert_err(world, &j, ERR_OK);
		tell(&server, "keys", "{\"token\": \"with/a+token=\"}");
		write_keys("AKTEST", SECRET, "with/a+token=");
		world->b->v->check(world->b, job_of(&j), &next, 5); /* 403, and the file again */
		assert_err(world, &j, ERR_OK);
	}
	assert_int_equal(world->b->v->presign(world->b, &key, false, 1, url, sizeof url), ERR_OK);
	for (bool ended = false; !ended;) { /* it does end */
		char *answer = http_ask(&server, "GET", url + strlen(endpoint), "");
		ended = strstr(answer, " 403 ") && strstr(answer, "too old");
		free(answer);
	}
	assert_int_equal(world->b->v->presign(world->b, &key, false, 60, url, 100), ERR_TOO_BIG);
	assert_int_equal(world->b->v->presign(world->b, &key, false, 0, url, sizeof url), ERR_INVALID_INPUT);
	assert_int_equal(world->b->v->presign(world->b, &key, false, 8 * 24 * 3600, url, sizeof url), ERR_INVALID_INPUT);
}

/* ---- settings ---- */

static void refuse(struct blob_world *world, const struct blob_s3_config *config, const char *why)
{
	char text[256] = "";
	struct blob_backend *b = NULL;
	assert_true(blob_s3_open(world->io, config, &b, text) < 0);
	if (!strstr(text, why))
		fail_msg("'%s' instead of '%s'", text, why);
	assert_null(strstr(text, "AKTEST"));
}

static void test_settings_that_cannot_be_are_refused_with_a_reason(void **state)
{
	struct blob_world *world = *state;
	struct blob_s3_config c = config_of();
	c.bucket = "no/such";
	refuse(world, &c, "bucket must have");
	c = config_of();
	c.prefix = "no-slash";
	refuse(world, &c, "prefix must end with a slash");
	c = config_of();
	c.endpoint = "ftp://x";
	refuse(world, &c, "endpoint must be");
	c.endpoint = "http://user:secret@host";
	refuse(world, &c, "endpoint must be");
	c = config_of();
	c.region = "a b";
	refuse(world, &c, "region");
	c = config_of();
	c.memory_bytes = PART - 1;
	refuse(world, &c, "room for one part");
	c = config_of();
	c.credentials = "/no/such/file";
	refuse(world, &c, "/no/such/file: No such file");
	c.credentials = "/";
	refuse(world, &c, "/: ");
	(void)unsetenv("AWS_ACCESS_KEY_ID");
	c.credentials = NULL;
	refuse(world, &c, "the environment (AWS_ACCESS_KEY_ID and so on): no aws_access_key_id");
	write_keys("AKTEST", "a b", NULL);
	c = config_of();
	refuse(world, &c, "line 3: the value is empty, too long or has a blank in it");
}

static void test_credentials_may_come_from_the_environment(void **state)
{
	struct blob_world *world = *state;
	struct blob_s3_config c = config_of();
	c.credentials = NULL;
	(void)setenv("AWS_ACCESS_KEY_ID", "AKTEST", 1);
	(void)setenv("AWS_SECRET_ACCESS_KEY", SECRET, 1);
	struct blob_world *other = world_of(&c);
	struct blob_key key = put(other, 10, true);
	expect_whole(world, &key, 10, 10);
	forget_world(other);
	(void)unsetenv("AWS_ACCESS_KEY_ID");
	(void)unsetenv("AWS_SECRET_ACCESS_KEY");
}

static void test_nobody_at_the_endpoint_is_unavailable(void **state)
{
	struct blob_world *world = *state;
	struct waited j;
	struct blob_s3_config c = config_of();
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0); /* bound and not listening: nobody else gets this port */
	char url[64];
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	(void)snprintf(url, sizeof url, "http://127.0.0.1:%u", ntohs(a.sin_port));
	c.endpoint = url;
	world->b->v->free(world->b);
	attach(world, &c);
	struct blob_key key = key_of(++world->number, 10);
	assert_int_equal(try_put(world, &key, 10, true, &j), ERR_UNAVAILABLE);
	assert_non_null(strstr(j.job.text, "127.0.0.1"));
	(void)close(fd);
}

static void test_over_tls_whoever_is_not_trusted_gets_nothing(void **state)
{
	struct blob_world *world = *state;
	struct s3_server tls;
	struct waited j;
	struct blob_s3_config c = config_of();
	char url[64];
	server_start(&tls, TEXT_OF(524288), "1000", true);
	(void)snprintf(url, sizeof url, "https://localhost:%u", tls.port);
	c.endpoint = url;
	world->b->v->free(world->b);
	attach(world, &c);
	struct blob_key key = key_of(++world->number, 10);
	assert_int_equal(try_put(world, &key, 10, true, &j), ERR_SECURITY);
	assert_non_null(strstr(j.job.text, "certificate"));
	world->b->v->free(world->b);
	c.ca_file = CERTS "/ca.pem";
	attach(world, &c);
	key = put(world, 2 * PART + 1, true);
	expect_whole(world, &key, 2 * PART + 1, LIMIT_BLOB_CHUNK);
	server_stop(&tls);
}

/* ---- behind the sandbox ---- */

enum { NO_LANDLOCK = 77 };
#define HOLDS(what) do { if (!(what)) { (void)fprintf(stderr, "line %d: %s: %s\n", __LINE__, #what, text); return 1; } } while (0)

static enum err wait_quietly(struct blob_world *world, struct waited *w)
{
	while (!w->done)
		(void)io_reap(world->io, UINT64_MAX);
	return w->code;
}

/* A broker's start in small: from settings to a blob, by a host's name, with credentials that change behind the sandbox. 0 = all held. */
static int confined(void)
{
	char text[256] = "", ports[64], set[CONFIG_TEXT], dirs[2][LIMIT_TEXT_BYTES];
	struct config c;
	struct sandbox_path paths[BACKEND_PATHS + 1] = { { dir, SANDBOX_WRITE } };
	struct waited j;
	struct blob_world *world = world_of(NULL);
	(void)snprintf(ports, sizeof ports, "http://localhost:%u", server.port);
	const char *const settings[][2] = { { "blob_backend", "s3" }, { "blob_s3_bucket", "bucket" }, { "blob_s3_endpoint", ports },
					    { "blob_s3_region", "test-region-1" }, { "blob_s3_credentials", keys_path } };
	config_init(&c);
	for (size_t i = 0; i < COUNT_OF(settings); i++)
		HOLDS(config_set(&c, settings[i][0], settings[i][1], true, set) == ERR_OK);
	HOLDS(backend_open(&c, world->io, &world->b, text) == ERR_OK);
	uint32_t count = 1 + backend_paths(&c, dirs, paths + 1);
	enum err e = sandbox_confine(paths, count, true, text);
	if (e == ERR_UNSUPPORTED)
		return NO_LANDLOCK;
	HOLDS(e == ERR_OK && backend_start(&c, world->b, 1, text) == ERR_OK);
	HOLDS(open("/etc/shadow", O_RDONLY) < 0 && open("/root", O_RDONLY) < 0);
	struct blob_key key = { .number = 1 };
	world->b->v->check(world->b, job_of(&j), &key, 1);
	HOLDS(wait_quietly(world, &j) == ERR_NOT_FOUND); /* it was asked, and has answered */
	tell(&server, "keys", "{\"id\": \"AKNEW\", \"secret\": \"another\"}");
	write_keys("AKNEW", "another", NULL);
	world->b->v->check(world->b, job_of(&j), &key, 1);
	HOLDS(wait_quietly(world, &j) == ERR_NOT_FOUND);
	forget_world(world);
	config_free(&c);
	return 0;
}

static void test_behind_the_sandbox_it_reaches_s3_and_reads_its_files(void **state)
{
	int status;
	struct blob_world *world = *state;
	forget_world(world); /* the child has a world of its own */
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(confined());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	*state = world_of(NULL);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_LANDLOCK)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	if (!blob_suite_has_ring())
		return 77;
	const struct CMUnitTest tests[] = {
		BLOB_SUITE(setup, teardown),
		WITH(test_every_fault_has_its_code_and_its_text),
		WITH(test_an_outage_that_ends_is_not_noticed),
		WITH(test_answers_that_are_lost_leave_nothing_twice),
		WITH(test_figures_tell_an_outage),
		WITH(test_retry_after_is_honoured),
		WITH(test_a_sweep_ends_the_uploads_of_a_life_before),
		WITH(test_a_finish_that_nobody_waits_for_any_more_is_taken_back),
		WITH(test_a_blob_that_is_on_its_way_is_removed_when_it_is_there_and_not_before),
		WITH(test_stores_that_share_a_bucket_do_not_see_each_other),
		WITH(test_the_bucket_may_be_in_the_name_of_the_host),
		WITH(test_an_object_that_became_another_is_damage),
		WITH(test_announcements_are_held_to),
		WITH(test_a_write_waits_until_there_is_memory),
		WITH(test_a_reader_may_pause_for_longer_than_a_stall),
		WITH(test_new_credentials_are_taken_from_the_file_after_a_refusal),
		WITH(test_an_url_lets_its_holder_get_or_put_that_blob_alone),
		WITH(test_settings_that_cannot_be_are_refused_with_a_reason),
		WITH(test_credentials_may_come_from_the_environment),
		WITH(test_nobody_at_the_endpoint_is_unavailable),
		WITH(test_behind_the_sandbox_it_reaches_s3_and_reads_its_files),
		WITH(test_over_tls_whoever_is_not_trusted_gets_nothing),
	};
	static const char *const proxies[] = { "http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY" };
	for (size_t i = 0; i < COUNT_OF(proxies); i++)
		(void)unsetenv(proxies[i]);
	(void)snprintf(dir, sizeof dir, "/tmp/hillock-s3-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	(void)snprintf(keys_path, sizeof keys_path, "%s/credentials", dir);
	server_start(&server, TEXT_OF(524288), "10", false);
	(void)snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u", server.port);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	server_stop(&server);
	(void)unlink(keys_path);
	(void)rmdir(dir);
	return failed;
}
