/* clientlib/schedules.c: schedules. In the flow: call -> REQUEST with a ScheduleInfo inside -> broker -> REPLY -> rows to the caller.
 *
 * 1. Rows borrow the frame, so they are handed out while it is read. */
#include "client_impl.h"

static const char *const overlaps[OVERLAPS] = { "allow", "skip", "replace" };
static const char *const misfires[MISFIRES] = { "skip", "run-once", "run-all" };

static const char *text_of(struct span s)
{
	return s.data ? (const char *)s.data : "";
}

struct schedule_rows { hlk_schedule_fn *each; void *ctx; uint64_t next; int bad; };

static void schedule_rows(struct hlk *c, const struct msg_reply *m, void *arg)
{
	struct schedule_rows *rows = arg;
	(void)c;
	rows->next = m->next;
	for (uint32_t i = 0; i < m->spec_count; i++) {
		struct schedule_info s;
		struct task_head head = { .priority = 0 };
		char text[128];
		if (schedule_info_decode(msg_reply_spec(m, i), &s, text) != ERR_OK ||
		    (s.head.len > 0 && task_head_decode(s.head, &head, text) != ERR_OK)) {
			rows->bad = HLK_MALFORMED;
			continue;
		}
		const struct hlk_schedule_row row = {
			.name = text_of(s.name), .cron = text_of(s.cron), .zone = text_of(s.zone_name), .type = text_of(head.type),
			.queue = text_of(head.queue), .every_ms = s.every_ms, .at_ms = s.at_ms, .overlap = overlaps[s.overlap],
			.misfire = misfires[s.misfire], .paused = s.paused, .created_ms = s.created_ms,
			.next_ms = s.next_ms == UINT64_MAX ? 0 : s.next_ms, .last_ms = s.last_ms, .last_task = s.last_task,
			.fired_total = s.fired_total, .skipped_total = s.skipped_total, .last_code = s.last_code,
			.payload = s.payload.data, .payload_size = s.payload.len,
		};
		rows->each(&row, rows->ctx);
	}
}

/* The place of `text` in `names`, 0 where it is not given, `count` where it is none of them. */
static uint8_t choice(const char *text, const char *const *names, uint8_t count)
{
	uint8_t i = 0;
	while (text && *text && i < count && strcmp(text, names[i]) != 0)
		i++;
	return i;
}

int hlk_schedule_add(struct hlk *c, const char *name, const struct hlk_schedule_spec *o)
{
	struct schedule_info info = { .cron = span_str(o->cron), .every_ms = o->every_ms, .at_ms = o->at_ms,
				      .overlap = choice(o->overlap, overlaps, OVERLAPS),
				      .misfire = choice(o->misfire, misfires, MISFIRES),
				      .payload = span_of(o->payload, o->payload_size) };
	struct hlk_error error = { 0 };
	char why[128];
	struct cron cron;
	if (info.overlap == OVERLAPS || info.misfire == MISFIRES)
		return error_set(c, HLK_INVALID_INPUT, "schedule add: overlap is allow, skip or replace, misfire is skip, run-once or run-all");
	if (o->payload_size > SCHEDULE_BYTES_MAX)
		return error_set(c, HLK_TOO_BIG, "schedule add: the payload is over %d bytes", (int)SCHEDULE_BYTES_MAX);
	if (o->cron && cron_parse(info.cron, &cron, why) != ERR_OK)
		return error_set(c, HLK_INVALID_INPUT, "schedule add: %s", why);
	if (o->zone && o->zone[0] && zone_load(o->zone, &info, &error) != HLK_OK)
		return error_set(c, error.code, "schedule add: %s", error.text);
	info.zone_name = span_str(o->zone);
	struct hlk_head *head = hlk_head_new(o->task, &error);
	if (!head)
		return error_set(c, error.code, "schedule add: %s", error.text);
	struct buf spec = { NULL, 0, 0 };
	info.head = buf_span(&head->bytes);
	schedule_info_encode(&spec, &info);
	int code = admin_ask(c, &(struct msg_request){ .verb = VERB_SCHEDULE_ADD, .name = span_str(name), .spec = buf_span(&spec) }, false,
			     "schedule add", NULL, NULL);
	buf_free(&spec);
	hlk_head_free(head);
	return code;
}

static int rows_of(struct hlk *c, enum verb verb, const char *name, const char *what, hlk_schedule_fn *each, void *ctx)
{
	struct schedule_rows rows = { each, ctx, 0, HLK_OK };
	do {
		struct msg_request r = { .verb = (uint16_t)verb, .name = span_str(name), .cursor = rows.next };
		rows.next = 0;
		int code = admin_ask(c, &r, true, what, schedule_rows, &rows);
		if (code != HLK_OK)
			return code;
	} while (rows.next != 0);
	return rows.bad ? error_set(c, rows.bad, "%s: a row of the reply is malformed", what) : HLK_OK;
}

int hlk_schedule_list(struct hlk *c, hlk_schedule_fn *each, void *ctx)
{
	return rows_of(c, VERB_SCHEDULE_LIST, NULL, "schedule ls", each, ctx);
}

int hlk_schedule_show(struct hlk *c, const char *name, hlk_schedule_fn *each, void *ctx)
{
	return rows_of(c, VERB_SCHEDULE_SHOW, name, "schedule show", each, ctx);
}

static int change(struct hlk *c, enum verb verb, const char *name, const char *what)
{
	return admin_ask(c, &(struct msg_request){ .verb = (uint16_t)verb, .name = span_str(name) }, false, what, NULL, NULL);
}

int hlk_schedule_remove(struct hlk *c, const char *name)
{
	return change(c, VERB_SCHEDULE_REMOVE, name, "schedule rm");
}

int hlk_schedule_pause(struct hlk *c, const char *name, bool paused)
{
	return change(c, paused ? VERB_SCHEDULE_PAUSE : VERB_SCHEDULE_RESUME, name, paused ? "schedule pause" : "schedule resume");
}

int hlk_schedule_run(struct hlk *c, const char *name)
{
	return change(c, VERB_SCHEDULE_RUN, name, "schedule run");
}
