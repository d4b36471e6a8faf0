/* tools/job.c: child processes for `hillock work --exec`.
 *
 * Invariants:
 * 1. Every child is reaped, by its pidfd; nothing waits for "any child".
 * 2. Every child leads a process group of its own, so that ending it ends what it started, and the terminal's
 *    interrupt reaches only us.
 * 3. A task is settled exactly once: in job_settle. Until then its payload, which we borrow, stays valid.
 * 4. What a child writes is bounded: the result by the payload limit, the error text by JOB_TAIL. */
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../wire/limits.h"
#include "progress.h"

enum { JOB_VARIABLES = 12, JOB_PIPES = 4, JOB_VARIABLE_BYTES = 640, JOB_RESULT_BLOB = 64 << 20 };

extern char **environ;

struct pipes {
	int child[JOB_PIPES], ours[JOB_PIPES]; /* input, output, error, events */
};

static void close_once(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void pipes_close(int fds[JOB_PIPES])
{
	for (int i = 0; i < JOB_PIPES; i++)
		close_once(&fds[i]);
}

static bool pipes_make(struct pipes *p)
{
	*p = (struct pipes){ { -1, -1, -1, -1 }, { -1, -1, -1, -1 } };
	for (int i = 0; i < JOB_PIPES; i++) {
		int ends[2];
		if (pipe2(ends, O_CLOEXEC) < 0)
			return false;
		p->child[i] = ends[i == 0 ? 0 : 1];
		p->ours[i] = ends[i == 0 ? 1 : 0];
		/* Only our ends: they have an open file description of their own. */
		if (fcntl(p->ours[i], F_SETFL, O_NONBLOCK) < 0)
			return false;
	}
	return true;
}

/* Our environment and `count` of `own`. The caller frees the vector; the strings are in `own`. */
static char **environment(char own[JOB_VARIABLES][JOB_VARIABLE_BYTES], size_t own_count)
{
	size_t count = 0, kept = 0;
	while (environ[count])
		count++;
	char **variables = calloc(size_add(count, JOB_VARIABLES + 1), sizeof *variables);
	ENSURE(variables != NULL);
	for (size_t i = 0; i < count; i++)
		if (strncmp(environ[i], "HILLOCK_TASK_", 13) != 0 && strncmp(environ[i], "HILLOCK_CALL_", 13) != 0)
			variables[kept++] = environ[i];
	for (size_t i = 0; i < own_count; i++)
		variables[kept++] = own[i];
	return variables;
}

static int spawn(const char *command, char *const environment_of_task[], const struct pipes *p, int *pid_out)
{
	char shell[] = "/bin/sh", flag[] = "-c";
	char *copy = strdup(command);
	ENSURE(copy != NULL);
	char *argv[] = { shell, flag, copy, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, defaults;
	pid_t pid = -1;
	(void)sigemptyset(&none);
	(void)sigemptyset(&defaults);
	(void)sigaddset(&defaults, SIGPIPE); /* ignored here, which a child would inherit */
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawnattr_init(&attributes);
	int error = 0;
	for (int i = 0; i < JOB_PIPES && error == 0; i++)
		error = posix_spawn_file_actions_adddup2(&actions, p->child[i], i);
	(void)posix_spawnattr_setsigmask(&attributes, &none);
	(void)posix_spawnattr_setsigdefault(&attributes, &defaults);
	(void)posix_spawnattr_setpgroup(&attributes, 0);
	(void)posix_spawnattr_setflags(&attributes,
				       POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	if (error == 0)
		error = posix_spawn(&pid, "/bin/sh", &actions, &attributes, argv, environment_of_task);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)posix_spawnattr_destroy(&attributes);
	free(copy);
	*pid_out = pid;
	return error;
}

/* Standard input is the payload's file; there is nothing to write. */
static bool input_from(struct pipes *p, const struct job_files *files)
{
	if (!files->payload[0] || !files->on_stdin)
		return true;
	close_once(&p->child[0]);
	close_once(&p->ours[0]);
	p->child[0] = open(files->payload, O_RDONLY | O_CLOEXEC);
	return p->child[0] >= 0;
}

static bool start(struct job *job, char own[JOB_VARIABLES][JOB_VARIABLE_BYTES], size_t own_count, const char *command)
{
	struct pipes p;
	int pid = -1, process = -1, error = 0;
	const struct job_files files = job->files;
	void *owner = job->owner;
	if (!pipes_make(&p) || !input_from(&p, &files)) {
		error = errno;
	} else {
		char **variables = environment(own, own_count);
		char *line = job_files_command(&files, command);
		error = spawn(line, variables, &p, &pid);
		free(line);
		free(variables);
	}
	pipes_close(p.child);
	if (error == 0 && (process = pidfd_open(pid, 0)) < 0) {
		error = errno;
		(void)kill(-pid, SIGKILL);
		(void)waitpid(pid, NULL, 0);
	}
	if (error != 0) {
		pipes_close(p.ours);
		errno = error;
		return false;
	}
	*job = (struct job){ .process = process, .pid = pid, .input = p.ours[0], .output = p.ours[1], .error = p.ours[2],
			     .events = p.ours[3], .files = files, .owner = owner,
			     .result_max = JOB_RESULT_BLOB }; /* what the broker takes is said when it is settled */
	return true;
}

static void set_limit(struct job *job, uint64_t own_ms, uint64_t limit_ms)
{
	uint64_t limit = own_ms;
	if (limit_ms > 0 && (limit == 0 || limit_ms < limit))
		limit = limit_ms;
	job->limit_ns = limit ? clock_ns() + limit * 1000000 : 0;
}

bool job_start(struct job *job, struct hlk_task *task, const char *command, uint64_t limit_ms)
{
	const struct hlk_task_info *info = hlk_task_info(task);
	char own[JOB_VARIABLES][JOB_VARIABLE_BYTES];
	(void)snprintf(own[0], JOB_VARIABLE_BYTES, "HILLOCK_TASK_ID=%llu", (unsigned long long)info->id);
	(void)snprintf(own[1], JOB_VARIABLE_BYTES, "HILLOCK_TASK_TYPE=%s", info->type);
	(void)snprintf(own[2], JOB_VARIABLE_BYTES, "HILLOCK_ATTEMPT=%u", info->attempt);
	(void)snprintf(own[3], JOB_VARIABLE_BYTES, "HILLOCK_QUEUE=%s", info->queue);
	(void)snprintf(own[4], JOB_VARIABLE_BYTES, "HILLOCK_TASK_KEY=%s", info->key);
	(void)snprintf(own[5], JOB_VARIABLE_BYTES, "HILLOCK_TASK_PRIORITY=%d", info->priority > 0 ? info->priority - 1 : 0);
	(void)snprintf(own[6], JOB_VARIABLE_BYTES, "HILLOCK_TASK_YIELDED=%u", info->yielded);
	(void)snprintf(own[7], JOB_VARIABLE_BYTES, "HILLOCK_FD=3");
	(void)snprintf(own[8], JOB_VARIABLE_BYTES, "HILLOCK_PAYLOAD_KIND=%s", job->files.reference ? "reference" : "bytes");
	(void)snprintf(own[9], JOB_VARIABLE_BYTES, "HILLOCK_PAYLOAD_FILE=%s", job->files.on_stdin ? "" : job->files.payload);
	(void)snprintf(own[10], JOB_VARIABLE_BYTES, "HILLOCK_RESULT_FILE=%s", job->files.result);
	if (!start(job, own, 11, command))
		return false;
	job->task = task;
	if (job->files.reference) {
		job->payload = job->files.text.data;
		job->payload_size = job->files.text.len;
	} else if (!job->files.payload[0]) {
		job->payload = info->payload;
		job->payload_size = info->size;
	}
	set_limit(job, info->execution_ms, limit_ms);
	hlk_task_set_ctx(task, job);
	return true;
}

void job_prepare(struct job *job, struct hlk_task *task)
{
	void *owner = job->owner;
	*job = (struct job){ .task = task, .process = -1, .input = -1, .output = -1, .error = -1, .events = -1, .owner = owner };
	hlk_task_set_ctx(task, job);
}

bool job_prepared(const struct job *job)
{
	return job->pid != 0;
}

bool job_start_call(struct job *job, struct hlk_call *call, const char *command, uint64_t limit_ms)
{
	const struct hlk_call_info *info = hlk_call_info(call);
	char own[JOB_VARIABLES][JOB_VARIABLE_BYTES];
	(void)snprintf(own[0], JOB_VARIABLE_BYTES, "HILLOCK_CALL_TYPE=%s", info->type);
	(void)snprintf(own[1], JOB_VARIABLE_BYTES, "HILLOCK_CALL_CLIENT=%s", info->client);
	(void)snprintf(own[2], JOB_VARIABLE_BYTES, "HILLOCK_CALL_CALLER=%s", info->caller);
	if (!start(job, own, 3, command))
		return false;
	job->call = call;
	job->payload = info->payload;
	job->payload_size = info->size;
	set_limit(job, info->deadline_ms, limit_ms);
	hlk_call_set_ctx(call, job);
	return true;
}

void job_fds(const struct job *job, struct pollfd *fds)
{
	bool running = (job->task || job->call) && job_prepared(job) && !job->files.transfer;
	fds[0] = (struct pollfd){ running && !job->exited ? job->process : -1, POLLIN, 0 };
	fds[1] = (struct pollfd){ running ? job->input : -1, POLLOUT, 0 };
	fds[2] = (struct pollfd){ running ? job->output : -1, POLLIN, 0 };
	fds[3] = (struct pollfd){ running ? job->error : -1, POLLIN, 0 };
	fds[4] = (struct pollfd){ running && job->lines.len < JOB_LINES ? job->events : -1, POLLIN, 0 };
}

static void input_write(struct job *job)
{
	while (job->written < job->payload_size) {
		ssize_t n = write(job->input, job->payload + job->written, job->payload_size - job->written);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break; /* EPIPE: the child does not want the rest, which is its right */
		job->written += (size_t)n;
	}
	close_once(&job->input);
}

/* Reads what is there; closes at the end. Keeps at most one byte more than a result may have. */
static void output_read(struct job *job, uint64_t now_ns)
{
	uint8_t chunk[16384];
	ssize_t n;
	while ((n = read(job->output, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		size_t room = job->result_max + 1 - job->result.len;
		buf_append(&job->result, chunk, MIN_OF((size_t)n, room));
		if (job->result.len > job->result_max)
			job_end(job, JOB_TOO_BIG, now_ns);
	}
	if (n == 0 || errno != EAGAIN)
		close_once(&job->output);
}

/* Passes standard error on and keeps its end. */
static void error_read(struct job *job)
{
	char chunk[4096];
	ssize_t n;
	while ((n = read(job->error, chunk, sizeof chunk)) > 0 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		size_t got = (size_t)n, take = MIN_OF(got, (size_t)JOB_TAIL);
		size_t keep = MIN_OF(job->tail_len, JOB_TAIL - take);
		(void)fwrite(chunk, 1, got, stderr);
		memmove(job->tail, job->tail + job->tail_len - keep, keep);
		memcpy(job->tail + keep, chunk + got - take, take);
		job->tail_len = keep + take;
	}
	if (n == 0 || errno != EAGAIN)
		close_once(&job->error);
}

/* One line of HILLOCK_FD. False: not now. */
static bool event_line(struct hlk_task *task, const char *line, size_t len)
{
	char text[512];
	size_t word = 0;
	if (!task)
		return true; /* a call has no progress */
	while (word < len && line[word] != ' ')
		word++;
	const char *rest = line + word + (word < len);
	size_t rest_len = len - word - (word < len);
	(void)snprintf(text, sizeof text, "%.*s", (int)rest_len, rest);
	if (word == 5 && memcmp(line, "yield", 5) == 0)
		return hlk_yield(task, rest, rest_len) != HLK_AGAIN;
	char *end = text;
	if (word == 8 && memcmp(line, "progress", 8) == 0) {
		double done = strtod(text, &end);
		(void)hlk_progress(task, done, *end == ' ' ? end + 1 : end);
	} else if (word == 3 && memcmp(line, "log", 3) == 0) {
		long level = strtol(text, &end, 10);
		(void)hlk_log(task, (int)level, *end == ' ' ? end + 1 : end);
	}
	return true;
}

/* What the child says on HILLOCK_FD. Where yields have no room the rest stays, and with it the child. */
static void events_read(struct job *job)
{
	char chunk[4096];
	ssize_t n = 1;
	while (job->events >= 0 && job->lines.len < JOB_LINES && n > 0) {
		n = read(job->events, chunk, sizeof chunk);
		if (n > 0)
			buf_append(&job->lines, chunk, (size_t)n);
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			close_once(&job->events);
	}
	size_t from = 0;
	const char *at = (const char *)job->lines.data, *end;
	while (from < job->lines.len && (end = memchr(at + from, '\n', job->lines.len - from)) != NULL) {
		size_t len = (size_t)(end - (at + from));
		if (!event_line(job->task, at + from, len))
			break;
		from += len + 1;
	}
	if (from == 0 && job->lines.len >= JOB_LINES && !memchr(at, '\n', job->lines.len))
		from = job->lines.len; /* a line over any limit */
	if (from > 0)
		memmove(job->lines.data, job->lines.data + from, job->lines.len - from);
	job->lines.len -= from;
}

void job_pause(struct job *job, bool pause)
{
	ENSURE(job->task != NULL);
	if (job->exited || job->paused == pause)
		return;
	job->paused = pause;
	(void)kill(-job->pid, pause ? SIGSTOP : SIGCONT);
	(void)(pause ? hlk_paused(job->task) : hlk_resumed(job->task));
}

void job_end(struct job *job, enum job_stop why, uint64_t now_ns)
{
	ENSURE((job->task || job->call) && why != JOB_RUNS);
	if (job->stop == JOB_RUNS)
		job->stop = why;
	if (why == JOB_LEASE_LOST || why == JOB_ABANDONED)
		job->stop = why; /* these leave nothing to report */
	if (!job->exited && job->kill_ns == 0) {
		(void)kill(-job->pid, SIGTERM);
		(void)kill(-job->pid, SIGCONT); /* one that is paused cannot end */
		job->kill_ns = now_ns + JOB_KILL_AFTER_MS * 1000000ull;
	}
	if (!job->exited && why == JOB_ABANDONED)
		(void)kill(-job->pid, SIGKILL);
}

uint64_t job_due_ns(const struct job *job)
{
	if ((!job->task && !job->call) || job->exited || !job_prepared(job))
		return 0;
	return job->kill_ns ? job->kill_ns : job->limit_ns;
}

bool job_step(struct job *job, const struct pollfd *fds, uint64_t now_ns)
{
	ENSURE(job->task || job->call);
	if (job->limit_ns && job->stop == JOB_RUNS && now_ns >= job->limit_ns && !job->exited)
		job_end(job, JOB_OVERTIME, now_ns);
	if (job->kill_ns && now_ns >= job->kill_ns && !job->exited) {
		(void)kill(-job->pid, SIGKILL);
		job->kill_ns = UINT64_MAX;
	}
	if (fds[0].revents && !job->exited)
		job->exited = waitpid(job->pid, &job->status, WNOHANG) == job->pid;
	if (job->input >= 0 && fds[1].revents)
		input_write(job);
	/* After the exit everything it wrote is in the pipes. A grandchild may hold them open; it is not waited for. */
	if (job->output >= 0 && (fds[2].revents || job->exited))
		output_read(job, now_ns);
	if (job->error >= 0 && (fds[3].revents || job->exited))
		error_read(job);
	if (job->events >= 0 || job->lines.len > 0)
		events_read(job);
	bool lines = job->lines.len > 0 && memchr(job->lines.data, '\n', job->lines.len) != NULL;
	return job->exited && !lines;
}

/* The table in `hillock work --help`. */
static int class_of(int status)
{
	switch (WIFEXITED(status) ? WEXITSTATUS(status) : 75) {
	case 0:
		return HLK_OK;
	case 65: /* EX_DATAERR */
		return HLK_INVALID_INPUT;
	case 69: /* EX_UNAVAILABLE */
		return HLK_DEPENDENCY;
	case 70: /* EX_SOFTWARE */
		return HLK_INTERNAL;
	case 77: /* EX_NOPERM */
		return HLK_SECURITY;
	default: /* 75 EX_TEMPFAIL among them */
		return HLK_TRANSIENT;
	}
}

/* The error text: the end of standard error from a line's start on, or how the process ended. */
static void describe(const struct job *job, char *text, size_t size)
{
	size_t from = 0, len = job->tail_len;
	while (len > 0 && (job->tail[len - 1] == '\n' || job->tail[len - 1] == ' '))
		len--;
	if (job->tail_len == JOB_TAIL) {
		const char *line = memchr(job->tail, '\n', len);
		from = line ? (size_t)(line + 1 - job->tail) : 0;
	}
	if (job->stop == JOB_OVERTIME)
		(void)snprintf(text, size, "stopped at its time limit");
	else if (job->stop == JOB_TOO_BIG)
		(void)snprintf(text, size, "the result is over %zu bytes", job->result_max);
	else if (len > from)
		(void)snprintf(text, size, "%.*s", (int)(len - from), job->tail + from);
	else if (WIFSIGNALED(job->status))
		(void)snprintf(text, size, "killed by signal %d", WTERMSIG(job->status));
	else
		(void)snprintf(text, size, "exit status %d", WEXITSTATUS(job->status));
}

/* A broker may take less than we do; the task is still ours then. */
static int complete(struct job *job, char *text, size_t size)
{
	int code = job->uploaded ? hlk_complete_payload(job->task, job->uploaded)
				 : hlk_complete(job->task, job->result.data, job->result.len);
	if (code == HLK_OK)
		return HLK_OK;
	(void)snprintf(text, size, "the result of %zu bytes is over the limit of the broker", job->result.len);
	(void)hlk_fail(job->task, HLK_PERMANENT, 0, text, -1);
	return HLK_PERMANENT;
}

/* A caller that is gone, or a result that is too large, changes nothing for this end. */
static int answer(struct job *job, const char *text)
{
	int code = job->stop == JOB_RUNS ? class_of(job->status) : job->stop == JOB_OVERTIME ? HLK_TIMEOUT : HLK_CANCELLED;
	uint32_t app_code = (uint32_t)(WIFSIGNALED(job->status) ? 128 + WTERMSIG(job->status) : WEXITSTATUS(job->status));
	if (job->stop == JOB_TOO_BIG || (code == HLK_OK && hlk_answer(job->call, job->result.data, job->result.len) == HLK_TOO_BIG))
		code = HLK_TOO_BIG;
	if (code != HLK_OK)
		(void)hlk_answer_error(job->call, code, app_code, text);
	buf_free(&job->result);
	job->call = NULL;
	return code;
}

int job_settle(struct job *job, char *text, size_t size)
{
	struct hlk_task *task = job->task;
	int code = class_of(job->status);
	uint32_t app_code = (uint32_t)(WIFSIGNALED(job->status) ? 128 + WTERMSIG(job->status) : WEXITSTATUS(job->status));
	ENSURE((task || job->call) && job->exited);
	close_once(&job->process);
	close_once(&job->input);
	close_once(&job->output);
	close_once(&job->error);
	close_once(&job->events);
	buf_free(&job->lines);
	describe(job, text, size);
	if (job->call)
		return answer(job, text);
	if (job->stop == JOB_LEASE_LOST || job->stop == JOB_ABANDONED) {
		code = job->stop == JOB_ABANDONED ? HLK_CANCELLED : HLK_STALE_LEASE;
		(void)hlk_release(task, 0);
	} else if (job->stop == JOB_CANCELLED && code != HLK_OK) {
		code = HLK_CANCELLED;
		(void)hlk_confirm_cancel(task);
	} else if (job->stop == JOB_OVERTIME) {
		code = HLK_TIMEOUT;
		(void)hlk_fail(task, code, app_code, text, -1);
	} else if (job->stop == JOB_TOO_BIG) {
		code = HLK_PERMANENT;
		(void)hlk_fail(task, code, app_code, text, -1);
	} else if (code == HLK_OK) {
		code = complete(job, text, size);
	} else if (app_code == 100) {
		code = HLK_PERMANENT;
		(void)hlk_reject(task, text);
	} else {
		(void)hlk_fail(task, code, app_code, text, -1);
	}
	buf_free(&job->result);
	job->task = NULL;
	return code;
}
