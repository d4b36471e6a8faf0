/* tests/simbroker/event_publisher.c: publishes numbered events, every fifth one retained, and sends again what has no answer. */
#include "events.h"

enum { UNANSWERED_MAX = 24 };

struct event_publisher {
	struct link link;
	struct events *e;
	uint64_t id;        /* the upper half of all ids */
	uint32_t answered;  /* all up to here have an answer */
};

static void publish(struct event_publisher *p, uint32_t number)
{
	const struct event_seen *x = &p->e->seen[number];
	struct event_head head = { .type = span_str(x->retained ? "sim.event.Last" : "sim.event.Step") };
	uint32_t size = sizeof number;
	struct buf bytes = { 0 };
	event_head_encode(&bytes, &head);
	struct msg m = { .kind = FRAME_PUBLISH };
	m.publish = (struct msg_publish){ .number = number, .id = { p->id, number }, .confirm = true, .retain = x->retained,
					  .head = buf_span(&bytes), .sizes = { &size, 1 } };
	struct span payload = span_of(&number, sizeof number);
	link_send(&p->link, &m, &payload, 1);
	buf_free(&bytes);
}

static bool open_event(const struct event_seen *x)
{
	return !x->confirmed && !x->refused;
}

static void work(void *ctx)
{
	struct event_publisher *p = ctx;
	struct events *e = p->e;
	if (e->scene->stop_submitting)
		return;
	if (e->count < EVENTS_MAX && e->count - p->answered < UNANSWERED_MAX) {
		e->count++;
		e->seen[e->count] = (struct event_seen){ .retained = e->count % 5 == 0 };
		if (p->link.welcome)
			publish(p, e->count); /* else with those that are sent again */
	}
	sim_after(e->scene->world, SIM_MS * (1 + sim_rand_below(e->scene->world, 5)), work, p);
}

static void up(void *owner, bool resumed)
{
	struct event_publisher *p = owner;
	(void)resumed;
	for (uint32_t n = p->answered + 1; n <= p->e->count; n++)
		if (open_event(&p->e->seen[n])) {
			scene_mark(p->e->scene, MARK_EVENT_AGAIN);
			publish(p, n);
		}
}

static void frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct event_publisher *p = owner;
	struct events *e = p->e;
	(void)f;
	for (uint32_t i = 0; m->kind == FRAME_PUBLISHED && i < m->published.count; i++) {
		const struct published_item *item = &m->published.items[i];
		ENSURE(item->number >= 1 && item->number <= e->count);
		struct event_seen *x = &e->seen[item->number];
		if (!open_event(x))
			continue;
		x->refused = item->status == PUBLISH_REFUSED;
		x->confirmed = !x->refused;
		x->restarts = e->scene->restarts;
		if (x->confirmed && x->retained)
			e->last_retained = MAX_OF(e->last_retained, (uint32_t)item->number);
	}
	while (p->answered < e->count && !open_event(&e->seen[p->answered + 1]))
		p->answered++;
}

static void down(void *owner)
{
	(void)owner;
}

struct event_publisher *event_publisher_new(struct events *e)
{
	struct event_publisher *p = calloc(1, sizeof *p);
	ENSURE(p);
	p->e = e;
	p->id = sim_rand(e->scene->world);
	p->link.up = up;
	p->link.down = down;
	p->link.frame = frame;
	link_open(&p->link, e->scene, "publisher", p);
	work(p);
	return p;
}

bool event_publisher_idle(const struct event_publisher *p)
{
	return p->answered == p->e->count;
}
