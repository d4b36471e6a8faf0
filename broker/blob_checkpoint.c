/* broker/blob_checkpoint.c: the index of blobs as a section of the checkpoint, and back. In the flow: log -> CHECKPOINT; start -> RESTORE.
 *
 * Blobs are in the order of their numbers, references in that of their tasks. What values and schedules hold is in their own sections,
 * which are read behind this one. Restore trusts no number in the bytes. */
#include "blob_index_impl.h"

enum { SECTION_VERSION = 1 };
struct section_head { uint32_t version, pad; uint64_t blobs, held[BLOB_OWNERS], added_total, collected_total; };
struct section_blob {
	struct rec_blob fixed; /* unreferenced_ms: as it is */
	uint64_t created_ms;
	uint32_t pins, pad;
};
struct section_held { uint64_t task, number; };
_Static_assert(sizeof(struct section_head) == 56 && sizeof(struct section_blob) == 80, "on disk");

static void put_blob(struct buf *out, const struct blob *b)
{
	struct section_blob c = { .created_ms = b->created_ms, .pins = b->pin_count };
	c.fixed = (struct rec_blob){ .version = 1, .vnet_size = b->vnet_size, .media_size = b->media_size,
				     .principal_size = b->principal_size, .number = b->number, .size = b->size,
				     .unreferenced_ms = b->unreferenced_ms };
	memcpy(c.fixed.digest, b->digest, BLOB_DIGEST);
	buf_append(out, &c, sizeof c);
	buf_append(out, b->text, blob_text_bytes(b));
	for (uint32_t i = 0; i < b->pin_count; i++) {
		uint8_t size = (uint8_t)strlen(b->pins[i]);
		buf_append(out, &size, 1);
		buf_append(out, b->pins[i], size);
	}
}

static int compare_held(const void *a, const void *b)
{
	const struct section_held *p = a, *q = b;
	if (p->task != q->task)
		return p->task < q->task ? -1 : 1;
	return p->number < q->number ? -1 : p->number > q->number;
}

/* Sorted; of yields the same pair may be there more than once. */
static uint64_t put_held(const struct blobs *x, enum blob_owner owner, struct buf *out)
{
	size_t from = out->len;
	const struct map64 *m = &x->held[owner];
	for (uint32_t i = 0; i < m->cap; i++) {
		struct section_held c = { .task = m->slots[i].key };
		if (c.task == 0)
			continue;
		const struct held_yield *h = owner == BLOB_OF_YIELD ? blob_pointer(m->slots[i].value) : NULL;
		const struct blob *b = h ? h->blob : blob_pointer(m->slots[i].value);
		for (; b; b = h ? h->blob : NULL) {
			c.number = b->number;
			buf_append(out, &c, sizeof c);
			h = h ? h->next : NULL;
		}
	}
	uint64_t count = (out->len - from) / sizeof(struct section_held);
	if (count > 0)
		qsort(out->data + from, count, sizeof(struct section_held), compare_held);
	return count;
}

void blobs_checkpoint(const struct blobs *x, struct buf *out)
{
	struct section_head head = { .version = SECTION_VERSION, .blobs = x->by_number.count, .added_total = x->sums.added_total,
				     .collected_total = x->sums.collected_total };
	struct buf held = { NULL, 0, 0 };
	for (int owner = 0; owner < BLOB_OWNERS; owner++)
		head.held[owner] = put_held(x, (enum blob_owner)owner, &held);
	buf_append(out, &head, sizeof head);
	buf_append(out, held.data, held.len);
	buf_free(&held);
	struct blob **all = blobs_sorted(x);
	for (uint32_t i = 0; i < x->by_number.count; i++)
		put_blob(out, all[i]);
	free(all);
}

static bool get_blob(struct blobs *x, struct reader *r, uint64_t *above)
{
	struct section_blob c;
	read_into(r, &c, sizeof c);
	struct span vnet = read_bytes(r, c.fixed.vnet_size), media = read_bytes(r, c.fixed.media_size);
	struct span principal = read_bytes(r, c.fixed.principal_size);
	if (r->failed || c.fixed.version != 1 || c.fixed.number <= *above || c.pins > BLOB_INFO_PINS || blobs_find(x, vnet, c.fixed.digest))
		return false;
	struct blob *b = blob_insert(x, &c.fixed, vnet, media, principal);
	b->created_ms = c.created_ms;
	*above = b->number;
	for (uint32_t i = 0; i < c.pins; i++) {
		uint8_t size = 0;
		read_into(r, &size, 1);
		struct span name = read_bytes(r, size);
		if (r->failed || size == 0 || memchr(name.data, 0, size) || !blob_pin_set(x, b, name) || b->pin_count != i + 1)
			return false;
	}
	if ((c.fixed.unreferenced_ms != 0) && b->pin_count > 0)
		return false;
	if (c.fixed.unreferenced_ms != 0)
		blob_idle_enter(x, b, c.fixed.unreferenced_ms);
	return true;
}

static int compare_idle(const void *a, const void *b)
{
	const struct blob *p = *(struct blob *const *)a, *q = *(struct blob *const *)b;
	if (p->unreferenced_ms != q->unreferenced_ms)
		return p->unreferenced_ms < q->unreferenced_ms ? -1 : 1;
	return blob_compare(a, b);
}

/* They were read by number; the list is by time. */
static void sort_idle(struct blobs *x)
{
	uint64_t count = x->sums.idle, n = 0;
	struct blob **all = blob_must(malloc(size_mul(count + 1, sizeof(struct blob *))));
	for (struct blob *b = x->idle_first; b; b = b->idle_next)
		all[n++] = b;
	qsort(all, n, sizeof(struct blob *), compare_idle);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t since = all[i]->unreferenced_ms;
		blob_idle_leave(x, all[i]);
		blob_idle_enter(x, all[i], since);
	}
	free(all);
}

static bool get_held(struct blobs *x, struct span bytes, const uint64_t counts[BLOB_OWNERS])
{
	struct reader r = { .rest = bytes };
	for (int owner = 0; owner < BLOB_OWNERS; owner++)
		for (uint64_t i = 0; i < counts[owner]; i++) {
			struct section_held c;
			read_into(&r, &c, sizeof c);
			struct blob *b = blobs_by_number(x, c.number);
			bool twice = owner != BLOB_OF_YIELD && c.task != 0 && map64_find(&x->held[owner], c.task) != NULL;
			if (r.failed || c.task == 0 || !b || twice || b->unreferenced_ms != 0)
				return false;
			blobs_hold_task(x, (enum blob_owner)owner, c.task, b);
		}
	return true;
}

enum err blobs_verify(const struct blobs *x, char text[256])
{
	char name[BLOB_NAME_BYTES];
	for (uint32_t i = 0; i < x->by_number.cap; i++) {
		const struct blob *b = x->by_number.slots[i].key ? blob_pointer(x->by_number.slots[i].value) : NULL;
		if (b && (b->references + b->pin_count == 0) != (b->unreferenced_ms != 0))
			return blob_refuse(text, ERR_DAMAGED, "the checkpoint of blobs does not fit itself: nothing refers to %s, since no time",
				      blob_name(b->digest, name));
	}
	return ERR_OK;
}

enum err blobs_restore(struct blobs *x, struct span section, char text[256])
{
	struct reader r = { .rest = section };
	struct section_head head;
	uint64_t held = 0, above = 0;
	ENSURE(x->by_number.count == 0);
	read_into(&r, &head, sizeof head);
	bool good = !r.failed && head.version == SECTION_VERSION;
	for (int owner = 0; good && owner < BLOB_OWNERS; owner++) {
		good = head.held[owner] <= section.len / sizeof(struct section_held);
		held += head.held[owner];
	}
	good = good && held * sizeof(struct section_held) <= r.rest.len;
	struct span held_bytes = good ? read_bytes(&r, held * sizeof(struct section_held)) : span_of(NULL, 0);
	for (uint64_t i = 0; good && i < head.blobs; i++)
		good = get_blob(x, &r, &above);
	good = good && r.rest.len == 0 && get_held(x, held_bytes, head.held);
	if (!good)
		return blob_refuse(text, ERR_DAMAGED, "the checkpoint of blobs does not fit at byte %zu", section.len - r.rest.len);
	x->sums.added_total = head.added_total;
	x->sums.collected_total = head.collected_total;
	sort_idle(x);
	return ERR_OK;
}
