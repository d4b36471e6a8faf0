/* tools/bench_publish.c: `hillock bench publish`: one publisher, many subscribers, how many deliveries a second.
 *
 * Subscribers run in threads of their own, several to a thread, each with a connection of its own. Every event carries its number;
 * each subscriber checks that they come in order without a gap.
 *
 * Invariants:
 * 1. The clock runs from the first publish to the last event received by the last subscriber.
 * 2. A subscriber is touched by its thread alone; `received` is read by others. */
#include "commands.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "../wire/limits.h"
#include "hist.h"

enum { SUBSCRIBERS_MAX = 1000, THREADS_MAX = 64, IDLE_MS = 50 };

static const struct option options[] = {
	{ "subscribers", OPTION_COUNT, 'S', "N", "1", 1, SUBSCRIBERS_MAX, "connections that subscribe" },
	{ "count", OPTION_COUNT, 'n', "N", "1M", 1, 1ull << 34, "events in all" },
	{ "size", OPTION_SIZE, 0, "BYTES", "128", 16, LIMIT_PAYLOAD_BYTES, "of each payload" },
	{ "threads", OPTION_COUNT, 0, "N", "1", 1, THREADS_MAX, "for the subscribers" },
	{ "flight", OPTION_COUNT, 0, "N", "8k", 1, 1 << 20, "events unanswered at a time" },
	{ 0 },
};

struct listener {
	struct run *run;
	struct hlk *client;
	uint64_t next, lost;
	bool stands;
	_Atomic uint64_t received;
};
struct crew { struct run *run; pthread_t thread; uint32_t first, step; };
struct run {
	struct cli *cli;
	char type[64];
	struct listener *listeners;
	uint32_t count, threads;
	uint64_t events, answered, refused;
	uint32_t size, flight;
	_Atomic bool stop;
	_Atomic uint64_t last_ns;
	struct hist *latency;
};
struct stamp { uint64_t number, sent_ns; };

static uint64_t clock_now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void on_event(struct hlk *c, const struct hlk_event *e, void *ctx)
{
	struct listener *x = ctx;
	struct stamp stamp;
	(void)c;
	memcpy(&stamp, e->payload, sizeof stamp);
	x->lost += stamp.number != x->next;
	x->next = stamp.number + 1;
	uint64_t received = atomic_load_explicit(&x->received, memory_order_relaxed) + 1;
	if ((received & 127) == 0 && x == &x->run->listeners[0])
		hist_record(x->run->latency, clock_now() - stamp.sent_ns);
	if (received == x->run->events)
		atomic_store(&x->run->last_ns, clock_now());
	atomic_store_explicit(&x->received, received, memory_order_relaxed);
}

static void on_state(struct hlk *c, uint32_t id, int code, const struct hlk_subscription_counts *counts, void *ctx)
{
	struct listener *x = ctx;
	(void)c;
	(void)id;
	(void)counts;
	x->stands = code == HLK_OK;
}

static void *crew_main(void *arg)
{
	struct crew *crew = arg;
	struct run *run = crew->run;
	struct pollfd fds[SUBSCRIBERS_MAX];
	nfds_t count = 0;
	for (uint32_t i = crew->first; i < run->count; i += crew->step)
		fds[count++] = (struct pollfd){ .fd = hlk_fd(run->listeners[i].client), .events = POLLIN };
	while (!atomic_load_explicit(&run->stop, memory_order_relaxed)) {
		(void)poll(fds, count, IDLE_MS);
		for (nfds_t i = 0; i < count; i++)
			if (fds[i].revents)
				(void)hlk_process(run->listeners[crew->first + i * crew->step].client);
	}
	return NULL;
}

static int listeners_open(struct run *run)
{
	struct hlk_options open = run->cli->connect;
	open.name = "bench publish";
	for (uint32_t i = 0; i < run->count; i++) {
		struct listener *x = &run->listeners[i];
		struct hlk_error error = { 0 };
		x->run = run;
		int code = hlk_open(&open, &x->client, &error);
		if (code == HLK_OK)
			code = hlk_ready_wait(x->client, run->cli->timeout_ms);
		const struct hlk_subscribe_options o = { .pattern = run->type, .overflow = HLK_BLOCK, .credit = 65536,
							 .event = on_event, .state = on_state, .ctx = x };
		if (code == HLK_OK)
			code = hlk_subscribe_wait(x->client, &o, run->cli->timeout_ms, NULL);
		if (code != HLK_OK) {
			cli_say("subscriber %u: %s", i, x->client ? hlk_last_error(x->client)->text : error.text);
			return cli_exit_of(code);
		}
	}
	return CLI_OK;
}

static void was_published(struct hlk *c, const struct hlk_published *p, void *ctx)
{
	struct run *run = ctx;
	(void)c;
	run->answered++;
	run->refused += p->code != HLK_OK;
}

static bool all_received(const struct run *run)
{
	for (uint32_t i = 0; i < run->count; i++)
		if (atomic_load_explicit(&run->listeners[i].received, memory_order_relaxed) < run->events)
			return false;
	return true;
}

/* Seconds from the first publish to the last delivery; below 0 where something is missing. */
static double publish_all(struct run *run, struct hlk_topic *topic)
{
	struct hlk *c = run->cli->client;
	uint8_t *payload = calloc(1, run->size);
	ENSURE(payload != NULL);
	uint64_t begin = clock_now(), sent = 0, moved_ns = begin;
	while (sent < run->events || run->answered < run->events) {
		uint64_t before = run->answered;
		uint64_t now = clock_now();
		for (uint32_t i = 0; i < 512 && sent < run->events && sent - run->answered < run->flight; i++) {
			const struct stamp stamp = { sent, now };
			memcpy(payload, &stamp, sizeof stamp);
			if (hlk_publish(c, topic, payload, run->size, was_published, run) != HLK_OK)
				break;
			sent++;
		}
		bool full = sent == run->events || sent - run->answered >= run->flight;
		(void)hlk_run(c, full ? 100 : 0);
		if (run->answered != before)
			moved_ns = clock_now();
		if (clock_now() - moved_ns > 30000000000u)
			break;
	}
	free(payload);
	const struct timespec wait = { 0, 200000 };
	while (!all_received(run) && clock_now() - moved_ns < 30000000000u)
		(void)nanosleep(&wait, NULL);
	return all_received(run) ? (double)(atomic_load(&run->last_ns) - begin) / 1e9 : -1;
}

static void cpu_stat(const char *name, double value, void *ctx)
{
	if (strcmp(name, "process_cpu_seconds_total") == 0)
		*(double *)ctx = value;
}

static int print(struct run *run, double seconds, double cpu_s)
{
	static const struct column columns[] = {
		{ "subscribers", "subscribers", COLUMN_NUMBER }, { "events", "events", COLUMN_NUMBER },
		{ "size", "bytes each", COLUMN_NUMBER }, { "seconds", "seconds", COLUMN_DECIMAL },
		{ "events_per_s", "events/s", COLUMN_NUMBER }, { "deliveries_per_s", "deliveries/s", COLUMN_NUMBER },
		{ "latency_us.p50", "latency p50 us", COLUMN_DECIMAL }, { "latency_us.p99", "        p99 us", COLUMN_DECIMAL },
		{ "broker_cpu_us_per_event", "broker CPU us per event", COLUMN_DECIMAL }, { "checked", "checked", COLUMN_TEXT },
	};
	uint64_t lost = 0, received = 0;
	for (uint32_t i = 0; i < run->count; i++) {
		lost += run->listeners[i].lost;
		received += run->listeners[i].received;
	}
	bool good = seconds > 0 && lost == 0 && run->refused == 0;
	json_t *object = json_object(), *latency = json_object();
	cli_set(object, "subscribers", json_integer(run->count));
	cli_set(object, "events", cli_integer(run->events));
	cli_set(object, "size", json_integer(run->size));
	cli_set(object, "seconds", json_real(seconds));
	cli_set(object, "events_per_s", json_integer(good ? (json_int_t)((double)run->events / seconds) : 0));
	cli_set(object, "deliveries_per_s", json_integer(good ? (json_int_t)((double)received / seconds) : 0));
	cli_set(latency, "p50", json_real((double)hist_quantile(run->latency, 0.5) / 1e3));
	cli_set(latency, "p99", json_real((double)hist_quantile(run->latency, 0.99) / 1e3));
	cli_set(object, "latency_us", latency);
	cli_set(object, "broker_cpu_us_per_event", json_real(cpu_s * 1e6 / (double)run->events));
	char checked[128];
	(void)snprintf(checked, sizeof checked, "%s: received %llu of %llu, out of order %llu, refused %llu", good ? "good" : "BAD",
		       (unsigned long long)received, (unsigned long long)(run->events * run->count), (unsigned long long)lost,
		       (unsigned long long)run->refused);
	cli_set(object, "checked", json_string(checked));
	output_one(&run->cli->out, columns, COUNT_OF(columns), object);
	return good ? CLI_OK : CLI_PARTIAL;
}

static int measure(struct run *run)
{
	struct crew crews[THREADS_MAX];
	const struct hlk_topic_options o = { .type = run->type };
	struct hlk_topic *topic = hlk_topic_new(run->cli->client, &o, NULL);
	ENSURE(topic != NULL);
	double cpu_before = 0, cpu_after = 0;
	(void)hlk_stats(run->cli->client, cpu_stat, &cpu_before);
	for (uint32_t i = 0; i < run->threads; i++) {
		crews[i] = (struct crew){ .run = run, .first = i, .step = run->threads };
		ENSURE(pthread_create(&crews[i].thread, NULL, crew_main, &crews[i]) == 0);
	}
	double seconds = publish_all(run, topic);
	atomic_store(&run->stop, true);
	for (uint32_t i = 0; i < run->threads; i++)
		(void)pthread_join(crews[i].thread, NULL);
	hlk_topic_free(topic);
	(void)hlk_stats(run->cli->client, cpu_stat, &cpu_after);
	return print(run, seconds, cpu_after - cpu_before);
}

static int bench_publish(struct cli *cli)
{
	const struct args *args = &cli->args;
	struct run run = { .cli = cli, .count = (uint32_t)args_number(args, "subscribers"), .events = args_number(args, "count"),
			   .size = (uint32_t)args_number(args, "size"), .flight = (uint32_t)args_number(args, "flight"),
			   .threads = (uint32_t)args_number(args, "threads") };
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	run.threads = MIN_OF(run.threads, run.count);
	(void)snprintf(run.type, sizeof run.type, "hillock_bench.v1.Event%llu", (unsigned long long)clock_now());
	run.listeners = calloc(run.count, sizeof *run.listeners);
	run.latency = calloc(1, sizeof *run.latency);
	ENSURE(run.listeners && run.latency);
	code = listeners_open(&run);
	if (code == CLI_OK)
		code = measure(&run);
	for (uint32_t i = 0; i < run.count; i++)
		hlk_close(run.listeners[i].client, 0);
	free(run.listeners);
	free(run.latency);
	return code;
}

const struct command bench_publish_command = {
	"bench", "publish", "", 0, 0, "measures events: one publisher, many subscribers",
	"Subscribers never drop (policy block); each checks order and completeness. Latency runs from the call of publish to the handler.",
	"hillock bench publish --subscribers 10 --count 1M\ta million events to ten subscribers\n"
	"hillock bench publish --subscribers 1 --flight 1 --count 20000\tthe way of a single event",
	options, bench_publish,
};
