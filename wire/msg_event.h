/* wire/msg_event.h: the messages of events as plain structs. A part of msg.h, which says the rules; included by it alone. */
#pragma once

enum overflow { OVERFLOW_BLOCK, OVERFLOW_DROP_OLDEST, OVERFLOW_DROP_NEWEST, OVERFLOW_REJECT, OVERFLOWS };
enum publish_status { PUBLISH_ACCEPTED, PUBLISH_NO_SUBSCRIBER, PUBLISH_DUPLICATE, PUBLISH_REFUSED, PUBLISH_STATUSES };

struct event_head {
	struct span type, key, trace, correlation;
	uint64_t fingerprint;
	struct task_header headers[LIMIT_HEADERS]; uint32_t header_count;
	uint8_t payload; /* enum payload_kind */
};
struct msg_subscribe {
	uint32_t subscription, credit, queue_max, queue_bytes;
	uint64_t fingerprint;
	struct span pattern;
	uint8_t overflow;
	bool descendants, unlimited, retained;
};
struct msg_subscribed {
	uint32_t subscription; uint16_t code; bool resumed, ended;
	uint64_t matched, delivered, dropped;
	struct span text;
};
struct msg_unsubscribe { uint32_t subscription; };
struct event_id { uint64_t hi, lo; };
struct msg_publish {
	uint64_t number, origin; struct event_id id;
	bool retain, confirm, elsewhere, interest;
	struct span head; /* EventHead bytes, verified: event_head_decode cannot fail on them */
	struct u32s sizes; uint32_t crc;
};
struct published_item { uint64_t number; uint32_t receivers, rejected; uint16_t code; uint8_t status, pad0; uint32_t pad; };
_Static_assert(sizeof(struct published_item) == 24, "wire layout");
struct msg_published { const struct published_item *items; uint32_t count; struct span text; uint32_t retry_after_ms; };
struct msg_events {
	struct event_id id; uint64_t origin; bool retained;
	struct span head; /* as above; empty where there are no sizes */
	struct u32s sizes; uint32_t crc;
	uint64_t matched, delivered, dropped; /* where there are no sizes */
};
struct msg_interest { struct span type; bool wanted, query; uint32_t ttl_ms; uint64_t number; };
