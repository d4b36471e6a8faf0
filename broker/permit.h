/* broker/permit.h: may this session do that? Every frame and every verb asks here; the rules are in access.h.
 *
 *   frame -> PERMIT -> propose;   a change of rules -> PERMIT -> sessions, entries and subscriptions that are no longer allowed end
 *
 * The plain path costs a load and a test: a session knows which verbs it may use on everything in its vnet (session.always).
 *
 * Vnets. A queue or schedule of the vnet "default" is kept under its own name, that of any other as VNET/NAME: so a queue, and with it
 * each of its tasks, is in exactly one vnet, and the same name in two vnets is two queues. What clients say and are told is NAME alone;
 * a '/' in it is refused. An id of another vnet is treated as one that never was. */
#pragma once

#include "shard_impl.h"

/* Fills who it is, and its vnet; ERR_PERMISSION with the one text that says nothing. */
enum err permit_login(struct conn *c, const struct msg_hello *m, struct who *out, struct span *vnet, char text[128]) MUST_CHECK;
/* The session's who and vnet are set, or the rules have changed. */
void permit_begin(struct session *session);

bool permit_slow(const struct session *session, enum access_verb verb, struct span target, char text[256]);
/* False with the reason, which names what is missing. */
static inline bool permit(const struct session *session, enum access_verb verb, struct span target, char text[256])
{
	return (session->always >> verb & 1) != 0 || permit_slow(session, verb, target, text);
}
/* The same for lists, where what is not to be seen is left out without a word. */
bool permit_sees(const struct session *session, struct span target);
/* Is the verb allowed on all that begins as the pattern does? */
bool permit_pattern(const struct session *session, enum access_verb verb, struct span pattern, bool descendants, char text[256]);
/* May an entry of this service be seen, and served, in that vnet, which may be another? */
bool permit_entry(const struct session *session, struct span service, struct span vnet, char text[256]);
/* Does the queue (by its number) exist for the session, and does it have the verb on it? For look-ups by id: false = it never was. */
bool permit_queue(const struct session *session, enum access_verb verb, uint32_t queue);
/* A task by its id; *queue may be NULL. ERR_NOT_FOUND for unknown and foreign ones alike, ERR_PERMISSION where it may be seen only. */
enum err permit_task(const struct session *session, enum access_verb verb, uint64_t task, char text[256]) MUST_CHECK;

/* It ends here and now, its leases are taken back; its client is told why, and what it may still do it can do by dialling again. */
void permit_end(struct session *session, const char *why);
/* A record of principals, tokens or rules was applied: told to operators, and looked at in this turn. */
void permit_changed(struct shard *s, const struct log_record *record);
void permits_run(struct shard *s);

/* ---- names in vnets ---- */

struct vnet_name { char at[LIMIT_NAME_BYTES + 1]; };
/* The name under which it is kept. An empty span where there is no such name: it has a '/' in it, or is too long. */
struct span vnet_full(const struct session *session, struct span name, struct vnet_name *room);
struct span vnet_short(struct span full); /* as clients know it */
struct span vnet_of(struct span full);    /* "default", or what stands before the '/' */
