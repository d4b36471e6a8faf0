/* broker/tasks_record.c: record bodies to structs and back. Owns nothing; every view borrows the record.
 *
 * Invariants
 *  1. Readers trust no length: a body that does not fit is ERR_DAMAGED, never a read outside.
 *  2. Writers fill every byte they were given, padding included, so that equal proposals are equal bytes. */
#include "tasks_record.h"

#include "topics_record.h"

/* `len` bytes and the padding behind them. */
static struct span read_padded(struct reader *r, size_t len)
{
	struct span out = read_bytes(r, len);
	size_t pad = align_up(len, 8) - len;
	(void)read_bytes(r, pad);
	return out;
}

static uint8_t *write_padded(uint8_t *out, const void *data, size_t len)
{
	if (len > 0)
		memcpy(out, data, len);
	size_t pad = align_up(len, 8) - len;
	memset(out + len, 0, pad);
	return out + len + pad;
}

enum err rec_submit_read(struct span body, struct submit_view *out)
{
	struct reader r = { .rest = body };
	read_into(&r, &out->fixed, sizeof out->fixed);
	out->options = (struct rec_options){ 0 };
	if (out->fixed.flags & SUBMIT_OPTIONS)
		read_into(&r, &out->options, sizeof out->options);
	out->lane = (struct rec_lane){ 0 };
	if (out->fixed.flags & SUBMIT_LANE)
		read_into(&r, &out->lane, sizeof out->lane);
	out->life = (struct rec_life){ 0 };
	if (out->fixed.flags & SUBMIT_LIFE)
		read_into(&r, &out->life, sizeof out->life);
	out->after = (struct rec_after){ 0 };
	if (out->fixed.flags & SUBMIT_AFTER)
		read_into(&r, &out->after, sizeof out->after);
	out->owner = out->fixed.flags & SUBMIT_OWNER ? read_u64(&r) : 0;
	if (r.failed || out->fixed.version != REC_VERSION)
		return ERR_DAMAGED;
	if (out->after.count > LIMIT_AFTER || out->after.back_count > LIMIT_AFTER || out->after.policy > ON_FAILURE_RUN ||
	    out->after.group_len > LIMIT_NAME_BYTES || out->after.after_group_len > LIMIT_NAME_BYTES)
		return ERR_DAMAGED;
	if (out->fixed.count == 0 || out->fixed.count > LIMIT_FRAME_ITEMS || out->fixed.priority > LIMIT_PRIORITY)
		return ERR_DAMAGED;
	out->sizes = (const uint32_t *)(const void *)read_padded(&r, out->fixed.count * sizeof(uint32_t)).data;
	out->key = read_padded(&r, out->options.key_size);
	out->requires = read_padded(&r, out->lane.requires_size);
	out->principal = read_padded(&r, out->lane.principal_size);
	out->after_tasks = read_padded(&r, out->after.count * sizeof(uint64_t));
	out->backs = read_padded(&r, out->after.back_count * sizeof(uint32_t));
	out->group = read_padded(&r, out->after.group_len);
	out->after_group = read_padded(&r, out->after.after_group_len);
	out->head = read_padded(&r, out->fixed.head_size);
	out->payload = r.rest;
	return r.failed ? ERR_DAMAGED : ERR_OK;
}

size_t rec_submit_size(const struct submit_view *v)
{
	size_t size = sizeof v->fixed + (v->fixed.flags & SUBMIT_OPTIONS ? sizeof v->options : 0);
	if (v->fixed.flags & SUBMIT_LANE)
		size += sizeof v->lane + align_up(v->requires.len, 8) + align_up(v->principal.len, 8);
	size += v->fixed.flags & SUBMIT_LIFE ? sizeof v->life : 0;
	size += v->fixed.flags & SUBMIT_OWNER ? sizeof v->owner : 0;
	if (v->fixed.flags & SUBMIT_AFTER)
		size += sizeof v->after + v->after_tasks.len + align_up(v->backs.len, 8) + align_up(v->group.len, 8) +
			align_up(v->after_group.len, 8);
	size += align_up(v->fixed.count * sizeof(uint32_t), 8) + align_up(v->key.len, 8);
	return size + align_up(v->head.len, 8) + v->payload.len;
}

void rec_submit_write(const struct submit_view *v, uint8_t *out)
{
	ENSURE(v->fixed.head_size == v->head.len);
	ENSURE(v->options.key_size == v->key.len);
	ENSURE(v->lane.requires_size == v->requires.len && v->lane.principal_size == v->principal.len);
	out = write_padded(out, &v->fixed, sizeof v->fixed);
	if (v->fixed.flags & SUBMIT_OPTIONS)
		out = write_padded(out, &v->options, sizeof v->options);
	if (v->fixed.flags & SUBMIT_LANE)
		out = write_padded(out, &v->lane, sizeof v->lane);
	if (v->fixed.flags & SUBMIT_LIFE)
		out = write_padded(out, &v->life, sizeof v->life);
	if (v->fixed.flags & SUBMIT_AFTER)
		out = write_padded(out, &v->after, sizeof v->after);
	if (v->fixed.flags & SUBMIT_OWNER)
		out = write_padded(out, &v->owner, sizeof v->owner);
	out = write_padded(out, v->sizes, v->fixed.count * sizeof(uint32_t));
	out = write_padded(out, v->key.data, v->key.len);
	out = write_padded(out, v->requires.data, v->requires.len);
	out = write_padded(out, v->principal.data, v->principal.len);
	if (v->fixed.flags & SUBMIT_AFTER) {
		ENSURE(v->after_tasks.len == v->after.count * sizeof(uint64_t) && v->backs.len == v->after.back_count * sizeof(uint32_t));
		ENSURE(v->group.len == v->after.group_len && v->after_group.len == v->after.after_group_len);
		out = write_padded(out, v->after_tasks.data, v->after_tasks.len);
		out = write_padded(out, v->backs.data, v->backs.len);
		out = write_padded(out, v->group.data, v->group.len);
		out = write_padded(out, v->after_group.data, v->after_group.len);
	}
	out = write_padded(out, v->head.data, v->head.len);
	if (v->payload.len > 0)
		memcpy(out, v->payload.data, v->payload.len);
}

struct queue_settings settings_read(struct reader *r, uint32_t count)
{
	struct queue_settings out = QUEUE_SETTINGS_UNSET;
	if (count > r->rest.len / sizeof(int64_t)) {
		r->failed = true;
		return out;
	}
	struct span bytes = read_bytes(r, count * sizeof(int64_t));
	if (bytes.len > 0)
		memcpy(&out, bytes.data, MIN_OF(bytes.len, sizeof out));
	return out;
}

enum err rec_queue_read(struct span body, struct queue_view *out)
{
	struct reader r = { .rest = body };
	enum { FIXED_V1 = offsetof(struct rec_queue, setting_count) };
	out->fixed = (struct rec_queue){ .version = 0 };
	read_into(&r, &out->fixed, FIXED_V1);
	if (out->fixed.version == 1) {
		out->fixed.setting_count = REC_QUEUE_SETTINGS_V1;
	} else {
		out->fixed.setting_count = read_u32(&r);
		out->fixed.weight = read_u32(&r);
	}
	if (r.failed || out->fixed.version > REC_QUEUE_VERSION || out->fixed.version == 0 ||
	    out->fixed.queue == 0 || out->fixed.origin > APPLIED_ADMIN)
		return ERR_DAMAGED;
	out->settings = settings_read(&r, out->fixed.setting_count);
	out->name = read_bytes(&r, out->fixed.name_size);
	out->pattern = r.rest;
	return r.failed ? ERR_DAMAGED : ERR_OK;
}

static uint64_t sum_sizes(const uint32_t *sizes, uint32_t count)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < count; i++)
		sum += sizes[i];
	return sum;
}

enum err rec_move_read(struct span body, struct move_view *out)
{
	struct reader r = { .rest = body };
	read_into(&r, &out->fixed, sizeof out->fixed);
	if (r.failed || out->fixed.version != REC_VERSION || out->fixed.count != 1)
		return ERR_DAMAGED;
	size_t count = out->fixed.count;
	out->tasks = (const uint64_t *)(const void *)read_bytes(&r, count * sizeof(uint64_t)).data;
	out->sizes = (const uint32_t *)(const void *)read_padded(&r, count * sizeof(uint32_t)).data;
	out->text_sizes = (const uint32_t *)(const void *)read_padded(&r, count * sizeof(uint32_t)).data;
	out->head = read_padded(&r, out->fixed.head_size);
	if (r.failed)
		return ERR_DAMAGED;
	uint64_t payload = sum_sizes(out->sizes, out->fixed.count);
	uint64_t texts = sum_sizes(out->text_sizes, out->fixed.count);
	if (payload > r.rest.len || texts != r.rest.len - payload)
		return ERR_DAMAGED;
	out->payload = read_bytes(&r, payload);
	out->texts = r.rest;
	return ERR_OK;
}

enum err rec_settle_read(struct span body, struct settle_view *out)
{
	struct reader r = { .rest = body };
	read_into(&r, &out->fixed, sizeof out->fixed);
	bool kinds = out->fixed.version == REC_SETTLE_KINDS, named = kinds || out->fixed.version == REC_SETTLE_WORKER;
	if (r.failed || (!named && out->fixed.version != REC_VERSION) || out->fixed.origin > APPLIED_ADMIN)
		return ERR_DAMAGED;
	if (out->fixed.count > r.rest.len / sizeof *out->items)
		return ERR_DAMAGED;
	size_t bytes = out->fixed.count * sizeof *out->items;
	out->items = (const struct rec_settle_item *)(const void *)read_bytes(&r, bytes).data;
	out->kinds = kinds ? read_padded(&r, out->fixed.count).data : NULL;
	uint32_t worker_size = named ? out->fixed.worker_size : 0;
	if (r.failed || worker_size > r.rest.len)
		return ERR_DAMAGED;
	out->results = span_of(r.rest.data, r.rest.len - worker_size);
	out->worker = span_of(r.rest.data + out->results.len, worker_size);
	return ERR_OK;
}

enum err rec_yield_read(struct span body, struct yield_view *out)
{
	struct reader r = { .rest = body };
	uint64_t bytes = 0;
	read_into(&r, &out->fixed, sizeof out->fixed);
	bool kinds = out->fixed.version == REC_YIELD_KINDS;
	if (r.failed || (!kinds && out->fixed.version != REC_VERSION) || out->fixed.count > r.rest.len / sizeof *out->items)
		return ERR_DAMAGED;
	size_t size = out->fixed.count * sizeof *out->items;
	out->items = (const struct rec_yield_item *)(const void *)read_bytes(&r, size).data;
	out->kinds = kinds ? read_padded(&r, out->fixed.count).data : NULL;
	if (r.failed)
		return ERR_DAMAGED;
	for (uint32_t i = 0; i < out->fixed.count; i++)
		bytes += out->items[i].size;
	out->data = r.rest;
	return bytes == r.rest.len ? ERR_OK : ERR_DAMAGED;
}

enum err submit_record_open(const struct log_record *record, struct submit_record *out)
{
	if (record->kind == REC_SUBMIT) {
		struct submit_view v;
		enum err e = rec_submit_read(record->body, &v);
		if (e != ERR_OK)
			return e;
		if (sum_sizes(v.sizes, v.fixed.count) != v.payload.len)
			return ERR_DAMAGED;
		*out = (struct submit_record){ v.head, v.sizes, v.fixed.count, v.payload, v.fixed.submitted_ms, 1 };
		return ERR_OK;
	}
	if (record->kind == REC_EVENT) {
		struct event_view v;
		enum err e = rec_event_read(record->body, &v);
		if (e != ERR_OK)
			return e;
		if (sum_sizes(v.sizes, v.fixed.count) != v.payload.len)
			return ERR_DAMAGED;
		*out = (struct submit_record){ v.head, v.sizes, v.fixed.count, v.payload, v.fixed.submitted_ms, v.fixed.queue_count };
		return ERR_OK;
	}
	if (record->kind == REC_MOVE) {
		struct move_view v;
		enum err e = rec_move_read(record->body, &v);
		if (e != ERR_OK)
			return e;
		*out = (struct submit_record){ v.head, v.sizes, v.fixed.count, v.payload, v.fixed.submitted_ms, 1 };
		return ERR_OK;
	}
	return ERR_DAMAGED;
}

uint64_t submit_record_offset(const struct submit_record *r, uint32_t index)
{
	ENSURE(index <= r->count);
	return sum_sizes(r->sizes, index);
}

/* The error text that travelled with a moved dead letter. */
static struct span move_record_text(const struct log_record *record, uint64_t task)
{
	struct move_view v;
	if (rec_move_read(record->body, &v) != ERR_OK)
		return (struct span){ NULL, 0 };
	size_t offset = 0;
	for (uint32_t i = 0; i < v.fixed.count; i++) {
		if (v.tasks[i] == task)
			return span_sub(v.texts, offset, v.text_sizes[i]);
		offset += v.text_sizes[i];
	}
	return (struct span){ NULL, 0 };
}

struct span settle_record_result(const struct log_record *record, uint64_t task, uint8_t *kind)
{
	if (kind)
		*kind = PAYLOAD_INLINE;
	if (record->kind == REC_MOVE)
		return move_record_text(record, task);
	struct settle_view v;
	if (record->kind != REC_SETTLE || rec_settle_read(record->body, &v) != ERR_OK)
		return (struct span){ NULL, 0 };
	size_t offset = 0;
	for (uint32_t i = 0; i < v.fixed.count; i++) {
		if (v.items[i].size > v.results.len - offset)
			return (struct span){ NULL, 0 };
		if (kind && v.kinds)
			*kind = v.kinds[i] < PAYLOAD_KINDS ? v.kinds[i] : PAYLOAD_INLINE;
		if (v.items[i].task == task)
			return span_sub(v.results, offset, v.items[i].size);
		offset += v.items[i].size;
	}
	return (struct span){ NULL, 0 };
}
