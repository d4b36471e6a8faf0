/* broker/part.h: the parts of a shard that have durable state, and what each of them does with records and checkpoints.
 *
 *   log commit -> PART apply -> tasks | types | ...        checkpoint = one section for each part
 *
 * A part owns the kinds of records that the table in part.c gives it. To add one: a row there, and its functions.
 * The state in a checkpoint is a head, one entry for each part {id, bytes}, and the sections, each padded to 8. What an older
 * broker wrote (the tasks alone, without a head) is read. */
#pragma once

#include "shard_impl.h"

/* Gives a committed record to its part. *out says who waits for it, as for tasks_apply. */
void parts_apply(struct shard *s, const struct log_entry *entry, const struct log_record *record, bool live, struct applied *out);
void parts_checkpoint(struct shard *s, struct buf *out);
enum err parts_restore(struct shard *s, struct span checkpoint, char text[256]) MUST_CHECK;
