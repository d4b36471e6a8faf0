/* tools/job.h: one task, or one call, in the hands of one child process.
 *
 * The payload goes to its standard input, its standard output is the result, the end of its standard error the error
 * text; lines on the descriptor HILLOCK_FD are progress, log lines and yields. A job is driven by poll alone: job_fds says what
 * it waits for, job_step does what can be done now. */
#pragma once

#include <poll.h>

#include "../clientlib/hillock.h"
#include "../wire/span.h"
#include "job_files.h"

enum { JOB_FDS = 5, JOB_LINES = 2 << 20, JOB_TAIL = 1024, JOB_KILL_AFTER_MS = 5000 };

/* Why the child was told to end, when it was not its own decision. */
enum job_stop { JOB_RUNS, JOB_CANCELLED, JOB_LEASE_LOST, JOB_OVERTIME, JOB_TOO_BIG, JOB_ABANDONED };

struct job {
	struct hlk_task *task; /* one of the two; both NULL: the slot is free */
	struct hlk_call *call;
	const uint8_t *payload;
	size_t payload_size;
	struct job_files files;
	const struct hlk_payload *uploaded; /* the result is up: it, and not standard output, is what completes the task */
	size_t result_max;
	void *owner;           /* of whoever uses the slot */
	int process;           /* a pidfd */
	int pid;
	int input, output, error, events; /* our ends; -1 once closed */
	struct buf lines;         /* of HILLOCK_FD, not yet said */
	bool paused;
	size_t written;           /* of the payload */
	struct buf result;
	char tail[JOB_TAIL];      /* the end of standard error */
	size_t tail_len;
	enum job_stop stop;
	uint64_t limit_ns, kill_ns; /* when to stop, when to kill; 0: never */
	bool exited;
	int status;               /* of waitpid */
};

/* Starts `command` under /bin/sh for the task. False, with errno, where no process could be made. */
bool job_start(struct job *job, struct hlk_task *task, const char *command, uint64_t limit_ms) MUST_CHECK;
/* Before: the slot is taken for the task while its files are made ready. */
void job_prepare(struct job *job, struct hlk_task *task);
bool job_prepared(const struct job *job); /* false: it is being made ready, and there is no process yet */
/* The same for a call. */
bool job_start_call(struct job *job, struct hlk_call *call, const char *command, uint64_t limit_ms) MUST_CHECK;
/* Fills JOB_FDS entries; unused ones have fd -1. */
void job_fds(const struct job *job, struct pollfd *fds);
/* Reads, writes and reaps what is due. True once the child has ended and everything it wrote is read. */
bool job_step(struct job *job, const struct pollfd *fds, uint64_t now_ns) MUST_CHECK;
/* Asks the child's process group to end; it is killed when it has not after JOB_KILL_AFTER_MS. The first reason stays. */
void job_end(struct job *job, enum job_stop why, uint64_t now_ns);
/* Stops and continues the child's process group, and says so to the broker. */
void job_pause(struct job *job, bool pause);
/* The next moment job_step must run although no descriptor is ready; 0: none. */
uint64_t job_due_ns(const struct job *job);
/* Settles the task, or answers the call, by how the child ended and frees the slot. Returns the error code it was settled with: HLK_OK when
 * complete; `text` says how it ended otherwise. */
int job_settle(struct job *job, char *text, size_t size);
