/* wire/predicate.h: conditions on the parameters of an entry: what a task, a call or a binding requires.
 *
 * Text form, which is also the wire form: `gpu == "A100" && vram_gb >= 40 && has(model) && !(zone in ["a", "b"])`.
 *
 *   ==  !=  <  <=  >  >=    numbers with numbers, strings with strings (bytewise); == and != also true and false
 *   in [...]                the parameter is one of these values
 *   contains VALUE          a list of strings has this one; a string has this part
 *   glob PATTERN            * any bytes, ? one byte; the string, or one string of the list, matches as a whole (one with ? that takes
 *                           more than 65,536 comparisons does not)
 *   has(NAME)               there is such a parameter
 *   && || ! ( )             in the usual order: ! first, || last
 *
 * A term about a parameter that is missing, or of another kind than the value, does not hold; != is no exception.
 * Values are written as in params.h. Packed form: what predicate_parse makes of it; equal predicates but for spacing give equal
 * bytes, so it can be a key. Only predicate_parse makes it, so whoever reads it trusts it. */
#pragma once

#include "params.h"

/* Appends the packed form to `out`, which is left as it was on failure. ERR_INVALID_INPUT (text says at which byte, counted from
 * 1, and what was expected) or ERR_TOO_BIG (LIMIT_PREDICATE_BYTES). An empty text gives an empty predicate, which always holds. */
enum err predicate_parse(struct span source, struct buf *out, char text[128]) MUST_CHECK;
/* Does it hold for these packed parameters? No allocation; time is bounded by the two sizes. */
bool predicate_holds(struct span packed, struct span params);
/* Appends the text form. */
void predicate_print(struct span packed, struct buf *out);
/* The first part, of those joined by && at the top, that does not hold: itself a packed predicate, borrowed. Empty where all hold. */
struct span predicate_failing(struct span packed, struct span params);
/* Does the text as a whole match? * any bytes, ? one byte. Time is bounded by the product of the two lengths. Where neither is longer
 * than a name (LIMIT_NAME_BYTES) the limit on comparisons is never met: the answer is exact. */
bool glob_matches(struct span pattern, struct span text);
