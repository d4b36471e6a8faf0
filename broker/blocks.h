/* broker/blocks.h: clients that the operator keeps out of work: patterns of their names and identities. In the flow: REQUEST -> propose
 * -> log -> BLOCKS -> SERVE is refused.
 *
 * Durable: changed only by blocks_apply. Whether a block has run out is asked of the clock that the caller brings; that it is gone is a
 * record of its own. */
#pragma once

#include "tasks.h"

enum { BLOCKS_MAX = 1024 };

struct blocks;
struct blocks *blocks_new(void);
void blocks_free(struct blocks *b);

/* Each appends at most one record. ADD takes the place of a block of the same pattern: ERR_INVALID_INPUT, ERR_RESOURCE_EXHAUSTED.
 * REMOVE: ERR_NOT_FOUND. */
enum err blocks_propose_add(struct blocks *b, struct log *log, const struct block_info *info, uint64_t now_ms, uint32_t *records,
			    char text[256]) MUST_CHECK;
enum err blocks_propose_remove(struct blocks *b, struct log *log, struct span pattern, uint32_t *records, char text[256]) MUST_CHECK;

/* When the next one runs out (wall ms), or UINT64_MAX; and the records that take out those that have. */
uint64_t blocks_next_ms(const struct blocks *b);
void blocks_tick(struct blocks *b, struct log *log, uint64_t now_ms);

/* One committed REC_BLOCK. *changed: what it was about, borrowed from the record; `set`: the block stands now. */
struct block_change { struct block_info info; bool set, ran_out; };
void blocks_apply(struct blocks *b, const struct log_record *record, struct applied *out, struct block_change *changed);
void blocks_checkpoint(const struct blocks *b, struct buf *out);
enum err blocks_restore(struct blocks *b, struct span section, char text[256]) MUST_CHECK;

uint32_t blocks_count(const struct blocks *b);
/* By pattern. Borrowed until the next change. */
void blocks_info(const struct blocks *b, uint32_t index, struct block_info *out);
/* A block that stands at this time and fits one of the two names (an empty one fits nothing); of several one with `now`. */
bool blocks_find(const struct blocks *b, struct span client, struct span identity, uint64_t now_ms, struct block_info *out);
void blocks_enforced(struct blocks *b); /* what was to be done now has been done */
