/* broker/memory.h: what the process takes in all, against the cap that the operator has declared; what is done near it.
 *
 *   each turn -> sum of the parts -> level;   SUBMIT, PUBLISH, CALL -> MEMORY gate -> now, later, or RESOURCE_EXHAUSTED
 *
 * The sum is of what can grow: buffers of connections, the machine of tasks and what a checkpoint of it needs, the cache of the log,
 * events, updates, TLS, the directory, connections and sessions; and a base for what does not. It is what was asked for, not what the
 * system counts: the allocator's own share is in the margin between the last level and the cap.
 *
 *   SHORT  3/4 of the cap      caches give back: the log keeps an eighth of cache_bytes, until half of the cap is free
 *   TIGHT  7/8                 connections that bring new work are read again after PAUSE_MS for each frame of it
 *   FULL   15/16               new work is refused; settling, questions, credit and logins go on
 *   over the cap               the connection that holds most of the buffers is closed
 *
 * 1. Nothing that makes things smaller is ever refused or paused because of memory, but where it stands behind new work on the same
 *    connection: then it waits for PAUSE_MS at most.
 * 2. A cap of 0 is none, and costs a compare in a turn. */
#pragma once

#include "shard_impl.h"

uint64_t memory_used(const struct shard *s);
void memory_look(struct shard *s); /* once a turn */
/* May this connection bring new work? ERR_OK, ERR_AGAIN (pause it), ERR_RESOURCE_EXHAUSTED with text. */
enum err memory_gate(struct conn *c, const char **text) MUST_CHECK;
/* A paused frame is looked at anew now and then only: each time it is copied. */
bool memory_may_retry(struct shard *s);
/* When paused connections are to be tried again (monotonic); UINT64_MAX = whenever there is a turn. */
uint64_t memory_retry_ms(const struct shard *s);
