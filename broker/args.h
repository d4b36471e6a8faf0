/* broker/args.h: the command line of hillockd. */
#pragma once

#include "config.h"

/* An interface: scripts and docs/operations.md rely on it. */
enum exit_code {
	EXIT_GOOD = 0,
	EXIT_USAGE = 1,   /* the command line, the configuration or an address to listen on */
	EXIT_DATA = 2,    /* the data directory was refused: locked, foreign, damaged, unreadable */
	EXIT_STORAGE = 3, /* storage failed while running: nothing unsynced was confirmed */
};

struct args {
	struct config config;
	bool check_config, print_config, accept_loss;
	const char *command, *dir; /* "fsck" or "dump" and its directory; NULL = run the broker */
};

/* Reads the command line and the config file it names. True: go on. False: everything is said; exit with *code. Free with
 * args_free in both cases. */
bool args_parse(struct args *args, int argc, char **argv, int *code) MUST_CHECK;
void args_free(struct args *args);
