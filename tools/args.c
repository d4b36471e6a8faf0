/* tools/args.c: reads a command line by tables of options.
 *
 * Invariants:
 * 1. A value is either accepted whole and in range, or refused with the option and the value in the text.
 * 2. Numbers never wrap: what does not fit into 64 bits is refused.
 * 3. Nothing is printed here; main.c decides where errors go. */
#include "args.h"

#include <stdarg.h>

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit count_units[] = { { "", 1 },	     { "k", 1000 },	  { "K", 1000 },
					   { "M", 1000000 }, { "G", 1000000000 }, { NULL, 0 } };
static const struct unit size_units[] = { { "", 1 },	     { "k", 1 << 10 }, { "K", 1 << 10 },
					  { "M", 1 << 20 },  { "G", 1 << 30 }, { NULL, 0 } };
static const struct unit duration_units[] = { { "ms", 1 },	  { "s", 1000 },      { "m", 60000 },
					      { "h", 3600000 },	  { "d", 86400000 }, { NULL, 0 } };

/* DIGITS[.DIGITS]UNIT. A fraction must come out as a whole number of the base unit: 1.5s is 1500 ms, 0.5ms is refused. */
static bool parse_with_units(const char *text, const struct unit *units, uint64_t *out)
{
	uint64_t number = 0, divisor = 1;
	const char *at = text;
	bool fraction = false;
	if (*at < '0' || *at > '9')
		return false;
	for (; (*at >= '0' && *at <= '9') || (*at == '.' && !fraction); at++) {
		if (*at == '.') {
			fraction = true;
			continue;
		}
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
			return false;
		if (fraction && __builtin_mul_overflow(divisor, 10, &divisor))
			return false;
	}
	if (at[-1] == '.')
		return false;
	for (; units->name; units++) {
		if (strcmp(units->name, at) != 0)
			continue;
		if (__builtin_mul_overflow(number, units->factor, &number) || number % divisor != 0)
			return false;
		*out = number / divisor;
		return true;
	}
	return false;
}

bool parse_count(const char *text, uint64_t *out)
{
	return parse_with_units(text, count_units, out);
}

bool parse_size(const char *text, uint64_t *out)
{
	return parse_with_units(text, size_units, out);
}

bool parse_duration_ms(const char *text, uint64_t *out)
{
	if (strcmp(text, "0") == 0) {
		*out = 0;
		return true;
	}
	return parse_with_units(text, duration_units, out);
}

bool choice_has(const char *choices, const char *text)
{
	size_t len = strlen(text);
	while (len > 0 && choices) {
		const char *end = strchr(choices, '|');
		size_t word = end ? (size_t)(end - choices) : strlen(choices);
		if (word == len && memcmp(choices, text, len) == 0)
			return true;
		choices = end ? end + 1 : NULL;
	}
	return false;
}

PRINTF_LIKE(2, 3) static bool refuse(struct args *args, const char *format, ...)
{
	va_list list;
	va_start(list, format);
	(void)vsnprintf(args->error, sizeof args->error, format, list);
	va_end(list);
	return false;
}

static bool number_set(struct args *args, const struct option *option, const char *text, uint64_t *out)
{
	bool fits = false;
	const char *expected = "";
	switch (option->kind) {
	case OPTION_COUNT:
		fits = parse_count(text, out);
		expected = "a number such as 100, 20k or 1M";
		break;
	case OPTION_SIZE:
		fits = parse_size(text, out);
		expected = "a size such as 512, 4k or 1M";
		break;
	case OPTION_DURATION:
		fits = parse_duration_ms(text, out);
		expected = "a duration such as 250ms, 5s, 10m, 2h or 1d";
		break;
	case OPTION_FLAG:
	case OPTION_TEXT:
	case OPTION_LIST:
	case OPTION_CHOICE:
		break; /* no number: value_set does not come here with one */
	}
	if (!fits)
		return refuse(args, "--%s %.60s: expected %s", option->name, text, expected);
	if (*out < option->min)
		return refuse(args, "--%s %.60s: at least %llu%s", option->name, text,
			      (unsigned long long)option->min, option->kind == OPTION_DURATION ? " ms" : "");
	if (option->max > 0 && *out > option->max)
		return refuse(args, "--%s %.60s: at most %llu%s", option->name, text,
			      (unsigned long long)option->max, option->kind == OPTION_DURATION ? " ms" : "");
	return true;
}

static bool value_set(struct args *args, const struct option *option, struct arg_value *value, const char *text)
{
	value->text = text;
	switch (option->kind) {
	case OPTION_FLAG:
		value->number = 1;
		return true;
	case OPTION_TEXT:
		return true;
	case OPTION_LIST:
		if (args->list_count == ARGS_LIST)
			return refuse(args, "--%s %.60s: at most %d of them", option->name, text, ARGS_LIST);
		args->list_of[args->list_count] = option;
		args->list[args->list_count++] = text;
		return true;
	case OPTION_CHOICE:
		if (!choice_has(option->value, text))
			return refuse(args, "--%s %.60s: expected %s", option->name, text, option->value);
		return true;
	case OPTION_COUNT:
	case OPTION_SIZE:
	case OPTION_DURATION:
		return number_set(args, option, text, &value->number);
	}
	return false;
}

uint32_t args_list(const struct args *args, const char *name, const char **out)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < args->list_count; i++)
		if (strcmp(args->list_of[i]->name, name) == 0)
			out[count++] = args->list[i];
	return count;
}

static const struct option *option_find(struct args *args, const char *name, size_t len, char letter,
					struct arg_value **value_out)
{
	for (uint32_t table = 0; table < ARGS_TABLES; table++) {
		const struct option *option = args->tables[table];
		for (uint32_t index = 0; option && option->name; option++, index++) {
			ENSURE(index < ARGS_OPTIONS);
			bool found = name ? strlen(option->name) == len && memcmp(option->name, name, len) == 0
					  : option->letter != 0 && option->letter == letter;
			if (found) {
				*value_out = &args->values[table][index];
				return option;
			}
		}
	}
	return NULL;
}

/* One argument that begins with a dash; *index is moved on where the value is the next argument. */
static bool option_read(struct args *args, int argc, char **argv, int *index)
{
	const char *word = argv[*index], *text = NULL;
	struct arg_value *value;
	const struct option *option;
	if (word[1] == '-') {
		const char *equals = strchr(word, '=');
		size_t len = equals ? (size_t)(equals - word) - 2 : strlen(word) - 2;
		option = option_find(args, word + 2, len, 0, &value);
		text = equals ? equals + 1 : NULL;
	} else {
		option = option_find(args, NULL, 0, word[1], &value);
		text = word[2] ? word + 2 : NULL;
	}
	if (!option)
		return refuse(args, "%.60s: no such option here", word);
	if (value->given && option->kind != OPTION_LIST && option->kind != OPTION_FLAG)
		return refuse(args, "--%s: given twice", option->name);
	if (option->kind == OPTION_FLAG) {
		if (text)
			return refuse(args, "%.60s: --%s takes no value", word, option->name);
		text = "";
	} else if (!text) {
		if (*index + 1 >= argc)
			return refuse(args, "--%s: the value is missing: --%s %s", option->name, option->name,
				      option->value);
		text = argv[++*index];
	}
	value->given = true;
	return value_set(args, option, value, text);
}

static bool standards_set(struct args *args)
{
	for (uint32_t table = 0; table < ARGS_TABLES; table++) {
		const struct option *option = args->tables[table];
		for (uint32_t index = 0; option && option->name; option++, index++) {
			struct arg_value *value = &args->values[table][index];
			if (!value->given && option->standard && !value_set(args, option, value, option->standard))
				return false;
		}
	}
	return true;
}

bool args_parse(struct args *args, int argc, char **argv)
{
	bool plain_only = false;
	for (int index = 0; index < argc; index++) {
		const char *word = argv[index];
		if (!plain_only && strcmp(word, "--") == 0) {
			plain_only = true;
		} else if (plain_only || word[0] != '-' || word[1] == 0) {
			if (args->plain_count == ARGS_PLAIN)
				return refuse(args, "more than %d arguments", ARGS_PLAIN);
			args->plain[args->plain_count++] = word;
		} else if (!option_read(args, argc, argv, &index)) {
			return false;
		}
	}
	return standards_set(args);
}

const struct arg_value *args_get(const struct args *args, const char *name)
{
	struct arg_value *value = NULL;
	/* The search only reads; the table it finds belongs to a const args, and so does the result. */
	const struct option *option = option_find((struct args *)(uintptr_t)args, name, strlen(name), 0, &value);
	ENSURE(option != NULL);
	return value;
}
