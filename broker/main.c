/* broker/main.c: hillockd: from the command line to a running shard and back.
 *
 *   arguments -> configuration -> data directory -> user -> shard -> listen -> sandbox -> turns -> drain -> checkpoint -> exit
 *
 * The only file of broker/ with state outside a struct: what a signal handler must reach.
 *
 * Exit codes are an interface (docs/operations.md): see enum exit_code in args.h. After "ready:" the only ways out are a signal (0) and
 * storage that failed (3). */
#include "args.h"
#include "backend.h"
#include "certs.h"
#include "host.h"
#include "note.h"
#include "offline.h"
#include "sandbox.h"
#include "shard.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

/* Files beside the connections: the log, the ring, listeners, standard streams. */
enum { FILES_BESIDE_CONNS = 256 };

/* A signal handler has no context argument. Set once before the handlers are installed; written by them afterwards. */
static struct {
	struct io *io;
	volatile sig_atomic_t stop, hangups;
} signals;

static void on_stop(int number)
{
	(void)number;
	int saved = errno;
	/* The next one is not asked to wait: its default action ends the process at once. */
	(void)signal(SIGTERM, SIG_DFL);
	(void)signal(SIGINT, SIG_DFL);
	signals.stop = 1;
	signals.io->v->wake(signals.io);
	errno = saved;
}

static void on_hangup(int number)
{
	(void)number;
	int saved = errno;
	signals.hangups = signals.hangups + 1;
	signals.io->v->wake(signals.io);
	errno = saved;
}

static void signals_install(struct io *io)
{
	signals.io = io;
	struct sigaction action = { .sa_handler = on_stop, .sa_flags = SA_RESTART };
	ENSURE(sigaction(SIGTERM, &action, NULL) == 0 && sigaction(SIGINT, &action, NULL) == 0);
	action.sa_handler = on_hangup;
	ENSURE(sigaction(SIGHUP, &action, NULL) == 0);
	action.sa_handler = SIG_IGN;
	ENSURE(sigaction(SIGPIPE, &action, NULL) == 0);
}

static uint64_t note_now(void *ctx)
{
	(void)ctx;
	return host_wall_ms();
}

static void note_out(void *ctx, const char *line, size_t len)
{
	(void)ctx;
	host_say(line, len);
}

/* ---- the commands that need no broker ---- */

static int run_offline(const struct args *args)
{
	char text[256];
	struct io_uring_config config = { .dir = args->dir, .conns_max = 1, .recv_buffers = 16, .recv_buffer_bytes = 1024 };
	struct io *io;
	if (io_uring_open(&config, &io, text) != 0) {
		(void)fprintf(stderr, "hillockd: %s\n", text);
		return EXIT_DATA;
	}
	enum err e = strcmp(args->command, "fsck") == 0 ? offline_fsck(io, stdout) : offline_dump(io, stdout);
	io->v->free(io);
	return e == ERR_OK ? EXIT_GOOD : EXIT_DATA;
}

/* ---- the broker ---- */

struct process {
	struct note note;
	int statm;        /* from host_open_statm */
	const struct config *config;
	struct shard *shard; /* NULL until it is open */
	struct io *io;
	struct blob_backend *blobs; /* NULL = none */
	uint64_t store;      /* number of the store */
};

static void shard_note(void *ctx, enum shard_level level, const char *module, const char *event, const char *text)
{
	_Static_assert((int)SHARD_ERROR == (int)NOTE_ERROR && (int)SHARD_DEBUG == (int)NOTE_DEBUG, "same levels");
	note_line(&((struct process *)ctx)->note, (enum note_level)level, module, event, text);
}

__attribute__((noreturn)) static void shard_fatal(void *ctx, const char *what, int errno_value)
{
	NOTE(&((struct process *)ctx)->note, NOTE_ERROR, "storage", "failed", NOTE_STR("what", what),
	     NOTE_STR("error", strerror(errno_value < 0 ? -errno_value : errno_value)));
	/* No clean-up: whatever runs from here on could only make a lie of what is on disk. */
	_exit(EXIT_STORAGE);
}

/* Certificates and whom to trust; every other setting is as of the start. What is no good changes nothing. */
static enum err reload(void *ctx, char text[256])
{
	struct process *p = ctx;
	struct tls_ctx *tls;
	(void)snprintf(text, 256, "no certificate is configured: there is nothing to reload");
	enum err e = certs_load(p->config, &tls, text);
	if (tls) {
		shard_set_tls(p->shard, tls);
		(void)snprintf(text, 256, "certificates were read again; connections stay, but for those whose certificates are not trusted any more");
		tls_ctx_unref(tls);
	}
	if (e == ERR_OK)
		NOTE(&p->note, NOTE_INFO, "tls", "reloaded", NOTE_STR("text", text));
	else
		NOTE(&p->note, NOTE_ERROR, "tls", "kept", NOTE_STR("why", text), NOTE_STR("text", "the certificates of before stay in use"));
	return e;
}

static enum err open_blobs(void *ctx, uint64_t store, struct blob_backend **out, char text[256])
{
	struct process *p = ctx;
	enum err e = backend_open(p->config, p->io, &p->blobs, text);
	p->store = store;
	*out = p->blobs;
	return e;
}

static void close_blobs(struct process *p)
{
	if (p->blobs)
		p->blobs->v->free(p->blobs);
	p->blobs = NULL;
}

static void shard_cost(void *ctx, double *cpu_seconds, double *resident_bytes)
{
	struct host_cost cost;
	host_get_cost(((const struct process *)ctx)->statm, &cost);
	*cpu_seconds = cost.cpu_seconds;
	*resident_bytes = (double)cost.resident_bytes;
}

static struct tasks_config tasks_config_of(const struct config *c)
{
	return (struct tasks_config){
		.queues_max = (uint32_t)c->queues_max,
		.producers_max = (uint32_t)c->producers_max,
		.keys_max = (uint32_t)c->keys_max,
		.recent_max = (uint32_t)c->recent_max,
		.retained_max = (uint32_t)c->retained_max,
		.producer_idle_ms = c->producer_idle_ms,
		.key_window_ms = c->key_window_ms,
		.cancel_grace_ms = c->cancel_grace_ms,
		.auto_create = c->auto_create != 0,
		.defaults = {
			.length_max = (int64_t)c->queue_length_max,
			.max_attempts = (int64_t)c->queue_max_attempts,
			.lease_ms = (int64_t)c->queue_lease_ms,
			.backoff_min_ms = (int64_t)c->queue_backoff_min_ms,
			.backoff_max_ms = (int64_t)c->queue_backoff_max_ms,
			.expires_ms = (int64_t)c->queue_expires_ms,
			.retention_ms = (int64_t)c->queue_retention_ms,
		},
	};
}

static struct shard_config shard_config_of(const struct args *args, struct io *io, struct process *process, uint16_t *ports)
{
	const struct config *c = &args->config;
	return (struct shard_config){
		.io = io,
		.node = c->node,
		.broker = "hillockd " HILLOCK_VERSION,
		.listen = (const char *const *)c->listen,
		.listen_count = c->listen_count,
		.ports_out = ports,
		.conns_max = (uint32_t)c->conns_max,
		.sessions_max = (uint32_t)c->sessions_max,
		.memory_max = c->buffers_max_bytes,
		.memory_cap = c->memory_cap_bytes,
		.memory_base = config_memory_base(c),
		.out_buffer_soft = c->conn_out_soft_bytes,
		.out_buffer_max = c->conn_out_max_bytes,
		.principal_sessions_max = (uint32_t)c->principal_sessions_max,
		.principal_entries_max = (uint32_t)c->principal_entries_max,
		.principal_subscriptions_max = (uint32_t)c->principal_subscriptions_max,
		.principal_bytes_rate = c->principal_bytes_rate,
		.principal_frames_rate = c->principal_frames_rate,
		.principal_queue_tasks_max = c->principal_queue_tasks_max,
		.principal_queue_permille = c->principal_queue_permille,
		.principal_stored_bytes_max = c->principal_stored_bytes_max,
		.handshakes_max = (uint32_t)c->handshakes_max,
		.address_conns_max = (uint32_t)c->address_conns_max,
		.address_rate = (uint32_t)c->address_rate,
		.address_burst = (uint32_t)c->address_burst,
		.login_failures_max = (uint32_t)c->login_failures_max,
		.login_penalty_max_ms = (uint32_t)c->login_penalty_max_ms,
		.frame_ms = (uint32_t)c->frame_timeout_ms,
		.heartbeat_ms = (uint32_t)c->heartbeat_ms,
		.grace_ms = (uint32_t)c->session_grace_ms,
		.lease_ms = (uint32_t)MIN_OF(c->queue_lease_ms, UINT32_MAX),
		.payload_max = (uint32_t)c->payload_max_bytes,
		.producer_window = (uint32_t)c->producer_window,
		.watches_max = (uint32_t)c->watches_max,
		.stop_ms = (uint32_t)c->stop_timeout_ms,
		.admin_uid = c->local_admin ? (int64_t)geteuid() : -1,
		.open = c->open != 0,
		.access_token_ms = c->access_token_ms,
		.segment_bytes = c->segment_bytes,
		.cache_bytes = c->cache_bytes,
		.batch_bytes = (uint32_t)c->batch_bytes,
		.reserve_segments = (uint32_t)c->reserve_segments,
		.blob_above = (uint32_t)c->blob_threshold_bytes,
		.blob_max = c->blob_max_bytes,
		.blob_store_max = c->blob_store_max_bytes,
		.blob_principal_max = c->blob_principal_max_bytes,
		.blob_memory = c->blob_memory_bytes,
		.blob_grace_ms = c->blob_grace_ms,
		.blob_uploads = (uint32_t)c->blob_uploads,
		.blob_session_uploads = (uint32_t)c->blob_session_uploads,
		.create = true,
		.accept_loss = args->accept_loss,
		.tasks = tasks_config_of(c),
		.ctx = process,
		.note = shard_note,
		.fatal = shard_fatal,
		.process_stats = shard_cost,
		.reload = reload,
		.blobs_open = open_blobs,
	};
}

/* "ready: listening on URL", one line each, with the port that was given: scripts wait for it. */
static void say_ready(const struct config *c, const uint16_t *ports)
{
	for (uint32_t i = 0; i < c->listen_count; i++) {
		const char *url = c->listen[i], *colon = strrchr(url, ':');
		char line[LIMIT_TEXT_BYTES + 64];
		int len = ports[i] != 0 && colon
				  ? snprintf(line, sizeof line, "ready: listening on %.*s:%u\n", (int)(colon - url), url, ports[i])
				  : snprintf(line, sizeof line, "ready: listening on %s\n", url);
		ENSURE(len > 0 && len < (int)sizeof line);
		host_say(line, (size_t)len);
	}
	host_notify("READY=1");
}

static void run_turns(struct process *p)
{
	struct shard *shard = p->shard;
	struct note *note = &p->note;
	char text[256];
	bool stopping = false;
	sig_atomic_t hangups = 0;
	while (!shard_stopped(shard)) {
		if (signals.stop && !stopping) {
			stopping = true;
			NOTE(note, NOTE_INFO, "main", "stopping", NOTE_STR("why", "signal"));
			host_notify("STOPPING=1");
			shard_stop(shard);
		}
		if (signals.hangups != hangups) {
			hangups = signals.hangups;
			(void)reload(p, text); /* has been told */
		}
		shard_turn(shard);
	}
}

/* Who we are and what others may see of us, before anything is read. EXIT_GOOD, or the exit code and a line that says why. */
static int prepare(const struct config *c, struct process *p)
{
	char text[256];
	if (host_make_dir(c->data, text) != ERR_OK) {
		NOTE(&p->note, NOTE_ERROR, "main", "refused", NOTE_STR("text", text));
		return EXIT_DATA;
	}
	uint64_t files = host_raise_files(c->conns_max + FILES_BESIDE_CONNS);
	if (files < c->conns_max + FILES_BESIDE_CONNS)
		NOTE(&p->note, NOTE_WARN, "main", "few_files", NOTE_U64("limit", files), NOTE_U64("conns_max", c->conns_max));
	p->statm = host_open_statm();
	if (c->user[0] && sandbox_become_user(c->user, c->data, text) != ERR_OK) {
		NOTE(&p->note, NOTE_ERROR, "main", "refused", NOTE_STR("text", text));
		return EXIT_USAGE;
	}
	if (sandbox_is_root())
		NOTE(&p->note, NOTE_WARN, "main", "root", NOTE_STR("text", "running as root; set user, or start it as a user of its own"));
	if (!c->core_dumps) /* behind the change of user, which undoes it */
		sandbox_no_dumps();
	return EXIT_GOOD;
}

/* Gives up what is not needed once everything is open. False: that failed, and the line that says why was written. */
static bool confine(const struct config *c, struct note *note)
{
	const char *const certs[] = { c->tls_cert, c->tls_key, c->tls_ca, c->tls_crl, c->tls_ocsp };
	struct sandbox_path paths[4 + COUNT_OF(certs) + CONFIG_LISTEN_MAX + BACKEND_PATHS] = { { c->data, SANDBOX_WRITE },
												  { "/dev/null", SANDBOX_READ } };
	char dirs[COUNT_OF(certs) + CONFIG_LISTEN_MAX][LIMIT_TEXT_BYTES], blob_dirs[2][LIMIT_TEXT_BYTES], text[256];
	uint32_t count = 2;
	if (!c->sandbox) {
		NOTE(note, NOTE_WARN, "main", "no_sandbox", NOTE_STR("text", "switched off in the configuration"));
		return true;
	}
#ifdef HILLOCK_SANITIZED /* the sanitizers look for leaks through it */
	paths[count++] = (struct sandbox_path){ "/proc", SANDBOX_READ };
#endif
	/* Their directories: what a reload reads is another file of the same name. wolfSSL reads random bytes there. */
	for (uint32_t i = 0; i < COUNT_OF(certs); i++) {
		char *dir = dirs[CONFIG_LISTEN_MAX + i];
		if (!certs[i][0])
			continue;
		backend_dir_of(certs[i], dir);
		paths[count++] = (struct sandbox_path){ dir, SANDBOX_READ };
	}
	if (c->tls_cert[0])
		paths[count++] = (struct sandbox_path){ "/dev/urandom", SANDBOX_READ };
	for (uint32_t i = 0; i < c->listen_count; i++) {
		if (strncmp(c->listen[i], "unix://", 7) != 0)
			continue;
		backend_dir_of(c->listen[i] + strlen("unix://"), dirs[i]);
		paths[count++] = (struct sandbox_path){ dirs[i], SANDBOX_SOCKETS };
	}
	count += backend_paths(c, blob_dirs, paths + count);
	enum err e = sandbox_confine(paths, count, c->blob_backend == CONFIG_BLOBS_S3, text);
	if (e == ERR_OK)
		return true;
	NOTE(note, e == ERR_UNSUPPORTED ? NOTE_WARN : NOTE_ERROR, "main", "no_sandbox", NOTE_STR("text", text));
	return e == ERR_UNSUPPORTED;
}

static bool start_blobs(struct process *p)
{
	char text[256];
	enum err e = backend_start(p->config, p->blobs, p->store, text);
	if (e != ERR_OK)
		NOTE(&p->note, NOTE_ERROR, "blobs", "refused", NOTE_STR("text", text));
	else
		NOTE(&p->note, NOTE_INFO, "blobs", "ready", NOTE_STR("backend", p->blobs ? p->blobs->v->name : "none"));
	return e == ERR_OK;
}

static int run_broker(const struct args *args)
{
	const struct config *c = &args->config;
	char text[256];
	struct process process = { .statm = -1, .config = c };
	struct io *io;
	struct note *note = &process.note;
	struct note_config note_config = { .level = (enum note_level)c->log_level, .wall_ms = note_now, .write = note_out };
	note_init(note, &note_config);
	int code = prepare(c, &process);
	if (code != EXIT_GOOD)
		return code;
	struct io_uring_config io_config = { .dir = c->data,
					     .conns_max = (uint32_t)c->conns_max,
					     .recv_buffers = (uint32_t)c->recv_buffers,
					     .recv_buffer_bytes = (uint32_t)c->recv_buffer_bytes,
					     .spin_us = (uint32_t)c->spin_us };
	if (io_uring_open(&io_config, &io, text) != 0) {
		NOTE(note, NOTE_ERROR, "main", "refused", NOTE_STR("text", text));
		return EXIT_DATA;
	}
	uint16_t ports[CONFIG_LISTEN_MAX] = { 0 };
	process.io = io;
	struct shard_config config = shard_config_of(args, io, &process, ports);
	tls_heap_limit(c->tls_memory_max_bytes);
	if (certs_load(c, &config.tls, text) != ERR_OK) {
		NOTE(note, NOTE_ERROR, "tls", "refused", NOTE_STR("text", text));
		io->v->free(io);
		return EXIT_USAGE;
	}
	if (config.tls)
		NOTE(note, NOTE_INFO, "tls", "ready", NOTE_STR("engine", tls_engine()));
	struct tls_ctx *tls = config.tls;
	struct shard *shard;
	/* Before recovery, so that a stop during a long one is not lost; it takes effect behind it. */
	signals_install(io);
	enum err e = shard_open(&config, &shard, text);
	tls_ctx_unref(tls);
	if (e != ERR_OK) {
		NOTE(note, NOTE_ERROR, "main", "refused", NOTE_STR("code", err_name(e)), NOTE_STR("text", text));
		close_blobs(&process);
		io->v->free(io);
		return e == ERR_UNAVAILABLE || e == ERR_INVALID_INPUT ? EXIT_USAGE : EXIT_DATA;
	}
	if (confine(c, note) && start_blobs(&process)) {
		say_ready(c, ports);
	} else {
		code = EXIT_USAGE;
		shard_stop(shard);
	}
	process.shard = shard;
	run_turns(&process);
	shard_close(shard);
	close_blobs(&process);
	/* The handlers must not find a freed io. */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	io->v->free(io);
	NOTE(note, NOTE_INFO, "main", "stopped", NOTE_STR("data", c->data));
	return code;
}

int main(int argc, char **argv)
{
	struct args args;
	int code = EXIT_GOOD;
	host_standard_streams();
	if (!args_parse(&args, argc, argv, &code)) {
		args_free(&args);
		return code;
	}
	if (args.command)
		code = run_offline(&args);
	else if (args.print_config)
		config_print(&args.config, stdout);
	else if (args.check_config)
		(void)puts("the settings are valid");
	else
		code = run_broker(&args);
	args_free(&args);
	return code;
}
