/* broker/admin_worker.c: what an operator does to single sessions: no new work, or the end. In the flow: frame -> ROUTE -> REPLY.
 *
 * 1. A session is meant by the name of its client, or by its number in hexadecimal; the answer counts those it was done to.
 * 2. Nobody ends its own session so: the answer would go nowhere. */
#include "binding.h"
#include "call.h"

static bool is_meant(const struct session *session, struct span name)
{
	char number[24];
	(void)snprintf(number, sizeof number, "%llx", (unsigned long long)session->number);
	return span_eq(name, span_str(session->client)) || span_eq(name, span_str(number));
}

static void drain(struct shard *s, struct session *session)
{
	struct conn *c = session->conn;
	session->draining = true;
	deliver_drain(s, session);
	s->directory->bindings_due = true;
	calls_changed(s);
	if (!c || c->closing)
		return;
	const struct signal_item item = { .signal = SIGNAL_DRAIN };
	buf_append(&c->signals, &item, sizeof item);
	conn_touch(c);
}

static void kick(struct shard *s, struct session *session, struct span reason)
{
	struct conn *c = session->conn;
	shard_note(s, SHARD_INFO, "session", "kicked", "client=%s why=%.*s", session->client, (int)MIN_OF(reason.len, 200u),
		   reason.len ? (const char *)reason.data : "");
	if (!c || c->closing) {
		session_end(s, session);
		return;
	}
	confirm_encode(c);
	session_end(s, session);
	s->msg.kind = FRAME_GOODBYE;
	s->msg.goodbye = (struct msg_goodbye){ .code = ERR_CANCELLED, .text = reason, .retry_after_ms = s->config.stop_retry_ms };
	msg_encode(&c->out, &s->msg, 0, NULL, 0);
	conn_close(c);
}

enum err admin_worker(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	struct shard *s = c->s;
	uint64_t count = 0;
	if (m->name.len == 0) {
		admin_reply(c, correlation, ERR_INVALID_INPUT, "REQUEST.name: empty", 0);
		return ERR_OK;
	}
	for (uint32_t i = 0; i < s->slot_count; i++) {
		struct session *session = s->slots[i];
		if (!session || session == c->session || !is_meant(session, m->name))
			continue;
		count++;
		if (m->verb == VERB_WORKER_DRAIN)
			drain(s, session);
		else
			kick(s, session, m->text);
	}
	admin_reply(c, correlation, count ? ERR_OK : ERR_NOT_FOUND, count ? "" : "REQUEST.name: no session of this name or number", count);
	return ERR_OK;
}
