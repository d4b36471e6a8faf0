/* tests/e2e/flood.c: strangers at the door of a broker on loopback: how much of it do the others notice?
 *
 *   flood PORT churn|stall|guess|mute [--addresses N] [--conns N] [--rate N] [--seconds N]
 *
 *   churn   dials and hangs up, `rate` times a second
 *   stall   keeps `conns` connections that say half a header and nothing more; what is closed is dialled again
 *   guess   says HELLO with a wrong token, one after the other on each of `conns` connections, and counts the answers
 *   mute    a session that asks and asks and never reads
 *
 * The dials come from 127.0.0.2, 127.0.0.3 ...: `addresses` of them (1). It ends after `seconds` (10) and prints
 * one line of JSON: what it did and what became of it. Loopback only: there is no way to name another address. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../wire/msg.h"

enum { CONNS_MAX = 20000, EVENTS = 512, ROUND_MS = 10 };

struct knock { int fd; bool said; };
struct flood {
	uint16_t port;
	uint32_t addresses, conns, rate, seconds, next_address;
	int epoll_fd;
	struct knock knocks[CONNS_MAX];
	struct buf hello, ask;
	uint64_t dialled, failed, closed, answered, permission, held, bytes_sent;
};

static uint64_t now_ms(void)
{
	struct timespec t;
	ENSURE(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void messages(struct flood *f, bool guess)
{
	struct msg *m = calloc(1, sizeof *m);
	ENSURE(m != NULL);
	m->kind = FRAME_HELLO;
	m->hello.versions[0] = 1;
	m->hello.version_count = 1;
	m->hello.client = span_str("flood");
	if (guess)
		m->hello.token = span_str("hlk_0000000000000000_0123456789abcdef0123456789abcdef0123456789a");
	for (uint32_t i = 0; i < sizeof m->hello.session; i++)
		m->hello.session[i] = (uint8_t)(i * 7 + (uint32_t)getpid());
	msg_encode(&f->hello, m, 1, NULL, 0);
	memset(m, 0, sizeof *m);
	m->kind = FRAME_REQUEST;
	m->request = (struct msg_request){ .verb = VERB_STATS, .settings = QUEUE_SETTINGS_UNSET };
	for (int i = 0; i < 100; i++)
		msg_encode(&f->ask, m, 2, NULL, 0);
	free(m);
}

/* A connection under way, or -1. */
static int dial(struct flood *f)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
	if (fd < 0)
		return -1;
	uint32_t from = 2 + f->next_address++ % f->addresses;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl((uint32_t)INADDR_LOOPBACK - 1 + from) };
	const struct linger at_once = { 1, 0 }; /* no TIME_WAIT: the ports of one address would run out */
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	(void)setsockopt(fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &on, sizeof on);
	bool good = bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	a.sin_port = htons(f->port);
	good = good && (connect(fd, (struct sockaddr *)&a, sizeof a) == 0 || errno == EINPROGRESS);
	f->dialled++;
	if (good)
		return fd;
	f->failed++;
	(void)close(fd);
	return -1;
}

static bool over(uint64_t end_ms)
{
	return now_ms() >= end_ms;
}

static void churn(struct flood *f, uint64_t end_ms)
{
	const uint64_t start = now_ms();
	int open[4096];
	uint32_t head = 0;
	memset(open, -1, sizeof open);
	while (!over(end_ms)) {
		while (f->dialled < (now_ms() - start) * f->rate / 1000) {
			int *slot = &open[head++ % COUNT_OF(open)];
			if (*slot >= 0)
				(void)close(*slot);
			*slot = dial(f);
		}
		(void)usleep(1000);
	}
}

static void knock_open(struct flood *f, struct knock *k)
{
	*k = (struct knock){ .fd = dial(f) };
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = k };
	if (k->fd >= 0)
		ENSURE(epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, k->fd, &e) == 0);
}

static void knock_close(struct flood *f, struct knock *k)
{
	(void)close(k->fd);
	k->fd = -1;
	f->closed++;
}

/* The code of an ERROR that stands at the beginning; 0 = something else. */
static uint16_t error_code(struct span bytes)
{
	_Alignas(8) uint8_t copy[4096];
	static struct msg msg;
	struct frame frame;
	size_t used, need;
	char text[128];
	memcpy(copy, bytes.data, MIN_OF(bytes.len, sizeof copy));
	bytes.data = copy;
	if (frame_decode(bytes, LIMIT_FRAME_BYTES, &frame, &used, &need, text) != ERR_OK ||
	    msg_decode(&frame, &msg, text) != ERR_OK || msg.kind != FRAME_ERROR)
		return 0;
	return msg.error.code;
}

/* What one connection does when something has become of it. False: it is gone. */
static bool knock_turn(struct flood *f, struct knock *k, bool guess)
{
	uint8_t bytes[4096];
	if (!k->said) {
		struct span say = guess ? buf_span(&f->hello) : span_sub(buf_span(&f->hello), 0, LIMIT_FRAME_HEADER / 2);
		ssize_t sent = send(k->fd, say.data, say.len, MSG_NOSIGNAL);
		if (sent < 0)
			return errno == EAGAIN;
		k->said = true;
		f->bytes_sent += (uint64_t)sent;
	}
	ssize_t got = recv(k->fd, bytes, sizeof bytes, 0);
	if (got < 0)
		return errno == EAGAIN;
	if (got > 0) {
		uint16_t code = error_code(span_of(bytes, (size_t)got));
		f->answered++;
		f->permission += code == ERR_PERMISSION;
		f->held += code == ERR_RESOURCE_EXHAUSTED;
	}
	return got > 0 && !guess;
}

/* stall and guess: `conns` connections; what is gone is dialled again, with `rate` (0: at once) dials a second at most. */
static void keep(struct flood *f, uint64_t end_ms, bool guess)
{
	const uint64_t start = now_ms();
	f->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	ENSURE(f->epoll_fd >= 0);
	for (uint32_t i = 0; i < f->conns; i++)
		f->knocks[i].fd = -1;
	for (uint32_t at = 0; !over(end_ms); at = (at + 1) % f->conns) {
		struct epoll_event events[EVENTS];
		uint64_t budget = f->rate ? (now_ms() - start) * f->rate / 1000 : UINT64_MAX;
		for (uint32_t i = 0; i < f->conns && f->dialled < budget; i++)
			if (f->knocks[i].fd < 0)
				knock_open(f, &f->knocks[i]);
		int n = epoll_wait(f->epoll_fd, events, EVENTS, ROUND_MS);
		for (int i = 0; i < n; i++) {
			struct knock *k = events[i].data.ptr;
			if (k->fd >= 0 && ((events[i].events & (EPOLLERR | EPOLLHUP)) || !knock_turn(f, k, guess)))
				knock_close(f, k);
		}
	}
}

static void mute(struct flood *f, uint64_t end_ms)
{
	struct pollfd out = { .fd = dial(f), .events = POLLOUT };
	ENSURE(out.fd >= 0 && poll(&out, 1, 5000) == 1);
	ENSURE(send(out.fd, f->hello.data, f->hello.len, MSG_NOSIGNAL) == (ssize_t)f->hello.len);
	struct pollfd in = { .fd = out.fd, .events = POLLIN }; /* more than a handshake may have would be refused before */
	ENSURE(poll(&in, 1, 5000) == 1);
	while (!over(end_ms)) {
		if (poll(&out, 1, ROUND_MS) <= 0)
			continue;
		ssize_t sent = send(out.fd, f->ask.data, f->ask.len, MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN) {
			f->closed++;
			break;
		}
		f->bytes_sent += sent > 0 ? (uint64_t)sent : 0;
	}
}

static bool option(struct flood *f, const char *name, const char *value)
{
	const struct { const char *name; uint32_t *at; } numbers[] = {
		{ "--addresses", &f->addresses }, { "--conns", &f->conns }, { "--rate", &f->rate }, { "--seconds", &f->seconds },
	};
	for (size_t i = 0; i < COUNT_OF(numbers); i++) {
		if (strcmp(name, numbers[i].name) != 0)
			continue;
		*numbers[i].at = (uint32_t)strtoul(value, NULL, 10);
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	static struct flood f = { .addresses = 1, .conns = 100, .rate = 0, .seconds = 10 };
	const char *mode = argc > 2 ? argv[2] : "";
	bool good = argc > 2 && argc % 2 == 1;
	for (int i = 3; good && i + 1 < argc; i += 2)
		good = option(&f, argv[i], argv[i + 1]);
	good = good && f.addresses > 0 && f.addresses <= 200 && f.conns > 0 && f.conns <= CONNS_MAX;
	f.port = good ? (uint16_t)strtoul(argv[1], NULL, 10) : 0;
	struct rlimit files;
	ENSURE(getrlimit(RLIMIT_NOFILE, &files) == 0);
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
	bool guess = strcmp(mode, "guess") == 0;
	uint64_t end_ms = now_ms() + f.seconds * 1000ull;
	messages(&f, guess);
	if (good && strcmp(mode, "churn") == 0)
		churn(&f, end_ms);
	else if (good && (guess || strcmp(mode, "stall") == 0))
		keep(&f, end_ms, guess);
	else if (good && strcmp(mode, "mute") == 0)
		mute(&f, end_ms);
	else {
		(void)fprintf(stderr, "usage: flood PORT churn|stall|guess|mute [--addresses N] [--conns N] [--rate N] [--seconds N]\n");
		return 1;
	}
	(void)printf("{\"mode\":\"%s\",\"dialled\":%llu,\"failed\":%llu,\"closed\":%llu,\"answered\":%llu,\"permission\":%llu,"
		     "\"held\":%llu,\"bytes_sent\":%llu}\n", mode, (unsigned long long)f.dialled, (unsigned long long)f.failed,
		     (unsigned long long)f.closed, (unsigned long long)f.answered, (unsigned long long)f.permission,
		     (unsigned long long)f.held, (unsigned long long)f.bytes_sent);
	return 0;
}
