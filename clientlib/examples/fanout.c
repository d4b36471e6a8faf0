/* fanout URL PREFIX serve|PARTS: one job in many parts, and one task that puts them together.
 *
 * With a number it submits so many tasks PREFIX.Part, all members of one group, and right behind them, before any of them is confirmed,
 * the group's callback PREFIX.Sum; then it waits for that one's result. "serve" squares the number of each part, and adds up what the
 * parts have come to where all are done. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../hillock.h"

static unsigned long number(const void *data, size_t size)
{
	char text[32];
	(void)snprintf(text, sizeof text, "%.*s", (int)(size < 20 ? size : 20), (const char *)data);
	return strtoul(text, NULL, 10);
}

static void part(struct hlk *client, struct hlk_task *task, void *ctx)
{
	const struct hlk_task_info *info = hlk_task_info(task);
	char text[32];
	unsigned long n = number(info->payload, info->size);
	(void)client;
	(void)ctx;
	int size = snprintf(text, sizeof text, "%lu", n * n);
	(void)hlk_complete(task, text, (size_t)size);
}

/* The results of the members come one by one; the last of them completes the task. */
struct sum { struct hlk_task *task; unsigned long total, waits; bool listed; };

static void finish(struct sum *s)
{
	char text[32];
	if (!s->listed || s->waits > 0)
		return;
	int size = snprintf(text, sizeof text, "%lu", s->total);
	(void)hlk_complete(s->task, text, (size_t)size);
	free(s);
}

static void member_result(struct hlk *client, const struct hlk_result *result, void *ctx)
{
	struct sum *s = ctx;
	(void)client;
	s->total += number(result->data, result->code == HLK_OK ? result->size : 0);
	s->waits--;
	finish(s);
}

struct work { const char *url; struct hlk *client; struct sum *sum; };

static void member(const struct hlk_task_row *row, void *ctx)
{
	const struct work *w = ctx;
	w->sum->waits++;
	if (hlk_await(w->client, row->task, 30000, member_result, w->sum) != HLK_OK)
		w->sum->waits--;
}

/* Inside a handler nothing may block: a client of its own lists the members. */
static void sum(struct hlk *client, struct hlk_task *task, void *ctx)
{
	const struct work *outer = ctx;
	struct work w = { outer->url, client, calloc(1, sizeof *w.sum) };
	struct hlk *asking;
	struct hlk_error error;
	uint64_t cursor = 0;
	if (!w.sum || hlk_connect(w.url, 5000, &asking, &error) != HLK_OK) {
		free(w.sum);
		(void)hlk_fail(task, HLK_TRANSIENT, 0, "the members cannot be listed now", -1);
		return;
	}
	w.sum->task = task;
	while (hlk_group_members(asking, hlk_task_info(task)->after_group, 1000, &cursor, member, &w) == HLK_OK && cursor != 0)
		continue;
	hlk_close(asking, 0);
	w.sum->listed = true;
	finish(w.sum);
}

static int serve(struct hlk *client, const char *url, const char *part_type, const char *sum_type)
{
	struct work w = { .url = url };
	const struct hlk_serve_options parts = { .type = part_type, .credit = 64, .task = part };
	const struct hlk_serve_options sums = { .type = sum_type, .credit = 4, .task = sum, .ctx = &w };
	int code = hlk_serve(client, &parts, NULL);
	return code == HLK_OK ? hlk_worker_run(client, &sums, 0) : code;
}

static int submit(struct hlk *client, const char *part_type, const char *sum_type, unsigned long parts)
{
	char group[64], text[32];
	(void)snprintf(group, sizeof group, "%.40s %lu", part_type, parts);
	/* Members are kept until the callback has read them. */
	const struct hlk_submit_options member_options = { .type = part_type, .group = group, .retention_ms = 600000 };
	const struct hlk_submit_options callback = { .type = sum_type, .after_group = group, .group_size = parts, .want_result = true };
	struct hlk_result result;
	uint64_t task;
	struct hlk_head *head = hlk_head_new(&member_options, NULL);
	int code = head ? HLK_OK : HLK_INVALID_INPUT;
	for (unsigned long i = 1; code == HLK_OK && i <= parts; i++) {
		int size = snprintf(text, sizeof text, "%lu", i);
		while ((code = hlk_submit(client, head, text, (size_t)size, NULL, NULL)) == HLK_AGAIN)
			(void)hlk_run(client, 100);
	}
	hlk_head_free(head);
	if (code == HLK_OK)
		code = hlk_submit_wait(client, &callback, "", 0, 30000, &task, NULL);
	if (code == HLK_OK)
		code = hlk_await_wait(client, task, 60000, &result);
	if (code == HLK_OK)
		(void)printf("%s %.*s\n", result.state, (int)result.size, (const char *)result.data);
	return code;
}

int main(int argc, char **argv)
{
	struct hlk_error error;
	struct hlk *client;
	char part_type[128], sum_type[128];
	if (argc != 4) {
		(void)fprintf(stderr, "usage: fanout URL PREFIX serve|PARTS\n");
		return 1;
	}
	if (hlk_connect(argv[1], 5000, &client, &error) != HLK_OK) {
		(void)fprintf(stderr, "fanout: %s\n", error.text);
		return 4;
	}
	(void)snprintf(part_type, sizeof part_type, "%.100s.Part", argv[2]);
	(void)snprintf(sum_type, sizeof sum_type, "%.100s.Sum", argv[2]);
	int code = strcmp(argv[3], "serve") == 0 ? serve(client, argv[1], part_type, sum_type)
						 : submit(client, part_type, sum_type, strtoul(argv[3], NULL, 10));
	if (code != HLK_OK)
		(void)fprintf(stderr, "fanout: %s\n", hlk_last_error(client)->text);
	hlk_close(client, 5000);
	return code == HLK_OK ? 0 : 4;
}
