/* broker/results.c: who waits for which result, and RESULTS frames.
 *
 * In the flow: settle applied -> RESULTS -> socket.
 *
 * One table for the shard, task -> session, open addressing. When a task settles, its number goes to the ring of each session
 * that waits for it; the ring is pushed when the session has a connection with room.
 *
 * 1. A watch of a session that has ended is found stale by its generation and dropped when it is met or when the table grows.
 * 2. A result is read from the log when it is pushed, not kept; while it is being read the session's ring waits. */
#include "permit.h"
#include "shard_impl.h"

static uint64_t hash_of(const struct shard *s, uint64_t task)
{
	uint64_t h = task * 0x9e3779b97f4a7c15u;
	return (h ^ h >> 32) & (s->watch_cap - 1);
}

static void insert(struct shard *s, const struct watch *w)
{
	uint64_t at = hash_of(s, w->task);
	while (s->watches[at].task != 0)
		at = (at + 1) & (s->watch_cap - 1);
	s->watches[at] = *w;
	s->watch_count++;
}

/* Drops stale watches, and doubles where that did not make room. */
static void rehash(struct shard *s)
{
	struct watch *old = s->watches;
	uint32_t old_cap = s->watch_cap, live = 0;
	for (uint32_t i = 0; i < old_cap; i++)
		live += old[i].task != 0 && session_get(s, old[i].session) != NULL;
	s->watch_cap = MAX_OF(old_cap, 1024u);
	while (live >= s->watch_cap / 4)
		s->watch_cap *= 2;
	s->watches = zalloc(size_mul(s->watch_cap, sizeof *s->watches));
	s->watch_count = 0;
	for (uint32_t i = 0; i < old_cap; i++)
		if (old[i].task != 0 && session_get(s, old[i].session) != NULL)
			insert(s, &old[i]);
	free(old);
}

static void erase(struct shard *s, uint64_t at)
{
	uint64_t mask = s->watch_cap - 1, hole = at;
	for (uint64_t i = (at + 1) & mask; s->watches[i].task != 0; i = (i + 1) & mask) {
		uint64_t home = hash_of(s, s->watches[i].task);
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			s->watches[hole] = s->watches[i];
			hole = i;
		}
	}
	s->watches[hole].task = 0;
	s->watch_count--;
}

static bool same_ref(struct session_ref a, struct session_ref b)
{
	return a.slot == b.slot && a.generation == b.generation;
}

bool results_watch(struct shard *s, uint64_t first_task, uint32_t count, struct session_ref session)
{
	if (!session_get(s, session))
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (s->watch_count >= s->watch_cap / 2)
			rehash(s);
		if (s->watch_count + s->results_waiting >= s->config.watches_max)
			return false;
		uint64_t task = first_task + i, at = hash_of(s, task);
		while (s->watches[at].task != 0 &&
		       (s->watches[at].task != task || !same_ref(s->watches[at].session, session)))
			at = (at + 1) & (s->watch_cap - 1);
		if (s->watches[at].task == 0)
			insert(s, &(struct watch){ task, session });
	}
	return true;
}

void results_forget(struct shard *s, uint64_t task, struct session_ref session)
{
	if (s->watch_count == 0 || task == 0)
		return;
	uint64_t at = hash_of(s, task);
	while (s->watches[at].task != 0) {
		if (s->watches[at].task == task && same_ref(s->watches[at].session, session)) {
			erase(s, at);
			return;
		}
		at = (at + 1) & (s->watch_cap - 1);
	}
}

/* ---- rings ---- */

void results_list(struct shard *s, struct session *session)
{
	if (session->results_listed || !session->conn || session->results_count == 0)
		return;
	session->results_listed = true;
	session->results_next = NULL;
	*s->results_tail = session;
	s->results_tail = &session->results_next;
}

static void ring_push(struct shard *s, struct session *session, uint64_t task)
{
	if (session->results_count == session->results_cap) {
		uint32_t cap = session->results_cap ? session->results_cap * 2 : 16;
		uint64_t *ring = zalloc(size_mul(cap, sizeof *ring));
		for (uint32_t i = 0; i < session->results_count; i++)
			ring[i] = session->results[(session->results_head + i) & (session->results_cap - 1)];
		free(session->results);
		session->results = ring;
		session->results_cap = cap;
		session->results_head = 0;
	}
	session->results[(session->results_head + session->results_count++) & (session->results_cap - 1)] = task;
	s->results_waiting++;
	results_list(s, session);
}

static uint64_t ring_pop(struct shard *s, struct session *session)
{
	uint64_t task = session->results[session->results_head];
	ENSURE(session->results_count > 0 && s->results_waiting > 0);
	session->results_head = (session->results_head + 1) & (session->results_cap - 1);
	session->results_count--;
	s->results_waiting--;
	return task;
}

void results_end(struct session *session, struct shard *s)
{
	ENSURE(s->results_waiting >= session->results_count);
	s->results_waiting -= session->results_count;
	free(session->results);
	session->results = NULL;
	session->results_count = 0;
}

void results_ready(struct shard *s, struct session *session, uint64_t task)
{
	ring_push(s, session, task);
}

void results_settled(struct shard *s, uint64_t task)
{
	if (s->watch_count == 0)
		return;
	uint64_t at = hash_of(s, task);
	while (s->watches[at].task != 0) {
		if (s->watches[at].task != task) {
			at = (at + 1) & (s->watch_cap - 1);
			continue;
		}
		struct session *session = session_get(s, s->watches[at].session);
		erase(s, at); /* moves others up: look at this place again */
		if (session && !streams_final(s, task, session))
			ring_push(s, session, task);
	}
}

static bool is_final(uint32_t state)
{
	return state >= TASK_DONE && state < TASK_STATES;
}

/* Final and unknown ones are answered from the ring, like those that settle later. */
enum err results_await(struct conn *c, const struct msg_tasks *m, uint32_t correlation)
{
	struct shard *s = c->s;
	struct session *session = c->session;
	for (uint32_t i = 0; i < m->tasks.count; i++) {
		uint64_t task = m->tasks.at[i];
		struct task_view view;
		bool there = task != 0 && tasks_show(s->tasks, task, &view) && permit_queue(session, ACCESS_SEE, view.queue);
		bool open = there && !is_final(view.state), updates = m->want_updates && (there || !tasks_show(s->tasks, task, &view));
		bool room = open ? results_watch(s, task, 1, session->ref)
				 : s->watch_count + s->results_waiting < s->config.watches_max;
		if (!room) {
			conn_error(c, ERR_RESOURCE_EXHAUSTED, "AWAIT.tasks: watches_max is reached", FRAME_AWAIT, correlation,
				   false);
			break;
		}
		if (updates && !streams_open(s, task, 1, session, i < m->from_yield.count ? m->from_yield.at[i] : 0)) {
			conn_error(c, ERR_RESOURCE_EXHAUSTED, "AWAIT.tasks: watches_max is reached", FRAME_AWAIT, correlation,
				   false);
			break;
		}
		if (!open && !(updates && streams_final(s, task, session)))
			ring_push(s, session, task);
	}
	return ERR_OK;
}

/* ---- pushing ---- */

/* One item and the bytes that go with it. ERR_AGAIN: they are being read. ERR_WRONG_STATE: it is not final any more. */
static enum err item_of(struct session *session, uint64_t task, struct result_item *item, struct span *bytes, uint8_t *kind)
{
	struct shard *s = session->shard;
	struct task_view view;
	*item = (struct result_item){ .task = task, .code = ERR_NOT_FOUND };
	*bytes = (struct span){ NULL, 0 };
	*kind = PAYLOAD_INLINE;
	if (task == 0 || !tasks_show(s->tasks, task, &view) || !permit_queue(session, ACCESS_SEE, view.queue))
		return ERR_OK; /* those of other vnets are as those that never were */
	if (!is_final(view.state))
		return ERR_WRONG_STATE;
	item->code = view.code;
	item->app_code = view.app_code;
	item->state = (uint8_t)view.state;
	item->failed = (uint8_t)MIN_OF(view.failed, 255u);
	item->yields = view.yields;
	if (view.result_addr == 0 || view.result_size == 0)
		return ERR_OK;
	struct log_record record;
	enum err e = log_fetch(s->log, view.result_addr, &record);
	if (e == ERR_AGAIN || e == ERR_RESOURCE_EXHAUSTED)
		return ERR_AGAIN;
	if (e != ERR_OK) {
		shard_note(s, SHARD_ERROR, "results", "damaged", "task=%llu code=%s", (unsigned long long)task, err_name(e));
		item->code = (uint16_t)e;
		return ERR_OK;
	}
	*bytes = settle_record_result(&record, task, kind);
	item->size = (uint32_t)bytes->len;
	return ERR_OK;
}

/* One frame at most. True: it has more to push and room for it. */
static bool push_some(struct shard *s, struct session *session)
{
	uint32_t count = 0, pieces = 0;
	size_t bytes = 0;
	bool kinds = false;
	struct conn *c = session->conn;
	if (!c || c->closing || conn_queued(c) > s->config.out_buffer_soft)
		return false; /* listed again when it has drained, or is resumed */
	while (session->results_count > 0 && count < DELIVER_TASKS_MAX) {
		uint64_t task = session->results[session->results_head];
		struct span piece;
		enum err e = item_of(session, task, &s->result_items[count], &piece, &s->result_kinds[count]);
		if (e == ERR_WRONG_STATE) { /* a dead letter that was put back: the wait goes on */
			(void)results_watch(s, ring_pop(s, session), 1, session->ref);
			continue;
		}
		if (e != ERR_OK)
			break;
		if (count > 0 && bytes + piece.len > LIMIT_PAYLOAD_BYTES)
			break;
		bytes += piece.len;
		kinds = kinds || s->result_kinds[count] != PAYLOAD_INLINE;
		if (piece.len > 0)
			s->result_pieces[pieces++] = piece;
		count++;
		(void)ring_pop(s, session);
	}
	if (count == 0) {
		s->results_blocked = true; /* being read: results_fetched lists it again */
		return false;
	}
	confirm_encode(c); /* the confirm of a task goes before its result */
	const struct msg_results m = { .items = s->result_items, .count = count, .kinds = s->result_kinds,
				       .kind_count = kinds ? count : 0 };
	msg_encode_results(&c->out, &m, s->result_pieces, pieces);
	s->counters.results_total += count;
	conn_touch(c);
	if (session->results_count == 0 && session->results_cap > 1024) {
		free(session->results);
		session->results = NULL;
		session->results_cap = session->results_head = 0;
	}
	return session->results_count > 0;
}

void results_fetched(struct shard *s)
{
	if (!s->results_blocked)
		return;
	s->results_blocked = false;
	for (struct conn *c = s->conns; c; c = c->next)
		if (c->session)
			results_list(s, c->session);
}

bool results_run(struct shard *s)
{
	struct session *session = s->results;
	s->results = NULL;
	s->results_tail = &s->results;
	while (session) {
		struct session *next = session->results_next;
		session->results_listed = false;
		if (push_some(s, session))
			results_list(s, session);
		session = next;
	}
	return s->results != NULL;
}
