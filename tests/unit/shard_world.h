/* tests/unit/shard_world.h: a whole shard in the simulated world, and clients that speak frames to it. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../broker/shard.h"
#include "../sim/io_sim.h"

struct world {
	struct sim *sim;
	struct io *io;
	struct shard *shard;
	struct shard_config config;
	char notes[4096]; /* the last lines */
};

struct client {
	struct world *w;
	struct sim_peer *peer;
	struct buf frame_bytes; /* the frame that client_next gave last, 8-aligned */
	struct frame frame;
	struct msg msg;
};

static inline void world_note(void *ctx, enum shard_level level, const char *module, const char *event, const char *text)
{
	struct world *w = ctx;
	size_t len = strlen(w->notes);
	(void)level;
	if (len > 3000)
		len = 0;
	(void)snprintf(w->notes + len, sizeof w->notes - len, "%s %s %s\n", module, event, text);
}

__attribute__((noreturn)) static inline void world_fatal(void *ctx, const char *what, int errno_value)
{
	(void)ctx;
	fail_msg("fatal: %s (%d)", what, errno_value);
	abort();
}

static inline void world_open(struct world *w)
{
	static const char *const urls[] = { "tcp://127.0.0.1:7000" };
	char text[256] = "";
	w->config.io = w->io;
	w->config.listen = urls;
	w->config.listen_count = 1;
	w->config.create = true;
	w->config.ctx = w;
	w->config.note = world_note;
	w->config.fatal = world_fatal;
	enum err e = shard_open(&w->config, &w->shard, text);
	if (e != ERR_OK)
		fail_msg("shard_open: %s: %s", err_name(e), text);
}

/* Change w->config before world_open where the test wants other limits. */
static inline void world_init(struct world *w)
{
	memset(w, 0, sizeof *w);
	w->sim = sim_new(7);
	w->io = sim_node_io(w->sim, 0);
	w->config.segment_bytes = 16 << 20;
	w->config.batch_bytes = 8 << 20;
	w->config.cache_bytes = 4 << 20;
	w->config.tasks = (struct tasks_config){
		.queues_max = 1000, .producers_max = 1000, .keys_max = 1000, .recent_max = 1000,
		.producer_idle_ms = 3600000, .key_window_ms = 3600000, .cancel_grace_ms = 5000, .auto_create = true,
		.defaults = { .length_max = 0, .max_attempts = 3, .lease_ms = 30000, .backoff_min_ms = 100,
			      .backoff_max_ms = 10000, .expires_ms = 0, .retention_ms = 60000 },
	};
}

static inline void world_close(struct world *w)
{
	shard_close(w->shard);
	w->io->v->free(w->io);
	sim_free(w->sim);
}

static inline void world_run(struct world *w, uint64_t ns)
{
	uint64_t end = io_now_ns(w->io) + ns;
	while (io_now_ns(w->io) < end)
		shard_turn_until(w->shard, end);
}

/* ---- clients ---- */

static inline void client_dial(struct client *c, struct world *w)
{
	static const struct sim_peer_events events;
	memset(c, 0, sizeof *c);
	c->w = w;
	c->peer = sim_dial(w->sim, 0, &events, c);
}

static inline void client_free(struct client *c)
{
	sim_peer_free(c->peer);
	buf_free(&c->frame_bytes);
}

static inline void client_send(struct client *c, const struct msg *m, uint32_t correlation, struct span payload)
{
	struct buf out = { NULL, 0, 0 };
	msg_encode(&out, m, correlation, &payload, 1);
	sim_peer_send(c->peer, buf_span(&out));
	buf_free(&out);
}

/* The next frame that has arrived; false where there is none. */
static inline bool client_poll(struct client *c)
{
	struct buf *inbox = sim_peer_inbox(c->peer);
	size_t used, need;
	char text[128];
	enum err e = frame_decode(buf_span(inbox), LIMIT_FRAME_BYTES, &c->frame, &used, &need, text);
	if (e == ERR_AGAIN)
		return false;
	assert_int_equal(e, ERR_OK);
	c->frame_bytes.len = 0;
	buf_append(&c->frame_bytes, inbox->data, used);
	buf_consume(inbox, used);
	e = frame_decode(buf_span(&c->frame_bytes), LIMIT_FRAME_BYTES, &c->frame, &used, &need, text);
	assert_int_equal(e, ERR_OK);
	e = msg_decode(&c->frame, &c->msg, text);
	if (e != ERR_OK)
		fail_msg("the broker sent a bad frame: %s", text);
	return true;
}

/* The next frame but PINGs, which are answered. Fails after 100 seconds. */
static inline void client_next(struct client *c)
{
	uint64_t end = io_now_ns(c->w->io) + 100 * SIM_S;
	for (;;) {
		while (client_poll(c)) {
			if (c->msg.kind != FRAME_PING)
				return;
			c->msg.kind = FRAME_PONG;
			client_send(c, &c->msg, 0, (struct span){ NULL, 0 });
		}
		if (io_now_ns(c->w->io) >= end)
			fail_msg("no frame came; notes: %s", c->w->notes);
		shard_turn_until(c->w->shard, end);
	}
}

static inline struct msg *client_expect(struct client *c, enum frame_kind kind)
{
	client_next(c);
	if (c->msg.kind != kind)
		fail_msg("%s came instead of %s: %.*s", frame_kind_name((uint16_t)c->msg.kind), frame_kind_name((uint16_t)kind),
			 c->msg.kind == FRAME_ERROR ? (int)c->msg.error.text.len : 0,
			 c->msg.kind == FRAME_ERROR ? (const char *)c->msg.error.text.data : "");
	return &c->msg;
}

static inline void client_expect_closed(struct client *c)
{
	uint64_t end = io_now_ns(c->w->io) + 100 * SIM_S;
	while (!sim_peer_closed(c->peer) && io_now_ns(c->w->io) < end)
		shard_turn_until(c->w->shard, end);
	assert_true(sim_peer_closed(c->peer));
}

/* A fatal refusal, then the end. */
static inline void client_expect_refused(struct client *c, enum err code)
{
	struct msg *m = client_expect(c, FRAME_ERROR);
	assert_int_equal(m->error.code, code);
	assert_true(m->error.fatal);
	assert_true(m->error.text.len > 0);
	client_expect_closed(c);
}

static inline void client_hello(struct client *c, uint8_t id)
{
	struct msg m = { .kind = FRAME_HELLO };
	m.hello.versions[0] = 1;
	m.hello.version_count = 1;
	memset(m.hello.session, id, sizeof m.hello.session);
	m.hello.client = span_str("test");
	client_send(c, &m, 1, (struct span){ NULL, 0 });
}

static inline void client_open(struct client *c, struct world *w, uint8_t id)
{
	client_dial(c, w);
	client_hello(c, id);
	(void)client_expect(c, FRAME_WELCOME);
}

struct submit_args {
	const char *type;
	uint64_t producer, first_seq;
	uint32_t count;
	uint32_t size; /* of each payload; filled with the sequence */
	uint8_t confirm;
	bool want_result;
	const char *key;
	uint64_t delay_ms;
	const char *requirements, *order_key, *hot, *sticky;
};

static inline void client_submit(struct client *c, struct submit_args a)
{
	struct buf head = { NULL, 0, 0 }, payload = { NULL, 0, 0 };
	struct task_head h = { .type = span_str(a.type), .priority = 4, .want_result = a.want_result, .key = span_str(a.key),
			       .delay_ms = a.delay_ms, .requirements = span_str(a.requirements),
			       .order_key = span_str(a.order_key), .hot = span_str(a.hot), .sticky = span_str(a.sticky) };
	task_head_encode(&head, &h);
	uint32_t *sizes = calloc(a.count, sizeof *sizes);
	assert_non_null(sizes);
	for (uint32_t i = 0; i < a.count; i++) {
		sizes[i] = a.size;
		if (a.size > 0)
			memset(buf_extend(&payload, a.size), (int)(a.first_seq + i), a.size);
	}
	struct msg m = { .kind = FRAME_SUBMIT };
	m.submit = (struct msg_submit){ .producer = a.producer, .first_seq = a.first_seq, .resolved_below = a.first_seq,
					.confirm = a.confirm, .head = buf_span(&head), .sizes = { sizes, a.count } };
	client_send(c, &m, 0, buf_span(&payload));
	free(sizes);
	buf_free(&head);
	buf_free(&payload);
}

struct serve_args {
	const char *service, *params, *hot;
	uint32_t credit, cost;
};

static inline void client_serve_as(struct client *c, struct serve_args a)
{
	struct msg *m = calloc(1, sizeof *m);
	struct span hot = span_str(a.hot);
	assert_non_null(m);
	m->kind = FRAME_SERVE;
	m->serve.entries[0] = (struct wire_entry){ .id = 5, .service = span_str(a.service), .credit = a.credit,
						   .params = span_str(a.params), .cost = a.cost, .hot = &hot,
						   .hot_count = hot.len > 0 };
	m->serve.count = 1;
	client_send(c, m, 0, (struct span){ NULL, 0 });
	free(m);
}

static inline void client_serve(struct client *c, const char *service, uint32_t credit)
{
	client_serve_as(c, (struct serve_args){ .service = service, .credit = credit });
}

static inline void client_report(struct client *c, struct task_ref ref, enum report_verb verb, const char *bytes)
{
	struct report_item item = { .ref = ref, .size = (uint32_t)strlen(bytes), .verb = (uint8_t)verb };
	if (verb == REPORT_FAIL)
		item.class_code = ERR_TRANSIENT;
	struct msg m = { .kind = FRAME_REPORT };
	m.report = (struct msg_report){ .items = &item, .count = 1 };
	client_send(c, &m, 0, span_str(bytes));
}

static inline void client_credit(struct client *c, uint32_t credit)
{
	struct credit_item item = { 5, credit };
	struct msg m = { .kind = FRAME_CREDIT };
	m.credit = (struct msg_credit){ .items = &item, .count = 1 };
	client_send(c, &m, 0, (struct span){ NULL, 0 });
}

static inline struct msg_reply *client_ask(struct client *c, struct msg_request r)
{
	struct msg m = { .kind = FRAME_REQUEST };
	if (r.settings.length_max == 0)
		r.settings = QUEUE_SETTINGS_UNSET;
	m.request = r;
	client_send(c, &m, 77, (struct span){ NULL, 0 });
	(void)client_expect(c, FRAME_REPLY);
	assert_int_equal(c->frame.correlation, 77);
	return &c->msg.reply;
}
