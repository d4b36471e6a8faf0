/* tools/call.c: `hillock call`: one question to a holder, to all holders, or to an address. */
#include "commands.h"

#include "input.h"

static const struct option options[] = {
	{ "payload", OPTION_TEXT, 'p', "TEXT", "", 0, 0, "the payload" },
	{ "file", OPTION_TEXT, 'f', "FILE", NULL, 0, 0, "the payload is this file, of any size; - is standard input" },
	{ "params", OPTION_TEXT, 'w', "PRED", NULL, 0, 0, "only holders whose parameters fit: gpu == A100 && vram_gb >= 40" },
	{ "all", OPTION_FLAG, 'a', NULL, NULL, 0, 0, "ask every holder; prints one answer of each" },
	{ "address", OPTION_TEXT, 0, "ADDRESS", NULL, 0, 0, "ask the entry at this address (hillock directory ls)" },
	{ "type", OPTION_TEXT, 0, "TYPE", NULL, 0, 0, "what is asked; default: the service; hillock.Ping: are you there?" },
	{ "deadline", OPTION_DURATION, 'd', "D", "10s", 1, 86400000, "how long to wait for the answer" },
	{ "wait", OPTION_FLAG, 0, NULL, NULL, 0, 0, "where nobody fits, wait for somebody until the deadline" },
	{ "stream", OPTION_FLAG, 0, NULL, NULL, 0, 0, "print parts of the answer as they come" },
	{ 0 },
};

struct asking { struct cli *cli; bool done; int code; uint64_t answers, failed; };

static json_t *answer_json(struct hlk *c, const struct hlk_answer *answer)
{
	json_t *object = json_object();
	cli_set(object, "code", json_string(hlk_error_name(answer->code)));
	cli_set(object, "app_code", json_integer(answer->app_code));
	output_set_bytes(object, "address", answer->address, strlen(answer->address));
	if (answer->code == HLK_OK)
		input_describe(c, object, "answer", answer->kind, answer->data, answer->size);
	else
		output_set_bytes(object, "error", answer->data, answer->size);
	return object;
}

static void answered(struct hlk *c, const struct hlk_answer *answer, void *ctx)
{
	struct asking *asking = ctx;
	asking->done = !answer->more;
	asking->answers++;
	asking->failed += answer->code != HLK_OK;
	if (answer->code != HLK_OK)
		asking->code = answer->code;
	if (asking->cli->out.format != OUTPUT_TABLE) {
		output_row(&asking->cli->out, answer_json(c, answer));
		return;
	}
	if (answer->code != HLK_OK) {
		cli_say("%s%s%.*s (%s)", answer->address, answer->address[0] ? ": " : "", (int)MIN_OF(answer->size, (size_t)4096),
			(const char *)answer->data, hlk_error_name(answer->code));
		return;
	}
	if (answer->kind != HLK_INLINE) {
		json_t *object = json_object();
		input_describe(c, object, "answer", answer->kind, answer->data, answer->size);
		(void)json_dumpf(json_object_get(object, "answer"), stdout, 0);
		(void)fputc('\n', stdout);
		json_decref(object);
		return;
	}
	(void)fwrite(answer->data, 1, answer->size, stdout);
	const char *bytes = answer->data;
	if (answer->size > 0 && bytes[answer->size - 1] != '\n')
		(void)fputc('\n', stdout);
	(void)fflush(stdout);
}

static int call_run(struct cli *cli)
{
	static const struct column columns[] = { { "answer", "ANSWER", COLUMN_TEXT } };
	const struct args *args = &cli->args;
	const char *address = args_text(args, "address"), *payload = args_text(args, "payload");
	if ((args->plain_count == 1) == (address != NULL))
		return cli_usage(cli, "say whom to ask: a SERVICE, or --address ADDRESS");
	const struct hlk_call_options options_of_call = {
		.service = address ? NULL : args->plain[0], .address = address, .where = args_text(args, "params"),
		.all = args_number(args, "all"), .type = args_text(args, "type"), .stream = args_number(args, "stream"),
		.deadline_ms = (uint32_t)args_number(args, "deadline"), .wait = args_number(args, "wait"),
	};
	struct asking asking = { .cli = cli };
	struct input in;
	int code = input_read(cli, payload, args_text(args, "file"), &in);
	if (code == CLI_OK)
		code = cli_connect_vnet(cli, "hillock call", args_text(args, "vnet"));
	if (code == CLI_OK)
		code = input_send(cli, &in);
	if (code != CLI_OK) {
		input_free(&in);
		return code;
	}
	if (cli->out.format != OUTPUT_TABLE)
		output_begin(&cli->out, columns, COUNT_OF(columns));
	code = hlk_call_payload(cli->client, &options_of_call, &in.payload, answered, &asking, NULL);
	input_free(&in);
	if (code != HLK_OK)
		return cli_failed(cli, code, "call");
	while (!asking.done)
		(void)hlk_run(cli->client, 60000);
	if (cli->out.format != OUTPUT_TABLE)
		output_end(&cli->out);
	if (asking.failed == 0)
		return CLI_OK;
	return asking.failed < asking.answers ? CLI_PARTIAL : cli_exit_of(asking.code);
}

const struct command call_command = {
	"call", NULL, "[SERVICE]", 0, 1, "asks who is responsible for a service, now, and prints the answer",
	"Nothing is stored: without a holder it is NOT_DELIVERED at once (exit status 2), unless it is to --wait for one.\n"
	"For work that must be done, `hillock submit`.",
	"hillock call math.v1.AddOne -p 41\t42, where somebody serves it\n"
	"hillock call media.v1.Resize --params 'vram_gb >= 40' -p @1\tonly of those that are large enough\n"
	"hillock call math.v1.AddOne --all --type hillock.Ping\twho is there?", options, call_run,
};
