/* tools/contexts.h: named servers in a file of the user's: where a broker is and how to be known there.
 *
 *   ~/.config/hillock/config (HILLOCK_CONFIG, or under XDG_CONFIG_HOME) -> CONTEXTS -> options of the connection
 *
 * The file: "current = NAME", then for each a line [NAME] and KEY = VALUE lines; # begins a comment. It has paths, no secrets. Keys are the
 * global options of the command.
 *
 * 1. What a command line says goes before everything else. --context NAME goes before the environment; HILLOCK_CONTEXT, or the current
 *    one of the file, behind it.
 * 2. A context counts as a whole: where the server comes from elsewhere, its token and certificates are not shown to that.
 * 3. The file is replaced as a whole, and only its owner can read it. */
#pragma once

#include "cli.h"

enum context_key { CONTEXT_SERVER, CONTEXT_VNET, CONTEXT_TOKEN_FILE, CONTEXT_TLS_CA, CONTEXT_TLS_CERT, CONTEXT_TLS_KEY, CONTEXT_TLS_CRL,
		   CONTEXT_TLS_SERVER_NAME, CONTEXT_KEYS };
enum { CONTEXTS_MAX = 64, CONTEXT_VALUE = 1024, CONTEXT_NAME = 64 };

struct context {
	char name[CONTEXT_NAME];
	char value[CONTEXT_KEYS][CONTEXT_VALUE]; /* "" = not said */
};
struct contexts {
	char path[CONTEXT_VALUE], current[CONTEXT_NAME];
	struct context *at;
	uint32_t count;
};
/* The name of the option, and of the variable of the environment, that says the same. */
const char *context_option(enum context_key key);
const char *context_variable(enum context_key key);

/* Reads the file; one that is not there is empty. False after a message that names the line. Free in every case. */
bool contexts_read(struct contexts *c) MUST_CHECK;
void contexts_free(struct contexts *c);
const struct context *context_find(const struct contexts *c, const char *name);
/* Fills cli->connect's fields and the url by the rules above; what it points to lives as long as *c and the arguments. An exit code. */
int context_apply(struct cli *cli, struct contexts *c);
