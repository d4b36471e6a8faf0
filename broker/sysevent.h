/* broker/sysevent.h: what the broker tells about itself: events of the types hillock.sys.*, published to whoever subscribes.
 *
 * Costs a load and a compare while nobody subscribes to any of them, so it may be called wherever something noteworthy happens; not
 * from inside apply on replay. Never blocks, never fails, never calls back. */
#pragma once

#include "shard.h"

/* Publishes an event of type hillock.sys.TYPE ("worker.joined": type names no more than that). The format makes the members of a
 * JSON object without the braces: "\"worker\":\"%s\",\"leases\":%u". Text that came from a peer goes through sys_quote. */
void sys_event(struct shard *s, const char *type, const char *format, ...) PRINTF_LIKE(3, 4);

/* True while somebody would get it: for callers to whom making the arguments is work. */
bool sys_event_wanted(const struct shard *s, const char *type);

/* `text` as the inside of a JSON string, cut where `out` is full. Returns out. */
struct sys_text { char at[256]; };
const char *sys_quote(struct sys_text *out, struct span text);
