/* broker/event_route.h: types to subscriptions, and publishers that hold back what nobody wants. */
#pragma once

#include "event.h"

struct route *route_get(struct events *e, struct span vnet, struct span type);
void route_refresh(struct events *e, struct route *r);
void routes_free(struct events *e);
/* With `elsewhere` a session gets nothing of its own, but for descendants: of those its library knows nothing. */
bool subscription_wants(const struct subscription *x, const struct event_peer *from, bool elsewhere);
/* Is there a subscription that would get it from this publisher? `elsewhere`: not one of its own. Refreshes the route. */
bool route_wanted(struct events *e, struct route *r, const struct event_peer *from, bool elsewhere);
/* Where a session's events of a type (or pattern) are: its vnet; what the broker says about itself is one for all of them. */
struct span session_events_vnet(const struct session *session, struct span type);
bool event_is_system(struct span type); /* a type or pattern below hillock.sys */
/* Says to a publisher that nobody wants the type. `number` is that of its question: from then on the time runs. */
void hint_give(struct event_peer *p, struct span type, uint64_t number, uint32_t correlation);
/* A subscription has come: publishers that hold back what it wants are told, and its answer waits for theirs. */
void hints_recall(struct subscription *x);
bool hints_recalled(const struct subscription *x); /* the answer may go */
void hints_drop(struct event_peer *p);
/* Before a durable subscription is made: false while a publisher may still hold back what it wants; ask again in the next turn. */
bool hints_recall_pattern(struct shard *s, struct span pattern);
