/* stream URL TYPE serve|ITEMS: a streaming generator and its caller.
 *
 * "serve" answers each task with as many items as its payload says, one after the other, and says how far it is. With a number it
 * submits such a task and prints the items as they come: all of them, once each and in order, whatever connections do meanwhile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../hillock.h"

static void generate(struct hlk *client, struct hlk_task *task, void *ctx)
{
	const struct hlk_task_info *info = hlk_task_info(task);
	char text[32];
	(void)client;
	(void)ctx;
	(void)snprintf(text, sizeof text, "%.*s", (int)(info->size < 20 ? info->size : 20), (const char *)info->payload);
	unsigned long count = strtoul(text, NULL, 10);
	(void)hlk_yield_on(task); /* an attempt before this one may have come to info->yielded */
	for (unsigned long i = info->yielded; i < count; i++) {
		int size = snprintf(text, sizeof text, "item %lu", i);
		if (hlk_yield(task, text, (size_t)size) != HLK_OK) {
			(void)hlk_fail(task, HLK_RESOURCE_EXHAUSTED, 0, "too much at once", -1);
			return; /* the next attempt goes on from what the broker has */
		}
		(void)hlk_progress(task, (double)(i + 1) / (double)count, NULL);
	}
	(void)hlk_complete(task, "end", 3);
}

static void update(struct hlk *client, const struct hlk_update *u, void *ctx)
{
	(void)client;
	(void)ctx;
	if (u->kind == HLK_YIELD)
		(void)printf("%u: %.*s\n", u->number, (int)u->size, (const char *)u->data);
}

static int call(struct hlk *client, const char *type, const char *items)
{
	const struct hlk_submit_options options = { .type = type, .want_updates = true };
	struct hlk_result result;
	uint64_t task;
	hlk_on_update(client, update, NULL);
	int code = hlk_submit_wait(client, &options, items, strlen(items), 5000, &task, NULL);
	if (code == HLK_OK)
		code = hlk_await_wait(client, task, 30000, &result);
	if (code == HLK_OK)
		(void)printf("%s %.*s\n", result.state, (int)result.size, (const char *)result.data);
	return code;
}

int main(int argc, char **argv)
{
	struct hlk_error error;
	struct hlk *client;
	if (argc != 4) {
		(void)fprintf(stderr, "usage: stream URL TYPE serve|ITEMS\n");
		return 1;
	}
	if (hlk_connect(argv[1], 5000, &client, &error) != HLK_OK) {
		(void)fprintf(stderr, "stream: %s\n", error.text);
		return 4;
	}
	const struct hlk_serve_options serve = { .type = argv[2], .credit = 4, .task = generate };
	int code = strcmp(argv[3], "serve") == 0 ? hlk_worker_run(client, &serve, 0) : call(client, argv[2], argv[3]);
	if (code != HLK_OK)
		(void)fprintf(stderr, "stream: %s\n", hlk_last_error(client)->text);
	hlk_close(client, 5000);
	return code == HLK_OK ? 0 : 4;
}
