/* hillock_blob.h: the part of hillock.h about payloads that are too big for a frame. Included by it; programs include hillock.h. */
#ifndef HILLOCK_BLOB_H
#define HILLOCK_BLOB_H

#include "hillock.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- payloads of any size */

/* What payload and size of a task, result, yield, event, call or answer are, as its `kind` says. HLK_INLINE: the bytes themselves.
 * HLK_BLOB: the broker keeps them, and they are fetched when they are wanted. HLK_REFERENCE: something that is kept elsewhere, which is
 * carried and never opened. hlk_payload_of reads either of them.
 *
 * Sending needs no care: hlk_submit, hlk_complete, hlk_yield, hlk_publish, hlk_call and hlk_answer upload what is too big for a frame (the
 * broker says from how many bytes on) and send a blob instead; the payload is copied until then. What is submitted or published behind it
 * waits for it, so that the order stays; calls do not wait. Confirms, results and errors are as ever, those of the upload included. */

#define HLK_DIGEST_BYTES 32
#define HLK_DIGEST_TEXT 65 /* as hexadecimal text, with its end */

struct hlk_blob { uint8_t digest[HLK_DIGEST_BYTES]; uint64_t size; }; /* SHA-256 and size of a content: its name within a vnet */

/* Something that is kept elsewhere. Strings may be NULL, but for scheme and key; all of it at most 4096 bytes. */
struct hlk_reference {
	const char *scheme, *key; /* where it is ("s3", "https", "shelf"), and which one it is there */
	const char *etag, *type;  /* which version of it, in its keeper's words; what it is: a type's name */
	uint64_t size, fingerprint; /* 0 = not known */
};

struct hlk_payload {
	enum hlk_payload_kind kind;
	uint64_t size;            /* of the content, in bytes */
	const void *data;         /* HLK_INLINE */
	struct hlk_blob blob;     /* HLK_BLOB */
	struct hlk_reference reference; /* HLK_REFERENCE */
};
/* Reads what came. Inline bytes are borrowed as they were; texts of a reference are valid until the next call of this on the client. A blob
 * is a value that outlives its message. HLK_MALFORMED: it is not what `kind` says. */
HLK_API int hlk_payload_of(struct hlk *c, enum hlk_payload_kind kind, const void *payload, size_t size, struct hlk_payload *out);
/* HLK_OK where it is no reference, or one to something of this type; else HLK_SCHEMA_MISMATCH, with both types in the text. */
HLK_API int hlk_payload_expect(struct hlk *c, const struct hlk_payload *payload, const char *type);

/* As hlk_submit, hlk_submit_wait, hlk_complete, hlk_yield, hlk_publish, hlk_call and hlk_answer, for a payload of any kind: a blob that was
 * uploaded (hlk_blob_put) or received, or a reference. HLK_NOT_FOUND (in the confirm): the broker has no such blob; nothing referred to it
 * for too long, and it has to be uploaded again. Those of tasks and calls answer HLK_INVALID_INPUT for a payload that is not well formed,
 * and nothing was settled. */
HLK_API int hlk_submit_payload(struct hlk *c, struct hlk_head *head, const struct hlk_payload *payload, hlk_submit_fn *fn, void *ctx);
HLK_API int hlk_submit_payload_wait(struct hlk *c, const struct hlk_submit_options *options, const struct hlk_payload *payload,
				    int timeout_ms, uint64_t *task_out, bool *duplicate_out);
HLK_API int hlk_complete_payload(struct hlk_task *task, const struct hlk_payload *payload);
HLK_API int hlk_yield_payload(struct hlk_task *task, const struct hlk_payload *payload);
HLK_API int hlk_publish_payload(struct hlk *c, struct hlk_topic *topic, const struct hlk_payload *payload, hlk_publish_fn *fn, void *ctx);
HLK_API int hlk_call_payload(struct hlk *c, const struct hlk_call_options *options, const struct hlk_payload *payload, hlk_answer_fn *fn,
			     void *ctx, uint64_t *number_out);
HLK_API int hlk_answer_payload(struct hlk_call *call, const struct hlk_payload *payload);

/* ---------------------------------------------------------------- blobs: up and down */

/* A transfer survives cuts of the connection: it goes on where the broker is, and begins again where that was restarted. Transfers share
 * the connection with everything else, which goes first. */
typedef void hlk_blob_progress_fn(struct hlk *c, uint32_t transfer, uint64_t done, uint64_t total, void *ctx); /* total 0: not known */
/* Fills `out` with at most `room` bytes of the content from `offset` on. Returns how many; 0 at the end; less than 0: it cannot. Offsets
 * go on one after the other, but may go back where the connection was cut: a stream that cannot, and says so, ends with HLK_TRANSIENT. */
typedef int64_t hlk_blob_read_fn(void *ctx, uint64_t offset, void *out, size_t room);

/* Where the bytes of an upload come from: one of data, path, fd and read. They stay as they are until it is over. */
struct hlk_blob_source {
	const void *data; size_t size; /* memory; not copied */
	const char *path;        /* a file; opened by the call */
	bool use_fd; int fd;     /* an open file that can be read at any offset; from its beginning, and stays the caller's */
	hlk_blob_read_fn *read; void *read_ctx; /* a stream of unknown size */
	const char *media_type;  /* "image/png"; may be NULL */
	hlk_blob_progress_fn *progress; void *progress_ctx; /* told now and then, and of nothing else; may be NULL */
};

/* How a transfer ended. */
struct hlk_blob_done {
	uint32_t transfer;
	int code;                /* HLK_OK; HLK_INTEGRITY_MISMATCH, HLK_DAMAGED, HLK_NOT_FOUND, HLK_DISK_FULL, HLK_CANCELLED ... */
	const char *text;        /* "" or what was wrong and where; borrowed until return */
	struct hlk_blob blob;
	bool known;              /* the broker had it: nothing was sent */
	const char *media_type;  /* of a download; "" when there is none */
	const void *data; size_t size; /* of a download to memory; borrowed until return */
};
typedef void hlk_blob_fn(struct hlk *c, const struct hlk_blob_done *done, void *ctx);

/* Uploads. Memory and files are hashed first, piece by piece beside other work, and a content that the broker has is not sent. `fn` is
 * called once. HLK_INVALID_INPUT: the source cannot be opened, or is none. *transfer_out (may be NULL) is for hlk_blob_cancel. */
HLK_API int hlk_blob_put(struct hlk *c, const struct hlk_blob_source *source, hlk_blob_fn *fn, void *ctx, uint32_t *transfer_out);
/* Uploads and waits. *known_out (may be NULL): the broker had it. HLK_TIMEOUT: it is given up. */
HLK_API int hlk_blob_put_wait(struct hlk *c, const struct hlk_blob_source *source, int timeout_ms, struct hlk_blob *out, bool *known_out);

/* Takes bytes of a content, in order. Returns HLK_OK, or a code that ends the transfer. */
typedef int hlk_blob_write_fn(struct hlk *c, uint64_t offset, const void *data, size_t size, void *ctx);
/* Where the bytes of a download go: one of path, write and (neither) memory. */
struct hlk_blob_sink {
	const char *path;        /* a file: written beside it as PATH.part, and takes its name when the digest is right */
	bool resume;             /* path: what PATH.part has of an earlier program is kept; else it is begun anew */
	hlk_blob_write_fn *write; void *write_ctx; /* a stream; its bytes are not checked before hlk_blob_fn says HLK_OK */
	size_t max;              /* memory: HLK_TOO_BIG beyond; 0 = 64 MiB */
	uint32_t window;         /* bytes under way; 0 = 4 MiB */
	bool manual_credit;      /* only hlk_blob_more asks for bytes beyond the first window */
	uint64_t offset, length; /* a part of it, of which no digest is known; length 0 = to the end */
	hlk_blob_progress_fn *progress; void *progress_ctx; /* told now and then, and of nothing else; may be NULL */
};
/* Downloads. What does not have the digest ends with HLK_INTEGRITY_MISMATCH, and the broker is told. `fn` is called once. */
HLK_API int hlk_blob_get(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES], const struct hlk_blob_sink *sink, hlk_blob_fn *fn,
			 void *ctx, uint32_t *transfer_out);
/* Downloads and waits. *out (may be NULL): data is valid until the next call of this kind on the client. */
HLK_API int hlk_blob_get_wait(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES], const struct hlk_blob_sink *sink, int timeout_ms,
			      struct hlk_blob_done *out);
HLK_API int hlk_blob_more(struct hlk *c, uint32_t transfer, uint32_t bytes); /* so many more may come; with manual_credit */
HLK_API int hlk_blob_cancel(struct hlk *c, uint32_t transfer); /* its callback gets HLK_CANCELLED; a partial file is removed */

/* The same for what came with a task, result, yield, event, call or answer: bytes that are here, and those at the broker. A reference is
 * not ours to open: HLK_UNSUPPORTED. Bytes that are here already are written inside this call. */
HLK_API int hlk_payload_get(struct hlk *c, const struct hlk_payload *payload, const struct hlk_blob_sink *sink, hlk_blob_fn *fn, void *ctx,
			    uint32_t *transfer_out);
/* All of it in memory, at most `max` bytes (0 = 64 MiB); valid until the next call of this kind on the client. */
HLK_API int hlk_payload_read_wait(struct hlk *c, const struct hlk_payload *payload, size_t max, int timeout_ms, const void **data_out,
				  size_t *size_out);
HLK_API int hlk_payload_file_wait(struct hlk *c, const struct hlk_payload *payload, const char *path, int timeout_ms); /* into a file */

/* An URL by which whoever has it may GET this content for a while, past the broker; `out` gets it as text. HLK_UNSUPPORTED: this broker
 * keeps blobs where that is not possible. */
HLK_API int hlk_blob_url(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES], int timeout_ms, char *out, size_t room);
/* An URL for one PUT of this content, past the broker; "" where the broker has it already. hlk_blob_put_end, once that is done, makes it a
 * blob; it is to follow on the same connection. */
HLK_API int hlk_blob_put_url(struct hlk *c, const struct hlk_blob *blob, const char *media_type, int timeout_ms, char *out, size_t room,
			     uint32_t *transfer_out);
HLK_API int hlk_blob_put_end(struct hlk *c, uint32_t transfer, int timeout_ms);

/* Payloads of more bytes than this travel as blobs, as the broker last said; 0: it keeps none, or no connection was there yet. */
HLK_API uint64_t hlk_blob_above(const struct hlk *c);

/* A digest as hexadecimal text and back. `sha256:` in front is read over. HLK_INVALID_INPUT: it is none. */
HLK_API void hlk_digest_print(const uint8_t digest[HLK_DIGEST_BYTES], char out[HLK_DIGEST_TEXT]);
HLK_API int hlk_digest_parse(const char *text, uint8_t out[HLK_DIGEST_BYTES]);
/* Name and size of a content, without a broker. HLK_INVALID_INPUT: the source cannot be read. */
HLK_API int hlk_blob_name(const struct hlk_blob_source *source, struct hlk_blob *out, struct hlk_error *error);

/* ---------------------------------------------------------------- objects instead of payloads */

/* How objects of a program become payloads of a type, and back. */
struct hlk_shape {
	const char *type;        /* of tasks; copied */
	bool results;            /* of the results of such tasks, instead of their payloads */
	/* Fills *out from the object: bytes (large ones become a blob), a blob, or a reference. What it points to is valid until `shrunk`, which
	 * may be NULL. A code other than HLK_OK is that of the call. */
	int (*shrink)(struct hlk *c, const void *object, struct hlk_payload *out, void *ctx);
	void (*shrunk)(struct hlk *c, struct hlk_payload *payload, void *ctx);
	/* Makes an object from a payload: inline bytes (a blob of at most max bytes has been fetched), else a blob or a reference. A code
	 * other than HLK_OK fails the task with HLK_INVALID_INPUT, or is the code of the result. */
	int (*expand)(struct hlk *c, const struct hlk_payload *payload, void **object, void *ctx);
	void (*release)(struct hlk *c, void *object, void *ctx); /* the task is settled, the callback has returned; may be NULL */
	size_t max;              /* 0 = 64 MiB */
	void *ctx;
};
/* Registers one; before tasks of the type are served or submitted. Handlers of such tasks are called once the object is there
 * (hlk_task_object), and result callbacks of such tasks that this client submitted get hlk_result.object. */
HLK_API int hlk_shape(struct hlk *c, const struct hlk_shape *shape);
HLK_API void *hlk_task_object(const struct hlk_task *task); /* NULL: its type has no shape */
/* As hlk_submit and hlk_complete; HLK_NOT_FOUND where the type has no shape for it. */
HLK_API int hlk_submit_object(struct hlk *c, struct hlk_head *head, const void *object, hlk_submit_fn *fn, void *ctx);
HLK_API int hlk_complete_object(struct hlk_task *task, const void *object);

/* ---------------------------------------------------------------- blobs (blocking, as administration) */

struct hlk_blob_row {
	struct hlk_blob blob;
	const char *media_type, *vnet, *principal; /* principal: who uploaded it */
	uint64_t number, created_ms, unreferenced_ms; /* since 1970; unreferenced 0: something refers to it */
	uint32_t references;     /* tasks, results, yields, retained values, schedules */
	const char *const *pins; size_t pin_count; /* the first 64 */
	bool damaged;            /* its bytes are not what they should be, or not there */
};
typedef void hlk_blob_row_fn(const struct hlk_blob_row *row, void *ctx); /* rows are borrowed until return */
/* Those of this client's vnet; limit 0 = 100; *cursor 0 to start, and then where to go on (0 = the end). */
HLK_API int hlk_blob_list(struct hlk *c, uint32_t limit, uint64_t *cursor, hlk_blob_row_fn *each, void *ctx);
HLK_API int hlk_blob_show(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES], hlk_blob_row_fn *each, void *ctx);
/* Keeps it, under a name, though nothing refers to it; once for each name. HLK_NOT_FOUND: there is no such blob, or no such pin. */
HLK_API int hlk_blob_pin(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES], const char *pin);
HLK_API int hlk_blob_unpin(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES], const char *pin);
HLK_API int hlk_blob_remove(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES]); /* HLK_WRONG_STATE: something refers to it */
/* Removes now what nothing refers to, without waiting for the grace. *count_out (may be NULL): how many. */
HLK_API int hlk_blob_collect(struct hlk *c, uint64_t *count_out);
/* Reads a blob (NULL: all of them) and compares its digest, beside other work and behind the answer: what is wrong shows in hlk_blob_list.
 * *count_out (may be NULL): how many are read. */
HLK_API int hlk_blob_scrub(struct hlk *c, const uint8_t *digest, uint64_t *count_out);

#ifdef __cplusplus
}
#endif

#endif
