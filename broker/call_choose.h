/* broker/call_choose.h: who gets a call.
 *
 * Holders below their capacity are tried in the order of the service's list of those. Of the first CHOOSE_LOOK that have room the one
 * with the fewest calls in work is taken and goes to the end: round robin among equals, and an idle one ends the search. Where all are
 * busy nobody is tried: one is looked for that will be free some day. */
#pragma once

#include "call_pool.h"

struct choice { struct dir_entry *entry; uint32_t holders; }; /* no entry: none of the holders has room */

bool call_can_take(const struct dir_entry *e); /* now */
struct choice call_choose(struct dir_service *service, struct span vnet, struct span where);
struct choice call_choose_address(struct shard *s, uint64_t number, uint32_t entry, struct span vnet);
struct choice call_choose_leg(struct shard *s, const struct binding *b);
