/* wire/tls_none.c: the same interface in a build without TLS (-DHILLOCK_TLS=OFF, or HILLOCK_CLIENT_TLS for the client library
 * alone): a context cannot be made, and so nothing else is ever called. */
#include "tls.h"

bool tls_built(void) { return false; }

enum err tls_ctx_new(const struct tls_settings *settings, struct tls_ctx **out, char text[256])
{
	(void)settings;
	*out = NULL;
	(void)snprintf(text, 256, "built without TLS");
	return ERR_UNSUPPORTED;
}

#pragma GCC diagnostic ignored "-Wunused-parameter"
#define NEVER                                      \
	{                                          \
		bool reached_without_tls = true;   \
		ENSURE(!reached_without_tls);      \
		__builtin_unreachable();           \
	}

struct tls_ctx *tls_ctx_ref(struct tls_ctx *ctx) NEVER
void tls_ctx_unref(struct tls_ctx *ctx) { ENSURE(ctx == NULL); }
uint64_t tls_ctx_expires(const struct tls_ctx *ctx) NEVER
bool tls_ctx_stapling(const struct tls_ctx *ctx) NEVER
const char *tls_engine(void) { return "built without TLS"; }
struct tls *tls_new(struct tls_ctx *ctx, const char *server_name) NEVER
void tls_free(struct tls *t) { ENSURE(t == NULL); }
enum tls_phase tls_phase(const struct tls *t) NEVER
void tls_feed(struct tls *t, struct span bytes) NEVER
size_t tls_read(struct tls *t, void *out, size_t room) NEVER
bool tls_write(struct tls *t, struct span bytes) NEVER
struct buf *tls_out(struct tls *t) NEVER
void tls_end(struct tls *t) NEVER
bool tls_truncated(const struct tls *t) NEVER
enum err tls_failure(const struct tls *t) NEVER
const char *tls_failure_text(const struct tls *t) NEVER
enum tls_name_kind tls_peer_name(struct tls *t, char out[TLS_NAME_BYTES + 1]) NEVER
const char *tls_name_kind_text(enum tls_name_kind kind) NEVER
const char *tls_cipher(struct tls *t) NEVER
bool tls_resumed(const struct tls *t) NEVER
enum err tls_recheck(const struct tls *t, const struct tls_ctx *ctx, char text[128]) NEVER
struct tls_ticket *tls_ticket_take(struct tls *t) NEVER
void tls_ticket_use(struct tls *t, const struct tls_ticket *ticket) NEVER
void tls_ticket_free(struct tls_ticket *ticket) { ENSURE(ticket == NULL); }
void tls_heap_limit(size_t bytes) { (void)bytes; }
void tls_heap_get(struct tls_heap_stats *out) { *out = (struct tls_heap_stats){ .used = 0 }; }
