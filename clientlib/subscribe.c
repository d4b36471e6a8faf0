/* clientlib/subscribe.c: subscriptions to events. In the flow: hlk_subscribe -> SUBSCRIBE -> broker; EVENTS -> handler.
 *
 * 1. Subscriptions are said again in every connection, with all their credit: what was on its way is lost with the old one.
 * 2. A handler may do anything but close and block, also unsubscribe: a subscription is freed when nobody is inside.
 * 3. Events that this client published are handed over by publish.c; the broker leaves them out. Descendants of a type are known to the
 *    broker alone: subscriptions to them get everything from it. */
#include "client_impl.h"

#include "../wire/pattern.h"

enum { CREDIT_DEFAULT = 4096 };

static const char *text_of(struct span s)
{
	return s.data ? (const char *)s.data : "";
}

static struct subscription *find(const struct hlk *c, uint32_t id)
{
	struct subscription *x = c->events.subscriptions;
	while (x && (x->id != id || x->gone))
		x = x->next;
	return x;
}

/* ---- saying it ---- */

static void say_subscribe(struct hlk *c, struct subscription *x)
{
	static const uint8_t overflows[] = { [HLK_DROP_OLDEST] = OVERFLOW_DROP_OLDEST, [HLK_DROP_NEWEST] = OVERFLOW_DROP_NEWEST,
					     [HLK_BLOCK] = OVERFLOW_BLOCK, [HLK_REJECT] = OVERFLOW_REJECT };
	const struct hlk_subscribe_options *o = &x->options;
	x->correlation = client_correlation(c);
	x->dirty = false;
	x->said = true;
	x->consumed = 0;
	const struct msg msg = { .kind = FRAME_SUBSCRIBE, .subscribe = {
		.subscription = x->id, .credit = x->window, .queue_max = o->queue_max, .queue_bytes = o->queue_bytes,
		.fingerprint = o->fingerprint, .pattern = span_str(x->pattern), .overflow = overflows[o->overflow],
		.descendants = o->descendants, .retained = o->retained } };
	session_send(c, &msg, x->correlation);
}

/* Again in every connection until it is answered: a session that is resumed still has it. */
static void say_unsubscribe(struct hlk *c, struct subscription *x)
{
	const struct msg msg = { .kind = FRAME_UNSUBSCRIBE, .unsubscribe = { x->id } };
	x->correlation = client_correlation(c);
	x->dirty = false;
	session_send(c, &msg, x->correlation);
}

static void send_credit(struct hlk *c)
{
	struct credit_item items[256];
	struct msg msg = { .kind = FRAME_EVENT_CREDIT, .event_credit = { .items = items, .count = 0 } };
	c->events.credit_dirty = false;
	for (struct subscription *x = c->events.subscriptions; x; x = x->next) {
		if (x->gone || x->consumed < MAX_OF(x->window / 2, 1u))
			continue;
		items[msg.event_credit.count++] = (struct credit_item){ x->id, x->consumed };
		x->consumed = 0;
		if (msg.event_credit.count == COUNT_OF(items)) {
			session_send(c, &msg, 0);
			msg.event_credit.count = 0;
		}
	}
	if (msg.event_credit.count > 0)
		session_send(c, &msg, 0);
}

void subscribe_flush(struct hlk *c)
{
	struct events *e = &c->events;
	if (!net_ready(c))
		return;
	if (e->subscribe_dirty) {
		e->subscribe_dirty = false;
		for (struct subscription *x = e->subscriptions; x; x = x->next)
			if (x->dirty)
				(x->gone ? say_unsubscribe : say_subscribe)(c, x);
	}
	if (e->credit_dirty)
		send_credit(c);
}

void subscribe_up(struct hlk *c)
{
	for (struct subscription *x = c->events.subscriptions; x; x = x->next)
		x->dirty = x->gone ? x->ending : x->code == HLK_OK;
	c->events.subscribe_dirty = true;
}

/* ---- what the broker says ---- */

static void free_gone(struct hlk *c)
{
	struct subscription **at = &c->events.subscriptions;
	if (c->events.depth > 0)
		return;
	while (*at) {
		struct subscription *x = *at;
		if (!x->gone || x->ending) {
			at = &x->next;
			continue;
		}
		*at = x->next;
		free(x);
	}
}

static void ended(struct hlk *c, uint32_t id)
{
	for (struct subscription *x = c->events.subscriptions; x; x = x->next)
		if (x->id == id)
			x->ending = false;
	free_gone(c);
}

static void tell_state(struct hlk *c, const struct subscription *x, int code)
{
	const struct hlk_subscription_counts counts = x->counts;
	if (x->options.state && !x->gone)
		x->options.state(c, x->id, code, &counts, x->options.ctx);
}

static void set_counts(struct subscription *x, uint64_t matched, uint64_t delivered, uint64_t dropped)
{
	x->counts.matched = matched;
	x->counts.delivered = delivered;
	x->counts.dropped = dropped;
}

void subscribe_subscribed(struct hlk *c, const struct msg_subscribed *m)
{
	struct subscription *x = find(c, m->subscription);
	if (m->ended)
		ended(c, m->subscription);
	if (!x || m->ended)
		return;
	x->code = m->code;
	x->stands = m->code == ERR_OK;
	set_counts(x, m->matched, m->delivered, m->dropped);
	tell_state(c, x, m->code);
}

bool subscribe_refused(struct hlk *c, uint32_t correlation, int code, struct span text)
{
	struct subscription *x = c->events.subscriptions;
	while (x && (x->correlation != correlation || (x->gone && !x->ending)))
		x = x->next;
	if (!x || correlation == 0)
		return false;
	if (x->gone) { /* in a new session there is none to end */
		ended(c, x->id);
		return true;
	}
	x->code = code;
	x->stands = false;
	(void)error_set(c, code, "subscribe: %.*s", (int)MIN_OF(text.len, 300u), text_of(text));
	tell_state(c, x, code);
	return true;
}

static void give(struct hlk *c, struct subscription *x, struct hlk_event *event)
{
	event->subscription = x->id;
	x->counts.received++;
	x->options.event(c, event, x->options.ctx);
}

static void hand_over(struct hlk *c, struct subscription *x, const struct msg_events *m, struct span payload)
{
	struct event_head head;
	struct hlk_header headers[LIMIT_HEADERS];
	char text[128];
	enum err e = event_head_decode(m->head, &head, text);
	ENSURE(e == ERR_OK); /* msg_decode has verified these bytes */
	for (uint32_t i = 0; i < head.header_count; i++)
		headers[i] = (struct hlk_header){ text_of(head.headers[i].name), text_of(head.headers[i].value) };
	size_t at = 0;
	struct hlk_event event = { .type = text_of(head.type), .key = text_of(head.key), .trace = text_of(head.trace),
				   .correlation = text_of(head.correlation), .fingerprint = head.fingerprint,
				   .id_hi = m->id.hi, .origin = m->origin, .headers = headers, .kind = head.payload,
				   .header_count = head.header_count, .retained = m->retained };
	for (uint32_t i = 0; i < m->sizes.count && !x->gone; i++) {
		event.payload = payload.data + at;
		event.size = m->sizes.at[i];
		event.id_lo = m->id.lo + i;
		at += event.size;
		give(c, x, &event);
	}
}

void subscribe_events(struct hlk *c, uint32_t id, const struct msg_events *from, struct span payload)
{
	struct subscription *x = find(c, id);
	const struct msg_events m = *from; /* handlers may lead to the next message being read */
	if (!x)
		return; /* on its way when we unsubscribed */
	if (m.sizes.count == 0) {
		set_counts(x, m.matched, m.delivered, m.dropped);
		tell_state(c, x, HLK_OK);
		return;
	}
	c->events.depth++;
	hand_over(c, x, &m, payload);
	c->events.depth--;
	if (!x->options.manual_credit) {
		x->consumed += m.sizes.count;
		c->events.credit_dirty = c->events.credit_dirty || x->consumed >= MAX_OF(x->window / 2, 1u);
	}
	free_gone(c);
}

/* ---- our own events ---- */

static bool wants(const struct subscription *x, const struct hlk_event *event)
{
	struct pattern p = pattern_parse(span_str(x->pattern));
	return !x->gone && !x->options.descendants && pattern_matches(&p, span_str(event->type)) &&
	       (x->options.fingerprint == 0 || x->options.fingerprint == event->fingerprint);
}

uint32_t subscribe_local_count(const struct hlk *c, const struct hlk_event *event)
{
	uint32_t count = 0;
	for (const struct subscription *x = c->events.subscriptions; x; x = x->next)
		count += wants(x, event);
	return count;
}

void subscribe_local(struct hlk *c, const struct hlk_event *from)
{
	struct hlk_event event = *from;
	c->events.depth++;
	for (struct subscription *x = c->events.subscriptions; x; x = x->next)
		if (wants(x, &event))
			give(c, x, &event);
	c->events.depth--;
	free_gone(c);
}

/* ---- the calls ---- */

static int options_check(struct hlk *c, const struct hlk_subscribe_options *o)
{
	struct pattern p = pattern_parse(span_str(o->pattern));
	if (!o->event || p.kind == PATTERN_BAD)
		return error_set(c, HLK_INVALID_INPUT, "subscribe: needs a handler, and a type, NAMESPACE.* or * as its pattern");
	if (strlen(o->pattern) > LIMIT_NAME_BYTES)
		return error_set(c, HLK_TOO_BIG, "subscribe: the pattern is over %d bytes", LIMIT_NAME_BYTES);
	if (o->descendants && p.kind != PATTERN_EXACT)
		return error_set(c, HLK_INVALID_INPUT, "subscribe: only a type has descendants");
	if ((unsigned)o->overflow > HLK_REJECT)
		return error_set(c, HLK_INVALID_INPUT, "subscribe: overflow %u is unknown", (unsigned)o->overflow);
	return HLK_OK;
}

int hlk_subscribe(struct hlk *c, const struct hlk_subscribe_options *o, uint32_t *id_out)
{
	struct events *e = &c->events;
	int code = options_check(c, o);
	if (code != HLK_OK)
		return code;
	struct subscription *x = calloc(1, sizeof *x), **at = &e->subscriptions;
	ENSURE(x != NULL);
	x->id = ++e->next_subscription;
	x->options = *o;
	(void)snprintf(x->pattern, sizeof x->pattern, "%s", o->pattern);
	x->options.pattern = x->pattern;
	x->window = o->credit || o->manual_credit ? o->credit : CREDIT_DEFAULT;
	x->dirty = true;
	while (*at)
		at = &(*at)->next;
	*at = x;
	e->subscribe_dirty = true;
	if (id_out)
		*id_out = x->id;
	client_touch(c);
	return HLK_OK;
}

int hlk_subscribe_wait(struct hlk *c, const struct hlk_subscribe_options *options, int timeout_ms, uint32_t *id_out)
{
	uint32_t id;
	int64_t deadline = client_deadline(c, timeout_ms);
	int code = client_may_block(c);
	if (code == HLK_OK)
		code = hlk_subscribe(c, options, &id);
	if (code != HLK_OK)
		return code;
	struct subscription *x = find(c, id);
	while (x && !x->stands && code == HLK_OK) {
		if (c->session.refused_code)
			code = error_set(c, c->session.refused_code, "%s", c->session.last_text);
		else
			code = client_wait(c, deadline);
		x = find(c, id);
		if (code == HLK_OK && x && x->code != HLK_OK)
			code = x->code; /* the text is set */
	}
	if (code != HLK_OK)
		(void)hlk_unsubscribe(c, id);
	if (id_out)
		*id_out = id;
	return code;
}

int hlk_unsubscribe(struct hlk *c, uint32_t subscription)
{
	struct subscription *x = find(c, subscription);
	if (!x)
		return error_set(c, HLK_NOT_FOUND, "subscription: there is no %u", subscription);
	x->gone = true;
	x->ending = x->dirty = x->said && x->code == HLK_OK;
	c->events.subscribe_dirty = c->events.subscribe_dirty || x->ending;
	free_gone(c);
	client_touch(c);
	return HLK_OK;
}

int hlk_subscription_credit(struct hlk *c, uint32_t subscription, uint32_t more)
{
	struct subscription *x = find(c, subscription);
	const struct credit_item item = { subscription, more };
	const struct msg msg = { .kind = FRAME_EVENT_CREDIT, .event_credit = { .items = &item, .count = 1 } };
	if (!x)
		return error_set(c, HLK_NOT_FOUND, "subscription: there is no %u", subscription);
	if (x->dirty)
		x->window += more;
	else if (net_ready(c))
		session_send(c, &msg, 0);
	client_touch(c);
	return HLK_OK;
}

void subscription_window(struct hlk *c, uint32_t subscription, uint32_t window)
{
	struct subscription *x = find(c, subscription);
	if (x)
		x->window = window;
}

int hlk_subscription_counts(const struct hlk *c, uint32_t subscription, struct hlk_subscription_counts *out)
{
	const struct subscription *x = find(c, subscription);
	if (!x)
		return HLK_NOT_FOUND;
	*out = x->counts;
	return HLK_OK;
}

void subscribe_close(struct hlk *c)
{
	struct events *e = &c->events;
	while (e->subscriptions) {
		struct subscription *x = e->subscriptions;
		e->subscriptions = x->next;
		free(x);
	}
}
