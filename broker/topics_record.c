/* broker/topics_record.c: see topics_record.h. Owns nothing; every view borrows the record.
 *
 * Invariants
 *  1. Readers trust no length: a body that does not fit is ERR_DAMAGED, never a read outside.
 *  2. Writers fill every byte they were given, padding included. */
#include "topics_record.h"

#include "topics.h"

static struct span read_padded(struct reader *r, size_t len)
{
	struct span out = read_bytes(r, len);
	(void)read_bytes(r, align_up(len, 8) - len);
	return out;
}

static uint8_t *write_padded(uint8_t *out, const void *data, size_t len)
{
	if (len > 0)
		memcpy(out, data, len);
	memset(out + len, 0, align_up(len, 8) - len);
	return out + align_up(len, 8);
}

enum err rec_topic_read(struct span body, struct topic_view *out)
{
	struct reader r = { .rest = body };
	read_into(&r, &out->fixed, sizeof out->fixed);
	out->vnet = read_bytes(&r, out->fixed.vnet_size);
	out->pattern = read_bytes(&r, out->fixed.pattern_size);
	bool known = out->fixed.version == REC_VERSION &&
		     (out->fixed.op == TOPIC_OP_REMOVE ||
		      (out->fixed.op == TOPIC_OP_ADD && pattern_parse(out->pattern).kind != PATTERN_BAD)) &&
		     (out->fixed.kind == TOPIC_TASKS || out->fixed.kind == TOPIC_EVENTS);
	return r.failed || !known ? ERR_DAMAGED : ERR_OK;
}

enum err rec_event_read(struct span body, struct event_view *out)
{
	struct reader r = { .rest = body };
	read_into(&r, &out->fixed, sizeof out->fixed);
	if (r.failed || out->fixed.version != REC_VERSION || out->fixed.count == 0 || out->fixed.count > LIMIT_FRAME_ITEMS ||
	    out->fixed.queue_count == 0 || out->fixed.queue_count > TOPIC_FEEDS_MAX)
		return ERR_DAMAGED;
	out->queues = (const uint16_t *)(const void *)read_padded(&r, out->fixed.queue_count * sizeof(uint16_t)).data;
	out->sizes = (const uint32_t *)(const void *)read_padded(&r, out->fixed.count * sizeof(uint32_t)).data;
	out->head = read_padded(&r, out->fixed.head_size);
	out->payload = r.rest;
	return r.failed ? ERR_DAMAGED : ERR_OK;
}

size_t rec_event_size(const struct event_view *v)
{
	return sizeof v->fixed + align_up(v->fixed.queue_count * sizeof(uint16_t), 8) +
	       align_up(v->fixed.count * sizeof(uint32_t), 8) + align_up(v->head.len, 8) + v->payload.len;
}

void rec_event_write(const struct event_view *v, uint8_t *out)
{
	ENSURE(v->fixed.head_size == v->head.len);
	out = write_padded(out, &v->fixed, sizeof v->fixed);
	out = write_padded(out, v->queues, v->fixed.queue_count * sizeof(uint16_t));
	out = write_padded(out, v->sizes, v->fixed.count * sizeof(uint32_t));
	out = write_padded(out, v->head.data, v->head.len);
	if (v->payload.len > 0)
		memcpy(out, v->payload.data, v->payload.len);
}

enum err rec_retain_read(struct span body, struct retain_view *out)
{
	struct reader r = { .rest = body };
	read_into(&r, &out->fixed, sizeof out->fixed);
	out->blob = read_bytes(&r, out->fixed.version == REC_RETAIN_BLOB ? BLOB_REF_BYTES : 0);
	out->frame = read_bytes(&r, out->fixed.frame_size);
	out->vnet = read_bytes(&r, out->fixed.vnet_size);
	out->type = read_bytes(&r, out->fixed.type_size);
	out->key = read_bytes(&r, out->fixed.key_size);
	bool framed = out->frame.len == 0 || (out->frame.len >= LIMIT_FRAME_HEADER && out->frame.len <= LIMIT_FRAME_BYTES);
	bool known = out->fixed.version == REC_VERSION || out->fixed.version == REC_RETAIN_BLOB;
	if (r.failed || !known || out->type.len == 0 || !framed)
		return ERR_DAMAGED;
	return ERR_OK;
}

size_t rec_retain_size(const struct retain_view *v)
{
	return sizeof v->fixed + v->blob.len + v->frame.len + v->vnet.len + v->type.len + v->key.len;
}

void rec_retain_write(const struct retain_view *v, uint8_t *out)
{
	const struct span parts[] = { v->blob, v->frame, v->vnet, v->type, v->key };
	memcpy(out, &v->fixed, sizeof v->fixed);
	out += sizeof v->fixed;
	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		if (parts[i].len > 0)
			memcpy(out, parts[i].data, parts[i].len);
		out += parts[i].len;
	}
}
