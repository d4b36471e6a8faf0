/* broker/blob_index.h: which blobs there are, and what refers to them: durable state beside the tasks, changed by records alone.
 *
 *   upload -> bytes durable in the backend -> PROPOSE add -> log ... commit -> APPLY -> stored
 *   submit, settle, yield, retain, schedule -> apply -> BLOB_INDEX hold, drop;   idle for the grace -> PROPOSE collect -> apply -> bytes go
 *
 * A part of the task machine. The bytes are the backend's (storage/blob.h); docs/adr/0009-blobs.md says why it is done so.
 *
 * 1. What is named is named by (vnet, digest); numbers name bytes, and none is ever used twice. Vnets share nothing.
 * 2. A reference is counted from the apply of what refers to the apply of its end; pins are references under a name.
 * 3. A record that ends a blob changes nothing while something refers to it. Between its proposal and its apply the blob counts as not
 *    there, so that no proposal behind it can rely on it.
 * 4. Without blobs the hooks in the task machine cost a load and a test. */
#pragma once

#include "../storage/blob.h"
#include "tasks.h"

enum { BLOB_MEDIA_BYTES = 255, BLOB_PIN_NAME_BYTES = 255, BLOBS_MAX = 16 << 20 };

/* Who refers to a blob. Values and schedules hold a pointer themselves. */
enum blob_owner { BLOB_OF_PAYLOAD, BLOB_OF_RESULT, BLOB_OF_YIELD, BLOB_OWNERS };

struct blob {
	uint64_t number, size, created_ms;
	uint64_t unreferenced_ms;     /* since when nothing refers to it; 0 = something does */
	uint64_t references;          /* without pins */
	struct blob *hash_next;       /* of the same hash */
	struct blob *idle_prev, *idle_next; /* of those without references, the longest so first */
	uint8_t digest[BLOB_DIGEST];
	char **pins;                  /* sorted */
	uint32_t pin_count;
	uint8_t vnet_size, media_size, principal_size;
	bool ending;                  /* (v) a record that ends it is under way */
	bool damaged;                 /* (v) as far as this process has found out */
	bool seen;                    /* (v) the backend has listed it */
	uint32_t users;               /* (v) reads of it; it is not collected meanwhile */
	uint64_t touched_ms;          /* (v) when it was last relied on without a reference */
	char text[];                  /* vnet, media type, principal */
};

static inline struct span blob_vnet(const struct blob *b) { return span_of(b->text, b->vnet_size); }
static inline struct span blob_media(const struct blob *b) { return span_of(b->text + b->vnet_size, b->media_size); }
static inline struct span blob_principal(const struct blob *b)
{
	return span_of(b->text + b->vnet_size + b->media_size, b->principal_size);
}

struct blobs;
struct blobs *tasks_blobs(const struct tasks *t); /* that of this machine */

/* ---- looking ---- */

/* vnet: empty = default. NULL: not there. */
struct blob *blobs_find(const struct blobs *x, struct span vnet, const uint8_t digest[BLOB_DIGEST]);
struct blob *blobs_by_number(const struct blobs *x, uint64_t number);
/* What a proposal may rely on: the blob that these 48 bytes name, with that size. NOT_FOUND with its digest in text. */
enum err blobs_named(const struct blobs *x, struct span vnet, struct span payload, struct blob **out, char text[256]) MUST_CHECK;
/* The same for whoever must not fail: counts as relied on from now on. */
void blobs_touch(struct blobs *x, struct span vnet, struct span payload, uint64_t now_ms);
/* By number, from `cursor` on, at most `max`; *next 0 = no more. */
uint32_t blobs_list(const struct blobs *x, uint64_t cursor, uint32_t max, struct blob **out, uint64_t *next);
/* The one without references for longest that has been so before or at `before_ms`, behind `after` (NULL = the first); NULL = none. */
struct blob *blobs_idle(const struct blobs *x, const struct blob *after, uint64_t before_ms);
uint64_t blobs_bytes_of(const struct blobs *x, struct span principal); /* that it has uploaded and that are there */
struct blobs_stats { uint64_t blobs, bytes, references, pins, idle, memory, added_total, collected_total; };
void blobs_get_stats(const struct blobs *x, struct blobs_stats *out);
/* "sha256:" and 64 digits. */
enum { BLOB_NAME_BYTES = 7 + 2 * BLOB_DIGEST + 1 };
const char *blob_name(const uint8_t digest[BLOB_DIGEST], char out[BLOB_NAME_BYTES]);

/* ---- proposals: one record each; false or RESOURCE_EXHAUSTED: no room in this batch ---- */

struct blob_add {
	uint64_t number, size;
	const uint8_t *digest;
	struct span vnet, media, principal;
	uint64_t instead; /* of the bytes of this number, which are damaged; 0 = of none */
};
bool blobs_propose_add(struct log *log, const struct blob_add *add) MUST_CHECK;
/* Nothing refers to it: it is to go, unless something does by then. */
bool blobs_propose_collect(struct log *log, struct blob *b) MUST_CHECK;
/* Time has passed: what the task machine keeps for a while ends with a record, and takes its blobs along. A broker that nobody uses has no
 * other records. */
bool blobs_propose_time(struct log *log) MUST_CHECK;
/* WRONG_STATE: something refers to it, and text says what. */
enum err blobs_propose_remove(struct log *log, struct blob *b, char text[256]) MUST_CHECK;
/* *records 0: it was so before. INVALID_INPUT, RESOURCE_EXHAUSTED, NOT_FOUND. */
enum err blobs_propose_pin(struct log *log, struct blob *b, struct span name, bool pin, uint32_t *records, char text[256]) MUST_CHECK;

/* ---- records ---- */

enum blob_op { BLOB_OP_ADD = 1, BLOB_OP_COLLECT, BLOB_OP_REMOVE, BLOB_OP_PIN, BLOB_OP_UNPIN, BLOB_OP_TIME };
struct rec_blob { /* vnet, media type, principal and the name of the pin are behind it */
	uint8_t version, op, vnet_size, media_size, principal_size, pin_size, pad[2];
	uint64_t number, size;
	uint64_t unreferenced_ms; /* COLLECT: since when, as it was proposed. ADD: the number whose damaged bytes it takes the place of */
	uint8_t digest[BLOB_DIGEST];
};
_Static_assert(sizeof(struct rec_blob) == 64, "on disk");
struct blob_view { struct rec_blob fixed; struct span vnet, media, principal, pin; };
enum err rec_blob_read(struct span body, struct blob_view *out) MUST_CHECK;

/* ---- of the task machine, called by applies ---- */

struct blobs *blobs_new(uint64_t seed);
void blobs_free(struct blobs *x);
/* ADD: affected 0 where the same content is there under another number, which stays. COLLECT, REMOVE: affected 1 where it is gone. */
void blobs_apply(struct blobs *x, const struct log_entry *entry, const struct log_record *record, struct applied *out);
void blobs_hold(struct blobs *x, struct blob *b);
void blobs_drop(struct blobs *x, struct blob *b, uint64_t now_ms);
/* The same for a task, which is remembered. One payload and one result, any number of yields. */
void blobs_hold_task(struct blobs *x, enum blob_owner owner, uint64_t task, struct blob *b);
void blobs_drop_task_slow(struct blobs *x, enum blob_owner owner, uint64_t task, uint64_t now_ms);
struct blobs_owned { uint32_t tasks[BLOB_OWNERS]; }; /* how many tasks hold some */
static inline const struct blobs_owned *blobs_owned(const struct blobs *x) { return (const struct blobs_owned *)(const void *)x; }
static inline void blobs_drop_task(struct blobs *x, enum blob_owner owner, uint64_t task, uint64_t now_ms)
{
	if (blobs_owned(x)->tasks[owner] > 0)
		blobs_drop_task_slow(x, owner, task, now_ms);
}
/* What a task holds, for the check of a checkpoint: calls each(ctx, owner, task) until it says false. */
bool blobs_each_task(const struct blobs *x, bool (*each)(void *ctx, enum blob_owner owner, uint64_t task), void *ctx);
/* The section of a checkpoint; it is read in front of those of values and schedules, which hold what it has. */
void blobs_checkpoint(const struct blobs *x, struct buf *out);
enum err blobs_restore(struct blobs *x, struct span section, char text[256]) MUST_CHECK;
/* When all sections are read: does every blob that says so have something that refers to it? */
enum err blobs_verify(const struct blobs *x, char text[256]) MUST_CHECK;
