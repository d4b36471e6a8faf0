/* wire/tls.c: one session: records in, bytes of frames out, and the other way round. In the flow: socket -> TLS -> frame.
 *
 * 1. wolfSSL reads from `in` and writes to `out` and nothing else: it never waits and never knows of a socket.
 * 2. Whatever wolfSSL says that is not "more input" or "closed in order" ends the session. The reason is kept.
 * 3. What wolfSSL only needs for the handshake is given back when that is done. */
#include "tls_impl.h"

static int on_recv(WOLFSSL *wolf, char *out, int room, void *ctx)
{
	struct tls *t = ctx;
	(void)wolf;
	size_t take = MIN_OF((size_t)room, t->in.len);
	if (take == 0)
		return WOLFSSL_CBIO_ERR_WANT_READ;
	memcpy(out, t->in.data, take);
	t->in = span_sub(t->in, take, t->in.len - take);
	if (!t->ctx->server && !tls_hello_look(t, out, take))
		return WOLFSSL_CBIO_ERR_GENERAL;
	return (int)take;
}

static int on_send(WOLFSSL *wolf, char *data, int size, void *ctx)
{
	struct tls *t = ctx;
	(void)wolf;
	if (t->ctx->server && !tls_hello_look(t, data, (size_t)size))
		return WOLFSSL_CBIO_ERR_GENERAL;
	t->forgotten.hello++;
	if (t->hello_seen)
		tls_heap_watch(NULL);
	buf_append(&t->out, data, (size_t)size);
	return size;
}

static bool prepare(struct tls *t, const char *server_name)
{
	WOLFSSL *wolf = t->wolf;
	char alpn[] = TLS_ALPN;
	wolfSSL_SSLSetIORecv(wolf, on_recv);
	wolfSSL_SSLSetIOSend(wolf, on_send);
	wolfSSL_SetIOReadCtx(wolf, t);
	wolfSSL_SetIOWriteCtx(wolf, t);
	wolfSSL_SetCertCbCtx(wolf, t);
	if (t->ctx->ocsp.len > 0 && !tls_ctx_stapling(t->ctx)) /* it has expired: whoever asks would be refused */
		(void)wolfSSL_CTX_DisableOCSPStapling(t->ctx->wolf);
	if (wolfSSL_UseALPN(wolf, alpn, sizeof alpn - 1, WOLFSSL_ALPN_FAILED_ON_MISMATCH) != WOLFSSL_SUCCESS)
		return false;
	return !server_name || tls_expect(t, server_name);
}

struct tls *tls_new(struct tls_ctx *ctx, const char *server_name)
{
	ENSURE(ctx->server == !server_name);
	struct tls *t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	tls_heap_enter();
	t->ctx = tls_ctx_ref(ctx);
	t->forgotten.size = ctx->ocsp.len;
	t->hello_seen = !ctx->server; /* of a client until it has a ticket */
	t->wolf = wolfSSL_new(ctx->wolf);
	bool good = t->wolf && prepare(t, server_name);
	tls_heap_leave();
	if (good)
		return t;
	tls_free(t);
	return NULL;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	if (t->wolf)
		wolfSSL_free(t->wolf);
	tls_heap_forgotten(&t->forgotten, buf_span(&t->ctx->ocsp));
	tls_peer_unref(t->peer);
	tls_peer_unref(t->ticket_peer);
	tls_ctx_unref(t->ctx);
	buf_free(&t->hello);
	buf_free(&t->out);
	free(t);
}

enum tls_phase tls_phase(const struct tls *t) { return t->phase; }
struct buf *tls_out(struct tls *t) { return &t->out; }
enum err tls_failure(const struct tls *t) { return t->failure; }
const char *tls_failure_text(const struct tls *t) { return t->text; }

void tls_feed(struct tls *t, struct span bytes)
{
	enum { ALERT = 21, HANDSHAKE = 22 };
	t->in = bytes;
	if (t->heard || bytes.len == 0)
		return;
	t->heard = true;
	if (bytes.data[0] != HANDSHAKE && bytes.data[0] != ALERT)
		tls_fail(t, UNKNOWN_RECORD_TYPE);
}

/* True: something may have moved, try again. */
static bool stopped(struct tls *t, int got, size_t had)
{
	int error = wolfSSL_get_error(t->wolf, got);
	if (error == WOLFSSL_ERROR_WANT_READ) /* a ticket or a new key was taken; there may be more behind it */
		return t->in.len > 0 && t->in.len < had;
	if (error == WOLFSSL_ERROR_ZERO_RETURN)
		t->phase = TLS_ENDED;
	else
		tls_fail(t, error);
	t->in = span_of(NULL, 0);
	return false;
}

/* Both sides have said their last word. */
static void opened(struct tls *t)
{
	t->phase = TLS_OPEN;
	tls_ticket_settle(t);
	wolfSSL_FreeArrays(t->wolf);
	if (t->ctx->server && t->ctx->verify == TLS_VERIFY_REQUIRED && !t->peer)
		tls_fail(t, NO_PEER_CERT);
	if (!t->ctx->server && t->ctx->verify != TLS_VERIFY_NONE && !tls_staple_good(t)) {
		t->out.len = 0; /* the server does not hear ours */
		tls_fail(t, OCSP_LOOKUP_FAIL);
	}
}

static void handshake(struct tls *t)
{
	tls_heap_enter();
	tls_heap_watch(t->forgotten.size > 0 && !t->hello_seen ? &t->forgotten : NULL);
	int got = t->ctx->server ? wolfSSL_accept(t->wolf) : wolfSSL_connect(t->wolf);
	if (got == WOLFSSL_SUCCESS)
		opened(t);
	else if (wolfSSL_get_error(t->wolf, got) != WOLFSSL_ERROR_WANT_READ)
		tls_fail(t, wolfSSL_get_error(t->wolf, got));
	tls_heap_watch(NULL);
	tls_heap_leave();
}

size_t tls_read(struct tls *t, void *out, size_t room)
{
	if (t->phase == TLS_HANDSHAKE)
		handshake(t);
	if (t->phase == TLS_OPEN && room == 0)
		return 0;
	if (t->phase != TLS_OPEN) {
		t->in = span_of(NULL, 0);
		return 0;
	}
	for (;;) {
		size_t had = t->in.len;
		int got = wolfSSL_read(t->wolf, out, (int)MIN_OF(room, (size_t)INT32_MAX));
		if (got > 0)
			return (size_t)got;
		if (!stopped(t, got, had))
			return 0;
	}
}

bool tls_write(struct tls *t, struct span bytes)
{
	ENSURE(t->phase != TLS_HANDSHAKE);
	while (bytes.len > 0 && t->phase != TLS_FAILED) {
		int part = (int)MIN_OF(bytes.len, (size_t)1 << 20);
		int got = wolfSSL_write(t->wolf, bytes.data, part);
		if (got > 0)
			bytes = span_sub(bytes, (size_t)got, bytes.len - (size_t)got);
		else
			tls_fail(t, wolfSSL_get_error(t->wolf, got));
	}
	return t->phase != TLS_FAILED;
}

void tls_end(struct tls *t)
{
	if (t->phase == TLS_FAILED || t->ended)
		return;
	t->ended = true;
	(void)wolfSSL_shutdown(t->wolf);
}

bool tls_truncated(const struct tls *t)
{
	return t->phase == TLS_OPEN;
}

const char *tls_cipher(struct tls *t)
{
	return wolfSSL_get_cipher_name(t->wolf);
}
