/* tools/dlq.c: `hillock dlq`: the dead letters of the queues: look, put back, drop. */
#include "commands.h"

static const struct option ls_options[] = {
	{ "limit", OPTION_COUNT, 'n', "N", "100", 1, 0, "how many at most" },
	{ 0 },
};

static int dlq_ls(struct cli *cli)
{
	const char *queue = cli->args.plain_count > 0 ? cli->args.plain[0] : NULL;
	int code = cli_connect(cli);
	return code == CLI_OK ? cli_task_list(cli, queue, "dead", args_number(&cli->args, "limit")) : code;
}

const struct command dlq_ls_command = {
	"dlq", "ls", "[QUEUE]", 0, 1, "lists dead letters: tasks that failed for good, with the reason", NULL,
	"hillock dlq ls mail\tthose of one queue\nhillock dlq ls -o json | jq -r '.[].reason' | sort | uniq -c\twhy",
	ls_options, dlq_ls,
};

struct dead_row {
	struct cli *cli;
	bool dead;
};

static void dead_one(const struct hlk_task_row *row, void *ctx)
{
	struct dead_row *found = ctx;
	found->dead = strcmp(row->state, "dead") == 0;
	if (found->dead)
		output_one(&found->cli->out, cli_task_fields, cli_task_field_count, cli_task_json(row));
}

static int dlq_show(struct cli *cli)
{
	struct dead_row found = { cli, false };
	uint64_t task;
	int code = cli_task_id(cli, 0, &task);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_task_show(cli->client, task, dead_one, &found);
	if (code != HLK_OK)
		return cli_failed(cli, code, "task %llu", (unsigned long long)task);
	if (found.dead)
		return CLI_OK;
	cli_say("task %llu is not a dead letter; see hillock task show", (unsigned long long)task);
	return CLI_NOT_FOUND;
}

const struct command dlq_show_command = {
	"dlq", "show", "ID", 1, 1, "shows one dead letter with payload and reason", NULL,
	"hillock dlq show 4711\twhat it was and why it died", NULL, dlq_show,
};

static const struct option redrive_options[] = {
	{ "limit", OPTION_COUNT, 'n', "N", NULL, 1, UINT32_MAX, "at most this many, the oldest first" },
	{ "dry-run", OPTION_FLAG, 0, NULL, NULL, 0, 0, "only say what would be done" },
	{ 0 },
};
static const struct option purge_options[] = {
	{ "yes", OPTION_FLAG, 'y', NULL, NULL, 0, 0, "do not ask" },
	{ "dry-run", OPTION_FLAG, 0, NULL, NULL, 0, 0, "only say what would be done" },
	{ 0 },
};

static void dead_count(const struct hlk_queue_row *row, void *ctx)
{
	*(uint64_t *)ctx = row->dead;
}

/* Counts the dead letters of the queue on the command line; *go_on is false where there is nothing more to do. */
static int dead_look(struct cli *cli, const char *verb, uint64_t limit, uint64_t *count_out, bool *go_on)
{
	const char *queue = cli->args.plain[0];
	*go_on = false;
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_queue_show(cli->client, queue, dead_count, count_out);
	if (code != HLK_OK)
		return cli_failed(cli, code, "queue %s", queue);
	*go_on = !args_number(&cli->args, "dry-run");
	if (!*go_on)
		cli_say("would %s %llu dead letters of queue %s", verb,
			(unsigned long long)(limit ? MIN_OF(limit, *count_out) : *count_out), queue);
	return CLI_OK;
}

static int dlq_done(struct cli *cli, const char *key, uint64_t count)
{
	const struct column field = { key, key, COLUMN_NUMBER };
	json_t *object = json_object();
	cli_set(object, key, cli_integer(count));
	output_one(&cli->out, &field, 1, object);
	return CLI_OK;
}

static int dlq_redrive(struct cli *cli)
{
	uint64_t count = 0, limit = args_number(&cli->args, "limit");
	bool go_on;
	int code = dead_look(cli, "put back", limit, &count, &go_on);
	if (code != CLI_OK || !go_on)
		return code;
	code = hlk_dlq_redrive(cli->client, cli->args.plain[0], limit ? (uint32_t)limit : UINT32_MAX, &count);
	return code == HLK_OK ? dlq_done(cli, "redriven", count) :
				cli_failed(cli, code, "redrive of queue %s", cli->args.plain[0]);
}

static int dlq_purge(struct cli *cli)
{
	uint64_t count = 0;
	bool go_on;
	int code = dead_look(cli, "drop", 0, &count, &go_on);
	if (code != CLI_OK || !go_on)
		return code;
	code = cli_sure(cli, "dropping %llu dead letters of queue %s", (unsigned long long)count, cli->args.plain[0]);
	if (code != CLI_OK)
		return code;
	code = hlk_dlq_purge(cli->client, cli->args.plain[0], &count);
	return code == HLK_OK ? dlq_done(cli, "purged", count) :
				cli_failed(cli, code, "purge of the dead letters of queue %s", cli->args.plain[0]);
}

const struct command dlq_redrive_command = {
	"dlq", "redrive", "QUEUE", 1, 1, "puts dead letters back into their queue, with attempts counted anew",
	"A single one: hillock task retry ID.",
	"hillock dlq redrive mail --limit 10\tten at first, to see whether the cause is gone\n"
	"hillock dlq redrive mail\tall of them", redrive_options, dlq_redrive,
};

const struct command dlq_purge_command = {
	"dlq", "purge", "QUEUE", 1, 1, "drops the dead letters of a queue for good", NULL,
	"hillock dlq purge mail --dry-run\thow many would go\nhillock dlq purge mail --yes\tin a script", purge_options,
	dlq_purge,
};
