/* broker/life.c: yields, progress and phases of tasks, and the objects that keep them.
 *
 *   tasks_report -> LIFE propose -> log ... commit -> LIFE apply -> streams -> UPDATES
 *
 * Invariants
 *  1. Yields of a task are numbered from 0 without gap: apply takes the next number and no other, whoever proposed it.
 *  2. yields <= yields_next; they are equal when no record is under way. What lies between is not acknowledged to anybody.
 *  3. Every run pins its record until the task is forgotten; a task that has yields is kept after its end. */
#include "life.h"

#include "blob_index.h"

struct life *life_of(struct tasks *t, struct hot *h)
{
	if (h->life)
		return h->life;
	struct life *l = mem_resize(t, NULL, 0, sizeof *l);
	*l = (struct life){ .task = h->task };
	return h->life = l;
}

bool life_is_durable(const struct life *l)
{
	return l && (l->yields > 0 || l->lease_attempt > 0 || l->parent || l->close_ms || l->note_count > 0);
}

void life_attempt_over(struct life *l)
{
	l->phase = PHASE_NONE;
	l->progress = l->progress_size = 0;
	l->never = l->left = false;
	l->heartbeat_ms = l->beat_ms = l->silence_ms = l->silent_ms = 0;
}

/* ---- families ---- */

void life_family(struct tasks *t, struct life *l, uint64_t parent, uint64_t root)
{
	l->parent = parent;
	l->root = root;
	if (!parent)
		return;
	struct map64_slot *slot = map64_find(&t->children, parent);
	l->younger = slot ? (struct life *)(uintptr_t)slot->value : NULL;
	if (l->younger)
		l->younger->elder = l;
	if (slot)
		slot->value = (uintptr_t)l;
	else
		map64_add(&t->children, parent, (uintptr_t)l, &t->memory);
}

static void family_leave(struct tasks *t, struct life *l)
{
	if (!l->parent)
		return;
	if (l->younger)
		l->younger->elder = l->elder;
	if (l->elder) {
		l->elder->younger = l->younger;
		return;
	}
	struct map64_slot *slot = map64_find(&t->children, l->parent);
	if (l->younger)
		slot->value = (uintptr_t)l->younger;
	else
		map64_remove(&t->children, slot);
}

void life_free(struct tasks *t, struct hot *h)
{
	struct life *l = h->life;
	if (!l)
		return;
	h->life = NULL;
	family_leave(t, l);
	for (uint32_t i = 0; i < l->run_count; i++)
		pin_drop(t, l->runs[i].addr);
	t->yields_kept -= l->yields;
	blobs_drop_task(t->blobs, BLOB_OF_YIELD, l->task, t->time_ms);
	(void)mem_resize(t, l->runs, l->run_cap * sizeof *l->runs, 0);
	(void)mem_resize(t, l->notes, l->note_count * sizeof *l->notes, 0);
	(void)mem_resize(t, l, sizeof *l, 0);
}

uint32_t tasks_family(const struct tasks *t, uint64_t task, uint32_t limit, uint64_t *out)
{
	uint32_t count = 0;
	if (limit > 0 && task != 0)
		out[count++] = task;
	for (uint32_t i = 0; i < count; i++) {
		const struct map64_slot *slot = map64_find(&t->children, out[i]);
		const struct life *l = slot ? (const struct life *)(uintptr_t)slot->value : NULL;
		uint32_t from = count;
		for (; l && count < limit; l = l->younger)
			out[count++] = l->task;
		for (uint32_t a = from, b = count; a + 1 < b; a++) { /* oldest first */
			uint64_t task_a = out[a];
			out[a] = out[--b];
			out[b] = task_a;
		}
	}
	return count;
}

void tasks_set_root(struct tasks *t, uint64_t root)
{
	t->root = root;
}

enum err tasks_parent(struct tasks *t, uint64_t parent, const struct holder *holder, uint64_t *root, char text[256])
{
	const struct hot *h = hot_find(t, parent);
	if (h && h->holder && h->holder == holder && h->final == TASK_UNKNOWN && !h->settling) {
		*root = h->life && h->life->root ? h->life->root : parent;
		return ERR_OK;
	}
	(void)snprintf(text, 256, "TaskHead.parent: task %llu is not in the hands of this session", (unsigned long long)parent);
	return h && h->final == TASK_UNKNOWN ? ERR_PERMISSION : ERR_WRONG_STATE;
}

/* ---- history ---- */

void history_add(struct tasks *t, struct hot *h, const struct settlement *s)
{
	struct life *l = life_of(t, h);
	if (l->note_count < LIMIT_HISTORY) {
		l->notes = mem_resize(t, l->notes, l->note_count * sizeof *l->notes, (l->note_count + 1) * sizeof *l->notes);
		l->note_count++;
	} else {
		memmove(l->notes, l->notes + 1, (LIMIT_HISTORY - 1) * sizeof *l->notes);
	}
	struct attempt_note *n = &l->notes[l->note_count - 1];
	memset(n, 0, sizeof *n);
	n->time_ms = s->time_ms;
	n->attempt = s->item.attempt;
	n->app_code = s->item.app_code;
	n->code = s->item.code;
	n->worker_size = (uint8_t)MIN_OF(s->worker.len, sizeof n->worker);
	n->text_size = (uint8_t)MIN_OF(s->text.len, sizeof n->text);
	if (n->worker_size > 0)
		memcpy(n->worker, s->worker.data, n->worker_size);
	if (n->text_size > 0)
		memcpy(n->text, s->text.data, n->text_size);
}

uint32_t tasks_history(const struct tasks *t, uint64_t task, struct attempt_info out[LIMIT_HISTORY])
{
	const struct hot *h = hot_find(t, task);
	uint32_t count = h && h->life ? h->life->note_count : 0;
	for (uint32_t i = 0; i < count; i++) {
		const struct attempt_note *n = &h->life->notes[i];
		out[i] = (struct attempt_info){ n->time_ms, n->attempt, n->app_code, n->code, span_of(n->worker, n->worker_size),
						span_of(n->text, n->text_size) };
	}
	return count;
}

/* ---- what workers say ---- */

static void tell(const struct tasks *t, const struct hot *h, const struct update_item *item, struct span data)
{
	if (t->config.hooks.update)
		t->config.hooks.update(t->config.hooks.ctx, item, data, h->life ? h->life->yields_next : 0);
}

void progress_take(struct tasks *t, struct hot *h, const struct report_item *i, struct span text)
{
	bool progress = i->verb == REPORT_PROGRESS;
	if (progress) {
		struct life *l = life_of(t, h);
		l->progress = MIN_OF(i->app_code, 1000000u);
		l->progress_size = (uint8_t)MIN_OF(text.len, sizeof l->progress_text);
		if (l->progress_size > 0)
			memcpy(l->progress_text, text.data, l->progress_size);
	}
	const struct update_item item = {
		.task = h->task, .number = progress ? MIN_OF(i->app_code, 1000000u) : 0, .size = (uint32_t)text.len,
		.kind = progress ? UPDATE_PROGRESS : UPDATE_LOG,
		.level = (uint8_t)(progress ? 0 : MIN_OF(i->class_code, LOG_LEVELS - 1)),
	};
	tell(t, h, &item, text);
}

void phase_set(struct tasks *t, struct hot *h, enum phase phase, uint16_t code)
{
	const struct update_item item = { .task = h->task, .number = h->acquired, .kind = UPDATE_STATE, .level = (uint8_t)phase,
					  .code = code };
	if (phase != PHASE_STARTED && phase != PHASE_RETRY)
		life_of(t, h)->phase = (uint8_t)phase;
	tell(t, h, &item, (struct span){ NULL, 0 });
}

/* ---- proposing yields ---- */

struct yield_source { uint64_t offset; struct hot *hot; struct rec_yield_item item; uint8_t kind; };

enum err yield_take(struct tasks *t, struct hot *h, const struct report_item *i, uint64_t offset, bool *wait)
{
	struct life *l = life_of(t, h);
	uint32_t number = i->app_code;
	*wait = false;
	if (number < l->yields)
		return ERR_OK;
	if (number != l->yields_next)
		return ERR_AGAIN;
	if (number >= LIMIT_YIELDS)
		return ERR_TOO_BIG;
	if (t->yields_kept >= YIELDS_KEPT_MAX)
		return ERR_RESOURCE_EXHAUSTED;
	const struct yield_source source = { offset, h, { h->task, number, i->size, h->acquired, h->epoch },
					     report_payload_kind(i->flags) };
	buf_append(&t->scratch_yields, &source, sizeof source);
	l->yields_next++;
	*wait = true;
	return ERR_OK;
}

bool yields_append(struct tasks *t, struct log *log, struct span payload)
{
	const struct yield_source *sources = (const void *)t->scratch_yields.data;
	uint64_t bytes = 0, addr;
	uint32_t count = (uint32_t)(t->scratch_yields.len / sizeof *sources);
	bool kinds = false;
	for (uint32_t k = 0; k < count; k++) {
		bytes += sources[k].item.size;
		kinds = kinds || sources[k].kind != PAYLOAD_INLINE;
	}
	size_t kinds_size = kinds ? align_up(count, 8) : 0;
	struct rec_yield head = { .version = kinds ? REC_YIELD_KINDS : REC_VERSION, .count = count };
	uint8_t *body = log_append(log, REC_YIELD, sizeof head + count * sizeof sources->item + kinds_size + bytes, &addr);
	for (uint32_t k = count; !body && k-- > 0;)
		sources[k].hot->life->yields_next = sources[k].item.number;
	if (!body)
		return false;
	memcpy(body, &head, sizeof head);
	uint8_t *item = body + sizeof head, *kind = item + count * sizeof sources->item, *data = kind + kinds_size;
	memset(kind, 0, kinds_size);
	for (uint32_t k = 0; k < count; k++) {
		if (kinds)
			kind[k] = sources[k].kind;
		struct span s = span_sub(payload, sources[k].offset, sources[k].item.size);
		memcpy(item, &sources[k].item, sizeof sources->item);
		item += sizeof sources->item;
		if (s.len > 0)
			memcpy(data, s.data, s.len);
		data += s.len;
	}
	return true;
}

void yields_refuse(const struct tasks *t, struct reported_item *refused, uint32_t *refused_count)
{
	const struct yield_source *sources = (const void *)t->scratch_yields.data;
	for (uint32_t k = 0; k < t->scratch_yields.len / sizeof *sources; k++) {
		const struct rec_yield_item *i = &sources[k].item;
		refused[(*refused_count)++] = (struct reported_item){
			.ref = { i->task, i->attempt, i->epoch }, .code = ERR_RESOURCE_EXHAUSTED, .verb = REPORT_YIELD,
			.state = sources[k].hot->state, .number = i->number };
	}
}

/* ---- apply ---- */

static void run_add(struct tasks *t, struct life *l, uint64_t addr)
{
	if (l->run_count > 0 && l->runs[l->run_count - 1].addr == addr) {
		l->runs[l->run_count - 1].count++;
		return;
	}
	if (l->run_count == l->run_cap) {
		uint32_t cap = l->run_cap ? l->run_cap * 2 : 4;
		l->runs = mem_resize(t, l->runs, l->run_cap * sizeof *l->runs, cap * sizeof *l->runs);
		l->run_cap = cap;
	}
	l->runs[l->run_count++] = (struct yield_run){ addr, l->yields, 1 };
	pin_add(t, addr);
}

static enum err yield_apply(struct tasks *t, const struct rec_yield_item *i, uint64_t addr, uint8_t kind, struct span bytes)
{
	uint32_t class;
	struct hot *h;
	if (!task_open(t, i->task, &class, &h))
		return ERR_LATE_RESULT;
	struct blob *blob = kind == PAYLOAD_BLOB ? task_blob(t, class, bytes) : NULL;
	if (kind == PAYLOAD_BLOB && !blob) {
		if (h && h->life)
			h->life->yields_next = h->life->yields;
		return ERR_NOT_FOUND;
	}
	if (!h)
		h = hot_new(t, i->task, class);
	struct life *l = life_of(t, h);
	if (i->number != l->yields)
		return i->number < l->yields ? ERR_OK : ERR_AGAIN;
	run_add(t, l, addr);
	if (blob)
		blobs_hold_task(t->blobs, BLOB_OF_YIELD, i->task, blob);
	l->yields++;
	l->yields_next = MAX_OF(l->yields_next, l->yields);
	t->yields_kept++;
	return ERR_OK;
}

void apply_yield(struct tasks *t, const struct log_record *record, bool live, struct applied *out)
{
	struct yield_view v;
	enum err e = rec_yield_read(record->body, &v);
	ENSURE(e == ERR_OK);
	reported_reserve(t, v.fixed.count);
	size_t at = 0;
	for (uint32_t k = 0; k < v.fixed.count; k++) {
		const struct rec_yield_item *i = &v.items[k];
		enum err code = yield_apply(t, i, record->addr, v.kinds ? v.kinds[k] : PAYLOAD_INLINE, span_sub(v.data, at, i->size));
		at += i->size;
		t->reported[k] = (struct reported_item){
			.ref = { i->task, i->attempt, i->epoch }, .code = (uint16_t)code, .verb = REPORT_YIELD,
			.state = code == ERR_OK ? TASK_STARTED : TASK_UNKNOWN, .number = i->number };
		bool last = k + 1 == v.fixed.count || v.items[k + 1].task != i->task;
		if (live && code == ERR_OK && last && t->config.hooks.yielded)
			t->config.hooks.yielded(t->config.hooks.ctx, i->task);
	}
	out->origin = APPLIED_REPORT;
	out->reported = t->reported;
	out->reported_count = v.fixed.count;
}

/* ---- looking ---- */

uint32_t tasks_yields(const struct tasks *t, uint64_t task)
{
	const struct hot *h = hot_find(t, task);
	return h && h->life ? h->life->yields : 0;
}

uint32_t tasks_yields_next(const struct tasks *t, uint64_t task)
{
	const struct hot *h = hot_find(t, task);
	return h && h->life ? h->life->yields_next : 0;
}

bool tasks_yield_at(const struct tasks *t, uint64_t task, uint32_t number, uint64_t *addr)
{
	const struct hot *h = hot_find(t, task);
	if (!h || !h->life || number >= h->life->yields)
		return false;
	const struct yield_run *runs = h->life->runs;
	uint32_t low = 0, high = h->life->run_count;
	while (high - low > 1) {
		uint32_t middle = (low + high) / 2;
		if (runs[middle].first <= number)
			low = middle;
		else
			high = middle;
	}
	*addr = runs[low].addr;
	return true;
}

bool yield_record_next(const struct log_record *record, uint64_t task, uint32_t number, uint32_t *index, uint64_t *offset,
		       struct span *out, uint8_t *kind)
{
	struct yield_view v;
	if (record->kind != REC_YIELD || rec_yield_read(record->body, &v) != ERR_OK)
		return false;
	for (; *index < v.fixed.count; ++*index) {
		const struct rec_yield_item *i = &v.items[*index];
		*out = span_sub(v.data, *offset, i->size);
		*offset += i->size;
		if (i->task != task || i->number != number)
			continue;
		*kind = v.kinds && v.kinds[*index] < PAYLOAD_KINDS ? v.kinds[*index] : PAYLOAD_INLINE;
		++*index;
		return true;
	}
	return false;
}

/* ---- checkpoint ---- */

struct checkpoint_life {
	uint64_t task, parent, root, close_ms, cancel_ms, lease_key;
	uint32_t lease_attempt, lease_epoch, runs, notes;
};
_Static_assert(sizeof(struct checkpoint_life) == 64 && sizeof(struct yield_run) == 16, "on disk");

void lives_put(struct hot *const *hots, uint32_t count, struct buf *out)
{
	uint64_t lives = 0;
	for (uint32_t i = 0; i < count; i++)
		lives += life_is_durable(hots[i]->life);
	buf_append(out, &lives, sizeof lives);
	for (uint32_t i = 0; i < count; i++) {
		const struct life *l = hots[i]->life;
		if (!life_is_durable(l))
			continue;
		const struct checkpoint_life c = {
			.task = l->task, .parent = l->parent, .root = l->root, .close_ms = l->close_ms, .cancel_ms = l->cancel_ms,
			.lease_key = l->lease_key, .lease_attempt = l->lease_attempt, .lease_epoch = l->lease_epoch,
			.runs = l->run_count, .notes = l->note_count,
		};
		buf_append(out, &c, sizeof c);
		if (l->run_count > 0)
			buf_append(out, l->runs, l->run_count * sizeof *l->runs);
		if (l->note_count > 0)
			buf_append(out, l->notes, l->note_count * sizeof *l->notes);
	}
}

static bool get_runs(struct tasks *t, struct life *l, struct reader *r, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct yield_run run;
		read_into(r, &run, sizeof run);
		if (r->failed || run.first != l->yields || run.count == 0 || run.count > LIMIT_YIELDS - l->yields)
			return false;
		if (l->run_count > 0 && l->runs[l->run_count - 1].addr == run.addr)
			return false;
		run_add(t, l, run.addr);
		l->runs[l->run_count - 1].count = run.count;
		l->yields += run.count;
		t->yields_kept += run.count;
	}
	l->yields_next = l->yields;
	return true;
}

static bool get_notes(struct tasks *t, struct life *l, struct reader *r, uint32_t count)
{
	if (count > LIMIT_HISTORY)
		return false;
	l->notes = mem_resize(t, NULL, 0, count * sizeof *l->notes);
	l->note_count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct attempt_note *n = &l->notes[i];
		memset(n, 0, sizeof *n);
		read_into(r, n, sizeof *n);
		if (r->failed || n->worker_size > sizeof n->worker || n->text_size > sizeof n->text)
			return false;
	}
	return true;
}

bool lives_get(struct tasks *t, struct reader *r)
{
	uint64_t lives = read_u64(r);
	for (uint64_t i = 0; i < lives && !r->failed; i++) {
		struct checkpoint_life c;
		read_into(r, &c, sizeof c);
		struct hot *h = r->failed ? NULL : hot_find(t, c.task);
		if (!h || h->life)
			return false;
		struct life *l = life_of(t, h);
		l->close_ms = c.close_ms;
		l->cancel_ms = c.cancel_ms;
		l->lease_key = c.lease_key;
		l->lease_attempt = c.lease_attempt;
		l->lease_epoch = c.lease_epoch;
		life_family(t, l, c.parent, c.root);
		if (!get_runs(t, l, r, c.runs) || !get_notes(t, l, r, c.notes))
			return false;
	}
	return !r->failed;
}

/* ---- tasks that are never handed out again ---- */

bool tasks_commit_room(const struct log *log, uint32_t count)
{
	return log_append_room(log) >= sizeof(struct rec_lease) + count * sizeof(struct rec_lease_item) + 2 * LOG_RECORD_HEADER;
}

void tasks_commit_leases(struct tasks *t, struct log *log, uint64_t first_task, uint32_t count)
{
	struct rec_lease head = { .version = REC_VERSION, .count = count };
	uint64_t addr;
	uint8_t *body = log_append(log, REC_LEASE, sizeof head + count * sizeof(struct rec_lease_item), &addr);
	ENSURE(body != NULL);
	for (uint32_t i = 0; i < count; i++) {
		struct hot *h = hot_find(t, first_task + i);
		ENSURE(h && h->place == PLACE_HELD);
		struct life *l = life_of(t, h);
		const struct rec_lease_item item = { h->task, h->acquired, h->epoch };
		l->never = true;
		l->left = false;
		head.key = h->holder->key;
		memcpy(body + sizeof head + i * sizeof item, &item, sizeof item);
	}
	memcpy(body, &head, sizeof head);
}

bool tasks_commit_leave(struct tasks *t, uint64_t task, uint32_t attempt, const struct holder *holder)
{
	struct hot *h = hot_find(t, task);
	if (!h || h->place != PLACE_HELD || h->holder != holder || h->acquired != attempt || h->settling)
		return false;
	h->life->left = true;
	return true;
}

void apply_lease(struct tasks *t, const struct log_record *record, bool live)
{
	struct reader r = { .rest = record->body };
	struct rec_lease head;
	read_into(&r, &head, sizeof head);
	ENSURE(!r.failed && head.version == REC_VERSION);
	for (uint32_t i = 0; i < head.count; i++) {
		struct rec_lease_item item;
		uint32_t class;
		struct hot *h;
		read_into(&r, &item, sizeof item);
		ENSURE(!r.failed);
		if (!task_open(t, item.task, &class, &h))
			continue;
		if (!h)
			h = hot_new(t, item.task, class);
		struct life *l = life_of(t, h);
		l->lease_attempt = item.attempt;
		l->lease_epoch = item.epoch;
		l->lease_key = head.key;
		h->attempts = MAX_OF(h->attempts, item.attempt);
		h->acquired = MAX_OF(h->acquired, h->attempts);
	}
	if (live && t->config.hooks.committed)
		t->config.hooks.committed(t->config.hooks.ctx, head.count);
}

/* Counted as started: nobody knows better. */
void limbo_enter(struct tasks *t, struct hot *h, uint64_t now_ms)
{
	struct life *l = h->life;
	h->place = PLACE_LIMBO;
	h->state = TASK_STARTED;
	h->acquired = l->lease_attempt;
	h->epoch = l->lease_epoch;
	l->never = l->left = true;
	h->overrun_ms = now_ms + t->config.limbo_ms;
	h->cancel_ms = MAX_OF(l->cancel_ms, now_ms);
	h->warned = true;
	queue_at(t, class_queue(h->class))->leased++;
	view_timer(t, h);
}

void tasks_holder_adopt(struct tasks *t, struct holder *holder, const struct task_ref *held, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct hot *h = held[i].task ? hot_find(t, held[i].task) : NULL;
		if (!h || h->place != PLACE_LIMBO || h->settling || h->acquired != held[i].attempt ||
		    h->epoch != held[i].epoch || h->life->lease_key != holder->key)
			continue;
		h->place = PLACE_HELD;
		h->holder = holder;
		holder->leases++;
		hot_push_back(&holder->held, h);
		h->overrun_ms = 0;
		view_timer(t, h);
		if (h->cancelling)
			task_signal(t, h, SIGNAL_CANCEL, ERR_CANCELLED);
	}
}

/* ---- deadlines of an attempt ---- */

void tasks_heartbeat(struct tasks *t, uint64_t first_task, uint32_t count, uint64_t heartbeat_ms)
{
	for (uint32_t i = 0; i < count; i++) {
		struct hot *h = hot_find(t, first_task + i);
		ENSURE(h && h->place == PLACE_HELD);
		life_of(t, h)->heartbeat_ms = heartbeat_ms;
	}
}

void beat(struct tasks *t, struct hot *h, uint64_t now_ms)
{
	struct life *l = h->life;
	bool started = l && l->heartbeat_ms > 0 && h->state == TASK_STARTED;
	if (!started && !(l && l->silence_ms > 0))
		return;
	if (started)
		l->beat_ms = ms_after(now_ms, l->heartbeat_ms);
	if (l->silence_ms > 0)
		l->silent_ms = MAX_OF(l->silent_ms, ms_after(now_ms, l->silence_ms));
	h->warned = false;
	view_timer(t, h);
}

void tasks_renewed_by_task(struct tasks *t, uint64_t first_task, uint32_t count, uint64_t lease_ms, uint64_t now_ms)
{
	for (uint32_t i = 0; i < count; i++) {
		struct hot *h = hot_find(t, first_task + i);
		ENSURE(h && h->place == PLACE_HELD);
		struct life *l = life_of(t, h);
		l->silence_ms = lease_ms;
		l->silent_ms = ms_after(now_ms, lease_ms);
		view_timer(t, h);
	}
}

struct deadline { uint64_t at, lead; }; /* lead: how long before it the holder is warned */

static void sooner(struct deadline *d, uint64_t at, uint64_t span)
{
	if (at != 0 && at < d->at)
		*d = (struct deadline){ at, MIN_OF(span / 4, 5000) };
}

static struct deadline deadline_of(const struct hot *h)
{
	struct deadline d = { NEVER, 0 };
	const struct life *l = h->life;
	if (h->state == TASK_STARTED)
		sooner(&d, h->overrun_ms, h->execution_ms);
	if (l && h->state == TASK_STARTED && h->place != PLACE_LIMBO)
		sooner(&d, l->beat_ms, l->heartbeat_ms);
	if (l && h->place != PLACE_LIMBO)
		sooner(&d, l->silent_ms, l->silence_ms);
	if (l)
		sooner(&d, l->close_ms, 4000);
	if (h->state == TASK_LEASED)
		sooner(&d, h->expires_ms, 0);
	return d;
}

uint64_t held_due(const struct hot *h)
{
	struct deadline d = deadline_of(h);
	uint64_t due = d.at == NEVER || h->warned ? d.at : d.at - d.lead;
	return h->cancelling ? MIN_OF(due, h->cancel_ms) : due;
}

/* The holder of a task that it has not begun was silent on it for too long. False: the task has gone back as if released. */
static bool silence_over(struct tasks *t, struct hot *h, uint64_t now_ms, struct rec_settle_item *item)
{
	if (h->life->never) { /* the log knows of the lease; where it left, it may have been begun */
		item->state = h->life->left ? TASK_LOST : TASK_READY;
		item->code = h->life->left ? ERR_LOST : ERR_OK;
		return true;
	}
	task_signal(t, h, SIGNAL_LEASE_LOST, ERR_TIMEOUT);
	view_leave(t, h);
	view_enter(t, h, now_ms, true);
	return false;
}

bool held_over(struct tasks *t, struct hot *h, uint64_t now_ms, struct rec_settle_item *item)
{
	struct deadline d = deadline_of(h);
	*item = item_of(t, h, TASK_CANCELLED, ERR_CANCELLED);
	if (h->cancelling && h->cancel_ms <= now_ms)
		return true;
	if (d.at > now_ms) {
		ENSURE(!h->warned);
		h->warned = true;
		if (d.lead > 0)
			task_signal_left(t, h, SIGNAL_DEADLINE_SOON, ERR_TIMEOUT, d.at - now_ms);
		return false;
	}
	if (h->life && h->life->close_ms && h->life->close_ms <= now_ms) {
		item->state = TASK_EXPIRED;
		item->code = ERR_TIMEOUT;
	} else if (h->place == PLACE_LIMBO) {
		item->state = TASK_LOST;
		item->code = ERR_LOST;
	} else if (h->state == TASK_LEASED && (!h->expires_ms || h->expires_ms > now_ms)) {
		return silence_over(t, h, now_ms, item);
	} else if (h->state == TASK_LEASED) {
		item->state = TASK_EXPIRED;
		item->code = ERR_EXPIRED;
	} else {
		outcome_of_failure(t, h, ERR_TIMEOUT, NEVER, now_ms, item);
	}
	return true;
}
