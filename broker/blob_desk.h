/* broker/blob_desk.h: what sessions do with blobs, and what the broker does with them by itself.
 *
 *   BLOB_PUT, BLOB_CHUNK, BLOB_END -> blob_upload.c -> backend -> index (blob_index.h) -> BLOB_STATE
 *   BLOB_GET, BLOB_MORE -> blob_read.c <- backend;   timer -> blob_collect.c -> index, removals;   blob_scrub.c reads for itself
 *
 * 1. Bytes are durable in the backend before the record that adds them is proposed, and are removed after the one that ends them is
 *    durable: docs/adr/0009-blobs.md.
 * 2. Memory for bytes on their way in and out is at most blob_memory: what may come is promised in credit before it comes.
 * 3. Tasks go first: one turn starts at most BLOB_TURN_BYTES, and a connection has at most BLOB_QUEUED_BYTES of blobs queued.
 * 4. A failure of the backend is an answer to whoever asked, never the end of anything else. */
#pragma once

#include "../wire/sha256.h"
#include "blob_index.h"
#include "shard_impl.h"

enum { BLOB_TURN_BYTES = 1 << 20, BLOB_QUEUED_BYTES = 256 << 10, BLOB_WINDOW_MAX = 4 << 20, BLOB_IDLE_MS = 600000, BLOB_SLOW_MS = 30000,
       BLOB_RETRY_MS = 1000, BLOB_LAST_READS = 8, BLOB_SESSION_READS = 32, BLOB_READS_MAX = 1024, BLOB_REMOVALS_MAX = 4096,
       BLOB_REMOVALS_AT_ONCE = 4 };

struct upload;
struct blob_read;
struct last_read { uint32_t id; uint64_t number; };

struct removal { /* of bytes that the index does not have (any more) */
	struct removal *next;
	struct blob_desk *desk;
	struct blob_key key;
	struct blob_job job;
	uint64_t not_before_ms;
};

struct scrub { /* one blob at a time */
	struct buf numbers;           /* uint64_t, those to come */
	size_t at;
	uint64_t number;              /* that is being read; 0 = none */
	struct blob_key key;
	uint64_t size, offset;
	struct blob_reader *reader;
	struct sha256 hash;
	struct io_work work;
	struct blob_job job;
	uint8_t *room;
	uint32_t filled;
	bool busy;
};

struct blob_desk {
	struct shard *s;
	struct blob_backend *backend;
	bool owned;                   /* the backend is ours to free */
	bool due;                     /* there is something to look at in this turn */
	uint32_t counter;             /* of numbers */
	uint32_t works;               /* on the helper thread */
	uint64_t memory, promised;    /* bytes in buffers, and bytes that may come; together at most blob_memory */
	uint64_t turn_bytes;          /* started in this turn */
	struct upload *uploads, *next_grant; /* next_grant: whose turn it is to get credit */
	uint32_t upload_count;
	struct blob_read *reads;
	uint32_t read_count;
	struct removal *removals, **removals_last; /* that wait */
	uint32_t removal_count, removals_busy;
	struct timer tick;
	struct blob_job sweep;
	bool sweeping, sweep_again;   /* again: there was more than could be remembered */
	bool sweep_wanted;
	uint64_t sweep_ms, started_ms; /* not before; wall clock of the start */
	struct scrub scrub;
	struct { uint64_t uploaded_bytes, read_bytes, uploads, reads, upload_failures, swept, damaged, scrubbed, removal_failures; } totals;
};

/* ---- of the shard ---- */

/* Takes the backend that the config has, or opens the local one. ERR_UNAVAILABLE with text. */
enum err desk_open(struct shard *s, char text[256]) MUST_CHECK;
void desk_free(struct shard *s); /* the sessions are gone */
/* True: there is more to do without waiting. */
bool blobs_run(struct shard *s);
/* A REC_BLOB was applied, live. */
void blob_applied(struct shard *s, const struct log_record *record, const struct applied *applied);
void blob_session_detached(struct session *session); /* its connection is gone: reads end, uploads wait */
void blob_session_ended(struct session *session);
void blob_conn_room(struct session *session);        /* its connection has sent something */
enum err blob_put(struct conn *c, const struct msg_blob_put *m);
enum err blob_chunk(struct conn *c, const struct msg_blob_chunk *m, struct span payload);
enum err blob_end(struct conn *c, const struct msg_blob_end *m);
enum err blob_get(struct conn *c, const struct msg_blob_get *m);
enum err blob_more(struct conn *c, const struct msg_blob_more *m);
enum err admin_blob(struct conn *c, const struct msg_request *m, uint32_t correlation); /* VERB_BLOB_... */

/* ---- among its files ---- */

uint64_t desk_number(struct blob_desk *d);
bool desk_memory(const struct blob_desk *d, uint64_t bytes); /* is there room for so much more? */
uint64_t upload_bytes_coming(const struct blob_desk *d);      /* declared and not there yet */
uint64_t upload_bytes_of(const struct blob_desk *d, const struct session *session); /* the same, of its principal */
void uploads_run(struct blob_desk *d);
void uploads_tick(struct blob_desk *d);
void upload_applied(struct blob_desk *d, const struct blob_view *v, const struct applied *applied);
void uploads_forget(struct blob_desk *d);
void reads_run(struct blob_desk *d);
void reads_forget(struct blob_desk *d);
void blob_reads_end(struct session *session);
void collect_run(struct blob_desk *d);
/* What nothing refers to, whatever its grace. Returns how many; *more: there are others. */
uint32_t collect_now(struct blob_desk *d, uint32_t max, bool *more);
void remove_later(struct blob_desk *d, const struct blob_key *key);
void removals_forget(struct blob_desk *d);
void scrub_add(struct blob_desk *d, uint64_t number);
void scrub_run(struct blob_desk *d);
void scrub_forget(struct blob_desk *d);
/* Its bytes are not what they should be: whoever looks is told, and an upload of the same may take its place. */
void blob_is_damaged(struct blob_desk *d, uint64_t number, const char *why);
