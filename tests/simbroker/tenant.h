/* tests/simbroker/tenant.h: two clients in vnets of their own, who do all that clients do under the same names, with the same keys and the
 * same numbers of producers, and who look for each other: by ids, lists, events, calls. C12: nothing of one reaches the other. */
#pragma once

#include "clients.h"

struct tenant;
/* token: of its principal; NULL where the broker is open. The colour is its vnet ("red"), and the first word of everything it says. */
struct tenant *tenant_new(struct scene *scene, const char *colour, const char *token);
struct sim_peer *tenant_peer(struct tenant *t);
/* How often it has seen something of its own: a tenant that sees nothing proves nothing. */
uint64_t tenant_seen(const struct tenant *t);
void tenant_free(struct tenant *t);
