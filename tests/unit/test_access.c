/* tests/unit/test_access.c: hashes, patterns, decisions against a naive model, tokens, and the state as bytes and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../broker/access.h"
#include "../../broker/access_impl.h"
#include "../../wire/sha256.h"

static void hex_is(const uint8_t bytes[32], const char *expected)
{
	char text[65];
	for (int i = 0; i < 32; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	assert_string_equal(text, expected);
}

static void sha256_gives_what_the_standard_says_in_pieces_of_any_size(void **state)
{
	static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
	uint8_t out[32];
	(void)state;
	for (size_t piece = 1; piece < 70; piece++) {
		struct sha256 s;
		sha256_begin(&s);
		for (size_t at = 0; at < 56; at += piece)
			sha256_add(&s, span_of(two_blocks + at, MIN_OF(piece, 56 - at)));
		sha256_end(&s, out);
		hex_is(out, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	}
	struct sha256 s;
	sha256_begin(&s);
	sha256_end(&s, out);
	hex_is(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	sha256_begin(&s);
	for (int i = 0; i < 1000000; i++)
		sha256_add(&s, span_str("a"));
	sha256_end(&s, out);
	hex_is(out, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void hmac_gives_what_its_vectors_say(void **state)
{
	uint8_t out[32], key[131];
	(void)state;
	hmac_sha256(span_str("Jefe"), span_str("what do ya want for nothing?"), out);
	hex_is(out, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof key);
	hmac_sha256(span_of(key, sizeof key), span_str("Test Using Larger Than Block-Size Key - Hash Key First"), out);
	hex_is(out, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void a_pattern_is_a_name_or_a_beginning(void **state)
{
	static const struct { const char *pattern, *text; bool fits; } cases[] = {
		{ "*", "", true }, { "*", "anything", true }, { "media.*", "media.v1", true }, { "media.*", "media.", true },
		{ "media.*", "media", false }, { "media", "media", true }, { "media", "media.v1", false }, { "media.*", "media.*", true },
		{ "med*", "media.*", true }, { "media.*", "*", false }, { "a", "", false },
	};
	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_int_equal(access_pattern_matches(span_str(cases[i].pattern), span_str(cases[i].text)), cases[i].fits);
	assert_false(access_pattern_ok(span_str("")));
	assert_false(access_pattern_ok(span_str("a*b")));
	assert_false(access_pattern_ok(span_str("a b")));
	assert_true(access_pattern_ok(span_str("a.*")));
	assert_int_equal(access_verbs_parse("submit,see"), 1 << ACCESS_SUBMIT | 1 << ACCESS_SEE);
	assert_int_equal(access_verbs_parse("*"), ACCESS_ALL);
	assert_int_equal(access_verbs_parse("submit,seen"), 0);
}

/* ---- a state without a log ---- */

static enum err change(struct access *a, enum access_op op, struct access_info info)
{
	struct buf body = { NULL, 0, 0 };
	const uint8_t head[8] = { 1, (uint8_t)op };
	struct log_record record = { 0 };
	struct log_entry entry = { 0 };
	struct applied out = { 0 };
	buf_append(&body, head, sizeof head);
	access_info_encode(&body, &info);
	record.kind = REC_ACCESS;
	record.body = buf_span(&body);
	access_apply(a, &entry, &record, &out);
	buf_free(&body);
	return (enum err)out.code;
}

static enum err principal(struct access *a, const char *name, const char *vnet)
{
	return change(a, ACCESS_OP_PRINCIPAL_ADD,
		      (struct access_info){ .name = span_str(name), .vnets = { span_str(vnet) }, .vnet_count = 1 });
}

static enum err rule(struct access *a, bool deny, const char *name, uint32_t verbs, const char *target, const char *vnet)
{
	return change(a, ACCESS_OP_RULE_ADD, (struct access_info){ .name = span_str(name), .verbs = verbs, .target = span_str(target),
								   .vnet = span_str(vnet), .deny = deny });
}

static uint32_t seed = 1;
static uint32_t dice(uint32_t sides)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % sides;
}

/* The same as access_rules.c in other words: rank every part by itself, compare the ranks one after the other. */
struct naive { const char *name, *target, *vnet; uint32_t verbs; bool deny; };

static int rank(const char *pattern)
{
	size_t len = strlen(pattern);
	return pattern[len - 1] == '*' ? (int)len - 1 : 1000;
}

static bool naive_fits(const char *pattern, const char *text)
{
	size_t len = strlen(pattern);
	return pattern[len - 1] == '*' ? strncmp(pattern, text, len - 1) == 0 : strcmp(pattern, text) == 0;
}

static int naive_compare(const struct naive *a, const struct naive *b)
{
	const int parts[4] = { rank(a->name) - rank(b->name), rank(a->target) - rank(b->target), rank(a->vnet) - rank(b->vnet),
			       __builtin_popcount(b->verbs) - __builtin_popcount(a->verbs) };
	for (int i = 0; i < 4; i++)
		if (parts[i] != 0)
			return parts[i];
	return a->deny - b->deny;
}

static bool naive_decide(const struct naive *rules, uint32_t count, const char *name, uint32_t verb, const char *target, const char *vnet,
			 bool own)
{
	const struct naive *best = NULL;
	for (uint32_t i = 0; i < count; i++) {
		const struct naive *r = &rules[i];
		if ((r->verbs >> verb & 1) && naive_fits(r->name, name) && naive_fits(r->target, target) && naive_fits(r->vnet, vnet) &&
		    (!best || naive_compare(r, best) > 0))
			best = r;
	}
	return best ? !best->deny : own && verb != ACCESS_ADMIN;
}

static void decisions_are_those_of_a_naive_model(void **state)
{
	static const char *const names[] = { "ann", "anna", "bob", "an*", "ann*", "b*", "*" };
	static const char *const targets[] = { "m.a", "m.b", "n", "m.*", "m*", "*" };
	static const char *const vnets[] = { "lab", "live", "l*", "*" };
	uint32_t denied = 0, allowed = 0, always = 0;
	(void)state;
	for (int round = 0; round < 400; round++) {
		struct access *a = access_new();
		struct naive rules[24];
		uint32_t count = 0;
		for (uint32_t i = 0; i < 3; i++)
			assert_int_equal(principal(a, names[i], i == 2 ? "live" : "lab"), ERR_OK);
		for (uint32_t i = dice(24); i > 0; i--) {
			struct naive r = { names[dice(7)], targets[dice(6)], vnets[dice(4)], 1u << dice(8) | 1u << dice(8), dice(2) == 0 };
			bool twice = false;
			for (uint32_t k = 0; k < count; k++)
				twice = twice || (rules[k].name == r.name && rules[k].target == r.target && rules[k].vnet == r.vnet &&
						  rules[k].verbs == r.verbs);
			if (twice)
				continue;
			rules[count++] = r;
			assert_int_equal(rule(a, r.deny, r.name, r.verbs, r.target, r.vnet), ERR_OK);
		}
		for (uint32_t n = 0; n < 3; n++)
			for (uint32_t v = 0; v < 2; v++) {
				struct who who = { .kind = WHO_PRINCIPAL };
				(void)snprintf(who.name, sizeof who.name, "%s", names[n]);
				bool own = access_has_vnet(a, &who, span_str(vnets[v]));
				uint32_t bits = access_always(a, &who, span_str(vnets[v]));
				for (uint32_t verb = 0; verb < ACCESS_VERBS; verb++)
					for (uint32_t t = 0; t < 3; t++) {
						struct verdict out;
						access_decide(a, &who, (enum access_verb)verb, span_str(targets[t]), span_str(vnets[v]), own, &out);
						bool expected = naive_decide(rules, count, names[n], verb, targets[t], vnets[v], own);
						assert_int_equal(out.allowed, expected);
						if (own && (bits >> verb & 1)) {
							assert_true(out.allowed); /* the short cut is never wider than the rules */
							always++;
						}
						allowed += out.allowed;
						denied += !out.allowed;
					}
			}
		access_free(a);
	}
	assert_true(denied > 1000 && allowed > 1000 && always > 1000); /* a model that never differs would prove nothing */
}

/* ---- tokens ---- */

static enum err token(struct access *a, const char *name, uint8_t fill, uint64_t expires_ms, char text[TOKEN_TEXT], uint64_t *number)
{
	uint8_t random[TOKEN_RANDOM], salt[16], hash[32];
	memset(random, fill, sizeof random);
	access_token_new(random, number, salt, hash, text);
	return change(a, ACCESS_OP_TOKEN_ADD, (struct access_info){ .name = span_str(name), .token = *number, .salt = span_of(salt, 16),
								    .hash = span_of(hash, 32), .expires_ms = expires_ms });
}

static enum err login(const struct access *a, const char *text, uint64_t now, struct who *who)
{
	const struct credentials c = { .token = span_str(text), .uid = -1 };
	return access_login(a, &c, now, who);
}

static void only_the_very_token_gets_in_and_only_while_it_is_good(void **state)
{
	struct access *a = access_new();
	struct who who;
	char text[TOKEN_TEXT], wrong[TOKEN_TEXT];
	uint64_t number;
	(void)state;
	assert_int_equal(login(a, "", 1, &who), ERR_OK); /* open */
	assert_int_equal(who.kind, WHO_OPEN);
	assert_int_equal(principal(a, "ann", "lab"), ERR_OK);
	assert_int_equal(login(a, "", 1, &who), ERR_PERMISSION);
	assert_int_equal(token(a, "nobody", 7, 0, text, &number), ERR_NOT_FOUND);
	assert_int_equal(token(a, "ann", 7, 1000, text, &number), ERR_OK);
	assert_int_equal(login(a, text, 999, &who), ERR_OK);
	assert_string_equal(who.name, "ann");
	assert_int_equal(login(a, text, 1000, &who), ERR_PERMISSION);
	for (size_t i = 0; i < strlen(text); i++) {
		memcpy(wrong, text, sizeof wrong);
		wrong[i] = wrong[i] == '0' ? '1' : '0';
		assert_int_equal(login(a, wrong, 1, &who), ERR_PERMISSION);
		wrong[i] = '\0';
		assert_int_equal(login(a, wrong, 1, &who), ERR_PERMISSION);
	}
	assert_int_equal(change(a, ACCESS_OP_PRINCIPAL_SET, (struct access_info){ .name = span_str("ann"), .set = ACCESS_SET_DISABLED,
										  .disabled = true }), ERR_OK);
	assert_int_equal(login(a, text, 1, &who), ERR_PERMISSION);
	assert_int_equal(change(a, ACCESS_OP_PRINCIPAL_SET, (struct access_info){ .name = span_str("ann"), .set = ACCESS_SET_DISABLED }), ERR_OK);
	assert_int_equal(change(a, ACCESS_OP_TOKEN_END, (struct access_info){ .token = number, .expires_ms = 50 }), ERR_OK);
	assert_int_equal(login(a, text, 49, &who), ERR_OK);
	assert_int_equal(login(a, text, 50, &who), ERR_PERMISSION);
	assert_int_equal(change(a, ACCESS_OP_TOKEN_REMOVE, (struct access_info){ .token = number }), ERR_OK);
	assert_int_equal(login(a, text, 1, &who), ERR_PERMISSION);
	assert_int_equal(change(a, ACCESS_OP_PRINCIPAL_REMOVE, (struct access_info){ .name = span_str("ann") }), ERR_WRONG_STATE);
	access_free(a);
}

static void an_access_token_is_good_as_long_as_what_it_was_made_from(void **state)
{
	struct access *a = access_new();
	struct who who, again;
	char text[TOKEN_TEXT], made[ACCESS_TEXT_MAX], wrong[ACCESS_TEXT_MAX];
	uint8_t key[32] = { 1, 2, 3 };
	uint64_t number;
	(void)state;
	assert_int_equal(principal(a, "ann", "lab"), ERR_OK);
	assert_int_equal(token(a, "ann", 9, 0, text, &number), ERR_OK);
	assert_int_equal(login(a, text, 1, &who), ERR_OK);
	assert_int_equal(access_token_make(a, &who, 1000, 5, made), ERR_WRONG_STATE); /* no key yet */
	assert_int_equal(change(a, ACCESS_OP_KEY, (struct access_info){ .hash = span_of(key, sizeof key) }), ERR_OK);
	assert_int_equal(access_token_make(a, &who, 1000, 5, made), ERR_OK);
	assert_int_equal(login(a, made, 999, &again), ERR_OK);
	assert_string_equal(again.name, "ann");
	assert_true(again.token == number && again.until_ms == 1000);
	assert_int_equal(login(a, made, 1000, &again), ERR_PERMISSION);
	for (size_t i = 0; i < strlen(made); i++) {
		memcpy(wrong, made, sizeof wrong);
		wrong[i] = wrong[i] == '0' ? '1' : '0';
		assert_int_equal(login(a, wrong, 1, &again), ERR_PERMISSION);
	}
	assert_int_equal(change(a, ACCESS_OP_TOKEN_REMOVE, (struct access_info){ .token = number }), ERR_OK);
	assert_int_equal(login(a, made, 1, &again), ERR_PERMISSION);
	assert_false(access_valid(a, &who, 1));
	access_free(a);
}

static void certificates_and_users_find_their_principal(void **state)
{
	struct access *a = access_new();
	struct who who;
	(void)state;
	struct access_info one = { .name = span_str("farm"), .certificates = { span_str("gpu-*") }, .certificate_count = 1 };
	struct access_info two = { .name = span_str("best"), .certificates = { span_str("gpu-1") }, .certificate_count = 1, .uids = { 1000 },
				   .uid_count = 1 };
	assert_int_equal(change(a, ACCESS_OP_PRINCIPAL_ADD, one), ERR_OK);
	assert_int_equal(change(a, ACCESS_OP_PRINCIPAL_ADD, two), ERR_OK);
	struct credentials c = { .certificate = span_str("gpu-1"), .uid = -1 };
	assert_int_equal(access_login(a, &c, 1, &who), ERR_OK);
	assert_string_equal(who.name, "best");
	c.certificate = span_str("gpu-2");
	assert_int_equal(access_login(a, &c, 1, &who), ERR_OK);
	assert_string_equal(who.name, "farm");
	c.certificate = span_str("cpu-2");
	assert_int_equal(access_login(a, &c, 1, &who), ERR_PERMISSION);
	c = (struct credentials){ .uid = 1000 };
	assert_int_equal(access_login(a, &c, 1, &who), ERR_OK);
	assert_string_equal(who.name, "best");
	c.admin = true;
	assert_int_equal(access_login(a, &c, 1, &who), ERR_OK);
	assert_int_equal(who.kind, WHO_LOCAL);
	c = (struct credentials){ .uid = 1001 };
	assert_int_equal(access_login(a, &c, 1, &who), ERR_PERMISSION);
	access_free(a);
}

static void limits_of_a_principal_are_kept_and_given_back_to_the_configuration(void **state)
{
	struct access *a = access_new(), *b = access_new();
	struct buf bytes = { NULL, 0, 0 };
	char why[256];
	struct span ann = span_str("ann");
	(void)state;
	struct access_info set = { .name = ann, .limit_mask = 1 << ACCESS_LIMIT_SESSIONS | 1 << ACCESS_LIMIT_BYTES_RATE };
	set.limits[ACCESS_LIMIT_SESSIONS] = 3;
	assert_int_equal(principal(a, "ann", "lab"), ERR_OK);
	assert_int_equal(access_limit(a, ann, ACCESS_LIMIT_SESSIONS, 7), 7);
	assert_int_equal(change(a, ACCESS_OP_PRINCIPAL_SET, set), ERR_OK);
	assert_int_equal(access_limit(a, ann, ACCESS_LIMIT_SESSIONS, 7), 3);
	assert_int_equal(access_limit(a, ann, ACCESS_LIMIT_BYTES_RATE, 7), 0);
	assert_int_equal(access_limit(a, ann, ACCESS_LIMIT_ENTRIES, 7), 7);
	assert_int_equal(access_limit(a, span_str("bob"), ACCESS_LIMIT_SESSIONS, 7), 7);
	access_checkpoint(a, &bytes);
	assert_int_equal(access_restore(b, buf_span(&bytes), why), ERR_OK);
	assert_int_equal(access_limit(b, ann, ACCESS_LIMIT_SESSIONS, 7), 3);
	assert_int_equal(access_limit(b, ann, ACCESS_LIMIT_BYTES_RATE, 7), 0);
	set.limit_mask = 1 << ACCESS_LIMIT_SESSIONS;
	set.limits[ACCESS_LIMIT_SESSIONS] = ACCESS_LIMIT_INHERIT;
	assert_int_equal(change(b, ACCESS_OP_PRINCIPAL_SET, set), ERR_OK);
	assert_int_equal(access_limit(b, ann, ACCESS_LIMIT_SESSIONS, 7), 7);
	assert_int_equal(access_limit(b, ann, ACCESS_LIMIT_BYTES_RATE, 7), 0);
	set.name = span_str("eve"); /* of a new one, too, that is no limit of its own */
	assert_int_equal(change(b, ACCESS_OP_PRINCIPAL_ADD, set), ERR_OK);
	assert_int_equal(access_limit(b, set.name, ACCESS_LIMIT_SESSIONS, 7), 7);
	buf_free(&bytes);
	access_free(a);
	access_free(b);
}

static void the_state_comes_back_from_its_bytes_and_damaged_bytes_are_refused(void **state)
{
	struct access *a = access_new(), *b = access_new();
	struct buf first = { NULL, 0, 0 }, second = { NULL, 0, 0 };
	struct who who;
	char text[TOKEN_TEXT], why[256];
	uint8_t key[32] = { 4 };
	uint64_t number;
	(void)state;
	assert_int_equal(principal(a, "ann", "lab"), ERR_OK);
	assert_int_equal(principal(a, "bob", "*"), ERR_OK);
	assert_int_equal(principal(a, "bob", "*"), ERR_EXISTS);
	assert_int_equal(principal(a, "local", "lab"), ERR_INVALID_INPUT);
	assert_int_equal(principal(a, "a b", "lab"), ERR_INVALID_INPUT);
	assert_int_equal(principal(a, "c", "x/y"), ERR_INVALID_INPUT);
	assert_int_equal(token(a, "ann", 3, 0, text, &number), ERR_OK);
	assert_int_equal(change(a, ACCESS_OP_KEY, (struct access_info){ .hash = span_of(key, sizeof key) }), ERR_OK);
	assert_int_equal(rule(a, true, "a*", 1, "*", "lab"), ERR_OK);
	assert_int_equal(rule(a, false, "a*", 1, "*", "lab"), ERR_OK); /* turned around */
	access_checkpoint(a, &first);
	assert_int_equal(access_restore(b, buf_span(&first), why), ERR_OK);
	access_checkpoint(b, &second);
	assert_true(span_eq(buf_span(&first), buf_span(&second)));
	assert_int_equal(access_counts(b).rules, 1);
	assert_int_equal(login(b, text, 1, &who), ERR_OK);
	access_free(b);
	for (size_t cut = 0; cut < first.len; cut += 3) {
		b = access_new();
		assert_int_equal(access_restore(b, span_sub(buf_span(&first), 0, cut), why), ERR_DAMAGED);
		access_free(b);
	}
	buf_free(&first);
	buf_free(&second);
	access_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256_gives_what_the_standard_says_in_pieces_of_any_size),
		cmocka_unit_test(hmac_gives_what_its_vectors_say),
		cmocka_unit_test(a_pattern_is_a_name_or_a_beginning),
		cmocka_unit_test(decisions_are_those_of_a_naive_model),
		cmocka_unit_test(only_the_very_token_gets_in_and_only_while_it_is_good),
		cmocka_unit_test(an_access_token_is_good_as_long_as_what_it_was_made_from),
		cmocka_unit_test(certificates_and_users_find_their_principal),
		cmocka_unit_test(limits_of_a_principal_are_kept_and_given_back_to_the_configuration),
		cmocka_unit_test(the_state_comes_back_from_its_bytes_and_damaged_bytes_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
