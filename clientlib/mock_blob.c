/* clientlib/mock_blob.c: blobs in memory: uploads, downloads with credit, who refers to what, pins. See mock_impl.h.
 *
 * 1. Uploads and reads live with the connection; blobs stay until they are removed or collected.
 * 2. References are not counted but looked for: tasks that are not final, results, yields, retained values. */
#include "../wire/sha256.h"
#include "mock_impl.h"

enum { MOCK_CREDIT = 1 << 20 };

struct mock_blob {
	struct mock_blob *next;
	uint8_t digest[SHA256_BYTES];
	uint64_t number, created_ms;
	char *media_type, *pins[BLOB_INFO_PINS];
	uint32_t pin_count;
	struct buf data;
};
struct mock_upload { struct mock_upload *next; uint32_t id; uint64_t number, credit; char *media_type; struct buf data; };
struct mock_read { struct mock_read *next; uint32_t id; struct mock_blob *blob; uint64_t at, end, credit; bool begun; };

static struct mock_blob *find(const struct mock *m, struct span digest)
{
	struct mock_blob *b = m->blobs;
	while (b && !span_eq(span_of(b->digest, sizeof b->digest), digest))
		b = b->next;
	return b;
}

bool mock_payload_there(const struct mock *m, uint8_t kind, struct span bytes)
{
	struct blob_ref ref;
	if (kind != PAYLOAD_BLOB)
		return true;
	blob_ref_read(bytes, &ref);
	const struct mock_blob *b = find(m, span_of(ref.digest, sizeof ref.digest));
	return b && b->data.len == ref.size;
}

/* ---- uploads ---- */

static struct mock_upload **upload_at(struct mock *m, uint32_t id)
{
	struct mock_upload **at = &m->uploads;
	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static void upload_free(struct mock_upload **at)
{
	struct mock_upload *u = *at;
	if (!u)
		return;
	*at = u->next;
	free(u->media_type);
	buf_free(&u->data);
	free(u);
}

static void say_state(struct mock *m, const struct msg_blob_state *state)
{
	const struct msg msg = { .kind = FRAME_BLOB_STATE, .blob_state = *state };
	mock_send(m, &msg, 0);
}

static void say_failed(struct mock *m, uint32_t id, enum err code, const char *text)
{
	say_state(m, &(struct msg_blob_state){ .upload = id, .code = (uint16_t)code, .text = span_str(text) });
	upload_free(upload_at(m, id));
}

static void say_stored(struct mock *m, uint32_t id, const struct mock_blob *b)
{
	say_state(m, &(struct msg_blob_state){ .upload = id, .stored = true, .size = b->data.len,
					       .digest = span_of(b->digest, sizeof b->digest) });
	upload_free(upload_at(m, id));
}

void mock_blob_put(struct mock *m, const struct msg_blob_put *p)
{
	const struct mock_blob *b = p->digest.len ? find(m, p->digest) : NULL;
	if (b) {
		say_stored(m, p->upload, b);
	} else if (p->direct) {
		say_failed(m, p->upload, ERR_UNSUPPORTED, "the mock has no urls");
	} else {
		struct mock_upload *u = calloc(1, sizeof *u);
		ENSURE(u != NULL);
		upload_free(upload_at(m, p->upload));
		*u = (struct mock_upload){ .next = m->uploads, .id = p->upload, .number = ++m->last_blob, .credit = MOCK_CREDIT,
					   .media_type = mock_text(p->media_type) };
		m->uploads = u;
		say_state(m, &(struct msg_blob_state){ .upload = u->id, .number = u->number, .credit = u->credit });
	}
}

void mock_blob_chunk(struct mock *m, const struct msg_blob_chunk *chunk, struct span payload)
{
	struct mock_upload *u = *upload_at(m, chunk->upload);
	if (!u)
		return;
	if (chunk->offset != u->data.len) {
		say_failed(m, u->id, ERR_WRONG_STATE, "a chunk that does not begin where the one before ended");
	} else if (chunk->offset + chunk->size > u->credit) {
		say_failed(m, u->id, ERR_RESOURCE_EXHAUSTED, "a chunk beyond the credit");
	} else {
		buf_append(&u->data, payload.data, chunk->size);
		if (u->credit - u->data.len >= MOCK_CREDIT / 2)
			return;
		u->credit = u->data.len + MOCK_CREDIT;
		say_state(m, &(struct msg_blob_state){ .upload = u->id, .number = u->number, .offset = u->data.len, .credit = u->credit });
	}
}

void mock_blob_end(struct mock *m, const struct msg_blob_end *end)
{
	struct mock_upload *u = *upload_at(m, end->upload);
	struct sha256 sha;
	uint8_t digest[SHA256_BYTES];
	if (!u || end->abandon) {
		upload_free(upload_at(m, end->upload));
		return;
	}
	sha256_begin(&sha);
	sha256_add(&sha, buf_span(&u->data));
	sha256_end(&sha, digest);
	if (end->size != u->data.len || !span_eq(end->digest, span_of(digest, sizeof digest))) {
		say_failed(m, u->id, ERR_INTEGRITY_MISMATCH, "what came has another digest or size");
		return;
	}
	struct mock_blob *b = find(m, end->digest);
	if (!b) {
		ENSURE((b = calloc(1, sizeof *b)) != NULL);
		*b = (struct mock_blob){ .next = m->blobs, .number = u->number, .created_ms = m->now_ms, .media_type = u->media_type,
					 .data = u->data };
		memcpy(b->digest, digest, sizeof digest);
		u->media_type = NULL;
		u->data = (struct buf){ 0 };
		m->blobs = b;
	}
	say_stored(m, u->id, b);
}

/* ---- reads ---- */

static struct mock_read **read_at(struct mock *m, uint32_t id)
{
	struct mock_read **at = &m->reads;
	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static void read_free(struct mock_read **at)
{
	struct mock_read *r = *at;
	if (!r)
		return;
	*at = r->next;
	free(r);
}

static void say_data(struct mock *m, const struct msg_blob_data *data, struct span bytes)
{
	msg_encode_blob_data(&m->output, data, &bytes, bytes.len > 0);
}

/* As far as the credit goes. */
static void read_on(struct mock *m, struct mock_read *r)
{
	bool more = true;
	while (more) {
		uint64_t until = MIN_OF(MIN_OF(r->end, r->credit), r->at + LIMIT_BLOB_CHUNK);
		struct msg_blob_data data = { .read = r->id, .offset = r->at, .size = (uint32_t)(until - MIN_OF(until, r->at)),
					      .total = r->blob->data.len, .end = until == r->end };
		if (data.size == 0 && r->at < r->end)
			return; /* for lack of credit */
		if (!r->begun)
			data.media_type = span_str(r->blob->media_type);
		say_data(m, &data, span_sub(buf_span(&r->blob->data), (size_t)r->at, data.size));
		r->begun = true;
		r->at = until;
		more = !data.end;
	}
	read_free(read_at(m, r->id));
}

void mock_blob_get(struct mock *m, const struct msg_blob_get *g)
{
	struct mock_blob *b = find(m, g->digest);
	struct msg_blob_data no = { .read = g->read, .code = ERR_NOT_FOUND, .text = span_str("there is no such blob") };
	if (b && g->direct)
		no = (struct msg_blob_data){ .read = g->read, .code = ERR_UNSUPPORTED, .text = span_str("the mock has no urls") };
	if (!b || g->direct || g->offset > b->data.len) {
		say_data(m, &no, (struct span){ NULL, 0 });
		return;
	}
	struct mock_read *r = calloc(1, sizeof *r);
	ENSURE(r != NULL);
	uint64_t size = b->data.len, end = g->length ? MIN_OF(g->offset + g->length, size) : size;
	*r = (struct mock_read){ .next = m->reads, .id = g->read, .blob = b, .at = g->offset, .end = end, .credit = g->credit };
	m->reads = r;
	read_on(m, r);
}

void mock_blob_more(struct mock *m, const struct msg_blob_more *more)
{
	struct mock_read *r = *read_at(m, more->read);
	if (!r)
		return;
	if (more->cancel) {
		read_free(read_at(m, more->read));
		return;
	}
	r->credit = MAX_OF(r->credit, more->credit);
	read_on(m, r);
}

void mock_blobs_forget(struct mock *m)
{
	while (m->uploads)
		upload_free(&m->uploads);
	while (m->reads)
		read_free(&m->reads);
}

static void blob_free(struct mock *m, struct mock_blob *b)
{
	struct mock_blob **at = &m->blobs;
	for (struct mock_read **r = &m->reads; *r;)
		if ((*r)->blob == b)
			read_free(r);
		else
			r = &(*r)->next;
	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	for (uint32_t i = 0; i < b->pin_count; i++)
		free(b->pins[i]);
	free(b->media_type);
	buf_free(&b->data);
	free(b);
}

void mock_blobs_free(struct mock *m)
{
	mock_blobs_forget(m);
	while (m->blobs)
		blob_free(m, m->blobs);
}

/* ---- who refers to it, and what is asked ---- */

static bool is_it(const struct mock_blob *b, uint8_t kind, struct span bytes)
{
	return kind == PAYLOAD_BLOB && bytes.len == BLOB_REF_BYTES && memcmp(bytes.data, b->digest, sizeof b->digest) == 0;
}

static uint32_t references(const struct mock *m, const struct mock_blob *b)
{
	uint32_t count = 0;
	for (uint64_t i = 0; i < m->task_count; i++) {
		const struct mock_task *t = m->tasks[i];
		count += !mock_final(t->state) && is_it(b, t->payload_kind, buf_span(&t->payload));
		count += is_it(b, t->result_kind, buf_span(&t->result));
		for (uint32_t y = 0; y < t->yield_count; y++)
			count += is_it(b, t->yield_kinds[y], buf_span(&t->yields[y]));
	}
	for (const struct mock_retained *r = m->retained; r; r = r->next)
		count += is_it(b, r->kind, buf_span(&r->payload));
	return count;
}

static void row_add(const struct mock *m, const struct mock_blob *b, struct buf *out)
{
	struct blob_info *info = calloc(1, sizeof *info);
	ENSURE(info != NULL);
	*info = (struct blob_info){ .digest = span_of(b->digest, sizeof b->digest), .media_type = span_str(b->media_type),
				    .vnet = span_str("default"), .size = b->data.len, .number = b->number, .created_ms = b->created_ms,
				    .references = references(m, b), .pin_count = b->pin_count };
	for (uint32_t i = 0; i < b->pin_count; i++)
		info->pins[i] = span_str(b->pins[i]);
	blob_info_encode(out, info);
	free(info);
}

static enum err pin(struct mock_blob *b, struct span name, bool add)
{
	uint32_t at = 0;
	while (at < b->pin_count && !span_eq(span_str(b->pins[at]), name))
		at++;
	if (add && at == b->pin_count) {
		if (at == BLOB_INFO_PINS)
			return ERR_RESOURCE_EXHAUSTED;
		b->pins[b->pin_count++] = mock_text(name);
	} else if (!add) {
		if (at == b->pin_count)
			return ERR_NOT_FOUND;
		free(b->pins[at]);
		b->pins[at] = b->pins[--b->pin_count];
	}
	return ERR_OK;
}

static uint64_t collect(struct mock *m)
{
	uint64_t count = 0;
	for (struct mock_blob *b = m->blobs, *next; b; b = next) {
		next = b->next;
		if (b->pin_count > 0 || references(m, b) > 0)
			continue;
		blob_free(m, b);
		count++;
	}
	return count;
}

static enum err about_one(struct mock *m, const struct msg_request *r, struct buf *row)
{
	struct blob_info *info = calloc(1, sizeof *info);
	char text[128];
	ENSURE(info != NULL);
	enum err e = blob_info_decode(r->spec, info, text);
	struct mock_blob *b = e == ERR_OK ? find(m, info->digest) : NULL;
	if (e == ERR_OK && !b)
		e = ERR_NOT_FOUND;
	if (e == ERR_OK && r->verb == VERB_BLOB_SHOW)
		row_add(m, b, row);
	else if (e == ERR_OK && r->verb == VERB_BLOB_REMOVE && (b->pin_count > 0 || references(m, b) > 0))
		e = ERR_WRONG_STATE;
	else if (e == ERR_OK && r->verb == VERB_BLOB_REMOVE)
		blob_free(m, b);
	else if (e == ERR_OK)
		e = pin(b, info->pin, r->verb == VERB_BLOB_PIN);
	free(info);
	return e;
}

void mock_blob_request(struct mock *m, const struct msg_request *r, uint32_t correlation)
{
	enum { PAGE = 100 };
	struct msg *msg = calloc(1, sizeof *msg);
	struct buf rows[PAGE] = { { 0 } };
	struct span specs[PAGE];
	uint32_t count = 0, limit = MIN_OF(r->limit ? r->limit : PAGE, (uint32_t)PAGE);
	ENSURE(msg != NULL);
	msg->kind = FRAME_REPLY;
	if (r->verb == VERB_BLOB_LIST) {
		for (const struct mock_blob *b = m->blobs; b && count < limit; b = b->next) /* the newest first */
			if (!r->cursor || b->number < r->cursor) {
				row_add(m, b, &rows[count++]);
				msg->reply.next = b->number;
			}
		msg->reply.next = count == limit ? msg->reply.next : 0;
	} else if (r->verb == VERB_BLOB_COLLECT) {
		msg->reply.count = collect(m);
	} else if (r->verb != VERB_BLOB_SCRUB) {
		msg->reply.code = (uint16_t)about_one(m, r, &rows[0]);
		count = rows[0].len > 0;
	}
	for (uint32_t i = 0; i < count; i++)
		specs[i] = buf_span(&rows[i]);
	msg->reply.specs = specs;
	msg->reply.spec_count = count;
	mock_send(m, msg, correlation);
	for (uint32_t i = 0; i < count; i++)
		buf_free(&rows[i]);
	free(msg);
}
