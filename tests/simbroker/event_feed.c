/* tests/simbroker/event_feed.c: a durable subscription: makes it, works through its queue, one faster than the other. */
#include "events.h"

struct event_feed {
	struct link link;
	struct events *e;
	uint32_t number, first;  /* first: the event from which on it must miss nothing; 0 = not subscribed yet */
	uint64_t begins_ns;      /* when */
	char queue[16], name[16];
};

struct step {
	struct event_feed *feed;
	uint32_t generation;
	struct task_ref ref;
};

static void ask(struct event_feed *f)
{
	struct msg m = { .kind = FRAME_REQUEST };
	m.request = (struct msg_request){ .verb = VERB_SUBSCRIPTION_ADD, .name = span_str(f->queue), .text = span_str("sim.event.*"),
					  .settings = QUEUE_SETTINGS_UNSET, .limit = 1 };
	link_send_as(&f->link, &m, 1, NULL, 0);
}

static void begin(void *ctx)
{
	struct event_feed *f = ctx;
	f->begins_ns = 0;
	if (f->link.welcome)
		ask(f);
}

static void done(void *ctx)
{
	struct step *x = ctx;
	struct link *l = &x->feed->link;
	if (l->welcome && l->generation == x->generation) {
		struct report_item item = { .ref = x->ref, .verb = REPORT_COMPLETE };
		struct credit_item credit = { 1, 1 };
		struct msg m = { .kind = FRAME_REPORT };
		m.report = (struct msg_report){ .items = &item, .count = 1 };
		link_send(l, &m, NULL, 0);
		m = (struct msg){ .kind = FRAME_CREDIT };
		m.credit = (struct msg_credit){ &credit, 1 };
		link_send(l, &m, NULL, 0);
	}
	free(x);
}

static void delivered(struct event_feed *f, struct task_ref ref, struct span payload)
{
	struct scene *sc = f->e->scene;
	uint32_t number = event_number(f->e, payload);
	struct event_seen *x = &f->e->seen[number];
	if (number && !(x->feeds >> f->number & 1)) {
		x->feeds |= 1u << f->number;
		scene_mark(sc, MARK_FEED_EVENT);
		if (x->confirmed && x->restarts < sc->restarts)
			scene_mark(sc, MARK_FEED_OVER_RESTART);
	}
	struct step *s = malloc(sizeof *s);
	ENSURE(s);
	*s = (struct step){ f, f->link.generation, ref };
	sim_after(sc->world, SIM_MS * (1 + (f->number ? sim_rand_below(sc->world, 10) : 0)), done, s);
}

static void frame(void *owner, const struct msg *m, const struct frame *fr)
{
	struct event_feed *f = owner;
	size_t at = 0;
	for (uint32_t i = 0; m->kind == FRAME_DELIVER && i < m->deliver.count; i++) {
		const struct deliver_item *d = &m->deliver.items[i];
		delivered(f, (struct task_ref){ d->task, d->attempt, m->deliver.epoch }, span_sub(fr->payload, at, d->size));
		at += d->size;
	}
	if (m->kind != FRAME_REPLY || f->first)
		return;
	if (m->reply.code != ERR_OK && m->reply.code != ERR_EXISTS) {
		ask(f); /* a disk that is full, a broker that is about to end */
		return;
	}
	f->first = f->e->count + 1;
	if (f->first > 1)
		scene_mark(f->e->scene, MARK_FEED_LATER);
}

/* What was in work before is not named: it comes again. */
static void up(void *owner, bool resumed)
{
	struct event_feed *f = owner;
	struct msg m = { .kind = FRAME_SERVE };
	m.serve.has_held = resumed;
	m.serve.entries[0] = (struct wire_entry){ .id = 1, .service = span_str(f->queue), .by_queue = true, .credit = 4 };
	m.serve.count = 1;
	if (f->first == 0 && f->begins_ns == 0)
		ask(f);
	link_send(&f->link, &m, NULL, 0);
}

static void down(void *owner)
{
	(void)owner;
}

struct event_feed *event_feed_new(struct events *e, uint32_t number, uint64_t begins_ns)
{
	struct event_feed *f = calloc(1, sizeof *f);
	ENSURE(f);
	f->e = e;
	f->number = number;
	f->begins_ns = begins_ns;
	(void)snprintf(f->queue, sizeof f->queue, "sim-feed-%u", number);
	(void)snprintf(f->name, sizeof f->name, "feed-%u", number);
	f->link.up = up;
	f->link.down = down;
	f->link.frame = frame;
	link_open(&f->link, e->scene, f->name, f);
	if (begins_ns)
		sim_after(e->scene->world, begins_ns, begin, f);
	return f;
}

uint32_t event_feed_misses(const struct event_feed *f)
{
	if (f->first == 0)
		return 1;
	for (uint32_t n = f->first; n <= f->e->count; n++)
		if (f->e->seen[n].confirmed && !(f->e->seen[n].feeds >> f->number & 1))
			return n;
	return 0;
}
