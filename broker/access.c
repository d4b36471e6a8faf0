/* broker/access.c: principals, tokens and rules as durable state. In the flow: propose -> log ... commit -> apply. See access_impl.h. */
#include "access_impl.h"

enum { ACCESS_VERSION = 1 };
struct rec_access { uint8_t version, op, pad[6]; }; /* then the bytes of an AccessInfo */
struct section_head { uint32_t version, count; };
struct section_item { uint32_t op, size; };         /* then the same bytes, padded to 8 */
_Static_assert(sizeof(struct rec_access) == 8 && sizeof(struct section_head) == 8 && sizeof(struct section_item) == 8, "on disk");

struct access *access_new(void)
{
	struct access *a = calloc(1, sizeof *a);
	ENSURE(a != NULL);
	return a;
}

static void item_free(struct access_item *item)
{
	explicit_bzero((void *)(uintptr_t)item->bytes.data, item->bytes.len);
	free((void *)(uintptr_t)item->bytes.data);
	free(item);
}

static void list_free(struct access_list *list)
{
	for (uint32_t i = 0; i < list->count; i++)
		item_free(list->at[i]);
	free(list->at);
}

void access_free(struct access *a)
{
	list_free(&a->principals);
	list_free(&a->tokens);
	list_free(&a->rules);
	explicit_bzero(a, sizeof *a);
	free(a);
}

/* ---- lists ---- */

static struct access_item *item_new(const struct access_info *info)
{
	struct access_item *item = calloc(1, sizeof *item);
	struct buf bytes = { NULL, 0, 0 };
	char text[128];
	ENSURE(item != NULL);
	access_info_encode(&bytes, info);
	item->bytes = buf_span(&bytes);
	enum err e = access_info_decode(item->bytes, &item->info, text);
	ENSURE(e == ERR_OK);
	return item;
}

static void list_insert(struct access_list *list, uint32_t at, struct access_item *item)
{
	if (list->count == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 16;
		list->at = realloc(list->at, size_mul(list->cap, sizeof *list->at));
		ENSURE(list->at != NULL);
	}
	memmove(&list->at[at + 1], &list->at[at], (list->count - at) * sizeof list->at[0]);
	list->at[at] = item;
	list->count++;
}

static void list_remove(struct access_list *list, uint32_t at)
{
	item_free(list->at[at]);
	memmove(&list->at[at], &list->at[at + 1], (--list->count - at) * sizeof list->at[0]);
}

static int compare(struct span a, struct span b)
{
	size_t len = MIN_OF(a.len, b.len);
	int order = len ? memcmp(a.data, b.data, len) : 0;
	return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Where the name is, or would be. */
static uint32_t principal_place(const struct access *a, struct span name)
{
	uint32_t low = 0, high = a->principals.count;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (compare(a->principals.at[middle]->info.name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct access_item *access_principal_named(const struct access *a, struct span name)
{
	uint32_t at = principal_place(a, name);
	return at < a->principals.count && span_eq(a->principals.at[at]->info.name, name) ? a->principals.at[at] : NULL;
}

static uint32_t token_place(const struct access *a, uint64_t number)
{
	uint32_t low = 0, high = a->tokens.count;
	while (low < high) {
		uint32_t middle = (low + high) / 2;
		if (a->tokens.at[middle]->info.token < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const struct access_item *access_token_numbered(const struct access *a, uint64_t number)
{
	uint32_t at = token_place(a, number);
	return at < a->tokens.count && a->tokens.at[at]->info.token == number ? a->tokens.at[at] : NULL;
}

/* The count where there is none. */
static uint32_t rule_place(const struct access *a, const struct access_info *rule)
{
	uint32_t i = 0;
	for (; i < a->rules.count; i++) {
		const struct access_info *r = &a->rules.at[i]->info;
		if (r->verbs == rule->verbs && span_eq(r->name, rule->name) && span_eq(r->target, rule->target) && span_eq(r->vnet, rule->vnet))
			break;
	}
	return i;
}

/* ---- is a change good? ---- */

PRINTF_LIKE(3, 4)
static enum err no(char text[256], enum err code, const char *format, ...)
{
	__builtin_va_list args;
	__builtin_va_start(args, format);
	(void)vsnprintf(text, 256, format, args);
	__builtin_va_end(args);
	return code;
}

static bool name_ok(struct span name)
{
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.data[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("._-@:+/", c))))
			return false;
	}
	return name.len > 0 && name.len <= PRINCIPAL_BYTES;
}

static bool vnet_ok(struct span vnet)
{
	for (size_t i = 0; i < vnet.len; i++) {
		uint8_t c = vnet.data[i];
		if (c <= ' ' || c >= 127 || c == '/' || c == '*')
			return vnet.len == 1 && c == '*';
	}
	return vnet.len > 0 && vnet.len <= VNET_BYTES;
}

static enum err judge_principal(const struct access_info *info, char text[256])
{
	uint64_t permille = info->limits[ACCESS_LIMIT_QUEUE_PERMILLE];
	if ((info->limit_mask >> ACCESS_LIMIT_QUEUE_PERMILLE & 1) && permille > 1000 && permille != ACCESS_LIMIT_INHERIT)
		return no(text, ERR_INVALID_INPUT, "queue-permille is a part of a thousand");
	if (!name_ok(info->name) || span_eq(info->name, span_str("local")))
		return no(text, ERR_INVALID_INPUT, "a principal has a name of letters, digits and . _ - @ : + /, at most %d bytes, and not \"local\"",
			  PRINCIPAL_BYTES);
	for (uint32_t i = 0; i < info->vnet_count; i++)
		if (!vnet_ok(info->vnets[i]))
			return no(text, ERR_INVALID_INPUT, "vnet %u: printable characters but / and *, at most %d bytes; or * alone", i + 1,
				  VNET_BYTES);
	for (uint32_t i = 0; i < info->certificate_count; i++)
		if (!access_pattern_ok(info->certificates[i]) || info->certificates[i].data[0] == '*')
			return no(text, ERR_INVALID_INPUT, "certificate name %u: a name, or one with a * at its end", i + 1);
	return ERR_OK;
}

static enum err judge_token(const struct access *a, const struct access_info *info, char text[256])
{
	if (!access_principal_named(a, info->name))
		return no(text, ERR_NOT_FOUND, "there is no such principal");
	if (info->token == 0 || access_token_numbered(a, info->token) || info->hash.len != 32 || info->salt.len != 16)
		return no(text, ERR_INVALID_INPUT, "not a new token");
	return a->tokens.count < TOKENS_MAX ? ERR_OK : no(text, ERR_RESOURCE_EXHAUSTED, "there are %d tokens already", TOKENS_MAX);
}

static enum err judge_rule(const struct access *a, const struct access_info *info, char text[256])
{
	if (!access_pattern_ok(info->name) || !access_pattern_ok(info->target) || !access_pattern_ok(info->vnet) || info->verbs == 0)
		return no(text, ERR_INVALID_INPUT, "a rule has a principal, verbs, a target and a vnet, each a name or one with a * at its end");
	if (rule_place(a, info) == a->rules.count && a->rules.count == RULES_MAX)
		return no(text, ERR_RESOURCE_EXHAUSTED, "there are %d rules already", RULES_MAX);
	return ERR_OK;
}

static enum err judge_principal_change(const struct access *a, enum access_op op, const struct access_info *info, char text[256])
{
	bool there = access_principal_named(a, info->name) != NULL;
	if (op == ACCESS_OP_PRINCIPAL_ADD && there)
		return no(text, ERR_EXISTS, "there is a principal of this name");
	if (op != ACCESS_OP_PRINCIPAL_ADD && !there)
		return no(text, ERR_NOT_FOUND, "there is no such principal");
	if (op == ACCESS_OP_PRINCIPAL_ADD && a->principals.count == PRINCIPALS_MAX)
		return no(text, ERR_RESOURCE_EXHAUSTED, "there are %d principals already", PRINCIPALS_MAX);
	if (op == ACCESS_OP_PRINCIPAL_REMOVE && a->principals.count == 1)
		return no(text, ERR_WRONG_STATE, "it is the last principal: without it the broker would be open to all; disable it");
	return op == ACCESS_OP_PRINCIPAL_REMOVE ? ERR_OK : judge_principal(info, text);
}

static enum err judge(const struct access *a, enum access_op op, const struct access_info *info, char text[256])
{
	switch (op) {
	case ACCESS_OP_PRINCIPAL_ADD:
	case ACCESS_OP_PRINCIPAL_SET:
	case ACCESS_OP_PRINCIPAL_REMOVE: return judge_principal_change(a, op, info, text);
	case ACCESS_OP_TOKEN_ADD: return judge_token(a, info, text);
	case ACCESS_OP_TOKEN_END:
	case ACCESS_OP_TOKEN_REMOVE:
		return access_token_numbered(a, info->token) ? ERR_OK : no(text, ERR_NOT_FOUND, "there is no such token");
	case ACCESS_OP_RULE_ADD: return judge_rule(a, info, text);
	case ACCESS_OP_RULE_REMOVE:
		return rule_place(a, info) < a->rules.count ? ERR_OK : no(text, ERR_NOT_FOUND, "there is no such rule");
	case ACCESS_OP_KEY: return info->hash.len == 32 ? ERR_OK : no(text, ERR_INVALID_INPUT, "a key has 32 bytes");
	}
	return no(text, ERR_INVALID_INPUT, "operation %d is not known", (int)op);
}

/* ---- the steps of a change, each as good as its judgement ---- */

static void set_limits(struct access_info *now, const struct access_info *change)
{
	for (uint32_t i = 0; i < ACCESS_LIMITS; i++) {
		uint32_t bit = 1u << i;
		if (!(change->limit_mask & bit))
			continue;
		now->limits[i] = change->limits[i];
		now->limit_mask = change->limits[i] == ACCESS_LIMIT_INHERIT ? now->limit_mask & ~bit : now->limit_mask | bit;
	}
}

static void set_principal(struct access *a, const struct access_info *info)
{
	uint32_t at = principal_place(a, info->name);
	struct access_info now = a->principals.at[at]->info;
	if (info->set & ACCESS_SET_CERTIFICATES) {
		memcpy(now.certificates, info->certificates, sizeof now.certificates);
		now.certificate_count = info->certificate_count;
	}
	if (info->set & ACCESS_SET_UIDS) {
		memcpy(now.uids, info->uids, sizeof now.uids);
		now.uid_count = info->uid_count;
	}
	if (info->set & ACCESS_SET_VNETS) {
		memcpy(now.vnets, info->vnets, sizeof now.vnets);
		now.vnet_count = info->vnet_count;
	}
	if (info->set & ACCESS_SET_DISABLED)
		now.disabled = info->disabled;
	set_limits(&now, info);
	struct access_item *item = item_new(&now);
	item_free(a->principals.at[at]);
	a->principals.at[at] = item;
}

static void add_principal(struct access *a, const struct access_info *info)
{
	struct access_info now = *info;
	now.limit_mask = 0;
	set_limits(&now, info); /* what is to be the broker's is not there */
	list_insert(&a->principals, principal_place(a, info->name), item_new(&now));
}

static void remove_principal(struct access *a, struct span name)
{
	for (uint32_t i = a->tokens.count; i-- > 0;)
		if (span_eq(a->tokens.at[i]->info.name, name))
			list_remove(&a->tokens, i);
	list_remove(&a->principals, principal_place(a, name));
}

static void end_token(struct access *a, const struct access_info *info)
{
	uint32_t at = token_place(a, info->token);
	struct access_info now = a->tokens.at[at]->info;
	now.expires_ms = now.expires_ms ? MIN_OF(now.expires_ms, info->expires_ms) : info->expires_ms;
	struct access_item *item = item_new(&now);
	item_free(a->tokens.at[at]);
	a->tokens.at[at] = item;
}

static void add_rule(struct access *a, const struct access_info *info)
{
	uint32_t at = rule_place(a, info);
	if (at < a->rules.count)
		list_remove(&a->rules, at); /* the same, allow in place of deny */
	list_insert(&a->rules, a->rules.count, item_new(info));
}

static void change(struct access *a, enum access_op op, const struct access_info *info)
{
	a->revision++;
	switch (op) {
	case ACCESS_OP_PRINCIPAL_ADD: add_principal(a, info); return;
	case ACCESS_OP_PRINCIPAL_SET: set_principal(a, info); return;
	case ACCESS_OP_PRINCIPAL_REMOVE: remove_principal(a, info->name); return;
	case ACCESS_OP_TOKEN_ADD: list_insert(&a->tokens, token_place(a, info->token), item_new(info)); return;
	case ACCESS_OP_TOKEN_END: end_token(a, info); return;
	case ACCESS_OP_TOKEN_REMOVE: list_remove(&a->tokens, token_place(a, info->token)); return;
	case ACCESS_OP_RULE_ADD: add_rule(a, info); return;
	case ACCESS_OP_RULE_REMOVE: list_remove(&a->rules, rule_place(a, info)); return;
	case ACCESS_OP_KEY:
		memcpy(a->key, info->hash.data, sizeof a->key);
		a->has_key = true;
		return;
	}
}

/* ---- propose, apply ---- */

enum err access_propose(const struct access *a, struct log *log, enum access_op op, const struct access_info *info, uint32_t *records,
			char text[256])
{
	enum err e = judge(a, op, info, text);
	return e == ERR_OK ? access_propose_behind(log, op, info, records, text) : e;
}

enum err access_propose_behind(struct log *log, enum access_op op, const struct access_info *info, uint32_t *records, char text[256])
{
	const struct rec_access rec = { .version = ACCESS_VERSION, .op = (uint8_t)op };
	struct buf bytes = { NULL, 0, 0 };
	uint64_t addr;
	access_info_encode(&bytes, info);
	uint8_t *body = log_append(log, REC_ACCESS, sizeof rec + bytes.len, &addr);
	if (body) {
		memcpy(body, &rec, sizeof rec);
		memcpy(body + sizeof rec, bytes.data, bytes.len);
		++*records;
	}
	explicit_bzero(bytes.data, bytes.len);
	buf_free(&bytes);
	return body ? ERR_OK : no(text, ERR_RESOURCE_EXHAUSTED, "no room in this batch of the log");
}

void access_apply(struct access *a, const struct log_entry *entry, const struct log_record *record, struct applied *out)
{
	struct reader r = { .rest = record->body };
	struct rec_access rec;
	struct access_info info;
	char text[256];
	(void)entry; /* all times are in the record */
	read_into(&r, &rec, sizeof rec);
	ENSURE(!r.failed && rec.version == ACCESS_VERSION);
	enum err e = access_info_decode(r.rest, &info, text);
	ENSURE(e == ERR_OK);
	out->origin = APPLIED_ADMIN;
	e = judge(a, (enum access_op)rec.op, &info, text); /* another proposal may have been first */
	out->code = (uint16_t)e;
	out->affected = e == ERR_OK;
	if (e == ERR_OK)
		change(a, (enum access_op)rec.op, &info);
}

/* ---- checkpoint: the changes that lead to this state from nothing ---- */

static void put(struct buf *out, enum access_op op, struct span bytes)
{
	const struct section_item item = { (uint32_t)op, (uint32_t)bytes.len };
	const uint64_t zero = 0;
	buf_append(out, &item, sizeof item);
	buf_append(out, bytes.data, bytes.len);
	buf_append(out, &zero, align_up(bytes.len, 8) - bytes.len);
}

void access_checkpoint(const struct access *a, struct buf *out)
{
	const struct { const struct access_list *list; enum access_op op; } lists[] = {
		{ &a->principals, ACCESS_OP_PRINCIPAL_ADD }, { &a->tokens, ACCESS_OP_TOKEN_ADD }, { &a->rules, ACCESS_OP_RULE_ADD } };
	const struct section_head head = { ACCESS_VERSION, a->principals.count + a->tokens.count + a->rules.count + a->has_key };
	buf_append(out, &head, sizeof head);
	if (a->has_key) {
		struct buf bytes = { NULL, 0, 0 };
		access_info_encode(&bytes, &(struct access_info){ .hash = span_of(a->key, sizeof a->key) });
		put(out, ACCESS_OP_KEY, buf_span(&bytes));
		buf_free(&bytes);
	}
	for (uint32_t i = 0; i < COUNT_OF(lists); i++)
		for (uint32_t k = 0; k < lists[i].list->count; k++)
			put(out, lists[i].op, lists[i].list->at[k]->bytes);
}

enum err access_restore(struct access *a, struct span section, char text[256])
{
	struct reader r = { .rest = section };
	struct section_head head;
	struct section_item item;
	struct access_info info;
	read_into(&r, &head, sizeof head);
	if (r.failed || head.version != ACCESS_VERSION)
		return no(text, ERR_DAMAGED, "principals: the section has no head, or one of another version");
	for (uint32_t i = 0; i < head.count; i++) {
		char why[256] = "";
		read_into(&r, &item, sizeof item);
		struct span bytes = r.failed || item.size > r.rest.len ? span_of(NULL, 0) : read_bytes(&r, item.size);
		(void)read_bytes(&r, (8 - item.size % 8) % 8);
		bool adds = item.op == ACCESS_OP_KEY || item.op == ACCESS_OP_PRINCIPAL_ADD || item.op == ACCESS_OP_TOKEN_ADD ||
			    item.op == ACCESS_OP_RULE_ADD;
		if (r.failed || bytes.len == 0 || !adds || access_info_decode(bytes, &info, why) != ERR_OK ||
		    judge(a, (enum access_op)item.op, &info, why) != ERR_OK)
			return no(text, ERR_DAMAGED, "principals: item %u does not fit: %.150s", i, why);
		change(a, (enum access_op)item.op, &info);
	}
	return r.rest.len == 0 ? ERR_OK : no(text, ERR_DAMAGED, "principals: there are more bytes");
}

/* ---- looking ---- */

struct access_counts access_counts(const struct access *a)
{
	return (struct access_counts){ a->principals.count, a->tokens.count, a->rules.count, a->revision };
}

void access_principal(const struct access *a, uint32_t index, struct access_info *out) { *out = a->principals.at[index]->info; }
void access_rule(const struct access *a, uint32_t index, struct access_info *out) { *out = a->rules.at[index]->info; }

void access_token(const struct access *a, uint32_t index, struct access_info *out)
{
	*out = a->tokens.at[index]->info;
	out->hash = out->salt = span_of(NULL, 0);
}

bool access_token_find(const struct access *a, uint64_t number, struct access_info *out)
{
	const struct access_item *item = access_token_numbered(a, number);
	if (item)
		*out = item->info;
	return item != NULL;
}

uint64_t access_limit(const struct access *a, struct span principal, enum access_limit limit, uint64_t otherwise)
{
	const struct access_item *p = access_principal_named(a, principal);
	return p && (p->info.limit_mask >> limit & 1) ? p->info.limits[limit] : otherwise;
}

bool access_is_open(const struct access *a) { return a->principals.count == 0; }
bool access_has_key(const struct access *a) { return a->has_key; }
