/* storage/io_uring_net.c: connections of the io_uring world: receive into provided buffers, send, close.
 *
 * Place in the data flow: bytes that arrive go up as spans into a provided buffer, which goes back to the
 * kernel right after the callback; bytes to send stay where the owner has them. Nothing is copied here.
 *
 * The life of a slot: new -> open -> closing -> (draining | aborting) -> free.
 *  - closing: the owner or the peer ended it; received() is not called any more; a send goes on to its end;
 *  - draining: our end of stream is sent and we read on into nothing until the peer's, or a reset caused by unread
 *    bytes could destroy the last frame (a refusal, say) on its way. One second at most;
 *  - aborting: everything in flight is cancelled.
 *
 * Invariants:
 *  1. At most one receive, one send and one nudge of a connection are in the ring. The slot is freed, and closed()
 *     called, only when none is: a completion never finds another connection in its slot.
 *  2. closed() and sent() are called from inside reap only, exactly once for each accepted() and io_send.
 *  3. An idle connection costs one slot and no buffer. */
#include "io_uring_impl.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum conn_flag {
	CONN_OPEN = 1,       /* the slot is in use */
	CONN_RECV = 2,       /* a receive is in the ring */
	CONN_SEND = 4,       /* a send is */
	CONN_NUDGE = 8,      /* a nudge is */
	CONN_PAUSED = 16,
	CONN_CLOSING = 32,
	CONN_EOF = 64,       /* the peer's end of stream was seen */
	CONN_DRAINING = 128,
	CONN_ABORT = 256,
	CONN_CANCELLED = 512, /* the cancellation is on its way */
};

enum {
	BUF_GROUP = 1,
	LINGER_NS = 1000 * 1000 * 1000,
	SEND_MAX = 1 << 30,
};

struct uring_conn {
	int fd;
	uint32_t generation;
	uint16_t flags;
	int16_t close_res;
	uint32_t next, prev;      /* free list, or the list of draining ones */
	uint32_t linger_ms;       /* when draining began; wraps, only differences count */
	void *ctx;
	const uint8_t *send_at;
	size_t send_left;
	struct uring_pour *pour;  /* the send is one of a file */
};
_Static_assert(sizeof(struct uring_conn) <= 64, "an idle connection must stay cheap");

static struct uring_conn *slot_at(struct uring *u, uint32_t slot)
{
	ENSURE(slot < u->conns_made);
	return &u->chunks[slot / URING_CHUNK_CONNS][slot % URING_CHUNK_CONNS];
}

/* The connection an owner's id names, or NULL where it is gone. */
static struct uring_conn *conn_get(struct uring *u, struct io_conn id)
{
	if (id.slot >= u->conns_made)
		return NULL;
	struct uring_conn *c = slot_at(u, id.slot);
	return (c->flags & CONN_OPEN) && c->generation == id.generation ? c : NULL;
}

static uint64_t conn_data(uint32_t slot, const struct uring_conn *c, enum uring_tag tag)
{
	return (uint64_t)c->generation << 32 | (uint64_t)slot << 3 | tag;
}

/* ---- provided buffers ---- */

static void buf_give(struct uring *u, uint32_t id)
{
	ENSURE(id < u->buf_count);
	io_uring_buf_ring_add(u->buf_ring, u->bufs + (size_t)id * u->buf_bytes, u->buf_bytes,
			      (unsigned short)id, io_uring_buf_ring_mask(u->buf_count), 0);
	io_uring_buf_ring_advance(u->buf_ring, 1);
}

static void *map_zero(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

int uring_net_init(struct uring *u, const struct io_uring_config *config)
{
	uint32_t n = config->recv_buffers;
	u->linger_first = u->linger_last = u->conn_free = URING_NONE;
	u->conns_max = MIN_OF(config->conns_max, (uint32_t)1 << 28);
	if (n == 0 || n > 32768 || (n & (n - 1)) != 0 || config->recv_buffer_bytes == 0)
		return -EINVAL;
	u->buf_count = n;
	u->buf_bytes = config->recv_buffer_bytes;
	u->buf_ring_bytes = align_up(size_mul(n, sizeof(struct io_uring_buf)), 4096);
	u->bufs_bytes = size_mul(n, u->buf_bytes);
	u->buf_ring = map_zero(u->buf_ring_bytes);
	u->bufs = map_zero(u->bufs_bytes);
	if (!u->buf_ring || !u->bufs)
		return -ENOMEM;
	struct io_uring_buf_reg reg = { .ring_addr = (uint64_t)(uintptr_t)u->buf_ring, .ring_entries = n,
					.bgid = BUF_GROUP };
	int err = io_uring_register_buf_ring(&u->ring, &reg, 0);
	if (err)
		return err;
	io_uring_buf_ring_init(u->buf_ring);
	for (uint32_t i = 0; i < n; i++)
		buf_give(u, i);
	uint32_t chunks = (u->conns_max + URING_CHUNK_CONNS - 1) / URING_CHUNK_CONNS;
	u->chunks = calloc(MAX_OF(chunks, 1u), sizeof *u->chunks);
	ENSURE(u->chunks != NULL);
	return 0;
}

/* ---- slots ---- */

static uint32_t slot_take(struct uring *u)
{
	if (u->conn_free == URING_NONE && u->conns_made < u->conns_max) {
		struct uring_conn *chunk = calloc(URING_CHUNK_CONNS, sizeof *chunk);
		ENSURE(chunk != NULL);
		u->chunks[u->conns_made / URING_CHUNK_CONNS] = chunk;
		uint32_t count = MIN_OF((uint32_t)URING_CHUNK_CONNS, u->conns_max - u->conns_made);
		uint32_t first = u->conns_made;
		u->conns_made += count;
		for (uint32_t i = 0; i < count; i++)
			chunk[i].next = i + 1 < count ? first + i + 1 : URING_NONE;
		u->conn_free = first;
	}
	uint32_t slot = u->conn_free;
	if (slot != URING_NONE) {
		u->conn_free = slot_at(u, slot)->next;
		u->conns_open++;
	}
	return slot;
}

static void slot_give(struct uring *u, uint32_t slot)
{
	struct uring_conn *c = slot_at(u, slot);
	ENSURE(c->flags & CONN_OPEN && u->conns_open > 0);
	uint32_t generation = c->generation + 1;
	*c = (struct uring_conn){ .fd = -1, .generation = generation, .next = u->conn_free };
	u->conn_free = slot;
	u->conns_open--;
}

/* ---- the list of draining connections ---- */

static void linger_arm(struct uring *u)
{
	static const struct __kernel_timespec period = { .tv_nsec = LINGER_NS / 4 };
	if (u->linger_armed || u->linger_first == URING_NONE)
		return;
	struct io_uring_sqe *sqe = uring_sqe(u);
	/* The kernel only reads it. */
	io_uring_prep_timeout(sqe, (struct __kernel_timespec *)(uintptr_t)&period, 0, 0);
	io_uring_sqe_set_data64(sqe, URING_LINGER_TIMER);
	u->linger_armed = true;
}

static void linger_add(struct uring *u, uint32_t slot)
{
	struct uring_conn *c = slot_at(u, slot);
	c->linger_ms = (uint32_t)(uring_now() / 1000000u);
	c->next = URING_NONE;
	c->prev = u->linger_last;
	if (u->linger_last == URING_NONE)
		u->linger_first = slot;
	else
		slot_at(u, u->linger_last)->next = slot;
	u->linger_last = slot;
	linger_arm(u);
}

static void linger_remove(struct uring *u, uint32_t slot)
{
	struct uring_conn *c = slot_at(u, slot);
	if (c->prev == URING_NONE)
		u->linger_first = c->next;
	else
		slot_at(u, c->prev)->next = c->next;
	if (c->next == URING_NONE)
		u->linger_last = c->prev;
	else
		slot_at(u, c->next)->prev = c->prev;
}

/* ---- what goes into the ring ---- */

static void recv_arm(struct uring *u, uint32_t slot, struct uring_conn *c)
{
	ENSURE(!(c->flags & CONN_RECV));
	struct io_uring_sqe *sqe = uring_sqe(u);
	io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = BUF_GROUP;
	io_uring_sqe_set_data64(sqe, conn_data(slot, c, URING_TAG_RECV));
	c->flags |= CONN_RECV;
}

static void send_arm(struct uring *u, uint32_t slot, struct uring_conn *c)
{
	struct io_uring_sqe *sqe = uring_sqe(u);
	size_t len = MIN_OF(c->send_left, (size_t)SEND_MAX);
	io_uring_prep_send(sqe, c->fd, c->send_at, len, MSG_NOSIGNAL | MSG_WAITALL);
	io_uring_sqe_set_data64(sqe, conn_data(slot, c, URING_TAG_SEND));
	c->flags |= CONN_SEND;
}

static void pour_arm(struct uring *u, uint32_t slot, struct uring_conn *c)
{
	struct io_uring_sqe *sqe = uring_sqe(u);
	uring_pour_arm(u, c->pour, sqe, c->fd);
	io_uring_sqe_set_data64(sqe, conn_data(slot, c, URING_TAG_SEND));
	c->flags |= CONN_SEND;
}

/* Has the connection looked at from inside reap. */
static void nudge(struct uring *u, uint32_t slot, struct uring_conn *c)
{
	if (c->flags & CONN_NUDGE)
		return;
	struct io_uring_sqe *sqe = uring_sqe(u);
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data64(sqe, conn_data(slot, c, URING_TAG_NUDGE));
	c->flags |= CONN_NUDGE;
}

static void cancel_all(struct uring *u, struct uring_conn *c)
{
	if (c->flags & CONN_CANCELLED)
		return;
	struct io_uring_sqe *sqe = uring_sqe(u);
	io_uring_prep_cancel_fd(sqe, c->fd, IORING_ASYNC_CANCEL_ALL);
	io_uring_sqe_set_data64(sqe, URING_TAG_OTHER);
	c->flags |= CONN_CANCELLED;
}

static void recv_cancel(struct uring *u, uint32_t slot, struct uring_conn *c)
{
	struct io_uring_sqe *sqe = uring_sqe(u);
	io_uring_prep_cancel64(sqe, conn_data(slot, c, URING_TAG_RECV), 0);
	io_uring_sqe_set_data64(sqe, URING_TAG_OTHER);
}

/* ---- closing ---- */

static void begin_close(struct uring_conn *c, int res, bool abort)
{
	if (!(c->flags & CONN_CLOSING))
		c->close_res = (int16_t)res;
	c->flags |= CONN_CLOSING | (abort ? CONN_ABORT : 0);
}

static void finish(struct uring *u, uint32_t slot, struct uring_conn *c)
{
	ENSURE(!(c->flags & (CONN_RECV | CONN_SEND | CONN_NUDGE)));
	if (c->flags & CONN_DRAINING)
		linger_remove(u, slot);
	void *ctx = c->ctx;
	int res = c->close_res;
	(void)close(c->fd);
	slot_give(u, slot);
	if (!u->freeing) {
		u->callbacks++;
		u->io.net->closed(u->io.net_owner, ctx, res);
	}
}

/* Takes a closing connection one step further. Only from inside reap: it may call closed(). */
static void close_step(struct uring *u, uint32_t slot, struct uring_conn *c)
{
	if (!(c->flags & CONN_CLOSING))
		return;
	if (c->flags & CONN_ABORT) {
		if (c->flags & (CONN_RECV | CONN_SEND))
			cancel_all(u, c);
		else if (!(c->flags & CONN_NUDGE))
			finish(u, slot, c);
		return;
	}
	if (c->flags & (CONN_SEND | CONN_NUDGE))
		return;
	if (!(c->flags & (CONN_EOF | CONN_DRAINING))) {
		c->flags |= CONN_DRAINING;
		linger_add(u, slot);
		if (shutdown(c->fd, SHUT_WR) != 0)
			c->flags |= CONN_EOF; /* not connected any more */
		else if (!(c->flags & CONN_RECV))
			recv_arm(u, slot, c);
	}
	if (c->flags & CONN_EOF && !(c->flags & CONN_RECV))
		finish(u, slot, c);
	else if (c->flags & CONN_EOF)
		cancel_all(u, c);
}

void uring_on_linger(struct uring *u)
{
	u->linger_armed = false;
	uint32_t now_ms = (uint32_t)(uring_now() / 1000000u);
	for (uint32_t slot = u->linger_first; slot != URING_NONE;) {
		struct uring_conn *c = slot_at(u, slot);
		uint32_t next = c->next;
		if (now_ms - c->linger_ms < LINGER_NS / 1000000)
			break; /* the oldest are in front */
		c->flags |= CONN_ABORT;
		close_step(u, slot, c);
		slot = next;
	}
	linger_arm(u);
}

void uring_close_conn(struct io *io, struct io_conn id, bool abort)
{
	struct uring *u = uring_of(io);
	struct uring_conn *c = conn_get(u, id);
	if (!c)
		return;
	if (abort) { /* the close will reset instead of ending the stream */
		struct linger off = { .l_onoff = 1, .l_linger = 0 };
		(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &off, sizeof off);
	}
	begin_close(c, 0, abort);
	nudge(u, id.slot, c);
}

int64_t uring_peer_uid(struct io *io, struct io_conn id)
{
	struct uring_conn *c = conn_get(uring_of(io), id);
	struct ucred peer = { .uid = 0 };
	socklen_t len = sizeof peer;
	bool known = c && getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && len == sizeof peer && peer.pid != 0;
	return known ? (int64_t)peer.uid : -1;
}

/* ---- the owner's calls ---- */

void uring_conn_new(struct uring *u, int fd, enum io_peer kind)
{
	char name[96];
	uring_peer_name(fd, kind == IO_PEER_LOCAL, name, sizeof name);
	uint32_t slot = slot_take(u);
	if (slot == URING_NONE) {
		(void)close(fd);
		return;
	}
	struct uring_conn *c = slot_at(u, slot);
	c->fd = fd;
	c->flags = CONN_OPEN;
	struct io_conn id = { slot, c->generation };
	u->callbacks++;
	c->ctx = u->io.net->accepted(u->io.net_owner, id, name, kind);
	if (!c->ctx) {
		(void)close(fd);
		slot_give(u, slot);
		return;
	}
	if (!(c->flags & (CONN_PAUSED | CONN_CLOSING)))
		recv_arm(u, slot, c);
}

/* Nothing to send, or nowhere to: sent() must come all the same, and not from in here. */
static void send_nothing(struct uring *u, uint32_t slot, struct uring_conn *c)
{
	struct io_uring_sqe *sqe = uring_sqe(u);
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data64(sqe, conn_data(slot, c, URING_TAG_SEND));
	c->flags |= CONN_SEND;
}

void uring_send(struct io *io, struct io_conn id, struct span bytes)
{
	struct uring *u = uring_of(io);
	struct uring_conn *c = conn_get(u, id);
	if (!c)
		return;
	ENSURE(!(c->flags & CONN_SEND)); /* one at a time */
	c->send_at = bytes.data;
	c->send_left = bytes.len;
	if (bytes.len > 0 && !(c->flags & (CONN_CLOSING | CONN_CANCELLED))) {
		send_arm(u, id.slot, c);
		return;
	}
	send_nothing(u, id.slot, c);
}

int uring_send_file(struct io *io, struct io_conn id, int file, uint64_t offset, uint64_t len)
{
	struct uring *u = uring_of(io);
	struct uring_conn *c = conn_get(u, id);
	if (!c)
		return 0;
	ENSURE(!(c->flags & CONN_SEND)); /* one at a time */
	if (c->flags & (CONN_CLOSING | CONN_CANCELLED)) {
		c->send_left = 1; /* never mind how much: it is not sent */
		send_nothing(u, id.slot, c);
		return 0;
	}
	int err = uring_pour_new(u, c->fd, file, offset, len, &c->pour);
	if (err)
		return err;
	pour_arm(u, id.slot, c);
	return 0;
}

void uring_pause(struct io *io, struct io_conn id, bool paused)
{
	struct uring *u = uring_of(io);
	struct uring_conn *c = conn_get(u, id);
	if (!c || paused == ((c->flags & CONN_PAUSED) != 0))
		return;
	c->flags = (uint16_t)(c->flags ^ CONN_PAUSED);
	if (c->flags & CONN_CLOSING)
		return;
	if (paused && c->flags & CONN_RECV)
		recv_cancel(u, id.slot, c);
	else if (!paused && !(c->flags & CONN_RECV) && !(c->flags & CONN_EOF))
		recv_arm(u, id.slot, c);
	/* Unpaused while the cancelled receive is still in the ring: its completion arms the next. */
}

/* ---- completions ---- */

static void on_recv(struct uring *u, uint32_t slot, struct uring_conn *c, int32_t res, uint32_t flags)
{
	if (!(flags & IORING_CQE_F_MORE))
		c->flags = (uint16_t)(c->flags & ~CONN_RECV);
	if (flags & IORING_CQE_F_BUFFER) {
		uint32_t id = flags >> IORING_CQE_BUFFER_SHIFT;
		ENSURE(id < u->buf_count);
		if (res > 0 && !(c->flags & CONN_CLOSING) && !u->freeing) {
			u->callbacks++;
			u->io.net->received(u->io.net_owner, c->ctx,
					    span_of(u->bufs + (size_t)id * u->buf_bytes, (size_t)res));
		}
		buf_give(u, id);
	}
	if (res == 0) {
		c->flags |= CONN_EOF;
		begin_close(c, 0, false);
	} else if (res < 0 && res != -ENOBUFS && res != -EINTR && res != -EAGAIN && res != -ECANCELED) {
		begin_close(c, res, true);
	}
	bool wanted = c->flags & CONN_CLOSING ? (c->flags & CONN_DRAINING) != 0 : !(c->flags & CONN_PAUSED);
	if (wanted && !(c->flags & (CONN_RECV | CONN_EOF | CONN_ABORT | CONN_CANCELLED)))
		recv_arm(u, slot, c); /* also after ENOBUFS: this round's buffers are back by then */
}

static void send_over(struct uring *u, struct uring_conn *c, int result)
{
	c->flags = (uint16_t)(c->flags & ~CONN_SEND);
	c->send_left = 0;
	c->send_at = NULL;
	if (result != 0)
		begin_close(c, result, true);
	if (!u->freeing) {
		u->callbacks++;
		u->io.net->sent(u->io.net_owner, c->ctx, result);
	}
}

static void on_pour(struct uring *u, uint32_t slot, struct uring_conn *c, int32_t res)
{
	int result = uring_pour_step(c->pour, res);
	if (result == 1 && !(c->flags & CONN_ABORT)) {
		pour_arm(u, slot, c);
		return;
	}
	uring_pour_free(u, c->pour);
	c->pour = NULL;
	send_over(u, c, result == 1 ? -ECANCELED : result);
}

static void on_send(struct uring *u, uint32_t slot, struct uring_conn *c, int32_t res)
{
	ENSURE(c->flags & CONN_SEND);
	if (c->pour) {
		on_pour(u, slot, c, res);
		return;
	}
	if (res > 0) {
		ENSURE((size_t)res <= c->send_left);
		c->send_at += res;
		c->send_left -= (size_t)res;
	}
	bool again = res > 0 || res == -EINTR || res == -EAGAIN;
	if (c->send_left > 0 && again && !(c->flags & CONN_ABORT)) {
		send_arm(u, slot, c);
		return;
	}
	int result = 0;
	if (c->send_left > 0)
		result = res < 0 ? res : c->flags & CONN_ABORT ? -ECANCELED : -EPIPE;
	send_over(u, c, result);
}

void uring_on_conn(struct uring *u, uint64_t data, int32_t res, uint32_t flags)
{
	uint32_t slot = (uint32_t)data >> 3;
	struct uring_conn *c = slot_at(u, slot);
	ENSURE(c->flags & CONN_OPEN && c->generation == (uint32_t)(data >> 32));
	enum uring_tag tag = (enum uring_tag)(data & URING_TAG_MASK);
	if (tag == URING_TAG_RECV)
		on_recv(u, slot, c, res, flags);
	else if (tag == URING_TAG_SEND)
		on_send(u, slot, c, res);
	else
		c->flags = (uint16_t)(c->flags & ~CONN_NUDGE);
	close_step(u, slot, c);
}

void uring_net_free(struct uring *u)
{
	u->freeing = true;
	if (u->chunks)
		uring_stop_listening(&u->io);
	for (uint32_t slot = 0; slot < u->conns_made; slot++) {
		struct uring_conn *c = slot_at(u, slot);
		if (c->flags & CONN_OPEN)
			uring_close_conn(&u->io, (struct io_conn){ slot, c->generation }, true);
	}
	/* Cancelled operations end at once; the bound only keeps a kernel bug from hanging the stop. */
	for (int round = 0; (u->conns_open > 0 || u->listeners) && round < 100000; round++)
		(void)uring_poll(u);
	ENSURE(u->conns_open == 0 && u->listeners == NULL);
	for (uint32_t i = 0; i * URING_CHUNK_CONNS < u->conns_made; i++)
		free(u->chunks[i]);
	free(u->chunks);
	if (u->buf_ring)
		(void)munmap(u->buf_ring, u->buf_ring_bytes);
	if (u->bufs)
		(void)munmap(u->bufs, u->bufs_bytes);
	if (u->spare_fd >= 0)
		(void)close(u->spare_fd);
}
