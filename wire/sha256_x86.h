/* wire/sha256_x86.h: whole blocks of SHA-256 by the SHA instructions of x86. Only sha256.c and its test include it. */
#pragma once

#include "base.h"

extern const uint32_t sha256_k[64];

/* Has this processor got them? Slow: in a virtual machine the question goes to the host. */
bool sha256_x86_has(void);
/* Adds `blocks` of 64 bytes to the state; where sha256_x86_has only. */
void sha256_x86(uint32_t h[8], const uint8_t *in, size_t blocks);
