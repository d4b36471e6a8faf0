/* hillock_bridge.h: the part of hillock.h about bridges between brokers. Included by it; programs include hillock.h. */
#ifndef HILLOCK_BRIDGE_H
#define HILLOCK_BRIDGE_H

#include "hillock.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- bridges between brokers */

/* A bridge is two clients in one program, one at each of two brokers. It watches the directory of the one (`from`) and declares at the
 * other (`to`) what is there: the same services, parameters, cost, capacity and hot set. Calls to such an entry go on to the one it
 * stands for, to its address; answers come back as they are: parts, codes, the holder's own numbers. Deadlines and cancels go along.
 * An entry goes at once when the one it stands for goes or is away, or the connection to `from` is lost: calls in work are then
 * HLK_NOT_DELIVERED, as with any holder. It can also pass on events, under their ids, so that they arrive once.
 *
 * Two parameters say where such an entry comes from: bridge.origin is the address of the entry it stands for, bridge.via the numbers of
 * the stores of all brokers it has come through. Nothing goes to a broker it has been at, nor over more than 8 bridges: bridges in both
 * directions, and rings of them, come to rest. Tasks are not passed on, and who serves a queue by its name is left out.
 * Who is called sees the bridge as the caller; a payload is not looked at, but the registry of each broker judges it by its own types. */
struct hlk_bridge;

enum hlk_bridge_kind {
	HLK_BRIDGE_UP, HLK_BRIDGE_DOWN,     /* a connection: `address` is "from" or "to"; text says more */
	HLK_BRIDGE_JOINED, HLK_BRIDGE_LEFT, /* an entry: `address` at `from`, `other` at `to` */
	HLK_BRIDGE_SKIPPED,                 /* this entry cannot be declared: code, text */
	HLK_BRIDGE_REFUSED,                 /* the broker does not let us: code, text; what depends on it does not work */
};
struct hlk_bridge_note { /* what does not apply is "" or 0 */
	enum hlk_bridge_kind kind;
	int code;
	const char *service, *address, *other, *text;
};
typedef void hlk_bridge_fn(struct hlk_bridge *b, const struct hlk_bridge_note *note, void *ctx); /* may not free the bridge */

struct hlk_bridge_options {
	struct hlk *from, *to;             /* the caller's, of two brokers; used by nobody else while the bridge is there */
	const char *const *services; size_t service_count; /* at most 32; none: all that `from` may see, in its vnet */
	const char *where;                 /* only entries whose parameters fit; NULL: any */
	const char *const *events; size_t event_count;     /* patterns, at most 32; none: no events. Types of hillock.* stay where they are */
	uint32_t event_credit;             /* events that are under way at a time, for each pattern; 0 = 256 */
	enum hlk_overflow overflow;        /* at `from`, of events, when more are */
	hlk_bridge_fn *note;               /* may be NULL */
	void *ctx;
};
/* Makes a bridge; strings are copied. Neither client need be connected yet. HLK_INVALID_INPUT or HLK_TOO_BIG, with text in *error (may be
 * NULL). */
HLK_API int hlk_bridge_open(const struct hlk_bridge_options *options, struct hlk_bridge **out, struct hlk_error *error);
/* Does what is due at both ends, in the place of hlk_process; never blocks. Poll hlk_fd of both clients. HLK_OK; HLK_INVALID_INPUT: both
 * are clients of one broker; HLK_UNSUPPORTED: a broker that does not tell who it is; HLK_PERMISSION, HLK_DISPLACED ...: one of them does
 * not let its client in. Then nothing is bridged, until that changes; hlk_last_error of `from` has the text. */
HLK_API int hlk_bridge_process(struct hlk_bridge *b);
/* Waits for something to be due at either end, then processes once. */
HLK_API int hlk_bridge_run(struct hlk_bridge *b, int timeout_ms);
struct hlk_bridge_counts {
	uint32_t entries, calls;           /* declared now; in work now */
	uint64_t calls_total, events_total;
	uint64_t looped_total;             /* sightings of entries that have been at `to`, or come from too far */
	uint64_t events_refused_total;     /* by `to` */
	uint64_t events_dropped_total;     /* at `from`, as of its last word: too many were under way */
};
/* Never fails. */
HLK_API void hlk_bridge_count(const struct hlk_bridge *b, struct hlk_bridge_counts *out);
/* Takes everything back that it has declared, ends calls in work with HLK_NOT_DELIVERED, and frees it. Before the clients are closed. */
HLK_API void hlk_bridge_close(struct hlk_bridge *b);

#ifdef __cplusplus
}
#endif

#endif
