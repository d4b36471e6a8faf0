/* wire/sha256.h: SHA-256 (FIPS 180-4) and HMAC over it (RFC 2104): for tokens, which are compared and not kept, and for the content of
 * blobs. Plain C, and the processor's own instructions for long input; no state outside the struct, no allocation. */
#pragma once

#include "span.h"

enum { SHA256_BYTES = 32, SHA256_BLOCK = 64 };

struct sha256 {
	uint32_t h[8];
	uint64_t bytes;
	uint8_t block[SHA256_BLOCK];
	/* Which code hashes. Asking the processor takes longer than hashing a token does: long input is asked for, once. */
	enum sha256_path { SHA256_NOT_ASKED, SHA256_PLAIN, SHA256_X86 } path;
};

void sha256_begin(struct sha256 *s);
void sha256_add(struct sha256 *s, struct span bytes);
void sha256_end(struct sha256 *s, uint8_t out[SHA256_BYTES]); /* and forgets what it has read */
void hmac_sha256(struct span key, struct span bytes, uint8_t out[SHA256_BYTES]);
/* True where equal; takes the same time wherever they differ. */
bool bytes_same(const uint8_t *a, const uint8_t *b, size_t count);
