/* clientlib/net.c: one connection at a time to one of several nodes: dialling, bytes out, bytes in. In the flow:
 * producer, worker -> link.out -> SOCKET -> link.in -> session.
 *
 * 1. Nothing waits: sockets are non-blocking, and a host given by name is looked up by resolve.c. Until that is done the state
 *    is LINK_CONNECTING without a socket.
 * 2. Addresses of a node and then the other nodes are tried at once; after a round over all of them the client waits a random
 *    time between the minimum and a bound that doubles, so that a thousand clients do not come back in the same moment.
 * 3. A failure is marked where it is seen and acted upon in net_step alone, when nobody reads or writes.
 * 4. Input is parsed in place. Frames are multiples of 8 long, so the next one is aligned if the first is. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client_impl.h"

/* ---- failing and coming back ---- */

void net_fail(struct hlk *c, int code, const char *format, ...)
{
	if (c->link.failed)
		return; /* the first reason is the one to tell */
	va_list args;
	va_start(args, format);
	(void)vsnprintf(c->link.fail_text, sizeof c->link.fail_text, format, args);
	va_end(args);
	c->link.failed = true;
	c->link.fail_code = code;
	c->due = true;
}

static void drop_socket(struct hlk *c)
{
	struct link *l = &c->link;
	net_tls_drop(c, false);
	if (l->fd >= 0)
		(void)close(l->fd);
	l->fd = -1;
	l->want_write = l->failed = false;
	l->out.len = l->in.len = 0;
	l->out_sent = l->in_from = 0;
	l->queued_total = l->sent_total = 0;
	if (l->out.cap > 4 * READ_BYTES)
		buf_free(&l->out);
}

static void forget_addresses(struct link *l)
{
	if (l->addresses)
		freeaddrinfo(l->addresses);
	l->addresses = l->address = NULL;
}

/* Decides when the next attempt is due. */
static void plan_attempt(struct hlk *c)
{
	struct link *l = &c->link;
	l->state = LINK_WAITING;
	l->due_ms = c->now_ms;
	if (l->address && l->address->ai_next) {
		l->address = l->address->ai_next;
		return;
	}
	forget_addresses(l);
	if (++l->node < c->node_count)
		return;
	l->node = 0;
	uint64_t bound = c->backoff_min_ms;
	for (uint32_t i = 0; i < l->round && bound < c->backoff_max_ms; i++)
		bound *= 2;
	bound = MIN_OF(bound, (uint64_t)c->backoff_max_ms);
	l->round++;
	l->due_ms += (int64_t)(1 + client_random(c) % bound);
}

/* The connection, or the attempt at one, is over. */
static void take_down(struct hlk *c)
{
	struct link *l = &c->link;
	bool was_ready = l->state == LINK_READY;
	const char *url = c->nodes[l->node].url;
	l->attempts++;
	c->session.last_code = l->fail_code;
	(void)snprintf(c->session.last_text, sizeof c->session.last_text, "%s %s: %.300s (%u attempt%s)",
		       was_ready ? "connection to" : "connect to", url, l->fail_text, l->attempts,
		       l->attempts == 1 ? "" : "s");
	drop_socket(c);
	if (was_ready) {
		forget_addresses(l); /* begin again with the first address of this node */
		l->state = LINK_WAITING;
		l->due_ms = c->now_ms + (int64_t)(client_random(c) % c->backoff_min_ms);
		l->round = 0;
	} else {
		plan_attempt(c);
	}
	if (l->goodbye_ms) /* all clients of a broker that stops hear this at once: spread them */
		l->due_ms = c->now_ms + l->goodbye_ms + (int64_t)(client_random(c) % (l->goodbye_ms / 2 + 1));
	l->goodbye_ms = 0;
	session_down(c);
	if (c->state)
		c->state(c, false, c->session.last_text, c->state_ctx);
}

/* ---- dialling ---- */

static int watch_socket(struct hlk *c, int op, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.fd = c->link.fd };
	return epoll_ctl(c->epoll_fd, op, c->link.fd, &event);
}

static void secured(struct hlk *c)
{
	struct link *l = &c->link;
	l->state = LINK_HELLO;
	l->due_ms = c->now_ms + LIMIT_HANDSHAKE_MS;
	l->last_heard_ms = l->last_sent_ms = c->now_ms;
	session_say_hello(c);
	net_write(c);
}

static void connected(struct hlk *c)
{
	if (c->nodes[c->link.node].kind != NODE_TLS) {
		secured(c);
		return;
	}
	c->link.state = LINK_TLS;
	c->link.due_ms = c->now_ms + LIMIT_HANDSHAKE_MS;
	net_tls_begin(c);
}

static void dial(struct hlk *c, int family, const struct sockaddr *address, socklen_t size)
{
	struct link *l = &c->link;
	l->state = LINK_CONNECTING;
	l->due_ms = c->now_ms + CONNECT_TIMEOUT_MS;
	l->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0) {
		net_fail(c, HLK_NETWORK, "socket: %s", strerror(errno));
		return;
	}
	if (family != AF_UNIX) {
		const int on = 1; /* batches are ours to make */
		(void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	}
	int result = connect(l->fd, address, size);
	if (result != 0 && errno != EINPROGRESS) {
		net_fail(c, HLK_NETWORK, "%s", strerror(errno));
		return;
	}
	l->want_write = result != 0;
	if (watch_socket(c, EPOLL_CTL_ADD, l->want_write ? EPOLLIN | EPOLLOUT : EPOLLIN) != 0)
		net_fail(c, HLK_NETWORK, "epoll: %s", strerror(errno));
	else if (result == 0)
		connected(c);
}

static void dial_unix(struct hlk *c, const struct node *node)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = strlen(node->host);
	ENSURE(len < sizeof address.sun_path); /* net_parse_urls */
	memcpy(address.sun_path, node->host, len + 1);
	dial(c, AF_UNIX, (const struct sockaddr *)(const void *)&address, (socklen_t)sizeof address);
}

static void dial_address(struct hlk *c)
{
	const struct addrinfo *to = c->link.address;
	dial(c, to->ai_family, to->ai_addr, to->ai_addrlen);
}

/* Looks whether the addresses of the host are known by now. */
static void check_resolved(struct hlk *c)
{
	struct link *l = &c->link;
	struct node *node = &c->nodes[l->node];
	int result;
	if (!resolve_done(node->job, &result, &l->addresses))
		return;
	resolve_drop(node->job);
	node->job = NULL;
	l->address = l->addresses;
	if (result == 0)
		dial_address(c);
	else
		net_fail(c, HLK_NETWORK, "%s: %s", node->host, gai_strerror(result));
}

static void dial_tcp(struct hlk *c, struct node *node)
{
	struct link *l = &c->link;
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_NUMERICHOST };
	if (!l->addresses && getaddrinfo(node->host, node->port, &hints, &l->addresses) == 0)
		l->address = l->addresses;
	if (l->address) {
		dial_address(c);
		return;
	}
	l->addresses = NULL;
	l->state = LINK_CONNECTING;
	l->due_ms = c->now_ms + CONNECT_TIMEOUT_MS;
	if (!node->job)
		node->job = resolve_start(node->host, node->port, c->wake_fd);
	if (node->job)
		check_resolved(c); /* begun by an attempt before, perhaps */
	else
		net_fail(c, HLK_NETWORK, "%s: no thread to look it up", node->host);
}

static void attempt(struct hlk *c)
{
	struct node *node = &c->nodes[c->link.node];
	if (node->kind == NODE_UNIX) {
		dial_unix(c, node);
	} else if (node->kind == NODE_TCP || node->kind == NODE_TLS) {
		dial_tcp(c, node);
	} else {
		mock_connect(c->mock);
		connected(c);
	}
}

static void check_connected(struct hlk *c)
{
	struct link *l = &c->link;
	struct sockaddr_storage peer;
	socklen_t size = sizeof peer;
	int error = 0;
	socklen_t error_size = sizeof error;
	(void)getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
	if (error != 0)
		net_fail(c, HLK_NETWORK, "%s", strerror(error));
	else if (getpeername(l->fd, (struct sockaddr *)(void *)&peer, &size) == 0)
		connected(c);
	else if (errno != ENOTCONN)
		net_fail(c, HLK_NETWORK, "%s", strerror(errno));
}

/* ---- bytes ---- */

static ssize_t send_some(struct hlk *c, struct span bytes)
{
	if (c->mock) {
		mock_input(c->mock, bytes);
		c->due = c->due || mock_output(c->mock)->len > 0;
		return (ssize_t)bytes.len;
	}
	if (c->link.tls)
		return net_tls_send(c, bytes);
	return send(c->link.fd, bytes.data, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void watch_writable(struct hlk *c, bool want)
{
	if (c->link.want_write == want || c->link.fd < 0)
		return;
	c->link.want_write = want;
	if (watch_socket(c, EPOLL_CTL_MOD, want ? EPOLLIN | EPOLLOUT : EPOLLIN) != 0)
		net_fail(c, HLK_NETWORK, "epoll: %s", strerror(errno));
}

bool net_full(const struct hlk *c)
{
	return c->link.want_write;
}

static void write_out(struct hlk *c)
{
	struct link *l = &c->link;
	if (l->state < LINK_HELLO || l->failed)
		return;
	while (l->out_sent < l->out.len || net_tls_unsent(c)) {
		ssize_t sent = send_some(c, span_sub(buf_span(&l->out), l->out_sent, l->out.len - l->out_sent));
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		if (sent < 0) {
			net_fail(c, HLK_NETWORK, "%s", strerror(errno));
			return;
		}
		l->out_sent += (size_t)sent;
		l->sent_total += (uint64_t)sent;
		l->last_sent_ms = c->now_ms;
	}
	watch_writable(c, l->out_sent < l->out.len || net_tls_unsent(c));
	if (l->out_sent == l->out.len) {
		l->out.len = l->out_sent = 0;
	} else if (l->out_sent >= 4 * READ_BYTES && l->out_sent >= l->out.len / 2) {
		/* Not before half of it is sent: what waits may be 100 MB, and moving it after each full socket would cost more
		 * than sending it. */
		buf_consume(&l->out, l->out_sent);
		l->out_sent = 0;
	}
}

void net_write(struct hlk *c)
{
	do
		write_out(c);
	while (c->link.out.len == 0 && !c->link.failed && producer_more(c));
}

void net_queue(struct hlk *c, struct span bytes)
{
	struct link *l = &c->link;
	l->queued_total += bytes.len;
	/* Much of it, and nothing in front: what the socket takes at once is not copied before. */
	bool direct = bytes.len >= OUT_EAGER_BYTES && l->out.len == 0 && l->state >= LINK_HELLO && !l->failed;
	ssize_t sent = direct ? send_some(c, bytes) : 0;
	if (sent > 0) {
		l->sent_total += (uint64_t)sent;
		l->last_sent_ms = c->now_ms;
		bytes = span_sub(bytes, (size_t)sent, bytes.len - (size_t)sent);
	}
	buf_append(&l->out, bytes.data, bytes.len);
	if (sent > 0)
		watch_writable(c, bytes.len > 0);
	else if (l->out.len - l->out_sent >= OUT_EAGER_BYTES)
		write_out(c); /* this is where an error is told */
}

/* Hands every whole frame to the session; what is left is the beginning of one. Returns how many bytes it needs. */
static size_t parse(struct hlk *c)
{
	struct link *l = &c->link;
	size_t used, need = LIMIT_FRAME_HEADER;
	char text[128];
	while (!l->failed && l->in_from < l->in.len) {
		struct frame frame;
		struct span rest = span_sub(buf_span(&l->in), l->in_from, l->in.len - l->in_from);
		enum err e = frame_decode(rest, LIMIT_FRAME_BYTES, &frame, &used, &need, text);
		if (e == ERR_AGAIN)
			break;
		if (e != ERR_OK) {
			net_fail(c, (int)e, "the broker sent bytes that are no frame: %s", text);
			break;
		}
		session_frame(c, &frame);
		l->in_from += used;
		need = LIMIT_FRAME_HEADER;
	}
	return need;
}

/* Makes room behind what is there: for the frame that has begun, and for as much again as one read takes. */
static void make_room(struct link *l, size_t need)
{
	if (l->in_from > 0) {
		buf_consume(&l->in, l->in_from);
		l->in_from = 0;
	}
	if (l->in.len == 0 && l->in.cap > 4 * READ_BYTES && need <= READ_BYTES)
		buf_free(&l->in);
	buf_reserve(&l->in, MAX_OF(need - MIN_OF(need, l->in.len), (size_t)READ_BYTES));
}

static ssize_t receive_some(struct hlk *c)
{
	struct link *l = &c->link;
	if (l->tls)
		return net_tls_receive(c, l->in.data + l->in.len, READ_BYTES);
	if (!c->mock)
		return recv(l->fd, l->in.data + l->in.len, READ_BYTES, MSG_DONTWAIT);
	struct buf *from = mock_output(c->mock);
	size_t len = MIN_OF(from->len, (size_t)READ_BYTES);
	if (len == 0) {
		errno = EAGAIN;
		return -1;
	}
	memcpy(l->in.data + l->in.len, from->data, len);
	buf_consume(from, len);
	return (ssize_t)len;
}

static void read_all(struct hlk *c)
{
	struct link *l = &c->link;
	size_t need = LIMIT_FRAME_HEADER;
	for (int round = 0; round < READ_ROUNDS && !l->failed; round++) {
		make_room(l, need);
		ssize_t got = receive_some(c);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (got <= 0) {
			net_fail(c, HLK_NETWORK, "%s", got == 0 ? "closed by the broker" : strerror(errno));
			return;
		}
		l->in.len += (size_t)got;
		l->last_heard_ms = c->now_ms;
		need = parse(c);
		if (!c->mock && got < READ_BYTES / 2)
			return; /* most likely all there was; if not, the descriptor says so */
	}
	c->due = true; /* perhaps more */
}

void net_step(struct hlk *c)
{
	struct link *l = &c->link;
	if (l->state == LINK_CONNECTING && l->fd < 0 && !l->failed)
		check_resolved(c);
	else if (l->state == LINK_CONNECTING && !l->failed)
		check_connected(c);
	if (l->state == LINK_TLS && !l->failed && net_tls_handshake(c))
		secured(c);
	if (l->state >= LINK_HELLO && l->state != LINK_CLOSED && !l->failed)
		read_all(c);
	if (l->failed)
		take_down(c);
}

void net_timers(struct hlk *c)
{
	struct link *l = &c->link;
	if (l->state == LINK_READY && !l->failed)
		session_heartbeat(c);
	if (l->state == LINK_CONNECTING && c->now_ms >= l->due_ms)
		net_fail(c, HLK_NETWORK, "%s in %d ms", l->fd < 0 ? "its name was not resolved" : "no answer",
			 CONNECT_TIMEOUT_MS);
	if (l->state == LINK_TLS && c->now_ms >= l->due_ms)
		net_fail(c, HLK_NETWORK, "no TLS handshake in %d ms: perhaps nobody speaks TLS there", LIMIT_HANDSHAKE_MS);
	if (l->state == LINK_HELLO && c->now_ms >= l->due_ms)
		net_fail(c, HLK_NETWORK, "no WELCOME in %d ms", LIMIT_HANDSHAKE_MS);
	if (l->failed)
		take_down(c);
	/* Attempts that fail at once (a path that is not there) are followed by the next node's in the same step. */
	for (uint32_t i = 0; i <= c->node_count && l->state == LINK_WAITING && c->now_ms >= l->due_ms; i++) {
		attempt(c);
		if (l->failed)
			take_down(c);
	}
}

int64_t net_next_due(struct hlk *c)
{
	return c->link.state == LINK_READY ? session_next_due(c) : c->link.due_ms;
}

void net_close(struct hlk *c)
{
	net_tls_drop(c, true);
	drop_socket(c);
	c->link.state = LINK_CLOSED;
}

/* ---- URLs ---- */

static bool parse_port(const char *text)
{
	uint32_t port = 0;
	if (!*text || strlen(text) > 5)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		port = port * 10 + (uint32_t)(*text - '0');
	}
	return port >= 1 && port <= 65535;
}

/* HOST, HOST:PORT, [V6], [V6]:PORT; a trailing slash is forgiven. Cuts `rest` into pieces. */
static bool parse_tcp(struct node *node, enum node_kind kind, char *rest)
{
	char *port = NULL, *host = rest;
	size_t len = strlen(rest);
	if (len > 0 && rest[len - 1] == '/')
		rest[len - 1] = 0;
	if (*rest == '[') {
		char *end = strchr(rest, ']');
		if (!end || (end[1] && end[1] != ':'))
			return false;
		host = rest + 1;
		port = end[1] ? end + 2 : NULL;
		*end = 0;
	} else if ((port = strchr(rest, ':'))) {
		*port++ = 0;
	}
	if (!*host || strchr(host, '/') || (port && !parse_port(port)))
		return false;
	node->kind = kind;
	node->host = strdup(host);
	node->port = strdup(port ? port : kind == NODE_TLS ? "4334" : "4333");
	return node->host && node->port;
}

static bool parse_url(struct node *node, const char *url)
{
	static const char tcp[] = "tcp://", tls[] = "tls://", unix_[] = "unix://", mock[] = "mock://";
	bool secure = strncmp(url, tls, sizeof tls - 1) == 0;
	if (secure || strncmp(url, tcp, sizeof tcp - 1) == 0) {
		char *rest = strdup(url + sizeof tcp - 1);
		bool good = rest && parse_tcp(node, secure ? NODE_TLS : NODE_TCP, rest);
		free(rest);
		return good;
	}
	if (strncmp(url, unix_, sizeof unix_ - 1) == 0) {
		const char *path = url + sizeof unix_ - 1;
		node->kind = NODE_UNIX;
		node->host = strdup(path);
		return *path == '/' && strlen(path) < sizeof((struct sockaddr_un *)NULL)->sun_path && node->host;
	}
	node->kind = NODE_MOCK;
	return strncmp(url, mock, sizeof mock - 1) == 0;
}

static int bad_url(struct hlk_error *error, const char *url)
{
	error_fill(error, HLK_INVALID_INPUT, "url \"%.200s\": want tcp://HOST[:PORT], tls://HOST[:PORT], unix:///PATH or mock://", url);
	return HLK_INVALID_INPUT;
}

int net_parse_urls(struct hlk *c, const char *urls, struct hlk_error *error)
{
	if (!urls || !*urls)
		return bad_url(error, "");
	for (const char *at = urls; at; at = strchr(at, ',')) {
		at += *at == ',';
		struct node *nodes = realloc(c->nodes, (c->node_count + 1) * sizeof *nodes);
		ENSURE(nodes != NULL);
		c->nodes = nodes;
		struct node *node = &nodes[c->node_count++];
		*node = (struct node){ .url = strndup(at, strcspn(at, ",")) };
		ENSURE(node->url != NULL);
		if (!parse_url(node, node->url))
			return bad_url(error, node->url);
		if (node->kind == NODE_TLS && !tls_built()) {
			error_fill(error, HLK_UNSUPPORTED, "url \"%.200s\": this library was built without TLS", node->url);
			return HLK_UNSUPPORTED;
		}
		if (node->kind == NODE_MOCK && c->node_count == 1 && !strchr(at, ','))
			c->mock = mock_new();
		else if (node->kind == NODE_MOCK)
			return bad_url(error, urls); /* a double stands alone */
	}
	return HLK_OK;
}

void net_free(struct hlk *c)
{
	drop_socket(c);
	forget_addresses(&c->link);
	net_tls_free(c);
	buf_free(&c->link.in);
	buf_free(&c->link.out);
	for (uint32_t i = 0; i < c->node_count; i++) {
		resolve_drop(c->nodes[i].job);
		free(c->nodes[i].url);
		free(c->nodes[i].host);
		free(c->nodes[i].port);
	}
	free(c->nodes);
}
