/* broker/why.c: why a task is not being worked on: for each entry of its queue the first thing that is in the way, and what else is.
 * In the flow: frame -> ROUTE -> admin -> WHY -> REPLY. A question: it walks the entries of one queue and changes nothing.
 *
 * 1. A REPLY stays under its limits: beyond WHY_MAX reasons, or WHY_BYTES of them, the rest is only counted. */
#include "permit.h"
#include "outlet.h"

#include "../wire/params.h"
#include "../wire/predicate.h"

/* A reason quotes a requirement and a parameter, some kilobytes of text: the last one is far below the other half. */
enum { WHY_MAX = 512, WHY_BYTES = LIMIT_META_BYTES / 2 };

struct why {
	struct shard *s;
	struct buf bytes;
	size_t ends[WHY_MAX];
	uint32_t count, all;
};

static void say(struct why *w, const struct why_reason *reason)
{
	w->all++;
	if (w->count == WHY_MAX || w->bytes.len > WHY_BYTES)
		return;
	why_reason_encode(&w->bytes, reason);
	w->ends[w->count++] = w->bytes.len;
}

/* What the entry has declared under the name that the predicate begins with, as text; empty where it has not. */
static void declared(struct span predicate_text, struct span params, struct buf *out)
{
	static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t from = 0, len = 0;
	struct param_value value;
	while (from < predicate_text.len && (predicate_text.data[from] == '!' || predicate_text.data[from] == '('))
		from++;
	if (predicate_text.len - from > 4 && memcmp(predicate_text.data + from, "has(", 4) == 0)
		from += 4;
	while (from + len < predicate_text.len && memchr(word, predicate_text.data[from + len], sizeof word - 1))
		len++;
	if (len > 0 && params_find(params, span_sub(predicate_text, from, len), &value))
		value_print(&value, out);
}

static void say_requirement(struct why *w, const struct consumer *x, struct span failing)
{
	struct buf predicate = { NULL, 0, 0 }, value = { NULL, 0, 0 };
	predicate_print(failing, &predicate);
	declared(buf_span(&predicate), x->params, &value);
	say(w, &(struct why_reason){ .kind = WHY_REQUIREMENT, .entry = x->entry, .worker = span_str(x->session->client),
				     .predicate = buf_span(&predicate), .value = buf_span(&value) });
	buf_free(&predicate);
	buf_free(&value);
}

/* The first thing that keeps this entry from taking the task. */
static void say_entry(struct why *w, const struct consumer *x, struct span requires)
{
	struct span failing = predicate_failing(requires, x->params);
	struct why_reason reason = { .entry = x->entry, .worker = span_str(x->session->client) };
	if (failing.len > 0) {
		say_requirement(w, x, failing);
		return;
	}
	if (!x->session->conn || x->session->conn->starved)
		reason.kind = WHY_AWAY;
	else if (x->credit == 0)
		reason.kind = WHY_NO_CREDIT;
	else
		reason.kind = WHY_IN_LINE;
	say(w, &reason);
}

static void say_entries(struct why *w, uint32_t queue, struct span requires)
{
	uint32_t seen = 0;
	for (uint32_t i = 0; i < w->s->slot_count; i++)
		for (const struct consumer *x = w->s->slots[i] ? w->s->slots[i]->consumers : NULL; x; x = x->session_next) {
			if (x->queue != queue)
				continue;
			seen++;
			say_entry(w, x, requires);
		}
	if (seen == 0)
		say(w, &(struct why_reason){ .kind = WHY_NO_ENTRY });
}

static void say_blocked(struct why *w, const struct blocked_info *b)
{
	char text[96];
	(void)snprintf(text, sizeof text, "%u", b->open);
	if (b->first)
		say(w, &(struct why_reason){ .kind = WHY_AFTER, .task = b->first, .text = span_str(text) });
	(void)snprintf(text, sizeof text, "%llu of %llu are final", (unsigned long long)(b->members - b->members_open),
		       (unsigned long long)b->size);
	if (b->group.len)
		say(w, &(struct why_reason){ .kind = WHY_GROUP, .text = vnet_short(b->group), .value = span_str(text) });
}

static void say_state(struct why *w, uint64_t task, const struct task_view *v)
{
	const struct session *holder = v->holder ? tasks_holder_ctx(v->holder) : NULL;
	struct queue_info queue;
	if (v->state >= TASK_DONE) {
		say(w, &(struct why_reason){ .kind = WHY_SETTLED, .text = span_str(task_state_name(v->state)) });
		return;
	}
	if (v->state == TASK_LEASED || v->state == TASK_STARTED) {
		say(w, &(struct why_reason){ .kind = WHY_LEASED, .worker = span_str(holder ? holder->client : ""),
					     .text = span_str(task_state_name(v->state)) });
		return;
	}
	tasks_queue_info(w->s->tasks, v->queue, &queue);
	if (queue.paused)
		say(w, &(struct why_reason){ .kind = WHY_PAUSED, .text = queue.name });
	struct blocked_info blocked;
	if (tasks_blocked(w->s->tasks, task, &blocked))
		say_blocked(w, &blocked);
	if (v->state == TASK_SCHEDULED && v->ready_ms > w->s->wall_ms)
		say(w, &(struct why_reason){ .kind = WHY_DELAYED, .at_ms = v->ready_ms });
	uint64_t before = tasks_waits_for(w->s->tasks, task);
	if (before)
		say(w, &(struct why_reason){ .kind = WHY_ORDER, .task = before });
	struct span principal;
	uint32_t weight;
	if (v->state == TASK_READY && tasks_waits_for_share(w->s->tasks, task, &principal, &weight)) {
		char value[16];
		(void)snprintf(value, sizeof value, "%u", weight);
		say(w, &(struct why_reason){ .kind = WHY_SHARE, .text = principal, .value = span_str(value) });
	}
	const struct outlet *o = v->queue < w->s->outlet_cap ? w->s->outlets[v->queue] : NULL;
	if (o && o->broken_task)
		say(w, &(struct why_reason){ .kind = WHY_UNREADABLE, .task = o->broken_task });
	say_entries(w, v->queue, tasks_requires(w->s->tasks, task));
	if (v->expires_ms)
		say(w, &(struct why_reason){ .kind = WHY_EXPIRES, .at_ms = v->expires_ms });
}

enum err admin_why(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	struct shard *s = c->s;
	struct why w = { .s = s };
	struct task_view v;
	struct span specs[WHY_MAX];
	if (m->tasks.count != 1 || !tasks_show(s->tasks, m->tasks.at[0], &v)) {
		admin_reply(c, correlation, m->tasks.count == 1 ? ERR_NOT_FOUND : ERR_INVALID_INPUT,
			    m->tasks.count == 1 ? "REQUEST.tasks: no such task" : "REQUEST.tasks: one task", 0);
		return ERR_OK;
	}
	say_state(&w, m->tasks.at[0], &v);
	for (uint32_t i = 0; i < w.count; i++)
		specs[i] = span_sub(buf_span(&w.bytes), i ? w.ends[i - 1] : 0, w.ends[i] - (i ? w.ends[i - 1] : 0));
	s->msg.kind = FRAME_REPLY;
	s->msg.reply = (struct msg_reply){ .count = w.all, .specs = specs, .spec_count = w.count };
	msg_encode(&c->out, &s->msg, correlation, NULL, 0);
	conn_touch(c);
	buf_free(&w.bytes);
	return ERR_OK;
}
