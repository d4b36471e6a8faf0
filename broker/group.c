/* broker/group.c: groups: members that come to an end, and the one task that runs when all have.
 *
 *   apply_submit -> GROUP join, close;  task_finish -> GROUP settled -> wait_look;  cancel of a whole group -> tick -> REC_SETTLE
 *
 * A group comes to be with its first member or its callback, is closed by the callback, which says how many members there are, and is
 * forgotten a while after that is final. Changed by apply alone, except for the walk that cancels its members (v).
 *
 * Invariants
 *  1. member_ranges ascend and do not overlap. Those of forgotten groups are swept when they are the half.
 *  2. open + done + failed + cancelled + expired + lost + dead == members: each member counts once, by its first end.
 *  3. A closed group has at most `size` members, and those that come behind the callback wait for nothing.
 *  4. next_group_ms is not behind the first moment at which a group is forgotten. */
#include "after.h"

static uint64_t name_hash(const struct tasks *t, struct span name)
{
	return bytes_hash(name, t->config.seed) | 1;
}

static struct span name_of(const struct group *g)
{
	return span_of(g->name, g->name_size);
}

struct group *group_by_number(const struct tasks *t, uint64_t number)
{
	const struct map64_slot *slot = map64_find(&t->groups, number);
	return slot ? (struct group *)(uintptr_t)slot->value : NULL;
}

struct group *group_find(const struct tasks *t, struct span name)
{
	const struct map64_slot *slot = map64_find(&t->group_names, name_hash(t, name));
	struct group *g = slot ? group_by_number(t, slot->value) : NULL;
	while (g && !span_eq(name_of(g), name))
		g = g->name_next;
	return g;
}

static void name_add(struct tasks *t, struct group *g)
{
	struct map64_slot *slot = map64_find(&t->group_names, name_hash(t, name_of(g)));
	g->name_next = slot ? group_by_number(t, slot->value) : NULL;
	if (slot)
		slot->value = g->number;
	else
		map64_add(&t->group_names, name_hash(t, name_of(g)), g->number, &t->memory);
}

static void name_remove(struct tasks *t, struct group *g)
{
	struct map64_slot *slot = map64_find(&t->group_names, name_hash(t, name_of(g)));
	struct group *before = group_by_number(t, slot->value);
	if (before == g) {
		if (g->name_next)
			slot->value = g->name_next->number;
		else
			map64_remove(&t->group_names, slot);
		return;
	}
	while (before->name_next != g)
		before = before->name_next;
	before->name_next = g->name_next;
}

static uint32_t range_position(const struct tasks *t, uint64_t task)
{
	uint32_t low = 0, high = t->range_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (t->ranges[middle].first + t->ranges[middle].count > task)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

struct group *group_of(const struct tasks *t, uint64_t task)
{
	uint32_t i = t->range_count ? range_position(t, task) : 0;
	return i < t->range_count && t->ranges[i].first <= task ? group_by_number(t, t->ranges[i].group) : NULL;
}

/* ---- coming and going ---- */

static struct group *group_new(struct tasks *t, struct span name)
{
	struct group *g = mem_resize(t, NULL, 0, sizeof *g + name.len);
	*g = (struct group){ .number = ++t->group_numbers, .name_size = (uint8_t)name.len, .cursor = NEVER };
	memcpy(g->name, name.data, name.len);
	map64_add(&t->groups, g->number, (uint64_t)(uintptr_t)g, &t->memory);
	name_add(t, g);
	return g;
}

static void group_free(struct tasks *t, struct group *g)
{
	(void)mem_resize(t, g, sizeof *g + g->name_size, 0);
}

/* When it is forgotten, as things stand. */
static uint64_t group_due(const struct group *g)
{
	if (g->ended && !(g->cancelled_whole && g->open > 0))
		return ms_after(g->ended_ms, g->keep_ms);
	return g->callback || g->open > 0 || g->ended ? NEVER : ms_after(g->touched_ms, GROUP_IDLE_MS);
}

static void group_touch(struct tasks *t, struct group *g)
{
	g->touched_ms = t->time_ms;
	t->next_group_ms = MIN_OF(t->next_group_ms, group_due(g));
}

static void group_end(struct tasks *t, struct group *g)
{
	g->ended = true;
	g->ended_ms = t->time_ms;
	group_touch(t, g);
}

static void ranges_sweep(struct tasks *t)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < t->range_count; i++)
		if (group_by_number(t, t->ranges[i].group))
			t->ranges[kept++] = t->ranges[i];
	t->range_count = kept;
	t->range_gone = 0;
}

static void group_forget(struct tasks *t, struct group *g)
{
	struct map64_slot *callback = g->callback ? map64_find(&t->callbacks, g->callback) : NULL;
	t->range_gone += g->ranges;
	name_remove(t, g);
	map64_remove(&t->groups, map64_find(&t->groups, g->number));
	if (callback)
		map64_remove(&t->callbacks, callback);
	if (g->cursor != NEVER)
		t->groups_cancelling--;
	group_free(t, g);
	if (t->range_gone * 2 > t->range_count)
		ranges_sweep(t);
}

static int by_key(const void *a, const void *b)
{
	const struct map64_slot *x = a, *y = b;
	return x->key < y->key ? -1 : x->key > y->key;
}

/* Slots of all groups by number; the caller frees. */
static struct map64_slot *groups_sorted(const struct tasks *t)
{
	struct map64_slot *out = malloc(size_mul(t->groups.count + 1, sizeof *out));
	uint32_t count = 0;
	ENSURE(out != NULL);
	for (uint32_t i = 0; i < t->groups.cap; i++)
		if (t->groups.slots[i].key)
			out[count++] = t->groups.slots[i];
	qsort(out, count, sizeof *out, by_key);
	return out;
}

void groups_expire(struct tasks *t)
{
	if (t->groups.count == 0 || t->time_ms < t->next_group_ms)
		return;
	struct map64_slot *all = groups_sorted(t);
	uint32_t count = t->groups.count;
	t->next_group_ms = NEVER;
	for (uint32_t i = 0; i < count; i++) {
		struct group *g = (struct group *)(uintptr_t)all[i].value;
		if (group_due(g) <= t->time_ms)
			group_forget(t, g);
		else
			t->next_group_ms = MIN_OF(t->next_group_ms, group_due(g));
	}
	free(all);
}

/* ---- joining and closing ---- */

#define SHOWN(s) (int)MIN_OF((s).len, 100u), (s).len ? (const char *)(s).data : ""

static enum err admits_member(const struct tasks *t, const struct group *g, struct span name, bool tied, uint32_t *count, char text[256])
{
	if (g && g->ended) {
		(void)snprintf(text, 256, "group %.*s is over", SHOWN(name));
		return ERR_WRONG_STATE;
	}
	if (g && g->callback && g->members >= g->size) {
		(void)snprintf(text, 256, "group %.*s has all its %llu members", SHOWN(name), (unsigned long long)g->size);
		return ERR_WRONG_STATE;
	}
	if (g && g->callback && tied) {
		(void)snprintf(text, 256, "group %.*s has its callback: members that come later may wait for nothing themselves", SHOWN(name));
		return ERR_INVALID_INPUT;
	}
	if (t->range_count - t->range_gone >= MEMBER_RANGES_MAX) {
		(void)snprintf(text, 256, "groups have too many members already");
		return ERR_RESOURCE_EXHAUSTED;
	}
	if (g && g->callback)
		*count = (uint32_t)MIN_OF(*count, g->size - g->members);
	return ERR_OK;
}

static enum err admits_callback(const struct group *g, struct span name, uint64_t size, char text[256])
{
	enum err e = !g && size == 0 ? ERR_NOT_FOUND : g && g->callback ? ERR_EXISTS : g && g->ended ? ERR_WRONG_STATE :
		     g && size > 0 && size < g->members ? ERR_INVALID_INPUT : ERR_OK;
	if (e == ERR_NOT_FOUND)
		(void)snprintf(text, 256, "there is no group %.*s", SHOWN(name));
	else if (e == ERR_EXISTS)
		(void)snprintf(text, 256, "group %.*s has its callback: task %llu", SHOWN(name), (unsigned long long)g->callback);
	else if (e == ERR_WRONG_STATE)
		(void)snprintf(text, 256, "group %.*s is over", SHOWN(name));
	else if (e == ERR_INVALID_INPUT)
		(void)snprintf(text, 256, "group %.*s has %llu members already, more than %llu", SHOWN(name),
			       (unsigned long long)g->members, (unsigned long long)size);
	return e;
}

/* Room for the groups it names that are not there? */
static bool groups_room(const struct tasks *t, const struct submit_view *v)
{
	const struct span names[2] = { v->group, v->after_group };
	uint32_t more = 0;
	for (uint32_t i = 0; i < 2; i++)
		more += names[i].len > 0 && !group_find(t, names[i]);
	return t->groups.count + more <= GROUPS_MAX;
}

enum err group_admits(const struct tasks *t, const struct submit_view *v, bool tied, uint32_t *count, char text[256])
{
	enum err e = v->group.len ? admits_member(t, group_find(t, v->group), v->group, tied, count, text) : ERR_OK;
	if (e == ERR_OK && v->after_group.len)
		e = admits_callback(group_find(t, v->after_group), v->after_group, v->after.group_size, text);
	if (e == ERR_OK && !groups_room(t, v)) {
		(void)snprintf(text, 256, "there are %u groups already", GROUPS_MAX);
		e = ERR_RESOURCE_EXHAUSTED;
	}
	return e;
}

static void range_add(struct tasks *t, uint64_t group, uint64_t first, uint32_t count)
{
	struct member_range *last = t->range_count ? &t->ranges[t->range_count - 1] : NULL;
	ENSURE(!last || last->first + last->count <= first);
	if (last && last->group == group && last->first + last->count == first && last->count < UINT32_MAX - count) {
		last->count += count;
		return;
	}
	if (t->range_count == t->range_cap) {
		uint32_t cap = t->range_cap ? t->range_cap + t->range_cap / 2 : 64;
		t->ranges = mem_resize(t, t->ranges, t->range_cap * sizeof *t->ranges, cap * sizeof *t->ranges);
		t->range_cap = cap;
	}
	t->ranges[t->range_count++] = (struct member_range){ first, group, count, 0 };
	group_by_number(t, group)->ranges++;
}

void group_join(struct tasks *t, struct span name, uint64_t first, uint32_t count)
{
	struct group *g = group_find(t, name);
	if (!g)
		g = group_new(t, name);
	if (g->members == 0)
		g->first_member = first;
	g->members += count;
	g->open += count;
	ENSURE(!g->callback || g->members <= g->size);
	range_add(t, g->number, first, count);
	group_touch(t, g);
}

struct group *group_close(struct tasks *t, const struct submit_view *v, uint64_t callback, uint64_t keep_ms)
{
	struct group *g = group_find(t, v->after_group);
	if (!g)
		g = group_new(t, v->after_group);
	ENSURE(!g->callback && !g->ended);
	g->callback = callback;
	g->size = v->after.group_size ? v->after.group_size : g->members;
	g->keep_ms = MAX_OF(keep_ms, RETENTION_DEFAULT_MS);
	map64_add(&t->callbacks, callback, g->number, &t->memory);
	group_touch(t, g);
	return g;
}

/* ---- ends ---- */

bool group_over(const struct group *g)
{
	return g->callback && g->members == g->size && g->open == 0;
}

static uint64_t *outcome_counter(struct group *g, uint8_t state)
{
	switch ((enum task_state)state) {
	case TASK_DONE: return &g->done;
	case TASK_FAILED: return &g->failed;
	case TASK_CANCELLED: return &g->cancelled;
	case TASK_EXPIRED: return &g->expired;
	case TASK_LOST: return &g->lost;
	case TASK_DEAD: return &g->dead;
	case TASK_UNKNOWN:
	case TASK_SCHEDULED:
	case TASK_READY:
	case TASK_LEASED:
	case TASK_STARTED:
	case TASK_STATES: break;
	}
	ensure_failed("a member that has ended has a terminal state", __FILE__, __LINE__);
}

void group_settled(struct tasks *t, uint64_t task, uint8_t state, bool counted)
{
	const struct map64_slot *slot = map64_find(&t->callbacks, task);
	struct group *own = slot ? group_by_number(t, slot->value) : NULL;
	if (own && !own->ended)
		group_end(t, own);
	struct group *g = counted ? NULL : group_of(t, task);
	if (!g)
		return;
	ENSURE(g->open > 0);
	g->open--;
	++*outcome_counter(g, state);
	if (is_bad(state) && !g->bad) {
		g->bad = task;
		g->bad_state = state;
	}
	group_touch(t, g);
	struct wait *w = g->callback ? wait_find(t, g->callback) : NULL;
	if (!w || w->group != g->number)
		return;
	if (g->bad && !w->bad) {
		w->bad = g->bad;
		w->bad_state = g->bad_state;
	}
	if (group_over(g))
		w->group = 0;
	wait_look(t, w);
}

/* ---- cancelling a whole group ---- */

enum err tasks_propose_group_cancel(struct tasks *t, struct log *log, struct span name, uint32_t *records, char text[256])
{
	const struct group *g = name.len ? group_find(t, name) : NULL;
	struct rec_group rec = { .version = REC_VERSION, .op = GROUP_OP_CANCEL, .name_size = (uint16_t)name.len };
	uint64_t addr;
	*records = 0;
	if (!g) {
		(void)snprintf(text, 256, "there is no group %.*s", SHOWN(name));
		return ERR_NOT_FOUND;
	}
	if (g->cancelled_whole)
		return ERR_OK;
	uint8_t *body = log_append(log, REC_GROUP, sizeof rec + name.len, &addr);
	if (!body) {
		(void)snprintf(text, 256, "no room in this batch of the log");
		return ERR_RESOURCE_EXHAUSTED;
	}
	memcpy(body, &rec, sizeof rec);
	memcpy(body + sizeof rec, name.data, name.len);
	*records = 1;
	return ERR_OK;
}

static void walk_start(struct tasks *t, struct group *g)
{
	if (g->cursor == NEVER)
		t->groups_cancelling++;
	g->cursor = g->first_member;
}

void apply_group(struct tasks *t, const struct log_record *record, struct applied *out)
{
	struct reader r = { .rest = record->body };
	struct rec_group rec;
	read_into(&r, &rec, sizeof rec);
	ENSURE(!r.failed && rec.version == REC_VERSION && rec.op == GROUP_OP_CANCEL && rec.name_size == r.rest.len);
	struct group *g = group_find(t, r.rest);
	out->origin = APPLIED_ADMIN;
	if (!g || g->cancelled_whole)
		return;
	g->cancelled_whole = true;
	out->affected = g->open;
	g->keep_ms = MAX_OF(g->keep_ms, RETENTION_DEFAULT_MS);
	if (!g->ended)
		group_end(t, g);
	if (t->begun)
		walk_start(t, g);
}

void groups_begin(struct tasks *t)
{
	for (uint32_t i = 0; i < t->groups.cap; i++) {
		struct group *g = (struct group *)(uintptr_t)t->groups.slots[i].value;
		if (t->groups.slots[i].key && g->cancelled_whole)
			walk_start(t, g);
	}
}

bool groups_busy(const struct tasks *t)
{
	return t->groups_cancelling > 0;
}

/* One task of it. False: the log has no room now. */
static bool cancel_one(struct tasks *t, struct log *log, uint64_t task, uint64_t now_ms)
{
	char text[256];
	uint32_t records;
	return task_cancel(t, log, task, now_ms, APPLIED_INTERNAL, &records, text) != ERR_RESOURCE_EXHAUSTED;
}

/* Its callback first, so that the end of the members does not start it. */
static void walk(struct tasks *t, struct log *log, struct group *g, uint32_t *budget, uint64_t now_ms)
{
	if (g->callback && !cancel_one(t, log, g->callback, now_ms)) {
		t->retry_ms = now_ms + 10;
		return;
	}
	uint32_t i = g->members > 0 ? range_position(t, g->cursor) : t->range_count;
	for (; i < t->range_count && *budget > 0; i++, --*budget) {
		const struct member_range *x = &t->ranges[i];
		for (g->cursor = MAX_OF(g->cursor, x->first); x->group == g->number && g->cursor < x->first + x->count && *budget > 0;
		     g->cursor++, --*budget)
			if (!cancel_one(t, log, g->cursor, now_ms)) {
				t->retry_ms = now_ms + 10;
				return;
			}
		if (*budget == 0)
			return;
	}
	if (i < t->range_count)
		return;
	g->cursor = NEVER;
	t->groups_cancelling--;
}

void groups_tick(struct tasks *t, struct log *log, uint64_t now_ms)
{
	uint32_t budget = TICK_ITEMS_MAX;
	for (uint32_t i = 0; t->groups_cancelling > 0 && i < t->groups.cap && budget > 0 && t->retry_ms == 0; i++) {
		struct group *g = (struct group *)(uintptr_t)t->groups.slots[i].value;
		if (t->groups.slots[i].key && g->cursor != NEVER)
			walk(t, log, g, &budget, now_ms);
	}
}

/* ---- looking ---- */

static void info_of(const struct group *g, struct group_info *out)
{
	*out = (struct group_info){
		.name = name_of(g), .members = g->members, .size = g->size, .open = g->open, .done = g->done, .failed = g->failed,
		.cancelled = g->cancelled, .expired = g->expired, .lost = g->lost, .dead = g->dead, .callback = g->callback,
		.bad = g->bad, .ended_ms = g->ended ? g->ended_ms : 0, .cancelled_whole = g->cancelled_whole,
	};
}

bool tasks_group(const struct tasks *t, struct span name, struct group_info *out)
{
	const struct group *g = name.len ? group_find(t, name) : NULL;
	if (g)
		info_of(g, out);
	return g != NULL;
}

struct span tasks_group_of(const struct tasks *t, uint64_t task)
{
	const struct group *g = group_of(t, task);
	return g ? name_of(g) : span_of(NULL, 0);
}

uint32_t tasks_groups(const struct tasks *t, uint64_t cursor, uint32_t limit, struct group_info *out, uint64_t *next)
{
	struct map64_slot *all = groups_sorted(t);
	uint32_t found = 0;
	*next = 0;
	for (uint32_t i = 0; i < t->groups.count; i++) {
		if (all[i].key < cursor)
			continue;
		if (found == limit) {
			*next = all[i].key;
			break;
		}
		info_of((const struct group *)(uintptr_t)all[i].value, &out[found++]);
	}
	free(all);
	return found;
}

uint32_t tasks_group_members(const struct tasks *t, struct span name, uint64_t cursor, uint32_t limit, uint64_t *out, uint64_t *next)
{
	enum { WORK_MAX = 1 << 16 };
	const struct group *g = name.len ? group_find(t, name) : NULL;
	uint32_t count = 0, work = 0;
	*next = 0;
	if (!g || g->members == 0)
		return 0;
	cursor = MAX_OF(cursor, g->first_member);
	for (uint32_t i = range_position(t, cursor); i < t->range_count; i++) {
		const struct member_range *x = &t->ranges[i];
		for (uint64_t task = MAX_OF(cursor, x->first); x->group == g->number && task < x->first + x->count; task++) {
			if (count == limit) {
				*next = task;
				return count;
			}
			out[count++] = task;
		}
		if (++work > WORK_MAX) {
			*next = x->first + x->count;
			return count;
		}
	}
	return count;
}

/* ---- checkpoint: struct groups_head; by number struct checkpoint_group and the name padded to 8; the ranges ---- */

struct groups_head {
	uint64_t numbers;
	uint32_t groups, ranges;
};
struct checkpoint_group {
	uint64_t number, members, size, open, done, failed, cancelled, expired, lost, dead;
	uint64_t callback, bad, first_member, touched_ms, ended_ms, keep_ms;
	uint8_t bad_state, cancelled_whole, ended, name_size, pad[4];
};
_Static_assert(sizeof(struct groups_head) == 16 && sizeof(struct checkpoint_group) == 136, "on disk");
_Static_assert(sizeof(struct member_range) == 24, "on disk");

void groups_put(const struct tasks *t, struct buf *out)
{
	struct map64_slot *all = groups_sorted(t);
	struct groups_head head = { t->group_numbers, t->groups.count, 0 };
	size_t at = out->len;
	buf_append(out, &head, sizeof head);
	for (uint32_t i = 0; i < t->groups.count; i++) {
		const struct group *g = (const struct group *)(uintptr_t)all[i].value;
		const struct checkpoint_group c = {
			g->number, g->members, g->size, g->open, g->done, g->failed, g->cancelled, g->expired, g->lost, g->dead,
			g->callback, g->bad, g->first_member, g->touched_ms, g->ended_ms, g->keep_ms,
			g->bad_state, g->cancelled_whole, g->ended, g->name_size, { 0 },
		};
		uint64_t zero = 0;
		buf_append(out, &c, sizeof c);
		buf_append(out, g->name, g->name_size);
		buf_append(out, &zero, align_up(g->name_size, 8) - g->name_size);
	}
	free(all);
	for (uint32_t i = 0; i < t->range_count; i++) {
		if (!group_by_number(t, t->ranges[i].group))
			continue; /* of a forgotten one, not swept yet */
		buf_append(out, &t->ranges[i], sizeof t->ranges[i]);
		head.ranges++;
	}
	memcpy(out->data + at, &head, sizeof head);
}

static bool get_group(struct tasks *t, struct reader *r)
{
	struct checkpoint_group c;
	read_into(r, &c, sizeof c);
	struct span name = r->failed ? span_of(NULL, 0) : read_bytes(r, align_up(c.name_size, 8));
	if (r->failed || c.name_size == 0 || c.number <= t->group_numbers || c.bad_state >= TASK_STATES)
		return false;
	name.len = c.name_size;
	if (group_find(t, name) || c.members != c.open + c.done + c.failed + c.cancelled + c.expired + c.lost + c.dead ||
	    (c.callback && (c.members > c.size || map64_find(&t->callbacks, c.callback))))
		return false;
	t->group_numbers = c.number - 1;
	struct group *g = group_new(t, name);
	g->members = c.members;
	g->size = c.size;
	g->open = c.open;
	g->done = c.done;
	g->failed = c.failed;
	g->cancelled = c.cancelled;
	g->expired = c.expired;
	g->lost = c.lost;
	g->dead = c.dead;
	g->callback = c.callback;
	g->bad = c.bad;
	g->first_member = c.first_member;
	g->touched_ms = c.touched_ms;
	g->ended_ms = c.ended_ms;
	g->keep_ms = c.keep_ms;
	g->bad_state = c.bad_state;
	g->cancelled_whole = c.cancelled_whole;
	g->ended = c.ended;
	if (g->callback)
		map64_add(&t->callbacks, g->callback, g->number, &t->memory);
	t->next_group_ms = MIN_OF(t->next_group_ms, group_due(g));
	return true;
}

bool groups_get(struct tasks *t, struct reader *r)
{
	struct groups_head head;
	read_into(r, &head, sizeof head);
	for (uint32_t i = 0; !r->failed && i < head.groups; i++)
		if (!get_group(t, r))
			return false;
	if (r->failed || head.numbers < t->group_numbers || head.groups > GROUPS_MAX)
		return false;
	t->group_numbers = head.numbers;
	for (uint32_t i = 0; i < head.ranges; i++) {
		struct member_range x;
		read_into(r, &x, sizeof x);
		const struct member_range *last = t->range_count ? &t->ranges[t->range_count - 1] : NULL;
		if (r->failed || x.count == 0 || x.first == 0 || x.first + x.count > t->next_task || !group_by_number(t, x.group) ||
		    (last && last->first + last->count > x.first))
			return false;
		range_add(t, x.group, x.first, x.count);
	}
	return true;
}

void groups_free(struct tasks *t)
{
	for (uint32_t i = 0; i < t->groups.cap; i++)
		if (t->groups.slots[i].key)
			group_free(t, (struct group *)(uintptr_t)t->groups.slots[i].value);
	map64_free(&t->groups, &t->memory);
	map64_free(&t->group_names, &t->memory);
	map64_free(&t->callbacks, &t->memory);
	(void)mem_resize(t, t->ranges, t->range_cap * sizeof *t->ranges, 0);
}
