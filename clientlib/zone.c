/* clientlib/zone.c: a time zone of the system's database as the list of changes that a schedule carries. In the flow:
 * hlk_schedule_add -> ZONE -> ScheduleInfo. The broker reads no files of the system, so what a zone meant when the schedule was made
 * is what it goes on meaning.
 *
 * 1. The file is untrusted bytes: every length is asked for before it is used. */
#include "client_impl.h"

#include <time.h>

enum { FILE_MAX = 256 << 10 };

struct tz_header { uint32_t utc, std, leaps, times, types, chars; };

static uint64_t big_endian(struct reader *r, size_t bytes)
{
	uint64_t v = 0;
	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | read_u8(r);
	return v;
}

static bool read_header(struct reader *r, struct tz_header *out)
{
	struct span magic = read_bytes(r, 5);
	(void)read_bytes(r, 15);
	uint32_t *fields[] = { &out->utc, &out->std, &out->leaps, &out->times, &out->types, &out->chars };
	for (size_t i = 0; i < COUNT_OF(fields); i++)
		*fields[i] = (uint32_t)big_endian(r, 4);
	return !r->failed && memcmp(magic.data, "TZif", 4) == 0 && magic.data[4] >= '2' && out->times < 10000 && out->types < 1000 &&
	       out->chars < 10000 && out->leaps < 10000 && out->std < 1000 && out->utc < 1000;
}

static bool read_changes(struct reader *r, const struct tz_header *h, int64_t now_s, struct schedule_info *out)
{
	struct reader times = { .rest = read_bytes(r, 8 * (size_t)h->times) };
	struct span kinds = read_bytes(r, h->times), types = read_bytes(r, 6 * (size_t)h->types);
	if (r->failed || h->types == 0)
		return false;
	int64_t before = 0;
	bool have_before = false;
	out->zone_count = 0;
	for (uint32_t i = 0; i <= h->times; i++) { /* the first round: what was before the first change */
		int64_t from = i == 0 ? INT64_MIN : (int64_t)big_endian(&times, 8);
		uint32_t kind = i == 0 ? 0 : kinds.data[i - 1];
		if (kind >= h->types)
			return false;
		struct reader type = { .rest = span_sub(types, 6 * (size_t)kind, 4) };
		int64_t offset = (int32_t)big_endian(&type, 4);
		if (from <= now_s) {
			before = offset;
			have_before = true;
			continue;
		}
		if (out->zone_count == 0 && have_before)
			out->zone[out->zone_count++] = (struct zone_change){ now_s - 1, before };
		if (out->zone_count < ZONE_CHANGES_MAX)
			out->zone[out->zone_count++] = (struct zone_change){ from, offset };
	}
	if (out->zone_count == 0)
		out->zone[out->zone_count++] = (struct zone_change){ 0, before };
	return true;
}

int zone_load(const char *name, struct schedule_info *out, struct hlk_error *error)
{
	char path[512];
	struct buf bytes = { NULL, 0, 0 };
	struct tz_header h;
	if (name[0] == '/' || strstr(name, "..") || strlen(name) > LIMIT_NAME_BYTES) {
		error_fill(error, HLK_INVALID_INPUT, "time zone %.60s: expected a name like Europe/Berlin", name);
		return HLK_INVALID_INPUT;
	}
	(void)snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
	FILE *file = fopen(path, "re");
	if (file) {
		uint8_t *at = buf_extend(&bytes, FILE_MAX);
		bytes.len = fread(at, 1, FILE_MAX, file);
		(void)fclose(file);
	}
	struct reader r = { .rest = buf_span(&bytes) };
	bool good = read_header(&r, &h);
	if (good) { /* the old half, with its short times, is passed over */
		(void)read_bytes(&r, 5 * (size_t)h.times + 6 * (size_t)h.types + h.chars + 8 * (size_t)h.leaps + h.std + h.utc);
		good = read_header(&r, &h) && read_changes(&r, &h, (int64_t)time(NULL), out);
	}
	buf_free(&bytes);
	if (good)
		return HLK_OK;
	error_fill(error, HLK_NOT_FOUND, "time zone %.60s: not in /usr/share/zoneinfo, or not readable (is tzdata installed?)", name);
	return HLK_NOT_FOUND;
}
