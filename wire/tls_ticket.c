/* wire/tls_ticket.c: going back to an earlier session by a ticket. In the flow: inside the handshake.
 *
 * 1. A ticket is sealed with a key that never leaves the process, lives for an hour (two for what it has sealed) and ends with its
 *    context: what was given before certificates were read again is worth nothing after.
 * 2. Who the client is stands in the ticket as the hash of its chain. The chain must still be known, and is judged as in a handshake.
 * 3. No resumption without new keys (psk_dhe_ke alone): whoever gets hold of a ticket key cannot read what was recorded. wolfSSL would do
 *    either; the server's hello, which is on the wire in the clear, says which it is. */
#include "tls_impl.h"

#include <time.h>
#include <wolfssl/wolfcrypt/chacha20_poly1305.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

enum { TICKET_S = 3600, NONCE_BYTES = 12, TAG_BYTES = 16, HELLO_BYTES_MAX = 4096 };

struct tls_ticket { WOLFSSL_SESSION *session; };

/* ---- keys ---- */

static bool key_make(struct tls_ctx *ctx, WC_RNG *rng, int64_t now_s)
{
	struct tls_ticket_key fresh = { .made_s = now_s };
	if (wc_RNG_GenerateBlock(rng, fresh.name, sizeof fresh.name) != 0 || wc_RNG_GenerateBlock(rng, fresh.key, sizeof fresh.key) != 0)
		return false;
	ctx->keys[1] = ctx->keys[0];
	ctx->keys[0] = fresh;
	explicit_bzero(&fresh, sizeof fresh);
	return true;
}

static const struct tls_ticket_key *key_find(const struct tls_ctx *ctx, const uint8_t *name, int64_t now_s)
{
	for (size_t i = 0; i < TLS_TICKET_KEYS; i++)
		if (ctx->keys[i].made_s && now_s - ctx->keys[i].made_s < 2 * TICKET_S &&
		    memcmp(ctx->keys[i].name, name, sizeof ctx->keys[i].name) == 0)
			return &ctx->keys[i];
	return NULL;
}

/* ---- sealing ---- */

static int seal(struct tls *t, uint8_t *name, uint8_t *iv, uint8_t *mac, uint8_t *at, int size, int *out)
{
	struct tls_ctx *ctx = t->ctx;
	WC_RNG *rng = wolfSSL_GetRNG(t->wolf);
	int64_t now_s = time(NULL);
	const struct tls_peer *peer = wolfSSL_session_reused(t->wolf) ? t->ticket_peer : t->peer;
	if (size < 0 || *out < size + TLS_PEER_ID_BYTES || !rng)
		return WOLFSSL_TICKET_RET_FATAL;
	if (now_s - ctx->keys[0].made_s >= TICKET_S && !key_make(ctx, rng, now_s))
		return WOLFSSL_TICKET_RET_FATAL;
	memset(at + size, 0, TLS_PEER_ID_BYTES);
	if (peer)
		memcpy(at + size, peer->id, TLS_PEER_ID_BYTES);
	memcpy(name, ctx->keys[0].name, WOLFSSL_TICKET_NAME_SZ);
	memset(mac, 0, WOLFSSL_TICKET_MAC_SZ);
	*out = size + TLS_PEER_ID_BYTES;
	if (wc_RNG_GenerateBlock(rng, iv, WOLFSSL_TICKET_IV_SZ) != 0 ||
	    wc_ChaCha20Poly1305_Encrypt(ctx->keys[0].key, iv, name, WOLFSSL_TICKET_NAME_SZ, at, (word32)*out, at, mac) != 0)
		return WOLFSSL_TICKET_RET_FATAL;
	return WOLFSSL_TICKET_RET_OK;
}

static bool known(struct tls *t, const uint8_t *id)
{
	static const uint8_t nobody[TLS_PEER_ID_BYTES];
	if (memcmp(id, nobody, sizeof nobody) == 0)
		return t->ctx->verify != TLS_VERIFY_REQUIRED;
	struct tls_peer *peer = tls_peer_find(t->ctx, id);
	if (!peer || tls_judge(t->ctx, peer) != 0)
		return false;
	t->ticket_peer = peer;
	peer->refs++;
	return true;
}

static int unseal(struct tls *t, const uint8_t *name, const uint8_t *iv, const uint8_t *mac, uint8_t *at, int size, int *out)
{
	const struct tls_ticket_key *key = key_find(t->ctx, name, time(NULL));
	tls_peer_unref(t->ticket_peer);
	t->ticket_peer = NULL;
	if (!key || size <= TLS_PEER_ID_BYTES ||
	    wc_ChaCha20Poly1305_Decrypt(key->key, iv, name, WOLFSSL_TICKET_NAME_SZ, at, (word32)size, mac, at) != 0)
		return WOLFSSL_TICKET_RET_REJECT;
	*out = size - TLS_PEER_ID_BYTES;
	if (!known(t, at + *out)) {
		explicit_bzero(at, (size_t)size);
		return WOLFSSL_TICKET_RET_REJECT;
	}
	return WOLFSSL_TICKET_RET_OK;
}

static int on_ticket(WOLFSSL *wolf, unsigned char name[WOLFSSL_TICKET_NAME_SZ], unsigned char iv[WOLFSSL_TICKET_IV_SZ],
		     unsigned char mac[WOLFSSL_TICKET_MAC_SZ], int sealing, unsigned char *at, int size, int *out, void *arg)
{
	struct tls *t = wolfSSL_GetIOReadCtx(wolf);
	(void)arg;
	return sealing ? seal(t, name, iv, mac, at, size, out) : unseal(t, name, iv, mac, at, size, out);
}

bool tls_tickets_begin(struct tls_ctx *ctx)
{
	WC_RNG rng;
	if (wc_InitRng(&rng) != 0)
		return false;
	bool good = key_make(ctx, &rng, time(NULL)) && wolfSSL_CTX_set_TicketEncCb(ctx->wolf, on_ticket) == WOLFSSL_SUCCESS &&
		    wolfSSL_CTX_set_timeout(ctx->wolf, TICKET_S) != 0 &&
		    wolfSSL_CTX_set_TicketHint(ctx->wolf, TICKET_S) == WOLFSSL_SUCCESS;
	(void)wc_FreeRng(&rng);
	return good;
}

void tls_ticket_settle(struct tls *t)
{
	buf_free(&t->hello);
	if (t->ctx->server && wolfSSL_session_reused(t->wolf)) {
		tls_peer_unref(t->peer);
		t->peer = t->ticket_peer;
	} else {
		tls_peer_unref(t->ticket_peer);
	}
	t->ticket_peer = NULL;
}

bool tls_resumed(const struct tls *t)
{
	return wolfSSL_session_reused(t->wolf) != 0;
}

/* ---- new keys ---- */

enum hello { HELLO_MORE, HELLO_GOOD, HELLO_NO_KEYS };

static uint32_t read_number(struct reader *r, size_t bytes)
{
	struct span s = read_bytes(r, bytes);
	uint32_t n = 0;
	for (size_t i = 0; i < s.len; i++)
		n = n << 8 | s.data[i];
	return n;
}

/* The body of a ServerHello; of one that asks for another try there is more to come. */
static enum hello judge_hello(struct span body)
{
	enum { PRE_SHARED_KEY = 41, KEY_SHARE = 51, VERSION_BYTES = 2, SUITE_AND_COMPRESSION_BYTES = 3 };
	static const uint8_t retry[32] = {
		0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
		0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
	};
	struct reader r = { .rest = body };
	bool resumes = false, keys = false;
	(void)read_bytes(&r, VERSION_BYTES);
	bool again = span_eq(read_bytes(&r, sizeof retry), span_of(retry, sizeof retry));
	(void)read_bytes(&r, read_number(&r, 1));
	(void)read_bytes(&r, SUITE_AND_COMPRESSION_BYTES);
	(void)read_number(&r, 2); /* all of the extensions: the rest */
	while (r.rest.len > 0 && !r.failed) {
		uint32_t type = read_number(&r, 2);
		resumes = resumes || type == PRE_SHARED_KEY;
		keys = keys || type == KEY_SHARE;
		(void)read_bytes(&r, read_number(&r, 2));
	}
	if (resumes && !keys)
		return HELLO_NO_KEYS;
	return again ? HELLO_MORE : HELLO_GOOD; /* what is cut or garbled wolfSSL refuses */
}

/* Of handshake messages, one behind the other. */
static enum hello judge_messages(struct span messages)
{
	enum { SERVER_HELLO = 2 };
	struct reader r = { .rest = messages };
	enum hello verdict = HELLO_MORE;
	while (verdict == HELLO_MORE && r.rest.len > 0) {
		uint32_t type = read_number(&r, 1);
		struct span body = read_bytes(&r, read_number(&r, 3));
		if (r.failed)
			return HELLO_MORE;
		verdict = type == SERVER_HELLO ? judge_hello(body) : HELLO_GOOD;
	}
	return verdict;
}

static enum hello judge_records(struct span stream)
{
	enum { CHANGE_CIPHER = 20, HANDSHAKE = 22, VERSION_BYTES = 2 };
	struct reader r = { .rest = stream };
	uint8_t room[HELLO_BYTES_MAX];
	struct buf messages = { .data = room, .cap = sizeof room }; /* never more than the stream */
	bool last = false;
	while (!last) {
		uint32_t type = read_number(&r, 1);
		(void)read_bytes(&r, VERSION_BYTES);
		struct span body = read_bytes(&r, read_number(&r, 2));
		if (r.failed)
			break;
		last = type != HANDSHAKE && type != CHANGE_CIPHER; /* an alert, or what is encrypted already */
		if (type == HANDSHAKE)
			buf_append(&messages, body.data, body.len);
	}
	enum hello verdict = judge_messages(buf_span(&messages));
	return last && verdict == HELLO_MORE ? HELLO_GOOD : verdict;
}

bool tls_hello_look(struct tls *t, const void *bytes, size_t len)
{
	if (t->hello_seen)
		return true;
	buf_append(&t->hello, bytes, MIN_OF(len, HELLO_BYTES_MAX - t->hello.len));
	enum hello verdict = judge_records(buf_span(&t->hello));
	if (verdict == HELLO_MORE && t->hello.len < HELLO_BYTES_MAX)
		return true;
	t->hello_seen = true;
	buf_free(&t->hello);
	if (verdict == HELLO_GOOD)
		return true;
	t->verdict = PSK_KEY_ERROR;
	return false;
}

/* ---- of clients ---- */

struct tls_ticket *tls_ticket_take(struct tls *t)
{
	bool was_open = t->phase == TLS_OPEN || t->phase == TLS_ENDED;
	WOLFSSL_SESSION *session = !t->ctx->server && was_open ? wolfSSL_get1_session(t->wolf) : NULL;
	if (!session)
		return NULL;
	struct tls_ticket *ticket = wolfSSL_SESSION_has_ticket(session) ? calloc(1, sizeof *ticket) : NULL;
	if (ticket)
		ticket->session = session;
	else
		wolfSSL_SESSION_free(session);
	return ticket;
}

void tls_ticket_use(struct tls *t, const struct tls_ticket *ticket)
{
	ENSURE(!t->ctx->server && t->phase == TLS_HANDSHAKE);
	t->hello_seen = wolfSSL_set_session(t->wolf, ticket->session) != WOLFSSL_SUCCESS;
}

void tls_ticket_free(struct tls_ticket *ticket)
{
	if (ticket)
		wolfSSL_SESSION_free(ticket->session);
	free(ticket);
}
