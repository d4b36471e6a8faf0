/* tests/unit/wire_samples.h: one sample of every message kind, and a comparison of plain structs.
 * Shared by the codec tests and by the golden bytes; a change here changes golden files (tests/golden/README). */
#pragma once

#include "../../wire/msg.h"

#define SAMPLE_KINDS(X)                                                                                   \
	X(HELLO) X(WELCOME) X(ERROR) X(PING) X(PONG) X(GOODBYE) X(SUBMIT) X(CONFIRMS) X(AWAIT) X(FORGET) \
	X(RESULTS) X(UPDATES) X(SERVE) X(CREDIT) X(DELIVER) X(REPORT) X(REPORTED) X(SIGNALS) X(REQUEST) X(REPLY) \
	X(SUBSCRIBE) X(SUBSCRIBED) X(UNSUBSCRIBE) X(PUBLISH) X(PUBLISHED) X(EVENTS) X(EVENT_CREDIT) X(INTEREST) \
	X(WATCH) X(UNWATCH) X(CHANGES) X(CALL) X(ANSWER) X(INVOKE) X(CALL_CANCEL) X(BIND) X(BINDING) X(UNBIND) \
	X(BLOB_PUT) X(BLOB_STATE) X(BLOB_CHUNK) X(BLOB_END) X(BLOB_GET) X(BLOB_DATA) X(BLOB_MORE)

static const uint16_t sample_kinds[] = {
#define X(name) FRAME_##name,
	SAMPLE_KINDS(X)
#undef X
};

enum { SAMPLE_CORRELATION = 0x04030201 };

static const uint32_t sample_sizes[] = { 5, 0, 3 };
static const struct span sample_pieces[] = {
	{ (const uint8_t *)"hello", 5 },
	{ NULL, 0 },
	{ (const uint8_t *)"abc", 3 },
};
static const uint64_t sample_tasks[] = { 1, 0x8000000000000000u, 77 };
static const struct confirm_run sample_runs[] = {
	{ .first_seq = 10, .first_task = 100, .count = 7, .code = ERR_OK, .level = CONFIRM_DURABLE },
	{ .first_seq = 17, .count = 1, .code = ERR_QUEUE_FULL, .level = CONFIRM_ACCEPTED },
	{ .first_seq = 18, .first_task = 50, .count = 2, .level = CONFIRM_DURABLE, .duplicate = 1 },
};
static const struct result_item sample_results[] = {
	{ .task = 100, .size = 5, .state = TASK_DONE, .yields = 12 },
	{ .task = 101, .app_code = 9, .code = ERR_TRANSIENT, .state = TASK_FAILED, .failed = 3 },
	{ .task = 102, .size = 3, .code = ERR_NOT_FOUND, .state = TASK_UNKNOWN, .failed = 255 },
};
static const struct span sample_names[] = { { (const uint8_t *)"lab", 3 }, { (const uint8_t *)"llama-3", 7 } };
static const struct update_item sample_updates[] = {
	{ .task = 100, .number = 7, .size = 5, .kind = UPDATE_YIELD },
	{ .task = 100, .number = 2, .kind = UPDATE_STATE, .level = PHASE_RETRY, .code = ERR_TRANSIENT },
	{ .task = 101, .number = 500000, .size = 3, .kind = UPDATE_PROGRESS },
};
static const uint32_t sample_yields[] = { 0, 12, 1 };
static const struct task_ref sample_held[] = { { 77, 1, 4 }, { 78, 2, 4 } };
static const struct credit_item sample_credit[] = { { 1, 100 }, { 2, LIMIT_ENTRY_CREDIT } };
static const struct deliver_item sample_deliver[] = {
	{ .task = 100, .attempt = 1, .size = 5 },
	{ .task = 101, .attempt = 2, .size = 0 },
	{ .task = 103, .attempt = 1, .size = 3 },
};
static const struct report_item sample_reports[] = {
	{ .ref = { 100, 1, 4 }, .size = 5, .verb = REPORT_COMPLETE },
	{ .ref = { 101, 2, 4 }, .delay_ms = 250, .verb = REPORT_RELEASE, .flags = REPORT_FLAG_DELAY },
	{ .ref = { 103, 1, 4 }, .size = 3, .app_code = 42, .verb = REPORT_FAIL, .class_code = ERR_PERMANENT },
};
static const struct reported_item sample_reported[] = {
	{ .ref = { 100, 1, 4 }, .code = ERR_OK, .verb = REPORT_COMPLETE, .state = TASK_DONE },
	{ .ref = { 100, 1, 4 }, .code = ERR_AGAIN, .verb = REPORT_YIELD, .state = TASK_STARTED, .number = 6 },
	{ .ref = { 101, 2, 4 }, .code = ERR_STALE_LEASE, .verb = REPORT_EXTEND, .state = TASK_READY },
};
static const struct signal_item sample_signals[] = {
	{ .ref = { 100, 1, 4 }, .signal = SIGNAL_CANCEL, .code = ERR_CANCELLED },
	{ .ref = { 0, 0, 0 }, .signal = SIGNAL_DRAIN },
	{ .ref = { 102, 1, 4 }, .signal = SIGNAL_DEADLINE_SOON, .left_ms = 900 },
};
static const struct span sample_specs[] = { { (const uint8_t *)"one", 3 }, { (const uint8_t *)"two!", 4 } };
static const struct topic_info sample_topics[] = {
	{ .kind = TOPIC_KIND_TASKS, .queue = { (const uint8_t *)"q", 1 }, .pattern = { (const uint8_t *)"a.*", 3 } },
	{ .kind = TOPIC_KIND_EVENTS, .queue = { (const uint8_t *)"r", 1 }, .pattern = { (const uint8_t *)"*", 1 },
	  .vnet = { (const uint8_t *)"blue", 4 } },
};
static const struct stat_item sample_stats[] = {
	{ .name = { (const uint8_t *)"tasks_ready", 11 }, .value = 12.5 },
	{ .name = { (const uint8_t *)"turns", 5 }, .value = 1e9 },
};

static inline void sample_head(struct task_head *h)
{
	*h = (struct task_head){
		.type = span_str("media.v1.Transcode"), .queue = span_str("media"), .priority = 31,
		.fingerprint = 0x1122334455667788u, .delay_ms = 10, .expires_ms = 20, .execution_ms = 30,
		.retention_ms = 40, .max_attempts = 5, .want_result = true,
		.trace = span_str("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		.correlation = span_str("order 17"),
		.requirements = span_str("gpu == \"A100\" && vram_gb >= 40"), .order_key = span_str("customer 4"),
		.hot = span_str("llama-70b"), .sticky = span_str("chat 9"),
		.headers = { { span_str("lang"), span_str("de") }, { span_str("empty"), span_str("") } },
		.header_count = 2, .redelivery = REDELIVERY_NEVER, .want_updates = true, .parent = 99, .heartbeat_ms = 50,
		.close_ms = 60, .fail_fast = true,
	};
}

static inline struct task_info sample_task_info(void)
{
	return (struct task_info){
		.task = 100, .state = TASK_DEAD, .priority = 7, .type = span_str("t"), .queue = span_str("q"),
		.reason = span_str("broken"), .worker = span_str("w"), .result = span_of("\0\1\2", 3),
		.payload = span_str("payload"), .key = span_str("k"), .submitted_ms = 1, .ready_ms = 2,
		.expires_ms = 3, .settled_ms = 4, .acquired = 5, .failed = 6, .max_attempts = 7, .size = 8,
		.app_code = 9, .code = ERR_LOST, .parent = 10, .root = 11, .phase = PHASE_PAUSED, .progress = 12,
		.progress_text = span_str("half"), .yields = 13, .attempt_count = 2,
		.payload_kind = PAYLOAD_BLOB, .result_kind = PAYLOAD_REFERENCE,
		.attempts = { { 1, 2, 3, ERR_TRANSIENT, span_str("w1"), span_str("shaky") }, { .attempt = 3 } },
	};
}

static inline struct queue_info sample_queue_info(void)
{
	return (struct queue_info){
		.name = span_str("q"), .paused = true,
		.settings = { .length_max = 1000, .max_attempts = 5, .lease_ms = 30000, .backoff_min_ms = 100,
			      .backoff_max_ms = 60000, .expires_ms = -1, .retention_ms = 3600000 },
		.ready = 1, .leased = 2, .scheduled = 3, .dead = 4, .submitted_total = 5, .done_total = 6,
		.failed_total = 7, .expired_total = 8, .cancelled_total = 9, .dead_total = 10, .workers = 11, .weights = span_str("a=3\n"),
	};
}

static inline struct worker_info sample_worker_info(void)
{
	return (struct worker_info){
		.name = span_str("w"), .address = span_str("127.0.0.1:5"),
		.entries = { span_str("a.v1.A"), span_str("b.v1.B") }, .entry_count = 2, .credit = 1,
		.leased = 2, .connected_ms = 3, .session = 9, .vnet = span_str("lab"), .calls = 4, .away = true, .draining = true,
	};
}

/* Fills *m with the sample of `kind`. `head` keeps TaskHead bytes that the message borrows; the pieces of the
 * payload part, where the kind has one, are sample_pieces. Arrays of a REPLY are in *space. */
struct sample_space {
	struct buf head;
	struct task_info tasks[2];
	struct queue_info queues[2];
	struct worker_info workers[2];
};

static inline bool sample_has_payload(uint16_t kind)
{
	return kind == FRAME_SUBMIT || kind == FRAME_RESULTS || kind == FRAME_DELIVER || kind == FRAME_REPORT ||
	       kind == FRAME_UPDATES || kind == FRAME_PUBLISH || kind == FRAME_EVENTS || kind == FRAME_CALL ||
	       kind == FRAME_INVOKE || kind == FRAME_ANSWER || kind == FRAME_BLOB_CHUNK || kind == FRAME_BLOB_DATA;
}

/* The kinds that codec_hot.c builds, so that the official library is a second encoder for them. */
static inline bool sample_is_hot(uint16_t kind)
{
	bool event = kind == FRAME_PUBLISH || kind == FRAME_EVENTS || kind >= FRAME_CALL;
	return (sample_has_payload(kind) && !event) || kind == FRAME_CONFIRMS || kind == FRAME_CREDIT || kind == FRAME_REPORTED;
}

static inline void sample_session_message(uint16_t kind, struct msg *m)
{
	if (kind == FRAME_HELLO)
		m->hello = (struct msg_hello){
			.versions = { 1, 2, 3 }, .version_count = 3, .features = 5,
			.session = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 },
			.client = span_str("test"), .token = span_str("secret"), .resume = true,
			.vnet = span_str("lab"),
			.identity = span_str("press 4"), .force = true, .release = span_str("press 2.1"),
		};
	else if (kind == FRAME_WELCOME)
		m->welcome = (struct msg_welcome){
			.version = 1, .features = 3, .node = span_str("n1"), .epoch = 4, .resumed = true,
			.heartbeat_ms = 5000, .grace_ms = 30000, .payload_max = LIMIT_PAYLOAD_BYTES,
			.frame_payload_max = LIMIT_FRAME_PAYLOAD, .window_max = LIMIT_PRODUCER_WINDOW,
			.broker = span_str("hillockd 0.1.0"), .address = 0x400000007u, .blob_above = 262144,
			.blob_chunk = LIMIT_BLOB_CHUNK, .blob_max = 1ull << 36,
			.store = 0x1234567890abcdefu,
		};
	else if (kind == FRAME_ERROR)
		m->error = (struct msg_error){ ERR_MALFORMED, span_str("SUBMIT.sizes: empty"), FRAME_SUBMIT, true, 0 };
	else if (kind == FRAME_GOODBYE)
		m->goodbye = (struct msg_goodbye){ ERR_UNAVAILABLE, span_str("restarting"), 1500 };
	else
		m->ping = (struct msg_ping){ 0xfedcba9876543210u };
}

static inline void sample_task_message(uint16_t kind, struct msg *m, struct span head)
{
	if (kind == FRAME_SUBMIT)
		m->submit = (struct msg_submit){ .producer = 9, .first_seq = 1000, .resolved_below = 990,
						 .confirm = CONFIRM_ACCEPTED, .head = head,
						 .sizes = { sample_sizes, 3 } };
	else if (kind == FRAME_CONFIRMS)
		m->confirms = (struct msg_confirms){ 9, sample_runs, 3, span_str("queue q is full"), 0 };
	else if (kind == FRAME_RESULTS)
		m->results = (struct msg_results){ .items = sample_results, .count = 3 };
	else if (kind == FRAME_UPDATES)
		m->updates = (struct msg_updates){ .items = sample_updates, .count = 3 };
	else if (kind == FRAME_SERVE)
		m->serve = (struct msg_serve){ .entries = {
			{ .id = 1, .service = span_str("media.v1.Transcode"), .credit = 10, .params = span_str("gpu=A100, vram_gb=80"),
			  .vnets = sample_names, .vnet_count = 2, .capacity = 3, .cost = 5, .hot = sample_names + 1, .hot_count = 1 },
			{ .id = 7, .service = span_str("mail"), .by_queue = true } }, .count = 2,
					      .held = sample_held, .held_count = 2, .has_held = true };
	else if (kind == FRAME_CREDIT)
		m->credit = (struct msg_credit){ sample_credit, 2 };
	else if (kind == FRAME_DELIVER)
		m->deliver = (struct msg_deliver){ .entry = 7, .epoch = 4, .lease_ms = 30000, .head = head,
						   .queue = span_str("media"), .items = sample_deliver, .count = 3,
						   .yields = sample_yields, .yield_count = 3, .once = true };
	else if (kind == FRAME_REPORT)
		m->report = (struct msg_report){ .items = sample_reports, .count = 3 };
	else if (kind == FRAME_REPORTED)
		m->reported = (struct msg_reported){ sample_reported, 3, span_str("the lease of 101 ran out"), 0 };
	else if (kind == FRAME_SIGNALS)
		m->signals = (struct msg_signals){ sample_signals, 3, span_str("by the operator") };
	else if (kind == FRAME_AWAIT)
		m->tasks = (struct msg_tasks){ { sample_tasks, 3 }, true, { sample_yields, 2 } };
	else
		m->tasks = (struct msg_tasks){ .tasks = { sample_tasks, 3 } };
}

static const struct published_item sample_published[] = {
	{ .number = 7, .receivers = 3, .rejected = 1, .status = PUBLISH_ACCEPTED },
	{ .number = 8, .code = ERR_TOO_BIG, .status = PUBLISH_REFUSED },
};

static inline void sample_event_head(struct event_head *h)
{
	*h = (struct event_head){
		.type = span_str("media.v1.Done"), .key = span_str("film 3"), .fingerprint = 0x1122334455667788u,
		.trace = span_str("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
		.correlation = span_str("order 17"),
		.headers = { { span_str("lang"), span_str("de") } }, .header_count = 1,
	};
}

static inline void sample_event_message(uint16_t kind, struct msg *m, struct span head)
{
	const struct u32s sizes = { sample_sizes, 3 };
	if (kind == FRAME_SUBSCRIBE)
		m->subscribe = (struct msg_subscribe){ .subscription = 3, .credit = 100, .queue_max = 50, .queue_bytes = 4096,
						       .fingerprint = 9, .pattern = span_str("media.v1.Done"),
						       .overflow = OVERFLOW_REJECT, .descendants = true, .unlimited = true,
						       .retained = true };
	else if (kind == FRAME_SUBSCRIBED)
		m->subscribed = (struct msg_subscribed){ 3, ERR_TOO_BIG, true, true, 10, 7, 2, span_str("too many") };
	else if (kind == FRAME_UNSUBSCRIBE)
		m->unsubscribe = (struct msg_unsubscribe){ 3 };
	else if (kind == FRAME_PUBLISH)
		m->publish = (struct msg_publish){ .number = 7, .origin = 5, .id = { 5, 1000 }, .retain = true, .confirm = true,
						   .elsewhere = true, .interest = true, .head = head, .sizes = sizes };
	else if (kind == FRAME_PUBLISHED)
		m->published = (struct msg_published){ sample_published, 2, span_str("a payload is too big"), 0 };
	else if (kind == FRAME_EVENTS)
		m->events = (struct msg_events){ .id = { 5, 1000 }, .origin = 5, .retained = true, .head = head,
						 .sizes = sizes, .matched = 1, .delivered = 2, .dropped = 3 };
	else if (kind == FRAME_EVENT_CREDIT)
		m->event_credit = (struct msg_credit){ sample_credit, 2 };
	else
		m->interest = (struct msg_interest){ span_str("media.v1.Done"), true, true, 2000, 77 };
}

static const struct invoke_item sample_invokes[] = { { 70, 5, 1000 }, { 71, 0, 1000 }, { 72, 3, 999 } };
static const struct answer_item sample_answers[] = {
	{ .call = 70, .session = 9, .entry = 2, .size = 5, .app_code = 4, .more = 1 },
	{ .call = 71, .code = ERR_NOT_DELIVERED },
	{ .call = 72, .session = 9, .entry = 2, .size = 3, .code = ERR_DOES_NOT_UNDERSTAND },
};
static const struct leg sample_legs[] = { { 9, 2, 0 }, { 10, 1, 0 } };

static inline void sample_directory_message(uint16_t kind, struct msg *m)
{
	if (kind == FRAME_WATCH) {
		m->watch = (struct msg_watch){ 3, span_str("math.v1.AddOne"), span_str("gpu == A100"), true };
	} else if (kind == FRAME_UNWATCH) {
		m->unwatch = (struct msg_unwatch){ 3 };
	} else {
		memset(&m->changes, 0, sizeof m->changes);
		m->changes.watch = 3;
		m->changes.begin = m->changes.end = true;
		m->changes.before = 7;
		m->changes.revision = 9;
		m->changes.count = 2;
		m->changes.items[0] = (struct wire_change){
			.session = 9, .kind = CHANGE_JOINED, .away = true, .busy = 1, .client = span_str("adder"),
			.entry = { .id = 2, .service = span_str("math.v1.AddOne"), .credit = 10, .params = span_str("gpu=A100"),
				   .vnets = sample_names, .vnet_count = 2, .capacity = 3, .cost = 5, .hot = sample_names, .hot_count = 1 },
		};
		m->changes.items[1] = (struct wire_change){ .session = 8, .kind = CHANGE_LEFT,
							    .entry = { .id = 1, .service = span_str("x"), .by_queue = true } };
	}
}

static inline void sample_call_message(uint16_t kind, struct msg *m, struct span head)
{
	if (kind == FRAME_CALL)
		m->call = (struct msg_call){ .first = 70, .binding = 0, .deadline_ms = 1000, .all = true, .stream = true,
					     .service = span_str("math.v1.AddOne"), .where = span_str("has(x)"), .head = head,
					     .entry = 4, .sizes = { sample_sizes, 3 } };
	else if (kind == FRAME_INVOKE)
		m->invoke = (struct msg_invoke){ .entry = 2, .stream = true, .caller = 11, .client = span_str("me"), .head = head,
						 .items = sample_invokes, .count = 3 };
	else if (kind == FRAME_ANSWER)
		m->answer = (struct msg_answer){ .items = sample_answers, .count = 3 };
	else if (kind == FRAME_CALL_CANCEL)
		m->call_cancel = (struct msg_call_cancel){ { sample_tasks, 3 } };
	else if (kind == FRAME_BIND)
		m->bind = (struct msg_bind){ 5, 1, 2, 100, span_str("math.v1.AddOne"), span_str("has(x)") };
	else if (kind == FRAME_BINDING)
		m->binding = (struct msg_binding){ 5, BINDING_DEGRADED, ERR_OK, span_str("one is missing"), sample_legs, 2 };
	else
		m->unbind = (struct msg_unbind){ 5 };
}

static inline void sample_blob_message(uint16_t kind, struct msg *m)
{
	struct span digest = span_of("0123456789abcdef0123456789abcdef", BLOB_DIGEST_BYTES);
	if (kind == FRAME_BLOB_PUT)
		m->blob_put = (struct msg_blob_put){ .upload = 1, .size = 1000000, .digest = digest, .media_type = span_str("image/png"),
						     .number = 0x100000002u, .direct = true };
	else if (kind == FRAME_BLOB_STATE)
		m->blob_state = (struct msg_blob_state){ .upload = 1, .code = ERR_OK, .text = span_str("all of it"), .number = 0x100000002u,
							 .offset = 1000000, .credit = 2000000, .stored = true, .digest = digest,
							 .size = 1000000, .url = span_str("https://bucket/key"), .retry_after_ms = 5 };
	else if (kind == FRAME_BLOB_CHUNK)
		m->blob_chunk = (struct msg_blob_chunk){ .upload = 1, .size = 8, .offset = 262144 };
	else if (kind == FRAME_BLOB_END)
		m->blob_end = (struct msg_blob_end){ .upload = 1, .size = 1000000, .digest = digest };
	else if (kind == FRAME_BLOB_GET)
		m->blob_get = (struct msg_blob_get){ .read = 2, .offset = 10, .length = 20, .credit = 30, .digest = digest, .direct = true };
	else if (kind == FRAME_BLOB_DATA)
		m->blob_data = (struct msg_blob_data){ .read = 2, .size = 8, .code = ERR_OK, .end = true, .offset = 10, .total = 1000000,
						       .text = span_str("fine"), .media_type = span_str("image/png"),
						       .url = span_str("https://bucket/key") };
	else
		m->blob_more = (struct msg_blob_more){ .read = 2, .credit = 40, .cancel = true, .damaged = true };
}

static inline void sample_message(uint16_t kind, struct msg *m, struct sample_space *space)
{
	struct task_head head;
	sample_head(&head);
	space->head.len = 0;
	task_head_encode(&space->head, &head);
	m->kind = (enum frame_kind)kind;
	bool event_headed = (kind >= FRAME_SUBSCRIBE && kind <= FRAME_INTEREST) || kind >= FRAME_CALL;
	if (kind >= FRAME_BLOB_PUT) {
		sample_blob_message(kind, m);
	} else if (event_headed) {
		struct event_head event;
		sample_event_head(&event);
		space->head.len = 0;
		event_head_encode(&space->head, &event);
		(kind >= FRAME_CALL ? sample_call_message : sample_event_message)(kind, m, buf_span(&space->head));
	} else if (kind >= FRAME_WATCH) {
		sample_directory_message(kind, m);
	} else if (kind < FRAME_SUBMIT) {
		sample_session_message(kind, m);
	} else if (kind == FRAME_REQUEST) {
		m->request = (struct msg_request){
			.verb = VERB_TASK_LIST, .name = span_str("q"), .tasks = { sample_tasks, 3 },
			.state = TASK_READY, .cursor = 8, .limit = 50, .rate = 10,
			.settings = { .length_max = -1, .max_attempts = 3, .lease_ms = 0, .backoff_min_ms = 1,
			      .backoff_max_ms = 2, .expires_ms = 3, .retention_ms = 4 }, .text = span_str("why"),
			.type = span_str("t"), .code = ERR_TRANSIENT, .tree = true, .spec = span_str("spec"),
			.session = 0x300000007u,
		};
	} else if (kind == FRAME_REPLY) {
		space->tasks[0] = sample_task_info();
		space->tasks[1] = (struct task_info){ .task = 101 };
		space->queues[0] = sample_queue_info();
		space->queues[1] = (struct queue_info){ .name = span_str("r"), .settings = QUEUE_SETTINGS_UNSET };
		space->workers[0] = sample_worker_info();
		space->workers[1] = (struct worker_info){ .credit = 1 };
		m->reply = (struct msg_reply){
			.code = ERR_NOT_FOUND, .text = span_str("no such queue"), .count = 2, .next = 99,
			.tasks = space->tasks, .task_count = 2, .queues = space->queues, .queue_count = 2,
			.workers = space->workers, .worker_count = 2, .stats = sample_stats, .stat_count = 2,
			.specs = sample_specs, .spec_count = 2,
			.topics = sample_topics, .topic_count = 2,
		};
	} else {
		sample_task_message(kind, m, buf_span(&space->head));
	}
}
