/* storage/identity.c: the two small text files that say whose directory this is and what it has promised.
 *
 *   identity   format, number of the store, name of the node, "ready" once it has been created completely
 *   vote       Raft's term and vote, and how far the log was durable when they were written
 *
 * Each ends with a line "crc XXXXXXXX" over the bytes before it. They are replaced as a whole (io_replace_file).
 *
 * 1. A missing or unreadable file is an error with a text, never a reason to start afresh. */
#include <errno.h>
#include <inttypes.h>

#include "../wire/crc32c.h"
#include "log_internal.h"

enum { SMALL_FILE_MAX = 1024 };

static int write_checked(struct io *io, const char *name, const char *lines)
{
	char all[SMALL_FILE_MAX];

	int len = snprintf(all, sizeof all, "%scrc %08" PRIx32 "\n", lines, crc32c(0, span_str(lines)));
	ENSURE(len > 0 && (size_t)len < sizeof all);
	return io_replace_file(io, name, span_of(all, (size_t)len));
}

/* Reads the file into text form with its checksum line cut off. */
static enum err read_checked(struct io *io, const char *name, char lines[SMALL_FILE_MAX], char text[256])
{
	struct buf bytes = { NULL, 0, 0 };
	uint32_t crc;
	enum err e = ERR_OK;

	int res = io_read_file(io, name, SMALL_FILE_MAX - 1, &bytes);
	if (res == -ENOENT) {
		(void)snprintf(text, 256, "the file \"%s\" is missing", name);
		e = ERR_NOT_FOUND;
	} else if (res < 0 && res != -EFBIG) {
		(void)snprintf(text, 256, "cannot read the file \"%s\": %s", name, strerror(-res));
		e = ERR_IO;
	} else {
		enum { TAIL = sizeof "crc 00000000\n" - 1 };
		size_t len = bytes.len;
		if (res == 0 && len > TAIL)
			memcpy(lines, bytes.data, len);
		lines[res == 0 && len > TAIL ? len : 0] = 0;
		if (res < 0 || len <= TAIL || strlen(lines) != len ||
		    sscanf(lines + len - TAIL, "crc %8" SCNx32, &crc) != 1 ||
		    crc32c(0, span_of(lines, len - TAIL)) != crc) {
			(void)snprintf(text, 256, "the file \"%s\" is damaged: restore it from a backup", name);
			e = ERR_DAMAGED;
		} else {
			lines[len - TAIL] = 0;
		}
	}
	buf_free(&bytes);
	return e;
}

enum err identity_write(struct io *io, const struct identity *identity, char text[256])
{
	char lines[512];

	(void)snprintf(lines, sizeof lines, "hillock store\nformat %d\nstore %016" PRIx64 "\nnode %s\nstate %s\n",
		       BATCH_FORMAT, identity->store, identity->name, identity->ready ? "ready" : "creating");
	int res = write_checked(io, "identity", lines);
	if (res == 0)
		return ERR_OK;
	(void)snprintf(text, 256, "cannot write the file \"identity\": %s", strerror(-res));
	return ERR_IO;
}

enum err identity_read(struct io *io, struct identity *out, char text[256])
{
	char lines[SMALL_FILE_MAX], state[16];
	int format, end = 0;

	enum err e = read_checked(io, "identity", lines, text);
	if (e != ERR_OK)
		return e;
	memset(out, 0, sizeof *out);
	if (sscanf(lines, "hillock store\nformat %d\n%n", &format, &end) != 1 || end == 0) {
		(void)snprintf(text, 256, "the file \"identity\" is not one of a hillock store");
		return ERR_FOREIGN;
	}
	if (format != BATCH_FORMAT) {
		(void)snprintf(text, 256, "the store has format %d; this version reads %d", format, BATCH_FORMAT);
		return ERR_FOREIGN;
	}
	if (sscanf(lines + end, "store %16" SCNx64 "\nnode %127[^\n]\nstate %15s", &out->store, out->name, state) != 3 ||
	    (strcmp(state, "ready") != 0 && strcmp(state, "creating") != 0) || out->store == 0) {
		(void)snprintf(text, 256, "the file \"identity\" has a line that this version does not know");
		return ERR_FOREIGN;
	}
	out->ready = strcmp(state, "ready") == 0;
	return ERR_OK;
}

int vote_write(struct io *io, uint64_t store, const struct vote *vote)
{
	char lines[512];

	(void)snprintf(lines, sizeof lines,
		       "hillock vote\nstore %016" PRIx64 "\nterm %" PRIu64 "\nvote %" PRIu64 "\nindex %" PRIu64
		       "\naddr %016" PRIx64 "\n",
		       store, vote->term, vote->voted_for, vote->index, vote->addr);
	return write_checked(io, "vote", lines);
}

enum err vote_read(struct io *io, uint64_t store, struct vote *out, char text[256])
{
	char lines[SMALL_FILE_MAX];
	uint64_t theirs = 0;

	enum err e = read_checked(io, "vote", lines, text);
	if (e != ERR_OK)
		return e;
	memset(out, 0, sizeof *out);
	if (sscanf(lines,
		   "hillock vote\nstore %16" SCNx64 "\nterm %20" SCNu64 "\nvote %20" SCNu64 "\nindex %20" SCNu64
		   "\naddr %16" SCNx64,
		   &theirs, &out->term, &out->voted_for, &out->index, &out->addr) != 5 ||
	    out->term > UINT64_MAX / 2 || out->index > UINT64_MAX / 2) {
		(void)snprintf(text, 256, "the file \"vote\" has a line that this version does not know");
		return ERR_FOREIGN;
	}
	if (theirs != store) {
		(void)snprintf(text, 256, "the file \"vote\" belongs to another store");
		return ERR_FOREIGN;
	}
	return ERR_OK;
}
