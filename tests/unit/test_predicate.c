/* tests/unit/test_predicate.c: parameters and predicates are read, packed, held against each other and printed; errors say where. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "../../wire/predicate.h"

static const char HOST[] = "gpu=\"A100\", vram_gb=80, load=0.5, spot=true, models=[\"llama\", \"sd-xl\"], zone=eu-west/1";

static struct buf params_of(const char *source)
{
	struct buf out = { 0 };
	char text[128] = "";
	enum err e = params_parse(span_str(source), &out, text);
	if (e != ERR_OK)
		print_error("%s: %s\n", source, text);
	assert_int_equal(e, ERR_OK);
	return out;
}

static bool holds(const char *predicate, const char *params)
{
	struct buf have = params_of(params), packed = { 0 };
	char text[128] = "";
	enum err e = predicate_parse(span_str(predicate), &packed, text);
	if (e != ERR_OK)
		print_error("%s: %s\n", predicate, text);
	assert_int_equal(e, ERR_OK);
	bool answer = predicate_holds(buf_span(&packed), buf_span(&have));
	buf_free(&have);
	buf_free(&packed);
	return answer;
}

static void assert_printed(struct buf *out, const char *expected)
{
	buf_append(out, "", 1);
	assert_string_equal((const char *)out->data, expected);
	buf_free(out);
}

static void assert_reprinted(const char *predicate, const char *expected)
{
	struct buf packed = { 0 }, out = { 0 };
	char text[128];
	assert_int_equal(predicate_parse(span_str(predicate), &packed, text), ERR_OK);
	predicate_print(buf_span(&packed), &out);
	assert_printed(&out, expected);
	buf_free(&packed);
}

static void assert_refused(enum err (*parse)(struct span, struct buf *, char *), const char *source, const char *expected)
{
	struct buf out = { 0 };
	char text[128] = "";
	buf_append(&out, "kept", 4);
	assert_int_not_equal(parse(span_str(source), &out, text), ERR_OK);
	assert_string_equal(text, expected);
	assert_int_equal(out.len, 4);
	buf_free(&out);
}

static void test_params_are_sorted_and_printed_back(void **state)
{
	(void)state;
	struct buf packed = params_of("zone=eu, gpu=A100  vram_gb=80,load=0.5 on=false models=[a,\"b \\\"c\\\\\"] none=[] x=1e300 y=-3");
	struct buf out = { 0 };
	params_print(buf_span(&packed), &out);
	assert_printed(&out, "gpu=\"A100\", load=0.5, models=[\"a\", \"b \\\"c\\\\\"], none=[], on=false, vram_gb=80, x=1e+300, y=-3, "
			     "zone=\"eu\"");
	buf_free(&packed);
}

static void test_equal_params_pack_alike(void **state)
{
	(void)state;
	struct buf a = params_of("b=1 a=-0.0"), b = params_of("a=0.0,\tb=1");
	assert_true(span_eq(buf_span(&a), buf_span(&b)));
	buf_free(&a);
	buf_free(&b);
}

static void test_a_parameter_of_the_broker_finds_its_place(void **state)
{
	(void)state;
	static const char *const sources[] = { "", "a=1", "z=1", "a=1, z=true", "hillock.a=1, hillock.z=1" };
	static const char *const printed[] = {
		"hillock.identity=\"press \\\"4\\\"\"", "a=1, hillock.identity=\"press \\\"4\\\"\"",
		"hillock.identity=\"press \\\"4\\\"\", z=1", "a=1, hillock.identity=\"press \\\"4\\\"\", z=true",
		"hillock.a=1, hillock.identity=\"press \\\"4\\\"\", hillock.z=1" };
	for (size_t i = 0; i < COUNT_OF(sources); i++) {
		struct buf out = { NULL, 0, 0 }, text = { NULL, 0, 0 };
		char why[128];
		buf_append(&out, "other", 5); /* what is in front stays */
		assert_int_equal(params_parse(span_str(sources[i]), &out, why), ERR_OK);
		assert_int_equal(params_are_brokers(span_sub(buf_span(&out), 5, out.len - 5)), i == 4);
		params_insert(&out, 5, span_str(PARAMS_IDENTITY), span_str("press \"4\""));
		const struct span packed = span_sub(buf_span(&out), 5, out.len - 5);
		params_print(packed, &text);
		assert_true(span_eq(buf_span(&text), span_str(printed[i])));
		assert_true(params_are_brokers(packed));
		text.len = 0;
		assert_int_equal(params_parse(span_str(printed[i]), &text, why), ERR_OK); /* packed as if it had been said */
		assert_true(span_eq(buf_span(&text), packed));
		buf_free(&out);
		buf_free(&text);
	}
}

static void test_no_params_are_no_bytes(void **state)
{
	(void)state;
	struct buf packed = params_of("  ");
	struct param_value value;
	assert_int_equal(packed.len, 0);
	assert_false(params_find(buf_span(&packed), span_str("x"), &value));
	buf_free(&packed);
}

static void test_params_that_are_wrong_say_where(void **state)
{
	(void)state;
	assert_refused(params_parse, "a=1, a=2", "params: position 6: a is there twice");
	assert_refused(params_parse, "a 1", "params: position 3: a = was expected behind a");
	assert_refused(params_parse, "=1", "params: position 1: a name was expected");
	assert_refused(params_parse, "a=\"x", "params: position 3: the string does not end");
	assert_refused(params_parse, "a=\"x\ty\"", "params: position 5: a control character in a string");
	assert_refused(params_parse, "a=\"\\n\"", "params: position 5: only \\\" and \\\\ are known behind a \\");
	assert_refused(params_parse, "a=12x", "params: position 5: not part of a number");
	assert_refused(params_parse, "a=1e999", "params: position 3: the number is out of range");
	assert_refused(params_parse, "a=9223372036854775808", "params: position 3: the number is out of range");
	assert_refused(params_parse, "a=-", "params: position 3: not a number");
	assert_refused(params_parse, "a=[b c]", "params: position 6: a , or ] was expected in the list");
	assert_refused(params_parse, "a=[b", "params: position 5: a , or ] was expected in the list");
	assert_refused(params_parse, "a=", "params: position 3: a value was expected");
	assert_refused(params_parse, "a=b;", "params: position 4: a name was expected");
}

static void test_sizes_are_bounded(void **state)
{
	(void)state;
	struct buf source = { 0 }, out = { 0 };
	char text[128], one[16];
	for (int i = 0; i <= LIMIT_PARAMS; i++) {
		(void)snprintf(one, sizeof one, "p%d=1 ", i);
		buf_append(&source, one, strlen(one));
	}
	assert_int_equal(params_parse(buf_span(&source), &out, text), ERR_TOO_BIG);
	assert_string_equal(text, "params: position 375: more than 64 parameters");
	memset(buf_extend(&source, LIMIT_PARAMS_BYTES), ' ', LIMIT_PARAMS_BYTES);
	assert_int_equal(params_parse(buf_span(&source), &out, text), ERR_TOO_BIG);
	assert_int_equal(predicate_parse(buf_span(&source), &out, text), ERR_TOO_BIG);
	source.len = 0;
	buf_append(&source, "a=[", 3);
	for (int i = 0; i < 1000; i++)
		buf_append(&source, "b,", 2);
	buf_append(&source, "]", 1); /* each b becomes "b", and a space */
	assert_int_equal(params_parse(buf_span(&source), &out, text), ERR_TOO_BIG);
	assert_string_equal(text, "params: 5002 bytes with all quotes and commas are over the limit of 4096");
	assert_int_equal(out.len, 0);
	buf_free(&source);
	buf_free(&out);
}

static void test_comparisons_compare_like_with_like(void **state)
{
	(void)state;
	assert_true(holds("gpu == \"A100\" && gpu == A100 && gpu != H100", HOST));
	assert_true(holds("vram_gb >= 80 && vram_gb <= 80 && vram_gb > 79 && vram_gb < 81 && vram_gb == 80.0", HOST));
	assert_true(holds("load < 1 && load > 0 && load == 0.5 && spot == true && spot != false", HOST));
	assert_true(holds("gpu < B && gpu < A1000 && gpu > A10", HOST));
	assert_false(holds("gpu == 100", HOST));
	assert_false(holds("gpu != 100", HOST));
	assert_false(holds("spot == 1", HOST));
	assert_false(holds("models == llama", HOST));
}

static void test_large_integers_are_compared_exactly(void **state)
{
	(void)state;
	const char *large = "n=9007199254740993 min=-9223372036854775808 max=9223372036854775807 half=0.5";
	assert_true(holds("n > 9007199254740992.0 && n < 9007199254740994.0 && n != 9007199254740992.0", large));
	assert_true(holds("max < 9223372036854775808.0 && min == -9223372036854775808.0 && min > -1e300 && max < 1e300", large));
	assert_true(holds("half > 0 && half < 1 && half != 0", large));
	assert_true(holds("n > -0.5", large));
	assert_false(holds("half == 0", large));
}

static void test_a_missing_parameter_holds_nothing(void **state)
{
	(void)state;
	assert_false(holds("x == 1", HOST));
	assert_false(holds("x != 1", HOST));
	assert_false(holds("has(x)", HOST));
	assert_true(holds("!has(x) && has(gpu) && !(x == 1)", HOST));
	assert_true(holds("", HOST));
	assert_true(holds("", ""));
}

static void test_lists_and_patterns(void **state)
{
	(void)state;
	assert_true(holds("gpu in [H100, A100] && vram_gb in [40, 80.0] && spot in [true]", HOST));
	assert_false(holds("gpu in []", HOST));
	assert_false(holds("gpu in [100]", HOST));
	assert_true(holds("models contains llama && models contains \"sd-xl\" && zone contains \"west\" && gpu contains \"\"", HOST));
	assert_false(holds("models contains \"sd\"", HOST));
	assert_false(holds("vram_gb contains \"8\"", HOST));
	assert_true(holds("models glob \"sd*\" && gpu glob \"A?00\" && gpu glob \"*\" && zone glob \"*west*1\"", HOST));
	assert_false(holds("gpu glob \"A\"", HOST));
	assert_false(holds("gpu glob \"A???0\"", HOST));
	assert_false(holds("gpu glob \"\"", HOST));
}

/* What a glob means, without any care for time. */
static bool naive_glob(const char *pattern, const char *text)
{
	if (*pattern == '*')
		return naive_glob(pattern + 1, text) || (*text && naive_glob(pattern, text + 1));
	if (*pattern == '\0' || *text == '\0')
		return *pattern == *text;
	return (*pattern == '?' || *pattern == *text) && naive_glob(pattern + 1, text + 1);
}

static void test_globs_mean_what_a_naive_matcher_says(void **state)
{
	(void)state;
	uint64_t random = 7, matched = 0;
	for (int i = 0; i < 100000; i++) {
		char pattern[9] = "", text[9] = "", predicate[40], params[40];
		for (int k = 0; k < 8; k++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			pattern[k] = "ab?*"[random >> 40 & 3];
			text[k] = "ab"[random >> 50 & 1];
		}
		pattern[(random >> 20) % 9] = '\0';
		text[(random >> 30) % 9] = '\0';
		(void)snprintf(predicate, sizeof predicate, "x glob \"%s\"", pattern);
		(void)snprintf(params, sizeof params, "x=\"%s\"", text);
		bool expected = naive_glob(pattern, text);
		matched += expected;
		if (holds(predicate, params) != expected)
			fail_msg("%s, %s", predicate, params);
	}
	assert_in_range(matched, 1000, 99000);
}

static void test_a_glob_that_takes_too_many_steps_does_not_hold(void **state)
{
	(void)state;
	char piece[501] = "", many[3001] = "", predicate[1100], params[4000];
	for (int i = 0; i < 500; i++)
		piece[i] = i % 2 ? '?' : 'a';
	memset(many, 'a', sizeof many - 1);
	(void)snprintf(predicate, sizeof predicate, "x glob \"*%sb*\"", piece);
	(void)snprintf(params, sizeof params, "x=\"%s\"", many);
	assert_false(holds(predicate, params)); /* whatever is tried, there is no b */
	params[strlen(params) - 2] = 'b';
	assert_false(holds(predicate, params)); /* the last try would do; nobody gets that far */
	(void)snprintf(predicate, sizeof predicate, "x glob \"*%s*\"", "aaaaaaaaab");
	assert_true(holds(predicate, params)); /* without ? there is no such limit */
}

static void test_a_glob_on_a_name_is_exact_however_it_is_written(void **state)
{
	(void)state;
	uint8_t pattern[LIMIT_NAME_BYTES], name[LIMIT_NAME_BYTES];
	memset(name, 'a', sizeof name);
	name[sizeof name - 1] = 'b';
	for (size_t size = 1; size + 2 <= sizeof pattern; size++) { /* found at the last place where it could be */
		memset(pattern, 'a', sizeof pattern);
		pattern[0] = pattern[size + 1] = '*';
		pattern[1] = size > 1 ? '?' : 'b';
		pattern[size] = 'b';
		assert_true(glob_matches(span_of(pattern, size + 2), span_of(name, sizeof name)));
	}
}

static void test_and_or_not_bind_as_usual(void **state)
{
	(void)state;
	assert_true(holds("has(gpu) || has(x) && has(y)", HOST));
	assert_false(holds("(has(gpu) || has(x)) && has(y)", HOST));
	assert_true(holds("!has(x) && !!has(gpu)", HOST));
	assert_false(holds("!(has(gpu) || has(x))", HOST));
}

static void test_predicates_are_printed_back(void **state)
{
	(void)state;
	assert_reprinted("a==1&&b in[1,x]||!has( c )", "(a == 1 && b in [1, \"x\"]) || !has(c)");
	assert_reprinted("(a<1||b>2.0)&&!(c glob \"x*\")&&!!has(d)", "(a < 1 || b > 2.0) && !(c glob \"x*\") && !!has(d)");
	assert_reprinted("((a != true))", "a != true");
	assert_reprinted("in == 1 && has == 2 && glob contains contains", "in == 1 && has == 2 && glob contains \"contains\"");
}

static void test_predicates_that_are_wrong_say_where(void **state)
{
	(void)state;
	assert_refused(predicate_parse, "a = 1", "predicate: position 3: an operator was expected behind a");
	assert_refused(predicate_parse, "a == 1 &&", "predicate: position 10: a name was expected");
	assert_refused(predicate_parse, "a == 1 b == 2", "predicate: position 8: &&, || or the end was expected");
	assert_refused(predicate_parse, "(a == 1", "predicate: position 8: a ) was expected");
	assert_refused(predicate_parse, "a < true", "predicate: position 5: < cannot be asked of true and false");
	assert_refused(predicate_parse, "a == [x]", "predicate: position 6: == takes one value, not a list");
	assert_refused(predicate_parse, "a in x", "predicate: position 6: a [ was expected behind in");
	assert_refused(predicate_parse, "a in [[x]]", "predicate: position 7: in takes one value, not a list");
	assert_refused(predicate_parse, "a glob 5", "predicate: position 8: glob takes a string");
	assert_refused(predicate_parse, "has(a", "predicate: position 6: a ) was expected");
	assert_refused(predicate_parse, "a ==", "predicate: position 5: a value was expected");
	assert_refused(predicate_parse, "!!!!!!!!!!!!!!!!has(a)", "predicate: position 17: nested more than 16 deep");
	assert_refused(predicate_parse, "((((((((((((((((has(a)", "predicate: position 17: nested more than 16 deep");
}

static void test_the_first_failing_part_is_named(void **state)
{
	(void)state;
	struct buf have = params_of(HOST), packed = { 0 }, out = { 0 };
	char text[128];
	assert_int_equal(predicate_parse(span_str("has(gpu) && (vram_gb > 99 || has(x)) && has(y)"), &packed, text), ERR_OK);
	predicate_print(predicate_failing(buf_span(&packed), buf_span(&have)), &out);
	assert_printed(&out, "vram_gb > 99 || has(x)");
	packed.len = 0;
	assert_int_equal(predicate_parse(span_str("has(gpu)"), &packed, text), ERR_OK);
	assert_int_equal(predicate_failing(buf_span(&packed), buf_span(&have)).len, 0);
	assert_int_equal(predicate_failing(buf_span(&packed), span_of(NULL, 0)).len, packed.len);
	buf_free(&packed);
	buf_free(&have);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_params_are_sorted_and_printed_back),
		cmocka_unit_test(test_equal_params_pack_alike),
		cmocka_unit_test(test_a_parameter_of_the_broker_finds_its_place),
		cmocka_unit_test(test_no_params_are_no_bytes),
		cmocka_unit_test(test_params_that_are_wrong_say_where),
		cmocka_unit_test(test_sizes_are_bounded),
		cmocka_unit_test(test_comparisons_compare_like_with_like),
		cmocka_unit_test(test_large_integers_are_compared_exactly),
		cmocka_unit_test(test_a_missing_parameter_holds_nothing),
		cmocka_unit_test(test_lists_and_patterns),
		cmocka_unit_test(test_globs_mean_what_a_naive_matcher_says),
		cmocka_unit_test(test_a_glob_that_takes_too_many_steps_does_not_hold),
		cmocka_unit_test(test_a_glob_on_a_name_is_exact_however_it_is_written),
		cmocka_unit_test(test_and_or_not_bind_as_usual),
		cmocka_unit_test(test_predicates_are_printed_back),
		cmocka_unit_test(test_predicates_that_are_wrong_say_where),
		cmocka_unit_test(test_the_first_failing_part_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
