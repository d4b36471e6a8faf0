/* fuzz/fuzz_cron.c: the fields of cron and the calendar, with any text and any zone.
 *
 * Properties: a refusal has a text; what parses has a next moment that lies after the one asked for, or none; and moments only go
 * forward, in bounded time. The input: zone changes (a count, then 5 bytes each), then the text. */
#include "../wire/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct zone_change zone[8];
	struct reader r = { .rest = { data, size } };
	struct cron cron;
	char why[128] = "";
	uint32_t count = read_u8(&r) % 9;
	int64_t at = read_u32(&r), from = at - 3 * 86400;
	for (uint32_t i = 0; i < count; i++) {
		from += 1 + read_u32(&r) % (40 * 86400);
		zone[i] = (struct zone_change){ from, (int64_t)read_u16(&r) % 86401 * (read_u8(&r) & 1 ? -1 : 1) };
	}
	if (cron_parse(r.rest, &cron, why) != ERR_OK) {
		ENSURE(why[0] != '\0');
		return 0;
	}
	for (int i = 0; i < 8; i++) {
		int64_t next = cron_next(&cron, zone, count, at);
		ENSURE(next > at);
		if (next == CRON_NEVER_S)
			return 0;
		at = next;
	}
	return 0;
}
