// wire/codec_worker.cc: blocks and workers in REQUEST.spec and REPLY.specs: a FlatBuffer of its own inside of them.
// In the flow: frame -> VERIFY -> administration, and back out. Invariants stand in codec.cc.
#include "codec_impl.hh"
extern "C" {
#include "check.h"
}

static_assert(int(hw::Signal_MAX) == int(SIGNAL_LAST), "the same values");
static_assert(int(hw::Verb_EntryRemove) == int(VERB_ENTRY_REMOVE), "the same values");

// ---------------------------------------------------------------- reading

static enum err read(const hw::BlockInfo *m, struct block_info *out, char *text)
{
	out->pattern = text_of(m->pattern());
	out->reason = text_of(m->reason());
	out->since_ms = m->since_ms();
	out->until_ms = m->until_ms();
	out->for_ms = m->for_ms();
	out->now = m->now();
	enum err e = check_length("BlockInfo.pattern", out->pattern, LIMIT_NAME_BYTES, text);
	return e == ERR_OK ? check_length("BlockInfo.reason", out->reason, LIMIT_REASON_BYTES, text) : e;
}

extern "C" enum err block_info_decode(struct span bytes, struct block_info *out, char text[128])
{
	return verify_and_read<hw::BlockInfo>(bytes, "BlockInfo", out, text, read);
}

static enum err read(const hw::WorkerShow *m, struct worker_show *out, char *)
{
	out->name = text_of(m->name());
	out->address = text_of(m->address());
	out->identity = text_of(m->identity());
	out->release = text_of(m->release());
	out->vnet = text_of(m->vnet());
	out->session = m->session();
	out->connected_ms = m->connected_ms();
	out->away = m->away();
	out->draining = m->draining();
	out->blocked = m->blocked();
	out->entries_total = m->entries_total();
	out->leased = m->leased();
	out->calls = m->calls();
	out->calls_made = m->calls_made();
	out->delivered_total = m->delivered_total();
	out->completed_total = m->completed_total();
	out->failed_total = m->failed_total();
	out->returned_total = m->returned_total();
	out->calls_total = m->calls_total();
	out->entries = nullptr;
	out->leases = nullptr;
	out->entry_count = m->entries() ? m->entries()->size() : 0;
	out->lease_count = m->leases() ? m->leases()->size() : 0;
	return ERR_OK;
}

extern "C" enum err worker_show_decode(struct span bytes, struct worker_show *out, char text[128])
{
	out->bytes = bytes;
	return verify_and_read<hw::WorkerShow>(bytes, "WorkerShow", out, text, read);
}

extern "C" void worker_show_entry(const struct worker_show *show, uint32_t index, struct worker_entry_info *out, struct span *texts)
{
	ENSURE(index < show->entry_count);
	const hw::WorkerEntry *from = fb::GetRoot<hw::WorkerShow>(show->bytes.data)->entries()->Get(index);
	uint32_t used = 0;
	if (!codec_entry_read(from->entry(), &out->entry, texts, &used))
		out->entry.vnet_count = out->entry.hot_count = 0; /* more than any session may have */
	out->calls = from->calls();
	out->tasks = from->tasks();
}

extern "C" void worker_show_lease(const struct worker_show *show, uint32_t index, struct worker_lease_info *out)
{
	ENSURE(index < show->lease_count);
	const hw::WorkerLease *from = fb::GetRoot<hw::WorkerShow>(show->bytes.data)->leases()->Get(index);
	*out = { from->task(), from->attempt(), text_of(from->queue()), from->started() };
}

// ---------------------------------------------------------------- writing

extern "C" void block_info_encode(struct buf *out, const struct block_info *info)
{
	heap memory;
	builder b(512, &memory);
	auto pattern = put_text(b, info->pattern);
	auto reason = put_text(b, info->reason);
	b.Finish(hw::CreateBlockInfo(b, pattern, reason, info->since_ms, info->until_ms, info->for_ms, info->now));
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}

static fb::Offset<hw::WorkerEntry> put(builder &b, const struct worker_entry_info *e)
{
	auto entry = codec_entry_put(b, &e->entry);
	return hw::CreateWorkerEntry(b, entry, e->calls, e->tasks);
}

static fb::Offset<hw::WorkerLease> put(builder &b, const struct worker_lease_info *l)
{
	auto queue = put_text(b, l->queue);
	return hw::CreateWorkerLease(b, l->task, l->attempt, queue, l->started);
}

extern "C" void worker_show_encode(struct buf *out, const struct worker_show *s)
{
	heap memory;
	builder b(4096, &memory);
	ENSURE(1 + 2 * (uint64_t)s->entry_count + s->lease_count <= LIMIT_FB_TABLES);
	auto entries = put_all<hw::WorkerEntry>(b, s->entries, s->entry_count, put);
	auto leases = put_all<hw::WorkerLease>(b, s->leases, s->lease_count, put);
	auto name = put_text(b, s->name);
	auto address = put_text(b, s->address);
	auto identity = put_text(b, s->identity);
	auto release = put_text(b, s->release);
	auto vnet = put_text(b, s->vnet);
	b.Finish(hw::CreateWorkerShow(b, name, address, identity, release, vnet, s->session, s->connected_ms, s->away, s->draining,
				      s->blocked, entries, s->entries_total, leases, s->leased, s->calls, s->calls_made,
				      s->delivered_total, s->completed_total, s->failed_total, s->returned_total, s->calls_total));
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}
