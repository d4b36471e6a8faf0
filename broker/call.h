/* broker/call.h: live requests from one session to holders of a responsibility. Private to the shard.
 *
 * In the flow: CALL -> choose a holder -> INVOKE ... ANSWER -> the caller. Nothing of it is stored.
 *
 * 1. A call is answered exactly once with `more` = 0 (a call to all: once for each holder, the last one without `more`): by its holder,
 *    by its deadline, or with NOT_DELIVERED when its holder is gone.
 * 2. Only the session that was asked can answer: the number of a call at the broker is never used twice, and its holder is compared.
 * 3. A call that was handed out is never handed out again. One that waits for a holder goes to whoever is there first.
 * 4. An entry has at most its capacity in work; what waits is bounded for each service. */
#pragma once

#include "directory.h"

struct calls; /* all of the shard */

struct calls *calls_new(struct shard *s);
void calls_free(struct calls *calls);

/* ERR_OK: each of the calls has its answer, is in work, or waits. Else the frame was refused as a whole. */
enum err call_frame(struct conn *c, const struct msg_call *m, struct span payload, char text[128]) MUST_CHECK;
void call_answers(struct conn *c, const struct msg_answer *m, struct span payload);
void call_cancel(struct conn *c, const struct msg_call_cancel *m);
/* What was put aside for this connection becomes frames. */
void call_encode(struct conn *c);

/* The caller's connection or session is gone: nobody wants its answers. */
void calls_drop(struct shard *s, struct session *caller);
/* The entry is gone or away: what it had in work is NOT_DELIVERED. */
void calls_lost(struct shard *s, struct dir_entry *e, const char *why);
/* The binding ends: who waits for a leg of it waits no more. */
void calls_unbound(struct shard *s, struct binding *b);
/* Is it here, and not on its way out? */
bool calls_holder(const struct dir_entry *e);
/* Holders came, went or have room again: at the end of the turn, who waits is looked at. */
void calls_changed(struct shard *s);
void calls_run(struct shard *s);

uint32_t calls_open(const struct calls *calls); /* in work or waiting */
uint32_t calls_held(const struct session *session); /* in work at its entries */
