/* clientlib/bridge_event.c: events that cross a bridge. In the flow: EVENTS at `from` -> PUBLISH at `to`, with the same id and origin.
 *
 * 1. credit at the broker + events under way + those that were answered = the credit of the feed. While `from` is not connected the
 *    first of these is what the next connection begins with.
 * 2. An event is under way until `to` has answered it, over reconnects of that one; so the memory of a feed is bounded by its credit. */
#include "bridge_impl.h"

enum { CREDIT_DEFAULT = 256 };

struct feed *feed_new(struct hlk_bridge *b, const char *pattern, uint32_t credit)
{
	struct feed *f = calloc(1, sizeof *f);
	ENSURE(f != NULL && (f->pattern = strdup(pattern)) != NULL);
	f->bridge = b;
	f->credit = credit ? credit : CREDIT_DEFAULT;
	f->next = b->feeds;
	return f;
}

static void feed_unref(struct feed *f)
{
	if (f->bridge || f->under_way > 0)
		return;
	free(f->pattern);
	free(f);
}

static void published(struct hlk *to, const struct hlk_published *p, void *ctx)
{
	struct feed *f = ctx;
	struct hlk_bridge *b = f->bridge;
	(void)to;
	f->under_way--;
	f->answered++;
	if (b && p->code != HLK_OK && b->counts.events_refused_total++ == 0)
		bridge_tell(b, &(struct hlk_bridge_note){ .kind = HLK_BRIDGE_REFUSED, .code = p->code, .service = f->pattern, .text = p->text });
	feed_unref(f);
}

static void arrived(struct hlk *from, const struct hlk_event *event, void *ctx)
{
	struct feed *f = ctx;
	struct hlk_bridge *b = f->bridge;
	(void)from;
	f->under_way++;
	int code = publish_relay(b->to, event, true, published, f);
	if (code == HLK_OK) {
		b->counts.events_total++;
		return;
	}
	const struct hlk_published refused = { .code = code, .status = "refused", .text = b->to->error.text };
	published(b->to, &refused, f);
}

static void state(struct hlk *from, uint32_t subscription, int code, const struct hlk_subscription_counts *counts, void *ctx)
{
	struct feed *f = ctx;
	(void)subscription;
	f->dropped = MAX_OF(f->dropped, counts->dropped);
	if (code != HLK_OK)
		bridge_tell(f->bridge, &(struct hlk_bridge_note){ .kind = HLK_BRIDGE_REFUSED, .code = code, .service = f->pattern,
								  .text = from->error.text });
}

int feeds_begin(struct hlk_bridge *b)
{
	int code = HLK_OK;
	for (struct feed *f = b->feeds; f && code == HLK_OK; f = f->next) {
		f->answered = 0;
		code = hlk_subscribe(b->from, &(struct hlk_subscribe_options){
			.pattern = f->pattern, .overflow = b->overflow, .credit = f->credit - f->under_way, .manual_credit = true,
			.event = arrived, .state = state, .ctx = f }, &f->subscription);
	}
	return code;
}

void feeds_end(struct hlk_bridge *b)
{
	for (struct feed *f = b->feeds; f; f = f->next) {
		if (f->subscription)
			(void)hlk_unsubscribe(b->from, f->subscription);
		f->subscription = 0;
	}
}

void feeds_step(struct hlk_bridge *b)
{
	for (struct feed *f = b->feeds; f; f = f->next) {
		if (!f->subscription || f->answered == 0)
			continue;
		if (net_ready(b->from))
			(void)hlk_subscription_credit(b->from, f->subscription, f->answered);
		else
			subscription_window(b->from, f->subscription, f->credit - f->under_way);
		f->answered = 0;
	}
	for (struct feed *f = b->feeds; f && !net_ready(b->from); f = f->next)
		subscription_window(b->from, f->subscription, f->credit - f->under_way);
}

void feeds_free(struct hlk_bridge *b)
{
	while (b->feeds) {
		struct feed *f = b->feeds;
		b->feeds = f->next;
		f->bridge = NULL;
		feed_unref(f);
	}
}
