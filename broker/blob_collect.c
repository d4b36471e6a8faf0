/* broker/blob_collect.c: what nothing refers to goes: by a record, then its bytes; and what a start finds that nobody has.
 *
 *   idle for blob_grace -> COLLECT record -> log ... commit -> REMOVAL -> backend;   start -> list -> REMOVAL
 *
 * 1. Bytes are removed only of numbers that the index does not have: checked once more when the removal begins. What a power cut left of a
 *    write beside the whole file is no exception: the local backend has it under a name of its own.
 * 2. The sweep removes numbers of earlier epochs alone: those of this one are known to this process.
 * 3. A removal that failed is tried again later; over a restart the sweep finds it. */
#include "blob_desk.h"

enum { COLLECTS_PER_TURN = 64, REMOVAL_RETRY_MS = 30000, SWEEP_RETRY_MS = 60000 };

/* ---- removals ---- */

static bool is_bare(const struct blob_key *key)
{
	static const uint8_t none[BLOB_DIGEST];
	return memcmp(key->digest, none, sizeof none) == 0;
}

/* Of a write, whatever has become of it: where names tell digests, this one has none. */
static bool is_part(const struct blob_desk *d, const struct blob_key *key)
{
	return strcmp(d->backend->v->name, "local") == 0 && is_bare(key);
}

void remove_later(struct blob_desk *d, const struct blob_key *key)
{
	struct removal *r = zalloc(sizeof *r);
	*r = (struct removal){ .desk = d, .key = *key };
	*d->removals_last = r;
	d->removals_last = &r->next;
	d->removal_count++;
	d->due = true;
}

static void removed(struct blob_job *job, enum err code)
{
	struct removal *r = job->ctx;
	struct blob_desk *d = r->desk;
	d->removals_busy--;
	d->due = true;
	if (code == ERR_OK) {
		free(r);
		return;
	}
	d->totals.removal_failures++;
	shard_note(d->s, SHARD_WARN, "blobs", "removal", "code=%s text=%s", err_name(code), job->text);
	r->not_before_ms = d->s->now_ms + REMOVAL_RETRY_MS;
	r->next = NULL;
	*d->removals_last = r;
	d->removals_last = &r->next;
	d->removal_count++;
}

static void removals_run(struct blob_desk *d)
{
	const struct blobs *x = tasks_blobs(d->s->tasks);
	for (struct removal **at = &d->removals, *r; (r = *at) != NULL && d->removals_busy < BLOB_REMOVALS_AT_ONCE;) {
		if (r->not_before_ms > d->s->now_ms) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		if (!*at)
			d->removals_last = at;
		d->removal_count--;
		ENSURE(!blobs_by_number(x, r->key.number) || is_part(d, &r->key)); /* never what somebody may refer to */
		d->removals_busy++;
		r->job = (struct blob_job){ .done = removed, .ctx = r };
		d->backend->v->remove(d->backend, &r->job, &r->key);
	}
}

void removals_forget(struct blob_desk *d)
{
	for (struct removal *r = d->removals, *next; r; r = next) {
		next = r->next;
		free(r);
	}
}

/* ---- the sweep ---- */

static void found(void *ctx, const struct blob_key *key, uint64_t size)
{
	struct blob_desk *d = ctx;
	struct blob *b = blobs_by_number(tasks_blobs(d->s->tasks), key->number);
	bool part = is_part(d, key);
	if (b && !part) {
		if (size == 0 && b->size > 0 && is_bare(key))
			return; /* a multipart upload of the same number that was begun and never heard of; the whole object is another line */
		b->seen = true;
		if (b->size != size)
			blob_is_damaged(d, b->number, "the store has another size");
		return;
	}
	if (key->number >> 32 >= d->s->epoch)
		return; /* of this process: it knows itself what becomes of it */
	if (d->removal_count >= BLOB_REMOVALS_MAX) {
		d->sweep_again = true;
		return;
	}
	d->totals.swept++;
	remove_later(d, key);
}

/* All that is of an earlier start and was not listed has no bytes. */
static void look_for_missing(struct blob_desk *d)
{
	struct blob *page[256];
	uint64_t next = 0;
	do {
		uint32_t count = blobs_list(tasks_blobs(d->s->tasks), next, COUNT_OF(page), page, &next);
		for (uint32_t i = 0; i < count; i++)
			if (!page[i]->seen && page[i]->number >> 32 < d->s->epoch)
				blob_is_damaged(d, page[i]->number, "its bytes are not in the store");
	} while (next != 0);
}

static void swept(struct blob_job *job, enum err code)
{
	struct blob_desk *d = job->ctx;
	d->sweeping = false;
	d->due = true;
	if (code == ERR_OK && !d->sweep_again) {
		look_for_missing(d);
		shard_note(d->s, SHARD_INFO, "blobs", "swept", "removed=%llu", (unsigned long long)d->totals.swept);
		return;
	}
	if (code != ERR_OK)
		shard_note(d->s, SHARD_WARN, "blobs", "sweep", "code=%s text=%s", err_name(code), job->text);
	d->sweep_wanted = true;
	d->sweep_ms = code == ERR_OK ? d->s->now_ms : d->s->now_ms + SWEEP_RETRY_MS;
}

static void sweep_run(struct blob_desk *d)
{
	if (!d->sweep_wanted || d->sweeping || d->sweep_ms > d->s->now_ms || d->removal_count + d->removals_busy > 0 ||
	    d->s->stop != STOP_NOT)
		return;
	d->sweep_wanted = d->sweep_again = false;
	d->sweeping = true;
	d->sweep = (struct blob_job){ .done = swept, .ctx = d };
	d->backend->v->list(d->backend, &d->sweep, found, d);
}

/* ---- collection ---- */

/* Relied on without a reference, or just read: not yet. */
static bool is_wanted(const struct blob_desk *d, const struct blob *b, uint64_t grace_ms)
{
	uint64_t touched = MAX_OF(b->touched_ms, d->started_ms); /* what came before the start may be relied on still */
	return b->users > 0 || touched + grace_ms > d->s->wall_ms;
}

static uint32_t collect(struct blob_desk *d, uint64_t before_ms, uint64_t grace_ms, uint32_t max, bool *more)
{
	struct shard *s = d->s;
	const struct blobs *x = tasks_blobs(s->tasks);
	uint32_t count = 0, looks = 0;
	*more = false;
	for (struct blob *b = blobs_idle(x, NULL, before_ms), *next; b; b = next) {
		next = blobs_idle(x, b, before_ms);
		if (b->ending || b->users > 0 || (grace_ms > 0 && is_wanted(d, b, grace_ms))) {
			if (++looks > 16 * max)
				return count;
			continue;
		}
		*more = count == max;
		if (*more || log_append_room(s->log) < 4096 || !blobs_propose_collect(s->log, b)) {
			*more = true;
			return count;
		}
		hold_urgent(s);
		count++;
	}
	return count;
}

uint32_t collect_now(struct blob_desk *d, uint32_t max, bool *more)
{
	return collect(d, UINT64_MAX, 0, max, more);
}

void collect_run(struct blob_desk *d)
{
	uint64_t grace = d->s->config.blob_grace_ms;
	bool more;
	if (d->s->wall_ms > grace && d->s->stop == STOP_NOT)
		(void)collect(d, d->s->wall_ms - grace, grace, COLLECTS_PER_TURN, &more);
	sweep_run(d);
	removals_run(d);
}
