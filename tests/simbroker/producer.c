/* tests/simbroker/producer.c: submits frames of equal tasks, keeps each until it has an answer, sends it again after a cut. */
#include "link.h"

enum { FRAME_TASKS_MAX = 24, UNRESOLVED_MAX = 400 };

struct sent {
	struct sent *next;
	uint64_t first_seq;
	uint32_t count, resolved;
	uint64_t serials[FRAME_TASKS_MAX];
	bool answered[FRAME_TASKS_MAX];
	uint32_t sizes[FRAME_TASKS_MAX];
	struct buf head, payload;
};

struct producer {
	struct link link;
	uint64_t id, next_seq;
	uint32_t unresolved;
	uint64_t last_serial;     /* of the task before */
	uint64_t group, groups;   /* that members join now; 0 = none yet. Names are of this producer */
	uint32_t members;
	struct sent *first, **last;
	char name[32];
	uint32_t number;
};

static void transmit(struct producer *p, const struct sent *s)
{
	struct msg m = { .kind = FRAME_SUBMIT };
	m.submit = (struct msg_submit){ .producer = p->id, .first_seq = s->first_seq,
		.resolved_below = MAX_OF((p->first ? p->first->first_seq : s->first_seq) - 1, 1u), /* a link names the one before */
		.head = buf_span(&s->head), .sizes = { s->sizes, s->count } };
	struct span payload = buf_span(&s->payload);
	link_send(&p->link, &m, &payload, 1);
}

/* What a frame's tasks come after, or belong to: a chain, a member, a callback, and mostly nothing. */
struct tie { bool chain, run_anyway; uint64_t group, callback_of; };

static struct tie tie_of(struct producer *p)
{
	struct sim *world = p->link.scene->world;
	struct tie tie = { .run_anyway = sim_rand_below(world, 2) == 0 };
	switch (sim_rand_below(world, 12)) {
	case 0: tie.chain = p->last_serial != 0; return tie;
	case 1:
	case 2:
		if (p->group == 0)
			p->group = ++p->groups;
		p->members++;
		tie.group = p->group;
		return tie;
	case 3:
		if (p->members < 3)
			return tie;
		tie.callback_of = p->group;
		p->group = p->members = 0;
		return tie;
	default: return tie;
	}
}

static void submit_some(struct producer *p)
{
	struct scene *sc = p->link.scene;
	struct sent *s = calloc(1, sizeof *s);
	ENSURE(s);
	struct tie tie = tie_of(p);
	bool tied = tie.chain || tie.group || tie.callback_of;
	static const uint32_t back = 1;
	char group_text[40];
	(void)snprintf(group_text, sizeof group_text, "%s-%llu", p->name, (unsigned long long)(tie.group + tie.callback_of));
	uint64_t key = !tied && sim_rand_below(sc->world, 1000) < sc->mood.key ? 1 + sim_rand_below(sc->world, 40) : 0;
	bool ordered = !key && !tie.callback_of && sim_rand_below(sc->world, 6) == 0;
	uint32_t order = ordered ? 1 + (uint32_t)sim_rand_below(sc->world, LEDGER_ORDERS) : 0;
	uint8_t lane = !key && !order && sim_rand_below(sc->world, 4) == 0 ? (uint8_t)(1 + sim_rand_below(sc->world, LEDGER_LANES)) : 0;
	char key_text[32], order_text[24], lane_text[40];
	(void)snprintf(order_text, sizeof order_text, "order-%u", order);
	(void)snprintf(lane_text, sizeof lane_text, "lanes contains \"l%d\"", (int)lane);
	(void)snprintf(key_text, sizeof key_text, "key-%llu", (unsigned long long)key);
	struct task_head head = { .type = span_str("sim.v1.Work"),
		.priority = (uint8_t)(4 + sim_rand_below(sc->world, sc->priorities)),
		.key = key ? span_str(key_text) : (struct span){ NULL, 0 },
		.order_key = order ? span_str(order_text) : (struct span){ NULL, 0 },
		.requirements = lane ? span_str(lane_text) : (struct span){ NULL, 0 },
		.after_back = tie.chain ? span_of(&back, sizeof back) : (struct span){ NULL, 0 },
		.group = tie.group ? span_str(group_text) : (struct span){ NULL, 0 },
		.after_group = tie.callback_of ? span_str(group_text) : (struct span){ NULL, 0 },
		.on_failure = tie.run_anyway ? ON_FAILURE_RUN : ON_FAILURE_CANCEL,
		.delay_ms = sim_rand_below(sc->world, 20) == 0 ? 1 + sim_rand_below(sc->world, 300) : 0 };
	task_head_encode(&s->head, &head);
	s->first_seq = p->next_seq;
	s->count = key || tie.callback_of ? 1 : 1 + (uint32_t)sim_rand_below(sc->world, MIN_OF(sc->mood.batch_max, FRAME_TASKS_MAX));
	for (uint32_t i = 0; i < s->count; i++) {
		s->sizes[i] = LEDGER_PAYLOAD_MIN + (uint32_t)sim_rand_below(sc->world, sc->mood.payload_max);
		struct ledger_task task = { s->sizes[i], head.priority, head.delay_ms != 0, key, order, lane,
					    tie.chain ? p->last_serial : 0, tie.group ? p->id + tie.group : 0,
					    tie.callback_of ? p->id + tie.callback_of : 0,
					    tie.run_anyway || !(tie.chain || tie.callback_of),
					    (uint8_t)(p->number % LEDGER_PRINCIPALS) };
		s->serials[i] = p->last_serial = ledger_submit(sc->ledger, &task, buf_extend(&s->payload, s->sizes[i]));
	}
	p->next_seq += s->count;
	p->unresolved += s->count;
	*p->last = s;
	p->last = &s->next;
	transmit(p, s);
}

static void produce(void *ctx)
{
	struct producer *p = ctx;
	struct scene *sc = p->link.scene;
	if (p->link.closing || sc->stop_submitting)
		return;
	if (p->unresolved < UNRESOLVED_MAX)
		submit_some(p);
	uint64_t pause_us = 100 + sim_rand_below(sc->world, 8000);
	sim_after(sc->world, SIM_US * (sc->greedy && p->number == 0 ? pause_us / 8 : pause_us), produce, p);
}

static void up(void *owner, bool resumed)
{
	struct producer *p = owner;
	(void)resumed;
	for (struct sent *s = p->first; s; s = s->next)
		transmit(p, s);
}

static void down(void *owner)
{
	(void)owner;
}

static void resolve(struct producer *p, uint64_t seq, const struct confirm_run *run)
{
	for (struct sent *s = p->first; s; s = s->next) {
		if (seq < s->first_seq || seq >= s->first_seq + s->count)
			continue;
		uint32_t i = (uint32_t)(seq - s->first_seq);
		if (s->answered[i])
			return;
		s->answered[i] = true;
		s->resolved++;
		p->unresolved--;
		if (run->code == ERR_OK)
			ledger_confirmed(p->link.scene->ledger, s->serials[i], run->first_task + (seq - run->first_seq),
					 run->duplicate);
		else
			ledger_refused(p->link.scene->ledger, s->serials[i], run->code);
	}
}

static void frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct producer *p = owner;
	(void)f;
	if (m->kind != FRAME_CONFIRMS)
		return;
	ENSURE(m->confirms.producer == p->id);
	for (uint32_t r = 0; r < m->confirms.run_count; r++)
		for (uint32_t i = 0; i < m->confirms.runs[r].count; i++)
			resolve(p, m->confirms.runs[r].first_seq + i, &m->confirms.runs[r]);
	while (p->first && p->first->resolved == p->first->count) {
		struct sent *s = p->first;
		p->first = s->next;
		if (!p->first)
			p->last = &p->first;
		buf_free(&s->head);
		buf_free(&s->payload);
		free(s);
	}
}

struct producer *producer_new(struct scene *scene, uint32_t number)
{
	struct producer *p = calloc(1, sizeof *p);
	ENSURE(p);
	(void)snprintf(p->name, sizeof p->name, "producer-%u", number);
	p->id = sim_rand(scene->world) | 1;
	p->next_seq = 1;
	p->number = number;
	p->last = &p->first;
	p->link.up = up;
	p->link.down = down;
	p->link.frame = frame;
	link_open(&p->link, scene, p->name, p);
	produce(p);
	return p;
}

bool producer_idle(const struct producer *p)
{
	return p->unresolved == 0;
}

struct sim_peer *producer_peer(struct producer *p)
{
	return p->link.peer;
}

void producer_free(struct producer *p)
{
	link_close(&p->link);
	while (p->first) {
		struct sent *s = p->first;
		p->first = s->next;
		buf_free(&s->head);
		buf_free(&s->payload);
		free(s);
	}
	free(p);
}
