/* clientlib/blob.c: the list of transfers: their turns, their ends, and those who wait for them. In the flow: hlk_process -> BLOB ->
 * blob_put.c, blob_get.c -> link.out. See blob_impl.h.
 *
 * 1. Transfers are freed in blob_step alone, so that a pointer to one is good for the rest of a frame.
 * 2. A transfer that is forgotten has no callback; it still tells the broker that nothing more is wanted. */
#include <stdarg.h>
#include <unistd.h>

#include "blob_impl.h"

struct transfer *blob_new(struct hlk *c, bool up, hlk_blob_fn *fn, void *ctx)
{
	struct transfer *t = calloc(1, sizeof *t), **at = &c->blobs.first;
	ENSURE(t != NULL);
	if (++c->blobs.last_id == 0)
		c->blobs.last_id = 1;
	t->id = c->blobs.last_id;
	t->up = up;
	t->fd = -1;
	t->fn = fn;
	t->ctx = ctx;
	t->total = BLOB_SIZE_UNKNOWN;
	t->told = UINT64_MAX;
	sha256_begin(&t->sha);
	while (*at)
		at = &(*at)->next;
	*at = t;
	c->due = true;
	client_touch(c);
	return t;
}

struct transfer *blob_find(const struct hlk *c, uint32_t id)
{
	struct transfer *t = c->blobs.first;
	while (t && (t->id != id || t->over))
		t = t->next;
	return t;
}

/* What is under way at the broker ends there, too. */
static void end_at_broker(struct hlk *c, struct transfer *t, int code)
{
	bool ended = t->up ? t->code == HLK_OK : t->state == TRANSFER_ENDING;
	if (!t->wire || !net_ready(c) || ended)
		return;
	struct msg msg = { .kind = FRAME_BLOB_END, .blob_end = { .upload = t->wire, .abandon = true } };
	if (!t->up)
		msg = (struct msg){ .kind = FRAME_BLOB_MORE,
				    .blob_more = { .read = t->wire, .cancel = true, .damaged = code == HLK_INTEGRITY_MISMATCH } };
	session_send(c, &msg, t->correlation);
}

void blob_over(struct hlk *c, struct transfer *t, int code, const char *format, ...)
{
	va_list args;
	if (t->over)
		return; /* the first reason is the one to tell */
	va_start(args, format);
	(void)vsnprintf(t->text, sizeof t->text, format, args);
	va_end(args);
	t->over = true;
	t->code = code;
	end_at_broker(c, t, code);
	t->wire = 0;
	c->due = true;
	client_touch(c);
}

void blob_forget(struct hlk *c, uint32_t id)
{
	struct transfer *t = blob_find(c, id);
	if (!t)
		return;
	t->fn = NULL;
	t->progress = NULL;
	blob_over(c, t, HLK_CANCELLED, "cancelled");
}

int hlk_blob_cancel(struct hlk *c, uint32_t transfer)
{
	struct transfer *t = blob_find(c, transfer);
	if (!t)
		return error_set(c, HLK_NOT_FOUND, "blob: there is no transfer %u", transfer);
	blob_over(c, t, HLK_CANCELLED, "cancelled");
	return HLK_OK;
}

void blob_send(struct hlk *c, struct transfer *t, const struct msg *msg)
{
	t->correlation = client_correlation(c);
	session_send(c, msg, t->correlation);
}

bool blob_can_send(const struct hlk *c)
{
	return net_ready(c) && !net_full(c) && c->link.out.len - c->link.out_sent < BLOB_QUEUED_MAX;
}

/* ---- turns ---- */

static bool is_active(const struct transfer *t)
{
	return !t->over && t->state >= TRANSFER_ASKED;
}

/* Those that wait are asked for while there is room. */
static void ask_waiting(struct hlk *c)
{
	uint32_t active[2] = { 0, 0 };
	for (const struct transfer *t = c->blobs.first; t; t = t->next)
		active[t->up] += is_active(t);
	for (struct transfer *t = c->blobs.first; t; t = t->next) {
		if (t->over || t->state != TRANSFER_WAITING || t->again_ms > c->now_ms || active[t->up] >= (t->up ? BLOB_UPLOADS : BLOB_READS))
			continue;
		if (c->session.blob_above == 0) {
			blob_over(c, t, HLK_UNSUPPORTED, "this broker keeps no blobs");
			continue;
		}
		if (++c->blobs.last_wire == 0)
			c->blobs.last_wire = 1;
		t->wire = c->blobs.last_wire;
		t->state = TRANSFER_ASKED;
		t->again_ms = 0;
		active[t->up]++;
		(t->up ? put_ask : get_ask)(c, t);
	}
}

/* Uploads take turns, a chunk each. */
static void send_chunks(struct hlk *c)
{
	bool any = true;
	uint32_t count = 0;
	while (any && count < BLOB_CHUNKS_STEP) {
		any = false;
		for (struct transfer *t = c->blobs.first; t && blob_can_send(c); t = t->next)
			if (!t->over && t->up && t->state == TRANSFER_MOVING && put_move(c, t)) {
				any = true;
				count++;
			}
	}
	c->due = c->due || any;
}

void blob_flush(struct hlk *c)
{
	if (!c->blobs.first || !net_ready(c))
		return;
	ask_waiting(c);
	net_write(c);
	send_chunks(c);
}

static void transfer_free(struct transfer *t)
{
	if (t->own_fd && t->fd >= 0)
		(void)close(t->fd);
	buf_free(&t->memory);
	free(t->path);
	free(t->part);
	free(t);
}

static void tell_end(struct hlk *c, struct transfer *t)
{
	if (!t->up)
		get_closed(t);
	const struct hlk_blob_done done = { .transfer = t->id, .code = t->code, .text = t->text, .blob = t->blob,
					    .known = t->up && t->code == HLK_OK && !t->sent_any,
					    .media_type = t->media_type, .data = t->memory.data, .size = t->memory.len };
	c->blobs.telling = t;
	if (t->fn)
		t->fn(c, &done, t->ctx);
	c->blobs.telling = NULL;
}

struct buf blob_take(struct hlk *c)
{
	struct buf out = c->blobs.telling->memory;
	c->blobs.telling->memory = (struct buf){ 0 };
	return out;
}

static void tell_progress(struct hlk *c, struct transfer *t)
{
	if (!t->progress || t->told == t->offset || t->state == TRANSFER_HASHING)
		return;
	t->told = t->offset;
	t->progress(c, t->id, t->offset, t->total == BLOB_SIZE_UNKNOWN ? 0 : t->total, t->progress_ctx);
}

/* Hashes a little, and tells what has happened. Callbacks may begin and cancel transfers. */
void blob_step(struct hlk *c)
{
	struct transfer **at = &c->blobs.first;
	int64_t due = INT64_MAX;
	while (*at) {
		struct transfer *t = *at;
		if (!t->over && t->state == TRANSFER_HASHING)
			(t->up ? put_hash : get_hash)(c, t);
		tell_progress(c, t);
		if (!t->over) {
			if (t->again_ms)
				due = MIN_OF(due, t->again_ms);
			c->due = c->due || t->state == TRANSFER_HASHING;
			at = &t->next;
			continue;
		}
		*at = t->next;
		tell_end(c, t);
		transfer_free(t);
	}
	c->blobs.due_ms = due;
}

void blob_up(struct hlk *c, bool resumed)
{
	for (struct transfer *t = c->blobs.first; t; t = t->next)
		if (!resumed)
			t->number = 0; /* uploads end with their session */
}

void blob_down(struct hlk *c)
{
	for (struct transfer *t = c->blobs.first; t; t = t->next) {
		t->wire = 0;
		if (t->direct && is_active(t))
			blob_over(c, t, HLK_NETWORK, "the connection broke");
		else if (is_active(t))
			t->state = TRANSFER_WAITING;
	}
}

/* ---- what the broker says ---- */

static struct transfer *by_wire(struct hlk *c, bool up, uint32_t wire)
{
	struct transfer *t = c->blobs.first;
	while (t && (t->over || t->up != up || t->wire != wire))
		t = t->next;
	return wire ? t : NULL;
}

void blob_state(struct hlk *c, const struct msg_blob_state *m)
{
	struct transfer *t = by_wire(c, true, m->upload);
	if (t)
		put_state(c, t, m);
}

void blob_data(struct hlk *c, const struct msg_blob_data *from, struct span payload)
{
	const struct msg_blob_data m = *from; /* the receiver of the bytes may lead to the next message being read */
	struct transfer *t = by_wire(c, false, m.read);
	if (t)
		get_data(c, t, &m, payload);
}

bool blob_refused(struct hlk *c, uint32_t correlation, int code, struct span text)
{
	struct transfer *t = c->blobs.first;
	while (t && (t->over || !t->wire || t->correlation != correlation))
		t = t->next;
	if (!t)
		return false;
	t->wire = 0;
	blob_over(c, t, code, "%.*s", (int)MIN_OF(text.len, 400u), text.len ? (const char *)text.data : "");
	return true;
}

void blob_close(struct hlk *c, bool tell)
{
	for (struct transfer *t = c->blobs.first; t; t = t->next)
		blob_over(c, t, HLK_CLOSED, "the client was closed");
	while (c->blobs.first) {
		struct transfer *t = c->blobs.first;
		c->blobs.first = t->next;
		blob_over(c, t, HLK_CLOSED, "the client was closed");
		if (tell)
			tell_end(c, t);
		transfer_free(t);
	}
	if (tell)
		return;
	buf_free(&c->blobs.room);
	buf_free(&c->blobs.frame);
	buf_free(&c->blobs.kept);
	buf_free(&c->blobs.reference);
	free(c->blobs.direct);
}

/* ---- waiting ---- */

void blob_wait_done(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	struct blob_waited *w = ctx;
	struct buf *kept = &c->blobs.kept;
	w->done = true;
	w->result = *done;
	kept->len = 0;
	buf_append(kept, done->data, done->size);
	buf_append(kept, "", 1);
	size_t at = kept->len;
	buf_append(kept, done->media_type, strlen(done->media_type) + 1);
	w->result.data = kept->data;
	w->result.media_type = (const char *)kept->data + at;
	(void)snprintf(w->text, sizeof w->text, "%s", done->text);
	(void)snprintf(w->url, sizeof w->url, "%s", c->blobs.telling->url);
	w->result.text = w->text;
}

int blob_wait(struct hlk *c, uint32_t transfer, struct blob_waited *w, int64_t deadline, const char *what)
{
	int code = HLK_OK;
	while (!w->done && code == HLK_OK) {
		if (c->session.refused_code)
			code = error_set(c, c->session.refused_code, "%s", c->session.last_text);
		else
			code = client_wait(c, deadline);
	}
	if (!w->done) {
		blob_forget(c, transfer);
		return code;
	}
	return w->result.code == HLK_OK ? HLK_OK : error_set(c, w->result.code, "%s: %.450s", what, w->text);
}
