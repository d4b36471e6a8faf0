/* tools/blob.c: `hillock blob`: contents of any size at the broker: there and back, who refers to them, what is kept and what goes. */
#include "commands.h"

#include <sys/stat.h>
#include <unistd.h>

#include "input.h"
#include "progress.h"

static int digest_read(const struct cli *cli, uint32_t index, uint8_t out[HLK_DIGEST_BYTES])
{
	if (hlk_digest_parse(cli->args.plain[index], out) == HLK_OK)
		return CLI_OK;
	return cli_usage(cli, "%.80s: expected a digest, the 64 hexadecimal digits that blob put printed", cli->args.plain[index]);
}

static json_t *text_of_digest(const uint8_t digest[HLK_DIGEST_BYTES])
{
	char text[HLK_DIGEST_TEXT];
	hlk_digest_print(digest, text);
	return json_string(text);
}

/* ---- put and get ---- */

static const struct option put_options[] = {
	{ "media-type", OPTION_TEXT, 'm', "TYPE", NULL, 0, 0, "kept with it: image/png" },
	{ "pin", OPTION_TEXT, 'p', "NAME", NULL, 0, 0, "keep it under this name, though nothing refers to it" },
	{ 0 },
};

static int64_t stdin_read(void *ctx, uint64_t offset, void *out, size_t room)
{
	uint64_t *at = ctx;
	if (offset != *at)
		return -1; /* a pipe cannot go back */
	size_t got = fread(out, 1, room, stdin);
	*at += got;
	return got == 0 && ferror(stdin) ? -1 : (int64_t)got;
}

static int put_source(struct cli *cli, struct hlk_blob_source *source, uint64_t *at)
{
	const char *file = cli->args.plain[0];
	struct stat st;
	if (strcmp(file, "-") == 0 && fstat(STDIN_FILENO, &st) == 0 && S_ISREG(st.st_mode)) {
		source->use_fd = true;
		source->fd = STDIN_FILENO;
	} else if (strcmp(file, "-") == 0) {
		source->read = stdin_read;
		source->read_ctx = at;
	} else if (access(file, R_OK) != 0) {
		cli_say("%s: %m", file);
		return CLI_USAGE;
	} else {
		source->path = file;
	}
	return CLI_OK;
}

static int blob_put(struct cli *cli)
{
	static const struct column fields[] = {
		{ "digest", "digest", COLUMN_TEXT }, { "size", "bytes", COLUMN_NUMBER }, { "known", "was there", COLUMN_TEXT },
		{ "pin", "pin", COLUMN_TEXT },
	};
	const char *pin = args_text(&cli->args, "pin");
	struct progress progress;
	struct hlk_blob_source source = { .media_type = args_text(&cli->args, "media-type"), .progress = input_progress,
					  .progress_ctx = &progress };
	struct hlk_blob blob;
	uint64_t at = 0;
	bool known = false;
	int code = put_source(cli, &source, &at);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	progress_begin(&progress, "uploading", 0);
	code = hlk_blob_put_wait(cli->client, &source, args_given(&cli->args, "timeout") ? cli->timeout_ms : HLK_FOREVER, &blob, &known);
	progress_end(&progress);
	if (code == HLK_OK && pin)
		code = hlk_blob_pin(cli->client, blob.digest, pin);
	if (code != HLK_OK)
		return cli_failed(cli, code, "%s", cli->args.plain[0]);
	json_t *object = json_object();
	cli_set(object, "digest", text_of_digest(blob.digest));
	cli_set(object, "size", cli_integer(blob.size));
	cli_set(object, "known", json_boolean(known));
	if (pin)
		cli_set(object, "pin", json_string(pin));
	output_one(&cli->out, fields, COUNT_OF(fields), object);
	return CLI_OK;
}

const struct command blob_put_command = {
	"blob", "put", "FILE|-", 1, 1, "uploads a file, or standard input, and prints its digest",
	"A file is hashed first; what the broker has already is not sent. The upload goes on after a cut of the connection.\n"
	"A blob that nothing refers to is collected after a while: submit what needs it, or pin it.",
	"hillock blob put model.bin --pin current\tkept until blob unpin\n"
	"tar c photos | hillock blob put -\tof unknown size; a pipe cannot be read again, so a cut ends it\n"
	"hillock blob put scan.tif -m image/tiff -o json | jq -r .digest\tfor a script", put_options, blob_put,
};

static const struct option get_options[] = {
	{ "file", OPTION_TEXT, 'f', "FILE", "-", 0, 0, "into this file, once its digest has been checked; - is standard output" },
	{ "no-resume", OPTION_FLAG, 0, NULL, NULL, 0, 0, "begin anew, though FILE.part is there from a run before" },
	{ 0 },
};

static int write_out(struct hlk *c, uint64_t offset, const void *data, size_t size, void *ctx)
{
	(void)c;
	(void)offset;
	return fwrite(data, 1, size, ctx) == size ? HLK_OK : HLK_DISK_FULL;
}

static int blob_get(struct cli *cli)
{
	const char *file = args_text(&cli->args, "file");
	bool out = strcmp(file, "-") == 0;
	uint8_t digest[HLK_DIGEST_BYTES];
	struct progress progress;
	const struct hlk_blob_sink sink = { .path = out ? NULL : file, .write = out ? write_out : NULL, .write_ctx = stdout,
					    .resume = !args_number(&cli->args, "no-resume"), .progress = input_progress,
					    .progress_ctx = &progress };
	int code = digest_read(cli, 0, digest);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	progress_begin(&progress, "downloading", 0);
	code = hlk_blob_get_wait(cli->client, digest, &sink, args_given(&cli->args, "timeout") ? cli->timeout_ms : HLK_FOREVER, NULL);
	progress_end(&progress);
	if (out)
		(void)fflush(stdout);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "blob %.12s", cli->args.plain[0]);
}

const struct command blob_get_command = {
	"blob", "get", "DIGEST", 1, 1, "downloads a blob and checks its digest",
	"A file is written as FILE.part and takes its name when the digest is right. What is there of it from an interrupted run is kept.\n"
	"To standard output bytes are written as they come: exit status 5 says that they were not right.",
	"hillock blob get 2c26b46b... -f model.bin\tinto a file\n"
	"hillock blob get $(hillock task wait 4711 -o json | jq -r .result.blob) | tar t\twhat a task gave back", get_options, blob_get,
};

/* ---- looking ---- */

static json_t *row_json(const struct hlk_blob_row *row)
{
	json_t *object = json_object(), *pins = json_array();
	for (size_t i = 0; i < row->pin_count; i++)
		(void)json_array_append_new(pins, json_string(row->pins[i]));
	cli_set(object, "digest", text_of_digest(row->blob.digest));
	cli_set(object, "size", cli_integer(row->blob.size));
	cli_set(object, "media_type", json_string(row->media_type));
	cli_set(object, "vnet", json_string(row->vnet));
	cli_set(object, "principal", json_string(row->principal));
	cli_set(object, "references", cli_integer(row->references));
	cli_set(object, "pins", pins);
	cli_set(object, "pinned", cli_integer(row->pin_count));
	cli_set(object, "created_ms", cli_integer(row->created_ms));
	cli_set(object, "unreferenced_ms", cli_integer(row->unreferenced_ms));
	cli_set(object, "damaged", json_boolean(row->damaged));
	return object;
}

struct listing { struct cli *cli; uint64_t seen, shown; bool damaged; };

static void row_out(const struct hlk_blob_row *row, void *ctx)
{
	struct listing *l = ctx;
	struct cli *cli = l->cli;
	l->seen++;
	if (l->damaged && !row->damaged)
		return;
	l->shown++;
	output_row(&cli->out, row_json(row));
}

static const struct column list_columns[] = {
	{ "digest", "DIGEST", COLUMN_TEXT },	     { "size", "BYTES", COLUMN_NUMBER },
	{ "references", "REFERENCES", COLUMN_NUMBER }, { "pinned", "PINS", COLUMN_NUMBER },
	{ "created_ms", "CREATED", COLUMN_TIME },    { "unreferenced_ms", "UNUSED SINCE", COLUMN_TIME },
	{ "media_type", "MEDIA TYPE", COLUMN_TEXT }, { "principal", "FROM", COLUMN_TEXT },
};

static const struct option ls_options[] = {
	{ "limit", OPTION_COUNT, 'n', "N", "100", 1, 0, "how many at most" },
	{ "all", OPTION_FLAG, 0, NULL, NULL, 0, 0, "every one, page by page" },
	{ "damaged", OPTION_FLAG, 0, NULL, NULL, 0, 0, "only those whose bytes are wrong or missing; exit status 3 where there are some" },
	{ 0 },
};

static int blob_ls(struct cli *cli)
{
	struct listing l = { .cli = cli, .damaged = args_number(&cli->args, "damaged") };
	uint64_t limit = l.damaged || args_number(&cli->args, "all") ? UINT64_MAX : args_number(&cli->args, "limit"), cursor = 0;
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, list_columns, COUNT_OF(list_columns));
	do
		code = hlk_blob_list(cli->client, (uint32_t)MIN_OF(limit - l.seen, (uint64_t)100), &cursor, row_out, &l);
	while (code == HLK_OK && cursor != 0 && l.seen < limit && !output_broken(&cli->out));
	if (code != HLK_OK)
		return cli_failed(cli, code, "blobs");
	output_end(&cli->out);
	return l.damaged && l.shown > 0 ? CLI_PARTIAL : CLI_OK;
}

const struct command blob_ls_command = {
	"blob", "ls", "", 0, 0, "lists the blobs of this vnet", NULL,
	"hillock blob ls --all -o jsonl | jq 'select(.references == 0 and .pinned == 0) | .size' | paste -sd+ | bc\twhat gc would free",
	ls_options, blob_ls,
};

static void one_out(const struct hlk_blob_row *row, void *ctx)
{
	static const struct column fields[] = {
		{ "digest", "digest", COLUMN_TEXT },	     { "size", "bytes", COLUMN_NUMBER },
		{ "media_type", "media type", COLUMN_TEXT }, { "references", "references", COLUMN_NUMBER },
		{ "pins", "pins", COLUMN_TEXT },	     { "vnet", "vnet", COLUMN_TEXT },
		{ "principal", "uploaded by", COLUMN_TEXT }, { "created_ms", "created", COLUMN_TIME },
		{ "unreferenced_ms", "unused since", COLUMN_TIME }, { "damaged", "damaged", COLUMN_TEXT },
	};
	struct cli *cli = ctx;
	output_one(&cli->out, fields, COUNT_OF(fields), row_json(row));
}

static int blob_show(struct cli *cli)
{
	uint8_t digest[HLK_DIGEST_BYTES];
	int code = digest_read(cli, 0, digest);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_blob_show(cli->client, digest, one_out, cli);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "blob %.12s", cli->args.plain[0]);
}

const struct command blob_show_command = {
	"blob", "show", "DIGEST", 1, 1, "shows what the broker knows of one blob", NULL,
	"hillock blob show 2c26b46b...\twho refers to it, its pins, when it came", NULL, blob_show,
};

/* ---- keeping and letting go ---- */

static int done_out(struct cli *cli, const char *key, uint64_t count)
{
	const struct column field = { key, key, COLUMN_NUMBER };
	json_t *object = json_object();
	cli_set(object, key, cli_integer(count));
	output_one(&cli->out, &field, 1, object);
	return CLI_OK;
}

static int pin_run(struct cli *cli, int (*set)(struct hlk *, const uint8_t *, const char *), const char *key)
{
	uint8_t digest[HLK_DIGEST_BYTES];
	int code = digest_read(cli, 0, digest);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = set(cli->client, digest, cli->args.plain[1]);
	return code == HLK_OK ? done_out(cli, key, 1) : cli_failed(cli, code, "blob %.12s", cli->args.plain[0]);
}

static int blob_pin(struct cli *cli) { return pin_run(cli, hlk_blob_pin, "pinned"); }
static int blob_unpin(struct cli *cli) { return pin_run(cli, hlk_blob_unpin, "unpinned"); }

const struct command blob_pin_command = {
	"blob", "pin", "DIGEST NAME", 2, 2, "keeps a blob under a name, though nothing refers to it", NULL,
	"hillock blob pin 2c26b46b... model-7\tuntil this very pin is taken out", NULL, blob_pin,
};

const struct command blob_unpin_command = {
	"blob", "unpin", "DIGEST NAME", 2, 2, "takes a pin out", NULL,
	"hillock blob unpin 2c26b46b... model-7\tcollected later, unless something refers to it", NULL, blob_unpin,
};

static int blob_rm(struct cli *cli)
{
	uint8_t digest[HLK_DIGEST_BYTES];
	uint32_t count = cli->args.plain_count, removed = 0;
	int code = CLI_OK, failed = CLI_OK;
	for (uint32_t i = 0; i < count && code == CLI_OK; i++)
		code = digest_read(cli, i, digest);
	if (code == CLI_OK)
		code = cli_sure(cli, "the removal of %u blob%s", count, count == 1 ? "" : "s");
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	for (uint32_t i = 0; i < count && digest_read(cli, i, digest) == CLI_OK; i++) {
		code = hlk_blob_remove(cli->client, digest);
		removed += code == HLK_OK;
		if (code != HLK_OK)
			failed = cli_failed(cli, code, "blob %.12s", cli->args.plain[i]);
	}
	(void)done_out(cli, "removed", removed);
	return removed == count ? CLI_OK : removed > 0 ? CLI_PARTIAL : failed;
}

static const struct option sure_options[] = {
	{ "yes", OPTION_FLAG, 'y', NULL, NULL, 0, 0, "do it without asking" },
	{ 0 },
};

const struct command blob_rm_command = {
	"blob", "rm", "DIGEST...", 1, ARGS_PLAIN, "removes blobs that nothing refers to", NULL,
	"hillock blob rm 2c26b46b... --yes\trefused while a task, a result or a pin refers to it", sure_options, blob_rm,
};

static int blob_gc(struct cli *cli)
{
	uint64_t count = 0;
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_blob_collect(cli->client, &count);
	return code == HLK_OK ? done_out(cli, "collected", count) : cli_failed(cli, code, "blob gc");
}

const struct command blob_gc_command = {
	"blob", "gc", "", 0, 0, "removes what nothing refers to now, instead of after a while",
	"It happens by itself some time after the last reference is gone (blob_grace). An upload whose task is not submitted yet is lost:\n"
	"its submission is refused, and the client library uploads it again.",
	"hillock blob gc\tprints how many were removed", NULL, blob_gc,
};

static int blob_scrub(struct cli *cli)
{
	uint64_t count = 0;
	uint8_t digest[HLK_DIGEST_BYTES];
	bool one = cli->args.plain_count > 0;
	int code = one ? digest_read(cli, 0, digest) : CLI_OK;
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_blob_scrub(cli->client, one ? digest : NULL, &count);
	return code == HLK_OK ? done_out(cli, "reading", count) : cli_failed(cli, code, "blob scrub");
}

const struct command blob_scrub_command = {
	"blob", "scrub", "[DIGEST]", 0, 1, "has a blob, or all of them, read and compared with their digests",
	"It goes on beside other work, behind the answer; what is wrong shows in hillock blob ls --damaged.\n"
	"A damaged blob is refused to those who read it; an upload of the same content takes its place.",
	"hillock blob scrub\tprints how many are going to be read", NULL, blob_scrub,
};
