/* clientlib/binding.c: reservations. In the flow: hlk_bind -> BIND -> broker -> BINDING -> callback.
 *
 * 1. A binding ends at the broker with the connection; it is made again after every reconnect, and is WAITING in between.
 * 2. Its BIND goes out before any call through it: bindings are flushed first. */
#include "client_impl.h"

struct client_binding {
	struct client_binding *next;
	uint32_t id, min, desired, waiting, correlation, legs;
	char *service, *where;
	hlk_binding_fn *fn;
	void *ctx;
	enum hlk_binding_state state;
	bool asked, gone, refused;
};

static void tell(struct hlk *c, struct client_binding *b, enum hlk_binding_state state, uint32_t legs)
{
	if (b->gone || (b->state == state && b->legs == legs))
		return;
	b->state = state;
	b->legs = legs;
	if (b->fn)
		b->fn(c, b->id, state, legs, b->ctx);
}

static struct client_binding *find(const struct hlk *c, uint32_t id)
{
	struct client_binding *b = c->bindings.first;
	while (b && (b->id != id || b->gone))
		b = b->next;
	return b;
}

static void drop(struct hlk *c, struct client_binding *b)
{
	struct client_binding **at = &c->bindings.first;
	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	free(b->service);
	free(b->where);
	free(b);
}

void binding_flush(struct hlk *c)
{
	struct client_binding *next;
	for (struct client_binding *b = c->bindings.first; b && net_ready(c); b = next) {
		next = b->next;
		if (b->gone) {
			const struct msg msg = { .kind = FRAME_UNBIND, .unbind = { .binding = b->id } };
			if (b->asked)
				session_send(c, &msg, 0);
			drop(c, b);
		} else if (!b->asked && !b->refused) {
			const struct msg msg = { .kind = FRAME_BIND, .bind = { .binding = b->id, .min = b->min, .desired = b->desired,
					.waiting = b->waiting, .service = span_str(b->service), .where = span_str(b->where) } };
			b->asked = true;
			b->correlation = client_correlation(c);
			session_send(c, &msg, b->correlation);
		}
	}
}

void binding_down(struct hlk *c)
{
	for (struct client_binding *b = c->bindings.first; b; b = b->next) {
		b->asked = false;
		tell(c, b, HLK_BINDING_WAITING, 0);
	}
}

void binding_changed(struct hlk *c, const struct msg_binding *m)
{
	static const enum hlk_binding_state states[] = { [BINDING_WAITING] = HLK_BINDING_WAITING, [BINDING_ACTIVE] = HLK_BINDING_ACTIVE,
							 [BINDING_DEGRADED] = HLK_BINDING_DEGRADED, [BINDING_ENDED] = HLK_BINDING_ENDED };
	struct client_binding *b = find(c, m->binding);
	if (b)
		tell(c, b, states[m->state], m->leg_count);
}

bool binding_refused(struct hlk *c, uint32_t correlation, int code, struct span text)
{
	struct client_binding *b = c->bindings.first;
	while (b && (!b->asked || b->correlation != correlation))
		b = b->next;
	if (!b)
		return false;
	b->refused = true;
	(void)error_set(c, code, "bind: %.*s", (int)MIN_OF(text.len, 300u), (const char *)text.data);
	tell(c, b, HLK_BINDING_ENDED, 0);
	return true;
}

int hlk_bind(struct hlk *c, const struct hlk_bind_options *o, uint32_t *binding_out)
{
	uint32_t desired = o->desired ? o->desired : MAX_OF(o->min, 1u);
	if (!o->service || !*o->service || strlen(o->service) > LIMIT_NAME_BYTES)
		return error_set(c, HLK_INVALID_INPUT, "bind: needs a service of at most %d bytes", LIMIT_NAME_BYTES);
	if (desired > LIMIT_BINDING_LEGS || o->min > desired)
		return error_set(c, HLK_INVALID_INPUT, "bind: desired is at most %d, and min not above it", LIMIT_BINDING_LEGS);
	if (o->where && strlen(o->where) > LIMIT_PREDICATE_BYTES)
		return error_set(c, HLK_TOO_BIG, "bind: the predicate is over %d bytes", LIMIT_PREDICATE_BYTES);
	struct client_binding *b = calloc(1, sizeof *b);
	ENSURE(b != NULL);
	*b = (struct client_binding){ .next = c->bindings.first, .id = ++c->bindings.last, .min = o->min ? o->min : 1, .desired = desired,
				      .waiting = o->waiting, .service = strdup(o->service), .where = strdup(o->where ? o->where : ""),
				      .fn = o->state, .ctx = o->ctx, .state = HLK_BINDING_NONE };
	ENSURE(b->service && b->where);
	c->bindings.first = b;
	if (binding_out)
		*binding_out = b->id;
	client_touch(c);
	return HLK_OK;
}

int hlk_unbind(struct hlk *c, uint32_t binding)
{
	struct client_binding *b = find(c, binding);
	if (!b)
		return error_set(c, HLK_NOT_FOUND, "bind: no binding %u", binding);
	b->gone = true;
	client_touch(c);
	return HLK_OK;
}

void binding_close(struct hlk *c)
{
	while (c->bindings.first)
		drop(c, c->bindings.first);
}
