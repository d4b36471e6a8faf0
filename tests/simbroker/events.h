/* tests/simbroker/events.h: one publisher of numbered events, durable subscriptions (feeds) with a worker each, ephemeral
 * subscribers with each overflow policy, and a reader of a retained value. What is checked:
 *
 *  feeds       every confirmed event that was published after the subscription was confirmed reaches each feed, over crashes, at its
 *              own pace, and nothing that was not published
 *  ephemeral   numbers only grow; Block leaves nothing out; delivered is what came, and matched = delivered + dropped + what waits
 *  retained    whoever subscribes gets the last confirmed value or a later one */
#pragma once

#include "link.h"

enum { EVENTS_MAX = 300, FEEDS = 2, EVENT_QUEUE_SHORT = 4 };

struct event_seen {
	uint64_t restarts;      /* of the broker, when it was confirmed */
	bool confirmed, refused, retained;
	uint32_t feeds;         /* a bit for each that has seen it */
};

struct event_feed;
struct event_publisher;
struct event_subscriber;
struct event_reader;

struct events {
	struct scene *scene;
	struct event_seen seen[EVENTS_MAX + 1]; /* by number, from 1 */
	uint32_t count;                 /* published so far */
	uint32_t last_retained;         /* the last confirmed one */
	struct event_publisher *publisher;
	struct event_feed *feeds[FEEDS];
	struct event_subscriber *subscribers[OVERFLOWS];
	struct event_reader *reader;
};

struct event_publisher *event_publisher_new(struct events *e);
bool event_publisher_idle(const struct event_publisher *p);

/* begins_ns: from now on. */
struct event_feed *event_feed_new(struct events *e, uint32_t number, uint64_t begins_ns);
/* 0, or the first event that it should have seen and has not; 1 also while it is not subscribed. */
uint32_t event_feed_misses(const struct event_feed *f);

struct event_subscriber *event_subscriber_new(struct events *e, uint8_t overflow);
struct event_reader *event_reader_new(struct events *e);

/* The number in a payload; 0 after a violation. */
uint32_t event_number(struct events *e, struct span payload);
