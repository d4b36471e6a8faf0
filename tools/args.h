/* tools/args.h: one table of options per command drives parsing, help and completion.
 *
 * An option has a kind, a range and a default; the parser checks all three and its errors name the option and the
 * value. Options may stand before, between and after the arguments; "--" ends them. */
#pragma once

#include "../wire/base.h"

enum option_kind {
	OPTION_FLAG,     /* --wait */
	OPTION_TEXT,     /* --queue NAME */
	OPTION_LIST,     /* --header NAME=VALUE, repeatable */
	OPTION_COUNT,    /* --count 1000, --count 10M (thousands: k M G) */
	OPTION_SIZE,     /* --size 4k (1024s: k M G) */
	OPTION_DURATION, /* --delay 250ms|5s|10m|2h|1d; the number is milliseconds */
	OPTION_CHOICE,   /* one of the words in `value`: "table|json|jsonl" */
};

struct option {
	const char *name;     /* without the dashes; NULL ends a table */
	enum option_kind kind;
	char letter;          /* 0: no short form */
	const char *value;    /* what the help calls the value; the choices of OPTION_CHOICE */
	const char *standard; /* the default, parsed like a value; NULL: none */
	uint64_t min, max;    /* of numbers; max 0: no upper limit */
	const char *help;     /* one sentence without the full stop */
};

enum { ARGS_TABLES = 2, ARGS_OPTIONS = 48, ARGS_LIST = 64, ARGS_PLAIN = 4096 };

struct arg_value {
	bool given; /* on the command line, not by default */
	const char *text;
	uint64_t number;
};

/* Zero-initialise and set the tables; args_parse fills the rest. Borrows argv. */
struct args {
	const struct option *tables[ARGS_TABLES];
	struct arg_value values[ARGS_TABLES][ARGS_OPTIONS];
	const char *list[ARGS_LIST];               /* of all such options, in order */
	const struct option *list_of[ARGS_LIST];   /* which one it was */
	uint32_t list_count;
	const char *plain[ARGS_PLAIN]; /* what is no option, in order */
	uint32_t plain_count;
	char error[256];
};

/* Reads the arguments; false with a sentence in args->error. */
bool args_parse(struct args *args, int argc, char **argv) MUST_CHECK;

/* The value of an option that is in one of the tables (ENSUREd: a misspelt name is our own fault). Text is NULL, a
 * number 0 and a flag false where it was neither given nor has a default. */
const struct arg_value *args_get(const struct args *args, const char *name);
static inline const char *args_text(const struct args *args, const char *name)
{
	return args_get(args, name)->text;
}
static inline uint64_t args_number(const struct args *args, const char *name)
{
	return args_get(args, name)->number;
}
/* The values of one of several list options go to `out`, which has ARGS_LIST places; how many. */
uint32_t args_list(const struct args *args, const char *name, const char **out);
static inline bool args_given(const struct args *args, const char *name)
{
	return args_get(args, name)->given;
}

/* The notations of values, each complete: no sign, no blank, nothing after it. */
bool parse_count(const char *text, uint64_t *out) MUST_CHECK;
bool parse_size(const char *text, uint64_t *out) MUST_CHECK;
bool parse_duration_ms(const char *text, uint64_t *out) MUST_CHECK;
/* True where `text` is one of the words of "a|b|c". */
bool choice_has(const char *choices, const char *text);
