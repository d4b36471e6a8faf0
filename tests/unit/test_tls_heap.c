/* tests/unit/test_tls_heap.c: the limit of what TLS may use; a program of its own, as it holds for the whole process from the start. */
#include "tls_world.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_heap_that_is_full_costs_the_handshake_and_not_the_sessions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
