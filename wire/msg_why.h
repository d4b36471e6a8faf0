/* wire/msg_why.h: one reason why a task is where it is, as REPLY.specs answers VERB_TASK_WHY. Included by wire/msg.h. */
#pragma once

#include "err.h"
#include "span.h"

enum why_kind {
	WHY_NONE,
	WHY_SETTLED,     /* over: text is its state */
	WHY_LEASED,      /* worker has it */
	WHY_PAUSED,      /* its queue is */
	WHY_DELAYED,     /* not before at_ms */
	WHY_ORDER,       /* task, of the same ordering key, goes first */
	WHY_UNREADABLE,  /* task in front cannot be read from the disk; its queue is held */
	WHY_NO_ENTRY,    /* nobody serves its queue */
	WHY_REQUIREMENT, /* worker and entry: predicate does not hold, value is what the entry has declared */
	WHY_NO_CREDIT,   /* worker and entry fit, and have as much work as they asked for */
	WHY_AWAY,        /* worker and entry fit, the connection is cut or its output is full */
	WHY_IN_LINE,     /* worker and entry fit and are free: it is among the next ones */
	WHY_EXPIRES,     /* expires at at_ms: no reason to wait, but to hurry */
	WHY_AFTER,       /* comes after task, which is not final; text: how many such there are */
	WHY_GROUP,       /* comes after the group in text; value: how far that is */
	WHY_SHARE,       /* it is the turn of others who submitted to its queue; text is its own principal, value the weight of that */
	WHY_KINDS
};

struct why_reason {
	uint8_t kind;
	uint32_t entry;
	struct span worker, predicate, value, text;
	uint64_t task, at_ms;
};

/* "paused", "no_credit" ...; unknown values give "unknown". Static strings. */
const char *why_kind_name(uint32_t kind);
/* Appends the bytes of a WhyReason. */
void why_reason_encode(struct buf *out, const struct why_reason *reason);
/* Verifies and reads them; borrows. ERR_MALFORMED, with the field in text. */
enum err why_reason_decode(struct span bytes, struct why_reason *out, char text[128]) MUST_CHECK;
