/* tests/simbroker/run.c: one seed from start to verdict.
 *
 * The seed decides everything: sizes, speeds, how many clients, which faults are in play and how often. Chaos lasts chaos_ms of simulated
 * time. Then the world heals: nothing fails any more, producers stop, workers complete what they get; the queue must drain and every
 * confirmed task must be accounted for. */
#include "run.h"

#include <setjmp.h>

#include "../../broker/shard.h"
#include "link.h"
#include "realm.h"
#include "tenant.h"

enum { PRODUCERS_MAX = 3, WORKERS_MAX = 5, BLOBS = 5 /* its place among the workloads */ };

static const struct workload *const workloads[] = {
	&workload_life, &workload_directory, &workload_events, &workload_refusals, &workload_timed, &workload_blobs,
};

struct dice {                   /* what the seed meant */
	uint32_t producers, workers, credit, crash_every_ms, cut_every_ms, stall_every_ms;
	uint32_t short_io, fail_every_ms, pause_every_ms, freeze_every_ms, faults;
	bool has[COUNT_OF(workloads)];
	uint64_t segment_bytes;
	uint32_t batch_bytes;
	bool kill_only, slow_disk, jumpy_clock, split, tenants, fair, closed;
};

struct run {
	struct scene scene;
	struct dice dice;
	struct sim *world;
	struct io *io;
	struct shard *shard;
	struct producer *producers[PRODUCERS_MAX];
	struct worker *workers[WORKERS_MAX];
	struct inspector *inspector;
	void *states[COUNT_OF(workloads)];
	struct tenant *tenants[2];
	struct realm *realm;    /* NULL: the broker is open */
	struct sim_result *result;
	uint64_t pause_ns;      /* the broker's process does nothing for this long, from its next turn on */
	bool healing, storage_failed;
	jmp_buf out;            /* where a storage failure of the broker leads: the process is over */
};

static void violation(struct run *r, const char *text)
{
	if (r->result->violation[0] == 0)
		(void)snprintf(r->result->violation, sizeof r->result->violation, "%s", text);
}

/* ---- the broker's process ---- */

static void node_fatal(void *ctx, const char *what, int errno_value)
{
	struct run *r = ctx;
	(void)what;
	(void)errno_value;
	r->storage_failed = true;
	longjmp(r->out, 1);
}

static bool node_open(struct run *r)
{
	static const char *const urls[] = { "tcp://127.0.0.1:4333" };
	struct shard_config config = {
		.io = r->io, .node = "sim", .listen = urls, .listen_count = 1,
		.blob_grace_ms = 1500, .conns_max = 100, .heartbeat_ms = 500, .grace_ms = 1500, .stop_retry_ms = 50,
		.segment_bytes = r->dice.segment_bytes, .batch_bytes = r->dice.batch_bytes,
		.cache_bytes = 2 * r->dice.segment_bytes, .reserve_segments = 1, .create = true,
		.tasks = { .queues_max = 100, .producers_max = 1000, .keys_max = 10000, .recent_max = 100000,
			   .producer_idle_ms = 600000, .key_window_ms = 600000, .cancel_grace_ms = 500, .auto_create = true,
			   .defaults = { .length_max = 0, .max_attempts = 4, .lease_ms = 30000, .backoff_min_ms = 5,
					 .backoff_max_ms = 200, .expires_ms = 0, .retention_ms = 60000,
					 .fair = r->dice.fair ? FAIR_PRINCIPAL : FAIR_OFF } },
		.ctx = r, .fatal = node_fatal,
	};
	char text[256] = "";
	enum err e = shard_open(&config, &r->shard, text);
	if (e == ERR_OK)
		return true;
	r->shard = NULL;
	if (!sim_dead(r->world, 0) && !r->storage_failed && (r->dice.fail_every_ms == 0 || r->healing)) {
		char line[400];
		(void)snprintf(line, sizeof line, "C8: the broker refuses to start: %s: %s", err_name(e), text);
		violation(r, line);
	}
	r->storage_failed = true; /* an honest refusal after a failed call: the process ends and is started again */
	return false;
}

/* The process is gone; what it had in memory is left to the end of this one. */
static void node_restart(struct run *r)
{
	if (!sim_dead(r->world, 0))
		sim_crash(r->world, 0, SIM_KILL);
	r->shard = NULL;
	r->storage_failed = false;
	r->scene.restarts++;
	sim_run_for(r->world, SIM_MS * (1 + sim_rand_below(r->world, 50)));
	r->io = sim_restart(r->world, 0);
}

static void node_run(struct run *r, uint64_t until_ns)
{
	while (sim_now_ns(r->world) < until_ns && r->result->violation[0] == 0) {
		if (setjmp(r->out) == 0) {
			if (!r->shard && !node_open(r) && !sim_dead(r->world, 0) && !r->storage_failed)
				return;
			while (r->shard && !sim_dead(r->world, 0) && sim_now_ns(r->world) < until_ns) {
				if (r->pause_ns) {
					sim_run_for(r->world, r->pause_ns);
					r->pause_ns = 0;
					if (sim_dead(r->world, 0))
						break;
				}
				shard_turn(r->shard);
				if (r->realm)
					realm_look(r->realm, shard_tasks(r->shard));
				const char *bad = ledger_violation(r->scene.ledger);
				if (!bad && r->scene.violation[0])
					bad = r->scene.violation;
				if (r->scene.crossed[0])
					bad = r->scene.crossed;
				if (bad)
					violation(r, bad);
				if (bad || (r->healing && inspector_done(r->inspector)))
					return;
			}
		}
		if (r->storage_failed)
			r->result->stops++;
		if (sim_dead(r->world, 0) || r->storage_failed)
			node_restart(r);
	}
}

/* ---- chaos ---- */

static void crash(void *ctx)
{
	struct run *r = ctx;
	if (r->healing)
		return;
	if (!sim_dead(r->world, 0)) {
		enum sim_crash_pattern p = r->dice.kill_only ? SIM_KILL
			: (enum sim_crash_pattern)sim_rand_below(r->world, SIM_CRASH_PATTERNS);
		sim_crash(r->world, 0, p);
		r->result->crashes++;
		scene_mark(&r->scene, MARK_CRASH);
	}
	sim_after(r->world, SIM_MS * (1 + sim_rand_below(r->world, 2 * r->dice.crash_every_ms)), crash, r);
}

static struct link *any_link(struct run *r)
{
	uint64_t count = 0;
	for (struct link *l = r->scene.links; l; l = l->next)
		count++;
	struct link *l = r->scene.links;
	for (uint64_t n = sim_rand_below(r->world, count); n > 0; n--)
		l = l->next;
	return l;
}

static void cut(void *ctx)
{
	struct run *r = ctx;
	if (r->healing)
		return;
	struct sim_peer *peer = any_link(r)->peer;
	if (peer) {
		switch (sim_rand_below(r->world, 4)) {
		case 0: sim_peer_blackhole(peer, SIM_TO_NODE); break;
		case 1: sim_peer_blackhole(peer, SIM_TO_PEER); break;
		default: sim_peer_cut(peer); break;
		}
		r->result->cuts++;
	}
	sim_after(r->world, SIM_MS * (1 + sim_rand_below(r->world, 2 * r->dice.cut_every_ms)), cut, r);
}

static void unstall(void *ctx)
{
	struct run *r = ctx;
	sim_node_stall(r->world, 0, SIM_BOTH_WAYS, false);
}

static void stall(void *ctx)
{
	struct run *r = ctx;
	if (r->healing)
		return;
	sim_node_stall(r->world, 0, SIM_BOTH_WAYS, true);
	sim_after(r->world, SIM_MS * (1 + sim_rand_below(r->world, 2500)), unstall, r);
	sim_after(r->world, SIM_MS * (1 + sim_rand_below(r->world, 2 * r->dice.stall_every_ms)), stall, r);
}

static void fail_io(void *ctx)
{
	static const int errors[] = { 5 /* EIO */, 28 /* ENOSPC */, 122 /* EDQUOT */ };
	static const enum sim_call calls[] = { SIM_WRITE, SIM_SYNC, SIM_ALLOCATE, SIM_RENAME, SIM_SYNC_DIR, SIM_SEND, SIM_OPEN };
	struct run *r = ctx;
	if (r->healing)
		return;
	sim_fail_none(r->world);
	for (uint32_t i = 0; i < r->dice.faults; i++)
		sim_fail_more(r->world, calls[sim_rand_below(r->world, COUNT_OF(calls))], sim_rand_below(r->world, 20),
			      errors[sim_rand_below(r->world, COUNT_OF(errors))], false);
	if (r->dice.faults > 1)
		scene_mark(&r->scene, MARK_FAULTS_TOGETHER);
	sim_after(r->world, SIM_MS * (1 + sim_rand_below(r->world, 2 * r->dice.fail_every_ms)), fail_io, r);
}

static void jump(void *ctx)
{
	struct run *r = ctx;
	if (r->healing)
		return;
	int64_t ms = (int64_t)sim_rand_below(r->world, 4000) - 2000;
	sim_wall_jump(r->world, ms);
	r->scene.jumped_ms += (uint64_t)(ms < 0 ? -ms : ms);
	scene_mark(&r->scene, MARK_WALL_JUMPED);
	sim_after(r->world, SIM_MS * (100 + sim_rand_below(r->world, 600)), jump, r);
}

/* The broker's process is stopped for a while; then everything is late. */
static void pause_node(void *ctx)
{
	struct run *r = ctx;
	if (r->healing)
		return;
	r->pause_ns = SIM_MS * (1 + sim_rand_below(r->world, scene_one_in(&r->scene, 4) ? 2500 : 300));
	scene_mark(&r->scene, MARK_NODE_PAUSED);
	sim_after(r->world, SIM_MS * (1 + sim_rand_below(r->world, 2 * r->dice.pause_every_ms)), pause_node, r);
}

static void freeze(void *ctx)
{
	struct run *r = ctx;
	if (r->healing)
		return;
	link_freeze(any_link(r), SIM_MS * (1 + sim_rand_below(r->world, 2000)));
	scene_mark(&r->scene, MARK_CLIENT_PAUSED);
	sim_after(r->world, SIM_MS * (1 + sim_rand_below(r->world, 2 * r->dice.freeze_every_ms)), freeze, r);
}

/* ---- the seed ---- */

static bool chance(struct run *r, uint32_t percent)
{
	return sim_rand_below(r->world, 100) < percent;
}

static uint32_t between(struct run *r, uint32_t low, uint32_t high)
{
	return low + (uint32_t)sim_rand_below(r->world, high - low + 1);
}

/* Shares can be counted from outside only where nothing that was handed out is lost on its way, and few tasks are on their way. */
static void roll_fair(struct run *r)
{
	enum { RUN = 8 }; /* FAIR_RUN of the broker */
	struct dice *d = &r->dice;
	d->crash_every_ms = d->cut_every_ms = d->stall_every_ms = d->fail_every_ms = d->pause_every_ms = d->freeze_every_ms = 0;
	r->scene.mood.vanish = 0;
	d->credit = 1 + d->credit % 4;
	d->producers = MAX_OF(d->producers, 2u);
	r->scene.greedy = true;
	ledger_fair(r->scene.ledger, 2 * (RUN + d->workers * d->credit));
}

/* Whole fault classes are off or extreme in turn: a little of everything would hide what one of them does alone. */
static void roll(struct run *r, uint64_t seed)
{
	struct dice *d = &r->dice;
	d->producers = between(r, 1, PRODUCERS_MAX);
	d->workers = between(r, 1, WORKERS_MAX);
	d->credit = between(r, 1, 120);
	d->crash_every_ms = chance(r, 75) ? between(r, 30, 800) : 0;
	d->kill_only = chance(r, 15);
	d->cut_every_ms = chance(r, 60) ? between(r, 20, 600) : 0;
	d->stall_every_ms = chance(r, 25) ? between(r, 300, 1500) : 0;
	d->fail_every_ms = chance(r, 25) ? between(r, 50, 800) : 0;
	d->faults = chance(r, 50) ? 1 : between(r, 2, 4);
	d->pause_every_ms = chance(r, 20) ? between(r, 60, 600) : 0;
	d->freeze_every_ms = chance(r, 25) ? between(r, 30, 400) : 0;
	d->short_io = chance(r, 30) ? between(r, 1, 300) : 0;
	d->slow_disk = chance(r, 20);
	d->jumpy_clock = chance(r, 20);
	d->split = chance(r, 40);
	d->tenants = chance(r, 50);
	d->batch_bytes = 64 << 10;
	d->segment_bytes = (256u << 10) << sim_rand_below(r->world, 3);
	struct mood *m = &r->scene.mood;
	*m = (struct mood){ .payload_max = chance(r, 70) ? 200 : 6000, .batch_max = between(r, 1, 24),
		.work_ns_max = chance(r, 70) ? SIM_MS * between(r, 1, 20) : SIM_MS * 400 };
	m->fail = chance(r, 50) ? between(r, 5, 200) : 0;
	m->release = chance(r, 30) ? between(r, 5, 100) : 0;
	m->reject = chance(r, 30) ? between(r, 2, 30) : 0;
	m->vanish = chance(r, 40) ? between(r, 1, 40) : 0;
	m->answer_twice = chance(r, 40) ? between(r, 5, 200) : 0;
	m->answer_late = chance(r, 20) ? between(r, 1, 20) : 0;
	m->stale = chance(r, 50) ? between(r, 5, 200) : 0;
	m->key = chance(r, 40) ? between(r, 20, 500) : 0;
	r->scene.priorities = chance(r, 30) ? 3 : 1;
	d->closed = d->tenants && seed % 3 == 1; /* as fair below; with it all would be one principal */
	d->fair = seed % 3 == 0; /* by the seed alone: what the others of it mean stays what it was */
	if (seed % 6 == 0)
		roll_fair(r);
	for (uint32_t i = 0; i < COUNT_OF(workloads); i++)
		d->has[i] = workloads[i] == &workload_refusals ? seed % 3 == 1
			    : workloads[i] == &workload_timed  ? seed % 3 == 2
			    : workloads[i] == &workload_blobs  ? seed % 4 < 2
							       : chance(r, 50);
	int len = snprintf(r->result->options, sizeof r->result->options,
		       "producers %u workers %u credit %u crash %u%s cut %u stall %u pause %u freeze %u fail %u*%u "
		       "short %u slow %d clock %d split %d tenants %d "
		       "closed %d segment %lluk fail/release/reject %u/%u/%u vanish %u twice %u late %u stale %u key %u priorities %u fair %d",
		       d->producers, d->workers, d->credit, d->crash_every_ms, d->kill_only ? "(kill)" : "", d->cut_every_ms,
		       d->stall_every_ms, d->pause_every_ms, d->freeze_every_ms, d->fail_every_ms, d->faults, d->short_io,
		       d->slow_disk, d->jumpy_clock, d->split, d->tenants, d->closed,
		       (unsigned long long)d->segment_bytes >> 10, m->fail, m->release, m->reject, m->vanish, m->answer_twice,
		       m->answer_late, m->stale, m->key, r->scene.priorities, d->fair);
	for (uint32_t i = 0; i < COUNT_OF(workloads); i++)
		if (d->has[i])
			len += snprintf(r->result->options + len, sizeof r->result->options - (size_t)len, " %s",
					workloads[i]->name);
}

/* Before anything goes wrong. */
static void close_broker(struct run *r)
{
	r->realm = realm_new(&r->scene);
	for (int step = 0; step < 1000 && !realm_ready(r->realm); step++)
		node_run(r, sim_now_ns(r->world) + 10 * SIM_MS);
	if (!realm_ready(r->realm))
		violation(r, "C18: ten seconds were not enough to make three principals");
	else
		r->scene.token = realm_token(r->realm, "ops");
}

static void begin(struct run *r)
{
	const struct dice *d = &r->dice;
	if (d->split)
		sim_link_default(r->world, (struct sim_link){ 10 * SIM_US, 3 * SIM_MS, 100, 1u << 18, NULL });
	if (d->slow_disk)
		sim_disk_speed(r->world, 0, (struct sim_disk_speed){ { SIM_MS, 5 * SIM_MS }, { SIM_MS, 30 * SIM_MS },
								     { SIM_MS, 60 * SIM_MS } });
	for (uint32_t i = 0; i < d->producers; i++)
		r->producers[i] = producer_new(&r->scene, i);
	for (uint32_t i = 0; i < d->workers; i++)
		r->workers[i] = worker_new(&r->scene, i, d->credit);
	r->inspector = inspector_new(&r->scene);
	for (uint32_t i = 0; i < COUNT_OF(workloads); i++)
		if (d->has[i])
			r->states[i] = workloads[i]->open(&r->scene);
	for (uint32_t i = 0; d->tenants && i < 2; i++)
		r->tenants[i] = tenant_new(&r->scene, i ? "blue" : "red", r->realm ? realm_token(r->realm, i ? "blue" : "red") : NULL);
	if (d->crash_every_ms)
		sim_after(r->world, SIM_MS * (1 + sim_rand_below(r->world, 2 * d->crash_every_ms)), crash, r);
	if (d->cut_every_ms)
		sim_after(r->world, SIM_MS * 5, cut, r);
	if (d->stall_every_ms)
		sim_after(r->world, SIM_MS * 50, stall, r);
	if (d->fail_every_ms)
		sim_after(r->world, SIM_MS * 10, fail_io, r);
	if (d->pause_every_ms)
		sim_after(r->world, SIM_MS * 20, pause_node, r);
	if (d->freeze_every_ms)
		sim_after(r->world, SIM_MS * 15, freeze, r);
	if (d->jumpy_clock)
		sim_after(r->world, SIM_MS * 100, jump, r);
	sim_short_io(r->world, d->short_io);
	r->scene.disk_fails = d->fail_every_ms > 0;
}

/* Black holes made during the chaos end with the connections they are on, so those are cut. */
static void heal(struct run *r)
{
	r->healing = true;
	ledger_fair(r->scene.ledger, 0); /* what was on its way is lost with the connections, and held until their sessions end */
	r->scene.stop_submitting = true;
	sim_fail_none(r->world);
	sim_node_stall(r->world, 0, SIM_BOTH_WAYS, false);
	r->scene.healed_ns = scene_now(&r->scene);
	for (struct link *l = r->scene.links; l; l = l->next)
		if (l->peer)
			sim_peer_cut(l->peer);
	struct mood calm = { .calm = true, .payload_max = 1, .batch_max = 1, .work_ns_max = SIM_MS };
	r->scene.mood = calm;
}

static bool clients_idle(struct run *r)
{
	for (uint32_t i = 0; i < COUNT_OF(workloads); i++)
		if (r->states[i] && !workloads[i]->idle(r->states[i]))
			return false;
	for (uint32_t i = 0; i < r->dice.producers; i++)
		if (!producer_idle(r->producers[i]))
			return false;
	for (uint32_t i = 0; i < r->dice.workers; i++)
		if (!worker_idle(r->workers[i]))
			return false;
	return true;
}

struct files { char dir[16], first[120]; uint32_t count; };

static void each_file(void *ctx, const char *name)
{
	struct files *f = ctx;
	if (f->count++ == 0)
		(void)snprintf(f->first, sizeof f->first, "%s/%s", f->dir, name);
}

/* Where the workload of blobs has let go of everything there is nothing left, and nothing half written. */
static void check_files(struct run *r)
{
	struct files f = { .count = 0 };
	for (uint32_t i = 0; r->states[BLOBS] && !r->result->violation[0] && i <= 256; i++) {
		(void)snprintf(f.dir, sizeof f.dir, i < 256 ? "blobs/%02x" : "blobs/up", i);
		(void)r->io->v->list(r->io, f.dir, each_file, &f);
	}
	if (f.count > 0) {
		char line[256];
		(void)snprintf(line, sizeof line, "B3: %u files of blobs are left that nothing refers to: %s", f.count, f.first);
		violation(r, line);
	}
}

enum { LANES_CLOSED_S = 60 }; /* of peace, before the closed lane is served */

static void settle_down(struct run *r)
{
	heal(r);
	for (int step = 0; step < 600 && !clients_idle(r) && !r->result->violation[0]; step++)
		node_run(r, sim_now_ns(r->world) + 100 * SIM_MS);
	if (!clients_idle(r) && !r->result->violation[0]) {
		char line[400];
		size_t len = (size_t)snprintf(line, sizeof line, "C9: 60 s after healing a client still waits for an answer");
		for (uint32_t i = 0; i < COUNT_OF(workloads); i++)
			if (r->states[i] && !workloads[i]->idle(r->states[i]))
				len += (size_t)snprintf(line + len, sizeof line - len, "; %s: %s", workloads[i]->name,
							workloads[i]->waits(r->states[i]));
		violation(r, line);
		return;
	}
	/* What nobody may do yet must not have kept anything else: the ledger looks when its first task is handed out. */
	node_run(r, sim_now_ns(r->world) + LANES_CLOSED_S * SIM_S);
	r->scene.lanes_open = true;
	for (uint32_t i = 0; i < r->dice.workers; i++)
		if (worker_peer(r->workers[i]))
			sim_peer_cut(worker_peer(r->workers[i]));
	r->scene.checks_state = true;
	for (int step = 0; step < 1200 && !inspector_done(r->inspector) && !r->result->violation[0]; step++)
		node_run(r, sim_now_ns(r->world) + 100 * SIM_MS);
	if (!inspector_drained(r->inspector)) {
		char line[256];
		(void)snprintf(line, sizeof line, "C9: 120 s after healing the queue is not empty: %s",
			       inspector_text(r->inspector));
		violation(r, line);
	} else if (!inspector_done(r->inspector))
		violation(r, "C9: 120 s after healing not every open task could be asked about");
	check_files(r);
	ledger_final(r->scene.ledger);
	if (ledger_violation(r->scene.ledger))
		violation(r, ledger_violation(r->scene.ledger));
}

void sim_run_seed(const struct sim_options *options, struct sim_result *result)
{
	static struct run run; /* survives longjmp; one seed a process */
	struct run *r = &run;
	r->result = result;
	r->world = sim_new(options->seed);
	r->scene = (struct scene){ .world = r->world, .ledger = ledger_new(options->seed) };
	roll(r, options->seed);
	if (options->trace) {
		(void)printf("%s\n", result->options);
		sim_trace_to(r->world, stdout);
	}
	uint64_t start_ns = sim_now_ns(r->world);
	r->io = sim_node_io(r->world, 0);
	if (r->dice.closed)
		close_broker(r);
	begin(r);
	node_run(r, sim_now_ns(r->world) + options->chaos_ms * SIM_MS);
	if (!result->violation[0])
		settle_down(r);
	struct ledger_counts counts;
	ledger_counts(r->scene.ledger, &counts);
	memcpy(result->marks, r->scene.marks, sizeof result->marks);
	result->confirmed = counts.confirmed;
	result->settled = counts.settled;
	for (uint32_t i = 0; i < 2 && r->tenants[i]; i++)
		result->seen += tenant_seen(r->tenants[i]);
	result->trace_hash = sim_trace_hash(r->world);
	result->simulated_ms = (sim_now_ns(r->world) - start_ns) / SIM_MS;
	(void)fflush(stdout);
}
