/* tests/unit/test_log_faults.c: every call fails, every instant is the last: the log must stop or go on, and never lie.
 *
 * One scenario (append, flush, rotate, seal, checkpoint, settle, delete, restart) is run again and again:
 *  - with the call of each index failing, once or for ever, with each error;
 *  - with a crash after each call, under each pattern of what the disk keeps, followed by a second crash somewhere in the
 *    recovery, which is then run to its end.
 * After each run a last recovery without faults must show everything that was applied before (applied is confirmed), in
 * order, with the right bytes, and nothing that was not appended.
 *
 * Repeat one: test_log_faults fault CALL ERRNO FOREVER | crash CALL PATTERN SECOND_CALL SECOND_PATTERN [v] */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "log_model.h"

#include "../sim/io_sim.h"

enum { SEED = 5, ITEM_BYTES = 2500, ITEMS_PER_BATCH = 20 };

/* Every so many-th call only: LOG_FAULTS_STRIDE, 1 where it is not set. Under sanitizers the commit suite sets it. */
static uint64_t stride(void)
{
	const char *text = getenv("LOG_FAULTS_STRIDE");
	uint64_t value = text ? strtoull(text, NULL, 10) : 1;
	return MAX_OF(value, (uint64_t)1);
}

/* The io of the simulated node with a counter in front, which can end the world after a call. */
static struct {
	const struct io_vtable *real;
	struct io_vtable v;
	struct sim *sim;
	uint64_t calls, crash_at;      /* crash after this call; UINT64_MAX = never */
	enum sim_crash_pattern pattern;
} gate;

static void passed(void)
{
	if (gate.calls++ == gate.crash_at && !sim_dead(gate.sim, 0))
		sim_crash(gate.sim, 0, gate.pattern);
}

static void gate_submit(struct io *io, struct io_op *op) { gate.real->submit(io, op); passed(); }
#define GATE(ret, name, params, ...) \
	static ret gate_##name params { ret res = gate.real->name(__VA_ARGS__); passed(); return res; }
GATE(int, open, (struct io *io, const char *name, unsigned flags), io, name, flags)
GATE(int, allocate, (struct io *io, int file, uint64_t bytes), io, file, bytes)
GATE(int, truncate, (struct io *io, int file, uint64_t bytes), io, file, bytes)
GATE(int, rename, (struct io *io, const char *from, const char *to), io, from, to)
GATE(int, unlink, (struct io *io, const char *name), io, name)
GATE(int, sync_dir, (struct io *io), io)
GATE(uint32_t, reap, (struct io *io, uint64_t deadline), io, deadline)

static struct io *gated(struct io *io)
{
	gate.real = io->v;
	gate.v = *io->v;
	gate.v.submit = gate_submit;
	gate.v.open = gate_open;
	gate.v.allocate = gate_allocate;
	gate.v.truncate = gate_truncate;
	gate.v.rename = gate_rename;
	gate.v.unlink = gate_unlink;
	gate.v.sync_dir = gate_sync_dir;
	gate.v.reap = gate_reap;
	io->v = &gate.v;
	return io;
}

struct run {
	struct sim *sim;
	struct model m;
	uint64_t confirmed;       /* items applied before the process died */
	uint64_t proposed;        /* most ever appended */
	bool *settled;            /* confirmed settles */
	uint64_t settled_cap;
	bool finished;            /* the scenario came to its end */
	char how[160];
};

static void expect(struct run *r, bool condition, const char *what)
{
	if (condition)
		return;
	print_error("%s\n  repeat: test_log_faults %s\n  text: %s\n", what, r->how, r->m.text);
	fail();
}

/* ---- the scenario ---- */

static bool turn(struct run *r)
{
	if (sim_dead(r->sim, 0))
		return false;
	r->proposed = MAX_OF(r->proposed, r->m.proposed);
	model_turn(&r->m, 1000000);
	r->confirmed = MAX_OF(r->confirmed, r->m.count);
	r->proposed = MAX_OF(r->proposed, r->m.proposed);
	return !sim_dead(r->sim, 0);
}

static bool quiet(struct run *r)
{
	for (int i = 0; log_busy(r->m.log); i++) {
		if (!turn(r))
			return false;
		expect(r, i < 5000, "the log stays busy for ever");
	}
	return turn(r);
}

/* A batch of items, at once applied. */
static bool put_batch(struct run *r, int items)
{
	for (int i = 0; i < items; i++)
		while (!model_put(&r->m, ITEM_BYTES + (uint32_t)(r->m.proposed % 7) * 100))
			if (log_room(r->m.log) != LOG_ROOM_OK || !turn(r))
				return !sim_dead(r->sim, 0);
	return quiet(r);
}

static bool settle(struct run *r, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i < to && i < r->m.count; i++) {
		if (r->m.items[i].settled)
			continue;
		while (!model_settle(&r->m, i))
			if (!turn(r))
				return false;
	}
	if (!quiet(r))
		return false;
	return true;
}

static bool work(struct run *r, int round)
{
	if (!put_batch(r, 3) || !put_batch(r, 1))
		return false;
	for (int i = 0; i < 7; i++)
		if (!put_batch(r, ITEMS_PER_BATCH))
			return false;
	if (round == 0)
		return true;
	if (!settle(r, 0, r->m.count - 4))
		return false;
	log_checkpoint_now(r->m.log);
	if (!quiet(r) || !put_batch(r, 2))
		return false;
	struct log_record record;
	for (uint64_t i = 0; i < r->m.count; i++)
		if (r->m.items[i].known && !r->m.items[i].settled)
			while (log_fetch(r->m.log, r->m.items[i].addr, &record) == ERR_AGAIN)
				if (!turn(r))
					return false;
	return true;
}

/* What was applied is what a user was told. */
static void remember(struct run *r)
{
	r->confirmed = MAX_OF(r->confirmed, r->m.count);
	if (r->settled_cap < r->m.cap) {
		r->settled = realloc(r->settled, r->m.cap);
		ENSURE(r->settled != NULL);
		memset(r->settled + r->settled_cap, 0, r->m.cap - r->settled_cap);
		r->settled_cap = r->m.cap;
	}
	for (uint64_t i = 0; i < r->m.count; i++)
		r->settled[i] |= r->m.items[i].settled;
}

/* The process ends, however; the next one starts on what is left. */
static void next_process(struct run *r, enum sim_crash_pattern pattern)
{
	remember(r);
	if (!sim_dead(r->sim, 0))
		sim_crash(r->sim, 0, pattern);
	sim_bury(r->sim, 0);
	model_close(&r->m);
	r->m.config.io->v->free(r->m.config.io);
	r->m.config.io = gated(sim_restart(r->sim, 0));
}

/* True when it came to its end; false where the process stopped. */
static bool scenario(struct run *r)
{
	for (volatile int round = 0; round < 2; round++) {
		r->m.jump = true;
		if (setjmp(r->m.on_fatal) != 0) {
			r->m.jump = false;
			return false;
		}
		if (model_open(&r->m) != ERR_OK) {
			r->m.count = 0;
			return false;
		}
		bool ok = work(r, round);
		r->m.jump = false;
		if (!ok)
			return false;
		if (round == 0) { /* a clean stop */
			remember(r);
			model_close(&r->m);
			if (sim_dead(r->sim, 0))
				return false;
			r->m.config.io->v->free(r->m.config.io);
			r->m.config.io = gated(sim_restart(r->sim, 0));
		}
	}
	return true;
}

static void begin(struct run *r)
{
	memset(r, 0, sizeof *r);
	r->sim = sim_new(SEED);
	gate.sim = r->sim;
	gate.calls = 0;
	gate.crash_at = UINT64_MAX;
	model_init(&r->m, gated(sim_node_io(r->sim, 0)));
}

static void finish(struct run *r)
{
	model_close(&r->m);
	r->m.config.io->v->free(r->m.config.io);
	model_free(&r->m);
	free(r->settled);
	sim_free(r->sim);
}

/* The last recovery: nothing fails any more. */
static void check(struct run *r)
{
	uint64_t proposed = r->proposed;

	gate.crash_at = UINT64_MAX;
	sim_fail_none(r->sim);
	enum err e = model_open(&r->m);
	expect(r, e == ERR_OK, "the log does not open any more");
	expect(r, !r->m.failed, "what was recovered does not continue");
	expect(r, r->m.count >= r->confirmed, "confirmed items are lost");
	expect(r, r->m.count <= proposed, "there are items that nobody appended");
	for (uint64_t i = 0; i < r->m.count; i++) {
		if (i < r->settled_cap && r->settled[i])
			expect(r, r->m.items[i].settled, "a confirmed settle is lost");
		if (!r->m.items[i].settled)
			expect(r, r->m.items[i].known && model_item_right(&r->m, i), "an item has other bytes");
	}
	/* And it goes on. */
	uint64_t count = r->m.count;
	for (int i = 0; i < 2; i++)
		expect(r, model_put(&r->m, ITEM_BYTES), "no room after recovery");
	model_settle_down(&r->m);
	expect(r, r->m.count == count + 2, "the recovered log takes nothing");
}

/* ---- failing calls ---- */

static bool one_fault(uint64_t call, int error, bool forever, bool verbose)
{
	struct run r;

	begin(&r);
	r.m.verbose = verbose;
	(void)snprintf(r.how, sizeof r.how, "fault %llu %d %d", (unsigned long long)call, error, forever);
	sim_fail_call(r.sim, call, error, forever);
	bool finished = scenario(&r);
	bool fired = sim_fault_fired(r.sim);
	if (!fired)
		expect(&r, finished, "the scenario fails without a fault");
	next_process(&r, call % 3 == 0 ? SIM_CRASH_DROP_ALL : call % 3 == 1 ? SIM_KILL : SIM_CRASH_SEEDED);
	check(&r);
	finish(&r);
	return fired;
}

static void test_every_call_may_fail(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EINTR };
	uint64_t runs = 0;

	(void)state;
	for (size_t e = 0; e < COUNT_OF(errors); e++)
		for (int forever = 0; forever < (errors[e] == EINTR ? 1 : 2); forever++)
			for (uint64_t call = 0; one_fault(call, errors[e], forever, false); call += stride())
				runs++;
	print_message("%llu runs\n", (unsigned long long)runs);
	assert_true(runs > 500 / stride());
}

/* ---- crashes ---- */

struct crash { uint64_t call; enum sim_crash_pattern pattern; uint64_t second_call; enum sim_crash_pattern second; };

/* False when the scenario ended before the call. */
static bool one_crash(struct crash c, bool verbose, uint64_t *recovery_calls)
{
	struct run r;

	begin(&r);
	r.m.verbose = verbose;
	(void)snprintf(r.how, sizeof r.how, "crash %llu %d %llu %d   (%s, then %s)", (unsigned long long)c.call, (int)c.pattern,
		       (unsigned long long)c.second_call, (int)c.second, sim_crash_name(c.pattern), sim_crash_name(c.second));
	gate.crash_at = c.call;
	gate.pattern = c.pattern;
	bool finished = scenario(&r);
	if (finished) {
		finish(&r);
		return false;
	}
	expect(&r, sim_dead(r.sim, 0), "the scenario fails without a crash");
	next_process(&r, c.pattern);

	uint64_t before = gate.calls;
	gate.crash_at = c.second_call == UINT64_MAX ? UINT64_MAX : before + c.second_call;
	gate.pattern = c.second;
	uint64_t confirmed = r.confirmed;
	r.m.jump = true;
	if (setjmp(r.m.on_fatal) == 0) {
		enum err e = model_open(&r.m);
		if (!sim_dead(r.sim, 0))
			expect(&r, e == ERR_OK, "the log does not open after a crash");
		if (e != ERR_OK)
			r.m.count = 0;
	}
	r.m.jump = false;
	*recovery_calls = gate.calls - before;
	r.confirmed = MAX_OF(confirmed, r.m.log ? r.m.count : 0);
	r.proposed = MAX_OF(r.proposed, r.m.count);
	if (!r.m.log)
		r.m.count = 0;
	next_process(&r, c.second);
	check(&r);
	finish(&r);
	return true;
}

static void test_every_instant_may_be_the_last(void **state)
{
	uint64_t runs = 0, recovery_calls = 20;
	bool more = true;

	(void)state;
	for (uint64_t call = 0; more; call += stride())
		for (int pattern = 0; pattern < SIM_CRASH_PATTERNS && more; pattern++) {
			struct crash c = {
				.call = call, .pattern = (enum sim_crash_pattern)pattern,
				.second_call = (call * 7 + (uint64_t)pattern * 3) % (recovery_calls + 1),
				.second = (enum sim_crash_pattern)((uint64_t)(pattern + 1) * (call + 3) % SIM_CRASH_PATTERNS),
			};
			more = one_crash(c, false, &recovery_calls);
			runs += more;
		}
	print_message("%llu runs\n", (unsigned long long)runs);
	assert_true(runs > 2000 / stride());
}

static void test_every_instant_of_a_recovery_may_be_the_last(void **state)
{
	uint64_t runs = 0, calls = 1;

	(void)state;
	/* First crashes in the middle of work, torn in the ways that leave most behind. */
	static const uint64_t first[] = { 75, 150 };
	for (size_t f = 0; f < COUNT_OF(first); f++)
		for (uint64_t second = 0; second < calls + 1; second += stride())
			for (int pattern = 0; pattern < SIM_CRASH_PATTERNS; pattern++) {
				struct crash c = {
					.call = first[f], .pattern = SIM_CRASH_EVEN, .second_call = second,
					.second = (enum sim_crash_pattern)pattern,
				};
				uint64_t seen;
				assert_true(one_crash(c, false, &seen));
				calls = second == 0 ? 12 : MAX_OF(calls, seen);
				runs++;
			}
	print_message("%llu runs\n", (unsigned long long)runs);
	assert_true(runs > 400 / stride());
}

/* A process killed at `call`, whose writes may be in the cache alone; a start in which one call fails; one that goes well, and leads;
 * then the power goes. False when the start has no call of that index. */
static bool one_failed_start(uint64_t call, uint64_t failing, int error)
{
	struct run r;

	begin(&r);
	(void)snprintf(r.how, sizeof r.how, "(call %llu killed, call %llu of the next start fails: %s)", (unsigned long long)call,
		       (unsigned long long)failing, strerror(error));
	gate.crash_at = call;
	gate.pattern = SIM_KILL;
	expect(&r, !scenario(&r), "the scenario ends before the kill");
	next_process(&r, SIM_KILL);
	gate.crash_at = UINT64_MAX;
	sim_fail_kind(r.sim, SIM_ANY_CALL, failing, error, false);
	r.m.jump = true;
	if (setjmp(r.m.on_fatal) == 0)
		(void)model_open(&r.m);
	r.m.jump = false;
	bool fired = sim_fault_fired(r.sim);
	sim_fail_none(r.sim);
	if (!r.m.log)
		r.m.count = 0;
	next_process(&r, SIM_KILL);
	expect(&r, model_open(&r.m) == ERR_OK, "the log does not open after a start that failed");
	next_process(&r, SIM_CRASH_DROP_ALL); /* what it read it may have told */
	r.proposed = MAX_OF(r.proposed, r.confirmed);
	check(&r);
	finish(&r);
	return fired;
}

static void test_a_start_that_failed_is_no_proof_for_the_next_one(void **state)
{
	uint64_t runs = 0;

	(void)state;
	for (uint64_t kill = 60; kill < 100; kill += stride())
		for (uint64_t failing = 0; one_failed_start(kill, failing, failing % 5 == 4 ? ENOSPC : EIO); failing++)
			runs++;
	print_message("%llu runs\n", (unsigned long long)runs);
	assert_true(runs > 200 / stride());
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_start_that_failed_is_no_proof_for_the_next_one),
		cmocka_unit_test(test_every_call_may_fail),
		cmocka_unit_test(test_every_instant_may_be_the_last),
		cmocka_unit_test(test_every_instant_of_a_recovery_may_be_the_last),
	};
	uint64_t calls;

	if (argc >= 5 && strcmp(argv[1], "fault") == 0)
		return !one_fault(strtoull(argv[2], NULL, 10), atoi(argv[3]), atoi(argv[4]) != 0, true);
	if (argc >= 6 && strcmp(argv[1], "crash") == 0) {
		struct crash c = {
			.call = strtoull(argv[2], NULL, 10), .pattern = (enum sim_crash_pattern)atoi(argv[3]),
			.second_call = strtoull(argv[4], NULL, 10), .second = (enum sim_crash_pattern)atoi(argv[5]),
		};
		return !one_crash(c, true, &calls);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
