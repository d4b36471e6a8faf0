/* storage/io_uring_listen.c: listeners of the io_uring world: urls, sockets, accepting.
 *
 * Invariants:
 *  1. A listener keeps accepting for as long as it is not stopped. Out of descriptors it turns the caller away with
 *     the spare one, so that nobody waits in the backlog for nothing, and rests for a moment.
 *  2. Its memory and descriptor live until nothing of it is in the ring.
 *  3. The path of a unix socket is removed only where nobody answers on it, or where it is still our own. */
#include "io_uring_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096, RETRY_NS = 100 * 1000 * 1000 };

struct uring_listener {
	struct uring_listener *next;
	int fd;
	bool accepting, resting, stopping;
	enum io_peer kind;
	struct sockaddr_un path; /* local: to be removed at the stop */
	dev_t device;
	ino_t inode;
};

/* ---- urls and sockets ---- */

static int tcp_socket(const struct addrinfo *a, uint16_t *port_out)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int on = 1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (a->ai_family == AF_INET6)
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	struct sockaddr_storage got;
	socklen_t len = sizeof got;
	if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0 ||
	    getsockname(fd, (struct sockaddr *)&got, &len) != 0) {
		int err = -errno;
		(void)close(fd);
		return err;
	}
	if (port_out)
		*port_out = ntohs(got.ss_family == AF_INET6 ?
					  ((struct sockaddr_in6 *)(void *)&got)->sin6_port :
					  ((struct sockaddr_in *)(void *)&got)->sin_port);
	return fd;
}

/* `address` is HOST:PORT or [V6]:PORT; an empty host or * means every address. */
static int tcp_listen(const char *address, uint16_t *port_out)
{
	char host[256];
	const char *colon = strrchr(address, ':');
	if (!colon || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1) || strlen(colon + 1) > 5 ||
	    strtoul(colon + 1, NULL, 10) > UINT16_MAX)
		return -EINVAL;
	size_t len = (size_t)(colon - address);
	if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
		address++;
		len -= 2;
	}
	if (len >= sizeof host)
		return -EINVAL;
	memcpy(host, address, len);
	host[len] = '\0';
	bool any = len == 0 || strcmp(host, "*") == 0;
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *found = NULL;
	if (getaddrinfo(any ? NULL : host, colon + 1, &hints, &found) != 0)
		return -EADDRNOTAVAIL;
	int fd = -EADDRNOTAVAIL;
	for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
		fd = tcp_socket(a, port_out);
	freeaddrinfo(found);
	return fd;
}

/* Removes the socket an earlier process left behind; never anything else, and never a socket in use. */
static void remove_stale(const struct sockaddr_un *path)
{
	struct stat st;
	if (lstat(path->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)path, sizeof *path) != 0 && errno == ECONNREFUSED)
		(void)unlink(path->sun_path);
	(void)close(fd);
}

static int unix_listen(const char *path, struct uring_listener *l)
{
	size_t len = strlen(path);
	if (len == 0 || len >= sizeof l->path.sun_path)
		return -EINVAL;
	l->kind = IO_PEER_LOCAL;
	l->path.sun_family = AF_UNIX;
	memcpy(l->path.sun_path, path, len + 1);
	remove_stale(&l->path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	struct stat st;
	if (bind(fd, (struct sockaddr *)&l->path, sizeof l->path) != 0 || listen(fd, BACKLOG) != 0 ||
	    lstat(path, &st) != 0) {
		int err = -errno;
		(void)close(fd);
		return err;
	}
	l->device = st.st_dev;
	l->inode = st.st_ino;
	return fd;
}

static void remove_own(const struct uring_listener *l)
{
	struct stat st;
	if (lstat(l->path.sun_path, &st) == 0 && st.st_dev == l->device && st.st_ino == l->inode)
		(void)unlink(l->path.sun_path);
}

void uring_peer_name(int fd, bool local, char *out, size_t cap)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	char host[64] = "?", port[16] = "?";
	if (local) {
		struct ucred who = { .pid = -1 };
		len = sizeof who;
		(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len);
		(void)snprintf(out, cap, "unix:pid=%d,uid=%u", (int)who.pid, (unsigned)who.uid);
		return;
	}
	if (getpeername(fd, (struct sockaddr *)&a, &len) == 0)
		(void)getnameinfo((struct sockaddr *)&a, len, host, sizeof host, port, sizeof port,
				  NI_NUMERICHOST | NI_NUMERICSERV);
	bool v6 = strchr(host, ':') != NULL;
	(void)snprintf(out, cap, "%s%s%s:%s", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

/* ---- accepting ---- */

static void accept_arm(struct uring *u, struct uring_listener *l)
{
	struct io_uring_sqe *sqe = uring_sqe(u);
	/* Blocking descriptors: the ring itself waits for them; O_NONBLOCK would make it give up with EAGAIN. */
	io_uring_prep_multishot_accept(sqe, l->fd, NULL, NULL, SOCK_CLOEXEC);
	io_uring_sqe_set_data64(sqe, uring_data(l, URING_TAG_ACCEPT));
	l->accepting = true;
}

static void rest(struct uring *u, struct uring_listener *l)
{
	static const struct __kernel_timespec pause = { .tv_nsec = RETRY_NS };
	struct io_uring_sqe *sqe = uring_sqe(u);
	io_uring_prep_timeout(sqe, (struct __kernel_timespec *)(uintptr_t)&pause, 0, 0);
	io_uring_sqe_set_data64(sqe, uring_data(l, URING_TAG_RETRY));
	l->resting = true;
}

/* Takes waiting callers out of the backlog and hangs up: better than silence. */
static void turn_away(struct uring *u, struct uring_listener *l)
{
	if (u->spare_fd < 0)
		return;
	(void)close(u->spare_fd);
	struct pollfd waiting = { .fd = l->fd, .events = POLLIN };
	for (int i = 0; i < 64 && poll(&waiting, 1, 0) == 1; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			break;
		(void)close(fd);
	}
	u->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void listener_over(struct uring *u, struct uring_listener *l)
{
	if (!l->stopping || l->accepting || l->resting)
		return;
	struct uring_listener **at = &u->listeners;
	while (*at != l)
		at = &(*at)->next;
	*at = l->next;
	(void)close(l->fd);
	free(l);
}

static bool out_of_resources(int32_t res)
{
	return res == -EMFILE || res == -ENFILE || res == -ENOMEM || res == -ENOBUFS;
}

void uring_on_accept(struct uring *u, struct uring_listener *l, int32_t res, uint32_t flags)
{
	if (!(flags & IORING_CQE_F_MORE))
		l->accepting = false;
	if (res >= 0 && l->stopping) {
		(void)close(res);
	} else if (res >= 0) {
		int on = 1;
		if (l->kind != IO_PEER_LOCAL)
			(void)setsockopt(res, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		uring_conn_new(u, res, l->kind);
	} else if (out_of_resources(res) && !l->stopping) {
		turn_away(u, l);
		if (!l->resting)
			rest(u, l);
	}
	if (!l->accepting && !l->resting && !l->stopping)
		accept_arm(u, l);
	listener_over(u, l);
}

void uring_on_retry(struct uring *u, struct uring_listener *l)
{
	l->resting = false;
	if (!l->accepting && !l->stopping)
		accept_arm(u, l);
	listener_over(u, l);
}

int uring_listen(struct io *io, const char *url, uint16_t *port_out)
{
	struct uring *u = uring_of(io);
	ENSURE(io->net != NULL);
	struct uring_listener *l = calloc(1, sizeof *l);
	ENSURE(l != NULL);
	if (port_out)
		*port_out = 0;
	int fd = -EINVAL;
	if (strncmp(url, "tcp://", 6) == 0)
		fd = tcp_listen(url + 6, port_out);
	else if (strncmp(url, "tls://", 6) == 0)
		fd = tcp_listen(url + 6, port_out);
	else if (strncmp(url, "unix://", 7) == 0)
		fd = unix_listen(url + 7, l);
	if (fd < 0) {
		free(l);
		return fd;
	}
	if (url[1] == 'l')
		l->kind = IO_PEER_TLS;
	l->fd = fd;
	l->next = u->listeners;
	u->listeners = l;
	if (u->spare_fd < 0)
		u->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	accept_arm(u, l);
	return 0;
}

void uring_stop_listening(struct io *io)
{
	struct uring *u = uring_of(io);
	for (struct uring_listener *l = u->listeners; l; l = l->next) {
		if (l->stopping)
			continue;
		l->stopping = true;
		if (l->kind == IO_PEER_LOCAL)
			remove_own(l);
		struct io_uring_sqe *sqe = uring_sqe(u);
		if (l->accepting)
			io_uring_prep_cancel64(sqe, uring_data(l, URING_TAG_ACCEPT), 0);
		else
			io_uring_prep_timeout_remove(sqe, uring_data(l, URING_TAG_RETRY), 0);
		io_uring_sqe_set_data64(sqe, URING_TAG_OTHER);
	}
}
