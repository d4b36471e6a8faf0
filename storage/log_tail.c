/* storage/log_tail.c: the last batch of the log is made durable at a start, whatever the disk has said of it before.
 *
 * What was read of the last batch may only have been in a cache: its writer may have died, or a sync of it may have failed in an
 * earlier start. A sync that succeeds now proves nothing then: after one that failed the system may have forgotten what it could
 * not write, and still show it. So the batch is written again. As a power cut could tear what is durable already while that goes on,
 * a copy of it is made durable first, in the file "tail", and a start that finds one puts it back before it reads the log.
 *
 *   start -> TAIL restore -> replay ... -> TAIL keep: copy, write again, remove the copy -> cut, lead
 *
 * 1. The copy is there from before the first byte is written again until the last one is durable, and not while the log leads.
 * 2. A copy holds a whole batch that a start has read as good, so putting it back never changes what was confirmed.
 * 3. Every step can fail or be the last: the next start does all of it again. */
#include <errno.h>

#include "../wire/crc32c.h"
#include "recover.h"

static const char file_name[] = "tail";

struct tail_head {
	uint64_t magic, store, offset;
	uint32_t segment, len;
	uint32_t crc;      /* of the batch */
	uint32_t head_crc; /* of all before it */
};
_Static_assert(sizeof(struct tail_head) == 40, "on disk");
#define TAIL_MAGIC 0x6c6961746b6c6c68u /* "hllktail" */

static enum err failed(struct recovery *r, int64_t res, const char *what, uint32_t segment)
{
	(void)snprintf(r->text, 256, "cannot %s the end of segment %08x: %s", what, segment, strerror((int)-res));
	return errno_is_full((int)res) ? ERR_DISK_FULL : ERR_IO;
}

/* Over what is there already. */
static int64_t write_batch(struct recovery *r, uint32_t segment, uint64_t offset, struct span bytes)
{
	char name[SEGMENT_NAME_MAX];
	segment_name(name, segment, "log");
	int file = r->io->v->open(r->io, name, IO_DIRECT | IO_DSYNC);
	if (file < 0)
		return file;
	uint8_t *aligned = (uint8_t *)aligned_alloc(DISK_BLOCK, bytes.len);
	ENSURE(aligned != NULL);
	memcpy(aligned, bytes.data, bytes.len);
	int64_t res = io_do(r->io, IO_WRITE, file, aligned, bytes.len, offset);
	free(aligned);
	if (res >= 0) /* where the file system has no IO_DSYNC */
		res = io_do(r->io, IO_SYNC, file, NULL, 0, 0);
	r->io->v->close(r->io, file);
	return res;
}

static enum err remove_copy(struct recovery *r)
{
	int res = r->io->v->unlink(r->io, file_name);
	if (res == 0)
		res = r->io->v->sync_dir(r->io);
	if (res == 0)
		return ERR_OK;
	(void)snprintf(r->text, 256, "cannot remove \"%s\": %s", file_name, strerror(-res));
	return ERR_IO;
}

/* The copy, where it is whole and of this store. */
static bool copy_decode(struct span file, uint64_t store, struct tail_head *head, struct span *batch)
{
	if (file.len < sizeof *head)
		return false;
	memcpy(head, file.data, sizeof *head);
	*batch = span_sub(file, sizeof *head, file.len - sizeof *head);
	return head->magic == TAIL_MAGIC && head->store == store && head->len == batch->len && head->len % DISK_BLOCK == 0 &&
	       head->head_crc == crc32c(0, span_of(head, offsetof(struct tail_head, head_crc))) && head->crc == crc32c(0, *batch);
}

enum err tail_restore(struct recovery *r)
{
	struct buf file = { NULL, 0, 0 };
	struct tail_head head;
	struct span batch;
	int res = io_read_file(r->io, file_name, sizeof head + (size_t)LIMIT_BATCH_BYTES * 2, &file);
	enum err e = ERR_OK;
	if (res == -ENOENT || r->readonly) {
		if (res != -ENOENT)
			log_note(r->log, "a start did not end; the next one puts the last batch back from the file \"%s\"", file_name);
	} else if (res < 0) {
		e = failed(r, res, "read the copy of", 0);
	} else if (!copy_decode(buf_span(&file), r->log->store, &head, &batch)) {
		/* The batch itself tells whether anything is lost. */
		log_note(r->log, "the file \"%s\" is not whole, and left aside", file_name);
		e = remove_copy(r);
	} else if (recovery_find(r, head.segment) && recovery_find(r, head.segment)->log) {
		int64_t written = write_batch(r, head.segment, head.offset, batch);
		log_note(r->log, "a start did not end: %u bytes at %llu of segment %08x were put back", head.len,
			 (unsigned long long)head.offset, head.segment);
		if (written < 0)
			e = failed(r, written, "put back", head.segment);
	}
	buf_free(&file);
	return e;
}

enum err tail_keep(struct recovery *r)
{
	const struct batch_place *last = &r->last;
	if (last->len == 0)
		return ERR_OK; /* all of it is in the checkpoint, which was written behind it */
	struct span batch;
	int res = window_open(&r->window, r->io, last->segment);
	if (res == 0)
		res = window_get(&r->window, last->offset, last->len, &batch);
	if (res < 0)
		return failed(r, res, "read", last->segment);
	struct tail_head head = { .magic = TAIL_MAGIC, .store = r->log->store, .offset = last->offset, .segment = last->segment,
				  .len = (uint32_t)batch.len, .crc = crc32c(0, batch) };
	head.head_crc = crc32c(0, span_of(&head, offsetof(struct tail_head, head_crc)));
	struct buf copy = { NULL, 0, 0 };
	buf_append(&copy, &head, sizeof head);
	buf_append(&copy, batch.data, batch.len);
	res = io_replace_file(r->io, file_name, buf_span(&copy));
	int64_t written = res < 0 ? 0 : write_batch(r, last->segment, last->offset,
						    span_sub(buf_span(&copy), sizeof head, batch.len));
	buf_free(&copy);
	if (res < 0)
		return failed(r, res, "keep a copy of", last->segment);
	if (written < 0)
		return failed(r, written, "make durable", last->segment);
	return remove_copy(r);
}
