/* broker/directory.h: who is responsible for what: entries, look-up, watches. Private to the shard.
 *
 * In the flow: SERVE -> DIRECTORY -> watches, calls, bindings.
 *
 * An entry is a line (what was declared; never changes) and what moves around it (calls in work). A change is a pair of lines, kept in
 * a ring of CHANGES_KEPT, from which watches are told; a watch that fell behind the ring gets a new snapshot. The ring is emptied where
 * its lines take the room that a SERVE needs.
 *
 * 1. The set of a session is replaced as a whole or not at all.
 * 2. No entry outlives its session. While the session has no connection its entries are away: seen, marked, not chosen.
 * 3. A number of a session is never used again: epoch in the upper half.
 * 4. Revisions grow by one with each change; a watch is told from where to where, so it can see a gap. */
#pragma once

#include "../wire/map64.h"
#include "../wire/predicate.h"
#include "shard_impl.h"

enum { CHANGES_KEPT = 4096, ENTRY_CAPACITY = 64 };

struct dir_line {
	uint32_t refs, id, capacity, cost, vnet_count, hot_count;
	uint64_t session;
	size_t bytes;
	bool by_queue;
	struct span service, client, params; /* params packed */
	struct span *vnets, *hot;
};

struct dir_service {
	struct dir_service *next;            /* hash chain */
	struct dir_entry *first, **tail;
	struct dir_entry *room, **room_tail; /* those below their capacity; who was chosen goes to the end */
	uint32_t count;
	struct call_line *line;              /* call_line.c: calls that wait for a holder; NULL = none */
	struct binding *bindings;            /* binding.c: that want this service */
	struct span name;
	uint8_t bytes[];
};

struct dir_entry {
	struct session *session;
	struct dir_entry *session_next;
	struct dir_service *service;
	struct dir_entry *next, **link;      /* of the service */
	struct dir_entry *room_next, **room_link; /* of those with room; NULL = at its capacity */
	struct dir_line *line;
	struct live_call *calls;                  /* in work */
	uint32_t in_flight;
};

struct dir_change { struct dir_line *before, *after; bool away; };

struct directory {
	struct shard *s;
	struct dir_service **hash;
	uint32_t hash_size, service_count, entry_count;
	size_t bytes;                        /* of all lines, those in the ring included */
	uint64_t counter, map_memory;
	struct map64 sessions;               /* number -> struct session */
	uint64_t revision, forgotten;        /* changes up to the second are not in the ring any more */
	struct dir_change changes[CHANGES_KEPT]; /* by revision */
	struct dir_watch *watches;
	uint32_t watch_count, binding_count;
	bool watches_behind, bindings_due;
	struct buf packed;                   /* of the set that is being declared */
	struct buf where_text, where;        /* the predicate that was asked for last, and its packed form */
};

struct directory *directory_new(struct shard *s);
void directory_free(struct directory *d);
uint64_t directory_memory(const struct directory *d); /* bytes that entries and watches of them take */

/* A session begins: it gets its number. Its vnet is set. */
void directory_begin(struct shard *s, struct session *session);
/* Replaces what the session is responsible for. A refusal changes nothing. */
enum err directory_serve(struct session *session, const struct msg_serve *m, char text[128]) MUST_CHECK;
/* Takes out those of its entries that are of this service (empty: of any) and fit the packed predicate; returns how many. */
uint32_t directory_withdraw(struct session *session, struct span service, struct span where, const char *why);
/* Its connection is lost, or there again. */
void directory_away(struct session *session, bool away);
/* The session is over. */
void directory_end(struct session *session);

struct session *directory_session(struct shard *s, uint64_t number);
struct dir_entry *directory_entry(struct session *session, uint32_t id);
struct dir_service *directory_service(struct shard *s, struct span name);
struct dir_service *directory_service_get(struct shard *s, struct span name); /* makes it */
void directory_service_drop(struct shard *s, struct dir_service *service);    /* where nobody uses it any more */
/* Seen from this vnet, and its parameters fit. */
bool directory_fits(const struct dir_line *line, struct span vnet, struct span where);
/* Appends the packed form of an entry's parameters, with what the broker says of the session itself. */
enum err directory_params(const struct session *session, struct span params, struct buf *out, char text[128]) MUST_CHECK;
/* Packs a predicate; borrowed until the next call of this. */
enum err directory_where(struct shard *s, struct span text_form, struct span *out, char text[128]) MUST_CHECK;
/* To the end of those of its service with room: others come first now. */
void directory_rotate(struct dir_entry *e);
void directory_room(struct dir_entry *e); /* its calls in work have become more, or fewer */

/* directory_watch.c */
enum err directory_watch(struct conn *c, const struct msg_watch *m, char text[128]) MUST_CHECK;
void directory_unwatch(struct session *session, uint32_t watch);
void directory_unwatch_all(struct session *session);
void directory_tell(struct shard *s); /* what changed in this turn goes to the watches */

static inline struct span session_principal(const struct session *session) /* where nobody authenticates: the name of the client */
{
	return span_str(session->who.kind == WHO_OPEN ? session->client : session->who.name);
}
