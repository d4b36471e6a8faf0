/* broker/directory.c: entries: declared with the session, replaced as a set, indexed by service. The contract and the invariants stand
 * in directory.h. */
#include "directory.h"
#include "usage.h"

#include "call.h"
#include "sysevent.h"

enum { ENTRIES_MAX = 65536, BYTES_MAX = 48 << 20 };

struct directory *directory_new(struct shard *s)
{
	struct directory *d = zalloc(sizeof *d);
	d->s = s;
	d->hash_size = 256;
	d->hash = zalloc(sizeof(struct dir_service *) * d->hash_size);
	return d;
}

/* ---- lines ---- */

static void line_unref(struct directory *d, struct dir_line *line)
{
	if (!line || --line->refs > 0)
		return;
	ENSURE(d->bytes >= line->bytes);
	d->bytes -= line->bytes;
	free(line);
}

static size_t names_bytes(const struct span *names, uint32_t count)
{
	size_t bytes = count * sizeof(struct span);
	for (uint32_t i = 0; i < count; i++)
		bytes += names[i].len;
	return bytes;
}

static struct span put_bytes(uint8_t **at, struct span bytes)
{
	struct span out = span_of(*at, bytes.len);
	if (bytes.len > 0)
		memcpy(*at, bytes.data, bytes.len);
	*at += bytes.len;
	return out;
}

static struct dir_line *line_new(struct directory *d, const struct session *session, const struct wire_entry *e, struct span params)
{
	struct span client = span_str(session->client), own = span_str(session->vnet);
	const struct span *vnets = e->vnet_count ? e->vnets : &own;
	uint32_t vnet_count = e->vnet_count ? e->vnet_count : 1;
	size_t bytes = sizeof(struct dir_line) + e->service.len + client.len + params.len + names_bytes(vnets, vnet_count) +
		       names_bytes(e->hot, e->hot_count);
	struct dir_line *line = zalloc(bytes);
	*line = (struct dir_line){ .refs = 1, .id = e->id, .capacity = e->capacity ? e->capacity : ENTRY_CAPACITY, .cost = e->cost,
				   .vnet_count = vnet_count, .hot_count = e->hot_count, .session = session->number, .bytes = bytes,
				   .by_queue = e->by_queue };
	line->vnets = (struct span *)(void *)(line + 1);
	line->hot = line->vnets + vnet_count;
	uint8_t *at = (uint8_t *)(line->hot + e->hot_count);
	for (uint32_t i = 0; i < vnet_count; i++)
		line->vnets[i] = put_bytes(&at, vnets[i]);
	for (uint32_t i = 0; i < e->hot_count; i++)
		line->hot[i] = put_bytes(&at, e->hot[i]);
	line->service = put_bytes(&at, e->service);
	line->client = put_bytes(&at, client);
	line->params = put_bytes(&at, params);
	d->bytes += bytes;
	return line;
}

static bool names_same(const struct span *a, const struct span *b, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (!span_eq(a[i], b[i]))
			return false;
	return true;
}

static bool line_same(const struct dir_line *a, const struct dir_line *b)
{
	return a->capacity == b->capacity && a->cost == b->cost && a->by_queue == b->by_queue && a->vnet_count == b->vnet_count &&
	       a->hot_count == b->hot_count && span_eq(a->service, b->service) && span_eq(a->client, b->client) &&
	       span_eq(a->params, b->params) && names_same(a->vnets, b->vnets, a->vnet_count) &&
	       names_same(a->hot, b->hot, a->hot_count);
}

bool directory_fits(const struct dir_line *line, struct span vnet, struct span where)
{
	for (uint32_t i = 0; i < line->vnet_count; i++)
		if (span_eq(line->vnets[i], vnet))
			return predicate_holds(where, line->params);
	return false;
}

enum err directory_where(struct shard *s, struct span text_form, struct span *out, char text[128])
{
	struct directory *d = s->directory;
	if (!span_eq(buf_span(&d->where_text), text_form)) {
		struct buf packed = { NULL, 0, 0 };
		enum err e = predicate_parse(text_form, &packed, text);
		if (e != ERR_OK) {
			buf_free(&packed); /* empty, but it may have grown */
			return e;
		}
		buf_free(&d->where);
		d->where = packed;
		d->where_text.len = 0;
		buf_append(&d->where_text, text_form.data, text_form.len);
	}
	*out = buf_span(&d->where);
	return ERR_OK;
}

/* ---- services ---- */

static struct dir_service **service_slot(struct directory *d, struct span name)
{
	uint64_t h = d->s->hash_seed;
	for (size_t i = 0; i < name.len; i++)
		h = (h ^ name.data[i]) * 0x100000001b3u;
	h ^= h >> 32;
	struct dir_service **at = &d->hash[h & (d->hash_size - 1)];
	while (*at && !span_eq((*at)->name, name))
		at = &(*at)->next;
	return at;
}

struct dir_service *directory_service(struct shard *s, struct span name)
{
	return *service_slot(s->directory, name);
}

static void services_grow(struct directory *d)
{
	struct dir_service **old = d->hash;
	uint32_t size = d->hash_size;
	d->hash_size *= 2;
	d->hash = zalloc(sizeof(struct dir_service *) * d->hash_size);
	for (uint32_t i = 0; i < size; i++) {
		while (old[i]) {
			struct dir_service *service = old[i];
			old[i] = service->next;
			service->next = NULL;
			*service_slot(d, service->name) = service;
		}
	}
	free(old);
}

struct dir_service *directory_service_get(struct shard *s, struct span name)
{
	struct directory *d = s->directory;
	struct dir_service **at = service_slot(d, name);
	if (*at)
		return *at;
	struct dir_service *service = zalloc(sizeof *service + name.len);
	memcpy(service->bytes, name.data, name.len);
	service->name = span_of(service->bytes, name.len);
	service->tail = &service->first;
	service->room_tail = &service->room;
	*at = service;
	if (++d->service_count > d->hash_size)
		services_grow(d);
	return service;
}

void directory_service_drop(struct shard *s, struct dir_service *service)
{
	struct directory *d = s->directory;
	if (service->first || service->bindings || service->line)
		return;
	*service_slot(d, service->name) = service->next;
	d->service_count--;
	free(service);
}

static void entry_unlink(struct dir_entry *e)
{
	*e->link = e->next;
	if (e->next)
		e->next->link = e->link;
	else
		e->service->tail = e->link;
}

static void entry_link(struct dir_entry *e)
{
	e->next = NULL;
	e->link = e->service->tail;
	*e->link = e;
	e->service->tail = &e->next;
}

static void room_unlink(struct dir_entry *e)
{
	if (!e->room_link)
		return;
	*e->room_link = e->room_next;
	if (e->room_next)
		e->room_next->room_link = e->room_link;
	else
		e->service->room_tail = e->room_link;
	e->room_link = NULL;
}

void directory_room(struct dir_entry *e)
{
	if (e->in_flight >= e->line->capacity) {
		room_unlink(e);
	} else if (!e->room_link) {
		e->room_next = NULL;
		e->room_link = e->service->room_tail;
		*e->room_link = e;
		e->service->room_tail = &e->room_next;
	}
}

void directory_rotate(struct dir_entry *e)
{
	room_unlink(e);
	directory_room(e);
}

/* ---- changes ---- */

/* Takes a reference to each of the two. */
static void change(struct directory *d, struct dir_line *before, struct dir_line *after, bool away)
{
	struct dir_change *c = &d->changes[++d->revision % CHANGES_KEPT];
	line_unref(d, c->before);
	line_unref(d, c->after);
	*c = (struct dir_change){ before, after, away };
	if (before)
		before->refs++;
	if (after)
		after->refs++;
	d->watches_behind = d->watch_count > 0;
	d->bindings_due = d->binding_count > 0;
}

/* Watches that have not seen all of it get a snapshot. */
static void changes_forget(struct directory *d)
{
	for (uint32_t i = 0; i < CHANGES_KEPT; i++) {
		line_unref(d, d->changes[i].before);
		line_unref(d, d->changes[i].after);
		d->changes[i] = (struct dir_change){ NULL, NULL, false };
	}
	d->forgotten = d->revision;
}

/* ---- entries ---- */

static struct dir_entry *entry_add(struct directory *d, struct session *session, struct dir_line *line)
{
	struct dir_entry *e = zalloc(sizeof *e);
	e->session = session;
	e->line = line;
	e->service = directory_service_get(d->s, line->service);
	entry_link(e);
	directory_room(e);
	e->service->count++;
	d->entry_count++;
	usage_entries(session, 1);
	change(d, NULL, line, session->conn == NULL);
	return e;
}

/* It is in no list of its session any more. */
static void entry_remove(struct directory *d, struct dir_entry *e, const char *why)
{
	struct dir_service *service = e->service;
	entry_unlink(e);
	service->count--;
	d->entry_count--;
	usage_entries(e->session, -1);
	change(d, e->line, NULL, false);
	calls_lost(d->s, e, why);
	calls_changed(d->s);
	room_unlink(e);
	line_unref(d, e->line);
	free(e);
	directory_service_drop(d->s, service);
}

struct dir_entry *directory_entry(struct session *session, uint32_t id)
{
	struct dir_entry *e = session->entries;
	while (e && e->line->id != id)
		e = e->session_next;
	return e;
}

static struct dir_entry *entry_take(struct session *session, uint32_t id)
{
	struct dir_entry **at = &session->entries;
	while (*at && (*at)->line->id != id)
		at = &(*at)->session_next;
	struct dir_entry *e = *at;
	if (e)
		*at = e->session_next;
	return e;
}

/* The entry of the new set for this line: the old one where it is about the same, with the calls it has in work. */
static struct dir_entry *entry_declare(struct directory *d, struct session *session, struct dir_line *line)
{
	struct dir_entry *e = entry_take(session, line->id);
	if (e && line_same(e->line, line)) {
		line_unref(d, line);
		return e;
	}
	if (e && span_eq(e->line->service, line->service)) {
		change(d, e->line, line, session->conn == NULL);
		line_unref(d, e->line);
		e->line = line;
		directory_room(e);
		return e;
	}
	if (e)
		entry_remove(d, e, "its holder has withdrawn the entry");
	return entry_add(d, session, line);
}

enum err directory_params(const struct session *session, struct span params, struct buf *out, char text[128])
{
	size_t begin = out->len;
	enum err e = params_parse(params, out, text);
	if (e != ERR_OK)
		return e;
	if (params_are_brokers(span_sub(buf_span(out), begin, out->len - begin))) {
		(void)snprintf(text, 128, "params: names that begin with " PARAMS_BROKER " are the broker's");
		return ERR_INVALID_INPUT;
	}
	if (session->identity)
		params_insert(out, begin, span_str(PARAMS_IDENTITY), span_str(session->identity));
	return ERR_OK;
}

static enum err params_pack(struct directory *d, const struct session *session, const
			     struct msg_serve *m, size_t *ends, size_t *bytes, char text[128])
{
	d->packed.len = 0;
	*bytes = 0;
	for (uint32_t i = 0; i < m->count; i++) {
		const struct wire_entry *e = &m->entries[i];
		char why[128];
		enum err code = directory_params(session, e->params, &d->packed, why);
		if (code != ERR_OK) {
			(void)snprintf(text, 128, "SERVE.entries[%u].%.100s", i, why);
			return code;
		}
		ends[i] = d->packed.len;
		*bytes += sizeof(struct dir_line) + 2 * LIMIT_NAME_BYTES + e->service.len + names_bytes(e->vnets, e->vnet_count) +
			  names_bytes(e->hot, e->hot_count);
	}
	*bytes += d->packed.len;
	return ERR_OK;
}

enum err directory_serve(struct session *session, const struct msg_serve *m, char text[128])
{
	struct shard *s = session->conn->s;
	struct directory *d = s->directory;
	size_t ends[LIMIT_SESSION_ENTRIES], bytes;
	enum err code = params_pack(d, session, m, ends, &bytes, text);
	if (code != ERR_OK)
		return code;
	if (!usage_may_serve(session, m->count, text))
		return ERR_RESOURCE_EXHAUSTED;
	if (d->bytes + bytes > BYTES_MAX)
		changes_forget(d); /* what was must not keep out what is */
	if (d->entry_count + m->count > ENTRIES_MAX + session->entry_count || d->bytes + bytes > BYTES_MAX) {
		(void)snprintf(text, 128, "SERVE.entries: the directory is full (%u entries, %zu bytes)", d->entry_count, d->bytes);
		return ERR_RESOURCE_EXHAUSTED;
	}
	bool first = session->entries == NULL && m->count > 0;
	struct dir_entry *declared = NULL, **tail = &declared;
	for (uint32_t i = 0; i < m->count; i++) {
		size_t from = i ? ends[i - 1] : 0;
		struct span params = span_sub(buf_span(&d->packed), from, ends[i] - from);
		*tail = entry_declare(d, session, line_new(d, session, &m->entries[i], params));
		tail = &(*tail)->session_next;
		*tail = NULL;
	}
	while (session->entries) {
		struct dir_entry *e = session->entries;
		session->entries = e->session_next;
		entry_remove(d, e, "its holder has withdrawn the entry");
	}
	session->entries = declared;
	session->entry_count = m->count;
	calls_changed(s);
	struct sys_text name;
	if (first)
		sys_event(s, "worker.joined", "\"worker\":\"%s\",\"entries\":%u", sys_quote(&name, span_str(session->client)), m->count);
	return ERR_OK;
}

uint32_t directory_withdraw(struct session *session, struct span service, struct span where, const char *why)
{
	struct dir_entry **at = &session->entries;
	uint32_t count = 0;
	while (*at) {
		struct dir_entry *e = *at;
		if ((service.len > 0 && !span_eq(e->line->service, service)) || !predicate_holds(where, e->line->params)) {
			at = &e->session_next;
			continue;
		}
		*at = e->session_next;
		deliver_withdraw_one(session->shard, session, e->line->id);
		entry_remove(session->shard->directory, e, why);
		session->entry_count--;
		count++;
	}
	return count;
}

/* ---- sessions ---- */

void directory_begin(struct shard *s, struct session *session)
{
	struct directory *d = s->directory;
	session->number = (uint64_t)s->epoch << 32 | ++d->counter;
	ENSURE(d->counter < UINT32_MAX); /* 136 years of a new session each second; a restart begins anew */
	map64_add(&d->sessions, session->number, (uint64_t)(uintptr_t)session, &d->map_memory);
}

struct session *directory_session(struct shard *s, uint64_t number)
{
	const struct map64_slot *slot = number ? map64_find(&s->directory->sessions, number) : NULL;
	return slot ? (struct session *)(uintptr_t)slot->value : NULL;
}

void directory_away(struct session *session, bool away)
{
	struct shard *s = session->shard;
	for (struct dir_entry *e = session->entries; e; e = e->session_next) {
		change(s->directory, e->line, e->line, away);
		if (away)
			calls_lost(s, e, "the connection of its holder is lost; it may have been carried out");
	}
	calls_changed(s);
}

void directory_end(struct session *session)
{
	struct shard *s = session->shard;
	struct sys_text name;
	if (session->entries)
		sys_event(s, "worker.left", "\"worker\":\"%s\"", sys_quote(&name, span_str(session->client)));
	directory_unwatch_all(session);
	while (session->entries) {
		struct dir_entry *e = session->entries;
		session->entries = e->session_next;
		entry_remove(s->directory, e, "its holder has gone; it may have been carried out");
	}
	session->entry_count = 0;
	map64_remove(&s->directory->sessions, map64_find(&s->directory->sessions, session->number));
}

void directory_free(struct directory *d)
{
	changes_forget(d);
	ENSURE(d->entry_count == 0 && d->bytes == 0 && d->service_count == 0); /* no entry outlives its session */
	map64_free(&d->sessions, &d->map_memory);
	buf_free(&d->packed);
	buf_free(&d->where_text);
	buf_free(&d->where);
	free(d->hash);
	free(d);
}

uint64_t directory_memory(const struct directory *d)
{
	return d->bytes + d->map_memory + (uint64_t)d->entry_count * sizeof(struct dir_entry);
}
