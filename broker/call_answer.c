/* broker/call_answer.c: answers to callers, put aside for their connections until the end of the turn; and cancels to holders.
 *
 * In the flow: ANSWER, a deadline or a loss -> the caller's connection. A call is over with its last answer. */
#include "call_answer.h"

/* Also in the middle of a turn: the frame in hand is read from s->msg, which stays as it is. */
static void answers_encode(struct conn *c)
{
	struct conn_calls *x = c->calls;
	const struct msg_answer m = { .items = (const void *)x->answers.data,
				      .count = (uint32_t)(x->answers.len / sizeof(struct answer_item)) };
	const struct span payload = buf_span(&x->bytes);
	msg_encode_answer(&c->out, &m, &payload, 1);
	x->answers.len = x->bytes.len = 0;
}

/* At the end of a turn. */
void call_encode(struct conn *c)
{
	struct conn_calls *x = c->calls;
	if (!x)
		return;
	if (x->answers.len > 0)
		answers_encode(c);
	const uint64_t *cancels = (const void *)x->cancels.data;
	for (size_t at = 0, count = x->cancels.len / sizeof *cancels; at < count; at += LIMIT_FRAME_ITEMS) {
		c->s->msg.kind = FRAME_CALL_CANCEL;
		c->s->msg.call_cancel.calls = (struct u64s){ cancels + at, (uint32_t)MIN_OF(count - at, (size_t)LIMIT_FRAME_ITEMS) };
		msg_encode(&c->out, &c->s->msg, 0, NULL, 0);
	}
	x->cancels.len = 0;
}

/* Most connections never have anything to say about calls. */
static struct conn_calls *calls_of(struct conn *c)
{
	if (!c->calls)
		c->calls = zalloc(sizeof *c->calls);
	return c->calls;
}

static void answer_put(struct conn *c, const struct answer_item *item, struct span bytes)
{
	if (c->gone || c->closing)
		return;
	struct conn_calls *x = calls_of(c);
	if (x->answers.len >= LIMIT_FRAME_ITEMS * sizeof *item || x->bytes.len + bytes.len > LIMIT_FRAME_PAYLOAD)
		answers_encode(c);
	buf_append(&x->answers, item, sizeof *item);
	buf_append(&x->bytes, bytes.data, bytes.len);
	conn_touch(c);
}

/* To the caller of a call that is, or was about to be. */
void call_refuse(struct conn *c, uint64_t number, enum err code, const char *text)
{
	struct span bytes = span_str(text);
	const struct answer_item item = { .call = number, .size = (uint32_t)bytes.len, .code = (uint16_t)code };
	c->s->counters.calls_not_delivered_total += code == ERR_NOT_DELIVERED;
	answer_put(c, &item, bytes);
}

/* Gives the answer on. With `last` the call is over. */
void call_answer(struct shard *s, struct live_call *call, struct answer_item item, struct span bytes, bool last)
{
	struct conn *c = call->caller->conn;
	item.call = call->number;
	item.session = call->holder ? call->holder->line->session : 0;
	item.entry = call->holder ? call->holder->line->id : 0;
	item.more = !last || (call->group && call->group->left > 1);
	if (c)
		answer_put(c, &item, bytes);
	if (!last)
		return;
	s->counters.calls_not_delivered_total += item.code == ERR_NOT_DELIVERED;
	call_free(s, call);
}

void call_end(struct shard *s, struct live_call *call, enum err code, const char *text)
{
	struct span bytes = span_str(text);
	call_answer(s, call, (struct answer_item){ .size = (uint32_t)bytes.len, .code = (uint16_t)code }, bytes, true);
}

void call_tell_holder(struct live_call *call)
{
	struct conn *c = call->holder ? call->holder->session->conn : NULL;
	if (!c || c->closing)
		return;
	buf_append(&calls_of(c)->cancels, &call->id, sizeof call->id);
	conn_touch(c);
}

void call_timed_out(struct shard *s, struct timer *t)
{
	struct live_call *call = CONTAINER_OF(t, struct live_call, timer);
	if (s->now_ms < call->deadline_ms) {
		timer_set(s, t, call->deadline_ms);
		return;
	}
	call_tell_holder(call);
	s->counters.calls_timeout_total++;
	call_end(s, call, ERR_TIMEOUT, call->holder ? "no answer within the deadline" : "no holder was free within the deadline");
}
