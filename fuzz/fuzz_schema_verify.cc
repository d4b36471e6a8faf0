// fuzz/fuzz_schema_verify.cc: schema_verify against the verifier that flatc generates for the same schema.
//
// The first byte of the input chooses the schema: the kitchen's Root, its Strict, or the schema of schemas; the rest, from the
// eighth byte on, is the payload. Properties: both accept or both refuse; a refusal names the root; nothing is read outside (the
// payload lies in memory of its own size). Only what goes over our own limits (ERR_TOO_BIG) is not compared.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define _Static_assert static_assert
extern "C" {
#include "../wire/schema_impl.h"
}
#include "flatbuffers/reflection_generated.h"
#include "kitchen_generated.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct schema *compile(const char *root)
{
	static uint8_t bytes[SCHEMA_BYTES_MAX];
	struct schema *schema;
	char text[256];
	FILE *file = fopen(KITCHEN_BFBS, "rb");
	ENSURE(file != nullptr);
	size_t len = fread(bytes, 1, sizeof bytes, file);
	ENSURE(fclose(file) == 0);
	enum err e = schema_compile(span_of(bytes, len), span_str(root), &schema, text);
	if (e != ERR_OK)
		(void)fprintf(stderr, "%s\n", text);
	ENSURE(e == ERR_OK);
	return schema;
}

static bool official(int which, const uint8_t *data, size_t size)
{
	flatbuffers::Verifier::Options options;
	options.max_depth = SCHEMA_DEPTH_MAX;
	flatbuffers::Verifier v(data, size, options);
	if (which == 0)
		return v.VerifyBuffer<kitchen::test::Root>(kitchen::test::RootIdentifier());
	if (which == 1)
		return v.VerifyBuffer<kitchen::test::Strict>(nullptr);
	return reflection::VerifySchemaBuffer(v);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct schema *const schemas[2] = { compile("kitchen.test.Root"), compile("Strict") };
	if (size < 8)
		return 0;
	int which = data[0] % 3;
	size_t len = size - 8;
	uint8_t *payload = static_cast<uint8_t *>(aligned_alloc(16, (len + 16) / 16 * 16));
	ENSURE(payload != nullptr);
	/* At the end of its memory, so that a sanitizer sees a step too far; aligned as the official one needs it. */
	uint8_t *copy = static_cast<uint8_t *>(malloc(len ? len : 1));
	ENSURE(copy != nullptr);
	memcpy(payload, data + 8, len);
	memcpy(copy, data + 8, len);
	char text[256] = "";
	struct span bytes = span_of(copy, len);
	enum err e = which < 2 ? schema_verify(schemas[which], bytes, text) : bfbs_verify(bytes, text);
	if (e != ERR_TOO_BIG) {
		bool accepted = official(which, payload, len);
		ENSURE((e == ERR_OK) == accepted);
		ENSURE(e == ERR_OK || e == ERR_SCHEMA_MISMATCH);
		ENSURE(e == ERR_OK || strncmp(text, which == 0 ? "Root" : which == 1 ? "Strict" : "bfbs", 4) == 0);
	}
	free(payload);
	free(copy);
	return 0;
}
