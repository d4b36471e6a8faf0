/* broker/usage.h: what one principal takes of the broker, over all of its sessions, and when it has to wait.
 *
 *   HELLO -> is there room for one more session?   SERVE, SUBSCRIBE -> for so many?   bytes, frames -> its meters -> read more slowly
 *
 * 1. Sessions without a principal (the broker is open, or it is local) share nothing: each has a usage of its own, and where the
 *    configuration sets no limit, so that there is nothing to share, all have the same.
 * 2. Who is over its rate is not refused: its connections are not read until the debt is paid, so TCP slows it down and nothing is
 *    lost. What stays (sessions, entries, subscriptions) is refused with RESOURCE_EXHAUSTED and a text that names the limit.
 * 3. A limit of 0 is none, and costs a load and a compare. A principal has its own (access.h) or those of the configuration; they are
 *    looked up when its first session comes, and again when principals change. What is over a limit that was lowered stays. */
#pragma once

#include "shard_impl.h"

struct usage;

/* ERR_RESOURCE_EXHAUSTED with text: this principal has as many sessions as it may have. */
enum err usage_room(struct shard *s, const struct who *who, const char *peer, char text[128]) MUST_CHECK;
void usage_join(struct session *session);  /* its who is set; again for one that is in already: nothing */
void usage_limits(struct session *session); /* principals have changed */
/* What a principal takes now of what has a limit: fills used and used_mask. */
void usage_of(struct shard *s, struct span principal, struct access_info *out);
void usage_leave(struct session *session); /* it has no entries and subscriptions any more */

/* False with text: so many instead of what the session has now would be too many. */
bool usage_may_serve(const struct session *session, uint32_t count, char text[128]);
bool usage_may_subscribe(const struct session *session, char text[128]);
void usage_entries(struct session *session, int64_t more);
void usage_subscriptions(struct session *session, int64_t more);

/* Around a proposal of tasks: its limits count them; what was refused by one of them is told. */
void usage_submits(struct session *session);
void usage_submitted(struct session *session, enum owner_limit limit);

/* It has sent so much. How long (ms) its connection is not to be read; 0 = go on. */
uint64_t usage_received(struct session *session, size_t bytes, uint32_t frames);
