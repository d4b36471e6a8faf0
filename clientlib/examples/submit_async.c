/* submit_async URL TYPE COUNT: submits many tasks without waiting for each. Confirms arrive by callback, in batches. */
#include <stdio.h>
#include <stdlib.h>

#include "../hillock.h"

struct progress { unsigned long confirmed, refused; };

static void on_confirm(struct hlk *client, const struct hlk_confirmed *answer, void *ctx)
{
	struct progress *p = ctx;
	(void)client;
	if (answer->code == HLK_OK)
		p->confirmed++;
	else
		p->refused++;
}

int main(int argc, char **argv)
{
	struct hlk *client;
	struct hlk_error error;
	struct progress p = { 0, 0 };
	if (argc != 4) {
		(void)fprintf(stderr, "usage: submit_async URL TYPE COUNT\n");
		return 1;
	}
	if (hlk_connect(argv[1], 5000, &client, &error) != HLK_OK) {
		(void)fprintf(stderr, "submit_async: %s\n", error.text);
		return 4;
	}
	const struct hlk_submit_options options = { .type = argv[2] };
	struct hlk_head *head = hlk_head_new(&options, &error); /* what all of them share, encoded once */
	if (!head) {
		(void)fprintf(stderr, "submit_async: %s\n", error.text);
		hlk_close(client, 0);
		return 1;
	}
	unsigned long count = strtoul(argv[3], NULL, 10), sent = 0;
	while (p.confirmed + p.refused < count) {
		char payload[32];
		int size = snprintf(payload, sizeof payload, "%lu", sent);
		/* HLK_AGAIN: as many are unconfirmed as the window allows. Then, and at the end, let the network work. */
		if (sent < count && hlk_submit(client, head, payload, (size_t)size, on_confirm, &p) == HLK_OK)
			sent++;
		else
			(void)hlk_run(client, 1000);
	}
	hlk_head_free(head);
	hlk_close(client, 1000);
	(void)printf("confirmed %lu refused %lu\n", p.confirmed, p.refused);
	return p.refused == 0 ? 0 : 5;
}
