/* tools/stats.c: `hillock stats` and `hillock checkpoint`: the broker as a whole. */
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

static int node_reload(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_node_reload(cli->client);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "node reload");
}

const struct command node_reload_command = {
	"node", "reload", "", 0, 0, "makes the broker read its certificates again",
	"As SIGHUP does, with an answer. No connection is dropped: new ones get the new certificates. Where those are no good the\n"
	"broker says why and keeps the ones it has.",
	"hillock node reload\tbehind a renewal of the certificate", NULL, node_reload,
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
