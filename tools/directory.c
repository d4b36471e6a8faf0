/* tools/directory.c: `hillock directory`: who is responsible for what. */
#include "commands.h"

static const struct option options[] = {
	{ "params", OPTION_TEXT, 'w', "PRED", NULL, 0, 0, "only entries whose parameters fit: gpu == A100 && vram_gb >= 40" },
	{ 0 },
};

static const struct column columns[] = {
	{ "service", "SERVICE", COLUMN_TEXT }, { "client", "CLIENT", COLUMN_TEXT },    { "address", "ADDRESS", COLUMN_TEXT },
	{ "params", "PARAMS", COLUMN_TEXT },   { "busy", "BUSY", COLUMN_NUMBER }, { "capacity", "CAPACITY", COLUMN_NUMBER },
	{ "away", "AWAY", COLUMN_TEXT },
};

static json_t *names_json(const char *const *names, size_t count)
{
	json_t *array = json_array();
	for (size_t i = 0; i < count; i++) {
		json_t *name = json_string(names[i]);
		ENSURE(json_array_append_new(array, name ? name : json_string("?")) == 0);
	}
	return array;
}

static json_t *entry_json(const struct hlk_entry_row *row)
{
	json_t *object = json_object();
	output_set_bytes(object, "service", row->service, strlen(row->service));
	output_set_bytes(object, "client", row->client, strlen(row->client));
	output_set_bytes(object, "address", row->address, strlen(row->address));
	output_set_bytes(object, "params", row->params, strlen(row->params));
	cli_set(object, "vnets", names_json(row->vnets, row->vnet_count));
	cli_set(object, "hot", names_json(row->hot, row->hot_count));
	cli_set(object, "capacity", json_integer(row->capacity));
	cli_set(object, "cost", json_integer(row->cost));
	cli_set(object, "busy", json_integer(row->busy));
	cli_set(object, "queue", json_boolean(row->by_queue));
	cli_set(object, "away", json_boolean(row->away));
	return object;
}

struct listing { struct cli *cli; bool reachable; uint64_t count; };

static void entry_row(const struct hlk_entry_row *row, void *ctx)
{
	struct listing *listing = ctx;
	if (listing->reachable && (row->away || row->by_queue))
		return;
	listing->count++;
	output_row(&listing->cli->out, entry_json(row));
}

static int list(struct cli *cli, bool reachable)
{
	const struct args *args = &cli->args;
	const char *service = args->plain_count ? args->plain[0] : NULL;
	struct listing listing = { cli, reachable, 0 };
	int code = cli_connect_vnet(cli, "hillock directory", args_text(args, "vnet"));
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, columns, COUNT_OF(columns));
	code = hlk_directory_list(cli->client, service, args_text(args, "params"), entry_row, &listing);
	if (code != HLK_OK)
		return cli_failed(cli, code, "directory");
	output_end(&cli->out);
	return reachable && listing.count == 0 ? CLI_NOT_FOUND : CLI_OK;
}

static int directory_ls(struct cli *cli)
{
	return list(cli, false);
}

static int directory_resolve(struct cli *cli)
{
	return list(cli, true);
}

struct watching { struct cli *cli; bool refused; uint64_t left; };

static void changed(struct hlk *c, uint32_t watch, enum hlk_change kind, const struct hlk_entry_row *row, void *ctx)
{
	static const char *const names[] = { [HLK_CHANGE_RESET] = "reset", [HLK_CHANGE_JOINED] = "joined",
					     [HLK_CHANGE_CHANGED] = "changed", [HLK_CHANGE_LEFT] = "left",
					     [HLK_CHANGE_SYNCED] = "synced", [HLK_CHANGE_REFUSED] = "refused" };
	struct watching *watching = ctx;
	(void)c;
	(void)watch;
	watching->refused = watching->refused || kind == HLK_CHANGE_REFUSED;
	json_t *object = row ? entry_json(row) : json_object();
	cli_set(object, "change", json_string(names[kind]));
	char *line = json_dumps(object, JSON_COMPACT);
	if (watching->cli->out.format != OUTPUT_TABLE)
		(void)printf("%s\n", line);
	else if (row)
		(void)printf("%-8s %s  %s  %s%s\n", names[kind], row->service, row->address, row->params, row->away ? "  (away)" : "");
	else if (kind == HLK_CHANGE_SYNCED)
		(void)printf("synced\n");
	(void)fflush(stdout);
	watching->left -= watching->left > 0 && kind != HLK_CHANGE_RESET;
	free(line);
	json_decref(object);
}

static int directory_watch(struct cli *cli)
{
	const struct args *args = &cli->args;
	uint64_t count = args_number(args, "count");
	struct watching watching = { cli, false, count };
	int code = cli_connect_vnet(cli, "hillock directory watch", args_text(args, "vnet"));
	if (code != CLI_OK)
		return code;
	code = hlk_directory_watch(cli->client, args->plain_count ? args->plain[0] : NULL, args_text(args, "params"), changed, &watching,
				   NULL);
	while (code == HLK_OK && !watching.refused && (count == 0 || watching.left > 0) && !ferror(stdout))
		code = hlk_run(cli->client, 60000);
	if (watching.refused)
		code = hlk_last_error(cli->client)->code;
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "directory watch");
}

const struct command directory_ls_command = {
	"directory", "ls", "[SERVICE]", 0, 1, "lists who is responsible for what", NULL,
	"hillock directory ls\tall of this scope\n"
	"hillock directory ls media.v1.Transcode --params 'vram_gb >= 40'\tthose that could do it", options, directory_ls,
};

const struct command directory_resolve_command = {
	"directory", "resolve", "SERVICE", 1, 1, "lists the holders that a call could go to now",
	"Exit status 2 where there is none.",
	"hillock directory resolve math.v1.AddOne -o json | jq -r '.[0].address'\tan address, for hillock call --address", options,
	directory_resolve,
};

static const struct option watch_options[] = {
	{ "params", OPTION_TEXT, 'w', "PRED", NULL, 0, 0, "only entries whose parameters fit" },
	{ "count", OPTION_COUNT, 'n', "N", "0", 0, 0, "stop after this many lines; 0: never" },
	{ 0 },
};

const struct command directory_watch_command = {
	"directory", "watch", "[SERVICE]", 0, 1, "prints who is there, then every change, until it is interrupted",
	"After a reconnect it begins anew: what is there is printed again.",
	"hillock directory watch media.v1.Transcode\twho joins and leaves\n"
	"hillock directory watch -o jsonl | jq -r 'select(.change == \"left\") | .address'\tfor a script", watch_options, directory_watch,
};
