/* broker/conn_tls.c: the contract stands in conn_tls.h.
 *
 * 1. A connection that has said nothing has no TLS session, so that waiting costs a stranger more than us.
 * 2. Frames are wrapped in the order in which they were queued and as late as possible: everything a turn has to say is in the same
 *    records. What was wrapped must be sent; a part of PART_BYTES, or a little more, at a time.
 * 3. When certificates are read again, every session's are judged by the new ones: some of them each turn. A handshake that began before is
 *    judged when it is done.
 * 4. How the end came is told apart: close_notify is an end, an end of stream without it may have cut something off. */
#include "conn_tls.h"

#include "permit.h"

enum { RECHECKS_A_TURN = 16 };
enum { PART_BYTES = 64 * TLS_RECORD_BYTES, HANDSHAKE_BYTES = 64 << 10 };

struct conn_tls {
	struct tls *tls;        /* NULL: nothing has come yet */
	struct tls_ctx *ctx;    /* of the time when the connection was made; NULL once tls has it */
	struct buf plain;       /* is being wrapped */
	size_t plain_from, handshake_bytes;
	uint32_t reloads;       /* of shard.tls_reloads: by which certificates it was judged */
	bool open;
};

void conn_tls_begin(struct conn *c)
{
	c->tls = zalloc(sizeof *c->tls);
	c->tls->ctx = tls_ctx_ref(c->s->tls);
	c->tls->reloads = c->s->tls_reloads;
}

static void free_session(struct conn_tls *t)
{
	tls_free(t->tls);
	tls_ctx_unref(t->ctx);
	t->tls = NULL;
	t->ctx = NULL;
	buf_free(&t->plain);
	t->plain_from = 0;
}

void conn_tls_free(struct conn *c)
{
	if (c->tls)
		free_session(c->tls);
	free(c->tls);
	free(c->tls_principal);
	c->tls = NULL;
	c->tls_principal = NULL;
}

size_t conn_tls_queued(const struct conn *c)
{
	const struct conn_tls *t = c->tls;
	return t ? t->plain.len - t->plain_from + (t->tls ? tls_out(t->tls)->len : 0) : 0;
}

size_t conn_tls_memory(const struct conn *c)
{
	const struct conn_tls *t = c->tls;
	return t ? t->plain.cap + (t->tls ? tls_out(t->tls)->cap : 0) : 0;
}

void conn_tls_shrink(struct conn *c)
{
	struct conn_tls *t = c->tls;
	if (!t)
		return;
	if (t->plain.len == t->plain_from) {
		buf_free(&t->plain);
		t->plain_from = 0;
	}
	if (t->tls && tls_out(t->tls)->len == 0)
		buf_free(tls_out(t->tls));
}

/* ---- certificates were read again ---- */

/* True: it had to be judged. */
static bool recheck(struct conn *c)
{
	struct conn_tls *t = c->tls;
	struct shard *s = c->s;
	char text[128], why[256];
	if (!t || !t->open || t->reloads == s->tls_reloads || c->closing || c->gone)
		return false;
	t->reloads = s->tls_reloads;
	if (tls_recheck(t->tls, s->tls, text) == ERR_OK)
		return true;
	s->counters.tls_distrusted_total++;
	(void)snprintf(why, sizeof why, "TLS: this client is not trusted any more: %s", text);
	shard_note(s, SHARD_INFO, "tls", "distrusted", "peer=%s name=%s text=%s", c->peer, c->tls_principal ? c->tls_principal : "", text);
	if (c->session)
		permit_end(c->session, why);
	else
		conn_error(c, ERR_PERMISSION, why, 0, 0, true);
	return true;
}

void conn_tls_reloaded(struct shard *s)
{
	s->tls_reloads++;
	s->tls_recheck = s->conns;
	s->more = true;
}

bool conn_tls_run(struct shard *s)
{
	for (uint32_t judged = 0; s->tls_recheck && judged < RECHECKS_A_TURN;) {
		struct conn *c = s->tls_recheck;
		s->tls_recheck = c->next;
		judged += recheck(c) ? 1 : 0;
	}
	return s->tls_recheck != NULL;
}

void conn_tls_gone(struct conn *c)
{
	if (c->s->tls_recheck == c)
		c->s->tls_recheck = c->next;
}

/* ---- in ---- */

static void opened(struct conn *c)
{
	char name[TLS_NAME_BYTES + 1];
	struct shard *s = c->s;
	c->tls->open = true;
	s->counters.tls_handshakes_total++;
	s->counters.tls_resumed_total += tls_resumed(c->tls->tls) ? 1 : 0;
	c->tls_principal_kind = (uint8_t)tls_peer_name(c->tls->tls, name);
	if (c->tls_principal_kind != TLS_NAME_NONE) {
		c->tls_principal = strdup(name);
		ENSURE(c->tls_principal != NULL);
	}
	(void)recheck(c);
}

static void failed(struct conn *c)
{
	struct shard *s = c->s;
	const struct tls *t = c->tls->tls;
	if (!c->tls->open)
		s->counters.tls_failed_total++;
	if (!c->session)
		s->counters.handshakes_failed_total++;
	shard_note(s, SHARD_INFO, "tls", "failed", "peer=%s code=%s text=%s", c->peer, err_name(tls_failure(t)), tls_failure_text(t));
	conn_close(c); /* the alert is still sent */
}

static bool session_made(struct conn *c)
{
	struct conn_tls *t = c->tls;
	if (t->tls)
		return true;
	t->tls = tls_new(t->ctx, NULL);
	if (t->tls) {
		tls_ctx_unref(t->ctx);
		t->ctx = NULL;
		return true;
	}
	c->s->counters.tls_failed_total++;
	c->s->counters.handshakes_failed_total++;
	conn_abort(c, "no memory is left for TLS (tls_memory_max)");
	return false;
}

void conn_tls_received(struct conn *c, struct span bytes)
{
	struct shard *s = c->s;
	struct conn_tls *t = c->tls;
	if (!session_made(c))
		return;
	t->handshake_bytes += t->open ? 0 : bytes.len;
	if (t->handshake_bytes > HANDSHAKE_BYTES) {
		s->counters.tls_failed_total++;
		s->counters.handshakes_failed_total++;
		conn_abort(c, "more bytes than a TLS handshake may have");
		return;
	}
	tls_feed(t->tls, bytes);
	size_t got;
	do {
		size_t room = TLS_RECORD_BYTES;
		uint8_t *into = conn_room(c, &room);
		got = tls_read(t->tls, into ? into : s->tls_room, room);
		if (!t->open && tls_phase(t->tls) >= TLS_OPEN && tls_phase(t->tls) != TLS_FAILED)
			opened(c);
		if (got > 0 && into && !c->closing)
			conn_room_used(c, got);
		else if (got > 0 && !c->closing)
			conn_plain(c, span_of(s->tls_room, got));
	} while (got > 0 && !c->closing && !c->gone);
	tls_feed(t->tls, span_of(NULL, 0)); /* what is left of it nobody wants, and it is gone after this call */
	if (c->closing || c->gone)
		return;
	if (tls_phase(t->tls) == TLS_FAILED)
		failed(c);
	else if (tls_phase(t->tls) == TLS_ENDED)
		conn_close(c);
	else if (tls_out(t->tls)->len > 0)
		conn_touch(c);
}

void conn_tls_closed(struct conn *c, int res)
{
	struct conn_tls *t = c->tls;
	if (res == 0 && !c->closing && t->tls && tls_truncated(t->tls)) {
		c->s->counters.tls_truncated_total++;
		shard_note(c->s, SHARD_INFO, "tls", "truncated", "peer=%s text=the stream ended without close_notify", c->peer);
	}
	free_session(t);
}

/* ---- out ---- */

/* The next part of what is queued becomes records. */
static bool wrap(struct conn *c)
{
	struct conn_tls *t = c->tls;
	if (t->plain_from == t->plain.len) {
		struct buf spare = t->plain;
		t->plain = c->out;
		c->out = spare;
		c->out.len = t->plain_from = 0;
	}
	size_t left = t->plain.len - t->plain_from;
	size_t part = left <= 2 * PART_BYTES ? left : PART_BYTES; /* no send of a small rest */
	bool good = part == 0 || tls_write(t->tls, span_of(t->plain.data + t->plain_from, part));
	t->plain_from += part;
	if (good && c->closing && t->plain_from == t->plain.len && c->out.len == 0)
		tls_end(t->tls);
	return good;
}

void conn_tls_fill(struct conn *c)
{
	struct conn_tls *t = c->tls;
	enum tls_phase phase = t->tls ? tls_phase(t->tls) : TLS_HANDSHAKE;
	if (phase == TLS_OPEN || phase == TLS_ENDED) {
		if (!wrap(c)) {
			conn_abort(c, tls_failure_text(t->tls));
			return;
		}
	} else {
		c->out.len = 0; /* a refusal that cannot be said: there is no session to say it in */
	}
	if (!t->tls)
		return;
	struct buf spare = c->sending;
	c->sending = *tls_out(t->tls);
	*tls_out(t->tls) = spare;
}
