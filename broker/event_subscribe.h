/* broker/event_subscribe.h: what one session subscribes to. The handlers of its frames are in event.h. */
#pragma once

#include "event.h"

/* SUBSCRIBED, with its counts. */
void subscription_answer(struct subscription *x, bool resumed, bool ended);
void subscription_end(struct subscription **at);
