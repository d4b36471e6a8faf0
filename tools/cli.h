/* tools/cli.h: what every command of `hillock` shares: the table of commands, exit codes, the connection, refusals. */
#pragma once

#include "../clientlib/hillock.h"
#include "args.h"
#include "output.h"
#include "../wire/span.h"

/* Scripts rely on these; `hillock --help` prints them. */
enum cli_exit {
	CLI_OK = 0,
	CLI_USAGE = 1,
	CLI_NOT_FOUND = 2,
	CLI_PARTIAL = 3,     /* some of it was done, or a waited-for task did not end well */
	CLI_UNAVAILABLE = 4, /* no broker, or no answer in time */
	CLI_REFUSED = 5,
};

struct cli {
	const struct command *command;
	struct args args;
	struct output out;
	const char *url;
	struct hlk_options connect; /* url, credentials, vnet, and what tls:// needs; copy it and add to it */
	int timeout_ms;
	struct hlk *client; /* after cli_connect; main closes it */
	size_t row_count;   /* rows of tasks so far */
};

struct command {
	const char *noun, *verb;   /* verb NULL: a command of one word */
	const char *arguments;     /* "TYPE", "[QUEUE]", "ID..." */
	uint32_t plain_min, plain_max;
	const char *summary;       /* one line, no full stop */
	const char *details;       /* paragraphs for --help; may be NULL */
	const char *examples;      /* lines of "command<TAB># what it does" for --help */
	const struct option *options;
	int (*run)(struct cli *cli);
};

/* Every command, in the order of the help; ends with a noun of NULL. */
extern const struct command *const cli_commands[];
extern const struct option cli_global_options[];

/* Connects cli->client. CLI_OK, or the exit code after a message on stderr. */
int cli_connect(struct cli *cli) MUST_CHECK;
/* The same under a name of its own, and in a scope; either may be NULL. */
/* "k=v" of each value of the list option, one after the other: the text form of parameters, with a terminating zero. */
void cli_params(const struct args *args, struct buf *out);
int cli_connect_vnet(struct cli *cli, const char *name, const char *vnet) MUST_CHECK;
/* For a call on cli->client that returned `code`: says on stderr what failed ("queue show mail"), gives the exit code. */
int cli_failed(struct cli *cli, int code, const char *format, ...) PRINTF_LIKE(3, 4);
/* The exit code that belongs to an error code of the library. */
int cli_exit_of(int code);
/* A wrong command line: prints the sentence and where to find help; CLI_USAGE. */
int cli_usage(const struct cli *cli, const char *format, ...) PRINTF_LIKE(2, 3);
/* One line on stderr, "hillock: ..." */
void cli_say(const char *format, ...) PRINTF_LIKE(1, 2);
/* Before something that cannot be undone: --yes, or a yes typed on a terminal. Else CLI_USAGE. */
int cli_sure(const struct cli *cli, const char *format, ...) MUST_CHECK PRINTF_LIKE(2, 3);
/* The command's argument at `index` as a task id. CLI_OK or CLI_USAGE. */
int cli_task_id(const struct cli *cli, uint32_t index, uint64_t *out) MUST_CHECK;

/* One row of a task as every command shows it, the columns of lists and of `show`. */
json_t *cli_task_json(struct cli *cli, const struct hlk_task_row *row);
extern const struct column cli_task_columns[], cli_task_fields[];
extern const uint32_t cli_task_column_count, cli_task_field_count;
/* hlk_task_row_fn that outputs the row; ctx is the struct cli. */
void cli_task_row(const struct hlk_task_row *row, void *ctx);

/* Outputs the tasks of one queue (NULL: of all) in one state (NULL: any), at most `limit`. An exit code. */
int cli_task_list(struct cli *cli, const char *queue, const char *state, uint64_t limit) MUST_CHECK;

json_t *cli_integer(uint64_t value);
/* json_object_set_new that aborts when memory is out. */
void cli_set(json_t *object, const char *key, json_t *value);

/* The outcome of a task: id, state, code, app_code, failed, and result or error. */
void result_set(struct hlk *c, json_t *object, const struct hlk_result *result);

/* watch.c: hlk_update_fn that prints the update as one JSON object on a line of its own, at once. */
void update_print(struct hlk *c, const struct hlk_update *update, void *ctx);

/* help.c */
void help_main(void);
void help_noun(const char *noun);
void help_command(const struct command *command);
bool help_has_noun(const char *noun); /* main.c */
/* manual.c */
void manual_page(void);
void completion_bash(void);
