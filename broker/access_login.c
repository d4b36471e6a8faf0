/* broker/access_login.c: who somebody is: tokens, access tokens, certificate names, users of this machine. In the flow: HELLO -> LOGIN ->
 * session.
 *
 * 1. A token that is not known costs the same steps as one that is known and wrong, and is answered alike.
 * 2. Secrets are compared in constant time, and what was read of them is wiped.
 *
 * hlk1_NUMBER_SECRET: a token, 16 and 64 hexadecimal digits. hla1_BODY_SIGNATURE: an access token; its body is {number of the token it was
 * made from, end, nonce, name of the principal} in hexadecimal, its signature HMAC-SHA-256 of the body. */
#include "access_impl.h"

#include "../wire/sha256.h"

static const char digits[] = "0123456789abcdef";

static char *put_hex(char *at, const uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		*at++ = digits[bytes[i] >> 4];
		*at++ = digits[bytes[i] & 15];
	}
	*at = '\0';
	return at;
}

static int digit(uint8_t c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool get_hex(struct span text, uint8_t *out, size_t count)
{
	if (text.len != 2 * count)
		return false;
	for (size_t i = 0; i < count; i++) {
		int high = digit(text.data[2 * i]), low = digit(text.data[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high * 16 + low);
	}
	return true;
}

static void hash_secret(const uint8_t salt[16], const uint8_t secret[32], uint8_t out[32])
{
	struct sha256 s;
	sha256_begin(&s);
	sha256_add(&s, span_of(salt, 16));
	sha256_add(&s, span_of(secret, 32));
	sha256_end(&s, out);
}

void access_token_new(const uint8_t random[TOKEN_RANDOM], uint64_t *number, uint8_t salt[16], uint8_t hash[32], char text[TOKEN_TEXT])
{
	memcpy(number, random, 8);
	*number |= 1; /* never 0 */
	memcpy(salt, random + 8, 16);
	hash_secret(salt, random + 24, hash);
	int len = snprintf(text, TOKEN_TEXT, "hlk1_%016llx_", (unsigned long long)*number);
	(void)put_hex(text + len, random + 24, 32);
}

/* ---- what is good ---- */

static bool named(struct who *out, struct span name)
{
	out->kind = WHO_PRINCIPAL;
	memcpy(out->name, name.data, name.len);
	out->name[name.len] = '\0';
	return true;
}

static bool principal_good(const struct access *a, struct span name)
{
	const struct access_item *p = access_principal_named(a, name);
	return p && !p->info.disabled;
}

static bool token_good(const struct access_info *token, uint64_t wall_ms)
{
	return token->expires_ms == 0 || wall_ms < token->expires_ms;
}

static bool by_token(const struct access *a, struct span text, uint64_t wall_ms, struct who *out)
{
	static const uint8_t nobody[32] = { 0 };
	uint8_t number[8], secret[32] = { 0 }, hash[32];
	bool formed = text.len == 5 + 16 + 1 + 64 && text.data[21] == '_' && get_hex(span_sub(text, 5, 16), number, 8) &&
		      get_hex(span_sub(text, 22, 64), secret, 32);
	uint64_t id = 0;
	for (int i = 0; formed && i < 8; i++)
		id = id << 8 | number[i];
	const struct access_item *t = access_token_numbered(a, id);
	hash_secret(t ? t->info.salt.data : nobody, secret, hash);
	bool same = bytes_same(hash, t ? t->info.hash.data : nobody, sizeof hash);
	explicit_bzero(secret, sizeof secret);
	if (!formed || !t || !same || !token_good(&t->info, wall_ms) || !principal_good(a, t->info.name))
		return false;
	out->token = id;
	return named(out, t->info.name);
}

struct access_body { uint64_t token, until_ms, nonce; };

static void put_u64(uint8_t *at, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_u64(const uint8_t *at)
{
	uint64_t value = 0;
	for (int i = 7; i >= 0; i--)
		value = value << 8 | at[i];
	return value;
}

enum err access_token_make(const struct access *a, const struct who *who, uint64_t until_ms, uint64_t nonce, char out[ACCESS_TEXT_MAX])
{
	uint8_t body[24 + PRINCIPAL_BYTES], mac[32];
	size_t name = strlen(who->name), size = 24 + name;
	if (who->kind != WHO_PRINCIPAL || !a->has_key)
		return ERR_WRONG_STATE;
	put_u64(body, who->token);
	put_u64(body + 8, until_ms);
	put_u64(body + 16, nonce);
	memcpy(body + 24, who->name, name);
	hmac_sha256(span_of(a->key, sizeof a->key), span_of(body, size), mac);
	memcpy(out, "hla1_", 5);
	char *at = put_hex(out + 5, body, size);
	*at++ = '_';
	(void)put_hex(at, mac, sizeof mac);
	return ERR_OK;
}

static bool source_good(const struct access *a, const struct who *who, uint64_t wall_ms)
{
	const struct access_item *t = who->token ? access_token_numbered(a, who->token) : NULL;
	return principal_good(a, span_str(who->name)) && (who->until_ms == 0 || wall_ms < who->until_ms) &&
	       (who->token == 0 || (t && token_good(&t->info, wall_ms) && span_eq(t->info.name, span_str(who->name))));
}

static bool by_access_token(const struct access *a, struct span text, uint64_t wall_ms, struct who *out)
{
	uint8_t body[24 + PRINCIPAL_BYTES], mac[32], said[32] = { 0 };
	size_t size = text.len > 5 + 65 ? (text.len - 5 - 65) / 2 : 0;
	bool formed = a->has_key && size > 24 && size <= sizeof body && text.data[text.len - 65] == '_' &&
		      get_hex(span_sub(text, 5, text.len - 70), body, size) && get_hex(span_sub(text, text.len - 64, 64), said, 32);
	hmac_sha256(span_of(a->key, sizeof a->key), span_of(body, formed ? size : 0), mac);
	if (!bytes_same(mac, said, sizeof mac) || !formed)
		return false;
	struct who who = { .token = get_u64(body), .until_ms = get_u64(body + 8) };
	(void)named(&who, span_of(body + 24, size - 24));
	*out = who;
	return source_good(a, &who, wall_ms);
}

static bool by_certificate(const struct access *a, struct span name, struct who *out)
{
	const struct access_item *best = NULL;
	size_t best_len = 0;
	for (uint32_t i = 0; i < a->principals.count; i++) {
		const struct access_info *p = &a->principals.at[i]->info;
		for (uint32_t k = 0; k < p->certificate_count; k++) {
			struct span pattern = p->certificates[k];
			bool exact = pattern.data[pattern.len - 1] != '*';
			size_t len = pattern.len + (exact ? LIMIT_NAME_BYTES : 0);
			if (access_pattern_matches(pattern, name) && len > best_len) {
				best = a->principals.at[i];
				best_len = len;
			}
		}
	}
	return best && !best->info.disabled && named(out, best->info.name);
}

static bool by_uid(const struct access *a, int64_t uid, struct who *out)
{
	for (uint32_t i = 0; uid >= 0 && i < a->principals.count; i++) {
		const struct access_info *p = &a->principals.at[i]->info;
		for (uint32_t k = 0; k < p->uid_count; k++)
			if (p->uids[k] == uid && !p->disabled)
				return named(out, p->name);
	}
	return false;
}

static bool begins(struct span text, const char *with)
{
	return text.len >= strlen(with) && memcmp(text.data, with, strlen(with)) == 0;
}

enum err access_login(const struct access *a, const struct credentials *c, uint64_t wall_ms, struct who *out)
{
	*out = (struct who){ .kind = WHO_OPEN };
	bool good = true;
	if (c->token.len > 0 && !access_is_open(a)) {
		good = begins(c->token, "hla1_") ? by_access_token(a, c->token, wall_ms, out)
						 : begins(c->token, "hlk1_") && by_token(a, c->token, wall_ms, out);
	} else if (c->certificate.len > 0 && by_certificate(a, c->certificate, out)) {
		;
	} else if (c->admin) {
		*out = (struct who){ .kind = WHO_LOCAL, .name = "local" };
	} else {
		good = access_is_open(a) || by_uid(a, c->uid, out);
	}
	if (!good)
		*out = (struct who){ .kind = WHO_OPEN };
	return good ? ERR_OK : ERR_PERMISSION;
}

bool access_valid(const struct access *a, const struct who *who, uint64_t wall_ms)
{
	if (who->kind == WHO_LOCAL)
		return true;
	return who->kind == WHO_OPEN ? access_is_open(a) : source_good(a, who, wall_ms);
}

bool access_has_vnet(const struct access *a, const struct who *who, struct span vnet)
{
	if (who->kind != WHO_PRINCIPAL)
		return true;
	const struct access_item *p = access_principal_named(a, span_str(who->name));
	if (p && p->info.vnet_count == 0)
		return span_eq(vnet, span_str("default"));
	for (uint32_t i = 0; p && i < p->info.vnet_count; i++)
		if (span_eq(p->info.vnets[i], vnet) || span_eq(p->info.vnets[i], span_str("*")))
			return true;
	return false;
}

struct span access_default_vnet(const struct access *a, const struct who *who)
{
	const struct access_item *p = who->kind == WHO_PRINCIPAL ? access_principal_named(a, span_str(who->name)) : NULL;
	bool named_one = p && p->info.vnet_count > 0 && !span_eq(p->info.vnets[0], span_str("*"));
	return named_one ? p->info.vnets[0] : span_str("default");
}
