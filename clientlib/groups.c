/* clientlib/groups.c: groups of tasks. In the flow: call -> REQUEST -> broker -> REPLY with a GroupInfo inside -> rows to the caller.
 *
 * 1. Rows borrow the frame, so they are handed out while it is read. */
#include "client_impl.h"

struct group_rows { hlk_group_fn *each; void *ctx; uint64_t next; int bad; };

static void group_rows(struct hlk *c, const struct msg_reply *m, void *arg)
{
	struct group_rows *rows = arg;
	(void)c;
	rows->next = m->next;
	for (uint32_t i = 0; i < m->spec_count; i++) {
		struct group_info g;
		char text[128];
		if (group_info_decode(msg_reply_spec(m, i), &g, text) != ERR_OK) {
			rows->bad = HLK_MALFORMED;
			continue;
		}
		const struct hlk_group_row row = {
			.name = g.name.data ? (const char *)g.name.data : "", .members = g.members, .size = g.size, .open = g.open,
			.done = g.done, .failed = g.failed, .cancelled = g.cancelled, .expired = g.expired, .lost = g.lost,
			.dead = g.dead, .callback = g.callback, .bad = g.bad, .ended_ms = g.ended_ms,
			.cancelled_whole = g.cancelled_whole,
		};
		rows->each(&row, rows->ctx);
	}
}

static int rows_of(struct hlk *c, enum verb verb, const char *name, const char *what, hlk_group_fn *each, void *ctx)
{
	struct group_rows rows = { each, ctx, 0, HLK_OK };
	do {
		struct msg_request r = { .verb = (uint16_t)verb, .name = span_str(name), .cursor = rows.next, .limit = 1000 };
		rows.next = 0;
		int code = admin_ask(c, &r, true, what, group_rows, &rows);
		if (code != HLK_OK)
			return code;
	} while (rows.next != 0);
	return rows.bad ? error_set(c, rows.bad, "%s: a row of the reply is malformed", what) : HLK_OK;
}

int hlk_group_list(struct hlk *c, hlk_group_fn *each, void *ctx)
{
	return rows_of(c, VERB_GROUP_LIST, NULL, "group ls", each, ctx);
}

int hlk_group_show(struct hlk *c, const char *name, hlk_group_fn *each, void *ctx)
{
	return rows_of(c, VERB_GROUP_SHOW, name, "group show", each, ctx);
}

static void count_row(struct hlk *c, const struct msg_reply *m, void *arg)
{
	(void)c;
	if (arg)
		*(uint64_t *)arg = m->count;
}

int hlk_group_cancel(struct hlk *c, const char *name, uint64_t *count_out)
{
	return admin_ask(c, &(struct msg_request){ .verb = VERB_GROUP_CANCEL, .name = span_str(name) }, false, "group cancel", count_row,
			 count_out);
}

size_t hlk_task_after(const struct hlk_task *task, uint64_t *out, size_t room)
{
	struct span after = task->delivery->after;
	size_t count = after.len / sizeof *out, copied = count < room ? count : room;
	if (copied > 0)
		memcpy(out, after.data, copied * sizeof *out);
	return count;
}
