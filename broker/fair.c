/* broker/fair.c: accounts and virtual time of principals. The contract, and how it works, stand in fair.h.
 *
 * Invariants
 *  1. Every slot of lanes names an account, and it is there as long as a class, or a proposal, names it.
 *  2. A tag is never less than what it has been charged for; virtual time of a priority does not go back. Who waits is never charged.
 *  3. Only integers, and no order of a hash map: the same submissions and leases give the same turns. */
#include "tasks_impl.h"

enum { COST = 1 << 20 }; /* of a task of weight 1 */

static uint64_t name_hash(const struct tasks *t, struct span name)
{
	return bytes_hash(name, t->config.seed) | 1;
}

static struct span account_name(const struct account *a)
{
	return span_of(a->name, a->size);
}

/* Index of the account of a name; UINT32_MAX = none. Should two names ever have one hash, the later one is nobody's. */
static uint32_t account_find(const struct tasks *t, const struct fair *f, struct span name)
{
	const struct map64_slot *slot = name.len ? map64_find(&f->names, name_hash(t, name)) : NULL;
	if (name.len == 0 || (slot && !span_eq(account_name(&f->accounts[slot->value]), name)))
		return 0;
	return slot ? (uint32_t)slot->value : UINT32_MAX;
}

static void accounts_grow(struct tasks *t, struct fair *f)
{
	uint32_t cap = f->cap ? f->cap * 2 : 4;
	f->accounts = mem_resize(t, f->accounts, f->cap * sizeof *f->accounts, cap * sizeof *f->accounts);
	for (uint32_t p = 0; p <= LIMIT_PRIORITY; p++) {
		if (!f->tags[p])
			continue;
		f->tags[p] = mem_resize(t, f->tags[p], f->cap * sizeof *f->tags[p], cap * sizeof *f->tags[p]);
		memset(f->tags[p] + f->cap, 0, (cap - f->cap) * sizeof *f->tags[p]);
	}
	f->cap = cap;
}

static uint32_t account_make(struct tasks *t, struct queue *q, struct span name)
{
	struct fair *f = q->fair;
	uint32_t i = 1;
	while (i < f->count && f->accounts[i].hash != 0)
		i++;
	if (i >= f->count) {
		if (f->count == f->cap)
			accounts_grow(t, f);
		i = f->count++;
	}
	struct account *a = &f->accounts[i];
	*a = (struct account){ .hash = name_hash(t, name), .size = (uint8_t)name.len,
			       .cost = COST / shares_weight(&q->shares, name) };
	a->name = mem_resize(t, NULL, 0, name.len);
	memcpy(a->name, name.data, name.len);
	map64_add(&f->names, a->hash, i, &t->memory);
	for (uint32_t p = 0; p <= LIMIT_PRIORITY; p++) /* what another one had paid is not this one's */
		if (f->tags[p])
			f->tags[p][i] = 0;
	return i;
}

static uint32_t account_get(struct tasks *t, struct queue *q, struct span name)
{
	if (!q->fair && name.len == 0)
		return 0;
	if (!q->fair) {
		q->fair = mem_resize(t, NULL, 0, sizeof *q->fair);
		*q->fair = (struct fair){ .count = 0 };
		accounts_grow(t, q->fair);
		q->fair->count = 1;
		q->fair->accounts[0] = (struct account){ .cost = COST / shares_weight(&q->shares, (struct span){ NULL, 0 }) };
	}
	uint32_t found = account_find(t, q->fair, name);
	return found != UINT32_MAX ? found : account_make(t, q, name);
}

static bool account_used(const struct account *a)
{
	return a->live > 0 || a->proposed > 0;
}

static void account_drop(struct tasks *t, struct fair *f, uint32_t i)
{
	struct account *a = &f->accounts[i];
	if (i == 0 || a->hash == 0 || a->classes > 0 || a->proposed > 0)
		return;
	map64_remove(&f->names, map64_find(&f->names, a->hash));
	(void)mem_resize(t, a->name, a->size, 0);
	*a = (struct account){ .hash = 0 };
}

uint32_t fair_join(struct tasks *t, struct queue *q, struct span principal)
{
	uint32_t i = account_get(t, q, principal);
	if (q->fair)
		q->fair->accounts[i].classes++;
	return i;
}

void fair_leave(struct tasks *t, struct queue *q, uint32_t account)
{
	if (!q->fair)
		return;
	struct account *a = &q->fair->accounts[account];
	a->classes -= a->classes > 0; /* account 0 was named before there were others */
	account_drop(t, q->fair, account);
}

void fair_live(struct queue *q, uint32_t account, bool live)
{
	if (!q->fair || account == 0)
		return;
	struct account *a = &q->fair->accounts[account];
	bool used = account_used(a);
	a->live = live ? a->live + 1 : a->live - 1;
	q->fair->used = q->fair->used - used + account_used(a);
}

struct span fair_principal(const struct tasks *t, const struct queue *q, struct span principal)
{
	if (!q->fair || q->fair->used < FAIR_PRINCIPALS_MAX)
		return principal;
	uint32_t i = account_find(t, q->fair, principal);
	return i != UINT32_MAX && account_used(&q->fair->accounts[i]) ? principal : (struct span){ NULL, 0 };
}

void fair_proposed(struct tasks *t, struct queue *q, struct span principal)
{
	uint32_t i = account_get(t, q, principal);
	if (i == 0)
		return;
	struct account *a = &q->fair->accounts[i];
	q->fair->used += !account_used(a);
	a->proposed++;
}

void fair_arrived(struct tasks *t, struct queue *q, struct span principal)
{
	uint32_t i = q->fair ? account_find(t, q->fair, principal) : UINT32_MAX;
	if (i == UINT32_MAX || i == 0 || q->fair->accounts[i].proposed == 0)
		return;
	struct account *a = &q->fair->accounts[i];
	a->proposed--;
	q->fair->used -= !account_used(a);
	account_drop(t, q->fair, i);
}

void fair_weigh(struct queue *q)
{
	for (uint32_t i = 0; q->fair && i < q->fair->count; i++)
		q->fair->accounts[i].cost = COST / shares_weight(&q->shares, account_name(&q->fair->accounts[i]));
}

/* ---- turns ---- */

static uint64_t tag_of(const struct fair *f, uint32_t priority, uint32_t account)
{
	return f->tags[priority] ? MAX_OF(f->tags[priority][account], f->now[priority]) : f->now[priority];
}

struct turn { uint64_t tag, second; uint32_t slot, account; bool found, rivals; };

static void turn_see(const struct queue *q, uint32_t priority, uint32_t slot, struct turn *turn)
{
	uint32_t account = q->slots_account[slot];
	uint64_t tag = tag_of(q->fair, priority, account);
	if (turn->found && account == turn->account)
		return; /* the first of its slots from the turn on */
	if (!turn->found || tag < turn->tag) {
		turn->rivals = turn->found;
		turn->second = turn->tag;
		turn->tag = tag;
		turn->slot = slot;
		turn->account = account;
		turn->found = true;
	} else if (!turn->rivals || tag < turn->second) {
		turn->rivals = true;
		turn->second = tag;
	}
}

bool fair_next(const struct queue *q, uint32_t priority, const uint64_t *row, const uint64_t *mask, uint32_t words, uint32_t *slot,
	       uint32_t *run)
{
	uint32_t from = q->turn[priority] / 64 < words ? q->turn[priority] : 0, w = from / 64;
	struct turn turn = { .found = false };
	/* Once around; the word of the turn comes first without what is before the turn, and last with nothing else. */
	for (uint32_t i = 0; i <= words && words > 0; i++, w = w + 1 < words ? w + 1 : 0) {
		uint64_t bits = row[w] & (mask ? mask[w] : ~0ull), behind = ~0ull << (from % 64);
		bits &= i == 0 ? behind : i == words ? ~behind : ~0ull;
		for (; bits; bits &= bits - 1)
			turn_see(q, priority, w * 64 + (uint32_t)__builtin_ctzll(bits), &turn);
	}
	if (!turn.found)
		return false;
	uint64_t cost = q->fair->accounts[turn.account].cost;
	uint64_t ahead = turn.rivals && turn.second > turn.tag ? (turn.second - turn.tag - 1) / cost : 0;
	*slot = turn.slot;
	*run = !turn.rivals ? UINT32_MAX : (uint32_t)MIN_OF(MAX_OF(ahead + 1, FAIR_RUN), (uint64_t)UINT32_MAX);
	return true;
}

void fair_charge(struct tasks *t, struct queue *q, uint32_t priority, uint32_t slot, uint32_t count)
{
	struct fair *f = q->fair;
	uint32_t account = q->slots_account[slot];
	if (!f->tags[priority]) {
		f->tags[priority] = mem_resize(t, NULL, 0, f->cap * sizeof *f->tags[priority]);
		memset(f->tags[priority], 0, f->cap * sizeof *f->tags[priority]);
	}
	uint64_t start = tag_of(f, priority, account);
	f->now[priority] = start;
	f->tags[priority][account] = start + (uint64_t)count * f->accounts[account].cost;
}

bool fair_waits(const struct queue *q, uint32_t priority, uint32_t slot)
{
	const uint64_t *row = lane_row(q, priority);
	uint32_t next, run;
	if (q->settings.fair != FAIR_PRINCIPAL || !q->fair || !fair_next(q, priority, row, NULL, q->slot_words, &next, &run))
		return false;
	return q->slots_account[next] != q->slots_account[slot];
}

struct span fair_name(const struct queue *q, uint32_t slot)
{
	return q->fair ? account_name(&q->fair->accounts[q->slots_account[slot]]) : (struct span){ NULL, 0 };
}

void fair_free(struct tasks *t, struct queue *q)
{
	struct fair *f = q->fair;
	if (!f)
		return;
	for (uint32_t i = 0; i < f->count; i++)
		if (f->accounts[i].name)
			(void)mem_resize(t, f->accounts[i].name, f->accounts[i].size, 0);
	for (uint32_t p = 0; p <= LIMIT_PRIORITY; p++)
		if (f->tags[p])
			(void)mem_resize(t, f->tags[p], f->cap * sizeof *f->tags[p], 0);
	map64_free(&f->names, &t->memory);
	(void)mem_resize(t, f->accounts, f->cap * sizeof *f->accounts, 0);
	(void)mem_resize(t, f, sizeof *f, 0);
	q->fair = NULL;
}
