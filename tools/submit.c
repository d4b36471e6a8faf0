/* tools/submit.c: `hillock submit`: tasks out of a text, a file, standard input, or one per line of it.
 *
 * A single task is confirmed (and with --wait, final) before its line is printed. --lines pipelines: it keeps the
 * client's window full and prints what came back.
 *
 * Invariants:
 * 1. Every task that was read is counted exactly once: confirmed or refused; with --wait also ended.
 * 2. At most WAITING_MAX lines are unresolved, whatever the length of the input.
 * 3. The exit code is CLI_OK only where every task was confirmed and, with --wait, ended as done. */
#include "commands.h"

#include <errno.h>

#include "../wire/limits.h"
#include "../wire/span.h"
#include "input.h"
#include "progress.h"

enum { WAITING_MAX = 4096 };

static const struct option options[] = {
	{ "queue", OPTION_TEXT, 'q', "QUEUE", NULL, 0, 0, "default: the queue named like the type" },
	{ "payload", OPTION_TEXT, 'p', "TEXT", NULL, 0, 0, "the payload itself" },
	{ "file", OPTION_TEXT, 'f', "FILE", NULL, 0, 0, "the payload is this file; - is standard input" },
	{ "lines", OPTION_FLAG, 0, NULL, NULL, 0, 0, "one task for each line of the input, without its line end" },
	{ "key", OPTION_TEXT, 'k', "KEY", NULL, 0, 0, "idempotency key: the same key again gives the same task" },
	{ "priority", OPTION_COUNT, 0, "N", "4", 0, LIMIT_PRIORITY, "0 to 31, 31 is served first" },
	{ "delay", OPTION_DURATION, 0, "D", "0", 0, 0, "not before this long from now" },
	{ "expires", OPTION_DURATION, 0, "D", "0", 0, 0, "not after this long from now; 0: the queue's setting" },
	{ "execution", OPTION_DURATION, 0, "D", "0", 0, 0, "hard limit of one attempt; 0: none" },
	{ "require", OPTION_TEXT, 0, "PREDICATE", NULL, 0, 0, "what a worker must have declared, as in 'vram_gb >= 40'" },
	{ "order-key", OPTION_TEXT, 0, "KEY", NULL, 0, 0, "tasks of one key are done in order, one at a time" },
	{ "hot", OPTION_TEXT, 0, "NAME", NULL, 0, 0, "prefer workers that have this warm (queue set --selection hot)" },
	{ "sticky", OPTION_TEXT, 0, "KEY", NULL, 0, 0, "prefer one worker for equal keys (queue set --selection sticky)" },
	{ "max-attempts", OPTION_COUNT, 0, "N", "0", 0, 65535, "failed attempts allowed; 0: the queue's setting" },
	{ "retention", OPTION_DURATION, 0, "D", "0", 0, 0, "how long the result is kept; 0: the queue's setting" },
	{ "header", OPTION_LIST, 'H', "NAME=VALUE", NULL, 0, 0, "carried to the worker; may be given again" },
	{ "fingerprint", OPTION_TEXT, 0, "HEX", NULL, 0, 0, "of the payload's schema, as type show prints it" },
	{ "wait", OPTION_FLAG, 'w', NULL, NULL, 0, 0, "wait for the result; for ever, or for --timeout where given" },
	{ "updates", OPTION_FLAG, 'u', NULL, NULL, 0, 0, "with --wait: progress, log lines and yields, one JSON object each" },
	{ "parent", OPTION_COUNT, 0, "ID", "0", 0, 0, "a task held by this client, of which these are part" },
	{ "never-again", OPTION_FLAG, 0, NULL, NULL, 0, 0, "handed out once; ends as lost when its worker is lost" },
	{ "again", OPTION_FLAG, 0, NULL, NULL, 0, 0, "handed out again when its worker is lost, though its queue says never" },
	{ "heartbeat", OPTION_DURATION, 0, "D", "0", 0, 0, "its worker must be heard of it this often; 0: the queue's setting" },
	{ "close", OPTION_DURATION, 0, "D", "0", 0, 0, "final after this long, whatever happens; 0: no limit" },
	{ "worker", OPTION_TEXT, 0, "IDENTITY", NULL, 0, 0, "only for the worker of this identity" },
	{ "fail-fast", OPTION_FLAG, 0, NULL, NULL, 0, 0, "refused at once where no live worker, free or not, could take it" },
	{ "after", OPTION_TEXT, 0, "ID[,ID...]", NULL, 0, 0, "start when these tasks are final; a bad end cancels it" },
	{ "chain", OPTION_FLAG, 0, NULL, NULL, 0, 0, "with --lines: each task comes after that of the line before" },
	{ "group", OPTION_TEXT, 0, "NAME", NULL, 0, 0, "member of this group; it is made by its first one" },
	{ "after-group", OPTION_TEXT, 0, "NAME", NULL, 0, 0, "start when all members of the group are final" },
	{ "group-size", OPTION_COUNT, 0, "N", "0", 0, 0, "with --after-group: how many members; 0: those there are" },
	{ "callback", OPTION_TEXT, 0, "TYPE", NULL, 0, 0, "with --lines and --group: this task when all lines are final" },
	{ "on-failure", OPTION_CHOICE, 0, "cancel|run", "cancel", 0, 0, "when something it (or the callback) comes after ends badly" },
	{ "dry-run", OPTION_FLAG, 0, NULL, NULL, 0, 0, "check everything, submit nothing" },
	{ 0 },
};

/* What the command line asked for. */
struct request {
	struct hlk_submit_options options;
	struct hlk_header headers[LIMIT_HEADERS];
	char header_names[LIMIT_HEADERS][256];
	const char *text, *file, *callback;
	bool lines, wait, chain;
	int wait_ms;
	uint64_t after[LIMIT_AFTER];
};

/* A --lines run: one struct line per unresolved task. */
struct run {
	struct cli *cli;
	const struct request *request;
	struct progress progress;
	uint64_t read, confirmed, duplicates, refused, done, failed, first, last;
	uint32_t waiting;
	uint64_t connected_ns; /* when we last were */
	char refusal[256];
};
struct line {
	struct run *run;
	uint64_t number;
};

static const struct column one_fields[] = {
	{ "id", "id", COLUMN_NUMBER },		{ "state", "state", COLUMN_STATE },
	{ "duplicate", "duplicate", COLUMN_TEXT }, { "code", "code", COLUMN_TEXT },
	{ "app_code", "app code", COLUMN_NUMBER }, { "failed", "failed attempts", COLUMN_NUMBER },
	{ "result", "result", COLUMN_TEXT },	{ "error", "error", COLUMN_TEXT },
};
static const struct column line_columns[] = {
	{ "line", "LINE", COLUMN_NUMBER },  { "id", "ID", COLUMN_NUMBER },    { "state", "STATE", COLUMN_STATE },
	{ "result", "RESULT", COLUMN_TEXT }, { "error", "ERROR", COLUMN_TEXT },
};
static const struct column summary_fields[] = {
	{ "tasks", "tasks", COLUMN_NUMBER },	     { "confirmed", "confirmed", COLUMN_NUMBER },
	{ "duplicates", "duplicates", COLUMN_NUMBER }, { "refused", "refused", COLUMN_NUMBER },
	{ "done", "done", COLUMN_NUMBER },	     { "failed", "failed", COLUMN_NUMBER },
	{ "first", "first id", COLUMN_NUMBER },	     { "last", "last id", COLUMN_NUMBER },
};

/* Ids with commas between them. */
static int after_read(struct cli *cli, struct request *request)
{
	const char *at = args_text(&cli->args, "after");
	for (size_t *n = &request->options.after_count; at && *at;) {
		char *end = NULL;
		if (*n == COUNT_OF(request->after))
			return cli_usage(cli, "--after: more than %d tasks", LIMIT_AFTER);
		request->after[(*n)++] = strtoull(at, &end, 10);
		if (end == at || (*end != ',' && *end != '\0'))
			return cli_usage(cli, "--after %.60s: expected ids of tasks, with commas between them", at);
		at = *end ? end + 1 : end;
	}
	request->options.after = request->after;
	request->options.worker = args_text(&cli->args, "worker");
	request->options.fail_fast = args_number(&cli->args, "fail-fast");
	request->chain = args_number(&cli->args, "chain");
	request->callback = args_text(&cli->args, "callback");
	request->options.group = args_text(&cli->args, "group");
	request->options.after_group = args_text(&cli->args, "after-group");
	request->options.group_size = args_number(&cli->args, "group-size");
	request->options.run_on_failure = strcmp(args_text(&cli->args, "on-failure"), "run") == 0;
	if (request->chain && !request->lines)
		return cli_usage(cli, "--chain goes with --lines");
	if (request->callback && !(request->lines && request->options.group))
		return cli_usage(cli, "--callback goes with --lines and --group");
	if (request->lines && request->options.after_group)
		return cli_usage(cli, "--after-group makes one task, --lines many");
	return CLI_OK;
}

static int request_read(struct cli *cli, struct request *request)
{
	const struct args *args = &cli->args;
	bool dash = args->plain_count == 2 && strcmp(args->plain[1], "-") == 0;
	if (args->plain_count == 2 && !dash)
		return cli_usage(cli, "%.60s: the payload goes into --payload, --file or -", args->plain[1]);
	request->text = args_text(args, "payload");
	request->file = dash ? "-" : args_text(args, "file");
	if (request->text && request->file)
		return cli_usage(cli, "--payload and a file are two payloads: choose one");
	request->lines = args_number(args, "lines");
	request->wait = args_number(args, "wait");
	request->wait_ms = args_given(args, "timeout") ? cli->timeout_ms : HLK_FOREVER;
	if (request->lines && (args_given(args, "key") || request->text))
		return cli_usage(cli, "--lines makes many tasks: it goes with a file or -, not with --key or --payload");
	request->options = (struct hlk_submit_options){
		.type = args->plain[0],
		.queue = args_text(args, "queue"),
		.key = args_text(args, "key"),
		.priority = (int)args_number(args, "priority") + 1,
		.delay_ms = args_number(args, "delay"),
		.expires_ms = args_number(args, "expires"),
		.execution_ms = args_number(args, "execution"),
		.retention_ms = args_number(args, "retention"),
		.max_attempts = (uint32_t)args_number(args, "max-attempts"),
		.want_updates = request->wait && args_number(args, "updates"),
		.never_again = args_number(args, "never-again"),
		.again = args_number(args, "again"),
		.parent = args_number(args, "parent"),
		.heartbeat_ms = args_number(args, "heartbeat"),
		.close_ms = args_number(args, "close"),
		.want_result = request->wait, /* also what keeps the result until we have it */
		.requirements = args_text(args, "require"),
		.order_key = args_text(args, "order-key"),
		.hot = args_text(args, "hot"),
		.sticky = args_text(args, "sticky"),
		.headers = request->headers,
		.header_count = args->list_count,
	};
	int code = after_read(cli, request);
	if (code != CLI_OK)
		return code;
	const char *fingerprint = args_text(args, "fingerprint");
	char *end = NULL;
	if (fingerprint)
		request->options.fingerprint = strtoull(fingerprint, &end, 16);
	if (fingerprint && (*end != '\0' || end == fingerprint))
		return cli_usage(cli, "--fingerprint %.60s: expected a hexadecimal number", fingerprint);
	for (uint32_t i = 0; i < args->list_count; i++) {
		const char *equals = strchr(args->list[i], '=');
		size_t len = equals ? (size_t)(equals - args->list[i]) : 0;
		if (len == 0 || len >= sizeof request->header_names[i])
			return cli_usage(cli, "--header %.60s: expected NAME=VALUE", args->list[i]);
		memcpy(request->header_names[i], args->list[i], len);
		request->headers[i] = (struct hlk_header){ request->header_names[i], equals + 1 };
	}
	struct hlk_error error = { 0 };
	struct hlk_head *head = hlk_head_new(&request->options, &error);
	if (!head)
		return cli_usage(cli, "%s", error.text);
	hlk_head_free(head);
	return CLI_OK;
}

static FILE *input_open(const char *file)
{
	if (!file || strcmp(file, "-") == 0)
		return stdin;
	FILE *input = fopen(file, "re");
	if (!input)
		cli_say("%s: %m", file);
	return input;
}

static void input_close(FILE *input)
{
	if (input != stdin)
		(void)fclose(input);
}

static void state_get(const struct hlk_task_row *row, void *ctx)
{
	cli_set(ctx, "state", json_string(row->state));
}

/* Connects, uploads what is large, submits. */
static int submit_input(struct cli *cli, const struct request *request, struct input *in, uint64_t *task, bool *duplicate)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	if (request->options.want_updates)
		hlk_on_update(cli->client, update_print, cli);
	code = input_send(cli, in);
	if (code != CLI_OK)
		return code;
	code = hlk_submit_payload_wait(cli->client, &request->options, &in->payload, cli->timeout_ms, task, duplicate);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "submit %s", request->options.type);
}

static int submit_one(struct cli *cli, const struct request *request)
{
	struct input in;
	uint64_t task = 0;
	bool duplicate = false, dry = args_number(&cli->args, "dry-run");
	int code = input_read(cli, request->text, request->file, &in);
	if (code == CLI_OK && dry && in.size == UINT64_MAX)
		cli_say("would submit one %s of more than %zu bytes", request->options.type, in.small.len);
	else if (code == CLI_OK && dry)
		cli_say("would submit one %s of %llu bytes", request->options.type, (unsigned long long)in.size);
	else if (code == CLI_OK)
		code = submit_input(cli, request, &in, &task, &duplicate);
	input_free(&in);
	if (code != CLI_OK || dry)
		return code;
	json_t *object = json_object();
	cli_set(object, "id", cli_integer(task));
	cli_set(object, "state", json_string(request->options.delay_ms > 0 ? "scheduled" : "ready"));
	cli_set(object, "duplicate", json_boolean(duplicate));
	int ended = CLI_OK;
	struct hlk_result result;
	if (request->wait && (code = hlk_await_wait(cli->client, task, request->wait_ms, &result)) != HLK_OK) {
		ended = cli_failed(cli, code, "waiting for task %llu", (unsigned long long)task);
		ended = ended == CLI_UNAVAILABLE ? CLI_UNAVAILABLE : CLI_PARTIAL;
	} else if (request->wait) {
		input_fetch_small(cli, &result);
		result_set(cli->client, object, &result);
		ended = result.code == HLK_OK ? CLI_OK : CLI_PARTIAL;
	} else if (duplicate) {
		(void)hlk_task_show(cli->client, task, state_get, object);
	}
	output_one(&cli->out, one_fields, COUNT_OF(one_fields), object);
	return ended;
}

static void line_end(struct line *line, json_t *object)
{
	struct run *run = line->run;
	ENSURE(run->waiting > 0);
	run->waiting--;
	if (object && (run->request->wait || run->cli->out.format == OUTPUT_JSONL))
		output_row(&run->cli->out, object);
	else
		json_decref(object);
	free(line);
}

static void line_result(struct hlk *c, const struct hlk_result *result, void *ctx)
{
	struct line *line = ctx;
	json_t *object = json_object();
	cli_set(object, "line", cli_integer(line->number));
	result_set(c, object, result);
	if (result->code == HLK_OK)
		line->run->done++;
	else
		line->run->failed++;
	line_end(line, object);
}

static void line_confirmed(struct hlk *c, const struct hlk_confirmed *confirmed, void *ctx)
{
	struct line *line = ctx;
	struct run *run = line->run;
	json_t *object = json_object();
	cli_set(object, "line", cli_integer(line->number));
	if (confirmed->code != HLK_OK) {
		run->refused++;
		const char *text = confirmed->text && confirmed->text[0] ? confirmed->text : hlk_error_text(confirmed->code);
		(void)snprintf(run->refusal, sizeof run->refusal, "line %llu: %s (%s)",
			       (unsigned long long)line->number, text, hlk_error_name(confirmed->code));
		cli_set(object, "state", json_string("refused"));
		cli_set(object, "code", json_string(hlk_error_name(confirmed->code)));
		output_set_bytes(object, "error", text, strlen(text));
		line_end(line, object);
		return;
	}
	run->first = run->confirmed == 0 ? confirmed->task : MIN_OF(run->first, confirmed->task);
	run->last = MAX_OF(run->last, confirmed->task);
	run->confirmed++;
	run->duplicates += confirmed->duplicate;
	cli_set(object, "id", cli_integer(confirmed->task));
	cli_set(object, "state", json_string(run->request->options.delay_ms > 0 ? "scheduled" : "ready"));
	if (!run->request->wait) {
		line_end(line, object);
		return;
	}
	json_decref(object);
	int code = hlk_await(c, confirmed->task, run->request->wait_ms, line_result, line);
	if (code != HLK_OK)
		line_result(c, &(struct hlk_result){ .task = confirmed->task, .state = "unknown", .code = code }, line);
}

/* One turn. False: there was no broker for longer than --timeout, and nobody asked to wait for ever. */
static bool run_turn(struct run *run, uint64_t progress)
{
	(void)hlk_run(run->cli->client, 100);
	progress_step(&run->progress, progress);
	bool patient = run->request->wait && run->request->wait_ms == HLK_FOREVER;
	if (patient || hlk_connected(run->cli->client))
		run->connected_ns = clock_ns();
	return clock_ns() - run->connected_ns <= (uint64_t)run->cli->timeout_ms * 1000000;
}

/* What is unresolved ends here, refused as CLOSED: it may or may not have arrived. */
static int give_up(struct run *run)
{
	hlk_close(run->cli->client, 0);
	run->cli->client = NULL;
	progress_end(&run->progress);
	cli_say("no broker for %d ms: given up", run->cli->timeout_ms);
	return CLI_UNAVAILABLE;
}

/* Submits one line; waits for room while the window or the table of unresolved lines is full. */
static int line_submit(struct run *run, struct hlk_head *head, const char *text, size_t size)
{
	struct hlk *c = run->cli->client;
	struct line *line = malloc(sizeof *line);
	ENSURE(line != NULL);
	*line = (struct line){ run, ++run->read };
	int code = HLK_AGAIN;
	while (code == HLK_AGAIN) {
		code = run->waiting < WAITING_MAX ? hlk_submit(c, head, text, size, line_confirmed, line) : HLK_AGAIN;
		if (code == HLK_AGAIN) {
			(void)hlk_flush(c);
			if (!run_turn(run, run->confirmed + run->refused)) {
				run->read--; /* this one was never submitted */
				free(line);
				return give_up(run);
			}
		}
	}
	if (code != HLK_OK) {
		free(line);
		return cli_failed(run->cli, code, "line %llu", (unsigned long long)run->read);
	}
	run->waiting++;
	return CLI_OK;
}

/* `link`: of every line but the first; NULL = as the first. */
static int lines_read(struct run *run, FILE *input, struct hlk_head *head, struct hlk_head *link)
{
	char *text = NULL;
	size_t room = 0;
	ssize_t len;
	int code = CLI_OK;
	while (code == CLI_OK && (errno = 0, len = getline(&text, &room, input)) >= 0) {
		if (len > 0 && text[len - 1] == '\n')
			len--;
		if (head)
			code = line_submit(run, link && run->read > 0 ? link : head, text, (size_t)len);
		else
			run->read++;
	}
	if (code == CLI_OK && ferror(input)) {
		cli_say("%s: %m", run->request->file ? run->request->file : "standard input");
		code = CLI_USAGE;
	}
	free(text);
	return code;
}

static void summary_print(const struct run *run)
{
	json_t *object = json_object();
	cli_set(object, "tasks", cli_integer(run->read));
	cli_set(object, "confirmed", cli_integer(run->confirmed));
	cli_set(object, "duplicates", cli_integer(run->duplicates));
	cli_set(object, "refused", cli_integer(run->refused));
	cli_set(object, "first", cli_integer(run->first));
	cli_set(object, "last", cli_integer(run->last));
	output_one(&run->cli->out, summary_fields, COUNT_OF(summary_fields), object);
}

/* What runs when all lines are final: every one of them is confirmed by now. */
static int submit_callback(struct run *run)
{
	struct cli *cli = run->cli;
	const struct hlk_submit_options *o = &run->request->options;
	const struct hlk_submit_options callback = { .type = run->request->callback, .after_group = o->group,
						     .run_on_failure = o->run_on_failure, .retention_ms = o->retention_ms };
	uint64_t task = 0;
	int code = hlk_submit_wait(cli->client, &callback, "", 0, cli->timeout_ms, &task, NULL);
	if (code != HLK_OK)
		return cli_failed(cli, code, "submit %s", callback.type);
	cli_say("task %llu of type %s runs when all members of group %s are final", (unsigned long long)task, callback.type, o->group);
	return CLI_OK;
}

static int submit_lines(struct cli *cli, const struct request *request)
{
	struct run run = { .cli = cli, .request = request, .connected_ns = clock_ns() };
	bool dry = args_number(&cli->args, "dry-run");
	FILE *input = input_open(request->file);
	if (!input)
		return CLI_USAGE;
	int code = dry ? CLI_OK : cli_connect(cli);
	if (code != CLI_OK) {
		input_close(input);
		return code;
	}
	if (!dry && request->options.want_updates)
		hlk_on_update(cli->client, update_print, cli);
	struct hlk_error error = { 0 };
	struct hlk_head *head = dry ? NULL : hlk_head_new(&request->options, &error);
	ENSURE(dry || head != NULL); /* request_read has made one already */
	static const uint32_t one = 1;
	struct hlk_submit_options chained = request->options;
	chained.after_back = &one;
	chained.after_back_count = 1;
	struct hlk_head *link = dry || !request->chain ? NULL : hlk_head_new(&chained, &error);
	ENSURE(dry || !request->chain || link != NULL);
	progress_begin(&run.progress, "submitting", 0);
	output_begin(&cli->out, line_columns, COUNT_OF(line_columns));
	code = lines_read(&run, input, head, link);
	input_close(input);
	if (cli->client)
		(void)hlk_flush(cli->client);
	run.progress.label = request->wait ? "waiting" : "submitting";
	while (run.waiting > 0)
		if (!run_turn(&run, request->wait ? run.done + run.failed : run.confirmed + run.refused))
			code = give_up(&run);
	progress_end(&run.progress);
	hlk_head_free(head);
	hlk_head_free(link);
	if (code == CLI_OK && !dry && request->callback && run.confirmed > 0)
		code = submit_callback(&run);
	if (dry) {
		cli_say("would submit %llu tasks of type %s", (unsigned long long)run.read, request->options.type);
		return code;
	}
	if (request->wait)
		output_end(&cli->out);
	else if (cli->out.format != OUTPUT_JSONL)
		summary_print(&run);
	if (run.refused > 0)
		cli_say("%llu of %llu lines were refused; the last: %s", (unsigned long long)run.refused,
			(unsigned long long)run.read, run.refusal);
	if (code != CLI_OK)
		return code;
	if (run.refused > 0 && run.confirmed == 0)
		return CLI_REFUSED;
	return run.refused > 0 || run.failed > 0 ? CLI_PARTIAL : CLI_OK;
}

static int submit_run(struct cli *cli)
{
	struct request *request = calloc(1, sizeof *request);
	ENSURE(request != NULL);
	int code = request_read(cli, request);
	if (code == CLI_OK)
		code = request->lines ? submit_lines(cli, request) : submit_one(cli, request);
	free(request);
	return code;
}

const struct command submit_command = {
	"submit", NULL, "TYPE [-]", 1, 2, "submits tasks and prints their ids once they are safe on disk",
	"Without a payload option the payload is empty; - reads it from standard input. What is too big for a frame is uploaded as a blob.\n"
	"--wait prints the outcome: exit code 3 means the task was submitted but did not end as done,\n"
	"4 that --timeout passed first (the task goes on; see hillock task wait). --lines gives up when there was no broker for\n"
	"--timeout; what was confirmed until then is safe.",
	"hillock submit mail.v1.Send --payload '{\"to\": \"ann\"}'\tone task\n"
	"hillock submit mail.v1.Send --file letter.json --key letter-17\tonce, however often this runs\n"
	"tar c photos | hillock submit media.v1.Archive -\tthe payload from standard input, of any size\n"
	"hillock submit demo.v1.Upper --payload hello --wait -o json | jq -r .result\tas a remote procedure\n"
	"find /data -type f | hillock submit doc.v1.Hash - --lines --wait -o jsonl\tone task per line, results as they come\n"
	"find /data -type f | hillock submit doc.v1.Hash - --lines --group night --callback doc.v1.Report\tand one task when all are done\n"
	"hillock submit mail.v1.Send --after 17,18 --on-failure run\twhen those two are final, however they end\n"
	"hillock submit report.v1.Make --delay 2h --expires 1d --priority 20\tlater, but not too late",
	options, submit_run,
};
