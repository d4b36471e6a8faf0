/* broker/tasks_tick.c: what happens to tasks because time passes: delays end, tasks expire, attempts overrun,
 * silent cancels are overruled.
 *
 *   loop timer -> TASKS_TICK -> lanes, or REC_SETTLE -> log
 *
 * Invariants
 *  1. Time alone changes no durable state here: it leads to a proposal.
 *  2. At most TICK_ITEMS_MAX tasks per call; tasks_next_ms says whether more are due. */
#include "after.h"
#include "life.h"

uint64_t tasks_next_ms(const struct tasks *t)
{
	uint64_t due = t->timers.count ? t->timers.items[0].due : NEVER;
	if (t->orphans.first || groups_busy(t))
		due = 0;
	return due == NEVER ? NEVER : MAX_OF(due, t->retry_ms);
}

/* The settlement a due task has come to; false where it only becomes ready. */
static bool due_item(struct tasks *t, struct hot *h, uint64_t now_ms, struct rec_settle_item *item)
{
	bool held = h->state == TASK_LEASED || h->state == TASK_STARTED;
	if (held)
		return held_over(t, h, now_ms, item);
	*item = item_of(t, h, TASK_CANCELLED, ERR_CANCELLED);
	if (h->cancelling)
		return true;
	if (h->life && h->life->close_ms && h->life->close_ms <= now_ms) {
		item->state = TASK_EXPIRED;
		item->code = ERR_TIMEOUT;
		return true;
	}
	if (h->expires_ms && h->expires_ms <= now_ms) {
		item->state = TASK_EXPIRED;
		item->code = ERR_EXPIRED;
		return true;
	}
	if (h->blocked) {
		item->code = wait_find(t, h->task)->doom;
		ENSURE(item->code != ERR_OK);
		return true;
	}
	ENSURE(h->state == TASK_SCHEDULED && h->ready_ms <= now_ms);
	return false;
}

void tasks_tick(struct tasks *t, struct log *log, uint64_t now_ms)
{
	ENSURE(t->begun);
	t->peeked.count = 0;
	if (now_ms < t->retry_ms)
		return;
	t->retry_ms = 0;
	orphans_propose(t, log, "", now_ms);
	if (groups_busy(t))
		groups_tick(t, log, now_ms);
	size_t room = log_append_room(log), fixed = sizeof(struct rec_settle) + LOG_RECORD_HEADER + 64;
	size_t each = sizeof(struct rec_settle_item) + (t->waits.count > 0 ? AFTER_TEXT_MAX : 0);
	uint32_t settles_max = room <= fixed ? 0 : (uint32_t)MIN_OF((room - fixed) / each, TICK_ITEMS_MAX);
	uint32_t settles = 0;
	t->scratch_items.len = t->scratch_texts.len = 0;
	for (uint32_t n = 0; n < TICK_ITEMS_MAX && t->timers.count > 0 && t->timers.items[0].due <= now_ms; n++) {
		struct hot *h = t->timers.items[0].hot;
		struct rec_settle_item item;
		ENSURE(!h->settling);
		if (!due_item(t, h, now_ms, &item)) {
			if (h->state == TASK_LEASED || h->state == TASK_STARTED)
				view_timer(t, h);
			else if (h->state == TASK_SCHEDULED)
				view_ripe(t, h, now_ms);
			continue;
		}
		if (settles == settles_max) {
			t->retry_ms = now_ms + 10;
			break;
		}
		if (h->blocked && item.code == ERR_DEPENDENCY) {
			char text[AFTER_TEXT_MAX];
			item.size = after_text(t, h->task, text);
			buf_append(&t->scratch_texts, text, item.size);
		}
		h->settling = true;
		if (h->place != PLACE_HELD)
			view_take(t, h);
		view_timer(t, h);
		buf_append(&t->scratch_items, &item, sizeof item);
		settles++;
	}
	if (settles == 0)
		return;
	bool appended = settle_propose_texts(log, APPLIED_INTERNAL, (const void *)t->scratch_items.data, settles,
					     buf_span(&t->scratch_texts), "");
	ENSURE(appended); /* there was room for all of them */
}
