/* tests/sim/io_sim_net.c: the simulated network: test clients (peers) on one side, a node's connections on the
 * other, and a link with two ways between them that delays, splits, stalls, swallows and cuts.
 *
 * Everything that travels is an item: a dial, bytes, an end of stream, a reset. Items of one way arrive in order
 * (a reset overtakes). What arrives while the way is stalled or its receiver does not read waits in the way's queue.
 *
 * Invariants:
 *  1. A peer's memory lives until sim_free, so that items and events may point at it whatever happened meanwhile.
 *  2. accepted() comes first, closed() last and once, sent() once per io_send: also after a reset.
 *  3. Bytes that were sent to a peer and not read by it never exceed the link's window. */
#include "io_sim_impl.h"

enum item_kind { ITEM_DIAL, ITEM_DATA, ITEM_END, ITEM_RESET };
enum node_side { SIDE_NONE, SIDE_ACCEPTING, SIDE_OPEN, SIDE_CLOSED };
enum { CHUNK_BYTES = 64 << 10 };

struct sim_item {
	struct sim_item *next;
	struct sim_peer *peer;
	enum item_kind kind;
	bool to_node;
	size_t len;
	uint8_t bytes[];
};

struct way {
	struct sim_item *first, *last; /* arrived, held back */
	bool stalled, swallowed;
	uint64_t last_at;              /* when the last item arrives */
};

struct sim_peer {
	struct sim *w;
	int node;
	struct sim_peer_events events;
	void *ctx;
	struct sim_link link;
	struct way to_node, to_peer;
	struct buf inbox;
	uint32_t number;
	bool connected, closed, told_closed, ended, paused, freed, cut;
	int close_res;
	uint64_t stream, split_at;     /* bytes sent to the node; where to split, UINT64_MAX = nowhere */

	/* the node's side */
	struct sim_proc *proc;
	enum node_side side;
	struct io_conn id;
	void *conn_ctx;
	bool node_paused, sending, ending, saw_end, close_wanted;
	int node_res;
	const uint8_t *send_at;
	size_t send_left;
	uint32_t in_window;
	uint8_t *file_bytes;           /* the send is one of a file: what is sent of it */
	int file;
};

static void pump(struct sim_peer *p);
static void arrive(struct sim *w, void *ctx);

void sim_item_free(struct sim_item *item) { free(item); }

static void way_clear(struct way *way)
{
	while (way->first) {
		struct sim_item *item = way->first;
		way->first = item->next;
		sim_item_free(item);
	}
	way->last = NULL;
}

static void travel(struct sim_peer *p, bool to_node, enum item_kind kind, struct span bytes)
{
	struct sim *w = p->w;
	struct way *way = to_node ? &p->to_node : &p->to_peer;
	if (way->swallowed || w->freeing)
		return;
	struct sim_item *item = malloc(sizeof *item + bytes.len);
	ENSURE(item != NULL);
	*item = (struct sim_item){ .peer = p, .kind = kind, .to_node = to_node, .len = bytes.len };
	if (bytes.len > 0)
		memcpy(item->bytes, bytes.data, bytes.len);
	uint64_t at = w->now + sim_world_between(w, p->link.delay_min_ns, p->link.delay_max_ns);
	if (kind != ITEM_RESET)
		way->last_at = at = MAX_OF(at, way->last_at);
	sim_at(w, at, arrive, item);
}

/* ---- the peer's side ---- */

static void peer_tell_closed(struct sim *w, void *ctx)
{
	struct sim_peer *p = ctx;
	if (p->told_closed || w->freeing)
		return;
	p->told_closed = true;
	sim_note(w, p->node, "peer-gone", p->number, (uint64_t)p->close_res);
	if (p->events.closed && !p->freed)
		p->events.closed(p->ctx, p, p->close_res);
}

static void peer_end(struct sim_peer *p, int res)
{
	if (p->closed)
		return;
	p->closed = true;
	p->close_res = res;
	way_clear(&p->to_peer);
	sim_at(p->w, p->w->now, peer_tell_closed, p);
}

static void peer_connected(struct sim *w, void *ctx)
{
	struct sim_peer *p = ctx;
	if (p->closed || p->freed || w->freeing)
		return;
	p->connected = true;
	if (p->events.connected)
		p->events.connected(p->ctx, p);
}

static void deliver_to_peer(struct sim_peer *p, struct sim_item *item)
{
	if (p->closed) {
		if (item->kind == ITEM_DATA) /* nobody is there any more */
			travel(p, true, ITEM_RESET, span_of(NULL, 0));
		return;
	}
	if (item->kind == ITEM_RESET || item->kind == ITEM_END) {
		peer_end(p, item->kind == ITEM_END ? 0 : -ECONNRESET);
		return;
	}
	sim_note(p->w, p->node, "peer-recv", p->number, item->len);
	p->in_window -= (uint32_t)item->len;
	struct span bytes = span_of(item->bytes, item->len);
	if (p->events.received)
		p->events.received(p->ctx, p, bytes);
	else
		buf_append(&p->inbox, bytes.data, bytes.len);
	pump(p);
}

/* ---- the node's side ---- */

static void node_end(struct sim_peer *p, int res)
{
	if ((p->side != SIDE_OPEN && p->side != SIDE_ACCEPTING) || p->ending)
		return;
	p->ending = true;
	p->node_res = res;
	way_clear(&p->to_node);
	sim_push(p->proc, (struct sim_ready){ .kind = READY_END, .peer = p });
}

static void node_refuse(struct sim_peer *p, int res)
{
	p->side = SIDE_CLOSED;
	(void)res;
	travel(p, false, ITEM_RESET, span_of(NULL, 0));
}

static void refused_at_peer(struct sim *w, void *ctx)
{
	(void)w;
	peer_end(ctx, -ECONNREFUSED);
}

static void deliver_dial(struct sim_peer *p)
{
	struct sim_proc *proc = p->w->nodes[p->node].proc;
	if (p->cut)
		return;
	if (!proc || proc->dead || proc->listeners == 0) {
		p->side = SIDE_CLOSED;
		sim_at(p->w, p->w->now + p->link.delay_min_ns, refused_at_peer, p);
		return;
	}
	if (sim_call_begin(proc, SIM_ACCEPT) != 0) {
		node_refuse(p, 0);
		return;
	}
	p->proc = proc;
	p->side = SIDE_ACCEPTING;
	sim_push(proc, (struct sim_ready){ .kind = READY_ACCEPT, .peer = p });
	sim_at(p->w, p->w->now + p->link.delay_min_ns, peer_connected, p);
}

/* True where the item went on into the ready list, which owns it then. */
static bool deliver_to_node(struct sim_peer *p, struct sim_item *item)
{
	if (item->kind == ITEM_DIAL) {
		deliver_dial(p);
		return false;
	}
	if ((p->side != SIDE_OPEN && p->side != SIDE_ACCEPTING) || p->ending)
		return false;
	switch (item->kind) {
	case ITEM_DATA:
		if (p->close_wanted)
			return false;
		sim_push(p->proc, (struct sim_ready){ .kind = READY_DATA, .peer = p, .item = item });
		return true;
	case ITEM_END:
		p->saw_end = true;
		if (!p->sending)
			node_end(p, 0);
		return false;
	case ITEM_RESET:
		node_end(p, -ECONNRESET);
		return false;
	case ITEM_DIAL:
		break;
	}
	return false;
}

static bool held(const struct sim_peer *p, bool to_node)
{
	const struct way *way = to_node ? &p->to_node : &p->to_peer;
	unsigned flag = to_node ? SIM_TO_NODE : SIM_TO_PEER;
	return way->stalled || p->w->nodes[p->node].stalled & flag || (to_node ? p->node_paused : p->paused);
}

static void release(struct sim_peer *p, bool to_node)
{
	struct way *way = to_node ? &p->to_node : &p->to_peer;
	while (way->first && !held(p, to_node)) {
		struct sim_item *item = way->first;
		way->first = item->next;
		if (!way->first)
			way->last = NULL;
		bool kept = false;
		if (to_node)
			kept = deliver_to_node(p, item);
		else
			deliver_to_peer(p, item);
		if (!kept)
			sim_item_free(item);
	}
}

static void release_event(struct sim *w, void *ctx)
{
	struct sim_peer *p = ctx;
	if (w->freeing)
		return;
	release(p, true);
	release(p, false);
}

static void arrive(struct sim *w, void *ctx)
{
	struct sim_item *item = ctx;
	struct sim_peer *p = item->peer;
	struct way *way = item->to_node ? &p->to_node : &p->to_peer;
	if (w->freeing || way->swallowed || (p->cut && item->kind != ITEM_RESET)) {
		sim_item_free(item);
		return;
	}
	sim_note(w, p->node, item->to_node ? "to-node" : "to-peer", p->number, item->len + (uint64_t)item->kind);
	if (item->kind == ITEM_RESET && !way->stalled)
		way_clear(way);
	if (way->last)
		way->last->next = item;
	else
		way->first = item;
	way->last = item;
	bool paused = item->to_node ? p->node_paused : p->paused;
	if (item->kind == ITEM_RESET && paused && way->first == item && !way->stalled) {
		/* A reset is noticed by the next operation also of a side that does not read: simplified to at once. */
		way->first = way->last = NULL;
		if (item->to_node)
			(void)deliver_to_node(p, item);
		else
			deliver_to_peer(p, item);
		sim_item_free(item);
		return;
	}
	release(p, item->to_node);
}

/* ---- the node's callbacks ---- */

static void run_accept(struct sim_proc *proc, struct sim_peer *p)
{
	if (p->side != SIDE_ACCEPTING)
		return;
	uint32_t slot = 0;
	while (slot < proc->slot_count && proc->slots[slot].peer)
		slot++;
	if (slot == proc->slot_count) {
		proc->slots = realloc(proc->slots, size_mul(slot + 1, sizeof *proc->slots));
		ENSURE(proc->slots != NULL);
		proc->slots[proc->slot_count++] = (struct sim_slot){ .generation = 0 };
	}
	proc->slots[slot].peer = p;
	p->id = (struct io_conn){ slot, proc->slots[slot].generation };
	p->side = SIDE_OPEN;
	char name[64];
	(void)snprintf(name, sizeof name, "%s:%u", p->link.host ? p->link.host : "sim", p->number);
	sim_note(proc->w, proc->node, "accepted", p->number, slot);
	p->conn_ctx = proc->io.net->accepted(proc->io.net_owner, p->id, name, false);
	if (p->conn_ctx || proc->dead)
		return;
	proc->slots[slot].peer = NULL;
	proc->slots[slot].generation++;
	node_refuse(p, 0);
}

static void send_over(struct sim_proc *proc, struct sim_peer *p)
{
	p->sending = false;
	if (!p->file_bytes)
		return;
	free(p->file_bytes);
	p->file_bytes = NULL;
	sim_file_sent(proc, p->file);
}

static void run_end(struct sim_proc *proc, struct sim_peer *p)
{
	const struct io_net_events *net = proc->io.net;
	if (p->side != SIDE_OPEN)
		return;
	for (int i = 0; p->sending; i++) {
		ENSURE(i < 1000); /* the owner answers each failed send with another one */
		send_over(proc, p);
		p->send_left = 0;
		net->sent(proc->io.net_owner, p->conn_ctx, p->node_res < 0 ? p->node_res : -ECANCELED);
	}
	p->side = SIDE_CLOSED;
	proc->slots[p->id.slot].peer = NULL;
	proc->slots[p->id.slot].generation++;
	sim_note(proc->w, proc->node, "closed", p->number, (uint64_t)p->node_res);
	net->closed(proc->io.net_owner, p->conn_ctx, p->node_res);
}

static void run_sent(struct sim_proc *proc, struct sim_peer *p)
{
	if (p->side != SIDE_OPEN || p->ending || !p->sending)
		return;
	send_over(proc, p);
	sim_note(proc->w, proc->node, "sent", p->number, 0);
	proc->io.net->sent(proc->io.net_owner, p->conn_ctx, 0);
	if (proc->dead || p->sending)
		return;
	if (p->close_wanted)
		travel(p, false, ITEM_END, span_of(NULL, 0));
	if (p->close_wanted || p->saw_end)
		node_end(p, 0);
}

void sim_net_ready(struct sim_proc *proc, struct sim_ready *r)
{
	struct sim_peer *p = r->peer;
	switch (r->kind) {
	case READY_ACCEPT:
		run_accept(proc, p);
		break;
	case READY_DATA:
		if (p->side == SIDE_OPEN && !p->close_wanted && !p->ending) {
			sim_note(proc->w, proc->node, "received", p->number, r->item->len);
			proc->io.net->received(proc->io.net_owner, p->conn_ctx,
					       span_of(r->item->bytes, r->item->len));
		}
		sim_item_free(r->item);
		break;
	case READY_SENT:
		run_sent(proc, p);
		break;
	case READY_END:
		run_end(proc, p);
		break;
	case READY_OP:
	case READY_WORK:
		ENSURE(r->kind != READY_OP && r->kind != READY_WORK);
	}
}

/* ---- the node's calls ---- */

static struct sim_peer *conn_get(struct sim_proc *proc, struct io_conn id)
{
	if (proc->dead || id.slot >= proc->slot_count || proc->slots[id.slot].generation != id.generation)
		return NULL;
	return proc->slots[id.slot].peer;
}

/* Moves as much of the send as the window takes. */
static void pump(struct sim_peer *p)
{
	if (p->side != SIDE_OPEN || !p->sending || p->ending || p->send_left == 0)
		return;
	while (p->send_left > 0 && p->in_window < p->link.window) {
		size_t most = p->link.chunk_max ? 1 + sim_world_below(p->w, p->link.chunk_max) : CHUNK_BYTES;
		size_t len = MIN_OF(MIN_OF(p->send_left, most), (size_t)(p->link.window - p->in_window));
		p->in_window += (uint32_t)len;
		travel(p, false, ITEM_DATA, span_of(p->send_at, len));
		p->send_at += len;
		p->send_left -= len;
	}
	if (p->send_left == 0)
		sim_push(p->proc, (struct sim_ready){ .kind = READY_SENT, .peer = p });
}

static void begin_send(struct sim_proc *proc, struct sim_peer *p, struct span bytes, int err)
{
	ENSURE(!p->sending); /* one at a time */
	p->sending = true;
	p->send_at = bytes.data;
	p->send_left = bytes.len;
	if (p->ending)
		return; /* the end that is on its way answers it */
	if (err) {
		travel(p, false, ITEM_RESET, span_of(NULL, 0));
		node_end(p, err);
	} else if (bytes.len == 0) {
		sim_push(proc, (struct sim_ready){ .kind = READY_SENT, .peer = p });
	} else {
		pump(p);
	}
}

static void net_send(struct io *io, struct io_conn id, struct span bytes)
{
	struct sim_proc *proc = sim_proc_of(io);
	struct sim_peer *p = conn_get(proc, id);
	if (p)
		begin_send(proc, p, bytes, sim_call_begin(proc, SIM_SEND));
}

static int net_send_file(struct io *io, struct io_conn id, int file, uint64_t offset, uint64_t len)
{
	struct sim_proc *proc = sim_proc_of(io);
	struct sim_peer *p = conn_get(proc, id);
	if (!p)
		return 0;
	ENSURE(len > 0 && !p->file_bytes);
	int err = sim_call_begin(proc, SIM_SEND_FILE);
	if (err && err != -EIO && err != -EPIPE)
		return err; /* it did not begin */
	if (!err)
		err = sim_file_take(proc, file, offset, len, &p->file_bytes);
	p->file = file;
	begin_send(proc, p, span_of(p->file_bytes, err ? 0 : (size_t)len), err);
	return 0;
}

static void net_pause(struct io *io, struct io_conn id, bool paused)
{
	struct sim_peer *p = conn_get(sim_proc_of(io), id);
	if (!p || p->node_paused == paused)
		return;
	p->node_paused = paused;
	if (!paused)
		sim_at(p->w, p->w->now, release_event, p);
}

static void net_close(struct io *io, struct io_conn id, bool abort)
{
	struct sim_peer *p = conn_get(sim_proc_of(io), id);
	if (!p || p->ending)
		return;
	sim_note(p->w, p->node, "close", p->number, abort);
	if (abort) {
		travel(p, false, ITEM_RESET, span_of(NULL, 0));
		node_end(p, 0);
		return;
	}
	if (p->close_wanted)
		return;
	p->close_wanted = true;
	if (!p->sending) {
		travel(p, false, ITEM_END, span_of(NULL, 0));
		node_end(p, 0);
	}
}

static int net_listen(struct io *io, const char *url, uint16_t *port_out)
{
	struct sim_proc *proc = sim_proc_of(io);
	int err = sim_call_begin(proc, SIM_LISTEN);
	if (err)
		return err;
	ENSURE(io->net != NULL && url != NULL);
	if (port_out)
		*port_out = (uint16_t)(7000 + proc->node);
	proc->listeners++;
	return 0;
}

static void net_stop_listening(struct io *io) { sim_proc_of(io)->listeners = 0; }

static int64_t net_peer_uid(struct io *io, struct io_conn id)
{
	(void)io;
	(void)id;
	return -1; /* nobody comes over a unix socket here */
}

void sim_net_vtable(struct io_vtable *v)
{
	v->peer_uid = net_peer_uid;
	v->listen = net_listen;
	v->stop_listening = net_stop_listening;
	v->send = net_send;
	v->send_file = net_send_file;
	v->pause = net_pause;
	v->close_conn = net_close;
}

/* The process is gone, by a crash or in order: its peers get resets. The slots stay for sim_net_bury. */
void sim_net_leave(struct sim_proc *proc)
{
	proc->listeners = 0;
	for (size_t i = 0; i < proc->w->peer_count; i++) {
		struct sim_peer *p = proc->w->peers[i];
		if (p->proc != proc || (p->side != SIDE_OPEN && p->side != SIDE_ACCEPTING))
			continue;
		if (p->side == SIDE_ACCEPTING)
			p->side = SIDE_CLOSED;
		way_clear(&p->to_node);
		p->ending = true;
		p->node_res = -ECONNRESET;
		travel(p, false, ITEM_RESET, span_of(NULL, 0));
	}
}

void sim_net_bury(struct sim_proc *proc)
{
	for (uint32_t i = 0; i < proc->slot_count; i++) {
		if (proc->slots[i].peer && proc->slots[i].peer->conn_ctx)
			run_end(proc, proc->slots[i].peer);
	}
}

/* ---- the test's calls ---- */

struct sim_peer *sim_dial(struct sim *w, int node, const struct sim_peer_events *events, void *ctx)
{
	ENSURE(node >= 0 && node < SIM_NODES_MAX);
	struct sim_peer *p = calloc(1, sizeof *p);
	ENSURE(p != NULL);
	*p = (struct sim_peer){ .w = w, .node = node, .ctx = ctx, .link = w->link, .split_at = UINT64_MAX,
				.number = (uint32_t)w->peer_count };
	if (events)
		p->events = *events;
	if (w->peer_count == w->peer_cap) {
		w->peer_cap = w->peer_cap ? w->peer_cap * 2 : 16;
		w->peers = realloc(w->peers, size_mul(w->peer_cap, sizeof(struct sim_peer *)));
		ENSURE(w->peers != NULL);
	}
	w->peers[w->peer_count++] = p;
	sim_note(w, node, "dial", p->number, 0);
	travel(p, true, ITEM_DIAL, span_of(NULL, 0));
	return p;
}

void sim_peer_send(struct sim_peer *p, struct span bytes)
{
	if (p->closed || p->ended)
		return;
	while (bytes.len > 0) {
		size_t most = p->link.chunk_max ? 1 + sim_world_below(p->w, p->link.chunk_max) : CHUNK_BYTES;
		size_t len = MIN_OF(bytes.len, most);
		if (p->stream < p->split_at && p->stream + len > p->split_at)
			len = (size_t)(p->split_at - p->stream);
		travel(p, true, ITEM_DATA, span_sub(bytes, 0, len));
		p->stream += len;
		bytes = span_sub(bytes, len, bytes.len - len);
	}
}

void sim_peer_shutdown(struct sim_peer *p)
{
	if (p->closed || p->ended)
		return;
	p->ended = true;
	travel(p, true, ITEM_END, span_of(NULL, 0));
}

void sim_peer_close(struct sim_peer *p, bool abort)
{
	if (p->closed)
		return;
	if (abort)
		travel(p, true, ITEM_RESET, span_of(NULL, 0));
	else
		sim_peer_shutdown(p);
	p->ended = true;
	peer_end(p, 0);
}

void sim_peer_free(struct sim_peer *p)
{
	sim_peer_close(p, true);
	p->freed = true;
	buf_free(&p->inbox);
}

void sim_peer_pause(struct sim_peer *p, bool paused)
{
	p->paused = paused;
	if (!paused)
		sim_at(p->w, p->w->now, release_event, p);
}

struct buf *sim_peer_inbox(struct sim_peer *p) { return &p->inbox; }
bool sim_peer_connected(const struct sim_peer *p) { return p->connected && !p->closed; }
bool sim_peer_closed(const struct sim_peer *p) { return p->closed; }
void sim_link_default(struct sim *w, struct sim_link link) { w->link = link; }
void sim_peer_link(struct sim_peer *p, struct sim_link link) { p->link = link; }
void sim_peer_split_at(struct sim_peer *p, uint64_t offset) { p->split_at = offset; }

void sim_peer_stall(struct sim_peer *p, enum sim_way way, bool on)
{
	if (way & SIM_TO_NODE)
		p->to_node.stalled = on;
	if (way & SIM_TO_PEER)
		p->to_peer.stalled = on;
	if (!on)
		sim_at(p->w, p->w->now, release_event, p);
}

void sim_node_stall(struct sim *w, int node, enum sim_way way, bool on)
{
	unsigned flags = w->nodes[node].stalled;
	w->nodes[node].stalled = on ? flags | (unsigned)way : flags & ~(unsigned)way;
	for (size_t i = 0; i < w->peer_count && !on; i++) {
		if (w->peers[i]->node == node)
			sim_at(w, w->now, release_event, w->peers[i]);
	}
}

void sim_peer_blackhole(struct sim_peer *p, enum sim_way way)
{
	if (way & SIM_TO_NODE)
		p->to_node.swallowed = true;
	if (way & SIM_TO_PEER)
		p->to_peer.swallowed = true;
}

void sim_peer_cut(struct sim_peer *p)
{
	sim_note(p->w, p->node, "cut", p->number, 0);
	p->cut = true;
	way_clear(&p->to_node);
	way_clear(&p->to_peer);
	node_end(p, -ECONNRESET);
	peer_end(p, -ECONNRESET);
}

void sim_net_free(struct sim *w)
{
	for (size_t i = 0; i < w->peer_count; i++) {
		way_clear(&w->peers[i]->to_node);
		way_clear(&w->peers[i]->to_peer);
		buf_free(&w->peers[i]->inbox);
		free(w->peers[i]->file_bytes);
	}
}
