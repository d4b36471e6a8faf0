/* tests/simbroker/link.c: dial, HELLO, frames, heartbeats, redial with a random pause. */
#include "link.h"

static void link_dial(void *ctx);

static void link_lost(struct link *l)
{
	bool was_up = l->welcome;
	l->welcome = false;
	l->in.len = 0;
	if (was_up)
		l->down(l->owner);
	if (!l->closing)
		sim_after(l->scene->world, SIM_MS * (1 + sim_rand_below(l->scene->world, 200)), link_dial, l);
}

static void on_closed(void *ctx, struct sim_peer *peer, int res)
{
	struct link *l = ctx;
	(void)res;
	ENSURE(peer == l->peer);
	l->peer = NULL;
	sim_peer_free(peer);
	link_lost(l);
}

static void on_connected(void *ctx, struct sim_peer *peer)
{
	struct link *l = ctx;
	(void)peer;
	struct msg m = { .kind = FRAME_HELLO };
	m.hello.versions[0] = 1;
	m.hello.version_count = 1;
	memcpy(m.hello.session, l->session, 16);
	m.hello.client = span_str(l->name);
	m.hello.vnet = span_str(l->vnet);
	m.hello.token = span_str(l->token ? l->token : l->scene->token);
	m.hello.resume = l->ever;
	struct buf out = { 0 };
	msg_encode(&out, &m, 0, NULL, 0);
	sim_peer_send(l->peer, buf_span(&out));
	buf_free(&out);
}

static void handle(struct link *l, const struct frame *f)
{
	struct msg m;
	char text[128];
	enum err e = msg_decode(f, &m, text);
	if (e != ERR_OK) {
		(void)fprintf(stderr, "%s: the broker sent a bad %s: %s\n", l->name, frame_kind_name(f->kind), text);
		abort();
	}
	if (m.kind != FRAME_WELCOME && !l->welcome)
		return; /* we have said goodbye, or were not let in */
	if (m.kind == FRAME_WELCOME) {
		l->welcome = l->ever = true;
		l->epoch = m.welcome.epoch;
		l->address = m.welcome.address;
		l->heartbeat_ms = m.welcome.heartbeat_ms;
		l->up(l->owner, m.welcome.resumed);
	} else if (m.kind == FRAME_PING) {
		struct msg pong = { .kind = FRAME_PONG, .ping = { .echo = m.ping.echo } };
		link_send(l, &pong, NULL, 0);
	} else {
		l->frame(l->owner, &m, f);
	}
}

static void on_received(void *ctx, struct sim_peer *peer, struct span bytes)
{
	struct link *l = ctx;
	l->heard_ns = sim_now_ns(l->scene->world);
	buf_append(&l->in, bytes.data, bytes.len);
	while (l->in.len > 0 && l->peer == peer) {
		struct frame f;
		size_t used, need;
		char text[128];
		enum err e = frame_decode(buf_span(&l->in), LIMIT_FRAME_BYTES, &f, &used, &need, text);
		if (e == ERR_AGAIN)
			return;
		ENSURE(e == ERR_OK);
		handle(l, &f);
		if (l->peer == peer && l->in.len >= used)
			buf_consume(&l->in, used);
	}
}

static void link_dial(void *ctx)
{
	static const struct sim_peer_events events = { on_connected, on_received, on_closed };
	struct link *l = ctx;
	if (l->closing || l->peer)
		return;
	l->generation++;
	l->heard_ns = sim_now_ns(l->scene->world);
	l->peer = sim_dial(l->scene->world, 0, &events, l);
}

/* Silence for longer than three heartbeats is a lost peer, on both sides. */
static void link_watch(void *ctx)
{
	struct link *l = ctx;
	if (l->closing)
		return;
	uint64_t limit = SIM_MS * 3 * (l->heartbeat_ms ? l->heartbeat_ms : 1000);
	if (l->peer && sim_now_ns(l->scene->world) - l->heard_ns > limit)
		link_cut(l);
	else if (l->welcome) {
		struct msg ping = { .kind = FRAME_PING };
		link_send(l, &ping, NULL, 0);
	}
	sim_after(l->scene->world, limit / 3, link_watch, l);
}

void link_new_session(struct link *l)
{
	for (int i = 0; i < 16; i++)
		l->session[i] = (uint8_t)sim_rand(l->scene->world);
	l->ever = false;
}

void link_open(struct link *l, struct scene *scene, const char *name, void *owner)
{
	l->scene = scene;
	l->owner = owner;
	l->name = name;
	l->next = scene->links;
	scene->links = l;
	link_new_session(l);
	link_dial(l);
	link_watch(l);
}

void link_send_as(struct link *l, const struct msg *m, uint32_t correlation, const struct span *payload, uint32_t payload_count)
{
	if (!l->peer)
		return;
	struct buf out = { 0 };
	msg_encode(&out, m, correlation, payload, payload_count);
	sim_peer_send(l->peer, buf_span(&out));
	buf_free(&out);
}

void link_send(struct link *l, const struct msg *m, const struct span *payload, uint32_t payload_count)
{
	link_send_as(l, m, 0, payload, payload_count);
}

void link_leave(struct link *l)
{
	if (!l->peer || !l->welcome)
		return;
	struct msg m = { .kind = FRAME_GOODBYE };
	link_send(l, &m, NULL, 0);
	sim_peer_shutdown(l->peer); /* what was sent still arrives */
	l->welcome = false;
	link_new_session(l);
	l->down(l->owner);
}

static void thaw(void *ctx)
{
	struct link *l = ctx;
	if (l->peer && scene_now(l->scene) >= l->frozen_ns)
		sim_peer_stall(l->peer, SIM_BOTH_WAYS, false);
}

void link_freeze(struct link *l, uint64_t ns)
{
	if (!l->peer)
		return;
	l->frozen_ns = scene_now(l->scene) + ns;
	sim_peer_stall(l->peer, SIM_BOTH_WAYS, true);
	sim_after(l->scene->world, ns, thaw, l);
}

void link_cut(struct link *l)
{
	if (!l->peer)
		return;
	struct sim_peer *peer = l->peer;
	l->peer = NULL;
	sim_peer_free(peer);
	link_lost(l);
}

void link_close(struct link *l)
{
	l->closing = true;
	if (l->peer)
		sim_peer_free(l->peer);
	l->peer = NULL;
	buf_free(&l->in);
}
