/* broker/offline.h: what can be done with a data directory while no broker runs on it. */
#pragma once

#include "../storage/log.h"

/* Checks every file of the directory and changes nothing. Findings and a summary go to `out` in plain words. Returns what
 * log_check_dir says: ERR_OK = clean, or only a torn end that was never confirmed. */
enum err offline_fsck(struct io *io, FILE *out) MUST_CHECK;

/* Writes one line for each record of the log, in order. */
enum err offline_dump(struct io *io, FILE *out) MUST_CHECK;
/* log_check_dir, and the same for blobs that are files: *blobs is ERR_DAMAGED where one is missing or has another size. */
enum err offline_check(struct io *io, struct log_check *check, void (*line)(void *ctx, const char *text), FILE *out, enum err *blobs)
	MUST_CHECK;
