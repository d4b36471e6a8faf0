/* wire/address.h: where somebody is: node, session, channel. As text NODE/SESSION/CHANNEL, the session in hexadecimal.
 * The number of a session is never used again, so an old address finds nobody. */
#pragma once

#include "span.h"

struct address { struct span node; uint64_t session; uint32_t entry; }; /* node borrows */

static inline void address_print(const struct address *a, char *out, size_t size)
{
	(void)snprintf(out, size, "%.*s/%llx/%u", (int)a->node.len, a->node.data ? (const char *)a->node.data : "",
		       (unsigned long long)a->session, a->entry);
}

/* A number in this base up to `max`, and nothing else. */
static inline bool address_number(struct span s, unsigned base, uint64_t max, uint64_t *out)
{
	*out = 0;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.data[i];
		unsigned digit = c >= '0' && c <= '9' ? c - 48u : c >= 'a' && c <= 'f' ? c - 87u : 99;
		if (digit >= base || *out > (max - digit) / base)
			return false;
		*out = *out * base + digit;
	}
	return s.len > 0;
}

static inline bool address_parse(struct span text, struct address *out)
{
	size_t second = text.len, first;
	while (second > 0 && text.data[second - 1] != '/')
		second--;
	first = second > 0 ? second - 1 : 0;
	while (first > 0 && text.data[first - 1] != '/')
		first--;
	if (first == 0 || second == 0)
		return false;
	uint64_t entry;
	out->node = span_sub(text, 0, first - 1);
	bool good = address_number(span_sub(text, first, second - 1 - first), 16, UINT64_MAX, &out->session) &&
		    address_number(span_sub(text, second, text.len - second), 10, UINT32_MAX, &entry);
	out->entry = good ? (uint32_t)entry : 0;
	return good && out->session != 0;
}
