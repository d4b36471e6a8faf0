/* broker/types.h: the registry of types: names, aliases, parents, schemas, and what a payload of a type must be.
 *
 *   type register -> TYPES propose -> log ... commit -> TYPES apply;   SUBMIT, PUBLISH, CALL -> TYPES check -> propose
 *
 * A type that nobody registered is a plain name: it is what it is called, has no ancestors, and its payloads are anything.
 * A registered one has a policy:
 *   open         payloads are not looked at
 *   fingerprint  the head must state a fingerprint that is known for the type (0, not stated, is refused)
 *   verify       every payload is walked by the schema; a fingerprint that is stated must be known, 0 may be
 * Known are the fingerprints of every schema the type has had, under its name and its aliases, the last TYPE_FINGERPRINTS of them.
 * Payloads are checked against the newest schema: older ones are good under it, because only compatible changes are taken.
 *
 * Durable: changed only by types_apply; propose and apply judge by the same function. Bounded: TYPES_MAX names. */
#pragma once

#include "../wire/schema.h"
#include "tasks.h"

enum { TYPES_MAX = 4096, TYPE_ANCESTORS = 16, TYPE_SCHEMAS_BYTES = 64 << 20 };

struct types;
struct type;

struct types *types_new(void);
void types_free(struct types *t);

/* ---- questions, for every message ---- */

/* NULL where the name is neither a type's nor an alias. Valid until the generation changes. */
const struct type *types_find(const struct types *t, struct span name);
/* Grows with every change of the registry: for those who keep what types_find said. 0 = nothing was ever registered. */
uint64_t types_generation(const struct types *t);
/* The type's own name where `name` is an alias; else `name`. Borrowed until the generation changes. */
struct span types_resolve(const struct types *t, struct span name);
/* True where `child` is `ancestor` or has it among its parents; both may be aliases or plain names. */
bool types_is_a(const struct types *t, struct span child, struct span ancestor);
/* The type's parent: an empty span where it has none. Ancestors are at most TYPE_ANCESTORS steps away. */
struct span types_parent(const struct types *t, struct span name);

/* May a message of this type, with this fingerprint in its head, have this payload? ERR_OK, or ERR_SCHEMA_MISMATCH (ERR_TOO_BIG where
 * the payload is not worth the work) and text names the type and the field. For PUBLISH and CALL: one message at a time. */
enum err types_check(const struct types *t, struct span type, uint64_t fingerprint, uint8_t kind, struct span payload, char text[256])
	MUST_CHECK;
/* The same in two steps, for many payloads under one head: type_admits judges the fingerprint, and where type_verifies says so
 * each payload goes through type_verify. `type` may be NULL: a plain name. */
enum err type_admits(const struct type *type, uint64_t fingerprint, char text[256]) MUST_CHECK;
bool type_verifies(const struct type *type);
/* May a call of the type ask for its answer in parts, or in one? ERR_OK or ERR_SCHEMA_MISMATCH. */
enum err type_answers(const struct type *type, bool stream, char text[256]) MUST_CHECK;
enum err type_verify(const struct type *type, struct span payload, char text[256]) MUST_CHECK;
/* `kind`: what payloads are (enum payload_kind). UNSUPPORTED where they are to be verified and are not here to be looked at. */
enum err type_takes(const struct type *type, uint8_t kind, char text[256]) MUST_CHECK;
struct span type_name(const struct type *type);

/* ---- changes ---- */

/* Appends one record (*records = 1), or says why not: ERR_INVALID_INPUT (name, schema, a policy without schema), ERR_INCOMPATIBLE (the
 * schema against the registered one, text names the field), ERR_EXISTS (the alias is another's), ERR_NOT_FOUND (parent),
 * ERR_WRONG_STATE (a cycle of parents), ERR_RESOURCE_EXHAUSTED. What a spec leaves empty stays as it is. */
enum err types_propose_register(struct types *t, struct log *log, struct span name, const struct type_info *spec, uint32_t *records,
				char text[256]) MUST_CHECK;
/* A type with all its names, or one alias. ERR_NOT_FOUND; ERR_WRONG_STATE where it is a parent. */
enum err types_propose_remove(struct types *t, struct log *log, struct span name, uint32_t *records, char text[256]) MUST_CHECK;

/* One committed REC_TYPE. Fills origin, affected, code of *out. */
void types_apply(struct types *t, const struct log_entry *entry, const struct log_record *record, struct applied *out);
/* The name that a REC_TYPE is about; borrows the record. */
struct span types_record_name(const struct log_record *record);
void types_checkpoint(const struct types *t, struct buf *out);
enum err types_restore(struct types *t, struct span section, char text[256]) MUST_CHECK;

/* ---- looking ---- */

uint32_t types_count(const struct types *t);
/* By name; borrowed until the generation changes. Without the schema's bytes. */
void types_info(const struct types *t, uint32_t index, struct type_info *out);
bool types_show(const struct types *t, struct span name, struct type_info *out); /* with them */
/* What would change: ERR_OK or ERR_INCOMPATIBLE with lines as schema_diff makes them, or why the question cannot be answered. */
enum err types_diff(const struct types *t, struct span name, const struct type_info *spec, struct buf *lines, char text[256]) MUST_CHECK;
