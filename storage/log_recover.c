/* storage/log_recover.c: log_open: from whatever a crash left in the directory to a log that leads and takes appends.
 *
 *   lock -> identity -> tail -> vote -> checkpoint, indexes -> replay segment by segment -> judge the end -> tail -> cut -> new term
 *   -> barrier
 *
 * 1. Nothing is changed on disk before everything has been read and judged, but for leftovers that nothing refers to,
 *    indexes, which can be made again from what they index, and a last batch that is put back from its copy (log_tail.c).
 * 2. Where the chain of intact batches ends, the rest is a torn write only if nothing proves that more had been synced: no
 *    later intact header with a synced_end beyond, no index of this or a later segment, no vote file that saw more.
 *    Otherwise it is damage: refused, or with accept_loss skipped and noted.
 * 3. What is cut is overwritten with zeros, durably, before a new batch may be written. Every step can be repeated: a
 *    crash at any point leaves a directory that recovers to the same log.
 * 4. A missing file is damage, never an empty log. Only an index can be made again from its segment (log_reindex.c). */
#include <errno.h>

#include "recover.h"

static enum err say(struct recovery *r, enum err e, const char *format, ...) PRINTF_LIKE(3, 4);
static enum err say(struct recovery *r, enum err e, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(r->text, 256, format, args);
	va_end(args);
	return e;
}

/* ---- the directory ---- */

static void each_name(void *ctx, const char *name)
{
	struct recovery *r = (struct recovery *)ctx;
	uint32_t log_number = segment_number(name, "log"), idx_number = segment_number(name, "idx");
	size_t len = strlen(name);

	if (len > 4 && len < sizeof r->temporaries[0] && strcmp(name + len - 4, ".tmp") == 0) {
		if (r->temporary_count < COUNT_OF(r->temporaries))
			(void)snprintf(r->temporaries[r->temporary_count++], sizeof r->temporaries[0], "%s", name);
	} else if (strcmp(name, "checkpoint") == 0 || strcmp(name, "vote") == 0) {
		r->other_files = true;
	} else if (log_number != 0 || idx_number != 0) {
		if (r->found_count == r->found_cap) {
			r->found_cap = r->found_cap ? r->found_cap * 2 : 64;
			r->found = (struct found *)realloc(r->found, size_mul(r->found_cap, sizeof *r->found));
			ENSURE(r->found != NULL);
		}
		r->found[r->found_count++] = (struct found){
			.number = log_number ? log_number : idx_number, .log = log_number != 0, .idx = idx_number != 0,
		};
	}
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = ((const struct found *)a)->number, y = ((const struct found *)b)->number;

	return x < y ? -1 : x > y;
}

enum err recovery_list(struct recovery *r)
{
	int res = r->io->v->list(r->io, "", each_name, r);
	if (res < 0)
		return say(r, ERR_IO, "cannot list the data directory: %s", strerror(-res));
	if (r->found_count > 1)
		qsort(r->found, r->found_count, sizeof *r->found, by_number);
	uint32_t count = 0;
	for (uint32_t i = 0; i < r->found_count; i++) {
		if (count > 0 && r->found[count - 1].number == r->found[i].number) {
			r->found[count - 1].log |= r->found[i].log;
			r->found[count - 1].idx |= r->found[i].idx;
		} else {
			r->found[count++] = r->found[i];
		}
	}
	r->found_count = count;
	return ERR_OK;
}

struct found *recovery_find(struct recovery *r, uint32_t number)
{
	for (uint32_t i = 0; i < r->found_count; i++)
		if (r->found[i].number == number)
			return &r->found[i];
	return NULL;
}

static enum err remove_file(struct recovery *r, const char *name)
{
	int res = r->io->v->unlink(r->io, name);

	if (res < 0 && res != -ENOENT)
		return say(r, ERR_IO, "cannot remove \"%s\": %s", name, strerror(-res));
	return ERR_OK;
}

static enum err remove_segment(struct recovery *r, struct found *f)
{
	char name[SEGMENT_NAME_MAX];
	enum err e = ERR_OK;

	if (f->idx) {
		segment_name(name, f->number, "idx");
		e = remove_file(r, name);
	}
	if (e == ERR_OK && f->log) {
		segment_name(name, f->number, "log");
		e = remove_file(r, name);
	}
	if (e == ERR_OK)
		f->log = f->idx = false;
	return e;
}

static enum err sync_dir(struct recovery *r)
{
	int res = r->io->v->sync_dir(r->io);

	return res < 0 ? say(r, ERR_IO, "cannot sync the data directory: %s", strerror(-res)) : ERR_OK;
}

/* ---- a new store ---- */

static enum err create_first_batch(struct recovery *r)
{
	struct log *log = r->log;
	struct raft_configuration members;
	struct raft_buffer bytes;
	uint64_t addr;

	raft_configuration_init(&members);
	int res = raft_configuration_add(&members, LOG_NODE_ID, log->config.node_name, RAFT_VOTER);
	ENSURE(res == 0);
	res = raft_configuration_encode(&members, &bytes);
	raft_configuration_close(&members);
	ENSURE(res == 0);

	size_t disk = batch_disk_bytes(record_bytes(bytes.len));
	uint8_t *data = (uint8_t *)aligned_alloc(DISK_BLOCK, disk);
	ENSURE(data != NULL);
	struct batch_head head = {
		.type = BATCH_CHANGE, .segment = 1, .store = log->store, .index = 1, .term = 1, .records = 1,
		.time_ms = io_wall_ms(r->io), .body_len = (uint32_t)record_bytes(bytes.len),
		.synced_end = log_addr(1, 0),
	};
	memcpy(record_begin(data + BATCH_HEADER, 0, (uint32_t)bytes.len), bytes.base, bytes.len);
	raft_free(bytes.base);
	batch_encode(data, &head);
	(void)addr;

	char name[SEGMENT_NAME_MAX];
	segment_name(name, 1, "log");
	int file = r->io->v->open(r->io, name, IO_CREATE | IO_DIRECT | IO_DSYNC);
	int64_t done = file;
	if (file >= 0) {
		done = r->io->v->allocate(r->io, file, log->config.segment_bytes);
		if (done == 0)
			done = r->io->v->sync_dir(r->io);
		if (done == 0)
			done = io_do(r->io, IO_WRITE, file, data, disk, 0);
		r->io->v->close(r->io, file);
	}
	free(data);
	if (done < 0)
		return say(r, errno_is_full(done) ? ERR_DISK_FULL : ERR_IO, "cannot create \"%s\": %s", name,
			   strerror((int)-done));
	return ERR_OK;
}

/* The identity says "creating" until everything is there, so that a crash in between starts over. */
static enum err create_store(struct recovery *r, struct identity *identity)
{
	struct log *log = r->log;

	if (identity->store == 0) {
		log->config.io->v->random(r->io, &identity->store, sizeof identity->store);
		identity->store |= 1;
		(void)snprintf(identity->name, sizeof identity->name, "%s",
			       log->config.node_name[0] ? log->config.node_name : "hillock");
	}
	log->store = identity->store;
	identity->ready = false;
	enum err e = identity_write(r->io, identity, r->text);
	for (uint32_t i = 0; i < r->found_count && e == ERR_OK; i++)
		e = remove_segment(r, &r->found[i]);
	if (e == ERR_OK)
		e = remove_file(r, "checkpoint");
	if (e == ERR_OK)
		e = sync_dir(r);
	if (e == ERR_OK)
		e = create_first_batch(r);
	struct vote vote = { .term = 1, .voted_for = LOG_NODE_ID, .index = 1 };
	if (e == ERR_OK) {
		int res = vote_write(r->io, log->store, &vote);
		if (res < 0)
			e = say(r, ERR_IO, "cannot write the file \"vote\": %s", strerror(-res));
	}
	identity->ready = true;
	if (e == ERR_OK)
		e = identity_write(r->io, identity, r->text);
	if (e != ERR_OK)
		return e;
	log_note(log, "new store %016llx created", (unsigned long long)log->store);
	r->found_count = 0;
	r->temporary_count = 0;
	return recovery_list(r);
}

static enum err identify(struct recovery *r)
{
	struct log *log = r->log;
	struct identity identity = { 0 };

	int res = r->io->v->lock(r->io, "lock");
	if (res == -EWOULDBLOCK)
		return say(r, ERR_LOCKED, "another process uses this data directory");
	if (res < 0)
		return say(r, ERR_IO, "cannot lock the data directory: %s", strerror(-res));
	/* What the last process saw of the directory may not be durable. */
	enum err e = sync_dir(r);
	if (e == ERR_OK)
		e = recovery_list(r);
	if (e != ERR_OK)
		return e;
	e = identity_read(r->io, &identity, r->text);
	if (e == ERR_NOT_FOUND) {
		if (r->found_count > 0 || r->other_files)
			return say(r, ERR_DAMAGED, "the data directory has segments or a checkpoint but no file \"identity\": "
				   "restore it from a backup");
		if (!log->config.create)
			return say(r, ERR_NOT_FOUND, "there is no store in the data directory (no file \"identity\")");
		return create_store(r, &identity);
	}
	if (e != ERR_OK)
		return e;
	log->store = identity.store;
	return identity.ready ? ERR_OK : create_store(r, &identity);
}

/* ---- checkpoint and indexes ---- */

static enum err load_index(struct recovery *r, const struct checkpoint_segment *named)
{
	struct log *log = r->log;
	struct found *f = recovery_find(r, named->number);
	struct buf bytes = { NULL, 0, 0 };
	char name[SEGMENT_NAME_MAX];
	struct span state;

	segment_name(name, named->number, "log");
	enum err e = ERR_OK;
	if (!f || !f->log) {
		e = say(r, ERR_DAMAGED, "the file \"%s\" is missing, and what lives in it with it: restore it from a backup", name);
	} else {
		int64_t size = recovery_file_bytes(r, f);
		if (size < 0)
			return say(r, ERR_IO, "cannot look at \"%s\": %s", name, strerror((int)-size));
		if ((uint64_t)size < named->bytes)
			e = say(r, ERR_DAMAGED, "the file \"%s\" is cut short at %lld of %llu bytes: restore it from a backup",
				name, (long long)size, (unsigned long long)named->bytes);
	}
	if (e == ERR_OK) {
		segment_name(name, named->number, "idx");
		int res = io_read_file(r->io, name, RECOVER_FILE_MAX, &bytes);
		if (res == -ENOENT)
			e = say(r, ERR_DAMAGED, "the file \"%s\" is missing", name);
		else if (res < 0)
			e = say(r, ERR_IO, "cannot read \"%s\": %s", name, strerror(-res));
		else
			e = index_decode(buf_span(&bytes), log->store, named->number, &state, r->text);
		if (e == ERR_DAMAGED) {
			e = recovery_reindex(r, named, &bytes);
			f->idx = f->idx || e == ERR_OK;
			if (e == ERR_OK)
				e = index_decode(buf_span(&bytes), log->store, named->number, &state, r->text);
		}
	}
	if (e == ERR_OK) {
		struct segment *segment = segments_add(&log->segments, named->number, named->bytes, f->file_bytes);
		f->kept = true;
		e = log->config.load_segment(log->config.ctx, segment->number, state, r->text);
	} else if (e == ERR_DAMAGED && log->config.accept_loss) {
		log_note(log, "loss accepted: %s", r->text);
		if (f)
			f->kept = true; /* left where it is, for whoever wants to look into it */
		e = ERR_OK;
	}
	buf_free(&bytes);
	return e;
}

static enum err restore(struct recovery *r, const struct checkpoint *c)
{
	struct log *log = r->log;

	log->index = log->commit = log->applied_index = c->index;
	log->term = log->applied_term = c->term;
	log->hash = log->applied_hash = c->hash;
	log->time_ms = c->time_ms;
	log->applied_segment = c->next_segment;
	log->members.len = 0;
	buf_append(&log->members, c->members.data, c->members.len);
	log->members_index = c->members_index;
	r->start_index = c->index;
	r->start_term = c->term;
	r->start_members_index = c->members_index;
	buf_append(&r->start_members, c->members.data, c->members.len);
	enum err e = log->config.restore(log->config.ctx, c->state, r->text);
	for (uint32_t i = 0; i < c->segment_count && e == ERR_OK; i++)
		e = load_index(r, &c->segments[i]);
	if (e == ERR_OK && log->config.loaded)
		e = log->config.loaded(log->config.ctx, c->next_segment, r->text);
	return e;
}

static enum err load_checkpoint(struct recovery *r)
{
	struct log *log = r->log;
	struct buf bytes = { NULL, 0, 0 };
	struct checkpoint c;
	struct found *first = recovery_find(r, 1);
	bool whole = first && first->log;

	log->applied_segment = 1;
	int res = io_read_file(r->io, "checkpoint", RECOVER_FILE_MAX, &bytes);
	if (res == -ENOENT) {
		if (whole)
			return ERR_OK;
		return say(r, ERR_DAMAGED, "the file \"checkpoint\" or the first segment is missing: restore it from a backup");
	}
	if (res < 0) {
		buf_free(&bytes);
		return say(r, ERR_IO, "cannot read the file \"checkpoint\": %s", strerror(-res));
	}
	enum err e = checkpoint_decode(buf_span(&bytes), log->store, &c, r->text);
	if (e == ERR_OK) {
		log->checkpoint_bytes = bytes.len;
		log->stats.checkpoint_bytes = bytes.len;
		e = restore(r, &c);
		checkpoint_free(&c);
	} else if (e == ERR_DAMAGED && whole) {
		/* Nothing was ever deleted, or the replay will find the gap: the log alone is enough. */
		log_note(log, "%s; replaying the log from its beginning instead", r->text);
		e = ERR_OK;
	}
	buf_free(&bytes);
	return e;
}

/* Deletes what no checkpoint names and no replay needs. */
static enum err remove_leftovers(struct recovery *r)
{
	enum err e = ERR_OK;
	bool removed = r->temporary_count > 0;

	for (uint32_t i = 0; i < r->temporary_count && e == ERR_OK; i++)
		e = remove_file(r, r->temporaries[i]);
	for (uint32_t i = 0; i < r->found_count && e == ERR_OK; i++) {
		struct found *f = &r->found[i];
		if (f->number >= r->first_replayed || f->kept || (!f->log && !f->idx))
			continue;
		removed = true;
		e = remove_segment(r, f);
	}
	return e == ERR_OK && removed ? sync_dir(r) : e;
}

/* ---- the end of the log ---- */

static enum err open_active(struct recovery *r)
{
	struct log *log = r->log;
	struct segment *segment = segments_active(&log->segments);
	char name[SEGMENT_NAME_MAX];

	segment_name(name, segment->number, "log");
	int file = r->io->v->open(r->io, name, IO_DIRECT | IO_DSYNC);
	if (file < 0)
		return say(r, ERR_IO, "cannot open \"%s\": %s", name, strerror(-file));
	segment->writer = file;
	if (segment->file_bytes >= log->config.segment_bytes)
		return ERR_OK;
	int res = r->io->v->allocate(r->io, file, log->config.segment_bytes);
	segment->file_bytes = log->config.segment_bytes;
	if (res < 0)
		return say(r, errno_is_full(res) ? ERR_DISK_FULL : ERR_IO, "cannot allocate \"%s\": %s", name, strerror(-res));
	return ERR_OK;
}

/* Overwrites what lies behind the end, so that it can never be taken for a batch again. */
static enum err cut_tail(struct recovery *r)
{
	struct log *log = r->log;
	struct segment *segment = segments_active(&log->segments);
	bool removed = false;

	for (uint32_t i = 0; i < r->found_count; i++) {
		if (r->found[i].number <= segment->number || (!r->found[i].log && !r->found[i].idx))
			continue;
		removed = true;
		enum err e = remove_segment(r, &r->found[i]);
		if (e != ERR_OK)
			return e;
	}
	if (removed) {
		enum err e = sync_dir(r);
		if (e != ERR_OK)
			return e;
	}
	if (r->tail_end <= log->segments.end)
		return ERR_OK;
	size_t bytes = (size_t)(r->tail_end - log->segments.end);
	uint8_t *zeros = (uint8_t *)aligned_alloc(DISK_BLOCK, bytes);
	ENSURE(zeros != NULL);
	memset(zeros, 0, bytes);
	int64_t res = io_do(r->io, IO_WRITE, segment->writer, zeros, bytes, log->segments.end);
	free(zeros);
	if (res < 0)
		return say(r, ERR_IO, "cannot cut the torn end of segment %08x: %s", segment->number, strerror((int)-res));
	log_note(log, "cut %zu bytes of a torn write, never confirmed, behind entry %llu in segment %08x", bytes,
		 (unsigned long long)log->index, segment->number);
	return ERR_OK;
}

/* ---- lead ---- */

static enum err lead(struct recovery *r)
{
	struct log *log = r->log;
	struct raft_node_config node = {
		.id = LOG_NODE_ID, .address = "self", .election_ms = 1000, .heartbeat_ms = 100, .inflight_max = 512,
		.hooks = *log_raft_hooks(),
	};
	struct raft_node_start start = {
		.term = MAX_OF(r->vote.term, log->term), .voted_for = r->vote.voted_for,
		.snapshot_index = r->start_index, .snapshot_term = r->start_term,
		.configuration_index = r->start_members_index, .configuration = buf_span(&r->start_members),
		.start_index = r->start_index + 1, .entries = r->entries, .count = r->entry_count,
	};

	node.hooks.ctx = log;
	r->io->v->random(r->io, &node.seed, sizeof node.seed);
	log->raft = raft_node_new(&node);
	int res = raft_node_start(log->raft, log_now_ms(log), &start);
	if (res != 0)
		return say(r, ERR_DAMAGED, "the Raft log cannot be started: %s", raft_strerror(res));
	if (log->failed == 0 && !raft_node_leads(log->raft))
		return say(r, ERR_FOREIGN, "this store is a member of a cluster, which this version cannot start");
	while (log->failed == 0 && (log->flying || log->apply_next < log->cache.next)) {
		(void)io_reap(r->io, io_now_ns(r->io) + 1000000000ull);
		if (r->io->v->now_ns(r->io) == r->last_ns && ++r->stuck > 1000)
			return say(r, ERR_IO, "the first write to the log does not complete");
		r->last_ns = r->io->v->now_ns(r->io);
		log_drive(log);
	}
	if (log->failed != 0)
		return say(r, errno_is_full(log->failed) ? ERR_DISK_FULL : ERR_IO, "cannot %s: %s", log->failed_what,
			   strerror(-log->failed));
	return ERR_OK;
}

/* ---- open ---- */

static enum err check_config(const struct log_config *config, char text[256])
{
	if (config->batch_bytes >= 1024 && config->batch_bytes <= LIMIT_BATCH_BYTES &&
	    config->segment_bytes >= LIMIT_SEGMENT_BYTES_MIN && config->segment_bytes % DISK_BLOCK == 0 &&
	    config->segment_bytes >= 2 * (uint64_t)config->batch_bytes && config->segment_bytes <= 32ull << 30 &&
	    config->reserve_segments >= 1)
		return ERR_OK;
	(void)snprintf(text, 256, "segment size, batch size or reserve is out of range");
	return ERR_INVALID_INPUT;
}

static enum err recover(struct recovery *r)
{
	struct log *log = r->log;

	enum err e = identify(r);
	if (e == ERR_OK)
		e = tail_restore(r);
	if (e != ERR_OK)
		return e;
	e = vote_read(r->io, log->store, &r->vote, r->text);
	if (e == ERR_NOT_FOUND)
		e = ERR_DAMAGED;
	if (e == ERR_DAMAGED && log->config.accept_loss) {
		log_note(log, "loss accepted: %s; the term is taken from the log", r->text);
		e = ERR_OK;
	}
	if (e == ERR_OK)
		e = load_checkpoint(r);
	if (e == ERR_OK)
		e = recovery_replay(r);
	if (e == ERR_OK)
		e = remove_leftovers(r);
	if (e == ERR_OK)
		e = open_active(r);
	if (e == ERR_OK)
		e = tail_keep(r);
	if (e == ERR_OK)
		e = cut_tail(r);
	if (e != ERR_OK)
		return e;
	int res = segments_prepare(&log->segments);
	if (res < 0 && res != -ENOSPC)
		return say(r, ERR_IO, "cannot allocate a segment: %s", strerror(-res));
	segments_sample(&log->segments, io_wall_ms(r->io), true);
	return lead(r);
}

enum err log_open(const struct log_config *config, struct log **out, char text[256])
{
	enum err e = check_config(config, text);
	if (e != ERR_OK)
		return e;
	uint64_t begun = io_now_ns(config->io);
	struct log *log = (struct log *)calloc(1, sizeof *log);
	ENSURE(log != NULL);
	log->config = *config;
	log->opening = true;
	log->body_max = (uint32_t)record_bytes(config->batch_bytes);
	log->batch_max = batch_disk_bytes(log->body_max);
	segments_init(&log->segments, &log->config);
	replace_init(&log->replace, config->io, log, checkpoint_finished);
	cache_init(log);

	struct recovery r = { .log = log, .io = config->io, .text = text };
	recovery_begin(&r);
	e = recover(&r);
	recovery_end(&r);
	if (e != ERR_OK) {
		log_close(log);
		return e;
	}
	log->opening = false;
	segments_zero_later(&log->segments);
	if (r.lost)
		log_checkpoint_now(log); /* so that the next start does not meet the damage again */
	log->stats.recovered_entries = r.entry_count;
	log->stats.recovered_ms = (io_now_ns(config->io) - begun) / 1000000;
	log_note(log, "recovered %u entries behind entry %llu in %llu ms; leading in term %llu", r.entry_count,
		 (unsigned long long)r.start_index, (unsigned long long)log->stats.recovered_ms,
		 (unsigned long long)log->term);
	*out = log;
	return ERR_OK;
}
