/* tools/bridge.c: `hillock bridge`: what is served at one broker is there at another, too. One poll loop over both clients.
 *
 * Invariants:
 * 1. Neither end need be there at the start, nor stay: the bridge waits, and takes back meanwhile what it cannot keep.
 * 2. After a signal it takes everything back, says goodbye at both ends, and ends with 0. */
#include "commands.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const struct option options[] = {
	{ "from", OPTION_TEXT, 0, "URL", NULL, 0, 0, "the broker where it is" },
	{ "to", OPTION_TEXT, 0, "URL", NULL, 0, 0, "the broker where it is to be, too" },
	{ "service", OPTION_LIST, 0, "SERVICE", NULL, 0, 0, "only this one; may be given again; default: all" },
	{ "where", OPTION_TEXT, 'w', "PRED", NULL, 0, 0, "only entries whose parameters fit: gpu == A100 && vram_gb >= 40" },
	{ "events", OPTION_LIST, 0, "PATTERN", NULL, 0, 0, "also events of these types: TYPE, NAMESPACE.* or *; may be given again" },
	{ "policy", OPTION_CHOICE, 0, "drop-oldest|drop-newest|block|reject", "drop-oldest", 0, 0,
	  "what the first broker does with events that come faster than they can go on" },
	{ "from-vnet", OPTION_TEXT, 0, "NAME", NULL, 0, 0, "the scope at the first broker; default: that of --vnet" },
	{ "to-vnet", OPTION_TEXT, 0, "NAME", NULL, 0, 0, "and at the second one" },
	{ "from-token-file", OPTION_TEXT, 0, "FILE", NULL, 0, 0, "a file with the token for the first broker; default: that of --token-file" },
	{ "to-token-file", OPTION_TEXT, 0, "FILE", NULL, 0, 0, "and for the second one" },
	{ "name", OPTION_TEXT, 0, "NAME", "hillock bridge", 0, 0, "of this program, for people and for hillock worker" },
	{ "quiet", OPTION_FLAG, 0, NULL, NULL, 0, 0, "say nothing but what goes wrong" },
	{ 0 },
};

struct bridging { struct cli *cli; struct hlk *from, *to; bool quiet; };

static void say_json(const struct hlk_bridge_note *n, const char *kind)
{
	json_t *object = json_object();
	cli_set(object, "event", json_string(kind));
	cli_set(object, "service", json_string(n->service));
	output_set_bytes(object, "address", n->address, strlen(n->address));
	output_set_bytes(object, "other", n->other, strlen(n->other));
	cli_set(object, "code", json_string(hlk_error_name(n->code)));
	output_set_bytes(object, "text", n->text, strlen(n->text));
	(void)json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	(void)putchar('\n');
	(void)fflush(stdout);
	json_decref(object);
}

static void noted(struct hlk_bridge *b, const struct hlk_bridge_note *n, void *ctx)
{
	static const char *const kinds[] = { [HLK_BRIDGE_UP] = "up", [HLK_BRIDGE_DOWN] = "down", [HLK_BRIDGE_JOINED] = "joined",
					     [HLK_BRIDGE_LEFT] = "left", [HLK_BRIDGE_SKIPPED] = "skipped", [HLK_BRIDGE_REFUSED] = "refused" };
	const struct bridging *run = ctx;
	(void)b;
	if (run->cli->out.format != OUTPUT_TABLE)
		say_json(n, kinds[n->kind]);
	else if (n->kind == HLK_BRIDGE_SKIPPED || n->kind == HLK_BRIDGE_REFUSED)
		cli_say("%s %s %s: %s (%s)", kinds[n->kind], n->service, n->address, n->text, hlk_error_name(n->code));
	else if (run->quiet)
		return;
	else if (n->kind == HLK_BRIDGE_UP || n->kind == HLK_BRIDGE_DOWN)
		cli_say("%s: %s %s", n->address, kinds[n->kind], n->text);
	else
		cli_say("%s %s %s as %s %s", kinds[n->kind], n->service, n->address, n->other, n->text);
}

static int open_end(struct bridging *run, const char *url, const char *vnet, const char *token_file, struct hlk **out)
{
	const struct args *args = &run->cli->args;
	struct hlk_error error = { 0 };
	struct hlk_options o = run->cli->connect;
	o.url = args_text(args, url);
	o.name = args_text(args, "name");
	o.vnet = args_given(args, vnet) ? args_text(args, vnet) : o.vnet;
	o.token_file = args_given(args, token_file) ? args_text(args, token_file) : o.token_file;
	if (hlk_open(&o, out, &error) == HLK_OK)
		return CLI_OK;
	return cli_usage(run->cli, "--%s %.100s: %s", url, o.url, error.text);
}

static int make(struct bridging *run, struct hlk_bridge **out)
{
	static const char *const policies[] = { [HLK_DROP_OLDEST] = "drop-oldest", [HLK_DROP_NEWEST] = "drop-newest",
						[HLK_BLOCK] = "block", [HLK_REJECT] = "reject" };
	const struct args *args = &run->cli->args;
	const char *services[ARGS_LIST], *events[ARGS_LIST];
	struct hlk_error error;
	struct hlk_bridge_options o = { .from = run->from, .to = run->to, .services = services, .events = events,
					.where = args_text(args, "where"), .note = noted, .ctx = run };
	o.service_count = args_list(args, "service", services);
	o.event_count = args_list(args, "events", events);
	for (uint32_t i = 0; i < COUNT_OF(policies); i++)
		if (strcmp(args_text(args, "policy"), policies[i]) == 0)
			o.overflow = (enum hlk_overflow)i;
	if (hlk_bridge_open(&o, out, &error) == HLK_OK)
		return CLI_OK;
	return cli_usage(run->cli, "%s", error.text);
}

/* Until a signal, or until it is clear that it can never be. */
static int loop(struct bridging *run, struct hlk_bridge *b, int signals)
{
	struct pollfd fds[3] = { { hlk_fd(run->from), POLLIN, 0 }, { hlk_fd(run->to), POLLIN, 0 }, { signals, POLLIN, 0 } };
	int code = hlk_bridge_process(b);
	while (code == HLK_OK) {
		(void)poll(fds, COUNT_OF(fds), -1);
		if (fds[2].revents)
			return CLI_OK;
		code = hlk_bridge_process(b);
	}
	const struct hlk_error *why = hlk_last_error(run->from);
	cli_say("%s (%s)", why->text, hlk_error_name(code));
	return cli_exit_of(code);
}

static int bridge_run(struct cli *cli)
{
	struct bridging run = { .cli = cli, .quiet = args_number(&cli->args, "quiet") };
	struct hlk_bridge *b = NULL;
	if (!args_given(&cli->args, "from") || !args_given(&cli->args, "to"))
		return cli_usage(cli, "--from URL and --to URL: a bridge has two ends");
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	int signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	ENSURE(signals >= 0);
	int code = open_end(&run, "from", "from-vnet", "from-token-file", &run.from);
	if (code == CLI_OK)
		code = open_end(&run, "to", "to-vnet", "to-token-file", &run.to);
	if (code == CLI_OK)
		code = make(&run, &b);
	if (code == CLI_OK)
		code = loop(&run, b, signals);
	hlk_bridge_close(b);
	hlk_close(run.to, cli->timeout_ms);
	hlk_close(run.from, cli->timeout_ms);
	(void)close(signals);
	return code;
}

const struct command bridge_command = {
	"bridge", NULL, "", 0, 0, "shows what is served at one broker at another, and passes calls and events on",
	"Runs until it is interrupted, and waits for a broker that is not there. An entry at the second broker goes with the one it stands for,\n"
	"and with the connection to the first. Its parameters bridge.origin and bridge.via say where it comes from; nothing goes to a broker\n"
	"where it has been, so bridges may go both ways and in rings. Only calls and events cross it, no tasks.",
	"hillock bridge --from tcp://lab:4333 --to tcp://office:4333\twhat is served in the lab can be called in the office\n"
	"hillock bridge --from tcp://lab:4333 --to tls://office:4334 --service math.v1.AddOne --events 'room.*'\tone service, some events\n"
	"hillock bridge --from unix:///run/a --to unix:///run/b --from-vnet test --to-vnet test -o jsonl\tof one scope, for a script",
	options, bridge_run,
};
