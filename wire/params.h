/* wire/params.h: typed parameters of a directory entry, and the small scanner that predicates share with them.
 *
 * Text form, in the library, on the command line and on the wire: `gpu="A100", vram_gb=80, spot=true, models=["llama", "sd"]`.
 * A value is a string in quotes (\" and \\ inside), a word, a whole number (64 bit), a number with a point or an exponent, true,
 * false, or a list of strings. A word is letters, digits and _ . - : / and starts with a letter or _; names are words of up to 64
 * bytes without : and /. Commas between pairs may be left out.
 * Packed form: what params_parse makes of it: sorted by name, without pointers; equal parameters give equal bytes. Only
 * params_parse makes it, so whoever reads it trusts it. */
#pragma once

#include "err.h"
#include "limits.h"
#include "span.h"

enum param_kind { PARAM_STRING = 1, PARAM_INT, PARAM_DOUBLE, PARAM_BOOL, PARAM_STRINGS };

struct param_value {
	uint8_t kind;
	bool truth;
	int64_t integer;
	double real;
	struct span string;  /* PARAM_STRINGS: the packed list, see params_string */
};

/* Appends the packed form to `out`, which is left as it was on failure. ERR_INVALID_INPUT (text says at which byte of the text,
 * counted from 1, and what) or ERR_TOO_BIG (LIMIT_PARAMS; LIMIT_PARAMS_BYTES, of `source` and of what params_print makes of it).
 * An empty text gives empty bytes. */
enum err params_parse(struct span source, struct buf *out, char text[128]) MUST_CHECK;
/* Parameters whose name begins so are not the entry's own word but the broker's: who declares one is refused. */
#define PARAMS_BROKER "hillock."
/* The identity of the session, where it has one: what a task or call for that very worker requires. */
#define PARAMS_IDENTITY PARAMS_BROKER "identity"
bool params_are_brokers(struct span packed); /* one of the names begins so */
/* Adds a string to the packed parameters that begin at `begin` of `out` and go to its end; there must be none of that name. */
void params_insert(struct buf *out, size_t begin, struct span name, struct span string);
/* Appends the text form: the same again, in order of names. */
void params_print(struct span packed, struct buf *out);
/* One after the other: *at starts at 0. False after the last. */
bool params_next(struct span packed, size_t *at, struct span *name, struct param_value *out);
/* False where there is none of that name. */
bool params_find(struct span packed, struct span name, struct param_value *out);
/* One string of a PARAM_STRINGS, one after the other: *at starts at 0. */
bool params_string(const struct param_value *list, size_t *at, struct span *out);

/* ---- for predicate.c ---- */

struct scan {
	struct span source;
	size_t at;
	const char *what; /* "params", for texts */
	char *text;       /* 128 bytes */
};
enum scan_char { SCAN_LETTER = 1, SCAN_DIGIT = 2, SCAN_NAME = 4, SCAN_WORD = 8 };
/* Writes "WHAT: position N: ..." and gives ERR_INVALID_INPUT. */
enum err scan_refuse(struct scan *s, size_t at, const char *format, ...) PRINTF_LIKE(3, 4);
/* Skips white space; the next byte, or 0 at the end. */
char scan_peek(struct scan *s);
/* Takes `token` where it comes next. A token of letters must end there. */
bool scan_take(struct scan *s, const char *token);
enum err scan_name(struct scan *s, struct span *out) MUST_CHECK;
/* Appends a packed value: kind, then its bytes. */
enum err scan_value(struct scan *s, struct buf *out) MUST_CHECK;
struct param_value value_read(struct reader *r);
void value_print(const struct param_value *value, struct buf *out);
