/* clientlib/results.c: who waits for which task. In the flow: RESULTS -> RESULTS -> callback.
 *
 * 1. A result goes to those who await its task by id, else, if this client submitted it with want_result and has not had it
 *    yet, to the hlk_on_result callback; else it is a repeat and is dropped.
 * 2. After every reconnect all that is outstanding is asked for again; a repeat that this causes falls under 1.
 * 3. An await is unlinked before its callback runs.
 * 4. Every await is answered: by its result, by its deadline, by the refusal of the frame that asked, or when the client closes. */
#include "client_impl.h"

enum { ASK_MAX = 4096 }; /* ids in one AWAIT */

static void list_add(struct u64_list *list, uint64_t value)
{
	if (list->count == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 64;
		uint64_t *at = realloc(list->at, list->cap * sizeof *at);
		ENSURE(at != NULL);
		list->at = at;
	}
	list->at[list->count++] = value;
}

/* So that an ERROR that answers the frame finds those who wait. */
static void asked(struct results *r, const struct u64s *tasks, uint32_t correlation)
{
	for (uint32_t i = 0; i < tasks->count; i++) {
		struct map64_slot *expected = map64_find(&r->expected, tasks->at[i]);
		for (struct await *a = ids_get(&r->awaits, tasks->at[i]); a; a = a->next)
			a->correlation = correlation;
		if (expected)
			expected->value = correlation;
	}
}

/* The next run of tasks that are alike, watched or not; *msg says which, and from which yield on. */
static uint32_t fill_list(const struct results *r, const struct u64_list *list, uint32_t from, struct msg *msg, uint32_t *yields)
{
	uint32_t count = 0;
	for (; from + count < list->count && count < ASK_MAX; count++) {
		const struct map64_slot *watch = map64_find(&r->watched, list->at[from + count]);
		bool watched = msg->kind == FRAME_AWAIT && watch;
		if (count > 0 && watched != msg->tasks.want_updates)
			break;
		msg->tasks.want_updates = watched;
		yields[count] = watched ? (uint32_t)watch->value : 0;
	}
	msg->tasks.tasks = (struct u64s){ list->at + from, count };
	msg->tasks.from_yield = (struct u32s){ yields, msg->tasks.want_updates ? count : 0 };
	return count;
}

static void send_list(struct hlk *c, enum frame_kind kind, struct u64_list *list)
{
	uint32_t yields[ASK_MAX], count;
	for (uint32_t from = 0; from < list->count; from += count) {
		uint32_t correlation = client_correlation(c);
		struct msg msg = { .kind = kind };
		count = fill_list(&c->results, list, from, &msg, yields);
		if (kind == FRAME_AWAIT)
			asked(&c->results, &msg.tasks.tasks, correlation);
		session_send(c, &msg, correlation);
	}
	list->count = 0;
}

void results_flush(struct hlk *c)
{
	if (!net_ready(c))
		return;
	send_list(c, FRAME_FORGET, &c->results.forget); /* first: a callback may have asked again for what it gave up */
	send_list(c, FRAME_AWAIT, &c->results.ask);
}

void results_up(struct hlk *c)
{
	struct results *r = &c->results;
	const struct map64 *const maps[] = { &r->awaits, &r->expected };
	r->ask.count = r->forget.count = 0;
	for (size_t m = 0; m < COUNT_OF(maps); m++)
		for (uint32_t i = 0; i < maps[m]->cap; i++)
			if (maps[m]->slots[i].key)
				list_add(&r->ask, maps[m]->slots[i].key);
}

void results_expect(struct hlk *c, uint64_t task, bool ask, bool updates)
{
	if (updates && !map64_find(&c->results.watched, task))
		map64_add(&c->results.watched, task, 0, NULL);
	if (!map64_find(&c->results.expected, task))
		map64_add(&c->results.expected, task, 0, NULL);
	if (ask) /* accepted before, perhaps from another session: make sure that it comes here */
		list_add(&c->results.ask, task);
}

static void tell(struct hlk *c, struct await *chain, const struct hlk_result *result)
{
	while (chain) {
		struct await *a = chain;
		chain = a->next;
		hlk_result_fn *fn = a->fn;
		void *ctx = a->ctx;
		free(a);
		fn(c, result, ctx);
	}
}

/* Oldest await first. */
static struct await *reversed(struct await *chain)
{
	struct await *out = NULL;
	while (chain) {
		struct await *next = chain->next;
		chain->next = out;
		out = chain;
		chain = next;
	}
	return out;
}

static void unwatch(struct results *r, uint64_t task)
{
	struct map64_slot *watch = map64_find(&r->watched, task);
	if (watch)
		map64_remove(&r->watched, watch);
}

void results_give(struct hlk *c, const struct hlk_result *result)
{
	struct results *r = &c->results;
	unwatch(r, result->task);
	struct await *chain = ids_take(&r->awaits, result->task);
	struct map64_slot *expected = map64_find(&r->expected, result->task);
	if (expected)
		map64_remove(&r->expected, expected);
	if (chain)
		tell(c, reversed(chain), result);
	else if ((expected || r->blind) && r->fn)
		r->fn(c, result, r->ctx);
}

void results_frame(struct hlk *c, const struct msg_results *m, struct span payload)
{
	size_t at = 0;
	for (uint32_t i = 0; i < m->count; i++) {
		const struct result_item *item = &m->items[i];
		const struct hlk_result result = {
			.task = item->task, .state = task_state_name(item->state), .code = item->code,
			.app_code = item->app_code, .failed = item->failed, .kind = i < m->kind_count ? m->kinds[i] : HLK_INLINE,
			.data = span_sub(payload, at, item->size).data, .size = item->size,
		};
		at += item->size;
		const struct map64_slot *watch = map64_find(&c->results.watched, item->task);
		if (watch && watch->value < item->yields) {
			list_add(&c->results.ask, item->task); /* the cut swallowed some: they come again, and then this result */
			client_touch(c);
			continue;
		}
		if (c->results.shaped.count == 0 || !shape_result(c, &result))
			results_give(c, &result);
	}
}

/* ---- updates ---- */

static void one_update(struct hlk *c, const struct update_item *item, struct span data)
{
	struct results *r = &c->results;
	const struct hlk_update update = {
		.task = item->task, .kind = (enum hlk_update_kind)item->kind, .number = item->number,
		.progress = item->kind == UPDATE_PROGRESS ? item->number / 1e6 : 0,
		.level = item->kind == UPDATE_LOG ? item->level : 0,
		.state = item->kind == UPDATE_STATE ? phase_name(item->level) : "", .code = item->code, .item_kind = item->payload,
		.data = data.data, .size = data.len,
	};
	if (r->update)
		r->update(c, &update, r->update_ctx);
}

/* Of yields only the one that comes next is told. One further on means that some were lost on the way: they are asked for. */
void results_updates(struct hlk *c, const struct msg_updates *m, struct span payload)
{
	struct results *r = &c->results;
	size_t at = 0;
	uint64_t asked_for = 0;
	for (uint32_t i = 0; i < m->count; i++) {
		const struct update_item *item = &m->items[i];
		struct span data = span_sub(payload, at, item->size);
		at += item->size;
		struct map64_slot *watch = map64_find(&r->watched, item->task);
		if (!watch && item->kind == UPDATE_YIELD)
			continue;
		if (item->kind == UPDATE_YIELD && item->number != watch->value) {
			if (item->number > watch->value && asked_for != item->task) {
				asked_for = item->task;
				list_add(&r->ask, item->task);
				client_touch(c);
			}
			continue;
		}
		if (item->kind == UPDATE_YIELD)
			watch->value++;
		one_update(c, item, data);
	}
}

void hlk_on_update(struct hlk *c, hlk_update_fn *fn, void *ctx)
{
	c->results.update = fn;
	c->results.update_ctx = ctx;
}

int hlk_await_updates(struct hlk *c, uint64_t task, uint32_t from_yield, int timeout_ms, hlk_result_fn *fn, void *ctx)
{
	struct results *r = &c->results;
	int code = hlk_await(c, task, timeout_ms, fn, ctx);
	if (code != HLK_OK)
		return code;
	if (map64_find(&r->watched, task))
		return HLK_OK; /* they come already, from where they are */
	map64_add(&r->watched, task, from_yield, NULL);
	list_add(&r->ask, task);
	return HLK_OK;
}

static void collect_asked(const struct map64 *map, bool awaits, uint32_t correlation, struct u64_list *out)
{
	for (uint32_t i = 0; i < map->cap; i++) {
		const struct map64_slot *slot = &map->slots[i];
		const struct await *a = awaits && slot->key ? (const struct await *)(uintptr_t)slot->value : NULL;
		if (slot->key && (a ? a->correlation : slot->value) == correlation)
			list_add(out, slot->key);
	}
}

/* Nothing more comes for these tasks. The broker may have taken a part of them: it is told to forget them. */
bool results_refused(struct hlk *c, uint32_t correlation, int code, struct span text)
{
	struct results *r = &c->results;
	struct u64_list tasks = { NULL, 0, 0 };
	collect_asked(&r->awaits, true, correlation, &tasks);
	collect_asked(&r->expected, false, correlation, &tasks);
	for (uint32_t i = 0; i < tasks.count; i++) {
		const struct hlk_result result = { .task = tasks.at[i], .state = "unknown", .code = code,
						   .data = text.data, .size = text.len };
		list_add(&r->forget, result.task);
		if (ids_get(&r->awaits, result.task) || map64_find(&r->expected, result.task))
			results_give(c, &result);
	}
	free(tasks.at);
	return tasks.count > 0;
}

void hlk_on_result(struct hlk *c, hlk_result_fn *fn, void *ctx)
{
	c->results.fn = fn;
	c->results.ctx = ctx;
}

int hlk_await(struct hlk *c, uint64_t task, int timeout_ms, hlk_result_fn *fn, void *ctx)
{
	struct results *r = &c->results;
	if (task == 0 || !fn)
		return error_set(c, HLK_INVALID_INPUT, "await: needs a task and a callback");
	if (c->closing)
		return error_set(c, HLK_CLOSED, "await: the client is being closed");
	struct await *a = malloc(sizeof *a);
	ENSURE(a != NULL);
	*a = (struct await){ .next = ids_get(&r->awaits, task), .task = task, .fn = fn, .ctx = ctx,
			     .deadline_ms = client_deadline(c, timeout_ms) };
	if (!a->next)
		list_add(&r->ask, task);
	ids_put(&r->awaits, task, a);
	r->next_deadline_ms = MIN_OF(r->next_deadline_ms, a->deadline_ms);
	client_touch(c);
	return HLK_OK;
}

/* Unlinks one await that is overdue, and finds the next deadline. */
static struct await *take_overdue(struct hlk *c)
{
	struct results *r = &c->results;
	r->next_deadline_ms = INT64_MAX;
	for (uint32_t i = 0; i < r->awaits.cap; i++) {
		struct map64_slot *slot = &r->awaits.slots[i];
		struct await *before = NULL, *chain = slot->key ? (struct await *)(uintptr_t)slot->value : NULL;
		for (struct await *a = chain; a; before = a, a = a->next) {
			if (a->deadline_ms > c->now_ms) {
				r->next_deadline_ms = MIN_OF(r->next_deadline_ms, a->deadline_ms);
				continue;
			}
			r->next_deadline_ms = a->deadline_ms; /* look again */
			if (before)
				before->next = a->next;
			else if (a->next)
				slot->value = (uintptr_t)a->next;
			else
				map64_remove(&r->awaits, slot);
			a->next = NULL;
			return a;
		}
	}
	return NULL;
}

void results_timers(struct hlk *c)
{
	while (c->results.next_deadline_ms <= c->now_ms) {
		struct await *a = take_overdue(c);
		if (!a)
			return;
		if (!ids_get(&c->results.awaits, a->task) && !map64_find(&c->results.expected, a->task)) {
			list_add(&c->results.forget, a->task);
			unwatch(&c->results, a->task);
		}
		const struct hlk_result result = { .task = a->task, .state = "unknown", .code = HLK_TIMEOUT, .data = "" };
		tell(c, a, &result);
	}
}

void results_close(struct hlk *c, bool tell_all)
{
	struct results *r = &c->results;
	while (r->awaits.count > 0) {
		uint32_t i = 0;
		while (!r->awaits.slots[i].key)
			i++;
		const struct hlk_result result = { .task = r->awaits.slots[i].key, .state = "unknown", .code = HLK_CLOSED,
						   .data = "" };
		tell(c, reversed(ids_take(&r->awaits, result.task)), &result);
	}
	if (tell_all)
		return;
	map64_free(&r->awaits, NULL);
	map64_free(&r->expected, NULL);
	map64_free(&r->watched, NULL);
	map64_free(&r->shaped, NULL);
	free(r->ask.at);
	free(r->forget.at);
	buf_free(&r->kept);
}

/* ---- the blocking form ---- */

struct waited { bool done; struct hlk_result result; };

static void waited_result(struct hlk *c, const struct hlk_result *result, void *ctx)
{
	struct waited *w = ctx;
	struct buf *kept = &c->results.kept;
	w->done = true;
	w->result = *result;
	kept->len = 0;
	buf_append(kept, result->data, result->size);
	buf_append(kept, "", 1); /* so that text can be printed */
	w->result.data = kept->data;
}

static int await_wait(struct hlk *c, uint64_t task, bool updates, uint32_t from, int timeout_ms, struct hlk_result *result)
{
	struct waited w = { .done = false };
	int code = client_may_block(c);
	if (code == HLK_OK)
		code = updates ? hlk_await_updates(c, task, from, timeout_ms, waited_result, &w)
			       : hlk_await(c, task, timeout_ms, waited_result, &w);
	if (code != HLK_OK)
		return code;
	while (!w.done)
		(void)client_wait(c, INT64_MAX); /* the await has the deadline */
	*result = w.result;
	if (w.result.code == HLK_NOT_FOUND)
		return error_set(c, HLK_NOT_FOUND, "await: no task %llu", (unsigned long long)task);
	if (w.result.code == HLK_TIMEOUT && strcmp(w.result.state, "unknown") == 0)
		return error_set(c, HLK_TIMEOUT, "await: task %llu is not final yet%s%s", (unsigned long long)task,
				 net_ready(c) ? "" : "; ", net_ready(c) ? "" : c->session.last_text);
	if (strcmp(w.result.state, "unknown") == 0)
		return error_set(c, w.result.code, "await: task %llu: %.400s", (unsigned long long)task,
				 (const char *)w.result.data);
	return HLK_OK;
}

int hlk_await_wait(struct hlk *c, uint64_t task, int timeout_ms, struct hlk_result *result)
{
	return await_wait(c, task, false, 0, timeout_ms, result);
}

int hlk_await_updates_wait(struct hlk *c, uint64_t task, uint32_t from_yield, int timeout_ms, struct hlk_result *result)
{
	return await_wait(c, task, true, from_yield, timeout_ms, result);
}
