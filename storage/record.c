/* storage/record.c: encodes, decodes and judges batches and records. See record.h.
 *
 * Data flow: log.c fills a batch in place and calls batch_encode before the write; log_recover.c, log_cache.c and
 * fsck.c decode what they read back.
 *
 * 1. Every byte between the start of a batch and its last block boundary is defined: nothing uninitialised
 *    reaches the disk.
 * 2. Decoding trusts nothing: sizes are checked before they are used, and an unknown format is not intact. */
#include "record.h"

#include "../wire/crc32c.h"

/* The stored form. Integers are little-endian as the machine is (wire/span.h checks it). */
struct disk_head {
	uint32_t magic;
	uint16_t format, type;
	uint64_t store;
	uint32_t segment, crc;      /* crc: of this struct with crc = 0 */
	uint64_t offset, index, term, time_ms;
	uint32_t body_len, body_crc;
	uint64_t synced_end, prev;
	uint32_t records, flags;
	uint64_t spare[5];
};
_Static_assert(sizeof(struct disk_head) == BATCH_HEADER, "disk layout");

struct disk_record {
	uint32_t size;
	uint16_t kind, flags;
	uint32_t crc, spare;
};
_Static_assert(sizeof(struct disk_record) == LOG_RECORD_HEADER, "disk layout");

uint8_t *record_begin(uint8_t *at, uint16_t kind, uint32_t size)
{
	struct disk_record head = { .size = size, .kind = kind };

	memcpy(at, &head, sizeof head);
	if (size % 8 != 0)
		memset(at + LOG_RECORD_HEADER + size - size % 8, 0, 8);
	return at + LOG_RECORD_HEADER;
}

void record_set_tail(uint8_t *at, uint32_t tail, uint32_t tail_crc)
{
	struct disk_record head;

	memcpy(&head, at, sizeof head);
	ENSURE(tail <= head.size);
	head.spare = tail;
	head.crc = tail_crc;
	memcpy(at, &head, sizeof head);
}

/* The checksum over the record's place and the first `len` bytes of its body. */
static uint32_t start_crc(uint64_t addr, uint32_t size, uint16_t kind, const uint8_t *body, size_t len)
{
	struct {
		uint64_t addr;
		uint32_t size;
		uint16_t kind, flags;
	} place = { addr, size, kind, 0 };
	_Static_assert(sizeof place == 16, "no padding in what is hashed");

	uint32_t crc = crc32c(0, span_of(&place, sizeof place));
	return crc32c(crc, span_of(body, len));
}

static uint32_t record_crc(const struct disk_record *head, uint64_t addr, const uint8_t *body)
{
	return start_crc(addr, head->size, head->kind, body, align_up(head->size, 8));
}

static uint32_t record_crc_with_tail(const struct disk_record *head, uint64_t addr, const uint8_t *body)
{
	uint32_t crc = start_crc(addr, head->size, head->kind, body, head->size - head->spare);
	crc = crc32c_join(crc, head->crc, head->spare);
	return crc32c(crc, span_of(body + head->size, align_up(head->size, 8) - head->size));
}

uint32_t log_tail_crc(const struct log_record *record, uint32_t tail)
{
	uint32_t size = (uint32_t)record->body.len;
	ENSURE(tail <= size);
	uint32_t whole = crc32c_without_zeros(record->crc, (uint32_t)align_up(size, 8) - size);
	return crc32c_join(start_crc(record->addr, size, record->kind, record->body.data, size - tail), whole, tail);
}

static uint64_t batch_hash(uint32_t crc, uint32_t body_crc)
{
	/* Never 0, which stands for "no batch before". */
	uint64_t hash = (uint64_t)crc << 32 | body_crc;
	return hash != 0 ? hash : 1;
}

void batch_encode(uint8_t *at, struct batch_head *head)
{
	uint64_t addr = log_addr(head->segment, head->offset + BATCH_HEADER);
	uint32_t body_crc = 0;
	size_t pos = BATCH_HEADER, end = BATCH_HEADER + (size_t)head->body_len;

	for (uint32_t i = 0; i < head->records; i++) {
		struct disk_record record;
		memcpy(&record, at + pos, sizeof record);
		const uint8_t *body = at + pos + sizeof record;
		record.crc = record.spare ? record_crc_with_tail(&record, addr, body) : record_crc(&record, addr, body);
		record.spare = 0;
		memcpy(at + pos, &record, sizeof record);
		body_crc = crc32c(body_crc, span_of(&record, sizeof record));
		size_t step = record_bytes(record.size);
		pos += step;
		addr += step / 8;
	}
	ENSURE(pos == end);
	memset(at + end, 0, batch_disk_bytes(head->body_len) - end);

	struct disk_head disk = {
		.magic = BATCH_MAGIC, .format = BATCH_FORMAT, .type = head->type, .store = head->store,
		.segment = head->segment, .offset = head->offset, .index = head->index, .term = head->term,
		.time_ms = head->time_ms, .body_len = head->body_len, .body_crc = body_crc,
		.synced_end = head->synced_end, .prev = head->prev, .records = head->records,
	};
	disk.crc = crc32c(0, span_of(&disk, sizeof disk));
	memcpy(at, &disk, sizeof disk);
	head->body_crc = body_crc;
	head->hash = batch_hash(disk.crc, body_crc);
}

bool batch_head_decode(struct span bytes, struct batch_head *out)
{
	struct disk_head disk;

	if (bytes.len < sizeof disk)
		return false;
	memcpy(&disk, bytes.data, sizeof disk);
	if (disk.magic != BATCH_MAGIC || disk.format != BATCH_FORMAT)
		return false;
	uint32_t crc = disk.crc;
	disk.crc = 0;
	if (crc32c(0, span_of(&disk, sizeof disk)) != crc)
		return false;
	if (disk.type < BATCH_COMMAND || disk.type > BATCH_MARK)
		return false;
	if (disk.body_len > LIMIT_BATCH_BYTES + DISK_BLOCK || disk.body_len % 8 != 0)
		return false;
	if (disk.records > disk.body_len / LOG_RECORD_HEADER)
		return false;
	*out = (struct batch_head){
		.type = disk.type, .segment = disk.segment, .offset = disk.offset, .store = disk.store,
		.index = disk.index, .term = disk.term, .time_ms = disk.time_ms, .synced_end = disk.synced_end,
		.prev = disk.prev, .body_len = disk.body_len, .records = disk.records, .body_crc = disk.body_crc,
		.hash = batch_hash(crc, disk.body_crc),
	};
	return true;
}

enum err record_decode(struct span bytes, uint64_t addr, size_t *need, struct log_record *out)
{
	struct disk_record record;

	*need = sizeof record;
	if (bytes.len < sizeof record)
		return ERR_AGAIN;
	memcpy(&record, bytes.data, sizeof record);
	if (record.size > LIMIT_BATCH_BYTES || record.flags != 0 || record.spare != 0)
		return ERR_DAMAGED;
	*need = record_bytes(record.size);
	if (bytes.len < *need)
		return ERR_AGAIN;
	if (record_crc(&record, addr, bytes.data + sizeof record) != record.crc)
		return ERR_DAMAGED;
	*out = (struct log_record){
		.addr = addr, .kind = record.kind, .body = { bytes.data + sizeof record, record.size }, .crc = record.crc,
	};
	return ERR_OK;
}

bool batch_body_intact(const struct batch_head *head, struct span body)
{
	uint64_t addr = log_addr(head->segment, head->offset + BATCH_HEADER);
	uint32_t body_crc = 0;

	if (body.len != head->body_len)
		return false;
	for (uint32_t i = 0; i < head->records; i++) {
		struct log_record record;
		size_t need;
		if (record_decode(body, addr, &need, &record) != ERR_OK)
			return false;
		body_crc = crc32c(body_crc, span_sub(body, 0, LOG_RECORD_HEADER));
		body = span_sub(body, need, body.len - need);
		addr += need / 8;
	}
	return body.len == 0 && body_crc == head->body_crc;
}

bool batch_next_record(const struct batch_head *head, struct span body, size_t *pos, struct log_record *out)
{
	struct disk_record record;

	if (*pos >= body.len)
		return false;
	ENSURE(body.len - *pos >= sizeof record);
	memcpy(&record, body.data + *pos, sizeof record);
	ENSURE(record_bytes(record.size) <= body.len - *pos);
	*out = (struct log_record){
		.addr = log_addr(head->segment, head->offset + BATCH_HEADER + *pos),
		.kind = record.kind,
		.body = { body.data + *pos + sizeof record, record.size },
		.crc = record.crc,
	};
	*pos += record_bytes(record.size);
	return true;
}

bool bytes_blank(struct span bytes)
{
	/* Comparing the bytes with themselves, shifted by one, is what memcmp does fastest. */
	return bytes.len == 0 || (bytes.data[0] == 0 && memcmp(bytes.data, bytes.data + 1, bytes.len - 1) == 0);
}

enum batch_verdict batch_classify(struct span bytes, const struct batch_expect *expect, struct batch_head *out)
{
	if (bytes.len < DISK_BLOCK || !batch_head_decode(bytes, out))
		return bytes.len >= DISK_BLOCK && bytes_blank(span_sub(bytes, 0, DISK_BLOCK)) ? BATCH_BLANK
											      : BATCH_BROKEN;
	if (out->store != expect->store || out->segment != expect->segment || out->offset != expect->offset)
		return BATCH_STRAY;
	uint64_t index = out->type == BATCH_MARK ? expect->index : expect->index + 1;
	if (out->prev != expect->prev || out->index != index || out->term < expect->term)
		return BATCH_STRAY;
	return BATCH_GOOD;
}
