/* tests/unit/test_event_match.c: which patterns match a type, and which events have been here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../broker/event_match.h"
#include "../../broker/event_seen.h"

struct entry { struct match_item item; char name[64]; };

struct found { const char *names[64]; uint32_t count, stop_at; };

static bool collect(void *ctx, struct match_item *item)
{
	struct found *f = ctx;
	struct entry *e = CONTAINER_OF(item, struct entry, item);
	f->names[f->count++] = e->name;
	return f->count != f->stop_at;
}

static void add(struct match *m, struct entry *e, const char *vnet, const char *pattern, bool descendants)
{
	memset(e, 0, sizeof *e);
	(void)snprintf(e->name, sizeof e->name, "%s", pattern);
	assert_true(match_add(m, &e->item, span_str(vnet), span_str(pattern), descendants));
}

static void expect(const struct match *m, const char *vnet, const char *type, const char *want)
{
	struct found f = { .count = 0 };
	char got[512] = "";
	match_each(m, span_str(vnet), span_str(type), collect, &f);
	for (uint32_t i = 0; i < f.count; i++)
		(void)snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? " " : "", f.names[i]);
	assert_string_equal(got, want);
}

static void the_most_specific_pattern_comes_first(void **state)
{
	struct match m = { .seed = 7 };
	struct entry e[5];
	(void)state;
	add(&m, &e[0], "", "*", false);
	add(&m, &e[1], "", "media.*", false);
	add(&m, &e[2], "", "media.v1.Done", false);
	add(&m, &e[3], "", "media.v1.*", false);
	add(&m, &e[4], "", "mediax.*", false);
	expect(&m, "", "media.v1.Done", "media.v1.Done media.v1.* media.* *");
	expect(&m, "", "media.v2.Done", "media.* *");
	expect(&m, "", "media", "*");
	expect(&m, "", "other", "*");
	match_remove(&m, &e[0].item);
	match_remove(&m, &e[0].item); /* again is nothing */
	expect(&m, "", "other", "");
	for (int i = 1; i < 5; i++)
		match_remove(&m, &e[i].item);
	match_free(&m);
}

static void vnets_do_not_see_each_other(void **state)
{
	struct match m = { .seed = 7 };
	struct entry e[3];
	(void)state;
	add(&m, &e[0], "red", "a.*", false);
	add(&m, &e[1], "blue", "a.b", false);
	add(&m, &e[2], "", "*", false);
	expect(&m, "red", "a.b", "a.*");
	expect(&m, "blue", "a.b", "a.b");
	expect(&m, "", "a.b", "*");
	for (int i = 0; i < 3; i++)
		match_remove(&m, &e[i].item);
	match_free(&m);
}

static struct span parent_of(void *ctx, struct span type)
{
	(void)ctx;
	if (span_eq(type, span_str("shape.Square")))
		return span_str("shape.Rectangle");
	if (span_eq(type, span_str("shape.Rectangle")))
		return span_str("shape.Shape");
	if (span_eq(type, span_str("a")) || span_eq(type, span_str("b"))) /* each the other's: a mistake that must end */
		return span_str(span_eq(type, span_str("a")) ? "b" : "a");
	return span_of(NULL, 0);
}

static void a_subscriber_to_an_ancestor_gets_its_descendants(void **state)
{
	struct match m = { .seed = 7, .parent = parent_of };
	struct entry e[3];
	(void)state;
	add(&m, &e[0], "", "shape.Shape", true);
	add(&m, &e[1], "", "shape.Rectangle", false);
	add(&m, &e[2], "", "shape.Square", true);
	expect(&m, "", "shape.Square", "shape.Square shape.Shape");
	expect(&m, "", "shape.Rectangle", "shape.Rectangle shape.Shape");
	expect(&m, "", "shape.Shape", "shape.Shape");
	assert_true(match_item_matches(&m, &e[0].item, span_str(""), span_str("shape.Square")));
	assert_false(match_item_matches(&m, &e[2].item, span_str(""), span_str("shape.Shape")));
	assert_false(match_item_matches(&m, &e[0].item, span_str(""), span_str("a")));
	for (int i = 0; i < 3; i++)
		match_remove(&m, &e[i].item);
	match_free(&m);
}

static void equal_patterns_are_told_in_the_order_of_adding_and_may_be_cut_short(void **state)
{
	struct match m = { .seed = 7 };
	struct entry e[3];
	struct found f = { .stop_at = 2 };
	(void)state;
	for (int i = 0; i < 3; i++) {
		add(&m, &e[i], "", "t", false);
		e[i].name[0] = (char)('0' + i);
	}
	expect(&m, "", "t", "0 1 2");
	match_each(&m, span_str(""), span_str("t"), collect, &f);
	assert_int_equal(f.count, 2);
	match_remove(&m, &e[1].item);
	expect(&m, "", "t", "0 2");
	match_remove(&m, &e[2].item);
	match_remove(&m, &e[0].item);
	match_free(&m);
}

static void what_is_no_pattern_is_not_added(void **state)
{
	struct match m = { .seed = 7 };
	struct match_item item = { 0 };
	static const char *const bad[] = { "", "a*", "*.a", "a.*.b", "**", ".*", "a.**" };
	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(match_add(&m, &item, span_str(""), span_str(bad[i]), false));
	assert_false(match_add(&m, &item, span_str(""), span_str("a.*"), true));
	match_free(&m);
}

static void ten_thousand_patterns_cost_no_more_than_ten(void **state)
{
	enum { MANY = 10000 };
	struct match m = { .seed = 7 };
	struct entry *e = calloc(MANY, sizeof *e);
	char name[64];
	(void)state;
	assert_non_null(e);
	for (int i = 0; i < MANY; i++) {
		(void)snprintf(name, sizeof name, i % 2 ? "ns%d.*" : "ns%d.v1.T", i / 2);
		add(&m, &e[i], "", name, false);
	}
	for (int i = 0; i < MANY / 2; i += 97) {
		char want[128];
		(void)snprintf(name, sizeof name, "ns%d.v1.T", i);
		(void)snprintf(want, sizeof want, "ns%d.v1.T ns%d.*", i, i);
		expect(&m, "", name, want);
	}
	assert_true(m.bucket_count >= MANY); /* so that a look meets few others */
	for (int i = 0; i < MANY; i++)
		match_remove(&m, &e[i].item);
	match_free(&m);
	free(e);
}

/* ---- seen ---- */

static uint32_t look(struct seen *s, uint64_t hi, uint64_t lo, uint32_t count, bool want)
{
	bool seen;
	uint32_t alike = seen_look(s, hi, lo, count, &seen);
	assert_int_equal(seen, want);
	return alike;
}

static void an_event_is_new_once(void **state)
{
	struct seen *s = seen_new(3);
	(void)state;
	assert_int_equal(look(s, 5, 10, 4, false), 4);
	seen_add(s, 5, 10, 4);
	assert_int_equal(look(s, 5, 10, 4, true), 4);
	assert_int_equal(look(s, 6, 10, 4, false), 4);
	assert_int_equal(look(s, 5, 8, 10, false), 2);  /* up to what is known */
	assert_int_equal(look(s, 5, 12, 10, true), 2);
	assert_int_equal(look(s, 5, 14, 10, false), 10);
	seen_free(s);
}

static void an_orderly_publisher_takes_one_run_and_gaps_are_joined(void **state)
{
	struct seen *s = seen_new(3);
	(void)state;
	for (uint64_t i = 0; i < 1000; i++)
		seen_add(s, 5, i * 10, 10);
	assert_int_equal(seen_count(s), 1);
	seen_add(s, 5, 20000, 10);
	assert_int_equal(seen_count(s), 2);
	seen_add(s, 5, 10000, 10000);
	assert_int_equal(seen_count(s), 1);
	assert_int_equal(look(s, 5, 0, 20010, true), 20010);
	seen_free(s);
}

static void memory_is_bounded_and_the_oldest_is_forgotten_first(void **state)
{
	struct seen *s = seen_new(3);
	(void)state;
	for (uint64_t hi = 1; hi <= SEEN_RUNS + 100; hi++)
		seen_add(s, hi, 1, 1);
	assert_int_equal(seen_count(s), SEEN_RUNS);
	(void)look(s, 100, 1, 1, false);
	(void)look(s, 101, 1, 1, true);
	(void)look(s, SEEN_RUNS + 100, 1, 1, true);
	for (uint64_t i = 0; i < SEEN_RUNS_OF + 10; i++)
		seen_add(s, 777777, i * 3, 1);
	assert_true(seen_count(s) <= SEEN_RUNS);
	(void)look(s, 777777, 0, 1, false);
	(void)look(s, 777777, (SEEN_RUNS_OF + 9) * 3, 1, true);
	seen_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_most_specific_pattern_comes_first),
		cmocka_unit_test(vnets_do_not_see_each_other),
		cmocka_unit_test(a_subscriber_to_an_ancestor_gets_its_descendants),
		cmocka_unit_test(equal_patterns_are_told_in_the_order_of_adding_and_may_be_cut_short),
		cmocka_unit_test(what_is_no_pattern_is_not_added),
		cmocka_unit_test(ten_thousand_patterns_cost_no_more_than_ten),
		cmocka_unit_test(an_event_is_new_once),
		cmocka_unit_test(an_orderly_publisher_takes_one_run_and_gaps_are_joined),
		cmocka_unit_test(memory_is_bounded_and_the_oldest_is_forgotten_first),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
