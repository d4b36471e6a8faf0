/* wire/crc32c.h: CRC-32C (Castagnoli), the checksum of wire and disk. */
#pragma once

#include "span.h"

/* Continues `crc` (0 to start) over `bytes`: crc32c(crc32c(0, a), b) is the checksum of a then b. Uses the
 * processor's instruction where there is one. Thread-safe. */
uint32_t crc32c(uint32_t crc, struct span bytes);
