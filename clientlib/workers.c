/* clientlib/workers.c: workers as their operator sees them, and blocks. In the flow: call -> REQUEST (-> BlockInfo inside) -> broker ->
 * REPLY -> rows to the caller.
 *
 * 1. Rows borrow the frame, so they are handed out while it is read. */
#include "client_impl.h"

static const char *text_of(struct span s)
{
	return s.data ? (const char *)s.data : ""; /* strings of a verified FlatBuffer end in a zero byte */
}

/* ---- one worker ---- */

struct show_rows { hlk_worker_show_fn *each; void *ctx; uint64_t next; int bad; };

static void give_worker(const struct worker_show *w, const struct show_rows *rows)
{
	struct hlk_worker_entry_row *entries = calloc((size_t)w->entry_count + 1, sizeof *entries);
	struct hlk_worker_lease_row *leases = calloc((size_t)w->lease_count + 1, sizeof *leases);
	struct span *texts = calloc(LIMIT_SERVE_TEXTS, sizeof *texts);
	ENSURE(entries && leases && texts);
	for (uint32_t i = 0; i < w->entry_count; i++) {
		struct worker_entry_info e;
		worker_show_entry(w, i, &e, texts);
		entries[i] = (struct hlk_worker_entry_row){ e.entry.id, text_of(e.entry.service), text_of(e.entry.params),
							    e.entry.by_queue, e.entry.credit, e.entry.capacity, e.entry.cost,
							    e.calls, e.tasks };
	}
	for (uint32_t i = 0; i < w->lease_count; i++) {
		struct worker_lease_info l;
		worker_show_lease(w, i, &l);
		leases[i] = (struct hlk_worker_lease_row){ l.task, l.attempt, text_of(l.queue), l.started };
	}
	const struct hlk_worker_show_row row = {
		.name = text_of(w->name), .address = text_of(w->address), .identity = text_of(w->identity),
		.release = text_of(w->release), .vnet = text_of(w->vnet), .session = w->session, .connected_ms = w->connected_ms,
		.away = w->away, .draining = w->draining, .blocked = w->blocked, .entries = entries, .entry_count = w->entry_count,
		.leases = leases, .lease_count = w->lease_count, .entries_total = w->entries_total, .leased = w->leased,
		.calls = w->calls, .calls_made = w->calls_made, .delivered_total = w->delivered_total,
		.completed_total = w->completed_total, .failed_total = w->failed_total, .returned_total = w->returned_total,
		.calls_total = w->calls_total,
	};
	rows->each(&row, rows->ctx);
	free(entries);
	free(leases);
	free(texts);
}

static void show_rows(struct hlk *c, const struct msg_reply *m, void *arg)
{
	struct show_rows *rows = arg;
	(void)c;
	rows->next = m->next;
	for (uint32_t i = 0; i < m->spec_count; i++) {
		struct worker_show w;
		char text[128];
		if (worker_show_decode(msg_reply_spec(m, i), &w, text) == ERR_OK)
			give_worker(&w, rows);
		else
			rows->bad = HLK_MALFORMED;
	}
}

int hlk_worker_show(struct hlk *c, const char *worker, hlk_worker_show_fn *each, void *ctx)
{
	struct show_rows rows = { each, ctx, 0, HLK_OK };
	do {
		struct msg_request r = { .verb = VERB_WORKER_SHOW, .name = span_str(worker), .cursor = rows.next };
		rows.next = 0;
		int code = admin_ask(c, &r, true, "worker show", show_rows, &rows);
		if (code != HLK_OK)
			return code;
	} while (rows.next != 0);
	return rows.bad ? error_set(c, rows.bad, "worker show: a row of the reply is malformed") : HLK_OK;
}

static void take_count(struct hlk *c, const struct msg_reply *m, void *arg)
{
	(void)c;
	if (arg)
		*(uint64_t *)arg = m->count;
}

int hlk_worker_stop(struct hlk *c, const char *worker, uint64_t *count)
{
	return admin_ask(c, &(struct msg_request){ .verb = VERB_WORKER_STOP, .name = span_str(worker) }, false, "worker stop", take_count,
			 count);
}

/* ---- blocks ---- */

int hlk_worker_block(struct hlk *c, const struct hlk_block_options *o)
{
	const struct block_info info = { .pattern = span_str(o->pattern), .reason = span_str(o->reason), .for_ms = o->for_ms,
					 .now = o->now };
	struct buf spec = { NULL, 0, 0 };
	if (info.pattern.len == 0 || info.pattern.len > LIMIT_NAME_BYTES || info.reason.len > LIMIT_REASON_BYTES)
		return error_set(c, HLK_INVALID_INPUT, "worker block: a pattern has 1 to %d bytes, a reason at most %d", LIMIT_NAME_BYTES,
				 LIMIT_REASON_BYTES);
	block_info_encode(&spec, &info);
	int code = admin_ask(c, &(struct msg_request){ .verb = VERB_WORKER_BLOCK, .spec = buf_span(&spec) }, false, "worker block", NULL,
			     NULL);
	buf_free(&spec);
	return code;
}

int hlk_worker_unblock(struct hlk *c, const char *pattern)
{
	return admin_ask(c, &(struct msg_request){ .verb = VERB_WORKER_UNBLOCK, .name = span_str(pattern) }, false, "worker unblock",
			 NULL, NULL);
}

struct block_rows { hlk_block_fn *each; void *ctx; uint64_t next; int bad; };

static void block_rows(struct hlk *c, const struct msg_reply *m, void *arg)
{
	struct block_rows *rows = arg;
	(void)c;
	rows->next = m->next;
	for (uint32_t i = 0; i < m->spec_count; i++) {
		struct block_info info;
		char text[128];
		if (block_info_decode(msg_reply_spec(m, i), &info, text) != ERR_OK) {
			rows->bad = HLK_MALFORMED;
			continue;
		}
		const struct hlk_block_row row = { text_of(info.pattern), text_of(info.reason), info.since_ms, info.until_ms };
		rows->each(&row, rows->ctx);
	}
}

int hlk_worker_blocked(struct hlk *c, hlk_block_fn *each, void *ctx)
{
	struct block_rows rows = { each, ctx, 0, HLK_OK };
	do {
		struct msg_request r = { .verb = VERB_WORKER_BLOCKED, .cursor = rows.next };
		rows.next = 0;
		int code = admin_ask(c, &r, true, "worker ls", block_rows, &rows);
		if (code != HLK_OK)
			return code;
	} while (rows.next != 0);
	return rows.bad ? error_set(c, rows.bad, "worker ls: a row of the reply is malformed") : HLK_OK;
}
