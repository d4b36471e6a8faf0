/* broker/door.h: connections before they are sessions: how many, how fast, from where, and how often they may guess.
 *
 *   accept -> DOOR -> handshake -> DOOR (wrong credentials? slower and slower) -> session
 *
 * 1. Whoever has a session is never touched here: what is limited are connections without one, and new ones.
 * 2. At most handshakes_max connections are without a session. A newcomer beyond that takes the place of the oldest one of a source
 *    that has at least its share of them, so stalled handshakes keep nobody out.
 * 3. Memory is a fixed table of sources. A source with connections is never forgotten; where there is no room for one more, those that
 *    find none share one entry, and its limits.
 *
 * A source is an IPv4 address, the /64 network of an IPv6 address, or (together) all unix sockets, which have no limits of rate. */
#pragma once

#include "shard.h"

struct door;
struct conn;

struct door *door_new(struct shard *s);
void door_free(struct door *door);

/* May somebody at `peer` connect? True: call door_enter for the connection, it is counted. False: hang up. */
bool door_knock(struct shard *s, const char *peer, bool local);
/* The connection that was let in; it may cost another one, without a session, its place. */
void door_enter(struct shard *s, struct conn *c);
/* It has a session now. */
void door_passed(struct conn *c);
/* It is gone. */
void door_left(struct conn *c);

/* May it try to log in? False: too many wrong credentials came from its source; not before *retry_ms have passed. */
bool door_may_login(const struct conn *c, uint32_t *retry_ms);
/* Its credentials were wrong. */
void door_login_failed(struct conn *c);
