/* storage/replace.h: replaces whole files in the background: NAME.tmp, written, synced, renamed, directory synced.
 * Jobs run one after the other, in order. Nothing blocks but the cold calls at the start and the end of a job. */
#pragma once

#include "io.h"

struct replace_job {
	struct replace_job *next;
	char name[32];
	struct buf bytes;     /* taken */
	bool droppable;       /* a full disk ends this job instead of holding up the queue */
	uint32_t kind;        /* the owner's */
	uint64_t number;      /* the owner's */
};

enum replace_step { REPLACE_IDLE, REPLACE_WRITING, REPLACE_SYNCING };

struct replace {
	struct io *io;
	void *ctx;
	/* The job is over: done = the file is durable under its name; else the disk was full (droppable ones only). */
	void (*finished)(void *ctx, struct replace_job *job, bool done);
	struct replace_job *first, **last;
	enum replace_step step;
	struct io_op op;
	int file;
	size_t written;
	int64_t result;
	bool busy, completed;
	uint64_t retry_ns;    /* after a full disk: not before this */
};

void replace_init(struct replace *r, struct io *io, void *ctx,
		  void (*finished)(void *ctx, struct replace_job *job, bool done));
/* Appends a job; takes its bytes. */
struct replace_job *replace_add(struct replace *r, const char *name, struct buf *bytes);
/* Runs what completed and starts what can start. 0, or -errno that no retry may hide. */
int replace_drive(struct replace *r) MUST_CHECK;
static inline bool replace_idle(const struct replace *r) { return r->first == NULL; }
/* True where replace_drive would do something. */
static inline bool replace_due(const struct replace *r)
{
	return r->completed || (r->first != NULL && r->step == REPLACE_IDLE);
}
/* Nothing may be in flight. Jobs that did not finish are dropped. */
void replace_free(struct replace *r);
