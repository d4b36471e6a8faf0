/* wire/err.h: the one table of errors, shared by wire, storage, library and command line.
 *
 * X(NAME, code, retryable, text). Codes are part of the protocol: never renumber, only append.
 * `retryable` answers one question for a client: may the same request succeed later, unchanged? */
#pragma once

#include "base.h"

#define ERR_LIST(X)                                                                              \
	X(OK, 0, 0, "ok")                                                                        \
	X(AGAIN, 1, 1, "more input is needed")                                                   \
	/* the peer's fault: bad bytes, bad values */                                            \
	X(MALFORMED, 10, 0, "the frame or message breaks the protocol")                          \
	X(TOO_BIG, 11, 0, "over a fixed size limit")                                             \
	X(UNKNOWN_KIND, 12, 0, "this frame kind is not known here")                              \
	X(VERSION, 13, 0, "no protocol version in common")                                       \
	X(NOT_READY, 14, 0, "not allowed in this state of the session")                          \
	X(INVALID_INPUT, 15, 0, "a value is missing, unknown or out of range")                   \
	X(INTEGRITY_MISMATCH, 16, 0, "the checksum does not match the bytes")                    \
	X(TIMEOUT, 17, 1, "the deadline has passed")                                             \
	/* refusals: the request was understood and is answered with no */                       \
	X(NOT_FOUND, 30, 0, "no such task, queue or session")                                    \
	X(EXISTS, 31, 0, "it exists already with other settings")                                \
	X(QUEUE_FULL, 32, 1, "the queue is at its length limit")                                 \
	X(DISK_FULL, 33, 1, "the disk is too full to take new tasks")                            \
	X(RESOURCE_EXHAUSTED, 34, 1, "a configured limit of the broker is reached")              \
	X(STALE_LEASE, 35, 0, "this lease is no longer held")                                    \
	X(LATE_RESULT, 36, 0, "the task already has its result")                                 \
	X(WRONG_STATE, 37, 0, "the task or queue is not in a state that allows this")            \
	X(STALE_SUBMIT, 38, 0, "this submission is older than what its producer has resolved")   \
	X(DUPLICATE_SESSION, 39, 1, "another live connection holds this session")                \
	X(PERMISSION, 40, 0, "not permitted")                                                    \
	X(UNAVAILABLE, 41, 1, "the broker is stopping or not yet ready")                         \
	X(CANCELLED, 42, 0, "cancelled")                                                         \
	X(UNSUPPORTED, 43, 0, "this broker does not offer that")                                 \
	X(NOT_DELIVERED, 44, 1, "nobody is there to take it, or who had it has gone")            \
	X(DOES_NOT_UNDERSTAND, 45, 0, "the holder has no handler for that")                      \
	X(SCHEMA_MISMATCH, 46, 0, "the payload or its fingerprint does not fit the schema")      \
	X(AMBIGUOUS, 47, 0, "more than one binding fits equally well")                           \
	X(INCOMPATIBLE, 48, 0, "the change would break who uses the old one")                    \
	X(BLOCKED, 49, 0, "this client is blocked by the operator")                              \
	X(DISPLACED, 50, 0, "another session has taken its place")                               \
	X(SPILL, 51, 0, "the payload is too big for this queue but as a blob")                   \
	/* outcome classes of a failed task (names as in RXON) */                                \
	X(TRANSIENT, 60, 1, "a passing fault: worth another try")                                \
	X(PERMANENT, 61, 0, "will fail the same way every time")                                 \
	X(DEPENDENCY, 62, 0, "something the task depends on failed")                             \
	X(SECURITY, 63, 0, "refused for security reasons")                                       \
	X(INTERNAL, 64, 1, "the executor broke")                                                 \
	X(EXPIRED, 65, 0, "expired before it was carried out")                                   \
	X(LOST, 66, 0, "the executor was lost")                                                  \
	/* the world's fault */                                                                  \
	X(IO, 80, 0, "storage failed; the node must stop")                                       \
	X(DAMAGED, 81, 0, "stored bytes are damaged")                                            \
	X(FOREIGN, 82, 0, "the directory belongs to another node, cluster or version")           \
	X(LOCKED, 83, 1, "another process holds this directory")                                 \
	/* seen only by a client */                                                              \
	X(NETWORK, 90, 1, "the connection failed")                                               \
	X(CLOSED, 91, 0, "the client is closed")                                                 \
	X(MEMORY, 92, 1, "out of memory")

enum err {
#define X(name, code, retryable, text) ERR_##name = code,
	ERR_LIST(X)
#undef X
};

/* The name ("QUEUE_FULL") and the text of a code; unknown codes give "UNKNOWN". Static strings. */
const char *err_name(uint32_t code);
const char *err_text(uint32_t code);
/* How long (ms) whoever is refused with it does well to wait: what is not there now is somebody else's to give back. 0 = no use. */
uint32_t err_retry_after_ms(uint32_t code);
/* True where the same request may succeed later. Unknown codes are not retryable. */
bool err_retryable(uint32_t code);
