/* broker/config_value.h: the text forms of config values: "30s", "64MiB", "true". Pure functions. */
#pragma once

#include "../wire/err.h"

enum config_type { CONFIG_BOOL, CONFIG_INT, CONFIG_SIZE, CONFIG_MS, CONFIG_US, CONFIG_LEVEL, CONFIG_VERIFY, CONFIG_BLOBS, CONFIG_STYLE,
		   CONFIG_STRING, CONFIG_LIST };

/* Reads one number of a type. ERR_INVALID_INPUT with what is wrong, and what would be right, in text. */
enum err config_value_parse(enum config_type type, const char *from, uint64_t *out, char text[256]) MUST_CHECK;
/* Writes it in its shortest exact form; `out` has 32 bytes. */
void config_value_format(enum config_type type, uint64_t value, char out[32]);
