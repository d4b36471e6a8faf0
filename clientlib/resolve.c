/* clientlib/resolve.c: names to addresses without waiting. In the flow: net.c -> RESOLVE (a thread) -> wake_fd -> net.c.
 *
 * A look-up by the system's resolver cannot be interrupted, so it runs in a thread that shares nothing with the client but one
 * job. Whoever of the two lets go of the job last frees it: a client can be closed while a look-up hangs.
 *
 * 1. The client reads the outcome only after it has seen `done`, which the thread sets last.
 * 2. The thread takes no signals; they are the program's. */
#include "resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../wire/base.h"

struct resolve_job {
	_Atomic uint32_t refs;
	_Atomic bool done;
	int wake_fd; /* of its own: outlives the client's */
	int result;
	struct addrinfo *addresses;
	char *host, *port;
};

void resolve_drop(struct resolve_job *job)
{
	if (!job || atomic_fetch_sub(&job->refs, 1) > 1)
		return;
	if (job->addresses)
		freeaddrinfo(job->addresses);
	if (job->wake_fd >= 0)
		(void)close(job->wake_fd);
	free(job->host);
	free(job->port);
	free(job);
}

static void *look_up(void *arg)
{
	struct resolve_job *job = arg;
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	const uint64_t one = 1;
	job->result = getaddrinfo(job->host, job->port, &hints, &job->addresses);
	if (job->result != 0)
		job->addresses = NULL;
	atomic_store(&job->done, true);
	ssize_t written = write(job->wake_fd, &one, sizeof one); /* full means that a wake-up is due anyway */
	(void)written;
	resolve_drop(job);
	return NULL;
}

static bool thread_start(struct resolve_job *job)
{
	pthread_t thread;
	sigset_t all, before;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	bool started = pthread_create(&thread, NULL, look_up, job) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (started)
		(void)pthread_detach(thread);
	return started;
}

struct resolve_job *resolve_start(const char *host, const char *port, int wake_fd)
{
	struct resolve_job *job = calloc(1, sizeof *job);
	ENSURE(job != NULL);
	job->host = strdup(host);
	job->port = strdup(port);
	ENSURE(job->host && job->port);
	job->wake_fd = dup(wake_fd);
	job->refs = 2;
	if (job->wake_fd >= 0 && thread_start(job))
		return job;
	job->refs = 1;
	resolve_drop(job);
	return NULL;
}

bool resolve_done(struct resolve_job *job, int *result, struct addrinfo **addresses)
{
	if (!atomic_load(&job->done))
		return false;
	*result = job->result;
	*addresses = job->addresses;
	job->addresses = NULL; /* the caller's */
	return true;
}
