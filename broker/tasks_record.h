/* broker/tasks_record.h: the bodies of the task machine's records on disk, version 1; REC_QUEUE has version 2.
 *
 *   propose -> TASKS_RECORD (build) -> log ... commit -> TASKS_RECORD (read) -> apply
 *
 * All integers are little-endian, all parts start 8-aligned, pad bytes are zero. What a version means never changes: a
 * new layout takes a new version number, and readers keep the old ones.
 *
 *   REC_SUBMIT   rec_submit | rec_options (if SUBMIT_OPTIONS) | rec_lane (if SUBMIT_LANE) | rec_life (if SUBMIT_LIFE) |
 *                rec_after (if SUBMIT_AFTER) | u64 owner (if SUBMIT_OWNER) | u32 sizes[count] | key | requirements | principal |
 *                u64 after[] | u32 backs[] | group | after_group (if SUBMIT_AFTER) | head | payloads
 *   REC_LEASE    rec_lease | rec_lease_item[count]
 *   REC_MOVE     rec_move | u64 tasks[count] | u32 sizes[count] | u32 text_sizes[count] | head | payloads | texts
 *                (count is 1 in version 1)
 *   REC_SETTLE   rec_settle | rec_settle_item[count] | u8 kinds[count] (version 3: what the results are, enum payload_kind) |
 *                results and error texts, one after the other | worker (versions 2 and 3)
 *   REC_QUEUE    rec_queue | i64 settings[setting_count] | name
 *                (version 1, still read: rec_queue without the last two fields, and seven settings)
 *   REC_YIELD    rec_yield | rec_yield_item[count] | u8 kinds[count] (version 2) | items, one after the other
 *   REC_REDRIVE  rec_redrive | u64 tasks[count]
 *   REC_GROUP    rec_group | name
 *   REC_PURGE    rec_purge | u64 except[count], ascending; in version 2: rec_purge | u64 first | u64 tasks[count], which are those
 *                between first and below that stay, or the dead letters that go */
#pragma once

#include "tasks.h"

/* REC_SETTLE_WORKER: the version of a REC_SETTLE with a worker. REC_SETTLE_KINDS, REC_YIELD_KINDS: with kinds. */
enum { REC_VERSION = 1, REC_SETTLE_WORKER = 2, REC_SETTLE_KINDS = 3, REC_YIELD_KINDS = 2, REC_QUEUE_VERSION = 2,
       REC_QUEUE_SETTINGS_V1 = 7 };

/* SUBMIT_BLOB: each payload names a blob, as the head says. */
enum { SUBMIT_OPTIONS = 1, SUBMIT_LANE = 2, SUBMIT_LIFE = 32, SUBMIT_AFTER = 64, SUBMIT_OWNER = 128, SUBMIT_BLOB = 256 };
struct rec_life {
	uint64_t parent, root; /* 0 = none */
	uint64_t close_ms;     /* wall clock; 0 = never */
};
struct rec_submit {
	uint8_t version, priority;
	uint16_t flags;
	uint16_t queue;
	uint16_t head_size;
	uint32_t count;
	uint32_t resolved_back; /* first_seq - resolved_below: at most the window */
	uint64_t producer, first_seq, submitted_ms;
};
struct rec_options {
	uint64_t ready_ms, expires_ms; /* wall clock; 0 = at once, never */
	uint64_t retention_ms;
	uint32_t max_attempts; /* 0 = the queue's */
	uint16_t key_size, pad;
};

/* Of tasks that are not plain: they have a lane of their own, or wait for each other. */
struct rec_lane {
	uint64_t order; /* hash of the ordering key and the queue, 0 = none */
	uint16_t requires_size, principal_size;
	uint32_t pad;
};

/* Of tasks that come after others, and of members of groups. */
struct rec_after {
	uint64_t group_size; /* of after_group; 0 = as many as are there */
	uint64_t bad;        /* one that had ended badly when this was proposed, 0 = none */
	uint32_t count, back_count; /* tasks it comes after, that were not final; the same as sequences of the producer, so far back */
	uint16_t group_len, after_group_len;
	uint8_t policy, bad_state; /* enum on_failure; how the bad one ended */
	uint16_t pad;
};

enum rec_group_op { GROUP_OP_CANCEL = 1 };
struct rec_group {
	uint8_t version, op;
	uint16_t name_size;
	uint32_t pad;
};

struct rec_move {
	uint8_t version, pad0;
	uint16_t head_size;
	uint32_t count;
	uint64_t submitted_ms;
};

struct rec_settle {
	uint8_t version, origin; /* enum applied_origin */
	uint16_t worker_size;    /* from version 2 on, where an attempt failed: who says so; its name is the end of the body */
	uint32_t count;
};
struct rec_settle_item {
	uint64_t task;
	uint64_t ready_ms;        /* READY, SCHEDULED: not before */
	uint32_t attempt, epoch;  /* 0 where nobody held it */
	uint32_t size, app_code;
	uint32_t holder;          /* number of the holder within the epoch */
	uint16_t code;
	uint8_t state;            /* the new one; LEASED = remember that it is to be cancelled */
	uint8_t verb;
};

enum rec_queue_op { QUEUE_OP_CREATE = 1, QUEUE_OP_SET = 2, QUEUE_OP_PAUSE = 3, QUEUE_OP_RESUME = 4, QUEUE_OP_REMOVE = 5,
		    QUEUE_OP_WEIGH = 6 };
struct rec_queue {
	uint8_t version, origin;
	uint8_t op, name_size;
	uint32_t queue;
	uint32_t setting_count; /* the first so many of QUEUE_SETTINGS (wire/queue_settings.h) */
	uint32_t weight;        /* WEIGH: of principals that match the pattern behind the name */
};

struct rec_lease { /* leases that must not be given twice */
	uint8_t version, pad[3];
	uint32_t count;
	uint64_t key; /* of the session */
};
struct rec_lease_item {
	uint64_t task;
	uint32_t attempt, epoch;
};

struct rec_yield {
	uint8_t version, pad[3];
	uint32_t count;
};
struct rec_yield_item {
	uint64_t task;
	uint32_t number, size;
	uint32_t attempt, epoch;
};

struct rec_redrive {
	uint8_t version, pad[3];
	uint32_t count;
};

struct rec_purge {
	uint8_t version, dead;
	uint16_t queue;
	uint32_t count;
	uint64_t below; /* tasks from this number on stay */
};

_Static_assert(sizeof(struct rec_submit) == 40 && sizeof(struct rec_options) == 32, "on disk");
_Static_assert(sizeof(struct rec_lane) == 16 && sizeof(struct rec_after) == 32 && sizeof(struct rec_group) == 8, "on disk");
_Static_assert(sizeof(struct rec_move) == 16 && sizeof(struct rec_settle) == 8, "on disk");
_Static_assert(sizeof(struct rec_settle_item) == 40 && sizeof(struct rec_queue) == 16, "on disk");
_Static_assert(sizeof(struct rec_lease) == 16 && sizeof(struct rec_lease_item) == 16 && sizeof(struct rec_life) == 24, "on disk");
_Static_assert(sizeof(struct rec_yield) == 8 && sizeof(struct rec_yield_item) == 24, "on disk");
_Static_assert(sizeof(struct rec_redrive) == 8 && sizeof(struct rec_purge) == 16, "on disk");
_Static_assert(LIMIT_HEAD_BYTES < 65536 && LIMIT_KEY_BYTES < 65536 && LIMIT_NAME_BYTES < 256, "sizes fit their fields");

/* A REC_QUEUE taken apart; settings that it does not have are unset. */
struct queue_view {
	struct rec_queue fixed;
	struct queue_settings settings;
	struct span name, pattern;
};
/* Opens the body of a REC_QUEUE of any version. ERR_DAMAGED where it does not parse. Borrows. */
enum err rec_queue_read(struct span body, struct queue_view *out) MUST_CHECK;
/* `count` settings as they are on disk; more than are known here are passed over. */
struct queue_settings settings_read(struct reader *r, uint32_t count);

/* A REC_SUBMIT taken apart; borrows the record. */
struct submit_view {
	struct rec_submit fixed;
	struct rec_options options;
	struct rec_lane lane;
	struct rec_life life;
	struct rec_after after;
	uint64_t owner; /* whose limits count it, see owner.h; 0 = nobody's */
	struct span after_tasks, backs, group, after_group; /* after_tasks: u64 each; backs: u32 each */
	const uint32_t *sizes;
	struct span key, requires, principal, head, payload; /* requires: requirements as text */
};
/* ERR_DAMAGED where lengths do not fit the body. Payload sizes are not added up here: submit_record_open does that. */
enum err rec_submit_read(struct span body, struct submit_view *out) MUST_CHECK;
/* Bytes of a REC_SUBMIT, and the writing of it into exactly so many. `payload` holds the payloads of these items only. */
size_t rec_submit_size(const struct submit_view *v);
void rec_submit_write(const struct submit_view *v, uint8_t *out);

struct move_view {
	struct rec_move fixed;
	const uint64_t *tasks;
	const uint32_t *sizes, *text_sizes;
	struct span head, payload, texts;
};
/* Opens the body of a REC_MOVE. ERR_DAMAGED where it does not parse. Borrows. */
enum err rec_move_read(struct span body, struct move_view *out) MUST_CHECK;

struct settle_view {
	struct rec_settle fixed;
	const struct rec_settle_item *items;
	const uint8_t *kinds; /* NULL: all inline */
	struct span results, worker;
};
/* Opens the body of a REC_SETTLE. ERR_DAMAGED where it does not parse. Borrows. */
enum err rec_settle_read(struct span body, struct settle_view *out) MUST_CHECK;

struct yield_view {
	struct rec_yield fixed;
	const struct rec_yield_item *items;
	const uint8_t *kinds; /* NULL: all inline */
	struct span data;
};
/* Opens the body of a REC_YIELD. ERR_DAMAGED where it does not parse. Borrows. */
enum err rec_yield_read(struct span body, struct yield_view *out) MUST_CHECK;
