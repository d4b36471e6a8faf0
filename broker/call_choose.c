/* broker/call_choose.c: holders of a service, of an address, of a binding, and which of them is next.
 *
 * In the flow: CALL, or a line whose turn it is -> a holder with room. The contract stands in call_choose.h. */
#include "call_choose.h"

enum { CHOOSE_LOOK = 32 };

bool call_can_take(const struct dir_entry *e)
{
	struct conn *c = e->session->conn;
	if (!c || c->closing || e->session->draining || e->in_flight >= e->line->capacity)
		return false;
	if (conn_queued(c) <= c->s->config.out_buffer_soft)
		return true;
	c->starved = true; /* calls_unblock comes when it has room */
	return false;
}

/* Would take it some day: it is here and not on its way out. */
bool calls_holder(const struct dir_entry *e)
{
	return e->session->conn && !e->session->conn->closing && !e->session->draining && !e->line->by_queue;
}

struct choice call_choose(struct dir_service *service, struct span vnet, struct span where)
{
	struct choice c = { NULL, 0 };
	uint32_t seen = 0;
	for (struct dir_entry *e = service->room; e && seen < CHOOSE_LOOK; e = e->room_next) {
		if (!calls_holder(e) || !directory_fits(e->line, vnet, where))
			continue;
		c.holders++;
		if (!call_can_take(e))
			continue;
		seen++;
		if (!c.entry || e->in_flight < c.entry->in_flight)
			c.entry = e;
		if (e->in_flight == 0)
			break;
	}
	for (struct dir_entry *e = service->first; e && c.holders == 0; e = e->next)
		c.holders += calls_holder(e) && directory_fits(e->line, vnet, where);
	if (c.entry)
		directory_rotate(c.entry);
	return c;
}

struct choice call_choose_address(struct shard *s, uint64_t number, uint32_t entry, struct span vnet)
{
	struct choice c = { NULL, 0 };
	struct session *session = directory_session(s, number);
	struct dir_entry *e = session ? directory_entry(session, entry) : NULL;
	if (!e || !calls_holder(e) || !directory_fits(e->line, vnet, span_of(NULL, 0)))
		return c;
	c.holders = 1;
	c.entry = call_can_take(e) ? e : NULL;
	return c;
}

struct choice call_choose_leg(struct shard *s, const struct binding *b)
{
	struct choice c = { NULL, 1 }; /* while there is the binding, there is something to wait for */
	for (uint32_t i = 0; b->state != BINDING_WAITING && i < b->leg_count; i++) {
		struct session *session = directory_session(s, b->legs[i].session);
		struct dir_entry *e = session ? directory_entry(session, b->legs[i].entry) : NULL;
		if (e && e->service == b->service && calls_holder(e) && call_can_take(e) && (!c.entry || e->in_flight < c.entry->in_flight))
			c.entry = e;
	}
	return c;
}
