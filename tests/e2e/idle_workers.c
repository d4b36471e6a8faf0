/* tests/e2e/idle_workers.c: many workers that wait: what does one cost the broker, and what does it cost the others?
 *
 *   idle_workers URL COUNT [QUEUE]
 *
 * Connects COUNT clients with one entry each, prints "ready COUNT" when every one of them is connected and has said what
 * it serves, and keeps them alive until its standard input ends. For tls:// HILLOCK_TLS_CA, _CERT and _KEY name files.
 * A client needs four descriptors here, so they are spread over processes.
 *
 * 1. A process answers through its pipe once, when all its clients are up, or not at all.
 * 2. The children end when their parent does: their end of the pipe for the stop tells them. */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../clientlib/hillock.h"
#include "../../wire/base.h"

enum { CLIENTS_PER_PROCESS = 4000, PROCESSES_MAX = 64, SETUP_MS = 60000, EVENTS = 256 };

static void no_task(struct hlk *c, struct hlk_task *task, void *ctx)
{
	(void)c;
	(void)ctx;
	(void)hlk_release(task, 1000); /* the queue is meant to be empty */
}

static bool open_one(const char *url, const char *queue, int epoll_fd, struct hlk **out)
{
	const struct hlk_options options = { .url = url, .name = "idle worker", .tls_ca = getenv("HILLOCK_TLS_CA"),
					     .tls_cert = getenv("HILLOCK_TLS_CERT"), .tls_key = getenv("HILLOCK_TLS_KEY") };
	const struct hlk_serve_options serve = { .queue = queue, .credit = 1, .task = no_task };
	struct hlk_error error;

	int code = hlk_open(&options, out, &error);
	if (code == HLK_OK && (code = hlk_ready_wait(*out, SETUP_MS)) != HLK_OK)
		error = *hlk_last_error(*out);
	if (code == HLK_OK && (code = hlk_serve(*out, &serve, NULL)) != HLK_OK)
		error = *hlk_last_error(*out);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = *out };
	if (code == HLK_OK && hlk_flush(*out) == HLK_OK && epoll_ctl(epoll_fd, EPOLL_CTL_ADD, hlk_fd(*out), &event) == 0)
		return true;
	(void)fprintf(stderr, "idle_workers: %s\n", code == HLK_OK ? strerror(errno) : error.text);
	return false;
}

/* One process: opens its share, says so, keeps the clients alive until `stop` ends. */
static int child(const char *url, const char *queue, uint32_t count, int stop, int ready)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct hlk **clients = calloc(count, sizeof(struct hlk *));
	ENSURE(epoll_fd >= 0 && clients != NULL);
	struct epoll_event stop_event = { .events = EPOLLIN, .data.ptr = NULL };
	ENSURE(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, stop, &stop_event) == 0);
	for (uint32_t i = 0; i < count; i++)
		if (!open_one(url, queue, epoll_fd, &clients[i]))
			return 1;
	if (write(ready, "r", 1) != 1)
		return 1;
	for (bool stopping = false; !stopping;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(epoll_fd, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			stopping |= events[i].data.ptr == NULL;
			if (events[i].data.ptr)
				(void)hlk_process(events[i].data.ptr);
		}
	}
	for (uint32_t i = 0; i < count; i++)
		hlk_close(clients[i], 0);
	free(clients);
	(void)close(epoll_fd);
	return 0;
}

static bool children_ready(int ready, uint32_t count)
{
	char byte;
	for (uint32_t i = 0; i < count; i++)
		if (read(ready, &byte, 1) != 1)
			return false; /* one has failed and said why; with it went the last writer */
	return true;
}

int main(int argc, char **argv)
{
	struct rlimit files;
	int stop[2], ready[2], status, failures = 0;
	uint32_t total = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0, processes = 0;
	const char *queue = argc > 3 ? argv[3] : "idle";

	if (total == 0 || total > PROCESSES_MAX * CLIENTS_PER_PROCESS) {
		(void)fprintf(stderr, "usage: idle_workers URL COUNT [QUEUE]\n");
		return 1;
	}
	ENSURE(getrlimit(RLIMIT_NOFILE, &files) == 0);
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files); /* where that is not enough, a client says so */
	ENSURE(pipe(stop) == 0 && pipe(ready) == 0);
	for (uint32_t left = total; left > 0; processes++) {
		uint32_t share = MIN_OF(left, (uint32_t)CLIENTS_PER_PROCESS);
		pid_t pid = fork();
		ENSURE(pid >= 0);
		if (pid == 0) {
			(void)close(stop[1]);
			(void)close(ready[0]);
			_exit(child(argv[1], queue, share, stop[0], ready[1]));
		}
		left -= share;
	}
	(void)close(ready[1]);
	bool good = children_ready(ready[0], processes);
	if (good) {
		(void)printf("ready %u\n", total);
		(void)fflush(stdout);
		char line[64];
		while (read(STDIN_FILENO, line, sizeof line) > 0)
			;
	}
	(void)close(stop[1]);
	while (wait(&status) > 0)
		failures += status != 0;
	return good && failures == 0 ? 0 : 1;
}
