/* clientlib/report_spill.c: results and yields that are too big for a frame. In the flow: hlk_complete -> SPILL -> an upload -> report.c.
 *
 * 1. What is said of one task leaves in the order in which it was said: while something of it goes up, the rest waits here.
 * 2. A task whose result goes up counts as held, so that credit bounds how many results are kept; the broker is told that we hold it.
 * 3. So does what would end a task while parts of tasks (submissions with a parent) go up: they are refused once it is over.
 * 4. A result that cannot be stored fails the attempt, with the reason: the task does not hang. A full broker is asked again. */
#include "blob_impl.h"

struct spilled_report {
	struct spilled_report *next;
	struct hlk *client;
	struct task_ref ref;
	struct entry *entry;
	struct report_item item;
	struct buf data;
	uint32_t transfer;               /* 0: it is up, or waits behind another */
};

static bool same_ref(const struct task_ref *a, const struct task_ref *b)
{
	return a->task == b->task && a->attempt == b->attempt && a->epoch == b->epoch;
}

bool report_waits(const struct worker *w, const struct task_ref *ref)
{
	const struct spilled_report *s = w->spills;
	while (s && !same_ref(&s->ref, ref))
		s = s->next;
	return s != NULL;
}

static struct spilled_report *spill_add(struct hlk *c, const struct task_ref *ref, const struct report_item *item, struct span data)
{
	struct worker *w = &c->worker;
	struct spilled_report *s = calloc(1, sizeof *s), **at = &w->spills;
	ENSURE(s != NULL);
	*s = (struct spilled_report){ .client = c, .ref = *ref, .item = *item };
	buf_append(&s->data, data.data, data.len);
	while (*at)
		at = &(*at)->next;
	*at = s;
	w->spill_count++;
	w->spilled_bytes += data.len;
	return s;
}

static void spill_free(struct hlk *c, struct spilled_report *s)
{
	struct worker *w = &c->worker;
	blob_forget(c, s->transfer);
	w->spill_count--;
	w->spilled_bytes -= s->data.len;
	if (s->entry) {
		s->entry->held--;
		w->credit_dirty = true;
	}
	buf_free(&s->data);
	free(s);
}

static bool first_of_task(const struct worker *w, const struct spilled_report *s)
{
	const struct spilled_report *before = w->spills;
	while (before != s && !same_ref(&before->ref, &s->ref))
		before = before->next;
	return before == s;
}

/* Makes the reports that nothing is in front of. */
void report_spill_drain(struct hlk *c)
{
	struct worker *w = &c->worker;
	struct spilled_report **at = &w->spills;
	while (*at) {
		struct spilled_report *s = *at;
		if (s->transfer || !first_of_task(w, s) || (s->entry && report_parts_wait(c))) {
			at = &s->next;
			continue;
		}
		*at = s->next;
		report_put(c, &s->ref, &s->item, buf_span(&s->data));
		spill_free(c, s);
	}
}

static void set_data(struct hlk *c, struct spilled_report *s, struct span data)
{
	c->worker.spilled_bytes -= s->data.len;
	s->data.len = 0;
	buf_append(&s->data, data.data, data.len);
	c->worker.spilled_bytes += s->data.len;
}

/* The attempt fails for it; what else was to be said of the task is not said. */
static void give_up(struct hlk *c, struct spilled_report *s, const struct hlk_blob_done *done)
{
	char text[MAP_ERROR_TEXT];
	bool yield = s->item.verb == REPORT_YIELD;
	const struct task_ref ref = s->ref;
	(void)snprintf(text, sizeof text, "the %s could not be stored: %.400s (%s)", yield ? "yield" : "result", done->text,
		       err_name((uint32_t)done->code));
	s->item = (struct report_item){ .verb = REPORT_FAIL, .class_code = err_retryable((uint32_t)done->code) ? ERR_TRANSIENT : ERR_PERMANENT };
	set_data(c, s, span_str(text));
	for (struct spilled_report **at = &s->next; *at;) {
		struct spilled_report *later = *at;
		if (!same_ref(&later->ref, &ref)) {
			at = &later->next;
			continue;
		}
		*at = later->next;
		spill_free(c, later);
	}
	report_spill_drain(c);
	if (yield)
		worker_lost(c, &ref);
}

static void uploaded(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	struct spilled_report *s = ctx;
	struct blob_ref ref;
	s->transfer = 0;
	if (done->code == HLK_CLOSED)
		return; /* report_spill_close frees it */
	if (done->code != HLK_OK) {
		give_up(c, s, done);
		return;
	}
	s->item.flags |= REPORT_FLAG_BLOB;
	set_data(c, s, spill_ref(&done->blob, &ref));
	report_spill_drain(c);
}

void report_spill(struct hlk *c, const struct task_ref *ref, struct entry *entry, const struct report_item *item, struct span data)
{
	struct spilled_report *s = spill_add(c, ref, item, data);
	s->entry = entry;
	s->transfer = put_memory(c, buf_span(&s->data), true, uploaded, s);
}

void report_behind(struct hlk *c, const struct task_ref *ref, struct entry *entry, const struct report_item *item, struct span data)
{
	spill_add(c, ref, item, data)->entry = entry;
}

uint32_t report_spill_refs(const struct worker *w, struct task_ref *out)
{
	uint32_t count = 0;
	for (const struct spilled_report *s = w->spills; s; s = s->next)
		if (s->entry)
			out[count++] = s->ref;
	return count;
}

void report_spill_close(struct hlk *c)
{
	while (c->worker.spills) {
		struct spilled_report *s = c->worker.spills;
		c->worker.spills = s->next;
		spill_free(c, s);
	}
}

/* ---- refused for what it was sent as ---- */

static bool find_item(const struct report_frame *f, const struct report_key *key, struct msg *msg, struct report_item *item,
		      struct span *data)
{
	struct frame frame;
	size_t used, need, at = 0;
	char text[128];
	enum err e = frame_decode(buf_span(&f->bytes), LIMIT_FRAME_BYTES, &frame, &used, &need, text);
	if (e == ERR_OK)
		e = msg_decode(&frame, msg, text);
	for (uint32_t i = 0; e == ERR_OK && i < msg->report.count; i++) {
		*item = msg->report.items[i];
		*data = span_sub(frame.payload, at, item->size);
		at += item->size;
		if (item->verb == key->verb && same_ref(&item->ref, &key->ref) && (item->verb != REPORT_YIELD || item->app_code == key->number))
			return true;
	}
	return false;
}

static bool spill_one(struct hlk *c, const struct report_frame *f, const struct report_key *key)
{
	struct msg *msg = calloc(1, sizeof *msg);
	struct report_item item;
	struct span data;
	ENSURE(msg != NULL);
	bool good = c->session.blob_above > 0 && !c->closing && find_item(f, key, msg, &item, &data);
	if (good) {
		struct hlk_task *task = ids_get(&c->worker.tasks, key->ref.task);
		if (task)
			task->entry->above = (uint32_t)MAX_OF(data.len, (size_t)2) - 1;
		report_spill(c, &key->ref, NULL, &item, data);
	}
	free(msg);
	return good;
}

bool report_spill_again(struct hlk *c, const struct report_frame *f, const struct report_key *key, int code)
{
	if (key->verb != REPORT_COMPLETE && key->verb != REPORT_YIELD)
		return false;
	if (code == ERR_SPILL && !key->blob)
		return spill_one(c, f, key);
	if (code != ERR_NOT_FOUND || !key->blob || key->verb != REPORT_COMPLETE)
		return false;
	const struct report_item fail = { .verb = REPORT_FAIL, .class_code = ERR_TRANSIENT };
	report_put(c, &key->ref, &fail, span_str("the blob of the result was collected before the broker had the result"));
	return true;
}
