/* tests/unit/s3_world.h: tests/e2e/s3_server.py in a process of its own, and a word with it. */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blob_suite.h"

struct s3_server { pid_t pid; int in; uint16_t port; };

static void server_start(struct s3_server *s, const char *min_part, const char *page, bool tls)
{
	int in[2], out[2];
	char line[64];
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (s->pid == 0) {
		(void)dup2(in[0], 0);
		(void)dup2(out[1], 1);
		(void)close(in[1]);
		(void)close(out[0]);
		(void)execlp("python3", "python3", S3_SERVER, "--min-part", min_part, "--page", page, tls ? "--tls" : NULL,
			     CERTS "/server.pem", CERTS "/server.key", (char *)NULL);
		_exit(127);
	}
	(void)close(in[0]);
	(void)close(out[1]);
	size_t n = 0;
	while (n < sizeof line - 1 && read(out[0], line + n, 1) == 1 && line[n] != '\n')
		n++;
	line[n] = '\0';
	assert_int_equal(strncmp(line, "ready ", 6), 0);
	s->port = (uint16_t)atoi(line + strlen("ready "));
	assert_true(s->port > 0);
	(void)close(out[0]);
	s->in = in[1];
}

static void server_stop(struct s3_server *s)
{
	int status;
	(void)close(s->in); /* which is how it knows */
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
}

/* One request with plain sockets; the whole answer, to be freed. */
static char *http_ask(const struct s3_server *s, const char *method, const char *path, const char *body)
{
	char head[4096];
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	int len = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
			   method, path, s->port, strlen(body));
	assert_true(len > 0 && len < (int)sizeof head);
	assert_int_equal(send(fd, head, (size_t)len, 0), len);
	if (body[0])
		assert_int_equal(send(fd, body, strlen(body), 0), strlen(body));
	struct buf answer = { NULL, 0, 0 };
	for (;;) {
		ssize_t n = recv(fd, buf_extend(&answer, 65536), 65536, 0);
		answer.len -= (size_t)(65536 - (n > 0 ? n : 0));
		if (n <= 0)
			break;
	}
	(void)close(fd);
	buf_append(&answer, "", 1);
	return (char *)answer.data;
}

static void tell(const struct s3_server *s, const char *what, const char *json)
{
	char path[64];
	(void)snprintf(path, sizeof path, "/-/%s", what);
	char *answer = http_ask(s, "POST", path, json);
	assert_non_null(strstr(answer, " 200 "));
	free(answer);
}

/* How often `text` is in what the server says of itself. */
static int state_count(const struct s3_server *s, const char *text)
{
	char *state = http_ask(s, "GET", "/-/state", "");
	int count = 0;
	for (const char *at = strstr(state, text); at; at = strstr(at + 1, text))
		count++;
	free(state);
	return count;
}
