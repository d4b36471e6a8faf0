/* tests/simbroker/realm.h: a broker that is closed before the chaos begins: everybody is the principal "ops", and the tenants are "red" and
 * "blue", each with a limit of its tasks in a queue. C18: what is counted of a tenant is what its queue holds, at every moment and over
 * restarts, and never more than its limit. */
#pragma once

#include "clients.h"

enum { REALM_TASKS_MAX = 2, REALM_TOKEN = 128 };

struct realm;
struct tasks;
/* Makes the principals; run the broker until realm_ready. Then scene.token and the tokens of tenants are there. */
struct realm *realm_new(struct scene *scene);
bool realm_ready(const struct realm *r);
const char *realm_token(const struct realm *r, const char *tenant);
void realm_look(struct realm *r, struct tasks *tasks); /* between turns */
void realm_refused(struct scene *scene);               /* a tenant was told that it is at its limit */
