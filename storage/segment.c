/* storage/segment.c: owns the segment files. See segment.h.
 *
 * Data flow: log.c writes to `file` at `end`; log_cache.c reads through segments_reader; recovery fills the table.
 *
 * 1. A file exists durably (sync_dir) before anything is written to it.
 * 2. Zeros never race with a batch: segments_may_write says no while a zero write overlaps, and they go only where no batch
 *    has been: in front of `end` by SEGMENT_ZERO_GAP, so that a small batch does not have to wait for them. A large one that
 *    does is written before the next of them.
 * 3. Zeros never reach a sealed segment: it is sealed after they are back (segments_zeroing), or they would make it grow.
 * 4. A file with a read in flight is not closed. */
#include "segment.h"

#include <errno.h>

#include "../wire/limits.h"

void segment_name(char out[SEGMENT_NAME_MAX], uint32_t number, const char *ext)
{
	(void)snprintf(out, SEGMENT_NAME_MAX, "seg-%08x.%s", number, ext);
}

uint32_t segment_number(const char *name, const char *ext)
{
	uint32_t number = 0;

	if (strncmp(name, "seg-", 4) != 0 || strlen(name) != 16 || name[12] != '.' || strcmp(name + 13, ext) != 0)
		return 0;
	for (int i = 4; i < 12; i++) {
		char c = name[i];
		uint32_t digit = c >= '0' && c <= '9' ? (uint32_t)(c - '0')
				 : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10 : 16;
		if (digit == 16)
			return 0;
		number = number << 4 | digit;
	}
	return number;
}

bool errno_is_full(int64_t res)
{
	return res == -ENOSPC || res == -EDQUOT;
}

void segments_init(struct segments *s, const struct log_config *config)
{
	*s = (struct segments){ .config = config, .next_file = -1, .zero_file = -1, .zero_at = UINT64_MAX };
}

static void close_file(struct segments *s, int *file)
{
	if (*file >= 0)
		s->config->io->v->close(s->config->io, *file);
	*file = -1;
}

void segments_free(struct segments *s)
{
	for (uint32_t i = 0; i < s->count; i++) {
		close_file(s, &s->at[i].reader);
		close_file(s, &s->at[i].writer);
	}
	close_file(s, &s->next_file);
	close_file(s, &s->zero_file);
	free(s->zeros);
	free(s->at);
	*s = (struct segments){ .next_file = -1, .zero_file = -1 };
}

bool segments_in_flight(const struct segments *s)
{
	if (s->zero_busy)
		return true;
	for (uint32_t i = 0; i < s->count; i++)
		if (s->at[i].reads > 0)
			return true;
	return false;
}

struct segment *segments_add(struct segments *s, uint32_t number, uint64_t bytes, uint64_t file_bytes)
{
	ENSURE(number > 0);
	ENSURE(s->count == 0 || s->at[s->count - 1].number < number);
	if (s->count == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 16;
		s->at = (struct segment *)realloc(s->at, size_mul(s->cap, sizeof *s->at));
		ENSURE(s->at != NULL);
	}
	s->at[s->count] = (struct segment){
		.number = number, .reader = -1, .writer = -1, .bytes = bytes, .file_bytes = file_bytes,
	};
	return &s->at[s->count++];
}

struct segment *segments_active(struct segments *s)
{
	ENSURE(s->count > 0 && s->at[s->count - 1].number == s->active);
	return &s->at[s->count - 1];
}

struct segment *segments_find(struct segments *s, uint32_t number)
{
	uint32_t low = 0, high = s->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (s->at[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->count && s->at[low].number == number ? &s->at[low] : NULL;
}

/* Closes the reader that has been idle for longest. */
static bool close_oldest_reader(struct segments *s)
{
	struct segment *oldest = NULL;

	for (uint32_t i = 0; i < s->count; i++) {
		struct segment *segment = &s->at[i];
		if (segment->reader >= 0 && segment->reads == 0 && (!oldest || segment->used < oldest->used))
			oldest = segment;
	}
	if (!oldest)
		return false;
	close_file(s, &oldest->reader);
	s->readers--;
	return true;
}

int segments_reader(struct segments *s, struct segment *segment, uint64_t turn)
{
	segment->used = turn;
	if (segment->reader >= 0)
		return segment->reader;
	if (s->readers >= SEGMENT_READERS_MAX)
		(void)close_oldest_reader(s);
	char name[SEGMENT_NAME_MAX];
	segment_name(name, segment->number, "log");
	int file = s->config->io->v->open(s->config->io, name, IO_DIRECT | IO_READONLY);
	while ((file == -EMFILE || file == -ENFILE) && close_oldest_reader(s))
		file = s->config->io->v->open(s->config->io, name, IO_DIRECT | IO_READONLY);
	if (file < 0)
		return file;
	segment->reader = file;
	s->readers++;
	return file;
}

static void remove_entry(struct segments *s, struct segment *segment)
{
	if (segment->reader >= 0)
		s->readers--;
	close_file(s, &segment->reader);
	size_t index = (size_t)(segment - s->at);
	memmove(segment, segment + 1, (s->count - index - 1) * sizeof *segment);
	s->count--;
}

void segments_read_done(struct segments *s, uint32_t number)
{
	struct segment *segment = segments_find(s, number);

	ENSURE(segment != NULL);
	ENSURE(segment->reads > 0);
	segment->reads--;
	if (segment->doomed && segment->reads == 0)
		remove_entry(s, segment);
}

int segments_delete(struct segments *s, uint32_t number)
{
	struct segment *segment = segments_find(s, number);
	struct io *io = s->config->io;
	char name[SEGMENT_NAME_MAX];

	ENSURE(number != s->active);
	/* The index goes first: an index without its segment would look like a lost segment. */
	segment_name(name, number, "idx");
	int res = io->v->unlink(io, name);
	if (res < 0 && res != -ENOENT)
		return res;
	res = io->v->sync_dir(io);
	if (res < 0)
		return res;
	segment_name(name, number, "log");
	res = io->v->unlink(io, name);
	if (res < 0 && res != -ENOENT)
		return res;
	if (segment) {
		segment->doomed = true;
		if (segment->reads == 0)
			remove_entry(s, segment);
	}
	return 0;
}

/* ---- the next one ---- */

static int create_next(struct segments *s, const char *name)
{
	struct io *io = s->config->io;

	int file = io->v->open(io, name, IO_CREATE | IO_DIRECT | IO_DSYNC);
	if (file < 0)
		return file;
	int res = io->v->allocate(io, file, s->config->segment_bytes);
	if (res == 0)
		res = io->v->sync_dir(io);
	if (res < 0) {
		io->v->close(io, file);
		return res;
	}
	return file;
}

int segments_prepare(struct segments *s)
{
	struct io *io = s->config->io;
	char name[SEGMENT_NAME_MAX];

	if (s->next != NEXT_NONE)
		return 0;
	if (s->full)
		return -ENOSPC;
	segment_name(name, s->active + 1, "log");
	int file = create_next(s, name);
	if (file == -EEXIST) {
		/* Left by an allocation that failed; recovery has removed anything that could matter. */
		int res = io->v->unlink(io, name);
		if (res < 0)
			return res;
		file = create_next(s, name);
	}
	if (errno_is_full(file)) {
		s->full = true;
		int res = io->v->unlink(io, name);
		return res < 0 && res != -ENOENT && !errno_is_full(res) ? res : -ENOSPC;
	}
	if (file < 0)
		return file;
	s->next_file = file;
	s->next = NEXT_ALLOCATED;
	return 0;
}

int segments_rotate(struct segments *s)
{
	int res = segments_prepare(s);
	if (res < 0)
		return res;
	bool blank = s->next == NEXT_ALLOCATED;
	s->active++;
	s->end = 0;
	segments_add(s, s->active, 0, s->config->segment_bytes)->writer = s->next_file;
	s->next_file = -1;
	s->next = NEXT_NONE;
	s->zero_at = UINT64_MAX;
	if (blank)
		segments_zero_later(s);
	return 0;
}

void segments_wrote(struct segments *s, uint64_t len)
{
	s->end += len;
	s->batch_waits = false;
	s->batch_mean = (s->batch_mean * (SEGMENT_ZERO_WEIGHT - 1) + len) / SEGMENT_ZERO_WEIGHT;
}

static bool zeros_pay(const struct segments *s)
{
	return s->batch_mean <= s->config->segment_bytes / SEGMENT_ZERO_BATCHES;
}

void segments_zero_later(struct segments *s)
{
	s->zero_at = s->end + SEGMENT_ZERO_GAP;
}

bool segments_zeroing(const struct segments *s, uint32_t number)
{
	return s->zero_busy && s->zero_segment == number;
}

int segments_seal(struct segments *s, uint32_t number)
{
	struct segment *segment = segments_find(s, number);

	ENSURE(number < s->active);
	ENSURE(segment != NULL && segment->writer >= 0);
	int res = s->config->io->v->truncate(s->config->io, segment->writer, segment->bytes);
	if (res < 0)
		return res;
	segment->file_bytes = segment->bytes;
	close_file(s, &segment->writer);
	return 0;
}

static void zero_completed(struct io_op *op, int64_t res)
{
	struct segments *s = (struct segments *)op->ctx;

	s->zero_result = res;
	s->zero_busy = false;
	s->zero_done = true;
}

static void zero_submit(struct segments *s)
{
	bool write = s->zero_end < s->config->segment_bytes;
	uint64_t left = write ? s->config->segment_bytes - s->zero_end : 0;

	s->zero_op = (struct io_op){
		.kind = write ? IO_WRITE : IO_SYNC, .file = s->zero_file, .data = write ? s->zeros : NULL,
		.len = (size_t)MIN_OF(left, (uint64_t)SEGMENT_ZERO_BYTES), .offset = write ? s->zero_end : 0,
		.done = zero_completed, .ctx = s,
	};
	s->zero_busy = true;
	s->zero_done = false;
	io_submit(s->config->io, &s->zero_op);
}

static void zero_stop(struct segments *s)
{
	close_file(s, &s->zero_file);
	free(s->zeros);
	s->zeros = NULL;
	s->zero_done = false;
}

static int zero_start(struct segments *s, uint32_t number, uint64_t from)
{
	char name[SEGMENT_NAME_MAX];

	segment_name(name, number, "log");
	int file = s->config->io->v->open(s->config->io, name, IO_DIRECT);
	if (file < 0)
		return file;
	s->zero_file = file;
	s->zeros = (uint8_t *)aligned_alloc(DISK_BLOCK, SEGMENT_ZERO_BYTES);
	ENSURE(s->zeros != NULL);
	memset(s->zeros, 0, SEGMENT_ZERO_BYTES);
	s->zero_segment = number;
	s->zero_end = from;
	zero_submit(s);
	return 0;
}

/* Batches are large now: what is not zeroed yet stays so until they are small again. */
static void zero_give_up(struct segments *s)
{
	zero_stop(s);
	if (s->zero_segment == s->active)
		segments_zero_later(s);
	else
		s->next = NEXT_ALLOCATED;
}

static int zero_continue(struct segments *s)
{
	if (s->batch_waits && s->zero_segment == s->active)
		return 0;
	s->zero_done = false;
	bool again = s->zero_op.kind == IO_WRITE && (s->zero_result == -EINTR || s->zero_result == -EAGAIN);
	if (again)
		s->zero_result = 0;
	else if (s->zero_result < 0)
		return (int)s->zero_result;
	else if (s->zero_result == 0 && s->zero_op.kind == IO_WRITE)
		return -EIO;
	if (s->zero_segment < s->active) { /* full sooner than filled with zeros */
		zero_stop(s);
		return 0;
	}
	if (s->zero_op.kind == IO_WRITE) {
		s->zero_end += (uint64_t)s->zero_result / DISK_BLOCK * DISK_BLOCK;
		if (s->zero_segment == s->active)
			s->zero_end = MAX_OF(s->zero_end, s->end + SEGMENT_ZERO_GAP);
		if (zeros_pay(s))
			zero_submit(s);
		else
			zero_give_up(s);
		return 0;
	}
	zero_stop(s);
	if (s->zero_segment > s->active)
		s->next = NEXT_READY;
	return 0;
}

bool segments_due(const struct segments *s)
{
	bool next = s->next == NEXT_ALLOCATED && s->end >= s->config->segment_bytes / 2;
	return s->zero_done || (s->zero_file < 0 && zeros_pay(s) && (s->end >= s->zero_at || next));
}

int segments_drive(struct segments *s)
{
	if (s->zero_done)
		return zero_continue(s);
	if (!segments_due(s))
		return 0;
	if (s->end >= s->zero_at) {
		uint64_t from = s->end + SEGMENT_ZERO_GAP;
		s->zero_at = UINT64_MAX;
		return from < s->config->segment_bytes ? zero_start(s, s->active, from) : 0;
	}
	s->next = NEXT_ZEROING;
	return zero_start(s, s->active + 1, s->zero_segment > s->active ? s->zero_end : 0); /* on from where it was given up */
}

bool segments_may_write(const struct segments *s, uint64_t offset, uint64_t len)
{
	return !s->zero_busy || s->zero_segment != s->active || s->zero_op.kind == IO_SYNC ||
	       offset + len <= s->zero_op.offset || offset >= s->zero_op.offset + s->zero_op.len;
}

void segments_batch_waits(struct segments *s)
{
	s->batch_waits = true;
}

void segments_sample(struct segments *s, uint64_t now_ms, bool force)
{
	if (!force && now_ms - s->sampled_ms < 1000)
		return;
	s->sampled_ms = now_ms;
	s->full = false;
	int64_t bytes = s->config->io->v->free_bytes(s->config->io);
	if (bytes >= 0)
		s->free_bytes = (uint64_t)bytes;
}
