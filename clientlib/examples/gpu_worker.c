/* gpu_worker URL serve NAME GPU VRAM_GB: renders tasks, and says what it has to render them with.
 * gpu_worker URL render REQUIREMENTS PAYLOAD: submits one that only workers with such hardware get, as in 'gpu == "A100" && vram_gb >= 40',
 * and prints who has rendered it. While there is no such worker the task waits, and stands in nobody's way. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../hillock.h"

static const char TYPE[] = "media.v1.Render";
static struct hlk *stopping;

static void on_signal(int number)
{
	(void)number;
	hlk_stop(stopping);
}

static void render(struct hlk *c, struct hlk_task *task, void *ctx)
{
	const struct hlk_task_info *info = hlk_task_info(task);
	char result[256];
	(void)c;
	int size = snprintf(result, sizeof result, "%.*s by %s", (int)(info->size < 128 ? info->size : 128), (const char *)info->payload,
			    (const char *)ctx);
	(void)hlk_complete(task, result, (size_t)size);
}

static int serve(struct hlk *c, char *name, const char *gpu, const char *vram_gb)
{
	char params[128];
	(void)snprintf(params, sizeof params, "gpu=\"%.40s\", vram_gb=%.10s", gpu, vram_gb);
	const struct hlk_serve_options options = { .type = TYPE, .params = params, .credit = 1, .task = render, .ctx = name };
	stopping = c;
	(void)signal(SIGTERM, on_signal);
	(void)signal(SIGINT, on_signal);
	return hlk_worker_run(c, &options, 0);
}

static int submit(struct hlk *c, const char *requirements, const char *payload)
{
	const struct hlk_submit_options options = { .type = TYPE, .requirements = requirements, .want_result = true };
	struct hlk_result result;
	uint64_t task;
	int code = hlk_submit_wait(c, &options, payload, strlen(payload), 5000, &task, NULL);
	if (code == HLK_OK)
		code = hlk_await_wait(c, task, HLK_FOREVER, &result);
	if (code == HLK_OK)
		(void)printf("%s %.*s\n", result.state, (int)result.size, (const char *)result.data);
	return code;
}

int main(int argc, char **argv)
{
	struct hlk *client;
	struct hlk_error error;
	int code;
	if (argc < 5 || (strcmp(argv[2], "serve") == 0) != (argc == 6)) {
		(void)fprintf(stderr, "usage: gpu_worker URL serve NAME GPU VRAM_GB, or gpu_worker URL render REQUIREMENTS PAYLOAD\n");
		return 1;
	}
	if (hlk_connect(argv[1], 5000, &client, &error) != HLK_OK) {
		(void)fprintf(stderr, "gpu_worker: %s\n", error.text);
		return 4;
	}
	code = argc == 6 ? serve(client, argv[3], argv[4], argv[5]) : submit(client, argv[3], argv[4]);
	if (code != HLK_OK)
		(void)fprintf(stderr, "gpu_worker: %s\n", hlk_last_error(client)->text);
	hlk_close(client, 5000);
	return code == HLK_OK ? 0 : 5;
}
