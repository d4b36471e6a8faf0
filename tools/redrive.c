/* tools/redrive.c: redrives that run inside the broker: `hillock dlq redrive --rate`, `dlq jobs`, `dlq stop`. */
#include "commands.h"
#include "progress.h"

#include <unistd.h>

static const struct column columns[] = {
	{ "number", "JOB", COLUMN_NUMBER }, { "queue", "QUEUE", COLUMN_TEXT },	{ "state", "STATE", COLUMN_TEXT },
	{ "redriven", "DONE", COLUMN_NUMBER }, { "rate", "RATE", COLUMN_NUMBER }, { "limit", "LIMIT", COLUMN_NUMBER },
	{ "type", "TYPE", COLUMN_TEXT }, { "code", "CODE", COLUMN_TEXT }, { "started_ms", "STARTED", COLUMN_TIME },
	{ "ended_ms", "ENDED", COLUMN_TIME },
};

static json_t *job_json(const struct hlk_redrive_row *row)
{
	json_t *object = json_object();
	cli_set(object, "number", cli_integer(row->number));
	cli_set(object, "queue", json_string(row->queue));
	cli_set(object, "state", json_string(row->state));
	cli_set(object, "redriven", cli_integer(row->done));
	cli_set(object, "rate", cli_integer(row->rate));
	cli_set(object, "limit", cli_integer(row->limit));
	cli_set(object, "type", json_string(row->type));
	cli_set(object, "code", json_string(row->code ? hlk_error_name(row->code) : ""));
	cli_set(object, "started_ms", cli_integer(row->started_ms));
	cli_set(object, "ended_ms", cli_integer(row->ended_ms));
	return object;
}

/* The number of a class, or -1. */
static int code_of(const char *name)
{
	enum { CODES = 1000 };
	for (int code = 1; code < CODES; code++)
		if (strcmp(hlk_error_name(code), name) == 0)
			return code;
	return -1;
}

struct job_wanted {
	struct cli *cli;
	uint64_t number, done;
	bool shown, running;
};

static void job_look(const struct hlk_redrive_row *row, void *ctx)
{
	struct job_wanted *wanted = ctx;
	if (row->number != wanted->number)
		return;
	wanted->done = row->done;
	wanted->running = strcmp(row->state, "running") == 0;
	wanted->shown = true;
}

static void job_show(const struct hlk_redrive_row *row, void *ctx)
{
	struct job_wanted *wanted = ctx;
	if (row->number == wanted->number)
		output_one(&wanted->cli->out, columns, COUNT_OF(columns), job_json(row));
}

/* Looks on until it is over; whoever is interrupted here leaves it running. */
static int follow(struct cli *cli, struct job_wanted *wanted, uint64_t total)
{
	struct progress bar;
	int code = HLK_OK;
	progress_begin(&bar, "redriven", total);
	for (;;) {
		wanted->shown = false;
		code = hlk_redrive_list(cli->client, job_look, wanted);
		if (code != HLK_OK || !wanted->shown || !wanted->running)
			break;
		progress_step(&bar, wanted->done);
		(void)usleep(100000);
	}
	progress_end(&bar);
	if (code != HLK_OK)
		return cli_failed(cli, code, "redrive %llu goes on in the broker, but", (unsigned long long)wanted->number);
	const struct column field = { "redriven", "redriven", COLUMN_NUMBER };
	json_t *object = json_object();
	cli_set(object, "redriven", cli_integer(wanted->done));
	output_one(&cli->out, &field, 1, object);
	return CLI_OK;
}

int redrive_in_broker(struct cli *cli, uint64_t dead)
{
	const struct args *args = &cli->args;
	const char *name = args_text(args, "code");
	struct hlk_redrive_options o = { .type = args_text(args, "type"), .rate = (uint32_t)args_number(args, "rate"),
					 .limit = args_number(args, "limit"), .code = name ? code_of(name) : 0 };
	struct job_wanted wanted = { .cli = cli };
	if (o.code < 0)
		return cli_usage(cli, "--code %.60s: there is no such class", name);
	int code = hlk_redrive_start(cli->client, args->plain[0], &o, &wanted.number);
	if (code != HLK_OK)
		return cli_failed(cli, code, "redrive of queue %s", args->plain[0]);
	if (!args_number(args, "detach"))
		return follow(cli, &wanted, o.limit ? MIN_OF(o.limit, dead) : o.type || o.code ? 0 : dead);
	code = hlk_redrive_list(cli->client, job_show, &wanted);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "dlq jobs");
}

static void job_row(const struct hlk_redrive_row *row, void *ctx)
{
	output_row(&((struct cli *)ctx)->out, job_json(row));
}

static int jobs_run(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, columns, COUNT_OF(columns));
	code = hlk_redrive_list(cli->client, job_row, cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "dlq jobs");
	output_end(&cli->out);
	return CLI_OK;
}

static int stop_run(struct cli *cli)
{
	uint64_t number;
	int code = cli_task_id(cli, 0, &number);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_redrive_stop(cli->client, number);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "redrive %llu", (unsigned long long)number);
}

const struct command dlq_jobs_command = {
	"dlq", "jobs", "", 0, 0, "lists the redrives that run in the broker, and the last that are over",
	"They are what dlq redrive --rate begins. They go on over restarts of the broker.",
	"hillock dlq jobs\thow far they are", NULL, jobs_run,
};
const struct command dlq_stop_command = {
	"dlq", "stop", "JOB", 1, 1, "ends a redrive that runs in the broker; what it has put back stays",
	NULL, "hillock dlq stop 3\tthe rest stays dead", NULL, stop_run,
};
