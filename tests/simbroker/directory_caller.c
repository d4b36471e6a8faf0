/* tests/simbroker/directory_caller.c: see directory.h. One session that calls, watches and reserves; the script of the finale. */
#include "directory.h"

enum { WATCH_LASTING = 1, WATCH_ONCE = 2, BINDING = 1, DESIRED = 2, ENTRY = 7, FINALE_DEADLINE_MS = 30000, AT_ONCE_MS = 500,
       GRACE_MS = 1500 };

enum step { STEP_CHAOS, STEP_SETTLE, STEP_LEAVE, STEP_LEFT, STEP_SETTLE_AGAIN, STEP_CUT, STEP_AWAY, STEP_GONE, STEP_COMPARE, STEP_UNBIND,
	    STEP_END };

struct directory_caller {
	struct link link;
	struct directory *d;
	struct model model, once;
	uint8_t binding;           /* state; 0 = none on this connection */
	bool was_active;
	struct leg legs[DESIRED];
	uint32_t leg_count;
	enum step step;
	uint64_t step_ns, gone;    /* since when; the session that goes */
	uint32_t call;             /* that is with it */
	uint64_t compared;
};

/* ---- the directory rebuilt ---- */

static struct model_entry *model_find(struct model *m, uint64_t session, uint32_t id)
{
	for (uint32_t i = 0; i < m->count; i++)
		if (m->at[i].session == session && m->at[i].id == id)
			return &m->at[i];
	return NULL;
}

static void change(struct directory_caller *c, struct model *m, const struct wire_change *x)
{
	struct scene *sc = c->d->scene;
	struct model_entry *e = model_find(m, x->session, x->entry.id);
	if ((x->kind == CHANGE_JOINED) == (e != NULL))
		scene_violate(sc, "D9: entry %u of session %llx %s", x->entry.id, (unsigned long long)x->session,
			      e ? "joined twice" : "changed or left before it joined");
	if (x->kind == CHANGE_LEFT && e) {
		*e = m->at[--m->count];
		return;
	}
	if (!e) {
		ENSURE(m->count < MODEL_MAX);
		e = &m->at[m->count++];
	}
	*e = (struct model_entry){ x->session, x->entry.id, x->away };
	if (x->away)
		scene_mark(sc, MARK_ENTRY_AWAY);
}

static void compare(struct directory_caller *c)
{
	struct scene *sc = c->d->scene;
	if (!c->model.complete || c->once.revision != c->model.revision)
		return;
	bool same = c->once.count == c->model.count;
	for (uint32_t i = 0; same && i < c->once.count; i++) {
		const struct model_entry *e = model_find(&c->model, c->once.at[i].session, c->once.at[i].id);
		same = e && e->away == c->once.at[i].away;
	}
	if (!same)
		scene_violate(sc, "D9: the directory rebuilt from changes has %u entries at revision %llu, the broker's has %u others",
			      c->model.count, (unsigned long long)c->model.revision, c->once.count);
	c->compared++;
	scene_mark(sc, MARK_WATCH_COMPARED);
}

static void changes(struct directory_caller *c, const struct msg_changes *x)
{
	struct model *m = x->watch == WATCH_LASTING ? &c->model : &c->once;
	if (x->begin)
		*m = (struct model){ .revision = x->revision };
	else if (x->before != m->revision)
		scene_violate(c->d->scene, "D9: a change goes on from revision %llu after revision %llu",
			      (unsigned long long)x->before, (unsigned long long)m->revision);
	for (uint32_t i = 0; i < x->count; i++)
		change(c, m, &x->items[i]);
	if (!x->begin && m == &c->model)
		c->d->scene->marks[MARK_WATCH_CHANGE] += x->count;
	m->revision = x->revision;
	m->complete |= x->end;
	if (m == &c->once && x->end)
		compare(c);
}

static void ask_watch(struct directory_caller *c, uint32_t watch, bool once)
{
	struct msg m = { .kind = FRAME_WATCH, .watch = { .watch = watch, .service = span_str("sim.hold.Add"), .once = once } };
	link_send(&c->link, &m, NULL, 0);
}

/* ---- calls ---- */

static uint32_t call(struct directory_caller *c, struct msg_call how, uint32_t deadline_ms)
{
	struct scene *sc = c->d->scene;
	uint32_t index = c->d->call_count++, size = sizeof index;
	c->d->calls[index] = (struct sim_call_state){ .sent_ns = scene_now(sc), .generation = c->link.generation,
						      .deadline_ns = scene_now(sc) + deadline_ms * SIM_MS };
	struct event_head head = { .type = span_str("sim.hold.Add") };
	struct buf bytes = { 0 };
	event_head_encode(&bytes, &head);
	struct msg m = { .kind = FRAME_CALL, .call = how };
	m.call.first = index + 1;
	m.call.deadline_ms = deadline_ms;
	m.call.head = buf_span(&bytes);
	m.call.sizes = (struct u32s){ &size, 1 };
	struct span payload = span_of(&index, sizeof index);
	link_send(&c->link, &m, &payload, 1);
	buf_free(&bytes);
	return index;
}

static void answered(struct directory_caller *c, const struct answer_item *a, struct span payload)
{
	struct scene *sc = c->d->scene;
	ENSURE(a->call > 0 && a->call <= c->d->call_count);
	uint32_t index = (uint32_t)a->call - 1, got = 0;
	struct sim_call_state *call = &c->d->calls[index];
	if (call->answered)
		scene_violate(sc, "D5: call %u has a second answer (%s)%s", index, err_name(a->code),
			      call->late ? ", after its deadline" : "");
	if (call->generation != c->link.generation)
		scene_violate(sc, "D5: call %u is answered on another connection than its own", index);
	call->answered = true;
	if (a->code == ERR_OK) {
		if (payload.len == sizeof got)
			memcpy(&got, payload.data, sizeof got);
		if (payload.len != sizeof got || got != index || a->session != call->holder)
			scene_violate(sc, "D2: call %u has the answer of another one, or of another holder", index);
		scene_mark(sc, MARK_CALL_ANSWERED);
	} else if (a->code == ERR_TIMEOUT) {
		if (scene_now(sc) + SIM_MS < call->deadline_ns)
			scene_violate(sc, "D5: call %u ended before its deadline", index);
		scene_mark(sc, MARK_CALL_TIMEOUT);
	} else if (a->code == ERR_NOT_DELIVERED) {
		scene_mark(sc, call->asked ? MARK_CALL_HOLDER_LOST : MARK_CALL_NOBODY);
	} else {
		scene_violate(sc, "D5: call %u is answered with %s", index, err_name(a->code));
	}
}

static void work(void *ctx)
{
	struct directory_caller *c = ctx;
	struct scene *sc = c->d->scene;
	if (sc->stop_submitting)
		return;
	if (c->link.welcome && c->d->call_count < CALLS_MAX - 4) {
		struct msg_call how = { .service = span_str(scene_one_in(sc, 10) ? "sim.hold.Nobody" : "sim.hold.Add"),
					.where = span_str("kind == \"adder\"") };
		if (c->binding && scene_one_in(sc, 3))
			how = (struct msg_call){ .binding = BINDING };
		(void)call(c, how, 20 + (uint32_t)sim_rand_below(sc->world, 300));
		if (scene_one_in(sc, 4))
			ask_watch(c, WATCH_ONCE, true);
	}
	sim_after(sc->world, SIM_MS * (1 + sim_rand_below(sc->world, 8)), work, c);
}

/* ---- the reservation ---- */

static void binding(struct directory_caller *c, const struct msg_binding *b)
{
	struct scene *sc = c->d->scene;
	static const enum mark marks[BINDING_STATES] = { [BINDING_WAITING] = MARK_BINDING_WAITING,
		[BINDING_ACTIVE] = MARK_BINDING_ACTIVE, [BINDING_DEGRADED] = MARK_BINDING_DEGRADED,
		[BINDING_ENDED] = MARK_BINDING_ENDED };
	uint8_t want = b->leg_count == 0 ? BINDING_WAITING : b->leg_count < DESIRED ? BINDING_DEGRADED : BINDING_ACTIVE;
	bool twice = b->leg_count == 2 && b->legs[0].session == b->legs[1].session;
	if (b->state != BINDING_ENDED && (b->state != want || b->leg_count > DESIRED || twice))
		scene_violate(sc, "D8: a reservation with %u legs%s says that it is in state %u", b->leg_count,
			      twice ? " (one of them twice)" : "", b->state);
	scene_mark(sc, marks[b->state]);
	if (b->state == BINDING_ACTIVE && c->binding != BINDING_ACTIVE && c->was_active)
		scene_mark(sc, MARK_BINDING_HEALED);
	c->was_active |= b->state == BINDING_ACTIVE;
	c->binding = b->state;
	c->leg_count = MIN_OF(b->leg_count, (uint32_t)DESIRED);
	if (c->leg_count)
		memcpy(c->legs, b->legs, c->leg_count * sizeof c->legs[0]);
}

static bool legs_live(struct directory_caller *c)
{
	for (uint32_t i = 0; i < c->leg_count; i++) {
		const struct model_entry *e = model_find(&c->model, c->legs[i].session, c->legs[i].entry);
		if (!e || e->away)
			return false;
	}
	return c->binding == BINDING_ACTIVE;
}

/* ---- the finale: nothing fails any more but what this does ---- */

static bool everybody_up(struct directory_caller *c)
{
	uint32_t live = 0;
	for (uint32_t i = 0; i < HOLDERS; i++) {
		struct link *l = holder_sim_link(c->d->holders[i]);
		const struct model_entry *e = model_find(&c->model, l->address, ENTRY);
		live += l->welcome && e && !e->away;
	}
	return c->link.welcome && c->model.complete && live == HOLDERS && c->model.count == HOLDERS && legs_live(c);
}

static void next(struct directory_caller *c, enum step step)
{
	c->step = step;
	c->step_ns = scene_now(c->d->scene);
}

/* A call that stays with this holder. */
static void occupy(struct directory_caller *c, struct holder_sim *h)
{
	holder_sim_mute(h, true);
	c->gone = holder_sim_link(h)->address;
	c->call = call(c, (struct msg_call){ .session = c->gone, .entry = ENTRY }, FINALE_DEADLINE_MS);
}

static void expect_not_delivered(struct directory_caller *c, const char *why)
{
	if (!c->d->calls[c->call].answered)
		scene_violate(c->d->scene, "D9: a holder %s, and %d ms later its caller has no answer", why, AT_ONCE_MS);
}

static void expect_gone(struct directory_caller *c, const char *why)
{
	if (model_find(&c->model, c->gone, ENTRY))
		scene_violate(c->d->scene, "D9: a holder %s, and its entry is still there", why);
}

static void finale(void *ctx)
{
	struct directory_caller *c = ctx;
	struct scene *sc = c->d->scene;
	uint64_t ms = (scene_now(sc) - c->step_ns) / SIM_MS;
	struct holder_sim *leaver = c->d->holders[0], *vanisher = c->d->holders[1];
	if (c->step != STEP_CHAOS && c->step != STEP_END && !c->link.welcome)
		next(c, STEP_SETTLE); /* from the beginning, with those that are there now */
	if (c->step == STEP_CHAOS && sc->healed_ns && scene_now(sc) > sc->healed_ns + 3 * SIM_S)
		next(c, STEP_SETTLE);
	else if (c->step == STEP_SETTLE && everybody_up(c)) {
		occupy(c, leaver);
		next(c, STEP_LEAVE);
	} else if (c->step == STEP_LEAVE && ms >= 200) {
		link_leave(holder_sim_link(leaver));
		next(c, STEP_LEFT);
	} else if (c->step == STEP_LEFT && ms >= AT_ONCE_MS) {
		expect_not_delivered(c, "said goodbye");
		expect_gone(c, "said goodbye");
		scene_mark(sc, MARK_ENTRY_GOODBYE);
		next(c, STEP_SETTLE_AGAIN);
	} else if (c->step == STEP_SETTLE_AGAIN && everybody_up(c)) {
		occupy(c, vanisher);
		next(c, STEP_CUT);
	} else if (c->step == STEP_CUT && ms >= 200) {
		link_new_session(holder_sim_link(vanisher));
		link_cut(holder_sim_link(vanisher));
		next(c, STEP_AWAY);
	} else if (c->step == STEP_AWAY && ms >= AT_ONCE_MS) {
		const struct model_entry *e = model_find(&c->model, c->gone, ENTRY);
		expect_not_delivered(c, "vanished");
		if (!e || !e->away)
			scene_violate(sc, "D9: %d ms after its holder vanished an entry is %s", AT_ONCE_MS, e ? "not away" : "gone");
		next(c, STEP_GONE);
	} else if (c->step == STEP_GONE && ms >= GRACE_MS && everybody_up(c)) {
		expect_gone(c, "vanished and its grace is over");
		scene_mark(sc, MARK_ENTRY_LEASE);
		c->compared = 0;
		next(c, STEP_COMPARE);
		ask_watch(c, WATCH_ONCE, true);
	} else if (c->step == STEP_COMPARE && c->compared) {
		struct msg m = { .kind = FRAME_UNBIND, .unbind = { .binding = BINDING } };
		link_send(&c->link, &m, NULL, 0);
		next(c, STEP_UNBIND);
	} else if (c->step == STEP_UNBIND && c->binding == BINDING_ENDED)
		next(c, STEP_END);
	sim_after(sc->world, SIM_MS * 20, finale, c);
}

/* Promise 5 for calls. */
static void watch_calls(void *ctx)
{
	struct directory_caller *c = ctx;
	struct scene *sc = c->d->scene;
	for (uint32_t i = 0; i < c->d->call_count && c->link.welcome; i++) {
		const struct sim_call_state *call = &c->d->calls[i];
		if (!call->answered && call->generation == c->link.generation &&
		    scene_now(sc) > call->deadline_ns + DIRECTORY_BOUND_MS * SIM_MS)
			scene_violate(sc, "D5: call %u has no answer %d ms after its deadline", i, DIRECTORY_BOUND_MS);
	}
	sim_after(sc->world, SIM_MS * 100, watch_calls, c);
}

static void frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct directory_caller *c = owner;
	size_t at = 0;
	for (uint32_t i = 0; m->kind == FRAME_ANSWER && i < m->answer.count; i++) {
		answered(c, &m->answer.items[i], span_sub(f->payload, at, m->answer.items[i].size));
		at += m->answer.items[i].size;
	}
	if (m->kind == FRAME_CHANGES)
		changes(c, &m->changes);
	if (m->kind == FRAME_BINDING)
		binding(c, &m->binding);
}

static void up(void *owner, bool resumed)
{
	struct directory_caller *c = owner;
	(void)resumed;
	ask_watch(c, WATCH_LASTING, false);
	struct msg m = { .kind = FRAME_BIND };
	m.bind = (struct msg_bind){ .binding = BINDING, .min = 1, .desired = DESIRED, .service = span_str("sim.hold.Add") };
	link_send(&c->link, &m, NULL, 0);
}

static void down(void *owner)
{
	struct directory_caller *c = owner;
	c->model = c->once = (struct model){ 0 };
	c->binding = BINDING_NONE;
	c->leg_count = 0;
}

struct directory_caller *directory_caller_new(struct directory *d)
{
	struct directory_caller *c = calloc(1, sizeof *c);
	ENSURE(c);
	c->d = d;
	c->link.up = up;
	c->link.down = down;
	c->link.frame = frame;
	link_open(&c->link, d->scene, "directory-caller", c);
	work(c);
	watch_calls(c);
	finale(c);
	return c;
}

bool directory_caller_idle(struct directory_caller *c)
{
	return c->step == STEP_END;
}

const char *directory_caller_waits(struct directory_caller *c)
{
	static char text[160];
	(void)snprintf(text, sizeof text, "step %d of the finale; %u entries seen, reservation in state %u with %u legs", (int)c->step,
		       c->model.count, c->binding, c->leg_count);
	return text;
}
