/* wire/name.c: see name.h. In the flow: beside it; asked where a name is about to become a queue.
 *
 * 1. The text names the character and its place: it is sent back to somebody who has to find it. */
#include "name.h"

#include "limits.h"

bool queue_name_ok(struct span name, char text[256])
{
	if (name.len == 0 || name.len > LIMIT_NAME_BYTES) {
		(void)snprintf(text, 256, "a queue name has 1 to %d bytes, this has %zu", LIMIT_NAME_BYTES, name.len);
		return false;
	}
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.data[i];
		bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (word || c == '_' || c == '-' || (c == '.' && i > 0))
			continue;
		if (c == '.')
			(void)snprintf(text, 256, "a queue name does not start with a dot");
		else if (c > ' ' && c < 127)
			(void)snprintf(text, 256, "the character '%c' at byte %zu is not allowed in a queue name", c, i);
		else
			(void)snprintf(text, 256, "the byte 0x%02x at byte %zu is not allowed in a queue name", c, i);
		return false;
	}
	return true;
}

bool queue_full_name_ok(struct span name, char text[256])
{
	const uint8_t *slash = name.len ? memchr(name.data, '/', name.len) : NULL;
	size_t before = slash ? (size_t)(slash - name.data) + 1 : 0;
	if (before == 1 || name.len > LIMIT_NAME_BYTES) {
		(void)snprintf(text, 256, "a queue name with its vnet has at most %d bytes", LIMIT_NAME_BYTES);
		return false;
	}
	return queue_name_ok(span_sub(name, before, name.len - before), text);
}
