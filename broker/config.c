/* broker/config.c: the one table of settings, and the three ways to fill it: defaults, a file (libconfuse), the command line.
 *
 * In the flow: before it. main.c reads the configuration once and hands plain numbers to the shard.
 *
 * Invariants
 *  1. Every key is one row of `keys`: its name, type, bounds, default and manual text cannot drift apart.
 *  2. A value outside its row's bounds never gets into struct config; relations between keys are in config_check.
 *  3. What config_print writes, config_read reads back to the same struct (a test holds it to that). */
#include "config.h"

#include "config_value.h"
#include "note.h"

#include <confuse.h>

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define SECOND 1000ull
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define AT(field) offsetof(struct config, field)

struct key {
	const char *name;
	enum config_type type;
	size_t at;              /* of a uint64_t, a char * or the list in struct config */
	uint64_t min, max, def; /* numbers */
	const char *def_text;   /* strings and lists; "" = may be empty */
	const char *doc;        /* lines of the manual; the first one is a summary */
};

static const struct key keys[] = {
	{ "node", CONFIG_STRING, AT(node), 0, 0, 0, "hillock",
	  "Name of this node. Written into a new data directory; clients see it." },
	{ "data", CONFIG_STRING, AT(data), 0, 0, 0, "/var/lib/hillock",
	  "Data directory. Made (mode 0700) where it does not exist; one process at a time may use it." },
	{ "listen", CONFIG_LIST, AT(listen), 0, 0, 0, "tcp://127.0.0.1:4333",
	  "Where clients dial: tcp://HOST:PORT, tcp://[V6]:PORT (port 0 = any), the same with tls://, and unix://PATH.\n"
	  "While there is no principal everybody who gets here may do everything: then only loopback and unix sockets are taken." },
	{ "log_level", CONFIG_LEVEL, AT(log_level), 0, NOTE_LEVELS - 1, NOTE_INFO, NULL,
	  "Lines above this level are not written to standard error." },

	{ "user", CONFIG_STRING, AT(user), 0, 0, 0, "",
	  "Started as root, become this user once the data directory is made; empty: stay who we are." },
	{ "sandbox", CONFIG_BOOL, AT(sandbox), 0, 1, 1, NULL,
	  "Give up, once ready, all of the file system but the data directory, and binding and dialling addresses (Landlock)." },
	{ "core_dumps", CONFIG_BOOL, AT(core_dumps), 0, 1, 0, NULL,
	  "Allow core files and debuggers. Tasks, tokens and keys are in this process's memory." },

	{ "tls_cert", CONFIG_STRING, AT(tls_cert), 0, 0, 0, "",
	  "For tls:// addresses: a PEM file with this node's certificate and behind it those that lead to its CA.\n"
	  "This and the four files below are read again on SIGHUP and by 'hillock node reload'." },
	{ "tls_key", CONFIG_STRING, AT(tls_key), 0, 0, 0, "",
	  "The private key of tls_cert, PEM, without a passphrase." },
	{ "tls_ca", CONFIG_STRING, AT(tls_ca), 0, 0, 0, "",
	  "PEM file with the CAs whose certificates clients may show." },
	{ "tls_crl", CONFIG_STRING, AT(tls_crl), 0, 0, 0, "",
	  "PEM file with revocation lists: a list of every CA in the chain of a client, and the certificate of every CA\n"
	  "that signed one in tls_ca. A list that has expired refuses everybody." },
	{ "tls_ocsp", CONFIG_STRING, AT(tls_ocsp), 0, 0, 0, "",
	  "DER file with the answer of an OCSP responder about tls_cert; it is shown to clients that ask for it. The CA that\n"
	  "issued tls_cert must be in tls_ca." },
	{ "tls_verify", CONFIG_VERIFY, AT(tls_verify), 0, TLS_VERIFY_REQUIRED, TLS_VERIFY_NONE, NULL,
	  "Certificates of clients: none asks for none, optional checks what is shown, required refuses who shows none." },
	{ "tls_memory_max", CONFIG_SIZE, AT(tls_memory_max_bytes), 16 * MIB, 1024 * GIB, GIB, NULL,
	  "Memory of all TLS sessions together; those in their handshake get seven eighths of it." },
	{ "open", CONFIG_BOOL, AT(open), 0, 1, 0, NULL,
	  "Listen on any address though there is no principal yet. Whoever reaches it may do everything." },
	{ "local_admin", CONFIG_BOOL, AT(local_admin), 0, 1, 1, NULL,
	  "root and the broker's own user, over a unix socket, administer the broker without further credentials." },
	{ "access_token", CONFIG_MS, AT(access_token_ms), 10 * SECOND, 30 * DAY, HOUR, NULL,
	  "How long an access token is good, at most. Clients renew theirs before that." },

	{ "conns_max", CONFIG_INT, AT(conns_max), 1, 1000000, 16384, NULL,
	  "Connections at a time; more are closed at once. The limit of open files is raised to fit." },
	{ "sessions_max", CONFIG_INT, AT(sessions_max), 1, 2000000, 32768, NULL,
	  "Sessions at a time: those with a connection, and those that may still come back." },
	{ "principal_sessions_max", CONFIG_INT, AT(principal_sessions_max), 0, 1000000, 0, NULL,
	  "Sessions of one principal, live ones and those that may still come back; more are refused. 0 = no limit." },
	{ "principal_entries_max", CONFIG_INT, AT(principal_entries_max), 0, 1000000, 0, NULL,
	  "Entries that all sessions of one principal serve together. 0 = no limit." },
	{ "principal_subscriptions_max", CONFIG_INT, AT(principal_subscriptions_max), 0, 1000000, 0, NULL,
	  "Subscriptions of all sessions of one principal together. 0 = no limit." },
	{ "principal_bytes_rate", CONFIG_SIZE, AT(principal_bytes_rate), 0, 1024 * GIB, 0, NULL,
	  "Bytes a second that one principal may send, over all its sessions; beyond, it is read more slowly. 0 = no limit." },
	{ "principal_frames_rate", CONFIG_INT, AT(principal_frames_rate), 0, 1ull << 32, 0, NULL,
	  "Frames a second, likewise." },
	{ "principal_queue_tasks_max", CONFIG_INT, AT(principal_queue_tasks_max), 0, 1ull << 40, 0, NULL,
	  "Tasks of one principal that are not settled, in each queue; more are refused with RESOURCE_EXHAUSTED. 0 = no limit." },
	{ "principal_queue_permille", CONFIG_INT, AT(principal_queue_permille), 0, 1000, 0, NULL,
	  "The same as a part (of a thousand) of the queue's length_max; no limit where that has none. 0 = no limit." },
	{ "principal_stored_bytes_max", CONFIG_SIZE, AT(principal_stored_bytes_max), 0, 1024 * 1024 * GIB, 0, NULL,
	  "Bytes of tasks and kept results of one principal; submissions beyond are refused. 0 = no limit." },
	{ "handshakes_max", CONFIG_INT, AT(handshakes_max), 16, 1000000, 1024, NULL,
	  "Connections that are not sessions yet. One more costs the oldest of them its place." },
	{ "address_conns_max", CONFIG_INT, AT(address_conns_max), 1, 1000000, 16384, NULL,
	  "Connections from one address (of IPv6: one /64 network); more are closed at once." },
	{ "address_rate", CONFIG_INT, AT(address_rate), 1, 1000000, 1000, NULL,
	  "New connections a second from one address, after address_burst at once; more are closed at once." },
	{ "address_burst", CONFIG_INT, AT(address_burst), 1, 1000000, 20000, NULL,
	  "New connections at once from one address that has been quiet." },
	{ "login_failures_max", CONFIG_INT, AT(login_failures_max), 1, 1000000, 10, NULL,
	  "Wrong credentials from one address after which it has to wait: half a second, a second, two ..." },
	{ "login_penalty_max", CONFIG_MS, AT(login_penalty_max_ms), SECOND, DAY, MINUTE, NULL,
	  "... but never longer than this, which is also how long it takes until one of them is forgotten." },
	{ "heartbeat", CONFIG_MS, AT(heartbeat_ms), 100, HOUR, 5 * SECOND, NULL,
	  "A peer that was silent for this long is asked; silent for three times this, it is lost." },
	{ "session_grace", CONFIG_MS, AT(session_grace_ms), 1, DAY, 30 * SECOND, NULL,
	  "How long a session that lost its connection keeps its leases, so that its client can come back for them." },
	{ "frame_timeout", CONFIG_MS, AT(frame_timeout_ms), 100, HOUR, 30 * SECOND, NULL,
	  "A frame that was begun must be complete after this, or the connection is closed." },
	{ "payload_max", CONFIG_SIZE, AT(payload_max_bytes), 1, LIMIT_PAYLOAD_BYTES, LIMIT_PAYLOAD_BYTES, NULL,
	  "Largest payload or result of one task." },
	{ "producer_window", CONFIG_INT, AT(producer_window), 1, LIMIT_PRODUCER_WINDOW, LIMIT_PRODUCER_WINDOW, NULL,
	  "Submissions a producer may have without an answer." },
	{ "watches_max", CONFIG_INT, AT(watches_max), 1, 100000000, 4000000, NULL,
	  "Results that all sessions together wait for." },
	{ "conn_out_soft", CONFIG_SIZE, AT(conn_out_soft_bytes), 64 * KIB, GIB, MIB, NULL,
	  "A connection with more than this waiting to be sent, beside what is being sent, gets no new tasks." },
	{ "conn_out_max", CONFIG_SIZE, AT(conn_out_max_bytes), 64 * KIB, 4 * GIB, 64 * MIB, NULL,
	  "A connection with more than this waiting to be sent is closed: its peer does not read." },
	{ "buffers_max", CONFIG_SIZE, AT(buffers_max_bytes), 16 * MIB, 1024 * GIB, GIB, NULL,
	  "Bytes in the buffers of all connections together. Above it submissions are refused with\n"
	  "RESOURCE_EXHAUSTED; an eighth above it the connection that holds most is closed." },

	{ "memory_cap", CONFIG_SIZE, AT(memory_cap_bytes), 0, 1024 * GIB, 0, NULL,
	  "Memory of the whole process. From three quarters of it caches shrink, from seven eighths new work is read more slowly,\n"
	  "near it new work is refused with RESOURCE_EXHAUSTED while tasks are settled. 0 = no cap." },

	{ "queues_max", CONFIG_INT, AT(queues_max), 1, 60000, 10000, NULL,
	  "Queues; slots of removed ones are used again only when all others are taken." },
	{ "auto_create", CONFIG_BOOL, AT(auto_create), 0, 1, 1, NULL,
	  "A submission to an unknown queue makes it (with the queue_ settings below); else it is refused." },
	{ "queue_length_max", CONFIG_INT, AT(queue_length_max), 0, 1ull << 40, 0, NULL,
	  "New queues: tasks that may wait; a submission beyond is refused with QUEUE_FULL. 0 = no limit." },
	{ "queue_max_attempts", CONFIG_INT, AT(queue_max_attempts), 0, 1000000, 5, NULL,
	  "New queues: failed attempts until a task becomes a dead letter. 0 = no limit." },
	{ "queue_lease", CONFIG_MS, AT(queue_lease_ms), 100, 365 * DAY, MINUTE, NULL,
	  "New queues: lease time that workers are told. Leases of live sessions renew themselves; a hard limit for one\n"
	  "attempt is the submitter's: hillock submit --execution." },
	{ "queue_backoff_min", CONFIG_MS, AT(queue_backoff_min_ms), 0, DAY, SECOND, NULL,
	  "New queues: delay before the first retry; it doubles with each failure, with jitter." },
	{ "queue_backoff_max", CONFIG_MS, AT(queue_backoff_max_ms), 0, 30 * DAY, 5 * MINUTE, NULL,
	  "New queues: longest delay before a retry." },
	{ "queue_expires", CONFIG_MS, AT(queue_expires_ms), 0, 3650 * DAY, 0, NULL,
	  "New queues: a task that was not handed out within this time expires. 0 = never." },
	{ "queue_retention", CONFIG_MS, AT(queue_retention_ms), 0, 3650 * DAY, 0, NULL,
	  "New queues: how long a settled task and its result are kept for those who ask later.\n"
	  "0 = only where the submitter wanted the result." },
	{ "producers_max", CONFIG_INT, AT(producers_max), 1, 10000000, 100000, NULL,
	  "Producers whose sequence numbers are remembered." },
	{ "producer_idle", CONFIG_MS, AT(producer_idle_ms), MINUTE, 365 * DAY, DAY, NULL,
	  "A producer's numbers are forgotten after this long without a submission." },
	{ "keys_max", CONFIG_INT, AT(keys_max), 1, 100000000, 1000000, NULL,
	  "Idempotency keys that are remembered. At the limit a submission with a new key is refused." },
	{ "key_window", CONFIG_MS, AT(key_window_ms), SECOND, 365 * DAY, DAY, NULL,
	  "How long an idempotency key stands for its task." },
	{ "recent_max", CONFIG_INT, AT(recent_max), 0, 10000000, 100000, NULL,
	  "Settled tasks without retention that 'hillock task show' still knows." },
	{ "retained_max", CONFIG_INT, AT(retained_max), 1, 100000000, 1000000, NULL,
	  "Settled tasks kept with their result; beyond it those that would end first go early." },
	{ "cancel_grace", CONFIG_MS, AT(cancel_grace_ms), 0, DAY, 30 * SECOND, NULL,
	  "A worker that does not answer a cancel within this time is overruled." },

	{ "blob_backend", CONFIG_BLOBS, AT(blob_backend), 0, CONFIG_BLOBS_NONE, CONFIG_BLOBS_LOCAL, NULL,
	  "Where the bytes of blobs are: local (blobs/ in the data directory), s3 (a bucket, see below), or none (there are no blobs).\n"
	  "A store keeps its blobs where they are: a change needs them copied first." },
	{ "blob_s3_endpoint", CONFIG_STRING, AT(blob_s3_endpoint), 0, 0, 0, "",
	  "http://HOST[:PORT] or https://HOST[:PORT] of the S3 service; empty: that of AWS for the region." },
	{ "blob_s3_region", CONFIG_STRING, AT(blob_s3_region), 0, 0, 0, "us-east-1",
	  "The region that requests are signed for." },
	{ "blob_s3_bucket", CONFIG_STRING, AT(blob_s3_bucket), 0, 0, 0, "",
	  "The bucket. It is not made: it must be there." },
	{ "blob_s3_prefix", CONFIG_STRING, AT(blob_s3_prefix), 0, 0, 0, "",
	  "Before every key; empty, or ends with a slash. Behind it comes the number of the store, so that brokers may share a bucket." },
	{ "blob_s3_style", CONFIG_STYLE, AT(blob_s3_style), 0, 1, 0, NULL,
	  "path: https://HOST/BUCKET/KEY; host: https://BUCKET.HOST/KEY." },
	{ "blob_s3_credentials", CONFIG_STRING, AT(blob_s3_credentials), 0, 0, 0, "",
	  "File with aws_access_key_id, aws_secret_access_key and, where there is one, aws_session_token; read again when S3 refuses\n"
	  "what was in it. Empty: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of the environment." },
	{ "blob_s3_ca", CONFIG_STRING, AT(blob_s3_ca), 0, 0, 0, "",
	  "PEM file with the CAs that the service's certificate may lead to; empty: those of the system." },
	{ "blob_threshold", CONFIG_SIZE, AT(blob_threshold_bytes), 1 * KIB, LIMIT_PAYLOAD_BYTES, 256 * KIB, NULL,
	  "Clients are told to send larger payloads and results as blobs. Queues may ask for less: inline_max." },
	{ "blob_max", CONFIG_SIZE, AT(blob_max_bytes), 1 * KIB, 1024 * 1024 * GIB, 64 * GIB, NULL,
	  "Size of one blob." },
	{ "blob_store_max", CONFIG_SIZE, AT(blob_store_max_bytes), 0, UINT64_MAX / 2, 0, NULL,
	  "All blobs together; 0: as much as there is room for." },
	{ "blob_principal_max", CONFIG_SIZE, AT(blob_principal_max_bytes), 0, UINT64_MAX / 2, 0, NULL,
	  "All blobs that one principal has uploaded; 0: no limit." },
	{ "blob_memory", CONFIG_SIZE, AT(blob_memory_bytes), 1 * MIB, 64 * GIB, 16 * MIB, NULL,
	  "Memory for bytes of blobs on their way in and out. Uploads get credit as far as it reaches." },
	{ "blob_grace", CONFIG_MS, AT(blob_grace_ms), 1 * SECOND, 365 * DAY, 10 * MINUTE, NULL,
	  "How long a blob stays that nothing refers to: longer than a client needs from its upload to its submission." },
	{ "blob_uploads", CONFIG_INT, AT(blob_uploads), 1, 65536, 256, NULL,
	  "Uploads at a time." },
	{ "blob_session_uploads", CONFIG_INT, AT(blob_session_uploads), 1, 65536, 16, NULL,
	  "The same, of one session." },

	{ "segment_size", CONFIG_SIZE, AT(segment_bytes), LIMIT_SEGMENT_BYTES_MIN, 4 * GIB, 64 * MIB, NULL,
	  "Size of one file of the log; a multiple of 4KiB, at least twice batch_size." },
	{ "batch_size", CONFIG_SIZE, AT(batch_bytes), 64 * KIB, LIMIT_BATCH_BYTES, LIMIT_BATCH_BYTES, NULL,
	  "Most bytes that one turn of the loop writes and syncs at once." },
	{ "cache_size", CONFIG_SIZE, AT(cache_bytes), 1 * MIB, 1024 * GIB, 64 * MIB, NULL,
	  "Memory for the recent end of the log and for what is read back from disk." },
	{ "reserve_segments", CONFIG_INT, AT(reserve_segments), 1, 1024, 2, NULL,
	  "Segments kept free for settling tasks when the disk fills up; new tasks are refused before that." },
	{ "recv_buffers", CONFIG_INT, AT(recv_buffers), 16, 32768, 1024, NULL,
	  "Buffers shared by all connections for receiving; a power of two." },
	{ "recv_buffer_size", CONFIG_SIZE, AT(recv_buffer_bytes), 1 * KIB, 1 * MIB, 16 * KIB, NULL,
	  "Size of one receive buffer." },
	{ "spin", CONFIG_US, AT(spin_us), 0, 10000, 50, NULL,
	  "How long the loop polls before it sleeps while work is under way. 0 saves power, more saves latency." },
	{ "stop_timeout", CONFIG_MS, AT(stop_timeout_ms), 1, HOUR, 5 * SECOND, NULL,
	  "On SIGTERM: how long saying goodbye and the last checkpoint may take before connections are cut." },
};
_Static_assert(COUNT_OF(keys) <= CONFIG_KEYS_MAX, "room for one line number per key");

static uint64_t *number_at(struct config *c, const struct key *k)
{
	return (uint64_t *)(void *)((char *)c + k->at);
}

static uint64_t number_of(const struct config *c, const struct key *k)
{
	return *(const uint64_t *)(const void *)((const char *)c + k->at);
}

static char **string_at(struct config *c, const struct key *k)
{
	return (char **)(void *)((char *)c + k->at);
}

static const char *string_of(const struct config *c, const struct key *k)
{
	return *(char *const *)(const void *)((const char *)c + k->at);
}

static bool is_number(const struct key *k)
{
	return k->type != CONFIG_STRING && k->type != CONFIG_LIST;
}

static char *copy_text(const char *from)
{
	char *copy = strdup(from);
	ENSURE(copy != NULL);
	return copy;
}

static const struct key *key_find(const char *name)
{
	for (size_t index = 0; index < COUNT_OF(keys); index++) {
		if (strcmp(keys[index].name, name) == 0)
			return &keys[index];
	}
	return NULL;
}

static void listen_clear(struct config *c)
{
	while (c->listen_count > 0)
		free(c->listen[--c->listen_count]);
}

/* What can be seen of an address without listening on it. */
static bool listen_ok(const char *url)
{
	enum { UNIX_PATH_MAX_LEN = 107 };
	if (strncmp(url, "unix://", 7) == 0)
		return url[7] != '\0' && strlen(url + 7) <= UNIX_PATH_MAX_LEN;
	const char *colon = strrchr(url, ':'); /* the port's: a V6 address is in brackets */
	bool known = strncmp(url, "tcp://", 6) == 0 || strncmp(url, "tls://", 6) == 0;
	if (!known || !colon || colon < url + 6)
		return false;
	size_t digits = strspn(colon + 1, "0123456789");
	return digits >= 1 && digits <= 5 && colon[1 + digits] == '\0' && strtoul(colon + 1, NULL, 10) <= UINT16_MAX;
}

/* A name goes into event lines and into a line of the file "identity". */
static bool node_ok(const char *name)
{
	if (name[0] == ' ')
		return false;
	for (; *name; name++)
		if ((uint8_t)*name < ' ' || *name == 0x7f)
			return false;
	return true;
}

static enum err set_text(struct config *c, const struct key *k, const char *value, char text[256])
{
	bool empty_ok = k->type == CONFIG_STRING && !k->def_text[0];
	if ((!value[0] && !empty_ok) || strlen(value) > LIMIT_TEXT_BYTES) {
		(void)snprintf(text, 256, "must be 1 to %d bytes long", (int)LIMIT_TEXT_BYTES);
		return ERR_INVALID_INPUT;
	}
	if (k->type == CONFIG_STRING) {
		free(*string_at(c, k));
		*string_at(c, k) = copy_text(value);
		return ERR_OK;
	}
	if (!listen_ok(value)) {
		(void)snprintf(text, 256, "'%.100s' is not tcp://HOST:PORT, tls://HOST:PORT or unix://PATH", value);
		return ERR_INVALID_INPUT;
	}
	if (c->listen_count == CONFIG_LISTEN_MAX) {
		(void)snprintf(text, 256, "at most %d addresses", (int)CONFIG_LISTEN_MAX);
		return ERR_INVALID_INPUT;
	}
	c->listen[c->listen_count++] = copy_text(value);
	return ERR_OK;
}

static enum err set_value(struct config *c, const struct key *k, const char *value, char text[256])
{
	if (!is_number(k))
		return set_text(c, k, value, text);
	uint64_t number;
	enum err e = config_value_parse(k->type, value, &number, text);
	if (e != ERR_OK)
		return e;
	if (number < k->min || number > k->max) {
		char min[32], max[32];
		config_value_format(k->type, k->min, min);
		config_value_format(k->type, k->max, max);
		(void)snprintf(text, 256, "'%.100s' is out of range: %s to %s", value, min, max);
		return ERR_INVALID_INPUT;
	}
	*number_at(c, k) = number;
	return ERR_OK;
}

void config_init(struct config *c)
{
	*c = (struct config){ .node = NULL };
	for (size_t index = 0; index < COUNT_OF(keys); index++) {
		const struct key *k = &keys[index];
		char text[256];
		if (is_number(k)) {
			ENSURE(k->def >= k->min && k->def <= k->max);
			*number_at(c, k) = k->def;
		} else {
			ENSURE(set_text(c, k, k->def_text, text) == ERR_OK);
		}
	}
}

void config_free(struct config *c)
{
	listen_clear(c);
	for (size_t index = 0; index < COUNT_OF(keys); index++) {
		if (keys[index].type == CONFIG_STRING)
			free(*string_at(c, &keys[index]));
	}
	*c = (struct config){ .node = NULL };
}

enum err config_set(struct config *c, const char *key, const char *value, bool replace, char text[CONFIG_TEXT])
{
	char why[256];
	const struct key *k = key_find(key);
	ENSURE(k != NULL);
	if (k->type == CONFIG_LIST && replace)
		listen_clear(c);
	enum err e = set_value(c, k, value, why);
	if (e != ERR_OK)
		(void)snprintf(text, CONFIG_TEXT, "%s: %s", key, why);
	return e;
}

/* ---- the file ---- */

/* libconfuse's callbacks get no context of ours. So each parse carries a hidden option whose storage is the first member of
 * this struct: callbacks find it by name. The name cannot be written unquoted in a file. */
struct parse {
	long hidden;
	struct config *config;
	char *text; /* CONFIG_TEXT bytes: the first error */
};
#define HIDDEN "\x01parse"

static struct parse *parse_of(cfg_t *cfg)
{
	cfg_opt_t *opt = cfg_getopt(cfg, HIDDEN);
	ENSURE(opt != NULL && opt->simple_value.number != NULL);
	return CONTAINER_OF(opt->simple_value.number, struct parse, hidden);
}

PRINTF_LIKE(2, 0) static void on_error(cfg_t *cfg, const char *format, va_list args)
{
	struct parse *p = parse_of(cfg);
	if (p->text[0] != '\0')
		return;
	int used = snprintf(p->text, CONFIG_TEXT, "%s:%d: ", p->config->file, cfg->line);
	if (used > 0 && used < CONFIG_TEXT)
		(void)vsnprintf(p->text + used, (size_t)(CONFIG_TEXT - used), format, args);
}

/* Runs behind each assignment: remembers the line for later errors. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt)
{
	struct config *c = parse_of(cfg)->config;
	const struct key *k = key_find(opt->name);
	ENSURE(k != NULL);
	uint32_t *line = &c->lines[k - keys];
	if (*line != 0 && k->type != CONFIG_LIST) {
		cfg_error(cfg, "%s is set twice, first in line %u", k->name, *line);
		return -1;
	}
	*line = (uint32_t)cfg->line;
	return 0;
}

/* "FILE:LINE: key: what", or what is known of it. */
static void place(const struct config *c, const struct key *k, const char *what, char text[CONFIG_TEXT])
{
	uint32_t line = c->lines[k - keys];
	if (c->file && line != 0)
		(void)snprintf(text, CONFIG_TEXT, "%s:%u: %s: %s", c->file, line, k->name, what);
	else
		(void)snprintf(text, CONFIG_TEXT, "%s%s%s: %s", c->file ? c->file : "", c->file ? ": " : "", k->name, what);
}

static enum err take_values(struct config *c, cfg_t *cfg, char text[CONFIG_TEXT])
{
	for (size_t index = 0; index < COUNT_OF(keys); index++) {
		const struct key *k = &keys[index];
		/* on_value does not hear of an empty list. */
		if (c->lines[index] == 0 && !(cfg_getopt(cfg, k->name)->flags & CFGF_MODIFIED))
			continue;
		char why[256] = "at least one value is needed";
		unsigned count = cfg_size(cfg, k->name);
		enum err e = count > 0 ? ERR_OK : ERR_INVALID_INPUT;
		if (k->type == CONFIG_LIST)
			listen_clear(c);
		for (unsigned i = 0; i < count && e == ERR_OK; i++)
			e = set_value(c, k, cfg_getnstr(cfg, k->name, i), why);
		if (e != ERR_OK) {
			place(c, k, why, text);
			return e;
		}
	}
	return ERR_OK;
}

/* Copies the file without its comments, line ends kept: the scanner of libconfuse counts lines wrongly behind comments. Where a
 * comment does not end, *open_line is the line it begins in, else 0. */
static enum err copy_uncommented(struct span content, char **out, uint32_t *open_line)
{
	uint32_t line = 1;
	*open_line = 0;
	char *copy = malloc(content.len + 1);
	ENSURE(copy != NULL);
	*out = copy;
	enum { PLAIN, LINE_COMMENT, BLOCK_COMMENT, QUOTED } mode = PLAIN;
	char quote = 0;
	for (size_t i = 0; i < content.len; i++) {
		char c = (char)content.data[i], next = i + 1 < content.len ? (char)content.data[i + 1] : 0;
		copy[i] = c;
		if (c == 0)
			return ERR_INVALID_INPUT;
		line += c == '\n';
		if (mode == PLAIN && (c == '"' || c == '\'')) {
			mode = QUOTED;
			quote = c;
		} else if (mode == PLAIN && (c == '#' || (c == '/' && next == '/'))) {
			mode = LINE_COMMENT;
		} else if (mode == PLAIN && c == '/' && next == '*') {
			mode = BLOCK_COMMENT;
			*open_line = line;
			copy[i++] = ' '; /* so that this star cannot end it */
		} else if (mode == QUOTED && c == '\\' && next != 0) {
			copy[++i] = next;
		} else if ((mode == QUOTED && c == quote) || (mode == LINE_COMMENT && c == '\n')) {
			mode = PLAIN;
		} else if (mode == BLOCK_COMMENT && c == '*' && next == '/') {
			mode = PLAIN;
			*open_line = 0;
			copy[i++] = ' ';
			c = '/';
			copy[i] = ' ';
			continue;
		}
		if ((mode == LINE_COMMENT || mode == BLOCK_COMMENT) && c != '\n')
			copy[i] = ' ';
	}
	copy[content.len] = '\0';
	return ERR_OK;
}

static enum err parse(struct config *c, cfg_opt_t *opts, const char *content, char text[CONFIG_TEXT])
{
	cfg_t *cfg = cfg_init(opts, CFGF_NONE);
	ENSURE(cfg != NULL);
	(void)cfg_set_error_function(cfg, on_error);
	enum err e = ERR_INVALID_INPUT;
	if (cfg_parse_buf(cfg, content) == CFG_SUCCESS)
		e = take_values(c, cfg, text);
	else if (text[0] == '\0')
		(void)snprintf(text, CONFIG_TEXT, "%s: syntax error", c->file);
	(void)cfg_free(cfg);
	return e;
}

enum err config_read(struct config *c, const char *file, struct span content, char text[CONFIG_TEXT])
{
	ENSURE(file != NULL);
	text[0] = '\0';
	memset(c->lines, 0, sizeof c->lines);
	c->file = file;
	struct parse state = { .config = c, .text = text };
	cfg_opt_t opts[COUNT_OF(keys) + 2];
	size_t index = 0;
	for (; index < COUNT_OF(keys); index++) {
		cfg_opt_t one = CFG_STR(NULL, NULL, CFGF_NODEFAULT);
		cfg_opt_t list = CFG_STR_LIST(NULL, NULL, CFGF_NODEFAULT);
		opts[index] = keys[index].type == CONFIG_LIST ? list : one;
		opts[index].name = keys[index].name;
		opts[index].validcb = on_value;
	}
	opts[index++] = (cfg_opt_t)CFG_SIMPLE_INT(HIDDEN, &state.hidden);
	opts[index] = (cfg_opt_t)CFG_END();
	char *plain = NULL;
	uint32_t open_line = 0;
	enum err e = content.len <= CONFIG_FILE_BYTES_MAX ? copy_uncommented(content, &plain, &open_line) : ERR_INVALID_INPUT;
	if (e != ERR_OK) {
		(void)snprintf(text, CONFIG_TEXT, "%s: not a text file of at most 1MiB", file);
	} else if (open_line > 0) {
		(void)snprintf(text, CONFIG_TEXT, "%s:%u: the comment that begins here does not end", file, open_line);
		e = ERR_INVALID_INPUT;
	} else {
		e = parse(c, opts, plain, text);
	}
	free(plain);
	return e;
}

/* ---- relations ---- */

static enum err relation(const struct config *c, const char *key, const char *what, char text[CONFIG_TEXT])
{
	const struct key *k = key_find(key);
	ENSURE(k != NULL);
	place(c, k, what, text);
	return ERR_INVALID_INPUT;
}

uint64_t config_memory_base(const struct config *c)
{
	return c->recv_buffers * c->recv_buffer_bytes + 2 * c->batch_bytes + 16 * MIB;
}

enum err config_check(const struct config *c, char text[CONFIG_TEXT])
{
	if (strlen(c->node) > LIMIT_NAME_BYTES)
		return relation(c, "node", "at most 255 bytes", text);
	if (!node_ok(c->node))
		return relation(c, "node", "begins with a blank or has a control character in it", text);
	if (c->tls_cert[0] && !tls_built())
		return relation(c, "tls_cert", "this hillockd was built without TLS", text);
	if (!c->tls_cert[0] != !c->tls_key[0])
		return relation(c, c->tls_cert[0] ? "tls_key" : "tls_cert", "a certificate and its key belong together", text);
	if (c->tls_verify != TLS_VERIFY_NONE && !c->tls_ca[0])
		return relation(c, "tls_verify", "needs tls_ca", text);
	if (c->blob_backend == CONFIG_BLOBS_S3 && !c->blob_s3_bucket[0])
		return relation(c, "blob_s3_bucket", "blob_backend = s3 needs one", text);
	for (uint32_t i = 0; i < c->listen_count; i++)
		if (strncmp(c->listen[i], "tls://", 6) == 0 && !c->tls_cert[0])
			return relation(c, "listen", tls_built() ? "a tls:// address needs tls_cert and tls_key" :
						     "tls:// : this hillockd was built without TLS", text);
	if (c->segment_bytes % DISK_BLOCK != 0)
		return relation(c, "segment_size", "must be a multiple of 4KiB", text);
	if (c->segment_bytes < 2 * c->batch_bytes)
		return relation(c, "segment_size", "must be at least twice batch_size", text);
	if (c->batch_bytes % DISK_BLOCK != 0)
		return relation(c, "batch_size", "must be a multiple of 4KiB", text);
	if (c->conn_out_max_bytes < c->conn_out_soft_bytes)
		return relation(c, "conn_out_max", "must not be below conn_out_soft", text);
	if (c->sessions_max < c->conns_max)
		return relation(c, "sessions_max", "must not be below conns_max", text);
	if ((c->recv_buffers & (c->recv_buffers - 1)) != 0)
		return relation(c, "recv_buffers", "must be a power of two", text);
	if (c->memory_cap_bytes > 0 && c->memory_cap_bytes < 2 * config_memory_base(c))
		return relation(c, "memory_cap", "must be at least twice recv_buffers * recv_buffer_size + 2 * batch_size + 16MiB", text);
	if (c->queue_backoff_max_ms < c->queue_backoff_min_ms)
		return relation(c, "queue_backoff_max", "must not be below queue_backoff_min", text);
	return ERR_OK;
}

/* ---- the manual ---- */

static void print_doc(const char *doc, FILE *out)
{
	while (*doc) {
		size_t len = strcspn(doc, "\n");
		(void)fprintf(out, "# %.*s\n", (int)len, doc);
		doc += len + (doc[len] == '\n');
	}
}

static void print_quoted(const char *text, FILE *out)
{
	(void)fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\' || *text == '$')
			(void)fputc('\\', out);
		(void)fputc(*text, out);
	}
	(void)fputc('"', out);
}

void config_print(const struct config *c, FILE *out)
{
	(void)fprintf(out, "# hillockd.conf: every setting of hillockd.\n"
			   "# key = value; durations: us ms s m h d; sizes: B KiB MiB GiB. Unknown keys are errors.\n");
	for (size_t index = 0; index < COUNT_OF(keys); index++) {
		const struct key *k = &keys[index];
		(void)fputc('\n', out);
		print_doc(k->doc, out);
		if (is_number(k)) {
			char min[32], max[32], now[32];
			config_value_format(k->type, k->min, min);
			config_value_format(k->type, k->max, max);
			config_value_format(k->type, number_of(c, k), now);
			(void)fprintf(out, "# From %s to %s.\n%s = %s\n", min, max, k->name, now);
		} else if (k->type == CONFIG_STRING) {
			(void)fprintf(out, "%s = ", k->name);
			print_quoted(string_of(c, k), out);
			(void)fputc('\n', out);
		} else {
			(void)fprintf(out, "%s = {", k->name);
			for (uint32_t i = 0; i < c->listen_count; i++) {
				(void)fputs(i > 0 ? ", " : "", out);
				print_quoted(c->listen[i], out);
			}
			(void)fputs("}\n", out);
		}
	}
}
