/* storage/blob_s3_sign.h: AWS Signature Version 4, of requests and of URLs. No libcurl in it: its own signing (7.88) signs what it does
 * not send, and cannot sign URLs. */
#pragma once

#include "../wire/span.h"

enum { S3_HEX = 64, S3_HOST = 320, S3_ID = 128, S3_SECRET = 256, S3_TOKEN = 4096 };

/* Secrets: s3_keys_forget when done with. */
struct s3_keys { char id[S3_ID + 1], secret[S3_SECRET + 1], token[S3_TOKEN + 1]; }; /* token "": none */
void s3_keys_forget(struct s3_keys *keys);
/* From the content of a file in the style of ~/.aws/credentials: the values above all sections or in [default]. 0, or -EINVAL and a
 * text that names what is missing and no value. */
int s3_keys_parse(struct span file, struct s3_keys *out, char text[256]) MUST_CHECK;

/* Appends `text` percent-encoded as SigV4 wants it, '/' kept on demand. */
void s3_encode(struct buf *out, const char *text, bool keep_slash);
void s3_append(struct buf *out, const char *text);

struct s3_signed {
	const char *method, *host, *region;
	const char *path;    /* encoded, with its first slash */
	const char *query;   /* encoded and sorted by name; every name with a '='; "" = none */
	const char *payload; /* x-amz-content-sha256: hex, or UNSIGNED-PAYLOAD */
	const char *meta;    /* x-amz-meta-hillock-sha256, NULL = none */
	uint64_t now_s;      /* since 1970 */
};
/* The values of the headers x-amz-date and Authorization; appended with a zero. */
void s3_sign(const struct s3_signed *what, const struct s3_keys *keys, char date[17], struct buf *authorization);
/* Appends the query of an URL for `seconds`, the signature in it, and a zero. `query`, `payload` and `meta` are not looked at. */
void s3_presign(const struct s3_signed *what, const struct s3_keys *keys, uint32_t seconds, struct buf *query);
