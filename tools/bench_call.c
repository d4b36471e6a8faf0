/* tools/bench_call.c: `hillock bench call`: request and reply through the broker, a fixed number in flight.
 *
 * A holder in a thread of its own answers every call with the bytes it got; the caller keeps the window full. Both have a
 * connection of their own, as two programs would.
 *
 * Invariants:
 * 1. Every answer is checked: its code, its size and the number in it. One that is missing ends the run at its deadline.
 * 2. A latency is from the moment a call is made to its answer in the caller's handler. */
#include "commands.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "../wire/limits.h"
#include "hist.h"

enum { WINDOW_MAX = 65536, DEADLINE_MS = 10000 };

static const struct option options[] = {
	{ "count", OPTION_COUNT, 'n', "N", "500k", 1, 1ull << 32, "calls in all" },
	{ "size", OPTION_SIZE, 0, "BYTES", "128", 16, LIMIT_PAYLOAD_BYTES, "of each request and answer" },
	{ "window", OPTION_COUNT, 0, "N", "64", 1, WINDOW_MAX, "calls in flight" },
	{ 0 },
};

struct stamp { uint64_t number, made_ns; };
struct run {
	struct cli *cli;
	struct hlk_call_options call;
	struct hlk *holder;
	char service[64];
	uint64_t count, made, answered, wrong;
	uint32_t size, window;
	int code;               /* of the first answer that was none */
	char text[160];
	uint8_t *payload;
	_Atomic bool stop;
	struct hist latency;
};

static uint64_t clock_now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void on_call(struct hlk *c, struct hlk_call *call, void *ctx)
{
	const struct hlk_call_info *info = hlk_call_info(call);
	(void)c;
	(void)ctx;
	(void)hlk_answer(call, info->payload, info->size);
}

static void *holder_main(void *arg)
{
	struct run *run = arg;
	while (!atomic_load(&run->stop))
		(void)hlk_run(run->holder, HLK_FOREVER);
	return NULL;
}

static int holder_open(struct run *run)
{
	struct hlk_options open = run->cli->connect;
	open.name = "bench call holder";
	const struct hlk_serve_options serve = { .type = run->service, .capacity = run->window, .call = on_call };
	struct hlk_error error = { 0 };
	int code = hlk_open(&open, &run->holder, &error);
	if (code == HLK_OK)
		code = hlk_ready_wait(run->holder, run->cli->timeout_ms);
	if (code == HLK_OK)
		code = hlk_serve(run->holder, &serve, NULL);
	if (code == HLK_OK)
		code = hlk_serve_wait(run->holder, run->cli->timeout_ms);
	if (code != HLK_OK)
		cli_say("the holder: %s", run->holder ? hlk_last_error(run->holder)->text : error.text);
	return code == HLK_OK ? CLI_OK : cli_exit_of(code);
}

static void on_answer(struct hlk *c, const struct hlk_answer *answer, void *ctx)
{
	struct run *run = ctx;
	struct stamp stamp;
	(void)c;
	run->answered++;
	if (answer->code != HLK_OK || answer->size != run->size) {
		if (run->wrong++ == 0) {
			run->code = answer->code;
			(void)snprintf(run->text, sizeof run->text, "%.*s", (int)MIN_OF(answer->size, (size_t)150),
				       answer->code == HLK_OK ? "an answer of another size" : (const char *)answer->data);
		}
		return;
	}
	memcpy(&stamp, answer->data, sizeof stamp);
	run->wrong += stamp.number >= run->made;
	hist_record(&run->latency, clock_now() - stamp.made_ns);
}

static double call_all(struct run *run)
{
	struct hlk *c = run->cli->client;
	uint64_t begin = clock_now();
	while (run->answered < run->count && run->wrong == 0) {
		while (run->made < run->count && run->made - run->answered < run->window) {
			const struct stamp stamp = { run->made, clock_now() };
			memcpy(run->payload, &stamp, sizeof stamp);
			int code = hlk_call(c, &run->call, run->payload, run->size, on_answer, run, NULL);
			if (code == HLK_AGAIN)
				break;
			if (code != HLK_OK) {
				run->wrong++;
				run->code = code;
				(void)snprintf(run->text, sizeof run->text, "%.150s", hlk_last_error(c)->text);
				break;
			}
			run->made++;
		}
		(void)hlk_run(c, 1000);
	}
	return (double)(clock_now() - begin) / 1e9;
}

static void cpu_stat(const char *name, double value, void *ctx)
{
	if (strcmp(name, "process_cpu_seconds_total") == 0)
		*(double *)ctx = value;
}

static int print(struct run *run, double seconds, double cpu_s)
{
	static const struct column columns[] = {
		{ "calls", "calls", COLUMN_NUMBER }, { "size", "bytes each", COLUMN_NUMBER },
		{ "window", "in flight", COLUMN_NUMBER }, { "seconds", "seconds", COLUMN_DECIMAL },
		{ "calls_per_s", "calls/s", COLUMN_NUMBER }, { "latency_us.p50", "latency p50 us", COLUMN_DECIMAL },
		{ "latency_us.p99", "        p99 us", COLUMN_DECIMAL }, { "latency_us.max", "        max us", COLUMN_DECIMAL },
		{ "broker_cpu_s_per_million", "broker CPU s per million", COLUMN_DECIMAL },
	};
	static const struct { const char *name; double q; } quantiles[] = {
		{ "p50", 0.5 }, { "p99", 0.99 }, { "p999", 0.999 }, { "max", 1 },
	};
	json_t *object = json_object(), *latency = json_object();
	cli_set(object, "calls", cli_integer(run->answered));
	cli_set(object, "size", json_integer(run->size));
	cli_set(object, "window", json_integer(run->window));
	cli_set(object, "seconds", json_real(seconds));
	cli_set(object, "calls_per_s", json_integer((json_int_t)((double)run->answered / seconds)));
	for (size_t i = 0; i < COUNT_OF(quantiles); i++)
		cli_set(latency, quantiles[i].name, json_real((double)hist_quantile(&run->latency, quantiles[i].q) / 1e3));
	cli_set(object, "latency_us", latency);
	cli_set(object, "broker_cpu_s_per_million", json_real(cpu_s * 1e6 / (double)MAX_OF(run->answered, (uint64_t)1)));
	output_one(&run->cli->out, columns, COUNT_OF(columns), object);
	if (run->wrong > 0)
		cli_say("bench call: %s: %s", hlk_error_name(run->code), run->text);
	return run->wrong > 0 ? CLI_PARTIAL : CLI_OK;
}

static int measure(struct run *run)
{
	pthread_t thread;
	double cpu_before = 0, cpu_after = 0;
	int code = hlk_stats(run->cli->client, cpu_stat, &cpu_before);
	if (code != HLK_OK)
		return cli_exit_of(code);
	ENSURE(pthread_create(&thread, NULL, holder_main, run) == 0);
	double seconds = call_all(run);
	atomic_store(&run->stop, true);
	hlk_wake(run->holder);
	(void)pthread_join(thread, NULL);
	(void)hlk_stats(run->cli->client, cpu_stat, &cpu_after);
	return print(run, seconds, cpu_after - cpu_before);
}

static int bench_call(struct cli *cli)
{
	const struct args *args = &cli->args;
	struct run *run = calloc(1, sizeof *run);
	ENSURE(run != NULL);
	run->cli = cli;
	run->count = args_number(args, "count");
	run->size = (uint32_t)args_number(args, "size");
	run->window = (uint32_t)args_number(args, "window");
	run->payload = calloc(1, run->size);
	ENSURE(run->payload != NULL);
	(void)snprintf(run->service, sizeof run->service, "hillock_bench.v1.Echo%llu", (unsigned long long)clock_now());
	run->call = (struct hlk_call_options){ .service = run->service, .deadline_ms = DEADLINE_MS };
	int code = cli_connect(cli);
	if (code == CLI_OK)
		code = holder_open(run);
	if (code == CLI_OK)
		code = measure(run);
	if (run->holder)
		hlk_close(run->holder, 0);
	free(run->payload);
	free(run);
	return code;
}

const struct command bench_call_command = {
	"bench", "call", "", 0, 0, "measures calls: one caller, one holder, a window in flight",
	"Nothing of a call is stored. Every answer is checked.",
	"hillock bench call --count 500k --window 64\trequest and reply, 64 in flight\n"
	"hillock bench call --window 1 --count 20000\tthe round trip of a single call",
	options, bench_call,
};
