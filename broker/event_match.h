/* broker/event_match.h: which patterns match a type: the one table behind subscriptions, durable ones, and queues bound to types.
 *
 * Patterns lie in a hash table by what they say (wire/pattern.h), apart for each vnet, so finding what matches a type is one look for
 * the type, one for each namespace above it, one for `*`, and one for each ancestor: it does not grow with the number of patterns.
 * Owned by one thread; keeps copies of names, and borrows items until match_remove. */
#pragma once

#include "../wire/pattern.h"

struct match_node;
struct match_item { /* embed it in what subscribes */
	struct match_item *next, **link; /* link NULL = in no table */
	struct match_node *node;
	uint64_t order;                  /* matches are told in the order in which items were added */
};
struct match {
	struct match_node **buckets;
	uint32_t bucket_count, node_count, item_count;
	uint64_t seed, next_order;
	/* The declared parent of a type, or an empty span. NULL: no type has one. */
	struct span (*parent)(void *ctx, struct span type);
	void *parent_ctx;
};

enum { MATCH_ANCESTORS_MAX = 16 };

/* Adds an item under a pattern of a vnet; `descendants` with a type: also those that descend from it. False: not a pattern. */
bool match_add(struct match *m, struct match_item *item, struct span vnet, struct span pattern, bool descendants);
/* Takes it out; what is in no table stays so. */
void match_remove(struct match *m, struct match_item *item);
/* Calls `each` for every item that matches the type, the most specific first: the type, then namespaces from long to short, then *,
 * then ancestors from near to far; in the order of adding among equals. `each` returns false to stop. */
typedef bool match_fn(void *ctx, struct match_item *item);
void match_each(const struct match *m, struct span vnet, struct span type, match_fn *each, void *ctx);
/* True where the item's pattern matches the type. */
bool match_item_matches(const struct match *m, const struct match_item *item, struct span vnet, struct span type);
void match_free(struct match *m); /* all items must be out */
