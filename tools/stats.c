/* tools/stats.c: `hillock stats`, `hillock worker ls` and `hillock checkpoint`: the broker as a whole. */
#include "commands.h"

struct stats {
	struct cli *cli;
	const char *prefix;
	json_t *all;
};

static void stat_row(const char *name, double value, void *ctx)
{
	struct stats *stats = ctx;
	if (stats->prefix && strncmp(name, stats->prefix, strlen(stats->prefix)) != 0)
		return;
	bool whole = value >= -9e15 && value <= 9e15 && value == (double)(int64_t)value;
	json_t *number = whole ? json_integer((json_int_t)value) : json_real(value);
	if (stats->cli->out.format == OUTPUT_TABLE) {
		json_t *row = json_object();
		cli_set(row, "name", json_string(name));
		cli_set(row, "value", number);
		output_row(&stats->cli->out, row);
	} else {
		cli_set(stats->all, name, number);
	}
}

static int stats_run(struct cli *cli)
{
	static const struct column columns[] = { { "name", "NAME", COLUMN_TEXT }, { "value", "VALUE", COLUMN_NUMBER } };
	struct stats stats = { cli, cli->args.plain_count ? cli->args.plain[0] : NULL, NULL };
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	stats.all = json_object();
	if (cli->out.format == OUTPUT_TABLE)
		output_begin(&cli->out, columns, COUNT_OF(columns));
	code = hlk_stats(cli->client, stat_row, &stats);
	if (code != HLK_OK) {
		json_decref(stats.all);
		return cli_failed(cli, code, "stats");
	}
	if (cli->out.format == OUTPUT_TABLE) {
		output_end(&cli->out);
		json_decref(stats.all);
	} else {
		output_one(&cli->out, columns, COUNT_OF(columns), stats.all);
	}
	return CLI_OK;
}

const struct command stats_command = {
	"stats", NULL, "[PREFIX]", 0, 1, "prints the broker's counters and gauges", NULL,
	"hillock stats\tall of them\nhillock stats process_\tonly those that begin so\n"
	"hillock stats -o json | jq .process_cpu_seconds_total\tone of them, for a script", NULL, stats_run,
};

static void worker_row(const struct hlk_worker_row *row, void *ctx)
{
	json_t *object = json_object(), *entries = json_array();
	output_set_bytes(object, "name", row->name, strlen(row->name));
	output_set_bytes(object, "address", row->address, strlen(row->address));
	for (size_t i = 0; i < row->entry_count; i++) {
		json_t *entry = json_string(row->entries[i]);
		ENSURE(json_array_append_new(entries, entry ? entry : json_string("?")) == 0);
	}
	cli_set(object, "entries", entries);
	cli_set(object, "credit", cli_integer(row->credit));
	cli_set(object, "leased", cli_integer(row->leased));
	cli_set(object, "connected_ms", cli_integer(row->connected_ms));
	output_row(&((struct cli *)ctx)->out, object);
}

static int worker_ls(struct cli *cli)
{
	static const struct column columns[] = {
		{ "name", "NAME", COLUMN_TEXT },       { "address", "ADDRESS", COLUMN_TEXT },
		{ "entries", "SERVES", COLUMN_TEXT },  { "credit", "CREDIT", COLUMN_NUMBER },
		{ "leased", "LEASED", COLUMN_NUMBER }, { "connected_ms", "CONNECTED", COLUMN_TIME },
	};
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, columns, COUNT_OF(columns));
	code = hlk_worker_list(cli->client, worker_row, cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "worker ls");
	output_end(&cli->out);
	return CLI_OK;
}

const struct command worker_ls_command = {
	"worker", "ls", "", 0, 0, "lists the connected workers, what they serve and how busy they are", NULL,
	"hillock worker ls\ta table\nhillock worker ls -o json | jq 'map(.leased) | add'\thow many tasks are in work",
	NULL, worker_ls,
};

static int worker_done(struct cli *cli, int code, uint64_t count, const char *what)
{
	static const struct column columns[] = { { "sessions", "sessions", COLUMN_NUMBER } };
	if (code != HLK_OK)
		return cli_failed(cli, code, "worker %s", what);
	json_t *object = json_object();
	cli_set(object, "sessions", cli_integer(count));
	output_one(&cli->out, columns, COUNT_OF(columns), object);
	return CLI_OK;
}

static int worker_drain(struct cli *cli)
{
	uint64_t count = 0;
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_worker_drain(cli->client, cli->args.plain[0], &count);
	return worker_done(cli, code, count, "drain");
}

static int worker_kick(struct cli *cli)
{
	uint64_t count = 0;
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_worker_kick(cli->client, cli->args.plain[0], args_text(&cli->args, "reason"), &count);
	return worker_done(cli, code, count, "kick");
}

static const struct option kick_options[] = {
	{ "reason", OPTION_TEXT, 0, "TEXT", "ended by the operator", 0, 0, "told to the worker" },
	{ 0 },
};

const struct command worker_drain_command = {
	"worker", "drain", "WORKER", 1, 1, "sends a worker no more work and tells it to finish",
	"WORKER is the name of a client, or the number of a session (the middle of its address).",
	"hillock worker drain transcoder-7\tbefore its machine is restarted", NULL, worker_drain,
};

const struct command worker_kick_command = {
	"worker", "kick", "WORKER", 1, 1, "ends the session of a worker: its tasks go back, its calls are not delivered",
	"WORKER is the name of a client, or the number of a session. It may come back, as a new session.",
	"hillock worker kick transcoder-7 --reason 'wrong version'\tat once", kick_options, worker_kick,
};

static int checkpoint_run(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_checkpoint(cli->client);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "checkpoint");
}

const struct command checkpoint_command = {
	"checkpoint", NULL, "", 0, 0, "makes the broker write a checkpoint now, so that its next start is quick", NULL,
	"hillock checkpoint\tbefore a backup of the data directory, or a planned restart", NULL, checkpoint_run,
};
