/* broker/topics.h: which queue a type goes to, which queues are fed by published events, and the last values of topics: durable state
 * beside the tasks, changed by records alone.
 *
 *   admin verb -> PROPOSE -> log ... commit -> APPLY;  submit without a queue -> topics_queue;  publish -> topics_feeds, retained
 *
 * A part of the task machine: kept in its checkpoint, replayed with it. */
#pragma once

#include "event_match.h"
#include "tasks.h"

enum topic_kind {
	TOPIC_TASKS = 1,  /* a queue is bound to types: tasks of them that name no queue go there */
	TOPIC_EVENTS = 2, /* a durable subscription: the queue gets each event that matches */
};
enum { TOPICS_MAX = 65536, TOPIC_FEEDS_MAX = 1024, TOPIC_TASKS_MAX = 1 << 20, RETAINED_VALUES_MAX = 65536, RETAINED_BYTES_MAX = 64 << 20 };

struct topic {
	struct match_item match;
	struct topic *next;        /* all of them, in the order of making */
	uint32_t queue;
	uint8_t kind, vnet_size, pattern_size;
	uint8_t text[];            /* vnet, pattern */
};

/* The last value of (vnet, type, key), as the EVENTS frame that a subscriber gets. */
struct retained {
	struct retained *next, *hash_next, **link;
	uint64_t hash;
	uint64_t fingerprint;
	uint8_t vnet_size, type_size, key_size;
	uint32_t frame_size;
	struct blob *blob;         /* that it names and holds; NULL = none */
	_Alignas(8) uint8_t bytes[]; /* frame, vnet, type, key */
};

struct topics;
struct topics *tasks_topics(struct tasks *t); /* those of this machine */

/* ---- changes ---- */

/* Binds a queue to a pattern of types. With create a queue that does not exist is made. ERR_AMBIGUOUS where another queue has the same
 * pattern (TOPIC_TASKS), ERR_INVALID_INPUT, ERR_NOT_FOUND, ERR_RESOURCE_EXHAUSTED; text says why. *records 0: it was so before. */
enum err topics_propose_bind(struct tasks *t, struct log *log, enum topic_kind kind, struct span queue, struct span vnet,
			     struct span pattern, bool create, uint32_t *records, char text[256]) MUST_CHECK;
/* Takes a binding back; an empty pattern: all of the queue's of that kind. */
enum err topics_propose_unbind(struct tasks *t, struct log *log, enum topic_kind kind, struct span queue, struct span vnet,
			       struct span pattern, uint32_t *records, char text[256]) MUST_CHECK;

/* One event record for several queues. */
struct topics_publish {
	struct event_id id;
	const uint16_t *queues;
	uint32_t queue_count;
	struct span head;          /* TaskHead bytes */
	const uint32_t *sizes;
	uint32_t count;
	struct span payload;
	bool blobs;                /* each payload names one */
};
/* False: no room in this batch of the log. */
bool topics_propose_events(struct tasks *t, struct log *log, const struct topics_publish *p, uint64_t now_ms) MUST_CHECK;
/* `frame`: the EVENTS frame of one event, with `retained` set; an empty span ends the value. `blob`: the payload, where it names one.
 * False: no room in this batch. */
bool topics_propose_retain(struct tasks *t, struct log *log, struct span vnet, const struct event_head *head, struct span frame,
			   struct span blob) MUST_CHECK;
/* Bytes of the log that the two take at most. */
size_t topics_publish_bytes(size_t head, uint32_t count, size_t payload);

/* ---- looking ---- */

/* The queue for tasks of a type that name none; 0 = none is bound: the queue of the type's name. */
uint32_t topics_queue(const struct topics *p, struct span vnet, struct span type); /* vnet: empty = default */
/* The queues that an event feeds, each once; at most `max`. */
uint32_t topics_feeds(const struct topics *p, struct span vnet, struct span type, uint16_t *queues, uint32_t max);
/* Grows with each change: what was looked up before may be different now. */
uint64_t topics_generation(const struct topics *p);
const struct topic *topics_first(const struct topics *p);
/* All last values, in the order in which their topics were first used; those of one, with an empty key too. */
const struct retained *topics_retained_first(const struct topics *p);
struct topics_stats { uint32_t bindings, subscriptions, retained; uint64_t retained_bytes; };
void topics_get_stats(const struct topics *p, struct topics_stats *out);
/* Is there room for a value of this size, in place of the one that it replaces? */
bool topics_retained_room(const struct topics *p, struct span vnet, const struct event_head *head, size_t bytes);
static inline struct span retained_type(const struct retained *r)
{
	return span_of(r->bytes + r->frame_size + r->vnet_size, r->type_size);
}
static inline struct span retained_vnet(const struct retained *r) { return span_of(r->bytes + r->frame_size, r->vnet_size); }

/* ---- of the task machine ---- */

struct topics *topics_new(uint64_t seed);
void topics_free(struct topics *p);
void topics_queue_removed(struct topics *p, uint32_t queue);
/* The section of a checkpoint. Reading trusts no number: ERR_DAMAGED where something does not fit; the queues must be there. */
void topics_put(const struct topics *p, struct buf *out);
enum err topics_get(struct tasks *t, struct span section, char text[256]) MUST_CHECK;
