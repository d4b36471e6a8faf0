/* broker/access_impl.h: the inside of principals, tokens and rules, shared by its files and by nobody else.
 *
 *   access.c        the state, its changes, its section of the checkpoint
 *   access_login.c  tokens and who somebody is
 *   access_rules.c  what he may do
 *
 * Each object is kept as the bytes of its AccessInfo, the same that the log has, and as that decoded.
 *
 * Invariants
 *  1. Principals are sorted by name, tokens by number; rules are in the order of making, no two with equal patterns and verbs.
 *  2. A token's principal exists. */
#pragma once

#include "access.h"

struct access_item {
	struct access_info info; /* borrows bytes */
	struct span bytes;       /* owned */
};
struct access_list {
	struct access_item **at;
	uint32_t count, cap;
};
struct access {
	struct access_list principals, tokens, rules;
	uint8_t key[32];
	bool has_key;
	uint64_t revision;
};

const struct access_item *access_principal_named(const struct access *a, struct span name); /* NULL = none */
const struct access_item *access_token_numbered(const struct access *a, uint64_t number);
