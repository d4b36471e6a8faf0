/* broker/once.c: tasks that are handed out once: a lease of theirs is durable before the task leaves.
 *
 * In the flow: DELIVER -> lease proposed -> log ... commit -> ONCE -> socket.
 *
 * Leases are proposed and committed in one order, so a ring is enough: what is committed is at its head.
 *
 * 1. A task leaves only when its lease is applied and still held by the session that it was leased to.
 * 2. A task whose session ended before it left was never there: the task machine gives it back. */
#include "permit.h"
#include "shard_impl.h"

struct committed { uint64_t task; uint32_t attempt, entry; struct session_ref session; };

void once_hold(struct shard *s, const struct consumer *x, const struct deliver_item *items, uint32_t count)
{
	while (s->committed_count + count > s->committed_cap) {
		uint32_t cap = s->committed_cap ? s->committed_cap * 2 : 64;
		struct committed *ring = zalloc(size_mul(cap, sizeof *ring));
		for (uint32_t i = 0; i < s->committed_count; i++)
			ring[i] = s->committed[(s->committed_head + i) & (s->committed_cap - 1)];
		free(s->committed);
		s->committed = ring;
		s->committed_cap = cap;
		s->committed_head = 0;
	}
	for (uint32_t i = 0; i < count; i++)
		s->committed[(s->committed_head + s->committed_count++) & (s->committed_cap - 1)] =
			(struct committed){ items[i].task, items[i].attempt, x->entry, x->session->ref };
}

void once_committed(struct shard *s, uint32_t count)
{
	s->committed_ready += count;
	ENSURE(s->committed_ready <= s->committed_count);
}

/* ERR_AGAIN: its payload is being read. */
static enum err leave(struct shard *s, const struct committed *x)
{
	struct session *session = session_get(s, x->session);
	struct conn *c = session ? session->conn : NULL;
	struct task_view view;
	struct log_record record;
	struct submit_record r;
	if (!c || c->closing || !session->holder || !tasks_show(s->tasks, x->task, &view) || view.holder != session->holder)
		return ERR_OK; /* in grace the client will not name it among what it holds: then it is given back */
	enum err e = log_fetch(s->log, view.addr, &record);
	if (e == ERR_AGAIN || e == ERR_RESOURCE_EXHAUSTED)
		return ERR_AGAIN;
	if (e != ERR_OK || submit_record_open(&record, &r) != ERR_OK || view.item >= r.count) {
		shard_note(s, SHARD_ERROR, "deliver", "damaged", "task=%llu: the payload of a leased task cannot be read",
			   (unsigned long long)x->task);
		return ERR_OK;
	}
	if (!tasks_commit_leave(s->tasks, x->task, x->attempt, session->holder))
		return ERR_OK;
	struct queue_info queue;
	tasks_queue_info(s->tasks, view.queue, &queue);
	int64_t lease_ms = MIN_OF(queue.settings.lease_ms, (int64_t)UINT32_MAX);
	const struct deliver_item item = { x->task, x->attempt, r.sizes[view.item] };
	const struct span payload = span_sub(r.payload, submit_record_offset(&r, view.item), item.size);
	uint32_t yields = tasks_yields_next(s->tasks, x->task);
	const struct msg_deliver m = {
		.entry = x->entry, .epoch = s->epoch, .lease_ms = lease_ms > 0 ? (uint32_t)lease_ms : s->config.lease_ms,
		.head = r.head, .queue = vnet_short(queue.name), .once = true,
		.items = &item, .count = 1, .yields = &yields, .yield_count = yields > 0,
	};
	msg_encode_deliver(&c->out, &m, &payload, 1);
	conn_touch(c);
	s->counters.delivered_total++;
	s->counters.deliver_frames_total++;
	return ERR_OK;
}

bool once_run(struct shard *s)
{
	while (s->committed_ready > 0) {
		const struct committed x = s->committed[s->committed_head];
		if (leave(s, &x) != ERR_OK)
			return false; /* the end of the read makes another turn */
		s->committed_head = (s->committed_head + 1) & (s->committed_cap - 1);
		s->committed_count--;
		s->committed_ready--;
	}
	return false;
}
