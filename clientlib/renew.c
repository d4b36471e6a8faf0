/* clientlib/renew.c: the credential a client shows: read from its file at every HELLO, and renewed before it ends where it is an access
 * token. In the flow: HELLO <- RENEW; WELCOME -> RENEW -> REQUEST AccessToken -> REPLY -> the next HELLO.
 *
 * 1. A token is wiped before its memory is given back.
 * 2. What cannot be renewed is kept: the broker says when it is over. */
#include "client_impl.h"

#include <fcntl.h>
#include <unistd.h>

enum { TOKEN_MAX = 2048, RETRY_MS = 10000 };

void token_set(struct hlk *c, const char *text, size_t len)
{
	if (c->token) {
		explicit_bzero(c->token, strlen(c->token));
		free(c->token);
	}
	c->token = text ? strndup(text, len) : NULL;
	ENSURE(!text || c->token);
}

/* A file that cannot be read leaves what there is: it may be replaced at this very moment. */
void token_read(struct hlk *c)
{
	char text[TOKEN_MAX + 1];
	if (!c->token_file)
		return;
	int fd = open(c->token_file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, text, sizeof text) : -1;
	if (fd >= 0)
		(void)close(fd);
	size_t len = n > 0 ? (size_t)n : 0;
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r' || text[len - 1] == ' '))
		len--;
	if (len > 0 && len <= TOKEN_MAX)
		token_set(c, text, len);
	explicit_bzero(text, sizeof text);
}

static void ask(struct hlk *c)
{
	struct msg *m = calloc(1, sizeof *m); /* large */
	ENSURE(m != NULL);
	m->kind = FRAME_REQUEST;
	m->request.verb = VERB_ACCESS_TOKEN;
	m->request.settings = QUEUE_SETTINGS_UNSET;
	c->renew.correlation = client_correlation(c);
	c->renew.due_ms = c->now_ms + RETRY_MS;
	session_send(c, m, c->renew.correlation);
	free(m);
}

/* How long it is still good nobody has told: the new one says so of itself. */
void renew_up(struct hlk *c)
{
	c->renew.due_ms = 0;
	if (c->token && strncmp(c->token, "hla1_", 5) == 0)
		ask(c);
}

bool renew_reply(struct hlk *c, uint32_t correlation, const struct msg_reply *m)
{
	struct access_info a;
	char text[128];
	if (c->renew.correlation == 0 || correlation != c->renew.correlation)
		return false;
	c->renew.correlation = 0;
	if (m->code != ERR_OK || m->spec_count != 1 || access_info_decode(msg_reply_spec(m, 0), &a, text) != ERR_OK || a.secret.len == 0 ||
	    a.secret.len > TOKEN_MAX)
		return true;
	token_set(c, (const char *)a.secret.data, a.secret.len);
	c->renew.due_ms = c->now_ms + (int64_t)MIN_OF(a.lifetime_ms / 3 * 2 + 1, (uint64_t)1 << 40);
	return true;
}

void renew_due(struct hlk *c)
{
	if (c->renew.due_ms != 0 && c->now_ms >= c->renew.due_ms)
		ask(c);
}
