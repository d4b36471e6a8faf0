// wire/codec_session.cc: the messages of a session: handshake, errors, heartbeats, goodbye.
// In the flow: frame -> VERIFY -> session, and back out. Invariants stand in codec.cc.
#include "codec_impl.hh"

static enum err read(const hw::Hello *m, struct msg_hello *out, char text[128])
{
	if (m->session()->size() != sizeof out->session)
		return msg_refuse(text, ERR_INVALID_INPUT, "HELLO.session: %u bytes instead of 16",
				  m->session()->size());
	memcpy(out->session, m->session()->Data(), sizeof out->session);
	out->version_count = MIN_OF(m->versions()->size(), (uint32_t)COUNT_OF(out->versions));
	for (uint32_t i = 0; i < out->version_count; i++)
		out->versions[i] = m->versions()->Get(i);
	out->features = m->features();
	out->client = text_of(m->client());
	out->token = text_of(m->token());
	out->resume = m->resume();
	out->vnet = text_of(m->vnet());
	out->identity = text_of(m->identity());
	out->force = m->force();
	out->release = text_of(m->release());
	return ERR_OK;
}

static enum err read(const hw::Welcome *m, struct msg_welcome *out, char *)
{
	out->version = m->version();
	out->features = m->features();
	out->node = text_of(m->node());
	out->epoch = m->epoch();
	out->resumed = m->resumed();
	out->heartbeat_ms = m->heartbeat_ms();
	out->grace_ms = m->grace_ms();
	out->payload_max = m->payload_max();
	out->frame_payload_max = m->frame_payload_max();
	out->window_max = m->window_max();
	out->broker = text_of(m->broker());
	out->address = m->address();
	out->blob_above = m->blob_above();
	out->blob_max = m->blob_max();
	out->blob_chunk = m->blob_chunk();
	out->store = m->store();
	return ERR_OK;
}

static enum err read(const hw::Error *m, struct msg_error *out, char *)
{
	out->code = m->code();
	out->text = text_of(m->text());
	out->kind = m->kind();
	out->fatal = m->fatal();
	out->retry_after_ms = m->retry_after_ms();
	return ERR_OK;
}

static enum err read(const hw::Ping *m, struct msg_ping *out, char *)
{
	out->echo = m->echo();
	return ERR_OK;
}

static enum err read(const hw::Goodbye *m, struct msg_goodbye *out, char *)
{
	out->code = m->code();
	out->text = text_of(m->text());
	out->retry_after_ms = m->retry_after_ms();
	return ERR_OK;
}

static enum err read_kind(uint16_t kind, struct span meta, struct msg *out, char text[128])
{
	const char *name = frame_kind_name(kind);
	switch (kind) {
	case FRAME_HELLO: return verify_and_read<hw::Hello>(meta, name, &out->hello, text, read);
	case FRAME_WELCOME: return verify_and_read<hw::Welcome>(meta, name, &out->welcome, text, read);
	case FRAME_ERROR: return verify_and_read<hw::Error>(meta, name, &out->error, text, read);
	case FRAME_PING: // the two are one table
	case FRAME_PONG: return verify_and_read<hw::Ping>(meta, name, &out->ping, text, read);
	case FRAME_GOODBYE: return verify_and_read<hw::Goodbye>(meta, name, &out->goodbye, text, read);
	default: return unknown_kind(kind, text);
	}
}

static void write(builder &b, const struct msg_hello *m)
{
	ENSURE(m->version_count >= 1 && m->version_count <= COUNT_OF(m->versions));
	auto versions = b.CreateVector(m->versions, m->version_count);
	auto session = b.CreateVector(m->session, sizeof m->session);
	auto client = put_text(b, m->client);
	auto token = put_text(b, m->token);
	auto vnet = put_text(b, m->vnet);
	auto identity = put_text(b, m->identity);
	auto release = put_text(b, m->release);
	b.Finish(hw::CreateHello(b, versions, m->features, session, client, token, m->resume, vnet, identity,
				 m->force, release));
}

static void write(builder &b, const struct msg_welcome *m)
{
	auto node = put_text(b, m->node);
	auto broker = put_text(b, m->broker);
	b.Finish(hw::CreateWelcome(b, m->version, m->features, node, m->epoch, m->resumed, m->heartbeat_ms,
				   m->grace_ms, m->payload_max, m->frame_payload_max, m->window_max, broker, m->address,
				   m->blob_above, m->blob_max, m->blob_chunk,
				   m->store));
}

static void write(builder &b, const struct msg_error *m)
{
	auto text = put_text(b, m->text);
	b.Finish(hw::CreateError(b, m->code, text, m->kind, m->fatal, m->retry_after_ms));
}

static void write(builder &b, const struct msg_ping *m)
{
	b.Finish(hw::CreatePing(b, m->echo));
}

static void write(builder &b, const struct msg_goodbye *m)
{
	auto text = put_text(b, m->text);
	b.Finish(hw::CreateGoodbye(b, m->code, text, m->retry_after_ms));
}

static void write_kind(builder &b, const struct msg *m)
{
	switch (m->kind) {
	case FRAME_HELLO: write(b, &m->hello); break;
	case FRAME_WELCOME: write(b, &m->welcome); break;
	case FRAME_ERROR: write(b, &m->error); break;
	case FRAME_PING:
	case FRAME_PONG: write(b, &m->ping); break;
	case FRAME_GOODBYE: write(b, &m->goodbye); break;
	default: ENSURE(false); break;
	}
}

const struct codec_area codec_session = { read_kind, write_kind };
