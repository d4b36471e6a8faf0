/* broker/deliver.c: which task goes to which worker: entries, credit, selection, DELIVER frames.
 *
 * In the flow: commit -> apply -> DELIVER -> socket.
 *
 * An outlet (outlet.h) is a queue as delivery sees it: it knows what can be handed out to whom.
 *
 * 1. An entry is in a bucket of its group exactly when it is bound, has credit, and its connection has room for output.
 * 2. A queue is on the runnable list, or parked until a record is read, or has no tasks or no entry that could take one.
 * 3. A task is leased in the same step in which its DELIVER is put into the buffer of a live connection.
 * 4. The work of a turn is bounded; what is left goes on in the next. */
#include "directory.h"
#include "permit.h"
#include "outlet.h"

enum { FRAMES_PER_TURN = 2048, BYTES_PER_TURN = 32 << 20, BROKEN_RETRY_MS = 1000 };

/* ---- lists ---- */

static void unlink_consumer(struct shard *s, struct consumer *x)
{
	if (!x->link)
		return;
	if (x->queue > 0) {
		outlet_unlink(s->outlets[x->queue], x);
		return;
	}
	*x->link = x->next;
	if (x->next)
		x->next->link = x->link;
	x->link = NULL;
}

static void make_runnable(struct shard *s, struct outlet *o)
{
	if (o->listed || o->parked || o->broken_task)
		return;
	o->listed = true;
	o->next = NULL;
	*s->runnable_tail = o;
	s->runnable_tail = &o->next;
}

/* Puts a bound entry to the end of the bucket of its credit, where it may be in one. */
static void link_consumer(struct shard *s, struct consumer *x)
{
	ENSURE(x->queue > 0);
	unlink_consumer(s, x);
	struct conn *c = x->session->conn;
	if (x->credit == 0 || !c || x->session->draining)
		return;
	if (conn_full(c)) {
		c->starved = true;
		return;
	}
	outlet_link(s->outlets[x->queue], x);
	make_runnable(s, s->outlets[x->queue]);
}

static struct outlet *outlet_get(struct shard *s, uint32_t queue)
{
	if (queue >= s->outlet_cap) {
		uint32_t cap = MAX_OF(s->outlet_cap * 2, queue + 64);
		s->outlets = realloc(s->outlets, size_mul(cap, sizeof *s->outlets));
		ENSURE(s->outlets != NULL);
		memset(s->outlets + s->outlet_cap, 0, (cap - s->outlet_cap) * sizeof *s->outlets);
		s->outlet_cap = cap;
	}
	if (!s->outlets[queue])
		s->outlets[queue] = outlet_new(s, queue);
	return s->outlets[queue];
}

static void outlet_name(struct shard *s, struct outlet *o)
{
	struct queue_info info;
	tasks_queue_info(s->tasks, o->queue, &info);
	free(o->name);
	o->name = zalloc(info.name.len + 1);
	if (info.name.len > 0)
		memcpy(o->name, info.name.data, info.name.len);
	o->name_len = (uint8_t)info.name.len;
}

static void unbind_consumer(struct shard *s, struct consumer *x)
{
	unlink_consumer(s, x);
	if (x->group)
		outlet_leave(s, s->outlets[x->queue], x);
	x->queue = 0;
}

/* Who serves an alias serves the queue of its type. 0 = there is none yet. */
static uint32_t queue_of(struct shard *s, const struct consumer *x)
{
	struct vnet_name room;
	return tasks_queue_find(s->tasks, vnet_full(x->session, types_resolve(s->types, span_of(x->name, x->name_len)), &room));
}

/* An entry finds its queue, or waits with the others until it is created. */
static void bind_consumer(struct shard *s, struct consumer *x)
{
	unbind_consumer(s, x);
	x->queue = queue_of(s, x);
	if (x->queue > 0 && !outlet_takes(s, outlet_get(s, x->queue), x)) {
		shard_note(s, SHARD_ERROR, "deliver", "kinds", "there are %d kinds of entries already: one of %s is not served", GROUPS_MAX,
			   x->session->client);
		x->queue = 0;
	}
	if (x->queue > 0) {
		struct outlet *o = outlet_get(s, x->queue);
		if (!o->name || o->name_len != x->name_len || memcmp(o->name, x->name, x->name_len) != 0)
			outlet_name(s, o);
		outlet_join(s, o, x);
		link_consumer(s, x);
		return;
	}
	x->next = s->unbound;
	x->link = &s->unbound;
	if (x->next)
		x->next->link = &x->next;
	s->unbound = x;
}

/* ---- what sessions ask for ---- */

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

/* What the choice between entries looks at. */
static void describe(struct shard *s, struct consumer *x, const struct wire_entry *e)
{
	struct buf params = { NULL, 0, 0 };
	char text[128];
	if (directory_params(x->session, e->params, &params, text) == ERR_OK) /* checked where the frame was read */
		x->params = buf_span(&params);
	x->cost = e->cost;
	x->hot_count = e->hot_count;
	if (e->hot_count > 0)
		x->hot = zalloc(e->hot_count * sizeof *x->hot);
	for (uint32_t i = 0; i < e->hot_count; i++)
		x->hot[i] = bytes_hash(e->hot[i], s->hash_seed) | 1;
	if (e->hot_count > 0)
		qsort(x->hot, e->hot_count, sizeof *x->hot, by_value);
	x->identity = bytes_hash(span_of(x->session->id, sizeof x->session->id), e->id);
}

static void consumer_free(struct consumer *x)
{
	free((void *)(uintptr_t)x->params.data);
	free(x->hot);
	free(x);
}

void deliver_drain(struct shard *s, struct session *session)
{
	for (struct consumer *x = session->consumers; x; x = x->session_next) {
		outlet_able(x, false);
		if (x->queue > 0)
			unlink_consumer(s, x);
	}
}

bool deliver_could(struct shard *s, uint32_t queue, struct span name, struct span requires)
{
	if (queue > 0)
		return queue < s->outlet_cap && s->outlets[queue] && outlet_could(s->outlets[queue], requires);
	for (const struct consumer *x = s->unbound; x; x = x->next) {
		struct vnet_name room;
		struct span own = vnet_full(x->session, types_resolve(s->types, span_of(x->name, x->name_len)), &room);
		if (x->able && span_eq(own, name) && predicate_holds(requires, x->params))
			return true;
	}
	return false;
}

void deliver_withdraw(struct shard *s, struct session *session)
{
	while (session->consumers) {
		struct consumer *x = session->consumers;
		session->consumers = x->session_next;
		unbind_consumer(s, x);
		ENSURE(s->counters.consumers > 0);
		s->counters.consumers--;
		consumer_free(x);
	}
	session->consumer_count = 0;
}

void deliver_withdraw_one(struct shard *s, struct session *session, uint32_t entry)
{
	struct consumer **at = &session->consumers;
	while (*at && (*at)->entry != entry)
		at = &(*at)->session_next;
	struct consumer *x = *at;
	if (!x)
		return;
	*at = x->session_next;
	unbind_consumer(s, x);
	s->counters.consumers--;
	session->consumer_count--;
	consumer_free(x);
}

bool deliver_room(const struct shard *s, uint32_t entries)
{
	return s->group_count + entries <= GROUPS_MAX;
}

void deliver_serve(struct session *session, const struct msg_serve *m)
{
	struct shard *s = session->conn->s;
	deliver_withdraw(s, session);
	struct consumer **tail = &session->consumers;
	for (uint32_t i = 0; i < m->count; i++) {
		const struct wire_entry *e = &m->entries[i];
		ENSURE(e->service.len <= LIMIT_NAME_BYTES);
		struct consumer *x = zalloc(sizeof *x + e->service.len);
		memcpy(x->name, e->service.data, e->service.len);
		x->name_len = (uint8_t)e->service.len;
		x->session = session;
		x->entry = e->id;
		x->credit = e->credit;
		x->able = !session->draining && (e->credit > 0 || (session->holder && tasks_holder_leases(session->holder) > 0));
		describe(s, x, e);
		*tail = x;
		tail = &x->session_next;
		session->consumer_count++;
		s->counters.consumers++;
		bind_consumer(s, x);
	}
}

void deliver_credit(struct session *session, const struct msg_credit *m)
{
	struct shard *s = session->conn->s;
	for (uint32_t i = 0; i < m->count; i++) {
		struct consumer *x = session->consumers;
		while (x && x->entry != m->items[i].entry)
			x = x->session_next;
		if (!x)
			continue; /* an entry that a later SERVE took back */
		x->credit = MIN_OF(x->credit + m->items[i].credit, (uint32_t)LIMIT_ENTRY_CREDIT);
		if (x->credit > 0 && !x->able && !session->draining)
			outlet_able(x, true);
		if (x->queue > 0)
			link_consumer(s, x);
	}
}

void deliver_unblock(struct conn *c)
{
	c->starved = false;
	if (!c->session)
		return;
	for (struct consumer *x = c->session->consumers; x; x = x->session_next)
		if (x->queue > 0 && !x->link)
			link_consumer(c->s, x);
}

/* ---- what the task machine and the log say ---- */

void deliver_ready(struct shard *s, uint32_t queue, uint32_t slot)
{
	struct outlet *o = queue < s->outlet_cap ? s->outlets[queue] : NULL;
	if (!o)
		return;
	outlet_fresh(o, slot);
	if (o->filled)
		make_runnable(s, o);
}

void deliver_slot(struct shard *s, uint32_t queue, uint32_t slot)
{
	struct outlet *o = queue < s->outlet_cap ? s->outlets[queue] : NULL;
	if (o)
		outlet_slot(s, o, slot);
}

void deliver_settled(struct shard *s, uint64_t task)
{
	for (uint32_t i = 0; s->outlets_broken > 0 && i < s->outlet_cap; i++) {
		struct outlet *o = s->outlets[i];
		if (!o || o->broken_task == 0 || o->broken_task != task)
			continue;
		o->broken_task = 0;
		s->outlets_broken--;
		if (o->filled)
			make_runnable(s, o);
	}
}

void deliver_fetched(struct shard *s, uint64_t addr)
{
	struct outlet **at = &s->parked;
	while (*at) {
		struct outlet *o = *at;
		if (o->parked_addr != addr && o->parked_addr != 0) {
			at = &o->parked_next;
			continue;
		}
		*at = o->parked_next;
		o->parked = false;
		make_runnable(s, o);
	}
}

uint32_t deliver_workers(const struct shard *s, uint32_t queue)
{
	return queue < s->outlet_cap && s->outlets[queue] ? s->outlets[queue]->consumers : 0;
}

void deliver_rebind(struct shard *s)
{
	s->queues_changed = false;
	struct consumer *x = s->unbound;
	while (x) {
		struct consumer *next = x->next;
		if (queue_of(s, x) > 0)
			bind_consumer(s, x);
		x = next;
	}
	if (!s->queues_removed)
		return;
	s->queues_removed = false;
	for (uint32_t i = 0; i < s->slot_count; i++) {
		struct session *session = s->slots[i];
		for (x = session ? session->consumers : NULL; x; x = x->session_next)
			if (x->queue > 0 && queue_of(s, x) != x->queue)
				bind_consumer(s, x);
	}
}

/* ---- the work ---- */

static void see_record(struct shard *s, struct outlet *o, const struct submit_record *r, const struct ready_run *run)
{
	if (o->last_addr == run->addr && o->last_item <= run->item) {
		for (uint32_t i = o->last_item; i < run->item; i++)
			o->last_offset += r->sizes[i];
		o->last_item = run->item;
		return;
	}
	struct task_head head;
	char text[128];
	o->last_addr = run->addr;
	o->last_item = run->item;
	o->last_offset = submit_record_offset(r, run->item);
	o->execution_ms = o->hot = o->sticky = o->heartbeat_ms = 0;
	o->redelivery = REDELIVERY_DEFAULT;
	if (task_head_decode(r->head, &head, text) != ERR_OK)
		return;
	o->execution_ms = head.execution_ms;
	o->heartbeat_ms = head.heartbeat_ms;
	o->redelivery = head.redelivery;
	o->hot = head.hot.len ? bytes_hash(head.hot, s->hash_seed) | 1 : 0;
	o->sticky = head.sticky.len ? bytes_hash(head.sticky, 1) | 1 : 0;
}

/* How many of the run fit into one frame; *bytes is their payload. At least one. */
static uint32_t measure(struct shard *s, const struct submit_record *r, const struct ready_run *run, uint32_t max,
			uint64_t *bytes)
{
	uint32_t count = 0;
	for (*bytes = 0; count < max; count++) {
		uint32_t size = r->sizes[run->item + count];
		if (count > 0 && *bytes + size > DELIVER_BYTES_MAX)
			break;
		*bytes += size;
		s->items[count] = (struct deliver_item){ run->first_task + count, run->attempt, size };
	}
	return count;
}

static bool park(struct shard *s, struct outlet *o, const struct ready_run *run, enum err e)
{
	if (e == ERR_AGAIN || e == ERR_RESOURCE_EXHAUSTED) {
		o->parked = true;
		o->parked_addr = e == ERR_AGAIN ? run->addr : 0; /* 0: any read that ends makes room */
		o->parked_next = s->parked;
		s->parked = o;
		return false;
	}
	o->broken_task = run->first_task;
	s->outlets_broken++;
	s->broken_retry_ms = s->now_ms + BROKEN_RETRY_MS;
	s->counters.deliver_damaged_total++;
	shard_note(s, SHARD_ERROR, "deliver", "damaged",
		   "queue=%.*s task=%llu segment=%u offset=%llu code=%s: the stored payload cannot be read; the queue is held and "
		   "tried again every second, until it can be read or the task is cancelled",
		   (int)o->name_len, o->name ? o->name : "", (unsigned long long)run->first_task,
		   log_addr_segment(run->addr), (unsigned long long)log_addr_offset(run->addr), err_name(e));
	return false;
}

void deliver_retry(struct shard *s)
{
	if (s->outlets_broken == 0 || s->now_ms < s->broken_retry_ms)
		return;
	for (uint32_t i = 0; i < s->outlet_cap; i++) {
		struct outlet *o = s->outlets[i];
		if (!o || o->broken_task == 0)
			continue;
		o->broken_task = 0;
		if (o->filled)
			make_runnable(s, o);
	}
	s->outlets_broken = 0;
}

/* What a lease of this run is bound to: the task's word, else the queue's. */
struct terms { bool never; uint32_t lease_ms; uint64_t heartbeat_ms, silence_ms; };

static struct terms terms_of(const struct shard *s, const struct outlet *o)
{
	const struct queue_settings *q = tasks_queue_settings(s->tasks, o->queue);
	int64_t lease_ms = MIN_OF(q->lease_ms, (int64_t)UINT32_MAX);
	struct terms t = { .lease_ms = lease_ms > 0 ? (uint32_t)lease_ms : s->config.lease_ms };
	t.never = o->redelivery == REDELIVERY_DEFAULT ? q->redelivery == QUEUE_NEVER_AGAIN : o->redelivery == REDELIVERY_NEVER;
	t.heartbeat_ms = o->heartbeat_ms ? o->heartbeat_ms : (uint64_t)q->heartbeat_ms;
	t.silence_ms = q->renew == RENEW_TASK ? t.lease_ms : 0;
	return t;
}

/* What earlier attempts have yielded; 0 where there is none of it, as for all first attempts. */
static uint32_t yields_of(struct shard *s, const struct ready_run *run, uint32_t count)
{
	uint32_t any = 0;
	for (uint32_t i = 0; run->returned && i < count; i++)
		any |= s->yields[i] = tasks_yields_next(s->tasks, run->first_task + i);
	return any ? count : 0;
}

/* One frame. False: nothing can be handed out from this queue now. */
static bool deliver_one(struct shard *s, struct outlet *o, uint64_t *sent_bytes)
{
	struct ready_run run;
	struct log_record record;
	struct submit_record r;
	if (o->parked || o->broken_task || !o->filled || !outlet_peek(s, o, &run))
		return false;
	enum err e = log_fetch(s->log, run.addr, &record);
	if (e == ERR_OK)
		e = submit_record_open(&record, &r);
	if (e == ERR_OK)
		run.item = submit_record_item(&r, run.item);
	if (e == ERR_OK && (run.item >= r.count || run.count > r.count - run.item))
		e = ERR_DAMAGED;
	if (e != ERR_OK)
		return park(s, o, &run, e);
	see_record(s, o, &r, &run);
	struct consumer *x = outlet_choose(s, o, run.slot);
	struct conn *c = x->session->conn;
	ENSURE(c != NULL && x->credit > 0);
	if (conn_full(c)) {
		link_consumer(s, x); /* takes it out until the output has drained */
		return true;
	}
	uint64_t bytes;
	uint32_t max = MIN_OF(MIN_OF(run.count, x->credit), (uint32_t)DELIVER_TASKS_MAX);
	uint32_t count = measure(s, &r, &run, max, &bytes);
	const struct span payload = span_sub(r.payload, o->last_offset, bytes);
	const struct terms terms = terms_of(s, o);
	bool whole = record.kind == REC_SUBMIT && bytes == r.payload.len && bytes >= LOG_SUMMED_MIN;
	const struct msg_deliver m = {
		.crc = whole ? log_tail_crc(&record, (uint32_t)bytes) : 0, .crc_known = whole,
		.entry = x->entry, .epoch = s->epoch, .lease_ms = terms.lease_ms, .head = r.head,
		.queue = vnet_short(span_of(o->name, o->name_len)), .items = s->items, .count = count,
		.yields = s->yields, .yield_count = yields_of(s, &run, count),
	};
	if (terms.never && !tasks_commit_room(s->log, count)) {
		s->log_full = true;
		return false; /* tried again in the next turn */
	}
	if (!terms.never)
		msg_encode_deliver(&c->out, &m, &payload, 1);
	tasks_lease(s->tasks, o->queue, count, session_holder(s, x->session), o->execution_ms, s->wall_ms);
	if (terms.heartbeat_ms)
		tasks_heartbeat(s->tasks, run.first_task, count, terms.heartbeat_ms);
	if (terms.silence_ms)
		tasks_renewed_by_task(s->tasks, run.first_task, count, terms.silence_ms, s->wall_ms);
	if (terms.never) {
		tasks_commit_leases(s->tasks, s->log, run.first_task, count);
		once_hold(s, x, s->items, count);
	}
	x->credit -= count;
	x->session->counts.delivered += count;
	link_consumer(s, x);
	conn_touch(c);
	s->counters.delivered_total += count;
	s->counters.deliver_frames_total++;
	*sent_bytes += bytes;
	return true;
}

/* What could not be asked in an earlier turn. What is left of this turn's time is for its own. */
static void ask_on(struct shard *s)
{
	s->asks_left = ASKS_PER_TURN;
	while (s->asking && s->asks_left > 0) {
		struct outlet *o = s->asking;
		bool more = outlet_ask(s, o);
		if (o->filled)
			make_runnable(s, o);
		if (more)
			return;
		s->asking = o->asking_next;
		o->asks = false;
	}
}

bool deliver_run(struct shard *s)
{
	if (s->stop != STOP_NOT)
		return false;
	ask_on(s);
	uint32_t frames = 0;
	uint64_t bytes = 0;
	while (s->runnable && frames < FRAMES_PER_TURN && bytes < BYTES_PER_TURN) {
		struct outlet *o = s->runnable;
		s->runnable = o->next;
		if (!s->runnable)
			s->runnable_tail = &s->runnable;
		uint32_t share = 64; /* then it is another queue's turn */
		bool more = true;
		while (share-- > 0 && more && bytes < BYTES_PER_TURN) {
			more = deliver_one(s, o, &bytes);
			frames++;
		}
		/* Not before: its own deliveries would list it again, and park() takes the same link. */
		o->listed = false;
		if (more)
			make_runnable(s, o);
		if (s->log_full) {
			s->log_full = false;
			make_runnable(s, o);
			break;
		}
	}
	return s->runnable || s->asking;
}

void deliver_free(struct shard *s)
{
	for (uint32_t i = 0; i < s->outlet_cap; i++)
		if (s->outlets[i])
			outlet_free(s, s->outlets[i]);
	free(s->outlets);
}
