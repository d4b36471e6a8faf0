/* broker/topics.c: see topics.h. In the flow: apply(REC_TOPIC, REC_RETAIN) -> TOPICS <- submit, publish.
 *
 * Invariants
 *  1. Two queues never have an equal pattern of TOPIC_TASKS, decided in apply.
 *  2. A topic names a queue that exists: removing the queue removes its topics.
 *  3. Lists are in the order of making, which a checkpoint keeps. */
#include "blob_index.h"
#include "tasks_impl.h"
#include "topics.h"
#include "topics_record.h"

struct topics {
	struct match tasks, events;
	struct topic *first, **last;
	uint32_t counts[3];
	uint64_t generation;
	struct retained *retained, **retained_last;
	struct retained **buckets;
	uint32_t bucket_count, retained_count;
	uint64_t retained_bytes;
};

struct topics *tasks_topics(struct tasks *t)
{
	return t->topics;
}

struct topics *topics_new(uint64_t seed)
{
	struct topics *p = calloc(1, sizeof *p);
	ENSURE(p != NULL);
	p->tasks.seed = p->events.seed = seed;
	p->last = &p->first;
	p->retained_last = &p->retained;
	p->generation = 1;
	p->bucket_count = 1024;
	p->buckets = calloc(p->bucket_count, sizeof(struct retained *));
	ENSURE(p->buckets != NULL);
	return p;
}

/* ---- topics ---- */

static struct span topic_vnet(const struct topic *x) { return span_of(x->text, x->vnet_size); }
static struct span topic_pattern(const struct topic *x) { return span_of(x->text + x->vnet_size, x->pattern_size); }

static struct match *match_of(struct topics *p, enum topic_kind kind)
{
	return kind == TOPIC_TASKS ? &p->tasks : &p->events;
}

static void topic_add(struct topics *p, enum topic_kind kind, uint32_t queue, struct span vnet, struct span pattern)
{
	struct topic *x = calloc(1, sizeof *x + vnet.len + pattern.len);
	ENSURE(x != NULL);
	x->queue = queue;
	x->kind = (uint8_t)kind;
	x->vnet_size = (uint8_t)vnet.len;
	x->pattern_size = (uint8_t)pattern.len;
	if (vnet.len > 0)
		memcpy(x->text, vnet.data, vnet.len);
	memcpy(x->text + vnet.len, pattern.data, pattern.len);
	bool added = match_add(match_of(p, kind), &x->match, vnet, pattern, false);
	ENSURE(added); /* looked at before it was proposed, and when it was read back */
	*p->last = x;
	p->last = &x->next;
	p->counts[kind]++;
	p->generation++;
}

static void topic_drop(struct topics *p, struct topic **at)
{
	struct topic *x = *at;
	*at = x->next;
	if (!x->next)
		p->last = at;
	match_remove(match_of(p, (enum topic_kind)x->kind), &x->match);
	p->counts[x->kind]--;
	p->generation++;
	free(x);
}

/* With queue 0 any queue's; an empty pattern is any. */
static struct topic **topic_find(struct topics *p, struct topic **from, enum topic_kind kind, uint32_t queue, struct span vnet,
				 struct span pattern)
{
	struct topic **at = from;
	while (*at && ((*at)->kind != kind || (queue != 0 && (*at)->queue != queue) || !span_eq(topic_vnet(*at), vnet) ||
		       (pattern.len > 0 && !span_eq(topic_pattern(*at), pattern))))
		at = &(*at)->next;
	(void)p;
	return at;
}

void topics_queue_removed(struct topics *p, uint32_t queue)
{
	struct topic **at = &p->first;
	while (*at) {
		if ((*at)->queue == queue)
			topic_drop(p, at);
		else
			at = &(*at)->next;
	}
}

static bool first_match(void *ctx, struct match_item *item)
{
	*(struct topic **)ctx = CONTAINER_OF(item, struct topic, match);
	return false;
}

uint32_t topics_queue(const struct topics *p, struct span vnet, struct span type)
{
	struct topic *found = NULL;
	if (p->counts[TOPIC_TASKS] > 0)
		match_each(&p->tasks, vnet, type, first_match, &found);
	return found ? found->queue : 0;
}

struct feeds { uint16_t *queues; uint32_t count, max; };
static bool each_feed(void *ctx, struct match_item *item)
{
	struct feeds *f = ctx;
	uint16_t queue = (uint16_t)CONTAINER_OF(item, struct topic, match)->queue;
	for (uint32_t i = 0; i < f->count; i++)
		if (f->queues[i] == queue)
			return true; /* two of its patterns match */
	if (f->count < f->max)
		f->queues[f->count++] = queue;
	return f->count < f->max;
}

uint32_t topics_feeds(const struct topics *p, struct span vnet, struct span type, uint16_t *queues, uint32_t max)
{
	struct feeds f = { queues, 0, max };
	if (p->counts[TOPIC_EVENTS] > 0)
		match_each(&p->events, vnet, type, each_feed, &f);
	return f.count;
}

uint64_t topics_generation(const struct topics *p) { return p->generation; }
const struct topic *topics_first(const struct topics *p) { return p->first; }
const struct retained *topics_retained_first(const struct topics *p) { return p->retained; }

void topics_get_stats(const struct topics *p, struct topics_stats *out)
{
	*out = (struct topics_stats){ p->counts[TOPIC_TASKS], p->counts[TOPIC_EVENTS], p->retained_count, p->retained_bytes };
}

/* ---- proposals ---- */

static bool propose(struct log *log, enum rec_topic_op op, enum topic_kind kind, uint32_t queue, struct span vnet,
		    struct span pattern)
{
	const struct rec_topic rec = { .version = REC_VERSION, .op = (uint8_t)op, .kind = (uint8_t)kind,
				       .vnet_size = (uint8_t)vnet.len, .pattern_size = (uint8_t)pattern.len, .queue = queue };
	uint64_t addr;
	uint8_t *body = log_append(log, REC_TOPIC, sizeof rec + vnet.len + pattern.len, &addr);
	if (!body)
		return false;
	memcpy(body, &rec, sizeof rec);
	if (vnet.len > 0)
		memcpy(body + sizeof rec, vnet.data, vnet.len);
	if (pattern.len > 0)
		memcpy(body + sizeof rec + vnet.len, pattern.data, pattern.len);
	return true;
}

/* A type that a pattern matches, and no other pattern names: what is fed by the pattern is fed by its events. */
static struct span any_type_of(struct span pattern, char text[LIMIT_NAME_BYTES + 1])
{
	memcpy(text, pattern.data, pattern.len);
	if (pattern.len > 0 && text[pattern.len - 1] == '*')
		text[pattern.len - 1] = '~';
	return span_of(text, pattern.len);
}

/* Would the events of some type go to more than TOPIC_FEEDS_MAX queues, if this one were fed by the pattern as well? Those of the types
 * that the patterns below it name are looked at, too. */
static bool feeds_full(const struct topics *p, uint32_t queue, struct span vnet, struct span pattern)
{
	uint16_t queues[TOPIC_FEEDS_MAX];
	char text[LIMIT_NAME_BYTES + 1];
	if (p->counts[TOPIC_EVENTS] < TOPIC_FEEDS_MAX)
		return false;
	const struct pattern wide = pattern_parse(pattern);
	bool full = false;
	for (const struct topic *x = p->first; !full; x = x->next) {
		struct span type = any_type_of(x ? topic_pattern(x) : pattern, text);
		if (x && (x->kind != TOPIC_EVENTS || !span_eq(topic_vnet(x), vnet) || !pattern_matches(&wide, type)))
			continue;
		uint32_t count = topics_feeds(p, vnet, type, queues, TOPIC_FEEDS_MAX);
		full = count == TOPIC_FEEDS_MAX;
		for (uint32_t i = 0; full && i < count; i++)
			full = queues[i] != queue;
		if (!x)
			break;
	}
	return full;
}

static enum err bind_check(struct tasks *t, enum topic_kind kind, uint32_t id, struct span vnet, struct span pattern,
			   char text[256])
{
	struct topics *p = t->topics;
	if (pattern_parse(pattern).kind == PATTERN_BAD || pattern.len > LIMIT_NAME_BYTES || vnet.len > LIMIT_NAME_BYTES) {
		(void)snprintf(text, 256, "a pattern is a type, NAMESPACE.* or *");
		return ERR_INVALID_INPUT;
	}
	const struct topic *other = kind == TOPIC_TASKS ? *topic_find(p, &p->first, kind, 0, vnet, pattern) : NULL;
	if (other && other->queue != id) {
		const struct queue *q = t->queues[other->queue - 1];
		(void)snprintf(text, 256, "queue %.*s has the same pattern: it would be ambiguous", q->name_size, (const char *)q->name);
		return ERR_AMBIGUOUS;
	}
	if (p->counts[TOPIC_TASKS] + p->counts[TOPIC_EVENTS] >= TOPICS_MAX) {
		(void)snprintf(text, 256, "there are %d bindings and durable subscriptions already", TOPICS_MAX);
		return ERR_RESOURCE_EXHAUSTED;
	}
	if (kind == TOPIC_EVENTS && feeds_full(p, id, vnet, pattern)) {
		(void)snprintf(text, 256, "%d queues are fed by the same events already", TOPIC_FEEDS_MAX);
		return ERR_RESOURCE_EXHAUSTED;
	}
	return ERR_OK;
}

enum err topics_propose_bind(struct tasks *t, struct log *log, enum topic_kind kind, struct span queue, struct span vnet,
			     struct span pattern, bool create, uint32_t *records, char text[256])
{
	const struct queue_settings unset = QUEUE_SETTINGS_UNSET;
	uint32_t id = queue_lookup(t, queue);
	*records = 0;
	enum err e = bind_check(t, kind, id, vnet, pattern, text);
	if (e != ERR_OK)
		return e;
	if (!id && create) {
		e = tasks_propose_queue(t, log, queue, &unset, true, records, text);
		if (e != ERR_OK)
			return e;
		id = queue_lookup(t, queue);
	}
	if (!id) {
		(void)snprintf(text, 256, "there is no queue %.*s", (int)MIN_OF(queue.len, 200), queue.len ? (const char *)queue.data : "");
		return ERR_NOT_FOUND;
	}
	if (*topic_find(t->topics, &t->topics->first, kind, id, vnet, pattern))
		return ERR_OK;
	if (!propose(log, TOPIC_OP_ADD, kind, id, vnet, pattern)) {
		(void)snprintf(text, 256, "no room in this batch of the log");
		return *records ? ERR_OK : ERR_RESOURCE_EXHAUSTED; /* a queue that was made stays made */
	}
	++*records;
	return ERR_OK;
}

enum err topics_propose_unbind(struct tasks *t, struct log *log, enum topic_kind kind, struct span queue, struct span vnet,
			       struct span pattern, uint32_t *records, char text[256])
{
	uint32_t id = queue_lookup(t, queue);
	*records = 0;
	if (!id || !*topic_find(t->topics, &t->topics->first, kind, id, vnet, pattern)) {
		(void)snprintf(text, 256, id ? "the queue has no such pattern" : "there is no such queue");
		return ERR_NOT_FOUND;
	}
	if (!propose(log, TOPIC_OP_REMOVE, kind, id, vnet, pattern)) {
		(void)snprintf(text, 256, "no room in this batch of the log");
		return ERR_RESOURCE_EXHAUSTED;
	}
	*records = 1;
	return ERR_OK;
}

void apply_topic(struct tasks *t, const struct log_record *record, struct applied *out)
{
	struct topics *p = t->topics;
	struct topic_view v;
	enum err e = rec_topic_read(record->body, &v);
	ENSURE(e == ERR_OK);
	enum topic_kind kind = (enum topic_kind)v.fixed.kind;
	uint32_t queue = v.fixed.queue;
	out->origin = APPLIED_ADMIN;
	if (!queue_at(t, queue) || t->queues[queue - 1]->proposed_create)
		return; /* removed in the meantime; another may be on its way into its place, which replay does not see */
	struct topic **at = topic_find(p, &p->first, kind, v.fixed.op == TOPIC_OP_ADD && kind == TOPIC_TASKS ? 0 : queue, v.vnet,
				       v.pattern);
	if (v.fixed.op == TOPIC_OP_ADD) {
		if (*at)
			return; /* another proposal was first */
		if (kind == TOPIC_EVENTS && feeds_full(p, queue, v.vnet, v.pattern)) {
			out->code = ERR_RESOURCE_EXHAUSTED; /* others were: none of what it asked for may be left out in silence */
			return;
		}
		topic_add(p, kind, queue, v.vnet, v.pattern);
		out->affected = 1;
		return;
	}
	while (*at) {
		topic_drop(p, at);
		out->affected++;
		at = topic_find(p, at, kind, queue, v.vnet, v.pattern);
	}
}

/* ---- last values ---- */

static uint64_t value_hash(const struct topics *p, struct span vnet, struct span type, struct span key)
{
	return bytes_hash(key, bytes_hash(type, bytes_hash(vnet, p->tasks.seed)));
}

static struct retained *value_find(const struct topics *p, uint64_t hash, struct span vnet, struct span type, struct span key)
{
	struct retained *r = p->buckets[hash & (p->bucket_count - 1)];
	while (r && (r->hash != hash || !span_eq(retained_vnet(r), vnet) || !span_eq(retained_type(r), type) ||
		     !span_eq(span_of(r->bytes + r->frame_size + r->vnet_size + r->type_size, r->key_size), key)))
		r = r->hash_next;
	return r;
}

static size_t value_bytes(const struct retained *r)
{
	return sizeof *r + r->frame_size + r->vnet_size + r->type_size + r->key_size;
}

static void value_drop(struct topics *p, struct retained *r)
{
	struct retained **at = &p->buckets[r->hash & (p->bucket_count - 1)];
	while (*at != r)
		at = &(*at)->hash_next;
	*at = r->hash_next;
	*r->link = r->next;
	if (r->next)
		r->next->link = r->link;
	else
		p->retained_last = r->link;
	p->retained_count--;
	p->retained_bytes -= value_bytes(r);
	free(r);
}

static void values_grow(struct topics *p)
{
	free(p->buckets);
	p->bucket_count *= 4;
	p->buckets = calloc(p->bucket_count, sizeof(struct retained *));
	ENSURE(p->buckets != NULL);
	for (struct retained *r = p->retained; r; r = r->next) {
		r->hash_next = p->buckets[r->hash & (p->bucket_count - 1)];
		p->buckets[r->hash & (p->bucket_count - 1)] = r;
	}
}

/* `blob`: what it names, NULL = nothing. */
static void value_set(struct tasks *t, const struct retain_view *v, struct blob *blob)
{
	struct topics *p = t->topics;
	uint64_t hash = value_hash(p, v->vnet, v->type, v->key);
	struct retained *old = value_find(p, hash, v->vnet, v->type, v->key);
	if (blob)
		blobs_hold(t->blobs, blob); /* before the old one lets go of it: it may be the same */
	if (old && old->blob)
		blobs_drop(t->blobs, old->blob, t->time_ms);
	if (old)
		value_drop(p, old);
	if (v->frame.len == 0)
		return;
	if (p->retained_count >= p->bucket_count)
		values_grow(p);
	struct retained *r = calloc(1, sizeof *r + v->frame.len + v->vnet.len + v->type.len + v->key.len);
	ENSURE(r != NULL);
	*r = (struct retained){ .hash = hash, .fingerprint = v->fixed.fingerprint, .vnet_size = (uint8_t)v->vnet.len,
				.type_size = (uint8_t)v->type.len, .key_size = (uint8_t)v->key.len,
				.frame_size = (uint32_t)v->frame.len, .blob = blob };
	uint8_t *at = r->bytes;
	const struct span parts[] = { v->frame, v->vnet, v->type, v->key };
	for (size_t i = 0; i < COUNT_OF(parts); i++) {
		if (parts[i].len > 0)
			memcpy(at, parts[i].data, parts[i].len);
		at += parts[i].len;
	}
	r->link = p->retained_last;
	*p->retained_last = r;
	p->retained_last = &r->next;
	r->hash_next = p->buckets[hash & (p->bucket_count - 1)];
	p->buckets[hash & (p->bucket_count - 1)] = r;
	p->retained_count++;
	p->retained_bytes += value_bytes(r);
}

bool topics_retained_room(const struct topics *p, struct span vnet, const struct event_head *head, size_t bytes)
{
	const struct retained *old = value_find(p, value_hash(p, vnet, head->type, head->key), vnet, head->type, head->key);
	return (old || p->retained_count < RETAINED_VALUES_MAX) &&
	       p->retained_bytes - (old ? value_bytes(old) : 0) + bytes <= RETAINED_BYTES_MAX;
}

bool topics_propose_retain(struct tasks *t, struct log *log, struct span vnet, const struct event_head *head, struct span frame,
			   struct span blob)
{
	const struct retain_view v = {
		.fixed = { .version = blob.len ? REC_RETAIN_BLOB : REC_VERSION, .vnet_size = (uint8_t)vnet.len, .type_size = (uint8_t)head->type.len,
			   .key_size = (uint8_t)head->key.len, .frame_size = (uint32_t)frame.len,
			   .fingerprint = head->fingerprint },
		.blob = blob, .vnet = vnet, .type = head->type, .key = head->key, .frame = frame,
	};
	uint64_t addr;
	(void)t;
	uint8_t *body = log_append(log, REC_RETAIN, rec_retain_size(&v), &addr);
	if (body)
		rec_retain_write(&v, body);
	return body != NULL;
}

static struct blob *value_blob(const struct tasks *t, const struct retain_view *v)
{
	struct blob_ref ref;
	blob_ref_read(v->blob, &ref);
	struct blob *b = blobs_find(t->blobs, v->vnet, ref.digest);
	return b && b->size == ref.size ? b : NULL;
}

void apply_retain(struct tasks *t, const struct log_record *record, struct applied *out)
{
	struct retain_view v;
	enum err e = rec_retain_read(record->body, &v);
	ENSURE(e == ERR_OK);
	out->origin = APPLIED_PUBLISH;
	struct blob *blob = v.blob.len && v.frame.len ? value_blob(t, &v) : NULL;
	if (v.blob.len == 0 || v.frame.len == 0 || blob) /* what it names has gone: the value before it stays */
		value_set(t, &v, blob);
}

/* ---- checkpoint ---- */

struct checkpoint_topic { uint32_t queue; uint8_t kind, vnet_size, pattern_size, pad; };
_Static_assert(sizeof(struct checkpoint_topic) == 8, "on disk");

static void put_padded(struct buf *out, struct span bytes)
{
	static const uint8_t zeros[8];
	buf_append(out, bytes.data, bytes.len);
	buf_append(out, zeros, align_up(bytes.len, 8) - bytes.len);
}

static struct span get_padded(struct reader *r, size_t len)
{
	struct span bytes = read_bytes(r, len);
	(void)read_bytes(r, align_up(len, 8) - len);
	return bytes;
}

void topics_put(const struct topics *p, struct buf *out)
{
	const uint32_t counts[2] = { p->counts[TOPIC_TASKS] + p->counts[TOPIC_EVENTS], p->retained_count };
	buf_append(out, counts, sizeof counts);
	for (const struct topic *x = p->first; x; x = x->next) {
		const struct checkpoint_topic c = { x->queue, x->kind, x->vnet_size, x->pattern_size, 0 };
		buf_append(out, &c, sizeof c);
		put_padded(out, span_of(x->text, (size_t)x->vnet_size + x->pattern_size));
	}
	for (const struct retained *r = p->retained; r; r = r->next) {
		const struct rec_retain c = { .version = r->blob ? REC_RETAIN_BLOB : REC_VERSION, .vnet_size = r->vnet_size, .type_size = r->type_size,
					      .key_size = r->key_size, .frame_size = r->frame_size,
					      .fingerprint = r->fingerprint };
		buf_append(out, &c, sizeof c);
		if (r->blob) {
			struct blob_ref ref = { .size = r->blob->size };
			memcpy(ref.digest, r->blob->digest, sizeof ref.digest);
			buf_append(out, &ref, sizeof ref);
		}
		put_padded(out, span_of(r->bytes, value_bytes(r) - sizeof *r));
	}
}

static bool get_topic(struct tasks *t, struct topics *p, struct reader *r)
{
	struct checkpoint_topic c;
	read_into(r, &c, sizeof c);
	struct span text = get_padded(r, (size_t)c.vnet_size + c.pattern_size);
	if (r->failed || (c.kind != TOPIC_TASKS && c.kind != TOPIC_EVENTS) || !queue_at(t, c.queue))
		return false;
	struct span vnet = span_sub(text, 0, c.vnet_size), pattern = span_sub(text, c.vnet_size, c.pattern_size);
	if (pattern_parse(pattern).kind == PATTERN_BAD)
		return false;
	topic_add(p, (enum topic_kind)c.kind, c.queue, vnet, pattern);
	return true;
}

static bool get_value(struct tasks *t, struct reader *r)
{
	struct retain_view v;
	read_into(r, &v.fixed, sizeof v.fixed);
	v.blob = read_bytes(r, v.fixed.version == REC_RETAIN_BLOB ? BLOB_REF_BYTES : 0);
	size_t frame = v.fixed.frame_size, vnet = v.fixed.vnet_size, type = v.fixed.type_size, key = v.fixed.key_size;
	struct span bytes = get_padded(r, frame + vnet + type + key);
	if (r->failed || frame < LIMIT_FRAME_HEADER || frame > LIMIT_FRAME_BYTES || type == 0)
		return false;
	v.frame = span_sub(bytes, 0, frame);
	v.vnet = span_sub(bytes, frame, vnet);
	v.type = span_sub(bytes, frame + vnet, type);
	v.key = span_sub(bytes, frame + vnet + type, key);
	struct blob *blob = v.blob.len ? value_blob(t, &v) : NULL;
	if (v.blob.len > 0 && !blob)
		return false;
	value_set(t, &v, blob);
	return true;
}

enum err topics_get(struct tasks *t, struct span section, char text[256])
{
	struct reader r = { .rest = section };
	uint32_t counts[2];
	bool good = true;
	read_into(&r, counts, sizeof counts);
	for (uint32_t i = 0; good && i < counts[0]; i++)
		good = get_topic(t, t->topics, &r);
	for (uint32_t i = 0; good && i < counts[1]; i++)
		good = get_value(t, &r);
	if (good && !r.failed && r.rest.len == 0)
		return ERR_OK;
	(void)snprintf(text, 256, "the checkpoint of topics does not fit at byte %zu", section.len - r.rest.len);
	return ERR_DAMAGED;
}

void topics_free(struct topics *p)
{
	while (p->first)
		topic_drop(p, &p->first);
	while (p->retained)
		value_drop(p, p->retained);
	match_free(&p->tasks);
	match_free(&p->events);
	free(p->buckets);
	free(p);
}
