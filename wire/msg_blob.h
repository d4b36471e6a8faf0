/* wire/msg_blob.h: the messages of blobs as plain structs. A part of msg.h, which says the rules; included by it alone. */
#pragma once

enum { BLOB_DIGEST_BYTES = 32, BLOB_REF_BYTES = 48 };
#define BLOB_SIZE_UNKNOWN UINT64_MAX

/* The payload bytes of PAYLOAD_BLOB. */
struct blob_ref { uint8_t digest[BLOB_DIGEST_BYTES]; uint64_t size, zero; };
_Static_assert(sizeof(struct blob_ref) == BLOB_REF_BYTES, "wire layout");
/* Those of PAYLOAD_REFERENCE, taken apart. */
struct payload_reference { struct span scheme, key, etag, type; uint64_t size, fingerprint; };

struct msg_blob_put { uint32_t upload; uint64_t size, number; struct span digest, media_type; bool direct; };
struct msg_blob_state {
	uint32_t upload, retry_after_ms; uint16_t code; bool stored; struct span text, digest, url;
	uint64_t number, offset, credit, size;
};
struct msg_blob_chunk { uint32_t upload, size; uint64_t offset; };
struct msg_blob_end { uint32_t upload; uint64_t size; struct span digest; bool abandon; };
struct msg_blob_get { uint32_t read; uint64_t offset, length, credit; struct span digest; bool direct; };
struct msg_blob_data {
	uint32_t read, size; uint16_t code; bool end; uint64_t offset, total; struct span text, media_type, url;
};
struct msg_blob_more { uint32_t read; uint64_t credit; bool cancel, damaged; };

enum { BLOB_INFO_PINS = 64 };
struct blob_info {
	struct span digest, media_type, vnet, principal, pin;
	uint64_t size, number, created_ms, unreferenced_ms; uint32_t references; bool damaged;
	struct span pins[BLOB_INFO_PINS]; uint32_t pin_count; /* the first ones */
};

/* Is `bytes` what a payload of this kind has to be? INVALID_INPUT or MALFORMED with WHAT in text. Inline bytes always are. */
enum err payload_check(const char *what, uint8_t kind, struct span bytes, char text[128]) MUST_CHECK;
/* Reads one that was checked: it may lie at any alignment. */
void blob_ref_read(struct span bytes, struct blob_ref *out);
/* Verifies and reads; borrows. `bytes` are 8-aligned. */
enum err payload_reference_decode(struct span bytes, struct payload_reference *out, char text[128]) MUST_CHECK;
/* Appends, a multiple of 8 long. */
void payload_reference_encode(struct buf *out, const struct payload_reference *r);

/* Of REQUEST.spec and REPLY.specs. */
enum err blob_info_decode(struct span bytes, struct blob_info *out, char text[128]) MUST_CHECK;
void blob_info_encode(struct buf *out, const struct blob_info *info);

/* Frames with bytes. */
void msg_encode_blob_chunk(struct buf *out, const struct msg_blob_chunk *m, const struct span *payload, uint32_t payload_count);
void msg_encode_blob_data(struct buf *out, const struct msg_blob_data *m, const struct span *payload, uint32_t payload_count);
/* The same frame without its bytes: m->size of them and padding to 8 follow from elsewhere (a file). */
void msg_begin_blob_data(struct buf *out, const struct msg_blob_data *m);
