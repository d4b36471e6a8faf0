/* fuzz/fuzz_record.c: bytes as a batch and as a record. Properties: no read outside, a prefix never decodes to something
 * else than the whole, what decodes encodes to the same bytes again. */
#include "../storage/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_record(struct span bytes, uint64_t addr)
{
	struct log_record whole, part;
	size_t need = 0, part_need;

	enum err e = record_decode(bytes, addr, &need, &whole);
	if (e == ERR_AGAIN)
		ENSURE(need > bytes.len);
	if (e != ERR_OK)
		return;
	ENSURE(need <= bytes.len && whole.body.data + whole.body.len <= bytes.data + need);
	for (size_t cut = 0; cut < need; cut++)
		ENSURE(record_decode(span_sub(bytes, 0, cut), addr, &part_need, &part) == ERR_AGAIN);
}

static void as_batch(struct span bytes)
{
	struct batch_head head;
	struct log_record record;
	size_t pos = 0, records = 0;

	if (!batch_head_decode(bytes, &head) || bytes.len - BATCH_HEADER < head.body_len)
		return;
	struct span body = span_sub(bytes, BATCH_HEADER, head.body_len);
	if (!batch_body_intact(&head, body))
		return;
	size_t disk = batch_disk_bytes(head.body_len);
	uint8_t *again = (uint8_t *)malloc(disk);
	ENSURE(again != NULL);
	struct batch_head copy = head;
	while (batch_next_record(&head, body, &pos, &record)) {
		uint8_t *at = again + BATCH_HEADER + (size_t)(record.body.data - body.data) - LOG_RECORD_HEADER;
		memcpy(record_begin(at, record.kind, (uint32_t)record.body.len), record.body.data, record.body.len);
		records++;
	}
	ENSURE(records == head.records);
	batch_encode(again, &copy);
	ENSURE(copy.hash != 0 && copy.body_crc == head.body_crc);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span bytes = { data, size };
	struct batch_head head;

	if (size >= 8) {
		uint64_t addr;
		memcpy(&addr, data, 8);
		as_record(span_sub(bytes, 8, size - 8), addr);
	}
	as_batch(bytes);
	/* Checksums keep a fuzzer out: so also with a header that is made to fit. */
	if (size >= BATCH_HEADER && size < (1 << 16)) {
		uint8_t *fitted = (uint8_t *)calloc(1, align_up(size, DISK_BLOCK) + DISK_BLOCK);
		ENSURE(fitted != NULL);
		memcpy(fitted, data, size);
		struct batch_head fit = { .type = data[0] % 6, .segment = data[1], .offset = data[2] * 8u, .index = data[3],
					  .term = data[4] };
		batch_encode(fitted, &fit); /* no records: the header alone */
		memcpy(fitted + BATCH_HEADER, data + BATCH_HEADER, size - BATCH_HEADER);
		if (batch_head_decode((struct span){ fitted, size }, &head)) {
			head.body_len = (uint32_t)((size - BATCH_HEADER) / 8 * 8);
			head.records = data[5];
			(void)batch_body_intact(&head, span_sub((struct span){ fitted, size }, BATCH_HEADER, head.body_len));
		}
		free(fitted);
	}
	return 0;
}
