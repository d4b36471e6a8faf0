/* tests/simbroker/events.c: the workload "events": its parts together. */
#include "events.h"

uint32_t event_number(struct events *e, struct span payload)
{
	uint32_t number = 0;
	if (payload.len == sizeof number)
		memcpy(&number, payload.data, sizeof number);
	if (number >= 1 && number <= e->count)
		return number;
	scene_violate(e->scene, "E2: an event that nobody published (%zu bytes, number %u)", payload.len, number);
	return 0;
}

static void *events_open(struct scene *scene)
{
	struct events *e = calloc(1, sizeof *e);
	ENSURE(e);
	e->scene = scene;
	for (uint32_t i = 0; i < FEEDS; i++)
		e->feeds[i] = event_feed_new(e, i, i ? SIM_MS * sim_rand_below(scene->world, 400) : 0);
	for (uint8_t i = 0; i < OVERFLOWS; i++)
		e->subscribers[i] = event_subscriber_new(e, i);
	e->reader = event_reader_new(e);
	e->publisher = event_publisher_new(e);
	return e;
}

static bool events_idle(void *state)
{
	struct events *e = state;
	for (uint32_t i = 0; i < FEEDS; i++)
		if (event_feed_misses(e->feeds[i]))
			return false;
	return event_publisher_idle(e->publisher);
}

static const char *events_waits(void *state)
{
	static char text[120];
	struct events *e = state;
	(void)snprintf(text, sizeof text, "publisher %s; of %u events the feeds miss %u and %u", event_publisher_idle(e->publisher) ?
		       "has all answers" : "waits", e->count, event_feed_misses(e->feeds[0]), event_feed_misses(e->feeds[1]));
	return text;
}

const struct workload workload_events = { "events", events_open, events_idle, events_waits };
