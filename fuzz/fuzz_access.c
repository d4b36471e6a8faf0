/* fuzz/fuzz_access.c: what strangers and damaged disks may say about who may do what: tokens, rules and targets, the section
 * of a checkpoint.
 *
 * The first byte says which. Properties: no step outside; no token gets in that was not made here; a rule that denies all denies; what is
 * restored writes the same bytes again. */
#include "../broker/access.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err change(struct access *a, enum access_op op, struct access_info info)
{
	struct buf body = { NULL, 0, 0 };
	const uint8_t head[8] = { 1, (uint8_t)op };
	struct log_entry entry = { 0 };
	struct applied out = { 0 };
	buf_append(&body, head, sizeof head);
	access_info_encode(&body, &info);
	struct log_record record = { .kind = REC_ACCESS, .body = buf_span(&body) };
	access_apply(a, &entry, &record, &out);
	buf_free(&body);
	return (enum err)out.code;
}

static struct access *realm(void)
{
	const uint8_t random[TOKEN_RANDOM] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, key[32] = { 7 };
	struct access *a = access_new();
	uint8_t salt[16], hash[32];
	char text[TOKEN_TEXT];
	uint64_t number;
	access_token_new(random, &number, salt, hash, text);
	enum err e = change(a, ACCESS_OP_PRINCIPAL_ADD, (struct access_info){ .name = span_str("ann") });
	ENSURE(e == ERR_OK);
	e = change(a, ACCESS_OP_KEY, (struct access_info){ .hash = span_of(key, sizeof key) });
	ENSURE(e == ERR_OK);
	e = change(a, ACCESS_OP_TOKEN_ADD, (struct access_info){ .name = span_str("ann"), .token = number, .salt = span_of(salt, 16),
								 .hash = span_of(hash, 32), .expires_ms = 5 });
	ENSURE(e == ERR_OK);
	return a;
}

/* The one good token has ended at the time that is asked for. */
static void as_token(struct span bytes)
{
	struct access *a = realm();
	struct who who;
	const struct credentials c = { .token = bytes, .uid = -1 };
	ENSURE(access_login(a, &c, 5, &who) == ERR_PERMISSION && who.kind == WHO_OPEN && who.name[0] == '\0');
	access_free(a);
}

/* name \n target \n vnet \n what is asked: a rule that denies it all, then a question. */
static void as_rule(struct span bytes)
{
	struct access *a = realm();
	struct span part[4] = { { NULL, 0 } };
	for (uint32_t i = 0; i < 4; i++) {
		const uint8_t *end = bytes.len ? memchr(bytes.data, '\n', bytes.len) : NULL;
		size_t len = end ? (size_t)(end - bytes.data) : bytes.len;
		part[i] = span_sub(bytes, 0, MIN_OF(len, (size_t)PRINCIPAL_BYTES));
		bytes = span_sub(bytes, end ? len + 1 : len, bytes.len - (end ? len + 1 : len));
	}
	struct verdict v;
	const struct access_info rule = { .name = part[0], .target = part[1], .vnet = part[2], .verbs = ACCESS_ALL, .deny = true };
	enum err e = change(a, ACCESS_OP_RULE_ADD, rule);
	struct who who = { .kind = WHO_PRINCIPAL, .name = "ann" };
	access_decide(a, &who, ACCESS_SEE, part[3], span_str("default"), true, &v);
	bool fits = e == ERR_OK && access_pattern_matches(part[0], span_str("ann")) && access_pattern_matches(part[1], part[3]) &&
		    access_pattern_matches(part[2], span_str("default"));
	ENSURE(v.allowed == !fits);
	ENSURE(v.allowed || (access_always(a, &who, span_str("default")) >> ACCESS_SEE & 1) == 0);
	if (part[3].len > 0)
		(void)access_denied_within(a, &who, ACCESS_SEE, part[3], span_str("default"));
	access_free(a);
}

static void as_section(struct span section)
{
	struct access *a = access_new(), *b = access_new();
	struct buf first = { NULL, 0, 0 }, second = { NULL, 0, 0 };
	char text[256] = "";
	if (access_restore(a, section, text) == ERR_OK) {
		access_checkpoint(a, &first);
		enum err e = access_restore(b, buf_span(&first), text);
		ENSURE(e == ERR_OK);
		access_checkpoint(b, &second);
		ENSURE(span_eq(buf_span(&first), buf_span(&second)));
	} else {
		ENSURE(text[0] != '\0');
	}
	buf_free(&first);
	buf_free(&second);
	access_free(a);
	access_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 8)
		return 0;
	uint8_t *copy = malloc(size - 7); /* 8-aligned, of its own size */
	ENSURE(copy != NULL);
	memcpy(copy, data + 8, size - 8);
	struct span bytes = { copy, size - 8 };
	if (data[0] % 3 == 0)
		as_token(bytes);
	else if (data[0] % 3 == 1)
		as_rule(bytes);
	else
		as_section(bytes);
	free(copy);
	return 0;
}
