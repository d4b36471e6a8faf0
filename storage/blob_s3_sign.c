/* storage/blob_s3_sign.c: what makes a request ours. In the flow: blob_s3_http.c, presign -> SIGN -> S3.
 *
 * 1. The same bytes are signed as are sent: paths and queries come encoded and sorted, and go out as they are.
 * 2. What is derived from the secret is zeroed before it is given up. */
#include "blob_s3_sign.h"

#include <errno.h>
#include <time.h>

#include "../wire/sha256.h"

void s3_keys_forget(struct s3_keys *keys)
{
	explicit_bzero(keys, sizeof *keys);
}

/* ---- the file ---- */

static struct span trimmed(struct span s)
{
	while (s.len > 0 && s.data[0] <= ' ')
		s = span_sub(s, 1, s.len - 1);
	while (s.len > 0 && s.data[s.len - 1] <= ' ')
		s.len--;
	return s;
}

/* Everything printable but blanks: it goes into headers. */
static bool take(struct span value, char *out, size_t max)
{
	if (value.len == 0 || value.len > max)
		return false;
	for (size_t i = 0; i < value.len; i++)
		if (value.data[i] <= ' ' || value.data[i] > '~')
			return false;
	memcpy(out, value.data, value.len);
	out[value.len] = '\0';
	return true;
}

static bool take_line(struct span line, struct s3_keys *out)
{
	const uint8_t *equals = memchr(line.data, '=', line.len);
	size_t at = equals ? (size_t)(equals - line.data) : line.len;
	struct span name = trimmed(span_sub(line, 0, at));
	struct span value = equals ? trimmed(span_sub(line, at + 1, line.len - at - 1)) : span_of(NULL, 0);
	if (span_eq(name, span_str("aws_access_key_id")))
		return take(value, out->id, S3_ID);
	if (span_eq(name, span_str("aws_secret_access_key")))
		return take(value, out->secret, S3_SECRET);
	if (span_eq(name, span_str("aws_session_token")))
		return take(value, out->token, S3_TOKEN);
	return true; /* region, output: of other programs */
}

int s3_keys_parse(struct span file, struct s3_keys *out, char text[256])
{
	bool ours = true, good = true;
	uint32_t number = 0, bad_line = 0;
	s3_keys_forget(out);
	while (file.len > 0) {
		const uint8_t *end = memchr(file.data, '\n', file.len);
		size_t len = end ? (size_t)(end - file.data) : file.len;
		struct span line = trimmed(span_sub(file, 0, len));
		file = span_sub(file, len + (end != NULL), file.len - len - (end != NULL));
		number++;
		if (line.len == 0 || line.data[0] == '#' || line.data[0] == ';')
			continue;
		if (line.data[0] == '[')
			ours = span_eq(line, span_str("[default]"));
		else if (ours && !take_line(line, out) && good) {
			good = false;
			bad_line = number;
		}
	}
	if (!good)
		(void)snprintf(text, 256, "line %u: the value is empty, too long or has a blank in it", bad_line);
	else if (!out->id[0] || !out->secret[0])
		(void)snprintf(text, 256, "no %s above all sections or in [default]", out->id[0] ? "aws_secret_access_key" : "aws_access_key_id");
	else
		return 0;
	s3_keys_forget(out);
	return -EINVAL;
}

/* ---- text ---- */

void s3_append(struct buf *out, const char *text)
{
	buf_append(out, text, strlen(text));
}

void s3_encode(struct buf *out, const char *text, bool keep_slash)
{
	for (; *text; text++) {
		uint8_t c = (uint8_t)*text;
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
		bool plain = letter || (c >= '0' && c <= '9') || strchr("-._~", c) || (c == '/' && keep_slash);
		char escaped[4];
		(void)snprintf(escaped, sizeof escaped, plain ? "%c" : "%%%02X", c);
		s3_append(out, escaped);
	}
}

static void hash_hex(struct span bytes, char out[S3_HEX + 1])
{
	struct sha256 s;
	uint8_t digest[SHA256_BYTES];
	sha256_begin(&s);
	sha256_add(&s, bytes);
	sha256_end(&s, digest);
	hex_print(digest, sizeof digest, out);
}

static void mac_text(const uint8_t key[SHA256_BYTES], const char *text, uint8_t out[SHA256_BYTES])
{
	hmac_sha256(span_of(key, SHA256_BYTES), span_str(text), out);
}

/* ---- the signature ---- */

struct scope {
	char date[17]; /* 20260102T030405Z */
	char text[128]; /* 20260102/REGION/s3/aws4_request */
};

static struct scope scope_of(const struct s3_signed *what)
{
	struct scope s;
	struct tm tm;
	time_t now = (time_t)what->now_s;
	ENSURE(gmtime_r(&now, &tm) != NULL && strlen(what->region) <= 64);
	ENSURE(strftime(s.date, sizeof s.date, "%Y%m%dT%H%M%SZ", &tm) == sizeof s.date - 1);
	(void)snprintf(s.text, sizeof s.text, "%.8s/%s/s3/aws4_request", s.date, what->region);
	return s;
}

/* Of the canonical request to the key of the day, and of that the signature. */
static void sign(const struct scope *scope, const char *region, const struct s3_keys *keys, const struct buf *canonical,
		 char out[S3_HEX + 1])
{
	char secret[4 + S3_SECRET + 1], day[9], hash[S3_HEX + 1], text[512];
	uint8_t key[SHA256_BYTES];
	hash_hex(buf_span(canonical), hash);
	int len = snprintf(text, sizeof text, "AWS4-HMAC-SHA256\n%s\n%s\n%s", scope->date, scope->text, hash);
	ENSURE(len > 0 && len < (int)sizeof text);
	(void)snprintf(secret, sizeof secret, "AWS4%s", keys->secret);
	(void)snprintf(day, sizeof day, "%.8s", scope->date);
	hmac_sha256(span_str(secret), span_str(day), key);
	mac_text(key, region, key);
	mac_text(key, "s3", key);
	mac_text(key, "aws4_request", key);
	mac_text(key, text, key);
	hex_print(key, sizeof key, out);
	explicit_bzero(secret, sizeof secret);
	explicit_bzero(key, sizeof key);
}

static void line(struct buf *out, const char *name, const char *value)
{
	s3_append(out, name);
	s3_append(out, value);
	s3_append(out, "\n");
}

void s3_sign(const struct s3_signed *what, const struct s3_keys *keys, char date[17], struct buf *authorization)
{
	struct scope scope = scope_of(what);
	struct buf c = { NULL, 0, 0 };
	char names[160], hex[S3_HEX + 1];
	(void)snprintf(names, sizeof names, "host;x-amz-content-sha256;x-amz-date%s%s", what->meta ? ";x-amz-meta-hillock-sha256" : "",
		       keys->token[0] ? ";x-amz-security-token" : "");
	line(&c, "", what->method);
	line(&c, "", what->path);
	line(&c, "", what->query);
	line(&c, "host:", what->host);
	line(&c, "x-amz-content-sha256:", what->payload);
	line(&c, "x-amz-date:", scope.date);
	if (what->meta)
		line(&c, "x-amz-meta-hillock-sha256:", what->meta);
	if (keys->token[0])
		line(&c, "x-amz-security-token:", keys->token);
	line(&c, "\n", names);
	s3_append(&c, what->payload);
	sign(&scope, what->region, keys, &c, hex);
	explicit_bzero(c.data, c.len); /* the token is in it */
	buf_free(&c);
	memcpy(date, scope.date, sizeof scope.date);
	s3_append(authorization, "AWS4-HMAC-SHA256 Credential=");
	s3_append(authorization, keys->id);
	s3_append(authorization, "/");
	s3_append(authorization, scope.text);
	s3_append(authorization, ", SignedHeaders=");
	s3_append(authorization, names);
	s3_append(authorization, ", Signature=");
	buf_append(authorization, hex, sizeof hex);
}

void s3_presign(const struct s3_signed *what, const struct s3_keys *keys, uint32_t seconds, struct buf *query)
{
	struct scope scope = scope_of(what);
	struct buf c = { NULL, 0, 0 };
	char number[12], hex[S3_HEX + 1];
	size_t begin = query->len;
	(void)snprintf(number, sizeof number, "%u", seconds);
	s3_append(query, "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=");
	s3_encode(query, keys->id, false);
	s3_append(query, "%2F");
	s3_encode(query, scope.text, false);
	s3_append(query, "&X-Amz-Date=");
	s3_append(query, scope.date);
	s3_append(query, "&X-Amz-Expires=");
	s3_append(query, number);
	if (keys->token[0]) {
		s3_append(query, "&X-Amz-Security-Token=");
		s3_encode(query, keys->token, false);
	}
	s3_append(query, "&X-Amz-SignedHeaders=host");
	line(&c, "", what->method);
	line(&c, "", what->path);
	buf_append(&c, query->data + begin, query->len - begin);
	line(&c, "\nhost:", what->host);
	s3_append(&c, "\nhost\nUNSIGNED-PAYLOAD");
	sign(&scope, what->region, keys, &c, hex);
	explicit_bzero(c.data, c.len);
	buf_free(&c);
	s3_append(query, "&X-Amz-Signature=");
	buf_append(query, hex, sizeof hex);
}
