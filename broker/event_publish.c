/* broker/event_publish.c: PUBLISH: is it taken, who gets it, and what waits for room.
 *
 * In the flow: PUBLISH -> seen before? -> the log, where it is to be kept -> each subscription -> PUBLISHED.
 *
 * 1. What one session publishes reaches every subscriber in its order: where one publish waits, those behind it wait, too.
 * 2. A publish is handed to all subscriptions piece by piece, each piece to all of them: a full queue with Block holds the rest
 *    back for everybody, in order.
 * 3. An id is remembered when its event is taken, never when it is refused: a refused one may come again. */
#include "permit.h"
#include "event_publish.h"

#include "blob_index.h"

#include "event_log.h"
#include "event_queue.h"
#include "event_route.h"
#include "types.h"

static void publish_answer(struct event_peer *p, struct published_item item, const char *text)
{
	struct session *session = p->session;
	if (!session || !session->conn)
		return;
	if (text[0] != '\0' && p->answer_text[0] == '\0')
		(void)snprintf(p->answer_text, sizeof p->answer_text, "%s", text);
	buf_append(&p->answers, &item, sizeof item);
	peer_work(p);
}

static void answer_done(struct event_peer *peer, const struct publish *p)
{
	struct events *e = peer->shard->events;
	if (p->again) {
		publish_answer(peer, (struct published_item){ .number = p->number, .status = PUBLISH_DUPLICATE }, "");
		return;
	}
	e->stats.nobody += p->receivers == 0;
	if (p->confirm || p->rejected > 0)
		publish_answer(peer, (struct published_item){ .number = p->number, .receivers = p->receivers, .rejected = p->rejected,
						      .status = p->receivers ? PUBLISH_ACCEPTED : PUBLISH_NO_SUBSCRIBER }, "");
}

static bool wants(const struct subscription *x, const struct publish *p)
{
	return (x->fingerprint == 0 || x->fingerprint == p->batch->fingerprint) &&
	       subscription_wants(x, p->from, p->elsewhere);
}

static bool publish_fan_out(struct events *e, struct publish *p)
{
	struct route *r = p->route;
	route_refresh(e, r);
	p->receivers = MAX_OF(p->receivers, p->queues);
	while (p->batch && p->done < p->batch->count) {
		uint32_t count = p->batch->count - p->done;
		for (uint32_t i = 0; i < r->count; i++)
			if (r->at[i]->overflow == OVERFLOW_BLOCK && wants(r->at[i], p))
				count = MIN_OF(count, subscription_room(r->at[i], p->batch));
		if (count == 0)
			return false;
		p->receivers = p->queues;
		for (uint32_t i = 0; i < r->count; i++) {
			if (!wants(r->at[i], p))
				continue;
			p->receivers++;
			p->rejected += subscription_push(r->at[i], p->batch, p->done, count);
		}
		p->done += count;
	}
	return true;
}

/* It waits behind the others of its session. Takes the reference to the batch. */
static void publish_wait(struct event_peer *peer, const struct publish *from)
{
	struct publish *p = zalloc(sizeof *p);
	*p = *from;
	p->next = NULL;
	p->route->refs++;
	*peer->last = p;
	peer->last = &p->next;
	peer->waiting++;
	peer->waiting_bytes += p->batch ? p->batch->frame.len : 0;
	peer_work(peer);
}

void publish_drop(struct event_peer *peer)
{
	struct publish *p = peer->first;
	peer->first = p->next;
	if (!p->next)
		peer->last = &peer->first;
	peer->waiting--;
	peer->waiting_bytes -= p->batch ? p->batch->frame.len : 0;
	p->route->refs--;
	if (p->batch)
		batch_unref(p->batch);
	free(p);
}

void publishes_run(struct event_peer *peer)
{
	struct events *e = peer->shard->events;
	while (peer->first && peer->first->records == 0 && publish_fan_out(e, peer->first)) {
		answer_done(peer, peer->first);
		publish_drop(peer);
	}
}

static const struct event_head *head_of(struct event_peer *p, struct span bytes)
{
	struct events *e = p->shard->events;
	if (p->head_bytes.len == 0 || !span_eq(buf_span(&p->head_bytes), bytes)) {
		char text[128];
		p->head_bytes.len = 0;
		buf_append(&p->head_bytes, bytes.data, bytes.len);
		enum err code = event_head_decode(buf_span(&p->head_bytes), &p->head, text);
		ENSURE(code == ERR_OK); /* msg_decode has verified these bytes */
		p->route = NULL;
		p->feeds_generation = 0;
	}
	if (!p->route || p->route_epoch != e->route_epoch) {
		p->route = route_get(e, session_events_vnet(p->session, p->head.type), p->head.type);
		p->route_epoch = e->route_epoch;
	}
	return &p->head;
}

static enum err refusal(struct shard *s, const struct event_peer *p, const struct event_head *head, const char **text)
{
	static const char system[] = "hillock.";
	if (s->stop != STOP_NOT) {
		*text = "the broker is stopping";
		return ERR_UNAVAILABLE;
	}
	if (head->type.len >= sizeof system - 1 && memcmp(head->type.data, system, sizeof system - 1) == 0) {
		*text = "EventHead.type: names that begin with hillock. are the broker's own";
		return ERR_PERMISSION;
	}
	if (!permit(p->session, ACCESS_PUBLISH, head->type, s->events->why)) {
		*text = s->events->why;
		return ERR_PERMISSION;
	}
	if (p->waiting >= EVENT_WAITING_MAX || p->waiting_bytes > EVENT_WAITING_BYTES_MAX) {
		*text = "too much that this session has published waits for a slow subscriber";
		return ERR_RESOURCE_EXHAUSTED;
	}
	if (s->events->batch_bytes > s->config.memory_max / 2) {
		*text = "events that wait for subscribers have half of memory_max";
		return ERR_RESOURCE_EXHAUSTED;
	}
	return ERR_OK;
}

/* A stretch of events that have not been here. */
static void publish_stretch(struct event_peer *peer, const struct msg_publish *m, struct span payload, uint32_t first,
			    uint32_t count, bool last)
{
	struct events *e = peer->shard->events;
	struct publish p = { .route = peer->route, .from = peer, .number = m->number, .confirm = m->confirm && last,
			     .elsewhere = m->elsewhere };
	bool wanted = route_wanted(e, p.route, peer, m->elsewhere);
	size_t from = 0, bytes = 0;
	for (uint32_t i = 0; i < first + count; i++)
		*(i < first ? &from : &bytes) += m->sizes.at[i];
	const struct span piece = span_sub(payload, from, bytes);
	const struct msg_events events = { .id = { m->id.hi, m->id.lo + first }, .origin = m->origin, .head = m->head,
					   .sizes = { m->sizes.at + first, count } };
	if ((peer->feed_count > 0 || m->retain) && !event_propose(peer, m, &events, piece, &p, last)) {
		e->stats.refused += count;
		publish_answer(peer, (struct published_item){ .number = m->number, .code = ERR_RESOURCE_EXHAUSTED,
						      .status = PUBLISH_REFUSED }, "no room in this batch of the log");
		return;
	}
	seen_add(e->seen, m->id.hi ^ peer->id_salt, m->id.lo + first, count);
	e->stats.published += count;
	if (wanted || m->retain) /* who subscribes before the value is kept must not miss it */
		p.batch = batch_new(e, &events, &peer->head, &piece, 1);
	else if (m->interest && peer->feed_count == 0 && !peer->first && !route_wanted(e, p.route, peer, true))
		hint_give(peer, peer->head.type, m->number, 0);
	if (peer->first || p.records > 0 || !publish_fan_out(e, &p)) {
		e->stats.blocked += !peer->first && p.records == 0;
		publish_wait(peer, &p);
		return;
	}
	answer_done(peer, &p);
	if (p.batch)
		batch_unref(p.batch);
}

/* All of it has been here. What it repeats may still wait for its record or for room: then its answer waits behind that, too, for it
 * promises as much. */
static void publish_again(struct event_peer *peer, const struct msg_publish *m)
{
	const struct publish p = { .route = peer->route, .from = peer, .number = m->number, .again = true };
	if (peer->first)
		publish_wait(peer, &p);
	else
		answer_done(peer, &p);
}

/* Every payload is what its type says. */
static enum err type_refusal(struct event_peer *p, const struct msg_publish *m, struct span payload, const char **text)
{
	const struct types *types = p->shard->types;
	size_t at = 0;
	if (!types_find(types, p->head.type))
		return ERR_OK;
	for (uint32_t i = 0; i < m->sizes.count; i++) {
		enum err e = types_check(types, p->head.type, p->head.fingerprint, p->head.payload,
					 span_sub(payload, at, m->sizes.at[i]), p->shard->events->type_text);
		if (e != ERR_OK) {
			*text = p->shard->events->type_text;
			return e;
		}
		at += m->sizes.at[i];
	}
	return ERR_OK;
}

/* What is kept holds its blob, so that has to be there; what is not kept counts as a word about it. */
static enum err blob_refusal(struct event_peer *p, const struct msg_publish *m, struct span payload, const char **text)
{
	struct shard *s = p->shard;
	struct blobs *blobs = tasks_blobs(s->tasks);
	struct span vnet = session_events_vnet(p->session, p->head.type);
	bool kept = m->retain || p->feed_count > 0;
	size_t at = 0;
	for (uint32_t i = 0; i < m->sizes.count; at += m->sizes.at[i++]) {
		struct span one = span_sub(payload, at, m->sizes.at[i]);
		struct blob *b;
		blobs_touch(blobs, vnet, one, s->wall_ms);
		enum err e = kept ? blobs_named(blobs, vnet, one, &b, s->events->type_text) : ERR_OK;
		*text = s->events->type_text;
		if (e != ERR_OK)
			return e;
	}
	return ERR_OK;
}

enum err event_publish(struct conn *c, const struct msg_publish *m, struct span payload)
{
	struct shard *s = c->s;
	struct events *e = s->events;
	struct event_peer *p = event_peer_get(s, c->session);
	const char *why = "";
	enum err code = refusal(s, p, head_of(p, m->head), &why);
	event_feeds_refresh(p);
	if (code == ERR_OK)
		code = type_refusal(p, m, payload, &why);
	if (code == ERR_OK && p->head.payload == PAYLOAD_BLOB)
		code = blob_refusal(p, m, payload, &why);
	if (code == ERR_OK && (m->retain || p->feed_count > 0)) {
		code = event_log_refusal(s, p, m, payload, &why);
		if (code == ERR_AGAIN)
			return ERR_AGAIN;
	}
	if (code != ERR_OK) {
		e->stats.refused += m->sizes.count;
		publish_answer(p, (struct published_item){ .number = m->number, .code = (uint16_t)code, .status = PUBLISH_REFUSED }, why);
		return ERR_OK;
	}
	uint32_t fresh_first = 0, fresh_count = 0, done = 0;
	while (done < m->sizes.count) {
		bool seen;
		uint32_t count = seen_look(e->seen, m->id.hi ^ p->id_salt, m->id.lo + done, m->sizes.count - done, &seen);
		if (seen) {
			e->stats.duplicates += count;
		} else {
			if (fresh_count > 0)
				publish_stretch(p, m, payload, fresh_first, fresh_count, false);
			fresh_first = done;
			fresh_count = count;
		}
		done += count;
	}
	if (fresh_count > 0)
		publish_stretch(p, m, payload, fresh_first, fresh_count, true);
	else if (m->confirm)
		publish_again(p, m);
	return ERR_OK;
}

void publish_answers_flush(struct event_peer *p)
{
	struct session *session = p->session;
	struct conn *c = session ? session->conn : NULL;
	uint32_t count = (uint32_t)(p->answers.len / sizeof(struct published_item));
	const struct published_item *items = (const struct published_item *)(const void *)p->answers.data;
	struct msg *m = &p->shard->events->part;
	for (uint32_t done = 0; c && !c->closing && !c->gone && done < count;) {
		uint32_t part = MIN_OF(count - done, (uint32_t)LIMIT_FRAME_ITEMS);
		m->kind = FRAME_PUBLISHED;
		m->published = (struct msg_published){ items + done, part, span_str(p->answer_text), 0 };
		for (uint32_t i = done; i < done + part; i++)
			m->published.retry_after_ms = MAX_OF(m->published.retry_after_ms, err_retry_after_ms(items[i].code));
		msg_encode(&c->out, m, 0, NULL, 0);
		conn_touch(c);
		done += part;
	}
	p->answers.len = 0;
	p->answer_text[0] = '\0';
}
