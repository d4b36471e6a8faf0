/* wire/tls_impl.h: what the files of tls share. Private to them. */
#pragma once

#include "tls.h"

#include <stdatomic.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/openssl/ec.h>

enum { TLS_PEERS = 4096, TLS_PEER_KEPT_BYTES = 8192, TLS_TICKET_KEYS = 2, TLS_PEER_ID_BYTES = 32 };

/* A chain of certificates that a client has shown, as bytes: each with its size (u32) before it, the client's own first. */
struct tls_peer {
	uint32_t refs;
	uint8_t id[TLS_PEER_ID_BYTES]; /* SHA-256 of the chain */
	uint8_t kind;                  /* enum tls_name_kind */
	char name[TLS_NAME_BYTES + 1];
	uint32_t size;
	uint8_t chain[];
};

struct tls_ticket_key {
	uint8_t name[WOLFSSL_TICKET_NAME_SZ], key[32];
	int64_t made_s; /* 0: there is none */
};

struct tls_ctx {
	_Atomic uint32_t refs;
	WOLFSSL_CTX *wolf;
	bool server;
	enum tls_verify verify;
	struct buf ocsp;
	uint64_t expires;        /* seconds since 1970 */
	/* Of servers; one thread at a time. */
	WOLFSSL_CTX *judge;      /* the same trust and revocations, for second looks; NULL: clients show no certificates */
	struct tls_peer **peers; /* TLS_PEERS by the first bytes of their id: those that tickets may name; none is larger
				  * than TLS_PEER_KEPT_BYTES */
	WOLFSSL_EC_KEY *no_key;  /* tls_trust.c: takes the place of keys that nobody needs any more */
	struct tls_ticket_key keys[TLS_TICKET_KEYS]; /* the newest first */
};

/* tls_crypto.c: what wolfSSL forgets while a server that staples reads a hello. `size` is that of the answer; 0: nothing is looked for. */
struct tls_forgotten {
	size_t size;
	uint32_t hello;  /* the first, or the one after another try */
	void *copies[2]; /* of the answer: one for each hello */
};

struct tls {
	WOLFSSL *wolf;
	struct tls_ctx *ctx;
	struct span in;      /* not yet taken */
	struct buf out;
	enum tls_phase phase;
	enum err failure;
	struct tls_forgotten forgotten;
	struct buf hello;    /* tls_ticket.c: of the server's first messages, as far as they are there */
	struct tls_peer *peer, *ticket_peer; /* server: who the client is; who it is if its ticket holds */
	int verdict;         /* why our callback refused, as an error of wolfSSL; 0: it did not */
	bool heard;          /* there was a first byte */
	bool ended;          /* our close_notify is out */
	bool hello_seen;     /* nothing is to be looked for in hello any more */
	char name[TLS_NAME_BYTES + 1]; /* client: whom we expect */
	char text[192];
};

/* Once in the life of a process: wolfSSL itself, and who does AES-GCM. False: it cannot be had. */
bool tls_library(void);
int tls_device(void);        /* for wolfSSL_CTX_SetDevId; INVALID_DEVID without one */
/* From here to tls_heap_watch(NULL) the calling thread is at work for a hello that may make wolfSSL forget something. */
void tls_heap_watch(struct tls_forgotten *f);
void tls_heap_forgotten(struct tls_forgotten *f, struct span answer); /* the session is freed: that, too */
/* From here to tls_heap_leave the calling thread is at work for a handshake. */
void tls_heap_enter(void);
void tls_heap_leave(void);

/* tls_peer.c: the session is over, and why. */
void tls_fail(struct tls *t, int wolf_error);
bool tls_expect(struct tls *t, const char *name);
enum tls_name_kind tls_name_of(WOLFSSL_X509 *x509, char out[TLS_NAME_BYTES + 1]);
const char *tls_reason(int wolf_error); /* NULL: there is none in the table */

/* tls_trust.c: certificates of clients; what a server staples. */
enum err tls_trust_begin(struct tls_ctx *ctx, const struct tls_settings *k, char text[256]) MUST_CHECK;
void tls_trust_free(struct tls_ctx *ctx);
int tls_trust_verify(int good, WOLFSSL_X509_STORE_CTX *store); /* for wolfSSL: of contexts that have a judge */
bool tls_staple_good(const struct tls *t); /* false: it has shown none, and its certificate demands it */
struct tls_peer *tls_peer_find(const struct tls_ctx *ctx, const uint8_t id[TLS_PEER_ID_BYTES]); /* NULL: it has been forgotten */
void tls_peer_unref(struct tls_peer *peer);
/* 0: a handshake with these certificates would be taken now. Else wolfSSL's error. */
int tls_judge(const struct tls_ctx *ctx, const struct tls_peer *peer);

/* tls_ctx.c */
enum err tls_load_trust(WOLFSSL_CTX *wolf, const struct tls_settings *k, char text[256]) MUST_CHECK;

/* tls_ticket.c */
bool tls_tickets_begin(struct tls_ctx *ctx);
/* The server's side of the handshake, as it is on the wire. False: it would resume without new keys. */
bool tls_hello_look(struct tls *t, const void *bytes, size_t len);
void tls_ticket_settle(struct tls *t); /* the handshake is done */
