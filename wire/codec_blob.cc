// wire/codec_blob.cc: the messages of blobs, references, and what is known of a blob.
// In the flow: frame -> VERIFY -> session, and back out. Invariants stand in codec.cc.
#include "codec_impl.hh"

// ---------------------------------------------------------------- reading

static enum err read(const hw::BlobPut *m, struct msg_blob_put *out, char *)
{
	out->upload = m->upload();
	out->size = m->size();
	out->digest = bytes_of(m->digest());
	out->media_type = text_of(m->media_type());
	out->number = m->number();
	out->direct = m->direct();
	return ERR_OK;
}

static enum err read(const hw::BlobState *m, struct msg_blob_state *out, char *)
{
	out->upload = m->upload();
	out->code = m->code();
	out->text = text_of(m->text());
	out->number = m->number();
	out->offset = m->offset();
	out->credit = m->credit();
	out->stored = m->stored();
	out->digest = bytes_of(m->digest());
	out->size = m->size();
	out->url = text_of(m->url());
	out->retry_after_ms = m->retry_after_ms();
	return ERR_OK;
}

static enum err read(const hw::BlobChunk *m, struct msg_blob_chunk *out, char *)
{
	out->upload = m->upload();
	out->offset = m->offset();
	out->size = m->size();
	return ERR_OK;
}

static enum err read(const hw::BlobEnd *m, struct msg_blob_end *out, char *)
{
	out->upload = m->upload();
	out->digest = bytes_of(m->digest());
	out->size = m->size();
	out->abandon = m->abandon();
	return ERR_OK;
}

static enum err read(const hw::BlobGet *m, struct msg_blob_get *out, char *)
{
	out->read = m->read();
	out->digest = bytes_of(m->digest());
	out->offset = m->offset();
	out->length = m->length();
	out->credit = m->credit();
	out->direct = m->direct();
	return ERR_OK;
}

static enum err read(const hw::BlobData *m, struct msg_blob_data *out, char *)
{
	out->read = m->read();
	out->offset = m->offset();
	out->size = m->size();
	out->code = m->code();
	out->text = text_of(m->text());
	out->total = m->total();
	out->end = m->end();
	out->media_type = text_of(m->media_type());
	out->url = text_of(m->url());
	return ERR_OK;
}

static enum err read(const hw::BlobMore *m, struct msg_blob_more *out, char *)
{
	out->read = m->read();
	out->credit = m->credit();
	out->cancel = m->cancel();
	out->damaged = m->damaged();
	return ERR_OK;
}

static enum err read_kind(uint16_t kind, struct span meta, struct msg *out, char text[128])
{
	const char *name = frame_kind_name(kind);
	switch (kind) {
	case FRAME_BLOB_PUT: return verify_and_read<hw::BlobPut>(meta, name, &out->blob_put, text, read);
	case FRAME_BLOB_STATE: return verify_and_read<hw::BlobState>(meta, name, &out->blob_state, text, read);
	case FRAME_BLOB_CHUNK: return verify_and_read<hw::BlobChunk>(meta, name, &out->blob_chunk, text, read);
	case FRAME_BLOB_END: return verify_and_read<hw::BlobEnd>(meta, name, &out->blob_end, text, read);
	case FRAME_BLOB_GET: return verify_and_read<hw::BlobGet>(meta, name, &out->blob_get, text, read);
	case FRAME_BLOB_DATA: return verify_and_read<hw::BlobData>(meta, name, &out->blob_data, text, read);
	case FRAME_BLOB_MORE: return verify_and_read<hw::BlobMore>(meta, name, &out->blob_more, text, read);
	default: return unknown_kind(kind, text);
	}
}

static enum err read_reference(const hw::Reference *m, struct payload_reference *out, char *)
{
	out->scheme = text_of(m->scheme());
	out->key = text_of(m->key());
	out->size = m->size();
	out->etag = text_of(m->etag());
	out->fingerprint = m->fingerprint();
	out->type = text_of(m->type());
	return ERR_OK;
}

extern "C" enum err payload_reference_decode(struct span bytes, struct payload_reference *out, char text[128])
{
	return verify_and_read<hw::Reference>(bytes, "Reference", out, text, read_reference);
}

static enum err read_info(const hw::BlobInfo *m, struct blob_info *out, char *)
{
	out->digest = bytes_of(m->digest());
	out->size = m->size();
	out->media_type = text_of(m->media_type());
	out->vnet = text_of(m->vnet());
	out->principal = text_of(m->principal());
	out->number = m->number();
	out->references = m->references();
	out->created_ms = m->created_ms();
	out->unreferenced_ms = m->unreferenced_ms();
	out->damaged = m->damaged();
	out->pin = text_of(m->pin());
	uint32_t pins = m->pins() ? m->pins()->size() : 0;
	out->pin_count = pins < COUNT_OF(out->pins) ? pins : static_cast<uint32_t>(COUNT_OF(out->pins));
	for (uint32_t i = 0; i < out->pin_count; i++)
		out->pins[i] = text_of(m->pins()->Get(i));
	return ERR_OK;
}

extern "C" enum err blob_info_decode(struct span bytes, struct blob_info *out, char text[128])
{
	return verify_and_read<hw::BlobInfo>(bytes, "BlobInfo", out, text, read_info);
}

// ---------------------------------------------------------------- writing

static void write(builder &b, const struct msg_blob_put *m)
{
	auto digest = put_bytes(b, m->digest);
	auto media_type = put_text(b, m->media_type);
	b.Finish(hw::CreateBlobPut(b, m->upload, m->size, digest, media_type, m->number, m->direct));
}

static void write(builder &b, const struct msg_blob_state *m)
{
	auto text = put_text(b, m->text);
	auto digest = put_bytes(b, m->digest);
	auto url = put_text(b, m->url);
	b.Finish(hw::CreateBlobState(b, m->upload, m->code, text, m->number, m->offset, m->credit, m->stored, digest, m->size,
				     url, m->retry_after_ms));
}

static void write(builder &b, const struct msg_blob_end *m)
{
	auto digest = put_bytes(b, m->digest);
	b.Finish(hw::CreateBlobEnd(b, m->upload, digest, m->size, m->abandon));
}

static void write(builder &b, const struct msg_blob_get *m)
{
	auto digest = b.CreateVector(m->digest.data, m->digest.len);
	b.Finish(hw::CreateBlobGet(b, m->read, digest, m->offset, m->length, m->credit, m->direct));
}

static void write(builder &b, const struct msg_blob_data *m)
{
	auto text = put_text(b, m->text);
	auto media_type = put_text(b, m->media_type);
	auto url = put_text(b, m->url);
	b.Finish(hw::CreateBlobData(b, m->read, m->offset, m->size, m->code, text, m->total, m->end, media_type, url));
}

static void write_kind(builder &b, const struct msg *m)
{
	switch (m->kind) {
	case FRAME_BLOB_PUT: write(b, &m->blob_put); break;
	case FRAME_BLOB_STATE: write(b, &m->blob_state); break;
	case FRAME_BLOB_CHUNK:
		b.Finish(hw::CreateBlobChunk(b, m->blob_chunk.upload, m->blob_chunk.offset, m->blob_chunk.size));
		break;
	case FRAME_BLOB_END: write(b, &m->blob_end); break;
	case FRAME_BLOB_GET: write(b, &m->blob_get); break;
	case FRAME_BLOB_DATA: write(b, &m->blob_data); break;
	case FRAME_BLOB_MORE:
		b.Finish(hw::CreateBlobMore(b, m->blob_more.read, m->blob_more.credit, m->blob_more.cancel, m->blob_more.damaged));
		break;
	default: ENSURE(false); break;
	}
}

const struct codec_area codec_blob = { read_kind, write_kind };

extern "C" void payload_reference_encode(struct buf *out, const struct payload_reference *r)
{
	heap memory;
	builder b(256, &memory);
	auto scheme = put_name(b, r->scheme);
	auto key = put_name(b, r->key);
	auto etag = put_text(b, r->etag);
	auto type = put_text(b, r->type);
	b.Finish(hw::CreateReference(b, scheme, key, r->size, etag, r->fingerprint, type));
	buf_append(out, b.GetBufferPointer(), b.GetSize());
	size_t more = -b.GetSize() & 7u;
	if (more > 0)
		memset(buf_extend(out, more), 0, more);
}

extern "C" void blob_info_encode(struct buf *out, const struct blob_info *i)
{
	heap memory;
	builder b(256, &memory);
	ENSURE(i->pin_count <= BLOB_INFO_PINS);
	fb::Offset<fb::String> made[BLOB_INFO_PINS];
	for (uint32_t n = 0; n < i->pin_count; n++)
		made[n] = put_name(b, i->pins[n]);
	fb::Offset<fb::Vector<fb::Offset<fb::String>>> pins;
	if (i->pin_count > 0)
		pins = b.CreateVector(made, i->pin_count);
	auto digest = put_bytes(b, i->digest);
	auto media_type = put_text(b, i->media_type);
	auto vnet = put_text(b, i->vnet);
	auto principal = put_text(b, i->principal);
	auto pin = put_text(b, i->pin);
	b.Finish(hw::CreateBlobInfo(b, digest, i->size, media_type, vnet, principal, i->number, i->references, pins,
				    i->created_ms, i->unreferenced_ms, i->damaged, pin));
	buf_append(out, b.GetBufferPointer(), b.GetSize());
}
