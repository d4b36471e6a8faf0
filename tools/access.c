/* tools/access.c: `hillock principal` and `hillock token`: who there is, and what they show.
 *
 * Data flow: options -> hlk_principal_*, hlk_token_*; rows -> output. A secret goes to stdout once and nowhere else. */
#include "commands.h"

#include <inttypes.h>

static json_t *texts(const char *const *from, size_t count)
{
	char line[2048] = "";
	size_t len = 0;
	for (size_t i = 0; i < count && len < sizeof line - 1; i++)
		len += (size_t)snprintf(line + len, sizeof line - len, "%s%s", i ? "," : "", from[i]);
	return json_string(line);
}

/* "sessions=10,bytes-rate=none" */
static json_t *limits_text(const struct hlk_limit *limits, size_t count, bool used)
{
	char line[512] = "";
	size_t len = 0;
	for (size_t i = 0; i < count && len < sizeof line - 1; i++) {
		len += (size_t)snprintf(line + len, sizeof line - len, "%s%s=", i ? "," : "", limits[i].name);
		len = MIN_OF(len, sizeof line - 1);
		len += (size_t)(limits[i].value == 0 && !used ? snprintf(line + len, sizeof line - len, "none")
			      : snprintf(line + len, sizeof line - len, "%" PRIu64, limits[i].value));
	}
	return json_string(line);
}

static json_t *principal_json(const struct hlk_access_row *row)
{
	json_t *object = json_object();
	char uids[128] = "";
	size_t len = 0;
	for (size_t i = 0; i < row->uid_count && len < sizeof uids - 12; i++)
		len += (size_t)snprintf(uids + len, sizeof uids - len, "%s%u", i ? "," : "", row->uids[i]);
	cli_set(object, "name", json_string(row->name));
	cli_set(object, "vnets", texts(row->vnets, row->vnet_count));
	cli_set(object, "certificates", texts(row->certificates, row->certificate_count));
	cli_set(object, "uids", json_string(uids));
	cli_set(object, "disabled", json_boolean(row->disabled));
	cli_set(object, "created_ms", cli_integer(row->created_ms));
	cli_set(object, "limits", limits_text(row->limits, row->limit_count, false));
	cli_set(object, "used", limits_text(row->used, row->used_count, true));
	return object;
}

static const struct column principal_columns[] = {
	{ "name", "NAME", COLUMN_TEXT }, { "vnets", "VNETS", COLUMN_TEXT }, { "certificates", "CERTIFICATES", COLUMN_TEXT },
	{ "uids", "UIDS", COLUMN_TEXT }, { "disabled", "DISABLED", COLUMN_TEXT }, { "created_ms", "CREATED", COLUMN_TIME },
	{ "limits", "LIMITS", COLUMN_TEXT }, { "used", "USED", COLUMN_TEXT },
};

static void principal_row(const struct hlk_access_row *row, void *ctx)
{
	struct cli *cli = ctx;
	cli->row_count++;
	output_row(&cli->out, principal_json(row));
}

static json_t *token_json(const struct hlk_access_row *row)
{
	json_t *object = json_object();
	char number[24];
	(void)snprintf(number, sizeof number, "%016" PRIx64, row->token);
	cli_set(object, "token", json_string(row->token ? number : ""));
	cli_set(object, "principal", json_string(row->name));
	cli_set(object, "created_ms", cli_integer(row->created_ms));
	cli_set(object, "expires_ms", cli_integer(row->expires_ms));
	if (row->secret[0])
		cli_set(object, "secret", json_string(row->secret));
	return object;
}

static const struct column token_columns[] = {
	{ "token", "TOKEN", COLUMN_TEXT }, { "principal", "PRINCIPAL", COLUMN_TEXT }, { "created_ms", "CREATED", COLUMN_TIME },
	{ "expires_ms", "EXPIRES", COLUMN_TIME },
};
static const struct column secret_fields[] = {
	{ "token", "token", COLUMN_TEXT }, { "principal", "principal", COLUMN_TEXT }, { "expires_ms", "expires", COLUMN_TIME },
	{ "secret", "secret", COLUMN_TEXT },
};

static void token_row(const struct hlk_access_row *row, void *ctx)
{
	output_row(&((struct cli *)ctx)->out, token_json(row));
}

static void secret_one(const struct hlk_access_row *row, void *ctx)
{
	output_one(&((struct cli *)ctx)->out, secret_fields, COUNT_OF(secret_fields), token_json(row));
	cli_say("this secret is shown once: keep it in a file that only its owner reads, and name that with --token-file");
}

/* ---- lists that stand in one option: "a,b" ---- */

struct list { char text[1024]; const char *at[17]; size_t count; };

static const char *const *list_split(struct list *l, const char *from)
{
	if (!from)
		return NULL;
	(void)snprintf(l->text, sizeof l->text, "%s", from);
	for (char *at = l->text, *comma; at && *at && l->count < COUNT_OF(l->at); at = comma ? comma + 1 : NULL) {
		comma = strchr(at, ',');
		if (comma)
			*comma = '\0';
		l->at[l->count++] = at;
	}
	return l->at;
}

enum { LIMITS_MAX = 16 };
struct spec {
	struct list vnets, certificates, uids;
	uint32_t numbers[17];
	struct hlk_limit limits[LIMITS_MAX];
	char names[LIMITS_MAX][32];
	struct hlk_principal_spec spec;
};

/* KEY=VALUE of each --limit. */
static int spec_limits(struct cli *cli, struct spec *s)
{
	if (cli->args.list_count > LIMITS_MAX)
		return cli_usage(cli, "--limit: at most %d", LIMITS_MAX);
	for (uint32_t i = 0; i < cli->args.list_count; i++) {
		const char *text = cli->args.list[i], *value = strchr(text, '=');
		struct hlk_limit *limit = &s->limits[i];
		if (!value || value == text || (size_t)(value - text) >= sizeof s->names[i])
			return cli_usage(cli, "--limit %.60s: expected KEY=VALUE", text);
		(void)snprintf(s->names[i], sizeof s->names[i], "%.*s", (int)(value - text), text);
		limit->name = s->names[i];
		value++;
		if (strcmp(value, "default") == 0)
			limit->value = HLK_LIMIT_INHERIT;
		else if (strcmp(value, "none") == 0)
			limit->value = 0;
		else if (!(strstr(text, "bytes") ? parse_size(value, &limit->value) : parse_count(value, &limit->value)) || limit->value == 0)
			return cli_usage(cli, "--limit %.60s: expected a number above 0, none, or default", text);
	}
	s->spec.limits = s->limits;
	s->spec.limit_count = cli->args.list_count;
	return CLI_OK;
}

static int spec_of(struct cli *cli, struct spec *s)
{
	s->spec.vnets = list_split(&s->vnets, args_text(&cli->args, "vnets"));
	s->spec.vnet_count = s->vnets.count;
	s->spec.certificates = list_split(&s->certificates, args_text(&cli->args, "certificates"));
	s->spec.certificate_count = s->certificates.count;
	s->spec.uids = list_split(&s->uids, args_text(&cli->args, "uids")) ? s->numbers : NULL;
	s->spec.uid_count = s->uids.count;
	for (size_t i = 0; i < s->uids.count; i++) {
		uint64_t number;
		if (!parse_count(s->uids.at[i], &number) || number > UINT32_MAX)
			return cli_usage(cli, "--uids %.60s: expected numbers of users", s->uids.at[i]);
		s->numbers[i] = (uint32_t)number;
	}
	return spec_limits(cli, s);
}

/* ---- principals ---- */

static int principal_list(struct cli *cli, const char *name)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, principal_columns, COUNT_OF(principal_columns));
	code = hlk_principal_list(cli->client, name, principal_row, cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "principal ls");
	output_end(&cli->out);
	if (name && cli->row_count == 0) {
		cli_say("principal show %s: there is no such principal", name);
		return CLI_NOT_FOUND;
	}
	return CLI_OK;
}

static int principal_ls_run(struct cli *cli) { return principal_list(cli, NULL); }
static int principal_show_run(struct cli *cli) { return principal_list(cli, cli->args.plain[0]); }

static int principal_add_run(struct cli *cli)
{
	struct spec s = { .spec = { .with_token = args_number(&cli->args, "with-token") != 0, .admin = args_number(&cli->args, "admin") != 0 } };
	int code = spec_of(cli, &s);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_principal_add(cli->client, cli->args.plain[0], &s.spec, secret_one, cli);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "principal add %s", cli->args.plain[0]);
}

static int principal_set_run(struct cli *cli)
{
	struct spec s = { .spec = { .disabled = 0 } };
	if (args_number(&cli->args, "disable") && args_number(&cli->args, "enable"))
		return cli_usage(cli, "--disable or --enable, not both");
	s.spec.disabled = args_number(&cli->args, "disable") ? 1 : args_number(&cli->args, "enable") ? -1 : 0;
	int code = spec_of(cli, &s);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_principal_set(cli->client, cli->args.plain[0], &s.spec);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "principal set %s", cli->args.plain[0]);
}

static int principal_rm_run(struct cli *cli)
{
	int code = cli_sure(cli, "Principal %s, its tokens and its sessions end", cli->args.plain[0]);
	if (code == CLI_OK)
		code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_principal_remove(cli->client, cli->args.plain[0]);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "principal rm %s", cli->args.plain[0]);
}

/* ---- tokens ---- */

/* For a command about one token: its number, and a connection. */
static int token_begin(struct cli *cli, uint64_t *out)
{
	const char *text = cli->args.plain[0];
	char *end = NULL;
	*out = strtoull(text, &end, 16);
	if (strlen(text) == 16 && *end == '\0' && *out != 0)
		return cli_connect(cli);
	return cli_usage(cli, "%.60s: expected the number of a token, 16 hexadecimal digits, as token ls prints it", text);
}

static int token_ls_run(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	output_begin(&cli->out, token_columns, COUNT_OF(token_columns));
	code = hlk_token_list(cli->client, cli->args.plain_count ? cli->args.plain[0] : NULL, token_row, cli);
	if (code != HLK_OK)
		return cli_failed(cli, code, "token ls");
	output_end(&cli->out);
	return CLI_OK;
}

static int token_add_run(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_token_add(cli->client, cli->args.plain[0], args_number(&cli->args, "lifetime"), secret_one, cli);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "token add %s", cli->args.plain[0]);
}

static int token_rotate_run(struct cli *cli)
{
	uint64_t number;
	int code = token_begin(cli, &number);
	if (code != CLI_OK)
		return code;
	code = hlk_token_rotate(cli->client, number, args_number(&cli->args, "lifetime"), args_number(&cli->args, "overlap"), secret_one, cli);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "token rotate %s", cli->args.plain[0]);
}

static int token_rm_run(struct cli *cli)
{
	uint64_t number;
	int code = token_begin(cli, &number);
	if (code != CLI_OK)
		return code;
	code = hlk_token_remove(cli->client, number);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "token rm %s", cli->args.plain[0]);
}

static int token_access_run(struct cli *cli)
{
	int code = cli_connect(cli);
	if (code != CLI_OK)
		return code;
	code = hlk_access_token(cli->client, args_number(&cli->args, "lifetime"), secret_one, cli);
	return code == HLK_OK ? CLI_OK : cli_failed(cli, code, "token access");
}

/* ---- the commands ---- */

static const struct option add_options[] = {
	{ "vnets", OPTION_TEXT, 0, "A,B", NULL, 0, 0, "the scopes it belongs to, the first is its default; *: every one; none: default" },
	{ "certificates", OPTION_TEXT, 0, "A,B", NULL, 0, 0, "names of certificates it is known by; NAME*: all that begin so" },
	{ "uids", OPTION_TEXT, 0, "N,M", NULL, 0, 0, "users of the broker's machine it is known by, over a unix socket" },
	{ "with-token", OPTION_FLAG, 0, NULL, NULL, 0, 0, "make a token for it, too, and print it" },
	{ "admin", OPTION_FLAG, 0, NULL, NULL, 0, 0, "allow it everything everywhere" },
	{ "limit", OPTION_LIST, 0, "KEY=VALUE", NULL, 0, 0,
	  "sessions, entries, subscriptions, bytes-rate, frames-rate, queue-tasks, queue-permille, stored-bytes; a number, none, default" },
	{ 0 },
};
static const struct option set_options[] = {
	{ "vnets", OPTION_TEXT, 0, "A,B", NULL, 0, 0, "the scopes it belongs to, in place of those it had" },
	{ "certificates", OPTION_TEXT, 0, "A,B", NULL, 0, 0, "names of certificates it is known by" },
	{ "uids", OPTION_TEXT, 0, "N,M", NULL, 0, 0, "users of the broker's machine it is known by" },
	{ "disable", OPTION_FLAG, 0, NULL, NULL, 0, 0, "none of its credentials is accepted any more" },
	{ "enable", OPTION_FLAG, 0, NULL, NULL, 0, 0, "they are again" },
	{ "limit", OPTION_LIST, 0, "KEY=VALUE", NULL, 0, 0,
	  "sessions, entries, subscriptions, bytes-rate, frames-rate, queue-tasks, queue-permille, stored-bytes; a number, none, default" },
	{ 0 },
};
static const struct option sure_options[] = {
	{ "yes", OPTION_FLAG, 0, NULL, NULL, 0, 0, "do not ask" },
	{ 0 },
};
static const struct option token_options[] = {
	{ "lifetime", OPTION_DURATION, 0, "D", "0", 0, 0, "how long it is good; 0: for ever" },
	{ 0 },
};
static const struct option rotate_options[] = {
	{ "lifetime", OPTION_DURATION, 0, "D", "0", 0, 0, "how long the new one is good; 0: for ever" },
	{ "overlap", OPTION_DURATION, 0, "D", "1h", 0, 0, "how long the old one is good beside it" },
	{ 0 },
};

const struct command principal_ls_command = {
	"principal", "ls", "", 0, 0, "lists the principals", NULL, "hillock principal ls\twho there is", NULL, principal_ls_run,
};
const struct command principal_show_command = {
	"principal", "show", "NAME", 1, 1, "shows one principal", NULL, "hillock principal show gpu-1\twhat it is known by", NULL,
	principal_show_run,
};
const struct command principal_add_command = {
	"principal", "add", "NAME", 1, 1, "makes a principal",
	"The first one closes the broker: from then on nobody gets in without credentials, but root and the broker's own user over a unix\n"
	"socket. Give it --admin and --with-token where there is no such socket.",
	"hillock principal add ops --admin --with-token\tthe first one\n"
	"hillock principal add gpu-1 --vnets lab --certificates gpu-1.lab.example\tby its certificate, in one scope",
	add_options, principal_add_run,
};
const struct command principal_set_command = {
	"principal", "set", "NAME", 1, 1, "changes a principal; sessions that it no longer allows end",
	"A limit counts from now on, also for sessions that are there: what is above it stays, and nothing more comes.",
	"hillock principal set gpu-1 --disable\tat once, wherever it is\n"
	"hillock principal set gpu-1 --limit sessions=4 --limit bytes-rate=10M\tof its own, not the broker's", set_options, principal_set_run,
};
const struct command principal_rm_command = {
	"principal", "rm", "NAME", 1, 1, "removes a principal, its tokens and its sessions", NULL,
	"hillock principal rm gpu-1 --yes\tno longer known", sure_options, principal_rm_run,
};
const struct command token_ls_command = {
	"token", "ls", "[PRINCIPAL]", 0, 1, "lists tokens, without their secrets", NULL, "hillock token ls gpu-1\tthose of one principal", NULL,
	token_ls_run,
};
const struct command token_add_command = {
	"token", "add", "PRINCIPAL", 1, 1, "makes a token; its secret is printed once", NULL,
	"hillock token add gpu-1 --lifetime 90d -o json\tfor a quarter", token_options, token_add_run,
};
const struct command token_rotate_command = {
	"token", "rotate", "TOKEN", 1, 1, "makes a new token in place of an old one, which is good for a while more", NULL,
	"hillock token rotate 8a0b1c2d3e4f5061 --overlap 1d\ta day to replace it everywhere", rotate_options, token_rotate_run,
};
const struct command token_rm_command = {
	"token", "rm", "TOKEN", 1, 1, "revokes a token; sessions that came with it end", NULL, "hillock token rm 8a0b1c2d3e4f5061\tat once",
	NULL, token_rm_run,
};
const struct command token_access_command = {
	"token", "access", "", 0, 0, "makes a short-lived token for who you are, to hand on", NULL,
	"hillock token access --lifetime 10m -o json\tfor a script", token_options, token_access_run,
};
