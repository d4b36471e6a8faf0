/* broker/admin_redrive.c: the verbs of redrives, and their timer in the turn. In the flow: frame -> ROUTE -> admin -> (propose ->)
 * REPLY; turn -> redrives_run -> log. */
#include "shard_impl.h"

static enum err list(struct conn *c, uint32_t correlation)
{
	struct shard *s = c->s;
	struct span specs[REDRIVES_MAX];
	size_t ends[REDRIVES_MAX + 1] = { 0 };
	struct buf bytes = { NULL, 0, 0 };
	uint32_t count = redrives_count(s->redrives);
	for (uint32_t i = 0; i < count; i++) {
		struct redrive_info info;
		redrives_info(s->redrives, s->tasks, i, &info);
		redrive_info_encode(&bytes, &info);
		ends[i + 1] = bytes.len;
	}
	for (uint32_t i = 0; i < count; i++)
		specs[i] = span_sub(buf_span(&bytes), ends[i], ends[i + 1] - ends[i]);
	s->msg.kind = FRAME_REPLY;
	s->msg.reply = (struct msg_reply){ .count = count, .specs = specs, .spec_count = count };
	msg_encode(&c->out, &s->msg, correlation, NULL, 0);
	conn_touch(c);
	buf_free(&bytes);
	return ERR_OK;
}

enum err admin_redrive(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	struct shard *s = c->s;
	struct redrive_info info;
	char text[256] = "";
	uint32_t records = 0;
	if (m->verb == VERB_REDRIVE_LIST)
		return list(c, correlation);
	enum err e = redrive_info_decode(m->spec, &info, text);
	if (e == ERR_OK && m->verb == VERB_REDRIVE_START)
		e = redrives_propose_start(s->redrives, s->tasks, s->log, &info, &records, text);
	else if (e == ERR_OK)
		e = redrives_propose_stop(s->redrives, s->log, info.number, &records, text);
	if (e != ERR_OK)
		admin_reply(c, correlation, e, text, 0);
	else
		confirm_push(s, &(struct pending){ .kind = PENDING_ADMIN, .records = records, .conn = c, .correlation = correlation });
	return ERR_OK;
}

uint64_t redrive_due_ms(const struct shard *s)
{
	return s->stop == STOP_NOT ? redrives_next_ms(s->redrives) : UINT64_MAX;
}

void redrive_run(struct shard *s)
{
	if (redrive_due_ms(s) <= s->now_ms)
		redrives_run(s->redrives, s->tasks, s->log, s->now_ms);
}
