// wire/codec_directory.cc: the messages of the directory, and the entry that SERVE declares.
// In the flow: frame -> VERIFY -> session, and back out. Invariants stand in codec.cc.
#include "codec_impl.hh"

static_assert(int(hw::ChangeKind_MAX) == int(CHANGE_KINDS) - 1, "the same values");

// ---------------------------------------------------------------- entries

typedef fb::Vector<fb::Offset<fb::String>> names;

// The names of one list into what is left of `texts`. False where they have no room.
static bool read_names(const names *from, struct span *texts, uint32_t *used, const struct span **at, uint32_t *count)
{
	*at = texts + *used;
	*count = from ? from->size() : 0;
	if (*count > LIMIT_SERVE_TEXTS - *used)
		return false;
	for (uint32_t i = 0; i < *count; i++)
		texts[(*used)++] = text_of(from->Get(i));
	return true;
}

bool codec_entry_read(const hw::Entry *from, struct wire_entry *to, struct span *texts, uint32_t *used)
{
	to->id = from->id();
	to->service = text_of(from->service());
	to->by_queue = from->by_queue();
	to->credit = from->credit();
	to->params = text_of(from->params());
	to->capacity = from->capacity();
	to->cost = from->cost();
	return read_names(from->vnets(), texts, used, &to->vnets, &to->vnet_count) &&
	       read_names(from->hot(), texts, used, &to->hot, &to->hot_count);
}

static fb::Offset<names> put_names(builder &b, const struct span *at, uint32_t count)
{
	if (count == 0)
		return fb::Offset<names>();
	ENSURE(count <= LIMIT_ENTRY_TEXTS);
	text_at made[LIMIT_ENTRY_TEXTS];
	for (uint32_t i = 0; i < count; i++)
		made[i] = put_name(b, at[i]);
	return b.CreateVector(made, count);
}

fb::Offset<hw::Entry> codec_entry_put(builder &b, const struct wire_entry *e)
{
	auto service = put_name(b, e->service);
	auto params = put_text(b, e->params);
	auto vnets = put_names(b, e->vnets, e->vnet_count);
	auto hot = put_names(b, e->hot, e->hot_count);
	return hw::CreateEntry(b, e->id, service, e->by_queue, e->credit, params, vnets, e->capacity, e->cost, hot);
}

// ---------------------------------------------------------------- reading

static enum err read(const hw::Watch *m, struct msg_watch *out, char *)
{
	out->watch = m->watch();
	out->service = text_of(m->service());
	out->where = text_of(m->where());
	out->once = m->once();
	return ERR_OK;
}

static enum err read(const hw::Unwatch *m, struct msg_unwatch *out, char *)
{
	out->watch = m->watch();
	return ERR_OK;
}

static enum err read(const hw::Changes *m, struct msg_changes *out, char text[128])
{
	out->watch = m->watch();
	out->begin = m->begin();
	out->end = m->end();
	out->before = m->before();
	out->revision = m->revision();
	out->count = m->items() ? m->items()->size() : 0;
	if (out->count > LIMIT_CHANGES)
		return msg_refuse(text, ERR_TOO_BIG, "CHANGES.items: %u are over the limit of %u", out->count,
				  (unsigned)LIMIT_CHANGES);
	uint32_t used = 0;
	for (uint32_t i = 0; i < out->count; i++) {
		const hw::Change *from = m->items()->Get(i);
		struct wire_change *to = &out->items[i];
		to->kind = static_cast<uint8_t>(from->kind());
		to->session = from->session();
		to->client = text_of(from->client());
		to->away = from->away();
		to->busy = from->busy();
		if (!codec_entry_read(from->entry(), &to->entry, out->texts, &used))
			return msg_refuse(text, ERR_TOO_BIG, "CHANGES.items[%u]: more than %u vnets and hot names in all", i,
					  (unsigned)LIMIT_SERVE_TEXTS);
	}
	return ERR_OK;
}

static enum err read_kind(uint16_t kind, struct span meta, struct msg *out, char text[128])
{
	const char *name = frame_kind_name(kind);
	switch (kind) {
	case FRAME_WATCH: return verify_and_read<hw::Watch>(meta, name, &out->watch, text, read);
	case FRAME_UNWATCH: return verify_and_read<hw::Unwatch>(meta, name, &out->unwatch, text, read);
	case FRAME_CHANGES: return verify_and_read<hw::Changes>(meta, name, &out->changes, text, read);
	default: return unknown_kind(kind, text);
	}
}

// ---------------------------------------------------------------- writing

static void write(builder &b, const struct msg_watch *m)
{
	auto service = put_text(b, m->service);
	auto where = put_text(b, m->where);
	b.Finish(hw::CreateWatch(b, m->watch, service, where, m->once));
}

static void write(builder &b, const struct msg_changes *m)
{
	ENSURE(m->count <= LIMIT_CHANGES);
	fb::Offset<hw::Change> items[LIMIT_CHANGES];
	for (uint32_t i = 0; i < m->count; i++) {
		const struct wire_change *c = &m->items[i];
		auto entry = codec_entry_put(b, &c->entry);
		auto client = put_text(b, c->client);
		items[i] = hw::CreateChange(b, static_cast<hw::ChangeKind>(c->kind), c->session, entry, client, c->away, c->busy);
	}
	auto vector = b.CreateVector(items, m->count);
	b.Finish(hw::CreateChanges(b, m->watch, m->begin, m->end, m->before, m->revision, vector));
}

static void write_kind(builder &b, const struct msg *m)
{
	switch (m->kind) {
	case FRAME_WATCH: write(b, &m->watch); break;
	case FRAME_UNWATCH: b.Finish(hw::CreateUnwatch(b, m->unwatch.watch)); break;
	case FRAME_CHANGES: write(b, &m->changes); break;
	default: ENSURE(false); break;
	}
}

const struct codec_area codec_directory = { read_kind, write_kind };
