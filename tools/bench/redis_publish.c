/* tools/bench/redis_publish.c: what `hillock bench publish` measures, for redis-server: one pipelining publisher, N subscribers, a
 * count of events. Subscribers only count bytes, which is the least a client can do. Prints deliveries per second.
 *
 *   cc -O2 -pthread -o redis_publish redis_publish.c && ./redis_publish PORT SUBSCRIBERS EVENTS SIZE THREADS */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FLIGHT = 8192, BURST = 512, SUBSCRIBERS_MAX = 1000, READ = 256 << 10 };

struct run {
	int port, subscribers, threads;
	long events, message; /* message: bytes of one delivery */
	size_t size;
	int fds[SUBSCRIBERS_MAX];
	_Atomic long bytes[SUBSCRIBERS_MAX];
};
struct crew { struct run *run; int first; };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int dial(int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
		die("connect");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static void put(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, data, size);
		if (n <= 0)
			die("write");
		data += n;
		size -= (size_t)n;
	}
}

static void *crew_main(void *arg)
{
	struct crew *crew = arg;
	struct run *run = crew->run;
	struct pollfd fds[SUBSCRIBERS_MAX];
	char *buffer = malloc(READ);
	int count = 0, done = 0;
	for (int i = crew->first; i < run->subscribers; i += run->threads)
		fds[count++] = (struct pollfd){ .fd = run->fds[i], .events = POLLIN };
	while (done < count) {
		(void)poll(fds, (nfds_t)count, 1000);
		for (int i = 0; i < count; i++) {
			if (fds[i].fd < 0 || !fds[i].revents)
				continue;
			_Atomic long *bytes = &run->bytes[crew->first + i * run->threads];
			ssize_t n = read(fds[i].fd, buffer, READ);
			if (n <= 0)
				die("a subscriber was cut off");
			if (atomic_fetch_add(bytes, n) + n >= run->events * run->message) {
				fds[i].fd = -1;
				done++;
			}
		}
	}
	free(buffer);
	return NULL;
}

static void publish(struct run *run)
{
	static char request[4096], batch[BURST * 4096], answers[65536];
	int fd = dial(run->port), len = snprintf(request, sizeof request, "*3\r\n$7\r\nPUBLISH\r\n$5\r\nbench\r\n$%zu\r\n", run->size);
	memset(request + len, 'x', run->size);
	memcpy(request + len + run->size, "\r\n", 2);
	size_t one = (size_t)len + run->size + 2;
	for (int i = 0; i < BURST; i++)
		memcpy(batch + (size_t)i * one, request, one);
	for (long sent = 0, answered = 0; answered < run->events;) {
		long burst = run->events - sent < BURST ? run->events - sent : BURST;
		if (burst > 0 && sent - answered + burst <= FLIGHT) {
			put(fd, batch, (size_t)burst * one);
			sent += burst;
			if (sent - answered + BURST <= FLIGHT && sent < run->events)
				continue;
		}
		ssize_t n = read(fd, answers, sizeof answers);
		if (n <= 0)
			die("the publisher was cut off");
		for (ssize_t i = 0; i < n; i++)
			answered += answers[i] == '\n';
	}
	(void)close(fd);
}

int main(int argc, char **argv)
{
	static struct run run;
	static struct crew crews[64];
	static pthread_t threads[64];
	if (argc != 6) {
		(void)fprintf(stderr, "usage: redis_publish PORT SUBSCRIBERS EVENTS SIZE THREADS\n");
		return 2;
	}
	run.port = atoi(argv[1]);
	run.subscribers = atoi(argv[2]);
	run.events = atol(argv[3]);
	run.size = (size_t)atol(argv[4]);
	run.threads = atoi(argv[5]) < run.subscribers ? atoi(argv[5]) : run.subscribers;
	if (run.subscribers < 1 || run.subscribers > SUBSCRIBERS_MAX || run.size > 2048 || run.threads < 1 || run.threads > 64)
		return 2;
	char text[256], answer[256];
	run.message = snprintf(text, sizeof text, "*3\r\n$7\r\nmessage\r\n$5\r\nbench\r\n$%zu\r\n", run.size) + (long)run.size + 2;
	for (int i = 0; i < run.subscribers; i++) {
		static const char subscribe[] = "*2\r\n$9\r\nSUBSCRIBE\r\n$5\r\nbench\r\n";
		run.fds[i] = dial(run.port);
		put(run.fds[i], subscribe, sizeof subscribe - 1);
		if (read(run.fds[i], answer, sizeof answer) <= 0) /* one small answer: it comes whole */
			die("subscribe");
	}
	double begin = now();
	for (int i = 0; i < run.threads; i++) {
		crews[i] = (struct crew){ &run, i };
		if (pthread_create(&threads[i], NULL, crew_main, &crews[i]) != 0)
			die("thread");
	}
	publish(&run);
	for (int i = 0; i < run.threads; i++)
		(void)pthread_join(threads[i], NULL);
	double seconds = now() - begin;
	(void)printf("%.0f\n", (double)run.events * run.subscribers / seconds);
	return 0;
}
