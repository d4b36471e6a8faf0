/* broker/conn_file.h: bytes that go from a file to the socket without passing through our memory, in between the frames of a connection.
 *
 *   c->out [0 .. at) -> the file -> the rest of c->out
 *
 * 1. One at a time on a connection, and on those without TLS only.
 * 2. The file stays open until `done` has been called, once, with anything but STUCK. */
#pragma once

#include "shard_impl.h"

/* STUCK: it could not be begun; conn_file_instead is to bring the bytes. LOST: the connection is gone. */
enum conn_file_how { CONN_FILE_SENT, CONN_FILE_STUCK, CONN_FILE_LOST };
typedef void conn_file_done(void *ctx, enum conn_file_how how);

/* Behind what is in c->out now, which is the head of the frame. */
void conn_file_put(struct conn *c, int file, uint64_t offset, uint32_t len, conn_file_done *done, void *ctx);
static inline bool conn_file_free(const struct conn *c) { return !c->tls && !c->file && !c->closing; }
void conn_file_instead(struct conn *c, struct span bytes);

/* Of conn.c: true: c->sending has what goes in front of the file; false: nothing else may be sent now. */
bool conn_file_next(struct conn *c);
void conn_file_sent(struct conn *c, int res); /* a send is over; perhaps it was the file's */
void conn_file_lost(struct conn *c);
