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

static void set_gate(struct world *w)
{
	gate = w;
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

static void world_open(struct world *w, uint64_t seed)
{
	*w = (struct world){ .sim = sim_new(seed), .crash_at = UINT64_MAX };
	w->io = sim_node_io(w->sim, 0);
	set_gate(w);
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
	set_gate(w);
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

/* Until what nobody waits for is over, too. */
static void settle(struct world *w)
{
	uint64_t end = sim_now_ns(w->sim) + 10 * SIM_MS;
	while (sim_now_ns(w->sim) < end)
		(void)io_reap(w->io, end);
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

/* After one failure, in the same process: whoever failed has cleaned up behind himself. */
static void check_nothing_left(struct world *w, const struct run *r)
{
	struct found f;
	settle(w);
	assert_int_equal(list_all(w, &f), ERR_OK);
	for (size_t n = 0; n < f.count; n++) {
		bool stored = false;
		for (unsigned i = 0; i < BLOBS; i++)
			stored = stored || (r->put[i] == ERR_OK && same_key(&f.keys[n], &r->blobs[i].key));
		assert_true(stored);
	}
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
			if (w.b && !(e % 2)) { /* the process goes on */
				check_nothing_left(&w, r);
				check_and_sweep(&w, r);
			}
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

/* The start after a crash, as far as it comes. */
static void sweep_until_the_crash(struct world *w, const struct run *r)
{
	struct found f;
	if (backend_open(w) != 0 || list_all(w, &f) != ERR_OK)
		return;
	for (size_t n = 0; n < f.count; n++) {
		bool keep = false;
		for (unsigned i = 0; i < BLOBS; i++)
			keep = keep || (must_be_there(r, i) && same_key(&f.keys[n], &r->blobs[i].key));
		if (!keep)
			(void)drop(w, &f.keys[n]);
	}
}

static void test_a_second_crash_in_the_start_after_the_first_changes_nothing(void **state)
{
	(void)state;
	struct run *r = calloc(1, sizeof *r);
	make_all(r);
	uint64_t starts = 0;
	for (uint64_t first = 5; first < 120; first += 7) {
		bool crashed = true;
		for (uint64_t second = 0; crashed; second++, starts++) {
			struct world w;
			world_open(&w, first * 100 + second);
			w.crash_at = first;
			scenario(&w, r);
			world_restart(&w);
			w.calls = 0;
			w.crash_at = second;
			sweep_until_the_crash(&w, r);
			crashed = sim_dead(w.sim, 0);
			world_restart(&w);
			assert_int_equal(backend_open(&w), 0);
			check_and_sweep(&w, r);
			world_free(&w);
		}
	}
	assert_true(starts > 200);
	free(r);
}

/* ---- abandoned ---- */

/* A writer is abandoned so many reaps after the write or the finish began. */
static void abandoned_after(unsigned reaps, bool in_finish, uint64_t seed)
{
	struct world w;
	struct found f;
	struct blob *b = calloc(1, sizeof *b);
	struct wait wait = waiting();
	world_open(&w, seed);
	assert_int_equal(backend_open(&w), 0);
	blob_make(b, 3);
	struct blob_writer *bw = w.b->v->create(w.b, b->key.number, b->len, b->key.digest);
	w.b->v->write(bw, &wait.job, span_of(b->data, b->len));
	if (in_finish) {
		assert_int_equal(wait_for(&w, &wait), ERR_OK);
		wait = waiting();
		w.b->v->finish(bw, &wait.job, b->key.digest);
	}
	for (unsigned i = 0; i < reaps && !wait.done; i++)
		(void)io_reap(w.io, UINT64_MAX);
	bool stored = in_finish && wait.done;
	if (!stored)
		w.b->v->abandon(bw);
	settle(&w);
	assert_true(wait.done); /* all the same */
	assert_int_equal(list_all(&w, &f), ERR_OK);
	assert_int_equal(f.count, stored);
	free(b);
	world_free(&w);
}

static void test_an_abandoned_blob_leaves_nothing_at_whatever_moment(void **state)
{
	(void)state;
	for (unsigned reaps = 0; reaps < 8; reaps++) {
		for (uint64_t seed = 0; seed < 8; seed++) {
			abandoned_after(reaps, false, seed);
			abandoned_after(reaps, true, seed);
		}
	}
}

static void test_a_blob_that_could_not_be_made_fails_with_its_first_job_and_is_abandoned(void **state)
{
	(void)state;
	struct world w;
	struct blob *b = calloc(1, sizeof *b);
	world_open(&w, 1);
	assert_int_equal(backend_open(&w), 0);
	blob_make(b, 3);
	sim_fail_kind(w.sim, SIM_OPEN, 0, EMFILE, false);
	assert_int_equal(put(&w, b), ERR_UNAVAILABLE);
	struct wait wait = waiting();
	struct blob_writer *bw = w.b->v->create(w.b, b->key.number, UINT64_MAX, NULL);
	sim_fail_kind(w.sim, SIM_WRITE, 0, EDQUOT, false);
	w.b->v->write(bw, &wait.job, span_of(b->data, b->len));
	assert_int_equal(wait_for(&w, &wait), ERR_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(wait.job.text, "cannot write blobs/up/0000000100000003: "));
	wait = waiting(); /* it stays failed: nobody knows what is lost */
	w.b->v->finish(bw, &wait.job, b->key.digest);
	assert_int_equal(wait_for(&w, &wait), ERR_RESOURCE_EXHAUSTED);
	w.b->v->abandon(bw);
	settle(&w); /* the same number again: only a test does that */
	assert_int_equal(put(&w, b), ERR_OK);
	free(b);
	world_free(&w);
}

/* ---- damaged ---- */

static void path_of(const struct blob *b, char out[128])
{
	int n = snprintf(out, 128, "blobs/%02x/", b->key.digest[0]);
	for (size_t i = 0; i < BLOB_DIGEST; i++)
		n += snprintf(out + n, 128 - (size_t)n, "%02x", b->key.digest[i]);
	(void)snprintf(out + n, 128 - (size_t)n, "-%016llx", (unsigned long long)b->key.number);
}

static void test_what_is_short_or_unreadable_is_damaged_and_what_is_gone_not_found(void **state)
{
	(void)state;
	struct world w;
	struct blob *b = calloc(1, sizeof *b);
	struct blob_reader *r = NULL;
	uint8_t part[2 * PART];
	char path[128];
	world_open(&w, 1);
	assert_int_equal(backend_open(&w), 0);
	blob_make(b, 3);
	assert_int_equal(put(&w, b), ERR_OK);
	path_of(b, path);
	assert_int_equal(sim_spoil(w.sim, 0, path, PART, 1), 0);
	assert_int_equal(get(&w, b), ERR_DAMAGED);
	struct wait wait = waiting();
	w.b->v->open(w.b, &wait.job, &b->key, b->len, &r);
	assert_int_equal(wait_for(&w, &wait), ERR_OK);
	assert_int_equal(drop(&w, &b->key), ERR_OK); /* a reader keeps what it has */
	wait = waiting();
	w.b->v->read(r, &wait.job, 2 * PART, part, sizeof part);
	assert_int_equal(wait_for(&w, &wait), ERR_OK);
	assert_int_equal(wait.job.got, PART);
	assert_memory_equal(part, b->data + (size_t)2 * PART, PART);
	assert_int_equal(w.io->v->truncate(w.io, w.b->v->file(r), PART), 0);
	wait = waiting();
	w.b->v->read(r, &wait.job, 2 * PART, part, sizeof part);
	assert_int_equal(wait_for(&w, &wait), ERR_DAMAGED);
	w.b->v->close(r);
	sim_plant(w.sim, 0, path, span_str("too short"));
	assert_int_equal(get(&w, b), ERR_DAMAGED);
	free(b);
	world_free(&w);
}

/* ---- many ---- */

enum { MANY = 200 };

struct many {
	struct wait wait[MANY];
	struct blob_key keys[MANY];
	struct blob_writer *writers[MANY];
};

static unsigned slow_in_flight, slow_most;

static void count_submit(struct io *io, struct io_op *op);

static void (*counted_done)(struct io_op *op, int64_t res);

static void count_done(struct io_op *op, int64_t res)
{
	slow_in_flight--;
	counted_done(op, res);
}

static void count_submit(struct io *io, struct io_op *op)
{
	if (op->kind != IO_READ && op->kind != IO_NOP) {
		slow_in_flight++;
		slow_most = MAX_OF(slow_most, slow_in_flight);
		counted_done = op->done; /* the same of all */
		op->done = count_done;
	}
	gate->real->submit(io, op);
}

static void count_each(void *ctx, const struct blob_key *key, uint64_t size)
{
	struct many *m = ctx;
	unsigned i = (unsigned)key->number;
	assert_true(i < MANY && size == 10);
	assert_memory_equal(key, &m->keys[i], sizeof *key);
	assert_false(m->wait[i].done); /* each once */
	m->wait[i].done = true;
}

static void all_done(struct world *w, struct many *m)
{
	for (unsigned i = 0; i < MANY; i++) {
		while (!m->wait[i].done)
			(void)io_reap(w->io, UINT64_MAX);
		assert_int_equal(m->wait[i].code, ERR_OK);
		m->wait[i] = waiting();
	}
}

static void test_many_at_once_are_done_few_at_a_time_and_listed_in_pieces(void **state)
{
	(void)state;
	struct world w;
	struct wait list = waiting();
	struct many *m = calloc(1, sizeof *m);
	world_open(&w, 1);
	slow_in_flight = slow_most = 0;
	assert_int_equal(backend_open(&w), 0);
	w.v.submit = count_submit;
	for (unsigned i = 0; i < MANY; i++) { /* most in one directory, with strangers beside them */
		m->wait[i] = waiting();
		m->keys[i] = (struct blob_key){ .number = i };
		m->keys[i].digest[0] = i % 8 ? 0 : (uint8_t)i;
		m->keys[i].digest[31] = 1;
		m->writers[i] = w.b->v->create(w.b, i, 10, NULL);
		w.b->v->write(m->writers[i], &m->wait[i].job, span_str("0123456789"));
	}
	sim_plant(w.sim, 0, "blobs/00/stranger", span_str("x"));
	sim_plant(w.sim, 0, "blobs/stranger", span_str("x"));
	sim_plant(w.sim, 0, "blobs/up/stranger", span_str("x"));
	all_done(&w, m);
	for (unsigned i = 0; i < MANY; i++)
		w.b->v->finish(m->writers[i], &m->wait[i].job, m->keys[i].digest);
	all_done(&w, m);
	assert_int_equal(slow_most, 4);
	w.b->v->list(w.b, &list.job, count_each, m);
	assert_int_equal(wait_for(&w, &list), ERR_OK);
	all_done(&w, m); /* each was seen */
	for (unsigned i = 0; i < MANY; i++)
		w.b->v->remove(w.b, &m->wait[i].job, &m->keys[i]);
	all_done(&w, m);
	assert_int_equal(slow_most, 4);
	struct found f;
	assert_int_equal(list_all(&w, &f), ERR_OK);
	assert_int_equal(f.count, 0);
	free(m);
	world_free(&w);
}

static void test_a_backend_is_freed_in_the_middle_of_everything(void **state)
{
	(void)state;
	for (unsigned reaps = 0; reaps < 12; reaps++) {
		struct world w;
		struct many *m = calloc(1, sizeof *m);
		struct wait list = waiting(), removal = waiting(), reading = waiting();
		struct blob *b = calloc(1, sizeof *b);
		struct blob_reader *r = NULL;
		world_open(&w, reaps);
		assert_int_equal(backend_open(&w), 0);
		blob_make(b, 1);
		assert_int_equal(put(&w, b), ERR_OK);
		for (unsigned i = 0; i < 20; i++) {
			m->wait[i] = waiting();
			m->writers[i] = w.b->v->create(w.b, i, 10, NULL);
			w.b->v->write(m->writers[i], &m->wait[i].job, span_str("0123456789"));
		}
		struct found f = { .count = 0 };
		w.b->v->list(w.b, &list.job, each, &f);
		w.b->v->open(w.b, &reading.job, &b->key, b->len, &r);
		w.b->v->remove(w.b, &removal.job, &b->key);
		w.b->v->abandon(m->writers[7]);
		for (unsigned i = 0; i < reaps; i++)
			(void)io_reap(w.io, UINT64_MAX);
		bool done[20];
		for (unsigned i = 0; i < 20; i++)
			done[i] = m->wait[i].done;
		backend_close(&w);
		settle(&w);
		for (unsigned i = 0; i < 20; i++)
			assert_int_equal(m->wait[i].done, done[i]); /* not done any more */
		free(m);
		free(b);
		world_free(&w);
	}
}

/* ---- names ---- */

static void test_a_name_is_read_as_it_is_written_and_no_other_text_is_one(void **state)
{
	(void)state;
	struct world w;
	struct blob *b = calloc(1, sizeof *b);
	struct blob_key key;
	char path[128];
	world_open(&w, 1);
	for (unsigned i = 0; i < 300; i++) {
		blob_make(b, i);
		b->key.digest[0] = (uint8_t)i;
		path_of(b, path);
		char *name = path + strlen("blobs/xx/");
		assert_true(io_name_ok(path));
		assert_true(blob_local_parse(name, false, i % 256, &key));
		assert_memory_equal(&key, &b->key, sizeof key);
		assert_false(blob_local_parse(name, true, 0, &key));
		assert_false(blob_local_parse(name, false, (i + 1) % 256, &key)); /* not where it belongs */
		size_t at = (size_t)sim_rand_below(w.sim, strlen(name));
		char was = name[at], now = (char)(1 + sim_rand_below(w.sim, 255));
		name[at] = now;
		bool same = was == '-' ? now == '-' : (now >= '0' && now <= '9') || (now >= 'a' && now <= 'f');
		if (at >= 2) /* the first two say where it belongs */
			assert_int_equal(blob_local_parse(name, false, i % 256, &key), same);
		name[at] = '\0';
		assert_false(blob_local_parse(name, false, i % 256, &key));
	}
	assert_true(blob_local_parse("00000001000000ff", true, 0, &key));
	assert_int_equal(key.number, 0x1000000ffu);
	assert_false(blob_local_parse("00000001000000FF", true, 0, &key)); /* one way to write it */
	assert_false(blob_local_parse("00000001000000f", true, 0, &key));
	assert_false(blob_local_parse("", true, 0, &key));
	assert_false(blob_local_parse("", false, 0, &key));
	free(b);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_written_is_read_listed_and_removed),
		cmocka_unit_test(test_each_call_fails_once_or_for_ever_and_no_blob_is_lost_or_left_over),
		cmocka_unit_test(test_a_crash_after_each_call_leaves_what_was_done_and_nothing_that_is_not_swept),
		cmocka_unit_test(test_a_second_crash_in_the_start_after_the_first_changes_nothing),
		cmocka_unit_test(test_an_abandoned_blob_leaves_nothing_at_whatever_moment),
		cmocka_unit_test(test_a_blob_that_could_not_be_made_fails_with_its_first_job_and_is_abandoned),
		cmocka_unit_test(test_what_is_short_or_unreadable_is_damaged_and_what_is_gone_not_found),
		cmocka_unit_test(test_many_at_once_are_done_few_at_a_time_and_listed_in_pieces),
		cmocka_unit_test(test_a_backend_is_freed_in_the_middle_of_everything),
		cmocka_unit_test(test_a_name_is_read_as_it_is_written_and_no_other_text_is_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
