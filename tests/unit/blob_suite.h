/* tests/unit/blob_suite.h: what every blob backend must do, whatever it is. test_blob_NAME.c gives it a backend and runs these. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../storage/blob.h"
#include "../../wire/sha256.h"
#include "../../wire/limits.h"

enum { SUITE_WAIT_S = 60, SUITE_LIST = 4096 };

struct blob_world {
	struct io *io;
	struct blob_backend *b;
	size_t part;      /* a size around which things change */
	uint64_t number;  /* the last one used */
	void *more;       /* the program's */
};

/* ---- jobs, waited for ---- */

struct waited {
	struct blob_job job;
	bool done;
	enum err code;
};

static void on_waited(struct blob_job *job, enum err code)
{
	struct waited *w = job->ctx;
	assert_false(w->done); /* exactly once */
	w->done = true;
	w->code = code;
}

static struct blob_job *job_of(struct waited *w)
{
	*w = (struct waited){ .job = { .done = on_waited, .ctx = w } };
	return &w->job;
}

static enum err wait_for(struct blob_world *world, struct waited *w)
{
	uint64_t limit = io_now_ns(world->io) + SUITE_WAIT_S * 1000000000ull;
	while (!w->done && io_now_ns(world->io) < limit)
		(void)io_reap(world->io, limit);
	assert_true(w->done);
	return w->code;
}

#define assert_err(world, w, want)                                                                                       \
	do {                                                                                                             \
		enum err code_ = wait_for(world, w);                                                                     \
		if (code_ != (want))                                                                                     \
			fail_msg("%s instead of %s: %s", err_name(code_), err_name(want), (w)->job.text);                \
	} while (0)

/* ---- contents ---- */

/* Every place has a byte of its own kind, so that nothing can be out of place unseen. */
static void fill(uint8_t *to, uint64_t from, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t at = from + i, word = (at / 8 + seed) * 0x9e3779b97f4a7c15u;
		to[i] = (uint8_t)(word >> (at % 8 * 8));
	}
}

static struct blob_key key_of(uint64_t number, uint64_t size)
{
	struct blob_key key = { .number = number };
	struct sha256 sha;
	uint8_t piece[65536];
	sha256_begin(&sha);
	for (uint64_t at = 0; at < size; at += sizeof piece) {
		size_t n = (size_t)MIN_OF(size - at, (uint64_t)sizeof piece);
		fill(piece, at, n, number);
		sha256_add(&sha, span_of(piece, n));
	}
	sha256_end(&sha, key.digest);
	return key;
}

/* Writes `size` bytes of the blob `number` in chunks. The first code that was not OK. */
static enum err write_some(struct blob_world *world, struct blob_writer *w, uint64_t number, uint64_t from, uint64_t size, size_t chunk,
			   struct waited *j)
{
	uint8_t *bytes = malloc(chunk);
	enum err e = ERR_OK;
	assert_non_null(bytes);
	for (uint64_t at = from; at < from + size && e == ERR_OK; at += chunk) {
		size_t n = (size_t)MIN_OF(from + size - at, (uint64_t)chunk);
		fill(bytes, at, n, number);
		world->b->v->write(w, job_of(j), span_of(bytes, n));
		e = wait_for(world, j);
	}
	free(bytes);
	return e;
}

static enum err try_put(struct blob_world *world, const struct blob_key *key, uint64_t size, bool announced, struct waited *j)
{
	const struct blob_backend_v *v = world->b->v;
	struct blob_writer *w = v->create(world->b, key->number, announced ? size : UINT64_MAX, announced ? key->digest : NULL);
	enum err e = write_some(world, w, key->number, 0, size, LIMIT_BLOB_CHUNK, j);
	if (e == ERR_OK) {
		v->finish(w, job_of(j), key->digest);
		e = wait_for(world, j);
	}
	if (e != ERR_OK)
		v->abandon(w);
	return e;
}

static struct blob_key put(struct blob_world *world, uint64_t size, bool announced)
{
	struct waited j;
	struct blob_key key = key_of(++world->number, size);
	enum err e = try_put(world, &key, size, announced, &j);
	if (e != ERR_OK)
		fail_msg("put of %llu bytes: %s: %s", (unsigned long long)size, err_name(e), j.job.text);
	return key;
}

static struct blob_reader *open_it(struct blob_world *world, const struct blob_key *key, uint64_t size)
{
	struct waited j;
	struct blob_reader *r = NULL;
	world->b->v->open(world->b, job_of(&j), key, size, &r);
	assert_err(world, &j, ERR_OK);
	assert_non_null(r);
	return r;
}

/* Reads [from, from + len) with one job and compares. */
static void expect_bytes(struct blob_world *world, struct blob_reader *r, const struct blob_key *key, uint64_t size, uint64_t from,
			 size_t len)
{
	struct waited j;
	uint8_t *got = malloc(len + 1), *want = malloc(len + 1);
	size_t n = from >= size ? 0 : (size_t)MIN_OF(size - from, (uint64_t)len);
	assert_true(got != NULL && want != NULL);
	world->b->v->read(r, job_of(&j), from, got, len);
	assert_err(world, &j, ERR_OK);
	assert_int_equal(j.job.got, n);
	fill(want, from, n, key->number);
	assert_int_equal(memcmp(got, want, n), 0);
	free(got);
	free(want);
}

static void expect_whole(struct blob_world *world, const struct blob_key *key, uint64_t size, size_t chunk)
{
	struct blob_reader *r = open_it(world, key, size);
	for (uint64_t at = 0; at < size; at += chunk)
		expect_bytes(world, r, key, size, at, chunk);
	expect_bytes(world, r, key, size, size, chunk); /* nothing */
	world->b->v->close(r);
}

static void remove_it(struct blob_world *world, const struct blob_key *key)
{
	struct waited j;
	world->b->v->remove(world->b, job_of(&j), key);
	assert_err(world, &j, ERR_OK);
}

/* ---- lists ---- */

struct listed { uint32_t count; uint64_t numbers[SUITE_LIST], sizes[SUITE_LIST]; };

static void on_each(void *ctx, const struct blob_key *key, uint64_t size)
{
	struct listed *l = ctx;
	assert_true(l->count < SUITE_LIST);
	l->numbers[l->count] = key->number;
	l->sizes[l->count++] = size;
}

static struct listed *list_all(struct blob_world *world)
{
	struct waited j;
	struct listed *l = calloc(1, sizeof *l);
	assert_non_null(l);
	world->b->v->list(world->b, job_of(&j), on_each, l);
	assert_err(world, &j, ERR_OK);
	return l;
}

static uint32_t count_all(struct blob_world *world)
{
	struct listed *l = list_all(world);
	uint32_t count = l->count;
	free(l);
	return count;
}

/* What is done behind the caller's back, as an abandoned writer is, ends some turns later. */
static void expect_left(struct blob_world *world, uint32_t count)
{
	uint64_t limit = io_now_ns(world->io) + SUITE_WAIT_S * 1000000000ull;
	while (count_all(world) != count)
		assert_true(io_now_ns(world->io) < limit);
}

static void expect_nothing_left(struct blob_world *world) { expect_left(world, 0); }

/* ---- the tests ---- */

static void test_blobs_of_all_sizes_come_back_whole(void **state)
{
	struct blob_world *world = *state;
	const uint64_t sizes[] = { 0, 1, 4095, 4096, LIMIT_BLOB_CHUNK - 1, LIMIT_BLOB_CHUNK, LIMIT_BLOB_CHUNK + 1,
				  world->part - 1, world->part, world->part + 1,
				   2 * world->part, 3 * world->part + 12345 };
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		for (int announced = 0; announced < 2; announced++) {
			struct blob_key key = put(world, sizes[i], announced);
			expect_whole(world, &key, sizes[i], LIMIT_BLOB_CHUNK);
			remove_it(world, &key);
		}
	}
	expect_nothing_left(world);
}

static void test_any_part_of_a_blob_can_be_read(void **state)
{
	struct blob_world *world = *state;
	uint64_t size = 2 * world->part + 777;
	struct blob_key key = put(world, size, true);
	struct blob_reader *r = open_it(world, &key, size);
	const uint64_t places[] = { world->part - 3, 0, 5, size - 1, size - 100, world->part, world->part, size + 5, 1 };
	for (size_t i = 0; i < COUNT_OF(places); i++)
		expect_bytes(world, r, &key, size, places[i], 1000);
	expect_bytes(world, r, &key, size, 1001, 1); /* on from where the last one ended, in small steps */
	expect_bytes(world, r, &key, size, 1002, 70000);
	expect_bytes(world, r, &key, size, 71002, 3);
	world->b->v->close(r);
	remove_it(world, &key);
}

static void test_what_is_not_there_is_not_found(void **state)
{
	struct blob_world *world = *state;
	struct blob_key key = key_of(++world->number, 10);
	struct blob_reader *r = NULL;
	struct waited j;
	world->b->v->open(world->b, job_of(&j), &key, 10, &r);
	assert_err(world, &j, ERR_NOT_FOUND);
	assert_true(j.job.text[0] != '\0');
	world->b->v->check(world->b, job_of(&j), &key, 10);
	assert_err(world, &j, ERR_NOT_FOUND);
	remove_it(world, &key);
}

static void test_another_size_than_that_of_the_index_is_damage(void **state)
{
	struct blob_world *world = *state;
	struct blob_key key = put(world, 5000, true);
	struct blob_reader *r = NULL;
	struct waited j;
	world->b->v->open(world->b, job_of(&j), &key, 5001, &r);
	assert_err(world, &j, ERR_DAMAGED);
	assert_true(j.job.text[0] != '\0');
	world->b->v->check(world->b, job_of(&j), &key, 4999);
	assert_err(world, &j, ERR_DAMAGED);
	world->b->v->check(world->b, job_of(&j), &key, 5000);
	assert_err(world, &j, ERR_OK);
	remove_it(world, &key);
}

static void test_an_abandoned_writer_leaves_nothing_at_whatever_moment(void **state)
{
	struct blob_world *world = *state;
	const struct blob_backend_v *v = world->b->v;
	const uint64_t sizes[] = { 0, 100, LIMIT_BLOB_CHUNK, world->part, 2 * world->part + LIMIT_BLOB_CHUNK };
	static uint8_t bytes[LIMIT_BLOB_CHUNK];
	for (size_t i = 0; i < COUNT_OF(sizes) * 3; i++) {
		struct waited j, finish;
		uint64_t size = sizes[i / 3];
		struct blob_key key = key_of(++world->number, size);
		struct blob_writer *w = v->create(world->b, key.number, UINT64_MAX, NULL);
		assert_int_equal(write_some(world, w, key.number, 0, size, LIMIT_BLOB_CHUNK, &j), ERR_OK);
		if (i % 3 == 1)
			v->write(w, job_of(&j), span_of(bytes, sizeof bytes));
		if (i % 3 == 2)
			v->finish(w, job_of(&finish), key.digest);
		v->abandon(w);
		/* Whatever became of the job, it is done. */
		if (i % 3 == 1)
			(void)wait_for(world, &j);
		if (i % 3 == 2 && wait_for(world, &finish) == ERR_OK)
			fail_msg("a finish that was abandoned before it was done said OK");
	}
	expect_nothing_left(world);
}

static void remove_each(void *ctx, const struct blob_key *key, uint64_t size)
{
	struct blob_world *world = ctx;
	struct waited *j = calloc(1, sizeof *j);
	(void)size;
	assert_non_null(j);
	world->b->v->remove(world->b, job_of(j), key);
	((struct waited **)world->more)[world->number++] = j;
}

static void test_a_list_names_everything_and_may_remove_it(void **state)
{
	struct blob_world *world = *state;
	enum { BLOBS = 25 };
	uint64_t first = world->number + 1;
	for (int i = 0; i < BLOBS; i++)
		(void)put(world, (uint64_t)i * 100, true);
	struct listed *l = list_all(world);
	bool seen[BLOBS] = { false };
	assert_int_equal(l->count, BLOBS);
	for (uint32_t i = 0; i < l->count; i++) {
		uint64_t at = l->numbers[i] - first;
		assert_true(at < BLOBS && !seen[at]);
		seen[at] = true;
		assert_int_equal(l->sizes[i], at * 100);
	}
	free(l);
	struct waited *jobs[BLOBS + 1] = { NULL }, j;
	struct blob_world other = { .io = world->io, .b = world->b, .more = jobs };
	world->b->v->list(world->b, job_of(&j), remove_each, &other);
	assert_err(world, &j, ERR_OK);
	assert_int_equal(other.number, BLOBS);
	for (int i = 0; i < BLOBS; i++) {
		assert_err(world, jobs[i], ERR_OK);
		free(jobs[i]);
	}
	assert_int_equal(count_all(world), 0);
}

static void test_many_writers_and_readers_take_turns(void **state)
{
	enum { SIDES = 12 };
	struct blob_world *world = *state;
	const struct blob_backend_v *v = world->b->v;
	struct blob_writer *writers[SIDES];
	struct blob_key keys[SIDES];
	struct waited jobs[SIDES], j;
	uint8_t *bytes = malloc(SIDES * (size_t)LIMIT_BLOB_CHUNK);
	uint64_t size = 2 * world->part + 3;
	assert_non_null(bytes);
	for (int i = 0; i < SIDES; i++) {
		keys[i] = key_of(++world->number, size);
		writers[i] = v->create(world->b, keys[i].number, size, keys[i].digest);
	}
	/* Every writer has a write under way while the others have theirs; what one waits for, none of the others keeps for ever. */
	uint64_t at[SIDES] = { 0 };
	for (int left = SIDES; left > 0;) {
		for (int i = 0; i < SIDES; i++) {
			size_t n = (size_t)MIN_OF(size - at[i], (uint64_t)LIMIT_BLOB_CHUNK);
			uint8_t *mine = bytes + (size_t)i * LIMIT_BLOB_CHUNK;
			if (!writers[i] || (at[i] > 0 && !jobs[i].done))
				continue;
			if (at[i] > 0)
				assert_err(world, &jobs[i], ERR_OK);
			if (at[i] == size) {
				v->finish(writers[i], job_of(&j), keys[i].digest);
				assert_err(world, &j, ERR_OK);
				writers[i] = NULL;
				left--;
				continue;
			}
			fill(mine, at[i], n, keys[i].number);
			v->write(writers[i], job_of(&jobs[i]), span_of(mine, n));
			at[i] += n;
		}
		(void)io_reap(world->io, io_now_ns(world->io) + 10000000);
	}
	struct blob_reader *readers[SIDES];
	for (int i = 0; i < SIDES; i++)
		readers[i] = open_it(world, &keys[i], size);
	for (uint64_t from = 0; from < size; from += LIMIT_BLOB_CHUNK)
		for (int i = 0; i < SIDES; i++)
			expect_bytes(world, readers[i], &keys[i], size, from, LIMIT_BLOB_CHUNK);
	for (int i = 0; i < SIDES; i++) {
		v->close(readers[i]);
		remove_it(world, &keys[i]);
	}
	free(bytes);
	expect_nothing_left(world);
}

static void test_a_backend_can_be_freed_with_everything_under_way(void **state)
{
	struct blob_world *world = *state;
	const struct blob_backend_v *v = world->b->v;
	static uint8_t bytes[LIMIT_BLOB_CHUNK];
	static struct waited jobs[5]; /* never done; outlive the backend */
	struct blob_reader *r = NULL;
	struct blob_key key = put(world, 3000, true);
	struct blob_writer *w = v->create(world->b, ++world->number, UINT64_MAX, NULL);
	struct blob_reader *open = open_it(world, &key, 3000);
	v->write(w, job_of(&jobs[0]), span_of(bytes, sizeof bytes));
	v->open(world->b, job_of(&jobs[1]), &key, 3000, &r);
	v->remove(world->b, job_of(&jobs[2]), &key);
	v->read(open, job_of(&jobs[3]), 0, bytes, sizeof bytes);
	v->free(world->b);
	world->b = NULL;
	(void)io_reap(world->io, 0);
	for (int i = 0; i < 4; i++)
		assert_false(jobs[i].done);
}

/* Is there a ring here? Else says why not: the program is skipped (77). */
static inline bool blob_suite_has_ring(void)
{
	char text[256];
	struct io *io = NULL;
	struct io_uring_config config = { .dir = "/tmp", .conns_max = 1, .recv_buffers = 2, .recv_buffer_bytes = 512 };
	if (io_uring_open(&config, &io, text) != 0) {
		(void)fprintf(stderr, "skipped: %s\n", text);
		return false;
	}
	io->v->free(io);
	return true;
}

#define BLOB_SUITE(setup, teardown)                                                                                   \
	cmocka_unit_test_setup_teardown(test_blobs_of_all_sizes_come_back_whole, setup, teardown),                    \
	cmocka_unit_test_setup_teardown(test_any_part_of_a_blob_can_be_read, setup, teardown),                        \
	cmocka_unit_test_setup_teardown(test_what_is_not_there_is_not_found, setup, teardown),                        \
	cmocka_unit_test_setup_teardown(test_another_size_than_that_of_the_index_is_damage, setup, teardown),         \
	cmocka_unit_test_setup_teardown(test_an_abandoned_writer_leaves_nothing_at_whatever_moment, setup, teardown), \
	cmocka_unit_test_setup_teardown(test_a_list_names_everything_and_may_remove_it, setup, teardown),             \
	cmocka_unit_test_setup_teardown(test_many_writers_and_readers_take_turns, setup, teardown),                   \
	cmocka_unit_test_setup_teardown(test_a_backend_can_be_freed_with_everything_under_way, setup, teardown)
