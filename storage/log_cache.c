/* storage/log_cache.c: what of the log is in memory: the recent batches, and chunks read back for log_fetch.
 *
 * Data flow: log_append fills memory from cache_reserve; after the write the batch stays where it is, until cache_bytes is
 * exceeded. log_fetch looks there first, then in the chunks, and reads from the segment file where neither has it.
 *
 * Batches lie one after the other in slabs; slabs are dropped whole, oldest first, and one is kept to be used again. Only
 * touched pages of a slab cost memory.
 *
 * Who goes on where a chunk ended, as a backlog that is worked off does, gets a chunk of twice the size, up to CHUNKS_AHEAD times the
 * first and a quarter of what chunks may take; once it looks into such a one, the next is read.
 *
 * 1. A slab is dropped only when all its batches are applied and log_fetch has not lent from it in this turn.
 * 2. A chunk with a read in flight is neither moved nor freed.
 * 3. Bytes from disk are handed out only after their checksum, which includes their address, was verified. */
#include <errno.h>

#include "log_internal.h"

enum { CHUNKS_AHEAD = 8 };

static size_t chunks_limit(const struct log *log)
{
	return MAX_OF((size_t)log->config.cache_bytes / 4, 4 * log->cache.chunk_bytes);
}

void cache_init(struct log *log)
{
	struct cache *c = &log->cache;
	size_t budget = (size_t)log->config.cache_bytes;

	*c = (struct cache){ .cap = 64 };
	c->at = (struct cached *)calloc(c->cap, sizeof *c->at);
	ENSURE(c->at != NULL);
	c->slab_bytes = align_up(MAX_OF(2 * log->batch_max, MIN_OF(4 * log->batch_max, budget / 4)), DISK_BLOCK);
	c->chunk_bytes = budget >= (8 << 20) ? 128 << 10 : 16 << 10;
	c->chunk_most = MAX_OF(c->chunk_bytes, MIN_OF(CHUNKS_AHEAD * c->chunk_bytes, chunks_limit(log) / 4 / DISK_BLOCK * DISK_BLOCK));
}

static void slab_free(struct slab *slab)
{
	if (slab)
		free(slab->data);
	free(slab);
}

void cache_spare_free(struct log *log)
{
	slab_free(log->cache.spare);
	log->cache.spare = NULL;
	free(log->cache.chunk_spare);
	log->cache.chunk_spare = NULL;
}

void cache_free(struct log *log)
{
	struct cache *c = &log->cache;

	while (c->oldest) {
		struct slab *slab = c->oldest;
		c->oldest = slab->next;
		slab_free(slab);
	}
	slab_free(c->spare);
	for (uint32_t i = 0; i < c->chunk_count; i++) {
		free(c->chunks[i]->data);
		free(c->chunks[i]->waiters);
		free(c->chunks[i]);
	}
	free(c->chunk_spare);
	free(c->chunks);
	free(c->at);
	memset(c, 0, sizeof *c);
}

/* ---- batches ---- */

static bool slab_droppable(struct log *log)
{
	struct cache *c = &log->cache;
	struct slab *slab = c->oldest;

	return slab != c->newest && slab->pinned != log->turn && c->first + slab->batches <= log->apply_next;
}

static void drop_oldest(struct cache *c)
{
	struct slab *slab = c->oldest;

	c->oldest = slab->next;
	c->first += slab->batches;
	c->bytes -= slab->used;
	if (!c->spare) {
		*slab = (struct slab){ .data = slab->data };
		c->spare = slab;
	} else {
		slab_free(slab);
	}
}

uint8_t *cache_reserve(struct log *log)
{
	struct cache *c = &log->cache;

	if (c->newest && c->slab_bytes - c->newest->used >= log->batch_max)
		return c->newest->data + c->newest->used;
	while (c->oldest && c->bytes + c->slab_bytes > log->config.cache_bytes && slab_droppable(log))
		drop_oldest(c);
	struct slab *slab = c->spare;
	c->spare = NULL;
	if (!slab) {
		slab = (struct slab *)calloc(1, sizeof *slab);
		ENSURE(slab != NULL);
		slab->data = (uint8_t *)aligned_alloc(DISK_BLOCK, c->slab_bytes);
		ENSURE(slab->data != NULL);
	}
	if (c->newest)
		c->newest->next = slab;
	else
		c->oldest = slab;
	c->newest = slab;
	return slab->data;
}

struct cached *cache_push(struct log *log, const struct batch_head *head, uint8_t *data)
{
	struct cache *c = &log->cache;
	size_t bytes = batch_disk_bytes(head->body_len);

	ENSURE(data == c->newest->data + c->newest->used);
	ENSURE(bytes <= c->slab_bytes - c->newest->used);
	if (c->next - c->first == c->cap) {
		struct cached *at = (struct cached *)calloc(size_mul(c->cap, 2), sizeof *at);
		ENSURE(at != NULL);
		for (uint64_t i = c->first; i != c->next; i++)
			at[i & (2 * c->cap - 1)] = c->at[i & (c->cap - 1)];
		free(c->at);
		c->at = at;
		c->cap *= 2;
	}
	struct cached *cached = &c->at[c->next++ & (c->cap - 1)];
	*cached = (struct cached){ .head = *head, .data = data, .slab = c->newest };
	c->newest->used += bytes;
	c->newest->batches++;
	c->bytes += bytes;
	return cached;
}

static struct cached *find_batch(struct log *log, uint64_t addr)
{
	struct cache *c = &log->cache;
	uint64_t low = c->first, high = c->next;

	while (low < high) { /* the first batch that starts behind addr */
		uint64_t middle = low + (high - low) / 2;
		const struct batch_head *head = &cache_at(log, middle)->head;
		if (log_addr(head->segment, head->offset) <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == c->first)
		return NULL;
	struct cached *cached = cache_at(log, low - 1);
	uint64_t end = log_addr(cached->head.segment, cached->head.offset + BATCH_HEADER + cached->head.body_len);
	return addr < end ? cached : NULL;
}

/* ---- chunks ---- */

static void chunk_free(struct cache *c, uint32_t index)
{
	struct chunk *chunk = c->chunks[index];

	c->chunk_total -= chunk->size;
	if (!c->chunk_spare && chunk->size == c->chunk_most)
		c->chunk_spare = chunk->data;
	else
		free(chunk->data);
	free(chunk->waiters);
	free(chunk);
	c->chunks[index] = c->chunks[--c->chunk_count];
}

static void trim_chunks(struct log *log)
{
	struct cache *c = &log->cache;
	uint64_t limit = chunks_limit(log);

	while (c->chunk_total > limit) {
		uint32_t oldest = UINT32_MAX;
		for (uint32_t i = 0; i < c->chunk_count; i++) {
			const struct chunk *chunk = c->chunks[i];
			if (chunk->state != CHUNK_READING && chunk->used != log->turn &&
			    (oldest == UINT32_MAX || chunk->used < c->chunks[oldest]->used))
				oldest = i;
		}
		if (oldest == UINT32_MAX)
			return;
		chunk_free(c, oldest);
	}
}

void cache_trim(struct log *log)
{
	struct cache *c = &log->cache;

	while (c->oldest && c->bytes > log->config.cache_bytes && slab_droppable(log))
		drop_oldest(c);
	if (c->chunk_count > 0)
		trim_chunks(log);
}

static void chunk_completed(struct io_op *op, int64_t res)
{
	struct chunk *chunk = (struct chunk *)op->ctx;

	chunk->result = res;
	chunk->completed = true;
	chunk->log->cache.completed++;
}

static bool chunk_submit(struct chunk *chunk)
{
	struct log *log = chunk->log;
	struct segment *segment = segments_find(&log->segments, chunk->segment);

	ENSURE(segment != NULL);
	int file = segments_reader(&log->segments, segment, log->turn);
	if (file < 0)
		return false;
	segment->reads++;
	chunk->completed = false;
	chunk->op = (struct io_op){
		.kind = IO_READ, .file = file, .data = chunk->data + chunk->filled,
		.len = chunk->len - chunk->filled, .offset = chunk->offset + chunk->filled,
		.done = chunk_completed, .ctx = chunk,
	};
	io_submit(log->config.io, &chunk->op);
	return true;
}

static enum err chunk_wait(struct chunk *chunk, uint64_t addr)
{
	chunk->ahead = false;
	if (chunk->waiting >= LOG_WAITERS_MAX)
		return ERR_RESOURCE_EXHAUSTED;
	if (chunk->waiting == chunk->waiters_cap) {
		chunk->waiters_cap = chunk->waiters_cap ? chunk->waiters_cap * 2 : 8;
		chunk->waiters = (uint64_t *)realloc(chunk->waiters, chunk->waiters_cap * sizeof *chunk->waiters);
		ENSURE(chunk->waiters != NULL);
	}
	chunk->waiters[chunk->waiting++] = addr;
	return ERR_AGAIN;
}

static enum err chunk_begin(struct log *log, struct segment *segment, uint64_t from, size_t len, struct chunk **out)
{
	struct cache *c = &log->cache;
	struct chunk *chunk = (struct chunk *)calloc(1, sizeof *chunk);

	ENSURE(chunk != NULL);
	*chunk = (struct chunk){
		.state = CHUNK_READING, .log = log, .segment = segment->number, .offset = from,
		.len = len, .size = len, .used = log->turn,
	};
	if (c->chunk_spare && len == c->chunk_most) {
		chunk->data = c->chunk_spare;
		c->chunk_spare = NULL;
	} else {
		chunk->data = (uint8_t *)aligned_alloc(DISK_BLOCK, len);
		ENSURE(chunk->data != NULL);
	}
	c->chunks = (struct chunk **)realloc(c->chunks, (c->chunk_count + 1) * sizeof(struct chunk *));
	ENSURE(c->chunks != NULL);
	c->chunks[c->chunk_count++] = chunk;
	c->chunk_total += chunk->size;
	log->stats.cache_misses++;
	if (!chunk_submit(chunk)) {
		log_note(log, "segment %08x cannot be opened for reading", segment->number);
		chunk_free(c, c->chunk_count - 1);
		return ERR_DAMAGED;
	}
	c->reading++;
	*out = chunk;
	return ERR_OK;
}

/* Reads from the block that holds addr, at least `need` bytes of the record, and `ahead` bytes where there are so many. */
static enum err chunk_read(struct log *log, struct segment *segment, uint64_t addr, size_t need, size_t ahead)
{
	uint64_t from = log_addr_offset(addr) / DISK_BLOCK * DISK_BLOCK;
	uint64_t least = align_up((size_t)(log_addr_offset(addr) - from) + need, DISK_BLOCK);

	if (from + least > segment->bytes)
		return ERR_DAMAGED; /* its header promises more than was ever written */
	if (log->cache.reading >= LOG_READS_MAX)
		return ERR_RESOURCE_EXHAUSTED;
	uint64_t len = MIN_OF(MAX_OF(least, (uint64_t)ahead), segment->bytes - from);
	struct chunk *chunk;
	enum err e = chunk_begin(log, segment, from, (size_t)len, &chunk);
	return e == ERR_OK ? chunk_wait(chunk, addr) : e;
}

/* Begins to read what lies behind the chunk, and the end of it once more: a record like this one may begin there. Half of the reads
 * stay for what is asked for. */
static void read_ahead(struct log *log, struct segment *segment, struct chunk *chunk, size_t record)
{
	struct cache *c = &log->cache;
	uint64_t end = chunk->offset + chunk->len;
	size_t again = MIN_OF(align_up(record, DISK_BLOCK), chunk->len / 2 / DISK_BLOCK * DISK_BLOCK);
	struct chunk *next;

	if (end >= segment->bytes || c->reading >= LOG_READS_MAX / 2)
		return;
	chunk->followed = true;
	uint64_t len = MIN_OF((uint64_t)c->chunk_most, segment->bytes - (end - again));
	if (chunk_begin(log, segment, end - again, (size_t)len, &next) == ERR_OK)
		next->ahead = true;
}

/* One read came back. True when the chunk is finished. */
static bool chunk_advance(struct chunk *chunk)
{
	struct log *log = chunk->log;
	bool again = chunk->result == -EINTR || chunk->result == -EAGAIN;

	chunk->completed = false;
	segments_read_done(&log->segments, chunk->segment);
	if (chunk->result > 0)
		chunk->filled += (size_t)chunk->result / DISK_BLOCK * DISK_BLOCK;
	bool gone = segments_find(&log->segments, chunk->segment) == NULL;
	bool partial = chunk->result >= DISK_BLOCK && chunk->filled < chunk->len;
	if (!gone && (again || partial) && chunk_submit(chunk))
		return false;
	chunk->state = chunk->filled == chunk->len ? CHUNK_READY : CHUNK_FAILED;
	chunk->used = log->turn;
	if (chunk->state == CHUNK_FAILED && !gone)
		log_note(log, "cannot read segment %08x at %llu: %s", chunk->segment,
			 (unsigned long long)(chunk->offset + chunk->filled),
			 chunk->result < 0 ? strerror((int)-chunk->result) : "the file is shorter than it was");
	return true;
}

static struct chunk *completed_chunk(struct cache *c)
{
	for (uint32_t i = 0; i < c->chunk_count; i++)
		if (c->chunks[i]->completed)
			return c->chunks[i];
	return NULL;
}

void cache_drive(struct log *log)
{
	struct cache *c = &log->cache;
	struct chunk *chunk;

	c->completed = 0;
	/* The owner may fetch from inside `fetched`: chunks come, and failed ones go. So look afresh each time. */
	while ((chunk = completed_chunk(c)) != NULL) {
		if (!chunk_advance(chunk))
			continue;
		c->reading--;
		uint64_t *waiters = chunk->waiters;
		uint32_t waiting = chunk->waiting;
		chunk->waiters = NULL;
		chunk->waiting = chunk->waiters_cap = 0;
		for (uint32_t i = 0; i < waiting; i++)
			log->config.fetched(log->config.ctx, waiters[i]);
		free(waiters);
	}
}

/* ---- fetch ---- */

static enum err fetch_from_chunks(struct log *log, struct segment *segment, uint64_t addr, struct log_record *out)
{
	struct cache *c = &log->cache;
	uint64_t offset = log_addr_offset(addr);
	size_t need = LOG_RECORD_HEADER, ahead = c->chunk_bytes;
	struct chunk *reading = NULL;

	for (uint32_t i = c->chunk_count; i-- > 0;) {
		struct chunk *chunk = c->chunks[i];
		if (chunk->segment != segment->number || offset < chunk->offset)
			continue;
		if (offset <= chunk->offset + chunk->len + BATCH_HEADER + DISK_BLOCK)
			ahead = MAX_OF(ahead, MIN_OF(2 * chunk->len, c->chunk_most));
		if (offset + LOG_RECORD_HEADER > chunk->offset + chunk->len)
			continue;
		if (chunk->state == CHUNK_READING) {
			reading = chunk; /* unless another one has all of it */
			continue;
		}
		if (chunk->state == CHUNK_FAILED) {
			bool asked = !chunk->ahead;
			chunk_free(c, i); /* the next try reads again */
			if (asked)
				return ERR_DAMAGED;
			continue;
		}
		struct span bytes = { chunk->data + (offset - chunk->offset), (size_t)(chunk->offset + chunk->len - offset) };
		enum err e = record_decode(bytes, addr, &need, out);
		if (e == ERR_AGAIN)
			continue; /* its end is not in this chunk */
		chunk->used = log->turn;
		if (e != ERR_OK)
			return e;
		log->stats.cache_hits++;
		if (!chunk->followed && chunk->len > c->chunk_bytes)
			read_ahead(log, segment, chunk, need);
		return ERR_OK;
	}
	return reading ? chunk_wait(reading, addr) : chunk_read(log, segment, addr, need, ahead);
}

enum err log_fetch(struct log *log, uint64_t addr, struct log_record *out)
{
	const struct pending *pending = &log->pending;
	uint64_t pending_addr = log_addr(pending->segment, pending->offset);

	if (pending->data && addr >= pending_addr &&
	    addr < log_addr(pending->segment, pending->offset + BATCH_HEADER + pending->body_len)) {
		struct batch_head head = { .segment = pending->segment, .offset = pending->offset };
		struct span body = { pending->data + BATCH_HEADER, pending->body_len };
		size_t pos = (size_t)(addr - pending_addr) * 8 - BATCH_HEADER;
		return batch_next_record(&head, body, &pos, out) ? ERR_OK : ERR_NOT_FOUND;
	}
	struct cached *cached = find_batch(log, addr);
	if (cached) {
		struct span body = { cached->data + BATCH_HEADER, cached->head.body_len };
		size_t pos = (size_t)(addr - log_addr(cached->head.segment, cached->head.offset)) * 8;
		if (pos < BATCH_HEADER)
			return ERR_NOT_FOUND;
		pos -= BATCH_HEADER;
		cached->slab->pinned = log->turn;
		log->stats.cache_hits++;
		return batch_next_record(&cached->head, body, &pos, out) ? ERR_OK : ERR_NOT_FOUND;
	}
	struct segment *segment = segments_find(&log->segments, log_addr_segment(addr));
	if (!segment || segment->doomed || log_addr_offset(addr) + LOG_RECORD_HEADER > segment->bytes)
		return ERR_NOT_FOUND;
	return fetch_from_chunks(log, segment, addr, out);
}
