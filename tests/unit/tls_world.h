/* tests/unit/tls_world.h: two TLS sessions that talk to each other in memory, with the certificates of tests/tls/make_certs.sh. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "../../wire/tls.h"

static inline struct buf file(const char *name)
{
	char path[512];
	struct buf out = { 0 };
	(void)snprintf(path, sizeof path, "%s/%s", CERTS, name);
	FILE *in = fopen(path, "rb");
	assert_non_null(in);
	size_t got;
	uint8_t room[4096];
	while ((got = fread(room, 1, sizeof room, in)) > 0)
		buf_append(&out, room, got);
	(void)fclose(in);
	return out;
}

struct side { const char *name, *ca, *crl, *ocsp; enum tls_verify verify; bool ocsp_required; };

static inline enum err make(bool server, const struct side *k, struct tls_ctx **out, char text[256])
{
	char pem[64], key[64];
	struct buf b[5] = { { 0 } };
	(void)snprintf(pem, sizeof pem, "%s.pem", k->name ? k->name : "");
	(void)snprintf(key, sizeof key, "%s.key", k->name ? k->name : "");
	if (k->name) {
		b[0] = file(pem);
		b[1] = file(key);
	}
	const char *const names[] = { k->ca, k->crl, k->ocsp };
	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (names[i])
			b[2 + i] = file(names[i]);
	const struct tls_settings settings = { .server = server, .verify = k->verify, .chain = buf_span(&b[0]), .key = buf_span(&b[1]),
					       .ca = buf_span(&b[2]), .crl = buf_span(&b[3]), .ocsp = buf_span(&b[4]), .ocsp_required = k->ocsp_required };
	enum err e = tls_ctx_new(&settings, out, text);
	for (size_t i = 0; i < COUNT_OF(b); i++)
		buf_free(&b[i]);
	return e;
}

static inline struct tls_ctx *context(bool server, const struct side *k)
{
	struct tls_ctx *ctx;
	char text[256] = "";
	if (make(server, k, &ctx, text) != ERR_OK)
		fail_msg("%s", text);
	return ctx;
}

struct pair { struct tls *server, *client; struct buf at_server, at_client; };

/* Everything the one has to say goes to the other, `piece` bytes at a time. True: something was said. */
static inline bool move(struct tls *from, struct tls *to, struct buf *got, size_t piece)
{
	struct buf *out = tls_out(from);
	if (out->len == 0)
		return false;
	struct buf bytes = *out;
	*out = (struct buf){ 0 };
	for (size_t at = 0; at < bytes.len; at += piece) {
		uint8_t room[20000];
		size_t n;
		/* A copy of its own, so that reading behind it is seen. */
		size_t len = MIN_OF(piece, bytes.len - at);
		uint8_t *copy = malloc(len);
		memcpy(copy, bytes.data + at, len);
		tls_feed(to, span_of(copy, len));
		while ((n = tls_read(to, room, sizeof room)) > 0)
			buf_append(got, room, n);
		free(copy);
	}
	buf_free(&bytes);
	return true;
}

static inline void begin(struct pair *p, struct tls_ctx *server, struct tls_ctx *client, const char *name)
{
	*p = (struct pair){ .server = tls_new(server, NULL), .client = tls_new(client, name) };
}

static inline void talk(struct pair *p, size_t piece)
{
	uint8_t none[1];
	if (tls_phase(p->client) == TLS_HANDSHAKE)
		assert_int_equal(tls_read(p->client, none, sizeof none), 0);
	for (bool moved = true; moved;) {
		moved = move(p->client, p->server, &p->at_server, piece);
		moved = move(p->server, p->client, &p->at_client, piece) || moved;
	}
}

static inline void end(struct pair *p)
{
	tls_free(p->server);
	tls_free(p->client);
	buf_free(&p->at_server);
	buf_free(&p->at_client);
}

static inline void meet(struct pair *p, const struct side *server, const struct side *client, const char *name)
{
	struct tls_ctx *a = context(true, server), *b = context(false, client);
	begin(p, a, b, name);
	tls_ctx_unref(a);
	tls_ctx_unref(b);
	talk(p, SIZE_MAX);
}

static const struct side plain_server = { .name = "server" }, plain_client = { .ca = "ca.pem" };
