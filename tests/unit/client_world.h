/* tests/unit/client_world.h: a broker that does as the test says: a listening socket in the same thread, spoken to through
 * wire/msg.h. Nothing sleeps: each step runs the client until what the test waits for has come, or a deadline fails it. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../clientlib/hillock.h"
#include "../../wire/msg.h"

enum { PATIENCE_MS = 10000 };

struct broker {
	int listener, conn;
	char url[128], path[64];
	struct buf in;
	size_t used;          /* of the frame that was given out last */
	struct frame frame;
	struct msg msg;
};
struct log { char text[2048]; uint32_t confirms, refusals, tasks, results; int code; uint64_t last; struct hlk_task *kept[8]; };

static inline int64_t now_ms(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline void note(struct log *log, const char *word)
{
	size_t at = strlen(log->text);
	(void)snprintf(log->text + at, sizeof log->text - at, "%s ", word);
}

/* ---- the broker of the test ---- */

static inline void listen_on(struct broker *b, const struct sockaddr *address, socklen_t size)
{
	b->listener = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(b->listener >= 0);
	assert_int_equal(bind(b->listener, address, size), 0);
	assert_int_equal(listen(b->listener, 8), 0);
	b->conn = -1;
}

static inline struct broker *broker_tcp(void)
{
	struct broker *b = calloc(1, sizeof *b);
	assert_non_null(b);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof a;
	listen_on(b, (const struct sockaddr *)(const void *)&a, size);
	assert_int_equal(getsockname(b->listener, (struct sockaddr *)(void *)&a, &size), 0);
	(void)snprintf(b->url, sizeof b->url, "tcp://127.0.0.1:%u", (unsigned)ntohs(a.sin_port));
	return b;
}

static inline struct broker *broker_unix(void)
{
	struct broker *b = calloc(1, sizeof *b);
	assert_non_null(b);
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	(void)snprintf(b->path, sizeof b->path, "/tmp/test_client_net.%d.sock", (int)getpid());
	(void)unlink(b->path);
	memcpy(a.sun_path, b->path, strlen(b->path) + 1);
	listen_on(b, (const struct sockaddr *)(const void *)&a, sizeof a);
	(void)snprintf(b->url, sizeof b->url, "unix://%s", b->path);
	return b;
}

static inline void broker_cut(struct broker *b)
{
	(void)close(b->conn);
	b->conn = -1;
	b->in.len = b->used = 0;
}

static inline void broker_free(struct broker *b)
{
	if (b->conn >= 0)
		broker_cut(b);
	(void)close(b->listener);
	if (b->path[0])
		(void)unlink(b->path);
	buf_free(&b->in);
	free(b);
}

static inline void send_bytes(struct broker *b, struct span bytes)
{
	assert_int_equal(send(b->conn, bytes.data, bytes.len, MSG_NOSIGNAL), (ssize_t)bytes.len);
}

static inline void say(struct broker *b, const struct msg *msg, uint32_t correlation, const char *payload)
{
	struct buf out = { 0 };
	const struct span piece = span_str(payload);
	msg_encode(&out, msg, correlation, &piece, payload ? 1 : 0);
	send_bytes(b, buf_span(&out));
	buf_free(&out);
}

static inline bool next_frame(struct broker *b)
{
	size_t used, need;
	char text[128];
	if (b->conn < 0)
		b->conn = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC);
	if (b->conn < 0)
		return false;
	buf_consume(&b->in, b->used);
	b->used = 0;
	buf_reserve(&b->in, 1 << 20);
	ssize_t got = recv(b->conn, b->in.data + b->in.len, 1 << 20, MSG_DONTWAIT);
	b->in.len += got > 0 ? (size_t)got : 0;
	enum err e = frame_decode(buf_span(&b->in), LIMIT_FRAME_BYTES, &b->frame, &used, &need, text);
	if (e == ERR_AGAIN)
		return false;
	assert_int_equal(e, ERR_OK);
	assert_int_equal(msg_decode(&b->frame, &b->msg, text), ERR_OK);
	b->used = used;
	return true;
}

/* Runs the client until a frame of this kind has come; others are passed over. */
static inline void hear(struct broker *b, struct hlk *c, enum frame_kind kind)
{
	for (int64_t end = now_ms() + PATIENCE_MS;;) {
		while (next_frame(b))
			if (b->msg.kind == kind)
				return;
		assert_true(now_ms() < end);
		assert_int_equal(hlk_run(c, 2), HLK_OK);
	}
}

#define UNTIL(c, condition)                                             \
	for (int64_t end_ = now_ms() + PATIENCE_MS; !(condition);) {    \
		assert_true(now_ms() < end_);                           \
		assert_int_equal(hlk_run((c), 5), HLK_OK);              \
	}

static inline void welcome(struct broker *b, struct hlk *c, bool resumed, uint32_t heartbeat_ms)
{
	hear(b, c, FRAME_HELLO);
	const struct msg msg = { .kind = FRAME_WELCOME, .welcome = { .version = 1, .epoch = 1, .resumed = resumed,
		.heartbeat_ms = heartbeat_ms, .payload_max = 1000, .frame_payload_max = 1 << 20, .window_max = 4096 } };
	say(b, &msg, 0, NULL);
	UNTIL(c, hlk_connected(c));
}

static inline void confirm(struct broker *b, uint64_t producer, struct confirm_run run, const char *text)
{
	const struct msg msg = { .kind = FRAME_CONFIRMS, .confirms = { .producer = producer, .runs = &run, .run_count = 1,
								      .text = span_str(text) } };
	say(b, &msg, 0, NULL);
}

static inline void deliver_again(struct broker *b, uint32_t entry, uint64_t task, const char *payload, uint32_t yields)
{
	struct buf head = { 0 };
	const struct task_head h = { .type = span_str("t.X"), .priority = 4 };
	task_head_encode(&head, &h);
	const struct deliver_item item = { task, 1, (uint32_t)strlen(payload) };
	const struct msg msg = { .kind = FRAME_DELIVER, .deliver = { .entry = entry, .epoch = 1, .lease_ms = 1000,
		.head = buf_span(&head), .items = &item, .count = 1, .yields = &yields, .yield_count = yields > 0 } };
	say(b, &msg, 0, payload);
	buf_free(&head);
}

static inline void deliver(struct broker *b, uint32_t entry, uint64_t task, const char *payload)
{
	deliver_again(b, entry, task, payload, 0);
}

static inline void reported(struct broker *b, uint64_t task, enum report_verb verb, enum err code)
{
	const struct reported_item item = { .ref = { task, 1, 1 }, .code = (uint16_t)code, .verb = (uint8_t)verb };
	const struct msg msg = { .kind = FRAME_REPORTED, .reported = { .items = &item, .count = 1 } };
	say(b, &msg, 0, NULL);
}

/* ---- callbacks ---- */

static inline void on_confirm(struct hlk *c, const struct hlk_confirmed *answer, void *ctx)
{
	struct log *log = ctx;
	(void)c;
	log->confirms += answer->code == HLK_OK;
	log->refusals += answer->code != HLK_OK;
	log->code = answer->code;
	log->last = answer->task;
	if (answer->code != HLK_OK)
		note(log, answer->text);
}

static inline void on_task(struct hlk *c, struct hlk_task *task, void *ctx)
{
	struct log *log = ctx;
	(void)c;
	assert_string_equal(hlk_task_info(task)->type, "t.X");
	log->kept[log->tasks++ % 8] = task;
}

static inline void on_signal(struct hlk *c, struct hlk_task *task, const char *signal, void *ctx)
{
	(void)c;
	(void)task;
	note(ctx, signal);
}

static inline void on_settled(struct hlk *c, uint64_t task, uint32_t attempt, int code, void *ctx)
{
	struct log *log = ctx;
	(void)c;
	(void)attempt;
	log->confirms++;
	log->last = task;
	log->code = code;
}

static inline void on_result(struct hlk *c, const struct hlk_result *result, void *ctx)
{
	struct log *log = ctx;
	(void)c;
	log->results++;
	log->code = result->code;
	log->last = result->task;
	note(log, result->state);
}

static inline struct hlk *open_client(const char *url)
{
	struct hlk *c = NULL;
	struct hlk_error error;
	const struct hlk_options o = { .url = url, .backoff_min_ms = 1, .backoff_max_ms = 20 };
	assert_int_equal(hlk_open(&o, &c, &error), HLK_OK);
	return c;
}

static inline void submit_some(struct hlk *c, uint32_t count, struct log *log)
{
	const struct hlk_submit_options o = { .type = "t.X" };
	struct hlk_head *head = hlk_head_new(&o, NULL);
	assert_non_null(head);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(hlk_submit(c, head, "payload", 7, on_confirm, log), HLK_OK);
	hlk_head_free(head);
}

static inline void serve(struct hlk *c, uint32_t credit, bool manual, struct log *log)
{
	const struct hlk_serve_options o = { .type = "t.X", .credit = credit, .task = on_task, .signal = on_signal,
					     .manual_start = manual, .ctx = log };
	assert_int_equal(hlk_serve(c, &o, NULL), HLK_OK);
	hlk_on_settled(c, on_settled, log);
}
