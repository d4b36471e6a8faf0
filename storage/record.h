/* storage/record.h: the bytes of one batch and of the records in it.
 *
 * A batch is one Raft entry and one write. It starts and ends on a DISK_BLOCK:
 *
 *   header (128 bytes) | record header (16) | body, padded to 8 with zeros | ... | zeros up to the block
 *
 * The checksum of a record covers its address, its kind and size, and its padded body, so that a record read from
 * the wrong place does not pass. The checksum of the batch body covers the record headers, and with them
 * everything. The header names its own place, and the checksums of the batch before: a hash chain.
 * docs/diskformat.md has the byte tables. Pure functions; nothing here keeps state or does I/O. */
#pragma once

#include "../wire/limits.h"
#include "../wire/span.h"
#include "log.h"

enum {
	BATCH_HEADER = 128,
	BATCH_MAGIC = 0x424b4c48, /* "HLKB" */
	BATCH_FORMAT = 1,
};

/* The first three are libraft's entry types. A MARK is not an entry: it has the index of the entry before and says only
 * that everything before it was synced. */
enum batch_type { BATCH_COMMAND = 1, BATCH_BARRIER = 2, BATCH_CHANGE = 3, BATCH_MARK = 4 };

struct batch_head {
	uint16_t type;
	uint32_t segment;
	uint64_t offset;      /* in the segment */
	uint64_t store;       /* from the identity file */
	uint64_t index, term, time_ms;
	uint64_t synced_end;  /* log_addr: everything before was synced when this was written */
	uint64_t prev;        /* hash of the batch before; 0 for the first */
	uint32_t body_len, records;
	uint32_t body_crc;
	uint64_t hash;        /* of this one: not stored, derived from its checksums */
};

/* What a batch with this much body takes on disk. */
static inline size_t batch_disk_bytes(size_t body_len)
{
	return align_up(size_add(BATCH_HEADER, body_len), DISK_BLOCK);
}
/* What a record with this body takes in a batch. */
static inline size_t record_bytes(size_t size)
{
	return LOG_RECORD_HEADER + align_up(size, 8);
}

/* Writes the header of a record and zeros its padding; the checksum comes with batch_encode. Returns its body. */
uint8_t *record_begin(uint8_t *at, uint16_t kind, uint32_t size);
/* Until batch_encode the header keeps what is known of the body's last `tail` bytes. */
void record_set_tail(uint8_t *at, uint32_t tail, uint32_t tail_crc);

/* Completes the batch at `at`: checksums of all records, body_crc, the header, zeros up to the block. Sets
 * head->body_crc and head->hash. at[BATCH_HEADER ..] holds head->records records that fill body_len exactly. */
void batch_encode(uint8_t *at, struct batch_head *head);

/* True where `bytes` (at least BATCH_HEADER) start with an intact header. Its place is not checked. */
bool batch_head_decode(struct span bytes, struct batch_head *out);
/* True where the body (head->body_len bytes) is what the header says. */
bool batch_body_intact(const struct batch_head *head, struct span body);

/* Walks an intact body. *pos starts at 0; false at the end. */
bool batch_next_record(const struct batch_head *head, struct span body, size_t *pos, struct log_record *out);

/* Decodes one record whose first bytes are `bytes`, which lies at `addr`.
 * ERR_OK; ERR_AGAIN: *need bytes from its start must be there; ERR_DAMAGED. */
enum err record_decode(struct span bytes, uint64_t addr, size_t *need, struct log_record *out) MUST_CHECK;

/* What is at a place where the next batch is looked for. */
enum batch_verdict {
	BATCH_GOOD,   /* intact, at its place, continues the chain */
	BATCH_BLANK,  /* zeros: never written */
	BATCH_STRAY,  /* intact header that does not belong here */
	BATCH_BROKEN, /* anything else: torn or damaged, which one only synced_end of later batches can tell */
};
/* What the batch must be to continue the log. */
struct batch_expect {
	uint64_t store, prev, index; /* index of the last entry so far */
	uint64_t term;               /* its term */
	uint32_t segment;
	uint64_t offset;
};
/* Judges the header only. `bytes` holds at least DISK_BLOCK. */
enum batch_verdict batch_classify(struct span bytes, const struct batch_expect *expect, struct batch_head *out);

/* True where all bytes are zero. */
bool bytes_blank(struct span bytes);
