/* wire/cron.h: five fields of cron, and the next moment that fits them in a time zone. Pure: no clock, no files.
 *
 *   minute (0-59)  hour (0-23)  day of the month (1-31)  month (1-12 or jan-dec)  day of the week (0-7 or sun-sat; 0 and 7: Sunday)
 *
 * Each a list of *, N, A-B, and those with a step /N. Where both days are restricted, either one is enough. A zone is a list of
 * changes of the distance to UTC, so that nothing here reads the system's tables.
 *
 * Local times that do not exist (the hour that is left out in spring) mean the moment of the change; of those that exist twice the
 * first is meant. */
#pragma once

#include "err.h"
#include "span.h"

enum { CRON_NEVER_S = INT64_MAX };

struct cron {
	uint64_t minutes;
	uint32_t hours, days, months, weekdays; /* bits */
	bool any_day, any_weekday;
};
/* From `from_s` (since 1970, UTC) on, local time is UTC + offset_s. Ascending; the first counts for all time before it, too. */
struct zone_change { int64_t from_s; int64_t offset_s; };

/* ERR_OK, or ERR_INVALID_INPUT and text names the field: "cron: hour: 25 is not from 0 to 23". */
enum err cron_parse(struct span text, struct cron *out, char why[128]) MUST_CHECK;
/* The first moment after `after_s` that fits; CRON_NEVER_S where there is none within eight years (31 2 or the like). count 0: UTC. */
int64_t cron_next(const struct cron *cron, const struct zone_change *zone, uint32_t count, int64_t after_s);
