/* What a process can still do behind broker/sandbox.c. Each test is a child process of its own: there is no way back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../broker/sandbox.h"
#include "../../storage/io_uring_impl.h"

enum { NO_LANDLOCK = 77 };
static char dir[64];

/* Runs `child` and gives its exit status. 0 = all held; else the line of the first check that did not. */
static int in_child(int (*child)(void))
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(child());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define HOLDS(what) do { if (!(what)) { (void)fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #what, errno); return 1; } } while (0)

static int confined(void)
{
	char text[256], path[128];
	const struct sandbox_path paths[] = { { dir, SANDBOX_WRITE }, { "/dev/null", SANDBOX_READ }, { "/no/such/place", SANDBOX_READ } };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	HOLDS(bind(listener, (struct sockaddr *)&a, sizeof a) == 0 && listen(listener, 8) == 0);
	HOLDS(getsockname(listener, (struct sockaddr *)&a, &len) == 0);
	enum err e = sandbox_confine(paths, 3, false, text);
	if (e == ERR_UNSUPPORTED)
		return NO_LANDLOCK;
	HOLDS(e == ERR_OK);
	HOLDS(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	(void)snprintf(path, sizeof path, "%s/made", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	HOLDS(fd >= 0 && write(fd, "x", 1) == 1 && ftruncate(fd, 0) == 0 && close(fd) == 0);
	HOLDS(unlink(path) == 0);
	(void)snprintf(path, sizeof path, "%s/made-dir", dir);
	HOLDS(mkdir(path, 0700) == 0);
	HOLDS(mkdir("/tmp/hillock-outside", 0700) < 0 && errno == EACCES);
	HOLDS(open("/dev/null", O_RDONLY) >= 0);
	HOLDS(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES);
	HOLDS(open("/proc/self/status", O_RDONLY) < 0 && errno == EACCES);
	HOLDS(open("/tmp/hillock-outside", O_WRONLY | O_CREAT, 0600) < 0 && errno == EACCES);
	HOLDS(execl("/bin/true", "true", (char *)NULL) < 0 && errno == EACCES);
	HOLDS(listen(listener, 8) == 0); /* what is open stays as it is */
	return 0;
}

/* The kernels from 6.7 on refuse these; older ones cannot be asked to. */
static int network_confined(void)
{
	char text[256];
	const struct sandbox_path paths[] = { { dir, SANDBOX_WRITE } };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	if (sandbox_landlock_version() < 4)
		return NO_LANDLOCK;
	HOLDS(sandbox_confine(paths, 1, false, text) == ERR_OK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	HOLDS(bind(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno == EACCES);
	a.sin_port = htons(9);
	HOLDS(connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno == EACCES);
	return 0;
}

/* With blobs in S3 the process dials, and still cannot listen. */
static int may_dial(void)
{
	char text[256];
	const struct sandbox_path paths[] = { { dir, SANDBOX_WRITE } };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	int listener = socket(AF_INET, SOCK_STREAM, 0), other = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);
	if (sandbox_landlock_version() < 4)
		return NO_LANDLOCK;
	HOLDS(bind(listener, (struct sockaddr *)&a, sizeof a) == 0 && listen(listener, 8) == 0);
	HOLDS(getsockname(listener, (struct sockaddr *)&a, &len) == 0);
	HOLDS(sandbox_confine(paths, 1, true, text) == ERR_OK);
	HOLDS(connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
	a.sin_port = 0;
	HOLDS(bind(other, (struct sockaddr *)&a, sizeof a) < 0 && errno == EACCES);
	return 0;
}

static void test_who_needs_to_dial_may_dial_and_not_listen(void **state)
{
	(void)state;
	int status = in_child(may_dial);
	if (status == NO_LANDLOCK)
		skip();
	assert_int_equal(status, 0);
}

/* What the ring removes and what its helper thread does is confined as well, wherever the kernel does it. */
static int ring_confined(void)
{
	char text[256], path[128];
	struct io *io = NULL;
	const struct sandbox_path paths[] = { { dir, SANDBOX_WRITE } };
	const struct io_uring_config config = { .dir = dir, .conns_max = 1, .recv_buffers = 2, .recv_buffer_bytes = 512 };
	if (sandbox_landlock_version() < 1 || io_uring_open(&config, &io, text) != 0)
		return NO_LANDLOCK;
	(void)snprintf(path, sizeof path, "%s-outside", dir);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	HOLDS(fd >= 0 && close(fd) == 0);
	HOLDS(sandbox_confine(paths, 1, false, text) == ERR_OK);
	HOLDS(io->v->mkdir(io, "ring") == 0);
	int file = io->v->open(io, "ring/f", IO_CREATE);
	HOLDS(file >= 0);
	io->v->close(io, file);
	HOLDS(io->v->mkdir(io, "ring/up") == 0);
	HOLDS(io->v->rename(io, "ring/f", "ring/up/f") == 0 && io->v->rename(io, "ring/up/f", "ring/f") == 0);
	HOLDS(io_do(io, IO_SYNC_DIR, -1, (void *)(uintptr_t)"ring", 0, 0) == 0);
	HOLDS(io_do(io, IO_UNLINK, -1, (void *)(uintptr_t)"ring/f", 0, 0) == 0);
	struct io_uring_sqe *sqe = uring_sqe(uring_of(io)); /* behind the back of the files that own the ring */
	struct io_uring_cqe *cqe = NULL;
	io_uring_prep_unlinkat(sqe, AT_FDCWD, path, 0);
	io_uring_sqe_set_data64(sqe, URING_TAG_OTHER);
	HOLDS(io_uring_submit_and_wait(&uring_of(io)->ring, 1) >= 0);
	HOLDS(io_uring_peek_cqe(&uring_of(io)->ring, &cqe) == 0 && cqe->user_data == URING_TAG_OTHER && cqe->res == -EACCES);
	io_uring_cqe_seen(&uring_of(io)->ring, cqe);
	io->v->free(io);
	return 0;
}

static void test_the_ring_is_confined_as_the_process_is(void **state)
{
	(void)state;
	int status = in_child(ring_confined);
	char path[128];
	(void)snprintf(path, sizeof path, "%s-outside", dir);
	assert_int_equal(unlink(path) == 0, status != NO_LANDLOCK); /* it is still there */
	if (status == NO_LANDLOCK)
		skip();
	assert_int_equal(status, 0);
}

static void test_only_the_data_directory_is_left_of_the_file_system(void **state)
{
	(void)state;
	int status = in_child(confined);
	if (status == NO_LANDLOCK)
		skip();
	assert_int_equal(status, 0);
}

static void test_no_address_can_be_bound_or_dialled(void **state)
{
	(void)state;
	int status = in_child(network_confined);
	if (status == NO_LANDLOCK)
		skip();
	assert_int_equal(status, 0);
}

static int undumpable(void)
{
	HOLDS(prctl(PR_GET_DUMPABLE) == 1);
	sandbox_no_dumps();
	HOLDS(prctl(PR_GET_DUMPABLE) == 0);
	return 0;
}

static void test_the_process_leaves_no_core_file(void **state)
{
	(void)state;
	assert_int_equal(in_child(undumpable), 0);
}

static int nobody(void)
{
	char text[256];
	struct stat st;
	const struct passwd *who = getpwnam("nobody");
	HOLDS(who != NULL && sandbox_is_root());
	HOLDS(sandbox_become_user("nobody", dir, text) == ERR_OK);
	HOLDS(getuid() == who->pw_uid && geteuid() == who->pw_uid && getegid() == who->pw_gid && !sandbox_is_root());
	HOLDS(getgroups(0, NULL) <= 1);
	HOLDS(setuid(0) != 0 && setgid(0) != 0);
	HOLDS(stat(dir, &st) == 0 && st.st_uid == who->pw_uid);
	HOLDS(sandbox_become_user("nobody", dir, text) == ERR_OK); /* who we are already */
	HOLDS(sandbox_become_user("root", dir, text) == ERR_INVALID_INPUT && strstr(text, "only root can become root"));
	return 0;
}

static void test_root_becomes_a_user_for_good_and_gives_it_the_directory(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_child(nobody), 0);
	assert_int_equal(chown(dir, 0, 0), 0);
}

static void test_an_unknown_user_is_refused_by_name(void **state)
{
	char text[256];
	(void)state;
	assert_int_equal(sandbox_become_user("no-such-user-here", dir, text), ERR_INVALID_INPUT);
	assert_string_equal(text, "user: there is no user no-such-user-here");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_only_the_data_directory_is_left_of_the_file_system),
		cmocka_unit_test(test_the_ring_is_confined_as_the_process_is),
		cmocka_unit_test(test_no_address_can_be_bound_or_dialled),
		cmocka_unit_test(test_who_needs_to_dial_may_dial_and_not_listen),
		cmocka_unit_test(test_the_process_leaves_no_core_file),
		cmocka_unit_test(test_root_becomes_a_user_for_good_and_gives_it_the_directory),
		cmocka_unit_test(test_an_unknown_user_is_refused_by_name),
	};
	(void)snprintf(dir, sizeof dir, "/tmp/hillock-sandbox-XXXXXX");
	if (!mkdtemp(dir))
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	static const char *const made[] = { "/made-dir", "/ring/up", "/ring", "" };
	for (size_t i = 0; i < COUNT_OF(made); i++) {
		char path[128];
		(void)snprintf(path, sizeof path, "%s%s", dir, made[i]);
		(void)rmdir(path);
	}
	return failed;
}
