/* clientlib/redrives.c: redrives that run inside the broker. In the flow: call -> REQUEST with a RedriveInfo inside -> broker -> REPLY
 * -> rows to the caller, which borrow the frame. */
#include "client_impl.h"

static const char *text_of(struct span s)
{
	return s.data ? (const char *)s.data : "";
}

static void number_of(struct hlk *c, const struct msg_reply *m, void *arg)
{
	(void)c;
	*(uint64_t *)arg = m->count;
}

static int ask(struct hlk *c, enum verb verb, const struct redrive_info *info, const char *what, reply_fn *fn, void *arg)
{
	struct buf spec = { NULL, 0, 0 };
	redrive_info_encode(&spec, info);
	int code = admin_ask(c, &(struct msg_request){ .verb = (uint16_t)verb, .spec = buf_span(&spec) }, verb == VERB_REDRIVE_LIST, what,
			     fn, arg);
	buf_free(&spec);
	return code;
}

int hlk_redrive_start(struct hlk *c, const char *queue, const struct hlk_redrive_options *o, uint64_t *number_out)
{
	uint64_t number = 0;
	const struct redrive_info info = { .queue = span_str(queue), .type = span_str(o->type), .code = (uint16_t)o->code,
					   .rate = o->rate, .limit = o->limit };
	if (info.type.len > LIMIT_NAME_BYTES || info.queue.len > LIMIT_NAME_BYTES)
		return error_set(c, HLK_TOO_BIG, "redrive: a name has more than %d bytes", (int)LIMIT_NAME_BYTES);
	int code = ask(c, VERB_REDRIVE_START, &info, "redrive", number_of, &number);
	if (code == HLK_OK && number_out)
		*number_out = number;
	return code;
}

int hlk_redrive_stop(struct hlk *c, uint64_t number)
{
	return ask(c, VERB_REDRIVE_STOP, &(struct redrive_info){ .number = number }, "redrive stop", NULL, NULL);
}

struct redrive_rows { hlk_redrive_fn *each; void *ctx; int bad; };

static void redrive_rows(struct hlk *c, const struct msg_reply *m, void *arg)
{
	static const char *const states[REDRIVE_STATES] = { "", "running", "done", "stopped" };
	struct redrive_rows *rows = arg;
	(void)c;
	for (uint32_t i = 0; i < m->spec_count; i++) {
		struct redrive_info r;
		char text[128];
		if (redrive_info_decode(msg_reply_spec(m, i), &r, text) != ERR_OK) {
			rows->bad = HLK_MALFORMED;
			continue;
		}
		const struct hlk_redrive_row row = { .number = r.number, .queue = text_of(r.queue), .type = text_of(r.type),
						     .state = r.state < REDRIVE_STATES ? states[r.state] : "", .code = r.code,
						     .rate = r.rate, .limit = r.limit, .done = r.done, .started_ms = r.started_ms,
						     .ended_ms = r.ended_ms };
		rows->each(&row, rows->ctx);
	}
}

int hlk_redrive_list(struct hlk *c, hlk_redrive_fn *each, void *ctx)
{
	struct redrive_rows rows = { each, ctx, HLK_OK };
	int code = ask(c, VERB_REDRIVE_LIST, &(struct redrive_info){ .number = 0 }, "redrives", redrive_rows, &rows);
	if (code == HLK_OK && rows.bad)
		return error_set(c, rows.bad, "redrives: a row of the reply is malformed");
	return code;
}
