/* wire/sha256.c: see sha256.h. In the flow: HELLO's token -> SHA256 -> compared with what the log has; content of a blob -> SHA256 -> its
 * name.
 *
 * 1. No branch and no index depends on the bytes, only on how many there are. */
#include "sha256.h"

#include "sha256_x86.h"

enum { LONG_BLOCKS = 16 }; /* in one piece: worth the question what the processor can do */

const uint32_t sha256_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
	0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
	0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
	0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
	0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
	0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t turn(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static void block(uint32_t h[8], const uint8_t *in)
{
	uint32_t w[64], v[8];
	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t)in[4 * i] << 24 | (uint32_t)in[4 * i + 1] << 16 | (uint32_t)in[4 * i + 2] << 8 | in[4 * i + 3];
	for (int i = 16; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];
		w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
	}
	memcpy(v, h, sizeof v);
	for (int i = 0; i < 64; i++) {
		uint32_t e = v[4], a = v[0];
		uint32_t one = v[7] + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & v[5]) ^ (~e & v[6])) + sha256_k[i] + w[i];
		uint32_t two = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
		v[7] = v[6];
		v[6] = v[5];
		v[5] = e;
		v[4] = v[3] + one;
		v[3] = v[2];
		v[2] = v[1];
		v[1] = a;
		v[0] = one + two;
	}
	for (int i = 0; i < 8; i++)
		h[i] += v[i];
	explicit_bzero(w, sizeof w);
}

void sha256_begin(struct sha256 *s)
{
	*s = (struct sha256){ .h = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } };
}

static void add_blocks(struct sha256 *s, const uint8_t *in, size_t count)
{
	if (s->path == SHA256_NOT_ASKED && count >= LONG_BLOCKS)
		s->path = sha256_x86_has() ? SHA256_X86 : SHA256_PLAIN;
	if (s->path == SHA256_X86)
		sha256_x86(s->h, in, count);
	else
		for (size_t i = 0; i < count; i++)
			block(s->h, in + i * SHA256_BLOCK);
}

void sha256_add(struct sha256 *s, struct span bytes)
{
	while (bytes.len > 0) {
		size_t at = s->bytes % SHA256_BLOCK, whole = bytes.len / SHA256_BLOCK, n = whole * SHA256_BLOCK;
		if (at == 0 && whole > 0) {
			add_blocks(s, bytes.data, whole);
		} else {
			n = MIN_OF(bytes.len, SHA256_BLOCK - at);
			memcpy(s->block + at, bytes.data, n);
			if (at + n == SHA256_BLOCK)
				add_blocks(s, s->block, 1);
		}
		s->bytes += n;
		bytes = span_sub(bytes, n, bytes.len - n);
	}
}

void sha256_end(struct sha256 *s, uint8_t out[SHA256_BYTES])
{
	static const uint8_t pad[SHA256_BLOCK] = { 0x80 };
	uint64_t bits = s->bytes * 8;
	uint8_t length[8];
	for (int i = 0; i < 8; i++)
		length[i] = (uint8_t)(bits >> (56 - 8 * i));
	size_t at = s->bytes % SHA256_BLOCK;
	sha256_add(s, span_of(pad, (at < 56 ? 56 : 120) - at));
	sha256_add(s, span_of(length, sizeof length));
	for (int i = 0; i < 32; i++)
		out[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
	explicit_bzero(s, sizeof *s);
}

void hmac_sha256(struct span key, struct span bytes, uint8_t out[SHA256_BYTES])
{
	uint8_t pad[SHA256_BLOCK] = { 0 };
	struct sha256 s;
	if (key.len > SHA256_BLOCK) {
		sha256_begin(&s);
		sha256_add(&s, key);
		sha256_end(&s, pad);
	} else if (key.len > 0) {
		memcpy(pad, key.data, key.len);
	}
	for (int i = 0; i < SHA256_BLOCK; i++)
		pad[i] ^= 0x36;
	sha256_begin(&s);
	sha256_add(&s, span_of(pad, sizeof pad));
	sha256_add(&s, bytes);
	sha256_end(&s, out);
	for (int i = 0; i < SHA256_BLOCK; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	sha256_begin(&s);
	sha256_add(&s, span_of(pad, sizeof pad));
	sha256_add(&s, span_of(out, SHA256_BYTES));
	sha256_end(&s, out);
	explicit_bzero(pad, sizeof pad);
}

bool bytes_same(const uint8_t *a, const uint8_t *b, size_t count)
{
	volatile uint8_t differs = 0;
	for (size_t i = 0; i < count; i++)
		differs = (uint8_t)(differs | (a[i] ^ b[i]));
	return differs == 0;
}
