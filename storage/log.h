/* storage/log.h: the log is the store. Append-only segments, one batch (= one Raft entry) per turn, one sync.
 *
 *   propose -> LOG APPEND + SYNC -> COMMIT -> apply
 *
 * The broker appends records during a turn; log_flush makes them one batch: aligned, checksummed, chained to the
 * batch before, written and synced by one write. When it is durable and Raft calls it committed, log_drive hands it
 * to config.apply in order. Recovery is the same apply over the same bytes.
 *
 * Addresses. A record is named by log_addr = segment << 32 | offset / 8. It stays valid until the segment is deleted.
 *
 * Sealing and checkpoints. A full segment is sealed: truncated to its size, and config.seal gives the bytes of its
 * index file (what the state machine wants to know about the records in it without reading them). With a seal, when the
 * log since the last checkpoint has grown to at least twice that checkpoint, config.checkpoint gives the rest of
 * the state and it is written beside. So a restart is: checkpoint -> restore, the index file of each live segment ->
 * load_segment, then apply for every entry after the checkpoint. Once a checkpoint is durable, sealed segments for which
 * config.segment_live was false when it was taken are deleted.
 *
 * Failure. A failed or short-for-ever write or sync stops the node (config.fatal, which must not return): no retry, no
 * reply. ENOSPC cannot hit a write, because segments are allocated ahead; log_room says what may still be taken. */
#pragma once

#include "../wire/err.h"
#include "io.h"

struct log;

enum { LOG_RECORD_HEADER = 16 };

static inline uint64_t log_addr(uint32_t segment, uint64_t offset)
{
	return (uint64_t)segment << 32 | offset / 8;
}
static inline uint32_t log_addr_segment(uint64_t addr) { return (uint32_t)(addr >> 32); }
static inline uint64_t log_addr_offset(uint64_t addr) { return (addr & 0xffffffffu) * 8; }

struct log_record {
	uint64_t addr;
	uint16_t kind;      /* the state machine's */
	struct span body;   /* borrowed; starts 8-aligned */
	uint32_t crc;       /* for log_tail_crc */
};

struct log_entry {
	uint64_t index, term;
	uint64_t time_ms;   /* wall clock of the proposer, never below that of the entry before */
};

struct log_config {
	struct io *io;
	uint64_t segment_bytes;    /* >= LIMIT_SEGMENT_BYTES_MIN, a multiple of DISK_BLOCK, >= 2 * batch_bytes */
	uint32_t batch_bytes;      /* most record bytes in one batch, <= LIMIT_BATCH_BYTES */
	uint64_t cache_bytes;      /* recent batches and read chunks kept in memory */
	uint32_t reserve_segments; /* kept free for settling when the disk fills; >= 1 */
	const char *node_name;     /* for the identity file on first start */
	bool create;               /* a directory without an identity file becomes a new store; else it is a refusal */
	bool accept_loss;          /* start although confirmed bytes are damaged, dropping what cannot be read (said in text) */

	void *ctx;                 /* of all callbacks below; none may call back into the log except where said */
	enum err (*restore)(void *ctx, struct span checkpoint, char text[256]);
	enum err (*load_segment)(void *ctx, uint32_t segment, struct span index, char text[256]);
	/* All of them are loaded: do they fit the checkpoint? `segment` is where the log goes on. May be NULL. */
	enum err (*loaded)(void *ctx, uint32_t segment, char text[256]);
	/* The index of a sealed segment was lost: every record of it in order, then a last call with record NULL, which adds what
	 * `seal` gave to *out. It is handed to load_segment next. The last call comes in any case; after damage *out is dropped. */
	void (*reindex)(void *ctx, uint32_t segment, const struct log_record *record, struct buf *out);
	/* One committed record. May call log_append and log_fetch. `live` = appended by this process since it opened. */
	void (*apply)(void *ctx, const struct log_entry *entry, const struct log_record *record, bool live);
	void (*seal)(void *ctx, uint32_t segment, struct buf *out);
	void (*checkpoint)(void *ctx, struct buf *out);
	bool (*segment_live)(void *ctx, uint32_t segment);
	/* A fetch that answered ERR_AGAIN may be tried again now. Called from log_drive. */
	void (*fetched)(void *ctx, uint64_t addr);
	/* Storage is lost or lies. Must not return. */
	void (*fatal)(void *ctx, const char *what, int errno_value);
	/* One line for the operator: recovery steps, cut tails, checkpoints. */
	void (*note)(void *ctx, const char *line);
};

/* Opens or creates the store in io's directory: lock, identity, checkpoint, segments, Raft group of one, replay. On
 * return the node leads, everything confirmed has been applied, and the log takes appends. Blocks (uses io_do).
 * ERR_LOCKED, ERR_FOREIGN, ERR_NOT_FOUND (no identity and !create), ERR_DAMAGED, ERR_IO: text says what, where and what
 * the operator can do. A tail that was never confirmed is cut and noted; confirmed bytes never are. */
enum err log_open(const struct log_config *config, struct log **out, char text[256]) MUST_CHECK;

/* Space for one record in the batch of this turn; the caller fills all `size` bytes before log_flush. The address is where
 * it will be if it commits. NULL when the record is above batch_bytes, or the pending batch has no room until a flush. */
void *log_append(struct log *log, uint16_t kind, size_t size, uint64_t *addr_out) MUST_CHECK;
enum { LOG_SUMMED_MIN = 16 << 10 }; /* from so many bytes on it is cheaper to join checksums than to look at the bytes */
/* The same for a record that ends with `tail` bytes whose checksum is known: they are not summed up a second time. */
void *log_append_summed(struct log *log, uint16_t kind, size_t size, uint32_t tail, uint32_t tail_crc, uint64_t *addr_out) MUST_CHECK;
/* The checksum of the last `tail` bytes of a record that was fetched or is being applied, without a look at them. */
uint32_t log_tail_crc(const struct log_record *record, uint32_t tail);
/* Bytes that log_append can still take in this batch. */
size_t log_append_room(const struct log *log);

/* Starts the write of the pending batch if there is one and no write is in flight. `now_ms` stamps the entry. */
void log_flush(struct log *log, uint64_t now_ms);
/* Runs what completed: Raft steps, apply of what is committed, `fetched`, segment preparation, deletion, checkpoints.
 * Cheap when there is nothing to do. Call once a turn after io_reap. */
void log_drive(struct log *log);
/* A batch is pending and no write is in flight: a log_flush starts one. */
bool log_waiting(const struct log *log);
/* How long a write has taken lately, until its completion was seen. */
uint64_t log_write_ns(const struct log *log);
/* True while a batch is pending or in flight: nothing confirmed may be assumed durable beyond what was applied. */
bool log_busy(const struct log *log);

/* The record at `addr`, checksum verified. ERR_OK: *out borrows memory that stays until the next log_drive.
 * ERR_AGAIN: being read from disk; `fetched` will be called. ERR_RESOURCE_EXHAUSTED: too many reads under way, try after the
 * next `fetched`. ERR_DAMAGED, ERR_NOT_FOUND (deleted segment). */
enum err log_fetch(struct log *log, uint64_t addr, struct log_record *out) MUST_CHECK;

enum log_room {
	LOG_ROOM_OK,       /* take everything */
	LOG_ROOM_SETTLE,   /* the disk is filling up: only records that finish things */
};
enum log_room log_room(const struct log *log);

/* The number of the store, as in its identity file: drawn once, never 0. */
uint64_t log_store(const struct log *log);

struct log_stats {
	uint64_t index, term, batches, records, bytes_appended, bytes_written; /* written = with padding */
	uint64_t syncs, sync_ns_total, sync_ns_max;
	uint64_t segments, segment_bytes_on_disk, disk_free_bytes;
	uint64_t checkpoints, checkpoint_bytes, cache_bytes, cache_hits, cache_misses;
	uint64_t recovered_entries, recovered_ms;
	uint64_t time_ms; /* of the newest entry: no later one is below it */
};
/* Bytes of memory that its cache and its batches take. */
uint64_t log_memory(const struct log *log);
/* From now on the cache may have so many bytes; what is above is let go in the next turns. */
void log_set_cache(struct log *log, uint64_t bytes);
void log_get_stats(const struct log *log, struct log_stats *out);

/* Seals the active segment and writes a checkpoint at the next opportunity; log_busy stays true until it is durable. */
void log_checkpoint_now(struct log *log);
/* No write may be in flight (log_busy false) unless the process is about to die anyway. */
void log_close(struct log *log);

/* ---- offline (storage/fsck.c): reads everything, changes nothing ---- */
struct log_check {
	uint64_t segments, batches, records, bytes;
	uint64_t damaged_batches, torn_bytes, missing_files;
	bool would_lose_confirmed;
};
/* Checks every file in io's directory; `line` gets findings in plain words, one at a time. ERR_OK when clean or only a
 * torn, never confirmed tail; ERR_DAMAGED when confirmed bytes are lost; ERR_FOREIGN, ERR_NOT_FOUND, ERR_LOCKED. */
enum err log_check_dir(struct io *io, struct log_check *out, void (*line)(void *ctx, const char *text), void *ctx) MUST_CHECK;
/* The same, and what is in the log: the state of the checkpoint, if there is one, and how far it goes; then every record that can be
 * read. */
struct log_look {
	void (*state)(void *ctx, struct span state, uint64_t index);
	void (*each)(void *ctx, const struct log_entry *entry, const struct log_record *record);
	void *ctx;
};
enum err log_check_with(struct io *io, struct log_check *out, void (*line)(void *ctx, const char *text), void *ctx,
			const struct log_look *look) MUST_CHECK;
/* Walks all readable records in order (for dump). */
enum err log_walk_dir(struct io *io, void (*each)(void *ctx, const struct log_entry *entry, const struct log_record *record),
		      void *ctx) MUST_CHECK;
