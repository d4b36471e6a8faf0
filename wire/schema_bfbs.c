/* wire/schema_bfbs.c: reads the binary form of a FlatBuffers schema. In the flow: .bfbs -> READ -> schema_compile.
 *
 * The bytes come from anybody. They are walked first, against the schema of schemas (reflection.fbs of FlatBuffers 2.0), which is
 * written down here as a plan like any other; after that everything a table says it has is there.
 *
 * 1. What the walk has accepted may still be nonsense: numbers that refer to nothing, loops, duplicates. The compiler judges that; the
 *    functions here only never read outside.
 * 2. Strings end with a zero inside the buffer: the walk has seen it. They may hold anything else. */
#include "schema_impl.h"

/* ---- the schema of schemas ---- */

enum { T_SCHEMA, T_OBJECT, T_FIELD, T_TYPE, T_ENUM, T_VALUE, T_KEY_VALUE, T_SERVICE, T_CALL, T_FILE, T_COUNT };

enum {
	KEY_KEY = 4, KEY_VALUE = 6,
	TYPE_BASE = 4, TYPE_ELEMENT = 6, TYPE_INDEX = 8, TYPE_FIXED_LENGTH = 10,
	VALUE_NAME = 4, VALUE_VALUE = 6, VALUE_TYPE = 10,
	ENUM_NAME = 4, ENUM_VALUES = 6, ENUM_IS_UNION = 8, ENUM_UNDERLYING = 10,
	FIELD_NAME = 4, FIELD_TYPE = 6, FIELD_ID = 8, FIELD_OFFSET = 10, FIELD_DEFAULT_INTEGER = 12, FIELD_DEFAULT_REAL = 14,
	FIELD_DEPRECATED = 16, FIELD_REQUIRED = 18, FIELD_ATTRIBUTES = 22, FIELD_OPTIONAL = 26,
	OBJECT_NAME = 4, OBJECT_FIELDS = 6, OBJECT_IS_STRUCT = 8, OBJECT_ALIGN = 10, OBJECT_SIZE = 12,
	SCHEMA_OBJECTS = 4, SCHEMA_ENUMS = 6, SCHEMA_IDENTIFIER = 8, SCHEMA_ROOT = 12,
};

#define SCALAR(slot, size) { slot, SCHEMA_INLINE, 0, size, size, 0 }
#define STRING(slot, required) { slot, SCHEMA_STRING, required, 0, 0, 0 }
#define STRINGS(slot) { slot, SCHEMA_STRINGS, 0, 4, 0, 0 }
#define TABLE(slot, required, target) { slot, SCHEMA_TABLE, required, 0, 0, target }
#define TABLES(slot, required, target) { slot, SCHEMA_TABLES, required, 4, 0, target }

static const struct schema_field reflection_fields[] = {
	/* Schema */
	TABLES(4, 1, T_OBJECT), TABLES(6, 1, T_ENUM), STRING(8, 0), STRING(10, 0), TABLE(12, 0, T_OBJECT),
	TABLES(14, 0, T_SERVICE), SCALAR(16, 8), TABLES(18, 0, T_FILE),
	/* Object, from 8 on */
	STRING(4, 1), TABLES(6, 1, T_FIELD), SCALAR(8, 1), SCALAR(10, 4), SCALAR(12, 4), TABLES(14, 0, T_KEY_VALUE),
	STRINGS(16), STRING(18, 0),
	/* Field, from 16 on */
	STRING(4, 1), TABLE(6, 1, T_TYPE), SCALAR(8, 2), SCALAR(10, 2), SCALAR(12, 8), SCALAR(14, 8), SCALAR(16, 1),
	SCALAR(18, 1), SCALAR(20, 1), TABLES(22, 0, T_KEY_VALUE), STRINGS(24), SCALAR(26, 1), SCALAR(28, 2),
	/* Type, from 29 on */
	SCALAR(4, 1), SCALAR(6, 1), SCALAR(8, 4), SCALAR(10, 2), SCALAR(12, 4), SCALAR(14, 4),
	/* Enum, from 35 on */
	STRING(4, 1), TABLES(6, 1, T_VALUE), SCALAR(8, 1), TABLE(10, 1, T_TYPE), TABLES(12, 0, T_KEY_VALUE), STRINGS(14),
	STRING(16, 0),
	/* EnumVal, from 42 on; what was in slot 8 is deprecated */
	STRING(4, 1), SCALAR(6, 8), TABLE(10, 0, T_TYPE), STRINGS(12),
	/* KeyValue, from 46 on */
	STRING(4, 1), STRING(6, 0),
	/* Service, from 48 on */
	STRING(4, 1), TABLES(6, 0, T_CALL), TABLES(8, 0, T_KEY_VALUE), STRINGS(10), STRING(12, 0),
	/* RPCCall, from 53 on */
	STRING(4, 1), TABLE(6, 1, T_OBJECT), TABLE(8, 1, T_OBJECT), TABLES(10, 0, T_KEY_VALUE), STRINGS(12),
	/* SchemaFile, from 58 on */
	STRING(4, 1), STRINGS(6),
};
static const char *const reflection_names[] = {
	"objects", "enums", "file_ident", "file_ext", "root_table", "services", "advanced_features", "fbs_files",
	"name", "fields", "is_struct", "minalign", "bytesize", "attributes", "documentation", "declaration_file",
	"name", "type", "id", "offset", "default_integer", "default_real", "deprecated", "required", "key", "attributes",
	"documentation", "optional", "padding",
	"base_type", "element", "index", "fixed_length", "base_size", "element_size",
	"name", "values", "is_union", "underlying_type", "attributes", "documentation", "declaration_file",
	"name", "value", "union_type", "documentation",
	"key", "value",
	"name", "calls", "attributes", "documentation", "declaration_file",
	"name", "request", "response", "attributes", "documentation",
	"filename", "included_filenames",
};
static const struct schema_range reflection_tables[] = {
	[T_SCHEMA] = { 0, 8 }, [T_OBJECT] = { 8, 8 }, [T_FIELD] = { 16, 13 }, [T_TYPE] = { 29, 6 }, [T_ENUM] = { 35, 7 },
	[T_VALUE] = { 42, 4 }, [T_KEY_VALUE] = { 46, 2 }, [T_SERVICE] = { 48, 5 }, [T_CALL] = { 53, 5 }, [T_FILE] = { 58, 2 },
};
_Static_assert(COUNT_OF(reflection_fields) == 60 && COUNT_OF(reflection_names) == 60, "one name for each field");
_Static_assert(COUNT_OF(reflection_tables) == T_COUNT, "every table has its fields");

static const struct schema_plan reflection = {
	.tables = reflection_tables, .fields = reflection_fields, .names = reflection_names, .root_name = "bfbs",
	.identifier = { 'B', 'F', 'B', 'S' }, .has_identifier = true,
};

enum err bfbs_verify(struct span bytes, char text[256])
{
	return schema_plan_verify(&reflection, bytes, text);
}

/* ---- reading what was accepted ---- */

static uint32_t load(struct span b, size_t at, size_t size)
{
	uint32_t v = 0;
	memcpy(&v, span_sub(b, at, size).data, size);
	return v;
}

/* Where a field is, 0 = absent. */
static size_t field_at(struct span b, size_t table, uint32_t slot)
{
	size_t vtable = table - (size_t)(int64_t)(int32_t)load(b, table, 4);
	uint32_t offset = slot < load(b, vtable, 2) ? load(b, vtable + slot, 2) : 0;
	return offset ? table + offset : 0;
}

static size_t target(struct span b, size_t at)
{
	return at ? at + load(b, at, 4) : 0;
}

static uint64_t number(struct span b, size_t table, uint32_t slot, size_t size, uint64_t otherwise)
{
	size_t at = field_at(b, table, slot);
	uint64_t v = 0;
	if (at == 0)
		return otherwise;
	memcpy(&v, span_sub(b, at, size).data, size);
	return v;
}

static const char *string(struct span b, size_t table, uint32_t slot)
{
	size_t at = target(b, field_at(b, table, slot));
	return at ? (const char *)span_sub(b, at + 4, load(b, at, 4) + 1).data : NULL;
}

static uint32_t count(struct span b, size_t table, uint32_t slot)
{
	size_t at = target(b, field_at(b, table, slot));
	return at ? load(b, at, 4) : 0;
}

static size_t element(struct span b, size_t table, uint32_t slot, uint32_t index)
{
	return target(b, target(b, field_at(b, table, slot)) + 4 + 4 * (size_t)index);
}

static struct bfbs_type type_of(struct span b, size_t at)
{
	return (struct bfbs_type){ (uint8_t)number(b, at, TYPE_BASE, 1, 0), (uint8_t)number(b, at, TYPE_ELEMENT, 1, 0),
				   (int32_t)number(b, at, TYPE_INDEX, 4, UINT32_MAX),
				   (uint16_t)number(b, at, TYPE_FIXED_LENGTH, 2, 0) };
}

static size_t schema_at(struct span b)
{
	return load(b, 0, 4);
}

uint32_t bfbs_objects(struct span b)
{
	return count(b, schema_at(b), SCHEMA_OBJECTS);
}

uint32_t bfbs_enums(struct span b)
{
	return count(b, schema_at(b), SCHEMA_ENUMS);
}

void bfbs_read_object(struct span b, uint32_t index, struct bfbs_object *out)
{
	size_t at = element(b, schema_at(b), SCHEMA_OBJECTS, index);
	*out = (struct bfbs_object){ at, string(b, at, OBJECT_NAME), number(b, at, OBJECT_IS_STRUCT, 1, 0) != 0,
				     (int32_t)number(b, at, OBJECT_ALIGN, 4, 0), (int32_t)number(b, at, OBJECT_SIZE, 4, 0),
				     count(b, at, OBJECT_FIELDS) };
}

void bfbs_read_field(struct span b, const struct bfbs_object *object, uint32_t index, struct bfbs_field *out)
{
	size_t at = element(b, object->at, OBJECT_FIELDS, index);
	uint64_t real = number(b, at, FIELD_DEFAULT_REAL, 8, 0);
	*out = (struct bfbs_field){
		.at = at,
		.name = string(b, at, FIELD_NAME),
		.type = type_of(b, target(b, field_at(b, at, FIELD_TYPE))),
		.id = (uint16_t)number(b, at, FIELD_ID, 2, 0),
		.offset = (uint16_t)number(b, at, FIELD_OFFSET, 2, 0),
		.default_integer = (int64_t)number(b, at, FIELD_DEFAULT_INTEGER, 8, 0),
		.deprecated = number(b, at, FIELD_DEPRECATED, 1, 0) != 0,
		.required = number(b, at, FIELD_REQUIRED, 1, 0) != 0,
		.optional = number(b, at, FIELD_OPTIONAL, 1, 0) != 0,
	};
	memcpy(&out->default_real, &real, sizeof real);
}

const char *bfbs_nested(struct span b, const struct bfbs_field *field)
{
	for (uint32_t i = 0; i < count(b, field->at, FIELD_ATTRIBUTES); i++) {
		size_t at = element(b, field->at, FIELD_ATTRIBUTES, i);
		if (strcmp(string(b, at, KEY_KEY), "nested_flatbuffer") == 0)
			return string(b, at, KEY_VALUE);
	}
	return NULL;
}

void bfbs_read_enum(struct span b, uint32_t index, struct bfbs_enum *out)
{
	size_t at = element(b, schema_at(b), SCHEMA_ENUMS, index);
	*out = (struct bfbs_enum){ at, string(b, at, ENUM_NAME), number(b, at, ENUM_IS_UNION, 1, 0) != 0,
				   type_of(b, target(b, field_at(b, at, ENUM_UNDERLYING))), count(b, at, ENUM_VALUES) };
}

void bfbs_read_value(struct span b, const struct bfbs_enum *e, uint32_t index, struct bfbs_value *out)
{
	size_t at = element(b, e->at, ENUM_VALUES, index), type = target(b, field_at(b, at, VALUE_TYPE));
	*out = (struct bfbs_value){ .name = string(b, at, VALUE_NAME), .value = (int64_t)number(b, at, VALUE_VALUE, 8, 0),
				    .has_type = type != 0 };
	if (type)
		out->type = type_of(b, type);
}

const char *bfbs_root(struct span b)
{
	size_t at = target(b, field_at(b, schema_at(b), SCHEMA_ROOT));
	return at ? string(b, at, OBJECT_NAME) : NULL;
}

const char *bfbs_identifier(struct span b)
{
	const char *identifier = string(b, schema_at(b), SCHEMA_IDENTIFIER);
	return identifier ? identifier : "";
}
