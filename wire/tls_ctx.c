/* wire/tls_ctx.c: contexts: from PEM texts to what sessions are made of. In the flow: beside it, at start and at each reload.
 *
 * 1. A context never changes. New certificates are a new context; sessions keep the one they began with.
 * 2. What would make every handshake fail (a key of another certificate, a certificate that has expired) is refused here.
 * 3. Nothing here ever asks the network: revocation lists and OCSP answers are files that somebody else renews. */
#include "tls_impl.h"

#include <wolfssl/ocsp.h>
#include <wolfssl/openssl/x509.h>

static enum err bad(char text[256], const char *what, int code)
{
	char reason[WOLFSSL_MAX_ERROR_SZ] = "";
	if (code != 0)
		(void)wolfSSL_ERR_error_string_n((unsigned long)(code < 0 ? -(long)code : code), reason, sizeof reason);
	(void)snprintf(text, 256, "%s%s%s", what, reason[0] ? ": " : "", reason);
	return ERR_INVALID_INPUT;
}

static const char *suites(void)
{
	if (tls_device() != INVALID_DEVID)
		return "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256";
	return "TLS13-CHACHA20-POLY1305-SHA256:TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384";
}

/* One that trusts nobody and shows nothing. NULL: wolfSSL lacks memory, or a suite or group of ours. */
static struct tls_ctx *context(bool server)
{
	int groups[] = { WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1 };
	struct tls_ctx *ctx = calloc(1, sizeof *ctx);
	ENSURE(ctx != NULL);
	atomic_init(&ctx->refs, 1);
	ctx->server = server;
	WOLFSSL_CTX *wolf = ctx->wolf = wolfSSL_CTX_new(server ? wolfTLSv1_3_server_method() : wolfTLSv1_3_client_method());
	if (wolf && wolfSSL_CTX_set_cipher_list(wolf, suites()) == WOLFSSL_SUCCESS &&
	    wolfSSL_CTX_set_groups(wolf, groups, COUNT_OF(groups)) == WOLFSSL_SUCCESS &&
	    (tls_device() == INVALID_DEVID || wolfSSL_CTX_SetDevId(wolf, tls_device()) == WOLFSSL_SUCCESS)) {
		/* wolfSSL's cache of sessions is one for the process, and would keep their secrets. */
		(void)wolfSSL_CTX_set_session_cache_mode(wolf, WOLFSSL_SESS_CACHE_OFF);
		(void)wolfSSL_CTX_set_session_cache_mode(wolf, WOLFSSL_SESS_CACHE_NO_INTERNAL);
		return ctx;
	}
	tls_ctx_unref(ctx);
	return NULL;
}

/* The first certificate of a PEM text; NULL where there is none. */
static WOLFSSL_X509 *first_certificate(struct span pem)
{
	return wolfSSL_X509_load_certificate_buffer(pem.data, (int)pem.len, WOLFSSL_FILETYPE_PEM);
}

static enum err check_dates(struct span chain, uint64_t *expires, char text[256])
{
	struct tm end;
	WOLFSSL_X509 *x509 = first_certificate(chain);
	if (!x509)
		return bad(text, "certificate: not a PEM certificate", 0);
	enum err e = ERR_OK;
	if (wolfSSL_X509_cmp_current_time(wolfSSL_X509_get_notAfter(x509)) < 0)
		e = bad(text, "certificate: it has expired", 0);
	else if (wolfSSL_X509_cmp_current_time(wolfSSL_X509_get_notBefore(x509)) > 0)
		e = bad(text, "certificate: it is not valid yet", 0);
	bool dated = wolfSSL_ASN1_TIME_to_tm(wolfSSL_X509_get_notAfter(x509), &end) == WOLFSSL_SUCCESS;
	*expires = dated ? (uint64_t)timegm(&end) : 0;
	wolfSSL_X509_free(x509);
	return e;
}

static enum err load_own(struct tls_ctx *ctx, const struct tls_settings *k, char text[256])
{
	int got = wolfSSL_CTX_use_certificate_chain_buffer(ctx->wolf, k->chain.data, (long)k->chain.len);
	if (got != WOLFSSL_SUCCESS)
		return bad(text, "certificate", got);
	enum err e = check_dates(k->chain, &ctx->expires, text);
	if (e != ERR_OK)
		return e;
	got = wolfSSL_CTX_use_PrivateKey_buffer(ctx->wolf, k->key.data, (long)k->key.len, WOLFSSL_FILETYPE_PEM);
	if (got != WOLFSSL_SUCCESS)
		return bad(text, "private key", got);
	return ERR_OK;
}

/* A handshake of the certificate with somebody who believes everything: it ends well only where the key is that of the certificate.
 * (wolfSSL_CTX_check_private_key of 5.5.4 does not look.) */
static enum err prove(const struct tls_settings *k, char text[256])
{
	const struct tls_settings just_own = { .server = true, .chain = k->chain, .key = k->key };
	struct tls_ctx *own = context(true), *trusting = context(false);
	struct tls *a = NULL, *b = NULL;
	uint8_t none[1];
	if (own && trusting && load_own(own, &just_own, text) == ERR_OK) {
		wolfSSL_CTX_set_verify(trusting->wolf, WOLFSSL_VERIFY_NONE, NULL);
		a = tls_new(own, NULL);
		b = tls_new(trusting, "localhost");
	}
	struct tls *sides[] = { b, a, b };
	for (size_t i = 0; a && b && i < COUNT_OF(sides); i++) {
		if (i > 0)
			tls_feed(sides[i], buf_span(&sides[i - 1]->out));
		(void)tls_read(sides[i], none, sizeof none);
	}
	bool good = a && b && b->phase == TLS_OPEN;
	tls_free(a);
	tls_free(b);
	tls_ctx_unref(own);
	tls_ctx_unref(trusting);
	return good ? ERR_OK : bad(text, "private key: it is not the key of the certificate", 0);
}

/* wolfSSL would fetch a list that is missing from the address in the certificate, and everything would wait for it. */
static int no_fetching(WOLFSSL_CRL *crl, const char *url, int size)
{
	(void)crl;
	(void)url;
	(void)size;
	return -1;
}

/* wolfSSL takes one list at a time. */
static enum err load_crls(WOLFSSL_CTX *wolf, struct span pem, char text[256])
{
	static const char begin[] = "-----BEGIN X509 CRL-----";
	const char *at = memmem(pem.data, pem.len, begin, sizeof begin - 1), *end = (const char *)pem.data + pem.len;
	if (!at)
		return bad(text, "revocation list: no \"BEGIN X509 CRL\" in it", 0);
	int got = wolfSSL_CTX_EnableCRL(wolf, WOLFSSL_CRL_CHECK | WOLFSSL_CRL_CHECKALL);
	if (got == WOLFSSL_SUCCESS) /* behind it: switching on sets the other one */
		got = wolfSSL_CTX_SetCRL_IOCb(wolf, no_fetching);
	while (at && got == WOLFSSL_SUCCESS) {
		const char *next = memmem(at + 1, (size_t)(end - at - 1), begin, sizeof begin - 1);
		got = wolfSSL_CTX_LoadCRLBuffer(wolf, (const unsigned char *)at, (long)((next ? next : end) - at),
						WOLFSSL_FILETYPE_PEM);
		at = next;
	}
	return got == WOLFSSL_SUCCESS ? ERR_OK : bad(text, "revocation list", got);
}

enum err tls_load_trust(WOLFSSL_CTX *wolf, const struct tls_settings *k, char text[256])
{
	if (k->ca.len > 0) {
		/* One certificate among a system's hundred that this library cannot use must not cost the others. */
		int got = wolfSSL_CTX_load_verify_buffer_ex(wolf, k->ca.data, (long)k->ca.len, WOLFSSL_FILETYPE_PEM, 0,
							    WOLFSSL_LOAD_FLAG_IGNORE_ERR);
		if (got != WOLFSSL_SUCCESS)
			return bad(text, "trusted certificates", got);
	}
	return k->crl.len > 0 ? load_crls(wolf, k->crl, text) : ERR_OK;
}

/* wolfSSL would ask a responder here; the answer is there already. */
static int ocsp_answer(void *arg, const char *url, int url_size, unsigned char *request, int request_size, unsigned char **response)
{
	struct tls_ctx *ctx = arg;
	(void)url;
	(void)url_size;
	(void)request;
	(void)request_size;
	*response = ctx->ocsp.data;
	return (int)ctx->ocsp.len;
}

static void ocsp_keep(void *arg, unsigned char *response)
{
	(void)arg;
	(void)response;
}

bool tls_ctx_stapling(const struct tls_ctx *ctx)
{
	const unsigned char *at = ctx->ocsp.data;
	OcspResponse *answer = ctx->ocsp.len > 0 ? wolfSSL_d2i_OCSP_RESPONSE(NULL, &at, (int)ctx->ocsp.len) : NULL; /* looks at the dates */
	if (answer)
		wolfSSL_OCSP_RESPONSE_free(answer);
	return answer != NULL;
}

static enum err staple(struct tls_ctx *ctx, const struct tls_settings *k, char text[256])
{
	buf_append(&ctx->ocsp, k->ocsp.data, k->ocsp.len);
	/* In this order: switching OCSP on puts wolfSSL's own fetching by HTTP in the callback's place. Off again: it would
	 * also be asked about the certificates of clients. */
	int got = wolfSSL_CTX_EnableOCSPStapling(ctx->wolf);
	if (got == WOLFSSL_SUCCESS) /* the address is not used, but without one wolfSSL does not ask */
		got = wolfSSL_CTX_SetOCSP_OverrideURL(ctx->wolf, "http://stapled");
	if (got == WOLFSSL_SUCCESS)
		got = wolfSSL_CTX_EnableOCSP(ctx->wolf, WOLFSSL_OCSP_NO_NONCE | WOLFSSL_OCSP_URL_OVERRIDE);
	if (got == WOLFSSL_SUCCESS)
		got = wolfSSL_CTX_DisableOCSP(ctx->wolf);
	if (got == WOLFSSL_SUCCESS)
		got = wolfSSL_CTX_SetOCSP_Cb(ctx->wolf, ocsp_answer, ocsp_keep, ctx);
	return got == WOLFSSL_SUCCESS ? ERR_OK : bad(text, "OCSP response", got);
}

/* A client asks for an OCSP answer, and looks at the one that it is shown. */
static enum err ask_for_staple(struct tls_ctx *ctx, const struct tls_settings *k, char text[256])
{
	int got = wolfSSL_CTX_EnableOCSPStapling(ctx->wolf);
	if (got == WOLFSSL_SUCCESS)
		got = wolfSSL_CTX_UseOCSPStapling(ctx->wolf, WOLFSSL_CSR_OCSP, 0);
	if (got == WOLFSSL_SUCCESS && k->ocsp_required)
		got = wolfSSL_CTX_EnableOCSPMustStaple(ctx->wolf);
	return got == WOLFSSL_SUCCESS ? ERR_OK : bad(text, "OCSP", got);
}

static int verify_mode(const struct tls_settings *k)
{
	if (!k->server || k->verify == TLS_VERIFY_OPTIONAL)
		return WOLFSSL_VERIFY_PEER;
	return k->verify == TLS_VERIFY_REQUIRED ? WOLFSSL_VERIFY_PEER | WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT : WOLFSSL_VERIFY_NONE;
}

static enum err fill(struct tls_ctx *ctx, const struct tls_settings *k, char text[256])
{
	WOLFSSL_CTX *wolf = ctx->wolf;
	if (k->server && (k->chain.len == 0 || k->key.len == 0))
		return bad(text, "a server needs a certificate and its private key", 0);
	if ((k->chain.len > 0) != (k->key.len > 0))
		return bad(text, "a certificate and its private key belong together", 0);
	if (k->server && k->verify != TLS_VERIFY_NONE && k->ca.len == 0)
		return bad(text, "certificates of clients can only be checked with the certificates of those who issue them", 0);
	enum err e = k->chain.len > 0 ? load_own(ctx, k, text) : ERR_OK;
	if (e == ERR_OK && k->chain.len > 0)
		e = prove(k, text);
	if (e == ERR_OK)
		e = tls_load_trust(wolf, k, text);
	if (e == ERR_OK && k->ocsp.len > 0)
		e = staple(ctx, k, text);
	if (e != ERR_OK)
		return e;
	wolfSSL_CTX_set_verify(wolf, verify_mode(k), NULL);
	ctx->verify = k->server ? k->verify : TLS_VERIFY_REQUIRED;
	if (!k->server)
		return ask_for_staple(ctx, k, text);
	e = k->verify != TLS_VERIFY_NONE ? tls_trust_begin(ctx, k, text) : ERR_OK;
	if (e == ERR_OK && k->verify != TLS_VERIFY_NONE)
		wolfSSL_CTX_set_verify(wolf, verify_mode(k), tls_trust_verify);
	return e == ERR_OK && !tls_tickets_begin(ctx) ? bad(text, "session tickets cannot be made", 0) : e;
}

bool tls_built(void) { return true; }

enum err tls_ctx_new(const struct tls_settings *settings, struct tls_ctx **out, char text[256])
{
	*out = NULL;
	if (!tls_library()) {
		(void)snprintf(text, 256, "wolfSSL does not start");
		return ERR_UNSUPPORTED;
	}
	struct tls_ctx *ctx = context(settings->server);
	enum err e = ctx ? fill(ctx, settings, text) : bad(text, "wolfSSL lacks memory, a cipher suite or a group", 0);
	if (e != ERR_OK) {
		tls_ctx_unref(ctx);
		return e;
	}
	*out = ctx;
	return ERR_OK;
}

struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx)
{
	atomic_fetch_add(&ctx->refs, 1);
	return ctx;
}

void tls_ctx_unref(struct tls_ctx *ctx)
{
	if (!ctx || atomic_fetch_sub(&ctx->refs, 1) > 1)
		return;
	tls_trust_free(ctx);
	explicit_bzero(ctx->keys, sizeof ctx->keys);
	if (ctx->wolf)
		wolfSSL_CTX_free(ctx->wolf);
	buf_free(&ctx->ocsp);
	free(ctx);
}

uint64_t tls_ctx_expires(const struct tls_ctx *ctx)
{
	return ctx->expires;
}
