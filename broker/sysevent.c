/* broker/sysevent.c: the broker's own events. In the flow: anything noteworthy -> SYSEVENT -> queues of subscriptions.
 *
 * 1. Nothing is formatted while nobody subscribes.
 * 2. They wait for nobody: to a subscription with Block that is full they are dropped and counted, like with DropNewest. */
#include "sysevent.h"

#include <stdarg.h>

#include "event.h"
#include "event_queue.h"
#include "event_route.h"

static const char prefix[] = "hillock.sys.";

static struct route *route_of(struct events *e, const char *type)
{
	char name[LIMIT_NAME_BYTES + 1];
	(void)snprintf(name, sizeof name, "%s%s", prefix, type);
	struct span vnet = span_of(NULL, 0);
	struct route *r = route_get(e, vnet, span_str(name));
	route_refresh(e, r);
	return r;
}

bool sys_event_wanted(const struct shard *s, const char *type)
{
	return s->events && s->events->system_count > 0 && route_of(s->events, type)->count > 0;
}

static struct batch *encode(struct events *e, struct span type, struct span payload)
{
	const struct event_head head = { .type = type };
	struct buf bytes = { NULL, 0, 0 };
	uint32_t size = (uint32_t)payload.len;
	event_head_encode(&bytes, &head);
	const struct msg_events m = { .id = { e->sys_origin, ++e->sys_id }, .origin = e->sys_origin, .head = buf_span(&bytes),
				      .sizes = { &size, 1 } };
	struct batch *b = batch_new(e, &m, &head, &payload, 1);
	buf_free(&bytes);
	return b;
}

void sys_event(struct shard *s, const char *type, const char *format, ...)
{
	char text[2048] = "{";
	va_list args;
	if (!sys_event_wanted(s, type))
		return;
	va_start(args, format);
	(void)vsnprintf(text + 1, sizeof text - 2, format, args);
	va_end(args);
	size_t len = strlen(text);
	text[len++] = '}';
	const struct route *r = route_of(s->events, type);
	struct batch *b = encode(s->events, span_of(r->text + r->vnet_size, r->type_size), span_of(text, len));
	for (uint32_t i = 0; i < r->count; i++)
		if (r->at[i]->fingerprint == 0)
			(void)subscription_push(r->at[i], b, 0, 1);
	batch_unref(b);
}

const char *sys_quote(struct sys_text *out, struct span text)
{
	size_t at = 0;
	for (size_t i = 0; i < text.len && at + 7 < sizeof out->at; i++) {
		uint8_t c = text.data[i];
		if (c == '"' || c == '\\') {
			out->at[at++] = '\\';
			out->at[at++] = (char)c;
		} else if (c < 0x20) {
			at += (size_t)snprintf(out->at + at, 7, "\\u%04x", c);
		} else {
			out->at[at++] = (char)c;
		}
	}
	out->at[at] = '\0';
	return out->at;
}
