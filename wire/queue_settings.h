/* wire/queue_settings.h: the one list of what can be set for a queue: wire, log, checkpoint and merging follow it.
 *
 * All are int64 and at least 0; -1 = as it is, or the broker's default where the queue is made. A new one is
 *  1. a line at the END of this list (on disk settings are counted: a record that has fewer leaves the rest unset);
 *  2. the field of the same name at the end of QueueSettings in the schema;
 *  3. the field at the same place in struct hlk_queue_settings (clientlib/hillock.h) and in HLK_QUEUE_UNCHANGED;
 *  4. the row of the same name in tools/queue.c (options, output), and docs/protocol.md.
 * Bounds are checked in queue_settings_ok (broker/queue.c). */
#pragma once

#include "base.h"

/* X(name, default of the broker without a configuration) */
#define QUEUE_SETTINGS(X)         \
	X(length_max, 0)          \
	X(max_attempts, 5)        \
	X(lease_ms, 30000)        \
	X(backoff_min_ms, 1000)   \
	X(backoff_max_ms, 600000) \
	X(expires_ms, 0)          \
	X(retention_ms, 0)        \
	X(selection, 0)           \
	X(fair, 0)                \
	X(redelivery, 0)          \
	X(heartbeat_ms, 0)        \
	X(renew, 0)               \
	X(inline_max, 0)

/* selection: who gets a task, of the entries that fit and have free credit. Equals go by free credit, then in turn. */
enum queue_selection {
	SELECT_CREDIT,      /* most free credit */
	SELECT_ROUND_ROBIN, /* who has waited longest */
	SELECT_CHEAPEST,    /* lowest cost */
	SELECT_HOT,         /* has in its hot set what the task names */
	SELECT_STICKY,      /* equal sticky keys go to the same one while it is free */
	SELECTIONS
};

/* fair: whose task is next, of one priority. */
enum queue_fair {
	FAIR_OFF,       /* the oldest of each lane; lanes take turns */
	FAIR_PRINCIPAL, /* those who submitted take turns, by their weights */
	FAIR_KINDS
};

/* redelivery: of tasks that do not say themselves. */
enum queue_redelivery { QUEUE_AGAIN, QUEUE_NEVER_AGAIN, QUEUE_REDELIVERIES };

/* renew: what keeps a lease alive. */
enum queue_renew {
	RENEW_SESSION, /* any sign of life of the worker's connection */
	RENEW_TASK,    /* only a word about the task, within lease_ms */
	RENEW_KINDS
};

#define QUEUE_SETTING_FIELD(name, initial) int64_t name;
#define QUEUE_SETTING_UNSET(name, initial) -1,
#define QUEUE_SETTING_BASE(name, initial) initial,
#define QUEUE_SETTING_ONE(name, initial) +1

enum { QUEUE_SETTINGS_COUNT = 0 QUEUE_SETTINGS(QUEUE_SETTING_ONE) };
struct queue_settings {
	QUEUE_SETTINGS(QUEUE_SETTING_FIELD)
};
#define QUEUE_SETTINGS_UNSET ((struct queue_settings){ QUEUE_SETTINGS(QUEUE_SETTING_UNSET) })
#define QUEUE_SETTINGS_BASE ((struct queue_settings){ QUEUE_SETTINGS(QUEUE_SETTING_BASE) })

_Static_assert(sizeof(struct queue_settings) == QUEUE_SETTINGS_COUNT * sizeof(int64_t), "an array of its fields");

/* `over` where it is set, else `base`. */
static inline struct queue_settings queue_settings_over(struct queue_settings base, struct queue_settings over)
{
	int64_t values[QUEUE_SETTINGS_COUNT], more[QUEUE_SETTINGS_COUNT];
	memcpy(values, &base, sizeof base);
	memcpy(more, &over, sizeof over);
	for (uint32_t i = 0; i < QUEUE_SETTINGS_COUNT; i++)
		values[i] = more[i] < 0 ? values[i] : more[i];
	memcpy(&base, values, sizeof base);
	return base;
}
