/* fuzz/fuzz_xml.c: answers of S3 servers, with any bytes.
 *
 * Properties: the scanner ends; names and texts lie inside the input; opens and closes pair, in order; what has ended well stays ended,
 * what was bad stays bad; a text that was taken fits its room. */
#include "../storage/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct span part, const uint8_t *data, size_t size)
{
	ENSURE(part.len == 0 || (part.data >= data && part.data + part.len <= data + size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct xml x = xml_begin(span_of(data, size));
	struct span names[XML_DEPTH];
	uint32_t depth = 0;
	size_t events = 0;
	for (;;) {
		enum xml_event e = xml_next(&x);
		ENSURE(++events <= 2 * size + 2);
		if (e == XML_OPEN) {
			ENSURE(depth < XML_DEPTH && x.name.len > 0);
			inside(x.name, data, size);
			names[depth++] = x.name;
		} else if (e == XML_CLOSE) {
			char out[64];
			ENSURE(depth > 0 && span_eq(names[--depth], x.name));
			inside(x.text, data, size);
			if (xml_text(x.text, out, sizeof out))
				ENSURE(strlen(out) < sizeof out && strlen(out) <= x.text.len);
			(void)xml_is(x.name, "Key");
		} else {
			ENSURE(e == XML_BAD || depth == 0);
			ENSURE(xml_next(&x) == e);
			return 0;
		}
	}
}
