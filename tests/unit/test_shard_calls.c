/* tests/unit/test_shard_calls.c: the edges of the directory and of calls: what one frame does must not change what another one said. */
#include "shard_world.h"

#include "../../broker/call.h"

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	assert_non_null(w);
	world_init(w);
	w->config.out_buffer_max = 4 << 20;
	w->config.out_buffer_soft = 1 << 20;
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

static void serve(struct client *c, const char *service, uint32_t capacity)
{
	struct msg *m = calloc(1, sizeof *m);
	assert_non_null(m);
	m->kind = FRAME_SERVE;
	m->serve.entries[0] = (struct wire_entry){ .id = 5, .service = span_str(service), .capacity = capacity };
	m->serve.count = 1;
	client_send(c, m, 0, (struct span){ NULL, 0 });
	free(m);
	world_run(c->w, SIM_S / 100);
}

/* Calls with one byte each. */
static void call(struct client *c, const char *service, uint64_t first, uint32_t count, bool all)
{
	static const struct event_head h;
	struct event_head named = h;
	struct buf head = { NULL, 0, 0 }, out = { NULL, 0, 0 }, bytes = { NULL, 0, 0 };
	uint32_t *sizes = calloc(count, sizeof *sizes);
	assert_non_null(sizes);
	for (uint32_t i = 0; i < count; i++)
		sizes[i] = 1;
	memset(buf_extend(&bytes, count), 'x', count);
	named.type = span_str("Ask");
	event_head_encode(&head, &named);
	const struct msg_call m = { .first = first, .deadline_ms = 3600000, .all = all, .service = span_str(service),
				    .head = buf_span(&head), .sizes = { sizes, count } };
	const struct span payload = buf_span(&bytes);
	msg_encode_call(&out, &m, &payload, 1);
	sim_peer_send(c->peer, buf_span(&out));
	free(sizes);
	buf_free(&head);
	buf_free(&out);
	buf_free(&bytes);
}

static void every_session_of_a_name_is_kicked_and_no_other(void **state)
{
	struct client operator, them[3];
	client_open(&operator, *state, 1);
	for (int i = 0; i < 3; i++)
		client_open(&them[i], *state, (uint8_t)(2 + i));
	struct msg_reply *r = client_ask(&operator, (struct msg_request){ .verb = VERB_WORKER_KICK, .name = span_str("test"),
									  .text = span_str("it is late") });
	assert_int_equal(r->code, ERR_OK);
	assert_int_equal(r->count, 3);
	for (int i = 0; i < 3; i++) {
		struct msg *m = client_expect(&them[i], FRAME_GOODBYE);
		assert_true(span_eq(m->goodbye.text, span_str("it is late")));
		client_free(&them[i]);
	}
	client_free(&operator);
}

/* Answers that fill a frame of their caller are sent at once: what the holder's frame says further must still be read from it. */
static void all_answers_arrive_where_the_caller_holds_a_cancelled_call(void **state)
{
	struct world *w = *state;
	struct client caller, holder, third;
	uint64_t asked[7], cancelled[] = { 1 };
	uint8_t *bytes = calloc(4, 1 << 20);
	assert_non_null(bytes);
	client_open(&caller, w, 1);
	client_open(&holder, w, 2);
	client_open(&third, w, 3);
	serve(&caller, "back", 0);
	serve(&holder, "front", 0);
	call(&third, "back", 1, 1, false);
	(void)client_expect(&caller, FRAME_INVOKE);
	call(&caller, "front", 1, 7, false);
	struct msg *m = client_expect(&holder, FRAME_INVOKE);
	assert_int_equal(m->invoke.count, 7);
	for (uint32_t i = 0; i < 7; i++)
		asked[i] = m->invoke.items[i].call;
	struct shard *s = w->shard;
	s->msg.call_cancel = (struct msg_call_cancel){ .calls = { cancelled, 1 } };
	call_cancel(s->slots[2]->conn, &s->msg.call_cancel);
	for (uint32_t from = 0; from < 7; from += 4) {
		struct answer_item items[4];
		uint32_t count = from ? 3 : 4;
		for (uint32_t i = 0; i < count; i++)
			items[i] = (struct answer_item){ .call = asked[from + i], .size = 1 << 20 };
		s->msg.answer = (struct msg_answer){ .items = items, .count = count };
		call_answers(s->slots[1]->conn, &s->msg.answer, span_of(bytes, (size_t)count << 20));
	}
	assert_int_equal(s->counters.answers_total, 7);
	assert_int_equal(s->slots[0]->call_count, 0);
	free(bytes);
	client_free(&caller);
	client_free(&holder);
	client_free(&third);
}

static void a_directory_that_changes_for_ever_is_never_full_of_its_past(void **state)
{
	struct world *w = *state;
	struct client c;
	struct span hot[LIMIT_ENTRY_TEXTS];
	char names[LIMIT_ENTRY_TEXTS][LIMIT_NAME_BYTES], text[128];
	client_open(&c, w, 1);
	memset(names, 'n', sizeof names);
	for (uint32_t i = 0; i < COUNT_OF(hot); i++)
		hot[i] = span_of((const uint8_t *)names[i], LIMIT_NAME_BYTES);
	struct msg_serve *m = calloc(1, sizeof *m);
	assert_non_null(m);
	m->count = 1;
	for (uint32_t i = 0; i < CHANGES_KEPT; i++) {
		memcpy(names[0], &i, sizeof i);
		m->entries[0] = (struct wire_entry){ .id = 1, .service = span_str("s"), .hot = hot, .hot_count = COUNT_OF(hot),
						     .vnets = hot, .vnet_count = COUNT_OF(hot) };
		assert_int_equal(directory_serve(w->shard->slots[0], m, text), ERR_OK);
	}
	free(m);
	client_free(&c);
}

static void snapshots_that_are_asked_for_all_at_once_do_not_pile_up(void **state)
{
	enum { ENTRIES = 150, WATCHES = 40 };
	struct world *w = *state;
	struct client holder, c;
	char params[LIMIT_PARAMS_BYTES];
	client_open(&holder, w, 1);
	client_open(&c, w, 2);
	memset(params, 'p', sizeof params);
	memcpy(params, "a=\"", 3);
	params[sizeof params - 1] = '"';
	struct msg *m = calloc(1, sizeof *m);
	assert_non_null(m);
	m->kind = FRAME_SERVE;
	m->serve.count = ENTRIES;
	for (uint32_t i = 0; i < ENTRIES; i++)
		m->serve.entries[i] = (struct wire_entry){ .id = i, .service = span_str("s"),
							   .params = span_of((const uint8_t *)params, sizeof params) };
	client_send(&holder, m, 0, (struct span){ NULL, 0 });
	world_run(w, SIM_S);
	m->kind = FRAME_WATCH;
	for (uint32_t i = 0; i < WATCHES; i++) {
		m->watch = (struct msg_watch){ .watch = 1 + i, .once = i % 2 == 0 };
		client_send(&c, m, 0, (struct span){ NULL, 0 });
	}
	uint32_t ends = 0, items = 0;
	while (ends < WATCHES) {
		const struct msg_changes *got = &client_expect(&c, FRAME_CHANGES)->changes;
		ends += got->end;
		items += got->count;
	}
	assert_int_equal(items, ENTRIES * WATCHES);
	m->watch = (struct msg_watch){ .where = span_str("a == 1 && b ==") };
	client_send(&c, m, 0, (struct span){ NULL, 0 });
	assert_int_equal(client_expect(&c, FRAME_ERROR)->error.code, ERR_INVALID_INPUT);
	free(m);
	client_free(&holder);
	client_free(&c);
}

static void a_call_to_all_is_refused_where_not_all_can_be_asked(void **state)
{
	struct world *w = *state;
	struct client caller, holder;
	client_open(&caller, w, 1);
	client_open(&holder, w, 2);
	serve(&holder, "s", LIMIT_ENTRY_CREDIT);
	for (uint64_t i = 0; i < 4; i++) {
		call(&caller, "s", 1 + i * LIMIT_FRAME_ITEMS, LIMIT_FRAME_ITEMS, false);
		world_run(w, SIM_S);
	}
	while (client_poll(&holder))
		;
	assert_int_equal(w->shard->slots[0]->call_count, 4 * LIMIT_FRAME_ITEMS);
	call(&caller, "s", 1 + 4 * LIMIT_FRAME_ITEMS, 1, true);
	const struct msg *m = client_expect(&caller, FRAME_ANSWER);
	assert_int_equal(m->answer.count, 1);
	assert_int_equal(m->answer.items[0].code, ERR_RESOURCE_EXHAUSTED);
	client_free(&caller);
	client_free(&holder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_session_of_a_name_is_kicked_and_no_other, setup, teardown),
		cmocka_unit_test_setup_teardown(all_answers_arrive_where_the_caller_holds_a_cancelled_call, setup, teardown),
		cmocka_unit_test_setup_teardown(a_directory_that_changes_for_ever_is_never_full_of_its_past, setup, teardown),
		cmocka_unit_test_setup_teardown(snapshots_that_are_asked_for_all_at_once_do_not_pile_up, setup, teardown),
		cmocka_unit_test_setup_teardown(a_call_to_all_is_refused_where_not_all_can_be_asked, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
