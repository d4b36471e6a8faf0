/* broker/admin_blob.c: the verbs of blobs. In the flow: frame -> ROUTE -> admin -> (propose ->) REPLY.
 *
 * 1. Lists and look-ups see the blobs of the session's own vnet alone. Collecting and scrubbing are of the whole broker. */
#include "permit.h"

#include "blob_desk.h"

enum { BLOBS_PER_REPLY = 512, COLLECTS_PER_ASK = 1024 };

struct ask {
	struct conn *c;
	struct shard *s;
	const struct msg_request *m;
	uint32_t correlation;
	char text[256];
};

static enum err fail(struct ask *a, enum err code, const char *text)
{
	admin_reply(a->c, a->correlation, code, text[0] ? text : err_text(code), 0);
	return ERR_OK;
}

static void fill(const struct blob *b, struct blob_info *out)
{
	*out = (struct blob_info){ .digest = span_of(b->digest, BLOB_DIGEST), .size = b->size, .media_type = blob_media(b),
				   .vnet = b->vnet_size ? blob_vnet(b) : span_str("default"), .principal = blob_principal(b),
				   .number = b->number, .references = (uint32_t)MIN_OF(b->references, (uint64_t)UINT32_MAX),
				   .created_ms = b->created_ms, .unreferenced_ms = b->unreferenced_ms, .damaged = b->damaged };
	for (; out->pin_count < b->pin_count; out->pin_count++)
		out->pins[out->pin_count] = span_str(b->pins[out->pin_count]);
}

static void reply(struct ask *a, struct blob *const *blobs, uint32_t count, uint64_t next)
{
	struct span specs[BLOBS_PER_REPLY];
	size_t ends[BLOBS_PER_REPLY + 1] = { 0 };
	struct buf bytes = { NULL, 0, 0 };
	uint32_t put = 0;
	for (; put < count && bytes.len < LIMIT_META_BYTES / 2; put++) {
		struct blob_info info;
		fill(blobs[put], &info);
		blob_info_encode(&bytes, &info);
		ends[put + 1] = bytes.len;
	}
	for (uint32_t i = 0; i < put; i++)
		specs[i] = span_sub(buf_span(&bytes), ends[i], ends[i + 1] - ends[i]);
	a->s->msg.kind = FRAME_REPLY;
	a->s->msg.reply = (struct msg_reply){ .count = put, .next = put < count ? blobs[put]->number : next, .specs = specs,
					      .spec_count = put };
	msg_encode(&a->c->out, &a->s->msg, a->correlation, NULL, 0);
	conn_touch(a->c);
	buf_free(&bytes);
}

static bool is_own(const struct ask *a, const struct blob *b)
{
	struct span vnet = b->vnet_size ? blob_vnet(b) : span_str("default");
	return span_eq(vnet, span_str(a->c->session->vnet));
}

static enum err list(struct ask *a)
{
	struct blob *page[BLOBS_PER_REPLY], *own[BLOBS_PER_REPLY];
	uint32_t limit = a->m->limit ? MIN_OF(a->m->limit, (uint32_t)BLOBS_PER_REPLY) : BLOBS_PER_REPLY, count = 0;
	uint64_t next;
	uint32_t all = blobs_list(tasks_blobs(a->s->tasks), a->m->cursor, limit, page, &next);
	for (uint32_t i = 0; i < all; i++)
		if (is_own(a, page[i]))
			own[count++] = page[i];
	reply(a, own, count, next);
	return ERR_OK;
}

/* The blob that the request's spec names, in this vnet. */
static struct blob *named(struct ask *a, struct blob_info *info)
{
	char why[128], name[BLOB_NAME_BYTES];
	enum err e = blob_info_decode(a->m->spec, info, why);
	if (e != ERR_OK || info->digest.len != BLOB_DIGEST) {
		(void)fail(a, e == ERR_OK ? ERR_INVALID_INPUT : e, e == ERR_OK ? "BlobInfo.digest: missing" : why);
		return NULL;
	}
	uint8_t digest[BLOB_DIGEST];
	memcpy(digest, info->digest.data, sizeof digest);
	struct blob *b = blobs_find(tasks_blobs(a->s->tasks), span_str(a->c->session->vnet), digest);
	if (b && !b->ending)
		return b;
	(void)snprintf(a->text, sizeof a->text, "there is no blob %s here", blob_name(digest, name));
	(void)fail(a, ERR_NOT_FOUND, a->text);
	return NULL;
}

static enum err change(struct ask *a)
{
	struct blob_info info;
	struct blob *b = named(a, &info);
	uint32_t records = 1;
	if (!b)
		return ERR_OK;
	enum err e = a->m->verb == VERB_BLOB_REMOVE
			     ? blobs_propose_remove(a->s->log, b, a->text)
			     : blobs_propose_pin(a->s->log, b, info.pin, a->m->verb == VERB_BLOB_PIN, &records, a->text);
	if (e != ERR_OK)
		return fail(a, e, a->text);
	if (records == 0)
		admin_reply(a->c, a->correlation, ERR_OK, "", 0);
	else
		confirm_push(a->s, &(struct pending){ .kind = PENDING_ADMIN, .records = records, .conn = a->c, .correlation = a->correlation });
	return ERR_OK;
}

static enum err show(struct ask *a)
{
	struct blob_info info;
	struct blob *b = named(a, &info);
	if (b)
		reply(a, &b, 1, 0);
	return ERR_OK;
}

static enum err collect(struct ask *a)
{
	bool more;
	uint32_t count = collect_now(a->s->desk, COLLECTS_PER_ASK, &more);
	a->s->msg.kind = FRAME_REPLY;
	a->s->msg.reply = (struct msg_reply){ .count = count, .next = more };
	msg_encode(&a->c->out, &a->s->msg, a->correlation, NULL, 0);
	conn_touch(a->c);
	return ERR_OK;
}

/* One, or all. It goes on behind the answer. */
static enum err scrub(struct ask *a)
{
	struct blob *page[256];
	uint64_t next = 0, total = 0;
	if (a->m->spec.len > 0) {
		struct blob_info info;
		struct blob *b = named(a, &info);
		if (b) {
			scrub_add(a->s->desk, b->number);
			admin_reply(a->c, a->correlation, ERR_OK, "", 1);
		}
		return ERR_OK;
	}
	do {
		uint32_t count = blobs_list(tasks_blobs(a->s->tasks), next, COUNT_OF(page), page, &next);
		for (uint32_t i = 0; i < count; i++)
			scrub_add(a->s->desk, page[i]->number);
		total += count;
	} while (next != 0);
	admin_reply(a->c, a->correlation, ERR_OK, "", total);
	return ERR_OK;
}

enum err admin_blob(struct conn *c, const struct msg_request *m, uint32_t correlation)
{
	struct ask a = { .c = c, .s = c->s, .m = m, .correlation = correlation };
	if (!c->s->desk)
		return fail(&a, ERR_UNSUPPORTED, "this broker keeps no blobs");
	switch (m->verb) {
	case VERB_BLOB_LIST: return list(&a);
	case VERB_BLOB_SHOW: return show(&a);
	case VERB_BLOB_COLLECT: return collect(&a);
	case VERB_BLOB_SCRUB: return scrub(&a);
	default: return change(&a);
	}
}
