/* tests/unit/test_topics.c: types bound to queues, events that feed queues, and last values: over restarts and checkpoints. */
#include "../../broker/sysevent.h"
#include "shard_world.h"

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	assert_non_null(w);
	world_init(w);
	w->config.tasks.queues_max = 2000;
	world_open(w);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	world_close(*state);
	free(*state);
	return 0;
}

static void restart(struct world *w, bool checkpoint)
{
	if (checkpoint) {
		struct client c;
		client_open(&c, w, 99);
		assert_int_equal(client_ask(&c, (struct msg_request){ .verb = VERB_CHECKPOINT })->code, ERR_OK);
		world_run(w, 2 * SIM_S);
		client_free(&c);
	}
	world_run(w, 100 * SIM_MS);
	shard_close(w->shard);
	w->io->v->free(w->io);
	w->io = sim_node_io(w->sim, 0);
	world_open(w);
}

static enum err ask(struct client *c, enum verb verb, const char *name, const char *pattern)
{
	return (enum err)client_ask(c, (struct msg_request){ .verb = (uint16_t)verb, .name = span_str(name),
							    .text = span_str(pattern) })->code;
}

static void publish(struct client *c, const char *type, const char *key, uint64_t number, uint32_t count, const char *payload, bool retain)
{
	struct event_head head = { .type = span_str(type), .key = span_str(key) };
	struct buf bytes = { NULL, 0, 0 }, all = { NULL, 0, 0 };
	uint32_t sizes[2048];
	assert_true(count <= COUNT_OF(sizes));
	event_head_encode(&bytes, &head);
	for (uint32_t i = 0; i < count; i++) {
		sizes[i] = (uint32_t)strlen(payload);
		buf_append(&all, payload, strlen(payload));
	}
	const struct msg m = { .kind = FRAME_PUBLISH, .publish = {
		.number = number, .id = { 77, number * 100 }, .origin = 1, .confirm = true, .retain = retain,
		.head = buf_span(&bytes), .sizes = { sizes, count } } };
	client_send(c, &m, 0, buf_span(&all));
	buf_free(&bytes);
	buf_free(&all);
}

static struct published_item published(struct client *c, uint64_t number)
{
	struct msg *m = client_expect(c, FRAME_PUBLISHED);
	assert_int_equal(m->published.count, 1);
	assert_int_equal(m->published.items[0].number, number);
	return m->published.items[0];
}

static uint64_t ready(struct client *c, const char *name)
{
	struct queue_info info;
	struct msg_reply *r = client_ask(c, (struct msg_request){ .verb = VERB_QUEUE_SHOW, .name = span_str(name) });
	if (r->code != ERR_OK)
		return 0;
	msg_reply_queue(r, 0, &info);
	return info.ready;
}

static void submit(struct client *c, const char *type, uint64_t seq)
{
	client_submit(c, (struct submit_args){ .type = type, .producer = 9, .first_seq = seq, .count = 1, .size = 8 });
	assert_int_equal(client_expect(c, FRAME_CONFIRMS)->confirms.runs[0].code, ERR_OK);
}

static void a_task_goes_where_its_type_is_bound_the_longest_pattern_wins(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	static const char *const queues[] = { "any", "media", "media1", "live" };
	static const char *const patterns[] = { "*", "media.*", "media.v1.*", "media.v1.Live" };
	for (size_t i = 0; i < COUNT_OF(queues); i++) {
		assert_int_equal(ask(&c, VERB_QUEUE_CREATE, queues[i], ""), ERR_OK);
		assert_int_equal(ask(&c, VERB_QUEUE_BIND, queues[i], patterns[i]), ERR_OK);
	}
	submit(&c, "media.v1.Live", 1);
	submit(&c, "media.v1.Other", 2);
	submit(&c, "media.v2.Other", 3);
	submit(&c, "mail.v1.Send", 4);
	for (size_t i = 0; i < COUNT_OF(queues); i++)
		assert_int_equal(ready(&c, queues[i]), 1);
	assert_int_equal(ask(&c, VERB_QUEUE_UNBIND, "any", "*"), ERR_OK);
	submit(&c, "mail.v1.Send", 5);
	assert_int_equal(ready(&c, "mail.v1.Send"), 1);
	client_free(&c);
}

static void two_queues_with_one_pattern_are_refused_when_the_second_is_bound(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	assert_int_equal(ask(&c, VERB_QUEUE_CREATE, "a", ""), ERR_OK);
	assert_int_equal(ask(&c, VERB_QUEUE_CREATE, "b", ""), ERR_OK);
	assert_int_equal(ask(&c, VERB_QUEUE_BIND, "a", "x.*"), ERR_OK);
	assert_int_equal(ask(&c, VERB_QUEUE_BIND, "a", "x.*"), ERR_OK); /* so it was */
	assert_int_equal(ask(&c, VERB_QUEUE_BIND, "b", "x.*"), ERR_AMBIGUOUS);
	assert_int_equal(ask(&c, VERB_QUEUE_BIND, "b", "x.y.*"), ERR_OK);
	assert_int_equal(ask(&c, VERB_QUEUE_BIND, "nowhere", "z"), ERR_NOT_FOUND);
	assert_int_equal(ask(&c, VERB_QUEUE_BIND, "b", "x*"), ERR_INVALID_INPUT);
	assert_int_equal(ask(&c, VERB_QUEUE_UNBIND, "b", "x.*"), ERR_NOT_FOUND);
	client_free(&c);
}

static void bindings_and_last_values_outlive(struct world *w, bool checkpoint)
{
	struct client c;
	client_open(&c, w, 1);
	assert_int_equal(ask(&c, VERB_QUEUE_CREATE, "media", ""), ERR_OK);
	assert_int_equal(ask(&c, VERB_QUEUE_CREATE, "gone", ""), ERR_OK);
	assert_int_equal(ask(&c, VERB_QUEUE_BIND, "media", "media.*"), ERR_OK);
	assert_int_equal(ask(&c, VERB_QUEUE_BIND, "gone", "x"), ERR_OK);
	assert_int_equal(ask(&c, VERB_SUBSCRIPTION_ADD, "feed", "order.*"), ERR_OK);
	assert_int_equal(ask(&c, VERB_QUEUE_REMOVE, "gone", ""), ERR_OK); /* and its binding with it */
	publish(&c, "room.T", "kitchen", 1, 1, "20", true);
	publish(&c, "room.T", "kitchen", 2, 1, "21", true);
	publish(&c, "room.T", "bath", 3, 1, "25", true);
	publish(&c, "room.T", "attic", 4, 1, "3", true);
	publish(&c, "room.T", "attic", 5, 1, "", true); /* ends it */
	for (uint32_t answers = 0; answers < 5;)
		answers += client_expect(&c, FRAME_PUBLISHED)->published.count;
	client_free(&c);
	restart(w, checkpoint);
	client_open(&c, w, 2);
	struct msg_reply *r = client_ask(&c, (struct msg_request){ .verb = VERB_TOPIC_LIST, .limit = 10 });
	struct topic_info info;
	assert_int_equal(r->topic_count, 2);
	msg_reply_topic(r, 0, &info);
	assert_true(info.kind == TOPIC_KIND_TASKS && span_eq(info.queue, span_str("media")) && span_eq(info.pattern, span_str("media.*")));
	msg_reply_topic(r, 1, &info);
	assert_true(info.kind == TOPIC_KIND_EVENTS && span_eq(info.queue, span_str("feed")));
	submit(&c, "media.v1.T", 1);
	assert_int_equal(ready(&c, "media"), 1);
	const struct msg s = { .kind = FRAME_SUBSCRIBE, .subscribe = { .subscription = 4, .pattern = span_str("room.*"),
								       .unlimited = true, .retained = true } };
	client_send(&c, &s, 0, span_of(NULL, 0));
	(void)client_expect(&c, FRAME_SUBSCRIBED);
	static const char *const want[] = { "21", "25" };
	for (size_t i = 0; i < COUNT_OF(want); i++) {
		struct msg *m = client_expect(&c, FRAME_EVENTS);
		assert_true(m->events.retained);
		assert_int_equal(c.frame.correlation, 4);
		assert_memory_equal(c.frame.payload.data, want[i], 2);
	}
	publish(&c, "room.T", "kitchen", 9, 1, "19", true);
	struct msg *m = client_expect(&c, FRAME_EVENTS);
	assert_false(m->events.retained);
	assert_memory_equal(c.frame.payload.data, "19", 2);
	assert_int_equal(published(&c, 9).receivers, 1);
	client_free(&c);
}

static void bindings_and_last_values_outlive_a_restart(void **state)
{
	bindings_and_last_values_outlive(*state, false);
}

static void bindings_and_last_values_outlive_a_restart_from_a_checkpoint(void **state)
{
	bindings_and_last_values_outlive(*state, true);
}

/* Works off everything in a queue; how many there were, with these payloads. */
static uint32_t work_off(struct world *w, uint8_t id, const char *queue, const char *payload)
{
	struct client c;
	uint32_t done = 0;
	client_open(&c, w, id);
	client_serve(&c, queue, 1000);
	world_run(w, 200 * SIM_MS);
	while (client_poll(&c)) {
		if (c.msg.kind != FRAME_DELIVER)
			continue;
		const struct msg_deliver m = c.msg.deliver;
		size_t at = 0, size = strlen(payload);
		for (uint32_t i = 0; i < m.count; i++) {
			assert_int_equal(m.items[i].size, size);
			assert_memory_equal(c.frame.payload.data + at, payload, size);
			at += size;
			client_report(&c, (struct task_ref){ m.items[i].task, m.items[i].attempt, m.epoch }, REPORT_COMPLETE, "");
			done++;
		}
		world_run(w, 50 * SIM_MS);
	}
	const struct msg bye = { .kind = FRAME_GOODBYE };
	client_send(&c, &bye, 0, span_of(NULL, 0));
	world_run(w, 50 * SIM_MS);
	client_free(&c);
	return done;
}

static void an_event_is_stored_once_and_worked_off_by_each_subscription(void **state)
{
	struct world *w = *state;
	struct client c;
	struct log_stats before, after;
	char payload[1001];
	memset(payload, 'x', 1000);
	payload[1000] = '\0';
	client_open(&c, w, 1);
	static const char *const names[] = { "s1", "s2", "s3", "s4" };
	for (size_t i = 0; i < COUNT_OF(names); i++)
		assert_int_equal(ask(&c, VERB_SUBSCRIPTION_ADD, names[i], i % 2 ? "order.*" : "order.v1.Placed"), ERR_OK);
	log_get_stats(shard_log(w->shard), &before);
	publish(&c, "order.v1.Placed", "k", 1, 20, payload, false);
	struct published_item p = published(&c, 1);
	assert_int_equal(p.receivers, 4);
	assert_int_equal(p.status, PUBLISH_ACCEPTED);
	log_get_stats(shard_log(w->shard), &after);
	assert_true(after.bytes_appended - before.bytes_appended < 22000); /* once, not four times */
	for (size_t i = 0; i < COUNT_OF(names); i++)
		assert_int_equal(ready(&c, names[i]), 20);
	assert_int_equal(work_off(w, 10, "s2", payload), 20); /* others are where they were */
	assert_int_equal(ready(&c, "s1"), 20);
	client_free(&c);
	restart(w, true);
	assert_int_equal(work_off(w, 11, "s1", payload), 20);
	restart(w, false);
	assert_int_equal(work_off(w, 12, "s4", payload), 20);
	assert_int_equal(work_off(w, 13, "s3", payload), 20);
	assert_int_equal(work_off(w, 14, "s2", payload), 0);
}

static void the_confirm_of_a_durable_event_is_durable(void **state)
{
	struct world *w = *state;
	struct client c;
	client_open(&c, w, 1);
	assert_int_equal(ask(&c, VERB_SUBSCRIPTION_ADD, "s", "t"), ERR_OK);
	publish(&c, "t", "", 1, 3, "abc", false);
	assert_int_equal(published(&c, 1).receivers, 1);
	client_free(&c);
	shard_close(w->shard); /* with nothing more done */
	w->io->v->free(w->io);
	w->io = sim_node_io(w->sim, 0);
	world_open(w);
	assert_int_equal(work_off(w, 2, "s", "abc"), 3);
}

static void a_full_queue_is_left_out_and_the_publisher_is_told(void **state)
{
	struct client c;
	struct queue_settings settings = QUEUE_SETTINGS_UNSET;
	client_open(&c, *state, 1);
	settings.length_max = 5;
	assert_int_equal(client_ask(&c, (struct msg_request){ .verb = VERB_QUEUE_CREATE, .name = span_str("small"),
							     .settings = settings })->code, ERR_OK);
	assert_int_equal(ask(&c, VERB_SUBSCRIPTION_ADD, "small", "t"), ERR_OK);
	assert_int_equal(ask(&c, VERB_SUBSCRIPTION_ADD, "large", "t"), ERR_OK);
	publish(&c, "t", "", 1, 4, "abc", false);
	assert_int_equal(published(&c, 1).receivers, 2);
	publish(&c, "t", "", 2, 4, "abc", false);
	struct published_item p = published(&c, 2);
	assert_int_equal(p.receivers, 1);
	assert_int_equal(p.rejected, 4);
	assert_int_equal(ready(&c, "small"), 4);
	assert_int_equal(ready(&c, "large"), 8);
	client_free(&c);
}

static void a_publisher_keeps_its_order_across_what_the_log_delays(void **state)
{
	struct client a, b;
	client_open(&a, *state, 1);
	client_open(&b, *state, 2);
	const struct msg s = { .kind = FRAME_SUBSCRIBE, .subscribe = { .subscription = 1, .pattern = span_str("*"), .unlimited = true } };
	client_send(&a, &s, 0, span_of(NULL, 0));
	(void)client_expect(&a, FRAME_SUBSCRIBED);
	publish(&b, "kept", "", 1, 1, "1", true);
	publish(&b, "plain", "", 2, 1, "2", false);
	publish(&b, "kept", "", 3, 1, "3", true);
	publish(&b, "plain", "", 4, 1, "4", false);
	for (uint64_t i = 1; i <= 4; i++) {
		struct msg *m = client_expect(&a, FRAME_EVENTS);
		assert_int_equal(m->events.id.lo, i * 100);
	}
	client_free(&a);
	client_free(&b);
}

static uint32_t u32_at(const struct buf *b, size_t at)
{
	uint32_t v;
	memcpy(&v, b->data + at, sizeof v);
	return v;
}

/* In a head that a peer has made all headers may be one and the same table. A task's head, made of its strings, is far larger. */
static void one_header_for_all(struct buf *head)
{
	enum { HEADERS_SLOT = 4 + 2 * 5 };
	uint32_t table = u32_at(head, 0);
	size_t vtable = table - (size_t)(int32_t)u32_at(head, table);
	size_t field = table + (u32_at(head, vtable + HEADERS_SLOT) & 0xffff);
	size_t vector = field + u32_at(head, field), first = vector + 4 + u32_at(head, vector + 4);
	for (uint32_t i = 0; i < u32_at(head, vector); i++) {
		size_t at = vector + 4 + 4 * (size_t)i;
		uint32_t offset = (uint32_t)(first - at);
		memcpy(head->data + at, &offset, sizeof offset);
	}
}

static void a_head_that_is_too_large_as_that_of_a_task_is_refused(void **state)
{
	enum { LONG = 8000 };
	static char text[LONG + 1];
	struct client c;
	struct event_head head = { .type = span_str("big.T"), .header_count = LIMIT_HEADERS };
	struct buf bytes = { NULL, 0, 0 };
	const uint32_t size = 1;
	memset(text, 'v', LONG);
	for (uint32_t i = 0; i < LIMIT_HEADERS; i++)
		head.headers[i] = (struct task_header){ span_str("n"), span_str("v") };
	head.headers[0].value = span_str(text); /* the vector points forward to it once the rest names it, too */
	event_head_encode(&bytes, &head);
	one_header_for_all(&bytes);
	char why[128];
	assert_int_equal(event_head_decode(buf_span(&bytes), &head, why), ERR_OK);
	assert_int_equal(head.headers[LIMIT_HEADERS - 1].value.len, LONG);
	client_open(&c, *state, 1);
	const struct msg m = { .kind = FRAME_PUBLISH, .publish = {
		.number = 1, .id = { 77, 1 }, .origin = 1, .confirm = true, .head = buf_span(&bytes), .sizes = { &size, 1 } } };
	assert_int_equal(ask(&c, VERB_SUBSCRIPTION_ADD, "feed", "big.*"), ERR_OK);
	client_send(&c, &m, 0, span_str("x"));
	struct published_item p = published(&c, 1);
	assert_int_equal(p.status, PUBLISH_REFUSED);
	assert_int_equal(p.code, ERR_TOO_BIG);
	publish(&c, "big.T", "", 2, 1, "x", false);
	assert_int_equal(published(&c, 2).receivers, 1);
	buf_free(&bytes);
	client_free(&c);
}

static void when_last_values_are_full_they_can_be_replaced_and_ended(void **state)
{
	enum { VALUE = 1000 << 10 };
	struct client c;
	char key[32];
	uint64_t number = 1;
	char *text = calloc(1, VALUE + 1);
	assert_non_null(text);
	memset(text, 'x', VALUE);
	client_open(&c, *state, 1);
	for (;; number++) {
		(void)snprintf(key, sizeof key, "k%u", (unsigned)number);
		publish(&c, "full.T", key, number, 1, text, true);
		if (published(&c, number).code != ERR_OK)
			break;
		assert_true(number < 100);
	}
	publish(&c, "full.T", "k1", ++number, 1, text, true);
	assert_int_equal(published(&c, number).code, ERR_OK);
	publish(&c, "full.T", "k2", ++number, 1, "", true);
	assert_int_equal(published(&c, number).code, ERR_OK);
	publish(&c, "full.T", "new", ++number, 1, text, true);
	assert_int_equal(published(&c, number).code, ERR_OK);
	publish(&c, "full.T", "one too many", ++number, 1, text, true);
	assert_int_equal(published(&c, number).code, ERR_RESOURCE_EXHAUSTED);
	free(text);
	client_free(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
static void the_queue_beyond_those_that_one_event_feeds_is_refused_where_it_is_bound(void **state)
{
	enum { MOST = 1024 };
	struct world *w = *state;
	struct client c;
	char name[32];
	client_open(&c, w, 1);
	for (uint32_t i = 0; i < MOST; i++) {
		(void)snprintf(name, sizeof name, "q%u", i);
		assert_int_equal(ask(&c, VERB_SUBSCRIPTION_ADD, name, i % 2 ? "news.local.Rain" : "news.*"), ERR_OK);
	}
	assert_int_equal(ask(&c, VERB_SUBSCRIPTION_ADD, "more", "news.local.Rain"), ERR_RESOURCE_EXHAUSTED);
	assert_int_equal(ask(&c, VERB_SUBSCRIPTION_ADD, "more", "*"), ERR_RESOURCE_EXHAUSTED); /* Rain would go to too many */
	assert_int_equal(ask(&c, VERB_SUBSCRIPTION_ADD, "q7", "*"), ERR_OK);                   /* it has them already */
	assert_int_equal(ask(&c, VERB_SUBSCRIPTION_ADD, "more", "news.local.Snow"), ERR_OK);
	assert_int_equal(ask(&c, VERB_SUBSCRIPTION_REMOVE, "q9", "news.local.Rain"), ERR_OK);
	assert_int_equal(ask(&c, VERB_SUBSCRIPTION_ADD, "more", "news.local.Rain"), ERR_OK);
	publish(&c, "news.local.Rain", "", 1, 1, "wet", false);
	assert_int_equal(published(&c, 1).code, ERR_OK);
	assert_int_equal(ready(&c, "more"), 1);
	assert_int_equal(ready(&c, "q0"), 1);
	assert_int_equal(ready(&c, "q9"), 0);
	publish(&c, "news.local.Rain", "", 2, 1025, "", false); /* a million tasks, and one event's more */
	assert_int_equal(published(&c, 2).code, ERR_TOO_BIG);
	assert_int_equal(ready(&c, "q0"), 1);
	client_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_queue_beyond_those_that_one_event_feeds_is_refused_where_it_is_bound, setup, teardown),
		TEST(a_head_that_is_too_large_as_that_of_a_task_is_refused),
		TEST(when_last_values_are_full_they_can_be_replaced_and_ended),
		TEST(a_task_goes_where_its_type_is_bound_the_longest_pattern_wins),
		TEST(two_queues_with_one_pattern_are_refused_when_the_second_is_bound),
		TEST(bindings_and_last_values_outlive_a_restart),
		TEST(bindings_and_last_values_outlive_a_restart_from_a_checkpoint),
		TEST(an_event_is_stored_once_and_worked_off_by_each_subscription),
		TEST(the_confirm_of_a_durable_event_is_durable),
		TEST(a_full_queue_is_left_out_and_the_publisher_is_told),
		TEST(a_publisher_keeps_its_order_across_what_the_log_delays),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
