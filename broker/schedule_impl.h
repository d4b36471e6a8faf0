/* broker/schedule_impl.h: what the files of the schedules share. Private to them: schedule.c has the set and what changes it,
 * schedule_fire.c when each is due and its firing, schedule_checkpoint.c the section of the checkpoint.
 *
 * Invariants
 *  1. next_ms is a function of the durable state: apply computes it from the record's times, never from a clock.
 *  2. `due` has those that fire by themselves: not paused, not `proposed`, due at some time. The first is due first. */
#pragma once

#include "schedule.h"

enum { REC_SCHEDULE_VERSION = 1 };
#define NEVER UINT64_MAX

struct schedule {
	struct buf spec;          /* as it was registered; info borrows it */
	struct schedule_info info; /* name in `name` */
	char *name;
	struct cron cron;
	struct blob *blob;        /* that its payload names, and it holds; NULL = none */
	bool proposed;            /* (v) its FIRE is on its way */
	uint32_t due_place;       /* (v) in the heap, from 1 on; 0 = not there */
};

struct schedules {
	struct blobs *blobs;
	struct schedule **all;    /* by name */
	uint32_t count, cap;
	uint64_t sequence;        /* of the last task */
	uint64_t proposed_sequence; /* (v) */
	size_t bytes;
	struct schedule **due;    /* (v) a heap */
	uint32_t due_count, due_cap;
};

#define SHOWN(s) (int)MIN_OF((s).len, 150u), (s).len ? (const char *)(s).data : ""

enum { FIRE_TASK = 1, FIRE_KEEPS_TIME = 2 };
/* This, the spec (ADD), the name. */
struct rec_schedule {
	uint8_t version, op, flags, name_size;
	uint32_t spec_size;
	uint64_t after_ms;        /* FIRE: the next time is the first after this */
	uint64_t at_ms;           /* FIRE: the time that was fired; ADD: now */
	uint64_t sequence;        /* FIRE with a task: of the producer */
	uint32_t skipped;         /* FIRE: times that passed without a task */
	uint16_t code, pad;       /* FIRE: why there is no task */
};
_Static_assert(sizeof(struct rec_schedule) == 40, "on disk");

/* schedule.c */
PRINTF_LIKE(3, 4) enum err schedule_refuse(char text[256], enum err code, const char *format, ...);
/* ERR_OK and *out (the caller's), or why there can be no such schedule. */
enum err schedule_judge(const struct schedules *s, struct span name, struct span spec, uint64_t now_ms, struct schedule **out,
			char text[256]) MUST_CHECK;
/* It is in the set from now on, and holds its blob. */
void schedule_insert(struct schedules *s, struct schedule *x);
struct schedule *schedule_find(const struct schedules *s, struct span name);
bool schedule_append(struct log *log, struct rec_schedule rec, struct span name, struct span spec);

/* schedule_fire.c */
uint64_t schedule_after(const struct schedule *x, uint64_t after_ms); /* its first time after that one, or NEVER */
void schedule_settle(struct schedules *s, struct schedule *x); /* its due time, pause or `proposed` is another: into its place */
void schedule_forget(struct schedules *s, struct schedule *x); /* out of the heap */
