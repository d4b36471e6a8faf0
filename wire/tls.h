/* wire/tls.h: TLS 1.3 as bytes in, bytes out: no sockets, no files, no waiting. wolfSSL behind an interface of ours.
 *
 * In the flow: socket -> TLS -> frame, and frame -> TLS -> socket; the broker's connections and the client library's use the same.
 *
 *	tls_feed(t, received);                    // borrowed until tls_read has returned 0
 *	while ((n = tls_read(t, room, size)) > 0) // drives the handshake, too
 *		... n bytes of frames ...
 *	tls_write(t, frames);                     // whole records
 *	... send and empty *tls_out(t) ...        // whatever was called: there may be an alert in it
 *
 * 1. TLS 1.3 only; three cipher suites, two groups; ALPN hillock/1 where the peer speaks ALPN at all.
 * 2. A session that failed stays failed; its reason is a code and a text; the alert for the peer is in tls_out.
 * 3. Running out of memory inside is a failure of that session, never the end of the process.
 *
 * One thread at a time uses a session. Contexts of clients may be shared by threads; one of a server and its sessions are of one thread. */
#pragma once

#include "err.h"
#include "span.h"

struct tls_ctx; /* certificates, trust, and what is to be checked */
struct tls;     /* one session */

#define TLS_ALPN "hillock/1"

enum { TLS_RECORD_BYTES = 16384, TLS_NAME_BYTES = 255 };

enum tls_verify { TLS_VERIFY_NONE, TLS_VERIFY_OPTIONAL, TLS_VERIFY_REQUIRED };

/* PEM texts, borrowed during the call; empty where there is none. */
struct tls_settings {
	bool server;
	enum tls_verify verify;  /* server: does a client need a certificate? A client always checks the server's */
	struct span chain, key;  /* certificate of this side, those above it behind it; its private key */
	struct span ca;          /* whom this side trusts */
	struct span crl;         /* revoked certificates: one list for every CA of the other side's chain */
	struct span ocsp;        /* server: DER, an OCSP response to staple */
	bool ocsp_required;      /* client: a server that staples none is refused; else only one whose certificate demands it */
};

bool tls_built(void); /* false: of all the rest only what says so can be called */
/* ERR_INVALID_INPUT with text: which of them is no good, and why. ERR_UNSUPPORTED: built without TLS. */
enum err tls_ctx_new(const struct tls_settings *settings, struct tls_ctx **out, char text[256]) MUST_CHECK;
struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx);
void tls_ctx_unref(struct tls_ctx *ctx); /* NULL is fine; sessions keep their own */
uint64_t tls_ctx_expires(const struct tls_ctx *ctx); /* of our own certificate, seconds since 1970; 0 = there is none */
bool tls_ctx_stapling(const struct tls_ctx *ctx); /* there is an OCSP answer to show, and it has not expired */
/* "TLS 1.3, AES-GCM by libipsec-mb 1.3.0": what serves records in this process. Static. */
const char *tls_engine(void);

/* `server_name`: client only, the DNS name or address the certificate must be for. NULL: out of memory. */
struct tls *tls_new(struct tls_ctx *ctx, const char *server_name);
void tls_free(struct tls *t); /* NULL is fine */

enum tls_phase {
	TLS_HANDSHAKE,
	TLS_OPEN,
	TLS_ENDED,  /* the peer has said that nothing more comes; writing is still possible */
	TLS_FAILED,
};
enum tls_phase tls_phase(const struct tls *t);
void tls_feed(struct tls *t, struct span bytes); /* what is left of an earlier feed is dropped */
/* How many bytes were put into `out`. 0: all that was fed is used up; look at the phase. Without room it goes no further than the
 * end of the handshake. */
size_t tls_read(struct tls *t, void *out, size_t room);
/* False: the session has failed. Only in TLS_OPEN and TLS_ENDED. */
bool tls_write(struct tls *t, struct span bytes);
/* Records for the peer: send and consume them. */
struct buf *tls_out(struct tls *t);
/* Says that nothing more comes from here (close_notify). */
void tls_end(struct tls *t);
/* The connection ended: true where the peer had not said that it would, so that what came may have been cut short. */
bool tls_truncated(const struct tls *t);

/* Of a session that failed: ERR_SECURITY (a certificate is no good), ERR_PERMISSION (the peer wants one, or refused ours),
 * ERR_RESOURCE_EXHAUSTED (memory), ERR_MALFORMED (no TLS, or not ours), ERR_VERSION (nothing in common). */
enum err tls_failure(const struct tls *t);
const char *tls_failure_text(const struct tls *t);

/* Whom the peer's certificate names: the first URI of its alternative names, else DNS name, else e-mail, else its common name. */
enum tls_name_kind { TLS_NAME_NONE, TLS_NAME_URI, TLS_NAME_DNS, TLS_NAME_EMAIL, TLS_NAME_CN };
/* Copies it; TLS_NAME_NONE and "" where the peer showed no certificate, or one without a name that can be used. */
/* Server only. Of a resumed session it is the name of the session that it goes back to. */
enum tls_name_kind tls_peer_name(struct tls *t, char out[TLS_NAME_BYTES + 1]);
const char *tls_name_kind_text(enum tls_name_kind kind); /* "uri", "dns", "email", "cn", "" */
const char *tls_cipher(struct tls *t);                   /* "TLS13-AES128-GCM-SHA256"; borrowed */
bool tls_resumed(const struct tls *t);                   /* by a ticket: no certificate was shown */

/* Server: looks at the certificates of an open session once more, by what `ctx` trusts and knows to be revoked. ERR_SECURITY with the
 * reason in text: revoked, or from nobody who is trusted. Else ERR_OK: also where there are none, where they have only expired since, and
 * where nobody can tell, as a revocation list is missing or has expired. Some 0.2 ms. */
enum err tls_recheck(const struct tls *t, const struct tls_ctx *ctx, char text[128]) MUST_CHECK;

/* ---- resumption ----
 *
 * A server gives each client a ticket, good for an hour at this context. Who comes back with it shows no certificate: who that is, is in
 * the ticket, and is judged as in a handshake. What is no good any more costs a full handshake and nothing else. New keys each time. */
struct tls_ticket;
/* Client: what the server has given, to go back to this session; NULL: nothing yet. The caller's. */
struct tls_ticket *tls_ticket_take(struct tls *t);
/* Client, before the first tls_read: tries. The ticket stays the caller's. */
void tls_ticket_use(struct tls *t, const struct tls_ticket *ticket);
void tls_ticket_free(struct tls_ticket *ticket); /* NULL is fine */

/* ---- memory: for a process that gives all its TLS a limit ---- */

/* Before anything else of this header, once: from here on all of it lives in one heap of at most `bytes`, of which sessions that are in
 * their handshake can use all but an eighth. */
void tls_heap_limit(size_t bytes);
struct tls_heap_stats { uint64_t used, peak, limit, refused_total; };
void tls_heap_get(struct tls_heap_stats *out);
