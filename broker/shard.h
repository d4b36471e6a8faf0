/* broker/shard.h: one shard: a ring, its connections, its log and the state applied from it. Everything hangs off
 * struct shard; there are no globals and no calls to the kernel but through struct io.
 *
 *   socket -> frame -> verify -> session -> route -> propose -> log append + sync -> commit -> apply -> deliver -> socket
 *
 *	while (!shard_stopped(shard))
 *		shard_turn(shard);           // waits inside, until something happens or a timer is due
 *	shard_close(shard);
 *
 * One thread owns a shard. */
#pragma once

#include "../storage/blob.h"
#include "../wire/tls.h"
#include "tasks.h"

struct shard;

enum shard_level { SHARD_ERROR, SHARD_WARN, SHARD_INFO, SHARD_DEBUG };

/* What the owner decides. 0 in a limit or a duration means the default in parentheses. Strings and arrays are borrowed until
 * shard_close, except the listen urls: until shard_open returns. */
struct shard_config {
	struct io *io;
	const char *node;             /* name in WELCOME and in the identity file of a new store ("hillock") */
	const char *broker;           /* what WELCOME says we are ("hillockd VERSION") */
	const char *const *listen;    /* urls, see io.h */
	uint32_t listen_count;
	struct tls_ctx *tls;          /* for tls:// urls; the shard takes a reference of its own; NULL = there are none */
	uint16_t *ports_out;          /* NULL, or room for listen_count: the port each listener got (0 for unix) */

	/* connections and sessions */
	uint32_t conns_max;           /* (10000) */
	uint32_t sessions_max;        /* live ones and those in grace (2 * conns_max) */
	uint64_t memory_max;          /* bytes in buffers of all connections (1 GiB) */
	uint64_t memory_cap, memory_base; /* of the process, see memory.h (0 = none); what it takes that the shard does not see */
	uint64_t out_buffer_soft;     /* no new deliveries to a connection with more behind what is being sent (1 MiB) */
	uint64_t out_buffer_max;      /* a slow reader is disconnected above this (64 MiB) */
	uint32_t handshake_ms;        /* (LIMIT_HANDSHAKE_MS) */
	uint32_t handshakes_max;      /* connections without a session; beyond, the oldest one goes (1024) */
	uint32_t address_conns_max;   /* connections of one source, see door.h (16384) */
	uint32_t address_rate;        /* new connections a second of one source ... (1000) */
	uint32_t address_burst;       /* ... after so many at once (20000) */
	/* of one principal, over all its sessions; 0 = no limit */
	uint32_t principal_sessions_max, principal_entries_max, principal_subscriptions_max;
	uint64_t principal_bytes_rate, principal_frames_rate; /* a second */
	uint64_t principal_queue_tasks_max, principal_queue_permille, principal_stored_bytes_max; /* see tasks_set_owner */
	uint32_t login_failures_max;  /* wrong credentials of one source before it has to wait (10) */
	uint32_t login_penalty_max_ms; /* how long at most (1 min) */
	uint32_t frame_ms;            /* a frame that was begun must be complete after this (30 s) */
	uint32_t heartbeat_ms;        /* silence longer than three of these is a lost peer (5 s) */
	uint32_t grace_ms;            /* how long a lost session can be resumed (30 s) */
	uint32_t lease_ms;            /* said in DELIVER where the queue has none (default 30 s) */
	uint32_t payload_max;         /* of one task, <= LIMIT_PAYLOAD_BYTES (LIMIT_PAYLOAD_BYTES) */
	uint32_t producer_window;     /* said in WELCOME (LIMIT_PRODUCER_WINDOW) */
	uint32_t watches_max;         /* results that sessions wait for (4 million) */
	uint32_t stop_retry_ms;       /* retry_after in GOODBYE when we stop (1 s) */
	uint32_t stop_ms;             /* how long a stop may take before connections are cut (5 s) */

	int64_t admin_uid;            /* this user administers the broker over unix sockets, like root; -1: neither does */
	bool open;                    /* listen everywhere though there is no principal: whoever gets there may do everything */
	uint64_t access_token_ms;     /* how long an access token is good (1 h) */

	/* log_config's values; io, node_name, ctx and callbacks are filled in by the shard */
	uint64_t segment_bytes, cache_bytes;
	uint32_t batch_bytes, reserve_segments;
	bool create, accept_loss;

	/* tasks_config's; epoch, seed and hooks are filled in. An unset queue default is an error of the caller. */
	struct tasks_config tasks;

	uint32_t blob_above;          /* said in WELCOME: larger payloads are to travel as blobs (256 KiB) */
	uint64_t blob_max;            /* bytes of one (64 GiB) */
	uint64_t blob_store_max;      /* bytes of all; 0 = no limit */
	uint64_t blob_principal_max;  /* bytes of all that one principal has uploaded; 0 = no limit */
	uint64_t blob_memory;         /* for bytes on their way in and out (16 MiB) */
	uint64_t blob_grace_ms;       /* how long one stays that nothing refers to (10 min) */
	uint32_t blob_uploads;        /* at a time (256) */
	uint32_t blob_session_uploads; /* of one session (16) */

	/* Where the bytes of blobs are. Set, or opened by blobs_open once the store is locked and known by its number; borrowed until
	 * shard_close. NULL from blobs_open: there are no blobs; NULL without it: they are files in the data directory. */
	struct blob_backend *blobs;

	void *ctx; /* of all callbacks below */
	/* ERR_OK, ERR_INVALID_INPUT (settings) or ERR_IO with text, which end shard_open. May be NULL. */
	enum err (*blobs_open)(void *ctx, uint64_t store, struct blob_backend **out, char text[256]);
	/* One event for the operator: module and event are literals, text is escaped where it came from a peer. May be NULL. */
	void (*note)(void *ctx, enum shard_level level, const char *module, const char *event, const char *text);
	/* Storage is lost or lies. Must not return. */
	void (*fatal)(void *ctx, const char *what, int errno_value);
	/* Certificates are read again (shard_set_tls). ERR_OK or why not; text for the operator in both cases. May be NULL. */
	enum err (*reload)(void *ctx, char text[256]);
	/* What this process has cost so far, for process_cpu_seconds_total and process_resident_bytes of shard_stats. May be NULL:
	 * then they are left out. */
	void (*process_stats)(void *ctx, double *cpu_seconds, double *resident_bytes);
};

/* Opens the store (blocks for recovery), then listens. ERR_* of log_open; ERR_UNAVAILABLE when an url cannot be listened on;
 * ERR_INVALID_INPUT for a config that cannot be. text says what and where. */
enum err shard_open(const struct shard_config *config, struct shard **out, char text[256]) MUST_CHECK;
/* One turn: reap (waits here) -> timers -> log -> deliver -> write. `until_ns` (monotonic, UINT64_MAX = none) bounds the wait, for
 * owners with timers of their own. */
void shard_turn_until(struct shard *s, uint64_t until_ns);
static inline void shard_turn(struct shard *s) { shard_turn_until(s, UINT64_MAX); }
/* Begins an orderly stop: no new connections, GOODBYE to all, no deliveries; what is in the log is finished and
 * checkpointed. Go on with shard_turn until shard_stopped. Not for signal handlers: there call io->v->wake and set a flag. */
void shard_stop(struct shard *s);
bool shard_stopped(const struct shard *s);
/* Frees everything. Connections still open are forgotten: free the io next, before any reap. */
void shard_close(struct shard *s);

/* New certificates: connections that come from now on get them, all others stay as they are. Takes a reference of its own. */
void shard_set_tls(struct shard *s, struct tls_ctx *tls);

/* ---- looking ---- */

struct shard_counters {
	uint64_t conns_slowed_total, principal_limits_total, memory_paused_total, memory_refused_total;
	uint64_t door_crowded_total, door_hasty_total, door_evicted_total, logins_failed_total, logins_held_total;
	uint64_t conns, conns_total, conns_refused_total, sessions, sessions_resumed_total, sessions_lost_total;
	uint64_t frames_in_total, bytes_in_total, bytes_out_total, frames_refused_total, handshakes_failed_total;
	uint64_t tls_handshakes_total, tls_resumed_total, tls_failed_total, tls_truncated_total, tls_distrusted_total;
	uint64_t conns_slow_total, conns_silent_total, conns_garbage_total;
	uint64_t buffer_bytes;             /* in all connections now */
	uint64_t submits_total, submits_refused_total, submits_paused_total;
	uint64_t delivered_total, deliver_frames_total, deliver_damaged_total;
	uint64_t reports_total, results_total, updates_total, updates_dropped_total, requests_total, watches, consumers, turns_total;
	uint64_t entries, calls_open;
	uint64_t calls_total, invokes_total, answers_total, answers_late_total, calls_timeout_total, calls_not_delivered_total;
};
void shard_counters_get(const struct shard *s, struct shard_counters *out);

/* Every figure of the shard, its log and its tasks, by name ("log_syncs_total"): what VERB_STATS answers and what metrics print. Names
 * end in _total where they only grow. Returns how many were written (at most max). Names are literals. */
struct shard_stat { const char *name; double value; };
enum { SHARD_STATS_MAX = 192 };
uint32_t shard_stats(struct shard *s, struct shard_stat *out, uint32_t max);

/* For those who print more than that (queues): borrowed until shard_close. */
struct tasks *shard_tasks(struct shard *s);
struct log *shard_log(struct shard *s);
