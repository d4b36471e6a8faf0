/* clientlib/mock_directory.c: the entries of the one session, and who watches or has reserved them. In the flow: SERVE -> here ->
 * CHANGES, BINDING. See mock_impl.h.
 *
 * 1. A change of one entry is one revision; every watch hears of every revision that concerns it, in order.
 * 2. Reservations are healed whenever the set of entries has changed. */
#include "mock_impl.h"

/* ---- entries ---- */

struct mock_entry *mock_entry_find(struct mock *m, uint32_t id)
{
	for (uint32_t i = 0; i < m->entry_count; i++)
		if (m->entries[i].id == id)
			return &m->entries[i];
	return NULL;
}

bool mock_entry_fits(const struct mock_entry *e, struct span where)
{
	return predicate_holds(where, buf_span(&e->params));
}

static void entry_free(struct mock_entry *e)
{
	for (uint32_t i = 0; i < e->vnet_count + e->hot_count; i++)
		free(e->texts[i]);
	free(e->texts);
	free(e->name);
	buf_free(&e->params);
}

static enum err entry_fill(struct mock_entry *e, const struct wire_entry *w, const char *identity, char text[128])
{
	*e = (struct mock_entry){ .id = w->id, .credit = w->credit, .capacity = w->capacity ? w->capacity : 64, .cost = w->cost,
				  .by_queue = w->by_queue, .name = mock_text(w->service), .vnet_count = w->vnet_count,
				  .hot_count = w->hot_count };
	uint32_t count = w->vnet_count + w->hot_count;
	e->texts = count ? calloc(count, sizeof(char *)) : NULL;
	ENSURE(count == 0 || e->texts);
	for (uint32_t i = 0; i < count; i++)
		e->texts[i] = mock_text(i < w->vnet_count ? w->vnets[i] : w->hot[i - w->vnet_count]);
	enum err code = params_parse(w->params, &e->params, text);
	if (code == ERR_OK && params_are_brokers(buf_span(&e->params))) {
		(void)snprintf(text, 128, "params: names that begin with " PARAMS_BROKER " are the broker's");
		return ERR_INVALID_INPUT;
	}
	if (code == ERR_OK && identity && *identity)
		params_insert(&e->params, 0, span_str(PARAMS_IDENTITY), span_str(identity));
	return code;
}

static bool same_entry(const struct mock_entry *a, const struct mock_entry *b)
{
	bool same = a->by_queue == b->by_queue && a->capacity == b->capacity && a->cost == b->cost && a->vnet_count == b->vnet_count &&
		    a->hot_count == b->hot_count && span_eq(buf_span(&a->params), buf_span(&b->params));
	for (uint32_t i = 0; same && i < a->vnet_count + a->hot_count; i++)
		same = strcmp(a->texts[i], b->texts[i]) == 0;
	return same;
}

/* ---- watches ---- */

static bool watched(const struct mock_watch *w, const struct mock_entry *e)
{
	return (!*w->service || strcmp(w->service, e->name) == 0) && mock_entry_fits(e, buf_span(&w->where));
}

struct range { bool begin, end; uint64_t before, revision; };

/* A frame of its own for each entry: there are few, and nobody is in a hurry. No entry: the revision has gone on, that is all. */
static void tell(struct mock *m, const struct mock_watch *w, struct range r, uint8_t kind, const struct mock_entry *e)
{
	struct msg *msg = calloc(1, sizeof *msg);
	struct span texts[2 * LIMIT_ENTRY_TEXTS];
	struct buf params = { NULL, 0, 0 };
	ENSURE(msg != NULL);
	msg->kind = FRAME_CHANGES;
	struct msg_changes *c = &msg->changes;
	c->watch = w->id;
	c->begin = r.begin;
	c->end = r.end;
	c->before = r.before;
	c->revision = r.revision;
	c->count = e != NULL;
	if (e) {
		c->items[0] = (struct wire_change){ .session = m->session, .kind = kind, .busy = e->in_flight, .client = span_str("mock"),
				.entry = { .id = e->id, .service = span_str(e->name), .by_queue = e->by_queue } };
	}
	if (e && kind != CHANGE_LEFT) {
		struct wire_entry *out = &c->items[0].entry;
		for (uint32_t i = 0; i < e->vnet_count + e->hot_count; i++)
			texts[i] = span_str(e->texts[i]);
		params_print(buf_span(&e->params), &params);
		out->capacity = e->capacity;
		out->cost = e->cost;
		out->params = buf_span(&params);
		out->vnets = texts;
		out->vnet_count = e->vnet_count;
		out->hot = texts + e->vnet_count;
		out->hot_count = e->hot_count;
	}
	mock_send(m, msg, 0);
	buf_free(&params);
	free(msg);
}

static void tell_change(struct mock *m, const struct mock_entry *before, const struct mock_entry *after)
{
	const struct range r = { .end = true, .before = m->revision, .revision = m->revision + 1 };
	m->revision++;
	for (const struct mock_watch *w = m->watches; w; w = w->next) {
		bool was = before && watched(w, before), is = after && watched(w, after);
		tell(m, w, r, was && is ? CHANGE_CHANGED : is ? CHANGE_JOINED : CHANGE_LEFT, is ? after : was ? before : NULL);
	}
}

static void watch_free(struct mock_watch *w)
{
	free(w->service);
	buf_free(&w->where);
	free(w);
}

void mock_unwatch(struct mock *m, uint32_t id)
{
	struct mock_watch **at = &m->watches;
	while (*at && (*at)->id != id)
		at = &(*at)->next;
	struct mock_watch *w = *at;
	if (!w)
		return;
	*at = w->next;
	watch_free(w);
}

void mock_watch(struct mock *m, const struct msg_watch *from, uint32_t correlation)
{
	struct buf where = { NULL, 0, 0 };
	char text[128];
	enum err e = predicate_parse(from->where, &where, text);
	if (e != ERR_OK) {
		buf_free(&where);
		mock_error(m, correlation, FRAME_WATCH, e, text);
		return;
	}
	struct mock_watch *w = calloc(1, sizeof *w);
	ENSURE(w != NULL);
	*w = (struct mock_watch){ .next = m->watches, .id = from->watch, .service = mock_text(from->service), .where = where };
	bool once = from->once;
	m->watches = w;
	struct range r = { .begin = true, .before = m->revision, .revision = m->revision };
	for (uint32_t i = 0; i < m->entry_count; i++) {
		if (!watched(w, &m->entries[i]))
			continue;
		tell(m, w, r, CHANGE_JOINED, &m->entries[i]);
		r.begin = false;
	}
	r.end = true;
	tell(m, w, r, CHANGE_NONE, NULL);
	if (once)
		mock_unwatch(m, w->id);
}

/* ---- reservations ---- */

struct mock_binding *mock_binding_find(struct mock *m, uint32_t id)
{
	struct mock_binding *b = m->bindings;
	while (b && b->id != id)
		b = b->next;
	return b;
}

static void tell_binding(struct mock *m, const struct mock_binding *b)
{
	struct leg legs[LIMIT_BINDING_LEGS];
	for (uint32_t i = 0; i < b->leg_count; i++)
		legs[i] = (struct leg){ m->session, b->legs[i], 0 };
	const struct msg msg = { .kind = FRAME_BINDING, .binding = { .binding = b->id, .state = b->state, .legs = legs,
								     .leg_count = b->leg_count } };
	mock_send(m, &msg, 0);
}

static bool is_leg_for(const struct mock_binding *b, const struct mock_entry *e)
{
	return !e->by_queue && strcmp(e->name, b->service) == 0 && mock_entry_fits(e, buf_span(&b->where));
}

static void heal(struct mock *m, struct mock_binding *b)
{
	uint32_t kept = 0, before = b->leg_count;
	for (uint32_t i = 0; i < b->leg_count; i++) {
		const struct mock_entry *e = mock_entry_find(m, b->legs[i]);
		if (e && is_leg_for(b, e))
			b->legs[kept++] = b->legs[i];
	}
	bool changed = kept != before;
	b->leg_count = kept;
	for (uint32_t i = 0; i < m->entry_count && b->leg_count < b->desired; i++) {
		bool is = false;
		for (uint32_t l = 0; l < kept; l++)
			is = is || b->legs[l] == m->entries[i].id;
		if (!is && is_leg_for(b, &m->entries[i]))
			b->legs[b->leg_count++] = m->entries[i].id;
	}
	uint8_t state = b->leg_count < b->min ? BINDING_WAITING : b->leg_count < b->desired ? BINDING_DEGRADED : BINDING_ACTIVE;
	if (!changed && b->leg_count == kept && state == b->state)
		return;
	b->state = state;
	tell_binding(m, b);
}

void mock_bind(struct mock *m, const struct msg_bind *from, uint32_t correlation)
{
	struct buf where = { NULL, 0, 0 };
	char text[128];
	enum err e = mock_binding_find(m, from->binding) ? ERR_EXISTS : predicate_parse(from->where, &where, text);
	if (e != ERR_OK) {
		buf_free(&where);
		mock_error(m, correlation, FRAME_BIND, e, e == ERR_EXISTS ? "BIND.binding: this number is in use" : text);
		return;
	}
	struct mock_binding *b = calloc(1, sizeof *b);
	ENSURE(b != NULL);
	*b = (struct mock_binding){ .next = m->bindings, .id = from->binding, .min = MAX_OF(from->min, 1u), .desired = from->desired,
				    .waiting = from->waiting ? from->waiting : 1000, .service = mock_text(from->service), .where = where };
	m->bindings = b;
	heal(m, b);
}

static void binding_free(struct mock_binding *b)
{
	free(b->service);
	buf_free(&b->where);
	free(b);
}

void mock_unbind(struct mock *m, uint32_t id)
{
	struct mock_binding **at = &m->bindings;
	while (*at && (*at)->id != id)
		at = &(*at)->next;
	struct mock_binding *b = *at;
	if (!b)
		return;
	*at = b->next;
	b->state = BINDING_ENDED;
	b->leg_count = 0;
	tell_binding(m, b);
	binding_free(b);
	mock_calls_tick(m);
}

/* ---- the set ---- */

/* What was there before and is there still keeps its calls. */
static void tell_changes(struct mock *m, const struct mock_entry *old, uint32_t old_count)
{
	for (uint32_t i = 0; i < m->entry_count; i++) {
		struct mock_entry *now = &m->entries[i];
		const struct mock_entry *was = NULL;
		for (uint32_t o = 0; o < old_count; o++)
			if (old[o].id == now->id && strcmp(old[o].name, now->name) == 0)
				was = &old[o];
		if (was)
			now->in_flight = was->in_flight;
		if (!was || !same_entry(was, now))
			tell_change(m, was, now);
	}
	for (uint32_t o = 0; o < old_count; o++) {
		const struct mock_entry *now = mock_entry_find(m, old[o].id);
		if (now && strcmp(now->name, old[o].name) == 0)
			continue;
		tell_change(m, &old[o], NULL);
		mock_calls_lost(m, old[o].id, "the holder has withdrawn the entry");
	}
}

static void entries_free(struct mock_entry *entries, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		entry_free(&entries[i]);
}

uint32_t mock_entries_of(const struct mock *m, struct span service, struct span where)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < m->entry_count; i++)
		count += span_eq(span_str(m->entries[i].name), service) && mock_entry_fits(&m->entries[i], where);
	return count;
}

void mock_serve(struct mock *m, const struct msg_serve *s, uint32_t correlation)
{
	struct mock_entry *set = calloc(LIMIT_SESSION_ENTRIES, sizeof *set);
	uint32_t count = 0, old_count = m->entry_count;
	char text[128];
	enum err e = ERR_OK;
	ENSURE(set != NULL);
	for (; count < s->count && e == ERR_OK; count++)
		e = entry_fill(&set[count], &s->entries[count], m->identity, text);
	if (e != ERR_OK) {
		entries_free(set, count);
		free(set);
		mock_error(m, correlation, FRAME_SERVE, e, text);
		return;
	}
	for (uint32_t i = 0; i < MAX_OF(count, old_count); i++) {
		struct mock_entry swap = m->entries[i];
		m->entries[i] = set[i];
		set[i] = swap;
	}
	m->entry_count = count;
	tell_changes(m, set, old_count);
	entries_free(set, old_count);
	free(set);
	for (struct mock_binding *b = m->bindings; b; b = b->next)
		heal(m, b);
}

void mock_directory_forget(struct mock *m)
{
	entries_free(m->entries, m->entry_count);
	m->entry_count = 0;
	while (m->watches)
		mock_unwatch(m, m->watches->id);
	while (m->bindings) {
		struct mock_binding *b = m->bindings;
		m->bindings = b->next;
		binding_free(b);
	}
}
