/* clientlib/admin.c: questions and administration. In the flow: call -> REQUEST -> broker -> REPLY -> rows to the caller.
 *
 * 1. One request at a time, answered by its correlation; the rows borrow the frame, so they are handed out while it is read.
 * 2. A question whose connection broke is asked again within its deadline. A change is not: whether it was made cannot be
 *    known, and the caller is told so. */
#include "client_impl.h"

struct call { struct msg msg; reply_fn *fn; void *arg; bool question; };

void admin_take_reply(struct hlk *c, uint32_t correlation, const struct msg_reply *m)
{
	struct admin *a = &c->admin;
	if (!a->sent || a->done || correlation != a->correlation)
		return;
	a->done = true;
	a->code = m->code;
	struct span text = m->text.len ? m->text : span_str(err_text(m->code));
	(void)snprintf(a->text, sizeof a->text, "%.*s", (int)MIN_OF(text.len, 400u), (const char *)text.data);
	if (m->code == ERR_OK && a->fn)
		a->fn(c, m, a->arg);
}

bool admin_refused(struct hlk *c, uint32_t correlation, int code, struct span text)
{
	struct admin *a = &c->admin;
	if (!a->sent || correlation != a->correlation)
		return false;
	a->done = true;
	a->code = code;
	(void)snprintf(a->text, sizeof a->text, "%.*s", (int)MIN_OF(text.len, 400u), (const char *)text.data);
	return true;
}

void admin_down(struct hlk *c)
{
	struct admin *a = &c->admin;
	if (a->sent && !a->done)
		a->sent = false;
}

static int call_wait(struct hlk *c, struct call *call, const char *what)
{
	struct admin *a = &c->admin;
	bool was_sent = false;
	int code = client_may_block(c);
	if (code != HLK_OK)
		return code;
	*a = (struct admin){ .fn = call->fn, .arg = call->arg, .correlation = client_correlation(c) };
	call->msg.kind = FRAME_REQUEST;
	int64_t deadline = client_deadline(c, c->timeout_ms);
	while (!a->done && code == HLK_OK) {
		if (!a->sent && was_sent && !call->question)
			return error_set(c, HLK_NETWORK, "%s: the connection broke before the answer: it may or may not have "
					 "been done", what);
		if (!a->sent && c->session.refused_code)
			return error_set(c, c->session.refused_code, "%s", c->session.last_text);
		if (!a->sent && net_ready(c)) {
			session_send(c, &call->msg, a->correlation);
			a->sent = was_sent = true;
		}
		code = client_wait(c, deadline);
	}
	a->sent = false;
	if (!a->done)
		return code;
	return a->code == ERR_OK ? HLK_OK : error_set(c, a->code, "%s: %s", what, a->text);
}

static struct call *call_new(enum verb verb, const char *name)
{
	struct call *call = calloc(1, sizeof *call); /* large */
	ENSURE(call != NULL);
	call->msg.request.verb = (uint16_t)verb;
	call->msg.request.name = span_str(name);
	call->msg.request.limit = 100;
	call->msg.request.settings = QUEUE_SETTINGS_UNSET;
	return call;
}

static int call_end(struct hlk *c, struct call *call, const char *what)
{
	int code = call->msg.request.name.len > LIMIT_NAME_BYTES
			   ? error_set(c, HLK_TOO_BIG, "%s: the name is over %d bytes", what, LIMIT_NAME_BYTES)
			   : call_wait(c, call, what);
	free(call);
	return code;
}

int admin_ask(struct hlk *c, const struct msg_request *request, bool question, const char *what, reply_fn *fn, void *arg)
{
	struct call *call = call_new((enum verb)request->verb, NULL);
	struct queue_settings unset = call->msg.request.settings;
	call->msg.request = *request;
	call->msg.request.settings = unset;
	call->question = question;
	call->fn = fn;
	call->arg = arg;
	return call_end(c, call, what);
}

static int simple(struct hlk *c, enum verb verb, const char *name, const char *what, reply_fn *fn, void *arg)
{
	struct call *call = call_new(verb, name);
	call->fn = fn;
	call->arg = arg;
	return call_end(c, call, what);
}

/* Strings of a verified FlatBuffer end in a zero byte. */
static const char *text_of(struct span s)
{
	return s.data ? (const char *)s.data : "";
}

/* ---- rows ---- */

/* The public struct has the same fields in the same order. */
#define SETTING_AT(name, initial)                                                                             \
	_Static_assert(offsetof(struct hlk_queue_settings, name) == offsetof(struct queue_settings, name), #name);
QUEUE_SETTINGS(SETTING_AT)
_Static_assert(sizeof(struct hlk_queue_settings) == sizeof(struct queue_settings), "no setting is missing");

struct queue_rows { hlk_queue_fn *each; void *ctx; };
static void queue_rows(struct hlk *c, const struct msg_reply *m, void *arg)
{
	const struct queue_rows *rows = arg;
	(void)c;
	for (uint32_t i = 0; i < m->queue_count; i++) {
		struct queue_info q;
		msg_reply_queue(m, i, &q);
		struct hlk_queue_row row = {
			.name = text_of(q.name), .paused = q.paused,
			.ready = q.ready, .leased = q.leased, .scheduled = q.scheduled, .dead = q.dead,
			.submitted_total = q.submitted_total, .done_total = q.done_total,
			.failed_total = q.failed_total, .expired_total = q.expired_total,
			.cancelled_total = q.cancelled_total, .dead_total = q.dead_total, .workers = q.workers, .blocked = q.blocked,
			.weights = text_of(q.weights),
		};
		memcpy(&row.settings, &q.settings, sizeof row.settings);
		rows->each(&row, rows->ctx);
	}
}

struct task_rows { hlk_task_row_fn *each; void *ctx; uint64_t *cursor; };
static void task_rows(struct hlk *c, const struct msg_reply *m, void *arg)
{
	const struct task_rows *rows = arg;
	(void)c;
	if (rows->cursor)
		*rows->cursor = m->next;
	for (uint32_t i = 0; i < m->task_count; i++) {
		struct task_info t;
		msg_reply_task(m, i, &t);
		struct hlk_attempt_row attempts[LIMIT_HISTORY];
		for (uint32_t k = 0; k < t.attempt_count; k++)
			attempts[k] = (struct hlk_attempt_row){ t.attempts[k].attempt, t.attempts[k].time_ms, t.attempts[k].code,
								t.attempts[k].app_code, text_of(t.attempts[k].worker),
								text_of(t.attempts[k].text) };
		const struct hlk_task_row row = {
			.task = t.task, .state = task_state_name(t.state), .type = text_of(t.type), .queue = text_of(t.queue),
			.reason = text_of(t.reason), .worker = text_of(t.worker), .key = text_of(t.key),
			.priority = t.priority + 1, .submitted_ms = t.submitted_ms, .ready_ms = t.ready_ms,
			.expires_ms = t.expires_ms, .settled_ms = t.settled_ms, .acquired = t.acquired, .failed = t.failed,
			.max_attempts = t.max_attempts, .app_code = t.app_code, .code = t.code, .size = t.size,
			.result = t.result.data, .result_size = t.result.len,
			.payload = t.payload.data, .payload_size = t.payload.len, .phase = phase_name(t.phase),
			.payload_kind = (enum hlk_payload_kind)t.payload_kind, .result_kind = (enum hlk_payload_kind)t.result_kind,
			.progress = t.progress / 1e6, .progress_text = text_of(t.progress_text), .yields = t.yields,
			.parent = t.parent, .root = t.root, .attempts = attempts, .attempt_count = t.attempt_count,
			.waits = t.waits, .waits_for = t.waits_for, .group = text_of(t.group), .after_group = text_of(t.after_group),
		};
		rows->each(&row, rows->ctx);
	}
}

struct worker_rows { hlk_worker_fn *each; void *ctx; };
static void worker_rows(struct hlk *c, const struct msg_reply *m, void *arg)
{
	const struct worker_rows *rows = arg;
	(void)c;
	for (uint32_t i = 0; i < m->worker_count; i++) {
		struct worker_info w;
		msg_reply_worker(m, i, &w);
		const char *entries[COUNT_OF(w.entries)];
		for (uint32_t e = 0; e < w.entry_count; e++)
			entries[e] = text_of(w.entries[e]);
		const struct hlk_worker_row row = { text_of(w.name), text_of(w.address), entries, w.entry_count,
						    w.credit, w.leased, w.connected_ms };
		rows->each(&row, rows->ctx);
	}
}

struct stat_rows { hlk_stat_fn *each; void *ctx; };
static void stat_rows(struct hlk *c, const struct msg_reply *m, void *arg)
{
	const struct stat_rows *rows = arg;
	(void)c;
	for (uint32_t i = 0; i < m->stat_count; i++) {
		struct stat_item s;
		msg_reply_stat(m, i, &s);
		rows->each(text_of(s.name), s.value, rows->ctx);
	}
}

static void count_out(struct hlk *c, const struct msg_reply *m, void *arg)
{
	(void)c;
	if (arg)
		*(uint64_t *)arg = m->count;
}

/* ---- queues ---- */

static int ask_queues(struct hlk *c, enum verb verb, const char *queue, const char *what, hlk_queue_fn *each, void *ctx)
{
	struct queue_rows rows = { each, ctx };
	struct call *call = call_new(verb, queue);
	call->question = true;
	call->msg.request.limit = 1000;
	call->fn = queue_rows;
	call->arg = &rows;
	return call_end(c, call, what);
}

int hlk_queue_list(struct hlk *c, hlk_queue_fn *each, void *ctx)
{
	return ask_queues(c, VERB_QUEUE_LIST, NULL, "queue list", each, ctx);
}

int hlk_queue_show(struct hlk *c, const char *queue, hlk_queue_fn *each, void *ctx)
{
	return ask_queues(c, VERB_QUEUE_SHOW, queue, "queue show", each, ctx);
}

static int set_queue(struct hlk *c, enum verb verb, const char *queue, const struct hlk_queue_settings *s, const char *what)
{
	struct call *call = call_new(verb, queue);
	if (s)
		memcpy(&call->msg.request.settings, s, sizeof *s);
	return call_end(c, call, what);
}

int hlk_queue_create(struct hlk *c, const char *queue, const struct hlk_queue_settings *settings)
{
	return set_queue(c, VERB_QUEUE_CREATE, queue, settings, "queue create");
}

int hlk_queue_set(struct hlk *c, const char *queue, const struct hlk_queue_settings *settings)
{
	return set_queue(c, VERB_QUEUE_SET, queue, settings, "queue set");
}

int hlk_queue_weigh(struct hlk *c, const char *queue, const char *pattern, uint32_t weight)
{
	struct call *call = call_new(VERB_QUEUE_WEIGH, queue);
	call->msg.request.text = span_str(pattern);
	call->msg.request.limit = weight;
	return call_end(c, call, "queue weigh");
}

int hlk_queue_remove(struct hlk *c, const char *queue)
{
	return simple(c, VERB_QUEUE_REMOVE, queue, "queue remove", NULL, NULL);
}

int hlk_queue_pause(struct hlk *c, const char *queue, bool paused)
{
	return simple(c, paused ? VERB_QUEUE_PAUSE : VERB_QUEUE_RESUME, queue, paused ? "queue pause" : "queue resume",
		      NULL, NULL);
}

int hlk_queue_purge(struct hlk *c, const char *queue, uint64_t *count)
{
	return simple(c, VERB_QUEUE_PURGE, queue, "queue purge", count_out, count);
}

/* ---- tasks ---- */

struct task_query { enum verb verb; const char *queue, *what; uint64_t task; uint8_t state; uint32_t limit; };

static int ask_tasks(struct hlk *c, const struct task_query *q, uint64_t *cursor, hlk_task_row_fn *each, void *ctx)
{
	struct task_rows rows = { each, ctx, cursor };
	struct call *call = call_new(q->verb, q->queue);
	struct msg_request *r = &call->msg.request;
	uint64_t task = q->task;
	call->question = true;
	call->fn = task_rows;
	call->arg = &rows;
	r->limit = q->limit ? q->limit : 100;
	r->state = q->state;
	r->cursor = cursor ? *cursor : 0;
	if (task)
		r->tasks = (struct u64s){ &task, 1 };
	return call_end(c, call, q->what);
}

int hlk_group_members(struct hlk *c, const char *name, uint32_t limit, uint64_t *cursor, hlk_task_row_fn *each, void *ctx)
{
	const struct task_query q = { .verb = VERB_GROUP_MEMBERS, .queue = name, .limit = limit, .what = "group members" };
	return ask_tasks(c, &q, cursor, each, ctx);
}

struct peek { hlk_task_row_fn *each; void *ctx; uint32_t left; };
static void peek_row(const struct hlk_task_row *row, void *arg)
{
	struct peek *peek = arg;
	peek->left -= peek->left > 0;
	peek->each(row, peek->ctx);
}

/* A page holds what fits into a frame, and may be empty where the broker had to look far. */
int hlk_queue_peek(struct hlk *c, const char *queue, uint32_t limit, hlk_task_row_fn *each, void *ctx)
{
	struct peek peek = { each, ctx, limit ? limit : 100 };
	uint64_t cursor = 0;
	int code;
	do {
		const struct task_query q = { .verb = VERB_QUEUE_PEEK, .queue = queue, .limit = peek.left, .what = "queue peek" };
		code = ask_tasks(c, &q, &cursor, peek_row, &peek);
	} while (code == HLK_OK && cursor != 0 && peek.left > 0);
	return code;
}

int hlk_task_show(struct hlk *c, uint64_t task, hlk_task_row_fn *each, void *ctx)
{
	/* PEEK is SHOW with the payload, which a row has room for. */
	const struct task_query q = { .verb = VERB_TASK_PEEK, .task = task, .what = "task show" };
	return ask_tasks(c, &q, NULL, each, ctx);
}

int hlk_task_list(struct hlk *c, const char *queue, const char *state, uint32_t limit, uint64_t *cursor,
		  hlk_task_row_fn *each, void *ctx)
{
	struct task_query q = { .verb = VERB_TASK_LIST, .queue = queue, .limit = limit, .what = "task list" };
	if (state && *state) {
		while (++q.state < TASK_STATES && strcmp(task_state_name(q.state), state) != 0)
			;
		if (q.state == TASK_STATES)
			return error_set(c, HLK_INVALID_INPUT, "task list: there is no state \"%.40s\"", state);
	}
	return ask_tasks(c, &q, cursor, each, ctx);
}

static int change_task(struct hlk *c, enum verb verb, uint64_t task, const char *reason, const char *what)
{
	struct call *call = call_new(verb, NULL);
	call->msg.request.tasks = (struct u64s){ &task, 1 };
	call->msg.request.text = span_str(reason);
	call->msg.request.text.len = MIN_OF(call->msg.request.text.len, (size_t)LIMIT_TEXT_BYTES);
	return call_end(c, call, what);
}

int hlk_task_cancel(struct hlk *c, uint64_t task, const char *reason)
{
	return change_task(c, VERB_TASK_CANCEL, task, reason, "task cancel");
}

int hlk_task_cancel_tree(struct hlk *c, uint64_t task, const char *reason, uint64_t *count)
{
	struct call *call = call_new(VERB_TASK_CANCEL, NULL);
	call->msg.request.tasks = (struct u64s){ &task, 1 };
	call->msg.request.text = span_str(reason);
	call->msg.request.tree = true;
	call->fn = count_out;
	call->arg = count;
	return call_end(c, call, "task cancel");
}

int hlk_task_interrupt(struct hlk *c, uint64_t task, const char *reason)
{
	return change_task(c, VERB_TASK_INTERRUPT, task, reason, "task interrupt");
}

int hlk_task_pause(struct hlk *c, uint64_t task)
{
	return change_task(c, VERB_TASK_PAUSE, task, NULL, "task pause");
}

int hlk_task_resume(struct hlk *c, uint64_t task)
{
	return change_task(c, VERB_TASK_RESUME, task, NULL, "task resume");
}

int hlk_task_step(struct hlk *c, uint64_t task)
{
	return change_task(c, VERB_TASK_STEP, task, NULL, "task step");
}

int hlk_task_tree(struct hlk *c, uint64_t task, uint32_t limit, hlk_task_row_fn *each, void *ctx)
{
	const struct task_query q = { .verb = VERB_TASK_TREE, .task = task, .limit = limit, .what = "task tree" };
	return ask_tasks(c, &q, NULL, each, ctx);
}

int hlk_dlq_redrive_tasks(struct hlk *c, const uint64_t *tasks, uint32_t count, uint64_t *count_out_)
{
	struct call *call = call_new(VERB_DLQ_REDRIVE, NULL);
	call->msg.request.tasks = (struct u64s){ tasks, count };
	call->fn = count_out;
	call->arg = count_out_;
	return call_end(c, call, "dlq redrive");
}

int hlk_task_retry(struct hlk *c, uint64_t task)
{
	return change_task(c, VERB_TASK_RETRY, task, NULL, "task retry");
}

int hlk_dlq_list(struct hlk *c, const char *queue, uint32_t limit, uint64_t *cursor, hlk_task_row_fn *each, void *ctx)
{
	const struct task_query q = { .verb = VERB_DLQ_LIST, .queue = queue, .limit = limit, .what = "dlq list" };
	return ask_tasks(c, &q, cursor, each, ctx);
}

int hlk_dlq_redrive(struct hlk *c, const char *queue, uint32_t limit, uint64_t *count)
{
	struct call *call = call_new(VERB_DLQ_REDRIVE, queue);
	call->msg.request.limit = limit;
	call->fn = count_out;
	call->arg = count;
	return call_end(c, call, "dlq redrive");
}

int hlk_dlq_purge(struct hlk *c, const char *queue, uint64_t *count)
{
	return simple(c, VERB_DLQ_PURGE, queue, "dlq purge", count_out, count);
}

/* ---- the broker ---- */

int hlk_worker_list(struct hlk *c, hlk_worker_fn *each, void *ctx)
{
	struct worker_rows rows = { each, ctx };
	struct call *call = call_new(VERB_WORKER_LIST, NULL);
	call->question = true;
	call->msg.request.limit = 1000;
	call->fn = worker_rows;
	call->arg = &rows;
	return call_end(c, call, "worker list");
}

int hlk_worker_drain(struct hlk *c, const char *worker, uint64_t *count)
{
	return simple(c, VERB_WORKER_DRAIN, worker, "worker drain", count_out, count);
}

int hlk_worker_kick(struct hlk *c, const char *worker, const char *reason, uint64_t *count)
{
	struct call *call = call_new(VERB_WORKER_KICK, worker);
	call->msg.request.text = span_str(reason);
	call->msg.request.text.len = MIN_OF(call->msg.request.text.len, (size_t)LIMIT_TEXT_BYTES);
	call->fn = count_out;
	call->arg = count;
	return call_end(c, call, "worker kick");
}

int hlk_stats(struct hlk *c, hlk_stat_fn *each, void *ctx)
{
	struct stat_rows rows = { each, ctx };
	struct call *call = call_new(VERB_STATS, NULL);
	call->question = true;
	call->fn = stat_rows;
	call->arg = &rows;
	return call_end(c, call, "stats");
}

int hlk_checkpoint(struct hlk *c)
{
	return simple(c, VERB_CHECKPOINT, NULL, "checkpoint", NULL, NULL);
}

int hlk_node_reload(struct hlk *c)
{
	return simple(c, VERB_NODE_RELOAD, NULL, "node reload", NULL, NULL);
}

/* ---- topics ---- */

struct topic_rows { hlk_topic_fn *each; void *ctx; uint64_t next; };
static void topic_rows(struct hlk *c, const struct msg_reply *m, void *arg)
{
	struct topic_rows *rows = arg;
	(void)c;
	rows->next = m->next;
	for (uint32_t i = 0; i < m->topic_count; i++) {
		struct topic_info t;
		msg_reply_topic(m, i, &t);
		const struct hlk_topic_row row = { t.kind == TOPIC_KIND_EVENTS ? "events" : "tasks", text_of(t.queue),
						   text_of(t.pattern), text_of(t.vnet) };
		rows->each(&row, rows->ctx);
	}
}

static int topic_change(struct hlk *c, enum verb verb, const char *queue, const char *pattern, const char *what)
{
	struct call *call = call_new(verb, queue);
	call->msg.request.text = span_str(pattern);
	return call_end(c, call, what);
}

int hlk_queue_bind(struct hlk *c, const char *queue, const char *pattern)
{
	return topic_change(c, VERB_QUEUE_BIND, queue, pattern, "queue bind");
}

int hlk_queue_unbind(struct hlk *c, const char *queue, const char *pattern)
{
	return topic_change(c, VERB_QUEUE_UNBIND, queue, pattern, "queue unbind");
}

int hlk_subscription_add(struct hlk *c, const char *queue, const char *pattern)
{
	return topic_change(c, VERB_SUBSCRIPTION_ADD, queue, pattern, "subscription add");
}

int hlk_subscription_remove(struct hlk *c, const char *queue, const char *pattern)
{
	return topic_change(c, VERB_SUBSCRIPTION_REMOVE, queue, pattern, "subscription rm");
}

int hlk_topic_list(struct hlk *c, const char *queue, hlk_topic_fn *each, void *ctx)
{
	struct topic_rows rows = { each, ctx, 0 };
	int code;
	do {
		struct call *call = call_new(VERB_TOPIC_LIST, queue);
		call->question = true;
		call->fn = topic_rows;
		call->arg = &rows;
		call->msg.request.cursor = rows.next;
		call->msg.request.limit = 1000;
		code = call_end(c, call, "topics");
	} while (code == HLK_OK && rows.next != 0);
	return code;
}
