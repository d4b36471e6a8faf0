/* tools/cli.c: connection, refusals and questions, the same for every command.
 *
 * Invariants:
 * 1. Messages for people go to stderr; stdout is left to output.c.
 * 2. Every failed command names what it tried, the broker's or library's text, and the error's name.
 * 3. Nothing that cannot be undone runs without --yes or a typed yes. */
#include "cli.h"

#include <stdarg.h>
#include <unistd.h>

void cli_say(const char *format, ...)
{
	va_list list;
	va_start(list, format);
	(void)fputs("hillock: ", stderr);
	(void)vfprintf(stderr, format, list);
	(void)fputc('\n', stderr);
	va_end(list);
}

int cli_usage(const struct cli *cli, const char *format, ...)
{
	const struct command *command = cli->command;
	va_list list;
	va_start(list, format);
	(void)fputs("hillock: ", stderr);
	(void)vfprintf(stderr, format, list);
	va_end(list);
	if (command)
		(void)fprintf(stderr, "\nusage and examples: hillock %s%s%s --help\n", command->noun,
			      command->verb ? " " : "", command->verb ? command->verb : "");
	else
		(void)fprintf(stderr, "\nusage and examples: hillock --help\n");
	return CLI_USAGE;
}

int cli_exit_of(int code)
{
	switch (code) {
	case HLK_OK:
		return CLI_OK;
	case HLK_NOT_FOUND:
	case HLK_NOT_DELIVERED:
		return CLI_NOT_FOUND;
	case HLK_TIMEOUT:
	case HLK_UNAVAILABLE:
	case HLK_NETWORK:
	case HLK_CLOSED:
		return CLI_UNAVAILABLE;
	default:
		return CLI_REFUSED;
	}
}

static int exit_of_error(const struct hlk_error *error)
{
	if (error->kind == HLK_KIND_USAGE)
		return CLI_USAGE;
	if (error->kind == HLK_KIND_NETWORK || error->kind == HLK_KIND_TIMEOUT)
		return CLI_UNAVAILABLE;
	return cli_exit_of(error->code);
}

int cli_failed(struct cli *cli, int code, const char *format, ...)
{
	const struct hlk_error *error = hlk_last_error(cli->client);
	bool described = error && error->code == code && error->text[0];
	char what[256];
	va_list list;
	va_start(list, format);
	(void)vsnprintf(what, sizeof what, format, list);
	va_end(list);
	cli_say("%s: %s (%s)", what, described ? error->text : hlk_error_text(code), hlk_error_name(code));
	bool limit = code == HLK_RESOURCE_EXHAUSTED || code == HLK_QUEUE_FULL || code == HLK_DISK_FULL;
	if (limit && hlk_retry_after_ms(cli->client) > 0)
		cli_say("the broker asks to wait %u ms before another try", hlk_retry_after_ms(cli->client));
	return described ? exit_of_error(error) : cli_exit_of(code);
}

static int open_ready(struct cli *cli, const struct hlk_options *options, struct hlk_error *error)
{
	int code = hlk_open(options, &cli->client, error);
	if (code != HLK_OK)
		return code;
	code = hlk_ready_wait(cli->client, cli->timeout_ms);
	if (code == HLK_OK)
		return HLK_OK;
	*error = *hlk_last_error(cli->client);
	hlk_close(cli->client, 0);
	return code;
}

void cli_params(const struct args *args, struct buf *out)
{
	for (uint32_t i = 0; i < args->list_count; i++) {
		buf_append(out, args->list[i], strlen(args->list[i]));
		buf_append(out, " ", 1);
	}
	buf_append(out, "", 1);
}

int cli_connect_vnet(struct cli *cli, const char *name, const char *vnet)
{
	struct hlk_error error = { 0 };
	struct hlk_options options = cli->connect;
	options.name = name;
	if (vnet)
		options.vnet = vnet;
	int code = open_ready(cli, &options, &error);
	if (code == HLK_OK) {
		hlk_set_timeout(cli->client, cli->timeout_ms);
		return CLI_OK;
	}
	cli->client = NULL;
	cli_say("no session with %s: %s (%s)", cli->url, error.text[0] ? error.text : hlk_error_text(code),
		hlk_error_name(code));
	if (error.kind == HLK_KIND_NETWORK && strncmp(cli->url, "tls://", 6) != 0)
		cli_say("is hillockd running there? --server URL or HILLOCK_URL names another one");
	error.code = code;
	return exit_of_error(&error);
}

int cli_connect(struct cli *cli)
{
	return cli_connect_vnet(cli, NULL, NULL);
}

int cli_sure(const struct cli *cli, const char *format, ...)
{
	char answer[16], what[256];
	va_list list;
	va_start(list, format);
	(void)vsnprintf(what, sizeof what, format, list);
	va_end(list);
	if (args_number(&cli->args, "yes"))
		return CLI_OK;
	if (!isatty(STDIN_FILENO))
		return cli_usage(cli, "%s cannot be undone: say --yes", what);
	(void)fprintf(stderr, "%s. This cannot be undone. Go on? [y/N] ", what);
	if (fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y'))
		return CLI_OK;
	cli_say("nothing was changed");
	return CLI_USAGE;
}

int cli_task_id(const struct cli *cli, uint32_t index, uint64_t *out)
{
	const char *text = cli->args.plain[index];
	ENSURE(index < cli->args.plain_count);
	bool digits = text[0] != 0 && strspn(text, "0123456789") == strlen(text);
	if (digits && parse_count(text, out) && *out > 0)
		return CLI_OK;
	return cli_usage(cli, "%.60s: expected a task id, the number that submit printed", text);
}

json_t *cli_integer(uint64_t value)
{
	return json_integer((json_int_t)value);
}

void cli_set(json_t *object, const char *key, json_t *value)
{
	ENSURE(json_object_set_new(object, key, value) == 0);
}
