/* broker/event_publish.h: what one session publishes, in its order. The handler of PUBLISH is in event.h. */
#pragma once

#include "event.h"

/* Hands out what it can, in order. */
void publishes_run(struct event_peer *peer);
/* The first of those that wait; it is done with. */
void publish_drop(struct event_peer *peer);
void publish_answers_flush(struct event_peer *p);
