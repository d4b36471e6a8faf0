/* wire/msg_redrive.h: a redrive of dead letters, as REQUEST.spec says it and REPLY.specs answers it. Included by wire/msg.h. */
#pragma once

#include "span.h"

enum redrive_state { REDRIVE_RUNNING = 1, REDRIVE_DONE, REDRIVE_STOPPED, REDRIVE_STATES };
enum { REDRIVE_RATE_MAX = 100000 };

struct redrive_info {
	uint64_t number;              /* 0 where one is asked for */
	struct span queue, type;      /* type empty: all */
	uint16_t code;                /* only letters of this class; 0: all */
	uint32_t rate;                /* in a second */
	uint64_t limit;               /* 0: all that were there when it began */
	/* what is answered */
	uint64_t done, started_ms, ended_ms;
	uint8_t state;
};

/* Appends the bytes of a RedriveInfo. */
void redrive_info_encode(struct buf *out, const struct redrive_info *info);
/* Verifies and reads them; borrows. Judges the lengths. */
enum err redrive_info_decode(struct span bytes, struct redrive_info *out, char text[128]) MUST_CHECK;
