/* broker/blob_desk.c: opening, the turn, memory, and what a committed record of blobs means. See blob_desk.h. */
#include "blob_upload.h"

#include "sysevent.h"

enum { TICK_MS = 1000 };

/* A task that is kept no longer, and nothing that would say so: its blobs would stay for as long as nobody does anything. */
static void let_time_pass(struct shard *s)
{
	const struct blobs *x = tasks_blobs(s->tasks);
	uint32_t held = 0;
	for (int owner = 0; owner < BLOB_OWNERS; owner++)
		held += blobs_owned(x)->tasks[owner];
	if (held == 0 || s->stop != STOP_NOT || tasks_forget_ms(s->tasks) > s->wall_ms || log_append_room(s->log) < 4096)
		return;
	if (blobs_propose_time(s->log))
		hold_urgent(s);
}

static void tick(struct shard *s, struct timer *t)
{
	struct blob_desk *d = s->desk;
	let_time_pass(s);
	uploads_tick(d);
	d->due = true;
	timer_set(s, t, s->now_ms + TICK_MS);
}

enum err desk_open(struct shard *s, char text[256])
{
	struct blob_backend *backend = s->config.blobs;
	bool owned = !backend && !s->config.blobs_open;
	if (!backend && !owned)
		return ERR_OK; /* there are to be none */
	int res = owned ? blob_local_open(s->io, &backend, text) : 0;
	if (res != 0)
		return ERR_UNAVAILABLE;
	struct blob_desk *d = zalloc(sizeof *d);
	*d = (struct blob_desk){ .s = s, .backend = backend, .owned = owned, .started_ms = s->wall_ms, .sweep_wanted = true };
	d->removals_last = &d->removals;
	d->tick.fire = tick;
	s->desk = d;
	d->due = true;
	timer_set(s, &d->tick, s->now_ms + TICK_MS);
	return ERR_OK;
}

void desk_free(struct shard *s)
{
	struct blob_desk *d = s->desk;
	if (!d)
		return;
	while (d->works > 0) /* what is being hashed is ours until then */
		(void)io_reap(s->io, UINT64_MAX);
	s->desk = NULL;
	if (d->owned)
		d->backend->v->free(d->backend);
	uploads_forget(d);
	reads_forget(d);
	removals_forget(d);
	scrub_forget(d);
	timer_clear(s, &d->tick);
	free(d);
}

uint64_t desk_number(struct blob_desk *d)
{
	return (uint64_t)d->s->epoch << 32 | ++d->counter;
}

bool desk_memory(const struct blob_desk *d, uint64_t bytes)
{
	return d->memory + d->promised + bytes <= d->s->config.blob_memory;
}

bool blobs_run(struct shard *s)
{
	struct blob_desk *d = s->desk;
	if (!d || !d->due)
		return false;
	d->due = false;
	d->turn_bytes = 0;
	uploads_run(d);
	reads_run(d);
	collect_run(d);
	scrub_run(d);
	return d->due;
}

void blob_applied(struct shard *s, const struct log_record *record, const struct applied *applied)
{
	struct blob_desk *d = s->desk;
	struct blob_view v;
	if (!d || rec_blob_read(record->body, &v) != ERR_OK)
		return;
	struct blob_key key = { .number = v.fixed.number };
	memcpy(key.digest, v.fixed.digest, sizeof key.digest);
	switch ((enum blob_op)v.fixed.op) {
	case BLOB_OP_ADD: upload_applied(d, &v, applied); break;
	case BLOB_OP_COLLECT:
	case BLOB_OP_REMOVE:
		if (applied->affected > 0)
			remove_later(d, &key);
		break;
	case BLOB_OP_PIN:
	case BLOB_OP_UNPIN:
	case BLOB_OP_TIME: break;
	}
}

void blob_is_damaged(struct blob_desk *d, uint64_t number, const char *why)
{
	struct shard *s = d->s;
	struct blob *b = blobs_by_number(tasks_blobs(s->tasks), number);
	char name[BLOB_NAME_BYTES];
	struct sys_text quoted;
	if (!b || b->damaged)
		return;
	b->damaged = true;
	d->totals.damaged++;
	shard_note(s, SHARD_ERROR, "blobs", "damaged", "blob=%s references=%llu why=%s", blob_name(b->digest, name),
		   (unsigned long long)b->references, why);
	sys_event(s, "blob.damaged", "\"digest\":\"%s\",\"references\":%llu,\"pins\":%u,\"why\":\"%s\"", name,
		  (unsigned long long)b->references, b->pin_count, sys_quote(&quoted, span_str(why)));
}

void blob_session_detached(struct session *session)
{
	uploads_detached(session);
	blob_reads_end(session);
}

void blob_session_ended(struct session *session)
{
	uploads_ended(session);
	blob_reads_end(session);
	free(session->last_reads);
	session->last_reads = NULL;
}
