/* tools/work.c: `hillock work`: makes a worker out of any program.
 *
 * One poll loop owns everything: the client's descriptor, a signal descriptor, and the pipes and pidfds of the children.
 * A delivered task waits in `waiting` until a slot is free; only then is its start reported, so that tasks that were
 * merely fetched are not blamed when this process dies.
 *
 * Invariants:
 * 1. taken == settled + waiting + running: a task is never dropped without a settling verb.
 * 2. With --count, no more than that many tasks are settled; what comes beyond is released at once.
 * 3. After the first signal nothing new is started; after the second nothing is left running. */
#include "commands.h"

#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "job.h"
#include "progress.h"

enum { WORK_CONCURRENCY_MAX = 1024, WORK_WAITING_MAX = 65536 };

static const struct option options[] = {
	{ "queue", OPTION_TEXT, 'q', "QUEUE", NULL, 0, 0, "serve this queue, whatever the types in it" },
	{ "exec", OPTION_TEXT, 'e', "CMD", NULL, 0, 0, "run by /bin/sh for each task: payload in, result out" },
	{ "concurrency", OPTION_COUNT, 'c', "N", "1", 1, WORK_CONCURRENCY_MAX, "children at the same time" },
	{ "prefetch", OPTION_COUNT, 0, "N", "0", 0, WORK_WAITING_MAX, "tasks to hold ready beyond those; hides the way" },
	{ "name", OPTION_TEXT, 0, "NAME", "hillock work", 0, 0, "of this worker, for people and for hillock worker" },
	{ "count", OPTION_COUNT, 'n', "N", "0", 0, 0, "stop after this many tasks; 0: never" },
	{ "limit", OPTION_DURATION, 0, "D", "0", 0, 0, "stop a child after this long: fails as TIMEOUT; 0: never" },
	{ "param", OPTION_LIST, 'p', "K=V", NULL, 0, 0, "a parameter for tasks that require some; may be given again" },
	{ "cost", OPTION_COUNT, 0, "N", "0", 0, UINT32_MAX, "for queues that choose by cost: less is better" },
	{ "hot", OPTION_TEXT, 0, "NAME", NULL, 0, 0, "what it has at hand, for queues that prefer it: a loaded model" },
	{ "identity", OPTION_TEXT, 0, "NAME", NULL, 0, 0, "what it is, where only one may live at a time" },
	{ "force", OPTION_FLAG, 0, NULL, NULL, 0, 0, "displace a live worker of the same identity" },
	{ "quiet", OPTION_FLAG, 0, NULL, NULL, 0, 0, "say nothing about single tasks and the connection" },
	{ "payload-file", OPTION_FLAG, 0, NULL, NULL, 0, 0, "the payload is a file: {} in CMD, and HILLOCK_PAYLOAD_FILE" },
	{ "result-file", OPTION_FLAG, 0, NULL, NULL, 0, 0, "the result is what CMD writes to the file HILLOCK_RESULT_FILE" },
	{ "reference-type", OPTION_TEXT, 0, "TYPE", NULL, 0, 0, "refuse references to something of another type" },
	{ 0 },
};

struct work {
	struct cli *cli;
	struct hlk *client;
	const char *command;
	struct job *jobs;
	struct hlk_task **waiting; /* a ring of waiting_room */
	uint32_t waiting_first, waiting_count, waiting_room;
	uint32_t concurrency, running, entry, credit;
	uint64_t count, settled, failed, limit_ms;
	bool stopping, quiet;
	struct job_wish wish;
};

static void state_changed(struct hlk *c, bool connected, const char *detail, void *ctx)
{
	const struct work *work = ctx;
	(void)c;
	if (!work->quiet)
		cli_say("%s%s%s", connected ? "connected" : "not connected, trying again",
			detail && detail[0] ? ": " : "", detail ? detail : "");
}

static uint64_t work_left(const struct work *work)
{
	uint64_t taken = work->settled + work->running + work->waiting_count;
	return work->count == 0 ? UINT64_MAX : work->count - MIN_OF(work->count, taken);
}

static void task_arrived(struct hlk *c, struct hlk_task *task, void *ctx)
{
	struct work *work = ctx;
	(void)c;
	if (work->stopping || work_left(work) == 0 || work->waiting_count == work->waiting_room) {
		(void)hlk_release(task, 0);
		return;
	}
	hlk_task_set_ctx(task, NULL);
	work->waiting[(work->waiting_first + work->waiting_count++) % work->waiting_room] = task;
}

/* Takes a task that has not been started out of the ring; the order of the others stays. */
static void waiting_drop(struct work *work, const struct hlk_task *task)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < work->waiting_count; i++) {
		struct hlk_task *other = work->waiting[(work->waiting_first + i) % work->waiting_room];
		if (other != task)
			work->waiting[(work->waiting_first + kept++) % work->waiting_room] = other;
	}
	ENSURE(kept + 1 == work->waiting_count);
	work->waiting_count = kept;
}

/* Between its files being made ready and its result being up, both excluded. */
static bool job_running(const struct job *job)
{
	return job_prepared(job) && !job->files.transfer;
}

/* Its files are on their way, in or out: there is no process, and the slot is free again. */
static void slot_drop(struct work *work, struct job *job)
{
	job->task = NULL;
	job_files_end(work->client, &job->files);
	buf_free(&job->result);
	work->running--;
}

static void task_signal(struct hlk *c, struct hlk_task *task, const char *signal, void *ctx)
{
	struct work *work = ctx;
	struct job *job = hlk_task_ctx(task);
	bool interrupt = strcmp(signal, "interrupt") == 0, cancel = interrupt || strcmp(signal, "cancel") == 0;
	bool pause = strcmp(signal, "pause") == 0, resume = strcmp(signal, "resume") == 0, lost = strcmp(signal, "lease-lost") == 0;
	(void)c;
	if (strcmp(signal, "deadline-soon") == 0)
		(void)hlk_extend(task, 60000);
	if (job && job_running(job) && (pause || resume))
		job_pause(job, pause);
	if (!cancel && !lost)
		return;
	if (job && !job_running(job)) {
		slot_drop(work, job);
		(void)(cancel ? hlk_confirm_cancel(task) : hlk_release(task, 0));
		return;
	}
	if (job) {
		job_end(job, cancel ? JOB_CANCELLED : JOB_LEASE_LOST, clock_ns());
		if (interrupt)
			job->kill_ns = 1; /* at once */
		return;
	}
	waiting_drop(work, task);
	(void)(cancel ? hlk_confirm_cancel(task) : hlk_release(task, 0));
}

/* Near the end of --count the broker must not send more than is still wanted. */
static void credit_adjust(struct work *work)
{
	uint64_t wanted = work->count ? work->count - work->settled : UINT64_MAX;
	if (work->stopping)
		wanted = 0;
	if (wanted < work->credit) {
		work->credit = (uint32_t)wanted;
		(void)hlk_serve_credit(work->client, work->entry, work->credit);
	}
}

static void job_begin(struct work *work, struct job *job, struct hlk_task *task)
{
	if (job_start(job, task, work->command, work->limit_ms)) {
		(void)hlk_start(task);
		return;
	}
	cli_say("no process for task %llu: %m; given back", (unsigned long long)hlk_task_info(task)->id);
	slot_drop(work, job);
	(void)hlk_release(task, 1000);
}

/* A payload that does not come fails the attempt. */
static void unprepared(struct work *work, struct job *job, int code, const char *text)
{
	struct hlk_task *task = job->task;
	bool wrong = code == HLK_INTEGRITY_MISMATCH || code == HLK_DAMAGED;
	if (!work->quiet)
		cli_say("task %llu: its payload cannot be fetched: %s (%s)", (unsigned long long)hlk_task_info(task)->id, text, hlk_error_name(code));
	slot_drop(work, job);
	work->settled++;
	work->failed++;
	credit_adjust(work);
	(void)hlk_start(task);
	(void)hlk_fail(task, wrong ? HLK_INTEGRITY_MISMATCH : code == HLK_NOT_FOUND ? HLK_PERMANENT : HLK_TRANSIENT, 0, text, -1);
}

static void payload_came(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	struct job *job = ctx;
	struct work *work = job->owner;
	(void)c;
	if (done->code == HLK_CANCELLED || done->code == HLK_CLOSED || !job->files.transfer)
		return;
	job->files.transfer = 0;
	if (done->code == HLK_OK)
		job_begin(work, job, job->task);
	else
		unprepared(work, job, done->code, done->text);
}

static void job_take(struct work *work, struct job *job, struct hlk_task *task)
{
	char text[256] = "";
	const struct hlk_task_info *info = hlk_task_info(task);
	job->owner = work;
	work->running++;
	job_prepare(job, task);
	if (!job_files_needed(&work->wish, info)) {
		job_begin(work, job, task);
		return;
	}
	int code = job_files_begin(work->client, &job->files, &work->wish, info, payload_came, job, text);
	if (code != HLK_OK)
		unprepared(work, job, code, text);
	else if (!job->files.transfer)
		job_begin(work, job, task);
}

static void jobs_start(struct work *work)
{
	for (uint32_t i = 0; i < work->concurrency && work->waiting_count > 0 && !work->stopping; i++) {
		struct job *job = &work->jobs[i];
		if (job->task)
			continue;
		struct hlk_task *task = work->waiting[work->waiting_first];
		work->waiting_first = (work->waiting_first + 1) % work->waiting_room;
		work->waiting_count--;
		job_take(work, job, task);
	}
}

static void job_done(struct work *work, struct job *job)
{
	unsigned long long id = hlk_task_info(job->task)->id;
	unsigned attempt = hlk_task_info(job->task)->attempt;
	char text[JOB_TAIL + 1];
	bool counted = job->stop != JOB_LEASE_LOST && job->stop != JOB_ABANDONED;
	work->running--;
	work->settled += counted;
	credit_adjust(work); /* before settling gives the credit back */
	int code = job_settle(job, text, sizeof text);
	job_files_end(work->client, &job->files);
	if (code == HLK_OK)
		return;
	work->failed += counted;
	if (!work->quiet)
		cli_say("task %llu, attempt %u: %s: %s", id, attempt, hlk_error_name(code),
			counted ? text : "given back");
}

static void result_went(struct hlk *c, const struct hlk_blob_done *done, void *ctx)
{
	struct job *job = ctx;
	struct work *work = job->owner;
	const struct hlk_payload result = { .kind = HLK_BLOB, .size = done->blob.size, .blob = done->blob };
	(void)c;
	if (done->code == HLK_CANCELLED || done->code == HLK_CLOSED || !job->files.transfer)
		return;
	job->files.transfer = 0;
	if (done->code == HLK_OK) {
		job->uploaded = &result;
		job_done(work, job);
		return;
	}
	struct hlk_task *task = job->task;
	cli_say("task %llu: its result cannot be stored: %s (%s)", (unsigned long long)hlk_task_info(task)->id, done->text,
		hlk_error_name(done->code));
	slot_drop(work, job);
	work->settled++;
	work->failed++;
	credit_adjust(work);
	(void)hlk_fail(task, HLK_TRANSIENT, 0, done->text, -1);
}

/* The process is gone. A result that is a file goes up before the task is settled. */
static void job_ended(struct work *work, struct job *job)
{
	bool good = job->stop == JOB_RUNS && WIFEXITED(job->status) && WEXITSTATUS(job->status) == 0;
	if (good && job_files_result(work->client, &job->files, &job->result, result_went, job) == HLK_OK)
		return;
	job_done(work, job);
}

static void stop_begin(struct work *work)
{
	work->stopping = true;
	credit_adjust(work);
	while (work->waiting_count > 0) {
		struct hlk_task *task = work->waiting[work->waiting_first];
		work->waiting_first = (work->waiting_first + 1) % work->waiting_room;
		work->waiting_count--;
		(void)hlk_release(task, 0);
	}
}

static void abandon(struct work *work, struct job *job)
{
	struct hlk_task *task = job->task;
	if (!task)
		return;
	if (job_running(job)) {
		job_end(job, JOB_ABANDONED, clock_ns());
		return;
	}
	slot_drop(work, job);
	(void)hlk_release(task, 0);
}

static void signals_read(struct work *work, int signals)
{
	struct signalfd_siginfo info;
	while (read(signals, &info, sizeof info) == (ssize_t)sizeof info) {
		if (!work->stopping) {
			if (!work->quiet && work->running > 0)
				cli_say("finishing %u running tasks; once more to give them back", work->running);
			stop_begin(work);
			continue;
		}
		for (uint32_t i = 0; i < work->concurrency; i++)
			abandon(work, &work->jobs[i]);
	}
}

static int wait_ms(const struct work *work)
{
	uint64_t now = clock_ns(), due = now + 60 * 1000000000ull;
	for (uint32_t i = 0; i < work->concurrency; i++) {
		uint64_t at = job_due_ns(&work->jobs[i]);
		if (at != 0)
			due = MIN_OF(due, MAX_OF(at, now));
	}
	return (int)((due - now + 999999) / 1000000);
}

static void work_loop(struct work *work, int signals)
{
	uint32_t fd_count = 2 + work->concurrency * JOB_FDS;
	struct pollfd *fds = calloc(fd_count, sizeof *fds);
	ENSURE(fds != NULL);
	while (!(work->stopping && work->running == 0)) {
		fds[0] = (struct pollfd){ hlk_fd(work->client), POLLIN, 0 };
		fds[1] = (struct pollfd){ signals, POLLIN, 0 };
		for (uint32_t i = 0; i < work->concurrency; i++)
			job_fds(&work->jobs[i], &fds[2 + i * JOB_FDS]);
		(void)poll(fds, fd_count, wait_ms(work));
		uint64_t now = clock_ns();
		for (uint32_t i = 0; i < work->concurrency; i++)
			if (work->jobs[i].task && job_running(&work->jobs[i]) && job_step(&work->jobs[i], &fds[2 + i * JOB_FDS], now))
				job_ended(work, &work->jobs[i]);
		/* Every turn: it also sends what the jobs reported. */
		int code = hlk_process(work->client);
		if (code != HLK_OK && code != HLK_AGAIN && code != HLK_NETWORK)
			stop_begin(work);
		signals_read(work, signals);
		if (hlk_stop_asked(work->client) && !work->stopping)
			stop_begin(work);
		jobs_start(work);
		if (work->count && work->settled >= work->count && !work->stopping)
			stop_begin(work);
		(void)hlk_flush(work->client);
	}
	free(fds);
}

static int work_open(struct work *work)
{
	struct cli *cli = work->cli;
	const char *queue = args_text(&cli->args, "queue");
	struct hlk_options options_of_client = cli->connect;
	options_of_client.name = args_text(&cli->args, "name");
	options_of_client.state = state_changed;
	options_of_client.ctx = work;
	options_of_client.identity = args_text(&cli->args, "identity");
	options_of_client.force = args_number(&cli->args, "force");
	struct hlk_error error = { 0 };
	int code = hlk_open(&options_of_client, &cli->client, &error);
	if (code != HLK_OK) {
		cli->client = NULL;
		return cli_usage(cli, "%s: %s", cli->url, error.text);
	}
	work->client = cli->client;
	const char *hot = args_text(&cli->args, "hot");
	struct buf params = { 0 };
	code = hlk_ready_wait(work->client, cli->timeout_ms);
	if (code != HLK_OK)
		return cli_failed(cli, code, "no session with %s", cli->url);
	cli_params(&cli->args, &params);
	struct hlk_serve_options serve = { .type = queue ? NULL : cli->args.plain[0], .queue = queue,
					   .credit = work->credit, .manual_start = true, .task = task_arrived,
					   .signal = task_signal, .ctx = work,
					   .reference_type = args_text(&cli->args, "reference-type"), .params = (const char *)params.data,
					   .cost = (uint32_t)args_number(&cli->args, "cost"), .hot = &hot,
					   .hot_count = hot != NULL };
	code = hlk_serve(work->client, &serve, &work->entry);
	buf_free(&params);
	if (code == HLK_OK)
		code = hlk_serve_wait(work->client, cli->timeout_ms); /* a parameter it cannot read is told here */
	if (code != HLK_OK)
		return cli_failed(cli, code, "serving %s", queue ? queue : serve.type);
	return CLI_OK;
}

static int signals_open(void)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	ENSURE(fd >= 0);
	return fd;
}

static int work_run(struct cli *cli)
{
	const struct args *args = &cli->args;
	if ((args->plain_count == 1) == (args_text(args, "queue") != NULL))
		return cli_usage(cli, "say what to serve: a TYPE, or --queue QUEUE");
	struct work work = {
		.cli = cli,
		.command = args_text(args, "exec"),
		.concurrency = (uint32_t)args_number(args, "concurrency"),
		.count = args_number(args, "count"),
		.limit_ms = args_number(args, "limit"),
		.quiet = args_number(args, "quiet"),
		.wish = { .payload_file = args_number(args, "payload-file"), .result_file = args_number(args, "result-file") },
	};
	if (!work.command)
		return cli_usage(cli, "--exec CMD is missing: the program that does the work");
	work.waiting_room = work.concurrency + (uint32_t)args_number(args, "prefetch");
	work.credit = (uint32_t)(work.count ? MIN_OF(work.count, work.waiting_room) : work.waiting_room);
	work.jobs = calloc(work.concurrency, sizeof *work.jobs);
	work.waiting = calloc(work.waiting_room, sizeof(struct hlk_task *));
	ENSURE(work.jobs != NULL && work.waiting != NULL);
	int signals = signals_open();
	int code = work_open(&work);
	if (code == CLI_OK)
		work_loop(&work, signals);
	(void)close(signals);
	work.quiet = true; /* the goodbye is no news */
	if (cli->client)
		hlk_close(cli->client, cli->timeout_ms);
	cli->client = NULL;
	free(work.jobs);
	free(work.waiting);
	if (code == CLI_OK && !args_number(args, "quiet"))
		cli_say("%llu tasks settled, %llu of them not done", (unsigned long long)work.settled,
			(unsigned long long)work.failed);
	return code;
}

const struct command work_command = {
	"work", NULL, "[TYPE]", 0, 1, "makes a worker out of any program, until it is interrupted",
	"The program gets the payload on standard input, of whatever size; what it prints is the result, up to 64 MiB (--result-file: any size).\n"
	"A reference to what is kept elsewhere comes as JSON, with HILLOCK_PAYLOAD_KIND=reference. In its environment:\n"
	"HILLOCK_TASK_ID, HILLOCK_TASK_TYPE, HILLOCK_TASK_KEY, HILLOCK_TASK_PRIORITY, HILLOCK_QUEUE, HILLOCK_ATTEMPT,\n"
	"HILLOCK_TASK_YIELDED. While it runs it may write lines to descriptor 3 (HILLOCK_FD):\n"
	"  progress 0.5 TEXT   how far it is, 0 to 1\n"
	"  log LEVEL TEXT      0 debug, 1 info, 2 notice, 3 warning, 4 error\n"
	"  yield TEXT          one item of a stream of results; those of an earlier attempt are left out\n"
	"\nexit status of the program:\n"
	"  0      done, with its output as the result\n"
	"  65     INVALID_INPUT: fails for good (EX_DATAERR)\n"
	"  69     DEPENDENCY: to the dead letters (EX_UNAVAILABLE)\n"
	"  70     INTERNAL: tried again (EX_SOFTWARE)\n"
	"  77     SECURITY: to the dead letters (EX_NOPERM)\n"
	"  100    rejected: to the dead letters, never again\n"
	"  other  TRANSIENT: tried again, with backoff; also when killed by a signal (75, EX_TEMPFAIL, says it plainly)\n"
	"The end of its standard error is the error text.\n"
	"\nA first SIGINT or SIGTERM finishes what runs; a second gives it back. A cancelled task gets SIGTERM, and\n"
	"SIGKILL five seconds later; an interrupted one SIGKILL at once, a paused one SIGSTOP until it is resumed.",
	"hillock work demo.v1.Upper --exec 'tr a-z A-Z'\tthe smallest worker\n"
	"hillock work media.v1.Thumb --exec 'convert - -resize 200 png:-' --concurrency 4\tfour at a time\n"
	"hillock work media.v1.Scale --payload-file --result-file --exec 'convert {} -resize 50% tif:$HILLOCK_RESULT_FILE'\tfiles of any size\n"
	"hillock work --queue nightly --exec ./run-one.sh --count 10 --limit 5m\tten tasks, five minutes each\n"
	"hillock work media.v1.Train --exec ./train --param gpu=A100 --param vram_gb=80\tfor tasks that require such a machine",
	options, work_run,
};
