/* wire/schema.h: FlatBuffers schemas at run time: compiled once from a .bfbs, then payloads are checked against them.
 *
 *   .bfbs bytes -> schema_compile -> struct schema -> schema_verify (each payload), schema_fingerprint, schema_diff
 *
 * A .bfbs is what `flatc -b --schema` writes (with `--bfbs-builtins` the attribute nested_flatbuffer is in it, and the buffers
 * inside are checked too). It may come from anybody: its structure is verified by the same walk that verifies payloads, against
 * the schema of schemas that is built in, and then every reference in it is checked before it is followed.
 * Only what the root table reaches is compiled. No C++ and no FlatBuffers library is involved. */
#pragma once

#include "err.h"
#include "span.h"

enum {
	SCHEMA_BYTES_MAX = 256 << 10, /* of one .bfbs */
	SCHEMA_ITEMS_MAX = 8192,      /* fields, enum values and union members reached from the root */
	SCHEMA_DEPTH_MAX = 64,        /* of tables within tables in a payload, buffers within buffers included */
};

struct schema;

/* Compiles the schema of the table called `root`: its full name, or its last part where that names one table only; empty = the
 * file's root_type. Copies what it needs. ERR_INVALID_INPUT or ERR_TOO_BIG, and text says what is wrong with which type. */
enum err schema_compile(struct span bfbs, struct span root, struct schema **out, char text[256]) MUST_CHECK;
void schema_free(struct schema *schema);

/* The full name of the root table, and the .bfbs as it came; borrowed. */
struct span schema_root(const struct schema *schema);
struct span schema_bytes(const struct schema *schema);

/* ERR_OK where a generated verifier would accept the payload: bounds, alignment (from the start of the payload), vtables, strings,
 * vectors, unions, structs, required fields, nested buffers, the file identifier where the schema has one and the root is its root_type.
 * ERR_SCHEMA_MISMATCH, and text says "Transcode.inputs[3].codec: the string runs past the end". ERR_TOO_BIG where it is nested
 * deeper than SCHEMA_DEPTH_MAX or shares so many of its parts that looking at them is more work than its bytes are worth.
 * The payload need not be aligned in memory. Work is linear in its length; nothing is allocated. */
enum err schema_verify(const struct schema *schema, struct span payload, char text[256]) MUST_CHECK;

/* A hash of the type's name and of the canonical form: what schema_describe prints. Never 0. Documentation, declaration order of
 * files, types that are not reached and attributes without effect on the layout do not count. */
uint64_t schema_fingerprint(const struct schema *schema, struct span type_name);

/* Appends the canonical form: one line for each type, field and value that the root reaches, in order of discovery. */
void schema_describe(const struct schema *schema, struct buf *out);

/* May `after` take the place of `before`? Old payloads must be good under the new schema and new ones readable by old programs:
 * fields are appended (never required) or become deprecated, enum values and union members are added; nothing else changes.
 * ERR_OK or ERR_INCOMPATIBLE; appends one line for each difference to `lines`: "+ ..." what was added, "! ..." what is refused.
 * `lines` may be NULL. text names the first refusal. */
enum err schema_diff(const struct schema *before, const struct schema *after, struct buf *lines, char text[256]) MUST_CHECK;
