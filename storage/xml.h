/* storage/xml.h: the little of XML that an S3 server answers with: elements, text, the five entities. No attributes are given out, and no
 * DOCTYPE, CDATA nor entity of the sender's is taken. */
#pragma once

#include "../wire/span.h"

enum { XML_DEPTH = 16 };
enum xml_event {
	XML_OPEN,  /* `name` begins */
	XML_CLOSE, /* `name` ends; `text` is what stood between the last tag and this one, entities and all */
	XML_END,   /* all of it was read, and every element was closed */
	XML_BAD,   /* that is no XML of this kind; so it stays */
};
struct xml {
	struct span rest, name, text;
	struct span open[XML_DEPTH];
	uint32_t depth, roots;
	bool closes; /* <a/>: the second half of it is due */
};

/* Begins with `bytes`, which stay where they are until the end. */
struct xml xml_begin(struct span bytes);
enum xml_event xml_next(struct xml *x);
/* Copies `text` with its entities replaced, and a zero. False where it does not fit or is none. */
bool xml_text(struct span text, char *out, size_t room);
/* Is this the name (prefixes of name spaces aside)? */
bool xml_is(struct span name, const char *want);
