/* tools/input.h: payloads of any size in commands: from a text, a file or standard input to the broker, and from there into a file. */
#pragma once

#include "cli.h"

/* What a command sends. Small ones are read, larger ones become a blob. */
struct input {
	const char *file;            /* NULL: none */
	FILE *stream;
	struct buf small;            /* the beginning of it; all of it, unless `more` */
	bool more;
	uint64_t size;               /* UINT64_MAX: not known */
	struct hlk_payload payload;  /* after input_send */
};

/* Before connecting: reads the text, or the file (- is standard input), or nothing. CLI_OK, or CLI_USAGE after a message. */
int input_read(struct cli *cli, const char *text, const char *file, struct input *in) MUST_CHECK;
/* After connecting: uploads what does not fit in a frame, with a progress bar. CLI_OK, or the exit code after a message. */
int input_send(struct cli *cli, struct input *in) MUST_CHECK;
void input_free(struct input *in);

/* Puts a payload that came into a file (- is standard output): its bytes, checked. An exit code, after a message where it fails. */
int input_save(struct cli *cli, enum hlk_payload_kind kind, const void *data, size_t size, const char *file) MUST_CHECK;
/* Sets object[key] to inline bytes, or says what it is: "blob" with digest and size, "reference" with scheme, key, type, size. */
void input_describe(struct hlk *c, json_t *object, const char *key, enum hlk_payload_kind kind, const void *data, size_t size);

/* A result that is a blob of no more than 1 MiB becomes its bytes, as they would be shown; valid until the next call. Not for callbacks. */
void input_fetch_small(struct cli *cli, struct hlk_result *result);

/* hlk_blob_progress_fn; ctx: struct progress. */
void input_progress(struct hlk *c, uint32_t transfer, uint64_t done, uint64_t total, void *ctx);
