/* tools/job_files.h: the files of one job of `hillock work`: a payload that is too big for memory on its way in, a result on its way out.
 * They live in a directory of their own, which is gone when the job is. */
#pragma once

#include "../clientlib/hillock.h"
#include "../wire/span.h"

enum { JOB_PATH_BYTES = 512 };

struct job_files {
	char dir[JOB_PATH_BYTES], payload[JOB_PATH_BYTES], result[JOB_PATH_BYTES]; /* "": there is none */
	bool on_stdin;               /* the payload file is standard input, and not named to the program */
	uint32_t transfer;           /* under way; 0 = none */
	struct buf text;             /* of a reference, as JSON: standard input */
	bool reference;
};

/* What the program is to find: its payload as a file, a file to write its result to. */
struct job_wish { bool payload_file, result_file; };

/* Does a task need any of it? */
bool job_files_needed(const struct job_wish *wish, const struct hlk_task_info *info);
/* Makes the directory and begins to fetch. `fn` is called with ctx when the payload is there, or not. HLK_OK, or a code with a text. */
int job_files_begin(struct hlk *c, struct job_files *f, const struct job_wish *wish, const struct hlk_task_info *info, hlk_blob_fn *fn,
		    void *ctx, char text[256]) MUST_CHECK;
/* Begins to upload the result. HLK_NOT_FOUND: there is nothing to upload; a small one is in `small` now. */
int job_files_result(struct hlk *c, struct job_files *f, struct buf *small, hlk_blob_fn *fn, void *ctx) MUST_CHECK;
/* Removes everything, and ends what is under way. */
void job_files_end(struct hlk *c, struct job_files *f);
/* `command` with {} replaced by the payload file, quoted for the shell. The caller frees it. */
char *job_files_command(const struct job_files *f, const char *command);
