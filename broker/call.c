/* broker/call.c: calls come in, are answered and end: the contract and the invariants stand in call.h.
 *
 * Their objects are in call_pool.c, whom they go to in call_choose.c, those that wait in call_line.c, answers in call_answer.c. */
#include "permit.h"
#include "call.h"

#include "blob_index.h"
#include "call_answer.h"
#include "call_choose.h"
#include "call_line.h"
#include "types.h"

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
	uint8_t kind;                /* what the payloads are */
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
		choice = call_choose_address(s, m->session, m->entry, a->vnet);
	else if (a->binding)
		choice = call_choose_leg(s, a->binding);
	else if (a->service)
		choice = call_choose(a->service, a->vnet, a->where);
	const struct call_line *ahead = a->binding ? a->binding->line : a->service ? a->service->line : NULL;
	if (ahead && ahead->count > 0) {
		choice.entry = NULL; /* they come first, at the end of this turn */
		calls->due = true;
	}
	a->full = choice.entry == NULL;
	a->nobody = choice;
	if (choice.holders == 0 && !m->wait) {
		call_refuse(a->c, number, ERR_NOT_DELIVERED,
			      m->session ? "nobody is at this address" : m->binding ? "there is no such binding"
										    : "no holder of this service fits");
		return;
	}
	if (a->c->session->call_count >= SESSION_CALLS || calls->open >= CALLS_MAX) {
		call_refuse(a->c, number, ERR_RESOURCE_EXHAUSTED, "too many calls are open");
		return;
	}
	struct live_call *call = call_new(s, a->c->session, number, a->deadline_ms);
	call->stream = m->stream;
	call->wait = m->wait;
	if (choice.entry) {
		call_hand_to(s, call, choice.entry);
		calls->chosen[index] = choice.entry;
		calls->items[index] = (struct invoke_item){ call->id, (uint32_t)payload.len, m->deadline_ms };
		return;
	}
	if (m->wait && !a->service)
		a->service = directory_service_get(s, m->service);
	struct dir_service *service = a->service;
	if (m->session) {
		service = directory_entry(directory_session(s, m->session), m->entry)->service;
		call->target_session = m->session;
		call->target_entry = m->entry;
	}
	struct call_line **line = a->binding ? &a->binding->line : &service->line;
	if (!*line)
		*line = call_line_new(s, a->binding ? NULL : service, a->binding);
	if (!call_wait(calls, call, *line, &(struct asked){ a->where, m->head, payload }))
		call_end(s, call, ERR_RESOURCE_EXHAUSTED,
			 choice.holders ? "all holders are busy and the line is full" : "no holder of this service fits, and the line is full");
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
			call_invoke(a->s, e, a->c->session, a->m->head, a->m->stream, items, pieces, n);
			n = 0;
		}
		if (n > 0)
			call_invoke(a->s, e, a->c->session, a->m->head, a->m->stream, items, pieces, n);
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
		call_refuse(a->c, number, ERR_NOT_DELIVERED, "no holder of this service fits");
	else if (holders > room)
		call_refuse(a->c, number, ERR_RESOURCE_EXHAUSTED, "too many calls are open to ask all holders");
	return holders > 0 && holders <= room;
}

/* To every holder at once; for those that are full the answer is made here. */
static void ask_all(struct asking *a, uint64_t number, struct span payload)
{
	struct shard *s = a->s;
	struct session *caller = a->c->session;
	if (!all_have_room(a, number))
		return;
	struct call_group *group = zalloc(sizeof *group);
	bool busy = false;
	group->left = 1; /* ours, until all are made */
	for (struct dir_entry *e = a->service->first; e; e = e->next) {
		if (!calls_holder(e) || !directory_fits(e->line, a->vnet, a->where))
			continue;
		struct live_call *call = call_new(s, caller, number, a->deadline_ms);
		call->stream = a->m->stream;
		call->group = group;
		call->refused = !call_can_take(e);
		busy = busy || call->refused;
		group->left++;
		call_hand_to(s, call, e);
		const struct invoke_item item = { call->id, (uint32_t)payload.len, a->m->deadline_ms };
		if (!call->refused)
			call_invoke(s, e, caller, a->m->head, a->m->stream, &item, &payload, 1);
	}
	for (struct live_call *call = busy ? caller->calls : NULL, *next; call && call->number == number; call = next) {
		next = call->caller_next;
		bool last = call->refused && group->left == 2;
		if (last)
			group->left--;
		if (call->refused)
			call_end(s, call, ERR_RESOURCE_EXHAUSTED, "this holder is busy");
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
	struct blobs_stats stats;
	struct span service = a->m->service;
	if (a->m->session) { /* an address: one that may not be called is nobody's */
		struct session *holder = directory_session(a->s, a->m->session);
		struct dir_entry *e = holder ? directory_entry(holder, a->m->entry) : NULL;
		if (e && directory_fits(e->line, a->vnet, span_of(NULL, 0)) && !permit(a->c->session, ACCESS_CALL, e->line->service, a->text)) {
			a->admits = ERR_NOT_DELIVERED;
			(void)snprintf(a->text, sizeof a->text, "nobody is at this address");
			return;
		}
	}
	if (service.len > 0 && !permit(a->c->session, ACCESS_CALL, service, a->text)) {
		a->admits = ERR_PERMISSION;
		return;
	}
	blobs_get_stats(tasks_blobs(a->s->tasks), &stats);
	if (types_generation(a->s->types) == 0 && stats.blobs == 0)
		return; /* no type was ever registered, and there are no blobs */
	a->admits = event_head_decode(a->m->head, &head, a->text);
	if (a->admits != ERR_OK)
		return;
	a->kind = head.payload;
	a->type = types_find(a->s->types, head.type);
	a->admits = type_admits(a->type, head.fingerprint, a->text);
	if (a->admits == ERR_OK)
		a->admits = type_answers(a->type, a->m->stream, a->text);
	if (a->admits == ERR_OK)
		a->admits = type_takes(a->type, head.payload, a->text);
}

static enum err judge_payload(struct asking *a, struct span payload)
{
	if (a->admits != ERR_OK)
		return a->admits;
	if (payload.len > a->s->config.payload_max) {
		(void)snprintf(a->text, sizeof a->text, "CALL.sizes: %zu bytes are over the broker's payload_max", payload.len);
		return ERR_TOO_BIG;
	}
	if (a->kind == PAYLOAD_BLOB)
		blobs_touch(tasks_blobs(a->s->tasks), a->vnet, payload, a->s->wall_ms);
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
			call_refuse(c, m->first + i, code, a.text);
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
		const struct answer_item answer = { .size = item->size, .app_code = item->app_code, .code = item->code,
						    .payload = item->payload };
		if (item->payload == PAYLOAD_BLOB)
			blobs_touch(tasks_blobs(s->tasks), span_str(c->session->vnet), bytes, s->wall_ms);
		s->counters.answers_total++;
		call_answer(s, call, answer, bytes, !item->more || !call->stream);
	}
}

static void drop(struct shard *s, struct live_call *call)
{
	call_tell_holder(call);
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
		call_end(s, e->calls, ERR_NOT_DELIVERED, why);
}

uint32_t calls_held(const struct session *session)
{
	uint32_t held = 0;
	for (const struct dir_entry *e = session->entries; e; e = e->session_next)
		held += e->in_flight;
	return held;
}
