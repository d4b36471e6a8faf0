/* broker/backend.c: opens the backend of blobs. In the flow: before it; main.c hands what is opened to the shard.
 *
 * 1. What S3 needs behind the sandbox is named here, file by file: credentials and CAs that may be replaced, and what the C library
 *    reads to find a host. */
#include "backend.h"

static const char *text_or_null(const char *text)
{
	return text[0] ? text : NULL;
}

enum err backend_open(const struct config *c, struct io *io, struct blob_backend **out, char text[256])
{
	const struct blob_s3_config s3 = {
		.endpoint = text_or_null(c->blob_s3_endpoint),
		.region = text_or_null(c->blob_s3_region),
		.bucket = c->blob_s3_bucket,
		.prefix = c->blob_s3_prefix,
		.virtual_host = c->blob_s3_style != 0,
		.credentials = text_or_null(c->blob_s3_credentials),
		.ca_file = text_or_null(c->blob_s3_ca),
	};
	char why[256] = "";
	int err = 0;
	*out = NULL;
	if (c->blob_backend == CONFIG_BLOBS_LOCAL)
		err = blob_local_open(io, out, why);
	else if (c->blob_backend == CONFIG_BLOBS_S3)
		err = blob_s3_open(io, &s3, out, why);
	if (err == 0)
		return ERR_OK;
	(void)snprintf(text, 256, "blob_backend: %.230s", why);
	return c->blob_backend == CONFIG_BLOBS_S3 ? ERR_INVALID_INPUT : ERR_IO;
}

enum err backend_start(const struct config *c, struct blob_backend *b, uint64_t store, char text[256])
{
	if (c->blob_backend != CONFIG_BLOBS_S3)
		return ERR_OK;
	return blob_s3_start(b, store, text) == 0 ? ERR_OK : ERR_IO;
}

void backend_dir_of(const char *path, char out[LIMIT_TEXT_BYTES])
{
	const char *slash = strrchr(path, '/');
	size_t len = slash ? MAX_OF((size_t)(slash - path), (size_t)1) : 0;
	(void)snprintf(out, LIMIT_TEXT_BYTES, "%.*s", slash ? (int)len : 1, slash ? path : ".");
}

uint32_t backend_paths(const struct config *c, char dirs[2][LIMIT_TEXT_BYTES], struct sandbox_path out[BACKEND_PATHS])
{
	static const char *const resolver[] = { "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf",
						"/etc/services", "/etc/ld.so.cache", "/usr/lib", "/run/systemd/resolve" };
	static const char *const trusted[] = { "/etc/ssl", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates" };
	uint32_t count = 0;
	_Static_assert(COUNT_OF(resolver) + COUNT_OF(trusted) + 2 <= BACKEND_PATHS, "room for all");
	if (c->blob_backend != CONFIG_BLOBS_S3)
		return 0;
	for (size_t i = 0; i < COUNT_OF(resolver); i++)
		out[count++] = (struct sandbox_path){ resolver[i], SANDBOX_READ };
	for (size_t i = 0; i < COUNT_OF(trusted); i++)
		out[count++] = (struct sandbox_path){ trusted[i], SANDBOX_READ };
	const char *files[2] = { c->blob_s3_credentials, c->blob_s3_ca };
	for (size_t i = 0; i < COUNT_OF(files); i++) {
		if (!files[i][0])
			continue;
		backend_dir_of(files[i], dirs[i]);
		out[count++] = (struct sandbox_path){ dirs[i], SANDBOX_READ };
	}
	return count;
}
