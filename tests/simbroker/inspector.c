/* tests/simbroker/inspector.c: an administrator who looks at the queue, and at the end at every task with an open question. */
#include "link.h"

struct inspector {
	struct link link;
	bool drained, done, asked;
	uint64_t serial, task; /* the one asked about; 0 = the queue */
	char text[128];        /* what the queue held last */
};

static void ask(void *ctx)
{
	struct inspector *i = ctx;
	if (i->link.closing)
		return;
	if (i->link.welcome && !i->asked) {
		struct msg m = { .kind = FRAME_REQUEST };
		m.request.settings = QUEUE_SETTINGS_UNSET;
		if (i->drained)
			i->serial = ledger_next_open(i->link.scene->ledger, i->serial, &i->task);
		i->done = i->drained && i->serial == 0;
		m.request.verb = i->serial ? VERB_TASK_SHOW : VERB_QUEUE_SHOW;
		m.request.name = i->serial ? (struct span){ NULL, 0 } : span_str("sim.v1.Work");
		m.request.tasks = (struct u64s){ &i->task, i->serial ? 1 : 0 };
		m.request.limit = 1;
		i->asked = true;
		link_send(&i->link, &m, NULL, 0);
	}
	sim_after(i->link.scene->world, i->drained ? SIM_US * 50 : SIM_MS * 50, ask, i);
}

static void frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct inspector *i = owner;
	(void)f;
	if (m->kind != FRAME_REPLY)
		return;
	i->asked = false;
	if (i->serial) {
		struct task_info info = { .state = TASK_UNKNOWN };
		if (m->reply.task_count > 0)
			msg_reply_task(&m->reply, 0, &info);
		ledger_state(i->link.scene->ledger, i->serial, info.state);
	} else if (m->reply.queue_count > 0) {
		struct queue_info info;
		msg_reply_queue(&m->reply, 0, &info);
		(void)snprintf(i->text, sizeof i->text, "ready %llu, leased %llu, scheduled %llu",
			       (unsigned long long)info.ready, (unsigned long long)info.leased,
			       (unsigned long long)info.scheduled);
		i->drained = i->link.scene->checks_state && info.ready + info.leased + info.scheduled == 0;
	} else {
		i->drained = i->link.scene->checks_state && m->reply.code == ERR_NOT_FOUND; /* nobody ever got through */
	}
}

static void up(void *owner, bool resumed)
{
	struct inspector *i = owner;
	(void)resumed;
	i->asked = false;
	if (i->serial)
		i->serial--; /* ask again */
}

static void down(void *owner)
{
	(void)owner;
}

struct inspector *inspector_new(struct scene *scene)
{
	struct inspector *i = calloc(1, sizeof *i);
	ENSURE(i);
	i->link.up = up;
	i->link.down = down;
	i->link.frame = frame;
	link_open(&i->link, scene, "inspector", i);
	ask(i);
	return i;
}

bool inspector_drained(const struct inspector *i)
{
	return i->drained;
}

const char *inspector_text(const struct inspector *i)
{
	return i->text;
}

bool inspector_done(const struct inspector *i)
{
	return i->done;
}

void inspector_free(struct inspector *i)
{
	link_close(&i->link);
	free(i);
}
