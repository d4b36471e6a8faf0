/* wire/map64.h: an open-addressing hash map from u64 to u64. Keys are never 0.
 *
 * Linear probing with backward-shift deletion, so there are no tombstones and a lookup ends at the first hole. Task
 * numbers are dense; the multiplication spreads them. Iteration order depends on history: nothing that decides, and nothing
 * that is written to disk, may follow it.
 * Invariants: 1. cap is 0 or a power of two; 2. count <= 3/4 cap; 3. no hole between a key and its home slot. */
#pragma once

#include "base.h"

struct map64_slot {
	uint64_t key, value;
};

struct map64 {
	struct map64_slot *slots;
	uint32_t cap, count;
};

static inline uint32_t map64_home(const struct map64 *m, uint64_t key)
{
	return (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (m->cap - 1);
}

/* The slot of `key`, or NULL. Valid until the next change. */
static inline struct map64_slot *map64_find(const struct map64 *m, uint64_t key)
{
	if (m->count == 0)
		return NULL;
	for (uint32_t i = map64_home(m, key);; i = (i + 1) & (m->cap - 1)) {
		if (m->slots[i].key == key)
			return &m->slots[i];
		if (m->slots[i].key == 0)
			return NULL;
	}
}

static inline void map64_place(struct map64 *m, uint64_t key, uint64_t value)
{
	uint32_t i = map64_home(m, key);
	while (m->slots[i].key != 0) {
		ENSURE(m->slots[i].key != key);
		i = (i + 1) & (m->cap - 1);
	}
	m->slots[i] = (struct map64_slot){ key, value };
}

/* Adds a key that is not there. `memory` (may be NULL) follows what is allocated. */
static inline void map64_add(struct map64 *m, uint64_t key, uint64_t value, uint64_t *memory)
{
	ENSURE(key != 0);
	if (m->count + 1 > m->cap / 4 * 3) {
		struct map64 old = *m;
		m->cap = old.cap ? old.cap * 2 : 64;
		ENSURE(m->cap > old.cap);
		m->slots = (struct map64_slot *)calloc(m->cap, sizeof *m->slots);
		ENSURE(m->slots != NULL);
		for (uint32_t i = 0; i < old.cap; i++)
			if (old.slots[i].key != 0)
				map64_place(m, old.slots[i].key, old.slots[i].value);
		if (memory)
			*memory += ((uint64_t)m->cap - old.cap) * sizeof *m->slots;
		free(old.slots);
	}
	map64_place(m, key, value);
	m->count++;
}

/* Removes the slot that map64_find gave. */
static inline void map64_remove(struct map64 *m, struct map64_slot *slot)
{
	ENSURE(m->count > 0);
	uint32_t hole = (uint32_t)(slot - m->slots);
	for (uint32_t i = (hole + 1) & (m->cap - 1); m->slots[i].key != 0; i = (i + 1) & (m->cap - 1)) {
		uint32_t home = map64_home(m, m->slots[i].key);
		/* It may move back unless its home lies behind the hole. */
		if (((i - home) & (m->cap - 1)) >= ((i - hole) & (m->cap - 1))) {
			m->slots[hole] = m->slots[i];
			hole = i;
		}
	}
	m->slots[hole].key = 0;
	m->count--;
}

static inline void map64_free(struct map64 *m, uint64_t *memory)
{
	if (memory)
		*memory -= (uint64_t)m->cap * sizeof *m->slots;
	free(m->slots);
	*m = (struct map64){ NULL, 0, 0 };
}
