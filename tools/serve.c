/* tools/serve.c: `hillock serve`: answers calls with any program. One poll loop, as in work.c.
 *
 * Invariants:
 * 1. A call that arrived is answered: by its child, or because it was given up. The entry's capacity is the number of children,
 *    so the broker never sends more than there are slots.
 * 2. After a signal the entry is withdrawn; what runs is finished, after a second signal it is ended. */
#include "commands.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "job.h"
#include "progress.h"

enum { SERVE_CHILDREN = 256, SERVE_FETCH = 64 << 20 }; /* larger payloads are refused */

static const struct option options[] = {
	{ "exec", OPTION_TEXT, 'e', "CMD", NULL, 0, 0, "run by /bin/sh for each call: payload in, answer out" },
	{ "param", OPTION_LIST, 'p', "K=V", NULL, 0, 0, "a parameter of the entry; may be given again" },
	{ "concurrency", OPTION_COUNT, 'c', "N", "1", 1, SERVE_CHILDREN, "children at the same time" },
	{ "count", OPTION_COUNT, 'n', "N", "0", 0, 0, "stop after this many calls; 0: never" },
	{ "name", OPTION_TEXT, 0, "NAME", "hillock serve", 0, 0, "of this program, for people and for hillock worker" },
	{ "type", OPTION_TEXT, 0, "TYPE", NULL, 0, 0, "the type of call it understands; default: all" },
	{ "limit", OPTION_DURATION, 0, "D", "0", 0, 0, "stop a child after this long; 0: at the caller's deadline" },
	{ "quiet", OPTION_FLAG, 0, NULL, NULL, 0, 0, "say nothing" },
	{ 0 },
};

struct serve {
	struct cli *cli;
	const char *command;
	struct job *jobs;
	uint32_t concurrency, running, entry;
	uint64_t count, answered, limit_ms;
	bool stopping, quiet;
};

static void call_arrived(struct hlk *c, struct hlk_call *call, void *ctx)
{
	struct serve *serve = ctx;
	(void)c;
	struct job *job = serve->jobs;
	while (job < serve->jobs + serve->concurrency && job->call)
		job++;
	if (job == serve->jobs + serve->concurrency) {
		(void)hlk_answer_error(call, HLK_RESOURCE_EXHAUSTED, 0, "no child is free");
	} else if (!job_start_call(job, call, serve->command, serve->limit_ms)) {
		(void)hlk_answer_error(call, HLK_TRANSIENT, 0, "no process could be started");
	} else {
		serve->running++;
	}
}

static void call_cancelled(struct hlk *c, struct hlk_call *call, void *ctx)
{
	(void)c;
	(void)ctx;
	job_end(hlk_call_ctx(call), JOB_CANCELLED, clock_ns());
}

static void stop(struct serve *serve)
{
	if (!serve->stopping)
		(void)hlk_unserve(serve->cli->client, serve->entry);
	for (uint32_t i = 0; serve->stopping && i < serve->concurrency; i++)
		if (serve->jobs[i].call)
			job_end(&serve->jobs[i], JOB_ABANDONED, clock_ns());
	serve->stopping = true;
}

static int wait_ms(const struct serve *serve)
{
	uint64_t due = 0, now = clock_ns();
	for (uint32_t i = 0; i < serve->concurrency; i++) {
		uint64_t at = job_due_ns(&serve->jobs[i]);
		if (at != 0 && (due == 0 || at < due))
			due = at;
	}
	return due == 0 ? -1 : due <= now ? 0 : (int)MIN_OF((due - now) / 1000000 + 1, (uint64_t)60000);
}

static void step_jobs(struct serve *serve, const struct pollfd *fds)
{
	char text[JOB_TAIL + 64];
	for (uint32_t i = 0; i < serve->concurrency; i++) {
		struct job *job = &serve->jobs[i];
		if (!job->call || !job_step(job, &fds[i * JOB_FDS], clock_ns()))
			continue;
		int code = job_settle(job, text, sizeof text);
		serve->running--;
		serve->answered++;
		if (!serve->quiet && code != HLK_OK)
			cli_say("a call ended with %s: %s", hlk_error_name(code), text);
	}
}

static void loop(struct serve *serve, int signals)
{
	uint32_t fd_count = 2 + serve->concurrency * JOB_FDS;
	struct pollfd *fds = calloc(fd_count, sizeof *fds);
	ENSURE(fds != NULL);
	while (!(serve->stopping && serve->running == 0)) {
		struct signalfd_siginfo info;
		fds[0] = (struct pollfd){ hlk_fd(serve->cli->client), POLLIN, 0 };
		fds[1] = (struct pollfd){ signals, POLLIN, 0 };
		for (uint32_t i = 0; i < serve->concurrency; i++)
			job_fds(&serve->jobs[i], &fds[2 + i * JOB_FDS]);
		(void)poll(fds, fd_count, wait_ms(serve));
		step_jobs(serve, fds + 2);
		(void)hlk_process(serve->cli->client);
		while (read(signals, &info, sizeof info) == (ssize_t)sizeof info)
			stop(serve);
		serve->stopping = serve->stopping || hlk_stop_asked(serve->cli->client); /* no new call comes: those here are answered */
		if (serve->count > 0 && serve->answered >= serve->count && !serve->stopping)
			stop(serve);
		(void)hlk_flush(serve->cli->client);
	}
	free(fds);
}

static int open_entry(struct serve *serve)
{
	struct cli *cli = serve->cli;
	const struct args *args = &cli->args;
	const char *type = args_text(args, "type");
	struct buf params = { 0 };
	int code = cli_connect_vnet(cli, args_text(args, "name"), args_text(args, "vnet"));
	if (code != CLI_OK)
		return code;
	cli_params(args, &params);
	const struct hlk_serve_options entry = { .type = args->plain[0], .params = (const char *)params.data,
						 .capacity = serve->concurrency, .fetch = SERVE_FETCH, .call = call_arrived,
						 .call_cancelled = call_cancelled, .call_types = &type,
						 .call_type_count = type != NULL, .ctx = serve };
	code = hlk_serve(cli->client, &entry, &serve->entry);
	buf_free(&params);
	if (code != HLK_OK)
		return cli_failed(cli, code, "serving %s", args->plain[0]);
	code = hlk_serve_wait(cli->client, cli->timeout_ms);
	if (code != HLK_OK)
		return cli_failed(cli, code, "serving %s", args->plain[0]);
	char address[HLK_ADDRESS_BYTES];
	if (!serve->quiet && hlk_address(cli->client, serve->entry, address) == HLK_OK)
		cli_say("serving %s at %s", args->plain[0], address);
	return CLI_OK;
}

static int serve_run(struct cli *cli)
{
	const struct args *args = &cli->args;
	struct serve serve = { .cli = cli, .command = args_text(args, "exec"), .concurrency = (uint32_t)args_number(args, "concurrency"),
			       .count = args_number(args, "count"), .limit_ms = args_number(args, "limit"),
			       .quiet = args_number(args, "quiet") };
	if (!serve.command)
		return cli_usage(cli, "--exec CMD is missing: the program that answers");
	serve.jobs = calloc(serve.concurrency, sizeof *serve.jobs);
	ENSURE(serve.jobs != NULL);
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	int signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	ENSURE(signals >= 0);
	int code = open_entry(&serve);
	if (code == CLI_OK)
		loop(&serve, signals);
	(void)close(signals);
	if (cli->client)
		hlk_close(cli->client, cli->timeout_ms);
	cli->client = NULL;
	free(serve.jobs);
	return code;
}

const struct command serve_command = {
	"serve", NULL, "SERVICE", 1, 1, "answers calls to a service with any program, until it is interrupted",
	"The program gets the payload on standard input, up to 64 MiB; what it prints, as much, is the answer. In its environment:\n"
	"HILLOCK_CALL_TYPE, HILLOCK_CALL_CLIENT, HILLOCK_CALL_CALLER. Its exit status means what `hillock work` says.\n"
	"For tasks, which are kept until they are done, use `hillock work`.",
	"hillock serve math.v1.AddOne --exec 'read n; echo $((n + 1))'\tadds one\n"
	"hillock serve media.v1.Resize --exec ./resize --param gpu=A100 --param vram_gb=80 -c 4\tfour at a time, with parameters",
	options, serve_run,
};
