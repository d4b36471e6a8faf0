/* tools/bench_engine.c: producers and workers of the benchmarks.
 *
 * Data flow: producer_fill -> broker -> confirmed / task_arrived -> settled -> counters that the main thread watches.
 *
 * Invariants:
 * 1. A task counts as settled once: its bit in `seen` goes from 0 to 1. A second time is a duplicate, and reported.
 * 2. The clock stops at the last confirm or settle, not when the threads have noticed.
 * 3. An actor is written only by its thread, until that has been joined; others read only its four counters. */
#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "progress.h"

enum { FILL_MAX = 4096, PATTERN = 64, IDLE_MS = 50, FLIGHT_EMPTY = 0, CLOCK_SHARE = 8 };

/* What we remember of a task between its arrival and the broker's word that it is settled. */
struct flight {
	uint64_t task; /* FLIGHT_EMPTY: free */
	uint64_t due_ns, received_ns, index;
	bool ours;
};

struct flights { /* open addressing */
	struct flight *slots;
	uint64_t mask, count;
};

/* A task between submit and confirm. */
struct pending {
	struct actor *actor;
	uint64_t due_ns;
	struct pending *next_free;
};

struct actor {
	struct bench *bench;
	struct hlk *client;
	bool produces, works;
	uint64_t next, step; /* the next index to submit; the distance to the one after */
	struct hlk_head **heads; /* one for each kind of tasks */
	uint32_t head_count;
	uint8_t *payload;
	struct pending *pendings, *free_pending;
	struct flights flights;
	uint32_t entry, credit; /* what it works on, and how much of that may be under way to it */
	uint64_t now_ns;
	uint32_t now_uses; /* since the last step */
	uint64_t order_run, order_index, refused, duplicates, redelivered, corrupt, foreign, disorder;
	enum hlk_confirm level;
	char error[256];
	struct hist confirm, e2e, settle;
	_Atomic uint64_t confirmed, resolved, settled, last_ns; /* one writer, many readers */
};

struct lane {
	struct bench *bench;
	struct actor **actors;
	uint32_t count;
	pthread_t thread;
};

struct bench {
	const struct bench_plan *plan;
	uint64_t run, start_ns;
	uint8_t *pattern;
	_Atomic uint64_t *seen;
	_Atomic uint64_t taken; /* without producers: tasks accepted for settling */
	_Atomic bool stop;
	struct actor *actors;
	uint32_t actor_count;
	struct lane *lanes;
	uint32_t lane_count;
	_Atomic uint32_t lanes_running;
	int finished; /* an eventfd: the last lane is through */
};

/* The head of every payload; the rest is a slice of the pattern that depends on the index. */
struct bench_header {
	uint64_t run, index, due_ns;
};
_Static_assert(sizeof(struct bench_header) == BENCH_HEADER, "what --size must hold at least");

static void counter_add(_Atomic uint64_t *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1, memory_order_relaxed);
}

/* The time, at most CLOCK_SHARE callbacks old: a look at the clock costs more than the rest of a callback. */
static uint64_t now_of(struct actor *actor)
{
	if (actor->now_uses++ % CLOCK_SHARE == 0)
		actor->now_ns = clock_ns();
	return actor->now_ns;
}

static uint64_t counter_get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* ---------------------------------------------------------------- flights */

static void flights_init(struct flights *f, uint64_t room)
{
	f->slots = calloc(room, sizeof *f->slots);
	ENSURE(f->slots != NULL);
	f->mask = room - 1;
}

/* Scattered: consecutive ids as their own hash would make one long run, and flight_remove walks to the end of a run. Eight
 * neighbours stay together, though: they come and go one after the other. */
static uint64_t flight_home(const struct flights *f, uint64_t task)
{
	return (task / 8 * 0x9e3779b97f4a7c15ull >> 20 << 3 | task % 8) & f->mask;
}

/* The slot of the task, or the free one where it belongs: at least half of them are free. */
static struct flight *flight_find(const struct flights *f, uint64_t task)
{
	uint64_t i = flight_home(f, task);
	while (f->slots[i].task != task && f->slots[i].task != FLIGHT_EMPTY)
		i = (i + 1) & f->mask;
	return &f->slots[i];
}

/* Credit comes back when a task is completed, not when that is acknowledged, so what is under way has no fixed bound. */
static void flight_add(struct flights *f, struct flight flight)
{
	if (f->count * 2 >= f->mask) {
		struct flights grown = { .count = f->count };
		flights_init(&grown, (f->mask + 1) * 4);
		for (uint64_t i = 0; i <= f->mask; i++)
			if (f->slots[i].task != FLIGHT_EMPTY)
				*flight_find(&grown, f->slots[i].task) = f->slots[i];
		free(f->slots);
		*f = grown;
	}
	struct flight *slot = flight_find(f, flight.task);
	f->count += slot->task == FLIGHT_EMPTY;
	*slot = flight;
}

/* Frees a slot and moves up those that had to step over it. */
static void flight_remove(struct flights *f, struct flight *gone)
{
	uint64_t hole = (uint64_t)(gone - f->slots);
	gone->task = FLIGHT_EMPTY;
	f->count--;
	for (uint64_t i = (hole + 1) & f->mask; f->slots[i].task != FLIGHT_EMPTY; i = (i + 1) & f->mask) {
		uint64_t home = flight_home(f, f->slots[i].task);
		if (((i - home) & f->mask) < ((i - hole) & f->mask))
			continue; /* it sits between its home and itself: the hole is not in its way */
		f->slots[hole] = f->slots[i];
		f->slots[i].task = FLIGHT_EMPTY;
		hole = i;
	}
}

/* ---------------------------------------------------------------- producing */

/* Split, so that neither a long run nor a high rate overflows. */
static uint64_t due_of(const struct bench *b, uint64_t index)
{
	uint64_t rate = b->plan->rate;
	return b->start_ns + index / rate * 1000000000 + index % rate * 1000000000 / rate;
}

static void confirmed(struct hlk *c, const struct hlk_confirmed *confirmed, void *ctx)
{
	struct pending *pending = ctx;
	struct actor *actor = pending->actor;
	uint64_t now = now_of(actor);
	(void)c;
	if (confirmed->code == HLK_OK) {
		hist_record(&actor->confirm, now - MIN_OF(now, pending->due_ns));
		actor->level = MAX_OF(actor->level, confirmed->level);
		counter_add(&actor->confirmed);
	} else {
		actor->refused++;
		(void)snprintf(actor->error, sizeof actor->error, "%s: %s", hlk_error_name(confirmed->code),
			       confirmed->text && confirmed->text[0] ? confirmed->text : hlk_error_text(confirmed->code));
	}
	pending->next_free = actor->free_pending;
	actor->free_pending = pending;
	atomic_store_explicit(&actor->last_ns, now, memory_order_relaxed);
	counter_add(&actor->resolved);
}

static void payload_fill(const struct bench *b, struct bench_header header, uint8_t *payload)
{
	memcpy(payload, &header, sizeof header);
	memcpy(payload + sizeof header, b->pattern + header.index % PATTERN, b->plan->size - sizeof header);
}

/* Submits what is due and fits into the window. Returns when the next one is due, 0 where it waits for a confirm. */
static uint64_t producer_fill(struct actor *actor)
{
	struct bench *b = actor->bench;
	uint64_t now = clock_ns();
	for (uint32_t n = 0; actor->next < b->plan->count; n++) {
		uint64_t due = b->plan->rate ? due_of(b, actor->next) : now;
		struct pending *pending = actor->free_pending;
		if (!pending)
			return 0;
		if (due > now || n == FILL_MAX)
			return MAX_OF(due, now);
		*pending = (struct pending){ .actor = actor, .due_ns = due, .next_free = pending->next_free };
		payload_fill(b, (struct bench_header){ b->run, actor->next, due }, actor->payload);
		struct hlk_head *head = actor->heads[actor->next / actor->step / MAX_OF(b->plan->stretch, 1u) % actor->head_count];
		int code = hlk_submit(actor->client, head, actor->payload, b->plan->size, confirmed, pending);
		if (code != HLK_OK) {
			if (code != HLK_AGAIN) {
				(void)snprintf(actor->error, sizeof actor->error, "submit: %s", hlk_error_name(code));
				b->stop = true;
			}
			return 0;
		}
		actor->free_pending = pending->next_free;
		actor->next += actor->step;
	}
	return 0;
}

/* ---------------------------------------------------------------- working */

static bool payload_intact(const struct bench *b, const struct bench_header *header, const struct hlk_task_info *info)
{
	return info->size == b->plan->size && header->index < b->plan->count &&
	       memcmp((const uint8_t *)info->payload + sizeof *header, b->pattern + header->index % PATTERN,
		      info->size - sizeof *header) == 0;
}

static void order_check(struct actor *actor, const struct bench_header *header, uint32_t attempt)
{
	if (header->run == actor->order_run && header->index <= actor->order_index && attempt <= 1)
		actor->disorder++;
	actor->order_run = header->run;
	actor->order_index = header->index;
}

/* A worker of --count has credit only while something is left to take: what it is sent beyond that it would give back, and
 * would be sent again. */
static void credit_follow(struct actor *actor)
{
	struct bench *b = actor->bench;
	uint32_t credit = atomic_load(&b->taken) < b->plan->count ? b->plan->prefetch : 0;
	if (!b->plan->foreign || !actor->works || credit == actor->credit)
		return;
	actor->credit = credit;
	(void)hlk_serve_credit(actor->client, actor->entry, credit);
}

static void task_arrived(struct hlk *c, struct hlk_task *task, void *ctx)
{
	struct actor *actor = ctx;
	struct bench *b = actor->bench;
	const struct hlk_task_info *info = hlk_task_info(task);
	struct bench_header header = { 0 };
	(void)c;
	if (info->size >= sizeof header)
		memcpy(&header, info->payload, sizeof header);
	bool ours = header.run == b->run;
	if (ours && !payload_intact(b, &header, info))
		actor->corrupt++;
	actor->foreign += !ours;
	actor->redelivered += info->attempt > 1;
	if (b->plan->foreign && b->plan->workers == 1)
		order_check(actor, &header, info->attempt);
	if (!ours && !b->plan->foreign) {
		(void)hlk_release(task, 1000); /* somebody else's: not ours to settle */
		return;
	}
	if (b->plan->foreign && atomic_fetch_add(&b->taken, 1) >= b->plan->count) {
		atomic_fetch_sub(&b->taken, 1);
		(void)hlk_release(task, -1); /* fetched beyond --count: back to where it was, at once */
		credit_follow(actor);
		return;
	}
	flight_add(&actor->flights, (struct flight){ info->id, header.due_ns, now_of(actor), header.index, ours });
	(void)hlk_complete(task, NULL, 0);
}

static void settled(struct hlk *c, uint64_t task, uint32_t attempt, int code, void *ctx)
{
	struct actor *actor = ctx;
	struct bench *b = actor->bench;
	struct flight *flight = flight_find(&actor->flights, task);
	(void)c;
	(void)attempt;
	if (flight->task == FLIGHT_EMPTY)
		return; /* a release, or a second answer */
	if (code == HLK_OK) {
		uint64_t now = now_of(actor);
		uint64_t bit = (uint64_t)1 << (flight->index & 63);
		bool checked = b->seen && flight->ours && flight->index < b->plan->count;
		if (checked && (atomic_fetch_or_explicit(&b->seen[flight->index / 64], bit, memory_order_relaxed) & bit)) {
			actor->duplicates++;
		} else {
			if (flight->ours)
				hist_record(&actor->e2e, now - MIN_OF(now, flight->due_ns));
			hist_record(&actor->settle, now - flight->received_ns);
			counter_add(&actor->settled);
			atomic_store_explicit(&actor->last_ns, now, memory_order_relaxed);
		}
	} else {
		atomic_fetch_sub(&b->taken, 1); /* it will come again, to us or to another */
	}
	flight_remove(&actor->flights, flight);
}

/* ---------------------------------------------------------------- lanes */

static void finish_check(struct bench *b)
{
	const struct bench_plan *plan = b->plan;
	uint64_t resolved = 0, confirmed_sum = 0, settled_sum = 0;
	for (uint32_t i = 0; i < b->actor_count; i++) {
		resolved += counter_get(&b->actors[i].resolved);
		confirmed_sum += counter_get(&b->actors[i].confirmed);
		settled_sum += counter_get(&b->actors[i].settled);
	}
	bool sent = plan->producers == 0 ? settled_sum >= plan->count : resolved >= plan->count;
	if (sent && (plan->producers == 0 || plan->workers == 0 || settled_sum >= confirmed_sum))
		b->stop = true;
}

static void lane_wait(const struct lane *lane, struct pollfd *fds, uint64_t due_ns)
{
	uint64_t now = clock_ns(), wait_ns = IDLE_MS * 1000000ull;
	if (due_ns != 0)
		wait_ns = MIN_OF(wait_ns, due_ns > now ? due_ns - now : 0);
	struct timespec timeout = { (time_t)(wait_ns / 1000000000), (long)(wait_ns % 1000000000) };
	(void)ppoll(fds, lane->count, &timeout, NULL);
}

static void *lane_run(void *ctx)
{
	struct lane *lane = ctx;
	struct bench *b = lane->bench;
	struct pollfd *fds = calloc(lane->count, sizeof *fds);
	ENSURE(fds != NULL);
	for (uint32_t i = 0; i < lane->count; i++)
		fds[i] = (struct pollfd){ hlk_fd(lane->actors[i]->client), POLLIN, 0 };
	while (!atomic_load_explicit(&b->stop, memory_order_relaxed)) {
		uint64_t due = 0;
		for (uint32_t i = 0; i < lane->count; i++) {
			struct actor *actor = lane->actors[i];
			if (actor->produces) {
				uint64_t next = producer_fill(actor);
				due = next && (due == 0 || next < due) ? next : due;
			}
			credit_follow(actor);
			(void)hlk_flush(actor->client); /* of a worker: what was declared before the first turn */
		}
		lane_wait(lane, fds, due);
		for (uint32_t i = 0; i < lane->count; i++)
			if (fds[i].revents) {
				lane->actors[i]->now_uses = 0;
				(void)hlk_process(lane->actors[i]->client);
			}
		finish_check(b);
	}
	free(fds);
	if (atomic_fetch_sub(&b->lanes_running, 1) == 1) {
		uint64_t one = 1;
		ENSURE(write(b->finished, &one, sizeof one) == (ssize_t)sizeof one);
	}
	return NULL;
}

/* ---------------------------------------------------------------- set-up */

/* A head for each kind: with a requirement that only entries of its lane meet, or only different. */
static int heads_make(struct actor *actor, struct hlk_error *error)
{
	const struct bench_plan *plan = actor->bench->plan;
	struct hlk_submit_options submit = { .type = "bench.v1.Task", .queue = plan->queue, .confirm = plan->confirm };
	char text[64];
	actor->head_count = MAX_OF(plan->lanes, 1u);
	actor->heads = calloc(actor->head_count, sizeof(struct hlk_head *));
	ENSURE(actor->heads != NULL);
	for (uint32_t i = 0; i < actor->head_count; i++) {
		(void)snprintf(text, sizeof text, "lane == %u", plan->first_lane + i);
		submit.correlation = plan->lanes && plan->alike ? text : NULL;
		submit.requirements = plan->lanes && !plan->alike ? text : NULL;
		actor->heads[i] = hlk_head_new(&submit, error);
		if (!actor->heads[i])
			return error->code;
	}
	return HLK_OK;
}

static int entries_make(struct actor *actor)
{
	const struct bench_plan *plan = actor->bench->plan;
	uint32_t count = MAX_OF(plan->entries, 1u), first = (uint32_t)(actor - actor->bench->actors) * count;
	struct hlk_serve_options serve = { .queue = plan->queue, .task = task_arrived, .ctx = actor };
	char params[64];
	int code = HLK_OK;
	actor->credit = serve.credit = MAX_OF(plan->prefetch / count, 1u);
	for (uint32_t i = first; i < first + count && code == HLK_OK; i++) {
		(void)snprintf(params, sizeof params, "lane=%u, number=%u", i % MAX_OF(plan->lanes, 1u), i);
		serve.params = plan->entries ? params : NULL;
		code = hlk_serve(actor->client, &serve, &actor->entry);
	}
	return code;
}

static int actor_open(struct actor *actor, struct bench_result *result)
{
	const struct bench_plan *plan = actor->bench->plan;
	struct hlk_options options = plan->connect;
	options.name = "hillock bench";
	options.window = plan->window;
	struct hlk_error error = { 0 };
	int code = hlk_open(&options, &actor->client, &error);
	if (code == HLK_OK && (code = hlk_ready_wait(actor->client, plan->timeout_ms)) != HLK_OK)
		error = *hlk_last_error(actor->client);
	if (code == HLK_OK && actor->produces) {
		actor->payload = malloc(plan->size);
		actor->pendings = calloc(plan->window, sizeof *actor->pendings);
		ENSURE(actor->payload != NULL && actor->pendings != NULL);
		for (uint32_t i = 0; i < plan->window; i++) {
			actor->pendings[i].next_free = actor->free_pending;
			actor->free_pending = &actor->pendings[i];
		}
		code = heads_make(actor, &error);
	}
	if (code == HLK_OK && actor->works) {
		flights_init(&actor->flights, 1024);
		hlk_on_settled(actor->client, settled, actor);
		code = entries_make(actor);
		if (code != HLK_OK)
			error = *hlk_last_error(actor->client);
	}
	if (code != HLK_OK)
		(void)snprintf(result->error, sizeof result->error, "%.200s (%s)", error.text, hlk_error_name(code));
	return code;
}

static void actor_close(struct actor *actor)
{
	if (actor->client)
		hlk_close(actor->client, 2000);
	for (uint32_t i = 0; i < actor->head_count; i++)
		if (actor->heads[i])
			hlk_head_free(actor->heads[i]);
	free(actor->heads);
	free(actor->payload);
	free(actor->pendings);
	free(actor->flights.slots);
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static void bench_init(struct bench *b, const struct bench_plan *plan)
{
	struct timespec wall;
	(void)clock_gettime(CLOCK_REALTIME, &wall);
	*b = (struct bench){ .plan = plan };
	b->run = mix((uint64_t)wall.tv_sec * 1000000000 + (uint64_t)wall.tv_nsec + ((uint64_t)getpid() << 48)) | 1;
	b->actor_count = plan->shared ? MAX_OF(plan->producers, plan->workers) : plan->producers + plan->workers;
	b->actors = calloc(b->actor_count, sizeof *b->actors);
	b->pattern = malloc(plan->size + PATTERN);
	b->finished = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ENSURE(b->actors != NULL && b->pattern != NULL && b->finished >= 0);
	for (size_t i = 0; i < plan->size + PATTERN; i++)
		b->pattern[i] = (uint8_t)mix(i + 1);
	if (plan->producers > 0 && plan->workers > 0) {
		b->seen = calloc(plan->count / 64 + 1, sizeof *b->seen);
		ENSURE(b->seen != NULL);
	}
	for (uint32_t i = 0; i < b->actor_count; i++) {
		struct actor *actor = &b->actors[i];
		actor->bench = b;
		actor->produces = i < plan->producers;
		actor->works = plan->shared ? i < plan->workers : i >= plan->producers;
		actor->next = i;
		actor->step = plan->producers;
	}
}

static void lanes_make(struct bench *b)
{
	uint32_t threads = b->plan->threads ? b->plan->threads : b->actor_count;
	b->lane_count = MIN_OF(MIN_OF(threads, b->actor_count), (uint32_t)BENCH_THREADS);
	b->lanes = calloc(b->lane_count, sizeof *b->lanes);
	ENSURE(b->lanes != NULL);
	for (uint32_t i = 0; i < b->lane_count; i++) {
		b->lanes[i].bench = b;
		b->lanes[i].actors = calloc(b->actor_count, sizeof(struct actor *));
		ENSURE(b->lanes[i].actors != NULL);
	}
	for (uint32_t i = 0; i < b->actor_count; i++) {
		struct lane *lane = &b->lanes[i % b->lane_count];
		lane->actors[lane->count++] = &b->actors[i];
	}
}

/* Sums what moves; the watcher's measure of progress. */
static uint64_t progress_of(const struct bench *b, bool settles)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < b->actor_count; i++)
		sum += settles ? counter_get(&b->actors[i].settled) : counter_get(&b->actors[i].resolved);
	return sum;
}

/* The main thread while the lanes run: the progress bar, signals, and a run in which nothing moves any more. */
static void watch(struct bench *b, int signals, struct bench_result *result)
{
	struct progress bar;
	uint64_t before = UINT64_MAX, moved_ns = clock_ns();
	struct pollfd fds[2] = { { b->finished, POLLIN, 0 }, { signals, POLLIN, 0 } };
	progress_begin(&bar, b->plan->workers > 0 ? "settled" : "confirmed", b->plan->count);
	while (!fds[0].revents) {
		(void)poll(fds, 2, 200);
		uint64_t now = clock_ns(), done = progress_of(b, b->plan->workers > 0);
		uint64_t moving = progress_of(b, true) + progress_of(b, false);
		progress_step(&bar, done);
		if (moving != before)
			moved_ns = now;
		before = moving;
		result->interrupted |= fds[1].revents != 0;
		result->stalled |= now - moved_ns > (uint64_t)b->plan->stall_ms * 1000000;
		if (result->interrupted || result->stalled)
			b->stop = true;
	}
	progress_end(&bar);
}

static double cpu_seconds(void)
{
	struct rusage usage;
	(void)getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void collect(const struct bench *b, struct bench_result *result)
{
	uint64_t last = b->start_ns;
	for (uint32_t i = 0; i < b->actor_count; i++) {
		const struct actor *actor = &b->actors[i];
		result->confirmed += counter_get(&actor->confirmed);
		result->settled += counter_get(&actor->settled);
		result->refused += actor->refused;
		result->duplicates += actor->duplicates;
		result->redelivered += actor->redelivered;
		result->corrupt += actor->corrupt;
		result->foreign += actor->foreign;
		result->disorder += actor->disorder;
		result->level = MAX_OF(result->level, actor->level);
		hist_merge(&result->confirm, &actor->confirm);
		hist_merge(&result->e2e, &actor->e2e);
		hist_merge(&result->settle, &actor->settle);
		last = MAX_OF(last, counter_get(&actor->last_ns));
		if (actor->error[0])
			(void)snprintf(result->error, sizeof result->error, "%s", actor->error);
	}
	if (b->seen)
		result->missing = result->confirmed - MIN_OF(result->confirmed, result->settled);
	result->seconds = (double)(last - b->start_ns) / 1e9;
}

int bench_run(const struct bench_plan *plan, struct bench_result *result)
{
	struct bench b;
	int code = HLK_OK;
	sigset_t set;
	ENSURE(plan->size >= BENCH_HEADER && plan->count > 0);
	bench_init(&b, plan);
	for (uint32_t i = 0; i < b.actor_count && code == HLK_OK; i++)
		code = actor_open(&b.actors[i], result);
	if (code == HLK_OK) {
		(void)sigemptyset(&set);
		(void)sigaddset(&set, SIGINT);
		(void)sigaddset(&set, SIGTERM);
		(void)pthread_sigmask(SIG_BLOCK, &set, NULL); /* before the threads, which inherit it */
		int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
		lanes_make(&b);
		b.lanes_running = b.lane_count;
		result->client_cpu_s = -cpu_seconds();
		b.start_ns = clock_ns();
		for (uint32_t i = 0; i < b.lane_count; i++)
			ENSURE(pthread_create(&b.lanes[i].thread, NULL, lane_run, &b.lanes[i]) == 0);
		watch(&b, signals, result);
		for (uint32_t i = 0; i < b.lane_count; i++) {
			(void)pthread_join(b.lanes[i].thread, NULL);
			free(b.lanes[i].actors);
		}
		result->client_cpu_s += cpu_seconds();
		(void)close(signals);
		collect(&b, result);
		free(b.lanes);
	}
	for (uint32_t i = 0; i < b.actor_count; i++)
		actor_close(&b.actors[i]);
	(void)close(b.finished);
	free(b.actors);
	free(b.pattern);
	free(b.seen);
	return code;
}
