/* broker/admin.c: one table from a verb to what answers it: questions at once, changes when their record was applied.
 *
 * In the flow: frame -> ROUTE -> (propose ->) REPLY.
 *
 * 1. A REPLY stays under LIMIT_META_BYTES: lists are cut and say where to go on (next), payloads are cut at PEEK_BYTES.
 * 2. A payload that has to be read from disk makes the request wait as a whole (ERR_AGAIN), a bounded number of times. */
#include "admin_block.h"
#include "blob_desk.h"
#include "permit.h"
#include "call.h"
#include "event.h"
#include "event_route.h"
#include "topics.h"
#include "admin_permit.h"

enum { PEEK_BYTES = 64 << 10, REPLY_BYTES = 768 << 10, LIST_MAX = 1000, READ_RETRIES = 64 };

struct ask {
	struct conn *c;
	struct shard *s;
	const struct msg_request *m;
	uint32_t correlation;
	char text[256];
};

void admin_reply(struct conn *c, uint32_t correlation, enum err code, const char *text, uint64_t count)
{
	if (c->gone || c->closing)
		return;
	c->s->msg.kind = FRAME_REPLY;
	c->s->msg.reply = (struct msg_reply){ .code = (uint16_t)code, .text = span_str(text), .count = count,
					      .retry_after_ms = err_retry_after_ms(code) };
	msg_encode(&c->out, &c->s->msg, correlation, NULL, 0);
	conn_touch(c);
}

static void reply(struct ask *a, const struct msg_reply *r)
{
	a->s->msg.kind = FRAME_REPLY;
	a->s->msg.reply = *r;
	msg_encode(&a->c->out, &a->s->msg, a->correlation, NULL, 0);
	conn_touch(a->c);
}

static enum err fail(struct ask *a, enum err code, const char *text)
{
	admin_reply(a->c, a->correlation, code, text[0] ? text : err_text(code), 0);
	return ERR_OK;
}

/* The answer comes with the record, or now where there is none. */
static enum err wait_for(struct ask *a, enum err e, uint32_t records)
{
	if (e != ERR_OK)
		return fail(a, e, a->text);
	if (records == 0) {
		admin_reply(a->c, a->correlation, ERR_OK, "", 0);
		return ERR_OK;
	}
	confirm_push(a->s, &(struct pending){ .kind = PENDING_ADMIN, .records = records, .conn = a->c,
					      .correlation = a->correlation });
	return ERR_OK;
}

/* ---- tasks ---- */

static enum err fetch_again(struct ask *a, enum err e)
{
	if ((e == ERR_AGAIN || e == ERR_RESOURCE_EXHAUSTED) && a->c->retries < READ_RETRIES)
		return ERR_AGAIN;
	return ERR_OK;
}

static struct span cut(struct span s, size_t max)
{
	return span_of(s.data, MIN_OF(s.len, max));
}

static enum err fill_payload(struct ask *a, const struct task_view *v, bool bodies, struct task_info *out)
{
	struct log_record record;
	struct submit_record r;
	enum err e = v->addr ? log_fetch(a->s->log, v->addr, &record) : ERR_NOT_FOUND;
	if (e == ERR_OK)
		e = submit_record_open(&record, &r);
	uint32_t item = e == ERR_OK ? submit_record_item(&r, v->item) : 0;
	if (e != ERR_OK || item >= r.count)
		return fetch_again(a, e);
	struct task_head head;
	char text[128];
	if (task_head_decode(r.head, &head, text) == ERR_OK) {
		out->type = head.type;
		out->key = head.key;
		out->payload_kind = head.payload;
	}
	out->size = r.sizes[item];
	if (out->submitted_ms == 0)
		out->submitted_ms = r.submitted_ms;
	if (bodies)
		out->payload = cut(span_sub(r.payload, submit_record_offset(&r, item), out->size), PEEK_BYTES);
	return ERR_OK;
}

static enum err fill_result(struct ask *a, const struct task_view *v, bool bodies, struct task_info *out)
{
	struct log_record record;
	if (v->result_addr == 0)
		return ERR_OK;
	enum err e = log_fetch(a->s->log, v->result_addr, &record);
	if (e != ERR_OK)
		return fetch_again(a, e);
	struct span bytes = settle_record_result(&record, out->task, &out->result_kind);
	if (v->state != TASK_DONE)
		out->reason = cut(bytes, 1024);
	else if (bodies)
		out->result = cut(bytes, PEEK_BYTES);
	return ERR_OK;
}

static enum err fill_task(struct ask *a, uint64_t task, bool bodies, struct task_info *out)
{
	struct task_view v;
	*out = (struct task_info){ .task = task };
	if (task == 0 || !tasks_show(a->s->tasks, task, &v) || !permit_queue(a->c->session, ACCESS_SEE, v.queue))
		return ERR_NOT_FOUND;
	struct queue_info queue;
	tasks_queue_info(a->s->tasks, v.queue, &queue);
	out->state = (uint8_t)v.state;
	out->priority = v.priority;
	out->queue = vnet_short(queue.name);
	out->submitted_ms = v.submitted_ms;
	out->ready_ms = v.ready_ms;
	out->expires_ms = v.expires_ms;
	out->settled_ms = v.settled_ms;
	out->acquired = v.acquired;
	out->failed = v.failed;
	out->max_attempts = v.max_attempts;
	out->code = v.code;
	out->app_code = v.app_code;
	out->phase = v.phase;
	out->progress = v.progress;
	out->progress_text = v.progress_text;
	out->yields = v.yields;
	out->parent = v.parent;
	out->root = v.root;
	out->group = vnet_short(tasks_group_of(a->s->tasks, task));
	struct blocked_info blocked;
	if (tasks_blocked(a->s->tasks, task, &blocked)) {
		out->waits = blocked.open;
		out->waits_for = blocked.first;
		out->after_group = vnet_short(blocked.group);
	}
	if (a->m->tasks.count > 0 && a->m->tasks.count <= 64) /* a REPLY has a limited number of tables */
		out->attempt_count = tasks_history(a->s->tasks, task, out->attempts);
	const struct session *worker = v.holder ? tasks_holder_ctx(v.holder) : NULL;
	if (worker)
		out->worker = span_str(worker->client);
	enum err e = fill_payload(a, &v, bodies, out);
	return e == ERR_OK ? fill_result(a, &v, bodies, out) : e;
}

static size_t info_bytes(const struct task_info *i)
{
	return 256 + i->type.len + i->queue.len + i->reason.len + i->worker.len + i->result.len + i->payload.len + i->key.len +
	       i->progress_text.len + i->group.len + i->after_group.len + i->attempt_count * sizeof(struct attempt_info) * 4;
}

/* Those of `tasks` that exist; `next` is what the caller goes on from where all fit. `some`: none of them may be left. */
static enum err reply_known(struct ask *a, const uint64_t *tasks, uint32_t count, bool some, bool bodies, uint64_t next)
{
	struct task_info *infos = zalloc(size_mul(MAX_OF(count, 1u), sizeof *infos));
	uint32_t found = 0;
	size_t bytes = 0;
	enum err e = ERR_OK;
	for (uint32_t i = 0; i < count; i++) {
		e = fill_task(a, tasks[i], bodies, &infos[found]);
		if (e == ERR_AGAIN)
			break;
		if (e != ERR_OK)
			continue;
		bytes += info_bytes(&infos[found]);
		if (bytes > REPLY_BYTES) {
			next = tasks[i];
			break;
		}
		found++;
	}
	if (e != ERR_AGAIN) {
		bool none = found == 0 && count > 0 && !some;
		reply(a, &(struct msg_reply){ .code = none ? ERR_NOT_FOUND : ERR_OK,
					      .text = span_str(none ? "REQUEST.tasks: no such task" : ""),
					      .count = found, .next = next, .tasks = infos, .task_count = found });
	}
	free(infos);
	return e == ERR_AGAIN ? e : ERR_OK;
}

static enum err reply_tasks(struct ask *a, const uint64_t *tasks, uint32_t count, bool bodies, uint64_t next)
{
	return reply_known(a, tasks, count, false, bodies, next);
}

static enum err ask_task_show(struct ask *a)
{
	if (a->m->tasks.count == 0)
		return fail(a, ERR_INVALID_INPUT, "REQUEST.tasks: empty");
	return reply_tasks(a, a->m->tasks.at, MIN_OF(a->m->tasks.count, (uint32_t)LIST_MAX), false, 0);
}

static enum err ask_task_peek(struct ask *a)
{
	if (a->m->tasks.count == 0)
		return fail(a, ERR_INVALID_INPUT, "REQUEST.tasks: empty");
	return reply_tasks(a, a->m->tasks.at, MIN_OF(a->m->tasks.count, (uint32_t)LIST_MAX), true, 0);
}

static uint32_t queue_named(struct ask *a)
{
	uint32_t queue = a->m->name.len ? tasks_queue_find(a->s->tasks, a->m->name) : 0;
	if (queue == 0)
		(void)fail(a, a->m->name.len ? ERR_NOT_FOUND : ERR_INVALID_INPUT,
			   a->m->name.len ? "REQUEST.name: no such queue" : "REQUEST.name: empty");
	return queue;
}

/* `all`: without a name, tasks of every queue. */
static enum err list_state(struct ask *a, enum task_state state, bool bodies, bool all)
{
	uint64_t tasks[LIST_MAX], next = 0;
	bool every = all && a->m->name.len == 0;
	uint32_t queue = every ? 0 : queue_named(a);
	if (queue == 0 && !every)
		return ERR_OK;
	uint32_t limit = MIN_OF(a->m->limit, (uint32_t)LIST_MAX);
	uint32_t count = tasks_list(a->s->tasks, queue, state, a->m->cursor, limit, tasks, &next);
	return reply_known(a, tasks, count, true, bodies, next);
}

static enum err ask_task_list(struct ask *a)
{
	return list_state(a, (enum task_state)a->m->state, false, true);
}

static enum err ask_queue_peek(struct ask *a)
{
	return list_state(a, a->m->state == TASK_UNKNOWN ? TASK_READY : (enum task_state)a->m->state, true, false);
}

static enum err ask_dlq_list(struct ask *a)
{
	return list_state(a, TASK_DEAD, false, true);
}

/* One verb of one task: at once, or by a record (*records = 1). */
static enum err task_verb(struct ask *a, uint64_t task, uint32_t *records)
{
	struct shard *s = a->s;
	*records = 0;
	enum err e = permit_task(a->c->session, ACCESS_CONTROL, task, a->text);
	if (e != ERR_OK)
		return e;
	switch (a->m->verb) {
	case VERB_TASK_RETRY:
	case VERB_DLQ_REDRIVE: return tasks_propose_retry(s->tasks, s->log, task, records, a->text);
	case VERB_TASK_INTERRUPT: return tasks_propose_interrupt(s->tasks, s->log, task, s->wall_ms, records, a->text);
	case VERB_TASK_PAUSE: return tasks_control(s->tasks, task, SIGNAL_PAUSE, a->text);
	case VERB_TASK_RESUME: return tasks_control(s->tasks, task, SIGNAL_RESUME, a->text);
	case VERB_TASK_STEP: return tasks_control(s->tasks, task, SIGNAL_STEP, a->text);
	default: return tasks_propose_cancel(s->tasks, s->log, task, s->wall_ms, records, a->text);
	}
}

/* Many tasks, one answer. The count is of those that were affected; the code is the first refusal's. `below`: in a tree a task that
 * has ended is no refusal, as long as the first one is there. */
static enum err all_tasks(struct ask *a, const uint64_t *tasks, uint32_t count, bool below)
{
	struct shard *s = a->s;
	enum err first = ERR_OK;
	char first_text[256] = "";
	uint32_t records = 0, done = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t more = 0;
		enum err e = task_verb(a, tasks[i], &more);
		if (e != ERR_OK && first == ERR_OK && !(below && e == ERR_WRONG_STATE)) {
			first = e;
			memcpy(first_text, a->text, sizeof first_text);
		}
		records += more;
		done += e == ERR_OK && more == 0;
	}
	if (records == 0) {
		admin_reply(a->c, a->correlation, first, first_text, done);
		return ERR_OK;
	}
	confirm_push(s, &(struct pending){ .kind = PENDING_ADMIN, .code = (uint16_t)first, .records = records,
					   .conn = a->c, .correlation = a->correlation, .affected = done });
	return ERR_OK;
}

enum { FAMILY_MAX = 4096 };

static enum err each_task(struct ask *a)
{
	bool family = a->m->verb == VERB_TASK_INTERRUPT || (a->m->verb == VERB_TASK_CANCEL && a->m->tree);
	if (a->m->tasks.count == 0)
		return fail(a, ERR_INVALID_INPUT, "REQUEST.tasks: empty");
	if (!family)
		return all_tasks(a, a->m->tasks.at, a->m->tasks.count, false);
	if (a->m->tasks.count > 1)
		return fail(a, ERR_INVALID_INPUT, "REQUEST.tasks: one tree at a time");
	uint64_t *tasks = zalloc(FAMILY_MAX * sizeof *tasks);
	uint32_t count = tasks_family(a->s->tasks, a->m->tasks.at[0], FAMILY_MAX, tasks);
	enum err e = all_tasks(a, tasks, count, count > 1);
	free(tasks);
	return e;
}

static enum err ask_task_tree(struct ask *a)
{
	uint64_t tasks[LIST_MAX];
	if (a->m->tasks.count != 1)
		return fail(a, ERR_INVALID_INPUT, "REQUEST.tasks: one task is wanted");
	uint32_t limit = a->m->limit ? MIN_OF(a->m->limit, (uint32_t)LIST_MAX) : LIST_MAX;
	return reply_tasks(a, tasks, tasks_family(a->s->tasks, a->m->tasks.at[0], limit, tasks), false, 0);
}

/* ---- queues ---- */

/* Lists have what is in the session's own vnet, as far as it may be seen. */
static bool own_queue(struct ask *a, struct span full)
{
	return span_eq(vnet_of(full), span_str(a->c->session->vnet)) && permit_sees(a->c->session, vnet_short(full));
}

static enum err ask_queue_list(struct ask *a)
{
	uint32_t total = tasks_queue_count(a->s->tasks), count = 0, id = (uint32_t)MIN_OF(a->m->cursor, (uint64_t)total);
	uint32_t limit = a->m->limit ? MIN_OF(a->m->limit, (uint32_t)LIST_MAX) : LIST_MAX;
	struct queue_info *infos = zalloc(sizeof *infos * limit);
	while (id < total && count < limit) {
		tasks_queue_info(a->s->tasks, ++id, &infos[count]);
		if (infos[count].name.len == 0 || !own_queue(a, infos[count].name))
			continue; /* removed, or another's */
		infos[count].name = vnet_short(infos[count].name);
		infos[count++].workers = deliver_workers(a->s, id);
	}
	reply(a, &(struct msg_reply){ .count = count, .next = id < total ? id : 0, .queues = infos, .queue_count = count });
	free(infos);
	return ERR_OK;
}

static enum err ask_queue_show(struct ask *a)
{
	struct queue_info info;
	uint32_t queue = queue_named(a);
	if (queue == 0)
		return ERR_OK;
	struct buf weights = { NULL, 0, 0 };
	tasks_queue_info(a->s->tasks, queue, &info);
	info.name = vnet_short(info.name);
	tasks_queue_weights(a->s->tasks, queue, &weights);
	info.weights = buf_span(&weights);
	info.workers = deliver_workers(a->s, queue);
	reply(a, &(struct msg_reply){ .count = 1, .queues = &info, .queue_count = 1 });
	buf_free(&weights);
	return ERR_OK;
}

#define PROPOSE(name, ...)                                                                             \
	static enum err ask_##name(struct ask *a)                                                      \
	{                                                                                              \
		uint32_t records = 0;                                                                  \
		enum err e = __VA_ARGS__;                                                              \
		return wait_for(a, e, records);                                                        \
	}
PROPOSE(queue_create, tasks_propose_queue(a->s->tasks, a->s->log, a->m->name, &a->m->settings, true, &records, a->text))
PROPOSE(queue_set, tasks_propose_queue(a->s->tasks, a->s->log, a->m->name, &a->m->settings, false, &records, a->text))
/* The pattern is in REQUEST.text, the weight in .limit. */
PROPOSE(queue_weigh, tasks_propose_weight(a->s->tasks, a->s->log, a->m->name, a->m->text, a->m->limit, &records, a->text))
PROPOSE(queue_pause, tasks_propose_pause(a->s->tasks, a->s->log, a->m->name, true, &records, a->text))
PROPOSE(queue_resume, tasks_propose_pause(a->s->tasks, a->s->log, a->m->name, false, &records, a->text))
PROPOSE(dlq_redrive_queue, tasks_propose_redrive(a->s->tasks, a->s->log, a->m->name, a->m->code, a->m->limit, &records, a->text))
PROPOSE(queue_remove_record, tasks_propose_remove(a->s->tasks, a->s->log, a->m->name, &records, a->text))

static struct span events_in(struct ask *a)
{
	return session_events_vnet(a->c->session, a->m->text);
}
/* Of bindings of types: empty = default. */
static struct span binds_in(struct ask *a)
{
	struct span vnet = span_str(a->c->session->vnet);
	return span_eq(vnet, span_str("default")) ? span_of(NULL, 0) : vnet;
}
/* The pattern is in REQUEST.text. */
PROPOSE(queue_bind, topics_propose_bind(a->s->tasks, a->s->log, TOPIC_TASKS, a->m->name, binds_in(a), a->m->text, false,
					&records, a->text))
PROPOSE(queue_unbind, topics_propose_unbind(a->s->tasks, a->s->log, TOPIC_TASKS, a->m->name, binds_in(a), a->m->text,
					    &records, a->text))
PROPOSE(subscription_add_record, topics_propose_bind(a->s->tasks, a->s->log, TOPIC_EVENTS, a->m->name, events_in(a), a->m->text, true,
					      &records, a->text))
PROPOSE(subscription_remove, topics_propose_unbind(a->s->tasks, a->s->log, TOPIC_EVENTS, a->m->name, events_in(a), a->m->text,
						   &records, a->text))

/* Publishers that hold back what it wants hear of it first: what is published after the answer is in the queue. */
static enum err ask_subscription_add(struct ask *a)
{
	return hints_recall_pattern(a->s, a->m->text) ? ask_subscription_add_record(a) : ERR_AGAIN;
}

/* Those of one queue, or all; cursor: how many to pass over. */
static enum err ask_topic_list(struct ask *a)
{
	uint32_t limit = a->m->limit ? MIN_OF(a->m->limit, (uint32_t)LIST_MAX) : LIST_MAX, count = 0;
	struct topic_info *infos = zalloc(sizeof *infos * limit);
	uint64_t at = 0, next = 0;
	for (const struct topic *x = topics_first(tasks_topics(a->s->tasks)); x; x = x->next) {
		struct queue_info queue;
		tasks_queue_info(a->s->tasks, x->queue, &queue);
		if ((a->m->name.len > 0 && !span_eq(a->m->name, queue.name)) || !own_queue(a, queue.name) || at++ < a->m->cursor)
			continue;
		if (count == limit) {
			next = at - 1;
			break;
		}
		infos[count++] = (struct topic_info){ x->kind, vnet_short(queue.name), span_of(x->text + x->vnet_size, x->pattern_size),
						      span_of(x->text, x->vnet_size) };
	}
	reply(a, &(struct msg_reply){ .count = count, .next = next, .topics = infos, .topic_count = count });
	free(infos);
	return ERR_OK;
}

static enum err ask_dlq_redrive(struct ask *a)
{
	return a->m->tasks.count > 0 ? each_task(a) : ask_dlq_redrive_queue(a);
}

static enum err ask_queue_remove(struct ask *a)
{
	a->s->queues_removed = true; /* looked at when a queue record is applied */
	return ask_queue_remove_record(a);
}

/* ---- the broker ---- */

static enum err ask_stats(struct ask *a)
{
	struct shard_stat stats[SHARD_STATS_MAX];
	struct stat_item items[SHARD_STATS_MAX];
	uint32_t count = shard_stats(a->s, stats, SHARD_STATS_MAX);
	for (uint32_t i = 0; i < count; i++)
		items[i] = (struct stat_item){ span_str(stats[i].name), stats[i].value };
	reply(a, &(struct msg_reply){ .count = count, .stats = items, .stat_count = count });
	return ERR_OK;
}

static void fill_worker(const struct session *session, struct worker_info *out)
{
	*out = (struct worker_info){
		.name = span_str(session->client),
		.address = span_str(session->conn ? session->conn->peer : ""),
		.leased = session->holder ? tasks_holder_leases(session->holder) : 0,
		.connected_ms = session->connected_wall_ms,
		.session = session->number,
		.vnet = span_str(session->vnet),
		.calls = calls_held(session),
		.away = session->conn == NULL,
		.draining = session->draining,
	};
	for (const struct consumer *x = session->consumers; x; x = x->session_next) {
		out->credit += x->credit;
		if (out->entry_count < COUNT_OF(out->entries))
			out->entries[out->entry_count++] = span_of(x->name, x->name_len);
	}
}

static enum err ask_worker_list(struct ask *a)
{
	struct shard *s = a->s;
	uint32_t limit = a->m->limit ? MIN_OF(a->m->limit, (uint32_t)LIST_MAX) : LIST_MAX, count = 0;
	uint32_t slot = (uint32_t)MIN_OF(a->m->cursor, (uint64_t)s->slot_count);
	struct worker_info *infos = zalloc(sizeof *infos * limit);
	size_t bytes = 0;
	for (; slot < s->slot_count && count < limit && bytes < REPLY_BYTES; slot++) {
		const struct session *session = s->slots[slot];
		if (!session || !session->holder || strcmp(session->vnet, a->c->session->vnet) != 0)
			continue;
		fill_worker(session, &infos[count]);
		bytes += 256 + infos[count].name.len + infos[count].vnet.len;
		for (uint32_t i = 0; i < infos[count].entry_count; i++)
			bytes += 16 + infos[count].entries[i].len;
		count++;
	}
	reply(a, &(struct msg_reply){ .count = count, .next = slot < s->slot_count ? slot : 0, .workers = infos,
				      .worker_count = count });
	free(infos);
	return ERR_OK;
}

static enum err ask_worker(struct ask *a)
{
	return admin_worker(a->c, a->m, a->correlation);
}

static enum err ask_block(struct ask *a)
{
	return admin_block(a->c, a->m, a->correlation);
}

/* Of the session's own: whoever is somebody else has no word in it. */
static enum err ask_entry_remove(struct ask *a)
{
	struct session *session = a->c->session;
	struct span where;
	char why[128];
	if (a->m->session != 0 && a->m->session != session->number)
		return fail(a, ERR_PERMISSION, "REQUEST.session: an entry is removed by the session that declared it");
	if (a->m->name.len == 0)
		return fail(a, ERR_INVALID_INPUT, "REQUEST.name: empty");
	enum err e = directory_where(a->s, a->m->text, &where, why);
	if (e != ERR_OK)
		return fail(a, e, why);
	admin_reply(a->c, a->correlation, ERR_OK, "",
		    directory_withdraw(session, a->m->name, where, "its holder has withdrawn the entry"));
	return ERR_OK;
}

static enum err ask_checkpoint(struct ask *a)
{
	log_checkpoint_now(a->s->log);
	admin_reply(a->c, a->correlation, ERR_OK, "", 0);
	return ERR_OK;
}

static enum err ask_node_reload(struct ask *a)
{
	const struct shard_config *k = &a->s->config;
	enum err e = k->reload ? k->reload(k->ctx, a->text) : ERR_UNSUPPORTED;
	admin_reply(a->c, a->correlation, e, a->text[0] ? a->text : err_text(e), 0);
	return ERR_OK;
}

static enum err ask_type(struct ask *a)
{
	return admin_type(a->c, a->m, a->correlation);
}

static enum err ask_task_why(struct ask *a)
{
	if (a->m->tasks.count == 1 && permit_task(a->c->session, ACCESS_SEE, a->m->tasks.at[0], a->text) != ERR_OK)
		return fail(a, ERR_NOT_FOUND, "REQUEST.tasks: no such task");
	return admin_why(a->c, a->m, a->correlation);
}

static enum err ask_schedule(struct ask *a)
{
	return admin_schedule(a->c, a->m, a->correlation);
}

static enum err ask_purge(struct ask *a)
{
	return admin_purge(a->c, a->m, a->correlation);
}

static enum err ask_redrive(struct ask *a)
{
	return admin_redrive(a->c, a->m, a->correlation);
}

/* ---- groups ---- */

static void reply_groups(struct ask *a, const struct group_info *infos, uint32_t count, uint64_t next)
{
	struct buf bytes = { NULL, 0, 0 };
	struct span *specs = zalloc(size_mul(MAX_OF(count, 1u), sizeof *specs));
	for (uint32_t i = 0; i < count; i++) {
		size_t from = bytes.len;
		group_info_encode(&bytes, &infos[i]);
		specs[i].len = bytes.len - from;
	}
	for (size_t i = 0, at = 0; i < count; at += specs[i++].len)
		specs[i].data = bytes.data + at;
	reply(a, &(struct msg_reply){ .count = count, .next = next, .specs = specs, .spec_count = count });
	free(specs);
	buf_free(&bytes);
}

static enum err ask_group_list(struct ask *a)
{
	uint32_t limit = a->m->limit ? MIN_OF(a->m->limit, (uint32_t)LIST_MAX) : LIST_MAX;
	struct group_info *infos = zalloc(sizeof *infos * limit);
	uint64_t next;
	uint32_t all = tasks_groups(a->s->tasks, a->m->cursor, limit, infos, &next), count = 0;
	for (uint32_t i = 0; i < all; i++) {
		if (!own_queue(a, infos[i].name))
			continue;
		infos[count] = infos[i];
		infos[count].name = vnet_short(infos[i].name);
		count++;
	}
	reply_groups(a, infos, count, next);
	free(infos);
	return ERR_OK;
}

static bool group_named(struct ask *a, struct group_info *info)
{
	if (tasks_group(a->s->tasks, a->m->name, info))
		return true;
	(void)fail(a, a->m->name.len ? ERR_NOT_FOUND : ERR_INVALID_INPUT,
		   a->m->name.len ? "REQUEST.name: no such group" : "REQUEST.name: empty");
	return false;
}

static enum err ask_group_show(struct ask *a)
{
	struct group_info info;
	if (group_named(a, &info)) {
		info.name = vnet_short(info.name);
		reply_groups(a, &info, 1, 0);
	}
	return ERR_OK;
}

/* Those that are still known, and where to go on. */
static enum err ask_group_members(struct ask *a)
{
	uint64_t tasks[LIST_MAX], next;
	struct group_info info;
	if (!group_named(a, &info))
		return ERR_OK;
	uint32_t limit = a->m->limit ? MIN_OF(a->m->limit, (uint32_t)LIST_MAX) : LIST_MAX;
	uint32_t count = tasks_group_members(a->s->tasks, a->m->name, a->m->cursor, limit, tasks, &next);
	return reply_known(a, tasks, count, true, false, next);
}

PROPOSE(group_cancel, tasks_propose_group_cancel(a->s->tasks, a->s->log, a->m->name, &records, a->text))

static enum err ask_access(struct ask *a)
{
	return admin_access(a->c, a->m, a->correlation);
}

static enum err ask_blob(struct ask *a)
{
	return admin_blob(a->c, a->m, a->correlation);
}

static enum err (*const verbs[])(struct ask *a) = {
	[VERB_TASK_SHOW] = ask_task_show, [VERB_TASK_LIST] = ask_task_list, [VERB_TASK_CANCEL] = each_task,
	[VERB_TASK_RETRY] = each_task, [VERB_TASK_PEEK] = ask_task_peek,
	[VERB_QUEUE_LIST] = ask_queue_list, [VERB_QUEUE_SHOW] = ask_queue_show,
	[VERB_QUEUE_CREATE] = ask_queue_create, [VERB_QUEUE_SET] = ask_queue_set,
	[VERB_QUEUE_WEIGH] = ask_queue_weigh,
	[VERB_QUEUE_PURGE] = ask_purge, [VERB_QUEUE_PAUSE] = ask_queue_pause,
	[VERB_QUEUE_RESUME] = ask_queue_resume, [VERB_QUEUE_PEEK] = ask_queue_peek,
	[VERB_QUEUE_REMOVE] = ask_queue_remove,
	[VERB_DLQ_LIST] = ask_dlq_list, [VERB_DLQ_REDRIVE] = ask_dlq_redrive, [VERB_DLQ_PURGE] = ask_purge,
	[VERB_QUEUE_BIND] = ask_queue_bind, [VERB_QUEUE_UNBIND] = ask_queue_unbind, [VERB_TOPIC_LIST] = ask_topic_list,
	[VERB_SUBSCRIPTION_ADD] = ask_subscription_add, [VERB_SUBSCRIPTION_REMOVE] = ask_subscription_remove,
	[VERB_TASK_INTERRUPT] = each_task, [VERB_TASK_PAUSE] = each_task, [VERB_TASK_RESUME] = each_task,
	[VERB_TASK_STEP] = each_task, [VERB_TASK_TREE] = ask_task_tree,
	[VERB_STATS] = ask_stats, [VERB_WORKER_LIST] = ask_worker_list,
	[VERB_WORKER_DRAIN] = ask_worker, [VERB_WORKER_KICK] = ask_worker, [VERB_WORKER_SHOW] = ask_worker,
	[VERB_WORKER_STOP] = ask_worker, [VERB_WORKER_BLOCK] = ask_block, [VERB_WORKER_UNBLOCK] = ask_block,
	[VERB_WORKER_BLOCKED] = ask_block, [VERB_ENTRY_REMOVE] = ask_entry_remove,
	 [VERB_CHECKPOINT] = ask_checkpoint,
	[VERB_TASK_WHY] = ask_task_why, [VERB_TYPE_REGISTER] = ask_type, [VERB_TYPE_LIST] = ask_type, [VERB_TYPE_SHOW] = ask_type,
	[VERB_TYPE_CHECK] = ask_type, [VERB_TYPE_DIFF] = ask_type, [VERB_TYPE_REMOVE] = ask_type,
	[VERB_SCHEDULE_ADD] = ask_schedule, [VERB_SCHEDULE_LIST] = ask_schedule, [VERB_SCHEDULE_SHOW] = ask_schedule,
	[VERB_SCHEDULE_REMOVE] = ask_schedule, [VERB_SCHEDULE_PAUSE] = ask_schedule, [VERB_SCHEDULE_RESUME] = ask_schedule,
	[VERB_SCHEDULE_RUN] = ask_schedule,
	[VERB_REDRIVE_START] = ask_redrive, [VERB_REDRIVE_LIST] = ask_redrive, [VERB_REDRIVE_STOP] = ask_redrive,
	[VERB_GROUP_LIST] = ask_group_list, [VERB_GROUP_SHOW] = ask_group_show, [VERB_GROUP_MEMBERS] = ask_group_members,
	[VERB_GROUP_CANCEL] = ask_group_cancel,
	[VERB_NODE_RELOAD] = ask_node_reload,
	[VERB_PRINCIPAL_ADD] = ask_access, [VERB_PRINCIPAL_SET] = ask_access, [VERB_PRINCIPAL_REMOVE] = ask_access,
	[VERB_PRINCIPAL_LIST] = ask_access, [VERB_TOKEN_ADD] = ask_access, [VERB_TOKEN_ROTATE] = ask_access,
	[VERB_TOKEN_REMOVE] = ask_access, [VERB_TOKEN_LIST] = ask_access, [VERB_RULE_ADD] = ask_access,
	[VERB_RULE_REMOVE] = ask_access, [VERB_RULE_LIST] = ask_access, [VERB_ACCESS_TEST] = ask_access,
	[VERB_ACCESS_TOKEN] = ask_access,
	[VERB_BLOB_LIST] = ask_blob, [VERB_BLOB_SHOW] = ask_blob, [VERB_BLOB_PIN] = ask_blob, [VERB_BLOB_UNPIN] = ask_blob,
	[VERB_BLOB_REMOVE] = ask_blob, [VERB_BLOB_COLLECT] = ask_blob, [VERB_BLOB_SCRUB] = ask_blob,
};

enum err admin_request(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	/* The reply is encoded from the same struct msg that the request was decoded into. */
	struct msg_request request = *m;
	struct ask a = { .c = c, .s = c->s, .m = &request, .correlation = correlation };
	if (m->verb >= COUNT_OF(verbs) || !verbs[m->verb])
		return fail(&a, ERR_UNSUPPORTED, "REQUEST.verb: not known here");
	struct vnet_name room;
	enum err e = admin_permit(c->session, &request, &room, a.text);
	return e == ERR_OK ? verbs[m->verb](&a) : fail(&a, e, a.text);
}
