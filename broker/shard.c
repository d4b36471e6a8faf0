/* broker/shard.c: a shard opens, turns and stops. Read shard_turn_until first: it is the data flow.
 *
 * 1. Only io_reap waits. Everything between two reaps is one batch: one log entry, one sync, one send per connection.
 * 2. The log is flushed right after a batch was applied, so that the next one is on its way while we deliver, and again
 *    before we wait, so that nothing that was proposed waits for a turn that nothing would cause.
 * 3. State changes only in on_apply and in what the task machine calls volatile; there is nothing to undo after a crash. */
#include <stdarg.h>

#include "admin_block.h"
#include "binding.h"
#include "blob_desk.h"
#include "blocks.h"
#include "call.h"
#include "conn_tls.h"
#include "door.h"
#include "event.h"
#include "memory.h"
#include "sysevent.h"
#include "part.h"
#include "permit.h"
#include "audit.h"

enum { COMPACT_MS = 1000 };

void shard_note(struct shard *s, enum shard_level level, const char *module, const char *event, const char *format, ...)
{
	char line[512];
	if (!s->config.note)
		return;
	va_list args;
	va_start(args, format);
	(void)vsnprintf(line, sizeof line, format, args);
	va_end(args);
	s->config.note(s->config.ctx, level, module, event, line);
}

/* The clock stands still during a turn, but not while reap waits: the first callback looks again. Where the wall clock is set
 * back, ours goes on from where it was: times in the log do not go back, and a delay must not end early because of that. */
void shard_time(struct shard *s)
{
	if (!s->time_stale)
		return;
	s->time_stale = false;
	s->now_ns = io_now_ns(s->io);
	uint64_t now_ms = s->now_ns / 1000000, wall_ms = io_wall_ms(s->io);
	s->wall_ms = MAX_OF(wall_ms, s->wall_ms + (now_ms - s->now_ms));
	s->now_ms = now_ms;
}

/* ---- callbacks of the log ---- */

static enum err on_restore(void *ctx, struct span checkpoint, char text[256])
{
	return parts_restore(ctx, checkpoint, text);
}

static enum err on_load_segment(void *ctx, uint32_t segment, struct span index, char text[256])
{
	return tasks_load_segment(((struct shard *)ctx)->tasks, segment, index, text);
}

static enum err on_loaded(void *ctx, uint32_t segment, char text[256])
{
	return tasks_verify(((struct shard *)ctx)->tasks, segment, text);
}

static void on_reindex(void *ctx, uint32_t segment, const struct log_record *record, struct buf *out)
{
	tasks_reindex(((struct shard *)ctx)->tasks, segment, record, out);
}

static void on_apply(void *ctx, const struct log_entry *entry, const struct log_record *record, bool live)
{
	struct shard *s = ctx;
	parts_apply(s, entry, record, live, &s->applied);
	if (live && s->live)
		confirm_applied(s, record, &s->applied);
}

static void on_seal(void *ctx, uint32_t segment, struct buf *out)
{
	tasks_seal(((struct shard *)ctx)->tasks, segment, out);
}

static void on_checkpoint(void *ctx, struct buf *out)
{
	parts_checkpoint(ctx, out);
}

static bool on_segment_live(void *ctx, uint32_t segment)
{
	return tasks_segment_live(((struct shard *)ctx)->tasks, segment);
}

static void on_fetched(void *ctx, uint64_t addr)
{
	struct shard *s = ctx;
	s->fetched = true;
	deliver_fetched(s, addr);
}

static void on_fatal(void *ctx, const char *what, int errno_value)
{
	struct shard *s = ctx;
	bool fatal_returned = true;
	if (s->config.fatal)
		s->config.fatal(s->config.ctx, what, errno_value);
	ENSURE(!fatal_returned); /* going on would confirm what is not stored */
}

static void on_log_note(void *ctx, const char *line)
{
	shard_note(ctx, SHARD_INFO, "log", "note", "%s", line);
}

/* ---- callbacks of the task machine ---- */

static void on_ready(void *ctx, uint32_t queue, uint32_t slot)
{
	deliver_ready(ctx, queue, slot);
}

static void on_slot(void *ctx, uint32_t queue, uint32_t slot)
{
	deliver_slot(ctx, queue, slot);
}

static void on_signal(void *ctx, struct holder *holder, const struct signal_item *item)
{
	struct session *session = tasks_holder_ctx(holder);
	struct conn *c = session ? session->conn : NULL;
	if (item->signal == SIGNAL_LEASE_LOST && sys_event_wanted(ctx, "lease.lost")) {
		struct sys_text worker;
		sys_event(ctx, "lease.lost", "\"task\":%llu,\"attempt\":%u,\"worker\":\"%s\",\"code\":\"%s\"",
			  (unsigned long long)item->ref.task, item->ref.attempt,
			  sys_quote(&worker, span_str(session ? session->client : "")), err_name(item->code));
	}
	if (!c || c->closing)
		return;
	buf_append(&c->signals, item, sizeof *item);
	conn_touch(c);
}

static void on_update(void *ctx, const struct update_item *item, struct span data, uint32_t after)
{
	struct shard *s = ctx;
	if (s->stream_count > 0)
		streams_update(s, item, data, after);
}

static void on_committed(void *ctx, uint32_t count)
{
	once_committed(ctx, count);
}

static void on_yielded(void *ctx, uint64_t task)
{
	streams_yielded(ctx, task);
}

static void tell_dead(struct shard *s, uint64_t task)
{
	struct task_view view;
	struct queue_info queue;
	struct sys_text name;
	if (!tasks_show(s->tasks, task, &view) || view.state != TASK_DEAD)
		return;
	tasks_queue_info(s->tasks, view.queue, &queue);
	sys_event(s, "task.dead", "\"task\":%llu,\"queue\":\"%s\",\"code\":\"%s\",\"failed\":%u", (unsigned long long)task,
		  sys_quote(&name, queue.name), err_name(view.code), view.failed);
}

static void on_settled(void *ctx, uint64_t task)
{
	if (sys_event_wanted(ctx, "task.dead"))
		tell_dead(ctx, task);
	results_settled(ctx, task);
	deliver_settled(ctx, task);
}

/* ---- open ---- */

#define DEFAULT(field, value)              \
	do {                               \
		if (k->field == 0)         \
			k->field = (value); \
	} while (0)

static void fill_defaults(struct shard_config *k)
{
	if (!k->node)
		k->node = "hillock";
	if (!k->broker)
		k->broker = "hillockd " HILLOCK_VERSION;
	DEFAULT(conns_max, 10000);
	DEFAULT(sessions_max, k->conns_max * 2);
	DEFAULT(memory_max, (uint64_t)1 << 30);
	DEFAULT(out_buffer_soft, 1 << 20);
	DEFAULT(out_buffer_max, 64 << 20);
	DEFAULT(handshake_ms, LIMIT_HANDSHAKE_MS);
	DEFAULT(handshakes_max, 1024);
	DEFAULT(address_conns_max, 16384);
	DEFAULT(address_rate, 1000);
	DEFAULT(address_burst, 20000);
	DEFAULT(login_failures_max, 10);
	DEFAULT(login_penalty_max_ms, 60000);
	DEFAULT(frame_ms, 30000);
	DEFAULT(heartbeat_ms, 5000);
	DEFAULT(grace_ms, 30000);
	if (k->lease_ms == 0 && k->tasks.defaults.lease_ms > 0)
		k->lease_ms = (uint32_t)MIN_OF(k->tasks.defaults.lease_ms, (int64_t)UINT32_MAX);
	DEFAULT(lease_ms, 30000);
	DEFAULT(payload_max, LIMIT_PAYLOAD_BYTES);
	DEFAULT(producer_window, LIMIT_PRODUCER_WINDOW);
	DEFAULT(watches_max, 4000000);
	DEFAULT(stop_retry_ms, 1000);
	DEFAULT(stop_ms, 5000);
	DEFAULT(access_token_ms, 3600 * 1000);
	DEFAULT(segment_bytes, 64 << 20);
	DEFAULT(batch_bytes, LIMIT_BATCH_BYTES);
	DEFAULT(cache_bytes, 64 << 20);
	DEFAULT(reserve_segments, 1);
	DEFAULT(blob_above, 256 << 10);
	DEFAULT(blob_max, (uint64_t)64 << 30);
	DEFAULT(blob_memory, 16 << 20);
	DEFAULT(blob_grace_ms, 600000);
	DEFAULT(blob_uploads, 256);
	DEFAULT(blob_session_uploads, 16);
	k->blob_memory = MAX_OF(k->blob_memory, 4 * (uint64_t)LIMIT_BLOB_CHUNK);
}

static enum err open_log(struct shard *s, char text[256])
{
	const struct shard_config *k = &s->config;
	const struct log_config config = {
		.io = s->io,
		.segment_bytes = k->segment_bytes,
		.batch_bytes = k->batch_bytes,
		.cache_bytes = k->cache_bytes,
		.reserve_segments = k->reserve_segments,
		.node_name = k->node,
		.create = k->create,
		.accept_loss = k->accept_loss,
		.ctx = s,
		.restore = on_restore,
		.load_segment = on_load_segment,
		.loaded = on_loaded,
		.reindex = on_reindex,
		.apply = on_apply,
		.seal = on_seal,
		.checkpoint = on_checkpoint,
		.segment_live = on_segment_live,
		.fetched = on_fetched,
		.fatal = on_fatal,
		.note = on_log_note,
	};
	return log_open(&config, &s->log, text);
}

static void open_tasks(struct shard *s)
{
	struct tasks_config config = s->config.tasks;
	s->io->v->random(s->io, &config.seed, sizeof config.seed);
	config.hooks = (struct tasks_hooks){ .ctx = s, .ready = on_ready, .slot = on_slot, .signal = on_signal, .settled = on_settled,
					     .update = on_update, .yielded = on_yielded, .committed = on_committed };
	config.limbo_ms = s->config.grace_ms;
	s->tasks = tasks_new(&config);
	s->types = types_new();
	s->schedules = schedules_new(tasks_blobs(s->tasks));
	s->redrives = redrives_new();
	s->blocks = blocks_new();
	s->access = access_new();
	s->audit = audit_new(s, s->io);
	s->permits_at_ms = UINT64_MAX;
}

static void shard_free(struct shard *s)
{
	s->live = false;
	purges_free(s);
	conns_free(s);
	sessions_free(s);
	if (s->audit)
		audit_free(s->audit);
	s->audit = NULL;
	events_free(s);
	if (s->calls) {
		calls_changed(s);
		calls_run(s);
		calls_free(s->calls);
		directory_free(s->directory);
	}
	streams_free(s);
	free(s->committed);
	deliver_free(s);
	if (s->log)
		log_close(s->log);
	s->log = NULL;
	desk_free(s); /* the last that may have something under way: files that go to sockets stay open until here */
	if (s->tasks)
		tasks_free(s->tasks);
	if (s->types)
		types_free(s->types);
	if (s->schedules)
		schedules_free(s->schedules);
	if (s->redrives)
		redrives_free(s->redrives);
	if (s->blocks)
		blocks_free(s->blocks);
	tls_ctx_unref(s->tls);
	free(s->tls_room);
	buf_free(&s->spare_in);
	if (s->access)
		access_free(s->access);
	confirms_free(s);
	free(s->watches);
	door_free(s->door);
	free(s->usages); /* empty: the sessions are gone */
	free(s);
}

void shard_set_tls(struct shard *s, struct tls_ctx *tls)
{
	tls_ctx_unref(s->tls);
	s->tls = tls_ctx_ref(tls);
	if (!s->tls_room)
		s->tls_room = zalloc(TLS_RECORD_BYTES);
	conn_tls_reloaded(s);
}

static bool url_is_local(const char *url)
{
	static const char *const good[] = { "unix://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:", "tls://127.", "tls://localhost:",
					    "tls://[::1]:" };
	for (size_t i = 0; i < COUNT_OF(good); i++)
		if (strncmp(url, good[i], strlen(good[i])) == 0)
			return true;
	return false;
}

static enum err listen_all(struct shard *s, char text[256])
{
	if (s->config.tls)
		shard_set_tls(s, s->config.tls);
	s->config.tls = NULL;
	for (uint32_t i = 0; i < s->config.listen_count; i++) {
		uint16_t port = 0;
		if (!s->tls && strncmp(s->config.listen[i], "tls://", 6) == 0) {
			(void)snprintf(text, 256, "cannot listen on %.180s without a certificate", s->config.listen[i]);
			return ERR_INVALID_INPUT;
		}
		if (access_is_open(s->access) && !s->config.open && !url_is_local(s->config.listen[i])) {
			(void)snprintf(text, 256, "%.100s is not this machine alone, and there is no principal yet: whoever gets there could do "
				       "everything; add one first, or set open", s->config.listen[i]);
			return ERR_INVALID_INPUT;
		}
		int res = s->io->v->listen(s->io, s->config.listen[i], &port);
		if (res != 0) {
			(void)snprintf(text, 256, "cannot listen on %.180s: %s", s->config.listen[i], strerror(-res));
			return ERR_UNAVAILABLE;
		}
		if (s->config.ports_out)
			s->config.ports_out[i] = port;
	}
	s->config.listen = NULL;
	if (access_is_open(s->access))
		shard_note(s, SHARD_WARN, "access", "open", "there is no principal: whoever reaches a listener may do everything; close it with "
			   "'hillock principal add NAME --admin'");
	return ERR_OK;
}

static void compact_timer(struct shard *s, struct timer *t)
{
	struct log_stats stats;
	log_get_stats(s->log, &stats);
	s->compact_again = s->compact_again || stats.batches != s->compact_batches;
	s->compact_batches = stats.batches;
	timer_set(s, t, s->now_ms + COMPACT_MS);
}

/* Without room for it the store goes on as it is: the next start tries again. */
static void propose_secret(struct shard *s)
{
	uint8_t random[16];
	s->io->v->random(s->io, random, sizeof random);
	if (!tasks_propose_secret(s->tasks, s->log, random))
		shard_note(s, SHARD_ERROR, "tasks", "secret", "the log has no room for the secret of this store: tried again at the next start");
	hold_urgent(s);
	memset(random, 0, sizeof random);
}

enum err shard_open(const struct shard_config *config, struct shard **out, char text[256])
{
	struct shard *s = zalloc(sizeof *s);
	s->config = *config;
	s->io = config->io;
	ENSURE(s->io != NULL);
	fill_defaults(&s->config);
	s->runnable_tail = &s->runnable;
	s->results_tail = &s->results;
	s->streaming_tail = &s->streaming;
	s->time_stale = true;
	shard_time(s);
	s->door = door_new(s);
	conn_init(s);
	sessions_init(s);
	s->events = events_new(s);
	s->directory = directory_new(s);
	s->calls = calls_new(s);
	open_tasks(s);
	enum err e = open_log(s, text);
	if (e != ERR_OK) {
		shard_free(s);
		return e;
	}
	if (s->config.blobs_open)
		e = s->config.blobs_open(s->config.ctx, log_store(s->log), &s->config.blobs, text);
	if (e != ERR_OK) {
		shard_free(s);
		return e;
	}
	struct log_stats stats;
	log_get_stats(s->log, &stats);
	s->epoch = (uint32_t)stats.term;
	s->wall_ms = MAX_OF(s->wall_ms, stats.time_ms);
	s->live = true;
	s->time_stale = true;
	shard_time(s);
	tasks_set_epoch(s->tasks, s->epoch);
	tasks_begin(s->tasks, s->wall_ms);
	propose_secret(s);
	e = desk_open(s, text);
	if (e != ERR_OK) {
		shard_free(s);
		return e;
	}
	s->compact.fire = compact_timer;
	timer_set(s, &s->compact, s->now_ms + COMPACT_MS);
	e = listen_all(s, text);
	if (e != ERR_OK) {
		shard_free(s);
		return e;
	}
	*out = s;
	return ERR_OK;
}

void shard_close(struct shard *s)
{
	shard_free(s);
}

/* ---- stop ---- */

void shard_stop(struct shard *s)
{
	if (s->stop != STOP_NOT)
		return;
	shard_time(s);
	sys_event(s, "broker.stopping", "\"node\":\"%s\"", s->config.node);
	s->stop = STOP_DRAIN;
	s->stop_at_ms = s->now_ms + s->config.stop_ms;
	s->io->v->stop_listening(s->io);
	for (struct conn *c = s->conns; c; c = c->next) {
		if (c->closing)
			continue;
		s->msg.kind = FRAME_GOODBYE;
		s->msg.goodbye = (struct msg_goodbye){ .code = ERR_UNAVAILABLE, .text = span_str("the broker is stopping"),
						       .retry_after_ms = s->config.stop_retry_ms };
		msg_encode(&c->out, &s->msg, 0, NULL, 0);
		conn_touch(c);
	}
}

/* One stage after the other; each waits for what the one before began. Clients that do not mind the goodbye keep the log
 * busy: when the time is over they are cut off, and what they had proposed is finished. */
static void stop_step(struct shard *s)
{
	if (s->stop != STOP_NOT && s->now_ms >= s->stop_at_ms && !s->stop_cut) {
		s->stop_cut = true;
		for (struct conn *c = s->conns; c; c = c->next)
			conn_abort(c, "the broker stops");
	}
	switch (s->stop) {
	case STOP_NOT:
	case STOP_DONE:
		return;
	case STOP_DRAIN:
		if (log_busy(s->log) || s->pending_count > 0)
			return;
		log_checkpoint_now(s->log);
		s->stop = STOP_CHECKPOINT;
		return;
	case STOP_CHECKPOINT:
		if (log_busy(s->log))
			return;
		for (struct conn *c = s->conns; c; c = c->next)
			conn_close(c);
		s->stop = STOP_CLOSE;
		return;
	case STOP_CLOSE:
		if (!s->conns && !log_busy(s->log))
			s->stop = STOP_DONE;
		return;
	}
}

bool shard_stopped(const struct shard *s)
{
	return s->stop == STOP_DONE;
}

/* ---- the turn ---- */

static uint64_t wait_until_ns(struct shard *s, bool more, uint64_t until_ns)
{
	if (more || s->stop == STOP_DONE)
		return 0;
	uint64_t ms = wheel_next_ms(s);
	if (s->stop != STOP_NOT)
		ms = MIN_OF(ms, s->now_ms + 20);
	ms = MIN_OF(ms, events_next_ms(s));
	if (s->outlets_broken > 0)
		ms = MIN_OF(ms, s->broken_retry_ms);
	ms = MIN_OF(ms, memory_retry_ms(s));
	ms = MIN_OF(ms, schedule_due_ms(s));
	ms = MIN_OF(ms, redrive_due_ms(s));
	ms = MIN_OF(ms, blocks_due_ms(s));
	uint64_t due = MIN_OF(tasks_next_ms(s->tasks), s->permits_at_ms); /* wall clock */
	if (due != UINT64_MAX)
		ms = MIN_OF(ms, due <= s->wall_ms ? s->now_ms : s->now_ms + (due - s->wall_ms));
	if (ms <= s->now_ms)
		return 0;
	uint64_t ns = ms >= UINT64_MAX / 1000000 ? UINT64_MAX : ms * 1000000;
	if (s->hold.until_ns != 0)
		ns = MIN_OF(ns, s->hold.until_ns);
	return MIN_OF(ns, until_ns);
}

static void answer_reads(struct shard *s)
{
	if (!s->fetched)
		return;
	s->fetched = false;
	results_fetched(s);
	streams_fetched(s);
}

void shard_turn_until(struct shard *s, uint64_t until_ns)
{
	uint64_t deadline = wait_until_ns(s, s->more, until_ns);
	s->time_stale = true;
	(void)io_reap(s->io, deadline);
	shard_time(s);
	s->counters.turns_total++;

	wheel_run(s);
	if (tasks_next_ms(s->tasks) <= s->wall_ms)
		tasks_tick(s->tasks, s->log, s->wall_ms);
	schedule_fire(s);
	redrive_run(s);
	blocks_expire(s);

	log_drive(s->log);              /* what is durable is applied and answered */
	hold_or_flush(s);               /* the next batch is on its way while we deliver */
	if (s->blocks_changed)
		blocks_enforce(s);
	if (s->permits_due || s->wall_ms >= s->permits_at_ms)
		permits_run(s);
	if (s->queues_changed)
		deliver_rebind(s);
	answer_reads(s);
	deliver_retry(s);
	s->more = deliver_run(s);
	s->more = once_run(s) || s->more;
	s->more = streams_run(s) || s->more;
	s->more = results_run(s) || s->more;
	s->more = blobs_run(s) || s->more;
	s->more = purge_run(s) || s->more;
	s->more = events_run(s) || s->more;
	s->more = conn_tls_run(s) || s->more;
	memory_look(s);
	if (s->paused && memory_may_retry(s))
		conn_retry_paused(s);
	if (s->compact_again && s->stop == STOP_NOT) {
		s->compact_again = tasks_compact(s->tasks, s->log);
		s->more = s->more || (s->compact_again && !log_busy(s->log));
	}
	bindings_run(s);
	calls_run(s);
	directory_tell(s);
	stop_step(s);
	conn_flush_dirty(s);
	s->more = s->more || s->runnable; /* what was handed over made room */
	audit_run(s);
	if (s->buffer_bytes > s->config.memory_max + s->config.memory_max / 8)
		conn_shed(s);
	hold_or_flush(s);
}

/* ---- looking ---- */

struct tasks *shard_tasks(struct shard *s) { return s->tasks; }
struct log *shard_log(struct shard *s) { return s->log; }

void shard_counters_get(const struct shard *s, struct shard_counters *out)
{
	*out = s->counters;
	out->buffer_bytes = s->buffer_bytes;
	out->entries = s->directory->entry_count;
	out->calls_open = calls_open(s->calls);
	out->watches = s->watch_count + s->results_waiting;
}
