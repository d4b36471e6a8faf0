/* tools/contexts.c: the file of named servers, and which values count. The rules stand in contexts.h. */
#include "contexts.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct { const char *option, *variable; } keys[CONTEXT_KEYS] = {
	[CONTEXT_SERVER] = { "server", "HILLOCK_URL" },
	[CONTEXT_VNET] = { "vnet", "HILLOCK_VNET" },
	[CONTEXT_TOKEN_FILE] = { "token-file", "HILLOCK_TOKEN_FILE" },
	[CONTEXT_TLS_CA] = { "tls-ca", "HILLOCK_TLS_CA" },
	[CONTEXT_TLS_CERT] = { "tls-cert", "HILLOCK_TLS_CERT" },
	[CONTEXT_TLS_KEY] = { "tls-key", "HILLOCK_TLS_KEY" },
	[CONTEXT_TLS_CRL] = { "tls-crl", "HILLOCK_TLS_CRL" },
	[CONTEXT_TLS_SERVER_NAME] = { "tls-server-name", "HILLOCK_TLS_SERVER_NAME" },
};

const char *context_option(enum context_key key) { return keys[key].option; }
const char *context_variable(enum context_key key) { return keys[key].variable; }

static const char *set_variable(const char *name)
{
	const char *value = getenv(name);
	return value && value[0] ? value : NULL;
}

static void find_path(struct contexts *c)
{
	const char *file = set_variable("HILLOCK_CONFIG"), *base = set_variable("XDG_CONFIG_HOME"), *home = set_variable("HOME");
	if (file)
		(void)snprintf(c->path, sizeof c->path, "%s", file);
	else if (base)
		(void)snprintf(c->path, sizeof c->path, "%s/hillock/config", base);
	else if (home)
		(void)snprintf(c->path, sizeof c->path, "%s/.config/hillock/config", home);
}

static struct context *add(struct contexts *c, const char *name)
{
	if (c->count == CONTEXTS_MAX)
		return NULL;
	struct context *fresh = realloc(c->at, (c->count + 1) * sizeof *c->at);
	ENSURE(fresh != NULL);
	c->at = fresh;
	c->at[c->count] = (struct context){ .name = "" };
	(void)snprintf(c->at[c->count].name, CONTEXT_NAME, "%s", name);
	return &c->at[c->count++];
}

const struct context *context_find(const struct contexts *c, const char *name)
{
	for (uint32_t i = 0; i < c->count; i++)
		if (strcmp(c->at[i].name, name) == 0)
			return &c->at[i];
	return NULL;
}

static bool name_ok(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
	return len > 0 && len < CONTEXT_NAME && name[len] == '\0';
}

/* Blanks at both ends are cut off, in place. */
static char *trim(char *text)
{
	text += strspn(text, " \t");
	size_t len = strlen(text);
	while (len > 0 && strchr(" \t\r\n", text[len - 1]))
		text[--len] = '\0';
	return text;
}

static const char *read_line(struct contexts *c, struct context **in, char *line)
{
	char *at = trim(line), *equals;
	size_t len = strlen(at);
	if (len == 0 || at[0] == '#')
		return NULL;
	if (at[0] == '[') {
		at[len - 1] = at[len - 1] == ']' ? '\0' : at[len - 1];
		if (!name_ok(at + 1) || context_find(c, at + 1))
			return "a context has a name of letters, digits and . _ -, once";
		*in = add(c, at + 1);
		return *in ? NULL : "there are too many contexts";
	}
	equals = strchr(at, '=');
	if (!equals)
		return "expected [NAME] or KEY = VALUE";
	*equals = '\0';
	const char *key = trim(at), *value = trim(equals + 1);
	if (!*in && strcmp(key, "current") == 0) {
		(void)snprintf(c->current, sizeof c->current, "%s", value);
		return NULL;
	}
	for (uint32_t i = 0; *in && i < CONTEXT_KEYS; i++)
		if (strcmp(keys[i].option, key) == 0) {
			(void)snprintf((*in)->value[i], CONTEXT_VALUE, "%s", value);
			return NULL;
		}
	return "this key is not known";
}

bool contexts_read(struct contexts *c)
{
	char line[CONTEXT_VALUE + 64];
	struct context *in = NULL;
	*c = (struct contexts){ .count = 0 };
	find_path(c);
	FILE *file = c->path[0] ? fopen(c->path, "re") : NULL;
	if (!file && c->path[0] && errno != ENOENT && errno != ENOTDIR && errno != EACCES) {
		cli_say("%s: %s", c->path, strerror(errno));
		return false;
	}
	uint32_t number = 1;
	const char *wrong = NULL;
	for (; file && !wrong && fgets(line, sizeof line, file); number++)
		wrong = strlen(line) + 1 == sizeof line ? "the line is too long" : read_line(c, &in, line);
	if (file)
		(void)fclose(file);
	if (wrong)
		cli_say("%s:%u: %s", c->path, number - 1, wrong);
	return !wrong;
}

void contexts_free(struct contexts *c)
{
	free(c->at);
	c->at = NULL;
	c->count = 0;
}

/* ---- which value counts ---- */

static const char *pick(const struct cli *cli, enum context_key key, const struct context *first, const struct context *last)
{
	const char *given = args_text(&cli->args, keys[key].option), *variable = set_variable(keys[key].variable);
	if (given)
		return given;
	if (first && first->value[key][0])
		return first->value[key];
	if (variable)
		return variable;
	return last && last->value[key][0] ? last->value[key] : NULL;
}

int context_apply(struct cli *cli, struct contexts *c)
{
	const char *named = args_text(&cli->args, "context"), *variable = set_variable("HILLOCK_CONTEXT");
	const char *wanted = named ? named : variable ? variable : c->current[0] ? c->current : NULL;
	const struct context *context = wanted ? context_find(c, wanted) : NULL;
	if (wanted && !context && strcmp(cli->command->noun, "context") != 0) {
		cli_say("there is no context %.60s in %s: hillock context ls", wanted, c->path);
		return CLI_NOT_FOUND;
	}
	const struct context *first = named ? context : NULL, *last = named ? NULL : context;
	if (args_given(&cli->args, "server") || (!named && set_variable("HILLOCK_URL")))
		first = last = NULL; /* another broker is meant: what we are known by elsewhere is none of its business */
	const char *url = pick(cli, CONTEXT_SERVER, first, last), *token = set_variable("HILLOCK_TOKEN");
	cli->url = url ? url : "tcp://127.0.0.1:4333";
	cli->connect = (struct hlk_options){
		.url = cli->url,
		.vnet = pick(cli, CONTEXT_VNET, first, last),
		.token_file = pick(cli, CONTEXT_TOKEN_FILE, first, last),
		.tls_ca = pick(cli, CONTEXT_TLS_CA, first, last),
		.tls_cert = pick(cli, CONTEXT_TLS_CERT, first, last),
		.tls_key = pick(cli, CONTEXT_TLS_KEY, first, last),
		.tls_crl = pick(cli, CONTEXT_TLS_CRL, first, last),
		.tls_server_name = pick(cli, CONTEXT_TLS_SERVER_NAME, first, last),
	};
	bool file_first = first && first->value[CONTEXT_TOKEN_FILE][0];
	cli->connect.token = args_text(&cli->args, "token-file") || file_first ? NULL : token;
	return CLI_OK;
}

/* ---- the commands ---- */

static bool write_all(const struct contexts *c, FILE *file)
{
	if (c->current[0])
		(void)fprintf(file, "current = %s\n", c->current);
	for (uint32_t i = 0; i < c->count; i++) {
		(void)fprintf(file, "\n[%s]\n", c->at[i].name);
		for (uint32_t k = 0; k < CONTEXT_KEYS; k++)
			if (c->at[i].value[k][0])
				(void)fprintf(file, "%s = %s\n", keys[k].option, c->at[i].value[k]);
	}
	return fflush(file) == 0 && !ferror(file) && fsync(fileno(file)) == 0;
}

static int contexts_write(const struct contexts *c)
{
	char part[CONTEXT_VALUE + 8], folder[CONTEXT_VALUE];
	(void)snprintf(folder, sizeof folder, "%s", c->path);
	for (char *at = folder + 1; (at = strchr(at, '/')) != NULL; *at++ = '/') {
		*at = '\0';
		(void)mkdir(folder, 0700); /* where that does not work opening the file says why */
	}
	(void)snprintf(part, sizeof part, "%s.new", c->path);
	mode_t mask = umask(077);
	FILE *file = fopen(part, "we");
	(void)umask(mask);
	bool good = file && write_all(c, file);
	int error = errno;
	if (file)
		(void)fclose(file);
	if (good && rename(part, c->path) == 0)
		return CLI_OK;
	cli_say("%s: %s", c->path, strerror(good ? errno : error));
	return CLI_REFUSED;
}

static json_t *context_json(const struct contexts *c, const struct context *context)
{
	json_t *object = json_object();
	cli_set(object, "name", json_string(context->name));
	cli_set(object, "current", json_boolean(strcmp(context->name, c->current) == 0));
	for (uint32_t k = 0; k < CONTEXT_KEYS; k++)
		cli_set(object, keys[k].option, json_string(context->value[k]));
	return object;
}

static const struct column list_columns[] = {
	{ "name", "NAME", COLUMN_TEXT }, { "current", "CURRENT", COLUMN_TEXT }, { "server", "SERVER", COLUMN_TEXT },
	{ "vnet", "VNET", COLUMN_TEXT }, { "token-file", "TOKEN FILE", COLUMN_TEXT },
};
static const struct column show_fields[] = {
	{ "name", "name", COLUMN_TEXT }, { "current", "current", COLUMN_TEXT }, { "server", "server", COLUMN_TEXT },
	{ "vnet", "vnet", COLUMN_TEXT }, { "token-file", "token-file", COLUMN_TEXT }, { "tls-ca", "tls-ca", COLUMN_TEXT },
	{ "tls-cert", "tls-cert", COLUMN_TEXT }, { "tls-key", "tls-key", COLUMN_TEXT }, { "tls-crl", "tls-crl", COLUMN_TEXT },
	{ "tls-server-name", "tls-server-name", COLUMN_TEXT },
};

static int ls_run(struct cli *cli)
{
	struct contexts c;
	bool good = contexts_read(&c);
	output_begin(&cli->out, list_columns, COUNT_OF(list_columns));
	for (uint32_t i = 0; i < c.count; i++)
		output_row(&cli->out, context_json(&c, &c.at[i]));
	output_end(&cli->out);
	contexts_free(&c);
	return good ? CLI_OK : CLI_USAGE;
}

/* Runs `change` on the named one, or the current one where none is named. */
static int with_one(struct cli *cli, int (*change)(struct cli *cli, struct contexts *c, uint32_t index))
{
	struct contexts c;
	int code = contexts_read(&c) ? CLI_OK : CLI_USAGE;
	const char *name = cli->args.plain_count ? cli->args.plain[0] : c.current;
	const struct context *found = context_find(&c, name);
	if (code == CLI_OK && !found) {
		cli_say(name[0] ? "there is no context %.60s" : "no context is in use%s", name);
		code = CLI_NOT_FOUND;
	}
	if (code == CLI_OK)
		code = change(cli, &c, (uint32_t)(found - c.at));
	contexts_free(&c);
	return code;
}

static int show(struct cli *cli, struct contexts *c, uint32_t index)
{
	output_one(&cli->out, show_fields, COUNT_OF(show_fields), context_json(c, &c->at[index]));
	return CLI_OK;
}

static int use(struct cli *cli, struct contexts *c, uint32_t index)
{
	(void)cli;
	(void)snprintf(c->current, sizeof c->current, "%s", c->at[index].name);
	return contexts_write(c);
}

static int drop(struct cli *cli, struct contexts *c, uint32_t index)
{
	(void)cli;
	if (strcmp(c->current, c->at[index].name) == 0)
		c->current[0] = '\0';
	memmove(&c->at[index], &c->at[index + 1], (--c->count - index) * sizeof *c->at);
	return contexts_write(c);
}

static int show_run(struct cli *cli) { return with_one(cli, show); }
static int use_run(struct cli *cli) { return with_one(cli, use); }
static int rm_run(struct cli *cli) { return with_one(cli, drop); }

/* A file is named from wherever the command is run later. */
static int take_value(struct cli *cli, struct context *context, enum context_key key)
{
	const char *value = args_text(&cli->args, keys[key].option);
	bool is_file = key >= CONTEXT_TOKEN_FILE && key <= CONTEXT_TLS_CRL;
	char *full = value && is_file ? realpath(value, NULL) : NULL;
	if (value && is_file && !full)
		return cli_usage(cli, "--%s %.200s: %s", keys[key].option, value, strerror(errno));
	bool fits = !value || (strlen(full ? full : value) < CONTEXT_VALUE && !strpbrk(full ? full : value, "\r\n"));
	if (value && fits)
		(void)snprintf(context->value[key], CONTEXT_VALUE, "%s", full ? full : value);
	free(full);
	return fits ? CLI_OK : cli_usage(cli, "--%s: it is too long, or more than one line", keys[key].option);
}

static int add_run(struct cli *cli)
{
	struct contexts c;
	const char *name = cli->args.plain[0];
	if (!name_ok(name))
		return cli_usage(cli, "%.60s: a context has a name of letters, digits and . _ -", name);
	if (!args_given(&cli->args, "server"))
		return cli_usage(cli, "context add: --server is missing");
	int code = contexts_read(&c) ? CLI_OK : CLI_USAGE;
	if (code == CLI_OK && context_find(&c, name)) {
		cli_say("context add %s: there is one of this name; context rm it first", name);
		code = CLI_REFUSED;
	}
	struct context *fresh = code == CLI_OK ? add(&c, name) : NULL;
	if (code == CLI_OK && !fresh)
		code = cli_usage(cli, "there are %d contexts already", CONTEXTS_MAX);
	for (uint32_t k = 0; code == CLI_OK && k < CONTEXT_KEYS; k++)
		code = take_value(cli, fresh, (enum context_key)k);
	if (code == CLI_OK && !c.current[0])
		(void)snprintf(c.current, sizeof c.current, "%s", name);
	if (code == CLI_OK)
		code = contexts_write(&c);
	contexts_free(&c);
	return code;
}

const struct command context_ls_command = {
	"context", "ls", "", 0, 0, "lists the named servers", NULL, "hillock context ls\twhich there are, and which one is in use", NULL, ls_run,
};
const struct command context_show_command = {
	"context", "show", "[NAME]", 0, 1, "shows one, or the one in use", NULL, "hillock context show prod\twhere it is", NULL, show_run,
};
const struct command context_use_command = {
	"context", "use", "NAME", 1, 1, "makes it the one that counts where nothing else is said", NULL,
	"hillock context use prod\tfrom now on", NULL, use_run,
};
const struct command context_add_command = {
	"context", "add", "NAME", 1, 1, "keeps a server, and how to be known there, under a name",
	"What it keeps are the options of every command: --server, --vnet, --token-file and the --tls- ones. The first one is in use at\n"
	"once. The file is ~/.config/hillock/config (or HILLOCK_CONFIG); tokens stay in files of their own.",
	"hillock context add prod --server tls://broker.example:4333 --token-file ~/prod.token --tls-ca ca.pem\tonce\n"
	"hillock queue ls --context prod\tthen",
	NULL, add_run,
};
const struct command context_rm_command = {
	"context", "rm", "NAME", 1, 1, "forgets one", NULL, "hillock context rm prod\tnot its token", NULL, rm_run,
};
