/* Tests of tools/args.c: notations of values, and command lines that must be refused with the reason. */
#include "../../tools/args.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "../../tools/args.c"

static const struct option options[] = {
	{ "queue", OPTION_TEXT, 'q', "QUEUE", NULL, 0, 0, "" },
	{ "count", OPTION_COUNT, 'n', "N", "7", 1, 1000000, "" },
	{ "size", OPTION_SIZE, 0, "BYTES", NULL, 0, 0, "" },
	{ "delay", OPTION_DURATION, 0, "D", "5s", 0, 0, "" },
	{ "output", OPTION_CHOICE, 'o', "table|json|jsonl", "table", 0, 0, "" },
	{ "header", OPTION_LIST, 'H', "N=V", NULL, 0, 0, "" },
	{ "wait", OPTION_FLAG, 'w', NULL, NULL, 0, 0, "" },
	{ 0 },
};
static const struct option more[] = { { "server", OPTION_TEXT, 's', "URL", NULL, 0, 0, "" }, { 0 } };
static struct args args;

static bool parse(const char *first, const char *second, const char *third, const char *fourth)
{
	char *argv[4];
	const char *given[] = { first, second, third, fourth };
	static char kept[4][128]; /* args borrows them */
	int argc = 0;
	for (; argc < 4 && given[argc]; argc++) {
		(void)snprintf(kept[argc], sizeof kept[argc], "%s", given[argc]);
		argv[argc] = kept[argc];
	}
	memset(&args, 0, sizeof args);
	args.tables[0] = more;
	args.tables[1] = options;
	return args_parse(&args, argc, argv);
}

static void test_durations_need_a_unit_and_come_out_in_milliseconds(void **state)
{
	static const struct { const char *text; uint64_t ms; } good[] = {
		{ "250ms", 250 }, { "5s", 5000 },   { "10m", 600000 }, { "2h", 7200000 },
		{ "1d", 86400000 }, { "1.5s", 1500 }, { "0.25h", 900000 }, { "0", 0 }, { "0s", 0 } };
	static const char *const bad[] = { "", "5", "s", "-1s", " 5s", "5 s", "5s ", "5sec", "1.s", ".5s", "1.2.3s",
					   "0.5ms", "1e3s", "99999999999999999999s", "999999999999999999d", "0x5s" };
	uint64_t ms;
	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		assert_true(parse_duration_ms(good[i].text, &ms));
		assert_int_equal(ms, good[i].ms);
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(parse_duration_ms(bad[i], &ms));
}

static void test_counts_are_thousands_and_sizes_are_1024s(void **state)
{
	uint64_t n;
	(void)state;
	assert_true(parse_count("10M", &n) && n == 10000000);
	assert_true(parse_count("20k", &n) && n == 20000);
	assert_true(parse_count("18446744073709551615", &n) && n == UINT64_MAX);
	assert_false(parse_count("18446744073709551616", &n));
	assert_true(parse_size("4k", &n) && n == 4096);
	assert_true(parse_size("1M", &n) && n == 1 << 20);
	assert_true(parse_size("1.5k", &n) && n == 1536);
	assert_false(parse_size("4kb", &n));
	assert_false(parse_size("17179869184G", &n));
}

static void test_options_and_arguments_may_be_mixed(void **state)
{
	(void)state;
	assert_true(parse("one", "--count=20k", "two", "-w"));
	assert_int_equal(args.plain_count, 2);
	assert_string_equal(args.plain[1], "two");
	assert_int_equal(args_number(&args, "count"), 20000);
	assert_true(args_number(&args, "wait") == 1 && args_given(&args, "wait"));
	assert_true(parse("-qmail", "-s", "tcp://x", NULL));
	assert_string_equal(args_text(&args, "queue"), "mail");
	assert_string_equal(args_text(&args, "server"), "tcp://x");
}

static void test_defaults_are_set_and_told_apart_from_given_values(void **state)
{
	(void)state;
	assert_true(parse(NULL, NULL, NULL, NULL));
	assert_int_equal(args_number(&args, "count"), 7);
	assert_false(args_given(&args, "count"));
	assert_int_equal(args_number(&args, "delay"), 5000);
	assert_null(args_text(&args, "queue"));
	assert_true(parse("--count", "7", NULL, NULL));
	assert_true(args_given(&args, "count"));
}

static void test_a_dash_is_an_argument_and_two_dashes_end_the_options(void **state)
{
	(void)state;
	assert_true(parse("-", "--", "--wait", NULL));
	assert_int_equal(args.plain_count, 2);
	assert_string_equal(args.plain[0], "-");
	assert_string_equal(args.plain[1], "--wait");
	assert_false(args_number(&args, "wait"));
}

static void test_lists_keep_their_order(void **state)
{
	(void)state;
	assert_true(parse("-H", "a=1", "--header=b=2", NULL));
	assert_int_equal(args.list_count, 2);
	assert_string_equal(args.list[0], "a=1");
	assert_string_equal(args.list[1], "b=2");
}

static void test_refusals_name_the_option_and_the_value(void **state)
{
	(void)state;
	static const struct { const char *first, *second, *says; } cases[] = {
		{ "--delay", "soon", "--delay soon: expected a duration such as 250ms, 5s, 10m, 2h or 1d" },
		{ "--count", "0", "--count 0: at least 1" },
		{ "--count", "2M", "--count 2M: at most 1000000" },
		{ "--size", "4kb", "--size 4kb: expected a size such as 512, 4k or 1M" },
		{ "--output", "yaml", "--output yaml: expected table|json|jsonl" },
		{ "--output", "json|jsonl", "--output json|jsonl: expected table|json|jsonl" },
		{ "--output", "", "--output : expected table|json|jsonl" },
		{ "--wait=1", NULL, "--wait=1: --wait takes no value" },
		{ "--queue", NULL, "--queue: the value is missing: --queue QUEUE" },
		{ "--cou", "1", "--cou: no such option here" },
		{ "-x", NULL, "-x: no such option here" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_false(parse(cases[i].first, cases[i].second, NULL, NULL));
		assert_string_equal(args.error, cases[i].says);
	}
	assert_false(parse("--count", "1", "--count", "2"));
	assert_string_equal(args.error, "--count: given twice");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_durations_need_a_unit_and_come_out_in_milliseconds),
		cmocka_unit_test(test_counts_are_thousands_and_sizes_are_1024s),
		cmocka_unit_test(test_options_and_arguments_may_be_mixed),
		cmocka_unit_test(test_defaults_are_set_and_told_apart_from_given_values),
		cmocka_unit_test(test_a_dash_is_an_argument_and_two_dashes_end_the_options),
		cmocka_unit_test(test_lists_keep_their_order),
		cmocka_unit_test(test_refusals_name_the_option_and_the_value),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
