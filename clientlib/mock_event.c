/* clientlib/mock_event.c: events. The client hands its own events to its own subscriptions without us, so what is left are those to
 * descendants of a type (here: to the type itself, for no types are registered) and retained values. In the flow: PUBLISH -> here ->
 * EVENTS, PUBLISHED. See mock_impl.h.
 *
 * Credit and overflow are not played: the client is given everything at once. */
#include "mock_impl.h"

#include "../wire/pattern.h"

static void send_events(struct mock *m, struct mock_subscription *x, const struct msg_events *events, struct span payload)
{
	size_t at = m->output.len;
	x->delivered += events->sizes.count;
	msg_encode_events(&m->output, events, &payload, 1);
	frame_set_correlation(&m->output, at, x->id);
}

static struct mock_subscription *find(struct mock *m, uint32_t id)
{
	struct mock_subscription *x = m->subscriptions;
	while (x && x->id != id)
		x = x->next;
	return x;
}

static void subscription_free(struct mock *m, struct mock_subscription *x)
{
	struct mock_subscription **at = &m->subscriptions;
	while (*at != x)
		at = &(*at)->next;
	*at = x->next;
	free(x->pattern);
	free(x);
}

static void send_retained(struct mock *m, struct mock_subscription *x)
{
	const struct pattern p = pattern_parse(span_str(x->pattern));
	for (const struct mock_retained *r = m->retained; r; r = r->next) {
		const uint32_t size = (uint32_t)r->payload.len;
		const struct msg_events events = { .id = r->id, .origin = r->origin, .retained = true, .head = buf_span(&r->head),
						   .sizes = { &size, 1 } };
		if (!pattern_matches(&p, span_str(r->type)))
			continue;
		x->matched++;
		send_events(m, x, &events, buf_span(&r->payload));
	}
}

void mock_subscribe(struct mock *m, const struct msg_subscribe *s, uint32_t correlation)
{
	struct mock_subscription *x = find(m, s->subscription);
	bool known = x != NULL, retained = s->retained && !known;
	if (!x) {
		x = calloc(1, sizeof *x);
		ENSURE(x != NULL);
		*x = (struct mock_subscription){ .next = m->subscriptions, .id = s->subscription, .descendants = s->descendants,
						 .fingerprint = s->fingerprint, .pattern = mock_text(s->pattern) };
		m->subscriptions = x;
	}
	const struct msg msg = { .kind = FRAME_SUBSCRIBED, .subscribed = { .subscription = x->id, .resumed = known } };
	mock_send(m, &msg, correlation);
	if (retained)
		send_retained(m, x);
}

void mock_unsubscribe(struct mock *m, uint32_t id, uint32_t correlation)
{
	struct mock_subscription *x = find(m, id);
	const struct msg msg = { .kind = FRAME_SUBSCRIBED, .subscribed = { .subscription = id, .ended = true,
			.matched = x ? x->matched : 0, .delivered = x ? x->delivered : 0 } };
	if (!x) {
		mock_error(m, correlation, FRAME_UNSUBSCRIBE, ERR_NOT_FOUND, "UNSUBSCRIBE: there is no such subscription");
		return;
	}
	mock_send(m, &msg, correlation);
	subscription_free(m, x);
}

/* ---- retained values ---- */

static void retained_free(struct mock_retained *r)
{
	free(r->type);
	free(r->key);
	buf_free(&r->head);
	buf_free(&r->payload);
	free(r);
}

static void retain(struct mock *m, const struct msg_publish *p, const struct event_head *head, struct span last)
{
	struct mock_retained **at = &m->retained;
	while (*at && !(span_eq(span_str((*at)->type), head->type) && span_eq(span_str((*at)->key), head->key)))
		at = &(*at)->next;
	struct mock_retained *r = *at;
	if (r) {
		*at = r->next;
		retained_free(r);
	}
	if (last.len == 0)
		return; /* it ends the value */
	while (*at)
		at = &(*at)->next;
	r = calloc(1, sizeof *r);
	ENSURE(r != NULL);
	*r = (struct mock_retained){ .kind = head->payload, .type = mock_text(head->type), .key = mock_text(head->key), .origin = p->origin,
				     .id = { p->id.hi, p->id.lo + p->sizes.count - 1 } };
	buf_append(&r->head, p->head.data, p->head.len);
	buf_append(&r->payload, last.data, last.len);
	*at = r;
}

/* ---- publishing ---- */

void mock_publish(struct mock *m, const struct msg_publish *p, struct span payload)
{
	struct event_head head;
	char text[128];
	struct published_item item = { .number = p->number, .status = PUBLISH_NO_SUBSCRIBER };
	const uint32_t count = p->sizes.count, size = p->sizes.at[count - 1];
	size_t bytes = 0;
	enum err e = event_head_decode(p->head, &head, text);
	ENSURE(e == ERR_OK); /* from our own client */
	for (uint32_t i = 0; i < count; i++)
		bytes += p->sizes.at[i];
	const struct msg_events events = { .id = p->id, .origin = p->origin, .head = p->head, .sizes = p->sizes };
	for (struct mock_subscription *x = m->subscriptions; x; x = x->next) {
		const struct pattern pattern = pattern_parse(span_str(x->pattern));
		if (!pattern_matches(&pattern, head.type) || (x->fingerprint && x->fingerprint != head.fingerprint))
			continue;
		if (p->elsewhere && !x->descendants)
			continue;
		item.receivers++;
		x->matched += count;
		send_events(m, x, &events, span_sub(payload, 0, bytes));
	}
	if (p->retain)
		retain(m, p, &head, span_sub(payload, bytes - size, size));
	if (item.receivers > 0)
		item.status = PUBLISH_ACCEPTED;
	const struct msg msg = { .kind = FRAME_PUBLISHED, .published = { .items = &item, .count = 1 } };
	if (p->confirm)
		mock_send(m, &msg, 0);
}

/* ---- ends ---- */

void mock_events_forget(struct mock *m)
{
	while (m->subscriptions)
		subscription_free(m, m->subscriptions);
}

void mock_events_free(struct mock *m)
{
	mock_events_forget(m);
	while (m->retained) {
		struct mock_retained *r = m->retained;
		m->retained = r->next;
		retained_free(r);
	}
}
