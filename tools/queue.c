/* tools/queue.c: `hillock queue`: look at queues, make and change them, stop and empty them. */
#include "commands.h"

static const char *const selections[] = {
	[HLK_SELECT_CREDIT] = "credit", [HLK_SELECT_ROUND_ROBIN] = "round-robin", [HLK_SELECT_CHEAPEST] = "cheapest",
	[HLK_SELECT_HOT] = "hot", [HLK_SELECT_STICKY] = "sticky",
};

static const char *const fairs[] = { [HLK_FAIR_OFF] = "off", [HLK_FAIR_PRINCIPAL] = "principal" };
static const char *const redeliveries[] = { [HLK_REDELIVERY_SAFE] = "safe", [HLK_REDELIVERY_NEVER] = "never" };
static const char *const renewals[] = { [HLK_RENEW_SESSION] = "session", [HLK_RENEW_TASK] = "task" };

/* Settings that are words: the option, and the words by value. */
static const struct worded {
	const char *option, *field, *choice;
	const char *const *words;
	int64_t count;
	size_t at;
} worded[] = {
#define WORDED(option, field, choice, words) \
	{ option, #field, choice, words, COUNT_OF(words), offsetof(struct hlk_queue_settings, field) }
	WORDED("selection", selection, "credit, round-robin, cheapest, hot or sticky", selections),
	WORDED("fair", fair, "off or principal", fairs),
	WORDED("redelivery", redelivery, "safe or never", redeliveries),
	WORDED("renew", renew, "session or task", renewals),
#undef WORDED
};

static int64_t *setting_at(struct hlk_queue_settings *settings, const struct worded *w)
{
	return (int64_t *)(void *)((char *)settings + w->at);
}

static void set_words(json_t *object, struct hlk_queue_settings settings)
{
	for (size_t i = 0; i < COUNT_OF(worded); i++) {
		int64_t value = *setting_at(&settings, &worded[i]);
		bool known = value >= 0 && value < worded[i].count;
		cli_set(object, worded[i].field, json_string(known ? worded[i].words[value] : "unknown"));
	}
}

/* PATTERN=WEIGHT lines, as a list. */
static json_t *weights_json(const char *lines)
{
	json_t *list = json_array();
	while (lines && *lines) {
		size_t size = strcspn(lines, "\n");
		(void)json_array_append_new(list, json_stringn_nocheck(lines, size));
		lines += size + (lines[size] == '\n');
	}
	return list;
}

static json_t *queue_json(const struct hlk_queue_row *row)
{
	json_t *object = json_object(), *settings = json_object();
	output_set_bytes(object, "name", row->name, strlen(row->name));
	cli_set(object, "paused", json_boolean(row->paused));
	cli_set(object, "ready", cli_integer(row->ready));
	cli_set(object, "leased", cli_integer(row->leased));
	cli_set(object, "scheduled", cli_integer(row->scheduled));
	cli_set(object, "blocked", cli_integer(row->blocked));
	cli_set(object, "dead", cli_integer(row->dead));
	cli_set(object, "workers", json_integer(row->workers));
	cli_set(object, "submitted_total", cli_integer(row->submitted_total));
	cli_set(object, "done_total", cli_integer(row->done_total));
	cli_set(object, "failed_total", cli_integer(row->failed_total));
	cli_set(object, "expired_total", cli_integer(row->expired_total));
	cli_set(object, "cancelled_total", cli_integer(row->cancelled_total));
	cli_set(object, "dead_total", cli_integer(row->dead_total));
	cli_set(settings, "length_max", json_integer(row->settings.length_max));
	cli_set(settings, "max_attempts", json_integer(row->settings.max_attempts));
	cli_set(settings, "lease_ms", json_integer(row->settings.lease_ms));
	cli_set(settings, "backoff_min_ms", json_integer(row->settings.backoff_min_ms));
	cli_set(settings, "backoff_max_ms", json_integer(row->settings.backoff_max_ms));
	cli_set(settings, "expires_ms", json_integer(row->settings.expires_ms));
	cli_set(settings, "retention_ms", json_integer(row->settings.retention_ms));
	cli_set(settings, "heartbeat_ms", json_integer(row->settings.heartbeat_ms));
	cli_set(settings, "inline_max", json_integer(row->settings.inline_max));
	set_words(settings, row->settings);
	cli_set(object, "settings", settings);
	return object;
}

static const struct column columns[] = {
	{ "name", "NAME", COLUMN_TEXT },	   { "ready", "READY", COLUMN_NUMBER },
	{ "leased", "LEASED", COLUMN_NUMBER },	   { "scheduled", "SCHEDULED", COLUMN_NUMBER },
	{ "dead", "DEAD", COLUMN_NUMBER },	   { "done_total", "DONE", COLUMN_NUMBER },
	{ "failed_total", "FAILED", COLUMN_NUMBER }, { "workers", "WORKERS", COLUMN_NUMBER },
	{ "paused", "PAUSED", COLUMN_TEXT },
};

static const struct column fields[] = {
	{ "name", "name", COLUMN_TEXT },
	{ "paused", "paused", COLUMN_TEXT },
	{ "ready", "ready", COLUMN_NUMBER },
	{ "leased", "leased", COLUMN_NUMBER },
	{ "scheduled", "scheduled", COLUMN_NUMBER },
	{ "blocked", "of them blocked", COLUMN_NUMBER },
	{ "dead", "dead", COLUMN_NUMBER },
	{ "workers", "workers", COLUMN_NUMBER },
	{ "submitted_total", "submitted, ever", COLUMN_NUMBER },
	{ "done_total", "done, ever", COLUMN_NUMBER },
	{ "failed_total", "failed, ever", COLUMN_NUMBER },
	{ "expired_total", "expired, ever", COLUMN_NUMBER },
	{ "cancelled_total", "cancelled, ever", COLUMN_NUMBER },
	{ "dead_total", "dead, ever", COLUMN_NUMBER },
	{ "settings.length_max", "length max", COLUMN_NUMBER },
	{ "settings.max_attempts", "max attempts", COLUMN_NUMBER },
	{ "settings.lease_ms", "lease", COLUMN_DURATION },
	{ "settings.backoff_min_ms", "backoff min", COLUMN_DURATION },
	{ "settings.backoff_max_ms", "backoff max", COLUMN_DURATION },
	{ "settings.expires_ms", "expires", COLUMN_DURATION },
	{ "settings.retention_ms", "retention", COLUMN_DURATION },
	{ "bindings", "bound to types", COLUMN_TEXT },
	{ "subscribes", "subscribed to events", COLUMN_TEXT },
	{ "settings.selection", "selection", COLUMN_TEXT },
	{ "settings.redelivery", "redelivery", COLUMN_TEXT },
	{ "settings.renew", "leases renewed by", COLUMN_TEXT },
	{ "settings.heartbeat_ms", "heartbeat", COLUMN_DURATION },
	{ "settings.inline_max", "inline max", COLUMN_NUMBER },
	{ "settings.fair", "fair", COLUMN_TEXT },
	{ "weights", "weights", COLUMN_TEXT },
};

static void queue_row(const struct hlk_queue_row *row, void *ctx)
{
	output_row(&((struct cli *)ctx)->out, queue_json(row));
}

static int queue_ls(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, columns, COUNT_OF(columns));
	code = hlk_queue_list(cli->client, queue_row, cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "queue ls");
	output_end(&cli->out);
	return CLI_OK;
}

struct shown { struct cli *cli; json_t *bindings, *fed; };

static void shown_topic(const struct hlk_topic_row *row, void *ctx)
{
	struct shown *shown = ctx;
	(void)json_array_append_new(strcmp(row->kind, "events") == 0 ? shown->fed : shown->bindings, json_string(row->pattern));
}

static void queue_one(const struct hlk_queue_row *row, void *ctx)
{
	struct shown *shown = ctx;
	json_t *object = queue_json(row);
	cli_set(object, "weights", weights_json(row->weights));
	cli_set(object, "bindings", json_incref(shown->bindings));
	cli_set(object, "subscribes", json_incref(shown->fed));
	output_one(&shown->cli->out, fields, COUNT_OF(fields), object);
}

/* Outputs a queue as it is now. A code of the library. */
static int show(struct cli *cli, const char *queue)
{
	struct shown shown = { cli, json_array(), json_array() };
	(void)hlk_topic_list(cli->client, queue, shown_topic, &shown); /* the mock has none */
	int code = hlk_queue_show(cli->client, queue, queue_one, &shown);
	json_decref(shown.bindings);
	json_decref(shown.fed);
	return code;
}

static int queue_show(struct cli *cli)
{
	const char *queue = cli->args.plain[0];
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = show(cli, queue);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "queue %s", queue);
}

const struct command queue_ls_command = {
	"queue", "ls", "", 0, 0, "lists the queues with what waits in them", NULL,
	"hillock queue ls\ta table of all queues\n"
	"hillock queue ls -o json | jq -r '.[] | select(.dead > 0) | .name'\tthose with dead letters",
	NULL, queue_ls,
};

const struct command queue_show_command = {
	"queue", "show", "QUEUE", 1, 1, "shows the counts and settings of one queue", NULL,
	"hillock queue show mail\tcounts, totals and settings\n"
	"hillock queue show mail -o json | jq .done_total\thow many tasks were done, ever", NULL, queue_show,
};

static const struct option settings_options[] = {
	{ "length-max", OPTION_COUNT, 0, "N", NULL, 0, 0, "refuse tasks beyond this many waiting ones" },
	{ "max-attempts", OPTION_COUNT, 0, "N", NULL, 1, 65535, "failed attempts before a task is a dead letter" },
	{ "lease", OPTION_DURATION, 0, "D", NULL, 1, 0, "how long a silent worker keeps a task" },
	{ "backoff-min", OPTION_DURATION, 0, "D", NULL, 0, 0, "wait before the first retry" },
	{ "backoff-max", OPTION_DURATION, 0, "D", NULL, 0, 0, "longest wait between retries" },
	{ "expires", OPTION_DURATION, 0, "D", NULL, 0, 0, "tasks that waited this long expire; 0: never" },
	{ "retention", OPTION_DURATION, 0, "D", NULL, 0, 0, "how long results are kept" },
	{ "selection", OPTION_TEXT, 0, "credit|round-robin|cheapest|hot|sticky", NULL, 0, 0, "which of the workers that fit gets a task" },
	{ "fair", OPTION_TEXT, 0, "off|principal", NULL, 0, 0, "whose task is next: the oldest, or those who submitted take turns" },
	{ "weight", OPTION_LIST, 0, "PATTERN=N", NULL, 0, 0, "weight of a principal, or of all that begin like NAME*; 0: none" },
	{ "redelivery", OPTION_TEXT, 0, "safe|never", NULL, 0, 0, "may a task be handed out again when its worker is lost" },
	{ "heartbeat", OPTION_DURATION, 0, "D", NULL, 0, 0, "a started task must be heard of this often; 0: no such rule" },
	{ "renew", OPTION_TEXT, 0, "session|task", NULL, 0, 0, "what keeps a lease: the worker's connection, or only a word about the task" },
	{ "inline-max", OPTION_COUNT, 0, "BYTES", NULL, 0, 0, "larger payloads are taken as blobs only; 0: no such rule" },
	{ "dry-run", OPTION_FLAG, 0, NULL, NULL, 0, 0, "only say what would be done" },
	{ 0 },
};

static int64_t setting(const struct args *args, const char *name)
{
	return args_given(args, name) ? (int64_t)MIN_OF(args_number(args, name), (uint64_t)INT64_MAX) : -1;
}

/* A code of the command, with its words said. */
static int worded_settings(struct cli *cli, struct hlk_queue_settings *settings)
{
	for (size_t i = 0; i < COUNT_OF(worded); i++) {
		const char *name = args_text(&cli->args, worded[i].option);
		int64_t value = 0;
		while (name && value < worded[i].count && strcmp(name, worded[i].words[value]) != 0)
			value++;
		if (name && value == worded[i].count)
			return cli_usage(cli, "--%s is %s", worded[i].option, worded[i].choice);
		*setting_at(settings, &worded[i]) = name ? value : -1;
	}
	return CLI_OK;
}

/* Each --weight PATTERN=N; checked as a whole before anything is changed. */
static int set_weights(struct cli *cli, const char *queue, bool dry_run)
{
	const struct args *args = &cli->args;
	for (size_t i = 0; i < args->list_count; i++) {
		char pattern[256], *end = NULL;
		const char *equals = strrchr(args->list[i], '=');
		size_t size = equals ? (size_t)(equals - args->list[i]) : 0;
		unsigned long weight = equals ? strtoul(equals + 1, &end, 10) : 0;
		if (size == 0 || size >= sizeof pattern || end == equals + 1 || *end || weight > 1000)
			return cli_usage(cli, "--weight %.60s: expected PATTERN=N with N up to 1000", args->list[i]);
		memcpy(pattern, args->list[i], size);
		pattern[size] = '\0';
		int code = dry_run ? HLK_OK : hlk_queue_weigh(cli->client, queue, pattern, (uint32_t)weight);
		if (code != HLK_OK)
			return cli_failed(cli, code, "queue %s --weight %s", queue, args->list[i]);
	}
	return CLI_OK;
}

static int queue_change(struct cli *cli, bool create)
{
	const struct args *args = &cli->args;
	const char *queue = args->plain[0];
	struct hlk_queue_settings settings = {
		.length_max = setting(args, "length-max"),   .max_attempts = setting(args, "max-attempts"),
		.lease_ms = setting(args, "lease"),	     .backoff_min_ms = setting(args, "backoff-min"),
		.backoff_max_ms = setting(args, "backoff-max"), .expires_ms = setting(args, "expires"),
		.retention_ms = setting(args, "retention"),	 .heartbeat_ms = setting(args, "heartbeat"),
		.inline_max = setting(args, "inline-max"),
	};
	int code = worded_settings(cli, &settings);
	if (code == CLI_OK)
		code = set_weights(cli, queue, true);
	if (code != CLI_OK)
		return code;
	if (settings.backoff_min_ms > settings.backoff_max_ms && settings.backoff_max_ms >= 0)
		return cli_usage(cli, "--backoff-min is above --backoff-max");
	if (args_number(args, "dry-run")) {
		cli_say("would %s queue %s", create ? "create" : "change", queue);
		return CLI_OK;
	}
	code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = create ? hlk_queue_create(cli->client, queue, &settings) : hlk_queue_set(cli->client, queue, &settings);
	if (code != HLK_OK)
		return cli_failed(cli, code, "queue %s", queue);
	code = set_weights(cli, queue, false);
	if (code != CLI_OK)
		return code;
	code = show(cli, queue);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "queue %s", queue);
}

static int queue_create(struct cli *cli)
{
	return queue_change(cli, true);
}

static int queue_set(struct cli *cli)
{
	return queue_change(cli, false);
}

const struct command queue_create_command = {
	"queue", "create", "QUEUE", 1, 1, "makes a queue; settings that are not given get the broker's defaults",
	"Queues also come into being by the first task of a type. Creating one that exists with the same settings is ok.",
	"hillock queue create mail --max-attempts 5 --backoff-min 1s --backoff-max 10m\ta patient queue\n"
	"hillock queue create frames --length-max 100k --expires 2s\told tasks are worthless", settings_options,
	queue_create,
};

const struct command queue_set_command = {
	"queue", "set", "QUEUE", 1, 1, "changes settings of a queue; what is not given stays", NULL,
	"hillock queue set mail --retention 1d\tkeep results for a day", settings_options, queue_set,
};

static const struct option peek_options[] = {
	{ "limit", OPTION_COUNT, 'n', "N", "10", 1, 10000, "how many" },
	{ 0 },
};

static int queue_peek(struct cli *cli)
{
	static const struct column peek[] = {
		{ "id", "ID", COLUMN_NUMBER },	       { "state", "STATE", COLUMN_STATE },
		{ "type", "TYPE", COLUMN_TEXT },       { "priority", "PRIO", COLUMN_NUMBER },
		{ "failed", "FAILED", COLUMN_NUMBER }, { "size", "SIZE", COLUMN_NUMBER },
		{ "payload", "PAYLOAD", COLUMN_TEXT },
	};
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, peek, COUNT_OF(peek));
	code = hlk_queue_peek(cli->client, cli->args.plain[0], (uint32_t)args_number(&cli->args, "limit"), cli_task_row,
			      cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "queue %s", cli->args.plain[0]);
	output_end(&cli->out);
	return CLI_OK;
}

const struct command queue_peek_command = {
	"queue", "peek", "QUEUE", 1, 1, "shows waiting tasks, the oldest first, with their payloads, and leaves them there", NULL,
	"hillock queue peek mail --limit 3\tthe three that have waited longest", peek_options, queue_peek,
};

static const struct option sure_options[] = {
	{ "yes", OPTION_FLAG, 'y', NULL, NULL, 0, 0, "do not ask" },
	{ "dry-run", OPTION_FLAG, 0, NULL, NULL, 0, 0, "only say what would be done" },
	{ 0 },
};

static void waiting_count(const struct hlk_queue_row *row, void *ctx)
{
	*(uint64_t *)ctx = row->ready + row->scheduled;
}

static int queue_purge(struct cli *cli)
{
	static const struct column purged[] = { { "purged", "purged", COLUMN_NUMBER } };
	const char *queue = cli->args.plain[0];
	uint64_t count = 0;
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_queue_show(cli->client, queue, waiting_count, &count);
	if (code != HLK_OK)
		return cli_failed(cli, code, "queue %s", queue);
	if (args_number(&cli->args, "dry-run")) {
		cli_say("would drop %llu waiting tasks of queue %s", (unsigned long long)count, queue);
		return CLI_OK;
	}
	code = cli_sure(cli, "dropping %llu waiting tasks of queue %s", (unsigned long long)count, queue);
	if (code != CLI_OK)
		return code;
	code = hlk_queue_purge(cli->client, queue, &count);
	if (code != HLK_OK)
		return cli_failed(cli, code, "purge of queue %s", queue);
	json_t *object = json_object();
	cli_set(object, "purged", cli_integer(count));
	output_one(&cli->out, purged, 1, object);
	return CLI_OK;
}

const struct command queue_purge_command = {
	"queue", "purge", "QUEUE", 1, 1, "cancels every waiting task of a queue",
	"Tasks in work and dead letters stay. Asks on a terminal; elsewhere --yes is needed.",
	"hillock queue purge mail --dry-run\thow many would go\nhillock queue purge mail --yes\tin a script",
	sure_options, queue_purge,
};

static int queue_rm(struct cli *cli)
{
	const char *queue = cli->args.plain[0];
	if (args_number(&cli->args, "dry-run")) {
		cli_say("would remove queue %s, if it is empty", queue);
		return CLI_OK;
	}
	int code = cli_sure(cli, "removing queue %s with its settings", queue);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_queue_remove(cli->client, queue);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "removal of queue %s", queue);
}

const struct command queue_rm_command = {
	"queue", "rm", "QUEUE", 1, 1, "removes an empty queue", NULL,
	"hillock queue rm mail --yes\tfails with exit code 5 while a task is in it", sure_options, queue_rm,
};

static int queue_pause_set(struct cli *cli, bool paused)
{
	const char *queue = cli->args.plain[0];
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_queue_pause(cli->client, queue, paused);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "%s of queue %s", paused ? "pause" : "resume", queue);
}

static int queue_pause(struct cli *cli)
{
	return queue_pause_set(cli, true);
}

static int queue_resume(struct cli *cli)
{
	return queue_pause_set(cli, false);
}

const struct command queue_pause_command = {
	"queue", "pause", "QUEUE", 1, 1, "hands out no more tasks of a queue; still takes new ones", NULL,
	"hillock queue pause mail\tuntil queue resume; survives a restart of the broker", NULL, queue_pause,
};

const struct command queue_resume_command = {
	"queue", "resume", "QUEUE", 1, 1, "hands out tasks of a paused queue again", NULL,
	"hillock queue resume mail\tits workers get tasks at once", NULL, queue_resume,
};
