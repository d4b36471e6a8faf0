/* broker/hash.h: bytes to 64 bits, as keys of map64. Not against people who look for collisions: give it a seed they do not
 * know, or compare the bytes. */
#pragma once

#include "../wire/span.h"

/* The same bytes and seed give the same hash, in every process. */
uint64_t bytes_hash(struct span bytes, uint64_t seed);
