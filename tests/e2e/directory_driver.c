/* tests/e2e/directory_driver.c: a provider made with the library, told what to do on standard input.
 *
 *   directory_driver URL SERVICE PARAMS [SERVICE PARAMS ...]     serves these; answers a call with its number plus one
 *
 * Each line of standard input is "remove SERVICE" or "remove SERVICE WHERE": it says how many entries the broker has taken out. Ends with
 * its input, or when it is asked to. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../clientlib/hillock.h"

enum { WAIT_MS = 20000 };

static void add_one(struct hlk *c, struct hlk_call *call, void *ctx)
{
	const struct hlk_call_info *info = hlk_call_info(call);
	char text[32];
	(void)c;
	(void)ctx;
	(void)snprintf(text, sizeof text, "%.*s", (int)info->size, (const char *)info->payload);
	(void)snprintf(text, sizeof text, "%ld", strtol(text, NULL, 10) + 1);
	(void)hlk_answer(call, text, strlen(text));
}

static void take_out(struct hlk *c, char *line)
{
	uint64_t count = 0;
	char *service = line + strlen("remove "), *where = strchr(service, ' ');
	if (where)
		*where++ = '\0';
	int code = hlk_unserve_service(c, service, where, &count);
	(void)fprintf(stderr, "removed %llu %s\n", (unsigned long long)count, code == HLK_OK ? "" : hlk_last_error(c)->text);
}

int main(int argc, char **argv)
{
	struct hlk *c = NULL;
	char line[512];
	(void)setvbuf(stdin, NULL, _IONBF, 0); /* poll must see what is not read yet */
	if (argc < 4 || argc % 2 != 0 || hlk_connect(argv[1], WAIT_MS, &c, NULL) != HLK_OK)
		return 1;
	for (int i = 2; i < argc; i += 2) {
		const struct hlk_serve_options o = { .type = argv[i], .params = argv[i + 1], .call = add_one };
		if (hlk_serve(c, &o, NULL) != HLK_OK)
			return 1;
	}
	if (hlk_serve_wait(c, WAIT_MS) != HLK_OK)
		return 1;
	(void)fprintf(stderr, "serving\n");
	while (!hlk_stop_asked(c)) {
		struct pollfd fds[2] = { { hlk_fd(c), POLLIN, 0 }, { 0, POLLIN, 0 } };
		(void)poll(fds, 2, -1);
		(void)hlk_process(c);
		if ((fds[1].revents & (POLLIN | POLLHUP)) == 0)
			continue;
		if (!fgets(line, sizeof line, stdin))
			break;
		line[strcspn(line, "\n")] = '\0';
		take_out(c, line);
	}
	hlk_close(c, WAIT_MS);
	return 0;
}
