/* tests/unit/test_shard_types.c: the registry of types through a session: policies, refusals of single payloads, changes of schemas,
 * aliases, parents, and all of it after a restart. */
#include "shard_world.h"

#include "../../broker/types.h"
#include "schema_files.h"

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

static struct msg_reply *ask(struct client *c, enum verb verb, const char *name, const struct type_info *spec)
{
	struct buf bytes = { NULL, 0, 0 };
	if (spec)
		type_info_encode(&bytes, spec);
	struct msg_reply *r = client_ask(c, (struct msg_request){ .verb = (uint16_t)verb, .name = span_str(name), .spec = buf_span(&bytes) });
	buf_free(&bytes);
	return r;
}

static enum err with_schema(struct client *c, enum verb verb, const char *name, const char *file, uint8_t policy)
{
	struct buf schema = schema_file(file);
	const struct type_info spec = { .schema = buf_span(&schema), .root = span_str("Transcode"), .policy = policy };
	enum err e = ask(c, verb, name, &spec)->code;
	buf_free(&schema);
	return e;
}

static enum err alias(struct client *c, const char *name, const char *text)
{
	const struct type_info spec = { .policy = TYPE_POLICY_UNSET, .aliases = { span_str(text) }, .alias_count = 1 };
	return ask(c, VERB_TYPE_REGISTER, name, &spec)->code;
}

static enum err parent(struct client *c, const char *name, const char *text)
{
	const struct type_info spec = { .policy = TYPE_POLICY_UNSET, .parent = span_str(text) };
	return ask(c, VERB_TYPE_REGISTER, name, &spec)->code;
}

static struct type_info show(struct client *c, const char *name)
{
	struct type_info info;
	char text[128];
	struct msg_reply *r = ask(c, VERB_TYPE_SHOW, name, NULL);
	assert_int_equal(r->code, ERR_OK);
	assert_int_equal(r->spec_count, 1);
	assert_int_equal(type_info_decode(msg_reply_spec(r, 0), &info, text), ERR_OK);
	return info;
}

/* `count` payloads in one frame; those whose bit is set in `broken` are no Transcode. */
static void submit(struct client *c, const char *type, uint64_t fingerprint, uint64_t first_seq, uint32_t count, uint32_t broken)
{
	struct buf head = { NULL, 0, 0 }, payload = { NULL, 0, 0 }, good = schema_file("job_base.bin");
	const struct task_head h = { .type = span_str(type), .priority = 4, .fingerprint = fingerprint };
	uint32_t sizes[32];
	task_head_encode(&head, &h);
	for (uint32_t i = 0; i < count; i++) {
		sizes[i] = (uint32_t)good.len;
		buf_append(&payload, good.data, good.len);
		if (broken >> i & 1)
			memset(payload.data + payload.len - good.len, 0x55, 4);
	}
	struct msg m = { .kind = FRAME_SUBMIT };
	m.submit = (struct msg_submit){ .producer = 9, .first_seq = first_seq, .resolved_below = first_seq, .head = buf_span(&head),
					.sizes = { sizes, count } };
	client_send(c, &m, 0, buf_span(&payload));
	buf_free(&head);
	buf_free(&payload);
	buf_free(&good);
}

static uint32_t answer_of(struct client *c, uint64_t first_seq, uint32_t count, uint16_t codes[32], char text[256])
{
	uint32_t seen = 0;
	text[0] = '\0';
	while (seen < count) {
		struct msg *m = client_expect(c, FRAME_CONFIRMS);
		if (m->confirms.text.len > 0)
			(void)snprintf(text, 256, "%.*s", (int)m->confirms.text.len, (const char *)m->confirms.text.data);
		for (uint32_t i = 0; i < m->confirms.run_count; i++) {
			const struct confirm_run *run = &m->confirms.runs[i];
			for (uint32_t k = 0; k < run->count; k++)
				codes[run->first_seq - first_seq + k] = run->code;
			seen += run->count;
		}
	}
	return seen;
}

static void of_many_payloads_only_the_broken_ones_are_refused(void **state)
{
	struct client c;
	uint16_t codes[32];
	char text[256];
	client_open(&c, *state, 1);
	assert_int_equal(with_schema(&c, VERB_TYPE_REGISTER, "video.transcode", "job_base.bfbs", TYPE_VERIFY), ERR_OK);
	uint32_t broken = 1u << 0 | 1u << 3 | 1u << 4 | 1u << 9;
	submit(&c, "video.transcode", 0, 1, 10, broken);
	assert_int_equal(answer_of(&c, 1, 10, codes, text), 10);
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(codes[i], broken >> i & 1 ? ERR_SCHEMA_MISMATCH : ERR_OK);
	assert_string_equal(text, "Transcode: its offset points out of the payload");
	submit(&c, "something.else", 0, 11, 2, 3);
	assert_int_equal(answer_of(&c, 11, 2, codes, text), 2);
	assert_int_equal(codes[0], ERR_OK); /* nobody registered it */
	client_free(&c);
}

static void what_was_accepted_before_the_policy_is_confirmed_again(void **state)
{
	struct client c;
	uint16_t codes[32];
	char text[256];
	client_open(&c, *state, 1);
	submit(&c, "video.transcode", 0, 1, 2, 3);
	assert_int_equal(answer_of(&c, 1, 2, codes, text), 2);
	assert_int_equal(with_schema(&c, VERB_TYPE_REGISTER, "video.transcode", "job_base.bfbs", TYPE_VERIFY), ERR_OK);
	submit(&c, "video.transcode", 0, 1, 3, 7);
	assert_int_equal(answer_of(&c, 1, 3, codes, text), 3);
	assert_int_equal(codes[0], ERR_OK);
	assert_int_equal(codes[1], ERR_OK);
	assert_int_equal(codes[2], ERR_SCHEMA_MISMATCH);
	client_free(&c);
}

static void a_fingerprint_must_be_known(void **state)
{
	struct client c;
	uint16_t codes[32];
	char text[256];
	client_open(&c, *state, 1);
	assert_int_equal(with_schema(&c, VERB_TYPE_REGISTER, "v", "job_base.bfbs", TYPE_FINGERPRINT), ERR_OK);
	uint64_t old = show(&c, "v").fingerprints[0];
	assert_int_equal(with_schema(&c, VERB_TYPE_REGISTER, "v", "job_appended.bfbs", TYPE_POLICY_UNSET), ERR_OK);
	uint64_t new = show(&c, "v").fingerprints[0];
	assert_true(old != new);
	const struct { uint64_t fingerprint; enum err code; } cases[] = {
		{ old, ERR_OK }, { new, ERR_OK }, { 0, ERR_SCHEMA_MISMATCH }, { old ^ 1, ERR_SCHEMA_MISMATCH },
	};
	for (uint32_t i = 0; i < COUNT_OF(cases); i++) {
		submit(&c, "v", cases[i].fingerprint, 1 + i, 1, 1); /* the payload is not looked at */
		assert_int_equal(answer_of(&c, 1 + i, 1, codes, text), 1);
		assert_int_equal(codes[0], cases[i].code);
	}
	client_free(&c);
}

static void an_incompatible_schema_is_refused_and_changes_nothing(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	assert_int_equal(with_schema(&c, VERB_TYPE_REGISTER, "v", "job_base.bfbs", TYPE_VERIFY), ERR_OK);
	uint64_t before = show(&c, "v").fingerprints[0];
	const char *files[] = { "job_retyped.bfbs", "job_removed.bfbs", "job_enum.bfbs", "job_new_required.bfbs", "job_default.bfbs" };
	for (size_t i = 0; i < COUNT_OF(files); i++) {
		assert_int_equal(with_schema(&c, VERB_TYPE_DIFF, "v", files[i], TYPE_POLICY_UNSET), ERR_INCOMPATIBLE);
		assert_true(c.msg.reply.text.len > 0);
		assert_int_equal(with_schema(&c, VERB_TYPE_REGISTER, "v", files[i], TYPE_POLICY_UNSET), ERR_INCOMPATIBLE);
		assert_true(memmem(c.msg.reply.text.data, c.msg.reply.text.len, "job.", 4) != NULL);
	}
	assert_true(show(&c, "v").fingerprints[0] == before);
	assert_int_equal(show(&c, "v").fingerprint_count, 1);
	client_free(&c);
}

static void the_old_name_keeps_working_as_an_alias(void **state)
{
	struct client c, worker;
	uint16_t codes[32];
	char text[256];
	client_open(&c, *state, 1);
	client_open(&worker, *state, 2);
	client_serve(&worker, "old.name", 10);
	assert_int_equal(with_schema(&c, VERB_TYPE_REGISTER, "new.name", "job_base.bfbs", TYPE_VERIFY), ERR_OK);
	assert_int_equal(alias(&c, "new.name", "old.name"), ERR_OK);
	assert_int_equal(alias(&c, "new.name", "old.name"), ERR_OK);
	assert_int_equal(alias(&c, "other", "old.name"), ERR_EXISTS);
	submit(&c, "old.name", 0, 1, 2, 2);
	assert_int_equal(answer_of(&c, 1, 2, codes, text), 2);
	assert_int_equal(codes[0], ERR_OK);
	assert_int_equal(codes[1], ERR_SCHEMA_MISMATCH); /* the alias has the policy, too */
	struct msg *m = client_expect(&worker, FRAME_DELIVER);
	assert_true(span_eq(m->deliver.queue, span_str("new.name")));
	submit(&c, "new.name", 0, 3, 1, 0);
	assert_int_equal(answer_of(&c, 3, 1, codes, text), 1);
	(void)client_expect(&worker, FRAME_DELIVER);
	assert_int_equal(ask(&c, VERB_TYPE_REMOVE, "old.name", NULL)->code, ERR_OK);
	assert_int_equal(show(&c, "new.name").alias_count, 0);
	client_free(&worker);
	client_free(&c);
}

static void parents_are_registered_and_form_no_cycle(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	assert_int_equal(parent(&c, "b", "a"), ERR_NOT_FOUND);
	assert_int_equal(alias(&c, "a", "first"), ERR_OK);
	assert_int_equal(parent(&c, "b", "a"), ERR_OK);
	assert_int_equal(parent(&c, "c", "b"), ERR_OK);
	assert_int_equal(parent(&c, "a", "c"), ERR_WRONG_STATE);
	assert_int_equal(parent(&c, "a", "a"), ERR_WRONG_STATE);
	assert_int_equal(ask(&c, VERB_TYPE_REMOVE, "a", NULL)->code, ERR_WRONG_STATE);
	assert_true(span_eq(show(&c, "c").parent, span_str("b")));
	char name[8] = "c", last[8];
	for (int i = 0; i < TYPE_ANCESTORS - 3; i++) {
		memcpy(last, name, sizeof last);
		(void)snprintf(name, sizeof name, "d%d", i);
		assert_int_equal(parent(&c, name, last), ERR_OK);
	}
	assert_int_equal(parent(&c, "deeper", name), ERR_RESOURCE_EXHAUSTED);
	client_free(&c);
}

static void a_policy_needs_a_schema_and_names_have_rules(void **state)
{
	struct client c;
	client_open(&c, *state, 1);
	const struct type_info bare = { .policy = TYPE_VERIFY }, open = { .policy = TYPE_OPEN };
	assert_int_equal(ask(&c, VERB_TYPE_REGISTER, "v", &bare)->code, ERR_INVALID_INPUT);
	const char *names[] = { "", "a b", ".a", "a/b", "\x7f" };
	for (size_t i = 0; i < COUNT_OF(names); i++)
		assert_int_equal(ask(&c, VERB_TYPE_REGISTER, names[i], &open)->code, ERR_INVALID_INPUT);
	assert_int_equal(ask(&c, VERB_TYPE_SHOW, "v", NULL)->code, ERR_NOT_FOUND);
	assert_int_equal(ask(&c, VERB_TYPE_REMOVE, "v", NULL)->code, ERR_NOT_FOUND);
	client_free(&c);
}

static void a_payload_can_be_checked_without_submitting_it(void **state)
{
	struct client c;
	struct buf payload = schema_file("job_base.bin");
	client_open(&c, *state, 1);
	assert_int_equal(with_schema(&c, VERB_TYPE_REGISTER, "v", "job_base.bfbs", TYPE_OPEN), ERR_OK);
	struct type_info spec = { .policy = TYPE_POLICY_UNSET, .payload = buf_span(&payload) };
	assert_int_equal(ask(&c, VERB_TYPE_CHECK, "v", &spec)->code, ERR_OK);
	payload.data[0] = 3;
	assert_int_equal(ask(&c, VERB_TYPE_CHECK, "v", &spec)->code, ERR_SCHEMA_MISMATCH);
	assert_int_equal(ask(&c, VERB_TYPE_CHECK, "w", &spec)->code, ERR_NOT_FOUND);
	buf_free(&payload);
	client_free(&c);
}

/* ---- the durable state by itself ---- */

static void apply(struct types *t, struct span name, const struct type_info *spec, enum err expect)
{
	/* What propose would append, by hand: the layout on disk. */
	struct buf body = { NULL, 0, 0 };
	uint8_t fixed[16] = { 1, 1, spec->policy, (uint8_t)name.len, (uint8_t)spec->aliases[0].len, (uint8_t)spec->parent.len,
			      (uint8_t)spec->root.len, spec->answers };
	memcpy(fixed + 8, &(uint32_t){ (uint32_t)spec->schema.len }, 4);
	buf_append(&body, fixed, sizeof fixed);
	buf_append(&body, name.data, name.len);
	buf_append(&body, spec->aliases[0].data, spec->aliases[0].len);
	buf_append(&body, spec->parent.data, spec->parent.len);
	buf_append(&body, spec->root.data, spec->root.len);
	buf_append(&body, spec->schema.data, spec->schema.len);
	const struct log_entry entry = { .time_ms = 1000 };
	const struct log_record record = { .kind = REC_TYPE, .body = buf_span(&body) };
	struct applied out = { 0 };
	types_apply(t, &entry, &record, &out);
	assert_int_equal(out.code, expect);
	assert_int_equal(out.affected, expect == ERR_OK);
	buf_free(&body);
}

static struct types *some_types(void)
{
	struct types *t = types_new();
	struct buf schema = schema_file("job_base.bfbs"), next = schema_file("job_appended.bfbs"), bad = schema_file("job_retyped.bfbs");
	struct type_info base = { .policy = TYPE_VERIFY, .schema = buf_span(&schema), .root = span_str("job.Transcode") };
	base.aliases[0] = span_str("old");
	apply(t, span_str("video.transcode"), &base, ERR_OK);
	base.schema = buf_span(&next);
	apply(t, span_str("video.transcode"), &base, ERR_OK);
	base.schema = buf_span(&bad); /* crossed another proposal: apply judges again */
	apply(t, span_str("video.transcode"), &base, ERR_INCOMPATIBLE);
	apply(t, span_str("media"), &(struct type_info){ .policy = TYPE_OPEN, .answers = TYPE_ANSWERS_STREAM }, ERR_OK);
	apply(t, span_str("media"), &(struct type_info){ .policy = TYPE_OPEN }, ERR_OK); /* as it is */
	apply(t, span_str("media"), &(struct type_info){ .policy = TYPE_OPEN, .answers = TYPE_ANSWERS_ONE }, ERR_INCOMPATIBLE);
	apply(t, span_str("video.transcode"), &(struct type_info){ .policy = TYPE_POLICY_UNSET, .parent = span_str("media") }, ERR_OK);
	buf_free(&schema);
	buf_free(&next);
	buf_free(&bad);
	return t;
}

static void aliases_resolve_and_ancestors_are_found(void **state)
{
	(void)state;
	struct types *t = some_types();
	assert_true(span_eq(types_resolve(t, span_str("old")), span_str("video.transcode")));
	assert_true(span_eq(types_resolve(t, span_str("plain")), span_str("plain")));
	assert_true(types_is_a(t, span_str("old"), span_str("media")));
	assert_true(types_is_a(t, span_str("old"), span_str("video.transcode")));
	assert_true(types_is_a(t, span_str("plain"), span_str("plain")));
	assert_false(types_is_a(t, span_str("media"), span_str("old")));
	assert_false(types_is_a(t, span_str("plain"), span_str("media")));
	types_free(t);
}

static void a_checkpoint_brings_everything_back(void **state)
{
	(void)state;
	struct types *t = some_types(), *u = types_new();
	struct buf before = { NULL, 0, 0 }, after = { NULL, 0, 0 };
	struct type_info a, b;
	char text[256] = "";
	types_checkpoint(t, &before);
	assert_int_equal(types_restore(u, buf_span(&before), text), ERR_OK);
	types_checkpoint(u, &after);
	assert_true(span_eq(buf_span(&before), buf_span(&after)));
	assert_true(types_show(t, span_str("old"), &a));
	assert_true(types_show(u, span_str("old"), &b));
	assert_int_equal(a.fingerprint_count, 4); /* two schemas, two names */
	assert_memory_equal(a.fingerprints, b.fingerprints, sizeof a.fingerprints);
	assert_true(types_is_a(u, span_str("old"), span_str("media")));
	assert_int_equal(type_answers(types_find(u, span_str("media")), true, text), ERR_OK);
	assert_int_equal(type_answers(types_find(u, span_str("media")), false, text), ERR_SCHEMA_MISMATCH);
	assert_int_equal(type_answers(types_find(u, span_str("old")), false, text), ERR_OK);
	assert_int_equal(types_check(u, span_str("old"), 0, PAYLOAD_INLINE, span_str("no payload"), text), ERR_SCHEMA_MISMATCH);
	buf_free(&before);
	buf_free(&after);
	types_free(t);
	types_free(u);
}

static void a_checkpoint_that_was_cut_or_changed_is_refused_or_harmless(void **state)
{
	(void)state;
	struct types *t = some_types();
	struct buf good = { NULL, 0, 0 };
	char text[256];
	uint32_t refused = 0;
	types_checkpoint(t, &good);
	for (size_t cut = 0; cut < good.len; cut++) {
		struct types *u = types_new();
		assert_int_equal(types_restore(u, span_of(good.data, cut), text), ERR_DAMAGED);
		types_free(u);
	}
	for (size_t at = 0; at < good.len; at++) {
		struct types *u = types_new();
		good.data[at] ^= 0x41;
		refused += types_restore(u, buf_span(&good), text) != ERR_OK;
		good.data[at] ^= 0x41;
		types_free(u);
	}
	assert_true(refused > 100);
	buf_free(&good);
	types_free(t);
}

static void world_restart(struct world *w)
{
	sim_crash(w->sim, 0, SIM_CRASH_DROP_ALL);
	sim_bury(w->sim, 0);
	shard_close(w->shard);
	w->io->v->free(w->io);
	w->io = sim_restart(w->sim, 0);
	world_open(w);
}

static void everything_is_there_after_a_restart(void **state)
{
	struct world *w = *state;
	struct client c;
	uint16_t codes[32];
	char text[256];
	client_open(&c, w, 1);
	assert_int_equal(with_schema(&c, VERB_TYPE_REGISTER, "v", "job_base.bfbs", TYPE_VERIFY), ERR_OK);
	assert_int_equal(alias(&c, "v", "w"), ERR_OK);
	for (int round = 0; round < 2; round++) { /* once from the log, once from a checkpoint */
		if (round == 1)
			assert_int_equal(client_ask(&c, (struct msg_request){ .verb = VERB_CHECKPOINT })->code, ERR_OK);
		world_run(w, 1000000000);
		client_free(&c);
		world_restart(w);
		client_open(&c, w, (uint8_t)(2 + round));
		assert_true(span_eq(show(&c, "w").name, span_str("v")));
		submit(&c, "w", 0, 1, 2, 2);
		assert_int_equal(answer_of(&c, 1, 2, codes, text), 2);
		assert_int_equal(codes[0], ERR_OK);
		assert_int_equal(codes[1], ERR_SCHEMA_MISMATCH);
	}
	client_free(&c);
}

static void a_call_with_a_broken_payload_is_answered_and_asks_nobody(void **state)
{
	struct client c;
	struct buf head = { NULL, 0, 0 }, out = { NULL, 0, 0 }, payload = { NULL, 0, 0 }, good = schema_file("job_base.bin");
	struct event_head h = { .type = span_str("video.transcode") };
	const uint32_t size = (uint32_t)good.len, sizes[] = { size, size };
	client_open(&c, *state, 1);
	assert_int_equal(with_schema(&c, VERB_TYPE_REGISTER, "video.transcode", "job_base.bfbs", TYPE_VERIFY), ERR_OK);
	client_serve(&c, "transcoder", 1);
	event_head_encode(&head, &h);
	buf_append(&payload, good.data, good.len);
	buf_append(&payload, good.data, good.len);
	memset(payload.data, 0x55, 4);
	struct msg_call m = { .first = 1, .deadline_ms = 3600000, .service = span_str("transcoder"), .head = buf_span(&head),
			      .sizes = { sizes, 2 } };
	struct span bytes = buf_span(&payload);
	msg_encode_call(&out, &m, &bytes, 1);
	sim_peer_send(c.peer, buf_span(&out));
	const struct msg *got = client_expect(&c, FRAME_INVOKE);
	assert_int_equal(got->invoke.count, 1);
	assert_true(span_eq(c.frame.payload, buf_span(&good)));
	got = client_expect(&c, FRAME_ANSWER);
	assert_int_equal(got->answer.count, 1);
	assert_int_equal(got->answer.items[0].call, 1);
	assert_int_equal(got->answer.items[0].code, ERR_SCHEMA_MISMATCH);
	assert_true(span_eq(span_sub(c.frame.payload, 0, got->answer.items[0].size),
			    span_str("Transcode: its offset points out of the payload")));
	h.fingerprint = 12345; /* of no schema that it has had: not even a good payload goes */
	head.len = out.len = 0;
	event_head_encode(&head, &h);
	m.first = 3;
	m.all = true;
	m.head = buf_span(&head);
	m.sizes.count = 1;
	bytes = buf_span(&good);
	msg_encode_call(&out, &m, &bytes, 1);
	sim_peer_send(c.peer, buf_span(&out));
	got = client_expect(&c, FRAME_ANSWER);
	assert_int_equal(got->answer.items[0].call, 3);
	assert_int_equal(got->answer.items[0].code, ERR_SCHEMA_MISMATCH);
	buf_free(&head);
	buf_free(&out);
	buf_free(&payload);
	buf_free(&good);
	client_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(of_many_payloads_only_the_broken_ones_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_accepted_before_the_policy_is_confirmed_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_fingerprint_must_be_known, setup, teardown),
		cmocka_unit_test_setup_teardown(an_incompatible_schema_is_refused_and_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(the_old_name_keeps_working_as_an_alias, setup, teardown),
		cmocka_unit_test_setup_teardown(parents_are_registered_and_form_no_cycle, setup, teardown),
		cmocka_unit_test_setup_teardown(a_policy_needs_a_schema_and_names_have_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(a_payload_can_be_checked_without_submitting_it, setup, teardown),
		cmocka_unit_test(aliases_resolve_and_ancestors_are_found),
		cmocka_unit_test(a_checkpoint_brings_everything_back),
		cmocka_unit_test(a_checkpoint_that_was_cut_or_changed_is_refused_or_harmless),
		cmocka_unit_test_setup_teardown(a_call_with_a_broken_payload_is_answered_and_asks_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(everything_is_there_after_a_restart, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
