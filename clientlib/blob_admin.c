/* clientlib/blob_admin.c: what an operator asks about blobs, and does to them. In the flow: call -> REQUEST -> broker -> REPLY -> rows. */
#include "client_impl.h"

/* Strings of a verified FlatBuffer end in a zero byte. */
static const char *text_of(struct span s)
{
	return s.data ? (const char *)s.data : "";
}

struct rows { hlk_blob_row_fn *each; void *ctx; uint64_t *cursor, *count; };

static void one_row(const struct blob_info *b, const struct rows *rows)
{
	const char *pins[BLOB_INFO_PINS];
	struct hlk_blob_row row = { .blob = { .size = b->size }, .media_type = text_of(b->media_type), .vnet = text_of(b->vnet),
				    .principal = text_of(b->principal), .number = b->number, .created_ms = b->created_ms,
				    .unreferenced_ms = b->unreferenced_ms, .references = b->references, .pins = pins,
				    .pin_count = b->pin_count, .damaged = b->damaged };
	if (b->digest.len == sizeof row.blob.digest)
		memcpy(row.blob.digest, b->digest.data, sizeof row.blob.digest);
	for (uint32_t i = 0; i < b->pin_count; i++)
		pins[i] = text_of(b->pins[i]);
	rows->each(&row, rows->ctx);
}

static void take_rows(struct hlk *c, const struct msg_reply *m, void *arg)
{
	const struct rows *rows = arg;
	struct blob_info *b = calloc(1, sizeof *b);
	char text[128];
	(void)c;
	ENSURE(b != NULL);
	if (rows->cursor)
		*rows->cursor = m->next;
	if (rows->count)
		*rows->count = m->count;
	for (uint32_t i = 0; rows->each && i < m->spec_count; i++)
		if (blob_info_decode(msg_reply_spec(m, i), b, text) == ERR_OK)
			one_row(b, rows);
	free(b);
}

/* `digest` and `pin` may be NULL. */
static int ask(struct hlk *c, enum verb verb, const uint8_t *digest, const char *pin, uint32_t limit, bool question, const char *what,
	       struct rows *rows)
{
	struct blob_info *info = calloc(1, sizeof *info);
	struct buf spec = { 0 };
	ENSURE(info != NULL);
	info->digest = span_of(digest, digest ? HLK_DIGEST_BYTES : 0);
	info->pin = span_str(pin);
	if (digest)
		blob_info_encode(&spec, info);
	free(info);
	int code = pin && strlen(pin) > LIMIT_NAME_BYTES
			   ? error_set(c, HLK_TOO_BIG, "%s: the name is over %d bytes", what, LIMIT_NAME_BYTES)
			   : admin_ask(c, &(struct msg_request){ .verb = (uint16_t)verb, .spec = buf_span(&spec), .limit = limit,
								 .cursor = rows->cursor ? *rows->cursor : 0 },
				       question, what, take_rows, rows);
	buf_free(&spec);
	return code;
}

int hlk_blob_list(struct hlk *c, uint32_t limit, uint64_t *cursor, hlk_blob_row_fn *each, void *ctx)
{
	return ask(c, VERB_BLOB_LIST, NULL, NULL, limit ? limit : 100, true, "blob list", &(struct rows){ each, ctx, cursor, NULL });
}

int hlk_blob_show(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES], hlk_blob_row_fn *each, void *ctx)
{
	return ask(c, VERB_BLOB_SHOW, digest, NULL, 1, true, "blob show", &(struct rows){ each, ctx, NULL, NULL });
}

int hlk_blob_pin(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES], const char *pin)
{
	return ask(c, VERB_BLOB_PIN, digest, pin, 0, true, "blob pin", &(struct rows){ 0 });
}

int hlk_blob_unpin(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES], const char *pin)
{
	return ask(c, VERB_BLOB_UNPIN, digest, pin, 0, false, "blob unpin", &(struct rows){ 0 });
}

int hlk_blob_remove(struct hlk *c, const uint8_t digest[HLK_DIGEST_BYTES])
{
	return ask(c, VERB_BLOB_REMOVE, digest, NULL, 0, false, "blob rm", &(struct rows){ 0 });
}

int hlk_blob_collect(struct hlk *c, uint64_t *count_out)
{
	uint64_t total = 0, count = 0, more = 0;
	int code;
	do {
		code = ask(c, VERB_BLOB_COLLECT, NULL, NULL, 0, true, "blob gc", &(struct rows){ NULL, NULL, &more, &count });
		total += code == HLK_OK ? count : 0;
	} while (code == HLK_OK && more);
	if (count_out)
		*count_out = total;
	return code;
}

int hlk_blob_scrub(struct hlk *c, const uint8_t *digest, uint64_t *count_out)
{
	return ask(c, VERB_BLOB_SCRUB, digest, NULL, 0, true, "blob scrub", &(struct rows){ NULL, NULL, NULL, count_out });
}
