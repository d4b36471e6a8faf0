/* broker/directory_watch.c: those who look: a snapshot, then every change. In the flow: directory -> CHANGES -> socket.
 *
 * 1. A watch is told at the end of the turn, from the ring of changes, up to the newest revision, or gets a snapshot where the ring
 *    has gone over what it has not seen.
 * 2. A connection that does not read is not told more; it catches up, or gets a snapshot, when it does.
 * 3. Watches end with the connection: the client asks again after it has come back, and begins with a snapshot. */
#include "permit.h"
#include "directory.h"

enum { WATCHES_MAX = 4096, SESSION_WATCHES = 64 };

struct dir_watch {
	struct dir_watch *next, **link;  /* all */
	struct dir_watch *session_next;
	struct session *session;
	uint64_t seen, told;             /* looked at up to here; what the client was told last */
	uint32_t id;
	bool fresh, once;                /* needs a snapshot; ends with it */
	struct buf service, where;
};

static void watch_free(struct directory *d, struct dir_watch *w)
{
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	d->watch_count--;
	buf_free(&w->service);
	buf_free(&w->where);
	free(w);
}

/* ---- frames ---- */

struct telling {
	struct shard *s;
	struct dir_watch *w;
	struct buf params; /* text forms of the frame's items: offsets until it is sent */
	size_t param_at[LIMIT_CHANGES];
	uint32_t texts;
	bool begin;
	uint64_t before;
};

static struct msg_changes *frame_of(const struct telling *t)
{
	return &t->s->msg.changes;
}

static void frame_start(struct telling *t)
{
	t->s->msg.kind = FRAME_CHANGES;
	frame_of(t)->watch = t->w->id;
	frame_of(t)->count = 0;
	t->params.len = 0;
	t->texts = 0;
}

static void frame_send(struct telling *t, bool end, uint64_t revision)
{
	struct msg_changes *m = frame_of(t);
	m->begin = t->begin;
	m->end = end;
	m->before = t->before;
	m->revision = revision;
	for (uint32_t i = 0; i < m->count; i++) {
		struct wire_entry *e = &m->items[i].entry;
		e->params = span_sub(buf_span(&t->params), t->param_at[i], e->params.len);
	}
	struct conn *c = t->w->session->conn;
	msg_encode(&c->out, &t->s->msg, 0, NULL, 0);
	conn_touch(c);
	t->begin = false;
	t->before = revision;
	frame_start(t);
}

static void frame_add(struct telling *t, uint8_t kind, const struct dir_line *line, bool away, uint32_t busy, uint64_t revision)
{
	struct msg_changes *m = frame_of(t);
	uint32_t names = kind == CHANGE_LEFT ? 0 : line->vnet_count + line->hot_count;
	if (m->count == LIMIT_CHANGES || t->texts + names > LIMIT_SERVE_TEXTS || t->params.len > LIMIT_META_BYTES / 4)
		frame_send(t, false, revision);
	struct wire_change *item = &m->items[m->count];
	*item = (struct wire_change){ .session = line->session, .kind = kind, .away = away, .busy = busy, .client = line->client,
				      .entry = { .id = line->id, .service = line->service, .by_queue = line->by_queue } };
	t->param_at[m->count++] = t->params.len;
	if (kind == CHANGE_LEFT)
		return;
	struct wire_entry *e = &item->entry;
	e->capacity = line->capacity;
	e->cost = line->cost;
	e->vnets = line->vnets;
	e->vnet_count = line->vnet_count;
	e->hot = line->hot;
	e->hot_count = line->hot_count;
	params_print(line->params, &t->params);
	e->params.len = t->params.len - t->param_at[m->count - 1];
	t->texts += names;
}

/* ---- snapshot ---- */

static bool watched(const struct dir_watch *w, const struct dir_line *line)
{
	return line && (w->service.len == 0 || span_eq(buf_span(&w->service), line->service)) &&
	       directory_fits(line, span_str(w->session->vnet), buf_span(&w->where)) &&
	       permit_sees(w->session, line->service);
}

static void tell_service(struct telling *t, const struct dir_service *service, uint64_t revision)
{
	for (const struct dir_entry *e = service->first; e; e = e->next)
		if (watched(t->w, e->line))
			frame_add(t, CHANGE_JOINED, e->line, e->session->conn == NULL, e->in_flight, revision);
}

static void tell_snapshot(struct telling *t)
{
	struct directory *d = t->s->directory;
	t->begin = true;
	t->before = d->revision;
	if (t->w->service.len > 0) {
		const struct dir_service *service = directory_service(t->s, buf_span(&t->w->service));
		if (service)
			tell_service(t, service, d->revision);
	} else {
		for (uint32_t i = 0; i < d->hash_size; i++)
			for (const struct dir_service *service = d->hash[i]; service; service = service->next)
				tell_service(t, service, d->revision);
	}
	frame_send(t, true, d->revision);
	t->w->fresh = false;
}

/* ---- changes ---- */

static void tell_change(struct telling *t, uint64_t revision)
{
	const struct dir_change *c = &t->s->directory->changes[revision % CHANGES_KEPT];
	bool before = watched(t->w, c->before), after = watched(t->w, c->after);
	if (before && after)
		frame_add(t, CHANGE_CHANGED, c->after, c->away, 0, revision - 1);
	else if (after)
		frame_add(t, CHANGE_JOINED, c->after, c->away, 0, revision - 1);
	else if (before)
		frame_add(t, CHANGE_LEFT, c->before, false, 0, revision - 1);
}

static void tell(struct shard *s, struct dir_watch *w)
{
	struct directory *d = s->directory;
	struct telling t = { .s = s, .w = w, .before = w->told };
	frame_start(&t);
	if (w->fresh || w->seen < d->forgotten || d->revision - w->seen > CHANGES_KEPT) {
		tell_snapshot(&t);
	} else {
		for (uint64_t r = w->seen + 1; r <= d->revision; r++)
			tell_change(&t, r);
		if (frame_of(&t)->count > 0)
			frame_send(&t, false, d->revision);
	}
	w->told = t.before;
	w->seen = d->revision;
	buf_free(&t.params);
}

static void tell_and_end(struct shard *s, struct dir_watch *w)
{
	tell(s, w);
	if (w->once)
		directory_unwatch(w->session, w->id);
}

void directory_tell(struct shard *s)
{
	struct directory *d = s->directory;
	if (!d->watches_behind)
		return;
	d->watches_behind = false;
	for (struct dir_watch *w = d->watches, *next; w; w = next) {
		next = w->next;
		struct conn *c = w->session->conn;
		if (!c || c->closing || (!w->fresh && w->seen == d->revision))
			continue;
		if (conn_queued(c) > s->config.out_buffer_soft)
			d->watches_behind = true; /* seen again at the next turn that something causes */
		else
			tell_and_end(s, w);
	}
}

/* ---- who asks ---- */

enum err directory_watch(struct conn *c, const struct msg_watch *m, char text[128])
{
	struct shard *s = c->s;
	struct directory *d = s->directory;
	struct session *session = c->session;
	struct span where;
	uint32_t count = 0;
	for (const struct dir_watch *w = session->watches; w; w = w->session_next)
		count += w->id != m->watch;
	if (count >= SESSION_WATCHES || d->watch_count >= WATCHES_MAX) {
		(void)snprintf(text, 128, "WATCH: over %d of a session or %d of all", SESSION_WATCHES, WATCHES_MAX);
		return ERR_RESOURCE_EXHAUSTED;
	}
	char why[128];
	enum err e = directory_where(s, m->where, &where, why);
	if (e != ERR_OK) {
		(void)snprintf(text, 128, "WATCH.where: %.110s", why);
		return e;
	}
	directory_unwatch(session, m->watch);
	struct dir_watch *w = zalloc(sizeof *w);
	*w = (struct dir_watch){ .next = d->watches, .link = &d->watches, .session_next = session->watches, .session = session,
				 .id = m->watch, .fresh = true, .once = m->once };
	buf_append(&w->service, m->service.data, m->service.len);
	buf_append(&w->where, where.data, where.len);
	if (w->next)
		w->next->link = &w->next;
	d->watches = w;
	d->watch_count++;
	session->watches = w;
	if (conn_queued(c) > s->config.out_buffer_soft)
		d->watches_behind = true; /* its snapshot comes when there is room: many that are asked for at once are not all made now */
	else
		tell_and_end(s, w);       /* in the struct msg that *m was read into */
	return ERR_OK;
}

void directory_unwatch(struct session *session, uint32_t watch)
{
	struct dir_watch **at = &session->watches;
	while (*at && (*at)->id != watch)
		at = &(*at)->session_next;
	struct dir_watch *w = *at;
	if (!w)
		return;
	*at = w->session_next;
	watch_free(session->shard->directory, w);
}

void directory_unwatch_all(struct session *session)
{
	while (session->watches)
		directory_unwatch(session, session->watches->id);
}
