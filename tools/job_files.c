/* tools/job_files.c: see job_files.h. In the flow: hlk_payload_get -> FILE -> the program -> FILE -> hlk_blob_put.
 *
 * 1. Everything of a job is in one directory under TMPDIR, with a name nobody can guess, for our user alone.
 * 2. job_files_end leaves nothing behind, however the job ended. */
#include "job_files.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../wire/limits.h"
#include "input.h"

bool job_files_needed(const struct job_wish *wish, const struct hlk_task_info *info)
{
	return wish->payload_file || wish->result_file || info->kind != HLK_INLINE;
}

static bool make_dir(struct job_files *f)
{
	const char *tmp = getenv("TMPDIR");
	int size = snprintf(f->dir, sizeof f->dir, "%s/hillock.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (size > 0 && size < JOB_PATH_BYTES - 16 && mkdtemp(f->dir))
		return true;
	f->dir[0] = 0;
	return false;
}

static void name(char out[JOB_PATH_BYTES], const struct job_files *f, const char *file)
{
	(void)snprintf(out, JOB_PATH_BYTES, "%.*s/%s", JOB_PATH_BYTES - 16, f->dir, file);
}

static void reference_text(struct hlk *c, struct job_files *f, const struct hlk_task_info *info)
{
	json_t *object = json_object();
	input_describe(c, object, "reference", info->kind, info->payload, info->size);
	char *text = json_dumps(json_object_get(object, "reference"), JSON_COMPACT);
	json_decref(object);
	ENSURE(text != NULL);
	buf_append(&f->text, text, strlen(text));
	free(text);
	f->reference = true;
}

int job_files_begin(struct hlk *c, struct job_files *f, const struct job_wish *wish, const struct hlk_task_info *info, hlk_blob_fn *fn,
		    void *ctx, char text[256])
{
	struct hlk_payload p;
	*f = (struct job_files){ .transfer = 0 };
	if (!make_dir(f)) {
		(void)snprintf(text, 256, "no directory for its files: %s", strerror(errno));
		return HLK_TRANSIENT;
	}
	if (wish->result_file)
		name(f->result, f, "result");
	if (info->kind == HLK_REFERENCE) {
		reference_text(c, f, info);
		return HLK_OK;
	}
	if (info->kind == HLK_INLINE && !wish->payload_file)
		return HLK_OK;
	name(f->payload, f, "payload");
	f->on_stdin = !wish->payload_file;
	const struct hlk_blob_sink sink = { .path = f->payload };
	int code = hlk_payload_of(c, info->kind, info->payload, info->size, &p);
	if (code == HLK_OK)
		code = hlk_payload_get(c, &p, &sink, fn, ctx, &f->transfer);
	if (code != HLK_OK)
		(void)snprintf(text, 256, "%.250s", hlk_last_error(c)->text);
	return code;
}

/* What fits in a frame need not be a blob. */
static bool read_small(const struct job_files *f, size_t size, struct buf *small)
{
	FILE *file = fopen(f->result, "re");
	if (!file)
		return false;
	buf_reserve(small, size + 1);
	small->len = fread(small->data, 1, size, file);
	(void)fclose(file);
	return small->len == size;
}

int job_files_result(struct hlk *c, struct job_files *f, struct buf *small, hlk_blob_fn *fn, void *ctx)
{
	struct stat st;
	uint64_t above = hlk_blob_above(c);
	if (!f->result[0] || stat(f->result, &st) != 0)
		return HLK_NOT_FOUND;
	small->len = 0; /* what the program printed is not the result */
	if ((uint64_t)st.st_size <= (above ? above : LIMIT_PAYLOAD_BYTES) && read_small(f, (size_t)st.st_size, small))
		return HLK_NOT_FOUND;
	const struct hlk_blob_source source = { .path = f->result };
	return hlk_blob_put(c, &source, fn, ctx, &f->transfer);
}

void job_files_end(struct hlk *c, struct job_files *f)
{
	char part[JOB_PATH_BYTES + 8];
	uint32_t transfer = f->transfer;
	f->transfer = 0;
	if (transfer)
		(void)hlk_blob_cancel(c, transfer);
	(void)snprintf(part, sizeof part, "%s.part", f->payload);
	if (f->payload[0]) {
		(void)unlink(f->payload);
		(void)unlink(part);
	}
	if (f->result[0])
		(void)unlink(f->result);
	if (f->dir[0])
		(void)rmdir(f->dir);
	buf_free(&f->text);
	*f = (struct job_files){ .transfer = 0 };
}

char *job_files_command(const struct job_files *f, const char *command)
{
	struct buf out = { 0 };
	for (const char *at = command; *at; at++) {
		if (at[0] != '{' || at[1] != '}' || !f->payload[0] || f->on_stdin) {
			buf_append(&out, at, 1);
			continue;
		}
		buf_append(&out, "'", 1);
		for (const char *x = f->payload; *x; x++)
			buf_append(&out, *x == '\'' ? "'\\''" : x, *x == '\'' ? 4 : 1);
		buf_append(&out, "'", 1);
		at++;
	}
	buf_append(&out, "", 1);
	return (char *)out.data;
}
