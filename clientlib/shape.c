/* clientlib/shape.c: objects of a program instead of payloads: shapes by type. In the flow: hlk_submit_object -> SHAPE ->
 * hlk_submit_payload; DELIVER, RESULTS -> SHAPE -> handler, result callback.
 *
 * 1. What shrink made is good until its shrunk; what expand made is released once, when the task is settled or the callback has returned.
 * 2. A result whose blob has to be fetched is told when that is here; its deadline goes on meanwhile. */
#include "blob_impl.h"

struct shape { struct shape *next; char *type; struct hlk_shape is; };
/* A result that waits for its blob. */
struct shaped_result { struct hlk_result result; const struct shape *shape; };

struct shape *shape_find(const struct hlk *c, const char *type, bool results)
{
	struct shape *s = c->blobs.shapes;
	while (s && (s->is.results != results || strcmp(s->type, type) != 0))
		s = s->next;
	return s;
}

size_t shape_max(const struct shape *s)
{
	return !s || !s->is.expand ? 0 : s->is.max ? s->is.max : BLOB_MEMORY;
}

int hlk_shape(struct hlk *c, const struct hlk_shape *shape)
{
	if (!shape->type || !*shape->type || !(shape->shrink || shape->expand))
		return error_set(c, HLK_INVALID_INPUT, "shape: needs a type, and shrink or expand");
	if (shape_find(c, shape->type, shape->results))
		return error_set(c, HLK_EXISTS, "shape: %.200s has one", shape->type);
	struct shape *s = calloc(1, sizeof *s);
	ENSURE(s != NULL);
	s->type = strdup(shape->type);
	ENSURE(s->type != NULL);
	s->is = *shape;
	s->is.type = s->type;
	s->next = c->blobs.shapes;
	c->blobs.shapes = s;
	return HLK_OK;
}

void shape_close(struct hlk *c)
{
	while (c->blobs.shapes) {
		struct shape *s = c->blobs.shapes;
		c->blobs.shapes = s->next;
		free(s->type);
		free(s);
	}
}

/* ---- tasks ---- */

bool shape_expand_task(struct hlk *c, struct hlk_task *task)
{
	const struct hlk_task_info *i = &task->info;
	const struct shape *s = shape_find(c, i->type, false);
	struct hlk_payload p;
	char text[MAP_ERROR_TEXT];
	if (!s || !s->is.expand)
		return true;
	int code = hlk_payload_of(c, i->kind, i->payload, i->size, &p);
	if (code == HLK_OK)
		code = s->is.expand(c, &p, &task->object, s->is.ctx);
	if (code == HLK_OK)
		return true;
	(void)snprintf(text, sizeof text, "the payload makes no object of type %.200s (%s)", i->type, err_name((uint32_t)code));
	(void)hlk_start(task);
	(void)hlk_fail(task, HLK_INVALID_INPUT, 0, text, -1);
	return false;
}

void shape_release_task(struct hlk_task *task)
{
	const struct shape *s = task->object ? shape_find(task->client, task->info.type, false) : NULL;
	void *object = task->object;
	task->object = NULL;
	if (s && s->is.release)
		s->is.release(task->client, object, s->is.ctx);
}

void *hlk_task_object(const struct hlk_task *task)
{
	return task->object;
}

static int shrink(struct hlk *c, const char *type, bool results, const void *object, struct hlk_payload *out, const struct shape **by)
{
	const struct shape *s = *by = shape_find(c, type, results);
	*out = (struct hlk_payload){ .kind = HLK_INLINE };
	if (!s || !s->is.shrink)
		return error_set(c, HLK_NOT_FOUND, "shape: %.200s has none to shrink %s", type, results ? "results" : "payloads");
	int code = s->is.shrink(c, object, out, s->is.ctx);
	return code == HLK_OK ? HLK_OK : error_set(c, code, "shape: an object of type %.200s was not shrunk", type);
}

static void shrunk(struct hlk *c, const struct shape *s, struct hlk_payload *p)
{
	if (s->is.shrunk)
		s->is.shrunk(c, p, s->is.ctx);
}

static bool head_type(const struct hlk_head *head, char out[LIMIT_NAME_BYTES + 1])
{
	struct task_head *h = calloc(1, sizeof *h);
	char text[128];
	ENSURE(h != NULL);
	enum err e = task_head_decode(buf_span(&head->bytes), h, text);
	if (e == ERR_OK)
		(void)snprintf(out, LIMIT_NAME_BYTES + 1, "%.*s", (int)h->type.len, (const char *)h->type.data);
	free(h);
	return e == ERR_OK;
}

int hlk_submit_object(struct hlk *c, struct hlk_head *head, const void *object, hlk_submit_fn *fn, void *ctx)
{
	char type[LIMIT_NAME_BYTES + 1] = "";
	struct hlk_payload p;
	const struct shape *s;
	(void)head_type(head, type);
	int code = shrink(c, type, false, object, &p, &s);
	if (code != HLK_OK)
		return code;
	code = hlk_submit_payload(c, head, &p, fn, ctx);
	shrunk(c, s, &p);
	return code;
}

int hlk_complete_object(struct hlk_task *task, const void *object)
{
	struct hlk *c = task->client;
	struct hlk_payload p;
	const struct shape *s;
	ENSURE(c != NULL); /* settled twice */
	int code = shrink(c, task->info.type, true, object, &p, &s);
	if (code != HLK_OK)
		return code;
	code = hlk_complete_payload(task, &p);
	shrunk(c, s, &p);
	return code;
}

/* ---- results ---- */

void shape_expect(struct hlk *c, const struct hlk_head *head, uint64_t task)
{
	char type[LIMIT_NAME_BYTES + 1] = "";
	struct shape *s = head_type(head, type) ? shape_find(c, type, true) : NULL;
	if (s && s->is.expand)
		ids_put(&c->results.shaped, task, s);
}

static void give(struct hlk *c, const struct shape *s, struct hlk_result *r)
{
	struct hlk_payload p;
	int code = hlk_payload_of(c, r->kind, r->data, r->size, &p);
	if (code == HLK_OK)
		code = s->is.expand(c, &p, &r->object, s->is.ctx);
	if (code != HLK_OK)
		r->code = code;
	results_give(c, r);
	if (r->object && s->is.release)
		s->is.release(c, r->object, s->is.ctx);
}

static void fetched(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	struct shaped_result *w = ctx;
	if (done->code == HLK_OK) {
		w->result.data = done->data;
		w->result.size = done->size;
		w->result.kind = HLK_INLINE;
		give(c, w->shape, &w->result);
	} else if (done->code != HLK_CLOSED) {
		w->result.code = done->code;
		w->result.data = done->text;
		w->result.size = strlen(done->text);
		w->result.kind = HLK_INLINE;
		results_give(c, &w->result);
	}
	free(w);
}

bool shape_result(struct hlk *c, const struct hlk_result *result)
{
	const struct shape *s = ids_take(&c->results.shaped, result->task);
	struct hlk_payload p;
	struct hlk_result r = *result;
	if (!s || result->code != HLK_OK)
		return false;
	bool fetch = hlk_payload_of(c, r.kind, r.data, r.size, &p) == HLK_OK && r.kind == HLK_BLOB &&
		     p.size <= shape_max(s);
	if (!fetch) {
		give(c, s, &r);
		return true;
	}
	struct shaped_result *w = malloc(sizeof *w);
	ENSURE(w != NULL);
	*w = (struct shaped_result){ r, s };
	const struct hlk_blob_sink sink = { .max = (size_t)MAX_OF(p.size, 1u) };
	if (hlk_blob_get(c, p.blob.digest, &sink, fetched, w, NULL) != HLK_OK)
		free(w);
	return true;
}
