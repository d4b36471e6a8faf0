/* broker/call_choose.h: who gets a call.
 *
 * Holders are tried in the order of the service's list. The one with the fewest calls in work is taken and goes to the end: round robin
 * among equals, and an idle one ends the search. */
#pragma once

#include "call_pool.h"

struct choice { struct dir_entry *entry; uint32_t holders; }; /* no entry: none of the holders has room */

bool call_can_take(const struct dir_entry *e); /* now */
struct choice call_choose(struct dir_service *service, struct span vnet, struct span where);
struct choice call_choose_address(struct shard *s, uint64_t number, uint32_t entry, struct span vnet);
struct choice call_choose_leg(struct shard *s, const struct binding *b);
