/* broker/call_line.c: calls that wait for a holder, and go to whoever is there first.
 *
 * In the flow: CALL with nobody free -> a line -> INVOKE at the end of a turn in which something has changed. Each line is bounded, and so
 * are all of them together. */
#include "call_line.h"

#include "call_answer.h"
#include "call_choose.h"

enum { LINE_CALLS = 4096, LINE_BYTES = 64 << 20, KEPT_BYTES = 256 << 20 };

void call_invoke(struct shard *s, const struct dir_entry *e, const struct session *caller, struct span head, bool stream,
		 const struct invoke_item *items, const struct span *pieces, uint32_t count)
{
	struct conn *c = e->session->conn;
	const struct msg_invoke m = { .entry = e->line->id, .stream = stream, .caller = caller->number,
				      .client = span_str(caller->client), .head = head, .items = items, .count = count };
	msg_encode_invoke(&c->out, &m, pieces, count);
	conn_touch(c);
	s->counters.invokes_total += count;
	e->session->counts.calls += count;
}

static uint32_t left_ms(const struct shard *s, const struct live_call *call)
{
	return call->deadline_ms > s->now_ms ? (uint32_t)(call->deadline_ms - s->now_ms) : 1;
}

struct call_line *call_line_new(struct shard *s, struct dir_service *service, struct binding *binding)
{
	struct call_line *line = zalloc(sizeof *line);
	*line = (struct call_line){ .service = service, .binding = binding, .next = s->calls->lines };
	line->tail = &line->first;
	s->calls->lines = line;
	return line;
}

bool call_wait(struct calls *calls, struct live_call *call, struct call_line *line, const struct asked *asked)
{
	struct span where = asked->where, head = asked->head, payload = asked->payload;
	size_t bytes = where.len + head.len + payload.len;
	if (line->count >= (line->binding ? line->binding->waiting : LINE_CALLS) || line->bytes + bytes > LINE_BYTES ||
	    calls->kept + bytes > KEPT_BYTES)
		return false;
	buf_append(&call->kept, head.data, head.len);
	buf_append(&call->kept, where.data, where.len);
	buf_append(&call->kept, payload.data, payload.len);
	call->head_len = head.len;
	call->where_len = where.len;
	call->line = line;
	call->next = NULL;
	call->link = line->tail;
	*line->tail = call;
	line->tail = &call->next;
	line->count++;
	line->bytes += bytes;
	calls->kept += bytes;
	return true;
}

static void leave_line(struct shard *s, struct live_call *call, struct dir_entry *e)
{
	struct buf kept = call->kept;
	size_t from = call->head_len + call->where_len;
	struct span payload = span_sub(buf_span(&kept), from, kept.len - from);
	call_hand_to(s, call, e); /* counts what is kept out of the line */
	call->kept = (struct buf){ NULL, 0, 0 };
	const struct invoke_item item = { call->id, (uint32_t)payload.len, left_ms(s, call) };
	call_invoke(s, e, call->caller, span_sub(buf_span(&kept), 0, call->head_len), call->stream, &item, &payload, 1);
	buf_free(&kept);
}

static void serve_line(struct shard *s, struct call_line *line)
{
	struct span no_where = span_of(NULL, 0), no_vnet = no_where; /* found nobody free: nor will the next that asks the same */
	bool nobody = false;                                         /* nor anybody at all */
	for (struct live_call *call = line->first, *next; call; call = next) {
		next = call->next;
		struct span where = span_sub(buf_span(&call->kept), call->head_len, call->where_len);
		struct span vnet = span_str(call->caller->vnet);
		if (!call->target_session && no_vnet.data && span_eq(where, no_where) && span_eq(vnet, no_vnet) && (call->wait || !nobody))
			continue;
		struct choice c = line->binding ? call_choose_leg(s, line->binding)
				  : call->target_session ? call_choose_address(s, call->target_session, call->target_entry, vnet)
							 : call_choose(line->service, vnet, where);
		if (c.entry) {
			leave_line(s, call, c.entry);
		} else if (c.holders == 0 && !call->wait) {
			call_end(s, call, ERR_NOT_DELIVERED, "the holders it waited for have gone");
		} else if (!call->target_session) {
			no_where = where;
			no_vnet = vnet;
			nobody = c.holders == 0;
		}
	}
}

void calls_run(struct shard *s)
{
	struct calls *calls = s->calls;
	if (!calls->due)
		return;
	for (struct call_line **at = &calls->lines; *at;) {
		struct call_line *line = *at;
		serve_line(s, line);
		if (line->count > 0) {
			at = &line->next;
			continue;
		}
		*at = line->next;
		if (line->binding) {
			line->binding->line = NULL;
		} else {
			line->service->line = NULL;
			directory_service_drop(s, line->service);
		}
		free(line);
	}
	calls->due = false;
}

void calls_unbound(struct shard *s, struct binding *b)
{
	struct call_line *line = b->line;
	if (!line)
		return;
	while (line->first)
		call_end(s, line->first, ERR_NOT_DELIVERED, "the binding it waited for has ended");
	struct call_line **at = &s->calls->lines;
	while (*at != line)
		at = &(*at)->next;
	*at = line->next;
	b->line = NULL;
	free(line);
}

void calls_changed(struct shard *s)
{
	s->calls->due = s->calls->lines != NULL;
}
