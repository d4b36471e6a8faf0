/* broker/blob_index.c: see blob_index.h. In the flow: apply(REC_BLOB, and whatever refers to a blob) -> BLOB_INDEX <- proposals.
 *
 * Invariants
 *  1. A blob is in `idle` exactly when it has neither references nor pins; idle is in the order of unreferenced_ms.
 *  2. Two blobs never have equal (vnet, digest), nor equal numbers.
 *  3. Only fields marked (v) change outside of apply. */
#include "blob_index_impl.h"

#include "hash.h"

#include <stdarg.h>

enum err blob_refuse(char text[256], enum err code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, 256, format, args);
	va_end(args);
	return code;
}

struct blobs *blobs_new(uint64_t seed)
{
	struct blobs *x = blob_must(calloc(1, sizeof *x));
	x->seed = seed;
	return x;
}

const char *blob_name(const uint8_t digest[BLOB_DIGEST], char out[BLOB_NAME_BYTES])
{
	memcpy(out, "sha256:", 7);
	hex_print(digest, BLOB_DIGEST, out + 7);
	return out;
}

/* ---- finding ---- */

/* "default" and no name are the same vnet. */
static struct span plain_vnet(struct span vnet)
{
	return span_eq(vnet, span_str("default")) ? span_of(NULL, 0) : vnet;
}

static uint64_t name_key(const struct blobs *x, struct span vnet, const uint8_t digest[BLOB_DIGEST])
{
	return bytes_hash(span_of(digest, BLOB_DIGEST), bytes_hash(vnet, x->seed)) | 1;
}

struct blob *blobs_find(const struct blobs *x, struct span vnet, const uint8_t digest[BLOB_DIGEST])
{
	vnet = plain_vnet(vnet);
	const struct map64_slot *slot = x->by_name.count ? map64_find(&x->by_name, name_key(x, vnet, digest)) : NULL;
	struct blob *b = slot ? blob_pointer(slot->value) : NULL;
	while (b && (memcmp(b->digest, digest, BLOB_DIGEST) != 0 || !span_eq(blob_vnet(b), vnet)))
		b = b->hash_next;
	return b;
}

struct blob *blobs_by_number(const struct blobs *x, uint64_t number)
{
	const struct map64_slot *slot = number ? map64_find(&x->by_number, number) : NULL;
	return slot ? blob_pointer(slot->value) : NULL;
}

enum err blobs_named(const struct blobs *x, struct span vnet, struct span payload, struct blob **out, char text[256])
{
	struct blob_ref ref;
	char name[BLOB_NAME_BYTES];
	*out = NULL;
	if (payload.len != BLOB_REF_BYTES)
		return blob_refuse(text, ERR_INVALID_INPUT, "the name of a blob has %d bytes, not %zu", BLOB_REF_BYTES, payload.len);
	blob_ref_read(payload, &ref);
	struct blob *b = blobs_find(x, vnet, ref.digest);
	if (!b || b->ending)
		return blob_refuse(text, ERR_NOT_FOUND, "there is no blob %s here", blob_name(ref.digest, name));
	if (b->size != ref.size)
		return blob_refuse(text, ERR_NOT_FOUND, "blob %s has %llu bytes, not %llu", blob_name(ref.digest, name),
			      (unsigned long long)b->size, (unsigned long long)ref.size);
	*out = b;
	return ERR_OK;
}

void blobs_touch(struct blobs *x, struct span vnet, struct span payload, uint64_t now_ms)
{
	struct blob *b;
	char text[256];
	if (x->by_name.count > 0 && blobs_named(x, vnet, payload, &b, text) == ERR_OK)
		b->touched_ms = MAX_OF(b->touched_ms, now_ms);
}

int blob_compare(const void *a, const void *b)
{
	const struct blob *p = *(struct blob *const *)a, *q = *(struct blob *const *)b;
	return p->number < q->number ? -1 : p->number > q->number;
}

static int compare_falling(const void *a, const void *b)
{
	return blob_compare(b, a);
}

/* All of them, by number; the caller frees. */
struct blob **blobs_sorted(const struct blobs *x)
{
	struct blob **all = blob_must(malloc(size_mul((size_t)x->by_number.count + 1, sizeof(struct blob *))));
	uint32_t count = 0;
	for (uint32_t i = 0; i < x->by_number.cap; i++)
		if (x->by_number.slots[i].key)
			all[count++] = blob_pointer(x->by_number.slots[i].value);
	qsort(all, count, sizeof(struct blob *), blob_compare);
	return all;
}

/* `out` is a heap, the highest number in front: b takes its place. */
static void heap_replace(struct blob **out, uint32_t count, struct blob *b)
{
	uint32_t i = 0;
	for (uint32_t child; (child = 2 * i + 1) < count; i = child) {
		if (child + 1 < count && out[child + 1]->number > out[child]->number)
			child++;
		if (out[child]->number <= b->number)
			break;
		out[i] = out[child];
	}
	out[i] = b;
}

/* One pass over all: the `max` lowest from the cursor on. */
uint32_t blobs_list(const struct blobs *x, uint64_t cursor, uint32_t max, struct blob **out, uint64_t *next)
{
	uint32_t count = 0;
	bool more = false;
	for (uint32_t i = 0; i < x->by_number.cap && max > 0; i++) {
		struct blob *b = x->by_number.slots[i].key >= MAX_OF(cursor, 1) ? blob_pointer(x->by_number.slots[i].value) : NULL;
		if (!b)
			continue;
		if (count < max) {
			out[count++] = b;
			if (count == max)
				qsort(out, count, sizeof(struct blob *), compare_falling);
			continue;
		}
		more = true;
		if (b->number < out[0]->number)
			heap_replace(out, count, b);
	}
	qsort(out, count, sizeof(struct blob *), blob_compare);
	*next = more ? out[count - 1]->number + 1 : 0;
	return count;
}

struct blob *blobs_idle(const struct blobs *x, const struct blob *after, uint64_t before_ms)
{
	struct blob *b = after ? after->idle_next : x->idle_first;
	return b && b->unreferenced_ms <= before_ms ? b : NULL;
}

static struct principal_bytes *principal_of(const struct blobs *x, struct span name)
{
	const struct map64_slot *slot = map64_find(&x->principals, bytes_hash(name, x->seed) | 1);
	struct principal_bytes *p = slot ? blob_pointer(slot->value) : NULL;
	while (p && !span_eq(span_of(p->name, p->size), name))
		p = p->next;
	return p;
}

uint64_t blobs_bytes_of(const struct blobs *x, struct span principal)
{
	const struct principal_bytes *p = principal_of(x, principal);
	return p ? p->bytes : 0;
}

void blobs_get_stats(const struct blobs *x, struct blobs_stats *out)
{
	*out = x->sums;
	out->blobs = x->by_number.count;
	out->memory = x->memory + sizeof *x;
}

/* ---- coming and going ---- */

void blob_idle_enter(struct blobs *x, struct blob *b, uint64_t now_ms)
{
	b->unreferenced_ms = MAX_OF(now_ms, 1);
	b->idle_prev = x->idle_last;
	b->idle_next = NULL;
	if (x->idle_last)
		x->idle_last->idle_next = b;
	else
		x->idle_first = b;
	x->idle_last = b;
	x->sums.idle++;
}

void blob_idle_leave(struct blobs *x, struct blob *b)
{
	if (b->unreferenced_ms == 0)
		return;
	if (b->idle_prev)
		b->idle_prev->idle_next = b->idle_next;
	else
		x->idle_first = b->idle_next;
	if (b->idle_next)
		b->idle_next->idle_prev = b->idle_prev;
	else
		x->idle_last = b->idle_prev;
	b->idle_prev = b->idle_next = NULL;
	b->unreferenced_ms = 0;
	x->sums.idle--;
}

static void principal_count(struct blobs *x, struct span name, int64_t bytes, int64_t blobs)
{
	struct principal_bytes *p = principal_of(x, name);
	uint64_t key = bytes_hash(name, x->seed) | 1;
	if (!p) {
		p = blob_must(calloc(1, sizeof *p + name.len));
		p->size = (uint8_t)name.len;
		if (name.len > 0)
			memcpy(p->name, name.data, name.len);
		struct map64_slot *slot = map64_find(&x->principals, key);
		p->next = slot ? blob_pointer(slot->value) : NULL;
		if (slot)
			slot->value = (uintptr_t)p;
		else
			map64_add(&x->principals, key, (uintptr_t)p, &x->memory);
	}
	p->bytes += (uint64_t)bytes;
	p->blobs += (uint64_t)blobs;
	if (p->blobs > 0)
		return;
	struct map64_slot *slot = map64_find(&x->principals, key);
	struct principal_bytes *first = blob_pointer(slot->value), **at = &first;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	slot->value = (uintptr_t)first;
	if (!first)
		map64_remove(&x->principals, slot);
	free(p);
}

/* Not there yet, under neither of its names; without pins, and in no list. */
struct blob *blob_insert(struct blobs *x, const struct rec_blob *rec, struct span vnet, struct span media, struct span principal)
{
	struct blob *b = blob_must(calloc(1, sizeof *b + vnet.len + media.len + principal.len));
	b->number = rec->number;
	b->size = rec->size;
	memcpy(b->digest, rec->digest, BLOB_DIGEST);
	b->vnet_size = (uint8_t)vnet.len;
	b->media_size = (uint8_t)media.len;
	b->principal_size = (uint8_t)principal.len;
	char *at = b->text;
	const struct span parts[] = { vnet, media, principal };
	for (size_t i = 0; i < COUNT_OF(parts); at += parts[i++].len)
		if (parts[i].len > 0)
			memcpy(at, parts[i].data, parts[i].len);
	uint64_t key = name_key(x, vnet, b->digest);
	struct map64_slot *slot = map64_find(&x->by_name, key);
	b->hash_next = slot ? blob_pointer(slot->value) : NULL;
	if (slot)
		slot->value = (uintptr_t)b;
	else
		map64_add(&x->by_name, key, (uintptr_t)b, &x->memory);
	map64_add(&x->by_number, b->number, (uintptr_t)b, &x->memory);
	principal_count(x, principal, (int64_t)b->size, 1);
	x->sums.bytes += b->size;
	x->memory += sizeof *b + blob_text_bytes(b);
	return b;
}

static void blob_free(struct blobs *x, struct blob *b)
{
	for (uint32_t i = 0; i < b->pin_count; i++)
		free(b->pins[i]);
	free(b->pins);
	x->memory -= sizeof *b + blob_text_bytes(b);
	free(b);
}

static void blob_remove(struct blobs *x, struct blob *b)
{
	ENSURE(b->references == 0 && b->pin_count == 0);
	blob_idle_leave(x, b);
	struct map64_slot *slot = map64_find(&x->by_name, name_key(x, blob_vnet(b), b->digest));
	struct blob *first = blob_pointer(slot->value), **at = &first;
	while (*at != b)
		at = &(*at)->hash_next;
	*at = b->hash_next;
	slot->value = (uintptr_t)first;
	if (!first)
		map64_remove(&x->by_name, slot);
	map64_remove(&x->by_number, map64_find(&x->by_number, b->number));
	principal_count(x, blob_principal(b), -(int64_t)b->size, -1);
	x->sums.bytes -= b->size;
	blob_free(x, b);
}

void blobs_free(struct blobs *x)
{
	for (uint32_t i = 0; i < x->by_number.cap; i++)
		if (x->by_number.slots[i].key)
			blob_free(x, blob_pointer(x->by_number.slots[i].value));
	for (uint32_t i = 0; i < x->held[BLOB_OF_YIELD].cap; i++)
		for (struct held_yield *h = x->held[BLOB_OF_YIELD].slots[i].key ? blob_pointer(x->held[BLOB_OF_YIELD].slots[i].value) : NULL, *next; h;
		     h = next) {
			next = h->next;
			free(h);
		}
	for (uint32_t i = 0; i < x->principals.cap; i++)
		for (struct principal_bytes *p = x->principals.slots[i].key ? blob_pointer(x->principals.slots[i].value) : NULL, *next; p; p = next) {
			next = p->next;
			free(p);
		}
	map64_free(&x->by_name, NULL);
	map64_free(&x->by_number, NULL);
	map64_free(&x->principals, NULL);
	for (int i = 0; i < BLOB_OWNERS; i++)
		map64_free(&x->held[i], NULL);
	free(x);
}

/* ---- references ---- */

void blobs_hold(struct blobs *x, struct blob *b)
{
	blob_idle_leave(x, b);
	b->references++;
	x->sums.references++;
}

static void look_idle(struct blobs *x, struct blob *b, uint64_t now_ms)
{
	if (b->references == 0 && b->pin_count == 0 && b->unreferenced_ms == 0)
		blob_idle_enter(x, b, now_ms);
}

void blobs_drop(struct blobs *x, struct blob *b, uint64_t now_ms)
{
	ENSURE(b->references > 0);
	b->references--;
	x->sums.references--;
	look_idle(x, b, now_ms);
}

void blobs_hold_task(struct blobs *x, enum blob_owner owner, uint64_t task, struct blob *b)
{
	struct map64_slot *slot = map64_find(&x->held[owner], task);
	blobs_hold(x, b);
	if (owner != BLOB_OF_YIELD) {
		ENSURE(!slot);
		map64_add(&x->held[owner], task, (uintptr_t)b, &x->memory);
		x->owned.tasks[owner]++;
		return;
	}
	struct held_yield *h = blob_must(malloc(sizeof *h));
	*h = (struct held_yield){ b, slot ? blob_pointer(slot->value) : NULL };
	if (slot) {
		slot->value = (uintptr_t)h;
		return;
	}
	map64_add(&x->held[owner], task, (uintptr_t)h, &x->memory);
	x->owned.tasks[owner]++;
}

void blobs_drop_task_slow(struct blobs *x, enum blob_owner owner, uint64_t task, uint64_t now_ms)
{
	struct map64_slot *slot = map64_find(&x->held[owner], task);
	if (!slot)
		return;
	void *value = blob_pointer(slot->value);
	map64_remove(&x->held[owner], slot);
	x->owned.tasks[owner]--;
	if (owner != BLOB_OF_YIELD) {
		blobs_drop(x, value, now_ms);
		return;
	}
	for (struct held_yield *h = value, *next; h; h = next) {
		next = h->next;
		blobs_drop(x, h->blob, now_ms);
		free(h);
	}
}

bool blobs_each_task(const struct blobs *x, bool (*each)(void *ctx, enum blob_owner owner, uint64_t task), void *ctx)
{
	for (int owner = 0; owner < BLOB_OWNERS; owner++)
		for (uint32_t i = 0; i < x->held[owner].cap; i++)
			if (x->held[owner].slots[i].key && !each(ctx, (enum blob_owner)owner, x->held[owner].slots[i].key))
				return false;
	return true;
}

/* ---- proposals ---- */

static bool append(struct log *log, struct rec_blob rec, const struct blob_view *v)
{
	uint64_t addr;
	rec.version = 1;
	rec.vnet_size = (uint8_t)v->vnet.len;
	rec.media_size = (uint8_t)v->media.len;
	rec.principal_size = (uint8_t)v->principal.len;
	rec.pin_size = (uint8_t)v->pin.len;
	const struct span parts[] = { v->vnet, v->media, v->principal, v->pin };
	size_t size = sizeof rec;
	for (size_t i = 0; i < COUNT_OF(parts); i++)
		size += parts[i].len;
	uint8_t *body = log_append(log, REC_BLOB, size, &addr);
	if (!body)
		return false;
	memcpy(body, &rec, sizeof rec);
	body += sizeof rec;
	for (size_t i = 0; i < COUNT_OF(parts); body += parts[i++].len)
		if (parts[i].len > 0)
			memcpy(body, parts[i].data, parts[i].len);
	return true;
}

static enum err no_room(char text[256])
{
	return blob_refuse(text, ERR_RESOURCE_EXHAUSTED, "no room in this batch of the log");
}

bool blobs_propose_add(struct log *log, const struct blob_add *add)
{
	struct rec_blob rec = { .op = BLOB_OP_ADD, .number = add->number, .size = add->size, .unreferenced_ms = add->instead };
	memcpy(rec.digest, add->digest, BLOB_DIGEST);
	ENSURE(add->media.len <= BLOB_MEDIA_BYTES && add->principal.len <= UINT8_MAX && add->vnet.len <= UINT8_MAX);
	return append(log, rec, &(struct blob_view){ .vnet = plain_vnet(add->vnet), .media = add->media, .principal = add->principal });
}

static bool append_end(struct log *log, struct blob *b, enum blob_op op)
{
	struct rec_blob rec = { .op = (uint8_t)op, .number = b->number, .size = b->size, .unreferenced_ms = b->unreferenced_ms };
	memcpy(rec.digest, b->digest, BLOB_DIGEST);
	b->ending = append(log, rec, &(struct blob_view){ .vnet = blob_vnet(b) }) || b->ending;
	return b->ending;
}

bool blobs_propose_collect(struct log *log, struct blob *b)
{
	ENSURE(b->unreferenced_ms != 0 && !b->ending);
	return append_end(log, b, BLOB_OP_COLLECT);
}

bool blobs_propose_time(struct log *log)
{
	return append(log, (struct rec_blob){ .op = BLOB_OP_TIME, .number = 1 }, &(struct blob_view){ .vnet = span_of(NULL, 0) });
}

enum err blobs_propose_remove(struct log *log, struct blob *b, char text[256])
{
	char name[BLOB_NAME_BYTES];
	if (b->references > 0 || b->pin_count > 0)
		return blob_refuse(text, ERR_WRONG_STATE, "blob %s has %llu references and %u pins", blob_name(b->digest, name),
			      (unsigned long long)b->references, b->pin_count);
	if (b->ending)
		return blob_refuse(text, ERR_NOT_FOUND, "blob %s is being removed", blob_name(b->digest, name));
	return append_end(log, b, BLOB_OP_REMOVE) ? ERR_OK : no_room(text);
}

/* Where the name is or would be. */
static uint32_t pin_place(const struct blob *b, struct span name, bool *there)
{
	uint32_t i = 0;
	int order = 1;
	for (; i < b->pin_count; i++) {
		size_t len = strlen(b->pins[i]);
		order = memcmp(b->pins[i], name.data, MIN_OF(len, name.len));
		order = order ? order : (len > name.len) - (len < name.len);
		if (order >= 0)
			break;
	}
	*there = i < b->pin_count && order == 0;
	return i;
}

enum err blobs_propose_pin(struct log *log, struct blob *b, struct span name, bool pin, uint32_t *records, char text[256])
{
	bool there;
	*records = 0;
	for (size_t i = 0; i < name.len; i++)
		if (name.data[i] <= ' ' || name.data[i] >= 127)
			return blob_refuse(text, ERR_INVALID_INPUT, "BlobInfo.pin: printable characters only, and no spaces");
	if (name.len == 0 || name.len > BLOB_PIN_NAME_BYTES)
		return blob_refuse(text, ERR_INVALID_INPUT, "BlobInfo.pin: 1 to %d bytes", BLOB_PIN_NAME_BYTES);
	(void)pin_place(b, name, &there);
	if (pin && there)
		return ERR_OK;
	if (!pin && !there)
		return blob_refuse(text, ERR_NOT_FOUND, "BlobInfo.pin: there is no pin %.*s of this blob", (int)name.len, (const char *)name.data);
	if (pin && b->pin_count >= BLOB_INFO_PINS)
		return blob_refuse(text, ERR_RESOURCE_EXHAUSTED, "BlobInfo.pin: this blob has %u pins already", b->pin_count);
	struct rec_blob rec = { .op = pin ? BLOB_OP_PIN : BLOB_OP_UNPIN, .number = b->number, .size = b->size };
	memcpy(rec.digest, b->digest, BLOB_DIGEST);
	if (!append(log, rec, &(struct blob_view){ .vnet = blob_vnet(b), .pin = name }))
		return no_room(text);
	*records = 1;
	return ERR_OK;
}

/* ---- apply ---- */

enum err rec_blob_read(struct span body, struct blob_view *out)
{
	struct reader r = { .rest = body };
	read_into(&r, &out->fixed, sizeof out->fixed);
	out->vnet = read_bytes(&r, out->fixed.vnet_size);
	out->media = read_bytes(&r, out->fixed.media_size);
	out->principal = read_bytes(&r, out->fixed.principal_size);
	out->pin = read_bytes(&r, out->fixed.pin_size);
	bool known = out->fixed.version == 1 && out->fixed.op >= BLOB_OP_ADD && out->fixed.op <= BLOB_OP_TIME && out->fixed.number != 0;
	bool pinned = out->fixed.op == BLOB_OP_PIN || out->fixed.op == BLOB_OP_UNPIN;
	return r.failed || !known || r.rest.len > 0 || pinned != (out->pin.len > 0) ? ERR_DAMAGED : ERR_OK;
}

static void apply_add(struct blobs *x, const struct blob_view *v, uint64_t time_ms, struct applied *out)
{
	struct blob *old = blobs_find(x, v->vnet, v->fixed.digest);
	if (old && old->unreferenced_ms != 0) { /* its grace begins anew */
		blob_idle_leave(x, old);
		blob_idle_enter(x, old, time_ms);
	}
	bool instead = old && v->fixed.unreferenced_ms == old->number && old->size == v->fixed.size;
	if ((old && !instead) || blobs_by_number(x, v->fixed.number))
		return;
	if (instead) {
		map64_remove(&x->by_number, map64_find(&x->by_number, old->number));
		old->number = v->fixed.number;
		map64_add(&x->by_number, old->number, (uintptr_t)old, &x->memory);
		old->ending = old->damaged = false; /* what was under way means the other number */
		old->users = 0;
		out->affected = 1;
		return;
	}
	if (x->by_number.count >= BLOBS_MAX) {
		out->code = ERR_RESOURCE_EXHAUSTED;
		return;
	}
	struct blob *b = blob_insert(x, &v->fixed, v->vnet, v->media, v->principal);
	b->created_ms = time_ms;
	blob_idle_enter(x, b, time_ms);
	x->sums.added_total++;
	out->affected = 1;
}

/* In COLLECT its grace must not have begun anew meanwhile. */
static void apply_end(struct blobs *x, struct blob *b, const struct rec_blob *rec, struct applied *out)
{
	b->ending = false;
	bool held = b->references > 0 || b->pin_count > 0;
	if (held || (rec->op == BLOB_OP_COLLECT && b->unreferenced_ms != rec->unreferenced_ms)) {
		out->code = rec->op == BLOB_OP_REMOVE ? ERR_WRONG_STATE : ERR_OK;
		return;
	}
	blob_remove(x, b);
	x->sums.collected_total++;
	out->affected = 1;
}

bool blob_pin_set(struct blobs *x, struct blob *b, struct span name)
{
	bool there;
	uint32_t at = pin_place(b, name, &there);
	if (there || b->pin_count >= BLOB_INFO_PINS)
		return there;
	blob_idle_leave(x, b);
	b->pins = blob_must(realloc(b->pins, size_mul(b->pin_count + 1, sizeof(char *))));
	memmove(&b->pins[at + 1], &b->pins[at], (b->pin_count - at) * sizeof(char *));
	b->pins[at] = blob_must(malloc(name.len + 1));
	memcpy(b->pins[at], name.data, name.len);
	b->pins[at][name.len] = '\0';
	b->pin_count++;
	x->sums.pins++;
	return true;
}

static void pin_clear(struct blobs *x, struct blob *b, struct span name, uint64_t now_ms)
{
	bool there;
	uint32_t at = pin_place(b, name, &there);
	if (!there)
		return;
	free(b->pins[at]);
	memmove(&b->pins[at], &b->pins[at + 1], (--b->pin_count - at) * sizeof(char *));
	x->sums.pins--;
	look_idle(x, b, now_ms);
}

void blobs_apply(struct blobs *x, const struct log_entry *entry, const struct log_record *record, struct applied *out)
{
	struct blob_view v;
	enum err e = rec_blob_read(record->body, &v);
	ENSURE(e == ERR_OK);
	enum blob_op op = (enum blob_op)v.fixed.op;
	out->origin = op == BLOB_OP_ADD || op == BLOB_OP_COLLECT || op == BLOB_OP_TIME ? APPLIED_INTERNAL : APPLIED_ADMIN;
	if (op == BLOB_OP_TIME)
		return;
	if (op == BLOB_OP_ADD) {
		apply_add(x, &v, entry->time_ms, out);
		return;
	}
	struct blob *b = blobs_by_number(x, v.fixed.number);
	if (!b) {
		out->code = op == BLOB_OP_COLLECT ? ERR_OK : ERR_NOT_FOUND;
		return;
	}
	if (op == BLOB_OP_COLLECT || op == BLOB_OP_REMOVE) {
		apply_end(x, b, &v.fixed, out);
		return;
	}
	if (op == BLOB_OP_UNPIN)
		pin_clear(x, b, v.pin, entry->time_ms);
	else if (!blob_pin_set(x, b, v.pin))
		out->code = ERR_RESOURCE_EXHAUSTED;
	out->affected = out->code == ERR_OK;
}
