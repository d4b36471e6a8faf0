/* clientlib/mock_life.c: what becomes known of a task in work: progress, log lines, yields, phases; and families of tasks. In the
 * flow: REPORT -> here -> UPDATES. See mock_impl.h. */
#include "mock_impl.h"

static void send_update(struct mock *m, const struct mock_task *t, const struct update_item *item, struct span data)
{
	if (!m->welcomed || !t->watched)
		return;
	const struct msg_updates u = { .items = item, .count = 1 };
	msg_encode_updates(&m->output, &u, &data, data.len > 0);
}

void mock_phase(struct mock *m, struct mock_task *t, enum phase phase, enum err code)
{
	const struct update_item item = { .task = t->id, .number = t->attempt, .kind = UPDATE_STATE, .level = (uint8_t)phase,
					  .code = (uint16_t)code };
	if (phase != PHASE_STARTED && phase != PHASE_RETRY)
		t->phase = (uint8_t)phase;
	send_update(m, t, &item, (struct span){ NULL, 0 });
}

void mock_progress(struct mock *m, struct mock_task *t, const struct report_item *i, struct span text)
{
	bool progress = i->verb == REPORT_PROGRESS;
	const struct update_item item = {
		.task = t->id, .number = progress ? MIN_OF(i->app_code, 1000000u) : 0, .size = (uint32_t)text.len,
		.kind = progress ? UPDATE_PROGRESS : UPDATE_LOG,
		.level = (uint8_t)(progress ? 0 : MIN_OF(i->class_code, LOG_LEVELS - 1)),
	};
	if (progress) {
		t->progress = item.number;
		free(t->progress_text);
		t->progress_text = mock_text(text);
	}
	send_update(m, t, &item, text);
}

void mock_yields_send(struct mock *m, const struct mock_task *t, uint32_t from)
{
	for (uint32_t i = from; i < t->yield_count; i++) {
		const struct update_item item = { .task = t->id, .number = i, .size = (uint32_t)t->yields[i].len,
						  .kind = UPDATE_YIELD, .payload = t->yield_kinds[i] };
		send_update(m, t, &item, buf_span(&t->yields[i]));
	}
}

/* A number that is there already was said again by a later attempt or after a cut. */
enum err mock_yield(struct mock *m, struct mock_task *t, uint32_t number, uint8_t kind, struct span bytes)
{
	if (number < t->yield_count)
		return ERR_OK;
	if (number > t->yield_count)
		return ERR_AGAIN;
	if (number >= LIMIT_YIELDS)
		return ERR_TOO_BIG;
	struct buf *yields = realloc(t->yields, (number + 1u) * sizeof *yields);
	uint8_t *kinds = realloc(t->yield_kinds, number + 1u);
	ENSURE(yields && kinds);
	t->yields = yields;
	t->yield_kinds = kinds;
	kinds[number] = kind;
	t->yields[number] = (struct buf){ NULL, 0, 0 };
	buf_append(&t->yields[number], bytes.data, bytes.len);
	t->yield_count++;
	mock_yields_send(m, t, number);
	return ERR_OK;
}

/* ---- families ---- */

uint32_t mock_family(const struct mock *m, uint64_t task, uint32_t limit, struct mock_task ***out)
{
	struct mock_task **family = calloc(m->task_count + 1, sizeof(struct mock_task *));
	uint32_t count = 0;
	ENSURE(family != NULL);
	if (limit > 0 && task >= 1 && task <= m->task_count)
		family[count++] = m->tasks[task - 1];
	for (uint32_t i = 0; i < count; i++)
		for (uint64_t t = 0; t < m->task_count && count < limit; t++)
			if (m->tasks[t]->parent == family[i]->id)
				family[count++] = m->tasks[t];
	*out = family;
	return count;
}

enum err mock_parent(const struct mock *m, uint64_t parent, uint64_t *root)
{
	const struct mock_task *t = parent <= m->task_count ? m->tasks[parent - 1] : NULL;
	if (!t || !mock_leased(t->state))
		return t && !mock_final(t->state) ? ERR_PERMISSION : ERR_WRONG_STATE;
	*root = t->root ? t->root : parent;
	return ERR_OK;
}

enum err mock_interrupt(struct mock *m, struct mock_task *t, struct span reason)
{
	if (mock_final(t->state) || !mock_leased(t->state))
		return mock_task_cancel(m, t, reason);
	t->cancel_ms = t->cancel_ms ? t->cancel_ms : m->now_ms + MOCK_CANCEL_MS;
	mock_signal(m, t, SIGNAL_INTERRUPT, ERR_CANCELLED);
	mock_phase(m, t, PHASE_INTERRUPTING, ERR_OK);
	return ERR_OK;
}

enum err mock_control(struct mock *m, struct mock_task *t, enum signal_kind signal)
{
	if (!mock_leased(t->state))
		return ERR_WRONG_STATE;
	mock_signal(m, t, signal, ERR_OK);
	mock_phase(m, t, signal == SIGNAL_PAUSE ? PHASE_PAUSING : signal == SIGNAL_STEP ? PHASE_STEPPING : PHASE_RESUMING, ERR_OK);
	return ERR_OK;
}
