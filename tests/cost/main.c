/* tests/cost/main.c: what a task costs the broker, and what checks and matching add to it.
 *
 *   broker_cost CASE [TASKS]      cases: plain, verify, lanes; TASKS of each variant and round (6400)
 *
 * A whole broker in the simulated world, one seed, so that every run does the same. Time is counted only while the broker runs,
 * on the thread's own CPU clock: what the clients do in their callbacks is not in it, what the simulator does for it is. Two
 * variants take turns, ROUNDS times each, in one broker; printed are the least, the lower quarter and the median of each, and
 * their differences. What is above the quarter is mostly the machine's other work.
 *
 *   valgrind --tool=callgrind --collect-atstart=no broker_cost verify 6400 A     the same in instructions, of one variant's
 *                                                                                rounds (and both's first): they repeat exactly
 *
 * Not a test: no figure is judged. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../broker/shard.h"
#include "../sim/io_sim.h"

#if defined(__has_include) && __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_TOGGLE_COLLECT
#define RUNNING_ON_VALGRIND 0
#endif

enum { WINDOW = 8192, FRAME = 64, LANES = 100, WORKERS = 4, ENTRIES = 250, ROUNDS = 41, PAYLOAD = 300 };

struct meter {
	uint64_t ns, since;
	bool on;
};

struct client {
	struct world *w;
	struct sim_peer *peer;
	struct buf in;
	bool welcome;
};

struct variant {
	const char *name;
	const char *type;
	bool kinds, requirements; /* LANES kinds of tasks, told apart by a requirement or only different */
};

struct world {
	struct sim *sim;
	struct io *io;
	struct shard *shard;
	struct meter meter;
	struct client producer, workers[WORKERS];
	const struct variant *variant;
	struct buf heads[LANES];
	uint8_t payload[PAYLOAD];
	uint64_t next_seq, unconfirmed, to_send, settled;
	struct msg msg;
	bool reply;
};

/* ---- the meter ---- */

static uint64_t cpu_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void meter_set(struct meter *m, bool on)
{
	ENSURE(m->on != on);
	uint64_t now = cpu_ns();
	if (m->on)
		m->ns += now - m->since;
	m->since = now;
	m->on = on;
	CALLGRIND_TOGGLE_COLLECT;
}

static void turn(struct world *w)
{
	meter_set(&w->meter, true);
	shard_turn_until(w->shard, sim_now_ns(w->sim) + SIM_S);
	meter_set(&w->meter, false);
}

/* ---- clients ---- */

static void send_msg(struct client *c, const struct msg *m, const struct span *payload)
{
	struct buf out = { NULL, 0, 0 };
	msg_encode(&out, m, 1, payload, payload != NULL);
	sim_peer_send(c->peer, buf_span(&out));
	buf_free(&out);
}

static void submit(struct world *w)
{
	while (w->to_send >= FRAME && w->unconfirmed + FRAME <= WINDOW) {
		uint32_t sizes[FRAME];
		uint8_t bytes[FRAME * PAYLOAD];
		for (int i = 0; i < FRAME; i++) {
			sizes[i] = PAYLOAD;
			memcpy(bytes + i * PAYLOAD, w->payload, PAYLOAD);
		}
		const struct buf *head = &w->heads[w->variant->kinds ? w->next_seq / FRAME % LANES : 0];
		const struct span payload = span_of(bytes, sizeof bytes);
		struct msg *m = &w->msg;
		m->kind = FRAME_SUBMIT;
		m->submit = (struct msg_submit){ .producer = 1, .first_seq = w->next_seq, .head = buf_span(head),
						 .resolved_below = w->next_seq - w->unconfirmed, .sizes = { sizes, FRAME } };
		send_msg(&w->producer, m, &payload);
		w->next_seq += FRAME;
		w->unconfirmed += FRAME;
		w->to_send -= FRAME;
	}
}

static void confirmed(struct world *w, const struct msg_confirms *m)
{
	for (uint32_t i = 0; i < m->run_count; i++) {
		if (m->runs[i].code != ERR_OK) {
			(void)fprintf(stderr, "refused: %s %.*s\n", err_name(m->runs[i].code), (int)m->text.len, (const char *)m->text.data);
			abort();
		}
		w->unconfirmed -= m->runs[i].count;
	}
	submit(w);
}

static void work(struct client *c, const struct msg_deliver *m)
{
	struct report_item *items = calloc(2 * m->count, sizeof *items);
	ENSURE(items != NULL);
	for (uint32_t i = 0; i < m->count; i++) {
		items[2 * i].ref = items[2 * i + 1].ref = (struct task_ref){ m->items[i].task, m->items[i].attempt, m->epoch };
		items[2 * i].verb = REPORT_START;
		items[2 * i + 1].verb = REPORT_COMPLETE;
	}
	const struct credit_item credit = { m->entry, m->count };
	struct msg *out = calloc(1, sizeof *out);
	ENSURE(out != NULL);
	out->kind = FRAME_REPORT;
	out->report = (struct msg_report){ .items = items, .count = 2 * m->count };
	send_msg(c, out, NULL);
	out->kind = FRAME_CREDIT;
	out->credit = (struct msg_credit){ &credit, 1 };
	send_msg(c, out, NULL);
	free(out);
	free(items);
}

static void on_frame(struct client *c, const struct msg *m)
{
	struct world *w = c->w;
	switch ((int)m->kind) {
	case FRAME_WELCOME: c->welcome = true; return;
	case FRAME_PING: {
		const struct msg pong = { .kind = FRAME_PONG, .ping = { .echo = m->ping.echo } };
		send_msg(c, &pong, NULL);
		return;
	}
	case FRAME_REPLY:
		ENSURE(m->reply.code == ERR_OK);
		w->reply = true;
		return;
	case FRAME_CONFIRMS: confirmed(w, &m->confirms); return;
	case FRAME_DELIVER: work(c, &m->deliver); return;
	case FRAME_REPORTED:
		for (uint32_t i = 0; i < m->reported.count; i++)
			ENSURE(m->reported.items[i].code == ERR_OK);
		w->settled += m->reported.count;
		return;
	default:
		(void)fprintf(stderr, "an unexpected %s\n", frame_kind_name((uint16_t)m->kind));
		abort();
	}
}

static void on_received(void *ctx, struct sim_peer *peer, struct span bytes)
{
	struct client *c = ctx;
	struct frame f;
	size_t used, need, at = 0;
	char text[128];
	(void)peer;
	meter_set(&c->w->meter, false);
	buf_append(&c->in, bytes.data, bytes.len);
	struct msg *m = calloc(1, sizeof *m);
	ENSURE(m != NULL);
	while (frame_decode(span_sub(buf_span(&c->in), at, c->in.len - at), LIMIT_FRAME_BYTES, &f, &used, &need, text) == ERR_OK) {
		ENSURE(msg_decode(&f, m, text) == ERR_OK);
		on_frame(c, m);
		at += used;
	}
	buf_consume(&c->in, at);
	free(m);
	meter_set(&c->w->meter, true);
}

static void client_open(struct client *c, struct world *w, uint8_t id)
{
	static const struct sim_peer_events events = { .received = on_received };
	*c = (struct client){ .w = w };
	c->peer = sim_dial(w->sim, 0, &events, c);
	struct msg m = { .kind = FRAME_HELLO };
	m.hello.versions[0] = 1;
	m.hello.version_count = 1;
	memset(m.hello.session, id, sizeof m.hello.session);
	m.hello.client = span_str("cost");
	send_msg(c, &m, NULL);
	while (!c->welcome)
		turn(w);
}

/* ---- what is asked of the broker before ---- */

static void ask(struct world *w, const struct msg_request *r)
{
	struct msg m = { .kind = FRAME_REQUEST };
	m.request = *r;
	m.request.settings = QUEUE_SETTINGS_UNSET;
	w->reply = false;
	send_msg(&w->producer, &m, NULL);
	while (!w->reply)
		turn(w);
}

static struct buf file_read(const char *path)
{
	struct buf out = { NULL, 0, 0 };
	FILE *f = fopen(path, "rb");
	ENSURE(f != NULL);
	out.len = fread(buf_extend(&out, 1 << 20), 1, 1 << 20, f);
	(void)fclose(f);
	return out;
}

static void type_register(struct world *w, const char *name)
{
	struct buf schema = file_read(SCHEMAS "/job_base.bfbs"), spec = { NULL, 0, 0 };
	const struct type_info info = { .schema = buf_span(&schema), .root = span_str("Transcode"), .policy = TYPE_VERIFY };
	type_info_encode(&spec, &info);
	ask(w, &(struct msg_request){ .verb = VERB_TYPE_REGISTER, .name = span_str(name), .spec = buf_span(&spec) });
	buf_free(&schema);
	buf_free(&spec);
}

static void serve(struct world *w, uint32_t worker, const char *const *types, uint32_t type_count, bool entries)
{
	static char params[ENTRIES][32];
	struct msg *m = calloc(1, sizeof *m);
	ENSURE(m != NULL);
	m->kind = FRAME_SERVE;
	m->serve.count = entries ? ENTRIES : type_count;
	for (uint32_t i = 0; i < m->serve.count; i++) {
		(void)snprintf(params[i], sizeof params[i], "lane=%u", (worker * ENTRIES + i) % LANES);
		m->serve.entries[i] = (struct wire_entry){ .id = i + 1, .service = span_str(types[entries ? 0 : i]),
							   .params = span_str(entries ? params[i] : ""),
							   .credit = (uint32_t)(entries ? WINDOW / ENTRIES : WINDOW) };
	}
	send_msg(&w->workers[worker], m, NULL);
	free(m);
}

/* ---- runs ---- */

static void heads_make(struct world *w, const struct variant *v)
{
	for (uint32_t i = 0; i < LANES; i++) {
		char text[32];
		(void)snprintf(text, sizeof text, "lane == %u", i);
		struct task_head h = { .type = span_str(v->type), .priority = 4 };
		if (v->kinds)
			*(v->requirements ? &h.requirements : &h.correlation) = span_str(text);
		w->heads[i].len = 0;
		task_head_encode(&w->heads[i], &h);
	}
	w->variant = v;
}

static double round_run(struct world *w, const struct variant *v, uint64_t tasks)
{
	uint64_t before = w->meter.ns, end = w->settled + tasks;
	heads_make(w, v);
	w->to_send = tasks;
	submit(w);
	while (w->settled < end)
		turn(w);
	return (double)(w->meter.ns - before) / (double)tasks;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}


static void row(const char *name, double least, double quarter, double middle)
{
	printf("%-60s %8.1f %8.1f %8.1f\n", name, least, quarter, middle);
}

static void note(void *ctx, enum shard_level level, const char *module, const char *event, const char *text)
{
	(void)ctx;
	if (level >= SHARD_WARN)
		(void)fprintf(stderr, "%s %s %s\n", module, event, text);
}

static void world_open(struct world *w)
{
	static const char *const urls[] = { "tcp://127.0.0.1:7000" };
	char text[256];
	w->sim = sim_new(1);
	w->io = sim_node_io(w->sim, 0);
	w->next_seq = 1;
	const struct shard_config config = {
		.io = w->io, .listen = urls, .listen_count = 1, .create = true, .note = note,
		.tasks = { .queues_max = 1000, .producers_max = 1000, .keys_max = 1000, .recent_max = 65536, .producer_idle_ms = 3600000,
			   .key_window_ms = 3600000, .cancel_grace_ms = 5000, .auto_create = true,
			   .defaults = { .max_attempts = 3, .lease_ms = 30000, .backoff_min_ms = 100, .backoff_max_ms = 10000 } },
	};
	if (shard_open(&config, &w->shard, text) != ERR_OK) {
		(void)fprintf(stderr, "%s\n", text);
		abort();
	}
	client_open(&w->producer, w, 1);
	for (uint32_t i = 0; i < WORKERS; i++)
		client_open(&w->workers[i], w, (uint8_t)(2 + i));
}

static void world_close(struct world *w)
{
	sim_peer_free(w->producer.peer);
	buf_free(&w->producer.in);
	for (uint32_t i = 0; i < WORKERS; i++) {
		sim_peer_free(w->workers[i].peer);
		buf_free(&w->workers[i].in);
	}
	for (uint32_t i = 0; i < LANES; i++)
		buf_free(&w->heads[i]);
	shard_close(w->shard);
	w->io->v->free(w->io);
	sim_free(w->sim);
	free(w);
}

static const struct cost_case {
	const char *name;
	struct variant a, b;
	bool entries;
} cases[] = {
	{ "plain",
	  { .name = "all tasks alike", .type = "cost.v1.Plain" },
	  { .name = "again, as a measure of the noise", .type = "cost.v1.Plain" }, false },
	{ "verify",
	  { .name = "300 B, unregistered type", .type = "cost.v1.Plain" },
	  { .name = "300 B, policy verify", .type = "cost.v1.Checked" }, false },
	{ "lanes",
	  { .name = "100 kinds, nothing required, 1,000 entries", .type = "cost.v1.Plain", .kinds = true },
	  { .name = "100 requirements, 1,000 entries", .type = "cost.v1.Plain", .kinds = true, .requirements = true }, true },
};

int main(int argc, char **argv)
{
	static const char *const types[] = { "cost.v1.Plain", "cost.v1.Checked" };
	const struct cost_case *k = NULL;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		if (argc >= 2 && strcmp(argv[1], cases[i].name) == 0)
			k = &cases[i];
	uint64_t tasks = argc >= 3 ? strtoull(argv[2], NULL, 10) / FRAME * FRAME : 6400;
	const char *only = argc >= 4 ? argv[3] : "AB";
	if (!k || tasks == 0) {
		(void)fprintf(stderr, "broker_cost plain|verify|lanes [TASKS [A|B]]\n");
		return 1;
	}
	struct world *w = calloc(1, sizeof *w);
	ENSURE(w != NULL);
	world_open(w);
	struct buf payload = file_read(SCHEMAS "/job_300.bin");
	ENSURE(payload.len == PAYLOAD);
	memcpy(w->payload, payload.data, PAYLOAD);
	buf_free(&payload);
	if (strcmp(k->name, "verify") == 0)
		type_register(w, "cost.v1.Checked");
	for (uint32_t i = 0; i < (k->entries ? WORKERS : 1); i++)
		serve(w, i, types, strcmp(k->name, "verify") == 0 ? 2 : 1, k->entries);
	double a[ROUNDS], b[ROUNDS];
	(void)round_run(w, &k->a, 4 * tasks); /* memory is there, queues are made */
	(void)round_run(w, &k->b, 4 * tasks);
	for (int i = 0; i < ROUNDS; i++) {
		a[i] = strchr(only, 'A') ? round_run(w, &k->a, tasks) : 0;
		b[i] = strchr(only, 'B') ? round_run(w, &k->b, tasks) : 0;
	}
	qsort(a, ROUNDS, sizeof a[0], by_value);
	qsort(b, ROUNDS, sizeof b[0], by_value);
	printf("%d rounds of %llu tasks each, in turns; broker CPU ns per task:   least  quarter   median\n", ROUNDS, (unsigned long long)tasks);
	row(k->a.name, a[0], a[ROUNDS / 4], a[ROUNDS / 2]);
	row(k->b.name, b[0], b[ROUNDS / 4], b[ROUNDS / 2]);
	row("difference", b[0] - a[0], b[ROUNDS / 4] - a[ROUNDS / 4], b[ROUNDS / 2] - a[ROUNDS / 2]);
	world_close(w);
	return 0;
}
