/* broker/call_pool.h: the calls that are open, one object each.
 *
 * A call is one object of a pool. It is in the list of its caller, and in the list of the entry that works on it or in the line of its
 * service. A call to all holders is as many objects that share a group. Between the files of call.h, private to them. */
#pragma once

#include "binding.h"
#include "call.h"

enum { CALLS_MAX = 1 << 20, SESSION_CALLS = 65536 };

struct call_group { uint32_t left; };

struct live_call {
	uint64_t id;                       /* generation << 32 | index; its index stays when it is free */
	struct live_call *next, **link;         /* of the entry, or of the line; free: of the free ones */
	struct live_call *caller_next, **caller_link;
	struct session *caller;
	struct dir_entry *holder;          /* NULL: it waits */
	struct call_line *line;            /* while it waits */
	struct call_group *group;
	uint64_t number, deadline_ms;
	struct timer timer;
	uint64_t target_session;           /* while it waits: an address */
	uint32_t target_entry;
	bool stream, refused;
	bool wait;                         /* also where there is no holder at all */
	struct buf kept;                   /* while it waits: predicate, head, payload */
	size_t where_len, head_len;
};

/* Who waits for a holder of one service, or for a leg of one binding. */
struct call_line {
	struct dir_service *service;       /* one of the two */
	struct binding *binding;
	struct call_line *next;            /* of those that somebody waits in, or did in this turn */
	struct live_call *first, **tail;
	uint32_t count;
	size_t bytes;
};

struct calls {
	struct live_call **slabs;
	uint32_t slab_count, open;
	size_t kept;                       /* bytes in all lines */
	struct live_call *free;
	struct call_line *lines;
	bool due;                          /* who waits may be served, or has nobody left to wait for */
	struct dir_entry *chosen[LIMIT_FRAME_ITEMS];
	struct invoke_item items[LIMIT_FRAME_ITEMS];
	struct span pieces[LIMIT_FRAME_ITEMS];
	uint64_t cancels[LIMIT_FRAME_ITEMS];
};

struct live_call *call_at(const struct calls *calls, uint64_t id); /* NULL: it is over */
struct live_call *call_new(struct shard *s, struct session *caller, uint64_t number, uint64_t deadline_ms);
void call_unlink(struct calls *calls, struct live_call *call); /* out of its line, or away from its holder */
void call_hand_to(struct shard *s, struct live_call *call, struct dir_entry *e); /* it is in work there now */
void call_free(struct shard *s, struct live_call *call);
