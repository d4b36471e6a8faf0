/* tests/e2e/events_driver.c: what the scenarios of events need from inside one process. One command each; says what it found.
 *
 *   events_driver URL handlers N M    N handlers of one client, M events: each handler gets each once, with the same pointer
 *   events_driver URL object          an object reaches a handler as itself, encoded only once somebody else subscribes
 *   events_driver URL react A B       publishes B for each A, until it is killed
 *   events_driver URL slow POLICY     a subscriber without credit, with a queue of ten, and a hundred events: do the counts add up?
 *   events_driver URL publish T TEXT  one event
 *   events_driver URL bridge URL2 P   what matches P here is published there, until it is killed */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../clientlib/hillock.h"

enum { WAIT_MS = 20000, EVENTS = 100 };

static void fail(const char *what, struct hlk *c)
{
	(void)fprintf(stderr, "%s: %s\n", what, c ? hlk_last_error(c)->text : "");
	exit(1);
}

#define CHECK(cond, c)                 \
	do {                           \
		if (!(cond))           \
			fail(#cond, c); \
	} while (0)

static struct hlk *dial(const char *url)
{
	struct hlk *c = NULL;
	CHECK(hlk_connect(url, WAIT_MS, &c, NULL) == HLK_OK, NULL);
	return c;
}

struct seen { const void *payload, *object; int count; };

static void count(struct hlk *c, const struct hlk_event *e, void *ctx)
{
	struct seen *s = ctx;
	(void)c;
	s->count++;
	s->payload = e->payload;
	s->object = e->object;
}

static void subscribe(struct hlk *c, struct hlk_subscribe_options o, uint32_t *id)
{
	CHECK(hlk_subscribe_wait(c, &o, WAIT_MS, id) == HLK_OK, c);
}

static struct hlk_topic *topic(struct hlk *c, const char *type)
{
	const struct hlk_topic_options o = { .type = type };
	struct hlk_topic *t = hlk_topic_new(c, &o, NULL);
	CHECK(t != NULL, c);
	return t;
}

static int handlers(const char *url, int n, int m)
{
	struct hlk *c = dial(url);
	struct seen seen[16] = { { 0 } };
	static const char value[] = "the value";
	CHECK(n > 0 && n <= 16, c);
	for (int i = 0; i < n; i++)
		subscribe(c, (struct hlk_subscribe_options){ .pattern = "p01.T", .event = count, .ctx = &seen[i] }, NULL);
	struct hlk_topic *t = topic(c, "p01.T");
	for (int i = 0; i < m; i++) {
		struct hlk_published p;
		CHECK(hlk_publish_wait(c, t, value, sizeof value, WAIT_MS, &p) == HLK_OK, c);
		CHECK(p.local == (uint32_t)n && p.receivers == 0, c);
	}
	for (int i = 0; i < 5; i++)
		(void)hlk_run(c, 20); /* nothing must come a second time */
	for (int i = 0; i < n; i++)
		CHECK(seen[i].count == m && seen[i].payload == value, c);
	(void)printf("each of %d got %d\n", n, m);
	hlk_topic_free(t);
	hlk_close(c, 1000);
	return 0;
}

static size_t encode(const void *object, void *out, size_t room)
{
	return (size_t)snprintf(out, room, "%d", *(const int *)object);
}

static int object(const char *url)
{
	struct hlk *c = dial(url), *other = dial(url);
	struct seen own = { 0 }, theirs = { 0 };
	int value = 42;
	subscribe(c, (struct hlk_subscribe_options){ .pattern = "p02.*", .event = count, .ctx = &own }, NULL);
	struct hlk_topic *t = topic(c, "p02.T");
	CHECK(hlk_topic_ask(t) == HLK_OK, c);
	while (hlk_topic_wanted(t) < 0)
		(void)hlk_run(c, 100);
	for (int i = 0; i < 10; i++)
		CHECK(hlk_publish_object(c, t, &value, encode, NULL, NULL) == HLK_OK, c);
	CHECK(own.count == 10 && own.object == &value, c);
	uint64_t before = hlk_events_encoded(c);
	/* The other one's subscription stands only when this one has heard of it, so it must be heard meanwhile. */
	const struct hlk_subscribe_options o = { .pattern = "p02.T", .event = count, .ctx = &theirs };
	CHECK(hlk_subscribe(other, &o, NULL) == HLK_OK, other);
	for (int i = 0; i < 1000 && hlk_topic_wanted(t) == 0; i++) {
		(void)hlk_run(other, 2);
		(void)hlk_run(c, 2);
	}
	CHECK(hlk_publish_object(c, t, &value, encode, NULL, NULL) == HLK_OK, c);
	for (int i = 0; i < 1000 && theirs.count == 0; i++) {
		(void)hlk_run(c, 2);
		(void)hlk_run(other, 2);
	}
	CHECK(theirs.count == 1 && theirs.object == NULL && own.count == 11, c);
	(void)printf("same object, %llu encoded; with another subscriber %llu encoded, handled once\n", (unsigned long long)before,
		     (unsigned long long)hlk_events_encoded(c));
	hlk_topic_free(t);
	hlk_close(c, 1000);
	hlk_close(other, 1000);
	return 0;
}

struct reaction { struct hlk_topic *topic; };

static void react_to(struct hlk *c, const struct hlk_event *e, void *ctx)
{
	struct reaction *r = ctx;
	char text[256];
	int len = snprintf(text, sizeof text, "bar of %.*s", (int)e->size, (const char *)e->payload);
	CHECK(hlk_publish(c, r->topic, text, (size_t)len, NULL, NULL) == HLK_OK, c);
}

__attribute__((noreturn)) static void react(const char *url, const char *from, const char *to)
{
	struct hlk *c = dial(url);
	struct reaction r = { topic(c, to) };
	subscribe(c, (struct hlk_subscribe_options){ .pattern = from, .event = react_to, .ctx = &r }, NULL);
	(void)fprintf(stderr, "ready\n");
	for (;;)
		(void)hlk_run(c, HLK_FOREVER);
}

struct answers { uint32_t count, rejected; };

static void answered(struct hlk *c, const struct hlk_published *p, void *ctx)
{
	struct answers *a = ctx;
	CHECK(p->code == HLK_OK, c);
	a->count++;
	a->rejected += p->rejected;
}

static int slow(const char *url, const char *policy)
{
	static const char *const names[] = { [HLK_DROP_OLDEST] = "drop-oldest", [HLK_DROP_NEWEST] = "drop-newest",
					     [HLK_BLOCK] = "block", [HLK_REJECT] = "reject" };
	struct hlk *c = dial(url), *publisher = dial(url);
	struct seen seen = { 0 };
	struct answers answers = { 0 };
	struct hlk_subscription_counts counts;
	uint32_t id;
	struct hlk_subscribe_options o = { .pattern = "p20.T", .manual_credit = true, .queue_max = 10, .event = count, .ctx = &seen };
	for (int i = 0; i < 4; i++)
		if (strcmp(names[i], policy) == 0)
			o.overflow = (enum hlk_overflow)i;
	subscribe(c, o, &id);
	struct hlk_topic *t = topic(publisher, "p20.T");
	for (int i = 0; i < EVENTS; i++)
		CHECK(hlk_publish(publisher, t, &i, sizeof i, answered, &answers) == HLK_OK, publisher);
	bool block = o.overflow == HLK_BLOCK;
	for (int i = 0; i < 20 || (!block && answers.count < EVENTS); i++)
		(void)hlk_run(publisher, 20);
	CHECK(answers.count == (block ? 0u : (unsigned)EVENTS), publisher);
	CHECK(hlk_subscription_credit(c, id, 1000) == HLK_OK, c);
	int want = block ? EVENTS : 10;
	for (int i = 0; i < 2000 && (seen.count < want || answers.count < EVENTS); i++) {
		(void)hlk_run(c, 5);
		(void)hlk_run(publisher, 1);
	}
	CHECK(seen.count == want && answers.count == EVENTS, c);
	CHECK(hlk_subscription_counts(c, id, &counts) == HLK_OK, c);
	CHECK((uint64_t)seen.count + counts.dropped == EVENTS, c);
	CHECK(block || counts.matched == EVENTS, c);
	CHECK(o.overflow != HLK_REJECT || answers.rejected >= EVENTS - 10, c);
	(void)printf("%s: received %d, dropped %llu of %d: counts add up\n", policy, seen.count, (unsigned long long)counts.dropped, EVENTS);
	hlk_topic_free(t);
	hlk_close(publisher, 1000);
	hlk_close(c, 1000);
	return 0;
}

static int publish(const char *url, const char *type, const char *text)
{
	struct hlk *c = dial(url);
	struct hlk_topic *t = topic(c, type);
	struct hlk_published p;
	CHECK(hlk_publish_wait(c, t, text, strlen(text), WAIT_MS, &p) == HLK_OK, c);
	(void)printf("%s\n", p.status);
	hlk_topic_free(t);
	hlk_close(c, 1000);
	return 0;
}

static void pass_on(struct hlk *c, const struct hlk_event *e, void *ctx)
{
	(void)c;
	CHECK(hlk_relay(ctx, e, NULL, NULL) == HLK_OK, ctx);
}

__attribute__((noreturn)) static void bridge(const char *url, const char *to, const char *pattern)
{
	struct hlk *c = dial(url), *target = dial(to);
	subscribe(c, (struct hlk_subscribe_options){ .pattern = pattern, .event = pass_on, .ctx = target }, NULL);
	(void)fprintf(stderr, "ready\n");
	for (;;) {
		struct pollfd fds[] = { { hlk_fd(c), POLLIN, 0 }, { hlk_fd(target), POLLIN, 0 } };
		(void)poll(fds, 2, -1);
		(void)hlk_process(c);
		(void)hlk_process(target);
	}
}

int main(int argc, char **argv)
{
	const char *url = argc > 1 ? argv[1] : "", *what = argc > 2 ? argv[2] : "";
	if (argc == 5 && strcmp(what, "handlers") == 0)
		return handlers(url, atoi(argv[3]), atoi(argv[4]));
	if (argc == 3 && strcmp(what, "object") == 0)
		return object(url);
	if (argc == 5 && strcmp(what, "react") == 0)
		react(url, argv[3], argv[4]);
	if (argc == 4 && strcmp(what, "slow") == 0)
		return slow(url, argv[3]);
	if (argc == 5 && strcmp(what, "publish") == 0)
		return publish(url, argv[3], argv[4]);
	if (argc == 5 && strcmp(what, "bridge") == 0)
		bridge(url, argv[3], argv[4]);
	(void)fprintf(stderr, "usage: events_driver URL handlers N M | object | react A B | slow POLICY | publish TYPE TEXT | bridge URL P\n");
	return 2;
}
