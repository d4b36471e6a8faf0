/* wire/schema_impl.h: the inside of a compiled schema, shared by the schema_*.c files and by nobody else.
 *
 *   schema_bfbs.c     reads a .bfbs, after the walk has verified it against the schema of schemas
 *   schema_compile.c  .bfbs -> plan and items
 *   schema_verify.c   walks a payload by the plan
 *   schema_diff.c     items -> canonical form, fingerprint, differences */
#pragma once

#include "schema.h"

/* ---- the plan: what the walk needs ---- */

enum schema_kind {
	SCHEMA_NONE,    /* deprecated field, empty union value */
	SCHEMA_INLINE,  /* scalar or struct: size, align */
	SCHEMA_STRING,
	SCHEMA_TABLE,   /* target: index of a table */
	SCHEMA_UNION,   /* target: index of a union; its type is in the slot before */
	SCHEMA_VECTOR,  /* of scalars or structs: size */
	SCHEMA_STRINGS, /* vectors of the above */
	SCHEMA_TABLES,
	SCHEMA_UNIONS,
	SCHEMA_NESTED,  /* a vector of bytes that is a buffer of its own; target: its root table */
};

struct schema_field {
	uint16_t slot;  /* where in the vtable */
	uint8_t kind;
	uint8_t required;
	uint32_t size;
	uint16_t align, target;
};

struct schema_member { /* of a union, by value */
	uint8_t kind, pad;
	uint16_t align, target, pad1;
	uint32_t size;
};

struct schema_range { uint32_t first, count; };

struct schema_plan {
	const struct schema_range *tables;    /* of fields; the first is the root */
	const struct schema_field *fields;    /* of a table, by id */
	const char *const *names;             /* of the fields */
	const struct schema_range *unions;    /* of members */
	const struct schema_member *members;
	const char *root_name;
	char identifier[4];
	bool has_identifier;
};

/* What schema_verify does, for a plan of any origin. */
enum err schema_plan_verify(const struct schema_plan *plan, struct span payload, char text[256]) MUST_CHECK;

/* ---- the items: what people and comparisons need ---- */

/* As in reflection.fbs of FlatBuffers. */
enum bfbs_base {
	BFBS_NONE, BFBS_UTYPE, BFBS_BOOL, BFBS_BYTE, BFBS_UBYTE, BFBS_SHORT, BFBS_USHORT, BFBS_INT, BFBS_UINT, BFBS_LONG,
	BFBS_ULONG, BFBS_FLOAT, BFBS_DOUBLE, BFBS_STRING, BFBS_VECTOR, BFBS_OBJECT, BFBS_UNION, BFBS_ARRAY, BFBS_BASES
};

enum schema_item_kind { ITEM_TABLE, ITEM_FIELD, ITEM_STRUCT, ITEM_MEMBER, ITEM_ENUM, ITEM_VALUE };
struct schema_item {
	uint8_t kind;
	uint8_t base, element;       /* enum bfbs_base; of a value: that of its union member */
	bool required, deprecated, optional, is_union;
	uint16_t fixed_length;
	const char *owner, *name;    /* full name of the type; of the part of it, "" for the type itself */
	const char *ref;             /* type or enum that is referred to, or "" */
	const char *nested;          /* full name of the table in a nested buffer, or "" */
	int64_t number;              /* field: id; struct: bytes; member: its offset; value: its number */
	int64_t default_integer;     /* struct: alignment */
	double default_real;
};

struct schema {
	struct schema_plan plan;
	struct buf bytes;            /* the .bfbs: all names point into it */
	struct buf tables, fields, names, unions, members, items; /* arrays of the above */
	const char *root;
};

static inline const struct schema_item *schema_items(const struct schema *s, uint32_t *count)
{
	*count = (uint32_t)(s->items.len / sizeof(struct schema_item));
	return (const struct schema_item *)(const void *)s->items.data;
}

/* ---- reading a .bfbs that bfbs_verify has accepted ---- */

/* Walks the bytes by the schema of schemas. */
enum err bfbs_verify(struct span bytes, char text[256]) MUST_CHECK;

struct bfbs_type { uint8_t base, element; int32_t index; uint16_t fixed_length; };
struct bfbs_object { size_t at; const char *name; bool is_struct; int32_t align, size; uint32_t fields; };
struct bfbs_field {
	size_t at;
	const char *name;
	struct bfbs_type type;
	uint16_t id, offset;
	int64_t default_integer;
	double default_real;
	bool deprecated, required, optional;
};
struct bfbs_enum { size_t at; const char *name; bool is_union; struct bfbs_type underlying; uint32_t values; };
struct bfbs_value { const char *name; int64_t value; struct bfbs_type type; bool has_type; };

uint32_t bfbs_objects(struct span bytes);
uint32_t bfbs_enums(struct span bytes);
/* Indexes are below the counts. */
void bfbs_read_object(struct span bytes, uint32_t index, struct bfbs_object *out);
void bfbs_read_field(struct span bytes, const struct bfbs_object *object, uint32_t index, struct bfbs_field *out);
/* The value of the attribute nested_flatbuffer, or NULL. */
const char *bfbs_nested(struct span bytes, const struct bfbs_field *field);
void bfbs_read_enum(struct span bytes, uint32_t index, struct bfbs_enum *out);
void bfbs_read_value(struct span bytes, const struct bfbs_enum *e, uint32_t index, struct bfbs_value *out);
/* NULL where the file names no root_type; the identifier is "" where there is none. */
const char *bfbs_root(struct span bytes);
const char *bfbs_identifier(struct span bytes);
