/* clientlib/publish.c: events, from the call to the answer. In the flow: hlk_publish -> our own subscriptions, and
 * PUBLISH -> link.out; PUBLISHED -> callback.
 *
 * 1. An event for which an answer was asked is sent in every connection, as the same bytes with the same id, until there is one: the
 *    broker tells repeats by the id. Others are sent once.
 * 2. Every callback runs exactly once.
 * 3. What nobody wants is held back only while the broker's word holds: until it takes it back, its time is over (counted from when we
 *    asked), or the connection is gone.
 * 4. An event that is too big for a frame goes up first; it keeps its place, and what was published behind it waits. */
#include "blob_impl.h"

enum { WINDOW_EVENTS = 16384, WINDOW_BYTES = 32 << 20, BATCH_EVENTS = 1024, DEPTH_MAX = 16, NUMBER_BITS = 20 };

/* ---- topics ---- */

static const char *bad_field(const struct hlk_topic_options *o)
{
	const struct { const char *name, *value; size_t max; } checks[] = {
		{ "type", o->type, LIMIT_NAME_BYTES }, { "key", o->key, LIMIT_KEY_BYTES },
		{ "trace", o->trace, LIMIT_NAME_BYTES }, { "correlation", o->correlation, LIMIT_NAME_BYTES },
	};
	for (size_t i = 0; i < COUNT_OF(checks); i++)
		if (checks[i].value && strlen(checks[i].value) > checks[i].max)
			return checks[i].name;
	if (o->header_count > LIMIT_HEADERS)
		return "headers";
	for (size_t i = 0; i < o->header_count; i++)
		if (!*o->headers[i].name || strlen(o->headers[i].name) > LIMIT_NAME_BYTES)
			return "headers";
	return NULL;
}

static const char *text_of(struct span s)
{
	return s.data ? (const char *)s.data : "";
}

/* The strings of the event are those of the encoded head: they end in a zero byte there. */
static void fill_event(struct hlk_topic *t, const struct hlk_topic_options *o)
{
	struct event_head h = { .type = span_str(o->type), .key = span_str(o->key), .trace = span_str(o->trace),
				.correlation = span_str(o->correlation), .fingerprint = o->fingerprint,
				.header_count = (uint32_t)o->header_count };
	char text[128];
	for (size_t i = 0; i < o->header_count; i++)
		h.headers[i] = (struct task_header){ span_str(o->headers[i].name), span_str(o->headers[i].value) };
	event_head_encode(&t->bytes, &h);
	if (t->bytes.len > LIMIT_HEAD_BYTES)
		return;
	enum err e = event_head_decode(buf_span(&t->bytes), &h, text);
	ENSURE(e == ERR_OK);
	for (uint32_t i = 0; i < h.header_count; i++)
		t->headers[i] = (struct hlk_header){ text_of(h.headers[i].name), text_of(h.headers[i].value) };
	t->event = (struct hlk_event){ .type = text_of(h.type), .key = text_of(h.key), .trace = text_of(h.trace),
				       .correlation = text_of(h.correlation), .fingerprint = h.fingerprint,
				       .headers = t->headers, .header_count = h.header_count };
}

static void topic_unref(struct hlk_topic *t)
{
	if (--t->refs > 0)
		return;
	struct hlk_topic **at = &t->client->events.topics;
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	buf_free(&t->bytes);
	free(t);
}

/* What is published to it is of this kind. */
static void topic_kind(struct hlk_topic *t, uint8_t kind)
{
	struct buf head = { 0 };
	spill_event_head(buf_span(&t->bytes), kind, &head);
	buf_free(&t->bytes);
	t->bytes = head;
}

struct hlk_topic *hlk_topic_new(struct hlk *c, const struct hlk_topic_options *o, struct hlk_error *error)
{
	if (error)
		*error = (struct hlk_error){ 0 };
	const char *field = bad_field(o);
	if (!o->type || !*o->type || strchr(o->type, '*')) {
		error_fill(error, HLK_INVALID_INPUT, "topic: needs a type without a star");
		return NULL;
	}
	if (field) {
		error_fill(error, HLK_TOO_BIG, "topic: %s is empty or too long", field);
		return NULL;
	}
	struct hlk_topic *t = calloc(1, sizeof *t + o->header_count * sizeof *t->headers);
	ENSURE(t != NULL);
	t->client = c;
	t->refs = 1;
	t->retain = o->retain;
	t->always = o->always;
	fill_event(t, o);
	t->next = c->events.topics;
	c->events.topics = t;
	if (t->bytes.len <= LIMIT_HEAD_BYTES)
		return t;
	error_fill(error, HLK_TOO_BIG, "topic: the head has %zu bytes, over the limit of %d", t->bytes.len, LIMIT_HEAD_BYTES);
	topic_unref(t);
	return NULL;
}

void hlk_topic_free(struct hlk_topic *topic)
{
	if (topic)
		topic_unref(topic);
}

static bool held_back(const struct hlk_topic *t)
{
	struct hlk *c = t->client;
	return !t->always && !t->retain && net_ready(c) && t->unwanted_until_ms > 0 && t->unwanted_until_ms > client_now(c);
}

int hlk_topic_wanted(const struct hlk_topic *topic)
{
	return held_back(topic) ? 0 : topic->wanted && net_ready(topic->client) ? 1 : -1;
}

/* Numbers of questions tell when they were asked. */
static uint64_t number_new(struct hlk *c)
{
	uint64_t now = (uint64_t)client_now(c) << NUMBER_BITS;
	c->events.numbers = MAX_OF(c->events.numbers + 1, now);
	return c->events.numbers;
}

int hlk_topic_ask(struct hlk_topic *topic)
{
	struct hlk *c = topic->client;
	if (!net_ready(c))
		return error_set(c, HLK_NETWORK, "topic: not connected");
	const struct msg msg = { .kind = FRAME_INTEREST, .interest = { .type = span_str(topic->event.type), .query = true,
								       .number = number_new(c) } };
	session_send(c, &msg, client_correlation(c));
	client_touch(c);
	return HLK_OK;
}

void publish_interest(struct hlk *c, const struct msg_interest *m)
{
	for (struct hlk_topic *t = c->events.topics; t; t = t->next) {
		if (!span_eq(span_str(t->event.type), m->type))
			continue;
		t->wanted = m->wanted;
		t->unwanted_until_ms = m->wanted ? 0 : (int64_t)(m->number >> NUMBER_BITS) + m->ttl_ms;
	}
	if (!m->wanted || m->number == 0)
		return;
	const struct msg msg = { .kind = FRAME_INTEREST, .interest = { .type = m->type, .wanted = true, .number = m->number } };
	publish_flush(c); /* what we were about to hold back no longer goes behind our word */
	session_send(c, &msg, 0);
}

/* ---- frames ---- */

static void frame_unlink(struct hlk *c, struct publish_frame **at)
{
	struct publish_frame *f = *at;
	struct events *e = &c->events;
	*at = f->next;
	if (!f->next)
		e->last = at;
	e->unanswered -= f->count;
	e->unanswered_bytes -= f->counted;
	blob_forget(c, f->transfer);
}

static void frame_free(struct publish_frame *f)
{
	if (f->topic)
		topic_unref(f->topic);
	buf_free(&f->bytes);
	buf_free(&f->data);
	free(f);
}

static void frame_drop(struct hlk *c, struct publish_frame **at)
{
	struct publish_frame *f = *at;
	frame_unlink(c, at);
	frame_free(f);
}

static void frame_add(struct hlk *c, struct publish_frame *f, size_t bytes)
{
	struct events *e = &c->events;
	f->counted = bytes;
	e->unanswered += f->count;
	e->unanswered_bytes += bytes;
	*e->last = f;
	e->last = &f->next;
}

static void batch_encode(struct hlk *c)
{
	struct events *e = &c->events;
	struct publish_frame *f = calloc(1, sizeof *f + e->count * sizeof *f->slots);
	ENSURE(f != NULL);
	*f = (struct publish_frame){ .number = number_new(c), .count = e->count, .correlation = client_correlation(c),
				     .confirm = e->confirm };
	memcpy(f->slots, e->slots, e->count * sizeof *f->slots);
	const struct msg_publish m = {
		.number = f->number, .origin = e->relayed ? e->relayed->origin : c->producer.id,
		.id = { e->relayed ? e->relayed->id_hi : c->producer.id, e->relayed ? e->relayed->id_lo : e->next_id },
		.retain = e->topic->retain, .confirm = e->confirm, .elsewhere = !e->relayed, .interest = !e->topic->always,
		.head = buf_span(&e->topic->bytes), .sizes = { e->sizes, e->count },
	};
	const struct span payload = buf_span(&e->payload);
	msg_encode_publish(&f->bytes, &m, &payload, 1);
	frame_set_correlation(&f->bytes, 0, f->correlation);
	e->next_id += e->relayed ? 0 : e->count;
	frame_add(c, f, f->bytes.len);
	e->count = 0;
	e->confirm = false;
	e->payload.len = 0;
	struct hlk_topic *topic = e->topic;
	e->topic = NULL;
	topic_unref(topic);
}

/* Frames without a question are done with once they are in the connection. */
void publish_flush(struct hlk *c)
{
	struct events *e = &c->events;
	if (e->topic)
		batch_encode(c);
	if (!net_ready(c))
		return;
	struct publish_frame **at = &e->first;
	while (*at && !(*at)->held) {
		struct publish_frame *f = *at;
		if (!f->sent) {
			net_queue(c, buf_span(&f->bytes));
			f->sent = true;
		}
		if (f->confirm)
			at = &f->next;
		else
			frame_drop(c, at);
	}
}

void publish_up(struct hlk *c)
{
	for (struct publish_frame *f = c->events.first; f; f = f->next)
		f->sent = false;
}

void publish_down(struct hlk *c)
{
	for (struct hlk_topic *t = c->events.topics; t; t = t->next) {
		t->unwanted_until_ms = 0;
		t->wanted = false;
	}
}

/* ---- answers ---- */

static void tell(struct hlk *c, const struct published_slot *slot, struct hlk_published published)
{
	published.local = slot->local;
	if (published.local > 0 && published.code == HLK_OK && strcmp(published.status, "no-subscriber") == 0)
		published.status = "accepted";
	if (slot->fn)
		slot->fn(c, &published, slot->ctx);
}

/* The callbacks may publish: the frame is out of the list before. */
static void resolve(struct hlk *c, struct publish_frame **at, struct hlk_published published)
{
	struct publish_frame *f = *at;
	frame_unlink(c, at);
	for (uint32_t i = 0; i < f->count; i++)
		tell(c, &f->slots[i], published);
	frame_free(f);
}

static const char *status_name(uint8_t status)
{
	static const char *const names[PUBLISH_STATUSES] = { "accepted", "no-subscriber", "duplicate", "refused" };
	return names[status < PUBLISH_STATUSES ? status : PUBLISH_REFUSED];
}

void publish_published(struct hlk *c, const struct msg_published *m)
{
	char text[256];
	(void)snprintf(text, sizeof text, "%.*s", (int)MIN_OF(m->text.len, 250u), text_of(m->text));
	for (uint32_t i = 0; i < m->count; i++) {
		const struct published_item item = m->items[i];
		struct publish_frame **at = &c->events.first;
		while (*at && (*at)->number != item.number)
			at = &(*at)->next;
		if (!*at)
			continue; /* nobody had asked, or it gave up */
		resolve(c, at, (struct hlk_published){ .code = item.code, .status = status_name(item.status),
						       .receivers = item.receivers, .rejected = item.rejected,
						       .text = item.code ? text : "" });
	}
}

bool publish_refused(struct hlk *c, uint32_t correlation, int code, struct span text)
{
	char copy[256];
	struct publish_frame **at = &c->events.first;
	while (*at && (*at)->correlation != correlation)
		at = &(*at)->next;
	if (!*at)
		return false;
	(void)snprintf(copy, sizeof copy, "%.*s", (int)MIN_OF(text.len, 250u), text_of(text));
	resolve(c, at, (struct hlk_published){ .code = code, .status = "refused", .text = copy });
	return true;
}

void publish_close(struct hlk *c)
{
	struct events *e = &c->events;
	if (e->topic)
		batch_encode(c);
	while (e->first)
		resolve(c, &e->first, (struct hlk_published){ .code = HLK_CLOSED, .status = "refused", .text = "the client is closed" });
	while (e->topics) { /* of callers that never freed theirs */
		e->topics->refs = 1;
		topic_unref(e->topics);
	}
	buf_free(&e->payload);
	buf_free(&e->object);
	free(e->slots);
	free(e->sizes);
}

/* ---- publishing ---- */

static int room_check(struct hlk *c, size_t size)
{
	const struct events *e = &c->events;
	if (!spill_needed(c, size, 0) && size > MIN_OF(c->session.payload_max, c->session.frame_payload_max))
		return error_set(c, HLK_TOO_BIG, "publish: %zu bytes are over the limit of %u", size, c->session.payload_max);
	if (c->closing)
		return error_set(c, HLK_CLOSED, "publish: the client is being closed");
	if (e->unanswered + e->count >= WINDOW_EVENTS || e->unanswered_bytes + e->payload.len > WINDOW_BYTES)
		return error_set(c, HLK_AGAIN, "publish: %u events wait for their answer or for a connection",
				 e->unanswered + e->count);
	return HLK_OK;
}

/* Joins the batch that is being collected. */
static void send_event(struct hlk *c, struct hlk_topic *t, struct span payload, const struct published_slot *slot)
{
	struct events *e = &c->events;
	bool full = e->count == BATCH_EVENTS || e->payload.len + payload.len > BATCH_BYTES;
	if (e->topic && (e->topic != t || full))
		publish_flush(c);
	if (!e->slots) {
		e->slots = calloc(BATCH_EVENTS, sizeof *e->slots);
		e->sizes = calloc(BATCH_EVENTS, sizeof *e->sizes);
		ENSURE(e->slots && e->sizes);
	}
	if (!e->topic) {
		e->topic = t;
		t->refs++;
		client_touch(c);
	}
	e->slots[e->count] = *slot;
	e->sizes[e->count++] = (uint32_t)payload.len;
	e->confirm = e->confirm || slot->fn;
	buf_append(&e->payload, payload.data, payload.len);
	if (e->payload.len > OUT_EAGER_BYTES)
		publish_flush(c);
}

/* The one event of a frame, as a blob or a reference. */
static void single_encode(struct hlk *c, struct publish_frame *f, uint8_t kind, struct span payload)
{
	struct buf head = { 0 };
	const uint32_t size = (uint32_t)payload.len;
	spill_event_head(buf_span(&f->topic->bytes), kind, &head);
	const struct msg_publish m = { .number = f->number, .origin = c->producer.id, .id = { c->producer.id, f->id },
				       .retain = f->topic->retain, .confirm = f->confirm, .elsewhere = true,
				       .interest = !f->topic->always, .head = buf_span(&head), .sizes = { &size, 1 } };
	msg_encode_publish(&f->bytes, &m, &payload, 1);
	frame_set_correlation(&f->bytes, 0, f->correlation);
	buf_free(&head);
	buf_free(&f->data);
	f->held = false;
	client_touch(c);
}

static struct publish_frame *single_new(struct hlk *c, struct hlk_topic *t, const struct published_slot *slot, size_t size)
{
	struct publish_frame *f = calloc(1, sizeof *f + sizeof *f->slots);
	ENSURE(f != NULL);
	publish_flush(c);
	*f = (struct publish_frame){ .number = number_new(c), .count = 1, .correlation = client_correlation(c), .confirm = slot->fn != NULL,
				     .held = true, .client = c, .topic = t, .id = c->events.next_id++ };
	f->slots[0] = *slot;
	t->refs++;
	frame_add(c, f, size);
	return f;
}

static void uploaded(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	struct publish_frame *f = ctx, **at = &c->events.first;
	struct blob_ref ref;
	char text[MAP_ERROR_TEXT];
	f->transfer = 0;
	if (done->code == HLK_OK) {
		single_encode(c, f, PAYLOAD_BLOB, spill_ref(&done->blob, &ref));
		return;
	}
	while (*at != f)
		at = &(*at)->next;
	(void)snprintf(text, sizeof text, "the payload could not be uploaded: %.400s", done->text);
	resolve(c, at, (struct hlk_published){ .code = done->code, .status = "refused", .text = text });
	client_touch(c); /* for what waited behind it */
}

static void send_spilled(struct hlk *c, struct hlk_topic *t, struct span payload, const struct published_slot *slot)
{
	struct publish_frame *f = single_new(c, t, slot, payload.len);
	buf_append(&f->data, payload.data, payload.len);
	f->transfer = put_memory(c, buf_span(&f->data), false, uploaded, f);
}

/* What the caller is told where nothing was sent. */
static int end_here(struct hlk *c, const struct published_slot *slot)
{
	c->events.held_back++;
	tell(c, slot, (struct hlk_published){ .status = "no-subscriber", .text = "" });
	return HLK_OK;
}

/* First to the others, then to our own, whose handlers may publish in turn. `encoded` is nothing where it is held back. */
static int publish(struct hlk *c, struct hlk_topic *t, struct hlk_event event, const struct span *encoded,
		   struct published_slot slot)
{
	struct events *e = &c->events;
	slot.local = subscribe_local_count(c, &event);
	if (slot.local > 0 && e->depth >= DEPTH_MAX)
		return error_set(c, HLK_WRONG_STATE, "publish: handlers publish to each other, %d deep", DEPTH_MAX);
	event.id_hi = event.origin = c->producer.id;
	event.id_lo = e->next_id + e->count;
	t->refs++; /* a handler may free it */
	if (encoded && event.kind != HLK_INLINE)
		single_encode(c, single_new(c, t, &slot, encoded->len), (uint8_t)event.kind, *encoded);
	else if (encoded && spill_needed(c, encoded->len, 0))
		send_spilled(c, t, *encoded, &slot);
	else if (encoded)
		send_event(c, t, *encoded, &slot);
	if (slot.local > 0)
		subscribe_local(c, &event);
	topic_unref(t);
	return encoded ? HLK_OK : end_here(c, &slot);
}

int hlk_publish(struct hlk *c, struct hlk_topic *t, const void *payload, size_t size, hlk_publish_fn *fn, void *ctx)
{
	const struct span bytes = span_of(payload, size);
	int code = room_check(c, size);
	if (code != HLK_OK)
		return code;
	struct hlk_event event = t->event;
	event.payload = payload;
	event.size = size;
	return publish(c, t, event, held_back(t) ? NULL : &bytes, (struct published_slot){ fn, ctx, 0 });
}

int hlk_publish_payload(struct hlk *c, struct hlk_topic *t, const struct hlk_payload *p, hlk_publish_fn *fn, void *ctx)
{
	struct buf bytes = { 0 };
	if (p->kind == HLK_INLINE)
		return hlk_publish(c, t, p->data, (size_t)p->size, fn, ctx);
	int code = room_check(c, BLOB_REF_BYTES);
	if (code == HLK_OK && !spill_encode(c, p, "publish", &bytes))
		code = c->error.code;
	if (code == HLK_OK) {
		const struct span encoded = buf_span(&bytes);
		struct hlk_event event = t->event;
		event.payload = bytes.data;
		event.size = bytes.len;
		event.kind = p->kind;
		code = publish(c, t, event, held_back(t) ? NULL : &encoded, (struct published_slot){ fn, ctx, 0 });
	}
	buf_free(&bytes);
	return code;
}

/* A frame of its own: ids in one frame count on. What was published before it stays before it. */
int publish_relay(struct hlk *c, const struct hlk_event *event, bool always, hlk_publish_fn *fn, void *ctx)
{
	struct events *e = &c->events;
	struct hlk_error error;
	const struct hlk_topic_options options = {
		.type = event->type, .key = event->key && *event->key ? event->key : NULL, .always = true,
		.trace = event->trace && *event->trace ? event->trace : NULL,
		.correlation = event->correlation && *event->correlation ? event->correlation : NULL, .headers = event->headers,
		.header_count = event->header_count, .fingerprint = event->fingerprint };
	const struct published_slot slot = { fn, ctx, 0 };
	if (event->object)
		return error_set(c, HLK_INVALID_INPUT, "relay: an object that was not encoded");
	if (event->kind == HLK_BLOB)
		return error_set(c, HLK_UNSUPPORTED, "relay: the other broker does not have this blob: fetch and publish it");
	int code = room_check(c, event->size);
	if (code != HLK_OK && !(always && code == HLK_AGAIN))
		return code;
	struct hlk_topic *t = hlk_topic_new(c, &options, &error);
	if (!t)
		return error_set(c, error.code, "relay: %s", error.text);
	if (event->kind != HLK_INLINE)
		topic_kind(t, (uint8_t)event->kind);
	if (e->topic)
		batch_encode(c);
	e->relayed = event;
	send_event(c, t, span_of(event->payload, event->size), &slot);
	if (e->topic)
		batch_encode(c);
	e->relayed = NULL;
	hlk_topic_free(t);
	return HLK_OK;
}

int hlk_relay(struct hlk *c, const struct hlk_event *event, hlk_publish_fn *fn, void *ctx)
{
	return publish_relay(c, event, false, fn, ctx);
}

static int object_encode(struct hlk *c, const void *object, hlk_encode_fn *encode)
{
	struct buf *out = &c->events.object;
	buf_reserve(out, 4096);
	size_t size = encode(object, out->data, out->cap);
	if (size > LIMIT_PAYLOAD_BYTES && !spill_needed(c, size, 0))
		return error_set(c, HLK_TOO_BIG, "publish: the encoded object has %zu bytes, over the limit of %d", size,
				 LIMIT_PAYLOAD_BYTES);
	if (size > out->cap) {
		buf_reserve(out, size);
		size = MIN_OF(encode(object, out->data, out->cap), out->cap);
	}
	out->len = size;
	c->events.encoded++;
	return HLK_OK;
}

int hlk_publish_object(struct hlk *c, struct hlk_topic *t, const void *object, hlk_encode_fn *encode, hlk_publish_fn *fn, void *ctx)
{
	bool here = held_back(t);
	int code = room_check(c, 0);
	c->events.object.len = 0;
	if (code == HLK_OK && !here)
		code = object_encode(c, object, encode);
	if (code != HLK_OK)
		return code;
	const struct span bytes = buf_span(&c->events.object);
	struct hlk_event event = t->event;
	event.object = object;
	return publish(c, t, event, here ? NULL : &bytes, (struct published_slot){ fn, ctx, 0 });
}

uint64_t hlk_events_encoded(const struct hlk *c)
{
	return c->events.encoded;
}

uint64_t hlk_events_held_back(const struct hlk *c)
{
	return c->events.held_back;
}

/* ---- waiting ---- */

struct waiting { bool done; struct hlk_published published; };

static void wait_done(struct hlk *c, const struct hlk_published *published, void *ctx)
{
	struct waiting *w = ctx;
	w->done = true;
	w->published = *published;
	(void)snprintf(c->events.text, sizeof c->events.text, "%s", published->text);
	w->published.text = c->events.text;
}

/* Nobody waits any more. What has not been sent is not sent. */
static void give_up(struct hlk *c, const struct waiting *w)
{
	struct events *e = &c->events;
	if (e->topic)
		batch_encode(c);
	for (struct publish_frame **at = &e->first; *at; at = &(*at)->next) {
		for (uint32_t i = 0; i < (*at)->count; i++) {
			if ((*at)->slots[i].ctx != w)
				continue;
			(*at)->slots[i].fn = NULL;
			if ((*at)->count == 1) {
				frame_drop(c, at);
				return;
			}
		}
	}
}

int hlk_publish_wait(struct hlk *c, struct hlk_topic *topic, const void *payload, size_t size, int timeout_ms,
		     struct hlk_published *published)
{
	struct waiting w = { 0 };
	int64_t deadline = client_deadline(c, timeout_ms);
	int code = client_may_block(c);
	while (code == HLK_OK && (code = hlk_publish(c, topic, payload, size, wait_done, &w)) == HLK_AGAIN)
		code = client_wait(c, deadline);
	if (code != HLK_OK)
		return code;
	while (!w.done && code == HLK_OK) {
		if (c->session.refused_code)
			code = error_set(c, c->session.refused_code, "%s", c->session.last_text);
		else
			code = client_wait(c, deadline);
	}
	if (!w.done) {
		give_up(c, &w);
		return code;
	}
	if (published)
		*published = w.published;
	if (w.published.code != HLK_OK)
		return error_set(c, w.published.code, "publish: %s",
				 w.published.text[0] ? w.published.text : hlk_error_text(w.published.code));
	return HLK_OK;
}
