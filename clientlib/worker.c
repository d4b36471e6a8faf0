/* clientlib/worker.c: what this session is responsible for, and the tasks that it holds. In the flow: DELIVER -> WORKER ->
 * handler -> report.c.
 *
 * 1. Per entry: `granted` is what the broker may still send, `held` what is in work; granted + held is kept at the entry's
 *    credit by CREDIT frames, one per step for all entries.
 * 2. SERVE says what is left of the credit at this moment. After a cut nothing is on its way, so it is exact.
 * 3. After a resume the broker may deliver again what the cut swallowed. A lease that is held here, or whose settling report
 *    is not acknowledged yet, is not given to a handler twice.
 * 4. A task that is lost stays valid until its handler settles it; that settles nothing at the broker.
 * 5. A handler that returned within 200 us is trusted to be fast: the start of the next task then travels with other
 *    reports. Otherwise the start is on its way before the handler runs, so that a crash there counts as an attempt. */
#include <time.h>

#include "../wire/predicate.h"
#include "client_impl.h"

enum { SLAB_TASKS = 128 };

/* ---- tasks ---- */

static struct hlk_task *task_alloc(struct worker *w)
{
	if (!w->free) {
		void **slabs = realloc(w->slabs, (w->slab_count + 1) * sizeof *slabs);
		struct hlk_task *slab = calloc(SLAB_TASKS, sizeof *slab);
		ENSURE(slabs && slab);
		w->slabs = slabs;
		w->slabs[w->slab_count++] = slab;
		for (uint32_t i = 0; i < SLAB_TASKS; i++) {
			slab[i].next = w->free;
			w->free = &slab[i];
		}
	}
	struct hlk_task *task = w->free;
	w->free = task->next;
	return task;
}

static void delivery_drop(struct delivery *d)
{
	if (--d->refs == 0)
		free(d);
}

void task_free(struct hlk_task *task)
{
	struct worker *w = &task->client->worker;
	if (ids_get(&w->tasks, task->info.id) == task)
		(void)ids_take(&w->tasks, task->info.id);
	*(task->prev ? &task->prev->next : &w->live) = task->next;
	if (task->next)
		task->next->prev = task->prev;
	shape_release_task(task);
	buf_free(&task->fetched);
	delivery_drop(task->delivery);
	task->entry->held--;
	w->credit_dirty = true;
	task->client = NULL; /* a second settling of it is noticed */
	task->next = w->free;
	w->free = task;
}

const struct hlk_task_info *hlk_task_info(const struct hlk_task *task)
{
	return &task->info;
}

void hlk_task_set_ctx(struct hlk_task *task, void *ctx)
{
	task->ctx = ctx;
}

void *hlk_task_ctx(const struct hlk_task *task)
{
	return task->ctx;
}

/* ---- entries and credit ---- */

static struct entry *entry_find(struct worker *w, uint32_t id)
{
	uint32_t low = 0, high = w->entry_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (w->entries[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < w->entry_count && w->entries[low]->id == id ? w->entries[low] : NULL;
}

struct entry *worker_entry(struct hlk *c, uint32_t id)
{
	return entry_find(&c->worker, id);
}

/* How many more the broker may be allowed to send, in all. */
static uint32_t entry_room(const struct entry *e)
{
	uint64_t left = e->max - MIN_OF(e->max, e->taken);
	uint32_t room = e->credit - MIN_OF(e->credit, e->held);
	return (uint32_t)MIN_OF((uint64_t)room, left);
}

/* What we hold after a resume, reports without an answer included. The caller frees it. */
static struct task_ref *held_refs(const struct worker *w, uint32_t *count)
{
	uint32_t n = 0, cap = w->undone + w->spill_count + 1;
	for (const struct hlk_task *t = w->live; t; t = t->next)
		cap++;
	struct task_ref *refs = calloc(cap, sizeof *refs);
	ENSURE(refs != NULL);
	for (const struct hlk_task *t = w->live; t; t = t->next)
		if (!t->lost)
			refs[n++] = (struct task_ref){ t->info.id, t->info.attempt, t->epoch };
	for (const struct report_frame *f = w->first; f; f = f->next)
		for (uint32_t i = 0; i < f->count; i++)
			if (!f->keys[i].done && f->keys[i].verb != REPORT_YIELD) /* its task is here, or settled */
				refs[n++] = f->keys[i].ref;
	n += report_spill_refs(w, refs + n);
	ENSURE(n < cap);
	*count = n;
	return refs;
}

/* The names as spans, in what is left of the message's own room (serve_check has counted). */
static const struct span *spans_of(char *const *names, uint32_t count, struct span *texts, uint32_t *used)
{
	struct span *at = texts + *used;
	ENSURE(*used + count <= LIMIT_SERVE_TEXTS);
	for (uint32_t i = 0; i < count; i++)
		at[i] = span_str(names[i]);
	*used += count;
	return at;
}

static void entry_free(struct entry *e);

/* Those of a bridge come and go for as long as it is there, and no task is ever delivered to them: they are forgotten. */
static void forget_bridged(struct hlk *c)
{
	struct worker *w = &c->worker;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < w->entry_count; i++) {
		struct entry *e = w->entries[i];
		if (e->gone && e->bridged && !holder_uses(c, e))
			entry_free(e);
		else
			w->entries[kept++] = e;
	}
	w->entry_count = kept;
}

static void send_serve(struct hlk *c)
{
	struct worker *w = &c->worker;
	struct msg *msg = calloc(1, sizeof *msg);
	ENSURE(msg != NULL);
	msg->kind = FRAME_SERVE;
	uint32_t used = 0;
	for (uint32_t i = 0; i < w->entry_count; i++) {
		struct entry *e = w->entries[i];
		e->granted = 0;
		if (e->gone)
			continue;
		e->granted = entry_room(e);
		msg->serve.entries[msg->serve.count++] = (struct wire_entry){
			.id = e->id, .service = span_str(e->service), .by_queue = e->by_queue, .credit = e->granted,
			.params = span_str(e->params), .capacity = e->capacity, .cost = e->cost };
		struct wire_entry *to = &msg->serve.entries[msg->serve.count - 1];
		to->vnets = spans_of(e->vnets, e->vnet_count, msg->serve.texts, &used);
		to->vnet_count = e->vnet_count;
		to->hot = spans_of(e->hot, e->hot_count, msg->serve.texts, &used);
		to->hot_count = e->hot_count;
	}
	struct task_ref *held = NULL;
	if (w->held_due) {
		report_flush(c); /* what is collected is a report that we hold, too */
		held = held_refs(w, &msg->serve.held_count);
		msg->serve.held = held;
		msg->serve.has_held = msg->serve.held_count <= LIMIT_SERVE_HELD;
		if (!msg->serve.has_held)
			msg->serve.held_count = 0; /* leases that were lost on the way then end with this session */
	}
	w->serve_correlation = client_correlation(c);
	session_send(c, msg, w->serve_correlation);
	free(held);
	free(msg);
	if (w->serve_again_ms)
		w->serve_code = 0; /* it is asked anew */
	w->serve_again_ms = 0;
	w->held_due = false;
	w->serve_dirty = false;
	forget_bridged(c);
}

static void send_credit(struct hlk *c)
{
	struct worker *w = &c->worker;
	struct credit_item items[LIMIT_SESSION_ENTRIES];
	struct msg_credit m = { .items = items, .count = 0 };
	w->credit_dirty = false;
	for (uint32_t i = 0; i < w->entry_count && m.count < COUNT_OF(items); i++) {
		struct entry *e = w->entries[i];
		uint32_t room = entry_room(e);
		if (e->gone || room <= e->granted)
			continue;
		items[m.count++] = (struct credit_item){ e->id, room - e->granted };
		e->granted = room;
	}
	if (m.count == 0)
		return;
	struct buf bytes = { 0 };
	msg_encode_credit(&bytes, &m);
	net_queue(c, buf_span(&bytes));
	buf_free(&bytes);
}

void worker_flush(struct hlk *c)
{
	report_flush(c);
	if (!net_ready(c))
		return;
	if (c->worker.serve_again_ms && c->worker.serve_again_ms <= c->now_ms)
		c->worker.serve_dirty = true;
	if (c->worker.serve_dirty)
		send_serve(c);
	if (c->worker.credit_dirty)
		send_credit(c);
}

/* What the directory says of an entry: within the limits? `but`: this one's own names are about to go; NULL = it is a new one. */
static int describe_check(struct hlk *c, const struct hlk_serve_options *o, const struct entry *but)
{
	size_t texts = o->vnet_count + o->hot_count;
	for (uint32_t i = 0; i < c->worker.entry_count; i++) {
		const struct entry *e = c->worker.entries[i];
		texts += e->gone || e == but ? 0 : e->vnet_count + e->hot_count;
	}
	if (o->vnet_count > LIMIT_ENTRY_TEXTS || o->hot_count > LIMIT_ENTRY_TEXTS || texts > LIMIT_SERVE_TEXTS)
		return error_set(c, HLK_TOO_BIG, "serve: over %d vnets or hot names of one entry, or %d of all", LIMIT_ENTRY_TEXTS,
				 LIMIT_SERVE_TEXTS);
	if (o->params && strlen(o->params) > LIMIT_PARAMS_BYTES)
		return error_set(c, HLK_TOO_BIG, "serve: the parameters are over %d bytes", LIMIT_PARAMS_BYTES);
	if (o->capacity > LIMIT_ENTRY_CREDIT)
		return error_set(c, HLK_TOO_BIG, "serve: capacity %u is over %d", o->capacity, LIMIT_ENTRY_CREDIT);
	return HLK_OK;
}

static int serve_check(struct hlk *c, const struct hlk_serve_options *o)
{
	bool type = o->type && *o->type, queue = o->queue && *o->queue;
	uint32_t live = 0;
	for (uint32_t i = 0; i < c->worker.entry_count; i++)
		live += !c->worker.entries[i]->gone;
	if (type == queue || !(o->task || o->call))
		return error_set(c, HLK_INVALID_INPUT, "serve: needs a type or a queue, one of the two, and a handler");
	if (strlen(type ? o->type : o->queue) > LIMIT_NAME_BYTES)
		return error_set(c, HLK_TOO_BIG, "serve: the name is over %d bytes", LIMIT_NAME_BYTES);
	if (o->credit > LIMIT_ENTRY_CREDIT)
		return error_set(c, HLK_TOO_BIG, "serve: credit %u is over %d", o->credit, LIMIT_ENTRY_CREDIT);
	if (live >= LIMIT_SESSION_ENTRIES)
		return error_set(c, HLK_TOO_BIG, "serve: over %d entries", LIMIT_SESSION_ENTRIES);
	return describe_check(c, o, NULL);
}

static char *copy_name(const char *name)
{
	char *out = strdup(name);
	ENSURE(out != NULL);
	return out;
}

static char **copy_names(const char *const *names, size_t count)
{
	char **out = count ? calloc(count, sizeof *out) : NULL;
	ENSURE(count == 0 || out);
	for (size_t i = 0; i < count; i++)
		out[i] = copy_name(names[i]);
	return out;
}

static void free_names(char **names, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

static void entry_free(struct entry *e)
{
	free_names(e->vnets, e->vnet_count);
	free_names(e->hot, e->hot_count);
	free_names(e->call_types, e->call_type_count);
	free(e->params);
	free(e->reference_type);
	free(e->service);
	free(e);
}

static void describe(struct entry *e, const struct hlk_serve_options *options)
{
	e->capacity = options->capacity;
	e->cost = options->cost;
	e->vnet_count = (uint32_t)options->vnet_count;
	e->hot_count = (uint32_t)options->hot_count;
	e->params = options->params ? copy_name(options->params) : NULL;
	e->vnets = copy_names(options->vnets, options->vnet_count);
	e->hot = copy_names(options->hot, options->hot_count);
}

int hlk_serve(struct hlk *c, const struct hlk_serve_options *options, uint32_t *entry_out)
{
	struct worker *w = &c->worker;
	int code = serve_check(c, options);
	if (code != HLK_OK)
		return code;
	struct entry **entries = realloc(w->entries, (w->entry_count + 1) * sizeof(struct entry *));
	struct entry *e = calloc(1, sizeof *e);
	bool by_queue = !options->type || !*options->type;
	char *service = strdup(by_queue ? options->queue : options->type);
	ENSURE(entries && e && service);
	w->entries = entries;
	w->entries[w->entry_count++] = e;
	*e = (struct entry){ .id = ++w->last_entry, .service = service, .by_queue = by_queue,
			     .credit = !options->task ? 0 : options->credit ? options->credit : 1, .max = UINT64_MAX,
			     .manual_start = options->manual_start, .task = options->task,
			     .signal = options->signal, .call = options->call, .call_cancelled = options->call_cancelled,
			     .ctx = options->ctx, .call_type_count = (uint32_t)options->call_type_count };
	describe(e, options);
	e->fetch = options->fetch;
	e->reference_type = options->reference_type ? copy_name(options->reference_type) : NULL;
	e->call_types = copy_names(options->call_types, options->call_type_count);
	w->serve_dirty = true;
	w->serve_code = 0;
	client_touch(c);
	if (entry_out)
		*entry_out = e->id;
	return HLK_OK;
}

static void ignore_entry(const struct hlk_entry_row *row, void *ctx)
{
	(void)row;
	(void)ctx;
}

/* Frames are handled in the order they were sent, so any question behind the SERVE will do. */
int hlk_serve_wait(struct hlk *c, int timeout_ms)
{
	int before = c->timeout_ms;
	c->timeout_ms = timeout_ms;
	int code = hlk_directory_list(c, "-", NULL, ignore_entry, NULL);
	c->timeout_ms = before;
	if (code != HLK_OK || !c->worker.serve_code)
		return code;
	return error_set(c, c->worker.serve_code, "serve: %s", c->worker.serve_text);
}

int hlk_serve_credit(struct hlk *c, uint32_t entry, uint32_t credit)
{
	struct entry *e = entry_find(&c->worker, entry);
	if (!e || e->gone)
		return error_set(c, HLK_NOT_FOUND, "serve: no entry %u", entry);
	if (credit > LIMIT_ENTRY_CREDIT)
		return error_set(c, HLK_TOO_BIG, "serve: credit %u is over %d", credit, LIMIT_ENTRY_CREDIT);
	c->worker.credit_dirty = true;
	c->worker.serve_dirty = c->worker.serve_dirty || credit < e->credit; /* only SERVE takes credit back */
	e->credit = credit;
	client_touch(c);
	return HLK_OK;
}

int hlk_serve_describe(struct hlk *c, uint32_t entry, const struct hlk_serve_options *options)
{
	struct entry *e = entry_find(&c->worker, entry);
	if (!e || e->gone)
		return error_set(c, HLK_NOT_FOUND, "serve: no entry %u", entry);
	int code = describe_check(c, options, e);
	if (code != HLK_OK)
		return code;
	free_names(e->vnets, e->vnet_count);
	free_names(e->hot, e->hot_count);
	free(e->params);
	describe(e, options);
	c->worker.serve_dirty = true;
	c->worker.serve_code = 0;
	client_touch(c);
	return HLK_OK;
}

int hlk_unserve(struct hlk *c, uint32_t entry)
{
	struct entry *e = entry_find(&c->worker, entry);
	if (!e || e->gone)
		return error_set(c, HLK_NOT_FOUND, "serve: no entry %u", entry);
	e->gone = true;
	c->worker.serve_dirty = true;
	client_touch(c);
	return HLK_OK;
}

static bool entry_is(const struct entry *e, const char *service, struct span where)
{
	struct buf params = { NULL, 0, 0 };
	char text[128];
	bool fits = !e->gone && strcmp(e->service, service) == 0 &&
		    params_parse(span_str(e->params), &params, text) == ERR_OK && predicate_holds(where, buf_span(&params));
	buf_free(&params);
	return fits;
}

static void take_count(struct hlk *c, const struct msg_reply *m, void *arg)
{
	(void)c;
	*(uint64_t *)arg = m->count;
}

/* What is declared is at the broker before the question is; and what it has taken out is not declared again. */
int hlk_unserve_service(struct hlk *c, const char *service, const char *where, uint64_t *count_out)
{
	struct buf packed = { NULL, 0, 0 };
	uint64_t count = 0;
	char text[128];
	if (predicate_parse(span_str(where), &packed, text) != ERR_OK) {
		buf_free(&packed);
		return error_set(c, HLK_INVALID_INPUT, "unserve: %s", text);
	}
	client_flush(c);
	int code = admin_ask(c, &(struct msg_request){ .verb = VERB_ENTRY_REMOVE, .name = span_str(service), .text = span_str(where) },
			     false, "unserve", take_count, &count);
	for (uint32_t i = 0; code == HLK_OK && i < c->worker.entry_count; i++) {
		struct entry *e = c->worker.entries[i];
		if (!entry_is(e, service, buf_span(&packed)))
			continue;
		e->gone = true;
		c->worker.serve_dirty = true;
	}
	if (code == HLK_OK)
		client_touch(c);
	buf_free(&packed);
	if (count_out)
		*count_out = count;
	return code;
}

static void refuse_serve(struct hlk *c, int code, struct span text)
{
	struct worker *w = &c->worker;
	w->serve_code = code;
	(void)snprintf(w->serve_text, sizeof w->serve_text, "%.*s", (int)MIN_OF(text.len, 250u), (const char *)text.data);
	(void)error_set(c, code, "serve: %.*s", (int)MIN_OF(text.len, 300u), (const char *)text.data);
	if (code == ERR_BLOCKED)
		w->serve_again_ms = c->now_ms + SERVE_AGAIN_MS + (int64_t)(client_random(c) % SERVE_AGAIN_MS);
	if (c->state)
		c->state(c, true, c->error.text, c->state_ctx);
}

void worker_blocked(struct hlk *c, struct span text)
{
	refuse_serve(c, ERR_BLOCKED, text);
}

bool worker_refused(struct hlk *c, uint32_t correlation, int code, struct span text)
{
	struct worker *w = &c->worker;
	if (correlation != w->serve_correlation)
		return false;
	refuse_serve(c, code, text);
	return true;
}

/* ---- delivery ---- */

/* Strings of a verified FlatBuffer end in a zero byte that is part of the buffer. */
static const char *text_of(struct span s)
{
	return s.data ? (const char *)s.data : "";
}

static struct hlk_task_info info_of(const struct msg_deliver *m, const struct task_head *head, struct delivery *d)
{
	for (uint32_t i = 0; i < head->header_count; i++)
		d->headers[i] = (struct hlk_header){ text_of(head->headers[i].name), text_of(head->headers[i].value) };
	d->after = head->after;
	const char *type = text_of(head->type);
	const char *own = head->queue.len ? text_of(head->queue) : type;
	return (struct hlk_task_info){
		.type = type, .queue = m->queue.len ? text_of(m->queue) : own, .key = text_of(head->key),
		.trace = text_of(head->trace), .correlation = text_of(head->correlation),
		.fingerprint = head->fingerprint, .execution_ms = head->execution_ms, .priority = head->priority + 1,
		.headers = d->headers, .header_count = head->header_count, .parent = head->parent,
		.never_again = m->once || head->redelivery == REDELIVERY_NEVER, .group = text_of(head->group), .kind = head->payload,
		.after_group = text_of(head->after_group),
	};
}

static bool is_repeat(const struct worker *w, const struct task_ref *ref)
{
	const struct hlk_task *held = ids_get(&w->tasks, ref->task);
	if (held && !held->lost && held->info.attempt == ref->attempt && held->epoch == ref->epoch)
		return true;
	return report_pending(w, ref);
}

static int64_t now_us(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void report_plain(struct hlk_task *task, enum report_verb verb)
{
	const struct report_item item = { .verb = (uint8_t)verb };
	report_add(task, &item, (struct span){ NULL, 0 });
}

static struct hlk_task *task_new(struct hlk *c, struct entry *e, struct delivery *d, uint32_t epoch)
{
	struct worker *w = &c->worker;
	struct hlk_task *task = task_alloc(w);
	task->client = c;
	task->prev = NULL;
	task->next = w->live;
	if (w->live)
		w->live->prev = task;
	w->live = task;
	task->delivery = d;
	d->refs++;
	task->entry = e;
	task->ctx = NULL;
	task->epoch = epoch;
	task->started = task->lost = false;
	task->fetch = 0;
	task->fetched = (struct buf){ 0 };
	task->object = NULL;
	e->held++;
	return task;
}

/* Gives one task to its handler. Returns the time after it. */
static int64_t hand_over(struct hlk *c, struct hlk_task *task, int64_t before_us)
{
	struct entry *e = task->entry;
	if (e->gone) {
		(void)hlk_release(task, -1);
		return before_us;
	}
	if (c->blobs.shapes && !shape_expand_task(c, task))
		return before_us;
	if (!e->manual_start)
		(void)hlk_start(task);
	if (!e->fast) {
		client_flush(c);
		before_us = now_us();
	}
	e->task(c, task, e->ctx);
	int64_t after_us = now_us();
	e->fast = after_us - before_us <= FAST_HANDLER_US;
	c->now_ms = after_us / 1000;
	return after_us;
}

static void deliver_items(struct hlk *c, struct entry *e, const struct msg_deliver *m, struct span payload,
			  const struct hlk_task_info *info, struct delivery *d)
{
	struct worker *w = &c->worker;
	size_t at = 0;
	int64_t time_us = now_us();
	for (uint32_t i = 0; i < m->count; i++) {
		const struct deliver_item *item = &m->items[i];
		if (item->task == 0) {
			net_fail(c, HLK_MALFORMED, "the broker delivered task 0, which is none");
			return;
		}
		const struct task_ref ref = { item->task, item->attempt, m->epoch };
		const uint8_t *data = span_sub(payload, at, item->size).data;
		at += item->size;
		e->granted -= e->granted > 0;
		if (is_repeat(w, &ref)) {
			w->credit_dirty = true;
			continue;
		}
		e->taken++;
		struct hlk_task *task = task_new(c, e, d, m->epoch);
		task->info = *info;
		task->info.id = item->task;
		task->info.attempt = item->attempt;
		task->info.payload = data;
		task->info.size = item->size;
		task->info.yielded = m->yield_count ? m->yields[i] : 0;
		task->next_yield = 0;
		ids_put(&w->tasks, item->task, task);
		if (info->kind == HLK_INLINE || !fetch_task(c, task))
			time_us = hand_over(c, task, time_us);
	}
}

void worker_hand_over(struct hlk *c, struct hlk_task *task)
{
	(void)hand_over(c, task, now_us());
}

void worker_deliver(struct hlk *c, const struct frame *from)
{
	size_t size = size_add(from->meta.len, from->payload.len);
	struct delivery *d = malloc(size_add(sizeof *d, size));
	struct msg *m = &c->msg;
	struct task_head head;
	char text[128];
	ENSURE(d != NULL);
	d->refs = 1; /* ours */
	struct frame frame = *from;
	frame.meta = span_of(d->bytes, from->meta.len);
	frame.payload = span_of(d->bytes + from->meta.len, from->payload.len);
	memcpy(d->bytes, from->meta.data, from->meta.len);
	if (from->payload.len > 0)
		memcpy(d->bytes + from->meta.len, from->payload.data, from->payload.len);
	enum err e = msg_decode(&frame, m, text);
	if (e == ERR_OK)
		e = task_head_decode(m->deliver.head, &head, text);
	if (e != ERR_OK) {
		net_fail(c, (int)e, "the broker sent a bad DELIVER: %s", text);
		delivery_drop(d);
		return;
	}
	struct entry *entry = entry_find(&c->worker, m->deliver.entry);
	if (entry) {
		const struct hlk_task_info info = info_of(&m->deliver, &head, d);
		const struct msg_deliver deliver = m->deliver;
		deliver_items(c, entry, &deliver, frame.payload, &info, d);
	} else {
		net_fail(c, HLK_MALFORMED, "the broker delivered to entry %u, which does not exist", m->deliver.entry);
	}
	delivery_drop(d);
}

/* ---- signals ---- */

static void lose(struct hlk *c, struct hlk_task *task)
{
	struct entry *e = task->entry;
	if (task->lost)
		return;
	task->lost = true;
	if (task->fetch)
		fetch_signal(c, task, "lease-lost");
	else if (e->signal)
		e->signal(c, task, "lease-lost", e->ctx);
}

static struct hlk_task *task_by_ref(struct worker *w, const struct task_ref *ref)
{
	struct hlk_task *task = ids_get(&w->tasks, ref->task);
	return task && task->info.attempt == ref->attempt && task->epoch == ref->epoch ? task : NULL;
}

void worker_lost(struct hlk *c, const struct task_ref *ref)
{
	struct hlk_task *task = task_by_ref(&c->worker, ref);
	if (task)
		lose(c, task);
}

static const char *signal_name(uint8_t signal)
{
	static const char *const names[] = {
		[SIGNAL_CANCEL] = "cancel", [SIGNAL_DEADLINE_SOON] = "deadline-soon", [SIGNAL_INTERRUPT] = "interrupt",
		[SIGNAL_PAUSE] = "pause", [SIGNAL_RESUME] = "resume", [SIGNAL_STEP] = "step",
	};
	return signal < COUNT_OF(names) ? names[signal] : NULL;
}

void worker_signals(struct hlk *c, const struct msg_signals *m)
{
	for (uint32_t i = 0; i < m->count; i++) {
		const struct signal_item *item = &m->items[i];
		struct hlk_task *task = task_by_ref(&c->worker, &item->ref);
		struct entry *e = task ? task->entry : NULL;
		if (item->signal == SIGNAL_DRAIN) {
			atomic_store(&c->worker.stop, true); /* hlk_worker_run finishes what it has */
			if (c->state)
				c->state(c, true, "drain: the broker sends no more work", c->state_ctx);
		}
		if (item->signal == SIGNAL_STOP) {
			c->worker.stop_asked = true;
			if (c->state)
				c->state(c, true, "stop: the operator asks this program to end", c->state_ctx);
		}
		if (!task || task->lost)
			continue;
		if (item->signal == SIGNAL_LEASE_LOST)
			lose(c, task);
		else if (task->fetch && signal_name(item->signal))
			fetch_signal(c, task, signal_name(item->signal));
		else if (e->signal && signal_name(item->signal))
			e->signal(c, task, signal_name(item->signal), e->ctx);
	}
}

/* The signal may settle any task, so the tasks are named first and each is looked up again. */
static void lose_all(struct hlk *c)
{
	struct worker *w = &c->worker;
	uint32_t count = 0, left;
	for (const struct hlk_task *t = w->live; t; t = t->next)
		count += !t->lost && !t->info.never_again;
	struct task_ref *refs = calloc((size_t)count + 1, sizeof *refs);
	ENSURE(refs != NULL);
	left = count;
	for (const struct hlk_task *t = w->live; t; t = t->next) /* newest first: fill from the end */
		if (!t->lost && !t->info.never_again)
			refs[--left] = (struct task_ref){ t->info.id, t->info.attempt, t->epoch };
	for (uint32_t i = 0; i < count; i++)
		worker_lost(c, &refs[i]);
	free(refs);
}

/* Tasks that are handed out once are kept for us by a broker that was restarted; it takes back those we do not name. */
static bool holds_once(const struct worker *w)
{
	bool any = false;
	for (const struct hlk_task *t = w->live; t; t = t->next)
		any = any || (!t->lost && t->info.never_again);
	return any;
}

void worker_up(struct hlk *c, bool resumed)
{
	struct worker *w = &c->worker;
	if (!resumed)
		lose_all(c);
	w->held_due = resumed ? w->entry_count > 0 || w->live || w->undone > 0 : holds_once(w);
	if (w->held_due)
		send_serve(c); /* before the reports: they end leases that are named in it */
	report_up(c);
	for (struct hlk_task *t = w->live; t; t = t->next)
		if (t->started && !t->lost)
			report_plain(t, REPORT_START); /* the first one may have been swallowed */
	w->serve_dirty = w->serve_dirty || (!resumed && w->entry_count > 0);
}

void worker_retire(struct hlk *c)
{
	struct worker *w = &c->worker;
	for (uint32_t i = 0; i < w->entry_count; i++) {
		w->serve_dirty = w->serve_dirty || !w->entries[i]->gone;
		w->entries[i]->gone = true;
	}
}

void worker_close(struct hlk *c)
{
	struct worker *w = &c->worker;
	while (w->live)
		task_free(w->live);
	report_close(c);
	for (uint32_t i = 0; i < w->entry_count; i++)
		entry_free(w->entries[i]);
	for (uint32_t i = 0; i < w->slab_count; i++)
		free(w->slabs[i]);
	free(w->entries);
	free(w->slabs);
	map64_free(&w->tasks, NULL);
}
