/* broker/event_queue.h: the queue of one subscription, and the frames that are in it. */
#pragma once

#include "event.h"

struct batch *batch_new(struct events *e, const struct msg_events *m, const struct event_head *head,
			const struct span *payload, uint32_t payload_count);
void batch_unref(struct batch *b);
/* How many more events a subscription with Block takes now. */
uint32_t subscription_room(const struct subscription *x, const struct batch *b);
/* Hands over `count` events of the batch; what does not fit is dropped as its policy says. Returns how many it rejected. */
uint32_t subscription_push(struct subscription *x, struct batch *b, uint32_t first, uint32_t count);
/* The same beyond all bounds: retained values. */
void subscription_push_retained(struct subscription *x, struct batch *b);
/* A frame that was made before. */
struct batch *batch_of(struct events *e, struct span frame, uint64_t fingerprint);
void subscription_drain(struct subscription *x);      /* what its connection and its credit allow */
void subscription_tell_counts(struct subscription *x); /* at the end of the turn */
void subscription_clear(struct subscription *x);      /* its queue */
