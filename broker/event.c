/* broker/event.c: what events know of each session, and what is looked at once a turn.
 *
 * Subscriptions come and go in event_subscribe.c, with their queues in event_queue.c; what is published goes through event_publish.c and,
 * where it is kept, event_log.c; event_route.c says who wants it. */
#include "event.h"

#include "event_publish.h"
#include "event_queue.h"
#include "event_route.h"
#include "event_subscribe.h"
#include "types.h"

/* ---- peers ---- */

struct event_peer *event_peer_get(struct shard *s, struct session *session)
{
	if (session->events)
		return session->events;
	struct event_peer *p = zalloc(sizeof *p);
	p->session = session;
	p->shard = s;
	p->last = &p->first;
	p->id_salt = bytes_hash(span_str(session->vnet), s->events->match.seed);
	session->events = p;
	return p;
}

void peer_work(struct event_peer *p)
{
	if (p->listed)
		return;
	p->listed = true;
	p->work_next = p->shard->events->work;
	p->shard->events->work = p;
}

static void peer_free(struct event_peer *p)
{
	ENSURE(!p->session && !p->first && p->in_log == 0 && !p->listed);
	buf_free(&p->answers);
	buf_free(&p->head_bytes);
	buf_free(&p->task_head);
	free(p->feeds);
	free(p);
}

void event_conn_room(struct conn *c)
{
	struct event_peer *p = c->session ? c->session->events : NULL;
	for (struct subscription *x = p ? p->subscriptions : NULL; x; x = x->next) {
		subscription_drain(x);
		subscription_tell_counts(x);
	}
}

void event_session_detached(struct session *session)
{
	if (session->events)
		session->events->answers.len = 0; /* it publishes again what has no answer */
}

/* Its subscriptions get nothing until they are said again: what their credit is, only the client knows. */
void event_session_attached(struct session *session)
{
	struct event_peer *p = session->events;
	if (!p)
		return;
	hints_drop(p);
	for (struct subscription *x = p->subscriptions; x; x = x->next) {
		x->credit = 0;
		x->unlimited = false;
	}
}

void event_session_ended(struct shard *s, struct session *session)
{
	struct event_peer *p = session->events;
	if (!p)
		return;
	while (p->subscriptions)
		subscription_end(&p->subscriptions);
	hints_drop(p);
	session->events = NULL;
	p->session = NULL;
	p->answers.len = 0;
	(void)s;
	peer_work(p); /* events_run frees it when its publishes are out */
}

/* ---- once a turn ---- */

static void peers_run(struct events *e)
{
	if (e->again) {
		struct event_peer **end = &e->blocked;
		while (*end)
			end = &(*end)->work_next;
		*end = e->work;
		e->work = e->blocked;
		e->blocked = NULL;
		e->again = false;
	}
	struct event_peer *list = e->work;
	e->work = NULL;
	while (list) {
		struct event_peer *p = list;
		list = p->work_next;
		publishes_run(p);
		publish_answers_flush(p);
		p->listed = p->first != NULL;
		if (p->listed) {
			p->work_next = e->blocked;
			e->blocked = p;
		} else if (!p->session && p->in_log == 0) {
			peer_free(p);
		}
	}
}

static void subscribe_answers_run(struct shard *s)
{
	struct subscription **at = &s->events->answers;
	while (*at) {
		struct subscription *x = *at;
		if (!hints_recalled(x)) {
			at = &x->answer_next;
			continue;
		}
		*at = x->answer_next;
		x->answer_next = NULL;
		subscription_answer(x, false, false);
	}
}

bool events_run(struct shard *s)
{
	struct events *e = s->events;
	if (e->work || e->again)
		peers_run(e);
	while (e->due) {
		struct subscription *x = e->due;
		e->due = x->due_next;
		x->counts_due = false;
		subscription_tell_counts(x);
	}
	if (e->answers)
		subscribe_answers_run(s);
	return e->work != NULL || e->again;
}

uint64_t events_next_ms(const struct shard *s)
{
	uint64_t next = s->events->quiet_until_ms > s->now_ms ? s->events->quiet_until_ms : UINT64_MAX;
	for (const struct subscription *x = s->events->answers; x; x = x->answer_next)
		next = MIN_OF(next, x->answer_at_ms);
	return next;
}

/* ---- the whole ---- */

static struct span parent_of(void *ctx, struct span type)
{
	return types_parent(((struct shard *)ctx)->types, type);
}

struct events *events_new(struct shard *s)
{
	struct events *e = zalloc(sizeof *e);
	e->shard = s;
	s->io->v->random(s->io, &e->match.seed, sizeof e->match.seed);
	s->io->v->random(s->io, &e->sys_origin, sizeof e->sys_origin);
	e->seen = seen_new(e->match.seed);
	e->generation = e->route_epoch = 1;
	e->match.parent = parent_of;
	e->match.parent_ctx = s;
	e->routes = zalloc(EVENT_ROUTE_BUCKETS * sizeof(struct route *));
	return e;
}

/* After all sessions have ended. */
void events_free(struct shard *s)
{
	struct events *e = s->events;
	if (!e)
		return;
	struct event_peer *lists[] = { e->work, e->blocked };
	for (size_t i = 0; i < COUNT_OF(lists); i++) {
		while (lists[i]) {
			struct event_peer *p = lists[i];
			lists[i] = p->work_next;
			p->listed = false;
			while (p->first)
				publish_drop(p);
			p->in_log = 0;
			peer_free(p);
		}
	}
	routes_free(e);
	match_free(&e->match);
	ENSURE(e->batches == 0);
	seen_free(e->seen);
	free(e->routes);
	free(e);
	s->events = NULL;
}
