/* broker/redrive.h: redrives that run inside the broker: dead letters of a queue go back to it so many in a second, for as long as it
 * takes. In the flow: verb -> REDRIVE start -> log; timer -> REDRIVE step -> log ... -> apply -> lanes.
 *
 * A redrive is durable: it goes on after a restart, and whoever asked for it may be gone. It takes the letters that were there when it
 * began, the oldest first; one that dies again meanwhile is not taken again.
 *
 * Durable: changed only by redrives_apply. */
#pragma once

#include "tasks.h"

/* Running ones, and those that are remembered with the ones that are over; letters that are looked at in one turn. */
enum { REDRIVES_RUNNING_MAX = 16, REDRIVES_MAX = 64, REDRIVE_LOOKS_MAX = 1024, REDRIVE_STEP_MAX = 512 };

struct redrives;

struct redrives *redrives_new(void);
void redrives_free(struct redrives *r);

/* Each appends at most one record. START: NOT_FOUND (the queue), INVALID_INPUT (rate), RESOURCE_EXHAUSTED; its apply answers the number
 * of the redrive as `affected`. STOP: NOT_FOUND, WRONG_STATE. */
enum err redrives_propose_start(struct redrives *r, struct tasks *t, struct log *log, const struct redrive_info *ask, uint32_t *records,
				char text[256]) MUST_CHECK;
enum err redrives_propose_stop(struct redrives *r, struct log *log, uint64_t number, uint32_t *records, char text[256]) MUST_CHECK;

/* When one has something to do (monotonic ms), or UINT64_MAX. */
uint64_t redrives_next_ms(const struct redrives *r);
/* Proposes what is due: bounded in letters looked at and in records, of which nobody waits for any. */
void redrives_run(struct redrives *r, struct tasks *t, struct log *log, uint64_t now_ms);

/* One committed REC_REDRIVES. */
void redrives_apply(struct redrives *r, struct tasks *t, const struct log_entry *entry, const struct log_record *record,
		    struct applied *out);
/* The section of the checkpoint. */
void redrives_checkpoint(const struct redrives *r, struct buf *out);
/* Into an empty set. ERR_DAMAGED: the place in text. */
enum err redrives_restore(struct redrives *r, struct span section, char text[256]) MUST_CHECK;

uint32_t redrives_count(const struct redrives *r);
/* By number. `queue` is filled where the queue is still there. Borrowed until the next change. */
void redrives_info(const struct redrives *r, const struct tasks *t, uint32_t index, struct redrive_info *out);
