/* tools/type.c: `hillock type`: the registry of types: schemas, policies, aliases, parents.
 *
 * Data flow: a .bfbs file -> register, diff; a payload file -> check; rows -> output. */
#include "commands.h"

#include <errno.h>

#include "../wire/limits.h"
#include "../wire/schema.h"

static json_t *hex(uint64_t value)
{
	char text[24];
	(void)snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
	return json_string(text);
}

static json_t *type_json(const struct hlk_type_row *row)
{
	json_t *object = json_object(), *aliases = json_array(), *fingerprints = json_array();
	char joined[1024] = "";
	size_t at = 0;
	for (size_t i = 0; i < row->alias_count; i++) {
		(void)json_array_append_new(aliases, json_string(row->aliases[i]));
		if (at < sizeof joined)
			at += (size_t)snprintf(joined + at, sizeof joined - at, "%s%s", at ? " " : "", row->aliases[i]);
	}
	for (size_t i = 0; i < row->fingerprint_count; i++)
		(void)json_array_append_new(fingerprints, hex(row->fingerprints[i]));
	cli_set(object, "name", json_string(row->name));
	cli_set(object, "policy", json_string(row->policy));
	cli_set(object, "root", json_string(row->root));
	cli_set(object, "answers", json_string(row->answers));
	cli_set(object, "parent", json_string(row->parent));
	cli_set(object, "aliases", aliases);
	cli_set(object, "alias_list", json_string(joined));
	cli_set(object, "fingerprint", row->fingerprint_count ? hex(row->fingerprints[0]) : json_string(""));
	cli_set(object, "fingerprints", fingerprints);
	cli_set(object, "known", cli_integer(row->fingerprint_count));
	cli_set(object, "schema_bytes", cli_integer(row->schema_size));
	cli_set(object, "registered_ms", cli_integer(row->registered_ms));
	cli_set(object, "changed_ms", cli_integer(row->changed_ms));
	return object;
}

static const struct column columns[] = {
	{ "name", "NAME", COLUMN_TEXT },	       { "policy", "POLICY", COLUMN_TEXT },
	{ "fingerprint", "FINGERPRINT", COLUMN_TEXT }, { "known", "KNOWN", COLUMN_NUMBER },
	{ "parent", "PARENT", COLUMN_TEXT },	       { "alias_list", "ALIASES", COLUMN_TEXT },
};
static const struct column fields[] = {
	{ "name", "name", COLUMN_TEXT },
	{ "policy", "policy", COLUMN_TEXT },
	{ "root", "root table", COLUMN_TEXT },
	{ "answers", "answers of calls", COLUMN_TEXT },
	{ "parent", "parent", COLUMN_TEXT },
	{ "alias_list", "aliases", COLUMN_TEXT },
	{ "fingerprint", "fingerprint", COLUMN_TEXT },
	{ "known", "known fingerprints", COLUMN_NUMBER },
	{ "schema_bytes", "schema bytes", COLUMN_NUMBER },
	{ "registered_ms", "registered", COLUMN_TIME },
	{ "changed_ms", "changed", COLUMN_TIME },
};

static void type_row(const struct hlk_type_row *row, void *ctx)
{
	output_row(&((struct cli *)ctx)->out, type_json(row));
}

/* Then the canonical form, where people read it. */
static void type_one(const struct hlk_type_row *row, void *ctx)
{
	struct cli *cli = ctx;
	struct schema *schema = NULL;
	struct buf text = { NULL, 0, 0 };
	char why[256];
	json_t *object = type_json(row);
	if (row->schema_size > 0 &&
	    schema_compile(span_of(row->schema, row->schema_size), span_str(row->root), &schema, why) == ERR_OK)
		schema_describe(schema, &text);
	cli_set(object, "describes", json_stringn(text.len ? (const char *)text.data : "", text.len));
	output_one(&cli->out, fields, COUNT_OF(fields), object);
	if (cli->out.format == OUTPUT_TABLE && text.len > 0)
		(void)printf("\n%.*s", (int)text.len, (const char *)text.data);
	schema_free(schema);
	buf_free(&text);
}

/* A whole file of at most `max` bytes. CLI_OK, or the exit code after a message. */
static int file_read(const struct cli *cli, const char *file, size_t max, struct buf *out)
{
	FILE *input = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
	if (!input)
		return cli_usage(cli, "%s: %s", file, strerror(errno));
	size_t got;
	do {
		buf_reserve(out, 64 << 10);
		got = fread(out->data + out->len, 1, out->cap - out->len, input);
		out->len += got;
	} while (got > 0 && out->len <= max);
	bool bad = ferror(input) != 0;
	if (input != stdin)
		(void)fclose(input);
	if (bad)
		return cli_usage(cli, "%s: cannot be read", file);
	return out->len <= max ? CLI_OK : cli_usage(cli, "%s: over %zu bytes", file, max);
}

static int register_run(struct cli *cli)
{
	const struct args *args = &cli->args;
	const char *file = args_text(args, "schema");
	struct hlk_type_spec spec = { .root = args_text(args, "root"), .policy = args_text(args, "policy"),
				      .alias = args_text(args, "alias"), .parent = args_text(args, "parent"),
				      .answers = args_text(args, "answers") };
	struct buf schema = { NULL, 0, 0 };
	int code = file ? file_read(cli, file, SCHEMA_BYTES_MAX, &schema) : CLI_OK;
	spec.schema = schema.data;
	spec.schema_size = schema.len;
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code == CLI_OK) {
		int e = hlk_type_register(cli->client, args->plain[0], &spec);
		if (e == HLK_OK)
			e = hlk_type_show(cli->client, args->plain[0], type_one, cli);
		code = e == HLK_OK ? CLI_OK : cli_failed(cli, e, "type %s", args->plain[0]);
	}
	buf_free(&schema);
	return code;
}

static int ls_run(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, columns, COUNT_OF(columns));
	code = hlk_type_list(cli->client, type_row, cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "type ls");
	output_end(&cli->out);
	return CLI_OK;
}

static int show_run(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_type_show(cli->client, cli->args.plain[0], type_one, cli);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "type %s", cli->args.plain[0]);
}

static int check_run(struct cli *cli)
{
	const char *name = cli->args.plain[0], *file = cli->args.plain[1];
	struct buf payload = { NULL, 0, 0 };
	int code = file_read(cli, file, (size_t)LIMIT_META_BYTES / 2 - 4096, &payload);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code == CLI_OK) {
		int e = hlk_type_check(cli->client, name, payload.data, payload.len);
		code = e == HLK_OK ? CLI_OK : cli_failed(cli, e, "type %s: %s", name, file);
	}
	buf_free(&payload);
	if (code == CLI_OK)
		cli_say("%s is a %s", file, name);
	return code;
}

static int diff_run(struct cli *cli)
{
	const char *name = cli->args.plain[0], *file = cli->args.plain[1];
	struct buf schema = { NULL, 0, 0 };
	int code = file_read(cli, file, SCHEMA_BYTES_MAX, &schema);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code == CLI_OK) {
		int e = hlk_type_diff(cli->client, name, schema.data, schema.len, args_text(&cli->args, "root"));
		code = e == HLK_OK ? CLI_OK : cli_failed(cli, e, "type %s: %s", name, file);
	}
	buf_free(&schema);
	if (code == CLI_OK)
		cli_say("%s can take the place of the schema of %s", file, name);
	return code;
}

static int rm_run(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_type_remove(cli->client, cli->args.plain[0]);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "type %s", cli->args.plain[0]);
}

static const struct option register_options[] = {
	{ "schema", OPTION_TEXT, 0, "FILE", NULL, 0, 0, "a .bfbs, as flatc -b --schema --bfbs-builtins writes it" },
	{ "root", OPTION_TEXT, 0, "TABLE", NULL, 0, 0, "the table that a payload is; default: the schema's root_type" },
	{ "policy", OPTION_CHOICE, 0, "open|fingerprint|verify", NULL, 0, 0, "what a payload must be; default: as it was, or open" },
	{ "answers", OPTION_CHOICE, 0, "one|stream", NULL, 0, 0,
	  "how calls of it are answered: once, or in parts; said once and for all; default: either" },
	{ "alias", OPTION_TEXT, 0, "NAME", NULL, 0, 0, "one more name, for those who still use it" },
	{ "parent", OPTION_TEXT, 0, "TYPE", NULL, 0, 0, "subscribers of this type get the new one, too" },
	{ 0 },
};
static const struct option diff_options[] = {
	{ "root", OPTION_TEXT, 0, "TABLE", NULL, 0, 0, "default: the registered one" },
	{ 0 },
};

const struct command type_register_command = {
	"type", "register", "NAME", 1, 1, "makes a type, or changes it; what is not given stays",
	"A schema takes the place of an older one where no program breaks: fields may be appended or become deprecated, values and\n"
	"members added. Anything else is refused, and the refusal names the field.",
	"hillock type register video.Transcode --schema video.bfbs --root Transcode --policy verify\tpayloads are checked from now on\n"
	"hillock type register video.Transcode --alias transcode\tthe old name keeps working",
	register_options, register_run,
};
const struct command type_ls_command = {
	"type", "ls", "", 0, 0, "lists the registered types", NULL, "hillock type ls\ta table of all types", NULL, ls_run,
};
const struct command type_show_command = {
	"type", "show", "NAME", 1, 1, "shows a type and what its schema says", NULL,
	"hillock type show video.Transcode\tpolicy, names, fingerprint, fields\n"
	"hillock type show video.Transcode -o json | jq -r .fingerprint\tfor submit --fingerprint", NULL, show_run,
};
const struct command type_check_command = {
	"type", "check", "NAME FILE", 2, 2, "asks whether a payload fits the schema of a type", NULL,
	"hillock type check video.Transcode job.bin\tsays which field is wrong, if any", NULL, check_run,
};
const struct command type_diff_command = {
	"type", "diff", "NAME FILE", 2, 2, "asks whether a schema may take the place of the registered one", NULL,
	"hillock type diff video.Transcode new.bfbs\tlists what would break", diff_options, diff_run,
};
const struct command type_rm_command = {
	"type", "rm", "NAME", 1, 1, "forgets a type with all its names, or one alias", NULL,
	"hillock type rm transcode\tthe alias is gone, the type stays", NULL, rm_run,
};
