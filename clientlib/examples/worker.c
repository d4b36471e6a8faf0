/* worker URL TYPE [COUNT]: a whole worker from one function. Answers every task with its payload in capitals. */
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "../hillock.h"

static struct hlk *the_client; /* for the signal handler alone */

static void stop(int number)
{
	(void)number;
	hlk_stop(the_client); /* finishes what is in work, then hlk_worker_run returns */
}

static void capitals(struct hlk *client, struct hlk_task *task, void *ctx)
{
	const struct hlk_task_info *info = hlk_task_info(task);
	const unsigned char *payload = info->payload;
	char *result = malloc(info->size + 1);
	(void)client;
	(void)ctx;
	if (!result) {
		(void)hlk_fail(task, HLK_RESOURCE_EXHAUSTED, 0, "out of memory", -1); /* it is tried again later */
		return;
	}
	for (size_t i = 0; i < info->size; i++)
		result[i] = (char)toupper(payload[i]);
	(void)hlk_complete(task, result, info->size);
	free(result);
}

int main(int argc, char **argv)
{
	struct hlk_error error;
	if (argc < 3 || argc > 4) {
		(void)fprintf(stderr, "usage: worker URL TYPE [COUNT]\n");
		return 1;
	}
	if (hlk_connect(argv[1], 5000, &the_client, &error) != HLK_OK) {
		(void)fprintf(stderr, "worker: %s\n", error.text);
		return 4;
	}
	(void)signal(SIGINT, stop);
	(void)signal(SIGTERM, stop);
	const struct hlk_serve_options options = { .type = argv[2], .credit = 16, .task = capitals };
	int code = hlk_worker_run(the_client, &options, argc == 4 ? strtoull(argv[3], NULL, 10) : 0);
	if (code != HLK_OK)
		(void)fprintf(stderr, "worker: %s\n", hlk_last_error(the_client)->text);
	hlk_close(the_client, 1000);
	return code == HLK_OK ? 0 : 5;
}
