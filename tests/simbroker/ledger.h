/* tests/simbroker/ledger.h: what the clients of one simulated run saw, and the promises it is held against.
 *
 * Every task carries its own name in its payload (origin, serial), so that each delivery can be traced to the submission
 * it came from. The ledger only knows what crossed the wire: it is a client-side history, not a look inside the broker.
 *
 * Checked at once, at the moment of the event:
 *  C1  a confirmed task's id is not given to another task, and a repeated submission gets the id it had (promise 4)
 *  C2  nothing is delivered that was not submitted, and its bytes are what was submitted (promises 2, 11)
 *  C3  what was settled is not delivered again, and not settled by another token (promise 2)
 *  C4  fencing tokens of one task only grow (promise 8); a token that was overtaken settles nothing
 *  C5  on one connection, tasks that nobody had before, not delayed and of one priority and lane, come in the order of ids (promise 7)
 *  C8  a task goes only to a worker that has declared its lane
 *  C10 of one ordering key a task is handed out only when the one before it has ended, and in the order of ids (promise 7)
 *  C12 a task that comes after another, or after a group, is handed out only when that one, or all members, can have ended
 *  C11 when the first task of the lane that nobody could do for long is handed out, no task of another lane has been left behind
 *  C13 in a fair queue, while a principal's plain tasks wait, no other one gets more than a bound of its own in a row
 * and at the end of a healed run:
 *  C6  every confirmed task was settled, or the broker says it is dead, or cancelled because of what it comes after (promises 1, 5)
 *  C7  two submissions with one idempotency key gave one task (promise 4) */
#pragma once

#include "../../wire/msg.h"

struct ledger;

enum { LEDGER_PAYLOAD_MIN = 24 };

struct ledger *ledger_new(uint64_t seed);
void ledger_free(struct ledger *l);
/* The queue is fair, and nothing is lost on its way: C13 is checked, with this bound. */
void ledger_fair(struct ledger *l, uint32_t bound);

/* key, order: 0 = none. lane: 0 = anybody's; LEDGER_LANE_CLOSED is not served before the end. after: a serial; group, callback_of:
 * numbers of groups; 0 = none. run_anyway: a bad end does not cancel it. */
struct ledger_task {
	uint32_t size; uint8_t priority; bool delayed; uint64_t key; uint32_t order; uint8_t lane;
	uint64_t after, group, callback_of; bool run_anyway; uint8_t principal;
};
enum { LEDGER_LANES = 4, LEDGER_LANE_CLOSED = 4, LEDGER_ORDERS = 12, LEDGER_PRINCIPALS = 4, LEDGER_PRIORITIES = 32,
       LEDGER_ATTEMPTS_MAX = 4 };
/* A new task: returns its serial and fills its payload (size >= LEDGER_PAYLOAD_MIN). */
uint64_t ledger_submit(struct ledger *l, const struct ledger_task *task, uint8_t *payload_out);
void ledger_confirmed(struct ledger *l, uint64_t serial, uint64_t task, bool duplicate);
void ledger_refused(struct ledger *l, uint64_t serial, uint16_t code);
/* A worker (its connection's number) received this; returns the serial. `lanes`: bits of those it has declared lately. */
uint64_t ledger_delivered(struct ledger *l, uint32_t worker, uint32_t lanes, struct task_ref ref, struct span payload);
/* The worker sent a settling report with this token. */
void ledger_reported(struct ledger *l, struct task_ref ref, enum report_verb verb);
/* The broker's answer to a settling report. */
void ledger_answered(struct ledger *l, struct task_ref ref, enum report_verb verb, uint16_t code);

struct ledger_counts { uint64_t submitted, confirmed, refused, delivered, settled, stale_refused; };
void ledger_counts(const struct ledger *l, struct ledger_counts *out);
/* Serials confirmed, not settled; the driver asks the broker for their state and says so. */
uint64_t ledger_next_open(const struct ledger *l, uint64_t from, uint64_t *task_out); /* 0 = no more */
void ledger_state(struct ledger *l, uint64_t serial, enum task_state state);
void ledger_final(struct ledger *l);

/* NULL, or the first violation in words. */
const char *ledger_violation(const struct ledger *l);
