/* mock_test [mock://]: how to test a worker without a broker. The function under test is `halve`: it wants an even number, and is
 * tried again when the task says "busy". The client is its own broker here, and time moves when the test says so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../hillock.h"

static void halve(struct hlk *client, struct hlk_task *task, void *ctx)
{
	const struct hlk_task_info *info = hlk_task_info(task);
	char text[32] = "";
	(void)client;
	(void)ctx;
	if (info->size < sizeof text)
		memcpy(text, info->payload, info->size);
	if (strcmp(text, "busy") == 0 && info->attempt == 1) {
		(void)hlk_fail(task, HLK_TRANSIENT, 0, "try me again", 5000);
		return;
	}
	long number = strtol(text, NULL, 10);
	if (number % 2 != 0) {
		(void)hlk_fail(task, HLK_INVALID_INPUT, 3, "odd", -1); /* never tried again */
		return;
	}
	(void)snprintf(text, sizeof text, "%ld", number / 2);
	(void)hlk_complete(task, text, strlen(text));
}

static int failures;

static void expect(struct hlk *client, const char *payload, uint64_t wait_ms, const char *state, const char *data)
{
	const struct hlk_submit_options options = { .type = "test.Halve" };
	struct hlk_result result;
	uint64_t task;
	int code = hlk_submit_wait(client, &options, payload, strlen(payload), 1000, &task, NULL);
	(void)hlk_process(client);
	if (wait_ms > 0)
		(void)hlk_mock_advance(client, wait_ms);
	if (code == HLK_OK)
		code = hlk_await_wait(client, task, 1000, &result);
	bool good = code == HLK_OK && strcmp(result.state, state) == 0 && result.size == strlen(data) &&
		    memcmp(result.data, data, result.size) == 0;
	(void)printf("%s: halve(%s) is %s %s\n", good ? "ok" : "FAILED", payload, state, data);
	failures += !good;
}

int main(int argc, char **argv)
{
	struct hlk *client;
	struct hlk_error error;
	if (hlk_connect(argc > 1 ? argv[1] : "mock://", 1000, &client, &error) != HLK_OK) {
		(void)fprintf(stderr, "mock_test: %s\n", error.text);
		return 4;
	}
	const struct hlk_serve_options serve = { .type = "test.Halve", .task = halve };
	if (hlk_serve(client, &serve, NULL) != HLK_OK)
		return 1;
	expect(client, "84", 0, "done", "42");
	expect(client, "7", 0, "failed", "odd");
	expect(client, "busy", 5000, "done", "0");
	hlk_close(client, 0);
	return failures == 0 ? 0 : 1;
}
