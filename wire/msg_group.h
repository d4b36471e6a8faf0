/* wire/msg_group.h: a group of tasks, as REPLY.specs answers the verbs of groups. Included by wire/msg.h. */
#pragma once

#include "err.h"
#include "span.h"

struct group_info {
	struct span name;
	uint64_t members, size, open; /* size 0 = not known yet */
	uint64_t done, failed, cancelled, expired, lost, dead;
	uint64_t callback, bad, ended_ms;
	bool cancelled_whole;
};

/* Appends the bytes of a GroupInfo. */
void group_info_encode(struct buf *out, const struct group_info *info);
/* Verifies and reads them; borrows. ERR_MALFORMED, with the field in text. */
enum err group_info_decode(struct span bytes, struct group_info *out, char text[128]) MUST_CHECK;
