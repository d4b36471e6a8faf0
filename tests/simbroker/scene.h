/* tests/simbroker/scene.h: what everything in a simulated run shares: the world, the moods that the seed drew, the first violation,
 * and marks: which situations were really met. A checker that never ran proves nothing, so main.c adds up the marks of all seeds and
 * fails where one is zero. */
#pragma once

#include "../sim/io_sim.h"
#include "../../wire/msg.h"

/* M(name, what happened) */
#define MARKS(M)                                                                             \
	M(CRASH, "crashes")                                                                  \
	M(NODE_PAUSED, "pauses of the broker")                                               \
	M(CLIENT_PAUSED, "pauses of a client")                                               \
	M(WALL_JUMPED, "jumps of the wall clock")                                            \
	M(FAULTS_TOGETHER, "several fault rules at once")                                    \
	M(STREAM_DONE, "streams that came whole")                                            \
	M(STREAM_RESUMED, "streams that went on after a cut of their caller")                \
	M(STREAM_REPLAYED, "streams that were asked for again from a number")                \
	M(STREAM_INHERITED, "streams that another attempt went on with")                     \
	M(YIELD_AGAIN, "yields that were sent again")                                        \
	M(ONCE_DONE, "tasks handed out once that were done")                                 \
	M(ONCE_LOST, "tasks handed out once that were lost")                                 \
	M(ONCE_KEPT, "tasks handed out once that their worker kept over a restart")          \
	M(TIMEOUT_EXPIRES, "tasks that nobody started in time")                              \
	M(TIMEOUT_CLOSE, "tasks that were not final in time")                                \
	M(TIMEOUT_EXECUTION, "attempts that overran")                                        \
	M(TIMEOUT_HEARTBEAT, "attempts that fell silent")                                    \
	M(TIMEOUT_OVER_RESTART, "timeouts that began before a restart of the broker")        \
	M(DEADLINE_SOON, "warnings before a deadline")                                       \
	M(CALL_ANSWERED, "calls answered")                                                   \
	M(CALL_TIMEOUT, "calls that ended at their deadline")                                \
	M(CALL_LATE, "answers of holders that came after the deadline")                      \
	M(CALL_NOBODY, "calls that nobody could take")                                       \
	M(CALL_HOLDER_LOST, "calls whose holder left or was cut off")                        \
	M(ENTRY_GOODBYE, "entries that left with a goodbye, seen at once")                   \
	M(ENTRY_LEASE, "entries that left when the grace was over")                          \
	M(ENTRY_AWAY, "entries that were seen away")                                         \
	M(WATCH_CHANGE, "changes of the directory")                                          \
	M(WATCH_COMPARED, "directories rebuilt from changes, compared with the broker's")    \
	M(BINDING_WAITING, "reservations that wait")                                         \
	M(BINDING_DEGRADED, "reservations that are degraded")                                \
	M(BINDING_ACTIVE, "reservations that are active")                                    \
	M(BINDING_HEALED, "reservations that became active again")                           \
	M(BINDING_ENDED, "reservations that ended")                                         \
	M(FEED_EVENT, "events in durable subscriptions")                                     \
	M(FEED_OVER_RESTART, "events that a durable subscription kept over a restart")       \
	M(FEED_LATER, "durable subscriptions made while events flowed")                      \
	M(EVENT_BLOCK, "ephemeral subscriptions that add up: block")                         \
	M(EVENT_DROP_OLDEST, "ephemeral subscriptions that add up: drop oldest")             \
	M(EVENT_DROP_NEWEST, "ephemeral subscriptions that add up: drop newest")             \
	M(EVENT_REJECT, "ephemeral subscriptions that add up: reject")                       \
	M(EVENT_DROPPED, "subscriptions in which events were dropped")                       \
	M(EVENT_AGAIN, "events published again after a cut")                                 \
	M(RETAINED, "retained values")                                                        \
	M(REFUSED_CALL, "calls refused, for nobody could take them")                         \
	M(REFUSED_FULL, "tasks refused, for their queue was full")                           \
	M(REFUSED_QUEUE, "questions refused, for there was no such queue")                   \
	M(REFUSED_SERVE, "entries refused, for their parameters did not parse")              \
	M(REFUSED_TASK, "cancels refused, for there was no such task")                       \
	M(REFUSED_EVENT, "events refused, for they would have been the broker's own")        \
	M(REFUSED_LIMIT, "tasks refused, for their principal was at its limit")                \
	M(TICK, "tasks of schedules")                                                        \
	M(TICK_OVER_RESTART, "tasks of schedules after a restart of the broker")             \
	M(SCHEDULE_COUNTED, "schedules at rest, whose firings are their tasks")              \
	M(LETTER_BACK, "dead letters that came back by a redrive")                           \
	M(REDRIVES_COUNTED, "redrives that are over, which have put back what had died")      \
	M(BLOB_STORED, "blobs stored")                                                       \
	M(BLOB_RESUMED, "uploads that went on after a cut")                                  \
	M(BLOB_READ, "blobs read")                                                           \
	M(BLOB_RESULT, "results that are blobs")                                             \
	M(BLOB_NONE_LEFT, "stores without a blob in the end")

#define MARK_ENUM(name, text) MARK_##name,
enum mark { MARKS(MARK_ENUM) MARK_COUNT };
const char *mark_text(enum mark mark);

struct mood {                   /* per mille, drawn per seed */
	uint32_t fail, release, reject, vanish, answer_twice, answer_late, key, stale;
	uint32_t payload_max, batch_max;
	uint64_t work_ns_max;       /* how long a task takes at most */
	bool calm;                  /* the healing phase: only submit nothing and complete everything */
};

struct link;
struct ledger;

struct scene {
	struct sim *world;
	struct ledger *ledger;
	struct mood mood;
	struct link *links;         /* of all clients */
	bool stop_submitting;
	const char *token;          /* what clients show that have none of their own; NULL: the broker is open */
	bool greedy;                /* the first producer submits far more than the others */
	bool lanes_open;            /* workers serve every lane, also the closed one */
	uint32_t priorities;        /* how many different ones are used */
	uint8_t owners[65536];      /* of tasks with such numbers: the first letter of the colour of who got it confirmed */
	char crossed[160];          /* what went from one vnet into another, the first time; "" = nothing */
	bool checks_state;          /* the inspector is at work */
	bool disk_fails;            /* calls of the broker fail now and then, in this seed */
	uint64_t healed_ns;         /* 0 = not yet */
	uint64_t restarts;          /* of the broker so far */
	uint64_t jumped_ms;         /* how far the wall clock has jumped in all, either way */
	uint64_t marks[MARK_COUNT];
	char violation[400];        /* the first one */
};

static inline void scene_mark(struct scene *sc, enum mark mark) { sc->marks[mark]++; }
void scene_violate(struct scene *sc, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* One in n. */
static inline bool scene_one_in(struct scene *sc, uint64_t n) { return sim_rand_below(sc->world, n) == 0; }
static inline uint64_t scene_now(const struct scene *sc) { return sim_now_ns(sc->world); }

/* A part of the clients with a purpose of their own, and what it checks. A seed has some of them. */
struct workload {
	const char *name;
	void *(*open)(struct scene *scene);
	bool (*idle)(void *state);  /* after healing: nothing waits for an answer */
	const char *(*waits)(void *state); /* for what, in words */
};
extern const struct workload workload_life, workload_directory, workload_events, workload_refusals, workload_timed, workload_blobs;
