/* broker/event_match.c: see event_match.h. In the flow: publish -> MATCH -> subscriptions; submit -> MATCH -> queue.
 *
 * 1. A node exists exactly while it has items.
 * 2. Nothing here follows the order of the hash table: nodes are looked for by name, items of a node are in order. */
#include "event_match.h"

enum node_kind { NODE_TYPE, NODE_NAMESPACE, NODE_DESCENDANTS };

struct match_node {
	struct match_node *next;
	struct match_item *first, **last;
	uint64_t hash;
	uint32_t vnet_size, name_size;
	uint8_t kind;
	uint8_t text[]; /* vnet, name */
};

static uint64_t mix(uint64_t h, struct span bytes)
{
	size_t at = 0;
	for (; at + 8 <= bytes.len; at += 8) {
		uint64_t word;
		memcpy(&word, bytes.data + at, 8);
		h = (h ^ word) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	uint64_t rest = bytes.len;
	for (; at < bytes.len; at++)
		rest = rest << 8 | bytes.data[at];
	h = (h ^ rest) * 0xbf58476d1ce4e5b9u;
	return h ^ h >> 29;
}

static uint64_t hash_of(const struct match *m, enum node_kind kind, struct span vnet, struct span name)
{
	return mix(mix(m->seed + kind, vnet), name);
}

static struct match_node *node_find(const struct match *m, enum node_kind kind, struct span vnet, struct span name)
{
	if (m->node_count == 0)
		return NULL;
	uint64_t hash = hash_of(m, kind, vnet, name);
	struct match_node *n = m->buckets[hash & (m->bucket_count - 1)];
	while (n && (n->hash != hash || n->kind != kind || !span_eq(span_of(n->text, n->vnet_size), vnet) ||
		     !span_eq(span_of(n->text + n->vnet_size, n->name_size), name)))
		n = n->next;
	return n;
}

static void grow(struct match *m)
{
	uint32_t old_count = m->bucket_count;
	struct match_node **old = m->buckets;
	m->bucket_count = old_count ? old_count * 2 : 64;
	m->buckets = calloc(m->bucket_count, sizeof(struct match_node *));
	ENSURE(m->buckets != NULL);
	for (uint32_t i = 0; i < old_count; i++) {
		while (old[i]) {
			struct match_node *n = old[i];
			old[i] = n->next;
			n->next = m->buckets[n->hash & (m->bucket_count - 1)];
			m->buckets[n->hash & (m->bucket_count - 1)] = n;
		}
	}
	free(old);
}

static struct match_node *node_new(struct match *m, enum node_kind kind, struct span vnet, struct span name)
{
	if (m->node_count >= m->bucket_count)
		grow(m);
	struct match_node *n = calloc(1, sizeof *n + vnet.len + name.len);
	ENSURE(n != NULL);
	n->hash = hash_of(m, kind, vnet, name);
	n->kind = (uint8_t)kind;
	n->vnet_size = (uint32_t)vnet.len;
	n->name_size = (uint32_t)name.len;
	if (vnet.len > 0)
		memcpy(n->text, vnet.data, vnet.len);
	if (name.len > 0)
		memcpy(n->text + vnet.len, name.data, name.len);
	n->last = &n->first;
	n->next = m->buckets[n->hash & (m->bucket_count - 1)];
	m->buckets[n->hash & (m->bucket_count - 1)] = n;
	m->node_count++;
	return n;
}

bool match_add(struct match *m, struct match_item *item, struct span vnet, struct span pattern, bool descendants)
{
	ENSURE(!item->link);
	struct pattern p = pattern_parse(pattern);
	if (p.kind == PATTERN_BAD || (descendants && p.kind != PATTERN_EXACT))
		return false;
	enum node_kind kind = descendants ? NODE_DESCENDANTS : p.kind == PATTERN_EXACT ? NODE_TYPE : NODE_NAMESPACE;
	struct match_node *n = node_find(m, kind, vnet, p.name);
	if (!n)
		n = node_new(m, kind, vnet, p.name);
	item->node = n;
	item->order = ++m->next_order;
	item->next = NULL;
	item->link = n->last;
	*n->last = item;
	n->last = &item->next;
	m->item_count++;
	return true;
}

void match_remove(struct match *m, struct match_item *item)
{
	if (!item->link)
		return;
	struct match_node *n = item->node;
	*item->link = item->next;
	if (item->next)
		item->next->link = item->link;
	else
		n->last = item->link;
	item->link = NULL;
	item->node = NULL;
	m->item_count--;
	if (n->first)
		return;
	struct match_node **at = &m->buckets[n->hash & (m->bucket_count - 1)];
	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	m->node_count--;
	free(n);
}

static bool tell(const struct match *m, enum node_kind kind, struct span vnet, struct span name, match_fn *each, void *ctx)
{
	const struct match_node *n = node_find(m, kind, vnet, name);
	for (struct match_item *item = n ? n->first : NULL; item; item = item->next)
		if (!each(ctx, item))
			return false;
	return true;
}

void match_each(const struct match *m, struct span vnet, struct span type, match_fn *each, void *ctx)
{
	if (m->node_count == 0 || !tell(m, NODE_TYPE, vnet, type, each, ctx))
		return;
	for (size_t len = type.len; len-- > 0;)
		if ((type.data[len] == '.' || len == 0) &&
		    !tell(m, NODE_NAMESPACE, vnet, span_of(type.data, len), each, ctx))
			return;
	struct span ancestor = type;
	for (int i = 0; i < MATCH_ANCESTORS_MAX && ancestor.len > 0; i++) {
		if (!tell(m, NODE_DESCENDANTS, vnet, ancestor, each, ctx))
			return;
		ancestor = m->parent ? m->parent(m->parent_ctx, ancestor) : span_of(NULL, 0);
	}
}

static bool is_namespace_of(struct span name, struct span type)
{
	return name.len == 0 ||
	       (type.len > name.len && type.data[name.len] == '.' && memcmp(type.data, name.data, name.len) == 0);
}

bool match_item_matches(const struct match *m, const struct match_item *item, struct span vnet, struct span type)
{
	const struct match_node *n = item->node;
	if (!n || !span_eq(span_of(n->text, n->vnet_size), vnet))
		return false;
	struct span name = span_of(n->text + n->vnet_size, n->name_size), at = type;
	if (n->kind == NODE_TYPE)
		return span_eq(name, type);
	if (n->kind == NODE_NAMESPACE)
		return is_namespace_of(name, type);
	for (int i = 0; i < MATCH_ANCESTORS_MAX && at.len > 0; i++) {
		if (span_eq(at, name))
			return true;
		at = m->parent ? m->parent(m->parent_ctx, at) : span_of(NULL, 0);
	}
	return false;
}

void match_free(struct match *m)
{
	ENSURE(m->item_count == 0 && m->node_count == 0);
	free(m->buckets);
	m->buckets = NULL;
	m->bucket_count = 0;
}
