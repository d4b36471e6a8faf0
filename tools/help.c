/* tools/help.c: help and shell completion, both from the table of commands, so that neither can drift from it.
 *
 * `hillock completion` prints the bash script that is committed as tools/completion/hillock.bash; a test compares. */
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
		     "\n\"hillock COMMAND --help\" explains each command with examples.\n");
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

static void print_option_words(const struct option *options)
{
	for (const struct option *o = options; o && o->name; o++)
		(void)printf(" --%s", o->name);
}

/* One case line per noun: its verbs; one per command: its options. */
static void completion_cases(void)
{
	const char *noun = "";
	for (size_t i = 0; cli_commands[i]; i++) {
		const struct command *command = cli_commands[i];
		if (command->verb && strcmp(noun, command->noun) != 0) {
			(void)printf("\t'%s ') words=\"", command->noun);
			for (size_t j = i; cli_commands[j] && strcmp(cli_commands[j]->noun, command->noun) == 0; j++)
				(void)printf("%s%s", j > i ? " " : "", cli_commands[j]->verb);
			(void)printf("\" ;;\n");
		}
		noun = command->noun;
		(void)printf("\t'%s %s') words=\"$globals", command->noun, command->verb ? command->verb : "");
		print_option_words(command->options);
		(void)printf("\" ;;\n");
	}
}

void completion_bash(void)
{
	const char *noun = "";
	(void)printf("# bash completion for hillock; made by `hillock completion`\n"
		     "_hillock()\n{\n"
		     "\tlocal current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
		     "\tlocal noun='' verb='' word words globals i\n"
		     "\tglobals=\"");
	for (const struct option *o = cli_global_options; o->name; o++)
		(void)printf("%s--%s", o > cli_global_options ? " " : "", o->name);
	(void)printf("\"\n\tcase $previous in\n"
		     "\t-o|--output) mapfile -t COMPREPLY < <(compgen -W 'table json jsonl' -- \"$current\"); return ;;\n"
		     "\t--file|--dir|--disk) mapfile -t COMPREPLY < <(compgen -f -- \"$current\"); return ;;\n"
		     "\tesac\n"
		     "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
		     "\t\tword=${COMP_WORDS[i]}\n"
		     "\t\tcase $word in\n"
		     "\t\t-s|--server|-o|--output|--timeout) i=$((i + 1)) ;;\n"
		     "\t\t-*) ;;\n"
		     "\t\t*) if [ -z \"$noun\" ]; then noun=$word; elif [ -z \"$verb\" ]; then verb=$word; fi ;;\n"
		     "\t\tesac\n\tdone\n"
		     "\tcase $noun in\n\t");
	for (size_t i = 0, n = 0; cli_commands[i]; i++)
		if (!cli_commands[i]->verb)
			(void)printf("%s%s", n++ ? "|" : "", cli_commands[i]->noun);
	(void)printf(") verb='' ;;\n\tesac\n"
		     "\tcase \"$noun $verb\" in\n\t' ') words=\"");
	for (size_t i = 0; cli_commands[i]; i++) {
		if (strcmp(noun, cli_commands[i]->noun) != 0)
			(void)printf("%s ", cli_commands[i]->noun);
		noun = cli_commands[i]->noun;
	}
	(void)printf("$globals --version\" ;;\n");
	completion_cases();
	(void)printf("\t*) words=\"$globals\" ;;\n\tesac\n"
		     "\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$current\")\n"
		     "}\ncomplete -o default -F _hillock hillock\n");
}
