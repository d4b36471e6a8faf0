/* tools/acl.c: `hillock acl`: the rules of permission, and why something is or is not allowed.
 *
 * Data flow: arguments -> hlk_rule_*; rows -> output. */
#include "commands.h"

static json_t *rule_json(const struct hlk_access_row *row)
{
	json_t *object = json_object();
	cli_set(object, "effect", json_string(row->denies ? "deny" : "allow"));
	cli_set(object, "principal", json_string(row->name));
	cli_set(object, "verbs", json_string(row->verbs));
	cli_set(object, "target", json_string(row->target));
	cli_set(object, "vnet", json_string(row->vnet));
	return object;
}

static const struct column columns[] = {
	{ "effect", "EFFECT", COLUMN_TEXT }, { "principal", "PRINCIPAL", COLUMN_TEXT }, { "verbs", "VERBS", COLUMN_TEXT },
	{ "target", "TARGET", COLUMN_TEXT }, { "vnet", "VNET", COLUMN_TEXT },
};

static void rule_row(const struct hlk_access_row *row, void *ctx)
{
	output_row(&((struct cli *)ctx)->out, rule_json(row));
}

static int ls_run(struct cli *cli)
{
	int code = cli_connect_vnet(cli, NULL, "");
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, columns, COUNT_OF(columns));
	code = hlk_rule_list(cli->client, rule_row, cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "acl ls");
	output_end(&cli->out);
	return CLI_OK;
}

static int rule_of(struct cli *cli, uint32_t from, struct hlk_rule *out)
{
	out->principal = cli->args.plain[from];
	out->verbs = cli->args.plain[from + 1];
	out->target = cli->args.plain[from + 2];
	out->vnet = args_text(&cli->args, "vnet");
	return cli_connect_vnet(cli, NULL, "");
}

static int add_run(struct cli *cli)
{
	const char *effect = cli->args.plain[0];
	struct hlk_rule rule = { .denies = strcmp(effect, "deny") == 0 };
	if (!rule.denies && strcmp(effect, "allow") != 0)
		return cli_usage(cli, "%.60s: allow or deny", effect);
	int code = rule_of(cli, 1, &rule);
	if (code != CLI_OK)
		return code;
	code = hlk_rule_add(cli->client, &rule);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "acl add");
}

static int rm_run(struct cli *cli)
{
	struct hlk_rule rule = { .denies = false };
	int code = rule_of(cli, 0, &rule);
	if (code != CLI_OK)
		return code;
	code = hlk_rule_remove(cli->client, &rule);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "acl rm");
}

struct answer { struct cli *cli; bool denied; };

static const struct column test_fields[] = {
	{ "allowed", "allowed", COLUMN_TEXT }, { "why", "why", COLUMN_TEXT }, { "rule", "rule", COLUMN_TEXT },
};

static void test_one(const struct hlk_access_row *row, void *ctx)
{
	struct answer *a = ctx;
	char rule[1024] = "";
	json_t *object = json_object();
	a->denied = row->denies;
	if (row->target[0])
		(void)snprintf(rule, sizeof rule, "%s %s %s %s in %s", row->denies ? "deny" : "allow", row->name, row->verbs, row->target,
			       row->vnet);
	cli_set(object, "allowed", json_boolean(!row->denies));
	cli_set(object, "why", json_string(row->why));
	cli_set(object, "rule", json_string(rule));
	output_one(&a->cli->out, test_fields, COUNT_OF(test_fields), object);
}

static int test_run(struct cli *cli)
{
	struct answer a = { cli, false };
	struct hlk_rule rule = { .denies = false };
	int code = rule_of(cli, 0, &rule);
	if (code != CLI_OK)
		return code;
	code = hlk_rule_test(cli->client, &rule, test_one, &a);
	if (code != HLK_OK)
		return cli_failed(cli, code, "acl test");
	return a.denied ? CLI_REFUSED : CLI_OK;
}

const struct command acl_ls_command = {
	"acl", "ls", "", 0, 0, "lists the rules of permission", NULL, "hillock acl ls\tall of them", NULL, ls_run,
};
const struct command acl_add_command = {
	"acl", "add", "allow|deny PRINCIPAL VERBS TARGET", 4, 4, "makes a rule, or turns one around",
	"VERBS are some of submit, serve, publish, subscribe, call, see, control, admin, with commas, or *. PRINCIPAL, TARGET (a type or a\n"
	"queue) and --vnet are names, or begin so: NAME*. Of the rules that fit the most specific one counts: by principal, then target, then\n"
	"vnet, then the number of verbs; among equals deny. Without a rule a principal may do all but admin in its own vnets, and nothing\n"
	"elsewhere. A change is felt by live sessions at once.",
	"hillock acl add deny 'web-*' serve '*'\tno front end works on tasks\n"
	"hillock acl add allow audit see '*' --vnet '*'\tsees what is in every scope, by id",
	NULL, add_run,
};
const struct command acl_rm_command = {
	"acl", "rm", "PRINCIPAL VERBS TARGET", 3, 3, "removes the rule with exactly these words", NULL,
	"hillock acl rm 'web-*' serve '*'\tas if it had not been", NULL, rm_run,
};
const struct command acl_test_command = {
	"acl", "test", "PRINCIPAL VERB TARGET", 3, 3, "says whether it would be allowed, and which rule decides",
	"The exit code is 0 where it is allowed and 5 where it is not.", "hillock acl test web-1 serve media.v1.Transcode\tmay it?", NULL,
	test_run,
};
