/* broker/event_log.h: what of a publish is kept: tasks of the queues that its type feeds, and the last value. */
#pragma once

#include "event.h"

/* The queues that the type feeds, looked up once per head. */
void event_feeds_refresh(struct event_peer *p);
/* What stands against writing it down. ERR_AGAIN: this batch of the log is full. */
enum err event_log_refusal(struct shard *s, const struct event_peer *p, const struct msg_publish *m, struct span payload,
			   const char **text) MUST_CHECK;
/* Puts into the log what has to be there before the publish is handed out. False: no room, and nothing was put there. */
bool event_propose(struct event_peer *peer, const struct msg_publish *m, const struct msg_events *part, struct span payload,
		   struct publish *p, bool last);
