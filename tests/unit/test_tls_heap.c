/* tests/unit/test_tls_heap.c: the limit of what TLS may use; a program of its own, as it holds for the whole process from the start. */
#include "tls_world.h"

#include "../../wire/tls_impl.h"

static void a_heap_that_is_full_costs_the_handshake_and_not_the_sessions(void **state)
{
	(void)state;
	struct tls_heap_stats stats;
	tls_heap_limit(64 << 20);
	struct tls_ctx *a = context(true, &plain_server), *b = context(false, &plain_client);
	struct pair p, q;
	begin(&p, a, b, "localhost");
	talk(&p, SIZE_MAX);
	assert_int_equal(tls_phase(p.server), TLS_OPEN);
	tls_heap_get(&stats);
	assert_true(stats.used > 0 && stats.peak >= stats.used);
	tls_heap_limit(stats.used + stats.used / 16);
	struct tls *refused = tls_new(a, NULL);
	assert_null(refused);
	assert_true(tls_write(p.client, span_str("12345678")));
	talk(&p, SIZE_MAX);
	assert_int_equal(p.at_server.len, 8);
	tls_heap_get(&stats);
	assert_true(stats.refused_total > 0);
	tls_heap_limit(64 << 20);
	begin(&q, a, b, "localhost");
	talk(&q, SIZE_MAX);
	assert_int_equal(tls_phase(q.server), TLS_OPEN);
	end(&q);
	end(&p);
	tls_ctx_unref(a);
	tls_ctx_unref(b);
}

/* Sessions of a server that wants certificates, idle, from chains of two and of three: what stays is at most 70,000 bytes each. */
static void a_session_with_a_client_s_certificates_stays_below_70_000_bytes(void **state)
{
	(void)state;
	enum { SESSIONS = 40, BYTES_MAX = 70000 };
	static const char *const certs[] = { "client", "client-deep" };
	tls_heap_limit(64 << 20);
	for (size_t i = 0; i < COUNT_OF(certs); i++) {
		const struct side server = { .name = "server", .ca = "ca.pem", .verify = TLS_VERIFY_REQUIRED };
		const struct side client = { .name = certs[i], .ca = "ca.pem" };
		struct tls_ctx *a = context(true, &server), *b = context(false, &client);
		struct tls *sessions[2 * SESSIONS];
		struct tls_heap_stats before, after;
		for (size_t k = 0; k < 2 * SESSIONS; k++) {
			struct pair p;
			if (k == SESSIONS) /* with the first ones wolfSSL's tables for the curve have grown */
				tls_heap_get(&before);
			begin(&p, a, b, "localhost");
			talk(&p, SIZE_MAX);
			assert_int_equal(tls_phase(p.server), TLS_OPEN);
			sessions[k] = p.server;
			p.server = NULL;
			end(&p);
		}
		tls_heap_get(&after);
		uint64_t each = (after.used - before.used) / SESSIONS;
		print_message("%s: %llu bytes a session\n", certs[i], (unsigned long long)each);
		assert_in_range(each, 40000, BYTES_MAX);
		for (size_t k = 0; k < 2 * SESSIONS; k++)
			tls_free(sessions[k]);
		tls_ctx_unref(a);
		tls_ctx_unref(b);
	}
}

/* wolfSSL forgets some of it: whoever asks, again and again, would have all of the heap. */
static void whoever_asks_for_an_ocsp_answer_costs_nothing_behind_the_session(void **state)
{
	(void)state;
	enum { SESSIONS = 40 };
	const struct side server = { .name = "server", .ca = "cas.pem", .ocsp = "ocsp-good.der" };
	const struct side strict = { .ca = "ca.pem", .ocsp_required = true };
	tls_heap_limit(64 << 20);
	struct tls_ctx *a = context(true, &server), *b = context(false, &strict);
	struct tls_heap_stats before = { .used = 0 }, after;
	for (size_t i = 0; i < 2 * SESSIONS; i++) {
		struct pair p;
		begin(&p, a, b, "localhost");
		if (i % 4 == 1) /* one that is tried again: its first key share is of a group that the server does not have */
			assert_int_equal(wolfSSL_UseKeyShare(p.client->wolf, WOLFSSL_ECC_SECP384R1), WOLFSSL_SUCCESS);
		talk(&p, i % 3 ? SIZE_MAX : 100);
		if (tls_phase(p.client) != TLS_OPEN)
			fail_msg("%zu: %s; %s", i, tls_failure_text(p.client), tls_failure_text(p.server));
		end(&p);
		if (i == SESSIONS - 1)
			tls_heap_get(&before);
	}
	tls_heap_get(&after);
	assert_int_equal(after.used, before.used);
	tls_ctx_unref(a);
	tls_ctx_unref(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_with_a_client_s_certificates_stays_below_70_000_bytes),
		cmocka_unit_test(whoever_asks_for_an_ocsp_answer_costs_nothing_behind_the_session),
		cmocka_unit_test(a_heap_that_is_full_costs_the_handshake_and_not_the_sessions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
