/* broker/schedule.h: tasks at given times: cron, every so often, once. In the flow: timer -> SCHEDULE fire -> propose -> log.
 *
 * A time that was fired is never fired twice: the task and the record that says so are proposed in the same batch, which is on disk as a
 * whole or not at all. Sequences of the schedules' own producer make sure of it once more.
 *
 * Durable: changed only by schedules_apply. When a schedule is due next follows from its state alone. */
#pragma once

#include "tasks.h"

enum { SCHEDULES_MAX = 10000, SCHEDULES_BYTES_MAX = 64 << 20, SCHEDULE_LATE_MS = 10000 };
/* No client may submit under it. */
#define SCHEDULE_PRODUCER 0x48696c6c6f636b31u

struct schedules;
struct types;
struct schedule_world { struct tasks *tasks; const struct types *types; struct log *log; }; /* where a firing goes */

struct blobs;
/* `blobs`: what the payloads of schedules may name, and hold. */
struct schedules *schedules_new(struct blobs *blobs);
void schedules_free(struct schedules *s);

/* Each appends at most one record. ADD: ERR_EXISTS, ERR_INVALID_INPUT (not exactly one of cron, every, at; no head; never due),
 * ERR_RESOURCE_EXHAUSTED. The others: ERR_NOT_FOUND. */
enum err schedules_propose_add(struct schedules *s, struct log *log, struct span name, struct span spec, uint64_t now_ms,
			       uint32_t *records, char text[256]) MUST_CHECK;
enum schedule_op { SCHEDULE_ADD = 1, SCHEDULE_REMOVE = 2, SCHEDULE_PAUSE = 3, SCHEDULE_RESUME = 4, SCHEDULE_FIRE = 5 };
enum err schedules_propose(struct schedules *s, struct log *log, struct span name, enum schedule_op op, uint32_t *records,
			   char text[256]) MUST_CHECK;
/* Fires one now, beside its times; with OVERLAP_REPLACE the task before is cancelled as at its times. *task_records: the SUBMIT record and
 * that of the cancel (0 to 2), for which nobody waits; *records: the one behind, whose apply says what became of the task. */
enum err schedules_run(struct schedules *s, const struct schedule_world *world, struct span name, uint64_t now_ms,
		       uint32_t *task_records, uint32_t *records, char text[256]) MUST_CHECK;

/* When the next one is due (wall ms), or UINT64_MAX. */
uint64_t schedules_next_ms(const struct schedules *s);
/* Fires what is due, at most one time of one schedule; *task_records as above. True: there is more. False also where the log has no
 * room now. */
bool schedules_tick(struct schedules *s, const struct schedule_world *world, uint64_t now_ms, uint32_t *task_records);

/* One committed REC_SCHEDULE. For FIRE the task is the newest one of `t`: no other SUBMIT lies in between. */
void schedules_apply(struct schedules *s, const struct tasks *t, const struct log_entry *entry, const struct log_record *record,
		     struct applied *out);
void schedules_checkpoint(const struct schedules *s, struct buf *out);
enum err schedules_restore(struct schedules *s, struct span section, char text[256]) MUST_CHECK;

uint32_t schedules_count(const struct schedules *s);
/* By name; without head and payload. Borrowed until the next change. */
void schedules_info(const struct schedules *s, uint32_t index, struct schedule_info *out);
bool schedules_show(const struct schedules *s, struct span name, struct schedule_info *out); /* with them */
