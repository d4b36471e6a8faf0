/* broker/memory.c: the contract, and what happens at which level, stand in memory.h. */
#include "memory.h"

#include "audit.h"
#include "directory.h"
#include "event.h"
#include "sysevent.h"

enum { PAUSE_MS = 1000, RETRY_MS = 50, CONN_BYTES = 1024, SESSION_BYTES = 1024, PENDING_BYTES = sizeof(struct pending) };

uint64_t memory_used(const struct shard *s)
{
	struct tls_heap_stats tls = { .used = 0 };
	if (s->tls)
		tls_heap_get(&tls);
	return s->config.memory_base + s->buffer_bytes + s->spare_in.cap + tasks_memory(s->tasks) + log_memory(s->log) + s->events->batch_bytes +
	       s->stream_memory + s->piece_bytes + tls.used + directory_memory(s->directory) + (uint64_t)s->pending_cap * PENDING_BYTES +
	       s->counters.conns * (sizeof(struct conn) + CONN_BYTES) + s->counters.sessions * (sizeof(struct session) + SESSION_BYTES) +
	       (uint64_t)s->watch_cap * sizeof(struct watch);
}

static const char *const names[] = { "fine", "short", "tight", "full" };

static enum memory_level level_of(uint64_t used, uint64_t cap)
{
	return used >= cap - cap / 16 ? MEMORY_FULL : used >= cap - cap / 8 ? MEMORY_TIGHT : used >= cap - cap / 4 ? MEMORY_SHORT : MEMORY_FINE;
}

static void enter(struct shard *s, enum memory_level level)
{
	enum memory_level was = s->memory.level;
	s->memory.level = level;
	shard_note(s, level > was ? SHARD_WARN : SHARD_INFO, "memory", "level", "level=%s used=%llu cap=%llu", names[level],
		   (unsigned long long)s->memory.used, (unsigned long long)s->config.memory_cap);
	sys_event(s, "limit.memory", "\"level\":\"%s\",\"used\":%llu,\"cap\":%llu", names[level], (unsigned long long)s->memory.used,
		  (unsigned long long)s->config.memory_cap);
	if (level == MEMORY_FULL)
		audit(s, "", "", "limit", "reached", "memory_cap %llu", (unsigned long long)s->config.memory_cap);
}

void memory_look(struct shard *s)
{
	uint64_t cap = s->config.memory_cap, used;
	if (cap == 0)
		return;
	s->memory.used = used = memory_used(s);
	s->memory.peak = MAX_OF(s->memory.peak, used);
	const enum memory_level up = level_of(used, cap), down = level_of(used + cap / 64, cap); /* a level is left a little below it */
	if (up > s->memory.level || down < s->memory.level)
		enter(s, up > s->memory.level ? up : down);
	bool small = s->memory.level >= MEMORY_SHORT || (s->memory.small && used > cap / 2);
	if (small != s->memory.small) {
		s->memory.small = small;
		log_set_cache(s->log, small ? s->config.cache_bytes / 8 : s->config.cache_bytes);
	}
	if (used > cap && s->buffer_bytes > cap / 8)
		conn_shed(s);
}

enum err memory_gate(struct conn *c, const char **text)
{
	struct shard *s = c->s;
	uint64_t held = c->held_ms;
	c->held_ms = 0;
	if (s->memory.level == MEMORY_FULL) {
		s->counters.memory_refused_total++;
		*text = "the broker is at its memory_cap: only what settles tasks is taken";
		return ERR_RESOURCE_EXHAUSTED;
	}
	if (s->memory.level < MEMORY_TIGHT || (held && s->now_ms - held >= PAUSE_MS))
		return ERR_OK;
	s->counters.memory_paused_total += held == 0;
	c->held_ms = held ? held : s->now_ms;
	return ERR_AGAIN;
}

uint64_t memory_retry_ms(const struct shard *s)
{
	return s->paused && s->memory.level >= MEMORY_TIGHT ? s->memory.retry_ms : UINT64_MAX;
}

bool memory_may_retry(struct shard *s)
{
	if (s->memory.level < MEMORY_TIGHT)
		return true;
	if (s->now_ms < s->memory.retry_ms)
		return false;
	s->memory.retry_ms = s->now_ms + RETRY_MS;
	return true;
}
