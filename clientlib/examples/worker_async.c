/* worker_async URL TYPE COUNT: a worker inside an event loop of its own. Tasks are accepted at once and finished later, here
 * one per turn of the loop; a real program would wait for its own descriptors in the same poll. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../hillock.h"

enum { AT_ONCE = 8 };
struct work { struct hlk_task *tasks[AT_ONCE]; unsigned held; unsigned long done; };

static void accept_task(struct hlk *client, struct hlk_task *task, void *ctx)
{
	struct work *work = ctx;
	(void)client;
	if (work->held < AT_ONCE)
		work->tasks[work->held++] = task; /* it stays valid until it is settled */
	else
		(void)hlk_release(task, -1);
}

static void on_signal(struct hlk *client, struct hlk_task *task, const char *signal, void *ctx)
{
	struct work *work = ctx;
	(void)client;
	if (strcmp(signal, "cancel") != 0)
		return;
	for (unsigned i = 0; i < work->held; i++)
		if (work->tasks[i] == task)
			work->tasks[i] = work->tasks[--work->held];
	(void)hlk_confirm_cancel(task);
}

static void on_settled(struct hlk *client, uint64_t task, uint32_t attempt, int code, void *ctx)
{
	struct work *work = ctx;
	(void)client;
	(void)task;
	(void)attempt;
	work->done += code == HLK_OK; /* the result is on the broker's disk */
}

int main(int argc, char **argv)
{
	struct hlk *client;
	struct hlk_error error;
	struct work work = { .held = 0 };
	if (argc != 4) {
		(void)fprintf(stderr, "usage: worker_async URL TYPE COUNT\n");
		return 1;
	}
	const struct hlk_options options = { .url = argv[1], .name = "worker_async" };
	if (hlk_open(&options, &client, &error) != HLK_OK) { /* connects in the background */
		(void)fprintf(stderr, "worker_async: %s\n", error.text);
		return 1;
	}
	const struct hlk_serve_options serve = { .type = argv[2], .credit = AT_ONCE, .task = accept_task,
						 .signal = on_signal, .ctx = &work };
	hlk_on_settled(client, on_settled, &work);
	int code = hlk_serve(client, &serve, NULL);
	unsigned long count = strtoul(argv[3], NULL, 10);
	while (code == HLK_OK && work.done < count) {
		struct pollfd fd = { .fd = hlk_fd(client), .events = POLLIN };
		(void)poll(&fd, 1, work.held > 0 ? 0 : 1000);
		code = hlk_process(client);
		if (code == HLK_OK && work.held > 0) {
			code = hlk_complete(work.tasks[--work.held], "done", 4);
			(void)hlk_flush(client);
		}
	}
	hlk_close(client, 1000);
	(void)printf("done %lu\n", work.done);
	return code == HLK_OK ? 0 : 5;
}
