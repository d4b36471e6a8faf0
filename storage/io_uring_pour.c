/* storage/io_uring_pour.c: bytes from a file to a socket through a pipe, which holds pages and not copies of them.
 *
 * Place in the data flow: beside the send of io_uring_net.c, whose place in the life of a connection it takes. One pour is one operation in
 * the ring at a time: fill the pipe from the file, empty it into the socket, and, where the peer is slow, wait until the socket takes
 * more. The kernel does the first two on threads of its own.
 *
 * Invariants:
 *  1. What is filled is emptied before the next fill.
 *  2. A thread of the kernel waits for a slow peer at most SLOW_US; a thousand slow peers are a thousand poll requests.
 *  3. A pipe is used again only where it is empty. */
#include "io_uring_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	PIPE_BYTES = 256 << 10,    /* a user may have 64 MiB of them; a piece of a blob fits */
	PIPES_KEPT = 8,
	SLOW_US = 10 * 1000,
};

enum step { FILL, DRAIN, WAIT };

struct uring_pour {
	struct uring_pour *next;  /* in the list of those that are kept */
	int in, out;              /* of the pipe */
	unsigned room;
	int file;
	enum step step;
	uint64_t offset, left;    /* what is not in the pipe yet */
	unsigned filled;
};

static int pipe_new(struct uring_pour *p)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) != 0)
		return -errno;
	p->out = fds[0];
	p->in = fds[1];
	int room = fcntl(p->in, F_SETPIPE_SZ, PIPE_BYTES);
	if (room < 0) /* this user has too many large ones already */
		room = fcntl(p->in, F_GETPIPE_SZ);
	p->room = room > 0 ? (unsigned)room : 4096;
	return 0;
}

static void pipe_free(struct uring_pour *p)
{
	(void)close(p->in);
	(void)close(p->out);
	free(p);
}

int uring_pour_new(struct uring *u, int fd, int file, uint64_t offset, uint64_t len, struct uring_pour **out)
{
	ENSURE(len > 0);
	struct uring_pour *p = u->pours;
	if (p) {
		u->pours = p->next;
		u->pours_kept--;
	} else {
		p = calloc(1, sizeof *p);
		ENSURE(p != NULL);
		int err = pipe_new(p);
		if (err) {
			free(p);
			return err;
		}
	}
	struct timeval slow = { .tv_usec = SLOW_US }; /* sends of the ring itself do not look at it: they never wait */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &slow, sizeof slow);
	p->file = file;
	p->step = FILL;
	p->offset = offset;
	p->left = len;
	p->filled = 0;
	uring_file_get(u, file)->in_flight++;
	*out = p;
	return 0;
}

void uring_pour_arm(struct uring *u, const struct uring_pour *p, struct io_uring_sqe *sqe, int fd)
{
	if (p->step == FILL)
		io_uring_prep_splice(sqe, uring_file_get(u, p->file)->fd, (int64_t)p->offset, p->in, -1,
				     (unsigned)MIN_OF((uint64_t)p->room, p->left), 0);
	else if (p->step == DRAIN)
		io_uring_prep_splice(sqe, p->out, -1, fd, -1, p->filled, p->left > 0 ? SPLICE_F_MORE : 0);
	else
		io_uring_prep_poll_add(sqe, fd, POLLOUT);
}

int uring_pour_step(struct uring_pour *p, int32_t res)
{
	bool again = res == -EINTR || res == -EAGAIN;
	if (res < 0 && !again)
		return res;
	switch (p->step) {
	case FILL:
		if (res == 0)
			return -EIO; /* the file ends before what was promised */
		if (again)
			break;
		p->offset += (uint64_t)res;
		p->left -= (uint64_t)res;
		p->filled = (unsigned)res;
		p->step = DRAIN;
		break;
	case DRAIN:
		if (res == 0)
			return -EPIPE;
		p->filled -= again ? 0 : (unsigned)res;
		if (p->filled == 0 && p->left == 0)
			return 0;
		p->step = p->filled > 0 ? WAIT : FILL;
		break;
	case WAIT:
		p->step = DRAIN;
		break;
	}
	return 1;
}

void uring_pour_free(struct uring *u, struct uring_pour *p)
{
	struct uring_file *f = uring_file_get(u, p->file);
	ENSURE(f->in_flight > 0);
	f->in_flight--;
	if (p->filled > 0 || u->pours_kept >= PIPES_KEPT) {
		pipe_free(p);
		return;
	}
	p->next = u->pours;
	u->pours = p;
	u->pours_kept++;
}

void uring_pours_free(struct uring *u)
{
	while (u->pours) {
		struct uring_pour *p = u->pours;
		u->pours = p->next;
		pipe_free(p);
	}
}
