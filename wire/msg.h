/* wire/msg.h: messages as plain structs. Nothing above this line sees a FlatBuffer.
 *
 * msg_decode verifies the meta part (bounds, depth and table limits, required fields, UTF-8-free strings are
 * bytes) and fills a plain struct whose spans and vectors borrow the frame. msg_encode_* append a whole frame
 * to a struct buf. The cold messages go through generated C++ in wire/codec.cc behind this header (no C++ run
 * time is needed to link it); SUBMIT, CONFIRMS, CREDIT, DELIVER, REPORT and REPORTED are built in C from
 * fixed templates (wire/codec_hot.c), and a differential fuzz target holds them against the official library.
 *
 * Vectors of wire structs are borrowed in place: the C mirrors below have the very layout of the schema
 * (checked at compile time in codec.cc), little-endian. They may be only 4-aligned in hostile input: verified
 * to be 8-aligned for structs with 64-bit members before they are handed out.
 * Names: strings are spans without a terminating zero; an absent string is {NULL, 0}. */
#pragma once

#include "frame.h"
#include "msg_schedule.h"
#include "msg_type.h"
#include "msg_access.h"
#include "queue_settings.h"

enum task_state {
	TASK_UNKNOWN, TASK_SCHEDULED, TASK_READY, TASK_LEASED, TASK_STARTED,
	TASK_DONE, TASK_FAILED, TASK_CANCELLED, TASK_EXPIRED, TASK_LOST, TASK_DEAD,
	TASK_STATES
};
/* "ready", "done" ...; unknown values give "unknown". Static strings. */
const char *task_state_name(uint32_t state);

enum confirm_level { CONFIRM_DURABLE, CONFIRM_ACCEPTED, CONFIRM_NONE };
enum report_verb { REPORT_NONE, REPORT_START, REPORT_COMPLETE, REPORT_FAIL, REPORT_RELEASE, REPORT_REJECT,
		   REPORT_EXTEND, REPORT_CANCELLED, REPORT_PROGRESS, REPORT_LOG, REPORT_YIELD, REPORT_PAUSED, REPORT_RESUMED,
		   REPORT_LAST = REPORT_RESUMED };
enum signal_kind { SIGNAL_NONE, SIGNAL_CANCEL, SIGNAL_LEASE_LOST, SIGNAL_DEADLINE_SOON, SIGNAL_DRAIN, SIGNAL_INTERRUPT,
		   SIGNAL_PAUSE, SIGNAL_RESUME, SIGNAL_STEP, SIGNAL_STOP, SIGNAL_LAST = SIGNAL_STOP };
enum { REPORT_FLAG_DELAY = 1, REPORT_FLAG_BLOB = 2, REPORT_FLAG_REFERENCE = 4, REPORT_FLAGS = 7 };
/* What the bytes of a payload, a result, a yield or an answer are. */
enum payload_kind { PAYLOAD_INLINE, PAYLOAD_BLOB, PAYLOAD_REFERENCE, PAYLOAD_KINDS };
/* What the flags of a report say of its bytes. */
static inline uint8_t report_payload_kind(uint8_t flags)
{
	return flags & REPORT_FLAG_BLOB ? PAYLOAD_BLOB : flags & REPORT_FLAG_REFERENCE ? PAYLOAD_REFERENCE : PAYLOAD_INLINE;
}
enum redelivery { REDELIVERY_DEFAULT, REDELIVERY_NEVER, REDELIVERY_SAFE }; /* default: the queue's setting */
enum on_failure { ON_FAILURE_CANCEL, ON_FAILURE_RUN };
enum verb {
	VERB_NONE, VERB_TASK_SHOW, VERB_TASK_LIST, VERB_TASK_CANCEL, VERB_TASK_RETRY, VERB_TASK_PEEK,
	VERB_QUEUE_LIST, VERB_QUEUE_SHOW, VERB_QUEUE_CREATE, VERB_QUEUE_SET, VERB_QUEUE_PURGE, VERB_QUEUE_PAUSE,
	VERB_QUEUE_RESUME, VERB_QUEUE_PEEK, VERB_QUEUE_REMOVE, VERB_DLQ_LIST, VERB_DLQ_REDRIVE, VERB_DLQ_PURGE,
	VERB_STATS, VERB_WORKER_LIST, VERB_CHECKPOINT,
	VERB_WORKER_DRAIN = 30, VERB_WORKER_KICK, VERB_WORKER_SHOW, VERB_WORKER_STOP, VERB_WORKER_BLOCK, VERB_WORKER_UNBLOCK,
	VERB_WORKER_BLOCKED, VERB_ENTRY_REMOVE,
	VERB_TASK_WHY = 40,
	VERB_TASK_INTERRUPT = 45, VERB_TASK_PAUSE = 46, VERB_TASK_RESUME = 47, VERB_TASK_STEP = 48, VERB_TASK_TREE = 49,
	VERB_TYPE_REGISTER = 55, VERB_TYPE_LIST, VERB_TYPE_SHOW, VERB_TYPE_CHECK, VERB_TYPE_DIFF, VERB_TYPE_REMOVE,
	VERB_QUEUE_BIND = 65, VERB_QUEUE_UNBIND, VERB_TOPIC_LIST, VERB_SUBSCRIPTION_ADD, VERB_SUBSCRIPTION_REMOVE,
	VERB_SCHEDULE_ADD = 75, VERB_SCHEDULE_LIST, VERB_SCHEDULE_SHOW, VERB_SCHEDULE_REMOVE, VERB_SCHEDULE_PAUSE,
	VERB_SCHEDULE_RESUME, VERB_SCHEDULE_RUN,
	VERB_GROUP_LIST = 85, VERB_GROUP_SHOW, VERB_GROUP_MEMBERS, VERB_GROUP_CANCEL,
	VERB_REDRIVE_START = 90, VERB_REDRIVE_LIST, VERB_REDRIVE_STOP,
	VERB_NODE_RELOAD = 110,
	VERB_PRINCIPAL_ADD = 130, VERB_PRINCIPAL_SET, VERB_PRINCIPAL_REMOVE, VERB_PRINCIPAL_LIST, VERB_TOKEN_ADD, VERB_TOKEN_ROTATE,
	VERB_TOKEN_REMOVE, VERB_TOKEN_LIST, VERB_RULE_ADD, VERB_RULE_REMOVE, VERB_RULE_LIST, VERB_ACCESS_TEST, VERB_ACCESS_TOKEN,
	VERB_QUEUE_WEIGH = 150,
	VERB_BLOB_LIST = 160, VERB_BLOB_SHOW, VERB_BLOB_PIN, VERB_BLOB_UNPIN, VERB_BLOB_REMOVE, VERB_BLOB_COLLECT, VERB_BLOB_SCRUB,
	VERB_LAST = VERB_BLOB_SCRUB
};

struct u32s { const uint32_t *at; uint32_t count; };
struct u64s { const uint64_t *at; uint32_t count; };

struct task_ref { uint64_t task; uint32_t attempt, epoch; };
struct confirm_run { uint64_t first_seq, first_task; uint32_t count; uint16_t code; uint8_t level, duplicate; };
struct result_item { uint64_t task; uint32_t size, app_code; uint16_t code; uint8_t state, failed; uint32_t yields; };
struct credit_item { uint32_t entry, credit; };
struct deliver_item { uint64_t task; uint32_t attempt, size; };
struct report_item { struct task_ref ref; uint32_t size, app_code, delay_ms; uint8_t verb, flags; uint16_t class_code; };
struct reported_item { struct task_ref ref; uint16_t code; uint8_t verb, state; uint32_t number; };
struct signal_item { struct task_ref ref; uint8_t signal, pad0; uint16_t code; uint32_t left_ms; };
_Static_assert(sizeof(struct task_ref) == 16 && sizeof(struct confirm_run) == 24, "wire layout");
_Static_assert(sizeof(struct result_item) == 24 && sizeof(struct deliver_item) == 16, "wire layout");
_Static_assert(sizeof(struct report_item) == 32 && sizeof(struct reported_item) == 24, "wire layout");
_Static_assert(sizeof(struct signal_item) == 24, "wire layout");

struct msg_hello {
	uint16_t versions[8]; uint32_t version_count; /* the first eight are enough */
	uint64_t features; uint8_t session[16]; struct span client, token; bool resume;
	struct span vnet;
	struct span identity; bool force;
	struct span release;
};
struct msg_welcome {
	uint16_t version; uint64_t features; struct span node; uint32_t epoch; bool resumed;
	uint32_t heartbeat_ms, grace_ms, payload_max, frame_payload_max, window_max; struct span broker;
	uint64_t address;
	uint32_t blob_above, blob_chunk; uint64_t blob_max;
	uint64_t store;
};
struct msg_error { uint16_t code; struct span text; uint16_t kind; bool fatal; uint32_t retry_after_ms; };
struct msg_ping { uint64_t echo; };
struct msg_goodbye { uint16_t code; struct span text; uint32_t retry_after_ms; };

struct task_header { struct span name, value; };
struct task_head {
	struct span type, queue, key, trace, correlation;
	uint64_t fingerprint, delay_ms, expires_ms, execution_ms, retention_ms;
	uint16_t max_attempts; uint8_t priority; bool want_result;
	struct task_header headers[LIMIT_HEADERS]; uint32_t header_count;
	uint64_t parent, heartbeat_ms, close_ms; uint8_t redelivery; bool want_updates;
	struct span requirements, order_key, hot, sticky;
	/* What it comes after. The bytes of u64 and u32 values, little-endian, at any alignment. */
	struct span after, after_back, group, after_group; uint64_t group_size; uint8_t on_failure;
	uint8_t payload; /* enum payload_kind */
	bool fail_fast;
	struct span vnet; uint64_t scope; /* not sent: where the broker puts it, and whose keys they are; empty and 0: default, anybody's */
};
struct msg_submit {
	uint64_t producer, first_seq, resolved_below; uint8_t confirm;
	struct span head; /* TaskHead bytes, verified: task_head_decode cannot fail on them */
	struct u32s sizes; uint32_t crc; bool crc_known; /* decoded: the crc is that of the payload part */
};
struct msg_confirms { uint64_t producer; const struct confirm_run *runs; uint32_t run_count; struct span text; uint32_t retry_after_ms; };
struct msg_tasks { struct u64s tasks; bool want_updates; struct u32s from_yield; }; /* AWAIT, FORGET (the tasks alone) */
struct msg_results {
	const struct result_item *items; uint32_t count; uint32_t crc;
	const uint8_t *kinds; uint32_t kind_count; /* none, or one for each item */
};
struct wire_entry {
	uint32_t id; struct span service; bool by_queue; uint32_t credit, capacity, cost; struct span params;
	const struct span *vnets, *hot; uint32_t vnet_count, hot_count; /* decoded: in msg_serve.texts, so not for copies of it */
};
struct msg_serve {
	struct wire_entry entries[LIMIT_SESSION_ENTRIES]; uint32_t count;
	const struct task_ref *held; uint32_t held_count; bool has_held;
	struct span texts[LIMIT_SERVE_TEXTS]; /* decoded vnets and hot */
};
/* ---- what becomes known of a task while it runs ---- */
enum update_kind { UPDATE_NONE, UPDATE_PROGRESS, UPDATE_LOG, UPDATE_YIELD, UPDATE_STATE, UPDATE_LAST = UPDATE_STATE };
enum phase { PHASE_NONE, PHASE_STARTED, PHASE_CANCELLING, PHASE_INTERRUPTING, PHASE_PAUSING, PHASE_PAUSED, PHASE_RESUMING,
	     PHASE_STEPPING, PHASE_RETRY, PHASES };
const char *phase_name(uint32_t phase); /* "paused" ...; "" for none and unknown values. Static strings. */
enum { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERROR, LOG_LEVELS };
struct update_item { uint64_t task; uint32_t number, size; uint8_t kind, level; uint16_t code; uint8_t payload, pad[3]; };
_Static_assert(sizeof(struct update_item) == 24, "wire layout");
struct msg_updates { const struct update_item *items; uint32_t count; uint32_t crc; };

struct msg_credit { const struct credit_item *items; uint32_t count; };
struct msg_deliver {
	uint32_t entry, epoch, lease_ms; struct span head, queue;
	const struct deliver_item *items; uint32_t count; uint32_t crc; bool crc_known; /* to encode: not summed up again */
	const uint32_t *yields; uint32_t yield_count; /* none, or one for each item */
	bool once; /* they are never handed out again */
};
struct msg_report { const struct report_item *items; uint32_t count; uint32_t crc; };
struct msg_reported { const struct reported_item *items; uint32_t count; struct span text; uint32_t retry_after_ms; };
struct msg_signals { const struct signal_item *items; uint32_t count; struct span text; };

struct msg_request {
	uint16_t verb; struct span name; struct u64s tasks; uint8_t state; uint64_t cursor; uint32_t limit, rate;
	struct queue_settings settings; struct span text;
	struct span type; uint16_t code; bool tree; struct span spec;
	uint64_t session;
};
struct attempt_info { uint64_t time_ms; uint32_t attempt, app_code; uint16_t code; struct span worker, text; };
struct task_info {
	uint64_t task; uint8_t state, priority; struct span type, queue, reason, worker, result, payload, key;
	uint64_t submitted_ms, ready_ms, expires_ms, settled_ms;
	uint32_t acquired, failed, max_attempts, size, app_code; uint16_t code;
	uint64_t parent, root; struct span progress_text; uint32_t progress, yields; uint8_t phase;
	struct attempt_info attempts[LIMIT_HISTORY]; uint32_t attempt_count;
	uint32_t waits; uint64_t waits_for; struct span group, after_group;
	uint8_t payload_kind, result_kind; /* enum payload_kind */
};
struct queue_info {
	struct span name; bool paused; struct queue_settings settings;
	uint64_t ready, leased, scheduled, dead;
	uint64_t submitted_total, done_total, failed_total, expired_total, cancelled_total, dead_total;
	uint32_t workers;
	uint64_t blocked;
	struct span weights; /* PATTERN=WEIGHT lines; only of VERB_QUEUE_SHOW */
};
struct worker_info {
	struct span name, address; struct span entries[16]; uint32_t entry_count; uint64_t credit, leased, connected_ms;
	uint64_t session; struct span vnet; uint32_t calls; bool away, draining;
};
enum { TOPIC_KIND_TASKS = 1, TOPIC_KIND_EVENTS = 2 };
struct topic_info { uint8_t kind; struct span queue, pattern, vnet; };
struct stat_item { struct span name; double value; };
struct msg_reply {
	uint16_t code; struct span text; uint64_t count, next; uint32_t retry_after_ms;
	/* Encoding: arrays owned by the caller. Decoding: counts only; read items with msg_reply_*. */
	const struct task_info *tasks; uint32_t task_count;
	const struct queue_info *queues; uint32_t queue_count;
	const struct worker_info *workers; uint32_t worker_count;
	const struct topic_info *topics; uint32_t topic_count;
	const struct stat_item *stats; uint32_t stat_count;
	const struct span *specs; uint32_t spec_count;
	struct span meta; /* decoding: where the items are */
};

#include "msg_event.h"
#include "msg_why.h"
#include "msg_redrive.h"
#include "msg_group.h"
#include "msg_directory.h"
#include "msg_call.h"
#include "msg_worker.h"
#include "msg_blob.h"

struct msg {
	enum frame_kind kind;
	union {
		struct msg_hello hello; struct msg_welcome welcome; struct msg_error error; struct msg_ping ping;
		struct msg_goodbye goodbye; struct msg_submit submit; struct msg_confirms confirms;
		struct msg_tasks tasks; struct msg_results results; struct msg_serve serve; struct msg_credit credit;
		struct msg_deliver deliver; struct msg_report report; struct msg_reported reported;
		struct msg_signals signals; struct msg_request request; struct msg_reply reply; struct msg_updates updates;
		struct msg_subscribe subscribe; struct msg_subscribed subscribed; struct msg_unsubscribe unsubscribe;
		struct msg_publish publish; struct msg_published published; struct msg_events events;
		struct msg_credit event_credit; struct msg_interest interest;
		struct msg_watch watch; struct msg_unwatch unwatch; struct msg_changes changes;
		struct msg_call call; struct msg_invoke invoke; struct msg_answer answer; struct msg_call_cancel call_cancel;
		struct msg_bind bind; struct msg_binding binding; struct msg_unbind unbind;
		struct msg_blob_put blob_put; struct msg_blob_state blob_state; struct msg_blob_chunk blob_chunk;
		struct msg_blob_end blob_end; struct msg_blob_get blob_get; struct msg_blob_data blob_data;
		struct msg_blob_more blob_more;
	};
};

/* Verifies and reads the meta part of a frame. ERR_UNKNOWN_KIND, ERR_MALFORMED (structure), ERR_TOO_BIG,
 * ERR_INVALID_INPUT (a value) or ERR_UNSUPPORTED (a REQUEST verb), with the message and field in text. Also checks
 * what needs no state: counts within limits, sizes that add up to the payload part (they do where
 * sum <= payload.len < sum + 8; the rest is zero padding), and the crc (ERR_INTEGRITY_MISMATCH).
 * frame->meta must be 8-aligned in memory (ENSUREd): parse frames in an 8-aligned buffer, where every frame is so.
 * Borrows the frame for as long as *out is used. */
enum err msg_decode(const struct frame *frame, struct msg *out, char text[128]) MUST_CHECK;

/* Verifies and reads TaskHead bytes. */
enum err task_head_decode(struct span head, struct task_head *out, char text[128]) MUST_CHECK;
/* Appends TaskHead bytes (no frame), a multiple of 8 long. */
void task_head_encode(struct buf *out, const struct task_head *head);

/* The same for EventHead bytes. */
enum err event_head_decode(struct span head, struct event_head *out, char text[128]) MUST_CHECK;
void event_head_encode(struct buf *out, const struct event_head *head);

/* Items of a decoded Reply; index is below the count. */
void msg_reply_task(const struct msg_reply *reply, uint32_t index, struct task_info *out);
void msg_reply_queue(const struct msg_reply *reply, uint32_t index, struct queue_info *out);
void msg_reply_worker(const struct msg_reply *reply, uint32_t index, struct worker_info *out);
void msg_reply_topic(const struct msg_reply *reply, uint32_t index, struct topic_info *out);
void msg_reply_stat(const struct msg_reply *reply, uint32_t index, struct stat_item *out);
struct span msg_reply_spec(const struct msg_reply *reply, uint32_t index);

/* Appends one whole frame. For kinds with a payload part `payload` pieces are appended in order, and the crc
 * field is computed here. HELLO, WELCOME, ERROR, PING, PONG, GOODBYE, AWAIT, FORGET, SERVE, SIGNALS, REQUEST, REPLY
 * ignore it. msg->kind chooses. Never fails: the caller keeps within the limits (ENSUREd). For a
 * REPLY that means LIMIT_META_BYTES, and LIMIT_FB_TABLES tables (the Reply is one, a queue two, other items one each). */
void msg_encode(struct buf *out, const struct msg *msg, uint32_t correlation,
		const struct span *payload, uint32_t payload_count);

/* The hot ones, without filling a struct msg (a struct msg is large). Same result as msg_encode. */
void msg_encode_submit(struct buf *out, const struct msg_submit *m, const struct span *payload, uint32_t payload_count);
void msg_encode_confirms(struct buf *out, const struct msg_confirms *m);
void msg_encode_credit(struct buf *out, const struct msg_credit *m);
void msg_encode_deliver(struct buf *out, const struct msg_deliver *m, const struct span *payload, uint32_t payload_count);
void msg_encode_report(struct buf *out, const struct msg_report *m, const struct span *payload, uint32_t payload_count);
void msg_encode_reported(struct buf *out, const struct msg_reported *m);
void msg_encode_results(struct buf *out, const struct msg_results *m, const struct span *payload, uint32_t payload_count);
/* A CALL, an INVOKE or an ANSWER. */
void msg_encode_call(struct buf *out, const struct msg_call *m, const struct span *payload, uint32_t payload_count);
void msg_encode_invoke(struct buf *out, const struct msg_invoke *m, const struct span *payload, uint32_t payload_count);
void msg_encode_answer(struct buf *out, const struct msg_answer *m, const struct span *payload, uint32_t payload_count);
void msg_encode_publish(struct buf *out, const struct msg_publish *m, const struct span *payload, uint32_t payload_count);
void msg_encode_events(struct buf *out, const struct msg_events *m, const struct span *payload, uint32_t payload_count);
void msg_encode_updates(struct buf *out, const struct msg_updates *m, const struct span *payload, uint32_t payload_count);
