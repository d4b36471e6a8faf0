/* broker/topics_record.h: the bodies of the records of topics and events on disk. The rules of tasks_record.h hold.
 *
 *   REC_TOPIC   rec_topic | vnet | pattern
 *   REC_EVENT   rec_event | u16 queues[queue_count] | u32 sizes[count] | head | payloads
 *               (takes queue_count * count task numbers: first those of the first queue)
 *   REC_RETAIN  rec_retain | in version 2, where the value is a blob: its name, struct blob_ref | frame | vnet | type | key
 *               (frame_size 0: the value has ended) */
#pragma once

#include "tasks_record.h"

enum { REC_RETAIN_BLOB = 2 /* the version */, EVENT_BLOB = 1 /* the flag: each payload names a blob */ };
enum rec_topic_op { TOPIC_OP_ADD = 1, TOPIC_OP_REMOVE = 2 };
struct rec_topic {
	uint8_t version, op, kind;
	uint8_t vnet_size, pattern_size, pad[3];
	uint32_t queue, pad2;
};
struct rec_event {
	uint8_t version, flags;
	uint16_t queue_count, head_size, pad2;
	uint32_t count, pad3;
	uint64_t id_hi, id_lo, submitted_ms;
};
struct rec_retain {
	uint8_t version, vnet_size, type_size, key_size;
	uint32_t frame_size;
	uint64_t fingerprint;
};
_Static_assert(sizeof(struct rec_topic) == 16 && sizeof(struct rec_event) == 40 && sizeof(struct rec_retain) == 16, "on disk");

struct topic_view { struct rec_topic fixed; struct span vnet, pattern; };
struct event_view {
	struct rec_event fixed;
	const uint16_t *queues;
	const uint32_t *sizes;
	struct span head, payload;
};
struct retain_view { struct rec_retain fixed; struct span blob, vnet, type, key, frame; }; /* blob: empty = it is none */

/* Readers borrow the body; ERR_DAMAGED where lengths do not fit it. Writers fill exactly so many bytes. */
enum err rec_topic_read(struct span body, struct topic_view *out) MUST_CHECK;
enum err rec_event_read(struct span body, struct event_view *out) MUST_CHECK;
enum err rec_retain_read(struct span body, struct retain_view *out) MUST_CHECK;
size_t rec_event_size(const struct event_view *v);
void rec_event_write(const struct event_view *v, uint8_t *out);
size_t rec_retain_size(const struct retain_view *v);
void rec_retain_write(const struct retain_view *v, uint8_t *out);
