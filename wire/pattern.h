/* wire/pattern.h: how a subscription or a binding names types: one type, a whole namespace, or all of them.
 *
 *   media.v1.Done   this type          media.*   every type below media (not media itself)          *   every type
 *
 * Header only; allocates nothing. */
#pragma once

#include "span.h"

enum pattern_kind { PATTERN_BAD, PATTERN_EXACT, PATTERN_NAMESPACE, PATTERN_ALL };

struct pattern {
	enum pattern_kind kind;
	struct span name; /* of the type, or of the namespace without its ".*"; borrows */
};

/* A star stands for a whole namespace or for nothing: at the end, behind a dot or alone. PATTERN_BAD for anything else. */
static inline struct pattern pattern_parse(struct span text)
{
	struct pattern p = { PATTERN_EXACT, text };
	if (text.len == 0)
		p.kind = PATTERN_BAD;
	const uint8_t *star = text.len ? (const uint8_t *)memchr(text.data, '*', text.len) : NULL;
	if (!star)
		return p;
	if (star != text.data + text.len - 1)
		p.kind = PATTERN_BAD;
	else if (text.len == 1)
		p = (struct pattern){ PATTERN_ALL, { text.data, 0 } };
	else if (text.len > 2 && text.data[text.len - 2] == '.' && text.data[0] != '.')
		p = (struct pattern){ PATTERN_NAMESPACE, { text.data, text.len - 2 } };
	else
		p.kind = PATTERN_BAD;
	return p;
}

static inline bool pattern_matches(const struct pattern *p, struct span type)
{
	if (p->kind == PATTERN_EXACT)
		return span_eq(p->name, type);
	if (p->kind == PATTERN_NAMESPACE)
		return type.len > p->name.len + 1 && type.data[p->name.len] == '.' &&
		       memcmp(type.data, p->name.data, p->name.len) == 0;
	return p->kind == PATTERN_ALL;
}
