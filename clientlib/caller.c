/* clientlib/caller.c: live requests to whoever is responsible. In the flow: hlk_call -> CALL -> broker ... ANSWER -> callback.
 *
 * 1. Calls that are made one after the other with equal options travel in one CALL.
 * 2. Each call gets exactly one last answer: the broker's, or ours: TIMEOUT, NETWORK where the connection broke with the call under way,
 *    CLOSED. Nothing is asked twice.
 * 3. A call that could not be sent yet waits for the connection until its deadline; after that it is never sent.
 * 4. Numbers only grow, also over reconnects. A call whose payload goes up first is known to the program by a number of another kind
 *    (SPILLED) and gets its number when it is sent; other calls do not wait for it. */
#include "blob_impl.h"

enum { LATE_MS = 2000 }; /* the broker tells of the deadline; we do where it does not */
#define SPILLED (1ull << 63)

struct pending_call {
	hlk_answer_fn *fn;
	void *ctx;
	int64_t deadline_ms;
	uint64_t number, told;           /* told: the program's number for it */
	uint32_t correlation;
	struct pending_call *free;
	struct spilled_call *spilled;    /* its payload goes up */
};
struct spilled_call { struct pending_call *call; uint32_t transfer; struct call_batch batch; struct buf payload; };

/* A CALL that waits to be sent. */
struct call_frame { uint64_t first; size_t bytes; uint32_t count; };

static bool same(const char *a, const char *b)
{
	return a == b || strcmp(a ? a : "", b ? b : "") == 0;
}

static char *copy(const char *text)
{
	char *out = text ? strdup(text) : NULL;
	ENSURE(!text || out);
	return out;
}

static void batch_drop(struct call_batch *b)
{
	free(b->service);
	free(b->where);
	free(b->type);
	free(b->address);
	free(b->trace);
	free(b->correlation);
	buf_free(&b->head);
	buf_free(&b->sizes);
	buf_free(&b->payload);
	*b = (struct call_batch){ 0 };
}

/* ---- sending ---- */

static struct pending_call *pending_find(struct caller *w, uint64_t number);

static void frame_close(struct hlk *c, struct call_batch *b)
{
	struct caller *w = &c->caller;
	if (b->count == 0)
		return;
	const struct msg_call m = {
		.first = b->first, .session = b->to.session, .entry = b->to.entry, .binding = b->binding, .deadline_ms = b->deadline_ms,
		.all = b->all, .stream = b->stream, .wait = b->wait, .service = span_str(b->service), .where = span_str(b->where),
		.head = buf_span(&b->head), .sizes = { (const uint32_t *)(const void *)b->sizes.data, b->count },
	};
	const struct span payload = buf_span(&b->payload);
	size_t begin = w->unsent.len;
	msg_encode_call(&w->unsent, &m, &payload, 1);
	frame_set_correlation(&w->unsent, begin, b->number);
	const struct call_frame frame = { b->first, w->unsent.len - begin, b->count };
	buf_append(&w->waiting, &frame, sizeof frame);
	b->count = 0;
	b->sizes.len = b->payload.len = 0;
}

static void batch_close(struct hlk *c)
{
	frame_close(c, &c->caller.batch);
}

static void cancels_close(struct hlk *c)
{
	struct caller *w = &c->caller;
	struct msg *msg = &w->cancel_msg;
	const uint64_t *numbers = (const uint64_t *)(const void *)w->cancels.data;
	if (!net_ready(c))
		return;
	for (size_t at = 0, count = w->cancels.len / sizeof *numbers; at < count; at += LIMIT_FRAME_ITEMS) {
		msg->kind = FRAME_CALL_CANCEL;
		msg->call_cancel.calls = (struct u64s){ numbers + at, (uint32_t)MIN_OF(count - at, (size_t)LIMIT_FRAME_ITEMS) };
		msg_encode(&w->unsent, msg, 0, NULL, 0);
	}
	w->cancels.len = 0;
}

/* Takes out the frames whose calls are all over. Those of one frame time out together; one that was cancelled has its cancel behind it. */
static void drop_over(struct hlk *c)
{
	struct caller *w = &c->caller;
	const struct call_frame *frames = (const struct call_frame *)(const void *)w->waiting.data;
	size_t from = 0, to = 0, kept = 0;
	for (size_t i = 0; i < w->waiting.len / sizeof *frames; i++) {
		const struct call_frame f = frames[i];
		bool wanted = false;
		for (uint64_t n = f.first; n < f.first + f.count && !wanted; n++)
			wanted = pending_find(w, n) != NULL;
		if (wanted) {
			memmove(w->unsent.data + to, w->unsent.data + from, f.bytes);
			memcpy(w->waiting.data + kept * sizeof f, &f, sizeof f);
			to += f.bytes;
			kept++;
		}
		from += f.bytes;
	}
	w->unsent.len = to;
	w->waiting.len = kept * sizeof *frames;
	w->stale = false;
}

void caller_flush(struct hlk *c)
{
	struct caller *w = &c->caller;
	if (w->stale)
		drop_over(c);
	batch_close(c);
	cancels_close(c);
	if (w->unsent.len == 0 || !net_ready(c))
		return;
	net_queue(c, buf_span(&w->unsent));
	w->unsent.len = w->waiting.len = 0;
	w->sent_below = w->next;
}

static int options_check(struct hlk *c, const struct hlk_call_options *o, size_t size, struct address *to)
{
	bool service = o->service && *o->service, address = o->address && *o->address;
	*to = (struct address){ 0 };
	if ((int)service + (int)address + (o->binding != 0) != 1)
		return error_set(c, HLK_INVALID_INPUT, "call: needs one of a service, an address and a binding");
	if (o->wait && (!service || o->all))
		return error_set(c, HLK_INVALID_INPUT, "call: only a call to one holder of a service can wait for it");
	if (address && !address_parse(span_str(o->address), to))
		return error_set(c, HLK_INVALID_INPUT, "call: %.80s is not an address (NODE/SESSION/ENTRY)", o->address);
	if (address && c->session.node && !span_eq(to->node, span_str(c->session.node)))
		return error_set(c, HLK_NOT_DELIVERED, "call: the address is of node %.*s, this is %s", (int)MIN_OF(to->node.len, 40u),
				 (const char *)to->node.data, c->session.node);
	if (size > c->session.payload_max)
		return error_set(c, HLK_TOO_BIG, "call: %zu bytes are over the limit of %u", size, c->session.payload_max);
	if ((service && strlen(o->service) > LIMIT_NAME_BYTES) || (o->type && strlen(o->type) > LIMIT_NAME_BYTES))
		return error_set(c, HLK_TOO_BIG, "call: a name is over %d bytes", LIMIT_NAME_BYTES);
	if (o->where && strlen(o->where) > LIMIT_PREDICATE_BYTES)
		return error_set(c, HLK_TOO_BIG, "call: the predicate is over %d bytes", LIMIT_PREDICATE_BYTES);
	if (o->header_count > LIMIT_HEADERS)
		return error_set(c, HLK_TOO_BIG, "call: over %d headers", LIMIT_HEADERS);
	if (o->deadline_ms > LIMIT_CALL_MS)
		return error_set(c, HLK_INVALID_INPUT, "call: a deadline beyond %d ms", LIMIT_CALL_MS);
	return HLK_OK;
}

static bool fits_batch(const struct call_batch *b, const struct hlk_call_options *o, uint32_t deadline_ms, int64_t over_ms, size_t size)
{
	if (b->head.len == 0 || o->header_count > 0 || b->headers || b->count >= BATCH_TASKS ||
	    (b->count > 0 && (b->payload.len + size > BATCH_BYTES || b->over_ms != over_ms)))
		return false;
	return same(b->service, o->service) && same(b->where, o->where) && same(b->type, o->type) && same(b->address, o->address) &&
	       same(b->trace, o->trace) && same(b->correlation, o->correlation) && b->fingerprint == o->fingerprint &&
	       b->binding == o->binding && b->all == o->all && b->stream == o->stream && b->wait == o->wait && b->deadline_ms == deadline_ms;
}

static int batch_open(struct hlk *c, const struct hlk_call_options *o, uint32_t deadline_ms, const struct address *to)
{
	struct call_batch *b = &c->caller.batch;
	batch_close(c);
	batch_drop(b);
	*b = (struct call_batch){ .service = copy(o->service), .where = copy(o->where), .type = copy(o->type), .address = copy(o->address),
				  .trace = copy(o->trace), .correlation = copy(o->correlation), .to = *to, .all = o->all,
				  .stream = o->stream, .wait = o->wait, .headers = o->header_count > 0, .binding = o->binding,
				  .deadline_ms = deadline_ms, .fingerprint = o->fingerprint };
	b->to.node = (struct span){ NULL, 0 };
	const char *type = o->type && *o->type ? o->type : o->service && *o->service ? o->service : "call";
	struct event_head *head = calloc(1, sizeof *head);
	ENSURE(head != NULL);
	head->type = span_str(type);
	head->trace = span_str(o->trace);
	head->correlation = span_str(o->correlation);
	head->fingerprint = o->fingerprint;
	for (size_t i = 0; i < o->header_count; i++)
		head->headers[head->header_count++] = (struct task_header){ span_str(o->headers[i].name), span_str(o->headers[i].value) };
	event_head_encode(&b->head, head);
	char text[128];
	enum err e = event_head_decode(buf_span(&b->head), head, text);
	free(head);
	if (e == ERR_OK)
		return HLK_OK;
	batch_drop(b);
	return error_set(c, (int)e, "call: %s", text);
}

static struct pending_call *pending_new(struct hlk *c, uint64_t number, hlk_answer_fn *fn, void *ctx, uint32_t deadline_ms)
{
	struct caller *w = &c->caller;
	struct pending_call *p = w->free;
	if (p)
		w->free = p->free;
	else
		ENSURE((p = malloc(sizeof *p)) != NULL);
	*p = (struct pending_call){ .fn = fn, .ctx = ctx, .deadline_ms = c->now_ms + deadline_ms, .number = number, .told = number };
	map64_add(&w->pending, number, (uint64_t)(uintptr_t)p, &w->map_memory);
	w->next_deadline_ms = MIN_OF(w->next_deadline_ms, p->deadline_ms);
	return p;
}

static int call_spilled(struct hlk *c, const struct hlk_call_options *o, struct span payload, hlk_answer_fn *fn, void *ctx,
			uint64_t *number_out);

int hlk_call(struct hlk *c, const struct hlk_call_options *o, const void *payload, size_t size, hlk_answer_fn *fn, void *ctx,
	     uint64_t *number_out)
{
	struct caller *w = &c->caller;
	struct call_batch *b = &w->batch;
	uint32_t deadline_ms = o->deadline_ms ? o->deadline_ms : 10000;
	if (c->closing)
		return error_set(c, HLK_CLOSED, "call: the client is being closed");
	if (spill_needed(c, size, 0))
		return call_spilled(c, o, span_of(payload, size), fn, ctx, number_out);
	if (!fits_batch(b, o, deadline_ms, c->now_ms + deadline_ms, size) || size > c->session.payload_max) {
		struct address to;
		int code = options_check(c, o, size, &to);
		if (code == HLK_OK)
			code = batch_open(c, o, deadline_ms, &to);
		if (code != HLK_OK)
			return code;
	}
	if (b->count == 0) {
		b->first = w->next;
		b->over_ms = c->now_ms + deadline_ms;
		b->number = client_correlation(c);
		client_touch(c);
	}
	pending_new(c, w->next, fn, ctx, deadline_ms)->correlation = b->number;
	const uint32_t bytes = (uint32_t)size;
	buf_append(&b->sizes, &bytes, sizeof bytes);
	buf_append(&b->payload, payload, size);
	b->count++;
	if (number_out)
		*number_out = w->next;
	w->next++;
	return HLK_OK;
}

/* ---- ends ---- */

static struct pending_call *pending_find(struct caller *w, uint64_t number)
{
	const struct map64_slot *slot = map64_find(&w->pending, number);
	return slot ? (struct pending_call *)(uintptr_t)slot->value : NULL;
}

static void spilled_free(struct hlk *c, struct pending_call *p)
{
	struct spilled_call *s = p->spilled;
	if (!s)
		return;
	p->spilled = NULL;
	blob_forget(c, s->transfer);
	batch_drop(&s->batch);
	buf_free(&s->payload);
	free(s);
}

static void finish(struct hlk *c, struct pending_call *p, const struct hlk_answer *answer)
{
	struct caller *w = &c->caller;
	hlk_answer_fn *fn = p->fn;
	void *ctx = p->ctx;
	if (!answer->more) {
		spilled_free(c, p);
		w->stale = w->stale || p->number >= w->sent_below; /* what would ask for it is not to leave any more */
		map64_remove(&w->pending, map64_find(&w->pending, p->number));
		p->free = w->free;
		w->free = p;
	}
	if (fn)
		fn(c, answer, ctx);
}

static void finish_with(struct hlk *c, struct pending_call *p, int code, const char *text)
{
	const struct hlk_answer answer = { .call = p->told, .code = code, .data = text, .size = strlen(text), .address = "" };
	finish(c, p, &answer);
}

/* Ends those of which `due` says so. The callbacks may make new calls, so the numbers are taken first. */
static void finish_all(struct hlk *c, int code, const char *text, bool (*due)(const struct hlk *, const struct pending_call *))
{
	struct caller *w = &c->caller;
	uint32_t count = 0;
	uint64_t *numbers = calloc((size_t)w->pending.count + 1, sizeof *numbers);
	ENSURE(numbers != NULL);
	for (uint32_t i = 0; i < w->pending.cap; i++)
		if (w->pending.slots[i].key && due(c, (const struct pending_call *)(uintptr_t)w->pending.slots[i].value))
			numbers[count++] = w->pending.slots[i].key;
	for (uint32_t i = 0; i < count; i++) {
		struct pending_call *p = pending_find(w, numbers[i]);
		if (p)
			finish_with(c, p, code, text);
	}
	free(numbers);
}

static bool was_sent(const struct hlk *c, const struct pending_call *p)
{
	return p->number < c->caller.sent_below;
}

static bool is_over(const struct hlk *c, const struct pending_call *p)
{
	return p->deadline_ms + (was_sent(c, p) ? LATE_MS : 0) <= c->now_ms;
}

static bool any(const struct hlk *c, const struct pending_call *p)
{
	(void)c;
	(void)p;
	return true;
}

static bool was_refused(const struct hlk *c, const struct pending_call *p)
{
	return p->correlation == c->caller.refused;
}

void caller_down(struct hlk *c)
{
	if (c->caller.pending.count > 0)
		finish_all(c, HLK_NETWORK, "the connection broke with the call under way; it may have been carried out", was_sent);
}

void caller_timers(struct hlk *c)
{
	struct caller *w = &c->caller;
	if (w->next_deadline_ms > c->now_ms)
		return;
	finish_all(c, HLK_TIMEOUT, "no answer within the deadline", is_over);
	w->next_deadline_ms = INT64_MAX;
	for (uint32_t i = 0; i < w->pending.cap; i++) {
		const struct pending_call *p = (const struct pending_call *)(uintptr_t)w->pending.slots[i].value;
		if (!w->pending.slots[i].key)
			continue;
		int64_t at = p->deadline_ms + (was_sent(c, p) ? LATE_MS : 0);
		w->next_deadline_ms = MIN_OF(w->next_deadline_ms, MAX_OF(at, c->now_ms + 1));
	}
}

void caller_answers(struct hlk *c, const struct msg_answer *m, struct span payload)
{
	size_t at = 0;
	char address[HLK_ADDRESS_BYTES] = ""; /* of `named`: nearly always that of the answer before */
	struct address named = { .session = 0 };
	for (uint32_t i = 0; i < m->count; i++) {
		const struct answer_item item = m->items[i];
		struct pending_call *p = pending_find(&c->caller, item.call);
		struct span bytes = span_sub(payload, at, item.size);
		at += item.size;
		if (!p) {
			c->caller.late++;
			continue;
		}
		if (item.session && (item.session != named.session || item.entry != named.entry)) {
			named = (struct address){ span_str(c->session.node), item.session, item.entry };
			address_print(&named, address, sizeof address);
		}
		const struct hlk_answer answer = { .call = p->told, .code = item.code, .app_code = item.app_code,
						  .more = item.more != 0, .kind = item.payload,
						   .data = bytes.data, .size = bytes.len, .address = item.session ? address : "" };
		finish(c, p, &answer);
	}
}

bool caller_refused(struct hlk *c, uint32_t correlation, int code, struct span text)
{
	struct caller *w = &c->caller;
	char copied[256];
	bool found = false;
	for (uint32_t i = 0; i < w->pending.cap && !found; i++)
		found = w->pending.slots[i].key && ((const struct pending_call *)(uintptr_t)w->pending.slots[i].value)->correlation == correlation;
	if (!found)
		return false;
	(void)snprintf(copied, sizeof copied, "%.*s", (int)MIN_OF(text.len, 250u), (const char *)text.data);
	w->refused = correlation;
	finish_all(c, code, copied, was_refused);
	return true;
}

void caller_close(struct hlk *c, bool tell)
{
	struct caller *w = &c->caller;
	if (tell) {
		finish_all(c, HLK_CLOSED, "the client was closed", any);
		return;
	}
	for (uint32_t i = 0; i < w->pending.cap; i++)
		if (w->pending.slots[i].key) {
			struct pending_call *p = (struct pending_call *)(uintptr_t)w->pending.slots[i].value;
			spilled_free(c, p);
			free(p);
		}
	while (w->free) {
		struct pending_call *p = w->free;
		w->free = p->free;
		free(p);
	}
	batch_drop(&w->batch);
	map64_free(&w->pending, &w->map_memory);
	buf_free(&w->unsent);
	buf_free(&w->waiting);
	buf_free(&w->cancels);
	buf_free(&w->kept);
}

/* By the program's number. */
static struct pending_call *told_find(struct caller *w, uint64_t told)
{
	struct pending_call *p = pending_find(w, told);
	for (uint32_t i = 0; !p && (told & SPILLED) && i < w->pending.cap; i++) {
		struct pending_call *other = (struct pending_call *)(uintptr_t)w->pending.slots[i].value;
		if (w->pending.slots[i].key && other->told == told)
			p = other;
	}
	return p;
}

int hlk_call_cancel(struct hlk *c, uint64_t number)
{
	struct pending_call *p = told_find(&c->caller, number);
	if (!p)
		return error_set(c, HLK_NOT_FOUND, "call: no call %llu is open", (unsigned long long)number);
	if (!p->spilled)
		buf_append(&c->caller.cancels, &p->number, sizeof p->number);
	finish_with(c, p, HLK_CANCELLED, "cancelled by the caller");
	client_touch(c);
	return HLK_OK;
}

/* ---- payloads that are blobs or references ---- */

/* A CALL of this one: its payload is not inline. */
static void send_alone(struct hlk *c, struct pending_call *p, struct call_batch *b, uint8_t kind, struct span payload)
{
	struct caller *w = &c->caller;
	const uint32_t size = (uint32_t)payload.len;
	struct buf head = { 0 };
	batch_close(c); /* numbers grow */
	spill_event_head(buf_span(&b->head), kind, &head);
	buf_free(&b->head);
	b->head = head;
	buf_append(&b->sizes, &size, sizeof size);
	buf_append(&b->payload, payload.data, payload.len);
	map64_remove(&w->pending, map64_find(&w->pending, p->number));
	b->first = p->number = w->next++;
	b->number = p->correlation = client_correlation(c);
	b->deadline_ms = (uint32_t)MAX_OF(p->deadline_ms - client_now(c), 1);
	b->count = 1;
	map64_add(&w->pending, p->number, (uint64_t)(uintptr_t)p, &w->map_memory);
	frame_close(c, b);
	client_touch(c);
}

static void uploaded(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	struct spilled_call *s = ctx;
	struct blob_ref ref;
	s->transfer = 0;
	if (done->code != HLK_OK) {
		finish_with(c, s->call, done->code, done->text);
		return;
	}
	send_alone(c, s->call, &s->batch, PAYLOAD_BLOB, spill_ref(&done->blob, &ref));
	spilled_free(c, s->call);
}

/* Takes the options apart into a batch of one. */
static struct pending_call *begin_alone(struct hlk *c, const struct hlk_call_options *o, size_t size, hlk_answer_fn *fn, void *ctx,
					struct call_batch *out)
{
	struct caller *w = &c->caller;
	struct address to;
	uint32_t deadline_ms = o->deadline_ms ? o->deadline_ms : 10000;
	int code = options_check(c, o, MIN_OF(size, (size_t)c->session.payload_max), &to);
	if (code == HLK_OK)
		code = batch_open(c, o, deadline_ms, &to);
	if (code != HLK_OK)
		return NULL;
	*out = w->batch;
	w->batch = (struct call_batch){ 0 };
	return pending_new(c, SPILLED | ++w->last_spilled, fn, ctx, deadline_ms);
}

static int call_spilled(struct hlk *c, const struct hlk_call_options *o, struct span payload, hlk_answer_fn *fn, void *ctx,
			uint64_t *number_out)
{
	struct spilled_call *s = calloc(1, sizeof *s);
	ENSURE(s != NULL);
	(void)client_now(c);
	s->call = begin_alone(c, o, payload.len, fn, ctx, &s->batch);
	if (!s->call) {
		free(s);
		return c->error.code;
	}
	s->call->spilled = s;
	buf_append(&s->payload, payload.data, payload.len);
	s->transfer = put_memory(c, buf_span(&s->payload), false, uploaded, s);
	if (number_out)
		*number_out = s->call->told;
	return HLK_OK;
}

int hlk_call_payload(struct hlk *c, const struct hlk_call_options *o, const struct hlk_payload *payload, hlk_answer_fn *fn, void *ctx,
		     uint64_t *number_out)
{
	struct buf bytes = { 0 };
	struct call_batch batch = { 0 };
	if (payload->kind == HLK_INLINE)
		return hlk_call(c, o, payload->data, (size_t)payload->size, fn, ctx, number_out);
	if (c->closing)
		return error_set(c, HLK_CLOSED, "call: the client is being closed");
	if (!spill_encode(c, payload, "call", &bytes)) {
		buf_free(&bytes);
		return c->error.code;
	}
	(void)client_now(c);
	struct pending_call *p = begin_alone(c, o, bytes.len, fn, ctx, &batch);
	if (p)
		send_alone(c, p, &batch, (uint8_t)payload->kind, buf_span(&bytes));
	if (p && number_out)
		*number_out = p->told;
	batch_drop(&batch);
	buf_free(&bytes);
	return p ? HLK_OK : c->error.code;
}

uint64_t hlk_late_answers(const struct hlk *c)
{
	return c->caller.late;
}

/* ---- blocking ---- */

struct waiting { struct hlk_answer *out; struct hlk *c; bool done; };

static void take_answer(struct hlk *c, const struct hlk_answer *answer, void *ctx)
{
	struct waiting *w = ctx;
	if (answer->more)
		return;
	struct buf *kept = &c->caller.kept;
	*w->out = *answer;
	kept->len = 0;
	buf_append(kept, answer->data, answer->size);
	buf_append(kept, "", 1);
	size_t at = kept->len;
	buf_append(kept, answer->address, strlen(answer->address) + 1);
	w->out->data = kept->data;
	w->out->address = (const char *)kept->data + at;
	w->done = true;
}

int hlk_call_wait(struct hlk *c, const struct hlk_call_options *options, const void *payload, size_t size, struct hlk_answer *out)
{
	struct waiting w = { .out = out, .c = c };
	int code = client_may_block(c);
	(void)client_now(c);
	if (code == HLK_OK)
		code = hlk_call(c, options, payload, size, take_answer, &w, NULL);
	if (code != HLK_OK)
		return code;
	while (!w.done)
		(void)hlk_run(c, 60000);
	if (out->code == HLK_OK)
		return HLK_OK;
	return error_set(c, out->code, "call: %.*s", (int)MIN_OF(out->size, 400u), (const char *)out->data);
}
