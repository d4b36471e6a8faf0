/* tests/unit/blob_world.h: a client of blobs in the simulated world of shard_world.h, and what is in the store. */
#pragma once

#include "shard_world.h"

#include "../../broker/blob_index.h"
#include "../../wire/sha256.h"

enum { CHUNK = LIMIT_BLOB_CHUNK };

/* ---- a client of blobs ---- */

struct content { uint8_t *bytes; size_t len; uint8_t digest[BLOB_DIGEST]; };

static inline struct content content_of(size_t len, uint8_t seed)
{
	struct content c = { malloc(len + 1), len, { 0 } };
	struct sha256 s;
	assert_non_null(c.bytes);
	for (size_t i = 0; i < len; i++)
		c.bytes[i] = (uint8_t)(i * 31 + i / 251 + seed);
	sha256_begin(&s);
	sha256_add(&s, span_of(c.bytes, len));
	sha256_end(&s, c.digest);
	return c;
}

static inline struct blob_ref ref_of(const struct content *content)
{
	struct blob_ref ref = { .size = content->len };
	memcpy(ref.digest, content->digest, sizeof ref.digest);
	return ref;
}

static inline void send_put(struct client *c, struct msg_blob_put put)
{
	struct msg m = { .kind = FRAME_BLOB_PUT };
	m.blob_put = put;
	client_send(c, &m, 0, span_of(NULL, 0));
}

static inline void send_chunk(struct client *c, uint32_t upload, uint64_t offset, struct span bytes)
{
	struct msg m = { .kind = FRAME_BLOB_CHUNK };
	m.blob_chunk = (struct msg_blob_chunk){ upload, (uint32_t)bytes.len, offset };
	client_send(c, &m, 0, bytes);
}

static inline void send_end(struct client *c, uint32_t upload, uint64_t size, const uint8_t *digest)
{
	struct msg m = { .kind = FRAME_BLOB_END };
	m.blob_end = (struct msg_blob_end){ .upload = upload, .size = size, .digest = span_of(digest, digest ? BLOB_DIGEST : 0),
					    .abandon = digest == NULL };
	client_send(c, &m, 0, span_of(NULL, 0));
}

static inline const struct msg_blob_state *state_of(struct client *c)
{
	return &client_expect(c, FRAME_BLOB_STATE)->blob_state;
}

/* The bytes from `from` on, as credit comes, up to `to`. Says what the last state was. */
static inline struct msg_blob_state feed(struct client *c, uint32_t upload, const struct content *content, uint64_t from, uint64_t to,
				  struct msg_blob_state last)
{
	for (uint64_t at = from; at < to;) {
		while (last.credit <= at && last.code == ERR_OK)
			last = *state_of(c);
		if (last.code != ERR_OK)
			return last;
		uint64_t n = MIN_OF(MIN_OF(last.credit, to) - at, (uint64_t)CHUNK);
		send_chunk(c, upload, at, span_of(content->bytes + at, n));
		at += n;
	}
	return last;
}

/* Until an answer that is not mere credit. */
static inline const struct msg_blob_state *upload_outcome(struct client *c)
{
	const struct msg_blob_state *s = state_of(c);
	while (s->code == ERR_OK && !s->stored)
		s = state_of(c);
	return s;
}

static inline const struct msg_blob_state *store(struct client *c, uint32_t upload, const struct content *content)
{
	const struct msg_blob_put put = { .upload = upload, .size = content->len, .media_type = span_str("image/png") };
	send_put(c, put);
	struct msg_blob_state last = *state_of(c);
	(void)feed(c, upload, content, 0, content->len, last);
	send_end(c, upload, content->len, content->digest);
	const struct msg_blob_state *s = upload_outcome(c);
	assert_int_equal(s->code, ERR_OK);
	assert_true(s->stored);
	return s;
}

static inline void send_get(struct client *c, uint32_t read, const struct content *content, uint64_t offset, uint64_t length,
			    uint64_t credit)
{
	struct msg m = { .kind = FRAME_BLOB_GET };
	m.blob_get = (struct msg_blob_get){ .read = read, .offset = offset, .length = length, .credit = credit,
					    .digest = span_of(content->digest, BLOB_DIGEST) };
	client_send(c, &m, 0, span_of(NULL, 0));
}

/* Everything of it, with credit as it is needed. The code it ended with. */
static inline enum err fetch(struct client *c, uint32_t read, const struct content *content, uint64_t from)
{
	uint64_t at = from;
	send_get(c, read, content, from, 0, from + CHUNK);
	for (;;) {
		const struct msg_blob_data *d = &client_expect(c, FRAME_BLOB_DATA)->blob_data;
		if (d->code != ERR_OK)
			return (enum err)d->code;
		assert_int_equal(d->offset, at);
		assert_int_equal(d->total, content->len);
		assert_memory_equal(c->frame.payload.data, content->bytes + at, d->size);
		at += d->size;
		if (d->end)
			break;
		struct msg m = { .kind = FRAME_BLOB_MORE };
		m.blob_more = (struct msg_blob_more){ .read = read, .credit = at + 2 * CHUNK };
		client_send(c, &m, 0, span_of(NULL, 0));
	}
	assert_int_equal(at, content->len);
	return ERR_OK;
}

static inline struct blob *blob_in(struct world *w, const struct content *content)
{
	return blobs_find(tasks_blobs(shard_tasks(w->shard)), span_of(NULL, 0), content->digest);
}

struct files { uint32_t whole, parts; char last[64 + 2 * BLOB_DIGEST + 32]; };
static const char *files_dir;
static inline void each_file(void *ctx, const char *name)
{
	struct files *f = ctx;
	bool up = strcmp(files_dir, "blobs/up") == 0;
	f->whole += !up;
	f->parts += up;
	(void)snprintf(f->last, sizeof f->last, "%s/%s", files_dir, name);
}

static inline struct files files_of(struct world *w)
{
	struct files f = { 0 };
	for (unsigned i = 0; i <= 256; i++) {
		char dir[16];
		(void)snprintf(dir, sizeof dir, i < 256 ? "blobs/%02x" : "blobs/up", i);
		files_dir = dir;
		(void)w->io->v->list(w->io, dir, each_file, &f);
	}
	return f;
}

static inline double stat_of(struct world *w, const char *name)
{
	struct shard_stat stats[SHARD_STATS_MAX];
	uint32_t count = shard_stats(w->shard, stats, SHARD_STATS_MAX);
	for (uint32_t i = 0; i < count; i++)
		if (strcmp(stats[i].name, name) == 0)
			return stats[i].value;
	fail_msg("there is no figure %s", name);
	return 0;
}
