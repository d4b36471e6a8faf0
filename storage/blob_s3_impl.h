/* storage/blob_s3_impl.h: what the files blob_s3*.c share. Nobody else includes it.
 *
 *   owner's thread: job -> task -> todo (lock) -> helper thread: requests by libcurl -> done (lock) -> io->v->post -> job->done
 *
 * 1. A task belongs to one of the two threads at a time, and so does all it points to: writers, readers and jobs are the helper's from
 *    when a task that names them is handed over until it comes back. Only what stands under `lock` is looked at by both.
 * 2. Whatever waits, waits in a list of the helper with a moment at which it is looked at again; the helper never blocks but in one poll.
 * 3. Secrets are in `keys`, under the lock, and in headers while a request lasts; never in a text. */
#pragma once

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../wire/sha256.h"
#include "blob.h"
#include "blob_s3_sign.h"

enum {
	S3_PARTS_MAX = 10000,         /* of a multipart upload: S3's own limit */
	S3_ACTIVE_MAX = 16,           /* requests at a time, streams to readers aside */
	S3_REPLY_MAX = 8 << 20,       /* a page of 1000 keys with room to spare */
	S3_ETAG = 128, S3_CODE = 48, S3_UPLOAD_ID = 1024, S3_KEY = 1280,
};

struct s3;
struct s3_req;

enum s3_verb {
	S3_CREATE, S3_WRITE, S3_FINISH, S3_FORGET, S3_ABANDON, S3_OPEN, S3_READ, S3_CLOSE, S3_REMOVE, S3_LIST, S3_LIST_MORE, S3_CHECK,
};

struct s3_found { uint64_t number, size; };

struct s3_task {
	struct s3_task *next;
	enum s3_verb verb;
	struct blob_job *job;       /* NULL: nobody waits for it */
	struct blob_writer *writer;
	struct blob_reader *reader;
	struct blob_reader **out;   /* open */
	struct blob_key key;
	bool has_digest;            /* create */
	uint64_t size, offset, got;
	struct span bytes;          /* write: what is not taken yet */
	uint8_t *to;                /* read */
	size_t len;
	void (*each)(void *ctx, const struct blob_key *key, uint64_t size);
	void *each_ctx;
	struct s3_found *page;      /* list: to be told */
	size_t page_count;
	bool in_vain;               /* the owner's alone: the writer was abandoned while this was under way */
	bool more;                  /* list: the task is not done, but comes back for the next page */
	struct s3_lister *lister;
	enum err code;
	char text[BLOB_JOB_TEXT];
};

struct s3_tasks { struct s3_task *first, *last; };
void s3_tasks_add(struct s3_tasks *list, struct s3_task *t);
struct s3_task *s3_tasks_take(struct s3_tasks *list); /* NULL: empty */

/* How the io calls back. Outlives the backend where a post is under way when that is freed. */
struct s3_door { struct io_post post; struct s3 *s3; };

struct s3 {
	struct blob_backend b; /* first */

	/* fixed since the open */
	struct blob_s3_config c; /* strings are owned */
	char host[S3_HOST];      /* as in the header Host */
	char base[S3_HOST + 16]; /* http(s)://HOST */
	char bucket_path[128];   /* "/" or "/BUCKET", encoded */
	char store_prefix[S3_KEY]; /* PREFIX/STORE/ as in keys; since the start */
	struct s3_door *door;
	pthread_t thread;
	bool started;

	pthread_mutex_t lock;
	struct s3_tasks todo, done;
	bool posted, stop;
	struct s3_keys keys;
	CURLM *multi;            /* its wake-up is called from both */

	_Atomic uint64_t requests, retries, failed, sent, received, memory; /* figures */

	/* the helper's */
	struct s3_req *waiting, **waiting_end, *active;
	uint32_t active_count;
	uint64_t jitter;
	struct blob_writer *writers, *room_first, *room_last;
	struct blob_reader *readers;
	struct s3_lister *listers;
};

/* ---- requests (blob_s3_http.c) ---- */

struct s3_req {
	struct s3_req *next;        /* in `waiting` or `active` */
	struct s3 *s3;
	enum { S3_IDLE, S3_WAITING, S3_ACTIVE } state;
	bool stream;                /* does not count against S3_ACTIVE_MAX */
	bool alone;                 /* on a connection of its own: libcurl repeats what got no answer on one that was used before */

	/* what is asked: set before s3_req_start, stays put until done */
	const char *method;
	bool of_bucket;
	uint64_t number;            /* of the object */
	char query[3 * S3_KEY + 3 * S3_UPLOAD_ID + 128]; /* encoded and sorted */
	struct span body;
	const uint8_t *body_hash;   /* of the body; NULL = made here */
	char meta[S3_HEX + 1];      /* x-amz-meta-hillock-sha256 to be stored; "" = none */
	bool ranged;
	uint64_t from, to;          /* bytes, both included */
	const char *if_match;       /* NULL = any */

	/* A body that is good (2xx) goes here instead of into `reply`: how many bytes were taken, CURL_WRITEFUNC_PAUSE, or less than n
	 * where it is no good (text is set). Called from inside the poll. */
	size_t (*sink)(struct s3_req *r, const uint8_t *bytes, size_t n);
	bool (*again)(struct s3_req *r); /* before each further try; false: there is none */
	/* All tries are over. The request may be started again, or freed. */
	void (*done)(struct s3_req *r, enum err code);
	void *owner;

	/* what came of it */
	long status;
	struct buf reply;
	char etag[S3_ETAG], meta_got[S3_HEX + 1], code[S3_CODE];
	int64_t length, range_total; /* -1: not said */
	uint64_t retry_after_ms;
	enum err bad;               /* what a sink or a header has found wrong */
	char text[BLOB_JOB_TEXT];

	/* of the try */
	CURL *easy;
	struct curl_slist *headers;
	char error[CURL_ERROR_SIZE];
	uint64_t moved_ns, due_ns;
	curl_off_t moved_bytes, down, up;
	size_t body_sent;
	uint32_t tries;             /* that failed since something last went well */
	bool keys_renewed, paused, uncertain; /* uncertain: a try may have been carried out without our having heard */
};

uint64_t s3_now_ns(void);
void s3_req_start(struct s3_req *r);
void s3_req_cancel(struct s3_req *r); /* without done(); not from inside a sink */
void s3_req_free(struct s3_req *r);   /* what it holds; it must be idle */
void s3_req_resume(struct s3_req *r); /* a paused stream goes on; may call the sink */
/* Starts, polls, ends what is due. How long there is nothing to do, in ms. */
int s3_http_turn(struct s3 *s3);
/* "PUT s3:BUCKET/KEY: " and what is said. */
PRINTF_LIKE(2, 3) void s3_req_text(struct s3_req *r, const char *format, ...);
/* The key of a number, and back. */
void s3_key_of(const struct s3 *s3, uint64_t number, char out[S3_KEY]);
bool s3_number_of(const struct s3 *s3, const char *key, uint64_t *number);
/* Appends NAME=VALUE, encoded, to the query. */
void s3_query(struct s3_req *r, const char *name, const char *value);
void s3_target(const struct s3 *s3, bool of_bucket, uint64_t number, struct buf *path); /* the path of an URL, encoded */

/* One try (blob_s3_try.c): into `active`, and out of it. */
void s3_try_begin(struct s3_req *r);
void s3_try_end(struct s3_req *r);

/* ---- threads (blob_s3.c) ---- */

void s3_task_done(struct s3 *s3, struct s3_task *t, enum err code, const char *text); /* helper: back to the owner */
int s3_keys_load(struct s3 *s3, char text[256]);           /* reads the file or the environment again */

/* ---- what the verbs do, on the helper (blob_s3_write.c, _read.c, _list.c) ---- */

void s3_on_create(struct s3 *s3, struct s3_task *t);
void s3_on_write(struct s3 *s3, struct s3_task *t);
void s3_on_finish(struct s3 *s3, struct s3_task *t);
void s3_on_forget(struct s3 *s3, struct s3_task *t);
void s3_on_abandon(struct s3 *s3, struct s3_task *t);
void s3_on_open(struct s3 *s3, struct s3_task *t); /* and check */
void s3_on_read(struct s3 *s3, struct s3_task *t);
void s3_on_close(struct s3 *s3, struct s3_task *t);
void s3_on_list(struct s3 *s3, struct s3_task *t); /* and remove, and the next page of a list */
/* Aborts, beside other work, every unfinished upload of a number. */
void s3_tidy(struct s3 *s3, uint64_t number);
/* A writer that the owner's thread may name at once; it is the helper's from S3_CREATE on. */
struct blob_writer *s3_writer_new(struct s3 *s3);
/* Of either, from the owner's calls. */
struct s3 *s3_of_writer(struct blob_writer *w);
struct s3_task **s3_task_of_writer(struct blob_writer *w); /* the owner's note of the job under way */
struct s3 *s3_of_reader(struct blob_reader *r);
/* Frees all that is left, the helper being gone. */
void s3_writers_free(struct s3 *s3);
void s3_readers_free(struct s3 *s3);
void s3_listers_free(struct s3 *s3);
