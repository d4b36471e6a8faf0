/* tools/bench/nats_call.c: request and reply over a NATS server, for a comparison in one run with `hillock bench call`.
 *
 *   nats_call PORT COUNT SIZE WINDOW
 *
 * Two processes, as with us: a responder that answers each request with the same bytes, and a requester that keeps WINDOW requests in
 * flight. Both speak the NATS text protocol (https://docs.nats.io/reference/reference-protocols/nats-protocol) straight, one thread each,
 * writing all that a read has brought in one go: the least that a client can cost, so that the server is what is measured.
 *
 * 1. Every answer is counted and its size checked; a reply that is missing ends the run with an error after 10 s of silence.
 * 2. A latency is from the write of a request to the read of its reply; the number of the request is in the reply subject. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 20, SIZE_MAX_ALLOWED = 16 << 10, WINDOW_MAX = 4096, SILENCE_S = 10 };

static void die(const char *what)
{
	(void)fprintf(stderr, "nats_call: %s: %s\n", what, errno ? strerror(errno) : "unexpected bytes");
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- a connection ---- */

struct peer {
	int fd;
	size_t in_len, in_pos, out_len;
	char in[BUFFER], out[BUFFER];
};

static void flush_out(struct peer *p)
{
	for (size_t done = 0; done < p->out_len;) {
		ssize_t n = write(p->fd, p->out + done, p->out_len - done);
		if (n <= 0)
			die("write");
		done += (size_t)n;
	}
	p->out_len = 0;
}

static void put(struct peer *p, const void *data, size_t len)
{
	if (p->out_len + len > sizeof p->out)
		flush_out(p);
	memcpy(p->out + p->out_len, data, len);
	p->out_len += len;
}

static void put_text(struct peer *p, const char *text)
{
	put(p, text, strlen(text));
}

static bool fill(struct peer *p)
{
	if (p->in_pos > 0) {
		memmove(p->in, p->in + p->in_pos, p->in_len - p->in_pos);
		p->in_len -= p->in_pos;
		p->in_pos = 0;
	}
	ssize_t n = read(p->fd, p->in + p->in_len, sizeof p->in - p->in_len);
	if (n > 0)
		p->in_len += (size_t)n;
	return n > 0;
}

static struct peer *dial(uint16_t port)
{
	struct peer *p = calloc(1, sizeof *p);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct timeval silence = { .tv_sec = SILENCE_S };
	int one = 1;
	if (!p)
		die("memory");
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	p->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (p->fd < 0 || connect(p->fd, (struct sockaddr *)&to, sizeof to) != 0)
		die("connect");
	(void)setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	(void)setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);
	put_text(p, "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\"lang\":\"c\",\"protocol\":1}\r\n");
	return p;
}

/* One MSG of the input: its reply subject (may be empty) and size. False: not whole yet. Answers PING by the way. */
static bool next_msg(struct peer *p, char *subject, char *reply, size_t room, const char **body, size_t *size)
{
	for (;;) {
		char *line = p->in + p->in_pos;
		char *end = memchr(line, '\n', p->in_len - p->in_pos);
		if (!end)
			return false;
		size_t length = (size_t)(end - line) + 1;
		if (memcmp(line, "PING", 4) == 0)
			put_text(p, "PONG\r\n");
		if (memcmp(line, "-ERR", 4) == 0)
			die(line);
		if (memcmp(line, "MSG ", 4) != 0) {
			p->in_pos += length;
			continue;
		}
		char words[4][128] = { "", "", "", "" };
		char head[512];
		if (length >= sizeof head || room < sizeof words[0])
			die("a line is too long");
		memcpy(head, line, length);
		head[length] = '\0';
		int count = sscanf(head + 4, "%127s %127s %127s %127s", words[0], words[1], words[2], words[3]);
		*size = strtoul(words[count - 1], NULL, 10);
		if (p->in_len - p->in_pos < length + *size + 2)
			return false;
		(void)snprintf(subject, room, "%s", words[0]);
		(void)snprintf(reply, room, "%s", count == 4 ? words[2] : "");
		*body = line + length;
		p->in_pos += length + *size + 2;
		return true;
	}
}

/* ---- the two sides ---- */

static void respond(uint16_t port)
{
	struct peer *p = dial(port);
	put_text(p, "SUB bench 1\r\n");
	for (;;) {
		char subject[128], reply[128], head[192];
		const char *body;
		size_t size;
		while (next_msg(p, subject, reply, sizeof subject, &body, &size)) {
			int n = snprintf(head, sizeof head, "PUB %s %zu\r\n", reply, size);
			put(p, head, (size_t)n);
			put(p, body, size + 2);
		}
		flush_out(p);
		if (!fill(p))
			exit(0);
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void request(struct peer *p, uint64_t number, const char *payload, size_t size, uint64_t *began)
{
	char head[96];
	int n = snprintf(head, sizeof head, "PUB bench r.%llu %zu\r\n", (unsigned long long)number, size);
	put(p, head, (size_t)n);
	put(p, payload, size);
	put(p, "\r\n", 2);
	began[number] = now_ns();
}

static void run(uint16_t port, uint64_t count, size_t size, uint64_t window)
{
	struct peer *p = dial(port);
	uint64_t *began = calloc(count, sizeof *began), sent = 0, done = 0;
	char payload[SIZE_MAX_ALLOWED];
	if (!began)
		die("memory");
	memset(payload, 'x', sizeof payload);
	put_text(p, "SUB r.* 1\r\n");
	flush_out(p);
	(void)usleep(200000); /* the responder's subscription is there */
	uint64_t start = now_ns();
	while (done < count) {
		while (sent < count && sent - done < window)
			request(p, sent++, payload, size, began);
		flush_out(p);
		if (!fill(p))
			die("no reply");
		char subject[128], reply[128];
		const char *body;
		size_t got;
		uint64_t now = now_ns();
		while (next_msg(p, subject, reply, sizeof subject, &body, &got)) {
			uint64_t number = strtoull(subject + 2, NULL, 10);
			if (got != size || number >= count || began[number] == 0)
				die("a wrong reply");
			began[number] = now - began[number];
			done++;
		}
	}
	double seconds = (double)(now_ns() - start) / 1e9;
	qsort(began, count, sizeof *began, by_value);
	printf("{\"peer\":\"nats\",\"calls\":%llu,\"seconds\":%.3f,\"calls_per_s\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
	       (unsigned long long)count, seconds, (double)count / seconds, (double)began[count / 2] / 1e3,
	       (double)began[count * 99 / 100] / 1e3);
}

int main(int argc, char **argv)
{
	unsigned long long port = argc == 5 ? strtoull(argv[1], NULL, 10) : 0, count = 0, size = 0, window = 0;
	if (argc == 5) {
		count = strtoull(argv[2], NULL, 10);
		size = strtoull(argv[3], NULL, 10);
		window = strtoull(argv[4], NULL, 10);
	}
	if (port == 0 || port > 65535 || count == 0 || size > SIZE_MAX_ALLOWED || window == 0 || window > WINDOW_MAX) {
		(void)fprintf(stderr, "usage: nats_call PORT COUNT SIZE(<=%d) WINDOW(<=%d)\n", SIZE_MAX_ALLOWED, WINDOW_MAX);
		return 1;
	}
	pid_t responder = fork();
	if (responder < 0)
		die("fork");
	if (responder == 0)
		respond((uint16_t)port);
	run((uint16_t)port, count, size, window);
	(void)kill(responder, SIGTERM);
	(void)waitpid(responder, NULL, 0);
	return 0;
}
