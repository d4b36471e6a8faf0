/* clientlib/mock_impl.h: the broker in memory behind mock://. Private to mock.c (frames), mock_tasks.c (the task machine) and
 * mock_admin.c (requests).
 *
 * 1. It speaks the wire protocol to the client above it, so the client's own code paths are what a test runs.
 * 2. Its clock moves by hlk_mock_advance alone, and nothing in it is random: a test repeats exactly.
 * 3. Tasks are never forgotten: a test may look at all of them afterwards. */
#pragma once

#include "../wire/name.h"
#include "client_impl.h"

struct mock_list { struct mock_task *first, *last; };
struct mock_queue {
	struct mock_queue *next;
	char *name;
	bool paused;
	struct queue_settings settings;
	struct mock_list ready[LIMIT_PRIORITY + 1];
	uint64_t count[TASK_STATES];     /* tasks by state */
	uint64_t submitted_total, expired_total, dead_total;
};

struct mock_task {
	struct mock_task *prev, *next;   /* in a list of its queue while ready */
	struct mock_queue *queue;
	uint64_t id, submitted_ms, ready_ms, expires_ms, settled_ms, execution_ms, overrun_ms, cancel_ms;
	uint8_t state, priority;
	bool want_result, awaited;
	uint32_t attempt, failed, max_attempts, app_code, entry;
	uint16_t code;
	struct buf head, payload, result;
	char *type, *key, *reason;
};

struct mock_entry { uint32_t id, credit; char *name; };
struct mock {
	uint64_t now_ms;
	uint32_t epoch;
	bool welcomed, known;
	struct buf output;
	struct mock_queue *queues;
	struct mock_task **tasks;        /* id - 1 */
	uint64_t task_count;
	uint64_t producer;
	struct map64 sequences;          /* sequence -> task */
	struct mock_entry entries[LIMIT_SESSION_ENTRIES];
	uint32_t entry_count;
	struct msg *msg;                 /* the one being read */
};

/* ---- mock.c ---- */
void mock_send(struct mock *m, const struct msg *msg, uint32_t correlation);
void mock_send_result(struct mock *m, const struct mock_task *t);
void mock_signal(struct mock *m, const struct mock_task *t, enum signal_kind signal, enum err code);

/* ---- mock_tasks.c ---- */
struct mock_queue *mock_queue_find(struct mock *m, struct span name);
struct mock_queue *mock_queue_new(struct mock *m, struct span name);
struct mock_task *mock_task_find(struct mock *m, uint64_t id);
/* The task, new or (same key) old; or NULL and why. */
struct mock_task *mock_task_submit(struct mock *m, struct span head, struct span payload, enum err *code, bool *duplicate);
void mock_task_state(struct mock *m, struct mock_task *t, enum task_state state);
void mock_task_settle(struct mock *m, struct mock_task *t, enum task_state state, enum err code, struct span result);
void mock_task_failed(struct mock *m, struct mock_task *t, enum err class_code, int64_t delay_ms, struct span text);
enum err mock_task_report(struct mock *m, const struct report_item *item, struct span data);
enum err mock_task_cancel(struct mock *m, struct mock_task *t, struct span reason);
void mock_task_again(struct mock *m, struct mock_task *t); /* to ready, with fresh counters */
void mock_leases_lost(struct mock *m);
void mock_tick(struct mock *m);
void mock_tasks_free(struct mock *m);
static inline bool mock_final(uint32_t state) { return state >= TASK_DONE; }
static inline bool mock_leased(uint32_t state) { return state == TASK_LEASED || state == TASK_STARTED; }

/* ---- mock_admin.c ---- */
void mock_request(struct mock *m, const struct msg_request *r, uint32_t correlation);
