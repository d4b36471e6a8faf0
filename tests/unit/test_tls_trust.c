/* tests/unit/test_tls_trust.c: what TLS knows of the other side after a handshake: tickets, a second look at certificates, OCSP. */
#include "tls_world.h"

#include "../../wire/tls_impl.h"

static const struct side mutual = { .name = "server", .ca = "cas.pem", .crl = "crl.pem", .verify = TLS_VERIFY_REQUIRED },
			 later = { .name = "server", .ca = "cas.pem", .crl = "crl-later.pem", .verify = TLS_VERIFY_REQUIRED },
			 worker = { .name = "client-later", .ca = "ca.pem" };

/* Both open, or the reason. */
static void assert_open(struct pair *p)
{
	if (tls_phase(p->server) != TLS_OPEN || tls_phase(p->client) != TLS_OPEN)
		fail_msg("server: %s; client: %s", tls_failure_text(p->server), tls_failure_text(p->client));
}

static struct tls_ticket *ticket_of(struct tls_ctx *a, struct tls_ctx *b)
{
	struct pair p;
	begin(&p, a, b, "localhost");
	assert_null(tls_ticket_take(p.client));
	talk(&p, SIZE_MAX);
	assert_open(&p);
	assert_false(tls_resumed(p.server));
	struct tls_ticket *ticket = tls_ticket_take(p.client);
	assert_non_null(ticket);
	end(&p);
	return ticket;
}

static void begin_again(struct pair *p, struct tls_ctx *a, struct tls_ctx *b, const struct tls_ticket *ticket)
{
	begin(p, a, b, "localhost");
	tls_ticket_use(p->client, ticket);
}

/* ---- tickets ---- */

static void a_resumed_session_is_still_somebody_s(void **state)
{
	(void)state;
	struct tls_ctx *a = context(true, &mutual), *b = context(false, &worker);
	struct tls_ticket *ticket = ticket_of(a, b);
	/* What a ticket leads to gives the next one. */
	for (int round = 0; round < 3; round++) {
		struct pair p;
		char name[TLS_NAME_BYTES + 1];
		begin_again(&p, a, b, ticket);
		talk(&p, round == 1 ? 1 : SIZE_MAX);
		assert_open(&p);
		assert_true(tls_resumed(p.server) && tls_resumed(p.client));
		assert_int_equal(tls_peer_name(p.server, name), TLS_NAME_URI);
		assert_string_equal(name, "spiffe://example.com/later");
		assert_true(tls_write(p.client, span_str("12345678")));
		talk(&p, SIZE_MAX);
		assert_int_equal(p.at_server.len, 8);
		tls_ticket_free(ticket);
		ticket = tls_ticket_take(p.client);
		assert_non_null(ticket);
		end(&p);
	}
	tls_ticket_free(ticket);
	tls_ctx_unref(a);
	tls_ctx_unref(b);
}

static void where_nobody_shows_certificates_a_resumed_session_is_nobody_s(void **state)
{
	(void)state;
	const struct side optional = { .name = "server", .ca = "ca.pem", .verify = TLS_VERIFY_OPTIONAL };
	const struct side *const servers[] = { &plain_server, &optional };
	for (size_t i = 0; i < COUNT_OF(servers); i++) {
		struct tls_ctx *a = context(true, servers[i]), *b = context(false, &plain_client);
		struct tls_ticket *ticket = ticket_of(a, b);
		struct pair p;
		char name[TLS_NAME_BYTES + 1];
		begin_again(&p, a, b, ticket);
		talk(&p, SIZE_MAX);
		assert_open(&p);
		assert_true(tls_resumed(p.server));
		assert_int_equal(tls_peer_name(p.server, name), TLS_NAME_NONE);
		end(&p);
		tls_ticket_free(ticket);
		tls_ctx_unref(a);
		tls_ctx_unref(b);
	}
}

static void a_ticket_from_before_certificates_were_read_again_is_a_full_handshake(void **state)
{
	(void)state;
	struct tls_ctx *a = context(true, &mutual), *same = context(true, &mutual), *revoked = context(true, &later),
		       *b = context(false, &worker);
	struct tls_ticket *ticket = ticket_of(a, b);
	struct pair p;
	begin_again(&p, same, b, ticket);
	talk(&p, SIZE_MAX);
	assert_open(&p);
	assert_false(tls_resumed(p.server) || tls_resumed(p.client));
	end(&p);
	begin_again(&p, revoked, b, ticket);
	talk(&p, SIZE_MAX);
	assert_int_equal(tls_phase(p.server), TLS_FAILED);
	assert_string_equal(tls_failure_text(p.server), "its certificate was revoked");
	assert_string_equal(tls_failure_text(p.client), "it says that our certificate was revoked");
	end(&p);
	tls_ticket_free(ticket);
	tls_ctx_unref(a);
	tls_ctx_unref(same);
	tls_ctx_unref(revoked);
	tls_ctx_unref(b);
}

static void a_ticket_of_somebody_who_was_revoked_or_forgotten_is_a_full_handshake(void **state)
{
	(void)state;
	for (int forgotten = 0; forgotten < 2; forgotten++) {
		struct tls_ctx *a = context(true, &mutual), *revoked = context(true, &later), *b = context(false, &worker);
		struct tls_ticket *ticket = ticket_of(a, b);
		struct pair p;
		if (forgotten) {
			for (size_t i = 0; i < TLS_PEERS; i++) {
				tls_peer_unref(a->peers[i]);
				a->peers[i] = NULL;
			}
		} else { /* as if a key of tickets could outlive its context */
			WOLFSSL_CTX *judge = a->judge;
			a->judge = revoked->judge;
			revoked->judge = judge;
		}
		begin_again(&p, a, b, ticket);
		talk(&p, SIZE_MAX);
		assert_open(&p);
		assert_false(tls_resumed(p.server));
		end(&p);
		tls_ticket_free(ticket);
		tls_ctx_unref(a);
		tls_ctx_unref(revoked);
		tls_ctx_unref(b);
	}
}

static void a_ticket_is_worth_nothing_changed_or_late(void **state)
{
	(void)state;
	struct tls_ctx *a = context(true, &mutual), *b = context(false, &worker);
	struct tls_ticket *ticket = ticket_of(a, b);
	struct pair p;
	begin_again(&p, a, b, ticket);
	uint8_t none[1];
	assert_int_equal(tls_read(p.client, none, 1), 0);
	a->keys[0].key[7] ^= 1; /* as if any bit of the ticket were another one: its tag does not fit */
	talk(&p, SIZE_MAX);
	assert_open(&p);
	assert_false(tls_resumed(p.server));
	a->keys[0].key[7] ^= 1;
	end(&p);
	a->keys[0].made_s -= 2 * 3600; /* the key has served its time: there is a new one, and what the old one sealed is refused */
	begin_again(&p, a, b, ticket);
	talk(&p, SIZE_MAX);
	assert_open(&p);
	assert_false(tls_resumed(p.server));
	assert_int_not_equal(memcmp(a->keys[0].name, a->keys[1].name, sizeof a->keys[0].name), 0);
	end(&p);
	tls_ticket_free(ticket);
	tls_ctx_unref(a);
	tls_ctx_unref(b);
}

static void nobody_resumes_without_new_keys(void **state)
{
	(void)state;
	struct tls_ctx *a = context(true, &mutual), *b = context(false, &worker);
	struct tls_ticket *ticket = ticket_of(a, b);
	for (int side = 0; side < 3; side++) {
		struct pair p;
		begin_again(&p, a, b, ticket);
		if (side > 0)
			assert_int_equal(wolfSSL_no_dhe_psk(side == 1 ? p.client->wolf : p.server->wolf), 0);
		p.server->hello_seen = side == 2; /* one that is not ours, then */
		talk(&p, 7);
		struct tls *strict = side == 1 ? p.server : p.client;
		if (side == 0) {
			assert_open(&p);
			assert_true(tls_resumed(p.server));
		} else {
			assert_int_equal(tls_phase(strict), TLS_FAILED);
			print_message("%d: %s; %s\n", side, tls_failure_text(p.server), tls_failure_text(p.client));
			assert_int_equal(tls_failure(strict), ERR_SECURITY);
			assert_non_null(strstr(tls_failure_text(strict), "no forward secrecy"));
		}
		end(&p);
	}
	tls_ticket_free(ticket);
	tls_ctx_unref(a);
	tls_ctx_unref(b);
}

/* ---- a second look ---- */

static void a_second_look_ends_only_what_is_revoked_or_from_nobody_trusted(void **state)
{
	(void)state;
	static const struct { const char *cert, *ca, *crl, *text; } cases[] = {
		{ "client-later", "cas.pem", "crl.pem", NULL }, { "client-later", "cas.pem", "crl-later.pem", "its certificate was revoked" },
		{ "client", "cas.pem", "crl-later.pem", NULL }, { "client", "ca.pem", NULL, NULL }, { "client-deep", "ca.pem", NULL, NULL },
		{ "client-deep", "issuer.crt", NULL, NULL }, { "client", "other.crt", NULL, "unknown CA" },
		{ "client-deep", "other.crt", NULL, "unknown CA" }, { NULL, "other.crt", NULL, NULL },
		{ "client-deep", "cas.pem", "crl-later.pem", NULL }, /* there is no list of deep's: nobody can tell */
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct side before = { .name = "server", .ca = "ca.pem", .verify = TLS_VERIFY_OPTIONAL };
		const struct side after = { .name = "server", .ca = cases[i].ca, .crl = cases[i].crl, .verify = TLS_VERIFY_OPTIONAL };
		const struct side client = { .name = cases[i].cert, .ca = "ca.pem" };
		struct tls_ctx *ctx = context(true, &after);
		struct pair p;
		char text[128] = "";
		meet(&p, &before, &client, "localhost");
		assert_open(&p);
		for (int twice = 0; twice < 2; twice++) {
			enum err e = tls_recheck(p.server, ctx, text);
			if (e != (cases[i].text ? ERR_SECURITY : ERR_OK) || (cases[i].text && !strstr(text, cases[i].text)))
				fail_msg("%zu: %s \"%s\"", i, err_name(e), text);
		}
		end(&p);
		tls_ctx_unref(ctx);
	}
}

/* A certificate of a client, shown as if it had issued the one that is judged. */
static void what_is_no_ca_makes_nobody_trusted(void **state)
{
	(void)state;
	struct tls_ctx *ctx = context(true, &mutual);
	struct pair p;
	meet(&p, &mutual, &worker, "localhost");
	assert_open(&p);
	struct tls_peer *peer = calloc(1, sizeof *peer + 2 * p.server->peer->size);
	uint32_t first, size = p.server->peer->size;
	memcpy(&first, p.server->peer->chain, sizeof first);
	first += (uint32_t)sizeof first;
	/* Somebody unknown's, then the client's own in the place of an issuer. */
	struct buf other = file("other-client.pem");
	WOLFSSL_X509 *x509 = wolfSSL_X509_load_certificate_buffer(other.data, (int)other.len, WOLFSSL_FILETYPE_PEM);
	int length;
	const uint8_t *der = wolfSSL_X509_get_der(x509, &length);
	assert_true((uint32_t)length < size);
	memcpy(peer->chain, &length, sizeof length);
	memcpy(peer->chain + sizeof length, der, (size_t)length);
	memcpy(peer->chain + sizeof length + (size_t)length, p.server->peer->chain, first);
	peer->size = (uint32_t)sizeof length + (uint32_t)length + first;
	assert_int_equal(tls_judge(ctx, peer), ASN_NO_SIGNER_E);
	WOLFSSL_CERT_MANAGER *store = wolfSSL_CTX_GetCertManager(ctx->judge);
	int signers = wolfSSL_CertManagerVerifyBuffer(store, der, length, WOLFSSL_FILETYPE_ASN1);
	assert_int_equal(signers, ASN_NO_SIGNER_E);
	wolfSSL_X509_free(x509);
	free(peer);
	buf_free(&other);
	end(&p);
	tls_ctx_unref(ctx);
}

/* ---- OCSP ---- */

static void a_client_believes_a_good_answer_and_no_other(void **state)
{
	(void)state;
	static const struct { const char *cert, *ocsp; bool required; const char *text; } cases[] = {
		{ "server", NULL, false, NULL }, { "server", "ocsp-good.der", false, NULL }, { "server", "ocsp-good.der", true, NULL },
		{ "server", NULL, true, "no OCSP answer about its certificate, which is required here" },
		{ "server", "ocsp-old.der", false, NULL }, /* such a server keeps it to itself */
		{ "server", "ocsp-old.der", true, "which is required here" }, { "revoked", "ocsp-revoked.der", false, "was revoked, as the OCSP" },
		{ "staple", "ocsp-staple.der", false, NULL }, { "staple", "ocsp-staple.der", true, NULL },
		{ "staple", NULL, false, "demands (must-staple)" }, { "staple", NULL, true, "which is required here" },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct side server = { .name = cases[i].cert, .ca = "cas.pem", .ocsp = cases[i].ocsp };
		const struct side client = { .ca = "ca.pem", .ocsp_required = cases[i].required };
		struct pair p;
		meet(&p, &server, &client, "localhost");
		print_message("%s, %s: %s\n", cases[i].cert, cases[i].ocsp, tls_failure_text(p.client));
		if (!cases[i].text) {
			assert_open(&p);
		} else {
			assert_int_equal(tls_phase(p.client), TLS_FAILED);
			assert_int_equal(tls_failure(p.client), ERR_SECURITY);
			assert_non_null(strstr(tls_failure_text(p.client), cases[i].text));
			assert_int_not_equal(tls_phase(p.server), TLS_OPEN);
		}
		end(&p);
	}
}

static void an_answer_that_has_expired_is_no_answer(void **state)
{
	(void)state;
	static const struct { const char *ocsp; bool shown; } cases[] = { { "ocsp-good.der", true }, { "ocsp-old.der", false }, { NULL, false } };
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		const struct side stapling = { .name = "server", .ca = "cas.pem", .ocsp = cases[i].ocsp };
		struct tls_ctx *ctx = context(true, &stapling);
		assert_int_equal(tls_ctx_stapling(ctx), cases[i].shown);
		tls_ctx_unref(ctx);
	}
}

int main(void)
{
	tls_heap_limit(256 << 20); /* as in a broker: it gives back what wolfSSL forgets */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_resumed_session_is_still_somebody_s),
		cmocka_unit_test(where_nobody_shows_certificates_a_resumed_session_is_nobody_s),
		cmocka_unit_test(a_ticket_from_before_certificates_were_read_again_is_a_full_handshake),
		cmocka_unit_test(a_ticket_of_somebody_who_was_revoked_or_forgotten_is_a_full_handshake),
		cmocka_unit_test(a_ticket_is_worth_nothing_changed_or_late),
		cmocka_unit_test(nobody_resumes_without_new_keys),
		cmocka_unit_test(a_second_look_ends_only_what_is_revoked_or_from_nobody_trusted),
		cmocka_unit_test(what_is_no_ca_makes_nobody_trusted),
		cmocka_unit_test(a_client_believes_a_good_answer_and_no_other),
		cmocka_unit_test(an_answer_that_has_expired_is_no_answer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
