/* clientlib/blob_impl.h: transfers of blobs, as the files of the client library see them. Private.
 *
 *   source -> blob_put.c -> BLOB_CHUNK -> link.out          BLOB_DATA -> blob_get.c -> sink
 *
 * blob.c owns the list of transfers and tells their ends; spill.c makes uploads of payloads that are too big for a frame.
 *
 * 1. A transfer is told its end in blob_step alone, once; whoever finds that it is over only marks it (blob_over).
 * 2. `wire` is its number in this connection, 0 while it has not been asked for there. What it needs to go on is in the struct.
 * 3. At most BLOB_UPLOADS uploads and BLOB_READS downloads are under way; the others wait in order. */
#pragma once

#include "../wire/sha256.h"
#include "client_impl.h"

enum {
	BLOB_UPLOADS = 4, BLOB_READS = 8,
	BLOB_HASH_STEP = 2 << 20,        /* hashed in one hlk_process, by each transfer */
	BLOB_QUEUED_MAX = 512 << 10,     /* no more chunks while so much waits for the socket: other frames go first */
	BLOB_CHUNKS_STEP = 16,           /* chunks of one hlk_process */
	BLOB_WINDOW = 4 << 20,
	BLOB_MEMORY = 64 << 20,          /* of a download to memory, where nobody says more */
	BLOB_AGAIN_MS = 1000,            /* a patient upload that met a full broker is asked for again after this */
	BLOB_PATH_BYTES = 4096,
};

enum transfer_state { TRANSFER_HASHING, TRANSFER_WAITING, TRANSFER_ASKED, TRANSFER_MOVING, TRANSFER_ENDING };

struct transfer {
	struct transfer *next;
	uint32_t id, wire, correlation;
	enum transfer_state state;
	bool up, over, digest_known, sent_any, direct, patient;
	hlk_blob_fn *fn;
	void *ctx;
	hlk_blob_progress_fn *progress;
	void *progress_ctx;
	uint64_t told;                   /* of progress */
	uint64_t offset, credit, total;  /* offset: next byte to send or to come; total BLOB_SIZE_UNKNOWN: not known yet */
	struct hlk_blob blob;
	struct sha256 sha;
	uint64_t hashed;                 /* bytes that sha has seen */
	char media_type[LIMIT_NAME_BYTES + 1];
	char url[LIMIT_URL_BYTES + 1];
	int code;                        /* with over */
	char text[MAP_ERROR_TEXT];
	/* up */
	uint64_t number;                 /* the broker's, to go on in the same session */
	const uint8_t *data;             /* memory; else `fd`, else `read` */
	int fd;
	bool own_fd;
	hlk_blob_read_fn *read;
	void *read_ctx;
	int64_t again_ms;
	uint32_t retry_after_ms;
	/* down */
	bool whole, manual, restarted, check_part; /* check_part: what an earlier program left is hashed first */
	uint64_t end, base;              /* end: where a part ends, 0 = with the blob; base: where it began */
	uint32_t window;
	char *path, *part;               /* part: the file beside it */
	struct buf memory;
	size_t max;
	hlk_blob_write_fn *write;
	void *write_ctx;
};

/* ---- blob.c ---- */
struct transfer *blob_new(struct hlk *c, bool up, hlk_blob_fn *fn, void *ctx);
void blob_over(struct hlk *c, struct transfer *t, int code, const char *format, ...) PRINTF_LIKE(4, 5);
struct transfer *blob_find(const struct hlk *c, uint32_t id);
/* Nobody waits for it any more: it ends without a word to its owner. */
void blob_forget(struct hlk *c, uint32_t id);
void blob_send(struct hlk *c, struct transfer *t, const struct msg *msg);
struct buf blob_take(struct hlk *c); /* in a callback: what was downloaded to memory, now the caller's */
bool blob_can_send(const struct hlk *c); /* is there room in front of the socket? */
struct blob_waited { bool done; struct hlk_blob_done result; char text[MAP_ERROR_TEXT], url[LIMIT_URL_BYTES + 1]; };
void blob_wait_done(struct hlk *c, const struct hlk_blob_done *done, void *ctx); /* hlk_blob_fn; ctx: struct blob_waited */
/* Runs until it is done; what is not done by the deadline is forgotten. */
int blob_wait(struct hlk *c, uint32_t transfer, struct blob_waited *w, int64_t deadline, const char *what);

/* ---- blob_put.c ---- */
void put_ask(struct hlk *c, struct transfer *t);
void put_hash(struct hlk *c, struct transfer *t);
/* Sends one chunk, or the end. False: nothing can be sent now. */
bool put_move(struct hlk *c, struct transfer *t);
void put_state(struct hlk *c, struct transfer *t, const struct msg_blob_state *m);
/* An upload of bytes that stay where they are until it is over. Patient: a full broker is asked again. */
uint32_t put_memory(struct hlk *c, struct span data, bool patient, hlk_blob_fn *fn, void *ctx);

/* ---- blob_get.c ---- */
void get_ask(struct hlk *c, struct transfer *t);
void get_hash(struct hlk *c, struct transfer *t);
void get_data(struct hlk *c, struct transfer *t, const struct msg_blob_data *m, struct span payload);
void get_closed(struct transfer *t); /* the file, where there is one, is closed and gone unless it is whole */

/* ---- spill.c: what goes up before its message does ---- */
struct span spill_ref(const struct hlk_blob *blob, struct blob_ref *out); /* the payload bytes of a blob */
/* Does a payload of so many bytes have to travel as a blob? `above`: what else is known of where it goes; 0 = nothing. */
bool spill_needed(const struct hlk *c, size_t size, uint32_t above);
/* The payload bytes of what is not inline; false: HLK_INVALID_INPUT, text set. `out` keeps them. */
bool spill_encode(struct hlk *c, const struct hlk_payload *p, const char *what, struct buf *out);
/* The same head, with another kind of payload. */
void spill_task_head(struct span head, uint8_t kind, struct buf *out);
void spill_event_head(struct span head, uint8_t kind, struct buf *out);
