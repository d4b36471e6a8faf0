/* clientlib/spill.c: what payloads are when they are not inline: their bytes, and heads that say so. In the flow: hlk_submit and its
 * sisters -> SPILL -> an upload -> the same message with a blob. Who waits for the upload keeps the message: producer.c, report.c,
 * publish.c, caller.c, holder.c. See blob_impl.h. */
#include "blob_impl.h"

bool spill_needed(const struct hlk *c, size_t size, uint32_t above)
{
	if (above && size > above)
		return true;
	if (c->session.blob_above)
		return size > c->session.blob_above;
	return !c->session.known && size > LIMIT_PAYLOAD_BYTES; /* no broker has said anything yet */
}

uint64_t hlk_blob_above(const struct hlk *c)
{
	return c->session.blob_above;
}

struct span spill_ref(const struct hlk_blob *blob, struct blob_ref *out)
{
	*out = (struct blob_ref){ .size = blob->size };
	memcpy(out->digest, blob->digest, sizeof out->digest);
	return span_of(out, sizeof *out);
}

void spill_task_head(struct span head, uint8_t kind, struct buf *out)
{
	struct task_head *h = calloc(1, sizeof *h); /* large */
	char text[128];
	ENSURE(h != NULL);
	enum err e = task_head_decode(head, h, text);
	ENSURE(e == ERR_OK); /* we have made it */
	h->payload = kind;
	task_head_encode(out, h);
	free(h);
}

void spill_event_head(struct span head, uint8_t kind, struct buf *out)
{
	struct event_head *h = calloc(1, sizeof *h);
	char text[128];
	ENSURE(h != NULL);
	enum err e = event_head_decode(head, h, text);
	ENSURE(e == ERR_OK);
	h->payload = kind;
	event_head_encode(out, h);
	free(h);
}

bool spill_encode(struct hlk *c, const struct hlk_payload *p, const char *what, struct buf *out)
{
	const struct hlk_reference *r = &p->reference;
	struct blob_ref blob;
	char text[128];
	out->len = 0;
	if (p->kind == HLK_BLOB) {
		struct span bytes = spill_ref(&p->blob, &blob);
		buf_append(out, bytes.data, bytes.len);
	} else if (p->kind == HLK_REFERENCE && r->scheme && r->key) {
		const struct payload_reference wire = { .scheme = span_str(r->scheme), .key = span_str(r->key), .etag = span_str(r->etag),
							.type = span_str(r->type), .size = r->size, .fingerprint = r->fingerprint };
		payload_reference_encode(out, &wire);
	} else {
		(void)error_set(c, HLK_INVALID_INPUT, "%s: a payload is inline, a blob, or a reference with scheme and key", what);
		return false;
	}
	enum err e = payload_check(what, (uint8_t)p->kind, buf_span(out), text);
	if (e != ERR_OK)
		(void)error_set(c, (int)e, "%s", text);
	return e == ERR_OK;
}
