/* broker/event_seen.h: which events have been here, so that one that comes again (sent once more after a cut, or round a ring of
 * relays) is not handed out twice.
 *
 * Ids of one publisher count on, so what is remembered is runs of them: {hi, from lo, to lo}, and a publisher that keeps in order takes
 * one, however much it publishes. At most SEEN_RUNS are kept, and of one publisher SEEN_RUNS_OF; those that were touched
 * longest ago go first. Volatile. */
#pragma once

#include "../wire/base.h"

enum { SEEN_RUNS = 32768, SEEN_RUNS_OF = 64 };

struct seen;
struct seen *seen_new(uint64_t seed);
void seen_free(struct seen *w);
/* How the ids (hi, lo) on look: returns how many of the `count` are alike, and whether they have been seen. */
uint32_t seen_look(struct seen *w, uint64_t hi, uint64_t lo, uint32_t count, bool *seen);
/* Remembers ids that seen_look called unseen. */
void seen_add(struct seen *w, uint64_t hi, uint64_t lo, uint32_t count);
/* Runs that are remembered now. */
uint32_t seen_count(const struct seen *w);
