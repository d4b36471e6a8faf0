/* tools/help.c: --help on every level, from the table of commands and their options. */
#include "cli.h"

static void print_options(const struct option *options)
{
	for (const struct option *o = options; o && o->name; o++) {
		char left[64];
		int n = snprintf(left, sizeof left, "%s%c%s--%s%s%s", o->letter ? "-" : "", o->letter ? o->letter : ' ',
				 o->letter ? ", " : "   ", o->name, o->kind == OPTION_FLAG ? "" : " ",
				 o->kind == OPTION_FLAG ? "" : o->value);
		(void)printf("  %-32s%s%s", left, n > 31 ? "\n                                  " : "", o->help);
		if (o->standard)
			(void)printf(" (default %s)", o->standard);
		(void)printf("\n");
	}
}

static void command_line(const struct command *command, char *text, size_t size)
{
	(void)snprintf(text, size, "%s%s%s%s%s", command->noun, command->verb ? " " : "",
		       command->verb ? command->verb : "", command->arguments[0] ? " " : "", command->arguments);
}

static void print_summary(const struct command *command)
{
	char line[64];
	command_line(command, line, sizeof line);
	(void)printf("  %-26s %s\n", line, command->summary);
}

void help_main(void)
{
	(void)printf("hillock: tasks in, work done, results back, through the Hillock broker.\n\n"
		     "usage: hillock [OPTION]... COMMAND [ARGUMENT]...\n\ncommands:\n");
	for (size_t i = 0; cli_commands[i]; i++)
		print_summary(cli_commands[i]);
	(void)printf("\noptions of every command:\n");
	print_options(cli_global_options);
	(void)printf("      --version                   prints the version\n"
		     "\nexit codes: 0 ok, 1 usage, 2 not found, 3 partial, 4 unavailable, 5 refused\n"
		     "\na first minute:\n"
		     "  hillock work demo.v1.Upper --exec 'tr a-z A-Z' &\n"
		     "  hillock submit demo.v1.Upper --payload 'hello' --wait\n"
		     "  hillock queue show demo.v1.Upper\n"
		     "\n\"hillock COMMAND --help\" explains each command with examples. For bash: . <(hillock completion)\n");
}

void help_noun(const char *noun)
{
	(void)printf("usage: hillock %s VERB [ARGUMENT]...\n\n", noun);
	for (size_t i = 0; cli_commands[i]; i++)
		if (strcmp(cli_commands[i]->noun, noun) == 0)
			print_summary(cli_commands[i]);
	(void)printf("\n\"hillock %s VERB --help\" shows the options and examples of each.\n", noun);
}

static void print_examples(const char *examples)
{
	while (*examples) {
		const char *end = strchr(examples, '\n'), *tab = strchr(examples, '\t');
		size_t len = end ? (size_t)(end - examples) : strlen(examples);
		if (tab && (size_t)(tab - examples) < len) {
			size_t left = (size_t)(tab - examples);
			(void)printf("  # %.*s\n  %.*s\n\n", (int)(len - left - 1), tab + 1, (int)left, examples);
		} else {
			(void)printf("  %.*s\n\n", (int)len, examples);
		}
		examples += len + (end ? 1 : 0);
	}
}

void help_command(const struct command *command)
{
	char line[128];
	command_line(command, line, sizeof line);
	(void)printf("usage: hillock %s [OPTION]...\n\n%s.\n", line, command->summary);
	if (command->details)
		(void)printf("\n%s\n", command->details);
	if (command->options && command->options->name) {
		(void)printf("\noptions:\n");
		print_options(command->options);
	}
	(void)printf("\noptions of every command:\n");
	print_options(cli_global_options);
	(void)printf("\nexamples:\n");
	print_examples(command->examples);
}
