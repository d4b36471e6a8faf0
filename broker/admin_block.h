/* broker/admin_block.h: who is kept out of work: the verbs, and what a block means for sessions. Private to the shard. */
#pragma once

#include "blocks.h"
#include "shard_impl.h"

enum err admin_block(struct conn *c, const struct msg_request *m, uint32_t correlation); /* VERB_WORKER_BLOCK, UNBLOCK, BLOCKED */
/* May it not serve? Then nothing of it stands, and text says why. */
bool block_refuses(struct session *session, char text[128]);
bool block_fits(const struct session *session);
/* Blocks that ran out. */
uint64_t blocks_due_ms(const struct shard *s); /* monotonic */
void blocks_expire(struct shard *s);
/* A block was set or taken back, live: told at once; sessions are looked at once in the turn. */
void block_changed(struct shard *s, const struct block_change *changed);
void blocks_enforce(struct shard *s);
