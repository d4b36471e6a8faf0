/* clientlib/bridge_entry.c: what is declared at one end of a bridge because it is there at the other. In the flow: CHANGES -> MIRROR ->
 * SERVE.
 *
 * 1. An entry at `to` has the id of exactly one mirror. It goes with the entry it stands for, also where that is only away.
 * 2. An entry that has been at `to`, by its bridge.via, never comes there: so it is nowhere twice by way of itself.
 * 3. One that cannot be declared (parameters too long, too many entries) is left out by itself: the set of all is never refused for it. */
#include "bridge_impl.h"

#define PARAM_ORIGIN "bridge.origin"
#define PARAM_VIA "bridge.via"

/* ---- where it comes from ---- */

static struct span store_name(uint64_t store, char room[20])
{
	(void)snprintf(room, 20, "%016llx", (unsigned long long)store);
	return span_str(room);
}

/* What it declares for itself: neither the broker's words nor those of a bridge. */
static bool is_own(struct span name)
{
	static const char *const prefixes[] = { PARAMS_BROKER, "bridge." };
	for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
		size_t len = strlen(prefixes[i]);
		if (name.len >= len && memcmp(name.data, prefixes[i], len) == 0)
			return false;
	}
	return true;
}

static void put_text(struct buf *out, const char *text)
{
	buf_append(out, text, strlen(text));
}

static void put_param(struct buf *out, struct span name, const struct param_value *value)
{
	put_text(out, out->len > 0 ? ", " : "");
	buf_append(out, name.data, name.len);
	put_text(out, "=");
	value_print(value, out);
}

/* Origin and way of the entry as it is declared at `to`. False: it has been there, or has come too far. */
static bool put_way(const struct hlk_bridge *b, struct span packed, const char *address, struct buf *out)
{
	struct param_value value, origin = { .kind = PARAM_STRING, .string = span_str(address) };
	char room[20], own[20];
	struct span to = store_name(b->to_store, room), store;
	uint32_t hops = 1;
	if (params_find(packed, span_str(PARAM_ORIGIN), &value) && value.kind == PARAM_STRING)
		origin = value;
	put_param(out, span_str(PARAM_ORIGIN), &origin);
	put_text(out, ", " PARAM_VIA "=[");
	if (params_find(packed, span_str(PARAM_VIA), &value) && value.kind == PARAM_STRINGS) {
		for (size_t at = 0; params_string(&value, &at, &store); hops++) {
			const struct param_value passed = { .kind = PARAM_STRING, .string = store };
			if (span_eq(store, to))
				return false;
			value_print(&passed, out);
			put_text(out, ", ");
		}
	}
	put_text(out, "\"");
	put_text(out, (const char *)store_name(b->from_store, own).data);
	put_text(out, "\"]");
	return hops <= BRIDGE_HOPS;
}

/* Its parameters at `to`, as text with a zero at the end. HLK_OK, HLK_AMBIGUOUS: it must not go there; else why it cannot. */
static int params_of(const struct hlk_bridge *b, const struct hlk_entry_row *row, struct buf *out, char text[128])
{
	struct buf packed = { NULL, 0, 0 };
	struct span name;
	struct param_value value;
	bool goes = false;
	enum err e = params_parse(span_of(row->params, MIN_OF(strlen(row->params), (size_t)LIMIT_PARAMS_TOLD)), &packed, text);
	if (e == ERR_OK) {
		for (size_t at = 0; params_next(buf_span(&packed), &at, &name, &value);)
			if (is_own(name))
				put_param(out, name, &value);
		goes = put_way(b, buf_span(&packed), row->address, out);
		packed.len = 0;
		if (goes) /* what would the broker say to it? */
			e = params_parse(buf_span(out), &packed, text);
	}
	buf_append(out, "", 1);
	buf_free(&packed);
	return e != ERR_OK ? (int)e : goes ? HLK_OK : HLK_AMBIGUOUS;
}

/* ---- mirrors ---- */

static struct mirror **place(struct hlk_bridge *b, const char *address)
{
	struct mirror **at = &b->mirrors;
	while (*at && strcmp((*at)->address, address) != 0)
		at = &(*at)->next;
	return at;
}

const struct mirror *mirror_of(const struct hlk_bridge *b, uint32_t entry)
{
	const struct mirror *m = b->mirrors;
	while (m && m->entry != entry)
		m = m->next;
	return m;
}

static void tell(struct hlk_bridge *b, enum hlk_bridge_kind kind, const struct mirror *m, const char *text)
{
	char other[HLK_ADDRESS_BYTES] = "";
	(void)hlk_address(b->to, m->entry, other);
	bridge_tell(b, &(struct hlk_bridge_note){ .kind = kind, .service = m->service, .address = m->address, .other = other, .text = text });
}

static void drop(struct hlk_bridge *b, struct mirror **at, const char *why)
{
	struct mirror *m = *at;
	*at = m->next;
	(void)hlk_unserve(b->to, m->entry);
	tell(b, HLK_BRIDGE_LEFT, m, why);
	free(m->service);
	free(m);
}

static void skip(struct hlk_bridge *b, const struct hlk_entry_row *row, int code, const char *text)
{
	bridge_tell(b, &(struct hlk_bridge_note){ .kind = HLK_BRIDGE_SKIPPED, .service = row->service, .address = row->address, .code = code,
						  .text = text });
}

static void declare(struct hlk_bridge *b, uint32_t watch, const struct hlk_entry_row *row, const struct hlk_serve_options *o,
		    struct mirror **at)
{
	uint32_t id;
	if (*at) {
		if (hlk_serve_describe(b->to, (*at)->entry, o) == HLK_OK) {
			(*at)->seen = true;
			return;
		}
		drop(b, at, "its description does not fit any more");
		skip(b, row, b->to->error.code, b->to->error.text);
		return;
	}
	if (hlk_serve(b->to, o, &id) != HLK_OK) {
		skip(b, row, b->to->error.code, b->to->error.text);
		return;
	}
	worker_entry(b->to, id)->bridged = true;
	struct mirror *m = calloc(1, sizeof *m);
	ENSURE(m != NULL && (m->service = strdup(row->service)) != NULL);
	m->watch = watch;
	m->entry = id;
	m->seen = true;
	(void)snprintf(m->address, sizeof m->address, "%s", row->address);
	m->next = b->mirrors;
	b->mirrors = m;
	tell(b, HLK_BRIDGE_JOINED, m, "");
}

/* An entry as it is now. */
static void put(struct hlk_bridge *b, uint32_t watch, const struct hlk_entry_row *row)
{
	struct mirror **at = place(b, row->address);
	struct buf params = { NULL, 0, 0 };
	char text[128] = "";
	int code = row->by_queue || row->away ? HLK_NOT_FOUND : params_of(b, row, &params, text);
	if (code == HLK_OK) {
		declare(b, watch, row, &(struct hlk_serve_options){
			.type = row->service, .params = (const char *)params.data, .capacity = row->capacity, .cost = row->cost,
			.hot = row->hot, .hot_count = row->hot_count, .call = passing_begin, .call_cancelled = passing_cancelled,
			.fetch = BRIDGE_FETCH,
			.ctx = b }, at);
	} else {
		if (*at)
			drop(b, at, row->away ? "its holder has lost its connection" : text);
		b->counts.looped_total += code == HLK_AMBIGUOUS;
		if (code != HLK_AMBIGUOUS && code != HLK_NOT_FOUND)
			skip(b, row, code, text);
	}
	buf_free(&params);
}

/* ---- watches ---- */

static void unseen_drop(struct hlk_bridge *b, uint32_t watch)
{
	for (struct mirror **at = &b->mirrors; *at;) {
		if ((*at)->watch == watch && !(*at)->seen)
			drop(b, at, "it has gone");
		else
			at = &(*at)->next;
	}
}

static void changed(struct hlk *c, uint32_t watch, enum hlk_change kind, const struct hlk_entry_row *row, void *ctx)
{
	struct hlk_bridge *b = ctx;
	struct mirror **at;
	switch (kind) {
	case HLK_CHANGE_RESET:
		for (struct mirror *m = b->mirrors; m; m = m->next)
			m->seen = m->seen && m->watch != watch;
		break;
	case HLK_CHANGE_JOINED:
	case HLK_CHANGE_CHANGED: put(b, watch, row); break;
	case HLK_CHANGE_SYNCED: unseen_drop(b, watch); break;
	case HLK_CHANGE_LEFT:
		at = place(b, row->address);
		if (*at)
			drop(b, at, "it has gone");
		break;
	case HLK_CHANGE_REFUSED:
	default:
		bridge_tell(b, &(struct hlk_bridge_note){ .kind = HLK_BRIDGE_REFUSED, .code = c->error.code, .text = c->error.text });
		break;
	}
}

int mirrors_begin(struct hlk_bridge *b)
{
	uint32_t count = MAX_OF(b->service_count, 1u);
	for (uint32_t i = 0; i < count; i++) {
		int code = hlk_directory_watch(b->from, b->services[i], b->where, changed, b, &b->watches[b->watch_count]);
		if (code != HLK_OK)
			return code;
		b->watch_count++;
	}
	return HLK_OK;
}

void mirrors_end(struct hlk_bridge *b)
{
	while (b->watch_count > 0)
		(void)hlk_directory_unwatch(b->from, b->watches[--b->watch_count]);
}

void mirrors_drop(struct hlk_bridge *b, const char *why)
{
	while (b->mirrors)
		drop(b, &b->mirrors, why);
}
