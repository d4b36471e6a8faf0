/* wire/msg_check_blob.c: judges the values of the messages of blobs, and what a payload that is not inline has to look like; frames
 * with bytes of blobs. In the flow: frame -> VERIFY -> session. The rules of msg_check.c hold. Bytes of blobs have no checksum of
 * their own in a frame: the digest covers them. */
#include "check.h"

#define CHECK(call)                     \
	do {                            \
		enum err e_ = (call);   \
		if (e_ != ERR_OK)       \
			return e_;      \
	} while (0)

void blob_ref_read(struct span bytes, struct blob_ref *out)
{
	ENSURE(bytes.len == sizeof *out);
	memcpy(out, bytes.data, sizeof *out);
}

static enum err reference_check(const char *what, struct span bytes, char text[128])
{
	/* It lies at any alignment in its frame: looked at in a copy. */
	_Alignas(8) uint8_t copy[LIMIT_REFERENCE_BYTES];
	struct payload_reference r;
	if (bytes.len > sizeof copy)
		return check_over(text, what, bytes.len, sizeof copy);
	if (bytes.len > 0)
		memcpy(copy, bytes.data, bytes.len);
	CHECK(payload_reference_decode(span_of(copy, bytes.len), &r, text));
	CHECK(check_name("Reference.scheme", r.scheme, text));
	if (r.key.len == 0)
		return msg_refuse(text, ERR_INVALID_INPUT, "Reference.key: empty");
	return check_length("Reference.type", r.type, LIMIT_NAME_BYTES, text);
}

enum err payload_check(const char *what, uint8_t kind, struct span bytes, char text[128])
{
	struct blob_ref ref;
	switch (kind) {
	case PAYLOAD_INLINE: return ERR_OK;
	case PAYLOAD_REFERENCE: return reference_check(what, bytes, text);
	case PAYLOAD_BLOB: break;
	default: return msg_refuse(text, ERR_INVALID_INPUT, "%s: payload %u is not one of its values", what, kind);
	}
	if (bytes.len != sizeof ref)
		return msg_refuse(text, ERR_MALFORMED, "%s: a blob's payload is %zu bytes, not %zu", what, sizeof ref, bytes.len);
	blob_ref_read(bytes, &ref);
	if (ref.zero != 0)
		return msg_refuse(text, ERR_MALFORMED, "%s: a blob's payload ends with eight zeros", what);
	return ERR_OK;
}

static enum err digest_check(const char *what, struct span digest, bool needed, char text[128])
{
	if (digest.len == BLOB_DIGEST_BYTES || (digest.len == 0 && !needed))
		return ERR_OK;
	return msg_refuse(text, ERR_INVALID_INPUT, "%s: %zu bytes, a SHA-256 has %d", what, digest.len, (int)BLOB_DIGEST_BYTES);
}

static enum err number_check(const char *what, uint32_t number, char text[128])
{
	return number ? ERR_OK : msg_refuse(text, ERR_INVALID_INPUT, "%s: 0 is not allowed", what);
}

/* The bytes, then fewer than eight zeros. */
static enum err bytes_check(const char *name, uint32_t size, struct span payload, char text[128])
{
	if (size > LIMIT_BLOB_CHUNK)
		return check_over(text, name, size, LIMIT_BLOB_CHUNK);
	if (payload.len < size || payload.len - size >= 8)
		return msg_refuse(text, ERR_MALFORMED, "%s: %u bytes in a payload part of %zu", name, size, payload.len);
	for (size_t i = size; i < payload.len; i++)
		if (payload.data[i] != 0)
			return msg_refuse(text, ERR_MALFORMED, "%s: the padding is not zero", name);
	return ERR_OK;
}

static enum err put_check(const struct msg_blob_put *m, char text[128])
{
	CHECK(number_check("BLOB_PUT.upload", m->upload, text));
	CHECK(digest_check("BLOB_PUT.digest", m->digest, m->direct, text));
	if (m->direct && m->size == BLOB_SIZE_UNKNOWN)
		return msg_refuse(text, ERR_INVALID_INPUT, "BLOB_PUT.direct: needs size and digest");
	return check_length("BLOB_PUT.media_type", m->media_type, LIMIT_NAME_BYTES, text);
}

static enum err state_check(const struct msg_blob_state *m, char text[128])
{
	CHECK(digest_check("BLOB_STATE.digest", m->digest, m->stored, text));
	CHECK(check_length("BLOB_STATE.url", m->url, LIMIT_URL_BYTES, text));
	return check_length("BLOB_STATE.text", m->text, LIMIT_TEXT_BYTES, text);
}

static enum err data_check(const struct msg_blob_data *m, struct span payload, char text[128])
{
	CHECK(check_length("BLOB_DATA.text", m->text, LIMIT_TEXT_BYTES, text));
	CHECK(check_length("BLOB_DATA.media_type", m->media_type, LIMIT_NAME_BYTES, text));
	CHECK(check_length("BLOB_DATA.url", m->url, LIMIT_URL_BYTES, text));
	return bytes_check("BLOB_DATA.size", m->size, payload, text);
}

enum err msg_check_blob(const struct msg *msg, struct span payload, char text[128])
{
	if (msg->kind == FRAME_BLOB_CHUNK) {
		CHECK(number_check("BLOB_CHUNK.upload", msg->blob_chunk.upload, text));
		if (msg->blob_chunk.offset > UINT64_MAX - LIMIT_BLOB_CHUNK)
			return msg_refuse(text, ERR_INVALID_INPUT, "BLOB_CHUNK.offset: too near to the end of numbers");
		return bytes_check("BLOB_CHUNK.size", msg->blob_chunk.size, payload, text);
	}
	if (msg->kind == FRAME_BLOB_DATA)
		return data_check(&msg->blob_data, payload, text);
	CHECK(check_no_payload(msg, payload, text));
	if (msg->kind == FRAME_BLOB_PUT)
		return put_check(&msg->blob_put, text);
	if (msg->kind == FRAME_BLOB_STATE)
		return state_check(&msg->blob_state, text);
	if (msg->kind == FRAME_BLOB_END) {
		CHECK(number_check("BLOB_END.upload", msg->blob_end.upload, text));
		return digest_check("BLOB_END.digest", msg->blob_end.digest, !msg->blob_end.abandon, text);
	}
	if (msg->kind == FRAME_BLOB_GET) {
		CHECK(number_check("BLOB_GET.read", msg->blob_get.read, text));
		return digest_check("BLOB_GET.digest", msg->blob_get.digest, true, text);
	}
	return ERR_OK;
}

/* ---- frames with bytes ---- */

static size_t begin_with_bytes(struct buf *out, const struct msg *m, uint32_t size)
{
	size_t begin = frame_begin(out, m->kind, 0);
	ENSURE(size <= LIMIT_BLOB_CHUNK);
	codec_write(out, m);
	frame_meta_done(out, begin);
	return begin;
}

static void end_with_bytes(struct buf *out, size_t begin, uint32_t size, const struct span *payload, uint32_t payload_count)
{
	size_t from = out->len;
	for (uint32_t i = 0; i < payload_count; i++)
		buf_append(out, payload[i].data, payload[i].len);
	ENSURE(out->len - from == size);
	frame_end(out, begin);
}

void msg_encode_blob_chunk(struct buf *out, const struct msg_blob_chunk *m, const struct span *payload, uint32_t payload_count)
{
	const struct msg msg = { .kind = FRAME_BLOB_CHUNK, .blob_chunk = *m };
	end_with_bytes(out, begin_with_bytes(out, &msg, m->size), m->size, payload, payload_count);
}

void msg_encode_blob_data(struct buf *out, const struct msg_blob_data *m, const struct span *payload, uint32_t payload_count)
{
	const struct msg msg = { .kind = FRAME_BLOB_DATA, .blob_data = *m };
	end_with_bytes(out, begin_with_bytes(out, &msg, m->size), m->size, payload, payload_count);
}

void msg_begin_blob_data(struct buf *out, const struct msg_blob_data *m)
{
	const struct msg msg = { .kind = FRAME_BLOB_DATA, .blob_data = *m };
	frame_end_before(out, begin_with_bytes(out, &msg, m->size), m->size);
}
