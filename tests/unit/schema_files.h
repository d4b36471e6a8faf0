/* tests/unit/schema_files.h: the compiled schemas of tests/schemas. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "../../wire/schema.h"

/* The bytes of tests/schemas/FILE as flatc made it; buf_free them. */
static inline struct buf schema_file(const char *file)
{
	struct buf bytes = { NULL, 0, 0 };
	char path[1024];
	ENSURE((size_t)snprintf(path, sizeof path, "%s/%s", SCHEMAS, file) < sizeof path);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	uint8_t *at = buf_extend(&bytes, SCHEMA_BYTES_MAX);
	bytes.len = fread(at, 1, SCHEMA_BYTES_MAX, f);
	assert_int_equal(fclose(f), 0);
	assert_true(bytes.len > 0);
	return bytes;
}

static inline struct schema *schema_named(const char *file, const char *root)
{
	struct schema *schema = NULL;
	struct buf bytes = schema_file(file);
	char text[256] = "";
	if (schema_compile(buf_span(&bytes), span_str(root), &schema, text) != ERR_OK)
		fail_msg("%s", text);
	buf_free(&bytes);
	return schema;
}
