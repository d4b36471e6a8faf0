/* tests/unit/test_io_sim_more.c: the simulator keeps its promises, part two: directories, operations on names, files to sockets,
 * computation. */
#include "../sim/io_sim.h"
#include "../../wire/limits.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void write_at(struct io *io, int file, char fill, size_t len, uint64_t offset)
{
	char *data = malloc(len);
	memset(data, fill, len);
	assert_int_equal(io_do(io, IO_WRITE, file, data, len, offset), len);
	free(data);
}

static void never(struct io_op *op, int64_t res) { *(int64_t *)op->ctx = res; }

static int64_t on_name(struct io *io, enum io_op_kind kind, const char *name)
{
	return io_do(io, kind, -1, (void *)(uintptr_t)name, 0, 0);
}

static void join(void *ctx, const char *name)
{
	struct buf *names = ctx;
	buf_append(names, name, strlen(name));
	buf_append(names, ";", 1);
}

static void test_directories_hold_files_and_are_no_files(void **state)
{
	(void)state;
	struct sim *w = sim_new(1);
	struct io *io = sim_node_io(w, 0);
	struct buf names = { 0 };
	assert_int_equal(io->v->open(io, "d/ab/f", IO_CREATE), -ENOENT);
	assert_int_equal(io->v->mkdir(io, "d/ab"), -ENOENT);
	assert_int_equal(io->v->mkdir(io, "d"), 0);
	assert_int_equal(io->v->mkdir(io, "d/ab"), 0);
	assert_int_equal(io->v->mkdir(io, "d/ab"), 0);
	int file = io->v->open(io, "d/ab/f", IO_CREATE);
	write_at(io, file, 'x', 5, 0);
	assert_int_equal(io_do(io, IO_WRITEBACK, file, NULL, 5, 0), 0);
	io->v->close(io, file);
	assert_int_equal(io->v->open(io, "d/ab", 0), -EISDIR);
	assert_int_equal(io->v->size_of(io, "d/ab/f"), 5);
	assert_int_equal(io->v->size_of(io, "d/ab"), -EISDIR);
	assert_int_equal(io->v->rename(io, "d/ab/f", "none/f"), -ENOENT);
	assert_int_equal(io->v->rename(io, "d/ab/f", "d/g"), 0);
	assert_int_equal(io->v->list(io, "d", join, &names), 0);
	assert_true(span_eq(buf_span(&names), span_str("ab;g;")) || span_eq(buf_span(&names), span_str("g;ab;")));
	names.len = 0;
	assert_int_equal(io->v->list(io, "", join, &names), 0);
	assert_true(span_eq(buf_span(&names), span_str("d;")));
	assert_int_equal(io->v->list(io, "none", join, &names), -ENOENT);
	assert_int_equal(on_name(io, IO_SYNC_DIR, "none"), -ENOENT);
	assert_int_equal(on_name(io, IO_UNLINK, "d/ab"), -EISDIR);
	assert_int_equal(on_name(io, IO_UNLINK, "d/g"), 0);
	assert_int_equal(on_name(io, IO_UNLINK, "d/g"), -ENOENT);
	assert_int_equal(on_name(io, IO_NOP, NULL), 0);
	buf_free(&names);
	io->v->free(io);
	sim_free(w);
}

/* Makes d/f with a synced content; syncs the names of the directories in the string. */
static struct io *file_in_directory(struct sim *w, const char *const synced[2])
{
	struct io *io = sim_node_io(w, 0);
	assert_int_equal(io->v->mkdir(io, "d"), 0);
	int file = io->v->open(io, "d/f", IO_CREATE);
	write_at(io, file, 'x', 5, 0);
	assert_int_equal(io_do(io, IO_SYNC, file, NULL, 0, 0), 0);
	io->v->close(io, file);
	for (int i = 0; i < 2; i++)
		if (synced[i])
			assert_int_equal(on_name(io, IO_SYNC_DIR, synced[i]), 0);
	return io;
}

static void test_a_name_needs_its_directory_and_that_its_own_sync(void **state)
{
	(void)state;
	static const struct { const char *synced[2]; bool there; } cases[] = {
		{ { NULL, NULL }, false }, { { "d", NULL }, false }, { { "", NULL }, false }, { { "", "d" }, true }, { { "d", "" }, true },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct sim *w = sim_new(i);
		(void)file_in_directory(w, cases[i].synced);
		sim_crash(w, 0, SIM_CRASH_DROP_ALL);
		struct io *io = sim_restart(w, 0);
		assert_int_equal(io->v->size_of(io, "d/f"), cases[i].there ? 5 : -ENOENT);
		io->v->free(io);
		sim_free(w);
	}
}

static void test_a_file_renamed_to_another_directory_may_be_in_both_and_never_in_none(void **state)
{
	(void)state;
	static const char *const both[2] = { "d", "" };
	bool seen_both = false, seen_one = false;
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct sim *w = sim_new(seed);
		struct io *io = file_in_directory(w, both);
		assert_int_equal(io->v->mkdir(io, "e"), 0);
		assert_int_equal(io->v->sync_dir(io), 0);
		assert_int_equal(io->v->rename(io, "d/f", "e/f"), 0);
		assert_int_equal(on_name(io, IO_SYNC_DIR, "e"), 0);
		sim_crash(w, 0, SIM_CRASH_SEEDED);
		io = sim_restart(w, 0);
		assert_int_equal(io->v->size_of(io, "e/f"), 5);
		seen_both = seen_both || io->v->size_of(io, "d/f") == 5;
		seen_one = seen_one || io->v->size_of(io, "d/f") == -ENOENT;
		io->v->free(io);
		sim_free(w);
	}
	assert_true(seen_both && seen_one);
}

static void test_a_sync_of_a_directory_covers_what_was_before_it(void **state)
{
	(void)state;
	static const char *const both[2] = { "d", "" };
	struct sim *w = sim_new(5);
	struct io *io = file_in_directory(w, both);
	int64_t synced = 99;
	char dir[] = "d", name[] = "d/f";
	assert_int_equal(io->v->rename(io, "d/f", "d/g"), 0);
	struct io_op op = { .kind = IO_SYNC_DIR, .data = dir, .done = never, .ctx = &synced };
	io_submit(io, &op);
	assert_int_equal(io->v->rename(io, "d/g", "d/h"), 0); /* while it is on its way */
	while (synced == 99)
		(void)io_reap(io, UINT64_MAX);
	assert_int_equal(synced, 0);
	sim_crash(w, 0, SIM_CRASH_DROP_ALL);
	io = sim_restart(w, 0);
	assert_int_equal(io->v->size_of(io, "d/g"), 5);
	assert_int_equal(io->v->size_of(io, "d/h"), -ENOENT);
	assert_int_equal(io->v->size_of(io, name), -ENOENT);
	/* A removal in flight is a removal or none, as the crash has it. */
	struct io_op gone = { .kind = IO_UNLINK, .data = (char[]){ "d/g" }, .done = never, .ctx = &synced };
	io_submit(io, &gone);
	sim_crash(w, 0, SIM_CRASH_KEEP_ALL);
	io = sim_restart(w, 0);
	assert_int_equal(io->v->size_of(io, "d/g"), -ENOENT);
	io->v->free(io);
	sim_free(w);
}

static void test_a_failed_writeback_loses_data_as_a_failed_sync_does(void **state)
{
	(void)state;
	struct sim *w = sim_new(3);
	struct io *io = sim_node_io(w, 0);
	int file = io->v->open(io, "f", IO_CREATE);
	write_at(io, file, 'x', 4096, 0);
	assert_int_equal(io->v->sync_dir(io), 0);
	assert_int_equal(io_do(io, IO_WRITEBACK, file, NULL, 4096, 0), 0);
	assert_true(sim_unsynced(w, 0) > 0); /* it promises nothing */
	sim_fail_kind(w, SIM_WRITEBACK, 0, EIO, false);
	assert_int_equal(io_do(io, IO_WRITEBACK, file, NULL, 4096, 0), -EIO);
	assert_int_equal(io_do(io, IO_SYNC, file, NULL, 0, 0), 0); /* the lie */
	sim_crash(w, 0, SIM_CRASH_KEEP_ALL);
	io = sim_restart(w, 0);
	struct buf got = { 0 };
	assert_int_equal(io_read_file(io, "f", 5000, &got), 0);
	assert_true(got.len < 4096 || got.data[0] != 'x');
	buf_free(&got);
	io->v->free(io);
	sim_free(w);
}

static void test_each_new_kind_of_call_fails_when_told_to(void **state)
{
	(void)state;
	static const char *const both[2] = { "d", "" };
	struct sim *w = sim_new(3);
	struct io *io = file_in_directory(w, both);
	sim_fail_kind(w, SIM_MKDIR, 0, ENOSPC, false);
	assert_int_equal(io->v->mkdir(io, "e"), -ENOSPC);
	sim_fail_kind(w, SIM_SIZE_OF, 0, EIO, false);
	assert_int_equal(io->v->size_of(io, "d/f"), -EIO);
	sim_fail_kind(w, SIM_SYNC_DIR, 0, EIO, false);
	assert_int_equal(on_name(io, IO_SYNC_DIR, "d"), -EIO);
	sim_fail_kind(w, SIM_UNLINK, 0, EIO, false);
	assert_int_equal(on_name(io, IO_UNLINK, "d/f"), -EIO);
	assert_int_equal(io->v->size_of(io, "d/f"), 5);
	io->v->free(io);
	sim_free(w);
}

struct tally {
	struct io_work work[3];
	char order[8];
	size_t count;
};

static void tally_run(void *ctx) { struct tally *t = ctx; t->order[t->count++] = 'r'; }
static void tally_done(void *ctx) { struct tally *t = ctx; t->order[t->count++] = 'd'; }

static void test_work_runs_later_and_is_done_in_a_reap_or_by_the_burial(void **state)
{
	(void)state;
	for (int crash = 0; crash < 2; crash++) {
		struct sim *w = sim_new(3);
		struct io *io = sim_node_io(w, 0);
		struct tally t = { .count = 0 };
		for (size_t i = 0; i < COUNT_OF(t.work); i++) {
			t.work[i] = (struct io_work){ .run = tally_run, .done = tally_done, .ctx = &t };
			io_work(io, &t.work[i]);
		}
		assert_int_equal(t.count, 0);
		if (crash) {
			sim_crash(w, 0, SIM_KILL);
			sim_run_for(w, SIM_S);
			assert_int_equal(t.count, 0);
			sim_bury(w, 0);
			assert_string_equal(t.order, "ddd");
		} else {
			while (t.count < 6)
				(void)io_reap(io, UINT64_MAX);
			assert_int_equal(t.order[0], 'r');
		}
		io->v->free(io);
		sim_free(w);
	}
}

/* ---- files to sockets ---- */

struct net {
	struct sim *w;
	struct io *io;
	struct io_conn conn;
	int file;
	unsigned sent, closed;
	int sent_res, closed_res;
};

static void *net_accepted(void *owner, struct io_conn conn, const char *peer, enum io_peer kind)
{
	struct net *n = owner;
	(void)peer, (void)kind;
	n->conn = conn;
	return n;
}

static void net_received(void *owner, void *ctx, struct span bytes) { (void)owner, (void)ctx, (void)bytes; }

static void net_sent(void *owner, void *ctx, int res)
{
	struct net *n = owner;
	(void)ctx;
	n->sent++;
	n->sent_res = res;
}

static void net_closed(void *owner, void *ctx, int res)
{
	struct net *n = owner;
	(void)ctx;
	n->closed++;
	n->closed_res = res;
}

static const struct io_net_events net_events = { net_accepted, net_received, net_sent, net_closed };

static void turn_for(struct net *n, uint64_t ns)
{
	uint64_t end = sim_now_ns(n->w) + ns;
	while (sim_now_ns(n->w) < end && !sim_dead(n->w, 0))
		(void)io_reap(n->io, end);
}

static struct sim_peer *net_open(struct net *n)
{
	uint16_t port;
	*n = (struct net){ .w = sim_new(1) };
	sim_plant(n->w, 0, "blobs/ab/x", span_str("0123456789"));
	n->io = sim_node_io(n->w, 0);
	n->io->net = &net_events;
	n->io->net_owner = n;
	assert_int_equal(n->io->v->listen(n->io, "tcp://127.0.0.1:0", &port), 0);
	n->file = n->io->v->open(n->io, "blobs/ab/x", IO_READONLY);
	assert_true(n->file >= 0);
	sim_link_default(n->w, (struct sim_link){ .window = 4 });
	struct sim_peer *p = sim_dial(n->w, 0, NULL, NULL);
	turn_for(n, SIM_S);
	return p;
}

static void net_free(struct net *n)
{
	n->io->v->free(n->io);
	sim_free(n->w);
}

static void test_a_file_is_sent_through_the_window_and_then_free_to_be_closed(void **state)
{
	(void)state;
	struct net n;
	struct sim_peer *p = net_open(&n);
	sim_peer_pause(p, true);
	assert_int_equal(n.io->v->send_file(n.io, n.conn, n.file, 1, 8), 0);
	turn_for(&n, SIM_S);
	assert_int_equal(n.sent, 0);
	sim_peer_pause(p, false);
	turn_for(&n, SIM_S);
	assert_int_equal(n.sent, 1);
	assert_int_equal(n.sent_res, 0);
	assert_true(span_eq(buf_span(sim_peer_inbox(p)), span_str("12345678")));
	n.io->v->close(n.io, n.file);
	net_free(&n);
}

static void test_a_file_that_is_too_short_or_cannot_be_read_ends_the_connection(void **state)
{
	(void)state;
	for (int how = 0; how < 3; how++) {
		struct net n;
		(void)net_open(&n);
		if (how == 1)
			assert_int_equal(sim_spoil(n.w, 0, "blobs/ab/x", 0, 1), 0);
		if (how == 2)
			sim_fail_kind(n.w, SIM_SEND_FILE, 0, EIO, false);
		assert_int_equal(n.io->v->send_file(n.io, n.conn, n.file, 0, how == 0 ? 11 : 10), 0);
		turn_for(&n, SIM_S);
		assert_int_equal(n.sent, 1);
		assert_int_equal(n.sent_res, -EIO);
		assert_int_equal(n.closed, 1);
		n.io->v->close(n.io, n.file);
		net_free(&n);
	}
}

static void test_a_file_that_does_not_begin_leaves_the_connection_alone(void **state)
{
	(void)state;
	struct net n;
	struct sim_peer *p = net_open(&n);
	sim_fail_kind(n.w, SIM_SEND_FILE, 0, EMFILE, false);
	assert_int_equal(n.io->v->send_file(n.io, n.conn, n.file, 0, 10), -EMFILE);
	turn_for(&n, SIM_S);
	assert_int_equal(n.sent + n.closed, 0);
	assert_int_equal(n.io->v->send_file(n.io, n.conn, n.file, 0, 10), 0);
	turn_for(&n, SIM_S);
	assert_int_equal(sim_peer_inbox(p)->len, 10);
	net_free(&n);
}

static void test_a_cut_an_abort_or_a_crash_ends_the_send_of_a_file_once(void **state)
{
	(void)state;
	for (int how = 0; how < 3; how++) {
		struct net n;
		struct sim_peer *p = net_open(&n);
		sim_peer_pause(p, true);
		assert_int_equal(n.io->v->send_file(n.io, n.conn, n.file, 0, 10), 0);
		turn_for(&n, SIM_MS);
		if (how == 0)
			sim_peer_cut(p);
		else if (how == 1)
			n.io->v->close_conn(n.io, n.conn, true);
		else
			sim_crash(n.w, 0, SIM_KILL);
		if (how == 2)
			sim_bury(n.w, 0);
		turn_for(&n, SIM_S);
		assert_int_equal(n.sent, 1);
		assert_true(n.sent_res < 0);
		assert_int_equal(n.closed, 1);
		if (how != 2)
			n.io->v->close(n.io, n.file);
		net_free(&n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_directories_hold_files_and_are_no_files),
		cmocka_unit_test(test_a_name_needs_its_directory_and_that_its_own_sync),
		cmocka_unit_test(test_a_file_renamed_to_another_directory_may_be_in_both_and_never_in_none),
		cmocka_unit_test(test_a_sync_of_a_directory_covers_what_was_before_it),
		cmocka_unit_test(test_a_failed_writeback_loses_data_as_a_failed_sync_does),
		cmocka_unit_test(test_each_new_kind_of_call_fails_when_told_to),
		cmocka_unit_test(test_work_runs_later_and_is_done_in_a_reap_or_by_the_burial),
		cmocka_unit_test(test_a_file_is_sent_through_the_window_and_then_free_to_be_closed),
		cmocka_unit_test(test_a_file_that_is_too_short_or_cannot_be_read_ends_the_connection),
		cmocka_unit_test(test_a_file_that_does_not_begin_leaves_the_connection_alone),
		cmocka_unit_test(test_a_cut_an_abort_or_a_crash_ends_the_send_of_a_file_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
