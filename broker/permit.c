/* broker/permit.c: may this session do that? In the flow: frame -> PERMIT -> propose. See permit.h.
 *
 * 1. What is refused because of a vnet or the want of `see` looks exactly like what does not exist.
 * 2. session.always is never wider than the rules: it is computed anew in the turn in which they change, before the next frame. */
#include "permit.h"

#include "audit.h"
#include "binding.h"
#include "call.h"
#include "event.h"
#include "sysevent.h"
#include "usage.h"

#include "../wire/sha256.h"

/* ---- names ---- */

static const char plain[] = "default";

struct span vnet_full(const struct session *session, struct span name, struct vnet_name *room)
{
	bool is_plain = strcmp(session->vnet, plain) == 0;
	size_t before = is_plain ? 0 : strlen(session->vnet) + 1;
	if (name.len > 0 && memchr(name.data, '/', name.len))
		return span_of(NULL, 0);
	if (is_plain || name.len == 0)
		return name;
	if (before + name.len > LIMIT_NAME_BYTES)
		return span_of(NULL, 0);
	memcpy(room->at, session->vnet, before - 1);
	room->at[before - 1] = '/';
	memcpy(room->at + before, name.data, name.len);
	return span_of(room->at, before + name.len);
}

static const uint8_t *slash(struct span full)
{
	return full.len ? memchr(full.data, '/', full.len) : NULL;
}

struct span vnet_short(struct span full)
{
	const uint8_t *at = slash(full);
	size_t skip = at ? (size_t)(at - full.data) + 1 : 0;
	return span_sub(full, skip, full.len - skip);
}

struct span vnet_of(struct span full)
{
	const uint8_t *at = slash(full);
	return at ? span_sub(full, 0, (size_t)(at - full.data)) : span_str(plain);
}

/* ---- who ---- */

enum err permit_login(struct conn *c, const struct msg_hello *m, struct who *out, struct span *vnet, char text[128])
{
	struct shard *s = c->s;
	int64_t uid = c->local ? s->io->v->peer_uid(s->io, c->io) : -1;
	const struct credentials with = { .token = m->token, .certificate = span_str(c->tls_principal), .uid = uid,
					  .admin = s->config.admin_uid >= 0 && uid >= 0 && (uid == 0 || uid == s->config.admin_uid) };
	enum err e = access_login(s->access, &with, s->wall_ms, out);
	*vnet = m->vnet.len ? m->vnet : access_default_vnet(s->access, out);
	bool good = vnet->len <= VNET_BYTES && !slash(*vnet) && !memchr(vnet->data, '*', vnet->len);
	if (e == ERR_OK && good && access_has_vnet(s->access, out, *vnet)) {
		if (out->kind != WHO_OPEN)
			audit(s, c->peer, out->name, "login", "ok", "%.*s", (int)vnet->len, (const char *)vnet->data);
		return ERR_OK;
	}
	audit(s, c->peer, e == ERR_OK ? out->name : "", "login", e == ERR_OK ? "no such vnet" : "refused", "%.*s", (int)MIN_OF(vnet->len, 64u),
	      (const char *)vnet->data);
	sys_event(s, "auth.refused", "\"peer\":\"%s\"", c->peer);
	(void)snprintf(text, 128, "HELLO: these credentials are not accepted for this vnet");
	return ERR_PERMISSION;
}

/* The same for ever: it is in keys and numbers of producers that are in the log. Nobody can choose a name that has another's. */
static uint64_t scope_of(const struct session *session)
{
	struct sha256 s;
	uint8_t out[SHA256_BYTES], kind = session->who.kind;
	uint64_t scope;
	sha256_begin(&s);
	sha256_add(&s, span_of(&kind, 1));
	sha256_add(&s, span_of(session->who.name, strlen(session->who.name) + 1));
	sha256_add(&s, span_str(session->vnet));
	sha256_end(&s, out);
	memcpy(&scope, out, sizeof scope);
	return scope | 1;
}

void permit_begin(struct session *session)
{
	struct shard *s = session->shard;
	bool anybody = session->who.kind == WHO_OPEN && strcmp(session->vnet, plain) == 0;
	session->scope = anybody ? 0 : scope_of(session);
	session->always = access_always(s->access, &session->who, span_str(session->vnet));
	if (session->who.until_ms)
		s->permits_at_ms = MIN_OF(s->permits_at_ms, session->who.until_ms);
	struct access_info token;
	if (session->who.token && access_token_find(s->access, session->who.token, &token) && token.expires_ms)
		s->permits_at_ms = MIN_OF(s->permits_at_ms, token.expires_ms);
}

/* ---- may it? ---- */

static bool ask(const struct session *session, enum access_verb verb, struct span target, struct span vnet, bool own, char text[256])
{
	struct verdict verdict;
	access_decide(session->shard->access, &session->who, verb, target, vnet, own, &verdict);
	if (!verdict.allowed && text)
		(void)snprintf(text, 256, "principal %s may not %s %.*s in vnet %.*s", session->who.name, access_verb_name(verb),
			       (int)MIN_OF(target.len, 100u), target.len ? (const char *)target.data : "", (int)MIN_OF(vnet.len, 64u),
			       vnet.len ? (const char *)vnet.data : "");
	return verdict.allowed;
}

static bool refused(const struct session *session, enum access_verb verb, struct span target)
{
	struct shard *s = session->shard;
	audit(s, session->conn ? session->conn->peer : "", session->who.name, access_verb_name(verb), "refused", "%s/%.*s", session->vnet,
	      (int)MIN_OF(target.len, 100u), target.len ? (const char *)target.data : "");
	struct sys_text name;
	sys_event(s, "acl.refused", "\"principal\":\"%s\",\"verb\":\"%s\",\"target\":\"%s\"", session->who.name, access_verb_name(verb),
		  sys_quote(&name, target));
	return false;
}

bool permit_slow(const struct session *session, enum access_verb verb, struct span target, char text[256])
{
	return ask(session, verb, target, span_str(session->vnet), true, text) || refused(session, verb, target);
}

bool permit_sees(const struct session *session, struct span target)
{
	return (session->always >> ACCESS_SEE & 1) != 0 || ask(session, ACCESS_SEE, target, span_str(session->vnet), true, NULL);
}

bool permit_pattern(const struct session *session, enum access_verb verb, struct span pattern, bool descendants, char text[256])
{
	if ((session->always >> verb & 1) != 0)
		return true;
	if (!permit_slow(session, verb, pattern, text))
		return false;
	if (!access_denied_within(session->shard->access, &session->who, verb, descendants ? span_str("*") : pattern,
				  span_str(session->vnet)))
		return true;
	(void)snprintf(text, 256, "principal %s may not %s all of %.*s in vnet %s: a rule denies a part of it", session->who.name,
		       access_verb_name(verb), (int)MIN_OF(pattern.len, 80u), (const char *)pattern.data, session->vnet);
	return refused(session, verb, pattern);
}

bool permit_entry(const struct session *session, struct span service, struct span vnet, char text[256])
{
	bool own = access_has_vnet(session->shard->access, &session->who, vnet);
	if (span_eq(vnet, span_str(session->vnet)))
		return permit(session, ACCESS_SERVE, service, text);
	return ask(session, ACCESS_SERVE, service, vnet, own, text) || refused(session, ACCESS_SERVE, service);
}

bool permit_queue(const struct session *session, enum access_verb verb, uint32_t queue)
{
	struct shard *s = session->shard;
	struct queue_info info;
	if (queue == 0)
		return false;
	tasks_queue_info(s->tasks, queue, &info);
	struct span vnet = vnet_of(info.name), name = vnet_short(info.name);
	if (span_eq(vnet, span_str(session->vnet)))
		return (session->always >> verb & 1) != 0 || ask(session, verb, name, vnet, true, NULL);
	return session->who.kind == WHO_PRINCIPAL && ask(session, verb, name, vnet, false, NULL);
}

enum err permit_task(const struct session *session, enum access_verb verb, uint64_t task, char text[256])
{
	struct shard *s = session->shard;
	struct task_view view;
	(void)snprintf(text, 256, "no such task");
	if (task == 0 || !tasks_show(s->tasks, task, &view))
		return ERR_NOT_FOUND;
	if (permit_queue(session, verb, view.queue))
		return ERR_OK;
	if (verb == ACCESS_SEE || !permit_queue(session, ACCESS_SEE, view.queue))
		return ERR_NOT_FOUND;
	struct queue_info info;
	tasks_queue_info(s->tasks, view.queue, &info);
	(void)ask(session, verb, vnet_short(info.name), vnet_of(info.name), false, text);
	(void)refused(session, verb, vnet_short(info.name));
	return ERR_PERMISSION;
}

/* ---- rules have changed ---- */

void permit_changed(struct shard *s, const struct log_record *record)
{
	(void)record;
	s->permits_due = true;
	sys_event(s, "acl.changed", "\"revision\":%llu", (unsigned long long)access_counts(s->access).revision);
}

static bool entries_allowed(const struct session *session)
{
	for (const struct dir_entry *e = session->entries; e; e = e->session_next)
		for (uint32_t i = 0; i < e->line->vnet_count; i++)
			if (!permit_entry(session, e->line->service, e->line->vnets[i], NULL))
				return false;
	return true;
}

void permit_end(struct session *session, const char *why)
{
	struct shard *s = session->shard;
	struct conn *c = session->conn;
	audit(s, c ? c->peer : "", session->who.name, "session", "ended", "%s", why);
	if (c) {
		confirm_encode(c);
		s->msg.kind = FRAME_GOODBYE;
		s->msg.goodbye = (struct msg_goodbye){ .code = ERR_PERMISSION, .text = span_str(why) };
		msg_encode(&c->out, &s->msg, 0, NULL, 0);
	}
	session_end(s, session);
	if (c)
		conn_close(c);
}

static void look_at(struct shard *s, struct session *session)
{
	if (!access_valid(s->access, &session->who, s->wall_ms) ||
	    !access_has_vnet(s->access, &session->who, span_str(session->vnet))) {
		permit_end(session, "what this session logged in with is no longer accepted");
		return;
	}
	permit_begin(session);
	usage_limits(session);
	if (session->conn)
		conn_lift(session->conn);
	if (session->always == ACCESS_ALL)
		return;
	if ((session->always >> ACCESS_SERVE & 1) == 0 && !entries_allowed(session)) {
		permit_end(session, "this session may no longer serve what it serves");
		return;
	}
	if ((session->always >> ACCESS_SUBSCRIBE & 1) == 0)
		event_end_refused(session);
	if ((session->always >> ACCESS_CALL & 1) == 0)
		bindings_end_refused(session);
}

void permits_run(struct shard *s)
{
	s->permits_due = false;
	s->permits_at_ms = UINT64_MAX;
	for (uint32_t i = 0; i < s->slot_count; i++)
		if (s->slots[i])
			look_at(s, s->slots[i]);
}
