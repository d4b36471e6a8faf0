/* tools/why.c: `hillock task why`: what keeps a task from being worked on. */
#include "commands.h"

static json_t *row_json(const struct hlk_why_row *row)
{
	json_t *object = json_object();
	cli_set(object, "reason", json_string(row->reason));
	if (*row->worker) {
		output_set_bytes(object, "worker", row->worker, strlen(row->worker));
		cli_set(object, "entry", json_integer(row->entry));
	}
	if (*row->predicate)
		output_set_bytes(object, "predicate", row->predicate, strlen(row->predicate));
	if (*row->predicate || *row->value)
		output_set_bytes(object, "value", row->value, strlen(row->value));
	if (*row->text)
		output_set_bytes(object, "text", row->text, strlen(row->text));
	if (row->task)
		cli_set(object, "task", cli_integer(row->task));
	if (row->at_ms)
		cli_set(object, "at_ms", cli_integer(row->at_ms));
	return object;
}

/* One sentence for people. */
static void explain(const struct hlk_why_row *row, char out[1024])
{
	const struct {
		const char *reason, *text;
	} texts[] = {
		{ "paused", "its queue is paused" },
		{ "no_entry", "nobody serves its queue" },
		{ "share", "it is the turn of others who submitted to its queue" },
		{ "no_credit", "fits, and has as much work as it asked for" },
		{ "away", "fits, and its connection is cut or does not keep up" },
		{ "in_line", "fits and is free: it is this task's turn soon" },
	};
	(void)snprintf(out, 1024, "%s", row->text);
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		if (strcmp(row->reason, texts[i].reason) == 0)
			(void)snprintf(out, 1024, "%s", texts[i].text);
	if (strcmp(row->reason, "requirement") == 0)
		(void)snprintf(out, 1024, "%.600s does not hold: %s%.200s", row->predicate,
			       *row->value ? "it has " : "it has declared nothing of that name", row->value);
	else if (strcmp(row->reason, "order") == 0)
		(void)snprintf(out, 1024, "task %llu of its ordering key goes first", (unsigned long long)row->task);
	else if (strcmp(row->reason, "after") == 0)
		(void)snprintf(out, 1024, "it comes after %.20s tasks that are not final; task %llu is one", row->text,
			       (unsigned long long)row->task);
	else if (strcmp(row->reason, "group") == 0)
		(void)snprintf(out, 1024, "it comes after group %.300s: %.100s", row->text, row->value);
	else if (strcmp(row->reason, "unreadable") == 0)
		(void)snprintf(out, 1024, "task %llu in front cannot be read from the disk", (unsigned long long)row->task);
	else if (strcmp(row->reason, "delayed") == 0 || strcmp(row->reason, "expires") == 0)
		(void)snprintf(out, 1024, "at %llu ms since 1970", (unsigned long long)row->at_ms);
}

static void why_row(const struct hlk_why_row *row, void *ctx)
{
	struct cli *cli = ctx;
	json_t *object = row_json(row);
	if (cli->out.format == OUTPUT_TABLE) {
		char text[1024];
		explain(row, text);
		output_set_bytes(object, "text", text, strlen(text));
	}
	output_row(&cli->out, object);
}

static int task_why(struct cli *cli)
{
	static const struct column columns[] = {
		{ "reason", "REASON", COLUMN_TEXT }, { "worker", "WORKER", COLUMN_TEXT }, { "text", "WHY", COLUMN_TEXT },
	};
	uint64_t task;
	int code = cli_task_id(cli, 0, &task);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, columns, COUNT_OF(columns));
	code = hlk_task_why(cli->client, task, why_row, cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "task %s", cli->args.plain[0]);
	output_end(&cli->out);
	return CLI_OK;
}

const struct command task_why_command = {
	"task", "why", "ID", 1, 1, "says what keeps a task from being worked on, worker by worker",
	"For each worker of its queue the first thing that is in the way: a requirement that does not hold, with what the worker has "
	"declared; no free credit; a cut connection. And what else is: a pause, a delay, another task of its ordering key.",
	"hillock task why 4711\ta table of reasons\n"
	"hillock task why 4711 -o json | jq -r '.[] | select(.reason == \"requirement\") | .predicate'\twhat nobody has",
	NULL, task_why,
};
