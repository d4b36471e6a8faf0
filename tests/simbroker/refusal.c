/* tests/simbroker/refusal.c: a client that asks for what cannot be, and checks promise 6: each refusal is an answer.
 *
 *   R1 the code is the one that names the cause, and there is a text where the message has one
 *   R2 the session goes on: no refusal is fatal, and the next question is answered
 *   R3 once the chaos is over an answer comes at once
 *
 * One question at a time, so there is no doubt what is answered. What a cut took is asked anew. */
#include "clients.h"

#include "link.h"

enum question { ASK_CALL, ASK_FULL, ASK_QUEUE, ASK_SERVE, ASK_CANCEL, ASK_SYSTEM, QUESTIONS };
enum { ASKS = 1, CREATES }; /* correlations */
enum { PRODUCER = 815, AT_ONCE_MS = 5000, MARGIN_NS = 2000 * 1000 * 1000 };
static const struct { const char *name; enum err code; enum mark mark; } questions[QUESTIONS] = {
	[ASK_CALL] = { "a call that nobody can take", ERR_NOT_DELIVERED, MARK_REFUSED_CALL },
	[ASK_FULL] = { "a task for a full queue", ERR_QUEUE_FULL, MARK_REFUSED_FULL },
	[ASK_QUEUE] = { "a queue that is not there", ERR_NOT_FOUND, MARK_REFUSED_QUEUE },
	[ASK_SERVE] = { "parameters that do not parse", ERR_INVALID_INPUT, MARK_REFUSED_SERVE },
	[ASK_CANCEL] = { "a task that is not there", ERR_NOT_FOUND, MARK_REFUSED_TASK },
	[ASK_SYSTEM] = { "an event of the broker's own", ERR_PERMISSION, MARK_REFUSED_EVENT },
};

struct refusals {
	struct link link;
	enum question asked;
	bool waits, full;          /* full: the queue is there and has its one task */
	uint64_t sent_ns, next_seq, next_call, next_event;
	uint32_t after_healing;
};

static void on_act(void *ctx);

static void answered(struct refusals *r, enum err code, bool text_there)
{
	struct scene *sc = r->link.scene;
	if (!r->waits)
		return;
	r->waits = false;
	bool peace = sc->healed_ns > 0 && r->sent_ns > sc->healed_ns + MARGIN_NS;
	bool disk = r->asked == ASK_FULL && code == ERR_DISK_FULL && !peace; /* the chaos may have filled it: as true */
	if ((code != questions[r->asked].code && !disk) || !text_there)
		scene_violate(sc, "R1: %s was answered with %s%s", questions[r->asked].name, err_name(code), text_there ? "" : " without a text");
	if (peace && scene_now(sc) - r->sent_ns > AT_ONCE_MS * SIM_MS)
		scene_violate(sc, "R3: the answer to %s took %llu ms", questions[r->asked].name,
			      (unsigned long long)((scene_now(sc) - r->sent_ns) / SIM_MS));
	r->after_healing += peace;
	scene_mark(sc, questions[r->asked].mark);
}

/* ---- questions ---- */

static void submit(struct refusals *r)
{
	struct buf head = { 0 };
	const struct task_head h = { .type = span_str("sim.v1.Full") };
	const uint32_t size = 1;
	const struct span payload = span_str("x");
	struct msg m = { .kind = FRAME_SUBMIT };
	uint64_t seq = r->next_seq++;
	task_head_encode(&head, &h);
	m.submit = (struct msg_submit){ .producer = PRODUCER, .first_seq = seq, .resolved_below = seq, .head = buf_span(&head),
					.sizes = { &size, 1 } };
	link_send(&r->link, &m, &payload, 1);
	buf_free(&head);
}

static void request(struct refusals *r, enum verb verb, const char *name, const uint64_t *task)
{
	struct msg m = { .kind = FRAME_REQUEST };
	m.request.settings = QUEUE_SETTINGS_UNSET;
	m.request.verb = (uint16_t)verb;
	m.request.name = span_str(name);
	if (task)
		m.request.tasks = (struct u64s){ task, 1 };
	if (verb == VERB_QUEUE_CREATE)
		m.request.settings.length_max = 1;
	link_send_as(&r->link, &m, verb == VERB_QUEUE_CREATE ? CREATES : ASKS, NULL, 0);
}

static void head_of(const char *type, struct buf *out)
{
	const struct event_head h = { .type = span_str(type) };
	event_head_encode(out, &h);
}

static void call(struct refusals *r)
{
	struct buf head = { 0 };
	const uint32_t size = 1;
	const struct span payload = span_str("x");
	struct msg m = { .kind = FRAME_CALL };
	head_of("sim.v1.Nobody", &head);
	m.call = (struct msg_call){ .first = ++r->next_call, .service = span_str("sim.v1.Nobody"), .deadline_ms = 60000,
				    .head = buf_span(&head), .sizes = { &size, 1 } };
	link_send(&r->link, &m, &payload, 1);
	buf_free(&head);
}

static void publish(struct refusals *r)
{
	struct buf head = { 0 };
	const uint32_t size = 1;
	const struct span payload = span_str("x");
	struct msg m = { .kind = FRAME_PUBLISH };
	uint64_t number = ++r->next_event;
	head_of("hillock.sys.forged", &head);
	m.publish = (struct msg_publish){ .number = number, .id = { 815, number }, .origin = 815, .confirm = true, .head = buf_span(&head),
					  .sizes = { &size, 1 } };
	link_send(&r->link, &m, &payload, 1);
	buf_free(&head);
}

static void serve(struct refusals *r)
{
	struct msg *m = calloc(1, sizeof *m);
	ENSURE(m);
	m->kind = FRAME_SERVE;
	m->serve.entries[0] = (struct wire_entry){ .id = 1, .service = span_str("sim.v1.Never"), .credit = 1, .params = span_str("n=") };
	m->serve.count = 1;
	link_send_as(&r->link, m, ASKS, NULL, 0);
	free(m);
}

static void ask(struct refusals *r)
{
	const uint64_t nobody = 1ull << 40;
	r->asked = (enum question)sim_rand_below(r->link.scene->world, QUESTIONS);
	if (r->asked == ASK_FULL && !r->full) {
		request(r, VERB_QUEUE_CREATE, "sim.v1.Full", NULL); /* answered by EXISTS the second time */
		submit(r);
		return; /* neither is waited for: full once the submission is confirmed */
	}
	r->waits = true;
	r->sent_ns = scene_now(r->link.scene);
	switch (r->asked) {
	case ASK_CALL: call(r); return;
	case ASK_FULL: submit(r); return;
	case ASK_QUEUE: request(r, VERB_QUEUE_SHOW, "sim.v1.Nowhere", NULL); return;
	case ASK_SERVE: serve(r); return;
	case ASK_CANCEL: request(r, VERB_TASK_CANCEL, "", &nobody); return;
	case ASK_SYSTEM: publish(r); return;
	case QUESTIONS: break;
	}
}

static void on_act(void *ctx)
{
	struct refusals *r = ctx;
	struct scene *sc = r->link.scene;
	if (r->link.closing)
		return;
	if (r->link.welcome && !r->waits)
		ask(r);
	sim_after(sc->world, SIM_MS * (3 + sim_rand_below(sc->world, 20)), on_act, r);
}

/* ---- answers ---- */

static void confirmed(struct refusals *r, const struct msg_confirms *m)
{
	for (uint32_t i = 0; i < m->run_count; i++) {
		if (m->runs[i].code == ERR_OK || m->runs[i].code == ERR_QUEUE_FULL)
			r->full = true;
		if (r->waits && r->asked == ASK_FULL && m->runs[i].first_seq + 1 == r->next_seq)
			answered(r, (enum err)m->runs[i].code, true);
	}
}

static void on_frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct refusals *r = owner;
	if (m->kind == FRAME_CONFIRMS)
		confirmed(r, &m->confirms);
	else if (m->kind == FRAME_ANSWER && r->asked == ASK_CALL && m->answer.items[0].call == r->next_call)
		answered(r, (enum err)m->answer.items[0].code, m->answer.items[0].size > 0);
	else if (m->kind == FRAME_PUBLISHED && r->asked == ASK_SYSTEM && m->published.items[0].number == r->next_event)
		answered(r, (enum err)m->published.items[0].code, m->published.text.len > 0);
	else if (m->kind == FRAME_REPLY && f->correlation == ASKS && (r->asked == ASK_QUEUE || r->asked == ASK_CANCEL))
		answered(r, (enum err)m->reply.code, m->reply.text.len > 0);
	else if (m->kind == FRAME_ERROR && m->error.fatal && m->error.code == ERR_TIMEOUT)
		return; /* it was frozen, and so silent for too long: no refusal */
	else if (m->kind == FRAME_ERROR && m->error.fatal)
		scene_violate(r->link.scene, "R2: %s ended the session: %s", questions[r->asked].name, err_name(m->error.code));
	else if (m->kind == FRAME_ERROR && r->asked == ASK_SERVE)
		answered(r, (enum err)m->error.code, m->error.text.len > 0);
}

static void on_up(void *owner, bool resumed)
{
	(void)owner;
	(void)resumed;
}

static void on_down(void *owner)
{
	struct refusals *r = owner;
	r->waits = false;
}

static void *open_it(struct scene *scene)
{
	struct refusals *r = calloc(1, sizeof *r);
	ENSURE(r);
	r->next_seq = 1;
	r->link.up = on_up;
	r->link.down = on_down;
	r->link.frame = on_frame;
	link_open(&r->link, scene, "refused", r);
	on_act(r);
	return r;
}

/* Enough was asked in peace to have met most of them. */
static bool idle(void *state)
{
	return ((const struct refusals *)state)->after_healing >= 3 * QUESTIONS;
}

static const char *waits(void *state)
{
	const struct refusals *r = state;
	return r->waits ? questions[r->asked].name : "questions that are not asked yet";
}

const struct workload workload_refusals = { "refusals", open_it, idle, waits };
