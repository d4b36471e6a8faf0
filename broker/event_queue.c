/* broker/event_queue.c: one subscription: what goes to its connection, what waits, and what is dropped.
 *
 * In the flow: match -> QUEUE -> socket.
 *
 * 1. matched = delivered + dropped + queued, at any time.
 * 2. Events leave in the order in which they came: nothing goes to the connection past a queue that is not empty.
 * 3. A queue is bounded in events and in bytes; one event is taken by an empty queue whatever its size.
 * 4. The bytes of a batch live while a slice names it, and are shared by all of them. */
#include "event_queue.h"

/* ---- batches ---- */

struct batch *batch_new(struct events *e, const struct msg_events *m, const struct event_head *head,
			const struct span *payload, uint32_t payload_count)
{
	struct batch *b = zalloc(sizeof *b);
	size_t bytes = 512 + m->head.len + 4 * (size_t)m->sizes.count;
	for (uint32_t i = 0; i < payload_count; i++)
		bytes += payload[i].len;
	buf_reserve(&b->frame, bytes);
	msg_encode_events(&b->frame, m, payload, payload_count);
	b->refs = 1;
	b->count = m->sizes.count;
	b->fingerprint = head->fingerprint;
	b->events = e;
	e->batches++;
	e->batch_bytes += b->frame.cap;
	e->stats.frames_encoded++;
	return b;
}

struct batch *batch_of(struct events *e, struct span frame, uint64_t fingerprint)
{
	struct batch *b = zalloc(sizeof *b);
	buf_append(&b->frame, frame.data, frame.len);
	b->refs = b->count = 1;
	b->fingerprint = fingerprint;
	b->events = e;
	e->batches++;
	e->batch_bytes += b->frame.cap;
	return b;
}

void batch_unref(struct batch *b)
{
	ENSURE(b->refs > 0);
	if (--b->refs > 0)
		return;
	b->events->batches--;
	b->events->batch_bytes -= b->frame.cap;
	buf_free(&b->frame);
	free(b);
}

static size_t bytes_each(const struct batch *b)
{
	return b->frame.len / b->count;
}

/* ---- out ---- */

/* A part of a batch gets a frame of its own. */
static void append_part(struct events *e, struct buf *out, const struct batch *b, uint32_t first, uint32_t count)
{
	struct frame frame;
	size_t used, need, from = 0, bytes = 0;
	char text[128];
	enum err code = frame_decode(buf_span(&b->frame), LIMIT_FRAME_BYTES, &frame, &used, &need, text);
	if (code == ERR_OK)
		code = msg_decode(&frame, &e->part, text);
	ENSURE(code == ERR_OK); /* we have made it */
	struct msg_events part = e->part.events;
	for (uint32_t i = 0; i < first + count; i++)
		*(i < first ? &from : &bytes) += part.sizes.at[i];
	part.id.lo += first;
	part.sizes = (struct u32s){ part.sizes.at + first, count };
	const struct span payload = span_sub(frame.payload, from, bytes);
	msg_encode_events(out, &part, &payload, 1);
	e->stats.frames_encoded++;
}

static void send_slice(struct subscription *x, struct batch *b, uint32_t first, uint32_t count)
{
	struct conn *c = x->peer->session->conn;
	size_t at = c->out.len;
	if (count == b->count)
		buf_append(&c->out, b->frame.data, b->frame.len);
	else
		append_part(b->events, &c->out, b, first, count);
	frame_set_correlation(&c->out, at, x->id);
	conn_touch(c);
	x->delivered += count;
	if (!x->unlimited)
		x->credit -= count;
	b->events->stats.delivered += count;
	b->events->stats.frames_sent++;
}

/* How many events may go to the connection now. */
static uint64_t sendable(const struct subscription *x)
{
	struct session *session = x->peer->session;
	struct conn *c = session ? session->conn : NULL;
	if (!c || c->closing || c->gone)
		return 0;
	if (conn_queued(c) > c->s->config.out_buffer_soft) {
		c->starved = true;
		return 0;
	}
	return x->unlimited ? UINT64_MAX : x->credit;
}

/* ---- the queue ---- */

static struct slice *front(struct subscription *x)
{
	return &x->ring[x->head];
}

/* Takes `count` events from the front slice. */
static void pop(struct subscription *x, uint32_t count)
{
	struct slice *s = front(x);
	ENSURE(count <= s->count && x->queued >= count);
	x->queued -= count;
	x->queued_bytes -= MIN_OF(x->queued_bytes, count * bytes_each(s->batch));
	s->first += count;
	s->count -= count;
	if (s->count > 0)
		return;
	batch_unref(s->batch);
	x->head = (x->head + 1) & (x->cap - 1);
	x->slices--;
	if (x->slices == 0)
		x->queued_bytes = 0;
}

static void append(struct subscription *x, struct batch *b, uint32_t first, uint32_t count)
{
	if (x->slices == x->cap) {
		uint32_t cap = x->cap ? x->cap * 2 : 8;
		struct slice *ring = zalloc(size_mul(cap, sizeof *ring));
		for (uint32_t i = 0; i < x->slices; i++)
			ring[i] = x->ring[(x->head + i) & (x->cap - 1)];
		free(x->ring);
		b->events->batch_bytes += (cap - x->cap) * sizeof *ring;
		x->ring = ring;
		x->cap = cap;
		x->head = 0;
	}
	x->ring[(x->head + x->slices++) & (x->cap - 1)] = (struct slice){ b, first, count };
	b->refs++;
	x->queued += count;
	x->queued_bytes += count * bytes_each(b);
}

void subscription_clear(struct subscription *x)
{
	while (x->slices > 0)
		pop(x, front(x)->count);
	free(x->ring);
	x->peer->shard->events->batch_bytes -= x->cap * sizeof *x->ring;
	x->ring = NULL;
	x->cap = x->head = 0;
}

static void drop(struct subscription *x, uint32_t count)
{
	struct events *e = x->peer->shard->events;
	x->dropped += count;
	e->stats.dropped += count;
	if (x->counts_due)
		return;
	x->counts_due = true;
	x->due_next = e->due;
	e->due = x;
}

static uint32_t room_for(const struct subscription *x, size_t each)
{
	if (x->queued >= x->queue_max)
		return 0;
	uint32_t events = x->queue_max - x->queued;
	if (x->queued == 0)
		return (uint32_t)MAX_OF(MIN_OF((uint64_t)events, x->queue_bytes_max / MAX_OF(each, 1u)), 1u);
	size_t left = x->queue_bytes_max - MIN_OF(x->queue_bytes_max, x->queued_bytes);
	return (uint32_t)MIN_OF((uint64_t)events, left / MAX_OF(each, 1u));
}

uint32_t subscription_room(const struct subscription *x, const struct batch *b)
{
	uint64_t direct = x->queued == 0 ? sendable(x) : 0;
	return (uint32_t)MIN_OF(direct + MIN_OF(UINT64_MAX - direct, room_for(x, bytes_each(b))), (uint64_t)UINT32_MAX);
}

uint32_t subscription_push(struct subscription *x, struct batch *b, uint32_t first, uint32_t count)
{
	size_t each = bytes_each(b);
	x->matched += count;
	b->events->stats.matched += count;
	if (x->queued == 0) {
		uint32_t now = (uint32_t)MIN_OF(sendable(x), (uint64_t)count);
		if (now > 0)
			send_slice(x, b, first, now);
		first += now;
		count -= now;
	}
	if (count == 0)
		return 0;
	while (x->overflow == OVERFLOW_DROP_OLDEST && x->slices > 0 && room_for(x, each) < count) {
		uint32_t victims = MIN_OF(front(x)->count, count - room_for(x, each));
		pop(x, victims);
		drop(x, victims);
	}
	uint32_t fits = MIN_OF(room_for(x, each), count), lost = count - fits;
	if (lost > 0)
		drop(x, lost);
	if (x->overflow == OVERFLOW_DROP_OLDEST)
		first += lost;
	if (fits > 0)
		append(x, b, first, fits);
	return x->overflow == OVERFLOW_REJECT ? lost : 0;
}

void subscription_push_retained(struct subscription *x, struct batch *b)
{
	x->matched += b->count;
	b->events->stats.matched += b->count;
	append(x, b, 0, b->count);
}

void subscription_drain(struct subscription *x)
{
	uint64_t may;
	while (x->slices > 0 && (may = sendable(x)) > 0) {
		struct slice *s = front(x);
		uint32_t count = (uint32_t)MIN_OF(may, (uint64_t)s->count);
		send_slice(x, s->batch, s->first, count);
		pop(x, count);
		if (x->overflow == OVERFLOW_BLOCK)
			x->peer->shard->events->again = true;
	}
	if (x->slices == 0 && x->cap > 1024)
		subscription_clear(x);
}

void subscription_tell_counts(struct subscription *x)
{
	struct session *session = x->peer->session;
	struct conn *c = session ? session->conn : NULL;
	if (!c || c->closing || c->gone || x->told == x->dropped)
		return;
	const struct msg_events m = { .matched = x->matched, .delivered = x->delivered, .dropped = x->dropped };
	size_t at = c->out.len;
	msg_encode_events(&c->out, &m, NULL, 0);
	frame_set_correlation(&c->out, at, x->id);
	conn_touch(c);
	x->told = x->dropped;
}
