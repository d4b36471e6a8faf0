/* broker/access.h: who may do what: principals, their tokens, and rules of permission. A part of the shard with durable state.
 *
 *   admin verb -> ACCESS propose -> log ... commit -> ACCESS apply;   HELLO -> ACCESS login -> session;   frame -> permit -> ACCESS decide
 *
 * While there is no principal the broker is open: whoever reaches it may do everything. With the first one it is closed for good (the
 * last one can be disabled, not removed). Tokens are 256 random bits; kept of them is a salted SHA-256, which for secrets of that size
 * needs no slow function. Access tokens are not kept at all: they are signed with a key that is in the log, name what they were made
 * from, and are good as long as that is.
 *
 * Decision: of the rules that match (principal, verb, target, vnet) the most specific one counts, where principal goes before
 * target, target before vnet, vnet before verb; a name before a pattern, a longer pattern before a shorter one, fewer verbs before more.
 * Among equals deny. Without a rule: in a vnet of its own a principal may do everything but admin, elsewhere nothing.
 *
 * Durable: changed only by access_apply; propose and apply judge by the same function. Bounded by the limits below. */
#pragma once

#include "tasks.h"

enum { PRINCIPALS_MAX = 4096, TOKENS_MAX = 16384, RULES_MAX = 1024, TOKEN_TEXT = 112, ACCESS_TEXT_MAX = 512 };

struct access;
struct access *access_new(void);
void access_free(struct access *a);

/* ---- who ---- */

enum who_kind { WHO_OPEN, WHO_LOCAL, WHO_PRINCIPAL }; /* anybody, as the broker is open; root or our own user; a principal */
struct who {
	uint8_t kind;
	char name[PRINCIPAL_BYTES + 1]; /* "" of WHO_OPEN, "local" of WHO_LOCAL */
	uint64_t token;                 /* it came with, or the one its access token was made from; 0 = none */
	uint64_t until_ms;              /* wall clock: the end of its access token; 0 = none */
};
struct credentials {
	struct span token, certificate; /* as they came; empty: none */
	int64_t uid;                    /* of the peer of a unix socket, else -1 */
	bool admin;                     /* this uid administers the broker */
};
/* ERR_PERMISSION for everything that is not accepted, with the same work whatever it is. */
enum err access_login(const struct access *a, const struct credentials *c, uint64_t wall_ms, struct who *out) MUST_CHECK;
/* Is what it logged in with still good? */
bool access_valid(const struct access *a, const struct who *who, uint64_t wall_ms);
bool access_is_open(const struct access *a); /* no principal yet */
bool access_has_vnet(const struct access *a, const struct who *who, struct span vnet);
/* What this principal may have of it; `otherwise` where nothing is said of it. 0 = no limit. */
uint64_t access_limit(const struct access *a, struct span principal, enum access_limit limit, uint64_t otherwise);
struct span access_default_vnet(const struct access *a, const struct who *who);
/* Signs one. The text is at most ACCESS_TEXT_MAX bytes. ERR_WRONG_STATE where there is nobody to make it for. */
enum err access_token_make(const struct access *a, const struct who *who, uint64_t until_ms, uint64_t nonce, char out[ACCESS_TEXT_MAX])
	MUST_CHECK;

/* ---- what ---- */

enum verdict_why { VERDICT_OPEN, VERDICT_LOCAL, VERDICT_RULE, VERDICT_OWN_VNET, VERDICT_DEFAULT, VERDICT_NOBODY };
struct verdict {
	bool allowed;
	uint8_t why;
	struct access_info rule; /* VERDICT_RULE: borrowed until the next change */
};
/* May it do this to that (a type or a queue) in that vnet? `own`: in a vnet of its own. */
void access_decide(const struct access *a, const struct who *who, enum access_verb verb, struct span target, struct span vnet, bool own,
		   struct verdict *out);
/* The same for a name that nobody has logged in with. */
void access_decide_name(const struct access *a, struct span name, enum access_verb verb, struct span target, struct span vnet,
			struct verdict *out);
/* Bits of the verbs that it may do to every target of this vnet, its own. */
uint32_t access_always(const struct access *a, const struct who *who, struct span vnet);
/* Does a rule that denies the verb match anything that begins as the pattern does? For subscriptions, which cannot be cut out. */
bool access_denied_within(const struct access *a, const struct who *who, enum access_verb verb, struct span pattern, struct span vnet);

/* ---- changes: one record each (*records counts them) ---- */

enum access_op { ACCESS_OP_PRINCIPAL_ADD = 1, ACCESS_OP_PRINCIPAL_SET, ACCESS_OP_PRINCIPAL_REMOVE, ACCESS_OP_TOKEN_ADD,
		 ACCESS_OP_TOKEN_END, ACCESS_OP_TOKEN_REMOVE, ACCESS_OP_RULE_ADD, ACCESS_OP_RULE_REMOVE, ACCESS_OP_KEY };
/* ERR_INVALID_INPUT, ERR_EXISTS, ERR_NOT_FOUND, ERR_WRONG_STATE (the last principal), ERR_RESOURCE_EXHAUSTED; text says why. */
enum err access_propose(const struct access *a, struct log *log, enum access_op op, const struct access_info *info, uint32_t *records,
			char text[256]) MUST_CHECK;
/* Of what belongs to something whose own record is in front of it: apply alone judges. */
enum err access_propose_behind(struct log *log, enum access_op op, const struct access_info *info, uint32_t *records, char text[256])
	MUST_CHECK;
/* A token of 56 random bytes (number, salt, secret of 32 bytes, in this order): what the log keeps of it, and its text. */
enum { TOKEN_RANDOM = 8 + 16 + 32 };
void access_token_new(const uint8_t random[TOKEN_RANDOM], uint64_t *number, uint8_t salt[16], uint8_t hash[32], char text[TOKEN_TEXT]);
bool access_has_key(const struct access *a); /* to sign access tokens; made with the first principal */

/* One committed REC_ACCESS. Fills origin, affected, code of *out. */
void access_apply(struct access *a, const struct log_entry *entry, const struct log_record *record, struct applied *out);
void access_checkpoint(const struct access *a, struct buf *out);
enum err access_restore(struct access *a, struct span section, char text[256]) MUST_CHECK;

/* ---- looking: index below the count; borrowed until the next change ---- */

struct access_counts { uint32_t principals, tokens, rules; uint64_t revision; };
struct access_counts access_counts(const struct access *a); /* revision: grows with every change */
void access_principal(const struct access *a, uint32_t index, struct access_info *out); /* by name */
void access_token(const struct access *a, uint32_t index, struct access_info *out);     /* by number; without its hash */
void access_rule(const struct access *a, uint32_t index, struct access_info *out);      /* in the order of making */
bool access_token_find(const struct access *a, uint64_t number, struct access_info *out); /* false: there is none */
