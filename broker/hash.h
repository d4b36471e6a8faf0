/* broker/hash.h: bytes to 64 bits, as keys of map64: SipHash-1-3, so that who does not know the key finds no two texts that collide,
 * however many hashes of theirs meet in a table. Where two texts must not be taken for one, compare them as well. */
#pragma once

#include "../wire/span.h"

/* Durable hashes are made with the secret of the store; those of one process with a seed of its own. */
struct hash_key { uint64_t half[2]; };

/* Domains of durable hashes, by use. */
#define SECRET_LANE 0x6c616e6573ull
#define SECRET_ORDER 0x6f72646572ull

/* The same bytes, key and domain give the same hash, in every process. Domains keep the uses of one key apart. */
uint64_t bytes_hash_keyed(struct span bytes, const struct hash_key *key, uint64_t domain);
/* With a seed for a key. */
uint64_t bytes_hash(struct span bytes, uint64_t seed);
/* What made durable hashes of stores that had no secret yet: anybody can find texts that collide. */
uint64_t bytes_hash_open(struct span bytes, uint64_t seed);
