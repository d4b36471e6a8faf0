/* broker/admin_permit.h: what a verb of REQUEST needs. In the flow: frame -> ROUTE -> admin -> PERMIT -> its handler. */
#pragma once

#include "permit.h"

/* Judges what can be judged before the handler runs, and puts the name under which a queue or schedule is kept in place of the one that
 * was said; `room` outlives the request. ERR_OK; ERR_PERMISSION or ERR_INVALID_INPUT with text. What the handler judges itself: single
 * tasks, and what a list leaves out. */
enum err admin_permit(const struct session *session, struct msg_request *m, struct vnet_name *room, char text[256]) MUST_CHECK;
/* True where the table has a row for the verb: for the test that holds it to the list of verbs. */
bool admin_permit_knows(uint32_t verb);
