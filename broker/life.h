/* broker/life.h: what only tasks with a history, a stream of yields, a family or deadlines of their own have. Private to the task
 * machine.
 *
 *   report -> propose REC_YIELD -> log ... commit -> LIFE -> streams -> UPDATES
 *
 * A plain task has none of it: hot.life is NULL. An object lives as long as the hot object it belongs to.
 * Fields marked (v) are volatile, as in tasks_impl.h. */
#pragma once

#include "tasks_impl.h"

enum { YIELDS_KEPT_MAX = 1 << 26, PROGRESS_TEXT_MAX = 96 };

struct yield_run { /* neighbours in one record */
	uint64_t addr;
	uint32_t first, count;
};

struct attempt_note { /* one that failed; on disk as it is */
	uint64_t time_ms;
	uint32_t attempt, app_code;
	uint16_t code;
	uint8_t worker_size, text_size;
	char worker[44], text[104];
};
_Static_assert(sizeof(struct attempt_note) == 168, "on disk");

struct life {
	uint64_t task;
	/* durable */
	struct yield_run *runs;   /* ascending, from number 0 on, without gap */
	uint32_t run_count, run_cap;
	uint32_t yields;          /* accepted */
	uint32_t note_count;
	struct attempt_note *notes; /* the last LIMIT_HISTORY, oldest first */
	uint32_t lease_attempt, lease_epoch; /* of the one lease of a task that is never handed out again; 0 = none */
	uint64_t lease_key;       /* its session */
	uint64_t cancel_ms;       /* with such a lease: when a silent holder is overruled */
	uint64_t parent, root, close_ms; /* 0 = none */
	struct life *elder, *younger; /* of the same parent; younger: in the order of the list, newest first */
	/* (v) */
	uint32_t yields_next;     /* accepted or in a record under way */
	bool never, left;         /* the lease is, or is to be, durable; the task may be at its holder */
	uint64_t heartbeat_ms, beat_ms; /* once started: how often the holder must be heard of it, and by when */
	uint64_t silence_ms, silent_ms; /* started or not: the same, where only the task renews its lease */
	uint32_t progress;        /* millionths */
	uint8_t phase, progress_size;
	char progress_text[PROGRESS_TEXT_MAX];
};

struct life *life_of(struct tasks *t, struct hot *h); /* found or made */
void life_family(struct tasks *t, struct life *l, uint64_t parent, uint64_t root);
void life_free(struct tasks *t, struct hot *h);       /* what it pins is let go */
void history_add(struct tasks *t, struct hot *h, const struct settlement *s);
bool life_is_durable(const struct life *l);
void life_attempt_over(struct life *l);               /* what belonged to the attempt is forgotten */
void lives_put(struct hot *const *hots, uint32_t count, struct buf *out);
bool lives_get(struct tasks *t, struct reader *r);

/* What a report of the rightful holder does; the answer, or ERR_OK and *wait where a record has to be applied first. */
enum err yield_take(struct tasks *t, struct hot *h, const struct report_item *i, uint64_t offset, bool *wait);
/* Appends the record of all yields that were taken. False: no room; they are not taken, and yields_refuse answers for them. */
bool yields_append(struct tasks *t, struct log *log, struct span payload);
void yields_refuse(const struct tasks *t, struct reported_item *refused, uint32_t *refused_count);
void apply_yield(struct tasks *t, const struct log_record *record, bool live, struct applied *out);
void apply_lease(struct tasks *t, const struct log_record *record, bool live);
void limbo_enter(struct tasks *t, struct hot *h, uint64_t now_ms); /* at the start, in place of view_enter */
void beat(struct tasks *t, struct hot *h, uint64_t now_ms);         /* its holder was heard of it */
/* When the next thing happens to a held task: a warning, or its end. */
uint64_t held_due(const struct hot *h);
/* That moment has come. True: the attempt is over, and *item says how; false: it was the warning, or the task was not begun and has
 * gone back. */
bool held_over(struct tasks *t, struct hot *h, uint64_t now_ms, struct rec_settle_item *item);
void progress_take(struct tasks *t, struct hot *h, const struct report_item *i, struct span text);
void phase_set(struct tasks *t, struct hot *h, enum phase phase, uint16_t code);
