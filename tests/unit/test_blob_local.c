/* tests/unit/test_blob_local.c: blobs as files, in the simulated world: what is done is there and whole after any failure and any
 * crash, and what is not leaves nothing that a sweep does not find. */
#include "../../storage/blob_local_impl.h"
#include "../../wire/limits.h"
#include "../../wire/sha256.h"
#include "../sim/io_sim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { BLOBS = 4, PART = 5000 };

/* ---- a world with one backend, whose node may die after a given call ---- */

struct world {
	struct sim *sim;
	struct io *io;
	struct blob_backend *b;
	const struct io_vtable *real;
	struct io_vtable v;
	uint64_t calls, crash_at;
	enum sim_crash_pattern pattern;
};

static struct world *gate; /* calls have no other way to it */

static void passed(void)
{
	if (gate->calls++ == gate->crash_at && !sim_dead(gate->sim, 0))
		sim_crash(gate->sim, 0, gate->pattern);
}

static void gate_submit(struct io *io, struct io_op *op) { gate->real->submit(io, op); passed(); }
#define GATE(ret, name, params, ...) \
	static ret gate_##name params { ret res = gate->real->name(__VA_ARGS__); passed(); return res; }
GATE(int, open, (struct io *io, const char *name, unsigned flags), io, name, flags)
GATE(int, rename, (struct io *io, const char *from, const char *to), io, from, to)
GATE(int, mkdir, (struct io *io, const char *name), io, name)
GATE(int, sync_dir, (struct io *io), io)
GATE(uint32_t, reap, (struct io *io, uint64_t deadline), io, deadline)

static void world_open(struct world *w, uint64_t seed)
{
	*w = (struct world){ .sim = sim_new(seed), .crash_at = UINT64_MAX };
	gate = w;
	w->io = sim_node_io(w->sim, 0);
	w->real = w->io->v;
	w->v = *w->real;
	w->v.submit = gate_submit;
	w->v.open = gate_open;
	w->v.rename = gate_rename;
	w->v.mkdir = gate_mkdir;
	w->v.sync_dir = gate_sync_dir;
	w->v.reap = gate_reap;
	w->io->v = &w->v;
}

static int backend_open(struct world *w)
{
	char text[256];
	int err = blob_local_open(w->io, &w->b, text);
	if (err == 0)
		local_of(w->b)->window = PART; /* so that small blobs are written back as large ones are */
	return err;
}

static void backend_close(struct world *w)
{
	if (w->b)
		w->b->v->free(w->b);
	w->b = NULL;
}

static void world_free(struct world *w)
{
	backend_close(w);
	w->io->v->free(w->io);
	sim_free(w->sim);
}

static void world_restart(struct world *w)
{
	sim_fail_none(w->sim);
	if (!sim_dead(w->sim, 0))
		sim_crash(w->sim, 0, w->pattern);
	w->crash_at = UINT64_MAX;
	backend_close(w);
	w->io->v->free(w->io);
	w->io = sim_restart(w->sim, 0);
}

/* ---- jobs, waited for ---- */

struct wait {
	struct blob_job job; /* first */
	bool done;
	enum err code;
};

static void wait_done(struct blob_job *job, enum err code)
{
	struct wait *wait = (struct wait *)(void *)job;
	assert_false(wait->done); /* exactly once */
	wait->done = true;
	wait->code = code;
	assert_true(code == ERR_OK || job->text[0]);
}

static struct wait waiting(void) { return (struct wait){ .job.done = wait_done }; }

static enum err wait_for(struct world *w, struct wait *wait)
{
	assert_false(wait->done); /* never from inside the call */
	while (!wait->done)
		(void)io_reap(w->io, UINT64_MAX);
	return wait->code;
}

struct blob {
	struct blob_key key;
	uint8_t data[4 * PART];
	size_t len;
};

/* Two of them in one directory. */
static void blob_make(struct blob *b, unsigned i)
{
	static const size_t lens[BLOBS] = { 4 * PART - 7, 100, 0, 3 * PART };
	b->len = lens[i % BLOBS];
	b->key.number = 0x100000000ull + i;
	for (size_t n = 0; n < b->len; n++)
		b->data[n] = (uint8_t)(n * 7 + i * 13 + n / 512);
	struct sha256 s;
	sha256_begin(&s);
	sha256_add(&s, span_of(b->data, b->len));
	sha256_end(&s, b->key.digest);
	b->key.digest[0] = (uint8_t)(i / 2);
}

static enum err put(struct world *w, const struct blob *b)
{
	struct blob_writer *bw = w->b->v->create(w->b, b->key.number, UINT64_MAX, NULL);
	enum err e = ERR_OK;
	for (size_t at = 0; at < b->len && e == ERR_OK; at += PART) {
		struct wait wait = waiting();
		w->b->v->write(bw, &wait.job, span_of(b->data + at, MIN_OF(b->len - at, (size_t)PART)));
		e = wait_for(w, &wait);
	}
	if (e == ERR_OK) {
		struct wait wait = waiting();
		w->b->v->finish(bw, &wait.job, b->key.digest);
		e = wait_for(w, &wait);
	}
	if (e != ERR_OK)
		w->b->v->abandon(bw);
	return e;
}

/* Reads it in pieces and compares. */
static enum err get(struct world *w, const struct blob *b)
{
	struct blob_reader *r = NULL;
	struct wait wait = waiting();
	w->b->v->open(w->b, &wait.job, &b->key, b->len, &r);
	enum err e = wait_for(w, &wait);
	if (e != ERR_OK)
		return e;
	assert_true(w->b->v->file(r) >= 0);
	for (uint64_t at = 0; e == ERR_OK;) {
		uint8_t part[3000];
		wait = waiting();
		w->b->v->read(r, &wait.job, at, part, sizeof part);
		e = wait_for(w, &wait);
		if (e != ERR_OK)
			break;
		assert_int_equal(wait.job.got, MIN_OF((uint64_t)sizeof part, b->len - at));
		assert_memory_equal(part, b->data + at, wait.job.got);
		at += wait.job.got;
		if (wait.job.got < sizeof part)
			break;
	}
	w->b->v->close(r);
	return e;
}

static enum err drop(struct world *w, const struct blob_key *key)
{
	struct wait wait = waiting();
	w->b->v->remove(w->b, &wait.job, key);
	return wait_for(w, &wait);
}

struct found {
	struct blob_key keys[32];
	uint64_t sizes[32];
	size_t count;
};

static void each(void *ctx, const struct blob_key *key, uint64_t size)
{
	struct found *f = ctx;
	assert_true(f->count < COUNT_OF(f->keys));
	f->keys[f->count] = *key;
	f->sizes[f->count++] = size;
}

static enum err list_all(struct world *w, struct found *f)
{
	struct wait wait = waiting();
	f->count = 0;
	w->b->v->list(w->b, &wait.job, each, f);
	return wait_for(w, &wait);
}

/* ---- the plain cases ---- */

static void test_what_is_written_is_read_listed_and_removed(void **state)
{
	(void)state;
	struct world w;
	struct found f;
	struct blob *b = calloc(BLOBS, sizeof *b);
	world_open(&w, 1);
	sim_short_io(w.sim, 300);
	assert_int_equal(backend_open(&w), 0);
	for (unsigned i = 0; i < BLOBS; i++) {
		blob_make(&b[i], i);
		assert_int_equal(put(&w, &b[i]), ERR_OK);
	}
	assert_true(sim_calls_of(w.sim, SIM_WRITEBACK) > 0);
	assert_int_equal(list_all(&w, &f), ERR_OK);
	assert_int_equal(f.count, BLOBS);
	for (unsigned i = 0; i < BLOBS; i++) {
		struct wait wait = waiting();
		assert_int_equal(get(&w, &b[i]), ERR_OK);
		w.b->v->check(w.b, &wait.job, &b[i].key, b[i].len);
		assert_int_equal(wait_for(&w, &wait), ERR_OK);
		wait = waiting();
		w.b->v->check(w.b, &wait.job, &b[i].key, b[i].len + 1);
		assert_int_equal(wait_for(&w, &wait), ERR_DAMAGED);
		assert_int_equal(drop(&w, &b[i].key), ERR_OK);
		assert_int_equal(drop(&w, &b[i].key), ERR_OK); /* also what is not there */
		assert_int_equal(get(&w, &b[i]), ERR_NOT_FOUND);
	}
	assert_int_equal(list_all(&w, &f), ERR_OK);
	assert_int_equal(f.count, 0);
	char url[10];
	assert_int_equal(w.b->v->presign(w.b, &b[0].key, false, 1, url, sizeof url), ERR_UNSUPPORTED);
	assert_true(w.b->v->room(w.b) > 0);
	free(b);
	world_free(&w);
}

/* ---- failures and crashes at each call ---- */

struct run {
	struct blob blobs[BLOBS];
	enum err put[BLOBS], removed[BLOBS];  /* ERR_AGAIN = not tried */
};

/* Goes on after failures, as a broker does. */
static void scenario(struct world *w, struct run *r)
{
	struct found f;
	for (unsigned i = 0; i < BLOBS; i++)
		r->put[i] = r->removed[i] = ERR_AGAIN;
	if (backend_open(w) != 0)
		return;
	for (unsigned i = 0; i < BLOBS && !sim_dead(w->sim, 0); i++) {
		r->put[i] = ERR_INTERNAL; /* tried, and perhaps killed in the middle of it */
		r->put[i] = put(w, &r->blobs[i]);
	}
	if (!sim_dead(w->sim, 0))
		(void)list_all(w, &f);
	if (!sim_dead(w->sim, 0) && r->put[0] == ERR_OK)
		(void)get(w, &r->blobs[0]);
	for (unsigned i = 0; i < 2 && !sim_dead(w->sim, 0); i++) {
		r->removed[i] = ERR_INTERNAL;
		r->removed[i] = drop(w, &r->blobs[i].key);
	}
}

static bool same_key(const struct blob_key *a, const struct blob_key *b)
{
	return a->number == b->number && memcmp(a->digest, b->digest, BLOB_DIGEST) == 0;
}

static bool lists(const struct found *f, const struct blob *b)
{
	for (size_t i = 0; i < f->count; i++) {
		if (same_key(&f->keys[i], &b->key))
			return f->sizes[i] == b->len;
	}
	return false;
}

static bool must_be_there(const struct run *r, unsigned i) { return r->put[i] == ERR_OK && r->removed[i] == ERR_AGAIN; }

/* What a broker does at its start: reads what it has in its index, and sweeps the rest. */
static void check_and_sweep(struct world *w, struct run *r)
{
	struct found f;
	assert_int_equal(list_all(w, &f), ERR_OK);
	for (unsigned i = 0; i < BLOBS; i++) {
		if (must_be_there(r, i)) {
			assert_true(lists(&f, &r->blobs[i]));
			assert_int_equal(get(w, &r->blobs[i]), ERR_OK);
		}
		if (r->removed[i] == ERR_OK)
			assert_int_equal(get(w, &r->blobs[i]), ERR_NOT_FOUND);
	}
	for (size_t n = 0; n < f.count; n++) {
		bool keep = false;
		for (unsigned i = 0; i < BLOBS; i++)
			keep = keep || (must_be_there(r, i) && same_key(&f.keys[n], &r->blobs[i].key));
		if (!keep)
			assert_int_equal(drop(w, &f.keys[n]), ERR_OK);
	}
	assert_int_equal(list_all(w, &f), ERR_OK);
	size_t kept = 0;
	for (unsigned i = 0; i < BLOBS; i++)
		kept += must_be_there(r, i);
	assert_int_equal(f.count, kept); /* no bytes stay that nobody wants */
	for (unsigned i = 0; i < BLOBS; i++)
		if (must_be_there(r, i))
			assert_int_equal(get(w, &r->blobs[i]), ERR_OK);
}

static void make_all(struct run *r)
{
	for (unsigned i = 0; i < BLOBS; i++)
		blob_make(&r->blobs[i], i);
}

static void test_each_call_fails_once_or_for_ever_and_no_blob_is_lost_or_left_over(void **state)
{
	(void)state;
	static const int errors[] = { ENOSPC, EIO, EMFILE, EINTR };
	struct run *r = calloc(1, sizeof *r);
	make_all(r);
	uint64_t failed = 0;
	for (size_t e = 0; e < 2 * COUNT_OF(errors); e++) {
		bool fired = true;
		for (uint64_t index = 0; fired; index++) {
			struct world w;
			world_open(&w, index);
			w.pattern = e % 2 ? SIM_CRASH_DROP_ALL : SIM_CRASH_SEEDED;
			sim_fail_call(w.sim, index, errors[e / 2], e % 2);
			scenario(&w, r);
			fired = sim_fault_fired(w.sim);
			failed += fired;
			sim_fail_none(w.sim);
			if (w.b && !(e % 2)) /* the process goes on */
				check_and_sweep(&w, r);
			world_restart(&w);
			assert_int_equal(backend_open(&w), 0);
			check_and_sweep(&w, r);
			world_free(&w);
		}
	}
	assert_true(failed > 8 * 30);
	free(r);
}

static void test_a_crash_after_each_call_leaves_what_was_done_and_nothing_that_is_not_swept(void **state)
{
	(void)state;
	struct run *r = calloc(1, sizeof *r);
	make_all(r);
	for (int pattern = 0; pattern < SIM_CRASH_PATTERNS; pattern++) {
		bool crashed = true;
		for (uint64_t index = 0; crashed; index++) {
			struct world w;
			world_open(&w, index * 31 + (uint64_t)pattern);
			w.pattern = (enum sim_crash_pattern)pattern;
			w.crash_at = index;
			scenario(&w, r);
			crashed = sim_dead(w.sim, 0);
			assert_true(crashed || index > 40);
			world_restart(&w);
			assert_int_equal(backend_open(&w), 0);
			check_and_sweep(&w, r);
			world_free(&w);
		}
	}
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_written_is_read_listed_and_removed),
		cmocka_unit_test(test_each_call_fails_once_or_for_ever_and_no_blob_is_lost_or_left_over),
		cmocka_unit_test(test_a_crash_after_each_call_leaves_what_was_done_and_nothing_that_is_not_swept),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
