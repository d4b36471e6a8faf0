/* broker/binding.h: reservations: standing contracts for at least `min`, ideally `desired` holders of a service. Private to the shard.
 *
 * In the flow: BIND -> BINDING: choose legs -> BINDING frames; calls through it go to its legs.
 *
 * 1. A leg is named by its address, so one that has gone finds nobody; it is replaced at the end of the turn in which holders changed.
 * 2. Fewer legs than `min`, or none: WAITING. Fewer than `desired`: DEGRADED. Else ACTIVE. The owner is told of every change.
 * 3. Calls that find no leg free wait in the binding's own line, in order, bounded, until their deadlines.
 * 4. It ends with its owner's connection: the client makes it again. */
#pragma once

#include "directory.h"

struct binding {
	struct binding *next, **link;    /* of the service */
	struct binding *session_next;
	struct session *session;
	struct dir_service *service;
	struct call_line *line;          /* call_line.c; NULL: nobody waits */
	uint32_t id, min, desired, waiting;
	uint8_t state;
	uint32_t leg_count;
	struct leg legs[LIMIT_BINDING_LEGS];
	struct buf where;
};

enum err binding_bind(struct conn *c, const struct msg_bind *m, char text[128]) MUST_CHECK;
void binding_unbind(struct session *session, uint32_t id);
void bindings_end(struct session *session);
void bindings_end_refused(struct session *session); /* the rules have changed: those that they no longer allow */
struct binding *binding_find(struct session *session, uint32_t id);
/* Holders of some service came, went or changed: at the end of the turn legs are looked at. */
void bindings_run(struct shard *s);
