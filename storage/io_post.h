/* storage/io_post.h: what another thread has to say to the owner of an io: a list that any thread may add to and one empties.
 *
 *   helper thread -> io->v->post -> LIST + wake -> reap -> post->fn
 *
 * For the implementations of struct io; who uses one calls io->v->post.
 *
 * 1. Adding takes no lock and no memory, so a helper cannot be held up by the shard, nor the shard by a helper. */
#pragma once

#include <stdatomic.h>

#include "io.h"

struct io_posts { _Atomic(struct io_post *) last; };

/* Any thread. True where the list was empty: then a wake-up is due. */
static inline bool io_posts_add(struct io_posts *posts, struct io_post *post)
{
	struct io_post *last = atomic_load_explicit(&posts->last, memory_order_relaxed);
	ENSURE(post->fn != NULL);
	do
		post->next = last;
	while (!atomic_compare_exchange_weak_explicit(&posts->last, &last, post, memory_order_acq_rel, memory_order_relaxed));
	return last == NULL;
}

/* The owner, inside reap: runs what is there, oldest first; what comes meanwhile is left for the next time, and has a wake-up of its
 * own. How many ran. */
static inline uint32_t io_posts_run(struct io_posts *posts)
{
	struct io_post *turned = NULL, *at = atomic_load_explicit(&posts->last, memory_order_relaxed);
	uint32_t ran = 0;
	if (!at)
		return 0;
	at = atomic_exchange_explicit(&posts->last, NULL, memory_order_acq_rel);
	while (at) {
		struct io_post *older = at->next;
		at->next = turned;
		turned = at;
		at = older;
	}
	for (; turned; ran++) {
		struct io_post *next = turned->next; /* fn may free it */
		turned->fn(turned);
		turned = next;
	}
	return ran;
}
