/* clientlib/holder.c: calls that others make to this session's entries. In the flow: INVOKE -> handler -> ANSWER.
 *
 * 1. A call that the handler has not answered stays valid until it does; after a cut its answer goes nowhere, and hlk_answer says so.
 * 2. hillock.Ping is answered here, exactly once, whatever the entry serves (but for one of a bridge, which passes it on). What an entry
 *    has no handler for is answered with DOES_NOT_UNDERSTAND and the type.
 * 3. Answers of one step leave in one frame.
 * 4. An answer that is too big for a frame goes up first; the parts of one call leave in their order. */
#include "blob_impl.h"
#include "holder_impl.h"

const struct hlk_call_info *hlk_call_info(const struct hlk_call *call)
{
	return &call->info;
}

void hlk_call_set_ctx(struct hlk_call *call, void *ctx)
{
	call->ctx = ctx;
}

void *hlk_call_ctx(const struct hlk_call *call)
{
	return call->ctx;
}

bool hlk_call_wanted(const struct hlk_call *call)
{
	return !call->cancelled && call->connection == call->client->holder.connection;
}

/* ---- answers ---- */

static void answers_close(struct hlk *c)
{
	struct holder *h = &c->holder;
	if (h->items.len == 0)
		return;
	const struct msg_answer m = { .items = (const struct answer_item *)(const void *)h->items.data,
				      .count = (uint32_t)(h->items.len / sizeof(struct answer_item)) };
	const struct span payload = buf_span(&h->payload);
	struct buf bytes = { 0 };
	msg_encode_answer(&bytes, &m, &payload, 1);
	net_queue(c, buf_span(&bytes));
	buf_free(&bytes);
	h->items.len = h->payload.len = 0;
}

void holder_flush(struct hlk *c)
{
	if (net_ready(c))
		answers_close(c);
}

static void answer_add(struct hlk *c, uint64_t number, const struct hlk_answer *a)
{
	struct holder *h = &c->holder;
	if (h->items.len >= BATCH_TASKS * sizeof(struct answer_item) || h->payload.len + a->size > c->session.frame_payload_max)
		answers_close(c);
	const struct answer_item item = { .call = number, .size = (uint32_t)a->size, .app_code = a->app_code, .code = (uint16_t)a->code,
					  .more = a->more, .payload = (uint8_t)a->kind };
	buf_append(&h->items, &item, sizeof item);
	buf_append(&h->payload, a->data, a->size);
	client_touch(c);
}

static void spills_drop(struct hlk_call *call)
{
	while (call->spills) {
		struct spilled_answer *s = call->spills;
		call->spills = s->next;
		blob_forget(call->client, s->transfer);
		buf_free(&s->data);
		free(s);
	}
}

static void call_free(struct hlk_call *call)
{
	struct holder *h = &call->client->holder;
	spills_drop(call);
	blob_forget(call->client, call->fetch);
	buf_free(&call->fetched);
	*(call->prev ? &call->prev->next : &h->live) = call->next;
	if (call->next)
		call->next->prev = call->prev;
	if (--call->delivery->refs == 0)
		free(call->delivery);
	call->client = NULL;
	call->next = h->free;
	h->free = call;
}

static bool is_there(const struct hlk_call *call)
{
	return call->connection == call->client->holder.connection && net_ready(call->client);
}

/* What is up, in its order. The last one ends the call. */
static void drain(struct hlk_call *call)
{
	struct hlk *c = call->client;
	bool last = false;
	while (call->spills && !call->spills->transfer && !last) {
		struct spilled_answer *s = call->spills;
		if (is_there(call))
			answer_add(c, call->number, &(struct hlk_answer){ .data = s->data.data, .size = s->data.len, .kind = s->kind,
									  .more = s->more });
		last = !s->more;
		call->spills = s->next;
		buf_free(&s->data);
		free(s);
	}
	if (last || (call->answered && !is_there(call)))
		call_free(call);
}

static void uploaded(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	struct spilled_answer *s = ctx;
	struct hlk_call *call = s->call;
	struct blob_ref ref;
	s->transfer = 0;
	s->data.len = 0;
	if (done->code == HLK_CLOSED)
		return;
	if (done->code == HLK_OK) {
		struct span bytes = spill_ref(&done->blob, &ref);
		buf_append(&s->data, bytes.data, bytes.len);
		s->kind = HLK_BLOB;
		drain(call);
		return;
	}
	/* The call ends with the reason, for the caller; a program that goes on to answer it is told that it is not wanted. */
	if (is_there(call))
		answer_add(c, call->number, &(struct hlk_answer){ .code = done->code, .data = done->text, .size = strlen(done->text) });
	spills_drop(call);
	call->cancelled = true;
	call->connection--;
	if (call->answered)
		call_free(call);
}

static void spill(struct hlk_call *call, const struct hlk_answer *a, bool up)
{
	struct spilled_answer *s = calloc(1, sizeof *s), **at = &call->spills;
	ENSURE(s != NULL);
	*s = (struct spilled_answer){ .call = call, .kind = a->kind, .more = a->more };
	buf_append(&s->data, a->data, a->size);
	while (*at)
		at = &(*at)->next;
	*at = s;
	call->answered = !a->more;
	if (up)
		s->transfer = put_memory(call->client, buf_span(&s->data), false, uploaded, s);
}

static int give(struct hlk_call *call, const struct hlk_answer *a)
{
	struct hlk *c = call->client;
	bool up = a->code == HLK_OK && a->kind == HLK_INLINE && spill_needed(c, a->size, 0);
	if (!up && a->size > c->session.payload_max)
		return error_set(c, HLK_TOO_BIG, "answer: %zu bytes are over the limit of %u", a->size, c->session.payload_max);
	bool there = is_there(call);
	if (there && (up || (call->spills && a->code == HLK_OK))) {
		spill(call, a, up);
		return HLK_OK;
	}
	if (there)
		answer_add(c, call->number, a);
	if (!a->more)
		call_free(call);
	return there ? HLK_OK : error_set(c, HLK_NOT_DELIVERED, "answer: the connection that brought the call is lost");
}

int holder_answer(struct hlk_call *call, const struct hlk_answer *answer)
{
	struct hlk_answer a = *answer;
	a.more = a.more && call->info.stream;
	return give(call, &a);
}

bool holder_uses(const struct hlk *c, const struct entry *e)
{
	const struct hlk_call *call = c->holder.live;
	while (call && call->entry != e)
		call = call->next;
	return call != NULL;
}

int hlk_answer(struct hlk_call *call, const void *data, size_t size)
{
	return give(call, &(struct hlk_answer){ .data = data, .size = size });
}

int hlk_answer_payload(struct hlk_call *call, const struct hlk_payload *p)
{
	struct buf bytes = { 0 };
	if (p->kind == HLK_INLINE)
		return hlk_answer(call, p->data, (size_t)p->size);
	int code = spill_encode(call->client, p, "answer", &bytes)
			   ? give(call, &(struct hlk_answer){ .data = bytes.data, .size = bytes.len, .kind = p->kind })
			   : call->client->error.code;
	buf_free(&bytes);
	return code;
}

int hlk_answer_part(struct hlk_call *call, const void *data, size_t size)
{
	if (!call->info.stream)
		return error_set(call->client, HLK_WRONG_STATE, "answer: the caller did not ask for parts");
	return give(call, &(struct hlk_answer){ .data = data, .size = size, .more = true });
}

int hlk_answer_error(struct hlk_call *call, int code, uint32_t app_code, const char *text)
{
	if (code <= 0 || code > UINT16_MAX)
		return error_set(call->client, HLK_INVALID_INPUT, "answer: %d is not an error code", code);
	size_t size = text ? strlen(text) : 0;
	return give(call, &(struct hlk_answer){ .code = code, .app_code = app_code, .data = text, .size = MIN_OF(size, 4096u) });
}

/* ---- calls ---- */

static bool understands(const struct entry *e, const char *type)
{
	if (!e->call || e->gone)
		return false;
	for (uint32_t i = 0; i < e->call_type_count; i++)
		if (strcmp(e->call_types[i], type) == 0)
			return true;
	return e->call_type_count == 0;
}

static struct hlk_call *call_new(struct hlk *c, struct entry *e, struct delivery *d, uint64_t number)
{
	struct holder *h = &c->holder;
	struct hlk_call *call = h->free;
	if (call)
		h->free = call->next;
	else
		ENSURE((call = malloc(sizeof *call)) != NULL);
	*call = (struct hlk_call){ .client = c, .next = h->live, .delivery = d, .entry = e, .number = number,
				   .connection = h->connection };
	if (h->live)
		h->live->prev = call;
	h->live = call;
	d->refs++;
	return call;
}

/* Strings of a verified FlatBuffer end in a zero byte that is part of the buffer. */
static const char *text_of(struct span s)
{
	return s.data ? (const char *)s.data : "";
}

static void invoke_items(struct hlk *c, struct entry *e, const struct msg_invoke *m, struct span payload,
			 const struct hlk_call_info *info, struct delivery *d)
{
	size_t at = 0;
	bool ping = strcmp(info->type, "hillock.Ping") == 0 && !(e && e->bridged), known = e && understands(e, info->type);
	for (uint32_t i = 0; i < m->count; i++) {
		const struct invoke_item *item = &m->items[i];
		struct span bytes = span_sub(payload, at, item->size);
		at += item->size;
		if (ping) {
			answer_add(c, item->call, &(struct hlk_answer){ .data = bytes.data, .size = bytes.len });
			continue;
		}
		if (!known) {
			answer_add(c, item->call, &(struct hlk_answer){ .code = HLK_DOES_NOT_UNDERSTAND, .data = info->type,
									.size = strlen(info->type) });
			continue;
		}
		struct hlk_call *call = call_new(c, e, d, item->call);
		call->info = *info;
		call->info.payload = bytes.data;
		call->info.size = bytes.len;
		call->info.deadline_ms = item->deadline_ms;
		memcpy(call->address, info->caller, strlen(info->caller) + 1);
		call->info.caller = call->address;
		if (info->kind == HLK_INLINE || !fetch_call(c, call))
			e->call(c, call, e->ctx);
	}
}

static enum err read_invoke(struct hlk *c, const struct frame *frame, struct event_head *head, char text[128])
{
	enum err e = msg_decode(frame, &c->msg, text);
	return e == ERR_OK ? event_head_decode(c->msg.invoke.head, head, text) : e;
}

void holder_invoke(struct hlk *c, const struct frame *from)
{
	struct event_head head;
	char text[128], address[HLK_ADDRESS_BYTES];
	struct delivery *d = malloc(size_add(sizeof *d, size_add(from->meta.len, from->payload.len)));
	ENSURE(d != NULL);
	d->refs = 1; /* ours */
	struct frame frame = *from;
	frame.meta = span_of(d->bytes, from->meta.len);
	frame.payload = span_of(d->bytes + from->meta.len, from->payload.len);
	memcpy(d->bytes, from->meta.data, from->meta.len);
	if (from->payload.len > 0)
		memcpy(d->bytes + from->meta.len, from->payload.data, from->payload.len);
	enum err code = read_invoke(c, &frame, &head, text);
	if (code != ERR_OK) {
		net_fail(c, (int)code, "the broker sent a bad INVOKE: %s", text);
	} else {
		const struct msg_invoke m = c->msg.invoke;
		for (uint32_t i = 0; i < head.header_count; i++)
			d->headers[i] = (struct hlk_header){ text_of(head.headers[i].name), text_of(head.headers[i].value) };
		address_print(&(struct address){ span_str(c->session.node), m.caller, 0 }, address, sizeof address);
		const struct hlk_call_info info = {
			.type = text_of(head.type), .trace = text_of(head.trace), .correlation = text_of(head.correlation),
			.fingerprint = head.fingerprint, .client = text_of(m.client), .caller = address, .entry = m.entry,
			.kind = head.payload, .stream = m.stream, .headers = d->headers, .header_count = head.header_count,
		};
		invoke_items(c, worker_entry(c, m.entry), &m, frame.payload, &info, d);
	}
	if (--d->refs == 0)
		free(d);
}

void holder_cancelled(struct hlk *c, const struct msg_call_cancel *m)
{
	for (uint32_t i = 0; i < m->calls.count; i++) {
		struct hlk_call *call = c->holder.live;
		while (call && (call->number != m->calls.at[i] || call->connection != c->holder.connection))
			call = call->next;
		if (!call || call->cancelled)
			continue;
		call->cancelled = true;
		if (call->fetch || call->answered)
			call_free(call); /* its program does not know of it yet, or is done with it */
		else if (call->entry->call_cancelled)
			call->entry->call_cancelled(c, call, call->entry->ctx);
	}
}

void holder_down(struct hlk *c)
{
	struct holder *h = &c->holder;
	h->connection++;
	h->items.len = h->payload.len = 0;
	for (struct hlk_call *call = h->live, *next; call; call = next) {
		next = call->next;
		if (call->fetch || call->answered)
			call_free(call);
	}
}

void holder_close(struct hlk *c)
{
	struct holder *h = &c->holder;
	while (h->live)
		call_free(h->live);
	while (h->free) {
		struct hlk_call *call = h->free;
		h->free = call->next;
		free(call);
	}
	buf_free(&h->items);
	buf_free(&h->payload);
}
