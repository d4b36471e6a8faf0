/* tests/unit/test_events.c: publish and subscribe through sessions: who gets what, and what a slow one costs whom. */
#include "../../broker/sysevent.h"
#include "shard_world.h"

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	assert_non_null(w);
	world_init(w);
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

struct pub {
	const char *type, *key;
	uint64_t number, hi, lo, fingerprint;
	uint32_t count;
	bool elsewhere, interest, retain, quiet;
	const char *payload;
};

static void publish(struct client *c, struct pub p)
{
	struct event_head head = { .type = span_str(p.type), .key = span_str(p.key), .fingerprint = p.fingerprint };
	struct buf bytes = { NULL, 0, 0 }, payload = { NULL, 0, 0 };
	static uint32_t sizes[LIMIT_FRAME_ITEMS];
	const char *text = p.payload ? p.payload : "payload!";
	event_head_encode(&bytes, &head);
	uint32_t count = p.count ? p.count : 1;
	for (uint32_t i = 0; i < count; i++) {
		sizes[i] = (uint32_t)strlen(text);
		buf_append(&payload, text, strlen(text));
	}
	const struct msg m = { .kind = FRAME_PUBLISH, .publish = {
		.number = p.number, .id = { p.hi ? p.hi : 1, p.lo ? p.lo : p.number * 1000 }, .origin = 1, .confirm = !p.quiet,
		.elsewhere = p.elsewhere, .interest = p.interest, .retain = p.retain, .head = buf_span(&bytes),
		.sizes = { sizes, count } } };
	client_send(c, &m, 0, buf_span(&payload));
	buf_free(&bytes);
	buf_free(&payload);
}

/* The answer to publish `number`, which must be the next but for events. */
static struct published_item published(struct client *c, uint64_t number)
{
	struct msg *m = client_expect(c, FRAME_PUBLISHED);
	assert_int_equal(m->published.count, 1);
	assert_int_equal(m->published.items[0].number, number);
	return m->published.items[0];
}

static void say_subscribe(struct client *c, struct msg_subscribe s)
{
	const struct msg m = { .kind = FRAME_SUBSCRIBE, .subscribe = s };
	client_send(c, &m, 0, span_of(NULL, 0));
}

static void subscribe(struct client *c, struct msg_subscribe s)
{
	say_subscribe(c, s);
	struct msg *m = client_expect(c, FRAME_SUBSCRIBED);
	assert_int_equal(m->subscribed.subscription, s.subscription);
	assert_int_equal(m->subscribed.code, ERR_OK);
}

static void credit(struct client *c, uint32_t subscription, uint32_t more)
{
	const struct credit_item item = { subscription, more };
	const struct msg m = { .kind = FRAME_EVENT_CREDIT, .event_credit = { &item, 1 } };
	client_send(c, &m, 0, span_of(NULL, 0));
}

/* Reads everything there is: how many events came, and the last counts. */
struct got { uint64_t events, last_lo, first_lo; struct msg_events counts; bool counted; uint32_t published; };
static struct got drain(struct client *c)
{
	struct got got = { .events = 0 };
	world_run(c->w, 20 * SIM_MS);
	while (client_poll(c)) {
		const struct msg_events *m = &c->msg.events;
		if (c->msg.kind == FRAME_PUBLISHED)
			got.published += c->msg.published.count;
		if (c->msg.kind != FRAME_EVENTS)
			continue;
		if (m->sizes.count == 0) {
			got.counts = *m;
			got.counted = true;
			continue;
		}
		if (got.events == 0)
			got.first_lo = m->id.lo;
		got.events += m->sizes.count;
		got.last_lo = m->id.lo + m->sizes.count - 1;
	}
	return got;
}

static void nobody_there_is_a_status_and_no_error(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	publish(&c, (struct pub){ .type = "a.b", .number = 1 });
	struct published_item p = published(&c, 1);
	assert_int_equal(p.status, PUBLISH_NO_SUBSCRIBER);
	assert_int_equal(p.code, ERR_OK);
	client_free(&c);
}

static void every_subscriber_of_the_type_gets_it_with_head_and_payload(void **state)
{
	struct client a, b;
	client_open(&a, *state, 1);
	client_open(&b, *state, 2);
	subscribe(&a, (struct msg_subscribe){ .subscription = 7, .pattern = span_str("a.*"), .unlimited = true });
	subscribe(&a, (struct msg_subscribe){ .subscription = 8, .pattern = span_str("other"), .unlimited = true });
	publish(&b, (struct pub){ .type = "a.b", .key = "k", .number = 1, .count = 3, .hi = 9, .lo = 50 });
	struct msg *m = client_expect(&a, FRAME_EVENTS);
	struct event_head head;
	char text[128];
	assert_int_equal(a.frame.correlation, 7);
	assert_int_equal(m->events.sizes.count, 3);
	assert_int_equal(m->events.id.hi, 9);
	assert_int_equal(m->events.id.lo, 50);
	assert_int_equal(event_head_decode(m->events.head, &head, text), ERR_OK);
	assert_true(span_eq(head.type, span_str("a.b")) && span_eq(head.key, span_str("k")));
	assert_memory_equal(a.frame.payload.data, "payload!payload!payload!", 24);
	struct published_item p = published(&b, 1);
	assert_int_equal(p.receivers, 1);
	assert_int_equal(p.status, PUBLISH_ACCEPTED);
	assert_int_equal(drain(&a).events, 0);
	client_free(&a);
	client_free(&b);
}

static void an_id_that_was_here_is_not_handed_out_again(void **state)
{
	struct client a, b;
	client_open(&a, *state, 1);
	client_open(&b, *state, 2);
	subscribe(&a, (struct msg_subscribe){ .subscription = 1, .pattern = span_str("*"), .unlimited = true });
	publish(&b, (struct pub){ .type = "t", .number = 1, .hi = 4, .lo = 10, .count = 5 });
	assert_int_equal(published(&b, 1).status, PUBLISH_ACCEPTED);
	publish(&b, (struct pub){ .type = "t", .number = 2, .hi = 4, .lo = 10, .count = 5 });
	assert_int_equal(published(&b, 2).status, PUBLISH_DUPLICATE);
	publish(&b, (struct pub){ .type = "t", .number = 3, .hi = 4, .lo = 12, .count = 5 }); /* two of them are new */
	assert_int_equal(published(&b, 3).status, PUBLISH_ACCEPTED);
	struct got got = drain(&a);
	assert_int_equal(got.events, 7);
	assert_int_equal(got.last_lo, 16);
	client_free(&a);
	client_free(&b);
}

/* What a subscription without credit and with a queue of ten does to twenty-five events, and that its counts add up. */
static struct got overflow(struct world *w, enum overflow policy, struct published_item *answer)
{
	struct client a, b;
	client_open(&a, w, 1);
	client_open(&b, w, 2);
	subscribe(&a, (struct msg_subscribe){ .subscription = 1, .pattern = span_str("t"), .queue_max = 10,
					      .overflow = (uint8_t)policy });
	publish(&b, (struct pub){ .type = "t", .number = 1, .lo = 100, .count = 20 });
	*answer = published(&b, 1);
	publish(&b, (struct pub){ .type = "t", .number = 2, .lo = 120, .count = 5 });
	*answer = published(&b, 2);
	struct got counts = drain(&a);
	assert_int_equal(counts.events, 0);
	assert_true(counts.counted);
	assert_int_equal(counts.counts.matched, 25);
	assert_int_equal(counts.counts.dropped, 15);
	credit(&a, 1, 100);
	struct got got = drain(&a);
	assert_int_equal(got.events + counts.counts.dropped, counts.counts.matched);
	client_free(&a);
	client_free(&b);
	return got;
}

static void drop_oldest_keeps_the_newest(void **state)
{
	struct published_item answer;
	struct got got = overflow(*state, OVERFLOW_DROP_OLDEST, &answer);
	assert_int_equal(got.events, 10);
	assert_int_equal(got.first_lo, 115);
	assert_int_equal(got.last_lo, 124);
	assert_int_equal(answer.rejected, 0);
}

static void drop_newest_keeps_the_oldest(void **state)
{
	struct published_item answer;
	struct got got = overflow(*state, OVERFLOW_DROP_NEWEST, &answer);
	assert_int_equal(got.events, 10);
	assert_int_equal(got.first_lo, 100);
	assert_int_equal(got.last_lo, 109);
	assert_int_equal(answer.rejected, 0);
}

static void reject_tells_the_publisher(void **state)
{
	struct published_item answer;
	struct got got = overflow(*state, OVERFLOW_REJECT, &answer);
	assert_int_equal(got.last_lo, 109);
	assert_int_equal(answer.rejected, 5);
	assert_int_equal(answer.status, PUBLISH_ACCEPTED);
}

static void block_holds_the_confirm_and_nobody_else(void **state)
{
	struct client a, b, c;
	client_open(&a, *state, 1);
	client_open(&b, *state, 2);
	client_open(&c, *state, 3);
	subscribe(&a, (struct msg_subscribe){ .subscription = 1, .pattern = span_str("t"), .queue_max = 10,
					      .overflow = OVERFLOW_BLOCK });
	subscribe(&a, (struct msg_subscribe){ .subscription = 2, .pattern = span_str("u"), .unlimited = true });
	publish(&b, (struct pub){ .type = "t", .number = 1, .lo = 100, .count = 25 });
	publish(&b, (struct pub){ .type = "u", .number = 2, .lo = 200 });
	struct got at_b = drain(&b);
	assert_int_equal(at_b.published, 0);
	publish(&c, (struct pub){ .type = "u", .number = 3, .hi = 3, .lo = 300 }); /* another publisher goes on */
	assert_int_equal(published(&c, 3).receivers, 1);
	struct got got = drain(&a);
	assert_int_equal(got.events, 1);
	assert_int_equal(got.first_lo, 300);
	credit(&a, 1, 12);
	got = drain(&a);
	assert_int_equal(got.events, 12);
	assert_int_equal(drain(&b).published, 0); /* three do not fit yet */
	credit(&a, 1, 3);
	(void)drain(&a);
	assert_int_equal(drain(&b).published, 2); /* and what waited behind it, in order */
	credit(&a, 1, 100);
	got = drain(&a);
	assert_int_equal(got.events, 10);
	assert_int_equal(got.last_lo, 124);
	assert_false(got.counted); /* nothing was dropped */
	client_free(&a);
	client_free(&b);
	client_free(&c);
}

static void a_blocked_publisher_goes_on_when_the_subscriber_ends(void **state)
{
	struct client a, b;
	client_open(&a, *state, 1);
	client_open(&b, *state, 2);
	subscribe(&a, (struct msg_subscribe){ .subscription = 1, .pattern = span_str("t"), .queue_max = 1,
					      .overflow = OVERFLOW_BLOCK });
	publish(&b, (struct pub){ .type = "t", .number = 1, .count = 3 });
	assert_int_equal(drain(&b).published, 0);
	const struct msg m = { .kind = FRAME_UNSUBSCRIBE, .unsubscribe = { 1 } };
	client_send(&a, &m, 5, span_of(NULL, 0));
	struct msg *answer = client_expect(&a, FRAME_SUBSCRIBED);
	assert_true(answer->subscribed.ended);
	assert_int_equal(answer->subscribed.matched, 1);
	assert_int_equal(published(&b, 1).number, 1);
	client_free(&a);
	client_free(&b);
}

static void its_own_subscriptions_are_left_out_where_the_session_says_so(void **state)
{
	struct client a;
	client_open(&a, *state, 1);
	subscribe(&a, (struct msg_subscribe){ .subscription = 1, .pattern = span_str("t"), .unlimited = true });
	publish(&a, (struct pub){ .type = "t", .number = 1, .elsewhere = true });
	assert_int_equal(published(&a, 1).status, PUBLISH_NO_SUBSCRIBER);
	publish(&a, (struct pub){ .type = "t", .number = 2, .quiet = true });
	assert_int_equal(drain(&a).events, 1);
	client_free(&a);
}

static void a_subscriber_may_ask_for_one_encoding(void **state)
{
	struct client a, b;
	client_open(&a, *state, 1);
	client_open(&b, *state, 2);
	subscribe(&a, (struct msg_subscribe){ .subscription = 1, .pattern = span_str("t"), .fingerprint = 5, .unlimited = true });
	publish(&b, (struct pub){ .type = "t", .number = 1, .fingerprint = 6 });
	assert_int_equal(published(&b, 1).receivers, 0);
	publish(&b, (struct pub){ .type = "t", .number = 2, .fingerprint = 5 });
	assert_int_equal(published(&b, 2).receivers, 1);
	client_free(&a);
	client_free(&b);
}

static void a_publisher_that_holds_back_is_told_before_the_subscriber_is(void **state)
{
	struct client a, b;
	client_open(&a, *state, 1);
	client_open(&b, *state, 2);
	publish(&b, (struct pub){ .type = "t", .number = 77, .interest = true });
	struct msg *m = client_expect(&b, FRAME_INTEREST);
	assert_false(m->interest.wanted);
	assert_int_equal(m->interest.number, 77);
	assert_int_equal(published(&b, 77).status, PUBLISH_NO_SUBSCRIBER);
	say_subscribe(&a, (struct msg_subscribe){ .subscription = 1, .pattern = span_str("*"), .unlimited = true });
	m = client_expect(&b, FRAME_INTEREST);
	assert_true(m->interest.wanted);
	assert_false(client_poll(&a)); /* no answer before the publisher knows */
	const struct msg ack = { .kind = FRAME_INTEREST,
				 .interest = { .type = span_str("t"), .wanted = true, .number = m->interest.number } };
	client_send(&b, &ack, 0, span_of(NULL, 0));
	m = client_expect(&a, FRAME_SUBSCRIBED);
	assert_int_equal(m->subscribed.code, ERR_OK);
	client_free(&a);
	client_free(&b);
}

static void a_publisher_that_does_not_answer_delays_a_subscriber_only_so_long(void **state)
{
	struct client a, b;
	struct world *w = *state;
	client_open(&a, w, 1);
	client_open(&b, w, 2);
	publish(&b, (struct pub){ .type = "t", .number = 1, .interest = true });
	(void)client_expect(&b, FRAME_INTEREST);
	(void)published(&b, 1);
	say_subscribe(&a, (struct msg_subscribe){ .subscription = 1, .pattern = span_str("t"), .unlimited = true });
	uint64_t begin = io_now_ns(w->io);
	(void)client_expect(&a, FRAME_SUBSCRIBED);
	uint64_t took = io_now_ns(w->io) - begin;
	assert_true(took >= 1 * SIM_S && took <= 3 * SIM_S);
	client_free(&a);
	client_free(&b);
}

static void what_the_broker_tells_goes_to_those_who_listen(void **state)
{
	struct world *w = *state;
	struct client a;
	struct event_head head;
	char text[128];
	struct sys_text quoted;
	client_open(&a, w, 1);
	assert_false(sys_event_wanted(w->shard, "test.happened"));
	subscribe(&a, (struct msg_subscribe){ .subscription = 1, .pattern = span_str("hillock.sys.test.*"), .unlimited = true });
	assert_true(sys_event_wanted(w->shard, "test.happened"));
	assert_false(sys_event_wanted(w->shard, "other"));
	sys_event(w->shard, "other", "\"n\":%d", 1);
	sys_event(w->shard, "test.happened", "\"name\":\"%s\",\"n\":%d", sys_quote(&quoted, span_str("a\"b\n")), 7);
	struct msg *m = client_expect(&a, FRAME_EVENTS);
	assert_int_equal(event_head_decode(m->events.head, &head, text), ERR_OK);
	assert_true(span_eq(head.type, span_str("hillock.sys.test.happened")));
	static const char want[] = "{\"name\":\"a\\\"b\\u000a\",\"n\":7}";
	assert_int_equal(m->events.sizes.at[0], sizeof want - 1);
	assert_memory_equal(a.frame.payload.data, want, sizeof want - 1);
	client_free(&a);
}

static void open_in(struct client *c, struct world *w, uint8_t id, const char *vnet)
{
	struct msg m = { .kind = FRAME_HELLO };
	client_dial(c, w);
	m.hello.versions[0] = 1;
	m.hello.version_count = 1;
	memset(m.hello.session, id, sizeof m.hello.session);
	m.hello.vnet = span_str(vnet);
	client_send(c, &m, 1, span_of(NULL, 0));
	(void)client_expect(c, FRAME_WELCOME);
}

static void vnets_have_their_own_events(void **state)
{
	struct client red, blue, publisher;
	open_in(&red, *state, 1, "red");
	open_in(&blue, *state, 2, "blue");
	open_in(&publisher, *state, 3, "blue");
	subscribe(&red, (struct msg_subscribe){ .subscription = 1, .pattern = span_str("*"), .unlimited = true });
	subscribe(&blue, (struct msg_subscribe){ .subscription = 1, .pattern = span_str("*"), .unlimited = true });
	publish(&publisher, (struct pub){ .type = "t", .number = 1 });
	assert_int_equal(published(&publisher, 1).receivers, 1);
	assert_int_equal(drain(&blue).events, 1);
	assert_int_equal(drain(&red).events, 0);
	client_free(&red);
	client_free(&blue);
	client_free(&publisher);
}

static void names_of_the_broker_are_not_for_publishers(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	publish(&c, (struct pub){ .type = "hillock.sys.worker.joined", .number = 1 });
	struct published_item p = published(&c, 1);
	assert_int_equal(p.status, PUBLISH_REFUSED);
	assert_int_equal(p.code, ERR_PERMISSION);
	client_free(&c);
}

static void a_subscription_outlives_a_cut_and_keeps_what_came_meanwhile(void **state)
{
	struct client a, b;
	const struct msg_subscribe s = { .subscription = 1, .pattern = span_str("t"), .credit = 100 };
	client_open(&a, *state, 1);
	client_open(&b, *state, 2);
	subscribe(&a, s);
	client_free(&a); /* cut */
	world_run(*state, 10 * SIM_MS);
	publish(&b, (struct pub){ .type = "t", .number = 1, .count = 3 });
	assert_int_equal(published(&b, 1).receivers, 1);
	client_open(&a, *state, 1);
	assert_int_equal(drain(&a).events, 0); /* nothing before it is said again */
	say_subscribe(&a, s);
	struct msg *m = client_expect(&a, FRAME_SUBSCRIBED);
	assert_true(m->subscribed.resumed);
	assert_int_equal(m->subscribed.matched, 3);
	assert_int_equal(drain(&a).events, 3);
	client_free(&a);
	client_free(&b);
}

/* What it waits for may change with its bounds alone: nobody drains anything. */
static void a_blocked_publisher_goes_on_when_the_subscriber_asks_for_less(void **state)
{
	struct client a, b;
	struct msg_subscribe s = { .subscription = 1, .pattern = span_str("t"), .queue_max = 1, .overflow = OVERFLOW_BLOCK };
	client_open(&a, *state, 1);
	client_open(&b, *state, 2);
	subscribe(&a, s);
	publish(&b, (struct pub){ .type = "t", .number = 1, .count = 3 });
	assert_int_equal(drain(&b).published, 0);
	s.overflow = OVERFLOW_DROP_OLDEST;
	subscribe(&a, s);
	assert_int_equal(drain(&b).published, 1);
	client_free(&a);
	client_free(&b);
}

static void the_answer_to_a_repeat_does_not_overtake_what_it_repeats(void **state)
{
	struct client c;
	uint64_t order[2];
	client_open(&c, *state, 1);
	publish(&c, (struct pub){ .type = "t", .number = 1, .lo = 500, .retain = true });
	publish(&c, (struct pub){ .type = "t", .number = 2, .lo = 500, .retain = true });
	for (uint32_t got = 0; got < 2;) {
		const struct msg_published *m = &client_expect(&c, FRAME_PUBLISHED)->published;
		for (uint32_t i = 0; i < m->count && got < 2; i++) {
			assert_int_equal(m->items[i].status, m->items[i].number == 2 ? PUBLISH_DUPLICATE : PUBLISH_NO_SUBSCRIBER);
			order[got++] = m->items[i].number;
		}
	}
	assert_int_equal(order[0], 1); /* it is in the log: only now the second may promise the same */
	assert_int_equal(order[1], 2);
	client_free(&c);
}

static double event_bytes(struct world *w)
{
	struct shard_stat stats[SHARD_STATS_MAX];
	uint32_t count = shard_stats(w->shard, stats, SHARD_STATS_MAX);
	for (uint32_t i = 0; i < count; i++)
		if (strcmp(stats[i].name, "event_bytes") == 0)
			return stats[i].value;
	fail_msg("no event_bytes");
	return 0;
}

static void last_values_for_many_subscriptions_stay_within_memory(void **state)
{
	enum { VALUE = 256 << 10, ASKED = 64, MEMORY = 4 << 20 };
	struct world *w = *state;
	struct client c;
	uint32_t refused = 0;
	world_close(w);
	world_init(w);
	w->config.memory_max = MEMORY;
	world_open(w);
	client_open(&c, w, 1);
	char *text = calloc(1, VALUE + 1);
	assert_non_null(text);
	memset(text, 'x', VALUE);
	publish(&c, (struct pub){ .type = "t", .number = 1, .payload = text, .retain = true });
	(void)published(&c, 1);
	for (uint32_t i = 1; i <= ASKED; i++) {
		say_subscribe(&c, (struct msg_subscribe){ .subscription = i, .pattern = span_str("t"), .retained = true });
		client_next(&c);
		refused += c.msg.kind == FRAME_ERROR;
		if (c.msg.kind == FRAME_ERROR)
			assert_int_equal(c.msg.error.code, ERR_RESOURCE_EXHAUSTED);
	}
	assert_in_range(refused, 1, ASKED - 2);
	assert_true(event_bytes(w) < MEMORY);
	for (uint32_t i = 1; i <= ASKED; i++) {
		const struct msg m = { .kind = FRAME_UNSUBSCRIBE, .unsubscribe = { i } };
		client_send(&c, &m, 5, span_of(NULL, 0));
		client_next(&c);
	}
	assert_true(event_bytes(w) == 0);
	free(text);
	client_free(&c);
}

static void one_id_in_two_vnets_is_two_events(void **state)
{
	struct client red, blue;
	open_in(&red, *state, 1, "red");
	open_in(&blue, *state, 2, "blue");
	publish(&red, (struct pub){ .type = "t", .number = 1, .hi = 4, .lo = 10 });
	assert_int_equal(published(&red, 1).status, PUBLISH_NO_SUBSCRIBER);
	publish(&blue, (struct pub){ .type = "t", .number = 1, .hi = 4, .lo = 10 }); /* a relay keeps ids */
	assert_int_equal(published(&blue, 1).status, PUBLISH_NO_SUBSCRIBER);
	publish(&red, (struct pub){ .type = "t", .number = 2, .hi = 4, .lo = 10 });
	assert_int_equal(published(&red, 2).status, PUBLISH_DUPLICATE);
	client_free(&red);
	client_free(&blue);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nobody_there_is_a_status_and_no_error),
		TEST(every_subscriber_of_the_type_gets_it_with_head_and_payload),
		TEST(an_id_that_was_here_is_not_handed_out_again),
		TEST(drop_oldest_keeps_the_newest),
		TEST(drop_newest_keeps_the_oldest),
		TEST(reject_tells_the_publisher),
		TEST(block_holds_the_confirm_and_nobody_else),
		TEST(a_blocked_publisher_goes_on_when_the_subscriber_ends),
		TEST(its_own_subscriptions_are_left_out_where_the_session_says_so),
		TEST(a_subscriber_may_ask_for_one_encoding),
		TEST(a_publisher_that_holds_back_is_told_before_the_subscriber_is),
		TEST(a_publisher_that_does_not_answer_delays_a_subscriber_only_so_long),
		TEST(what_the_broker_tells_goes_to_those_who_listen),
		TEST(vnets_have_their_own_events),
		TEST(names_of_the_broker_are_not_for_publishers),
		TEST(a_subscription_outlives_a_cut_and_keeps_what_came_meanwhile),
		TEST(a_blocked_publisher_goes_on_when_the_subscriber_asks_for_less),
		TEST(the_answer_to_a_repeat_does_not_overtake_what_it_repeats),
		TEST(last_values_for_many_subscriptions_stay_within_memory),
		TEST(one_id_in_two_vnets_is_two_events),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
