/* tests/unit/test_tasks_settings.c: REC_QUEUE of every version: what an older or a newer broker wrote is read. */
#include "../../broker/tasks_record.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { NAME_SIZE = 4, FIXED_V1 = 8, FIXED_V2 = 16 };

/* Builds a body of `count` settings 100, 101 ... and the name "jobs". */
static struct span body_of(uint8_t *out, uint8_t version, uint32_t count)
{
	struct rec_queue fixed = { .version = version, .op = QUEUE_OP_CREATE, .name_size = NAME_SIZE, .queue = 3,
				   .setting_count = count };
	size_t size = version == 1 ? FIXED_V1 : FIXED_V2;
	memcpy(out, &fixed, size);
	for (uint32_t i = 0; i < count; i++) {
		int64_t value = 100 + i;
		memcpy(out + size, &value, sizeof value);
		size += sizeof value;
	}
	memcpy(out + size, "jobs", NAME_SIZE);
	return span_of(out, size + NAME_SIZE);
}

static void test_a_record_of_version_1_sets_the_first_seven(void **state)
{
	(void)state;
	uint8_t bytes[512];
	struct queue_view v;
	assert_int_equal(rec_queue_read(body_of(bytes, 1, 7), &v), ERR_OK);
	assert_int_equal(v.fixed.queue, 3);
	assert_int_equal(v.settings.length_max, 100);
	assert_int_equal(v.settings.retention_ms, 106);
	assert_memory_equal(v.name.data, "jobs", NAME_SIZE);
	struct queue_settings unset = QUEUE_SETTINGS_UNSET;
	assert_memory_equal((int64_t *)(void *)&v.settings + 7, (int64_t *)(void *)&unset + 7,
			    sizeof unset - 7 * sizeof(int64_t));
}

static void test_settings_that_a_record_lacks_are_unset_and_more_are_passed_over(void **state)
{
	(void)state;
	uint8_t bytes[512];
	struct queue_view v;
	assert_int_equal(rec_queue_read(body_of(bytes, 2, 2), &v), ERR_OK);
	assert_int_equal(v.settings.max_attempts, 101);
	assert_int_equal(v.settings.lease_ms, -1);
	assert_int_equal(rec_queue_read(body_of(bytes, 2, QUEUE_SETTINGS_COUNT + 5), &v), ERR_OK);
	assert_int_equal(v.settings.length_max, 100);
	assert_memory_equal(v.name.data, "jobs", NAME_SIZE);
	assert_int_equal(rec_queue_read(body_of(bytes, 2, 0), &v), ERR_OK);
	assert_int_equal(v.name.len, NAME_SIZE);
}

static void test_every_cut_and_a_lying_count_are_refused(void **state)
{
	(void)state;
	uint8_t bytes[512];
	struct queue_view v;
	for (uint8_t version = 1; version <= 2; version++) {
		struct span whole = body_of(bytes, version, 7);
		for (size_t cut = 0; cut < whole.len; cut++) {
			uint8_t *exact = malloc(cut + 1); /* so that a sanitizer sees a byte too many */
			memcpy(exact, whole.data, cut);
			assert_int_equal(rec_queue_read(span_of(exact, cut), &v), ERR_DAMAGED);
			free(exact);
		}
	}
	struct span lying = body_of(bytes, 2, 2);
	uint32_t many = UINT32_MAX;
	memcpy(bytes + offsetof(struct rec_queue, setting_count), &many, sizeof many);
	assert_int_equal(rec_queue_read(lying, &v), ERR_DAMAGED);
	assert_int_equal(rec_queue_read(body_of(bytes, 3, 2), &v), ERR_DAMAGED);
}

static void test_unset_settings_leave_the_others_as_they_are(void **state)
{
	(void)state;
	struct queue_settings over = QUEUE_SETTINGS_UNSET;
	over.lease_ms = 0;
	struct queue_settings s = queue_settings_over(QUEUE_SETTINGS_BASE, over);
	assert_int_equal(s.lease_ms, 0);
	assert_int_equal(s.max_attempts, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_record_of_version_1_sets_the_first_seven),
		cmocka_unit_test(test_settings_that_a_record_lacks_are_unset_and_more_are_passed_over),
		cmocka_unit_test(test_every_cut_and_a_lying_count_are_refused),
		cmocka_unit_test(test_unset_settings_leave_the_others_as_they_are),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
