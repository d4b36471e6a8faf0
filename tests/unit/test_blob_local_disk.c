/* tests/unit/test_blob_local_disk.c: blobs as files on real file systems: large ones, and one that is full.
 * Exit 77 (skipped) where io_uring is not available. */
#include "io_uring_world.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "../../storage/blob_local_impl.h"

enum { PIECE = 1 << 20, PIECES = 20, PARALLEL = 6 };

struct wait {
	struct blob_job job; /* first */
	bool done;
	enum err code;
};

static void wait_done(struct blob_job *job, enum err code)
{
	struct wait *wait = (struct wait *)(void *)job;
	ENSURE(!wait->done);
	wait->done = true;
	wait->code = code;
}

static struct wait waiting(void) { return (struct wait){ .job.done = wait_done }; }

static enum err wait_for(struct io *io, struct wait *wait)
{
	while (!wait->done)
		(void)io_reap(io, io_now_ns(io) + SECOND);
	return wait->code;
}

static void fill(uint8_t *piece, unsigned blob, unsigned at)
{
	for (size_t i = 0; i < PIECE; i++)
		piece[i] = (uint8_t)(i * 31 + i / 4096 + blob * 7 + at);
}

static struct blob_key key_of(unsigned i) { return (struct blob_key){ .number = i + 1, .digest = { (uint8_t)(i % 3), 1 } }; }

static void count_each(void *ctx, const struct blob_key *key, uint64_t size)
{
	unsigned *sum = ctx;
	assert_int_equal(size, (uint64_t)PIECE * PIECES);
	sum[0]++;
	sum[1] += (unsigned)key->number;
}

static void write_all(struct io *io, struct blob_backend *b)
{
	static uint8_t pieces[PARALLEL][PIECE];
	struct blob_writer *w[PARALLEL];
	struct wait wait[PARALLEL];
	for (unsigned i = 0; i < PARALLEL; i++)
		w[i] = b->v->create(b, key_of(i).number, UINT64_MAX, NULL);
	for (unsigned at = 0; at <= PIECES; at++) {
		for (unsigned i = 0; i < PARALLEL; i++) {
			wait[i] = waiting();
			fill(pieces[i], i, at);
			if (at < PIECES)
				b->v->write(w[i], &wait[i].job, span_of(pieces[i], PIECE));
			else
				b->v->finish(w[i], &wait[i].job, key_of(i).digest);
		}
		for (unsigned i = 0; i < PARALLEL; i++)
			assert_int_equal(wait_for(io, &wait[i]), ERR_OK);
	}
}

static void test_large_blobs_come_back_as_they_were_and_go(void **state)
{
	struct io *io = ((struct server *)*state)->io;
	struct blob_backend *b = NULL;
	static uint8_t got[PIECE], want[PIECE];
	char text[256];
	unsigned sum[2] = { 0, 0 };
	assert_int_equal(blob_local_open(io, &b, text), 0);
	write_all(io, b);
	b->v->free(b);
	assert_int_equal(blob_local_open(io, &b, text), 0); /* as after a restart */
	for (unsigned i = 0; i < PARALLEL; i++) {
		struct blob_key key = key_of(i);
		struct blob_reader *r = NULL;
		struct wait wait = waiting();
		b->v->open(b, &wait.job, &key, (uint64_t)PIECE * PIECES, &r);
		assert_int_equal(wait_for(io, &wait), ERR_OK);
		for (unsigned at = 0; at < PIECES; at++) {
			wait = waiting();
			b->v->read(r, &wait.job, (uint64_t)at * PIECE, got, PIECE);
			assert_int_equal(wait_for(io, &wait), ERR_OK);
			fill(want, i, at);
			assert_memory_equal(got, want, PIECE);
		}
		b->v->close(r);
	}
	struct wait wait = waiting();
	b->v->list(b, &wait.job, count_each, sum);
	assert_int_equal(wait_for(io, &wait), ERR_OK);
	assert_int_equal(sum[0], PARALLEL);
	assert_int_equal(sum[1], PARALLEL * (PARALLEL + 1) / 2);
	for (unsigned i = 0; i < PARALLEL; i++) {
		struct blob_key key = key_of(i);
		wait = waiting();
		b->v->remove(b, &wait.job, &key);
		assert_int_equal(wait_for(io, &wait), ERR_OK);
	}
	sum[0] = 0;
	wait = waiting();
	b->v->list(b, &wait.job, count_each, sum);
	assert_int_equal(wait_for(io, &wait), ERR_OK);
	assert_int_equal(sum[0], 0);
	b->v->free(b);
}

/* ---- full ---- */

enum { SKIPPED = 77 };
#define HOLDS(what) do { if (!(what)) { (void)fprintf(stderr, "line %d: %s\n", __LINE__, #what); _exit(1); } } while (0)

static bool put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	return close(fd) == 0 && ok;
}

/* A file system of 4 MiB that only this process sees; false where that is not allowed. */
static bool mount_small(const char *dir)
{
	char user[64], group[64];
	(void)snprintf(user, sizeof user, "0 %u 1", geteuid());
	(void)snprintf(group, sizeof group, "0 %u 1", getegid());
	if (unshare(CLONE_NEWNS) != 0 &&
	    (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || !put_text("/proc/self/setgroups", "deny") ||
	     !put_text("/proc/self/uid_map", user) || !put_text("/proc/self/gid_map", group)))
		return false;
	return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && mount("small", dir, "tmpfs", 0, "size=4m") == 0;
}

static void small_disk(const char *dir)
{
	struct io *io = NULL;
	struct blob_backend *b = NULL;
	char text[256];
	static uint8_t piece[PIECE];
	struct io_uring_config config = { .dir = dir, .conns_max = 1, .recv_buffers = 2, .recv_buffer_bytes = 512 };
	if (!mount_small(dir))
		_exit(SKIPPED);
	HOLDS(io_uring_open(&config, &io, text) == 0);
	HOLDS(blob_local_open(io, &b, text) == 0);
	uint64_t room = b->v->room(b);
	HOLDS(room > 0 && room <= 4 << 20);
	for (unsigned round = 0; round < 3; round++) { /* each time all of it comes back */
		struct blob_writer *w = b->v->create(b, round + 1, UINT64_MAX, NULL);
		struct wait wait = waiting();
		enum err e = ERR_OK;
		for (unsigned at = 0; at < 8 && e == ERR_OK; at++) {
			wait = waiting();
			b->v->write(w, &wait.job, span_of(piece, PIECE));
			e = wait_for(io, &wait);
		}
		HOLDS(e == ERR_RESOURCE_EXHAUSTED);
		HOLDS(strstr(wait.job.text, "No space left on device") != NULL);
		b->v->abandon(w);
		for (unsigned turns = 0; turns < 1000 && b->v->room(b) != room; turns++)
			(void)io_reap(io, io_now_ns(io) + SECOND / 100);
		HOLDS(b->v->room(b) == room);
	}
	b->v->free(b);
	io->v->free(io);
	_exit(0);
}

/* What becomes of a process that has a disk of its own. */
static int on_a_disk(void (*child)(const char *dir))
{
	int status;
	char dir[] = "/tmp/hillock-small-XXXXXX";
	assert_non_null(mkdtemp(dir));
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child(dir);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)rmdir(dir);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* The file system believes in 200 MiB, and what it is on has 24: it takes the bytes, and fails to write them when nobody looks. */
static void lying_disk(const char *dir)
{
	struct io *io = NULL;
	struct blob_backend *b = NULL;
	char text[512];
	static uint8_t piece[PIECE];
	if (geteuid() != 0 || !mount_small(dir))
		_exit(SKIPPED);
	(void)snprintf(text, sizeof text, "cd %s && mount -o remount,size=24m . && truncate -s 200m image && mkfs.ext4 -q -E nodiscard image "
		       "&& mkdir lying && mount -o loop image lying", dir);
	if (system(text) != 0)
		_exit(SKIPPED);
	(void)snprintf(text, sizeof text, "%s/lying", dir);
	struct io_uring_config config = { .dir = text, .conns_max = 1, .recv_buffers = 2, .recv_buffer_bytes = 512 };
	char why[256];
	HOLDS(io_uring_open(&config, &io, why) == 0);
	HOLDS(blob_local_open(io, &b, why) == 0);
	struct blob_writer *w = b->v->create(b, 1, UINT64_MAX, NULL);
	enum err e = ERR_OK;
	struct wait wait = waiting();
	for (unsigned at = 0; at < 60 && e == ERR_OK; at++) {
		wait = waiting();
		memset(piece, (int)at + 1, PIECE);
		b->v->write(w, &wait.job, span_of(piece, PIECE));
		e = wait_for(io, &wait);
	}
	if (e == ERR_OK) {
		wait = waiting();
		b->v->finish(w, &wait.job, key_of(0).digest);
		e = wait_for(io, &wait);
	}
	HOLDS(e == ERR_RESOURCE_EXHAUSTED || e == ERR_UNAVAILABLE);
	b->v->abandon(w);
	b->v->free(b);
	io->v->free(io);
	_exit(0);
}

static void test_bytes_that_the_system_lost_behind_our_back_are_no_blob(void **state)
{
	(void)state;
	int status = on_a_disk(lying_disk);
	if (status == SKIPPED)
		skip();
	assert_int_equal(status, 0);
}

static void test_a_full_disk_refuses_a_blob_and_gets_its_room_back(void **state)
{
	(void)state;
	int status = on_a_disk(small_disk);
	if (status == SKIPPED)
		skip();
	assert_int_equal(status, 0);
}

int main(void)
{
	if (!available())
		return 77;
	const struct CMUnitTest tests[] = {
		DISK(test_large_blobs_come_back_as_they_were_and_go),
		MEMORY(test_large_blobs_come_back_as_they_were_and_go),
		cmocka_unit_test(test_a_full_disk_refuses_a_blob_and_gets_its_room_back),
		cmocka_unit_test(test_bytes_that_the_system_lost_behind_our_back_are_no_blob),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
