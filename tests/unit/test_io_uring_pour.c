/* tests/unit/test_io_uring_pour.c: files to sockets, and the helper thread, of the real door to the world.
 * Exit 77 (skipped) where io_uring is not available. */
#include "io_uring_world.h"

enum { FILE_BYTES = (5 << 20) + 123 };

static uint8_t byte_at(uint64_t offset) { return (uint8_t)(offset * 2654435761u >> 16); }

static int make_file(struct io *io, const char *name)
{
	uint8_t *data = malloc(FILE_BYTES);
	assert_non_null(data);
	for (uint64_t i = 0; i < FILE_BYTES; i++)
		data[i] = byte_at(i);
	assert_int_equal(io_replace_file(io, name, span_of(data, FILE_BYTES)), 0);
	free(data);
	return io->v->open(io, name, IO_READONLY);
}

static int dial(struct server *s, bool local)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char url[128];
	(void)snprintf(un.sun_path, sizeof un.sun_path, "%s/socket", s->dir);
	(void)snprintf(url, sizeof url, "unix://%s", un.sun_path);
	if (s->port == 0) {
		assert_int_equal(s->io->v->listen(s->io, "tcp://127.0.0.1:0", &s->port), 0);
		assert_int_equal(s->io->v->listen(s->io, url, NULL), 0);
	}
	in.sin_port = htons(s->port);
	s->silent = true;
	unsigned before = s->accepted;
	int fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, local ? (struct sockaddr *)&un : (struct sockaddr *)&in, local ? sizeof un : sizeof in), 0);
	UNTIL(s, s->accepted == before + 1);
	return fd;
}

static void pour(struct server *s, int file, uint64_t offset, uint64_t len)
{
	s->last->sending = true;
	assert_int_equal(s->io->v->send_file(s->io, s->last->id, file, offset, len), 0);
}

struct taker {
	int fd;
	uint64_t offset, len;
	bool slow, ok;
};

static void *read_all(void *arg)
{
	struct taker *r = arg;
	uint8_t part[70001];
	uint64_t got = 0;
	bool same = true;
	for (unsigned turns = 0; got < r->len; turns++) {
		if (r->slow && turns % 8 == 0)
			(void)usleep(15000); /* longer than a thread of the kernel waits for us */
		ssize_t n = recv(r->fd, part, sizeof part, 0);
		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			same = same && part[i] == byte_at(r->offset + got + (uint64_t)i);
		got += (uint64_t)n;
	}
	r->ok = same && got == r->len;
	return NULL;
}

static void arrives_whole(struct server *s, bool local, bool slow)
{
	int file = make_file(s->io, "blob");
	struct taker r = { .fd = dial(s, local), .offset = 777, .len = FILE_BYTES - 777, .slow = slow };
	pthread_t thread;
	if (slow) {
		int small = 256 << 10; /* less, and loopback waits for its probes of the window */
		assert_int_equal(setsockopt(r.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
	}
	assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
	pour(s, file, r.offset, r.len);
	UNTIL(s, s->sent == 1);
	assert_int_equal(s->last_sent, 0);
	s->io->v->close(s->io, file); /* nothing of it is in flight any more */
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(r.ok);
	(void)close(r.fd);
	UNTIL(s, s->closed == 1);
}

static void test_a_file_arrives_whole_over_tcp(void **state) { arrives_whole(*state, false, false); }
static void test_a_file_arrives_whole_over_a_unix_socket(void **state) { arrives_whole(*state, true, false); }
static void test_a_slow_peer_gets_a_file_whole(void **state) { arrives_whole(*state, false, true); }
static void test_a_slow_peer_gets_a_file_whole_over_a_unix_socket(void **state) { arrives_whole(*state, true, true); }

static void test_sends_and_files_follow_each_other_in_order(void **state)
{
	struct server *s = *state;
	int file = make_file(s->io, "blob");
	int fd = dial(s, false);
	uint8_t got[6];
	for (unsigned i = 0; i < 20; i++) {
		s->last->sending = true;
		s->io->v->send(s->io, s->last->id, span_str("head"));
		UNTIL(s, s->sent == 2 * i + 1);
		pour(s, file, i, 2);
		UNTIL(s, s->sent == 2 * i + 2);
		assert_int_equal(recv(fd, got, sizeof got, MSG_WAITALL), sizeof got);
		assert_memory_equal(got, "head", 4);
		assert_true(got[4] == byte_at(i) && got[5] == byte_at(i + 1));
	}
	(void)close(fd);
	UNTIL(s, s->closed == 1);
	s->io->v->close(s->io, file);
}

static void test_a_file_that_ends_too_early_ends_the_connection(void **state)
{
	struct server *s = *state;
	int file = make_file(s->io, "blob");
	int fd = dial(s, false);
	struct taker r = { .fd = fd, .len = FILE_BYTES };
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
	pour(s, file, 0, FILE_BYTES + 1);
	UNTIL(s, s->closed == 1);
	assert_int_equal(s->sent, 1);
	assert_int_equal(s->last_sent, -EIO);
	assert_int_equal(s->last_closed, -EIO);
	assert_int_equal(pthread_join(thread, NULL), 0);
	(void)close(fd);
	s->io->v->close(s->io, file);
}

static void test_a_peer_that_goes_away_ends_the_send(void **state)
{
	struct server *s = *state;
	int file = make_file(s->io, "blob");
	for (unsigned local = 0; local < 2; local++) {
		int fd = dial(s, local);
		char some[1000];
		pour(s, file, 0, FILE_BYTES);
		UNTIL(s, recv(fd, some, sizeof some, MSG_DONTWAIT) > 0);
		(void)close(fd);
		UNTIL(s, s->closed == local + 1);
		assert_int_equal(s->sent, local + 1);
		assert_true(s->last_sent < 0);
	}
	s->io->v->close(s->io, file);
}

static void test_an_abort_ends_the_send_of_a_file_at_once(void **state)
{
	struct server *s = *state;
	int file = make_file(s->io, "blob");
	for (unsigned turns = 0; turns < 12; turns++) {
		int fd = dial(s, turns % 2);
		pour(s, file, 0, FILE_BYTES);
		for (unsigned i = 0; i < turns / 2; i++) /* at each stage of it */
			(void)io_reap(s->io, io_now_ns(s->io) + SECOND / 50);
		s->io->v->close_conn(s->io, s->last->id, true);
		UNTIL(s, s->closed == turns + 1);
		assert_int_equal(s->sent, turns + 1);
		assert_true(s->last_sent < 0);
		(void)close(fd);
	}
	/* What was left in their pipes belongs to nobody else. */
	struct taker r = { .fd = dial(s, false), .len = FILE_BYTES };
	pthread_t thread;
	assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
	pour(s, file, 0, FILE_BYTES);
	UNTIL(s, s->sent == 13);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(r.ok);
	(void)close(r.fd);
	UNTIL(s, s->closed == 13);
	s->io->v->close(s->io, file);
}

static void test_our_close_lets_the_file_end_first(void **state)
{
	struct server *s = *state;
	int file = make_file(s->io, "blob");
	struct taker r = { .fd = dial(s, false), .len = FILE_BYTES };
	pthread_t thread;
	pour(s, file, 0, FILE_BYTES);
	s->io->v->close_conn(s->io, s->last->id, false);
	assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
	UNTIL(s, s->sent == 1);
	assert_int_equal(s->last_sent, 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_true(r.ok);
	(void)close(r.fd);
	UNTIL(s, s->closed == 1);
	s->io->v->close(s->io, file);
}

static void test_a_loop_is_freed_with_files_on_their_way(void **state)
{
	struct server *s = *state;
	int file = make_file(s->io, "blob"), fds[8];
	for (unsigned i = 0; i < COUNT_OF(fds); i++) {
		fds[i] = dial(s, i % 2);
		pour(s, file, 0, FILE_BYTES);
		if (i % 2)
			(void)io_reap(s->io, io_now_ns(s->io) + SECOND / 100);
	}
	char text[256];
	struct io_uring_config config = { .dir = s->dir, .conns_max = 1, .recv_buffers = 2, .recv_buffer_bytes = 512 };
	s->io->v->free(s->io);
	assert_int_equal(io_uring_open(&config, &s->io, text), 0); /* for the teardown */
	for (unsigned i = 0; i < COUNT_OF(fds); i++)
		(void)close(fds[i]);
}

static unsigned descriptors(void)
{
	unsigned count = 0;
	for (int fd = 0; fd < 4096; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void test_without_descriptors_a_file_does_not_begin_and_none_is_lost_in_the_long_run(void **state)
{
	struct server *s = *state;
	int file = make_file(s->io, "blob");
	int fd = dial(s, false), held[4096], count = 0;
	char got[10];
	while (count < 4096 && (held[count] = dup(0)) >= 0)
		count++;
	assert_int_equal(s->io->v->send_file(s->io, s->last->id, file, 0, 10), -EMFILE);
	while (count > 0)
		(void)close(held[--count]);
	unsigned before = descriptors();
	for (unsigned i = 0; i < 50; i++) {
		pour(s, file, 0, 10);
		UNTIL(s, s->sent == i + 1);
		assert_int_equal(recv(fd, got, sizeof got, MSG_WAITALL), sizeof got);
	}
	assert_int_equal(descriptors(), before + 2); /* one pipe, again and again */
	(void)close(fd);
	UNTIL(s, s->closed == 1);
	s->io->v->close(s->io, file);
}

/* ---- computation ---- */

enum { WORKS = 200 };

struct sum {
	struct io_work work;
	struct sums *all;
	pthread_t ran_on;
	unsigned ran_as, done_as;
};

struct sums {
	struct io *io;
	unsigned ran, done;
	bool again;
	struct sum each[WORKS];
};

static void sum_run(void *ctx)
{
	struct sum *s = ctx;
	s->ran_on = pthread_self();
	s->ran_as = ++s->all->ran; /* of one thread, so no lock */
}

static void sum_done(void *ctx)
{
	struct sum *s = ctx;
	s->done_as = ++s->all->done;
	if (s->all->again) {
		s->all->again = false;
		io_work(s->all->io, &s->work);
	}
}

static void test_work_runs_in_order_on_one_other_thread_and_is_done_in_the_loop(void **state)
{
	struct server *s = *state;
	struct sums *all = calloc(1, sizeof *all);
	assert_non_null(all);
	all->io = s->io;
	for (unsigned i = 0; i < WORKS; i++) {
		all->each[i] = (struct sum){ .work = { .run = sum_run, .done = sum_done, .ctx = &all->each[i] }, .all = all };
		io_work(s->io, &all->each[i].work);
		assert_int_equal(all->done, 0); /* never from inside the call */
	}
	UNTIL(s, all->done == WORKS);
	for (unsigned i = 0; i < WORKS; i++) {
		assert_int_equal(all->each[i].ran_as, i + 1);
		assert_int_equal(all->each[i].done_as, i + 1);
		assert_false(pthread_equal(all->each[i].ran_on, pthread_self()));
		assert_true(pthread_equal(all->each[i].ran_on, all->each[0].ran_on));
	}
	all->again = true; /* a callback may give the next */
	io_work(s->io, &all->each[0].work);
	UNTIL(s, all->done == WORKS + 2);
	free(all);
}

int main(void)
{
	if (!available())
		return 77;
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = MIN_OF(files.rlim_max, (rlim_t)1024);
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	const struct CMUnitTest tests[] = {
		DISK(test_a_file_arrives_whole_over_tcp),
		MEMORY(test_a_file_arrives_whole_over_tcp),
		DISK(test_a_file_arrives_whole_over_a_unix_socket),
		DISK(test_a_slow_peer_gets_a_file_whole),
		DISK(test_a_slow_peer_gets_a_file_whole_over_a_unix_socket),
		DISK(test_sends_and_files_follow_each_other_in_order),
		DISK(test_a_file_that_ends_too_early_ends_the_connection),
		DISK(test_a_peer_that_goes_away_ends_the_send),
		DISK(test_an_abort_ends_the_send_of_a_file_at_once),
		DISK(test_our_close_lets_the_file_end_first),
		DISK(test_a_loop_is_freed_with_files_on_their_way),
		DISK(test_without_descriptors_a_file_does_not_begin_and_none_is_lost_in_the_long_run),
		DISK(test_work_runs_in_order_on_one_other_thread_and_is_done_in_the_loop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
