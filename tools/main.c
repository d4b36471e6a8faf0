/* tools/main.c: the `hillock` command: finds the command in the table, reads its options, runs it.
 *
 * Data flow: argv -> command table -> args -> run -> output. Commands are declared in the file of their noun and
 * listed here; help, completion and this dispatch all read the same list.
 *
 * Invariants:
 * 1. Every exit is one of enum cli_exit.
 * 2. The client is closed, and unsent work waited for, before the process ends. */
#include "cli.h"

#include <signal.h>

#include "commands.h"
#include "contexts.h"

const struct option cli_global_options[] = {
	{ "server", OPTION_TEXT, 's', "URL", NULL, 0, 0,
	  "the broker: tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH; default: HILLOCK_URL, else tcp://127.0.0.1:4333" },
	{ "output", OPTION_CHOICE, 'o', "table|json|jsonl", "table", 0, 0, "how to print the result" },
	{ "timeout", OPTION_DURATION, 0, "D", "10s", 1, 86400000ull * 24, "how long to wait for the broker" },
	{ "tls-ca", OPTION_TEXT, 0, "FILE", NULL, 0, 0,
	  "tls://: PEM file with whom to trust; default: HILLOCK_TLS_CA, else whom this system trusts" },
	{ "tls-cert", OPTION_TEXT, 0, "FILE", NULL, 0, 0, "tls://: PEM file with our certificate; default: HILLOCK_TLS_CERT" },
	{ "tls-key", OPTION_TEXT, 0, "FILE", NULL, 0, 0, "tls://: PEM file with its key; default: HILLOCK_TLS_KEY" },
	{ "tls-crl", OPTION_TEXT, 0, "FILE", NULL, 0, 0, "tls://: PEM file with revocation lists; default: HILLOCK_TLS_CRL" },
	{ "tls-server-name", OPTION_TEXT, 0, "NAME", NULL, 0, 0,
	  "tls://: what the broker's certificate must be for; default: HILLOCK_TLS_SERVER_NAME, else its host" },
	{ "tls-ocsp-required", OPTION_FLAG, 0, NULL, NULL, 0, 0,
	  "tls://: refuse a broker that shows no OCSP answer about its certificate; default: HILLOCK_TLS_OCSP_REQUIRED, if not empty" },
	{ "token-file", OPTION_TEXT, 0, "FILE", NULL, 0, 0, "a file with the token to show; default: HILLOCK_TOKEN_FILE, HILLOCK_TOKEN" },
	{ "vnet", OPTION_TEXT, 0, "NAME", NULL, 0, 0, "the scope to work in; default: HILLOCK_VNET, else the one of who you are" },
	{ "context", OPTION_TEXT, 0, "NAME", NULL, 0, 0, "a named server: context add; default: HILLOCK_CONTEXT, else the one that is in use" },
	{ "help", OPTION_FLAG, 'h', NULL, NULL, 0, 0, "explains the command, with examples" },
	{ 0 },
};

const struct command *const cli_commands[] = {
	&submit_command, &work_command, &task_ls_command, &task_show_command, &task_wait_command,
	&task_cancel_command, &task_retry_command, &task_why_command, &task_watch_command,
	&task_interrupt_command, &task_pause_command, &task_resume_command, &task_step_command,
	&task_tree_command, &queue_ls_command, &queue_show_command, &queue_create_command,
	&queue_set_command, &queue_peek_command, &queue_purge_command, &queue_pause_command,
	&queue_resume_command, &queue_rm_command, &queue_bind_command, &queue_unbind_command,
	&dlq_ls_command, &dlq_show_command, &dlq_redrive_command, &dlq_purge_command,
	&dlq_jobs_command, &dlq_stop_command,
	&call_command, &serve_command, &bind_command, &bridge_command, &directory_ls_command,
	&directory_resolve_command, &directory_watch_command, &worker_ls_command, &worker_show_command,
	&worker_drain_command, &worker_stop_command, &worker_kick_command, &worker_block_command,
	&worker_unblock_command, &stats_command,
	&checkpoint_command, &node_reload_command, &bench_task_command, &bench_submit_command, &bench_drain_command,
	&bench_disk_command, &bench_publish_command, &bench_call_command, &bench_schema_command, &bench_blob_command,
	&fsck_command, &backup_command, &restore_command, &publish_command, &subscribe_command, &events_command,
	&subscription_add_command, &subscription_ls_command, &subscription_rm_command,
	&type_register_command, &type_ls_command, &type_show_command, &type_check_command,
	&type_diff_command, &type_rm_command, &schedule_add_command, &schedule_ls_command,
	&schedule_show_command, &schedule_rm_command, &schedule_pause_command,
	&schedule_resume_command, &schedule_run_command, &group_ls_command, &group_show_command, &group_cancel_command,
	&principal_ls_command, &principal_show_command, &principal_add_command,
	&principal_set_command, &principal_rm_command, &token_ls_command, &token_add_command,
	&token_rotate_command, &token_rm_command, &token_access_command, &acl_ls_command,
	&acl_add_command, &acl_rm_command, &acl_test_command, &blob_put_command, &blob_get_command, &blob_ls_command,
	&blob_show_command, &blob_pin_command, &blob_unpin_command, &blob_rm_command, &blob_gc_command,
	&blob_scrub_command,
	&context_ls_command, &context_show_command, &context_use_command,
	&context_add_command, &context_rm_command, &doctor_command, NULL,
};

bool help_has_noun(const char *noun)
{
	for (size_t i = 0; cli_commands[i]; i++)
		if (strcmp(cli_commands[i]->noun, noun) == 0)
			return true;
	return false;
}

static const struct command *command_find(const char *noun, const char *verb)
{
	for (size_t i = 0; cli_commands[i]; i++) {
		const struct command *command = cli_commands[i];
		if (strcmp(command->noun, noun) == 0 &&
		    (!command->verb || (verb && strcmp(command->verb, verb) == 0)))
			return command;
	}
	return NULL;
}

static bool takes_value(const char *word)
{
	for (const struct option *option = cli_global_options; option->name; option++)
		if (option->kind != OPTION_FLAG &&
		    ((word[1] == option->letter && word[2] == 0) ||
		     (word[1] == '-' && strcmp(word + 2, option->name) == 0)))
			return true;
	return false;
}

/* Takes the noun and the verb out of argv, so that global options may stand before them. Counts how many it took. */
static int words_take(int *argc, char **argv, const char *words[2])
{
	int count = 0, kept = 0;
	for (int i = 0; i < *argc; i++) {
		bool two_words = count == 1 && help_has_noun(words[0]) && !command_find(words[0], NULL);
		if (argv[i][0] != '-' && (count == 0 || two_words)) {
			words[count++] = argv[i];
			continue;
		}
		argv[kept++] = argv[i];
		if (count < 2 && takes_value(argv[i]) && i + 1 < *argc)
			argv[kept++] = argv[++i];
	}
	*argc = kept;
	return count;
}

static bool asks_help(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

static int run(struct cli *cli, int argc, char **argv)
{
	const struct command *command = cli->command;
	struct args *args = &cli->args;
	args->tables[0] = cli_global_options;
	args->tables[1] = command->options;
	if (!args_parse(args, argc, argv))
		return cli_usage(cli, "%s", args->error);
	if (args->plain_count < command->plain_min)
		return cli_usage(cli, "%s%s%s: %s is missing", command->noun, command->verb ? " " : "",
				 command->verb ? command->verb : "", command->arguments);
	if (args->plain_count > command->plain_max)
		return cli_usage(cli, "%.60s: one argument too many", args->plain[command->plain_max]);
	const char *format = args_text(args, "output"), *ocsp = getenv("HILLOCK_TLS_OCSP_REQUIRED");
	output_init(&cli->out, strcmp(format, "json") == 0  ? OUTPUT_JSON :
			       strcmp(format, "jsonl") == 0 ? OUTPUT_JSONL : OUTPUT_TABLE);
	cli->timeout_ms = (int)args_number(args, "timeout");
	struct contexts contexts;
	int code = contexts_read(&contexts) ? context_apply(cli, &contexts) : CLI_USAGE;
	cli->connect.tls_ocsp_required = args_given(args, "tls-ocsp-required") || (ocsp && ocsp[0]);
	if (code == CLI_OK)
		code = command->run(cli);
	if (cli->client)
		hlk_close(cli->client, cli->timeout_ms);
	contexts_free(&contexts);
	if (!output_finish(&cli->out) && code == CLI_OK)
		code = CLI_PARTIAL;
	return code;
}

int main(int argc, char **argv)
{
	static struct cli cli; /* large, and the only one */
	const char *words[2] = { NULL, NULL };
	(void)signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error that output_finish reports */
	argc--;
	argv++;
	if (argc > 0 && strcmp(argv[0], "--version") == 0) {
		(void)printf("hillock %s (libhillock %s)\n", HILLOCK_VERSION, hlk_version());
		return CLI_OK;
	}
	if (argc == 1 && (strcmp(argv[0], "completion") == 0 || strcmp(argv[0], "manual") == 0)) {
		(void)(argv[0][0] == 'c' ? completion_bash() : manual_page());
		return CLI_OK;
	}
	bool help = asks_help(argc, argv);
	if (argc > 0 && strcmp(argv[0], "help") == 0) {
		help = true;
		argc--;
		argv++;
	}
	int count = words_take(&argc, argv, words);
	cli.command = count > 0 ? command_find(words[0], words[1]) : NULL;
	if (cli.command && help)
		help_command(cli.command);
	else if (count == 0 && help)
		help_main();
	else if (count > 0 && help && help_has_noun(words[0]))
		help_noun(words[0]);
	else if (cli.command)
		return run(&cli, argc, argv);
	else if (count == 0)
		return cli_usage(&cli, "which command?");
	else if (!help_has_noun(words[0]))
		return cli_usage(&cli, "%.60s: no such command", words[0]);
	else if (!words[1]) {
		help_noun(words[0]);
		return CLI_USAGE;
	} else
		return cli_usage(&cli, "%.60s %.60s: no such command", words[0], words[1]);
	return CLI_OK;
}
