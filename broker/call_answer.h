/* broker/call_answer.h: what callers and holders are told of a call. */
#pragma once

#include "call_pool.h"

/* To the caller of a call that is, or was about to be. */
void call_refuse(struct conn *c, uint64_t number, enum err code, const char *text);
/* Gives the answer on. With `last` the call is over. */
void call_answer(struct shard *s, struct live_call *call, struct answer_item item, struct span bytes, bool last);
void call_end(struct shard *s, struct live_call *call, enum err code, const char *text);
void call_tell_holder(struct live_call *call); /* its answer is not wanted any more */
void call_timed_out(struct shard *s, struct timer *t);
