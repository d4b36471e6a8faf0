/* tools/output.h: one way out for every command: rows of JSON objects, printed as a table, as one JSON document or
 * as one JSON object per line.
 *
 * A command builds each row once (jansson) and names the columns a person wants to see. Text from the broker may hold
 * anything: tables show control characters as \xNN, JSON escapes them. */
#pragma once

#include <jansson.h>

#include "../wire/base.h"

enum output_format { OUTPUT_TABLE, OUTPUT_JSON, OUTPUT_JSONL };
enum column_kind {
	COLUMN_TEXT,
	COLUMN_NUMBER,   /* right-aligned */
	COLUMN_DECIMAL,  /* a number with two decimals */
	COLUMN_STATE,    /* coloured on a terminal */
	COLUMN_TIME,     /* milliseconds since 1970, shown as local time; 0 is shown as - */
	COLUMN_DURATION, /* milliseconds, shown as 250ms, 5s, 10m; -1 is shown as - */
};

struct column {
	const char *key, *title; /* key: may lead into nested objects, "confirm_us.p50" */
	enum column_kind kind;
};

struct output {
	enum output_format format;
	bool colour;
	const struct column *columns;
	uint32_t column_count;
	json_t *rows;
	int error; /* errno of the write that failed first; 0 = none */
};

void output_init(struct output *out, enum output_format format);

/* A list: begin, row by row, end. An empty table prints its titles; an empty JSON list is []. The columns are
 * borrowed until the end; rows are taken. */
void output_begin(struct output *out, const struct column *columns, uint32_t count);
void output_row(struct output *out, json_t *row);
void output_end(struct output *out);

/* One thing: lines of "title  value", or one JSON object. Takes the object. */
void output_one(struct output *out, const struct column *columns, uint32_t count, json_t *object);

/* Sets object[key] to the bytes as a string; where they are not UTF-8, in base64 with object[key "_base64"] = true. */
void output_set_bytes(json_t *object, const char *key, const void *data, size_t size);

/* Nobody gets what is written: a list need not go on. */
bool output_broken(const struct output *out);

/* False where something could not be written, with a message on stderr unless the reader has only left. Call before exit. */
bool output_finish(struct output *out) MUST_CHECK;
