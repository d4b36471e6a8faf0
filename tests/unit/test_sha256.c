/* SHA-256: the vectors of its standard, and every path the same for every length and every way to cut the input. */
#include "../../wire/sha256.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "../../wire/sha256_x86.h"

static void hash(enum sha256_path path, struct span bytes, size_t first, uint8_t out[SHA256_BYTES])
{
	struct sha256 s;
	sha256_begin(&s);
	s.path = path;
	sha256_add(&s, span_sub(bytes, 0, first));
	sha256_add(&s, span_sub(bytes, first, bytes.len - first));
	sha256_end(&s, out);
}

static bool is(const uint8_t digest[SHA256_BYTES], const char *hex)
{
	char text[2 * SHA256_BYTES + 1];
	for (size_t i = 0; i < SHA256_BYTES; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", digest[i]);
	return strcmp(text, hex) == 0;
}

static void test_the_vectors_of_the_standard_hold_on_every_path(void **state)
{
	(void)state;
	static const struct { const char *text, *digest; } vectors[] = {
		{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
		{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
		{ "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
		  "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
	};
	enum { MILLION = 1000000 };
	uint8_t out[SHA256_BYTES], *many = malloc(MILLION);
	assert_non_null(many);
	memset(many, 'a', MILLION);
	for (unsigned path = SHA256_NOT_ASKED; path <= SHA256_X86; path++) {
		if (path == SHA256_X86 && !sha256_x86_has())
			continue;
		for (size_t i = 0; i < COUNT_OF(vectors); i++) {
			hash((enum sha256_path)path, span_str(vectors[i].text), 0, out);
			assert_true(is(out, vectors[i].digest));
		}
		hash((enum sha256_path)path, span_of(many, MILLION), 333, out);
		assert_true(is(out, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
	}
	free(many);
}

static void test_every_length_and_every_cut_gives_the_same_on_every_path(void **state)
{
	(void)state;
	uint8_t bytes[300], plain[SHA256_BYTES], other[SHA256_BYTES];
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 167 + i / 64);
	for (size_t len = 0; len <= sizeof bytes; len++) {
		hash(SHA256_PLAIN, span_of(bytes, len), 0, plain);
		for (size_t cut = 0; cut <= len; cut += 1 + cut / 70) {
			hash(SHA256_PLAIN, span_of(bytes, len), cut, other);
			assert_memory_equal(plain, other, SHA256_BYTES);
			if (!sha256_x86_has())
				continue;
			hash(SHA256_X86, span_of(bytes, len), cut, other);
			assert_memory_equal(plain, other, SHA256_BYTES);
		}
	}
}

static uint64_t next(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static void test_random_pieces_of_long_input_give_the_same_on_every_path(void **state)
{
	(void)state;
	enum { MOST = 1 << 16 };
	uint64_t seed = 7;
	uint8_t *bytes = malloc(MOST), digests[2][SHA256_BYTES];
	assert_non_null(bytes);
	for (size_t i = 0; i < MOST; i++)
		bytes[i] = (uint8_t)next(&seed);
	for (int round = 0; round < 200; round++) {
		size_t len = next(&seed) % MOST, most = 1 + next(&seed) % 5000;
		hash(SHA256_PLAIN, span_of(bytes, len), 0, digests[0]);
		struct sha256 s;
		sha256_begin(&s); /* and asks, where a piece is long enough */
		for (size_t at = 0; at < len;) {
			size_t some = next(&seed) % (most + 1), n = MIN_OF(some, len - at);
			sha256_add(&s, span_of(bytes + at, n));
			at += n;
		}
		sha256_end(&s, digests[1]);
		assert_memory_equal(digests[0], digests[1], SHA256_BYTES);
	}
	free(bytes);
}

static void test_what_was_read_is_forgotten(void **state)
{
	(void)state;
	static const struct sha256 nothing;
	uint8_t out[SHA256_BYTES];
	struct sha256 s;
	sha256_begin(&s);
	sha256_add(&s, span_str("a secret"));
	sha256_end(&s, out);
	assert_memory_equal(&s, &nothing, sizeof s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_vectors_of_the_standard_hold_on_every_path),
		cmocka_unit_test(test_every_length_and_every_cut_gives_the_same_on_every_path),
		cmocka_unit_test(test_random_pieces_of_long_input_give_the_same_on_every_path),
		cmocka_unit_test(test_what_was_read_is_forgotten),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
