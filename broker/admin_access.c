/* broker/admin_access.c: the verbs of principals, tokens and rules. In the flow: frame -> ROUTE -> admin -> (propose ->) REPLY.
 *
 * 1. A secret is in one REPLY, to who asked for it, when its record was applied, and nowhere else: the log has its hash.
 * 2. Every change is a line of the audit. */
#include "audit.h"
#include "permit.h"
#include "usage.h"

enum { ACCESS_PER_REPLY = 128 };

struct ask_access {
	struct conn *c;
	struct shard *s;
	const struct msg_request *m;
	uint32_t correlation, records;
	struct access_info spec;
	char text[256];
};

static void reply(struct ask_access *a, enum err code, const struct span *specs, uint32_t count, uint64_t next)
{
	a->s->msg.kind = FRAME_REPLY;
	a->s->msg.reply = (struct msg_reply){ .code = (uint16_t)code, .text = span_str(a->text), .count = count, .next = next,
					      .specs = specs, .spec_count = count };
	msg_encode(&a->c->out, &a->s->msg, a->correlation, NULL, 0);
	conn_touch(a->c);
}

static void reply_one(struct ask_access *a, const struct access_info *info)
{
	struct buf bytes = { NULL, 0, 0 };
	access_info_encode(&bytes, info);
	struct span spec = buf_span(&bytes);
	reply(a, ERR_OK, &spec, 1, 0);
	explicit_bzero(bytes.data, bytes.len);
	buf_free(&bytes);
}

/* ---- lists ---- */

typedef void item_of(const struct access *a, uint32_t index, struct access_info *out);

/* `name`: only those of it. */
static enum err list(struct ask_access *a, item_of *item, uint32_t total)
{
	struct span specs[ACCESS_PER_REPLY];
	size_t ends[ACCESS_PER_REPLY + 1] = { 0 };
	struct buf bytes = { NULL, 0, 0 };
	struct access_info info;
	uint32_t at = (uint32_t)MIN_OF(a->m->cursor, (uint64_t)total), count = 0;
	for (; at < total && count < ACCESS_PER_REPLY; at++) {
		item(a->s->access, at, &info);
		if (a->m->name.len > 0 && !span_eq(a->m->name, info.name))
			continue;
		if (item == access_principal)
			usage_of(a->s, info.name, &info);
		access_info_encode(&bytes, &info);
		ends[++count] = bytes.len;
	}
	for (uint32_t i = 0; i < count; i++)
		specs[i] = span_sub(buf_span(&bytes), ends[i], ends[i + 1] - ends[i]);
	reply(a, ERR_OK, specs, count, at < total ? at : 0);
	buf_free(&bytes);
	return ERR_OK;
}

/* ---- changes ---- */

static enum err propose(struct ask_access *a, enum access_op op, const struct access_info *info)
{
	return access_propose(a->s->access, a->s->log, op, info, &a->records, a->text);
}

/* `answer`: goes out when the records are applied; a code alone where it is NULL. */
static enum err changed(struct ask_access *a, enum err e, const char *what, const struct access_info *answer)
{
	struct buf spec = { NULL, 0, 0 };
	audit(a->s, a->c->peer, a->c->session->who.name, what, e == ERR_OK ? "ok" : "refused", "%.*s %s", (int)MIN_OF(a->m->name.len, 64u),
	      a->m->name.len ? (const char *)a->m->name.data : "", a->text);
	if (a->records == 0) {
		admin_reply(a->c, a->correlation, e, a->text, 0);
		return ERR_OK;
	}
	if (answer)
		access_info_encode(&spec, answer);
	confirm_push(a->s, &(struct pending){ .kind = PENDING_ADMIN, .records = a->records, .conn = a->c, .correlation = a->correlation,
					      .code = (uint16_t)e, .spec = spec });
	return ERR_OK;
}

struct new_token { uint64_t number; uint8_t salt[16], hash[32]; char text[TOKEN_TEXT]; };

static void token_random(struct ask_access *a, struct new_token *t)
{
	uint8_t random[TOKEN_RANDOM];
	a->s->io->v->random(a->s->io, random, sizeof random);
	access_token_new(random, &t->number, t->salt, t->hash, t->text);
	explicit_bzero(random, sizeof random);
}

static struct access_info token_info(const struct ask_access *a, const struct new_token *t, struct span principal)
{
	uint64_t now = a->s->wall_ms, lifetime = a->spec.lifetime_ms;
	return (struct access_info){ .name = principal, .token = t->number, .salt = span_of(t->salt, sizeof t->salt),
				     .hash = span_of(t->hash, sizeof t->hash), .created_ms = now,
				     .expires_ms = lifetime ? now + MIN_OF(lifetime, UINT64_MAX / 2) : 0 };
}

static enum err with_secret(struct ask_access *a, struct new_token *t, struct access_info info, const char *what)
{
	info.secret = span_str(t->text);
	info.hash = info.salt = span_of(NULL, 0);
	enum err e = changed(a, ERR_OK, what, &info);
	explicit_bzero(t, sizeof *t);
	return e;
}

static enum err token_add(struct ask_access *a)
{
	struct new_token t;
	struct access_info was;
	bool rotate = a->m->verb == VERB_TOKEN_ROTATE;
	enum err e = ERR_OK;
	if (rotate && !access_token_find(a->s->access, a->spec.token, &was)) {
		(void)snprintf(a->text, sizeof a->text, "there is no such token");
		return changed(a, ERR_NOT_FOUND, "token rotate", NULL);
	}
	token_random(a, &t);
	struct access_info info = token_info(a, &t, rotate ? was.name : a->m->name);
	e = propose(a, ACCESS_OP_TOKEN_ADD, &info);
	if (e == ERR_OK && rotate)
		e = propose(a, ACCESS_OP_TOKEN_END, &(struct access_info){ .token = a->spec.token,
									   .expires_ms = MAX_OF(a->s->wall_ms + a->spec.overlap_ms, 1u) });
	return e == ERR_OK ? with_secret(a, &t, info, rotate ? "token rotate" : "token add")
			   : changed(a, e, rotate ? "token rotate" : "token add", NULL);
}

/* The first principal comes with the key that access tokens are signed with. */
static enum err sign_key(struct ask_access *a)
{
	uint8_t key[32];
	if (access_has_key(a->s->access))
		return ERR_OK;
	a->s->io->v->random(a->s->io, key, sizeof key);
	enum err e = propose(a, ACCESS_OP_KEY, &(struct access_info){ .hash = span_of(key, sizeof key) });
	explicit_bzero(key, sizeof key);
	return e;
}

static enum err principal_add(struct ask_access *a)
{
	struct new_token t;
	struct access_info info = a->spec;
	info.name = a->m->name;
	info.created_ms = a->s->wall_ms;
	info.hash = info.salt = info.secret = info.target = info.vnet = span_of(NULL, 0);
	info.verbs = 0;
	info.token = info.lifetime_ms = 0;
	info.with_token = info.admin = info.deny = false;
	info.used_mask = 0;
	enum err e = sign_key(a);
	if (e == ERR_OK)
		e = propose(a, ACCESS_OP_PRINCIPAL_ADD, &info);
	if (e == ERR_OK && a->spec.admin)
		e = propose(a, ACCESS_OP_RULE_ADD, &(struct access_info){ .name = a->m->name, .verbs = ACCESS_ALL, .target = span_str("*"),
									  .vnet = span_str("*"), .created_ms = a->s->wall_ms });
	if (e != ERR_OK || !a->spec.with_token)
		return changed(a, e, "principal add", NULL);
	token_random(a, &t);
	struct access_info token = token_info(a, &t, a->m->name);
	e = access_propose_behind(a->s->log, ACCESS_OP_TOKEN_ADD, &token, &a->records, a->text);
	return e == ERR_OK ? with_secret(a, &t, token, "principal add") : changed(a, e, "principal add", NULL);
}

static enum err simple(struct ask_access *a, enum access_op op, const char *what)
{
	struct access_info info = a->spec;
	info.created_ms = a->s->wall_ms;
	info.hash = info.salt = info.secret = span_of(NULL, 0);
	info.used_mask = 0;
	if (op != ACCESS_OP_TOKEN_REMOVE)
		info.name = a->m->name;
	return changed(a, propose(a, op, &info), what, NULL);
}

/* ---- questions ---- */

static enum err test(struct ask_access *a)
{
	static const char *const whys[] = { "the broker is open", "local administration", "a rule", "its own vnet, and no rule says otherwise",
					    "no rule allows it", "there is no such principal, or it is disabled" };
	struct verdict v;
	uint32_t verb = a->spec.verbs ? (uint32_t)__builtin_ctz(a->spec.verbs) : 0;
	struct access_info out = { .name = a->m->name };
	if (a->spec.verbs == 0 || (a->spec.verbs & (a->spec.verbs - 1)) != 0 || a->spec.target.len == 0) {
		(void)snprintf(a->text, sizeof a->text, "AccessInfo: one verb and a target are wanted");
		admin_reply(a->c, a->correlation, ERR_INVALID_INPUT, a->text, 0);
		return ERR_OK;
	}
	struct span vnet = a->spec.vnet.len ? a->spec.vnet : span_str("default");
	access_decide_name(a->s->access, a->m->name, (enum access_verb)verb, a->spec.target, vnet, &v);
	if (v.why == VERDICT_RULE)
		out = v.rule;
	out.deny = !v.allowed;
	(void)snprintf(a->text, sizeof a->text, "%s", whys[v.why]);
	reply_one(a, &out);
	return ERR_OK;
}

/* For whoever asks. A session that came with an access token goes on with the new one. */
static enum err access_token_ask(struct ask_access *a)
{
	char text[ACCESS_TEXT_MAX];
	struct session *session = a->c->session;
	uint64_t lifetime = a->spec.lifetime_ms ? MIN_OF(a->spec.lifetime_ms, a->s->config.access_token_ms) : a->s->config.access_token_ms;
	uint64_t nonce, until = a->s->wall_ms + lifetime;
	a->s->io->v->random(a->s->io, &nonce, sizeof nonce);
	enum err e = access_token_make(a->s->access, &session->who, until, nonce, text);
	if (e != ERR_OK) {
		(void)snprintf(a->text, sizeof a->text, "this session is nobody's in particular");
		return changed(a, e, "access token", NULL);
	}
	if (session->who.until_ms) {
		session->who.until_ms = until;
		permit_begin(session);
	}
	reply_one(a, &(struct access_info){ .name = span_str(session->who.name), .secret = span_str(text), .expires_ms = until,
					    .lifetime_ms = lifetime });
	explicit_bzero(text, sizeof text);
	audit(a->s, a->c->peer, session->who.name, "access token", "ok", "%s", "");
	return ERR_OK;
}

enum err admin_access(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	struct ask_access a = { .c = c, .s = c->s, .m = m, .correlation = correlation };
	struct access_counts counts = access_counts(a.s->access);
	enum err e = m->spec.len > 0 ? access_info_decode(m->spec, &a.spec, a.text) : ERR_OK;
	if (e != ERR_OK) {
		admin_reply(c, correlation, e, a.text, 0);
		return ERR_OK;
	}
	switch (m->verb) {
	case VERB_PRINCIPAL_LIST: return list(&a, access_principal, counts.principals);
	case VERB_TOKEN_LIST: return list(&a, access_token, counts.tokens);
	case VERB_RULE_LIST: return list(&a, access_rule, counts.rules);
	case VERB_PRINCIPAL_ADD: return principal_add(&a);
	case VERB_PRINCIPAL_SET: return simple(&a, ACCESS_OP_PRINCIPAL_SET, "principal set");
	case VERB_PRINCIPAL_REMOVE: return simple(&a, ACCESS_OP_PRINCIPAL_REMOVE, "principal rm");
	case VERB_TOKEN_ADD:
	case VERB_TOKEN_ROTATE: return token_add(&a);
	case VERB_TOKEN_REMOVE: return simple(&a, ACCESS_OP_TOKEN_REMOVE, "token rm");
	case VERB_RULE_ADD: return simple(&a, ACCESS_OP_RULE_ADD, "acl add");
	case VERB_RULE_REMOVE: return simple(&a, ACCESS_OP_RULE_REMOVE, "acl rm");
	case VERB_ACCESS_TEST: return test(&a);
	default: return access_token_ask(&a);
	}
}
