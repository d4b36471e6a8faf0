/* hillock_access.h: the part of hillock.h about who may do what. Included by it; programs include hillock.h. */
#ifndef HILLOCK_ACCESS_H
#define HILLOCK_ACCESS_H

#include "hillock.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- principals, tokens, rules (blocking, as administration) */

/* One limit of a principal: "sessions", "entries", "subscriptions", "bytes-rate", "frames-rate" (a second), "queue-tasks" (unsettled ones
 * in each queue), "queue-permille" (the same, of the queue's length_max), "stored-bytes" (tasks and kept results). */
#define HLK_LIMIT_INHERIT UINT64_MAX        /* of a change: what the broker's configuration says, again */
struct hlk_limit { const char *name; uint64_t value; }; /* value 0: none; borrowed as what it is in */

/* One principal, token, rule or answer; what does not apply is empty. Borrowed until return. */
struct hlk_access_row {
	const char *name;                       /* of the principal; of a rule: a pattern */
	const char *const *certificates; size_t certificate_count;
	const char *const *vnets; size_t vnet_count;
	const uint32_t *uids; size_t uid_count;
	bool disabled, denies;                  /* denies: of a rule, or the answer of hlk_rule_test */
	const char *verbs, *target, *vnet;      /* of a rule: "submit,see", "*" */
	uint64_t token;                         /* its number */
	uint64_t created_ms, expires_ms;        /* since 1970; 0 = never */
	const char *secret;                     /* of a new token, said this once */
	const char *why;                        /* hlk_rule_test: what decided; where a rule did, it is in the other fields */
	const struct hlk_limit *limits; size_t limit_count; /* of the principal alone; others are as the broker's configuration says */
	const struct hlk_limit *used; size_t used_count;    /* how much of each it takes now, over all its sessions */
};
typedef void hlk_access_fn(const struct hlk_access_row *row, void *ctx);

/* What is NULL or 0 stays as it is (set), or is empty (add). */
struct hlk_principal_spec {
	const char *const *certificates; size_t certificate_count; /* names it is known by; one with a * at its end: all that begin so */
	const char *const *vnets; size_t vnet_count;               /* the first is the default; "*": every one; none: "default" */
	const uint32_t *uids; size_t uid_count;                    /* users of the broker's machine, over a unix socket */
	int disabled;                                              /* 1: all its credentials are void; -1: good again */
	bool with_token, admin;                                    /* add: with a token; allowed everything everywhere */
	const struct hlk_limit *limits; size_t limit_count;        /* those named here change, at once and for sessions that are there */
};
/* The first principal closes the broker: from then on nobody gets in without credentials. `each` gets the token; may be NULL without. */
HLK_API int hlk_principal_add(struct hlk *c, const char *name, const struct hlk_principal_spec *spec, hlk_access_fn *each, void *ctx);
HLK_API int hlk_principal_set(struct hlk *c, const char *name, const struct hlk_principal_spec *spec);
/* With its tokens; its sessions end. HLK_WRONG_STATE: it is the last one. */
HLK_API int hlk_principal_remove(struct hlk *c, const char *name);
HLK_API int hlk_principal_list(struct hlk *c, const char *name, hlk_access_fn *each, void *ctx); /* NULL: all of them */
/* lifetime_ms 0: for ever. The secret is handed to `each`; the broker keeps a hash of it. */
HLK_API int hlk_token_add(struct hlk *c, const char *principal, uint64_t lifetime_ms, hlk_access_fn *each, void *ctx);
/* A new one for the same principal; the old one is good for overlap_ms more. */
HLK_API int hlk_token_rotate(struct hlk *c, uint64_t token, uint64_t lifetime_ms, uint64_t overlap_ms, hlk_access_fn *each, void *ctx);
HLK_API int hlk_token_remove(struct hlk *c, uint64_t token); /* sessions that came with it end */
HLK_API int hlk_token_list(struct hlk *c, const char *principal, hlk_access_fn *each, void *ctx); /* NULL: of all */
/* A short-lived one for this client's own principal, to hand on. lifetime_ms 0: as long as the broker gives; never longer. */
HLK_API int hlk_access_token(struct hlk *c, uint64_t lifetime_ms, hlk_access_fn *each, void *ctx);

/* How long (ms) the broker asked to wait in its last refusal at a limit (HLK_RESOURCE_EXHAUSTED, HLK_QUEUE_FULL, HLK_DISK_FULL), of
 * whatever kind; 0: there was none. */
HLK_API uint32_t hlk_retry_after_ms(const struct hlk *c);

/* What the broker says it is ("hillockd 0.1.0"); "" before the first connection. Borrowed until the next one. */
HLK_API const char *hlk_broker(const struct hlk *c);

/* Principal, target and vnet are names, or patterns with a * at the end; verbs are "submit,see" or "*". NULL: target "*", vnet
 * "default". */
struct hlk_rule { const char *principal, *verbs, *target, *vnet; bool denies; };
HLK_API int hlk_rule_add(struct hlk *c, const struct hlk_rule *rule);    /* or changes allow to deny, or back */
HLK_API int hlk_rule_remove(struct hlk *c, const struct hlk_rule *rule); /* the one with the same four texts */
HLK_API int hlk_rule_list(struct hlk *c, hlk_access_fn *each, void *ctx);
/* May this principal do that (one verb) to this target in this vnet? The row says whether, and why. */
HLK_API int hlk_rule_test(struct hlk *c, const struct hlk_rule *question, hlk_access_fn *each, void *ctx);

#ifdef __cplusplus
}
#endif

#endif
