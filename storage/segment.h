/* storage/segment.h: the segment files: their names, the active one, the one prepared next, readers, deletion.
 *
 * Segments are numbered from 1 and never recycled. The highest two exist ahead of their use: `active` takes writes, `next`
 * is allocated at rotation and, when the active one is half full, filled with zeros in the background, because a
 * durable write into written blocks costs half of one into merely reserved blocks: the file system has to write the inode,
 * too. What is left of a segment that becomes active without that, as the one at a start, is filled once it is written to.
 * Only while batches are small, though: for large ones the inode costs little, and zeros would take half of the disk. */
#pragma once

#include "log.h"

enum { SEGMENT_NAME_MAX = 24, SEGMENT_READERS_MAX = 64, SEGMENT_ZERO_BYTES = 1 << 20,
       SEGMENT_ZERO_GAP = 64 << 10,
       SEGMENT_ZERO_BATCHES = 64, /* no zeros where, on average, fewer batches fill a segment: of 64 MiB, larger ones than 1 MiB */
       SEGMENT_ZERO_WEIGHT = 8 }; /* a batch counts one part in so many in that average */

struct segment {
	uint32_t number;
	uint32_t reads;      /* in flight on `reader` */
	int reader;          /* read-only file, or -1 */
	int writer;          /* direct, each write durable; open until the segment is sealed */
	bool doomed;         /* deleted; goes when the last read is back */
	bool dead;           /* nothing lived in it when the checkpoint under way was taken */
	uint64_t bytes;      /* of durable batches in it */
	uint64_t file_bytes; /* on disk */
	uint64_t used;       /* turn of the last read, for closing readers */
};

enum next_state { NEXT_NONE, NEXT_ALLOCATED, NEXT_ZEROING, NEXT_READY };

struct segments {
	const struct log_config *config;
	struct segment *at;  /* sealed ones and the active one, ascending */
	uint32_t count, cap, readers;

	uint32_t active;     /* number; 0 before log_open has found it */
	uint64_t end;        /* where the next batch goes */

	enum next_state next;
	int next_file;

	/* Zeroing: one operation at a time, on a handle of its own without IO_DSYNC. */
	struct io_op zero_op;
	int zero_file;
	uint32_t zero_segment;
	uint64_t zero_end;
	uint8_t *zeros;
	int64_t zero_result;
	bool zero_busy, zero_done;
	uint64_t zero_at;    /* the rest of the active one is to be zeroed when `end` gets here; UINT64_MAX: it is, or will be */
	uint64_t batch_mean; /* bytes of a batch */
	bool batch_waits;    /* for zeros that are on their way: no more of them before it is written */

	bool full;           /* the last try to allocate found the disk full; cleared with each sample */
	uint64_t free_bytes; /* of the file system, as last sampled */
	uint64_t sampled_ms;
};

/* seg-0000002a.log; ext is "log" or "idx". */
void segment_name(char out[SEGMENT_NAME_MAX], uint32_t number, const char *ext);
/* The number in such a name, 0 where it is none with this extension. */
uint32_t segment_number(const char *name, const char *ext);

void segments_init(struct segments *s, const struct log_config *config);
/* Closes all files. Nothing may be in flight. */
void segments_free(struct segments *s);
bool segments_in_flight(const struct segments *s);

/* Numbers only grow. */
struct segment *segments_add(struct segments *s, uint32_t number, uint64_t bytes, uint64_t file_bytes);
struct segment *segments_active(struct segments *s);
struct segment *segments_find(struct segments *s, uint32_t number);
/* A file to read from, opened on demand; < 0 is -errno. */
int segments_reader(struct segments *s, struct segment *segment, uint64_t turn);
void segments_read_done(struct segments *s, uint32_t number);
/* Removes the file and its index now, the entry when nobody reads it any more. 0 or -errno. */
int segments_delete(struct segments *s, uint32_t number);

/* Creates and reserves the segment after the active one if there is none. 0, -ENOSPC (no harm done), or another -errno. */
int segments_prepare(struct segments *s) MUST_CHECK;
/* Makes the next segment the active one. 0, -ENOSPC (nothing changed), or another -errno. */
int segments_rotate(struct segments *s) MUST_CHECK;
/* Gives back what the segment, not the active one, has not used, and closes its writer. 0 or -errno. */
int segments_seal(struct segments *s, uint32_t number) MUST_CHECK;
/* A batch of so many bytes is on its way to `end`. */
void segments_wrote(struct segments *s, uint64_t len);
/* What is left of the active segment may not have been written yet: fill it with zeros when it takes writes. */
void segments_zero_later(struct segments *s);
/* Runs the zeroing. 0 or -errno. Nothing to do unless segments_due. */
int segments_drive(struct segments *s) MUST_CHECK;
bool segments_due(const struct segments *s);
/* Zeros are on their way to this segment: it must not be sealed. */
bool segments_zeroing(const struct segments *s, uint32_t number);
/* False while zeros are on their way to these bytes of the active segment; segments_batch_waits: once they are back, the
 * batch is next. */
bool segments_may_write(const struct segments *s, uint64_t offset, uint64_t len);
void segments_batch_waits(struct segments *s);
/* Asks how much is free, at most once a second unless forced. */
void segments_sample(struct segments *s, uint64_t now_ms, bool force);

/* ENOSPC and the like: the disk is full, as opposed to broken. `res` is negative. */
bool errno_is_full(int64_t res);
