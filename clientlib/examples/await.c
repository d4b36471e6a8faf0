/* await URL TASK [TIMEOUT_MS]: waits for the result of a task that anybody submitted, and prints it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "../hillock.h"

int main(int argc, char **argv)
{
	struct hlk *client;
	struct hlk_error error;
	struct hlk_result result;
	if (argc < 3 || argc > 4) {
		(void)fprintf(stderr, "usage: await URL TASK [TIMEOUT_MS]\n");
		return 1;
	}
	if (hlk_connect(argv[1], 5000, &client, &error) != HLK_OK) {
		(void)fprintf(stderr, "await: %s\n", error.text);
		return 4;
	}
	int timeout_ms = argc == 4 ? atoi(argv[3]) : 30000;
	int code = hlk_await_wait(client, strtoull(argv[2], NULL, 10), timeout_ms, &result);
	if (code == HLK_OK) /* final; whether it went well is in result.code */
		(void)printf("%s %.*s\n", result.state, (int)result.size, (const char *)result.data);
	else
		(void)fprintf(stderr, "await: %s\n", hlk_last_error(client)->text);
	bool good = code == HLK_OK && result.code == HLK_OK;
	hlk_close(client, 0);
	if (good)
		return 0;
	return code == HLK_NOT_FOUND ? 2 : 5;
}
