/* broker/tasks_after.c: what a submission says of the tasks it comes after: from its head to the record, and from the record to what is
 * still open when it is applied.
 *
 *   propose(submit) -> TASKS_AFTER prepare, shape -> REC_SUBMIT ... apply -> TASKS_AFTER resolve -> attach, join
 *
 * Invariants
 *  1. The record names only tasks that were not final when it was proposed, and says of the others how they had ended: apply never needs
 *     to know what may have been forgotten. (Tasks with a settling record under way make the submission wait: tasks_submit_early.)
 *  2. References by sequence stay in the record as they came, where the submission they mean is not final: it may have no number yet. */
#include "after.h"

static uint64_t u64_at(struct span s, uint32_t i)
{
	uint64_t value;
	memcpy(&value, s.data + i * sizeof value, sizeof value);
	return value;
}

static uint32_t u32_at(struct span s, uint32_t i)
{
	uint32_t value;
	memcpy(&value, s.data + i * sizeof value, sizeof value);
	return value;
}

/* The task that the submission `back` before `seq` has become; 0 = none that is known. */
static uint64_t task_back(const struct producer *p, uint64_t seq, uint32_t back)
{
	bool known = false;
	uint64_t task = 0;
	if (back < seq)
		(void)producer_stretch(p, seq - back, 1, &known, &task);
	return known ? task : 0;
}

/* ---- propose ---- */

static bool is_settling(const struct tasks *t, uint64_t task)
{
	const struct hot *h = task ? hot_find(t, task) : NULL;
	return h && h->settling;
}

bool tasks_submit_early(const struct tasks *t, const struct msg_submit *m, const struct task_head *head)
{
	uint32_t backs = (uint32_t)(head->after_back.len / sizeof(uint32_t));
	const struct producer *p = backs ? producer_find(t, m->producer) : NULL;
	if (head->after.len + backs == 0)
		return false;
	if (t->purges_in_flight > 0)
		return true;
	for (uint32_t i = 0; i < head->after.len / sizeof(uint64_t); i++)
		if (is_settling(t, u64_at(head->after, i)))
			return true;
	for (uint32_t i = 0; p && i < m->sizes.count; i++)
		for (uint32_t k = 0; k < backs; k++)
			if (is_settling(t, task_back(p, m->first_seq + i, u32_at(head->after_back, k))))
				return true;
	return false;
}

/* Open ones stay, those that are done are left out, of the others the first is noted. */
static enum err prepare_task(struct tasks *t, uint64_t task, struct rec_after *after, bool *open, char text[256])
{
	enum task_state state = after_outcome(t, task);
	*open = state == TASK_READY;
	if (task == 0 || task >= t->next_task) {
		(void)snprintf(text, 256, "TaskHead.after: there is no task %llu", (unsigned long long)task);
		return ERR_NOT_FOUND;
	}
	if (state == TASK_UNKNOWN) {
		(void)snprintf(text, 256, "TaskHead.after: task %llu is final, and how it ended is not known any more",
			       (unsigned long long)task);
		return ERR_NOT_FOUND;
	}
	if (!*open && is_bad((uint8_t)state) && !after->bad) {
		after->bad = task;
		after->bad_state = (uint8_t)state;
	}
	return ERR_OK;
}

/* Groups are a vnet's own, and kept under a name that says so, like queues. */
static bool own_group(struct span vnet, struct span name, char room[LIMIT_NAME_BYTES + 1], struct span *out, char text[256])
{
	*out = name;
	if (name.len > 0 && memchr(name.data, '/', name.len)) {
		(void)snprintf(text, 256, "TaskHead.group: the character '/' is not allowed in the name of a group");
		return false;
	}
	if (name.len == 0 || vnet.len == 0)
		return true;
	if (vnet.len + 1 + name.len > LIMIT_NAME_BYTES) {
		(void)snprintf(text, 256, "TaskHead.group: the name of a group with its vnet has at most %d bytes", LIMIT_NAME_BYTES);
		return false;
	}
	memcpy(room, vnet.data, vnet.len);
	room[vnet.len] = '/';
	memcpy(room + vnet.len + 1, name.data, name.len);
	*out = span_of(room, vnet.len + 1 + name.len);
	return true;
}

enum err after_prepare(struct tasks *t, const struct task_head *head, struct submit_view *v, char text[256])
{
	if (head->after.len + head->after_back.len + head->group.len + head->after_group.len == 0)
		return ERR_OK;
	struct span group, after_group;
	if (!own_group(head->vnet, head->group, t->group_room, &group, text) ||
	    !own_group(head->vnet, head->after_group, t->after_group_room, &after_group, text))
		return ERR_INVALID_INPUT;
	v->fixed.flags |= SUBMIT_AFTER;
	v->after = (struct rec_after){ .group_size = head->group_size, .policy = head->on_failure,
				       .back_count = (uint32_t)(head->after_back.len / sizeof(uint32_t)),
				       .group_len = (uint16_t)group.len, .after_group_len = (uint16_t)after_group.len };
	v->backs = head->after_back;
	v->group = group;
	v->after_group = after_group;
	t->found.len = 0;
	for (uint32_t i = 0; i < head->after.len / sizeof(uint64_t); i++) {
		uint64_t task = u64_at(head->after, i);
		bool open;
		enum err e = prepare_task(t, task, &v->after, &open, text);
		if (e != ERR_OK)
			return e;
		if (open)
			buf_append(&t->found, &task, sizeof task);
	}
	v->after_tasks = buf_span(&t->found);
	v->after.count = (uint32_t)(t->found.len / sizeof(uint64_t));
	return ERR_OK;
}

/* What is left of the references by sequence of one item, in scratch_sources. */
static enum err shape_one(struct tasks *t, const struct producer *p, uint64_t seq, struct span backs, struct rec_after *after,
			  char text[256])
{
	t->scratch_sources.len = 0;
	for (uint32_t k = 0; k < backs.len / sizeof(uint32_t); k++) {
		uint32_t back = u32_at(backs, k);
		uint64_t task = task_back(p, seq, back);
		bool open = true;
		if (back >= seq || (p && seq - back < p->resolved_below)) {
			(void)snprintf(text, 256, "TaskHead.after_back: %u before sequence %llu is nothing this producer waits for", back,
				       (unsigned long long)seq);
			return ERR_NOT_FOUND;
		}
		enum err e = task ? prepare_task(t, task, after, &open, text) : ERR_OK;
		if (e != ERR_OK)
			return e;
		if (open)
			buf_append(&t->scratch_sources, &back, sizeof back);
	}
	after->back_count = (uint32_t)(t->scratch_sources.len / sizeof(uint32_t));
	return ERR_OK;
}

/* v->after and v->backs are those of after_prepare when it is called first, and made to fit the items by each call. */
uint32_t after_shape(struct tasks *t, const struct producer *p, uint64_t seq, uint32_t count, const struct submit_view *base,
		     struct submit_view *v, enum err *code, char text[256])
{
	uint32_t n = 0, all = base->after.back_count;
	*code = ERR_OK;
	v->after = base->after;
	v->backs = base->backs;
	if (all == 0)
		return count;
	for (; n < count; n++) {
		struct rec_after after = base->after;
		enum err e = shape_one(t, p, seq + n, base->backs, &after, text);
		bool like = e == ERR_OK && after.bad == base->after.bad && (after.back_count == all || after.back_count == 0);
		if (n > 0 && (!like || after.back_count != v->after.back_count))
			break;
		*code = e;
		v->after = after;
		if (!like) {
			v->backs = buf_span(&t->scratch_sources);
			return 1;
		}
		v->backs = after.back_count ? base->backs : span_of(NULL, 0);
	}
	return n;
}

/* ---- apply ---- */

static void resolve_task(struct tasks *t, uint64_t task, struct dependency *out)
{
	enum task_state state = after_outcome(t, task);
	if (state == TASK_READY) {
		buf_append(out->found, &task, sizeof task);
	} else if (is_bad((uint8_t)state) && !out->bad) {
		out->bad = task;
		out->bad_state = (uint8_t)state;
	}
}

enum err after_resolve(struct tasks *t, const struct submit_view *v, const struct producer *p, uint64_t seq, uint64_t task,
		       uint32_t *count, struct dependency *out)
{
	char text[256];
	bool tied = v->after.count + v->after.back_count > 0 || v->after_group.len > 0;
	*out = (struct dependency){ .found = &t->found, .bad = v->after.bad, .bad_state = v->after.bad_state, .policy = v->after.policy };
	t->found.len = 0;
	if (tied || out->bad)
		*count = 1;
	for (uint32_t i = 0; i < v->after.count; i++)
		resolve_task(t, u64_at(v->after_tasks, i), out);
	for (uint32_t k = 0; k < v->after.back_count; k++) {
		uint64_t before = task_back(p, seq, u32_at(v->backs, k));
		if (!before)
			return ERR_DEPENDENCY; /* it was refused, or never came */
		ENSURE(before < task);
		resolve_task(t, before, out);
	}
	if (!after_room(t, (const uint64_t *)(const void *)t->found.data, (uint32_t)(t->found.len / sizeof(uint64_t))))
		return ERR_RESOURCE_EXHAUSTED;
	return group_admits(t, v, tied || v->lane.order, count, text);
}
