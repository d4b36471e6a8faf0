/* broker/config.h: everything an operator may set, in one struct, filled from defaults, then a file, then the
 * command line. One table in config.c describes every key; it parses, checks and prints the manual.
 *
 * A mistake is a start error that names the file and the line; nothing is ever silently corrected. */
#pragma once

#include "../wire/err.h"
#include "../wire/limits.h"
#include "../wire/span.h"
#include "../wire/tls.h"

enum { CONFIG_LISTEN_MAX = 16, CONFIG_KEYS_MAX = 128, CONFIG_TEXT = 512 };

enum config_blobs { CONFIG_BLOBS_LOCAL, CONFIG_BLOBS_S3, CONFIG_BLOBS_NONE };

/* Durations are milliseconds unless the name says otherwise, sizes are bytes, 0 is "no limit" only where the
 * manual (hillockd --print-config) says so. */
struct config {
	/* who and where; owned by this struct */
	char *node, *data, *user; /* user: "" = stay who we are */
	char *listen[CONFIG_LISTEN_MAX];
	uint32_t listen_count;
	char *tls_cert, *tls_key, *tls_ca, *tls_crl, *tls_ocsp; /* files; "" = none */
	uint64_t tls_verify; /* enum tls_verify */
	uint64_t tls_memory_max_bytes;
	uint64_t log_level; /* enum note_level */
	uint64_t sandbox, core_dumps; /* bool */
	uint64_t open, local_admin; /* bool */
	uint64_t access_token_ms;

	/* sessions */
	uint64_t principal_sessions_max, principal_entries_max, principal_subscriptions_max;
	uint64_t principal_bytes_rate, principal_frames_rate;
	uint64_t principal_queue_tasks_max, principal_queue_permille, principal_stored_bytes_max;
	uint64_t handshakes_max, address_conns_max, address_rate, address_burst, login_failures_max, login_penalty_max_ms;
	uint64_t conns_max, sessions_max, heartbeat_ms, session_grace_ms, frame_timeout_ms;
	uint64_t payload_max_bytes, producer_window, watches_max;
	uint64_t memory_cap_bytes;
	uint64_t conn_out_soft_bytes, conn_out_max_bytes, buffers_max_bytes;

	/* tasks */
	uint64_t queues_max, producers_max, keys_max, recent_max, retained_max;
	uint64_t producer_idle_ms, key_window_ms, cancel_grace_ms;
	uint64_t auto_create; /* bool */
	uint64_t queue_length_max, queue_max_attempts, queue_lease_ms, queue_backoff_min_ms, queue_backoff_max_ms;
	uint64_t queue_expires_ms, queue_retention_ms;

	/* blobs */
	uint64_t blob_backend;  /* enum config_blobs */
	uint64_t blob_s3_style; /* bool: the bucket is in the host's name */
	char *blob_s3_endpoint, *blob_s3_region, *blob_s3_bucket, *blob_s3_prefix, *blob_s3_credentials, *blob_s3_ca; /* "" = none */
	uint64_t blob_threshold_bytes, blob_max_bytes, blob_store_max_bytes, blob_principal_max_bytes, blob_memory_bytes, blob_grace_ms;
	uint64_t blob_uploads, blob_session_uploads;

	/* storage and the loop */
	uint64_t segment_bytes, batch_bytes, cache_bytes, reserve_segments;
	uint64_t recv_buffers, recv_buffer_bytes, spin_us, stop_timeout_ms;

	/* The line of the file where each key of the table was set; 0 = not in the file. */
	uint32_t lines[CONFIG_KEYS_MAX];
	const char *file; /* borrowed from config_read; NULL = none was read */
};

/* Fills *c with the defaults of the table. Free with config_free. */
void config_init(struct config *c);
void config_free(struct config *c);

enum { CONFIG_FILE_BYTES_MAX = 1 << 20 };

/* Reads the content of a file over what is there. ERR_INVALID_INPUT: unknown key, bad value or unit, out of range, set twice,
 * or bad syntax; text is "FILE:LINE: what". Keeps `file`, the name for these texts, borrowed in c->file. */
enum err config_read(struct config *c, const char *file, struct span content, char text[CONFIG_TEXT]) MUST_CHECK;

/* Sets one key from the command line. For `listen` the first call replaces what was there when `replace` is true. */
enum err config_set(struct config *c, const char *key, const char *value, bool replace, char text[CONFIG_TEXT]) MUST_CHECK;

/* What the process takes before anybody has come: its buffers for receiving, batches under way, code. */
uint64_t config_memory_base(const struct config *c);

/* Checks what concerns more than one key. Call it after the last change. */
enum err config_check(const struct config *c, char text[CONFIG_TEXT]) MUST_CHECK;

/* Writes a complete, commented config file with the values of *c: the manual. */
void config_print(const struct config *c, FILE *out);
