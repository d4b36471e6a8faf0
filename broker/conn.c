/* broker/conn.c: a connection: bytes in are put together to frames, frames out are queued and sent, and it ends.
 *
 * In the flow: SOCKET -> FRAME -> route ... -> deliver -> SOCKET.
 *
 * 1. A frame that is there as a whole and 8-aligned is handled where it was received; only the others are copied.
 * 2. The buffer of a partial frame grows with what has come of it, up to the size that the header declares, which was judged before;
 *    it is given back when empty, to the shard, which keeps one.
 * 3. At most one send is in flight, of `sending`; new frames go to `out`. What is queued above out_buffer_max ends it.
 * 4. Every wait has an end: the handshake, a partial frame, silence and a close each have a deadline. */
#include "audit.h"
#include "blob_desk.h"
#include "call.h"
#include "conn_file.h"
#include "conn_tls.h"
#include "door.h"
#include "event.h"
#include "usage.h"

enum { CLOSE_MS = 3000, KEEP_BYTES = 1024,
       EARLY_BYTES = 64 << 10, /* so much does not wait for the end of the turn once the socket is free */
       SPARE_BYTES = 512 << 10, /* the largest memory for frames that is kept */
       SPARE_LEAST = 8 << 10 }; /* and given to one of which so much has come at once */

static void account(struct conn *c)
{
	size_t now = c->in.cap + c->out.cap + c->sending.cap + c->confirms.cap + c->reported.cap + c->signals.cap + conn_tls_memory(c);
	if (c->calls)
		now += sizeof *c->calls + c->calls->answers.cap + c->calls->bytes.cap + c->calls->cancels.cap;
	if (c->cache)
		now += sizeof *c->cache + c->cache->bytes.cap;
	c->s->buffer_bytes += now - c->accounted;
	c->accounted = now;
}

size_t conn_waiting(const struct conn *c)
{
	return c->out.len + conn_tls_queued(c);
}

size_t conn_queued(const struct conn *c)
{
	return conn_waiting(c) + c->sending.len;
}

bool conn_full(const struct conn *c)
{
	const struct shard_config *k = &c->s->config;
	return conn_waiting(c) > k->out_buffer_soft || conn_queued(c) > k->out_buffer_max / 2;
}

void conn_touch(struct conn *c)
{
	if (c->dirty || c->gone || !c->s->live) /* not live: all connections are being freed, and what ends may have something to tell */
		return;
	c->dirty = true;
	c->dirty_next = c->s->dirty;
	c->s->dirty = c;
}

/* ---- ends ---- */

static void calls_forget(struct conn *c)
{
	if (!c->calls)
		return;
	buf_free(&c->calls->answers);
	buf_free(&c->calls->bytes);
	buf_free(&c->calls->cancels);
	free(c->calls);
	c->calls = NULL;
}

static void conn_free(struct conn *c)
{
	ENSURE(c->gone && c->refs == 0 && !c->dirty);
	buf_free(&c->in);
	buf_free(&c->out);
	buf_free(&c->sending);
	buf_free(&c->confirms);
	buf_free(&c->reported);
	buf_free(&c->signals);
	calls_forget(c);
	conn_tls_free(c);
	account(c);
	free(c);
}

static void free_if_done(struct conn *c)
{
	if (c->gone && c->refs == 0 && !c->dirty)
		conn_free(c);
}

void conn_unref(struct conn *c)
{
	ENSURE(c->refs > 0);
	c->refs--;
	free_if_done(c);
}

static void unpause(struct conn *c)
{
	if (!c->paused)
		return;
	struct conn **at = &c->s->paused;
	while (*at != c)
		at = &(*at)->paused_next;
	*at = c->paused_next;
	if (!*at)
		c->s->paused_tail = at;
	c->paused = false;
}

static void drop_cache(struct conn *c)
{
	if (c->cache)
		buf_free(&c->cache->bytes);
	free(c->cache);
	c->cache = NULL;
}

void conn_close(struct conn *c)
{
	if (c->closing || c->gone)
		return;
	c->closing = true;
	c->deadline_ms = c->s->now_ms + CLOSE_MS;
	buf_free(&c->in);
	unpause(c);
	session_detach(c);
	timer_sooner(c->s, &c->timer, c->deadline_ms);
	conn_touch(c);
}

void conn_abort(struct conn *c, const char *why)
{
	if (c->gone)
		return;
	if (!c->closing)
		shard_note(c->s, SHARD_INFO, "conn", "aborted", "peer=%s why=%s", c->peer, why);
	c->closing = c->close_started = true;
	buf_free(&c->in);
	buf_free(&c->out);
	buf_free(&c->confirms);
	buf_free(&c->reported);
	buf_free(&c->signals);
	drop_cache(c);
	account(c); /* now: until it is closed memory would look as short as before, and the next one would have to go */
	unpause(c);
	session_detach(c);
	c->s->io->v->close_conn(c->s->io, c->io, true);
}

void conn_refuse(struct conn *c, const struct msg_error *error, uint32_t correlation)
{
	struct shard *s = c->s;
	if (c->closing || c->gone)
		return;
	confirm_encode(c);
	s->msg.kind = FRAME_ERROR;
	s->msg.error = *error;
	if (error->retry_after_ms == 0)
		s->msg.error.retry_after_ms = err_retry_after_ms(error->code);
	msg_encode(&c->out, &s->msg, correlation, NULL, 0);
	s->counters.frames_refused_total++;
	if (error->fatal) {
		shard_note(s, SHARD_INFO, "conn", "refused", "peer=%s code=%s text=%.*s", c->peer, err_name(error->code),
			   (int)error->text.len, (const char *)error->text.data);
		conn_close(c);
	}
	conn_touch(c);
}

void conn_error(struct conn *c, enum err code, const char *text, uint16_t kind, uint32_t correlation, bool fatal)
{
	conn_refuse(c, &(struct msg_error){ .code = (uint16_t)code, .text = span_str(text), .kind = kind, .fatal = fatal }, correlation);
}

/* ---- time ---- */

static void idle_shrink(struct conn *c)
{
	drop_cache(c);
	if (c->in.len == 0)
		buf_free(&c->in);
	if (c->out.len == 0)
		buf_free(&c->out);
	if (!c->send_busy)
		buf_free(&c->sending);
	conn_tls_shrink(c);
	if (c->confirms.len == 0)
		buf_free(&c->confirms);
	if (c->reported.len == 0)
		buf_free(&c->reported);
	if (c->signals.len == 0)
		buf_free(&c->signals);
	if (c->calls && c->calls->answers.len == 0 && c->calls->cancels.len == 0)
		calls_forget(c);
	account(c);
}

/* Says what is overdue, or PINGs a silent peer, and arms the timer for the next look. */
static void conn_timer(struct shard *s, struct timer *t)
{
	struct conn *c = CONTAINER_OF(t, struct conn, timer);
	uint64_t now = s->now_ms, beat = s->config.heartbeat_ms;
	if (c->gone)
		return;
	if (c->closing) {
		if (now >= c->deadline_ms)
			conn_abort(c, "did not take the last frames");
		else
			timer_set(s, t, c->deadline_ms);
		return;
	}
	if (!c->session) {
		if (now < c->deadline_ms) {
			timer_set(s, t, c->deadline_ms);
			return;
		}
		s->counters.handshakes_failed_total++;
		conn_error(c, ERR_TIMEOUT, "no HELLO within the time for the handshake", 0, 0, true);
		return;
	}
	if (c->slowed && now >= c->slow_until_ms) {
		c->slowed = false;
		c->in_ms = now;
		c->frame_ms = c->frame_ms ? now : 0;
		if (!c->paused)
			s->io->v->pause(s->io, c->io, false);
	}
	bool read = !c->paused && !c->slowed;
	if (c->frame_ms && read && now - c->frame_ms >= s->config.frame_ms) {
		conn_error(c, ERR_TIMEOUT, "a frame was begun and not completed in time", 0, 0, true);
		return;
	}
	if (now - c->in_ms >= 3 * beat && read) {
		s->counters.conns_silent_total++;
		conn_error(c, ERR_TIMEOUT, "silent for three heartbeats", 0, 0, true);
		return;
	}
	if (now - c->in_ms >= beat || now - c->out_ms >= beat) {
		s->msg.kind = FRAME_PING;
		s->msg.ping.echo = now;
		msg_encode(&c->out, &s->msg, 0, NULL, 0);
		c->out_ms = now;
		conn_touch(c);
	}
	if (c->in_ms + 1000 < now)
		idle_shrink(c);
	uint64_t next = now + beat;
	if (c->frame_ms)
		next = MIN_OF(next, c->frame_ms + s->config.frame_ms);
	if (c->slowed)
		next = MIN_OF(next, c->slow_until_ms);
	timer_set(s, t, next);
}

/* ---- in ---- */

static bool refusal_is_fatal(enum err code)
{
	return code == ERR_MALFORMED || code == ERR_VERSION || code == ERR_DUPLICATE_SESSION;
}

/* Whoever guesses is asked to come back later, whatever it says now. */
static bool may_login(struct conn *c, const struct frame *frame)
{
	uint32_t retry_ms;
	if (door_may_login(c, &retry_ms))
		return true;
	c->s->counters.handshakes_failed_total++;
	conn_refuse(c, &(struct msg_error){ .code = ERR_RESOURCE_EXHAUSTED, .kind = (uint16_t)frame->kind, .fatal = true,
		.text = span_str("too many wrong credentials from this address"), .retry_after_ms = retry_ms }, frame->correlation);
	return false;
}

/* False: stop reading from this connection (paused, or it is being closed). */
static bool on_frame(struct conn *c, const struct frame *frame)
{
	char text[128] = "";
	bool greeted = c->session != NULL;
	if (!greeted && !may_login(c, frame))
		return false; /* it is being closed */
	enum err e = route_frame(c, frame, text);
	if (e == ERR_AGAIN) {
		if (!c->paused) {
			c->paused = true;
			c->paused_next = NULL;
			*c->s->paused_tail = c;
			c->s->paused_tail = &c->paused_next;
			c->s->counters.submits_paused_total++;
			c->s->io->v->pause(c->s->io, c->io, true);
		}
		return false;
	}
	c->s->counters.frames_in_total++;
	c->retries = 0;
	if (!greeted && c->session)
		door_passed(c);
	if (e != ERR_OK) {
		if (!greeted)
			c->s->counters.handshakes_failed_total++;
		if (!greeted && e == ERR_PERMISSION)
			door_login_failed(c);
		conn_error(c, e, text, frame->kind, frame->correlation, !greeted || refusal_is_fatal(e));
	}
	return !c->closing && !c->gone;
}

static enum err decode(struct conn *c, struct span in, struct frame *frame, size_t *used)
{
	char text[128] = "";
	size_t max = c->session ? LIMIT_FRAME_BYTES : LIMIT_HANDSHAKE_BYTES;
	enum err e = frame_decode(in, max, frame, used, &c->in_need, text);
	if (e != ERR_OK && e != ERR_AGAIN) {
		c->s->counters.conns_garbage_total++;
		conn_error(c, e, text, 0, 0, true);
	}
	return e;
}

/* Memory that a partial frame grew to is kept, once in the shard: the next that comes fast needs it, and would be moved as it grew. */
static void in_take(struct conn *c, size_t come)
{
	if (c->in.cap > 0 || come < SPARE_LEAST || !c->session)
		return;
	c->in = c->s->spare_in;
	c->s->spare_in = (struct buf){ NULL, 0, 0 };
}

static void in_give(struct conn *c)
{
	if (c->in.len > 0 || c->in.cap <= KEEP_BYTES)
		return;
	if (c->s->spare_in.cap == 0 && c->in.cap <= SPARE_BYTES) {
		c->s->spare_in = c->in;
		c->in = (struct buf){ NULL, 0, 0 };
	}
	buf_free(&c->in);
}

static void keep(struct conn *c, struct span bytes)
{
	in_take(c, bytes.len);
	buf_append(&c->in, bytes.data, bytes.len);
	account(c);
}

/* Room for more of a partial frame, in proportion to what has come of it: a header alone claims nothing. */
static void partial_reserve(struct conn *c)
{
	size_t missing = c->in_need - c->in.len;
	buf_reserve(&c->in, MIN_OF(missing, 3 * c->in.len + 1024));
	account(c);
}

/* More has come of the partial frame in c->in: it may be whole now. */
static void partial_grown(struct conn *c)
{
	if (c->in.len < c->in_need) {
		partial_reserve(c);
		return;
	}
	struct frame frame;
	size_t used = 0;
	if (decode(c, buf_span(&c->in), &frame, &used) != ERR_OK)
		return; /* more is needed (in_need says how much), or it is closing */
	ENSURE(used == c->in.len);
	c->frame_ms = 0;
	if (on_frame(c, &frame))
		c->in.len = 0;
	in_give(c);
	account(c);
}

/* Takes bytes to complete the partial frame in c->in. Returns how many it took. */
static size_t complete_partial(struct conn *c, struct span bytes)
{
	size_t take = MIN_OF(c->in_need - c->in.len, bytes.len);
	keep(c, span_of(bytes.data, take));
	partial_grown(c);
	return take;
}

uint8_t *conn_room(struct conn *c, size_t *room)
{
	if (c->in.len == 0 || c->paused || !c->session || c->in.len >= c->in_need)
		return NULL;
	partial_reserve(c);
	*room = MIN_OF(c->in_need, c->in.cap) - c->in.len;
	return c->in.data + c->in.len;
}

void conn_room_used(struct conn *c, size_t bytes)
{
	c->in.len += bytes;
	partial_grown(c);
}

static void feed(struct conn *c, struct span bytes)
{
	while (bytes.len > 0 && !c->closing && !c->gone) {
		if (c->paused) {
			keep(c, bytes);
			return;
		}
		if (c->in.len > 0 || ((uintptr_t)bytes.data & 7) != 0) {
			if (c->in.len == 0) {
				c->in_need = LIMIT_FRAME_HEADER;
				c->frame_ms = c->s->now_ms;
			}
			size_t took = complete_partial(c, bytes);
			bytes = span_sub(bytes, took, bytes.len - took);
			continue;
		}
		struct frame frame;
		size_t used = 0;
		enum err e = decode(c, bytes, &frame, &used);
		if (e == ERR_AGAIN) {
			c->frame_ms = c->s->now_ms;
			keep(c, bytes);
			partial_reserve(c);
			break;
		}
		if (e != ERR_OK)
			return;
		if (!on_frame(c, &frame)) {
			if (c->paused)
				keep(c, bytes);
			return;
		}
		bytes = span_sub(bytes, used, bytes.len - used);
	}
	if (c->frame_ms && !c->closing && c->in.len > 0)
		timer_sooner(c->s, &c->timer, c->frame_ms + c->s->config.frame_ms);
}

/* Its principal is over its rate: nothing more is read of it for so long. What is on its way already is taken, and paid for later. */
static void slow_down(struct conn *c, uint64_t ms)
{
	struct shard *s = c->s;
	if (ms == 0)
		return;
	c->slow_until_ms = s->now_ms + ms;
	timer_sooner(s, &c->timer, c->slow_until_ms);
	if (c->slowed)
		return;
	c->slowed = true;
	s->counters.conns_slowed_total++;
	s->io->v->pause(s->io, c->io, true);
}

void conn_lift(struct conn *c)
{
	if (!c->slowed)
		return;
	c->slow_until_ms = c->s->now_ms;
	timer_sooner(c->s, &c->timer, c->slow_until_ms);
}

static void on_received(void *owner, void *ctx, struct span bytes)
{
	struct shard *s = owner;
	struct conn *c = ctx;
	shard_time(s);
	if (c->closing)
		return;
	uint64_t frames = s->counters.frames_in_total;
	c->in_ms = s->now_ms;
	s->counters.bytes_in_total += bytes.len;
	if (c->tls)
		conn_tls_received(c, bytes);
	else
		conn_plain(c, bytes);
	if (c->session && !c->closing)
		slow_down(c, usage_received(c->session, bytes.len, (uint32_t)(s->counters.frames_in_total - frames)));
}

void conn_plain(struct conn *c, struct span bytes)
{
	struct shard *s = c->s;
	if (!c->session) {
		if (bytes.len > LIMIT_HANDSHAKE_BYTES - c->handshake_bytes) {
			s->counters.handshakes_failed_total++;
			conn_error(c, ERR_TOO_BIG, "more bytes than a handshake may have", 0, 0, true);
			return;
		}
		c->handshake_bytes += (uint32_t)bytes.len;
	}
	feed(c, bytes);
}

void conn_retry_paused(struct shard *s)
{
	struct conn *list = s->paused;
	s->paused = NULL;
	s->paused_tail = &s->paused;
	while (list) {
		struct conn *c = list;
		list = c->paused_next;
		c->paused = false;
		struct buf held = c->in;
		c->in = (struct buf){ NULL, 0, 0 };
		c->frame_ms = 0;
		c->in_ms = s->now_ms;
		if (c->retries < UINT16_MAX)
			c->retries++;
		feed(c, buf_span(&held));
		buf_free(&held);
		account(c);
		if (!c->paused && !c->slowed && !c->gone && !c->closing)
			s->io->v->pause(s->io, c->io, false);
	}
}

/* ---- out ---- */

static void conn_unblock(struct conn *c)
{
	deliver_unblock(c);
	event_conn_room(c);
	calls_changed(c->s);
}

/* What is queued is handed over. There is room for as much again then, so that the socket has the next when this is through. */
static void send_next(struct conn *c)
{
	struct shard *s = c->s;
	if (c->tls) {
		conn_tls_fill(c);
		if (c->close_started) /* it broke */
			return;
	} else if (c->file) {
		if (!conn_file_next(c))
			return;
	} else {
		struct buf spare = c->sending;
		c->sending = c->out;
		c->out = spare;
		c->out.len = 0;
	}
	if (c->sending.len == 0)
		return;
	c->send_busy = true;
	c->out_ms = s->now_ms;
	s->counters.bytes_out_total += c->sending.len;
	s->io->v->send(s->io, c->io, buf_span(&c->sending));
	if (c->starved && conn_waiting(c) <= s->config.out_buffer_soft)
		conn_unblock(c);
}

static void conn_flush(struct conn *c)
{
	struct shard *s = c->s;
	if (c->gone || c->close_started)
		return;
	confirm_encode(c);
	call_encode(c);
	account(c);
	if (conn_queued(c) > s->config.out_buffer_max) {
		s->counters.conns_slow_total++;
		conn_abort(c, "slow reader: more is queued than out_buffer_max");
		return;
	}
	if (c->send_busy)
		return;
	send_next(c);
	if (!c->send_busy && c->closing && !c->close_started) {
		c->close_started = true;
		s->io->v->close_conn(s->io, c->io, false);
	}
}

void conn_flush_dirty(struct shard *s)
{
	while (s->dirty) {
		struct conn *c = s->dirty;
		s->dirty = c->dirty_next;
		conn_flush(c);
		c->dirty = false;
		free_if_done(c);
	}
}

static void on_sent(void *owner, void *ctx, int res)
{
	struct shard *s = owner;
	struct conn *c = ctx;
	shard_time(s);
	c->send_busy = false;
	c->sending.len = 0;
	conn_file_sent(c, res);
	if (res == 0) {
		if (c->sending.cap <= KEEP_BYTES)
			buf_free(&c->sending);
		if (!c->closing && conn_waiting(c) >= EARLY_BYTES)
			send_next(c); /* the socket is not to run dry before the end of the turn */
		if (c->starved && conn_waiting(c) <= s->config.out_buffer_soft)
			conn_unblock(c);
		if (c->session && c->session->results_count > 0)
			results_list(s, c->session);
		if (c->session)
			streams_list(s, c->session);
		if (c->session && c->session->reads)
			blob_conn_room(c->session);
		if (conn_queued(c) > 0 || c->file || c->closing)
			conn_touch(c);
	}
	account(c);
}

/* Memory is short: the connection that holds most of it has to go. */
void conn_shed(struct shard *s)
{
	struct conn *largest = NULL;
	for (struct conn *c = s->conns; c; c = c->next)
		if (!c->close_started && (!largest || c->accounted > largest->accounted))
			largest = c;
	if (largest) {
		s->counters.conns_slow_total++;
		conn_abort(largest, "memory_max is reached and this connection holds most");
	}
}

/* ---- begins ---- */

static void *on_accepted(void *owner, struct io_conn io, const char *peer, enum io_peer kind)
{
	struct shard *s = owner;
	shard_time(s);
	if (!door_knock(s, peer, kind == IO_PEER_LOCAL))
		return NULL;
	if (s->counters.conns >= s->config.conns_max || s->stop != STOP_NOT) {
		s->counters.conns_refused_total++;
		char text[64];
		(void)snprintf(text, sizeof text, "%llu connections", (unsigned long long)s->counters.conns);
		limit_reached(s, SHARD_LIMIT_CONNS, "conns", text);
		return NULL;
	}
	limit_free(s, SHARD_LIMIT_CONNS);
	size_t peer_len = strlen(peer);
	struct conn *c = zalloc(sizeof *c + peer_len + 1);
	c->s = s;
	c->io = io;
	c->local = kind == IO_PEER_LOCAL;
	if (kind == IO_PEER_TLS)
		conn_tls_begin(c);
	c->in_ms = c->out_ms = s->now_ms;
	c->deadline_ms = s->now_ms + s->config.handshake_ms;
	c->timer.fire = conn_timer;
	memcpy(c->peer, peer, peer_len);
	c->next = s->conns;
	if (c->next)
		c->next->prev = c;
	s->conns = c;
	s->counters.conns++;
	s->counters.conns_total++;
	timer_set(s, &c->timer, c->deadline_ms);
	door_enter(s, c);
	return c;
}

static void on_closed(void *owner, void *ctx, int res)
{
	struct shard *s = owner;
	struct conn *c = ctx;
	shard_time(s);
	ENSURE(!c->gone);
	conn_file_lost(c);
	if (c->tls)
		conn_tls_closed(c, res);
	door_left(c);
	unpause(c);
	session_detach(c);
	timer_clear(s, &c->timer);
	drop_cache(c);
	conn_tls_gone(c);
	if (c->prev)
		c->prev->next = c->next;
	else
		s->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	ENSURE(s->counters.conns > 0);
	s->counters.conns--;
	c->gone = c->closing = true;
	free_if_done(c);
}

static const struct io_net_events conn_events = {
	.accepted = on_accepted, .received = on_received, .sent = on_sent, .closed = on_closed,
};

void conn_init(struct shard *s)
{
	s->paused_tail = &s->paused;
	s->io->net = &conn_events;
	s->io->net_owner = s;
}

/* After the end: connections that are still known to the io have no owner any more. */
static void *dead_accepted(void *owner, struct io_conn io, const char *peer, enum io_peer kind)
{
	(void)owner;
	(void)io;
	(void)peer;
	(void)kind;
	return NULL;
}

static void dead_received(void *owner, void *ctx, struct span bytes)
{
	(void)owner;
	(void)ctx;
	(void)bytes;
}

static void dead_sent(void *owner, void *ctx, int res)
{
	(void)owner;
	(void)ctx;
	(void)res;
}

static const struct io_net_events dead_events = {
	.accepted = dead_accepted, .received = dead_received, .sent = dead_sent, .closed = dead_sent,
};

void conns_free(struct shard *s)
{
	s->io->net = &dead_events;
	s->io->net_owner = NULL;
	while (s->dirty) {
		s->dirty->dirty = false;
		s->dirty = s->dirty->dirty_next;
	}
	while (s->conns) {
		struct conn *c = s->conns;
		c->refs = 0;
		on_closed(s, c, 0);
	}
}
