/* broker/event.c: subscriptions come and go, publishes are handed out, and what waits is looked at once a turn.
 *
 * In the flow: frame -> ROUTE -> EVENT -> queues -> socket; answers -> PUBLISHED.
 *
 * 1. What one session publishes reaches every subscriber in its order: where one publish waits, those behind it wait, too.
 * 2. A publish is handed to all subscriptions piece by piece, each piece to all of them: a full queue with Block holds the rest
 *    back for everybody, in order.
 * 3. An id is remembered when its event is taken, never when it is refused: a refused one may come again. */
#include "event.h"

#include "topics.h"
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

/* ---- subscriptions ---- */

static struct subscription **find(struct event_peer *p, uint32_t id)
{
	struct subscription **at = &p->subscriptions;
	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static void answer_subscribe(struct subscription *x, bool resumed, bool ended)
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

static void unlink_from(struct subscription **at, struct subscription *x, size_t next_offset)
{
	while (*at && *at != x)
		at = (struct subscription **)(void *)((char *)*at + next_offset);
	if (*at)
		*at = *(struct subscription **)(void *)((char *)x + next_offset);
}

static void subscription_end(struct subscription **at)
{
	struct subscription *x = *at;
	struct events *e = x->peer->shard->events;
	*at = x->next;
	x->peer->subscription_count--;
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
	struct subscription **at = find(p, m->subscription), *x = *at;
	if (x && same_pattern(x, m)) {
		set_bounds(x, m);
		x->correlation = correlation;
		answer_subscribe(x, true, false);
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
	if (m->retained && s->events->batch_bytes > s->config.memory_max / 2) { /* each gets its own copies */
		(void)snprintf(text, 128, "SUBSCRIBE.retained: events that wait for subscribers have half of memory_max");
		return ERR_RESOURCE_EXHAUSTED;
	}
	x = subscription_new(p, m);
	x->correlation = correlation;
	x->answer_at_ms = s->now_ms + EVENT_HINT_MS;
	hints_recall(x);
	if (hints_recalled(x)) {
		answer_subscribe(x, false, false);
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
	struct subscription **at = find(p, subscription);
	if (!*at) {
		conn_error(c, ERR_NOT_FOUND, "UNSUBSCRIBE.subscription: there is none with this number", FRAME_UNSUBSCRIBE,
			   correlation, false);
		return;
	}
	(*at)->correlation = correlation;
	answer_subscribe(*at, false, true);
	subscription_end(at);
}

void event_credit(struct conn *c, const struct msg_credit *m)
{
	struct event_peer *p = event_peer_get(c->s, c->session);
	for (uint32_t i = 0; i < m->count; i++) {
		struct subscription *x = *find(p, m->items[i].entry);
		if (!x)
			continue;
		x->credit += m->items[i].credit;
		subscription_drain(x);
	}
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

/* ---- publishing ---- */

static void answer(struct event_peer *p, struct published_item item, const char *text)
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
		answer(peer, (struct published_item){ .number = p->number, .status = PUBLISH_DUPLICATE }, "");
		return;
	}
	e->stats.nobody += p->receivers == 0;
	if (p->confirm || p->rejected > 0)
		answer(peer, (struct published_item){ .number = p->number, .receivers = p->receivers, .rejected = p->rejected,
						      .status = p->receivers ? PUBLISH_ACCEPTED : PUBLISH_NO_SUBSCRIBER }, "");
}

static bool wants(const struct subscription *x, const struct publish *p)
{
	return (x->fingerprint == 0 || x->fingerprint == p->batch->fingerprint) &&
	       subscription_wants(x, p->from, p->elsewhere);
}

bool publish_fan_out(struct events *e, struct publish *p)
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

static void publish_drop(struct event_peer *peer)
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

/* Hands out what it can, in order. */
static void publishes_run(struct event_peer *peer)
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

/* ---- what the log has to know ---- */

/* The queues that the type feeds, looked up once per head. */
static void feeds_refresh(struct event_peer *p)
{
	struct shard *s = p->shard;
	const struct topics *topics = tasks_topics(s->tasks);
	if (p->feeds_generation == topics_generation(topics))
		return;
	struct topics_stats stats;
	topics_get_stats(topics, &stats);
	p->feeds_generation = topics_generation(topics);
	p->feed_count = 0;
	if (stats.subscriptions == 0)
		return;
	if (!p->feeds)
		p->feeds = zalloc(TOPIC_FEEDS_MAX * sizeof *p->feeds);
	p->feed_count = topics_feeds(topics, session_events_vnet(p->session, p->head.type), p->head.type, p->feeds,
				     TOPIC_FEEDS_MAX);
	const struct event_head *h = &p->head;
	struct task_head head = { .type = h->type, .key = h->key, .trace = h->trace, .correlation = h->correlation,
				  .fingerprint = h->fingerprint, .priority = 4, .header_count = h->header_count };
	memcpy(head.headers, h->headers, sizeof *head.headers * h->header_count);
	p->task_head.len = 0;
	task_head_encode(&p->task_head, &head);
}

/* The feeds that take `count` more: a full queue is left out, and counted like a subscription with Reject. */
static uint32_t feeds_with_room(struct event_peer *p, uint32_t count, uint16_t *queues, uint32_t *rejected)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < p->feed_count; i++) {
		if (tasks_queue_room(p->shard->tasks, p->feeds[i], count))
			queues[kept++] = p->feeds[i];
		else
			*rejected += count;
	}
	return kept;
}

static struct buf retained_frame(const struct event_peer *p, const struct msg_publish *m, struct span last)
{
	struct buf frame = { NULL, 0, 0 };
	uint32_t size = (uint32_t)last.len;
	const struct msg_events events = { .id = { m->id.hi, m->id.lo + m->sizes.count - 1 }, .origin = m->origin, .head = m->head,
					   .retained = true, .sizes = { &size, 1 } };
	(void)p;
	if (last.len > 0) /* an empty one ends the value */
		msg_encode_events(&frame, &events, &last, 1);
	return frame;
}

/* Puts into the log what has to be there before the publish is handed out. False: no room, and nothing was put there. */
static bool publish_propose(struct event_peer *peer, const struct msg_publish *m, const struct msg_events *part, struct span payload,
			    struct publish *p, bool last)
{
	struct shard *s = peer->shard;
	uint16_t queues[TOPIC_FEEDS_MAX];
	if (log_append_room(s->log) < topics_publish_bytes(MAX_OF(peer->task_head.len, m->head.len), part->sizes.count, payload.len))
		return false; /* it fell into stretches, each with a record of its own */
	uint32_t count = feeds_with_room(peer, part->sizes.count, queues, &p->rejected);
	if (count > 0) {
		const struct topics_publish t = { .id = part->id, .queues = queues, .queue_count = count,
						  .head = buf_span(&peer->task_head), .sizes = part->sizes.at,
						  .count = part->sizes.count, .payload = payload };
		bool added = topics_propose_events(s->tasks, s->log, &t, s->wall_ms);
		ENSURE(added);
		p->queues = count;
		p->records++;
	}
	if (m->retain && last) {
		uint32_t size = part->sizes.at[part->sizes.count - 1];
		struct buf frame = retained_frame(peer, m, span_sub(payload, payload.len - size, size));
		bool added = topics_propose_retain(s->tasks, s->log, session_events_vnet(peer->session, peer->head.type), &peer->head,
						   buf_span(&frame));
		ENSURE(added);
		buf_free(&frame);
		p->records++;
	}
	if (p->records == 0)
		return true;
	hold_urgent(s);
	peer->in_log += p->records;
	confirm_push(s, &(struct pending){ .kind = PENDING_PUBLISH, .records = p->records, .conn = peer->session->conn,
					   .peer = peer });
	return true;
}

void event_applied(struct event_peer *peer, const struct applied *applied)
{
	struct publish *p = peer->first;
	(void)applied;
	while (p && p->records == 0)
		p = p->next;
	ENSURE(p && peer->in_log > 0);
	peer->in_log--;
	p->records--;
	peer->shard->events->again = true;
	peer_work(peer);
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
	if ((peer->feed_count > 0 || m->retain) && !publish_propose(peer, m, &events, piece, &p, last)) {
		e->stats.refused += count;
		answer(peer, (struct published_item){ .number = m->number, .code = ERR_RESOURCE_EXHAUSTED,
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

/* What stands against writing it down. ERR_AGAIN: this batch of the log is full. */
static enum err log_refusal(struct shard *s, const struct event_peer *p, const struct msg_publish *m, struct span payload,
			    const char **text)
{
	size_t need = topics_publish_bytes(MAX_OF(p->task_head.len, m->head.len), m->sizes.count, payload.len);
	uint32_t last = m->sizes.at[m->sizes.count - 1];
	/* The bytes of one string may stand for many in a head that a peer has made; in ours each has its own. */
	if (p->feed_count > 0 && p->task_head.len > LIMIT_HEAD_BYTES) {
		*text = "EventHead: as the head of a task it is too large";
		return ERR_TOO_BIG;
	}
	if (log_room(s->log) != LOG_ROOM_OK) {
		*text = "the disk is filling up: only results are taken";
		return ERR_DISK_FULL;
	}
	if (m->retain && last > 0 && !topics_retained_room(tasks_topics(s->tasks), session_events_vnet(p->session, p->head.type),
							   &p->head, last + m->head.len + 1024)) {
		*text = "no room for more retained values";
		return ERR_RESOURCE_EXHAUSTED;
	}
	if (log_append_room(s->log) >= need)
		return ERR_OK;
	if (need <= s->config.batch_bytes / 2 || (need <= s->config.batch_bytes && log_busy(s->log)))
		return ERR_AGAIN;
	*text = "more bytes than one batch of the log takes";
	return ERR_TOO_BIG;
}

/* Every payload is what its type says. */
static enum err type_refusal(struct event_peer *p, const struct msg_publish *m, struct span payload, const char **text)
{
	const struct types *types = p->shard->types;
	size_t at = 0;
	if (!types_find(types, p->head.type))
		return ERR_OK;
	for (uint32_t i = 0; i < m->sizes.count; i++) {
		enum err e = types_check(types, p->head.type, p->head.fingerprint, span_sub(payload, at, m->sizes.at[i]),
					 p->shard->events->type_text);
		if (e != ERR_OK) {
			*text = p->shard->events->type_text;
			return e;
		}
		at += m->sizes.at[i];
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
	feeds_refresh(p);
	if (code == ERR_OK)
		code = type_refusal(p, m, payload, &why);
	if (code == ERR_OK && (m->retain || p->feed_count > 0)) {
		code = log_refusal(s, p, m, payload, &why);
		if (code == ERR_AGAIN)
			return ERR_AGAIN;
	}
	if (code != ERR_OK) {
		e->stats.refused += m->sizes.count;
		answer(p, (struct published_item){ .number = m->number, .code = (uint16_t)code, .status = PUBLISH_REFUSED }, why);
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

/* ---- once a turn ---- */

static void answers_flush(struct event_peer *p)
{
	struct session *session = p->session;
	struct conn *c = session ? session->conn : NULL;
	uint32_t count = (uint32_t)(p->answers.len / sizeof(struct published_item));
	const struct published_item *items = (const struct published_item *)(const void *)p->answers.data;
	struct msg *m = &p->shard->events->part;
	for (uint32_t done = 0; c && !c->closing && !c->gone && done < count;) {
		uint32_t part = MIN_OF(count - done, (uint32_t)LIMIT_FRAME_ITEMS);
		m->kind = FRAME_PUBLISHED;
		m->published = (struct msg_published){ items + done, part, span_str(p->answer_text) };
		msg_encode(&c->out, m, 0, NULL, 0);
		conn_touch(c);
		done += part;
	}
	p->answers.len = 0;
	p->answer_text[0] = '\0';
}

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
		answers_flush(p);
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
		answer_subscribe(x, false, false);
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
