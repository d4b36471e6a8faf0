/* clientlib/net_tls.c: TLS between the bytes of net.c and the socket. In the flow: link.out -> TLS -> SOCKET -> TLS -> link.in.
 *
 * 1. Files are read for every connection: a certificate that was renewed is used at the next reconnect, without a restart.
 * 2. Why there is no session is told apart: a broker whose certificate is no good is HLK_SECURITY, one that does not take ours, or
 *    demands one, HLK_PERMISSION. Both end blocking calls of a client that never had a session; one that had goes on trying.
 * 3. The broker's ticket shortens the next handshake with the same node, once, and only where all that a full one would go by is the same:
 *    else a CA that was taken out of its file, or a new certificate of ours, would not count before the ticket has expired.
 * 4. An end of the stream without close_notify is no end that the broker has said: it is told as a cut. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client_impl.h"

enum { FILE_BYTES_MAX = 16 << 20, PART_BYTES = 16 * TLS_RECORD_BYTES };

static const char system_ca[] = "/etc/ssl/certs/ca-certificates.crt";

int net_tls_options(struct hlk *c, const struct hlk_options *o, struct hlk_error *error)
{
	const char *const files[CLIENT_TLS_FILES] = { o->tls_ca, o->tls_cert, o->tls_key, o->tls_crl };
	if (!o->tls_cert != !o->tls_key) {
		error_fill(error, HLK_INVALID_INPUT, "options.tls_cert and tls_key belong together");
		return HLK_INVALID_INPUT;
	}
	if (o->tls_server_name && (!o->tls_server_name[0] || strlen(o->tls_server_name) > TLS_NAME_BYTES)) {
		error_fill(error, HLK_INVALID_INPUT, "options.tls_server_name: 1 to %d bytes", TLS_NAME_BYTES);
		return HLK_INVALID_INPUT;
	}
	for (int i = 0; i < CLIENT_TLS_FILES; i++) {
		c->tls_files[i] = files[i] ? strdup(files[i]) : NULL;
		ENSURE(!files[i] || c->tls_files[i]);
	}
	c->tls_server_name = o->tls_server_name ? strdup(o->tls_server_name) : NULL;
	ENSURE(!o->tls_server_name || c->tls_server_name);
	c->tls_ocsp_required = o->tls_ocsp_required;
	return HLK_OK;
}

void net_tls_free(struct hlk *c)
{
	for (int i = 0; i < CLIENT_TLS_FILES; i++)
		free(c->tls_files[i]);
	for (uint32_t i = 0; i < c->node_count; i++)
		tls_ticket_free(c->nodes[i].ticket);
	free(c->tls_server_name);
	free(c->link.tls_room);
}

/* ---- files ---- */

static bool read_file(struct hlk *c, const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t got = -1;
	while (fd >= 0 && out->len < FILE_BYTES_MAX) {
		buf_reserve(out, 16384);
		got = read(fd, out->data + out->len, 16384);
		if (got <= 0)
			break;
		out->len += (size_t)got;
	}
	if (got != 0)
		net_fail(c, HLK_INVALID_INPUT, "%s: %s", path, got > 0 ? "too big" : strerror(errno));
	if (fd >= 0)
		(void)close(fd);
	return got == 0;
}

/* What a handshake would go by, as a hash. */
static void settings_id(const struct hlk *c, const struct buf files[CLIENT_TLS_FILES], uint8_t id[SHA256_BYTES])
{
	struct sha256 hash;
	sha256_begin(&hash);
	for (int i = 0; i < CLIENT_TLS_FILES; i++) {
		sha256_add(&hash, span_of(&files[i].len, sizeof files[i].len));
		sha256_add(&hash, buf_span(&files[i]));
	}
	sha256_add(&hash, span_of(&c->tls_ocsp_required, sizeof c->tls_ocsp_required));
	sha256_end(&hash, id);
}

static struct tls_ctx *make_context(struct hlk *c, uint8_t id[SHA256_BYTES])
{
	struct buf files[CLIENT_TLS_FILES] = { { NULL, 0, 0 } };
	struct tls_ctx *ctx = NULL;
	bool good = true;
	for (int i = 0; i < CLIENT_TLS_FILES && good; i++) {
		const char *path = c->tls_files[i] ? c->tls_files[i] : i == CLIENT_TLS_CA ? system_ca : NULL;
		good = !path || read_file(c, path, &files[i]);
	}
	const struct tls_settings settings = { .ca = buf_span(&files[CLIENT_TLS_CA]), .chain = buf_span(&files[CLIENT_TLS_CERT]),
					       .key = buf_span(&files[CLIENT_TLS_KEY]), .crl = buf_span(&files[CLIENT_TLS_CRL]),
					       .ocsp_required = c->tls_ocsp_required };
	char text[256];
	enum err e = good ? tls_ctx_new(&settings, &ctx, text) : ERR_OK;
	if (e != ERR_OK)
		net_fail(c, (int)e, "%s", text);
	settings_id(c, files, id);
	for (int i = 0; i < CLIENT_TLS_FILES; i++) {
		if (files[i].data)
			explicit_bzero(files[i].data, files[i].cap);
		buf_free(&files[i]);
	}
	return ctx;
}

/* ---- the session ---- */

/* Marks what TLS says. With the last of all nodes a client that never had a session knows that waiting does not help. */
static void failed(struct hlk *c)
{
	struct link *l = &c->link;
	enum err e = tls_failure(l->tls);
	if (!c->session.known && l->node + 1 == c->node_count && e != ERR_RESOURCE_EXHAUSTED)
		c->session.refused_code = (int)e;
	net_fail(c, (int)e, "TLS: %s", tls_failure_text(l->tls));
}

/* What is wrapped goes out as far as the socket takes it. False: an error, in errno. */
static bool push(struct link *l)
{
	struct buf *out = tls_out(l->tls);
	while (l->tls_sent < out->len) {
		ssize_t sent = send(l->fd, out->data + l->tls_sent, out->len - l->tls_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return false;
		l->tls_sent += (size_t)sent;
	}
	out->len = l->tls_sent = 0;
	return true;
}

void net_tls_begin(struct hlk *c)
{
	struct link *l = &c->link;
	struct node *node = &c->nodes[l->node];
	uint8_t id[SHA256_BYTES];
	struct tls_ctx *ctx = make_context(c, id);
	if (!ctx)
		return;
	l->tls = tls_new(ctx, c->tls_server_name ? c->tls_server_name : node->host);
	tls_ctx_unref(ctx);
	if (!l->tls) {
		net_fail(c, HLK_MEMORY, "no memory for a TLS session");
		return;
	}
	if (node->ticket && memcmp(node->ticket_of, id, sizeof id) == 0)
		tls_ticket_use(l->tls, node->ticket);
	tls_ticket_free(node->ticket); /* used or not: the next one comes with this session */
	node->ticket = NULL;
	memcpy(node->ticket_of, id, sizeof id);
	if (!l->tls_room)
		l->tls_room = malloc(READ_BYTES);
	ENSURE(l->tls_room != NULL);
	c->due = true; /* net_tls_handshake has the first word */
}

bool net_tls_handshake(struct hlk *c)
{
	struct link *l = &c->link;
	for (;;) {
		(void)tls_read(l->tls, NULL, 0);
		if (!push(l) && errno != EAGAIN && tls_phase(l->tls) != TLS_FAILED)
			net_fail(c, HLK_NETWORK, "TLS handshake: %s", strerror(errno));
		if (tls_phase(l->tls) == TLS_FAILED)
			failed(c);
		if (l->failed || tls_phase(l->tls) == TLS_OPEN)
			return !l->failed;
		ssize_t got = recv(l->fd, l->tls_room, READ_BYTES, MSG_DONTWAIT);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return false;
		if (got <= 0) {
			net_fail(c, HLK_NETWORK, "TLS handshake: %s", got == 0 ? "closed by the peer" : strerror(errno));
			return false;
		}
		tls_feed(l->tls, span_of(l->tls_room, (size_t)got));
	}
}

bool net_tls_unsent(const struct hlk *c)
{
	return c->link.tls && tls_out(c->link.tls)->len > 0;
}

ssize_t net_tls_send(struct hlk *c, struct span bytes)
{
	struct link *l = &c->link;
	size_t done = 0;
	while (push(l)) {
		size_t part = MIN_OF(bytes.len - done, (size_t)PART_BYTES);
		if (part == 0)
			return (ssize_t)done;
		if (!tls_write(l->tls, span_of(bytes.data + done, part))) {
			failed(c);
			errno = EPIPE;
			return -1;
		}
		done += part;
	}
	return done > 0 && errno == EAGAIN ? (ssize_t)done : -1;
}

ssize_t net_tls_receive(struct hlk *c, void *room, size_t size)
{
	struct link *l = &c->link;
	uint8_t *at = room;
	size_t total = 0, got;
	for (;;) {
		while (total < size && (got = tls_read(l->tls, at + total, size - total)) > 0)
			total += got;
		if (total > 0)
			return (ssize_t)total;
		if (tls_phase(l->tls) == TLS_FAILED)
			failed(c);
		if (tls_phase(l->tls) != TLS_OPEN)
			return 0;
		ssize_t some = recv(l->fd, l->tls_room, READ_BYTES, MSG_DONTWAIT);
		if (some == 0)
			net_fail(c, HLK_NETWORK, "cut: the stream ended without close_notify");
		if (some <= 0)
			return some;
		tls_feed(l->tls, span_of(l->tls_room, (size_t)some));
	}
}

void net_tls_drop(struct hlk *c, bool tell)
{
	struct link *l = &c->link;
	if (!l->tls)
		return;
	if (tell && tls_phase(l->tls) == TLS_OPEN)
		tls_end(l->tls);
	if (tell || tls_phase(l->tls) == TLS_FAILED) /* an alert */
		(void)push(l);
	tls_ticket_free(c->nodes[l->node].ticket);
	c->nodes[l->node].ticket = tls_ticket_take(l->tls);
	tls_free(l->tls);
	l->tls = NULL;
	l->tls_sent = 0;
}
