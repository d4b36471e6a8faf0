/* broker/blocks.c: the blocks, in the order of their patterns. In the flow: propose -> log ... -> apply.
 *
 * 1. Apply judges by what is in the record and in the table, never by a clock: a block ends with a record, whoever asked for that.
 * 2. The record of one that ran out names the end that was meant: where it has got another one in between, nothing happens. */
#include "blocks.h"

#include "../wire/predicate.h"

enum { REC_BLOCK_VERSION = 1, SECTION_VERSION = 1, BLOCK_ADD = 1, BLOCK_REMOVE = 2, BLOCK_EXPIRE = 3, BLOCK_NOW = 1 };

struct block {
	uint64_t since_ms, until_ms;
	bool proposed;            /* (v) its end is on its way to the log */
	bool now;                 /* (v) who has leases loses them; until it is enforced */
	uint8_t pattern_size, reason_size;
	uint8_t bytes[LIMIT_NAME_BYTES + LIMIT_REASON_BYTES]; /* pattern, reason */
};
_Static_assert(LIMIT_REASON_BYTES <= UINT8_MAX && LIMIT_NAME_BYTES <= UINT8_MAX, "sizes in one byte each");

struct blocks {
	struct block *all[BLOCKS_MAX];
	uint32_t count;
};

/* This, the pattern, the reason. */
struct rec_block {
	uint8_t version, op, flags, pattern_size, reason_size, pad[3];
	uint64_t since_ms, until_ms; /* EXPIRE: until_ms of the block that is meant */
};
_Static_assert(sizeof(struct rec_block) == 24, "on disk");

#define SHOWN(s) (int)MIN_OF((s).len, 150u), (s).len ? (const char *)(s).data : ""

struct blocks *blocks_new(void)
{
	struct blocks *b = calloc(1, sizeof *b);
	ENSURE(b != NULL);
	return b;
}

void blocks_free(struct blocks *b)
{
	for (uint32_t i = 0; i < b->count; i++)
		free(b->all[i]);
	free(b);
}

/* ---- the table ---- */

static struct span pattern_of(const struct block *x)
{
	return span_of(x->bytes, x->pattern_size);
}

static int compare(struct span a, struct span b)
{
	int order = memcmp(a.data, b.data, MIN_OF(a.len, b.len));
	return order ? order : (a.len > b.len) - (a.len < b.len);
}

static uint32_t place(const struct blocks *b, struct span pattern)
{
	uint32_t low = 0, high = b->count;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (compare(pattern_of(b->all[middle]), pattern) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct block *find(const struct blocks *b, struct span pattern)
{
	uint32_t at = pattern.len ? place(b, pattern) : b->count;
	return at < b->count && span_eq(pattern_of(b->all[at]), pattern) ? b->all[at] : NULL;
}

static enum err judge_add(const struct blocks *b, struct span pattern, struct span reason)
{
	if (pattern.len == 0 || pattern.len > LIMIT_NAME_BYTES || reason.len > LIMIT_REASON_BYTES)
		return ERR_INVALID_INPUT;
	return b->count < BLOCKS_MAX || find(b, pattern) ? ERR_OK : ERR_RESOURCE_EXHAUSTED;
}

static struct block *set(struct blocks *b, struct span pattern, struct span reason, uint64_t since_ms, uint64_t until_ms)
{
	struct block *x = find(b, pattern);
	if (!x) {
		uint32_t at = place(b, pattern);
		x = calloc(1, sizeof *x);
		ENSURE(x != NULL && b->count < BLOCKS_MAX);
		memmove(&b->all[at + 1], &b->all[at], (b->count - at) * sizeof b->all[0]);
		b->all[at] = x;
		b->count++;
		x->since_ms = since_ms;
		x->pattern_size = (uint8_t)pattern.len;
		memcpy(x->bytes, pattern.data, pattern.len);
	}
	x->until_ms = until_ms;
	x->reason_size = (uint8_t)reason.len;
	if (reason.len > 0)
		memcpy(x->bytes + x->pattern_size, reason.data, reason.len);
	return x;
}

static void take_out(struct blocks *b, struct span pattern)
{
	uint32_t at = place(b, pattern);
	free(b->all[at]);
	memmove(&b->all[at], &b->all[at + 1], (--b->count - at) * sizeof b->all[0]);
}

/* ---- propose ---- */

static bool rec_append(struct log *log, struct rec_block rec, struct span pattern, struct span reason)
{
	uint64_t addr;
	rec.version = REC_BLOCK_VERSION;
	rec.pattern_size = (uint8_t)pattern.len;
	rec.reason_size = (uint8_t)reason.len;
	uint8_t *body = log_append(log, REC_BLOCK, sizeof rec + pattern.len + reason.len, &addr);
	if (!body)
		return false;
	memcpy(body, &rec, sizeof rec);
	memcpy(body + sizeof rec, pattern.data, pattern.len);
	if (reason.len > 0)
		memcpy(body + sizeof rec + pattern.len, reason.data, reason.len);
	return true;
}

static enum err no_room(char text[256])
{
	(void)snprintf(text, 256, "no room in this batch of the log");
	return ERR_RESOURCE_EXHAUSTED;
}

enum err blocks_propose_add(struct blocks *b, struct log *log, const struct block_info *info, uint64_t now_ms, uint32_t *records,
			    char text[256])
{
	enum err e = judge_add(b, info->pattern, info->reason);
	*records = 0;
	if (e == ERR_INVALID_INPUT)
		(void)snprintf(text, 256, "BlockInfo.pattern: a pattern has 1 to %d bytes, a reason at most %d", LIMIT_NAME_BYTES,
			       LIMIT_REASON_BYTES);
	else if (e != ERR_OK)
		(void)snprintf(text, 256, "there are %d blocks already", BLOCKS_MAX);
	if (e == ERR_OK && info->for_ms > UINT64_MAX / 2) {
		(void)snprintf(text, 256, "BlockInfo.for_ms: longer than time goes on");
		e = ERR_INVALID_INPUT;
	}
	if (e != ERR_OK)
		return e;
	const struct rec_block rec = { .op = BLOCK_ADD, .flags = info->now ? BLOCK_NOW : 0, .since_ms = now_ms,
				       .until_ms = info->for_ms ? now_ms + info->for_ms : 0 };
	if (!rec_append(log, rec, info->pattern, info->reason))
		return no_room(text);
	*records = 1;
	return ERR_OK;
}

enum err blocks_propose_remove(struct blocks *b, struct log *log, struct span pattern, uint32_t *records, char text[256])
{
	*records = 0;
	if (!find(b, pattern)) {
		(void)snprintf(text, 256, "there is no block %.*s", SHOWN(pattern));
		return ERR_NOT_FOUND;
	}
	if (!rec_append(log, (struct rec_block){ .op = BLOCK_REMOVE }, pattern, span_of(NULL, 0)))
		return no_room(text);
	*records = 1;
	return ERR_OK;
}

uint64_t blocks_next_ms(const struct blocks *b)
{
	uint64_t next = UINT64_MAX;
	for (uint32_t i = 0; i < b->count; i++)
		if (b->all[i]->until_ms && !b->all[i]->proposed)
			next = MIN_OF(next, b->all[i]->until_ms);
	return next;
}

void blocks_tick(struct blocks *b, struct log *log, uint64_t now_ms)
{
	for (uint32_t i = 0; i < b->count; i++) {
		struct block *x = b->all[i];
		if (x->until_ms == 0 || x->until_ms > now_ms || x->proposed)
			continue;
		const struct rec_block rec = { .op = BLOCK_EXPIRE, .until_ms = x->until_ms };
		if (!rec_append(log, rec, pattern_of(x), span_of(NULL, 0)))
			return;
		x->proposed = true;
	}
}

/* ---- apply ---- */

static enum err apply_op(struct blocks *b, const struct rec_block *rec, struct span pattern, struct span reason)
{
	struct block *x = find(b, pattern);
	if (rec->op == BLOCK_ADD) {
		enum err e = judge_add(b, pattern, reason);
		if (e == ERR_OK)
			set(b, pattern, reason, rec->since_ms, rec->until_ms)->now = rec->flags & BLOCK_NOW;
		return e;
	}
	if (x && rec->op == BLOCK_EXPIRE)
		x->proposed = false;
	if (!x || (rec->op == BLOCK_EXPIRE && x->until_ms != rec->until_ms))
		return ERR_NOT_FOUND;
	take_out(b, pattern);
	return ERR_OK;
}

void blocks_apply(struct blocks *b, const struct log_record *record, struct applied *out, struct block_change *changed)
{
	struct reader r = { .rest = record->body };
	struct rec_block rec;
	read_into(&r, &rec, sizeof rec);
	struct span pattern = read_bytes(&r, rec.pattern_size), reason = read_bytes(&r, rec.reason_size);
	ENSURE(!r.failed && rec.version == REC_BLOCK_VERSION && rec.op >= BLOCK_ADD && rec.op <= BLOCK_EXPIRE);
	out->origin = rec.op == BLOCK_EXPIRE ? APPLIED_INTERNAL : APPLIED_ADMIN;
	out->code = (uint16_t)apply_op(b, &rec, pattern, reason);
	out->affected = out->code == ERR_OK;
	*changed = (struct block_change){ .info = { .pattern = pattern, .reason = reason, .since_ms = rec.since_ms,
						    .until_ms = rec.until_ms, .now = rec.flags & BLOCK_NOW },
					  .set = rec.op == BLOCK_ADD, .ran_out = rec.op == BLOCK_EXPIRE };
}

/* ---- checkpoint ---- */

struct section_head { uint32_t version, count; };
struct section_item { uint64_t since_ms, until_ms; uint8_t pattern_size, reason_size, pad[6]; };
_Static_assert(sizeof(struct section_head) == 8 && sizeof(struct section_item) == 24, "on disk");

void blocks_checkpoint(const struct blocks *b, struct buf *out)
{
	const struct section_head head = { SECTION_VERSION, b->count };
	buf_append(out, &head, sizeof head);
	for (uint32_t i = 0; i < b->count; i++) {
		const struct block *x = b->all[i];
		const struct section_item item = { .since_ms = x->since_ms, .until_ms = x->until_ms, .pattern_size = x->pattern_size,
						   .reason_size = x->reason_size };
		buf_append(out, &item, sizeof item);
		buf_append(out, x->bytes, (size_t)x->pattern_size + x->reason_size);
	}
}

enum err blocks_restore(struct blocks *b, struct span section, char text[256])
{
	struct reader r = { .rest = section };
	struct section_head head;
	read_into(&r, &head, sizeof head);
	bool good = !r.failed && head.version == SECTION_VERSION && head.count <= BLOCKS_MAX;
	ENSURE(b->count == 0);
	for (uint32_t i = 0; good && i < head.count; i++) {
		struct section_item item;
		read_into(&r, &item, sizeof item);
		struct span pattern = read_bytes(&r, item.pattern_size), reason = read_bytes(&r, item.reason_size);
		good = !r.failed && judge_add(b, pattern, reason) == ERR_OK && !find(b, pattern);
		if (good)
			(void)set(b, pattern, reason, item.since_ms, item.until_ms);
	}
	if (good && r.rest.len == 0)
		return ERR_OK;
	(void)snprintf(text, 256, "the checkpoint of blocks does not fit at byte %zu", section.len - r.rest.len);
	return ERR_DAMAGED;
}

/* ---- looking ---- */

uint32_t blocks_count(const struct blocks *b)
{
	return b->count;
}

void blocks_info(const struct blocks *b, uint32_t index, struct block_info *out)
{
	ENSURE(index < b->count);
	const struct block *x = b->all[index];
	*out = (struct block_info){ .pattern = pattern_of(x), .reason = span_of(x->bytes + x->pattern_size, x->reason_size),
				    .since_ms = x->since_ms, .until_ms = x->until_ms, .now = x->now };
}

void blocks_enforced(struct blocks *b)
{
	for (uint32_t i = 0; i < b->count; i++)
		b->all[i]->now = false;
}

bool blocks_find(const struct blocks *b, struct span client, struct span identity, uint64_t now_ms, struct block_info *out)
{
	bool found = false;
	for (uint32_t i = 0; i < b->count; i++) {
		const struct block *x = b->all[i];
		bool fits = (client.len > 0 && glob_matches(pattern_of(x), client)) ||
			    (identity.len > 0 && glob_matches(pattern_of(x), identity));
		if (!fits || (x->until_ms && x->until_ms <= now_ms) || (found && !x->now))
			continue;
		blocks_info(b, i, out);
		found = true;
	}
	return found;
}
