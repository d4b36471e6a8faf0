/* broker/streams.c: UPDATES: progress, log lines, states and yields on their way to those who watch a task.
 *
 * In the flow: report, yield applied -> STREAMS -> socket.
 *
 * A stream is one task watched by one session. Yields are read from the log when they are pushed and numbered on from where the
 * stream has come to; the rest waits in a short queue of the stream, each piece behind the yields that came before it.
 *
 * 1. A stream pushes every yield once, in order, from the number it was opened with; for one that cannot be read it says so (code
 *    DAMAGED, no bytes) and goes on. Opening it again only moves that number.
 * 2. The result of the task is held back until the last yield has been pushed.
 * 3. The queue is bounded: the oldest piece goes, and progress that nobody has read yet is replaced by newer progress. All queues together
 *    take an eighth of memory_max; beyond, what comes is left out. What was left out is counted.
 * 4. A stream is in its session's list of due ones exactly when `due`; one frame per session and turn of the list. */
#include "shard_impl.h"

enum { PIECES_MAX = 64, STREAM_ITEMS = 256, STREAM_BYTES = 256 << 10 };

struct piece {
	struct update_item item;
	uint32_t after; /* yields that go before it */
	uint8_t *bytes;
};

struct stream {
	uint64_t task;
	struct session *session;
	struct stream *task_next;                 /* of the same task */
	struct stream *session_next, **session_at;
	struct stream *due_next;
	uint32_t next;                            /* yield */
	uint32_t piece_count;
	bool due, final, noted;                   /* noted: the operator knows of its damage */
	struct piece *pieces;                     /* PIECES_MAX of them, once there is one */
};

static struct stream *find(const struct shard *s, uint64_t task, const struct session *session)
{
	const struct map64_slot *slot = s->stream_count ? map64_find(&s->streams, task) : NULL;
	struct stream *x = slot ? (struct stream *)(uintptr_t)slot->value : NULL;
	while (x && x->session != session)
		x = x->task_next;
	return x;
}

static void list_session(struct shard *s, struct session *session)
{
	if (session->streams_listed || !session->conn || !session->streams_due)
		return;
	session->streams_listed = true;
	session->streams_next = NULL;
	*s->streaming_tail = session;
	s->streaming_tail = &session->streams_next;
}

static void make_due(struct shard *s, struct stream *x)
{
	struct session *session = x->session;
	if (!x->due) {
		x->due = true;
		x->due_next = NULL;
		*session->streams_tail = x;
		session->streams_tail = &x->due_next;
	}
	list_session(s, session);
}

static void take_due(struct session *session, struct stream *x)
{
	struct stream **at = &session->streams_due;
	while (*at != x)
		at = &(*at)->due_next;
	*at = x->due_next;
	if (!*at)
		session->streams_tail = at;
	x->due = false;
}

static void piece_free(struct shard *s, struct piece *p)
{
	s->piece_bytes -= p->item.size;
	free(p->bytes);
}

/* The queue of a stream, where it is to have one. */
static void pieces_resize(struct shard *s, struct stream *x, bool some)
{
	size_t bytes = PIECES_MAX * sizeof *x->pieces;
	if (some == (x->pieces != NULL))
		return;
	s->piece_bytes += some ? bytes : 0;
	s->piece_bytes -= some ? 0 : bytes;
	free(x->pieces);
	x->pieces = some ? zalloc(bytes) : NULL;
}

static void drop(struct shard *s, struct stream *x)
{
	struct map64_slot *slot = map64_find(&s->streams, x->task);
	struct stream *first = (struct stream *)(uintptr_t)slot->value, **at = &first;
	while (*at != x)
		at = &(*at)->task_next;
	*at = x->task_next;
	slot->value = (uint64_t)(uintptr_t)first;
	if (!first)
		map64_remove(&s->streams, slot);
	if (x->due)
		take_due(x->session, x);
	*x->session_at = x->session_next;
	if (x->session_next)
		x->session_next->session_at = x->session_at;
	for (uint32_t i = 0; i < x->piece_count; i++)
		piece_free(s, &x->pieces[i]);
	pieces_resize(s, x, false);
	free(x);
	s->stream_count--;
}

static void add(struct shard *s, uint64_t task, struct session *session, uint32_t from)
{
	struct stream *x = zalloc(sizeof *x);
	*x = (struct stream){ .task = task, .session = session, .next = from, .session_next = session->streams,
			      .session_at = &session->streams };
	if (session->streams)
		session->streams->session_at = &x->session_next;
	session->streams = x;
	struct map64_slot *slot = map64_find(&s->streams, task);
	if (slot) {
		x->task_next = (struct stream *)(uintptr_t)slot->value;
		slot->value = (uint64_t)(uintptr_t)x;
	} else {
		map64_add(&s->streams, task, (uint64_t)(uintptr_t)x, &s->stream_memory);
	}
	s->stream_count++;
	if (tasks_yields(s->tasks, task) > from)
		make_due(s, x);
}

bool streams_open(struct shard *s, uint64_t first_task, uint32_t count, struct session *session, uint32_t from)
{
	for (uint32_t i = 0; i < count; i++) {
		struct stream *x = first_task + i ? find(s, first_task + i, session) : NULL;
		if (x) {
			x->next = from;
			make_due(s, x);
			continue;
		}
		if (s->stream_count >= s->config.watches_max)
			return false;
		if (first_task + i != 0)
			add(s, first_task + i, session, from);
	}
	return true;
}

void streams_close(struct shard *s, uint64_t task, struct session *session)
{
	struct stream *x = task ? find(s, task, session) : NULL;
	if (x)
		drop(s, x);
}

bool streams_final(struct shard *s, uint64_t task, struct session *session)
{
	struct stream *x = find(s, task, session);
	if (!x)
		return false;
	x->final = true;
	make_due(s, x);
	return true;
}

void streams_update(struct shard *s, const struct update_item *item, struct span data, uint32_t after)
{
	const struct map64_slot *slot = map64_find(&s->streams, item->task);
	for (struct stream *x = slot ? (struct stream *)(uintptr_t)slot->value : NULL; x; x = x->task_next) {
		if (s->piece_bytes + data.len + (x->pieces ? 0 : PIECES_MAX * sizeof *x->pieces) > s->config.memory_max / 8) {
			s->counters.updates_dropped_total++;
			continue;
		}
		pieces_resize(s, x, true);
		struct piece *last = x->piece_count ? &x->pieces[x->piece_count - 1] : NULL;
		bool newer = last && last->item.kind == UPDATE_PROGRESS && item->kind == UPDATE_PROGRESS;
		if (newer) {
			piece_free(s, last);
			x->piece_count--;
		} else if (x->piece_count == PIECES_MAX) {
			s->counters.updates_dropped_total++;
			piece_free(s, &x->pieces[0]);
			memmove(x->pieces, x->pieces + 1, --x->piece_count * sizeof *x->pieces);
		}
		uint8_t *bytes = data.len ? zalloc(data.len) : NULL;
		if (bytes)
			memcpy(bytes, data.data, data.len);
		x->pieces[x->piece_count] = (struct piece){ *item, after, bytes };
		x->pieces[x->piece_count++].item.size = (uint32_t)data.len;
		s->piece_bytes += data.len;
		make_due(s, x);
	}
}

void streams_yielded(struct shard *s, uint64_t task)
{
	const struct map64_slot *slot = s->stream_count ? map64_find(&s->streams, task) : NULL;
	for (struct stream *x = slot ? (struct stream *)(uintptr_t)slot->value : NULL; x; x = x->task_next)
		make_due(s, x);
}

void streams_list(struct shard *s, struct session *session)
{
	list_session(s, session);
}

/* ---- pushing ---- */

struct push {
	struct update_item items[STREAM_ITEMS];
	struct span spans[STREAM_ITEMS];
	uint32_t count, span_count, taken; /* taken: pieces of this stream that are in the frame */
	size_t bytes;
};

static bool push_item(struct push *p, const struct update_item *item, struct span bytes)
{
	if (p->count == STREAM_ITEMS || (p->count > 0 && p->bytes + bytes.len > STREAM_BYTES))
		return false;
	p->items[p->count++] = *item;
	p->bytes += bytes.len;
	if (bytes.len > 0)
		p->spans[p->span_count++] = bytes;
	return true;
}

/* Yields from the record that has the next one, up to `end`. ERR_AGAIN: it is being read; ERR_TOO_BIG: the frame is full. */
static enum err push_yields(struct shard *s, struct stream *x, struct push *p, uint32_t end)
{
	uint64_t addr, offset = 0;
	uint32_t index = 0;
	struct log_record record;
	struct span bytes;
	if (!tasks_yield_at(s->tasks, x->task, x->next, &addr))
		return ERR_NOT_FOUND;
	enum err e = log_fetch(s->log, addr, &record);
	if (e == ERR_AGAIN || e == ERR_RESOURCE_EXHAUSTED)
		return ERR_AGAIN;
	if (e != ERR_OK)
		return ERR_DAMAGED;
	uint32_t first = x->next;
	uint8_t kind;
	while (x->next < end && yield_record_next(&record, x->task, x->next, &index, &offset, &bytes, &kind)) {
		const struct update_item item = { .task = x->task, .number = x->next, .size = (uint32_t)bytes.len,
						  .kind = UPDATE_YIELD, .payload = kind };
		if (!push_item(p, &item, bytes))
			return ERR_TOO_BIG;
		x->next++;
	}
	return x->next > first ? ERR_OK : ERR_DAMAGED;
}

/* The next yield cannot be read, and never will be: whoever waits learns that, not nothing. False: the frame is full. */
static bool push_damaged(struct shard *s, struct stream *x, struct push *p)
{
	const struct update_item item = { .task = x->task, .number = x->next, .kind = UPDATE_YIELD, .code = ERR_DAMAGED };
	if (!push_item(p, &item, span_of(NULL, 0)))
		return false;
	if (!x->noted)
		shard_note(s, SHARD_ERROR, "streams", "damaged", "task=%llu yield=%u: it cannot be read", (unsigned long long)x->task,
			   x->next);
	x->noted = true;
	x->next++;
	return true;
}

/* All that the frame has room for. True: the stream has nothing left for now. */
static bool push_stream(struct shard *s, struct stream *x, struct push *p)
{
	p->taken = 0;
	for (;;) {
		uint32_t yields = tasks_yields(s->tasks, x->task);
		const struct piece *piece = p->taken < x->piece_count ? &x->pieces[p->taken] : NULL;
		if (piece && (piece->after <= x->next || (x->final && yields <= x->next))) {
			if (!push_item(p, &piece->item, span_of(piece->bytes, piece->item.size)))
				return false;
			p->taken++;
			continue;
		}
		if (x->next >= yields)
			return true;
		enum err e = push_yields(s, x, p, piece ? MIN_OF(piece->after, yields) : yields);
		if (e == ERR_AGAIN)
			s->streams_blocked = true;
		if (e == ERR_DAMAGED && !push_damaged(s, x, p))
			return false;
		if (e != ERR_OK && e != ERR_DAMAGED)
			return e == ERR_NOT_FOUND;
	}
}

static void pieces_done(struct shard *s, struct stream *x, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		piece_free(s, &x->pieces[i]);
	if (count > 0)
		memmove(x->pieces, x->pieces + count, (x->piece_count - count) * sizeof *x->pieces);
	x->piece_count -= count;
	if (x->piece_count == 0)
		pieces_resize(s, x, false);
}

static void encode(struct shard *s, struct conn *c, struct push *p)
{
	if (p->count == 0)
		return;
	const struct msg_updates m = { .items = p->items, .count = p->count };
	confirm_encode(c); /* the confirm of a task goes before what becomes known of it */
	msg_encode_updates(&c->out, &m, p->spans, p->span_count);
	s->counters.updates_total += p->count;
	conn_touch(c);
	p->count = p->span_count = 0;
	p->bytes = 0;
}

/* One frame for each of its due streams at most. True: it has more to push and room for it. */
static bool push_session(struct shard *s, struct session *session)
{
	struct conn *c = session->conn;
	if (!s->push_room)
		s->push_room = zalloc(sizeof *s->push_room);
	struct push *p = s->push_room;
	for (struct stream *x = session->streams_due, *next; x; x = next) {
		next = x->due_next;
		if (!c || c->closing || conn_queued(c) > s->config.out_buffer_soft)
			return false; /* listed again when it has drained, or is resumed */
		p->count = p->span_count = 0;
		p->bytes = 0;
		bool done = push_stream(s, x, p);
		uint32_t taken = p->taken;
		encode(s, c, p);
		pieces_done(s, x, taken);
		if (!done)
			continue;
		take_due(session, x);
		if (!x->final)
			continue;
		uint64_t task = x->task;
		drop(s, x);
		results_ready(s, session, task);
	}
	return session->streams_due != NULL && !s->streams_blocked;
}

void streams_fetched(struct shard *s)
{
	if (!s->streams_blocked)
		return;
	s->streams_blocked = false;
	for (struct conn *c = s->conns; c; c = c->next)
		if (c->session)
			list_session(s, c->session);
}

bool streams_run(struct shard *s)
{
	struct session *session = s->streaming;
	s->streaming = NULL;
	s->streaming_tail = &s->streaming;
	while (session) {
		struct session *next = session->streams_next;
		session->streams_listed = false;
		if (push_session(s, session))
			list_session(s, session);
		session = next;
	}
	return s->streaming != NULL;
}

void streams_end(struct shard *s, struct session *session)
{
	if (session->streams_listed) {
		struct session **in = &s->streaming;
		while (*in != session)
			in = &(*in)->streams_next;
		*in = session->streams_next;
		if (!*in)
			s->streaming_tail = in;
	}
	while (session->streams)
		drop(s, session->streams);
}

void streams_free(struct shard *s)
{
	free(s->push_room);
	map64_free(&s->streams, &s->stream_memory);
}
