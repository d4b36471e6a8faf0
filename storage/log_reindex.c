/* storage/log_reindex.c: a sealed segment read by itself, and an index that was lost made anew from it.
 *
 * Data flow: checkpoint names a segment, its index cannot be read -> all its batches -> config.reindex -> seg-N.idx.
 *
 * 1. An index is made only from a segment that is intact from its first byte to the last that the checkpoint names. */
#include <errno.h>

#include "recover.h"

int sealed_batch(struct recovery *r, uint32_t segment, uint64_t offset, struct batch_head *last, struct span *body)
{
	struct batch_expect expect = { .store = r->log->store, .segment = segment, .offset = offset,
				       .prev = last->hash, .index = last->index, .term = last->term };
	struct batch_head head;
	struct span bytes;

	int res = window_get(&r->window, offset, DISK_BLOCK, &bytes);
	if (res < 0)
		return res == -ERANGE ? 0 : res;
	if (!batch_head_decode(bytes, &head))
		return 0;
	if (offset == 0) { /* the batch before is gone with its segment, perhaps */
		expect.prev = head.prev;
		expect.index = head.type == BATCH_MARK ? head.index : head.index - 1;
	}
	if (batch_classify(bytes, &expect, &head) != BATCH_GOOD)
		return 0;
	res = window_get(&r->window, offset, batch_disk_bytes(head.body_len), &bytes);
	if (res < 0)
		return res == -ERANGE ? 0 : res;
	*body = span_sub(bytes, BATCH_HEADER, head.body_len);
	*last = head;
	return batch_body_intact(&head, *body);
}

/* Every record of the segment. 1, 0 where it is damaged (*offset), or -errno. */
static int each_record(struct recovery *r, const struct checkpoint_segment *named, uint64_t *offset, uint64_t *records)
{
	const struct log_config *config = &r->log->config;
	struct batch_head head = { 0 };
	struct log_record record;
	struct span body;

	int res = window_open(&r->window, r->io, named->number);
	if (res < 0)
		return res;
	while (*offset < named->bytes) {
		size_t pos = 0;
		res = sealed_batch(r, named->number, *offset, &head, &body);
		if (res != 1)
			return res;
		while (head.type == BATCH_COMMAND && batch_next_record(&head, body, &pos, &record))
			config->reindex(config->ctx, named->number, &record, NULL);
		*records += head.records;
		*offset += batch_disk_bytes(head.body_len);
	}
	return 1;
}

enum err recovery_reindex(struct recovery *r, const struct checkpoint_segment *named, struct buf *index)
{
	struct log *log = r->log;
	char name[SEGMENT_NAME_MAX], why[128];
	uint64_t offset = 0, records = 0;

	(void)snprintf(why, sizeof why, "%.127s", r->text);
	index->len = 0;
	index_begin(index);
	int res = each_record(r, named, &offset, &records);
	log->config.reindex(log->config.ctx, named->number, NULL, index);
	index_end(index, log->store, named->number, named->bytes);
	if (res == 0) {
		(void)snprintf(r->text, 256, "%s, and segment %08x, which it could be made from, is damaged at offset %llu: "
			       "restore them from a backup", why, named->number, (unsigned long long)offset);
		return ERR_DAMAGED;
	}
	segment_name(name, named->number, "idx");
	if (res == 1)
		res = io_replace_file(r->io, name, buf_span(index));
	if (res < 0) {
		(void)snprintf(r->text, 256, "%s, and cannot be made anew from its segment: %s", why, strerror(-res));
		return errno_is_full(res) ? ERR_DISK_FULL : ERR_IO;
	}
	log_note(log, "%s: made anew from the %llu records of its segment", why, (unsigned long long)records);
	return ERR_OK;
}
