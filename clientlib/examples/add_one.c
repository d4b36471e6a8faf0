/* add_one URL serve BITS: is responsible for adding one to numbers of at most so many bits, until it is stopped.
 * add_one URL ask N: finds out who is responsible and can do it, asks that one, and prints the answer. Should it go away in between, the
 * next one is asked: no address is kept for long. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../hillock.h"

static const char SERVICE[] = "math.v1.AddOne";
static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
	stopping = number;
}

static void add_one(struct hlk *c, struct hlk_call *call, void *ctx)
{
	const struct hlk_call_info *info = hlk_call_info(call);
	char text[32];
	(void)c;
	(void)ctx;
	(void)snprintf(text, sizeof text, "%.*s", (int)info->size, (const char *)info->payload);
	(void)snprintf(text, sizeof text, "%lld", strtoll(text, NULL, 10) + 1);
	(void)hlk_answer(call, text, strlen(text));
}

static int serve(struct hlk *c, const char *bits)
{
	char params[32];
	(void)snprintf(params, sizeof params, "bits=%.10s", bits);
	const struct hlk_serve_options options = { .type = SERVICE, .params = params, .call = add_one };
	(void)signal(SIGTERM, on_signal);
	(void)signal(SIGINT, on_signal);
	int code = hlk_serve(c, &options, NULL);
	if (code == HLK_OK)
		code = hlk_serve_wait(c, 5000);
	while (code == HLK_OK && !stopping && !hlk_stop_asked(c))
		code = hlk_run(c, 1000);
	return code;
}

static void first_of_them(const struct hlk_entry_row *row, void *ctx)
{
	char *address = ctx;
	if (address[0] == '\0' && !row->away)
		(void)snprintf(address, HLK_ADDRESS_BYTES, "%s", row->address);
}

static int ask(struct hlk *c, const char *number)
{
	struct hlk_answer answer;
	int code = HLK_NOT_DELIVERED;
	for (int tries = 0; tries < 3 && code == HLK_NOT_DELIVERED; tries++) {
		char address[HLK_ADDRESS_BYTES] = "";
		code = hlk_directory_list(c, SERVICE, "bits >= 32", first_of_them, address);
		if (code != HLK_OK)
			return code;
		const struct hlk_call_options by_address = { .address = address, .type = SERVICE, .deadline_ms = 5000 };
		const struct hlk_call_options by_service = { .service = SERVICE, .where = "bits >= 32", .deadline_ms = 5000 };
		code = hlk_call_wait(c, address[0] ? &by_address : &by_service, number, strlen(number), &answer);
	}
	if (code == HLK_OK)
		(void)printf("%.*s from %s\n", (int)answer.size, (const char *)answer.data, answer.address);
	return code;
}

int main(int argc, char **argv)
{
	struct hlk *client;
	struct hlk_error error;
	if (argc != 4) {
		(void)fprintf(stderr, "usage: add_one URL serve BITS, or add_one URL ask N\n");
		return 1;
	}
	if (hlk_connect(argv[1], 5000, &client, &error) != HLK_OK) {
		(void)fprintf(stderr, "add_one: %s\n", error.text);
		return 4;
	}
	int code = strcmp(argv[2], "serve") == 0 ? serve(client, argv[3]) : ask(client, argv[3]);
	if (code != HLK_OK)
		(void)fprintf(stderr, "add_one: %s\n", hlk_last_error(client)->text);
	hlk_close(client, 1000);
	return code == HLK_OK ? 0 : 5;
}
