/* storage/io_uring.c: the real world on one io_uring: the ring, waiting, waking, time and randomness.
 *
 * Place in the data flow: the bottom. io_reap() is the only place of the process that sleeps; it hands each
 * completion to the file that owns it: io_uring_op.c (operations), io_uring_net.c (connections),
 * io_uring_listen.c (accept), io_uring_work.c (the helper thread).
 *
 * Invariants:
 *  1. Completions are copied out of the ring in small batches before their callbacks run, so that callbacks may
 *     submit as much as they like without the completion ring filling up behind them.
 *  2. Callbacks run only inside reap, and reap is not entered twice.
 *  3. Nothing is allocated per operation or message.
 *  4. The ring is restricted, before its first operation, to the operations that these files use.
 *  5. An idle process sleeps. Spinning needs recent traffic in small batches and must keep proving itself useful:
 *     it is there for the single request in flight, whose price is mostly the sleep and the wake-up. */
#include "io_uring_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
	SQ_ENTRIES = 1024,
	CQ_ENTRIES = 8192,
	BATCH = 64,
	SPIN_BATCH_MAX = 8 * 8,      /* eighths: more than 8 completions per reap is load, and load does not spin */
	SPIN_CREDIT_MAX = 16,
	SPIN_PROBE_EVERY = 32,       /* without credit one sleep in so many is preceded by a trial */
	SPIN_RECENT_NS = 1000 * 1000,
};

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;
	ENSURE(clock_gettime(id, &t) == 0);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t uring_now(void) { return clock_ns(CLOCK_MONOTONIC); }

struct io_uring_sqe *uring_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	if (!sqe) {
		/* The submission ring is full: hand it over. Completions of these come in a later batch. */
		int n = io_uring_submit(&u->ring);
		ENSURE(n > 0);
		sqe = io_uring_get_sqe(&u->ring);
		ENSURE(sqe != NULL);
	}
	return sqe;
}

static void wake_arm(struct uring *u)
{
	struct io_uring_sqe *sqe = uring_sqe(u);
	io_uring_prep_read(sqe, u->wake_fd, &u->wake_value, sizeof u->wake_value, 0);
	io_uring_sqe_set_data64(sqe, URING_TAG_WAKE);
}

static void handle(struct uring *u, const struct io_uring_cqe *cqe)
{
	uint64_t data = cqe->user_data;
	void *pointer = (void *)(uintptr_t)(data & ~(uint64_t)URING_TAG_MASK);
	switch ((enum uring_tag)(data & URING_TAG_MASK)) {
	case URING_TAG_OP:
		uring_op_done(u, pointer, cqe->res);
		break;
	case URING_TAG_WAKE:
		u->woken = true;
		wake_arm(u);
		break;
	case URING_TAG_ACCEPT:
		uring_on_accept(u, pointer, cqe->res, cqe->flags);
		break;
	case URING_TAG_RETRY:
		uring_on_retry(u, pointer);
		break;
	case URING_TAG_RECV:
	case URING_TAG_SEND:
	case URING_TAG_NUDGE:
		uring_on_conn(u, data, cqe->res, cqe->flags);
		break;
	case URING_TAG_OTHER:
		if (data == URING_LINGER_TIMER)
			uring_on_linger(u);
		break;
	}
}

/* Handles what was completed when it was called; what the callbacks cause meanwhile is left for the next reap,
 * or a fast peer could keep one turn going for ever. */
static uint32_t drain(struct uring *u)
{
	uint32_t ready = io_uring_cq_ready(&u->ring);
	for (uint32_t done = 0; done < ready;) {
		struct io_uring_cqe *seen[BATCH];
		struct io_uring_cqe copy[BATCH];
		uint32_t n = io_uring_peek_batch_cqe(&u->ring, seen, MIN_OF(ready - done, (uint32_t)BATCH));
		ENSURE(n > 0);
		for (uint32_t i = 0; i < n; i++)
			copy[i] = *seen[i];
		io_uring_cq_advance(&u->ring, n);
		for (uint32_t i = 0; i < n; i++)
			handle(u, &copy[i]);
		done += n;
	}
	return ready;
}

uint32_t uring_poll(struct uring *u)
{
	int n = io_uring_submit_and_get_events(&u->ring);
	/* EINTR: a signal. EAGAIN, EBUSY: the kernel is short of memory for requests; the next round tries again. */
	ENSURE(n >= 0 || n == -EINTR || n == -EAGAIN || n == -EBUSY || n == -ETIME);
	return drain(u);
}

static bool spin_wanted(struct uring *u, uint64_t now)
{
	if (u->spin_us == 0 || u->batch_average > SPIN_BATCH_MAX)
		return false;
	/* Not for the disk: the kernel's worker that finishes a write is often queued on this very CPU, and would have to
	 * wait until the spin is over (measured: the 99th percentile of a synced write goes from 70 us to spin_us;
	 * giving way with sched_yield makes it 4 ms, a whole tick). */
	if (u->ops_in_flight > 0 || uring_works_in_flight(u) || now - u->useful_ns > SPIN_RECENT_NS)
		return false;
	if (u->spin_credit > 0)
		return true;
	if (++u->spin_skipped < SPIN_PROBE_EVERY)
		return false;
	u->spin_skipped = 0;
	return true;
}

static uint32_t spin(struct uring *u, uint64_t now, uint64_t deadline_ns)
{
	uint64_t end = MIN_OF(now + (uint64_t)u->spin_us * 1000, deadline_ns);
	do {
		(void)io_uring_get_events(&u->ring);
		if (io_uring_cq_ready(&u->ring) > 0) {
			u->spin_credit = MIN_OF(u->spin_credit + 2, (int32_t)SPIN_CREDIT_MAX);
			return drain(u);
		}
	} while (uring_now() < end);
	u->spin_credit = MAX_OF(u->spin_credit - 3, 0);
	return 0;
}

static void sleep_until(struct uring *u, uint64_t now, uint64_t deadline_ns)
{
	uint64_t ns = deadline_ns - now;
	struct __kernel_timespec t = { .tv_sec = (int64_t)(ns / 1000000000u),
				       .tv_nsec = (long long)(ns % 1000000000u) };
	/* Everything is submitted already, so the wait is for the full time and not longer. */
	struct io_uring_cqe *cqe = NULL;
	int n = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &t, NULL);
	ENSURE(n >= 0 || n == -EINTR || n == -EAGAIN || n == -EBUSY || n == -ETIME);
}

static uint32_t reap(struct io *io, uint64_t deadline_ns)
{
	struct uring *u = uring_of(io);
	u->callbacks = 0;
	u->woken = false;
	uint32_t handled = uring_poll(u);
	if (handled == 0 && deadline_ns != 0) {
		uint64_t now = uring_now();
		if (now < deadline_ns && spin_wanted(u, now)) {
			handled = spin(u, now, deadline_ns);
			now = uring_now();
		}
		if (handled == 0 && now < deadline_ns) {
			sleep_until(u, now, deadline_ns);
			handled = drain(u);
		}
	}
	if (handled > 0) {
		u->batch_average = u->batch_average - u->batch_average / 8 + handled;
		if (u->spin_us > 0)
			u->useful_ns = uring_now();
	}
	u->callbacks += io_posts_run(&u->posts);
	return u->callbacks;
}

static uint64_t now_ns(struct io *io)
{
	(void)io;
	return uring_now();
}

static uint64_t wall_ms(struct io *io)
{
	(void)io;
	return clock_ns(CLOCK_REALTIME) / 1000000u;
}

static void random_bytes(struct io *io, void *out, size_t len)
{
	(void)io;
	for (size_t done = 0; done < len;) {
		ssize_t n = getrandom((char *)out + done, len - done, 0);
		ENSURE(n > 0 || (n < 0 && errno == EINTR));
		done += n > 0 ? (size_t)n : 0;
	}
}

static void wake(struct io *io)
{
	int saved = errno; /* a signal handler must leave it alone */
	uint64_t one = 1;
	/* It fails only when the counter is full, and then the wake-up is due anyway. */
	ssize_t n = write(uring_of(io)->wake_fd, &one, sizeof one);
	(void)n;
	errno = saved;
}

static void post(struct io *io, struct io_post *p)
{
	if (io_posts_add(&uring_of(io)->posts, p))
		wake(io);
}

static void free_io(struct io *io)
{
	struct uring *u = uring_of(io);
	ENSURE(u->ops_in_flight == 0);
	uring_work_free(u);
	while (io_posts_run(&u->posts) > 0)
		;
	uring_net_free(u);
	uring_pours_free(u);
	io_uring_queue_exit(&u->ring);
	if (u->wake_fd >= 0)
		(void)close(u->wake_fd);
	uring_files_free(u);
	free(u);
}

static const struct io_vtable uring_vtable = {
	.reap = reap, .submit = uring_submit,
	.now_ns = now_ns, .wall_ms = wall_ms, .random = random_bytes,
	.open = uring_open, .close = uring_close, .size = uring_size, .allocate = uring_allocate,
	.truncate = uring_truncate, .rename = uring_rename, .unlink = uring_unlink, .sync_dir = uring_sync_dir,
	.mkdir = uring_mkdir, .size_of = uring_size_of, .list = uring_list, .free_bytes = uring_free_bytes, .lock = uring_lock,
	.listen = uring_listen, .stop_listening = uring_stop_listening,
	.send = uring_send, .send_file = uring_send_file, .work = uring_work, .pause = uring_pause, .close_conn = uring_close_conn,
	.peer_uid = uring_peer_uid, .wake = wake, .post = post, .free = free_io,
};

static int ring_open(struct uring *u, char text[256])
{
	struct io_uring_params p = { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
					      IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED,
				     .cq_entries = CQ_ENTRIES };
	int err = io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &p);
	const char *why = "cannot set up a ring";
	if (err == -EINVAL)
		why = "this kernel is too old: Linux 6.1 or newer is needed";
	else if (err == -ENOSYS || err == -EPERM)
		why = "not available: switched off by kernel.io_uring_disabled, a seccomp filter or the kernel's build";
	else if (err == -ENOMEM)
		why = "no memory for the ring: raise RLIMIT_MEMLOCK";
	if (err == 0 && !(p.features & IORING_FEAT_EXT_ARG && p.features & IORING_FEAT_NODROP)) {
		io_uring_queue_exit(&u->ring);
		err = -EOPNOTSUPP;
		why = "this kernel lacks waiting with a deadline (EXT_ARG) or loses completions (NODROP)";
	}
	if (err)
		(void)snprintf(text, 256, "io_uring: %s (%s)", why, strerror(-err));
	return err;
}

/* From here on the ring can do what the files io_uring*.c do, and nothing else: no open, no connect, no new registration. */
static int ring_restrict(struct uring *u)
{
	static const uint8_t ops[] = { IORING_OP_NOP, IORING_OP_READ, IORING_OP_WRITE, IORING_OP_FSYNC, IORING_OP_ACCEPT,
				       IORING_OP_RECV, IORING_OP_SEND, IORING_OP_TIMEOUT, IORING_OP_TIMEOUT_REMOVE,
				       IORING_OP_ASYNC_CANCEL, IORING_OP_UNLINKAT, IORING_OP_SYNC_FILE_RANGE,
				       IORING_OP_SPLICE, IORING_OP_POLL_ADD };
	struct io_uring_restriction rules[COUNT_OF(ops) + 1];
	memset(rules, 0, sizeof rules);
	for (size_t i = 0; i < COUNT_OF(ops); i++) {
		rules[i].opcode = IORING_RESTRICTION_SQE_OP;
		rules[i].sqe_op = ops[i];
	}
	rules[COUNT_OF(ops)].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	rules[COUNT_OF(ops)].sqe_flags = IOSQE_BUFFER_SELECT;
	int err = io_uring_register_restrictions(&u->ring, rules, COUNT_OF(rules));
	return err ? err : io_uring_enable_rings(&u->ring);
}

int io_uring_open(const struct io_uring_config *config, struct io **out, char text[256])
{
	ENSURE(config->dir != NULL && out != NULL);
	text[0] = '\0';
	struct uring *u = calloc(1, sizeof *u);
	ENSURE(u != NULL);
	u->io.v = &uring_vtable;
	u->spin_us = config->spin_us;
	u->spin_credit = SPIN_CREDIT_MAX;
	u->wake_fd = -1;
	u->spare_fd = -1;
	u->dir_fd = open(config->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (u->dir_fd < 0) {
		int err = -errno;
		(void)snprintf(text, 256, "data directory %s: %s", config->dir, strerror(-err));
		free(u);
		return err;
	}
	int err = ring_open(u, text);
	if (err) {
		(void)close(u->dir_fd);
		free(u);
		return err;
	}
	u->wake_fd = eventfd(0, EFD_CLOEXEC);
	err = u->wake_fd < 0 ? -errno : uring_net_init(u, config);
	if (err) {
		(void)snprintf(text, 256, "io_uring: provided receive buffers (%u of %u bytes): %s",
			       config->recv_buffers, config->recv_buffer_bytes, strerror(-err));
		free_io(&u->io);
		return err;
	}
	err = ring_restrict(u);
	if (err) {
		(void)snprintf(text, 256, "io_uring: cannot restrict the ring to what it is for: %s", strerror(-err));
		free_io(&u->io);
		return err;
	}
	uring_reserve_fill(u);
	wake_arm(u);
	*out = &u->io;
	return 0;
}
