/* broker/admin_purge.c: purges, piece by piece: one record of each a turn, the answer behind the last. In the flow: frame -> ROUTE ->
 * admin; turn -> purge_run -> log ... -> applied -> the next piece -> REPLY.
 *
 * 1. A purge has one record under way at most. It holds on to its connection until it is over, also where that is gone.
 * 2. At most PURGES_MAX are under way; the next is refused. */
#include "shard_impl.h"

enum { PURGES_MAX = 64 };

struct purging {
	struct purging *next;
	struct conn *conn;
	uint32_t correlation;
	bool proposed;
	struct purge_work work;
	uint64_t affected;
};

enum err admin_purge(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	struct shard *s = c->s;
	struct purge_work work;
	char text[256] = "";
	enum err e = tasks_purge_begin(s->tasks, m->name, m->verb == VERB_DLQ_PURGE, &work, text);
	if (e == ERR_OK && s->purge_count >= PURGES_MAX) {
		e = ERR_RESOURCE_EXHAUSTED;
		(void)snprintf(text, sizeof text, "%d purges are under way already", (int)PURGES_MAX);
	}
	if (e != ERR_OK) {
		admin_reply(c, correlation, e, text, 0);
		return ERR_OK;
	}
	struct purging *x = zalloc(sizeof *x), **at = &s->purges;
	*x = (struct purging){ .conn = c, .correlation = correlation, .work = work };
	while (*at)
		at = &(*at)->next;
	*at = x;
	s->purge_count++;
	c->refs++;
	return ERR_OK;
}

void purge_applied(struct purging *x, const struct applied *applied)
{
	x->affected += applied->affected;
	x->proposed = false;
}

static void finish(struct shard *s, struct purging **at)
{
	struct purging *x = *at;
	*at = x->next;
	s->purge_count--;
	admin_reply(x->conn, x->correlation, ERR_OK, "", x->affected);
	conn_unref(x->conn);
	free(x);
}

bool purge_run(struct shard *s)
{
	bool more = false;
	for (struct purging **at = &s->purges, *x; (x = *at) != NULL && s->stop == STOP_NOT;) {
		char text[256];
		uint32_t records = 0;
		if (!x->proposed && x->work.over) {
			finish(s, at);
			continue;
		}
		at = &x->next;
		if (x->proposed)
			continue;
		if (tasks_propose_purge(s->tasks, s->log, &x->work, &records, text) != ERR_OK)
			break; /* no room in this batch: a later turn has it */
		more = more || records == 0;
		if (records == 0)
			continue;
		x->proposed = true;
		confirm_push(s, &(struct pending){ .kind = PENDING_PURGE, .records = records, .conn = x->conn, .purging = x });
	}
	return more;
}

void purges_free(struct shard *s)
{
	while (s->purges) {
		struct purging *next = s->purges->next;
		free(s->purges);
		s->purges = next;
	}
}
