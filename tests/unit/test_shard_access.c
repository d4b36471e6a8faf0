/* tests/unit/test_shard_access.c: the matrix: every frame and every verb against {no principal, other vnet, listed deny, listed allow}, and
 * every verb that takes an id with one of another vnet. A new frame or verb without a row here fails the first test. */
#include "access_world.h"
#include "blob_world.h"

#include "../../broker/admin_permit.h"

enum { ANN = 10, BOB = 11, DEB = 12, OPS = 13 };
struct tokens { char ops[TOKEN_TEXT], ann[TOKEN_TEXT], bob[TOKEN_TEXT], deb[TOKEN_TEXT]; };
struct realm { struct world w; struct tokens t; struct client ops; uint64_t task, unknown; };

static void enter(struct client *c, struct realm *r, uint8_t id, const char *token)
{
	hello_with(c, &r->w, id, token, "");
	(void)client_expect(c, FRAME_WELCOME);
}

static void deny(struct realm *r, const char *name, uint32_t verbs)
{
	assert_int_equal(access_ask(&r->ops, VERB_RULE_ADD, name, (struct access_info){ .verbs = verbs, .target = span_str("*"),
				    .vnet = span_str("*"), .deny = true })->code, ERR_OK);
}

/* ann and deb are in vnet a, where deb is denied everything; bob is in vnet b; ops may do all. A task of ann's waits in queue "q". */
static int setup(void **state)
{
	struct realm *r = calloc(1, sizeof *r);
	struct client first;
	assert_non_null(r);
	world_init(&r->w);
	world_open(&r->w);
	client_open(&first, &r->w, 1);
	make(&first, "ops", "*", true, r->t.ops);
	client_expect_closed(&first); /* nobody in particular is nobody now */
	client_free(&first);
	enter(&r->ops, r, OPS, r->t.ops);
	make(&r->ops, "ann", "a", false, r->t.ann);
	make(&r->ops, "bob", "b", false, r->t.bob);
	make(&r->ops, "deb", "a", false, r->t.deb);
	deny(r, "deb", ACCESS_ALL);
	struct client ann;
	enter(&ann, r, ANN, r->t.ann);
	client_submit(&ann, (struct submit_args){ .type = "q", .producer = 9, .first_seq = 1, .count = 1, .size = 16, .key = "k" });
	r->task = client_expect(&ann, FRAME_CONFIRMS)->confirms.runs[0].first_task;
	r->unknown = r->task + 1000;
	client_free(&ann);
	world_run(&r->w, SIM_MS); /* it is noticed */
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct realm *r = *state;
	client_free(&r->ops);
	world_close(&r->w);
	free(r);
	return 0;
}

/* ---- the tables ---- */

/* What a verb of REQUEST does in another vnet, where the same name is another thing and an id is unknown. */
enum row { ROW_ID, ROW_NAME, ROW_LIST, ROW_BROKER, ROW_SELF, ROW_SPEC, ROW_OWN };
static const struct { enum verb verb; enum row row; } verb_rows[] = {
	{ VERB_TASK_SHOW, ROW_ID }, { VERB_TASK_PEEK, ROW_ID }, { VERB_TASK_TREE, ROW_ID }, { VERB_TASK_WHY, ROW_ID },
	{ VERB_TASK_CANCEL, ROW_ID }, { VERB_TASK_RETRY, ROW_ID }, { VERB_TASK_INTERRUPT, ROW_ID }, { VERB_TASK_PAUSE, ROW_ID },
	{ VERB_TASK_RESUME, ROW_ID }, { VERB_TASK_STEP, ROW_ID }, { VERB_DLQ_REDRIVE, ROW_ID },
	{ VERB_QUEUE_SHOW, ROW_NAME }, { VERB_QUEUE_SET, ROW_NAME }, { VERB_QUEUE_PURGE, ROW_NAME }, { VERB_QUEUE_PAUSE, ROW_NAME },
	{ VERB_QUEUE_RESUME, ROW_NAME }, { VERB_QUEUE_PEEK, ROW_NAME }, { VERB_QUEUE_REMOVE, ROW_NAME }, { VERB_DLQ_PURGE, ROW_NAME },
	{ VERB_QUEUE_WEIGH, ROW_NAME },
	{ VERB_QUEUE_BIND, ROW_NAME }, { VERB_QUEUE_UNBIND, ROW_NAME }, { VERB_SUBSCRIPTION_REMOVE, ROW_NAME },
	{ VERB_WORKER_DRAIN, ROW_NAME }, { VERB_WORKER_KICK, ROW_NAME }, { VERB_SCHEDULE_SHOW, ROW_NAME },
	{ VERB_SCHEDULE_REMOVE, ROW_NAME }, { VERB_SCHEDULE_PAUSE, ROW_NAME }, { VERB_SCHEDULE_RESUME, ROW_NAME },
	{ VERB_SCHEDULE_RUN, ROW_NAME }, { VERB_TASK_LIST, ROW_LIST }, { VERB_QUEUE_LIST, ROW_LIST }, { VERB_DLQ_LIST, ROW_LIST },
	{ VERB_TOPIC_LIST, ROW_LIST }, { VERB_WORKER_LIST, ROW_LIST }, { VERB_SCHEDULE_LIST, ROW_LIST }, { VERB_TYPE_LIST, ROW_LIST },
	{ VERB_TYPE_SHOW, ROW_NAME }, { VERB_TYPE_CHECK, ROW_NAME }, { VERB_TYPE_DIFF, ROW_NAME },
	{ VERB_GROUP_LIST, ROW_LIST }, { VERB_GROUP_SHOW, ROW_NAME }, { VERB_GROUP_MEMBERS, ROW_NAME }, { VERB_GROUP_CANCEL, ROW_NAME },
	{ VERB_REDRIVE_LIST, ROW_LIST }, { VERB_REDRIVE_START, ROW_SPEC }, { VERB_REDRIVE_STOP, ROW_SPEC },
	{ VERB_WORKER_SHOW, ROW_NAME }, { VERB_WORKER_STOP, ROW_NAME }, { VERB_WORKER_BLOCK, ROW_BROKER },
	{ VERB_WORKER_UNBLOCK, ROW_BROKER }, { VERB_WORKER_BLOCKED, ROW_BROKER }, { VERB_ENTRY_REMOVE, ROW_OWN },
	{ VERB_QUEUE_CREATE, ROW_SELF }, { VERB_SUBSCRIPTION_ADD, ROW_SELF }, { VERB_SCHEDULE_ADD, ROW_SELF },
	{ VERB_TYPE_REGISTER, ROW_BROKER }, { VERB_TYPE_REMOVE, ROW_BROKER }, { VERB_STATS, ROW_BROKER },
	{ VERB_NODE_RELOAD, ROW_BROKER }, { VERB_CHECKPOINT, ROW_BROKER },
	{ VERB_PRINCIPAL_ADD, ROW_BROKER }, { VERB_PRINCIPAL_SET, ROW_BROKER }, { VERB_PRINCIPAL_REMOVE, ROW_BROKER },
	{ VERB_PRINCIPAL_LIST, ROW_BROKER }, { VERB_TOKEN_ADD, ROW_BROKER }, { VERB_TOKEN_ROTATE, ROW_BROKER },
	{ VERB_TOKEN_REMOVE, ROW_BROKER }, { VERB_TOKEN_LIST, ROW_BROKER }, { VERB_RULE_ADD, ROW_BROKER }, { VERB_RULE_REMOVE, ROW_BROKER },
	{ VERB_RULE_LIST, ROW_BROKER }, { VERB_ACCESS_TEST, ROW_BROKER }, { VERB_ACCESS_TOKEN, ROW_SELF },
	{ VERB_BLOB_LIST, ROW_LIST }, { VERB_BLOB_SHOW, ROW_SPEC }, { VERB_BLOB_PIN, ROW_SPEC }, { VERB_BLOB_UNPIN, ROW_SPEC },
	{ VERB_BLOB_REMOVE, ROW_SPEC }, { VERB_BLOB_COLLECT, ROW_BROKER }, { VERB_BLOB_SCRUB, ROW_BROKER },
};

/* Where a test of each frame is: by name, so that whoever adds one has to look. */
static const struct { enum frame_kind kind; const char *tested; } frame_rows[] = {
	{ FRAME_HELLO, "nobody_gets_in_without_credentials" }, { FRAME_PING, "nothing to permit" }, { FRAME_PONG, "nothing to permit" },
	{ FRAME_GOODBYE, "ends its own session" }, { FRAME_SUBMIT, "what_is_denied_is_refused" },
	{ FRAME_AWAIT, "a_task_of_another_vnet" }, { FRAME_FORGET, "of its own waits" }, { FRAME_SERVE, "what_is_denied_is_refused" },
	{ FRAME_CREDIT, "of its own entries" }, { FRAME_REPORT, "a_report_of_another" }, { FRAME_REQUEST, "the table of verbs" },
	{ FRAME_SUBSCRIBE, "what_is_denied_is_refused" }, { FRAME_UNSUBSCRIBE, "of its own subscriptions" },
	{ FRAME_PUBLISH, "what_is_denied_is_refused" }, { FRAME_EVENT_CREDIT, "of its own subscriptions" },
	{ FRAME_INTEREST, "what_is_denied_is_refused" }, { FRAME_WATCH, "what_is_denied_is_refused" }, { FRAME_UNWATCH, "of its own watches" },
	{ FRAME_CALL, "what_is_denied_is_refused" }, { FRAME_ANSWER, "only calls it was asked" }, { FRAME_CALL_CANCEL, "of its own calls" },
	{ FRAME_BIND, "what_is_denied_is_refused" }, { FRAME_UNBIND, "of its own bindings" },
	{ FRAME_BLOB_PUT, "a_blob_is_of_its_vnet" }, { FRAME_BLOB_CHUNK, "of its own uploads" }, { FRAME_BLOB_END, "of its own uploads" },
	{ FRAME_BLOB_GET, "a_blob_is_of_its_vnet" }, { FRAME_BLOB_MORE, "of its own reads" },
};

static void every_frame_and_every_verb_has_a_row(void **state)
{
	struct realm *r = *state;
	for (uint32_t kind = 0; kind < 256; kind++) {
		bool listed = false;
		for (size_t i = 0; i < COUNT_OF(frame_rows); i++)
			listed = listed || (uint32_t)frame_rows[i].kind == kind;
		if (route_knows((uint16_t)kind) != listed)
			fail_msg("frame kind %u (%s) has no row in frame_rows: who may send it?", kind, frame_kind_name((uint16_t)kind));
	}
	for (uint32_t verb = 1; verb <= VERB_LAST; verb++) {
		bool listed = false;
		for (size_t i = 0; i < COUNT_OF(verb_rows); i++)
			listed = listed || verb_rows[i].verb == verb;
		bool answered = client_ask(&r->ops, (struct msg_request){ .verb = (uint16_t)verb, .name = span_str("nowhere") })->code !=
				ERR_UNSUPPORTED || verb == VERB_NODE_RELOAD; /* which the owner of this shard does not offer */
		if (answered != listed || admin_permit_knows(verb) != listed)
			fail_msg("verb %u: answered %d, in the table of admin_permit.c %d, in verb_rows %d", verb, answered,
				 admin_permit_knows(verb), listed);
	}
}

/* ---- no principal ---- */

static void nobody_gets_in_without_credentials(void **state)
{
	struct realm *r = *state;
	static char first[512];
	char wrong[TOKEN_TEXT], unknown[TOKEN_TEXT];
	(void)snprintf(wrong, sizeof wrong, "%s", r->t.ann);
	wrong[strlen(wrong) - 1] = wrong[strlen(wrong) - 1] == '0' ? '1' : '0';
	(void)snprintf(unknown, sizeof unknown, "%s", r->t.ann);
	unknown[6] = unknown[6] == '0' ? '1' : '0';
	const struct { const char *token, *vnet; } tries[] = { { "", "" }, { "", "a" }, { wrong, "" }, { unknown, "" }, { "rubbish", "" },
							       { r->t.ann, "b" }, { r->t.bob, "default" }, { r->t.ann, "a/x" } };
	for (size_t i = 0; i < COUNT_OF(tries); i++) {
		struct client c;
		hello_with(&c, &r->w, (uint8_t)(50 + i), tries[i].token, tries[i].vnet);
		struct msg *m = client_expect(&c, FRAME_ERROR);
		assert_int_equal(m->error.code, ERR_PERMISSION);
		assert_true(m->error.fatal);
		if (i == 0)
			(void)snprintf(first, sizeof first, "%.*s", (int)m->error.text.len, (const char *)m->error.text.data);
		assert_true(span_eq(m->error.text, span_str(first))); /* the same words, whatever it was */
		client_expect_closed(&c);
		client_free(&c);
	}
}

static void a_session_is_resumed_by_its_own_principal_alone(void **state)
{
	struct realm *r = *state;
	struct client c, d;
	enter(&c, r, 77, r->t.ann);
	client_free(&c);
	world_run(&r->w, SIM_S / 10);
	hello_with(&d, &r->w, 77, r->t.bob, "");
	client_expect_refused(&d, ERR_PERMISSION);
	client_free(&d);
	hello_with(&d, &r->w, 77, r->t.ann, "");
	assert_true(client_expect(&d, FRAME_WELCOME)->welcome.resumed);
	client_free(&d);
}

/* ---- other vnet ---- */

struct answer { enum err code; char text[256]; uint64_t count; };
static struct answer about(struct client *c, enum verb verb, const char *name, uint64_t task)
{
	const struct u64s one = { &task, task ? 1 : 0 };
	struct msg_reply *r = client_ask(c, (struct msg_request){ .verb = (uint16_t)verb, .name = span_str(name), .tasks = one, .limit = 10,
								  .text = span_str("q") });
	uint64_t rows = r->task_count + r->queue_count + r->worker_count + r->topic_count + r->spec_count;
	struct answer a = { .code = (enum err)r->code, .count = rows };
	(void)snprintf(a.text, sizeof a.text, "%.*s", (int)r->text.len, r->text.len ? (const char *)r->text.data : "");
	return a;
}

static void a_task_of_another_vnet_is_one_that_never_was(void **state)
{
	struct realm *r = *state;
	struct client bob;
	enter(&bob, r, BOB, r->t.bob);
	for (size_t i = 0; i < COUNT_OF(verb_rows); i++) {
		if (verb_rows[i].row != ROW_ID)
			continue;
		struct answer foreign = about(&bob, verb_rows[i].verb, "", r->task);
		struct answer never = about(&bob, verb_rows[i].verb, "", r->unknown);
		if (foreign.code != ERR_NOT_FOUND || never.code != ERR_NOT_FOUND || strcmp(foreign.text, never.text) != 0 || foreign.count != 0)
			fail_msg("verb %d: foreign %s \"%s\", unknown %s \"%s\"", verb_rows[i].verb, err_name(foreign.code), foreign.text,
				 err_name(never.code), never.text);
	}
	const uint64_t both[] = { r->task, r->unknown };
	struct msg m = { .kind = FRAME_AWAIT };
	m.tasks = (struct msg_tasks){ .tasks = { both, 2 }, .want_updates = true };
	client_send(&bob, &m, 0, (struct span){ NULL, 0 });
	for (uint32_t seen = 0; seen < 2;) {
		struct msg *got = client_expect(&bob, FRAME_RESULTS);
		for (uint32_t i = 0; i < got->results.count; i++, seen++)
			assert_int_equal(got->results.items[i].code, ERR_NOT_FOUND);
	}
	client_free(&bob);
}

static void names_and_lists_of_another_vnet_are_empty(void **state)
{
	struct realm *r = *state;
	struct client bob, ann;
	enter(&bob, r, BOB, r->t.bob);
	enter(&ann, r, ANN, r->t.ann);
	assert_int_equal(about(&ann, VERB_QUEUE_LIST, "", 0).count, 1);
	assert_int_equal(about(&ann, VERB_TASK_LIST, "", 0).count, 1);
	for (size_t i = 0; i < COUNT_OF(verb_rows); i++) {
		struct answer a = about(&bob, verb_rows[i].verb, verb_rows[i].row == ROW_NAME ? "q" : "", 0);
		if (verb_rows[i].row == ROW_NAME && a.code != ERR_NOT_FOUND)
			fail_msg("verb %d on a name of another vnet: %s \"%s\"", verb_rows[i].verb, err_name(a.code), a.text);
		if (verb_rows[i].row == ROW_LIST && (a.code != ERR_OK || a.count != 0))
			fail_msg("list verb %d: %s, %llu items", verb_rows[i].verb, err_name(a.code), (unsigned long long)a.count);
	}
	/* Written out, the name under which it is kept is no name. */
	assert_int_equal(about(&bob, VERB_QUEUE_SHOW, "a/q", 0).code, ERR_INVALID_INPUT);
	client_submit(&bob, (struct submit_args){ .type = "a/q", .producer = 5, .first_seq = 1, .count = 1 });
	assert_int_equal(client_expect(&bob, FRAME_CONFIRMS)->confirms.runs[0].code, ERR_INVALID_INPUT);
	client_free(&bob);
	client_free(&ann);
}

static void the_same_queue_key_and_producer_in_two_vnets_are_two(void **state)
{
	struct realm *r = *state;
	struct client bob, ann;
	enter(&bob, r, BOB, r->t.bob);
	client_submit(&bob, (struct submit_args){ .type = "q", .producer = 9, .first_seq = 1, .count = 1, .size = 16, .key = "k" });
	const struct confirm_run run = client_expect(&bob, FRAME_CONFIRMS)->confirms.runs[0];
	assert_int_equal(run.code, ERR_OK);
	assert_false(run.duplicate);
	assert_true(run.first_task != r->task);
	client_serve(&bob, "q", 10);
	struct msg *m = client_expect(&bob, FRAME_DELIVER);
	assert_int_equal(m->deliver.count, 1);
	assert_int_equal(m->deliver.items[0].task, run.first_task);
	assert_true(span_eq(m->deliver.queue, span_str("q")));
	/* a_report_of_another: a token of a lease that is not its own settles nothing */
	enter(&ann, r, ANN, r->t.ann);
	client_report(&ann, (struct task_ref){ run.first_task, m->deliver.items[0].attempt, m->deliver.epoch }, REPORT_COMPLETE, "stolen");
	assert_int_equal(client_expect(&ann, FRAME_REPORTED)->reported.items[0].code, ERR_STALE_LEASE);
	client_submit(&ann, (struct submit_args){ .type = "q", .producer = 10, .first_seq = 1, .count = 1, .size = 16, .key = "k" });
	const struct confirm_run again = client_expect(&ann, FRAME_CONFIRMS)->confirms.runs[0];
	assert_true(again.duplicate);
	assert_int_equal(again.first_task, r->task);
	client_free(&bob);
	client_free(&ann);
}

static struct answer redrive(struct client *c, enum verb verb, struct redrive_info info)
{
	struct buf spec = { NULL, 0, 0 };
	redrive_info_encode(&spec, &info);
	struct msg_reply *r = client_ask(c, (struct msg_request){ .verb = (uint16_t)verb, .spec = buf_span(&spec) });
	struct answer a = { .code = (enum err)r->code, .count = r->count };
	buf_free(&spec);
	return a;
}

static void redrives_are_a_vnets_own(void **state)
{
	struct realm *r = *state;
	struct client bob, ann, deb;
	enter(&ann, r, ANN, r->t.ann);
	enter(&bob, r, BOB, r->t.bob);
	enter(&deb, r, DEB, r->t.deb);
	const struct redrive_info start = { .queue = span_str("q"), .rate = 1 };
	assert_int_equal(redrive(&bob, VERB_REDRIVE_START, start).code, ERR_NOT_FOUND);
	assert_int_equal(redrive(&deb, VERB_REDRIVE_START, start).code, ERR_PERMISSION);
	struct answer begun = redrive(&ann, VERB_REDRIVE_START, start);
	assert_int_equal(begun.code, ERR_OK);
	assert_int_equal(about(&ann, VERB_REDRIVE_LIST, "", 0).count, 1);
	assert_int_equal(about(&bob, VERB_REDRIVE_LIST, "", 0).count, 0);
	assert_int_equal(redrive(&bob, VERB_REDRIVE_STOP, (struct redrive_info){ .number = begun.count }).code, ERR_NOT_FOUND);
	assert_int_equal(redrive(&bob, VERB_REDRIVE_STOP, (struct redrive_info){ .number = 999 }).code, ERR_NOT_FOUND);
	assert_int_not_equal(redrive(&ann, VERB_REDRIVE_STOP, (struct redrive_info){ .number = begun.count }).code, ERR_NOT_FOUND);
	client_free(&bob);
	client_free(&ann);
	client_free(&deb);
}

static enum err blob_ask(struct client *c, enum verb verb, const struct content *content)
{
	struct buf spec = { NULL, 0, 0 };
	const struct blob_info info = { .digest = span_of(content->digest, BLOB_DIGEST), .pin = span_str("p") };
	blob_info_encode(&spec, &info);
	enum err e = (enum err)client_ask(c, (struct msg_request){ .verb = (uint16_t)verb, .spec = buf_span(&spec) })->code;
	buf_free(&spec);
	return e;
}

/* Neither by its digest, nor by how long an upload of the same takes, nor by a reference. */
static void a_blob_is_of_its_vnet(void **state)
{
	static const enum verb verbs[] = { VERB_BLOB_SHOW, VERB_BLOB_PIN, VERB_BLOB_UNPIN, VERB_BLOB_REMOVE };
	struct realm *r = *state;
	struct client bob, ann, deb;
	enter(&ann, r, ANN, r->t.ann);
	enter(&bob, r, BOB, r->t.bob);
	enter(&deb, r, DEB, r->t.deb);
	struct content content = content_of(700, 1);
	uint64_t number = store(&ann, 1, &content)->number;
	send_get(&bob, 1, &content, 0, 0, UINT64_MAX);
	assert_int_equal(client_expect(&bob, FRAME_BLOB_DATA)->blob_data.code, ERR_NOT_FOUND);
	assert_int_equal(about(&bob, VERB_BLOB_LIST, "", 0).count, 0);
	assert_int_equal(about(&ann, VERB_BLOB_LIST, "", 0).count, 1);
	for (size_t i = 0; i < COUNT_OF(verbs); i++) {
		assert_int_equal(blob_ask(&bob, verbs[i], &content), ERR_NOT_FOUND);
		assert_int_equal(blob_ask(&deb, verbs[i], &content), ERR_PERMISSION);
	}
	send_put(&bob, (struct msg_blob_put){ .upload = 1, .size = content.len, .digest = span_of(content.digest, BLOB_DIGEST) });
	assert_false(state_of(&bob)->stored); /* it has to come, though it is there in another vnet */
	send_end(&bob, 1, 0, NULL);
	assert_int_not_equal(store(&bob, 2, &content)->number, number);
	assert_int_equal(fetch(&bob, 3, &content, 0), ERR_OK);
	assert_int_equal(blob_ask(&ann, VERB_BLOB_REMOVE, &content), ERR_OK); /* ann's: bob's stays */
	assert_int_equal(fetch(&bob, 4, &content, 0), ERR_OK);
	free(content.bytes);
	client_free(&bob);
	client_free(&ann);
	client_free(&deb);
}

static struct answer submit_head(struct client *c, struct task_head h, uint64_t producer)
{
	static const uint32_t none = 0;
	struct buf head = { NULL, 0, 0 };
	h.type = span_str("q");
	task_head_encode(&head, &h);
	struct msg m = { .kind = FRAME_SUBMIT };
	m.submit = (struct msg_submit){ .producer = producer, .first_seq = 1, .resolved_below = 1, .head = buf_span(&head),
					.sizes = { &none, 1 } };
	client_send(c, &m, 0, (struct span){ NULL, 0 });
	const struct msg_confirms *confirms = &client_expect(c, FRAME_CONFIRMS)->confirms;
	struct answer a = { .code = (enum err)confirms->runs[0].code, .count = confirms->runs[0].first_task };
	(void)snprintf(a.text, sizeof a.text, "%.*s", (int)confirms->text.len, confirms->text.len ? (const char *)confirms->text.data : "");
	buf_free(&head);
	return a;
}

static void a_task_comes_after_no_task_of_another_vnet_and_groups_do_not_meet(void **state)
{
	struct realm *r = *state;
	struct client bob, ann;
	enter(&ann, r, ANN, r->t.ann);
	enter(&bob, r, BOB, r->t.bob);
	const struct task_head member = { .group = span_str("g") };
	assert_int_equal(submit_head(&ann, member, 50).code, ERR_OK);
	assert_int_equal(about(&ann, VERB_GROUP_LIST, "", 0).count, 1);
	assert_int_equal(about(&ann, VERB_GROUP_SHOW, "g", 0).code, ERR_OK);
	assert_int_equal(about(&bob, VERB_GROUP_LIST, "", 0).count, 0);
	assert_int_equal(about(&bob, VERB_GROUP_SHOW, "g", 0).code, ERR_NOT_FOUND);
	assert_int_equal(about(&bob, VERB_GROUP_CANCEL, "g", 0).code, ERR_NOT_FOUND);
	const struct task_head callback = { .after_group = span_str("g"), .group_size = 1 };
	assert_int_equal(submit_head(&bob, callback, 51).code, ERR_OK);  /* of its own group of that name */
	assert_int_equal(submit_head(&ann, callback, 52).code, ERR_OK);
	assert_int_equal(submit_head(&bob, (struct task_head){ .group = span_str("a/g") }, 53).code, ERR_INVALID_INPUT);
	const struct task_head foreign = { .after = span_of(&r->task, sizeof r->task) };
	struct answer a = submit_head(&bob, foreign, 54);
	assert_int_equal(a.code, ERR_NOT_FOUND);
	assert_non_null(strstr(a.text, "is not known any more"));
	assert_int_equal(submit_head(&ann, foreign, 55).code, ERR_OK);
	client_free(&bob);
	client_free(&ann);
}

/* ---- listed deny, listed allow ---- */

static void send_each(struct client *c, enum frame_kind kind)
{
	static const uint32_t none = 0;
	struct buf head = { NULL, 0, 0 };
	struct msg *m = calloc(1, sizeof *m);
	assert_non_null(m);
	m->kind = kind;
	const struct event_head h = { .type = span_str("e") };
	event_head_encode(&head, &h);
	switch ((int)kind) {
	case FRAME_SUBSCRIBE: m->subscribe = (struct msg_subscribe){ .subscription = 1, .pattern = span_str("e"), .unlimited = true }; break;
	case FRAME_PUBLISH:
		m->publish = (struct msg_publish){ .number = 1, .id = { 1, 1 }, .origin = 1, .confirm = true, .head = buf_span(&head),
						   .sizes = { &none, 1 } };
		break;
	case FRAME_INTEREST: m->interest = (struct msg_interest){ .type = span_str("e"), .query = true, .number = 1 }; break;
	case FRAME_WATCH: m->watch = (struct msg_watch){ .watch = 1, .service = span_str("e"), .once = true }; break;
	case FRAME_CALL:
		m->call = (struct msg_call){ .first = 1, .service = span_str("e"), .deadline_ms = 1000, .head = buf_span(&head),
					     .sizes = { &none, 1 } };
		break;
	default:
		assert_int_equal(kind, FRAME_BIND);
		m->bind = (struct msg_bind){ .binding = 1, .service = span_str("e"), .min = 1, .desired = 1 };
	}
	client_send(c, m, 3, (struct span){ NULL, 0 });
	buf_free(&head);
	free(m);
}

static enum err outcome(struct client *c)
{
	client_next(c);
	switch ((int)c->msg.kind) {
	case FRAME_ERROR: assert_false(c->msg.error.fatal); return (enum err)c->msg.error.code;
	case FRAME_PUBLISHED: return (enum err)c->msg.published.items[0].code;
	case FRAME_CONFIRMS: return (enum err)c->msg.confirms.runs[0].code;
	case FRAME_ANSWER: return (enum err)c->msg.answer.items[0].code;
	default: return ERR_OK;
	}
}

static void what_is_denied_is_refused_and_the_session_stays(void **state)
{
	static const enum frame_kind kinds[] = { FRAME_SUBSCRIBE, FRAME_PUBLISH, FRAME_INTEREST, FRAME_WATCH, FRAME_CALL, FRAME_BIND };
	struct realm *r = *state;
	struct client deb, ann;
	enter(&deb, r, DEB, r->t.deb);
	enter(&ann, r, ANN, r->t.ann);
	client_submit(&deb, (struct submit_args){ .type = "q", .producer = 3, .first_seq = 1, .count = 2, .size = 8 });
	assert_int_equal(outcome(&deb), ERR_PERMISSION);
	client_serve(&deb, "q", 1);
	assert_int_equal(outcome(&deb), ERR_PERMISSION);
	assert_true(span_eq(deb.msg.error.text, span_str("principal deb may not serve q in vnet a")));
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		send_each(&deb, kinds[i]);
		enum err e = outcome(&deb);
		if (e != ERR_PERMISSION)
			fail_msg("%s: %s", frame_kind_name((uint16_t)kinds[i]), err_name(e));
		send_each(&ann, kinds[i]);
		e = outcome(&ann);
		if (e == ERR_PERMISSION)
			fail_msg("%s of ann: %s", frame_kind_name((uint16_t)kinds[i]), err_name(e));
	}
	client_free(&ann);
	enter(&ann, r, ANN + 100, r->t.ann); /* what those frames will still bring is not looked at */
	for (size_t i = 0; i < COUNT_OF(verb_rows); i++) {
		enum verb verb = verb_rows[i].verb;
		struct answer a = about(&deb, verb, "q", verb_rows[i].row == ROW_ID ? r->task : 0);
		if (verb_rows[i].row == ROW_SPEC)
			continue; /* redrives_are_a_vnets_own, a_blob_is_of_its_vnet */
		bool hidden = verb_rows[i].row == ROW_ID && verb != VERB_DLQ_REDRIVE ? a.code == ERR_NOT_FOUND || a.code == ERR_PERMISSION
			    : verb == VERB_QUEUE_LIST || verb == VERB_TYPE_LIST || verb == VERB_SCHEDULE_LIST ||
				      verb == VERB_GROUP_LIST || verb == VERB_REDRIVE_LIST ? a.code == ERR_OK && a.count == 0
			    : verb_rows[i].row == ROW_OWN ? a.code != ERR_PERMISSION
			    : verb == VERB_ACCESS_TOKEN ? a.code == ERR_OK
							: a.code == ERR_PERMISSION;
		if (!hidden)
			fail_msg("verb %d denied: %s \"%s\", %llu items", verb, err_name(a.code), a.text, (unsigned long long)a.count);
		a = about(&ann, verb, "nowhere", 0);
		if ((a.code == ERR_PERMISSION) != (verb_rows[i].row == ROW_BROKER))
			fail_msg("verb %d of one who is allowed: %s \"%s\"", verb, err_name(a.code), a.text);
	}
	client_free(&deb);
	client_free(&ann);
}

static void a_listed_allow_reaches_into_another_vnet_by_id_and_no_further(void **state)
{
	struct realm *r = *state;
	struct client bob;
	assert_int_equal(access_ask(&r->ops, VERB_RULE_ADD, "bob", (struct access_info){ .verbs = 1u << ACCESS_SEE, .target = span_str("q"),
				    .vnet = span_str("a") })->code, ERR_OK);
	enter(&bob, r, BOB, r->t.bob);
	assert_int_equal(about(&bob, VERB_TASK_SHOW, "", r->task).code, ERR_OK);
	struct answer a = about(&bob, VERB_TASK_CANCEL, "", r->task);
	assert_int_equal(a.code, ERR_PERMISSION); /* it is seen, so there is nothing to hide */
	assert_string_equal(a.text, "principal bob may not control q in vnet a");
	assert_int_equal(about(&bob, VERB_QUEUE_SHOW, "q", 0).code, ERR_NOT_FOUND);
	client_free(&bob);
}

/* ---- a change of rules ---- */

static void a_change_of_rules_is_felt_by_live_sessions(void **state)
{
	struct realm *r = *state;
	struct client worker, listener;
	enter(&worker, r, 20, r->t.ann);
	enter(&listener, r, 21, r->t.ann);
	client_serve(&worker, "other", 1);
	send_each(&listener, FRAME_SUBSCRIBE);
	assert_false(client_expect(&listener, FRAME_SUBSCRIBED)->subscribed.ended);
	deny(r, "ann", 1u << ACCESS_SUBSCRIBE);
	struct msg *m = client_expect(&listener, FRAME_SUBSCRIBED);
	assert_true(m->subscribed.ended);
	assert_int_equal(m->subscribed.code, ERR_PERMISSION);
	deny(r, "ann", 1u << ACCESS_SERVE);
	assert_int_equal(client_expect(&worker, FRAME_GOODBYE)->goodbye.code, ERR_PERMISSION);
	client_expect_closed(&worker);
	const struct access_info off = { .set = ACCESS_SET_DISABLED, .disabled = true };
	assert_int_equal(access_ask(&r->ops, VERB_PRINCIPAL_SET, "ann", off)->code, ERR_OK);
	assert_int_equal(client_expect(&listener, FRAME_GOODBYE)->goodbye.code, ERR_PERMISSION);
	client_expect_closed(&listener);
	client_free(&worker);
	client_free(&listener);
}

static void an_access_token_ends_its_session_unless_it_is_renewed(void **state)
{
	struct realm *r = *state;
	struct client ann, lazy, keen;
	struct access_info info;
	char made[ACCESS_TEXT_MAX], text[128];
	enter(&ann, r, 30, r->t.ann);
	struct msg_reply *reply = access_ask(&ann, VERB_ACCESS_TOKEN, "", (struct access_info){ .lifetime_ms = 6000 });
	assert_int_equal(access_info_decode(msg_reply_spec(reply, 0), &info, text), ERR_OK);
	(void)snprintf(made, sizeof made, "%.*s", (int)info.secret.len, (const char *)info.secret.data);
	enter(&lazy, r, 31, made);
	enter(&keen, r, 32, made);
	world_run(&r->w, 2 * SIM_S);
	assert_int_equal(access_ask(&keen, VERB_ACCESS_TOKEN, "", (struct access_info){ .lifetime_ms = 200000 })->code, ERR_OK);
	assert_int_equal(client_expect(&lazy, FRAME_GOODBYE)->goodbye.code, ERR_PERMISSION);
	assert_int_equal(about(&keen, VERB_QUEUE_LIST, "", 0).code, ERR_OK);
	client_free(&ann);
	client_free(&lazy);
	client_free(&keen);
}

static void all_of_it_is_there_after_a_restart(void **state)
{
	struct realm *r = *state;
	client_free(&r->ops);
	for (int round = 0; round < 2; round++) { /* from the log, then from a checkpoint */
		struct client bob, ann;
		sim_crash(r->w.sim, 0, SIM_CRASH_DROP_ALL);
		sim_bury(r->w.sim, 0);
		shard_close(r->w.shard);
		r->w.io->v->free(r->w.io);
		r->w.io = sim_restart(r->w.sim, 0);
		world_open(&r->w);
		hello_with(&bob, &r->w, 40, "", "");
		client_expect_refused(&bob, ERR_PERMISSION);
		client_free(&bob);
		enter(&bob, r, BOB, r->t.bob);
		assert_int_equal(about(&bob, VERB_TASK_SHOW, "", r->task).code, ERR_NOT_FOUND);
		enter(&ann, r, ANN, r->t.ann);
		assert_int_equal(about(&ann, VERB_TASK_SHOW, "", r->task).code, ERR_OK);
		client_submit(&ann, (struct submit_args){ .type = "q", .producer = 44, .first_seq = 1, .count = 1, .size = 16, .key = "k" });
		assert_int_equal(client_expect(&ann, FRAME_CONFIRMS)->confirms.runs[0].first_task, r->task);
		client_free(&bob);
		client_free(&ann);
		enter(&r->ops, r, OPS, r->t.ops);
		assert_int_equal(about(&r->ops, VERB_CHECKPOINT, "", 0).code, ERR_OK);
		world_run(&r->w, SIM_S);
		if (round == 0)
			client_free(&r->ops);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_frame_and_every_verb_has_a_row, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_gets_in_without_credentials, setup, teardown),
		cmocka_unit_test_setup_teardown(a_session_is_resumed_by_its_own_principal_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(a_task_of_another_vnet_is_one_that_never_was, setup, teardown),
		cmocka_unit_test_setup_teardown(names_and_lists_of_another_vnet_are_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(the_same_queue_key_and_producer_in_two_vnets_are_two, setup, teardown),
		cmocka_unit_test_setup_teardown(redrives_are_a_vnets_own, setup, teardown),
		cmocka_unit_test_setup_teardown(a_blob_is_of_its_vnet, setup, teardown),
		cmocka_unit_test_setup_teardown(a_task_comes_after_no_task_of_another_vnet_and_groups_do_not_meet, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_denied_is_refused_and_the_session_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(a_listed_allow_reaches_into_another_vnet_by_id_and_no_further, setup, teardown),
		cmocka_unit_test_setup_teardown(a_change_of_rules_is_felt_by_live_sessions, setup, teardown),
		cmocka_unit_test_setup_teardown(an_access_token_ends_its_session_unless_it_is_renewed, setup, teardown),
		cmocka_unit_test_setup_teardown(all_of_it_is_there_after_a_restart, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
