/* broker/part.c: which part of the shard a record and a section of the checkpoint belong to.
 *
 * 1. A record kind has one owner; kinds that nobody owns never reach the log.
 * 2. Sections are read in any order; a part without one starts empty; a section of an unknown part is a refusal, because leaving it
 *    out would lose what was confirmed. */
#include "part.h"

#include "admin_block.h"
#include "blob_desk.h"
#include "blocks.h"
#include "permit.h"

#include "sysevent.h"

#include "topics.h"

enum { PARTS_MAGIC = 0x504b4c48, PARTS_VERSION = 1 }; /* "HLKP" */

struct parts_head { uint32_t magic, version, count, pad; };
struct parts_entry { uint32_t id, pad; uint64_t bytes; };
_Static_assert(sizeof(struct parts_head) == 16 && sizeof(struct parts_entry) == 16, "on disk");

struct part {
	uint32_t id; /* on disk */
	const char *name;
	void (*checkpoint)(struct shard *s, struct buf *out);
	enum err (*restore)(struct shard *s, struct span section, char text[256]);
};

static void tasks_put(struct shard *s, struct buf *out) { tasks_checkpoint(s->tasks, out); }
static enum err tasks_get(struct shard *s, struct span section, char text[256]) { return tasks_restore(s->tasks, section, text); }
static void types_put(struct shard *s, struct buf *out) { types_checkpoint(s->types, out); }
static enum err types_get(struct shard *s, struct span section, char text[256]) { return types_restore(s->types, section, text); }
static void schedules_put(struct shard *s, struct buf *out) { schedules_checkpoint(s->schedules, out); }
static enum err schedules_get(struct shard *s, struct span section, char text[256])
{
	return schedules_restore(s->schedules, section, text);
}

static void redrives_put(struct shard *s, struct buf *out) { redrives_checkpoint(s->redrives, out); }
static enum err redrives_get(struct shard *s, struct span section, char text[256]) { return redrives_restore(s->redrives, section, text); }
static void blocks_put(struct shard *s, struct buf *out) { blocks_checkpoint(s->blocks, out); }
static enum err blocks_get(struct shard *s, struct span section, char text[256]) { return blocks_restore(s->blocks, section, text); }

static void topics_section(struct shard *s, struct buf *out) { topics_put(tasks_topics(s->tasks), out); }
static enum err topics_read(struct shard *s, struct span section, char text[256]) { return topics_get(s->tasks, section, text); }

static void access_put(struct shard *s, struct buf *out) { access_checkpoint(s->access, out); }
static enum err access_get(struct shard *s, struct span section, char text[256]) { return access_restore(s->access, section, text); }

static void blobs_put(struct shard *s, struct buf *out) { blobs_checkpoint(tasks_blobs(s->tasks), out); }
static enum err blobs_get(struct shard *s, struct span section, char text[256])
{
	return blobs_restore(tasks_blobs(s->tasks), section, text);
}

/* Topics name queues: they come behind the tasks. Topics and schedules hold blobs: those are in front. */
static const struct part parts[] = {
	{ 11, "blobs", blobs_put, blobs_get },
	{ 1, "tasks", tasks_put, tasks_get },
	{ 2, "types", types_put, types_get },
	{ 3, "topics", topics_section, topics_read },
	{ 4, "schedules", schedules_put, schedules_get },
	{ 8, "blocks", blocks_put, blocks_get },
	{ 10, "redrives", redrives_put, redrives_get },
	{ 9, "access", access_put, access_get },
};

void parts_apply(struct shard *s, const struct log_entry *entry, const struct log_record *record, bool live, struct applied *out)
{
	if (record->kind == REC_ACCESS) {
		*out = (struct applied){ .origin = APPLIED_ADMIN };
		access_apply(s->access, entry, record, out);
		if (live && s->live && out->code == ERR_OK)
			permit_changed(s, record);
		return;
	}
	if (record->kind != REC_TYPE && record->kind != REC_SCHEDULE && record->kind != REC_REDRIVES && record->kind != REC_BLOCK) {
		tasks_apply(s->tasks, entry, record, live, out);
		if (record->kind == REC_BLOB && live && s->live)
			blob_applied(s, record, out);
		return;
	}
	*out = (struct applied){ .origin = APPLIED_ADMIN };
	if (record->kind == REC_SCHEDULE) {
		schedules_apply(s->schedules, s->tasks, entry, record, out);
		return;
	}
	if (record->kind == REC_REDRIVES) {
		redrives_apply(s->redrives, s->tasks, entry, record, out);
		return;
	}
	if (record->kind == REC_BLOCK) {
		struct block_change changed;
		blocks_apply(s->blocks, record, out, &changed);
		if (live && s->live && out->code == ERR_OK)
			block_changed(s, &changed);
		return;
	}
	types_apply(s->types, entry, record, out);
	struct sys_text name;
	if (live && s->live && out->code == ERR_OK)
		sys_event(s, "type.changed", "\"type\":\"%s\"", sys_quote(&name, types_record_name(record)));
}

void parts_checkpoint(struct shard *s, struct buf *out)
{
	const struct parts_head head = { PARTS_MAGIC, PARTS_VERSION, COUNT_OF(parts), 0 };
	struct parts_entry entries[COUNT_OF(parts)];
	size_t start = out->len;
	buf_append(out, &head, sizeof head);
	(void)memset(buf_extend(out, sizeof entries), 0, sizeof entries);
	for (uint32_t i = 0; i < COUNT_OF(parts); i++) {
		size_t from = out->len;
		parts[i].checkpoint(s, out);
		entries[i] = (struct parts_entry){ parts[i].id, 0, out->len - from };
		size_t pad = align_up(out->len - start, 8) - (out->len - start);
		(void)memset(buf_extend(out, pad), 0, pad);
	}
	memcpy(out->data + start + sizeof head, entries, sizeof entries);
}

static enum err damaged(char text[256], const char *what)
{
	(void)snprintf(text, 256, "the checkpoint's list of parts: %s", what);
	return ERR_DAMAGED;
}

static const struct part *part_of(uint32_t id)
{
	for (uint32_t i = 0; i < COUNT_OF(parts); i++)
		if (parts[i].id == id)
			return &parts[i];
	return NULL;
}

enum err parts_restore(struct shard *s, struct span checkpoint, char text[256])
{
	struct reader r = { .rest = checkpoint };
	struct parts_head head;
	uint32_t seen = 0;
	read_into(&r, &head, sizeof head);
	if (r.failed || head.magic != PARTS_MAGIC)
		return tasks_restore(s->tasks, checkpoint, text);
	if (head.version != PARTS_VERSION)
		return damaged(text, "its version is not known here");
	struct reader entries = r;
	(void)read_bytes(&r, (size_t)head.count * sizeof(struct parts_entry));
	for (uint32_t i = 0; i < head.count; i++) {
		struct parts_entry entry;
		read_into(&entries, &entry, sizeof entry);
		const struct part *part = part_of(entry.id);
		struct span section = r.failed || entry.bytes > r.rest.len ? span_of(NULL, 0) : read_bytes(&r, entry.bytes);
		(void)read_bytes(&r, (8 - entry.bytes % 8) % 8);
		if (r.failed || section.len != entry.bytes)
			return damaged(text, "a section runs past the end");
		if (!part || (seen >> entry.id & 1) != 0)
			return damaged(text, part ? "a part is there twice" : "a part is not known here");
		seen |= 1u << entry.id;
		enum err e = part->restore(s, section, text);
		if (e != ERR_OK)
			return e;
	}
	return r.rest.len == 0 ? ERR_OK : damaged(text, "there are more bytes");
}
