/* tests/simbroker/timed_operator.c: one question at a time, asked again where a cut took it. In chaos: makes schedules, runs them between
 * their times, submits tasks that will die, starts redrives. In peace: lets every schedule fire on, pauses it and counts; puts letters
 * back until none is left. */
#include "timed.h"

enum step { STEP_ADD, STEP_RUN, STEP_BAD, STEP_REDRIVE, STEP_PAUSE, STEP_COUNT, STEP_LETTERS, STEP_REDRIVES };
enum { PRODUCER = 4242, CHAOS_REDRIVES = 8, PEACE_TASKS = 2 };

struct timed_operator {
	struct link link;
	struct timed *timed;
	enum step step;             /* of the question that is open */
	uint32_t which, correlation;
	bool waits, empty;          /* empty: the queue, when it was looked at */
};

/* ---- questions ---- */

static void request(struct timed_operator *o, struct msg_request r)
{
	struct msg m = { .kind = FRAME_REQUEST };
	r.settings = QUEUE_SETTINGS_UNSET;
	m.request = r;
	link_send_as(&o->link, &m, ++o->correlation, NULL, 0);
}

static const char *name_of(uint32_t which)
{
	static char name[16];
	(void)snprintf(name, sizeof name, "s%u", which);
	return name;
}

static void add(struct timed_operator *o)
{
	struct timed_schedule *x = &o->timed->schedules[o->which];
	struct buf head = { 0 }, spec = { 0 };
	const struct task_head h = { .type = span_str(TIMED_TICK), .priority = 4, .max_attempts = 60000 };
	if (x->asked_ns == 0) {
		x->asked_ns = scene_now(o->timed->scene);
		x->jumped_ms = o->timed->scene->jumped_ms;
	}
	task_head_encode(&head, &h);
	struct schedule_info *info = calloc(1, sizeof *info);
	ENSURE(info);
	info->every_ms = x->every_ms;
	info->overlap = x->overlap;
	info->misfire = x->misfire;
	info->head = buf_span(&head);
	info->payload = span_of(&o->which, sizeof o->which);
	schedule_info_encode(&spec, info);
	request(o, (struct msg_request){ .verb = VERB_SCHEDULE_ADD, .name = span_str(name_of(o->which)), .spec = buf_span(&spec) });
	free(info);
	buf_free(&head);
	buf_free(&spec);
}

static void submit_bad(struct timed_operator *o)
{
	struct timed *t = o->timed;
	struct buf head = { 0 };
	const struct task_head h = { .type = span_str(TIMED_BAD_TYPE), .priority = 4, .max_attempts = 60000 };
	if (o->which == t->bad_count)
		t->bad_count++;
	uint32_t what = o->which | TIMED_BAD, size = sizeof what;
	const struct span payload = span_of(&what, sizeof what);
	task_head_encode(&head, &h);
	struct msg m = { .kind = FRAME_SUBMIT };
	m.submit = (struct msg_submit){ .producer = PRODUCER, .first_seq = o->which + 1, .resolved_below = o->which + 1,
					.head = buf_span(&head), .sizes = { &size, 1 } };
	link_send(&o->link, &m, &payload, 1);
	buf_free(&head);
}

static void redrive(struct timed_operator *o)
{
	struct scene *sc = o->timed->scene;
	struct buf spec = { 0 };
	const struct redrive_info info = { .queue = span_str(TIMED_BAD_TYPE),
					   .rate = sc->healed_ns ? 2000 : 10 + (uint32_t)sim_rand_below(sc->world, 190) };
	o->timed->redrives++;
	redrive_info_encode(&spec, &info);
	request(o, (struct msg_request){ .verb = VERB_REDRIVE_START, .spec = buf_span(&spec) });
	buf_free(&spec);
}

static void ask(struct timed_operator *o, enum step step, uint32_t which)
{
	o->step = step;
	o->which = which;
	o->waits = true;
	switch (step) {
	case STEP_ADD: add(o); return;
	case STEP_RUN:
		o->timed->schedules[which].runs++;
		request(o, (struct msg_request){ .verb = VERB_SCHEDULE_RUN, .name = span_str(name_of(which)) });
		return;
	case STEP_BAD: submit_bad(o); return;
	case STEP_REDRIVE: redrive(o); return;
	case STEP_PAUSE: request(o, (struct msg_request){ .verb = VERB_SCHEDULE_PAUSE, .name = span_str(name_of(which)) }); return;
	case STEP_COUNT: request(o, (struct msg_request){ .verb = VERB_SCHEDULE_SHOW, .name = span_str(name_of(which)) }); return;
	case STEP_LETTERS: request(o, (struct msg_request){ .verb = VERB_QUEUE_SHOW, .name = span_str(TIMED_BAD_TYPE) }); return;
	case STEP_REDRIVES: request(o, (struct msg_request){ .verb = VERB_REDRIVE_LIST }); return;
	}
}

/* ---- what is next ---- */

static bool unconfirmed(const struct timed *t, uint32_t *which)
{
	for (*which = 0; *which < t->bad_count; ++*which)
		if (t->bads[*which].id == 0)
			return true;
	return false;
}

static void next_in_chaos(struct timed_operator *o)
{
	struct timed *t = o->timed;
	uint32_t which = (uint32_t)sim_rand_below(t->scene->world, SCHEDULES), bad;
	if (t->bad_count > 4 && t->redrives < CHAOS_REDRIVES && scene_one_in(t->scene, 8))
		ask(o, STEP_REDRIVE, 0);
	else if (!t->schedules[which].added)
		ask(o, STEP_ADD, which);
	else if (t->schedules[which].overlap != OVERLAP_SKIP && scene_one_in(t->scene, 2)) /* a run asks nobody whether it may */
		ask(o, STEP_RUN, which);
	else if (unconfirmed(t, &bad) || t->bad_count < BADS_MAX)
		ask(o, STEP_BAD, bad);
}

/* One schedule after the other comes to rest; then the letters. */
static void next_in_peace(struct timed_operator *o)
{
	struct timed *t = o->timed;
	uint32_t bad;
	for (uint32_t i = 0; i < SCHEDULES; i++) {
		struct timed_schedule *x = &t->schedules[i];
		if (x->added && !x->peace) {
			x->peace = true;
			x->in_peace = x->tasks;
		}
		if (!x->added)
			ask(o, STEP_ADD, i);
		else if (!x->paused && x->tasks >= x->in_peace + PEACE_TASKS) /* T4 */
			ask(o, STEP_PAUSE, i);
		else if (x->paused && !x->counted)
			ask(o, STEP_COUNT, i);
		if (o->waits)
			return;
	}
	if (t->bad_count == 0 || unconfirmed(t, &bad))
		ask(o, STEP_BAD, t->bad_count == 0 ? 0 : bad);
	else if (!t->letters_gone)
		ask(o, o->empty ? STEP_REDRIVES : STEP_LETTERS, 0);
}

static void act(void *ctx)
{
	struct timed_operator *o = ctx;
	if (o->link.welcome && !o->waits)
		(o->timed->scene->healed_ns ? next_in_peace : next_in_chaos)(o);
	sim_after(o->timed->scene->world, SIM_MS * (2 + sim_rand_below(o->timed->scene->world, 15)), act, o);
}

/* ---- answers ---- */

static void counted(struct timed_operator *o, const struct msg_reply *m)
{
	struct timed_schedule *x = &o->timed->schedules[o->which];
	struct schedule_info *info = calloc(1, sizeof *info);
	char text[128];
	ENSURE(info);
	if (m->spec_count == 1 && schedule_info_decode(msg_reply_spec(m, 0), info, text) == ERR_OK && info->paused) {
		x->fired = info->fired_total;
		x->counted = true;
		if (x->tasks > x->fired)
			scene_violate(o->timed->scene, "T2: %llu tasks of schedule %u have come, which has fired %llu times",
				      (unsigned long long)x->tasks, o->which, (unsigned long long)x->fired);
		scene_mark(o->timed->scene, MARK_SCHEDULE_COUNTED);
	}
	free(info);
}

static void looked_at_letters(struct timed_operator *o, const struct msg_reply *m)
{
	struct queue_info q;
	if (m->queue_count != 1)
		return;
	msg_reply_queue(m, 0, &q);
	o->empty = q.ready + q.leased + q.scheduled + q.dead == 0;
	if (q.dead > 0)
		ask(o, STEP_REDRIVE, 0);
}

static void looked_at_redrives(struct timed_operator *o, const struct msg_reply *m)
{
	struct redrive_info info;
	char text[128];
	uint64_t put_back = 0, running = 0;
	for (uint32_t i = 0; i < m->spec_count; i++) {
		if (redrive_info_decode(msg_reply_spec(m, i), &info, text) != ERR_OK)
			return;
		put_back += info.done;
		running += info.state == REDRIVE_RUNNING;
	}
	o->timed->put_back = put_back;
	o->timed->letters_gone = running == 0;
	if (running == 0 && m->spec_count > 0)
		scene_mark(o->timed->scene, MARK_REDRIVES_COUNTED);
}

static void replied(struct timed_operator *o, const struct msg_reply *m)
{
	struct timed *t = o->timed;
	struct timed_schedule *x = &t->schedules[MIN_OF(o->which, (uint32_t)SCHEDULES - 1)];
	bool good = m->code == ERR_OK;
	o->waits = false;
	t->answered += o->step == STEP_REDRIVE;
	if (o->step == STEP_ADD)
		x->added = x->added || good || m->code == ERR_EXISTS;
	if ((o->step == STEP_PAUSE || o->step == STEP_COUNT) && m->code == ERR_NOT_FOUND)
		scene_violate(t->scene, "T2: schedule %u, which was confirmed, is gone", o->which);
	if (o->step == STEP_PAUSE)
		x->paused = good || m->code == ERR_WRONG_STATE; /* the latter: an answer was lost */
	if (o->step == STEP_COUNT && good)
		counted(o, m);
	if (o->step == STEP_LETTERS && good)
		looked_at_letters(o, m);
	if (o->step == STEP_REDRIVES && good)
		looked_at_redrives(o, m);
}

static void confirmed(struct timed_operator *o, const struct msg_confirms *m)
{
	for (uint32_t i = 0; i < m->run_count; i++) {
		const struct confirm_run *run = &m->runs[i];
		ENSURE(run->first_seq >= 1 && run->first_seq <= o->timed->bad_count);
		if (run->code == ERR_OK)
			o->timed->bads[run->first_seq - 1].id = run->first_task;
	}
	o->waits = o->waits && o->step != STEP_BAD;
}

static void frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct timed_operator *o = owner;
	if (m->kind == FRAME_REPLY && f->correlation == o->correlation && o->waits)
		replied(o, &m->reply);
	else if (m->kind == FRAME_CONFIRMS)
		confirmed(o, &m->confirms);
}

static void up(void *owner, bool resumed)
{
	(void)owner;
	(void)resumed;
}

static void down(void *owner)
{
	((struct timed_operator *)owner)->waits = false;
}

const char *timed_operator_waits(const struct timed_operator *o)
{
	return o->waits && o->step == STEP_REDRIVE ? "a redrive that was asked for" : NULL;
}

struct timed_operator *timed_operator_new(struct timed *t)
{
	struct timed_operator *o = calloc(1, sizeof *o);
	ENSURE(o);
	o->timed = t;
	for (uint32_t i = 0; i < SCHEDULES; i++)
		t->schedules[i] = (struct timed_schedule){ .every_ms = 1000 + (uint32_t)sim_rand_below(t->scene->world, 300),
							   .overlap = (uint8_t)(i % OVERLAPS), .misfire = (uint8_t)sim_rand_below(t->scene->world, MISFIRES) };
	o->link.up = up;
	o->link.down = down;
	o->link.frame = frame;
	link_open(&o->link, t->scene, "operator", o);
	act(o);
	return o;
}
