/* tests/simbroker/directory_holder.c: one holder: declares an entry, answers calls soon, late or never, leaves and comes back. */
#include "directory.h"

struct holder_sim {
	struct link link;
	struct directory *d;
	bool mute;
	char name[32];
};

struct answer {
	struct holder_sim *holder;
	uint32_t generation, index;
	uint64_t call;
};

static void answer(void *ctx)
{
	struct answer *a = ctx;
	struct holder_sim *h = a->holder;
	if (a->generation == h->link.generation && h->link.welcome) {
		if (scene_now(h->d->scene) > h->d->calls[a->index].deadline_ns) {
			h->d->calls[a->index].late = true;
			scene_mark(h->d->scene, MARK_CALL_LATE);
		}
		struct answer_item item = { .call = a->call, .size = sizeof a->index };
		struct msg m = { .kind = FRAME_ANSWER };
		m.answer = (struct msg_answer){ .items = &item, .count = 1 };
		struct span payload = span_of(&a->index, sizeof a->index);
		link_send(&h->link, &m, &payload, 1);
	}
	free(a);
}

static void invoked(struct holder_sim *h, const struct invoke_item *item, struct span payload)
{
	struct scene *sc = h->d->scene;
	uint32_t index = CALLS_MAX;
	if (payload.len == sizeof index)
		memcpy(&index, payload.data, sizeof index);
	if (index >= h->d->call_count) {
		scene_violate(sc, "D2: a holder got a call that nobody made");
		return;
	}
	struct sim_call_state *call = &h->d->calls[index];
	if (call->asked++ > 0)
		scene_violate(sc, "D2: call %u was handed out twice", index);
	call->holder = h->link.address;
	if (h->mute || scene_one_in(sc, 12))
		return; /* never answers */
	struct answer *a = malloc(sizeof *a);
	ENSURE(a);
	*a = (struct answer){ h, h->link.generation, index, item->call };
	uint64_t ms = scene_one_in(sc, 8) ? 100 + sim_rand_below(sc->world, 500) : sim_rand_below(sc->world, 20);
	sim_after(sc->world, SIM_MS * ms, answer, a);
}

static void frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct holder_sim *h = owner;
	size_t at = 0;
	for (uint32_t i = 0; m->kind == FRAME_INVOKE && i < m->invoke.count; i++) {
		invoked(h, &m->invoke.items[i], span_sub(f->payload, at, m->invoke.items[i].size));
		at += m->invoke.items[i].size;
	}
	if (m->kind != FRAME_INVOKE || h->d->scene->mood.calm || !scene_one_in(h->d->scene, 20))
		return;
	if (scene_one_in(h->d->scene, 2)) {
		link_leave(&h->link);
	} else {
		link_new_session(&h->link);
		link_cut(&h->link);
	}
}

static void up(void *owner, bool resumed)
{
	struct holder_sim *h = owner;
	(void)resumed;
	struct msg m = { .kind = FRAME_SERVE };
	m.serve.entries[0] = (struct wire_entry){ .id = 7, .service = span_str("sim.hold.Add"), .capacity = 8,
						  .params = span_str("kind=\"adder\"") };
	m.serve.count = 1;
	link_send(&h->link, &m, NULL, 0);
}

static void down(void *owner)
{
	(void)owner;
}

struct holder_sim *holder_sim_new(struct directory *d, uint32_t number)
{
	struct holder_sim *h = calloc(1, sizeof *h);
	ENSURE(h);
	h->d = d;
	(void)snprintf(h->name, sizeof h->name, "holder-%u", number);
	h->link.up = up;
	h->link.down = down;
	h->link.frame = frame;
	link_open(&h->link, d->scene, h->name, h);
	return h;
}

struct link *holder_sim_link(struct holder_sim *h)
{
	return &h->link;
}

void holder_sim_mute(struct holder_sim *h, bool mute)
{
	h->mute = mute;
}
