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
		output_one(&found->cli->out, cli_task_fields, cli_task_field_count, cli_task_json(found->cli, row));
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
	{ "id", OPTION_LIST, 0, "ID", NULL, 0, 0, "only this one; may be given again" },
	{ "type", OPTION_TEXT, 0, "TYPE", NULL, 0, 0, "only of this type" },
	{ "code", OPTION_TEXT, 0, "CODE", NULL, 0, 0, "only those that ended by this class, for example DEPENDENCY" },
	{ "rate", OPTION_COUNT, 0, "N", "0", 0, 100000, "so many in a second, inside the broker; 0: at once" },
	{ "detach", OPTION_FLAG, 0, NULL, NULL, 0, 0, "with --rate: print the job, do not wait for its end" },
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

/* The dead letters that the filters choose. */
struct chosen {
	const struct cli *cli;
	uint64_t *tasks, limit;
	size_t count;
};

static void choose(const struct hlk_task_row *row, void *ctx)
{
	struct chosen *chosen = ctx;
	const struct args *args = &chosen->cli->args;
	const char *type = args_text(args, "type"), *code = args_text(args, "code");
	bool listed = args->list_count == 0;
	for (uint32_t i = 0; i < args->list_count; i++)
		listed = listed || strtoull(args->list[i], NULL, 10) == row->task;
	if (!listed || (type && strcmp(type, row->type) != 0) || (code && strcmp(code, hlk_error_name(row->code)) != 0) ||
	    chosen->count >= chosen->limit)
		return;
	if (chosen->count % 1024 == 0) {
		chosen->tasks = realloc(chosen->tasks, (chosen->count + 1024) * sizeof *chosen->tasks);
		ENSURE(chosen->tasks != NULL);
	}
	chosen->tasks[chosen->count++] = row->task;
}

/* Chosen ones, at once. */
static int redrive_chosen(struct cli *cli, uint64_t limit)
{
	const char *queue = cli->args.plain[0];
	struct chosen chosen = { .cli = cli, .limit = limit ? limit : UINT64_MAX };
	uint64_t cursor = 0, done = 0;
	int code = HLK_OK;
	do {
		code = hlk_dlq_list(cli->client, queue, 500, &cursor, choose, &chosen);
	} while (code == HLK_OK && cursor != 0 && chosen.count < chosen.limit);
	bool dry = args_number(&cli->args, "dry-run");
	if (code == HLK_OK && dry)
		cli_say("would put back %zu dead letters of queue %s", chosen.count, queue);
	const size_t piece = 1000;
	for (size_t at = 0; code == HLK_OK && !dry && at < chosen.count; at += piece) {
		uint64_t count = 0;
		code = hlk_dlq_redrive_tasks(cli->client, chosen.tasks + at, (uint32_t)MIN_OF(piece, chosen.count - at), &count);
		done += count;
	}
	free(chosen.tasks);
	if (code != HLK_OK)
		return cli_failed(cli, code, "redrive of queue %s", queue);
	return dry ? CLI_OK : dlq_done(cli, "redriven", done);
}

static int dlq_redrive(struct cli *cli)
{
	const struct args *args = &cli->args;
	bool rate = args_number(args, "rate") > 0, dry = args_number(args, "dry-run") > 0;
	if (rate && args->list_count > 0)
		return cli_usage(cli, "--rate goes with a queue, --type and --code, not with --id");
	if (args_number(args, "detach") && !rate)
		return cli_usage(cli, "--detach goes with --rate");
	if (args->list_count > 0 || ((!rate || dry) && (args_text(args, "type") || args_text(args, "code")))) {
		int connected = cli_connect(cli);
		return connected == CLI_OK ? redrive_chosen(cli, args_number(args, "limit")) : connected;
	}
	uint64_t count = 0, limit = args_number(&cli->args, "limit");
	bool go_on;
	int code = dead_look(cli, "put back", limit, &count, &go_on);
	if (code != CLI_OK || !go_on)
		return code;
	if (rate)
		return redrive_in_broker(cli, count);
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
	"A single one: hillock task retry ID. With --rate the broker does it, for the letters that are there now: it goes on when this\n"
	"command is interrupted, and over restarts. hillock dlq jobs shows it, hillock dlq stop ends it.",
	"hillock dlq redrive mail --code DEPENDENCY --rate 50\tone kind of failure, fifty in a second\n"
	"hillock dlq redrive mail --rate 100 --detach\tin the background\n"
	"hillock dlq redrive mail --limit 10\tten at first, to see whether the cause is gone\n"
	"hillock dlq redrive mail\tall of them", redrive_options, dlq_redrive,
};

const struct command dlq_purge_command = {
	"dlq", "purge", "QUEUE", 1, 1, "drops the dead letters of a queue for good", NULL,
	"hillock dlq purge mail --dry-run\thow many would go\nhillock dlq purge mail --yes\tin a script", purge_options,
	dlq_purge,
};
