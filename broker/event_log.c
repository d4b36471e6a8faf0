/* broker/event_log.c: events that are kept: records of a publish, and the wait for them.
 *
 * In the flow: PUBLISH -> records -> commit -> the publish is handed out. */
#include "event_log.h"

#include "event_route.h"
#include "topics.h"

void event_feeds_refresh(struct event_peer *p)
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
				  .fingerprint = h->fingerprint, .priority = 4, .header_count = h->header_count,
				  .payload = h->payload };
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

bool event_propose(struct event_peer *peer, const struct msg_publish *m, const struct msg_events *part, struct span payload,
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
						  .count = part->sizes.count, .payload = payload,
						  .blobs = peer->head.payload == PAYLOAD_BLOB };
		bool added = topics_propose_events(s->tasks, s->log, &t, s->wall_ms);
		ENSURE(added);
		p->queues = count;
		p->records++;
	}
	if (m->retain && last) {
		uint32_t size = part->sizes.at[part->sizes.count - 1];
		struct span value = span_sub(payload, payload.len - size, size);
		struct buf frame = retained_frame(peer, m, value);
		bool added = topics_propose_retain(s->tasks, s->log, session_events_vnet(peer->session, peer->head.type), &peer->head,
						   buf_span(&frame), peer->head.payload == PAYLOAD_BLOB ? value : span_of(NULL, 0));
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

enum err event_log_refusal(struct shard *s, const struct event_peer *p, const struct msg_publish *m, struct span payload,
			   const char **text)
{
	size_t need = topics_publish_bytes(MAX_OF(p->task_head.len, m->head.len), m->sizes.count, payload.len);
	uint32_t last = m->sizes.at[m->sizes.count - 1];
	/* The bytes of one string may stand for many in a head that a peer has made; in ours each has its own. */
	if (p->feed_count > 0 && p->task_head.len > LIMIT_HEAD_BYTES) {
		*text = "EventHead: as the head of a task it is too large";
		return ERR_TOO_BIG;
	}
	if ((uint64_t)p->feed_count * m->sizes.count > TOPIC_TASKS_MAX) {
		*text = "more than 1048576 tasks at once in the queues that the events feed: publish fewer in one frame";
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
