/* tests/simbroker/life_worker.c: makes streams yield by yield, does tasks that are handed out once, hangs where it shall hang, and
 * goes without a word or with a goodbye in the middle. What has no answer yet it keeps, over cuts, and sends again. */
#include "life.h"

enum { HOLD_MAX = 24, WINDOW = 6, LATE_MS = 6000 };

struct hold {
	struct life_worker *worker;
	struct life_task *task;
	struct task_ref ref;
	uint32_t acked, sent;    /* yields: durable, and sent on this connection */
	uint32_t made;           /* how many it has made so far: goes on where another attempt was */
	uint64_t begun_ns;
	bool live, ended, sent_end;
	uint8_t end;             /* REPORT_COMPLETE or REPORT_FAIL, once ended */
};

struct life_worker {
	struct link link;
	struct life *life;
	uint32_t number;
	struct hold *held[HOLD_MAX];
	uint32_t count;
	char name[32];
};

static void drop(struct life_worker *w, struct hold *h)
{
	for (uint32_t i = 0; i < w->count; i++)
		if (w->held[i] == h)
			w->held[i] = w->held[--w->count];
	h->live = false; /* its timer frees it */
}

static uint32_t entry_of(const struct life_task *t)
{
	return t->kind == LIFE_STREAM ? 1 : t->kind == LIFE_ONCE ? 2 : 3;
}

static void finish(struct life_worker *w, struct hold *h)
{
	struct credit_item item = { entry_of(h->task), 1 };
	struct msg m = { .kind = FRAME_CREDIT };
	m.credit = (struct msg_credit){ &item, 1 };
	link_send(&w->link, &m, NULL, 0);
	drop(w, h);
}

static void say(struct hold *h, struct report_item item, struct span payload)
{
	item.ref = h->ref;
	item.size = (uint32_t)payload.len;
	struct msg m = { .kind = FRAME_REPORT };
	m.report = (struct msg_report){ .items = &item, .count = 1 };
	link_send(&h->worker->link, &m, &payload, 1);
}

/* Sends what fits into the window, then the end. */
static void push(struct hold *h)
{
	if (!h->worker->link.welcome)
		return;
	for (; h->sent < h->made && h->sent < h->acked + WINDOW; h->sent++) {
		uint8_t bytes[LIFE_YIELD_BYTES];
		if (scene_one_in(h->worker->life->scene, 60))
			continue; /* left out: what comes behind it is not taken */
		life_yield_fill(h->worker->life, h->task, h->sent, bytes);
		say(h, (struct report_item){ .verb = REPORT_YIELD, .app_code = h->sent }, span_of(bytes, sizeof bytes));
	}
	if (!h->ended || h->sent_end || h->sent < h->made)
		return;
	h->sent_end = true;
	h->task->complete_sent |= h->end == REPORT_COMPLETE;
	h->task->fail_sent |= h->end == REPORT_FAIL;
	struct report_item end = { .verb = h->end };
	if (h->end == REPORT_FAIL)
		end.class_code = ERR_PERMANENT;
	if (h->task->kind == LIFE_STREAM) {
		end.flags = REPORT_FLAG_DELAY;
		end.delay_ms = h->task->yields;
	}
	say(h, end, span_of(NULL, 0));
}

static void work(void *ctx)
{
	struct hold *h = ctx;
	if (!h->live) {
		free(h);
		return;
	}
	struct scene *sc = h->worker->life->scene;
	if (h->task->kind == LIFE_STREAM) {
		uint32_t more = 1 + (uint32_t)sim_rand_below(sc->world, 4);
		h->made = MIN_OF(h->task->yields, h->made + more);
		h->ended = h->made == h->task->yields;
		h->end = REPORT_COMPLETE;
	} else if (h->task->kind == LIFE_ONCE && !h->ended && scene_one_in(sc, 3)) {
		h->ended = true;
		h->end = scene_one_in(sc, 8) ? REPORT_FAIL : REPORT_COMPLETE;
	} else if (h->task->kind >= LIFE_EXECUTION) {
		/* A word about the lost lease may be lost itself: long after, an answer that nobody may take. */
		h->ended = scene_now(sc) > h->begun_ns + (h->task->limit_ms + LATE_MS + sc->jumped_ms) * SIM_MS;
		h->end = REPORT_COMPLETE;
	}
	push(h);
	sim_after(sc->world, SIM_MS * (1 + sim_rand_below(sc->world, 15)), work, h);
}

/* Another process takes its place; what this one held nobody works on any more. */
static void go(struct life_worker *w)
{
	while (w->count > 0)
		drop(w, w->held[0]);
	if (scene_one_in(w->life->scene, 2)) {
		link_leave(&w->link);
	} else {
		link_new_session(&w->link);
		link_cut(&w->link);
	}
}

static void delivered(struct life_worker *w, struct task_ref ref, uint32_t base, struct span payload)
{
	struct scene *sc = w->life->scene;
	struct life_task *t = life_find(w->life, payload);
	if (!t)
		return;
	if (t->kind == LIFE_ONCE && t->delivered > 0)
		scene_violate(sc, "L3: task %llu is handed out again (attempt %u, epoch %u)", (unsigned long long)ref.task,
			      ref.attempt, ref.epoch);
	if (base < t->acked || base > t->yields)
		scene_violate(sc, "L7: task %llu is handed out with %u yields; %u of %u had been acknowledged",
			      (unsigned long long)ref.task, base, t->acked, t->yields);
	if (t->kind == LIFE_STREAM && base > 0)
		scene_mark(sc, MARK_STREAM_INHERITED);
	t->delivered++;
	ENSURE(w->count < HOLD_MAX);
	struct hold *h = calloc(1, sizeof *h);
	ENSURE(h);
	*h = (struct hold){ .worker = w, .task = t, .ref = ref, .acked = base, .sent = base, .made = base, .live = true,
			     .begun_ns = scene_now(sc) };
	t->begun_restarts = sc->restarts;
	w->held[w->count++] = h;
	say(h, (struct report_item){ .verb = REPORT_START }, span_of(NULL, 0));
	sim_after(sc->world, SIM_MS * (1 + sim_rand_below(sc->world, 15)), work, h);
}

static void again(void *ctx)
{
	struct hold *h = ctx; /* its timer may have freed it: found by the worker that holds it only */
	h->sent = h->acked;
	h->sent_end = false;
}

static void answered(struct life_worker *w, const struct reported_item *r)
{
	struct scene *sc = w->life->scene;
	struct hold *h = NULL;
	for (uint32_t i = 0; i < w->count && !h; i++)
		if (memcmp(&w->held[i]->ref, &r->ref, sizeof r->ref) == 0)
			h = w->held[i];
	if (!h)
		return;
	bool end = r->verb == REPORT_COMPLETE || r->verb == REPORT_FAIL;
	if (r->code == ERR_AGAIN || r->code == ERR_RESOURCE_EXHAUSTED || r->code == ERR_DISK_FULL) {
		if (r->verb == REPORT_YIELD)
			scene_mark(sc, MARK_YIELD_AGAIN);
		again(h); /* its next step sends it */
	} else if (r->code != ERR_OK) {
		finish(w, h); /* somebody else's */
	} else if (r->verb == REPORT_YIELD) {
		h->acked = MAX_OF(h->acked, r->number + 1);
		h->sent = MAX_OF(h->sent, h->acked);
		h->task->acked = MAX_OF(h->task->acked, h->acked);
		push(h);
	} else if (end) {
		h->task->complete_acked |= r->verb == REPORT_COMPLETE;
		if (h->task->kind == LIFE_ONCE && sc->restarts > h->task->begun_restarts)
			scene_mark(sc, MARK_ONCE_KEPT);
		finish(w, h);
	}
}

static void frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct life_worker *w = owner;
	size_t at = 0;
	for (uint32_t i = 0; m->kind == FRAME_DELIVER && i < m->deliver.count; i++) {
		const struct deliver_item *d = &m->deliver.items[i];
		delivered(w, (struct task_ref){ d->task, d->attempt, m->deliver.epoch },
			  m->deliver.yield_count ? m->deliver.yields[i] : 0, span_sub(f->payload, at, d->size));
		at += d->size;
	}
	for (uint32_t i = 0; m->kind == FRAME_REPORTED && i < m->reported.count; i++)
		answered(w, &m->reported.items[i]);
	for (uint32_t i = 0; m->kind == FRAME_SIGNALS && i < m->signals.count; i++) {
		if (m->signals.items[i].signal == SIGNAL_DEADLINE_SOON)
			scene_mark(w->life->scene, MARK_DEADLINE_SOON);
		for (uint32_t j = 0; m->signals.items[i].signal == SIGNAL_LEASE_LOST && j < w->count; j++)
			if (memcmp(&w->held[j]->ref, &m->signals.items[i].ref, sizeof(struct task_ref)) == 0) {
				finish(w, w->held[j]);
				break;
			}
	}
	if (m->kind == FRAME_DELIVER && !w->life->scene->mood.calm && scene_one_in(w->life->scene, 12))
		go(w);
}

/* After a restart of the broker only what is handed out once is still ours: the session names it. */
static void up(void *owner, bool resumed)
{
	static const char *const services[] = { "sim.life.Stream", "sim.life.Once", "sim.life.Hang" };
	struct life_worker *w = owner;
	struct task_ref refs[HOLD_MAX];
	uint32_t held[3] = { 0 }, count = 0;
	for (uint32_t i = w->count; i > 0 && !resumed; i--)
		if (w->held[i - 1]->task->kind != LIFE_ONCE)
			drop(w, w->held[i - 1]);
	for (uint32_t i = 0; i < w->count; i++) {
		refs[count++] = w->held[i]->ref;
		held[entry_of(w->held[i]->task) - 1]++;
		again(w->held[i]);
	}
	struct msg m = { .kind = FRAME_SERVE };
	m.serve.held = refs;
	m.serve.held_count = count;
	m.serve.has_held = true;
	for (uint32_t i = 0; i < COUNT_OF(services); i++)
		m.serve.entries[m.serve.count++] = (struct wire_entry){ .id = i + 1, .service = span_str(services[i]),
			.credit = 4 > held[i] ? 4 - held[i] : 0 };
	link_send(&w->link, &m, NULL, 0);
	for (uint32_t i = 0; i < w->count; i++) {
		say(w->held[i], (struct report_item){ .verb = REPORT_START }, span_of(NULL, 0)); /* it may have been lost */
		push(w->held[i]);
	}
}

static void down(void *owner)
{
	(void)owner;
}

struct life_worker *life_worker_new(struct life *life, uint32_t number)
{
	struct life_worker *w = calloc(1, sizeof *w);
	ENSURE(w);
	w->life = life;
	w->number = number;
	(void)snprintf(w->name, sizeof w->name, "life-worker-%u", number);
	w->link.up = up;
	w->link.down = down;
	w->link.frame = frame;
	link_open(&w->link, life->scene, w->name, w);
	return w;
}
