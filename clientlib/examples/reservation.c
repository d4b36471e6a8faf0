/* reservation URL SERVICE COUNT: keeps two holders of a service for itself. The broker tells of each change and replaces a holder that is
 * lost. Each time it has both of them it asks one something; ends after so many answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../hillock.h"

struct mine { uint32_t binding; int left; };

static void answered(struct hlk *c, const struct hlk_answer *answer, void *ctx)
{
	struct mine *mine = ctx;
	(void)c;
	(void)printf("%s %.*s\n", hlk_error_name(answer->code), (int)answer->size, (const char *)answer->data);
	(void)fflush(stdout);
	mine->left--;
}

static void changed(struct hlk *c, uint32_t binding, enum hlk_binding_state state, uint32_t legs, void *ctx)
{
	static const char *const names[] = { "none", "waiting", "active", "degraded", "ended" };
	struct mine *mine = ctx;
	(void)printf("%s %u\n", names[state], legs);
	(void)fflush(stdout);
	if (state == HLK_BINDING_ENDED)
		mine->left = 0;
	if (state != HLK_BINDING_ACTIVE)
		return;
	const struct hlk_call_options options = { .binding = binding, .type = "math.v1.AddOne", .deadline_ms = 5000 };
	(void)hlk_call(c, &options, "41", 2, answered, mine, NULL);
}

int main(int argc, char **argv)
{
	struct hlk *client;
	struct hlk_error error;
	if (argc != 4) {
		(void)fprintf(stderr, "usage: reservation URL SERVICE COUNT\n");
		return 1;
	}
	if (hlk_connect(argv[1], 5000, &client, &error) != HLK_OK) {
		(void)fprintf(stderr, "reservation: %s\n", error.text);
		return 4;
	}
	struct mine mine = { 0, atoi(argv[3]) };
	const struct hlk_bind_options options = { .service = argv[2], .min = 1, .desired = 2, .state = changed, .ctx = &mine };
	int code = hlk_bind(client, &options, &mine.binding);
	while (code == HLK_OK && mine.left > 0)
		code = hlk_run(client, 1000);
	if (code != HLK_OK)
		(void)fprintf(stderr, "reservation: %s\n", hlk_last_error(client)->text);
	hlk_close(client, 1000);
	return code == HLK_OK ? 0 : 5;
}
