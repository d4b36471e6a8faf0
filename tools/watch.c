/* tools/watch.c: `hillock task watch`: what becomes known of a task while it runs, as it comes, and then its outcome.
 *
 * Every update is one JSON object on a line of its own, whatever -o says: a stream has no table. */
#include "commands.h"

#include "input.h"

static const struct option watch_options[] = {
	{ "from", OPTION_COUNT, 0, "N", "0", 0, UINT32_MAX, "the first yield wanted: one more than the last that is there" },
	{ 0 },
};

void update_print(struct hlk *c, const struct hlk_update *update, void *ctx)
{
	(void)ctx;
	static const char *const names[] = { [HLK_PROGRESS] = "progress", [HLK_LOG] = "log", [HLK_YIELD] = "yield",
					     [HLK_STATE] = "state" };
	json_t *object = json_object();
	cli_set(object, "id", cli_integer(update->task));
	cli_set(object, "update", json_string(names[update->kind]));
	if (update->kind == HLK_PROGRESS)
		cli_set(object, "progress", json_real(update->progress));
	if (update->kind == HLK_LOG)
		cli_set(object, "level", json_integer(update->level));
	if (update->kind == HLK_YIELD)
		cli_set(object, "number", json_integer(update->number));
	if (update->kind == HLK_STATE) {
		cli_set(object, "state", json_string(update->state));
		cli_set(object, "attempt", json_integer(update->number));
	} else {
		input_describe(c, object, update->kind == HLK_YIELD ? "item" : "text", update->item_kind, update->data, update->size);
	}
	if (update->code != HLK_OK)
		cli_set(object, "code", json_string(hlk_error_name(update->code)));
	(void)json_dumpf(object, stdout, JSON_COMPACT);
	(void)fputc('\n', stdout);
	(void)fflush(stdout);
	json_decref(object);
}

static int watch_run(struct cli *cli)
{
	uint64_t task;
	struct hlk_result result;
	int code = cli_task_id(cli, 0, &task);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	hlk_on_update(cli->client, update_print, cli);
	int deadline = args_given(&cli->args, "timeout") ? cli->timeout_ms : HLK_FOREVER;
	code = hlk_await_updates_wait(cli->client, task, (uint32_t)args_number(&cli->args, "from"), deadline, &result);
	if (code != HLK_OK)
		return cli_failed(cli, code, "task %llu", (unsigned long long)task);
	json_t *object = json_object();
	result_set(cli->client, object, &result);
	(void)json_dumpf(object, stdout, JSON_COMPACT);
	(void)fputc('\n', stdout);
	json_decref(object);
	return result.code == HLK_OK ? CLI_OK : CLI_PARTIAL;
}

const struct command task_watch_command = {
	"task", "watch", "ID", 1, 1, "prints progress, log lines and yields of a task as they come, then its outcome",
	"One JSON object per line. Yields are complete and in order, also those from before; the rest is what happens from now\n"
	"on. Exit code 3: the task ended, but not as done.",
	"hillock task watch 4711\teverything, from the first yield on\n"
	"hillock task watch 4711 --from 500\tgoes on where another process stopped",
	watch_options, watch_run,
};
