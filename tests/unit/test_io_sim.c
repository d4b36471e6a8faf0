/* tests/unit/test_io_sim.c: the simulator keeps its own promises: a test tool that lies is worse than none. */
#include "../sim/io_sim.h"
#include "../../wire/limits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- disk ---- */

static void write_at(struct io *io, int file, char fill, size_t len, uint64_t offset)
{
	char *data = malloc(len);
	memset(data, fill, len);
	assert_int_equal(io_do(io, IO_WRITE, file, data, len, offset), len);
	free(data);
}

/* A synced file of 'o' (16 blocks), overwritten with 'n' that is not synced. */
static struct io *half_synced(struct sim *w)
{
	struct io *io = sim_node_io(w, 0);
	int file = io->v->open(io, "f", IO_CREATE);
	assert_true(file >= 0);
	write_at(io, file, 'o', 16 * DISK_BLOCK, 0);
	assert_int_equal(io_do(io, IO_SYNC, file, NULL, 0, 0), 0);
	assert_int_equal(io->v->sync_dir(io), 0);
	assert_int_equal(sim_unsynced(w, 0), 0);
	write_at(io, file, 'n', 16 * DISK_BLOCK, 0);
	assert_int_equal(sim_unsynced(w, 0), 128);
	return io;
}

static size_t count_sectors(const struct buf *b, char fill)
{
	size_t n = 0;
	for (size_t at = 0; at + 512 <= b->len; at += 512) {
		size_t same = 0;
		for (size_t i = 0; i < 512; i++)
			same += b->data[at + i] == (uint8_t)fill;
		n += same == 512;
	}
	return n;
}

static void after_crash(enum sim_crash_pattern pattern, uint64_t seed, struct buf *out)
{
	struct sim *w = sim_new(seed);
	(void)half_synced(w);
	sim_crash(w, 0, pattern);
	struct io *io = sim_restart(w, 0);
	out->len = 0;
	assert_int_equal(io_read_file(io, "f", 1 << 20, out), 0);
	io->v->free(io);
	sim_free(w);
}

static void test_each_crash_pattern_does_what_it_says(void **state)
{
	(void)state;
	static const struct { enum sim_crash_pattern pattern; size_t old, new, zero; } expect[] = {
		{ SIM_CRASH_KEEP_ALL, 0, 128, 0 },   { SIM_CRASH_DROP_ALL, 128, 0, 0 },
		{ SIM_CRASH_PREFIX, 64, 64, 0 },     { SIM_CRASH_SUFFIX, 64, 64, 0 },
		{ SIM_CRASH_EVEN, 64, 64, 0 },       { SIM_CRASH_ODD, 64, 64, 0 },
		{ SIM_CRASH_ZEROS, 0, 0, 128 },      { SIM_CRASH_STALE, 128, 0, 0 },
		{ SIM_CRASH_GARBAGE, 0, 0, 0 },      { SIM_CRASH_TEAR_FIRST, 1, 127, 0 },
		{ SIM_CRASH_TEAR_LAST, 1, 127, 0 },  { SIM_CRASH_DATA_ONLY, 0, 128, 0 },
		{ SIM_CRASH_NAMES_ONLY, 128, 0, 0 }, { SIM_KILL, 0, 128, 0 },
	};
	struct buf got = { 0 };
	for (size_t i = 0; i < COUNT_OF(expect); i++) {
		after_crash(expect[i].pattern, 7, &got);
		assert_int_equal(got.len, 16 * DISK_BLOCK);
		assert_int_equal(count_sectors(&got, 'o'), expect[i].old);
		assert_int_equal(count_sectors(&got, 'n'), expect[i].new);
		assert_int_equal(count_sectors(&got, '\0'), expect[i].zero);
	}
	after_crash(SIM_CRASH_PREFIX, 7, &got);
	assert_int_equal(got.data[0], 'n');
	after_crash(SIM_CRASH_SUFFIX, 7, &got);
	assert_int_equal(got.data[0], 'o');
	buf_free(&got);
}

static void test_a_seeded_crash_mixes_and_repeats(void **state)
{
	(void)state;
	struct buf a = { 0 }, b = { 0 }, c = { 0 };
	after_crash(SIM_CRASH_SEEDED, 1, &a);
	after_crash(SIM_CRASH_SEEDED, 1, &b);
	after_crash(SIM_CRASH_SEEDED, 2, &c);
	assert_true(count_sectors(&a, 'o') > 0 && count_sectors(&a, 'n') > 0);
	assert_true(span_eq(buf_span(&a), buf_span(&b)));
	assert_false(span_eq(buf_span(&a), buf_span(&c)));
	buf_free(&a);
	buf_free(&b);
	buf_free(&c);
}

static void test_synced_data_survive_every_pattern_and_seed(void **state)
{
	(void)state;
	struct buf got = { 0 };
	for (int pattern = 0; pattern < SIM_CRASH_PATTERNS; pattern++) {
		for (uint64_t seed = 0; seed < 20; seed++) {
			struct sim *w = sim_new(seed);
			struct io *io = sim_node_io(w, 0);
			int file = io->v->open(io, "log", IO_CREATE | IO_DIRECT | IO_DSYNC);
			assert_int_equal(io->v->allocate(io, file, 8 * DISK_BLOCK), 0);
			assert_int_equal(io->v->sync_dir(io), 0);
			uint8_t *block = aligned_alloc(DISK_BLOCK, DISK_BLOCK);
			memset(block, 'd', DISK_BLOCK);
			assert_int_equal(io_do(io, IO_WRITE, file, block, DISK_BLOCK, DISK_BLOCK), DISK_BLOCK);
			assert_int_equal(io_replace_file(io, "meta", span_str("identity")), 0);
			sim_crash(w, 0, (enum sim_crash_pattern)pattern);
			io = sim_restart(w, 0);
			file = io->v->open(io, "log", IO_DIRECT);
			assert_true(file >= 0);
			assert_true(io->v->size(io, file) >= 2 * DISK_BLOCK);
			assert_int_equal(io_do(io, IO_READ, file, block, DISK_BLOCK, DISK_BLOCK), DISK_BLOCK);
			assert_int_equal(block[0], 'd');
			assert_int_equal(block[DISK_BLOCK - 1], 'd');
			free(block);
			got.len = 0;
			assert_int_equal(io_read_file(io, "meta", 100, &got), 0);
			assert_true(span_eq(buf_span(&got), span_str("identity")));
			io->v->free(io);
			sim_free(w);
		}
	}
	buf_free(&got);
}

static void test_a_rename_without_sync_dir_can_be_lost(void **state)
{
	(void)state;
	for (int kept = 0; kept < 2; kept++) {
		struct sim *w = sim_new(3);
		struct io *io = sim_node_io(w, 0);
		assert_int_equal(io_replace_file(io, "a", span_str("1")), 0);
		assert_int_equal(io->v->rename(io, "a", "b"), 0);
		sim_crash(w, 0, kept ? SIM_CRASH_KEEP_ALL : SIM_CRASH_DROP_ALL);
		io = sim_restart(w, 0);
		struct buf got = { 0 };
		assert_int_equal(io_read_file(io, "a", 10, &got), kept ? -ENOENT : 0);
		assert_int_equal(io_read_file(io, "b", 10, &got), kept ? 0 : -ENOENT);
		buf_free(&got);
		io->v->free(io);
		sim_free(w);
	}
}

static void test_a_created_file_is_gone_without_sync_dir_even_when_it_was_synced(void **state)
{
	(void)state;
	struct sim *w = sim_new(3);
	struct io *io = sim_node_io(w, 0);
	int file = io->v->open(io, "new", IO_CREATE);
	write_at(io, file, 'x', 10, 0);
	assert_int_equal(io_do(io, IO_SYNC, file, NULL, 0, 0), 0);
	sim_crash(w, 0, SIM_CRASH_DATA_ONLY);
	io = sim_restart(w, 0);
	assert_int_equal(io->v->open(io, "new", 0), -ENOENT);
	assert_int_equal(sim_disk_used(w, 0), 0);
	io->v->free(io);
	sim_free(w);
}

static void test_a_failed_sync_loses_data_and_the_next_one_lies(void **state)
{
	(void)state;
	struct sim *w = sim_new(4);
	struct io *io = half_synced(w);
	sim_fail_kind(w, SIM_SYNC, 0, EIO, false);
	assert_int_equal(io_do(io, IO_SYNC, 0, NULL, 0, 0), -EIO);
	assert_true(sim_fault_fired(w));
	assert_int_equal(io_do(io, IO_SYNC, 0, NULL, 0, 0), 0); /* the lie */
	char c = 0;
	assert_int_equal(io_do(io, IO_READ, 0, &c, 1, 0), 1);
	assert_int_equal(c, 'n');                               /* and the cache backs it up */
	sim_crash(w, 0, SIM_CRASH_KEEP_ALL);
	io = sim_restart(w, 0);
	int file = io->v->open(io, "f", 0);
	assert_int_equal(io_do(io, IO_READ, file, &c, 1, 0), 1);
	assert_int_equal(c, 'o');
	io->v->free(io);
	sim_free(w);
}

static void never(struct io_op *op, int64_t res)
{
	int64_t *seen = op->ctx;
	*seen = res;
}

static void test_a_write_during_a_sync_is_not_covered_by_it(void **state)
{
	(void)state;
	struct sim *w = sim_new(5);
	struct sim_latency fast = { 1000, 1000 }, slow = { SIM_MS, SIM_MS };
	sim_disk_speed(w, 0, (struct sim_disk_speed){ fast, fast, slow });
	struct io *io = sim_node_io(w, 0);
	int file = io->v->open(io, "f", IO_CREATE);
	write_at(io, file, '1', 512, 0);
	assert_int_equal(io->v->sync_dir(io), 0);
	int64_t synced = 99;
	struct io_op sync = { .kind = IO_SYNC, .file = file, .done = never, .ctx = &synced };
	io_submit(io, &sync);
	write_at(io, file, '2', 512, 512); /* lands while the sync is on its way, in the same block */
	assert_int_equal(synced, 99);
	while (synced == 99)
		(void)io_reap(io, UINT64_MAX);
	assert_int_equal(synced, 0);
	struct buf got = { 0 };
	assert_int_equal(sim_peek_platter(w, 0, "f", &got), 0);
	assert_int_equal(got.len, 512);
	assert_int_equal(got.data[511], '1');
	buf_free(&got);
	io->v->close(io, file);
	io->v->free(io);
	sim_free(w);
}

static void test_operations_in_flight_at_a_crash_never_complete_and_leave_their_buffers_alone(void **state)
{
	(void)state;
	struct sim *w = sim_new(6);
	struct io *io = sim_node_io(w, 0);
	int file = io->v->open(io, "f", IO_CREATE);
	int64_t seen = 99;
	struct io_op *op = malloc(sizeof *op);
	char *data = malloc(4096);
	*op = (struct io_op){ .kind = IO_WRITE, .file = file, .data = data, .len = 4096, .done = never, .ctx = &seen };
	io_submit(io, op);
	sim_crash(w, 0, SIM_CRASH_SEEDED);
	assert_true(sim_dead(w, 0));
	free(data);
	free(op);
	sim_run_for(w, SIM_S);
	assert_int_equal(seen, 99);
	assert_int_equal(io->v->open(io, "f", 0), -EIO);
	struct io *next = sim_restart(w, 0);
	assert_false(sim_dead(w, 0));
	next->v->free(next);
	sim_free(w);
}

static void test_a_buried_process_gets_its_operations_back_cancelled(void **state)
{
	(void)state;
	struct sim *w = sim_new(6);
	struct io *io = sim_node_io(w, 0);
	int file = io->v->open(io, "f", IO_CREATE);
	char byte = 'x';
	int64_t seen = 99;
	struct io_op op = { .kind = IO_WRITE, .file = file, .data = &byte, .len = 1, .done = never, .ctx = &seen };
	io_submit(io, &op);
	sim_crash(w, 0, SIM_CRASH_DROP_ALL);
	sim_bury(w, 0);
	assert_int_equal(seen, -ECANCELED);
	assert_int_equal(io_do(io, IO_WRITE, file, &byte, 1, 0), -ECANCELED); /* waits for nothing */
	io->v->free(io);
	sim_free(w);
}

static void test_a_full_disk_refuses_and_a_lock_is_held_until_the_process_ends(void **state)
{
	(void)state;
	struct sim *w = sim_new(8);
	sim_disk_limit(w, 0, 4 * DISK_BLOCK);
	struct io *io = sim_node_io(w, 0);
	int file = io->v->open(io, "f", IO_CREATE);
	assert_int_equal(io->v->allocate(io, file, 5 * DISK_BLOCK), -ENOSPC);
	assert_int_equal(io->v->allocate(io, file, 3 * DISK_BLOCK), 0);
	assert_int_equal(io->v->free_bytes(io), DISK_BLOCK);
	char block[DISK_BLOCK] = "x";
	assert_int_equal(io_do(io, IO_WRITE, file, block, sizeof block, 4 * DISK_BLOCK), -ENOSPC);
	assert_int_equal(io_do(io, IO_WRITE, file, block, sizeof block, 3 * DISK_BLOCK), DISK_BLOCK);
	assert_int_equal(io->v->lock(io, "lock"), 0);
	assert_int_equal(io->v->lock(io, "lock"), -EWOULDBLOCK);
	sim_crash(w, 0, SIM_KILL);
	io = sim_restart(w, 0);
	assert_int_equal(io->v->lock(io, "lock"), 0);
	io->v->free(io);
	sim_free(w);
}

static void test_flipped_spoiled_and_short(void **state)
{
	(void)state;
	struct sim *w = sim_new(9);
	sim_plant(w, 0, "p", span_str("planted"));
	struct io *io = sim_node_io(w, 0);
	struct buf got = { 0 };
	assert_int_equal(sim_flip(w, 0, "p", 0, 'p' ^ 'P'), 0);
	assert_int_equal(sim_flip(w, 0, "p", 7, 1), -ERANGE);
	sim_short_io(w, 1000);
	assert_int_equal(io_read_file(io, "p", 100, &got), 0); /* goes on after short reads */
	assert_true(span_eq(buf_span(&got), span_str("Planted")));
	assert_true(sim_calls_of(w, SIM_READ) > 1);
	assert_int_equal(sim_spoil(w, 0, "p", 0, 1), 0);
	assert_int_equal(io_read_file(io, "p", 100, &got), -EIO);
	buf_free(&got);
	io->v->free(io);
	sim_free(w);
}

static void test_every_call_of_a_replace_fails_once_and_the_old_or_the_new_file_stays(void **state)
{
	(void)state;
	bool fired = true;
	uint64_t failures = 0;
	for (uint64_t index = 0; fired; index++) {
		struct sim *w = sim_new(index);
		sim_plant(w, 0, "id", span_str("old"));
		struct io *io = sim_node_io(w, 0);
		sim_fail_call(w, index, EIO, false);
		int err = io_replace_file(io, "id", span_str("new one"));
		fired = sim_fault_fired(w);
		assert_int_equal(err, fired ? -EIO : 0);
		failures += fired;
		sim_fail_none(w);
		sim_crash(w, 0, SIM_CRASH_SEEDED);
		io = sim_restart(w, 0);
		struct buf got = { 0 };
		assert_int_equal(io_read_file(io, "id", 100, &got), 0);
		bool is_old = span_eq(buf_span(&got), span_str("old"));
		assert_true(is_old || span_eq(buf_span(&got), span_str("new one")));
		assert_false(is_old && !fired);
		buf_free(&got);
		io->v->free(io);
		sim_free(w);
	}
	assert_true(failures >= 6); /* unlink, open, write, sync, rename, sync_dir */
}

/* ---- network ---- */

struct world {
	struct sim *w;
	struct io *io;
	struct buf got;             /* by the node */
	struct buf out;
	unsigned accepted, closed, sent, spans;
	int closed_res, sent_res;
	struct io_conn conn;
	bool echo, refuse;
	int peer_closed;            /* 99 = not yet */
	unsigned peer_connected;
};

static void *on_accepted(void *owner, struct io_conn conn, const char *peer, enum io_peer kind)
{
	struct world *t = owner;
	assert_int_equal(kind, IO_PEER_TCP);
	assert_memory_equal(peer, "sim:", 4);
	t->accepted++;
	t->conn = conn;
	return t->refuse ? NULL : t;
}

static void on_received(void *owner, void *ctx, struct span bytes)
{
	struct world *t = owner;
	assert_ptr_equal(ctx, t);
	t->spans++;
	buf_append(&t->got, bytes.data, bytes.len);
	if (!t->echo)
		return;
	t->echo = false;
	t->out.len = 0;
	buf_append(&t->out, bytes.data, bytes.len);
	t->io->v->send(t->io, t->conn, buf_span(&t->out));
}

static void on_sent(void *owner, void *ctx, int res)
{
	struct world *t = owner;
	(void)ctx;
	t->sent++;
	t->sent_res = res;
}

static void on_closed(void *owner, void *ctx, int res)
{
	struct world *t = owner;
	(void)ctx;
	t->closed++;
	t->closed_res = res;
}

static const struct io_net_events net = { on_accepted, on_received, on_sent, on_closed };

static void on_peer_connected(void *ctx, struct sim_peer *peer)
{
	assert_true(sim_peer_connected(peer));
	((struct world *)ctx)->peer_connected++;
}

static void on_peer_closed(void *ctx, struct sim_peer *peer, int res)
{
	assert_true(sim_peer_closed(peer));
	((struct world *)ctx)->peer_closed = res;
}

static const struct sim_peer_events peer_events = { .connected = on_peer_connected, .closed = on_peer_closed };

static void world_open(struct world *t, uint64_t seed)
{
	*t = (struct world){ .w = sim_new(seed), .peer_closed = 99 };
	t->io = sim_node_io(t->w, 0);
	t->io->net = &net;
	t->io->net_owner = t;
	assert_int_equal(t->io->v->listen(t->io, "tcp://127.0.0.1:0", NULL), 0);
}

static void world_free(struct world *t)
{
	t->io->v->free(t->io);
	sim_free(t->w);
	buf_free(&t->got);
	buf_free(&t->out);
}

static void run(struct world *t, uint64_t ns)
{
	uint64_t end = sim_now_ns(t->w) + ns;
	while (sim_now_ns(t->w) < end)
		(void)io_reap(t->io, end);
}

static void test_bytes_travel_both_ways_and_time_is_virtual(void **state)
{
	(void)state;
	struct world t;
	world_open(&t, 1);
	t.echo = true;
	struct sim_peer *p = sim_dial(t.w, 0, &peer_events, &t);
	sim_peer_send(p, span_str("hello"));
	run(&t, 3600 * SIM_S);
	assert_int_equal(t.accepted, 1);
	assert_int_equal(t.peer_connected, 1);
	assert_int_equal(t.sent, 1);
	assert_int_equal(t.sent_res, 0);
	assert_true(span_eq(buf_span(sim_peer_inbox(p)), span_str("hello")));
	sim_peer_close(p, false);
	run(&t, SIM_S);
	assert_int_equal(t.closed, 1);
	assert_int_equal(t.closed_res, 0);
	assert_int_equal(t.peer_closed, 0);
	world_free(&t);
}

static void test_chunks_and_split_points_keep_the_bytes_in_order(void **state)
{
	(void)state;
	for (uint64_t at = 1; at < 10; at++) {
		struct world t;
		world_open(&t, at);
		struct sim_peer *p = sim_dial(t.w, 0, NULL, NULL);
		sim_peer_split_at(p, at);
		sim_peer_send(p, span_str("0123456789"));
		run(&t, SIM_S);
		assert_int_equal(t.spans, 2);
		assert_true(span_eq(buf_span(&t.got), span_str("0123456789")));
		sim_peer_link(p, (struct sim_link){ .delay_max_ns = SIM_MS, .chunk_max = 1, .window = 10 });
		sim_peer_send(p, span_str("abcdef"));
		run(&t, SIM_S);
		assert_int_equal(t.spans, 8);
		assert_true(span_eq(buf_span(&t.got), span_str("0123456789abcdef")));
		world_free(&t);
	}
}

static void test_nobody_listening_refuses(void **state)
{
	(void)state;
	struct world t;
	world_open(&t, 1);
	t.io->v->stop_listening(t.io);
	(void)sim_dial(t.w, 0, &peer_events, &t);
	run(&t, SIM_S);
	assert_int_equal(t.peer_closed, -ECONNREFUSED);
	assert_int_equal(t.peer_connected, 0);
	world_free(&t);
}

static void test_a_slow_reader_holds_the_send_until_it_reads(void **state)
{
	(void)state;
	struct world t;
	world_open(&t, 1);
	sim_link_default(t.w, (struct sim_link){ .delay_min_ns = 1000, .delay_max_ns = 1000, .window = 1000 });
	struct sim_peer *p = sim_dial(t.w, 0, &peer_events, &t);
	run(&t, SIM_S);
	sim_peer_pause(p, true);
	(void)buf_extend(&t.out, 5000);
	memset(t.out.data, 'b', 5000);
	t.io->v->send(t.io, t.conn, buf_span(&t.out));
	run(&t, SIM_S);
	assert_int_equal(t.sent, 0);
	sim_peer_pause(p, false);
	run(&t, SIM_S);
	assert_int_equal(t.sent, 1);
	assert_int_equal(sim_peer_inbox(p)->len, 5000);
	world_free(&t);
}

static void test_a_cut_during_a_send_gives_sent_then_closed_once_each(void **state)
{
	(void)state;
	struct world t;
	world_open(&t, 1);
	sim_link_default(t.w, (struct sim_link){ .window = 10 });
	struct sim_peer *p = sim_dial(t.w, 0, &peer_events, &t);
	sim_peer_pause(p, true);
	run(&t, SIM_S);
	t.io->v->send(t.io, t.conn, span_str("more than the window takes"));
	run(&t, SIM_S);
	assert_int_equal(t.sent, 0);
	sim_peer_cut(p);
	run(&t, SIM_S);
	assert_int_equal(t.sent, 1);
	assert_int_equal(t.sent_res, -ECONNRESET);
	assert_int_equal(t.closed, 1);
	assert_int_equal(t.closed_res, -ECONNRESET);
	assert_int_equal(t.peer_closed, -ECONNRESET);
	t.io->v->send(t.io, t.conn, span_str("stale")); /* a stale id names nothing */
	run(&t, SIM_S);
	assert_int_equal(t.sent, 1);
	world_free(&t);
}

static void test_stalls_hold_and_black_holes_swallow(void **state)
{
	(void)state;
	struct world t;
	world_open(&t, 1);
	struct sim_peer *p = sim_dial(t.w, 0, &peer_events, &t);
	run(&t, SIM_S);
	sim_peer_stall(p, SIM_TO_NODE, true);
	sim_peer_send(p, span_str("later"));
	run(&t, SIM_S);
	assert_int_equal(t.got.len, 0);
	sim_peer_stall(p, SIM_TO_NODE, false);
	run(&t, SIM_S);
	assert_true(span_eq(buf_span(&t.got), span_str("later")));
	sim_node_stall(t.w, 0, SIM_BOTH_WAYS, true);
	struct sim_peer *q = sim_dial(t.w, 0, NULL, NULL);
	run(&t, SIM_S);
	assert_int_equal(t.accepted, 1);
	sim_node_stall(t.w, 0, SIM_BOTH_WAYS, false);
	run(&t, SIM_S);
	assert_int_equal(t.accepted, 2);
	sim_peer_blackhole(p, SIM_TO_NODE);
	sim_peer_send(p, span_str("never"));
	sim_peer_close(p, true);
	run(&t, SIM_S);
	assert_int_equal(t.closed, 0);
	assert_true(sim_peer_connected(q));
	world_free(&t);
}

static void test_our_close_sends_what_was_sent_first(void **state)
{
	(void)state;
	struct world t;
	world_open(&t, 1);
	struct sim_peer *p = sim_dial(t.w, 0, &peer_events, &t);
	run(&t, SIM_S);
	t.io->v->send(t.io, t.conn, span_str("bye"));
	t.io->v->close_conn(t.io, t.conn, false);
	assert_int_equal(t.closed, 0);
	run(&t, SIM_S);
	assert_int_equal(t.sent, 1);
	assert_int_equal(t.closed, 1);
	assert_true(span_eq(buf_span(sim_peer_inbox(p)), span_str("bye")));
	assert_int_equal(t.peer_closed, 0);
	world_free(&t);
}

static void crash_it(void *ctx) { sim_crash(((struct world *)ctx)->w, 0, SIM_CRASH_SEEDED); }

static void test_a_crash_from_a_timer_resets_the_peers_and_a_burial_closes_the_node_side(void **state)
{
	(void)state;
	struct world t;
	world_open(&t, 1);
	(void)sim_dial(t.w, 0, &peer_events, &t);
	run(&t, SIM_S);
	sim_after(t.w, SIM_MS, crash_it, &t);
	assert_int_equal(io_reap(t.io, sim_now_ns(t.w) + SIM_S), 0);
	assert_true(sim_dead(t.w, 0));
	sim_run_for(t.w, SIM_S);
	assert_int_equal(t.peer_closed, -ECONNRESET);
	assert_int_equal(t.closed, 0);
	sim_bury(t.w, 0);
	assert_int_equal(t.closed, 1);
	t.io->v->free(t.io);
	t.io = sim_restart(t.w, 0);
	world_free(&t);
}

static void test_a_reset_or_an_end_at_each_moment_of_an_exchange_closes_exactly_once(void **state)
{
	(void)state;
	for (uint64_t us = 0; us < 300; us += 3) {
		struct world t;
		world_open(&t, us);
		t.echo = true;
		struct sim_peer *p = sim_dial(t.w, 0, &peer_events, &t);
		sim_peer_send(p, span_str("request"));
		run(&t, us * SIM_US);
		if (us % 2)
			sim_peer_close(p, us % 3 != 0);
		else
			sim_peer_cut(p);
		run(&t, SIM_S);
		assert_int_equal(t.closed, t.accepted);
		assert_true(t.sent <= 1);
		assert_int_not_equal(t.peer_closed, 99);
		world_free(&t);
	}
}

static uint64_t a_run(uint64_t seed)
{
	struct world t;
	world_open(&t, seed);
	t.echo = true;
	sim_link_default(t.w, (struct sim_link){ .delay_max_ns = SIM_MS, .chunk_max = 7, .window = 20 });
	struct sim_peer *p = sim_dial(t.w, 0, &peer_events, &t);
	sim_peer_send(p, span_str("some bytes that are split at random"));
	assert_int_equal(io_replace_file(t.io, "x", span_str("y")), 0);
	run(&t, SIM_S);
	sim_crash(t.w, 0, SIM_CRASH_SEEDED);
	sim_run_for(t.w, SIM_S);
	uint64_t hash = sim_trace_hash(t.w);
	t.io->v->free(t.io);
	t.io = sim_restart(t.w, 0);
	world_free(&t);
	return hash;
}

static void test_the_same_seed_gives_the_same_trace_and_another_one_does_not(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		assert_int_equal(a_run(seed), a_run(seed));
		assert_int_not_equal(a_run(seed), a_run(seed + 100));
	}
}

static void nothing(void *ctx) { (*(unsigned *)ctx)++; }

static void test_stepped_mode_lets_the_test_turn_several_nodes(void **state)
{
	(void)state;
	struct sim *w = sim_new(1);
	sim_stepped(w, true);
	struct io *a = sim_node_io(w, 0), *b = sim_node_io(w, 1);
	unsigned fired = 0;
	sim_after(w, 2 * SIM_MS, nothing, &fired);
	uint64_t begin = sim_now_ns(w);
	(void)io_reap(a, begin + SIM_MS);
	(void)io_reap(b, begin + 3 * SIM_MS);
	assert_int_equal(sim_now_ns(w), begin); /* reap moves no time */
	assert_true(sim_step(w));
	assert_true(sim_node_due(w, 0) && !sim_node_due(w, 1));
	(void)io_reap(a, UINT64_MAX);
	assert_true(sim_step(w));
	assert_int_equal(fired, 1);
	assert_true(sim_step(w));
	assert_true(sim_node_due(w, 1));
	a->v->free(a);
	b->v->free(b);
	sim_free(w);
}

struct again { struct io_post post; struct io *io; int ran; };

static void on_again(struct io_post *post)
{
	struct again *a = CONTAINER_OF(post, struct again, post);
	if (++a->ran == 1)
		a->io->v->post(a->io, post);
}

static void test_a_post_is_run_by_the_next_reap_and_may_post_again(void **state)
{
	(void)state;
	struct sim *w = sim_new(1);
	struct io *io = sim_node_io(w, 0);
	struct again a = { .post = { .fn = on_again }, .io = io };
	io->v->post(io, &a.post);
	assert_int_equal(a.ran, 0);
	assert_int_equal(io_reap(io, UINT64_MAX), 1);
	assert_int_equal(a.ran, 1);
	assert_int_equal(io_reap(io, UINT64_MAX), 1);
	assert_int_equal(a.ran, 2);
	assert_int_equal(io_reap(io, 0), 0);
	io->v->free(io);
	sim_free(w);
}

static void test_a_wake_ends_the_wait_and_wall_time_may_jump(void **state)
{
	(void)state;
	struct sim *w = sim_new(1);
	struct io *io = sim_node_io(w, 0);
	uint64_t before = io_wall_ms(io);
	io->v->wake(io);
	assert_int_equal(io_reap(io, UINT64_MAX), 0);
	sim_wall_jump(w, -5000);
	assert_true(io_wall_ms(io) < before);
	io->v->free(io);
	sim_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_crash_pattern_does_what_it_says),
		cmocka_unit_test(test_a_seeded_crash_mixes_and_repeats),
		cmocka_unit_test(test_synced_data_survive_every_pattern_and_seed),
		cmocka_unit_test(test_a_rename_without_sync_dir_can_be_lost),
		cmocka_unit_test(test_a_created_file_is_gone_without_sync_dir_even_when_it_was_synced),
		cmocka_unit_test(test_a_failed_sync_loses_data_and_the_next_one_lies),
		cmocka_unit_test(test_a_write_during_a_sync_is_not_covered_by_it),
		cmocka_unit_test(test_operations_in_flight_at_a_crash_never_complete_and_leave_their_buffers_alone),
		cmocka_unit_test(test_a_buried_process_gets_its_operations_back_cancelled),
		cmocka_unit_test(test_a_full_disk_refuses_and_a_lock_is_held_until_the_process_ends),
		cmocka_unit_test(test_flipped_spoiled_and_short),
		cmocka_unit_test(test_every_call_of_a_replace_fails_once_and_the_old_or_the_new_file_stays),
		cmocka_unit_test(test_bytes_travel_both_ways_and_time_is_virtual),
		cmocka_unit_test(test_chunks_and_split_points_keep_the_bytes_in_order),
		cmocka_unit_test(test_nobody_listening_refuses),
		cmocka_unit_test(test_a_slow_reader_holds_the_send_until_it_reads),
		cmocka_unit_test(test_a_cut_during_a_send_gives_sent_then_closed_once_each),
		cmocka_unit_test(test_stalls_hold_and_black_holes_swallow),
		cmocka_unit_test(test_our_close_sends_what_was_sent_first),
		cmocka_unit_test(test_a_crash_from_a_timer_resets_the_peers_and_a_burial_closes_the_node_side),
		cmocka_unit_test(test_a_reset_or_an_end_at_each_moment_of_an_exchange_closes_exactly_once),
		cmocka_unit_test(test_the_same_seed_gives_the_same_trace_and_another_one_does_not),
		cmocka_unit_test(test_stepped_mode_lets_the_test_turn_several_nodes),
		cmocka_unit_test(test_a_wake_ends_the_wait_and_wall_time_may_jump),
		cmocka_unit_test(test_a_post_is_run_by_the_next_reap_and_may_post_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
