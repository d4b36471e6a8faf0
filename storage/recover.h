/* storage/recover.h: what log_recover.c, log_reindex.c, log_replay.c and fsck.c share: the directory as found, and a reader of segments. */
#pragma once

#include <stdarg.h>

#include "log_internal.h"

enum { RECOVER_FILE_MAX = 1 << 30, RECOVER_WINDOW = 1 << 20 };

struct found {
	uint32_t number;
	bool log, idx;   /* which files there are */
	bool kept;       /* named by the checkpoint */
	bool sized;
	uint64_t file_bytes;
};

/* A sliding window over one segment file. */
struct window {
	struct io *io;
	int file;            /* -1: none open */
	uint64_t file_bytes; /* whole blocks */
	uint8_t *data;
	size_t cap, len;
	uint64_t offset;     /* of data[0] */
	bool tolerant;       /* unreadable blocks read as bytes that are no batch, instead of as an error */
	uint32_t unreadable;
};
/* Opens a segment file. 0 or -errno. */
int window_open(struct window *w, struct io *io, uint32_t number) MUST_CHECK;
void window_close(struct window *w);
void window_free(struct window *w);
/* `len` bytes at offset, valid until the next call. 0; -ERANGE where the file ends before; another -errno. */
int window_get(struct window *w, uint64_t offset, size_t len, struct span *out) MUST_CHECK;

struct batch_place { uint32_t segment; uint64_t offset; size_t len; }; /* len 0: none was replayed */

struct recovery {
	struct log *log;
	struct io *io;
	char *text;                  /* 256 bytes */
	struct found *found;
	uint32_t found_count, found_cap;
	char temporaries[16][48];
	uint32_t temporary_count;
	bool other_files;            /* a checkpoint or vote file is there */
	struct vote vote;
	uint32_t first_replayed;     /* segments from this number on were replayed */
	bool lost;                   /* accept_loss had to be used */
	bool readonly;               /* fsck: nothing is written */
	uint64_t batches, records, bytes, damages, missing;
	uint64_t torn_later;         /* bytes of a torn write in the segment behind the last one */

	struct window window;
	struct batch_expect expect;  /* what comes next */
	struct batch_place last;     /* the batch before it */
	uint64_t tail_end;           /* bytes behind the end of the log, up to here, are not blank */

	/* For raft_node_start. */
	uint64_t start_index, start_term, start_members_index;
	struct buf start_members;
	struct raft_entry *entries;
	uint32_t entry_count, entry_cap;
	uint64_t last_ns;
	uint32_t stuck;
};

/* log_recover.c */
enum err recovery_list(struct recovery *r) MUST_CHECK;
struct found *recovery_find(struct recovery *r, uint32_t number);

/* log_tail.c */
/* Puts back the copy of a last batch that an earlier start has left. Before anything is read of the log. */
enum err tail_restore(struct recovery *r) MUST_CHECK;
/* Makes the last batch durable, whatever was said of it before. Once everything was read and judged. */
enum err tail_keep(struct recovery *r) MUST_CHECK;

/* log_reindex.c */
/* The batch at `offset` of a sealed segment whose window is open; *last is the one before, and then this one. All zero for
 * the first. 1, 0 where there is none that continues the chain, or -errno. */
int sealed_batch(struct recovery *r, uint32_t segment, uint64_t offset, struct batch_head *last, struct span *body) MUST_CHECK;
/* The index of a sealed segment made anew, and written. r->text says what was wrong with the old one. */
enum err recovery_reindex(struct recovery *r, const struct checkpoint_segment *named, struct buf *index) MUST_CHECK;

/* log_replay.c */
void recovery_begin(struct recovery *r);
void recovery_end(struct recovery *r);
/* Size of the segment file, or -errno. */
int64_t recovery_file_bytes(struct recovery *r, struct found *f);
/* Applies everything behind the checkpoint, judges the end. On ERR_OK log->segments has the active segment and its end. */
enum err recovery_replay(struct recovery *r) MUST_CHECK;
