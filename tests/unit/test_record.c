/* tests/unit/test_record.c: the bytes of batches and records: what is written is read back, what was changed is noticed. */
#include "../../storage/record.h"
#include "../../wire/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { BUFFER = 64 << 10, RECORDS = 5 };

static const uint32_t sizes[RECORDS] = { 0, 1, 8, 500, 4097 };

struct fixture {
	uint8_t *data;
	struct batch_head head;
	struct batch_expect expect;
};

/* A batch of RECORDS records in the middle of a segment. */
static struct fixture *make(void)
{
	struct fixture *f = calloc(1, sizeof *f);
	size_t pos = BATCH_HEADER;

	assert_non_null(f);
	f->data = aligned_alloc(DISK_BLOCK, BUFFER);
	assert_non_null(f->data);
	memset(f->data, 0xee, BUFFER); /* what is not defined shows */
	for (uint32_t i = 0; i < RECORDS; i++) {
		uint8_t *body = record_begin(f->data + pos, (uint16_t)(i + 10), sizes[i]);
		memset(body, (int)('a' + i), sizes[i]);
		pos += record_bytes(sizes[i]);
	}
	f->head = (struct batch_head){
		.type = BATCH_COMMAND, .segment = 7, .offset = 3 * DISK_BLOCK, .store = 0x1234, .index = 100, .term = 3,
		.time_ms = 1700000000000, .synced_end = log_addr(7, 3 * DISK_BLOCK), .prev = 0xfeed,
		.body_len = (uint32_t)(pos - BATCH_HEADER), .records = RECORDS,
	};
	batch_encode(f->data, &f->head);
	f->expect = (struct batch_expect){
		.store = 0x1234, .prev = 0xfeed, .index = 99, .term = 3, .segment = 7, .offset = 3 * DISK_BLOCK,
	};
	return f;
}

static void drop(struct fixture *f)
{
	free(f->data);
	free(f);
}

static struct span body_of(const struct fixture *f)
{
	return (struct span){ f->data + BATCH_HEADER, f->head.body_len };
}

static void test_a_batch_reads_back_as_it_was_written(void **state)
{
	struct fixture *f = make();
	struct batch_head head;
	struct log_record record;
	size_t pos = 0;

	(void)state;
	assert_true(batch_head_decode(span_of(f->data, DISK_BLOCK), &head));
	assert_int_equal(head.hash, f->head.hash);
	assert_int_equal(head.index, 100);
	assert_int_equal(head.term, 3);
	assert_int_equal(head.time_ms, 1700000000000);
	assert_int_equal(head.synced_end, f->head.synced_end);
	assert_int_equal(head.prev, 0xfeed);
	assert_int_equal(head.records, RECORDS);
	assert_true(batch_body_intact(&head, body_of(f)));
	for (uint32_t i = 0; i < RECORDS; i++) {
		assert_true(batch_next_record(&head, body_of(f), &pos, &record));
		assert_int_equal(record.kind, i + 10);
		assert_int_equal(record.body.len, sizes[i]);
		assert_int_equal((uintptr_t)record.body.data & 7, 0);
		for (size_t b = 0; b < record.body.len; b++)
			assert_int_equal(record.body.data[b], 'a' + i);
		/* The address leads to the same record on its own. */
		struct log_record alone;
		size_t need, at = (size_t)(log_addr_offset(record.addr) - f->head.offset);
		assert_int_equal(log_addr_segment(record.addr), 7);
		assert_int_equal(record_decode(span_of(f->data + at, BUFFER - at), record.addr, &need, &alone), ERR_OK);
		assert_true(span_eq(alone.body, record.body));
	}
	assert_false(batch_next_record(&head, body_of(f), &pos, &record));
	drop(f);
}

static void test_every_byte_up_to_the_block_is_defined(void **state)
{
	struct fixture *f = make();
	size_t end = BATCH_HEADER + f->head.body_len, disk = batch_disk_bytes(f->head.body_len);

	(void)state;
	assert_int_equal(disk % DISK_BLOCK, 0);
	assert_true(bytes_blank(span_of(f->data + end, disk - end)));
	/* The padding of the one-byte record: 15 + 8 bytes behind its header. */
	size_t one = BATCH_HEADER + record_bytes(0) + LOG_RECORD_HEADER;
	assert_true(bytes_blank(span_of(f->data + one + 1, 7)));
	assert_int_equal(f->data[disk], 0xee);
	drop(f);
}

static void test_every_flipped_bit_is_noticed(void **state)
{
	struct fixture *f = make();
	size_t end = BATCH_HEADER + f->head.body_len;

	(void)state;
	for (size_t at = 0; at < end; at++) {
		for (int bit = 0; bit < 8; bit += at < 700 ? 1 : 7) {
			struct batch_head head;
			f->data[at] ^= (uint8_t)(1 << bit);
			bool good = batch_classify(span_of(f->data, DISK_BLOCK), &f->expect, &head) == BATCH_GOOD &&
				    head.body_len == f->head.body_len && batch_body_intact(&head, body_of(f));
			assert_false(good);
			f->data[at] ^= (uint8_t)(1 << bit);
		}
	}
	drop(f);
}

static void test_a_record_at_another_address_is_not_taken_for_the_one_there(void **state)
{
	struct fixture *f = make();
	struct log_record record;
	size_t need, at = BATCH_HEADER + record_bytes(0);
	struct span bytes = span_of(f->data + at, BUFFER - at);
	uint64_t addr = log_addr(7, f->head.offset + at);

	(void)state;
	assert_int_equal(record_decode(bytes, addr, &need, &record), ERR_OK);
	assert_int_equal(record_decode(bytes, addr + 1, &need, &record), ERR_DAMAGED);
	assert_int_equal(record_decode(bytes, log_addr(8, f->head.offset + at), &need, &record), ERR_DAMAGED);
	drop(f);
}

static void test_a_record_asks_for_the_bytes_it_lacks(void **state)
{
	struct fixture *f = make();
	struct log_record record;
	size_t at = BATCH_HEADER, need;

	(void)state;
	for (uint32_t i = 0; i < RECORDS; i++) {
		uint64_t addr = log_addr(7, f->head.offset + at);
		assert_int_equal(record_decode(span_of(f->data + at, LOG_RECORD_HEADER - 1), addr, &need, &record), ERR_AGAIN);
		assert_int_equal(need, LOG_RECORD_HEADER);
		if (sizes[i] > 0) {
			assert_int_equal(record_decode(span_of(f->data + at, LOG_RECORD_HEADER), addr, &need, &record), ERR_AGAIN);
			assert_int_equal(need, record_bytes(sizes[i]));
		}
		assert_int_equal(record_decode(span_of(f->data + at, record_bytes(sizes[i])), addr, &need, &record), ERR_OK);
		at += record_bytes(sizes[i]);
	}
	drop(f);
}

static void test_a_batch_is_good_only_at_its_place_in_its_chain(void **state)
{
	struct fixture *f = make();
	struct span bytes = span_of(f->data, DISK_BLOCK);
	struct batch_head head;
	struct batch_expect e = f->expect;

	(void)state;
	assert_int_equal(batch_classify(bytes, &e, &head), BATCH_GOOD);
	e.store++;
	assert_int_equal(batch_classify(bytes, &e, &head), BATCH_STRAY);
	e = f->expect;
	e.segment++;
	assert_int_equal(batch_classify(bytes, &e, &head), BATCH_STRAY);
	e = f->expect;
	e.offset += DISK_BLOCK;
	assert_int_equal(batch_classify(bytes, &e, &head), BATCH_STRAY);
	e = f->expect;
	e.prev++;
	assert_int_equal(batch_classify(bytes, &e, &head), BATCH_STRAY);
	e = f->expect;
	e.index++;
	assert_int_equal(batch_classify(bytes, &e, &head), BATCH_STRAY);
	e = f->expect;
	e.term++; /* the log is in a later term already */
	assert_int_equal(batch_classify(bytes, &e, &head), BATCH_STRAY);
	drop(f);
}

static void test_a_mark_repeats_the_index_before_it(void **state)
{
	struct fixture *f = make();
	struct batch_head mark = f->head, head;

	(void)state;
	mark.type = BATCH_MARK;
	mark.body_len = mark.records = 0;
	batch_encode(f->data, &mark);
	assert_int_equal(batch_classify(span_of(f->data, DISK_BLOCK), &f->expect, &head), BATCH_STRAY);
	f->expect.index = 100;
	assert_int_equal(batch_classify(span_of(f->data, DISK_BLOCK), &f->expect, &head), BATCH_GOOD);
	assert_true(batch_body_intact(&head, (struct span){ f->data + BATCH_HEADER, 0 }));
	drop(f);
}

static void test_blank_is_told_from_broken(void **state)
{
	struct fixture *f = make();
	struct batch_head head;

	(void)state;
	memset(f->data, 0, BUFFER);
	assert_int_equal(batch_classify(span_of(f->data, DISK_BLOCK), &f->expect, &head), BATCH_BLANK);
	f->data[DISK_BLOCK - 1] = 1;
	assert_int_equal(batch_classify(span_of(f->data, DISK_BLOCK), &f->expect, &head), BATCH_BROKEN);
	drop(f);
}

static void test_a_tail_whose_sum_is_known_gives_the_same_bytes_and_is_told_again(void **state)
{
	(void)state;
	for (uint32_t tail = 0; tail <= 4097; tail += tail < 20 ? 1 : 311) {
		struct fixture *f = make();
		uint8_t *before = malloc(BUFFER);
		struct log_record record;
		size_t pos = 0;
		assert_non_null(before);
		memcpy(before, f->data, BUFFER);
		uint32_t offset = (uint32_t)(BATCH_HEADER + record_bytes(0) + record_bytes(1) + record_bytes(8) + record_bytes(500));
		uint8_t *at = f->data + offset;
		uint8_t *body = record_begin(at, 14, 4097);
		memset(body, 'e', 4097);
		uint32_t sum = crc32c(0, span_of(body + 4097 - tail, tail));
		record_set_tail(at, tail, sum);
		batch_encode(f->data, &f->head);
		assert_memory_equal(f->data, before, BUFFER);
		for (int i = 0; i < RECORDS; i++)
			assert_true(batch_next_record(&f->head, body_of(f), &pos, &record));
		assert_int_equal(log_tail_crc(&record, tail), sum);
		free(before);
		drop(f);
	}
}

static void test_a_tail_whose_sum_is_wrong_is_damage(void **state)
{
	(void)state;
	struct fixture *f = make();
	uint8_t *at = f->data + BATCH_HEADER + record_bytes(0) + record_bytes(1) + record_bytes(8);
	memset(record_begin(at, 13, 500), 'd', 500);
	record_set_tail(at, 100, 0x12345678);
	batch_encode(f->data, &f->head);
	assert_false(batch_body_intact(&f->head, body_of(f)));
	drop(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_batch_reads_back_as_it_was_written),
		cmocka_unit_test(test_a_tail_whose_sum_is_known_gives_the_same_bytes_and_is_told_again),
		cmocka_unit_test(test_a_tail_whose_sum_is_wrong_is_damage),
		cmocka_unit_test(test_every_byte_up_to_the_block_is_defined),
		cmocka_unit_test(test_every_flipped_bit_is_noticed),
		cmocka_unit_test(test_a_record_at_another_address_is_not_taken_for_the_one_there),
		cmocka_unit_test(test_a_record_asks_for_the_bytes_it_lacks),
		cmocka_unit_test(test_a_batch_is_good_only_at_its_place_in_its_chain),
		cmocka_unit_test(test_a_mark_repeats_the_index_before_it),
		cmocka_unit_test(test_blank_is_told_from_broken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
