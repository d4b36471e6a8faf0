/* broker/config_value.c: the text forms of config values.
 *
 * A number is decimal digits, at most one unit behind it, nothing else: no sign, no fraction, no blanks. So what an
 * operator reads in a file is exactly what the broker uses.
 *
 * Invariants: parse(format(v)) == v for every v; a value that does not fit in 64 bits is refused, never wrapped. */
#include "config_value.h"

#include "note.h"

static const char *const truths[] = { "false", "true", NULL };
static const char *const verify_names[] = { "none", "optional", "required", NULL }; /* enum tls_verify */
static const char *const blobs_names[] = { "local", "s3", "none", NULL };           /* enum config_blobs */
static const char *const style_names[] = { "path", "host", NULL };

struct unit {
	const char *name;
	uint64_t factor;
};

/* From big to small, so that formatting takes the first that divides. The last one has factor 1. */
static const struct unit units_size[] = { { "GiB", 1u << 30 }, { "MiB", 1u << 20 }, { "KiB", 1u << 10 }, { "B", 1 }, { NULL, 0 } };
static const struct unit units_ms[] = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 }, { NULL, 0 } };
static const struct unit units_us[] = { { "s", 1000000 }, { "ms", 1000 }, { "us", 1 }, { NULL, 0 } };
static const struct unit units_none[] = { { "", 1 }, { NULL, 0 } };

static const struct unit *units_of(enum config_type type)
{
	switch (type) {
	case CONFIG_SIZE: return units_size;
	case CONFIG_MS: return units_ms;
	case CONFIG_US: return units_us;
	case CONFIG_BOOL:
	case CONFIG_INT:
	case CONFIG_LEVEL:
	case CONFIG_VERIFY:
	case CONFIG_BLOBS:
	case CONFIG_STYLE:
	case CONFIG_STRING:
	case CONFIG_LIST: break;
	}
	return units_none;
}

/* Those of a type that is one of a few words; NULL: it is a number. */
static const char *const *words_of(enum config_type type)
{
	switch (type) {
	case CONFIG_BOOL: return truths;
	case CONFIG_LEVEL: return note_level_names;
	case CONFIG_VERIFY: return verify_names;
	case CONFIG_BLOBS: return blobs_names;
	case CONFIG_STYLE: return style_names;
	case CONFIG_INT:
	case CONFIG_SIZE:
	case CONFIG_MS:
	case CONFIG_US:
	case CONFIG_STRING:
	case CONFIG_LIST: break;
	}
	return NULL;
}

static const char *example_of(enum config_type type)
{
	switch (type) {
	case CONFIG_SIZE: return "a size such as 64MiB, 512KiB, 1GiB or 100B";
	case CONFIG_MS: return "a duration such as 500ms, 30s, 5m, 24h or 7d";
	case CONFIG_US: return "a duration such as 50us, 2ms or 1s";
	case CONFIG_BOOL: return "true or false";
	case CONFIG_VERIFY: return "none, optional or required";
	case CONFIG_BLOBS: return "local, s3 or none";
	case CONFIG_STYLE: return "path or host";
	case CONFIG_LEVEL: return "error, warn, info or debug";
	case CONFIG_INT:
	case CONFIG_STRING:
	case CONFIG_LIST: break;
	}
	return "a whole number";
}

static enum err refuse(enum config_type type, const char *from, char text[256])
{
	(void)snprintf(text, 256, "'%.100s' is not %s", from, example_of(type));
	return ERR_INVALID_INPUT;
}

static enum err parse_word(const char *from, const char *const *words, uint64_t *out)
{
	for (uint64_t index = 0; words[index]; index++) {
		if (strcmp(from, words[index]) == 0) {
			*out = index;
			return ERR_OK;
		}
	}
	return ERR_INVALID_INPUT;
}

static enum err parse_number(const struct unit *units, const char *from, uint64_t *out)
{
	uint64_t value = 0;
	const char *at = from;
	for (; *at >= '0' && *at <= '9'; at++) {
		if (__builtin_mul_overflow(value, 10u, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value))
			return ERR_INVALID_INPUT;
	}
	if (at == from)
		return ERR_INVALID_INPUT;
	/* 0 needs no unit: it is the same in all of them. */
	if (value == 0 && *at == '\0') {
		*out = 0;
		return ERR_OK;
	}
	for (; units->name; units++) {
		if (strcmp(at, units->name) == 0)
			return __builtin_mul_overflow(value, units->factor, out) ? ERR_INVALID_INPUT : ERR_OK;
	}
	return ERR_INVALID_INPUT;
}

enum err config_value_parse(enum config_type type, const char *from, uint64_t *out, char text[256])
{
	const char *const *words = words_of(type);
	enum err e = words ? parse_word(from, words, out) : parse_number(units_of(type), from, out);
	return e == ERR_OK ? ERR_OK : refuse(type, from, text);
}

void config_value_format(enum config_type type, uint64_t value, char out[32])
{
	const char *const *words = words_of(type);
	if (words) {
		for (uint64_t i = 0; i <= value; i++)
			ENSURE(words[i] != NULL);
		(void)snprintf(out, 32, "%s", words[value]);
		return;
	}
	const struct unit *unit = units_of(type);
	if (value == 0) {
		(void)snprintf(out, 32, "0");
		return;
	}
	while (value % unit->factor != 0)
		unit++;
	(void)snprintf(out, 32, "%llu%s", (unsigned long long)(value / unit->factor), unit->name);
}
