/* tools/worker.c: `hillock worker`: workers as their operator sees them: shown, told to drain or stop, ended, blocked.
 *
 * Data flow: name -> hlk_worker_... -> rows -> output. */
#include "commands.h"

/* ---- rows ---- */

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

/* ---- blocks ---- */

static void block_row(const struct hlk_block_row *row, void *ctx)
{
	json_t *object = json_object();
	output_set_bytes(object, "pattern", row->pattern, strlen(row->pattern));
	output_set_bytes(object, "reason", row->reason, strlen(row->reason));
	cli_set(object, "since_ms", cli_integer(row->since_ms));
	cli_set(object, "until_ms", cli_integer(row->until_ms));
	output_row(&((struct cli *)ctx)->out, object);
}

static int blocked_ls(struct cli *cli)
{
	static const struct column columns[] = {
		{ "pattern", "PATTERN", COLUMN_TEXT }, { "since_ms", "SINCE", COLUMN_TIME }, { "until_ms", "UNTIL", COLUMN_TIME },
		{ "reason", "REASON", COLUMN_TEXT },
	};
	output_begin(&cli->out, columns, COUNT_OF(columns));
	int code = hlk_worker_blocked(cli->client, block_row, cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "worker ls");
	output_end(&cli->out);
	return CLI_OK;
}

static int worker_block(struct cli *cli)
{
	const struct args *args = &cli->args;
	const struct hlk_block_options options = { .pattern = args->plain[0], .reason = args_text(args, "reason"),
						   .for_ms = args_number(args, "for"), .now = args_number(args, "now") };
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_worker_block(cli->client, &options);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "worker block %s", args->plain[0]);
}

static int worker_unblock(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_worker_unblock(cli->client, cli->args.plain[0]);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "worker unblock %s", cli->args.plain[0]);
}

static const struct option block_options[] = {
	{ "for", OPTION_DURATION, 0, "D", "0", 0, 0, "so long; 0: until it is taken back" },
	{ "reason", OPTION_TEXT, 0, "TEXT", NULL, 0, 0, "told to the worker" },
	{ "now", OPTION_FLAG, 0, NULL, NULL, 0, 0, "what it holds goes back at once, too" },
	{ 0 },
};
const struct command worker_block_command = {
	"worker", "block", "WORKER", 1, 1, "keeps workers out of work, over restarts, too",
	"WORKER is a pattern of the names or identities of clients (* any bytes, ? one), or the number of a session, which stands for its\n"
	"identity or name. Blocked workers get no tasks and no calls; what they hold they may finish, unless --now says otherwise.",
	"hillock worker block 'gpu-*' --for 2h --reason 'driver update'\tthey come back by themselves\n"
	"hillock worker ls --blocked\twho is blocked, and why", block_options, worker_block,
};
const struct command worker_unblock_command = {
	"worker", "unblock", "PATTERN", 1, 1, "lets workers that were blocked serve again", "PATTERN is as `hillock worker ls --blocked` has it.",
	"hillock worker unblock 'gpu-*'\tthey declare their entries again within four seconds", NULL, worker_unblock,
};

/* ---- all of them ---- */

static const struct option ls_options[] = {
	{ "blocked", OPTION_FLAG, 0, NULL, NULL, 0, 0, "the blocks instead: who is kept out, since when, why" },
	{ 0 },
};

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
	if (args_number(&cli->args, "blocked"))
		return blocked_ls(cli);
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
	ls_options, worker_ls,
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

static int worker_stop(struct cli *cli)
{
	uint64_t count = 0;
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_worker_stop(cli->client, cli->args.plain[0], &count);
	return worker_done(cli, code, count, "stop");
}

const struct command worker_stop_command = {
	"worker", "stop", "WORKER", 1, 1, "asks a worker to end when it has done what it holds",
	"WORKER is the name of a client, or the number of a session. The answer says how many were asked; `hillock work`, `hillock serve` and\n"
	"programs that use hlk_worker_run then end by themselves.",
	"hillock worker stop transcoder-7\tfor good; `hillock worker drain` only takes its work away", NULL, worker_stop,
};

/* ---- one of them ---- */

static json_t *entries_json(const struct hlk_worker_show_row *row)
{
	json_t *all = json_array();
	for (size_t i = 0; i < row->entry_count; i++) {
		const struct hlk_worker_entry_row *e = &row->entries[i];
		json_t *one = json_object();
		cli_set(one, "entry", json_integer(e->entry));
		output_set_bytes(one, e->by_queue ? "queue" : "service", e->service, strlen(e->service));
		output_set_bytes(one, "params", e->params, strlen(e->params));
		cli_set(one, "credit", json_integer(e->credit));
		cli_set(one, "tasks", json_integer(e->tasks));
		cli_set(one, "calls", json_integer(e->calls));
		cli_set(one, "capacity", json_integer(e->capacity));
		cli_set(one, "cost", json_integer(e->cost));
		ENSURE(json_array_append_new(all, one) == 0);
	}
	return all;
}

static json_t *leases_json(const struct hlk_worker_show_row *row)
{
	json_t *all = json_array();
	for (size_t i = 0; i < row->lease_count; i++) {
		const struct hlk_worker_lease_row *l = &row->leases[i];
		json_t *one = json_object();
		cli_set(one, "task", cli_integer(l->task));
		cli_set(one, "attempt", json_integer(l->attempt));
		output_set_bytes(one, "queue", l->queue, strlen(l->queue));
		cli_set(one, "started", json_boolean(l->started));
		ENSURE(json_array_append_new(all, one) == 0);
	}
	return all;
}

static void show_row(const struct hlk_worker_show_row *row, void *ctx)
{
	char session[24];
	json_t *object = json_object();
	(void)snprintf(session, sizeof session, "%llx", (unsigned long long)row->session);
	cli_set(object, "session", json_string(session));
	output_set_bytes(object, "name", row->name, strlen(row->name));
	output_set_bytes(object, "identity", row->identity, strlen(row->identity));
	output_set_bytes(object, "address", row->address, strlen(row->address));
	output_set_bytes(object, "release", row->release, strlen(row->release));
	output_set_bytes(object, "vnet", row->vnet, strlen(row->vnet));
	cli_set(object, "connected_ms", cli_integer(row->connected_ms));
	cli_set(object, "state", json_string(row->blocked ? "blocked" : row->draining ? "draining" : row->away ? "away" : "serving"));
	cli_set(object, "entries", entries_json(row));
	cli_set(object, "entries_total", json_integer(row->entries_total));
	cli_set(object, "leases", leases_json(row));
	cli_set(object, "leased", json_integer(row->leased));
	cli_set(object, "calls", json_integer(row->calls));
	cli_set(object, "calls_made", json_integer(row->calls_made));
	cli_set(object, "delivered_total", cli_integer(row->delivered_total));
	cli_set(object, "completed_total", cli_integer(row->completed_total));
	cli_set(object, "failed_total", cli_integer(row->failed_total));
	cli_set(object, "returned_total", cli_integer(row->returned_total));
	cli_set(object, "calls_total", cli_integer(row->calls_total));
	ENSURE(json_array_append_new(ctx, object) == 0);
}

/* For people: one worker is lines, what it serves and holds a table each. */
static void print_worker(struct cli *cli, json_t *object)
{
	static const struct column lines[] = {
		{ "session", "session", COLUMN_TEXT }, { "name", "name", COLUMN_TEXT }, { "identity", "identity", COLUMN_TEXT },
		{ "state", "state", COLUMN_STATE }, { "address", "address", COLUMN_TEXT }, { "release", "release", COLUMN_TEXT },
		{ "vnet", "vnet", COLUMN_TEXT }, { "connected_ms", "since", COLUMN_TIME }, { "leased", "tasks held", COLUMN_NUMBER },
		{ "calls", "calls in work", COLUMN_NUMBER }, { "calls_made", "calls it waits for", COLUMN_NUMBER },
		{ "delivered_total", "tasks, ever", COLUMN_NUMBER }, { "completed_total", "completed, ever", COLUMN_NUMBER },
		{ "failed_total", "failed, ever", COLUMN_NUMBER }, { "returned_total", "given back, ever", COLUMN_NUMBER },
		{ "calls_total", "calls, ever", COLUMN_NUMBER },
	};
	static const struct column entries[] = {
		{ "entry", "ENTRY", COLUMN_NUMBER }, { "service", "SERVICE", COLUMN_TEXT }, { "queue", "QUEUE", COLUMN_TEXT },
		{ "params", "PARAMS", COLUMN_TEXT }, { "credit", "CREDIT", COLUMN_NUMBER }, { "tasks", "TASKS", COLUMN_NUMBER },
		{ "calls", "CALLS", COLUMN_NUMBER }, { "capacity", "CAPACITY", COLUMN_NUMBER },
	};
	static const struct column leases[] = {
		{ "task", "TASK", COLUMN_NUMBER }, { "attempt", "ATTEMPT", COLUMN_NUMBER }, { "queue", "QUEUE", COLUMN_TEXT },
		{ "started", "STARTED", COLUMN_TEXT },
	};
	const struct { const char *key; const struct column *columns; uint32_t count; } tables[] = {
		{ "entries", entries, COUNT_OF(entries) }, { "leases", leases, COUNT_OF(leases) },
	};
	output_one(&cli->out, lines, COUNT_OF(lines), json_incref(object));
	for (size_t i = 0; i < COUNT_OF(tables); i++) {
		size_t index;
		json_t *row, *rows = json_object_get(object, tables[i].key);
		if (json_array_size(rows) == 0)
			continue;
		output_begin(&cli->out, tables[i].columns, tables[i].count);
		json_array_foreach(rows, index, row)
			output_row(&cli->out, json_incref(row));
		output_end(&cli->out);
	}
}

static int worker_show(struct cli *cli)
{
	size_t index;
	json_t *all = json_array(), *object;
	int code = cli_connect(cli);
	if (code == CLI_OK) {
		code = hlk_worker_show(cli->client, cli->args.plain[0], show_row, all);
		code = code == HLK_OK ? CLI_OK : cli_failed(cli, code, "worker %s", cli->args.plain[0]);
	}
	if (code == CLI_OK && cli->out.format == OUTPUT_TABLE) {
		json_array_foreach(all, index, object)
			print_worker(cli, object);
	} else if (code == CLI_OK) {
		output_begin(&cli->out, NULL, 0);
		json_array_foreach(all, index, object)
			output_row(&cli->out, json_incref(object));
		output_end(&cli->out);
	}
	json_decref(all);
	return code;
}

const struct command worker_show_command = {
	"worker", "show", "WORKER", 1, 1, "shows a worker: what it serves, what it holds, what it has done",
	"WORKER is the name of a client (all of its sessions are shown), or the number of a session.",
	"hillock worker show transcoder-7\twhat it is busy with\n"
	"hillock worker show transcoder-7 -o json | jq '.[].leases[].task'\tthe tasks it holds", NULL, worker_show,
};
