/* broker/door.c: the contract and the invariants stand in door.h.
 *
 * The table is a hash table of short windows: a source is in one of WINDOW places behind its hash. The place of a source without
 * connections can be taken, of several the one that was quiet for longest, so what is forgotten first is what was said last long ago.
 * Place 0 is nobody's: those share it who find no place. */
#include "door.h"

#include "audit.h"
#include "hash.h"
#include "shard_impl.h"
#include "sysevent.h"

#include <arpa/inet.h>

enum { SOURCES = 1 << 14, WINDOW = 8, PENALTY_FIRST_MS = 500 };

struct source {
	uint64_t key;          /* 0 = free */
	struct bucket knocks;
	uint32_t conns, handshakes;
	uint32_t failures;     /* logins, one after the other; they fade away one by one */
	uint64_t failed_ms;    /* the last one */
	uint64_t closed_until_ms;
	uint64_t seen_ms;
	bool told;             /* of its being over a limit, since it was last under it */
};

struct door {
	uint64_t seed;
	struct conn *first, *last; /* without a session, the oldest first */
	uint32_t handshakes, busy; /* in all; sources that have any */
	uint32_t found;            /* by the last door_knock */
	struct source sources[SOURCES];
};

struct door *door_new(struct shard *s)
{
	struct door *d = zalloc(sizeof *d);
	s->io->v->random(s->io, &d->seed, sizeof d->seed);
	bucket_fill(&d->sources[0].knocks, s->config.address_burst, s->now_ms);
	return d;
}

void door_free(struct door *d)
{
	free(d);
}

/* ---- sources ---- */

static uint64_t key_of(const struct door *d, const char *peer, bool local)
{
	char host[64];
	struct in6_addr v6;
	const char *colon = strrchr(peer, ':');
	struct span name = span_of(peer, colon ? (size_t)(colon - peer) : strlen(peer));
	if (local)
		name = span_str("unix");
	if (name.len > 2 && name.data[0] == '[' && name.len < sizeof host) {
		memcpy(host, name.data + 1, name.len - 2);
		host[name.len - 2] = '\0';
		host[strcspn(host, "%")] = '\0'; /* of a link-local address */
		if (inet_pton(AF_INET6, host, &v6) == 1)
			return bytes_hash(span_of(v6.s6_addr, 8), d->seed) | 1;
	}
	return bytes_hash(name, d->seed) | 1;
}

static uint32_t source_find(struct shard *s, uint64_t key)
{
	struct door *d = s->door;
	uint32_t base = 1 + (uint32_t)(key >> 32) % (SOURCES - WINDOW), quiet = 0;
	for (uint32_t i = base; i < base + WINDOW; i++) {
		const struct source *x = &d->sources[i];
		if (x->key == key)
			return i;
		if (x->conns == 0 && (quiet == 0 || x->seen_ms < d->sources[quiet].seen_ms))
			quiet = i;
	}
	if (quiet == 0)
		return 0;
	struct source *x = &d->sources[quiet];
	*x = (struct source){ .key = key };
	bucket_fill(&x->knocks, s->config.address_burst, s->now_ms);
	return quiet;
}

static void tell(struct shard *s, struct source *x, const char *peer, const char *what)
{
	struct sys_text name;
	if (x->told)
		return;
	x->told = true;
	shard_note(s, SHARD_WARN, "door", "limit", "peer=%s limit=%s", peer, what);
	audit(s, peer, "", "limit", "reached", "%s", what);
	sys_event(s, "limit.address", "\"peer\":\"%s\",\"limit\":\"%s\"", sys_quote(&name, span_str(peer)), what);
}

bool door_knock(struct shard *s, const char *peer, bool local)
{
	struct door *d = s->door;
	d->found = source_find(s, key_of(d, peer, local));
	struct source *x = &d->sources[d->found];
	x->seen_ms = s->now_ms;
	bucket_refill(&x->knocks, s->config.address_rate, s->config.address_burst, s->now_ms);
	if (x->conns >= s->config.address_conns_max) {
		s->counters.door_crowded_total++;
		tell(s, x, peer, "address_conns_max");
		return false;
	}
	if (!local && !bucket_take(&x->knocks, 1)) {
		s->counters.door_hasty_total++;
		tell(s, x, peer, "address_rate");
		return false;
	}
	x->told = x->told && x->failures > 0;
	return true;
}

/* ---- connections without a session ---- */

static struct source *source_of(const struct conn *c)
{
	return &c->s->door->sources[c->source];
}

static void waiting_leave(struct conn *c)
{
	struct door *d = c->s->door;
	if (!c->at_door)
		return;
	c->at_door = false;
	*(c->door_prev ? &c->door_prev->door_next : &d->first) = c->door_next;
	*(c->door_next ? &c->door_next->door_prev : &d->last) = c->door_prev;
	d->handshakes--;
	d->busy -= --source_of(c)->handshakes == 0;
}

/* The oldest one of a source that has its share or more. */
static struct conn *victim(const struct door *d, const struct conn *newcomer)
{
	uint32_t share = d->busy ? d->handshakes / d->busy : 0;
	struct conn *c = d->first;
	while (c && (c == newcomer || source_of(c)->handshakes < share))
		c = c->door_next;
	return c;
}

void door_enter(struct shard *s, struct conn *c)
{
	struct door *d = s->door;
	c->source = d->found;
	c->at_door = true;
	c->door_prev = d->last;
	*(d->last ? &d->last->door_next : &d->first) = c;
	d->last = c;
	d->handshakes++;
	source_of(c)->conns++;
	d->busy += source_of(c)->handshakes++ == 0;
	struct conn *oldest = d->handshakes > s->config.handshakes_max ? victim(d, c) : NULL;
	if (!oldest)
		return;
	s->counters.door_evicted_total++;
	waiting_leave(oldest);
	conn_abort(oldest, "handshakes_max is reached and this one is the oldest");
}

void door_passed(struct conn *c)
{
	waiting_leave(c);
}

void door_left(struct conn *c)
{
	waiting_leave(c);
	ENSURE(source_of(c)->conns > 0);
	source_of(c)->conns--;
}

/* ---- wrong credentials ---- */

/* One failure is forgotten for each penalty_max that passes without another. */
static void fade(const struct shard *s, struct source *x)
{
	uint64_t passed = (s->now_ms - x->failed_ms) / MAX_OF(s->config.login_penalty_max_ms, 1u);
	uint32_t faded = (uint32_t)MIN_OF(passed, x->failures);
	x->failures -= faded;
	x->failed_ms += faded * (uint64_t)s->config.login_penalty_max_ms;
}

bool door_may_login(const struct conn *c, uint32_t *retry_ms)
{
	struct shard *s = c->s;
	const struct source *x = source_of(c);
	*retry_ms = 0;
	if (c->local || s->now_ms >= x->closed_until_ms)
		return true;
	*retry_ms = (uint32_t)MIN_OF(x->closed_until_ms - s->now_ms, UINT32_MAX);
	s->counters.logins_held_total++;
	return false;
}

/* The first login_failures_max are free. Then the source is closed for half a second, a second, two ... up to login_penalty_max. */
void door_login_failed(struct conn *c)
{
	struct shard *s = c->s;
	struct source *x = source_of(c);
	s->counters.logins_failed_total++;
	fade(s, x);
	x->failures += x->failures < UINT32_MAX;
	x->failed_ms = s->now_ms;
	if (x->failures <= s->config.login_failures_max)
		return;
	uint32_t doublings = MIN_OF(x->failures - s->config.login_failures_max - 1, 20u);
	uint64_t penalty = MIN_OF((uint64_t)PENALTY_FIRST_MS << doublings, (uint64_t)s->config.login_penalty_max_ms);
	x->closed_until_ms = s->now_ms + penalty;
	tell(s, x, c->peer, "login_failures_max");
}
