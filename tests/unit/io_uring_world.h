/* tests/unit/io_uring_world.h: an echo server on the io_uring world in a temporary directory, for test_io_uring*.c. */
#pragma once

#include "../../storage/io.h"
#include "../../wire/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { CONNS = 1200, SECOND = 1000000000 };

struct echo_conn {
	struct io_conn id;
	struct server *server;
	struct buf out;         /* received, to be sent back */
	struct buf flying;      /* in the current send */
	bool sending, used;
	size_t received;
};

struct server {
	struct io *io;
	char dir[64];
	uint16_t port;
	bool silent;            /* do not echo */
	bool refuse;            /* accepted answers NULL */
	unsigned accepted, closed, sent;
	int last_closed, last_sent;
	bool last_local;
	char last_peer[96];
	size_t received;
	struct echo_conn *last;
	struct echo_conn *conns;
};

static void flush(struct echo_conn *c)
{
	if (c->sending || c->out.len == 0)
		return;
	struct buf empty = c->flying;
	c->flying = c->out;
	c->out = empty;
	c->out.len = 0;
	c->sending = true;
	c->server->io->v->send(c->server->io, c->id, buf_span(&c->flying));
}

static void *on_accepted(void *owner, struct io_conn id, const char *peer, enum io_peer kind)
{
	struct server *s = owner;
	s->accepted++;
	s->last_local = kind == IO_PEER_LOCAL;
	(void)snprintf(s->last_peer, sizeof s->last_peer, "%s", peer);
	if (s->refuse)
		return NULL;
	struct echo_conn *c = NULL;
	for (unsigned i = 0; i < CONNS && !c; i++)
		c = s->conns[i].used ? NULL : &s->conns[i];
	assert_non_null(c);
	*c = (struct echo_conn){ .id = id, .server = s, .used = true, .out = c->out, .flying = c->flying };
	c->out.len = c->flying.len = 0;
	s->last = c;
	return c;
}

static void on_received(void *owner, void *ctx, struct span bytes)
{
	struct server *s = owner;
	struct echo_conn *c = ctx;
	assert_true(c->used && bytes.len > 0);
	s->received += bytes.len;
	c->received += bytes.len;
	if (s->silent)
		return;
	buf_append(&c->out, bytes.data, bytes.len);
	flush(c);
}

static void on_sent(void *owner, void *ctx, int res)
{
	struct server *s = owner;
	struct echo_conn *c = ctx;
	assert_true(c->used && c->sending);
	c->sending = false;
	c->flying.len = 0;
	s->sent++;
	s->last_sent = res;
	if (res == 0)
		flush(c);
}

static void on_closed(void *owner, void *ctx, int res)
{
	struct server *s = owner;
	struct echo_conn *c = ctx;
	assert_true(c->used && !c->sending);
	c->used = false;
	s->closed++;
	s->last_closed = res;
}

static const struct io_net_events events = { on_accepted, on_received, on_sent, on_closed };

static struct server *server_open(const char *base, uint32_t conns_max, uint32_t spin_us)
{
	struct server *s = calloc(1, sizeof *s);
	assert_non_null(s);
	s->conns = calloc(CONNS, sizeof *s->conns);
	assert_non_null(s->conns);
	(void)snprintf(s->dir, sizeof s->dir, "%s/hillock-io-XXXXXX", base);
	assert_non_null(mkdtemp(s->dir));
	char text[256];
	struct io_uring_config config = { .dir = s->dir, .conns_max = conns_max, .recv_buffers = 64,
					  .recv_buffer_bytes = 4096, .spin_us = spin_us };
	assert_int_equal(io_uring_open(&config, &s->io, text), 0);
	s->io->net = &events;
	s->io->net_owner = s;
	return s;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void server_free(struct server *s)
{
	s->io->v->free(s->io);
	(void)nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	for (unsigned i = 0; i < CONNS; i++) {
		buf_free(&s->conns[i].out);
		buf_free(&s->conns[i].flying);
	}
	free(s->conns);
	free(s);
}

static inline void turn(struct server *s) { (void)io_reap(s->io, io_now_ns(s->io) + SECOND / 10); }

/* Turns until the condition holds; gives up after 20 s, which no healthy run comes near. */
#define UNTIL(s, cond)                                                                    \
	do {                                                                              \
		uint64_t give_up_ = io_now_ns((s)->io) + 20ull * SECOND;                  \
		while (!(cond) && io_now_ns((s)->io) < give_up_)                          \
			turn(s);                                                          \
		assert_true(cond);                                                        \
	} while (0)

static int setup_tmp(void **state)
{
	*state = server_open("/tmp", CONNS, 0);
	return 0;
}

static int setup_shm(void **state)
{
	*state = server_open("/dev/shm", CONNS, 50);
	return 0;
}

static int teardown(void **state)
{
	server_free(*state);
	return 0;
}

/* False, with the reason on stderr, where io_uring is not available: the test exits 77 then. */
static bool available(void)
{
	struct io *io = NULL;
	char text[256];
	struct io_uring_config config = { .dir = "/tmp", .conns_max = 1, .recv_buffers = 2, .recv_buffer_bytes = 512 };
	int err = io_uring_open(&config, &io, text);
	if (err) {
		(void)fprintf(stderr, "skipped: %s\n", text);
		return false;
	}
	io->v->free(io);
	return true;
}

#define DISK(test) cmocka_unit_test_setup_teardown(test, setup_tmp, teardown)
#define MEMORY(test) { #test " (tmpfs)", test, setup_shm, teardown, NULL }
