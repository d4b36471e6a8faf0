/* wire/tls_impl.h: what the files of tls share. Private to them. */
#pragma once

#include "tls.h"

#include <stdatomic.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/error-ssl.h>

struct tls_ctx {
	_Atomic uint32_t refs;
	WOLFSSL_CTX *wolf;
	bool server, tickets;
	struct buf ocsp;
};

struct tls {
	WOLFSSL *wolf;
	struct tls_ctx *ctx;
	struct span in;      /* not yet taken */
	struct buf out;
	enum tls_phase phase;
	enum err failure;
	bool heard;          /* there was a first byte */
	bool ended;          /* our close_notify is out */
	char name[TLS_NAME_BYTES + 1]; /* client: whom we expect */
	char text[192];
};

/* Once in the life of a process: wolfSSL itself, and who does AES-GCM. False: it cannot be had. */
bool tls_library(void);
int tls_device(void);        /* for wolfSSL_CTX_SetDevId; INVALID_DEVID without one */
/* From here to tls_heap_leave the calling thread is at work for a handshake. */
void tls_heap_enter(void);
void tls_heap_leave(void);

/* tls_peer.c: the session is over, and why. */
void tls_fail(struct tls *t, int wolf_error);
bool tls_expect(struct tls *t, const char *name);
