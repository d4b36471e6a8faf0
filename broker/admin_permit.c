/* broker/admin_permit.c: one row for each verb: which permission it needs, and on what. See admin_permit.h.
 *
 * 1. A verb without a row is refused: forgetting one locks a door, it does not open one. */
#include "admin_permit.h"

#include "event.h"
#include "event_route.h"

enum on { ON_NOTHING, ON_QUEUE, ON_ANY_QUEUE, ON_NAME, ON_ALL, ON_TASKS, ON_SELF, ON_GROUP, ON_FEED };
struct need { bool known; uint8_t verb, on; };

#define NEED(verb_, on_) { true, ACCESS_##verb_, ON_##on_ }
static const struct need needs[] = {
	/* each task is judged by itself: an id of another vnet is one that never was */
	[VERB_TASK_SHOW] = NEED(SEE, TASKS), [VERB_TASK_PEEK] = NEED(SEE, TASKS), [VERB_TASK_TREE] = NEED(SEE, TASKS),
	[VERB_TASK_WHY] = NEED(SEE, TASKS), [VERB_TASK_CANCEL] = NEED(CONTROL, TASKS), [VERB_TASK_RETRY] = NEED(CONTROL, TASKS),
	[VERB_TASK_INTERRUPT] = NEED(CONTROL, TASKS), [VERB_TASK_PAUSE] = NEED(CONTROL, TASKS),
	[VERB_TASK_RESUME] = NEED(CONTROL, TASKS), [VERB_TASK_STEP] = NEED(CONTROL, TASKS),
	/* queues */
	[VERB_TASK_LIST] = NEED(SEE, ANY_QUEUE), [VERB_QUEUE_LIST] = NEED(SEE, NOTHING), [VERB_TOPIC_LIST] = NEED(SEE, ANY_QUEUE),
	[VERB_QUEUE_SHOW] = NEED(SEE, QUEUE), [VERB_QUEUE_PEEK] = NEED(SEE, QUEUE), [VERB_DLQ_LIST] = NEED(SEE, ANY_QUEUE),
	[VERB_QUEUE_CREATE] = NEED(CONTROL, QUEUE), [VERB_QUEUE_SET] = NEED(CONTROL, QUEUE), [VERB_QUEUE_PURGE] = NEED(CONTROL, QUEUE),
	[VERB_QUEUE_PAUSE] = NEED(CONTROL, QUEUE), [VERB_QUEUE_RESUME] = NEED(CONTROL, QUEUE), [VERB_QUEUE_WEIGH] = NEED(CONTROL, QUEUE),
	[VERB_QUEUE_REMOVE] = NEED(CONTROL, QUEUE), [VERB_DLQ_REDRIVE] = NEED(CONTROL, ANY_QUEUE), [VERB_DLQ_PURGE] = NEED(CONTROL, QUEUE),
	[VERB_QUEUE_BIND] = NEED(CONTROL, QUEUE), [VERB_QUEUE_UNBIND] = NEED(CONTROL, QUEUE),
	[VERB_SUBSCRIPTION_ADD] = NEED(CONTROL, FEED), [VERB_SUBSCRIPTION_REMOVE] = NEED(CONTROL, QUEUE),
	/* workers: of the session's vnet only */
	[VERB_WORKER_LIST] = NEED(SEE, ALL), [VERB_WORKER_DRAIN] = NEED(CONTROL, NAME), [VERB_WORKER_KICK] = NEED(CONTROL, NAME),
	[VERB_WORKER_SHOW] = NEED(SEE, NAME), [VERB_WORKER_STOP] = NEED(CONTROL, NAME), [VERB_ENTRY_REMOVE] = NEED(SEE, NOTHING),
	/* a block is by name, whatever the vnet */
	[VERB_WORKER_BLOCK] = NEED(ADMIN, ALL), [VERB_WORKER_UNBLOCK] = NEED(ADMIN, ALL), [VERB_WORKER_BLOCKED] = NEED(ADMIN, ALL),
	/* the registry of types is the broker's, one for all vnets */
	[VERB_TYPE_LIST] = NEED(SEE, NOTHING), [VERB_TYPE_SHOW] = NEED(SEE, NAME), [VERB_TYPE_CHECK] = NEED(SEE, NAME),
	[VERB_TYPE_DIFF] = NEED(SEE, NAME), [VERB_TYPE_REGISTER] = NEED(ADMIN, NAME), [VERB_TYPE_REMOVE] = NEED(ADMIN, NAME),
	[VERB_SCHEDULE_LIST] = NEED(SEE, NOTHING), [VERB_SCHEDULE_SHOW] = NEED(SEE, GROUP),
	[VERB_SCHEDULE_ADD] = NEED(CONTROL, GROUP), [VERB_SCHEDULE_REMOVE] = NEED(CONTROL, GROUP),
	[VERB_SCHEDULE_PAUSE] = NEED(CONTROL, GROUP), [VERB_SCHEDULE_RESUME] = NEED(CONTROL, GROUP),
	[VERB_SCHEDULE_RUN] = NEED(CONTROL, GROUP),
	[VERB_GROUP_LIST] = NEED(SEE, NOTHING), [VERB_GROUP_SHOW] = NEED(SEE, GROUP), [VERB_GROUP_MEMBERS] = NEED(SEE, GROUP),
	[VERB_GROUP_CANCEL] = NEED(CONTROL, GROUP),
	[VERB_REDRIVE_START] = NEED(CONTROL, NOTHING), [VERB_REDRIVE_LIST] = NEED(SEE, NOTHING), [VERB_REDRIVE_STOP] = NEED(CONTROL, NOTHING),
	/* of the session's vnet; collecting and scrubbing are the broker's */
	[VERB_BLOB_LIST] = NEED(SEE, ALL), [VERB_BLOB_SHOW] = NEED(SEE, ALL), [VERB_BLOB_PIN] = NEED(CONTROL, ALL),
	[VERB_BLOB_UNPIN] = NEED(CONTROL, ALL), [VERB_BLOB_REMOVE] = NEED(CONTROL, ALL), [VERB_BLOB_COLLECT] = NEED(ADMIN, ALL),
	[VERB_BLOB_SCRUB] = NEED(ADMIN, ALL),
	/* the broker */
	[VERB_NODE_RELOAD] = NEED(ADMIN, ALL), [VERB_STATS] = NEED(ADMIN, ALL), [VERB_CHECKPOINT] = NEED(ADMIN, ALL),
	[VERB_PRINCIPAL_ADD] = NEED(ADMIN, ALL), [VERB_PRINCIPAL_SET] = NEED(ADMIN, ALL), [VERB_PRINCIPAL_REMOVE] = NEED(ADMIN, ALL),
	[VERB_PRINCIPAL_LIST] = NEED(ADMIN, ALL), [VERB_TOKEN_ADD] = NEED(ADMIN, ALL), [VERB_TOKEN_ROTATE] = NEED(ADMIN, ALL),
	[VERB_TOKEN_REMOVE] = NEED(ADMIN, ALL), [VERB_TOKEN_LIST] = NEED(ADMIN, ALL), [VERB_RULE_ADD] = NEED(ADMIN, ALL),
	[VERB_RULE_REMOVE] = NEED(ADMIN, ALL), [VERB_RULE_LIST] = NEED(ADMIN, ALL), [VERB_ACCESS_TEST] = NEED(ADMIN, SELF),
	[VERB_ACCESS_TOKEN] = NEED(SEE, NOTHING), /* of whoever asks */
};

bool admin_permit_knows(uint32_t verb)
{
	return verb < COUNT_OF(needs) && needs[verb].known;
}

static enum err full_name(const struct session *session, struct msg_request *m, struct vnet_name *room, char text[256])
{
	struct span full = m->name.len ? vnet_full(session, m->name, room) : m->name;
	if (m->name.len > 0 && full.len == 0) {
		(void)snprintf(text, 256, "REQUEST.name: with its vnet it has at most %d bytes, and no '/'", LIMIT_NAME_BYTES);
		return ERR_INVALID_INPUT;
	}
	m->name = full;
	return ERR_OK;
}

enum err admin_permit(const struct session *session, struct msg_request *m, struct vnet_name *room, char text[256])
{
	struct span all = span_str("*");
	if (!admin_permit_knows(m->verb)) {
		(void)snprintf(text, 256, "REQUEST.verb: no rule says who may do that");
		return ERR_PERMISSION;
	}
	const struct need *need = &needs[m->verb];
	enum access_verb verb = (enum access_verb)need->verb;
	bool allowed = true;
	switch ((enum on)need->on) {
	case ON_NOTHING:
	case ON_TASKS: break;
	case ON_SELF: allowed = span_eq(m->name, span_str(session->who.name)) || permit(session, verb, all, text); break;
	case ON_ALL: allowed = permit(session, verb, all, text); break;
	case ON_NAME: allowed = permit(session, verb, m->name, text); break;
	case ON_FEED:
		allowed = permit_pattern(session, ACCESS_SUBSCRIBE, m->text, false, text) &&
			  (!event_is_system(m->text) || permit(session, ACCESS_ADMIN, m->text, text));
		__attribute__((fallthrough));
	case ON_ANY_QUEUE: /* without a name: each by itself, as the list is made */
	case ON_QUEUE:
	case ON_GROUP:
		allowed = allowed && (m->name.len == 0 || permit(session, verb, m->name, text));
		if (allowed)
			return full_name(session, m, room, text);
	}
	return allowed ? ERR_OK : ERR_PERMISSION;
}
