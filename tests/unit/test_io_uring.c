/* tests/unit/test_io_uring.c: the real door to the world, against the real kernel: waiting,
 * connections over loopback and unix sockets with plain blocking sockets in threads on the other side.
 * Exit 77 (skipped) where io_uring is not available. */
#include "io_uring_world.h"

#include "../../storage/io_uring_impl.h"

static int setup_small(void **state)
{
	*state = server_open("/tmp", 2, 50);
	return 0;
}

/* ---- the ring ---- */

/* Puts an operation into the ring behind the back of the files that own it, and waits for what becomes of it. */
static int32_t raw_result(struct uring *u, void (*prepare)(struct io_uring_sqe *))
{
	struct io_uring_sqe *sqe = uring_sqe(u);
	struct io_uring_cqe *cqe = NULL;
	prepare(sqe);
	io_uring_sqe_set_data64(sqe, URING_TAG_OTHER);
	for (;;) {
		assert_true(io_uring_submit_and_wait(&u->ring, 1) >= 0);
		assert_int_equal(io_uring_peek_cqe(&u->ring, &cqe), 0);
		bool ours = cqe->user_data == URING_TAG_OTHER;
		int32_t res = cqe->res;
		io_uring_cqe_seen(&u->ring, cqe);
		if (ours)
			return res;
	}
}

static void prepare_open(struct io_uring_sqe *sqe)
{
	io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
}

static void prepare_connect(struct io_uring_sqe *sqe)
{
	static const struct sockaddr_in a = { .sin_family = AF_INET };
	io_uring_prep_connect(sqe, 0, (const struct sockaddr *)(const void *)&a, sizeof a);
}

static void prepare_rename(struct io_uring_sqe *sqe)
{
	io_uring_prep_renameat(sqe, AT_FDCWD, "/nothing", AT_FDCWD, "/nowhere", 0);
}

static void prepare_mkdir(struct io_uring_sqe *sqe)
{
	io_uring_prep_mkdirat(sqe, AT_FDCWD, "/nothing", 0700);
}

static void prepare_linked(struct io_uring_sqe *sqe)
{
	io_uring_prep_nop(sqe);
	sqe->flags |= IOSQE_IO_LINK;
}

static void prepare_nop(struct io_uring_sqe *sqe)
{
	io_uring_prep_nop(sqe);
}

static void test_the_ring_refuses_to_open_connect_or_register_anything(void **state)
{
	struct server *s = *state;
	struct uring *u = uring_of(s->io);
	int fd = 0;
	assert_int_equal(raw_result(u, prepare_nop), 0);
	assert_int_equal(raw_result(u, prepare_open), -EACCES);
	assert_int_equal(raw_result(u, prepare_connect), -EACCES);
	assert_int_equal(raw_result(u, prepare_rename), -EACCES);
	assert_int_equal(raw_result(u, prepare_mkdir), -EACCES);
	assert_int_equal(raw_result(u, prepare_linked), -EACCES);
	assert_int_equal(io_uring_register_files(&u->ring, &fd, 1), -EACCES);
	assert_int_equal(raw_result(u, prepare_nop), 0);
}

/* ---- connections ---- */

static int dial(struct server *s)
{
	if (s->port == 0)
		assert_int_equal(s->io->v->listen(s->io, "tcp://127.0.0.1:0", &s->port), 0);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(s->port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

static int dial_unix(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	(void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

/* One echo over `fd` from this thread: the loop turns between the send and the receive. */
static void echo_once(struct server *s, int fd, const char *text)
{
	size_t len = strlen(text), got = 0;
	char back[256];
	assert_int_equal(send(fd, text, len, 0), len);
	uint64_t give_up = io_now_ns(s->io) + 20ull * SECOND;
	while (got < len && io_now_ns(s->io) < give_up) {
		turn(s);
		ssize_t n = recv(fd, back + got, sizeof back - got, MSG_DONTWAIT);
		got += n > 0 ? (size_t)n : 0;
	}
	assert_int_equal(got, len);
	assert_memory_equal(back, text, len);
}

static void test_tcp_bytes_come_back(void **state)
{
	struct server *s = *state;
	int fd = dial(s);
	echo_once(s, fd, "hello");
	echo_once(s, fd, "and again");
	assert_false(s->last_local);
	assert_memory_equal(s->last_peer, "127.0.0.1:", 10);
	(void)close(fd);
	UNTIL(s, s->closed == 1);
	assert_int_equal(s->last_closed, 0);
}

static void test_unix_bytes_come_back_and_the_path_goes_away_at_the_stop(void **state)
{
	struct server *s = *state;
	char path[96], url[112];
	(void)snprintf(path, sizeof path, "%s/sock", s->dir);
	(void)snprintf(url, sizeof url, "unix://%s", path);
	/* A stale socket file, as kill -9 leaves it. */
	int stale = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	(void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
	assert_int_equal(bind(stale, (struct sockaddr *)&a, sizeof a), 0);
	(void)close(stale);
	assert_int_equal(s->io->v->listen(s->io, url, NULL), 0);
	assert_int_equal(s->io->v->listen(s->io, url, NULL), -EADDRINUSE); /* somebody answers there: us */
	int fd = dial_unix(path);
	assert_true(fd >= 0);
	echo_once(s, fd, "local");
	assert_true(s->last_local);
	assert_non_null(strstr(s->last_peer, "uid="));
	s->io->v->stop_listening(s->io);
	assert_int_not_equal(access(path, F_OK), 0);
	echo_once(s, fd, "connections stay");
	(void)close(fd);
	UNTIL(s, s->closed + 1 >= s->accepted);
}

static void test_bad_urls_are_refused(void **state)
{
	struct server *s = *state;
	assert_int_equal(s->io->v->listen(s->io, "http://x", NULL), -EINVAL);
	assert_int_equal(s->io->v->listen(s->io, "tcp://127.0.0.1", NULL), -EINVAL);
	assert_int_equal(s->io->v->listen(s->io, "tcp://127.0.0.1:12x", NULL), -EINVAL);
	assert_int_equal(s->io->v->listen(s->io, "unix://", NULL), -EINVAL);
	assert_int_equal(s->io->v->listen(s->io, "unix:///nowhere/at/all", NULL), -ENOENT);
}

static void test_half_close_ends_with_an_orderly_close(void **state)
{
	struct server *s = *state;
	int fd = dial(s);
	echo_once(s, fd, "x");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	UNTIL(s, s->closed == 1);
	assert_int_equal(s->last_closed, 0);
	char c;
	assert_int_equal(recv(fd, &c, 1, 0), 0);
	(void)close(fd);
}

static void reset(int fd)
{
	struct linger off = { .l_onoff = 1 };
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &off, sizeof off), 0);
	(void)close(fd);
}

static void test_a_reset_is_told_as_an_error(void **state)
{
	struct server *s = *state;
	int fd = dial(s);
	echo_once(s, fd, "x");
	reset(fd);
	UNTIL(s, s->closed == 1);
	assert_int_equal(s->last_closed, -ECONNRESET);
}

static void test_our_close_delivers_the_last_bytes_even_when_the_peer_still_talks(void **state)
{
	struct server *s = *state;
	s->silent = true;
	int fd = dial(s);
	char noise[10000] = "noise", back[64];
	assert_int_equal(send(fd, noise, sizeof noise, 0), sizeof noise);
	UNTIL(s, s->received > 0);
	s->last->sending = true;
	s->io->v->send(s->io, s->last->id, span_str("refused: because"));
	s->io->v->close_conn(s->io, s->last->id, false);
	assert_int_equal(send(fd, noise, sizeof noise, MSG_NOSIGNAL), sizeof noise);
	UNTIL(s, s->sent == 1);
	turn(s);
	assert_int_equal(s->last_sent, 0);
	assert_int_equal(recv(fd, back, sizeof back, MSG_WAITALL), 16);
	assert_memory_equal(back, "refused: because", 16);
	(void)close(fd);
	UNTIL(s, s->closed == 1);
	assert_int_equal(s->last_closed, 0);
}

static void test_a_peer_that_never_closes_is_given_up(void **state)
{
	struct server *s = *state;
	int fd = dial(s);
	echo_once(s, fd, "x");
	s->io->v->close_conn(s->io, s->last->id, false);
	UNTIL(s, s->closed == 1);
	(void)close(fd);
}

static void test_abort_resets_and_cancels_the_send(void **state)
{
	struct server *s = *state;
	s->silent = true;
	int fd = dial(s);
	UNTIL(s, s->accepted == 1);
	struct io_conn id = s->last->id;
	size_t size = 64 << 20; /* more than any socket buffer */
	uint8_t *big = calloc(1, size);
	s->last->sending = true;
	s->io->v->send(s->io, id, span_of(big, size));
	turn(s);
	assert_int_equal(s->sent, 0);
	s->io->v->close_conn(s->io, id, true);
	assert_int_equal(s->closed, 0); /* not from inside the call */
	UNTIL(s, s->closed == 1);
	assert_int_equal(s->sent, 1);
	assert_int_equal(s->last_sent, -ECANCELED);
	s->io->v->send(s->io, id, span_str("to nobody")); /* a stale id names nothing */
	s->io->v->close_conn(s->io, id, true);
	turn(s);
	assert_int_equal(s->sent, 1);
	free(big);
	(void)close(fd);
}

static void test_a_refused_caller_is_hung_up(void **state)
{
	struct server *s = *state;
	s->refuse = true;
	int fd = dial(s);
	UNTIL(s, s->accepted == 1);
	char c;
	assert_true(recv(fd, &c, 1, 0) <= 0);
	assert_int_equal(s->closed, 0);
	(void)close(fd);
}

static void test_callers_over_the_limit_are_hung_up_and_slots_are_used_again(void **state)
{
	struct server *s = *state; /* two slots */
	int a = dial(s), b = dial(s);
	echo_once(s, a, "a");
	echo_once(s, b, "b");
	struct io_conn old = s->last->id;
	int c = dial(s);
	turn(s);
	char byte;
	assert_true(recv(c, &byte, 1, 0) <= 0);
	(void)close(c);
	(void)close(a);
	(void)close(b);
	UNTIL(s, s->closed == 2);
	int d = dial(s);
	echo_once(s, d, "d");
	assert_true(s->last->id.generation != old.generation || s->last->id.slot != old.slot);
	s->io->v->close_conn(s->io, old, true); /* stale: must not hit d */
	echo_once(s, d, "still here");
	assert_int_equal(s->accepted, 3);
	(void)close(d);
	UNTIL(s, s->closed == 3);
}

static void test_a_thousand_connections_echo(void **state)
{
	struct server *s = *state;
	enum { COUNT = 1000 };
	int *fds = calloc(COUNT, sizeof *fds);
	assert_non_null(fds);
	for (int i = 0; i < COUNT; i++) {
		fds[i] = dial(s);
		if (i % 100 == 99)
			UNTIL(s, s->accepted == (unsigned)i + 1);
	}
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(send(fds[i], &fds[i], sizeof fds[i], 0), sizeof fds[i]);
	UNTIL(s, s->sent == COUNT);
	for (int i = 0; i < COUNT; i++) {
		int back = -1;
		assert_int_equal(recv(fds[i], &back, sizeof back, MSG_WAITALL), sizeof back);
		assert_int_equal(back, fds[i]);
		(void)close(fds[i]);
	}
	UNTIL(s, s->closed == COUNT);
	free(fds);
}

struct talker {
	int fd;
	size_t size;
	bool ok;
};

/* Sends much, then reads all of it back in small pieces: the server's sends must wait and go on. */
static void *talk(void *arg)
{
	struct talker *t = arg;
	uint32_t *data = malloc(t->size), *back = malloc(t->size);
	for (size_t i = 0; i < t->size / 4; i++)
		data[i] = (uint32_t)i * 2654435761u;
	size_t sent = 0, got = 0;
	while (got < t->size) {
		if (sent < t->size) {
			ssize_t n = send(t->fd, (char *)data + sent, MIN_OF(t->size - sent, 70001u), MSG_DONTWAIT);
			sent += n > 0 ? (size_t)n : 0;
		}
		ssize_t n = recv(t->fd, (char *)back + got, MIN_OF(t->size - got, 3001u),
				 sent < t->size ? MSG_DONTWAIT : 0);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK))
			break;
		got += n > 0 ? (size_t)n : 0;
	}
	t->ok = got == t->size && memcmp(data, back, t->size) == 0;
	free(data);
	free(back);
	(void)close(t->fd);
	return NULL;
}

static void test_large_transfers_with_slow_readers_arrive_complete_and_in_order(void **state)
{
	struct server *s = *state;
	enum { COUNT = 4 };
	struct talker talkers[COUNT];
	pthread_t threads[COUNT];
	for (int i = 0; i < COUNT; i++) {
		talkers[i] = (struct talker){ .fd = dial(s), .size = 8u << 20 };
		assert_int_equal(pthread_create(&threads[i], NULL, talk, &talkers[i]), 0);
	}
	UNTIL(s, s->closed == COUNT);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_true(talkers[i].ok);
	}
}

static void test_a_paused_connection_receives_nothing_until_it_goes_on(void **state)
{
	struct server *s = *state;
	s->silent = true;
	int fd = dial(s);
	assert_int_equal(send(fd, "1", 1, 0), 1);
	UNTIL(s, s->received == 1);
	s->io->v->pause(s->io, s->last->id, true);
	for (int i = 0; i < 3; i++)
		(void)io_reap(s->io, 0); /* the cancellation takes effect */
	assert_int_equal(send(fd, "23", 2, 0), 2);
	turn(s);
	assert_int_equal(s->received, 1);
	s->io->v->pause(s->io, s->last->id, false);
	UNTIL(s, s->received == 3);
	/* Pause and go on at once: the receive that is being cancelled is replaced. */
	s->io->v->pause(s->io, s->last->id, true);
	s->io->v->pause(s->io, s->last->id, false);
	assert_int_equal(send(fd, "4", 1, 0), 1);
	UNTIL(s, s->received == 4);
	(void)close(fd);
	UNTIL(s, s->closed == 1);
}

static void test_running_out_of_descriptors_turns_callers_away_and_recovers(void **state)
{
	struct server *s = *state;
	/* The kernel takes the limit when the accept is armed, so it is low from the start. */
	struct rlimit old, low;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = (struct rlimit){ .rlim_cur = 64, .rlim_max = old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	int first = dial(s);
	echo_once(s, first, "x");
	int late = socket(AF_INET, SOCK_STREAM, 0);
	int held[64], count = 0;
	while (count < 64 && (held[count] = dup(0)) >= 0)
		count++;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(s->port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_int_equal(connect(late, (struct sockaddr *)&a, sizeof a), 0);
	char c;
	/* Turned away, not left waiting. */
	UNTIL(s, recv(late, &c, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET);
	assert_int_equal(s->accepted, 1);
	echo_once(s, first, "served all the same");
	while (count > 0)
		(void)close(held[--count]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	int next = dial(s);
	echo_once(s, next, "recovered");
	(void)close(late);
	(void)close(first);
	(void)close(next);
	UNTIL(s, s->closed == 2);
}

#define SMALL(test) cmocka_unit_test_setup_teardown(test, setup_small, teardown)

/* ---- waiting ---- */

static struct io *signal_io;

static void on_alarm(int number)
{
	(void)number;
	signal_io->v->wake(signal_io);
}

static void test_a_wake_from_a_signal_ends_the_wait(void **state)
{
	struct server *s = *state;
	signal_io = s->io;
	struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART }, old;
	assert_int_equal(sigaction(SIGALRM, &action, &old), 0);
	struct itimerval soon = { .it_value = { .tv_usec = 20000 } };
	assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
	uint64_t limit = io_now_ns(s->io) + 20ull * SECOND;
	(void)io_reap(s->io, limit);
	assert_true(io_now_ns(s->io) < limit);
	assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
}

static void *waker(void *arg)
{
	struct io *io = arg;
	io->v->wake(io);
	return NULL;
}

static void test_a_wake_from_another_thread_is_not_lost(void **state)
{
	struct server *s = *state;
	for (int i = 0; i < 50; i++) {
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, waker, s->io), 0);
		uint64_t limit = io_now_ns(s->io) + 20ull * SECOND;
		(void)io_reap(s->io, limit);
		assert_true(io_now_ns(s->io) < limit);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
}

enum { POSTS = 5000 };
struct posting {
	struct io_post post;
	struct server *server;
	uint32_t index, *ran;
};

static void on_post(struct io_post *post)
{
	struct posting *p = CONTAINER_OF(post, struct posting, post);
	assert_int_equal(p->index, *p->ran);
	(*p->ran)++;
}

static void *poster(void *arg)
{
	struct posting *all = arg;
	for (uint32_t i = 0; i < POSTS; i++)
		all[i].server->io->v->post(all[i].server->io, &all[i].post);
	return NULL;
}

static void test_what_another_thread_posts_is_run_once_and_in_order(void **state)
{
	struct server *s = *state;
	struct posting *all = calloc(POSTS, sizeof *all);
	uint32_t ran = 0;
	pthread_t thread;
	assert_non_null(all);
	for (uint32_t i = 0; i < POSTS; i++)
		all[i] = (struct posting){ .post = { .fn = on_post }, .server = s, .index = i, .ran = &ran };
	assert_int_equal(pthread_create(&thread, NULL, poster, all), 0);
	UNTIL(s, ran == POSTS);
	assert_int_equal(pthread_join(thread, NULL), 0);
	(void)io_reap(s->io, 0);
	assert_int_equal(ran, POSTS);
	free(all);
}

static void test_a_deadline_ends_the_wait_and_not_before(void **state)
{
	struct server *s = *state;
	(void)io_reap(s->io, 0); /* what was armed at the open */
	for (int i = 0; i < 5; i++) {
		uint64_t deadline = io_now_ns(s->io) + 5000000;
		assert_int_equal(io_reap(s->io, deadline), 0);
		assert_true(io_now_ns(s->io) >= deadline);
	}
	assert_int_equal(io_reap(s->io, 0), 0);
}

static double cpu_seconds(void)
{
	struct rusage r;
	assert_int_equal(getrusage(RUSAGE_SELF, &r), 0);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
	       (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void test_an_idle_loop_does_not_spin(void **state)
{
	struct server *s = *state; /* spin_us is set */
	int fd = dial(s);
	echo_once(s, fd, "traffic");
	double before = cpu_seconds();
	uint64_t begin = io_now_ns(s->io);
	while (io_now_ns(s->io) < begin + SECOND / 2)
		(void)io_reap(s->io, io_now_ns(s->io) + SECOND / 20);
	assert_true(cpu_seconds() - before < 0.1); /* of half a second; CPU time, not time */
	(void)close(fd);
	UNTIL(s, s->closed == 1);
}

static void test_time_and_randomness_look_right(void **state)
{
	struct io *io = ((struct server *)*state)->io;
	uint64_t a[4] = { 0 }, b[4] = { 0 };
	io->v->random(io, a, sizeof a);
	io->v->random(io, b, sizeof b);
	assert_memory_not_equal(a, b, sizeof a);
	uint64_t t = io_now_ns(io);
	assert_true(io_now_ns(io) >= t);
	assert_true(io_wall_ms(io) > 1700000000000u);
}

int main(void)
{
	if (!available())
		return 77;
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = MIN_OF(files.rlim_max, (rlim_t)4096);
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	const struct CMUnitTest tests[] = {
		DISK(test_the_ring_refuses_to_open_connect_or_register_anything),
		DISK(test_tcp_bytes_come_back),
		MEMORY(test_tcp_bytes_come_back),
		DISK(test_unix_bytes_come_back_and_the_path_goes_away_at_the_stop),
		DISK(test_bad_urls_are_refused),
		DISK(test_half_close_ends_with_an_orderly_close),
		DISK(test_a_reset_is_told_as_an_error),
		DISK(test_our_close_delivers_the_last_bytes_even_when_the_peer_still_talks),
		DISK(test_a_peer_that_never_closes_is_given_up),
		DISK(test_abort_resets_and_cancels_the_send),
		DISK(test_a_refused_caller_is_hung_up),
		SMALL(test_callers_over_the_limit_are_hung_up_and_slots_are_used_again),
		DISK(test_a_thousand_connections_echo),
		DISK(test_large_transfers_with_slow_readers_arrive_complete_and_in_order),
		MEMORY(test_large_transfers_with_slow_readers_arrive_complete_and_in_order),
		DISK(test_a_paused_connection_receives_nothing_until_it_goes_on),
		DISK(test_running_out_of_descriptors_turns_callers_away_and_recovers),
		DISK(test_a_wake_from_a_signal_ends_the_wait),
		DISK(test_a_wake_from_another_thread_is_not_lost),
		DISK(test_what_another_thread_posts_is_run_once_and_in_order),
		DISK(test_a_deadline_ends_the_wait_and_not_before),
		MEMORY(test_an_idle_loop_does_not_spin),
		DISK(test_time_and_randomness_look_right),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
