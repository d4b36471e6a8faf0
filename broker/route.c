/* broker/route.c: one table from the kind of a frame to its handler; handlers turn frames into proposals.
 *
 * In the flow: session -> ROUTE -> propose -> log append.
 *
 * 1. Before WELCOME only HELLO is heard, after it HELLO is refused.
 * 2. A handler that needs room in the log says ERR_AGAIN before it has changed anything; the frame is kept and comes again.
 * 3. Refusals name the field; items that are refused alone are answered alone, the rest of the frame goes on. */
#include "audit.h"
#include "admin_block.h"
#include "binding.h"
#include "blob_desk.h"
#include "call.h"
#include "event.h"
#include "event_route.h"
#include "memory.h"
#include "usage.h"
#include "permit.h"

struct call {
	struct conn *c;
	const struct frame *frame;
	struct msg *msg;
	char *text;
};

static enum err refuse(const struct call *call, enum err code, const char *text)
{
	(void)snprintf(call->text, 128, "%.127s", text);
	return code;
}

/* Room for a record in this batch. A batch that waits for its flush is no reason to refuse anything; a record that is too large
 * for any batch is not kept for ever. */
static bool log_has_room(struct shard *s, size_t need)
{
	return log_append_room(s->log) >= need || need > s->config.batch_bytes || !log_busy(s->log);
}

static enum err on_hello(const struct call *call)
{
	enum err e = session_hello(call->c, &call->msg->hello, call->frame->correlation, call->text);
	if (e == ERR_VERSION)
		return refuse(call, e, "HELLO.versions: this broker speaks version 1");
	if (e == ERR_DUPLICATE_SESSION)
		return refuse(call, e, "HELLO.session: another live connection holds this session");
	return e == ERR_OK || call->text[0] ? e : refuse(call, e, err_text(e));
}

static enum err on_ping(const struct call *call)
{
	struct msg *m = call->msg;
	uint64_t echo = m->ping.echo;
	m->kind = FRAME_PONG;
	m->ping.echo = echo;
	msg_encode(&call->c->out, m, call->frame->correlation, NULL, 0);
	conn_touch(call->c);
	return ERR_OK;
}

static enum err on_pong(const struct call *call)
{
	(void)call;
	return ERR_OK;
}

static enum err on_goodbye(const struct call *call)
{
	struct conn *c = call->c;
	struct session *session = c->session;
	confirm_encode(c);
	session_end(c->s, session);
	conn_close(c);
	return ERR_OK;
}

/* ---- producers ---- */

/* The tasks of an alias are in the queue of its type. */
static void see_type(struct shard *s, struct head_cache *cache)
{
	struct task_head *head = &cache->head;
	cache->types_generation = types_generation(s->types);
	cache->type = types_find(s->types, head->type);
	if (cache->type && head->queue.len == 0)
		head->queue = type_name(cache->type);
}

static const struct task_head *head_of(struct conn *c, struct span bytes)
{
	if (!c->cache)
		c->cache = zalloc(sizeof *c->cache);
	struct head_cache *cache = c->cache;
	if (cache->bytes.len > 0 && cache->types_generation == types_generation(c->s->types) &&
	    span_eq(buf_span(&cache->bytes), bytes))
		return &cache->head;
	char text[128];
	cache->bytes.len = 0;
	buf_append(&cache->bytes, bytes.data, bytes.len);
	enum err e = task_head_decode(buf_span(&cache->bytes), &cache->head, text);
	ENSURE(e == ERR_OK); /* msg_decode has verified these bytes */
	if (c->session->scope != 0) {
		cache->head.scope = c->session->scope;
		cache->head.vnet = strcmp(c->session->vnet, "default") == 0 ? span_of(NULL, 0) : span_str(c->session->vnet);
	}
	see_type(c->s, cache);
	return &cache->head;
}

/* What makes the broker as a whole unable to take tasks now. */
static enum err submit_refusal(struct shard *s, const struct msg_submit *m, const char **text)
{
	if (m->producer == SCHEDULE_PRODUCER) {
		*text = "SUBMIT.producer: this number is the schedules'";
		return ERR_INVALID_INPUT;
	}
	if (s->stop != STOP_NOT) {
		*text = "the broker is stopping";
		return ERR_UNAVAILABLE;
	}
	if (log_room(s->log) != LOG_ROOM_OK) {
		*text = "the disk is filling up: only results are taken";
		limit_reached(s, SHARD_LIMIT_DISK, "disk", *text);
		return ERR_DISK_FULL;
	}
	if (s->buffer_bytes > s->config.memory_max) {
		*text = "the buffers of all connections are at memory_max";
		limit_reached(s, SHARD_LIMIT_BUFFERS, "memory", *text);
		return ERR_RESOURCE_EXHAUSTED;
	}
	limit_free(s, SHARD_LIMIT_DISK | SHARD_LIMIT_BUFFERS);
	if (s->config.payload_max >= LIMIT_PAYLOAD_BYTES)
		return ERR_OK;
	for (uint32_t i = 0; i < m->sizes.count; i++) {
		if (m->sizes.at[i] > s->config.payload_max) {
			*text = "SUBMIT.sizes: a payload is over the broker's payload_max";
			return ERR_TOO_BIG;
		}
	}
	return ERR_OK;
}

/* confirm = ACCEPTED is answered before the sync: all sequences that have no answer yet. */
static void confirm_accepted(struct conn *c, const struct msg_submit *m, const struct submit_answer *answer)
{
	uint64_t next = m->first_seq, end = m->first_seq + m->sizes.count;
	for (uint32_t i = 0; i <= answer->run_count; i++) {
		uint64_t until = i < answer->run_count ? answer->runs[i].first_seq : end;
		if (until > next) {
			const struct confirm_run run = { .first_seq = next, .count = (uint32_t)(until - next),
							 .level = CONFIRM_ACCEPTED };
			confirm_runs(c, m->producer, &run, 1, "");
		}
		if (i < answer->run_count)
			next = answer->runs[i].first_seq + answer->runs[i].count;
	}
}

static void answer_submit(struct conn *c, const struct msg_submit *m, bool want_result, bool want_updates)
{
	struct shard *s = c->s;
	const struct submit_answer *a = &s->answer;
	for (uint32_t i = 0; i < a->run_count; i++) {
		const struct confirm_run *run = &a->runs[i];
		if (run->code != ERR_OK)
			s->counters.submits_refused_total += run->count;
		else if (want_result && results_watch(s, run->first_task, run->count, c->session->ref) && want_updates)
			(void)streams_open(s, run->first_task, run->count, c->session, 0);
		if (run->code != ERR_OK || m->confirm != CONFIRM_NONE)
			confirm_runs(c, m->producer, run, 1, run->code != ERR_OK ? a->text : "");
	}
	if (a->records > 0 && m->confirm == CONFIRM_ACCEPTED)
		confirm_accepted(c, m, a);
	if (a->records > 0) {
		confirm_push(s, &(struct pending){ .kind = PENDING_SUBMIT, .confirm = m->confirm,
						   .want_result = want_result, .want_updates = want_updates,
						   .records = a->records, .conn = c,
						   .session = c->session->ref, .producer = m->producer });
	}
}

/* What the registry says about the payloads: NULL where it takes all of them. */
static const struct submit_check *check_payloads(struct shard *s, const struct head_cache *cache, const struct msg_submit *m,
						 struct span payload, struct submit_check *check, char text[256])
{
	uint32_t count = m->sizes.count;
	if (!cache->type)
		return NULL;
	check->code = type_admits(cache->type, cache->head.fingerprint, text);
	if (check->code == ERR_OK)
		check->code = type_takes(cache->type, cache->head.payload, text);
	if (check->code == ERR_OK && !type_verifies(cache->type))
		return NULL;
	memset(s->refused_bits, check->code == ERR_OK ? 0 : 0xff, (count + 63) / 64 * sizeof s->refused_bits[0]);
	check->refused = s->refused_bits;
	check->text = text;
	if (check->code != ERR_OK)
		return check;
	size_t at = 0;
	for (uint32_t i = 0; i < count; i++) {
		char why[256];
		enum err e = type_verify(cache->type, span_sub(payload, at, m->sizes.at[i]), why);
		at += m->sizes.at[i];
		if (e == ERR_OK)
			continue;
		s->refused_bits[i / 64] |= (uint64_t)1 << i % 64;
		if (check->code == ERR_OK) { /* one code and text for all: the first one's */
			check->code = e;
			memcpy(text, why, sizeof why);
		}
	}
	return check->code == ERR_OK ? NULL : check;
}

/* The type it says, and the queue where it says that, too. */
static bool may_submit(struct conn *c, char text[256])
{
	const struct task_head *head = &c->cache->head;
	struct span queue = head->queue.len ? head->queue : head->type;
	return permit(c->session, ACCESS_SUBMIT, head->type, text) &&
	       (span_eq(queue, head->type) || permit(c->session, ACCESS_SUBMIT, queue, text));
}

/* Of another vnet are as those that are not known any more. */
static bool may_come_after(struct conn *c, char text[256])
{
	struct span after = c->cache->head.after;
	for (size_t at = 0; at + sizeof(uint64_t) <= after.len; at += sizeof(uint64_t)) {
		struct task_view view;
		uint64_t task;
		memcpy(&task, after.data + at, sizeof task);
		bool known = task != 0 && tasks_show(c->s->tasks, task, &view);
		if (known ? permit_queue(c->session, ACCESS_SEE, view.queue) : c->session->scope == 0 || task > tasks_newest(c->s->tasks))
			continue;
		(void)snprintf(text, 256, "TaskHead.after: task %llu is final, and how it ended is not known any more", (unsigned long long)task);
		return false;
	}
	return true;
}

/* Numbers of producers are a principal's own, within a vnet, like keys. */
static uint64_t own_producer(const struct session *session, uint64_t producer)
{
	if (session->scope == 0 || producer == 0)
		return producer;
	uint64_t own = (producer ^ session->scope) * 0xff51afd7ed558ccdu;
	own ^= own >> 33;
	return own == 0 || own == SCHEDULE_PRODUCER ? own + 1 : own;
}

/* One that is not to wait in vain: is there an entry that could take it, free or not? */
static enum err may_fail_fast(struct conn *c, char text[256])
{
	const struct task_head *head = &c->cache->head;
	struct shard *s = c->s;
	struct span requires = span_of(NULL, 0), name;
	char room[LIMIT_NAME_BYTES + 2], why[128];
	if (!head->fail_fast)
		return ERR_OK;
	if (head->requirements.len > 0 && directory_where(s, head->requirements, &requires, why) != ERR_OK)
		return ERR_OK; /* refused for that, with better words */
	uint32_t queue = tasks_submit_queue(s->tasks, head, &name, room);
	if (deliver_could(s, queue, name, requires))
		return ERR_OK;
	(void)snprintf(text, 256, "TaskHead.fail_fast: no live entry of %.*s could take it", (int)MIN_OF(name.len, 180u),
		       (const char *)name.data);
	return ERR_NOT_DELIVERED;
}

/* A parent is in the hands of the session when the task is made; one that was accepted before is answered all the same. */
static const struct submit_check *check_submit(struct conn *c, const struct msg_submit *m, struct span payload,
					       struct submit_check *check, char text[256])
{
	struct shard *s = c->s;
	uint64_t parent = c->cache->head.parent, root = 0;
	enum err e = !may_submit(c, text) ? ERR_PERMISSION : may_come_after(c, text) ? ERR_OK : ERR_NOT_FOUND;
	if (e == ERR_OK && parent)
		e = tasks_parent(s->tasks, parent, c->session->holder, &root, text);
	tasks_set_root(s->tasks, root);
	if (e == ERR_OK)
		e = may_fail_fast(c, text);
	if (e == ERR_OK)
		return check_payloads(s, c->cache, m, payload, check, text);
	memset(s->refused_bits, 0xff, (m->sizes.count + 63) / 64 * sizeof s->refused_bits[0]);
	*check = (struct submit_check){ s->refused_bits, e, text };
	return check;
}

static enum err on_submit(const struct call *call)
{
	struct conn *c = call->c;
	struct shard *s = c->s;
	const struct msg_submit *m = &call->msg->submit;
	const char *text = "";
	enum err e = submit_refusal(s, m, &text);
	if (e == ERR_OK)
		e = memory_gate(c, &text);
	if (e == ERR_AGAIN)
		return e;
	if (e != ERR_OK) {
		const struct confirm_run run = { .first_seq = m->first_seq, .count = m->sizes.count,
						 .code = (uint16_t)e };
		s->counters.submits_refused_total += run.count;
		confirm_runs(c, m->producer, &run, 1, text);
		return ERR_OK;
	}
	size_t need = 4096 + m->head.len + 4 * (size_t)m->sizes.count + call->frame->payload.len;
	if (!log_has_room(s, need))
		return ERR_AGAIN;
	const struct task_head *head = head_of(c, m->head);
	struct msg_submit own; /* copied only where it differs */
	if (c->session->scope != 0) {
		own = *m;
		own.producer = own_producer(c->session, m->producer);
	}
	if (tasks_submit_early(s->tasks, c->session->scope ? &own : m, head))
		return ERR_AGAIN;
	s->answer.run_count = s->answer.records = 0;
	s->answer.text[0] = '\0';
	char why[256];
	struct submit_check check;
	tasks_set_principal(s->tasks, session_principal(c->session));
	usage_submits(c->session);
	tasks_propose_checked(s->tasks, s->log, c->session->scope ? &own : m, head, call->frame->payload, s->wall_ms,
			      check_submit(c, m, call->frame->payload, &check, why), &s->answer);
	tasks_set_principal(s->tasks, span_of(NULL, 0));
	usage_submitted(c->session, (enum owner_limit)s->answer.limit);
	s->counters.submits_total += m->sizes.count;
	hold_submitted(s);
	answer_submit(c, m, head->want_result || head->want_updates, head->want_updates);
	return ERR_OK;
}

static enum err on_await(const struct call *call)
{
	return results_await(call->c, &call->msg->tasks, call->frame->correlation);
}

static enum err on_forget(const struct call *call)
{
	const struct u64s *tasks = &call->msg->tasks.tasks;
	for (uint32_t i = 0; i < tasks->count; i++) {
		results_forget(call->c->s, tasks->at[i], call->c->session->ref);
		streams_close(call->c->s, tasks->at[i], call->c->session);
	}
	return ERR_OK;
}

/* ---- workers ---- */

static bool may_serve(const struct session *session, const struct msg_serve *m, char text[256])
{
	for (uint32_t i = 0; i < m->count; i++) {
		const struct wire_entry *e = &m->entries[i];
		if (e->vnet_count == 0 && !permit(session, ACCESS_SERVE, e->service, text))
			return false;
		for (uint32_t k = 0; k < e->vnet_count; k++)
			if (!permit_entry(session, e->service, e->vnets[k], text))
				return false;
	}
	return true;
}

static enum err on_serve(const struct call *call)
{
	const struct msg_serve *m = &call->msg->serve;
	char why[256];
	if (!may_serve(call->c->session, m, why))
		return refuse(call, ERR_PERMISSION, why);
	if (!deliver_room(call->c->s, m->count))
		return refuse(call, ERR_RESOURCE_EXHAUSTED, "SERVE.entries: the broker has too many kinds of entries (parameters, cost, hot set)");
	bool blocked = m->count > 0 && block_refuses(call->c->session, call->text);
	enum err e = blocked ? ERR_OK : directory_serve(call->c->session, m, call->text);
	if (e != ERR_OK)
		return e;
	struct holder *holder = session_holder(call->c->s, call->c->session);
	if (m->has_held)
		tasks_holder_adopt(call->c->s->tasks, holder, m->held, m->held_count);
	if (m->has_held)
		tasks_holder_keep(call->c->s->tasks, call->c->s->log, holder, m->held, m->held_count, call->c->s->wall_ms);
	if (blocked)
		return ERR_BLOCKED; /* what it holds it may finish */
	deliver_serve(call->c->session, m);
	return ERR_OK;
}

static enum err on_credit(const struct call *call)
{
	deliver_credit(call->c->session, &call->msg->credit);
	return ERR_OK;
}

static enum err on_report(const struct call *call)
{
	struct conn *c = call->c;
	struct shard *s = c->s;
	const struct msg_report *m = &call->msg->report;
	for (uint32_t i = 0; i < m->count; i++)
		if (m->items[i].verb == REPORT_COMPLETE && m->items[i].size > s->config.payload_max)
			return refuse(call, ERR_TOO_BIG, "REPORT.items.size: a result is over the broker's payload_max");
	if (!log_has_room(s, 4096 + 64 * (size_t)m->count + call->frame->payload.len))
		return ERR_AGAIN;
	uint32_t refused = 0;
	struct holder *holder = session_holder(s, c->session);
	uint32_t records = tasks_propose_report(s->tasks, s->log, holder, m, call->frame->payload, s->wall_ms,
						s->refused, &refused);
	ENSURE(refused <= m->count);
	s->counters.reports_total += m->count;
	if (refused > 0)
		confirm_reported(c, s->refused, refused);
	if (records > 0)
		confirm_push(s, &(struct pending){ .kind = PENDING_REPORT, .records = records, .conn = c });
	return ERR_OK;
}

static enum err on_request(const struct call *call)
{
	call->c->s->counters.requests_total += call->c->retries == 0;
	if (!log_has_room(call->c->s, 64 << 10))
		return ERR_AGAIN;
	hold_urgent(call->c->s);
	return admin_request(call->c, &call->msg->request, call->frame->correlation);
}

/* ---- events ---- */

static enum err on_subscribe(const struct call *call)
{
	const struct msg_subscribe *m = &call->msg->subscribe;
	char why[256];
	if (event_is_system(m->pattern) && !permit(call->c->session, ACCESS_ADMIN, m->pattern, why))
		return refuse(call, ERR_PERMISSION, why); /* they tell of every vnet */
	if (!permit_pattern(call->c->session, ACCESS_SUBSCRIBE, m->pattern, m->descendants, why))
		return refuse(call, ERR_PERMISSION, why);
	return event_subscribe(call->c, &call->msg->subscribe, call->frame->correlation, call->text);
}

static enum err on_unsubscribe(const struct call *call)
{
	event_unsubscribe(call->c, call->msg->unsubscribe.subscription, call->frame->correlation);
	return ERR_OK;
}

static enum err on_publish(const struct call *call)
{
	const char *text;
	enum err e = memory_gate(call->c, &text);
	if (e != ERR_OK)
		return e == ERR_AGAIN ? e : refuse(call, e, text);
	return event_publish(call->c, &call->msg->publish, call->frame->payload);
}

static enum err on_event_credit(const struct call *call)
{
	event_credit(call->c, &call->msg->event_credit);
	return ERR_OK;
}

static enum err on_interest(const struct call *call)
{
	char why[256];
	if (!permit(call->c->session, ACCESS_PUBLISH, call->msg->interest.type, why))
		return refuse(call, ERR_PERMISSION, why);
	event_interest(call->c, &call->msg->interest, call->frame->correlation);
	return ERR_OK;
}

/* ---- directory and calls ---- */

static enum err on_watch(const struct call *call)
{
	char why[256];
	const struct msg_watch *m = &call->msg->watch;
	if (m->service.len > 0 && !permit(call->c->session, ACCESS_SEE, m->service, why))
		return refuse(call, ERR_PERMISSION, why);
	return directory_watch(call->c, &call->msg->watch, call->text);
}

static enum err on_unwatch(const struct call *call)
{
	directory_unwatch(call->c->session, call->msg->unwatch.watch);
	return ERR_OK;
}

static enum err on_bind(const struct call *call)
{
	char why[256];
	if (!permit(call->c->session, ACCESS_CALL, call->msg->bind.service, why))
		return refuse(call, ERR_PERMISSION, why);
	return binding_bind(call->c, &call->msg->bind, call->text);
}

static enum err on_unbind(const struct call *call)
{
	binding_unbind(call->c->session, call->msg->unbind.binding);
	return ERR_OK;
}

static enum err on_call(const struct call *call)
{
	const char *text;
	enum err e = memory_gate(call->c, &text);
	if (e != ERR_OK)
		return e == ERR_AGAIN ? e : refuse(call, e, text);
	return call_frame(call->c, &call->msg->call, call->frame->payload, call->text);
}

static enum err on_answer(const struct call *call)
{
	call_answers(call->c, &call->msg->answer, call->frame->payload);
	return ERR_OK;
}

static enum err on_call_cancel(const struct call *call)
{
	call_cancel(call->c, &call->msg->call_cancel);
	return ERR_OK;
}

/* ---- blobs ---- */

static enum err on_blob_put(const struct call *call) { return blob_put(call->c, &call->msg->blob_put); }
static enum err on_blob_chunk(const struct call *call) { return blob_chunk(call->c, &call->msg->blob_chunk, call->frame->payload); }
static enum err on_blob_end(const struct call *call) { return blob_end(call->c, &call->msg->blob_end); }
static enum err on_blob_get(const struct call *call) { return blob_get(call->c, &call->msg->blob_get); }
static enum err on_blob_more(const struct call *call) { return blob_more(call->c, &call->msg->blob_more); }

/* ---- the table ---- */

typedef enum err handler(const struct call *call);
static handler *const handlers[] = {
	[FRAME_HELLO] = on_hello, [FRAME_PING] = on_ping, [FRAME_PONG] = on_pong, [FRAME_GOODBYE] = on_goodbye,
	[FRAME_SUBMIT] = on_submit, [FRAME_AWAIT] = on_await, [FRAME_FORGET] = on_forget,
	[FRAME_SERVE] = on_serve, [FRAME_CREDIT] = on_credit, [FRAME_REPORT] = on_report,
	[FRAME_REQUEST] = on_request,
	[FRAME_SUBSCRIBE] = on_subscribe, [FRAME_UNSUBSCRIBE] = on_unsubscribe, [FRAME_PUBLISH] = on_publish,
	[FRAME_EVENT_CREDIT] = on_event_credit, [FRAME_INTEREST] = on_interest,
	[FRAME_WATCH] = on_watch, [FRAME_UNWATCH] = on_unwatch,
	[FRAME_CALL] = on_call, [FRAME_ANSWER] = on_answer, [FRAME_CALL_CANCEL] = on_call_cancel,
	[FRAME_BIND] = on_bind, [FRAME_UNBIND] = on_unbind,
	[FRAME_BLOB_PUT] = on_blob_put, [FRAME_BLOB_CHUNK] = on_blob_chunk, [FRAME_BLOB_END] = on_blob_end,
	[FRAME_BLOB_GET] = on_blob_get, [FRAME_BLOB_MORE] = on_blob_more,
};

bool route_knows(uint16_t kind)
{
	return kind < COUNT_OF(handlers) && handlers[kind] != NULL;
}

enum err route_frame(struct conn *c, const struct frame *frame, char text[128])
{
	struct call call = { .c = c, .frame = frame, .msg = &c->s->msg, .text = text };
	handler *handle = frame->kind < COUNT_OF(handlers) ? handlers[frame->kind] : NULL;
	if (!c->session && frame->kind != FRAME_HELLO)
		return refuse(&call, ERR_NOT_READY, "the first frame of a connection must be HELLO");
	if (c->session && frame->kind == FRAME_HELLO)
		return refuse(&call, ERR_NOT_READY, "HELLO on a connection that has had its WELCOME");
	if (!handle) {
		(void)snprintf(text, 128, "frame.kind: %u (%s) is nothing a client may send", (unsigned)frame->kind,
			       frame_kind_name(frame->kind));
		return ERR_UNKNOWN_KIND;
	}
	enum err e = msg_decode(frame, call.msg, text);
	return e == ERR_OK ? handle(&call) : e;
}
