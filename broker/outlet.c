/* broker/outlet.c: entries of a queue in groups, which group fits which lane, and the choice among those that fit.
 *
 * In the flow: commit -> apply -> lanes -> OUTLET -> deliver.
 *
 * 1. A group is in a bucket's row of `levels` exactly while it has an entry with so much credit.
 * 2. fits[slot][group] == groups[group].slots[slot]: asked when the slot or the group came to be, or clear until it is. Slot 0 fits all.
 * 3. A group with credit that is not hungry fits no lane with tasks, except fresh ones.
 * 4. The first of a bucket has waited longest there: most free credit, then round robin, is found without looking at others. */
#include "outlet.h"

#include "../wire/predicate.h"

static bool bit_get(const uint64_t *bits, uint32_t i) { return bits[i / 64] >> (i % 64) & 1; }
static void bit_set(uint64_t *bits, uint32_t i) { bits[i / 64] |= 1ull << (i % 64); }
static void bit_clear(uint64_t *bits, uint32_t i) { bits[i / 64] &= ~(1ull << (i % 64)); }

static uint64_t *row(uint64_t *bits, uint32_t words, uint32_t i) { return bits + (size_t)i * words; }

/* `rows` rows of bits get longer; the old rows keep what they have. */
static uint64_t *rows_grow(uint64_t *bits, uint32_t rows, uint32_t words, uint32_t new_words)
{
	uint64_t *out = zalloc(size_mul(size_mul(rows, new_words), sizeof *out));
	for (uint32_t i = 0; i < rows && bits; i++)
		memcpy(row(out, new_words, i), row(bits, words, i), words * sizeof *out);
	free(bits);
	return out;
}

static bool row_any(const uint64_t *bits, uint32_t words)
{
	for (uint32_t i = 0; i < words; i++)
		if (bits[i])
			return true;
	return false;
}

/* ---- groups ---- */

static void fit(struct shard *s, struct outlet *o, struct group *g, uint32_t slot)
{
	if (predicate_holds(tasks_slot_requires(s->tasks, o->queue, slot), g->params)) {
		bit_set(g->slots, slot);
		bit_set(row(o->fits, o->group_words, slot), g->index);
	} else {
		bit_clear(g->slots, slot);
		bit_clear(row(o->fits, o->group_words, slot), g->index);
	}
}

static void asks_list(struct shard *s, struct outlet *o)
{
	if (o->asks)
		return;
	o->asks = true;
	o->asking_next = s->asking;
	s->asking = o;
}

static void asking_remove(struct outlet *o, struct group *g)
{
	struct group **at = &o->asking;
	if (!g->asking)
		return;
	while (*at != g)
		at = &(*at)->asking_next;
	*at = g->asking_next;
	if (o->asking_tail == &g->asking_next)
		o->asking_tail = at;
	g->asking = false;
}

/* True: the group has been asked for every slot. */
static bool ask_for_slots(struct shard *s, struct outlet *o, struct group *g)
{
	for (; g->asked < o->slot_count && s->asks_left > 0; s->asks_left--)
		fit(s, o, g, g->asked++);
	return g->asked >= o->slot_count;
}

/* True: every group from *from on has been asked for the slot. */
static bool ask_groups(struct shard *s, struct outlet *o, uint32_t slot, uint32_t *from)
{
	for (; *from < o->group_count && s->asks_left > 0; ++*from, s->asks_left--)
		if (o->groups[*from])
			fit(s, o, o->groups[*from], slot);
	return *from >= o->group_count;
}

static void slot_asked(struct outlet *o, uint32_t slot)
{
	o->unasked_count -= bit_get(o->unasked, slot);
	bit_clear(o->unasked, slot);
}

static void hungry_push(struct outlet *o, struct group *g)
{
	if (g->hungry)
		return;
	g->hungry = true;
	g->hungry_next = NULL;
	*o->hungry_tail = g;
	o->hungry_tail = &g->hungry_next;
}

static void hungry_remove(struct outlet *o, struct group *g)
{
	struct group **at = &o->hungry;
	if (!g->hungry)
		return;
	while (*at != g)
		at = &(*at)->hungry_next;
	*at = g->hungry_next;
	if (o->hungry_tail == &g->hungry_next)
		o->hungry_tail = at;
	g->hungry = false;
}

static void slots_ensure(struct outlet *o, uint32_t count)
{
	uint32_t words = (count + 63) / 64;
	if (words > o->slot_words) {
		words = MAX_OF(words, o->slot_words * 2);
		o->fresh = rows_grow(o->fresh, 1, o->slot_words, words);
		o->unasked = rows_grow(o->unasked, 1, o->slot_words, words);
		for (uint32_t i = 0; i < o->group_count; i++)
			if (o->groups[i])
				o->groups[i]->slots = rows_grow(o->groups[i]->slots, 1, o->slot_words, words);
		uint64_t *fits = zalloc(size_mul(size_mul(words, 64 * sizeof *fits), o->group_words));
		if (o->fits)
			memcpy(fits, o->fits, (size_t)o->slot_words * 64 * o->group_words * sizeof *fits);
		free(o->fits);
		o->fits = fits;
		o->slot_words = words;
	}
	o->slot_count = MAX_OF(o->slot_count, count);
}

static uint32_t group_index(struct outlet *o)
{
	for (uint32_t i = 0; i < o->group_count; i++)
		if (!o->groups[i])
			return i;
	if (o->group_count == o->group_cap) {
		uint32_t cap = o->group_cap ? o->group_cap * 2 : 1, words = (cap + 63) / 64;
		o->groups = realloc(o->groups, size_mul(cap, sizeof(struct group *)));
		ENSURE(o->groups != NULL);
		o->group_cap = cap;
		if (words != o->group_words) {
			o->levels = rows_grow(o->levels, CREDIT_BUCKETS, o->group_words, words);
			o->fits = rows_grow(o->fits, o->slot_words * 64, o->group_words, words);
			o->group_words = words;
		}
	}
	o->groups[o->group_count] = NULL;
	return o->group_count++;
}

static bool same_kind(const struct group *g, const struct consumer *x)
{
	return g->cost == x->cost && g->hot_count == x->hot_count && span_eq(g->params, x->params) &&
	       (x->hot_count == 0 || memcmp(g->hot, x->hot, x->hot_count * sizeof *x->hot) == 0);
}

static uint64_t kind_hash(const struct consumer *x)
{
	uint64_t hash = bytes_hash(x->params, x->cost);
	return bytes_hash(span_of(x->hot, x->hot_count * sizeof *x->hot), hash) | 1;
}

static struct group *group_new(struct shard *s, struct outlet *o, const struct consumer *x, uint64_t hash)
{
	struct group *g = zalloc(sizeof *g);
	uint8_t *params = zalloc(x->params.len + 1);
	if (x->params.len > 0)
		memcpy(params, x->params.data, x->params.len);
	g->hash = hash;
	g->params = span_of(params, x->params.len);
	g->cost = x->cost;
	g->hot_count = x->hot_count;
	g->hot = zalloc(x->hot_count * sizeof *g->hot + 1);
	if (x->hot_count > 0)
		memcpy(g->hot, x->hot, x->hot_count * sizeof *g->hot);
	for (int i = 0; i < CREDIT_BUCKETS; i++)
		g->tails[i] = &g->buckets[i];
	g->index = group_index(o);
	g->slots = zalloc(o->slot_words * sizeof *g->slots);
	o->groups[g->index] = g;
	s->group_count++;
	fit(s, o, g, 0); /* holds for everybody, and is what the plain path goes by */
	g->asked = 1;
	if (!ask_for_slots(s, o, g)) {
		g->asking = true;
		*o->asking_tail = g;
		o->asking_tail = &g->asking_next;
		asks_list(s, o);
	}
	return g;
}

static void group_free(struct shard *s, struct outlet *o, struct group *g)
{
	ENSURE(g->filled == 0 && s->group_count > 0);
	s->group_count--;
	hungry_remove(o, g);
	asking_remove(o, g);
	for (uint32_t i = 0; i < o->slot_count; i++)
		bit_clear(row(o->fits, o->group_words, i), g->index);
	o->groups[g->index] = NULL;
	free((void *)(uintptr_t)g->params.data);
	free(g->hot);
	free(g->slots);
	free(g);
}

bool outlet_takes(const struct shard *s, const struct outlet *o, const struct consumer *x)
{
	const struct map64_slot *slot;
	uint64_t hash = kind_hash(x);
	while ((slot = map64_find(&o->group_names, hash)) && !same_kind(o->groups[slot->value], x))
		hash += 2;
	return slot || s->group_count < GROUPS_MAX;
}

void outlet_join(struct shard *s, struct outlet *o, struct consumer *x)
{
	uint64_t hash = kind_hash(x);
	struct map64_slot *slot;
	ENSURE(x->group == NULL);
	while ((slot = map64_find(&o->group_names, hash)) && !same_kind(o->groups[slot->value], x))
		hash += 2; /* odd stays odd: never 0 */
	if (slot) {
		x->group = o->groups[slot->value];
	} else {
		x->group = group_new(s, o, x, hash);
		map64_add(&o->group_names, hash, x->group->index, &o->memory);
	}
	x->group->entries++;
	x->group->able += x->able;
	o->consumers++;
}

void outlet_able(struct consumer *x, bool able)
{
	if (x->group)
		x->group->able += (uint32_t)able - (uint32_t)x->able;
	x->able = able;
}

bool outlet_could(const struct outlet *o, struct span requires)
{
	for (uint32_t i = 0; i < o->group_count; i++)
		if (o->groups[i] && o->groups[i]->able > 0 && predicate_holds(requires, o->groups[i]->params))
			return true;
	return false;
}

void outlet_leave(struct shard *s, struct outlet *o, struct consumer *x)
{
	struct group *g = x->group;
	outlet_unlink(o, x);
	x->group = NULL;
	o->consumers--;
	g->able -= x->able;
	if (--g->entries > 0)
		return;
	map64_remove(&o->group_names, map64_find(&o->group_names, g->hash));
	group_free(s, o, g);
}

struct outlet *outlet_new(struct shard *s, uint32_t queue)
{
	struct outlet *o = zalloc(sizeof *o);
	o->queue = queue;
	o->hungry_tail = &o->hungry;
	o->asking_tail = &o->asking;
	o->group_words = 1;
	o->levels = zalloc(CREDIT_BUCKETS * sizeof *o->levels);
	slots_ensure(o, tasks_slot_count(s->tasks, queue));
	return o;
}

void outlet_free(struct shard *s, struct outlet *o)
{
	for (uint32_t i = 0; i < o->group_count; i++)
		if (o->groups[i])
			group_free(s, o, o->groups[i]);
	map64_free(&o->group_names, &o->memory);
	free(o->groups);
	free(o->levels);
	free(o->fits);
	free(o->fresh);
	free(o->unasked);
	free(o->name);
	free(o);
}

/* ---- credit ---- */

static uint8_t bucket_of(uint32_t credit)
{
	uint32_t bits = 32 - (uint32_t)__builtin_clz(credit);
	return (uint8_t)MIN_OF(bits, (uint32_t)CREDIT_BUCKETS - 1);
}

void outlet_unlink(struct outlet *o, struct consumer *x)
{
	struct group *g = x->group;
	if (!x->link)
		return;
	*x->link = x->next;
	if (x->next)
		x->next->link = x->link;
	else
		g->tails[x->bucket] = x->link;
	x->link = NULL;
	if (g->buckets[x->bucket])
		return;
	g->filled &= ~(1u << x->bucket);
	uint64_t *level = row(o->levels, o->group_words, x->bucket);
	bit_clear(level, g->index);
	if (!row_any(level, o->group_words))
		o->filled &= ~(1u << x->bucket);
}

void outlet_link(struct outlet *o, struct consumer *x)
{
	struct group *g = x->group;
	ENSURE(!x->link && g && x->credit > 0);
	if (!g->filled)
		hungry_push(o, g);
	x->bucket = bucket_of(x->credit);
	x->stamp = ++o->clock;
	x->next = NULL;
	x->link = g->tails[x->bucket];
	*x->link = x;
	g->tails[x->bucket] = &x->next;
	g->filled |= 1u << x->bucket;
	bit_set(row(o->levels, o->group_words, x->bucket), g->index);
	o->filled |= 1u << x->bucket;
}

/* ---- what waits for whom ---- */

void outlet_slot(struct shard *s, struct outlet *o, uint32_t slot)
{
	slots_ensure(o, MAX_OF(slot + 1, o->slot_count));
	uint64_t *fits = row(o->fits, o->group_words, slot);
	for (uint32_t w = 0; w < o->group_words; w++)
		for (uint64_t bits = fits[w]; bits; bits &= bits - 1)
			bit_clear(o->groups[w * 64 + (uint32_t)__builtin_ctzll(bits)]->slots, slot);
	memset(fits, 0, o->group_words * sizeof *fits);
	uint32_t group = 0;
	if (o->ask_slot == slot)
		o->ask_group = 0;
	if (ask_groups(s, o, slot, &group)) {
		slot_asked(o, slot);
		return;
	}
	o->unasked_count += !bit_get(o->unasked, slot);
	bit_set(o->unasked, slot);
	asks_list(s, o);
}

static uint32_t next_unasked(const struct outlet *o)
{
	uint32_t w = 0;
	while (o->unasked[w] == 0)
		w++;
	return w * 64 + (uint32_t)__builtin_ctzll(o->unasked[w]);
}

bool outlet_ask(struct shard *s, struct outlet *o)
{
	while (o->asking && s->asks_left > 0) {
		struct group *g = o->asking;
		bool all = ask_for_slots(s, o, g);
		if (g->filled)
			hungry_push(o, g);
		if (all)
			asking_remove(o, g);
	}
	while (o->unasked_count > 0 && s->asks_left > 0) {
		if (!bit_get(o->unasked, o->ask_slot)) {
			o->ask_slot = next_unasked(o);
			o->ask_group = 0;
		}
		if (ask_groups(s, o, o->ask_slot, &o->ask_group))
			slot_asked(o, o->ask_slot);
		bit_set(o->fresh, o->ask_slot); /* looked for before they were asked: look again */
	}
	return o->asking || o->unasked_count > 0;
}

void outlet_fresh(struct outlet *o, uint32_t slot)
{
	if (slot < o->slot_count) {
		bit_set(o->fresh, slot);
		return;
	}
	for (uint32_t i = 0; i < o->group_count; i++)
		if (o->groups[i] && o->groups[i]->filled)
			hungry_push(o, o->groups[i]);
}

static bool somebody_fits(struct outlet *o, uint32_t slot)
{
	const uint64_t *fits = row(o->fits, o->group_words, slot);
	for (uint32_t mask = o->filled; mask; mask &= mask - 1) {
		const uint64_t *level = row(o->levels, o->group_words, (uint32_t)__builtin_ctz(mask));
		for (uint32_t w = 0; w < o->group_words; w++)
			if (level[w] & fits[w])
				return true;
	}
	return false;
}

bool outlet_peek(struct shard *s, struct outlet *o, struct ready_run *out)
{
	if (o->slot_count == 1) /* nobody has ever required anything here */
		return tasks_peek(s->tasks, o->queue, NULL, 0, out);
	while (o->hungry) {
		struct group *g = o->hungry;
		if (g->filled && tasks_peek(s->tasks, o->queue, g->slots, o->slot_words, out))
			return true;
		hungry_remove(o, g);
	}
	while (tasks_peek(s->tasks, o->queue, o->fresh, o->slot_words, out)) {
		if (somebody_fits(o, out->slot))
			return true;
		bit_clear(o->fresh, out->slot);
	}
	memset(o->fresh, 0, o->slot_words * sizeof *o->fresh);
	return false;
}

/* ---- the choice ---- */

/* The fullest bucket in which somebody fits; groups take turns. */
static struct consumer *choose_credit(struct outlet *o, const uint64_t *fits)
{
	for (uint32_t mask = o->filled; mask;) {
		uint32_t bucket = 31 - (uint32_t)__builtin_clz(mask), words = o->group_words, w = o->turn / 64 % words;
		const uint64_t *level = row(o->levels, words, bucket);
		uint64_t not_before = ~0ull << (o->turn % 64);
		for (uint32_t i = 0; i <= words; i++, w = w + 1 < words ? w + 1 : 0, not_before = ~0ull) {
			uint64_t bits = level[w] & fits[w] & not_before;
			if (!bits)
				continue;
			uint32_t index = w * 64 + (uint32_t)__builtin_ctzll(bits);
			o->turn = index + 1;
			return o->groups[index]->buckets[bucket];
		}
		mask &= ~(1u << bucket);
	}
	return NULL;
}

static bool is_hot(const struct group *g, uint64_t name)
{
	for (uint32_t i = 0; i < g->hot_count; i++)
		if (g->hot[i] == name)
			return true;
	return false;
}

/* Rendezvous: every entry draws a number for the key, the same each time; the highest has it. */
static uint64_t draw(const struct consumer *x, uint64_t key)
{
	return bytes_hash(span_of(&x->identity, sizeof x->identity), key);
}

/* How much an entry is wanted, by the setting; equals go by free credit, then by who waited longest. */
static uint64_t wanted(const struct outlet *o, const struct consumer *x, enum queue_selection selection)
{
	switch (selection) {
	case SELECT_CHEAPEST: return UINT32_MAX - x->group->cost;
	case SELECT_HOT: return is_hot(x->group, o->hot);
	case SELECT_STICKY: return draw(x, o->sticky);
	case SELECT_ROUND_ROBIN: return UINT64_MAX - x->stamp;
	case SELECT_CREDIT:
	case SELECTIONS: break;
	}
	return 0;
}

/* The first of each bucket speaks for the rest of it, but for sticky keys, where everybody counts. */
static struct consumer *choose_wanted(struct outlet *o, const uint64_t *fits, enum queue_selection selection)
{
	struct consumer *best = NULL;
	uint64_t best_wanted = 0;
	for (uint32_t mask = o->filled; mask; mask &= ~(1u << (31 - (uint32_t)__builtin_clz(mask)))) {
		uint32_t bucket = 31 - (uint32_t)__builtin_clz(mask);
		const uint64_t *level = row(o->levels, o->group_words, bucket);
		for (uint32_t i = 0; i < o->group_count; i++) {
			if (!bit_get(level, i) || !bit_get(fits, i))
				continue;
			struct consumer *x = o->groups[i]->buckets[bucket];
			for (; x; x = selection == SELECT_STICKY ? x->next : NULL) {
				uint64_t w = wanted(o, x, selection);
				bool better = !best || w > best_wanted ||
					      (w == best_wanted && best->bucket == bucket && x->stamp < best->stamp);
				best = better ? x : best;
				best_wanted = better ? w : best_wanted;
			}
		}
	}
	return best;
}

struct consumer *outlet_choose(struct shard *s, struct outlet *o, uint32_t slot)
{
	enum queue_selection selection = tasks_queue_selection(s->tasks, o->queue);
	const uint64_t *fits = row(o->fits, o->group_words, slot);
	bool plain = selection == SELECT_CREDIT || (selection == SELECT_HOT && o->hot == 0) ||
		     (selection == SELECT_STICKY && o->sticky == 0);
	struct consumer *x = plain ? choose_credit(o, fits) : choose_wanted(o, fits, selection);
	ENSURE(x != NULL);
	return x;
}
