/* broker/event_route.c: from a type to its subscriptions, remembered per type; and publishers that hold back what nobody wants.
 *
 * In the flow: publish -> ROUTE -> queues.
 *
 * 1. A route is used only after route_refresh: it names subscriptions of its generation alone.
 * 2. A publisher holds back for at most EVENT_HINT_MS after it asked, and forgets it with its connection. SUBSCRIBED goes out when
 *    each publisher that may hold back has answered the notice, or that time is over: so nothing that is published
 *    after SUBSCRIBED is missed. */
#include "event_route.h"

#include "topics.h"
#include "types.h"

static const struct span system_types = { (const uint8_t *)"hillock.sys.", 12 };

bool event_is_system(struct span type)
{
	return type.len >= system_types.len && memcmp(type.data, system_types.data, system_types.len) == 0;
}

struct span session_events_vnet(const struct session *session, struct span type)
{
	return event_is_system(type) ? span_of(NULL, 0) : span_str(session->vnet);
}

/* ---- routes ---- */

static uint64_t hash_of(const struct events *e, struct span vnet, struct span type)
{
	uint64_t h = e->match.seed;
	const struct span parts[] = { vnet, type };
	for (size_t i = 0; i < COUNT_OF(parts); i++)
		for (size_t k = 0; k < parts[i].len; k++)
			h = (h ^ parts[i].data[k]) * 0x100000001b3u;
	return h ^ h >> 32;
}

static void route_free(struct route *r)
{
	free(r->at);
	free(r);
}

/* Those that nobody holds go; pointers that peers keep are no good any more. */
static void routes_sweep(struct events *e, bool all)
{
	for (uint32_t i = 0; i < EVENT_ROUTE_BUCKETS; i++) {
		struct route **at = &e->routes[i];
		while (*at) {
			struct route *r = *at;
			if (r->refs > 0 && !all) {
				at = &r->next;
				continue;
			}
			*at = r->next;
			e->route_count--;
			route_free(r);
		}
	}
	e->route_epoch++;
}

void routes_free(struct events *e)
{
	routes_sweep(e, true);
}

struct route *route_get(struct events *e, struct span vnet, struct span type)
{
	uint64_t hash = hash_of(e, vnet, type);
	struct route **bucket = &e->routes[hash & (EVENT_ROUTE_BUCKETS - 1)];
	for (struct route *r = *bucket; r; r = r->next)
		if (r->hash == hash && span_eq(span_of(r->text, r->vnet_size), vnet) &&
		    span_eq(span_of(r->text + r->vnet_size, r->type_size), type))
			return r;
	if (e->route_count >= EVENT_ROUTES_MAX)
		routes_sweep(e, false);
	struct route *r = zalloc(sizeof *r + vnet.len + type.len);
	r->hash = hash;
	r->vnet_size = (uint32_t)vnet.len;
	r->type_size = (uint32_t)type.len;
	if (vnet.len > 0)
		memcpy(r->text, vnet.data, vnet.len);
	memcpy(r->text + vnet.len, type.data, type.len);
	r->next = *bucket;
	*bucket = r;
	e->route_count++;
	return r;
}

static bool collect(void *ctx, struct match_item *item)
{
	struct route *r = ctx;
	if (r->count == r->cap) {
		r->cap = r->cap ? r->cap * 2 : 4;
		r->at = realloc(r->at, size_mul(r->cap, sizeof *r->at));
		ENSURE(r->at != NULL);
	}
	r->at[r->count++] = CONTAINER_OF(item, struct subscription, match);
	return true;
}

void route_refresh(struct events *e, struct route *r)
{
	if (e->types_generation != types_generation(e->shard->types)) {
		e->types_generation = types_generation(e->shard->types);
		e->generation++;
	}
	if (r->generation == e->generation)
		return;
	r->count = 0;
	match_each(&e->match, span_of(r->text, r->vnet_size), span_of(r->text + r->vnet_size, r->type_size), collect, r);
	r->generation = e->generation;
}

bool subscription_wants(const struct subscription *x, const struct event_peer *from, bool elsewhere)
{
	return !elsewhere || x->peer != from || x->descendants;
}

bool route_wanted(struct events *e, struct route *r, const struct event_peer *from, bool elsewhere)
{
	route_refresh(e, r);
	for (uint32_t i = 0; i < r->count; i++)
		if (subscription_wants(r->at[i], from, elsewhere))
			return true;
	return false;
}

/* ---- hints ---- */

static void say_interest(struct event_peer *p, struct span type, bool wanted, uint64_t number, uint32_t correlation)
{
	struct conn *c = p->session ? p->session->conn : NULL;
	if (!c || c->closing || c->gone)
		return;
	struct msg *m = &p->shard->events->part;
	m->kind = FRAME_INTEREST;
	m->interest = (struct msg_interest){ .type = type, .wanted = wanted, .ttl_ms = EVENT_HINT_MS, .number = number };
	msg_encode(&c->out, m, correlation, NULL, 0);
	conn_touch(c);
}

static void hint_unlink(struct event_peer *p, struct hint **at)
{
	struct hint *h = *at;
	*at = h->next;
	p->hint_count--;
	p->shard->events->hint_count--;
	free(h);
}

/* Also takes away what has run out. */
static struct hint **hint_find(struct event_peer *p, struct span type)
{
	struct hint **at = &p->hints;
	while (*at) {
		if ((*at)->until_ms <= p->shard->now_ms) {
			hint_unlink(p, at);
			continue;
		}
		if (span_eq(span_of((*at)->type, (*at)->type_size), type))
			return at;
		at = &(*at)->next;
	}
	return NULL;
}

void hint_give(struct event_peer *p, struct span type, uint64_t number, uint32_t correlation)
{
	struct hint **at = hint_find(p, type);
	if (at && (*at)->number != 0)
		return; /* it is being taken back: the answer to that is on its way */
	if (at && correlation == 0 && (*at)->until_ms > p->shard->now_ms + EVENT_HINT_MS / 2)
		return; /* what was said has only not arrived */
	if ((!at && p->hint_count >= EVENT_HINTS_MAX) || p->shard->events->quiet_until_ms > p->shard->now_ms)
		return;
	if (!at) {
		struct hint *h = zalloc(sizeof *h + type.len);
		h->type_size = (uint32_t)type.len;
		memcpy(h->type, type.data, type.len);
		h->next = p->hints;
		p->hints = h;
		p->hint_count++;
		p->shard->events->hint_count++;
		at = &p->hints;
	}
	(*at)->until_ms = p->shard->now_ms + EVENT_HINT_MS;
	say_interest(p, type, false, number, correlation);
}

void hints_drop(struct event_peer *p)
{
	while (p->hints)
		hint_unlink(p, &p->hints);
}

void hints_recall(struct subscription *x)
{
	struct shard *s = x->peer->shard;
	struct events *e = s->events;
	for (uint32_t i = 0; e->hint_count > 0 && i < s->slot_count; i++) {
		struct event_peer *p = s->slots[i] ? s->slots[i]->events : NULL;
		if (!p || !p->hints)
			continue;
		(void)hint_find(p, span_of(NULL, 0)); /* what has run out goes */
		for (struct hint *h = p->hints; h; h = h->next) {
			struct span type = span_of(h->type, h->type_size);
			struct span vnet = session_events_vnet(s->slots[i], type);
			if (!match_item_matches(&e->match, &x->match, vnet, type))
				continue;
			x->answer_notice = e->next_notice;
			if (h->number == 0) {
				h->number = x->answer_notice = ++e->next_notice;
				say_interest(p, type, true, h->number, 0);
			}
		}
	}
}

bool hints_recall_pattern(struct shard *s, struct span pattern)
{
	struct events *e = s->events;
	struct pattern parsed = pattern_parse(pattern);
	bool open = false;
	for (uint32_t i = 0; e->hint_count > 0 && i < s->slot_count; i++) {
		struct event_peer *p = s->slots[i] ? s->slots[i]->events : NULL;
		if (p)
			(void)hint_find(p, span_of(NULL, 0)); /* what has run out goes */
		for (struct hint *h = p ? p->hints : NULL; h; h = h->next) {
			struct span type = span_of(h->type, h->type_size);
			if (!pattern_matches(&parsed, type))
				continue;
			open = true;
			if (h->number == 0) {
				h->number = ++e->next_notice;
				say_interest(p, type, true, h->number, 0);
			}
		}
	}
	if (e->quiet_until_ms <= s->now_ms)
		e->quiet_until_ms = s->now_ms + EVENT_HINT_MS;
	return !open;
}

static bool notice_open(struct shard *s, uint64_t up_to)
{
	for (uint32_t i = 0; i < s->slot_count; i++) {
		const struct event_peer *p = s->slots[i] ? s->slots[i]->events : NULL;
		for (const struct hint *h = p ? p->hints : NULL; h; h = h->next)
			if (h->number != 0 && h->number <= up_to && h->until_ms > s->now_ms)
				return true;
	}
	return false;
}

bool hints_recalled(const struct subscription *x)
{
	struct shard *s = x->peer->shard;
	return s->events->hint_count == 0 || s->now_ms >= x->answer_at_ms || !notice_open(s, x->answer_notice);
}

void event_interest(struct conn *c, const struct msg_interest *m, uint32_t correlation)
{
	struct event_peer *p = event_peer_get(c->s, c->session);
	if (!m->query) {
		struct hint **at = hint_find(p, m->type);
		if (at && (*at)->number == m->number)
			hint_unlink(p, at);
		return;
	}
	struct span vnet = session_events_vnet(c->session, m->type);
	struct route *r = route_get(c->s->events, vnet, m->type);
	uint16_t queue;
	if (topics_feeds(tasks_topics(c->s->tasks), vnet, m->type, &queue, 1) > 0 || route_wanted(c->s->events, r, p, true))
		say_interest(p, m->type, true, 0, correlation);
	else
		hint_give(p, m->type, m->number, correlation);
}
