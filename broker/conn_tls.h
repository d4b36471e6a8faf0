/* broker/conn_tls.h: TLS between the bytes of a connection and its frames. Used by conn.c alone.
 *
 * In the flow: socket -> TLS -> conn_plain -> frame, and conn.out -> TLS -> conn.sending -> socket. */
#pragma once

#include "shard_impl.h"

struct conn_tls;

void conn_tls_begin(struct conn *c);  /* costs little: the session is made when the first bytes are here */
void conn_tls_free(struct conn *c);
/* Unwraps them and hands on what comes out; ends the connection where that must be. */
void conn_tls_received(struct conn *c, struct span bytes);
/* Makes c->sending, which is empty, of what is queued: a bounded part of it, in full records. Empty afterwards: there is nothing. */
void conn_tls_fill(struct conn *c);
void conn_tls_closed(struct conn *c, int res); /* by the io */
void conn_tls_shrink(struct conn *c);
size_t conn_tls_queued(const struct conn *c); /* beside out and sending */
size_t conn_tls_memory(const struct conn *c);
/* The certificates of s->tls are new: every session is judged by them. A few each turn by conn_tls_run; true: there are more. */
void conn_tls_reloaded(struct shard *s);
bool conn_tls_run(struct shard *s);
void conn_tls_gone(struct conn *c); /* while it is in the list still */
