/* fuzz/fuzz_msg.c: any bytes as a message.
 *
 * Input: kind u16, share u16 (how much of the rest is the meta part, in 1/65536), then the two parts. Properties:
 * what decodes, encodes again, decodes again and says the same; a refusal has a text. A wrong checksum is the last
 * thing found, so a message refused for that alone is used as well, as the encoder computes its own. */
#include "msg_equal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Memory that the message under test borrows; aligned as a receive buffer is. */
struct parts {
	struct buf bytes;
	struct frame frame;
};

static bool parts_fill(struct parts *p, const uint8_t *data, size_t size)
{
	uint16_t kind, share;
	if (size < 4)
		return false;
	memcpy(&kind, data, 2);
	memcpy(&share, data + 2, 2);
	size_t meta = ((size - 4) * share / 65535) & ~(size_t)7;
	size_t begin = frame_begin(&p->bytes, (enum frame_kind)kind, 0);
	buf_append(&p->bytes, data + 4, meta);
	frame_meta_done(&p->bytes, begin);
	buf_append(&p->bytes, data + 4 + meta, size - 4 - meta);
	frame_end(&p->bytes, begin);
	size_t used = 0, need = 0;
	char text[128];
	return frame_decode(buf_span(&p->bytes), LIMIT_FRAME_BYTES, &p->frame, &used, &need, text) == ERR_OK;
}

static uint32_t payload_bytes(const struct msg *m)
{
	uint32_t bytes = 0;
	if (m->kind == FRAME_SUBMIT)
		for (uint32_t i = 0; i < m->submit.sizes.count; i++)
			bytes += m->submit.sizes.at[i];
	else if (m->kind == FRAME_DELIVER)
		for (uint32_t i = 0; i < m->deliver.count; i++)
			bytes += m->deliver.items[i].size;
	else if (m->kind == FRAME_REPORT)
		for (uint32_t i = 0; i < m->report.count; i++)
			bytes += m->report.items[i].size;
	else if (m->kind == FRAME_UPDATES)
		for (uint32_t i = 0; i < m->updates.count; i++)
			bytes += m->updates.items[i].size;
	else if (m->kind == FRAME_PUBLISH)
		for (uint32_t i = 0; i < m->publish.sizes.count; i++)
			bytes += m->publish.sizes.at[i];
	else if (m->kind == FRAME_EVENTS)
		for (uint32_t i = 0; i < m->events.sizes.count; i++)
			bytes += m->events.sizes.at[i];
	else if (m->kind == FRAME_RESULTS)
		for (uint32_t i = 0; i < m->results.count; i++)
			bytes += m->results.items[i].size;
	else if (m->kind == FRAME_BLOB_CHUNK)
		bytes = m->blob_chunk.size;
	else if (m->kind == FRAME_BLOB_DATA)
		bytes = m->blob_data.size;
	else if (m->kind == FRAME_CALL)
		for (uint32_t i = 0; i < m->call.sizes.count; i++)
			bytes += m->call.sizes.at[i];
	else if (m->kind == FRAME_INVOKE)
		for (uint32_t i = 0; i < m->invoke.count; i++)
			bytes += m->invoke.items[i].size;
	else if (m->kind == FRAME_ANSWER)
		for (uint32_t i = 0; i < m->answer.count; i++)
			bytes += m->answer.items[i].size;
	return bytes;
}

/* The arrays an encoder wants, read from a decoded Reply. */
struct reply_items {
	struct task_info *tasks;
	struct queue_info *queues;
	struct worker_info *workers;
	struct topic_info *topics;
	struct stat_item *stats;
	struct span *specs;
};

static void *items_new(uint32_t count, size_t size)
{
	void *at = calloc(size_add(count, 1), size);
	ENSURE(at != NULL);
	return at;
}

/* Fills them; returns about how many bytes they are. Offsets may be shared, so that can be more than came. */
static size_t reply_items_read(struct msg_reply *m, struct reply_items *to)
{
	size_t bytes = 0;
	to->tasks = items_new(m->task_count, sizeof *to->tasks);
	for (uint32_t i = 0; i < m->task_count; i++) {
		struct task_info *t = &to->tasks[i];
		msg_reply_task(m, i, t);
		bytes += 256 + t->type.len + t->queue.len + t->reason.len + t->worker.len + t->result.len +
			 t->payload.len + t->key.len + t->progress_text.len;
		for (uint32_t k = 0; k < t->attempt_count; k++)
			bytes += 96 + t->attempts[k].worker.len + t->attempts[k].text.len;
	}
	to->queues = items_new(m->queue_count, sizeof *to->queues);
	for (uint32_t i = 0; i < m->queue_count; i++) {
		msg_reply_queue(m, i, &to->queues[i]);
		bytes += 320 + to->queues[i].name.len;
	}
	to->workers = items_new(m->worker_count, sizeof *to->workers);
	for (uint32_t i = 0; i < m->worker_count; i++) {
		struct worker_info *w = &to->workers[i];
		msg_reply_worker(m, i, w);
		bytes += 256 + w->name.len + w->address.len + w->vnet.len;
		for (uint32_t j = 0; j < w->entry_count; j++)
			bytes += 16 + w->entries[j].len;
	}
	to->topics = items_new(m->topic_count, sizeof *to->topics);
	for (uint32_t i = 0; i < m->topic_count; i++) {
		msg_reply_topic(m, i, &to->topics[i]);
		bytes += 96 + to->topics[i].queue.len + to->topics[i].pattern.len + to->topics[i].vnet.len;
	}
	to->stats = items_new(m->stat_count, sizeof *to->stats);
	for (uint32_t i = 0; i < m->stat_count; i++) {
		msg_reply_stat(m, i, &to->stats[i]);
		bytes += 64 + to->stats[i].name.len;
	}
	to->specs = items_new(m->spec_count, sizeof *to->specs);
	for (uint32_t i = 0; i < m->spec_count; i++) {
		to->specs[i] = msg_reply_spec(m, i);
		bytes += 64 + to->specs[i].len + (to->specs[i].len == 0 ? LIMIT_META_BYTES : 0); /* nobody sends empty ones */
	}
	return bytes;
}

static void reply_items_free(struct reply_items *items)
{
	free(items->tasks);
	free(items->queues);
	free(items->workers);
	free(items->stats);
	free(items->specs);
	free(items->topics);
}

/* `intact`: the payload part had its checksum; else nobody has looked at what is in it, and the encoder makes that right. */
static void check_again(const struct msg *first, const struct msg *to_encode, struct span payload, bool intact)
{
	static struct msg second; /* large; filled anew every time */
	struct buf out = { 0 };
	struct frame frame;
	size_t used = 0, need = 0;
	char text[128] = "";
	msg_encode(&out, to_encode, 5, &payload, 1);
	ENSURE(frame_decode(buf_span(&out), LIMIT_FRAME_BYTES, &frame, &used, &need, text) == ERR_OK);
	ENSURE(used == out.len && frame.correlation == 5);
	enum err e = msg_decode(&frame, &second, text);
	if (e != ERR_OK && intact)
		(void)fprintf(stderr, "%s\n", text);
	ENSURE(e == ERR_OK || (!intact && text[0] != 0));
	ENSURE(e != ERR_OK || msg_equal(first, &second));
	buf_free(&out);
}

static void check_reply(const struct msg *m)
{
	static struct msg copy;
	struct reply_items items;
	copy = *m;
	size_t bytes = reply_items_read(&copy.reply, &items);
	copy.reply.tasks = items.tasks;
	copy.reply.queues = items.queues;
	copy.reply.workers = items.workers;
	copy.reply.stats = items.stats;
	copy.reply.specs = items.specs;
	copy.reply.topics = items.topics;
	uint64_t tables = (uint64_t)copy.reply.task_count + 2 * (uint64_t)copy.reply.queue_count +
			  copy.reply.worker_count + copy.reply.stat_count + copy.reply.spec_count +
			  copy.reply.topic_count + 1;
	for (uint32_t i = 0; i < copy.reply.task_count; i++)
		tables += items.tasks[i].attempt_count;
	if (bytes < LIMIT_META_BYTES / 2 && tables <= LIMIT_FB_TABLES)
		check_again(m, &copy, span_of(NULL, 0), true);
	reply_items_free(&items);
}

static void check_head(struct span head)
{
	static struct task_head first, second;
	struct buf out = { 0 };
	char text[128] = "";
	ENSURE(task_head_decode(head, &first, text) == ERR_OK);
	task_head_encode(&out, &first);
	ENSURE(out.len % 8 == 0);
	if (out.len <= LIMIT_HEAD_BYTES) { /* headers may be shared, so it can have grown */
		ENSURE(task_head_decode(buf_span(&out), &second, text) == ERR_OK);
		ENSURE(head_equal(&first, &second));
	}
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct msg m;
	struct parts p = { 0 };
	char text[128] = "";
	if (size <= LIMIT_META_BYTES / 4 && parts_fill(&p, data, size)) {
		enum err e = msg_decode(&p.frame, &m, text);
		ENSURE(e == ERR_OK || text[0] != 0);
		if (e == ERR_OK || e == ERR_INTEGRITY_MISMATCH) {
			if (m.kind == FRAME_REPLY)
				check_reply(&m);
			else
				check_again(&m, &m, span_sub(p.frame.payload, 0, payload_bytes(&m)), e == ERR_OK);
			if (m.kind == FRAME_SUBMIT)
				check_head(m.submit.head);
			else if (m.kind == FRAME_DELIVER)
				check_head(m.deliver.head);
		}
	}
	buf_free(&p.bytes);
	return 0;
}
