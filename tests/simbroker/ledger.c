/* tests/simbroker/ledger.c: see ledger.h. One array of tasks by serial, one map from task id to serial. */
#include "ledger.h"

#include <stdarg.h>

struct seen {
	uint64_t task;     /* 0 = not confirmed */
	uint64_t key;
	uint32_t size;
	uint8_t priority, lane, principal;
	bool delayed;
	bool waits;        /* counted in `waiting` */
	uint16_t refused;
	uint32_t order;
	bool done, confirmed;
	bool rejected, bad; /* of those, one that ends it badly; it was accepted */
	bool run_anyway;
	uint64_t after, group, callback_of;
	bool ended;        /* a report was sent that ends it for good, if it arrived */
	bool may_be_done;  /* a settling report was sent; its answer may have been lost */
	enum task_state final;
	uint64_t original;        /* of those with this id, the one whose confirm did not say duplicate */
	struct task_ref last;     /* newest token seen */
	struct task_ref settled;  /* the token whose settling report was accepted */
};

struct order { uint32_t worker, epoch; uint8_t priority, lane, principal; uint64_t last; };

struct ledger {
	uint64_t seed;
	struct seen *tasks;      /* index = serial; 0 unused */
	uint64_t count, cap;
	uint64_t *by_id;         /* task id -> serial; ids are dense */
	uint64_t by_id_cap;
	struct order *orders;
	uint32_t order_count, order_cap;
	struct { uint64_t serial, highest; } current[LEDGER_ORDERS + 1]; /* of an ordering key, handed out last */
	bool opened;             /* the closed lane is served */
	uint32_t fair_bound;     /* 0 = not checked */
	/* of each priority: plain tasks confirmed and not handed out; and what one got in a row while the other's waited */
	uint32_t waiting[LEDGER_PRIORITIES][LEDGER_PRINCIPALS];
	uint32_t row[LEDGER_PRIORITIES][LEDGER_PRINCIPALS][LEDGER_PRINCIPALS];
	struct ledger_counts counts;
	char violation[512];
};

static void violate(struct ledger *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void violate(struct ledger *l, const char *fmt, ...)
{
	if (l->violation[0])
		return;
	va_list args;
	va_start(args, fmt);
	(void)vsnprintf(l->violation, sizeof l->violation, fmt, args);
	va_end(args);
}

struct ledger *ledger_new(uint64_t seed)
{
	struct ledger *l = calloc(1, sizeof *l);
	ENSURE(l);
	l->seed = seed;
	l->count = 1;
	return l;
}

void ledger_fair(struct ledger *l, uint32_t bound)
{
	l->fair_bound = bound;
}

void ledger_free(struct ledger *l)
{
	free(l->tasks);
	free(l->by_id);
	free(l->orders);
	free(l);
}

/* The bytes of a payload follow from its name, so nothing needs to be stored to compare them. */
static void payload_fill(const struct ledger *l, uint64_t serial, uint32_t size, uint8_t *out)
{
	uint64_t x = l->seed * 0x9e3779b97f4a7c15u ^ serial * 0xbf58476d1ce4e5b9u;
	memcpy(out, &l->seed, 8);
	memcpy(out + 8, &serial, 8);
	memcpy(out + 16, &size, 4);
	memset(out + 20, 0, 4);
	for (uint32_t i = LEDGER_PAYLOAD_MIN; i < size; i++) {
		x = x * 6364136223846793005u + 1442695040888963407u;
		out[i] = (uint8_t)(x >> 56);
	}
}

uint64_t ledger_submit(struct ledger *l, const struct ledger_task *task, uint8_t *payload_out)
{
	ENSURE(task->size >= LEDGER_PAYLOAD_MIN);
	if (l->count >= l->cap) {
		l->cap = l->cap ? l->cap * 2 : 1024;
		l->tasks = realloc(l->tasks, size_mul(l->cap, sizeof *l->tasks));
		ENSURE(l->tasks);
	}
	uint64_t serial = l->count++;
	l->tasks[serial] = (struct seen){ .size = task->size, .key = task->key, .priority = task->priority,
					  .delayed = task->delayed, .order = task->order, .lane = task->lane,
					  .after = task->after, .group = task->group, .callback_of = task->callback_of,
					  .run_anyway = task->run_anyway, .principal = task->principal };
	payload_fill(l, serial, task->size, payload_out);
	l->counts.submitted++;
	return serial;
}

static uint64_t *slot_of(struct ledger *l, uint64_t task)
{
	if (task >= l->by_id_cap) {
		uint64_t cap = l->by_id_cap ? l->by_id_cap : 1024;
		while (cap <= task)
			cap *= 2;
		l->by_id = realloc(l->by_id, size_mul(cap, 8));
		ENSURE(l->by_id);
		memset(l->by_id + l->by_id_cap, 0, size_mul(cap - l->by_id_cap, 8));
		l->by_id_cap = cap;
	}
	return &l->by_id[task];
}

void ledger_confirmed(struct ledger *l, uint64_t serial, uint64_t task, bool duplicate)
{
	struct seen *s = &l->tasks[serial];
	if (task == 0 || task > 1u << 26) {
		violate(l, "C1: serial %llu confirmed with the impossible id %llu", (unsigned long long)serial,
			(unsigned long long)task);
		return;
	}
	if (s->task != 0 && s->task != task)
		violate(l, "C1: serial %llu was task %llu and is confirmed again as %llu", (unsigned long long)serial,
			(unsigned long long)s->task, (unsigned long long)task);
	uint64_t *slot = slot_of(l, task);
	uint64_t other = *slot;
	bool same_key = other != 0 && s->key != 0 && l->tasks[other].key == s->key;
	bool one_original = other == 0 || duplicate || l->tasks[other].original == 0 || l->tasks[other].original == serial;
	if (other != 0 && other != serial && !(same_key && one_original))
		violate(l, "C1: task %llu is given to serial %llu and to %llu", (unsigned long long)task,
			(unsigned long long)other, (unsigned long long)serial);
	if (*slot == 0)
		*slot = serial;
	if (!duplicate)
		l->tasks[*slot].original = serial;
	s->task = task;
	if (!s->confirmed)
		l->counts.confirmed++;
	bool ready = !s->delayed && !s->key && !s->order && !s->lane && !s->after && !s->callback_of; /* at once, whoever works */
	if (!s->confirmed && s->last.task == 0 && ready) {
		s->waits = true;
		l->waiting[s->priority][s->principal]++;
	}
	s->confirmed = true;
}

void ledger_refused(struct ledger *l, uint64_t serial, uint16_t code)
{
	struct seen *s = &l->tasks[serial];
	if (s->confirmed)
		violate(l, "C1: serial %llu is refused (%s) after it was confirmed", (unsigned long long)serial,
			err_name(code));
	s->refused = code;
	l->counts.refused++;
}

static bool token_older(struct task_ref a, struct task_ref b)
{
	return a.epoch != b.epoch ? a.epoch < b.epoch : a.attempt < b.attempt;
}

static bool token_same(struct task_ref a, struct task_ref b)
{
	return a.task == b.task && a.epoch == b.epoch && a.attempt == b.attempt;
}

/* C5: a fresh task reaches a connection after all older fresh ones of its priority. */
static void check_order(struct ledger *l, uint32_t worker, struct task_ref ref, const struct seen *s)
{
	if (ref.attempt != 1 || s->last.task != 0 || s->delayed || s->key || s->order || s->after || s->callback_of)
		return;
	struct order *o = NULL;
	for (uint32_t i = l->order_count; i > 0 && !o; i--)
		if (l->orders[i - 1].worker == worker && l->orders[i - 1].epoch == ref.epoch &&
		    l->orders[i - 1].priority == s->priority && l->orders[i - 1].lane == s->lane &&
		    l->orders[i - 1].principal == s->principal)
			o = &l->orders[i - 1];
	if (!o) {
		if (l->order_count == l->order_cap) {
			l->order_cap = l->order_cap ? l->order_cap * 2 : 64;
			l->orders = realloc(l->orders, size_mul(l->order_cap, sizeof *l->orders));
			ENSURE(l->orders);
		}
		o = &l->orders[l->order_count++];
		*o = (struct order){ worker, ref.epoch, s->priority, s->lane, s->principal, 0 };
	}
	if (ref.task <= o->last)
		violate(l, "C5: worker %u got task %llu after %llu", worker, (unsigned long long)ref.task,
			(unsigned long long)o->last);
	o->last = ref.task;
}

/* C8, C11. */
static void check_lane(struct ledger *l, uint32_t lanes, struct task_ref ref, const struct seen *s)
{
	if (s->lane != 0 && !(lanes >> s->lane & 1))
		violate(l, "C8: task %llu of lane %u went to a worker of lanes %x", (unsigned long long)ref.task, s->lane, lanes);
	if (s->lane != LEDGER_LANE_CLOSED || l->opened)
		return;
	l->opened = true;
	for (uint64_t i = 1; i < l->count; i++) {
		const struct seen *other = &l->tasks[i];
		if (other->confirmed && !other->done && other->last.task == 0 && other->lane != LEDGER_LANE_CLOSED &&
		    !other->order && !other->key && !other->delayed && !other->after && !other->callback_of)
			violate(l, "C11: task %llu of lane %u was left behind by tasks that nobody could do",
				(unsigned long long)other->task, other->lane);
	}
}

/* C13. */
static void check_share(struct ledger *l, struct task_ref ref, struct seen *s)
{
	uint32_t *waiting = l->waiting[s->priority], mine = s->principal;
	waiting[mine] -= s->waits;
	s->waits = false;
	for (uint32_t i = 0; i < LEDGER_PRINCIPALS; i++) {
		uint32_t *row = &l->row[s->priority][mine][i];
		l->row[s->priority][i][mine] = 0;
		*row = i != mine && waiting[i] > 0 ? *row + 1 : 0;
		if (l->fair_bound > 0 && *row > l->fair_bound)
			violate(l, "C13: task %llu is the %uth of principal %u in a row while %u tasks of principal %u wait",
				(unsigned long long)ref.task, *row, mine, waiting[i], i);
	}
}

/* C10. One that has used up its attempts may be dead without a word of ours. */
static void check_turn(struct ledger *l, uint64_t serial, struct task_ref ref, const struct seen *s)
{
	if (s->order == 0)
		return;
	uint64_t before = l->current[s->order].serial;
	const struct seen *other = &l->tasks[before];
	if (before != 0 && before != serial && !other->done && !other->ended && other->last.attempt < LEDGER_ATTEMPTS_MAX)
		violate(l, "C10: task %llu is handed out while task %llu of the same ordering key has not ended",
			(unsigned long long)ref.task, (unsigned long long)other->last.task);
	if (s->last.task == 0 && ref.task < l->current[s->order].highest)
		violate(l, "C10: task %llu of an ordering key comes after task %llu", (unsigned long long)ref.task,
			(unsigned long long)l->current[s->order].highest);
	l->current[s->order].serial = serial;
	l->current[s->order].highest = MAX_OF(l->current[s->order].highest, ref.task);
}

/* Of one key, one stands for all. */
static const struct seen *owner_of(const struct ledger *l, const struct seen *s)
{
	uint64_t task = s->task ? s->task : s->last.task; /* its confirm may have been lost */
	uint64_t owner = task < l->by_id_cap ? l->by_id[task] : 0;
	return owner ? &l->tasks[owner] : s;
}

static bool bad_itself(const struct seen *s)
{
	return s->rejected || s->last.attempt >= LEDGER_ATTEMPTS_MAX;
}

/* Members come after nothing. */
static bool may_have_bad_members(const struct ledger *l, uint64_t group)
{
	for (uint64_t i = 1; i < l->count; i++)
		if (l->tasks[i].group == group && bad_itself(&l->tasks[i]))
			return true;
	return false;
}

/* Can it have ended badly, as far as anybody outside knows? One that was never handed out: because of what it comes after. */
static bool may_be_bad(const struct ledger *l, const struct seen *s)
{
	for (s = owner_of(l, s); !bad_itself(s); s = owner_of(l, &l->tasks[s->after])) {
		if (s->run_anyway || s->last.task != 0)
			return false;
		if (s->callback_of)
			return may_have_bad_members(l, s->callback_of);
		if (s->after == 0)
			return false;
	}
	return true;
}

/* It has, for sure: the broker has said so. */
static bool is_bad(const struct seen *s)
{
	return s->rejected && s->done && s->bad;
}

static bool may_have_ended(const struct ledger *l, const struct seen *s)
{
	s = owner_of(l, s);
	return s->done || s->ended || may_be_bad(l, s);
}

/* C12. */
static void check_after(struct ledger *l, struct task_ref ref, const struct seen *s)
{
	const struct seen *before = s->after ? &l->tasks[s->after] : NULL;
	if (before && !may_have_ended(l, before))
		violate(l, "C12: task %llu is handed out while serial %llu, which it comes after, has not ended",
			(unsigned long long)ref.task, (unsigned long long)s->after);
	if (before && !s->run_anyway && is_bad(owner_of(l, before)))
		violate(l, "C12: task %llu is handed out although task %llu, which it comes after, was rejected",
			(unsigned long long)ref.task, (unsigned long long)before->task);
	for (uint64_t i = 1; s->callback_of && i < l->count; i++) {
		const struct seen *member = &l->tasks[i];
		bool there = member->confirmed || member->last.task != 0;
		if (member->group == s->callback_of && there && !may_have_ended(l, member))
			violate(l, "C12: task %llu, a callback, is handed out while member %llu has not ended",
				(unsigned long long)ref.task, (unsigned long long)member->task);
		if (member->group == s->callback_of && !s->run_anyway && is_bad(member))
			violate(l, "C12: task %llu, a callback, is handed out although member %llu was rejected",
				(unsigned long long)ref.task, (unsigned long long)member->task);
	}
}

/* May it have been cancelled without a word of ours? */
static bool may_be_cancelled(const struct ledger *l, const struct seen *s)
{
	s = owner_of(l, s);
	return !bad_itself(s) && may_be_bad(l, s);
}

uint64_t ledger_delivered(struct ledger *l, uint32_t worker, uint32_t lanes, struct task_ref ref, struct span payload)
{
	uint64_t seed = 0, serial = 0;
	uint32_t size = 0;
	if (payload.len >= LEDGER_PAYLOAD_MIN) {
		memcpy(&seed, payload.data, 8);
		memcpy(&serial, payload.data + 8, 8);
		memcpy(&size, payload.data + 16, 4);
	}
	if (seed != l->seed || serial == 0 || serial >= l->count || l->tasks[serial].size != payload.len) {
		violate(l, "C2: task %llu has a payload nobody submitted (%zu bytes)", (unsigned long long)ref.task,
			payload.len);
		return 0;
	}
	struct seen *s = &l->tasks[serial];
	uint8_t *want = malloc(s->size);
	ENSURE(want);
	payload_fill(l, serial, s->size, want);
	if (memcmp(want, payload.data, s->size) != 0)
		violate(l, "C2: the payload of task %llu is damaged", (unsigned long long)ref.task);
	free(want);
	uint64_t *slot = slot_of(l, ref.task);
	if (*slot != 0 && *slot != serial && !(s->key && l->tasks[*slot].key == s->key))
		violate(l, "C1: task %llu is serial %llu and is delivered as %llu", (unsigned long long)ref.task,
			(unsigned long long)*slot, (unsigned long long)serial);
	if (*slot == 0)
		*slot = serial;
	if (s->task != 0 && s->task != ref.task && !s->key)
		violate(l, "C1: serial %llu is task %llu and is delivered as %llu", (unsigned long long)serial,
			(unsigned long long)s->task, (unsigned long long)ref.task);
	/* Bytes of a broker that is gone, to a client that was stopped meanwhile: what it does with them is refused. */
	if ((s->last.task && ref.epoch < s->last.epoch) || (s->done && ref.epoch < s->settled.epoch))
		return serial;
	if (s->done)
		violate(l, "C3: task %llu is delivered (attempt %u, epoch %u) after its result was acknowledged",
			(unsigned long long)ref.task, ref.attempt, ref.epoch);
	if (s->last.task != 0 && !token_older(s->last, ref))
		violate(l, "C4: task %llu: token %u/%u comes after %u/%u", (unsigned long long)ref.task, ref.epoch,
			ref.attempt, s->last.epoch, s->last.attempt);
	check_order(l, worker, ref, s);
	check_lane(l, lanes, ref, s);
	check_turn(l, serial, ref, s);
	check_after(l, ref, s);
	check_share(l, ref, s);
	s->last = ref;
	l->counts.delivered++;
	return serial;
}

void ledger_reported(struct ledger *l, struct task_ref ref, enum report_verb verb)
{
	uint64_t serial = *slot_of(l, ref.task);
	ENSURE(serial != 0); /* the driver only reports what it was given */
	if (verb == REPORT_COMPLETE || verb == REPORT_REJECT || verb == REPORT_CANCELLED || verb == REPORT_FAIL)
		l->tasks[serial].may_be_done = true;
	if (verb == REPORT_COMPLETE || verb == REPORT_REJECT || verb == REPORT_CANCELLED)
		l->tasks[serial].ended = true;
	if (verb == REPORT_REJECT)
		l->tasks[serial].rejected = true;
}

void ledger_answered(struct ledger *l, struct task_ref ref, enum report_verb verb, uint16_t code)
{
	uint64_t serial = *slot_of(l, ref.task);
	if (serial == 0) {
		violate(l, "C2: an answer about task %llu that was never seen", (unsigned long long)ref.task);
		return;
	}
	struct seen *s = &l->tasks[serial];
	bool settles = verb == REPORT_COMPLETE || verb == REPORT_REJECT || verb == REPORT_CANCELLED;
	if (code != ERR_OK) {
		l->counts.stale_refused += code == ERR_STALE_LEASE || code == ERR_LATE_RESULT;
		return;
	}
	if (!settles)
		return;
	if (s->done && !token_same(s->settled, ref))
		violate(l, "C3: task %llu is settled twice: by %u/%u and by %u/%u", (unsigned long long)ref.task,
			s->settled.epoch, s->settled.attempt, ref.epoch, ref.attempt);
	if (!s->done && token_older(ref, s->last))
		violate(l, "C4: task %llu is settled by %u/%u although %u/%u was out", (unsigned long long)ref.task,
			ref.epoch, ref.attempt, s->last.epoch, s->last.attempt);
	if (!s->done)
		l->counts.settled++;
	s->bad = s->bad || verb == REPORT_REJECT;
	s->done = true;
	s->settled = ref;
}

void ledger_counts(const struct ledger *l, struct ledger_counts *out)
{
	*out = l->counts;
}

static bool settled_by_key(const struct ledger *l, const struct seen *s)
{
	uint64_t owner = s->task < l->by_id_cap ? l->by_id[s->task] : 0;
	return owner != 0 && l->tasks[owner].done;
}

uint64_t ledger_next_open(const struct ledger *l, uint64_t from, uint64_t *task_out)
{
	for (uint64_t i = from + 1; i < l->count; i++) {
		const struct seen *s = &l->tasks[i];
		if (s->confirmed && !s->done && s->final == TASK_UNKNOWN && !settled_by_key(l, s)) {
			*task_out = s->task;
			return i;
		}
	}
	return 0;
}

void ledger_state(struct ledger *l, uint64_t serial, enum task_state state)
{
	l->tasks[serial].final = state;
	uint64_t task = l->tasks[serial].task;
	uint64_t owner = task < l->by_id_cap && l->by_id[task] ? l->by_id[task] : serial; /* of one key, one stands for all */
	bool lost_answer = l->tasks[owner].may_be_done && (state == TASK_DONE || state == TASK_UNKNOWN);
	bool cancelled = state == TASK_CANCELLED && may_be_cancelled(l, &l->tasks[serial]);
	if (state != TASK_DEAD && state != TASK_FAILED && !lost_answer && !cancelled)
		violate(l, "C6: task %llu (serial %llu) was confirmed, never settled, and is now %s",
			(unsigned long long)l->tasks[serial].task, (unsigned long long)serial, task_state_name(state));
}

/* C7: equal keys, equal ids. Keys are few, so the simple comparison will do. */
void ledger_final(struct ledger *l)
{
	uint64_t task;
	uint64_t open = ledger_next_open(l, 0, &task);
	if (open)
		violate(l, "C6: task %llu (serial %llu) was confirmed and is neither settled nor dead",
			(unsigned long long)task, (unsigned long long)open);
	for (uint64_t i = 1; i < l->count; i++) {
		if (!l->tasks[i].key || !l->tasks[i].confirmed)
			continue;
		for (uint64_t j = i + 1; j < l->count; j++)
			if (l->tasks[j].confirmed && l->tasks[j].key == l->tasks[i].key &&
			    l->tasks[j].task != l->tasks[i].task)
				violate(l, "C7: key %llu gave task %llu and task %llu",
					(unsigned long long)l->tasks[i].key, (unsigned long long)l->tasks[i].task,
					(unsigned long long)l->tasks[j].task);
	}
}

const char *ledger_violation(const struct ledger *l)
{
	return l->violation[0] ? l->violation : NULL;
}
