/* clientlib/directory.c: who is there: one look, or a watch. In the flow: hlk_directory_* -> WATCH -> broker -> CHANGES -> callback.
 *
 * 1. A watch is asked for again after every reconnect; it begins with a snapshot, so nothing that changed meanwhile is missed.
 * 2. The revision each frame goes on from must be the one we have: a gap asks for a new snapshot. */
#include "client_impl.h"

struct watch {
	struct watch *next;
	uint32_t id;
	char *service, *where;
	hlk_change_fn *fn;
	void *ctx;
	uint64_t revision;
	uint32_t correlation;
	bool asked, once, done, gone;
	int code;
	char text[256];
};

static const char *text_of(struct span s)
{
	return s.data ? (const char *)s.data : "";
}

static void ask(struct hlk *c, struct watch *w)
{
	struct msg *msg = calloc(1, sizeof *msg);
	ENSURE(msg != NULL);
	msg->kind = FRAME_WATCH;
	msg->watch = (struct msg_watch){ .watch = w->id, .service = span_str(w->service), .where = span_str(w->where), .once = w->once };
	w->correlation = client_correlation(c);
	w->asked = true;
	session_send(c, msg, w->correlation);
	free(msg);
}

static void watch_free(struct hlk *c, struct watch *w)
{
	struct watch **at = &c->directory.watches;
	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	free(w->service);
	free(w->where);
	free(w);
}

void directory_flush(struct hlk *c)
{
	if (!net_ready(c))
		return;
	for (struct watch *w = c->directory.watches, *next; w; w = next) {
		next = w->next;
		if (w->gone) {
			const struct msg msg = { .kind = FRAME_UNWATCH, .unwatch = { .watch = w->id } };
			if (w->asked)
				session_send(c, &msg, 0);
			watch_free(c, w);
		} else if (!w->asked && !w->done) {
			ask(c, w);
		}
	}
}

void directory_down(struct hlk *c)
{
	for (struct watch *w = c->directory.watches; w; w = w->next)
		w->asked = false;
}

static void row_of(struct hlk *c, const struct wire_change *item, char *address, const char **names, struct hlk_entry_row *row)
{
	const struct wire_entry *e = &item->entry;
	for (uint32_t i = 0; i < e->vnet_count; i++)
		names[i] = text_of(e->vnets[i]);
	for (uint32_t i = 0; i < e->hot_count; i++)
		names[e->vnet_count + i] = text_of(e->hot[i]);
	address_print(&(struct address){ span_str(c->session.node), item->session, e->id }, address, HLK_ADDRESS_BYTES);
	*row = (struct hlk_entry_row){ .service = text_of(e->service), .params = text_of(e->params), .client = text_of(item->client),
				       .address = address, .vnets = names, .vnet_count = e->vnet_count, .hot = names + e->vnet_count,
				       .hot_count = e->hot_count, .capacity = e->capacity, .cost = e->cost, .busy = item->busy,
				       .by_queue = e->by_queue, .away = item->away };
}

void directory_changes(struct hlk *c, const struct msg_changes *m)
{
	static const enum hlk_change kinds[] = { [CHANGE_JOINED] = HLK_CHANGE_JOINED, [CHANGE_CHANGED] = HLK_CHANGE_CHANGED,
						 [CHANGE_LEFT] = HLK_CHANGE_LEFT };
	struct watch *w = c->directory.watches;
	while (w && (w->id != m->watch || !w->asked))
		w = w->next;
	if (!w || w->gone)
		return;
	if (!m->begin && m->before != w->revision) {
		w->asked = false; /* a gap: a new snapshot */
		return;
	}
	struct hlk_entry_row row;
	char address[HLK_ADDRESS_BYTES];
	const char *names[2 * LIMIT_ENTRY_TEXTS];
	w->revision = m->revision;
	if (m->begin && !w->once)
		w->fn(c, w->id, HLK_CHANGE_RESET, NULL, w->ctx);
	for (uint32_t i = 0; i < m->count && !w->gone; i++) {
		row_of(c, &m->items[i], address, names, &row);
		w->fn(c, w->id, kinds[m->items[i].kind], &row, w->ctx);
	}
	w->done = w->done || (w->once && m->end);
	if (m->end && !w->once && !w->gone)
		w->fn(c, w->id, HLK_CHANGE_SYNCED, NULL, w->ctx);
}

bool directory_refused(struct hlk *c, uint32_t correlation, int code, struct span text)
{
	struct watch *w = c->directory.watches;
	while (w && (!w->asked || w->correlation != correlation))
		w = w->next;
	if (!w)
		return false;
	w->done = true;
	w->code = code;
	(void)snprintf(w->text, sizeof w->text, "%.*s", (int)MIN_OF(text.len, 250u), (const char *)text.data);
	if (!w->once) {
		(void)error_set(c, code, "directory watch: %s", w->text);
		w->fn(c, w->id, HLK_CHANGE_REFUSED, NULL, w->ctx);
	}
	return true;
}

static int watch_new(struct hlk *c, const char *service, const char *where, struct watch **out)
{
	if ((service && strlen(service) > LIMIT_NAME_BYTES) || (where && strlen(where) > LIMIT_PREDICATE_BYTES))
		return error_set(c, HLK_TOO_BIG, "directory: the service or the predicate is too long");
	struct watch *w = calloc(1, sizeof *w);
	ENSURE(w != NULL);
	w->id = ++c->directory.last;
	w->service = strdup(service ? service : "");
	w->where = strdup(where ? where : "");
	ENSURE(w->service && w->where);
	w->next = c->directory.watches;
	c->directory.watches = w;
	*out = w;
	return HLK_OK;
}

int hlk_directory_watch(struct hlk *c, const char *service, const char *where, hlk_change_fn *fn, void *ctx, uint32_t *watch_out)
{
	struct watch *w;
	int code = watch_new(c, service, where, &w);
	if (code != HLK_OK)
		return code;
	w->fn = fn;
	w->ctx = ctx;
	if (watch_out)
		*watch_out = w->id;
	client_touch(c);
	return HLK_OK;
}

int hlk_directory_unwatch(struct hlk *c, uint32_t watch)
{
	struct watch *w = c->directory.watches;
	while (w && (w->id != watch || w->gone))
		w = w->next;
	if (!w)
		return error_set(c, HLK_NOT_FOUND, "directory: no watch %u", watch);
	w->gone = true;
	client_touch(c);
	return HLK_OK;
}

struct listing { hlk_entry_fn *each; void *ctx; };

static void list_row(struct hlk *c, uint32_t watch, enum hlk_change kind, const struct hlk_entry_row *row, void *ctx)
{
	const struct listing *listing = ctx;
	(void)c;
	(void)watch;
	if (kind == HLK_CHANGE_JOINED)
		listing->each(row, listing->ctx);
}

int hlk_directory_list(struct hlk *c, const char *service, const char *where, hlk_entry_fn *each, void *ctx)
{
	struct listing listing = { each, ctx };
	struct watch *w;
	int code = client_may_block(c);
	if (code == HLK_OK)
		code = watch_new(c, service, where, &w);
	if (code != HLK_OK)
		return code;
	w->once = true;
	w->fn = list_row;
	w->ctx = &listing;
	int64_t deadline = client_deadline(c, c->timeout_ms);
	while (code == HLK_OK && !w->done)
		code = c->session.refused_code ? error_set(c, c->session.refused_code, "%s", c->session.last_text)
					       : client_wait(c, deadline);
	if (w->code)
		code = error_set(c, w->code, "directory: %s", w->text);
	watch_free(c, w);
	return code;
}

void directory_close(struct hlk *c)
{
	while (c->directory.watches)
		watch_free(c, c->directory.watches);
}

int hlk_address(const struct hlk *c, uint32_t entry, char out[HLK_ADDRESS_BYTES])
{
	if (!c->session.address)
		return HLK_NOT_FOUND;
	address_print(&(struct address){ span_str(c->session.node), c->session.address, entry }, out, HLK_ADDRESS_BYTES);
	return HLK_OK;
}
