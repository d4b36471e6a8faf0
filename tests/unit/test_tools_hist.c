/* Tests of tools/hist.c: the error bound that docs promise, at the borders of buckets and of the range. */
#include "../../tools/hist.c"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct hist hist;

static int fresh(void **state)
{
	(void)state;
	memset(&hist, 0, sizeof hist);
	return 0;
}

static void test_an_empty_histogram_has_quantile_zero(void **state)
{
	(void)state;
	assert_int_equal(hist_quantile(&hist, 0.5), 0);
	assert_int_equal(hist.max, 0);
}

static void test_buckets_grow_with_the_value_and_hold_their_middle(void **state)
{
	(void)state;
	uint32_t before = 0;
	for (uint32_t shift = 0; shift < 64; shift++)
		for (uint64_t step = 0; step < 64; step++) {
			uint64_t base = (uint64_t)1 << shift, value = base + (uint64_t)((__uint128_t)base * step / 64);
			uint32_t bucket = bucket_of(value);
			assert_true(bucket >= before);
			assert_int_equal(bucket_of(bucket_middle(bucket)), bucket);
			before = bucket;
		}
	assert_int_equal(bucket_of(UINT64_MAX), HIST_BUCKETS - 1);
}

static void test_a_single_value_is_reported_within_half_a_percent(void **state)
{
	for (uint64_t value = 1; value < (uint64_t)1 << 60; value = value * 3 / 2 + 1) {
		(void)fresh(state);
		hist_record(&hist, value);
		hist_record(&hist, UINT64_MAX); /* so that the maximum does not help */
		double error = ((double)hist_quantile(&hist, 0.5) - (double)value) / (double)value;
		assert_true(error < 0.004 && error > -0.004);
	}
}

static void test_quantiles_of_a_ramp_are_where_they_belong(void **state)
{
	(void)state;
	for (uint64_t i = 1; i <= 100000; i++)
		hist_record(&hist, i * 10);
	static const double qs[] = { 0.01, 0.5, 0.9, 0.99, 0.999 };
	for (size_t i = 0; i < COUNT_OF(qs); i++) {
		double expected = qs[i] * 1000000, got = (double)hist_quantile(&hist, qs[i]);
		assert_true(got > expected * 0.99 && got < expected * 1.01);
	}
	assert_int_equal(hist_quantile(&hist, 1), hist.max);
	assert_int_equal(hist.max, 1000000);
}

static void test_a_lone_outlier_shows_in_max_and_not_in_p99(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++)
		hist_record(&hist, 100);
	hist_record(&hist, 5000000);
	assert_int_equal(hist_quantile(&hist, 0.99), 100);
	assert_int_equal(hist.max, 5000000);
}

static void test_merging_equals_recording_into_one(void **state)
{
	(void)state;
	static struct hist a, b;
	for (uint64_t i = 0; i < 5000; i++) {
		hist_record(i % 2 ? &a : &b, i * i);
		hist_record(&hist, i * i);
	}
	hist_merge(&a, &b);
	assert_memory_equal(&a, &hist, sizeof hist);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_an_empty_histogram_has_quantile_zero, fresh),
		cmocka_unit_test_setup(test_buckets_grow_with_the_value_and_hold_their_middle, fresh),
		cmocka_unit_test_setup(test_a_single_value_is_reported_within_half_a_percent, fresh),
		cmocka_unit_test_setup(test_quantiles_of_a_ramp_are_where_they_belong, fresh),
		cmocka_unit_test_setup(test_a_lone_outlier_shows_in_max_and_not_in_p99, fresh),
		cmocka_unit_test_setup(test_merging_equals_recording_into_one, fresh),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
