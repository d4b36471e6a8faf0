/* clientlib/why.c: why a task is not being worked on. In the flow: application -> REQUEST -> broker/why.c -> rows. */
#include "client_impl.h"

struct why_rows {
	hlk_why_fn *each;
	void *ctx;
};

static const char *text_or(struct span s)
{
	return s.data ? (const char *)s.data : ""; /* strings of a verified FlatBuffer end in a zero byte */
}

static void why_rows(struct hlk *c, const struct msg_reply *m, void *arg)
{
	const struct why_rows *rows = arg;
	(void)c;
	for (uint32_t i = 0; i < m->spec_count; i++) {
		struct why_reason r;
		char text[128];
		if (why_reason_decode(msg_reply_spec(m, i), &r, text) != ERR_OK)
			continue; /* a newer broker's; the others are still true */
		const struct hlk_why_row row = {
			.reason = why_kind_name(r.kind), .worker = text_or(r.worker), .entry = r.entry,
			.predicate = text_or(r.predicate), .value = text_or(r.value), .text = text_or(r.text),
			.task = r.task, .at_ms = r.at_ms,
		};
		rows->each(&row, rows->ctx);
	}
}

int hlk_task_why(struct hlk *c, uint64_t task, hlk_why_fn *each, void *ctx)
{
	struct why_rows rows = { each, ctx };
	struct msg_request request = { .verb = VERB_TASK_WHY, .tasks = { &task, 1 }, .limit = 100 };
	return admin_ask(c, &request, true, "task why", why_rows, &rows);
}
