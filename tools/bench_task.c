/* tools/bench_task.c: `hillock bench task|submit|drain`: what to run, and what came out.
 *
 * The result says what it meant: `durable` is what the confirms promised, `missing`, `duplicates` and `corrupt` must be 0,
 * and a run that was cut short or refused exits with 3 and says so, instead of printing a rate nobody can trust. */
#include "commands.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "../wire/limits.h"
#include "bench.h"

#define OPTIONS_LOAD                                                                                         \
	{ "size", OPTION_SIZE, 0, "BYTES", "128", BENCH_HEADER, LIMIT_PAYLOAD_BYTES, "of each payload" },    \
	{ "window", OPTION_COUNT, 0, "N", "8192", 1, LIMIT_PRODUCER_WINDOW, "unconfirmed tasks per producer" }, \
	{ "rate", OPTION_COUNT, 0, "R", "0", 0, 0, "tasks per second, on a fixed schedule; 0: no limit" },    \
	{ "confirm", OPTION_CHOICE, 0, "durable|accepted|none", "durable", 0, 0, "what a confirm is to mean" }
#define OPTIONS_LANES                                                                                        \
	{ "lanes", OPTION_COUNT, 0, "N", "0", 0, 10000, "kinds of tasks, each with a requirement of its own; 0: none" }, \
	{ "stretch", OPTION_COUNT, 0, "N", "64", 1, 0, "tasks of a kind in a row" }
#define OPTION_PREFETCH                                                                                      \
	{ "prefetch", OPTION_COUNT, 0, "N", "8192", 1, LIMIT_ENTRY_CREDIT, "tasks under way to each worker" }
#define OPTIONS_RUN                                                                                          \
	{ "threads", OPTION_COUNT, 0, "N", "0", 0, BENCH_THREADS, "of this program; 0: one per producer and worker" }, \
	{ "stall", OPTION_DURATION, 0, "D", "60s", 100, 86400000, "give up after this long without any progress" }

static const struct option task_options[] = {
	{ "producers", OPTION_COUNT, 'P', "N", "1", 1, 10000, "connections that submit" },
	{ "workers", OPTION_COUNT, 'W', "N", "1", 1, 10000, "connections that work" },
	{ "count", OPTION_COUNT, 'n', "N", "100k", 1, 1ull << 34, "tasks in all" },
	OPTIONS_LOAD,
	OPTION_PREFETCH,
	OPTIONS_LANES,
	{ "entries", OPTION_COUNT, 0, "N", "0", 0, LIMIT_SESSION_ENTRIES, "of each worker, spread over the lanes" },
	{ "alike", OPTION_FLAG, 0, NULL, NULL, 0, 0, "the same kinds without requirements: the difference is what matching costs" },
	{ "queue", OPTION_TEXT, 'q', "QUEUE", NULL, 0, 0, "default: one of its own, removed afterwards" },
	{ "shared", OPTION_FLAG, 0, NULL, NULL, 0, 0, "producer and worker share a connection" },
	{ "disk", OPTION_TEXT, 0, "DIR", NULL, 0, 0, "measure a synced 4 KiB append there, too: disk_append_us" },
	OPTIONS_RUN,
	{ 0 },
};
static const struct option submit_options[] = {
	{ "producers", OPTION_COUNT, 'P', "N", "1", 1, 10000, "connections that submit" },
	{ "count", OPTION_COUNT, 'n', "N", "100k", 1, 1ull << 34, "tasks in all" },
	OPTIONS_LOAD,
	OPTIONS_LANES,
	{ "first-lane", OPTION_COUNT, 0, "N", "0", 0, 1u << 30, "number of the first lane: one that nobody has, for what nobody can do" },
	{ "queue", OPTION_TEXT, 'q', "QUEUE", "bench", 0, 0, "where the backlog is built" },
	OPTIONS_RUN,
	{ 0 },
};
static const struct option drain_options[] = {
	{ "workers", OPTION_COUNT, 'W', "N", "1", 1, 10000, "connections that work" },
	{ "count", OPTION_COUNT, 'n', "N", "0", 0, 1ull << 34, "tasks to settle; 0: all that are ready now" },
	OPTION_PREFETCH,
	{ "queue", OPTION_TEXT, 'q', "QUEUE", "bench", 0, 0, "what to empty" },
	OPTIONS_RUN,
	{ 0 },
};

static const struct column task_fields[] = {
	{ "tasks", "tasks", COLUMN_NUMBER },
	{ "seconds", "seconds", COLUMN_DECIMAL },
	{ "tasks_per_s", "tasks/s", COLUMN_NUMBER },
	{ "confirm_us.p50", "confirm p50 us", COLUMN_DECIMAL },
	{ "confirm_us.p99", "        p99 us", COLUMN_DECIMAL },
	{ "confirm_us.p999", "        p99.9 us", COLUMN_DECIMAL },
	{ "confirm_us.max", "        max us", COLUMN_DECIMAL },
	{ "e2e_us.p50", "end to end p50 us", COLUMN_DECIMAL },
	{ "e2e_us.p99", "        p99 us", COLUMN_DECIMAL },
	{ "e2e_us.p999", "        p99.9 us", COLUMN_DECIMAL },
	{ "e2e_us.max", "        max us", COLUMN_DECIMAL },
	{ "settle_us.p50", "settle p50 us", COLUMN_DECIMAL },
	{ "settle_us.p99", "        p99 us", COLUMN_DECIMAL },
	{ "disk_append_us.p50", "disk append p50 us", COLUMN_DECIMAL },
	{ "disk_append_us.p99", "        p99 us", COLUMN_DECIMAL },
	{ "broker_cpu_s_per_million", "broker CPU s per million", COLUMN_DECIMAL },
	{ "client_cpu_s_per_million", "client CPU s per million", COLUMN_DECIMAL },
	{ "durable", "a confirm meant", COLUMN_TEXT },
	{ "order", "order", COLUMN_TEXT },
	{ "checked", "checked", COLUMN_TEXT },
};

static void cpu_stat(const char *name, double value, void *ctx)
{
	if (strcmp(name, "process_cpu_seconds_total") == 0)
		*(double *)ctx = value;
}

/* CPU seconds of the broker so far; below 0 where it does not say. */
static double broker_cpu(struct cli *cli)
{
	double seconds = -1;
	return hlk_stats(cli->client, cpu_stat, &seconds) == HLK_OK ? seconds : -1;
}

static void ready_count(const struct hlk_queue_row *row, void *ctx)
{
	*(uint64_t *)ctx = row->ready;
}

static json_t *quantiles(const struct hist *hist)
{
	json_t *object = json_object();
	cli_set(object, "p50", json_real((double)hist_quantile(hist, 0.5) / 1e3));
	cli_set(object, "p99", json_real((double)hist_quantile(hist, 0.99) / 1e3));
	cli_set(object, "p999", json_real((double)hist_quantile(hist, 0.999) / 1e3));
	cli_set(object, "max", json_real((double)hist->max / 1e3));
	return object;
}

static const char *level_name(enum hlk_confirm level)
{
	switch (level) {
	case HLK_CONFIRM_DURABLE:
		return "synced";
	case HLK_CONFIRM_ACCEPTED:
		return "accepted";
	case HLK_CONFIRM_NONE:
		return "none";
	}
	return "unknown";
}

static void plan_set(json_t *object, const struct bench_plan *plan)
{
	cli_set(object, "queue", json_string(plan->queue));
	cli_set(object, "producers", json_integer(plan->producers));
	cli_set(object, "workers", json_integer(plan->workers));
	cli_set(object, "size", json_integer(plan->size));
	cli_set(object, "window", json_integer(plan->window));
	cli_set(object, "prefetch", json_integer(plan->prefetch));
	cli_set(object, "rate", cli_integer(plan->rate));
	cli_set(object, "lanes", json_integer(plan->lanes));
	cli_set(object, "entries", json_integer(plan->entries));
}

static bool result_good(const struct bench_plan *plan, const struct bench_result *r)
{
	uint64_t done = plan->producers > 0 ? r->confirmed : r->settled;
	return done == plan->count && r->missing + r->duplicates + r->corrupt + r->disorder + r->refused == 0 &&
	       !r->interrupted && !r->stalled;
}

static json_t *result_json(const struct bench_plan *plan, const struct bench_result *r, double cpu_s)
{
	json_t *object = json_object();
	uint64_t tasks = plan->workers > 0 ? r->settled : r->confirmed;
	double millions = (double)MAX_OF(tasks, (uint64_t)1) / 1e6;
	char checked[160];
	cli_set(object, "tasks", cli_integer(tasks));
	cli_set(object, "seconds", json_real(r->seconds));
	cli_set(object, "tasks_per_s", json_integer(r->seconds > 0 ? (json_int_t)((double)tasks / r->seconds) : 0));
	if (plan->producers > 0)
		cli_set(object, "confirm_us", quantiles(&r->confirm));
	if (plan->producers > 0 && plan->workers > 0)
		cli_set(object, "e2e_us", quantiles(&r->e2e));
	if (plan->workers > 0)
		cli_set(object, "settle_us", quantiles(&r->settle));
	cli_set(object, "broker_cpu_s_per_million", cpu_s >= 0 ? json_real(cpu_s / millions) : json_null());
	cli_set(object, "client_cpu_s_per_million", json_real(r->client_cpu_s / millions));
	cli_set(object, "durable", json_string(level_name(r->level)));
	if (plan->foreign)
		cli_set(object, "order", json_string(plan->workers > 1 ? "unchecked" : r->disorder ? "broken" : "kept"));
	plan_set(object, plan);
	cli_set(object, "confirmed", cli_integer(r->confirmed));
	cli_set(object, "refused", cli_integer(r->refused));
	cli_set(object, "missing", cli_integer(r->missing));
	cli_set(object, "duplicates", cli_integer(r->duplicates));
	cli_set(object, "redelivered", cli_integer(r->redelivered));
	cli_set(object, "corrupt", cli_integer(r->corrupt));
	cli_set(object, "disorder", cli_integer(r->disorder));
	(void)snprintf(checked, sizeof checked, "%s: missing %llu, settled twice %llu, corrupt %llu, refused %llu",
		       result_good(plan, r) ? "good" : "BAD", (unsigned long long)r->missing,
		       (unsigned long long)r->duplicates, (unsigned long long)r->corrupt, (unsigned long long)r->refused);
	cli_set(object, "checked", json_string(checked));
	return object;
}

static void disk_add(struct cli *cli, const char *dir, json_t *object)
{
	struct hist *hist = calloc(1, sizeof *hist);
	ENSURE(hist != NULL);
	int error = disk_append_direct(dir, 500, hist);
	if (error == EINVAL || error == EOPNOTSUPP) /* no O_DIRECT on this file system */
		error = disk_append_buffered(dir, 500, false, hist);
	if (error == 0)
		cli_set(object, "disk_append_us", quantiles(hist));
	else
		cli_say("--disk %s: %s", dir, strerror(error));
	(void)cli;
	free(hist);
}

/* Runs the plan between two looks at the broker's CPU time and prints what came out. */
static int bench_go(struct cli *cli, struct bench_plan *plan, const char *disk)
{
	struct bench_result *result = calloc(1, sizeof *result);
	ENSURE(result != NULL);
	double cpu_before = broker_cpu(cli);
	int code = bench_run(plan, result);
	double cpu_after = broker_cpu(cli);
	if (code != HLK_OK) {
		cli_say("the benchmark could not start: %s", result->error);
		free(result);
		return cli_exit_of(code);
	}
	/* A broker that was restarted meanwhile counts from 0 again. */
	bool cpu_known = cpu_before >= 0 && cpu_after >= cpu_before;
	json_t *object = result_json(plan, result, cpu_known ? cpu_after - cpu_before : -1);
	if (disk)
		disk_add(cli, disk, object);
	output_one(&cli->out, task_fields, COUNT_OF(task_fields), object);
	if (result->interrupted)
		cli_say("interrupted: the figures are of what was done until then");
	if (result->stalled)
		cli_say("nothing moved for %d s: given up", plan->stall_ms / 1000);
	if (result->error[0])
		cli_say("%llu tasks were refused; the last: %s", (unsigned long long)result->refused, result->error);
	bool good = result_good(plan, result);
	free(result);
	return good ? CLI_OK : CLI_PARTIAL;
}

static struct bench_plan plan_common(struct cli *cli)
{
	const struct args *args = &cli->args;
	return (struct bench_plan){
		.connect = cli->connect,
		.timeout_ms = cli->timeout_ms,
		.threads = (uint32_t)args_number(args, "threads"),
		.stall_ms = (int)args_number(args, "stall"),
		.count = args_number(args, "count"),
		.queue = args_text(args, "queue"),
		.size = BENCH_HEADER,
		.window = 1,
		.prefetch = 1,
	};
}

static void plan_load(const struct args *args, struct bench_plan *plan)
{
	const char *confirm = args_text(args, "confirm");
	plan->producers = (uint32_t)args_number(args, "producers");
	plan->size = (uint32_t)args_number(args, "size");
	plan->window = (uint32_t)args_number(args, "window");
	plan->rate = args_number(args, "rate");
	plan->lanes = (uint32_t)args_number(args, "lanes");
	plan->stretch = (uint32_t)args_number(args, "stretch");
	plan->confirm = strcmp(confirm, "none") == 0	 ? HLK_CONFIRM_NONE :
			strcmp(confirm, "accepted") == 0 ? HLK_CONFIRM_ACCEPTED : HLK_CONFIRM_DURABLE;
}

static int bench_task(struct cli *cli)
{
	const struct args *args = &cli->args;
	struct bench_plan plan = plan_common(cli);
	struct hlk_queue_settings settings = HLK_QUEUE_UNCHANGED;
	char own[64];
	bool mock = strncmp(cli->url, "mock:", 5) == 0; /* every mock client is a broker of its own */
	plan_load(args, &plan);
	plan.workers = (uint32_t)args_number(args, "workers");
	plan.prefetch = (uint32_t)args_number(args, "prefetch");
	plan.shared = args_number(args, "shared") || mock;
	plan.entries = (uint32_t)args_number(args, "entries");
	plan.alike = args_number(args, "alike");
	if (mock && (plan.producers != 1 || plan.workers != 1))
		return cli_usage(cli, "mock:// has one producer and one worker");
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	bool temporary = !plan.queue;
	if (temporary) {
		(void)snprintf(own, sizeof own, "bench-%d-%lld", (int)getpid(), (long long)time(NULL));
		plan.queue = own;
		code = hlk_queue_create(cli->client, own, &settings);
		if (code != HLK_OK)
			return cli_failed(cli, code, "making queue %s", own);
	}
	code = bench_go(cli, &plan, args_text(args, "disk"));
	if (temporary && code == CLI_OK && !mock && hlk_queue_remove(cli->client, own) != HLK_OK)
		cli_say("queue %s stays: it is not empty", own);
	return code;
}

const struct command bench_task_command = {
	"bench", "task", "", 0, 0, "measures the whole life of tasks: submit, sync, confirm, push, start, settle",
	"confirm_us runs from the moment a task was due to its confirm; e2e_us to the moment its settling is acknowledged as\n"
	"durable. With --rate a task is due by the schedule, so that a stall is charged to all it delayed; without, when the\n"
	"window had room for it. Every task is checked: settled exactly once, payload intact. Exit code 3: not all was well.",
	"hillock bench task --producers 1 --workers 1 --size 128 --count 1M\tthroughput\n"
	"hillock bench task --window 1 --count 2000 --disk /var/lib/hillock\tlatency of one confirm beside the disk's own\n"
	"hillock bench task --lanes 100 --entries 250 --workers 4\t1,000 entries and 100 requirements; with --alike, without them\n"
	"hillock bench task --rate 20k --count 1M -o json | jq .e2e_us\tlatency under a steady load",
	task_options, bench_task,
};

static int bench_submit(struct cli *cli)
{
	struct bench_plan plan = plan_common(cli);
	plan_load(&cli->args, &plan);
	plan.first_lane = (uint32_t)args_number(&cli->args, "first-lane");
	int code = cli_connect(cli);
	return code == CLI_OK ? bench_go(cli, &plan, NULL) : code;
}

const struct command bench_submit_command = {
	"bench", "submit", "", 0, 0, "builds a backlog and measures how fast", NULL,
	"hillock bench submit --count 10M --size 128\tten million tasks in queue bench\n"
	"hillock bench drain\tand empties it again", submit_options, bench_submit,
};

static int bench_drain(struct cli *cli)
{
	struct bench_plan plan = plan_common(cli);
	plan.workers = (uint32_t)args_number(&cli->args, "workers");
	plan.prefetch = (uint32_t)args_number(&cli->args, "prefetch");
	plan.foreign = true;
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	if (plan.count == 0) {
		code = hlk_queue_show(cli->client, plan.queue, ready_count, &plan.count);
		if (code != HLK_OK)
			return cli_failed(cli, code, "queue %s", plan.queue);
	}
	if (plan.count > 0)
		return bench_go(cli, &plan, NULL);
	cli_say("queue %s: nothing is ready", plan.queue);
	return CLI_NOT_FOUND;
}

const struct command bench_drain_command = {
	"bench", "drain", "", 0, 0, "empties a queue and measures how fast; one worker also checks the order",
	"Settles whatever is in the queue, also tasks that no benchmark made: name the queue with care.",
	"hillock bench drain --queue bench\tall that is ready\n"
	"hillock bench drain --queue bench --count 1M --workers 4\ta million of it, by four", drain_options, bench_drain,
};
