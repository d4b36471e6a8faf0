/* wire/crc32c.c: CRC-32C over borrowed bytes. Constant data only; any thread may call it.
 *
 * The processor's instruction takes three cycles to answer but starts once per cycle, so long input is cut into
 * three lanes that run side by side. Joining them means moving a lane's register over the bytes that follow it,
 * which is one carry-less multiplication by a constant, x^(8 * bytes - 33) modulo the polynomial.
 *
 * 1. Every path gives the same value; which one runs depends on the processor and the length only. */
#include "crc32c.h"

/* One table entry is the sum of the entries of its bits, so the compiler can build the table. */
#define BIT(n, i, value) (((n) >> (i)) & 1u ? (value) : 0u)
#define T1(n)                                                                                         \
	(BIT(n, 0, 0xf26b8303u) ^ BIT(n, 1, 0xe13b70f7u) ^ BIT(n, 2, 0xc79a971fu) ^ BIT(n, 3, 0x8ad958cfu) ^ \
	 BIT(n, 4, 0x105ec76fu) ^ BIT(n, 5, 0x20bd8edeu) ^ BIT(n, 6, 0x417b1dbcu) ^ BIT(n, 7, 0x82f63b78u))
#define T4(n) T1(n), T1((n) + 1u), T1((n) + 2u), T1((n) + 3u)
#define T16(n) T4(n), T4((n) + 4u), T4((n) + 8u), T4((n) + 12u)
#define T64(n) T16(n), T16((n) + 16u), T16((n) + 32u), T16((n) + 48u)
static const uint32_t table[256] = { T64(0u), T64(64u), T64(128u), T64(192u) };

static uint32_t update_table(uint32_t state, const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		state = (state >> 8) ^ table[(state ^ at[i]) & 0xff];
	return state;
}

#ifdef __x86_64__
#include <nmmintrin.h>
#include <wmmintrin.h>

static inline uint64_t load_u64(const uint8_t *at)
{
	uint64_t v;
	memcpy(&v, at, sizeof v);
	return v;
}

__attribute__((target("sse4.2"))) static uint32_t update_sse42(uint32_t state, const uint8_t *at, size_t len)
{
	uint64_t wide = state;
	for (; len >= 8; at += 8, len -= 8)
		wide = _mm_crc32_u64(wide, load_u64(at));
	state = (uint32_t)wide;
	for (; len > 0; at++, len--)
		state = _mm_crc32_u8(state, *at);
	return state;
}

/* The register after it has passed over the zero bytes that `power` stands for. */
__attribute__((target("sse4.2,pclmul"))) static uint64_t moved(uint64_t state, uint32_t power)
{
	__m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)state), _mm_cvtsi64_si128(power), 0);
	return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

/* Whole blocks of three lanes of `lane` bytes; power1 and power2 move over one and two lanes. */
__attribute__((target("sse4.2,pclmul"))) static uint32_t update_lanes(uint32_t state, const uint8_t *at,
								      size_t blocks, size_t lane,
								      uint32_t power1, uint32_t power2)
{
	uint64_t a = state;
	for (; blocks > 0; blocks--, at += 3 * lane) {
		uint64_t b = 0, c = 0;
		for (size_t i = 0; i < lane; i += 8) {
			a = _mm_crc32_u64(a, load_u64(at + i));
			b = _mm_crc32_u64(b, load_u64(at + lane + i));
			c = _mm_crc32_u64(c, load_u64(at + 2 * lane + i));
		}
		a = moved(a, power2) ^ moved(b, power1) ^ c;
	}
	return (uint32_t)a;
}

enum { LANE_LONG = 1024, LANE_SHORT = 128 };

static uint32_t update(uint32_t state, const uint8_t *at, size_t len)
{
	if (!__builtin_cpu_supports("sse4.2"))
		return update_table(state, at, len);
	if (len >= (size_t)3 * LANE_SHORT && __builtin_cpu_supports("pclmul")) {
		size_t blocks = len / ((size_t)3 * LANE_LONG), done = blocks * 3 * LANE_LONG;
		state = update_lanes(state, at, blocks, LANE_LONG, 0x170076fa, 0xa51b6135);
		at += done;
		len -= done;
		blocks = len / ((size_t)3 * LANE_SHORT);
		done = blocks * 3 * LANE_SHORT;
		state = update_lanes(state, at, blocks, LANE_SHORT, 0x0d3b6092, 0xb9e02b86);
		at += done;
		len -= done;
	}
	return update_sse42(state, at, len);
}
#else
static uint32_t update(uint32_t state, const uint8_t *at, size_t len)
{
	return update_table(state, at, len);
}
#endif

uint32_t crc32c(uint32_t crc, struct span bytes)
{
	return ~update(~crc, bytes.data, bytes.len);
}

/* ---- sums of parts, without the bytes ---- */

#define POLYNOMIAL 0x82f63b78u

/* x to the power of 8 * 2^i, modulo the polynomial; the lowest power is the highest bit. */
static const uint32_t powers[32] = {
	0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
	0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
	0xfe7740e6, 0xf946610b, 0x3c204f8f, 0x538586e3, 0x59726915, 0x734d5309, 0xbc1ac763, 0x7d0722cc,
	0xd289cabe, 0xe94ca9bc, 0x05b74f3f, 0xa51e1f42, 0x40000000, 0x20000000, 0x08000000, 0x00800000,
};

static uint32_t product(uint32_t a, uint32_t b)
{
	uint32_t sum = 0;
	for (; a != 0; a <<= 1) {
		sum ^= a >> 31 ? b : 0;
		b = b >> 1 ^ (b & 1 ? POLYNOMIAL : 0);
	}
	return sum;
}

uint32_t crc32c_join(uint32_t a, uint32_t b, uint32_t b_len)
{
	for (uint32_t i = 0; b_len != 0; i++, b_len >>= 1)
		if (b_len & 1)
			a = product(powers[i], a);
	return a ^ b;
}

uint32_t crc32c_without_zeros(uint32_t crc, uint32_t count)
{
	uint32_t state = ~crc;
	for (uint32_t bits = 8 * count; bits > 0; bits--)
		state = state >> 31 ? (state ^ POLYNOMIAL) << 1 | 1 : state << 1;
	return ~state;
}
