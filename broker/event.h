/* broker/event.h: events: who subscribes, what is published to them, and what happens where somebody is slow.
 *
 *   publish -> seen before? -> match -> each subscription: the connection, or its bounded queue -> socket
 *
 * An event is encoded once, as the EVENTS frame that every subscriber gets; a connection takes a copy of the bytes, a queue a
 * reference. What a full queue does is the subscription's choice; with Block the publisher's answer waits, and what it publishes
 * behind it, but nobody else.
 *
 * Part of the shard, private to it; one thread. */
#pragma once

#include "event_match.h"
#include "event_seen.h"
#include "shard_impl.h"

enum {
	EVENT_SUBSCRIPTIONS_MAX = 1024,   /* of one session */
	EVENT_QUEUE_DEFAULT = 8192,
	EVENT_QUEUE_MAX = 1 << 20,
	EVENT_QUEUE_BYTES_DEFAULT = 8 << 20,
	EVENT_QUEUE_BYTES_MAX = 256 << 20,
	EVENT_WAITING_MAX = 1024,         /* publishes of one session that wait for room or for the log */
	EVENT_WAITING_BYTES_MAX = 8 << 20,
	EVENT_HINT_MS = 2000,             /* how long a publisher may hold back what nobody wants */
	EVENT_HINTS_MAX = 1024,           /* of one session */
	EVENT_ROUTES_MAX = 65536,
	EVENT_ROUTE_BUCKETS = 16384,
};

/* Equal events of one PUBLISH, as the frame that goes to subscribers. */
struct batch {
	uint32_t refs, count;
	uint64_t fingerprint;
	struct events *events;
	struct buf frame;
};

struct slice { struct batch *batch; uint32_t first, count; };

struct subscription {
	struct match_item match;
	struct event_peer *peer;
	struct subscription *next;        /* of the session */
	struct subscription *due_next;    /* its counts are to be told */
	uint32_t id, queue_max;
	size_t queue_bytes_max;
	uint64_t credit, fingerprint;
	uint64_t matched, delivered, dropped, told; /* told: `dropped` as the subscriber knows it */
	struct slice *ring;               /* what waits */
	uint32_t head, slices, cap, queued;
	size_t queued_bytes;
	uint8_t overflow;
	bool unlimited, descendants, counts_due, system;
	/* the answer to SUBSCRIBE waits for publishers that hold back */
	struct subscription *answer_next;
	uint64_t answer_notice, answer_at_ms; /* for all notices up to this number, but not longer */
	uint32_t correlation;
	uint32_t pattern_size;
	uint8_t pattern[];
};

/* A publish that waits: for its record, for room, or for the one in front of it. */
struct publish {
	struct publish *next;
	struct batch *batch;              /* NULL: nobody wanted it; only the answer has its place in the order */
	struct route *route;
	const struct event_peer *from;
	uint64_t number;
	uint32_t done, receivers, rejected;
	uint32_t queues;                  /* durable subscriptions that got it */
	uint32_t records;                 /* still to be applied */
	bool confirm, elsewhere;
	bool again;                       /* all of it has been here; batch is NULL */
};

struct hint { /* "nobody wants this type", said to a publisher */
	struct hint *next;
	uint64_t until_ms, number;        /* number: of the notice that took it back; 0 = it stands */
	uint32_t type_size;
	uint8_t type[];
};

/* What events know of a session; outlives it while publishes are under way. */
struct event_peer {
	struct session *session;          /* NULL: it has ended */
	struct shard *shard;
	struct subscription *subscriptions;
	uint32_t subscription_count;
	struct publish *first, **last;
	uint32_t waiting, in_log;
	size_t waiting_bytes;
	struct event_peer *work_next;
	uint64_t id_salt;                 /* of its vnet: ids are remembered apart for each */
	bool listed;                      /* in one of the two lists of struct events */
	struct buf answers;               /* struct published_item */
	char answer_text[256];
	struct hint *hints;
	uint32_t hint_count;
	struct buf head_bytes;            /* of the last PUBLISH */
	struct event_head head;
	struct route *route;              /* of its type; good while route_epoch is the same */
	uint64_t route_epoch;
	struct buf task_head;             /* the same head for workers of queues that the type feeds */
	uint16_t *feeds;                  /* those queues, as of topics generation */
	uint32_t feed_count;
	uint64_t feeds_generation;
};

/* The subscriptions that a type has in a vnet, as of `generation`. */
struct route {
	struct route *next;
	uint64_t hash, generation;
	struct subscription **at;
	uint32_t count, cap, refs;
	uint32_t vnet_size, type_size;
	uint8_t text[]; /* vnet, type */
};

struct events {
	char why[256];             /* of the last refusal */
	struct shard *shard;
	struct match match;
	struct seen *seen;
	uint64_t generation, route_epoch, next_notice;
	struct route **routes;
	uint32_t route_count;
	struct event_peer *work, *blocked; /* looked at in every turn; when `again` is set */
	bool again;                       /* a queue with Block has room, or a record was applied */
	struct subscription *due;         /* with drops to tell of */
	struct subscription *answers;     /* whose answer waits for publishers */
	struct msg part;                  /* while a part of a batch is made */
	char type_text[256];              /* why a payload is refused */
	uint64_t types_generation;        /* routes follow the ancestors of types */
	size_t batch_bytes;               /* of all frames that live, and of the queues that name them */
	uint32_t batches, subscription_count, hint_count;
	uint32_t system_count;            /* subscriptions that may get what the broker says about itself */
	uint64_t quiet_until_ms;          /* no hints are given: a durable subscription is being made */
	uint64_t sys_origin, sys_id;      /* the id of the last one; the seed of the tables is told to nobody */
	struct event_stats {
		uint64_t published, duplicates, nobody, refused, blocked;
		uint64_t matched, delivered, dropped, frames_encoded, frames_sent;
	} stats;
};

struct events *events_new(struct shard *s);
void events_free(struct shard *s);

/* Handlers of frames. ERR_OK, a refusal with text, or ERR_AGAIN (route.c). */
enum err event_subscribe(struct conn *c, const struct msg_subscribe *m, uint32_t correlation, char text[128]) MUST_CHECK;
void event_end_refused(struct session *session); /* the rules have changed */
void event_unsubscribe(struct conn *c, uint32_t subscription, uint32_t correlation);
void event_credit(struct conn *c, const struct msg_credit *m);
/* A record of a publish was applied. */
void event_applied(struct event_peer *p, const struct applied *applied);
enum err event_publish(struct conn *c, const struct msg_publish *m, struct span payload) MUST_CHECK;
void event_interest(struct conn *c, const struct msg_interest *m, uint32_t correlation);

/* The connection of a session has room again. */
void event_conn_room(struct conn *c);
/* The session's connection is gone: answers that were for it go, subscriptions fill their queues until the session ends. With a new
 * one the client says its subscriptions again, and holds nothing back any more. */
void event_session_detached(struct session *session);
void event_session_attached(struct session *session);
void event_session_ended(struct shard *s, struct session *session);
/* Once a turn: publishes that wait, answers, counts. True: there is more to do. */
bool events_run(struct shard *s);
uint64_t events_next_ms(const struct shard *s); /* when a turn is due for events; UINT64_MAX = none */

struct event_peer *event_peer_get(struct shard *s, struct session *session);
void peer_work(struct event_peer *p); /* events_run looks at it */
