/* tests/unit/test_crc32c.c: the checksum against published vectors and against its definition, bit by bit.
 * The source is included so that the path for processors without the instruction runs here as well. */
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define crc32c crc32c_under_test /* the others are linked in as well */
#define crc32c_join crc32c_join_under_test
#define crc32c_without_zeros crc32c_without_zeros_under_test
#include "../../wire/crc32c.c"

/* The definition: reflected polynomial 0x82f63b78, all ones before and after. */
static uint32_t crc32c_by_bits(uint32_t crc, const uint8_t *at, size_t len)
{
	crc = ~crc;
	for (size_t i = 0; i < len; i++) {
		crc ^= at[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

static void fill(uint8_t *at, size_t len)
{
	uint32_t x = 12345;
	for (size_t i = 0; i < len; i++) {
		x = x * 1664525u + 1013904223u;
		at[i] = (uint8_t)(x >> 24);
	}
}

static void test_published_vectors_match(void **state)
{
	(void)state;
	uint8_t bytes[32];
	assert_int_equal(crc32c(0, span_str("123456789")), 0xe3069283u);
	assert_int_equal(crc32c(0, span_str("")), 0);
	memset(bytes, 0, sizeof bytes); /* these four are from RFC 3720, B.4 */
	assert_int_equal(crc32c(0, span_of(bytes, 32)), 0x8a9136aau);
	memset(bytes, 0xff, sizeof bytes);
	assert_int_equal(crc32c(0, span_of(bytes, 32)), 0x62a8ab43u);
	for (size_t i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, span_of(bytes, 32)), 0x46dd794eu);
	for (size_t i = 0; i < 32; i++)
		bytes[i] = (uint8_t)(31 - i);
	assert_int_equal(crc32c(0, span_of(bytes, 32)), 0x113fdb5cu);
}

static void test_every_length_matches_the_definition(void **state)
{
	(void)state;
	enum { MOST = 8000 };
	uint8_t *bytes = malloc(MOST + 8);
	assert_non_null(bytes);
	fill(bytes, MOST + 8);
	for (size_t len = 0; len < MOST; len += len < 900 ? 1 : 61)
		for (size_t shift = 0; shift < 8; shift += 3)
			assert_int_equal(crc32c(7, span_of(bytes + shift, len)),
					 crc32c_by_bits(7, bytes + shift, len));
	free(bytes);
}

static void test_the_path_without_the_instruction_gives_the_same(void **state)
{
	(void)state;
	uint8_t bytes[300];
	fill(bytes, sizeof bytes);
	for (size_t len = 0; len <= sizeof bytes; len++)
		assert_int_equal(~update_table(~0u, bytes, len), crc32c_by_bits(0, bytes, len));
}

static void test_pieces_continue_one_another(void **state)
{
	(void)state;
	uint8_t bytes[5000];
	fill(bytes, sizeof bytes);
	uint32_t whole = crc32c(0, span_of(bytes, sizeof bytes));
	for (size_t cut = 0; cut <= sizeof bytes; cut += 97)
		assert_int_equal(crc32c(crc32c(0, span_of(bytes, cut)), span_of(bytes + cut, sizeof bytes - cut)),
				 whole);
}

static void test_the_sum_of_a_whole_comes_from_those_of_its_parts_and_back(void **state)
{
	(void)state;
	enum { MOST = 300000 };
	uint8_t *bytes = malloc(MOST);
	assert_non_null(bytes);
	fill(bytes, MOST);
	for (uint32_t len = 0; len < MOST; len = len * 3 + 1) {
		for (uint32_t tail = 0; tail <= len; tail += 1 + len / 5) {
			uint32_t a = crc32c(0, span_of(bytes, len - tail)), b = crc32c(0, span_of(bytes + len - tail, tail));
			uint32_t whole = crc32c(0, span_of(bytes, len));
			assert_int_equal(crc32c_join(a, b, tail), whole);
			assert_int_equal(crc32c_join(a, whole, tail), b);
		}
	}
	free(bytes);
}

static void test_zeros_at_the_end_are_taken_off_a_sum(void **state)
{
	(void)state;
	uint8_t bytes[64] = { 0 };
	fill(bytes, 40);
	for (uint32_t zeros = 0; zeros <= 24; zeros++)
		assert_int_equal(crc32c_without_zeros(crc32c(0, span_of(bytes, 40 + zeros)), zeros), crc32c(0, span_of(bytes, 40)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_vectors_match),
		cmocka_unit_test(test_every_length_matches_the_definition),
		cmocka_unit_test(test_the_path_without_the_instruction_gives_the_same),
		cmocka_unit_test(test_pieces_continue_one_another),
		cmocka_unit_test(test_the_sum_of_a_whole_comes_from_those_of_its_parts_and_back),
		cmocka_unit_test(test_zeros_at_the_end_are_taken_off_a_sum),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
