/* storage/io_uring_work.c: the helper thread of the io_uring world: computation that would hold up the loop.
 *
 * Place in the data flow: beside the loop. A work waits in a list, runs on the thread, and is posted back to the loop.
 *
 * Invariants:
 *  1. The list is touched only with the lock held, and a work runs without it.
 *  2. The thread sees nothing of the ring; it takes no signals. */
#include "io_uring_impl.h"

#include <pthread.h>
#include <signal.h>

struct list {
	struct io_work *first, *last;
};

struct uring_worker {
	struct io *io;
	pthread_t thread;
	bool running;             /* there is a thread */
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list waiting;
	bool stop;
	uint32_t in_flight;       /* the loop's own: not done yet */
};

static void list_add(struct list *list, struct io_work *work)
{
	work->next = NULL;
	if (list->first)
		list->last->next = work;
	else
		list->first = work;
	list->last = work;
}

static struct io_work *list_take(struct list *list)
{
	struct io_work *work = list->first;
	if (work)
		list->first = work->next;
	return work;
}

/* In the loop again. */
static void done(struct io_post *post)
{
	struct io_work *work = (struct io_work *)(void *)((char *)post - offsetof(struct io_work, post));
	struct uring_worker *w = work->impl;
	ENSURE(w->in_flight > 0);
	w->in_flight--;
	work->done(work->ctx);
}

static void *helper(void *arg)
{
	struct uring_worker *w = arg;
	ENSURE(pthread_mutex_lock(&w->lock) == 0);
	for (;;) {
		struct io_work *work = list_take(&w->waiting);
		if (!work && w->stop)
			break;
		if (!work) {
			ENSURE(pthread_cond_wait(&w->more, &w->lock) == 0);
			continue;
		}
		ENSURE(pthread_mutex_unlock(&w->lock) == 0);
		work->run(work->ctx);
		w->io->v->post(w->io, &work->post);
		ENSURE(pthread_mutex_lock(&w->lock) == 0);
	}
	ENSURE(pthread_mutex_unlock(&w->lock) == 0);
	return NULL;
}

static struct uring_worker *worker_new(struct uring *u)
{
	struct uring_worker *w = calloc(1, sizeof *w);
	ENSURE(w != NULL);
	w->io = &u->io;
	ENSURE(pthread_mutex_init(&w->lock, NULL) == 0);
	ENSURE(pthread_cond_init(&w->more, NULL) == 0);
	return w;
}

static void start(struct uring_worker *w)
{
	sigset_t all, before;
	(void)sigfillset(&all);
	ENSURE(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
	w->running = pthread_create(&w->thread, NULL, helper, w) == 0;
	ENSURE(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}

void uring_work(struct io *io, struct io_work *work)
{
	struct uring *u = uring_of(io);
	if (!u->worker)
		u->worker = worker_new(u);
	struct uring_worker *w = u->worker;
	if (!w->running)
		start(w);
	work->post.fn = done;
	work->impl = w;
	w->in_flight++;
	if (!w->running) { /* no thread is to be had: slower, but it goes on */
		work->run(work->ctx);
		io->v->post(io, &work->post);
		return;
	}
	ENSURE(pthread_mutex_lock(&w->lock) == 0);
	list_add(&w->waiting, work);
	ENSURE(pthread_cond_signal(&w->more) == 0);
	ENSURE(pthread_mutex_unlock(&w->lock) == 0);
}

bool uring_works_in_flight(const struct uring *u)
{
	return u->worker && u->worker->in_flight > 0;
}

void uring_work_free(struct uring *u)
{
	struct uring_worker *w = u->worker;
	if (!w)
		return;
	ENSURE(w->in_flight == 0);
	ENSURE(pthread_mutex_lock(&w->lock) == 0);
	w->stop = true;
	ENSURE(pthread_cond_signal(&w->more) == 0);
	ENSURE(pthread_mutex_unlock(&w->lock) == 0);
	if (w->running)
		ENSURE(pthread_join(w->thread, NULL) == 0);
	ENSURE(pthread_mutex_destroy(&w->lock) == 0);
	ENSURE(pthread_cond_destroy(&w->more) == 0);
	free(w);
}
