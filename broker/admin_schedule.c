/* broker/admin_schedule.c: the verbs of schedules, and their timer in the turn. In the flow: frame -> ROUTE -> admin -> (propose ->)
 * REPLY; turn -> fire -> log.
 *
 * 1. A question is answered at once; a change when its record was applied.
 * 2. What could not be fired for want of room in the log is tried again after RETRY_MS: the turn does not spin on it. */
#include "permit.h"
#include "shard_impl.h"

enum { SCHEDULES_PER_REPLY = 128, FIRES_PER_TURN = 64, RETRY_MS = 100 };

struct ask_schedule {
	struct conn *c;
	struct shard *s;
	const struct msg_request *m;
	uint32_t correlation;
	char text[256];
};

static void reply(struct ask_schedule *a, const struct span *specs, uint32_t count, uint64_t next)
{
	a->s->msg.kind = FRAME_REPLY;
	a->s->msg.reply = (struct msg_reply){ .count = count, .next = next, .specs = specs, .spec_count = count };
	msg_encode(&a->c->out, &a->s->msg, a->correlation, NULL, 0);
	conn_touch(a->c);
}

static enum err answer(struct ask_schedule *a, enum err code)
{
	admin_reply(a->c, a->correlation, code, a->text, code == ERR_OK);
	return ERR_OK;
}

static enum err list(struct ask_schedule *a)
{
	struct span specs[SCHEDULES_PER_REPLY];
	size_t ends[SCHEDULES_PER_REPLY + 1] = { 0 };
	struct buf bytes = { NULL, 0, 0 };
	struct schedule_info info;
	uint32_t total = schedules_count(a->s->schedules), at = (uint32_t)MIN_OF(a->m->cursor, (uint64_t)total), count = 0;
	for (; at < total && count < SCHEDULES_PER_REPLY && bytes.len < (512 << 10); at++) {
		schedules_info(a->s->schedules, at, &info);
		if (!span_eq(vnet_of(info.name), span_str(a->c->session->vnet)) || !permit_sees(a->c->session, vnet_short(info.name)))
			continue;
		info.name = vnet_short(info.name);
		schedule_info_encode(&bytes, &info);
		ends[++count] = bytes.len;
	}
	for (uint32_t i = 0; i < count; i++)
		specs[i] = span_sub(buf_span(&bytes), ends[i], ends[i + 1] - ends[i]);
	reply(a, specs, count, at < total ? at : 0);
	buf_free(&bytes);
	return ERR_OK;
}

static enum err show(struct ask_schedule *a)
{
	struct buf bytes = { NULL, 0, 0 };
	struct schedule_info info;
	if (!schedules_show(a->s->schedules, a->m->name, &info)) {
		(void)snprintf(a->text, sizeof a->text, "REQUEST.name: no such schedule");
		return answer(a, ERR_NOT_FOUND);
	}
	info.name = vnet_short(info.name);
	schedule_info_encode(&bytes, &info);
	struct span spec = buf_span(&bytes);
	reply(a, &spec, 1, 0);
	buf_free(&bytes);
	return ERR_OK;
}

/* Its tasks will be refused later if they do not fit their type: better now. */
static enum err fits_type(struct ask_schedule *a)
{
	struct schedule_info info;
	struct task_head head;
	char why[128];
	if (schedule_info_decode(a->m->spec, &info, why) != ERR_OK || info.head.len == 0 ||
	    task_head_decode(info.head, &head, why) != ERR_OK)
		return ERR_OK; /* the proposal says what is wrong */
	struct span queue = head.queue.len ? head.queue : head.type;
	if (!permit(a->c->session, ACCESS_SUBMIT, head.type, a->text) || !permit(a->c->session, ACCESS_SUBMIT, queue, a->text))
		return ERR_PERMISSION;
	return types_check(a->s->types, head.type, head.fingerprint, head.payload, info.payload, a->text);
}

/* Records of ours, a SUBMIT and perhaps the cancel of the task before, are next in the line of those who wait; nobody does. */
static void nobody_waits(struct shard *s, uint32_t records)
{
	if (records > 0)
		confirm_push(s, &(struct pending){ .kind = PENDING_NOBODY, .records = records });
}

enum err admin_schedule(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	struct ask_schedule a = { .c = c, .s = c->s, .m = m, .correlation = correlation };
	struct shard *s = c->s;
	const struct schedule_world world = { s->tasks, s->types, s->log };
	uint32_t records = 0, tasks = 0;
	enum err e;
	switch (m->verb) {
	case VERB_SCHEDULE_LIST: return list(&a);
	case VERB_SCHEDULE_SHOW: return show(&a);
	case VERB_SCHEDULE_RUN:
		e = schedules_run(s->schedules, &world, m->name, s->wall_ms, &tasks, &records, a.text);
		nobody_waits(s, tasks);
		break;
	case VERB_SCHEDULE_ADD:
		e = fits_type(&a);
		if (e == ERR_OK)
			e = schedules_propose_add(s->schedules, s->log, m->name, m->spec, s->wall_ms, &records, a.text);
		break;
	default:
		e = schedules_propose(s->schedules, s->log, m->name,
				      m->verb == VERB_SCHEDULE_REMOVE  ? SCHEDULE_REMOVE
				      : m->verb == VERB_SCHEDULE_PAUSE ? SCHEDULE_PAUSE
								       : SCHEDULE_RESUME,
				      &records, a.text);
	}
	if (e != ERR_OK)
		return answer(&a, e);
	confirm_push(s, &(struct pending){ .kind = PENDING_ADMIN, .records = records, .conn = c, .correlation = correlation });
	return ERR_OK;
}

uint64_t schedule_due_ms(const struct shard *s)
{
	uint64_t due = schedules_next_ms(s->schedules); /* wall clock */
	if (due == UINT64_MAX || s->stop != STOP_NOT)
		return UINT64_MAX;
	return MAX_OF(due <= s->wall_ms ? s->now_ms : s->now_ms + (due - s->wall_ms), s->schedules_retry_ms);
}

void schedule_fire(struct shard *s)
{
	if (schedule_due_ms(s) > s->now_ms)
		return;
	const struct schedule_world world = { s->tasks, s->types, s->log };
	bool more = true;
	for (uint32_t i = 0; i < FIRES_PER_TURN && more; i++) {
		uint32_t tasks = 0;
		more = schedules_tick(s->schedules, &world, s->wall_ms, &tasks);
		nobody_waits(s, tasks);
	}
	if (!more && schedules_next_ms(s->schedules) <= s->wall_ms)
		s->schedules_retry_ms = s->now_ms + RETRY_MS;
}
