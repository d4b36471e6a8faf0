/* tools/topic.c: `hillock queue bind | unbind` and `hillock subscription add | ls | rm`: which types go to which queue. */
#include "commands.h"

static void topic_row(const struct hlk_topic_row *row, void *ctx)
{
	struct cli *cli = ctx;
	if (strcmp(row->kind, "events") != 0)
		return;
	json_t *object = json_object();
	output_set_bytes(object, "name", row->queue, strlen(row->queue));
	output_set_bytes(object, "pattern", row->pattern, strlen(row->pattern));
	output_set_bytes(object, "vnet", row->vnet, strlen(row->vnet));
	output_row(&cli->out, object);
}

static int change(struct cli *cli, int (*call)(struct hlk *c, const char *queue, const char *pattern), const char *what)
{
	const char *queue = cli->args.plain[0], *pattern = cli->args.plain_count > 1 ? cli->args.plain[1] : NULL;
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = call(cli->client, queue, pattern);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "%s %s", what, queue);
}

static int bind_run(struct cli *cli) { return change(cli, hlk_queue_bind, "queue bind"); }
static int unbind_run(struct cli *cli) { return change(cli, hlk_queue_unbind, "queue unbind"); }
static int add_run(struct cli *cli) { return change(cli, hlk_subscription_add, "subscription add"); }
static int rm_run(struct cli *cli) { return change(cli, hlk_subscription_remove, "subscription rm"); }

static int ls_run(struct cli *cli)
{
	static const struct column columns[] = { { "name", "NAME", COLUMN_TEXT }, { "pattern", "PATTERN", COLUMN_TEXT },
						 { "vnet", "VNET", COLUMN_TEXT } };
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, columns, COUNT_OF(columns));
	code = hlk_topic_list(cli->client, cli->args.plain_count ? cli->args.plain[0] : NULL, topic_row, cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "subscription ls");
	output_end(&cli->out);
	return CLI_OK;
}

const struct command queue_bind_command = {
	"queue", "bind", "QUEUE PATTERN", 2, 2, "sends tasks of some types to a queue",
	"A pattern is a type, NAMESPACE.* or *. A task that names no queue goes where its type is bound, else to the queue of the type's\n"
	"name; the exact type wins, then the longest namespace. Two queues cannot have the same pattern.",
	"hillock queue bind media 'media.*'\tall media tasks wait in one queue\n"
	"hillock queue bind urgent media.v1.Live\tbut these in another",
	NULL, bind_run,
};
const struct command queue_unbind_command = {
	"queue", "unbind", "QUEUE PATTERN", 2, 2, "takes a binding back; what waits in the queue stays there", NULL,
	"hillock queue unbind media 'media.*'\tfrom now on each type has its own queue again", NULL, unbind_run,
};
const struct command subscription_add_command = {
	"subscription", "add", "NAME PATTERN", 2, 2, "keeps events that match in the queue NAME until its workers have done them",
	"The queue is made where it does not exist. Each such queue has its own place: workers of one share its events, other\n"
	"queues get them all as well. An event is stored once, however many queues it is in.",
	"hillock subscription add billing 'order.*'\tevery event below order, from now on\n"
	"hillock work --queue billing --exec ./bill.sh\tand somebody who works them off",
	NULL, add_run,
};
const struct command subscription_ls_command = {
	"subscription", "ls", "[NAME]", 0, 1, "lists durable subscriptions", NULL, "hillock subscription ls\tall of them", NULL, ls_run,
};
const struct command subscription_rm_command = {
	"subscription", "rm", "NAME [PATTERN]", 1, 2, "ends a durable subscription; its queue stays with what is in it", NULL,
	"hillock subscription rm billing 'order.*'\tone pattern\nhillock subscription rm billing\tall of its patterns", NULL, rm_run,
};
