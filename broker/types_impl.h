/* broker/types_impl.h: the inside of the registry of types, shared by its files and by nobody else.
 *
 *   types.c             names, questions, looking
 *   types_change.c      judging, proposing and applying a REC_TYPE
 *   types_checkpoint.c  its section of the checkpoint
 *
 * All names, those of types and aliases, are in one sorted array; a type is there once for each of its names.
 *
 * Invariants
 *  1. Propose and apply judge by the same functions; what propose took may be refused by apply (two proposals crossed), and then it
 *     changes nothing.
 *  2. Parents form no cycle and no chain longer than TYPE_ANCESTORS, so that walks end.
 *  3. A type that has a policy other than open has a schema.
 *  4. The generation grows with every change; borrowed names are good until then. */
#pragma once

#include "types.h"

struct type {
	char *name, *root;
	struct type *parent;
	struct schema *schema;
	uint8_t policy, answers;
	uint32_t children;
	char *aliases[TYPE_ALIASES];
	uint32_t alias_count;
	uint64_t fingerprints[TYPE_FINGERPRINTS]; /* newest first */
	uint32_t fingerprint_count;
	uint64_t registered_ms, changed_ms;
};

struct name {
	const char *text; /* the type's own or one of its aliases */
	struct type *type;
};

struct types {
	struct name names[TYPES_MAX];
	uint32_t count;       /* of names */
	struct type *all[TYPES_MAX];
	uint32_t type_count;  /* sorted by name */
	uint64_t generation;
	size_t schema_bytes;
};

/* For messages: a name cut to what fits. */
#define SHOWN(s) (int)MIN_OF((s).len, 150u), (s).len ? (const char *)(s).data : ""

/* Order of a name of ours and one from outside. */
int types_compare(const char *text, struct span name);
/* NULL = neither a type nor an alias. */
struct type *types_get(const struct types *t, struct span name);
bool types_name_ok(const char *what, struct span name, char text[256]);
/* Writes the text and gives back the code. */
enum err types_refuse(char text[256], enum err code, const char *format, ...) PRINTF_LIKE(3, 4);

/* The steps of a change, each as good as its judgement. */
struct type *types_add(struct types *t, struct span name);
void types_drop(struct types *t, struct type *type);
void types_add_alias(struct types *t, struct type *type, struct span alias);
void types_drop_alias(struct types *t, struct type *type, struct span alias);
void types_set_schema(struct types *t, struct type *type, struct schema *schema, struct span root);
void types_set_parent(struct type *type, struct type *parent);
enum err types_judge_parent(const struct types *t, const struct type *type, struct span parent, char text[256]);
