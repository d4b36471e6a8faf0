/* clientlib/mock.c: the transport side of the broker in memory: frames of the client in, frames for the client out. In the
 * flow: it takes the place of socket and broker. See mock_impl.h. */
#include "mock_impl.h"

struct mock *mock_new(void)
{
	struct mock *m = calloc(1, sizeof *m);
	ENSURE(m != NULL);
	m->msg = calloc(1, sizeof *m->msg);
	ENSURE(m->msg != NULL);
	m->now_ms = 1000;
	m->epoch = 1;
	m->store = (uint64_t)(uintptr_t)m;
	return m;
}

char *mock_text(struct span s)
{
	char *text = strndup(s.len ? (const char *)s.data : "", s.len);
	ENSURE(text != NULL);
	return text;
}

/* What lives with the connection. */
static void forget(struct mock *m)
{
	mock_calls_forget(m);
	mock_directory_forget(m);
	mock_events_forget(m);
	mock_blobs_forget(m);
}

void mock_free(struct mock *m)
{
	if (!m)
		return;
	forget(m);
	mock_events_free(m);
	mock_blobs_free(m);
	mock_tasks_free(m);
	map64_free(&m->sequences, NULL);
	buf_free(&m->output);
	free(m->msg);
	free(m->identity);
	free(m);
}

void mock_connect(struct mock *m)
{
	m->welcomed = false;
	m->output.len = 0;
	m->session++;
	forget(m);
}

struct buf *mock_output(struct mock *m)
{
	return &m->output;
}

void mock_send(struct mock *m, const struct msg *msg, uint32_t correlation)
{
	msg_encode(&m->output, msg, correlation, NULL, 0);
}

void mock_error(struct mock *m, uint32_t correlation, enum frame_kind kind, enum err code, const char *text)
{
	const struct msg msg = { .kind = FRAME_ERROR, .error = { .code = (uint16_t)code, .text = span_str(text),
								 .kind = (uint16_t)kind } };
	mock_send(m, &msg, correlation);
}

void mock_send_result(struct mock *m, const struct mock_task *t)
{
	const struct result_item item = { .task = t->id, .size = (uint32_t)t->result.len, .app_code = t->app_code,
					  .code = t->code, .state = t->state, .failed = (uint8_t)MIN_OF(t->failed, 255u),
					  .yields = t->yield_count };
	const struct msg_results r = { .items = &item, .count = 1, .kinds = &t->result_kind, .kind_count = t->result_kind != 0 };
	const struct span payload = buf_span(&t->result);
	if (m->welcomed)
		msg_encode_results(&m->output, &r, &payload, 1);
}

void mock_signal(struct mock *m, const struct mock_task *t, enum signal_kind signal, enum err code)
{
	const struct signal_item item = { .ref = { t->id, t->attempt, m->epoch }, .signal = (uint8_t)signal,
					  .code = (uint16_t)code };
	const struct msg msg = { .kind = FRAME_SIGNALS, .signals = { .items = &item, .count = 1 } };
	if (m->welcomed)
		mock_send(m, &msg, 0);
}

static void hello(struct mock *m, const struct msg_hello *from)
{
	free(m->identity);
	m->identity = mock_text(from->identity);
	struct msg *msg = calloc(1, sizeof *msg);
	ENSURE(msg != NULL);
	msg->kind = FRAME_WELCOME;
	msg->welcome = (struct msg_welcome){ .version = 1, .node = span_str("mock"), .epoch = m->epoch,
		.heartbeat_ms = 3600000, .payload_max = LIMIT_PAYLOAD_BYTES, .frame_payload_max = LIMIT_FRAME_PAYLOAD,
		.window_max = LIMIT_PRODUCER_WINDOW, .broker = span_str("mock"), .address = m->session,
		.store = m->store, .blob_above = MOCK_BLOB_ABOVE, .blob_chunk = LIMIT_BLOB_CHUNK, .blob_max = 1ull << 32 };
	mock_send(m, msg, 0);
	free(msg);
	m->welcomed = true;
}

static void submit(struct mock *m, const struct msg_submit *s, struct span payload)
{
	struct confirm_run *runs = calloc(s->sizes.count, sizeof *runs);
	size_t at = 0;
	ENSURE(runs != NULL);
	if (m->producer != s->producer)
		map64_free(&m->sequences, NULL);
	m->producer = s->producer;
	for (uint32_t i = 0; i < s->sizes.count; i++) {
		enum err code = ERR_OK;
		bool duplicate = true;
		struct mock_task *t = ids_get(&m->sequences, s->first_seq + i);
		if (!t)
			t = mock_task_submit(m, s->head, span_sub(payload, at, s->sizes.at[i]), &code, &duplicate);
		if (t)
			ids_put(&m->sequences, s->first_seq + i, t);
		at += s->sizes.at[i];
		runs[i] = (struct confirm_run){ s->first_seq + i, t ? t->id : 0, 1, (uint16_t)code, s->confirm, t && duplicate };
	}
	const struct msg_confirms confirms = { .producer = s->producer, .runs = runs, .run_count = s->sizes.count };
	msg_encode_confirms(&m->output, &confirms);
	free(runs);
}

static void await(struct mock *m, const struct msg_tasks *a)
{
	for (uint32_t i = 0; i < a->tasks.count; i++) {
		struct mock_task *t = mock_task_find(m, a->tasks.at[i]);
		const struct mock_task unknown = { .id = a->tasks.at[i], .code = ERR_NOT_FOUND };
		if (t && a->want_updates) {
			t->watched = true;
			mock_yields_send(m, t, i < a->from_yield.count ? a->from_yield.at[i] : 0);
		}
		if (!t || mock_final(t->state))
			mock_send_result(m, t ? t : &unknown);
		else
			t->awaited = true;
	}
}

static void forget_tasks(struct mock *m, const struct msg_tasks *a)
{
	for (uint32_t i = 0; i < a->tasks.count; i++) {
		struct mock_task *t = mock_task_find(m, a->tasks.at[i]);
		if (t)
			t->awaited = t->watched = false;
	}
}

static void credit(struct mock *m, const struct msg_credit *c)
{
	for (uint32_t i = 0; i < c->count; i++) {
		struct mock_entry *e = mock_entry_find(m, c->items[i].entry);
		if (e)
			e->credit += c->items[i].credit;
	}
}

/* The client keeps these until they are answered; a refusal of the others means that the lease is gone. */
static bool is_answered(const struct report_item *item, enum err code)
{
	return code != ERR_OK || (item->verb != REPORT_START && item->verb != REPORT_EXTEND && item->verb != REPORT_PROGRESS &&
				  item->verb != REPORT_LOG && item->verb != REPORT_PAUSED && item->verb != REPORT_RESUMED);
}

static void report(struct mock *m, const struct msg_report *r, struct span payload)
{
	struct reported_item *items = calloc(r->count + 1u, sizeof *items);
	struct msg_reported reported = { .items = items, .count = 0 };
	size_t at = 0;
	ENSURE(items != NULL);
	for (uint32_t i = 0; i < r->count; i++) {
		const struct report_item *item = &r->items[i];
		enum err code = mock_task_report(m, item, span_sub(payload, at, item->size));
		const struct mock_task *t = mock_task_find(m, item->ref.task);
		at += item->size;
		if (is_answered(item, code))
			items[reported.count++] = (struct reported_item){ item->ref, (uint16_t)code, item->verb, t ? t->state : 0,
									  item->verb == REPORT_YIELD ? item->app_code : 0 };
	}
	if (reported.count > 0)
		msg_encode_reported(&m->output, &reported);
	free(items);
}

static void one_frame(struct mock *m, const struct frame *f)
{
	struct msg *msg = m->msg;
	char text[128];
	ENSURE(msg_decode(f, msg, text) == ERR_OK); /* from our own client */
	switch (msg->kind) {
	case FRAME_HELLO: hello(m, &msg->hello); break;
	case FRAME_SUBMIT: submit(m, &msg->submit, f->payload); break;
	case FRAME_AWAIT: await(m, &msg->tasks); break;
	case FRAME_FORGET: forget_tasks(m, &msg->tasks); break;
	case FRAME_SERVE: mock_serve(m, &msg->serve, f->correlation); break;
	case FRAME_CREDIT: credit(m, &msg->credit); break;
	case FRAME_REPORT: report(m, &msg->report, f->payload); break;
	case FRAME_REQUEST: mock_request(m, &msg->request, f->correlation); break;
	case FRAME_WATCH: mock_watch(m, &msg->watch, f->correlation); break;
	case FRAME_UNWATCH: mock_unwatch(m, msg->unwatch.watch); break;
	case FRAME_BIND: mock_bind(m, &msg->bind, f->correlation); break;
	case FRAME_UNBIND: mock_unbind(m, msg->unbind.binding); break;
	case FRAME_CALL: mock_call(m, &msg->call, f->payload, f->correlation); break;
	case FRAME_ANSWER: mock_answers(m, &msg->answer, f->payload); break;
	case FRAME_CALL_CANCEL: mock_call_cancel(m, &msg->call_cancel); break;
	case FRAME_SUBSCRIBE: mock_subscribe(m, &msg->subscribe, f->correlation); break;
	case FRAME_UNSUBSCRIBE: mock_unsubscribe(m, msg->unsubscribe.subscription, f->correlation); break;
	case FRAME_PUBLISH: mock_publish(m, &msg->publish, f->payload); break;
	case FRAME_BLOB_PUT: mock_blob_put(m, &msg->blob_put); break;
	case FRAME_BLOB_CHUNK: mock_blob_chunk(m, &msg->blob_chunk, f->payload); break;
	case FRAME_BLOB_END: mock_blob_end(m, &msg->blob_end); break;
	case FRAME_BLOB_GET: mock_blob_get(m, &msg->blob_get); break;
	case FRAME_BLOB_MORE: mock_blob_more(m, &msg->blob_more); break;
	case FRAME_EVENT_CREDIT: /* everything is given at once */
	case FRAME_INTEREST: /* nothing is held back */
	case FRAME_PING:
	case FRAME_PONG:
	case FRAME_GOODBYE:
	case FRAME_WELCOME:
	case FRAME_ERROR:
	case FRAME_CONFIRMS:
	case FRAME_RESULTS:
	case FRAME_UPDATES:
	case FRAME_DELIVER:
	case FRAME_REPORTED:
	case FRAME_SIGNALS:
	case FRAME_REPLY:
	case FRAME_SUBSCRIBED:
	case FRAME_PUBLISHED:
	case FRAME_EVENTS:
	case FRAME_CHANGES:
	case FRAME_INVOKE:
	case FRAME_BINDING:
	case FRAME_BLOB_STATE:
	case FRAME_BLOB_DATA: break;
	}
}

void mock_input(struct mock *m, struct span bytes)
{
	while (bytes.len > 0) {
		struct frame frame;
		size_t used, need;
		char text[128];
		ENSURE(frame_decode(bytes, LIMIT_FRAME_BYTES, &frame, &used, &need, text) == ERR_OK);
		one_frame(m, &frame);
		bytes = span_sub(bytes, used, bytes.len - used);
	}
	mock_tick(m);
}

int hlk_mock_advance(struct hlk *c, uint64_t ms)
{
	if (!c->mock)
		return error_set(c, HLK_UNSUPPORTED, "mock: only clients of mock:// have this");
	c->mock->now_ms += ms;
	mock_tick(c->mock);
	c->due = true;
	client_touch(c);
	return HLK_OK;
}

int hlk_mock_cut(struct hlk *c)
{
	if (!c->mock)
		return error_set(c, HLK_UNSUPPORTED, "mock: only clients of mock:// have this");
	mock_connect(c->mock); /* nothing more reaches the old connection */
	mock_leases_lost(c->mock);
	net_fail(c, HLK_NETWORK, "cut by hlk_mock_cut");
	client_touch(c);
	return HLK_OK;
}
