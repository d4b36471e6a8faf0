/* tests/unit/access_world.h: principals with tokens in a shard of the simulated world, and clients that log in with them. */
#pragma once

#include "shard_world.h"

#include "../../broker/access.h"

static inline struct msg_reply *access_ask(struct client *c, enum verb verb, const char *name, struct access_info info)
{
	struct buf spec = { NULL, 0, 0 };
	access_info_encode(&spec, &info);
	struct msg_reply *r = client_ask(c, (struct msg_request){ .verb = (uint16_t)verb, .name = span_str(name), .spec = buf_span(&spec) });
	buf_free(&spec);
	return r;
}

static inline void keep_secret(struct msg_reply *r, char out[TOKEN_TEXT])
{
	struct access_info info;
	char text[128];
	assert_int_equal(r->code, ERR_OK);
	assert_int_equal(r->spec_count, 1);
	assert_int_equal(access_info_decode(msg_reply_spec(r, 0), &info, text), ERR_OK);
	assert_true(info.secret.len > 0 && info.secret.len < TOKEN_TEXT);
	assert_int_equal(info.hash.len, 0);
	memcpy(out, info.secret.data, info.secret.len);
	out[info.secret.len] = '\0';
}

static inline void make(struct client *c, const char *name, const char *vnet, bool admin, char secret[TOKEN_TEXT])
{
	keep_secret(access_ask(c, VERB_PRINCIPAL_ADD, name,
			       (struct access_info){ .vnets = { span_str(vnet) }, .vnet_count = 1, .with_token = true, .admin = admin }), secret);
}

static inline void hello_with(struct client *c, struct world *w, uint8_t id, const char *token, const char *vnet)
{
	struct msg m = { .kind = FRAME_HELLO };
	client_dial(c, w);
	m.hello.versions[0] = 1;
	m.hello.version_count = 1;
	memset(m.hello.session, id, sizeof m.hello.session);
	m.hello.client = span_str("test");
	m.hello.token = span_str(token);
	m.hello.vnet = span_str(vnet);
	client_send(c, &m, 1, (struct span){ NULL, 0 });
}
