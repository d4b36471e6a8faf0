/* wire/msg_schedule.h: a schedule, as REQUEST.spec says it and REPLY.specs answers it. Included by wire/msg.h. */
#pragma once

#include "cron.h"
#include "limits.h"

enum schedule_overlap { OVERLAP_ALLOW, OVERLAP_SKIP, OVERLAP_REPLACE, OVERLAPS };
enum schedule_misfire { MISFIRE_SKIP, MISFIRE_RUN_ONCE, MISFIRE_RUN_ALL, MISFIRES };
enum { ZONE_CHANGES_MAX = 128, SCHEDULE_BYTES_MAX = 64 << 10 };

struct schedule_info {
	struct span name, cron, zone_name;     /* cron: five fields; or ... */
	uint64_t every_ms, at_ms;              /* ... one of these: exactly one of the three */
	struct zone_change zone[ZONE_CHANGES_MAX];
	uint32_t zone_count;                   /* 0 = UTC */
	uint8_t overlap, misfire;
	struct span head, payload;             /* of its tasks: TaskHead bytes */
	/* what is answered */
	bool paused;
	uint64_t created_ms, next_ms, last_ms, last_task, fired_total, skipped_total;
	uint16_t last_code;                    /* why the last one was refused */
};

/* Appends the bytes of a ScheduleInfo. */
void schedule_info_encode(struct buf *out, const struct schedule_info *info);
/* Verifies and reads them; borrows. Judges lengths, ranges, the cron text, and the head where there is one. */
enum err schedule_info_decode(struct span bytes, struct schedule_info *out, char text[128]) MUST_CHECK;
