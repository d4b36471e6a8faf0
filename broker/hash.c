/* broker/hash.c: keyed hashing of short texts. In the flow: names, keys, requirements -> HASH -> tables, records.
 *
 * SipHash with one round for each word and three at the end. Its output is as good as random to whoever does not know the key.
 *
 * 1. The same bytes under the same key and domain have the same hash for ever: hashes made with a store's secret are on its disk. */
#include "hash.h"

struct sip { uint64_t a, b, c, d; };

static inline uint64_t turned(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static inline void sip_round(struct sip *s)
{
	s->a += s->b;
	s->c += s->d;
	s->b = turned(s->b, 13) ^ s->a;
	s->d = turned(s->d, 16) ^ s->c;
	s->a = turned(s->a, 32);
	s->c += s->b;
	s->a += s->d;
	s->b = turned(s->b, 17) ^ s->c;
	s->d = turned(s->d, 21) ^ s->a;
	s->c = turned(s->c, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
	s->d ^= word;
	sip_round(s);
	s->a ^= word;
}

uint64_t bytes_hash_keyed(struct span bytes, const struct hash_key *key, uint64_t domain)
{
	uint64_t k0 = key->half[0], k1 = key->half[1], word, last = (uint64_t)bytes.len << 56;
	struct sip s = { k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du, k0 ^ 0x6c7967656e657261u, k1 ^ 0x7465646279746573u };
	size_t at = 0;
	sip_word(&s, domain);
	for (; bytes.len - at >= 8; at += 8) {
		memcpy(&word, bytes.data + at, 8);
		sip_word(&s, word);
	}
	for (size_t i = 0; i < bytes.len - at; i++)
		last |= (uint64_t)bytes.data[at + i] << (8 * i);
	sip_word(&s, last);
	s.c ^= 0xff;
	sip_round(&s);
	sip_round(&s);
	sip_round(&s);
	return s.a ^ s.b ^ s.c ^ s.d;
}

uint64_t bytes_hash(struct span bytes, uint64_t seed)
{
	const struct hash_key key = { { seed, seed * 0x9e3779b97f4a7c15u + 1 } };
	return bytes_hash_keyed(bytes, &key, 0);
}

uint64_t bytes_hash_open(struct span bytes, uint64_t seed)
{
	uint64_t hash = seed ^ (bytes.len * 0x9e3779b97f4a7c15u);
	while (bytes.len > 0) {
		uint64_t word = 0;
		size_t n = MIN_OF(bytes.len, 8);
		memcpy(&word, bytes.data, n);
		hash = (hash ^ word) * 0xff51afd7ed558ccdu;
		hash ^= hash >> 32;
		hash = hash * 0xc4ceb9fe1a85ec53u + seed;
		hash ^= hash >> 29;
		bytes = span_sub(bytes, n, bytes.len - n);
	}
	return hash;
}
