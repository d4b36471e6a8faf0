/* tools/bind.c: `hillock bind`: holds a reservation and prints what becomes of it. */
#include "commands.h"

static const struct option options[] = {
	{ "params", OPTION_TEXT, 'w', "PRED", NULL, 0, 0, "only holders whose parameters fit" },
	{ "min", OPTION_COUNT, 0, "N", "1", 1, 64, "fewer holders: waiting" },
	{ "desired", OPTION_COUNT, 0, "N", "1", 1, 64, "fewer holders: degraded" },
	{ "count", OPTION_COUNT, 'n', "N", "0", 0, 0, "stop after this many changes; 0: never" },
	{ 0 },
};

struct holding { struct cli *cli; uint64_t changes; bool ended; };

static void changed(struct hlk *c, uint32_t binding, enum hlk_binding_state state, uint32_t legs, void *ctx)
{
	static const char *const names[] = { [HLK_BINDING_NONE] = "none", [HLK_BINDING_WAITING] = "waiting", [HLK_BINDING_ACTIVE] = "active",
					     [HLK_BINDING_DEGRADED] = "degraded", [HLK_BINDING_ENDED] = "ended" };
	struct holding *holding = ctx;
	(void)c;
	(void)binding;
	holding->changes++;
	holding->ended = state == HLK_BINDING_ENDED;
	if (holding->cli->out.format == OUTPUT_TABLE)
		(void)printf("%s %u\n", names[state], legs);
	else
		(void)printf("{\"state\":\"%s\",\"legs\":%u}\n", names[state], legs);
	(void)fflush(stdout);
}

static int bind_run(struct cli *cli)
{
	const struct args *args = &cli->args;
	uint64_t count = args_number(args, "count");
	struct holding holding = { .cli = cli };
	const struct hlk_bind_options bind = {
		.service = args->plain[0], .where = args_text(args, "params"), .min = (uint32_t)args_number(args, "min"),
		.desired = (uint32_t)MAX_OF(args_number(args, "desired"), args_number(args, "min")), .state = changed, .ctx = &holding,
	};
	int code = cli_connect_vnet(cli, "hillock bind", args_text(args, "vnet"));
	if (code != CLI_OK)
		return code;
	code = hlk_bind(cli->client, &bind, NULL);
	while (code == HLK_OK && !holding.ended && (count == 0 || holding.changes < count) && !ferror(stdout))
		code = hlk_run(cli->client, 60000);
	if (holding.ended)
		code = hlk_last_error(cli->client)->code;
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "bind");
}

const struct command bind_command = {
	"bind", NULL, "SERVICE", 1, 1, "reserves holders of a service and prints the state of the reservation",
	"Lines are: waiting, degraded or active, and the number of holders. It ends with this process.",
	"hillock bind media.v1.Transcode --min 1 --desired 3\tis there always somebody, and how many?", options, bind_run,
};
