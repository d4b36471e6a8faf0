/* tests/unit/test_tls.c: TLS sessions against each other in memory: names, refusals, pieces, garbage, and no memory. */
#include "tls_world.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/memory.h>

static void bytes_go_both_ways_in_full_records(void **state)
{
	(void)state;
	struct pair p;
	meet(&p, &plain_server, &plain_client, "localhost");
	assert_int_equal(tls_phase(p.client), TLS_OPEN);
	assert_int_equal(tls_phase(p.server), TLS_OPEN);
	enum { SIZE = 3 * TLS_RECORD_BYTES };
	uint8_t *data = malloc(SIZE);
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (uint8_t)(i * 7 >> 3);
	assert_true(tls_write(p.client, span_of(data, SIZE)));
	assert_true(tls_out(p.client)->len <= SIZE + 3 * 22); /* three records, not one for each frame */
	assert_true(tls_write(p.server, span_of(data, SIZE)));
	talk(&p, 1000);
	assert_int_equal(p.at_server.len, SIZE);
	assert_memory_equal(p.at_server.data, data, SIZE);
	assert_int_equal(p.at_client.len, SIZE);
	assert_memory_equal(p.at_client.data, data, SIZE);
	assert_true(tls_truncated(p.server));
	tls_end(p.client);
	talk(&p, SIZE_MAX);
	assert_int_equal(tls_phase(p.server), TLS_ENDED);
	assert_false(tls_truncated(p.server));
	free(data);
	end(&p);
}

static void a_client_is_named_by_uri_then_dns_then_email_then_common_name(void **state)
{
	(void)state;
	static const struct { const char *cert; enum tls_name_kind kind; const char *name; } cases[] = {
		{ "client", TLS_NAME_URI, "spiffe://example.com/worker" }, { "client-dns", TLS_NAME_DNS, "worker.example" },
		{ "client-email", TLS_NAME_EMAIL, "w@example.com" }, { "client-cn", TLS_NAME_CN, "client-cn" }, { NULL, TLS_NAME_NONE, "" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct pair p;
		char name[TLS_NAME_BYTES + 1];
		const struct side server = { .name = "server", .ca = "ca.pem", .verify = TLS_VERIFY_OPTIONAL };
		const struct side client = { .name = cases[i].cert, .ca = "ca.pem" };
		meet(&p, &server, &client, "localhost");
		assert_int_equal(tls_phase(p.server), TLS_OPEN);
		assert_int_equal(tls_peer_name(p.server, name), cases[i].kind);
		assert_string_equal(name, cases[i].name);
		end(&p);
	}
}

static void a_server_is_refused_with_the_reason(void **state)
{
	(void)state;
	static const struct { const char *cert, *name, *crl, *text; } cases[] = {
		{ "server", "localhost", NULL, NULL }, { "server", "127.0.0.1", NULL, NULL }, { "server", "::1", NULL, NULL },
		{ "server", "localhost", "crl.pem", NULL },
		{ "elsewhere", "localhost", NULL, "for another name than localhost" },
		{ "elsewhere", "127.0.0.1", NULL, "for another address than 127.0.0.1" },
		{ "purpose", "localhost", NULL, "for another purpose" }, { "revoked", "localhost", "crl.pem", "was revoked" },
		{ "other-server", "localhost", NULL, "unknown CA" }, { "self-server", "localhost", NULL, "unknown CA" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct pair p;
		const struct side server = { .name = cases[i].cert }, client = { .ca = "cas.pem", .crl = cases[i].crl };
		meet(&p, &server, &client, cases[i].name);
		if (!cases[i].text) {
			if (tls_phase(p.client) != TLS_OPEN)
				fail_msg("%s as %s: %s", cases[i].cert, cases[i].name, tls_failure_text(p.client));
		} else {
			print_message("%s: client %s; server %s\n", cases[i].cert, tls_failure_text(p.client), tls_failure_text(p.server));
			assert_int_equal(tls_phase(p.client), TLS_FAILED);
			assert_int_equal(tls_failure(p.client), ERR_SECURITY);
			assert_non_null(strstr(tls_failure_text(p.client), cases[i].text));
			assert_int_equal(tls_phase(p.server), TLS_FAILED);
			assert_int_equal(tls_failure(p.server), ERR_PERMISSION);
		}
		end(&p);
	}
}

static void a_client_is_refused_with_the_reason(void **state)
{
	(void)state;
	static const struct { const char *cert, *server, *client; } cases[] = {
		{ NULL, "it showed no certificate", "demands a certificate" },
		{ "client-purpose", "for another purpose", "" }, { "client-revoked", "was revoked", "revoked" },
		{ "other-client", "unknown CA", "" }, { "self-client", "unknown CA", "" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct pair p;
		const struct side server = { .name = "server", .ca = "cas.pem", .crl = "crl.pem", .verify = TLS_VERIFY_REQUIRED };
		const struct side client = { .name = cases[i].cert, .ca = "ca.pem" };
		meet(&p, &server, &client, "localhost");
		print_message("%s: server %s; client %s\n", cases[i].cert, tls_failure_text(p.server), tls_failure_text(p.client));
		assert_int_equal(tls_phase(p.server), TLS_FAILED);
		assert_non_null(strstr(tls_failure_text(p.server), cases[i].server));
		assert_int_equal(tls_phase(p.client), TLS_FAILED);
		assert_int_equal(tls_failure(p.client), ERR_PERMISSION);
		assert_non_null(strstr(tls_failure_text(p.client), cases[i].client));
		end(&p);
	}
}

static void settings_that_cannot_work_are_refused_with_the_reason(void **state)
{
	(void)state;
	static const struct { struct side side; const char *text; } cases[] = {
		{ { .name = "expired" }, "expired" }, { { .name = "early" }, "not valid yet" },
		{ { .name = "server", .verify = TLS_VERIFY_REQUIRED }, "only be checked with" },
		{ { .name = "server", .ca = "server.key" }, "trusted certificates" },
		{ { .name = "server", .ca = "ca.pem", .crl = "ca.pem" }, "revocation list" }, { { .name = NULL }, "needs a certificate" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct tls_ctx *ctx;
		char text[256] = "";
		assert_int_not_equal(make(true, &cases[i].side, &ctx, text), ERR_OK);
		if (!strstr(text, cases[i].text))
			fail_msg("%zu: %s", i, text);
		assert_null(ctx);
	}
	struct buf pem = file("server.pem"), key = file("server2.key");
	struct tls_ctx *ctx;
	char text[256] = "";
	const struct tls_settings mixed = { .server = true, .chain = buf_span(&pem), .key = buf_span(&key) };
	assert_int_equal(tls_ctx_new(&mixed, &ctx, text), ERR_INVALID_INPUT);
	assert_non_null(strstr(text, "private key"));
	buf_free(&pem);
	buf_free(&key);
}

static void a_handshake_in_single_bytes_is_a_handshake(void **state)
{
	(void)state;
	struct pair p;
	struct tls_ctx *a = context(true, &plain_server), *b = context(false, &plain_client);
	begin(&p, a, b, "localhost");
	talk(&p, 1);
	assert_int_equal(tls_phase(p.client), TLS_OPEN);
	assert_int_equal(tls_phase(p.server), TLS_OPEN);
	assert_true(tls_write(p.client, span_str("12345678")));
	talk(&p, 1);
	assert_int_equal(p.at_server.len, 8);
	end(&p);
	tls_ctx_unref(a);
	tls_ctx_unref(b);
}

/* The first flight of a client, and one record behind the handshake. */
static void a_flight_cut_anywhere_waits_and_one_changed_anywhere_ends_the_session(void **state)
{
	(void)state;
	struct tls_ctx *a = context(true, &plain_server), *b = context(false, &plain_client);
	struct pair p;
	uint8_t room[256];
	begin(&p, a, b, "localhost");
	assert_int_equal(tls_read(p.client, room, 1), 0);
	struct buf hello = *tls_out(p.client);
	*tls_out(p.client) = (struct buf){ 0 };
	for (size_t cut = 0; cut < hello.len; cut++) {
		struct tls *t = tls_new(a, NULL);
		tls_feed(t, span_of(hello.data, cut));
		assert_int_equal(tls_read(t, room, sizeof room), 0);
		assert_int_equal(tls_phase(t), TLS_HANDSHAKE);
		tls_free(t);
	}
	move(p.server, p.client, &p.at_client, SIZE_MAX);
	end(&p);
	begin(&p, a, b, "localhost");
	talk(&p, SIZE_MAX);
	assert_true(tls_write(p.client, span_str("12345678")));
	struct buf record = *tls_out(p.client);
	*tls_out(p.client) = (struct buf){ 0 };
	end(&p);
	for (size_t at = 0; at < record.len; at++) {
		begin(&p, a, b, "localhost");
		talk(&p, SIZE_MAX);
		assert_true(tls_write(p.client, span_str("12345678")));
		assert_int_equal(tls_out(p.client)->len, record.len);
		tls_out(p.client)->data[at] ^= 0x40;
		move(p.client, p.server, &p.at_server, SIZE_MAX);
		assert_int_equal(p.at_server.len, 0);
		if (at != 3 && at != 4) /* the length: it may wait for more, or refuse it */
			assert_int_equal(tls_phase(p.server), TLS_FAILED);
		end(&p);
	}
	buf_free(&record);
	buf_free(&hello);
	tls_ctx_unref(a);
	tls_ctx_unref(b);
}

static void what_is_no_tls_is_said_to_be_none(void **state)
{
	(void)state;
	struct tls_ctx *a = context(true, &plain_server), *b = context(false, &plain_client);
	uint8_t room[64], noise[64];
	for (uint32_t seed = 0; seed < 200; seed++) {
		struct tls *t = seed % 2 ? tls_new(a, NULL) : tls_new(b, "localhost");
		assert_int_equal(tls_read(t, room, sizeof room), 0);
		for (size_t i = 0; i < sizeof noise; i++)
			noise[i] = (uint8_t)((seed + 1) * 2654435761u >> (i % 24));
		noise[0] = seed < 100 ? 0x50 : noise[0];
		tls_feed(t, span_of(noise, sizeof noise));
		assert_int_equal(tls_read(t, room, sizeof room), 0);
		if (seed < 100) {
			assert_int_equal(tls_phase(t), TLS_FAILED);
			assert_int_equal(tls_failure(t), ERR_MALFORMED);
			assert_string_equal(tls_failure_text(t), "it does not speak TLS");
		}
		tls_free(t);
	}
	tls_ctx_unref(a);
	tls_ctx_unref(b);
}

/* ---- no memory ---- */

static long allocations, fail_at; /* of the side that is short of memory; 0: none of them fails */
static bool counting;

/* wolfSSL itself loses a few bytes in two of these cases; LeakSanitizer, where it looks, is told that this is known. */
extern void __lsan_ignore_object(void *at) __attribute__((weak));

static bool fails(void)
{
	return counting && ++allocations == fail_at;
}

static void *failing_malloc(size_t size)
{
	void *at = fails() ? NULL : calloc(1, size);
	if (at && fail_at && __lsan_ignore_object)
		__lsan_ignore_object(at);
	return at;
}

static void *failing_realloc(void *at, size_t size)
{
	return fails() ? NULL : realloc(at, size);
}

static void pass(struct tls *from, struct tls *to, struct buf *got, const struct tls *victim)
{
	counting = to == victim;
	(void)move(from, to, got, SIZE_MAX);
	counting = false;
}

/* A handshake in which one allocation of one side fails. */
static void meet_in_need(struct tls_ctx *a, struct tls_ctx *b, const struct tls_ticket *ticket, bool server, long failing)
{
	struct pair p;
	char name[TLS_NAME_BYTES + 1];
	uint8_t none[1];
	begin(&p, a, b, "localhost");
	assert_true(p.client && p.server);
	if (ticket)
		tls_ticket_use(p.client, ticket);
	const struct tls *victim = server ? p.server : p.client;
	allocations = 0;
	fail_at = failing;
	counting = !server;
	(void)tls_read(p.client, none, 1);
	counting = false;
	for (int flight = 0; flight < 4; flight++) {
		pass(p.client, p.server, &p.at_server, victim);
		pass(p.server, p.client, &p.at_client, victim);
	}
	fail_at = 0;
	if (failing == 0)
		assert_int_equal(tls_phase(victim), TLS_OPEN);
	if (tls_phase(victim) == TLS_FAILED)
		assert_true(tls_failure(victim) != ERR_OK && tls_failure_text(victim)[0] != 0);
	if (tls_phase(p.server) == TLS_OPEN) { /* whatever failed: never without a name */
		assert_int_equal(tls_peer_name(p.server, name), TLS_NAME_URI);
		assert_string_equal(name, "spiffe://example.com/worker");
	}
	end(&p);
}

static void every_allocation_that_fails_costs_that_handshake_and_nothing_else(void **state)
{
	(void)state;
	const struct side server = { .name = "server", .ca = "cas.pem", .crl = "crl.pem", .verify = TLS_VERIFY_REQUIRED };
	const struct side client = { .name = "client", .ca = "ca.pem" };
	struct tls_ctx *a = context(true, &server), *b = context(false, &client);
	struct pair p;
	assert_int_equal(wolfSSL_SetAllocators(failing_malloc, free, failing_realloc), 0);
	begin(&p, a, b, "localhost");
	talk(&p, SIZE_MAX);
	struct tls_ticket *ticket = tls_ticket_take(p.client);
	assert_non_null(ticket);
	end(&p);
	for (int kind = 0; kind < 4; kind++) { /* the client, the server; with certificates, by a ticket */
		meet_in_need(a, b, kind < 2 ? NULL : ticket, kind % 2, 0);
		long count = allocations;
		print_message("%s, %s: %ld allocations\n", kind % 2 ? "server" : "client", kind < 2 ? "certificates" : "ticket", count);
		assert_true(count > 20);
		/* Every one of the first, then one in seven: 300 handshakes take a second. */
		for (long failing = 1; failing <= count; failing += failing > 120 ? 7 : 1)
			meet_in_need(a, b, kind < 2 ? NULL : ticket, kind % 2, failing);
	}
	tls_ticket_free(ticket);
	meet_in_need(a, b, NULL, true, 0);
	tls_ctx_unref(a);
	tls_ctx_unref(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_go_both_ways_in_full_records),
		cmocka_unit_test(a_client_is_named_by_uri_then_dns_then_email_then_common_name),
		cmocka_unit_test(a_server_is_refused_with_the_reason),
		cmocka_unit_test(a_client_is_refused_with_the_reason),
		cmocka_unit_test(settings_that_cannot_work_are_refused_with_the_reason),
		cmocka_unit_test(a_handshake_in_single_bytes_is_a_handshake),
		cmocka_unit_test(a_flight_cut_anywhere_waits_and_one_changed_anywhere_ends_the_session),
		cmocka_unit_test(what_is_no_tls_is_said_to_be_none),
		cmocka_unit_test(every_allocation_that_fails_costs_that_handshake_and_nothing_else),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
