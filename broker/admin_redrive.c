/* broker/admin_redrive.c: the verbs of redrives, and their timer in the turn. In the flow: frame -> ROUTE -> admin -> (propose ->)
 * REPLY; turn -> redrives_run -> log. */
#include "permit.h"

/* Those of queues in the session's vnet, as far as they may be seen. */
static bool is_own(struct conn *c, const struct redrive_info *info)
{
	return info->queue.len > 0 && span_eq(vnet_of(info->queue), span_str(c->session->vnet)) &&
	       permit_sees(c->session, vnet_short(info->queue));
}

static enum err list(struct conn *c, uint32_t correlation)
{
	struct shard *s = c->s;
	struct span specs[REDRIVES_MAX];
	size_t ends[REDRIVES_MAX + 1] = { 0 };
	struct buf bytes = { NULL, 0, 0 };
	uint32_t count = 0;
	for (uint32_t i = 0; i < redrives_count(s->redrives); i++) {
		struct redrive_info info;
		redrives_info(s->redrives, s->tasks, i, &info);
		if (!is_own(c, &info))
			continue;
		info.queue = vnet_short(info.queue);
		redrive_info_encode(&bytes, &info);
		ends[++count] = bytes.len;
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

/* A number of another vnet is one that never was. */
static enum err may(struct conn *c, const struct msg_request *m, struct redrive_info *info, struct vnet_name *room, char text[256])
{
	struct shard *s = c->s;
	struct redrive_info there;
	if (m->verb == VERB_REDRIVE_START) {
		bool allowed = permit(c->session, ACCESS_CONTROL, info->queue, text);
		info->queue = vnet_full(c->session, info->queue, room);
		return allowed ? ERR_OK : ERR_PERMISSION;
	}
	for (uint32_t i = 0; i < redrives_count(s->redrives); i++) {
		redrives_info(s->redrives, s->tasks, i, &there);
		if (there.number == info->number && is_own(c, &there))
			return permit(c->session, ACCESS_CONTROL, vnet_short(there.queue), text) ? ERR_OK : ERR_PERMISSION;
	}
	(void)snprintf(text, 256, "RedriveInfo.number: there is no redrive %llu", (unsigned long long)info->number);
	return ERR_NOT_FOUND;
}

enum err admin_redrive(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	struct shard *s = c->s;
	struct redrive_info info;
	char text[256] = "";
	uint32_t records = 0;
	if (m->verb == VERB_REDRIVE_LIST)
		return list(c, correlation);
	struct vnet_name room;
	enum err e = redrive_info_decode(m->spec, &info, text);
	if (e == ERR_OK)
		e = may(c, m, &info, &room, text);
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
