/* wire/sha256_x86.c: see sha256_x86.h. In the flow: content of a blob -> sha256_add -> SHA256 BY INSTRUCTIONS -> the state.
 *
 * The instructions want the eight words of the state in two registers, (A B E F) and (C D G H), and do two rounds at a time with what
 * of the message and the constants is in the low half of a third one. Four words of the message are in a register, and four of these
 * hold what the next sixteen rounds need.
 *
 * 1. Nothing depends on the bytes but their own values. */
#include "sha256_x86.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>

bool sha256_x86_has(void)
{
	unsigned a, b, c, d;
	return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA) != 0;
}

/* Four rounds with the message in `m0`, and behind them the four words that are needed sixteen rounds later in its place. */
#define ROUNDS(i, m0, m1, m2, m3)                                                                            \
	do {                                                                                                 \
		__m128i w = _mm_add_epi32(m0, _mm_loadu_si128((const __m128i *)(const void *)(sha256_k + 4 * (i)))); \
		cdgh = _mm_sha256rnds2_epu32(cdgh, abef, w);                                                 \
		abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(w, 0x0e));                        \
		if ((i) < 12)                                                                                \
			m0 = _mm_sha256msg2_epu32(                                                           \
				_mm_add_epi32(_mm_sha256msg1_epu32(m0, m1), _mm_alignr_epi8(m3, m2, 4)), m3); \
	} while (0)
#define SIXTEEN(i, m0, m1, m2, m3)           \
	do {                                 \
		ROUNDS(i, m0, m1, m2, m3);     \
		ROUNDS((i) + 1, m1, m2, m3, m0); \
		ROUNDS((i) + 2, m2, m3, m0, m1); \
		ROUNDS((i) + 3, m3, m0, m1, m2); \
	} while (0)

__attribute__((target("sha,sse4.1"))) static inline __m128i load_words(const uint8_t *at)
{
	const __m128i turn = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
	return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)at), turn);
}

__attribute__((target("sha,sse4.1"))) void sha256_x86(uint32_t h[8], const uint8_t *in, size_t blocks)
{
	__m128i *state = (__m128i *)(void *)h;
	__m128i dcba = _mm_loadu_si128(state), hgfe = _mm_loadu_si128(state + 1);
	__m128i cdab = _mm_shuffle_epi32(dcba, 0xb1), efgh = _mm_shuffle_epi32(hgfe, 0x1b);
	__m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

	for (; blocks > 0; blocks--, in += 64) {
		__m128i abef_before = abef, cdgh_before = cdgh;
		__m128i m0 = load_words(in), m1 = load_words(in + 16), m2 = load_words(in + 32), m3 = load_words(in + 48);
		SIXTEEN(0, m0, m1, m2, m3);
		SIXTEEN(4, m0, m1, m2, m3);
		SIXTEEN(8, m0, m1, m2, m3);
		SIXTEEN(12, m0, m1, m2, m3);
		abef = _mm_add_epi32(abef, abef_before);
		cdgh = _mm_add_epi32(cdgh, cdgh_before);
	}

	__m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
	_mm_storeu_si128(state, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128(state + 1, _mm_alignr_epi8(dchg, feba, 8));
}

#else

bool sha256_x86_has(void) { return false; }

void sha256_x86(uint32_t h[8], const uint8_t *in, size_t blocks)
{
	(void)h, (void)in;
	ENSURE(blocks == 0);
}

#endif
