/* broker/admin_worker.c: what an operator sees of single sessions and does to them: no new work, a request to stop, the end. In the
 * flow: frame -> ROUTE -> REPLY.
 *
 * 1. A session is meant by the name of its client, or by its number in hexadecimal; the answer counts those it was done to.
 * 2. Nobody ends its own session so: the answer would go nowhere. */
#include "admin_block.h"
#include "binding.h"
#include "call.h"
#include "permit.h"

#include "../wire/params.h"

enum { LEASES_SHOWN = 256, ENTRIES_BYTES = 512 << 10 };

/* Of the asking session's own vnet. */
static bool is_meant(const struct conn *c, const struct session *session, struct span name)
{
	if (strcmp(session->vnet, c->session->vnet) != 0)
		return false;
	char number[24];
	(void)snprintf(number, sizeof number, "%llx", (unsigned long long)session->number);
	return span_eq(name, span_str(session->client)) || span_eq(name, span_str(number));
}

/* No new work for it; and it is told so, or that its program is to end. */
static void drain(struct shard *s, struct session *session, enum signal_kind signal)
{
	struct conn *c = session->conn;
	session->draining = true;
	deliver_drain(s, session);
	s->directory->bindings_due = true;
	calls_changed(s);
	if (!c || c->closing)
		return;
	const struct signal_item item = { .signal = (uint8_t)signal };
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

/* ---- one of them, shown ---- */

struct shown {
	struct worker_entry_info entries[LIMIT_SESSION_ENTRIES];
	struct worker_lease_info leases[LEASES_SHOWN];
	uint64_t tasks[LEASES_SHOWN];
	uint32_t queues[LEASES_SHOWN];
	size_t ends[LIMIT_SESSION_ENTRIES + 1];
	struct buf params;
};

static uint32_t fill_leases(struct shard *s, const struct session *session, struct shown *x)
{
	uint32_t count = session->holder ? tasks_holder_list(session->holder, x->tasks, LEASES_SHOWN) : 0;
	for (uint32_t i = 0; i < count; i++) {
		struct task_view v;
		struct queue_info queue;
		bool known = tasks_show(s->tasks, x->tasks[i], &v);
		ENSURE(known);
		tasks_queue_info(s->tasks, v.queue, &queue);
		x->queues[i] = v.queue;
		x->leases[i] = (struct worker_lease_info){ x->tasks[i], v.acquired, vnet_short(queue.name), v.state == TASK_STARTED };
	}
	return count;
}

/* As many as fit. */
static uint32_t fill_entries(const struct session *session, struct shown *x, uint32_t lease_count)
{
	uint32_t count = 0;
	size_t bytes = 0;
	for (const struct dir_entry *e = session->entries; e && bytes < ENTRIES_BYTES; e = e->session_next) {
		const struct dir_line *line = e->line;
		const struct consumer *of = session->consumers;
		while (of && of->entry != line->id)
			of = of->session_next;
		params_print(line->params, &x->params);
		x->ends[count + 1] = x->params.len;
		bytes += line->bytes + (x->params.len - x->ends[count]);
		x->entries[count] = (struct worker_entry_info){
			.entry = { .id = line->id, .service = line->service, .by_queue = line->by_queue, .credit = of ? of->credit : 0,
				   .capacity = line->capacity, .cost = line->cost, .vnets = line->vnets, .hot = line->hot,
				   .vnet_count = line->vnet_count, .hot_count = line->hot_count },
			.calls = e->in_flight };
		for (uint32_t i = 0; i < lease_count; i++)
			x->entries[count].tasks += of && of->queue == x->queues[i];
		count++;
	}
	for (uint32_t i = 0; i < count; i++)
		x->entries[i].entry.params = span_sub(buf_span(&x->params), x->ends[i], x->ends[i + 1] - x->ends[i]);
	return count;
}

static void put_worker(struct shard *s, const struct session *session, struct buf *out)
{
	struct shown *x = zalloc(sizeof *x);
	const struct session_counts *counts = &session->counts;
	uint32_t leases = fill_leases(s, session, x), entries = fill_entries(session, x, leases);
	const struct worker_show show = {
		.name = span_str(session->client), .address = span_str(session->conn ? session->conn->peer : ""),
		.identity = span_str(session->identity), .release = span_str(session->release), .vnet = span_str(session->vnet),
		.session = session->number, .connected_ms = session->connected_wall_ms, .away = session->conn == NULL,
		.draining = session->draining, .blocked = block_fits(session), .entries_total = session->entry_count,
		.leased = session->holder ? tasks_holder_leases(session->holder) : 0, .calls = calls_held(session),
		.calls_made = session->call_count, .delivered_total = counts->delivered, .completed_total = counts->completed,
		.failed_total = counts->failed, .returned_total = counts->returned, .calls_total = counts->calls,
		.entries = x->entries, .entry_count = entries, .leases = x->leases, .lease_count = leases,
	};
	worker_show_encode(out, &show);
	buf_free(&x->params);
	free(x);
}

/* The next one that is meant, from the slot `cursor` on: one fills a REPLY. */
static enum err show(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	struct shard *s = c->s;
	struct buf bytes = { NULL, 0, 0 };
	uint32_t slot = (uint32_t)MIN_OF(m->cursor, (uint64_t)s->slot_count), next;
	while (slot < s->slot_count && (!s->slots[slot] || !is_meant(c, s->slots[slot], m->name)))
		slot++;
	if (slot == s->slot_count) {
		bool first = m->cursor == 0;
		admin_reply(c, correlation, first ? ERR_NOT_FOUND : ERR_OK, first ? "REQUEST.name: no session of this name or number" : "", 0);
		return ERR_OK;
	}
	put_worker(s, s->slots[slot], &bytes);
	for (next = slot + 1; next < s->slot_count && (!s->slots[next] || !is_meant(c, s->slots[next], m->name)); next++)
		;
	const struct span spec = buf_span(&bytes);
	s->msg.kind = FRAME_REPLY;
	s->msg.reply = (struct msg_reply){ .count = 1, .next = next < s->slot_count ? next : 0, .specs = &spec, .spec_count = 1 };
	msg_encode(&c->out, &s->msg, correlation, NULL, 0);
	conn_touch(c);
	buf_free(&bytes);
	return ERR_OK;
}

enum err admin_worker(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	struct shard *s = c->s;
	uint64_t count = 0;
	if (m->name.len == 0) {
		admin_reply(c, correlation, ERR_INVALID_INPUT, "REQUEST.name: empty", 0);
		return ERR_OK;
	}
	if (m->verb == VERB_WORKER_SHOW)
		return show(c, m, correlation);
	for (uint32_t i = 0; i < s->slot_count; i++) {
		struct session *session = s->slots[i];
		if (!session || session == c->session || !is_meant(c, session, m->name))
			continue;
		count++;
		if (m->verb == VERB_WORKER_DRAIN)
			drain(s, session, SIGNAL_DRAIN);
		else if (m->verb == VERB_WORKER_STOP)
			drain(s, session, SIGNAL_STOP);
		else
			kick(s, session, m->text);
	}
	admin_reply(c, correlation, count ? ERR_OK : ERR_NOT_FOUND, count ? "" : "REQUEST.name: no session of this name or number", count);
	return ERR_OK;
}
