/* tests/simbroker/tenant.c: see tenant.h. */
#include "tenant.h"

#include "link.h"
#include "realm.h"

enum { SUBSCRIPTION = 1, ENTRY = 1, PRODUCER = 4711, KEYS = 6 };

struct tenant {
	struct link link;
	const char *colour;
	uint64_t next_seq, next_event, next_call, seen, last; /* last: the newest task of its own */
	char name[32];
};

static void crossed(struct tenant *t, const char *how, struct span bytes)
{
	struct scene *sc = t->link.scene;
	if (sc->crossed[0] == 0)
		(void)snprintf(sc->crossed, sizeof sc->crossed, "C12: %s got \"%.*s\" by %s", t->name, (int)MIN_OF(bytes.len, 24u),
			       bytes.len ? (const char *)bytes.data : "", how);
}

/* Everything of its own begins with its colour. */
static void look(struct tenant *t, const char *how, struct span bytes)
{
	size_t len = strlen(t->colour);
	if (bytes.len < len || memcmp(bytes.data, t->colour, len) != 0)
		crossed(t, how, bytes);
	else
		t->seen++;
}

/* ---- what it says ---- */

static void submit(struct tenant *t)
{
	struct buf head = { 0 };
	char key[16];
	(void)snprintf(key, sizeof key, "k%llu", (unsigned long long)sim_rand_below(t->link.scene->world, KEYS));
	const struct task_head h = { .type = span_str("sim.v1.Work"), .want_result = true,
				     .key = sim_rand_below(t->link.scene->world, 2) ? span_str(key) : span_of(NULL, 0) };
	uint32_t size = (uint32_t)strlen(t->colour);
	struct span payload = span_str(t->colour);
	task_head_encode(&head, &h);
	struct msg m = { .kind = FRAME_SUBMIT };
	uint64_t seq = t->next_seq++;
	m.submit = (struct msg_submit){ .producer = PRODUCER, .first_seq = seq, .resolved_below = seq, .head = buf_span(&head),
					.sizes = { &size, 1 } };
	link_send(&t->link, &m, &payload, 1);
	buf_free(&head);
}

static void publish(struct tenant *t)
{
	struct buf head = { 0 };
	const struct event_head h = { .type = span_str("sim.v1.Told"), .key = span_str("k") };
	uint32_t size = (uint32_t)strlen(t->colour);
	struct span payload = span_str(t->colour);
	event_head_encode(&head, &h);
	struct msg m = { .kind = FRAME_PUBLISH };
	uint64_t number = ++t->next_event; /* ids, too, are the same in both */
	m.publish = (struct msg_publish){ .number = number, .id = { 1, number }, .origin = 1,
					  .retain = sim_rand_below(t->link.scene->world, 4) == 0, .head = buf_span(&head), .sizes = { &size, 1 } };
	link_send(&t->link, &m, &payload, 1);
	buf_free(&head);
}

static void call(struct tenant *t)
{
	struct buf head = { 0 };
	const struct event_head h = { .type = span_str("sim.v1.Ask") };
	uint32_t size = (uint32_t)strlen(t->colour);
	struct span payload = span_str(t->colour);
	event_head_encode(&head, &h);
	struct msg m = { .kind = FRAME_CALL };
	m.call = (struct msg_call){ .first = ++t->next_call, .service = span_str("sim.v1.Work"), .deadline_ms = 500, .head = buf_span(&head),
				    .sizes = { &size, 1 } };
	link_send(&t->link, &m, &payload, 1);
	buf_free(&head);
}

static void ask(struct tenant *t)
{
	static const uint16_t verbs[] = { VERB_TASK_PEEK, VERB_TASK_CANCEL, VERB_TASK_LIST, VERB_QUEUE_PEEK, VERB_WORKER_LIST };
	struct msg m = { .kind = FRAME_REQUEST };
	uint64_t task = 1 + sim_rand_below(t->link.scene->world, 400);
	m.request.settings = QUEUE_SETTINGS_UNSET;
	m.request.verb = verbs[sim_rand_below(t->link.scene->world, COUNT_OF(verbs))];
	if (m.request.verb == VERB_TASK_CANCEL && t->last && t->link.token) /* that may still wait, or be worked on */
		task = t->last;
	if (m.request.verb == VERB_TASK_PEEK || m.request.verb == VERB_TASK_CANCEL)
		m.request.tasks = (struct u64s){ &task, 1 };
	else if (m.request.verb == VERB_QUEUE_PEEK)
		m.request.name = span_str("sim.v1.Work");
	m.request.limit = 20;
	link_send(&t->link, &m, NULL, 0);
}

static void await(struct tenant *t)
{
	uint64_t task = 1 + sim_rand_below(t->link.scene->world, 400);
	struct msg m = { .kind = FRAME_AWAIT };
	m.tasks = (struct msg_tasks){ .tasks = { &task, 1 } };
	link_send(&t->link, &m, NULL, 0);
}

static void act(void *ctx)
{
	struct tenant *t = ctx;
	static void (*const deeds[])(struct tenant *t) = { submit, submit, publish, call, ask, ask, await };
	struct scene *sc = t->link.scene;
	if (t->link.closing || sc->stop_submitting)
		return;
	if (t->link.welcome)
		deeds[sim_rand_below(sc->world, COUNT_OF(deeds))](t);
	sim_after(sc->world, SIM_MS * (2 + sim_rand_below(sc->world, 12)), act, t);
}

/* ---- what it is told ---- */

static void work(struct tenant *t, const struct msg_deliver *m, struct span payload)
{
	struct span answer = span_str(t->colour);
	size_t at = 0;
	for (uint32_t i = 0; i < m->count; i++) {
		look(t, "DELIVER", span_sub(payload, at, m->items[i].size));
		at += m->items[i].size;
		const struct report_item item = { .ref = { m->items[i].task, m->items[i].attempt, m->epoch }, .size = (uint32_t)answer.len,
						  .verb = REPORT_COMPLETE };
		const struct credit_item credit = { ENTRY, 1 };
		struct msg r = { .kind = FRAME_REPORT };
		r.report = (struct msg_report){ .items = &item, .count = 1 };
		link_send(&t->link, &r, &answer, 1);
		struct msg c = { .kind = FRAME_CREDIT };
		c.credit = (struct msg_credit){ .items = &credit, .count = 1 };
		link_send(&t->link, &c, NULL, 0);
	}
}

static void told(struct tenant *t, const struct msg_reply *m)
{
	for (uint32_t i = 0; i < m->task_count; i++) {
		struct task_info info;
		msg_reply_task(m, i, &info);
		if (info.payload.len > 0)
			look(t, "a question about tasks", info.payload);
		else if (info.size > 0 && !span_eq(info.queue, span_str("sim.v1.Work")))
			crossed(t, "the name of a queue", info.queue);
	}
	for (uint32_t i = 0; i < m->worker_count; i++) {
		struct worker_info info;
		msg_reply_worker(m, i, &info);
		if (!span_eq(info.vnet, span_str(t->colour)))
			crossed(t, "the list of workers", info.name);
	}
}

static void pieces(struct tenant *t, const char *how, struct span payload, const struct u32s *sizes)
{
	size_t at = 0;
	for (uint32_t i = 0; i < sizes->count; i++) {
		look(t, how, span_sub(payload, at, sizes->at[i]));
		at += sizes->at[i];
	}
}

static void answer_calls(struct tenant *t, const struct msg_invoke *m, struct span payload)
{
	struct span answer = span_str(t->colour);
	size_t at = 0;
	for (uint32_t i = 0; i < m->count; i++) {
		look(t, "INVOKE", span_sub(payload, at, m->items[i].size));
		at += m->items[i].size;
		const struct answer_item item = { .call = m->items[i].call, .size = (uint32_t)answer.len };
		struct msg r = { .kind = FRAME_ANSWER };
		r.answer = (struct msg_answer){ .items = &item, .count = 1 };
		link_send(&t->link, &r, &answer, 1);
	}
}

static void results(struct tenant *t, const struct msg_results *m, struct span payload)
{
	size_t at = 0;
	for (uint32_t i = 0; i < m->count; i++) {
		if (m->items[i].code == ERR_OK && m->items[i].size > 0)
			look(t, "RESULTS", span_sub(payload, at, m->items[i].size));
		at += m->items[i].size;
	}
}

/* One number is one tenant's, also where the same key or sequence was meant. */
static void confirmed(struct tenant *t, const struct msg_confirms *m)
{
	for (uint32_t r = 0; r < m->run_count; r++)
		if (t->link.token && m->runs[r].code == ERR_RESOURCE_EXHAUSTED)
			realm_refused(t->link.scene);
	for (uint32_t r = 0; r < m->run_count; r++)
		for (uint64_t i = 0; m->runs[r].code == ERR_OK && i < m->runs[r].count; i++) {
			uint64_t task = m->runs[r].first_task + i;
			t->last = task;
			uint8_t *owner = task < COUNT_OF(t->link.scene->owners) ? &t->link.scene->owners[task] : NULL;
			if (owner && *owner != 0 && *owner != (uint8_t)t->colour[0])
				crossed(t, "CONFIRMS", span_str("the number of a task"));
			if (owner)
				*owner = (uint8_t)t->colour[0];
		}
}

static void frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct tenant *t = owner;
	size_t at = 0;
	switch ((int)m->kind) {
	case FRAME_CONFIRMS: confirmed(t, &m->confirms); return;
	case FRAME_DELIVER: work(t, &m->deliver, f->payload); return;
	case FRAME_EVENTS: pieces(t, "EVENTS", f->payload, &m->events.sizes); return;
	case FRAME_INVOKE: answer_calls(t, &m->invoke, f->payload); return;
	case FRAME_RESULTS: results(t, &m->results, f->payload); return;
	case FRAME_REPLY: told(t, &m->reply); return;
	case FRAME_ANSWER:
		for (uint32_t i = 0; i < m->answer.count; i++) {
			if (m->answer.items[i].code == ERR_OK)
				look(t, "ANSWER", span_sub(f->payload, at, m->answer.items[i].size));
			at += m->answer.items[i].size;
		}
		return;
	default: return;
	}
}

static void up(void *owner, bool resumed)
{
	struct tenant *t = owner;
	struct msg *m = calloc(1, sizeof *m);
	(void)resumed;
	ENSURE(m);
	m->kind = FRAME_SERVE;
	m->serve.entries[0] = (struct wire_entry){ .id = ENTRY, .service = span_str("sim.v1.Work"), .credit = 8 };
	m->serve.count = 1;
	link_send(&t->link, m, NULL, 0);
	m->kind = FRAME_SUBSCRIBE;
	m->subscribe = (struct msg_subscribe){ .subscription = SUBSCRIPTION, .pattern = span_str("*"), .unlimited = true, .retained = true,
					       .overflow = OVERFLOW_DROP_OLDEST };
	link_send(&t->link, m, NULL, 0);
	free(m);
}

static void down(void *owner)
{
	struct tenant *t = owner;
	t->next_call = 0;
	link_new_session(&t->link); /* numbers of calls begin anew with it */
}

struct tenant *tenant_new(struct scene *scene, const char *colour, const char *token)
{
	struct tenant *t = calloc(1, sizeof *t);
	ENSURE(t);
	t->colour = colour;
	t->next_seq = 1;
	(void)snprintf(t->name, sizeof t->name, "tenant-%s", colour);
	t->link.up = up;
	t->link.down = down;
	t->link.frame = frame;
	t->link.vnet = colour;
	t->link.token = token;
	link_open(&t->link, scene, t->name, t);
	act(t);
	return t;
}

struct sim_peer *tenant_peer(struct tenant *t) { return t->link.peer; }
uint64_t tenant_seen(const struct tenant *t) { return t->seen; }

void tenant_free(struct tenant *t)
{
	link_close(&t->link);
	free(t);
}
