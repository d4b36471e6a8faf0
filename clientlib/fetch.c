/* clientlib/fetch.c: what a payload needs before a handler may see it. In the flow: DELIVER, INVOKE -> FETCH -> handler.
 *
 * 1. A task or call whose blob is on its way is unknown to its handler: signals of it are answered here.
 * 2. References to something of another type are refused before the handler is called. */
#include "blob_impl.h"
#include "holder_impl.h"

/* Why a reference is not taken, or NULL. */
static const char *refused(struct hlk *c, const struct entry *e, enum hlk_payload_kind kind, const void *payload, size_t size)
{
	struct hlk_payload p;
	if (kind != HLK_REFERENCE || !e->reference_type)
		return NULL;
	if (hlk_payload_of(c, HLK_REFERENCE, payload, size, &p) == HLK_OK && hlk_payload_expect(c, &p, e->reference_type) == HLK_OK)
		return NULL;
	return c->error.text;
}

static bool wanted(struct hlk *c, enum hlk_payload_kind kind, const void *payload, size_t size, size_t max, struct hlk_payload *out)
{
	return kind == HLK_BLOB && hlk_payload_of(c, HLK_BLOB, payload, size, out) == HLK_OK && out->size <= max;
}

static uint32_t begin(struct hlk *c, const struct hlk_payload *p, hlk_blob_fn *fn, void *ctx)
{
	uint32_t transfer = 0;
	const struct hlk_blob_sink sink = { .max = (size_t)MAX_OF(p->size, 1u) };
	int code = hlk_blob_get(c, p->blob.digest, &sink, fn, ctx, &transfer);
	ENSURE(code == HLK_OK || c->closing);
	return transfer;
}

/* ---- tasks ---- */

static int class_of(int code)
{
	bool wrong = code == HLK_INTEGRITY_MISMATCH || code == HLK_DAMAGED;
	return wrong ? HLK_INTEGRITY_MISMATCH : code == HLK_NOT_FOUND || code == HLK_TOO_BIG ? HLK_PERMANENT : HLK_TRANSIENT;
}

static void task_fetched(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	struct hlk_task *task = ctx;
	char text[MAP_ERROR_TEXT];
	task->fetch = 0;
	if (done->code == HLK_CLOSED || done->code == HLK_CANCELLED)
		return;
	if (done->code != HLK_OK) {
		(void)snprintf(text, sizeof text, "its payload could not be fetched: %.400s", done->text);
		(void)hlk_start(task);
		(void)hlk_fail(task, class_of(done->code), 0, text, -1);
		return;
	}
	task->fetched = blob_take(c);
	task->info.payload = task->fetched.data;
	task->info.size = task->fetched.len;
	task->info.kind = HLK_INLINE;
	worker_hand_over(c, task);
}

bool fetch_task(struct hlk *c, struct hlk_task *task)
{
	const struct hlk_task_info *i = &task->info;
	struct hlk_payload p;
	size_t max = MAX_OF(task->entry->fetch, shape_max(shape_find(c, i->type, false)));
	const char *why = refused(c, task->entry, i->kind, i->payload, i->size);
	if (why) {
		(void)hlk_start(task);
		(void)hlk_fail(task, HLK_INVALID_INPUT, HLK_SCHEMA_MISMATCH, why, -1);
		return true;
	}
	if (task->entry->gone || !wanted(c, i->kind, i->payload, i->size, max, &p))
		return false;
	task->fetch = begin(c, &p, task_fetched, task);
	return task->fetch != 0;
}

void fetch_signal(struct hlk *c, struct hlk_task *task, const char *signal)
{
	if (strcmp(signal, "deadline-soon") == 0) {
		(void)hlk_extend(task, 60000);
		return;
	}
	bool lost = strcmp(signal, "lease-lost") == 0;
	if (!lost && strcmp(signal, "cancel") != 0 && strcmp(signal, "interrupt") != 0)
		return;
	blob_forget(c, task->fetch);
	task->fetch = 0;
	if (lost)
		task_free(task);
	else
		(void)hlk_confirm_cancel(task);
}

/* ---- calls ---- */

static void call_fetched(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	struct hlk_call *call = ctx;
	call->fetch = 0;
	if (done->code == HLK_CLOSED || done->code == HLK_CANCELLED)
		return;
	if (done->code != HLK_OK) {
		(void)hlk_answer_error(call, done->code, 0, done->text);
		return;
	}
	call->fetched = blob_take(c);
	call->info.payload = call->fetched.data;
	call->info.size = call->fetched.len;
	call->info.kind = HLK_INLINE;
	call->entry->call(c, call, call->entry->ctx);
}

bool fetch_call(struct hlk *c, struct hlk_call *call)
{
	const struct hlk_call_info *i = &call->info;
	struct hlk_payload p;
	const char *why = refused(c, call->entry, i->kind, i->payload, i->size);
	if (why) {
		(void)hlk_answer_error(call, HLK_SCHEMA_MISMATCH, 0, why);
		return true;
	}
	if (!wanted(c, i->kind, i->payload, i->size, call->entry->fetch, &p))
		return false;
	call->fetch = begin(c, &p, call_fetched, call);
	return call->fetch != 0;
}
