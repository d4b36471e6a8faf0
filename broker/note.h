/* broker/note.h: what the operator is told: one line per event.
 *
 *   2026-11-21T06:40:00.123Z info session opened peer=127.0.0.1:4711 conns=3
 *
 * Time, level, module, event, then key=value. Text from peers is escaped and cut, so that nobody can forge a line.
 * Each event (module and name) may write a limited number of lines per interval; what was held back is counted
 * and said with the next line of that event. Never put secrets or payloads in here.
 *
 * One thread owns a note. It has no clock and no file of its own: both come in note_config. */
#pragma once

#include "../wire/span.h"

enum note_level { NOTE_ERROR, NOTE_WARN, NOTE_INFO, NOTE_DEBUG, NOTE_LEVELS };
/* "error", "warn", "info", "debug", NULL. */
extern const char *const note_level_names[NOTE_LEVELS + 1];

enum { NOTE_LINE_BYTES = 1024, NOTE_TEXT_BYTES = 256, NOTE_SITES = 128, NOTE_BURST = 20, NOTE_INTERVAL_MS = 10000 };

struct note_config {
	enum note_level level; /* lines above it are dropped */
	void *ctx;
	/* Milliseconds since 1970. */
	uint64_t (*wall_ms)(void *ctx);
	/* One whole line with its line end; must not call note. */
	void (*write)(void *ctx, const char *line, size_t len);
};

/* One event's budget; found by the addresses of its two literals. */
struct note_site {
	const char *module, *event;
	uint64_t interval_start_ms;
	uint32_t count;
	uint64_t held_back;
};

struct note {
	struct note_config config;
	struct note_site sites[NOTE_SITES];
};

struct note_field {
	const char *key;
	enum { NOTE_IS_NONE, NOTE_IS_NUMBER, NOTE_IS_TEXT } type;
	uint64_t number;
	struct span text; /* borrowed during the call */
};

#define NOTE_U64(k, value) ((struct note_field){ .key = (k), .type = NOTE_IS_NUMBER, .number = (value) })
#define NOTE_STR(k, string) ((struct note_field){ .key = (k), .type = NOTE_IS_TEXT, .text = span_str(string) })
#define NOTE_SPAN(k, span) ((struct note_field){ .key = (k), .type = NOTE_IS_TEXT, .text = (span) })

/* NOTE(&n, NOTE_INFO, "session", "opened", NOTE_STR("peer", peer), NOTE_U64("conns", 3)). At least one field. */
#define NOTE(n, level, module, event, ...)                                                    \
	note_event((n), (level), (module), (event), (const struct note_field[]){ __VA_ARGS__ }, \
		   sizeof((const struct note_field[]){ __VA_ARGS__ }) / sizeof(struct note_field))

void note_init(struct note *n, const struct note_config *config);
/* `module` and `event` are string literals. A NULL note is silent. Cuts lines at NOTE_LINE_BYTES. */
void note_event(struct note *n, enum note_level level, const char *module, const char *event,
		const struct note_field *fields, size_t field_count);
/* The same with text that is made already (key=value ..., peer text in it escaped by the caller). Control characters
 * in it come out as '?'. */
void note_line(struct note *n, enum note_level level, const char *module, const char *event, const char *text);
/* Escapes `text` for a line: as it is where it consists of plain characters, else in quotes with \xNN. Returns the
 * length without the terminating zero; cuts at NOTE_TEXT_BYTES of input and says so with "...". */
size_t note_escape(struct span text, char *out, size_t size);
