/* wire/access.c: the words of permissions and limits, and the patterns of rules, the same for broker, library and command. */
#include "msg_access.h"

static const char *const names[ACCESS_VERBS] = { "submit", "serve", "publish", "subscribe", "call", "see", "control", "admin" };

const char *access_verb_name(uint32_t verb)
{
	return verb < ACCESS_VERBS ? names[verb] : "unknown";
}

uint32_t access_verbs_parse(const char *text)
{
	uint32_t verbs = 0;
	if (strcmp(text, "*") == 0)
		return ACCESS_ALL;
	while (*text) {
		size_t len = strcspn(text, ",");
		uint32_t verb = 0;
		while (verb < ACCESS_VERBS && !span_eq(span_str(names[verb]), span_of(text, len)))
			verb++;
		if (verb == ACCESS_VERBS)
			return 0;
		verbs |= 1u << verb;
		text += len + (text[len] == ',');
	}
	return verbs;
}

static const char *const limits[ACCESS_LIMITS] = { "sessions", "entries", "subscriptions", "bytes-rate", "frames-rate",
							"queue-tasks", "queue-permille", "stored-bytes" };

const char *access_limit_name(uint32_t limit)
{
	return limit < ACCESS_LIMITS ? limits[limit] : NULL;
}

uint32_t access_limit_find(struct span name)
{
	uint32_t limit = 0;
	while (limit < ACCESS_LIMITS && !span_eq(span_str(limits[limit]), name))
		limit++;
	return limit;
}

bool access_pattern_ok(struct span p)
{
	for (size_t i = 0; i < p.len; i++)
		if (p.data[i] <= ' ' || p.data[i] == 127 || (p.data[i] == '*' && i + 1 < p.len))
			return false;
	return p.len > 0 && p.len <= LIMIT_NAME_BYTES;
}

bool access_pattern_matches(struct span p, struct span text)
{
	if (p.len > 0 && p.data[p.len - 1] == '*')
		return text.len >= p.len - 1 && (p.len == 1 || memcmp(p.data, text.data, p.len - 1) == 0);
	return span_eq(p, text);
}
