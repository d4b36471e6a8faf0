/* wire/cron.c: the fields of cron, parsed to bits, and the calendar. In the flow: schedule -> CRON next -> the shard's timer.
 *
 * 1. The search goes through local days, hours and minutes, then asks which moment that is; it ends after eight years of days. */
#include "cron.h"

#include <stdarg.h>

enum { DAY_S = 86400, SEARCH_DAYS = 366 * 8 + 2 };

struct field { const char *name; uint32_t low, high; const char *names; };
static const struct field fields[5] = {
	{ "minute", 0, 59, NULL }, { "hour", 0, 23, NULL }, { "day of the month", 1, 31, NULL },
	{ "month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec" }, { "day of the week", 0, 7, "sunmontuewedthufrisat" },
};

PRINTF_LIKE(3, 4)
static bool refuse(char why[128], const struct field *f, const char *format, ...)
{
	char what[80];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(what, sizeof what, format, args);
	va_end(args);
	(void)snprintf(why, 128, "cron: %s: %s", f->name, what);
	return false;
}

static bool name_value(const struct field *f, struct span *rest, uint32_t *out)
{
	for (uint32_t i = 0; f->names && f->names[3 * i]; i++) {
		bool same = rest->len >= 3;
		for (uint32_t k = 0; same && k < 3; k++)
			same = (rest->data[k] | 0x20) == f->names[3 * i + k];
		if (same) {
			*out = f->low + i;
			*rest = span_sub(*rest, 3, rest->len - 3);
			return true;
		}
	}
	return false;
}

static bool value(const struct field *f, struct span *rest, uint32_t low, uint32_t high, uint32_t *out, char why[128])
{
	uint32_t n = 0, digits = 0;
	if (low == f->low && name_value(f, rest, out))
		return true;
	while (rest->len > 0 && rest->data[0] >= '0' && rest->data[0] <= '9' && digits < 4) {
		n = n * 10 + (uint32_t)(rest->data[0] - '0');
		*rest = span_sub(*rest, 1, rest->len - 1);
		digits++;
	}
	if (digits == 0)
		return refuse(why, f, "a number is missing");
	if (n < low || n > high)
		return refuse(why, f, "%u is not from %u to %u", n, low, high);
	*out = n;
	return true;
}

static bool take(struct span *rest, char c)
{
	if (rest->len == 0 || rest->data[0] != (uint8_t)c)
		return false;
	*rest = span_sub(*rest, 1, rest->len - 1);
	return true;
}

/* One of a list: * or N or A-B, and a step. */
static bool part(const struct field *f, struct span *rest, uint64_t *bits, bool *any, char why[128])
{
	uint32_t from = f->low, to = f->high, step = 1;
	bool star = take(rest, '*');
	if (!star) {
		if (!value(f, rest, f->low, f->high, &from, why))
			return false;
		to = from;
		if (take(rest, '-') && !value(f, rest, f->low, f->high, &to, why))
			return false;
		if (to < from)
			return refuse(why, f, "%u-%u goes backwards", from, to);
	}
	if (take(rest, '/')) {
		if (!value(f, rest, 1, f->high, &step, why))
			return false;
		to = to == from ? f->high : to;
	}
	*any = *any || (star && step == 1);
	for (uint32_t i = from; i <= to; i += step)
		*bits |= (uint64_t)1 << i;
	return true;
}

static bool field_parse(const struct field *f, struct span *rest, uint64_t *bits, bool *any, char why[128])
{
	*bits = 0;
	*any = false;
	do {
		if (!part(f, rest, bits, any, why))
			return false;
	} while (take(rest, ','));
	return rest->len == 0 || rest->data[0] == ' ' || refuse(why, f, "'%c' is not expected", rest->data[0] >= ' ' ? rest->data[0] : '?');
}

enum err cron_parse(struct span text, struct cron *out, char why[128])
{
	uint64_t bits[5];
	bool any[5];
	for (uint32_t i = 0; i < 5; i++) {
		while (take(&text, ' '))
			continue;
		if (!field_parse(&fields[i], &text, &bits[i], &any[i], why))
			return ERR_INVALID_INPUT;
	}
	while (take(&text, ' '))
		continue;
	if (text.len > 0) {
		(void)snprintf(why, 128, "cron: there is more than five fields");
		return ERR_INVALID_INPUT;
	}
	*out = (struct cron){ .minutes = bits[0], .hours = (uint32_t)bits[1], .days = (uint32_t)bits[2], .months = (uint32_t)bits[3],
			      .weekdays = (uint32_t)((bits[4] | bits[4] >> 7) & 0x7f), .any_day = any[2], .any_weekday = any[4] };
	return ERR_OK;
}

/* ---- the calendar ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* Day 0 is 1970-01-01. Years are counted from March, so that the odd day is the last. */
static void date_of(int64_t day, uint32_t *month, uint32_t *day_of_month)
{
	int64_t since = day + 719468, era = floor_div(since, 146097), in_era = since - era * 146097;
	int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	int64_t in_year = in_era - (365 * year + year / 4 - year / 100), from_march = (5 * in_year + 2) / 153;
	*day_of_month = (uint32_t)(in_year - (153 * from_march + 2) / 5 + 1);
	*month = (uint32_t)(from_march < 10 ? from_march + 3 : from_march - 9);
}

static bool day_fits(const struct cron *c, int64_t day)
{
	uint32_t month, of_month, of_week = (uint32_t)(day + 4 - 7 * floor_div(day + 4, 7));
	date_of(day, &month, &of_month);
	bool by_month = c->days >> of_month & 1, by_week = c->weekdays >> of_week & 1;
	if (!(c->months >> month & 1))
		return false;
	return c->any_day || c->any_weekday ? by_month && by_week : by_month || by_week;
}

/* The first local minute at `from` or later that fits, in minutes since 1970. */
static int64_t local_next(const struct cron *c, int64_t from)
{
	int64_t first = floor_div(from, 1440);
	for (int64_t day = first; day < first + SEARCH_DAYS; day++) {
		if (!day_fits(c, day))
			continue;
		for (int64_t minute = day == first ? from - day * 1440 : 0; minute < 1440; minute++)
			if ((c->hours >> (minute / 60) & 1) && (c->minutes >> (minute % 60) & 1))
				return day * 1440 + minute;
	}
	return CRON_NEVER_S;
}

static int64_t offset_at(const struct zone_change *zone, uint32_t count, int64_t at_s)
{
	uint32_t i = count;
	while (i > 1 && zone[i - 1].from_s > at_s)
		i--;
	return count == 0 ? 0 : zone[i - 1].offset_s;
}

/* The first moment that local clocks show `local_s`, or the change that leaves it out. */
static int64_t moment_of(const struct zone_change *zone, uint32_t count, int64_t local_s)
{
	if (count == 0)
		return local_s;
	for (uint32_t i = 0; i < count; i++) {
		int64_t at = local_s - zone[i].offset_s;
		if (i > 0 && at < zone[i].from_s)
			return zone[i].from_s; /* the one before has ended, and this one begins behind it */
		if (i + 1 == count || at < zone[i + 1].from_s)
			return at;
	}
	return local_s;
}

int64_t cron_next(const struct cron *cron, const struct zone_change *zone, uint32_t count, int64_t after_s)
{
	int64_t local = floor_div(after_s + offset_at(zone, count, after_s), 60) + 1;
	for (;;) {
		local = local_next(cron, local);
		if (local == CRON_NEVER_S)
			return CRON_NEVER_S;
		int64_t at = moment_of(zone, count, local * 60);
		if (at > after_s)
			return at;
		local++;
	}
}
