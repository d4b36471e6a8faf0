/* broker/audit.h: the record of what concerns security: who, from where, did what, and whether it was allowed. One JSON object a line in
 * the file audit.log of the data directory; at AUDIT_BYTES it becomes audit.log.1, in place of the one before.
 *
 * Never waits: lines gather in memory and are written by the ring in the background; what does not fit is counted, and the count is
 * the next line. It is not part of the log and promises nothing that the log promises. */
#pragma once

#include "shard_impl.h"

enum { AUDIT_BYTES = 16 << 20, AUDIT_PENDING = 256 << 10 };

struct audit;
struct audit *audit_new(struct shard *s, struct io *io);
/* Waits for the write that is under way. */
void audit_free(struct audit *a);
/* `what` and `outcome` are words of ours, the rest may come from peers. */
void audit(struct shard *s, const char *peer, const char *who, const char *what, const char *outcome, const char *format, ...)
	PRINTF_LIKE(6, 7);
void audit_run(struct shard *s); /* once a turn */

/* A limit of the whole broker keeps somebody out: an event each time, a line of the audit the first time. limit_free: it does no more. */
enum shard_limit { SHARD_LIMIT_CONNS = 1, SHARD_LIMIT_DISK = 2, SHARD_LIMIT_BUFFERS = 4 };
void limit_reached(struct shard *s, enum shard_limit limit, const char *what, const char *text);
static inline void limit_free(struct shard *s, uint32_t limits)
{
	s->limits_told &= ~limits;
}
