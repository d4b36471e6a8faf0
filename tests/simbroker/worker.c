/* tests/simbroker/worker.c: serves the queue, and does to it what real workers do: finish, fail, give back, reject, vanish in the
 * middle, answer twice, answer long after, and try an old token. What it reported it sends again until it is answered. */
#include "link.h"

enum { HELD_MAX = 512, OWED_MAX = 2048 };

struct held {
	struct worker *worker;
	struct task_ref ref;
	uint64_t serial;
	bool live;
};

struct worker {
	struct link link;
	uint32_t number, credit;
	struct held *held[HELD_MAX];
	uint32_t held_count;
	struct report_item owed[OWED_MAX]; /* reports without an answer */
	uint32_t owed_count;
	struct task_ref old;             /* a token of the past, to try */
	uint32_t lanes, lanes_before;    /* bits: what it has declared, and what it had */
	char params[64];
	char name[32];
};

static void report(struct worker *w, struct report_item item)
{
	struct msg m = { .kind = FRAME_REPORT };
	m.report = (struct msg_report){ .items = &item, .count = 1 };
	link_send(&w->link, &m, NULL, 0);
}

static void owe(struct worker *w, struct report_item item)
{
	ledger_reported(w->link.scene->ledger, item.ref, item.verb);
	if (w->owed_count < OWED_MAX)
		w->owed[w->owed_count++] = item;
	report(w, item);
}

static void give_credit(struct worker *w, uint32_t n)
{
	struct credit_item item = { 1, n };
	struct msg m = { .kind = FRAME_CREDIT };
	m.credit = (struct msg_credit){ &item, 1 };
	link_send(&w->link, &m, NULL, 0);
}

static void drop(struct worker *w, struct held *h)
{
	for (uint32_t i = 0; i < w->held_count; i++)
		if (w->held[i] == h)
			w->held[i] = w->held[--w->held_count];
	h->live = false;
}

static void finish(void *ctx)
{
	struct held *h = ctx;
	struct worker *w = h->worker;
	struct scene *sc = w->link.scene;
	if (!h->live) { /* the lease was lost meanwhile; the timer was all that held it */
		free(h);
		return;
	}
	const struct mood *mood = &sc->mood;
	struct report_item item = { .ref = h->ref, .verb = REPORT_COMPLETE };
	uint64_t dice = sim_rand_below(sc->world, 1000);
	if (dice < mood->fail) {
		item.verb = REPORT_FAIL;
		item.class_code = ERR_TRANSIENT;
	} else if ((dice -= mood->fail) < mood->release) {
		item.verb = REPORT_RELEASE;
	} else if ((dice -= mood->release) < mood->reject) {
		item.verb = REPORT_REJECT;
	}
	owe(w, item);
	if (sim_rand_below(sc->world, 1000) < mood->answer_twice)
		owe(w, item);
	if (sim_rand_below(sc->world, 1000) < mood->stale && w->old.task) {
		struct report_item stale = { .ref = w->old, .verb = REPORT_COMPLETE };
		owe(w, stale);
	}
	if (sim_rand_below(sc->world, 8) == 0)
		w->old = h->ref;
	drop(w, h);
	free(h);
	give_credit(w, 1);
}

/* The process dies without a word and another one takes its place. What it held and owed is gone with it. */
static void vanish(struct worker *w)
{
	while (w->held_count > 0)
		drop(w, w->held[0]);
	w->owed_count = 0;
	link_new_session(&w->link);
	link_cut(&w->link);
}

static void deliver(struct worker *w, const struct msg *m, const struct frame *f)
{
	struct scene *sc = w->link.scene;
	size_t at = 0;
	for (uint32_t i = 0; i < m->deliver.count; i++) {
		const struct deliver_item *d = &m->deliver.items[i];
		struct task_ref ref = { d->task, d->attempt, m->deliver.epoch };
		uint64_t serial = ledger_delivered(sc->ledger, w->number * 100000 + w->link.generation,
						   w->lanes | w->lanes_before, ref,
						   span_sub(f->payload, at, d->size));
		at += d->size;
		ENSURE(w->held_count < HELD_MAX);
		struct held *h = calloc(1, sizeof *h);
		ENSURE(h);
		*h = (struct held){ w, ref, serial, true };
		w->held[w->held_count++] = h;
		struct report_item start = { .ref = ref, .verb = REPORT_START };
		report(w, start);
		uint64_t ns = 1 + sim_rand_below(sc->world, sc->mood.work_ns_max);
		if (sim_rand_below(sc->world, 1000) < sc->mood.answer_late)
			ns += 20 * SIM_S;
		sim_after(sc->world, ns, finish, h);
	}
	if (sim_rand_below(sc->world, 1000) < sc->mood.vanish)
		vanish(w);
}

static void answered(struct worker *w, const struct reported_item *item)
{
	if (item->code == ERR_RESOURCE_EXHAUSTED) {
		for (uint32_t i = 0; i < w->owed_count; i++)
			if (w->owed[i].ref.task == item->ref.task && w->owed[i].verb == item->verb)
				report(w, w->owed[i]);
		return;
	}
	for (uint32_t i = 0; i < w->owed_count; i++) {
		const struct report_item *o = &w->owed[i];
		if (o->ref.task == item->ref.task && o->ref.attempt == item->ref.attempt &&
		    o->ref.epoch == item->ref.epoch && o->verb == item->verb) {
			w->owed[i] = w->owed[--w->owed_count];
			break;
		}
	}
	if (item->verb != REPORT_START)
		ledger_answered(w->link.scene->ledger, item->ref, item->verb, item->code);
}

static void frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct worker *w = owner;
	if (m->kind == FRAME_DELIVER)
		deliver(w, m, f);
	else if (m->kind == FRAME_REPORTED)
		for (uint32_t i = 0; i < m->reported.count; i++)
			answered(w, &m->reported.items[i]);
	else if (m->kind == FRAME_SIGNALS)
		for (uint32_t i = 0; i < m->signals.count; i++)
			for (uint32_t j = 0; j < w->held_count; j++)
				if (w->held[j]->ref.task == m->signals.items[i].ref.task &&
				    m->signals.items[i].signal == SIGNAL_LEASE_LOST)
					drop(w, w->held[j]);
}

/* Some of the lanes, never the closed one until all are open. */
static struct span declare_lanes(struct worker *w)
{
	const struct scene *sc = w->link.scene;
	const char *separator = "";
	size_t len = (size_t)snprintf(w->params, sizeof w->params, "lanes=[");
	w->lanes_before |= w->lanes;
	w->lanes = sc->lanes_open ? (2u << LEDGER_LANES) - 2 : 2u << sim_rand_below(sc->world, LEDGER_LANES - 1);
	if (sc->mood.calm && !sc->lanes_open)
		w->lanes = (1u << LEDGER_LANE_CLOSED) - 2;
	for (uint32_t i = 1; i <= LEDGER_LANES; i++)
		if (w->lanes >> i & 1) {
			len += (size_t)snprintf(w->params + len, sizeof w->params - len, "%s\"l%u\"", separator, i);
			separator = ", ";
		}
	(void)snprintf(w->params + len, sizeof w->params - len, "]");
	return span_str(w->params);
}

/* Resumed: the broker still counts what we hold. Not resumed: what we hold is lost, but what we reported may have arrived. */
static void up(void *owner, bool resumed)
{
	struct worker *w = owner;
	if (!resumed)
		while (w->held_count > 0)
			drop(w, w->held[0]);
	struct task_ref refs[HELD_MAX + OWED_MAX];
	uint32_t count = 0;
	for (uint32_t i = 0; i < w->held_count; i++)
		refs[count++] = w->held[i]->ref;
	for (uint32_t i = 0; i < w->owed_count; i++)
		refs[count++] = w->owed[i].ref;
	struct msg m = { .kind = FRAME_SERVE };
	if (resumed) {
		m.serve.held = refs;
		m.serve.held_count = count;
		m.serve.has_held = true;
	}
	m.serve.entries[0] = (struct wire_entry){ .id = 1, .service = span_str("sim.v1.Work"), .params = declare_lanes(w),
		.credit = w->credit > w->held_count ? w->credit - w->held_count : 0 };
	m.serve.count = 1;
	link_send(&w->link, &m, NULL, 0);
	for (uint32_t i = 0; i < w->owed_count; i++)
		report(w, w->owed[i]);
}

static void down(void *owner)
{
	(void)owner;
}

struct worker *worker_new(struct scene *scene, uint32_t number, uint32_t credit)
{
	struct worker *w = calloc(1, sizeof *w);
	ENSURE(w && credit < HELD_MAX / 2);
	(void)snprintf(w->name, sizeof w->name, "worker-%u", number);
	w->number = number;
	w->credit = credit;
	w->link.up = up;
	w->link.down = down;
	w->link.frame = frame;
	link_open(&w->link, scene, w->name, w);
	return w;
}

bool worker_idle(const struct worker *w)
{
	return w->held_count == 0 && w->owed_count == 0;
}

struct sim_peer *worker_peer(struct worker *w)
{
	return w->link.peer;
}

void worker_free(struct worker *w)
{
	while (w->held_count > 0)
		drop(w, w->held[0]);
	link_close(&w->link);
	free(w);
}
