/* tools/task.c: `hillock task`: look at single tasks, wait for them, cancel and retry them.
 *
 * Also owns how a task looks in every listing (queue peek and dlq use the same row). */
#include "commands.h"

#include "input.h"

json_t *cli_task_json(struct cli *cli, const struct hlk_task_row *row)
{
	json_t *object = json_object();
	cli_set(object, "id", cli_integer(row->task));
	cli_set(object, "state", json_string(row->state));
	output_set_bytes(object, "type", row->type, strlen(row->type));
	output_set_bytes(object, "queue", row->queue, strlen(row->queue));
	cli_set(object, "priority", json_integer(row->priority > 0 ? row->priority - 1 : 0)); /* 0..31, as submit takes it */
	cli_set(object, "submitted_ms", cli_integer(row->submitted_ms));
	cli_set(object, "ready_ms", cli_integer(row->ready_ms));
	cli_set(object, "expires_ms", cli_integer(row->expires_ms));
	cli_set(object, "settled_ms", cli_integer(row->settled_ms));
	cli_set(object, "acquired", json_integer(row->acquired));
	cli_set(object, "failed", json_integer(row->failed));
	cli_set(object, "max_attempts", json_integer(row->max_attempts));
	cli_set(object, "size", json_integer(row->size));
	cli_set(object, "code", json_string(hlk_error_name(row->code)));
	cli_set(object, "app_code", json_integer(row->app_code));
	if (row->key && row->key[0])
		output_set_bytes(object, "key", row->key, strlen(row->key));
	if (row->reason && row->reason[0])
		output_set_bytes(object, "reason", row->reason, strlen(row->reason));
	if (row->worker && row->worker[0])
		output_set_bytes(object, "worker", row->worker, strlen(row->worker));
	if (row->phase && row->phase[0])
		cli_set(object, "phase", json_string(row->phase));
	if (row->progress > 0)
		cli_set(object, "progress", json_real(row->progress));
	if (row->progress_text && row->progress_text[0])
		output_set_bytes(object, "progress_text", row->progress_text, strlen(row->progress_text));
	if (row->yields > 0)
		cli_set(object, "yields", json_integer(row->yields));
	if (row->parent)
		cli_set(object, "parent", cli_integer(row->parent));
	if (row->root)
		cli_set(object, "root", cli_integer(row->root));
	if (row->waits) {
		cli_set(object, "waits", json_integer(row->waits));
		cli_set(object, "waits_for", cli_integer(row->waits_for));
	}
	if (row->group && row->group[0])
		output_set_bytes(object, "group", row->group, strlen(row->group));
	if (row->after_group && row->after_group[0])
		output_set_bytes(object, "after_group", row->after_group, strlen(row->after_group));
	json_t *attempts = row->attempt_count > 0 ? json_array() : NULL;
	for (size_t i = 0; i < row->attempt_count; i++) {
		const struct hlk_attempt_row *a = &row->attempts[i];
		json_t *one = json_object();
		cli_set(one, "attempt", json_integer(a->attempt));
		cli_set(one, "time_ms", cli_integer(a->time_ms));
		cli_set(one, "code", json_string(hlk_error_name(a->code)));
		cli_set(one, "app_code", json_integer(a->app_code));
		output_set_bytes(one, "worker", a->worker, strlen(a->worker));
		output_set_bytes(one, "text", a->text, strlen(a->text));
		(void)json_array_append_new(attempts, one);
	}
	if (attempts)
		cli_set(object, "attempts", attempts);
	if (row->result_size > 0 || strcmp(row->state, "done") == 0)
		input_describe(cli->client, object, "result", row->result_kind, row->result, row->result_size);
	if (row->payload_size > 0)
		input_describe(cli->client, object, "payload", row->payload_kind, row->payload, row->payload_size);
	return object;
}

const struct column cli_task_columns[] = {
	{ "id", "ID", COLUMN_NUMBER },		{ "state", "STATE", COLUMN_STATE },
	{ "type", "TYPE", COLUMN_TEXT },	{ "queue", "QUEUE", COLUMN_TEXT },
	{ "priority", "PRIO", COLUMN_NUMBER },	{ "failed", "FAILED", COLUMN_NUMBER },
	{ "size", "SIZE", COLUMN_NUMBER },	{ "submitted_ms", "SUBMITTED", COLUMN_TIME },
	{ "reason", "REASON", COLUMN_TEXT },
};
const uint32_t cli_task_column_count = COUNT_OF(cli_task_columns);

const struct column cli_task_fields[] = {
	{ "id", "id", COLUMN_NUMBER },
	{ "state", "state", COLUMN_STATE },
	{ "type", "type", COLUMN_TEXT },
	{ "queue", "queue", COLUMN_TEXT },
	{ "key", "key", COLUMN_TEXT },
	{ "priority", "priority", COLUMN_NUMBER },
	{ "submitted_ms", "submitted", COLUMN_TIME },
	{ "ready_ms", "ready", COLUMN_TIME },
	{ "expires_ms", "expires", COLUMN_TIME },
	{ "settled_ms", "settled", COLUMN_TIME },
	{ "acquired", "handed out", COLUMN_NUMBER },
	{ "failed", "failed attempts", COLUMN_NUMBER },
	{ "max_attempts", "max attempts", COLUMN_NUMBER },
	{ "worker", "worker", COLUMN_TEXT },
	{ "phase", "phase", COLUMN_STATE },
	{ "progress", "progress", COLUMN_DECIMAL },
	{ "progress_text", "progress text", COLUMN_TEXT },
	{ "yields", "yields", COLUMN_NUMBER },
	{ "parent", "parent", COLUMN_NUMBER },
	{ "root", "root", COLUMN_NUMBER },
	{ "waits", "comes after, not final", COLUMN_NUMBER },
	{ "waits_for", "the first of them", COLUMN_NUMBER },
	{ "group", "member of group", COLUMN_TEXT },
	{ "after_group", "waits for group", COLUMN_TEXT },
	{ "code", "code", COLUMN_TEXT },
	{ "app_code", "app code", COLUMN_NUMBER },
	{ "reason", "reason", COLUMN_TEXT },
	{ "size", "payload bytes", COLUMN_NUMBER },
	{ "payload", "payload", COLUMN_TEXT },
	{ "result", "result", COLUMN_TEXT },
};
const uint32_t cli_task_field_count = COUNT_OF(cli_task_fields);

void cli_task_row(const struct hlk_task_row *row, void *ctx)
{
	struct cli *cli = ctx;
	cli->row_count++;
	output_row(&cli->out, cli_task_json(cli, row));
}

static void task_one(const struct hlk_task_row *row, void *ctx)
{
	struct cli *cli = ctx;
	output_one(&cli->out, cli_task_fields, cli_task_field_count, cli_task_json(cli, row));
}

static const struct option ls_options[] = {
	{ "queue", OPTION_TEXT, 'q', "QUEUE", NULL, 0, 0, "only tasks of this queue" },
	{ "state", OPTION_CHOICE, 0, "scheduled|ready|leased|started|done|failed|cancelled|expired|lost|dead", NULL, 0, 0,
	  "only tasks in this state" },
	{ "limit", OPTION_COUNT, 'n', "N", "100", 1, 0, "how many at most" },
	{ "all", OPTION_FLAG, 0, NULL, NULL, 0, 0, "every one, page by page" },
	{ 0 },
};

int cli_task_list(struct cli *cli, const char *queue, const char *state, uint64_t limit)
{
	uint64_t cursor = 0;
	int code = HLK_OK;
	output_begin(&cli->out, cli_task_columns, cli_task_column_count);
	do {
		uint32_t page = (uint32_t)MIN_OF(limit, (uint64_t)100);
		size_t before = cli->row_count;
		code = hlk_task_list(cli->client, queue ? queue : "", state ? state : "", page, &cursor, cli_task_row, cli);
		limit -= MIN_OF(limit, (uint64_t)(cli->row_count - before));
	} while (code == HLK_OK && cursor != 0 && limit > 0 && !output_broken(&cli->out));
	if (code != HLK_OK)
		return cli_failed(cli, code, "tasks%s%s", queue ? " of queue " : "", queue ? queue : "");
	output_end(&cli->out);
	return CLI_OK;
}

static int task_ls(struct cli *cli)
{
	uint64_t limit = args_number(&cli->args, "all") ? UINT64_MAX : args_number(&cli->args, "limit");
	int code = cli_connect(cli);
	return code == CLI_OK ? cli_task_list(cli, args_text(&cli->args, "queue"), args_text(&cli->args, "state"), limit) : code;
}

const struct command task_ls_command = {
	"task", "ls", "", 0, 0, "lists tasks that are waiting, in work, or kept with their result", NULL,
	"hillock task ls --queue mail --state ready\twhat waits in one queue\n"
	"hillock task ls --state started -o jsonl\twhat is in work now, one JSON object per line",
	ls_options, task_ls,
};

static int task_show(struct cli *cli)
{
	uint64_t task;
	int code = cli_task_id(cli, 0, &task);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_task_show(cli->client, task, task_one, cli);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "task %llu", (unsigned long long)task);
}

const struct command task_show_command = {
	"task", "show", "ID", 1, 1, "shows everything the broker knows about one task", NULL,
	"hillock task show 4711\tstate, attempts, worker, payload and result\n"
	"hillock task show 4711 -o json | jq -r .state\tonly its state, for a script",
	NULL, task_show,
};

static const struct column result_fields[] = {
	{ "id", "id", COLUMN_NUMBER },	     { "state", "state", COLUMN_STATE },
	{ "code", "code", COLUMN_TEXT },     { "app_code", "app code", COLUMN_NUMBER },
	{ "failed", "failed attempts", COLUMN_NUMBER }, { "result", "result", COLUMN_TEXT },
	{ "error", "error", COLUMN_TEXT },
};

void result_set(struct hlk *c, json_t *object, const struct hlk_result *result)
{
	cli_set(object, "id", cli_integer(result->task));
	cli_set(object, "state", json_string(result->state && result->state[0] ? result->state : "unknown"));
	cli_set(object, "code", json_string(hlk_error_name(result->code)));
	cli_set(object, "app_code", json_integer(result->app_code));
	cli_set(object, "failed", json_integer(result->failed));
	if (result->code == HLK_OK)
		input_describe(c, object, "result", result->kind, result->data, result->size);
	else
		output_set_bytes(object, "error", result->data, result->size);
}

static const struct option wait_options[] = {
	{ "file", OPTION_TEXT, 'f', "FILE", NULL, 0, 0, "the result goes into this file, once it has been checked; - is standard output" },
	{ 0 },
};

static int task_wait(struct cli *cli)
{
	uint64_t task;
	struct hlk_result result;
	int code = cli_task_id(cli, 0, &task);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	int deadline = args_given(&cli->args, "timeout") ? cli->timeout_ms : HLK_FOREVER;
	code = hlk_await_wait(cli->client, task, deadline, &result);
	if (code != HLK_OK)
		return cli_failed(cli, code, "task %llu", (unsigned long long)task);
	json_t *object = json_object();
	const char *file = args_text(&cli->args, "file");
	if (!file)
		input_fetch_small(cli, &result);
	result_set(cli->client, object, &result);
	if (file && result.code == HLK_OK) {
		code = input_save(cli, result.kind, result.data, result.size, file);
		cli_set(object, "result", json_string(file));
		if (code != CLI_OK || strcmp(file, "-") == 0) {
			json_decref(object);
			return code;
		}
	}
	output_one(&cli->out, result_fields, COUNT_OF(result_fields), object);
	return result.code == HLK_OK ? CLI_OK : CLI_PARTIAL;
}

const struct command task_wait_command = {
	"task", "wait", "ID", 1, 1, "waits until a task is final and prints its outcome",
	"Any process may wait for any task, also one that ended long ago, as long as its result is kept.\n"
	"Without --timeout it waits for ever. Exit code 3: the task ended, but not as done.",
	"hillock task wait 4711 --timeout 1m\tat most a minute (exit code 4 when that passes)\n"
	"hillock task wait 4711 --file out.tif\ta result of any size, into a file",
	wait_options, task_wait,
};

static const struct option cancel_options[] = {
	{ "reason", OPTION_TEXT, 0, "TEXT", "cancelled by hand", 0, 0, "kept with the task" },
	{ "tree", OPTION_FLAG, 0, NULL, NULL, 0, 0, "with everything below it" },
	{ 0 },
};

/* What can be done to single tasks: the verb, and how it is told. */
struct deed {
	const char *key, *what; /* "cancelled", "cancel" */
	int (*one)(struct cli *cli, uint64_t task);
};

static int cancel_one(struct cli *cli, uint64_t task)
{
	const char *reason = args_text(&cli->args, "reason");
	uint64_t count;
	return args_number(&cli->args, "tree") ? hlk_task_cancel_tree(cli->client, task, reason, &count)
					       : hlk_task_cancel(cli->client, task, reason);
}

static int retry_one(struct cli *cli, uint64_t task) { return hlk_task_retry(cli->client, task); }
static int interrupt_one(struct cli *cli, uint64_t task) { return hlk_task_interrupt(cli->client, task, ""); }
static int pause_one(struct cli *cli, uint64_t task) { return hlk_task_pause(cli->client, task); }
static int resume_one(struct cli *cli, uint64_t task) { return hlk_task_resume(cli->client, task); }
static int step_one(struct cli *cli, uint64_t task) { return hlk_task_step(cli->client, task); }

/* Does one deed for every id on the command line; says which ones failed and goes on. */
static int each_task(struct cli *cli, const struct deed *deed)
{
	uint32_t done = 0, count = cli->args.plain_count;
	uint64_t task;
	int code = CLI_OK, failed = CLI_OK;
	for (uint32_t i = 0; i < count && code == CLI_OK; i++)
		code = cli_task_id(cli, i, &task);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	for (uint32_t i = 0; i < count; i++) {
		if (cli_task_id(cli, i, &task) != CLI_OK)
			return CLI_USAGE;
		code = deed->one(cli, task);
		if (code == HLK_OK)
			done++;
		else
			failed = cli_failed(cli, code, "%s of task %llu", deed->what, (unsigned long long)task);
	}
	json_t *object = json_object();
	cli_set(object, deed->key, json_integer(done));
	cli_set(object, "refused", json_integer(count - done));
	const struct column fields[] = { { deed->key, deed->key, COLUMN_NUMBER }, { "refused", "refused", COLUMN_NUMBER } };
	output_one(&cli->out, fields, COUNT_OF(fields), object);
	return done == count ? CLI_OK : done > 0 ? CLI_PARTIAL : failed;
}

#define DEED(name, key)                                                                \
	static int task_##name(struct cli *cli)                                        \
	{                                                                              \
		return each_task(cli, &(const struct deed){ key, #name, name##_one }); \
	}
DEED(cancel, "cancelled")
DEED(retry, "retried")
DEED(interrupt, "interrupted")
DEED(pause, "asked")
DEED(resume, "asked")
DEED(step, "asked")

const struct command task_cancel_command = {
	"task", "cancel", "ID...", 1, ARGS_PLAIN, "cancels tasks; one in work is withdrawn from its worker", NULL,
	"hillock task cancel 4711 4712\ttwo tasks; exit code 3 when only one could be cancelled\n"
	"hillock task cancel 4711 --tree\tit and everything below it\n"
	"hillock task ls -q mail --state ready -o jsonl | jq .id | xargs hillock task cancel\teverything that waits",
	cancel_options, task_cancel,
};

const struct command task_interrupt_command = {
	"task", "interrupt", "ID...", 1, ARGS_PLAIN, "stops tasks and everything below them at once", NULL,
	"hillock task interrupt 4711\tits workers are told to stop where they are", NULL, task_interrupt,
};

const struct command task_pause_command = {
	"task", "pause", "ID...", 1, ARGS_PLAIN, "asks the workers of tasks to pause; task show says when they do", NULL,
	"hillock task pause 4711\tits phase is pausing, and paused once the worker has said so", NULL, task_pause,
};

const struct command task_resume_command = {
	"task", "resume", "ID...", 1, ARGS_PLAIN, "asks the workers of paused tasks to go on", NULL,
	"hillock task resume 4711\tgoes on where it paused", NULL, task_resume,
};

const struct command task_step_command = {
	"task", "step", "ID...", 1, ARGS_PLAIN, "asks the workers of paused tasks to go on to their next stop", NULL,
	"hillock task step 4711\tone step, then it pauses again", NULL, task_step,
};

static const struct option tree_options[] = {
	{ "limit", OPTION_COUNT, 'n', "N", "1000", 1, 1000, "how many at most" },
	{ 0 },
};

static int task_tree(struct cli *cli)
{
	uint64_t task;
	int code = cli_task_id(cli, 0, &task);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, cli_task_columns, cli_task_column_count);
	code = hlk_task_tree(cli->client, task, (uint32_t)args_number(&cli->args, "limit"), cli_task_row, cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "task %llu", (unsigned long long)task);
	output_end(&cli->out);
	return CLI_OK;
}

const struct command task_tree_command = {
	"task", "tree", "ID", 1, 1, "lists a task and everything below it, parents first", NULL,
	"hillock task tree 4711 -o jsonl | jq 'select(.state == \"started\") | .id'\twhat of it is in work", tree_options, task_tree,
};

const struct command task_retry_command = {
	"task", "retry", "ID...", 1, ARGS_PLAIN, "puts failed or dead tasks back into their queue", NULL,
	"hillock task retry 4711\tone more try, with its attempts counted anew", NULL, task_retry,
};
