/* tests/unit/test_cron.c: fields of cron, the calendar, and clocks that change. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <time.h>

#include "../../wire/cron.h"

static struct cron cron(const char *text)
{
	struct cron c;
	char why[128] = "";
	if (cron_parse(span_str(text), &c, why) != ERR_OK)
		fail_msg("%s: %s", text, why);
	return c;
}

static int64_t utc(int year, int month, int day, int hour, int minute)
{
	struct tm tm = { .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute };
	return timegm(&tm);
}

static void fields_are_lists_of_ranges_with_steps(void **state)
{
	(void)state;
	struct cron c = cron("*/15 1,3-5 1-31/10 jan,DEC mon-fri");
	assert_int_equal(c.minutes, 1ull | 1ull << 15 | 1ull << 30 | 1ull << 45);
	assert_int_equal(c.hours, 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5);
	assert_int_equal(c.days, 1u << 1 | 1u << 11 | 1u << 21 | 1u << 31);
	assert_int_equal(c.months, 1 << 1 | 1 << 12);
	assert_int_equal(c.weekdays, 0x3e);
	assert_int_equal(cron("5/20 * * * 7").minutes, 1ull << 5 | 1ull << 25 | 1ull << 45);
	assert_int_equal(cron("0 0 * * 7").weekdays, 1);
}

static void what_is_no_cron_is_refused_with_the_field(void **state)
{
	(void)state;
	const struct { const char *text, *why; } cases[] = {
		{ "", "cron: minute: a number is missing" },
		{ "60 * * * *", "cron: minute: 60 is not from 0 to 59" },
		{ "* 24 * * *", "cron: hour: 24 is not from 0 to 23" },
		{ "* * 0 * *", "cron: day of the month: 0 is not from 1 to 31" },
		{ "* * * 13 *", "cron: month: 13 is not from 1 to 12" },
		{ "* * * * 8", "cron: day of the week: 8 is not from 0 to 7" },
		{ "*/0 * * * *", "cron: minute: 0 is not from 1 to 59" },
		{ "5-1 * * * *", "cron: minute: 5-1 goes backwards" },
		{ "* * * *", "cron: day of the week: a number is missing" },
		{ "* * * * * *", "cron: there is more than five fields" },
		{ "1x * * * *", "cron: minute: 'x' is not expected" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct cron c;
		char why[128] = "";
		assert_int_equal(cron_parse(span_str(cases[i].text), &c, why), ERR_INVALID_INPUT);
		assert_string_equal(why, cases[i].why);
	}
}

static void the_next_moment_is_found_over_months_and_leap_years(void **state)
{
	(void)state;
	const struct { const char *text; int64_t after, next; } cases[] = {
		{ "*/5 * * * *", utc(2026, 11, 21, 10, 0), utc(2026, 11, 21, 10, 5) },
		{ "0 0 1 1 *", utc(2026, 11, 21, 10, 0), utc(2027, 1, 1, 0, 0) },
		{ "30 4 29 2 *", utc(2026, 3, 1, 0, 0), utc(2028, 2, 29, 4, 30) },
		{ "0 12 * * mon", utc(2026, 11, 21, 10, 0), utc(2026, 11, 23, 12, 0) },
		{ "0 0 13 * fri", utc(2026, 11, 21, 10, 0), utc(2026, 11, 27, 0, 0) }, /* either one is enough */
		{ "0 0 31 * *", utc(2026, 11, 21, 10, 0), utc(2026, 12, 31, 0, 0) },
		{ "59 23 31 12 *", utc(2026, 12, 31, 23, 59), utc(2027, 12, 31, 23, 59) },
		{ "0 0 31 2 *", utc(2026, 1, 1, 0, 0), CRON_NEVER_S },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct cron c = cron(cases[i].text);
		assert_int_equal(cron_next(&c, NULL, 0, cases[i].after), cases[i].next);
	}
}

/* Berlin, 2026: summer time from March 29 to October 25, 01:00 UTC both. */
static struct zone_change berlin[3];

static void set_berlin(void)
{
	berlin[0] = (struct zone_change){ utc(2025, 10, 26, 1, 0), 3600 };
	berlin[1] = (struct zone_change){ utc(2026, 3, 29, 1, 0), 7200 };
	berlin[2] = (struct zone_change){ utc(2026, 10, 25, 1, 0), 3600 };
}

static void a_local_time_that_is_left_out_means_the_change(void **state)
{
	(void)state;
	struct cron c = cron("30 2 * * *");
	set_berlin();
	int64_t at = cron_next(&c, berlin, 3, utc(2026, 3, 28, 0, 0));
	assert_int_equal(at, utc(2026, 3, 28, 1, 30)); /* 02:30 winter time */
	at = cron_next(&c, berlin, 3, at);
	assert_int_equal(at, utc(2026, 3, 29, 1, 0)); /* 02:30 is not there: 03:00 */
	assert_int_equal(cron_next(&c, berlin, 3, at), utc(2026, 3, 30, 0, 30));
}

static void a_local_time_that_comes_twice_fires_once(void **state)
{
	(void)state;
	struct cron c = cron("30 2 * * *");
	set_berlin();
	int64_t at = cron_next(&c, berlin, 3, utc(2026, 10, 24, 12, 0));
	assert_int_equal(at, utc(2026, 10, 25, 0, 30)); /* the first 02:30 */
	assert_int_equal(cron_next(&c, berlin, 3, at), utc(2026, 10, 26, 1, 30));
}

static void moments_only_go_forward_whatever_the_zone(void **state)
{
	(void)state;
	const char *texts[] = { "*/7 * * * *", "0 */2 * * *", "59 1-3 * 3,10 sun", "0 0 * * *" };
	set_berlin();
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct cron c = cron(texts[i]);
		int64_t at = utc(2026, 3, 1, 0, 0);
		for (int k = 0; k < 3000; k++) {
			int64_t next = cron_next(&c, berlin, 3, at);
			assert_true(next > at);
			at = next;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_lists_of_ranges_with_steps),
		cmocka_unit_test(what_is_no_cron_is_refused_with_the_field),
		cmocka_unit_test(the_next_moment_is_found_over_months_and_leap_years),
		cmocka_unit_test(a_local_time_that_is_left_out_means_the_change),
		cmocka_unit_test(a_local_time_that_comes_twice_fires_once),
		cmocka_unit_test(moments_only_go_forward_whatever_the_zone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
