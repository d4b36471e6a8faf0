/* tools/input.c: payloads of any size in commands. In the flow: file -> hlk_blob_put -> submit, publish,
 * call; result -> hlk_payload_get -> file.
 *
 * 1. A file is hashed before it is sent, so that a content the broker has is not sent again. A pipe is read once.
 * 2. A file that is written has its name when its digest has been checked, not before. */
#include "input.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../wire/limits.h"
#include "progress.h"

struct saving { bool done; int code; char text[512]; };

void input_progress(struct hlk *c, uint32_t transfer, uint64_t done, uint64_t total, void *ctx)
{
	struct progress *p = ctx;
	(void)c;
	(void)transfer;
	p->total = total;
	progress_step(p, done);
}

static bool is_file(FILE *stream, uint64_t *size)
{
	struct stat st;
	bool file = fstat(fileno(stream), &st) == 0 && S_ISREG(st.st_mode);
	*size = file ? (uint64_t)st.st_size : UINT64_MAX;
	return file;
}

int input_read(struct cli *cli, const char *text, const char *file, struct input *in)
{
	*in = (struct input){ .file = file };
	(void)cli;
	if (!file) {
		in->size = text ? strlen(text) : 0;
		buf_append(&in->small, text, (size_t)in->size);
		return CLI_OK;
	}
	in->stream = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
	if (!in->stream) {
		cli_say("%s: %m", file);
		return CLI_USAGE;
	}
	(void)is_file(in->stream, &in->size);
	size_t got;
	do {
		buf_reserve(&in->small, 64 << 10);
		got = fread(in->small.data + in->small.len, 1, in->small.cap - in->small.len, in->stream);
		in->small.len += got;
	} while (got > 0 && in->small.len <= LIMIT_PAYLOAD_BYTES);
	if (ferror(in->stream)) {
		cli_say("%s: %m", file);
		return CLI_USAGE;
	}
	in->more = in->small.len > LIMIT_PAYLOAD_BYTES;
	if (!in->more)
		in->size = in->small.len;
	return CLI_OK;
}

/* What has been read already, and then the rest of the pipe. It cannot go back beyond the first part. */
static int64_t pipe_read(void *ctx, uint64_t offset, void *out, size_t room)
{
	struct input *in = ctx;
	if (offset < in->small.len) {
		size_t size = MIN_OF(room, in->small.len - (size_t)offset);
		memcpy(out, in->small.data + offset, size);
		return (int64_t)size;
	}
	if (offset != in->size)
		return -1;
	size_t got = fread(out, 1, room, in->stream);
	in->size += got;
	return got == 0 && ferror(in->stream) ? -1 : (int64_t)got;
}

int input_send(struct cli *cli, struct input *in)
{
	uint64_t above = hlk_blob_above(cli->client), size;
	in->payload = (struct hlk_payload){ .kind = HLK_INLINE, .data = in->small.data, .size = in->small.len };
	if (!in->more && (above == 0 || in->small.len <= above))
		return CLI_OK;
	if (above == 0)
		return cli_usage(cli, "%s: over %d bytes, the largest payload where the broker keeps no blobs", in->file, LIMIT_PAYLOAD_BYTES);
	struct progress progress;
	struct hlk_blob blob = { .size = 0 };
	bool file = in->more && is_file(in->stream, &size);
	struct hlk_blob_source source = { .progress = input_progress, .progress_ctx = &progress };
	if (file) {
		source.use_fd = true;
		source.fd = fileno(in->stream);
	} else if (in->more) {
		in->size = in->small.len;
		source.read = pipe_read;
		source.read_ctx = in;
	} else {
		source.data = in->small.data;
		source.size = in->small.len;
	}
	progress_begin(&progress, "uploading", 0);
	int code = hlk_blob_put_wait(cli->client, &source, HLK_FOREVER, &blob, NULL);
	progress_end(&progress);
	in->payload = (struct hlk_payload){ .kind = HLK_BLOB, .size = blob.size, .blob = blob };
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "%s", in->file ? in->file : "the payload");
}

void input_free(struct input *in)
{
	if (in->stream && in->stream != stdin)
		(void)fclose(in->stream);
	buf_free(&in->small);
	*in = (struct input){ .file = NULL };
}

/* ---- what came ---- */

static int write_out(struct hlk *c, uint64_t offset, const void *data, size_t size, void *ctx)
{
	(void)c;
	(void)offset;
	return fwrite(data, 1, size, ctx) == size ? HLK_OK : HLK_DISK_FULL;
}

static void saved(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	struct saving *s = ctx;
	(void)c;
	s->done = true;
	s->code = done->code;
	(void)snprintf(s->text, sizeof s->text, "%s", done->text);
}

int input_save(struct cli *cli, enum hlk_payload_kind kind, const void *data, size_t size, const char *file)
{
	struct progress progress;
	struct hlk_payload p;
	struct saving s = { .done = false };
	bool out = strcmp(file, "-") == 0;
	const struct hlk_blob_sink sink = { .path = out ? NULL : file, .write = out ? write_out : NULL, .write_ctx = stdout,
					    .progress = input_progress, .progress_ctx = &progress };
	progress_begin(&progress, "downloading", 0);
	int code = hlk_payload_of(cli->client, kind, data, size, &p);
	if (code == HLK_OK)
		code = hlk_payload_get(cli->client, &p, &sink, saved, &s, NULL);
	while (code == HLK_OK && !s.done)
		(void)hlk_run(cli->client, 60000);
	progress_end(&progress);
	if (out)
		(void)fflush(stdout);
	if (code != HLK_OK)
		return cli_failed(cli, code, "%s", file);
	if (s.code == HLK_OK)
		return CLI_OK;
	cli_say("%s: %s (%s)", file, s.text, hlk_error_name(s.code));
	return cli_exit_of(s.code);
}

void input_fetch_small(struct cli *cli, struct hlk_result *r)
{
	struct hlk_payload p;
	const void *data;
	size_t size;
	if (r->kind != HLK_BLOB || hlk_payload_of(cli->client, r->kind, r->data, r->size, &p) != HLK_OK || p.size > LIMIT_PAYLOAD_BYTES ||
	    hlk_payload_read_wait(cli->client, &p, LIMIT_PAYLOAD_BYTES, cli->timeout_ms, &data, &size) != HLK_OK)
		return; /* it is shown as what it is */
	r->data = data;
	r->size = size;
	r->kind = HLK_INLINE;
}

void input_describe(struct hlk *c, json_t *object, const char *key, enum hlk_payload_kind kind, const void *data, size_t size)
{
	struct hlk_payload p;
	char digest[HLK_DIGEST_TEXT];
	if (kind == HLK_INLINE || hlk_payload_of(c, kind, data, size, &p) != HLK_OK) {
		output_set_bytes(object, key, data, size);
		return;
	}
	json_t *what = json_object();
	if (kind == HLK_BLOB) {
		hlk_digest_print(p.blob.digest, digest);
		cli_set(what, "blob", json_string(digest));
	} else {
		output_set_bytes(what, "scheme", p.reference.scheme, strlen(p.reference.scheme));
		output_set_bytes(what, "key", p.reference.key, strlen(p.reference.key));
		output_set_bytes(what, "type", p.reference.type, strlen(p.reference.type));
		output_set_bytes(what, "etag", p.reference.etag, strlen(p.reference.etag));
	}
	cli_set(what, "size", cli_integer(p.size));
	cli_set(object, key, what);
}
