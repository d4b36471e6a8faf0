/* tools/bench_schema.c: `hillock bench schema`: what checking one payload against its schema costs. Needs no broker. */
#include "commands.h"

#include <time.h>

#include "../wire/schema.h"

static uint64_t cpu_ns(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool read_whole(const char *file, struct buf *out)
{
	FILE *input = fopen(file, "re");
	if (!input)
		return false;
	uint8_t *at = buf_extend(out, 1 << 20);
	out->len = fread(at, 1, 1 << 20, input);
	bool good = !ferror(input);
	(void)fclose(input);
	return good;
}

static const struct column fields[] = {
	{ "payload_bytes", "payload bytes", COLUMN_NUMBER },
	{ "count", "checks", COLUMN_NUMBER },
	{ "ns", "CPU ns each", COLUMN_DECIMAL },
};

static int measure(struct cli *cli, struct schema *schema, struct span payload)
{
	char text[256];
	uint64_t count = args_number(&cli->args, "count"), failed = 0;
	if (schema_verify(schema, payload, text) != ERR_OK)
		return cli_usage(cli, "the payload does not fit: %s", text);
	uint64_t begin = cpu_ns();
	for (uint64_t i = 0; i < count; i++)
		failed += schema_verify(schema, payload, text) != ERR_OK;
	double ns = (double)(cpu_ns() - begin) / (double)count;
	json_t *object = json_object();
	cli_set(object, "payload_bytes", cli_integer(payload.len));
	cli_set(object, "count", cli_integer(count - failed));
	cli_set(object, "ns", json_real(ns));
	output_one(&cli->out, fields, COUNT_OF(fields), object);
	return CLI_OK;
}

static int run(struct cli *cli)
{
	const struct args *args = &cli->args;
	struct buf bytes = { NULL, 0, 0 }, payload = { NULL, 0, 0 };
	struct schema *schema = NULL;
	char text[256] = "";
	int code = CLI_OK;
	if (!read_whole(args->plain[0], &bytes) || !read_whole(args->plain[1], &payload))
		code = cli_usage(cli, "a file cannot be read: %m");
	else if (schema_compile(buf_span(&bytes), span_str(args_text(args, "root")), &schema, text) != ERR_OK)
		code = cli_usage(cli, "%s: %s", args->plain[0], text);
	else
		code = measure(cli, schema, buf_span(&payload));
	schema_free(schema);
	buf_free(&bytes);
	buf_free(&payload);
	return code;
}

static const struct option options[] = {
	{ "root", OPTION_TEXT, 0, "TABLE", NULL, 0, 0, "default: the schema's root_type" },
	{ "count", OPTION_COUNT, 0, "N", "5000000", 1, 0, "how often" },
	{ 0 },
};
const struct command bench_schema_command = {
	"bench", "schema", "SCHEMA PAYLOAD", 2, 2, "measures what checking a payload against its schema costs", NULL,
	"hillock bench schema video.bfbs job.bin --root Transcode\tCPU time of one check", options, run,
};
