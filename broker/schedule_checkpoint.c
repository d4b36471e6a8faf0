/* broker/schedule_checkpoint.c: the schedules' section of the checkpoint. In the flow: log -> CHECKPOINT; start -> RESTORE.
 *
 * Restore trusts no number in the bytes: each schedule is judged as one that is added. */
#include "schedule_impl.h"

enum { SECTION_VERSION = 1 };

struct section_head { uint32_t version, count; uint64_t sequence; };
struct section_item {
	uint64_t created_ms, next_ms, last_ms, last_task, fired_total, skipped_total;
	uint32_t spec_size;
	uint16_t last_code;
	uint8_t name_size, paused;
};
_Static_assert(sizeof(struct section_head) == 16 && sizeof(struct section_item) == 56, "on disk");

void schedules_checkpoint(const struct schedules *s, struct buf *out)
{
	const struct section_head head = { SECTION_VERSION, s->count, s->sequence };
	buf_append(out, &head, sizeof head);
	for (uint32_t i = 0; i < s->count; i++) {
		const struct schedule *x = s->all[i];
		const struct section_item item = { x->info.created_ms, x->info.next_ms, x->info.last_ms, x->info.last_task,
						   x->info.fired_total, x->info.skipped_total, (uint32_t)x->spec.len,
						   x->info.last_code, (uint8_t)strlen(x->name), x->info.paused };
		buf_append(out, &item, sizeof item);
		buf_append(out, x->spec.data, x->spec.len);
		buf_append(out, x->name, item.name_size);
	}
}

static bool get_item(struct schedules *s, struct reader *r)
{
	struct section_item item;
	struct schedule *x;
	char text[256];
	read_into(r, &item, sizeof item);
	struct span spec = read_bytes(r, item.spec_size), name = read_bytes(r, item.name_size);
	/* One that fires once and has fired was due after it was created, and is never due again. */
	if (r->failed || item.paused > 1 || schedule_judge(s, name, spec, item.created_ms, &x, text) != ERR_OK)
		return false;
	x->info.next_ms = item.next_ms;
	x->info.last_ms = item.last_ms;
	x->info.last_task = item.last_task;
	x->info.fired_total = item.fired_total;
	x->info.skipped_total = item.skipped_total;
	x->info.last_code = item.last_code;
	x->info.paused = item.paused;
	schedule_insert(s, x);
	return true;
}

enum err schedules_restore(struct schedules *s, struct span section, char text[256])
{
	struct reader r = { .rest = section };
	struct section_head head;
	read_into(&r, &head, sizeof head);
	bool good = !r.failed && head.version == SECTION_VERSION && head.count <= SCHEDULES_MAX;
	ENSURE(s->count == 0);
	for (uint32_t i = 0; good && i < head.count; i++)
		good = get_item(s, &r);
	s->sequence = head.sequence;
	if (good && r.rest.len == 0)
		return ERR_OK;
	return schedule_refuse(text, ERR_DAMAGED, "the checkpoint of schedules does not fit at byte %zu", section.len - r.rest.len);
}
