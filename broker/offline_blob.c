/* broker/offline_blob.c: fsck of blobs kept as files: is what the log knows of there?
 *
 * In the flow: none. The index is made from the checkpoint and the records behind it; what was to be collected counts as unsure, for that
 * depends on everything else: it may be there or not. Files that no record names are told, too: the next start removes them. */
#include "offline.h"

#include "../wire/map64.h"
#include "blob_index.h"

#include <errno.h>

struct check {
	struct io *io;
	FILE *out;
	struct blobs *blobs;
	struct map64 unsure;     /* numbers that a record was to end */
	uint64_t covered;        /* by the checkpoint: entries up to this one */
	uint64_t missing, sized, left, parts, bytes;
	unsigned dir;
	enum err code;           /* of the checkpoint's part */
	char text[256];
};

static void take_record(void *ctx, const struct log_entry *entry, const struct log_record *record)
{
	struct check *c = ctx;
	struct blob_view v;
	struct applied applied = { .affected = 0 };
	if (record->kind != REC_BLOB || entry->index <= c->covered || rec_blob_read(record->body, &v) != ERR_OK)
		return;
	if (v.fixed.op == BLOB_OP_ADD && v.fixed.unreferenced_ms != 0 && !map64_find(&c->unsure, v.fixed.unreferenced_ms))
		map64_add(&c->unsure, v.fixed.unreferenced_ms, 1, NULL);
	if (v.fixed.op == BLOB_OP_ADD)
		blobs_apply(c->blobs, entry, record, &applied);
	else if ((v.fixed.op == BLOB_OP_COLLECT || v.fixed.op == BLOB_OP_REMOVE) && !map64_find(&c->unsure, v.fixed.number))
		map64_add(&c->unsure, v.fixed.number, 1, NULL);
}

/* Part 11 of the state. */
static enum err take_section(struct check *c, struct span state, char text[256])
{
	struct reader r = { .rest = state };
	uint32_t head[4];
	read_into(&r, head, sizeof head); /* magic, version, parts, 0: see part.c */
	struct reader entries = r;
	(void)read_bytes(&r, r.failed ? 0 : (size_t)head[2] * 16);
	for (uint32_t i = 0; !r.failed && i < head[2]; i++) {
		uint32_t id = read_u32(&entries);
		(void)read_u32(&entries);
		uint64_t bytes = read_u64(&entries);
		struct span section = bytes <= r.rest.len ? read_bytes(&r, bytes) : span_of(NULL, 0);
		(void)read_bytes(&r, (8 - bytes % 8) % 8);
		if (id == 11 && section.len == bytes)
			return blobs_restore(c->blobs, section, text);
	}
	return ERR_OK;
}

static void look_at(struct check *c, const struct blob *b)
{
	char name[BLOB_NAME_BYTES], path[BLOB_LOCAL_NAME];
	struct blob_key key = { .number = b->number };
	memcpy(key.digest, b->digest, sizeof key.digest);
	blob_local_name(&key, path);
	(void)blob_name(b->digest, name);
	int64_t size = c->io->v->size_of(c->io, path);
	if (size >= 0 && (uint64_t)size == b->size) {
		c->bytes += b->size;
		return;
	}
	if (size < 0 && map64_find(&c->unsure, b->number))
		return; /* collected */
	c->missing += size < 0;
	c->sized += size >= 0;
	if (size < 0)
		(void)fprintf(c->out, "blob %s of %llu bytes: %s is missing\n", name, (unsigned long long)b->size, path);
	else
		(void)fprintf(c->out, "blob %s of %llu bytes: %s has %lld\n", name, (unsigned long long)b->size, path, (long long)size);
}

static void each_file(void *ctx, const char *name)
{
	struct check *c = ctx;
	struct blob_key key;
	bool up = c->dir == 256;
	if (!blob_local_parse(name, up, c->dir, &key))
		return;
	c->parts += up;
	c->left += !up && !blobs_by_number(c->blobs, key.number);
}

static void look_at_all(struct check *c)
{
	struct blob *page[256];
	uint64_t next = 0;
	do {
		uint32_t count = blobs_list(c->blobs, next, COUNT_OF(page), page, &next);
		for (uint32_t i = 0; i < count; i++)
			look_at(c, page[i]);
	} while (next != 0);
	for (c->dir = 0; c->dir <= 256; c->dir++) {
		char dir[16];
		(void)snprintf(dir, sizeof dir, c->dir < 256 ? "blobs/%02x" : "blobs/up", c->dir);
		(void)c->io->v->list(c->io, dir, each_file, c);
	}
}

static void take_state(void *ctx, struct span state, uint64_t index)
{
	struct check *c = ctx;
	c->covered = index;
	c->code = take_section(c, state, c->text);
}

static enum err conclude(struct check *c)
{
	struct blobs_stats stats;
	if (c->code != ERR_OK) {
		(void)fprintf(c->out, "blobs: %s: %s\n", err_name(c->code), c->text);
		return c->code;
	}
	look_at_all(c);
	blobs_get_stats(c->blobs, &stats);
	(void)fprintf(c->out, "blobs=%llu blob_bytes=%llu blobs_missing=%llu blobs_of_another_size=%llu files_left=%llu uploads_left=%llu\n",
		      (unsigned long long)stats.blobs, (unsigned long long)c->bytes, (unsigned long long)c->missing,
		      (unsigned long long)c->sized, (unsigned long long)c->left, (unsigned long long)c->parts);
	return c->missing + c->sized > 0 ? ERR_DAMAGED : ERR_OK;
}

enum err offline_check(struct io *io, struct log_check *check, void (*line)(void *ctx, const char *text), FILE *out, enum err *blobs)
{
	struct check c = { .io = io, .out = out, .blobs = blobs_new(1) };
	const struct log_look look = { take_state, take_record, &c };
	enum err e = log_check_with(io, check, line, out, &look);
	*blobs = ERR_OK; /* also where none were ever kept here */
	if ((e == ERR_OK || e == ERR_DAMAGED) && io->v->size_of(io, "blobs") == -EISDIR)
		*blobs = conclude(&c);
	map64_free(&c.unsure, NULL);
	blobs_free(c.blobs);
	return e;
}
