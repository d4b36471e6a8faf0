/* broker/args.c: the command line of hillockd: defaults, then the file that --config names, then the other options.
 *
 * In the flow: before it. A mistake is said in one line on standard error and ends the start with EXIT_USAGE. */
#include "args.h"

#include "host.h"

#include <getopt.h>

static const char usage_text[] =
	"hillockd, the broker of Hillock: keeps confirmed tasks on disk and pushes them to workers that dialled in.\n"
	"\n"
	"usage: hillockd [options]        run the broker in the foreground\n"
	"       hillockd fsck DIR         check a data directory, change nothing\n"
	"       hillockd dump DIR         list the records of its log\n"
	"\n"
	"  --config FILE      settings (see --print-config); the options below win over it\n"
	"  --data DIR         data directory; made where it does not exist\n"
	"  --listen URL       tcp://HOST:PORT (port 0 = any) or unix://PATH; may be repeated\n"
	"  --node NAME        name of this node\n"
	"  --log-level LEVEL  error, warn, info or debug\n"
	"  --accept-loss      start although confirmed tasks are damaged, without what cannot be read\n"
	"  --check-config     check the settings and exit\n"
	"  --print-config     print all settings, explained, as a config file\n"
	"  --version, --help\n"
	"\n"
	"example: hillockd --data ./data --listen tcp://127.0.0.1:4333\n"
	"exit:    0 stopped by a signal, 1 usage or configuration, 2 data directory refused, 3 storage failed\n";

/* Words for a mistake on the command line; always EXIT_USAGE. They quote what was given, which may be anything. */
static int usage_error(char *what)
{
	for (char *c = what; *c; c++)
		if ((uint8_t)*c < 0x20 || *c == 0x7f)
			*c = '?';
	(void)fprintf(stderr, "hillockd: %s\n", what);
	return EXIT_USAGE;
}

enum option_id { OPT_CONFIG = 256, OPT_DATA, OPT_LISTEN, OPT_NODE, OPT_LOG_LEVEL, OPT_ACCEPT_LOSS, OPT_CHECK, OPT_PRINT,
	      OPT_VERSION };

static const struct option options[] = {
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "data", required_argument, NULL, OPT_DATA },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "node", required_argument, NULL, OPT_NODE },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "accept-loss", no_argument, NULL, OPT_ACCEPT_LOSS },
	{ "check-config", no_argument, NULL, OPT_CHECK },
	{ "print-config", no_argument, NULL, OPT_PRINT },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

void args_free(struct args *args)
{
	config_free(&args->config);
}

/* The file is read before the other options are applied, so that those win wherever it stands among them. */
static enum err read_config_file(int argc, char **argv, struct config *c, char text[CONFIG_TEXT])
{
	const char *path = NULL;
	int option;
	opterr = 0;
	optind = 1;
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == OPT_CONFIG)
			path = optarg;
	}
	opterr = 1;
	optind = 1;
	if (!path)
		return ERR_OK;
	char why[256];
	struct buf content = { NULL, 0, 0 };
	enum err e = host_read_file(path, CONFIG_FILE_BYTES_MAX, &content, why);
	if (e == ERR_OK)
		e = config_read(c, path, buf_span(&content), text);
	else
		(void)snprintf(text, CONFIG_TEXT, "%s", why);
	buf_free(&content);
	return e;
}

static enum err apply_option(struct args *args, int option, uint32_t *listens, char text[CONFIG_TEXT])
{
	switch (option) {
	case OPT_DATA: return config_set(&args->config, "data", optarg, true, text);
	case OPT_LISTEN: return config_set(&args->config, "listen", optarg, (*listens)++ == 0, text);
	case OPT_NODE: return config_set(&args->config, "node", optarg, true, text);
	case OPT_LOG_LEVEL: return config_set(&args->config, "log_level", optarg, true, text);
	case OPT_ACCEPT_LOSS: args->accept_loss = true; return ERR_OK;
	case OPT_CHECK: args->check_config = true; return ERR_OK;
	case OPT_PRINT: args->print_config = true; return ERR_OK;
	case OPT_CONFIG: return ERR_OK; /* read already */
	default: break;
	}
	(void)snprintf(text, CONFIG_TEXT, "see hillockd --help");
	return ERR_INVALID_INPUT;
}

/* What is left behind the options: a command and its directory, or nothing. */
static enum err take_command(struct args *args, int argc, char **argv, char text[CONFIG_TEXT])
{
	if (optind == argc)
		return ERR_OK;
	args->command = argv[optind];
	if (strcmp(args->command, "fsck") != 0 && strcmp(args->command, "dump") != 0) {
		(void)snprintf(text, CONFIG_TEXT, "unknown command '%.100s'; see hillockd --help", args->command);
		return ERR_INVALID_INPUT;
	}
	if (argc - optind != 2) {
		(void)snprintf(text, CONFIG_TEXT, "%s takes one data directory", args->command);
		return ERR_INVALID_INPUT;
	}
	args->dir = argv[optind + 1];
	return ERR_OK;
}

bool args_parse(struct args *args, int argc, char **argv, int *code)
{
	char text[CONFIG_TEXT];
	uint32_t listens = 0;
	int option;
	*args = (struct args){ .command = NULL };
	config_init(&args->config);
	enum err e = read_config_file(argc, argv, &args->config, text);
	while (e == ERR_OK && (option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == 'h' || option == OPT_VERSION) {
			(void)fputs(option == 'h' ? usage_text : "hillockd " HILLOCK_VERSION "\n", stdout);
			*code = EXIT_GOOD;
			return false;
		}
		e = apply_option(args, option, &listens, text);
	}
	if (e == ERR_OK)
		e = take_command(args, argc, argv, text);
	if (e == ERR_OK)
		e = config_check(&args->config, text);
	if (e != ERR_OK) {
		*code = usage_error(text);
		return false;
	}
	return true;
}
