/* broker/owner.h: how many tasks and bytes those have whom a limit counts. Private to the task machine.
 *
 *   submit propose -> OWNER fits? -> REC_SUBMIT names the owner -> apply -> segment runs, counts;   settle, forget -> counts
 *
 * A principal with a limit of its tasks in a queue, or of its stored bytes, is the owner of what it submits from then on; everything else
 * has no owner and costs nothing: no byte in the record, none in memory, one comparison when it is settled. An owner is known by the
 * hash of its name. What is counted:
 *   tasks   of one owner in one queue that are not settled (dead letters are not: they wait for nobody)
 *   bytes   of payloads that are kept, of the heads of their frames, and of results and last words that are retained. The tasks of one
 *           frame count as the average of it: their sizes are not in memory. A run is frames one behind the other with equal averages.
 *
 * Invariants
 *  1. Whose a task is, and how many bytes its run had, is durable: in the record, the index file, the checkpoint. All counts are
 *     volatile: made from that, the live bits and the objects by owners_begin, and kept up by apply from there on.
 *  2. A count is never below zero (ENSUREd), and 0 is not kept: what leaked would be there after everything is gone. */
#pragma once

#include "../wire/map64.h"
#include "../wire/span.h"
#include "tasks.h"

struct segment;
struct hot;
struct queue;

/* Of a segment. A task that lives counts bytes / count. */
struct owner_run {
	uint64_t owner, bytes;
	uint32_t first, count;
	uint32_t live; /* (v) */
	uint32_t pad;
};
enum { OWNER_RUN_DISK = 24 }; /* without what is volatile */

struct owners { /* (v) */
	struct map64 bytes, bytes_proposed; /* owner -> bytes */
	struct map64 tasks, tasks_proposed; /* owner and queue -> tasks */
	uint64_t owner;                     /* of what is proposed next; 0 = nobody counts it */
	struct owner_limits limits;
	char name[65];                      /* for refusals */
};

/* How many of these may come; fewer than `count` with text. 0: none, and *limit says which. */
uint32_t owner_fits(const struct tasks *t, uint32_t queue, const uint32_t *sizes, uint32_t count, size_t head, uint8_t *limit,
		    char text[256]);
void owner_proposed(struct tasks *t, uint64_t owner, uint32_t queue, uint32_t count, uint64_t bytes);
void owner_arrived(struct tasks *t, uint64_t owner, uint32_t queue, uint32_t count, uint64_t bytes); /* the record of that is applied */

/* The last `count` tasks of the segment are the owner's, with so many bytes. */
void owner_append(struct tasks *t, struct segment *s, uint32_t count, uint64_t owner, uint64_t bytes);
/* So many live tasks from `index` on, of one record, live no more. */
void owner_dropped(struct tasks *t, struct segment *s, uint32_t index, uint32_t count);
/* 0 = nobody counts it. While its payload is there. */
uint64_t owner_of(struct tasks *t, uint64_t task);
void owner_opened(struct tasks *t, uint64_t owner, uint32_t queue, uint32_t count); /* accepted, or open again */
void owner_closed(struct tasks *t, uint64_t owner, uint32_t queue);                 /* settled, or never to be */
/* The object has become final, with its owner and its result; it is going to be forgotten, or open again. */
void owner_kept(struct tasks *t, const struct hot *h);
void owner_let_go(struct tasks *t, struct hot *h);

void owners_begin(struct tasks *t);
void owners_free(struct tasks *t);
/* On disk, as part of a segment's index: count and runs. False: they do not fit `tasks` tasks. */
void owner_runs_put(const struct segment *s, struct buf *out);
bool owner_runs_get(struct tasks *t, struct segment *s, struct reader *r, uint32_t tasks);
void owner_runs_take(struct tasks *t, struct segment *to, const struct segment *from); /* of the same tasks */
void owner_runs_free(struct tasks *t, struct segment *s);
void owner_runs_shrink(struct tasks *t, struct segment *s);
/* In the checkpoint: whose results are kept. */
void owners_put(struct hot *const *hots, uint32_t count, struct buf *out);
bool owners_get(struct tasks *t, struct reader *r);
