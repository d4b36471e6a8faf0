/* tools/publish.c: `hillock publish`, `hillock subscribe` and `hillock events`.
 *
 * Data flow: payload -> publish -> status; subscription -> one line per event, as it comes.
 *
 * Invariants:
 * 1. A subscriber says on stderr when its subscription stands: what is published after that line is not missed.
 * 2. At its end it says what it received and what was dropped for it. */
#include "commands.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "../wire/limits.h"
#include "input.h"

/* ---- publish ---- */

static const struct option publish_options[] = {
	{ "payload", OPTION_TEXT, 'p', "TEXT", NULL, 0, 0, "the payload itself" },
	{ "file", OPTION_TEXT, 'f', "FILE", NULL, 0, 0, "the payload is this file; - is standard input" },
	{ "lines", OPTION_FLAG, 0, NULL, NULL, 0, 0, "one event for each line of the input, without its line end" },
	{ "key", OPTION_TEXT, 'k', "KEY", NULL, 0, 0, "of what the event tells; a retained value is one of (type, key)" },
	{ "retain", OPTION_FLAG, 'r', NULL, NULL, 0, 0, "keep it for those who subscribe later; an empty payload ends that" },
	{ "header", OPTION_LIST, 'H', "NAME=VALUE", NULL, 0, 0, "carried to the subscribers; may be given again" },
	{ "fingerprint", OPTION_COUNT, 0, "N", "0", 0, 0, "of the payload's encoding" },
	{ 0 },
};

struct publishing {
	struct cli *cli;
	struct hlk_topic *topic;
	uint64_t published, answered, taken, nobody, refused;
	uint32_t receivers;
	const char *status;
	char error[256];
};

static void was_published(struct hlk *c, const struct hlk_published *p, void *ctx)
{
	struct publishing *run = ctx;
	(void)c;
	run->answered++;
	run->status = p->status;
	run->receivers = p->receivers;
	run->taken += p->code == HLK_OK && p->receivers > 0;
	run->nobody += p->code == HLK_OK && p->receivers == 0;
	if (p->code == HLK_OK)
		return;
	run->refused++;
	(void)snprintf(run->error, sizeof run->error, "%s (%s)", p->text[0] ? p->text : hlk_error_text(p->code),
		       hlk_error_name(p->code));
}

static int publish_one(struct publishing *run, const void *data, size_t size)
{
	struct hlk *c = run->cli->client;
	int code;
	while ((code = hlk_publish(c, run->topic, data, size, was_published, run)) == HLK_AGAIN)
		(void)hlk_run(c, 100);
	run->published += code == HLK_OK;
	return code == HLK_OK ? CLI_OK : cli_failed(run->cli, code, "event %llu", (unsigned long long)run->published + 1);
}

static int publish_lines(struct publishing *run, FILE *input)
{
	char *text = NULL;
	size_t room = 0;
	ssize_t len;
	int code = CLI_OK;
	while (code == CLI_OK && (errno = 0, len = getline(&text, &room, input)) >= 0) {
		if (len > 0 && text[len - 1] == '\n')
			len--;
		code = publish_one(run, text, (size_t)len);
	}
	free(text);
	return code;
}

/* All of a file, of any size; a zero byte in it is a byte like any other. */
static int publish_whole(struct publishing *run, const char *file)
{
	struct input in;
	struct hlk *c = run->cli->client;
	int code = input_read(run->cli, NULL, file, &in);
	if (code == CLI_OK)
		code = input_send(run->cli, &in);
	if (code == CLI_OK) {
		while ((code = hlk_publish_payload(c, run->topic, &in.payload, was_published, run)) == HLK_AGAIN)
			(void)hlk_run(c, 100);
		run->published += code == HLK_OK;
		code = code == HLK_OK ? CLI_OK : cli_failed(run->cli, code, "event");
	}
	input_free(&in);
	return code;
}

static int publish_input(struct publishing *run, const char *file, bool lines)
{
	if (!lines)
		return publish_whole(run, file);
	FILE *input = strcmp(file, "-") == 0 ? stdin : fopen(file, "re");
	if (!input) {
		cli_say("%s: %m", file);
		return CLI_USAGE;
	}
	int code = publish_lines(run, input);
	if (input != stdin)
		(void)fclose(input);
	return code;
}

static int publish_print(struct publishing *run)
{
	static const struct column columns[] = {
		{ "status", "status", COLUMN_TEXT }, { "receivers", "receivers", COLUMN_NUMBER },
		{ "events", "events", COLUMN_NUMBER }, { "nobody", "without a subscriber", COLUMN_NUMBER },
		{ "refused", "refused", COLUMN_NUMBER },
	};
	json_t *object = json_object();
	cli_set(object, "status", json_string(run->status ? run->status : "none"));
	cli_set(object, "receivers", cli_integer(run->receivers));
	cli_set(object, "events", cli_integer(run->published));
	cli_set(object, "nobody", cli_integer(run->nobody));
	cli_set(object, "refused", cli_integer(run->refused));
	output_one(&run->cli->out, columns, COUNT_OF(columns), object);
	if (run->refused == 0)
		return CLI_OK;
	cli_say("%llu of %llu events were refused; the last: %s", (unsigned long long)run->refused,
		(unsigned long long)run->published, run->error);
	return run->refused == run->published ? CLI_REFUSED : CLI_PARTIAL;
}

static int64_t now_ms(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int headers_read(struct cli *cli, struct hlk_header *headers, char names[][256])
{
	const struct args *args = &cli->args;
	for (uint32_t i = 0; i < args->list_count; i++) {
		const char *equals = strchr(args->list[i], '=');
		size_t len = equals ? (size_t)(equals - args->list[i]) : 0;
		if (len == 0 || len >= 256)
			return cli_usage(cli, "--header %.60s: expected NAME=VALUE", args->list[i]);
		memcpy(names[i], args->list[i], len);
		headers[i] = (struct hlk_header){ names[i], equals + 1 };
	}
	return CLI_OK;
}

static int publish_go(struct publishing *run, const char *text, const char *file)
{
	struct cli *cli = run->cli;
	int64_t deadline = now_ms() + cli->timeout_ms;
	int code = file ? publish_input(run, file, args_number(&cli->args, "lines"))
			: publish_one(run, text ? text : "", text ? strlen(text) : 0);
	(void)hlk_flush(cli->client);
	while (code == CLI_OK && run->answered < run->published && now_ms() < deadline)
		(void)hlk_run(cli->client, 100);
	if (code == CLI_OK && run->answered < run->published) {
		cli_say("no answer for %llu events in time: they may or may not have gone out",
			(unsigned long long)(run->published - run->answered));
		code = CLI_UNAVAILABLE;
		cli->timeout_ms = 0; /* and we do not wait for it a second time */
	}
	int printed = publish_print(run);
	return code == CLI_OK ? printed : code;
}

static int publish_run(struct cli *cli)
{
	const struct args *args = &cli->args;
	struct hlk_header headers[LIMIT_HEADERS];
	char names[LIMIT_HEADERS][256];
	struct hlk_error error = { 0 };
	struct publishing run = { .cli = cli };
	bool dash = args->plain_count == 2 && strcmp(args->plain[1], "-") == 0;
	const char *text = args_text(args, "payload"), *file = dash ? "-" : args_text(args, "file");
	if ((args->plain_count == 2 && !dash) || (text && file))
		return cli_usage(cli, "one payload: --payload, --file or -");
	if (args_number(args, "lines") && !file)
		return cli_usage(cli, "--lines goes with --file or -");
	int code = headers_read(cli, headers, names);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	const struct hlk_topic_options options = {
		.type = args->plain[0], .key = args_text(args, "key"), .retain = args_number(args, "retain"), .always = true,
		.headers = headers, .header_count = args->list_count, .fingerprint = args_number(args, "fingerprint"),
	};
	run.topic = hlk_topic_new(cli->client, &options, &error);
	if (!run.topic)
		return cli_usage(cli, "%s", error.text);
	code = publish_go(&run, text, file);
	hlk_topic_free(run.topic);
	return code;
}

const struct command publish_command = {
	"publish", NULL, "TYPE [-]", 1, 2, "publishes events and says how many subscriptions got them",
	"That nobody subscribes is no error: the status is no-subscriber. A subscriber that is full and asked for the policy block\n"
	"holds the answer back until it has room, or --timeout ends the wait (exit code 4).",
	"hillock publish room.v1.Temperature --key kitchen --payload 21.5 --retain\tand keep it for later subscribers\n"
	"hillock publish media.v1.Done --file report.json\tto whoever subscribes now\n"
	"tail -f log | hillock publish log.v1.Line - --lines\tone event per line",
	publish_options, publish_run,
};

/* ---- subscribe ---- */

#define OPTIONS_SUBSCRIBE                                                                                              \
	{ "count", OPTION_COUNT, 'n', "N", "0", 0, 0, "stop after this many events; 0: never" },                       \
	{ "policy", OPTION_CHOICE, 0, "drop-oldest|drop-newest|block|reject", "drop-oldest", 0, 0,                     \
	  "what the broker does when this subscriber is slow and its queue is full" },                                 \
	{ "queue", OPTION_COUNT, 0, "N", "0", 0, 1 << 20, "events that wait at the broker; 0: its default" },          \
	{ "credit", OPTION_COUNT, 0, "N", "0", 0, 1 << 20, "events on their way to this program; 0: 4096" },           \
	{ "slow", OPTION_DURATION, 0, "D", "0", 0, 3600000, "spend this long on each event" },                         \
	{ "quiet", OPTION_FLAG, 0, NULL, NULL, 0, 0, "print no events, only the counts at the end" }

static const struct option subscribe_options[] = {
	{ "retained", OPTION_FLAG, 'r', NULL, NULL, 0, 0, "first the retained values that match" },
	{ "descendants", OPTION_FLAG, 0, NULL, NULL, 0, 0, "the pattern is a type: also those that descend from it" },
	{ "fingerprint", OPTION_COUNT, 0, "N", "0", 0, 0, "only events of this encoding; 0: any" },
	OPTIONS_SUBSCRIBE,
	{ 0 },
};
static const struct option events_options[] = { OPTIONS_SUBSCRIBE, { 0 } };

struct subscribing {
	struct cli *cli;
	const char *pattern;
	uint64_t count, received, slow_ms;
	uint32_t subscription;
	bool quiet, done;
	int code;
};

static void print_event(const struct subscribing *run, const struct hlk_event *e)
{
	if (run->cli->out.format == OUTPUT_TABLE) {
		(void)printf("%s%s%s%s  ", e->type, e->key[0] ? " " : "", e->key, e->retained ? " (retained)" : "");
		if (e->kind == HLK_INLINE) {
			(void)fwrite(e->payload, 1, e->size, stdout);
		} else {
			json_t *object = json_object();
			input_describe(run->cli->client, object, "payload", e->kind, e->payload, e->size);
			(void)json_dumpf(json_object_get(object, "payload"), stdout, 0);
			json_decref(object);
		}
		(void)putchar('\n');
	} else {
		json_t *object = json_object();
		char id[40];
		(void)snprintf(id, sizeof id, "%016llx-%016llx", (unsigned long long)e->id_hi, (unsigned long long)e->id_lo);
		cli_set(object, "type", json_string(e->type));
		output_set_bytes(object, "key", e->key, strlen(e->key));
		input_describe(run->cli->client, object, "payload", e->kind, e->payload, e->size);
		cli_set(object, "id", json_string(id));
		cli_set(object, "retained", json_boolean(e->retained));
		for (size_t i = 0; i < e->header_count; i++) {
			char name[300];
			(void)snprintf(name, sizeof name, "header_%s", e->headers[i].name);
			output_set_bytes(object, name, e->headers[i].value, strlen(e->headers[i].value));
		}
		(void)json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
		(void)putchar('\n');
		json_decref(object);
	}
	(void)fflush(stdout); /* somebody may be waiting for this very line */
}

static void on_event(struct hlk *c, const struct hlk_event *e, void *ctx)
{
	struct subscribing *run = ctx;
	(void)c;
	if (run->done)
		return;
	run->received++;
	if (!run->quiet)
		print_event(run, e);
	if (run->slow_ms > 0) {
		const struct timespec t = { (time_t)(run->slow_ms / 1000), (long)(run->slow_ms % 1000) * 1000000 };
		(void)nanosleep(&t, NULL);
	}
	run->done = run->count > 0 && run->received >= run->count;
}

static void on_state(struct hlk *c, uint32_t id, int code, const struct hlk_subscription_counts *counts, void *ctx)
{
	struct subscribing *run = ctx;
	(void)c;
	(void)id;
	if (code != HLK_OK) {
		run->code = code;
		run->done = true;
	} else if (counts->dropped > 0) {
		cli_say("dropped so far: %llu of %llu", (unsigned long long)counts->dropped,
			(unsigned long long)counts->matched);
	} else {
		cli_say("subscribed to %s", run->pattern);
	}
}

static int stop_signals(void)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static int subscribe_loop(struct subscribing *run)
{
	struct hlk *c = run->cli->client;
	struct pollfd fds[2] = { { .fd = hlk_fd(c), .events = POLLIN }, { .fd = stop_signals(), .events = POLLIN } };
	(void)hlk_flush(c);
	while (!run->done) {
		(void)poll(fds, COUNT_OF(fds), -1);
		if (fds[1].revents)
			break;
		(void)hlk_process(c);
	}
	(void)close(fds[1].fd);
	struct hlk_subscription_counts counts = { 0 };
	(void)hlk_subscription_counts(c, run->subscription, &counts);
	if (run->code != HLK_OK)
		return cli_failed(run->cli, run->code, "subscribe %s", run->pattern);
	cli_say("received %llu, dropped %llu", (unsigned long long)run->received, (unsigned long long)counts.dropped);
	return CLI_OK;
}

static int subscribe_go(struct cli *cli, struct hlk_subscribe_options options)
{
	static const char *const policies[] = { [HLK_DROP_OLDEST] = "drop-oldest", [HLK_DROP_NEWEST] = "drop-newest",
						[HLK_BLOCK] = "block", [HLK_REJECT] = "reject" };
	const struct args *args = &cli->args;
	struct subscribing run = { .cli = cli, .pattern = options.pattern, .count = args_number(args, "count"),
				   .slow_ms = args_number(args, "slow"), .quiet = args_number(args, "quiet") };
	for (uint32_t i = 0; i < COUNT_OF(policies); i++)
		if (strcmp(args_text(args, "policy"), policies[i]) == 0)
			options.overflow = (enum hlk_overflow)i;
	options.credit = (uint32_t)args_number(args, "credit");
	options.queue_max = (uint32_t)args_number(args, "queue");
	options.event = on_event;
	options.state = on_state;
	options.ctx = &run;
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_subscribe(cli->client, &options, &run.subscription);
	return code == HLK_OK ? subscribe_loop(&run) : cli_failed(cli, code, "subscribe %s", options.pattern);
}

static int subscribe_run(struct cli *cli)
{
	const struct args *args = &cli->args;
	return subscribe_go(cli, (struct hlk_subscribe_options){
		.pattern = args->plain[0], .retained = args_number(args, "retained"),
		.descendants = args_number(args, "descendants"), .fingerprint = args_number(args, "fingerprint") });
}

const struct command subscribe_command = {
	"subscribe", NULL, "PATTERN", 1, 1, "prints events as they are published",
	"A pattern is a type, NAMESPACE.* for everything below, or *. One event per line; with -o json or jsonl one object per line.\n"
	"It says \"subscribed\" on standard error: what is published after that is not missed. Ctrl-C ends it.",
	"hillock subscribe 'media.*'\teverything below media\n"
	"hillock subscribe room.v1.Temperature --retained --count 1\tthe last value of the first key that has one\n"
	"hillock subscribe '*' -o jsonl | jq .type\tfor a script",
	subscribe_options, subscribe_run,
};

static int events_run(struct cli *cli)
{
	char pattern[LIMIT_NAME_BYTES + 1] = "hillock.sys.*";
	if (cli->args.plain_count > 0)
		(void)snprintf(pattern, sizeof pattern, "hillock.sys.%s", cli->args.plain[0]);
	return subscribe_go(cli, (struct hlk_subscribe_options){ .pattern = pattern });
}

const struct command events_command = {
	"events", NULL, "[PATTERN]", 0, 1, "prints what the broker says about itself, as it happens",
	"Events of the types hillock.sys.*: workers that join and leave, leases lost, dead letters, queues, limits. PATTERN stands behind\n"
	"hillock.sys. and may end in .*",
	"hillock events\tall of them\nhillock events 'worker.*' -o jsonl\tworkers only, for a script",
	events_options, events_run,
};
