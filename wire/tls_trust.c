/* wire/tls_trust.c: certificates of clients: kept in our own form, and judged once more when asked; what a client makes of a server's OCSP
 * answer. In the flow: beside the handshake, in wolfSSL's callbacks; and beside the sessions, when trust or revocations are read again.
 *
 * 1. What is kept of a client is its name and its chain as bytes. What wolfSSL keeps for nobody is given back as soon as it has judged:
 *    the public key, 17 KB a session.
 * 2. Sessions with the same chain share it. Tickets name it by its hash; a table of fixed size (32 MiB at most) remembers the last ones
 *    for them, and with a ticket for one that it has forgotten there is a full handshake.
 * 3. A callback never makes good what wolfSSL found bad. `good` alone does not say so: wolfSSL 5.5.4 computes it before it looks at names.
 * 4. A second look uses a store of its own, so that what it takes for an issuer is none in a handshake. Only what a CA that is trusted
 *    has made a CA is taken for one. */
#include "tls_impl.h"

#include "sha256.h"

#include <wolfssl/openssl/evp.h>
#include <wolfssl/openssl/x509.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/memory.h>

enum { CERTS_MAX = 16 };

enum err tls_trust_begin(struct tls_ctx *ctx, const struct tls_settings *k, char text[256])
{
	ctx->no_key = wolfSSL_EC_KEY_new();
	ctx->peers = wolfSSL_Malloc(TLS_PEERS * sizeof ctx->peers[0]);
	ctx->judge = wolfSSL_CTX_new(wolfTLSv1_3_server_method());
	if (!ctx->no_key || !ctx->peers || !ctx->judge) {
		(void)snprintf(text, 256, "no memory is left for TLS");
		return ERR_RESOURCE_EXHAUSTED;
	}
	memset(ctx->peers, 0, TLS_PEERS * sizeof ctx->peers[0]);
	return tls_load_trust(ctx->judge, k, text);
}

void tls_trust_free(struct tls_ctx *ctx)
{
	for (size_t i = 0; ctx->peers && i < TLS_PEERS; i++)
		tls_peer_unref(ctx->peers[i]);
	wolfSSL_Free(ctx->peers);
	if (ctx->no_key)
		wolfSSL_EC_KEY_free(ctx->no_key);
	if (ctx->judge)
		wolfSSL_CTX_free(ctx->judge);
}

/* ---- chains ---- */

void tls_peer_unref(struct tls_peer *peer)
{
	if (peer && --peer->refs == 0)
		wolfSSL_Free(peer);
}

static struct tls_peer **slot_of(const struct tls_ctx *ctx, const uint8_t id[TLS_PEER_ID_BYTES])
{
	return &ctx->peers[(id[0] | id[1] << 8) % TLS_PEERS];
}

struct tls_peer *tls_peer_find(const struct tls_ctx *ctx, const uint8_t id[TLS_PEER_ID_BYTES])
{
	struct tls_peer *peer = ctx->peers ? *slot_of(ctx, id) : NULL;
	return peer && memcmp(peer->id, id, TLS_PEER_ID_BYTES) == 0 ? peer : NULL;
}

/* NULL: out of memory. */
static struct tls_peer *peer_make(const WOLFSSL_X509_STORE_CTX *store, const uint8_t id[TLS_PEER_ID_BYTES])
{
	size_t size = 0;
	for (int i = 0; i < store->totalCerts; i++)
		size += sizeof(uint32_t) + store->certs[i].length;
	struct tls_peer *peer = wolfSSL_Malloc(sizeof *peer + size);
	if (!peer)
		return NULL;
	*peer = (struct tls_peer){ .refs = 0, .size = (uint32_t)size };
	memcpy(peer->id, id, sizeof peer->id);
	peer->kind = (uint8_t)tls_name_of(store->current_cert, peer->name);
	uint8_t *to = peer->chain;
	for (int i = 0; i < store->totalCerts; i++) {
		uint32_t length = store->certs[i].length;
		memcpy(to, &length, sizeof length);
		memcpy(to + sizeof length, store->certs[i].buffer, length);
		to += sizeof length + length;
	}
	return peer;
}

/* The one that is there already, or a new one, which takes the place of an older one in the table, if it is not too long for it. The
 * caller adds its reference. */
static struct tls_peer *peer_of(struct tls_ctx *ctx, const WOLFSSL_X509_STORE_CTX *store)
{
	uint8_t id[TLS_PEER_ID_BYTES];
	struct sha256 hash;
	sha256_begin(&hash);
	for (int i = 0; i < store->totalCerts; i++) {
		uint32_t length = store->certs[i].length;
		sha256_add(&hash, span_of(&length, sizeof length));
		sha256_add(&hash, span_of(store->certs[i].buffer, length));
	}
	sha256_end(&hash, id);
	struct tls_peer *peer = tls_peer_find(ctx, id);
	if (peer)
		return peer;
	peer = peer_make(store, id);
	if (!peer)
		return NULL;
	if (peer->size > TLS_PEER_KEPT_BYTES)
		return peer;
	struct tls_peer **slot = slot_of(ctx, id);
	tls_peer_unref(*slot);
	*slot = peer;
	peer->refs = 1;
	return peer;
}

/* Its key has served when the certificates are judged (the one that signed is elsewhere), and is most of what a parsed one takes. */
static void drop_key(const struct tls_ctx *ctx, WOLFSSL_X509 *x509)
{
	WOLFSSL_X509_PUBKEY *holder = wolfSSL_X509_get_X509_PUBKEY(x509);
	WOLFSSL_EVP_PKEY *key = holder ? wolfSSL_X509_PUBKEY_get(holder) : NULL;
	if (!key)
		return;
	(void)wolfSSL_EVP_PKEY_set1_EC_KEY(key, ctx->no_key); /* frees the old one, even where it then does not like an empty one */
	wolfSSL_EVP_PKEY_free(key);
}

static bool refused(int good, const WOLFSSL_X509_STORE_CTX *store)
{
	return !good || store->error != 0;
}

int tls_trust_verify(int good, WOLFSSL_X509_STORE_CTX *store)
{
	struct tls *t = store->userCtx;
	if (refused(good, store))
		return 0;
	if (store->error_depth > 0 || store->totalCerts == 0) /* none: it is asked all the same */
		return 1;
	tls_peer_unref(t->peer);
	t->peer = peer_of(t->ctx, store);
	if (!t->peer) {
		t->verdict = MEMORY_E;
		return 0;
	}
	t->peer->refs++;
	drop_key(t->ctx, store->current_cert);
	return 1;
}

/* ---- a second look ---- */

static bool is_ca(struct span der)
{
	enum { CERT_SIGN = 0x04 };
	WOLFSSL_X509 *x509 = wolfSSL_X509_load_certificate_buffer(der.data, (int)der.len, WOLFSSL_FILETYPE_ASN1);
	bool good = x509 && wolfSSL_X509_get_isCA(x509) && (wolfSSL_X509_get_keyUsage(x509) & CERT_SIGN) != 0;
	if (x509)
		wolfSSL_X509_free(x509);
	return good;
}

static int judge_one(WOLFSSL_CERT_MANAGER *store, struct span der)
{
	int got = wolfSSL_CertManagerVerifyBuffer(store, der.data, (long)der.len, WOLFSSL_FILETYPE_ASN1);
	return got == WOLFSSL_SUCCESS ? 0 : got;
}

int tls_judge(const struct tls_ctx *ctx, const struct tls_peer *peer)
{
	WOLFSSL_CERT_MANAGER *store = ctx->judge ? wolfSSL_CTX_GetCertManager(ctx->judge) : NULL;
	struct span certs[CERTS_MAX];
	uint32_t count = 0;
	for (uint32_t at = 0, length; at < peer->size && count < CERTS_MAX; at += (uint32_t)sizeof length + length) {
		memcpy(&length, peer->chain + at, sizeof length);
		certs[count++] = span_of(peer->chain + at + sizeof length, length);
	}
	if (!store || count == 0)
		return ASN_NO_SIGNER_E;
	for (uint32_t i = count - 1; i > 0; i--) {
		int got = judge_one(store, certs[i]);
		if (got == 0 && is_ca(certs[i]))
			(void)wolfSSL_CertManagerLoadCABuffer(store, certs[i].data, (long)certs[i].len, WOLFSSL_FILETYPE_ASN1);
		else if (got != 0 && got != ASN_NO_SIGNER_E && got != ASN_SELF_SIGNED_E && got != CRL_MISSING)
			return got; /* one from nobody we know may be one too many: the last word is that on the client's own */
	}
	return judge_one(store, certs[0]);
}

enum err tls_recheck(const struct tls *t, const struct tls_ctx *ctx, char text[128])
{
	int got = t->peer ? tls_judge(ctx, t->peer) : 0;
	const char *reason = tls_reason(got);
	if (got == 0 || got == ASN_AFTER_DATE_E || got == ASN_BEFORE_DATE_E || got == CRL_MISSING || got == CRL_CERT_DATE_ERR ||
	    got == MEMORY_E)
		return ERR_OK;
	(void)snprintf(text, 128, "%s", reason ? reason : "its certificate is not trusted any more");
	return ERR_SECURITY;
}

/* ---- OCSP, as a client ---- */

/* The extension "TLS feature" of RFC 7633 with status_request (5) in it. */
static bool demands_staple(struct span der)
{
	static const uint8_t feature[] = { 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x18 }, status_request[] = { 0x02, 0x01, 0x05 };
	const uint8_t *at = memmem(der.data, der.len, feature, sizeof feature);
	if (!at)
		return false;
	at += sizeof feature;
	size_t left = der.len - (size_t)(at - der.data);
	return memmem(at, MIN_OF(left, (size_t)24), status_request, sizeof status_request) != NULL;
}

/* The handshake of a client is done: wolfSSL has judged the answer, where there was one. */
bool tls_staple_good(const struct tls *t)
{
	unsigned char date[32];
	int format;
	WOLFSSL_X509_CHAIN *chain = wolfSSL_get_peer_chain(t->wolf);
	if (wolfSSL_session_reused(t->wolf) || wolfSSL_get_chain_count(chain) < 1 ||
	    wolfSSL_get_ocsp_producedDate(t->wolf, date, sizeof date, &format) == 0)
		return true;
	return !demands_staple(span_of(wolfSSL_get_chain_cert(chain, 0), (size_t)wolfSSL_get_chain_length(chain, 0)));
}
