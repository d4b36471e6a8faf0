/* storage/blob.h: where the bytes of blobs are: one small interface, two backends (a directory, an S3 bucket).
 *
 *   broker/blob_* -> BLOB BACKEND -> io (local) | a helper thread with libcurl (S3)
 *
 * A backend keeps bytes under names that it makes of a blob_key, and knows nothing of references. A key's number is never used
 * again by anybody, so a write, a read and a removal never mean different bytes by the same key. docs/adr/0009-blobs.md says
 * how that and the index in the log keep references from dangling and bytes from staying.
 *
 * Every job is done exactly once, through job->done, from inside io_reap of the io that the backend was opened with and never from inside
 * the call that began it. Until then the job and its bytes must not move. One thread owns a backend; nothing here is thread-safe.
 * A failure of a backend is a job that fails, never the end of the process: blobs suffer, nothing else does. */
#pragma once

#include "io.h"
#include "../wire/err.h"
#include "../wire/sha256.h"

enum { BLOB_DIGEST = SHA256_BYTES, BLOB_JOB_TEXT = 160 };

struct blob_key {
	uint8_t digest[BLOB_DIGEST]; /* SHA-256 of the content */
	uint64_t number;             /* epoch << 32 | counter: of the broker's start that wrote it */
};

struct blob_job {
	/* ERR_OK, or what kept it from being done: NOT_FOUND, RESOURCE_EXHAUSTED (disk or quota), DAMAGED (it is there and is
	 * not what it should be: short, unreadable, of another digest), UNAVAILABLE (try again later), TIMEOUT, SECURITY (credentials),
	 * CANCELLED (the writer was abandoned), INTERNAL. Of the caller's own making: INVALID_INPUT (more or fewer bytes than were
	 * announced), INTEGRITY_MISMATCH (a digest that is not that of the bytes). job->text says what and where, for people. */
	void (*done)(struct blob_job *job, enum err code);
	void *ctx;
	uint64_t got;                /* read: bytes that are there now (less than asked for only at the end of the blob) */
	char text[BLOB_JOB_TEXT];
	struct blob_job *next;       /* the backend's, until done */
	uint64_t impl[6];
};

struct blob_writer; /* a blob that is being written */
struct blob_reader; /* one that is being read */
struct blob_backend;

/* Since the open. A request is what is asked of S3, over all its tries. */
struct blob_backend_stats { uint64_t requests_total, retries_total, failed_total, sent_bytes_total, received_bytes_total, memory_bytes; };

struct blob_backend_v {
	const char *name; /* "local", "s3" */

	/* Begins a blob of this number. `size` may be UINT64_MAX: not known yet; `digest` may be NULL. Never fails: errors come
	 * with the first job. */
	struct blob_writer *(*create)(struct blob_backend *b, uint64_t number, uint64_t size, const uint8_t *digest);
	/* Appends; the bytes stay where they are until done, which is when there was room for them. At most one write of a writer is under
	 * way at a time. A writer with bytes may hold memory that others wait for (S3: one part each): end those that stand still. */
	void (*write)(struct blob_writer *w, struct blob_job *job, struct span bytes);
	/* When done with ERR_OK the blob is durable under key {digest, number}, and the writer is gone; else abandon it. */
	void (*finish)(struct blob_writer *w, struct blob_job *job, const uint8_t digest[BLOB_DIGEST]);
	/* Leaves nothing behind (as far as it can: the sweep does the rest). Also while a job is under way, which then still is done. The
	 * writer is gone for the caller. */
	void (*abandon)(struct blob_writer *w);

	/* `size` is that of the index: DAMAGED where the backend has another. *out is valid where done says ERR_OK. */
	void (*open)(struct blob_backend *b, struct blob_job *job, const struct blob_key *key, uint64_t size, struct blob_reader **out);
	/* Up to `len` bytes at `offset` to `to`. At most one read of a reader at a time. S3: reads in order are one stream; where they
	 * began at 0, the one that gets the last byte is DAMAGED if the digest is another. */
	void (*read)(struct blob_reader *r, struct blob_job *job, uint64_t offset, void *to, size_t len);
	/* The file for io->v->send_file, -1 where there is none (S3). */
	int (*file)(struct blob_reader *r);
	/* No job may be under way. */
	void (*close)(struct blob_reader *r);

	/* ERR_OK also where it was not there. Durable when done. With a digest of zeros it is what list() said: the number counts, and
	 * unfinished writes of that number go, too. */
	void (*remove)(struct blob_backend *b, struct blob_job *job, const struct blob_key *key);
	/* Calls each() for everything that is stored, unfinished writes of earlier starts included (their size is 0), in no order, in
	 * pieces between other work; from inside io_reap, before done. each() may call remove. The digest is all zeros where names do
	 * not tell it: of unfinished writes, and of everything in S3. So numbers are what is compared with the index. A number may
	 * come twice: as a blob, and as a write that was begun beside it. */
	void (*list)(struct blob_backend *b, struct blob_job *job, void (*each)(void *ctx, const struct blob_key *key, uint64_t size), void *ctx);
	/* An URL that lets its holder GET (or, with put, PUT the whole of) this blob for `seconds`. UNSUPPORTED where there is no such
	 * thing. Makes no request. */
	enum err (*presign)(struct blob_backend *b, const struct blob_key *key, bool put, uint32_t seconds, char *out, size_t room);
	/* After a PUT by URL: is it there, with this size? */
	void (*check)(struct blob_backend *b, struct blob_job *job, const struct blob_key *key, uint64_t size);
	/* Room for new blobs in bytes; UINT64_MAX: not known. */
	uint64_t (*room)(struct blob_backend *b);
	/* Figures; NULL where there are none (local). */
	void (*stats)(struct blob_backend *b, struct blob_backend_stats *out);
	void (*free)(struct blob_backend *b); /* jobs under way are not done any more; not from inside a done() */
};

struct blob_backend {
	const struct blob_backend_v *v;
	struct io *io;
};

/* Files in blobs/XX/ below the data directory of `io`, XX the first byte of the digest in hex: DIGEST-NUMBER, both hex; blobs/up/NUMBER
 * while it is written. Makes the directories. 0, or -errno and a message. */
int blob_local_open(struct io *io, struct blob_backend **out, char text[256]) MUST_CHECK;
/* What a name in blobs/up/ (up) or in the directory of the digests that begin with `dir` means; false where nothing of ours. */
bool blob_local_parse(const char *name, bool up, unsigned dir, struct blob_key *out);
/* The whole name of the file of this blob. */
enum { BLOB_LOCAL_NAME = 9 + 2 * BLOB_DIGEST + 1 + 16 + 1 };
void blob_local_name(const struct blob_key *key, char out[BLOB_LOCAL_NAME]);

/* 0 in a number means the default in parentheses. All strings are copied. */
struct blob_s3_config {
	const char *endpoint;   /* http(s)://HOST[:PORT]; NULL = of AWS for the region */
	const char *region;     /* ("us-east-1") */
	const char *bucket;
	const char *prefix;     /* before every key; "" or ends with a slash */
	bool virtual_host;      /* BUCKET.HOST instead of HOST/BUCKET */
	const char *credentials; /* a file with aws_access_key_id, aws_secret_access_key and aws_session_token; read again after a
	                          * refusal. NULL = AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN of the environment */
	const char *ca_file;    /* NULL = the system's */
	uint32_t connect_ms;    /* (5000) */
	uint32_t stall_ms;      /* a transfer that moves nothing for so long has failed (30000) */
	uint32_t tries;         /* of a request, with growing waits between them (5) */
	uint32_t retry_ms;      /* the first of these waits, about; each is twice as long as the one before (250) */
	uint32_t part_bytes;    /* of a multipart upload (8 MiB) */
	uint32_t memory_bytes;  /* for parts under way (32 MiB) */
};
/* Looks at the settings and reads the credentials; jobs may be given from now on, and wait for blob_s3_start. 0, or -errno and a message
 * that names no secret. Builds without libcurl give -ENOTSUP. While there is one thread. */
int blob_s3_open(struct io *io, const struct blob_s3_config *config, struct blob_backend **out, char text[256]) MUST_CHECK;
/* Makes the helper thread. It inherits what the caller has given up by then (broker/sandbox.h), so call it behind that. `store` is the
 * number of the store: it is in every key, so that brokers may share a bucket. */
int blob_s3_start(struct blob_backend *b, uint64_t store, char text[256]) MUST_CHECK;
