/* broker/usage.c: the contract and the invariants stand in usage.h. */
#include "usage.h"

#include "audit.h"
#include "sysevent.h"

enum { BUCKETS = 1024, AHEAD_MS = 1000 }; /* somebody may be ahead of its rate by as much as it may take in this time */

/* What has been taken and is not yet paid for at the rate of the limit: thousandths. Credit is not kept. */
struct meter { uint64_t debt, at_ms; bool quiet; };

struct usage {
	struct usage *next, **link; /* of its bucket; NULL: of one session alone */
	uint32_t sessions, entries, subscriptions;
	struct meter bytes, frames;
	uint64_t limits[ACCESS_LIMITS];
	uint32_t told; /* bits: of its being at this limit, since it was last below it */
	char name[];
};

static uint64_t meter_take(struct meter *m, uint64_t rate, uint64_t count, uint64_t now_ms)
{
	if (rate == 0)
		return 0;
	uint64_t elapsed = now_ms - m->at_ms, paid = elapsed > m->debt / rate ? m->debt : elapsed * rate;
	m->quiet = paid == m->debt; /* it had paid for everything */
	m->debt += count * 1000 - paid;
	m->at_ms = now_ms;
	uint64_t ahead_ms = m->debt / rate;
	return ahead_ms > AHEAD_MS ? ahead_ms - AHEAD_MS : 0;
}

static struct usage **bucket_of(struct shard *s, struct span name)
{
	if (!s->usages)
		s->usages = zalloc(BUCKETS * sizeof(struct usage *));
	return &s->usages[bytes_hash(name, s->hash_seed) % BUCKETS];
}

static struct usage *usage_named(struct shard *s, struct span name)
{
	struct usage *u = *bucket_of(s, name);
	while (u && !span_eq(span_str(u->name), name))
		u = u->next;
	return u;
}


static uint64_t configured(const struct shard_config *k, enum access_limit limit)
{
	switch (limit) {
	case ACCESS_LIMIT_SESSIONS: return k->principal_sessions_max;
	case ACCESS_LIMIT_ENTRIES: return k->principal_entries_max;
	case ACCESS_LIMIT_SUBSCRIPTIONS: return k->principal_subscriptions_max;
	case ACCESS_LIMIT_BYTES_RATE: return k->principal_bytes_rate;
	case ACCESS_LIMIT_FRAMES_RATE: return k->principal_frames_rate;
	case ACCESS_LIMIT_QUEUE_TASKS: return k->principal_queue_tasks_max;
	case ACCESS_LIMIT_QUEUE_PERMILLE: return k->principal_queue_permille;
	case ACCESS_LIMIT_STORED_BYTES: return k->principal_stored_bytes_max;
	case ACCESS_LIMITS: break;
	}
	return 0;
}

static uint64_t limit_of(const struct shard *s, const struct who *who, enum access_limit limit)
{
	uint64_t otherwise = configured(&s->config, limit);
	return who->kind == WHO_PRINCIPAL ? access_limit(s->access, span_str(who->name), limit, otherwise) : otherwise;
}

/* Whoever is no principal has the limits of the configuration for each session; where that has none, nothing is counted but for all. */
static bool is_free(const struct shard *s, const struct who *who)
{
	bool any = who->kind == WHO_PRINCIPAL;
	for (uint32_t i = 0; i < ACCESS_LIMITS && !any; i++)
		any = configured(&s->config, (enum access_limit)i) != 0;
	return !any;
}

static struct usage *usage_find(struct shard *s, const struct who *who)
{
	return who->kind == WHO_PRINCIPAL ? usage_named(s, span_str(who->name)) : is_free(s, who) ? s->usage_free : NULL;
}

/* The first refusal, or pause, behind one that it did without. */
static void tell(struct shard *s, struct usage *u, const char *peer, const char *name, enum access_limit limit)
{
	struct sys_text quoted;
	uint64_t max = u->limits[limit];
	s->counters.principal_limits_total++;
	if (u->told >> limit & 1)
		return;
	u->told |= 1u << limit;
	audit(s, peer, name, "limit", "reached", "%s %llu", access_limit_name(limit), (unsigned long long)max);
	sys_event(s, "limit.principal", "\"principal\":\"%s\",\"limit\":\"%s\",\"max\":%llu", sys_quote(&quoted, span_str(name)),
		  access_limit_name(limit), (unsigned long long)max);
}

static void tell_session(const struct session *session, enum access_limit limit)
{
	tell(session->shard, session->usage, session->conn ? session->conn->peer : "", session->who.name, limit);
}

static void untold(struct usage *u, enum access_limit limit)
{
	u->told &= ~(1u << limit);
}

void usage_limits(struct session *session)
{
	for (uint32_t i = 0; i < ACCESS_LIMITS; i++)
		session->usage->limits[i] = limit_of(session->shard, &session->who, (enum access_limit)i);
}

void usage_of(struct shard *s, struct span principal, struct access_info *out)
{
	const struct usage *u = usage_named(s, principal);
	out->used_mask = 1 << ACCESS_LIMIT_SESSIONS | 1 << ACCESS_LIMIT_ENTRIES | 1 << ACCESS_LIMIT_SUBSCRIPTIONS |
			 1 << ACCESS_LIMIT_STORED_BYTES;
	out->used[ACCESS_LIMIT_STORED_BYTES] = tasks_owner_bytes(s->tasks, principal);
	out->used[ACCESS_LIMIT_SESSIONS] = u ? u->sessions : 0;
	out->used[ACCESS_LIMIT_ENTRIES] = u ? u->entries : 0;
	out->used[ACCESS_LIMIT_SUBSCRIPTIONS] = u ? u->subscriptions : 0;
}

enum err usage_room(struct shard *s, const struct who *who, const char *peer, char text[128])
{
	struct usage *u = usage_find(s, who);
	uint64_t max = limit_of(s, who, ACCESS_LIMIT_SESSIONS);
	if (!u || max == 0 || u->sessions < max)
		return ERR_OK;
	tell(s, u, peer, who->name, ACCESS_LIMIT_SESSIONS);
	(void)snprintf(text, 128, "HELLO: %.60s has %u sessions: its limit of sessions", who->name, u->sessions);
	return ERR_RESOURCE_EXHAUSTED;
}

void usage_join(struct session *session)
{
	struct shard *s = session->shard;
	const struct who *who = &session->who;
	if (session->usage)
		return;
	struct usage *u = usage_find(s, who);
	if (!u) {
		size_t size = strlen(who->name) + 1;
		u = zalloc(sizeof *u + size);
		memcpy(u->name, who->name, size);
		u->bytes.at_ms = u->frames.at_ms = s->now_ms;
		if (who->kind == WHO_PRINCIPAL) {
			u->link = bucket_of(s, span_str(who->name));
			u->next = *u->link;
			if (u->next)
				u->next->link = &u->next;
			*u->link = u;
		} else if (is_free(s, who)) {
			s->usage_free = u;
		}
	}
	u->sessions++;
	session->usage = u;
	usage_limits(session);
}

void usage_leave(struct session *session)
{
	struct usage *u = session->usage;
	if (!u)
		return;
	session->usage = NULL;
	untold(u, ACCESS_LIMIT_SESSIONS);
	if (--u->sessions > 0)
		return;
	ENSURE(u->entries == 0 && u->subscriptions == 0);
	if (session->shard->usage_free == u)
		session->shard->usage_free = NULL;
	if (u->link)
		*u->link = u->next;
	if (u->next)
		u->next->link = u->link;
	free(u);
}

bool usage_may_serve(const struct session *session, uint32_t count, char text[128])
{
	uint64_t max = session->usage->limits[ACCESS_LIMIT_ENTRIES];
	uint32_t would = session->usage->entries - session->entry_count + count;
	if (max == 0 || count <= session->entry_count || would <= max)
		return true;
	tell_session(session, ACCESS_LIMIT_ENTRIES);
	(void)snprintf(text, 128, "SERVE.entries: %u of all sessions of this principal, whose limit of entries is %llu", would,
		       (unsigned long long)max);
	return false;
}

bool usage_may_subscribe(const struct session *session, char text[128])
{
	uint64_t max = session->usage->limits[ACCESS_LIMIT_SUBSCRIPTIONS];
	if (max == 0 || session->usage->subscriptions < max)
		return true;
	tell_session(session, ACCESS_LIMIT_SUBSCRIPTIONS);
	(void)snprintf(text, 128, "SUBSCRIBE: this principal has %u subscriptions: its limit of subscriptions",
		       session->usage->subscriptions);
	return false;
}

void usage_entries(struct session *session, int64_t more)
{
	session->usage->entries = (uint32_t)(session->usage->entries + more);
	if (more < 0)
		untold(session->usage, ACCESS_LIMIT_ENTRIES);
}

void usage_subscriptions(struct session *session, int64_t more)
{
	session->usage->subscriptions = (uint32_t)(session->usage->subscriptions + more);
	if (more < 0)
		untold(session->usage, ACCESS_LIMIT_SUBSCRIPTIONS);
}

uint64_t usage_received(struct session *session, size_t bytes, uint32_t frames)
{
	struct usage *u = session->usage;
	if (u->limits[ACCESS_LIMIT_BYTES_RATE] == 0 && u->limits[ACCESS_LIMIT_FRAMES_RATE] == 0)
		return 0;
	uint64_t now = session->shard->now_ms;
	uint64_t a = meter_take(&u->bytes, u->limits[ACCESS_LIMIT_BYTES_RATE], bytes, now);
	uint64_t b = meter_take(&u->frames, u->limits[ACCESS_LIMIT_FRAMES_RATE], frames, now);
	if (u->bytes.quiet)
		untold(u, ACCESS_LIMIT_BYTES_RATE);
	if (u->frames.quiet)
		untold(u, ACCESS_LIMIT_FRAMES_RATE);
	if (a > 0)
		tell_session(session, ACCESS_LIMIT_BYTES_RATE);
	if (b > 0)
		tell_session(session, ACCESS_LIMIT_FRAMES_RATE);
	return MAX_OF(a, b);
}

void usage_submits(struct session *session)
{
	const struct usage *u = session->usage;
	const uint64_t *l = u->limits;
	const struct owner_limits limits = { l[ACCESS_LIMIT_QUEUE_TASKS], l[ACCESS_LIMIT_QUEUE_PERMILLE], l[ACCESS_LIMIT_STORED_BYTES] };
	if (session->who.kind == WHO_PRINCIPAL)
		tasks_set_owner(session->shard->tasks, span_str(session->who.name), &limits);
}

void usage_submitted(struct session *session, enum owner_limit limit)
{
	struct usage *u = session->usage;
	tasks_set_owner(session->shard->tasks, span_of(NULL, 0), NULL);
	if (limit == OWNER_LIMIT_NONE) {
		untold(u, ACCESS_LIMIT_QUEUE_TASKS);
		untold(u, ACCESS_LIMIT_QUEUE_PERMILLE);
		untold(u, ACCESS_LIMIT_STORED_BYTES);
	} else if (limit == OWNER_LIMIT_STORED) {
		tell_session(session, ACCESS_LIMIT_STORED_BYTES);
	} else {
		tell_session(session, u->limits[ACCESS_LIMIT_QUEUE_TASKS] ? ACCESS_LIMIT_QUEUE_TASKS : ACCESS_LIMIT_QUEUE_PERMILLE);
	}
}
