/* submit URL TYPE PAYLOAD: submits one task and waits until it is safe on the broker's disk. Prints its id. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../hillock.h"

int main(int argc, char **argv)
{
	struct hlk *client;
	struct hlk_error error;
	uint64_t task;
	if (argc != 4) {
		(void)fprintf(stderr, "usage: submit URL TYPE PAYLOAD\n");
		return 1;
	}
	if (hlk_connect(argv[1], 5000, &client, &error) != HLK_OK) {
		(void)fprintf(stderr, "submit: %s\n", error.text);
		return 4;
	}
	/* Everything but the type has a default. The result is kept for a while, for `await`. */
	const struct hlk_submit_options options = { .type = argv[2], .retention_ms = 600000 };
	int code = hlk_submit_wait(client, &options, argv[3], strlen(argv[3]), 10000, &task, NULL);
	if (code == HLK_OK)
		(void)printf("%" PRIu64 "\n", task);
	else
		(void)fprintf(stderr, "submit: %s\n", hlk_last_error(client)->text);
	hlk_close(client, 0);
	return code == HLK_OK ? 0 : 5;
}
