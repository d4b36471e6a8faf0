/* clientlib/mock_admin.c: requests to the broker in memory. See mock_impl.h. */
#include "mock_impl.h"

/* What a reply is built in; rows point into the mock. */
struct answer { struct msg msg; struct task_info *tasks; struct queue_info *queues; char why[256]; };

static enum err refuse(struct answer *a, enum err code, const char *text)
{
	a->msg.reply.text = span_str(text);
	return code;
}

static void add_task(struct answer *a, const struct mock_task *t, bool payload)
{
	struct msg_reply *r = &a->msg.reply;
	struct task_info *tasks = realloc(a->tasks, (r->task_count + 1) * sizeof *tasks);
	ENSURE(tasks != NULL);
	a->tasks = tasks;
	tasks[r->task_count++] = (struct task_info){
		.task = t->id, .state = t->state, .priority = t->priority, .type = span_str(t->type),
		.queue = span_str(t->queue->name), .reason = span_str(t->reason), .key = span_str(t->key),
		.worker = span_str(mock_leased(t->state) ? "mock" : ""), .result = buf_span(&t->result),
		.payload = payload ? buf_span(&t->payload) : (struct span){ NULL, 0 },
		.submitted_ms = t->submitted_ms, .ready_ms = t->ready_ms, .expires_ms = t->expires_ms,
		.settled_ms = t->settled_ms, .acquired = t->attempt, .failed = t->failed,
		.parent = t->parent, .root = t->root, .progress = t->progress, .yields = t->yield_count, .phase = t->phase,
		.progress_text = span_str(t->progress_text ? t->progress_text : ""),
		.max_attempts = t->max_attempts, .size = (uint32_t)t->payload.len, .app_code = t->app_code, .code = t->code,
	};
}

static void add_queue(struct mock *m, struct answer *a, const struct mock_queue *q)
{
	struct msg_reply *r = &a->msg.reply;
	struct queue_info *queues = realloc(a->queues, (r->queue_count + 1) * sizeof *queues);
	uint32_t workers = 0;
	ENSURE(queues != NULL);
	a->queues = queues;
	for (uint32_t i = 0; i < m->entry_count; i++)
		workers += strcmp(m->entries[i].name, q->name) == 0;
	queues[r->queue_count++] = (struct queue_info){
		.name = span_str(q->name), .paused = q->paused, .settings = q->settings, .ready = q->count[TASK_READY],
		.leased = q->count[TASK_LEASED] + q->count[TASK_STARTED], .scheduled = q->count[TASK_SCHEDULED],
		.dead = q->count[TASK_DEAD], .submitted_total = q->submitted_total, .done_total = q->count[TASK_DONE],
		.failed_total = q->count[TASK_FAILED], .expired_total = q->expired_total,
		.cancelled_total = q->count[TASK_CANCELLED], .dead_total = q->dead_total, .workers = workers,
	};
}

/* Tasks of a queue (any where `name` is empty) and state (0: any), from the cursor on. */
static void list_tasks(struct mock *m, struct answer *a, const struct msg_request *r, uint8_t state)
{
	for (uint64_t i = r->cursor; i < m->task_count; i++) {
		const struct mock_task *t = m->tasks[i];
		if ((r->name.len && !span_eq(span_str(t->queue->name), r->name)) || (state && t->state != state))
			continue;
		if (a->msg.reply.task_count == r->limit) {
			a->msg.reply.next = i;
			return;
		}
		add_task(a, t, r->verb != VERB_TASK_LIST);
	}
}

static enum err create(struct mock *m, struct answer *a, const struct msg_request *r)
{
	struct mock_queue *q = mock_queue_find(m, r->name);
	if (!queue_name_ok(r->name, a->why))
		return refuse(a, ERR_INVALID_INPUT, a->why);
	if (q) {
		struct queue_settings wanted = queue_settings_over(q->settings, r->settings);
		return memcmp(&wanted, &q->settings, sizeof wanted) == 0 ? ERR_OK : ERR_EXISTS;
	}
	q = mock_queue_new(m, r->name);
	q->settings = queue_settings_over(q->settings, r->settings);
	return ERR_OK;
}

static enum err remove_queue(struct mock *m, struct answer *a, struct mock_queue *q)
{
	struct mock_queue **at = &m->queues;
	for (uint64_t i = 0; i < m->task_count; i++)
		if (m->tasks[i]->queue == q) /* in memory settled tasks keep their queue */
			return refuse(a, ERR_WRONG_STATE, "the queue is not empty");
	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	free(q->name);
	free(q);
	return ERR_OK;
}

struct sweep { enum task_state state; bool again; uint32_t limit; };

/* At most `limit` tasks of the queue that are in `state`: tried again, or cancelled. */
static void sweep(struct mock *m, struct answer *a, struct mock_queue *q, const struct sweep *s)
{
	for (uint64_t i = 0; i < m->task_count && a->msg.reply.count < s->limit; i++) {
		struct mock_task *t = m->tasks[i];
		if (t->queue != q || t->state != s->state)
			continue;
		a->msg.reply.count++;
		if (s->again)
			mock_task_again(m, t);
		else
			mock_task_settle(m, t, TASK_CANCELLED, ERR_CANCELLED, span_str("purged"));
	}
}

static enum err queue_verb(struct mock *m, struct answer *a, const struct msg_request *r)
{
	struct mock_queue *q = mock_queue_find(m, r->name);
	bool again = r->verb == VERB_DLQ_REDRIVE, purge = r->verb == VERB_QUEUE_PURGE;
	struct sweep what = { purge ? TASK_READY : TASK_DEAD, again, again && r->limit ? r->limit : UINT32_MAX };
	if (r->verb == VERB_QUEUE_CREATE)
		return create(m, a, r);
	if (!q)
		return refuse(a, ERR_NOT_FOUND, "no such queue");
	if (r->verb == VERB_QUEUE_SHOW)
		add_queue(m, a, q);
	else if (r->verb == VERB_QUEUE_SET)
		q->settings = queue_settings_over(q->settings, r->settings);
	else if (r->verb == VERB_QUEUE_PAUSE || r->verb == VERB_QUEUE_RESUME)
		q->paused = r->verb == VERB_QUEUE_PAUSE;
	else if (r->verb == VERB_QUEUE_PEEK)
		list_tasks(m, a, r, TASK_READY);
	else if (r->verb == VERB_DLQ_LIST)
		list_tasks(m, a, r, TASK_DEAD);
	else if (r->verb == VERB_QUEUE_REMOVE)
		return remove_queue(m, a, q);
	else
		sweep(m, a, q, &what);
	what.state = TASK_SCHEDULED;
	if (purge)
		sweep(m, a, q, &what);
	return ERR_OK;
}

/* One task, or with it all below. The count is of those that were affected; one below that has ended is no refusal. */
static enum err family_verb(struct mock *m, struct answer *a, const struct msg_request *r, struct mock_task *t)
{
	struct mock_task **family;
	bool interrupt = r->verb == VERB_TASK_INTERRUPT, tree = interrupt || r->tree;
	uint32_t count = mock_family(m, t->id, tree ? UINT32_MAX : 1, &family);
	enum err first = ERR_OK;
	for (uint32_t i = 0; i < count; i++) {
		enum err e = (interrupt ? mock_interrupt : mock_task_cancel)(m, family[i], r->text);
		a->msg.reply.count += e == ERR_OK;
		if (e != ERR_OK && (i == 0 && !tree))
			first = refuse(a, e, "the task is settled");
	}
	free(family);
	return first;
}

static void tree(struct mock *m, struct answer *a, const struct msg_request *r, const struct mock_task *t)
{
	struct mock_task **family;
	uint32_t count = mock_family(m, t->id, r->limit ? r->limit : 100, &family);
	for (uint32_t i = 0; i < count; i++)
		add_task(a, family[i], false);
	free(family);
}

static enum err task_verb(struct mock *m, struct answer *a, const struct msg_request *r)
{
	struct mock_task *t = r->tasks.count == 1 ? mock_task_find(m, r->tasks.at[0]) : NULL;
	if (!t)
		return refuse(a, ERR_NOT_FOUND, "no such task");
	if (r->verb == VERB_TASK_CANCEL || r->verb == VERB_TASK_INTERRUPT)
		return family_verb(m, a, r, t);
	if (r->verb == VERB_TASK_PAUSE || r->verb == VERB_TASK_RESUME || r->verb == VERB_TASK_STEP) {
		enum err e = mock_control(m, t, r->verb == VERB_TASK_PAUSE ? SIGNAL_PAUSE : r->verb == VERB_TASK_STEP ? SIGNAL_STEP
												      : SIGNAL_RESUME);
		return e == ERR_OK ? e : refuse(a, e, "the task is in no worker's hands");
	}
	if (r->verb == VERB_TASK_TREE) {
		tree(m, a, r, t);
		return ERR_OK;
	}
	if (r->verb != VERB_TASK_RETRY) {
		add_task(a, t, true);
		return ERR_OK;
	}
	if (mock_leased(t->state) || t->state == TASK_DONE)
		return refuse(a, ERR_WRONG_STATE, "a task in work or done is not tried again");
	mock_task_again(m, t);
	return ERR_OK;
}

/* How many they are; they go with the SERVE that follows. */
static enum err entry_remove(struct mock *m, struct answer *a, const struct msg_request *r)
{
	struct buf where = { NULL, 0, 0 };
	char text[128];
	enum err e = predicate_parse(r->text, &where, text);
	a->msg.reply.count = e == ERR_OK ? mock_entries_of(m, r->name, buf_span(&where)) : 0;
	buf_free(&where);
	return e;
}

static enum err answer(struct mock *m, struct answer *a, const struct msg_request *r)
{
	switch (r->verb) {
	case VERB_TASK_SHOW:
	case VERB_TASK_PEEK:
	case VERB_TASK_CANCEL:
	case VERB_TASK_RETRY:
	case VERB_TASK_INTERRUPT:
	case VERB_TASK_PAUSE:
	case VERB_TASK_RESUME:
	case VERB_TASK_STEP:
	case VERB_TASK_TREE: return task_verb(m, a, r);
	case VERB_TASK_LIST: list_tasks(m, a, r, r->state); return ERR_OK;
	case VERB_QUEUE_LIST:
		for (const struct mock_queue *q = m->queues; q; q = q->next)
			add_queue(m, a, q);
		return ERR_OK;
	case VERB_QUEUE_SHOW:
	case VERB_QUEUE_CREATE:
	case VERB_QUEUE_SET:
	case VERB_QUEUE_PURGE:
	case VERB_QUEUE_PAUSE:
	case VERB_QUEUE_RESUME:
	case VERB_QUEUE_PEEK:
	case VERB_QUEUE_REMOVE:
	case VERB_DLQ_LIST:
	case VERB_DLQ_REDRIVE:
	case VERB_DLQ_PURGE: return queue_verb(m, a, r);
	case VERB_ENTRY_REMOVE: return entry_remove(m, a, r);
	case VERB_STATS:
	case VERB_WORKER_LIST:
	case VERB_CHECKPOINT: return ERR_OK;
	default: break;
	}
	return refuse(a, ERR_UNSUPPORTED, "not in the mock");
}

void mock_request(struct mock *m, const struct msg_request *r, uint32_t correlation)
{
	if (r->verb >= VERB_BLOB_LIST && r->verb <= VERB_BLOB_SCRUB) {
		mock_blob_request(m, r, correlation);
		return;
	}
	struct answer *a = calloc(1, sizeof *a);
	ENSURE(a != NULL);
	a->msg.kind = FRAME_REPLY;
	enum err code = answer(m, a, r);
	const struct stat_item stat = { span_str("tasks"), (double)m->task_count };
	a->msg.reply.code = (uint16_t)code;
	a->msg.reply.tasks = a->tasks;
	a->msg.reply.queues = a->queues;
	a->msg.reply.stats = &stat;
	a->msg.reply.stat_count = r->verb == VERB_STATS;
	mock_send(m, &a->msg, correlation);
	free(a->tasks);
	free(a->queues);
	free(a);
}
