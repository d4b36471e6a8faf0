/* tests/sim/io_sim.c: the simulated world: time, events, processes, faults, the trace.
 *
 * Place in the data flow: io_sim_disk.c and io_sim_net.c put events into the heap; an event changes the world
 * at its time and, where a node must be told, appends to the ready list of its process; io_reap runs that list.
 *
 * Invariants:
 *  1. Nothing depends on addresses, real time or hash order: the same seed and calls give the same run.
 *  2. Events of equal time run in the order in which they were made.
 *  3. Callbacks of a process run only inside its reap; those of peers and timers only as events.
 *  4. The world, the test and the nodes draw from three random streams, so that one does not shift the others. */
#include "io_sim_impl.h"

#include <inttypes.h>

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9u;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

static uint64_t draw(uint64_t *state) { return mix(*state += 0x9e3779b97f4a7c15u); }

uint64_t sim_world_rand(struct sim *w) { return draw(&w->rand_world); }

uint64_t sim_world_below(struct sim *w, uint64_t bound) { return bound ? sim_world_rand(w) % bound : 0; }

uint64_t sim_world_between(struct sim *w, uint64_t min, uint64_t max)
{
	return max > min ? min + sim_world_below(w, max - min + 1) : min;
}

uint64_t sim_rand(struct sim *w) { return draw(&w->rand_test); }
uint64_t sim_rand_below(struct sim *w, uint64_t bound) { return bound ? sim_rand(w) % bound : 0; }
uint64_t sim_now_ns(const struct sim *w) { return w->now; }
void sim_wall_jump(struct sim *w, int64_t ms) { w->wall_offset_ms += ms; }
void sim_stepped(struct sim *w, bool on) { w->stepped = on; }
uint64_t sim_trace_hash(const struct sim *w) { return w->hash; }
void sim_trace_to(struct sim *w, FILE *out) { w->trace = out; }

void sim_note(struct sim *w, int node, const char *what, uint64_t a, uint64_t b)
{
	uint64_t h = w->hash ^ w->now;
	for (const char *c = what; *c; c++)
		h = h * 31 + (uint8_t)*c;
	h = mix(h + (uint64_t)node);
	h = mix(h ^ a);
	w->hash = mix(h + b);
	if (w->trace)
		(void)fprintf(w->trace, "%12.6f ms  node %d  %-10s %" PRId64 " %" PRId64 "\n", (double)w->now / 1e6,
			      node, what, (int64_t)a, (int64_t)b);
}

/* ---- events ---- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static void swap_events(struct sim_event *a, struct sim_event *b)
{
	struct sim_event t = *a;
	*a = *b;
	*b = t;
}

void sim_at(struct sim *w, uint64_t at, void (*fn)(struct sim *w, void *ctx), void *ctx)
{
	if (w->heap_count == w->heap_cap) {
		w->heap_cap = w->heap_cap ? w->heap_cap * 2 : 64;
		w->heap = realloc(w->heap, size_mul(w->heap_cap, sizeof *w->heap));
		ENSURE(w->heap != NULL);
	}
	size_t i = w->heap_count++;
	w->heap[i] = (struct sim_event){ .at = MAX_OF(at, w->now), .seq = w->seq++, .fn = fn, .ctx = ctx };
	for (; i > 0 && before(&w->heap[i], &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap_events(&w->heap[i], &w->heap[(i - 1) / 2]);
}

static struct sim_event pop(struct sim *w)
{
	ENSURE(w->heap_count > 0);
	struct sim_event top = w->heap[0];
	w->heap[0] = w->heap[--w->heap_count];
	for (size_t i = 0;;) {
		size_t child = 2 * i + 1;
		if (child + 1 < w->heap_count && before(&w->heap[child + 1], &w->heap[child]))
			child++;
		if (child >= w->heap_count || !before(&w->heap[child], &w->heap[i]))
			return top;
		swap_events(&w->heap[i], &w->heap[child]);
		i = child;
	}
}

static void run_event(struct sim *w)
{
	struct sim_event e = pop(w);
	w->now = MAX_OF(w->now, e.at); /* a reap's own 100 ns may have passed it */
	e.fn(w, e.ctx);
}

struct timer {
	void (*fn)(void *ctx);
	void *ctx;
};

static void timer_fire(struct sim *w, void *ctx)
{
	(void)w;
	struct timer t = *(struct timer *)ctx;
	free(ctx);
	if (t.fn)
		t.fn(t.ctx);
}

void sim_after(struct sim *w, uint64_t ns, void (*fn)(void *ctx), void *ctx)
{
	struct timer *t = malloc(sizeof *t);
	ENSURE(t != NULL);
	*t = (struct timer){ fn, ctx };
	sim_at(w, w->now + ns, timer_fire, t);
}

static uint64_t wanted_by_nodes(struct sim *w)
{
	uint64_t at = UINT64_MAX;
	for (int n = 0; n < SIM_NODES_MAX && w->stepped; n++) {
		struct sim_proc *p = w->nodes[n].proc;
		if (p && !p->dead && p->deadline_ns > w->now)
			at = MIN_OF(at, p->deadline_ns);
	}
	return at;
}

bool sim_step(struct sim *w)
{
	uint64_t wanted = wanted_by_nodes(w);
	if (w->heap_count > 0 && w->heap[0].at <= wanted) {
		run_event(w);
		return true;
	}
	if (wanted == UINT64_MAX)
		return false;
	w->now = wanted;
	return true;
}

bool sim_node_due(struct sim *w, int node)
{
	struct sim_proc *p = w->nodes[node].proc;
	return p && !p->dead && (p->ready_count > 0 || p->woken || p->deadline_ns <= w->now);
}

void sim_run_for(struct sim *w, uint64_t ns)
{
	uint64_t end = w->now + ns;
	while (w->heap_count > 0 && w->heap[0].at <= end)
		run_event(w);
	w->now = end;
}

/* ---- calls and faults ---- */

static const char *const call_names[SIM_CALL_KINDS] = {
	[SIM_OPEN] = "open", [SIM_SIZE] = "size", [SIM_ALLOCATE] = "allocate", [SIM_TRUNCATE] = "truncate",
	[SIM_RENAME] = "rename", [SIM_UNLINK] = "unlink", [SIM_SYNC_DIR] = "sync_dir", [SIM_LIST] = "list",
	[SIM_FREE_BYTES] = "free_bytes", [SIM_LOCK] = "lock", [SIM_LISTEN] = "listen", [SIM_READ] = "read",
	[SIM_WRITE] = "write", [SIM_SYNC] = "sync", [SIM_SEND] = "send", [SIM_ACCEPT] = "accept",
	[SIM_WRITEBACK] = "writeback", [SIM_MKDIR] = "mkdir", [SIM_SIZE_OF] = "size_of", [SIM_SEND_FILE] = "send_file",
};

int sim_call_begin(struct sim_proc *p, enum sim_call kind)
{
	struct sim *w = p->w;
	if (p->dead)
		return -EIO;
	uint64_t index = w->calls++, of_kind = w->calls_of[kind]++;
	sim_note(w, p->node, call_names[kind], index, of_kind);
	for (struct sim_fault *f = w->faults; f < w->faults + SIM_FAULTS; f++) {
		uint64_t at = f->kind == SIM_ANY_CALL ? index : of_kind;
		if (!f->set || (f->kind != SIM_ANY_CALL && f->kind != kind))
			continue;
		if (at != f->index && !(f->forever && at > f->index))
			continue;
		f->fired = true;
		sim_note(w, p->node, "fault", index, (uint64_t)f->error);
		return -f->error;
	}
	return 0;
}

uint64_t sim_calls(const struct sim *w) { return w->calls; }
uint64_t sim_calls_of(const struct sim *w, enum sim_call kind) { return w->calls_of[kind]; }

bool sim_fault_fired(const struct sim *w)
{
	for (int i = 0; i < SIM_FAULTS; i++)
		if (w->faults[i].fired)
			return true;
	return false;
}

void sim_fail_none(struct sim *w)
{
	for (int i = 0; i < SIM_FAULTS; i++)
		w->faults[i].set = false;
	w->next_fault = 0;
}

static void add_fault(struct sim *w, struct sim_fault fault)
{
	ENSURE(fault.error > 0);
	w->faults[w->next_fault++ % SIM_FAULTS] = fault;
}
void sim_short_io(struct sim *w, unsigned per_mille) { w->short_per_mille = per_mille; }

static void only_fault(struct sim *w, struct sim_fault fault)
{
	memset(w->faults, 0, sizeof w->faults);
	w->next_fault = 0;
	add_fault(w, fault);
}

void sim_fail_call(struct sim *w, uint64_t index, int error, bool forever)
{
	only_fault(w, (struct sim_fault){ .set = true, .forever = forever, .kind = SIM_ANY_CALL, .index = index, .error = error });
}

static struct sim_fault nth_of(const struct sim *w, enum sim_call kind, uint64_t nth, int error, bool forever)
{
	uint64_t from = kind == SIM_ANY_CALL ? w->calls : w->calls_of[kind];
	return (struct sim_fault){ .set = true, .forever = forever, .kind = kind, .index = from + nth, .error = error };
}

void sim_fail_kind(struct sim *w, enum sim_call kind, uint64_t nth, int error, bool forever)
{
	only_fault(w, nth_of(w, kind, nth, error, forever));
}

void sim_fail_more(struct sim *w, enum sim_call kind, uint64_t nth, int error, bool forever)
{
	add_fault(w, nth_of(w, kind, nth, error, forever));
}

/* ---- computation ---- */

static void work_runs(struct sim *w, void *ctx)
{
	struct sim_flight *f = ctx;
	if (f->proc && !f->crashed && !w->freeing) {
		sim_note(w, f->proc->node, "work", 0, 0);
		f->work->run(f->work->ctx);
		sim_push(f->proc, (struct sim_ready){ .kind = READY_WORK, .flight = f });
	}
	sim_flight_unref(f);
}

static void work(struct io *io, struct io_work *work)
{
	struct sim_proc *p = sim_proc_of(io);
	struct sim *w = p->w;
	struct sim_flight *f = sim_flight_new(p);
	f->work = work;
	if (f->crashed)
		return;
	f->refs++;
	p->work_at = MAX_OF(p->work_at, w->now) + sim_world_between(w, 10 * SIM_US, 1000 * SIM_US);
	sim_at(w, p->work_at, work_runs, f);
}

/* ---- processes ---- */

struct sim_proc *sim_proc_of(struct io *io) { return (struct sim_proc *)(void *)io; }

void sim_push(struct sim_proc *p, struct sim_ready r)
{
	ENSURE(!p->dead);
	if (p->ready_count == p->ready_cap) {
		p->ready_cap = p->ready_cap ? p->ready_cap * 2 : 32;
		p->ready = realloc(p->ready, size_mul(p->ready_cap, sizeof *p->ready));
		ENSURE(p->ready != NULL);
	}
	p->ready[p->ready_count++] = r;
}

static void run_ready(struct sim_proc *p, struct sim_ready *r)
{
	struct sim_flight *f = r->flight;
	if (r->kind == READY_WORK) {
		struct io_work *work = f->work;
		sim_flight_unlink(f);
		work->done(work->ctx);
		return;
	}
	if (r->kind != READY_OP) {
		sim_net_ready(p, r);
		return;
	}
	struct io_op *op = f->op;
	int64_t res = f->res;
	if (io_op_has_file(op->kind)) {
		ENSURE(p->files[op->file].in_flight > 0);
		p->files[op->file].in_flight--;
	}
	sim_flight_unlink(f);
	sim_note(p->w, p->node, "done", (uint64_t)op->kind, (uint64_t)res);
	op->done(op, res);
}

static uint32_t run_all_ready(struct sim_proc *p)
{
	/* What the callbacks add meanwhile waits for the next reap. */
	struct sim_ready *list = p->ready;
	size_t count = p->ready_count;
	p->ready = NULL;
	p->ready_count = p->ready_cap = 0;
	uint32_t ran = 0;
	for (size_t i = 0; i < count; i++) {
		if (p->dead) /* a callback crashed its own node */
			sim_item_free(list[i].item);
		else
			run_ready(p, &list[i]);
		ran += !p->dead;
	}
	free(list);
	return ran;
}

static void bury(struct sim_proc *p)
{
	ENSURE(p->dead);
	while (p->flights) {
		struct io_op *op = p->flights->op;
		struct io_work *work = p->flights->work;
		sim_flight_unlink(p->flights);
		if (work)
			work->done(work->ctx); /* whether it has run or not */
		else
			op->done(op, -ECANCELED);
	}
	sim_net_bury(p);
}

static uint32_t reap(struct io *io, uint64_t deadline_ns)
{
	struct sim_proc *p = sim_proc_of(io);
	struct sim *w = p->w;
	ENSURE(!p->reaping); /* callbacks never reap */
	if (p->dead) {
		p->reaping = true;
		bury(p);
		p->reaping = false;
		return 0;
	}
	p->reaping = true;
	p->deadline_ns = deadline_ns;
	if (!w->stepped)
		w->now += 100; /* turning the loop takes time too: a node that polls does not stop the world */
	while (!p->dead && p->ready_count == 0 && !p->woken && !w->stepped) {
		bool any = w->heap_count > 0;
		uint64_t until = deadline_ns == 0 ? w->now : deadline_ns;
		if (any && w->heap[0].at <= until) {
			run_event(w);
			continue;
		}
		if (until != UINT64_MAX)
			w->now = MAX_OF(w->now, until);
		else
			ENSURE(++w->idle_reaps < 1000); /* waiting for ever in a world where nothing will happen */
		break;
	}
	p->woken = false;
	uint32_t ran = p->dead ? 0 : run_all_ready(p);
	ran += p->dead ? 0 : io_posts_run(&p->posts);
	p->reaping = false;
	if (ran > 0)
		w->idle_reaps = 0;
	return ran;
}

static uint64_t now_ns(struct io *io) { return sim_proc_of(io)->w->now; }

static uint64_t wall_ms(struct io *io)
{
	struct sim *w = sim_proc_of(io)->w;
	return (uint64_t)((int64_t)(w->now / SIM_MS) + w->wall_offset_ms);
}

static void random_bytes(struct io *io, void *out, size_t len)
{
	uint8_t *at = out;
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)draw(&sim_proc_of(io)->w->rand_node);
}

static void wake(struct io *io) { sim_proc_of(io)->woken = true; }

/* There is one thread in this world: a post is made by an event, or by a callback of the same process. */
static void post(struct io *io, struct io_post *p)
{
	if (io_posts_add(&sim_proc_of(io)->posts, p))
		wake(io);
}

static void proc_free(struct sim_proc *p)
{
	while (io_posts_run(&p->posts) > 0)
		;
	while (p->flights)
		sim_flight_unlink(p->flights);
	free(p->ready);
	free(p->files);
	free(p->slots);
	free(p);
}

static void free_io(struct io *io)
{
	struct sim_proc *p = sim_proc_of(io);
	struct sim *w = p->w;
	ENSURE(!p->reaping);
	if (p->dead) {
		struct sim_proc **at = &w->dead;
		while (*at != p)
			at = &(*at)->next_dead;
		*at = p->next_dead;
		if (w->nodes[p->node].proc == p)
			w->nodes[p->node].proc = NULL;
	} else {
		ENSURE(p->flights == NULL); /* no operation in flight */
		for (size_t i = 0; i < p->ready_count; i++)
			sim_item_free(p->ready[i].item);
		p->ready_count = 0;
		sim_net_leave(p);
		sim_disk_leave(p);
		w->nodes[p->node].proc = NULL;
	}
	proc_free(p);
}

struct io *sim_node_io(struct sim *w, int node)
{
	ENSURE(node >= 0 && node < SIM_NODES_MAX);
	struct sim_node *n = &w->nodes[node];
	ENSURE(n->proc == NULL || n->proc->dead); /* one process per node */
	struct sim_proc *p = calloc(1, sizeof *p);
	ENSURE(p != NULL);
	*p = (struct sim_proc){ .w = w, .node = node };
	p->vtable = (struct io_vtable){ .reap = reap, .now_ns = now_ns, .wall_ms = wall_ms,
					.random = random_bytes, .work = work, .wake = wake, .post = post,
					.free = free_io };
	sim_disk_vtable(&p->vtable);
	sim_net_vtable(&p->vtable);
	p->io.v = &p->vtable;
	if (!n->disk)
		n->disk = sim_disk_new();
	n->proc = p;
	sim_note(w, node, "start", 0, 0);
	return &p->io;
}

struct io *sim_restart(struct sim *w, int node) { return sim_node_io(w, node); }

bool sim_dead(const struct sim *w, int node)
{
	return w->nodes[node].proc && w->nodes[node].proc->dead;
}

void sim_bury(struct sim *w, int node)
{
	if (sim_dead(w, node))
		bury(w->nodes[node].proc);
}

void sim_crash(struct sim *w, int node, enum sim_crash_pattern pattern)
{
	struct sim_proc *p = w->nodes[node].proc;
	ENSURE(p && !p->dead);
	sim_note(w, node, "crash", (uint64_t)pattern, 0);
	for (size_t i = 0; i < p->ready_count; i++)
		sim_item_free(p->ready[i].item);
	p->ready_count = 0;
	sim_net_leave(p);
	sim_disk_crash(w, p, pattern);
	p->dead = true;
	p->next_dead = w->dead;
	w->dead = p;
}

const char *sim_crash_name(enum sim_crash_pattern pattern)
{
	static const char *const names[SIM_CRASH_PATTERNS] = {
		"seeded", "keep all", "drop all", "prefix", "suffix", "even", "odd", "zeros", "stale",
		"garbage", "tear first", "tear last", "data only", "names only", "kill",
	};
	return pattern < SIM_CRASH_PATTERNS ? names[pattern] : "unknown";
}

/* ---- the world ---- */

struct sim *sim_new(uint64_t seed)
{
	struct sim *w = calloc(1, sizeof *w);
	ENSURE(w != NULL);
	w->seed = seed;
	w->rand_world = mix(seed + 1);
	w->rand_test = mix(seed + 0x1234567);
	w->rand_node = mix(seed + 0x7654321);
	w->hash = mix(seed);
	w->now = 1000 * SIM_S; /* a machine that has been up for a while */
	w->wall_offset_ms = 1790000000000;
	w->link = (struct sim_link){ .delay_min_ns = 20 * SIM_US, .delay_max_ns = 60 * SIM_US,
				     .window = 256 << 10 };
	return w;
}

void sim_free(struct sim *w)
{
	for (int n = 0; n < SIM_NODES_MAX; n++)
		ENSURE(w->nodes[n].proc == NULL || w->nodes[n].proc->dead); /* a live node is freed by its owner */
	while (w->dead) {
		struct sim_proc *p = w->dead;
		w->dead = p->next_dead;
		proc_free(p);
	}
	w->freeing = true;
	sim_net_free(w); /* before the events, so that theirs find nobody to call */
	while (w->heap_count > 0) {
		struct sim_event e = pop(w);
		if (e.fn == timer_fire)
			((struct timer *)e.ctx)->fn = NULL;
		e.fn(w, e.ctx); /* frees what it holds */
	}
	for (size_t i = 0; i < w->peer_count; i++)
		free(w->peers[i]);
	free(w->peers);
	for (int n = 0; n < SIM_NODES_MAX; n++)
		sim_disk_free(w->nodes[n].disk);
	free(w->heap);
	free(w);
}
