/* broker/confirm.c: who waits for which record, and the answers: CONFIRMS, REPORTED, REPLY, SIGNALS.
 *
 * In the flow: commit -> apply -> CONFIRM -> socket.
 *
 * 1. Pending proposals are a queue in the order of their records. The log applies in that order, so the front is always the
 *    one that the record belongs to; records that nobody waits for (APPLIED_INTERNAL) take nothing from it.
 * 2. Answers of one turn and connection travel together: they are collected as plain items and become a frame at the flush.
 * 3. Nothing that promises durability is collected before its record was applied. */
#include "event.h"
#include "sysevent.h"
#include "tasks_record.h"

enum { ANSWER_ITEMS_MAX = 4096 };

void confirm_push(struct shard *s, const struct pending *p)
{
	if (s->pending_count == s->pending_cap) {
		uint32_t cap = s->pending_cap ? s->pending_cap * 2 : 256;
		struct pending *ring = zalloc(size_mul(cap, sizeof *ring));
		for (uint32_t i = 0; i < s->pending_count; i++)
			ring[i] = s->pending[(s->pending_head + i) & (s->pending_cap - 1)];
		free(s->pending);
		s->pending = ring;
		s->pending_cap = cap;
		s->pending_head = 0;
	}
	ENSURE(p->records > 0 && (p->conn != NULL || p->kind == PENDING_NOBODY));
	if (p->conn)
		p->conn->refs++;
	s->pending[(s->pending_head + s->pending_count++) & (s->pending_cap - 1)] = *p;
}

static void pending_wipe(struct pending *p)
{
	if (p->spec.cap > 0)
		explicit_bzero(p->spec.data, p->spec.len);
	buf_free(&p->spec);
}

void confirms_free(struct shard *s)
{
	for (uint32_t i = 0; i < s->pending_count; i++)
		pending_wipe(&s->pending[(s->pending_head + i) & (s->pending_cap - 1)]);
	free(s->pending);
}

static void reply_spec(const struct pending *p)
{
	struct conn *c = p->conn;
	struct span spec = buf_span(&p->spec);
	if (c->gone || c->closing)
		return;
	c->s->msg.kind = FRAME_REPLY;
	c->s->msg.reply = (struct msg_reply){ .count = p->affected, .specs = &spec, .spec_count = 1 };
	msg_encode(&c->out, &c->s->msg, p->correlation, NULL, 0);
	conn_touch(c);
}

/* ---- collecting ---- */

static void encode_confirms(struct conn *c, const char *text)
{
	struct msg_confirms m = {
		.producer = c->confirm_producer,
		.runs = (const struct confirm_run *)(const void *)c->confirms.data,
		.run_count = (uint32_t)(c->confirms.len / sizeof(struct confirm_run)),
		.text = span_str(text),
	};
	if (m.run_count == 0)
		return;
	for (uint32_t i = 0; c->confirms_refused && i < m.run_count; i++)
		m.retry_after_ms = MAX_OF(m.retry_after_ms, err_retry_after_ms(m.runs[i].code));
	c->confirms_refused = false;
	msg_encode_confirms(&c->out, &m);
	c->confirms.len = 0;
}

/* Neighbours with the same answer are one run. */
static bool merge_run(struct conn *c, const struct confirm_run *run)
{
	if (c->confirms.len == 0)
		return false;
	struct confirm_run *last = (struct confirm_run *)(void *)(c->confirms.data + c->confirms.len) - 1;
	bool same = last->code == run->code && last->level == run->level && last->duplicate == run->duplicate &&
		    last->first_seq + last->count == run->first_seq;
	bool numbered = run->code == ERR_OK && run->first_task != 0;
	if (!same || (numbered && last->first_task + last->count != run->first_task) ||
	    (!numbered && last->first_task != run->first_task))
		return false;
	last->count += run->count;
	return true;
}

void confirm_runs(struct conn *c, uint64_t producer, const struct confirm_run *runs, uint32_t count, const char *text)
{
	if (c->gone || c->closing || count == 0)
		return;
	if (c->confirms.len > 0 && (c->confirm_producer != producer || text[0] != '\0' ||
				    c->confirms.len >= ANSWER_ITEMS_MAX * sizeof *runs))
		encode_confirms(c, "");
	c->confirm_producer = producer;
	for (uint32_t i = 0; i < count; i++) {
		c->confirms_refused = c->confirms_refused || runs[i].code != ERR_OK;
		if (!merge_run(c, &runs[i]))
			buf_append(&c->confirms, &runs[i], sizeof runs[i]);
	}
	if (text[0] != '\0')
		encode_confirms(c, text);
	conn_touch(c);
}

static void encode_reported(struct conn *c)
{
	struct msg_reported m = {
		.items = (const struct reported_item *)(const void *)c->reported.data,
		.count = (uint32_t)(c->reported.len / sizeof(struct reported_item)),
	};
	if (m.count == 0)
		return;
	for (uint32_t i = 0; i < m.count; i++)
		m.retry_after_ms = MAX_OF(m.retry_after_ms, err_retry_after_ms(m.items[i].code));
	msg_encode_reported(&c->out, &m);
	c->reported.len = 0;
}

static void count_reported(struct session *session, const struct reported_item *items, uint32_t count)
{
	for (uint32_t i = 0; session && i < count; i++) {
		if (items[i].code != ERR_OK)
			continue;
		session->counts.completed += items[i].verb == REPORT_COMPLETE;
		session->counts.failed += items[i].verb == REPORT_FAIL;
		session->counts.returned += items[i].verb == REPORT_RELEASE || items[i].verb == REPORT_REJECT ||
					    items[i].verb == REPORT_CANCELLED;
	}
}

void confirm_reported(struct conn *c, const struct reported_item *items, uint32_t count)
{
	count_reported(c->session, items, count);
	if (c->gone || c->closing)
		return;
	for (uint32_t done = 0; done < count;) {
		uint32_t part = MIN_OF(count - done, (uint32_t)ANSWER_ITEMS_MAX);
		if (c->reported.len / sizeof *items + part > LIMIT_FRAME_ITEMS)
			encode_reported(c);
		buf_append(&c->reported, items + done, part * sizeof *items);
		done += part;
	}
	conn_touch(c);
}

static void encode_signals(struct conn *c)
{
	uint32_t count = (uint32_t)(c->signals.len / sizeof(struct signal_item));
	const struct signal_item *items = (const struct signal_item *)(const void *)c->signals.data;
	for (uint32_t done = 0; done < count;) {
		uint32_t part = MIN_OF(count - done, (uint32_t)ANSWER_ITEMS_MAX);
		c->s->msg.kind = FRAME_SIGNALS;
		c->s->msg.signals = (struct msg_signals){ .items = items + done, .count = part };
		msg_encode(&c->out, &c->s->msg, 0, NULL, 0);
		done += part;
	}
	c->signals.len = 0;
}

/* Signals go in front of the other answers: they must not wait behind what they are about. */
void confirm_encode(struct conn *c)
{
	if (c->signals.len > 0)
		encode_signals(c);
	encode_reported(c);
	encode_confirms(c, "");
}

/* ---- what was applied ---- */

static void submit_applied(struct shard *s, struct pending *p, const struct applied *applied)
{
	for (uint32_t i = 0; i < applied->run_count; i++) {
		const struct confirm_run *run = &applied->runs[i];
		bool ok = run->code == ERR_OK;
		struct session *session = ok && p->want_updates ? session_get(s, p->session) : NULL;
		if (ok && p->want_result)
			(void)results_watch(s, run->first_task, run->count, p->session);
		if (session)
			(void)streams_open(s, run->first_task, run->count, session, 0);
		if (!ok)
			s->counters.submits_refused_total += run->count;
		if (p->confirm == CONFIRM_DURABLE || !ok)
			confirm_runs(p->conn, p->producer, run, 1, "");
	}
	if (p->confirm == CONFIRM_DURABLE)
		hold_confirmed(s);
}

static void tell_queue(struct shard *s, const struct log_record *record, const struct applied *applied)
{
	static const char *const names[] = { [QUEUE_OP_CREATE] = "queue.created", [QUEUE_OP_SET] = "queue.changed",
					     [QUEUE_OP_PAUSE] = "queue.paused", [QUEUE_OP_RESUME] = "queue.resumed",
					     [QUEUE_OP_REMOVE] = "queue.removed", [QUEUE_OP_WEIGH] = "queue.changed" };
	struct queue_view v;
	struct sys_text name;
	if (rec_queue_read(record->body, &v) != ERR_OK || v.fixed.op >= COUNT_OF(names) || applied->affected == 0 ||
	    !sys_event_wanted(s, names[v.fixed.op]))
		return;
	sys_event(s, names[v.fixed.op], "\"queue\":\"%s\"", sys_quote(&name, v.name));
}

void confirm_applied(struct shard *s, const struct log_record *record, const struct applied *applied)
{
	s->queues_removed = s->queues_removed || record->kind == REC_TYPE; /* an alias leads to another queue */
	if (record->kind == REC_QUEUE || record->kind == REC_TYPE)
		s->queues_changed = true;
	if (record->kind == REC_QUEUE)
		tell_queue(s, record, applied);
	if (applied->origin == APPLIED_INTERNAL)
		return;
	ENSURE(s->pending_count > 0);
	struct pending *p = &s->pending[s->pending_head];
	switch ((enum pending_kind)p->kind) {
	case PENDING_SUBMIT:
		ENSURE(applied->origin == APPLIED_SUBMIT);
		submit_applied(s, p, applied);
		break;
	case PENDING_REPORT:
		ENSURE(applied->origin == APPLIED_REPORT);
		confirm_reported(p->conn, applied->reported, applied->reported_count);
		break;
	case PENDING_PUBLISH:
		ENSURE(applied->origin == APPLIED_PUBLISH);
		event_applied(p->peer, applied);
		break;
	case PENDING_ADMIN:
		ENSURE(applied->origin == APPLIED_ADMIN);
		p->affected += applied->affected;
		p->code = p->code ? p->code : applied->code;
		if (p->records == 1 && p->code == ERR_OK && p->spec.len > 0)
			reply_spec(p);
		else if (p->records == 1)
			admin_reply(p->conn, p->correlation, (enum err)p->code,
				    p->code ? err_text(p->code) : "", p->affected);
		break;
	case PENDING_PURGE:
		ENSURE(applied->origin == APPLIED_ADMIN);
		purge_applied(p->purging, applied);
		break;
	case PENDING_NOBODY:
		break;
	}
	if (--p->records > 0)
		return;
	struct conn *c = p->conn;
	pending_wipe(p);
	s->pending_head = (s->pending_head + 1) & (s->pending_cap - 1);
	s->pending_count--;
	if (c)
		conn_unref(c);
}
