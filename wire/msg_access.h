/* wire/msg_access.h: a principal, a token or a rule of permission, as REQUEST.spec says it, REPLY.specs answers it and the log keeps it.
 * Included by wire/msg.h. */
#pragma once

#include "err.h"
#include "limits.h"
#include "span.h"

enum { PRINCIPAL_BYTES = 64, ACCESS_CERTIFICATES = 8, ACCESS_UIDS = 8, ACCESS_VNETS = 16, VNET_BYTES = 64 };

/* What a session may want to do. Bits of access_info.verbs are 1 << verb. */
enum access_verb { ACCESS_SUBMIT, ACCESS_SERVE, ACCESS_PUBLISH, ACCESS_SUBSCRIBE, ACCESS_CALL, ACCESS_SEE, ACCESS_CONTROL, ACCESS_ADMIN,
		   ACCESS_VERBS };
enum { ACCESS_ALL = (1 << ACCESS_VERBS) - 1 };
/* "submit", "serve" ...; unknown values give "unknown". Static strings. */
const char *access_verb_name(uint32_t verb);
/* "submit,see" or "*" to bits; 0 where a word is none of them. */
uint32_t access_verbs_parse(const char *text);

/* What is limited for each principal. On disk and on the wire by number. */
enum access_limit { ACCESS_LIMIT_SESSIONS, ACCESS_LIMIT_ENTRIES, ACCESS_LIMIT_SUBSCRIPTIONS, ACCESS_LIMIT_BYTES_RATE,
		    ACCESS_LIMIT_FRAMES_RATE, ACCESS_LIMIT_QUEUE_TASKS, ACCESS_LIMIT_QUEUE_PERMILLE, ACCESS_LIMIT_STORED_BYTES,
		    ACCESS_LIMITS };
#define ACCESS_LIMIT_INHERIT UINT64_MAX /* in a change: as the broker's configuration says, again */
/* "sessions", "bytes-rate" ...; NULL for unknown numbers. Static strings. */
const char *access_limit_name(uint32_t limit);
/* Its number; ACCESS_LIMITS where there is none of this name. */
uint32_t access_limit_find(struct span name);

enum { ACCESS_SET_CERTIFICATES = 1, ACCESS_SET_UIDS = 2, ACCESS_SET_VNETS = 4, ACCESS_SET_DISABLED = 8 };

struct access_info {
	struct span name;             /* of a principal; of a rule: a pattern */
	struct span certificates[ACCESS_CERTIFICATES], vnets[ACCESS_VNETS];
	uint32_t uids[ACCESS_UIDS];
	uint32_t certificate_count, vnet_count, uid_count;
	uint32_t set;                 /* of a change: which of the lists and the flag it is about */
	bool disabled, deny;
	uint32_t verbs;
	struct span target, vnet;     /* patterns of a rule */
	uint64_t token;               /* number */
	uint64_t created_ms, expires_ms, lifetime_ms, overlap_ms;
	bool with_token, admin;       /* of a new principal: with a token, and allowed everything */
	struct span secret;           /* said once, in the answer to who asked for it */
	struct span hash, salt;       /* in the log only */
	uint32_t limit_mask, used_mask; /* bits 1 << enum access_limit: which of these are said */
	uint64_t limits[ACCESS_LIMITS], used[ACCESS_LIMITS]; /* 0 = none */
};

/* Appends the bytes of an AccessInfo. */
void access_info_encode(struct buf *out, const struct access_info *info);
/* Verifies and reads them; borrows. ERR_MALFORMED, ERR_TOO_BIG, ERR_INVALID_INPUT with the field in text. */
enum err access_info_decode(struct span bytes, struct access_info *out, char text[128]) MUST_CHECK;

/* A pattern is a text that stands for itself, or, with a * at its end, for everything that begins so. */
bool access_pattern_ok(struct span pattern);
bool access_pattern_matches(struct span pattern, struct span text);
