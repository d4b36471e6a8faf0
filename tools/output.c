/* tools/output.c: tables and JSON on stdout.
 *
 * Invariants:
 * 1. Only this file writes to stdout (help and completion apart), so that -o json is one document and nothing else.
 * 2. No byte below 0x20 and no C1 control of a row reaches a terminal: payloads and names come from strangers.
 * 3. Colour only where stdout is a terminal and NO_COLOR is not set. */
#include "output.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "../wire/span.h"

enum { CELL_MAX = 64 }; /* a digest is as long */

void output_init(struct output *out, enum output_format format)
{
	const char *no_color = getenv("NO_COLOR");
	*out = (struct output){ .format = format };
	out->colour = isatty(STDOUT_FILENO) && !(no_color && no_color[0]);
}

static const json_t *json_at(const json_t *object, const char *path)
{
	char key[64];
	const char *dot;
	while (object && (dot = strchr(path, '.')) != NULL) {
		(void)snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
		object = json_object_get(object, key);
		path = dot + 1;
	}
	return object ? json_object_get(object, path) : NULL;
}

static void append_text(struct buf *cell, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t byte = (uint8_t)text[i];
		bool c1 = byte == 0xc2 && i + 1 < len && ((uint8_t)text[i + 1] & 0xe0) == 0x80;
		if (byte >= 0x20 && byte != 0x7f && !c1) {
			buf_append(cell, &byte, 1);
			continue;
		}
		char escaped[8];
		int n = c1 ? snprintf(escaped, sizeof escaped, "\\u00%02x", (uint8_t)text[++i]) :
		      byte == '\n' ? snprintf(escaped, sizeof escaped, "\\n") :
				     snprintf(escaped, sizeof escaped, "\\x%02x", byte);
		buf_append(cell, escaped, (size_t)n);
	}
}

static int format_duration(char *text, size_t size, int64_t ms)
{
	static const struct { int64_t ms; const char *name; } units[] = {
		{ 86400000, "d" }, { 3600000, "h" }, { 60000, "m" }, { 1000, "s" } };
	if (ms < 0)
		return snprintf(text, size, "-");
	for (size_t i = 0; i < COUNT_OF(units); i++)
		if (ms > 0 && ms % units[i].ms == 0)
			return snprintf(text, size, "%lld%s", (long long)(ms / units[i].ms), units[i].name);
	return snprintf(text, size, "%lldms", (long long)ms);
}

static int format_time(char *text, size_t size, int64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm parts;
	char whole[32];
	if (ms <= 0 || !localtime_r(&seconds, &parts) || !strftime(whole, sizeof whole, "%F %T", &parts))
		return snprintf(text, size, "-");
	return snprintf(text, size, "%s.%03d", whole, (int)(ms % 1000));
}

static void cell_number(struct buf *cell, enum column_kind kind, const json_t *value)
{
	char text[64];
	int n;
	double real = json_number_value(value);
	if (kind == COLUMN_TIME)
		n = format_time(text, sizeof text, json_integer_value(value));
	else if (kind == COLUMN_DURATION)
		n = format_duration(text, sizeof text, json_integer_value(value));
	else if (json_is_integer(value))
		n = snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
	else
		n = snprintf(text, sizeof text, kind == COLUMN_DECIMAL ? "%.2f" : "%.6g", real);
	buf_append(cell, text, (size_t)n);
}

/* The text of one cell, without a terminating zero. */
static struct buf cell_of(const struct column *column, const json_t *row)
{
	struct buf cell = { 0 };
	const json_t *value = json_at(row, column->key);
	if (json_is_string(value) && json_string_length(value) > 0)
		append_text(&cell, json_string_value(value), json_string_length(value));
	else if (json_is_number(value))
		cell_number(&cell, column->kind, value);
	else if (json_is_boolean(value))
		append_text(&cell, json_is_true(value) ? "yes" : "no", json_is_true(value) ? 3 : 2);
	else if (json_is_array(value))
		for (size_t i = 0; i < json_array_size(value); i++) {
			const json_t *item = json_array_get(value, i);
			if (i > 0)
				append_text(&cell, ", ", 2);
			if (json_is_string(item))
				append_text(&cell, json_string_value(item), json_string_length(item));
		}
	if (cell.len == 0)
		append_text(&cell, "-", 1);
	return cell;
}

/* Columns on the screen: every byte that does not continue a UTF-8 sequence counts. */
static size_t width_of(const struct buf *cell)
{
	size_t width = 0;
	for (size_t i = 0; i < cell->len; i++)
		width += (cell->data[i] & 0xc0) != 0x80;
	return width;
}

static void cell_shorten(struct buf *cell)
{
	size_t width = 0, cut = 0;
	while (cut < cell->len && width < CELL_MAX - 1) {
		cut++;
		while (cut < cell->len && (cell->data[cut] & 0xc0) == 0x80)
			cut++;
		width++;
	}
	if (cut < cell->len && width_of(cell) > CELL_MAX) {
		cell->len = cut;
		buf_append(cell, "\xe2\x80\xa6", 3); /* an ellipsis */
	}
}

static const char *state_colour(const struct buf *cell)
{
	static const struct { const char *state, *colour; } colours[] = {
		{ "done", "\033[32m" }, { "failed", "\033[31m" }, { "dead", "\033[31m" }, { "lost", "\033[31m" },
		{ "expired", "\033[33m" }, { "cancelled", "\033[33m" }, { "started", "\033[36m" },
		{ "leased", "\033[36m" } };
	for (size_t i = 0; i < COUNT_OF(colours); i++)
		if (span_eq(buf_span(cell), span_str(colours[i].state)))
			return colours[i].colour;
	return NULL;
}

static void put_cell(const struct output *out, const struct column *column, const struct buf *cell, size_t width,
		     bool last)
{
	size_t own = width_of(cell), pad = width > own ? width - own : 0;
	bool right = column->kind == COLUMN_NUMBER || column->kind == COLUMN_DECIMAL;
	const char *colour = out->colour && column->kind == COLUMN_STATE ? state_colour(cell) : NULL;
	if (right)
		(void)printf("%*s", (int)pad, "");
	(void)printf("%s%.*s%s", colour ? colour : "", (int)cell->len, (const char *)cell->data, colour ? "\033[0m" : "");
	if (!last)
		(void)printf("%*s  ", right ? 0 : (int)pad, "");
}

void output_begin(struct output *out, const struct column *columns, uint32_t count)
{
	out->columns = columns;
	out->column_count = count;
	out->rows = json_array();
	ENSURE(out->rows != NULL);
}

void output_row(struct output *out, json_t *row)
{
	ENSURE(row != NULL && out->rows != NULL);
	if (out->format == OUTPUT_JSONL) {
		(void)json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
		(void)putchar('\n');
		if (fflush(stdout) != 0 && out->error == 0) /* someone may be reading along */
			out->error = errno;
		json_decref(row);
	} else {
		ENSURE(json_array_append_new(out->rows, row) == 0);
	}
}

static void print_table(const struct output *out)
{
	size_t rows = json_array_size(out->rows), columns = out->column_count;
	struct buf *cells = calloc(size_mul(rows + 1, columns), sizeof *cells);
	size_t *widths = calloc(columns, sizeof *widths);
	ENSURE(cells != NULL && widths != NULL);
	for (size_t r = 0; r <= rows; r++)
		for (size_t c = 0; c < columns; c++) {
			struct buf *cell = &cells[r * columns + c];
			if (r == 0)
				append_text(cell, out->columns[c].title, strlen(out->columns[c].title));
			else
				*cell = cell_of(&out->columns[c], json_array_get(out->rows, r - 1));
			cell_shorten(cell);
			widths[c] = MAX_OF(widths[c], width_of(cell));
		}
	for (size_t r = 0; r <= rows; r++) {
		if (r == 0 && out->colour)
			(void)printf("\033[1m");
		for (size_t c = 0; c < columns; c++) {
			put_cell(out, &out->columns[c], &cells[r * columns + c], widths[c], c + 1 == columns);
			buf_free(&cells[r * columns + c]);
		}
		(void)printf(r == 0 && out->colour ? "\033[0m\n" : "\n");
	}
	free(cells);
	free(widths);
}

void output_end(struct output *out)
{
	ENSURE(out->rows != NULL);
	if (out->format == OUTPUT_TABLE) {
		print_table(out);
	} else if (out->format == OUTPUT_JSON) {
		(void)json_dumpf(out->rows, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
		(void)putchar('\n');
	}
	json_decref(out->rows);
	out->rows = NULL;
}

void output_one(struct output *out, const struct column *columns, uint32_t count, json_t *object)
{
	ENSURE(object != NULL);
	if (out->format != OUTPUT_TABLE) {
		(void)json_dumpf(object, stdout, (out->format == OUTPUT_JSON ? JSON_INDENT(2) : JSON_COMPACT) | JSON_REAL_PRECISION(9));
		(void)putchar('\n');
	} else {
		size_t width = 0;
		for (uint32_t i = 0; i < count; i++)
			width = MAX_OF(width, strlen(columns[i].title));
		for (uint32_t i = 0; i < count; i++) {
			const json_t *value = json_at(object, columns[i].key);
			if (!value || json_is_null(value))
				continue;
			struct buf cell = cell_of(&columns[i], object);
			(void)printf("%-*s  ", (int)width, columns[i].title);
			put_cell(out, &columns[i], &cell, 0, true);
			(void)putchar('\n');
			buf_free(&cell);
		}
	}
	json_decref(object);
}

static json_t *base64_of(const uint8_t *data, size_t size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	struct buf text = { 0 };
	buf_reserve(&text, size_add(size_mul(size, 2), 4));
	for (size_t i = 0; i < size; i += 3) {
		uint32_t three = (uint32_t)data[i] << 16;
		three |= i + 1 < size ? (uint32_t)data[i + 1] << 8 : 0;
		three |= i + 2 < size ? data[i + 2] : 0;
		char four[4] = { digits[three >> 18], digits[three >> 12 & 63], digits[three >> 6 & 63],
				 digits[three & 63] };
		if (i + 2 >= size)
			four[3] = '=';
		if (i + 1 >= size)
			four[2] = '=';
		buf_append(&text, four, 4);
	}
	json_t *value = json_stringn((const char *)text.data, text.len);
	buf_free(&text);
	return value;
}

void output_set_bytes(json_t *object, const char *key, const void *data, size_t size)
{
	json_t *value = json_stringn(size > 0 ? data : "", size);
	if (!value) {
		char flag[64];
		value = base64_of(data, size);
		(void)snprintf(flag, sizeof flag, "%s_base64", key);
		ENSURE(json_object_set_new(object, flag, json_true()) == 0);
	}
	ENSURE(json_object_set_new(object, key, value) == 0);
}

bool output_broken(const struct output *out)
{
	return out->error != 0;
}

bool output_finish(struct output *out)
{
	if (out->rows)
		json_decref(out->rows);
	out->rows = NULL;
	if (fflush(stdout) != 0 && out->error == 0)
		out->error = errno;
	if (out->error == 0 && !ferror(stdout))
		return true;
	if (out->error != EPIPE)
		(void)fprintf(stderr, "hillock: the output could not be written: %s\n", strerror(out->error ? out->error : EIO));
	return false;
}
