/* broker/admin_block.c: blocks in the turn. In the flow: frame -> ROUTE -> (propose ->) REPLY; commit -> sessions lose what they served.
 *
 * 1. A blocked client serves nothing: what it had declared is gone with the record, and SERVE is refused. What it holds it may finish,
 *    unless the block is meant to hold at once.
 * 2. It is its work that is refused: it may still submit, publish and call. */
#include "admin_block.h"

#include "call.h"
#include "sysevent.h"

enum { BLOCKS_PER_REPLY = 512 };

/* ---- verbs ---- */

static enum err answer(struct conn *c, uint32_t correlation, enum err code, const char *text)
{
	admin_reply(c, correlation, code, text, 0);
	return ERR_OK;
}

static enum err list(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	const struct blocks *blocks = c->s->blocks;
	struct span specs[BLOCKS_PER_REPLY];
	size_t ends[BLOCKS_PER_REPLY + 1] = { 0 };
	struct buf bytes = { NULL, 0, 0 };
	uint32_t total = blocks_count(blocks), at = (uint32_t)MIN_OF(m->cursor, (uint64_t)total), count = 0;
	for (; at < total && count < BLOCKS_PER_REPLY; at++) {
		struct block_info info;
		blocks_info(blocks, at, &info);
		block_info_encode(&bytes, &info);
		ends[++count] = bytes.len;
	}
	for (uint32_t i = 0; i < count; i++)
		specs[i] = span_sub(buf_span(&bytes), ends[i], ends[i + 1] - ends[i]);
	c->s->msg.kind = FRAME_REPLY;
	c->s->msg.reply = (struct msg_reply){ .count = count, .next = at < total ? at : 0, .specs = specs, .spec_count = count };
	msg_encode(&c->out, &c->s->msg, correlation, NULL, 0);
	conn_touch(c);
	buf_free(&bytes);
	return ERR_OK;
}

/* A session's number stands for what it says it is: sessions come and go, the client stays. */
static struct span pattern_meant(struct shard *s, struct span name)
{
	char *end = NULL, number[20] = "";
	if (name.len == 0 || name.len >= sizeof number)
		return name;
	memcpy(number, name.data, name.len);
	uint64_t session_number = strtoull(number, &end, 16);
	const struct session *session = *end == '\0' ? directory_session(s, session_number) : NULL;
	if (!session)
		return name;
	return span_str(session->identity ? session->identity : session->client);
}

enum err admin_block(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	struct shard *s = c->s;
	struct block_info info = { .now = false };
	char text[256] = "", why[128];
	uint32_t records = 0;
	enum err e = ERR_OK;
	if (m->verb == VERB_WORKER_BLOCKED)
		return list(c, m, correlation);
	if (m->verb == VERB_WORKER_UNBLOCK) {
		e = blocks_propose_remove(s->blocks, s->log, m->name, &records, text);
	} else {
		e = block_info_decode(m->spec, &info, why);
		if (e != ERR_OK)
			return answer(c, correlation, e, why);
		info.pattern = pattern_meant(s, info.pattern);
		e = blocks_propose_add(s->blocks, s->log, &info, s->wall_ms, &records, text);
	}
	if (e != ERR_OK)
		return answer(c, correlation, e, text);
	confirm_push(s, &(struct pending){ .kind = PENDING_ADMIN, .records = records, .conn = c, .correlation = correlation });
	return ERR_OK;
}

/* ---- what it means ---- */

static bool find(const struct session *session, struct block_info *out)
{
	const struct shard *s = session->shard;
	return blocks_find(s->blocks, span_str(session->client), span_str(session->identity), s->wall_ms, out);
}

bool block_fits(const struct session *session)
{
	struct block_info info;
	return find(session, &info);
}

bool block_refuses(struct session *session, char text[128])
{
	struct block_info info;
	if (!find(session, &info))
		return false;
	int shown = (int)MIN_OF(info.reason.len, 80u);
	(void)snprintf(text, 128, "%s%s%.*s", err_text(ERR_BLOCKED), shown ? ": " : "", shown,
		       shown ? (const char *)info.reason.data : "");
	(void)directory_withdraw(session, span_of(NULL, 0), span_of(NULL, 0), "its holder is blocked by the operator");
	return true;
}

uint64_t blocks_due_ms(const struct shard *s)
{
	uint64_t due = blocks_next_ms(s->blocks); /* wall clock */
	if (due == UINT64_MAX || s->stop != STOP_NOT)
		return UINT64_MAX;
	return due <= s->wall_ms ? s->now_ms : s->now_ms + (due - s->wall_ms);
}

void blocks_expire(struct shard *s)
{
	if (blocks_due_ms(s) <= s->now_ms)
		blocks_tick(s->blocks, s->log, s->wall_ms);
}

void block_changed(struct shard *s, const struct block_change *changed)
{
	struct sys_text pattern, reason;
	const struct block_info *i = &changed->info;
	shard_note(s, SHARD_INFO, "session", changed->set ? "blocked" : "unblocked", "pattern=%.*s", (int)i->pattern.len,
		   (const char *)i->pattern.data);
	if (!changed->set) {
		sys_event(s, "worker.unblocked", "\"pattern\":\"%s\",\"ran_out\":%s", sys_quote(&pattern, i->pattern),
			  changed->ran_out ? "true" : "false");
		return;
	}
	sys_event(s, "worker.blocked", "\"pattern\":\"%s\",\"reason\":\"%s\",\"until_ms\":%llu", sys_quote(&pattern, i->pattern),
		  sys_quote(&reason, i->reason), (unsigned long long)i->until_ms);
	s->blocks_changed = true;
}

/* Its leases are taken back with the session. It may come back, and is refused then. */
static void end_session(struct shard *s, struct session *session, const char *text)
{
	struct conn *c = session->conn;
	if (c && !c->closing) {
		confirm_encode(c);
		s->msg.kind = FRAME_GOODBYE;
		s->msg.goodbye = (struct msg_goodbye){ .code = ERR_BLOCKED, .text = span_str(text),
						       .retry_after_ms = s->config.stop_retry_ms };
		msg_encode(&c->out, &s->msg, 0, NULL, 0);
	}
	session_end(s, session);
	if (c)
		conn_close(c);
}

void blocks_enforce(struct shard *s)
{
	struct block_info info;
	char text[128];
	s->blocks_changed = false;
	for (uint32_t i = 0; i < s->slot_count; i++) {
		struct session *session = s->slots[i];
		bool leases = session && session->holder && tasks_holder_leases(session->holder) > 0;
		if (!session || (!session->entries && !leases) || !find(session, &info) || !block_refuses(session, text))
			continue;
		if (info.now)
			end_session(s, session, text);
		else if (session->conn && !session->conn->closing)
			conn_error(session->conn, ERR_BLOCKED, text, FRAME_SERVE, 0, false);
	}
	blocks_enforced(s->blocks);
}
