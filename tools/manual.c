/* tools/manual.c: the manual page and the shell completion, made from the same table as help and parsing.
 *
 * `hillock manual` and `hillock completion` print what is committed as docs/man/hillock.1 and
 * tools/completion/hillock.bash; a test compares, so that neither can drift. */
#include "cli.h"

/* Text as roff: nothing in it is taken for a request or an escape. */
static void roff(const char *text)
{
	bool line_start = true;
	for (; *text; text++) {
		if (line_start && (*text == '.' || *text == '\''))
			(void)printf("\\&");
		if (*text == '\\')
			(void)printf("\\e");
		else if (*text == '-')
			(void)printf("\\-");
		else
			(void)putchar(*text);
		line_start = *text == '\n';
	}
}

static void roff_options(const struct option *options)
{
	for (const struct option *o = options; o && o->name; o++) {
		(void)printf(".TP\n");
		if (o->letter)
			(void)printf("\\fB\\-%c\\fR, ", o->letter);
		(void)printf("\\fB\\-\\-");
		roff(o->name);
		(void)printf("\\fR");
		if (o->kind != OPTION_FLAG) {
			(void)printf(" \\fI");
			roff(o->value);
			(void)printf("\\fR");
		}
		(void)printf("\n");
		roff(o->help);
		if (o->standard && o->standard[0]) {
			(void)printf(" (default ");
			roff(o->standard);
			(void)printf(")");
		}
		(void)printf(".\n");
	}
}

static void roff_examples(const char *examples)
{
	while (*examples) {
		char line[512];
		const char *end = strchr(examples, '\n');
		size_t len = end ? (size_t)(end - examples) : strlen(examples);
		(void)snprintf(line, sizeof line, "%.*s", (int)len, examples);
		char *tab = strchr(line, '\t');
		if (tab) {
			*tab = 0;
			(void)printf(".PP\n");
			roff(tab + 1);
			(void)printf(":\n");
		}
		(void)printf(".PP\n.nf\n.RS\n");
		roff(line);
		(void)printf("\n.RE\n.fi\n");
		examples += len + (end ? 1 : 0);
	}
}

static void roff_command(const struct command *command)
{
	(void)printf(".SS hillock %s%s%s", command->noun, command->verb ? " " : "", command->verb ? command->verb : "");
	if (command->arguments[0]) {
		(void)printf(" ");
		roff(command->arguments);
	}
	(void)printf("\n");
	roff(command->summary);
	(void)printf(".\n");
	if (command->details) {
		(void)printf(".PP\n.nf\n");
		roff(command->details);
		(void)printf("\n.fi\n");
	}
	roff_options(command->options);
	roff_examples(command->examples);
}

void manual_page(void)
{
	(void)printf(".\\\" made by `hillock manual`\n"
		     ".TH HILLOCK 1 \"\" \"Hillock %s\" \"User Commands\"\n"
		     ".SH NAME\nhillock \\- submit tasks, work on them, and look after a Hillock broker\n"
		     ".SH SYNOPSIS\n.B hillock\n[\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...\n"
		     ".SH DESCRIPTION\n"
		     "A Hillock broker keeps tasks on disk until a worker has carried them out and their result is in.\n"
		     ".B hillock\nsubmits tasks, makes a worker out of any program, shows and changes what the broker holds,\n"
		     "and measures it. Options may stand anywhere; \\fB\\-\\-\\fR ends them.\n"
		     "Durations are written 250ms, 5s, 10m, 2h, 1d; sizes 512, 4k, 1M (1024s); counts 100, 20k, 1M (1000s).\n"
		     ".SH OPTIONS OF EVERY COMMAND\n", HILLOCK_VERSION);
	roff_options(cli_global_options);
	(void)printf(".SH COMMANDS\n");
	for (size_t i = 0; cli_commands[i]; i++)
		roff_command(cli_commands[i]);
	(void)printf(".SH ENVIRONMENT\n.TP\n.B HILLOCK_URL\nThe broker, where \\-\\-server is not given.\n"
		     ".TP\n.B HILLOCK_TLS_CA, HILLOCK_TLS_CERT, HILLOCK_TLS_KEY, HILLOCK_TLS_CRL, HILLOCK_TLS_SERVER_NAME, "
		     "HILLOCK_TLS_OCSP_REQUIRED\n"
		     "What the options of these names say, where they are not given.\n"
		     ".TP\n.B NO_COLOR\nNo colours, also on a terminal.\n"
		     ".SH EXIT STATUS\n"
		     ".TP\n.B 0\nOk.\n"
		     ".TP\n.B 1\nThe command line was wrong, or a question was answered with no.\n"
		     ".TP\n.B 2\nThere is no such task or queue.\n"
		     ".TP\n.B 3\nPartial: some of it was done, or a task that was waited for did not end as done.\n"
		     ".TP\n.B 4\nUnavailable: no broker there, or no answer in time.\n"
		     ".TP\n.B 5\nThe broker refused.\n"
		     ".SH SEE ALSO\n.BR hillockd (8)\n");
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
