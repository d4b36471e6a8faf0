/* tests/simbroker/realm.c: see realm.h. */
#include "realm.h"

#include "../../broker/tasks.h"
#include "link.h"

static const char *const names[] = { "ops", "red", "blue" };

struct realm {
	struct link link;
	uint32_t made;
	bool asked;
	char tokens[COUNT_OF(names)][REALM_TOKEN];
};

static void ask(struct realm *r)
{
	struct buf spec = { 0 };
	struct access_info info = { .vnets = { span_str(r->made ? names[r->made] : "*") }, .vnet_count = 1, .with_token = true,
				    .admin = r->made == 0, .limit_mask = r->made ? 1u << ACCESS_LIMIT_QUEUE_TASKS : 0 };
	info.limits[ACCESS_LIMIT_QUEUE_TASKS] = REALM_TASKS_MAX;
	access_info_encode(&spec, &info);
	struct msg m = { .kind = FRAME_REQUEST };
	m.request.settings = QUEUE_SETTINGS_UNSET;
	m.request.verb = VERB_PRINCIPAL_ADD;
	m.request.name = span_str(names[r->made]);
	m.request.spec = buf_span(&spec);
	link_send(&r->link, &m, NULL, 0);
	buf_free(&spec);
}

static void frame(void *owner, const struct msg *m, const struct frame *f)
{
	struct realm *r = owner;
	struct access_info info;
	char text[128];
	(void)f;
	if (m->kind != FRAME_REPLY || realm_ready(r))
		return;
	ENSURE(m->reply.code == ERR_OK && m->reply.spec_count == 1);
	enum err e = access_info_decode(msg_reply_spec(&m->reply, 0), &info, text);
	ENSURE(e == ERR_OK && info.secret.len > 0 && info.secret.len < REALM_TOKEN);
	memcpy(r->tokens[r->made], info.secret.data, info.secret.len);
	r->link.token = r->tokens[0]; /* the broker is closed now: it comes again, as ops */
	if (r->made++ > 0 && !realm_ready(r))
		ask(r);
}

static void up(void *owner, bool resumed)
{
	struct realm *r = owner;
	(void)resumed;
	if (!realm_ready(r))
		ask(r);
}

static void down(void *owner)
{
	struct realm *r = owner;
	link_new_session(&r->link);
}

struct realm *realm_new(struct scene *scene)
{
	struct realm *r = calloc(1, sizeof *r);
	ENSURE(r);
	r->link.up = up;
	r->link.down = down;
	r->link.frame = frame;
	link_open(&r->link, scene, "realm", r);
	return r;
}

bool realm_ready(const struct realm *r)
{
	return r->made == COUNT_OF(names);
}

const char *realm_token(const struct realm *r, const char *tenant)
{
	for (uint32_t i = 1; i < COUNT_OF(names); i++)
		if (strcmp(names[i], tenant) == 0)
			return r->tokens[i];
	return r->tokens[0];
}

void realm_look(struct realm *r, struct tasks *tasks)
{
	for (uint32_t i = 1; i < COUNT_OF(names); i++) {
		char full[64];
		(void)snprintf(full, sizeof full, "%s/sim.v1.Work", names[i]);
		uint32_t queue = tasks_queue_find(tasks, span_str(full));
		struct queue_info info;
		if (queue == 0)
			continue;
		tasks_queue_info(tasks, queue, &info);
		uint64_t there = info.ready + info.leased + info.scheduled, counted = tasks_owner_tasks(tasks, span_str(names[i]), queue);
		if (counted != there)
			scene_violate(r->link.scene, "C18: %llu tasks of %s are counted, and its queue holds %llu", (unsigned long long)counted,
				      names[i], (unsigned long long)there);
		if (counted > REALM_TASKS_MAX)
			scene_violate(r->link.scene, "C18: %s has %llu tasks, and its limit is %d", names[i], (unsigned long long)counted,
				      REALM_TASKS_MAX);
	}
}

void realm_refused(struct scene *scene)
{
	scene_mark(scene, MARK_REFUSED_LIMIT);
}
