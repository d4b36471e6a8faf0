/* wire/crc32c.h: CRC-32C (Castagnoli), the checksum of wire and disk. */
#pragma once

#include "span.h"

/* Continues `crc` (0 to start) over `bytes`: crc32c(crc32c(0, a), b) is the checksum of a then b. Uses the
 * processor's instruction where there is one. Thread-safe. */
uint32_t crc32c(uint32_t crc, struct span bytes);
/* The checksum of a then b, from theirs and the length of b. It is its own inverse: with that of the whole in place of b's
 * it gives b's. Costs as much as the sum over a few KiB. */
uint32_t crc32c_join(uint32_t a, uint32_t b, uint32_t b_len);
/* The checksum without the last `count` bytes, all of them zero. */
uint32_t crc32c_without_zeros(uint32_t crc, uint32_t count);
