/* tests/simbroker/event_subscriber.c: an ephemeral subscription of one overflow policy after the other, each on one connection, read
 * slowly; and one that only looks at what is retained. Answers and events of a connection are in order, so counts can be compared. */
#include "events.h"

struct event_subscriber {
	struct link link;
	struct events *e;
	uint8_t overflow;
	uint32_t id;              /* of the subscription; a new one each time */
	bool open;                /* SUBSCRIBED has come */
	uint32_t since;           /* what was published until then it may get or not */
	uint32_t last;            /* number of the event that came last */
	uint32_t left_out;        /* numbers between those that came */
	uint64_t received;
	uint64_t before_ns;
	char name[24];
};

struct event_reader {
	struct link link;
	struct events *e;
	uint32_t id, at_least, got; /* of the subscription that is open */
};

static void subscribe(struct event_subscriber *s)
{
	s->id++;
	s->last = s->left_out = 0;
	s->since = EVENTS_MAX; /* not subscribed yet */
	s->received = 0;
	s->open = false;
	struct msg m = { .kind = FRAME_SUBSCRIBE };
	m.subscribe = (struct msg_subscribe){ .subscription = s->id, .credit = 3, .queue_max = EVENT_QUEUE_SHORT,
					      .pattern = span_str("sim.event.*"), .overflow = s->overflow };
	link_send(&s->link, &m, NULL, 0);
}

static void unsubscribe(struct link *l, uint32_t id)
{
	struct msg m = { .kind = FRAME_UNSUBSCRIBE, .unsubscribe = { .subscription = id } };
	link_send(l, &m, NULL, 0);
}

static void step(void *ctx)
{
	struct event_subscriber *s = ctx;
	struct scene *sc = s->e->scene;
	if (s->link.welcome && s->open && scene_one_in(sc, 12)) {
		s->open = false;
		unsubscribe(&s->link, s->id);
	} else if (s->link.welcome && s->open) {
		struct credit_item item = { s->id, 1 + (uint32_t)sim_rand_below(sc->world, 6) };
		struct msg m = { .kind = FRAME_EVENT_CREDIT, .event_credit = { &item, 1 } };
		link_send(&s->link, &m, NULL, 0);
	}
	/* Quick in one time, so that nobody is blocked for long, slow in another, so that something is dropped. */
	sim_after(sc->world, SIM_MS * (1 + sim_rand_below(sc->world, sc->mood.calm ? 5 : 25)), step, s);
}

static void counts(struct event_subscriber *s, uint64_t matched, uint64_t delivered, uint64_t dropped)
{
	if (delivered != s->received)
		scene_violate(s->e->scene, "E10: subscription %u of policy %u got %llu events, and is told of %llu", s->id, s->overflow,
			      (unsigned long long)s->received, (unsigned long long)delivered);
	if (matched < delivered + dropped || matched - delivered - dropped > EVENT_QUEUE_SHORT + 1)
		scene_violate(s->e->scene, "E10: policy %u: %llu events matched, %llu delivered, %llu dropped: that does not add up",
			      s->overflow, (unsigned long long)matched, (unsigned long long)delivered,
			      (unsigned long long)dropped);
	if (s->left_out > dropped || (s->overflow == OVERFLOW_BLOCK && dropped))
		scene_violate(s->e->scene, "E10: policy %u: %u events are missing, %llu dropped", s->overflow, s->left_out,
			      (unsigned long long)dropped);
}

static void event(struct event_subscriber *s, uint32_t number)
{
	if (number <= s->last)
		scene_violate(s->e->scene, "E7: event %u comes after event %u", number, s->last);
	for (uint32_t n = MAX_OF(s->last, s->since) + 1; n < number; n++)
		s->left_out += s->e->seen[n].confirmed; /* the others may have been refused, or are not out yet */
	s->last = number;
	s->received++;
}

static void frame(void *owner, const struct msg *m, const struct frame *f)
{
	static const enum mark marks[OVERFLOWS] = { [OVERFLOW_BLOCK] = MARK_EVENT_BLOCK, [OVERFLOW_DROP_OLDEST] = MARK_EVENT_DROP_OLDEST,
		[OVERFLOW_DROP_NEWEST] = MARK_EVENT_DROP_NEWEST, [OVERFLOW_REJECT] = MARK_EVENT_REJECT };
	struct event_subscriber *s = owner;
	size_t at = 0;
	if (m->kind == FRAME_EVENTS && f->correlation == s->id) {
		for (uint32_t i = 0; i < m->events.sizes.count; i++) {
			event(s, event_number(s->e, span_sub(f->payload, at, m->events.sizes.at[i])));
			at += m->events.sizes.at[i];
		}
		if (m->events.sizes.count == 0)
			counts(s, m->events.matched, m->events.delivered, m->events.dropped);
	}
	if (m->kind != FRAME_SUBSCRIBED || m->subscribed.subscription != s->id)
		return;
	const struct msg_subscribed *x = &m->subscribed;
	if (!x->ended) {
		s->open = x->code == ERR_OK;
		s->since = s->e->count;
		return;
	}
	counts(s, x->matched, x->delivered, x->dropped);
	if (x->delivered)
		scene_mark(s->e->scene, marks[s->overflow]);
	if (x->dropped)
		scene_mark(s->e->scene, MARK_EVENT_DROPPED);
	subscribe(s);
}

static void up(void *owner, bool resumed)
{
	struct event_subscriber *s = owner;
	if (resumed)
		unsubscribe(&s->link, s->id); /* what was on its way is lost: a new one */
	subscribe(s);
}

static void down(void *owner)
{
	struct event_subscriber *s = owner;
	s->open = false;
}

struct event_subscriber *event_subscriber_new(struct events *e, uint8_t overflow)
{
	struct event_subscriber *s = calloc(1, sizeof *s);
	ENSURE(s);
	s->e = e;
	s->overflow = overflow;
	(void)snprintf(s->name, sizeof s->name, "subscriber-%u", overflow);
	s->link.up = up;
	s->link.down = down;
	s->link.frame = frame;
	link_open(&s->link, e->scene, s->name, s);
	step(s);
	return s;
}

/* ---- what is retained ---- */

static void look(struct event_reader *r)
{
	r->id++;
	r->at_least = r->e->last_retained;
	r->got = 0;
	struct msg m = { .kind = FRAME_SUBSCRIBE };
	m.subscribe = (struct msg_subscribe){ .subscription = r->id, .unlimited = true, .retained = true,
					      .pattern = span_str("sim.event.Last"), .overflow = OVERFLOW_DROP_NEWEST };
	link_send(&r->link, &m, NULL, 0);
}

static void reader_frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct event_reader *r = owner;
	struct scene *sc = r->e->scene;
	if (m->kind == FRAME_EVENTS && f->correlation == r->id && m->events.retained && m->events.sizes.count)
		r->got = event_number(r->e, span_sub(f->payload, 0, m->events.sizes.at[0]));
	if (m->kind != FRAME_SUBSCRIBED || m->subscribed.subscription != r->id || !m->subscribed.ended)
		return;
	if (r->got < r->at_least)
		scene_violate(sc, "E1: the retained value is that of event %u; event %u was confirmed before", r->got, r->at_least);
	if (r->got)
		scene_mark(sc, MARK_RETAINED);
	look(r);
}

static void reader_step(void *ctx)
{
	struct event_reader *r = ctx;
	if (r->link.welcome)
		unsubscribe(&r->link, r->id);
	sim_after(r->e->scene->world, SIM_MS * (20 + sim_rand_below(r->e->scene->world, 60)), reader_step, r);
}

static void reader_up(void *owner, bool resumed)
{
	struct event_reader *r = owner;
	if (resumed)
		unsubscribe(&r->link, r->id);
	look(r);
}

static void reader_down(void *owner)
{
	(void)owner;
}

struct event_reader *event_reader_new(struct events *e)
{
	struct event_reader *r = calloc(1, sizeof *r);
	ENSURE(r);
	r->e = e;
	r->link.up = reader_up;
	r->link.down = reader_down;
	r->link.frame = reader_frame;
	link_open(&r->link, e->scene, "retained-reader", r);
	reader_step(r);
	return r;
}
