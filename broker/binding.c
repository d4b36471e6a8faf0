/* broker/binding.c: reservations: the contract and the invariants stand in binding.h. */
#include "permit.h"
#include "binding.h"

#include "call.h"

enum { SESSION_BINDINGS = 64, WAITING_DEFAULT = 1000, WAITING_MAX = 65536 };

struct binding *binding_find(struct session *session, uint32_t id)
{
	struct binding *b = session->bindings;
	while (b && b->id != id)
		b = b->session_next;
	return b;
}

static void tell(struct shard *s, const struct binding *b, uint8_t state, enum err code, const char *text)
{
	struct conn *c = b->session->conn;
	if (!c || c->closing)
		return;
	s->msg.kind = FRAME_BINDING;
	s->msg.binding = (struct msg_binding){ .binding = b->id, .state = state, .code = (uint16_t)code, .text = span_str(text),
					       .legs = b->legs, .leg_count = state == BINDING_ENDED ? 0 : b->leg_count };
	msg_encode(&c->out, &s->msg, 0, NULL, 0);
	conn_touch(c);
}

static bool fits(const struct binding *b, const struct dir_entry *e)
{
	return calls_holder(e) && directory_fits(e->line, span_str(b->session->vnet), buf_span(&b->where));
}

static bool is_leg(const struct binding *b, const struct dir_entry *e)
{
	for (uint32_t i = 0; i < b->leg_count; i++)
		if (b->legs[i].session == e->line->session && b->legs[i].entry == e->line->id)
			return true;
	return false;
}

/* Drops legs that have gone. */
static bool keep_legs(struct shard *s, struct binding *b)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < b->leg_count; i++) {
		struct session *session = directory_session(s, b->legs[i].session);
		const struct dir_entry *e = session ? directory_entry(session, b->legs[i].entry) : NULL;
		if (e && e->service == b->service && fits(b, e))
			b->legs[kept++] = b->legs[i];
	}
	bool changed = kept != b->leg_count;
	b->leg_count = kept;
	return changed;
}

static bool add_legs(struct binding *b)
{
	uint32_t before = b->leg_count;
	for (const struct dir_entry *e = b->service->first; e && b->leg_count < b->desired; e = e->next)
		if (fits(b, e) && !is_leg(b, e))
			b->legs[b->leg_count++] = (struct leg){ e->line->session, e->line->id, 0 };
	return b->leg_count != before;
}

static void heal(struct shard *s, struct binding *b)
{
	bool changed = keep_legs(s, b);
	changed = add_legs(b) || changed;
	uint8_t state = b->leg_count < MAX_OF(b->min, 1u) ? BINDING_WAITING : b->leg_count < b->desired ? BINDING_DEGRADED : BINDING_ACTIVE;
	if (!changed && state == b->state)
		return;
	b->state = state;
	tell(s, b, state, ERR_OK, "");
	calls_changed(s);
}

void bindings_run(struct shard *s)
{
	struct directory *d = s->directory;
	if (!d->bindings_due)
		return;
	d->bindings_due = false;
	for (uint32_t i = 0; d->binding_count > 0 && i < d->hash_size; i++)
		for (struct dir_service *service = d->hash[i]; service; service = service->next)
			for (struct binding *b = service->bindings; b; b = b->next)
				heal(s, b);
}

enum err binding_bind(struct conn *c, const struct msg_bind *m, char text[128])
{
	struct shard *s = c->s;
	struct session *session = c->session;
	struct span where;
	char why[128];
	uint32_t count = 0;
	for (const struct binding *b = session->bindings; b; b = b->session_next)
		count += b->id != m->binding;
	if (count >= SESSION_BINDINGS || m->waiting > WAITING_MAX) {
		(void)snprintf(text, 128, "BIND: over %d bindings of a session, or %d calls that wait", SESSION_BINDINGS, WAITING_MAX);
		return ERR_RESOURCE_EXHAUSTED;
	}
	enum err e = directory_where(s, m->where, &where, why);
	if (e != ERR_OK) {
		(void)snprintf(text, 128, "BIND.where: %.110s", why);
		return e;
	}
	const struct msg_bind bind = *m; /* what we tell is made in the struct msg that this was read into */
	if (binding_find(session, bind.binding)) {
		(void)snprintf(text, 128, "BIND.binding: %u is in use", bind.binding);
		return ERR_EXISTS;
	}
	struct binding *b = zalloc(sizeof *b);
	*b = (struct binding){ .session = session, .session_next = session->bindings, .service = directory_service_get(s, bind.service),
			       .id = bind.binding, .min = bind.min, .desired = bind.desired,
			       .waiting = bind.waiting ? bind.waiting : WAITING_DEFAULT };
	buf_append(&b->where, where.data, where.len);
	session->bindings = b;
	b->next = b->service->bindings;
	b->link = &b->service->bindings;
	if (b->next)
		b->next->link = &b->next;
	b->service->bindings = b;
	s->directory->binding_count++;
	heal(s, b);
	return ERR_OK;
}

static void end(struct shard *s, struct binding *b)
{
	struct binding **at = &b->session->bindings;
	while (*at != b)
		at = &(*at)->session_next;
	*at = b->session_next;
	*b->link = b->next;
	if (b->next)
		b->next->link = b->link;
	s->directory->binding_count--;
	calls_unbound(s, b);
	struct dir_service *service = b->service;
	buf_free(&b->where);
	free(b);
	directory_service_drop(s, service);
}

void binding_unbind(struct session *session, uint32_t id)
{
	struct shard *s = session->shard;
	struct binding *b = binding_find(session, id);
	if (!b)
		return;
	tell(s, b, BINDING_ENDED, ERR_OK, "");
	end(s, b);
}

void bindings_end(struct session *session)
{
	while (session->bindings)
		end(session->shard, session->bindings);
}

void bindings_end_refused(struct session *session)
{
	char text[256];
	for (struct binding *b = session->bindings, *next; b; b = next) {
		next = b->session_next;
		if (permit(session, ACCESS_CALL, b->service->name, text))
			continue;
		tell(session->shard, b, BINDING_ENDED, ERR_PERMISSION, text);
		end(session->shard, b);
	}
}
