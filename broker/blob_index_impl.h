/* broker/blob_index_impl.h: the inside of the index of blobs, shared by blob_index.c (what it is) and blob_checkpoint.c (as bytes). */
#pragma once

#include "../wire/map64.h"
#include "blob_index.h"

struct held_yield { struct blob *blob; struct held_yield *next; };
struct principal_bytes { struct principal_bytes *next; uint64_t bytes, blobs; uint8_t size; char name[]; };

struct blobs {
	struct blobs_owned owned; /* first: blobs_owned() */
	struct map64 by_name, by_number; /* -> struct blob */
	struct map64 held[BLOB_OWNERS];  /* task -> struct blob; of yields the first struct held_yield */
	struct map64 principals;         /* hash -> struct principal_bytes */
	struct blob *idle_first, *idle_last;
	uint64_t seed, memory;
	struct blobs_stats sums;
};

static inline void *blob_must(void *p)
{
	ENSURE(p != NULL);
	return p;
}

static inline void *blob_pointer(uint64_t value) { return (void *)(uintptr_t)value; }
static inline size_t blob_text_bytes(const struct blob *b)
{
	return (size_t)b->vnet_size + b->media_size + b->principal_size;
}

enum err blob_refuse(char text[256], enum err code, const char *format, ...) PRINTF_LIKE(3, 4);
int blob_compare(const void *a, const void *b); /* struct blob *, by number */
struct blob **blobs_sorted(const struct blobs *x); /* all of them, by number; the caller frees */
void blob_idle_enter(struct blobs *x, struct blob *b, uint64_t now_ms);
void blob_idle_leave(struct blobs *x, struct blob *b);
/* Not there yet, under neither of its names; without pins, and in no list. */
struct blob *blob_insert(struct blobs *x, const struct rec_blob *rec, struct span vnet, struct span media, struct span principal);
bool blob_pin_set(struct blobs *x, struct blob *b, struct span name); /* false: it has as many as it may */
