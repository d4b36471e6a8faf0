/* tools/schedule.c: `hillock schedule`: tasks at given times.
 *
 * Data flow: options -> hlk_schedule_add; rows -> output. */
#include "commands.h"

#include <time.h>

static json_t *schedule_json(const struct hlk_schedule_row *row)
{
	json_t *object = json_object();
	char when[320] = "";
	if (row->cron[0])
		(void)snprintf(when, sizeof when, "%s%s%s", row->cron, row->zone[0] ? " " : "", row->zone);
	else if (row->every_ms)
		(void)snprintf(when, sizeof when, "every %llu ms", (unsigned long long)row->every_ms);
	else
		(void)snprintf(when, sizeof when, "once");
	cli_set(object, "name", json_string(row->name));
	cli_set(object, "when", json_string(when));
	cli_set(object, "cron", json_string(row->cron));
	cli_set(object, "zone", json_string(row->zone));
	cli_set(object, "every_ms", cli_integer(row->every_ms));
	cli_set(object, "at_ms", cli_integer(row->at_ms));
	cli_set(object, "type", json_string(row->type));
	cli_set(object, "queue", json_string(row->queue));
	cli_set(object, "overlap", json_string(row->overlap));
	cli_set(object, "misfire", json_string(row->misfire));
	cli_set(object, "paused", json_boolean(row->paused));
	cli_set(object, "next_ms", cli_integer(row->next_ms));
	cli_set(object, "last_ms", cli_integer(row->last_ms));
	cli_set(object, "last_task", cli_integer(row->last_task));
	cli_set(object, "last_code", json_string(row->last_code ? hlk_error_name(row->last_code) : "OK"));
	cli_set(object, "fired_total", cli_integer(row->fired_total));
	cli_set(object, "skipped_total", cli_integer(row->skipped_total));
	cli_set(object, "created_ms", cli_integer(row->created_ms));
	return object;
}

static const struct column columns[] = {
	{ "name", "NAME", COLUMN_TEXT },	 { "when", "WHEN", COLUMN_TEXT },     { "type", "TYPE", COLUMN_TEXT },
	{ "next_ms", "NEXT", COLUMN_TIME },	 { "last_ms", "LAST", COLUMN_TIME },  { "fired_total", "FIRED", COLUMN_NUMBER },
	{ "skipped_total", "SKIPPED", COLUMN_NUMBER }, { "paused", "PAUSED", COLUMN_TEXT },
};
static const struct column fields[] = {
	{ "name", "name", COLUMN_TEXT },	    { "when", "when", COLUMN_TEXT },
	{ "type", "type", COLUMN_TEXT },	    { "queue", "queue", COLUMN_TEXT },
	{ "overlap", "overlap", COLUMN_TEXT },	    { "misfire", "misfire", COLUMN_TEXT },
	{ "paused", "paused", COLUMN_TEXT },	    { "next_ms", "next", COLUMN_TIME },
	{ "last_ms", "last", COLUMN_TIME },	    { "last_task", "last task", COLUMN_NUMBER },
	{ "last_code", "last outcome", COLUMN_TEXT }, { "fired_total", "fired, ever", COLUMN_NUMBER },
	{ "skipped_total", "skipped, ever", COLUMN_NUMBER }, { "created_ms", "created", COLUMN_TIME },
};

static void schedule_row(const struct hlk_schedule_row *row, void *ctx)
{
	output_row(&((struct cli *)ctx)->out, schedule_json(row));
}

static void schedule_one(const struct hlk_schedule_row *row, void *ctx)
{
	output_one(&((struct cli *)ctx)->out, fields, COUNT_OF(fields), schedule_json(row));
}

/* Seconds since 1970, or a local time as "2026-12-24 18:00". */
static bool time_parse(const char *text, uint64_t *out_ms)
{
	struct tm tm = { .tm_isdst = -1 };
	char *end = NULL;
	unsigned long long seconds = strtoull(text, &end, 10);
	if (*text && *end == '\0') {
		*out_ms = seconds * 1000;
		return true;
	}
	end = strptime(text, "%Y-%m-%d %H:%M", &tm);
	if (end && *end == ':')
		end = strptime(end, ":%S", &tm);
	time_t at = end && *end == '\0' ? mktime(&tm) : -1;
	*out_ms = (uint64_t)at * 1000;
	return at > 0;
}

static int add_run(struct cli *cli)
{
	const struct args *args = &cli->args;
	const char *at = args_text(args, "at"), *payload = args_text(args, "payload"), *name = args->plain[0];
	struct hlk_submit_options task = { .type = args_text(args, "type"), .queue = args_text(args, "queue"),
					   .priority = (int)args_number(args, "priority") + 1,
					   .expires_ms = args_number(args, "expires"),
					   .max_attempts = (uint32_t)args_number(args, "max-attempts"),
					   .retention_ms = args_number(args, "retention") };
	struct hlk_schedule_spec spec = { .cron = args_text(args, "cron"), .every_ms = args_number(args, "every"),
					  .zone = args_text(args, "timezone"), .overlap = args_text(args, "overlap"),
					  .misfire = args_text(args, "misfire"), .task = &task, .payload = payload ? payload : "",
					  .payload_size = payload ? strlen(payload) : 0 };
	if (!task.type)
		return cli_usage(cli, "--type is missing: what its tasks are");
	if ((spec.cron != NULL) + (spec.every_ms > 0) + (at != NULL) != 1)
		return cli_usage(cli, "one of --cron, --every and --at says when");
	if (at && !time_parse(at, &spec.at_ms))
		return cli_usage(cli, "--at %.60s: expected \"YYYY-MM-DD HH:MM\" or seconds since 1970", at);
	if (spec.zone && !spec.cron)
		return cli_usage(cli, "--timezone goes with --cron");
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_schedule_add(cli->client, name, &spec);
	if (code == HLK_OK)
		code = hlk_schedule_show(cli->client, name, schedule_one, cli);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "schedule %s", name);
}

static int ls_run(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, columns, COUNT_OF(columns));
	code = hlk_schedule_list(cli->client, schedule_row, cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "schedule ls");
	output_end(&cli->out);
	return CLI_OK;
}

static int show_run(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_schedule_show(cli->client, cli->args.plain[0], schedule_one, cli);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "schedule %s", cli->args.plain[0]);
}

static int done(struct cli *cli, int code)
{
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "schedule %s", cli->args.plain[0]);
}

static int rm_run(struct cli *cli)
{
	int code = cli_connect(cli);
	return code == CLI_OK ? done(cli, hlk_schedule_remove(cli->client, cli->args.plain[0])) : code;
}

static int pause_run(struct cli *cli)
{
	int code = cli_connect(cli);
	return code == CLI_OK ? done(cli, hlk_schedule_pause(cli->client, cli->args.plain[0], true)) : code;
}

static int resume_run(struct cli *cli)
{
	int code = cli_connect(cli);
	return code == CLI_OK ? done(cli, hlk_schedule_pause(cli->client, cli->args.plain[0], false)) : code;
}

static int run_run(struct cli *cli)
{
	int code = cli_connect(cli);
	return code == CLI_OK ? done(cli, hlk_schedule_run(cli->client, cli->args.plain[0])) : code;
}

static const struct option add_options[] = {
	{ "type", OPTION_TEXT, 0, "TYPE", NULL, 0, 0, "what its tasks are" },
	{ "cron", OPTION_TEXT, 0, "FIELDS", NULL, 0, 0, "minute, hour, day of the month, month, day of the week" },
	{ "every", OPTION_DURATION, 0, "D", "0", 0, 0, "every so often, counted from now; at least 1s" },
	{ "at", OPTION_TEXT, 0, "TIME", NULL, 0, 0, "once: \"YYYY-MM-DD HH:MM\" here, or seconds since 1970" },
	{ "timezone", OPTION_TEXT, 0, "ZONE", NULL, 0, 0, "of --cron, Europe/Berlin for one; default: UTC" },
	{ "overlap", OPTION_CHOICE, 0, "allow|skip|replace", "allow", 0, 0, "while the task of the time before is not final" },
	{ "misfire", OPTION_CHOICE, 0, "skip|run-once|run-all", "skip", 0, 0, "for times that passed while the broker was away" },
	{ "queue", OPTION_TEXT, 'q', "QUEUE", NULL, 0, 0, "default: the queue named like the type" },
	{ "payload", OPTION_TEXT, 'p', "TEXT", NULL, 0, 0, "of its tasks" },
	{ "priority", OPTION_COUNT, 0, "N", "4", 0, 31, "0 to 31, 31 is served first" },
	{ "expires", OPTION_DURATION, 0, "D", "0", 0, 0, "a task not begun by then is dropped; 0: the queue's setting" },
	{ "max-attempts", OPTION_COUNT, 0, "N", "0", 0, 65535, "failed attempts allowed; 0: the queue's setting" },
	{ "retention", OPTION_DURATION, 0, "D", "0", 0, 0, "how long results are kept; 0: the queue's setting" },
	{ 0 },
};

const struct command schedule_add_command = {
	"schedule", "add", "NAME", 1, 1, "submits a task at given times",
	"A time fires once, over restarts, too. In a time zone with summer time: a local time that is left out fires at the change, one\n"
	"that comes twice fires the first time. What the zone means is taken from this machine, now. --overlap replace cancels the task of the\n"
	"time before, if it is not final, as hillock task cancel does; the new one does not wait for the end of it.",
	"hillock schedule add nightly --cron '30 2 * * *' --timezone Europe/Berlin --type report.Build\tevery night\n"
	"hillock schedule add beat --every 30s --type health.Check --overlap skip\tevery half minute, one at a time\n"
	"hillock schedule add launch --at '2026-12-24 18:00' --type mail.Send -p '{\"to\":\"all\"}'\tonce",
	add_options, add_run,
};
const struct command schedule_ls_command = {
	"schedule", "ls", "", 0, 0, "lists the schedules and when they are due", NULL, "hillock schedule ls\ta table of all of them", NULL,
	ls_run,
};
const struct command schedule_show_command = {
	"schedule", "show", "NAME", 1, 1, "shows one schedule", NULL, "hillock schedule show nightly\twhen it ran, when it is due", NULL,
	show_run,
};
const struct command schedule_rm_command = {
	"schedule", "rm", "NAME", 1, 1, "ends a schedule; its tasks stay", NULL, "hillock schedule rm nightly\tno more reports", NULL, rm_run,
};
const struct command schedule_pause_command = {
	"schedule", "pause", "NAME", 1, 1, "lets times pass without tasks", NULL, "hillock schedule pause nightly\tuntil it is resumed", NULL,
	pause_run,
};
const struct command schedule_resume_command = {
	"schedule", "resume", "NAME", 1, 1, "goes on with the next time", NULL, "hillock schedule resume nightly\tfrom now on", NULL,
	resume_run,
};
const struct command schedule_run_command = {
	"schedule", "run", "NAME", 1, 1, "submits its task now, beside its times", NULL, "hillock schedule run nightly\ta report at once",
	NULL, run_run,
};
