/* broker/note.c: event lines for the operator: formats, escapes, limits.
 *
 * In the flow: beside it. Nothing here may fail, wait or change what the broker does.
 *
 * Invariants
 *  1. One call writes at most one line, and the line holds no byte below 0x20 but its end.
 *  2. An event above its budget costs a table look-up and nothing else.
 *  3. What was held back is never forgotten: it is added to the next line of the same event. */
#include "note.h"

#include <time.h>

const char *const note_level_names[NOTE_LEVELS + 1] = { "error", "warn", "info", "debug", NULL };

struct line {
	char data[NOTE_LINE_BYTES];
	size_t len;
};

static void line_put(struct line *l, const char *text, size_t len)
{
	size_t room = sizeof l->data - 1 - l->len; /* the last byte is for the line end */
	len = MIN_OF(len, room);
	memcpy(l->data + l->len, text, len);
	l->len += len;
}

static void line_str(struct line *l, const char *text)
{
	line_put(l, text, strlen(text));
}

static void line_u64(struct line *l, uint64_t value)
{
	char digits[24];
	(void)snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
	line_str(l, digits);
}

static void line_time(struct line *l, uint64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm;
	char text[48];
	if (!gmtime_r(&seconds, &tm))
		memset(&tm, 0, sizeof tm);
	size_t len = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
	line_put(l, text, len);
	(void)snprintf(text, sizeof text, ".%03uZ", (unsigned)(wall_ms % 1000));
	line_str(l, text);
}

static bool plain(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c != 0 && strchr("._:/@+-*[]", c) != NULL);
}

size_t note_escape(struct span text, char *out, size_t size)
{
	ENSURE(size >= 16);
	size_t used = 0;
	bool quote = text.len == 0 || text.len > NOTE_TEXT_BYTES;
	for (size_t i = 0; i < text.len && !quote; i++)
		quote = !plain(text.data[i]);
	if (!quote && text.len < size) {
		memcpy(out, text.data, text.len);
		out[text.len] = '\0';
		return text.len;
	}
	out[used++] = '"';
	size_t i = 0;
	/* 10 = one escape, the dots, the quote, the zero. */
	for (; i < text.len && i < NOTE_TEXT_BYTES && used + 10 <= size; i++) {
		uint8_t c = text.data[i];
		if (c == '"' || c == '\\') {
			out[used++] = '\\';
			out[used++] = (char)c;
		} else if (c >= 0x20 && c < 0x7f) {
			out[used++] = (char)c;
		} else {
			static const char hex[] = "0123456789abcdef";
			out[used++] = '\\';
			out[used++] = 'x';
			out[used++] = hex[c >> 4];
			out[used++] = hex[c & 15];
		}
	}
	if (i < text.len) {
		memcpy(out + used, "...", 3);
		used += 3;
	}
	out[used++] = '"';
	out[used] = '\0';
	return used;
}

/* The budget of an event, or NULL where the table is full: such an event is not limited. The number of events is fixed by
 * the source, so a full table is our own fault and costs lines, not correctness. */
static struct note_site *site_of(struct note *n, const char *module, const char *event)
{
	size_t start = ((uintptr_t)event >> 3) % NOTE_SITES;
	for (size_t step = 0; step < NOTE_SITES; step++) {
		struct note_site *site = &n->sites[(start + step) % NOTE_SITES];
		if (site->event == event && site->module == module)
			return site;
		if (!site->event) {
			site->event = event;
			site->module = module;
			return site;
		}
	}
	return NULL;
}

/* True when the line may be written; *held_back is what to own up to. */
static bool site_allows(struct note_site *site, uint64_t now_ms, uint64_t *held_back)
{
	*held_back = 0;
	if (!site)
		return true;
	/* A clock that jumps back starts a new interval rather than silencing the event. */
	if (site->count == 0 || now_ms < site->interval_start_ms ||
	    now_ms - site->interval_start_ms >= NOTE_INTERVAL_MS) {
		site->interval_start_ms = now_ms;
		site->count = 0;
	}
	if (site->count >= NOTE_BURST) {
		site->held_back++;
		return false;
	}
	site->count++;
	*held_back = site->held_back;
	site->held_back = 0;
	return true;
}

void note_init(struct note *n, const struct note_config *config)
{
	ENSURE(config->write && config->wall_ms);
	*n = (struct note){ .config = *config };
}

/* False where the line is dropped: level or budget. */
static bool line_begin(struct line *l, struct note *n, enum note_level level, const char *module, const char *event,
		       uint64_t *held_back)
{
	if (!n || level > n->config.level)
		return false;
	ENSURE(level < NOTE_LEVELS);
	uint64_t now_ms = n->config.wall_ms(n->config.ctx);
	if (!site_allows(site_of(n, module, event), now_ms, held_back))
		return false;
	line_time(l, now_ms);
	line_str(l, " ");
	line_str(l, note_level_names[level]);
	line_str(l, " ");
	line_str(l, module);
	line_str(l, " ");
	line_str(l, event);
	return true;
}

static void line_end(struct line *l, struct note *n, uint64_t held_back)
{
	if (held_back > 0) {
		line_str(l, " held_back=");
		line_u64(l, held_back);
	}
	l->data[l->len++] = '\n';
	n->config.write(n->config.ctx, l->data, l->len);
}

void note_event(struct note *n, enum note_level level, const char *module, const char *event,
		const struct note_field *fields, size_t field_count)
{
	struct line l = { .len = 0 };
	uint64_t held_back;
	if (!line_begin(&l, n, level, module, event, &held_back))
		return;
	for (size_t i = 0; i < field_count; i++) {
		char text[2 * NOTE_TEXT_BYTES];
		line_str(&l, " ");
		line_str(&l, fields[i].key);
		line_str(&l, "=");
		if (fields[i].type == NOTE_IS_NUMBER)
			line_u64(&l, fields[i].number);
		else
			line_put(&l, text, note_escape(fields[i].text, text, sizeof text));
	}
	line_end(&l, n, held_back);
}

void note_line(struct note *n, enum note_level level, const char *module, const char *event, const char *text)
{
	struct line l = { .len = 0 };
	uint64_t held_back;
	if (!line_begin(&l, n, level, module, event, &held_back))
		return;
	if (text && text[0] != '\0')
		line_str(&l, " ");
	for (; text && *text; text++)
		line_put(&l, (uint8_t)*text < 0x20 || *text == 0x7f ? "?" : text, 1);
	line_end(&l, n, held_back);
}
