/* broker/session.c: who is behind a connection: the handshake, resuming, grace, the table of sessions.
 *
 * In the flow: frame -> SESSION -> route.
 *
 * 1. A session has at most one connection. Without one it is in grace, and ends when that runs out.
 * 2. Its id is a secret: it is compared in constant time, never logged, never sent.
 * 3. Leases belong to the session's holder, so a broken connection alone costs none. */
#include "binding.h"
#include "blob_desk.h"
#include "call.h"
#include "event.h"
#include "permit.h"
#include "usage.h"

static const char vnet_default[] = "default"; /* most sessions are in it: theirs is not copied */

static bool id_eq(const uint8_t a[16], const uint8_t b[16])
{
	uint8_t differs = 0;
	for (int i = 0; i < 16; i++)
		differs |= (uint8_t)(a[i] ^ b[i]);
	return differs == 0;
}

static struct session **hash_slot(struct shard *s, const uint8_t id[16])
{
	uint64_t parts[2];
	memcpy(parts, id, sizeof parts);
	uint64_t h = (parts[0] ^ s->hash_seed) * 0x9e3779b97f4a7c15u;
	h = (h ^ h >> 29 ^ parts[1]) * 0xbf58476d1ce4e5b9u;
	return &s->hash[(h ^ h >> 32) & (s->hash_size - 1)];
}

struct session *session_get(struct shard *s, struct session_ref ref)
{
	if (ref.slot >= s->slot_count || s->slot_generations[ref.slot] != ref.generation)
		return NULL;
	return s->slots[ref.slot];
}

static void hash_grow(struct shard *s)
{
	uint32_t old_size = s->hash_size;
	struct session **old = s->hash;
	s->hash_size = old_size * 2;
	s->hash = zalloc(sizeof *s->hash * s->hash_size);
	for (uint32_t i = 0; i < old_size; i++) {
		while (old[i]) {
			struct session *session = old[i];
			old[i] = session->hash_next;
			struct session **at = hash_slot(s, session->id);
			session->hash_next = *at;
			*at = session;
		}
	}
	free(old);
}

static uint32_t slot_take(struct shard *s)
{
	if (s->slot_free_count > 0)
		return s->slot_free[--s->slot_free_count];
	if (s->slot_count == s->slot_cap) {
		uint32_t cap = s->slot_cap ? s->slot_cap * 2 : 64;
		s->slots = realloc(s->slots, size_mul(cap, sizeof *s->slots));
		s->slot_generations = realloc(s->slot_generations, size_mul(cap, sizeof *s->slot_generations));
		s->slot_free = realloc(s->slot_free, size_mul(cap, sizeof *s->slot_free));
		ENSURE(s->slots && s->slot_generations && s->slot_free);
		s->slot_cap = cap;
	}
	s->slot_generations[s->slot_count] = 1;
	return s->slot_count++;
}

/* ---- the end ---- */

void session_end(struct shard *s, struct session *session)
{
	if (session->conn) {
		session->conn->session = NULL;
		session->conn = NULL;
	}
	calls_drop(s, session);
	blob_session_ended(session);
	bindings_end(session);
	directory_end(session);
	deliver_withdraw(s, session);
	event_session_ended(s, session);
	timer_clear(s, &session->grace);
	struct session **at = hash_slot(s, session->id);
	while (*at != session)
		at = &(*at)->hash_next;
	*at = session->hash_next;
	s->slots[session->ref.slot] = NULL;
	s->slot_generations[session->ref.slot]++;
	s->slot_free[s->slot_free_count++] = session->ref.slot;
	s->counters.sessions--;
	if (session->results_listed) {
		struct session **in = &s->results;
		while (*in != session)
			in = &(*in)->results_next;
		*in = session->results_next;
		if (!*in)
			s->results_tail = in;
	}
	if (session->holder && s->log)
		tasks_holder_lost(s->tasks, s->log, session->holder, s->wall_ms);
	usage_leave(session);
	memset(session->id, 0, sizeof session->id);
	results_end(session, s);
	streams_end(s, session);
	free(session->client);
	if (session->vnet != vnet_default)
		free((void *)(uintptr_t)session->vnet);
	free(session->identity);
	free(session->release);
	free(session);
}

static void grace_over(struct shard *s, struct timer *t)
{
	struct session *session = CONTAINER_OF(t, struct session, grace);
	if (s->now_ms < session->grace_at_ms) {
		timer_set(s, t, session->grace_at_ms);
		return;
	}
	s->counters.sessions_lost_total++;
	shard_note(s, SHARD_INFO, "session", "lost", "client=%s leases=%u", session->client,
		   session->holder ? tasks_holder_leases(session->holder) : 0);
	session_end(s, session);
}

void session_detach(struct conn *c)
{
	struct session *session = c->session;
	if (!session)
		return;
	struct shard *s = c->s;
	ENSURE(session->conn == c);
	deliver_withdraw(s, session);
	event_session_detached(session);
	directory_unwatch_all(session);
	calls_drop(s, session);
	blob_session_detached(session);
	bindings_end(session);
	session->conn = NULL;
	c->session = NULL;
	directory_away(session, true);
	session->grace_at_ms = s->now_ms + s->config.grace_ms;
	timer_set(s, &session->grace, session->grace_at_ms);
}

struct holder *session_holder(struct shard *s, struct session *session)
{
	if (!session->holder) {
		uint64_t parts[2];
		session->holder = tasks_holder_new(s->tasks, session);
		memcpy(parts, session->id, sizeof parts);
		uint64_t key = (parts[0] ^ parts[0] >> 31) * 0x9e3779b97f4a7c15u ^ parts[1]; /* half of a secret's bits: no way back */
		tasks_holder_known(session->holder, key ^ key >> 29, span_str(session->client));
	}
	return session->holder;
}

/* ---- the beginning ---- */

static struct session *session_new(struct shard *s, const uint8_t id[16])
{
	struct session *session = zalloc(sizeof *session);
	memcpy(session->id, id, 16);
	uint32_t slot = slot_take(s);
	session->shard = s;
	session->ref = (struct session_ref){ slot, s->slot_generations[slot] };
	s->slots[slot] = session;
	session->grace.fire = grace_over;
	session->streams_tail = &session->streams_due;
	if (++s->counters.sessions > s->hash_size)
		hash_grow(s);
	struct session **at = hash_slot(s, id);
	session->hash_next = *at;
	*at = session;
	return session;
}

static void welcome(struct conn *c, bool resumed, uint32_t correlation)
{
	struct shard *s = c->s;
	const struct shard_config *k = &s->config;
	s->msg.kind = FRAME_WELCOME;
	s->msg.welcome = (struct msg_welcome){
		.version = 1,
		.node = span_str(k->node),
		.epoch = s->epoch,
		.resumed = resumed,
		.heartbeat_ms = k->heartbeat_ms,
		.grace_ms = k->grace_ms,
		.payload_max = k->payload_max,
		.frame_payload_max = LIMIT_FRAME_PAYLOAD,
		.window_max = k->producer_window,
		.broker = span_str(k->broker),
		.address = c->session->number,
		.blob_above = s->desk ? k->blob_above : 0,
		.blob_max = s->desk ? k->blob_max : 0,
		.blob_chunk = s->desk ? LIMIT_BLOB_CHUNK : 0,
		.store = log_store(s->log),
	};
	msg_encode(&c->out, &s->msg, correlation, NULL, 0);
	conn_touch(c);
}

static bool same_principal(const struct session *session, const struct who *who, struct span vnet, bool vnet_said)
{
	return session->who.kind == who->kind && strcmp(session->who.name, who->name) == 0 &&
	       (!vnet_said || span_eq(span_str(session->vnet), vnet));
}

/* The other session that is what this one says it is. Few have an identity, so all are looked at. */
static struct session *session_of_identity(struct shard *s, struct span identity, const struct session *self, const struct who *who,
					   struct span vnet)
{
	for (uint32_t i = 0; identity.len > 0 && i < s->slot_count; i++) {
		struct session *session = s->slots[i];
		if (session && session != self && session->identity && span_eq(span_str(session->identity), identity) &&
		    same_principal(session, who, vnet, true))
			return session;
	}
	return NULL;
}

/* It ends here and now: its leases are taken back, and its connection, should it still be read, can say nothing more. */
static void session_displace(struct shard *s, struct session *session)
{
	struct conn *c = session->conn;
	shard_note(s, SHARD_WARN, "session", "displaced", "client=%s leases=%u", session->client,
		   session->holder ? tasks_holder_leases(session->holder) : 0);
	if (c) {
		confirm_encode(c);
		s->msg.kind = FRAME_GOODBYE;
		s->msg.goodbye = (struct msg_goodbye){ .code = ERR_DISPLACED, .text = span_str(err_text(ERR_DISPLACED)) };
		msg_encode(&c->out, &s->msg, 0, NULL, 0);
		conn_touch(c);
	}
	session_end(s, session);
	if (c)
		conn_close(c);
}

static struct session *session_find(struct shard *s, const uint8_t id[16])
{
	struct session *found = *hash_slot(s, id);
	while (found && !id_eq(found->id, id))
		found = found->hash_next;
	return found;
}

enum err session_hello(struct conn *c, const struct msg_hello *m, uint32_t correlation, char text[128])
{
	struct shard *s = c->s;
	bool speaks = false;
	for (uint32_t i = 0; i < m->version_count && i < COUNT_OF(m->versions); i++)
		speaks = speaks || m->versions[i] == 1;
	if (!speaks)
		return ERR_VERSION;
	if (s->stop != STOP_NOT)
		return ERR_UNAVAILABLE;
	struct who who;
	struct span vnet;
	enum err e = permit_login(c, m, &who, &vnet, text);
	if (e != ERR_OK)
		return e;
	struct session *session = session_find(s, m->session);
	if (session && !same_principal(session, &who, vnet, m->vnet.len > 0)) {
		(void)snprintf(text, 128, "HELLO.session: these credentials are not accepted for it");
		return ERR_PERMISSION;
	}
	bool resumed = session != NULL;
	if (!session && s->counters.sessions >= s->config.sessions_max)
		return ERR_RESOURCE_EXHAUSTED;
	struct session *rival = session_of_identity(s, m->identity, session, &who, vnet);
	bool rival_lives = rival && rival->conn && s->now_ms - rival->conn->in_ms <= s->config.heartbeat_ms;
	if (rival_lives && !m->force)
		return ERR_DUPLICATE_SESSION;
	char *client = strndup(m->client.len ? (const char *)m->client.data : "", m->client.len);
	ENSURE(client != NULL);
	if (session && session->conn) {
		struct conn *old = session->conn;
		if (s->now_ms - old->in_ms <= s->config.heartbeat_ms) {
			free(client);
			return ERR_DUPLICATE_SESSION;
		}
		conn_abort(old, "its session was resumed elsewhere");
	}
	if (!session) {
		e = usage_room(s, &who, c->peer, text);
		if (e != ERR_OK) {
			free(client);
			return e;
		}
		session = session_new(s, m->session);
		session->vnet = span_eq(vnet, span_str(vnet_default)) ? vnet_default : strndup((const char *)vnet.data, vnet.len);
		ENSURE(session->vnet != NULL);
		directory_begin(s, session);
	}
	session->who = who;
	usage_join(session);
	permit_begin(session);
	free(session->identity);
	session->identity = m->identity.len ? strndup((const char *)m->identity.data, m->identity.len) : NULL;
	free(session->release);
	session->release = m->release.len ? strndup((const char *)m->release.data, m->release.len) : NULL;
	if (rival)
		session_displace(s, rival); /* from here on *m is gone */
	timer_clear(s, &session->grace);
	free(session->client);
	session->client = client;
	session->conn = c;
	session->connected_wall_ms = s->wall_ms;
	c->session = session;
	s->counters.sessions_resumed_total += resumed;
	if (resumed)
		directory_away(session, false);
	welcome(c, resumed, correlation);
	timer_set(s, &c->timer, s->now_ms + s->config.heartbeat_ms);
	if (session->results_count > 0)
		results_list(s, session);
	event_session_attached(session);
	streams_list(s, session);
	return ERR_OK;
}

void sessions_init(struct shard *s)
{
	s->hash_size = 64;
	s->hash = zalloc(sizeof *s->hash * s->hash_size);
	s->io->v->random(s->io, &s->hash_seed, sizeof s->hash_seed);
}

void sessions_free(struct shard *s)
{
	for (uint32_t i = 0; i < s->slot_count; i++)
		if (s->slots[i])
			session_end(s, s->slots[i]);
	free(s->slots);
	free(s->slot_generations);
	free(s->slot_free);
	free(s->hash);
}
