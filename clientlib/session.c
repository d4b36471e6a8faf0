/* clientlib/session.c: the handshake, the heartbeat, and which conversation a frame belongs to. In the flow:
 * link.in -> SESSION -> producer, results, worker, admin.
 *
 * 1. Until WELCOME nothing but HELLO is sent, and nothing but WELCOME, ERROR and GOODBYE is accepted.
 * 2. After every WELCOME, resumed or not, entries, awaits and whatever has no answer yet are said again: each of these is
 *    idempotent at the broker, and which of them the cut swallowed cannot be known.
 * 3. Bytes from a broker never abort the client: what does not decode costs the connection, and the reason is told. */
#include "client_impl.h"

void session_send(struct hlk *c, const struct msg *msg, uint32_t correlation)
{
	struct buf bytes = { 0 };
	msg_encode(&bytes, msg, correlation, NULL, 0);
	net_queue(c, buf_span(&bytes));
	buf_free(&bytes);
}

void session_say_hello(struct hlk *c)
{
	token_read(c);
	struct msg msg = { .kind = FRAME_HELLO };
	msg.hello.versions[0] = 1;
	msg.hello.version_count = 1;
	memcpy(msg.hello.session, c->session.id, sizeof msg.hello.session);
	msg.hello.client = span_str(c->name);
	msg.hello.token = span_str(c->token);
	msg.hello.vnet = span_str(c->vnet);
	msg.hello.resume = c->session.known;
	msg.hello.identity = span_str(c->identity);
	msg.hello.release = span_str("libhillock " HILLOCK_VERSION);
	msg.hello.force = c->force && !c->session.known; /* once: it does not fight for the place */
	session_send(c, &msg, 0);
}

static void welcome(struct hlk *c, const struct msg_welcome *m)
{
	struct session *s = &c->session;
	s->known = true;
	free(s->node);
	s->node = strndup(m->node.len ? (const char *)m->node.data : "", m->node.len);
	free(s->broker);
	s->broker = strndup(m->broker.len ? (const char *)m->broker.data : "", m->broker.len);
	ENSURE(s->node != NULL && s->broker != NULL);
	s->address = m->address;
	s->store = m->store;
	s->refused_code = s->last_code = 0;
	s->last_text[0] = 0;
	s->heartbeat_ms = m->heartbeat_ms ? m->heartbeat_ms : 10000;
	s->payload_max = m->payload_max ? MIN_OF(m->payload_max, (uint32_t)LIMIT_PAYLOAD_BYTES) : LIMIT_PAYLOAD_BYTES;
	s->frame_payload_max = m->frame_payload_max ? MIN_OF(m->frame_payload_max, (uint32_t)LIMIT_FRAME_PAYLOAD)
						    : LIMIT_FRAME_PAYLOAD;
	s->blob_above = m->blob_above;
	s->blob_chunk = m->blob_chunk;
	s->blob_max = m->blob_max;
	c->producer.window_now = m->window_max ? MIN_OF(m->window_max, c->producer.window) : c->producer.window;
	c->link.state = LINK_READY;
	c->link.attempts = c->link.round = 0;
	bool resumed = m->resumed;
	blob_up(c, resumed);
	producer_up(c);
	worker_up(c, resumed);
	(void)producer_more(c);
	results_up(c);
	subscribe_up(c);
	publish_up(c);
	renew_up(c);
	if (c->state)
		c->state(c, true, resumed ? "resumed" : "new session", c->state_ctx);
}

static bool ends_all_attempts(uint16_t code)
{
	return code == ERR_PERMISSION || code == ERR_VERSION || code == ERR_BLOCKED;
}

static void refused(struct hlk *c, uint32_t correlation, const struct msg_error *m)
{
	struct span text = m->text.len ? m->text : span_str(err_text(m->code));
	if (m->fatal || c->link.state != LINK_READY) {
		if (ends_all_attempts(m->code))
			c->session.refused_code = m->code;
		net_fail(c, m->code ? m->code : HLK_NETWORK, "%s: %.*s", err_name(m->code), (int)MIN_OF(text.len, 300u),
			 (const char *)text.data);
		if (m->retry_after_ms > 0)
			c->link.goodbye_ms = 1 + MIN_OF(m->retry_after_ms, 60000u);
		return;
	}
	int code = m->code ? m->code : HLK_INVALID_INPUT;
	if (correlation == 0 && code == ERR_BLOCKED && m->kind == FRAME_SERVE)
		worker_blocked(c, text);
	if (correlation == 0 || admin_refused(c, correlation, code, text) || producer_refused(c, correlation, code, text) ||
	    report_refused(c, correlation, code) || results_refused(c, correlation, code, text) ||
	    publish_refused(c, correlation, code, text) || subscribe_refused(c, correlation, code, text))
		return;
	(void)(blob_refused(c, correlation, code, text) || directory_refused(c, correlation, code, text) ||
	       binding_refused(c, correlation, code, text) || caller_refused(c, correlation, code, text) ||
	       worker_refused(c, correlation, code, text));
}

static void goodbye(struct hlk *c, const struct msg_goodbye *m)
{
	net_fail(c, m->code ? m->code : HLK_UNAVAILABLE, "the broker said goodbye: %.*s", (int)MIN_OF(m->text.len, 300u),
		 m->text.len ? (const char *)m->text.data : "");
	if (m->code == ERR_DISPLACED)
		c->session.refused_code = m->code;
	c->link.goodbye_ms = 1 + MIN_OF(m->retry_after_ms, 60000u);
}

static void pong(struct hlk *c, uint64_t echo)
{
	const struct msg msg = { .kind = FRAME_PONG, .ping = { .echo = echo } };
	session_send(c, &msg, 0);
}

static void ready_frame(struct hlk *c, const struct frame *frame, const struct msg *m)
{
	switch (m->kind) {
	case FRAME_PING: pong(c, m->ping.echo); return;
	case FRAME_PONG: return;
	case FRAME_CONFIRMS: producer_confirms(c, &m->confirms); return;
	case FRAME_RESULTS: results_frame(c, &m->results, frame->payload); return;
	case FRAME_UPDATES: results_updates(c, &m->updates, frame->payload); return;
	case FRAME_REPORTED: report_reported(c, &m->reported); return;
	case FRAME_SIGNALS: worker_signals(c, &m->signals); return;
	case FRAME_CHANGES: directory_changes(c, &m->changes); return;
	case FRAME_ANSWER: caller_answers(c, &m->answer, frame->payload); return;
	case FRAME_CALL_CANCEL: holder_cancelled(c, &m->call_cancel); return;
	case FRAME_REPLY:
		if (!renew_reply(c, frame->correlation, &m->reply))
			admin_take_reply(c, frame->correlation, &m->reply);
		return;
	case FRAME_HELLO:
	case FRAME_WELCOME:
	case FRAME_ERROR:
	case FRAME_GOODBYE:
	case FRAME_SUBMIT:
	case FRAME_AWAIT:
	case FRAME_FORGET:
	case FRAME_SERVE:
	case FRAME_CREDIT:
	case FRAME_DELIVER:
	case FRAME_REPORT:
	case FRAME_REQUEST:
	case FRAME_SUBSCRIBE:
	case FRAME_UNSUBSCRIBE:
	case FRAME_PUBLISH:
	case FRAME_EVENT_CREDIT:
	case FRAME_WATCH:
	case FRAME_UNWATCH:
	case FRAME_CALL:
	case FRAME_BIND:
	case FRAME_UNBIND:
	case FRAME_BLOB_PUT:
	case FRAME_BLOB_CHUNK:
	case FRAME_BLOB_END:
	case FRAME_BLOB_GET:
	case FRAME_BLOB_MORE: break;
	case FRAME_BLOB_STATE: blob_state(c, &m->blob_state); return;
	case FRAME_BLOB_DATA: blob_data(c, &m->blob_data, frame->payload); return;
	case FRAME_SUBSCRIBED: subscribe_subscribed(c, &m->subscribed); return;
	case FRAME_PUBLISHED: publish_published(c, &m->published); return;
	case FRAME_EVENTS: subscribe_events(c, frame->correlation, &m->events, frame->payload); return;
	case FRAME_INTEREST: publish_interest(c, &m->interest); return;
	case FRAME_INVOKE: return; /* session_frame has taken it */
	case FRAME_BINDING: binding_changed(c, &m->binding); return;
	}
	net_fail(c, HLK_MALFORMED, "the broker sent a %s, which is not its to send", frame_kind_name(frame->kind));
}

/* How long the broker asks those to wait whom it refuses. */
static void note_retry(struct hlk *c, const struct msg *m)
{
	uint32_t ms = m->kind == FRAME_ERROR ? m->error.retry_after_ms
		    : m->kind == FRAME_CONFIRMS ? m->confirms.retry_after_ms
		    : m->kind == FRAME_PUBLISHED ? m->published.retry_after_ms
		    : m->kind == FRAME_REPORTED ? m->reported.retry_after_ms
		    : m->kind == FRAME_REPLY ? m->reply.retry_after_ms : 0;
	if (ms > 0)
		c->retry_after_ms = ms;
}

void session_frame(struct hlk *c, const struct frame *frame)
{
	char text[128];
	bool ready = c->link.state == LINK_READY;
	if (frame->kind == FRAME_DELIVER && ready) {
		worker_deliver(c, frame);
		return;
	}
	if (frame->kind == FRAME_INVOKE && ready) {
		holder_invoke(c, frame);
		return;
	}
	struct msg *m = &c->msg;
	enum err e = msg_decode(frame, m, text);
	if (e == ERR_UNKNOWN_KIND && ready)
		return; /* a newer broker may say more than we asked for */
	if (e == ERR_OK)
		note_retry(c, m);
	if (e != ERR_OK)
		net_fail(c, (int)e, "the broker sent a bad %s: %s", frame_kind_name(frame->kind), text);
	else if (m->kind == FRAME_ERROR)
		refused(c, frame->correlation, &m->error);
	else if (m->kind == FRAME_GOODBYE)
		goodbye(c, &m->goodbye);
	else if (!ready && m->kind == FRAME_WELCOME && m->welcome.version == 1)
		welcome(c, &m->welcome);
	else if (!ready)
		net_fail(c, ERR_NOT_READY, "the broker sent a %s instead of a welcome", frame_kind_name(frame->kind));
	else
		ready_frame(c, frame, m);
}

void session_down(struct hlk *c)
{
	producer_down(c);
	blob_down(c);
	publish_down(c);
	admin_down(c);
	directory_down(c);
	binding_down(c);
	holder_down(c);
	caller_down(c);
	c->worker.serve_correlation = 0;
}

void session_heartbeat(struct hlk *c)
{
	int64_t beat = c->session.heartbeat_ms;
	renew_due(c);
	if (c->now_ms - c->link.last_heard_ms >= 3 * beat) {
		net_fail(c, HLK_NETWORK, "nothing was heard for %lld ms", (long long)(3 * beat));
		return;
	}
	if (c->now_ms - c->link.last_sent_ms < beat || c->link.out.len > c->link.out_sent)
		return;
	const struct msg msg = { .kind = FRAME_PING, .ping = { .echo = (uint64_t)c->now_ms } };
	session_send(c, &msg, 0);
}

int64_t session_next_due(const struct hlk *c)
{
	int64_t beat = c->session.heartbeat_ms;
	int64_t dead = c->link.last_heard_ms + 3 * beat;
	if (c->link.out.len > c->link.out_sent)
		return dead; /* the socket takes nothing: no use in adding a PING */
	int64_t next = MIN_OF(c->link.last_sent_ms + beat, dead);
	return c->renew.due_ms ? MIN_OF(next, c->renew.due_ms) : next;
}
