/* tools/group.c: `hillock group`: members that come to an end, and the task that runs when all have.
 *
 * Data flow: hlk_group_list, hlk_group_show, hlk_group_members -> rows -> output. */
#include "commands.h"

static json_t *group_json(const struct hlk_group_row *row)
{
	json_t *object = json_object();
	const char *state = row->cancelled_whole ? "cancelled" : row->ended_ms ? "over" : row->callback ? "closed" : "open";
	output_set_bytes(object, "name", row->name, strlen(row->name));
	cli_set(object, "state", json_string(state));
	cli_set(object, "members", cli_integer(row->members));
	cli_set(object, "size", cli_integer(row->size));
	cli_set(object, "open", cli_integer(row->open));
	cli_set(object, "done", cli_integer(row->done));
	cli_set(object, "failed", cli_integer(row->failed));
	cli_set(object, "cancelled", cli_integer(row->cancelled));
	cli_set(object, "expired", cli_integer(row->expired));
	cli_set(object, "lost", cli_integer(row->lost));
	cli_set(object, "dead", cli_integer(row->dead));
	cli_set(object, "bad", cli_integer(row->cancelled + row->failed + row->expired + row->lost + row->dead));
	cli_set(object, "first_bad", cli_integer(row->bad));
	cli_set(object, "callback", cli_integer(row->callback));
	cli_set(object, "ended_ms", cli_integer(row->ended_ms));
	return object;
}

static const struct column columns[] = {
	{ "name", "NAME", COLUMN_TEXT },	{ "state", "STATE", COLUMN_STATE },	 { "members", "MEMBERS", COLUMN_NUMBER },
	{ "size", "SIZE", COLUMN_NUMBER },	{ "open", "OPEN", COLUMN_NUMBER },	 { "done", "DONE", COLUMN_NUMBER },
	{ "bad", "BAD", COLUMN_NUMBER },	{ "callback", "CALLBACK", COLUMN_NUMBER },
};
static const struct column fields[] = {
	{ "name", "name", COLUMN_TEXT },	  { "state", "state", COLUMN_STATE },
	{ "members", "members", COLUMN_NUMBER },  { "size", "how many there will be", COLUMN_NUMBER },
	{ "open", "not final", COLUMN_NUMBER },	  { "done", "done", COLUMN_NUMBER },
	{ "failed", "failed", COLUMN_NUMBER },	  { "cancelled", "cancelled", COLUMN_NUMBER },
	{ "expired", "expired", COLUMN_NUMBER },  { "lost", "lost", COLUMN_NUMBER },
	{ "dead", "dead", COLUMN_NUMBER },	  { "first_bad", "first bad one", COLUMN_NUMBER },
	{ "callback", "callback", COLUMN_NUMBER }, { "ended_ms", "ended", COLUMN_TIME },
};

static void group_row(const struct hlk_group_row *row, void *ctx)
{
	output_row(&((struct cli *)ctx)->out, group_json(row));
}

static void group_one(const struct hlk_group_row *row, void *ctx)
{
	output_one(&((struct cli *)ctx)->out, fields, COUNT_OF(fields), group_json(row));
}

static int ls_run(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, columns, COUNT_OF(columns));
	code = hlk_group_list(cli->client, group_row, cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "group ls");
	output_end(&cli->out);
	return CLI_OK;
}

static int members(struct cli *cli, const char *name)
{
	uint64_t cursor = 0;
	int code;
	output_begin(&cli->out, cli_task_columns, cli_task_column_count);
	do {
		code = hlk_group_members(cli->client, name, 1000, &cursor, cli_task_row, cli);
	} while (code == HLK_OK && cursor != 0);
	if (code != HLK_OK)
		return cli_failed(cli, code, "group %s", name);
	output_end(&cli->out);
	return CLI_OK;
}

static int show_run(struct cli *cli)
{
	const char *name = cli->args.plain[0];
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	if (args_number(&cli->args, "members"))
		return members(cli, name);
	code = hlk_group_show(cli->client, name, group_one, cli);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "group %s", name);
}

static int cancel_run(struct cli *cli)
{
	const char *name = cli->args.plain[0];
	int code = cli_connect(cli);
	uint64_t count = 0;
	if (code != CLI_OK)
		return code;
	code = hlk_group_cancel(cli->client, name, &count);
	if (code != HLK_OK)
		return cli_failed(cli, code, "group %s", name);
	json_t *object = json_object();
	cli_set(object, "cancelled", cli_integer(count));
	static const struct column field[] = { { "cancelled", "members being cancelled", COLUMN_NUMBER } };
	output_one(&cli->out, field, COUNT_OF(field), object);
	return CLI_OK;
}

static const struct option show_options[] = {
	{ "members", OPTION_FLAG, 0, NULL, NULL, 0, 0, "list the members that are still known" },
	{ 0 },
};

const struct command group_ls_command = {
	"group", "ls", "", 0, 0, "lists groups and how far they are",
	"A group comes to be with its first member (submit --group) or its callback (submit --after-group).",
	"hillock group ls\ta table of all of them", NULL, ls_run,
};
const struct command group_show_command = {
	"group", "show", "NAME", 1, 1, "shows how the members of a group ended, and its callback", NULL,
	"hillock group show night\thow many are done, how many ended badly\n"
	"hillock group show night --members -o jsonl | jq 'select(.state != \"done\") | .id'\twhich ones", show_options, show_run,
};
const struct command group_cancel_command = {
	"group", "cancel", "NAME", 1, 1, "cancels the callback and all members, and lets no more come", NULL,
	"hillock group cancel night\tnothing of it starts any more", NULL, cancel_run,
};
