/* broker/usage.c: the contract and the invariants stand in usage.h. */
#include "usage.h"

enum { BUCKETS = 1024, AHEAD_MS = 1000 }; /* somebody may be ahead of its rate by as much as it may take in this time */

/* What has been taken and is not yet paid for at the rate of the limit: thousandths. Credit is not kept. */
struct meter { uint64_t debt, at_ms; };

struct usage {
	struct usage *next, **link; /* of its bucket; NULL: of one session alone */
	uint32_t sessions, entries, subscriptions;
	struct meter bytes, frames;
	char name[];
};

static uint64_t meter_take(struct meter *m, uint64_t rate, uint64_t count, uint64_t now_ms)
{
	if (rate == 0)
		return 0;
	uint64_t elapsed = now_ms - m->at_ms, paid = elapsed > m->debt / rate ? m->debt : elapsed * rate;
	m->debt += count * 1000 - paid;
	m->at_ms = now_ms;
	uint64_t ahead_ms = m->debt / rate;
	return ahead_ms > AHEAD_MS ? ahead_ms - AHEAD_MS : 0;
}

static struct usage **bucket_of(struct shard *s, const char *name)
{
	if (!s->usages)
		s->usages = zalloc(BUCKETS * sizeof(struct usage *));
	return &s->usages[bytes_hash(span_str(name), s->hash_seed) % BUCKETS];
}

static struct usage *usage_find(struct shard *s, const struct who *who)
{
	struct usage *u = who->kind == WHO_PRINCIPAL ? *bucket_of(s, who->name) : NULL;
	while (u && strcmp(u->name, who->name) != 0)
		u = u->next;
	return u;
}

enum err usage_room(struct shard *s, const struct who *who, char text[128])
{
	const struct usage *u = usage_find(s, who);
	uint32_t max = s->config.principal_sessions_max;
	if (!u || max == 0 || u->sessions < max)
		return ERR_OK;
	(void)snprintf(text, 128, "HELLO: %.60s has %u sessions: principal_sessions_max", who->name, u->sessions);
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
			u->link = bucket_of(s, who->name);
			u->next = *u->link;
			if (u->next)
				u->next->link = &u->next;
			*u->link = u;
		}
	}
	u->sessions++;
	session->usage = u;
}

void usage_leave(struct session *session)
{
	struct usage *u = session->usage;
	if (!u)
		return;
	session->usage = NULL;
	if (--u->sessions > 0)
		return;
	ENSURE(u->entries == 0 && u->subscriptions == 0);
	if (u->link)
		*u->link = u->next;
	if (u->next)
		u->next->link = u->link;
	free(u);
}

bool usage_may_serve(const struct session *session, uint32_t count, char text[128])
{
	uint32_t max = session->shard->config.principal_entries_max;
	uint32_t would = session->usage->entries - session->entry_count + count;
	if (max == 0 || count <= session->entry_count || would <= max)
		return true;
	(void)snprintf(text, 128, "SERVE.entries: %u of all sessions of this principal: principal_entries_max is %u", would, max);
	return false;
}

bool usage_may_subscribe(const struct session *session, char text[128])
{
	uint32_t max = session->shard->config.principal_subscriptions_max;
	if (max == 0 || session->usage->subscriptions < max)
		return true;
	(void)snprintf(text, 128, "SUBSCRIBE: this principal has %u subscriptions: principal_subscriptions_max",
		       session->usage->subscriptions);
	return false;
}

void usage_entries(struct session *session, int64_t more)
{
	session->usage->entries = (uint32_t)(session->usage->entries + more);
}

void usage_subscriptions(struct session *session, int64_t more)
{
	session->usage->subscriptions = (uint32_t)(session->usage->subscriptions + more);
}

uint64_t usage_received(struct session *session, size_t bytes, uint32_t frames)
{
	const struct shard_config *k = &session->shard->config;
	if (k->principal_bytes_rate == 0 && k->principal_frames_rate == 0)
		return 0;
	uint64_t now = session->shard->now_ms;
	uint64_t a = meter_take(&session->usage->bytes, k->principal_bytes_rate, bytes, now);
	uint64_t b = meter_take(&session->usage->frames, k->principal_frames_rate, frames, now);
	return MAX_OF(a, b);
}
