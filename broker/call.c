/* broker/call.c: calls: the contract and the invariants stand in call.h.
 *
 * A call is one object of a pool. It is in the list of its caller, and in the list of the entry that works on it or in the line of its
 * service. A call to all holders is as many objects that share a group.
 *
 * Holders are tried in the order of the service's list. The one with the fewest calls in work is taken and goes to the end: round robin
 * among equals, and an idle one ends the search. */
#include "call.h"

#include "binding.h"
#include "types.h"

enum { SLAB = 256, CALLS_MAX = 1 << 20, SESSION_CALLS = 65536, LINE_CALLS = 4096, LINE_BYTES = 64 << 20, KEPT_BYTES = 256 << 20 };

struct group { uint32_t left; };

struct live_call {
	uint64_t id;                       /* generation << 32 | index; its index stays when it is free */
	struct live_call *next, **link;         /* of the entry, or of the line; free: of the free ones */
	struct live_call *caller_next, **caller_link;
	struct session *caller;
	struct dir_entry *holder;          /* NULL: it waits */
	struct call_line *line;            /* while it waits */
	struct group *group;
	uint64_t number, deadline_ms;
	struct timer timer;
	uint64_t target_session;           /* while it waits: an address */
	uint32_t target_entry;
	bool stream, refused;
	struct buf kept;                   /* while it waits: predicate, head, payload */
	size_t where_len, head_len;
};

/* Who waits for a holder of one service, or for a leg of one binding. */
struct call_line {
	struct dir_service *service;       /* one of the two */
	struct binding *binding;
	struct call_line *next;            /* of those that somebody waits in, or did in this turn */
	struct live_call *first, **tail;
	uint32_t count;
	size_t bytes;
};

struct calls {
	struct live_call **slabs;
	uint32_t slab_count, open;
	size_t kept;                       /* bytes in all lines */
	struct live_call *free;
	struct call_line *lines;
	bool due;                          /* who waits may be served, or has nobody left to wait for */
	struct dir_entry *chosen[LIMIT_FRAME_ITEMS];
	struct invoke_item items[LIMIT_FRAME_ITEMS];
	struct span pieces[LIMIT_FRAME_ITEMS];
	uint64_t cancels[LIMIT_FRAME_ITEMS];
};

struct calls *calls_new(struct shard *s)
{
	(void)s;
	return zalloc(sizeof(struct calls));
}

void calls_free(struct calls *calls)
{
	ENSURE(calls->open == 0);
	for (uint32_t i = 0; i < calls->slab_count; i++)
		free(calls->slabs[i]);
	free(calls->slabs);
	free(calls);
}

/* ---- the pool ---- */

static struct live_call *call_at(const struct calls *calls, uint64_t id)
{
	uint32_t index = (uint32_t)id;
	if (index / SLAB >= calls->slab_count)
		return NULL;
	struct live_call *call = &calls->slabs[index / SLAB][index % SLAB];
	return call->id == id && call->caller ? call : NULL;
}

static void pool_grow(struct calls *calls)
{
	struct live_call **slabs = realloc(calls->slabs, (calls->slab_count + 1) * sizeof(struct live_call *));
	ENSURE(slabs != NULL);
	calls->slabs = slabs;
	struct live_call *slab = zalloc(sizeof *slab * SLAB);
	slabs[calls->slab_count] = slab;
	for (uint32_t i = SLAB; i-- > 0;) {
		slab[i].id = (uint64_t)1 << 32 | (calls->slab_count * SLAB + i);
		slab[i].next = calls->free;
		calls->free = &slab[i];
	}
	calls->slab_count++;
}

static void timed_out(struct shard *s, struct timer *t);

static struct live_call *call_new(struct shard *s, struct session *caller, uint64_t number, uint64_t deadline_ms)
{
	struct calls *calls = s->calls;
	if (!calls->free)
		pool_grow(calls);
	struct live_call *call = calls->free;
	calls->free = call->next;
	calls->open++;
	call->next = NULL;
	call->link = NULL;
	call->caller = caller;
	call->number = number;
	call->deadline_ms = deadline_ms;
	call->caller_next = caller->calls;
	call->caller_link = &caller->calls;
	if (call->caller_next)
		call->caller_next->caller_link = &call->caller_next;
	caller->calls = call;
	caller->call_count++;
	call->timer.fire = timed_out;
	timer_set(s, &call->timer, deadline_ms);
	return call;
}

static void unlink_work(struct calls *calls, struct live_call *call)
{
	calls->due = calls->lines != NULL;
	if (call->link) {
		*call->link = call->next;
		if (call->next)
			call->next->link = call->link;
	}
	if (call->holder) {
		call->holder->in_flight--;
	} else if (call->line) {
		struct call_line *line = call->line;
		if (line->tail == &call->next)
			line->tail = call->link;
		line->count--;
		line->bytes -= call->kept.len;
		calls->kept -= call->kept.len;
	}
	call->link = NULL;
	call->holder = NULL;
	call->line = NULL;
}

static void call_free(struct shard *s, struct live_call *call)
{
	struct calls *calls = s->calls;
	struct session *caller = call->caller;
	unlink_work(calls, call);
	timer_clear(s, &call->timer);
	*call->caller_link = call->caller_next;
	if (call->caller_next)
		call->caller_next->caller_link = call->caller_link;
	caller->call_count--;
	if (call->group && --call->group->left == 0)
		free(call->group);
	buf_free(&call->kept);
	const uint64_t id = call->id + ((uint64_t)1 << 32);
	memset(call, 0, sizeof *call);
	call->id = id;
	call->next = calls->free;
	calls->free = call;
	calls->open--;
}

/* ---- answers ---- */

/* Also in the middle of a turn: the frame in hand is read from s->msg, which stays as it is. */
static void answers_encode(struct conn *c)
{
	const struct msg_answer m = { .items = (const void *)c->answers.data,
				      .count = (uint32_t)(c->answers.len / sizeof(struct answer_item)) };
	const struct span payload = buf_span(&c->answer_bytes);
	msg_encode_answer(&c->out, &m, &payload, 1);
	c->answers.len = c->answer_bytes.len = 0;
}

/* At the end of a turn. */
void call_encode(struct conn *c)
{
	if (c->answers.len > 0)
		answers_encode(c);
	const uint64_t *cancels = (const void *)c->cancels.data;
	for (size_t at = 0, count = c->cancels.len / sizeof *cancels; at < count; at += LIMIT_FRAME_ITEMS) {
		c->s->msg.kind = FRAME_CALL_CANCEL;
		c->s->msg.call_cancel.calls = (struct u64s){ cancels + at, (uint32_t)MIN_OF(count - at, (size_t)LIMIT_FRAME_ITEMS) };
		msg_encode(&c->out, &c->s->msg, 0, NULL, 0);
	}
	c->cancels.len = 0;
}

static void answer_put(struct conn *c, const struct answer_item *item, struct span bytes)
{
	if (c->gone || c->closing)
		return;
	if (c->answers.len >= LIMIT_FRAME_ITEMS * sizeof *item || c->answer_bytes.len + bytes.len > LIMIT_FRAME_PAYLOAD)
		answers_encode(c);
	buf_append(&c->answers, item, sizeof *item);
	buf_append(&c->answer_bytes, bytes.data, bytes.len);
	conn_touch(c);
}

/* To the caller of a call that is, or was about to be. */
static void refuse_number(struct conn *c, uint64_t number, enum err code, const char *text)
{
	struct span bytes = span_str(text);
	const struct answer_item item = { .call = number, .size = (uint32_t)bytes.len, .code = (uint16_t)code };
	c->s->counters.calls_not_delivered_total += code == ERR_NOT_DELIVERED;
	answer_put(c, &item, bytes);
}

/* Gives the answer on. With `last` the call is over. */
static void answer_call(struct shard *s, struct live_call *call, struct answer_item item, struct span bytes, bool last)
{
	struct conn *c = call->caller->conn;
	item.call = call->number;
	item.session = call->holder ? call->holder->line->session : 0;
	item.entry = call->holder ? call->holder->line->id : 0;
	item.more = !last || (call->group && call->group->left > 1);
	item.pad = 0;
	if (c)
		answer_put(c, &item, bytes);
	if (!last)
		return;
	s->counters.calls_not_delivered_total += item.code == ERR_NOT_DELIVERED;
	call_free(s, call);
}

static void end_call(struct shard *s, struct live_call *call, enum err code, const char *text)
{
	struct span bytes = span_str(text);
	answer_call(s, call, (struct answer_item){ .size = (uint32_t)bytes.len, .code = (uint16_t)code }, bytes, true);
}

static void tell_holder(struct live_call *call)
{
	struct conn *c = call->holder ? call->holder->session->conn : NULL;
	if (!c || c->closing)
		return;
	buf_append(&c->cancels, &call->id, sizeof call->id);
	conn_touch(c);
}

static void timed_out(struct shard *s, struct timer *t)
{
	struct live_call *call = CONTAINER_OF(t, struct live_call, timer);
	if (s->now_ms < call->deadline_ms) {
		timer_set(s, t, call->deadline_ms);
		return;
	}
	tell_holder(call);
	s->counters.calls_timeout_total++;
	end_call(s, call, ERR_TIMEOUT, call->holder ? "no answer within the deadline" : "no holder was free within the deadline");
}

/* ---- holders ---- */

static bool can_take(const struct dir_entry *e)
{
	struct conn *c = e->session->conn;
	if (!c || c->closing || e->session->draining || e->in_flight >= e->line->capacity)
		return false;
	if (conn_queued(c) <= c->s->config.out_buffer_soft)
		return true;
	c->starved = true; /* calls_unblock comes when it has room */
	return false;
}

/* Would take it some day: it is here and not on its way out. */
bool calls_holder(const struct dir_entry *e)
{
	return e->session->conn && !e->session->conn->closing && !e->session->draining && !e->line->by_queue;
}

struct choice { struct dir_entry *entry; uint32_t holders; };

static struct choice choose(struct dir_service *service, struct span vnet, struct span where)
{
	struct choice c = { NULL, 0 };
	for (struct dir_entry *e = service->first; e; e = e->next) {
		if (!calls_holder(e) || !directory_fits(e->line, vnet, where))
			continue;
		c.holders++;
		if (!can_take(e) || (c.entry && e->in_flight >= c.entry->in_flight))
			continue;
		c.entry = e;
		if (e->in_flight == 0)
			break;
	}
	if (c.entry)
		directory_rotate(c.entry);
	return c;
}

static struct choice choose_address(struct shard *s, uint64_t number, uint32_t entry, struct span vnet)
{
	struct choice c = { NULL, 0 };
	struct session *session = directory_session(s, number);
	struct dir_entry *e = session ? directory_entry(session, entry) : NULL;
	if (!e || !calls_holder(e) || !directory_fits(e->line, vnet, span_of(NULL, 0)))
		return c;
	c.holders = 1;
	c.entry = can_take(e) ? e : NULL;
	return c;
}

/* ---- handing out ---- */

static void hand_to(struct shard *s, struct live_call *call, struct dir_entry *e)
{
	unlink_work(s->calls, call);
	call->holder = e;
	call->next = e->calls;
	call->link = &e->calls;
	if (call->next)
		call->next->link = &call->next;
	e->calls = call;
	e->in_flight++;
}

static void invoke(struct shard *s, const struct dir_entry *e, const struct session *caller, struct span head, bool stream,
		   const struct invoke_item *items, const struct span *pieces, uint32_t count)
{
	struct conn *c = e->session->conn;
	const struct msg_invoke m = { .entry = e->line->id, .stream = stream, .caller = caller->number,
				      .client = span_str(caller->client), .head = head, .items = items, .count = count };
	msg_encode_invoke(&c->out, &m, pieces, count);
	conn_touch(c);
	s->counters.invokes_total += count;
}

static uint32_t left_ms(const struct shard *s, const struct live_call *call)
{
	return call->deadline_ms > s->now_ms ? (uint32_t)(call->deadline_ms - s->now_ms) : 1;
}

static struct choice choose_leg(struct shard *s, const struct binding *b)
{
	struct choice c = { NULL, 1 }; /* while there is the binding, there is something to wait for */
	for (uint32_t i = 0; b->state != BINDING_WAITING && i < b->leg_count; i++) {
		struct session *session = directory_session(s, b->legs[i].session);
		struct dir_entry *e = session ? directory_entry(session, b->legs[i].entry) : NULL;
		if (e && e->service == b->service && calls_holder(e) && can_take(e) && (!c.entry || e->in_flight < c.entry->in_flight))
			c.entry = e;
	}
	return c;
}

static struct call_line *line_new(struct shard *s, struct dir_service *service, struct binding *binding)
{
	struct call_line *line = zalloc(sizeof *line);
	*line = (struct call_line){ .service = service, .binding = binding, .next = s->calls->lines };
	line->tail = &line->first;
	s->calls->lines = line;
	return line;
}

struct asked { struct span where, head, payload; };

/* False: the line is full. */
static bool wait_in_line(struct calls *calls, struct live_call *call, struct call_line *line, const struct asked *asked)
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
	hand_to(s, call, e); /* counts what is kept out of the line */
	call->kept = (struct buf){ NULL, 0, 0 };
	const struct invoke_item item = { call->id, (uint32_t)payload.len, left_ms(s, call) };
	invoke(s, e, call->caller, span_sub(buf_span(&kept), 0, call->head_len), call->stream, &item, &payload, 1);
	buf_free(&kept);
}

static void serve_line(struct shard *s, struct call_line *line)
{
	struct span no_where = span_of(NULL, 0), no_vnet = no_where; /* found nobody free: nor will the next that asks the same */
	for (struct live_call *call = line->first, *next; call; call = next) {
		next = call->next;
		struct span where = span_sub(buf_span(&call->kept), call->head_len, call->where_len);
		struct span vnet = span_str(call->caller->vnet);
		if (!call->target_session && no_vnet.data && span_eq(where, no_where) && span_eq(vnet, no_vnet))
			continue;
		struct choice c = line->binding ? choose_leg(s, line->binding)
				  : call->target_session ? choose_address(s, call->target_session, call->target_entry, vnet)
							 : choose(line->service, vnet, where);
		if (c.entry) {
			leave_line(s, call, c.entry);
		} else if (c.holders == 0) {
			end_call(s, call, ERR_NOT_DELIVERED, "the holders it waited for have gone");
		} else if (!call->target_session) {
			no_where = where;
			no_vnet = vnet;
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
		end_call(s, line->first, ERR_NOT_DELIVERED, "the binding it waited for has ended");
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

/* ---- CALL ---- */

struct asking {
	struct conn *c;
	struct shard *s;
	const struct msg_call *m;
	struct dir_service *service; /* NULL: nobody ever had it */
	struct binding *binding;
	struct span where, vnet;
	uint64_t deadline_ms;
	struct choice nobody;        /* where `full`: whom the call before would have been for */
	bool full;
	const struct type *type;     /* of what is asked; NULL: anything goes */
	enum err admits;             /* what its head is worth */
	char text[256];
};

static void place(struct asking *a, uint32_t index, struct span payload)
{
	struct shard *s = a->s;
	struct calls *calls = s->calls;
	const struct msg_call *m = a->m;
	uint64_t number = m->first + index;
	struct choice choice = a->nobody;
	if (a->full)
		; /* nobody becomes free within a frame */
	else if (m->session)
		choice = choose_address(s, m->session, m->entry, a->vnet);
	else if (a->binding)
		choice = choose_leg(s, a->binding);
	else if (a->service)
		choice = choose(a->service, a->vnet, a->where);
	const struct call_line *ahead = a->binding ? a->binding->line : a->service ? a->service->line : NULL;
	if (ahead && ahead->count > 0) {
		choice.entry = NULL; /* they come first, at the end of this turn */
		calls->due = true;
	}
	a->full = choice.entry == NULL;
	a->nobody = choice;
	if (choice.holders == 0) {
		refuse_number(a->c, number, ERR_NOT_DELIVERED,
			      m->session ? "nobody is at this address" : m->binding ? "there is no such binding"
										    : "no holder of this service fits");
		return;
	}
	if (a->c->session->call_count >= SESSION_CALLS || calls->open >= CALLS_MAX) {
		refuse_number(a->c, number, ERR_RESOURCE_EXHAUSTED, "too many calls are open");
		return;
	}
	struct live_call *call = call_new(s, a->c->session, number, a->deadline_ms);
	call->stream = m->stream;
	if (choice.entry) {
		hand_to(s, call, choice.entry);
		calls->chosen[index] = choice.entry;
		calls->items[index] = (struct invoke_item){ call->id, (uint32_t)payload.len, m->deadline_ms };
		return;
	}
	struct dir_service *service = a->service;
	if (m->session) {
		service = directory_entry(directory_session(s, m->session), m->entry)->service;
		call->target_session = m->session;
		call->target_entry = m->entry;
	}
	struct call_line **line = a->binding ? &a->binding->line : &service->line;
	if (!*line)
		*line = line_new(s, a->binding ? NULL : service, a->binding);
	if (!wait_in_line(calls, call, *line, &(struct asked){ a->where, m->head, payload }))
		end_call(s, call, ERR_RESOURCE_EXHAUSTED, "all holders are busy and the line is full");
}

/* One INVOKE for each holder that was chosen, with all of its calls. */
static void hand_out(struct asking *a)
{
	struct calls *calls = a->s->calls;
	uint32_t count = a->m->sizes.count;
	struct span pieces[64];
	struct invoke_item items[64];
	for (uint32_t i = 0; i < count; i++) {
		struct dir_entry *e = calls->chosen[i];
		if (!e)
			continue;
		uint32_t n = 0;
		for (uint32_t j = i; j < count; j++) {
			if (calls->chosen[j] != e)
				continue;
			pieces[n] = calls->pieces[j];
			items[n++] = calls->items[j];
			calls->chosen[j] = NULL;
			if (n < COUNT_OF(items))
				continue;
			invoke(a->s, e, a->c->session, a->m->head, a->m->stream, items, pieces, n);
			n = 0;
		}
		if (n > 0)
			invoke(a->s, e, a->c->session, a->m->head, a->m->stream, items, pieces, n);
	}
}

/* Are there holders, and is there room for a call to each of them? */
static bool all_have_room(const struct asking *a, uint64_t number)
{
	const struct shard *s = a->s;
	uint32_t holders = 0, room = MIN_OF(CALLS_MAX - s->calls->open, SESSION_CALLS - a->c->session->call_count);
	for (const struct dir_entry *e = a->service ? a->service->first : NULL; e; e = e->next)
		holders += calls_holder(e) && directory_fits(e->line, a->vnet, a->where);
	if (holders == 0)
		refuse_number(a->c, number, ERR_NOT_DELIVERED, "no holder of this service fits");
	else if (holders > room)
		refuse_number(a->c, number, ERR_RESOURCE_EXHAUSTED, "too many calls are open to ask all holders");
	return holders > 0 && holders <= room;
}

/* To every holder at once; for those that are full the answer is made here. */
static void ask_all(struct asking *a, uint64_t number, struct span payload)
{
	struct shard *s = a->s;
	struct session *caller = a->c->session;
	if (!all_have_room(a, number))
		return;
	struct group *group = zalloc(sizeof *group);
	bool busy = false;
	group->left = 1; /* ours, until all are made */
	for (struct dir_entry *e = a->service->first; e; e = e->next) {
		if (!calls_holder(e) || !directory_fits(e->line, a->vnet, a->where))
			continue;
		struct live_call *call = call_new(s, caller, number, a->deadline_ms);
		call->stream = a->m->stream;
		call->group = group;
		call->refused = !can_take(e);
		busy = busy || call->refused;
		group->left++;
		hand_to(s, call, e);
		const struct invoke_item item = { call->id, (uint32_t)payload.len, a->m->deadline_ms };
		if (!call->refused)
			invoke(s, e, caller, a->m->head, a->m->stream, &item, &payload, 1);
	}
	for (struct live_call *call = busy ? caller->calls : NULL, *next; call && call->number == number; call = next) {
		next = call->caller_next;
		bool last = call->refused && group->left == 2;
		if (last)
			group->left--;
		if (call->refused)
			end_call(s, call, ERR_RESOURCE_EXHAUSTED, "this holder is busy");
		if (last)
			return;
	}
	if (--group->left == 0)
		free(group);
}

/* What the head says of the type, once for the frame. */
static void judge_head(struct asking *a)
{
	struct event_head head;
	if (types_generation(a->s->types) == 0)
		return; /* no type was ever registered */
	a->admits = event_head_decode(a->m->head, &head, a->text);
	if (a->admits != ERR_OK)
		return;
	a->type = types_find(a->s->types, head.type);
	a->admits = type_admits(a->type, head.fingerprint, a->text);
}

static enum err judge_payload(struct asking *a, struct span payload)
{
	if (a->admits != ERR_OK)
		return a->admits;
	if (payload.len > a->s->config.payload_max) {
		(void)snprintf(a->text, sizeof a->text, "CALL.sizes: %zu bytes are over the broker's payload_max", payload.len);
		return ERR_TOO_BIG;
	}
	return type_verifies(a->type) ? type_verify(a->type, payload, a->text) : ERR_OK;
}

enum err call_frame(struct conn *c, const struct msg_call *m, struct span payload, char text[128])
{
	struct shard *s = c->s;
	struct asking a = { .c = c, .s = s, .m = m, .vnet = span_str(c->session->vnet), .deadline_ms = s->now_ms + m->deadline_ms };
	char why[128];
	enum err e = directory_where(s, m->where, &a.where, why);
	if (e != ERR_OK) {
		(void)snprintf(text, 128, "CALL.where: %.110s", why);
		return e;
	}
	if (m->first <= c->session->call_last) {
		(void)snprintf(text, 128, "CALL.first: numbers grow; %llu was used", (unsigned long long)c->session->call_last);
		return ERR_INVALID_INPUT;
	}
	c->session->call_last = m->first + m->sizes.count - 1;
	a.service = m->service.len ? directory_service(s, m->service) : NULL;
	a.binding = m->binding ? binding_find(c->session, m->binding) : NULL;
	s->counters.calls_total += m->sizes.count;
	size_t at = 0;
	judge_head(&a);
	memset(s->calls->chosen, 0, m->sizes.count * sizeof s->calls->chosen[0]);
	for (uint32_t i = 0; i < m->sizes.count; i++) {
		struct span piece = span_sub(payload, at, m->sizes.at[i]);
		at += piece.len;
		s->calls->pieces[i] = piece;
		enum err code = judge_payload(&a, piece);
		if (code != ERR_OK)
			refuse_number(c, m->first + i, code, a.text);
		else if (m->all)
			ask_all(&a, m->first + i, piece);
		else
			place(&a, i, piece);
	}
	hand_out(&a);
	return ERR_OK;
}

/* ---- ANSWER, CALL_CANCEL ---- */

void call_answers(struct conn *c, const struct msg_answer *m, struct span payload)
{
	struct shard *s = c->s;
	size_t at = 0;
	for (uint32_t i = 0; i < m->count; i++) {
		const struct answer_item *item = &m->items[i];
		struct span bytes = span_sub(payload, at, item->size);
		at += item->size;
		struct live_call *call = call_at(s->calls, item->call);
		if (!call || !call->holder || call->holder->session != c->session) {
			s->counters.answers_late_total++;
			continue;
		}
		const struct answer_item answer = { .size = item->size, .app_code = item->app_code, .code = item->code };
		s->counters.answers_total++;
		answer_call(s, call, answer, bytes, !item->more || !call->stream);
	}
}

static void drop(struct shard *s, struct live_call *call)
{
	tell_holder(call);
	call_free(s, call);
}

static int newest_first(const void *a, const void *b)
{
	uint64_t x, y;
	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return (x < y) - (x > y);
}

/* The list of the caller is newest first, too: numbers grow. */
void call_cancel(struct conn *c, const struct msg_call_cancel *m)
{
	uint64_t *numbers = c->s->calls->cancels;
	if (m->calls.count == 0)
		return;
	memcpy(numbers, m->calls.at, m->calls.count * sizeof *numbers);
	qsort(numbers, m->calls.count, sizeof *numbers, newest_first);
	uint32_t i = 0;
	for (struct live_call *call = c->session->calls, *next; call; call = next) {
		next = call->caller_next;
		while (i < m->calls.count && numbers[i] > call->number)
			i++;
		if (i == m->calls.count)
			return;
		if (numbers[i] == call->number)
			drop(c->s, call);
	}
}

/* ---- ends ---- */

void calls_drop(struct shard *s, struct session *caller)
{
	while (caller->calls)
		drop(s, caller->calls);
}

void calls_lost(struct shard *s, struct dir_entry *e, const char *why)
{
	while (e->calls)
		end_call(s, e->calls, ERR_NOT_DELIVERED, why);
}

uint32_t calls_held(const struct session *session)
{
	uint32_t held = 0;
	for (const struct dir_entry *e = session->entries; e; e = e->session_next)
		held += e->in_flight;
	return held;
}
