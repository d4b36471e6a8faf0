/* wire/msg_type.h: a registered type, as REQUEST.spec says it and REPLY.specs answers it. Included by wire/msg.h. */
#pragma once

#include "err.h"
#include "limits.h"
#include "span.h"

enum type_policy { TYPE_OPEN, TYPE_FINGERPRINT, TYPE_VERIFY, TYPE_POLICIES, TYPE_POLICY_UNSET = 255 };
enum type_answers { TYPE_ANSWERS_UNSET, TYPE_ANSWERS_ONE, TYPE_ANSWERS_STREAM, TYPE_ANSWERS }; /* unset: as it is, at first either */
enum { TYPE_ALIASES = 16, TYPE_FINGERPRINTS = 64 };

struct type_info {
	struct span name, root, parent;
	uint8_t policy;               /* TYPE_POLICY_UNSET in a request: as it is */
	struct span aliases[TYPE_ALIASES];
	uint32_t alias_count;
	struct span schema;           /* a .bfbs; left out of lists */
	uint64_t fingerprints[TYPE_FINGERPRINTS]; /* the first is that of the newest schema under this name */
	uint32_t fingerprint_count;
	uint64_t registered_ms, changed_ms;
	struct span payload;          /* VERB_TYPE_CHECK */
	uint8_t answers;              /* enum type_answers */
};

/* "open", "fingerprint", "verify"; anything else gives "unknown". Static strings. */
const char *type_policy_name(uint32_t policy);
/* "one", "stream"; "" for anything else. Static strings. */
const char *type_answers_name(uint32_t answers);

/* Appends the bytes of a TypeInfo. */
void type_info_encode(struct buf *out, const struct type_info *info);
/* Verifies and reads them; borrows. ERR_MALFORMED, ERR_TOO_BIG, ERR_INVALID_INPUT with the field in text. */
enum err type_info_decode(struct span bytes, struct type_info *out, char text[128]) MUST_CHECK;
