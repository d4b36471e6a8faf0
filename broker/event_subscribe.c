/* broker/event_subscribe.c: subscriptions come and go, are resumed and get their credit.
 *
 * In the flow: SUBSCRIBE -> the table of patterns, retained values -> SUBSCRIBED, once no publisher holds back what it wants. */
#include "permit.h"
#include "usage.h"
#include "event_subscribe.h"

#include "event_queue.h"
#include "event_route.h"
#include "topics.h"

static struct subscription **subscription_find(struct event_peer *p, uint32_t id)
{
	struct subscription **at = &p->subscriptions;
	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

void subscription_answer(struct subscription *x, bool resumed, bool ended)
{
	struct session *session = x->peer->session;
	struct conn *c = session ? session->conn : NULL;
	if (!c || c->closing || c->gone)
		return;
	struct msg *m = &x->peer->shard->events->part;
	m->kind = FRAME_SUBSCRIBED;
	m->subscribed = (struct msg_subscribed){ .subscription = x->id, .resumed = resumed, .ended = ended,
						 .matched = x->matched, .delivered = x->delivered, .dropped = x->dropped };
	msg_encode(&c->out, m, x->correlation, NULL, 0);
	x->told = x->dropped;
	conn_touch(c);
}

static void subscription_refuse(struct subscription *x, const char *text)
{
	struct session *session = x->peer->session;
	struct conn *c = session ? session->conn : NULL;
	if (!c || c->closing || c->gone)
		return;
	struct msg *m = &x->peer->shard->events->part;
	m->kind = FRAME_SUBSCRIBED;
	m->subscribed = (struct msg_subscribed){ .subscription = x->id, .code = ERR_PERMISSION, .text = span_str(text), .ended = true,
						 .matched = x->matched, .delivered = x->delivered, .dropped = x->dropped };
	msg_encode(&c->out, m, 0, NULL, 0);
	conn_touch(c);
}

static void unlink_from(struct subscription **at, struct subscription *x, size_t next_offset)
{
	while (*at && *at != x)
		at = (struct subscription **)(void *)((char *)*at + next_offset);
	if (*at)
		*at = *(struct subscription **)(void *)((char *)x + next_offset);
}

void subscription_end(struct subscription **at)
{
	struct subscription *x = *at;
	struct events *e = x->peer->shard->events;
	*at = x->next;
	x->peer->subscription_count--;
	if (x->peer->session)
		usage_subscriptions(x->peer->session, -1);
	e->subscription_count--;
	e->system_count -= x->system;
	match_remove(&e->match, &x->match);
	e->generation++;
	unlink_from(&e->due, x, offsetof(struct subscription, due_next));
	unlink_from(&e->answers, x, offsetof(struct subscription, answer_next));
	subscription_clear(x);
	e->again = true; /* it may have blocked somebody */
	free(x);
}

static bool same_pattern(const struct subscription *x, const struct msg_subscribe *m)
{
	return span_eq(span_of(x->pattern, x->pattern_size), m->pattern) && x->descendants == m->descendants &&
	       x->fingerprint == m->fingerprint;
}

static void set_bounds(struct subscription *x, const struct msg_subscribe *m)
{
	x->overflow = m->overflow;
	x->unlimited = m->unlimited;
	x->credit = m->credit;
	x->queue_max = m->queue_max ? MIN_OF(m->queue_max, (uint32_t)EVENT_QUEUE_MAX) : EVENT_QUEUE_DEFAULT;
	x->queue_bytes_max = m->queue_bytes ? MIN_OF(m->queue_bytes, (uint32_t)EVENT_QUEUE_BYTES_MAX)
					    : EVENT_QUEUE_BYTES_DEFAULT;
}

static struct subscription *subscription_new(struct event_peer *p, const struct msg_subscribe *m)
{
	struct events *e = p->shard->events;
	struct subscription *x = zalloc(sizeof *x + m->pattern.len);
	x->peer = p;
	x->id = m->subscription;
	x->descendants = m->descendants;
	x->fingerprint = m->fingerprint;
	x->pattern_size = (uint32_t)m->pattern.len;
	memcpy(x->pattern, m->pattern.data, m->pattern.len);
	set_bounds(x, m);
	bool added = match_add(&e->match, &x->match, session_events_vnet(p->session, m->pattern), m->pattern, m->descendants);
	ENSURE(added); /* msg_check has read the pattern */
	struct subscription **at = &p->subscriptions;
	while (*at)
		at = &(*at)->next;
	*at = x;
	x->system = event_is_system(m->pattern);
	e->system_count += x->system;
	p->subscription_count++;
	usage_subscriptions(p->session, 1);
	e->subscription_count++;
	e->generation++;
	return x;
}

/* The last values that match: in front of everything that is published from now on. */
static void push_retained(struct subscription *x)
{
	struct events *e = x->peer->shard->events;
	const struct retained *r = topics_retained_first(tasks_topics(x->peer->shard->tasks));
	for (; r; r = r->next) {
		if (!match_item_matches(&e->match, &x->match, retained_vnet(r), retained_type(r)) ||
		    (x->fingerprint != 0 && x->fingerprint != r->fingerprint))
			continue;
		struct batch *b = batch_of(e, span_of(r->bytes, r->frame_size), r->fingerprint);
		subscription_push_retained(x, b);
		batch_unref(b);
	}
	subscription_drain(x);
}

enum err event_subscribe(struct conn *c, const struct msg_subscribe *m, uint32_t correlation, char text[128])
{
	struct shard *s = c->s;
	struct event_peer *p = event_peer_get(s, c->session);
	struct subscription **at = subscription_find(p, m->subscription), *x = *at;
	if (x && same_pattern(x, m)) {
		set_bounds(x, m);
		x->correlation = correlation;
		subscription_answer(x, true, false);
		subscription_drain(x);
		s->events->again = true; /* with its new bounds it may hold nobody up any more */
		return ERR_OK;
	}
	if (x)
		subscription_end(at);
	if (p->subscription_count >= EVENT_SUBSCRIPTIONS_MAX) {
		(void)snprintf(text, 128, "SUBSCRIBE: a session has at most %d subscriptions", EVENT_SUBSCRIPTIONS_MAX);
		return ERR_RESOURCE_EXHAUSTED;
	}
	if (!usage_may_subscribe(c->session, text))
		return ERR_RESOURCE_EXHAUSTED;
	if (m->retained && s->events->batch_bytes > s->config.memory_max / 2) { /* each gets its own copies */
		(void)snprintf(text, 128, "SUBSCRIBE.retained: events that wait for subscribers have half of memory_max");
		return ERR_RESOURCE_EXHAUSTED;
	}
	x = subscription_new(p, m);
	x->correlation = correlation;
	x->answer_at_ms = s->now_ms + EVENT_HINT_MS;
	hints_recall(x);
	if (hints_recalled(x)) {
		subscription_answer(x, false, false);
	} else {
		x->answer_next = s->events->answers;
		s->events->answers = x;
	}
	if (m->retained)
		push_retained(x);
	return ERR_OK;
}

void event_unsubscribe(struct conn *c, uint32_t subscription, uint32_t correlation)
{
	struct event_peer *p = event_peer_get(c->s, c->session);
	struct subscription **at = subscription_find(p, subscription);
	if (!*at) {
		conn_error(c, ERR_NOT_FOUND, "UNSUBSCRIBE.subscription: there is none with this number", FRAME_UNSUBSCRIBE,
			   correlation, false);
		return;
	}
	(*at)->correlation = correlation;
	subscription_answer(*at, false, true);
	subscription_end(at);
}

/* The rules have changed: what they no longer allow ends. */
void event_end_refused(struct session *session)
{
	char text[256];
	struct subscription **at = session->events ? &session->events->subscriptions : NULL;
	while (at && *at) {
		struct span pattern = span_of((*at)->pattern, (*at)->pattern_size);
		bool allowed = permit_pattern(session, ACCESS_SUBSCRIBE, pattern, (*at)->descendants, text) &&
			       (!(*at)->system || permit(session, ACCESS_ADMIN, pattern, text));
		if (allowed) {
			at = &(*at)->next;
			continue;
		}
		subscription_refuse(*at, text);
		subscription_end(at);
	}
}

void event_credit(struct conn *c, const struct msg_credit *m)
{
	struct event_peer *p = event_peer_get(c->s, c->session);
	for (uint32_t i = 0; i < m->count; i++) {
		struct subscription *x = *subscription_find(p, m->items[i].entry);
		if (!x)
			continue;
		x->credit += m->items[i].credit;
		subscription_drain(x);
	}
}
