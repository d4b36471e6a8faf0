/* broker/blob_scrub.c: the broker reads blobs for itself, one at a time, and compares them with their digests.
 *
 *   BLOB_MORE.damaged, VERB_BLOB_SCRUB -> numbers -> backend -> helper thread -> blob.damaged
 *
 * 1. One chunk of memory, one chunk a turn: nobody waits for a scrub. */
#include "blob_desk.h"

enum { SCRUB_NUMBERS_MAX = BLOBS_MAX };

static bool is_queued(const struct scrub *x, uint64_t number)
{
	const uint64_t *numbers = (const uint64_t *)(const void *)x->numbers.data;
	size_t count = x->numbers.len / sizeof number;
	for (size_t i = x->at; i < count && i < x->at + 64; i++)
		if (numbers[i] == number)
			return true;
	return x->number == number;
}

void scrub_add(struct blob_desk *d, uint64_t number)
{
	struct scrub *x = &d->scrub;
	if (is_queued(x, number) || x->numbers.len / sizeof number >= SCRUB_NUMBERS_MAX)
		return;
	buf_append(&x->numbers, &number, sizeof number);
	d->due = true;
}

/* `good`: it is what it should be; else what is wrong, NULL = nobody knows. */
static void over(struct blob_desk *d, bool good, const char *damage)
{
	struct scrub *x = &d->scrub;
	struct blob *b = blobs_by_number(tasks_blobs(d->s->tasks), x->number);
	if (b)
		b->users--;
	if (damage)
		blob_is_damaged(d, x->number, damage);
	else if (b && good)
		b->damaged = false; /* what could not be read can be read again */
	d->totals.scrubbed++;
	if (x->reader)
		d->backend->v->close(x->reader);
	x->reader = NULL;
	x->number = 0;
	d->due = true;
}

static void opened(struct blob_job *job, enum err code)
{
	struct blob_desk *d = job->ctx;
	d->scrub.busy = false;
	d->due = true;
	if (code == ERR_DAMAGED || code == ERR_NOT_FOUND)
		over(d, false, job->text);
	else if (code != ERR_OK) /* it says nothing about the blob */
		over(d, false, NULL);
}

static void work_run(void *ctx)
{
	struct scrub *x = &((struct blob_desk *)ctx)->scrub;
	sha256_add(&x->hash, span_of(x->room, x->filled));
}

static void work_done(void *ctx)
{
	struct blob_desk *d = ctx;
	struct scrub *x = &d->scrub;
	d->works--;
	x->busy = false;
	x->offset += x->filled;
	d->due = true;
}

static void was_read(struct blob_job *job, enum err code)
{
	struct blob_desk *d = job->ctx;
	struct scrub *x = &d->scrub;
	x->busy = false;
	d->due = true;
	if (code == ERR_DAMAGED || code == ERR_NOT_FOUND || (code == ERR_OK && job->got == 0)) {
		over(d, false, job->text[0] ? job->text : "it is shorter than it should be");
		return;
	}
	if (code != ERR_OK) {
		over(d, false, NULL);
		return;
	}
	x->filled = (uint32_t)job->got;
	x->busy = true;
	x->work = (struct io_work){ .run = work_run, .done = work_done, .ctx = d };
	d->works++;
	io_work(d->s->io, &x->work);
}

static void begin(struct blob_desk *d, struct blob *b)
{
	struct scrub *x = &d->scrub;
	x->number = x->key.number = b->number;
	memcpy(x->key.digest, b->digest, sizeof x->key.digest);
	x->size = b->size;
	x->offset = 0;
	b->users++;
	sha256_begin(&x->hash);
	x->busy = true;
	x->job = (struct blob_job){ .done = opened, .ctx = d };
	d->backend->v->open(d->backend, &x->job, &x->key, x->size, &x->reader);
}

/* The next blob that is still there. */
static void next(struct blob_desk *d)
{
	struct scrub *x = &d->scrub;
	while (x->at * sizeof(uint64_t) < x->numbers.len) {
		struct blob *b = blobs_by_number(tasks_blobs(d->s->tasks), ((const uint64_t *)(const void *)x->numbers.data)[x->at++]);
		if (b) {
			begin(d, b);
			return;
		}
	}
	buf_free(&x->numbers);
	x->at = 0;
	free(x->room);
	x->room = NULL;
}

static void finish(struct blob_desk *d)
{
	struct scrub *x = &d->scrub;
	uint8_t digest[SHA256_BYTES];
	char is[BLOB_NAME_BYTES], text[160];
	sha256_end(&x->hash, digest);
	(void)snprintf(text, sizeof text, "what is stored is %s", blob_name(digest, is));
	bool good = memcmp(digest, x->key.digest, sizeof digest) == 0;
	over(d, good, good ? NULL : text);
}

void scrub_run(struct blob_desk *d)
{
	struct scrub *x = &d->scrub;
	if (x->busy || (x->number == 0 && x->numbers.len == 0))
		return;
	if (x->number == 0) {
		next(d);
		return;
	}
	if (x->offset >= x->size) {
		finish(d);
		return;
	}
	if (!x->room)
		x->room = zalloc(LIMIT_BLOB_CHUNK);
	x->busy = true;
	x->job = (struct blob_job){ .done = was_read, .ctx = d };
	d->backend->v->read(x->reader, &x->job, x->offset, x->room, LIMIT_BLOB_CHUNK);
}

void scrub_forget(struct blob_desk *d)
{
	buf_free(&d->scrub.numbers);
	free(d->scrub.room);
}
