/* broker/sysevent.c: the broker's own events. In the flow: anything noteworthy -> SYSEVENT -> event.
 *
 * 1. Nothing is formatted while nobody subscribes. */
#include "sysevent.h"

#include <stdarg.h>

bool sys_event_wanted(const struct shard *s, const char *type)
{
	(void)s;
	(void)type;
	return false;
}

void sys_event(struct shard *s, const char *type, const char *format, ...)
{
	va_list args;
	if (!sys_event_wanted(s, type))
		return;
	va_start(args, format);
	va_end(args);
}

const char *sys_quote(struct sys_text *out, struct span text)
{
	size_t at = 0;
	for (size_t i = 0; i < text.len && at + 7 < sizeof out->at; i++) {
		uint8_t c = text.data[i];
		if (c == '"' || c == '\\') {
			out->at[at++] = '\\';
			out->at[at++] = (char)c;
		} else if (c < 0x20) {
			at += (size_t)snprintf(out->at + at, 7, "\\u%04x", c);
		} else {
			out->at[at++] = (char)c;
		}
	}
	out->at[at] = '\0';
	return out->at;
}
