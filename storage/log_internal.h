/* storage/log_internal.h: struct log, shared by log.c, log_recover.c, log_cache.c and checkpoint.c only. */
#pragma once

#include "log.h"
#include "raft_node.h"
#include "record.h"
#include "replace.h"
#include "segment.h"

enum {
	LOG_READS_MAX = 16,          /* fetches under way */
	LOG_WAITERS_MAX = 1024,      /* addresses waiting for one read */
	LOG_MARK_MS = 100,           /* an idle log says that its last batch is safe after this long */
	LOG_NODE_ID = 1,             /* of the group of one */
	LOG_TRAILING = 1024,         /* entries libraft remembers below a checkpoint */
};

/* ---- the tail cache: batches stay in the very memory they were appended to (log_cache.c) ---- */

struct slab {
	struct slab *next;
	uint8_t *data;
	size_t used;
	uint64_t pinned;             /* the turn it was last looked at by log_fetch */
	uint32_t batches;
};

struct cached {
	struct batch_head head;
	uint8_t *data;               /* the batch, header included */
	struct slab *slab;
};

enum chunk_state { CHUNK_FREE, CHUNK_READING, CHUNK_READY, CHUNK_FAILED };
struct chunk {
	enum chunk_state state;
	struct log *log;
	uint32_t segment;
	uint64_t offset;
	size_t len, filled, size;    /* wanted, read, allocated */
	uint8_t *data;
	uint64_t used;               /* turn */
	struct io_op op;
	int64_t result;
	bool completed;
	bool ahead;                  /* nobody has asked for it yet */
	bool followed;               /* the one behind it was read ahead */
	uint64_t *waiters;
	uint32_t waiting, waiters_cap;
};

struct cache {
	struct cached *at;           /* a ring; numbers count all batches since start */
	uint64_t first, next;        /* at[first % cap] .. at[(next - 1) % cap] */
	uint32_t cap;
	struct slab *oldest, *newest, *spare;
	size_t slab_bytes;
	uint64_t bytes;              /* used in slabs */
	struct chunk **chunks;
	uint32_t chunk_count, reading, completed;
	size_t chunk_bytes, chunk_most; /* the first chunk of somebody; the largest that is read ahead */
	uint64_t chunk_total;        /* allocated */
	uint8_t *chunk_spare;        /* of the largest size that is read ahead; NULL: none */
};

/* ---- the log ---- */

struct pending {
	uint8_t *data;               /* NULL: nothing pending */
	uint64_t offset;
	uint32_t segment, body_len, records, body_max;
};

struct log {
	struct log_config config;
	struct segments segments;
	struct cache cache;
	struct replace replace;
	struct raft_node *raft;
	uint64_t store;              /* number of this store, from the identity file */
	uint64_t turn;

	struct pending pending;
	uint32_t body_max;           /* record bytes of a batch, headers included */
	size_t batch_max;            /* on disk */

	/* The write in flight: always the newest batch in the cache. */
	struct io_op op;
	uint64_t flying_ns, write_ns; /* when it began; what one takes lately */
	size_t flying_bytes, flown;
	int64_t result;
	uint32_t stuck;              /* writes in a row that moved less than a block */
	bool flying, landed;

	/* The newest batch written, or to be written. */
	uint64_t index, term, time_ms, hash;
	uint64_t flushed_ms;
	bool unmarked;               /* nothing on disk says yet that the newest batch was synced */

	/* Applied so far. */
	uint64_t commit;             /* entries up to here are committed */
	uint64_t apply_next;         /* number in the cache */
	uint64_t applied_index, applied_term, applied_hash;
	uint32_t applied_segment;    /* the first segment that is not sealed */
	struct buf members;          /* Raft configuration, encoded */
	uint64_t members_index;

	/* Checkpoints. */
	uint64_t since_checkpoint, checkpoint_bytes;
	bool checkpoint_wanted, checkpoint_forced, checkpoint_busy, checkpoint_busy_forced;

	bool segments_due;           /* a second has passed: look after the files */
	bool opening;                /* failures are returned by log_open instead of being fatal */
	int failed;                  /* the first of them, -errno */
	const char *failed_what;
	struct log_stats stats;
};

/* log.c */
void log_fail(struct log *log, const char *what, int64_t res);
void log_note(struct log *log, const char *format, ...) PRINTF_LIKE(2, 3);
/* Applies one intact batch and advances applied_*. */
void log_apply_batch(struct log *log, const struct batch_head *head, struct span body, bool live);
const struct raft_node_hooks *log_raft_hooks(void);
static inline uint64_t log_now_ms(const struct log *log) { return io_now_ns(log->config.io) / 1000000; }

/* log_cache.c */
void cache_init(struct log *log);
void cache_free(struct log *log);
void cache_spare_free(struct log *log); /* the slab that is kept to be used again */
/* Memory for a batch of at most batch_max bytes; stays reserved until cache_push. */
uint8_t *cache_reserve(struct log *log);
struct cached *cache_push(struct log *log, const struct batch_head *head, uint8_t *data);
static inline struct cached *cache_at(struct log *log, uint64_t number)
{
	return &log->cache.at[number & (log->cache.cap - 1)];
}
/* Drops the oldest batches and chunks over the limit. */
void cache_trim(struct log *log);
/* Completed reads: tells who waits. */
void cache_drive(struct log *log);

/* checkpoint.c */
struct checkpoint_segment { uint32_t number, spare; uint64_t bytes; };
struct checkpoint {
	uint64_t index, term, hash, time_ms, members_index;
	uint32_t next_segment, segment_count;
	const struct checkpoint_segment *segments; /* live ones; may be unaligned in the file: copied out */
	struct span members, state;
};
/* "checkpoint" file bytes. The state is what was appended to *out between begin and end. */
void checkpoint_begin(struct buf *out);
void checkpoint_end(struct buf *out, uint64_t store, const struct checkpoint *head);
/* Borrows bytes; *segments_out is allocated (free). ERR_DAMAGED, ERR_FOREIGN with text. */
enum err checkpoint_decode(struct span bytes, uint64_t store, struct checkpoint *out, char text[256]) MUST_CHECK;
void checkpoint_free(struct checkpoint *c);

void index_begin(struct buf *out);
void index_end(struct buf *out, uint64_t store, uint32_t segment, uint64_t segment_bytes);
/* Of an intact index. */
uint64_t index_segment_bytes(struct span bytes);
enum err index_decode(struct span bytes, uint64_t store, uint32_t segment, struct span *state, char text[256]) MUST_CHECK;

/* Live: seals what is fully applied, takes checkpoints when they are due. */
void checkpoint_drive(struct log *log);
void checkpoint_finished(void *ctx, struct replace_job *job, bool done);

/* identity.c */
struct identity {
	uint64_t store;
	char name[128];
	bool ready;              /* false while the store is being created */
};
struct vote {
	uint64_t term, voted_for;
	uint64_t index, addr;    /* the log was durable up to here when this was written */
};
/* ERR_NOT_FOUND where there is no file; ERR_DAMAGED, ERR_FOREIGN, ERR_IO with text. */
enum err identity_read(struct io *io, struct identity *out, char text[256]) MUST_CHECK;
enum err identity_write(struct io *io, const struct identity *identity, char text[256]) MUST_CHECK;
enum err vote_read(struct io *io, uint64_t store, struct vote *out, char text[256]) MUST_CHECK;
int vote_write(struct io *io, uint64_t store, const struct vote *vote) MUST_CHECK;
