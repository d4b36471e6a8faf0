/* hillock.h: the client library of Hillock, a durable task broker.
 *
 * A client is one session with a broker: it submits tasks, awaits results, and serves tasks that the broker pushes down
 * the same connection. It always dials; nothing ever dials it. It reconnects by itself, resumes its session, sends
 * unconfirmed submissions again under the same sequence and keeps results of finished tasks until the broker has them.
 *
 * The one rule about threads: a struct hlk is used by one thread at a time; different ones have nothing in common.
 * Only hlk_wake (and hlk_stop) may be called from any thread (and from a signal handler) at any time. A host given by
 * name is looked up in a thread that the library starts for that and that ends with it; nothing else is done in threads.
 *
 * Two ways to use it, freely mixed:
 *  - blocking calls, each with a deadline (the names that end in _wait, and everything under "administration");
 *  - an event loop: poll hlk_fd for reading; when it is readable call hlk_process, which calls your callbacks.
 * Callbacks run only inside hlk_process and inside blocking calls. They may call anything but hlk_close and the blocking
 * calls.
 *
 * Results. Functions return 0 (HLK_OK) or an error code; hlk_last_error tells kind and text. Times are milliseconds.
 * A deadline of HLK_FOREVER never passes. Strings are UTF-8, borrowed during the call unless said otherwise. */
#ifndef HILLOCK_H
#define HILLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HLK_API __attribute__((visibility("default")))
#else
#define HLK_API
#endif

struct hlk;       /* a client */
struct hlk_head;  /* what equal submissions share, encoded once */
struct hlk_task;  /* a task this client works on */
struct hlk_call;  /* a call this client answers */

#define HLK_FOREVER (-1)

/* ---------------------------------------------------------------- errors */

/* The codes callers act on; hlk_error_name knows all of them (docs/protocol.md has the whole table). */
enum {
	HLK_OK = 0, HLK_AGAIN = 1, HLK_MALFORMED = 10, HLK_TOO_BIG = 11, HLK_INVALID_INPUT = 15, HLK_INTEGRITY_MISMATCH = 16,
	HLK_TIMEOUT = 17, HLK_NOT_FOUND = 30, HLK_EXISTS = 31, HLK_QUEUE_FULL = 32, HLK_DISK_FULL = 33,
	HLK_RESOURCE_EXHAUSTED = 34, HLK_STALE_LEASE = 35, HLK_LATE_RESULT = 36, HLK_WRONG_STATE = 37,
	HLK_DUPLICATE_SESSION = 39, HLK_PERMISSION = 40, HLK_UNAVAILABLE = 41, HLK_CANCELLED = 42, HLK_UNSUPPORTED = 43,
	HLK_NOT_DELIVERED = 44, HLK_DOES_NOT_UNDERSTAND = 45, HLK_SCHEMA_MISMATCH = 46, HLK_AMBIGUOUS = 47, HLK_INCOMPATIBLE = 48,
	HLK_BLOCKED = 49, HLK_DISPLACED = 50, HLK_SPILL = 51,
	/* outcome classes for hlk_fail: the first four and TIMEOUT, RESOURCE_EXHAUSTED are tried again */
	HLK_TRANSIENT = 60, HLK_INTERNAL = 64, HLK_PERMANENT = 61, HLK_DEPENDENCY = 62, HLK_SECURITY = 63,
	HLK_EXPIRED = 65, HLK_LOST = 66, HLK_DAMAGED = 81, HLK_NETWORK = 90, HLK_CLOSED = 91, HLK_MEMORY = 92,
};

enum hlk_error_kind { HLK_KIND_NONE, HLK_KIND_USAGE, HLK_KIND_NETWORK, HLK_KIND_AUTH, HLK_KIND_PROTOCOL,
		      HLK_KIND_REFUSED, HLK_KIND_TIMEOUT };

struct hlk_error {
	enum hlk_error_kind kind;
	int code;
	bool retryable;   /* may the same call succeed later? */
	char text[512];   /* names what was wrong and where */
};

/* The error of the last call on this client that returned non-zero; empty before. Valid until the next call. */
HLK_API const struct hlk_error *hlk_last_error(const struct hlk *c);
HLK_API const char *hlk_error_name(int code);   /* "QUEUE_FULL"; static */
HLK_API const char *hlk_error_text(int code);   /* a sentence; static */

/* ---------------------------------------------------------------- connecting */

struct hlk_options {
	/* tcp://HOST[:4333], tcp://[V6]:PORT, tls://HOST[:4334], unix:///PATH, mock:// ; several, comma separated, are tried in turn */
	const char *url;
	const char *name;       /* of this program, for people; default: the process name */
	const char *token;      /* shows who it is: a token or an access token; an access token is renewed before it ends */
	const char *token_file; /* or a file with it, read at each connect, so that it can be replaced; never on a command line */
	const char *vnet;       /* the named scope whose entries it joins and sees; default: "default" */
	const uint8_t *session; /* 16 secret bytes to resume as; default: random */
	uint32_t window;        /* unconfirmed submissions allowed; default 8192, at most 65536 */
	uint32_t backoff_min_ms, backoff_max_ms; /* of reconnects, with full jitter; default 50 and 5000 */
	/* For tls:// . Names of PEM files, read when the first of these connections is made and again at each reconnect. */
	const char *tls_ca;     /* who may vouch for the broker; default: whom this system trusts */
	const char *tls_cert, *tls_key; /* who we are, where the broker wants to know: a certificate (those above it behind it), its key */
	const char *tls_crl;    /* revoked certificates: one list for each CA, whose certificate must be in tls_ca; NULL: none are */
	const char *tls_server_name; /* what the broker's certificate must be for; default: the host of the url */
	bool tls_ocsp_required; /* a broker that staples no OCSP answer is refused; without it only one whose certificate demands one */
	const char *identity;   /* what this worker is, where only one may live at a time; NULL: it does not matter */
	bool force;             /* a live client of the same identity is displaced; else this one waits */
	void (*state)(struct hlk *c, bool connected, const char *detail, void *ctx); /* told of every change; may be NULL */
	void *ctx;
};

/* Makes a client and starts to connect; does not wait. 0, or HLK_INVALID_INPUT (text in *error) with *out NULL. */
HLK_API int hlk_open(const struct hlk_options *options, struct hlk **out, struct hlk_error *error);
/* hlk_open and wait until the session is up. On failure *out is NULL and *error says why (`error` may be NULL). */
HLK_API int hlk_connect(const char *url, int timeout_ms, struct hlk **out, struct hlk_error *error);
/* Waits until connected. */
HLK_API int hlk_ready_wait(struct hlk *c, int timeout_ms);
/* Takes no more tasks, sends what is queued (waits at most timeout_ms for confirms and acknowledgements), says goodbye, and
 * frees everything. Outstanding callbacks are called with HLK_CLOSED first; hlk_submit and hlk_await answer HLK_CLOSED from the
 * beginning of the call on. */
HLK_API void hlk_close(struct hlk *c, int timeout_ms);

HLK_API int hlk_fd(struct hlk *c);          /* one descriptor for the life of the client: poll it for reading */
HLK_API int hlk_process(struct hlk *c);     /* does what is due; never blocks */
HLK_API int hlk_run(struct hlk *c, int timeout_ms); /* waits for something to be due (or the timeout), then processes once */
HLK_API void hlk_wake(struct hlk *c);       /* makes hlk_run return */
HLK_API int hlk_flush(struct hlk *c);       /* sends what is batched now, instead of at the end of hlk_process */
HLK_API bool hlk_connected(const struct hlk *c);

/* ---------------------------------------------------------------- submitting */

enum hlk_confirm { HLK_CONFIRM_DURABLE, HLK_CONFIRM_ACCEPTED, HLK_CONFIRM_NONE };

struct hlk_header { const char *name, *value; };

/* Everything but `type` may be left zero. */
struct hlk_submit_options {
	const char *type;         /* what the task is: "media.v1.Transcode" */
	const char *queue;        /* default: the queue named like the type */
	const char *key;          /* idempotency key: the same key within the broker's window gives the same task */
	int priority;             /* 1..32: 32 is served first; 0 = default (as 5). The wire's 0..31 plus one */
	uint64_t delay_ms, expires_ms, execution_ms, retention_ms;
	uint32_t max_attempts;
	bool want_result;         /* push the result to this client: see hlk_on_result */
	bool want_updates;        /* and what becomes known before: see hlk_on_update; includes want_result */
	bool never_again;         /* the task is handed out once: when its worker is lost it ends as "lost" */
	uint64_t parent;          /* a task this client holds, of which this one is a part; 0 = none */
	uint64_t heartbeat_ms;    /* once started, the worker must be heard of the task this often; 0 = the queue's setting */
	uint64_t close_ms;        /* final this long after its submission, whatever happens; 0 = no limit */
	enum hlk_confirm confirm;
	const char *trace, *correlation;
	const struct hlk_header *headers; size_t header_count;
	uint64_t fingerprint;
	const char *requirements; /* a predicate over the parameters of entries: gpu == "A100" && vram_gb >= 40; only workers for
	                           * which it holds get the task, and until one is there the task stands in nobody's way */
	const char *order_key;    /* tasks of one key of a queue start in the order of their confirms, one at a time */
	const char *hot;          /* what it likes to find warm; for queues whose selection is HLK_SELECT_HOT */
	const char *sticky;       /* equal keys go to the same worker while it is free; for HLK_SELECT_STICKY */
	/* What it comes after: it starts when all of these are final. At most 1024 of each kind. */
	const uint64_t *after; size_t after_count;           /* tasks by id; HLK_NOT_FOUND where the outcome of one is not known (any more) */
	const uint32_t *after_back; size_t after_back_count; /* earlier submissions of this client, confirmed or not: 1 = the one right
	                                                      * before, at most 256. Where that was refused this one is, too */
	bool run_on_failure;      /* start it however those end; else a bad end cancels it, with HLK_DEPENDENCY */
	const char *group;        /* it is a member of this group, which comes to be with its first member or its callback */
	const char *after_group;  /* it is the callback: starts when the last member is final; one for each group */
	uint64_t group_size;      /* with after_group: how many members there will be; 0 = those confirmed so far, and no more */
	bool again;               /* the task is handed out again when its worker is lost, though its queue says never */
	const char *worker;       /* only for the worker of this identity (hlk_options); requirements hold besides */
	bool fail_fast;           /* HLK_NOT_DELIVERED at once where no live entry, free or not, could take it; else it waits for one */
};

/* Encodes what equal tasks share, once. Belongs to the caller until hlk_head_free; may be used with any client. NULL and
 * *error when something is out of range. */
HLK_API struct hlk_head *hlk_head_new(const struct hlk_submit_options *options, struct hlk_error *error);
HLK_API void hlk_head_free(struct hlk_head *head); /* submissions under way keep what they need */

/* The answer to a submission: code HLK_OK and the task's id, or why it was refused. */
struct hlk_confirmed { int code; uint64_t task; bool duplicate; enum hlk_confirm level; const char *text; };
typedef void hlk_submit_fn(struct hlk *c, const struct hlk_confirmed *confirmed, void *ctx);

/* Queues one task; the payload is copied. `fn` (may be NULL) is called exactly once. HLK_AGAIN when the window is full: process and try
 * again. Tasks with the same head that are submitted one after the other travel together; they leave at the next hlk_flush, at the end of
 * hlk_process, or when a frame is full. Works while disconnected. */
HLK_API int hlk_submit(struct hlk *c, struct hlk_head *head, const void *payload, size_t size, hlk_submit_fn *fn, void *ctx);
/* Submits one task and waits for the confirm. */
HLK_API int hlk_submit_wait(struct hlk *c, const struct hlk_submit_options *options, const void *payload, size_t size,
			    int timeout_ms, uint64_t *task_out, bool *duplicate_out);
HLK_API uint32_t hlk_unconfirmed(const struct hlk *c);

/* What payload and size of a task, result, yield, event, call or answer are: see hlk_payload_of. */
enum hlk_payload_kind { HLK_INLINE, HLK_BLOB, HLK_REFERENCE };

/* ---------------------------------------------------------------- results */

struct hlk_result {
	uint64_t task;
	const char *state;       /* "done", "failed", "dead", "cancelled", "expired", "lost" */
	int code;                /* HLK_OK when done, else the class; HLK_NOT_FOUND; HLK_TIMEOUT; HLK_CLOSED */
	uint32_t app_code, failed; void *object; /* object: see hlk_shape */
	const void *data; size_t size; enum hlk_payload_kind kind; /* result, or error text; borrowed until return */
};
typedef void hlk_result_fn(struct hlk *c, const struct hlk_result *result, void *ctx);

/* Results of tasks submitted by this client with want_result, that nobody awaits by id. */
HLK_API void hlk_on_result(struct hlk *c, hlk_result_fn *fn, void *ctx);
/* Calls `fn` once when the task is final (from any client, also long after its submission), at the latest at the deadline.
 * A broker that cannot take the question answers it: state "unknown", its code, and its text as data. */
HLK_API int hlk_await(struct hlk *c, uint64_t task, int timeout_ms, hlk_result_fn *fn, void *ctx);
/* Waits for the result. *result borrows memory valid until the next call on this client. Returns HLK_OK when the task is final, whatever
 * its outcome (look at result->code), HLK_TIMEOUT, HLK_NOT_FOUND. */
HLK_API int hlk_await_wait(struct hlk *c, uint64_t task, int timeout_ms, struct hlk_result *result);

/* ---------------------------------------------------------------- what becomes known before the result */

enum hlk_update_kind { HLK_PROGRESS = 1, HLK_LOG, HLK_YIELD, HLK_STATE };
struct hlk_update {
	uint64_t task;
	enum hlk_update_kind kind;
	uint32_t number;         /* HLK_YIELD: 0, 1 ... none left out, none twice, in order; HLK_STATE: the attempt */
	double progress;         /* HLK_PROGRESS: 0..1 */
	int level;               /* HLK_LOG: 0 debug, 1 info, 2 notice, 3 warning, 4 error */
	const char *state;       /* HLK_STATE: "started", "cancelling", "paused", "retry" ...; else "" */
	int code;                /* HLK_STATE "retry": the class of the failure; HLK_YIELD: HLK_OK, or HLK_DAMAGED: the broker cannot read it */
	const void *data; size_t size; enum hlk_payload_kind item_kind; /* the text, or the item of a yield; borrowed until return */
};
typedef void hlk_update_fn(struct hlk *c, const struct hlk_update *update, void *ctx);

/* Told of every update of tasks submitted with want_updates or awaited with hlk_await_updates. Yields are complete whatever connections
 * do; progress, log lines and states may be left out where they come too fast. The result comes after the last yield. */
HLK_API void hlk_on_update(struct hlk *c, hlk_update_fn *fn, void *ctx);
/* As hlk_await, with updates: yields from number `from_yield` on. Any process may do this, also after the end of the task, for as long as
 * its result is kept: a caller that was cut off goes on with the number after the last one it has. */
HLK_API int hlk_await_updates(struct hlk *c, uint64_t task, uint32_t from_yield, int timeout_ms, hlk_result_fn *fn, void *ctx);
/* As hlk_await_wait, with updates; they are told during the call. */
HLK_API int hlk_await_updates_wait(struct hlk *c, uint64_t task, uint32_t from_yield, int timeout_ms, struct hlk_result *result);

/* ---------------------------------------------------------------- working */

struct hlk_task_info {
	uint64_t id; uint32_t attempt;
	uint32_t yielded;         /* yields of earlier attempts that are safe: see hlk_yield */
	const char *type, *queue, *key, *trace, *correlation; /* "" when absent */
	uint64_t fingerprint, execution_ms; int priority;
	bool never_again;         /* it will not be handed out again */
	const void *payload; size_t size; enum hlk_payload_kind kind;
	const struct hlk_header *headers; size_t header_count;
	uint64_t parent;          /* 0 = none */
	const char *group, *after_group; /* it is a member of; it is the callback of: see hlk_group_show, hlk_group_members */
};
/* A task arrived. Settle it with hlk_complete or one of its sisters, now or later; it stays valid until then. The start has been reported
 * already unless the entry says manual_start. Handlers run inside hlk_process: one that takes long should hand the task to a thread
 * or process of its own and settle it from the client's thread when that is done. */
typedef void hlk_task_fn(struct hlk *c, struct hlk_task *task, void *ctx);
/* The broker says something of a task: signal is "cancel" (settle it soon; hlk_confirm_cancel or complete), "interrupt" (the same,
 * at once), "pause", "resume", "step" (see hlk_paused), "lease-lost" or "deadline-soon". After "lease-lost" settling is a no-op that
 * the broker would refuse. */
typedef void hlk_signal_fn(struct hlk *c, struct hlk_task *task, const char *signal, void *ctx);

typedef void hlk_call_fn(struct hlk *c, struct hlk_call *call, void *ctx);

struct hlk_serve_options {
	const char *type;      /* serve tasks of the queue named like this type ... */
	const char *queue;     /* ... or of this queue: exactly one of the two */
	uint32_t credit;       /* tasks in work or on their way; default 1 */
	bool manual_start;     /* you call hlk_start */
	hlk_task_fn *task;     /* NULL: no tasks, calls only */
	hlk_signal_fn *signal; /* may be NULL */
	void *ctx;
	/* What the directory says of it. Strings are copied. */
	const char *params;    /* typed parameters: "gpu=\"A100\", vram_gb=80, models=[\"llama\"]"; names of hillock.* are the broker's */
	const char *const *vnets; size_t vnet_count; /* where it is seen; none: where the session is */
	uint32_t capacity;     /* calls at the same time; 0 = 64 */
	uint32_t cost;         /* less is better */
	const char *const *hot; size_t hot_count;    /* what it has at hand: loaded models, warm caches */
	/* Calls, see below. */
	hlk_call_fn *call;           /* NULL: every call is answered with HLK_DOES_NOT_UNDERSTAND */
	hlk_call_fn *call_cancelled; /* the caller does not want the answer any more; may be NULL */
	const char *const *call_types; size_t call_type_count; /* the types `call` understands; none: all */
	size_t fetch;                /* blobs of up to so many bytes are fetched before a handler is called; 0: none are */
	const char *reference_type;  /* references are taken only to something of this type; NULL: whatever they refer to */
};
/* Declares one more responsibility of this session; kept over reconnects. *entry_out may be NULL. */
HLK_API int hlk_serve(struct hlk *c, const struct hlk_serve_options *options, uint32_t *entry_out);
/* Waits until the broker has taken what was declared; else why it did not (a parameter it cannot read ...). */
HLK_API int hlk_serve_wait(struct hlk *c, int timeout_ms);
HLK_API int hlk_serve_credit(struct hlk *c, uint32_t entry, uint32_t credit); /* changes it; 0 drains */
/* Says anew what the directory says of an entry: params, vnets, capacity, cost and hot of `options`; all else in it is not looked at. Its
 * tasks and calls go on, its address stays, watches see a change. Of several changes at once the last one is told. */
HLK_API int hlk_serve_describe(struct hlk *c, uint32_t entry, const struct hlk_serve_options *options);
HLK_API int hlk_unserve(struct hlk *c, uint32_t entry);
/* Takes back those entries of a service whose parameters fit `where` (NULL: all of them), and waits for the broker's word:
 * *count_out (may be NULL) is how many it has taken out. They do not come back with a reconnect. Only this client's own entries are
 * meant. On failure they stand as before. */
HLK_API int hlk_unserve_service(struct hlk *c, const char *service, const char *where, uint64_t *count_out);

/* What is known of a task this client works on, and a pointer of the caller's own that travels with it. The info is
 * borrowed for as long as the task is held. Never fail. */
HLK_API const struct hlk_task_info *hlk_task_info(const struct hlk_task *task);
/* The tasks that it came after, by id: up to `room` go to `out`. Returns how many there are. Their results can be awaited for as long as
 * they are kept. Never fails. */
HLK_API size_t hlk_task_after(const struct hlk_task *task, uint64_t *out, size_t room);
HLK_API void hlk_task_set_ctx(struct hlk_task *task, void *ctx);
HLK_API void *hlk_task_ctx(const struct hlk_task *task);

HLK_API int hlk_start(struct hlk_task *task);
HLK_API int hlk_extend(struct hlk_task *task, uint32_t lease_ms);
/* How far it is, 0..1, and a word about it (may be NULL). Forgotten when the attempt ends. */
HLK_API int hlk_progress(struct hlk_task *task, double done, const char *text);
/* A line for those who watch. level: 0 debug, 1 info, 2 notice, 3 warning, 4 error. */
HLK_API int hlk_log(struct hlk_task *task, int level, const char *text);
/* One more item of a stream of results; the data is copied, kept and sent again until the broker has it. The library numbers
 * them: a task that is begun anew yields from the start, and what info.yielded says is there already is left out. HLK_AGAIN while
 * too much is not acknowledged: process and try again. */
HLK_API int hlk_yield(struct hlk_task *task, const void *data, size_t size);
/* "I go on where the attempt before was": the next hlk_yield is number info.yielded. Before the first one. */
HLK_API int hlk_yield_on(struct hlk_task *task);
/* The answers to the signals "pause", and "resume" or "step". */
HLK_API int hlk_paused(struct hlk_task *task);
HLK_API int hlk_resumed(struct hlk_task *task);
/* The settling verbs. Each ends the task for this client and frees `task`; the payload must not be used any more. The report is kept and
 * sent again until the broker acknowledges it. `settled` callbacks: see hlk_on_settled. Only where one answers an error (HLK_TOO_BIG: the
 * result is over the broker's limit; HLK_INVALID_INPUT: not a class) nothing was settled and the task is still yours. */
HLK_API int hlk_complete(struct hlk_task *task, const void *result, size_t size);
/* retry_after_ms < 0: the queue's backoff. */
HLK_API int hlk_fail(struct hlk_task *task, int class_code, uint32_t app_code, const char *text,
		     int64_t retry_after_ms);
HLK_API int hlk_release(struct hlk_task *task, int64_t delay_ms);   /* give back; counts as nothing */
HLK_API int hlk_reject(struct hlk_task *task, const char *text);    /* never again: to the dead letters */
HLK_API int hlk_confirm_cancel(struct hlk_task *task);

/* Told when a settling report is durable at the broker (code HLK_OK) or was refused (HLK_STALE_LEASE, HLK_LATE_RESULT ...). */
typedef void hlk_settled_fn(struct hlk *c, uint64_t task, uint32_t attempt, int code, void *ctx);
HLK_API void hlk_on_settled(struct hlk *c, hlk_settled_fn *fn, void *ctx);

/* A whole worker from one function: serves options->type or queue until hlk_stop, `count` tasks (0 = no limit) or a final error;
 * drains before it returns. */
HLK_API int hlk_worker_run(struct hlk *c, const struct hlk_serve_options *options, uint64_t count);
HLK_API void hlk_stop(struct hlk *c); /* makes hlk_worker_run finish; from a callback, or any thread */
/* Has the operator asked this program to end (hillock worker stop)? The state callback was told; hlk_worker_run finishes what it has and
 * returns HLK_OK, then and from then on at once. No more work will come. */
HLK_API bool hlk_stop_asked(const struct hlk *c);

/* ---------------------------------------------------------------- events */

/* An event goes to everybody who subscribes to its type at that moment. A pattern is a type ("media.v1.Done"), a namespace with
 * everything below it ("media.*"), or "*". */

struct hlk_topic;         /* what equal events share, encoded once; of one client */

struct hlk_topic_options {
	const char *type;
	const char *key;          /* of what it tells; the last value is kept for each (type, key) */
	bool retain;              /* keep the last one for those who subscribe later; an empty payload ends it */
	bool always;              /* send even what the broker has said nobody wants */
	const char *trace, *correlation;
	const struct hlk_header *headers; size_t header_count;
	uint64_t fingerprint;     /* of the encoding: subscribers may ask for one */
};
/* NULL and *error (may be NULL) when something is out of range. Free it before the client; events under way keep what they need. */
HLK_API struct hlk_topic *hlk_topic_new(struct hlk *c, const struct hlk_topic_options *options, struct hlk_error *error);
HLK_API void hlk_topic_free(struct hlk_topic *topic);
/* Does anybody else want it? 1: send; 0: nobody, so nothing is sent until somebody subscribes; -1: not known, so it is sent. */
HLK_API int hlk_topic_wanted(const struct hlk_topic *topic);
/* Asks the broker, without publishing anything; the answer shows in hlk_topic_wanted. */
HLK_API int hlk_topic_ask(struct hlk_topic *topic);

/* What became of an event: taken by `receivers` subscriptions elsewhere and `local` ones of this client. Nobody at all is no error:
 * code HLK_OK with status "no-subscriber". */
struct hlk_published {
	int code;
	const char *status;       /* "accepted", "no-subscriber", "duplicate" (it had been taken before a cut), "refused" */
	uint32_t receivers, local;
	uint32_t rejected;        /* full subscriptions that said they would rather not have it */
	const char *text;
};
typedef void hlk_publish_fn(struct hlk *c, const struct hlk_published *published, void *ctx);

/* Publishes one event; the payload is copied. Subscriptions of this very client get it now, inside this call, with the same pointer, and
 * not again from the broker. `fn` is called once, when the broker has handed it out (a full subscription with HLK_BLOCK delays
 * that); without fn nobody is told. HLK_AGAIN when too much is unanswered: process and try again. Works while disconnected. */
HLK_API int hlk_publish(struct hlk *c, struct hlk_topic *topic, const void *payload, size_t size, hlk_publish_fn *fn, void *ctx);
/* Writes the object's payload into out, at most `room` bytes, and returns its size; called again with more room where it did not fit. */
typedef size_t hlk_encode_fn(const void *object, void *out, size_t room);
/* The same for an object of the program's own: subscriptions of this client get the object itself, and it is encoded only where somebody
 * else may want it. */
HLK_API int hlk_publish_object(struct hlk *c, struct hlk_topic *topic, const void *object, hlk_encode_fn *encode,
			       hlk_publish_fn *fn, void *ctx);
/* Publishes and waits for the answer, which stays valid until the next call. After HLK_TIMEOUT the event may or may not have gone out. */
HLK_API int hlk_publish_wait(struct hlk *c, struct hlk_topic *topic, const void *payload, size_t size, int timeout_ms,
			     struct hlk_published *published);
/* How many objects have been encoded, and how many events were held back because nobody wants them. */
HLK_API uint64_t hlk_events_encoded(const struct hlk *c);
HLK_API uint64_t hlk_events_held_back(const struct hlk *c);

struct hlk_event {
	const char *type, *key, *trace, *correlation; /* "" when absent */
	uint64_t fingerprint, id_hi, id_lo, origin;
	const void *payload; size_t size; enum hlk_payload_kind kind;
	const void *object;       /* of hlk_publish_object in this client: then there is no payload */
	const struct hlk_header *headers; size_t header_count;
	uint32_t subscription; bool retained; /* it is the last value as of the subscription */
};
typedef void hlk_event_fn(struct hlk *c, const struct hlk_event *event, void *ctx); /* everything is borrowed until return */
/* Publishes an event of another broker (or client) at this one, as a bridge does: id and origin stay, so that where it has been already
 * it is a duplicate, and rings of bridges end. Copied; `fn` as for hlk_publish. Subscriptions of this client get it from the broker. */
HLK_API int hlk_relay(struct hlk *c, const struct hlk_event *event, hlk_publish_fn *fn, void *ctx);

/* What happens at the broker to events for a subscription whose queue is full. */
enum hlk_overflow {
	HLK_DROP_OLDEST, HLK_DROP_NEWEST,
	HLK_BLOCK,                /* the publisher's confirm waits, and what it publishes behind it */
	HLK_REJECT,               /* it is dropped, and the publisher is told */
};
struct hlk_subscription_counts {
	uint64_t received;        /* by this client */
	uint64_t matched, delivered, dropped; /* as of the broker's last word; told when something was dropped, and at the end */
};
struct hlk_subscribe_options {
	const char *pattern;
	bool descendants;         /* the pattern is a type: also those that descend from it */
	bool retained;            /* first the last values */
	enum hlk_overflow overflow;
	uint32_t credit;          /* events on their way to this client; default 4096 */
	bool manual_credit;       /* only hlk_subscription_credit gives more */
	uint32_t queue_max, queue_bytes; /* what waits at the broker; 0 = its default */
	uint64_t fingerprint;     /* only events of this encoding; 0 = any */
	hlk_event_fn *event;
	/* Told when the subscription stands (HLK_OK; again after each reconnect), is refused, or has lost events. May be NULL. */
	void (*state)(struct hlk *c, uint32_t subscription, int code, const struct hlk_subscription_counts *counts, void *ctx);
	void *ctx;
};
/* Subscribes; kept over reconnects. Nothing published after the state callback said HLK_OK is missed. *id_out may be NULL. */
HLK_API int hlk_subscribe(struct hlk *c, const struct hlk_subscribe_options *options, uint32_t *id_out);
/* Subscribes and waits until it stands. */
HLK_API int hlk_subscribe_wait(struct hlk *c, const struct hlk_subscribe_options *options, int timeout_ms, uint32_t *id_out);
HLK_API int hlk_unsubscribe(struct hlk *c, uint32_t subscription);
HLK_API int hlk_subscription_credit(struct hlk *c, uint32_t subscription, uint32_t more);
HLK_API int hlk_subscription_counts(const struct hlk *c, uint32_t subscription, struct hlk_subscription_counts *out);

/* ---------------------------------------------------------------- directory */

#define HLK_ADDRESS_BYTES 320 /* room for an address as text, NODE/SESSION/ENTRY */

struct hlk_entry_row {
	const char *service, *params, *client, *address;
	const char *const *vnets; size_t vnet_count;
	const char *const *hot; size_t hot_count;
	uint32_t capacity, cost, busy; /* busy: calls in work when it was asked */
	bool by_queue, away;           /* away: its connection is lost, the session may come back */
};
typedef void hlk_entry_fn(const struct hlk_entry_row *row, void *ctx);

/* Waits for the entries of a service (NULL: of all) in this client's vnet whose parameters fit `where` (NULL: any), as they are now:
 * "gpu == \"A100\" && vram_gb >= 40". docs/protocol.md, section 10, has the whole form. */
HLK_API int hlk_directory_list(struct hlk *c, const char *service, const char *where, hlk_entry_fn *each, void *ctx);

/* RESET: forget all, a snapshot follows as JOINED. SYNCED: that was it. Then every change. LEFT has service and address only.
 * REFUSED: there is no such watch, hlk_last_error says why. `row` is NULL for RESET, SYNCED, REFUSED. */
enum hlk_change { HLK_CHANGE_RESET, HLK_CHANGE_JOINED, HLK_CHANGE_CHANGED, HLK_CHANGE_LEFT, HLK_CHANGE_SYNCED, HLK_CHANGE_REFUSED };
typedef void hlk_change_fn(struct hlk *c, uint32_t watch, enum hlk_change kind, const struct hlk_entry_row *row, void *ctx);
/* Kept over reconnects; after each it begins with RESET. No change is missed in between. */
HLK_API int hlk_directory_watch(struct hlk *c, const char *service, const char *where, hlk_change_fn *fn, void *ctx,
				uint32_t *watch_out);
HLK_API int hlk_directory_unwatch(struct hlk *c, uint32_t watch);
/* The address of this session's entry. HLK_NOT_FOUND before the first connection. It changes when the session is lost. */
HLK_API int hlk_address(const struct hlk *c, uint32_t entry, char out[HLK_ADDRESS_BYTES]);

/* ---------------------------------------------------------------- calls */

/* One of service, address and binding; everything else may be left zero. */
struct hlk_call_options {
	const char *service;   /* to a holder of this service ... */
	const char *where;     /* ... whose parameters fit */
	bool all;              /* to each of them: one answer from each, the last without `more` */
	const char *address;   /* to the entry at this address */
	uint32_t binding;      /* to a leg of this binding */
	const char *type;      /* what is asked; default: the service. "hillock.Ping" is answered by every holder's library */
	uint32_t deadline_ms;  /* default 10000 */
	bool stream;           /* the answer may come in parts */
	const char *trace, *correlation;
	const struct hlk_header *headers; size_t header_count;
	uint64_t fingerprint;
	bool wait;             /* where no holder of the service fits, wait for one until the deadline; not with `all` */
};
struct hlk_answer {
	uint64_t call; int code; /* HLK_OK; HLK_NOT_DELIVERED, HLK_TIMEOUT, HLK_DOES_NOT_UNDERSTAND, HLK_NETWORK ...; or the holder's */
	uint32_t app_code;     /* the holder's own */
	const void *data; size_t size; enum hlk_payload_kind kind; /* the answer, of this kind, or the error text; borrowed until return */
	bool more;             /* not the last of this call */
	const char *address;   /* who answered; "" where nobody did */
};
typedef void hlk_answer_fn(struct hlk *c, const struct hlk_answer *answer, void *ctx);

/* Asks. `fn` is called until one answer has no `more`, which is certain to come: at the latest at the deadline. Never stored, never asked
 * twice. The payload is copied. Calls with equal options made one after the other travel together. */
HLK_API int hlk_call(struct hlk *c, const struct hlk_call_options *options, const void *payload, size_t size, hlk_answer_fn *fn,
		     void *ctx, uint64_t *number_out);
/* No answer is wanted any more: `fn` is called with HLK_CANCELLED, the holder is told. */
HLK_API int hlk_call_cancel(struct hlk *c, uint64_t number);
/* Asks and waits for the last answer; 0 or its code. *out is valid until the next call of this. */
HLK_API int hlk_call_wait(struct hlk *c, const struct hlk_call_options *options, const void *payload, size_t size,
			  struct hlk_answer *out);
HLK_API uint64_t hlk_late_answers(const struct hlk *c); /* came when nobody waited any more; dropped */

struct hlk_call_info {
	const char *type, *client, *caller; /* caller: its address, for calls back (with its entry for 0) */
	const char *trace, *correlation;
	const void *payload; size_t size; enum hlk_payload_kind kind;
	const struct hlk_header *headers; size_t header_count;
	uint64_t fingerprint; uint32_t entry, deadline_ms; /* how long the caller waits, from when the broker handed it out */
	bool stream;
};
/* Borrowed for as long as the call is not answered. Never fail. */
HLK_API const struct hlk_call_info *hlk_call_info(const struct hlk_call *call);
HLK_API void hlk_call_set_ctx(struct hlk_call *call, void *ctx);
HLK_API void *hlk_call_ctx(const struct hlk_call *call);
HLK_API bool hlk_call_wanted(const struct hlk_call *call); /* false: cancelled, or its connection is lost */
/* Each ends the call and frees it (but for HLK_TOO_BIG and HLK_INVALID_INPUT). HLK_NOT_DELIVERED: the connection was lost meanwhile. */
HLK_API int hlk_answer(struct hlk_call *call, const void *data, size_t size);
HLK_API int hlk_answer_error(struct hlk_call *call, int code, uint32_t app_code, const char *text);
/* One part of a streamed answer; hlk_answer ends it. */
HLK_API int hlk_answer_part(struct hlk_call *call, const void *data, size_t size);

/* ---------------------------------------------------------------- reservations */

/* A standing contract for holders of a service: the broker keeps `desired` of them for this client where it can, replaces those that leave,
 * and tells of every change. Calls with .binding go to them, and wait in a line of their own while there are fewer than `min`. */
enum hlk_binding_state { HLK_BINDING_NONE, HLK_BINDING_WAITING, HLK_BINDING_ACTIVE, HLK_BINDING_DEGRADED, HLK_BINDING_ENDED };
typedef void hlk_binding_fn(struct hlk *c, uint32_t binding, enum hlk_binding_state state, uint32_t legs, void *ctx);
struct hlk_bind_options {
	const char *service, *where;
	uint32_t min, desired; /* default 1; at most 64. Fewer than min: WAITING; fewer than desired: DEGRADED */
	uint32_t waiting;      /* calls that may wait; default 1000 */
	hlk_binding_fn *state; /* ENDED: refused, hlk_last_error says why. May be NULL */
	void *ctx;
};
/* Kept over reconnects; WAITING in between. */
HLK_API int hlk_bind(struct hlk *c, const struct hlk_bind_options *options, uint32_t *binding_out);
HLK_API int hlk_unbind(struct hlk *c, uint32_t binding); /* the callback is not called any more */

/* ---------------------------------------------------------------- administration (blocking; deadline = 10 s or hlk_set_timeout) */

/* How long the calls below wait for the broker's answer (HLK_FOREVER = for ever). */
HLK_API void hlk_set_timeout(struct hlk *c, int timeout_ms);

/* Who gets a task, of the workers that fit and have free credit. Equals go by free credit, then in turn. */
enum hlk_selection {
	HLK_SELECT_CREDIT,      /* most free credit */
	HLK_SELECT_ROUND_ROBIN, /* who has waited longest */
	HLK_SELECT_CHEAPEST,    /* lowest cost */
	HLK_SELECT_HOT,         /* has in its hot set what the task names */
	HLK_SELECT_STICKY,      /* equal sticky keys go to the same one while it is free */
};

/* Whose task is next, of one priority: the oldest; or those who submitted take turns, by their weights (hlk_queue_weigh). */
enum hlk_fair { HLK_FAIR_OFF, HLK_FAIR_PRINCIPAL };
/* Of tasks that do not say themselves (never_again, again). */
enum hlk_redelivery { HLK_REDELIVERY_SAFE, HLK_REDELIVERY_NEVER };
/* What keeps a lease alive: any sign of life of the worker's connection; or only a word about the task, and a worker that is silent on
 * it for lease_ms loses it. */
enum hlk_renew { HLK_RENEW_SESSION, HLK_RENEW_TASK };

/* -1: leave as it is, or the broker's default. Fields are only ever added at the end, with HLK_QUEUE_UNCHANGED. */
struct hlk_queue_settings {
	int64_t length_max, max_attempts, lease_ms, backoff_min_ms, backoff_max_ms, expires_ms, retention_ms;
	int64_t selection; /* enum hlk_selection */
	int64_t fair, redelivery, heartbeat_ms, renew; /* enums above; heartbeat_ms: of tasks that do not say, 0 = no such rule */
	int64_t inline_max; /* bytes; a larger payload is taken as a blob only. 0 = no such rule */
};
#define HLK_QUEUE_UNCHANGED { -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1 }
struct hlk_queue_row {
	const char *name; bool paused; struct hlk_queue_settings settings;
	uint64_t ready, leased, scheduled, dead, submitted_total, done_total, failed_total, expired_total, cancelled_total, dead_total;
	uint32_t workers;
	uint64_t blocked; /* of those scheduled: wait for other tasks */
	const char *weights; /* PATTERN=WEIGHT lines; only of hlk_queue_show */
};
struct hlk_attempt_row { uint32_t attempt; uint64_t time_ms; int code; uint32_t app_code; const char *worker, *text; };
struct hlk_task_row {
	uint64_t task; const char *state, *type, *queue, *reason, *worker, *key;
	int priority; uint64_t submitted_ms, ready_ms, expires_ms, settled_ms; /* since 1970; 0 = does not apply */
	uint32_t acquired, failed, max_attempts, app_code; int code; uint32_t size;
	const void *result; size_t result_size; const void *payload; size_t payload_size;
	enum hlk_payload_kind result_kind, payload_kind; /* what these bytes are */
	const char *phase;                      /* "paused", "cancelling" ...; "" = nothing of that */
	double progress; const char *progress_text; uint32_t yields; uint64_t parent, root;
	const struct hlk_attempt_row *attempts; size_t attempt_count; /* the last ones that failed */
	uint32_t waits; uint64_t waits_for;     /* how many tasks it comes after are not final, and the first of them */
	const char *group, *after_group;        /* it is a member of; it waits for the end of: "" = none */
};
struct hlk_worker_row {
	const char *name, *address;
	const char *const *entries;
	size_t entry_count;
	uint64_t credit, leased, connected_ms; /* connected_ms: since 1970 */
};

typedef void hlk_queue_fn(const struct hlk_queue_row *row, void *ctx);   /* rows are borrowed until return */
typedef void hlk_task_row_fn(const struct hlk_task_row *row, void *ctx);
typedef void hlk_worker_fn(const struct hlk_worker_row *row, void *ctx);
typedef void hlk_stat_fn(const char *name, double value, void *ctx);

HLK_API int hlk_queue_list(struct hlk *c, hlk_queue_fn *each, void *ctx);
HLK_API int hlk_queue_show(struct hlk *c, const char *queue, hlk_queue_fn *each, void *ctx);
/* HLK_EXISTS where it exists with other settings. */
HLK_API int hlk_queue_create(struct hlk *c, const char *queue, const struct hlk_queue_settings *settings);
HLK_API int hlk_queue_set(struct hlk *c, const char *queue, const struct hlk_queue_settings *settings);
/* In a fair queue: principals whose name is `pattern`, or begins with what stands before a star at its end, have this weight (1 to 1000)
 * instead of 1; of several patterns the longest that matches counts. 0 takes the pattern out. A queue has at most 64 of them. */
HLK_API int hlk_queue_weigh(struct hlk *c, const char *queue, const char *pattern, uint32_t weight);
HLK_API int hlk_queue_remove(struct hlk *c, const char *queue);          /* only an empty one */
HLK_API int hlk_queue_pause(struct hlk *c, const char *queue, bool paused);
HLK_API int hlk_queue_purge(struct hlk *c, const char *queue, uint64_t *count_out);
/* Tasks that wait, the oldest first, with payloads up to 64 KiB; limit 0 = 100. */
HLK_API int hlk_queue_peek(struct hlk *c, const char *queue, uint32_t limit, hlk_task_row_fn *each, void *ctx);
/* With payload and result, each up to 64 KiB. */
HLK_API int hlk_task_show(struct hlk *c, uint64_t task, hlk_task_row_fn *each, void *ctx);
/* Why a task is not being worked on: for each worker of its queue the first thing that is in the way, and what else is. `reason` is
 * "share" (it is the turn of others in a fair queue; text is its own principal, value the weight of that),
 * "requirement" (predicate does not hold, value is what the worker has declared), "no_credit", "away", "in_line", "no_entry",
 * "paused", "delayed" (until at_ms), "order" (task goes first), "after" (task is not final, text says how many such there are), "group"
 * (text, value says how far it is), "unreadable" (task), "leased", "settled" (text), "expires" (at_ms).
 * Texts are "" and numbers 0 where they say nothing. */
struct hlk_why_row {
	const char *reason, *worker, *predicate, *value, *text;
	uint32_t entry; uint64_t task, at_ms;
};
typedef void hlk_why_fn(const struct hlk_why_row *row, void *ctx); /* rows are borrowed until return */
HLK_API int hlk_task_why(struct hlk *c, uint64_t task, hlk_why_fn *each, void *ctx);
/* queue "" = all of them, state "" = any; *cursor 0 to start, and then where to go on (0 = the end). */
HLK_API int hlk_task_list(struct hlk *c, const char *queue, const char *state, uint32_t limit, uint64_t *cursor,
			  hlk_task_row_fn *each, void *ctx);
HLK_API int hlk_task_cancel(struct hlk *c, uint64_t task, const char *reason);
/* The task and all below it: waiting ones end at once, workers are asked. *count_out (may be NULL): how many. */
HLK_API int hlk_task_cancel_tree(struct hlk *c, uint64_t task, const char *reason, uint64_t *count_out);
/* The same, and workers are told to stop at once. */
HLK_API int hlk_task_interrupt(struct hlk *c, uint64_t task, const char *reason);
/* Requests to the worker; its answer is the task's phase ("paused"). HLK_WRONG_STATE where no worker has it. */
HLK_API int hlk_task_pause(struct hlk *c, uint64_t task);
HLK_API int hlk_task_resume(struct hlk *c, uint64_t task);
HLK_API int hlk_task_step(struct hlk *c, uint64_t task);  /* on to the next place where it can pause */
/* The task and all below it that the broker still knows, parents first. */
HLK_API int hlk_task_tree(struct hlk *c, uint64_t task, uint32_t limit, hlk_task_row_fn *each, void *ctx);
HLK_API int hlk_task_retry(struct hlk *c, uint64_t task);
HLK_API int hlk_dlq_list(struct hlk *c, const char *queue, uint32_t limit, uint64_t *cursor, hlk_task_row_fn *each, void *ctx);
HLK_API int hlk_dlq_redrive(struct hlk *c, const char *queue, uint32_t limit, uint64_t *count_out);
HLK_API int hlk_dlq_redrive_tasks(struct hlk *c, const uint64_t *tasks, uint32_t count, uint64_t *count_out); /* these */
/* A redrive that runs inside the broker: so many letters in a second, of those that are there now, the oldest first. It is durable and
 * goes on when this client is gone. *number_out (may be NULL) names it. HLK_RESOURCE_EXHAUSTED where 16 run already. */
/* type NULL, code 0: any; rate: 1 to 100000; limit 0: all of them. */
struct hlk_redrive_options { const char *type; int code; uint32_t rate; uint64_t limit; };
HLK_API int hlk_redrive_start(struct hlk *c, const char *queue, const struct hlk_redrive_options *options, uint64_t *number_out);
HLK_API int hlk_redrive_stop(struct hlk *c, uint64_t number);
struct hlk_redrive_row {
	const char *queue, *type, *state; /* state: "running", "done", "stopped"; type "": any */
	uint64_t number, limit, done, started_ms, ended_ms; /* done: letters that were put back; ended_ms 0: it runs */
	uint32_t rate;
	int code;
};
typedef void hlk_redrive_fn(const struct hlk_redrive_row *row, void *ctx); /* borrowed until return */
/* Those that run, and the last that are over. */
HLK_API int hlk_redrive_list(struct hlk *c, hlk_redrive_fn *each, void *ctx);
HLK_API int hlk_dlq_purge(struct hlk *c, const char *queue, uint64_t *count_out);
/* Binds a queue to types: tasks that name no queue go where their type is bound, exactly before NAMESPACE.* before *, the longest
 * first; without a binding to the queue of the type's name. HLK_AMBIGUOUS where another queue has the same pattern. */
HLK_API int hlk_queue_bind(struct hlk *c, const char *queue, const char *pattern);
HLK_API int hlk_queue_unbind(struct hlk *c, const char *queue, const char *pattern);
/* A durable subscription: a queue that gets each event that matches, from then on; made where it does not exist. Serve it like any
 * queue: every such queue has its own place, several workers of one share it. */
HLK_API int hlk_subscription_add(struct hlk *c, const char *queue, const char *pattern);
HLK_API int hlk_subscription_remove(struct hlk *c, const char *queue, const char *pattern); /* NULL: all its patterns; the queue stays */
struct hlk_topic_row { const char *kind; /* "tasks" or "events" */ const char *queue, *pattern, *vnet; };
typedef void hlk_topic_fn(const struct hlk_topic_row *row, void *ctx);
/* Bindings and durable subscriptions, of one queue or (NULL) of all. */
HLK_API int hlk_topic_list(struct hlk *c, const char *queue, hlk_topic_fn *each, void *ctx);
HLK_API int hlk_worker_list(struct hlk *c, hlk_worker_fn *each, void *ctx);
/* To sessions of this client name, or with this number (in an address, hexadecimal): no new work, and it is told (state callback;
 * hlk_worker_run finishes); or the end, with a reason. *count_out: how many. */
HLK_API int hlk_worker_drain(struct hlk *c, const char *worker, uint64_t *count_out);
HLK_API int hlk_worker_kick(struct hlk *c, const char *worker, const char *reason, uint64_t *count_out);
/* As drain, and its program is asked to end: see hlk_stop_asked. Answered when they were asked, not when they have ended. */
HLK_API int hlk_worker_stop(struct hlk *c, const char *worker, uint64_t *count_out);

struct hlk_worker_entry_row {
	uint32_t entry; const char *service, *params; bool by_queue;
	uint32_t credit, capacity, cost;       /* credit: what is left of it */
	uint32_t calls, tasks;                 /* in work; tasks: of its queue */
};
struct hlk_worker_lease_row { uint64_t task; uint32_t attempt; const char *queue; bool started; };
struct hlk_worker_show_row {
	const char *name, *address, *identity, *release, *vnet; /* release: of its library, as it says */
	uint64_t session, connected_ms;        /* connected_ms: since 1970 */
	bool away, draining, blocked;
	const struct hlk_worker_entry_row *entries; size_t entry_count;
	const struct hlk_worker_lease_row *leases; size_t lease_count; /* the oldest 256 */
	uint32_t entries_total, leased, calls; /* calls: in work */
	uint32_t calls_made;                   /* its own that are not answered yet */
	uint64_t delivered_total, completed_total, failed_total, returned_total, calls_total; /* since it is connected; returned: */
};                                                                                      /* released, rejected, cancelled */
typedef void hlk_worker_show_fn(const struct hlk_worker_show_row *row, void *ctx);      /* rows are borrowed until return */
/* Every session of this client name, or the one with this number. */
HLK_API int hlk_worker_show(struct hlk *c, const char *worker, hlk_worker_show_fn *each, void *ctx);

/* Keeps clients out of work, durably: those whose name or identity matches the pattern (* any bytes, ? one byte), or, for a session's
 * number, what that session calls itself. What they serve is gone at once and they are refused with HLK_BLOCKED; what they hold they may
 * finish. They may still submit, publish and call. A block of the same pattern takes the place of the one before. */
struct hlk_block_options {
	const char *pattern, *reason; /* reason: told to them; at most 200 bytes */
	uint64_t for_ms;              /* 0: until it is taken back */
	bool now;                     /* what they hold is taken back at once, and their sessions end */
};
HLK_API int hlk_worker_block(struct hlk *c, const struct hlk_block_options *options);
HLK_API int hlk_worker_unblock(struct hlk *c, const char *pattern); /* exactly as it is listed */
struct hlk_block_row { const char *pattern, *reason; uint64_t since_ms, until_ms; }; /* since 1970; until 0: for ever */
typedef void hlk_block_fn(const struct hlk_block_row *row, void *ctx);
HLK_API int hlk_worker_blocked(struct hlk *c, hlk_block_fn *each, void *ctx);
HLK_API int hlk_stats(struct hlk *c, hlk_stat_fn *each, void *ctx);
/* Makes the broker read its certificates again. HLK_INVALID_INPUT: what is there now is no good, and those of before stay in use. */
HLK_API int hlk_node_reload(struct hlk *c);
HLK_API int hlk_checkpoint(struct hlk *c);

/* ---------------------------------------------------------------- schedules (blocking, as administration) */

struct hlk_schedule_spec {
	const char *cron;            /* five fields; or ... */
	uint64_t every_ms, at_ms;    /* ... one of these (at_ms since 1970): exactly one of the three */
	const char *zone;            /* of cron: "Europe/Berlin", read from this machine's database; default UTC */
	const char *overlap;         /* the task of the time before is not final: "allow" (default), "skip", "replace" */
	const char *misfire;         /* times that passed while the broker was away: "skip" (default), "run-once", "run-all" */
	const struct hlk_submit_options *task; /* what is submitted; without a key */
	const void *payload; size_t payload_size;
};
/* Durable once it returns HLK_OK. A time fires once, over restarts, too. HLK_EXISTS where the name is taken. */
HLK_API int hlk_schedule_add(struct hlk *c, const char *name, const struct hlk_schedule_spec *spec);

struct hlk_schedule_row {
	const char *name, *cron, *zone, *type, *queue, *overlap, *misfire;
	uint64_t every_ms, at_ms, created_ms, next_ms, last_ms, last_task, fired_total, skipped_total; /* next_ms 0: never again */
	bool paused;
	int last_code;               /* HLK_OK, or why the last task was refused */
	const void *payload; size_t payload_size; /* hlk_schedule_show only */
};
typedef void hlk_schedule_fn(const struct hlk_schedule_row *row, void *ctx); /* borrowed until return */
HLK_API int hlk_schedule_list(struct hlk *c, hlk_schedule_fn *each, void *ctx);
HLK_API int hlk_schedule_show(struct hlk *c, const char *name, hlk_schedule_fn *each, void *ctx);
HLK_API int hlk_schedule_remove(struct hlk *c, const char *name);
HLK_API int hlk_schedule_pause(struct hlk *c, const char *name, bool paused);
HLK_API int hlk_schedule_run(struct hlk *c, const char *name); /* once now, beside its times */

/* ---------------------------------------------------------------- groups */

/* Members that come to an end, and a task (the callback) that runs when all have: see hlk_submit_options. Each member counts once, by its
 * first end. A group is forgotten ten minutes after its callback was final (or as long as that one's result is kept), and a day after its
 * last member ended where no callback comes. */
struct hlk_group_row {
	const char *name;
	uint64_t members, size, open;          /* accepted so far, how many there will be (0 = not known yet), how many are not final */
	uint64_t done, failed, cancelled, expired, lost, dead; /* how members ended */
	uint64_t callback, bad;                /* tasks: 0 = none yet; the first member that did not end as done */
	uint64_t ended_ms;                     /* since 1970: when the callback was final, or the group was cancelled; 0 = not yet */
	bool cancelled_whole;
};
typedef void hlk_group_fn(const struct hlk_group_row *row, void *ctx); /* borrowed until return */
HLK_API int hlk_group_list(struct hlk *c, hlk_group_fn *each, void *ctx);
/* HLK_NOT_FOUND: never was, or is forgotten. */
HLK_API int hlk_group_show(struct hlk *c, const char *name, hlk_group_fn *each, void *ctx);
/* The members that are still known, by id, without payloads; limit 0 = 100; *cursor as for hlk_task_list. A page may be empty. */
HLK_API int hlk_group_members(struct hlk *c, const char *name, uint32_t limit, uint64_t *cursor, hlk_task_row_fn *each, void *ctx);
/* Cancels the callback and all members, and lets no more come. *count_out (may be NULL): how many members were not final; they end soon. */
HLK_API int hlk_group_cancel(struct hlk *c, const char *name, uint64_t *count_out);

/* ---------------------------------------------------------------- testing without a broker */

/* With the URL mock:// the client is its own broker, in memory: what it submits it can serve, settle, await, list and cancel, with the same
 * callbacks in the same order, retries and dead letters included; so can it call, reserve and watch its own entries, and subscribe to
 * what it publishes. Tasks that come after others, groups, types, schedules, bindings of queues to types, durable subscriptions and
 * hlk_task_why answer HLK_UNSUPPORTED. Its time (delays, backoff, expiry, limits, deadlines at the broker) stands still until it is moved
 * on; the client's own deadlines stay real. */
HLK_API int hlk_mock_advance(struct hlk *c, uint64_t ms);
/* Makes the next connection event happen: a cut. In-flight leases are lost and addresses change, as with a real broker after its grace. */
HLK_API int hlk_mock_cut(struct hlk *c);

HLK_API const char *hlk_version(void); /* "0.1.0" */

#ifdef __cplusplus
}
#endif
#include "hillock_access.h"
#include "hillock_blob.h"
#include "hillock_types.h"
#include "hillock_bridge.h"

#endif
