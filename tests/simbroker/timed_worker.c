/* tests/simbroker/timed_worker.c: takes what schedules fire and what is put back, one at a time of each kind that it has credit for, and
 * lets some of the latter die. A report without an answer is kept over cuts and said again; with a new session it is given up. */
#include "timed.h"

enum { HOLD_MAX = 16, CREDIT = 6 };

struct hold {
	struct task_ref ref;
	uint32_t what;              /* the payload */
	uint8_t end;                /* a report_verb, once it is said; 0 = at work */
	uint64_t due_ns;
};

struct timed_worker {
	struct link link;
	struct timed *timed;
	struct hold held[HOLD_MAX];
	uint32_t count;
};

static bool is_bad(const struct hold *h)
{
	return h->what & TIMED_BAD;
}

static void drop(struct timed_worker *w, uint32_t at)
{
	const struct credit_item item = { is_bad(&w->held[at]) ? 2 : 1, 1 };
	struct msg m = { .kind = FRAME_CREDIT };
	m.credit = (struct msg_credit){ &item, 1 };
	link_send(&w->link, &m, NULL, 0);
	w->held[at] = w->held[--w->count];
}

static void say(struct timed_worker *w, const struct hold *h, uint8_t verb)
{
	const struct report_item item = { .ref = h->ref, .verb = verb };
	struct msg m = { .kind = FRAME_REPORT };
	m.report = (struct msg_report){ .items = &item, .count = 1 };
	link_send(&w->link, &m, NULL, 0);
}

/* ---- what comes ---- */

static void tick_came(struct timed *t, uint64_t id, uint32_t which)
{
	struct scene *sc = t->scene;
	ENSURE(which < SCHEDULES);
	struct timed_schedule *x = &t->schedules[which];
	for (uint32_t i = 0; i < t->tick_count; i++)
		if (t->ticks[i] == id)
			return;
	ENSURE(t->tick_count < TICKS_MAX);
	t->ticks[t->tick_count++] = id;
	x->tasks++;
	uint64_t passed_ms = (scene_now(sc) - x->asked_ns) / SIM_MS + (sc->jumped_ms - x->jumped_ms);
	if (x->asked_ns == 0 || x->tasks > passed_ms / x->every_ms + 1 + x->runs)
		scene_violate(sc, "T1: task %llu is the %lluth of schedule %u, which fires every %u ms and is %llu ms old",
			      (unsigned long long)id, (unsigned long long)x->tasks, which, x->every_ms, (unsigned long long)passed_ms);
	if (x->counted && x->tasks > x->fired)
		scene_violate(sc, "T2: task %llu is the %lluth of schedule %u, which has fired %llu times", (unsigned long long)id,
			      (unsigned long long)x->tasks, which, (unsigned long long)x->fired);
	if (x->overlap == OVERLAP_SKIP && x->open != 0)
		scene_violate(sc, "T3: task %llu of schedule %u comes while task %llu is not over", (unsigned long long)id, which,
			      (unsigned long long)x->open);
	x->open = id;
	scene_mark(sc, sc->restarts > 0 ? MARK_TICK_OVER_RESTART : MARK_TICK);
}

static void bad_came(struct timed *t, uint64_t id, uint32_t which)
{
	ENSURE(which < t->bad_count);
	struct timed_bad *x = &t->bads[which];
	if (x->died > 0 && x->died == x->deaths && t->redrives == x->before)
		scene_violate(t->scene, "T5: task %llu has died %u times and comes again, and none of %llu redrives began after that",
			      (unsigned long long)id, x->died, (unsigned long long)t->redrives);
	if (x->died > 0)
		scene_mark(t->scene, MARK_LETTER_BACK);
}

static void delivered(struct timed_worker *w, struct task_ref ref, struct span payload)
{
	struct hold h = { .ref = ref };
	ENSURE(payload.len == sizeof h.what && w->count < HOLD_MAX);
	memcpy(&h.what, payload.data, sizeof h.what);
	if (is_bad(&h))
		bad_came(w->timed, ref.task, h.what & ~TIMED_BAD);
	else
		tick_came(w->timed, ref.task, h.what);
	h.due_ns = scene_now(w->timed->scene) + SIM_MS * (1 + sim_rand_below(w->timed->scene->world, 40));
	w->held[w->count++] = h;
	say(w, &h, REPORT_START);
}

/* ---- what is said ---- */

static void end(struct timed_worker *w, struct hold *h)
{
	struct timed *t = w->timed;
	bool dies = is_bad(h) && !t->scene->mood.calm && !scene_one_in(t->scene, 4);
	h->end = dies ? REPORT_REJECT : REPORT_COMPLETE;
	if (dies) {
		t->bads[h->what & ~TIMED_BAD].deaths++;
		t->bads[h->what & ~TIMED_BAD].before = t->answered;
	} else if (is_bad(h)) {
		t->bads[h->what & ~TIMED_BAD].complete_sent = true;
	} else if (t->schedules[h->what].open == h->ref.task) {
		t->schedules[h->what].open = 0;
	}
	say(w, h, h->end);
}

static void work(void *ctx)
{
	struct timed_worker *w = ctx;
	for (uint32_t i = 0; i < w->count && w->link.welcome; i++)
		if (!w->held[i].end && w->held[i].due_ns <= scene_now(w->timed->scene))
			end(w, &w->held[i]);
	sim_after(w->timed->scene->world, SIM_MS * 3, work, w);
}

static void answered(struct timed_worker *w, const struct reported_item *r)
{
	uint32_t i = 0;
	while (i < w->count && memcmp(&w->held[i].ref, &r->ref, sizeof r->ref) != 0)
		i++;
	if (i == w->count)
		return;
	struct hold *h = &w->held[i];
	if (r->code == ERR_AGAIN || r->code == ERR_RESOURCE_EXHAUSTED || r->code == ERR_DISK_FULL) {
		if (h->end)
			say(w, h, h->end);
		return;
	}
	if (r->code == ERR_OK && h->end == REPORT_REJECT)
		w->timed->bads[h->what & ~TIMED_BAD].died++;
	if (r->code != ERR_OK || h->end == r->verb)
		drop(w, i);
}

static void frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct timed_worker *w = owner;
	size_t at = 0;
	for (uint32_t i = 0; m->kind == FRAME_DELIVER && i < m->deliver.count; i++) {
		const struct deliver_item *d = &m->deliver.items[i];
		delivered(w, (struct task_ref){ d->task, d->attempt, m->deliver.epoch }, span_sub(f->payload, at, d->size));
		at += d->size;
	}
	for (uint32_t i = 0; m->kind == FRAME_REPORTED && i < m->reported.count; i++)
		answered(w, &m->reported.items[i]);
	for (uint32_t i = 0; m->kind == FRAME_SIGNALS && i < m->signals.count; i++)
		for (uint32_t j = 0; m->signals.items[i].signal == SIGNAL_LEASE_LOST && j < w->count; j++)
			if (memcmp(&w->held[j].ref, &m->signals.items[i].ref, sizeof(struct task_ref)) == 0) {
				drop(w, j);
				break;
			}
}

static void up(void *owner, bool resumed)
{
	struct timed_worker *w = owner;
	struct task_ref refs[HOLD_MAX];
	uint32_t held[2] = { 0, 0 };
	struct msg *m = calloc(1, sizeof *m);
	ENSURE(m);
	w->count = resumed ? w->count : 0;
	for (uint32_t i = 0; i < w->count; i++) {
		refs[i] = w->held[i].ref;
		held[is_bad(&w->held[i])]++;
	}
	m->kind = FRAME_SERVE;
	m->serve.held = refs;
	m->serve.held_count = w->count;
	m->serve.has_held = resumed;
	m->serve.entries[0] = (struct wire_entry){ .id = 1, .service = span_str(TIMED_TICK), .credit = CREDIT - MIN_OF(held[0], CREDIT) };
	m->serve.entries[1] = (struct wire_entry){ .id = 2, .service = span_str(TIMED_BAD_TYPE), .credit = CREDIT - MIN_OF(held[1], CREDIT) };
	m->serve.count = 2;
	link_send(&w->link, m, NULL, 0);
	free(m);
	for (uint32_t i = 0; i < w->count; i++) {
		say(w, &w->held[i], REPORT_START); /* it may have been lost */
		if (w->held[i].end)
			say(w, &w->held[i], w->held[i].end);
	}
}

static void down(void *owner)
{
	(void)owner;
}

struct timed_worker *timed_worker_new(struct timed *t)
{
	struct timed_worker *w = calloc(1, sizeof *w);
	ENSURE(w);
	w->timed = t;
	w->link.up = up;
	w->link.down = down;
	w->link.frame = frame;
	link_open(&w->link, t->scene, "timed-worker", w);
	work(w);
	return w;
}
