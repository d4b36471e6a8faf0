/* clientlib/payload.c: payloads as those see them who receive them: inline, blob or reference, read in one way. In the flow: callback ->
 * hlk_payload_of -> PAYLOAD -> blob_get.c. */
#include "blob_impl.h"

/* Strings of a verified FlatBuffer end in a zero byte that is part of the buffer. */
static const char *text_of(struct span s)
{
	return s.data ? (const char *)s.data : "";
}

int hlk_payload_of(struct hlk *c, enum hlk_payload_kind kind, const void *payload, size_t size, struct hlk_payload *out)
{
	struct span bytes = span_of(payload, size);
	struct buf *kept = &c->blobs.reference;
	struct payload_reference r;
	struct blob_ref blob;
	char text[128];
	enum err e = payload_check("payload", (uint8_t)kind, bytes, text);
	*out = (struct hlk_payload){ .kind = kind, .size = size, .data = payload };
	if (e != ERR_OK)
		return error_set(c, HLK_MALFORMED, "%s", text);
	if (kind == HLK_INLINE)
		return HLK_OK;
	out->data = NULL;
	if (kind == HLK_BLOB) {
		blob_ref_read(bytes, &blob);
		memcpy(out->blob.digest, blob.digest, sizeof out->blob.digest);
		out->size = out->blob.size = blob.size;
		return HLK_OK;
	}
	kept->len = 0;
	buf_append(kept, payload, size); /* aligned there */
	e = payload_reference_decode(buf_span(kept), &r, text);
	ENSURE(e == ERR_OK);
	out->size = r.size;
	out->reference = (struct hlk_reference){ .scheme = text_of(r.scheme), .key = text_of(r.key), .etag = text_of(r.etag),
						 .type = text_of(r.type), .size = r.size, .fingerprint = r.fingerprint };
	return HLK_OK;
}

int hlk_payload_expect(struct hlk *c, const struct hlk_payload *payload, const char *type)
{
	const char *is = payload->reference.type ? payload->reference.type : "";
	if (payload->kind != HLK_REFERENCE || strcmp(is, type) == 0)
		return HLK_OK;
	return error_set(c, HLK_SCHEMA_MISMATCH, "a reference to something of type %.120s, where %.120s is wanted", *is ? is : "(none)", type);
}

/* ---- reading ---- */

/* Bytes that are here already go through the same sinks: a transfer that asks nobody. */
static int inline_get(struct hlk *c, const struct hlk_payload *p, const struct hlk_blob_sink *sink, hlk_blob_fn *fn, void *ctx,
		      uint32_t *transfer_out)
{
	uint32_t id;
	struct hlk_blob blob;
	const struct hlk_blob_source source = { .data = p->data, .size = (size_t)p->size };
	struct hlk_blob_sink whole = *sink;
	whole.resume = false;
	int code = hlk_blob_name(&source, &blob, &c->error);
	if (code == HLK_OK)
		code = hlk_blob_get(c, blob.digest, &whole, fn, ctx, &id);
	if (code != HLK_OK)
		return code;
	struct transfer *t = blob_find(c, id);
	uint64_t end = t->end ? MIN_OF(t->end, p->size) : p->size;
	const struct msg_blob_data data = { .offset = t->offset, .total = p->size, .end = true,
					    .size = (uint32_t)(end - MIN_OF(end, t->offset)) };
	t->state = TRANSFER_ASKED;
	t->credit = p->size;
	t->manual = true;
	get_data(c, t, &data, span_of((const uint8_t *)p->data + (data.size ? t->offset : 0), data.size));
	if (transfer_out)
		*transfer_out = id;
	return HLK_OK;
}

int hlk_payload_get(struct hlk *c, const struct hlk_payload *p, const struct hlk_blob_sink *sink, hlk_blob_fn *fn, void *ctx,
		    uint32_t *transfer_out)
{
	if (p->kind == HLK_BLOB)
		return hlk_blob_get(c, p->blob.digest, sink, fn, ctx, transfer_out);
	if (p->kind == HLK_INLINE)
		return inline_get(c, p, sink, fn, ctx, transfer_out);
	return error_set(c, HLK_UNSUPPORTED, "payload: %.60s:%.200s is kept elsewhere, and not ours to open",
			 p->reference.scheme ? p->reference.scheme : "", p->reference.key ? p->reference.key : "");
}

static int get_wait(struct hlk *c, const struct hlk_payload *p, const struct hlk_blob_sink *sink, int timeout_ms, struct blob_waited *w)
{
	uint32_t transfer = 0;
	int64_t deadline = client_deadline(c, timeout_ms);
	int code = client_may_block(c);
	if (code == HLK_OK)
		code = hlk_payload_get(c, p, sink, blob_wait_done, w, &transfer);
	return code == HLK_OK ? blob_wait(c, transfer, w, deadline, "payload") : code;
}

int hlk_payload_read_wait(struct hlk *c, const struct hlk_payload *payload, size_t max, int timeout_ms, const void **data_out,
			  size_t *size_out)
{
	struct blob_waited w = { .done = false };
	const struct hlk_blob_sink sink = { .max = max };
	int code = get_wait(c, payload, &sink, timeout_ms, &w);
	*data_out = code == HLK_OK ? w.result.data : NULL;
	*size_out = code == HLK_OK ? w.result.size : 0;
	return code;
}

int hlk_payload_file_wait(struct hlk *c, const struct hlk_payload *payload, const char *path, int timeout_ms)
{
	struct blob_waited w = { .done = false };
	const struct hlk_blob_sink sink = { .path = path };
	return get_wait(c, payload, &sink, timeout_ms, &w);
}

/* ---- digests as text ---- */

void hlk_digest_print(const uint8_t digest[HLK_DIGEST_BYTES], char out[HLK_DIGEST_TEXT])
{
	hex_print(digest, HLK_DIGEST_BYTES, out);
}

static int hex(char x)
{
	return x >= '0' && x <= '9' ? x - '0' : x >= 'a' && x <= 'f' ? x - 'a' + 10 : x >= 'A' && x <= 'F' ? x - 'A' + 10 : -1;
}

int hlk_digest_parse(const char *text, uint8_t out[HLK_DIGEST_BYTES])
{
	static const char prefix[] = "sha256:";
	if (strncmp(text, prefix, sizeof prefix - 1) == 0)
		text += sizeof prefix - 1;
	if (strlen(text) != 2 * HLK_DIGEST_BYTES)
		return HLK_INVALID_INPUT;
	for (int i = 0; i < HLK_DIGEST_BYTES; i++) {
		int high = hex(text[2 * i]), low = hex(text[2 * i + 1]);
		if (high < 0 || low < 0)
			return HLK_INVALID_INPUT;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return HLK_OK;
}
