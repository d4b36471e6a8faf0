/* fuzz/fuzz_tls.c: any bytes where TLS records belong. The first byte says where: 0 into a server, 1 into a client, 2 into a server
 * behind a good handshake, 3 as changes of a handshake on its way to the server, 4 of one on its way to the client, 5 of records behind it;
 * 6, 7, 8: 1, 3 and 4 with a client that comes back with a ticket.
 *
 * Properties: nothing crashes or is read outside of what was fed; a session that failed says why and stays failed; what a peer did
 * not write in this order never comes out behind a good handshake; a session that is open at the server has the client's name. */
#include "../wire/tls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum mode { RAW_SERVER, RAW_CLIENT, RAW_OPEN, BENT_TO_SERVER, BENT_TO_CLIENT, BENT_OPEN,
	    RAW_CLIENT_AGAIN, BENT_TO_SERVER_AGAIN, BENT_TO_CLIENT_AGAIN, MODES };

static struct buf file(const char *name)
{
	struct buf out = { 0 };
	uint8_t room[4096];
	size_t got;
	char path[512];
	(void)snprintf(path, sizeof path, "%s/%s", CERTS, name);
	FILE *in = fopen(path, "rb");
	ENSURE(in != NULL);
	while ((got = fread(room, 1, sizeof room, in)) > 0)
		buf_append(&out, room, got);
	(void)fclose(in);
	return out;
}

static struct tls_ctx *context(bool server)
{
	struct buf pem = file(server ? "server.pem" : "client.pem"), key = file(server ? "server.key" : "client.key"), ca = file("ca.pem");
	const struct tls_settings settings = { .server = server, .verify = TLS_VERIFY_OPTIONAL, .chain = buf_span(&pem),
					       .key = buf_span(&key), .ca = buf_span(&ca) };
	struct tls_ctx *ctx;
	char text[256];
	ENSURE(tls_ctx_new(&settings, &ctx, text) == ERR_OK);
	buf_free(&pem);
	buf_free(&key);
	buf_free(&ca);
	return ctx;
}

/* Feeds a copy of its own size; what comes out is appended to `got`. */
static void feed(struct tls *t, struct span bytes, struct buf *got)
{
	uint8_t room[TLS_RECORD_BYTES], *copy = malloc(bytes.len + 1);
	size_t n;
	ENSURE(copy != NULL);
	if (bytes.len > 0)
		memcpy(copy, bytes.data, bytes.len);
	tls_feed(t, span_of(copy, bytes.len));
	while ((n = tls_read(t, room, sizeof room)) > 0)
		buf_append(got, room, n);
	if (tls_phase(t) == TLS_FAILED) {
		ENSURE(tls_failure(t) != ERR_OK && tls_failure_text(t)[0] != 0);
		tls_feed(t, span_of(copy, bytes.len));
		ENSURE(tls_read(t, room, sizeof room) == 0 && tls_phase(t) == TLS_FAILED);
	}
	free(copy);
}

/* Triples of a place and what is turned over there. */
static bool bend(struct buf *b, struct span edits)
{
	bool bent = false;
	for (size_t i = 0; i + 3 <= edits.len && b->len > 0; i += 3) {
		size_t at = (size_t)(edits.data[i] | edits.data[i + 1] << 8) % b->len;
		b->data[at] ^= edits.data[i + 2];
		bent = bent || edits.data[i + 2] != 0;
	}
	return bent;
}

static bool pass(struct tls *from, struct tls *to, struct span edits, struct buf *got)
{
	struct buf out = *tls_out(from);
	*tls_out(from) = (struct buf){ 0 };
	bool bent = bend(&out, edits);
	feed(to, buf_span(&out), got);
	buf_free(&out);
	return bent;
}

static void run(enum mode mode, struct span rest, struct tls *server, struct tls *client)
{
	static const char said[] = "what was really said";
	const struct span none = { NULL, 0 };
	struct buf at_server = { 0 }, at_client = { 0 };
	feed(client, none, &at_client);
	if (mode == RAW_SERVER || mode == RAW_CLIENT || mode == RAW_CLIENT_AGAIN) {
		feed(mode == RAW_SERVER ? server : client, rest, mode == RAW_SERVER ? &at_server : &at_client);
		ENSURE(at_server.len == 0 && at_client.len == 0);
	} else {
		for (int flight = 0; flight < 3; flight++) {
			(void)pass(client, server, mode == BENT_TO_SERVER || mode == BENT_TO_SERVER_AGAIN ? rest : none, &at_server);
			(void)pass(server, client, mode == BENT_TO_CLIENT || mode == BENT_TO_CLIENT_AGAIN ? rest : none, &at_client);
		}
		ENSURE(at_server.len == 0 && at_client.len == 0);
	}
	if (mode == RAW_OPEN) {
		ENSURE(tls_phase(server) == TLS_OPEN);
		feed(server, rest, &at_server);
		ENSURE(at_server.len == 0);
	}
	if (mode == BENT_OPEN) {
		ENSURE(tls_phase(client) == TLS_OPEN && tls_write(client, span_of(said, sizeof said)));
		bool bent = pass(client, server, rest, &at_server);
		ENSURE(at_server.len == 0 || (at_server.len == sizeof said && memcmp(at_server.data, said, sizeof said) == 0));
		ENSURE(bent || at_server.len == sizeof said);
	}
	if (tls_phase(server) == TLS_OPEN) {
		char name[TLS_NAME_BYTES + 1];
		ENSURE(tls_peer_name(server, name) == TLS_NAME_URI && strcmp(name, "spiffe://example.com/worker") == 0);
	}
	buf_free(&at_server);
	buf_free(&at_client);
}

static struct tls_ticket *ticket_of(struct tls_ctx *a, struct tls_ctx *b)
{
	struct tls *server = tls_new(a, NULL), *client = tls_new(b, "localhost");
	run(BENT_OPEN, span_of(NULL, 0), server, client);
	struct buf got = { 0 };
	(void)pass(server, client, span_of(NULL, 0), &got);
	struct tls_ticket *ticket = tls_ticket_take(client);
	ENSURE(ticket != NULL);
	tls_free(server);
	tls_free(client);
	buf_free(&got);
	return ticket;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tls_ctx *a, *b;
	static struct tls_ticket *ticket;
	if (size == 0 || size > 70000)
		return 0;
	if (!a) {
		a = context(true);
		b = context(false);
		ticket = ticket_of(a, b);
	}
	struct tls *server = tls_new(a, NULL), *client = tls_new(b, "localhost");
	ENSURE(server && client);
	enum mode mode = (enum mode)(data[0] % MODES);
	if (mode >= RAW_CLIENT_AGAIN)
		tls_ticket_use(client, ticket);
	run(mode, span_of(data + 1, size - 1), server, client);
	tls_free(server);
	tls_free(client);
	return 0;
}
