/* clientlib/bridge_impl.h: what the files of a bridge share. Private. The contract stands in hillock_bridge.h.
 *
 *   bridge.c          the two connections: what is told, when it is begun anew, opening and closing
 *   bridge_entry.c    entries at `from` -> entries at `to`
 *   bridge_call.c     calls at `to` -> calls at `from`, answers back
 *   bridge_event.c    events at `from` -> events at `to` */
#pragma once

#include "../wire/params.h"
#include "client_impl.h"

enum {
	BRIDGE_WATCHES = 32,              /* services; patterns of events */
	BRIDGE_HOPS = 8,
	BRIDGE_BACKLOG = 32 << 20,        /* bytes that wait to be sent at one end: beyond, calls are refused */
	BRIDGE_FETCH = 64 << 20,          /* larger payloads of calls do not cross */
};

struct mirror {                           /* an entry that is there twice */
	struct mirror *next;
	uint32_t watch, entry;            /* at `from`; at `to` */
	bool seen;                        /* in the snapshot that is under way */
	char *service, address[HLK_ADDRESS_BYTES];
};

struct passing {                          /* a call that is in work over there */
	struct passing *next, **link;
	struct hlk_bridge *bridge;
	struct hlk_call *call;
	uint64_t number;
};

/* Outlives its bridge while events of it are not answered. */
struct feed {
	struct feed *next;
	struct hlk_bridge *bridge;        /* NULL: it is gone */
	uint32_t subscription, credit;
	uint32_t under_way, answered;     /* answered: the credit for them has not been given back */
	uint64_t dropped;
	char *pattern;
};

struct bridge_end { bool up, told; };     /* told: that it is not */

struct hlk_bridge {
	struct hlk *from, *to;
	char *services[BRIDGE_WATCHES], *where;
	uint32_t service_count, watch_count, watches[BRIDGE_WATCHES];
	struct feed *feeds;
	enum hlk_overflow overflow;
	hlk_bridge_fn *note;
	void *ctx;
	struct bridge_end from_end, to_end;
	bool begun;
	bool refused;                     /* what is declared at `to` is: told once */
	int code;                         /* why nothing can be bridged */
	uint64_t from_store, to_store;    /* of those it has begun with */
	struct mirror *mirrors;
	struct passing *passing;
	struct hlk_bridge_counts counts;
};

/* bridge.c */
void bridge_tell(struct hlk_bridge *b, const struct hlk_bridge_note *note);
size_t bridge_backlog(const struct hlk *c); /* bytes that wait to be sent */
/* bridge_entry.c */
int mirrors_begin(struct hlk_bridge *b); /* watches; the code of the one that cannot be */
void mirrors_end(struct hlk_bridge *b);  /* the watches, too */
void mirrors_drop(struct hlk_bridge *b, const char *why);
const struct mirror *mirror_of(const struct hlk_bridge *b, uint32_t entry); /* NULL: it is gone */
/* bridge_call.c */
void passing_begin(struct hlk *to, struct hlk_call *call, void *bridge);
void passing_cancelled(struct hlk *to, struct hlk_call *call, void *bridge);
void passing_step(struct hlk_bridge *b); /* what nobody waits for any more is cancelled */
void passing_end(struct hlk_bridge *b);
/* bridge_event.c */
struct feed *feed_new(struct hlk_bridge *b, const char *pattern, uint32_t credit);
int feeds_begin(struct hlk_bridge *b);
void feeds_end(struct hlk_bridge *b);    /* subscriptions; what is under way goes on */
void feeds_step(struct hlk_bridge *b);
void feeds_free(struct hlk_bridge *b);
