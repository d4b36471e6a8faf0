/* clientlib/map64.h: task id -> pointer. Open addressing, linear probing, deletion by shifting back, so that a map
 * through which millions of ids pass stays as small as what it holds at one time.
 *
 * 1. A slot is free where its value is NULL; NULL cannot be stored.
 * 2. At most half of the slots are used, so every probe ends. */
#pragma once

#include "../wire/base.h"

struct map64_slot { uint64_t key; void *value; };
struct map64 { struct map64_slot *slots; uint32_t count, mask; }; /* mask 0: nothing allocated */

static inline uint32_t map64_home(const struct map64 *m, uint64_t key)
{
	return (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 32) & m->mask;
}

/* Where `key` is, or the free slot where it would be. */
static inline struct map64_slot *map64_at(const struct map64 *m, uint64_t key)
{
	uint32_t i = map64_home(m, key);
	while (m->slots[i].value && m->slots[i].key != key)
		i = (i + 1) & m->mask;
	return &m->slots[i];
}

static inline void *map64_get(const struct map64 *m, uint64_t key)
{
	return m->count ? map64_at(m, key)->value : NULL;
}

static inline void map64_grow(struct map64 *m)
{
	struct map64 old = *m;
	m->mask = old.slots ? old.mask * 2 + 1 : 63;
	m->slots = (struct map64_slot *)calloc((size_t)m->mask + 1, sizeof *m->slots);
	ENSURE(m->slots != NULL);
	for (uint32_t i = 0; old.slots && i <= old.mask; i++)
		if (old.slots[i].value)
			*map64_at(m, old.slots[i].key) = old.slots[i];
	free(old.slots);
}

/* Stores or replaces. */
static inline void map64_put(struct map64 *m, uint64_t key, void *value)
{
	ENSURE(value != NULL);
	if (!m->slots || m->count >= (m->mask + 1) / 2)
		map64_grow(m);
	struct map64_slot *s = map64_at(m, key);
	m->count += s->value == NULL;
	*s = (struct map64_slot){ key, value };
}

/* What was there, or NULL. */
static inline void *map64_take(struct map64 *m, uint64_t key)
{
	if (m->count == 0)
		return NULL;
	struct map64_slot *s = map64_at(m, key);
	void *value = s->value;
	if (!value)
		return NULL;
	uint32_t hole = (uint32_t)(s - m->slots);
	for (uint32_t i = (hole + 1) & m->mask; m->slots[i].value; i = (i + 1) & m->mask) {
		uint32_t home = map64_home(m, m->slots[i].key);
		if (((i - home) & m->mask) < ((i - hole) & m->mask))
			continue; /* it would land before its home */
		m->slots[hole] = m->slots[i];
		hole = i;
	}
	m->slots[hole].value = NULL;
	m->count--;
	return value;
}

static inline void map64_free(struct map64 *m)
{
	free(m->slots);
	*m = (struct map64){ NULL, 0, 0 };
}
