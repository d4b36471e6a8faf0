/* wire/msg.c: the door to the codec. In the flow: frame -> VERIFY -> session, and back out.
 *
 * 1. A message leaves msg_decode only when its structure (codec.cc) and its values (msg_check.c) are good.
 * 2. The hot kinds are built by codec_hot.c, the others by codec.cc; readers cannot tell. */
#include "codec.h"
#include "crc32c.h"

const char *task_state_name(uint32_t state)
{
	static const char *const names[TASK_STATES] = {
		[TASK_UNKNOWN] = "unknown", [TASK_SCHEDULED] = "scheduled", [TASK_READY] = "ready",
		[TASK_LEASED] = "leased", [TASK_STARTED] = "started", [TASK_DONE] = "done",
		[TASK_FAILED] = "failed", [TASK_CANCELLED] = "cancelled", [TASK_EXPIRED] = "expired",
		[TASK_LOST] = "lost", [TASK_DEAD] = "dead",
	};
	return names[state < TASK_STATES ? state : TASK_UNKNOWN];
}

const char *phase_name(uint32_t phase)
{
	static const char *const names[PHASES] = {
		[PHASE_NONE] = "", [PHASE_STARTED] = "started", [PHASE_CANCELLING] = "cancelling",
		[PHASE_INTERRUPTING] = "interrupting", [PHASE_PAUSING] = "pausing", [PHASE_PAUSED] = "paused",
		[PHASE_RESUMING] = "resuming", [PHASE_STEPPING] = "stepping", [PHASE_RETRY] = "retry",
	};
	return names[phase < PHASES ? phase : PHASE_NONE];
}

enum err msg_decode(const struct frame *frame, struct msg *out, char text[128])
{
	ENSURE((uintptr_t)frame->meta.data % 8 == 0); /* our own buffers: never the peer's doing */
	enum err e = codec_read(frame->kind, frame->meta, out, text);
	if (e != ERR_OK)
		return e;
	out->kind = (enum frame_kind)frame->kind;
	return msg_check(out, frame->payload, text);
}

enum err task_head_decode(struct span head, struct task_head *out, char text[128])
{
	if (head.len > LIMIT_HEAD_BYTES)
		return msg_refuse(text, ERR_TOO_BIG, "TaskHead: %zu bytes are over the limit of %u", head.len,
				  (unsigned)LIMIT_HEAD_BYTES);
	enum err e = codec_head_read(head, out, text);
	return e == ERR_OK ? task_head_check(out, text) : e;
}

void task_head_encode(struct buf *out, const struct task_head *head)
{
	codec_head_write(out, head);
}

/* The checksum is in the meta part, in front of what it covers. */
static uint32_t crc_of(const struct span *pieces, uint32_t count)
{
	uint32_t crc = 0;
	for (uint32_t i = 0; i < count; i++)
		crc = crc32c(crc, pieces[i]);
	return crc;
}

static void finish_with_payload(struct buf *out, size_t begin, const struct span *pieces, uint32_t count)
{
	frame_meta_done(out, begin);
	for (uint32_t i = 0; i < count; i++)
		buf_append(out, pieces[i].data, pieces[i].len);
	frame_end(out, begin);
}

void msg_encode_publish(struct buf *out, const struct msg_publish *m, const struct span *payload, uint32_t payload_count)
{
	size_t begin = frame_begin(out, FRAME_PUBLISH, 0);
	codec_publish_write(out, m, crc_of(payload, payload_count));
	finish_with_payload(out, begin, payload, payload_count);
}

void msg_encode_events(struct buf *out, const struct msg_events *m, const struct span *payload, uint32_t payload_count)
{
	size_t begin = frame_begin(out, FRAME_EVENTS, 0);
	codec_events_write(out, m, crc_of(payload, payload_count));
	finish_with_payload(out, begin, payload, payload_count);
}

#define DEFINE_ENCODE(name, kind)                                                                                                \
	void msg_encode_##name(struct buf *out, const struct msg_##name *m, const struct span *payload, uint32_t payload_count) \
	{                                                                                                                        \
		size_t begin = frame_begin(out, kind, 0);                                                                        \
		codec_##name##_write(out, m, crc_of(payload, payload_count));                                                    \
		finish_with_payload(out, begin, payload, payload_count);                                                         \
	}
DEFINE_ENCODE(call, FRAME_CALL)
DEFINE_ENCODE(invoke, FRAME_INVOKE)
DEFINE_ENCODE(answer, FRAME_ANSWER)
#undef DEFINE_ENCODE

static void encode_cold(struct buf *out, const struct msg *msg)
{
	size_t begin = frame_begin(out, msg->kind, 0);
	codec_write(out, msg);
	frame_meta_done(out, begin);
	frame_end(out, begin);
}

const char *type_policy_name(uint32_t policy)
{
	static const char *const names[] = { "open", "fingerprint", "verify" };
	return policy < COUNT_OF(names) ? names[policy] : "unknown";
}

const char *type_answers_name(uint32_t answers)
{
	return answers == TYPE_ANSWERS_ONE ? "one" : answers == TYPE_ANSWERS_STREAM ? "stream" : "";
}

void msg_encode(struct buf *out, const struct msg *msg, uint32_t correlation, const struct span *payload,
		uint32_t payload_count)
{
	size_t begin = out->len;
	switch (msg->kind) {
	case FRAME_SUBMIT:
		msg_encode_submit(out, &msg->submit, payload, payload_count);
		break;
	case FRAME_CONFIRMS:
		msg_encode_confirms(out, &msg->confirms);
		break;
	case FRAME_UPDATES:
		msg_encode_updates(out, &msg->updates, payload, payload_count);
		break;
	case FRAME_RESULTS:
		msg_encode_results(out, &msg->results, payload, payload_count);
		break;
	case FRAME_CREDIT:
		msg_encode_credit(out, &msg->credit);
		break;
	case FRAME_DELIVER:
		msg_encode_deliver(out, &msg->deliver, payload, payload_count);
		break;
	case FRAME_REPORT:
		msg_encode_report(out, &msg->report, payload, payload_count);
		break;
	case FRAME_REPORTED:
		msg_encode_reported(out, &msg->reported);
		break;
	case FRAME_PUBLISH:
		msg_encode_publish(out, &msg->publish, payload, payload_count);
		break;
	case FRAME_EVENTS:
		msg_encode_events(out, &msg->events, payload, payload_count);
		break;
	case FRAME_CALL:
		msg_encode_call(out, &msg->call, payload, payload_count);
		break;
	case FRAME_INVOKE:
		msg_encode_invoke(out, &msg->invoke, payload, payload_count);
		break;
	case FRAME_ANSWER:
		msg_encode_answer(out, &msg->answer, payload, payload_count);
		break;
	case FRAME_BLOB_CHUNK:
		msg_encode_blob_chunk(out, &msg->blob_chunk, payload, payload_count);
		break;
	case FRAME_BLOB_DATA:
		msg_encode_blob_data(out, &msg->blob_data, payload, payload_count);
		break;
	case FRAME_BLOB_PUT:
	case FRAME_BLOB_STATE:
	case FRAME_BLOB_END:
	case FRAME_BLOB_GET:
	case FRAME_BLOB_MORE:
	case FRAME_WATCH:
	case FRAME_UNWATCH:
	case FRAME_CHANGES:
	case FRAME_CALL_CANCEL:
	case FRAME_BIND:
	case FRAME_BINDING:
	case FRAME_UNBIND:
	case FRAME_SUBSCRIBE:
	case FRAME_SUBSCRIBED:
	case FRAME_UNSUBSCRIBE:
	case FRAME_PUBLISHED:
	case FRAME_EVENT_CREDIT:
	case FRAME_INTEREST:
	case FRAME_HELLO:
	case FRAME_WELCOME:
	case FRAME_ERROR:
	case FRAME_PING:
	case FRAME_PONG:
	case FRAME_GOODBYE:
	case FRAME_AWAIT:
	case FRAME_FORGET:
	case FRAME_SERVE:
	case FRAME_SIGNALS:
	case FRAME_REQUEST:
	case FRAME_REPLY:
	default:
		encode_cold(out, msg);
		break;
	}
	if (correlation != 0)
		frame_set_correlation(out, begin, correlation);
}
