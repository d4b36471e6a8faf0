/* storage/blob_local_impl.h: what the files blob_local*.c share. Nobody else includes it. */
#pragma once

#include "blob.h"

enum {
	LOCAL_DIRS = 256,
	LOCAL_NUMBER_HEX = 16,
	LOCAL_NAME_LEN = 2 * BLOB_DIGEST + 1 + LOCAL_NUMBER_HEX,
};

/* One operation of an item: in the ring or in line for it. */
struct act {
	struct io_op op;
	struct local *l;
	struct act *next;
	bool busy, slow;
	void (*then)(struct act *a, int64_t res);
};

/* What is under way or open: a writer, a reader, a removal ... begins with it. */
struct item {
	struct item *next, *prev;
	struct local *l;
	struct act act;
	struct blob_job *job;     /* that is under way */
	int file;                 /* -1 = none */
	int err;                  /* -errno: what went wrong already */
	const char *doing;
	char dir[16], name[32 + LOCAL_NAME_LEN];
	struct buf names;
};

struct local {
	struct blob_backend b;
	struct item *items;
	struct act *line_first, *line_last;
	uint32_t slow;            /* under way */
	uint32_t acts;            /* under way and in line */
	uint64_t window;          /* written back at a time; tests have smaller ones */
	bool closing;
	bool durable[LOCAL_DIRS]; /* directories of which that is known */
};

static inline struct local *local_of(struct blob_backend *b) { return (struct local *)(void *)b; }
static inline struct item *item_of(struct act *a) { return (struct item *)(void *)((char *)a - offsetof(struct item, act)); }

/* blob_local.c */
void local_act(struct act *a, struct io_op op, void (*then)(struct act *a, int64_t res));
void local_act_file(struct item *i, enum io_op_kind kind, const void *data, size_t len, uint64_t offset,
		    void (*then)(struct act *a, int64_t res));
/* `name` stays until then; NULL for IO_NOP. */
void local_act_name(struct item *i, enum io_op_kind kind, const char *name, void (*then)(struct act *a, int64_t res));
void *local_item_new(struct local *l, size_t bytes);
void local_item_close(struct item *i);
void local_item_free(struct item *i);
void local_job_begin(struct item *i, struct blob_job *job, const char *doing);
/* End the job. Its callback may do anything with the item that its owner may: touch nothing after it. */
void local_job_done(struct item *i, enum err code);
void local_job_fail(struct item *i, int64_t res, bool reading);
/* The same for jobs that end with their item. */
void local_item_over(struct item *i, enum err code);
void local_item_failed(struct item *i, int64_t res, bool reading);
void local_name_up(struct item *i, uint64_t number);
void local_name_of(struct item *i, const struct blob_key *key);
/* Lower-case digits only, as they are written: no two names mean the same. */
bool local_hex(const char *text, size_t digits, uint64_t *out);

/* blob_local_write.c */
struct blob_writer *local_create(struct blob_backend *b, uint64_t number, uint64_t size, const uint8_t *digest);
void local_write(struct blob_writer *w, struct blob_job *job, struct span bytes);
void local_finish(struct blob_writer *w, struct blob_job *job, const uint8_t digest[BLOB_DIGEST]);
void local_abandon(struct blob_writer *w);

/* blob_local_list.c */
void local_list(struct blob_backend *b, struct blob_job *job, void (*each)(void *ctx, const struct blob_key *key, uint64_t size),
		void *ctx);
