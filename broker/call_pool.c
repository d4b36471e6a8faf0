/* broker/call_pool.c: calls come and go: slabs, and the lists they are in.
 *
 * In the flow: between CALL and the last ANSWER. An index is used again, the number of a call never: its generation counts on. */
#include "call_pool.h"

#include "call_answer.h"

enum { SLAB = 256 };

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

uint32_t calls_open(const struct calls *calls)
{
	return calls->open;
}

struct live_call *call_at(const struct calls *calls, uint64_t id)
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

struct live_call *call_new(struct shard *s, struct session *caller, uint64_t number, uint64_t deadline_ms)
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
	call->timer.fire = call_timed_out;
	timer_set(s, &call->timer, deadline_ms);
	return call;
}

void call_unlink(struct calls *calls, struct live_call *call)
{
	calls->due = calls->lines != NULL;
	if (call->link) {
		*call->link = call->next;
		if (call->next)
			call->next->link = call->link;
	}
	if (call->holder) {
		call->holder->in_flight--;
		directory_room(call->holder);
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

void call_hand_to(struct shard *s, struct live_call *call, struct dir_entry *e)
{
	call_unlink(s->calls, call);
	call->holder = e;
	call->next = e->calls;
	call->link = &e->calls;
	if (call->next)
		call->next->link = &call->next;
	e->calls = call;
	e->in_flight++;
	directory_room(e);
}

void call_free(struct shard *s, struct live_call *call)
{
	struct calls *calls = s->calls;
	struct session *caller = call->caller;
	call_unlink(calls, call);
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
